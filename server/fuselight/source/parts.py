"""The parts of a top-level statement that change one by one.

A class is cut into its methods and the rest of it; any other statement is one part. A part whose code stands unchanged
in the next version of a file is the same object there, with the same nodes. What was worked out from some parts holds
for as long as all of them stand.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, TypeVar

from fuselight.source.lines import LineIndex
from fuselight.source.reads import unnoted, watch

T = TypeVar("T")
Ranges: TypeAlias = "tuple[tuple[int, int], ...]"
"""First and last lines, from 1 in the statement."""
_Method = ast.FunctionDef | ast.AsyncFunctionDef


class Facet:
    """What a method sets on `self` by calls: less than all that it holds, and the same for longer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Retyped:
    """What differs in a method from the version before, of which it has the nodes of all other statements."""

    before: Part
    gone: list[ast.stmt]
    come: list[ast.stmt]
    sets: frozenset[str] | None
    """The attributes that all of these statements set, where none calls anything and they do no more."""


class Part:
    """A method of a class, the rest of a class, what stands between its members, or a whole statement."""

    __slots__ = ("_derived", "facet", "key", "lines", "node", "retyped", "text")

    def __init__(self, text: str, lines: Ranges, key: object = None, node: ast.AST | None = None) -> None:
        """`lines` are where `text` stands in the statement; `node` is a method, or the class that it is the rest of.

        Two parts of one text are the same where their keys are: where they stand, and what of them was masked.
        """
        self.text = text
        """As it was parsed: later versions may have other comments in it."""
        self.lines = lines
        self.key = key
        self.node = node
        self.facet = Facet()
        self.retyped: Retyped | None = None
        self._derived: dict[str, Any] = {}

    def derive(self, what: str, make: Callable[[], T]) -> T:
        """What depends on the part alone: made once, whoever reads it."""
        known = self._derived.get(what)
        if known is None:
            known = unnoted(make)
            self._derived[what] = known
        return known

    def keep(self, what: str, make: Callable[[], T], still_good: Callable[[T], bool]) -> T:
        """As `derive`, of what depends on more: made again when `still_good` says no."""
        known = self._derived.get(what)
        if known is None or not still_good(known):
            known = unnoted(make)
            self._derived[what] = known
        return known

    def is_same(self, other: Part) -> bool:
        return self.text == other.text and self.key == other.key

    def __deepcopy__(self, memo: object) -> Part:
        return self  # a copy of a node is read in the place of the node


@dataclass(frozen=True, slots=True)
class Method:
    """A method as a part, on lines of its own: `first` to `last`, from 1 in the statement."""

    part: Part
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one statement."""

    rest: Part
    """All of it but the methods and the gaps."""
    methods: tuple[Method, ...] = ()
    gaps: Part | None = None
    """What stands between the members of a class: comments and empty lines."""

    def __iter__(self) -> Iterator[Part]:
        yield self.rest
        for method in self.methods:
            yield method.part
        if self.gaps is not None:
            yield self.gaps

    def of(self, node: ast.stmt | ast.expr) -> Part:
        """The part that a node belongs to."""
        for method in self.methods:
            if method.first <= node.lineno <= method.last:
                return method.part
        return self.rest

    def on_line(self, line: int) -> Part | None:
        """The part that has one line."""
        return next((part for part in self if any(first <= line <= last for first, last in part.lines)), None)

    def on_lines(self, first: int, last: int) -> Iterator[Part]:
        """The parts that have some of these lines."""
        for method in self.methods:
            if method.first <= last and first <= method.last:
                yield method.part
                if method.first <= first and last <= method.last:
                    return
        yield self.rest
        if self.gaps is not None:
            yield self.gaps


def cut(text: str, lines: LineIndex, body: list[ast.stmt], masked: frozenset[int]) -> Parts:
    """The parts of a statement that was just parsed; its definitions note them from here on."""
    parts = (_of_class(text, lines, body[0], masked) if len(body) == 1 else None) or Parts(
        Part(text, ((1, len(lines)),))
    )
    for node in body:
        watch(node, parts.rest)
    for method in parts.methods:
        assert method.part.node is not None
        watch(method.part.node, method.part)
    return parts


def _of_class(text: str, lines: LineIndex, top: ast.stmt, masked: frozenset[int]) -> Parts | None:
    if not isinstance(top, ast.ClassDef):
        return None
    members = [(node, _first_line(node), node.end_lineno or node.lineno) for node in top.body]
    begin = members[0][1]
    header = [*top.bases, *(one.value for one in top.keywords)]
    if begin <= max([top.lineno, *(one.end_lineno or 0 for one in header)]):
        return None

    def piece(*ranges: tuple[int, int]) -> str:
        return text_of(ranges, text, lines)

    def hidden(first: int, last: int) -> frozenset[int]:
        return frozenset(line for line in masked if first <= line <= last)

    methods: list[Method] = []
    rest, gaps = [(1, begin - 1)], list[tuple[int, int]]()
    outline: list[object] = [begin, hidden(1, begin - 1)]
    end = begin - 1
    for at, (node, first, last) in enumerate(members):
        if first > end + 1:
            gaps.append((end + 1, first - 1))
        alone = first > end and (at + 1 == len(members) or members[at + 1][1] > last)
        if alone and isinstance(node, _Method):
            part = Part(piece((first, last)), ((first, last),), (first, hidden(first, last)), node)
            methods.append(Method(part, first, last))
            outline.append((type(node).__name__, node.name))
        else:
            if last > end:
                rest.append((max(first, end + 1), last))
            outline.append((first, last, hidden(first, last)))
        end = max(end, last)
    if end < len(lines):
        gaps.append((end + 1, len(lines)))
    others = (Part(piece(*rest), tuple(rest), outline, top), Part(piece(*gaps), tuple(gaps), outline))
    return Parts(others[0], tuple(methods), others[1])


def text_of(ranges: Iterable[tuple[int, int]], text: str, lines: LineIndex) -> str:
    """These lines of a statement's text."""
    starts = lines.starts
    return "".join(text[starts[first - 1] : starts[last] if last < len(lines) else None] for first, last in ranges)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min(node.lineno, *(one.lineno for one in decorators)) if decorators else node.lineno


def shared(body: list[ast.stmt], new: Parts, old: Parts) -> Parts:
    """`new` with the parts of `old` that stand in it unchanged, and their nodes in the place of its own in `body`.

    Whoever calls has just parsed `body`: nobody else knows its nodes yet.
    """
    top = body[0]
    if not isinstance(top, ast.ClassDef) or not isinstance(old.rest.node, ast.ClassDef) or not new.methods:
        return new
    known = {method.first: method for method in old.methods}
    methods: list[Method] = []
    for method in new.methods:
        before = known.get(method.first)
        if before is not None and before.part.is_same(method.part):
            assert isinstance(method.part.node, ast.stmt)
            assert isinstance(before.part.node, ast.stmt)
            top.body[top.body.index(method.part.node)] = before.part.node
            methods.append(before)
        else:
            methods.append(method)
    rest = new.rest
    if rest.is_same(old.rest):
        rest = old.rest
        apart = {method.part.node for method in methods}
        _take_over(top, old.rest.node)
        top.body = [
            mine if mine in apart else theirs for mine, theirs in zip(top.body, old.rest.node.body, strict=True)
        ]
        watch(top, rest)
    gaps = old.gaps if new.gaps is not None and old.gaps is not None and new.gaps.is_same(old.gaps) else new.gaps
    return Parts(rest, tuple(methods), gaps)


def _take_over(top: ast.ClassDef, before: ast.ClassDef) -> None:
    """Give a class the nodes of an equal one, but for its body."""
    for name in before._fields:
        if name != "body":
            setattr(top, name, getattr(before, name))


def edited(
    text: str, before: str, lines: LineIndex, top: ast.stmt, old: Parts, parse: Callable[[str], list[ast.stmt]]
) -> tuple[ast.ClassDef, Parts] | None:
    """The class `top`, of the text `before`, as `text` has it, where one method changed and kept its lines.

    Only the method is parsed: in a class of its own, on the lines that it has. None where it takes more.
    """
    if not isinstance(top, ast.ClassDef) or not old.methods:
        return None
    start, end = differing(text, before)
    if text.count("\n", start, len(text) - end) != before.count("\n", start, len(before) - end) or "\r" in text:
        return None
    first, last = lines.line_of(start) + 1, lines.line_of(len(before) - end) + 1
    method = next((one for one in old.methods if one.first <= first and last <= one.last), None)
    if method is None or not isinstance(method.part.node, _Method):
        return None
    begin = lines.starts[method.first - 1]
    stop = len(text) - (len(before) - (lines.starts[method.last] if method.last < len(lines) else len(before)))
    piece = text[begin:stop]
    try:
        [around] = parse("\n" * (method.first - 2) + "class _:\n" + piece)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    node = around.body[0] if isinstance(around, ast.ClassDef) and len(around.body) == 1 else None
    known = method.part.node
    if (
        not isinstance(node, _Method)
        or isinstance(node, ast.FunctionDef) is not isinstance(known, ast.FunctionDef)
        or (node.name, node.col_offset) != (known.name, known.col_offset)
        or (_first_line(node), node.end_lineno) != (method.first, method.last)
        or _indentation(piece) != _indentation(method.part.text)
    ):
        return None
    part = Part(piece, method.part.lines, (method.first, frozenset[int]()), node)
    part.retyped = _retyped(node, known, method.part, range(first, last + 1))
    method.part.retyped = None  # nobody looks further back
    if part.retyped is not None and part.retyped.sets is not None:
        part.facet = method.part.facet
    watch(node, part)
    changed = ast.ClassDef(**{name: getattr(top, name) for name in (*top._fields, *top._attributes)})
    changed.body = [node if one is known else one for one in top.body]
    changed.end_col_offset = changed.body[-1].end_col_offset
    watch(changed, old.rest)
    methods = tuple(Method(part, one.first, one.last) if one is method else one for one in old.methods)
    return changed, Parts(old.rest, methods, old.gaps)


def _retyped(node: _Method, known: _Method, before: Part, lines: range) -> Retyped | None:
    """What differs in `node` from `known`, the method `before`, on `lines`; the rest it takes over from there."""
    if len(node.body) != len(known.body) or lines.start < _first_line(known.body[0]):
        return None
    gone, come, others = list[ast.stmt](), list[ast.stmt](), list[ast.stmt]()
    for at, (old, new) in enumerate(zip(known.body, node.body, strict=True)):
        first, last = _first_line(old), old.end_lineno or old.lineno
        if (first, last) != (_first_line(new), new.end_lineno):
            return None
        if first < lines.stop and lines.start <= last:
            gone.append(old)
            come.append(new)
        else:
            node.body[at] = old
            others += [old]
    sets = _plainly_set([*gone, *come])
    if sets and not sets.isdisjoint(one.attr for other in others for one in ast.walk(other) if _is_of_name(one)):
        sets = None  # it may be set twice, or written to
    return Retyped(before, gone, come, sets)


def _is_of_name(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)


def _plainly_set(statements: list[ast.stmt]) -> frozenset[str] | None:
    """The attributes of plain names that `statements` set to what is not called; None where they do anything else."""
    found: set[str] = set()
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(), attr=name)], value=value):
                if not all(isinstance(one, _PLAIN) for one in ast.walk(value)):
                    return None
                found.add(name)
            case _:
                return None
    return frozenset(found)


_PLAIN = (
    ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.List,
    ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def differing(one: str, other: str) -> tuple[int, int]:
    """How many characters two texts begin and end with alike."""
    start = _common(one, other)
    return start, _common(one[start:][::-1], other[start:][::-1])


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _indentation(piece: str) -> str:
    return piece[: len(piece) - len(piece.lstrip(" \t"))]
