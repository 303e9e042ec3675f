"""The language server: the only place that knows the protocol."""

from __future__ import annotations


def start(host: str | None = None, port: int | None = None) -> None:
    """Serve one client until it says `exit` or hangs up, then end the process with the status the protocol asks for.

    Args:
        host: The interface to listen on, the loopback one unless given.
        port: The TCP port to listen on, 0 for any free one; without it the client is at stdin and stdout.

    Raises:
        SystemExit: always; 0 after an orderly `shutdown`, else 1.
    """
    import gc

    # Importing the protocol's types makes hundreds of thousands of objects that live for ever: looking for cycles
    # among them costs a tenth of the start, and a pause at each later full collection.
    gc.disable()
    from fuselight.lsp.server import serve

    gc.freeze()
    gc.enable()
    raise SystemExit(serve(host, port))
