"""`0.5 * x * (1 + erf(x / sqrt(2)))`: GELU spelled out, or its approximation by tanh.

Spelled out it runs a kernel an operator and keeps each one's input alive for the backward pass; the single call runs
one kernel and keeps only `x`. Which of the two functions it is stands in the call: the one by `erf` is `gelu(x)`, the
one by `tanh` (or by `sigmoid` of twice the argument) `gelu(x, approximate="tanh")`. They differ by up to 5e-4 and are
never exchanged.

## What it saves
Time and memory. On a CPU, a float32 tensor of 3 million elements: the form by `erf` 5.07x forward, 3.71x forward and
backward; the form by `tanh` 2.07x and 2.40x. Both: 36 MB that autograd need not keep.

## Fix safety
`exact`: the same function with the same gradient; results differ by the rounding of the dtype only. (In float16 the
call computes in float32: where `x ** 3` overflows, its gradient stays finite.) A constant that the source rounds to
seven digits or more is taken for the exact one; the fix is `numerics` where that differs by more than float32 rounds.
It is `numerics`, too, where a cube is a power (`x ** 3`, `torch.pow`): on a GPU under autocast a power computes in
float32, the call in the dtype that it is given.

## Refused when
- a constant is another one (0.4715 for 0.044715, `erf(x)` without the square root of two): that is no GELU;
- the cube is a power, and the file speaks of autocast;
- the parts are used again, computed in another branch, or not provably of the same value;
- the code is a reference: a test's expected value, a custom autograd function, the branch beside the call itself.

`x * sigmoid(1.702 * x)` (QuickGELU) is neither of the two functions, and left alone.

Source: Hendrycks and Gimpel 2016; `torch.nn.functional.gelu`, torch 2.13.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Need, dtype_under_autocast
from fuselight.fusions.site import Rewrite, Site

_TANH = 'gelu(x, approximate="tanh")'


def _other_constants(constants: Mapping[str, float]) -> Need:
    """A site with these metavariables where GELU has the constants: one of them is another."""

    def verdict(site: Site) -> Refusal:
        for name, right in constants.items():
            number = site.number(name)
            if number is not None and not math.isclose(number, right, rel_tol=5e-7):
                return Refusal(f"{number:g} stands where GELU has {right:.8g}", site.place)
        return Refusal("a constant of GELU is another one", site.place)

    return verdict


@fusion
class SpelledOutGelu(Expression):
    __doc__ = __doc__

    code = "FUS402"
    name = "spelled-out-gelu"
    words = (
        frozenset({"erf", "erf_", "tanh", "tanh_", "Tanh", "sigmoid", "sigmoid_", "Sigmoid", "expit"}),
        frozenset({"torch"}),
    )
    rewrites = (
        Rewrite("0.5 * x * (1 + erf(x / sqrt(2)))", "gelu(x)"),
        Rewrite("0.5 * x + 0.5 * x * erf(x / sqrt(2))", "gelu(x)"),
        Rewrite("0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))", _TANH, needs=(dtype_under_autocast,)),
        Rewrite("0.5 * x * (1 + tanh(sqrt(2 / pi) * x * (1 + 0.044715 * x**2)))", _TANH, needs=(dtype_under_autocast,)),
        Rewrite("0.5 * x + 0.5 * x * tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))", _TANH, needs=(dtype_under_autocast,)),
        Rewrite(
            "0.5 * x + 0.5 * x * tanh(sqrt(2 / pi) * x * (1 + 0.044715 * x**2))", _TANH, needs=(dtype_under_autocast,)
        ),
        Rewrite("x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3))", _TANH, needs=(dtype_under_autocast,)),
        Rewrite("x * sigmoid(2 * sqrt(2 / pi) * x * (1 + 0.044715 * x**2))", _TANH, needs=(dtype_under_autocast,)),
        # What looks like it and is not: said, never rewritten.
        Rewrite(
            "0.5 * x * (1 + erf(c * x))",
            "gelu(x)",
            scalars=("c",),
            needs=(_other_constants({"c": math.sqrt(0.5)}),),
        ),
        Rewrite("0.5 * x * (1 + erf(x))", "gelu(x)", needs=(_other_constants({}),)),
        Rewrite(
            "0.5 * x * (1 + tanh(c * (x + k * x**3)))",
            _TANH,
            scalars=("c", "k"),
            needs=(_other_constants({"k": 0.044715, "c": math.sqrt(2 / math.pi)}),),
        ),
        Rewrite(
            "0.5 * x * (1 + tanh(c * x * (1 + k * x**2)))",
            _TANH,
            scalars=("c", "k"),
            needs=(_other_constants({"k": 0.044715, "c": math.sqrt(2 / math.pi)}),),
        ),
    )
    examples = (
        Example(
            before="""\
import math

import torch


def f(x):
    return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))
""",
            after="""\
import math

import torch


def f(x):
    return torch.nn.functional.gelu(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import math

import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        x = self.fc(x)
        # the approximation of BERT
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
        cdf = 0.5 * (1.0 + torch.tanh(inner))
        return x * cdf + F.relu(x)
""",
            after="""\
import math

import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        x = self.fc(x)
        # the approximation of BERT
        return F.gelu(x, approximate="tanh") + F.relu(x)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    return 0.5 * x * (1 + torch.erf(x))\n", "constant"),
        NearMiss("import torch\n\ndef f(x):\n    return 0.5 * x * (1 + torch.erf(x / 1.4142))\n", "0.70711"),
        NearMiss(
            "import math\nimport torch\n\ndef f(x):\n"
            "    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.4715 * x**3)))\n",
            "0.4715 stands where GELU has 0.044715",
        ),
        NearMiss(
            "import math\nimport torch\n\n@torch.autocast('cuda')\ndef f(x):\n"
            "    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))\n",
            "autocast",
        ),
        NearMiss("import torch\n\ndef f(x):\n    return x * torch.sigmoid(1.702 * x)\n", ""),
        NearMiss("import torch\n\ndef f(x, y):\n    return 0.5 * y * (1 + torch.erf(x / 2**0.5))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return x * (1 + torch.erf(x / 2**0.5))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return 0.5 * x * (1 - torch.erf(x / 2**0.5))\n", ""),
        NearMiss(
            "import torch\n\ndef f(x):\n    cdf = 0.5 * (1 + torch.erf(x / 2**0.5))\n    return x * cdf + cdf\n",
            "used again",
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    e = torch.erf(x / 2**0.5)\n    x.add_(1)\n    return 0.5 * x * (1 + e)\n",
            "changed in between",
        ),
        NearMiss("import torch\n\ndef test_gelu(x):\n    return 0.5 * x * (1 + torch.erf(x / 2**0.5))\n", "reference"),
        NearMiss(
            "import math\nfrom scipy.special import erf\nimport torch\n\ndef f(x):\n"
            "    return 0.5 * x * (1 + erf(x / math.sqrt(2)))\n",
            "",
        ),
    )
