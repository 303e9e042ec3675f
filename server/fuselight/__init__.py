"""fuselight: finds layer sequences in model code that one existing call can replace, and offers the rewrite."""

__version__ = "0.1.0"
