"""FUS513: the complement of a sigmoid that nothing else needs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS513"
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
    case("a function", "return 1 - torch.sigmoid(x)", "torch.sigmoid(-x)"),
    case("a method", "return 1.0 - x.sigmoid()", "torch.sigmoid(-x)"),
    case("F", "return 1 - F.sigmoid(x)", "torch.sigmoid(-x)"),
    case("special", "return 1 - torch.special.expit(x)", "torch.sigmoid(-x)"),
    case("the other way", "return -torch.sigmoid(x) + 1", "torch.sigmoid(-x)"),
    case("torch.neg", "return 1 + torch.neg(torch.sigmoid(x))", "torch.sigmoid(-x)"),
    case("a sum", "return 1 - torch.sigmoid(x + 1)", "torch.sigmoid(-(x + 1))"),
    case("a product", "return 1 - torch.sigmoid(2 * x)", "torch.sigmoid(-(2 * x))"),
    case("a negated one", "return 1 - torch.sigmoid(-x)", "torch.sigmoid("),
    case("a variable", "p = torch.sigmoid(x)\nreturn 1 - p", "torch.sigmoid(-x)"),
    case("in a product", "return x * (1 - torch.sigmoid(x + 1))", "x * torch.sigmoid(-(x + 1))"),
    case("in a sum", "return 1 - torch.sigmoid(x) + x", "torch.sigmoid(-x) + x"),
    case("in a power", "return (1 - torch.sigmoid(x)) ** 2", "torch.sigmoid(-x) ** 2"),
    case("of a call", "return 1 - torch.sigmoid(torch.tanh(x))", "torch.sigmoid(-torch.tanh(x))"),
    case("of an element", "return 1 - torch.sigmoid(x[0])", "torch.sigmoid(-x[0])"),
    case("the clamped", "return (1 - torch.sigmoid(x)).clamp(min=0.1)", "torch.sigmoid(-x).clamp(min=0.1)"),
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
    miss("a gate", "z = torch.sigmoid(x)\nreturn z * y + (1 - z) * x", "used again"),
    miss("a gate spelled twice", "return torch.sigmoid(x) * y - (1 - torch.sigmoid(x)) * x", "computed as well"),
    miss("plus", "return 1 + torch.sigmoid(x)"),
    miss("minus one", "return torch.sigmoid(x) - 1"),
    miss("two", "return 2 - torch.sigmoid(x)"),
    miss("twice", "return 1 - 2 * torch.sigmoid(x)"),
    miss("tanh", "return 1 - torch.tanh(x)"),
    miss("softmax", "return 1 - torch.softmax(x, -1)"),
    miss("an epsilon", "return (1 + 1e-8) - torch.sigmoid(x)"),
    miss("another", "return y - torch.sigmoid(x)"),
    miss("printed", "p = torch.sigmoid(x)\nprint(p)\nreturn 1 - p", "used again"),
    miss("written in between", "p = torch.sigmoid(x)\nx.zero_()\nreturn 1 - p", "changed in between"),
    miss("the sigmoid written", "p = torch.sigmoid(x)\np.clamp_(0, 1)\nreturn 1 - p"),
    miss("in another branch", "p = torch.sigmoid(x)\nif y:\n    return 1 - p\nreturn x", "different branches"),
    miss("out", "return 1 - torch.sigmoid(x, out=y)"),
    miss(
        "a function of the file",
        "return 1 - sigmoid(x)",
        "",
        "x",
        "import torch\n\ndef sigmoid(x):\n    return torch.tanh(x)\n",
    ),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
