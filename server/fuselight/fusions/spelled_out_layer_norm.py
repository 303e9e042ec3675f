"""`(x - mean) / sqrt(var + eps) * w + b`: layer normalisation spelled out.

Spelled out it runs eight kernels or more and keeps the centred input, its squares and the quotient for the backward
pass; the single call runs one kernel and keeps only the input and two numbers for each row.

## What it saves
Time and memory. On a CPU, a float32 tensor of 3 million elements: 5.4x forward, 6.2x forward and backward, and 36 MB
that autograd need not keep.

## Fix safety
`exact` where the input is shown to be converted to float32 or float64 before (`h = x.float()`): the same function with
the same gradient, up to rounding. Else `numerics`, and the title says why:
- in float16 the squares of what is more than 256 from the mean overflow, and the spelled out form gives 0; the call
  computes in float32, in bfloat16 too, and rounds its result once;
- with a weight or bias, all must be of one dtype. By hand a float32 weight and a bfloat16 input make float32; the call
  keeps bfloat16, and raises for other mixtures. So they are left outside of the call in files that speak of autocast;
- parameters whose making the source does not show (arguments) are assumed to have one number for each of the last
  dimension: the call raises where they have not;
- `w * h.to(x.dtype) + b` with `h` in float32 rounds before the parameters are applied, the call after it;
- a variance as `mean(x ** 2) - mean(x) ** 2` loses its digits where the mean is large; the call does not.

In float32 the spelled out form gives 0 for rows beyond 1e19, whose squares overflow, and the call NaN on a CPU.

## Refused when
- the variance is the unbiased one (`x.var(-1)` and `x.std(-1)` divide by n - 1), or eps is added to the deviation
  (`x.std(-1) + eps`): other functions;
- the mean is not over the last dimensions, or not shown to be. Over the channels of an image, `dim=1`, the call would
  stand between two permutations: on a CPU that takes 2.6 times as long forward, and as long forward and backward;
- weight or bias has another shape, or is another tensor, as the scale and shift of an adaptive norm. The norm without
  them is then still offered;
- only a part is computed in float32, or the result is converted to a dtype that is not shown to be the input's;
- `x` is an expression and not a name, a part of it is used again, or it is rebound or written to in between.

Source: Ba et al. 2016; `torch.nn.functional.layer_norm`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.norms_by_hand import affine, last_dimensions, one_dtype, refused, through_float32, wide
from fuselight.fusions.site import Rewrite


def _mean(x: str) -> str:
    pair = f"item(var_mean({x}, dim=d, keepdim=True, correction=0), 1)"
    return f"either(mean({x}, dim=d, keepdim=True), {pair}, unsqueeze(mean({x}, dim=d), d))"


def _variance(x: str) -> str:
    spread = f"var({x}, dim=d, keepdim=True, correction=0)"
    pair = f"item(var_mean({x}, dim=d, keepdim=True, correction=0), 0)"
    deviation = f"std({x}, dim=d, keepdim=True, correction=0) ** 2"
    apart = f"unsqueeze(var({x}, dim=d, correction=0), d)"
    squares = (f"mean(({one}) ** 2, dim=d, keepdim=True)" for one in (f"{x} - {_mean(x)}", f"{_mean(x)} - {x}"))
    return f"either({', '.join((*squares, spread, pair, deviation, apart))})"


def _normal(x: str) -> str:
    """The pattern of the normalised input, with the input as it is spelled here."""
    return f"({x} - {_mean(x)}) / sqrt({_variance(x)} + eps)"


_AFFINE = (
    ("w * ({}) + b", "layer_norm(x, x.shape[-1:], w, b, eps)", ("w", "b")),
    ("w * ({})", "layer_norm(x, x.shape[-1:], w, eps=eps)", ("w",)),
    ("({}) + b", "layer_norm(x, x.shape[-1:], bias=b, eps=eps)", ("b",)),
)
"""With a pattern, its call, and the names of its parameters."""
_CONVERTED = (
    ("cast(cast(w) * cast({}) + cast(b))", "layer_norm(x, x.shape[-1:], w, b, eps)", ("w", "b")),
    ("cast(cast(w) * cast({}))", "layer_norm(x, x.shape[-1:], w, eps=eps)", ("w",)),
    ("cast({})", "layer_norm(x, x.shape[-1:], eps=eps)", ()),
)
_CENTRED = "(x - mean(x, dim=d, keepdim=True))"
_OTHERS = (
    (
        f"{_CENTRED} / (std(x, dim=d, keepdim=True, correction=c) + eps)",
        "eps is added to the deviation and not under the root",
    ),
    (
        f"{_CENTRED} / sqrt(var(x, dim=d, keepdim=True, correction=1) + eps)",
        "the variance is unbiased: it divides by n - 1",
    ),
)
"""Near misses, with what makes them other functions."""


def _rewrites() -> Iterator[Rewrite]:
    last = last_dimensions("d", "x", 1)
    scalars, integers = ("eps",), ("d",)
    for pattern, call, names in _AFFINE:
        needs = (last, affine(*names, assume="w" in names), one_dtype("x", *names), wide("x"))
        yield Rewrite(pattern.format(_normal("x")), call, needs=needs, scalars=scalars, integers=integers)
    for count in (1, 2, 3):
        call = f"layer_norm(x, x.shape[-{count}:], eps=eps)"
        needs = (last_dimensions("d", "x", count), wide("x"))
        yield Rewrite(_normal("x"), call, needs=needs, scalars=scalars, integers=integers)
    for pattern, call, names in _CONVERTED:
        needs = (last, *((affine(*names),) if names else ()), through_float32("x", *names))
        yield Rewrite(pattern.format(_normal("cast(x)")), call, needs=needs, scalars=scalars, integers=integers)
    yield Rewrite(
        "(x - mean(x, dim=d, keepdim=True))"
        " / sqrt(mean(x ** 2, dim=d, keepdim=True) - mean(x, dim=d, keepdim=True) ** 2 + eps)",
        "layer_norm(x, x.shape[-1:], eps=eps)",
        Safety.NUMERICS,
        "the variance is no longer a difference of two large numbers",
        needs=(last, wide("x")),
        scalars=scalars,
        integers=integers,
    )
    for pattern, reason in _OTHERS:
        for scaled in (pattern, f"w * {pattern}"):
            call = "layer_norm(x, x.shape[-1:], eps=eps)"
            yield Rewrite(scaled, call, needs=(refused(reason),), scalars=scalars, integers=(*integers, "c"))


def _near(expression: str, reason: str = "") -> NearMiss:
    return NearMiss(f"import torch\n\ndef f(x, y):\n    return {expression}\n", reason)


@fusion
class SpelledOutLayerNorm(Expression):
    __doc__ = __doc__

    code = "FUS410"
    name = "spelled-out-layer-norm"
    words = (frozenset({"mean", "var_mean"}), frozenset({"torch"}))
    label = "layer_norm"
    rewrites = tuple(_rewrites())
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, dim=16, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        # biased
        var = (x - mean).pow(2).mean(-1, keepdim=True)
        y = (x - mean) / torch.sqrt(var + self.eps)
        return self.weight * y + self.bias + x
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, dim=16, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x):
        # biased
        return (
            nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
            + x
        )
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x, shift, scale):
    var, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    h = (x - mean) * torch.rsqrt(var + 1e-6)
    return F.silu(h * (1 + scale) + shift)
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x, shift, scale):
    h = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return F.silu(h * (1 + scale) + shift)
""",
            inputs=((2, 5, 16), (2, 1, 16), (2, 1, 16)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(x):
    return (x - x.mean((-2, -1), keepdim=True)) / (x.var((-2, -1), keepdim=True, unbiased=False) + 1e-5).sqrt()
""",
            after="""\
import torch


def f(x):
    return torch.nn.functional.layer_norm(x, x.shape[-2:], eps=1e-5)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        _near("(x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-6)", "unbiased"),
        _near("(x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)", "eps is added to the deviation"),
        _near(
            "(x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, unbiased=False) + 1e-6)",
            "eps is added to the deviation",
        ),
        _near(
            "(x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-6)",
            "dimension 1 is the last one",
        ),
        _near("(x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-2, keepdim=True, unbiased=False) + 1e-6)"),
        _near("(x - y.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-6)"),
        _near("(x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False) + 1e-6)"),
        _near("(x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-6)"),
        _near("(x - 0.485) / 0.229"),
        _near(
            "(x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + y)", "is a number"
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    m = x.mean(-1, keepdim=True)\n"
            "    v = x.var(-1, keepdim=True, unbiased=False)\n    return (x - m) / torch.sqrt(v + 1e-5), m\n",
            "used again",
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    m = x.mean(-1, keepdim=True)\n    x = x + 1\n"
            "    v = x.var(-1, keepdim=True, unbiased=False)\n    return (x - m) / torch.sqrt(v + 1e-5)\n",
            "",
        ),
    )
