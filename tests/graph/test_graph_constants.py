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
    return number_of(module, scope.owner, product.inputs[1])


@pytest.mark.parametrize(("expression", "expected"), NUMBERS.items())
def test_numbers(expression: str, expected: float) -> None:
    known = number(expression)
    assert known is not None
    assert known == expected or math.isclose(known, expected)


@pytest.mark.parametrize("expression", NONE)
def test_no_numbers(expression: str) -> None:
    assert number(expression) is None
