"""Findings as diagnostics, pulled by clients that can, pushed to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from fuselight.fusions.model import Finding
from fuselight.lsp import warmup
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document
from fuselight.lsp.transport import table

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

OPTIONS = types.DiagnosticOptions(inter_file_dependencies=False, workspace_diagnostics=False, identifier="fuselight")


def of(finding: Finding, document: Document, client: Client) -> types.Diagnostic:
    """One finding as the client shows it.

    The severity is Information: editors draw a hint as faint dots, and do not count it.
    """
    related: list[types.DiagnosticRelatedInformation] | None = None
    if client.shows_related and finding.others:
        related = [
            types.DiagnosticRelatedInformation(
                types.Location(document.uri, document.range(span)), "belongs to the fusion"
            )
            for span in finding.others
        ]
    return types.Diagnostic(
        range=document.range(finding.span),
        message=finding.message if finding.withheld is None else f"{finding.message} (no edit: {finding.withheld})",
        severity=types.DiagnosticSeverity.Information,
        code=finding.code,
        source="fuselight",
        code_description=_page(finding.code) if client.shows_code_description else None,
        related_information=related,
        data={"scope": finding.scope, "safety": finding.safety.value},
    )


def _page(code: str) -> types.CodeDescription | None:
    from fuselight.fusions.registry import FUSIONS

    about = FUSIONS.get(code)
    return types.CodeDescription(about.url) if about and about.url else None


def schedule(server: FuselightServer, uri: str) -> None:
    """Push the diagnostics of a document once no message is waiting, so that a burst of keys costs one analysis."""
    if not server.client.pulls_diagnostics and server.document(uri) is not None:
        server.when_idle(("diagnostics of", uri), lambda: _push(server, uri))


def clear(server: FuselightServer, uri: str) -> None:
    """Take back what was pushed for a document that is closed."""
    if not server.client.pulls_diagnostics:
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def pull(ls: FuselightServer, params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport:
    """`textDocument/diagnostic`."""
    uri = params.text_document.uri
    if _is_asked_again(ls, uri):
        raise JsonRpcException(
            "asked again for a newer text", types.LSPErrorCodes.ServerCancelled.value, {"retriggerRequest": False}
        )
    document = ls.document(uri)
    return types.RelatedFullDocumentDiagnosticReport(items=_all(ls, document) if document else [])


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


def _push(server: FuselightServer, uri: str) -> None:
    if document := server.document(uri):
        items = _all(server, document)
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, items, document.version))


def _all(server: FuselightServer, document: Document) -> list[types.Diagnostic]:
    """The findings of the classes to report; the others are refactorings, which wait for the user to look for them."""
    reported = server.configuration.settings(document).reported
    findings = server.configuration.findings(document)
    for problem in server.configuration.new_problems():
        server.window_show_message(types.ShowMessageParams(types.MessageType.Warning, f"fuselight: {problem}"))
    warmup.schedule(server)
    return [of(finding, document, server.client) for finding in findings if finding.safety in reported]
