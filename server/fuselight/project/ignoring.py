"""Where a comment that silences one finding goes: on its own line where Python lets one stand, else on a near one."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field

from fuselight.fusions.model import Finding, TextEdit
from fuselight.source.lines import LineIndex, Span

_EXISTING = re.compile(r"#\s*fuselight:\s*ignore(?![\w-])\s*\[([^\]#]*)\]", re.IGNORECASE)
_LEFT_OPEN = re.compile(r"#\s*fuselight:\s*ignore(?:-file)?(?![\w-])\s*\[[^\]]*$", re.IGNORECASE)


def ignore(finding: Finding, text: str, around: Span) -> TextEdit | None:
    """The edit that silences `finding` by a `# fuselight: ignore[CODE]`; None where no comment can stand.

    A comment of that kind that covers the place already gets the code added.

    Args:
        finding: One of `text`.
        around: The whole lines of the top-level statement that holds it: no more of the text is read.
    """
    lines = LineIndex(text[around.start : around.end])
    try:
        layout = _layout(lines)
    except (tokenize.TokenError, SyntaxError):
        return None
    place = finding.span.moved(-around.start)
    own = lines.line_of(place.start), lines.line_of(max(place.start, place.end - 1))
    logical = layout.logical_line(own[0])
    for row in (*own, *logical):
        comment = layout.comments.get(row)
        existing = _EXISTING.search(comment.text) if comment else None
        if comment is not None and existing is not None:
            end = around.start + lines.starts[row] + comment.column + existing.end(1)
            return _added(finding.code, existing[1], end)
    row = next((row for row in (*own, logical[1]) if row not in layout.closed), None)
    if row is None:
        return None
    comment = layout.comments.get(row)
    start = around.start + lines.starts[row]
    if comment is not None and _LEFT_OPEN.search(comment.text):
        # Behind it, the codes would be read as its own.
        at = start + comment.column
        return TextEdit(at, at, f"# fuselight: ignore[{finding.code}]  ")
    body = lines.line_body(row)
    return TextEdit(start + len(body.rstrip()), start + len(body), f"  # fuselight: ignore[{finding.code}]")


def _added(code: str, codes: str, end: int) -> TextEdit:
    """The edit that adds a code to those that stand before the bracket at `end`."""
    known = codes.rstrip()
    separator = "" if not known.strip() else " " if known.endswith(",") else ", "
    return TextEdit(end - len(codes) + len(known), end, f"{separator}{code}")


@dataclass(frozen=True, slots=True)
class _Comment:
    column: int
    text: str


@dataclass(slots=True)
class _Layout:
    """What the tokenizer tells of the lines of a text, counted from 0."""

    comments: dict[int, _Comment] = field(default_factory=dict[int, _Comment])
    statements: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """The first and the last line of each logical line."""
    closed: set[int] = field(default_factory=set[int])
    """Lines whose end is inside a string, or a backslash: no comment can stand there."""

    def logical_line(self, row: int) -> tuple[int, int]:
        return next(((first, last) for first, last in self.statements if first <= row <= last), (row, row))


_LAYOUT = frozenset({tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.COMMENT})
# Python 3.12 reads an f-string as tokens of its own; before, it is one string.
_STRING_START = frozenset({getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")}) - {-1}
_STRING_END = frozenset({getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")}) - {-1}


def _layout(lines: LineIndex) -> _Layout:
    layout = _Layout()
    first: int | None = None
    strings: list[int] = []
    for token in _tokens(lines):
        row, end = token.start[0] - 1, token.end[0] - 1
        if token.type == tokenize.COMMENT:
            layout.comments[row] = _Comment(token.start[1], token.string)
        elif token.type == tokenize.NEWLINE:
            layout.statements.append((row if first is None else first, row))
            first = None
        elif token.type not in _LAYOUT and first is None:
            first = row
        if token.type == tokenize.STRING:
            layout.closed.update(range(row, end))
        elif token.type in _STRING_START:
            strings.append(row)
        elif token.type in _STRING_END:
            layout.closed.update(range(strings.pop(), end))
    for row in range(len(lines)):
        if row not in layout.comments and lines.line_body(row).endswith("\\"):
            layout.closed.add(row)
    return layout


def _tokens(lines: LineIndex) -> Iterator[tokenize.TokenInfo]:
    # The tokenizer does not know a lone "\r" as a line end.
    text = "\n".join(lines.line_body(row) for row in range(len(lines)))
    return tokenize.generate_tokens(io.StringIO(text, newline="\n").readline)
