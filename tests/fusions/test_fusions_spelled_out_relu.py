"""FUS408: rectifiers by where, maximum, clamp and their like; what differs at a kink is said."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, executed, function, in_layers, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS408"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
NO_KINKS: Inputs = (torch.tensor([[-30.0, -4.0, -2.9, -0.7], [0.1, 0.2, 2.9, 25.0]], dtype=torch.float64),)
INF, NAN = float("inf"), float("nan")
KINKS: Inputs = (torch.tensor([[-INF, -1.0, -0.7, 0.0], [-0.0, 6.0, 25.0, 300.0]], dtype=torch.float64),)


@dataclass
class Case:
    """One file, what must stand in it afterwards, and how safe that is."""

    id: str
    text: str
    after: str
    safety: Safety = NUMERICS


LEAKY = [
    Case("where", function("return torch.where(x > 0, x, 0.1 * x)"), "F.leaky_relu(x, 0.1)", EXACT),
    Case("where, x first", function("return torch.where(x > 0, x, x * 0.2)"), "F.leaky_relu(x, 0.2)", EXACT),
    Case(
        "where, the other comparison", function("return torch.where(0 < x, x, 0.1 * x)"), "F.leaky_relu(x, 0.1)", EXACT
    ),
    Case("where, torch.gt", function("return torch.where(torch.gt(x, 0), x, 0.1 * x)"), "F.leaky_relu(x, 0.1)", EXACT),
    Case("where, a method", function("return torch.where(x.gt(0), x, x.mul(0.1))"), "F.leaky_relu(x, 0.1)", EXACT),
    Case("where, a quotient", function("return torch.where(x > 0.0, x, x / 4)"), "F.leaky_relu(x, 0.25)", EXACT),
    Case("where, turned round", function("return torch.where(x <= 0, 0.1 * x, x)"), "F.leaky_relu(x, 0.1)", EXACT),
    Case(
        "where, in steps",
        function("m = x > 0\ny = 0.1 * x\nreturn torch.where(m, x, y)"),
        "F.leaky_relu(x, 0.1)",
        EXACT,
    ),
    Case("where, a steep slope", function("return torch.where(x > 0, x, 3 * x)"), "F.leaky_relu(x, 3)", EXACT),
    Case("where, a default", function("return torch.where(x > 0, x, s * x)", "x, s=0.3"), "F.leaky_relu(x, s)", EXACT),
    Case(
        "where, a constant",
        function("return torch.where(x > 0, x, S * x)", head="S = 0.3"),
        "F.leaky_relu(x, S)",
        EXACT,
    ),
    Case(
        "where, self.slope",
        in_layers("self.slope = 0.3", "return torch.where(x > 0, x, self.slope * x)"),
        "F.leaky_relu(x, self.slope)",
        EXACT,
    ),
    Case("where, at least", function("return torch.where(x >= 0, x, 0.1 * x)"), "F.leaky_relu(x, 0.1)"),
    Case("where, below", function("return torch.where(x < 0, 0.1 * x, x)"), "F.leaky_relu(x, 0.1)"),
    Case("torch.max", function("return torch.max(x, 0.2 * x)"), "F.leaky_relu(x, 0.2)"),
    Case("torch.max, the other order", function("return torch.max(0.2 * x, x)"), "F.leaky_relu(x, 0.2)"),
    Case("torch.maximum", function("return torch.maximum(x * 0.01, x)"), "F.leaky_relu(x, 0.01)"),
    Case("a method max", function("return x.maximum(0.2 * x)"), "F.leaky_relu(x, 0.2)"),
    Case("max, a default", function("return torch.max(x, leak * x)", "x, leak=0.2"), "F.leaky_relu(x, leak)"),
    Case(
        "max, a default of init",
        in_layers("self.leak = leak", "return torch.max(x, self.leak * x)").replace(
            "__init__(self)", "__init__(self, leak=0.2)"
        ),
        "F.leaky_relu(x, self.leak)",
    ),
    Case("two relus", function("return F.relu(x) - 0.2 * F.relu(-x)"), "F.leaky_relu(x, 0.2)"),
]

RELU = [
    Case("maximum", function("return torch.maximum(x, torch.zeros_like(x))"), "torch.relu(x)"),
    Case("max", function("return torch.max(torch.zeros_like(x), x)"), "torch.relu(x)"),
    Case("max of a tensor", function("return torch.max(x, torch.tensor(0.0))"), "torch.relu(x)"),
    Case("maximum of a method", function("return x.maximum(torch.zeros_like(x))"), "torch.relu(x)"),
    Case("a hinge", function("pos = 1 - x\nreturn torch.max(pos, torch.zeros_like(pos))"), "torch.relu(pos)"),
    Case("zeros in a name", function("zero = torch.zeros_like(x)\nreturn torch.max(x, zero)"), "torch.relu(x)"),
    Case("where", function("return torch.where(x > 0, x, 0.0)"), "torch.relu(x)"),
    Case("where of zeros", function("return torch.where(x > 0, x, torch.zeros_like(x))"), "torch.relu(x)"),
    Case("where of a tensor", function("return torch.where(x > 0, x, torch.tensor(0.0))"), "torch.relu(x)"),
    Case("where, at least", function("return torch.where(x >= 0, x, 0.0)"), "torch.relu(x)"),
    Case("where, below", function("return torch.where(x < 0, torch.zeros_like(x), x)"), "torch.relu(x)"),
    Case("where, at most", function("return torch.where(x <= 0, torch.zeros_like(x), x)"), "torch.relu(x)", EXACT),
]

RELU6 = [
    Case("clamp", function("return x.clamp(0, 6)"), "F.relu6(x)"),
    Case("torch.clamp", function("return torch.clamp(x, min=0.0, max=6.0)"), "F.relu6(x)"),
    Case("clip", function("return torch.clip(x, 0, 6)"), "F.relu6(x)"),
    Case("clamp in place", function("return (x + 1).clamp_(0, 6)"), "F.relu6(x + 1)"),
    Case("clamp of relu", function("return F.relu(x).clamp(max=6)"), "F.relu6(x)"),
    Case("clamp twice", function("return x.clamp(min=0).clamp(max=6)"), "F.relu6(x)"),
    Case("clamp_min, clamp_max", function("return x.clamp_min(0).clamp_max(6)"), "F.relu6(x)"),
    Case("minimum of relu", function("return torch.minimum(torch.relu(x), torch.tensor(6.0))"), "F.relu6(x)"),
    Case("min of max", function("return torch.min(torch.max(x, torch.tensor(0.0)), torch.tensor(6.0))"), "F.relu6(x)"),
    Case("a layer", in_layers("self.relu = nn.ReLU()", "return self.relu(x).clamp(max=6.0)"), "F.relu6(x)"),
]

ELU = [
    Case("where", function("return torch.where(x > 0, x, torch.exp(x) - 1)"), "F.elu(x)"),
    Case("where, expm1", function("return torch.where(x > 0, x, torch.expm1(x))"), "F.elu(x)"),
    Case("where, methods", function("return torch.where(x > 0, x, x.exp().sub(1))"), "F.elu(x)"),
    Case("where, alpha", function("return torch.where(x > 0, x, 1.5 * (torch.exp(x) - 1))"), "F.elu(x, 1.5)"),
    Case("where, alpha of expm1", function("return torch.where(x > 0, x, torch.expm1(x) * 1.5)"), "F.elu(x, 1.5)"),
    Case("where, alpha in", function("return torch.where(x > 0, x, 1.5 * torch.exp(x) - 1.5)"), "F.elu(x, 1.5)"),
    Case(
        "where, alpha by name",
        function("return torch.where(x > 0, x, a * (torch.exp(x) - 1))", "x, a=0.5"),
        "F.elu(x, a)",
    ),
    Case(
        "where, self.alpha",
        in_layers("self.alpha = 0.5", "return torch.where(x > 0, x, self.alpha * (x.exp() - 1))"),
        "F.elu(x, self.alpha)",
    ),
    Case("where, below", function("return torch.where(x < 0, 2.0 * (torch.exp(x) - 1), x)"), "F.elu(x, 2.0)"),
    Case("where, at most", function("return torch.where(x <= 0, torch.exp(x) - 1, x)"), "F.elu(x)"),
    Case("scaled", function("return 1.05 * torch.where(x > 0, x, 1.67 * (torch.exp(x) - 1))"), "1.05 * F.elu(x, 1.67)"),
    Case(
        "in steps",
        function("e = torch.exp(x)\nbelow = 1.5 * (e - 1)\nreturn torch.where(x > 0, x, below)"),
        "F.elu(x, 1.5)",
    ),
    Case("without overflow", function("return torch.where(x > 0, x, torch.expm1(x.clamp(max=0)))"), "F.elu(x)"),
    Case(
        "selu",
        function(
            "a, s = 1.6732632423543772, 1.0507009873554805\nreturn s * torch.where(x > 0, x, a * (torch.exp(x) - 1))"
        ),
        "F.selu(x)",
    ),
    Case(
        "selu by elu",
        function("return 1.0507009873554804934193349852946 * F.elu(x, 1.6732632423543772848170429916717)"),
        "F.selu(x)",
        EXACT,
    ),
]

SOFTSIGN = [
    Case("abs", function("return x / (1 + x.abs())"), "F.softsign(x)", EXACT),
    Case("torch.abs", function("return x / (torch.abs(x) + 1.0)"), "F.softsign(x)", EXACT),
    Case("torch.div", function("return torch.div(x, 1 + torch.abs(x))"), "F.softsign(x)", EXACT),
    Case("a reciprocal", function("return x * (1 / (1 + torch.abs(x)))"), "F.softsign(x)"),
    Case("in steps", function("d = 1 + torch.abs(x)\nreturn x / d"), "F.softsign(x)", EXACT),
]

CASES = [
    pytest.param(case, id=f"{kind}: {case.id}")
    for kind, cases in (("leaky", LEAKY), ("relu", RELU), ("relu6", RELU6), ("elu", ELU), ("softsign", SOFTSIGN))
    for case in cases
]


@pytest.mark.parametrize("case", CASES)
def test_replaced(case: Case) -> None:
    finite = case.after.endswith("softsign(x)") or "class M" in case.text
    inputs = NO_KINKS if case.safety is NUMERICS or finite else KINKS
    result = equivalent(
        case.text, inputs, codes=frozenset({CODE}), tolerance=1e-7 if "1.67" in case.text else 1e-11, deep=False
    )
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {case.safety}


@pytest.mark.parametrize(
    ("body", "at", "said"),
    [
        ("torch.max(x, 0.2 * x)", 0.0, "gradient at exactly 0"),
        ("torch.where(x >= 0, x, 0.2 * x)", 0.0, "gradient at exactly 0"),
        ("torch.maximum(x, torch.zeros_like(x))", 0.0, "gradient at exactly 0"),
        ("torch.where(x >= 0, x, 0.0)", 0.0, "gradient at exactly 0"),
        ("torch.where(x > 0, x, 0.0)", NAN, "NaN"),
        ("x.clamp(0, 6)", 6.0, "0 and 6"),
        ("F.relu(x).clamp(max=6)", 6.0, "exactly 6"),
        ("torch.where(x > 0, x, torch.exp(x) - 1)", 1000.0, "overflows"),
    ],
)
def test_what_differs_is_in_the_title(body: str, at: float, said: str) -> None:
    before = function(f"return {body}")
    after = equivalent(before, NO_KINKS, codes=frozenset({CODE}), deep=False)
    assert said in after.applied[0].title
    found: list[list[float]] = []
    for text in (before, after.text):
        x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        with executed(text) as file:
            y = file.f(x)
        y.sum().backward()
        assert x.grad is not None
        found.append([y.item(), x.grad.item()])
    assert found[0] != found[1]


def miss(id: str, body: str, reason: str = "", arguments: str = "x, g") -> tuple[str, str, str]:
    return id, function(body, arguments), reason


MISSES = [
    miss("clamp from 0", "return x.clamp(min=0)"),
    miss("clamp from 0 by position", "return torch.clamp(x, 0)"),
    miss("clamp to 1", "return torch.clamp(x, 0, 1)"),
    miss("clamp to 5", "return torch.clamp(x, 0, 5)"),
    miss("clamp from -1", "return torch.clamp(x, -1, 6)"),
    miss("clamp to a name", "return torch.clamp(x, 0, g)"),
    miss("clamp of the input in place", "return x.clamp_(0, 6)"),
    miss("clamp of a view in place", "return x[0].clamp_(0, 6)"),
    miss("an image", "return (x * 255).clamp(0, 255)"),
    miss("where of another", "return torch.where(x > 0, g, 0.1 * x)"),
    miss("where of another condition", "return torch.where(g > 0, x, 0.1 * x)"),
    miss("where above one", "return torch.where(x > 1, x, 0.1 * x)"),
    miss("where the wrong way", "return torch.where(x > 0, 0.1 * x, x)"),
    miss("where below, the wrong way", "return torch.where(x < 0, x, 0.1 * x)"),
    miss("where equal", "return torch.where(x == 0, x, 0.1 * x)"),
    miss("where of one", "return torch.where(x > 0, x, 1.0)"),
    miss("where of both", "return torch.where((x > 0) & (x < 1), x, 0.1 * x)"),
    miss("where shifted", "return torch.where(x > 0, x, 0.1 * x + 1)"),
    miss("where squared", "return torch.where(x > 0, x, 0.1 * x * x)"),
    miss("where of a condition alone", "return torch.where(x > 0)"),
    miss("numpy's where", "return np.where(x > 0, x, 0.1 * x)"),
    miss("numpy's maximum", "return np.maximum(x, 0)"),
    miss("a learned slope", "return torch.where(x > 0, x, g * x)", "not shown"),
    miss("a steep maximum", "return torch.max(x, 2 * x)", "not from 0 to 1"),
    miss("a falling maximum", "return torch.max(x, -0.5 * x)", "not from 0 to 1"),
    miss("a maximum by name", "return torch.max(x, g * x)", ""),
    miss("a steep default", "return torch.max(x, k * x)", "not from 0 to 1", "x, k=2.0"),
    miss("an annotation without a default", "return torch.max(x, k * x)", "not shown", "x, k: float"),
    miss("a minimum", "return torch.min(x, 0.2 * x)"),
    miss("a maximum over a dimension", "return torch.max(x, 0)"),
    miss("a maximum of two", "return torch.maximum(x, g)"),
    miss("a maximum with one", "return torch.maximum(x, torch.ones_like(x))"),
    miss("Python's max", "return max(x, 0)"),
    miss("exp alone", "return torch.where(x > 0, x, torch.exp(x))"),
    miss("exp of another", "return torch.where(x > 0, x, torch.exp(g) - 1)"),
    miss("exp minus two", "return torch.where(x > 0, x, torch.exp(x) - 2)"),
    miss("celu", "return torch.where(x > 0, x, 2 * (torch.exp(x / 2) - 1))"),
    miss("half a selu", "return 1.0507 * F.elu(x, 1.6733)"),
    miss("selu of elu", "return 1.0507009873554805 * F.elu(x)"),
    miss("x by one plus x", "return x / (1 + x)"),
    miss("x by two plus abs", "return x / (2 + x.abs())"),
    miss("x by one plus eps and abs", "return x / (1 + 1e-8 + x.abs())"),
    miss("x by abs", "return x / x.abs()"),
    miss("another by one plus abs", "return g / (1 + x.abs())"),
    miss("x by a norm", "return x / (1 + x.norm())"),
    miss("one minus abs", "return x / (1 - x.abs())"),
    miss("the mask again", "m = x > 0\nreturn torch.where(m, x, 0.1 * x) * m", "used again"),
    miss("exp again", "e = torch.exp(x)\nreturn torch.where(x > 0, x, e - 1) + e", "used again"),
    miss("abs again", "a = x.abs()\nreturn x / (1 + a), a", "used again"),
    miss("in place between", "m = x > 0\nx.add_(1)\nreturn torch.where(m, x, 0.1 * x)", "changed in between"),
    miss("rebound between", "m = x > 0\nx = x + 1\nreturn torch.where(m, x, 0.1 * x)"),
    miss("labels", "return torch.where(labels > 0, labels, 0)", "no activation", "labels"),
    miss("an index", "return torch.maximum(idx, torch.zeros_like(idx))", "no activation", "idx"),
    miss("an index that is made", "i = torch.arange(4)\nreturn torch.where(i > 0, i, 0)", "integers"),
    miss("an integer", "i = x.long()\nreturn i.clamp(0, 6)", "integers"),
    miss("an index of the largest", "i = x.argmax(-1)\nreturn torch.clamp(i, 0, 6)", "integers"),
    (
        "a bucket",
        function("return torch.max(x, torch.zeros_like(x))").replace("def f", "def position_bucket"),
        "no activation",
    ),
    ("a reference", function("return torch.where(x > 0, x, 0.1 * x)").replace("def f", "def leaky_ref"), "reference"),
    (
        "a parameter",
        module("self.s = nn.Parameter(torch.ones(4))", "return torch.where(x > 0, x, self.s * x)"),
        "not shown",
    ),
    ("jax beside torch", "import jax.numpy as jnp\nimport torch\n\n\ndef f(x):\n    return jnp.maximum(x, 0)\n", ""),
]


@pytest.mark.parametrize(("id", "text", "reason"), MISSES, ids=[one[0] for one in MISSES])
def test_left_alone(id: str, text: str, reason: str) -> None:
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
