"""`1 - sigmoid(x)`: the sigmoid of `-x`.

For large `x` the sigmoid rounds to one, and the difference to nothing: in float32 `1 - sigmoid(17)` is 0 where
`sigmoid(-17)` is 4e-8.

## What it saves
Digits: above 17 in float32, above 8 in bfloat16, all of them. One of the two kernels is a negation instead of a
difference: no time.

## Fix safety
`numerics`: the same function; results differ by what the difference loses, and the gradient with them.

## Refused when
- the sigmoid is used again (`z * h + (1 - z) * c`, a gate): both would have to be computed;
- it is one of several terms, or the constant is not one: no candidate;
- it stands in `log(1 - sigmoid(x))`, or in a cross entropy: larger fusions take these.

Source: sigmoid(-x) = 1 - sigmoid(x); `torch.sigmoid`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.site import Rewrite, Site


def _computed_once(site: Site) -> needs.Verdict:
    """The sigmoid is not spelled a second time, as in a gate that opens for one value and closes for another."""
    inner = next((one for one in site.found.inner if one is not site.root), None)
    for other in site.graph.of_kind("sigmoid"):
        if inner is not None and other is not inner and site.matcher.is_same(other, inner):
            assert other.node is not None
            return Refusal("the sigmoid itself is computed as well", Place(site.scope.statement, other.node))
    return None


@fusion
class OneMinusSigmoid(Expression):
    __doc__ = __doc__

    code = "FUS513"
    name = "one-minus-sigmoid"
    words = (frozenset({"sigmoid", "expit", "Sigmoid"}), frozenset({"torch"}))
    rewrites = (
        Rewrite("1 - sigmoid(x)", "sigmoid(-x)", Safety.NUMERICS, "keeps its digits for large x", (_computed_once,)),
    )
    label = "sigmoid(-x)"
    does = "Replace `{source}` by {label}"
    examples = (
        Example(
            before="""\
import torch


def f(x):
    return 1 - torch.sigmoid(x)
""",
            after="""\
import torch


def f(x):
    return torch.sigmoid(-x)
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
        self.forget = nn.Linear(16, 16)

    def forward(self, x):
        kept = torch.sigmoid(self.forget(x))
        return x * (1.0 - kept)
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.forget = nn.Linear(16, 16)

    def forward(self, x):
        return x * torch.sigmoid(-self.forget(x))
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x, a, b):\n    z = torch.sigmoid(x)\n    return z * a + (1 - z) * b\n", "used"),
        NearMiss(
            "import torch\n\ndef f(x, a, b):\n    return torch.sigmoid(x) * a - (1 - torch.sigmoid(x)) * b\n",
            "computed as well",
        ),
        NearMiss("import torch\n\ndef f(x):\n    return 1 + torch.sigmoid(x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.sigmoid(x) - 1\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return 2 - torch.sigmoid(x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return 1 - 2 * torch.sigmoid(x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return 1 - torch.tanh(x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return 1 + 1e-8 - torch.sigmoid(x)\n", ""),
        NearMiss("import torch\n\ndef f(x, y):\n    return y - torch.sigmoid(x)\n", ""),
        NearMiss("import torch\n\ndef sigmoid_backward(x):\n    return 1 - torch.sigmoid(x)\n", "by hand"),
    )
