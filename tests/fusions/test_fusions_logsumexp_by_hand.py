"""FUS508: logsumexp and logaddexp in their spellings; sums of anything else stay."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS508"
HEAD = "import math\nimport torch\nimport torch.nn.functional as F\n"


@dataclass
class Case:
    """One file, what must stand in it afterwards, and what it is called with."""

    id: str
    text: str
    after: str
    inputs: Inputs


def function(body: str, arguments: str = "x", head: str = HEAD) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{head}\n\ndef f({arguments}):\n{lines}"


def case(id: str, body: str, after: str, arguments: str = "x", inputs: Inputs = ((3, 4),)) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("functions", "return torch.log(torch.sum(torch.exp(x), dim=1))", "torch.logsumexp(x, dim=1)"),
    case("methods", "return x.exp().sum(1).log()", "torch.logsumexp(x, dim=1)"),
    case("keepdim", "return torch.log(x.exp().sum(dim=-1, keepdim=True))", "torch.logsumexp(x, dim=-1, keepdim=True)"),
    case(
        "numpy's names",
        "return torch.log(x.exp().sum(axis=-1, keepdims=True))",
        "torch.logsumexp(x, dim=-1, keepdim=True)",
    ),
    case("two dimensions", "return torch.log(x.exp().sum((0, 1)))", "torch.logsumexp(x, dim=(0, 1))"),
    case("steps", "e = torch.exp(x)\ns = e.sum(1)\nreturn torch.log(s)", "torch.logsumexp(x, dim=1)"),
    case("scaled logits", "return torch.log(torch.exp(x / 0.07).sum(1))", "torch.logsumexp(x / 0.07, dim=1)"),
    case(
        "stable",
        "m = x.max(dim=1, keepdim=True)[0]\nreturn m + torch.log(torch.exp(x - m).sum(dim=1, keepdim=True))",
        "torch.logsumexp(x, dim=1, keepdim=True)",
    ),
    case(
        "stable by values",
        "m = x.max(dim=1, keepdim=True).values\nreturn torch.log(torch.exp(x - m).sum(1, keepdim=True)) + m",
        "torch.logsumexp(x, dim=1, keepdim=True)",
    ),
    case(
        "stable by amax",
        "m = x.amax(1, keepdim=True)\nreturn m + (x - m).exp().sum(1, keepdim=True).log()",
        "torch.logsumexp(x, dim=1, keepdim=True)",
    ),
    case(
        "stable, unpacked",
        "m, _ = torch.max(x, dim=1, keepdim=True)\nreturn m + (x - m).exp().sum(1, keepdim=True).log()",
        "torch.logsumexp(x, dim=1, keepdim=True)",
    ),
    case(
        "stable, squeezed",
        "m = x.max(dim=1, keepdim=True)[0]\nreturn m.squeeze(1) + torch.log(torch.exp(x - m).sum(1))",
        "torch.logsumexp(x, dim=1)",
    ),
    case(
        "stable, unsqueezed",
        "m = x.max(1)[0]\nreturn m + torch.log(torch.exp(x - m.unsqueeze(1)).sum(1))",
        "torch.logsumexp(x, dim=1)",
    ),
    case(
        "stable, by None",
        "m = x.max(1)[0]\nreturn m + torch.log(torch.exp(x - m[:, None]).sum(1))",
        "torch.logsumexp(x, dim=1)",
    ),
    case(
        "stable by the largest of all",
        "m = x.max()\nreturn m + torch.log(torch.exp(x - m).sum(1))",
        "torch.logsumexp(x, dim=1)",
    ),
    case(
        "logaddexp", "return torch.log(torch.exp(a) + torch.exp(b))", "torch.logaddexp(a, b)", "a, b", ((3, 4), (3, 4))
    ),
    case("logaddexp by methods", "return (a.exp() + b.exp()).log()", "torch.logaddexp(a, b)", "a, b", ((3, 4), (3, 1))),
    case(
        "logaddexp, stable",
        "m = torch.maximum(a, b)\nreturn m + torch.log(torch.exp(a - m) + torch.exp(b - m))",
        "torch.logaddexp(a, b)",
        "a, b",
        ((3, 4), (3, 4)),
    ),
    case(
        "logaddexp by log1p",
        "return torch.max(a, b) + torch.log1p(torch.exp(-torch.abs(a - b)))",
        "torch.logaddexp(a, b)",
        "a, b",
        ((3, 4), (3, 4)),
    ),
]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {Safety.NUMERICS}


@dataclass
class Miss:
    """One file in which nothing may be offered, and a part of the reason; empty where it is no candidate."""

    id: str
    text: str
    reason: str


def miss(id: str, body: str, reason: str = "", arguments: str = "x, m", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("over everything", "return torch.log(torch.exp(x).sum())", "is left out"),
    miss("an epsilon", "return torch.log(torch.exp(x).sum(-1) + 1e-6)"),
    miss("a mean", "return torch.log(torch.exp(x).mean(-1))"),
    miss("a mask", "return torch.log((torch.exp(x) * m).sum(-1))"),
    miss("weights", "return torch.log((m * x.exp()).sum(-1))"),
    miss("exp2", "return torch.log(torch.exp2(x).sum(-1))"),
    miss("log10", "return torch.log10(torch.exp(x).sum(-1))"),
    miss("a converted sum", "return torch.log(torch.exp(x).sum(-1, dtype=torch.float64))"),
    miss("the exponentials used again", "e = torch.exp(x)\nreturn e, torch.log(e.sum(-1))", "used again"),
    miss(
        "the sum used again",
        "s = torch.exp(x).sum(-1, keepdim=True)\nreturn torch.exp(x) / s, torch.log(s)",
        "used again",
    ),
    miss("written in between", "e = torch.exp(x)\nx.zero_()\nreturn torch.log(e.sum(-1))", "changed in between"),
    miss("the exponentials written", "e = torch.exp(x)\ne[0] = 0\nreturn torch.log(e.sum(-1))"),
    miss("an unknown maximum", "return m + torch.log(torch.exp(x - m).sum(-1, keepdim=True))", "maximum"),
    miss(
        "the maximum along another dimension",
        "m = x.max(0, keepdim=True)[0]\nreturn m + torch.log(torch.exp(x - m).sum(1, keepdim=True))",
        "same dimension",
    ),
    miss(
        "a minimum",
        "m = x.min(1, keepdim=True)[0]\nreturn m + torch.log(torch.exp(x - m).sum(1, keepdim=True))",
        "maximum",
    ),
    miss("a difference", "return torch.log(torch.exp(x) - torch.exp(m))"),
    miss("three", "return torch.log(torch.exp(x) + torch.exp(m) + 1)"),
    miss(
        "logaddexp under autocast",
        "with torch.autocast('cpu'):\n    return torch.log(torch.exp(x) + torch.exp(m))",
        "autocast",
    ),
    miss("integers", "return torch.log(torch.exp(x.long()).sum(-1))", "integers"),
    miss("numpy", "return np.log(np.exp(x).sum(-1))", "", "x", "import numpy as np\nimport torch\n"),
    miss("methods of numpy's arrays", "return math.log(x.sum())"),
    miss("out", "return torch.log(torch.exp(x).sum(-1), out=m)"),
    miss(
        "a loop between",
        "e = torch.exp(x)\nfor _ in range(2):\n    m = torch.log(e.sum(-1))\nreturn m",
        "different branches",
    ),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
