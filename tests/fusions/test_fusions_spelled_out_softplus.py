"""FUS404: log(1 + exp(x)) is softplus, with beta where it is divided by it, and finite where exp overflows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, executed, function, in_layers, refused
from fuselight.fusions.model import Safety

CODE = "FUS404"
INPUT: Inputs = (torch.tensor([[-30.0, -6.0, -3.0, -0.7], [0.1, 0.2, 4.0, 9.0]], dtype=torch.float64),)
LARGE: Inputs = (torch.tensor([-50.0, 0.0, 19.0, 21.0, 50.0], dtype=torch.float64),)


@dataclass
class Case:
    """One file and what must stand in it afterwards."""

    id: str
    text: str
    after: str = "F.softplus(x)"
    inputs: Inputs = INPUT
    tolerance: float = 1e-11


CASES = [
    Case("log", function("return torch.log(1 + torch.exp(x))")),
    Case("log, the other order", function("return torch.log(torch.exp(x) + 1.0)")),
    Case("methods", function("return x.exp().add(1).log()")),
    Case("torch.add", function("return torch.log(torch.add(torch.exp(x), 1))")),
    Case("log1p", function("return torch.log1p(torch.exp(x))")),
    Case("log1p, methods", function("return x.exp().log1p()")),
    Case("torch.special", function("return torch.special.log1p(torch.exp(x))")),
    Case("in steps", function("e = torch.exp(x)\ns = 1 + e\nreturn torch.log(s)")),
    Case("of minus", function("return torch.log(1 + torch.exp(-x))"), "F.softplus(-x)"),
    Case(
        "a loss",
        function("return torch.log(1 + torch.exp(-y * x)).mean()", "x, y"),
        "F.softplus(-y * x).mean()",
        (*INPUT, *INPUT),
        1e-10,
    ),
    Case("a factor alone", function("return torch.log(1 + torch.exp(2.0 * x))"), "F.softplus(2.0 * x)"),
    Case("a number", function("return torch.log(1 + torch.exp(2.0 * x)) / 2.0"), "F.softplus(x, beta=2.0)"),
    Case("half", function("return 0.5 * torch.log(1 + torch.exp(2 * x))"), "F.softplus(x, beta=2)"),
    Case("one by beta", function("return (1 / 3.0) * torch.log(1 + torch.exp(3.0 * x))"), "F.softplus(x, beta=3.0)"),
    Case("log1p and beta", function("return torch.log1p(torch.exp(x * 2.0)) / 2.0"), "F.softplus(x, beta=2.0)"),
    Case(
        "a default",
        function("return torch.log(1 + torch.exp(beta * x)) / beta", "x, beta=2.0"),
        "F.softplus(x, beta=beta)",
    ),
    Case(
        "an annotation",
        function("return 1.0 / beta * torch.log(1 + torch.exp(beta * x))", "x, beta: float = 0.5"),
        "F.softplus(x, beta=beta)",
    ),
    Case(
        "a local",
        function("beta = 2.0\ne = torch.exp(beta * x)\nreturn torch.log(1 + e) / beta"),
        "F.softplus(x, beta=",
    ),
    Case(
        "a constant",
        function("return torch.log(1 + torch.exp(BETA * x)) / BETA", head="BETA = 2.0"),
        "F.softplus(x, beta=BETA)",
    ),
    Case(
        "self.beta",
        in_layers("self.beta = 2.0", "return torch.log(1 + torch.exp(self.beta * x)) / self.beta"),
        "F.softplus(x, beta=self.beta)",
    ),
    Case("another divisor", function("return torch.log(1 + torch.exp(2.0 * x)) / 3.0"), "F.softplus(2.0 * x) / 3.0"),
    Case("a class", in_layers("pass", "return torch.log(1 + torch.exp(x))")),
    Case(
        "that does not overflow", function("return F.relu(x) + torch.log(1 + torch.exp(-torch.abs(x)))"), inputs=INPUT
    ),
    Case(
        "that does not overflow, log1p", function("return x.clamp(min=0) + torch.log1p((-x.abs()).exp())"), inputs=INPUT
    ),
    Case("logaddexp", function("return torch.logaddexp(x, torch.zeros_like(x))"), inputs=LARGE, tolerance=1e-9),
    Case(
        "logaddexp, the other order",
        function("return torch.logaddexp(torch.tensor(0.0), x)"),
        inputs=LARGE,
        tolerance=1e-9,
    ),
    Case("with its threshold", function("return torch.where(x > 20, x, torch.log(1 + torch.exp(x)))"), inputs=LARGE),
    Case("with its threshold, log1p", function("return torch.where(x > 20.0, x, x.exp().log1p())"), inputs=LARGE),
    Case("turned round", function("return torch.where(x <= 20, torch.log1p(torch.exp(x)), x)"), inputs=LARGE),
    Case(
        "with another threshold",
        function("return torch.where(x > 10, x, torch.log(1 + torch.exp(x)))"),
        "F.softplus(x, threshold=10)",
        LARGE,
    ),
    Case("in a sum", function("return torch.log(1 + torch.exp(x)) - x * 0.3"), "F.softplus(x) - x * 0.3"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), tolerance=case.tolerance, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {Safety.NUMERICS}


def test_the_call_is_finite_where_exp_overflows() -> None:
    before = function("return torch.log(1 + torch.exp(x))")
    after = equivalent(before, INPUT, codes=frozenset({CODE}), deep=False)
    assert "finite where exp(x) overflows" in after.applied[0].title
    for text, finite in ((before, False), (after.text, True)):
        x = torch.tensor([1000.0, -1000.0], dtype=torch.float64, requires_grad=True)
        with executed(text) as file:
            y = file.f(x)
        y.sum().backward()
        assert x.grad is not None
        assert bool(y.isfinite().all()) is finite
        assert bool(x.grad.isfinite().all()) is finite


def miss(id: str, body: str, reason: str = "", arguments: str = "x, g") -> tuple[str, str, str]:
    return id, function(body, arguments), reason


MISSES = [
    miss("the inverse", "return torch.log(torch.exp(x) - 1)"),
    miss("one minus", "return torch.log(1 - torch.exp(x))"),
    miss("two", "return torch.log(2 + torch.exp(x))"),
    miss("twice exp", "return torch.log(1 + 2 * torch.exp(x))"),
    miss("an epsilon", "return torch.log(1 + torch.exp(x) + 1e-8)"),
    miss("an epsilon first", "return torch.log(1e-7 + 1 + torch.exp(x))"),
    miss("one and a bit", "return torch.log(1.0000001 + torch.exp(x))"),
    miss("an epsilon beside exp", "return torch.log1p(torch.exp(x) + 1e-8)"),
    miss("a third summand", "return torch.log(1 + torch.exp(x) + torch.exp(g))"),
    miss("log2", "return torch.log2(1 + torch.exp(x))"),
    miss("log10", "return torch.log10(1 + torch.exp(x))"),
    miss("exp2", "return torch.log(1 + torch.exp2(x))"),
    miss("expm1", "return torch.log(1 + torch.expm1(x))"),
    miss("log1p of one more", "return torch.log1p(1 + torch.exp(x))"),
    miss("a product", "return torch.log(1 * torch.exp(x))"),
    miss("logaddexp of two", "return torch.logaddexp(x, g)"),
    miss("exp is used again", "e = torch.exp(x)\nreturn torch.log(1 + e) + e", "used again"),
    miss("exp is returned", "e = torch.exp(x)\nreturn torch.log(1 + e), e", "used again"),
    miss("in place", "e = torch.exp(x)\nx.add_(1)\nreturn torch.log(1 + e)", "changed in between"),
    miss("in place, of the input", "return x.exp_().add_(1).log_()"),
    miss("rebound", "e = torch.exp(x)\nx = g\nreturn torch.log(1 + e)", "not at hand"),
    miss("a branch", "e = torch.exp(x)\nif g:\n    return torch.log(1 + e)\nreturn x", "different branches"),
    miss("math", "return math.log(1 + math.exp(x)) * torch.pi"),
    miss("numpy", "return np.log(1 + np.exp(x))"),
    miss("out", "return torch.log(1 + torch.exp(x), out=g)"),
    ("a reference", function("return torch.log(1 + torch.exp(x))").replace("def f", "def naive_softplus"), "reference"),
    (
        "a function of the gradient",
        "import torch\n\n\nclass S(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
        "        ctx.save_for_backward(x)\n        return torch.log(1 + torch.exp(x))\n",
        "autograd",
    ),
]


@pytest.mark.parametrize(("id", "text", "reason"), MISSES, ids=[one[0] for one in MISSES])
def test_left_alone(id: str, text: str, reason: str) -> None:
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
