"""Findings as code actions: offered by document and range, their edits made when one is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcContentModified, JsonRpcException, JsonRpcInvalidParams

from fuselight.fusions.model import Finding, Safety
from fuselight.lsp import diagnostics
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document
from fuselight.lsp.edits import differences, workspace_edit
from fuselight.lsp.notebooks import Cell
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
    wanted = _Wanted(params.context)
    place = document.span(params.range)
    actions: list[types.CodeAction] = []
    here = sorted((one for one in ls.configuration.findings(document) if _is_at(one, place)), key=_rank)
    if here:
        actions += _at_findings(ls, document, here, wanted, params.context.diagnostics)
    actions += _near_misses(ls, document, wanted, place)
    if wanted.asked_for(FIX_ALL) and (fix_all := _fix_all(ls, document)):
        actions.append(fix_all)
    return actions


def resolve(ls: FuselightServer, action: types.CodeAction) -> types.CodeAction:
    """`codeAction/resolve`: the edit, unless the text has moved on since the action was offered.

    Raises:
        JsonRpcContentModified: where it has.
    """
    data = table(action.data)
    if not {"uri", "version", "do"} <= data.keys():
        raise JsonRpcInvalidParams("not an action of fuselight: its data is missing")
    document = ls.document(str(data["uri"]))
    if document is None or document.revision != data["version"]:
        raise JsonRpcContentModified("the document has changed since the action was offered")
    action.edit = _edit(ls, document, data)
    if action.edit is None:
        raise JsonRpcException("nothing is on offer here any more", types.LSPErrorCodes.RequestFailed.value)
    return action


class _Wanted:
    """The kinds that a request asks for. A kind stands for all below it; an empty list asks for nothing special."""

    def __init__(self, context: types.CodeActionContext) -> None:
        self._only = [str(getattr(kind, "value", kind)) for kind in context.only or ()]
        self.by_hand = context.trigger_kind is not types.CodeActionTriggerKind.Automatic
        """Whether the user asked, not an editor whose cursor moved: that one gets what is cheap and can be applied."""

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


def _at_findings(
    ls: FuselightServer,
    document: Document,
    here: Sequence[Finding],
    wanted: _Wanted,
    shown: Sequence[types.Diagnostic],
) -> Iterator[types.CodeAction]:
    """Each finding's own fix; behind these all of its kind in the file, and the comment that silences it."""
    reported = ls.configuration.settings(document).reported
    later: list[types.CodeAction | None] = []
    told: set[tuple[str, Safety]] = set()
    for finding in here:
        is_reported = finding.safety in reported
        # What the settings do not report has no diagnostic to be the quick fix of: it waits to be looked for.
        kind = _KINDS[finding.safety] if is_reported else types.CodeActionKind.RefactorRewrite
        diagnostics = [_diagnostic(finding, document, ls, shown)] if is_reported else None
        if (withheld := ls.configuration.withheld(document, finding)) is not None:
            later.append(_disabled(ls, finding, withheld, kind, wanted))
        elif wanted(kind):
            fix = types.CodeAction(finding.title, kind, diagnostics)
            if kind is types.CodeActionKind.QuickFix:
                fix.is_preferred = finding.safety is Safety.EXACT
            if completed := _completed(ls, document, fix, {"do": "fix", **_name(finding)}):
                yield completed
            if (finding.code, finding.safety) not in told:
                told.add((finding.code, finding.safety))
                later.append(_all_of_kind(ls, document, finding, types.CodeAction("", kind, diagnostics), wanted))
        if is_reported and wanted(types.CodeActionKind.QuickFix):
            later.append(_ignore_action(ls, document, finding, diagnostics))
    yield from (action for action in later if action is not None)


def _all_of_kind(
    ls: FuselightServer, document: Document, finding: Finding, action: types.CodeAction, wanted: _Wanted
) -> types.CodeAction | None:
    """Every finding of the same fusion, and as safe, where there are several."""
    allow = {Safety.EXACT, finding.safety}
    count = sum(
        one.code == finding.code and one.safety in allow and one.withheld is None
        for one in ls.configuration.findings(document)
    )
    # Without resolving, a whole file would be fixed at each move of the cursor.
    if count < 2 or not (wanted.by_hand or ls.client.resolves_edits) or isinstance(document, Cell):
        return None
    class_ = "" if finding.safety is Safety.EXACT else f" ({finding.safety.value})"
    action.title = f"Apply all {count} {finding.name} ({finding.code}) in this file{class_}"
    return _completed(ls, document, action, {"do": "kind", "code": finding.code, "safety": finding.safety.value})


def _ignore_action(
    ls: FuselightServer, document: Document, finding: Finding, diagnostics: list[types.Diagnostic] | None
) -> types.CodeAction | None:
    analysis = ls.configuration.analysis(document)
    if analysis is None or analysis.around(finding.span.start) is None:
        return None
    action = types.CodeAction(f"Ignore {finding.code} on this line", types.CodeActionKind.QuickFix, diagnostics)
    return _completed(ls, document, action, {"do": "ignore", **_name(finding)})


def _near_misses(ls: FuselightServer, document: Document, wanted: _Wanted, place: Span) -> Iterator[types.CodeAction]:
    """The near misses at a place, greyed out with their reason."""
    if not (ls.client.shows_disabled and wanted.by_hand):
        return
    for finding in ls.configuration.refusals(document):
        if finding.refused is not None and _is_at(finding, place):
            action = _disabled(ls, finding, finding.refused, _KINDS[finding.safety], wanted)
            if action is not None:
                yield action


def _disabled(
    ls: FuselightServer, finding: Finding, reason: str, kind: types.CodeActionKind, wanted: _Wanted
) -> types.CodeAction | None:
    """What cannot be applied, for clients that show such actions, to who asked for its kind or for refactorings."""
    if not (ls.client.shows_disabled and wanted.by_hand):
        return None
    for each in (kind, types.CodeActionKind.RefactorRewrite):
        if wanted.asked_for(each):
            return types.CodeAction(finding.title or finding.message, each, disabled=types.CodeActionDisabled(reason))
    return None


def _fix_all(ls: FuselightServer, document: Document) -> types.CodeAction | None:
    if isinstance(document, Cell):
        # Clients ask for it cell by cell, and what is fixed in one would be read anew for the next.
        return None
    findings = ls.configuration.findings(document)
    if not any(finding.safety is Safety.EXACT and not finding.withheld for finding in findings):
        return None
    action = types.CodeAction("Apply all exact fusions in this file", FIX_ALL)
    return _completed(ls, document, action, {"do": "all"})


def _diagnostic(
    finding: Finding, document: Document, ls: FuselightServer, shown: Sequence[types.Diagnostic]
) -> types.Diagnostic:
    """The client's own diagnostic of the finding, as it was sent, so that it knows it again; else one made anew."""
    own = diagnostics.of(finding, document, ls.client, ls.configuration.settings(document))
    return next((known for known in shown if known.code == own.code and known.range == own.range), own)


def _name(finding: Finding) -> dict[str, object]:
    """What tells a finding apart from the others of one version of the text."""
    return {"code": finding.code, "number": finding.number}


def _completed(
    ls: FuselightServer, document: Document, action: types.CodeAction, chosen: Mapping[str, object]
) -> types.CodeAction | None:
    """The action with what its edit is made from later, or with the edit; None where there is none."""
    if ls.client.resolves_edits:
        action.data = {"uri": document.uri, "version": document.revision, **chosen}
        return action
    action.edit = _edit(ls, document, chosen)
    return action if action.edit is not None else None


def _edit(ls: FuselightServer, document: Document, chosen: Mapping[str, object]) -> types.WorkspaceEdit | None:
    """The edit of an action, made from nothing but the text as it is now and the action's own data."""
    match chosen:
        case {"do": "all"}:
            return _of_many(ls, document, Safety.EXACT, None)
        case {"do": "kind", "code": str(code), "safety": str(safety)} if safety in {one.value for one in Safety}:
            return _of_many(ls, document, Safety(safety), code)
        case {"do": "fix" | "ignore" as what, "code": code, "number": number}:
            analysis = ls.configuration.analysis(document)
            findings = ls.configuration.findings(document)
            finding = next((one for one in findings if (one.code, one.number) == (code, number)), None)
            if analysis is None or finding is None:
                return None
            if what == "ignore":
                from fuselight.project.ignoring import ignore

                around = analysis.around(finding.span.start)
                comment = ignore(finding, document.text, around) if around is not None else None
                return workspace_edit([comment], document, ls.client) if comment is not None else None
            fix = ls.configuration.fix(document, finding)
            return workspace_edit(fix.edits, document, ls.client, finding.safety) if fix is not None else None
        case _:
            return None


def _of_many(ls: FuselightServer, document: Document, safety: Safety, code: str | None) -> types.WorkspaceEdit | None:
    if isinstance(document, Cell):
        return None
    fixed = ls.configuration.fixed(document, frozenset({Safety.EXACT, safety}), code)
    if fixed is None or fixed == document.text:
        return None
    return workspace_edit(differences(document.text, fixed), document, ls.client, safety)
