"""Each finding with the lines it stands on and the change on offer, as compilers show theirs."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator

from fuselight.cli.formats import Report, label, notes, summary
from fuselight.cli.run import Site, displayed
from fuselight.cli.terminal import Style, printable
from fuselight.fusions.model import Fix, TextEdit
from fuselight.source.lines import LineIndex, Span

_AROUND = 2
"""Lines shown before and after the place itself."""
_MOST = 12
"""Lines of a place that are shown before its middle is left out."""


def render(report: Report) -> str:
    out: list[str] = []
    for file in report.files:
        lines = LineIndex(file.text)
        path = printable(displayed(file.path))
        for site in file.sites:
            out += [f"{line}\n" for line in _finding(site, path, lines, report.style)]
            out.append("\n")
    return "".join(out) + summary(report)


def _finding(site: Site, path: str, lines: LineIndex, style: Style) -> Iterator[str]:
    finding = site.finding
    row, column = lines.row_column(finding.span.start)
    message = printable(" ".join(finding.message.splitlines()))
    yield f"{style.code(finding.code)} [{label(site)}] {style.bold(message)}"
    shown = list(_shown_lines(finding.span, lines))
    margin = len(str(max(line for line in shown if line is not None) + 1))
    edge = f"{' ' * margin} {style.gutter('|')}"
    yield f"{' ' * margin}{style.gutter('-->')} {path}:{row}:{column}"
    yield edge
    first, last = lines.line_of(finding.span.start), lines.line_of(max(finding.span.start, finding.span.end - 1))
    for line in shown:
        if line is None:
            yield f"{style.gutter('...')}"
            continue
        body = lines.line_body(line)
        number = style.gutter(f"{line + 1:>{margin}} |")
        bar = (style.caret("|") if first <= line <= last else " ") + " " if first != last else ""
        yield f"{number} {bar}{printable(body)}".rstrip()
        if first == last == line:
            start, end = finding.span.start - lines.starts[line], finding.span.end - lines.starts[line]
            before, under = _width(body[:start]), _width(body[start:end]) or 1
            yield f"{edge} {' ' * before}{style.caret('^' * under)}"
        elif line == last:
            yield f"{edge} {style.caret('|' + '_' * _width(body) + '^')}"
    yield edge
    if finding.others:
        also = (":".join(map(str, lines.row_column(other.start))) for other in finding.others)
        yield f"{style.faint('also at')}: {', '.join(also)}"
    for name, text in notes(finding):
        yield f"{style.faint(name)}: {printable(text)}"
    if site.fix is not None:
        yield from _change(site.fix, lines, style)


def _shown_lines(span: Span, lines: LineIndex) -> Iterator[int | None]:
    """The lines around a place; None where its middle is left out."""
    first, last = lines.line_of(span.start), lines.line_of(max(span.start, span.end - 1))
    start, end = max(0, first - _AROUND), min(len(lines) - 1, last + _AROUND)
    # A blank line at the edge of a frame shows nothing.
    while start < first and not lines.line_body(start).strip():
        start += 1
    while end > last and not lines.line_body(end).strip():
        end -= 1
    if last - first < _MOST:
        yield from range(start, end + 1)
        return
    half = _MOST // 2
    yield from range(start, first + half)
    yield None
    yield from range(last - half + 1, end + 1)


def _change(fix: Fix, lines: LineIndex, style: Style) -> Iterator[str]:
    """The unified diff of a fix, without its file names."""
    shift = 0
    for first, before, after in _touched(fix.edits, lines):
        for hunk in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_grouped_opcodes(1):
            old, new = first + hunk[0][1] + 1, first + hunk[0][3] + 1 + shift
            removed, added = hunk[-1][2] - hunk[0][1], hunk[-1][4] - hunk[0][3]
            yield style.faint(f"@@ -{old},{removed} +{new},{added} @@")
            for kind, start, end, new_start, new_end in hunk:
                if kind == "equal":
                    yield from (f" {printable(text)}".rstrip() for text in before[start:end])
                    continue
                yield from (style.removed(f"-{printable(text)}") for text in before[start:end])
                yield from (style.added(f"+{printable(text)}") for text in after[new_start:new_end])
        shift += len(after) - len(before)


def _touched(edits: tuple[TextEdit, ...], lines: LineIndex) -> Iterator[tuple[int, list[str], list[str]]]:
    """Where edits are close to each other: the first line, from 0, the lines as they are, the lines as they become."""
    groups: list[tuple[int, int, list[TextEdit]]] = []
    for edit in edits:
        first = max(0, lines.line_of(edit.start) - 1)
        last = min(len(lines) - 1, lines.line_of(edit.end) + 1)
        if groups and first <= groups[-1][1] + 1:
            groups[-1] = (groups[-1][0], max(groups[-1][1], last), [*groups[-1][2], edit])
        else:
            groups.append((first, last, [edit]))
    for first, last, members in groups:
        start = lines.starts[first]
        before = lines.text[start : lines.starts[last] + len(lines.line_text(last))]
        moved = tuple(TextEdit(edit.start - start, edit.end - start, edit.content) for edit in members)
        yield first, _bodies(before), _bodies(Fix("", moved).apply(before))


def _bodies(text: str) -> list[str]:
    """The lines of a text; what comes after its last line end is one only if it holds something."""
    lines = LineIndex(text)
    bodies = [lines.line_body(line) for line in range(len(lines))]
    return bodies if bodies[-1] else bodies[:-1]


def _width(text: str) -> int:
    """The columns that `text` takes as it is shown."""
    shown = printable(text)
    if shown.isascii():
        return len(shown)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in shown
    )
