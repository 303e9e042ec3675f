"""`x / x.norm(dim=-1, keepdim=True)`: vectors of length one, and `sqrt(sum(x ** 2))`, the length itself, spelled out.

`F.normalize` is the same quotient with the norm held away from zero; `torch.linalg.vector_norm` the same root with a
gradient at zero.

## What it saves
Nothing in time or memory for the quotient: on a CPU 1.00x forward, 0.89x forward and backward, 0.02 MB to 0.03 MB kept
for the backward pass. It saves the NaN of a vector of zeros, which spreads to everything behind it. The length by one
call, on a CPU and a float32 tensor of 3 million elements: 2.1x forward, 0.81x forward and backward, the same memory.

## Fix safety
`exact` where the norm is held at `eps` or more by `clamp(min=eps)`: that is what the call does, with the same `eps`.
Else `numerics`, and the title says why:
- without `eps` a vector of zeros gives NaN by hand, and zeros by the call; vectors with a norm below 1e-12 come out
  shorter than one;
- where the norm is `sqrt(sum(x ** 2))` its gradient for a vector of zeros is NaN by hand, and zero by the call; and in
  float16 the squares of values above 256 overflow by hand.

`F.normalize` is always told the dimension: its default is 1.

## Refused when
- `eps` is added to the norm, or to the squares under the root: other functions;
- the norm is that of the whole tensor (`x / x.norm()`), of several dimensions, or of another tensor;
- the dimension is not shown to be one number;
- the length is spelled out for an exporter, in a file that speaks of `executorch`;
- the norm is used again, or `x` is rebound or written to in between.

Source: `torch.nn.functional.normalize` and `torch.linalg.vector_norm`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Verdict
from fuselight.fusions.norms_by_hand import dimensions_of, refused, wide
from fuselight.fusions.site import Rewrite, Site

_ZERO = "zeros and not NaN for vectors of zeros, vectors with a norm below 1e-12 stay shorter than one"
_GRADIENT = "the gradient for vectors of zeros is no longer NaN"

_EUCLIDEAN = (
    'norm(x, p=either(2, "fro"), dim=d, keepdim=True)',
    "vector_norm(x, dim=d, keepdim=True)",
    'unsqueeze(norm(x, p=either(2, "fro"), dim=d), d)',
    "unsqueeze(vector_norm(x, dim=d), d)",
)
_ROOT = "sqrt(either(sum(x ** 2, dim=d, keepdim=True), unsqueeze(sum(x ** 2, dim=d), d)))"
_ABSOLUTE = (
    "sum(abs(x), dim=d, keepdim=True)",
    "norm(x, p=1, dim=d, keepdim=True)",
    "vector_norm(x, ord=1, dim=d, keepdim=True)",
)
_OTHER = ("norm(x, p=p, dim=d, keepdim=True)", "vector_norm(x, ord=p, dim=d, keepdim=True)")


def _one_dimension(site: Site) -> Verdict:
    """The norm is that of vectors: of one dimension that the source shows."""
    dims = dimensions_of(site, site.found.bound.get("d"))
    if dims is not None and len(dims) > 1:
        return Refusal("the norm is over several dimensions", site.place)
    if site.number("d") is None:  # a tuple of one dimension is none, either: the call takes a number
        return Refusal("the dimension is not shown as a number", site.place)
    return None


def _order(site: Site) -> Verdict:
    """The order of the norm is a number above zero; 1 and 2 have patterns of their own."""
    order = site.number("p")
    if order is None or order <= 0:
        return Refusal("the order of the norm is not shown", site.place)
    return None


def _not_for_an_exporter(site: Site) -> Verdict:
    """An exporter may not know the one call, and the root be spelled out for it."""
    if site.module.mentions.has_word("executorch", "exportable"):
        return Refusal("the file is spelled for an exporter, which may not know the one call", site.place)
    return None


def _rewrites() -> Iterator[Rewrite]:
    norm, absolute, other = (f"either({', '.join(one)})" for one in (_EUCLIDEAN, _ABSOLUTE, _OTHER))
    eps, one = ("eps",), (_one_dimension,)
    for length, extra, order, bound in (
        (norm, (), "", ()),
        (_ROOT, (wide("x"),), "", ()),
        (absolute, (), "p=1, ", ()),
        (other, (_order,), "p=p, ", ("p",)),
    ):
        integers = ("d", *bound)
        clamped = (Safety.NUMERICS, _GRADIENT) if length is _ROOT else (Safety.EXACT, "")
        call = f"normalize(x, {order}dim=d, eps=eps)"
        yield Rewrite(
            f"x / clamp({length}, min=eps)", call, *clamped, needs=(*one, *extra), scalars=eps, integers=integers
        )
        call = f"normalize(x, {order}dim=d)"
        yield Rewrite(f"x / {length}", call, Safety.NUMERICS, _ZERO, needs=(*one, *extra), integers=integers)
    any_norm = f"either({', '.join((*_EUCLIDEAN, _ROOT, *_ABSOLUTE))})"
    for pattern, reason in (
        (f"x / ({any_norm} + eps)", "eps is added to the norm: another function"),
        (
            "x / sqrt(either(sum(x ** 2, dim=d, keepdim=True), unsqueeze(sum(x ** 2, dim=d), d)) + eps)",
            "eps is added to the squares: another function",
        ),
    ):
        yield Rewrite(pattern, "normalize(x, dim=d)", needs=(refused(reason),), scalars=eps, integers=("d",))
    yield Rewrite(
        "sqrt(sum(x ** 2, dim=d, keepdim=k))",
        "vector_norm(x, dim=d, keepdim=k)",
        Safety.NUMERICS,
        _GRADIENT,
        needs=(_not_for_an_exporter, wide("x")),
        integers=("d", "k"),
    )


def _near(expression: str, reason: str = "") -> NearMiss:
    return NearMiss(f"import torch\n\ndef f(x, y):\n    return {expression}\n", reason)


@fusion
class SpelledOutNormalize(Expression):
    __doc__ = __doc__

    code = "FUS411"
    name = "spelled-out-normalize"
    words = (frozenset({"norm", "vector_norm", "sum"}), frozenset({"torch"}))
    rewrites = tuple(_rewrites())
    examples = (
        Example(
            before="""\
import torch


def f(x):
    norm = torch.norm(x, 2, -1, keepdim=True)  # of each row
    return x / norm.clamp(min=1e-8)
""",
            after="""\
import torch


def f(x):
    # of each row
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-8)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8)

    def forward(self, x):
        x = F.relu(self.fc(x)) + 1
        x = x / x.norm(dim=-1, keepdim=True)
        return x @ x.transpose(1, 2)
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8)

    def forward(self, x):
        x = F.relu(self.fc(x)) + 1
        x = F.normalize(x, dim=-1)
        return x @ x.transpose(1, 2)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(a, b):
    return torch.sqrt(((a - b) ** 2).sum(dim=-1))
""",
            after="""\
import torch


def f(a, b):
    return torch.linalg.vector_norm(a - b, dim=-1)
""",
            inputs=((2, 5, 16), (2, 5, 16)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        _near("x / x.norm()"),
        _near("x / x.norm(dim=-1)"),
        _near("x / y.norm(dim=-1, keepdim=True)"),
        _near("x / (x.norm(dim=-1, keepdim=True) + 1e-8)", "eps is added to the norm"),
        _near("x / torch.sqrt((x**2).sum(-1, keepdim=True) + 1e-8)", "eps is added to the squares"),
        _near("x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-8)", "eps is added to the squares"),
        _near("x / x.norm(dim=(1, 2), keepdim=True)", "over several dimensions"),
        _near("x / x.norm(dim=y, keepdim=True)", "dimension is not shown"),
        _near("x / x.norm(p=y, dim=-1, keepdim=True)", "order of the norm is not shown"),
        _near("x / x.sum(-1, keepdim=True)"),
        _near("x / x.norm(dim=-1, keepdim=True).clamp(max=1.0)"),
        _near("x / x.norm(dim=-1, keepdim=True).clamp(min=y)", "is a number"),
        _near("x * x.norm(dim=-1, keepdim=True)"),
        _near("torch.sqrt((x**2).sum(-1) + 1e-8)"),
        _near("torch.sqrt((x * y).sum(-1))"),
        _near("torch.sqrt((x**2).mean(-1))"),
        NearMiss(
            "import torch\n\ndef f(x):\n    n = x.norm(dim=-1, keepdim=True)\n    return x / n, n\n", "used again"
        ),
        NearMiss(
            "import torch\n\ndef f(x):\n    n = x.norm(dim=-1, keepdim=True)\n    x = x + 1\n    return x / n\n",
            "",
        ),
    )
