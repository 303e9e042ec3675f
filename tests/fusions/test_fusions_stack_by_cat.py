"""FUS611: tensors that get a new dimension and are concatenated along it are stacked."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, refused

CODE = "FUS611"
TWO: Inputs = ((4, 6), (4, 6))
CUBES: Inputs = ((4, 3, 5), (4, 3, 5))


def function(body: str, head: str = "", arguments: str = "a, b") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\nfrom torch import nn\n{head}\n\ndef f({arguments}):\n{lines}"


POSITIVES: list[tuple[str, str, str, Inputs]] = [
    ("a tuple", "return torch.cat((a.unsqueeze(0), b.unsqueeze(0)))", "torch.stack((a, b))", TWO),
    ("from the end", "return torch.cat([a.unsqueeze(-1), b.unsqueeze(-1)], -1)", "torch.stack([a, b], -1)", TWO),
    ("second from the end", "return torch.cat([a.unsqueeze(-2), b.unsqueeze(-2)], -2)", "torch.stack([a, b], -2)", TWO),
    ("keywords", "return torch.cat(tensors=[a.unsqueeze(dim=1), b.unsqueeze(dim=1)], dim=1)", "tensors=[a, b]", TWO),
    ("a function", "return torch.cat([torch.unsqueeze(a, 1), torch.unsqueeze(b, dim=1)], 1)", "stack([a, b], 1)", TWO),
    ("input=", "return torch.cat([torch.unsqueeze(input=a, dim=1), b[:, None]], 1)", "stack([a, b], 1)", TWO),
    ("None", "return torch.cat([a[None], b[None]], dim=0)", "torch.stack([a, b], dim=0)", TWO),
    ("None behind", "return torch.cat([a[:, None], b[:, None, :]], dim=1)", "torch.stack([a, b], dim=1)", TWO),
    ("None at the end", "return torch.cat([a[..., None], b[..., None]], dim=-1)", "torch.stack([a, b], dim=-1)", TWO),
    ("None before the last", "return torch.cat([a[..., None, :], b[..., None, :]], -2)", "stack([a, b], -2)", TWO),
    ("None before dots", "return torch.cat([a[None, ...], b[None, :, :]], 0)", "torch.stack([a, b], 0)", TWO),
    ("newaxis", "return torch.cat([a[torch.newaxis], b[torch.newaxis]])", "torch.stack([a, b])", TWO),
    ("mixed spellings", "return torch.cat([a[:, None], b.unsqueeze(1)], 1)", "torch.stack([a, b], 1)", TWO),
    ("concat", "return torch.concat([a.unsqueeze(1), b.unsqueeze(1)], dim=1)", "torch.stack([a, b], dim=1)", TWO),
    ("concatenate", "return torch.concatenate([a[None], b[None]], axis=0)", "torch.stack([a, b], axis=0)", TWO),
    ("three", "return torch.cat([a[None], b[None], (a + b)[None]])", "torch.stack([a, b, a + b])", TWO),
    ("operands", "return torch.cat([(a + b).unsqueeze(1), a.tanh().unsqueeze(1)], 1)", "[a + b, a.tanh()], 1", TWO),
    (
        "a known rank",
        "r, c = a.shape\nreturn torch.cat([a.unsqueeze(-1), b.unsqueeze(-1)], 2)",
        "stack([a, b], 2)",
        TWO,
    ),
    ("in steps", "a = a.unsqueeze(1)\nb = b.unsqueeze(1)\nreturn torch.cat([a, b], 1)", "torch.stack([a, b], 1)", TWO),
    ("other names", "c = a.unsqueeze(1)\nreturn torch.cat([c, b.unsqueeze(1)], 1)", "torch.stack([c, b], 1)", TWO),
    ("of calls", "a = torch.relu(a).unsqueeze(1)\nreturn torch.cat([a, b[:, None]], 1)", "a = torch.relu(a)\n", TWO),
    ("a list", "ts = [a[None], b[None]]\nreturn torch.cat(ts, dim=0)", "ts = [a, b]\n", TWO),
    ("a list by steps", "ts = []\nts.append(a[None])\nts.append(b[None])\nreturn torch.cat(ts)", "ts.append(b)\n", TWO),
    ("a list that grows", "ts = [a[None]]\nts.append(b[None])\nreturn torch.cat(ts)", "ts = [a]\n", TWO),
    (
        "a loop",
        "ts = []\nfor i in range(3):\n    a = a * b\n    ts.append(a.unsqueeze(1))\nreturn torch.cat(ts, dim=1)",
        "ts.append(a)\n    return torch.stack(ts, dim=1)",
        TWO,
    ),
    (
        "branches",
        "ts = []\nfor t in (a, b):\n    if t.sum() > 0:\n        ts.append(t[None])\n    else:\n"
        "        ts.append((t - 1)[None])\nreturn torch.cat(ts)",
        "ts.append(t - 1)\n",
        TWO,
    ),
    ("a comprehension", "return torch.cat([t.unsqueeze(0) for t in (a, b)], 0)", "stack([t for t in (a, b)], 0)", TWO),
    ("of a list", "ts = [a, b]\nreturn torch.cat([t.unsqueeze(0) for t in ts], 0)", "torch.stack(ts, 0)", TWO),
    ("of a split", "ts = a.split(2)\nreturn torch.cat([t[:, None] for t in ts], 1)", "torch.stack(ts, 1)", TWO),
    ("of a function", "return torch.cat([t.tanh()[None] for t in a.unbind()])", "stack([t.tanh() for t in", TWO),
    ("filtered", "ts = [a, b]\nreturn torch.cat([t[None] for t in ts if t is not b])", "[t for t in ts if t is", TWO),
    ("a generator", "return torch.cat(tuple(t[None] for t in a))", "torch.stack(tuple(t for t in a))", TWO),
    ("held", "ts = [t[None] for t in a]\nreturn torch.cat(ts)", "ts = [t for t in a]\n    return torch.stack(ts)", TWO),
    ("nested", "return torch.relu(torch.cat([a[None], b[None]]).sum(0))", "relu(torch.stack([a, b]).sum(0))", TWO),
    ("cubes", "return torch.cat([a.unsqueeze(2), b.unsqueeze(2)], 2)", "torch.stack([a, b], 2)", CUBES),
    (
        "an operand over lines",
        "return torch.cat(\n    [\n        a[None],\n        b[None],\n    ],\n)",
        "torch.stack(",
        TWO,
    ),
    ("comments", "ts = [\n    a[None],  # one\n    b[None],  # two\n]\nreturn torch.cat(ts)", "a,  # one", TWO),
    ("written before", "a = a.clone()\na += 1\nreturn torch.cat([a[None], b[None]])", "torch.stack([a, b])", TWO),
]


@pytest.mark.parametrize(("body", "after", "inputs"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES])
def test_stacked(body: str, after: str, inputs: Inputs) -> None:
    result = equivalent(function(body), inputs, codes=frozenset({CODE}), tolerance=0.0, deep=False)
    assert result.applied
    assert after in result.text, result.text


def test_imported_by_name() -> None:
    text = "from torch import cat\n\n\ndef f(a, b):\n    return cat([a.unsqueeze(1), b[:, None]], dim=1)\n"
    result = equivalent(text, TWO, codes=frozenset({CODE}), tolerance=0.0)
    assert "return torch.stack([a, b], dim=1)" in result.text


def test_newaxis_of_numpy() -> None:
    text = function("return torch.cat([a[np.newaxis], b[:][np.newaxis]])", head="import numpy as np\n")
    assert "torch.stack([a, b[:]])" in equivalent(text, TWO, codes=frozenset({CODE}), tolerance=0.0).text


REFUSED = [
    ("one of them alone", "return torch.cat([a.unsqueeze(1), b], 1)", ""),
    ("none of them", "return torch.cat([a, b], 1)", ""),
    ("a single one", "return torch.cat([a.unsqueeze(0)], 0)", ""),
    ("another dimension", "return torch.cat([a.unsqueeze(1), b.unsqueeze(1)], 0)", ""),
    ("the default", "return torch.cat([a.unsqueeze(1), b.unsqueeze(1)])", ""),
    ("two dimensions", "return torch.cat([a.unsqueeze(0), b.unsqueeze(1)], 1)", ""),
    ("both ends", "return torch.cat([a.unsqueeze(-1), b.unsqueeze(-1)], 2)", "how many dimensions"),
    ("both ends, and others", "r, c = a.shape\nreturn torch.cat([a.unsqueeze(-1), b.unsqueeze(-1)], 1)", ""),
    ("a variable", "d = 1\nreturn torch.cat([a.unsqueeze(d), b.unsqueeze(d)], d)", ""),
    ("two new ones", "return torch.cat([a[None, None], b[None, None]])", ""),
    ("a slice besides", "return torch.cat([a[None, 1:], b[None, 1:]])", ""),
    ("a number besides", "return torch.cat([a[:, 0, None], b[:, 0, None]], 1)", ""),
    ("None in the middle of numbers", "return torch.cat([a[0, None], b[0, None]], 0)", ""),
    ("a view", "return torch.cat([a.view(1, 4, 6), b.view(1, 4, 6)])", ""),
    ("starred", "return torch.cat([a[None], *[b[None]]])", ""),
    ("a sum of lists", "return torch.cat([a[None]] + [b[None]])", ""),
    ("several times", "return torch.cat([a[None]] * 3)", ""),
    ("into a tensor", "c = torch.empty(2, 4, 6)\nreturn torch.cat([a[None], b[None]], out=c)", ""),
    ("the list is returned", "ts = [a[None], b[None]]\nreturn torch.cat(ts), ts", "used besides"),
    ("the list's length", "ts = [a[None], b[None]]\nreturn torch.cat(ts), ts[0]", "used besides"),
    ("extended", "ts = [a[None]]\nts.extend([b[None]])\nreturn torch.cat(ts)", "used besides"),
    ("appended otherwise", "ts = []\nts.append(a[None])\nts.append(b)\nreturn torch.cat(ts)", ""),
    ("appended, and read", "ts = []\nts.append(a[None])\nts.append(ts[-1])\nreturn torch.cat(ts)", ""),
    ("a variable used besides", "a = a[None]\nreturn torch.cat([a, b[None]]), a", "used besides"),
    ("a shape asked for", "c = a[None]\nreturn torch.cat([c, b[None]]), c.shape", "used besides"),
    ("captured", "c = a[None]\ng = lambda: c\nreturn torch.cat([c, b[None]]), g", "used besides"),
    ("in a branch", "if a.sum() > 0:\n    a = a[None]\nreturn torch.cat([a, b[None]])", ""),
    ("joined", "ts = [a[None], b[None]]\nif a.sum() > 0:\n    ts = [b[None], a[None]]\nreturn torch.cat(ts)", ""),
    ("bound inside", "return torch.cat([(c := a)[None], c[None]])", "bound inside"),
    ("a comment inside", "return torch.cat([a.unsqueeze(  # rows\n    0), b[None]])", "a comment"),
    ("sharing a line", "a = a[None]; b = b[None]\nreturn torch.cat([a, b])", "shares its line"),
    (
        "gradients",
        "with torch.no_grad():\n    c = a[None]\nreturn torch.cat([c, b[None]])",
        "gradients",
    ),
    (
        "gradients of a list",
        "ts = []\nwith torch.no_grad():\n    ts.append(a[None])\nts.append(b[None])\nreturn torch.cat(ts)",
        "gradients",
    ),
    (
        "reshaped in place",
        "c = a.clone()\nts = []\nts.append(c[None])\nc.t_()\nts.append(b[None])\nreturn torch.cat(ts)",
        "another shape",
    ),
    ("another torch", "torch = a\nreturn torch.cat([a[None], b[None]])", ""),
    ("two comprehensions", "return torch.cat([t.unsqueeze(0) for t in a] + [t.unsqueeze(0) for t in b])", ""),
    ("a comprehension used besides", "ts = [t[None] for t in a]\nreturn torch.cat(ts), ts", "used besides"),
    ("along another one", "return torch.cat([t.unsqueeze(1) for t in a], 0)", ""),
    ("a conditional", "return torch.cat([t[None] if t.sum() > 0 else t for t in a])", ""),
]


@pytest.mark.parametrize(("body", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(body: str, reason: str) -> None:
    reasons = refused(function(body), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


@pytest.mark.parametrize("name", ["test_stack", "reference_stack", "naive_stack"])
def test_a_reference(name: str) -> None:
    text = function("return torch.cat([a[None], b[None]])").replace("def f", f"def {name}")
    assert any("reads as a" in one for one in refused(text, CODE))


def test_an_array_of_another_framework() -> None:
    text = function("return jnp.concatenate([a[None], b[None]])", head="import jax.numpy as jnp\n")
    assert refused(text, CODE) == []
