"""An average pool behind a 1x1 convolution: the same before it, so that the convolution sees fewer pixels.

A mean of pixels and a mix of channels commute: the transition of a DenseNet (`conv1x1`, then `AvgPool2d(2)`) computes
four pixels for one that is kept.

## What it saves
Memory first: what autograd keeps for the convolution shrinks by the pool's window, 1.53 MB become 0.77 MB in a
transition layer. On a CPU 1.2x to 2.0x forward and backward, and 0.85x to 1.4x forward alone, over several runs: the
pool then works on the input channels, of which there usually are more. For inference on a CPU it may be a loss.

## Fix safety
`exact`: the same sums in another order; results differ by the rounding of the dtype.

## Refused when
- the convolution's kernel is not one pixel, or it has a stride or padding;
- the pool counts its padding in the mean, or has a divisor of its own, and the convolution has a bias: at the border,
  the bias would be counted in full;
- the pool is a maximum or a power mean, which do not commute with a sum;
- something stands between the two, or the convolution's output is used elsewhere too (a batch norm, an activation);
- a layer of the two is hooked, replaced or handed on.

Source: `torch.nn.AvgPool2d`, `torch.nn.AdaptiveAvgPool2d`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.exchange import (
    Pair,
    Seated,
    actions_in_literal,
    actions_of,
    function_name,
    label_of,
    pair_of,
    reads_as_reference,
    refusal_in_literal,
    refusal_of,
    removed_by,
    seated,
)
from fuselight.fusions.literal_arguments import all_equal, is_false
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.pointwise_convolution_behind_upsampling import (
    CONVOLUTION_ARGUMENTS,
    CONVOLUTIONS,
    keys_in_literal,
    may_be_pointwise,
    pointwise,
)
from fuselight.fusions.sizes import arguments as arguments_of
from fuselight.graph.classes import Layer
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value

_POOLS = {
    "torch.nn.AvgPool1d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    **{
        f"torch.nn.AvgPool{n}d": (
            "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
        )
        for n in (2, 3)
    },
    **{f"torch.nn.AdaptiveAvgPool{n}d": ("output_size",) for n in (1, 2, 3)},
}  # fmt: skip
_FUNCTIONS = {
    f"torch.nn.functional.{name}": ("input", *arguments)
    for name, arguments in (
        *((f"avg_pool{n}d", _POOLS[f"torch.nn.AvgPool{n}d"]) for n in (1, 2, 3)),
        *((f"adaptive_avg_pool{n}d", ("output_size",)) for n in (1, 2, 3)),
    )
}
_FUNCTIONS["torch.avg_pool1d"] = _FUNCTIONS["torch.nn.functional.avg_pool1d"]
_FUNCTIONS["torch.adaptive_avg_pool1d"] = ("input", "output_size")

_POOL_NAMES = frozenset(name.rpartition(".")[2] for name in _POOLS)
_WORDS = frozenset(f"{name}{n}d" for n in (1, 2, 3) for name in ("avg_pool", "adaptive_avg_pool"))


@fusion
class AveragePoolBehindPointwiseConvolution(Fusion):
    __doc__ = __doc__

    code = "FUS705"
    name = "average-pool-behind-pointwise-convolution"
    words = (
        _WORDS | {name.rpartition(".")[2] for name in _POOLS},
        frozenset({"Conv1d", "Conv2d", "Conv3d"}),
    )
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 4, kernel_size=1, bias=False)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)

    def forward(self, x):
        x = torch.relu(self.norm(x))
        x = self.conv(x)
        x = self.pool(x)
        return x
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 4, kernel_size=1, bias=False)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)

    def forward(self, x):
        x = torch.relu(self.norm(x))
        x = self.pool(x)
        x = self.conv(x)
        return x
""",
            inputs=((2, 8, 6, 6),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # a kernel of more than one pixel
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 3)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return self.pool(self.conv(x))
""",
            "",
        ),
        # the padding counts, the bias would too
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)
        self.pool = nn.AvgPool2d(3, 2, 1)

    def forward(self, x):
        return self.pool(self.conv(x))
""",
            "counts its padding",
        ),
        # another divisor
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)
        self.pool = nn.AvgPool2d(2, divisor_override=3)

    def forward(self, x):
        return self.pool(self.conv(x))
""",
            "divisor of its own",
        ),
        # a maximum
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.conv(x))
""",
            "",
        ),
        # an activation between
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return self.pool(F.relu(self.conv(x)))
""",
            "",
        ),
        # its output is used too
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        x = self.conv(x)
        return self.pool(x), x
""",
            "used again",
        ),
        # the keys of a checkpoint
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(8, 3, 1), nn.AvgPool2d(2))

    def forward(self, x):
        return self.net(x)
""",
            "named by its place",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        used = scope.applied_kinds
        if not _POOL_NAMES.isdisjoint(scope.words):
            for pair in seated(module, scope):
                if pair.inner.kind in CONVOLUTIONS and pair.outer.kind in _POOLS:
                    yield from self._in_literal(module, scope, pair)
        if used.isdisjoint(CONVOLUTIONS) or (_WORDS.isdisjoint(scope.called) and used.isdisjoint(_POOLS)):
            return
        if reads_as_reference(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for outer in graph.values:
            pool = _pool(module, graph, outer)
            pair = pair_of(outer) if pool is not None else None
            if pair is None or pool is None or pair.inner.kind not in CONVOLUTIONS or pair.inner.layer is None:
                continue
            if not may_be_pointwise(pair.inner.layer):
                continue
            yield self._match(module, scope, graph, pair, pool, pair.inner.layer)

    def _match(
        self, module: Module, scope: Scope, graph: Graph, pair: Pair, pool: dict[str, ast.expr], layer: Layer
    ) -> Match:
        places = tuple(Place(scope.statement, node) for node in pair.places)
        conv, name = label_of(scope, pair.inner), label_of(scope, pair.outer)
        message = f"`{conv}` mixes the channels of pixels that `{name}` averages"
        refusal = _refused(conv, pool, layer, places[0]) or refusal_of(module, scope, graph, pair)
        if refusal is not None:
            return Match(type(self), scope.name, places[0], message, others=places[1:], refused=refusal)
        gone = tuple(Place(scope.statement, node) for node in removed_by(scope, pair))
        title = f"Apply `{name}` before `{conv}` (saves memory; forward alone may be slower on a CPU)"
        return Match(
            type(self), scope.name, places[0], message, title, Safety.EXACT, (*places[1:], *gone),
            lambda: actions_of(scope, pair),
        )  # fmt: skip

    def _in_literal(self, module: Module, scope: Scope, pair: Seated) -> Iterator[Match]:
        conv, name = (ast.unparse(one.call.func).rpartition(".")[2] for one in (pair.inner, pair.outer))
        refusal = pointwise(conv, pair.inner.call, pair.places[1])
        if refusal is not None:
            return
        pool = arguments_of(pair.outer.call, _POOLS[pair.outer.kind or ""])
        if pool is None:
            refusal = Refusal("the arguments of the pool are not seen", pair.places[0])
        else:
            refusal = _weighs(conv, pool, pair.inner.call, pair.places[0])
        message = f"`{conv}` mixes the channels of pixels that `{name}` averages"
        refusal = refusal or keys_in_literal(conv, pair) or refusal_in_literal(module, pair)
        if refusal is not None:
            yield Match(type(self), scope.name, pair.places[0], message, others=pair.places[1:], refused=refusal)
            return
        title = f"Apply `{name}` before `{conv}` (saves memory; forward alone may be slower on a CPU)"
        yield Match(
            type(self), scope.name, pair.places[0], message, title, Safety.EXACT, pair.places[1:],
            lambda: actions_in_literal(pair),
        )  # fmt: skip


def _refused(conv: str, pool: dict[str, ast.expr], layer: Layer, place: Place) -> Refusal | None:
    at = Place(layer.statement, layer.constructor or layer.assignment)
    return pointwise(conv, layer.constructor, at) or _weighs(conv, pool, layer.constructor, place)


def _pool(module: Module, graph: Graph, value: Value) -> dict[str, ast.expr] | None:
    """The arguments of an average pool by their names; None for anything else."""
    node = value.node
    if not isinstance(node, ast.Call):
        return None
    if value.layer is not None:
        names = _POOLS.get(value.layer.kind or "")
        made = value.layer.constructor
        if names is None or made is None or len(node.args) + len(node.keywords) != 1:
            return None
        return arguments_of(made, names)
    if "avg_pool" not in value.kind:
        return None
    names = _FUNCTIONS.get(function_name(module, graph, value) or "")
    return arguments_of(node, names) if names is not None else None


def _weighs(conv: str, pool: dict[str, ast.expr], made: ast.Call | None, place: Place) -> Refusal | None:
    """Where a window's weights do not sum to one, a bias behind the pool is not the bias before it."""
    given = arguments_of(made, CONVOLUTION_ARGUMENTS) if made is not None else None
    if given is not None and "bias" in given and is_false(given["bias"]):
        return None
    divisor = pool.get("divisor_override")
    if divisor is not None and not (isinstance(divisor, ast.Constant) and divisor.value is None):
        return Refusal(f"the pool has a divisor of its own, and `{conv}` may have a bias", place)
    padding, counted = pool.get("padding"), pool.get("count_include_pad")
    if padding is None or all_equal(padding, 0) or (counted is not None and is_false(counted)):
        return None
    return Refusal(f"the pool counts its padding in the mean, and `{conv}` may have a bias", place)
