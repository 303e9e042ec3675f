"""`p * (log(p) - log_q)`: the Kullback-Leibler divergence, by hand.

`F.kl_div(log_q, p)` is this product, with the log-probabilities *first* and the target second: the divergence of p from
q. With `exp(log_p)`, or `softmax(z)` beside `log_softmax(z)`, it is `F.kl_div(log_q, log_p, log_target=True)`.

A sum over everything becomes `reduction="sum"`; of any other reduction only the product becomes a call, with
`reduction="none"`, and the code goes on to sum over the classes and to average over the batch itself. So nothing has to
be known of the shapes, and nobody gets `reduction="mean"`, which divides by the number of classes, too.

## What it saves
Not time. On a CPU, float32, 256 x 4,000: `p * (log(p) - log_q)` becomes *slower*, 0.34x forward and 0.25x forward and
backward (the call guards the logarithm of 0), and keeps 4 MB less for the gradient of `p`; with `log_target=True`
neither changes (1.0x). What is won is 0 where p is 0, and one argument order to check instead of a formula.

## Fix safety
`numerics`: a class of probability 0 counts 0; by hand it is 0 * -inf, NaN, and makes the whole loss NaN. With
`log_target=True` `exact` from `exp(log_p)`, and from `softmax(z)` with `log_softmax(z)` up to the rounding. That all
are tensors is assumed where the source does not show it.

## Refused when
- the factor is not the very probability whose logarithm is taken: a cross entropy, or the other divergence's factor;
- something is added to a probability before its logarithm: that is another function;
- the logarithm or the softmax is used again, as for an entropy;
- neither logarithm is shown to be one of probabilities: a softmax, `log(...)`, `log_softmax(...)`, ... .

Source: `torch.nn.functional.kl_div`, torch 2.13.
"""

from __future__ import annotations

import re

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import named_dimension
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Verdict, tensor
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.values import Value

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"
_ZERO = "0 and not NaN where a probability is 0; slower on a CPU"


_NAMED = re.compile(r"log_?(p|q|prob)|prob|softmax", re.IGNORECASE)


def _of_probabilities(site: Site) -> Verdict:
    """Something says that these are probabilities, and no deviance of other numbers."""
    named = any(_NAMED.search(site.text(name)) for name in ("p", "q", "a"))
    made = any(_is_probability(value) for value in map(site.value, ("p", "q", "a", "m")) if value is not None)
    if site.is_given("z") or named or made:
        return None
    return Refusal("nothing shows that these are probabilities", site.place)


def _is_probability(value: Value, depth: int = 4) -> bool:
    if value.kind in ("softmax", "log_softmax", "log", "torch.nn.Softmax", "torch.nn.LogSoftmax", "logsumexp"):
        return True
    return depth > 0 and any(_is_probability(one, depth - 1) for one in value.inputs)


def _reduced(product: str, negative: str, call: str, **options: object) -> tuple[Rewrite, Rewrite]:
    """The product summed over everything, and the product alone; `negative` is it with the other sign."""
    return (
        Rewrite(f"either(sum({product}), -sum({negative}))", f"kl_div({call.format('sum')})", **options),  # pyright: ignore[reportArgumentType]
        Rewrite(product, f"kl_div({call.format('none')})", **options),  # pyright: ignore[reportArgumentType]
    )


@fusion
class KlDivergenceByHand(Expression):
    __doc__ = __doc__

    code = "FUS511"
    name = "kl-divergence-by-hand"
    words = (frozenset({"log", "exp", "log_softmax", "LogSoftmax"}), frozenset({"torch"}))
    label = "kl_div"
    rewrites = (
        *_reduced(
            "softmax(z, dim=d) * (log_softmax(z, dim=d) - q)",
            "softmax(z, dim=d) * (q - log_softmax(z, dim=d))",
            'q, log_softmax(z, dim=d), reduction="{}", log_target=True',
            needs=(named_dimension("d", "softmax"), tensor("q")),
            integers=("d",),
        ),
        *_reduced(
            "exp(a) * (a - q)",
            "exp(a) * (q - a)",
            'q, a, reduction="{}", log_target=True',
            needs=(_of_probabilities, tensor("q", "a")),
        ),
        *(
            one
            for product, negative in (
                ("p * (log(p) - q)", "p * (q - log(p))"),
                ("p * log(p) - p * q", "p * q - p * log(p)"),
            )
            for one in _reduced(
                product,
                negative,
                'q, p, reduction="{}"',
                safety=Safety.NUMERICS,
                note=_ZERO,
                needs=(_of_probabilities, tensor("p", "q")),
            )
        ),
        *_reduced(
            "p * log(p / m)",
            "p * log(m / p)",
            'log(m), p, reduction="{}"',
            safety=Safety.NUMERICS,
            note=_ZERO,
            needs=(_of_probabilities, tensor("p", "m")),
        ),
    )
    examples = (
        Example(
            before=_HEAD
            + """
def f(x, z):
    p, log_q = F.softmax(z, dim=-1), F.log_softmax(x, dim=-1)
    return (p * (p.log() - log_q)).sum()
""",
            after=_HEAD
            + """
def f(x, z):
    p, log_q = F.softmax(z, dim=-1), F.log_softmax(x, dim=-1)
    return F.kl_div(log_q, p, reduction="sum")
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x, z):
    log_q = F.log_softmax(x, dim=-1)
    log_p = F.log_softmax(z, dim=-1)
    # averaged over the batch
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()
""",
            after=_HEAD
            + """
def f(x, z):
    log_q = F.log_softmax(x, dim=-1)
    log_p = F.log_softmax(z, dim=-1)
    # averaged over the batch
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1).mean()
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        NearMiss(
            _HEAD + "def f(x, z):\n    p, q = F.softmax(z, -1), F.log_softmax(x, -1)\n    return (p * q).sum()\n", ""
        ),
        NearMiss(
            _HEAD + "def f(x, z):\n    p, q = F.softmax(z, -1), F.softmax(x, -1)\n"
            "    return (q * (p.log() - q.log())).sum()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, z):\n    p, q = F.softmax(z, -1), F.log_softmax(x, -1)\n"
            "    return (p * ((p + 1e-8).log() - q)).sum()\n",
            "",
        ),
        NearMiss(
            _HEAD + "def f(x, z):\n    p, q = F.softmax(z, -1), F.log_softmax(x, -1)\n    l = p.log()\n"
            "    return (p * (l - q)).sum(), l\n",
            "used again",
        ),
        NearMiss(_HEAD + "def f(x):\n    p = F.softmax(x, -1)\n    return -(p * p.log()).sum()\n", ""),
        NearMiss(_HEAD + "def f(m, v):\n    return -0.5 * (1 + v - m ** 2 - v.exp()).sum()\n", ""),
        NearMiss(_HEAD + "def f(y, mu):\n    return (y * (torch.log(y) - mu)).sum()\n", "probabilities"),
        NearMiss(_HEAD + "def f(x, z):\n    return (F.softmax(z, -1) * (F.log_softmax(z, 0) - x)).sum()\n", ""),
        NearMiss(
            _HEAD + "def f(x, log_p):\n    p = log_p.exp()\n    return (p * (log_p - x)).sum(), p\n", "used again"
        ),
        NearMiss(_HEAD + "def f(log_p):\n    return (log_p.exp() * (log_p - 0.5)).sum()\n", ""),
    )
