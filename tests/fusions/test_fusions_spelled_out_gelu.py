"""FUS402: both functions of GELU by many spellings, each becoming that one; other constants are no GELU."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, function, in_layers, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS402"
ERF = "F.gelu(x)"
TANH = 'F.gelu(x, approximate="tanh")'
INPUT: Inputs = (torch.tensor([-30.0, -6.0, -3.0, -0.7, 0.0, 0.2, 1.0, 4.0, 30.0], dtype=torch.float64),)


@dataclass
class Case:
    """One file, what must stand in it afterwards, and how safe that is."""

    id: str
    text: str
    after: str = ERF
    safety: Safety = Safety.EXACT
    tolerance: float = 1e-11


def case(id: str, body: str, after: str = ERF, tolerance: float = 1e-11, safety: Safety = Safety.EXACT) -> Case:
    return Case(id, function(body), after, safety, tolerance)


BY_ERF = [
    case("as BERT has it", "return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))"),
    case("half first", "return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))"),
    case("half of it", "return x * (1 + torch.erf(x / math.sqrt(2))) / 2"),
    case("half last", "return x * (torch.erf(x / math.sqrt(2)) + 1) * 0.5"),
    case("half around it", "return 0.5 * (x * (1 + torch.erf(x / math.sqrt(2))))"),
    case("half of x", "return x / 2.0 * (1 + torch.erf(x / math.sqrt(2)))"),
    case("the distribution function", "return x * (0.5 * (1 + torch.erf(x / math.sqrt(2))))"),
    case("half and half", "return x * (0.5 + 0.5 * torch.erf(x / math.sqrt(2)))"),
    case("multiplied out", "return 0.5 * x + 0.5 * x * torch.erf(x / math.sqrt(2))"),
    case("a power", "return 0.5 * x * (1 + torch.erf(x / 2**0.5))"),
    case("a negative power", "return 0.5 * x * (1 + torch.erf(x * 2**-0.5))"),
    case("numpy's root", "return 0.5 * x * (1 + torch.erf(x / np.sqrt(2)))"),
    case("a tensor's root", "return 0.5 * x * (1 + torch.erf(x / torch.sqrt(torch.tensor(2.0))))", tolerance=1e-7),
    case("the reciprocal", "return 0.5 * x * (1 + torch.erf(x * 0.7071067811865476))"),
    case("the reciprocal, short", "return 0.5 * x * (1 + torch.erf(x * 0.70710678))", tolerance=1e-8),
    case("the constant, short", "return 0.5 * x * (1 + torch.erf(x / 1.41421356))", tolerance=1e-8),
    case("methods", "return x.mul(0.5).mul((x / math.sqrt(2)).erf().add(1))"),
    case("torch.special", "return 0.5 * x * (1 + torch.special.erf(x / math.sqrt(2)))"),
    case("torch.div and torch.mul", "return torch.mul(0.5 * x, 1 + torch.erf(torch.div(x, math.sqrt(2))))"),
    case("a local", "cdf = 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))\nreturn x * cdf"),
    case("three locals", "z = x / math.sqrt(2.0)\ne = torch.erf(z)\np = 1 + e\nreturn 0.5 * x * p"),
    case("a local constant", "root = math.sqrt(2)\nreturn 0.5 * x * (1 + torch.erf(x / root))"),
    case("of a product", "h = 3 * x\nreturn 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))", "F.gelu(h)"),
    case("in an expression", "return (0.5 * x * (1 + torch.erf(x / math.sqrt(2)))).sum(-1) - x.sum(-1)"),
    case("a constant to seven digits", "return 0.5 * x * (1 + torch.erf(x * 0.7071068))", ERF, 1e-6),
    Case(
        "rounded by more than float32",
        function("return 0.5 * x * (1 + torch.erf(x * 0.707107))"),
        ERF,
        Safety.NUMERICS,
        1e-5,
    ),
]

ROOT = "math.sqrt(2 / math.pi)"
BY_TANH = [
    case("as BERT has it", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (x + 0.044715 * x ** 3)))", TANH),
    case("torch.pow", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (x + 0.044715 * torch.pow(x, 3.0))))", TANH),
    case("a method", f"return x.mul(0.5) * (({ROOT} * (x + 0.044715 * x.pow(3))).tanh() + 1)", TANH),
    case("a product", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (x + 0.044715 * x * x * x)))", TANH),
    case("folded", "return 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))", TANH, 1e-9),
    case("folded otherwise", "return x * 0.5 * (1 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x**2)))", TANH, 1e-7),
    case("folded by square", f"return 0.5 * x * (1 + torch.tanh({ROOT} * x * (1 + 0.044715 * torch.square(x))))", TANH),
    case("numpy's root", "return 0.5 * x * (1 + torch.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))", TANH),
    case("a power", "return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))", TANH),
    case(
        "a tensor's root",
        "return 0.5 * x * (1 + torch.tanh(\n    torch.sqrt(torch.tensor(2.0 / torch.pi)) *\n"
        "    (x + 0.044715 * torch.pow(x, 3))\n))",
        TANH,
        1e-7,
    ),
    case("multiplied out", f"return 0.5 * x + 0.5 * x * torch.tanh({ROOT} * (x + 0.044715 * x**3))", TANH),
    case("multiplied in", "return 0.5 * x * (1 + torch.tanh(0.7978845608 * x + 0.0356774081 * x**3))", TANH, 1e-8),
    case("by sigmoid", f"return x * torch.sigmoid(2 * {ROOT} * (x + 0.044715 * x**3))", TANH),
    case("by sigmoid, a constant", "return x * torch.sigmoid(1.5957691216 * (x + 0.044715 * x**3))", TANH, 1e-9),
    case("by sigmoid, folded", f"return x * torch.sigmoid(2 * {ROOT} * x * (1 + 0.044715 * x * x))", TANH),
    case(
        "locals",
        f"cube = x * x * x\ninner = {ROOT} * (x + 0.044715 * cube)\nt = torch.tanh(inner)\nreturn 0.5 * x * (1 + t)",
        TANH,
    ),
    case(
        "a constant of the function",
        f"c = {ROOT}\nk = 0.044715\nreturn 0.5 * x * (1 + torch.tanh(c * (x + k * x**3)))",
        TANH,
    ),
]

FILES = [
    Case(
        "constants of the module",
        function(
            "return 0.5 * x * (1 + torch.tanh(SCALE * (x + CUBE * x**3)))", head=f"SCALE = {ROOT}\nCUBE = 0.044715"
        ),
        TANH,
    ),
    Case(
        "constants of self",
        module(
            "self.root = math.sqrt(2)",
            "return 0.5 * x * (1 + torch.erf(x / self.root))",
            head="import math",
        ),
    ),
    Case(
        "a layer",
        in_layers(
            "self.tanh = nn.Tanh()", "return 0.5 * x * (1 + self.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))"
        ),
        TANH,
    ),
    Case(
        "the class of a tutorial",
        "import torch\nimport torch.nn as nn\n\n\nclass M(nn.Module):\n    def forward(self, x):\n"
        "        return 0.5 * x * (1 + torch.tanh(\n            torch.sqrt(torch.tensor(2.0 / torch.pi)) *\n"
        "            (x + 0.044715 * torch.pow(x, 3))\n        ))\n",
        'nn.functional.gelu(x, approximate="tanh")',
        tolerance=1e-7,
    ),
]


@pytest.mark.parametrize("case", BY_ERF + BY_TANH + FILES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, INPUT, codes=frozenset({CODE}), tolerance=case.tolerance, deep=False)
    assert case.after in result.text, result.text
    assert "erf" not in result.text.partition("def ")[2]
    # A power computes in another dtype under autocast.
    power = "approximate" in case.after and any(one in case.text for one in ("** 3", "**3", "**2", "pow(", "square("))
    assert {finding.safety for finding in result.applied} == {Safety.NUMERICS if power else case.safety}


@dataclass
class Miss:
    id: str
    text: str
    reason: str = ""


def miss(id: str, body: str, reason: str = "", arguments: str = "x, g") -> Miss:
    return Miss(id, function(body, arguments), reason)


E = "torch.erf(x / math.sqrt(2))"
MISSES = [
    miss("no root", "return 0.5 * x * (1 + torch.erf(x))", "constant"),
    miss("another root", "return 0.5 * x * (1 + torch.erf(x / math.sqrt(3)))", "0.57735 stands where"),
    miss("multiplied by the root", "return 0.5 * x * (1 + torch.erf(x * math.sqrt(2)))", "1.41421 stands where"),
    miss("four digits", "return 0.5 * x * (1 + torch.erf(x / 1.4142))", "stands where GELU has 0.70710678"),
    miss("a typo", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (x + 0.44715 * x**3)))", "0.44715"),
    miss("0.0447", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (x + 0.0447 * x**3)))", "0.0447"),
    miss("0.8", "return 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * x**3)))", "0.8 stands where"),
    miss(
        "the root of pi over two",
        "return 0.5 * x * (1 + torch.tanh(math.sqrt(math.pi / 2) * (x + 0.044715 * x**3)))",
        "1.25331",
    ),
    miss("a square for the cube", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (x + 0.044715 * x**2)))"),
    miss("no linear part", f"return 0.5 * x * (1 + torch.tanh({ROOT} * (0.044715 * x**3)))"),
    miss("a difference", f"return 0.5 * x * (1 - {E})"),
    miss("no half", f"return x * (1 + {E})"),
    miss("a quarter", f"return 0.25 * x * (1 + {E})"),
    miss("two for one", f"return 0.5 * x * (2 + {E})"),
    miss("an epsilon", f"return 0.5 * x * (1 + 1e-8 + {E})"),
    miss("no factor x", f"return 0.5 * (1 + {E})"),
    miss("another factor", f"return 0.5 * g * (1 + {E})"),
    miss("squared", f"return 0.5 * x * x * (1 + {E})"),
    miss("a quotient", f"return 0.5 * x / (1 + {E})"),
    miss("quick", "return x * torch.sigmoid(1.702 * x)"),
    miss("erfc", "return 0.5 * x * torch.special.erfc(x / math.sqrt(2))"),
    miss("another scale of the sigmoid", f"return x * torch.sigmoid({ROOT} * (x + 0.044715 * x**3))"),
    miss("a learned constant", "return 0.5 * x * (1 + torch.erf(g * x))", "not shown"),
    miss("rebound", f"e = {E}\nx = x + 1\nreturn 0.5 * x * (1 + e)"),
    miss("in place", f"e = {E}\nx.add_(1)\nreturn 0.5 * x * (1 + e)", "changed in between"),
    miss("used again", f"e = {E}\nreturn 0.5 * x * (1 + e) + e", "used again"),
    miss("returned", f"cdf = 0.5 * (1 + {E})\nreturn x * cdf, cdf", "used again"),
    miss("branches", f"e = {E}\nif g:\n    return 0.5 * x * (1 + e)\nreturn x", "different branches"),
    miss("a walrus", "return 0.5 * x * (1 + (e := torch.erf(x / math.sqrt(2)))) + e"),
    miss("the constant is rebound", "c = math.sqrt(2)\nif g:\n    c = 2.0\nreturn 0.5 * x * (1 + torch.erf(x / c))"),
    miss("math.erf", "return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))"),
    miss("a call in a branch", f"if g:\n    return F.gelu(x)\nelse:\n    return 0.5 * x * (1 + {E})", "another branch"),
    Miss(
        "the constant of the module is assigned again",
        function("return 0.5 * x * (1 + torch.erf(x / C))", head="C = math.sqrt(2)\nC = 2.0"),
    ),
    Miss(
        "the constant of self is assigned again",
        module(
            "self.root = 2**0.5",
            "return 0.5 * x * (1 + torch.erf(x / self.root))",
            tail="    def set(self, root):\n        self.root = root",
        ),
    ),
    Miss("a reference", function(f"return 0.5 * x * (1 + {E})").replace("def f", "def gelu_ref"), "reference"),
    Miss("a test", function(f"return 0.5 * x * (1 + {E})").replace("def f", "def test_gelu"), "reference"),
]


@pytest.mark.parametrize("miss", MISSES, ids=lambda miss: miss.id)
def test_left_alone(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
