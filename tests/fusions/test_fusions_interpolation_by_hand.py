"""FUS604: lerp of two tensors with weights that add up to one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS604"
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
    case("a difference", "return a + 0.3 * (b - a)", "torch.lerp(a, b, 0.3)"),
    case("a difference first", "return 0.3 * (b - a) + a", "torch.lerp(a, b, 0.3)"),
    case("a difference times", "return a + (b - a) * 0.3", "torch.lerp(a, b, 0.3)"),
    case("a difference in a variable", "d = b - a\nreturn a + 0.3 * d", "torch.lerp(a, b, 0.3)"),
    case("divided", "return a + (b - a) / 4", "torch.lerp(a, b, 0.25)"),
    case("methods", "return a.add(b.sub(a).mul(0.3))", "torch.lerp(a, b, 0.3)"),
    case("subtracted", "return a - 0.3 * (a - b)", "torch.lerp(a, b, 0.3)"),
    case("convex", "return (1 - w) * a + w * b", "torch.lerp(a, b, w)", "a, b, w", ((3, 4), (3, 4), (3, 1))),
    case("convex, turned", "return w * b + (1.0 - w) * a", "torch.lerp(a, b, w)", "a, b, w", ((3, 4), (3, 4), (3, 1))),
    case(
        "convex, factors turned", "return a * (1 - w) + b * w", "torch.lerp(a, b, w)", "a, b, w", ((3, 4), (3, 4), (4,))
    ),
    case("convex by a number", "return (1 - w) * a + w * b", "torch.lerp(a, b, w)", "a, b, w=0.25", ((3, 4), (3, 4))),
    case(
        "a weight of the other",
        "return w * a + (1 - w) * b",
        "torch.lerp(b, a, w)",
        "a, b, w",
        ((3, 4), (3, 4), (3, 4)),
    ),
    case(
        "a difference with a tensor",
        "return a + w * (b - a)",
        "torch.lerp(a, b, w)",
        "a, b, w",
        ((3, 4), (3, 4), (3, 4)),
    ),
    case("constants", "return 0.9 * a + 0.1 * b", "torch.lerp(a, b, 0.1)"),
    case("constants with rounding", "return 0.7 * a + 0.3 * b", "torch.lerp(a, b, 0.3)"),
    case(
        "a gate",
        "z = torch.sigmoid(w)\nreturn z * a + (1 - z) * torch.tanh(b)",
        "torch.lerp(torch.tanh(b), a, z)",
        "a, b, w",
        ((3, 4), (3, 4), (3, 4)),
    ),
    case(
        "a gate spelled twice",
        "return torch.sigmoid(w) * a + (1 - torch.sigmoid(w)) * b",
        "torch.lerp(b, a, torch.sigmoid(w))",
        "a, b, w",
        ((3, 4), (3, 4), (3, 4)),
    ),
    case("in a loop", "for _ in range(3):\n    a = 0.9 * a + 0.1 * torch.tanh(b)\nreturn a", "torch.lerp("),
    case("broadcast", "return (1 - w) * a + w * b", "torch.lerp(a, b, w)", "a, b, w", ((3, 1), (4,), (2, 1, 1))),
    case("extrapolated", "return a + 7.5 * (b - a)", "torch.lerp(a, b, 7.5)"),
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


def miss(id: str, body: str, reason: str = "", arguments: str = "a, b, w", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("not convex", "return 0.9 * a + 0.2 * b", "do not add up"),
    miss("nearly convex", "return 0.9 * a + 0.1001 * b", "do not add up"),
    miss("an average", "return 0.5 * a + 0.5 * b", "average"),
    miss("two weights", "return w * a + (1 - v) * b", "", "a, b, w, v"),
    miss("plus", "return (1 + w) * a + w * b"),
    miss("a sum", "return a + w * (b + a)"),
    miss("another", "return a + w * (b - c)", "", "a, b, c, w"),
    miss("a number's end", "return a + w * (1 - a)"),
    miss("item", "return 0.9 * a + 0.1 * b.item()", "no tensor"),
    miss("a default", "return (1 - w) * a + w * b", "no tensor", "a, w, b=1.0"),
    miss("sizes", "h, k = a.shape\nreturn a[int(h + 0.3 * (k - h))]", "no tensor"),
    miss(
        "an average of an object",
        "self.v = 0.9 * self.v + 0.1 * a\nreturn torch.tanh(self.v)",
        "is a tensor",
        "self, a",
    ),
    miss("a mask", "return mask * a + (1 - mask) * b", "another dtype", "a, b, mask"),
    miss("labels", "return labels * a + (1 - labels) * b", "another dtype", "a, b, labels"),
    miss("integers", "i = torch.arange(4)\nreturn (1 - w) * i + w * a", "integers"),
    miss("images", "return (1 - w) * a + w * b.to(torch.uint8)", "of integers"),
    miss(
        "a state dict",
        "for k, v in w.state_dict().items():\n    b = 0.9 * v + 0.1 * torch.tanh(a)\nreturn b",
        "of integers",
    ),
    miss("autocast", "with torch.autocast('cpu'):\n    return a + 0.3 * (b - a)", "autocast"),
    miss("written in between", "d = b - a\na.zero_()\nreturn a + 0.3 * d", "changed in between"),
    miss("a term used again", "d = b - a\nreturn a + 0.3 * d, d", "used again"),
    miss("numpy", "return (1 - w) * a + w * b", "numpy", "a, b, w", "import numpy as np\nimport torch\n"),
    miss("three terms", "return 0.8 * a + 0.1 * b + 0.1 * w"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
