"""Requests about a document whose analysis takes longer than a moment: put off, so that other messages are served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lsprotocol import types
from pygls.exceptions import JsonRpcContentModified, JsonRpcException, JsonRpcRequestCancelled

from fuselight.lsp.transport import Json, table
from fuselight.lsp.work import Priority, Steps

if TYPE_CHECKING:
    from fuselight.lsp.documents import Document
    from fuselight.lsp.protocol import FuselightProtocol
    from fuselight.lsp.server import FuselightServer

_ABOUT: dict[str, Callable[[dict[str, object]], object]] = {
    types.TEXT_DOCUMENT_DIAGNOSTIC: lambda params: table(params.get("textDocument")).get("uri"),
    types.TEXT_DOCUMENT_CODE_ACTION: lambda params: table(params.get("textDocument")).get("uri"),
    types.TEXT_DOCUMENT_HOVER: lambda params: table(params.get("textDocument")).get("uri"),
    types.CODE_ACTION_RESOLVE: lambda params: table(params.get("data")).get("uri"),
}
"""The requests that need an analysis, and where each names its document."""


@dataclass(frozen=True, slots=True)
class _Request:
    message: dict[str, Json]
    method: str
    document: Document


class PutOff:
    """The requests that wait for an analysis, by their ids."""

    def __init__(self, server: FuselightServer) -> None:
        self._server = server
        self._waiting: dict[int | str, _Request] = {}

    def answer_all(self) -> None:
        """Answer all of them now, however long it takes."""
        for identity in list(self._waiting):
            self._server.backlog.drop(identity)
            for _ in self._answer(identity):
                pass

    def takes(self, message: dict[str, Json]) -> bool:
        """Whether a message is a request that is better answered later. A short analysis is done at once."""
        about = _ABOUT.get(str(message.get("method")))
        if about is None or "id" not in message:
            return False
        document = self._server.document(str(about(table(message.get("params")))))
        if document is None:
            return False
        method = str(message["method"])
        if method == types.TEXT_DOCUMENT_DIAGNOSTIC:
            self._refuse(document.uri, _asked_again(), pulls=True)
            if document.recalled is not None:
                return False
        if self._server.is_analysed_soon(document):
            return False
        identity = cast("int | str", message["id"])
        self._waiting[identity] = _Request(message, method, document)
        self._server.backlog.add(identity, lambda: self._answer(identity), Priority.ANSWER)
        return True

    def changed(self, uri: str) -> None:
        """The text of a document is about to change: what was asked of places in it has no answer any more.

        A pull of diagnostics goes on: it is asked of the newest text, whatever that is.
        """
        self._refuse(uri, JsonRpcContentModified("the document has changed since"), pulls=False)

    def cancel(self, identity: int | str) -> bool:
        """Refuse a request that its client cancels; False where it is not one of these."""
        return self._drop(identity, JsonRpcRequestCancelled("cancelled by the client"))

    def _refuse(self, uri: str, error: JsonRpcException, *, pulls: bool) -> None:
        for identity, request in list(self._waiting.items()):
            if request.document.uri == uri and (request.method == types.TEXT_DOCUMENT_DIAGNOSTIC) is pulls:
                self._drop(identity, error)

    def _drop(self, identity: int | str, error: JsonRpcException) -> bool:
        if self._waiting.pop(identity, None) is None:
            return False
        self._server.backlog.drop(identity)
        self._protocol.refuse(identity, error)
        return True

    def _answer(self, identity: int | str) -> Steps:
        yield from self._server.analysing(self._waiting[identity].document)
        self._protocol.deliver(self._waiting.pop(identity).message)

    @property
    def _protocol(self) -> FuselightProtocol:
        return cast("FuselightProtocol", self._server.protocol)


def _asked_again() -> JsonRpcException:
    code = types.LSPErrorCodes.ServerCancelled.value
    return JsonRpcException("asked again", code, {"retriggerRequest": False})
