"""`log(softmax(x))`: two calls for the logarithm of a softmax.

A probability that is too small for its dtype is 0, its logarithm -inf, and the gradient NaN: in float32 from a
distance of about 104 between two logits, in float16 from 17. `log_softmax` computes the logarithm itself and never gets
there.

## What it saves
Time, and the training run that would end in NaN. On a CPU, float32, 256 x 16,000: 1.9x forward, 1.3x forward and
backward; as much memory for the backward pass as before. Where the probabilities are used elsewhere, too, the softmax
stays for them, and it saves no time (1.0x): then it is for the finite numbers alone.

## Fix safety
`numerics`: the same function, with a finite number and a finite gradient where a probability underflows to 0. In
bfloat16 and float16 the result is rounded once, and not twice.

## Refused when
- the softmax names no dimension: which one it is depends on the rank;
- something is added to the probabilities, or they are clamped, before the logarithm: that is another function;
- the parts are computed in different branches, or changed in between;
- the code is a reference: a test's expected value, the branch for a torch without `log_softmax`.

Source: `torch.nn.functional.log_softmax`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import named_dimension, only_stays
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"


@fusion
class LogOfSoftmax(Expression):
    __doc__ = __doc__

    code = "FUS501"
    name = "log-of-softmax"
    words = (frozenset({"softmax", "Softmax"}), frozenset({"log"}))
    rewrites = (
        Rewrite(
            "log(softmax(x, dim=d, dtype=t))",
            "log_softmax(x, dim=d, dtype=t)",
            Safety.NUMERICS,
            "finite where a probability underflows to 0",
            needs=(
                named_dimension("d", "softmax"),
                only_stays("softmax", "the softmax stays for its other uses"),
            ),
            shared=True,
            integers=("d", "t"),
        ),
    )
    examples = (
        Example(
            before=_HEAD + "\ndef f(x):\n    return torch.log(F.softmax(x, dim=-1))\n",
            after=_HEAD + "\ndef f(x):\n    return torch.log_softmax(x, dim=-1)\n",
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
        self.fc = nn.Linear(16, 5)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        logits = self.fc(x)
        probs = self.softmax(logits)
        # for the loss
        logp = probs.log()
        return logp, probs.argmax(1)
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        logits = self.fc(x)
        probs = self.softmax(logits)
        # for the loss
        logp = torch.log_softmax(logits, dim=1)
        return logp, probs.argmax(1)
""",
            inputs=((3, 16),),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(_HEAD + "def f(x):\n    return torch.log(F.softmax(x, dim=-1) + 1e-8)\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return torch.log(F.softmax(x, dim=-1).clamp(min=1e-8))\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return torch.log(F.softmax(x))\n", "no dimension"),
        NearMiss(_HEAD + "def f(x):\n    return torch.log2(F.softmax(x, dim=-1))\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return torch.log1p(F.softmax(x, dim=-1))\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return torch.log(torch.sigmoid(x))\n", ""),
        NearMiss(
            _HEAD + "def f(x):\n    p = F.softmax(x, dim=-1)\n    p[0] = 0.5\n    return torch.log(p)\n", "in between"
        ),
        NearMiss(
            _HEAD + "def f(x, g):\n    p = F.softmax(x, dim=-1)\n    if g.any():\n        p = g\n    return p.log()\n",
            "",
        ),
        NearMiss(_HEAD + "def test_log_softmax(x):\n    return torch.log(F.softmax(x, dim=-1))\n", "reference"),
    )
