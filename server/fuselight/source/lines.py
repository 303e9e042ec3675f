"""Positions: character offsets, and the rows and columns that people and protocols use."""

from __future__ import annotations

import re
from bisect import bisect_right
from enum import Enum
from itertools import accumulate
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\r|\n")
_with_end = (1).__add__


class Encoding(Enum):
    """The unit in which a client counts columns."""

    UTF8 = "utf-8"
    UTF16 = "utf-16"
    UTF32 = "utf-32"


class Span(NamedTuple):
    """Characters `start` (included) to `end` (excluded) of a text."""

    start: int
    end: int

    def touches(self, other: Span) -> bool:
        """Whether the two overlap or meet (a cursor at either end of a span is on it)."""
        return self.start <= other.end and other.start <= self.end

    def moved(self, by: int) -> Span:
        return Span(self.start + by, self.end + by)


class LineIndex:
    """Where the lines of a text start. Lines end at `\\r\\n`, `\\r` and `\\n` only, as in `ast` and the protocol."""

    __slots__ = ("starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        if "\r" in text:
            self.starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
        else:
            lines = text.split("\n")
            lines.pop()
            self.starts = [*accumulate(map(_with_end, map(len, lines)), initial=0)]

    def __len__(self) -> int:
        return len(self.starts)

    def line_of(self, offset: int) -> int:
        """The line, from 0, that holds the character at `offset`."""
        return bisect_right(self.starts, offset) - 1

    def row_column(self, offset: int) -> tuple[int, int]:
        """Row and column of an offset, both from 1, the column in characters."""
        line = self.line_of(offset)
        return line + 1, offset - self.starts[line] + 1

    def line_text(self, line: int) -> str:
        """The text of line `line` (from 0), its line end included."""
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        return self.text[self.starts[line] : end]

    def line_body(self, line: int) -> str:
        """The text of line `line` (from 0) without its line end."""
        return self.line_text(line).rstrip("\r\n")

    def position(self, offset: int, encoding: Encoding) -> tuple[int, int]:
        """Line and column, both from 0, the column in units of `encoding`."""
        line = self.line_of(offset)
        return line, _units(self.text[self.starts[line] : offset], encoding)

    def offset(self, line: int, column: int, encoding: Encoding) -> int:
        """The offset of a position counted from 0 in units of `encoding`.

        A line or column past the end is clamped to the end, as the protocol says; a column inside a character
        (half a surrogate pair) is clamped to the character's start.
        """
        if line < 0:
            return 0
        if line >= len(self.starts):
            return len(self.text)
        body = self.line_body(line)
        if encoding is Encoding.UTF32 or body.isascii():
            return self.starts[line] + min(max(column, 0), len(body))
        seen = 0
        for at, character in enumerate(body):
            seen += _units(character, encoding)
            if seen > column:
                return self.starts[line] + at
        return self.starts[line] + len(body)


def _units(text: str, encoding: Encoding) -> int:
    if encoding is Encoding.UTF32 or text.isascii():
        return len(text)
    if encoding is Encoding.UTF8:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
