"""What a fusion finds: safety classes, findings and refusals, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fuselight.source.lines import Span


class Safety(Enum):
    """How safe a rewrite is at one site; worked out for each site, not once for a fusion."""

    EXACT = "exact"
    CHECKPOINT = "checkpoint"
    BREAKING = "breaking"
    INFERENCE = "inference"
    NUMERICS = "numerics"


@dataclass(frozen=True, slots=True)
class Finding:
    """One site: what could be fused there, and how safely, or why it is refused.

    `span` is what an editor underlines; `others` are the further places that belong to the site (the other
    siblings, their constructors), at which the same action is offered.
    """

    code: str
    name: str
    message: str
    safety: Safety
    title: str
    scope: str
    span: Span
    others: tuple[Span, ...] = ()
    refused: str | None = None
    """Why the site is no fusion after all; a refused site has no edit."""
    withheld: str | None = None
    """Why the site is reported without an edit (a generated file)."""
    number: int = 0
    """Tells apart findings of one version of a file; what `Analysis.fix` looks up."""


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Replace the characters from `start` to `end` of the text by `content`."""

    start: int
    end: int
    content: str


@dataclass(frozen=True, slots=True)
class Fix:
    """The edits that carry out one finding, in the order of their places, none overlapping another."""

    title: str
    edits: tuple[TextEdit, ...]

    def apply(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        for edit in self.edits:
            parts += [text[at : edit.start], edit.content]
            at = edit.end
        parts.append(text[at:])
        return "".join(parts)
