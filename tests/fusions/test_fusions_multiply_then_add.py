"""FUS603: a scaled product that is added, and a modulation."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS603"
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


def case(id: str, body: str, after: str, arguments: str = "x, a, b", inputs: Inputs = ((3, 4), (3, 4), (3, 4))) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("a scaled product", "return x + 0.5 * a * b", "torch.addcmul(x, a, b, value=0.5)"),
    case("in brackets", "return x + 0.5 * (a * b)", "torch.addcmul(x, a, b, value=0.5)"),
    case("the number last", "return x + a * b * 0.5", "torch.addcmul(x, a, b, value=0.5)"),
    case("the product first", "return 0.5 * a * b + x", "torch.addcmul(x, a, b, value=0.5)"),
    case("halved", "return x + a * b / 2", "torch.addcmul(x, a, b, value=0.5)"),
    case(
        "a default",
        "return x + v * a * b",
        "torch.addcmul(x, a, b, value=v)",
        "x, a, b, v=0.5",
        ((3, 4), (3, 4), (3, 4)),
    ),
    case("methods", "return x.add(a.mul(b).mul(0.5))", "torch.addcmul(x, a, b, value=0.5)"),
    case("subtracted", "return x - 0.5 * a * b", "torch.addcmul(x, a, b, value=-0.5)"),
    case("a quotient", "return x + 0.5 * a / (b * b + 1)", "torch.addcdiv(x, a, b * b + 1, value=0.5)"),
    case("a quotient in brackets", "y = torch.exp(b)\nreturn x + 0.5 * (a / y)", "torch.addcdiv(x, a, y, value=0.5)"),
    case("a quotient subtracted", "y = torch.exp(b)\nreturn x - 0.5 * a / y", "torch.addcdiv(x, a, y, value=-0.5)"),
    case("a modulation", "return x * (1 + a) + b", "torch.addcmul(b, x, 1 + a)"),
    case("a modulation, turned", "return b + (a + 1.0) * x", "torch.addcmul(b, x, 1 + a)"),
    case(
        "a modulation with None",
        "return x * (1 + a[:, None]) + b[:, None]",
        "torch.addcmul(b[:, None], x, 1 + a[:, None])",
        "x, a, b",
        ((2, 3, 4), (2, 4), (2, 4)),
    ),
    case(
        "a modulation with chunks",
        "a, b = torch.tanh(c).chunk(2, dim=-1)\nreturn x * (1 + a) + b",
        "torch.addcmul(b, x, 1 + a)",
        "x, c",
        ((3, 4), (3, 8)),
    ),
    case(
        "a modulation of a norm",
        "return F.layer_norm(x, (4,)) * (1 + a) + b",
        "torch.addcmul(b, F.layer_norm(x, (4,)), 1 + a)",
    ),
    case(
        "broadcast", "return x + 2.5 * a * b", "torch.addcmul(x, a, b, value=2.5)", "x, a, b", ((4,), (3, 1), (2, 1, 4))
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


def miss(id: str, body: str, reason: str = "", arguments: str = "x, a, b", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("no number", "return x + a * b"),
    miss("one factor", "return x + 0.5 * a"),
    miss("a square", "return x + 0.5 * a ** 2"),
    miss("three factors", "return x + 0.5 * a * b * c", "", "x, a, b, c"),
    miss("an unknown factor", "return x + v * a * b", "", "x, a, b, v"),
    miss("several terms", "return x + 0.5 * a * b + c", "several terms", "x, a, b, c"),
    miss("two products", "return x * c + 0.5 * a * b", "several products", "x, a, b, c"),
    miss("the product used again", "p = 0.5 * a * b\nreturn p, x + p", "used again"),
    miss("a line of its own", "p = 0.5 * a * b\nreturn x + p", "line of its own"),
    miss("two plus", "return x * (2 + a) + b"),
    miss("one minus", "return x * (1 - a) + b"),
    miss("an epsilon", "return x * (1 + eps) + b", "no tensor", "x, b, eps=1e-5"),
    miss("sizes", "n, h, w = x.shape\nreturn x.reshape(n + 2 * h * w)", "no tensor"),
    miss("item", "return x + 0.5 * a * b.item()", "no tensor"),
    miss("a number added", "return 1 + 0.5 * a * b"),
    miss(
        "a share of the steps",
        "for i in range(4):\n    part = i / self.steps\n    x = torch.tanh(x) + 0.5 * a * part\nreturn x",
        "is a tensor",
        "self, x, a",
    ),
    miss("a list", "return [x + 2 * a[0] * b[0] for x in range(3)]"),
    miss("an attribute", "return torch.exp(x) + 0.5 * a * self.scale", "is a tensor", "self, x, a"),
    miss("integers", "i = torch.arange(4)\nreturn i + 2 * i * i[:1]", "integers"),
    miss("in place", "x = torch.tanh(x)\nx += 0.5 * a * b\nreturn x", "in place"),
    miss("numpy", "return x + 0.5 * a * b", "numpy", "x, a, b", "import numpy as np\nimport torch\n"),
    miss("a matrix product", "return x + 0.5 * a @ b"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
