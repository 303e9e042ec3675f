"""A tensor on its way from the linear layers that made it: its axes, and what is done to them.

A tensor is known by its axes, and an axis by the steps that it takes through what a linear layer wrote: a `view` cuts
an axis in two, a `transpose` moves it. The sizes are those of a draw.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fuselight.fusions.drawn_sizes import Draw, Made, Unread, items_of

_TERM = re.compile(r"\([^()]*\)|\w+")
_GROUP = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Atom:
    """A run of steps along one root axis: `size` of them, `stride` apart."""

    root: str
    size: int
    stride: int = 1


Axis = tuple[Atom, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A value that the steps begin with: a parameter, or what anything unknown yields."""

    name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LayerRef:
    """`self.<attribute>`, where it stands."""

    attribute: str
    node: ast.AST
    made: Made


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the rows of a linear layer, applied to a leaf."""

    layer: LayerRef
    source: Leaf
    offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor on the way: `rows` of a layer, `scores`, `weights` (their softmax), or the `context` they sum."""

    step: str
    axes: tuple[Axis, ...]
    parts: tuple[Part, ...]
    factor: float = 1.0
    depth: int = 0
    """The size of a head, once it is known."""
    rows: str = ""
    """The axis of the input along which it is attended."""
    features: int = 0
    """How many features of a layer the scores are made of."""
    dropout: tuple[ast.expr, ...] = ()
    """Where the probability of a dropout of the weights is written."""


def is_near(value: object) -> bool:
    """Whether a value is a tensor that is made of scores."""
    return isinstance(value, Tensor) and value.step != "rows"


def size_of(axis: Axis) -> int:
    """How many elements it has."""
    return math.prod(atom.size for atom in axis)


def primed(axis: Axis) -> Axis:
    """An axis of the input once more, as that of the keys."""
    return tuple(Atom(f"{atom.root}'", atom.size, atom.stride) for atom in axis)


def swapped(draw: Draw, value: object, one: object, other: object, node: ast.AST) -> Tensor:
    """`transpose`: two dimensions change places."""
    if not isinstance(value, Tensor):
        raise Unread("another tensor is transposed", node)
    first, second = dimension(draw, value, one, node), dimension(draw, value, other, node)
    axes = list(value.axes)
    axes[first], axes[second] = axes[second], axes[first]
    return replace(value, axes=tuple(axes))


def permuted(draw: Draw, value: object, dims: Sequence[object], node: ast.AST) -> Tensor:
    """`permute`: the dimensions in another order."""
    if not isinstance(value, Tensor):
        raise Unread("another tensor is permuted", node)
    order = [dimension(draw, value, dim, node) for dim in dims]
    if sorted(order) != list(range(len(value.axes))):
        raise Unread("the dimensions do not fit", node, is_near(value))
    return replace(value, axes=tuple(value.axes[at] for at in order))


def reshaped(draw: Draw, value: object, sizes: Sequence[object], node: ast.AST) -> Tensor:
    """`view`, `reshape`: the same runs of steps, cut into other dimensions."""
    if not isinstance(value, Tensor):
        raise Unread("another tensor is reshaped", node)
    numbers = [draw.whole(size, node) for size in sizes]
    total = math.prod(size_of(axis) for axis in value.axes)
    if numbers.count(-1) > 1 or any(number < 1 and number != -1 for number in numbers):
        raise Unread("the sizes do not fit", node, is_near(value))
    if -1 in numbers:
        known = math.prod(number for number in numbers if number != -1)
        if total % known:
            raise Unread("the sizes do not fit", node, is_near(value))
        numbers[numbers.index(-1)] = total // known
    if math.prod(numbers) != total:
        raise Unread("the sizes do not fit", node, is_near(value))
    queue = [atom for axis in value.axes for atom in axis]
    axes: list[Axis] = []
    for number in numbers:
        axis: list[Atom] = []
        while number > 1:
            atom = queue.pop(0)
            if number % atom.size == 0:
                axis.append(atom)
                number //= atom.size
            elif atom.size % number == 0:
                inner = atom.size // number
                axis.append(Atom(atom.root, number, atom.stride * inner))
                queue.insert(0, Atom(atom.root, inner, atom.stride))
                number = 1
            else:
                raise Unread("the sizes cut across the dimensions", node, is_near(value))
        axes.append(_joined(axis))
    return replace(value, axes=tuple(axes))


def rearranged(draw: Draw, node: ast.AST, value: object, pattern: object, sizes: Mapping[str, object]) -> Tensor:
    """`rearrange(q, "b n (h d) -> b h n d", h=heads)`"""
    near = is_near(value)
    unread = Unread("`rearrange` is not one of the steps that are known", node, near)
    sides = pattern.split("->") if isinstance(pattern, str) else []
    if not isinstance(value, Tensor) or len(sides) != 2:
        raise unread
    left, right = ([_GROUP.findall(one) for one in _TERM.findall(side)] for side in sides)
    flat_left, flat_right = ([one for group in side for one in group] for side in (left, right))
    if any(re.sub(r"[\sa-zA-Z_0-9()]", "", side) for side in sides) or sorted(flat_left) != sorted(flat_right):
        raise unread
    if len(left) != len(value.axes) or len(set(flat_left)) != len(flat_left) or any(one.isdigit() for one in flat_left):
        raise unread
    known = {name: draw.whole(size, node) for name, size in sizes.items()}
    if not known.keys() <= set(flat_left):
        raise unread
    for group, axis in zip(left, value.axes, strict=True):
        open_ = [one for one in group if one not in known]
        rest = math.prod(known[one] for one in group if one in known)
        if len(open_) > 1 or not rest or size_of(axis) % rest or (not open_ and rest != size_of(axis)):
            raise unread
        for one in open_:
            known[one] = size_of(axis) // rest
    split = reshaped(draw, value, [known[one] for one in flat_left], node)
    moved = permuted(draw, split, [flat_left.index(one) for one in flat_right], node)
    return reshaped(draw, moved, [math.prod(known[one] for one in group) for group in right], node)


def chunked(draw: Draw, node: ast.AST, value: object, count: int, dim: object) -> tuple[object, ...]:
    """Equal pieces along a dimension."""
    if not isinstance(value, Tensor) or value.step != "rows":
        raise Unread("pieces of something else", node, is_near(value))
    at = dimension(draw, value, dim, node)
    size = size_of(value.axes[at])
    if count < 1 or size % count:
        raise Unread("the pieces are not equal", node)
    found: list[object] = []
    for number in range(count):
        axis, offset = _cut(value.axes[at], number * (size // count), (number + 1) * (size // count), node)
        axes = (*value.axes[:at], axis, *value.axes[at + 1 :])
        part = replace(value.parts[0], offset=value.parts[0].offset + offset)
        found.append(replace(value, axes=axes, parts=(part,)))
    return tuple(found)


def unbound(draw: Draw, node: ast.AST, value: object, dim: object) -> tuple[object, ...]:
    """The elements along a dimension, which goes."""
    if not isinstance(value, Tensor) or value.step != "rows":
        raise Unread("something else is taken apart", node, is_near(value))
    at = dimension(draw, value, dim, node)
    pieces = chunked(draw, node, value, size_of(value.axes[at]), at)
    axes = value.axes[:at] + value.axes[at + 1 :]
    found: list[object] = []
    for piece in pieces:
        assert isinstance(piece, Tensor)
        rest = piece.axes[:at] + piece.axes[at + 1 :]
        assert rest == axes
        found.append(replace(piece, axes=rest))
    return tuple(found)


def split_up(draw: Draw, node: ast.AST, value: object, sizes: object, dim: object) -> tuple[object, ...]:
    """`split`: pieces of sizes that have to be equal."""
    if not isinstance(value, Tensor):
        raise Unread("something else is split", node)
    total = size_of(value.axes[dimension(draw, value, dim, node)])
    items = items_of(sizes)
    widths = [draw.whole(one, node) for one in items] if items is not None else [draw.whole(sizes, node)]
    if len(set(widths)) != 1 or widths[0] < 1 or total % widths[0] or (items and sum(widths) != total):
        raise Unread("the pieces are not equal", node)
    return chunked(draw, node, value, total // widths[0], dim)


def indexed(node: ast.Subscript, base: Tensor, index: ast.expr, number: Callable[[ast.expr], int]) -> Tensor:
    """`qkv[0]`, `qkv[:, :, 1]`, `qkv[..., :width]`; `number` yields what an expression of the index comes to."""
    elements = list(index.elts) if isinstance(index, ast.Tuple) else [index]
    dots = [at for at, one in enumerate(elements) if isinstance(one, ast.Constant) and one.value is ...]
    if len(dots) > 1:
        raise Unread("an index that is not known", node)
    if dots:
        missing = len(base.axes) - len(elements) + 1
        elements[dots[0] : dots[0] + 1] = [ast.Slice()] * missing
    axes = list(base.axes)
    part = base.parts[0]
    at = 0
    for one in elements:
        if at >= len(axes):
            raise Unread("an index of more dimensions", node)
        if isinstance(one, ast.Slice):
            if one.lower is None and one.upper is None and one.step is None:
                at += 1
                continue
            start, stop, _ = slice_of(one, number).indices(size_of(axes[at]))
            axes[at], offset = _cut(axes[at], start, stop, node)
            at += 1
        else:
            place = number(one)
            size = size_of(axes[at])
            if not -size <= place < size:
                raise Unread("an element that is not there", node)
            _, offset = _cut(axes[at], place % size, place % size + 1, node)
            del axes[at]
        part = replace(part, offset=part.offset + offset)
    return replace(base, axes=tuple(axes), parts=(part,))


def slice_of(node: ast.Slice, number: Callable[[ast.expr], int]) -> slice:
    """A slice without steps; `number` yields what its ends come to."""
    parts = [None if one is None else number(one) for one in (node.lower, node.upper)]
    if node.step is not None:
        raise Unread("a slice with steps", node)
    return slice(*parts)


def dimension(draw: Draw, value: Tensor, dim: object, node: ast.AST) -> int:
    """A dimension that is there, counted from the first."""
    at = draw.whole(dim, node)
    if not -len(value.axes) <= at < len(value.axes):
        raise Unread("a dimension that is not there", node, is_near(value))
    return at % len(value.axes)


def _joined(axis: Sequence[Atom]) -> Axis:
    """An axis in as few runs as there are."""
    found: list[Atom] = []
    for atom in axis:
        if atom.size == 1:
            continue
        last = found[-1] if found else None
        if last is not None and last.root == atom.root and last.stride == atom.stride * atom.size:
            found[-1] = Atom(atom.root, last.size * atom.size, atom.stride)
        else:
            found.append(atom)
    return tuple(found)


def _cut(axis: Axis, start: int, stop: int, node: ast.AST) -> tuple[Axis, int]:
    """The steps of an axis from `start` to `stop`, and where in the layer they begin."""
    if len(axis) != 1 or axis[0].root != "F" or not 0 <= start < stop <= axis[0].size:
        raise Unread("something else than features is cut", node)
    atom = axis[0]
    return _joined([Atom("F", stop - start, atom.stride)]), start * atom.stride
