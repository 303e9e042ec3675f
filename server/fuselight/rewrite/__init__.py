"""A match to text edits. Importing this imports LibCST: it is done when the first edit is wanted."""

from fuselight.rewrite.edits import render

__all__ = ["render"]
