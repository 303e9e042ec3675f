"""Probabilities of which only the order is asked: `softmax(x, d).argmax(d)`, `sigmoid(x) > 0.5`.

Softmax, sigmoid and their logarithms grow with their argument, so that the largest logit has the largest probability,
and the k largest logits the k largest ones; a sigmoid is above one half where its argument is above zero. `argmax`, the
indices of `max` and `topk`, and the comparison give the same of the logits.

## What it saves
The probabilities: a kernel and a tensor of the size of the logits, which autograd keeps where it records.
Time, on a CPU, 256 x 16,000 in float32: `argmax(softmax(x))` 1.7x.

## Fix safety
`numerics`: the same wherever the probabilities differ. Logits whose probabilities round to the same number, as those
of a sigmoid above 17 in float32, are told apart: the largest logit wins, and not the first of those. A NaN counts as
the largest logit, where softmax made its whole row NaN.

## Refused when
- softmax is along another dimension than `argmax`, or that is not shown (`dim=-1` and `dim=1` of unknown rank);
- `argmax` is over all elements and softmax over a dimension;
- the probabilities, or the values of `max` and `topk`, are used as well;
- the threshold is another than 0.5: of 0.3 it would be `x > log(0.3 / 0.7)`, which nobody reads: no candidate.

Source: `torch.argmax`, `torch.softmax`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions import needs
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.values import Consumption, Use

_APART = "logits that round to the same probability are told apart"
_CLOSE = "logits so close to 0 that their sigmoid rounds to 0.5 are told apart"
_ALONG = "either(softmax(x, dim=d, dtype=t), log_softmax(x, dim=d, dtype=t))"
_EACH = "either(sigmoid(x), tanh(x), log_sigmoid(x))"
_INTEGERS = ("d", "j", "k", "n", "t", "largest", "sorted")


def _only_indices(site: Site) -> needs.Verdict:
    """Of what `max` or `topk` returns, nothing reads the values."""
    for use in site.root.uses:
        if not _is_of_indices(site, use):
            return Refusal("the probabilities themselves are used", site.place)
    return None if site.root.uses else Refusal("the probabilities themselves are used", site.place)


def _is_of_indices(site: Site, use: Use) -> bool:
    by = use.by
    if by is None or use.how is not Consumption.INPUT:
        return False
    if by.kind == "getitem":
        return by.inputs[1].constant in (1, -1) and type(by.inputs[1].constant) is int
    if by.kind == "attribute":
        return isinstance(by.node, ast.Attribute) and by.node.attr == "indices"
    if by.kind != "unpack":
        return False
    if by.index == 0:
        # A name that only this function sees, and does not read.
        return not by.uses and not by.reads and (bool(site.scope.name) or _unpacked_name(by.statement) == "_")
    return by.index == 1


def _unpacked_name(statement: ast.stmt | None) -> str | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    first = target.elts[0] if isinstance(target, ast.Tuple) and target.elts else None
    return first.id if isinstance(first, ast.Name) else None


def _rewrites() -> Iterator[Rewrite]:
    same = needs.same_dimension("d", "j", "x")
    for inner, asked in ((_ALONG, (same,)), (_EACH, ())):
        for outer in ("argmax", "argmin"):
            yield _rewrite(f"{outer}({inner}, dim=j, keepdim=k)", f"{outer}(x, dim=j, keepdim=k)", *asked)
        for outer in ("max", "min"):
            given = (needs.given("j"), *asked, _only_indices)
            yield _rewrite(f"{outer}({inner}, dim=j)", f"x.{outer}(j)", *given)
            yield _rewrite(f"{outer}({inner}, dim=j, keepdim=k)", f"x.{outer}(j, keepdim=k)", *given)
        options = "largest=largest, sorted=sorted"
        last = (needs.last_dimension("d", "x"),) if asked else ()
        yield _rewrite(f"topk({inner}, n, {options})", f"topk(x, n, {options})", *last, _only_indices)
        yield _rewrite(
            f"topk({inner}, n, dim=j, {options})",
            f"topk(x, n, dim=j, {options})",
            needs.given("j"),
            *asked,
            _only_indices,
        )
    for operator in (">", ">="):
        yield Rewrite(f"sigmoid(x) {operator} 0.5", f"x {operator} 0", Safety.NUMERICS, _CLOSE)
    for operator, turned in (("<", ">"), ("<=", ">=")):
        yield Rewrite(f"0.5 {turned} sigmoid(x)", f"x {operator} 0", Safety.NUMERICS, _CLOSE)


def _rewrite(pattern: str, replacement: str, *asked: needs.Need) -> Rewrite:
    return Rewrite(pattern, replacement, Safety.NUMERICS, _APART, asked, integers=_INTEGERS)


@fusion
class SoftmaxBeforeArgmax(Expression):
    __doc__ = __doc__

    code = "FUS510"
    name = "softmax-before-argmax"
    words = (
        frozenset(
            "softmax log_softmax sigmoid expit tanh logsigmoid Softmax LogSoftmax Sigmoid Tanh LogSigmoid".split()
        ),
        frozenset({"torch"}),
    )
    rewrites = tuple(_rewrites())
    label = "logits"
    says = "asks for the order of probabilities, which is that of their logits"
    does = "Leave the probabilities out of `{source}`"
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(logits):
    return torch.argmax(F.softmax(logits, dim=1), dim=1)
""",
            after="""\
import torch
import torch.nn.functional as F


def f(logits):
    return torch.argmax(logits, dim=1)
""",
            inputs=((6, 5),),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        probs = torch.sigmoid(self.fc(x))
        return (probs > 0.5).to(x.dtype)
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return (self.fc(x) > 0).to(x.dtype)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(x):
    _, predicted = torch.max(x.softmax(1), 1)
    return predicted
""",
            after="""\
import torch


def f(x):
    _, predicted = x.max(1)
    return predicted
""",
            inputs=((6, 5),),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    return torch.softmax(x, 1).argmax(0)\n", "same dimension"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.softmax(x, 1).argmax(-1)\n", "same dimension"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.softmax(x, 1).argmax()\n", "same dimension"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.sigmoid(x) > 0.3\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.sigmoid(x) == 0.5\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.tanh(x) > 0.5\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    p = torch.softmax(x, 1)\n    return p.argmax(1), p\n", "used again"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.max(torch.softmax(x, 1), 1)\n", "themselves"),
        NearMiss(
            "import torch\n\ndef f(x):\n    p, i = torch.softmax(x, 1).topk(5, dim=1)\n    return p, i\n", "themselves"
        ),
        NearMiss("import torch\n\ndef f(x):\n    return torch.softmax(x, 1).max(1)[0]\n", "themselves"),
        NearMiss("import torch\n\ndef f(x):\n    return torch.multinomial(torch.softmax(x, 1), 1)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.softmax(x, 0).topk(5).indices\n", "dimension"),
    )
