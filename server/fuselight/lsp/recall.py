"""What was found in a file when it was open before: shown at once, while the file is read anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.fusions.pages import pages_of
from fuselight.lsp import configuration, diagnostics
from fuselight.lsp.work import Priority, Steps

if TYPE_CHECKING:
    from fuselight.analysis import Analysis
    from fuselight.lsp.documents import Document
    from fuselight.lsp.server import FuselightServer


def recall(server: FuselightServer, document: Document) -> None:
    """Have a document that was just opened, or is about to be read, show what is remembered of its text."""
    document.recalled = server.remembered.of(document.text)
    if document.recalled is not None:
        diagnostics.know_pages(document.recalled.pages)


def schedule(server: FuselightServer, uri: str) -> None:
    """Remember what is found in a document as it is now, opened or saved, once that is known."""
    server.backlog.add(("what is found in", uri), lambda: _remember_later(server, uri), Priority.IDLE)


def saved(ls: FuselightServer, params: types.DidSaveTextDocumentParams) -> None:
    """`textDocument/didSave`: the text that is opened next."""
    configuration.saved(ls, params)
    if ls.document(params.text_document.uri) is not None:
        schedule(ls, params.text_document.uri)


def remember(server: FuselightServer, analysis: Analysis) -> None:
    """Remember what was found in a text."""
    findings = analysis.findings
    if not analysis.problems and not analysis.is_faulty:
        server.remembered.keep(analysis.text, findings, pages_of(findings))


def _remember_later(server: FuselightServer, uri: str) -> Steps:
    document = server.document(uri)
    if document is None:
        return
    text = document.text
    yield from server.analysing(document)
    analysis = server.configuration.analysis(document) if document.text is text else None
    if analysis is not None:
        remember(server, analysis)
