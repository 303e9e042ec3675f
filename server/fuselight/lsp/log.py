"""The server's log as the client shows it: `window/logMessage`, and `$/logTrace` of what was handled."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.lsp.transport import Json, table

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

_KINDS = (
    (logging.ERROR, types.MessageType.Error),
    (logging.WARNING, types.MessageType.Warning),
    (logging.INFO, types.MessageType.Info),
)
_LEVELS = {
    types.TraceValue.Off: logging.WARNING,
    types.TraceValue.Messages: logging.INFO,
    types.TraceValue.Verbose: logging.DEBUG,
}
_MOST = 1000


class ClientLog(logging.Handler):
    """Log lines on their way to the client. Any thread may log; only the loop sends."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[types.LogMessageParams] = deque(maxlen=_MOST)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        kind = next((kind for level, kind in _KINDS if record.levelno >= level), types.MessageType.Log)
        self._lines.append(types.LogMessageParams(kind, self.format(record)))

    def send(self, server: FuselightServer) -> None:
        """Send what has gathered."""
        while self._lines:
            server.window_log_message(self._lines.popleft())


def set_trace(ls: FuselightServer, params: types.SetTraceParams) -> None:
    """`$/setTrace`: how much the log tells, to the client and on stderr."""
    ls.trace = params.value
    logging.getLogger("fuselight").setLevel(_LEVELS[params.value])


def trace(server: FuselightServer, message: dict[str, Json], milliseconds: float) -> None:
    """Tell the client what was handled and how long that took, where it asked for that."""
    if server.trace is types.TraceValue.Off or "method" not in message:
        return
    identity = f" ({message['id']})" if "id" in message else ""
    text = f"{message['method']}{identity}: {milliseconds:.1f} ms"
    verbose = json.dumps(table(message.get("params"))) if server.trace is types.TraceValue.Verbose else None
    server.protocol.notify(types.LOG_TRACE, types.LogTraceParams(text, verbose))
