"""Global average pooling, then flattening: a mean.

`nn.AdaptiveAvgPool2d(1)` and then `torch.flatten(x, 1)` (or `.view(B, -1)`, or `[:, :, 0, 0]`) is `x.mean((2, 3))`. In
a `nn.Sequential` nothing is changed: no layer takes a mean.

## What it saves
Nothing but a line, and perhaps a layer.

## Fix safety
`exact` where the source shows how many dimensions the input has: the sum is rounded otherwise. Else `numerics`: an
input without a batch dimension, which the pool takes, raises afterwards.

## Refused when
- the pool's output is not of size one, or used elsewhere too;
- the flattening does not keep the first dimension, or its size is taken from elsewhere;
- the layer is replaced, hooked or named in a string (of one that is called elsewhere only the call goes).

Source: `torch.nn.AdaptiveAvgPool2d`, `torch.mean`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Method, OnValue, ReplaceExpression
from fuselight.fusions.repeated_reshape import flattens, is_size, values_of
from fuselight.fusions.steps import (
    Pair,
    elements,
    handed_past,
    in_one_line,
    integer,
    is_method,
    layer_dropped,
    pairs,
    removed_places,
    source_of,
)
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of

_POOLS = frozenset(f"torch.nn.AdaptiveAvgPool{number}d" for number in (1, 2, 3)) | frozenset(
    f"adaptive_avg_pool{number}d" for number in (1, 2, 3)
)
_FLATTENED = frozenset({"flatten", "torch.nn.Flatten", "method view", "reshape", "getitem", "squeeze"})
_WORDS = frozenset(kind.rpartition(".")[2] for kind in _POOLS)

_M = """\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}
"""


def _text(init: str, *forward: str) -> str:
    return _M.format(init=init.replace("\n", "\n        "), forward="\n        ".join(forward))


_POOL = "self.pool = nn.AdaptiveAvgPool2d(1)"


@fusion
class GlobalPoolThenFlatten(Fusion):
    __doc__ = __doc__

    code = "FUS112"
    name = "global-pool-then-flatten"
    words = (_WORDS,)
    examples = (
        Example(
            before=_text(
                "self.norm = nn.BatchNorm2d(3)\nself.pool = nn.AdaptiveAvgPool2d((1, 1))\nself.fc = nn.Linear(3, 2)",
                "x = self.pool(self.norm(x))",
                "x = torch.flatten(x, 1)",
                "return self.fc(x)",
            ),
            after=_text(
                "self.norm = nn.BatchNorm2d(3)\nself.fc = nn.Linear(3, 2)",
                "x = self.norm(x)",
                "x = x.mean((2, 3))",
                "return self.fc(x)",
            ),
            inputs=((2, 3, 5, 4),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch.nn.functional as F


def f(x):
    return F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
""",
            after="""\
import torch.nn.functional as F


def f(x):
    return x.mean((2, 3))
""",
            inputs=((2, 3, 5, 4),),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(_text("self.pool = nn.AdaptiveAvgPool2d(2)", "return self.pool(x).flatten(1)"), ""),
        NearMiss(_text("self.pool = nn.AdaptiveAvgPool2d((1, None))", "return self.pool(x).flatten(1)"), ""),
        NearMiss(_text("self.pool = nn.AdaptiveMaxPool2d(1)", "return self.pool(x).flatten(1)"), ""),
        NearMiss(_text(_POOL, "return self.pool(x).flatten()"), ""),
        NearMiss(_text(_POOL, "return self.pool(x).squeeze()"), ""),
        NearMiss(_text(_POOL, "return self.pool(x).view(-1, 3)"), ""),
        NearMiss(_text(_POOL, "y = self.pool(x)", "return y.flatten(1), y"), "used more than once"),
        NearMiss(_text("self.net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())", "return self.net(x)"), ""),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, _POOLS, _FLATTENED, _WORDS, sizes=True, least=1):
            dimensions = int(pair.first.kind[-2])
            if pair.literal is not None or not _is_global(pair, dimensions) or not _flattens_all(pair, dimensions):
                continue
            source = source_of(pair.first)
            assert source is not None
            assert pair.graph is not None
            rank = rank_of(pair.graph, source)
            if rank.most is not None and rank.most < dimensions + 2:
                continue
            first, second = pair.places
            dims = "2" if dimensions == 1 else f"({', '.join(str(2 + one) for one in range(dimensions))})"
            message = "pooled to one value and flattened: a mean"
            one, other = (layer_dropped(module, pair, step) for step in (pair.first, pair.second))
            refusal = pair.refusal or next((why for why in (one, other) if isinstance(why, Refusal)), None)
            if refusal is not None or isinstance(one, Refusal) or isinstance(other, Refusal):
                yield Match(type(self), scope.name, second, message, others=(first,), refused=refusal)
                continue
            known = rank.exact == dimensions + 2
            shape = f"(N, C, {', '.join('DHW'[3 - dimensions :])})"
            gone = [f"`{step.label}`" for step, what in ((pair.first, one), (pair.second, other)) if what]
            goes = f"; {' and '.join(gone)} {'goes' if len(gone) == 1 else 'go'}" if gone else ""
            note = "" if known else f" (numerics: for a batch, of shape {shape})"
            safety = Safety.EXACT if known else Safety.NUMERICS
            dropped = (*one, *other)
            yield Match(
                type(self), scope.name, second, message, f"Replace the two by one `.mean({dims})`{goes}{note}", safety,
                (first, *removed_places(dropped)), partial(_plan, pair, dims, dropped),
            )  # fmt: skip


def _plan(pair: Pair, dims: str, dropped: tuple[Action, ...]) -> tuple[Action, ...]:
    actions, text = handed_past(pair)
    mean = OnValue(in_one_line(text), (Method("mean", {"arg_0": dims}),))
    return (*actions, ReplaceExpression(pair.scope.statement, pair.second.node, mean), *dropped)


def _is_global(pair: Pair, dimensions: int) -> bool:
    given = pair.first.arguments(("output_size",), ("output_size",))
    size = given.get("output_size") if given is not None else None
    if size is None or given is None or len(given) != 1:
        return False
    sizes = elements(size)
    if sizes is None:
        return integer(size) == 1
    return len(sizes) == dimensions and all(integer(one) == 1 for one in sizes)


def _flattens_all(pair: Pair, dimensions: int) -> bool:
    """Whether what is left is (N, C)."""
    step = pair.second
    if flattens(step):
        return True
    node = step.node
    if step.kind in ("method view", "reshape"):
        sizes = values_of(step)
        if sizes is None or len(sizes) != 2:
            return False
        either = (pair.first.value, source_of(pair.first))
        channels = sizes[1].constant == -1 or any(is_size(sizes[1], of, 1) for of in either)
        return channels and any(is_size(sizes[0], of, 0) for of in either)
    if isinstance(node, ast.Subscript):
        index = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
        whole = [isinstance(one, ast.Slice) and one.lower is one.upper is one.step is None for one in index[:2]]
        return len(index) == dimensions + 2 and all(whole) and all(integer(one) in (0, -1) for one in index[2:])
    if step.kind == "squeeze" and dimensions == 1 and isinstance(node, ast.Call):
        given = node.args if is_method(step) else node.args[1:]
        return len(given) == 1 and not node.keywords and integer(given[0]) in (-1, 2)
    return False
