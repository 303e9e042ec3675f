"""FUS702: a mean over positions moves before a linear layer; a mean over features, or no mean, does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS702"
FC = "self.fc = nn.Linear(6, 8)\n"
SHAPE = "b, t, c = x.shape\n"
X: Inputs = ((5, 7, 6),)
IMAGE: Inputs = ((2, 3, 4, 6),)


@dataclass
class Case:
    """One file, what must stand in it afterwards, and how safe that is."""

    id: str
    text: str
    after: str
    inputs: Inputs = X
    safety: Safety = Safety.EXACT


def case(
    id: str, init: str, forward: str, after: str, inputs: Inputs = X, safety: Safety = Safety.EXACT, **around: str
) -> Case:
    return Case(id, module(init, forward, **around), after, inputs, safety)


CASES = (
    [
        case(f"mean {mean}", FC, f"{SHAPE}return self.fc(x){mean}", f"return self.fc(x{mean})")
        for mean in (
            ".mean(1)",
            ".mean(dim=1)",
            ".mean(-2)",
            ".mean([1])",
            ".mean(1, True)",
            ".mean(0)",
            ".mean(axis=1)",
            ".mean(dim=(0, 1))",
            ".mean(dim=1, keepdim=True)",
            ".mean(dim=(1,), keepdim=False)",
        )
    ]
    + [
        case(f"function {call}", FC, f"{SHAPE}return {call}", after)
        for call, after in (
            ("torch.mean(self.fc(x), 1)", "self.fc(torch.mean(x, 1))"),
            ("torch.mean(self.fc(x), dim=1, keepdim=True)", "self.fc(torch.mean(x, dim=1, keepdim=True))"),
            ("torch.mean(input=self.fc(x), dim=1)", "self.fc(torch.mean(input=x, dim=1))"),
            ("torch.mean(F.linear(x, self.fc.weight, self.fc.bias), 1)", "F.linear(torch.mean(x, 1), self.fc.weight"),
            ("F.linear(x, self.fc.weight).mean(1)", "F.linear(x.mean(1), self.fc.weight)"),
        )
    ]
    + [
        case("not shown", FC, "return self.fc(x).mean(1)", "self.fc(x.mean(1))", X, Safety.NUMERICS),
        case("shown by itself", FC, "return self.fc(x).mean(-2)", "self.fc(x.mean(-2))"),
        case("two of four", FC, "return self.fc(x).mean((-3, -2))", "self.fc(x.mean((-3, -2)))", IMAGE),
        case(
            "a weight that may have one dimension",
            "self.w = nn.Parameter(torch.randn(3, 6))",
            "return F.linear(x, self.w).mean(-2)",
            "F.linear(x.mean(-2), self.w)",
            X,
            Safety.NUMERICS,
        ),
        case(
            "a weight of one dimension, from the front",
            "self.w = nn.Parameter(torch.randn(6))",
            f"{SHAPE}return F.linear(x, self.w).mean(1)",
            "F.linear(x.mean(1), self.w)",
        ),
        case(
            "the weight of a layer", FC, "return F.linear(x, self.fc.weight).mean(-2)", "F.linear(x.mean(-2), self.fc"
        ),
        case(
            "shown by the next layer",
            f"{FC}self.head = nn.Linear(8, 2)",
            "return self.head(F.relu(self.fc(x).mean(1)))",
            "self.head(F.relu(self.fc(x.mean(1))))",
        ),
        case(
            "one name", FC, f"{SHAPE}x = self.fc(x)\nx = x.mean(1)\nreturn x", "x = x.mean(1)\n        x = self.fc(x)\n"
        ),
        case(
            "one name with comments",
            FC,
            f"{SHAPE}x = self.fc(x)  # project\nx = x.mean(1)  # pool\nreturn x",
            "# pool\n        x = self.fc(x.mean(1))  # project\n",
        ),
        case("two names", FC, f"{SHAPE}h = self.fc(x)\ny = h.mean(1)\nreturn y", "        y = self.fc(x.mean(1))\n"),
        case(
            "in the return",
            FC,
            f"{SHAPE}h = self.fc(x)\nreturn h.mean(1) + 1",
            "h = self.fc(x.mean(1))\n        return h + 1",
        ),
        case("an operand in parentheses", FC, f"{SHAPE}return self.fc(x + 1).mean(1)", "self.fc((x + 1).mean(1))"),
        case("in a branch", FC, "if x.dim() == 3:\n    x = self.fc(x).mean(-2)\nreturn x", "x = self.fc(x.mean(-2))"),
        case(
            "behind another",
            f"{FC}self.a = nn.Linear(6, 6)",
            f"{SHAPE}return self.fc(self.a(x)).mean(1)",
            "self.fc(self.a(x.mean(1)))",
        ),
    ]
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_moved(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {case.safety}


MISSES = [
    (f"return {call}", reason)
    for call, reason in (
        ("self.fc(x).sum(1)", ""),
        ("self.fc(x).max(1)", ""),
        ("self.fc(x).amax(1)", ""),
        ("self.fc(x).median(1)", ""),
        ("self.fc(x).std(1)", ""),
        ("self.fc(x).mean()", "over all dimensions"),
        ("self.fc(x).mean(-1)", "over the features"),
        ("self.fc(x).mean((1, -1))", "over the features"),
        ("self.fc(x).mean(d)", "not literal"),
        ("self.fc(x).mean(dims)", "not literal"),
        ("self.fc(x).mean(())", "not literal"),
        ("self.fc(x).mean(1, dtype=torch.float64)", "dtype of its own"),
        ("torch.mean(self.fc(x), 1, out=y)", ""),
        ("self.fc(x).relu().mean(1)", ""),
        ("(self.fc(x) * mask).mean(1)", ""),
        ("self.fc(x, x).mean(1)", ""),
        ("self.fc(*x).mean(1)", ""),
        ("self.fc(y := x).mean(1)", "bound inside"),
        ("self.fc(x).nanmean(1)", ""),
        ("F.linear(x, w, x.mean(0)).mean(1)", ""),
        ("self.norm(x).mean(1)", ""),
        ("self.drop(x).mean(1)", ""),
    )
] + [
    ("n, c = x.shape\nreturn self.fc(x).mean(1)", "over the features"),
    ("b, t, c = x.shape\nreturn self.fc(x).mean(2)", "over the features"),
    ("b, t, c = x.shape\nreturn self.fc(x).mean((1, 2))", "over the features"),
    ("x = x.view(-1, 6)\nreturn self.fc(x).mean(1)", "over the features"),
    ("return self.fc(x).mean(2)", "positions, not features"),
    ("return self.fc(x).mean((1, 2))", "positions, not features"),
    ("return self.one(x).mean(1)", "positions, not features"),
    ("h = self.fc(x)\nreturn h.mean(1), h", "used again"),
    ("h = self.fc(x)\nreturn h - h.mean(1, keepdim=True)", "used again"),
    ("h = self.fc(x)\nn = h.size(1)\nreturn h.mean(1) * n", "used again"),
    ("h = self.fc(x)\nh[mask] = 0\nreturn h.mean(1)", "used again"),
    ("h = self.fc(x)\nh *= 2\nreturn h.mean(1)", ""),
    ("h = self.fc(x)\nif self.training:\n    return h.mean(1)\nreturn x", "branches"),
    ("h = k = self.fc(x)\nreturn h.mean(1)", "variable of its own"),
    ("h = self.fc(x)\nif self.training:\n    return x\nreturn h.mean(1)", "may leave"),
    ("h = self.fc(x)\nf = lambda: h\nreturn h.mean(1) + f()", "used again"),
]


@pytest.mark.parametrize(("forward", "reason"), MISSES)
def test_left_alone(forward: str, reason: str) -> None:
    text = module(
        f"{FC}self.norm = nn.LayerNorm(6)\nself.drop = nn.Dropout()\nself.one = nn.Linear(6, 1)",
        forward,
        arguments="self, x, d, w, mask",
    )
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


@pytest.mark.parametrize(
    ("init", "tail", "reason"),
    [
        ("self.fc.register_forward_hook(print)", "", "handed on"),
        ("self.fc = nn.Bilinear(6, 6, 8)", "", ""),
        ("self.all = nn.ModuleList([self.fc])", "", "handed on"),
        ("", "def swap(m):\n    m.fc = nn.Identity()\n", "replaced"),
        ("", "def swap(m, name):\n    setattr(m, name, nn.Identity())\n", "computed name"),
    ],
)
def test_a_layer_that_is_touched_stays(init: str, tail: str, reason: str) -> None:
    reasons = refused(module(FC + init, "return self.fc(x).mean(-2)", tail=tail), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
