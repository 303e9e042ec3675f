"""FUS612: a diagonal matrix as a factor is a scaling."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS612"
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


def case(id: str, body: str, after: str, arguments: str = "d, x", inputs: Inputs = ((4,), (4, 3))) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("rows", "return torch.diag(d) @ x", "d[:, None] * x"),
    case("matmul", "return torch.matmul(torch.diag(d), x)", "d[:, None] * x"),
    case("mm", "return torch.mm(torch.diag(d), x)", "d[:, None] * x"),
    case("methods", "return d.diag().mm(x)", "d[:, None] * x"),
    case("columns", "return x @ torch.diag(d)", "x * d", "d, x", ((4,), (3, 4))),
    case("columns by mm", "return torch.mm(x, torch.diag(d))", "x * d", "d, x", ((4,), (3, 4))),
    case("columns of batches", "return x @ d.diag()", "x * d", "d, x", ((4,), (2, 3, 4))),
    case("rows of batches", "return torch.diag(d) @ x", "d[:, None] * x", "d, x", ((4,), (2, 4, 3))),
    case("a vector times", "return x @ torch.diag(d)", "x * d", "d, x", ((4,), (4,))),
    case("a variable", "m = torch.diag(d)\nreturn m @ x", "d[:, None] * x"),
    case("both sides", "return torch.diag(d) @ x @ torch.diag(d)", "d[:, None] * x) * d", "d, x", ((4,), (4, 4))),
    case("both sides by one", "m = torch.diag(d)\nreturn m @ x @ m", "d[:, None] * x) * d", "d, x", ((4,), (4, 4))),
    case("a sum", "return torch.diag(d + 1) @ x", "(d + 1)[:, None] * x"),
    case("a power", "d = x.abs().sum(1)\nreturn torch.diag(d ** -0.5) @ x", "(d ** -0.5)[:, None] * x", "x", ((4, 4),)),
    case("in a sum", "return torch.diag(d) @ x + x", "(d[:, None] * x) + x"),
    case("in a product", "return x.t() @ (torch.diag(d) @ x)", "x.t() @ (d[:, None] * x)"),
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


def miss(id: str, body: str, reason: str = "", arguments: str = "d, x", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("a matrix", "d = torch.zeros(4, 4)\nreturn torch.diag(d) @ x", "1 dimension"),
    miss("a vector", "v = torch.ones(4)\nreturn torch.diag(d) @ v", "2 to 8 dimensions"),
    miss("a shown matrix", "n, m = d.shape\nreturn torch.diag(d) @ x", "1 dimension"),
    miss("another diagonal", "return torch.diag(d, 1) @ x"),
    miss("a named diagonal", "return torch.diag(d, diagonal=-1) @ x"),
    miss("elementwise", "return torch.diag(d) * x"),
    miss("a sum", "return torch.diag(d) + x"),
    miss("diag_embed", "return torch.diag_embed(d) @ x"),
    miss("diagonal", "return d.diagonal() @ x"),
    miss("a mean", "return torch.diag(d).mean() * x"),
    miss("sparse", "x = x.to_sparse()\nreturn torch.diag(d) @ x", "sparse"),
    miss("autocast", "with torch.autocast('cpu'):\n    return torch.diag(d) @ x", "autocast"),
    miss("written in between", "m = torch.diag(d)\nd.zero_()\nreturn m @ x", "changed in between"),
    miss("the matrix written", "m = torch.diag(d)\nm[0, 1] = 1\nreturn m @ x"),
    miss("numpy", "return np.diag(d) @ x", "", "d, x", "import numpy as np\nimport torch\n"),
    miss("a reference", "return torch.diag(d) @ x", "", "d, x", "def g():\n    pass\n\n\ntorch = None\n"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
