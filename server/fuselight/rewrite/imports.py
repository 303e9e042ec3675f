"""Where a new import goes: into its section, sorted, as isort would put it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.graph.module import Module
from fuselight.source.lines import LineIndex
from fuselight_emitter import RequiredImport

_FUTURE, _STANDARD, _THIRD_PARTY, _LOCAL = range(4)


@dataclass(frozen=True, slots=True)
class _Present:
    """An import statement at the top of the file."""

    start: int
    end: int
    """Behind its line end."""
    section: int
    is_from: bool
    key: str


def import_edits(module: Module, lines: LineIndex, needed: list[RequiredImport]) -> Iterator[tuple[int, str]]:
    """Where each of the needed imports goes, and the text to insert there."""
    present = _present(module, lines)
    by_place: dict[int, list[tuple[tuple[int, bool, str], str, bool, bool]]] = {}
    for need in needed:
        section = _section(need.module, 0)
        is_from = need.name is not None
        at, blank_before, blank_after = _place(present, section, is_from, _key(need.module, need.alias), module, lines)
        by_place.setdefault(at, []).append(
            ((section, is_from, need.module.lower()), need.statement(), blank_before, blank_after)
        )
    for at, entries in sorted(by_place.items()):
        entries.sort()
        text = "".join(f"{statement}\n" for _, statement, _, _ in entries)
        if at > 0 and lines.text[at - 1] not in "\r\n\ufeff":
            text = f"\n{text}"
        before = "\n" if any(blank for _, _, blank, _ in entries) else ""
        after = "\n" if any(blank for _, _, _, blank in entries) else ""
        yield at, f"{before}{text}{after}"


def _present(module: Module, lines: LineIndex) -> list[_Present]:
    """The import statements before the first class or function."""
    found: list[_Present] = []
    for placed in module.placed:
        for node in placed.statement.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                return found
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            span = placed.statement.span(node)
            start, end = placed.start + span.start, placed.start + span.end
            last = lines.line_of(end)
            behind = lines.starts[last + 1] if last + 1 < len(lines) else len(lines.text)
            name = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            alias = node.names[0].asname if isinstance(node, ast.Import) else None
            found.append(
                _Present(start, behind, _section(name, level), isinstance(node, ast.ImportFrom), _key(name, alias))
            )
    return found


def _section(module: str, level: int) -> int:
    root = module.partition(".")[0]
    if level:
        return _LOCAL
    if root == "__future__":
        return _FUTURE
    return _STANDARD if root in sys.stdlib_module_names else _THIRD_PARTY


def _key(module: str, alias: str | None) -> str:
    return f"{module} {alias or ''}".lower()


def _place(
    present: list[_Present], section: int, is_from: bool, key: str, module: Module, lines: LineIndex
) -> tuple[int, bool, bool]:
    """The offset to insert at, and whether a blank line goes before and behind."""
    same = [one for one in present if one.section == section]
    if same:
        alike = [one for one in same if one.is_from == is_from]
        for one in alike:
            if one.key > key:
                return one.start, False, False
        if alike:
            return alike[-1].end, False, False
        return (same[-1].end if is_from else same[0].start), False, False
    later = [one for one in present if one.section > section]
    if later:
        return later[0].start, False, True
    if present:
        return present[-1].end, True, False
    return _top(module, lines), False, True


def _top(module: Module, lines: LineIndex) -> int:
    """Behind the comments, docstring and blank lines that open the file."""
    if not module.placed:
        return 0
    first = module.placed[0]
    start = first.start
    for placed in module.placed:
        for node in placed.statement.body:
            is_docstring = (
                placed is first
                and node is placed.statement.body[0]
                and isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            )
            if is_docstring:
                continue
            decorators = getattr(node, "decorator_list", [])
            offset = placed.start + placed.statement.span(decorators[0] if decorators else node).start
            line = lines.line_of(offset)
            while (
                line > 0
                and lines.line_body(line - 1).startswith("#")
                and not lines.line_body(line - 1).startswith("#!")
            ):
                line -= 1
            return max(lines.starts[line], start)
    return len(lines.text)
