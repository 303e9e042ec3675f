"""Findings as code actions: offered by document and range, their edits made when one is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcContentModified, JsonRpcException, JsonRpcInvalidParams

from fuselight.fusions.model import Finding, Safety
from fuselight.lsp import diagnostics
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document
from fuselight.lsp.edits import differences, workspace_edit
from fuselight.lsp.transport import table
from fuselight.source.lines import Span

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

FIX_ALL = f"{types.CodeActionKind.SourceFixAll.value}.fuselight"

_KINDS = {
    Safety.EXACT: types.CodeActionKind.QuickFix,
    Safety.CHECKPOINT: types.CodeActionKind.QuickFix,
    Safety.NUMERICS: types.CodeActionKind.QuickFix,
    Safety.BREAKING: types.CodeActionKind.RefactorRewrite,
    Safety.INFERENCE: types.CodeActionKind.RefactorRewrite,
}
_ORDER = list(_KINDS)


def options(client: Client) -> types.CodeActionOptions:
    kinds = [types.CodeActionKind.QuickFix, types.CodeActionKind.RefactorRewrite, types.CodeActionKind.SourceFixAll]
    return types.CodeActionOptions([*kinds, FIX_ALL], resolve_provider=client.resolves_edits)


def offer(ls: FuselightServer, params: types.CodeActionParams) -> list[types.CodeAction]:
    """`textDocument/codeAction`.

    What is on offer follows from the text and the range alone: some clients send diagnostics without their source
    or data, or only the nearest. They are used for naming what an action resolves, no more.
    """
    document = ls.document(params.text_document.uri)
    if document is None:
        return []
    wanted = _Wanted(params.context.only)
    place = document.span(params.range)
    actions: list[types.CodeAction] = []
    for finding in sorted(ls.configuration.findings(document), key=_rank):
        kind = _KINDS[finding.safety]
        if not wanted(kind) or not _is_at(finding, place):
            continue
        action = types.CodeAction(title=finding.title, kind=kind)
        if finding.withheld is not None:
            if wanted.asked_for(kind) and ls.client.shows_disabled:
                actions.append(_disabled(action, finding.withheld))
            continue
        if kind is types.CodeActionKind.QuickFix:
            action.diagnostics = [_diagnostic(finding, document, ls.client, params.context.diagnostics)]
            action.is_preferred = finding.safety is Safety.EXACT
        if not ls.client.resolves_edits:
            action.edit = _fix(ls, document, finding)
            if action.edit is None:
                continue
        else:
            action.data = {**_stamp(document), "code": finding.code, "number": finding.number}
        actions.append(action)
    actions.extend(_refused(ls, document, wanted, place))
    if wanted.asked_for(FIX_ALL) and (fix_all := _fix_all_action(ls, document)):
        actions.append(fix_all)
    return actions


def resolve(ls: FuselightServer, action: types.CodeAction) -> types.CodeAction:
    """`codeAction/resolve`: the edit, unless the text has moved on since the action was offered.

    Raises:
        JsonRpcContentModified: where it has.
    """
    data = table(action.data)
    document = ls.document(str(data.get("uri")))
    if "uri" not in data or "version" not in data:
        raise JsonRpcInvalidParams("not an action of fuselight: its data is missing")
    if document is None or document.version != data["version"]:
        raise JsonRpcContentModified("the document has changed since the action was offered")
    if action.kind == FIX_ALL:
        action.edit = _fix_all(ls, document)
        if action.edit is None:
            raise JsonRpcException("a file with a syntax error is not fixed", types.LSPErrorCodes.RequestFailed.value)
        return action
    for finding in ls.configuration.findings(document):
        if (finding.code, finding.number) == (data.get("code"), data.get("number")):
            action.edit = _fix(ls, document, finding)
            if action.edit is None:
                break
            return action
    raise JsonRpcException("nothing is on offer here any more", types.LSPErrorCodes.RequestFailed.value)


class _Wanted:
    """The kinds that a request asks for. A kind stands for all below it; an empty list asks for nothing special."""

    def __init__(self, only: Sequence[str] | None) -> None:
        self._only = [str(getattr(kind, "value", kind)) for kind in only or ()]

    def __call__(self, kind: str) -> bool:
        """Whether an action of this kind is to be offered."""
        return not self._only or self.asked_for(kind)

    def asked_for(self, kind: str) -> bool:
        """Whether this kind was named: what changes a whole file, or cannot be applied, is offered only then."""
        name = str(getattr(kind, "value", kind))
        return any(not only or name == only or name.startswith(f"{only}.") for only in self._only)


def _rank(finding: Finding) -> tuple[int, int]:
    """The safest first, then the nearest."""
    return _ORDER.index(finding.safety), finding.span.end - finding.span.start


def _is_at(finding: Finding, place: Span) -> bool:
    return finding.span.touches(place) or any(other.touches(place) for other in finding.others)


def _stamp(document: Document) -> dict[str, object]:
    return {"uri": document.uri, "version": document.version}


def _diagnostic(
    finding: Finding, document: Document, client: Client, shown: Sequence[types.Diagnostic]
) -> types.Diagnostic:
    """The client's own diagnostic of the finding, as it was sent, so that it knows it again; else one made anew."""
    own = diagnostics.of(finding, document, client)
    return next((known for known in shown if known.code == own.code and known.range == own.range), own)


def _fix(ls: FuselightServer, document: Document, finding: Finding) -> types.WorkspaceEdit | None:
    analysis = ls.configuration.analysis(document)
    fix = analysis.fix(finding) if analysis else None
    return workspace_edit(fix.edits, document, ls.client) if fix else None


def _refused(ls: FuselightServer, document: Document, wanted: _Wanted, place: Span) -> Iterator[types.CodeAction]:
    """The near misses at a place, greyed out with their reason, for clients that show such actions."""
    if not ls.client.shows_disabled:
        return
    for finding in ls.configuration.refusals(document):
        kind = _KINDS[finding.safety]
        if finding.refused is not None and wanted.asked_for(kind) and _is_at(finding, place):
            yield _disabled(types.CodeAction(title=finding.title, kind=kind), finding.refused)


def _disabled(action: types.CodeAction, reason: str) -> types.CodeAction:
    action.disabled = types.CodeActionDisabled(reason)
    return action


def _fix_all_action(ls: FuselightServer, document: Document) -> types.CodeAction | None:
    findings = ls.configuration.findings(document)
    if not any(finding.safety is Safety.EXACT and not finding.withheld for finding in findings):
        return None
    action = types.CodeAction(title="Apply all exact fusions in this file", kind=FIX_ALL)
    if ls.client.resolves_edits:
        action.data = _stamp(document)
    else:
        action.edit = _fix_all(ls, document)
    return action if action.data or action.edit else None


def _fix_all(ls: FuselightServer, document: Document) -> types.WorkspaceEdit | None:
    fixed = ls.configuration.fixed(document)
    if fixed is None:
        return None
    return workspace_edit(differences(document.text, fixed), document, ls.client)
