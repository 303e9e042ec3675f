"""`((a - b) ** 2).mean()`: a regression loss by hand: `mse_loss`, `l1_loss`, `huber_loss`, `smooth_l1_loss`.

Also `(a - b).abs().mean()`, and `torch.where(d < delta, 0.5 * d ** 2, delta * (d - 0.5 * delta))` with `d` the absolute
difference. Divided by `delta` that is `smooth_l1_loss(beta=delta)`; as it stands it is `huber_loss(delta=delta)`.

## What it saves
On a CPU, float32, 3 million elements, forward / forward and backward, and what autograd keeps: Huber 7.2x / 8.6x,
14 -> 0 MB; the mean of squares 1.5x / 1.5 to 2.1x, 12 -> 0 MB. The mean of absolute values: nothing (1.0x, 11 MB).

## Fix safety
`exact` where both are shown to be tensors, else `numerics` with that assumption. Where the two have different shapes
they broadcast as before, and the call warns. In the Huber losses they have to be of one dtype, or the backward pass
raises; the title says so. Under autocast the mean of absolute values, and that of `d * d`, is float32 where it was of
half precision, and the Huber losses have another dtype: the title says so, and a file that mentions autocast is
refused.

## Refused when
- one of the two is a mean of the other (a variance), or a piece of the same tensor (total variation);
- one of the two is a number: the call takes tensors;
- the difference or its square is used again;
- the mean is over some dimensions only;
- absolute differences are divided by something else: a relative change, and no loss;
- the constants of the pieces are not those of one of the two losses;
- the file may compute with numpy.

Source: `torch.nn.functional.mse_loss`, `l1_loss`, `huber_loss`, `smooth_l1_loss`, torch 2.13.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.needs import Need, Verdict, tensor, without_autocast
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.values import Value

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"
_HALF = "float32 under autocast"
_OTHER = "another dtype under autocast"
_REDUCTIONS = (("mean", ""), ("sum", ', reduction="sum"'))


def _two_tensors(site: Site) -> Verdict:
    """Both are tensors, and not one and the same: no variance, no differences of neighbours."""
    one, other = site.value("a"), site.value("b")
    if one is None or other is None:
        return Refusal("one of the two is a number", site.place)
    if _origins(one) & _origins(other):
        return Refusal("both come from one tensor: a variance, or differences within it, and no loss", site.place)
    return tensor("a", "b", otherwise="both are tensors of one shape")(site)


_PIECES = frozenset(
    "mean sum amax amin var std reshape flatten swapaxes permute squeeze unsqueeze broadcast_to unpack chunk split"
    " unbind".split()
)
_PIECES_BY_METHOD = frozenset(
    f"method {name}" for name in "detach roll view expand expand_as clone contiguous narrow select median".split()
)


def _origins(value: Value) -> set[Value]:
    """The tensors of which `value` is a piece, a mean or a view, itself among them."""
    found: set[Value] = set()
    while True:
        found.add(value)
        piece = value.kind in _PIECES or value.kind in _PIECES_BY_METHOD or value.kind == "torch.roll"
        cut = value.kind == "getitem" and isinstance(value.node, ast.Subscript) and _cuts(value.node.slice)
        if not (piece or cut) or not value.inputs:
            return found
        value = value.inputs[0]


def _cuts(index: ast.expr) -> bool:
    """Whether a subscript takes a stretch of a dimension, `x[1:]`; an element may be something of its own."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return any(isinstance(one, ast.Slice) and (one.lower is not None or one.upper is not None) for one in parts)


def _squares(site: Site) -> Verdict:
    """Under autocast `** 2` is float32, as the call is; a product, and `square`, are what their input is."""
    if any(value.kind == "pow" for value in site.found.inner):
        return None
    return without_autocast(_HALF)(site)


def _absolute_loss(site: Site) -> Verdict:
    """It is no relative difference, `(a - b).abs().mean() / b.abs().mean()`: as a loss the call only saves words."""
    quotients = [use.by for use in site.root.uses if use.by is not None and use.by.kind == "div"]
    for quotient in quotients:
        above, *below = quotient.inputs
        if above is site.root and any(site.matcher.number(one) is None for one in below):
            return Refusal("a relative difference, and no loss", site.place)
    return None


def _constants(huber: bool) -> Need:
    """The pieces `c * d ** 2` and `k * |d| - h`, divided at `n`, make one smooth function."""

    def verdict(site: Site) -> Verdict:
        n, c, h = site.number("n"), site.number("c"), site.number("h")
        k = site.number("k") if huber else 1.0
        if n is None or c is None or h is None or k is None or n <= 0:
            return Refusal("the constants are not shown", site.place)
        wanted = (0.5, n, 0.5 * n * n) if huber else (0.5 / n, 1.0, 0.5 * n)
        if all(math.isclose(*pair, rel_tol=1e-9) for pair in zip((c, k, h), wanted, strict=True)):
            return None
        return Refusal("the two pieces are not those of a Huber loss", site.place)

    return verdict


_SMALL = "either(n > abs(a - b), n >= abs(a - b))"
_SQUARE = "either(a - b, abs(a - b)) ** 2"
_LARGE = "either(abs(a - b) > n, abs(a - b) >= n)"


def _pieces(near: str, far: str, call: str, scalars: tuple[str, ...], *needs: Need) -> Iterator[Rewrite]:
    """`where` of the two pieces, in either order, with and without a reduction."""
    wheres = f"either(where({_SMALL}, {near}, {far}), where({_LARGE}, {far}, {near}))"
    for reduction, argument in (*_REDUCTIONS, ("", ', reduction="none"')):
        yield Rewrite(
            f"{reduction}({wheres})" if reduction else wheres,
            f"{call[:-1]}{argument})",
            needs=(*needs, _two_tensors, without_autocast(f"both of one dtype; {_OTHER}")),
            scalars=scalars,
        )


@fusion
class RegressionLossByHand(Expression):
    __doc__ = __doc__

    code = "FUS512"
    name = "regression-loss-by-hand"
    words = (frozenset({"mean", "sum", "where"}), frozenset({"torch"}))
    rewrites = (
        *(
            Rewrite(f"{reduction}((a - b) ** 2)", f"mse_loss(a, b{argument})", needs=(_two_tensors, _squares))
            for reduction, argument in _REDUCTIONS
        ),
        *(
            Rewrite(
                f"{reduction}(abs(a - b))",
                f"l1_loss(a, b{argument})",
                needs=(_two_tensors, _absolute_loss, without_autocast(_HALF)),
            )
            for reduction, argument in _REDUCTIONS
        ),
        *_pieces(f"0.5 * {_SQUARE}", "n * (abs(a - b) - 0.5 * n)", "huber_loss(a, b, delta=n)", ("n",)),
        *_pieces(f"0.5 * {_SQUARE}", "n * abs(a - b) - 0.5 * n ** 2", "huber_loss(a, b, delta=n)", ("n",)),
        *_pieces(f"0.5 * {_SQUARE} / n", "abs(a - b) - 0.5 * n", "smooth_l1_loss(a, b, beta=n)", ("n",)),
        *_pieces(
            f"c * {_SQUARE}",
            "k * abs(a - b) - h",
            "huber_loss(a, b, delta=n)",
            ("n", "c", "k", "h"),
            _constants(True),
        ),
        *_pieces(
            f"c * {_SQUARE}", "abs(a - b) - h", "smooth_l1_loss(a, b, beta=n)", ("n", "c", "h"), _constants(False)
        ),
    )
    examples = (
        Example(
            before=_HEAD
            + """
def f(output, target):
    return ((output - target) ** 2).mean()
""",
            after=_HEAD
            + """
def f(output, target):
    return F.mse_loss(output, target)
""",
            inputs=((4, 5), (4, 5)),
        ),
        Example(
            before=_HEAD
            + """
def f(output, target):
    d = output - target
    # linear far away
    far = d.abs()
    return torch.where(far < 2.0, 0.5 * d ** 2, 2.0 * (far - 1.0)).mean()
""",
            after=_HEAD
            + """
def f(output, target):
    # linear far away
    return F.huber_loss(output, target, delta=2.0)
""",
            inputs=((4, 5), (4, 5)),
        ),
    )
    near_misses = (
        NearMiss(_HEAD + "def f(x):\n    return ((x - x.mean()) ** 2).mean()\n", "one tensor"),
        NearMiss(
            _HEAD + "def f(x):\n    m = x.mean(0, keepdim=True)\n    return ((x - m) ** 2).mean()\n", "one tensor"
        ),
        NearMiss(_HEAD + "def f(x):\n    return (x[1:] - x[:-1]).abs().mean()\n", "one tensor"),
        NearMiss(_HEAD + "def f(x):\n    return ((x - 1) ** 2).mean()\n", ""),
        NearMiss(_HEAD + "def f(x, target=0.9):\n    return ((x - target) ** 2).mean()\n", "no tensor"),
        NearMiss(_HEAD + "def f(a, b):\n    return ((a - b) ** 2).mean(dim=1)\n", ""),
        NearMiss(_HEAD + "def f(a, b):\n    return ((a + b) ** 2).mean()\n", ""),
        NearMiss(_HEAD + "def f(a, b):\n    return ((a - b) ** 3).mean()\n", ""),
        NearMiss(_HEAD + "def f(a, b):\n    d = a - b\n    return (d ** 2).mean(), d\n", "used again"),
        NearMiss("import numpy as np\nimport torch\n\n\ndef f(a, b):\n    return ((a - b) ** 2).mean()\n", "numpy"),
        NearMiss(
            _HEAD
            + "def f(a, b):\n    d = (a - b).abs()\n    return torch.where(d < 2.0, 0.5 * d ** 2, d - 0.5).mean()\n",
            "pieces",
        ),
        NearMiss(
            _HEAD + "def f(a, b):\n    d = (a - b).abs()\n"
            "    return torch.where(d > 2.0, 0.5 * d ** 2, 2.0 * (d - 1.0)).mean()\n",
            "",
        ),
        NearMiss(_HEAD + "def test_mse(a, b):\n    return ((a - b) ** 2).mean()\n", "reference"),
    )
