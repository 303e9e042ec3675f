"""FUS607: distances of all pairs, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS607"
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


def case(id: str, body: str, after: str, arguments: str = "a, b", inputs: Inputs = ((4, 3), (5, 3))) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("None", "return ((a[:, None] - b[None]) ** 2).sum(-1).sqrt()", "torch.cdist(a, b, compute_mode="),
    case(
        "None with slices",
        "return torch.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(dim=2))",
        "torch.cdist(a, b, compute_mode=",
    ),
    case(
        "an ellipsis",
        "return torch.sqrt(((a[:, None, ...] - b[None, ...]) ** 2).sum(-1))",
        "torch.cdist(a, b, compute_mode=",
    ),
    case(
        "unsqueeze", "return (a.unsqueeze(1) - b.unsqueeze(0)).pow(2).sum(-1).sqrt()", "torch.cdist(a, b, compute_mode="
    ),
    case(
        "unsqueeze from behind",
        "return (a.unsqueeze(-2) - b.unsqueeze(-3)).pow(2).sum(-1).sqrt()",
        "torch.cdist(a, b, compute_mode=",
    ),
    case(
        "torch.unsqueeze",
        "return torch.sqrt(torch.sum(torch.square(torch.unsqueeze(a, 1) - torch.unsqueeze(b, 0)), -1))",
        "torch.cdist(a, b, compute_mode=",
    ),
    case("the other way", "return ((b[None] - a[:, None]) ** 2).sum(-1).sqrt()", "torch.cdist(a, b, compute_mode="),
    case(
        "steps",
        "d = a.unsqueeze(1) - b.unsqueeze(0)\ns = (d ** 2).sum(-1)\nreturn s ** 0.5",
        "torch.cdist(a, b, compute_mode=",
    ),
    case(
        "a product of the difference",
        "d = a[:, None] - b[None]\nreturn (d * d).sum(-1).sqrt()",
        "torch.cdist(a, b, compute_mode=",
    ),
    case("norm", "return torch.norm(a[:, None] - b[None], dim=-1)", "torch.cdist(a, b, compute_mode="),
    case("norm with p", "return torch.norm(a[:, None] - b[None], p=2, dim=2)", "torch.cdist(a, b, compute_mode="),
    case("the method norm", "return (a[:, None] - b[None]).norm(2, -1)", "torch.cdist(a, b, compute_mode="),
    case("linalg.norm", "return torch.linalg.norm(a[:, None] - b[None], dim=-1)", "torch.cdist(a, b, compute_mode="),
    case(
        "vector_norm",
        "return torch.linalg.vector_norm(a[:, None] - b[None], dim=-1)",
        "torch.cdist(a, b, compute_mode=",
    ),
    case("a bare operand", "m, d = b.shape\nreturn (a[:, None] - b).norm(dim=-1)", "torch.cdist(a, b, compute_mode="),
    case("in an expression", "return torch.exp(-((a[:, None] - b[None]) ** 2).sum(-1).sqrt())", "torch.exp("),
    case(
        "batches",
        "return (a.unsqueeze(2) - b.unsqueeze(1)).norm(dim=-1)",
        "torch.cdist(a, b, compute_mode=",
        "a, b",
        ((2, 4, 3), (2, 5, 3)),
    ),
    case(
        "batches by None",
        "return ((a[:, :, None] - b[:, None]) ** 2).sum(3).sqrt()",
        "torch.cdist(a, b, compute_mode=",
        "a, b",
        ((2, 4, 3), (2, 5, 3)),
    ),
    case("Manhattan", "return (a[:, None] - b[None]).abs().sum(-1)", "torch.cdist(a, b, p=1.0)"),
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
    miss("squared", "return ((a[:, None] - b[None]) ** 2).sum(-1)"),
    miss("an epsilon", "return (((a[:, None] - b[None]) ** 2).sum(-1) + 1e-12).sqrt()"),
    miss("a clamp", "return ((a[:, None] - b[None]) ** 2).sum(-1).clamp(min=0).sqrt()"),
    miss("a mean", "return ((a[:, None] - b[None]) ** 2).mean(-1).sqrt()"),
    miss("rows alone", "return ((a - b) ** 2).sum(-1).sqrt()"),
    miss("a sum of both", "return ((a[:, None] + b[None]) ** 2).sum(-1).sqrt()"),
    miss("over the points", "return ((a[:, None] - b[None]) ** 2).sum(1).sqrt()", "coordinates"),
    miss("over all", "return ((a[:, None] - b[None]) ** 2).sum().sqrt()", "coordinates"),
    miss("keepdim", "return ((a[:, None] - b[None]) ** 2).sum(-1, keepdim=True).sqrt()"),
    miss("both at one place", "return ((a[:, None] - b[:, None]) ** 2).sum(-1).sqrt()"),
    miss("an unknown bare operand", "return (a[:, None] - b).norm(dim=-1)", "2 dimensions"),
    miss("three dimensions", "n, m, d = a.shape\nreturn ((a[:, None] - b[None]) ** 2).sum(-1).sqrt()", "2 dimensions"),
    miss("one dimension", "a = torch.ones(3)\nreturn ((a[:, None] - b[None]) ** 2).sum(-1).sqrt()", "2 dimensions"),
    miss("two dimensions added", "return ((a[:, None, None] - b[None]) ** 2).sum(-1).sqrt()"),
    miss("a part", "return ((a[1:, None] - b[None]) ** 2).sum(-1).sqrt()"),
    miss("another norm", "return torch.norm(a[:, None] - b[None], p=3, dim=-1)"),
    miss("a norm of all", "return torch.norm(a[:, None] - b[None])", "coordinates"),
    miss("weighted", "return (w * (a[:, None] - b[None]) ** 2).sum(-1).sqrt()"),
    miss("the differences used again", "d = a[:, None] - b[None]\nreturn d, d.norm(dim=-1)", "used again"),
    miss(
        "a second gradient",
        "y = (a[:, None] - b[None]).norm(dim=-1)\nreturn torch.autograd.grad(y.sum(), a, create_graph=True)",
        "create_graph",
    ),
    miss("autocast", "with torch.autocast('cpu'):\n    return (a[:, None] - b[None]).norm(dim=-1)", "autocast"),
    miss(
        "integers", "a = torch.arange(6).reshape(3, 2)\nreturn ((a[:, None] - a[None]) ** 2).sum(-1).sqrt()", "integers"
    ),
    miss("written in between", "d = a[:, None] - b[None]\na.zero_()\nreturn d.norm(dim=-1)", "changed in between"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
