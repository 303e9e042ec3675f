"""An activation before a max pool: the same behind it, on a part of the elements.

A function that never decreases takes the largest element of a window to the largest result: `max_pool(relu(x))` is
`relu(max_pool(x))`. Behind a pool of stride 2 the activation sees a quarter of an image's elements, and autograd
keeps a quarter of them.

## What it saves
The activation's work on all elements but one of each window: little. On a CPU, a convolution, ReLU, a max pool by 2 and
a convolution: 0.9x to 1.0x forward, 1.0x forward and backward, and as much memory kept as before (11.2 MB), since the
pool now keeps what the activation kept. Where the input of the two is kept anyway, autograd keeps half (9.2 MB become
4.6 MB). Costly activations on slow memory should gain more; that is not measured here.

## Fix safety
`exact`: the same elements go through the same function. Where several elements of a window give one result (zeros
behind a ReLU, values that round to one in a sigmoid) the gradient goes to the largest of them, not to the first: that
is the same gradient, or one that differs by the rounding that made them equal.

## Refused when
- the activation decreases somewhere (GELU, SiLU, Mish, Hardswish, a negative slope), or its arguments are not
  literals;
- its slope is learned or drawn (PReLU, RReLU), or softplus has a threshold of its own;
- the pool returns indices, which of equal elements tell the first, or is dilated and padded, so that a window may
  hold nothing but padding;
- the activation's result is used elsewhere too, or is written to in between;
- the activation works in place on memory that somebody else may hold;
- what comes behind writes in place to the result, or to what the pool is given, which autograd then has to keep, or
  may do so: the result leaves the function in a file whose other functions work in place on what they get;
- a layer of the two is hooked, replaced or handed on;
- the pool is another one: an average does not keep the order of anything.

Source: `torch.nn.functional`, torch 2.13; every activation of the list was compared on both sides, gradients
included.
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
    kept_in_literal,
    label_of,
    operand_of,
    pair_of,
    reads_as_reference,
    refusal_in_literal,
    refusal_of,
    removed_by,
    seated,
)
from fuselight.fusions.literal_arguments import all_equal, is_false, number_of
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.sizes import arguments as arguments_of
from fuselight.fusions.writes import result_written, source_written_behind
from fuselight.graph.effects import asks_in_place, made_in_place
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value

_F = "torch.nn.functional"

_POOLS = {
    **{
        f"torch.nn.MaxPool{n}d": ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
        for n in (1, 2, 3)
    },
    **{f"torch.nn.AdaptiveMaxPool{n}d": ("output_size", "return_indices") for n in (1, 2, 3)},
}
"""Max pools as layers, with the constructor's arguments in their order."""

_POOL_FUNCTIONS = {
    **{
        f"{module}.max_pool{n}d": (
            "input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"
        )
        for n in (1, 2, 3)
        for module in (_F, "torch")
    },
    **{f"{_F}.adaptive_max_pool{n}d": ("input", "output_size", "return_indices") for n in (1, 2, 3)},
}  # fmt: skip

_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "relu6": (),
    "selu": (),
    "sigmoid": (),
    "tanh": (),
    "hardsigmoid": (),
    "logsigmoid": (),
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "hardtanh": ("min_val", "max_val"),
    "softplus": ("beta", "threshold"),
}
"""Activations that never decrease, if their arguments say so, with the arguments between the input and `inplace`."""

_LAYERS = {
    "torch.nn.ReLU": "relu", "torch.nn.ReLU6": "relu6", "torch.nn.SELU": "selu", "torch.nn.Sigmoid": "sigmoid",
    "torch.nn.Tanh": "tanh", "torch.nn.Hardsigmoid": "hardsigmoid", "torch.nn.LogSigmoid": "logsigmoid",
    "torch.nn.LeakyReLU": "leaky_relu", "torch.nn.ELU": "elu", "torch.nn.CELU": "celu",
    "torch.nn.Hardtanh": "hardtanh", "torch.nn.Softplus": "softplus",
}  # fmt: skip

_KEEP_THEIR_RESULT = frozenset({"relu", "sigmoid", "tanh"})
"""Activations whose backward pass reads their result. Source: `derivatives.yaml` of torch 2.13."""

_DECREASING = frozenset({"gelu", "silu", "mish", "hardswish"})
_OTHERS = {
    "torch.nn.GELU": "gelu", "torch.nn.SiLU": "silu", "torch.nn.Mish": "mish", "torch.nn.Hardswish": "hardswish",
    "torch.nn.PReLU": "prelu", "torch.nn.RReLU": "rrelu",
}  # fmt: skip

_FRESH = ("Conv", "BatchNorm", "Linear", "GroupNorm", "InstanceNorm", "LayerNorm", "LazyConv")
"""Layers whose output is memory of its own."""

_POOL_NAMES = frozenset(name.rpartition(".")[2] for name in _POOLS)
_WORDS = frozenset(
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d MaxPool1d MaxPool2d"
    " MaxPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d".split()
)


@fusion
class ActivationBeforeMaxPool(Fusion):
    __doc__ = __doc__

    code = "FUS703"
    name = "activation-before-max-pool"
    words = (_WORDS, frozenset({"torch"}))
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        return x
""",
            after="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = F.relu(self.pool(self.conv1(x)))
        x = F.max_pool2d(self.conv2(x), 2)
        x = F.relu(x)
        return x
""",
            inputs=((2, 3, 16, 16),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # GELU decreases below zero
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(F.gelu(x))
""",
            "decreases somewhere",
        ),
        # a negative slope
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.LeakyReLU(-0.1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.act(x))
""",
            "decreases somewhere",
        ),
        # a learned slope
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.PReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.act(x))
""",
            "no constant",
        ),
        # an average
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return self.pool(F.relu(x))
""",
            "",
        ),
        # the indices tell the first of equal elements
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        return self.pool(F.relu(x))
""",
            "returns indices",
        ),
        # a skip connection
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        skip = F.relu(x)
        return self.pool(skip), skip
""",
            "used again",
        ),
        # in place on the caller's tensor
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.act(x))
""",
            "works in place",
        ),
        # windows of nothing but padding
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2, padding=1, dilation=2)

    def forward(self, x):
        return self.pool(F.relu(x))
""",
            "nothing but padding",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if not _POOL_NAMES.isdisjoint(scope.words):
            for pair in seated(module, scope):
                if pair.outer.kind in _POOLS and (pair.inner.kind in _LAYERS or pair.inner.kind in _OTHERS):
                    yield self._in_literal(module, scope, pair)
        if _WORDS.isdisjoint(scope.called) and scope.applied_kinds.isdisjoint(_POOLS):
            return
        if reads_as_reference(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for outer in graph.values:
            pool = _pool(module, graph, outer)
            pair = pair_of(outer) if pool is not None else None
            if pair is None or pool is None:
                continue
            activation = _activation(module, graph, pair.inner)
            if activation is not None:
                yield self._match(module, scope, graph, pair, pool, activation)

    def _match(
        self, module: Module, scope: Scope, graph: Graph, pair: Pair, pool: dict[str, ast.expr], activation: str
    ) -> Match:
        places = tuple(Place(scope.statement, node) for node in pair.places)
        act, name = label_of(scope, pair.inner), label_of(scope, pair.outer)
        message = f"`{act}` computes elements that `{name}` drops"
        refusal = (
            _decreases(act, activation, _given(pair, activation), places[1])
            or _pools_otherwise(pool, places[0])
            or _works_in_place(scope, pair)
            or refusal_of(module, scope, graph, pair)
            or _kept(module, scope, graph, pair, activation)
        )
        if refusal is not None:
            return Match(type(self), scope.name, places[0], message, others=places[1:], refused=refusal)
        gone = tuple(Place(scope.statement, node) for node in removed_by(scope, pair))
        title = f"Apply `{act}` behind `{name}`"
        return Match(
            type(self), scope.name, places[0], message, title, Safety.EXACT, (*places[1:], *gone),
            lambda: actions_of(scope, pair),
        )  # fmt: skip

    def _in_literal(self, module: Module, scope: Scope, pair: Seated) -> Match:
        act, name = (ast.unparse(one.call.func).rpartition(".")[2] for one in (pair.inner, pair.outer))
        kind = pair.inner.kind or ""
        activation = _LAYERS.get(kind) or _OTHERS[kind]
        pool = arguments_of(pair.outer.call, _POOLS[pair.outer.kind or ""])
        given = arguments_of(pair.inner.call, (*_ACTIVATIONS.get(activation, ()), "inplace"))
        refusal = _decreases(act, activation, given, pair.places[1])
        refusal = refusal or _pools_otherwise(pool, pair.places[0])
        fresh = pair.before is not None and (pair.before.kind or "").rpartition(".")[2].startswith(_FRESH)
        if refusal is None and given is not None and not is_false(given.get("inplace")) and not fresh:
            refusal = Refusal(f"`{act}` works in place on what somebody else may hold", pair.places[1])
        refusal = refusal or refusal_in_literal(module, pair)
        if refusal is None:
            result = activation in _KEEP_THEIR_RESULT or made_in_place(pair.inner.call)
            refusal = kept_in_literal(module, pair, result)
        message = f"`{act}` computes elements that `{name}` drops"
        if refusal is not None:
            return Match(type(self), scope.name, pair.places[0], message, others=pair.places[1:], refused=refusal)
        return Match(
            type(self), scope.name, pair.places[0], message, f"Apply `{act}` behind `{name}`", Safety.EXACT,
            pair.places[1:], lambda: actions_in_literal(pair),
        )  # fmt: skip


def _kept(module: Module, scope: Scope, graph: Graph, pair: Pair, activation: str) -> Refusal | None:
    """Autograd keeps the pool's input, and of some activations the result: nobody may write to these behind them."""
    taken = operand_of(pair.inner)
    assert taken is not None
    refusal = source_written_behind(module, scope, graph, taken[0], pair.inner)
    if refusal is None and (activation in _KEEP_THEIR_RESULT or _is_in_place(pair.inner)):
        refusal = result_written(module, scope, graph, pair.outer)
    return refusal


def _pool(module: Module, graph: Graph, value: Value) -> dict[str, ast.expr] | None:
    """The arguments of a max pool by their names; None for anything else."""
    node = value.node
    if not isinstance(node, ast.Call):
        return None
    if value.layer is not None:
        names = _POOLS.get(value.layer.kind or "")
        made = value.layer.constructor
        if names is None or made is None or len(node.args) + len(node.keywords) != 1:
            return None
        return arguments_of(made, names)
    if not (value.kind == "max_pool2d" or "max_pool" in value.kind):
        return None
    names = _POOL_FUNCTIONS.get(function_name(module, graph, value) or "")
    return arguments_of(node, names) if names is not None else None


def _activation(module: Module, graph: Graph, value: Value) -> str | None:
    """The name of the activation that a call computes, whether or not it never decreases."""
    if value.layer is not None:
        kind = value.layer.kind or ""
        return _LAYERS.get(kind) or _OTHERS.get(kind)
    if value.kind == "log_sigmoid":
        return "logsigmoid"
    if value.kind in _ACTIVATIONS or value.kind in _DECREASING or value.kind in ("prelu", "rrelu"):
        return value.kind
    called = value.kind == "call" or value.kind.startswith("torch.")  # asked to work in place
    path = function_name(module, graph, value) if called else None
    if path is not None and path.startswith((f"{_F}.", "torch.")):
        name = path.rpartition(".")[2]
        return name if name in _ACTIVATIONS else None
    return None


def _given(pair: Pair, activation: str) -> dict[str, ast.expr] | None:
    """The arguments of the activation besides its input."""
    layer, node = pair.inner.layer, pair.inner.node
    names = (*_ACTIVATIONS.get(activation, ()), "inplace")
    if layer is not None:
        return arguments_of(layer.constructor, names) if layer.constructor is not None else {}
    assert isinstance(node, ast.Call)
    method = isinstance(node.func, ast.Attribute) and node.func.value is pair.operand
    if isinstance(node.func, ast.Call):
        return {} if not node.func.args and not node.func.keywords else None
    given = arguments_of(node, names if method else ("input", *names))
    if given is not None:
        given.pop("input", None)
    return given


def _decreases(label: str, activation: str, given: dict[str, ast.expr] | None, place: Place) -> Refusal | None:
    if activation in _DECREASING:
        return Refusal(f"`{label}` decreases somewhere: the largest element need not have the largest result", place)
    if activation in ("prelu", "rrelu"):
        return Refusal(f"the slope of `{label}` is no constant, and may be negative", place)
    if given is None:
        return Refusal(f"the arguments of `{label}` are not seen", place)
    numbers: dict[str, float] = {}
    for name, node in given.items():
        if name == "inplace":
            continue
        number = number_of(node)
        if name not in _ACTIVATIONS[activation] or number is None:
            return Refusal(f"`{name}` of `{label}` is not a literal number", place)
        numbers[name] = number
    wrong = (
        numbers.get("negative_slope", 0.01) <= 0  # of 0 too: -inf would become NaN
        or (activation == "elu" and numbers.get("alpha", 1) < 0)
        or (activation == "celu" and numbers.get("alpha", 1) <= 0)
        or numbers.get("min_val", -1) > numbers.get("max_val", 1)
        or numbers.get("beta", 1) <= 0
    )
    if wrong:
        return Refusal(f"`{label}` decreases somewhere, by its arguments", place)
    if numbers.get("threshold", 20) != 20:
        return Refusal(f"`{label}` steps down at a threshold of its own", place)
    return None


def _pools_otherwise(pool: dict[str, ast.expr] | None, place: Place) -> Refusal | None:
    if pool is None:
        return Refusal("the arguments of the pool are not seen", place)
    if not is_false(pool.get("return_indices")):
        return Refusal("the pool returns indices, which tell the first of equal elements", place)
    dilation, padding = pool.get("dilation"), pool.get("padding")
    if dilation is not None and padding is not None and not (all_equal(dilation, 1) or all_equal(padding, 0)):
        return Refusal("the pool is dilated and padded: a window may hold nothing but padding", place)
    return None


def _is_in_place(value: Value) -> bool:
    return value.kind == "call" or asks_in_place(value.keywords)


def _works_in_place(scope: Scope, pair: Pair) -> Refusal | None:
    """An activation in place writes to its input; behind the pool to the pool's result. Nobody else may hold either."""
    inner = pair.inner
    if not _is_in_place(inner):
        return None
    assert inner.node is not None
    taken = operand_of(inner)
    source = taken[0] if taken is not None else None
    if source is None or len(source.uses) != 1 or source.roots != frozenset({source.order}) or source.reads > 1:
        return Refusal(
            f"`{label_of(scope, inner)}` works in place on what somebody else may hold",
            Place(scope.statement, inner.node),
        )
    return None
