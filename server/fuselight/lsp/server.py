"""The server: one client, its open documents, and the loop that serves them.

One thread does all the work, in the order of the client's messages, so that no answer can be about a text that
changed under it. What can wait (pushed diagnostics, warming up) is done when no message is waiting.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import cast

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from fuselight import __version__
from fuselight.lsp import code_actions, configuration, diagnostics, hover, transport, warmup
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document
from fuselight.lsp.protocol import FuselightProtocol
from fuselight.lsp.transport import HungUp, Inbox, Json, Writer, table

logger = logging.getLogger(__name__)


def serve(host: str | None = None, port: int | None = None) -> int:
    """Serve one client to the end; the exit status that the protocol asks for."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    connection = transport.stdio() if port is None else transport.tcp(host, port, _announce)
    return FuselightServer(Inbox(connection.source), connection.writer).run()


def _announce(host: str, port: int) -> None:
    print(f"fuselight listens on {host}:{port}", file=sys.stderr, flush=True)


class FuselightServer(LanguageServer):
    """What the features share: the client's capabilities, the documents and the settings."""

    def __init__(self, inbox: Inbox, writer: Writer) -> None:
        super().__init__("fuselight", __version__, protocol_cls=FuselightProtocol)  # pyright: ignore[reportUnknownMemberType]
        self.protocol.set_writer(writer)
        self.inbox = inbox
        self.client = Client()
        self.documents: dict[str, Document] = {}
        self.configuration = configuration.Configuration()
        self.exit_status: int | None = None
        self.is_warm = False
        self._idle: dict[object, Callable[[], None]] = {}
        self.feature(types.TEXT_DOCUMENT_HOVER)(hover.hover)
        self.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(configuration.changed)
        self.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(configuration.files_changed)

    def run(self) -> int:
        """Serve until `exit`, or until the client is gone."""
        receive = cast("FuselightProtocol", self.protocol).receive
        try:
            while self.exit_status is None:
                if self._idle and not self.inbox.waiting():
                    self._do_idle_work()
                    continue
                message = self.inbox.take()
                if isinstance(message, HungUp):
                    break
                try:
                    receive(message)
                except BrokenPipeError:
                    raise
                except Exception:
                    logger.exception("A message could not be handled")
        except (BrokenPipeError, ConnectionError):
            logger.info("The client is gone")
        except KeyboardInterrupt:
            pass
        return 1 if self.exit_status is None else self.exit_status

    def when_idle(self, name: object, work: Callable[[], None]) -> None:
        """Do `work` once, when no message is waiting; a later call with the same name takes the place of this one."""
        self._idle.pop(name, None)
        self._idle[name] = work

    def report_server_error(self, error: Exception, source: object) -> None:
        """To the log alone: a message box for each fault is in the user's way, and recurses once output is gone."""
        logger.error("%s", error, exc_info=error)

    def meet(self, params: types.InitializeParams) -> None:
        """Take in what the client says of itself, and settle what to announce to it."""
        self.client = Client.of(params.capabilities)
        self.configuration.initialize(params)
        # A client gets its diagnostics by one way: announcing the pull to a client that does not pull would leave
        # it to be pushed, and pushing to one that pulls shows each twice.
        if self.client.pulls_diagnostics:
            self.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, diagnostics.OPTIONS)(diagnostics.pull)
        self.feature(types.TEXT_DOCUMENT_CODE_ACTION, code_actions.options(self.client))(code_actions.offer)
        if self.client.resolves_edits:
            self.feature(types.CODE_ACTION_RESOLVE)(code_actions.resolve)

    def ready(self) -> None:
        """The client is ready for requests of the server's own."""
        configuration.register(self)
        self.when_idle("the catalogue", warmup.load_catalogue)

    def document(self, uri: str) -> Document | None:
        """The open Python document at `uri`."""
        document = self.documents.get(uri)
        return document if document is not None and document.language == "python" else None

    def opened(self, item: types.TextDocumentItem) -> None:
        self.documents[item.uri] = Document(item, self.client.encoding)
        diagnostics.schedule(self, item.uri)

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        document = self.documents.get(uri)
        if document is None:
            logger.warning("Passed over a change of %s, which is not open", uri)
            return
        document.change(params.text_document.version, params.content_changes)
        diagnostics.schedule(self, uri)

    def closed(self, uri: str) -> None:
        document = self.document(uri)
        self.documents.pop(uri, None)
        if document is not None:
            diagnostics.clear(self, uri)

    def lose_track_of(self, params: Json) -> None:
        """A change could not be read: what the text is now is not known, and no edit may be offered for it."""
        uri = table(table(params).get("textDocument")).get("uri")
        if isinstance(uri, str) and uri in self.documents:
            logger.error("A malformed change: %s is left alone until it is opened again", uri)
            self.closed(uri)

    def is_cancelled(self, identity: int | str) -> bool:
        """Whether a waiting message cancels the request with this id."""
        return any(
            message.get("method") == types.CANCEL_REQUEST and table(message.get("params")).get("id") == identity
            for message in map(table, self.inbox.waiting())
        )

    def refresh_diagnostics(self) -> None:
        """Show all diagnostics anew, since what decides on them has changed."""
        if not self.client.pulls_diagnostics:
            for uri in self.documents:
                diagnostics.schedule(self, uri)
        elif self.client.refreshes_diagnostics:
            self.workspace_diagnostic_refresh(None)

    def _do_idle_work(self) -> None:
        name = next(iter(self._idle))
        work = self._idle.pop(name)
        try:
            work()
        except (BrokenPipeError, ConnectionError):
            raise
        except Exception:
            logger.exception("%s failed", name)
