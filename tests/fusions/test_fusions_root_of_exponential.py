"""FUS613: the root of an exponential that nothing else needs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS613"
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
    case("functions", "return torch.sqrt(torch.exp(x))", "torch.exp(0.5 * x)"),
    case("methods", "return x.exp().sqrt()", "torch.exp(0.5 * x)"),
    case("a power", "return torch.exp(x) ** 0.5", "torch.exp(0.5 * x)"),
    case("torch.pow", "return torch.pow(torch.exp(x), 0.5)", "torch.exp(0.5 * x)"),
    case("pow of a fraction", "return torch.exp(x).pow(1 / 2)", "torch.exp(0.5 * x)"),
    case("rsqrt", "return torch.rsqrt(torch.exp(x))", "torch.exp(-0.5 * x)"),
    case("a negative power", "return x.exp() ** -0.5", "torch.exp(-0.5 * x)"),
    case("the reciprocal of a root", "return 1 / torch.sqrt(torch.exp(x))", "torch.exp(-0.5 * x)"),
    case("a variable", "var = torch.exp(x)\nstd = var.sqrt()\nreturn std", "torch.exp(0.5 * x)"),
    case("a sum", "return torch.sqrt(torch.exp(x + 1))", "torch.exp(0.5 * (x + 1))"),
    case("a negated one", "return torch.sqrt(torch.exp(-x))", "torch.exp(0.5 * (-x))"),
    case("in a product", "return x + 2 * torch.sqrt(torch.exp(x))", "2 * torch.exp(0.5 * x)"),
    case("in a quotient", "return x / torch.sqrt(x.exp())", "x / torch.exp(0.5 * x)"),
    case("of a clamp", "return torch.sqrt(torch.exp(x.clamp(-1, 1)))", "torch.exp(0.5 * x.clamp(-1, 1))"),
    case("of an element", "m, v = x.chunk(2, dim=1)\nreturn m + torch.sqrt(torch.exp(v))", "torch.exp(0.5 * v)"),
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
    miss("an epsilon", "return torch.sqrt(torch.exp(x) + 1e-8)"),
    miss("a factor", "return torch.sqrt(2 * torch.exp(x))"),
    miss("a product", "return torch.sqrt(y * torch.exp(x))"),
    miss("used again", "v = x.exp()\nreturn v.sqrt() + v", "used again"),
    miss("exp2", "return torch.sqrt(torch.exp2(x))"),
    miss("expm1", "return torch.sqrt(torch.expm1(x))"),
    miss("a square", "return torch.exp(x) ** 2"),
    miss("a cube root", "return torch.exp(x) ** (1 / 3)"),
    miss("the other way round", "return torch.exp(torch.sqrt(x))"),
    miss("math", "return math.sqrt(math.exp(y)) * x"),
    miss("written in between", "v = x.exp()\nx.zero_()\nreturn v.sqrt()", "changed in between"),
    miss("the variance written", "v = x.exp()\nv += 1\nreturn v.sqrt()"),
    miss("in another branch", "v = x.exp()\nif y:\n    return v.sqrt()\nreturn x", "different branches"),
    miss("out", "return torch.sqrt(torch.exp(x), out=y)"),
    miss("numpy", "return np.sqrt(np.exp(x))", "", "x", "import numpy as np\nimport torch\n"),
    miss("integers", "return torch.sqrt(torch.exp(x.int()))", "integers"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
