"""One version of one file, analysed: the way from text to findings to edits, for the server and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fuselight.fusions.model import Finding, Fix, Safety
from fuselight.source.lines import LineIndex


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Why a text, or a part of it, is no Python: `row` and `column` from 1."""

    message: str
    row: int
    column: int
    newer_python: str | None = None
    """The Python version that has the syntax met here, where it is newer than the running one."""


class Analysis:
    """The findings of one text. Immutable; the next version of the text is `analysis.updated(text)`."""

    def __init__(self, text: str, *, line_length: int = 88) -> None:
        self.text = text
        self.line_length = line_length
        self.problems: tuple[SyntaxProblem, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        """Sites with a rewrite on offer, in the order of their place."""
        self.refusals: tuple[Finding, ...] = ()
        """Near misses, each with its reason in `refused`."""

    @cached_property
    def lines(self) -> LineIndex:
        return LineIndex(self.text)

    def updated(self, text: str) -> Analysis:
        """The analysis of the next version; what did not change is taken over, not worked out again."""
        return Analysis(text, line_length=self.line_length)

    def fix(self, finding: Finding) -> Fix | None:
        """The edits that carry out `finding`, one of this analysis; None where its edit is withheld."""
        raise LookupError(finding)


@dataclass(frozen=True, slots=True)
class FixedText:
    """A text fixed until nothing was left, and what was applied on the way."""

    text: str
    applied: tuple[Finding, ...]


def fix_all(analysis: Analysis, allow: frozenset[Safety], codes: frozenset[str] | None = None) -> FixedText:
    """Apply every finding whose safety is in `allow` (and code in `codes`) until none is left."""
    return FixedText(analysis.text, ())
