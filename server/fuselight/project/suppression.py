"""`# fuselight: ignore[FUS101]` on a line silences it, `# fuselight: ignore-file` on a line of its own the file."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fuselight.fusions.model import Finding
from fuselight.project.codes import EVERYTHING, matches
from fuselight.source.lines import LineIndex, Span

if TYPE_CHECKING:
    from fuselight.analysis import Analysis

_COMMENT = re.compile(r"#\s*fuselight:\s*(ignore(?:-file)?)(?![\w-])\s*(\[[^\]]*\]?)?", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z]+[0-9]*")


@dataclass(frozen=True, slots=True)
class Suppressions:
    """The comments of one text that silence findings."""

    file: tuple[str, ...] = ()
    """Selectors (`FUS101`, `FUS1`, `ALL`) silenced in the whole file."""
    rows: dict[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    """Selectors silenced by row, from 1; every row of a simple statement that has the comment on its first or last."""

    def __bool__(self) -> bool:
        return bool(self.file or self.rows)

    def silences(self, finding: Finding, lines: LineIndex) -> bool:
        """Whether `finding` is silenced: for the file, or on the first or last row of one of its places."""
        if any(matches(selector, finding.code) for selector in self.file):
            return True
        if not self.rows:
            return False
        return any(
            matches(selector, finding.code)
            for place in (finding.span, *finding.others)
            for row in _ends(place, lines)
            for selector in self.rows.get(row, ())
        )


NONE = Suppressions()

_WORD = "fuselight"
"""A word of every comment that silences, in whatever case."""

_last: tuple[str, Suppressions] = ("", NONE)


def suppressions(text: str) -> Suppressions:
    """The suppression comments of a text, whole or broken. The last text's are kept: each finding of it asks."""
    global _last
    known, found = _last
    if known is not text:
        # Hardly a file goes further.
        found = _suppressions(text) if _COMMENT.search(text) is not None else NONE
        _last = text, found
    return found


def suppressions_in(analysis: Analysis) -> Suppressions:
    """Those of the text of an analysis: of the statements that changed since an earlier one, only these are read."""
    file: list[str] = []
    rows: dict[int, tuple[str, ...]] = {}
    for statement, above in analysis.with_word(_WORD):
        found = statement.keep("suppressions", lambda statement: _suppressions(statement.text))
        file += found.file
        rows.update((above + row, selectors) for row, selectors in found.rows.items())
    return Suppressions(tuple(file), rows) if file or rows else NONE


def _suppressions(text: str) -> Suppressions:
    file: list[str] = []
    rows: dict[int, tuple[str, ...]] = {}
    lines = LineIndex(text)
    statements: dict[int, tuple[int, int]] = {}
    comments: list[tuple[int, str]] = []
    for found in _comments(lines):
        if isinstance(found, _Statement):
            for row in range(found.first, found.last + 1):
                statements[row] = (found.first, found.last)
        else:
            comments.append(found)
    for row, comment in comments:
        for match in _COMMENT.finditer(comment):
            selectors = _selectors(match[2])
            if match[1].casefold() == "ignore":
                first, last = statements.get(row, (row, row))
                covered = range(first, last + 1) if row in (first, last) else (row,)
                for each in covered:
                    rows[each] = (*rows.get(each, ()), *selectors)
            elif lines.line_body(row - 1).lstrip().startswith("#"):
                file += selectors
    return Suppressions(tuple(file), rows)


def _selectors(bracket: str | None) -> tuple[str, ...]:
    """The codes in `[FUS101, FUS2]`; without brackets everything, with a bracket left open nothing."""
    if bracket is None:
        return (EVERYTHING,)
    if not bracket.endswith("]"):
        return ()
    return tuple(code.upper() for code in _CODE.findall(bracket))


def _ends(place: Span, lines: LineIndex) -> tuple[int, int]:
    return lines.line_of(place.start) + 1, lines.line_of(max(place.start, place.end - 1)) + 1


@dataclass(frozen=True, slots=True)
class _Statement:
    """The rows of a logical line."""

    first: int
    last: int


def _comments(lines: LineIndex) -> Iterator[tuple[int, str] | _Statement]:
    """The comments of a text as (row, text), and its logical lines of more than one row.

    Where the text is broken the tokenizer starts again on the row after; what it takes for a string there is
    best guess, as in an editor's colours.
    """
    row = 0
    while row < len(lines):
        reached = row
        try:
            for found in _tokens(lines, row):
                if isinstance(found, int):
                    reached = found
                else:
                    yield found
            return
        except (tokenize.TokenError, SyntaxError):
            row = reached + 1


def _tokens(lines: LineIndex, start: int) -> Iterator[tuple[int, str] | _Statement | int]:
    """As `_comments`, from line `start` (from 0) on; and the line reached, as a number."""
    at = start

    def readline() -> str:
        nonlocal at
        if at >= len(lines):
            return ""
        # The tokenizer does not know a lone "\r" as a line end.
        at += 1
        return lines.line_body(at - 1) + "\n"

    first: int | None = None
    skipped = (tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(readline):
        row = start + token.start[0]
        if token.type == tokenize.COMMENT:
            yield row, token.string
        elif token.type == tokenize.NEWLINE:
            if first is not None and first < row:
                yield _Statement(first, row)
            first = None
        elif token.type not in skipped and first is None:
            first = row
        yield start + token.end[0] - 1
