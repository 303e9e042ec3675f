"""Dropout of what was dropped out already.

`nn.Dropout(0.1)` straight behind `nn.Dropout(0.2)` keeps a value with probability 0.8 * 0.9, as one `nn.Dropout(0.28)`
does. Usually one of the two was left over. Merging them draws fewer random numbers, so that a seeded run becomes
another run; and which of the two was meant only the author knows. So there is no edit.

## What it saves
Nothing is changed. One dropout in place of two saves a pass over the tensor, and the second mask.

## Fix safety
No edit is offered.

## Refused when
Nothing is reported where
- the two are of different kinds (`nn.Dropout` and `nn.Dropout2d` drop different things), or anything stands between;
- the output of the first is used elsewhere too;
- a probability is not literal, or zero.

Source: `torch.nn.Dropout`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from decimal import Decimal

from fuselight.fusions.base import Fusion, Match, NearMiss, Report, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.steps import Step, layer_is_known, pairs
from fuselight.graph.module import Module, Scope

_KINDS = frozenset(f"torch.nn.Dropout{number}" for number in ("", "1d", "2d", "3d")) | {"dropout"}
_WORDS = frozenset("Dropout Dropout1d Dropout2d Dropout3d dropout".split())

_M = """\
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


_TWO = "self.a = nn.Dropout(0.2)\nself.b = nn.Dropout({})"


@fusion
class RepeatedDropout(Fusion):
    __doc__ = __doc__

    code = "FUS108"
    name = "repeated-dropout"
    words = (_WORDS,)
    reports = (
        Report(_text(_TWO.format(0.1), "return self.b(self.a(x))"), "p=0.28"),
        Report(_text("self.net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))", "return self.net(x)"), "p=0.75"),
        Report(
            _text(
                "self.drop = nn.Dropout(0.1)", "x = self.drop(x)", "return F.dropout(x, 0.1, training=self.training)"
            ),
            "p=0.19",
        ),
    )
    near_misses = (
        NearMiss(_text("self.a = nn.Dropout(0.5)\nself.b = nn.Dropout2d(0.5)", "return self.b(self.a(x))"), ""),
        NearMiss(_text(_TWO.format(0.1), "return self.b(self.a(x).relu())"), ""),
        NearMiss(_text(_TWO.format(0.1), "y = self.a(x)", "return self.b(y) + y"), ""),
        NearMiss(_text(_TWO.format("p=p").replace("self.a", "p = 0.5\nself.a", 1), "return self.b(self.a(x))"), ""),
        NearMiss(_text(_TWO.format(0.1), "if self.a:", "    x = self.a(x)", "return self.b(x)"), ""),
        NearMiss(_text(_TWO.format("0.0"), "return self.b(self.a(x))"), ""),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, _KINDS, _KINDS, _WORDS):
            one, other = _probability(pair.first), _probability(pair.second)
            same = _sort(pair.first) == _sort(pair.second)
            if pair.refusal is not None or not same or one is None or other is None:
                continue
            if any(layer_is_known(module, pair, step, None) for step in (pair.first, pair.second)):
                continue
            together = 1 - (1 - one) * (1 - other)
            place, second = pair.places
            yield Match(
                type(self), scope.name, second,
                f"`{pair.second.label}` drops out what `{pair.first.label}` dropped out", "", Safety.EXACT, (place,),
                withheld=f"one of the two may be left over; the two together are one with p={together.normalize()}, "
                "which draws other random numbers",
            )  # fmt: skip


def _sort(step: Step) -> str:
    return "torch.nn.Dropout" if step.kind == "dropout" else step.kind


def _probability(step: Step) -> Decimal | None:
    """The literal probability of a dropout that does drop something in training."""
    given = step.arguments(("p", "inplace"), ("p", "training", "inplace"))
    if given is None:
        return None
    if step.kind == "dropout":
        training = given.get("training")
        if training is None or ast.unparse(training) != "self.training":
            return None
    node = given.get("p")
    if node is None:
        return Decimal("0.5")
    if isinstance(node, ast.Constant) and type(node.value) is float and 0 < node.value < 1:
        return Decimal(repr(node.value))
    return None
