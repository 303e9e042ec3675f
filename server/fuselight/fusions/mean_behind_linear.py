"""A mean over positions behind a linear layer: the mean first, then the layer, once.

`self.fc(x).mean(dim=1)` multiplies every position by the matrix and averages the products; the average of the
positions times the matrix is the same, bias included: the mean of a constant is the constant.

## What it saves
Time, by the number of positions that are averaged. On a CPU, a linear layer over 196 positions: 11x to 50x forward,
16x to 23x forward and backward. Autograd keeps the averaged input besides.

## Fix safety
`exact`: the same sum in another order; results differ by the rounding of the dtype. `numerics` where the source does
not show that the mean leaves the last dimension alone: `self.fc(x).mean(1)` of a matrix is a mean over the features.
The title says what is assumed.

## Refused when
- it is no mean: a sum counts the bias as often as there are positions, a maximum is no linear function;
- the mean is over the last dimension, over all of them, or over dimensions that are not literal;
- nothing shows that the mean is over positions, and it may well be over features: `.mean(2)`, a single feature;
- the mean has a `dtype` of its own;
- the layer's output is used elsewhere too, or is written to in between;
- the layer is hooked, replaced or handed on: a hook would see less.

Source: `torch.nn.Linear`, `torch.mean`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.exchange import (
    Pair,
    actions_of,
    goes_on_as_features,
    label_of,
    operand_of,
    pair_of,
    reads_as_reference,
    refusal_of,
    removed_by,
    takes_a_matrix,
)
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.sizes import LINEAR, arguments
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import Rank, argument, dimensions, rank_of
from fuselight.graph.values import Graph, Value

_LINEAR = "torch.nn.Linear"
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


@fusion
class MeanBehindLinear(Fusion):
    __doc__ = __doc__

    code = "FUS702"
    name = "mean-behind-linear"
    words = (frozenset({"mean"}), frozenset({"Linear", "linear"}))
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        batch, steps, features = x.shape
        return self.fc(x).mean(dim=1)
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        batch, steps, features = x.shape
        return self.fc(x.mean(dim=1))
""",
            inputs=((5, 7, 6),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        h = self.fc(torch.tanh(x))
        h = torch.mean(h, 1)
        return h
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        h = torch.mean(torch.tanh(x), 1)
        h = self.fc(h)
        return h
""",
            inputs=((5, 7, 6),),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        # a sum counts the bias many times
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        return self.fc(x).sum(1)
""",
            "",
        ),
        # a mean over the features
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        return self.fc(x).mean(-1)
""",
            "over the features",
        ),
        # a mean over the features of a matrix
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        rows, features = x.shape
        return self.fc(x).mean(1)
""",
            "over the features",
        ),
        # a mean over everything
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        return self.fc(x).mean()
""",
            "over all dimensions",
        ),
        # an activation between
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        return torch.relu(self.fc(x)).mean(1)
""",
            "",
        ),
        # the positions are used too
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        h = self.fc(x)
        return h - h.mean(1, keepdim=True)
""",
            "used again",
        ),
        # another accuracy
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        return self.fc(x).mean(1, dtype=torch.float64)
""",
            "dtype of its own",
        ),
        # a norm is no linear map
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        return self.fc(x) + self.norm(x).mean(1)
""",
            "",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        called = scope.called
        if "mean" not in called or not ("linear" in called or _LINEAR in scope.applied_kinds):
            return
        if reads_as_reference(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for outer in graph.of_kind("mean"):
            pair = pair_of(outer)
            if pair is not None and _is_linear(pair.inner):
                yield self._match(module, scope, graph, pair)

    def _match(self, module: Module, scope: Scope, graph: Graph, pair: Pair) -> Match:
        places = tuple(Place(scope.statement, node) for node in pair.places)
        label = label_of(scope, pair.inner)
        message = f"`{label}` is applied to every position, and the results are averaged"
        least = _least(pair.outer)
        rank = _rank(graph, pair)
        refusal = least if isinstance(least, Refusal) else None
        if refusal is None and isinstance(least, int) and rank.most is not None and rank.most < least:
            refusal = Refusal("the mean is over the features")
        refusal = refusal or refusal_of(module, scope, graph, pair)
        if refusal is not None:
            at = refusal if refusal.at is not None else Refusal(refusal.reason, places[0])
            return Match(type(self), scope.name, places[0], message, others=places[1:], refused=at)
        assert isinstance(least, int)
        assumed: list[str] = []
        if rank.least < least and not goes_on_as_features(graph, pair, _width(pair.inner)):
            if least >= 4 or _width(pair.inner) == "1":
                refusal = Refusal("nothing shows that the mean is over positions, not features", places[0])
                return Match(type(self), scope.name, places[0], message, others=places[1:], refused=refusal)
            assumed.append(f"`{label}` gives {_NUMBERS.get(least, least)} dimensions or more")
        from_end = any(dim < 0 for dim in _dimensions(pair.outer) or ())
        if from_end and pair.inner.kind == "linear" and not takes_a_matrix(scope, graph, pair.inner):
            assumed.append(f"the weight of `{label}` is a matrix")
        safety = Safety.NUMERICS if assumed else Safety.EXACT
        note = f" (numerics: assumes that {' and '.join(assumed)})" if assumed else ""
        gone = tuple(Place(scope.statement, node) for node in removed_by(scope, pair))
        return Match(
            type(self), scope.name, places[0], message, f"Average before `{label}`{note}", safety,
            (*places[1:], *gone), lambda: actions_of(scope, pair),
        )  # fmt: skip


def _is_linear(value: Value) -> bool:
    node = value.node
    if value.kind == _LINEAR:
        return isinstance(node, ast.Call) and len(node.args) + len(node.keywords) == 1
    if value.kind != "linear":
        return False
    bias = argument(value, 2, "bias")
    return bias is None or bias.kind in ("attribute", "constant")


def _rank(graph: Graph, pair: Pair) -> Rank:
    """How many dimensions the layer's result has: as many as its input."""
    taken = operand_of(pair.inner)
    assert taken is not None
    return rank_of(graph, pair.inner, pair.outer).meet(rank_of(graph, taken[0], pair.outer))


def _width(value: Value) -> str | None:
    """The features that the layer gives, as the source has them."""
    made = value.layer.constructor if value.layer is not None else None
    width = (arguments(made, LINEAR) or {}).get("out_features") if made is not None else None
    return ast.unparse(width) if width is not None else None


def _least(mean: Value) -> int | Refusal:
    """How many dimensions there must be for a mean to leave the last one alone."""
    if not mean.keywords.keys() <= {"dim", "axis", "keepdim", "keepdims", "input"}:
        return Refusal("the mean has a dtype of its own, or writes to a tensor")
    if len(mean.inputs) > 3:
        return Refusal("the mean has a dtype of its own, or writes to a tensor")
    if argument(mean, *_where(mean)) is None:
        return Refusal("the mean is over all dimensions, the features among them")
    dims = _dimensions(mean)
    if not dims:
        return Refusal("the dimensions of the mean are not literal")
    if -1 in dims:
        return Refusal("the mean is over the features")
    return max(dim + 2 if dim >= 0 else -dim for dim in dims)


def _dimensions(mean: Value) -> tuple[int, ...] | None:
    return dimensions(mean, *_where(mean))


def _where(mean: Value) -> tuple[int, str]:
    """Where the dimensions stand among the arguments, and under which name."""
    return 0 if "input" in mean.keywords else 1, "axis" if "axis" in mean.keywords else "dim"
