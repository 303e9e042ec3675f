"""`x @ w.t() + b`: a linear layer spelled out, and `torch.mm(a, b) + c`: addmm, `torch.bmm(a, b) + c`: baddbmm.

The call adds within the matrix product, and needs no tensor between the two.

## What it saves
Little. On a CPU, 1.05x for `linear` and 1.07x for `addmm` forward, nothing with the backward pass; and the tensor of
the product alone, as long as the sum is computed.

## Fix safety
`numerics`: the same products and sums, rounded once less. Under autocast `x @ w.t() + b` promotes to float32 (the
product is bfloat16 or float16, the bias float32), the call stays in the lower precision; outside of it the call takes
operands of one dtype only. Both stand in the title, with what else is assumed of the dimensions; a file that speaks of
autocast is left alone.

## Refused when
- `w` is not transposed (`x @ w + b` is no `linear`), unless both are shown to have two dimensions: then it is `addmm`;
- `w` is shown to have other dimensions than two, or is transposed by `.mT` or `transpose(-1, -2)`, which takes batches;
- `b` is shown to have more than one dimension, or is not called a bias: a residual may have more dimensions than
  the product, and the call cannot broadcast up to it;
- a factor (`0.5 * c + 2 * torch.mm(a, b)`) is not shown to be a Python number;
- the product is used again.

Source: `torch.nn.functional.linear`, `torch.addmm`, `torch.baddbmm`, torch 2.13.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.held_sizes import held_sizes
from fuselight.fusions.matching import transposed_operand
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site

_NOTE = "rounded once less, in one dtype, under autocast the lower one"
_BIAS = re.compile(r"(?:\w+\.)*b(?:ias)?_?\d*")
_OF_WEIGHT = (("weight", "bias"), ("kernel", "bias"), ("w", "b"), ("W", "b"), ("W", "B"))


def _outside_autocast(site: Site) -> needs.Verdict:
    if site.module.mentions.has_word("autocast", "amp", "GradScaler"):
        return Refusal("the file uses autocast, under which the result would have another dtype", site.place)
    return None


def _matrix(site: Site) -> needs.Verdict:
    """`w` is a matrix: shown to be, or transposed as only matrices are."""
    weight = site.value("w")
    assert weight is not None
    known = needs.shown_rank(site, weight)
    if known.exact == 2:
        return None
    if known.least > 2 or (known.most is not None and known.most < 2):
        return Refusal(f"`{site.text('w')}` has not 2 dimensions", site.place)
    for value in site.found.inner:
        matrix = transposed_operand(value)
        if matrix is not None and matrix.value is weight:
            plain = value.kind != "swapaxes" and not (isinstance(value.node, ast.Attribute) and value.node.attr == "mT")
            if plain:
                return needs.Assumption("assumes that the weight is a matrix")
    return Refusal(f"it is not shown that `{site.text('w')}` has 2 dimensions", site.place)


def _bias(site: Site) -> needs.Verdict:
    """`b` has one dimension, the size of the product's last one: by its making, or it is called a bias."""
    weight, bias = site.value("w"), site.value("b")
    if weight is None or bias is None or needs.is_number(site, bias):
        return Refusal(f"`{site.text('b')}` is no tensor", site.place)
    known = needs.shown_rank(site, bias)
    if known.least > 1 or known.most == 0:
        return Refusal(f"`{site.text('b')}` has not 1 dimension", site.place)
    rows, size = (held_sizes(site.module, site.scope, one) for one in (weight, bias))
    if rows and size and ast.unparse(rows[0]) == ast.unparse(size[0]):
        return None
    if known.exact == 1 or _is_called_bias(site.text("w"), site.text("b")):
        return needs.Assumption("assumes a bias as long as the weight has rows")
    return Refusal(f"nothing shows that `{site.text('b')}` is a bias of one dimension", site.place)


def _is_called_bias(weight: str, bias: str) -> bool:
    return _BIAS.fullmatch(bias) is not None or any(
        old in weight and weight.replace(old, new) == bias for old, new in _OF_WEIGHT
    )


def _added(rank: int) -> needs.Need:
    """`c` is broadcast to the product, and not the product to it."""

    def verdict(site: Site) -> needs.Verdict:
        added = site.value("c")
        if added is None or needs.is_number(site, added):
            return Refusal(f"`{site.text('c')}` is no tensor", site.place)
        known = needs.shown_rank(site, added)
        if known.least > rank:
            return Refusal(f"`{site.text('c')}` has more dimensions than the product", site.place)
        if known.most is not None and known.most <= 1:
            return None
        return needs.Assumption("assumes that what is added is no larger than the product")

    return verdict


def _scaled(product: str, call: str, *asked: needs.Need) -> Iterator[Rewrite]:
    """`beta * c + alpha * product`, with and without the two numbers."""
    for pattern, options in (
        (f"beta * c + alpha * {product}", ", beta=beta, alpha=alpha"),
        (f"beta * c - alpha * {product}", ", beta=beta, alpha=-alpha"),
        (f"beta * c + {product}", ", beta=beta"),
        (f"beta * c - {product}", ", beta=beta, alpha=-1"),
        (f"c + alpha * {product}", ", alpha=alpha"),
        (f"c - alpha * {product}", ", alpha=-alpha"),
        (f"c + {product}", ""),
        (f"c - {product}", ", alpha=-1"),
        (f"{product} - c", ", beta=-1"),
    ):
        scalars = tuple(name for name in ("alpha", "beta") if f"{name} *" in pattern)
        replacement = f"{call}(c, a, b{options})"
        yield Rewrite(pattern, replacement, Safety.NUMERICS, _NOTE, (*asked, _outside_autocast), scalars=scalars)


def _rewrites() -> Iterator[Rewrite]:
    linear = ("linear(x, w, b)", Safety.NUMERICS, _NOTE)
    products = "either(matmul(x, transposed(w)), mm(x, transposed(w)))"
    yield Rewrite(f"{products} + b", *linear, (_matrix, _bias, _outside_autocast))
    yield Rewrite("linear(x, w) + b", *linear, (_bias, _outside_autocast))
    yield from _scaled("mm(a, b)", "addmm", _added(2))
    yield from _scaled("matmul(a, b)", "addmm", needs.rank("a", 2), needs.rank("b", 2), _added(2))
    yield from _scaled("bmm(a, b)", "baddbmm", _added(3))


@fusion
class MatmulThenAdd(Expression):
    __doc__ = __doc__

    code = "FUS602"
    name = "matmul-then-add"
    words = (frozenset({"torch"}),)
    rewrites = tuple(_rewrites())
    hints = ("@ ", r"@(?<=[\w)\]]@)", "matmul", r"mm\b", "linear")
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 16))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return torch.matmul(x, self.weight.t()) + self.bias
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 16))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(c, a, b):
    return 0.5 * c + 2.0 * torch.mm(a, b)
""",
            after="""\
import torch


def f(c, a, b):
    return torch.addmm(c, a, b, beta=0.5, alpha=2.0)
""",
            inputs=((3, 5), (3, 4), (4, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(a, b, c):
    return torch.bmm(a, b) + c
""",
            after="""\
import torch


def f(a, b, c):
    return torch.baddbmm(c, a, b)
""",
            inputs=((2, 3, 4), (2, 4, 5), (2, 3, 5)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x, w, b):\n    return x @ w + b\n", "2 dimensions"),
        NearMiss("import torch\n\ndef f(x, w, r):\n    return x @ w.t() + r\n", "is a bias"),
        NearMiss(
            "import torch\n\ndef f(q, k, attn_bias):\n    return q @ k.transpose(-1, -2) + attn_bias\n", "dimensions"
        ),
        NearMiss("import torch\n\ndef f(q, k, mask):\n    return torch.matmul(q, k.mT) + mask\n", "dimensions"),
        NearMiss("import torch\n\ndef f(x, w):\n    return x @ w.t() + 1\n", ""),
        NearMiss("import torch\n\ndef f(x, w, b, s):\n    return s * (x @ w.t()) + b\n", ""),
        NearMiss("import torch\n\ndef f(x, w, b):\n    y = x @ w.t()\n    return y + b, y\n", "used again"),
        NearMiss(
            "import torch\n\ndef f(a, b, c):\n    return torch.mm(a, b) + c[None, None, None]\n", "more dimensions"
        ),
        NearMiss("import torch\n\ndef f(a, b, c, s):\n    return c + s * torch.mm(a, b)\n", ""),
        NearMiss(
            "import torch\n\ndef f(x, w, b):\n    with torch.autocast('cpu', torch.bfloat16):\n"
            "        return x @ w.t() + b\n",
            "autocast",
        ),
    )
