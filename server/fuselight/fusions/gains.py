"""What one site gains, worked out from the sizes that stand at it as literals. Where one does not, nothing is said."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from fuselight.fusions.base import Match
from fuselight.graph.classes import resolve
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value


def gains(module: Module, match: Match) -> tuple[str, ...]:
    """Sentences for people, the figures for one call of the site; none where the source does not tell its sizes."""
    work = _GAINS.get(match.fusion.code)
    if work is None or match.refused is not None:
        return ()
    site = _site(module, match)
    return tuple(work(site)) if site is not None else ()


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer that is made of literals: `inputs` and `outputs` are its features, channels, or rows and columns."""

    kind: str
    inputs: int
    outputs: int
    taps: int
    """Weights for each pair of an input and an output channel."""
    groups: int
    bias: bool
    width: int
    """Bytes of a value."""
    dtype: str

    @property
    def parameters(self) -> int:
        return self.inputs // self.groups * self.outputs * self.taps + (self.outputs if self.bias else 0)

    @property
    def place(self) -> str:
        return "row" if self.kind == "Linear" else "lookup" if self.kind == "Embedding" else "position"


@dataclass(frozen=True, slots=True)
class _Site:
    module: Module
    match: Match
    graph: Graph | None
    nodes: frozenset[ast.AST]

    def values(self) -> list[Value]:
        """The values that the match takes in."""
        return [value for value in self.graph.values if value.node in self.nodes] if self.graph is not None else []

    def constructors(self) -> list[ast.Call]:
        """The calls that make its layers, in the order of the file."""
        found = {node for node in self.nodes if isinstance(node, ast.Call)}
        found |= {
            node.value for node in self.nodes if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        }
        made = (value.layer.constructor for value in self.values() if value.layer is not None)
        found |= {call for call in made if call is not None}
        return sorted((call for call in found if self.kind(call)), key=lambda call: (call.lineno, call.col_offset))

    def kind(self, call: ast.Call) -> str:
        """`Linear` of a layer of torch's, else an empty string."""
        name = resolve(call.func, self.module.names) or ""
        return name.removeprefix("torch.nn.") if name.startswith("torch.nn.") else ""

    def layers(self, *kinds: str) -> list[_Layer] | None:
        """Its layers whose kind starts with one of these; None where one of them is not all literals."""
        found: list[_Layer] = []
        for call in self.constructors():
            kind = self.kind(call)
            if kind.startswith(kinds):
                layer = _layer(kind, call)
                if layer is None:
                    return None
                found.append(layer)
        return found


def _site(module: Module, match: Match) -> _Site | None:
    places = (match.place, *match.others)
    nodes: frozenset[ast.AST] = frozenset(place.node for place in places) | match.parts
    statement = match.place.statement
    graph: Graph | None = None
    for scope in module.scopes(statement):
        if scope.name == match.scope and _holds(scope, match):
            graph = module.graph(scope)
    return _Site(module, match, graph if graph is None or graph.opaque is None else None, nodes)


def _holds(scope: Scope, match: Match) -> bool:
    """Whether a function is the one of the match, where several have its name."""
    lines = range(scope.function.lineno, (scope.function.end_lineno or scope.function.lineno) + 1)
    places = (match.place, *match.others)
    return any(place.statement is scope.statement and place.node.lineno in lines for place in places)


_PARAMETERS = {
    "Linear": ("in_features", "out_features", "bias", "device", "dtype"),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "Conv": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "ConvTranspose": (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "groups", "bias",
    ),
}  # fmt: skip
_BYTES = {
    "torch.float32": 4, "torch.float": 4, "torch.float64": 8, "torch.double": 8,
    "torch.float16": 2, "torch.half": 2, "torch.bfloat16": 2,
}  # fmt: skip


def _layer(kind: str, call: ast.Call) -> _Layer | None:
    family = kind.rstrip("123d")
    names = _PARAMETERS.get(family)
    given = _arguments(call, names) if names is not None else None
    if given is None or names is None:
        return None
    sizes = [_number(given.get(name)) for name in names[:2]]
    groups = _number(given["groups"]) if "groups" in given else 1
    taps = _taps(given.get("kernel_size"), kind) if family.startswith("Conv") else 1
    bias = given.get("bias")
    has_bias = family != "Embedding" if bias is None else bias.value if isinstance(bias, ast.Constant) else None
    dtype = ast.unparse(given["dtype"]) if "dtype" in given else "torch.float32"
    if None in (*sizes, groups, taps) or not isinstance(has_bias, bool) or dtype not in _BYTES or not groups:
        return None
    inputs, outputs = (size or 0 for size in sizes)
    return _Layer(kind, inputs, outputs, taps or 1, groups or 1, has_bias, _BYTES[dtype], dtype.removeprefix("torch."))


def _arguments(call: ast.Call, names: Sequence[str]) -> dict[str, ast.expr] | None:
    """The arguments by name; None where one is unpacked, or stands further back than is known here."""
    if len(call.args) > len(names) or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    found = dict(zip(names, call.args, strict=False))
    for keyword in call.keywords:
        if keyword.arg is None:
            return None
        found[keyword.arg] = keyword.value
    return found


def _number(node: ast.expr | None) -> int | None:
    """A positive whole number, written out or as a sum or product of such."""
    match node:
        case ast.Constant(value=int() as number) if type(number) is int and number > 0:
            return number
        case ast.BinOp(left=left, op=ast.Mult() | ast.Add() as operator, right=right):
            one, other = _number(left), _number(right)
            if one is None or other is None:
                return None
            return one * other if isinstance(operator, ast.Mult) else one + other
        case _:
            return None


def _taps(node: ast.expr | None, kind: str) -> int | None:
    """How many weights a kernel of a convolution has."""
    if isinstance(node, ast.Tuple | ast.List):
        numbers = [_number(one) for one in node.elts]
        return None if None in numbers else prod(one or 0 for one in numbers)
    size = _number(node)
    dimensions = int(kind[-2]) if kind[-1:] == "d" and kind[-2].isdigit() else None
    return size**dimensions if size is not None and dimensions is not None else None


# -- what each fusion saves


def _merged(site: _Site, what: str, *kinds: str, copied: bool = False) -> Iterator[str]:
    layers = site.layers(*kinds)
    if layers is None or len(layers) < 2 or len({(one.kind, one.inputs, one.dtype) for one in layers}) > 1:
        return
    first, count = layers[0], len(layers)
    bias = any(one.bias for one in layers)
    parts = " + ".join(f"{one.parameters:,}" for one in layers)
    total = sum(one.parameters + (one.outputs if bias and not one.bias else 0) for one in layers)
    outputs = sum(one.outputs for one in layers)
    if first.kind == "Embedding":
        yield f"{count} tables of {parts} parameters become one of {total:,}."
        yield f"Kernels: 1 {what} in place of {count}."
        return
    yield f"{count} layers of {parts} parameters become one of {total:,}."
    extra = " and a copy" if copied else ""
    yield f"Kernels: 1 {what} in place of {count}{extra}."
    reads = (count - 1) * first.inputs * first.width
    sentence = (
        f"The input is read once in place of {count} times: {reads:,} bytes less a {first.place} in {first.dtype}"
    )
    if copied:
        sentence += f"; the outputs, {outputs * first.width:,} bytes a {first.place}, are not copied"
    yield f"{sentence}."


def _linears(site: _Site) -> Iterator[str]:
    yield from _merged(site, "matrix product", "Linear")


def _convolutions(site: _Site) -> Iterator[str]:
    yield from _merged(site, "convolution", "Conv")


def _embeddings(site: _Site) -> Iterator[str]:
    yield from _merged(site, "lookup", "Embedding")


def _concatenated(site: _Site) -> Iterator[str]:
    linear = any(site.kind(call) == "Linear" for call in site.constructors())
    yield from _merged(site, "matrix product" if linear else "convolution", "Linear", "Conv", copied=True)


def _dropped_bias(site: _Site) -> Iterator[str]:
    layers = site.layers("Conv", "Linear")
    if layers is None or not layers or not all(one.bias for one in layers):
        return
    count = sum(one.outputs for one in layers)
    size = sum(one.outputs * one.width for one in layers)
    yield f"{count:,} parameters less: {size:,} bytes in {layers[0].dtype}, and as much again for their gradient."


def _work_moved(site: _Site) -> Iterator[str]:
    layers = site.layers("Linear")
    if layers is None or len(layers) != 1:
        return
    (layer,) = layers
    yield (
        f"Each row that the layer does not see any more saves {layer.inputs:,} x {layer.outputs:,} ="
        f" {layer.inputs * layer.outputs:,} multiply-adds and {layer.outputs * layer.width:,} bytes of output"
        f" in {layer.dtype}."
    )


def _one_hot(site: _Site) -> Iterator[str]:
    layers = site.layers("Linear")
    if layers is None or len(layers) != 1:
        return
    (layer,) = layers
    yield (
        f"Each row saves a one-hot vector of {layer.inputs:,} values ({layer.inputs * 8:,} bytes in int64, and"
        f" {layer.inputs * layer.width:,} in {layer.dtype}) and {layer.inputs * layer.outputs:,} multiply-adds."
    )


_POINTWISE = frozenset(
    "add sub mul div pow neg sigmoid tanh relu exp log sqrt rsqrt square erf softplus log1p expm1 relu6 hardsigmoid"
    " hardtanh clamp abs".split()
)
"""Kinds that are one pass over the values each, run eagerly."""


def _spelled_out(site: _Site) -> Iterator[str]:
    """Elementwise steps behind one layer, which one elementwise call replaces."""
    values = site.values()
    steps = [value for value in values if value.kind in _POINTWISE and value.layer is None]
    layers = {id(value.layer): value.layer for value in _behind(steps) if value.layer is not None}
    others = [value for value in _behind(steps) if value.layer is None and not _is_number(value)]
    if len(steps) < 2 or len(layers) != 1 or others:
        return
    constructor = next(iter(layers.values())).constructor
    layer = _layer(site.kind(constructor), constructor) if constructor is not None else None
    if layer is None:
        return
    steps = [value for value in steps if not _is_number(value)]
    size = layer.outputs * layer.width
    saved = len(steps) - 1
    values_said = f"{saved} intermediate {'value' if saved == 1 else 'values'}"
    yield f"Kernels: 1 in place of {len(steps)}, where the code is not compiled."
    yield f"{values_said} of {size:,} bytes a {layer.place} in {layer.dtype} less to write and to read again."


def _behind(steps: Sequence[Value]) -> list[Value]:
    """The values that the steps start from."""
    inside = {id(value) for value in steps}
    given = {id(one): one for value in steps for one in (*value.inputs, *value.keywords.values())}
    return [value for value in given.values() if id(value) not in inside]


def _is_number(value: Value) -> bool:
    """Whether a value is a number and no tensor."""
    if value.kind in ("constant", "global"):
        return value.constant is not None or (value.path or "").startswith("math.")
    return value.kind.startswith("math.") or (
        value.kind in _POINTWISE and bool(value.inputs) and all(map(_is_number, value.inputs))
    )


_GAINS: dict[str, Callable[[_Site], Iterator[str]]] = {
    "FUS101": _dropped_bias,
    "FUS102": _dropped_bias,
    "FUS114": _one_hot,
    "FUS201": _linears,
    "FUS202": _convolutions,
    "FUS203": _embeddings,
    "FUS204": _concatenated,
    "FUS401": _spelled_out,
    "FUS402": _spelled_out,
    "FUS403": _spelled_out,
    "FUS404": _spelled_out,
    "FUS405": _spelled_out,
    "FUS406": _spelled_out,
    "FUS408": _spelled_out,
    "FUS701": _work_moved,
    "FUS702": _work_moved,
}
