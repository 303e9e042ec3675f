"""`x * sigmoid(x)`: SiLU spelled out.

Spelled out it runs two kernels and keeps `sigmoid(x)` and `x` alive for the backward pass; the single call runs one
kernel and keeps only `x`.

## What it saves
Time and memory. On a CPU, a float32 tensor of 3 million elements: 1.86x forward, 2.32x forward and backward, and 12 MB
that autograd need not keep.

## Fix safety
`exact`: the same function with the same gradient; results differ by the rounding of the dtype only. `x / (1 + exp(-x))`
is `numerics`: where `exp(-x)` overflows (x below -88 in float32, below -11 in float16) the spelled out form gives
-0 and a gradient of NaN, the call the value and gradient of SiLU.

## Refused when
- the two operands are not provably the same value: rebound, written to in place, or two calls of anything;
- `sigmoid(x)` is used again, or computed in another branch;
- the product is assigned in place (`x *= torch.sigmoid(x)`), unless `x` is provably memory that nobody else holds;
- the code is a reference: a custom autograd function, a test's expected value, the branch for a torch without `silu`;
- a method (`x.sigmoid()`) is called in a file that imports another array framework, so that `x` may be its array.

Source: Elfwing et al. 2017; `torch.nn.functional.silu`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite


@fusion
class SpelledOutSilu(Expression):
    __doc__ = __doc__

    code = "FUS401"
    name = "spelled-out-silu"
    words = (frozenset({"sigmoid", "expit", "Sigmoid", "exp"}), frozenset({"torch"}))
    rewrites = (
        Rewrite("x * sigmoid(x)", "silu(x)"),
        Rewrite("x / (1 + exp(-x))", "silu(x)", Safety.NUMERICS, "finite gradients where exp(-x) overflows"),
    )
    examples = (
        Example(
            before="""\
import torch


def swish(x):
    return x * torch.sigmoid(x)
""",
            after="""\
import torch


def swish(x):
    return torch.nn.functional.silu(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        x = self.fc(x)
        # how much passes
        s = self.gate(x)  # in (0, 1)
        return torch.mul(s, x) + F.relu(x)
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        x = self.fc(x)
        # how much passes
        # in (0, 1)
        return F.silu(x) + F.relu(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
from torch import exp


def f(h):
    return h / (1.0 + exp(-h))
""",
            after="""\
import torch.nn.functional as F
from torch import exp


def f(h):
    return F.silu(h)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x, g):\n    return x * torch.sigmoid(g)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return x * torch.sigmoid(1.702 * x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    s = torch.sigmoid(x)\n    return x * s + s\n", "used again"),
        NearMiss(
            "import torch\n\ndef f(x):\n    s = torch.sigmoid(x)\n    x.add_(1)\n    return x * s\n",
            "changed in between",
        ),
        NearMiss("import torch\n\ndef f(x):\n    s = torch.sigmoid(x)\n    x = x + 1\n    return x * s\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    x *= torch.sigmoid(x)\n    return x\n", ""),
        NearMiss("import torch\n\ndef f(g):\n    return next(g) * torch.sigmoid(next(g))\n", ""),
        NearMiss("import torch\n\ndef test_silu(x):\n    return x * torch.sigmoid(x)\n", "reference"),
        NearMiss(
            "import torch\n\nclass Swish(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
            "        ctx.save_for_backward(x)\n        return x * torch.sigmoid(x)\n",
            "autograd",
        ),
        NearMiss("import numpy as np\n\ndef f(x):\n    return x * (1 / (1 + np.exp(-x)))\n", ""),
        NearMiss("import jax\nimport torch\n\ndef f(x):\n    return x * x.sigmoid()\n", ""),
    )
