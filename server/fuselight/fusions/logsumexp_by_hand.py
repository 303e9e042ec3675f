"""`log(exp(x).sum(d))`: logsumexp spelled out, and `log(exp(a) + exp(b))`: logaddexp.

`exp(x)` overflows where `x` is above 88 in float32 and vanishes where all of it is below -104: the logarithm is then
infinite and its gradient NaN. The call takes the largest value out first, so that neither happens, and runs one kernel.
The spelling that takes the maximum out by hand, `m + log(sum(exp(x - m)))`, is found as well.

## What it saves
Infinite losses and NaN gradients, and memory: of a float32 tensor of 3 million elements autograd need not keep the 12
MB of `exp(x)`, of two in a `logaddexp` not 36 MB.
No time, on a CPU: `logsumexp` of 256 x 16,000 in float32 takes 1.8x as long forward and 3x forward and backward,
`logaddexp` 0.8x and 1.5x.

## Fix safety
`numerics`: the same wherever the spelled out form is finite; finite where it overflows or vanishes. By hand with the
maximum, a row that is -inf throughout gives NaN, and -inf by the call.
For `log(exp(a) + exp(b))` and autocast: on a GPU `exp` and `log` compute in float32 there, `logaddexp` in the dtype it
is given; a file that speaks of autocast is left alone.

## Refused when
- the sum is over everything (`exp(x).sum()`): `logsumexp` needs a dimension;
- something stands between (`log(exp(x).sum(d) + eps)`, a mask, weights): no candidate;
- the maximum is taken along another dimension, or is not shown to be that of `x`;
- `exp(x)` or the sum is used again.

Source: `torch.logsumexp` and `torch.logaddexp`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site

_FINITE = "finite where exp overflows or vanishes"
_ROWS = "a row of -inf gives -inf, not NaN"
_KEPT = "either(item(max(x, dim=m, keepdim=True), 0), amax(x, dim=m, keepdim=True))"
_DROPPED = "either(item(max(x, dim=m), 0), amax(x, dim=m))"
_SAME = needs.same_dimension("d", "m", "x")


def _not_shifted(site: Site) -> needs.Verdict:
    """What is subtracted within the exponential is not added again: then a maximum is taken out by hand."""
    shifted, root = site.value("x"), site.root
    if shifted is None or shifted.kind != "sub":
        return None
    for use in root.uses:
        if use.by is not None and use.by.kind in ("add", "in-place add"):
            for one in use.by.inputs:
                if shifted.inputs[1] in (one, *one.inputs) or one in shifted.inputs[1].inputs:
                    return Refusal("what is taken out of it is not shown to be its maximum", site.place)
    return None


def _by_hand(outer: str, inner: str, keepdim: str, *asked: needs.Need, names: str = "d m") -> Rewrite:
    """The maximum of `x` taken out of the sum (`inner`) and added again (`outer`)."""
    kept = ", keepdim=True" if keepdim else ""
    return Rewrite(
        f"{outer} + log(sum(exp(x - {inner}), dim=d{kept}))",
        f"logsumexp(x, dim=d{kept})",
        Safety.NUMERICS,
        _ROWS,
        integers=tuple(names.split()),
        needs=asked,
    )


@fusion
class LogsumexpByHand(Expression):
    __doc__ = __doc__

    code = "FUS508"
    name = "logsumexp-by-hand"
    words = (frozenset({"exp"}), frozenset({"log", "log1p"}), frozenset({"torch"}))
    rewrites = (
        Rewrite(
            "log(sum(exp(x), dim=d, keepdim=k))",
            "logsumexp(x, dim=d, keepdim=k)",
            Safety.NUMERICS,
            _FINITE,
            integers=("d", "k"),
            needs=(needs.given("d"), _not_shifted),
        ),
        _by_hand(_KEPT, _KEPT, "keepdim", _SAME),
        _by_hand("max(x)", "max(x)", "keepdim", names="d"),
        _by_hand("max(x)", "max(x)", "", names="d"),
        _by_hand(f"squeeze({_KEPT}, s)", _KEPT, "", _SAME, needs.same_dimension("d", "s", "x"), names="d m s"),
        _by_hand(_DROPPED, f"unsqueeze({_DROPPED}, u)", "", _SAME, needs.same_dimension("d", "u", "x"), names="d m u"),
        Rewrite(
            "log(exp(a) + exp(b))",
            "logaddexp(a, b)",
            Safety.NUMERICS,
            _FINITE,
            needs=(needs.without_autocast("under autocast in the dtype of its operands"),),
        ),
        Rewrite(
            "maximum(a, b) + log(exp(a - maximum(a, b)) + exp(b - maximum(a, b)))",
            "logaddexp(a, b)",
            Safety.NUMERICS,
            "-inf and -inf give -inf, not NaN",
            needs=(needs.without_autocast("under autocast in the dtype of its operands"),),
        ),
        Rewrite(
            "maximum(a, b) + either(log1p(exp(-abs(a - b))), log(1 + exp(-abs(a - b))))",
            "logaddexp(a, b)",
            Safety.NUMERICS,
            "-inf and -inf give -inf, not NaN",
            needs=(needs.without_autocast("under autocast in the dtype of its operands"),),
        ),
    )
    examples = (
        Example(
            before="""\
import torch


def f(scores):
    return torch.log(torch.exp(scores).sum(dim=-1))
""",
            after="""\
import torch


def f(scores):
    return torch.logsumexp(scores, dim=-1)
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
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = self.fc(x)
        # the largest first, against overflow
        top = x.max(dim=1, keepdim=True)[0]
        return x - (top + torch.log(torch.sum(torch.exp(x - top), dim=1, keepdim=True)))
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = self.fc(x)
        # the largest first, against overflow
        return x - torch.logsumexp(x, dim=1, keepdim=True)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(a, b):
    return torch.log(torch.exp(a) + torch.exp(b))
""",
            after="""\
import torch


def f(a, b):
    return torch.logaddexp(a, b)
""",
            inputs=((3, 4), (3, 4)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.exp(x).sum())\n", "is left out"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.exp(x).sum(-1) + 1e-8)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log(torch.exp(x).mean(-1))\n", ""),
        NearMiss("import torch\n\ndef f(x, m):\n    return torch.log((torch.exp(x) * m).sum(-1))\n", ""),
        NearMiss(
            "import torch\n\ndef f(x, m):\n    return m + torch.log(torch.exp(x - m).sum(-1, keepdim=True))\n",
            "maximum",
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    m = x.max(dim=0, keepdim=True)[0]\n"
            "    return m + torch.log(torch.exp(x - m).sum(1, keepdim=True))\n",
            "same dimension",
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    e = torch.exp(x)\n    return e / torch.log(e.sum(1, keepdim=True))\n",
            "used again",
        ),
        NearMiss("import torch\n\ndef f(a, b):\n    return torch.log(torch.exp(a) + b)\n", ""),
        NearMiss("import torch\n\ndef f(a, b):\n    return torch.log(torch.exp(a) - torch.exp(b))\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.log2(torch.exp(x).sum(-1))\n", ""),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    with torch.autocast('cuda'):\n"
            "        return torch.log(torch.exp(a) + torch.exp(b))\n",
            "autocast",
        ),
    )
