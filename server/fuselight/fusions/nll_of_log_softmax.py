"""`F.nll_loss(F.log_softmax(x, dim=1), y)`: cross entropy in two calls.

`F.cross_entropy` takes the logits, and computes just these two. From `log(softmax(x))` it also mends the logarithm:
see FUS501.

## What it saves
A call. `nll_loss(log_softmax(x))` takes as much time and memory as `cross_entropy` (1.0x on a CPU): the gain is that
nobody can feed it probabilities, or the log-probabilities of another dimension. `nll_loss(log(softmax(x)))`: 1.4x
forward, 1.4x forward and backward, float32, 256 x 16,000, and half of what autograd keeps (31 -> 16 MB).

## Fix safety
`exact`: the same function, which torch itself computes in these two steps. From `log(softmax(x))` it is `numerics`:
finite where a probability underflows to 0 (then the source's loss is infinite and its gradient NaN). Probabilities
that are used elsewhere, too, stay.

## Refused when
- the softmax is over another dimension than that of the classes, the second one of the logits, or that is not
  shown: of `dim=-1` it must be shown that the logits have two dimensions;
- the softmax names no dimension;
- the log-probabilities are used again: `cross_entropy` would compute them a second time;
- the loss has the deprecated arguments `size_average` or `reduce`.

`nn.NLLLoss` and models that end in `log_softmax` are another matter: FUS505.

Source: `torch.nn.functional.cross_entropy`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import named_dimension, only_stays
from fuselight.fusions.matching import Operand, dtype_of
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Verdict, shown_rank
from fuselight.fusions.site import Rewrite, Site

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"


def _over_classes(site: Site) -> Verdict:
    """The softmax is over the dimension in which `nll_loss` looks for the classes."""
    dim, logits, target = site.number("d"), site.value("x"), site.value("y")
    if dim is None or logits is None or target is None:
        return Refusal("the dimension of the softmax is not shown", site.place)
    rank, behind = shown_rank(site, logits), shown_rank(site, target).exact
    exact = rank.exact if rank.exact is not None or behind is None else behind + 1
    if exact is not None:
        wrapped = dim + exact if dim < 0 else dim
        if wrapped == (0 if exact == 1 else 1):
            return None
    elif dim == 1:
        return None
    elif dim == -1:
        return Refusal("it is not shown that the logits have two dimensions, the last one the classes", site.place)
    return Refusal("the softmax is over another dimension than that of the classes", site.place)


def _single_precision(site: Site) -> Verdict:
    """The softmax names the dtype that it computes in: `.to(...)` of the logits does the same."""
    bound = site.found.bound.get("t")
    if not isinstance(bound, Operand) or dtype_of(bound.value) is None:
        return Refusal("the dtype of the softmax is not shown", site.place)
    return None


_LOSS = "nll_loss({}, y, weight=w, ignore_index=i, reduction=r)"
_CALL = "cross_entropy({}, y, weight=w, ignore_index=i, reduction=r)"
_STAYS = "the softmax stays for its other uses"
_INTEGERS = ("y", "d", "i", "r", "t")


@fusion
class NllOfLogSoftmax(Expression):
    __doc__ = __doc__

    code = "FUS502"
    name = "nll-of-log-softmax"
    words = (frozenset({"nll_loss"}), frozenset({"softmax", "log_softmax", "LogSoftmax", "Softmax"}))
    rewrites = (
        Rewrite(
            _LOSS.format("log_softmax(x, dim=d)"),
            _CALL.format("x"),
            needs=(named_dimension("d", "softmax"), _over_classes),
            integers=_INTEGERS,
        ),
        Rewrite(
            _LOSS.format("log_softmax(x, dim=d, dtype=t)"),
            _CALL.format("x.to(t)"),
            needs=(named_dimension("d", "softmax"), _single_precision, _over_classes),
            integers=_INTEGERS,
        ),
        Rewrite(
            _LOSS.format("log(softmax(x, dim=d))"),
            _CALL.format("x"),
            Safety.NUMERICS,
            "finite where a probability underflows to 0",
            needs=(named_dimension("d", "softmax"), _over_classes, only_stays("softmax", _STAYS)),
            shared=True,
            integers=_INTEGERS,
        ),
    )
    examples = (
        Example(
            before=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    return F.nll_loss(F.log_softmax(x, dim=1), y)
""",
            after=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    return F.cross_entropy(x, y)
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.EXACT,
        ),
        Example(
            before=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    logp = torch.log(torch.softmax(x, dim=1))  # of each class
    return F.nll_loss(logp, y, reduction="sum")
""",
            after=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    # of each class
    return F.cross_entropy(x, y, reduction="sum")
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x, dim=-1), y)\n", "not shown"),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x, dim=0), y)\n", "another dimension"),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x, dim=2), y)\n", "another dimension"),
        NearMiss(
            _HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x.view(2, 3, -1), dim=-1), y)\n",
            "another dimension",
        ),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x), y)\n", "no dimension"),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.softmax(x, dim=1), y)\n", ""),
        NearMiss(
            _HEAD + "def f(x, y):\n    l = F.log_softmax(x, dim=1)\n    return F.nll_loss(l, y), l\n", "used again"
        ),
        NearMiss(
            _HEAD + "def f(x, y):\n    l = torch.log(F.softmax(x, dim=1))\n    return F.nll_loss(l, y), l\n",
            "used again",
        ),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x, dim=1), y, size_average=False)\n", ""),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(torch.log(F.softmax(x, dim=1) + 1e-8), y)\n", ""),
        NearMiss(_HEAD + "def f(x, y):\n    return F.nll_loss(F.log_softmax(x, dim=1) * 2, y)\n", ""),
    )
