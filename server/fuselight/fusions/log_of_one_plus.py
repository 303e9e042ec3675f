"""`log(1 + x)`: log1p spelled out, and `exp(x) - 1`: expm1.

Adding one rounds: of a small `x`, `1 + x` keeps few digits or none, and so does `exp(x) - 1`. In float32 `log(1 +
1e-8)` is 0, its `log1p` 1e-8. The calls are right for small `x` as well.

## What it saves
Digits: all of them below 6e-8 in float32, half of them below 3e-4. One kernel of two, and the tensor between them.
No time, on a CPU, 1.6 million elements in float32: `log1p` 1.0x forward and 0.9x forward and backward, `expm1` 0.7x and
0.7x: it is the slower one.

## Fix safety
`numerics`: the same function; results differ by what the spelled out form loses.

## Refused when
- the sum holds anything else (`log(1 + x + eps)`, `log(1 - p + 1e-8)`): a small constant is there against log(0);
- the base is another (`log2`, `log10`), or the constant is not one: no candidate;
- `1 + x`, or `exp(x)`, is used again;
- `log(1 + exp(x))`: this is softplus, which another fusion offers as the larger one.

Source: `torch.log1p` and `torch.expm1`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite

_DIGITS = "more digits for small arguments"


@fusion
class LogOfOnePlus(Expression):
    __doc__ = __doc__

    code = "FUS509"
    name = "log-of-one-plus"
    words = (frozenset({"log", "exp"}), frozenset({"torch"}))
    rewrites = (
        Rewrite("log(1 + x)", "log1p(x)", Safety.NUMERICS, _DIGITS),
        Rewrite("log(1 - x)", "log1p(-x)", Safety.NUMERICS, _DIGITS),
        Rewrite("exp(x) - 1", "expm1(x)", Safety.NUMERICS, _DIGITS),
        Rewrite("1 - exp(x)", "-expm1(x)", Safety.NUMERICS, _DIGITS),
    )
    examples = (
        Example(
            before="""\
import torch


def f(x):
    return torch.sign(x) * torch.log(1 + torch.abs(x))
""",
            after="""\
import torch


def f(x):
    return torch.sign(x) * torch.log1p(torch.abs(x))
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(density, step):
    # how much of the light is lost
    alpha = 1.0 - torch.exp(-density * step)
    return alpha
""",
            after="""\
import torch


def f(density, step):
    # how much of the light is lost
    alpha = -torch.expm1(-density * step)
    return alpha
""",
            inputs=((3, 4), (3, 4)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 + x + 1e-8)\n", ""),
        NearMiss("import torch\n\ndef f(p):\n    return torch.log(1 - p + 1e-8)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1e-6 + x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(2 + x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log2(1 + x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    y = 1 + x\n    return torch.log(y) / y\n", "used again"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.exp(x) - 2\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.exp(x) + 1\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.exp2(x) - 1\n", ""),
        NearMiss("import math\nimport torch\n\ndef f(x):\n    return math.log(1 + x) * torch.ones(3)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 + x.long())\n", "integers"),
    )
