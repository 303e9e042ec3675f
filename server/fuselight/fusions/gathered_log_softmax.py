"""`log_softmax(x, -1).gather(-1, y.unsqueeze(-1))`: all log-probabilities computed, few of them read.

The log-probability of a token is its logit less the `logsumexp` of all: `x.gather(-1, y.unsqueeze(-1))` less
`x.logsumexp(-1, keepdim=True)`. No tensor of all log-probabilities is made: reinforcement learning and preference
optimisation score whole sequences over large vocabularies this way.

## What it saves
Memory, for time. On a CPU, float32, 256 x 16,000: it is *slower*, 0.7x forward and 0.5 to 0.7x forward and backward,
and autograd keeps 16 MB less. That holds where `x` is kept anyway, as by a name that the function goes on to hold;
where nobody else keeps `x`, `logsumexp` does, and nothing is saved.

## Fix safety
`numerics`: in float32 results differ by the rounding only; in bfloat16 and float16 the logit and the `logsumexp` are
each rounded before they are subtracted, and the difference loses digits where both are large. An index with fewer rows
than the logits, of which `gather` reads the first ones, would no longer fit. The title says all
of it. Under autocast the result has the dtype of the logits in place of float32: a file that mentions it is refused.

## Refused when
- the log-probabilities are used again, as for an entropy: then they are there anyway;
- the softmax and `gather` go along different dimensions, or that dimension is not shown;
- the logits are no variable: they are needed twice;
- it is under a minus: then `cross_entropy` may be the call (FUS503).

Source: `selective_log_softmax` of TRL; `torch.logsumexp`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import one_dimension
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import same_dimension, without_autocast
from fuselight.fusions.site import Rewrite

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"


@fusion
class GatheredLogSoftmax(Expression):
    __doc__ = __doc__

    code = "FUS507"
    name = "gathered-log-softmax"
    words = (frozenset({"log_softmax", "LogSoftmax"}), frozenset({"gather"}))
    label = "gather less logsumexp"
    rewrites = (
        Rewrite(
            "gather(log_softmax(x, dim=d), dim=g, index=i)",
            "gather(x, dim=g, index=i) - logsumexp(x, dim=d, keepdim=True)",
            Safety.NUMERICS,
            "less memory, more time; less precise in half precision; an index for each row of the logits",
            needs=(
                one_dimension("d"),
                same_dimension("d", "g", "x"),
                without_autocast("of half precision under autocast"),
            ),
            integers=("d", "g", "i"),
        ),
    )
    examples = (
        Example(
            before=_HEAD
            + """
def f(logits, scores):
    y = scores.argmax(dim=-1)
    logp = F.log_softmax(logits, dim=-1)
    # of the tokens that were taken
    return logp.gather(-1, y.unsqueeze(-1)).squeeze(-1)
""",
            after=_HEAD
            + """
def f(logits, scores):
    y = scores.argmax(dim=-1)
    # of the tokens that were taken
    return (
        torch.gather(logits, dim=-1, index=y.unsqueeze(-1))
        - torch.logsumexp(logits, dim=-1, keepdim=True)
    ).squeeze(-1)
""",
            inputs=((2, 3, 5), (2, 3, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x, scores):
    i = scores.topk(2, dim=1).indices
    return torch.gather(x.log_softmax(1), 1, i)
""",
            after=_HEAD
            + """
def f(x, scores):
    i = scores.topk(2, dim=1).indices
    return torch.gather(x, dim=1, index=i) - torch.logsumexp(x, dim=1, keepdim=True)
""",
            inputs=((3, 5), (3, 5)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(
            _HEAD + "def f(x, i):\n    l = F.log_softmax(x, -1)\n    return l.gather(-1, i), -(l.exp() * l).sum(-1)\n",
            "used again",
        ),
        NearMiss(_HEAD + "def f(x, i):\n    return F.log_softmax(x, 1).gather(2, i)\n", "same dimension"),
        NearMiss(_HEAD + "def f(x, i, d):\n    return F.log_softmax(x, d).gather(d, i)\n", "one dimension"),
        NearMiss(_HEAD + "def f(x, i):\n    return F.softmax(x, -1).gather(-1, i)\n", ""),
        NearMiss(_HEAD + "def f(x, y, i):\n    return F.log_softmax(x @ y, -1).gather(-1, i)\n", "no variable"),
        NearMiss(_HEAD + "def f(x, i):\n    return F.log_softmax(x, -1).index_select(-1, i)\n", ""),
        NearMiss(_HEAD + "def f(x, i):\n    return F.log_softmax(x, -1).gather(-1, i, sparse_grad=True)\n", ""),
    )
