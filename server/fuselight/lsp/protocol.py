"""Messages to handlers: the life cycle, and an answer to every request, the malformed ones too."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
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

from fuselight.lsp.commands import COMMANDS, execute
from fuselight.lsp.transport import Json, Undecodable, Written, table
from fuselight.lsp.work import Priority, Steps

if TYPE_CHECKING:
    from cattrs import Converter
    from pygls.protocol.json_rpc import RPCMessage, RPCNotification, RPCRequest

    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)

IN_SLICES = {
    types.WORKSPACE_DIAGNOSTIC: Priority.BACKGROUND,
    types.WORKSPACE_EXECUTE_COMMAND: Priority.ANSWER,
}
"""Requests that take long. Their handlers are generators: they work until the next `yield`, and return the result, or
the promise of one."""


class FuselightProtocol(LanguageServerProtocol):
    """pygls' protocol with its own document store, an orderly life cycle and no way to die of a message."""

    def __init__(self, server: FuselightServer, converter: Converter) -> None:
        # First: what registers the built-in features looks at every attribute.
        self._initialized = False
        super().__init__(server, converter)
        self._fuselight = server

    @property
    def is_ready(self) -> bool:
        """Whether the client may be sent what it did not ask for."""
        return self._initialized and not self._shutdown

    def receive(self, message: Json | Undecodable) -> None:
        """Handle one message of the client, whatever it is."""
        if isinstance(message, Undecodable):
            self.refuse(None, JsonRpcParseError(message.reason))
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self.refuse(None, JsonRpcInvalidRequest("not a JSON-RPC 2.0 message"))
            return
        identity, method = message.get("id"), message.get("method")
        if method is None and ("result" in message or "error" in message):
            self.deliver(message)
        elif not isinstance(method, str) or not isinstance(identity, int | str | None):
            self.refuse(None, JsonRpcInvalidRequest("a message needs a method, and a request an id"))
        elif error := self._reason_against(identity, method):
            if "id" in message:
                self.refuse(identity, error)
            else:
                logger.info("Passed over %s: %s", method, error)
        elif method == types.CANCEL_REQUEST:
            self._cancel(table(message.get("params")).get("id"))
        else:
            if method == types.SHUTDOWN:
                self._settle()
            if not self._fuselight.put_off.takes(message):
                self.deliver(message)

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

    def _cancel(self, identity: object) -> None:
        """`$/cancelRequest`: of a request that is put off or under way; any other was answered before it came."""
        if isinstance(identity, int | str) and not self._fuselight.put_off.cancel(identity):
            future = self._request_futures.get(identity)
            if future is not None:
                future.cancel()

    def _settle(self) -> None:
        """Answer what is put off, and leave what is under way: the client is about to end the session."""
        self._fuselight.put_off.answer_all()
        for identity in list(self._request_futures):
            self._cancel(identity)

    def handle_message(self, message: RPCMessage) -> None:
        """As pygls', which asks of every message whether it is an instance of one protocol after the other.

        In Python 3.11 that takes as long as all else that is done with a small message.
        """
        method = getattr(message, "method", None)
        if method is None:
            super().handle_message(message)
        elif hasattr(message, "id"):
            request = cast("RPCRequest", message)
            copy_context().run(self._handle_request, request.id, method, request.params)
        else:
            notification = cast("RPCNotification", message)
            copy_context().run(self._handle_notification, method, notification.params)

    def deliver(self, message: dict[str, Json]) -> None:
        """Have a message handled that there is nothing against."""
        try:
            self.handle_message(cast("RPCMessage", self.structure_message(message)))
        except JsonRpcException as error:
            if "id" in message and "method" in message:
                self.refuse(cast("int | str", message["id"]), error)
            if message.get("method") in (types.TEXT_DOCUMENT_DID_CHANGE, types.NOTEBOOK_DOCUMENT_DID_CHANGE):
                self._fuselight.lose_track_of(message.get("params"))

    def refuse(self, identity: int | str | None, error: JsonRpcException) -> None:
        """Answer a request by an error."""
        # Not as `ResponseErrorMessage`: it leaves out an id of null, which JSON-RPC asks for where the id is unknown.
        answer: dict[str, object] = {"code": error.code, "message": error.message}
        if error.data is not None:
            answer["data"] = error.data
        self._send_data({"jsonrpc": "2.0", "id": identity, "error": answer})

    def write_out(self, result: object) -> Written:
        """A result as it is sent: for one that is sent more than once."""
        return Written(json.dumps(self._converter.unstructure(result)))

    def _send_written(self, msg_id: str | int, result: Written) -> None:
        assert self.writer is not None
        body = f'{{"id": {json.dumps(msg_id)}, "jsonrpc": "2.0", "result": {result.json}}}'.encode(self.CHARSET)
        header = f"Content-Length: {len(body)}\r\nContent-Type: {self.CONTENT_TYPE}; charset={self.CHARSET}\r\n\r\n"
        self.writer.write(header.encode() + body)

    def _handle_request(self, msg_id: str | int, method_name: str, params: Any) -> None:
        if method_name in IN_SLICES:
            self._ctx_msg_id.set(msg_id)
            steps = self._get_handler(method_name)(params)
            future = self._request_futures[msg_id] = Future[Any]()
            future.add_done_callback(partial(self._send_handler_result, msg_id=msg_id))
            self._fuselight.backlog.add(msg_id, lambda: _into(future, steps), IN_SLICES[method_name])
        else:
            super()._handle_request(msg_id, method_name, params)

    def _send_handler_result(self, future: Future[Any], *, msg_id: str | int) -> None:
        self._request_futures.pop(msg_id, None)
        if future.cancelled():
            self._fuselight.backlog.drop(msg_id)
            self.refuse(msg_id, JsonRpcRequestCancelled("cancelled by the client"))
            return
        error = future.exception()
        if error is None:
            try:
                result = future.result()
                if isinstance(result, Written):
                    self._send_written(msg_id, result)
                else:
                    self._send_response(msg_id, result)
                return
            except BrokenPipeError:
                raise
            except Exception as unsendable:
                error = unsendable
        if isinstance(error, JsonRpcException):
            self.refuse(msg_id, error)
        else:
            logger.error("Request %s failed", msg_id, exc_info=error)
            self.refuse(msg_id, JsonRpcInternalError(f"{type(error).__name__}: {error}"))

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        self._fuselight.meet(params)
        result = yield from super().lsp_initialize(params)
        result.capabilities.execute_command_provider = types.ExecuteCommandOptions(
            list(COMMANDS), work_done_progress=True
        )
        self._initialized = True
        return result

    @lsp_method(types.INITIALIZED)
    def lsp_initialized(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._fuselight.ready()

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    def lsp_workspace__execute_command(self, params: types.ExecuteCommandParams) -> Generator[None, None, object]:
        return (yield from execute(self._fuselight, params))

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

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidOpenNotebookDocumentParams
    ) -> None:
        self._fuselight.notebook_opened(params)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidChangeNotebookDocumentParams
    ) -> None:
        self._fuselight.notebook_changed(params)

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.DidCloseNotebookDocumentParams
    ) -> None:
        self._fuselight.notebook_closed(params.notebook_document.uri)


def _into(future: Future[Any], steps: Generator[None, None, Any]) -> Steps:
    """Go on with `steps`, and put what they return, or raise, into `future`."""
    try:
        result = yield from steps
    except (BrokenPipeError, GeneratorExit):
        raise
    except Exception as error:
        future.set_exception(error)
    else:
        if isinstance(result, Future):
            _follow(future, cast("Future[Any]", result))
        else:
            future.set_result(result)


def _follow(future: Future[Any], promise: Future[Any]) -> None:
    """Let `future` end as `promise` does, and cancel that one with it."""

    def kept(promise: Future[Any]) -> None:
        if future.done():
            return
        if promise.cancelled():
            future.cancel()
        elif (error := promise.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(promise.result())

    future.add_done_callback(lambda future: future.cancelled() and promise.cancel())
    promise.add_done_callback(kept)
