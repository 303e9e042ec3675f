"""The `full` format: frames around any place, and diffs that say exactly what the edits do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuselight.cli.formats import Report, full
from fuselight.cli.run import FileReport, Site
from fuselight.cli.terminal import Style
from fuselight.fusions.model import Finding, Fix, Safety, TextEdit
from fuselight.source.lines import LineIndex, Span

HUNK = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@")


def rendered(text: str, span: Span, fix: Fix | None = None) -> list[str]:
    finding = Finding("FUS101", "name", "message", Safety.EXACT, "title", "scope", span)
    report = Report((FileReport(Path("m.py"), text, (Site(finding, fix),)),), Style(False))
    return full.render(report).splitlines()


def patched(before: list[str], diff: list[str]) -> list[str]:
    """`before` with a unified diff applied, every context and removed line checked."""
    after: list[str] = []
    at = 0
    for line in diff:
        if match := HUNK.fullmatch(line):
            old = int(match[1]) - 1
            after += before[at:old]
            at = old
            assert len(after) == int(match[3]) - 1
        elif line.startswith("+"):
            after.append(line[1:])
        else:
            assert before[at] == line[1:]
            at += 1
            if not line.startswith("-"):
                after.append(line[1:])
    return after + before[at:]


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, tuple[TextEdit, ...]]:
    text = draw(st.text("ab\n", max_size=60))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    contents = st.text("xy\n", max_size=6)
    return text, tuple(TextEdit(a, b, draw(contents)) for a, b in zip(cuts[::2], cuts[1::2], strict=False))


@given(edited())
def test_the_diff_is_the_edit(case: tuple[str, tuple[TextEdit, ...]]) -> None:
    text, edits = case
    fix = Fix("title", edits)
    lines = rendered(text, Span(0, 0), fix)
    diff = lines[lines.index("help: title") + 1 : -2]
    # A context line that is empty is printed without its blank.
    diff = [line or " " for line in diff]
    assert patched(bodies(text), diff) == bodies(fix.apply(text))


def bodies(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


@given(st.text("ab \t\r\n\u4e2d\x0c\u2028", max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_any_place_has_a_frame(text: str, start: int, length: int) -> None:
    start = min(start, len(text))
    span = Span(start, min(len(text), start + length))
    row, column = LineIndex(text).row_column(start)
    lines = rendered(text, span)
    assert lines[1].endswith(f"--> m.py:{row}:{column}")
    assert any("^" in line for line in lines[2:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("<x>", ["1 | x", "  | ^"], id="whole text"),
        pytest.param("a\n\n\n<xy>\n\n\nb\n", ["4 | xy", "  | ^^"], id="blank lines at the edge"),
        pytest.param(
            "a\n<f(\n  x)>\nb", ["1 |   a", "2 | | f(", "3 | |   x)", "  | |____^", "4 |   b"], id="two lines"
        ),
        pytest.param(
            "\n".join(["<a", *"bcdefghijklmnop", "q>"]),
            [
                *(f"{row:>2} | | {name}" for row, name in enumerate("abcdef", 1)),
                "...",
                *(f"{row:>2} | | {name}" for row, name in enumerate("lmnopq", 12)),
                "   | |_^",
            ],
            id="many lines",
        ),
        pytest.param("\n" * 8 + "a\n<x>\n", [" 9 | a", "10 | x", "   | ^"], id="numbers of two widths"),
    ],
)
def test_frame(text: str, expected: list[str]) -> None:
    start, end = text.index("<"), text.index(">") - 1
    lines = rendered(text.replace("<", "").replace(">", ""), Span(start, end))
    assert lines[3 : lines.index("help: title") - 1] == expected
