"""FUS405: the logarithm of a sigmoid, or of one minus it, is logsigmoid; an epsilon inside makes it another one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, executed, function, in_layers, refused
from fuselight.fusions.model import Safety

CODE = "FUS405"
INPUT: Inputs = (torch.tensor([[-19.0, -6.0, -3.0, -0.7], [0.0, 0.2, 4.0, 9.0]], dtype=torch.float64),)


@dataclass
class Case:
    """One file and what must stand in it afterwards."""

    id: str
    text: str
    after: str = "F.logsigmoid(x)"


CASES = [
    Case("log", function("return torch.log(torch.sigmoid(x))")),
    Case("methods", function("return x.sigmoid().log()")),
    Case("F.sigmoid", function("return torch.log(F.sigmoid(x))")),
    Case("expit", function("return torch.log(torch.special.expit(x))")),
    Case("a loss", function("return -torch.log(torch.sigmoid(x)).mean()"), "-F.logsigmoid(x).mean()"),
    Case("in steps", function("p = torch.sigmoid(x)\nq = torch.log(p)\nreturn q")),
    Case("of a difference", function("return -torch.log(torch.sigmoid(x - y))", "x, y"), "-F.logsigmoid(x - y)"),
    Case("of minus", function("return torch.log(torch.sigmoid(-x))"), "F.logsigmoid(-x)"),
    Case("one minus", function("return torch.log(1 - torch.sigmoid(x))"), "F.logsigmoid(-x)"),
    Case("one minus, methods", function("return (1.0 - x.sigmoid()).log()"), "F.logsigmoid(-x)"),
    Case("minus and one", function("return torch.log(-torch.sigmoid(x) + 1)"), "F.logsigmoid(-x)"),
    Case("one minus, in steps", function("p = torch.sigmoid(x)\nq = 1 - p\nreturn torch.log(q)"), "F.logsigmoid(-x)"),
    Case("one minus, of a sum", function("return torch.log(1 - torch.sigmoid(x + 1))"), "F.logsigmoid(-(x + 1))"),
    Case("one minus, of minus", function("return torch.log(1 - torch.sigmoid(-x))"), "F.logsigmoid(x)"),
    Case("log1p", function("return torch.log1p(-torch.sigmoid(x))"), "F.logsigmoid(-x)"),
    Case("spelled out", function("return torch.log(1 / (1 + torch.exp(-x)))")),
    Case("spelled out otherwise", function("return torch.log(torch.exp(x) / (1 + torch.exp(x)))")),
    Case("minus log", function("return -torch.log(1 + torch.exp(-x))")),
    Case("minus log1p", function("return -torch.log1p(torch.exp(-x))")),
    Case("minus softplus", function("return -F.softplus(-x)")),
    Case("minus softplus, a layer", in_layers("self.sp = nn.Softplus()", "return -self.sp(-x)")),
    Case("x minus softplus", function("return x - F.softplus(x)")),
    Case("x minus log", function("return x - torch.log(1 + torch.exp(x))")),
    Case("a layer", in_layers("self.act = nn.Sigmoid()", "return torch.log(self.act(x))")),
    Case(
        "probabilities that stay", function("p = torch.sigmoid(x)\nreturn torch.log(p), p"), "return F.logsigmoid(x), p"
    ),
    Case(
        "both of one sigmoid",
        function("p = torch.sigmoid(x)\nreturn y * torch.log(p) + y * torch.log(1 - p) * 2", "x, y"),
        "return y * F.logsigmoid(x) + y * F.logsigmoid(-x) * 2",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    inputs = (*INPUT, *INPUT) if "(x, y)" in case.text else INPUT
    result = equivalent(case.text, inputs, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {Safety.NUMERICS}


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ("torch.log(torch.sigmoid(x))", -1000.0),
        ("torch.log(1 - torch.sigmoid(x))", 1000.0),
        ("torch.log(1 / (1 + torch.exp(-x)))", -1000.0),
        ("-torch.log(1 + torch.exp(-x))", -1000.0),
        ("x - torch.log(1 + torch.exp(x))", 1000.0),
    ],
)
def test_the_call_is_finite_where_the_spelled_out_form_is_not(body: str, at: float) -> None:
    before = function(f"return {body}")
    after = equivalent(before, INPUT, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert "finite" in after.applied[0].title
    for text, finite in ((before, False), (after.text, True)):
        x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        with executed(text) as file:
            y = file.f(x)
        y.sum().backward()
        assert x.grad is not None
        assert bool(y.isfinite().all() and x.grad.isfinite().all()) is finite


def miss(id: str, body: str, reason: str = "", arguments: str = "x, g") -> tuple[str, str, str]:
    return id, function(body, arguments), reason


MISSES = [
    miss("an epsilon", "return torch.log(torch.sigmoid(x) + 1e-8)"),
    miss("an epsilon first", "return torch.log(1e-8 + torch.sigmoid(x))"),
    miss("an epsilon of one minus", "return torch.log(1 - torch.sigmoid(x) + 1e-8)"),
    miss("an epsilon in the one", "return torch.log(1 + 1e-8 - torch.sigmoid(x))"),
    miss("an epsilon by name", "eps = 1e-10\nreturn torch.log(1 - torch.sigmoid(x) + eps)"),
    miss("an epsilon of self", "return torch.log(torch.sigmoid(x) + g.eps)"),
    miss("clamped", "return torch.log(torch.sigmoid(x).clamp(1e-7, 1 - 1e-7))"),
    miss("clamped in steps", "p = torch.sigmoid(x)\np = torch.clamp(p, min=1e-7)\nreturn torch.log(p)"),
    miss("two minus", "return torch.log(2 - torch.sigmoid(x))"),
    miss("one plus", "return torch.log(1 + torch.sigmoid(x))"),
    miss("half of it", "return torch.log(0.5 * torch.sigmoid(x))"),
    miss("log2", "return torch.log2(torch.sigmoid(x))"),
    miss("log10", "return torch.log10(torch.sigmoid(x))"),
    miss("log1p of it", "return torch.log1p(torch.sigmoid(x))"),
    miss("softmax", "return torch.log(torch.softmax(x, -1))"),
    miss("softplus alone", "return F.softplus(-x)"),
    miss("minus softplus of x", "return -F.softplus(x)"),
    miss("minus softplus with beta", "return -F.softplus(-x, beta=2)"),
    miss("another minus softplus", "return g - F.softplus(x)"),
    miss("plus softplus", "return x + F.softplus(x)"),
    miss("the logit", "return torch.log(torch.sigmoid(x) / (1 - torch.sigmoid(x)))"),
    miss("a mean between", "return torch.log(torch.sigmoid(x).mean())"),
    miss("a product between", "return torch.log(torch.sigmoid(x) * g)"),
    miss("in place", "p = torch.sigmoid(x)\nx.mul_(2)\nreturn torch.log(p)", "changed in between"),
    miss("the sigmoid in place", "p = torch.sigmoid(x)\np.mul_(0.5)\nreturn torch.log(p)"),
    miss("the sigmoid in place by +=", "p = torch.sigmoid(x)\np += 1e-8\nreturn torch.log(p)"),
    miss("the input in place", "return torch.log(x.sigmoid_())"),
    miss("rebound", "p = torch.sigmoid(x)\nx = g\nreturn torch.log(p) + x", "not at hand"),
    miss("of a call", "p = torch.sigmoid(g(x))\nh(x)\nreturn torch.log(p), p", "", "x, g, h"),
    miss("in a branch", "p = torch.sigmoid(x)\nif g:\n    return torch.log(p)\nreturn p", "not at hand"),
    miss("math", "return math.log(torch.sigmoid(x))"),
    miss("numpy", "return np.log(torch.sigmoid(x))"),
    ("a test", function("return torch.log(torch.sigmoid(x))").replace("def f", "def test_loss"), "reference"),
    (
        "a sigmoid of the file",
        "import torch\n\n\ndef sigmoid(x):\n    return x\n\n\ndef f(x):\n    return torch.log(sigmoid(x))\n",
        "",
    ),
]


@pytest.mark.parametrize(("id", "text", "reason"), MISSES, ids=[one[0] for one in MISSES])
def test_left_alone(id: str, text: str, reason: str) -> None:
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
