"""FUS406: hardswish and hardsigmoid by relu6, clamp and hardtanh, also in place on what the expression itself makes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, function, in_layers, refused
from fuselight.fusions.model import Safety

CODE = "FUS406"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
SMOOTH: Inputs = (torch.tensor([[-30.0, -4.0, -2.9, -0.7], [0.0, 0.2, 2.9, 25.0]], dtype=torch.float64),)
EDGES: Inputs = (torch.tensor([[-30.0, -3.0, -2.9, -0.7], [0.0, 0.2, 3.0, 25.0]], dtype=torch.float64),)
SWISH, GATE = "F.hardswish(x)", "F.hardsigmoid(x)"


@dataclass
class Case:
    """One file, what must stand in it afterwards, and how safe that is."""

    id: str
    text: str
    after: str = SWISH
    safety: Safety = EXACT


def layer(constructor: str, forward: str) -> str:
    return in_layers(f"self.relu = {constructor}", forward)


SWISHES = [
    Case("relu6", function("return x * F.relu6(x + 3) / 6")),
    Case("relu6, floats", function("return x * F.relu6(x + 3.0) / 6.0")),
    Case("relu6 first", function("return F.relu6(3 + x) * x / 6")),
    Case("a sixth of the gate", function("return x * (F.relu6(x + 3) / 6)")),
    Case("a sixth of x", function("return x / 6 * F.relu6(x + 3)")),
    Case("a sixth", function("return x * F.relu6(x + 3) * (1 / 6)")),
    Case("in place", function("return x * F.relu6(x + 3, inplace=True) / 6")),
    Case("in place by position", function("return x * F.relu6(x + 3, True) / 6")),
    Case("in place or not", function("return x * F.relu6(x + 3, inplace=flag) / 6", "x, flag=True")),
    Case("not in place", function("return x * F.relu6(x + 3, inplace=False) / 6")),
    Case(
        "all in place",
        function("return x.add(3).mul_(1 / 6).mul_(6) * 0 + x * F.relu6(x.add(3)).div_(6)"),
        "F.hardswish(x)",
    ),
    Case("methods", function("return x.mul(F.relu6(x.add(3))).div(6)")),
    Case("in steps", function("y = x + 3\ny = F.relu6(y)\ny = y / 6\nreturn x * y")),
    Case("in place in steps", function("y = x + 3\ny = F.relu6(y, inplace=True)\nreturn x * y / 6")),
    Case("hardtanh", function("return x * F.hardtanh(x + 3, 0, 6) / 6")),
    Case("hardtanh, keywords", function("return x * F.hardtanh(x + 3, min_val=0.0, max_val=6.0) / 6")),
    Case("hardtanh in place", function("return x * F.hardtanh(x + 3, 0.0, 6.0, inplace=True) / 6")),
    Case("hardtanh in place by method", function("return x * F.hardtanh_(x + 3, 0.0, 6.0) / 6")),
    Case("a layer", layer("nn.ReLU6()", "return x * self.relu(x + 3) / 6")),
    Case("a layer in place", layer("nn.ReLU6(inplace=True)", "return x * self.relu(x + 3) / 6")),
    Case("a layer in place by position", layer("nn.ReLU6(True)", "return x * self.relu(x + 3) / 6")),
    Case("a layer of hardtanh", layer("nn.Hardtanh(0, 6)", "return x * self.relu(x + 3) / 6")),
    Case(
        "a layer of hardtanh in place", layer("nn.Hardtanh(0.0, 6.0, inplace=True)", "return x * self.relu(x + 3) / 6")
    ),
    Case("a layer on the spot", function("return x * torch.nn.ReLU6()(x + 3) / 6")),
    Case("clamp", function("return x * torch.clamp(x + 3, 0, 6) / 6"), safety=NUMERICS),
    Case("clamp, keywords", function("return x * torch.clamp(x + 3, min=0, max=6) / 6"), safety=NUMERICS),
    Case("clamp, a method", function("return x * (x + 3).clamp(0, 6) / 6"), safety=NUMERICS),
    Case("clamp in place", function("return x * (x + 3).clamp_(0.0, 6.0) / 6"), safety=NUMERICS),
    Case("all of clamp in place", function("return x * x.add(3.0).clamp_(0.0, 6.0).div_(6.0)"), safety=NUMERICS),
    Case("clip", function("return x * torch.clip(x + 3, 0, 6) / 6"), safety=NUMERICS),
    Case("clamp of relu", function("return x * F.relu(x + 3).clamp(max=6) / 6"), safety=NUMERICS),
    Case("clamp of a sixth", function("return x * torch.clamp(x / 6 + 0.5, 0, 1)"), safety=NUMERICS),
    Case("clamp of a sixth of a sum", function("return x * torch.clamp((x + 3) / 6, 0, 1)"), safety=NUMERICS),
    Case("hardsigmoid", function("return x * F.hardsigmoid(x)"), safety=NUMERICS),
    Case(
        "a layer of hardsigmoid", in_layers("self.gate = nn.Hardsigmoid()", "return self.gate(x) * x"), safety=NUMERICS
    ),
]

GATES = [
    Case("relu6", function("return F.relu6(x + 3) / 6"), GATE, NUMERICS),
    Case("relu6 in place", function("return F.relu6(x + 3, inplace=True) / 6"), GATE, NUMERICS),
    Case("in place to the end", function("return F.relu6(x + 3.0).div_(6.0)"), GATE, NUMERICS),
    Case("a layer in place", layer("nn.ReLU6(inplace=True)", "return self.relu(x + 3) / 6"), GATE, NUMERICS),
    Case("clamp", function("return torch.clamp(x + 3, 0, 6) / 6"), GATE, NUMERICS),
    Case("clamp in place", function("return x.add(3.0).clamp_(0.0, 6.0).div_(6.0)"), GATE, NUMERICS),
    Case("a product", function("return torch.clamp(x * (1 / 6) + 0.5, 0, 1)"), GATE, NUMERICS),
    Case("hardtanh", function("return F.hardtanh((x + 3) / 6, 0, 1)"), GATE, NUMERICS),
    Case("a gate of another", function("return g * (F.relu6(x + 3) / 6)", "x, g=2.0"), GATE, NUMERICS),
]


@pytest.mark.parametrize("case", SWISHES, ids=lambda case: case.id)
def test_hardswish(case: Case) -> None:
    inputs = EDGES if case.safety is EXACT else SMOOTH
    tolerance = 1e-7 if "ardsigmoid" in case.text else 1e-11
    result = equivalent(case.text, inputs, codes=frozenset({CODE}), tolerance=tolerance, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {case.safety}


@pytest.mark.parametrize("case", GATES, ids=lambda case: case.id)
def test_hardsigmoid(case: Case) -> None:
    result = equivalent(case.text, SMOOTH, codes=frozenset({CODE}), tolerance=1e-7, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {case.safety}


@pytest.mark.parametrize("flag", ["True", "inplace"])
def test_the_classes_of_mobilenet(flag: str) -> None:
    text = f"""\
import torch
import torch.nn as nn


class HSigmoid(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.relu = nn.ReLU6(inplace={flag})

    def forward(self, x):
        return self.relu(x + 3) / 6


class M(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.gate = HSigmoid(inplace=inplace)

    def forward(self, x):
        return x * self.gate(x)
"""
    result = equivalent(text, SMOOTH, codes=frozenset({CODE}), tolerance=1e-7, deep=False)
    assert "return nn.functional.hardsigmoid(x)" in result.text


def miss(id: str, body: str, reason: str = "", arguments: str = "x, g") -> tuple[str, str, str]:
    return id, function(body, arguments), reason


MISSES = [
    miss("another operand", "return g * F.relu6(x + 3)"),
    miss("another divisor", "return x * F.relu6(x + 3) / 3"),
    miss("another shift", "return x * F.relu6(x + 2) / 6"),
    miss("a difference", "return x * F.relu6(x - 3) / 6"),
    miss("minus x", "return x * F.relu6(3 - x) / 6"),
    miss("a scaled argument", "return x * F.relu6(2 * x + 3) / 6"),
    miss("no divisor", "return x * F.relu6(x + 3)"),
    miss("keras", "return torch.clamp(0.2 * x + 0.5, 0, 1)"),
    miss("a rounded sixth", "return torch.clamp(0.1667 * x + 0.5, 0, 1)"),
    miss("relu", "return x * F.relu(x + 3) / 6"),
    miss("only a minimum", "return x * torch.clamp(x + 3, min=0) / 6"),
    miss("another range", "return x * torch.clamp(x + 3, 0, 3) / 6"),
    miss("bounds in another order", "return x * torch.clamp(x + 3, 6, 0) / 6"),
    miss("hardtanh's own range", "return x * F.hardtanh(x + 3) / 6"),
    miss("a sum", "return x + F.relu6(x + 3) / 3"),
    miss("hardsigmoid of another", "return g * F.hardsigmoid(x)"),
    miss("the gate again", "y = F.relu6(x + 3)\nreturn x * y / 6 + y", "used again"),
    miss("the gate is returned", "y = F.relu6(x + 3)\nreturn x * y / 6, y", "used again"),
    miss("in place of the input", "return F.relu6(x, inplace=True) / 6"),
    miss("in place of what is used again", "y = x + 3\nz = F.relu6(y, inplace=True)\nreturn x * z / 6 + y"),
    miss("in place of what has a view", "y = x + 3\nv = y[0]\nz = F.relu6(y, inplace=True)\nreturn x * z / 6 + v"),
    miss("in place of what is captured", "y = x + 3\nh = lambda: y\nz = F.relu6(y, True)\nreturn x * z / 6 + h()"),
    miss("in place without its value", "y = x + 3\nF.relu6(y, inplace=True)\nreturn x * y / 6"),
    miss("in place of a view of the input", "y = x[0]\nreturn F.relu6(y.add_(3), inplace=True) / 6"),
    miss("the input in place", "return x.add_(3).clamp_(0, 6).div_(6)"),
    miss("the input in place in steps", "y = x.add_(3)\ny = F.relu6(y)\nreturn y * x / 6"),
    miss("the input is rebound", "y = F.relu6(x + 3)\nx = x + 1\nreturn x * y / 6"),
    miss("the input is written to", "y = F.relu6(x + 3)\nx.mul_(2)\nreturn x * y / 6", "changed in between"),
    miss("an unknown call between", "y = F.relu6(x + 3)\ng(x)\nreturn x * y / 6", "changed in between"),
    miss("a branch", "y = F.relu6(x + 3)\nif g:\n    return x * y / 6\nreturn x", "different branches"),
    miss("an unknown function", "return x * relu6(x + 3) / 6"),
    ("a reference", function("return x * F.relu6(x + 3) / 6").replace("def f", "def expected_swish"), "reference"),
    (
        "a layer that is replaced",
        layer("nn.ReLU6(inplace=True)", "return x * self.relu(x + 3) / 6")
        + "\n    def set(self, act):\n        self.relu = act\n",
        "",
    ),
    (
        "a layer of its subclass",
        layer("nn.ReLU6()", "return x * self.relu(x + 3) / 6")
        + "\n\nclass N(M):\n    def __init__(self):\n        super().__init__()\n        self.relu = nn.Tanh()\n",
        "",
    ),
]


@pytest.mark.parametrize(("id", "text", "reason"), MISSES, ids=[one[0] for one in MISSES])
def test_left_alone(id: str, text: str, reason: str) -> None:
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
