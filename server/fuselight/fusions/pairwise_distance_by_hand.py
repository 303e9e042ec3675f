"""`((a[:, None] - b[None]) ** 2).sum(-1).sqrt()`: cdist spelled out.

All differences of n and m points in d dimensions are n * m * d numbers, computed, squared and kept for the backward
pass. The call holds the n * m distances alone.

## What it saves
Memory and time. On a CPU, 512 points of 32 dimensions each: 43x forward, 53x forward and backward, and 32.5 MB that
autograd keeps become 0.5 MB.

## Fix safety
`numerics`: the same distances. The call is asked not to go through a matrix product
(`compute_mode="donot_use_mm_for_euclid_dist"`), which for points close to each other, far from the origin, loses all
digits. Where two points coincide the gradient of the root is NaN, that of the call 0.
`torch.cdist` takes float32 and float64, both of one dtype; that both operands have two dimensions is said in the title
where the source does not show it. It has no double backward and no forward mode.

## Refused when
- the root is missing (squared distances), or anything is added under it: no candidate;
- the two are not shown to have the dimensions that the broadcast needs;
- the differences are used again;
- the file asks for more than first gradients, or speaks of autocast, under which the result would be float32.

Source: `torch.cdist`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site

_ZERO = "coinciding points have a gradient of 0, not NaN; assumes one dtype, float32 or float64"
_P1 = "assumes one dtype, float32 or float64"


def _apart(first: str, second: str) -> str:
    return f"either({first} - {second}, {second} - {first})"


_PAIRS = (
    (2, _apart("unsqueeze(a, either(1, -2))", "unsqueeze(b, either(0, -3))"), ()),
    (2, _apart("unsqueeze(a, either(1, -2))", "b"), ("b",)),
    (3, _apart("unsqueeze(a, either(2, -2))", "unsqueeze(b, either(1, -3))"), ()),
)
"""The rank of both, the differences, and what must be shown: broadcast as it is, a vector would be another thing."""


def _last(rank: int) -> needs.Need:
    """The sum is over what the points have of coordinates."""

    def verdict(site: Site) -> needs.Verdict:
        return None if site.number("j") in (-1, rank) else Refusal("the sum is not over the coordinates", site.place)

    return verdict


def _rewrites() -> tuple[Rewrite, ...]:
    found: list[Rewrite] = []
    for rank, apart, strict in _PAIRS:
        assumed = f"assumes operands of {rank} dimensions"
        asked = (
            _last(rank),
            *(needs.rank(name, rank, otherwise=None if name in strict else assumed) for name in ("a", "b")),
            needs.first_gradients_only,
            needs.without_autocast("float32 under autocast"),
        )
        euclidean = 'cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")'
        norms = (
            f"sqrt(sum(({apart}) ** 2, dim=j))",
            f"norm({apart}, p=2, dim=j)",
            f"norm({apart}, dim=j)",
            f"vector_norm({apart}, dim=j)",
        )
        found += [Rewrite(one, euclidean, Safety.NUMERICS, _ZERO, asked, integers=("j",)) for one in norms]
        one = f"sum(abs({apart}), dim=j)"
        found.append(Rewrite(one, "cdist(a, b, p=1.0)", Safety.NUMERICS, _P1, asked, integers=("j",)))
    return tuple(found)


@fusion
class PairwiseDistanceByHand(Expression):
    __doc__ = __doc__

    code = "FUS607"
    name = "pairwise-distance-by-hand"
    words = (frozenset({"None", "unsqueeze"}), frozenset({"sum", "norm", "vector_norm"}), frozenset({"torch"}))
    rewrites = _rewrites()
    examples = (
        Example(
            before="""\
import torch


def f(a, b):
    return ((a[:, None] - b[None]) ** 2).sum(-1).sqrt()
""",
            after="""\
import torch


def f(a, b):
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
""",
            inputs=((4, 3), (5, 3)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.mu = nn.Parameter(torch.randn(6, 16))

    def forward(self, x):
        diff = x.unsqueeze(1) - self.mu.unsqueeze(0)
        return torch.norm(diff, dim=-1)
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.mu = nn.Parameter(torch.randn(6, 16))

    def forward(self, x):
        return torch.cdist(x, self.mu, compute_mode="donot_use_mm_for_euclid_dist")
""",
            inputs=((4, 16),),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(a, b):\n    return ((a[:, None] - b[None]) ** 2).sum(-1)\n", ""),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    return (((a[:, None] - b[None]) ** 2).sum(-1) + 1e-8).sqrt()\n", ""
        ),
        NearMiss("import torch\n\ndef f(a, b):\n    return ((a - b) ** 2).sum(-1).sqrt()\n", ""),
        NearMiss("import torch\n\ndef f(a, b):\n    return ((a[:, None] + b[None]) ** 2).sum(-1).sqrt()\n", ""),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    return ((a[:, None] - b[None]) ** 2).sum(1).sqrt()\n", "coordinates"
        ),
        NearMiss("import torch\n\ndef f(a, b):\n    return ((a[:, None] - b) ** 2).sum(-1).sqrt()\n", "2 dimensions"),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    n, m, d = a.shape\n"
            "    return ((a[:, None] - b[None]) ** 2).sum(-1).sqrt()\n",
            "2 dimensions",
        ),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    d = a[:, None] - b[None]\n    return (d ** 2).sum(-1).sqrt(), d\n",
            "used again",
        ),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    y = ((a[:, None] - b[None]) ** 2).sum(-1).sqrt()\n"
            "    return torch.autograd.grad(y.sum(), a, create_graph=True)\n",
            "create_graph",
        ),
        NearMiss("import torch\n\ndef f(a, b):\n    return torch.norm(a[:, None] - b[None], p=3, dim=-1)\n", ""),
        NearMiss("import torch\n\ndef f(a, b):\n    return torch.norm(a[:, None] - b[None])\n", ""),
    )
