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
    from fuselight.lsp.startup import quick_imports

    with quick_imports():
        from fuselight.lsp.server import serve
    raise SystemExit(serve(host, port))
