"""A pixel shuffle, its inverse or a channel shuffle, written as two reshapes with a permutation between them.

`x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3).reshape(B, C // 4, H * 2, W * 2)` is
`F.pixel_shuffle(x, 2)`; back again it is `F.pixel_unshuffle`, and `x.view(B, g, C // g, H, W).transpose(1, 2)
.reshape(B, C, H, W)` is `F.channel_shuffle(x, g)`. They are found by what they do: each size and the permutation is
proved to be that of the shuffle, however the sizes are written; so is `einops.rearrange`.

## What it saves
Lines, and two views that autograd keeps. For time it is a matter of size. On a CPU small images gain, 16 channels of
8 x 8: 2.2x to 2.5x forward, 1.5x to 1.6x forward and backward; a channel shuffle of 64 channels of 56 x 56 gains
nothing (1.00x), and torch's own pixel shuffle takes about twice as long there as the reshapes do (0.5x forward, 0.6x
forward and backward). On a GPU torch runs the same copy as before.

## Fix safety
`exact`: the same elements in the same places, bit by bit. A tensor in `channels_last` stays in it, where the reshapes
gave one in the usual layout. Variables that hold nothing but sizes, and that nobody reads any more, go too.

`numerics` where the source does not show how many dimensions the tensor has: the title says what is assumed.

## Refused when
- the order of the dimensions is another one: (r, r, C) as of TensorFlow's depth to space, YOLO's slices, patches and
  windows (nothing is said then);
- a size is not shown to be the tensor's own, or the factors are not shown to be equal;
- a size is left to `-1` beside one that is rounded down, `x.view(-1, g, C // g, H, W)`: where the channels do not
  divide, that computes something else;
- a step is used besides, or asked for its shape, or the steps stand in different branches;
- the tensor may be written to in between;
- the result is written to in place, or viewed in a way that needs contiguous memory;
- it stands beside the call itself, or in a test or a reference.

Source: Shi et al. 2016; Zhang et al. 2018, ShuffleNet; `torch.nn.functional.pixel_shuffle`, torch 2.13.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import pairwise, product

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Expression, Place, ReplaceExpression, ReplaceStatements, Within
from fuselight.fusions.references import reference
from fuselight.fusions.repeated_permute import dimensions_of, order_of
from fuselight.fusions.steps import in_one_line, operand, step_of
from fuselight.fusions.views import Lies, needs_contiguous
from fuselight.graph.effects import called_name
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import RESHAPED_IN_PLACE, argument, rank_of
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_RESHAPES = frozenset({"reshape", "method view"})
_FLATTENS = frozenset({"flatten"})
_UNFLATTENS = frozenset({"method unflatten", "torch.unflatten"})
_ORDERS = frozenset({"permute", "swapaxes", "method movedim", "method moveaxis", "torch.movedim"})
_COPIES = frozenset({"contiguous", "method contiguous"})

_SAME_SHAPE = frozenset(
    "contiguous clone relu gelu silu sigmoid tanh".split()
    + [f"method {one}" for one in "contiguous clone detach float".split()]
)
"""Kinds whose result has the shape of their first input."""

_RESHAPED = frozenset({"view", "reshape", "flatten"})
_ORDERED = frozenset({"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"})

_SPOKEN = {
    "pixel_shuffle": "a pixel shuffle", "pixel_unshuffle": "a pixel unshuffle", "channel_shuffle": "a channel shuffle",
}  # fmt: skip
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def _near(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\n\n\ndef f(x):\n{lines}"


@dataclass(frozen=True, slots=True)
class _Product:
    """A size as a product of powers of others: exact, a division among them."""

    number: Fraction = Fraction(1)
    powers: frozenset[tuple[str, int]] = frozenset()

    def times(self, other: _Product, sign: int = 1) -> _Product:
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, 0) + sign * power
        number = self.number * other.number if sign > 0 else self.number / other.number
        return _Product(number, frozenset((name, power) for name, power in powers.items() if power))


_ONE = _Product()


@dataclass(frozen=True, slots=True)
class _Size:
    """A size that a reshape is given."""

    product: _Product | None
    """None where it is -1, to be worked out."""
    rounded: bool = False
    """Whether a division in it rounds down."""
    node: ast.expr | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    """A shuffle of a tensor of so many dimensions."""

    name: str
    rank: int
    """How many dimensions the tensor has."""
    split: tuple[tuple[int, ...], ...]
    """Of each dimension, those that it is split into."""
    order: tuple[int, ...]
    merged: tuple[tuple[int, ...], ...]
    """Of each dimension of the result, those of the split tensor that it is made of."""
    factors: tuple[int, ...]
    """Which of the split dimensions are the factor, all of one size."""
    together: int = 0
    """How many of the last dimensions are one while the order changes, and themselves again in the end."""

    def own(self, sizes: _Sizes, unit: int) -> _Product:
        """The size of what the tensor is split by: a dimension, or the last ones together."""
        if self.together and unit == len(self.split) - 1:
            return _multiplied([sizes.own(dim) for dim in range(self.rank - self.together, self.rank)])
        return sizes.own(unit)


def _forms(count: int) -> Iterator[_Form]:
    """The shuffles that go through a tensor of `count` dimensions."""
    lead = count - 5
    if lead in (0, 1, 2):
        whole = tuple((at,) for at in range(lead))
        first = tuple(range(lead))
        a, b, c, d, e = range(lead, lead + 5)
        yield _Form(
            "pixel_shuffle", lead + 3, (*whole, (a, b, c), (d,), (e,)), (*first, a, d, b, e, c),
            (*whole, (a,), (d, b), (e, c)), (b, c),
        )  # fmt: skip
        yield _Form(
            "pixel_unshuffle", lead + 3, (*whole, (a,), (b, c), (d, e)), (*first, a, c, e, b, d),
            (*whole, (a, c, e), (b,), (d,)), (c, e),
        )  # fmt: skip
    if count >= 4:
        behind = tuple((at,) for at in range(3, count))
        rest = tuple(range(3, count))
        yield _Form(
            "channel_shuffle", count - 1, ((0,), (1, 2), *behind), (0, 2, 1, *rest), ((0,), (2, 1), *behind), (1,)
        )
    if count == 4:
        for together in (2, 3):
            yield _Form(
                "channel_shuffle", 2 + together, ((0,), (1, 2), (3,)), (0, 2, 1, 3), ((0,), (2, 1)), (1,), together
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Shuffle:
    """A shuffle that is spelled out."""

    form: str
    source: Value
    source_node: ast.expr
    chain: tuple[Value, ...]
    """The steps, the first to be computed first."""
    factor: ast.expr | int
    known: bool
    """Whether the source shows how many dimensions the tensor has."""
    rank: int
    refusal: Refusal | None = None

    @property
    def root(self) -> Value:
        return self.chain[-1]


@fusion
class ShuffleByReshapes(Fusion):
    __doc__ = __doc__

    code = "FUS609"
    name = "shuffle-by-reshapes"
    words = (frozenset({*_RESHAPED, "rearrange"}), frozenset({*_ORDERED, "rearrange"}))
    examples = (
        Example(
            before="""\
import torch.nn.functional as F


def f(x):
    B, C, H, W = x.shape
    x = x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(B, C // 4, H * 2, W * 2)
""",
            after="""\
import torch.nn.functional as F


def f(x):
    return F.pixel_shuffle(x, 2)
""",
            inputs=((2, 8, 3, 5),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x, groups=2):
    batch, channels, height, width = x.size()
    per_group = channels // groups
    x = x.view(batch, groups, per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return F.relu(x.view(batch, -1, height, width))
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x, groups=2):
    return F.relu(F.channel_shuffle(x, groups))
""",
            inputs=((2, 6, 3, 5),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # TensorFlow's order
        NearMiss(
            _near("B, C, H, W = x.shape\nx = x.view(B, 2, 2, C // 4, H, W).permute(0, 3, 4, 1, 5, 2)\n"
                  "return x.reshape(B, C // 4, H * 2, W * 2)"),
            "",
        ),
        # YOLO's slices
        NearMiss(
            _near("return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)"),
            "",
        ),
        # patches
        NearMiss(
            _near("B, C, H, W = x.shape\n"
                  "return x.view(B, C, H // 4, 4, W // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(B, -1, 48)"),
            "",
        ),
        # windows
        NearMiss(
            _near("B, H, W, C = x.shape\n"
                  "return x.view(B, H // 4, 4, W // 4, 4, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, C)"),
            "",
        ),
        # width before height
        NearMiss(
            _near("B, C, H, W = x.shape\nx = x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 5, 2, 4, 3)\n"
                  "return x.reshape(B, C // 4, W * 2, H * 2)"),
            "",
        ),
        # two factors
        NearMiss(
            _near("B, C, H, W = x.shape\nx = x.view(B, C // 6, 2, 3, H, W).permute(0, 1, 4, 2, 5, 3)\n"
                  "return x.reshape(B, C // 6, H * 2, W * 3)"),
            "",
        ),
        # another shape in the end
        NearMiss(
            _near("B, C, H, W = x.shape\nx = x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3)\n"
                  "return x.reshape(B, C, H * 2, W // 2)"),
            "",
        ),
        # whose sizes?
        NearMiss(
            _near("x = x.view(2, 3, 2, 2, 5, 5).permute(0, 1, 4, 2, 5, 3)\nreturn x.reshape(2, 3, 10, 10)"),
            "the tensor's own",
        ),
        # rounded down beside a size that is left out
        NearMiss(
            _near("B, C, H, W = x.shape\n"
                  "return x.view(-1, 2, C // 2, H, W).transpose(1, 2).reshape(-1, C, H, W)"),
            "rounded down",
        ),
        # a step is used besides
        NearMiss(
            _near("B, C, H, W = x.shape\ny = x.view(B, 2, C // 2, H, W)\n"
                  "return y.transpose(1, 2).reshape(B, C, H, W), y"),
            "used besides",
        ),
        # viewed behind
        NearMiss(
            _near("B, C, H, W = x.shape\n"
                  "y = x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)\nreturn y.view(B, -1)"),
            "contiguous memory",
        ),
        # what a test compares with
        NearMiss(
            _near("B, C, H, W = x.shape\n"
                  "return x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)"
                  ).replace("def f", "def naive_shuffle"),
            "reads as a reference",
        ),
    )  # fmt: skip

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        called = scope.called
        plain = not _RESHAPED.isdisjoint(called) and not _ORDERED.isdisjoint(called)
        if not plain and "rearrange" not in called:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for kind in (*_RESHAPES, *_FLATTENS) if plain else ():
            for root in graph.of_kind(kind):
                found = _spelled_out(scope, graph, root)
                if found is not None:
                    yield self._match(module, scope, graph, found)
        for root in graph.of_kind("einops.rearrange"):
            found = _rearranged(module, scope, graph, root)
            if found is not None:
                yield self._match(module, scope, graph, found)

    def _match(self, module: Module, scope: Scope, graph: Graph, found: _Shuffle) -> Match:
        statement, root = scope.statement, found.root
        assert root.node is not None
        place = Place(statement, root.node)
        message = f"{_SPOKEN[found.form]} is spelled out"
        others = [Place(statement, one.node) for one in found.chain[:-1] if one.node is not None]
        others += [Place(statement, one.binding) for one in found.chain[:-1] if one.binding is not None]
        way = found.refusal or _way(module, scope, graph, found)
        if isinstance(way, Refusal):
            why = Refusal(way.reason, way.at or place)
            return Match(type(self), scope.name, place, message, others=tuple(others), refused=why)
        source = in_one_line(statement.source(found.source_node))
        title = f"Replace it by one `F.{found.form}`"
        safety = Safety.EXACT
        if not found.known:
            safety = Safety.NUMERICS
            number = _NUMBERS.get(found.rank, str(found.rank))
            title += f" (numerics: assumes that `{source[:60]}` has {number} dimensions)"
        others += [Place(statement, one) for one in way.dead]
        return Match(
            type(self), scope.name, place, message, title, safety, tuple(others), partial(_plan, scope, found, way)
        )


# -- sizes


@dataclass(slots=True)
class _Sizes:
    """Sizes of one function as products, those of `tensor` by the number of its dimensions."""

    tensor: Value
    rank: int
    attributes: set[str] = field(default_factory=set[str])
    """Attributes that are taken to hold one number all along."""

    def of(self, value: Value, node: ast.expr | None = None) -> _Size:
        if value.constant == -1:
            return _Size(None, node=node)
        rounded: list[bool] = []
        found = self._product(value, rounded)
        return _Size(found, bool(rounded), node)

    def __post_init__(self) -> None:
        self.tensor = _shaped_as(self.tensor)

    def own(self, dim: int) -> _Product:
        """The tensor's own size along a dimension."""
        return _Product(powers=frozenset({(f"{self.tensor.order}[{dim}]", 1)}))

    def _product(self, value: Value, rounded: list[bool]) -> _Product:
        if type(value.constant) is int and value.constant > 0:
            return _Product(Fraction(value.constant))
        size = _size_of(value)
        if size is not None:
            tensor, dim = _shaped_as(size[0]), size[1]
            if tensor is self.tensor and -self.rank <= dim < self.rank:
                dim %= self.rank
            return _Product(powers=frozenset({(f"{tensor.order}[{dim}]", 1)}))
        inputs = value.inputs
        match value.kind, value.node:
            case "mul", _ if len(inputs) == 2:
                return self._product(inputs[0], rounded).times(self._product(inputs[1], rounded))
            case (("operator" | "floor_divide"), ast.BinOp(op=ast.FloorDiv())):
                rounded.append(True)
                return self._product(inputs[0], rounded).times(self._product(inputs[1], rounded), -1)
            case "builtin", ast.Call(func=ast.Name(id="int"), keywords=[]) if len(inputs) == 1:
                inner = inputs[0]
                if inner.kind == "div" and isinstance(inner.node, ast.BinOp):
                    rounded.append(True)
                    return self._product(inner.inputs[0], rounded).times(self._product(inner.inputs[1], rounded), -1)
            case "pow", ast.BinOp() if len(inputs) == 2 and inputs[1].constant in (1, 2, 3, 4):
                base, found = self._product(inputs[0], rounded), _ONE
                for _ in range(int(str(inputs[1].constant))):
                    found = found.times(base)
                return found
            case "attribute", ast.Attribute() if value.path is not None:
                self.attributes.add(value.path)
                return _Product(powers=frozenset({(value.path, 1)}))
            case "global", _ if value.path is not None:
                return _Product(powers=frozenset({(value.path, 1)}))
            case _:
                pass
        return _Product(powers=frozenset({(f"#{value.order}", 1)}))


def _shaped_as(value: Value) -> Value:
    """The first of the values, from this one back, that surely has its shape."""
    while True:
        data = value.kind == "attribute" and isinstance(value.node, ast.Attribute) and value.node.attr == "data"
        if not (data or value.kind in _SAME_SHAPE) or not value.inputs:
            return value
        value = value.inputs[0]


def _size_of(value: Value) -> tuple[Value, int] | None:
    """Of which tensor, and along which dimension, a value is the size."""
    match value.kind:
        case "metadata" if len(value.inputs) == 2 and _calls_size(value):
            dim = value.inputs[1].constant
            return (value.inputs[0], dim) if type(dim) is int else None
        case "getitem" if len(value.inputs) == 2:
            dim, whole = value.inputs[1].constant, _shape_of(value.inputs[0])
            return (whole, dim) if type(dim) is int and whole is not None else None
        case "unpack" if value.index is not None and value.inputs and _unpacks_all(value):
            whole = _shape_of(value.inputs[0])
            if whole is not None:
                return whole, value.index
            part = value.inputs[0]
            cut = part.node.slice if part.kind == "getitem" and isinstance(part.node, ast.Subscript) else None
            whole = _shape_of(part.inputs[0]) if cut is not None else None
            if whole is None or not isinstance(cut, ast.Slice) or cut.step is not None:
                return None
            lower = 0 if cut.lower is None else _number(cut.lower)
            if lower is None or (lower != 0 and cut.upper is not None):
                return None
            return whole, lower + value.index
        case _:
            return None


def _number(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
        case _:
            return None


def _calls_size(value: Value) -> bool:
    node = value.node
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "size"


def _shape_of(value: Value) -> Value | None:
    """The tensor of which a value is the whole shape."""
    if value.kind == "attribute" and isinstance(value.node, ast.Attribute) and value.node.attr == "shape":
        return value.inputs[0]
    return value.inputs[0] if value.kind == "metadata" and len(value.inputs) == 1 and _calls_size(value) else None


def _unpacks_all(value: Value) -> bool:
    """Whether a value is taken by its place from the front, with no star before it."""
    node = value.statement
    if (
        not isinstance(node, ast.Assign)
        or len(node.targets) != 1
        or not isinstance(node.targets[0], ast.Tuple | ast.List)
    ):
        return False
    return not any(isinstance(one, ast.Starred) for one in ast.walk(node))


# -- is it a shuffle?


def _spelled_out(scope: Scope, graph: Graph, root: Value) -> _Shuffle | None:
    """The shuffle that ends in `root`, if it is one."""
    chain = [root]
    ordered = _before(chain, scope)
    if ordered is None or ordered.kind not in _ORDERS:
        return None
    split = _before(chain, scope)
    if split is None or split.kind not in _RESHAPES | _UNFLATTENS or not split.inputs:
        return None
    first = split
    if (
        split.inputs[0].kind in _COPIES
        and len(split.inputs[0].uses) == 1
        and isinstance(split.inputs[0].node, ast.Call)
    ):
        first = split.inputs[0]
        chain.append(first)
    chain.reverse()
    source_node = operand(step_of(first, scope))
    source = first.inputs[0] if first.inputs else None
    given = _given(split)
    if source is None:
        return None
    order = dimensions_of(step_of(ordered, scope))
    if given is None or source_node is None or order is None or not isinstance(root.node, ast.Call):
        return None
    known = rank_of(graph, source, root)
    for count in range(4, 8):
        dims = order_of(order, count)
        for form in _forms(count):
            if dims is None or form.order != tuple(dims):
                continue
            if known.least > form.rank or (known.most is not None and known.most < form.rank):
                continue
            sizes = _Sizes(source, form.rank)
            parts = _split(sizes, split, given, form)
            if parts is None or len(parts) != count:
                continue
            found = _shuffle(scope, graph, form, sizes, parts, chain)
            if found is None:
                continue
            factor = found if isinstance(found, int | ast.expr) else 1
            refusal = found if isinstance(found, Refusal) else None
            return _Shuffle(
                form.name, source, source_node, tuple(chain), factor, known.exact == form.rank, form.rank, refusal
            )
    return None


def _before(chain: list[Value], scope: Scope) -> Value | None:
    """The step that the first of `chain` works on, put before it; a copy in between goes along."""
    for _ in range(2):
        first = chain[-1]
        if not first.inputs or not isinstance(first.node, ast.Call):
            return None
        value = first.inputs[0]
        if operand(step_of(first, scope)) is None or not isinstance(value.node, ast.Call):
            return None
        chain.append(value)
        if value.kind not in _COPIES:
            return value
    return None


def _given(split: Value) -> list[tuple[Value, ast.expr]] | None:
    """The sizes that a reshape is given, with their nodes; of `unflatten`, its arguments."""
    node = split.node
    if not isinstance(node, ast.Call) or split.keywords or not split.inputs:
        return None
    values = list(split.inputs[1:])
    nodes = list(node.args if len(split.inputs) == len(node.args) + 1 else node.args[1:])
    if split.kind in _UNFLATTENS:
        return list(zip(values, nodes, strict=True)) if len(values) == len(nodes) == 2 else None
    if len(values) == 1 and values[0].kind == "container" and isinstance(nodes[0], ast.Tuple | ast.List):
        values, nodes = list(values[0].inputs), list(nodes[0].elts)
    if len(values) != len(nodes) or any(one.kind in ("starred", "container") for one in values):
        return None
    return list(zip(values, nodes, strict=True))


def _split(sizes: _Sizes, split: Value, given: list[tuple[Value, ast.expr]], form: _Form) -> list[_Size] | None:
    """The sizes of the tensor that is put in another order."""
    if split.kind not in _UNFLATTENS:
        return [sizes.of(value, node) for value, node in given]
    (dim, _), (parts, node) = given
    if type(dim.constant) is not int or parts.kind != "container" or not isinstance(node, ast.Tuple | ast.List):
        return None
    at = dim.constant % form.rank
    if any(one.kind == "starred" for one in parts.inputs):
        return None
    middle = [sizes.of(value, inner) for value, inner in zip(parts.inputs, node.elts, strict=True)]
    own = [_Size(sizes.own(one)) for one in range(form.rank)]
    return [*own[:at], *middle, *own[at + 1 :]]


def _shuffle(
    scope: Scope, graph: Graph, form: _Form, sizes: _Sizes, parts: list[_Size], chain: Sequence[Value]
) -> ast.expr | int | Refusal | None:
    """The factor of a shuffle of this form, or why it cannot be told; None where it is none."""
    root = chain[-1]
    factors = [parts[at] for at in form.factors]
    first = factors[0]
    if any(one.product is None or one.product != first.product for one in factors) or first.product == _ONE:
        return None
    # 1. Every dimension is split into what the form says: each product is the tensor's own size.
    open_dims = [
        dim for dim, group in enumerate(form.split) if _total([parts[at] for at in group]) != form.own(sizes, dim)
    ]
    places = [Place(scope.statement, one.node) for one in chain if one.node is not None]
    if len(open_dims) > 1:
        whole = _merges(form, sizes, parts, root, derived=False)
        return Refusal("the sizes are not shown to be the tensor's own", places[0]) if whole else None
    left_out = [at for at, part in enumerate(parts) if part.product is None]
    if len(left_out) > 1:
        return None
    settled = [part for dim, group in enumerate(form.split) if dim not in open_dims for part in _of(parts, group)]
    if open_dims and any(part.rounded for part in settled):
        return Refusal("a size that is left open stands beside one that is rounded down", places[0])
    if left_out and not open_dims:
        return None
    # 2. What is merged in the end is what the form says.
    if not _merges(form, sizes, parts, root):
        return None
    if left_out and any(part.rounded for part in parts):
        return Refusal("a size that is left open stands beside one that is rounded down", places[0])
    if sizes.attributes and any(
        one.kind in ("call", "opaque", "instance") and chain[0].order < one.order < root.order for one in graph.values
    ):
        return Refusal("an attribute that a size is read from may be changed in between", places[0])
    node = first.node
    if isinstance(node, ast.Name | ast.Attribute | ast.Constant):
        return node
    number = first.product.number if first.product is not None and not first.product.powers else None
    if number is not None and number.denominator == 1:
        return int(number)
    return Refusal("the factor is worked out where it is used", places[0])


def _of(parts: Sequence[_Size], group: Sequence[int]) -> list[_Size]:
    return [parts[at] for at in group]


def _total(parts: Sequence[_Size]) -> _Product | None:
    total = _ONE
    for part in parts:
        if part.product is None:
            return None
        total = total.times(part.product)
    return total


def _merges(form: _Form, sizes: _Sizes, parts: list[_Size], root: Value, *, derived: bool = True) -> bool:
    """Whether the last step gives the shape that the form has in the end.

    With `derived`, a split dimension is what the tensor's own size leaves for it, too.
    """
    if root.kind in _FLATTENS:
        return not form.together and _flattens(form, root)
    given = _given(root)
    if given is None:
        return False
    known = _known(form, sizes, parts, derived=derived)
    last = [sizes.of(value) for value, _ in given]
    wanted = [[_multiplied(one) for one in product(*(known[at] for at in group))] for group in form.merged]
    wanted += [[sizes.own(dim)] for dim in range(form.rank - form.together, form.rank)]
    if len(last) != len(wanted):
        return False
    open_sizes = 0
    rounded_elsewhere = False
    for size, either in zip(last, wanted, strict=True):
        if size.product is None or size.product not in either:
            open_sizes += 1
        elif size.rounded and not any(part.rounded and part.product == size.product for part in parts):
            rounded_elsewhere = True
    return open_sizes == 0 or (open_sizes == 1 and not rounded_elsewhere)


def _known(form: _Form, sizes: _Sizes, parts: list[_Size], *, derived: bool) -> list[list[_Product]]:
    """All that is known of each dimension that is put in another order."""
    known: list[list[_Product]] = [[part.product] if part.product is not None else [] for part in parts]
    for dim, group in enumerate(form.split if derived else ()):
        for at in group:
            others = _total([parts[other] for other in group if other != at])
            if others is not None:
                left = form.own(sizes, dim).times(others, -1)
                if left not in known[at]:
                    known[at].append(left)
    return known


def _multiplied(parts: Sequence[_Product]) -> _Product:
    total = _ONE
    for part in parts:
        total = total.times(part)
    return total


def _flattens(form: _Form, root: Value) -> bool:
    """Whether `flatten(1, 2)` merges what the form merges, and nothing else."""
    start, end = argument(root, 1, "start_dim"), argument(root, 2, "end_dim")
    first = 0 if start is None else start.constant
    last = -1 if end is None else end.constant
    if type(first) is not int or type(last) is not int:
        return False
    count = len(form.order)
    first, last = first % count, last % count
    merged: list[int] = []
    for group in form.merged:
        merged.append(len(group))
    at = 0
    for length in merged:
        if length > 1:
            alone = all(one == 1 for other, one in enumerate(merged) if other != merged.index(length))
            return alone and (first, last) == (at, at + length - 1)
        at += length
    return False


_TOKEN = re.compile(r"\([^()]*\)|\S+")


def _rearranged(module: Module, scope: Scope, graph: Graph, root: Value) -> _Shuffle | None:
    """A shuffle in the words of einops."""
    node = root.node
    if not isinstance(node, ast.Call) or len(node.args) != 2 or len(root.inputs) != 2:
        return None
    pattern = root.inputs[1].constant
    if not isinstance(pattern, str) or pattern.count("->") != 1 or any(one.arg is None for one in node.keywords):
        return None
    left, right = ([token.strip("()").split() for token in _TOKEN.findall(side)] for side in pattern.split("->"))
    names = [name for token in left for name in token]
    if sorted(names) != sorted(name for token in right for name in token) or len(set(names)) != len(names):
        return None
    if any(not name.isidentifier() for name in names):
        return None
    places = {name: at for at, name in enumerate(names)}
    order = tuple(places[name] for token in right for name in token)
    for form in _forms(len(names)):
        grouped = tuple(tuple(places[name] for name in token) for token in left)
        merged = tuple(tuple(places[name] for name in token) for token in right)
        if form.together or form.order != order or grouped != form.split or merged != form.merged:
            continue
        factors = [names[at] for at in form.factors]
        if {one.arg for one in node.keywords} != set(factors):
            return None
        given = [root.keywords[name] for name in factors]
        values = [one.constant for one in given]
        same = all(one is given[0] for one in given) or (type(values[0]) is int and len(set(values)) == 1)
        if not same or values[0] == 1:
            return None
        factor = next(one.value for one in node.keywords if one.arg == factors[0])
        refusal = None
        if not isinstance(factor, ast.Name | ast.Attribute | ast.Constant):
            refusal = Refusal("the factor is worked out where it is used")
        if "numpy" in module.names.imported_modules and not _is_tensor(scope, root.inputs[0]):
            refusal = Refusal("nothing shows that it is a tensor of torch, and not an array of numpy")
        return _Shuffle(form.name, root.inputs[0], node.args[0], (root,), factor, True, form.rank, refusal)
    return None


def _is_tensor(scope: Scope, source: Value) -> bool:
    if source.kind == "parameter":
        return scope.owner is not None and scope.owner.is_module and scope.function.name == "forward"
    layer = source.layer
    if layer is not None and (layer.kind or "").startswith("torch.nn."):
        return True
    made = isinstance(source.node, ast.Call) and "." not in source.kind and not source.kind.startswith("method ")
    neutral = made and source.kind not in ("call", "opaque", "builtin", "instance", "metadata")
    return source.kind.startswith("torch.") or (neutral and len(source.inputs) == len(source.node.args))  # pyright: ignore


# -- what speaks against it, and the edit


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """How the edit is written."""

    text: str
    """What is shuffled, as it is named where the call comes to stand."""
    factor: str
    gone: tuple[ast.Assign, ...] = ()
    """Statements that held a step."""
    kept: tuple[ast.expr, ast.expr] | None = None
    """A step that holds what is shuffled, and is nothing but that from now on."""
    dead: tuple[ast.Assign, ...] = ()
    """Statements that held sizes which nobody reads any more."""


def _way(module: Module, scope: Scope, graph: Graph, found: _Shuffle) -> _Way | Refusal:
    statement, root, chain = scope.statement, found.root, found.chain
    assert root.node is not None
    text = in_one_line(statement.source(found.source_node))
    refusal = reference(module, scope, (found.form,), root.node, text)
    if refusal is not None:
        return refusal
    for value, by in pairwise(chain):
        assert value.node is not None
        at = Place(statement, value.node)
        if len(value.uses) != 1 or value.uses[0].by is not by or (value.binding is not None and value.reads != 1):
            return Refusal(f"`{_short(scope, value.node)}` is used besides", at)
        if value.block is not root.block:
            return Refusal("the steps are computed in different branches or loops", at)
    for value in chain:
        assert value.node is not None
        if any(isinstance(node, ast.NamedExpr | ast.Await | ast.Yield) for node in ast.walk(value.node)):
            return Refusal("a name is bound inside the expression", Place(statement, value.node))
    at = Place(statement, root.node)
    if graph.exits_between(chain[0].order, root.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    write = graph.written_between(found.source, chain[0].order, root.order)
    if write is not None:
        node = write.node if isinstance(write.node, ast.expr | ast.stmt) else root.node
        return Refusal("the tensor may be changed in between", Place(statement, node))
    for reshaped in graph.writes:
        called = called_name(reshaped.node.func) if isinstance(reshaped.node, ast.Call) else None
        if called in RESHAPED_IN_PLACE and reshaped.hits(found.source.roots):
            return Refusal("the tensor gets another shape in place", at)
    refusal = needs_contiguous(module, scope, graph, root, None, Lies.ANYHOW, _short(scope, root.node), scope.function)
    if refusal is not None:
        return refusal
    return _written(scope, graph, found, text)


def _written(scope: Scope, graph: Graph, found: _Shuffle, text: str) -> _Way | Refusal:
    """How the call is written where the last step stands."""
    statement, root = scope.statement, found.root
    assert root.node is not None
    at = Place(statement, root.node)
    factor = str(found.factor) if isinstance(found.factor, int) else in_one_line(statement.source(found.factor))
    held = [one for one in found.chain[:-1] if one.statement is not root.statement]
    if not held:
        return _with_dead(scope, found, _Way(text, factor), (root.node,))
    block = root.block.statements
    bindings: list[ast.Assign] = []
    for one in held:
        if one.binding is None and one.uses[0].by is not None and one.uses[0].by.statement is one.statement:
            continue
        if one.binding is None or one.binding not in block or not statement.stands_alone(one.binding):
            return Refusal("a step is not in a statement of its own", at)
        bindings.append(one.binding)
    if not scope.name or root.statement not in block or root.block.guarded:
        return Refusal("the steps are not in statements of one block", at)
    last = root.statement
    assert last is not None
    between = block[block.index(bindings[0]) : block.index(last)]
    bound = {name for one in between if one not in bindings for name in _bound(one)}
    read = {node.id for node in ast.walk(ast.parse(factor, mode="eval")) if isinstance(node, ast.Name)}
    rebound = bound | {name for one in bindings for name in _bound(one)}
    if read & rebound:
        return Refusal("the factor is another one where the last step stands", at)
    source = found.source_node
    first = next(one for one in held if one.binding is bindings[0])
    assert first.node is not None
    if isinstance(source, ast.Name):
        names = {name for one in bindings for name in _bound(one)}
        others = [one for one in bindings if source.id in _bound(one)]
        if source.id in bound or (source.id in names and not others):
            return Refusal(f"`{source.id}` is another value where the last step stands", at)
        way = _Way(text, factor, tuple(bindings))
    else:
        target = bindings[0].targets[0]
        assert isinstance(target, ast.Name)
        if target.id in bound:
            return Refusal(f"`{target.id}` is another value where the last step stands", at)
        way = _Way(target.id, factor, tuple(bindings[1:]), (first.node, source))
    return _with_dead(scope, found, way, (root.node, *bindings))


def _with_dead(scope: Scope, found: _Shuffle, way: _Way, gone: tuple[ast.AST, ...]) -> _Way:
    """With the statements that only held sizes of the steps that go."""
    root, statement = found.root, scope.statement
    if root.statement not in root.block.statements or not scope.name:
        return way
    before = root.block.statements[: root.block.statements.index(root.statement)]
    nodes = list(ast.walk(scope.function))
    if any(isinstance(node, ast.Global | ast.Nonlocal) for node in nodes):
        return way
    names = [node for node in nodes if isinstance(node, ast.Name)]
    kept = {id(node) for node in ast.walk(found.source_node)}
    if isinstance(found.factor, ast.expr):
        kept |= {id(node) for node in ast.walk(found.factor)}
    removed = {id(node) for one in gone for node in ast.walk(one)} - kept
    dead: list[ast.Assign] = []
    for one in reversed(before):
        if not isinstance(one, ast.Assign) or one in way.gone or len(one.targets) != 1:
            continue
        targets = one.targets[0].elts if isinstance(one.targets[0], ast.Tuple) else one.targets
        bound = {target.id for target in targets if isinstance(target, ast.Name)}
        if len(bound) == 0 or any(not isinstance(target, ast.Name) for target in targets):
            continue
        if not _is_of_sizes(one.value) or not statement.stands_alone(one):
            continue
        inside = {id(node) for node in ast.walk(one)}
        elsewhere = [node for node in names if node.id in bound and id(node) not in removed and id(node) not in inside]
        read_before = [node for node in names if node.id in bound and id(node) in removed]
        if elsewhere or not read_before:
            continue
        dead.append(one)
        removed |= inside
    return _Way(way.text, way.factor, way.gone, way.kept, tuple(reversed(dead)))


def _is_of_sizes(node: ast.expr) -> bool:
    """Whether an expression reads sizes and calculates with them, and nothing more."""
    sizes = False
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(attr="shape"):
                sizes = True
            case ast.Call(func=ast.Attribute(attr="size")) | ast.BinOp():
                sizes = True
            case ast.Call(func=ast.Name(id="int")):
                pass
            case (
                ast.Name()
                | ast.Attribute()
                | ast.Constant()
                | ast.Tuple()
                | ast.UnaryOp()
                | ast.Subscript()
                | ast.Slice()
                | ast.operator()
                | ast.unaryop()
                | ast.expr_context()
            ):
                pass
            case _:
                return False
    return sizes


def _bound(statement: ast.stmt) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        name = getattr(node, "name", None)
        if isinstance(name, str):
            found.add(name)
    return found


def _plan(scope: Scope, found: _Shuffle, way: _Way) -> tuple[Action, ...]:
    statement, root = scope.statement, found.root
    assert root.node is not None
    assert root.statement is not None
    call = LogicalNode("shuffle", f"func_{found.form}", {"arg_0": way.factor})
    actions: list[Action] = [ReplaceExpression(statement, root.node, Expression(call, (way.text,)))]
    if way.kept is not None:
        actions.append(ReplaceExpression(statement, way.kept[0], Within(way.kept[1])))
    gone = (*way.dead, *way.gone)
    if gone:
        actions.append(ReplaceStatements(statement, gone, (), root.statement))
    return tuple(actions)


def _short(scope: Scope, node: ast.expr) -> str:
    text = " ".join(scope.statement.source(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
