"""`(1 - w) * a + w * b`: lerp spelled out, and `a + w * (b - a)`.

Moving averages of weights, gates and mixtures of inputs are spelled so. One call computes them in one kernel, where
spelled out three to four run.

## What it saves
Time. On a CPU, tensors of 3 million elements: 2.53x forward, 1.39x forward and backward.

## Fix safety
`numerics`: the same function, with another rounding. `torch.lerp` takes tensors of one dtype and promotes none: of a
bfloat16 `a` and a float32 `b` or `w` (a tensor with dimensions) it raises, where the arithmetic gives float32. The
source seldom shows dtypes, so the title says that one floating dtype is assumed; a file that speaks of autocast is
left alone.
An infinite `a` or `b`, as in masked scores, may give NaN where the arithmetic gives infinity: the call subtracts them.

## Refused when
- the weights do not add up to one (`0.9 * a + 0.2 * b`);
- `a` or `b` may be a number: an attribute of which nothing says that it is a tensor, `loss.item()`, a default value;
- one may be of another dtype, or of integers: called a mask, a label, an index, or mixed in a file of byte images or of
  averages over a state dict, which holds counters;
- both weights are one half: an average reads better as it is;
- the weight is called for twice from a function of which nothing is known, or is changed in between;
- the weighted terms are used again.

Source: `torch.lerp`, torch 2.13.
"""

from __future__ import annotations

import math
import re

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site

_ONE_DTYPE = "assumes finite operands of one floating dtype, of which lerp promotes none"
_MAY_BE_INTEGERS = ("uint8", "byte", "state_dict", "buffers", "named_buffers", "PIL")
"""Words of files in which tensors of integers are mixed: images, and averages over all that a module holds."""
_OTHER_DTYPE = re.compile(
    r"mask|valid|indicator|one_?hot|target|label|done|flag|detach|idx|index|\by(?:_true|s)?\b", re.IGNORECASE
)


def _convex(site: Site) -> needs.Verdict:
    """The two weights are numbers that add up to one, and are not both one half."""
    first, second = site.number("u"), site.number("w")
    if first is None or second is None:
        return Refusal("the weights are not shown", site.place)
    if not math.isclose(first + second, 1.0, rel_tol=1e-9):
        return Refusal(f"the weights {first:g} and {second:g} do not add up to 1", site.place)
    return Refusal("it is an average", site.place) if first == second else None


def _tensors(site: Site) -> needs.Verdict:
    """Both ends are tensors of one floating dtype, as far as can be seen."""
    if site.module.mentions.has_word("autocast", "amp", "GradScaler"):
        return Refusal("the file uses autocast, under which the operands may be of two dtypes", site.place)
    if site.module.mentions.has_word(*_MAY_BE_INTEGERS):
        for name in ("a", "b"):
            value = site.value(name)
            if value is not None and not needs.is_floating(site, value):
                return Refusal(f"`{site.text(name)}` may be of integers, as images and counters are", site.place)
    for other in ("a", "b", "w"):
        value = site.value(other)
        text = site.text(other)
        # What is computed on the spot speaks for itself; of a name, only the name does.
        computed = value is not None and "(" in text and needs.is_floating(site, value)
        if computed or not _OTHER_DTYPE.search(text):
            continue
        return Refusal(f"`{site.text(other)}` may have another dtype", site.place)
    verdict = needs.operands("a", "b")(site)
    return verdict if isinstance(verdict, Refusal) else None


def _lerp(pattern: str, *asked: needs.Need, scalars: tuple[str, ...] = ()) -> Rewrite:
    return Rewrite(pattern, "lerp(a, b, w)", Safety.NUMERICS, _ONE_DTYPE, needs=(*asked, _tensors), scalars=scalars)


@fusion
class InterpolationByHand(Expression):
    __doc__ = __doc__

    code = "FUS604"
    name = "interpolation-by-hand"
    words = (frozenset({"torch"}),)
    rewrites = (
        _lerp("a + w * (b - a)", scalars=("w",)),
        _lerp("a + w * (b - a)"),
        _lerp("a - w * (a - b)", scalars=("w",)),
        _lerp("a - w * (a - b)"),
        _lerp("(1 - w) * a + w * b"),
        _lerp("u * a + w * b", _convex, scalars=("u", "w")),
    )
    hints = (r"-(?:(?<=\s-)\s|(?<=\w-)\w|(?<=\)-))", r"sub(?<!\wsub)(?:tract)?\b", r"\.(?<=\w\.)\d")
    examples = (
        Example(
            before="""\
import torch


def f(start, end):
    return start + 0.3 * (end - start)
""",
            after="""\
import torch


def f(start, end):
    return torch.lerp(start, end, 0.3)
""",
            inputs=((3, 4), (3, 4)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(16, 16)
        self.transform = nn.Linear(16, 16)

    def forward(self, x):
        g = torch.sigmoid(self.gate(x))
        return g * torch.relu(self.transform(x)) + (1 - g) * x
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(16, 16)
        self.transform = nn.Linear(16, 16)

    def forward(self, x):
        g = torch.sigmoid(self.gate(x))
        return torch.lerp(x, torch.relu(self.transform(x)), g)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(a, b):\n    return 0.9 * a + 0.2 * b\n", "do not add up to 1"),
        NearMiss("import torch\n\ndef f(a, b):\n    return 0.5 * a + 0.5 * b\n", "average"),
        NearMiss("import torch\n\ndef f(a, b, mask):\n    return mask * a + (1 - mask) * b\n", "another dtype"),
        NearMiss(
            "import torch\n\ndef f(mine, theirs, decay=0.9):\n    for a, b in zip(mine.state_dict(), theirs):\n"
            "        a.copy_(decay * a + (1 - decay) * b)\n",
            "of integers",
        ),
        NearMiss("import torch\n\ndef f(a, b, w, v):\n    return w * a + (1 - v) * b\n", ""),
        NearMiss("import torch\n\ndef f(a, b, w):\n    return (1 + w) * a + w * b\n", ""),
        NearMiss("import torch\n\ndef f(a, b, w):\n    return a + w * (b + a)\n", ""),
        NearMiss("import torch\n\ndef f(a, b, c, w):\n    return a + w * (b - c)\n", ""),
        NearMiss("import torch\n\ndef f(a, loss):\n    return 0.9 * a + 0.1 * loss.item()\n", "no tensor"),
        NearMiss(
            "import torch\n\nclass Average:\n    def update(self, value):\n"
            "        self.value = 0.9 * self.value + 0.1 * value\n        return torch.tensor(self.value)\n",
            "is a tensor",
        ),
        NearMiss(
            "import torch\n\ndef f(a, b):\n    with torch.autocast('cpu', torch.bfloat16):\n"
            "        return a + 0.3 * (b - a)\n",
            "autocast",
        ),
        NearMiss("import torch\n\ndef f(x, n=3, m=4):\n    return x * (n + 0.5 * (m - n))\n", "no tensor"),
    )
