"""The server: one client, its open documents, and the loop that serves them.

One thread does all the work, in the order of the client's messages, so that no answer can be about a text that
changed under it. What takes longer than a moment is cut in slices, done while no message is waiting: a first analysis
for whoever asked, pushed diagnostics, the workspace's closed files, warming up. Slices rather than a thread beside this
one: two threads of Python take turns anyway, but at places that nobody chose.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, cast

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from fuselight import __version__
from fuselight.lsp import (
    client_process,
    code_actions,
    configuration,
    diagnostics,
    garbage,
    hover,
    notebooks,
    recall,
    startup,
    transport,
    warmup,
    workspace_diagnostics,
)
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document
from fuselight.lsp.log import ClientLog, set_trace, trace
from fuselight.lsp.notebooks import Notebook, Notebooks
from fuselight.lsp.project_files import ProjectFiles
from fuselight.lsp.protocol import FuselightProtocol
from fuselight.lsp.put_off import PutOff
from fuselight.lsp.transport import HungUp, Inbox, Json, Writer, Written, table
from fuselight.lsp.work import Backlog, Priority, Steps
from fuselight.lsp.workspace_diagnostics import WorkspaceDiagnostics

if TYPE_CHECKING:
    from fuselight.project.remembered import Remembered

logger = logging.getLogger(__name__)

_MOMENT = 0.02
"""Seconds for which a request may hold up the messages behind it; what takes longer is put off."""
_SLICE = 0.002
"""Seconds of work between two looks for messages."""


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
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            "fuselight", __version__, protocol_cls=FuselightProtocol, notebook_document_sync=notebooks.SYNC
        )
        self.protocol.set_writer(writer)
        self.inbox = inbox
        self.client = Client()
        self.documents: dict[str, Document] = {}
        self.notebooks = Notebooks(self.documents)
        self.configuration = configuration.Configuration()
        self.project_files = ProjectFiles()
        self.results = diagnostics.Results()
        self.workspace_diagnostics = WorkspaceDiagnostics(self)
        self.exit_status: int | None = None
        self.is_warm = False
        self.trace = types.TraceValue.Off
        self.backlog = Backlog()
        self.put_off = PutOff(self)
        self._log = ClientLog()
        logging.getLogger().addHandler(self._log)
        self.feature(types.TEXT_DOCUMENT_HOVER)(hover.hover)
        self.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(configuration.changed)
        self.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(configuration.files_changed)
        self.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(configuration.folders_changed)
        self.feature(types.TEXT_DOCUMENT_DID_SAVE)(recall.saved)
        self.feature(types.SET_TRACE)(set_trace)

    @cached_property
    def remembered(self) -> Remembered:
        """The findings of texts that were analysed before."""
        from fuselight.project.remembered import Remembered  # the start does not wait for it

        remembered = Remembered.of_user()
        self.backlog.add("what is remembered", remembered.tidy, Priority.BACKGROUND)
        return remembered

    def run(self) -> int:
        """Serve until `exit`, or until the client is gone."""
        receiver = cast("FuselightProtocol", self.protocol)
        try:
            while self.exit_status is None:
                self.configuration.look_again()
                if self._log and receiver.is_ready:
                    self._log.send(self)
                if self.backlog and not self.inbox.waiting():
                    self.backlog.step()
                    continue
                message = self.inbox.take()
                if isinstance(message, HungUp):
                    break
                started = perf_counter()
                try:
                    receiver.receive(message)
                except BrokenPipeError:
                    raise
                except Exception:
                    logger.exception("A message could not be handled")
                if self.trace is not types.TraceValue.Off and isinstance(message, dict):
                    trace(self, message, (perf_counter() - started) * 1000)
        except (BrokenPipeError, ConnectionError):
            logger.info("The client is gone")
        except KeyboardInterrupt:
            pass
        return 1 if self.exit_status is None else self.exit_status

    def when_idle(self, name: object, work: Callable[[], Steps | None]) -> None:
        """Do `work` once, when no message is waiting; a later call with the same name takes the place of this one."""
        self.backlog.add(name, work)

    def analysing(self, document: Document) -> Steps:
        """Analyse the newest text of a document for as long as it is open, in slices."""
        until = perf_counter() + _SLICE
        for _ in document.work(self.configuration.settings(document).line_length):
            if perf_counter() > until:
                yield
                if self.document(document.uri) is not document:
                    return
                until = perf_counter() + _SLICE

    def is_analysed_soon(self, document: Document) -> bool:
        """Work on the analysis of a document for a moment; whether nothing is left to do then."""
        line_length = self.configuration.settings(document).line_length
        until = perf_counter() + _MOMENT
        for _ in document.work(line_length):
            if perf_counter() > until:
                break
        return document.is_analysed(line_length)

    def write_out(self, result: object) -> Written:
        """A result as it is sent: for one that is sent more than once."""
        return cast("FuselightProtocol", self.protocol).write_out(result)

    def report_server_error(self, error: Exception, source: object) -> None:
        """To the log alone: a message box for each fault is in the user's way, and recurses once output is gone."""
        logger.error("%s", error, exc_info=error)

    def meet(self, params: types.InitializeParams) -> None:
        """Take in what the client says of itself, and settle what to announce to it."""
        self.client = Client.of(params.capabilities)
        self.configuration.initialize(params)
        if params.trace is not None:
            set_trace(self, types.SetTraceParams(params.trace))
        if params.process_id is not None:
            client_process.watch(params.process_id, self.inbox.hang_up)
        # A client gets its diagnostics by one way: announcing the pull to a client that does not pull would leave
        # it to be pushed, and pushing to one that pulls shows each twice.
        if self.client.pulls_diagnostics:
            self.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, diagnostics.OPTIONS)(diagnostics.pull)
            self.feature(types.WORKSPACE_DIAGNOSTIC)(workspace_diagnostics.asked)
        self.feature(types.TEXT_DOCUMENT_CODE_ACTION, code_actions.options(self.client))(code_actions.offer)
        if self.client.resolves_edits:
            self.feature(types.CODE_ACTION_RESOLVE)(code_actions.resolve)

    def ready(self) -> None:
        """The client is ready for requests of the server's own."""
        configuration.register(self)
        self.when_idle("the catalogue", warmup.load_catalogue)
        self.backlog.add("the start", startup.keeping, Priority.BACKGROUND)

    def document(self, uri: str) -> Document | None:
        """The open Python document at `uri`."""
        document = self.documents.get(uri)
        return document if document is not None and document.language == "python" else None

    def opened(self, item: types.TextDocumentItem) -> None:
        if item.uri.startswith(f"{notebooks.CELL_SCHEME}:") and item.language_id == "python":
            self.notebooks.open_alone(item, self.client.encoding)
        else:
            document = self.documents[item.uri] = Document(item, self.client.encoding)
            if document.language == "python":
                recall.recall(self, document)
        self.workspace_diagnostics.news()
        diagnostics.schedule(self, item.uri)
        recall.schedule(self, item.uri)

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        document = self.documents.get(uri)
        if document is None:
            logger.warning("Passed over a change of %s, which is not open", uri)
            return
        self.put_off.changed(uri)
        document.change(params.text_document.version, params.content_changes)
        self.workspace_diagnostics.news()
        diagnostics.schedule(self, uri)

    def closed(self, uri: str) -> None:
        document = self.document(uri)
        self.documents.pop(uri, None)
        self.workspace_diagnostics.news()
        if document is not None:
            diagnostics.clear(self, uri)
            self.backlog.add("garbage", garbage.look_everywhere, Priority.BACKGROUND)

    def notebook_opened(self, params: types.DidOpenNotebookDocumentParams) -> None:
        self._show_cells(self.notebooks.open(params, self.client.encoding))

    def notebook_changed(self, params: types.DidChangeNotebookDocumentParams) -> None:
        for uri in self.notebooks.cells_of(params.notebook_document.uri):
            self.put_off.changed(uri)
        changed = self.notebooks.change(params)
        if changed is not None:
            notebook, closed = changed
            for uri in closed:
                self.closed(uri)
            self._show_cells(notebook)
            cells = params.change.cells
            edited = {content.document.uri for content in (cells.text_content if cells else None) or ()}
            diagnostics.schedule_others(self, notebook, edited)

    def notebook_closed(self, uri: str) -> None:
        for cell in self.notebooks.close(uri):
            self.closed(cell)

    def _show_cells(self, notebook: Notebook) -> None:
        self.workspace_diagnostics.news()
        for uri in notebook.cells:
            diagnostics.schedule(self, uri)

    def lose_track_of(self, params: Json) -> None:
        """A change could not be read: what the text is now is not known, and no edit may be offered for it."""
        notebook = table(table(params).get("notebookDocument")).get("uri")
        if isinstance(notebook, str) and self.notebooks.cells_of(notebook):
            logger.error("A malformed change: %s is left alone until it is opened again", notebook)
            self.notebook_closed(notebook)
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
