"""FUS509: log1p and expm1; an epsilon in the sum is there for a reason."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS509"
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
    case("log", "return torch.log(1 + x.abs())", "torch.log1p(x.abs())"),
    case("log the other way", "return torch.log(x.abs() + 1.0)", "torch.log1p(x.abs())"),
    case("a method", "return (1 + x.abs()).log()", "torch.log1p(x.abs())"),
    case("torch.add", "return torch.log(torch.add(x.abs(), 1))", "torch.log1p(x.abs())"),
    case("a variable", "y = 1 + x * x\nreturn torch.log(y)", "torch.log1p(x * x)"),
    case("of a sum", "y = x.abs()\nreturn torch.log(y + y * y + 1)", "torch.log1p(y + y * y)"),
    case("a complement", "p = torch.sigmoid(x)\nreturn torch.log(1 - p) + p", "torch.log1p(-p)"),
    case("a complement in brackets", "p = torch.sigmoid(x)\nreturn (1 - p).log() * p", "torch.log1p(-p) * p"),
    case("expm1", "return torch.exp(x) - 1", "torch.expm1(x)"),
    case("expm1 by methods", "return x.exp().sub(1)", "torch.expm1(x)"),
    case("expm1 with a negative one", "return -1 + torch.exp(x)", "torch.expm1(x)"),
    case("expm1 in a product", "return 1.67 * (torch.exp(x) - 1)", "1.67 * torch.expm1(x)"),
    case("expm1 in a power", "return (1 - torch.exp(x)) ** 2", "(-torch.expm1(x)) ** 2"),
    case("minus expm1", "return 1 - torch.exp(-x)", "-torch.expm1(-x)"),
    case("minus expm1 in a difference", "return x - (1 - torch.exp(x))", "x - (-torch.expm1(x))"),
    case("minus expm1 in a product", "return x * (1 - x.exp())", "torch.expm1(x)"),
    case("minus expm1, a method of it", "return (1 - x.exp()).sum()", "(-torch.expm1(x)).sum()"),
    case("an epsilon outside", "return torch.log(1 + x.abs()) + 1e-8", "torch.log1p(x.abs()) + 1e-8"),
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


def miss(id: str, body: str, reason: str = "", arguments: str = "x, y", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("an epsilon", "return torch.log(1 + x + 1e-8)"),
    miss("an epsilon of a complement", "return torch.log(1 - x + 1e-8)"),
    miss("an epsilon of a module", "return torch.log(1 - x + EPS)", "", "x", "import torch\nEPS = 1e-8\n"),
    miss("an epsilon alone", "return torch.log(1e-8 + x)"),
    miss("nearly one", "return torch.log(1.0000001 + x)"),
    miss("two", "return torch.log(2 + x)"),
    miss("log2", "return torch.log2(1 + x)"),
    miss("log10", "return torch.log10(1 + x)"),
    miss("used again", "y = 1 + x\nreturn y, torch.log(y)", "used again"),
    miss("exp minus two", "return torch.exp(x) - 2"),
    miss("exp plus one", "return torch.exp(x) + 1"),
    miss("exp minus another", "return torch.exp(x) - y"),
    miss("twice exp", "return 2 * torch.exp(x) - 1"),
    miss("exp2", "return torch.exp2(x) - 1"),
    miss("math", "return math.log(1 + y) * x"),
    miss("math's exp", "return (math.exp(y) - 1) * x"),
    miss("integers", "return torch.log(1 + x.long())", "integers"),
    miss("counts", "n = torch.arange(5)\nreturn torch.log(1 + n)", "integers"),
    miss("written in between", "y = 1 + x\nx.zero_()\nreturn torch.log(y)", "changed in between"),
    miss("a walrus", "return torch.log(1 + (z := x)) + z"),
    miss("numpy", "return np.log(1 + x)", "", "x", "import numpy as np\nimport torch\n"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
