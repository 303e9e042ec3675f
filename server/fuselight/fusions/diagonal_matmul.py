"""`torch.diag(d) @ x`: rows scaled by a matrix product.

The product with a diagonal matrix scales the rows (`diag(d) @ x`) or the columns (`x @ diag(d)`) of `x`. As a matrix
product of n rows it does n times the work, and makes a matrix of n x n numbers of which n are not zero.

## What it saves
Work and memory: n * m multiplications for n * n * m, and the n x n matrix, which autograd keeps.
Time, on a CPU, 768 x 768 by 768 x 256 in float32: 114x forward, 20x forward and backward.

## Fix safety
`numerics`: the same products. In the matrix product an infinite or NaN element of `x` meets the zeros of the diagonal
matrix, and makes its whole column (row) NaN; scaled, it stays alone. That `d` has one dimension, and `x` two or
more, is said in the title where the source does not show it. Under autocast a matrix product is computed in the lower
precision, a scaling is not; a file that speaks of autocast is left alone.

## Refused when
- `d` is shown to have two dimensions: `torch.diag` then takes a diagonal out;
- `x` is shown to be a vector (`torch.diag(d) @ x` is then `d * x`);
- another diagonal is asked for (`torch.diag(d, 1)`): no candidate;
- the file uses sparse matrices.

Source: `torch.diag`, torch 2.13; Kipf and Welling 2016.
"""

from __future__ import annotations

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site

_ALONE = "an infinite or NaN element no longer spreads"


def _dense(site: Site) -> needs.Verdict:
    """No sparse matrices, which cannot be scaled by broadcasting; no autocast, which scales in another dtype."""
    if site.module.mentions.has_word("sparse", "to_sparse", "sparse_coo_tensor", "sparse_csr_tensor", "SparseTensor"):
        return Refusal("the file uses sparse matrices", site.place)
    if site.module.mentions.has_word("autocast", "amp", "GradScaler"):
        return Refusal("the file uses autocast, under which the result would have another dtype", site.place)
    return None


_VECTOR = needs.rank("d", 1, otherwise="assumes that the diagonal is a vector")
_MATRIX = needs.rank("x", 2, 8, otherwise="assumes that the other factor is a matrix")


def _scaled(pattern: str, replacement: str, *asked: needs.Need) -> Rewrite:
    return Rewrite(pattern, replacement, Safety.NUMERICS, _ALONE, needs=(_dense, _VECTOR, *asked), shared=True)


@fusion
class DiagonalMatmul(Expression):
    __doc__ = __doc__

    code = "FUS612"
    name = "diagonal-matmul"
    words = (frozenset({"diag"}), frozenset({"torch"}))
    rewrites = (
        _scaled("either(matmul(diag(d), x), mm(diag(d), x))", "d[:, None] * x", _MATRIX),
        _scaled("either(matmul(x, diag(d)), mm(x, diag(d)))", "x * d"),
    )
    label = "a scaling"
    does = "Replace `{source}` by {label}"
    examples = (
        Example(
            before="""\
import torch


def f(d, x):
    return torch.diag(d) @ x
""",
            after="""\
import torch


def f(d, x):
    return d[:, None] * x
""",
            inputs=((4,), (4, 3)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x):
        return torch.matmul(x, torch.diag(self.scale))
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x):
        return x * self.scale
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    d = torch.zeros(4, 4)\n    return torch.diag(d) @ x\n", "1 dimension"),
        NearMiss(
            "import torch\n\ndef f(d):\n    v = torch.ones(4)\n    return torch.diag(d) @ v\n", "2 to 8 dimensions"
        ),
        NearMiss("import torch\n\ndef f(d, x):\n    return torch.diag(d, 1) @ x\n", ""),
        NearMiss("import torch\n\ndef f(d, x):\n    return torch.diag(d) * x\n", ""),
        NearMiss("import torch\n\ndef f(d, x):\n    return torch.diag(d) + x\n", ""),
        NearMiss("import torch\n\ndef f(d, x):\n    return torch.diag_embed(d) @ x\n", ""),
        NearMiss("import numpy as np\nimport torch\n\ndef f(d, x):\n    return np.diag(d) @ x\n", ""),
        NearMiss("import torch\n\ndef f(d, a):\n    a = a.to_sparse()\n    return torch.diag(d) @ a\n", "sparse"),
    )
