"""`x * rsqrt(mean(x ** 2) + eps) * w`: root mean square normalisation spelled out.

Spelled out it runs five kernels or more, each of which reads and writes the whole tensor or keeps what it made for the
backward pass; the single call runs one kernel on a GPU, and rounds once.

## What it saves
Brevity, and accuracy in float16 and bfloat16: the call computes in float32 and rounds its result once. On a CPU
nothing else: 0.99x forward and 1.17x forward and backward in float32, in bfloat16 0.94x and 0.83x, with the same or
more memory kept for the backward pass (18 MB to 24 MB). The kernel for GPUs is not measured here.

## Fix safety
`exact` where the input is shown to be converted to float32 or float64 before (`h = x.float()`): bit-equal on a CPU.
Else `numerics`, and the title says why:
- in float16 the squares of values above 256 overflow, and the spelled out form gives 0; the call does not. In float16
  and bfloat16 the call is also rounded once in place of at every step (a third of the elements differ by one rounding);
- with a weight, both must be of one dtype: a float32 weight and a bfloat16 input make float32 by hand, bfloat16 in the
  call. So it is refused with a weight in files that speak of autocast;
- a weight whose making the source does not show (an argument) is assumed to have one number for each of the last
  dimension: the call raises where it has not;
- `w * h.to(x.dtype)` with `h` in float32, the order of Llama, rounds before the weight is applied, the call after it:
  in bfloat16 a quarter of the elements differ by one rounding, and the call is the more accurate one. The other order,
  `(w * h).to(x.dtype)`, is bit-equal. Both compute in float32 what the call computes in float64 for float64 inputs. For
  these sites the part in float32 alone is offered too, and `exact`;
- `F.normalize(x) * dim ** 0.5 * gamma` holds the norm at 1e-12 or more, the call adds 1e-24 to the mean square: they
  differ for vectors as small as that.

eps is always handed in: the default of the call is neither 1e-5 nor 1e-6. torch has `rms_norm` since 2.4.

## Refused when
- the mean is not over the last dimension, or not shown to be;
- the weight has another shape (`(1, 1, dim)`, one element, a number), or is another tensor: a gate, a scale for each
  sample. The norm without it is then still offered;
- eps stands outside of the root, is missing, or is not shown to be a number: another function, or none;
- only a part is computed in float32, or the result is converted to a dtype that is not shown to be the input's;
- `x` is an expression and not a name, so that its shape cannot be read twice; a part is used again, or rebound between.

Source: Zhang and Sennrich 2019; `torch.nn.functional.rms_norm`, torch 2.13.
"""

from __future__ import annotations

import ast

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Need, Verdict
from fuselight.fusions.norms_by_hand import (
    affine,
    assigned_attribute,
    is_bound_once,
    last_dimensions,
    made_parameter,
    one_dtype,
    refused,
    same_dtype_assumed,
    size_of,
    through_float32,
    wide,
)
from fuselight.fusions.site import Rewrite, Site


def _norm(x: str) -> str:
    """The pattern of what `x` is multiplied by, with the squares of `x` as it is spelled here."""
    means = (
        f"mean({x} ** 2, dim=d, keepdim=True)",
        f"sum({x} ** 2, dim=d, keepdim=True) / n",
        f"unsqueeze(mean({x} ** 2, dim=d), d)",
    )
    return f"rsqrt(either({', '.join(means)}) + eps)"


_LAST = (last_dimensions("d", "x", 1), size_of("n", "x"))
_INTEGERS = ("d", "n")
_EPS = ("eps",)


def _root_of_size(exponent: float) -> Need:
    """`c` is the size of the weight's one dimension to the power of `exponent`, so that of the last dimension."""

    def verdict(site: Site) -> Verdict:
        value, weight = site.value("c"), site.value("w")
        scale = assigned_attribute(site, value) if value is not None else None
        sizes = made_parameter(site, weight) if weight is not None else None
        if scale is None or sizes is None or len(sizes) != 1 or not _is_power(scale, sizes[0], exponent):
            return Refusal(f"it is not shown that `{site.text('c')}` is the root of the last size", site.place)
        if not is_bound_once(site, scale):
            return Refusal("the size is another one where the scale is computed", site.place)
        return None

    return verdict


def _is_power(node: ast.expr, size: ast.expr, exponent: float) -> bool:
    match node:
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=value)):
            return value == exponent and ast.dump(left) == ast.dump(size)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value))):
            return isinstance(value, float) and -value == exponent and ast.dump(left) == ast.dump(size)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr="sqrt"), args=[given], keywords=[]):
            return exponent == 0.5 and ast.dump(given) == ast.dump(size)
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Div(), right=right):
            return _is_power(right, size, -exponent)
        case _:
            return False


def _of_one_dtype(site: Site) -> Verdict:
    return same_dtype_assumed(site)


_LENGTH = (
    'either(norm(x, p=either(2, "fro"), dim=d, keepdim=True), vector_norm(x, dim=d, keepdim=True),'
    " sqrt(sum(x ** 2, dim=d, keepdim=True)))"
)
_MEAN = "mean(x ** 2, dim=d, keepdim=True)"


def _near(expression: str, reason: str = "") -> NearMiss:
    head = "import torch\nimport torch.nn.functional as F\n\n"
    return NearMiss(f"{head}def f(x, y):\n    return {expression}\n", reason)


@fusion
class SpelledOutRmsNorm(Expression):
    __doc__ = __doc__

    code = "FUS409"
    name = "spelled-out-rms-norm"
    words = (frozenset({"mean", "sum", "normalize", "norm", "vector_norm"}), frozenset({"torch"}))
    label = "rms_norm"
    rewrites = (
        Rewrite(
            f"w * x * {_norm('x')}",
            "rms_norm(x, x.shape[-1:], w, eps)",
            needs=(*_LAST, affine("w"), one_dtype("x", "w"), wide("x")),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            f"x * {_norm('x')}",
            "rms_norm(x, x.shape[-1:], eps=eps)",
            needs=(*_LAST, wide("x")),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            f"cast(cast(w) * cast(cast(x) * {_norm('cast(x)')}))",
            "rms_norm(x, x.shape[-1:], w, eps)",
            needs=(*_LAST, affine("w"), through_float32("x", "w")),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            f"cast(cast(w) * cast(x) * {_norm('cast(x)')})",
            "rms_norm(x, x.shape[-1:], w, eps)",
            needs=(*_LAST, affine("w"), through_float32("x", "w")),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            f"cast(cast(x) * {_norm('cast(x)')})",
            "rms_norm(x, x.shape[-1:], eps=eps)",
            needs=(*_LAST, through_float32("x")),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            f"x / sqrt({_MEAN} + eps)",
            "rms_norm(x, x.shape[-2:], eps=eps)",
            needs=(last_dimensions("d", "x", 2), wide("x")),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            "w * c * normalize(x, dim=-1)",
            "rms_norm(x, x.shape[-1:], w, 1e-24)",
            Safety.NUMERICS,
            "other values for vectors whose norm is near 1e-12",
            needs=(affine("w"), _root_of_size(0.5), _of_one_dtype),
        ),
        Rewrite(
            f"w * x / clamp(c * {_LENGTH}, min=eps)",
            "rms_norm(x, x.shape[-1:], w, eps * eps)",
            Safety.NUMERICS,
            "other values for vectors whose root mean square is near eps",
            needs=(last_dimensions("d", "x", 1), affine("w"), _root_of_size(-0.5), _of_one_dtype),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
        Rewrite(
            f"x / (sqrt({_MEAN}) + eps)",
            "rms_norm(x, x.shape[-1:], eps=eps)",
            needs=(refused("eps stands outside of the root: another function"),),
            scalars=_EPS,
            integers=_INTEGERS,
        ),
    )
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, dim: int = 16, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps
        self.out = nn.Linear(dim, 8)

    def forward(self, x):
        # the mean square of each row
        square = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(square + self.eps)
        return self.out(self.weight * x)
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, dim: int = 16, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps
        self.out = nn.Linear(dim, 8)

    def forward(self, x):
        # the mean square of each row
        return self.out(nn.functional.rms_norm(x, x.shape[-1:], self.weight, self.eps))
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, x):
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
        return F.silu(self.weight * h.to(x.dtype)) + h.type_as(x)
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, x):
        h = x.float()
        h = F.rms_norm(h, h.shape[-1:], eps=1e-6)
        return F.silu(self.weight * h.to(x.dtype)) + h.type_as(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn, ones


class M(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(ones(dim))

    def forward(self, x):
        return F.relu(F.normalize(x, dim=-1) * self.scale * self.gamma)
""",
            after="""\
import torch.nn.functional as F
from torch import nn, ones


class M(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(ones(dim))

    def forward(self, x):
        return F.relu(F.rms_norm(x, x.shape[-1:], self.gamma, 1e-24))
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        _near("x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)"),
        _near("x * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)"),
        _near("x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)", "dimension 1 is the last one"),
        _near("x * torch.rsqrt(x.pow(2).mean(-1) + 1e-6)"),
        _near("x * torch.rsqrt(x.pow(2).mean() + 1e-6)"),
        _near("x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)", "outside of the root"),
        _near("x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)", "not computed in float32"),
        _near("torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)"),
        _near("x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + y)", "is a number"),
        _near("F.normalize(x, dim=-1) * y * x.shape[-1] ** 0.5", "one number for each of the last dimension"),
        NearMiss(
            "import torch\n\ndef f(x):\n    r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\n"
            "    return x * r, r\n",
            "used again",
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\n"
            "    x.mul_(2)\n    return x * r\n",
            "changed in between",
        ),
        NearMiss(
            "import torch\n\ndef reference_norm(x):\n"
            "    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\n",
            "reference",
        ),
    )
