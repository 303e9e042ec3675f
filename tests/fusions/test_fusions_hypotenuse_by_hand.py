"""FUS614: the root of two squares, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS614"
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
    case("powers", "return torch.sqrt(a ** 2 + b ** 2)", "torch.hypot(a, b)"),
    case("products", "return torch.sqrt(a * a + b * b)", "torch.hypot(a, b)"),
    case("methods", "return (a.pow(2) + b.pow(2)).sqrt()", "torch.hypot(a, b)"),
    case("squares", "return torch.sqrt(torch.square(a) + b.square())", "torch.hypot(a, b)"),
    case("mixed", "return torch.sqrt(a * a + b ** 2)", "torch.hypot(a, b)"),
    case("a power of one half", "x = torch.tanh(a)\nreturn (x ** 2 + b ** 2) ** 0.5 + x.sum()", "torch.hypot(x, b)"),
    case("torch.add", "return torch.sqrt(torch.add(a ** 2, b ** 2))", "torch.hypot(a, b)"),
    case("steps", "x = a ** 2\ny = b ** 2\nreturn torch.sqrt(x + y)", "torch.hypot(a, b)"),
    case(
        "elements", "return torch.sqrt(a[..., 0] ** 2 + a[..., 1] ** 2) + b.sum()", "torch.hypot(a[..., 0], a[..., 1])"
    ),
    case("differences", "return torch.sqrt((a - 1) ** 2 + (b - a) ** 2)", "torch.hypot(a - 1, b - a)"),
    case("in a quotient", "return a / torch.sqrt(a ** 2 + b ** 2)", "a / torch.hypot(a, b)"),
    case("chunks", "x, y = a.chunk(2, -1)\nreturn torch.sqrt(x ** 2 + y ** 2) + b.sum()", "torch.hypot(x, y)"),
    case("in a loop", "for _ in range(2):\n    a = torch.sqrt(a ** 2 + b ** 2)\nreturn a", "torch.hypot(a, b)"),
    case("broadcast", "return torch.sqrt(a ** 2 + b ** 2)", "torch.hypot(a, b)", "a, b", ((3, 1), (4,))),
    case("an epsilon outside", "return torch.sqrt(a ** 2 + b ** 2) + 1e-8", "torch.hypot(a, b) + 1e-8"),
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
    miss("an epsilon", "return torch.sqrt(a ** 2 + b ** 2 + 1e-8)"),
    miss("a small epsilon", "return torch.sqrt(a ** 2 + b ** 2 + 1e-20)"),
    miss("three", "return torch.sqrt(a ** 2 + b ** 2 + c ** 2)"),
    miss("a difference", "return torch.sqrt(a ** 2 - b ** 2)"),
    miss("a factor", "return torch.sqrt(a ** 2 + 4 * b ** 2)"),
    miss("a fourth power", "return torch.sqrt(a ** 4 + b ** 4)"),
    miss("a cube root", "return (a ** 2 + b ** 2) ** (1 / 3)"),
    miss("no root", "return a ** 2 + b ** 2"),
    miss("a product", "return torch.sqrt(a * b + b * a)"),
    miss("one number", "return torch.sqrt(a ** 2 + 3 ** 2)"),
    miss("the sum used again", "p = a ** 2 + b ** 2\nreturn p, torch.sqrt(p)", "used again"),
    miss("a square used again", "p = a ** 2\nreturn p, torch.sqrt(p + b ** 2)", "used again"),
    miss("sizes", "h, w = a.shape[-2:]\nreturn a / (h ** 2 + w ** 2) ** 0.5", "tensor"),
    miss("a default", "return torch.sqrt(a ** 2 + b ** 2)", "no tensor", "a, b=2.0"),
    miss("integers", "x = torch.arange(4)\nreturn (x ** 2 + x[:1] ** 2) ** 0.5 + a", "integers"),
    miss(
        "differences of positions",
        "x = torch.arange(4)[None] - torch.arange(4)[:, None]\ny = x.repeat(2, 2)\nreturn (y ** 2 + a ** 2) ** 0.5",
        "integers",
    ),
    miss("math", "return math.sqrt(a * a + b * b) * c"),
    miss("autocast", "with torch.autocast('cpu'):\n    return torch.sqrt(a ** 2 + b ** 2)", "autocast"),
    miss("written in between", "x = a ** 2\na.zero_()\nreturn torch.sqrt(x + b ** 2)", "changed in between"),
    miss("an attribute", "return torch.sqrt(a ** 2 + c.size_of ** 2)", "is a tensor"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
