"""Triangles of ones, by what made them: in the function, or in `__init__` where a buffer holds them."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass

from fuselight.fusions.held_values import unwritten
from fuselight.fusions.matching import Matcher
from fuselight.fusions.needs import InScope
from fuselight.graph.classes import resolve
from fuselight.graph.constants import number_in
from fuselight.graph.module import Module
from fuselight.graph.ranks import argument
from fuselight.graph.values import Value


@dataclass(frozen=True, slots=True)
class Triangle:
    """A square of truth values, or of summands: which half is true, or is zero with minus infinity in the other.

    Attributes:
        shows: "lower" with the diagonal, or "upper" without it.
        sizes: How many rows and columns.
        is_strict: Whether the lower half is without the diagonal, and the upper one has it.
    """

    shows: str
    sizes: tuple[Value | None, Value | None]
    is_strict: bool = False

    def inverted(self) -> Triangle:
        return Triangle("upper" if self.shows == "lower" else "lower", self.sizes, self.is_strict)


def _triangle(name: str, diagonal: object, sizes: tuple[Value | None, Value | None], added: bool) -> Triangle | None:
    """What `tril` and `triu` leave of a matrix, where it is one half with the diagonal, or without."""
    if name == "tril" and diagonal in (0, -1) and not added:
        return Triangle("lower", sizes, is_strict=diagonal == -1)
    if name == "triu" and diagonal in (0, 1):
        return Triangle("lower" if added else "upper", sizes, is_strict=diagonal == 0)
    return None


class Triangles:
    """Reads triangles in the graph, and in `__init__` where a buffer is made."""

    def __init__(self, where: InScope, matcher: Matcher) -> None:
        self._where = where
        self._matcher = matcher

    def of(self, value: Value, added: bool, depth: int = 10) -> Triangle | None:
        if depth == 0:
            return None
        kind, node = value.kind, value.node
        if kind in ("tril", "triu"):
            return self._cut(value, added)
        if kind == "compare" and isinstance(node, ast.Compare) and len(node.ops) == 1 and not added:
            inner = self.of(value.inputs[0], added, depth - 1)
            keeps = _keeps(node.ops[0], value.inputs[1].constant)
            return inner if inner is None or keeps is None else inner if keeps else inner.inverted()
        last = kind.rpartition(" ")[2].rpartition(".")[2]
        if last in ("eq", "ne", "lt", "gt", "le", "ge") and len(value.inputs) == 2 and not added:
            inner = self.of(value.inputs[0], added, depth - 1)
            keeps = _keeps(_OPERATORS[last](), value.inputs[1].constant)
            return inner if inner is None or keeps is None else inner if keeps else inner.inverted()
        inverts = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert)
        if (inverts or last == "logical_not") and not added and len(value.inputs) == 1:
            inner = self.of(value.inputs[0], added, depth - 1)
            return inner.inverted() if inner is not None else None
        if last in ("bool", "to", "type", "type_as", "float", "cuda", "contiguous") and value.inputs:
            return self.of(value.inputs[0], added, depth - 1)
        if kind == "getitem":
            return self._element(value, added, depth)
        if kind in ("method view", "reshape", "unsqueeze"):
            return self._viewed(value, added, depth)
        if kind == "attribute":
            made = unwritten(self._where.module, self._where.scope, value)
            return _made_triangle(self._where.module, made, added) if made is not None else None
        return None

    def _cut(self, value: Value, added: bool) -> Triangle | None:
        whole = value.inputs[0]
        diagonal = argument(value, 1, "diagonal")
        number = 0 if diagonal is None else diagonal.constant
        sizes = self._full(whole, -math.inf if added else 1.0)
        return _triangle(value.kind, number, sizes, added) if sizes is not None else None

    def _full(self, value: Value, wanted: float) -> tuple[Value | None, Value | None] | None:
        """The two sizes of a matrix that is filled with one number."""
        if value.kind in ("method to", "method bool", "method cuda", "method type_as") and value.inputs:
            return self._full(value.inputs[0], wanted)
        if value.kind == "torch.ones" and wanted == 1.0:
            sizes = value.inputs
        elif value.kind == "torch.full":
            fill = argument(value, 1, "fill_value")
            known = self._matcher.number(fill) if fill is not None else None
            truth = fill.constant is True if fill is not None else False
            if known != wanted and not (truth and wanted == 1.0):
                return None
            sizes = value.inputs[:1]
        else:
            return None
        if len(sizes) == 1 and sizes[0].kind == "container":
            sizes = sizes[0].inputs
        return (sizes[0], sizes[1]) if len(sizes) == 2 else None

    def _element(self, value: Value, added: bool, depth: int) -> Triangle | None:
        """`mask[:, :, :T, :T]`, `mask[:T, :T]`, `mask[None, None]`."""
        node = value.node
        if not isinstance(node, ast.Subscript):
            return None
        inner = self.of(value.inputs[0], added, depth - 1)
        if inner is None:
            return None
        elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        values = value.inputs[1].inputs if value.inputs[1].kind == "container" else (value.inputs[1],)
        stops: list[Value] = []
        for element, one in zip(elements, values, strict=True):
            if isinstance(element, ast.Constant) and (element.value is None or element.value is ...):
                continue
            if not isinstance(element, ast.Slice):
                return None
            whole = element.lower is None and element.upper is None and element.step is None
            if whole and not stops:
                continue
            lower = element.lower is None or (isinstance(element.lower, ast.Constant) and element.lower.value == 0)
            if not lower or element.upper is None or element.step is not None:
                return None
            if not one.inputs:
                return None
            stops.append(one.inputs[-1])
        if not stops:
            return inner
        return Triangle(inner.shows, (stops[0], stops[1]), inner.is_strict) if len(stops) == 2 else None

    def _viewed(self, value: Value, added: bool, depth: int) -> Triangle | None:
        """With axes of size one in front: `.view(1, 1, n, n)`, `.unsqueeze(0)`."""
        inner = self.of(value.inputs[0], added, depth - 1)
        if inner is None:
            return None
        if value.kind == "unsqueeze":
            dim = argument(value, 1, "dim")
            return inner if dim is not None and dim.constant == 0 else None
        sizes = value.inputs[1:]
        front = sizes[:-2]
        return inner if len(sizes) > 2 and all(one.constant == 1 for one in front) else None


_OPERATORS = {"eq": ast.Eq, "ne": ast.NotEq, "lt": ast.Lt, "le": ast.LtE, "gt": ast.Gt, "ge": ast.GtE}


def _keeps(operator: ast.cmpop, other: object) -> bool | None:
    """Whether `x <operator> other` is true for ones and false for zeros (or the other way round: False)."""
    if not isinstance(other, int | float):
        return None
    verdicts: dict[type[ast.cmpop], tuple[bool, bool]] = {
        ast.Eq: (other == 1, other == 0), ast.NotEq: (other != 1, other != 0), ast.Lt: (other > 1, other > 0),
        ast.LtE: (other >= 1, other >= 0), ast.Gt: (other < 1, other < 0), ast.GtE: (other <= 1, other <= 0),
    }  # fmt: skip
    found = verdicts.get(type(operator))
    if found is None or found[0] == found[1]:
        return None
    return found[0]


def _made_triangle(module: Module, node: ast.expr, added: bool) -> Triangle | None:
    """The triangle that a buffer holds; its sizes are for a slice to say."""
    while True:
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr=method), args=args) if resolve(
                node.func, module.names
            ) is None and method in ("view", "reshape", "bool", "to", "float", "unsqueeze", "type", "contiguous"):
                fronts = args[:-2] if method in ("view", "reshape") else args if method == "unsqueeze" else []
                wanted = 1 if method in ("view", "reshape") else 0
                if any(not (isinstance(one, ast.Constant) and one.value == wanted) for one in fronts):
                    return None
                node = inner
            case ast.Subscript(value=inner, slice=cut):
                elements = cut.elts if isinstance(cut, ast.Tuple) else [cut]
                if any(not (isinstance(one, ast.Constant) and one.value is None) for one in elements):
                    return None
                node = inner
            case ast.Compare(left=inner, ops=[operator], comparators=[ast.Constant(value=other)]) if not added:
                triangle, keeps = _made_triangle(module, inner, added), _keeps(operator, other)
                if triangle is None or keeps is None:
                    return None
                return triangle if keeps else triangle.inverted()
            case ast.UnaryOp(op=ast.Invert(), operand=inner) if not added:
                triangle = _made_triangle(module, inner, added)
                return triangle.inverted() if triangle is not None else None
            case ast.Call():
                return _made_by_call(module, node, added)
            case _:
                return None


def _made_by_call(module: Module, call: ast.Call, added: bool) -> Triangle | None:
    """`torch.tril(<matrix>)`, `<matrix>.triu(1)`."""
    path = resolve(call.func, module.names)
    if path in ("torch.tril", "torch.triu") and call.args:
        name, (whole, *rest) = path.rpartition(".")[2], call.args
    elif path is None and isinstance(call.func, ast.Attribute) and call.func.attr in ("tril", "triu"):
        name, whole, rest = call.func.attr, call.func.value, call.args
    else:
        return None
    given = [*rest, *(one.value for one in call.keywords if one.arg == "diagonal")]
    diagonal = number_in(module, given[0]) if given else 0.0
    full = _is_full(module, whole, -math.inf if added else 1.0)
    return _triangle(name, diagonal, (None, None), added) if full else None


def _is_full(module: Module, node: ast.expr, wanted: float) -> bool:
    """Whether a square matrix is made of one number: `torch.ones(n, n)`."""
    if not isinstance(node, ast.Call):
        return False
    path = resolve(node.func, module.names)
    if path is None and isinstance(node.func, ast.Attribute) and node.func.attr in ("bool", "to", "float"):
        return _is_full(module, node.func.value, wanted)
    sizes = node.args
    if path == "torch.full" and len(node.args) == 2:
        fill = node.args[1]
        number = number_in(module, fill)
        if isinstance(fill, ast.Call) and isinstance(fill.func, ast.Name) and fill.func.id == "float":
            text = fill.args[0].value if fill.args and isinstance(fill.args[0], ast.Constant) else None
            number = -math.inf if text == "-inf" else None
        if number != wanted and not (isinstance(fill, ast.Constant) and fill.value is True and wanted == 1.0):
            return False
        sizes = node.args[:1]
    elif path != "torch.ones" or wanted != 1.0:
        return False
    if len(sizes) == 1 and isinstance(sizes[0], ast.Tuple | ast.List):
        sizes = sizes[0].elts
    return len(sizes) == 2 and ast.dump(sizes[0]) == ast.dump(sizes[1])


__all__ = ["Triangle", "Triangles"]
