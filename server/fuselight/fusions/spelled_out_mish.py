"""`x * tanh(softplus(x))`: Mish spelled out.

Spelled out it runs three kernels and keeps what lies between them alive for the backward pass; the single call keeps
only `x`.

## What it saves
Memory, not time. On a CPU, a float32 tensor of 3 million elements: 12 MB that autograd need not keep, and 0.73x of the
speed forward, 0.79x forward and backward: the call is slower there.

## Fix safety
`numerics`: on a GPU under autocast softplus computes in float32, the call in the dtype that it is given. Elsewhere
`x * tanh(softplus(x))` differs by the rounding of the dtype only; of `x * tanh(log(1 + exp(x)))` the gradient is NaN
where `exp(x)` overflows (x above 88 in float32, above 11 in float16), the call's is 1; and far below zero, where
`1 + exp(x)` rounds to 1, the spelled out form is 0.

## Refused when
- the file speaks of autocast;
- softplus has another `beta` or `threshold`;
- the two operands are not provably the same value: rebound, written to in place, or two calls of anything;
- a part is used again, or computed in another branch;
- the code is a reference: a test's expected value, a custom autograd function, the branch beside the call itself.

Source: Misra 2019; `torch.nn.functional.mish`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import dtype_under_autocast
from fuselight.fusions.site import Rewrite


@fusion
class SpelledOutMish(Expression):
    __doc__ = __doc__

    code = "FUS403"
    name = "spelled-out-mish"
    words = (frozenset({"tanh", "tanh_", "Tanh"}), frozenset({"torch"}))
    rewrites = (
        Rewrite("x * tanh(softplus(x))", "mish(x)", needs=(dtype_under_autocast,)),
        Rewrite(
            "x * tanh(either(log(1 + exp(x)), log1p(exp(x))))",
            "mish(x)",
            Safety.NUMERICS,
            "finite gradients where exp(x) overflows",
            needs=(dtype_under_autocast,),
        ),
    )
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x):
    return x * torch.tanh(F.softplus(x))
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x):
    return F.mish(x)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3)
        self.softplus = nn.Softplus()

    def forward(self, x):
        x = self.conv(x)
        gate = torch.tanh(self.softplus(x))  # in (0, 1)
        return gate * x
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3)
        self.softplus = nn.Softplus()

    def forward(self, x):
        x = self.conv(x)
        # in (0, 1)
        return nn.functional.mish(x)
""",
            inputs=((2, 4, 8),),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(h):
    return h * torch.tanh(torch.log(1 + torch.exp(h)))
""",
            after="""\
import torch


def f(h):
    return torch.nn.functional.mish(h)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x):\n    with torch.autocast('cuda'):\n"
            "        return x * torch.tanh(F.softplus(x))\n",
            "autocast",
        ),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x, y):\n    return y * F.softplus(x).tanh()\n", ""
        ),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x):\n    return x * F.softplus(x, 2).tanh()\n", ""
        ),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x):\n"
            "    return x * torch.tanh(F.softplus(x, threshold=5))\n",
            "",
        ),
        NearMiss("import torch\n\ndef f(x):\n    return x * torch.tanh(torch.log(2 + torch.exp(x)))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return x * torch.tanh(torch.log(1 + torch.exp(2 * x)))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return x * torch.tanh(torch.exp(x))\n", ""),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x):\n    g = torch.tanh(F.softplus(x))\n"
            "    return x * g, g\n",
            "used again",
        ),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x):\n    g = torch.tanh(F.softplus(x))\n"
            "    x.mul_(2)\n    return x * g\n",
            "changed in between",
        ),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef mish_reference(x):\n"
            "    return x * torch.tanh(F.softplus(x))\n",
            "reference",
        ),
    )
