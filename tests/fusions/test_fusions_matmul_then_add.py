"""FUS602: linear, addmm and baddbmm, where the dimensions are shown or may be assumed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS602"
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


def case(id: str, body: str, after: str, arguments: str = "x, w, b", inputs: Inputs = ((2, 4), (3, 4), (3,))) -> Case:
    return Case(id, function(body, arguments), after, inputs)


POSITIVES = [
    case("t()", "return x @ w.t() + b", "F.linear(x, w, b)"),
    case("T", "return x @ w.T + b", "F.linear(x, w, b)"),
    case("matmul", "return torch.matmul(x, w.t()) + b", "F.linear(x, w, b)"),
    case("a method", "return x.matmul(w.t()) + b", "F.linear(x, w, b)"),
    case("mm", "return torch.mm(x, w.t()) + b", "F.linear(x, w, b)"),
    case("the bias first", "return b + x @ w.t()", "F.linear(x, w, b)"),
    case("torch.add", "return torch.add(x @ w.t(), b)", "F.linear(x, w, b)"),
    case("permute", "return x @ w.permute(1, 0) + b", "F.linear(x, w, b)"),
    case("transpose of a shown matrix", "n, m = w.shape\nreturn x @ w.transpose(0, 1) + b", "F.linear(x, w, b)"),
    case("mT of a shown matrix", "n, m = w.shape\nreturn x @ w.mT + b", "F.linear(x, w, b)"),
    case("steps", "y = x @ w.t()\nreturn y + b", "F.linear(x, w, b)"),
    case("a transposed variable", "v = w.t()\nreturn x @ v + b", "F.linear(x, w, b)"),
    case("batches", "return x @ w.t() + b", "F.linear(x, w, b)", "x, w, b", ((2, 5, 4), (3, 4), (3,))),
    case("a vector", "return x @ w.t() + b", "F.linear(x, w, b)", "x, w, b", ((4,), (3, 4), (3,))),
    case("names in pairs", "return x @ w_q.t() + b_q", "F.linear(x, w_q, b_q)", "x, w_q, b_q", ((2, 4), (3, 4), (3,))),
    case("linear without bias", "return F.linear(x, w) + b", "F.linear(x, w, b)"),
    case("addmm", "return torch.mm(x, w) + b", "torch.addmm(b, x, w)", "x, w, b", ((2, 4), (4, 3), (2, 3))),
    case(
        "addmm with numbers",
        "return 0.5 * b + 2 * torch.mm(x, w)",
        "torch.addmm(b, x, w, beta=0.5, alpha=2)",
        "x, w, b",
        ((2, 4), (4, 3), (2, 3)),
    ),
    case(
        "addmm with one number",
        "return b + 2 * torch.mm(x, w)",
        "torch.addmm(b, x, w, alpha=2)",
        "x, w, b",
        ((2, 4), (4, 3), (3,)),
    ),
    case(
        "addmm subtracted", "return b - x.mm(w)", "torch.addmm(b, x, w, alpha=-1)", "x, w, b", ((2, 4), (4, 3), (2, 3))
    ),
    case("addmm less", "return x.mm(w) - b", "torch.addmm(b, x, w, beta=-1)", "x, w, b", ((2, 4), (4, 3), (2, 3))),
    case(
        "addmm of shown matrices",
        "n, k = x.shape\nk, m = w.shape\nreturn x @ w + b",
        "torch.addmm(b, x, w)",
        "x, w, b",
        ((2, 4), (4, 3), (3,)),
    ),
    case(
        "addmm by a default",
        "return b + alpha * torch.mm(x, w)",
        "torch.addmm(b, x, w, alpha=alpha)",
        "x, w, b, alpha=0.5",
        ((2, 4), (4, 3), (3,)),
    ),
    case(
        "baddbmm", "return torch.bmm(x, w) + b", "torch.baddbmm(b, x, w)", "x, w, b", ((2, 3, 4), (2, 4, 5), (2, 3, 5))
    ),
    case(
        "baddbmm scaled",
        "return b + x.bmm(w) / 8",
        "torch.baddbmm(b, x, w, alpha=0.125)",
        "x, w, b",
        ((2, 3, 4), (2, 4, 5), (1, 3, 5)),
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


def miss(id: str, body: str, reason: str = "", arguments: str = "x, w, b", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


NEGATIVES = [
    miss("not transposed", "return x @ w + b", "2 dimensions"),
    miss("a residual", "return x @ w.t() + r", "is a bias", "x, w, r"),
    miss("attention", "return q @ k.transpose(-1, -2) + attn_bias", "dimensions", "q, k, attn_bias"),
    miss("attention by mT", "return torch.matmul(q, k.mT) + b", "dimensions", "q, k, b"),
    miss("attention by transpose", "return q @ k.transpose(0, 1) + b", "dimensions", "q, k, b"),
    miss("a position bias", "return q @ k.t() + position_bias", "is a bias", "q, k, position_bias"),
    miss("other dimensions", "return q @ k.transpose(1, 2) + b", "dimensions", "q, k, b"),
    miss("a number", "return x @ w.t() + 1"),
    miss("item", "return torch.mm(x, w) + b.item()", "no tensor"),
    miss("scaled", "return 2 * (x @ w.t()) + b", "dimensions"),
    miss("used again", "y = x @ w.t()\nreturn y, y + b", "used again"),
    miss("a bias of two dimensions", "n, m = b.shape\nreturn x @ w.t() + b", "1 dimension"),
    miss("a bias of more dimensions", "return torch.mm(x, w) + b[None, None, None]", "more dimensions"),
    miss("an unknown number", "return b + s * torch.mm(x, w)", "", "x, w, b, s"),
    miss("a weight of three dimensions", "n, m, k = w.shape\nreturn x @ w.mT + b", "2 dimensions"),
    miss("a product", "return (x @ w.t()) * b"),
    miss("autocast", "with torch.autocast('cpu'):\n    return x @ w.t() + b", "autocast"),
    miss("written in between", "y = x @ w.t()\nx.zero_()\nreturn y + b", "changed in between"),
    miss("einsum", "return torch.einsum('ij,kj->ik', x, w) * b"),
    miss("numpy", "return x @ w.T + b", "numpy", "x, w, b", "import numpy as np\nimport torch\n"),
    miss("integers", "i = torch.arange(4)[None]\nreturn torch.mm(i, i.t()) + i", "integers"),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
