"""A finding's page, shown where the pointer rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.fusions.model import Finding
from fuselight.source.lines import Span

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer


def hover(ls: FuselightServer, params: types.HoverParams) -> types.Hover | None:
    """`textDocument/hover`: why the site could be fused, what it gains by its own sizes, and the fusion's page."""
    document = ls.document(params.text_document.uri)
    if document is None:
        return None
    at = document.offset(params.position)
    here = [finding for finding in ls.configuration.findings(document) if finding.span.touches(Span(at, at))]
    if not here:
        return None
    finding = min(here, key=lambda found: found.span.end - found.span.start)
    kind = types.MarkupKind.Markdown if ls.client.markdown else types.MarkupKind.PlainText
    analysis = ls.configuration.analysis(document)
    gains = analysis.gains(finding) if analysis is not None else ()
    return types.Hover(types.MarkupContent(kind, _page(finding, gains)), document.range(finding.span))


def _page(finding: Finding, gains: Sequence[str]) -> str:
    # The catalogue is loaded by the analysis that found this, not by a session without findings.
    from fuselight.fusions.registry import FUSIONS

    about = FUSIONS.get(finding.code)
    here = f"### {finding.name} ({finding.code})\n\n{finding.message}"
    if gains:
        here += "\n\nHere, by the sizes in the source:\n\n" + "\n".join(f"- {sentence}" for sentence in gains)
    return f"{here}\n\n---\n\n{about.page}" if about else here
