"""`x + 0.5 * a * b`: addcmul spelled out, `x * (1 + scale) + shift`, and `x + v * a / b`: addcdiv.

Spelled out it runs a kernel for each operator and keeps the product of `a` with the number; the call runs one.

## What it saves
Time and memory. On a CPU, `x + v * a * b` of 3 million elements: 2.26x forward, 1.13x forward and backward, and 12 MB
that autograd need not keep. The modulation of a DiT or AdaLN block, `x * (1 + scale) + shift`, saves one kernel.
A plain `x + a * b` is not offered: it saves a kernel at the price of a line that nobody reads at a glance.

## Fix safety
`numerics`: the same function and the same promotion of dtypes; the product is not rounded on its own before it is
added. All three must be tensors, and one of a floating dtype: of integers alone, the call would round the number to
one. Where the source does not show it, the title says so.

## Refused when
- one of the three is a number, or an attribute of which nothing says that it is a tensor;
- the factor is not shown to be a Python number;
- the product is used again, or stands in a line of its own;
- the sum is a part of a longer one, or adds two products: one call of two reads worse than the sum.

Source: Peebles and Xie 2022; `torch.addcmul` and `torch.addcdiv`, torch 2.13.
"""

from __future__ import annotations

import ast

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.matching import Operand
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site

_ROUNDED = "the product is not rounded on its own"


_OPERATORS = (ast.BinOp, ast.UnaryOp)


def _one_line(site: Site) -> needs.Verdict:
    """The product stands in the sum itself, which is no part of a longer one."""
    root = site.root
    if root.node is None:
        return Refusal("it is added in place, which keeps the dtype of what it is added to", site.place)
    if any(one.statement is not root.statement for one in site.found.inner):
        return Refusal("the product has a line of its own", site.place)
    if any(use.by is not None and use.by.kind in ("add", "sub") and root.binding is None for use in root.uses):
        return Refusal("it is one of several terms", site.place)
    added = site.found.bound.get("x") if "x +" in site.rewrite.pattern or "x -" in site.rewrite.pattern else None
    if isinstance(added, Operand) and isinstance(added.node, _OPERATORS):
        return Refusal("it is one of several products or terms", site.place)
    return None


def _floating(*names: str) -> needs.Need:
    """Of integers alone, the factor would be rounded to one."""

    def verdict(site: Site) -> needs.Verdict:
        values = [site.value(name) for name in names]
        if any(one is not None and needs.is_floating(site, one) for one in values):
            return None
        return needs.Assumption("assumes a floating dtype")

    return verdict


def _asked(*names: str) -> tuple[needs.Need, ...]:
    return (_one_line, needs.operands(*names, otherwise="assumes that all are tensors"), _floating(*names))


def _scaled(pattern: str, replacement: str) -> Rewrite:
    return Rewrite(pattern, replacement, Safety.NUMERICS, _ROUNDED, _asked("x", "a", "b"), scalars=("v",))


@fusion
class MultiplyThenAdd(Expression):
    __doc__ = __doc__

    code = "FUS603"
    name = "multiply-then-add"
    words = (frozenset({"torch"}),)
    rewrites = (
        _scaled("x + v * a * b", "addcmul(x, a, b, value=v)"),
        _scaled("x - v * a * b", "addcmul(x, a, b, value=-v)"),
        _scaled("x + v * a / b", "addcdiv(x, a, b, value=v)"),
        _scaled("x - v * a / b", "addcdiv(x, a, b, value=-v)"),
        Rewrite(
            "x * (1 + scale) + shift",
            "addcmul(shift, x, 1 + scale)",
            Safety.NUMERICS,
            _ROUNDED,
            needs=_asked("x", "scale", "shift"),
        ),
    )
    hints = (
        r"[*/](?<![*/]{2})(?![*/])[^=]{1,200}?(?<![*/])[*/](?![*/])",
        r"1(?<!\w1)\.?0*\s*\+", r"\+\s*1\b", r"mul(?<!\wmul)", r"div(?<!\wdiv)",
    )  # fmt: skip
    examples = (
        Example(
            before="""\
import torch


def f(x, a, b):
    return x + 0.5 * a * b
""",
            after="""\
import torch


def f(x, a, b):
    return torch.addcmul(x, a, b, value=0.5)
""",
            inputs=((3, 4), (3, 4), (3, 4)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16, elementwise_affine=False)
        self.ada = nn.Linear(16, 32)

    def forward(self, x, c):
        scale, shift = self.ada(c).chunk(2, dim=-1)
        return self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16, elementwise_affine=False)
        self.ada = nn.Linear(16, 32)

    def forward(self, x, c):
        scale, shift = self.ada(c).chunk(2, dim=-1)
        return torch.addcmul(shift.unsqueeze(1), self.norm(x), 1 + scale.unsqueeze(1))
""",
            inputs=((2, 5, 16), (2, 16)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x, a, b):\n    return x + a * b\n", ""),
        NearMiss("import torch\n\ndef f(x, a):\n    return x + 0.5 * a\n", ""),
        NearMiss("import torch\n\ndef f(x, a):\n    return x + 0.5 * a ** 2\n", ""),
        NearMiss("import torch\n\ndef f(x, a, b, c):\n    return x + 0.5 * a * b * c\n", ""),
        NearMiss("import torch\n\ndef f(x, a, b, v):\n    return x + v * a * b\n", ""),
        NearMiss("import torch\n\ndef f(x, a, b):\n    p = 0.5 * a * b\n    return x + p, p\n", "used again"),
        NearMiss("import torch\n\ndef f(x, s, b):\n    return x * (2 + s) + b\n", ""),
        NearMiss("import torch\n\ndef f(x, a, b, c):\n    return x + 0.5 * a * b - c\n", "several terms"),
        NearMiss("import torch\n\ndef f(x, a, b, c):\n    return x * c + 0.5 * a * b\n", "several products"),
        NearMiss("import torch\n\ndef f(x, a, b):\n    p = 0.5 * a * b\n    return x + p\n", "line of its own"),
        NearMiss("import torch\n\ndef f(x, b, eps=1e-3):\n    return x * (1 + eps) + b\n", "no tensor"),
        NearMiss(
            "import torch\n\ndef f(x):\n    n, h, w = x.shape\n    return x.reshape(n + 2 * h * w)\n", "no tensor"
        ),
        NearMiss("import torch\n\ndef f(x, a, k=3):\n    return torch.exp(x) + 0.5 * a * k\n", "no tensor"),
        NearMiss(
            "import torch\n\nclass A:\n    def f(self, x, a):\n        return torch.exp(x) + 0.5 * a * self.scale\n",
            "is a tensor",
        ),
    )
