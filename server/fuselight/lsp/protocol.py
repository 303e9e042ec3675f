"""Messages to handlers: the life cycle, and an answer to every request, the malformed ones too."""

from __future__ import annotations

import logging
from collections.abc import Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcRequestCancelled,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol, lsp_method

from fuselight.lsp.transport import Json, Undecodable

if TYPE_CHECKING:
    from cattrs import Converter
    from pygls.protocol.json_rpc import RPCMessage

    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)


class FuselightProtocol(LanguageServerProtocol):
    """pygls' protocol with its own document store, an orderly life cycle and no way to die of a message."""

    def __init__(self, server: FuselightServer, converter: Converter) -> None:
        super().__init__(server, converter)
        self._fuselight = server
        self._initialized = False

    def receive(self, message: Json | Undecodable) -> None:
        """Handle one message of the client, whatever it is."""
        if isinstance(message, Undecodable):
            self._refuse(None, JsonRpcParseError(message.reason))
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._refuse(None, JsonRpcInvalidRequest("not a JSON-RPC 2.0 message"))
            return
        identity, method = message.get("id"), message.get("method")
        if method is None and ("result" in message or "error" in message):
            self._deliver(message)
        elif not isinstance(method, str) or not isinstance(identity, int | str | None):
            self._refuse(None, JsonRpcInvalidRequest("a message needs a method, and a request an id"))
        elif error := self._reason_against(identity, method):
            if "id" in message:
                self._refuse(identity, error)
            else:
                logger.info("Passed over %s: %s", method, error)
        else:
            self._deliver(message)

    def _reason_against(self, identity: int | str | None, method: str) -> JsonRpcException | None:
        """Why a message is not to be handled at this point of the session."""
        if method == types.EXIT:
            return None
        if self._shutdown:
            return JsonRpcInvalidRequest("the server is shutting down")
        if method == types.INITIALIZE:
            return JsonRpcInvalidRequest("already initialized") if self._initialized else None
        if not self._initialized:
            return JsonRpcServerNotInitialized("initialize comes first")
        if not self._knows(method):
            return JsonRpcMethodNotFound(f"unknown method {method}")
        if identity is not None and self._fuselight.is_cancelled(identity):
            return JsonRpcRequestCancelled("cancelled by the client")
        return None

    def _knows(self, method: str) -> bool:
        try:
            return method == types.CANCEL_REQUEST or callable(self._get_handler(method))
        except JsonRpcMethodNotFound:
            return False

    def _deliver(self, message: dict[str, Json]) -> None:
        try:
            self.handle_message(cast("RPCMessage", self.structure_message(message)))
        except JsonRpcException as error:
            if "id" in message and "method" in message:
                self._refuse(cast("int | str", message["id"]), error)
            if message.get("method") == types.TEXT_DOCUMENT_DID_CHANGE:
                self._fuselight.lose_track_of(message.get("params"))

    def _refuse(self, identity: int | str | None, error: JsonRpcException) -> None:
        # Not as `ResponseErrorMessage`: it leaves out an id of null, which JSON-RPC asks for where the id is unknown.
        answer: dict[str, object] = {"code": error.code, "message": error.message}
        if error.data is not None:
            answer["data"] = error.data
        self._send_data({"jsonrpc": "2.0", "id": identity, "error": answer})

    def _send_handler_result(self, future: Future[Any], *, msg_id: str | int) -> None:
        self._request_futures.pop(msg_id, None)
        error = future.exception()
        if error is None:
            try:
                self._send_response(msg_id, future.result())
                return
            except BrokenPipeError:
                raise
            except Exception as unsendable:
                error = unsendable
        if isinstance(error, JsonRpcException):
            self._refuse(msg_id, error)
        else:
            logger.error("Request %s failed", msg_id, exc_info=error)
            self._refuse(msg_id, JsonRpcInternalError(f"{type(error).__name__}: {error}"))

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        self._fuselight.meet(params)
        result = yield from super().lsp_initialize(params)
        self._initialized = True
        return result

    @lsp_method(types.INITIALIZED)
    def lsp_initialized(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._fuselight.ready()

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._fuselight.exit_status = 0 if self._shutdown else 1

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidOpenTextDocumentParams
    ) -> None:
        self._fuselight.opened(params.text_document)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidChangeTextDocumentParams
    ) -> None:
        self._fuselight.changed(params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidCloseTextDocumentParams
    ) -> None:
        self._fuselight.closed(params.text_document.uri)
