"""FUS107: an activation of what is activated already goes; what only looks like it stays."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused, rewritten
from fuselight.fusions.model import Safety

CODE = "FUS107"
EDGES = torch.tensor([[-7.0, -6.0, -1.0, -0.5, -0.0], [0.0, 0.5, 1.0, 6.0, 7.0]], dtype=torch.float64)
"""Zeros and bounds, where the gradients are decided by convention."""

FUNCTIONS = [
    ("relu twice", "return F.relu(F.relu(x))", "return F.relu(x)"),
    ("by methods", "return x.relu().relu()", "return x.relu()"),
    ("in steps", "x = F.relu(x)\nx = torch.relu(x)\nreturn x + 1", "x = F.relu(x)\n        return x + 1"),
    ("in steps with two names", "y = F.relu(x)\nz = torch.relu(y)\nreturn z + 1", "z = y"),
    ("relu6 of relu", "return F.relu6(F.relu(x))", "return F.relu6(x)"),
    ("relu of relu6", "return F.relu(F.relu6(x))", "return F.relu6(x)"),
    ("relu6 twice", "return F.relu6(F.relu6(x))", "return F.relu6(x)"),
    ("abs twice", "return x.abs().abs()", "return x.abs()"),
    ("relu of abs", "return torch.relu(torch.abs(x))", "return torch.abs(x)"),
    ("abs of relu", "return torch.abs(torch.relu(x))", "return torch.relu(x)"),
    ("abs of relu6", "return F.relu6(x).abs()", "return F.relu6(x)"),
    ("hardtanh twice", "return F.hardtanh(F.hardtanh(x))", "return F.hardtanh(x)"),
    ("hardtanh of the same bounds", "return F.hardtanh(F.hardtanh(x, -2.0, 6), -2, 6.0)", "F.hardtanh(x, -2.0, 6)"),
    ("three", "return F.relu(F.relu(F.relu(x)))", "return F.relu(x)"),
    ("of an operator", "return F.relu6(F.relu(x + 1))", "return F.relu6(x + 1)"),
    ("a method of an operator", "return torch.relu(x - 1).relu()", "return torch.relu(x - 1)"),
    ("asked not to work in place", "return F.relu(F.relu(x, inplace=False))", "return F.relu(x, inplace=False)"),
    ("in a larger expression", "return 1 + F.relu(F.relu(x)).sum()", "return 1 + F.relu(x).sum()"),
    ("over lines", "return F.relu(\n    F.relu(x)  # first\n)", "# first"),
    (
        "an operand over lines",
        "return F.relu(\n    F.relu(\n        x.cos()\n    )\n)",
        "F.relu(\n            x.cos()\n        )",
    ),
    ("commas", "return F.relu(\n    F.relu(\n        x.cos(),\n    ),\n)", "F.relu(\n            x.cos(),\n        )"),
    ("written to before", "x = x * 2\nx += 1\nreturn F.relu6(F.relu(x))", "return F.relu6(x)"),
    ("relu6 of relu in steps", "x = F.relu(x)\nx = F.relu6(x)\nreturn x", "        x = F.relu6(x)\n"),
]

LAYERS = [
    ("one layer twice", "self.act = nn.ReLU()", "return self.act(self.act(x))", "return self.act(x)"),
    ("two layers", "self.a = nn.ReLU()\nself.b = nn.ReLU()", "return self.b(self.a(x))", "return self.a(x)"),
    ("a layer and a function", "self.a = nn.ReLU()", "return F.relu(self.a(x))", "return self.a(x)"),
    ("in a row", "self.net = nn.Sequential(nn.ReLU(), nn.ReLU())", "return self.net(x)", "nn.ReLU(), nn.Identity()"),
    (
        "relu6 behind",
        "self.net = nn.Sequential(nn.ReLU(), nn.ReLU6())",
        "return self.net(x)",
        "nn.Identity(), nn.ReLU6()",
    ),
    ("bounds", "self.net = nn.Sequential(nn.Hardtanh(0, 2), nn.Hardtanh(0, 2))", "return self.net(x)", "nn.Identity()"),
]

POSITIVES = [(id, "pass", forward, after) for id, forward, after in FUNCTIONS] + LAYERS


@pytest.mark.parametrize(
    ("init", "forward", "after"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES]
)
def test_removed(init: str, forward: str, after: str) -> None:
    inputs: Inputs = (EDGES,)
    result = equivalent(module(init, forward), inputs, codes=frozenset({CODE}), deep=False, tolerance=0.0)
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}
    assert after in result.text, result.text


def test_a_second_one_in_place_goes_too() -> None:
    """Torch cannot go backward through it as it is."""
    text = module("self.act = nn.ReLU(inplace=True)", "return self.act(F.relu(x))")
    assert rewritten(text, codes=frozenset({CODE})).applied


def test_a_layer_that_nobody_calls_any_more_goes() -> None:
    text = module("self.a = nn.ReLU()\nself.b = nn.ReLU()  # again", "return self.b(self.a(x))")
    result = equivalent(text, (EDGES,), codes=frozenset({CODE}))
    assert "self.b" not in result.text
    assert "# again" in result.text


REFUSED = [
    ("a gelu", "pass", "return F.gelu(F.relu(x))", ""),
    ("sigmoid twice", "pass", "return torch.sigmoid(torch.sigmoid(x))", ""),
    ("a leaky relu", "pass", "return F.relu(F.leaky_relu(x))", ""),
    ("tanh", "pass", "return torch.tanh(F.hardtanh(x))", ""),
    ("a norm between", "self.n = nn.LayerNorm(5)", "return F.relu(self.n(F.relu(x)))", ""),
    ("a sum", "pass", "y = F.relu(x)\nreturn F.relu(y + x)", ""),
    ("a residual", "pass", "y = F.relu(x)\nreturn F.relu(y) + y", "more than once"),
    ("its shape is asked for", "pass", "y = F.relu(x)\nz = F.relu(y)\nreturn z, y.shape[0]", "more than once"),
    ("changed in between", "pass", "y = F.relu(x)\ny -= 1\nreturn F.relu(y)", ""),
    ("in a branch", "pass", "y = F.relu(x)\nif self.training:\n    y = F.relu(y)\nreturn y", ""),
    ("in a loop", "pass", "for _ in range(2):\n    x = F.relu(x)\nreturn x", ""),
    ("the first in place", "self.a = nn.ReLU(True)", "return F.relu(self.a(x * 1))", "in place"),
    ("relu6 in place", "self.a = nn.ReLU6(True)", "return self.a(F.relu(x))", "in place"),
    ("perhaps in place", "f = False\nself.a = nn.ReLU(inplace=f)", "return F.relu(self.a(x * 1))", "in place"),
    ("other bounds", "pass", "return F.hardtanh(F.hardtanh(x, -1, 1), -1, 2)", "bounds"),
    ("bounds by name", "pass", "b = 1\nreturn F.hardtanh(F.hardtanh(x, -b, b), -b, b)", "bounds"),
    ("hardtanh like a relu6", "pass", "return F.relu6(F.hardtanh(x, 0, 6))", ""),
    ("a literal of a leaky relu", "self.net = nn.Sequential(nn.ReLU(), nn.LeakyReLU())", "return self.net(x)", ""),
    (
        "a literal with a dropout",
        "self.net = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.ReLU())",
        "return self.net(x)",
        "",
    ),
    ("a literal that is indexed", "self.net = nn.Sequential(nn.ReLU(), nn.ReLU())", "return self.net[0](x)", "apart"),
    (
        "hooked",
        "self.a = nn.ReLU()\nself.b = nn.ReLU()\nself.b.register_forward_hook(print)",
        "return self.b(self.a(x))",
        "",
    ),
    ("replaced", "self.a = nn.ReLU()\nself.a = nn.Tanh()", "return F.relu(self.a(x))", ""),
    ("replaced from outside", "self.a = nn.ReLU()", "return F.relu(self.a(x))", "touches"),
    ("the kept result is written to", "pass", "y = torch.abs(torch.relu(x))\ny += 1\nreturn y", "result is written"),
    ("the kept input is written to", "pass", "y = F.relu6(F.relu(x))\nx += 1\nreturn y + x", "input is written"),
    (
        "in a literal",
        "self.net = nn.Sequential(nn.ReLU(), nn.ReLU6())",
        "y = self.net(x)\nx *= 2\nreturn y + x",
        "input is",
    ),
    ("conditional", "self.a = nn.ReLU() if x else nn.GELU()", "return F.relu(self.a(x))", ""),
]


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str, request: pytest.FixtureRequest) -> None:
    tail = "def f(model):\n    model.a = nn.Tanh()" if "from outside" in request.node.name else ""
    reasons = refused(module(init, forward, tail=tail), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
