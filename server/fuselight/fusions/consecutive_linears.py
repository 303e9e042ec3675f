"""A linear layer straight behind a linear layer: together they are one linear map.

`nn.Linear(64, 64)` and then `nn.Linear(64, 10)` with nothing in between compute what one `nn.Linear(64, 10)` can
compute, and so do two 1x1 convolutions. Usually an activation was forgotten, and the cure is to put it there, which
nobody but the author can do; so there is no edit. Where the inner width is smaller than both ends it is a factorisation
of low rank, made on purpose, and nothing is reported.

## What it saves
Nothing is changed. One layer in place of the two would save the product with the first weight, and train otherwise.

## Fix safety
No edit is offered.

## Refused when
Nothing is reported where
- the inner width is smaller than both ends, or the sizes do not show that it is not;
- the output of the first is used elsewhere too, or anything stands between the two;
- names or weights say that it is on purpose: low rank, LoRA, adapters, layers that are frozen, tied or initialised
  one by one, or called elsewhere.

Source: `torch.nn.Linear`, torch 2.13.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, NearMiss, Report, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.steps import Pair, Step, integer, is_false, layer_is_known, pairs
from fuselight.graph.module import Module, Scope

_KINDS = frozenset({"torch.nn.Linear", "torch.nn.Conv1d", "torch.nn.Conv2d", "torch.nn.Conv3d"})
_WORDS = frozenset(kind.rpartition(".")[2] for kind in _KINDS)
_LINEAR = ("in_features", "out_features", "bias", "device", "dtype")
_CONVOLUTION = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode",
    "device", "dtype",
)  # fmt: skip

_ON_PURPOSE = re.compile(
    r"lora|low_?rank|rank|adapter|bottleneck|factor|svd|reduc|expand|down|up|tucker|frozen|probe|linear_?model|deep_?linear|whiten|compress",
    re.IGNORECASE,
)
"""Names that say that two linear maps in a row are meant."""

_M = """\
import torch
from torch import nn


class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        return {result}
"""


def _text(init: str, result: str, name: str = "M") -> str:
    return _M.format(init=init.replace("\n", "\n        "), result=result, name=name)


@fusion
class ConsecutiveLinears(Fusion):
    __doc__ = __doc__

    code = "FUS106"
    name = "consecutive-linears"
    words = (_WORDS,)
    reports = (
        Report(
            _text("self.hidden = nn.Linear(16, 16)\nself.out = nn.Linear(16, 4)", "self.out(self.hidden(x))"),
            "activation",
        ),
        Report(
            _text("self.net = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 32), nn.ReLU())", "self.net(x)"),
            "activation",
        ),
        Report(
            _text("self.a = nn.Conv2d(3, 8, 1)\nself.b = nn.Conv2d(8, 4, 1, bias=False)", "self.b(self.a(x))"),
            "activation",
        ),
    )
    near_misses = (
        NearMiss(_text("self.a = nn.Linear(16, 4)\nself.b = nn.Linear(4, 16)", "self.b(self.a(x))"), ""),
        NearMiss(_text("self.a = nn.Linear(16, 16)\nself.b = nn.Linear(16, 16)", "self.b(self.a(x).relu())"), ""),
        NearMiss(_text("self.a = nn.Linear(16, 16)\nself.b = nn.Linear(16, 16)", "self.b(self.a(x)) + self.a(x)"), ""),
        NearMiss(
            _text(
                "self.a = nn.Linear(8, 8)\nself.d = nn.Dropout(0.1)\nself.b = nn.Linear(8, 8)",
                "self.b(self.d(self.a(x)))",
            ),
            "",
        ),
        NearMiss(_text("self.a = nn.Linear(8, 8)\nself.b = nn.Linear(8, 8)", "self.b(self.a(x).view(-1, 8))"), ""),
        NearMiss(_text("self.a = nn.Conv2d(3, 8, 3)\nself.b = nn.Conv2d(8, 4, 1)", "self.b(self.a(x))"), ""),
        NearMiss(_text("self.a = nn.Linear(8, 8)\nself.b = nn.Linear(8, 8)", "self.b(self.a(x))", "LoRALinear"), ""),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, _KINDS, _KINDS, _WORDS):
            if pair.refusal is not None or pair.first.kind != pair.second.kind or not _one_map(pair):
                continue
            if _on_purpose(module, pair):
                continue
            place, other = pair.places
            first, second = (f"`{step.label}`" for step in (pair.first, pair.second))
            yield Match(
                type(self), scope.name, other, f"{first} and {second} are one linear map: nothing stands between them",
                "", Safety.EXACT, (place,),
                withheld="an activation is missing between them, or one of them is superfluous: only you can tell",
            )  # fmt: skip


def _one_map(pair: Pair) -> bool:
    """Whether the sizes show that the inner width takes nothing away from one map of the outer sizes."""
    names = _LINEAR if pair.first.kind == "torch.nn.Linear" else _CONVOLUTION
    one, other = pair.first.arguments(names), pair.second.arguments(names)
    if one is None or other is None:
        return False
    if names is _CONVOLUTION and not (_pointwise(one) and _pointwise(other)):
        return False
    wide, inner, narrow = one.get(names[0]), one.get(names[1]), other.get(names[1])
    if wide is None or inner is None or narrow is None:
        return False
    sizes = integer(wide), integer(inner), integer(narrow)
    if sizes[0] is not None and sizes[1] is not None and sizes[2] is not None:
        return sizes[1] >= min(sizes[0], sizes[2])
    return ast.unparse(inner) in (ast.unparse(wide), ast.unparse(narrow))


def _pointwise(given: dict[str, ast.expr]) -> bool:
    kernel = given.get("kernel_size")
    ones = kernel is not None and (
        integer(kernel) == 1 or (isinstance(kernel, ast.Tuple) and all(integer(one) == 1 for one in kernel.elts))
    )
    plain = all(name not in given or integer(given[name]) == default for name, default in _POINTWISE.items())
    return ones and plain and (is_false(given, "padding_mode", "zeros"))


_POINTWISE = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def _on_purpose(module: Module, pair: Pair) -> bool:
    owner = pair.scope.owner
    named = [pair.scope.name, pair.literal.path if pair.literal is not None else ""]
    named += [step.layer.attribute for step in (pair.first, pair.second) if step.layer is not None]
    if any(_ON_PURPOSE.search(name) for name in named):
        return True
    if owner is not None and provenance.known_class(module, owner) is not None:
        return True
    return any(_is_handled(module, pair, step) for step in (pair.first, pair.second))


def _is_handled(module: Module, pair: Pair, step: Step) -> bool:
    """Whether the file does more with a layer than making and calling it once."""
    node = step.node
    return (
        step.layer is not None and isinstance(node, ast.Call) and layer_is_known(module, pair, step, node) is not None
    )
