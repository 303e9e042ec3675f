"""Findings as diagnostics, pulled by clients that can, pushed to the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from fuselight.fusions.model import Finding, Safety
from fuselight.fusions.pages import page_of
from fuselight.lsp import configuration, warmup
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document, Positions, range_of
from fuselight.lsp.transport import Written, table
from fuselight.lsp.work import Steps
from fuselight.project.settings import Settings, Severity

if TYPE_CHECKING:
    from fuselight.lsp.notebooks import Notebook
    from fuselight.lsp.server import FuselightServer

OPTIONS = types.DiagnosticOptions(inter_file_dependencies=False, workspace_diagnostics=True, identifier="fuselight")

_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFORMATION: types.DiagnosticSeverity.Information,
    Severity.HINT: types.DiagnosticSeverity.Hint,
}


@dataclass(slots=True, eq=False)
class _Given:
    """What a pulling client was given last for a document."""

    id: str
    items: list[types.Diagnostic]
    sent: Written | None = None


class Results:
    """What pulling clients were given, and its ids: the same for as long as the diagnostics are."""

    def __init__(self) -> None:
        # A client may still hold ids of the server before this one.
        self._session = os.urandom(4).hex()
        self._number = 0
        self._last: dict[str, _Given] = {}
        self._pushed: dict[str, types.PublishDiagnosticsParams] = {}

    def new_id(self) -> str:
        self._number += 1
        return f"{self._session}-{self._number}"

    def id_of(self, uri: str, items: list[types.Diagnostic]) -> str:
        """The id of the diagnostics of an open document."""
        last = self._last.get(uri)
        if last is None or last.items != items:
            last = self._last[uri] = _Given(self.new_id(), items)
        return last.id

    def report(self, uri: str, write: Callable[[object], Written]) -> Written:
        """The diagnostics of an open document that has an id, in full; written out once, as most keys change none."""
        last = self._last[uri]
        if last.sent is None:
            last.sent = write(types.RelatedFullDocumentDiagnosticReport(last.items, result_id=last.id))
        return last.sent

    def known(self, uri: str) -> str | None:
        """The id that a client was given last for a document."""
        return self._last[uri].id if uri in self._last else None

    def is_news(self, push: types.PublishDiagnosticsParams) -> bool:
        """Whether a push tells anything that the one before did not: of the cells of a notebook few do."""
        if self._pushed.get(push.uri) == push:
            return False
        self._pushed[push.uri] = push
        return True

    def forget(self, uri: str) -> None:
        self._last.pop(uri, None)
        self._pushed.pop(uri, None)


def of(finding: Finding, document: Document, client: Client, settings: Settings) -> types.Diagnostic:
    """One finding as the client shows it."""
    return _diagnostic(
        finding.code,
        finding.message if finding.withheld is None else f"{finding.message} (no edit: {finding.withheld})",
        _SEVERITIES[settings.severity_of(finding.safety)],
        finding.scope,
        finding.safety,
        _page(finding.code) if client.shows_code_description else None,
        document.positions(finding.span),
        tuple(map(document.place, finding.others)) if client.shows_related else (),
    )


@lru_cache(maxsize=4096)
def _diagnostic(
    code: str,
    message: str,
    severity: types.DiagnosticSeverity,
    scope: str,
    safety: Safety,
    page: str | None,
    positions: Positions,
    others: tuple[tuple[str, Positions], ...],
) -> types.Diagnostic:
    """A diagnostic; one for all versions of a text in which it is the same, as it is for most keys."""
    related = [
        types.DiagnosticRelatedInformation(types.Location(uri, range_of(place)), "belongs to the fusion")
        for uri, place in others
    ]
    return types.Diagnostic(
        range=range_of(positions),
        message=message,
        severity=severity,
        code=code,
        source="fuselight",
        code_description=types.CodeDescription(page) if page is not None else None,
        related_information=related or None,
        data={"scope": scope, "safety": safety.value},
    )


def know_pages(pages: Mapping[str, str]) -> None:
    """Take the addresses of pages from who knows them: the catalogue takes a while to load."""
    for code, page in pages.items():
        _pages.setdefault(code, page)


_pages: dict[str, str] = {}


def _page(code: str) -> str | None:
    known = _pages.get(code) or page_of(code)
    if known:
        _pages[code] = known
    return known


def schedule(server: FuselightServer, uri: str) -> None:
    """Push the diagnostics of a document once no message is waiting, so that a burst of keys costs one analysis."""
    if not server.client.pulls_diagnostics and server.document(uri) is not None:
        server.when_idle(("diagnostics of", uri), lambda: _push(server, uri))


def schedule_others(server: FuselightServer, notebook: Notebook, edited: Collection[str]) -> None:
    """Have a client that pulls ask again where an edit of some cells changes what is found in others."""
    if server.client.pulls_diagnostics and server.client.refreshes_diagnostics and notebook.cells:
        others = [uri for uri in notebook.cells if uri not in edited and server.results.known(uri) is not None]
        server.when_idle(("other cells of", notebook.uri), lambda: _refresh(server, others))


def clear(server: FuselightServer, uri: str) -> None:
    """Take back what was pushed for a document that is closed."""
    server.results.forget(uri)
    if not server.client.pulls_diagnostics:
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def pull(ls: FuselightServer, params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport | Written:
    """`textDocument/diagnostic`."""
    uri = params.text_document.uri
    if _is_asked_again(ls, uri):
        raise JsonRpcException(
            "asked again for a newer text", types.LSPErrorCodes.ServerCancelled.value, {"retriggerRequest": False}
        )
    document = ls.document(uri)
    if document is None:
        return types.RelatedFullDocumentDiagnosticReport([])
    result = ls.results.id_of(uri, all_of(ls, document))
    if result == params.previous_result_id:
        return types.RelatedUnchangedDocumentDiagnosticReport(result)
    return ls.results.report(uri, ls.write_out)


def _is_asked_again(server: FuselightServer, uri: str) -> bool:
    """Whether a newer request for the same document is waiting, behind a change."""
    changed = False
    for message in map(table, server.inbox.waiting()):
        if table(table(message.get("params")).get("textDocument")).get("uri") != uri:
            continue
        changed |= message.get("method") == types.TEXT_DOCUMENT_DID_CHANGE
        if changed and message.get("method") == types.TEXT_DOCUMENT_DIAGNOSTIC:
            return True
    return False


def _push(server: FuselightServer, uri: str) -> Steps:
    document = server.document(uri)
    if document is None:
        return
    if document.recalled is not None:
        _push_now(server, document)
    yield from server.analysing(document)
    if server.document(uri) is document:
        _push_now(server, document)


def _push_now(server: FuselightServer, document: Document) -> None:
    push = types.PublishDiagnosticsParams(document.uri, all_of(server, document), document.version)
    if server.results.is_news(push):
        server.text_document_publish_diagnostics(push)


def _refresh(server: FuselightServer, cells: list[str]) -> Steps:
    news = False
    for uri in cells:
        document = server.document(uri)
        if document is not None:
            yield from server.analysing(document)
            before = server.results.known(uri)
            news |= before != server.results.id_of(uri, all_of(server, document))
    if news:
        server.workspace_diagnostic_refresh(None)


def all_of(server: FuselightServer, document: Document) -> list[types.Diagnostic]:
    """The findings of the classes to report; the others are refactorings, which wait for the user to look for them."""
    settings = server.configuration.settings(document)
    findings = server.configuration.shown(document)
    configuration.tell_problems(server)
    warmup.schedule(server)
    return [
        of(finding, document, server.client, settings) for finding in findings if finding.safety in settings.reported
    ]
