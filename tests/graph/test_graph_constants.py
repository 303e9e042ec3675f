"""Numbers that the source shows, and values that are none."""

from __future__ import annotations

import math

import pytest

from fuselight.analysis import Analysis
from fuselight.graph.constants import number_of

HEAD = """\
import math
import numpy as np
import torch
from torch import nn

ROOT = math.sqrt(2 / math.pi)
TWICE = 1.0
TWICE = 2.0
SELF = SELF
COUNT: int = 3


def set_it():
    global LATER
    LATER = 2.0


LATER = 1.0


class M(nn.Module):
    factor = 0.5

    def __init__(self, scale, eps=1e-6):
        super().__init__()
        self.half = 1 / 2
        self.eps = eps
        self.scale = scale
        self.later = 1.0
        self.weight = nn.Parameter(torch.ones(3))
        self.both, self.other = 1.0, 2.0
        self.outside = 3.0

    def reset(self):
        self.later = 2.0

    def forward(self, x, k):
        a = {expression}
        return x * a


m = M(1.0)
m.outside = 4.0
"""

GELUS = math.sqrt(2 / math.pi)
NUMBERS = {
    "2": 2.0,
    "-0.5": -0.5,
    "math.sqrt(2 / math.pi)": GELUS,
    "(2 / math.pi) ** 0.5": GELUS,
    "np.sqrt(2 / np.pi)": GELUS,
    "torch.sqrt(torch.tensor(2.0 / torch.pi))": GELUS,
    "torch.tensor(0.5, dtype=x.dtype)": 0.5,
    "math.pow(2, 3)": 8.0,
    "float('-inf')": -math.inf,
    "math.inf": math.inf,
    "ROOT": GELUS,
    "COUNT": 3.0,
    "self.half": 0.5,
    "self.factor": 0.5,
    "1 / math.log(2)": 1 / math.log(2),
    "math.exp(1)": math.e,
    "3 - 1 * 2": 1.0,
    "float(2)": 2.0,
}

NONE = (
    *("True", "None", "'2'", "k", "x", "1 / 0", "math.sqrt(-1)", "TWICE", "SELF", "LATER", "UNKNOWN", "len(x)"),
    *("self.eps", "self.scale", "self.later", "self.weight", "self.both", "self.outside", "x.sqrt()"),
    *("torch.tensor([2.0])", "torch.Tensor(2)", "torch.tensor(2.0, requires_grad=True)", "float('two')"),
    *("2 ** 5000 * 1.0 ** 2", "(-1) ** 0.5"),
)


def number(expression: str) -> float | None:
    analysis = Analysis(HEAD.replace("{expression}", expression), codes=frozenset())
    module = analysis._module  # pyright: ignore[reportPrivateUsage]
    scope = next(one for s in module.statements for one in module.scopes(s) if one.name == "M.forward")
    graph = module.graph(scope)
    (product,) = graph.of_kind("mul") if "*" not in expression.replace("**", "") else [list(graph.of_kind("mul"))[-1]]
    return number_of(module, scope.owner, product.inputs[1], graph)


@pytest.mark.parametrize(("expression", "expected"), NUMBERS.items())
def test_numbers(expression: str, expected: float) -> None:
    known = number(expression)
    assert known is not None
    assert known == expected or math.isclose(known, expected)


@pytest.mark.parametrize("expression", NONE)
def test_no_numbers(expression: str) -> None:
    assert number(expression) is None


A = "class A:\n    c = 0.5\n"
OTHERWISE_BOUND = {
    "a branch of the module": ("C = 0.5\nif math.pi > 3:\n    C = 0.3\n", "C"),
    "a loop of the module": ("C = 0.5\nfor C in (1, 2):\n    pass\n", "C"),
    "a tuple": ("C = 0.5\nC, D = 1, 2\n", "C"),
    "changed in place": ("C = 0.5\nC *= 2\n", "C"),
    "a walrus": ("C = 0.5\n[C := 3 for _ in range(2)]\n", "C"),
    "an import": ("C = 0.5\nfrom math import pi as C\n", "C"),
    "a deletion": ("C = 0.5\ndel C\n", "C"),
    "several global names": ("C = 0.5\n\n\ndef go():\n    global D, C\n    C = 2\n", "C"),
    "globals": ("C = 0.5\nglobals()['C'] = 3\n", "C"),
    "a branch of the class": ("{a}    if True:\n        c = 0.3\n{forward}", "self.c"),
    "a dataclass": ("@dataclass\nclass A:\n    c: float = 0.5\n{forward}", "self.c"),
    "a named tuple": ("class A(typing.NamedTuple):\n    c: float = 0.5\n{forward}", "self.c"),
    "a property below": ("{a}{forward}\n\nclass B(A):\n    @property\n    def c(self):\n        return 2\n", "self.c"),
    "another object": ("{a}{forward}", "x.c"),
    "a loop over it": ("{a}\n    def set(self):\n        for self.c in (1, 2):\n            pass\n{forward}", "self.c"),
    "a nested tuple": ("{a}\n    def set(self):\n        (a, (self.c, b)) = 1, (2, 3)\n{forward}", "self.c"),
    "setattr by name": ("{a}{forward}\n\nsetattr(A(), 'c', 2)\n", "self.c"),
    "setattr of anything": ("{a}\n    def set(self, k, v):\n        setattr(self, k, v)\n{forward}", "self.c"),
    "by its dictionary": ("{a}\n    def set(self, kw):\n        self.__dict__.update(kw)\n{forward}", "self.c"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expression"), OTHERWISE_BOUND.values(), ids=OTHERWISE_BOUND.keys())
def test_what_is_bound_otherwise_is_no_number(text: str, expression: str) -> None:
    forward = f"\n    def forward(self, x):\n        return x * {expression}\n"
    function = "" if "{forward}" in text else f"\n\ndef forward(self, x):\n    return x * {expression}\n"
    whole = (
        "import math\nimport typing\nimport torch\n\n" + text.replace("{a}", A).replace("{forward}", forward) + function
    )
    module = Analysis(whole, codes=frozenset())._module  # pyright: ignore[reportPrivateUsage]
    scope = next(one for s in module.statements for one in module.scopes(s) if one.name.endswith("forward"))
    graph = module.graph(scope)
    (product,) = graph.of_kind("mul")
    assert number_of(module, scope.owner, product.inputs[1], graph) is None


def test_a_name_of_the_function_around_is_not_the_modules() -> None:
    text = "import torch\n\nC = 0.5\n\n\ndef make(C):\n    def inner(x):\n        return x * C\n    return inner\n"
    module = Analysis(text, codes=frozenset())._module  # pyright: ignore[reportPrivateUsage]
    scope = next(one for s in module.statements for one in module.scopes(s) if one.name.endswith("inner"))
    graph = module.graph(scope)
    (product,) = graph.of_kind("mul")
    assert number_of(module, scope.owner, product.inputs[1], graph) is None
