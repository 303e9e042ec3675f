"""`log(sigmoid(x))`: the logarithm of the sigmoid, spelled out.

Spelled out, the sigmoid rounds to 0 (or, in `1 - sigmoid(x)`, to 1) before its logarithm is taken; the single call
works on `x`, and runs one kernel.

## What it saves
Accuracy: the call is finite, with a finite gradient, for every finite `x`. No time on a CPU (0.8x forward, 1.0x forward
and backward of 1.6 million elements in float32), and no memory.

## Fix safety
`numerics`: `log(sigmoid(x))` is -inf with a gradient of NaN where `sigmoid(x)` rounds to 0 (x below -104 in float32,
below -18 in float16), the call is `x` there. `log(1 - sigmoid(x))` becomes `logsigmoid(-x)`: it loses all its digits by
x = 17 in float32 and is -inf above, the call is not. `-softplus(-x)` differs by less than 2.1e-9, below -20, where
softplus is linear. On a GPU under autocast a logarithm computes in float32, the call in the dtype that it is given.
Probabilities that are used again stay.

## Refused when
- the file speaks of autocast;
- the code is a reference: a test's expected value, a custom autograd function, the branch beside the call itself;
- `x` may change between the sigmoid and its logarithm.

With an epsilon inside the logarithm (`log(sigmoid(x) + 1e-8)`) it is another function, and left alone.

Source: `torch.nn.functional.logsigmoid`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import dtype_under_autocast
from fuselight.fusions.site import Rewrite

_FINITE = "finite where sigmoid(x) rounds to 0"
_ONE_MINUS = "either(log(1 - sigmoid({0})), log1p(-sigmoid({0})))"
_OVERFLOW = "finite where exp(-x) overflows"
_EXPONENT = "finite where exp(x) overflows"


@fusion
class SpelledOutLogSigmoid(Expression):
    __doc__ = __doc__

    code = "FUS405"
    name = "spelled-out-log-sigmoid"
    words = (
        frozenset({"log", "log_", "log1p", "log1p_", "softplus", "Softplus"}),
        frozenset({"torch"}),
    )
    label = "logsigmoid"
    rewrites = tuple(
        Rewrite(pattern, call, Safety.NUMERICS, note, needs=(dtype_under_autocast,), shared=shared)
        for pattern, call, note, shared in (
            ("log(sigmoid(x))", "log_sigmoid(x)", _FINITE, True),
            (_ONE_MINUS.format("-x"), "log_sigmoid(x)", "finite where sigmoid(-x) rounds to 1", True),
            (_ONE_MINUS.format("x"), "log_sigmoid(-x)", "finite where sigmoid(x) rounds to 1", True),
            ("log(1 / (1 + exp(-x)))", "log_sigmoid(x)", _OVERFLOW, False),
            ("log(exp(x) / (1 + exp(x)))", "log_sigmoid(x)", _EXPONENT, False),
            ("-either(log(1 + exp(-x)), log1p(exp(-x)))", "log_sigmoid(x)", _OVERFLOW, False),
            ("x - either(log(1 + exp(x)), log1p(exp(x)))", "log_sigmoid(x)", _EXPONENT, False),
            ("-softplus(-x)", "log_sigmoid(x)", "2e-9 less below -20, where softplus is linear", False),
            ("x - softplus(x)", "log_sigmoid(x)", "not 0 above 20, where softplus is linear", False),
        )
    )
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x):
    return -torch.log(torch.sigmoid(x)).mean()
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x):
    return -F.logsigmoid(x).mean()
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x, y):
    p = torch.sigmoid(x)  # kept for the caller
    return p, y * torch.log(1 - p)
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x, y):
    p = torch.sigmoid(x)  # kept for the caller
    return p, y * F.logsigmoid(-x)
""",
            inputs=((3, 4), (3, 4)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 1)

    def forward(self, x):
        return -F.softplus(-self.fc(x))
""",
            after="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 1)

    def forward(self, x):
        return F.logsigmoid(self.fc(x))
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(
            "import torch\n\ndef f(x):\n    with torch.autocast('cuda'):\n        return torch.log(torch.sigmoid(x))\n",
            "autocast",
        ),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.sigmoid(x) + 1e-8)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 - torch.sigmoid(x) + 1e-8)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(1 + 1e-7 - torch.sigmoid(x))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.sigmoid(x).clamp(min=1e-8))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(2 - torch.sigmoid(x))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log2(torch.sigmoid(x))\n", ""),
        NearMiss("import torch\nimport torch.nn.functional as F\n\ndef f(x):\n    return -F.softplus(x)\n", ""),
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\ndef f(x):\n    return -F.softplus(-x, beta=2)\n", ""
        ),
        NearMiss("import torch\nimport torch.nn.functional as F\n\ndef f(x, y):\n    return y - F.softplus(x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.softmax(x, -1))\n", ""),
        NearMiss(
            "import torch\n\ndef f(x):\n    p = torch.sigmoid(x)\n    x.mul_(2)\n    return torch.log(p), x\n",
            "changed in between",
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    p = torch.sigmoid(x)\n    x = x + 1\n    return torch.log(p), x\n",
            "not at hand",
        ),
        NearMiss("import torch\n\ndef test_it(x):\n    return torch.log(torch.sigmoid(x))\n", "reference"),
    )
