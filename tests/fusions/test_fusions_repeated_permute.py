"""FUS111: two permutations are one, or none."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, refused

CODE = "FUS111"
X: Inputs = ((2, 3, 5, 4),)
CUBE: Inputs = ((2, 3, 5),)


def function(body: str, head: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\nfrom torch import nn\n{head}\n\ndef f(x):\n{lines}"


POSITIVES: list[tuple[str, str, str, Inputs]] = [
    ("one permutation", "return x.permute(0, 2, 3, 1).permute(0, 3, 2, 1)", "return x.transpose(2, 3)", X),
    ("another", "return x.permute(1, 2, 3, 0).permute(0, 3, 2, 1)", "return x.permute(1, 0, 3, 2)", X),
    ("undone", "return x.permute(0, 2, 3, 1).permute(0, 3, 1, 2) + 1", "return x + 1", X),
    ("tuples", "return torch.permute(torch.permute(x, (0, 2, 3, 1)), (0, 3, 1, 2)) * 2", "return x * 2", X),
    ("a list", "return x.permute([0, 2, 3, 1]).permute((0, 2, 1, 3))", "return x.transpose(1, 3)", X),
    ("from the end", "return x.permute(0, -2, -1, 1).permute(0, -1, 1, 2).cos()", "return x.cos()", X),
    ("a swap behind", "return x.permute(0, 2, 3, 1).transpose(1, 2)", "return x.transpose(1, 3)", X),
    ("a swap before", "return x.transpose(1, -1).permute(0, 1, 3, 2)", "return x.permute(0, 3, 1, 2)", X),
    ("swaps", "return x.transpose(1, 2).transpose(1, 2).sin()", "return x.sin()", X),
    ("swaps the other way round", "return x.swapaxes(1, 2).transpose(2, 1).sin()", "return x.sin()", X),
    ("swaps from the end", "return torch.transpose(x.transpose(-1, -2), -2, -1).sin()", "return x.sin()", X),
    ("mT twice", "return x.mT.mT.sin()", "return x.sin()", X),
    ("mT and a swap", "return x.mT.transpose(-1, -2).sin()", "return x.sin()", X),
    ("mT and a permutation", "return x.permute(0, 2, 3, 1).mT", "return x.transpose(1, 2)", X),
    (
        "swaps of a known rank",
        "B, C, T = x.shape\nreturn x.transpose(1, 2).transpose(0, 1)",
        "x.permute(2, 0, 1)",
        CUBE,
    ),
    ("a move", "return x.permute(0, 2, 3, 1).movedim(-1, 1).sin()", "return x.sin()", X),
    (
        "in steps",
        "x = x.permute(0, 2, 3, 1)\nx = x.transpose(1, 2)\nreturn x",
        "    x = x.transpose(1, 3)\n    return x",
        X,
    ),
    (
        "undone in steps",
        "x = x.permute(0, 2, 3, 1)\nx = x.permute(0, 3, 1, 2)\nreturn x + 1",
        "def f(x):\n    return x + 1",
        X,
    ),
    (
        "undone at the end",
        "x = x.permute(0, 2, 3, 1)\nreturn x.permute(0, 3, 1, 2).sin()",
        "def f(x):\n    return x.sin()",
        X,
    ),
    (
        "three",
        "x = x.permute(0, 2, 3, 1)\nx = x.transpose(1, 2)\nreturn x.permute(0, 3, 2, 1).sin()",
        "return x.sin()",
        X,
    ),
    ("of a call", "y = torch.relu(x).permute(0, 2, 3, 1)\ny = y.transpose(1, 2)\nreturn y", "y.transpose(1, 3)", X),
    ("of an operator", "return (x + 1).permute(0, 2, 3, 1).transpose(1, 2)", "return (x + 1).transpose(1, 3)", X),
    (
        "comments",
        "# last\nx = x.permute(0, 2, 3, 1)  # one\nx = x.permute(0, 3, 1, 2)  # two\nreturn x.sin()",
        "# two",
        X,
    ),
    ("over lines", "y = (\n    x.permute(0, 2, 3, 1)\n    .transpose(1, 2)\n)\nreturn y", "x.transpose(1, 3)", X),
    ("an argument", "return torch.relu(x.transpose(1, 2).transpose(1, 2))", "return torch.relu(x)", X),
    ("written before", "x = x.clone()\nx.add_(1)\nreturn x.transpose(1, 2).transpose(1, 2).sin()", "return x.sin()", X),
]


@pytest.mark.parametrize(("body", "after", "inputs"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES])
def test_composed(body: str, after: str, inputs: Inputs) -> None:
    result = equivalent(function(body), inputs, codes=frozenset({CODE}), tolerance=0.0)
    assert result.applied
    assert after in result.text, result.text


REFUSED = [
    (
        "without gradients",
        "with torch.no_grad():\n    h = x.transpose(1, 2).permute(0, 2, 1, 3)\nreturn x, h",
        "gradients are switched off",
    ),
    ("names of their own", "y = x.permute(0, 2, 3, 1)\nz = y.transpose(1, 2)\nreturn z", ""),
    ("keys", "k = x.transpose(1, 2)\nB, C, H, W = x.shape\nreturn torch.matmul(x, k.transpose(-1, -2))", ""),
    ("keys in one", "return x @ x.permute(0, 2, 1, 3).transpose(-1, -2)", ""),
    ("one alone", "return x.permute(0, 2, 3, 1)", ""),
    ("other swaps of an unknown rank", "return x.transpose(1, 2).transpose(0, 1)", ""),
    ("counted from both ends", "return x.transpose(1, 2).transpose(-1, -2)", ""),
    ("a dimension by name", "i = 1\nreturn x.permute(0, 2, 3, 1).transpose(i, 2)", ""),
    ("a permutation by name", "p = (0, 2, 3, 1)\nreturn x.permute(p).permute(0, 3, 1, 2)", ""),
    ("starred", "p = (0, 2, 3, 1)\nreturn x.permute(*p).permute(0, 3, 1, 2)", ""),
    ("lengths that do not fit", "return x.permute(0, 2, 1).permute(0, 3, 1, 2)", ""),
    ("no permutation", "return x.permute(0, 1, 1, 2).permute(0, 3, 1, 2)", ""),
    ("out of range", "return x.permute(0, 2, 1).transpose(3, 1)", ""),
    ("a softmax between", "return x.transpose(1, 2).softmax(-1).transpose(1, 2)", ""),
    ("a sum between", "return (x.transpose(1, 2) + 1).transpose(1, 2)", ""),
    ("contiguous between", "return x.transpose(1, 2).contiguous().transpose(1, 2)", ""),
    ("the first is used too", "y = x.permute(0, 2, 3, 1)\nreturn y.permute(0, 3, 1, 2) + y.sum()", "more than once"),
    (
        "its shape is asked for",
        "y = x.permute(0, 2, 3, 1)\nz = y.permute(0, 3, 1, 2)\nreturn z, y.shape",
        "more than once",
    ),
    ("written to later", "y = x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)\ny[0] = 1\nreturn y", "written to"),
    ("in place", "y = x.transpose(1, 2).transpose(1, 2)\ny += 1\nreturn y, x", "written to"),
    ("written in between", "y = x.permute(0, 2, 3, 1)\nx.add_(1)\nreturn y.permute(0, 3, 1, 2)", "changed in between"),
    ("in a loop", "for _ in range(2):\n    x = x.transpose(1, 2)\nreturn x", ""),
    ("in branches", "x = x.transpose(1, 2)\nif x.sum() > 0:\n    x = x.transpose(1, 2)\nreturn x", ""),
    ("another attribute", "return x.permute(0, 2, 3, 1).real", ""),
    ("captured", "y = x.permute(0, 2, 3, 1)\ng = lambda: y\nreturn y.permute(0, 3, 1, 2), g", "more than once"),
    ("adjoint", "return x.mH.mT", ""),
    ("numpy", "import numpy as np\nreturn np.ones((2, 3)).transpose(1, 0).transpose(1, 0)", ""),
]


@pytest.mark.parametrize(("body", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(body: str, reason: str) -> None:
    reasons = refused(function(body), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_an_array_of_another_framework() -> None:
    assert refused(function("return x.transpose(1, 2).transpose(1, 2)", head="import jax\n"), CODE) == []


OBJECTS = [
    ("y = x.permute(0, 2, 1).permute(0, 2, 1)\ny.retain_grad()\nreturn y", "itself"),
    ("y = x.permute(0, 2, 1).permute(0, 2, 1)\ny.register_hook(print)\nreturn y", "itself"),
    ("y = x.permute(0, 2, 1).permute(0, 2, 1)\nreturn y, y.grad", "itself"),
    ("y = x.permute(0, 2, 1).permute(0, 2, 1)\nreturn y is x", "another tensor object"),
    ("y = x.permute(0, 2, 1).permute(0, 2, 1)\nreturn torch.autograd.grad((y * x).sum(), y)", "itself"),
    ("y = x.permute(0, 2, 1).permute(0, 2, 1)\nreturn y, x.squeeze_()", "shapes changed"),
    ("y = x.w.t().t()\nreturn y", "parameter"),
    ("y = x.transpose(1, 2).transpose(1, 2)\nreturn y is x", "another tensor object"),
    ("y = x.mT.mT\nz = [y]\nreturn z[0] is not x", "another tensor object"),
    ("y = x.mT.mT\nreturn id(y) == id(x)", "another tensor object"),
    ("y = x.mT.mT\ny.transpose_(1, 2)\nreturn x", "written to in place"),
    ("y = x.mT.mT\ny.unsqueeze_(0)\nreturn x", "written to in place"),
    ("z = x * 2\ny = z.mT.mT\ny.t_()\nreturn z", "written to in place"),
    ("x.y = x.permute(0, 2, 1).permute(0, 2, 1)\nreturn x.y", "attribute"),
    ("h, w, c = x.shape\nreturn x.swapaxes(0, 1).swapaxes(1, 2)", "tensor of torch"),
]


@pytest.mark.parametrize(("body", "reason"), OBJECTS)
def test_the_object_stays_another(body: str, reason: str) -> None:
    assert any(reason in one for one in refused(function(body), CODE))


def test_checks_stay_as_they_are() -> None:
    for text in (
        "import torch\n\n\ndef test_it(x):\n    assert torch.equal(x.permute(1, 0).permute(1, 0), x)\n",
        "import torch\n\n\nclass G(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
        "        return x.permute(1, 0).permute(1, 0)\n",
    ):
        assert refused(text, CODE)


def test_one_that_its_caller_compares() -> None:
    text = function("return x.mT.mT") + "\n\ndef g(x):\n    y = f(x)\n    return y is x\n"
    assert any("two objects" in one for one in refused(text, CODE))


LAYOUTS = [
    ("return torch.transpose(\n    (x\n    + 1).transpose(1, 2), 1, 2\n)", "(x\n        + 1)"),
    ("return torch.transpose(\n    (x  # c\n    + 1).transpose(1, 2), 1, 2\n)", "(x  # c\n        + 1)"),
    ("y = (\n    (x  # c\n    + 1)\n    .transpose(1, 2)\n    .transpose(1, 2)\n)\nreturn y.sin()", "+ 1)\n    )"),
]


@pytest.mark.parametrize(("body", "after"), LAYOUTS)
def test_an_operand_over_lines(body: str, after: str) -> None:
    result = equivalent(function(body), CUBE, codes=frozenset({CODE}), tolerance=0.0)
    assert after in result.text, result.text


def test_strings_in_an_operand_stay() -> None:
    body = 'return g(\n    x, "a  b"\n).permute(0, 2, 3, 1).transpose(1, 2)'
    text = function(body, head="\n\ndef g(x, s):\n    return x * len(s)\n")
    result = equivalent(text, X, codes=frozenset({CODE}), tolerance=0.0)
    assert '"a  b"' in result.text
