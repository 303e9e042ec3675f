"""`exp(x) / exp(x).sum(...)`, `x - logsumexp(x)`, `exp(log_softmax(x))`: softmax, or its logarithm, by hand.

Also with the maximum taken off first, `softmax(log_softmax(x))` and `log_softmax(log_softmax(x))`, where the inner one
changes nothing.

## What it saves
Time and memory, on a CPU, float32, 256 x 16,000, forward / forward and backward, and what autograd keeps:
`exp(x) / exp(x).sum(...)` 2.6x / 4.0x, 31 -> 16 MB; `exp(log_softmax(x))` 1.9x / 1.7x, 31 -> 16 MB;
`softmax(log_softmax(x))` 2.2x / 2.9x, 31 -> 16 MB; `x - logsumexp(x)` 1.6x / 1.8x, and here the call keeps its result
where the formula kept `x`: 16 MB more, if `x` is kept by something else anyway.

## Fix safety
`exact`: the same function, and results differ by the rounding of the dtype only. `exp(x) / exp(x).sum(...)` without the
maximum taken off is `numerics`: where `exp(x)` overflows (x above 88 in float32, above 11 in float16) it gives NaN, the
call the softmax; so are `x - log(exp(x).sum(...))`, and the maximum of all rows taken off each (`x - x.max()`): a row
far below it becomes 0 / 0. `x - logsumexp(x)` is, too: under autocast it has the dtype of `x`, the call is float32, and
a file that mentions autocast is refused.

## Refused when
- the sum goes along another dimension than the softmax, over several, or over everything;
- something is added to the sum, or the exponentials are masked before it: that is another function;
- `exp(x)`, or the log-probabilities, are used again;
- two softmaxes go along different dimensions;
- the exponents are squares: a Gaussian window that is normalised;
- the code is a reference, or its parts stand in different branches.

Source: `torch.nn.functional.softmax`, `torch.nn.functional.log_softmax`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import named_dimension, one_dimension
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Need, Verdict, given, same_dimension, without_autocast
from fuselight.fusions.site import Rewrite, Site

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"
_OVERFLOW = "finite where exp(x) overflows"
_FLOAT32 = without_autocast("float32 under autocast")


def _less(maximum: str) -> str:
    """The exponential of `x` less a maximum, with or without its gradient, which is zero."""
    return f"exp(x - either({maximum}, detach(input={maximum})))"


_LESS_ROWS = _less("either(amax(x, dim=m, keepdim=True), item(max(x, dim=m, keepdim=True), 0))")
_LESS_ALL = _less("max(x)")


def _along(dim: int | None) -> Need:
    """The maximum is taken along the dimension of the sum: that with the metavariable `d`, or `dim`."""

    def verdict(site: Site) -> Verdict:
        if dim is None:
            return same_dimension("d", "m", "x")(site)
        return None if site.number("m") == dim else Refusal("the maximum is along another dimension", site.place)

    return verdict


def _no_kernel(site: Site) -> Verdict:
    """The exponents are not the squares of a Gaussian window, which is normalised, and no softmax of anything."""
    value = site.value("x")
    while value is not None and value.kind in ("neg", "mul", "div"):
        squares = [one for one in value.inputs if one.kind in ("pow", "square")]
        if squares:
            return Refusal("a Gaussian kernel that is normalised, and no softmax", site.place)
        inner = [one for one in value.inputs if site.matcher.number(one) is None]
        value = inner[0] if inner else None
    return None


def _over_sums(
    numerator: str,
    pattern: str,
    replacement: str,
    safety: Safety = Safety.EXACT,
    note: str = "",
    along: Callable[[int | None], Need] | None = None,
) -> tuple[Rewrite, ...]:
    """`pattern`, whose `{}` is the sum of `numerator` along one dimension, in the ways to keep that dimension."""
    ways: tuple[tuple[str, int | None, tuple[Need, ...]], ...] = (
        (f"sum({numerator}, dim=d, keepdim=True)", None, (one_dimension("d"),)),
        (f"unsqueeze(sum({numerator}, dim=d), dim=u)", None, (one_dimension("d"), same_dimension("d", "u", "x"))),
        # Without its first dimension a sum broadcasts along it.
        (f"sum({numerator}, dim=0)", 0, ()),
    )
    return tuple(
        Rewrite(
            pattern.format(total),
            replacement if dim is None else replacement.replace("dim=d", f"dim={dim}"),
            safety,
            note,
            needs=(*needs, _no_kernel) if along is None else (*needs, given("m"), along(dim)),
            integers=("d", "u", "m"),
        )
        for total, dim, needs in ways
    )


@fusion
class SoftmaxByHand(Expression):
    __doc__ = __doc__

    code = "FUS514"
    name = "softmax-by-hand"
    words = (frozenset({"exp", "logsumexp", "log_softmax", "LogSoftmax"}), frozenset({"torch"}))
    rewrites = (
        *_over_sums(_LESS_ROWS, f"{_LESS_ROWS} / {{}}", "softmax(x, dim=d)", along=_along),
        *_over_sums(
            _LESS_ALL,
            f"{_LESS_ALL} / {{}}",
            "softmax(x, dim=d)",
            Safety.NUMERICS,
            "finite where a whole row lies far below the maximum",
        ),
        *_over_sums("exp(x)", "exp(x) / {}", "softmax(x, dim=d)", Safety.NUMERICS, _OVERFLOW),
        Rewrite(
            "x - logsumexp(x, dim=d, keepdim=True)",
            "log_softmax(x, dim=d)",
            needs=(one_dimension("d"), _FLOAT32),
            integers=("d",),
        ),
        Rewrite(
            "x - unsqueeze(logsumexp(x, dim=d), dim=u)",
            "log_softmax(x, dim=d)",
            needs=(one_dimension("d"), same_dimension("d", "u", "x"), _FLOAT32),
            integers=("d", "u"),
        ),
        Rewrite("x - logsumexp(x, dim=0)", "log_softmax(x, dim=0)", needs=(_FLOAT32,)),
        *_over_sums("exp(x)", "x - log({})", "log_softmax(x, dim=d)", Safety.NUMERICS, _OVERFLOW),
        Rewrite(
            "exp(log_softmax(x, dim=d, dtype=t))",
            "softmax(x, dim=d, dtype=t)",
            needs=(named_dimension("d", "log_softmax"),),
            integers=("d", "t"),
        ),
        Rewrite(
            "softmax(log_softmax(x, dim=d), dim=d)",
            "softmax(x, dim=d)",
            needs=(named_dimension("d", "log_softmax"),),
            integers=("d",),
        ),
        Rewrite(
            "log_softmax(log_softmax(x, dim=d), dim=d)",
            "log_softmax(x, dim=d)",
            needs=(named_dimension("d", "log_softmax"),),
            integers=("d",),
        ),
    )
    examples = (
        Example(
            before=_HEAD + "\ndef f(x):\n    return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)\n",
            after=_HEAD + "\ndef f(x):\n    return torch.softmax(x, dim=-1)\n",
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x):
    # for stability
    shifted = x - x.max(dim=1, keepdim=True).values
    e = shifted.exp()
    return e / e.sum(dim=1, keepdim=True)
""",
            after=_HEAD
            + """
def f(x):
    # for stability
    return torch.softmax(x, dim=1)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before=_HEAD + "\ndef f(x):\n    return x - torch.logsumexp(x, dim=-1, keepdim=True)\n",
            after=_HEAD + "\ndef f(x):\n    return torch.log_softmax(x, dim=-1)\n",
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD + "\ndef f(x):\n    return F.log_softmax(x, dim=-1).exp()\n",
            after=_HEAD + "\ndef f(x):\n    return torch.softmax(x, dim=-1)\n",
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        NearMiss(_HEAD + "def f(x):\n    return torch.exp(x) / torch.exp(x).sum()\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return torch.exp(x) / torch.exp(x).sum(-1)\n", ""),
        NearMiss(
            _HEAD + "def f(x):\n    return torch.exp(x) / torch.exp(x).sum((1, 2), keepdim=True)\n", "one dimension"
        ),
        NearMiss(_HEAD + "def f(x):\n    return torch.exp(x) / (torch.exp(x).sum(-1, keepdim=True) + 1e-8)\n", ""),
        NearMiss(_HEAD + "def f(x, y):\n    return torch.exp(x) / torch.exp(y).sum(-1, keepdim=True)\n", ""),
        NearMiss(
            _HEAD + "def f(x, m):\n    e = torch.exp(x) * m\n    return e / e.sum(-1, keepdim=True)\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x):\n    e = x.exp()\n    s = e.sum(-1, keepdim=True)\n    return e / s, s\n", "used again"
        ),
        NearMiss(_HEAD + "def f(x):\n    return x - torch.logsumexp(x, dim=-1)\n", ""),
        NearMiss(_HEAD + "def f(x, y):\n    return y - torch.logsumexp(x, dim=-1, keepdim=True)\n", ""),
        NearMiss(_HEAD + "def f(x):\n    l = F.log_softmax(x, dim=-1)\n    return (l.exp() * l).sum()\n", "used again"),
        NearMiss(_HEAD + "def f(x):\n    return F.softmax(F.log_softmax(x, dim=1), dim=0)\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return F.softmax(F.softmax(x, dim=1), dim=1)\n", ""),
        NearMiss(_HEAD + "def f(x):\n    return F.log_softmax(x).exp()\n", "no dimension"),
        NearMiss(_HEAD + "def f(x, m):\n    e = torch.exp(x) * m\n    return e / e.sum(0)\n", ""),
    )
