"""`F.binary_cross_entropy(torch.sigmoid(x), t)`: binary cross entropy of a sigmoid, or the same by hand.

In float32 a sigmoid is exactly 1 from x = 17 on. Then the loss of a target 0 is the same for 17 and for 1,000 (by hand:
infinite), and its gradient is 0 (by hand: NaN): where the network is most wrong it learns nothing.
`F.binary_cross_entropy_with_logits` takes `x` itself and stays exact. Also `-(t * log(p) + (1 - t) * log(1 - p))`
with its mean or sum.

## What it saves
Time and memory. On a CPU, float32, 1,000 x 1,000: `binary_cross_entropy(sigmoid(x))` 6.5x forward, 4.5x forward and
backward, 8 -> 4 MB that autograd keeps; by hand 1.4x and 1.6x, 11 -> 0 MB. Where the probabilities are used elsewhere,
too, as in focal losses, the sigmoid stays for them.

## Fix safety
`numerics`: the same function with a true value and gradient where the sigmoid saturates. `binary_cross_entropy` clamps
its logarithms at -100; with logits nothing is clamped. By hand the target may be broadcast, of integers or of truth
values, which the call does not take, and says so when it is run: the title names that assumption.

From `logsigmoid(x)` and `logsigmoid(-x)`, which do not saturate, only that assumption is left.

## Refused when
- something is added to the probabilities in the logarithms, or they are clamped: that is another function;
- the two logarithms are of different probabilities, or weighted otherwise than by `t` and `1 - t`;
- the logarithms themselves are used again;
- the target is a number, or shown to be of integers.

`nn.BCELoss` and models that end in a sigmoid are another matter: FUS505.

Source: `torch.nn.functional.binary_cross_entropy_with_logits`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import computed_from, only_stays
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Assumption, Verdict, without_autocast
from fuselight.fusions.site import Rewrite, Site

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"
_SATURATED = "true gradients where the sigmoid saturates"
_KEPT = only_stays("sigmoid", "the sigmoid stays for its other uses")

_SURE = "either(log(sigmoid(x)), log_sigmoid(x))"
_NOT = "either(log(1 - sigmoid(x)), log(sigmoid(-x)), log1p(-sigmoid(x)), log_sigmoid(-x))"
_LOSS = f"-(t * {_SURE}) - (1 - t) * {_NOT}"
_SUM = f"t * {_SURE} + (1 - t) * {_NOT}"


def _target(site: Site) -> Verdict:
    """The target is a tensor of floating-point numbers in the shape of the logits."""
    target = site.value("t")
    if target is None or site.number("t") is not None or target.kind in ("compare", "constant"):
        return Refusal(f"`{site.text('t')}` is no tensor of floating-point numbers", site.place)
    logits = site.value("x")
    if logits is not None and computed_from(target, logits):
        return Refusal("the target comes from the same logits: an entropy, and no loss of a target", site.place)
    return Assumption(f"`{site.text('t')}` holds one floating-point number for each logit")


def _stable(site: Site) -> Verdict:
    """`logsigmoid` keeps its input's dtype under autocast, where the call is float32."""
    if any(value.kind in ("log_sigmoid", "torch.nn.LogSigmoid") for value in site.found.inner):
        return without_autocast("float32 under autocast")(site)
    return None


def _by_hand(reduction: str, *patterns: str) -> tuple[Rewrite, ...]:
    """The formula with its reduction, in the ways to place the minus."""
    return tuple(
        Rewrite(
            pattern,
            f"binary_cross_entropy_with_logits(x, t{reduction})",
            Safety.NUMERICS,
            _SATURATED,
            needs=(_target, _KEPT, _stable),
            shared=True,
        )
        for pattern in patterns
    )


@fusion
class BceOfSigmoid(Expression):
    __doc__ = __doc__

    code = "FUS504"
    name = "bce-of-sigmoid"
    words = (frozenset({"sigmoid", "Sigmoid", "logsigmoid", "LogSigmoid", "expit"}), frozenset({"torch"}))
    label = "binary_cross_entropy_with_logits"
    rewrites = (
        Rewrite(
            "binary_cross_entropy(sigmoid(x), t, weight=w, reduction=r)",
            "binary_cross_entropy_with_logits(x, t, weight=w, reduction=r)",
            Safety.NUMERICS,
            _SATURATED,
            needs=(_KEPT,),
            shared=True,
            integers=("r",),
        ),
        Rewrite(
            "binary_cross_entropy(squeeze(sigmoid(x), dim=k), t, weight=w, reduction=r)",
            "binary_cross_entropy_with_logits(squeeze(x, dim=k), t, weight=w, reduction=r)",
            Safety.NUMERICS,
            _SATURATED,
            needs=(_KEPT,),
            shared=True,
            integers=("r", "k"),
        ),
        *_by_hand("", f"-mean({_SUM})", f"mean({_LOSS})"),
        *_by_hand(', reduction="sum"', f"-sum({_SUM})", f"sum({_LOSS})"),
        *_by_hand(', reduction="none"', _LOSS),
    )
    examples = (
        Example(
            before=_HEAD
            + """
def f(x, scores):
    p = torch.sigmoid(x)
    return F.binary_cross_entropy(p, scores.sigmoid(), reduction="sum")
""",
            after=_HEAD
            + """
def f(x, scores):
    return F.binary_cross_entropy_with_logits(x, scores.sigmoid(), reduction="sum")
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x, t):
    p = torch.sigmoid(x)
    return -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()
""",
            after=_HEAD
            + """
def f(x, t):
    return F.binary_cross_entropy_with_logits(x, t)
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x, scores):
    t = scores.sigmoid()
    p = torch.sigmoid(x)
    ce = F.binary_cross_entropy(p, t, reduction="none")
    pt = p * t + (1 - p) * (1 - t)
    return (ce * (1 - pt) ** 2).mean()
""",
            after=_HEAD
            + """
def f(x, scores):
    t = scores.sigmoid()
    p = torch.sigmoid(x)
    ce = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    pt = p * t + (1 - p) * (1 - t)
    return (ce * (1 - pt) ** 2).mean()
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x)\n"
            "    return -(t * torch.log(p + 1e-8) + (1 - t) * torch.log(1 - p + 1e-8)).mean()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x).clamp(1e-6, 1 - 1e-6)\n"
            "    return F.binary_cross_entropy(p, t)\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x)\n"
            "    return (t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x)\n"
            "    return -(2 * t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, z, t):\n    p, q = torch.sigmoid(x), torch.sigmoid(z)\n"
            "    return -(t * torch.log(p) + (1 - t) * torch.log(1 - q)).mean()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x)\n"
            "    return -((1 - t) * torch.log(p) + (1 + t) * torch.log(1 - p)).mean()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x)\n    l = torch.log(p)\n"
            "    return -(t * l + (1 - t) * torch.log(1 - p)).mean(), l\n",
            "used again",
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    p = torch.sigmoid(x)\n    p[0] = 0.5\n    return F.binary_cross_entropy(p, t)\n",
            "in between",
        ),
        NearMiss(_HEAD + "def f(x, t):\n    return F.binary_cross_entropy(torch.softmax(x, 1), t)\n", ""),
        NearMiss(_HEAD + "def f(x, t):\n    return F.binary_cross_entropy((torch.tanh(x) + 1) / 2, t)\n", ""),
        NearMiss(
            _HEAD + "def f(x):\n    t = torch.randint(0, 2, x.shape)\n    p = torch.sigmoid(x)\n"
            "    return -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()\n",
            "integers",
        ),
        NearMiss(
            _HEAD + "def f(x):\n    p = torch.sigmoid(x)\n"
            "    return -(p * torch.log(p) + (1 - p) * torch.log(1 - p)).mean()\n",
            "entropy",
        ),
    )
