"""FUS510: the order of probabilities is that of their logits, where nothing else is asked of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS510"
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


def case(id: str, body: str, after: str, arguments: str = "x", inputs: Inputs = ((4, 5),)) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("functions", "return torch.argmax(F.softmax(x, dim=1), dim=1)", "torch.argmax(x, dim=1)"),
    case("methods", "return x.softmax(-1).argmax(-1)", "torch.argmax(x, dim=-1)"),
    case("mixed", "return torch.softmax(x, 1).argmax(dim=1)", "torch.argmax(x, dim=1)"),
    case(
        "keepdim", "return torch.argmax(torch.softmax(x, 1), 1, keepdim=True)", "torch.argmax(x, dim=1, keepdim=True)"
    ),
    case("log_softmax", "return F.log_softmax(x, dim=0).argmax(0)", "torch.argmax(x, dim=0)"),
    case("a dtype", "return F.softmax(x, dim=1, dtype=torch.float32).argmax(1)", "torch.argmax(x, dim=1)"),
    case("argmin", "return torch.softmax(x, 1).argmin(1)", "torch.argmin(x, dim=1)"),
    case("a shown rank", "a, b = x.shape\nreturn torch.softmax(x, -1).argmax(1)", "torch.argmax(x, dim=1)"),
    case("a variable dimension", "return torch.softmax(x, d).argmax(d)", "torch.argmax(x, dim=d)", "x, d=1", ((4, 5),)),
    case("sigmoid", "return torch.sigmoid(x).argmax(1)", "torch.argmax(x, dim=1)"),
    case("sigmoid over all", "return torch.argmax(torch.sigmoid(x))", "torch.argmax(x)"),
    case("tanh", "return torch.tanh(x).argmax(0)", "torch.argmax(x, dim=0)"),
    case("max, unpacked", "_, p = torch.max(torch.softmax(x, 1), 1)\nreturn p", "_, p = x.max(1)"),
    case("max, named values", "conf, p = torch.softmax(x, 1).max(1)\nreturn p", "conf, p = x.max(1)"),
    case("max, an element", "return torch.max(F.softmax(x, dim=1), 1)[1]", "x.max(1)[1]"),
    case("max, the last", "return torch.max(F.softmax(x, dim=1), dim=1)[-1]", "x.max(1)[-1]"),
    case("max, indices", "return F.softmax(x, dim=1).max(dim=1).indices", "x.max(1).indices"),
    case("max with keepdim", "return F.softmax(x, dim=1).max(1, keepdim=True)[1]", "x.max(1, keepdim=True)[1]"),
    case("max in steps", "p = F.softmax(x, dim=1)\nm = p.max(1)\nreturn m.indices", "m = x.max(1)"),
    case("topk", "return torch.softmax(x, -1).topk(2).indices", "torch.topk(x, 2).indices"),
    case(
        "topk along a dimension",
        "_, i = torch.topk(torch.softmax(x, 0), 2, dim=0)\nreturn i",
        "_, i = torch.topk(x, 2, dim=0)",
    ),
    case(
        "topk, the smallest",
        "return torch.softmax(x, 1).topk(2, dim=1, largest=False)[1]",
        "torch.topk(x, 2, dim=1, largest=False)[1]",
    ),
    case("above a half", "return torch.sigmoid(x) > 0.5", "x > 0"),
    case("at least a half", "return x.sigmoid() >= 0.5", "x >= 0"),
    case("below a half", "return torch.sigmoid(x) < 0.5", "x < 0"),
    case("at most a half", "return torch.sigmoid(x) <= 0.5", "x <= 0"),
    case("a half below", "return 0.5 < torch.sigmoid(x)", "x > 0"),
    case("gt", "return torch.gt(torch.sigmoid(x), 0.5)", "x > 0"),
    case("the method ge", "return torch.sigmoid(x).ge(0.5)", "x >= 0"),
    case("of a sum", "return (torch.sigmoid(x + 1) > 0.5).double()", "((x + 1) > 0).double()"),
    case("1 / 2", "return torch.sigmoid(x) > 1 / 2", "x > 0"),
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
    miss("another dimension", "return torch.softmax(x, 1).argmax(0)", "same dimension"),
    miss("perhaps another dimension", "return torch.softmax(x, 1).argmax(-1)", "same dimension"),
    miss("no dimension", "return torch.softmax(x, 1).argmax()", "same dimension"),
    miss("another variable", "return torch.softmax(x, y).argmax(z)", "same dimension", "x, y, z"),
    miss("the probabilities returned", "p = torch.softmax(x, 1)\nreturn p, p.argmax(1)", "used again"),
    miss("the probabilities printed", "p = torch.softmax(x, 1)\nprint(p)\nreturn p.argmax(1)", "used again"),
    miss("max returned", "return torch.max(torch.softmax(x, 1), 1)", "themselves"),
    miss("max in a variable", "m = torch.max(torch.softmax(x, 1), 1)\nreturn m", "themselves"),
    miss("values", "return torch.softmax(x, 1).max(1).values", "themselves"),
    miss("values unpacked", "c, p = torch.softmax(x, 1).max(1)\nreturn c, p", "themselves"),
    miss("values copied", "c, p = torch.softmax(x, 1).max(1)\nd = c\nreturn d, p", "themselves"),
    miss("values in a closure", "c, p = torch.softmax(x, 1).max(1)\nreturn lambda: (c, p)", "themselves"),
    miss("the largest of all", "return torch.softmax(x, 1).max()", "is left out"),
    miss("topk's values", "return torch.softmax(x, 1).topk(2, dim=1).values", "themselves"),
    miss("topk along the last", "return torch.softmax(x, 0).topk(2).indices", "last"),
    miss("0.3", "return torch.sigmoid(x) > 0.3"),
    miss("0.9", "return torch.sigmoid(x) >= 0.9"),
    miss("a variable threshold", "return torch.sigmoid(x) > y"),
    miss("equal", "return torch.sigmoid(x) == 0.5"),
    miss("tanh above a half", "return torch.tanh(x) > 0.5"),
    miss("softmax above a half", "return torch.softmax(x, 1) > 0.5"),
    miss("a chain", "return 0.2 < torch.sigmoid(x) < 0.5"),
    miss("rounded", "return torch.round(torch.sigmoid(x))"),
    miss("gelu", "return F.gelu(x).argmax(1)"),
    miss("a weighted one", "return (torch.softmax(x, 1) * y).argmax(1)"),
    miss("drawn", "return torch.multinomial(torch.softmax(x, 1), 1)"),
    miss("gumbel", "return F.gumbel_softmax(x, dim=1).argmax(1)"),
    miss("written", "p = torch.softmax(x, 1)\np[0] = 0\nreturn p.argmax(1)"),
    miss("written in between", "p = torch.softmax(x, 1)\nx.zero_()\nreturn p.argmax(1)", "changed in between"),
    miss(
        "numpy",
        "return np.argmax(softmax(x))",
        "",
        "x",
        "import numpy as np\nimport torch\nfrom scipy.special import softmax\n",
    ),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
