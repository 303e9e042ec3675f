"""Who reads which part of a file: noted while something is worked out that is to be kept.

The nodes tell of it themselves: that of a class, a method or a function notes its part when somebody looks inside. So
whoever walks a tree need not think of it, and nothing that is read goes unnoted.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from fuselight.source.parts import Facet, Part

T = TypeVar("T")


class _Reader(threading.local):
    parts: set[Part | Facet] | None = None


_reader = _Reader()


def note(part: Part | Facet) -> None:
    """Say that somebody reads `part`, or no more than a facet of one."""
    if _reader.parts is not None:
        _reader.parts.add(part)


def is_noted() -> bool:
    """Whether anybody wants to know what is read."""
    return _reader.parts is not None


def reader() -> set[Part | Facet] | None:
    """What is noted in, if anywhere: to note once what is read again and again."""
    return _reader.parts


def note_in(parts: set[Part | Facet] | None) -> set[Part | Facet] | None:
    """Collect in `parts` what is read from here on; returns where it was collected before, to go back to."""
    before, _reader.parts = _reader.parts, parts
    return before


def unnoted(make: Callable[..., T], *arguments: object) -> T:
    """What `make` returns, of which nobody notes what it reads: it is kept with the parts themselves."""
    before = _reader.parts
    if before is None:
        return make(*arguments)
    _reader.parts = None
    try:
        return make(*arguments)
    finally:
        _reader.parts = before


def watch(node: ast.AST, part: Part) -> None:
    """Have `node`, where it is a definition, note `part` whenever somebody looks inside."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        node.__dict__[_PART] = part
        node.__class__ = _NOTING.get(type(node), type(node))  # pyright: ignore[reportAttributeAccessIssue]


def part_of(node: ast.AST) -> Part | None:
    """The part that a watched definition notes."""
    return node.__dict__.get(_PART)


_PART = "_fuselight_part"


class _Inside:
    """An attribute of a definition that notes its part when it is read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, node: ast.AST | None, kind: type) -> object:
        if node is None:
            return None  # as for `ast`'s own attributes that may be missing
        held = node.__dict__
        if _reader.parts is not None:
            _reader.parts.add(held[_PART])
        try:
            return held[self.name]
        except KeyError:
            raise AttributeError(self.name) from None

    def __set__(self, node: ast.AST, value: object) -> None:
        node.__dict__[self.name] = value


def _noting(base: type[ast.AST], *inside: str) -> type[ast.AST]:
    # Of the same name, which `ast.unparse` and `ast.dump` go by, and with the layout of its base.
    return type(base.__name__, (base,), {"__slots__": (), **{name: _Inside(name) for name in inside}})


_NOTING: dict[type[ast.AST], type[ast.AST]] = {
    ast.FunctionDef: _noting(ast.FunctionDef, "body", "args", "decorator_list", "returns"),
    ast.AsyncFunctionDef: _noting(ast.AsyncFunctionDef, "body", "args", "decorator_list", "returns"),
    ast.ClassDef: _noting(ast.ClassDef, "body", "bases", "keywords", "decorator_list"),
}
