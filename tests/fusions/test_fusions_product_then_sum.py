"""FUS610: a scalar product of two tensors that look alike."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS610"
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


def case(id: str, body: str, after: str, arguments: str = "a, b", inputs: Inputs = ((3, 4), (3, 4))) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("a method", "return (a * b).sum(-1)", "torch.linalg.vecdot(a, b, dim=-1)"),
    case("a keyword", "return (a * b).sum(dim=1)", "torch.linalg.vecdot(a, b, dim=1)"),
    case("numpy's keyword", "return (a * b).sum(axis=0)", "torch.linalg.vecdot(a, b, dim=0)"),
    case("torch.sum", "return torch.sum(a * b, 1)", "torch.linalg.vecdot(a, b, dim=1)"),
    case("torch.mul", "return torch.mul(a, b).sum(1)", "torch.linalg.vecdot(a, b, dim=1)"),
    case("the method mul", "return a.mul(b).sum(-1)", "torch.linalg.vecdot(a, b, dim=-1)"),
    case("a variable", "p = a * b\nreturn p.sum(-1)", "torch.linalg.vecdot(a, b, dim=-1)"),
    case("keepdim said to be none", "return (a * b).sum(-1, keepdim=False)", "torch.linalg.vecdot(a, b, dim=-1)"),
    case(
        "shown tensors",
        "x, y = torch.tanh(a), torch.exp(b)\nreturn (x * y).sum(-1)",
        "torch.linalg.vecdot(x, y, dim=-1)",
    ),
    case("in an expression", "return 2 * (a * b).sum(-1) + 1", "2 * torch.linalg.vecdot(a, b, dim=-1) + 1"),
    case(
        "three dimensions", "return (a * b).sum(1)", "torch.linalg.vecdot(a, b, dim=1)", "a, b", ((2, 3, 4), (2, 3, 4))
    ),
    case("a one-dimensional one", "return (a * b).sum(0)", "torch.linalg.vecdot(a, b, dim=0)", "a, b", ((4,), (4,))),
    case("chunks", "x, y = a.chunk(2, dim=-1)\nreturn (x * y).sum(-1) + b.sum()", "torch.linalg.vecdot(x, y, dim=-1)"),
    case(
        "in a loop",
        "s = 0\nfor _ in range(2):\n    s = s + (a * b).sum(-1)\nreturn s",
        "torch.linalg.vecdot(a, b, dim=-1)",
    ),
    case("behind a minus", "return -(a * b).sum(-1)", "-torch.linalg.vecdot(a, b, dim=-1)"),
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


def miss(id: str, body: str, reason: str = "", arguments: str = "a, b, c", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("over all", "return (a * b).sum()", "is left out"),
    miss("keepdim", "return (a * b).sum(-1, keepdim=True)"),
    miss("two dimensions", "return (a * b).sum((0, 1))", "not shown"),
    miss("a square", "return (a * a).sum(-1)"),
    miss("three factors", "return (a * b * c).sum(-1)"),
    miss("a scaled one", "return (2 * a * b).sum(-1)"),
    miss("a quotient", "return (a / b).sum(-1)"),
    miss("a mean", "return (a * b).mean(-1)"),
    miss("a mask", "return (a * mask).sum(-1)", "dtype", "a, mask"),
    miss("a comparison", "return (a * (b > 0)).sum(-1)"),
    miss("labels", "return (a * target).sum(-1)", "dtype", "a, target"),
    miss("one-hot", "h = F.one_hot(b, 3)\nreturn (a * h).sum(-1)", "integers"),
    miss("broadcast", "return (a * b[..., None]).sum(-1)", "broadcast"),
    miss("broadcast by unsqueeze", "w = b.unsqueeze(-1)\nreturn (a * w).sum(1)", "broadcast"),
    miss("computed on the spot", "return (a.exp() * b.log()).sum(-1)", "on the spot"),
    miss("a converted sum", "return (a * b).sum(-1, dtype=torch.float64)"),
    miss("different origins", "x = torch.tanh(b)\nreturn (a * x).sum(-1)", "different dtypes"),
    miss("used again", "p = a * b\nreturn p, p.sum(-1)", "used again"),
    miss("autocast", "with torch.autocast('cpu'):\n    return (a * b).sum(-1)", "autocast"),
    miss("numpy", "return (a * b).sum(-1)", "numpy", "a, b", "import numpy as np\nimport torch\n"),
    miss("integers", "i = torch.arange(4)\nreturn (i * a).sum(-1)", "integers"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
