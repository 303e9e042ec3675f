"""Offsets, rows and columns, against the plainest way to count them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuselight.source.lines import Encoding, LineIndex, Span

TEXTS = st.text(alphabet=st.sampled_from("ab\t \n\r\f\v\x85\u2028é😀\ufeff\U0001d538"), max_size=40)
WIDTH = {Encoding.UTF8: "utf-8", Encoding.UTF16: "utf-16-le", Encoding.UTF32: "utf-32-le"}
UNIT = {Encoding.UTF8: 1, Encoding.UTF16: 2, Encoding.UTF32: 4}


def reference_lines(text: str) -> list[str]:
    """The lines with their ends: `\\r\\n`, `\\r` and `\\n` end one, nothing else does."""
    return [*re.findall(r"[^\r\n]*(?:\r\n|\r|\n)", text), re.split(r"\r\n|\r|\n", text)[-1]]


@given(TEXTS)
def test_lines(text: str) -> None:
    index = LineIndex(text)
    lines = reference_lines(text)
    assert [index.line_text(number) for number in range(len(index))] == lines
    assert [index.line_body(number) for number in range(len(index))] == [line.rstrip("\r\n") for line in lines]
    assert "".join(lines) == text


@given(TEXTS, st.sampled_from(list(Encoding)))
def test_every_offset_goes_there_and_back(text: str, encoding: Encoding) -> None:
    index = LineIndex(text)
    for offset in range(len(text) + 1):
        line, column = index.position(offset, encoding)
        before = text[index.starts[line] : offset]
        assert column == len(before.encode(WIDTH[encoding])) // UNIT[encoding]
        body_end = index.starts[line] + len(index.line_body(line))
        assert index.offset(line, column, encoding) == min(offset, body_end)
        assert index.row_column(offset) == (line + 1, offset - index.starts[line] + 1)


@given(TEXTS, st.integers(-3, 9), st.integers(-3, 30), st.sampled_from(list(Encoding)))
def test_any_position_is_clamped_into_the_text(text: str, line: int, column: int, encoding: Encoding) -> None:
    index = LineIndex(text)
    offset = index.offset(line, column, encoding)
    assert 0 <= offset <= len(text)
    if 0 <= line < len(index):
        start = index.starts[line]
        assert start <= offset <= start + len(index.line_body(line))


@pytest.mark.parametrize(
    ("one", "other", "touch"),
    [
        ((0, 3), (3, 5), True),
        ((0, 3), (4, 5), False),
        ((2, 2), (0, 5), True),
        ((0, 0), (0, 0), True),
        ((4, 9), (0, 3), False),
    ],
)
def test_spans_touch(one: tuple[int, int], other: tuple[int, int], touch: bool) -> None:
    assert Span(*one).touches(Span(*other)) is touch
    assert Span(*other).touches(Span(*one)) is touch
    assert Span(*one).moved(2) == Span(one[0] + 2, one[1] + 2)
