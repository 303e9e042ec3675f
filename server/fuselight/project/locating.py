"""Where a setting stands in its TOML file: `tomllib` tells values, not places."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fuselight.project.settings import SettingsError
from fuselight.source.lines import LineIndex, Span

_PART = r"""(?:[\w-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_TABLE = re.compile(rf"[ \t]*\[\[?[ \t]*({_KEY})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_TOKEN = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#.*|[\[\]{}]|\\.')
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")


def place_of(problem: SettingsError, text: str) -> Span:
    """The key that a problem is about, or the nearest table around it; the place of the fault in a broken file."""
    lines = LineIndex(text)
    if problem.key is None:
        fault = _PLACE.search(problem.problem)
        if fault is None:
            return Span(len(text), len(text)) if problem.problem.endswith("(at end of document)") else Span(0, 0)
        row = min(int(fault[1]), len(lines)) - 1
        start = lines.starts[row] + min(int(fault[2]) - 1, len(lines.line_body(row)))
        return Span(start, lines.starts[row] + len(lines.line_body(row)))
    wanted = problem.key.split(".")
    found, depth = Span(0, 0), 0
    for path, span in _keys(lines):
        if path == wanted:
            return span
        if depth < len(path) <= len(wanted) and wanted[: len(path)] == path:
            found, depth = span, len(path)
    return found


def _keys(lines: LineIndex) -> Iterator[tuple[list[str], Span]]:
    """Every table's header and every key with a line of its own, as a path and its place."""
    table: list[str] = []
    string, brackets = "", 0
    for row in range(len(lines)):
        body = lines.line_body(row)
        rest = body
        if not string and not brackets:
            header = _TABLE.match(body)
            assignment = _ASSIGNMENT.match(body)
            match = header or assignment
            if match is None:
                continue
            path = _parts(match[1])
            if header is not None:
                table = path
            else:
                path = [*table, *path]
                rest = body[match.end() :]
            yield path, Span(match.start(1), match.end(1)).moved(lines.starts[row])
            if header is not None:
                continue
        string, brackets = _left_open(rest, string, brackets)


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, key)]


def _left_open(text: str, string: str, brackets: int) -> tuple[str, int]:
    """The quotes of a string of several lines that a line leaves open, and how many brackets."""
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if string:
            string = "" if mark == string else string
        elif mark in ('"""', "'''"):
            string = mark
        elif mark in ("[", "{"):
            brackets += 1
        elif mark in ("]", "}"):
            brackets = max(brackets - 1, 0)
        elif mark.startswith("#"):
            break
    return string, brackets
