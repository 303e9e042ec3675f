"""How long a tensor is along one of its last axes, as the source shows it: a number, or the value that says it."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from fuselight.fusions.matching import Matcher
from fuselight.graph.ranks import argument, literal_number, rank_of, shape_of
from fuselight.graph.values import Graph, Value


@dataclass(frozen=True, slots=True)
class Extent:
    """A length: of the axis `axis` of `value`, what `value` itself says (without an axis), or a number."""

    value: Value | None
    axis: int | None = None
    number: int | None = None


_SAME = frozenset(
    "neg sigmoid tanh relu gelu silu softmax log_softmax exp clamp layer_norm rms_norm normalize dropout zeros_like"
    " ones_like abs sqrt rsqrt square masked_fill tril triu".split()
)
"""Kinds whose result has the sizes of their first input."""

_SAME_METHODS = frozenset(
    f"method {name}"
    for name in "contiguous clone detach to float half double bfloat16 type type_as cuda cpu bool int long".split()
)
_SAME_LAYERS = frozenset(
    f"torch.nn.{name}"
    for name in "Dropout LayerNorm RMSNorm Identity Softmax BatchNorm1d BatchNorm2d GroupNorm ReLU GELU SiLU".split()
)
_MOST_STEPS = 40


class Extents:
    """The lengths of the values of one graph."""

    def __init__(self, graph: Graph, matcher: Matcher) -> None:
        self._graph = graph
        self._matcher = matcher

    def same(self, one: Extent | None, other: Extent | None) -> bool:
        """Whether two lengths surely are one."""
        if one is None or other is None:
            return False
        if one.number is not None or other.number is not None:
            return one.number == other.number
        if one.axis != other.axis or one.value is None or other.value is None:
            return False
        return self._matcher.is_same(one.value, other.value)

    def of_size(self, value: Value) -> Extent:
        """The length that a size (a number, `x.size(-1)`, an element of `x.shape`) says."""
        number = self._matcher.number(value)
        if number is not None and number == int(number):
            return Extent(None, number=int(number))
        axis = self._axis_read(value)
        if axis is not None:
            return self.of(*axis)
        return Extent(value)

    def of(self, value: Value, axis: int) -> Extent:
        """The length of `value` along `axis`, which is negative: counted from the last one."""
        for _ in range(_MOST_STEPS):
            step = self._step(value, axis)
            if step is None:
                break
            if isinstance(step, Extent):
                return step
            value, axis = step
        return Extent(value, axis)

    # -- one step towards what says a length

    def _step(self, value: Value, axis: int) -> Extent | tuple[Value, int] | None:
        kind = value.kind
        if not value.inputs:
            return None
        source = value.inputs[0]
        if kind in _SAME or kind in _SAME_METHODS or kind in _SAME_LAYERS:
            return source, axis
        if kind == "torch.nn.Linear":
            return (source, axis) if axis != -1 else None
        if kind in ("mul", "div", "add", "sub", "pow"):
            scalars = [self._is_scalar(one) for one in value.inputs]
            if scalars.count(False) == 1:
                return value.inputs[scalars.index(False)], axis
            return None
        if kind in ("method view", "reshape"):
            return self._reshaped(value, axis)
        if kind in ("swapaxes", "permute"):
            return self._permuted(value, axis)
        if kind == "attribute" and isinstance(value.node, ast.Attribute) and value.node.attr == "mT":
            return source, {-1: -2, -2: -1}.get(axis, axis)
        if kind == "unpack":
            if isinstance(source.node, ast.GeneratorExp | ast.ListComp):
                return self._generated(source.node, axis)
            return self._unpacked(source, axis)
        if kind == "getitem" and type(value.inputs[1].constant) is int:
            return self._unpacked(source, axis, value.inputs[1].constant)
        if kind in ("chunk", "split"):
            return None
        return None

    def _is_scalar(self, value: Value) -> bool:
        return self._matcher.number(value) is not None or value.kind.startswith("math.") or value.kind == "metadata"

    def _reshaped(self, value: Value, axis: int) -> Extent | None:
        sizes = value.inputs[1:]
        if len(sizes) == 1 and sizes[0].kind == "container":
            sizes = sizes[0].inputs
        if len(sizes) < 2 or -axis > len(sizes) or any(one.kind == "starred" for one in sizes):
            return None
        size = sizes[axis]
        if size.constant == -1:
            return None
        return self.of_size(size)

    def _permuted(self, value: Value, axis: int) -> tuple[Value, int] | None:
        source = value.inputs[0]
        rank = rank_of(self._graph, source).exact
        if value.kind == "permute":
            given = value.inputs[1:]
            if len(given) == 1 and given[0].kind == "container":
                given = given[0].inputs
            dim = given[axis].constant if -axis <= len(given) else None
            if type(dim) is not int:
                return None
            return source, dim if dim < 0 else dim - len(given)
        dims = [one.constant for one in (argument(value, 1, "dim0"), argument(value, 2, "dim1")) if one is not None]
        numbers = [one for one in dims if type(one) is int]
        if len(numbers) != 2:
            return None
        if any(one >= 0 for one in numbers):
            if rank is None:
                return None
            numbers = [one if one < 0 else one - rank for one in numbers]
        one, other = numbers
        return source, other if axis == one else one if axis == other else axis

    def _generated(self, node: ast.GeneratorExp | ast.ListComp, axis: int) -> Extent | None:
        """An element of `(t.view(b, n, h, d).transpose(1, 2) for t in (q, k, v))`: its sizes are the same for all."""
        element: ast.expr = node.elt
        target = node.generators[0].target if len(node.generators) == 1 else None
        swapped: tuple[int, int] | None = None
        while (
            isinstance(element, ast.Call) and isinstance(element.func, ast.Attribute) and isinstance(target, ast.Name)
        ):
            name, given = element.func.attr, element.args
            if element.keywords or any(isinstance(one, ast.Starred) for one in given):
                return None
            if name in ("transpose", "swapaxes") and swapped is None and len(given) == 2:
                one, other = (literal_number(number) for number in given)
                if one is None or other is None:
                    return None
                swapped = one, other
            elif name in ("view", "reshape") and len(given) >= 2:
                if swapped is not None:
                    one, other = (number if number < 0 else number - len(given) for number in swapped)
                    axis = other if axis == one else one if axis == other else axis
                return self._of_expression(given[axis], target.id) if -axis <= len(given) else None
            elif name != "contiguous":
                return None
            element = element.func.value
        return None

    def _of_expression(self, node: ast.expr, variable: str) -> Extent | None:
        """The length that an expression inside a comprehension says: a number, or a name from outside."""
        number = literal_number(node)
        if number is not None:
            return Extent(None, number=number) if number > 0 else None
        if not isinstance(node, ast.Name) or node.id == variable:
            return None
        value = next((one for one in self._graph.values for use in one.uses if use.node is node), None)
        return self.of_size(value) if value is not None else None

    def _unpacked(self, whole: Value, axis: int, index: int | None = None) -> tuple[Value, int] | None:
        """An element of a tuple of pieces, or of a tensor along its first axis."""
        if not whole.inputs:
            return None
        source = whole.inputs[0]
        if whole.kind == "unbind":
            dim = argument(whole, 1, "dim")
            if dim is None or dim.constant == 0:
                return source, axis
            if type(dim.constant) is int and dim.constant < 0:
                return source, axis if axis > dim.constant else axis - 1
            return None
        if whole.kind in ("chunk", "split"):
            dim = argument(whole, 2, "dim")
            number = dim.constant if dim is not None else 0
            if type(number) is not int:
                return None
            if number >= 0:
                rank = rank_of(self._graph, source).exact
                if rank is None:
                    return None
                number -= rank
            return (source, axis) if number != axis else None
        if index is not None and whole.kind in ("method view", "reshape", "permute", "swapaxes"):
            return whole, axis  # `qkv[0]`
        return None

    def _axis_read(self, value: Value) -> tuple[Value, int] | None:
        """The tensor and the axis of which a value is the length: `x.size(-1)`, `x.shape[1]`, `_, n, _ = x.shape`."""
        if value.kind == "metadata" and len(value.inputs) == 2 and _is_method(value, "size"):
            return self._from_the_end(value.inputs[0], value.inputs[1].constant)
        if value.kind == "getitem":
            tensor = shape_of(value.inputs[0])
            return self._from_the_end(tensor, value.inputs[1].constant) if tensor is not None else None
        if value.kind == "unpack" and value.index is not None and value.inputs:
            whole, index = value.inputs[0], value.index
            count = _targets(value)
            if count is None:
                return None
            tensor = shape_of(whole)
            if tensor is not None:
                return tensor, index - count
            if whole.kind == "getitem" and isinstance(whole.node, ast.Subscript):
                tensor, cut = shape_of(whole.inputs[0]), whole.node.slice
                if tensor is not None and isinstance(cut, ast.Slice) and cut.upper is None and cut.step is None:
                    return tensor, index - count  # `*_, n, d`, `x.shape[-2:]`: the last ones
        return None

    def _from_the_end(self, tensor: Value, dim: object) -> tuple[Value, int] | None:
        if type(dim) is not int:
            return None
        if dim < 0:
            return tensor, dim
        rank = rank_of(self._graph, tensor).exact
        return (tensor, dim - rank) if rank is not None else None


def _is_method(value: Value, name: str) -> bool:
    node = value.node
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def _targets(value: Value) -> int | None:
    """How many targets the unpacking has of which a value is one; None with a starred one."""
    statement = value.statement
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    if not isinstance(target, ast.Tuple | ast.List) or any(isinstance(one, ast.Starred) for one in target.elts):
        return None
    return len(target.elts)


__all__ = ["Extent", "Extents"]
