"""Padding before a pool that can pad by itself.

`nn.ZeroPad2d(1)` or `F.pad(x, (1, 1, 1, 1))` straight before an average pool, and padding with minus infinity before a
max pool: the pool's own `padding=` computes the same without a padded copy. A max pool pads with minus infinity, so
that zeros before it are something else, unless nothing in its input is below zero: straight behind a ReLU.

## What it saves
The padded copy of the input. On a CPU, images of 64 x 56 x 56 pooled by 3: zeros before an average pool 1.05x forward,
1.32x forward and backward, 3.4 MB less kept for the backward pass; -inf before a max pool 1.09x, 1.21x and 3.4 MB less.

## Fix safety
`exact`. Nothing here has parameters; in a `nn.Sequential` an `nn.Identity()` takes the layer's place, so that the keys
behind it stay. Zeros before a max pool behind a ReLU: where a window holds zeros alone, the gradient now goes to one of
the ReLU's zeros and not into the padding, and the ReLU stops it.

## Refused when
- the two sides of a dimension are not padded alike, or the amounts are not literal;
- more is padded than half the window, which no pool takes, or the size of the window is not literal;
- an average pool does not count what is padded (`count_include_pad=False`);
- a pool rounds its output's size up (`ceil_mode=True`), or yields indices;
- zeros are padded before a max pool whose input may be negative;
- the padded tensor is used elsewhere, or its size is asked for;
- what is padded may be written to in place behind the pool, which keeps it in place of the copy;
- the pool is called elsewhere too, either layer is replaced, hooked or named in a string, or the file reads the
  padding of layers.

Source: `torch.nn.AvgPool2d`, `torch.nn.MaxPool2d`, `torch.nn.functional.pad`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.paddings import PADS, WORDS, Padding, own_padding, padding_is_read, padding_of, written
from fuselight.fusions.plan import Action, Argument, Place
from fuselight.fusions.steps import (
    Pair,
    elements,
    input_written,
    integer,
    is_false,
    layer_dropped,
    layer_is_known,
    pairs,
    removed_places,
    source_of,
    with_arguments,
    with_function_arguments,
)
from fuselight.graph.kinds import kind_of_layer
from fuselight.graph.module import Module, Scope

_POOLS = frozenset(f"torch.nn.{name}Pool{number}d" for name in ("Avg", "Max") for number in (1, 2, 3))
_FUNCTIONS = frozenset(f"{name}_pool{number}d" for name in ("avg", "max") for number in (1, 2, 3))

_AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_MAXIMUM = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
_MAXIMUM_FUNCTION = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")

_NOT_NEGATIVE = frozenset({"relu", "relu6"})
"""Kinds whose output is zero only where their gradient is."""

_M = """\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        return {result}
"""


def _near(init: str, result: str, reason: str) -> NearMiss:
    return NearMiss(_M.format(init=init.replace("\n", "\n        "), result=result), reason)


@fusion
class PaddingBeforePool(Fusion):
    __doc__ = __doc__

    code = "FUS105"
    name = "padding-before-pool"
    words = (WORDS, frozenset(kind.rpartition(".")[2] for kind in _POOLS | _FUNCTIONS))
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d(1)
        self.pool = nn.AvgPool2d(3, stride=2)

    def forward(self, x):
        x = self.pool(self.pad(x))
        return F.max_pool2d(F.pad(x, (1, 1, 0, 0), value=float("-inf")), 3, 1)
""",
            after="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, x):
        x = self.pool(x)
        return F.max_pool2d(x, 3, 1, padding=(0, 1))
""",
            inputs=((2, 3, 8, 9),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.ZeroPad2d(1),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )

    def forward(self, x):
        return self.stem(x)
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.Identity(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )

    def forward(self, x):
        return self.stem(x)
""",
            inputs=((2, 3, 8, 9),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        _near("self.pool = nn.MaxPool2d(3, 2)", "self.pool(F.pad(x, (1, 1, 1, 1)))", "may be below zero"),
        _near("self.pool = nn.AvgPool2d(3, 2)", "self.pool(F.pad(x, (0, 1, 0, 1)))", "alike"),
        _near("self.pool = nn.AvgPool2d(3, 2)", "self.pool(F.pad(x, (2, 2, 2, 2)))", "half its window"),
        _near("self.pool = nn.AvgPool2d(3, 2, count_include_pad=False)", "self.pool(F.pad(x, (1,) * 4))", "not count"),
        _near("self.pool = nn.AvgPool2d(3, 2, ceil_mode=True)", "self.pool(F.pad(x, (1,) * 4))", "rounds"),
        _near("self.pool = nn.AvgPool2d(3, 2)", "self.pool(F.pad(x, (1,) * 4, mode='reflect'))", "pool does not pad"),
        _near("self.pool = nn.AvgPool2d(3, 2)", "self.pool(F.pad(x, (1,) * 4, value=1.0))", "neither"),
        _near("pass", "F.max_pool2d(F.pad(x, (1,) * 4, value=-1e9), 3)", "neither"),
        _near("pass", "F.avg_pool2d(F.pad(torch.relu(x), (1,) * 4, value=float('-inf')), 3)", "pool does not pad"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, PADS, _POOLS | _FUNCTIONS, WORDS, least=1):
            dimensions = int(pair.second.kind[-2])
            padding = padding_of(module, pair, dimensions)
            if padding is None:
                continue
            pool = f"`{pair.second.label}`" if pair.second.layer is not None else "the pool"
            message = f"`{pair.first.label}` pads what {pool} behind it can pad by itself"
            place, other = pair.places
            dropped = layer_dropped(module, pair, pair.first)
            amount = padding if isinstance(padding, Refusal) else _padded(module, pair, padding, dimensions)
            refusal = pair.refusal or next((one for one in (amount, dropped) if isinstance(one, Refusal)), None)
            if refusal is not None or isinstance(amount, Refusal) or isinstance(dropped, Refusal):
                yield Match(type(self), scope.name, place, message, others=(other,), refused=refusal)
                continue
            others = [other, *removed_places(dropped)]
            maker = pair.second.maker
            if maker is not None and pair.literal is None:
                others.append(Place(pair.second.made_in, maker))
            yield Match(
                type(self), scope.name, place, message, f"Let {pool} pad by itself: padding={amount}", Safety.EXACT,
                tuple(others), partial(_plan, pair, amount, dropped),
            )  # fmt: skip


def _plan(pair: Pair, amount: str, dropped: tuple[Action, ...]) -> tuple[Action, ...]:
    if pair.second.maker is None:
        parameters = _AVERAGE if _averages(pair) else _MAXIMUM_FUNCTION
        return (*with_function_arguments(pair, parameters, {"padding": amount}), *dropped)
    return (*with_arguments(pair, (Argument("padding", 2, amount),)), *dropped)


def _averages(pair: Pair) -> bool:
    return "avg" in pair.second.kind.lower()


def _padded(module: Module, pair: Pair, padding: Padding, dimensions: int) -> str | Refusal:
    """The `padding=` that the pool gets."""
    second = pair.second
    at = Place(second.made_in, second.maker or second.node)
    node = second.node
    assert isinstance(node, ast.Call)
    refusal = (layer_is_known(module, pair, second, node) if second.layer is not None else None) or (
        padding_is_read(module) if second.maker is not None else None
    )
    if refusal is not None:
        return refusal
    average = _averages(pair)
    given = second.arguments(_AVERAGE if average else _MAXIMUM, _AVERAGE if average else _MAXIMUM_FUNCTION)
    if given is None:
        return Refusal("the pool takes `*` or `**` arguments", at)
    if padding.mode not in ("zeros", "-inf") or (average and padding.mode == "-inf"):
        return Refusal("the pool does not pad with that", at)
    if not average and padding.mode == "zeros" and not _behind_relu(pair):
        return Refusal("a max pool pads with minus infinity, and its input may be below zero", at)
    if not is_false(given, "ceil_mode"):
        return Refusal("the pool rounds the size of its output up", at)
    if not is_false(given, "return_indices"):
        return Refusal("the pool yields indices into what it got", at)
    if average and not is_false(given, "count_include_pad", default=True):
        return Refusal("the pool does not count what it pads itself", at)
    own, numbers = own_padding(given, dimensions), padding.numbers
    if own is None or numbers is None:
        return Refusal("how much is padded is not literal", at)
    window = _window(given.get("kernel_size"), dimensions)
    if window is None:
        return Refusal("the size of the pool's window is not literal", at)
    total = [one + other for one, other in zip(own, numbers, strict=True)]
    if any(one > size // 2 for one, size in zip(total, window, strict=True)):
        return Refusal("more is padded than half its window, which the pool does not take", at)
    # The pool comes to keep its input itself in place of the padded copy.
    return input_written(module, pair) or written(tuple(str(one) for one in total))


def _window(node: ast.expr | None, dimensions: int) -> list[int] | None:
    if node is None:
        return None
    one = integer(node)
    if one is not None:
        return [one] * dimensions
    found = [integer(element) for element in elements(node) or ()]
    sizes = [size for size in found if size is not None]
    return sizes if len(sizes) == len(found) == dimensions else None


def _behind_relu(pair: Pair) -> bool:
    """Whether what is padded comes straight from a ReLU, and nothing was written to it since."""
    if pair.literal is not None:
        before = pair.before[-1].kind if pair.before else None
        return before is not None and kind_of_layer(before) in _NOT_NEGATIVE
    source, value = source_of(pair.first), pair.first.value
    if source is None or value is None or pair.graph is None:
        return False
    made = source.layer.kind if source.layer is not None else None
    kind = kind_of_layer(made) if made is not None else source.kind
    return kind in _NOT_NEGATIVE and pair.graph.written_between(source, source.order, value.order) is None
