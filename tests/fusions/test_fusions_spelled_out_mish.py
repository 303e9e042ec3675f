"""FUS403: x times tanh of softplus is Mish, by whatever softplus is spelled."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, function, in_layers, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS403"
INPUT: Inputs = (torch.tensor([[-30.0, -6.0, -3.0, -0.7], [0.0, 0.2, 4.0, 25.0]], dtype=torch.float64),)


@dataclass
class Case:
    """One file and what must stand in it afterwards."""

    id: str
    text: str
    after: str = "mish(x)"


CASES = [
    Case("torch.tanh", function("return x * torch.tanh(F.softplus(x))")),
    Case("the other order", function("return torch.tanh(F.softplus(x)) * x")),
    Case("a method", function("return x * F.softplus(x).tanh()")),
    Case("F.tanh", function("return x * F.tanh(F.softplus(x))")),
    Case("torch.mul", function("return torch.mul(x, torch.tanh(F.softplus(x)))")),
    Case("the defaults written out", function("return x * torch.tanh(F.softplus(x, beta=1, threshold=20))")),
    Case("the defaults by position", function("return x * torch.tanh(F.softplus(x, 1, 20))")),
    Case("keywords", function("return x * torch.tanh(input=F.softplus(input=x))")),
    Case("in steps", function("s = F.softplus(x)\nt = torch.tanh(s)\nreturn x * t")),
    Case("a layer on the spot", function("return x * torch.tanh(torch.nn.Softplus()(x))")),
    Case("rebound", function("x = x * torch.tanh(F.softplus(x))\nreturn x")),
    Case("of a sum", function("y = x + 1\nreturn y * torch.tanh(F.softplus(y))"), after="mish(y)"),
    Case("layers", in_layers("self.tanh = nn.Tanh()\nself.sp = nn.Softplus()", "return x * self.tanh(self.sp(x))")),
    Case("a layer with defaults", in_layers("self.sp = nn.Softplus(beta=1)", "return x * torch.tanh(self.sp(x))")),
    Case("a class", in_layers("pass", "return x * torch.tanh(F.softplus(x))")),
    Case("in place on what it makes", function("return x * F.softplus(x).tanh_()")),
    Case("log", function("return x * torch.tanh(torch.log(1 + torch.exp(x)))")),
    Case("log of methods", function("return x * (1 + x.exp()).log().tanh()")),
    Case("log1p", function("return x * torch.tanh(torch.log1p(torch.exp(x)))")),
    Case("log in steps", function("e = torch.exp(x)\ns = torch.log(e + 1)\nreturn torch.tanh(s) * x")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, INPUT, codes=frozenset({CODE}), deep=False)
    assert case.after in result.text, result.text
    assert [finding.safety for finding in result.applied] == [Safety.NUMERICS]


def test_the_title_says_where_the_spelled_out_form_overflows() -> None:
    result = equivalent(CASES[-1].text, INPUT, codes=frozenset({CODE}), deep=False)
    assert "overflows" in result.applied[0].title


def miss(id: str, body: str, reason: str = "") -> tuple[str, str, str]:
    return id, function(body, "x, g"), reason


MISSES = [
    miss("another operand", "return g * torch.tanh(F.softplus(x))"),
    miss("a sum", "return x + torch.tanh(F.softplus(x))"),
    miss("beta", "return x * torch.tanh(F.softplus(x, beta=2))"),
    miss("a threshold", "return x * torch.tanh(F.softplus(x, threshold=10))"),
    miss("an unknown beta", "return x * torch.tanh(F.softplus(x, g))"),
    miss("a scaled argument", "return x * torch.tanh(F.softplus(2 * x))"),
    miss("a scaled softplus", "return x * torch.tanh(2 * F.softplus(x))"),
    miss("sigmoid", "return x * torch.sigmoid(F.softplus(x))"),
    miss("relu", "return x * torch.tanh(F.relu(x))"),
    miss("log of two", "return x * torch.tanh(torch.log(2 + torch.exp(x)))"),
    miss("an epsilon", "return x * torch.tanh(torch.log(1 + 1e-8 + torch.exp(x)))"),
    miss("log of a difference", "return x * torch.tanh(torch.log(1 - torch.exp(x)))"),
    miss("log10", "return x * torch.tanh(torch.log10(1 + torch.exp(x)))"),
    miss("exp of minus", "return x * torch.tanh(torch.log(1 + torch.exp(-x)))"),
    miss("squared", "return x * x * torch.tanh(F.softplus(x))"),
    miss("the gate again", "t = torch.tanh(F.softplus(x))\nreturn x * t + t", "used again"),
    miss("softplus again", "s = F.softplus(x)\nreturn x * torch.tanh(s) + s", "used again"),
    miss("in place", "t = torch.tanh(F.softplus(x))\nx.mul_(2)\nreturn x * t", "changed in between"),
    miss("rebound", "t = torch.tanh(F.softplus(x))\nx = x * 2\nreturn x * t"),
    miss("branches", "t = torch.tanh(F.softplus(x))\nif g:\n    return x * t\nreturn x", "different branches"),
    miss("a write that another name sees", "s = F.softplus(x)\ny = s.view(-1)\nreturn x * s.tanh_() + y.sum()"),
    miss("a write to the input", "return x * x.exp_().add(1).log().tanh()"),
    ("a reference", function("return x * torch.tanh(F.softplus(x))").replace("def f", "def mish_ref"), "reference"),
    (
        "the fallback",
        function("if hasattr(F, 'mish'):\n    return F.mish(x)\nreturn x * torch.tanh(F.softplus(x))"),
        "",
    ),
    ("jax beside torch", "import jax\nimport torch\n\n\ndef f(x):\n    return x * jax.nn.softplus(x).tanh()\n", ""),
    (
        "a layer that is replaced",
        module(
            "self.sp = nn.Softplus()",
            "return x * torch.tanh(self.sp(x))",
            tail="    def soften(self):\n        self.sp = nn.Softplus(2)",
        ),
        "",
    ),
]


@pytest.mark.parametrize(("id", "text", "reason"), MISSES, ids=[one[0] for one in MISSES])
def test_left_alone(id: str, text: str, reason: str) -> None:
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
