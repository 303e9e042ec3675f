"""`log(1 + exp(x))`: softplus spelled out.

Spelled out it runs a kernel an operator, keeps each one's input alive for the backward pass, and overflows; the single
call runs one kernel, keeps only `x`, and does not.

## What it saves
Accuracy first: the call is finite, with a finite gradient, for every finite `x`. Then memory:
12.6 MB of 1.6 million elements in float32 that autograd need not keep. No time on a CPU: 0.97x forward, 0.87x forward
and backward.

## Fix safety
`numerics`: where `exp(x)` overflows (x above 88 in float32, above 11 in float16) the spelled out form is infinite with
a gradient of NaN, the call is `x`. Far below zero, where `1 + exp(x)` rounds to 1, `log(1 + exp(x))` is 0 and the call
`exp(x)`. Above 20 the call is `x` itself, which differs by less than 2.1e-9: by less than float32 rounds.

`where(x > 20, x, log(1 + exp(x)))` is what the call computes, but for the gradient: where `exp(x)` overflows in the
branch that is not taken, it is NaN. `log(1 + exp(b * x)) / b` is `softplus(x, beta=b)`; without the division it is
`softplus(b * x)`. The forms that do not overflow, `logaddexp(x, 0)` and `relu(x) + log(1 + exp(-abs(x)))`, differ by
those 2.1e-9 above 20; and the latter has half the gradient, or none, at exactly 0.

## Refused when
- a part is used again (`exp(x)` kept for something else), or computed in another branch;
- `beta` is not shown to be a number;
- the code is a reference: a test's expected value, a custom autograd function, the branch beside the call itself.

Source: `torch.nn.functional.softplus`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite

_LOG = "either(log(1 + exp(x)), log1p(exp(x)))"
_GRADIENTS = "finite gradients where exp(x) overflows"
_FINITE = "finite where exp(x) overflows"
_LINEAR = "x itself above 20, 2e-9 less"


@fusion
class SpelledOutSoftplus(Expression):
    __doc__ = __doc__

    code = "FUS404"
    name = "spelled-out-softplus"
    words = (frozenset({"exp", "exp_", "logaddexp"}), frozenset({"torch"}))
    rewrites = (
        Rewrite(
            "either(log(1 + exp(b * x)), log1p(exp(b * x))) / b",
            "softplus(x, beta=b)",
            Safety.NUMERICS,
            _FINITE,
            scalars=("b",),
        ),
        Rewrite(f"where(x > 20, x, {_LOG})", "softplus(x)", Safety.NUMERICS, _GRADIENTS),
        Rewrite(f"where(20 >= x, {_LOG}, x)", "softplus(x)", Safety.NUMERICS, _GRADIENTS),
        Rewrite(
            f"where(x > t, x, {_LOG})",
            "softplus(x, threshold=t)",
            Safety.NUMERICS,
            _GRADIENTS,
            scalars=("t",),
        ),
        Rewrite(_LOG, "softplus(x)", Safety.NUMERICS, _FINITE),
        Rewrite(
            "either(relu(x), clamp(x, min=0)) + either(log(1 + exp(-abs(x))), log1p(exp(-abs(x))))",
            "softplus(x)",
            Safety.NUMERICS,
            f"{_LINEAR}; a gradient of 1/2 at exactly 0",
        ),
        Rewrite("logaddexp(x, either(0, zeros_like(x)))", "softplus(x)", Safety.NUMERICS, _LINEAR),
        Rewrite("logaddexp(either(0, zeros_like(x)), x)", "softplus(x)", Safety.NUMERICS, _LINEAR),
    )
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x):
    return torch.log(1 + torch.exp(x))
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x):
    return F.softplus(x)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, beta=2.0):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.beta = beta

    def forward(self, x):
        h = self.fc(x)
        e = torch.exp(self.beta * h)  # grows
        return torch.log1p(e) / self.beta
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, beta=2.0):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.beta = beta

    def forward(self, x):
        h = self.fc(x)
        # grows
        return nn.functional.softplus(h, beta=self.beta)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x):
    return torch.log(1.0 + torch.exp(2.0 * x))
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x):
    return F.softplus(2.0 * x)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.exp(x) - 1)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(2 + torch.exp(x))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 + 2 * torch.exp(x))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 + torch.exp(x) + 1e-8)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log2(1 + torch.exp(x))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 + torch.expm1(x))\n", ""),
        NearMiss("import torch\n\ndef f(x, y):\n    return torch.logaddexp(x, y)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    e = torch.exp(x)\n    return torch.log(1 + e) + e\n", "used again"),
        NearMiss("import math\nimport torch\n\ndef f(x):\n    return math.log(1 + math.exp(x)) * torch.pi\n", ""),
        NearMiss(
            "import torch\n\ndef naive_softplus(x):\n    return torch.log(1 + torch.exp(x))\n",
            "reference",
        ),
    )
