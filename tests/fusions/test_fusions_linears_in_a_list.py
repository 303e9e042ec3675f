"""FUS208: one wide layer computes what the layers of a list did, wherever their outputs were joined; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS208"
X: Inputs = ((2, 5, 16),)
ROWS: Inputs = ((6, 16),)
HEADS = "self.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(3)])"
STACK = "return torch.stack([head(x) for head in self.heads], dim=1)"


def offered(text: str, inputs: Inputs = X) -> str:
    result = equivalent(text, inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert [finding.code for finding in result.applied] == [CODE], result.analysis.refusals
    return result.text


MADE = [
    ("a generator", "self.heads = nn.ModuleList(nn.Linear(16, 4) for _ in range(3))"),
    ("a list", "self.heads = nn.ModuleList([nn.Linear(16, 4), nn.Linear(16, 4), nn.Linear(16, 4)])"),
    ("a tuple", "self.heads = nn.ModuleList((nn.Linear(16, 4), nn.Linear(16, 4)))"),
    ("one", "self.heads = nn.ModuleList([nn.Linear(16, 4)])"),
    ("over lines", "self.heads = nn.ModuleList(\n    [  # all alike\n        nn.Linear(16, 4)  # small\n        for _ in range(3)\n    ]\n)"),
    ("without a bias", "self.heads = nn.ModuleList([nn.Linear(16, 4, bias=False) for _ in range(3)])"),
    ("keywords", "self.heads = nn.ModuleList([nn.Linear(in_features=16, out_features=4) for i in range(3)])"),
    ("a bias from elsewhere", "flag = True\nself.heads = nn.ModuleList([nn.Linear(16, 4, bias=flag) for i in range(3)])"),
    ("a count", "n = 3\nself.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(n)])"),
    ("a width", "w = 4\nself.heads = nn.ModuleList([nn.Linear(16, w) for _ in range(3)])"),
    ("a count and a width", "n, w = 3, 4\nself.heads = nn.ModuleList([nn.Linear(16, w) for _ in range(n)])"),
    ("a sum", "n, w = 3, 4\nself.heads = nn.ModuleList([nn.Linear(16, w + 1) for _ in range(n - 1)])"),
    ("of itself", "self.n = 3\nself.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(self.n)])"),
    ("appended", "self.heads = nn.ModuleList()\nfor _ in range(3):\n    self.heads.append(nn.Linear(16, 4))"),
    ("appended to an empty list", "self.heads = nn.ModuleList([])\nn = 3\nfor _ in range(n):\n    self.heads.append(nn.Linear(16, 4))"),
]  # fmt: skip


@pytest.mark.parametrize("init", [init for _, init in MADE], ids=[id for id, _ in MADE])
def test_however_the_list_is_made(init: str) -> None:
    text = offered(module(init, STACK))
    assert "ModuleList" not in text


JOINED = [
    ("stack", "return torch.stack([head(x) for head in self.heads])"),
    ("stack at 0", "return torch.stack([head(x) for head in self.heads], 0)"),
    ("stack at 2", "return torch.stack([head(x) for head in self.heads], 2)"),
    ("stack last", "return torch.stack([head(x) for head in self.heads], -1)"),
    ("stack last but one", "return torch.stack([head(x) for head in self.heads], -2)"),
    ("stack at -3", "return torch.stack([head(x) for head in self.heads], dim=-3)"),
    ("cat", "return torch.cat([head(x) for head in self.heads], -1)"),
    ("cat of rows", "return torch.cat([head(x) for head in self.heads])"),
    ("cat at 1", "return torch.cat([head(x) for head in self.heads], dim=1)"),
    ("cat at -2", "return torch.cat([head(x) for head in self.heads], dim=-2)"),
    ("concat", "return torch.concat([head(x) for head in self.heads], axis=-1)"),
    ("a tuple", "return torch.stack(tuple(head(x) for head in self.heads), 1)"),
    ("a list of a generator", "return torch.stack(list(head(x) for head in self.heads), 1)"),
    ("by number", "return torch.stack([self.heads[i](x) for i in range(3)], 1)"),
    ("by length", "return torch.stack([self.heads[i](x) for i in range(len(self.heads))], 1)"),
    ("spelled out", "return torch.stack([self.heads[0](x), self.heads[1](x), self.heads[2](x)], 1)"),
    ("a name", "outs = [head(x) for head in self.heads]\nreturn torch.stack(outs, 1)"),
    ("a name of a tuple", "outs = tuple(head(x) for head in self.heads)\nx = x + 1\nreturn torch.stack(outs, 1) + x.sum()"),
    ("input changed after", "outs = [head(x) for head in self.heads]\nx = x * 2\nreturn torch.cat(outs, -1) + x.mean()"),
    ("a loop", "outs = []\nfor head in self.heads:\n    outs.append(head(x))\nreturn torch.stack(outs, dim=1)"),
    ("a loop by number", "outs = []  # all\nfor i in range(3):\n    # one\n    outs.append(self.heads[i](x))\nreturn torch.cat(outs, dim=-1)"),
    ("a loop in two steps", "outs = []\nfor head in self.heads:\n    y = head(x)\n    outs.append(y)\nreturn torch.stack(outs, 1)"),
    ("a method behind", "return torch.stack([head(x) for head in self.heads], 0).mean(0)"),
    ("a flat view behind", "return torch.stack([head(x) for head in self.heads], 1).view(-1)"),
    ("a flat view of a cat", "return torch.cat([head(x) for head in self.heads], 0).view(-1)"),
    ("written to", "y = torch.stack([head(x) for head in self.heads], 1)\ny.mul_(2)\nreturn y"),
    ("a slice", "return torch.stack([head(x[:, 0]) for head in self.heads], 1)"),
    ("a sum", "return torch.stack([head(x + 1) for head in self.heads], 1)"),
    ("in an operand", "return x.sum() + torch.stack([h(x) for h in self.heads], 1)"),
    ("in a branch", "if x.dim() > 1:\n    return torch.stack([h(x) for h in self.heads], 1)\nreturn x"),
    ("in a loop", "for _ in range(1):\n    y = torch.stack([h(x) for h in self.heads], 1)\nreturn y"),
    ("a dimension from elsewhere", "d = x.dim() - 1\nreturn torch.stack([h(x) for h in self.heads], d)"),
    ("over lines", "return torch.stack(\n    [\n        head(x)  # one\n        for head in self.heads\n    ],\n    dim=1,\n)"),
]  # fmt: skip


@pytest.mark.parametrize("forward", [forward for _, forward in JOINED], ids=[id for id, _ in JOINED])
def test_however_they_are_joined(forward: str) -> None:
    offered(module(HEADS, forward))


@pytest.mark.parametrize("shape", [(16,), (6, 16), (1, 5, 16), (2, 3, 5, 16)])
@pytest.mark.parametrize("join", ["torch.stack({}, 0).view(-1)", "torch.stack({}, -1)", "torch.cat({}, 0).view(-1)"])
def test_of_any_rank(join: str, shape: tuple[int, ...]) -> None:
    offered(module(HEADS, "return " + join.format("[head(x) for head in self.heads]")), (shape,))


def test_a_matrix_joined_along_its_second_dimension() -> None:
    offered(module(HEADS, "return torch.cat([head(x) for head in self.heads], 1)"), ROWS)


WIDTHS = [
    "self.heads = nn.ModuleList([nn.Linear(16, 4), nn.Linear(16, 5)])",
    "a, b = 4, 5\nself.heads = nn.ModuleList([nn.Linear(16, a + 1), nn.Linear(16, b)])",
    "widths = (2, 3)\nself.heads = nn.ModuleList([nn.Linear(16, width) for width in widths])",
    "self.widths = [2, 3]\nself.heads = nn.ModuleList(nn.Linear(16, width, bias=False) for width in self.widths)",
    "self.heads = nn.ModuleList([nn.Linear(16, width) for width in (2, 3, 4)])",
]


@pytest.mark.parametrize("init", WIDTHS)
def test_unlike_widths_side_by_side(init: str) -> None:
    offered(module(init, "return torch.cat([head(x) for head in self.heads], dim=-1)"))
    offered(module(init, "return torch.cat([head(x) for head in self.heads], dim=1)"), ROWS)
    offered(
        module(init, "outs = []\nfor head in self.heads:\n    outs.append(head(x))\nreturn torch.cat(outs, 1)"), ROWS
    )


def test_a_setting_that_counts_them() -> None:
    head = "class Config:\n    n = 3\n\n\nconfig = Config()"
    init = "n = config.n\nself.n = n\nself.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(n)])"
    refused(module(init, "return torch.stack([self.heads[i](x) for i in range(self.n)], 1)", head=head), CODE)
    text = """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, n=3):
        super().__init__()
        self.n = n
        self.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(n)])

    def forward(self, x):
        return torch.stack([self.heads[i](x) for i in range(self.n)], 1)
"""
    offered(text)


def test_old_checkpoints_load_in_copies_and_nested_too() -> None:
    equivalent(module(HEADS, STACK), X, codes=frozenset({CODE}), tolerance=REORDERED)


def test_a_property_is_computed_anew() -> None:
    text = module(HEADS, "return torch.stack([h(x + self.noise) for h in self.heads], 1)")
    text += "\n    @property\n    def noise(self):\n        return torch.randn(1, dtype=torch.float64)\n"
    assert any("computed anew" in reason for reason in refused(text, CODE))


def test_more_than_ten_layers_keep_their_order() -> None:
    offered(module("self.heads = nn.ModuleList([nn.Linear(16, 2) for _ in range(12)])", STACK))


def test_two_lists() -> None:
    init = f"{HEADS}\nself.gates = nn.ModuleList([nn.Linear(16, 4, bias=False) for _ in range(3)])"
    forward = (
        "y = torch.stack([head(x) for head in self.heads], 1)\n"
        "return y * torch.stack([gate(x) for gate in self.gates], 1)"
    )
    result = equivalent(module(init, forward), X, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert len(result.applied) == 2


def test_past_hooks_it_breaks() -> None:
    text = module(HEADS, STACK).replace(
        "from torch import nn", "from torch import nn\nfrom safetensors import safe_open"
    )
    found = [finding for finding in Analysis(text).findings if finding.code == CODE]
    assert [finding.safety for finding in found] == [Safety.BREAKING]


def test_crlf_and_tabs() -> None:
    text = module(HEADS, "outs = []\nfor h in self.heads:\n    outs.append(h(x))\nreturn torch.stack(outs, 1)")
    offered(text.replace("\n", "\r\n"))
    offered(text.replace("    ", "\t"))


REFUSED = [
    ("dropout in the input", HEADS + "\nself.drop = nn.Dropout(0.5)", "return torch.stack([h(self.drop(x)) for h in self.heads])", "computed anew"),
    ("a call in the input", HEADS, "return torch.stack([h(F.dropout(x)) for h in self.heads])", "computed anew"),
    ("the list of outputs twice", HEADS, "outs = [h(x) for h in self.heads]\nreturn torch.stack(outs, 1) + outs[0].sum()", "used again"),
    ("the list of outputs measured", HEADS, "outs = [h(x) for h in self.heads]\nreturn torch.stack(outs, 1) / len(outs)", "used again"),
    ("appended to again", HEADS, "outs = []\nfor h in self.heads:\n    outs.append(h(x))\nouts.append(outs[0])\nreturn torch.stack(outs, 1)", "used again"),
    ("seen by an alias", HEADS, "outs = [h(x) for h in self.heads]\nmine = outs\nreturn torch.stack(mine, 1)", "second name"),
    ("joined elsewhere", HEADS, "outs = [h(x) for h in self.heads]\nif x.dim() > 1:\n    return torch.stack(outs, 1)\nreturn x", "another branch"),
    ("the layer outlives the loop", HEADS, "outs = []\nfor h in self.heads:\n    outs.append(h(x))\nreturn torch.stack(outs, 1) + h(x).sum()", "used outside the loop"),
    ("called twice", HEADS, "return torch.stack([h(x) for h in self.heads], 1) + torch.stack([h(x * 2) for h in self.heads], 1)", "beside its call"),
    ("indexed", HEADS, "return torch.stack([h(x) for h in self.heads], 1) + self.heads[0](x).sum()", "beside its call"),
    ("measured", HEADS, "return torch.stack([h(x) for h in self.heads], 1) / len(self.heads)", "beside its call"),
    ("frozen", HEADS + "\nself.heads.requires_grad_(False)", STACK, "beside its call"),
    ("initialised", HEADS + "\nfor h in self.heads:\n    nn.init.zeros_(h.bias)", STACK, "beside its call"),
    ("extended", HEADS + "\nself.heads.extend([nn.Linear(16, 4)])", STACK, "beside its call"),
    ("a condition", "self.a = True\nif self.a:\n    " + HEADS, STACK, "only under a condition"),
    ("made twice", HEADS + "\n" + HEADS, STACK, "more than once"),
    ("on one line", HEADS + "; self.a = 1", STACK, "share a line"),
    ("unlike inputs", "self.heads = nn.ModuleList([nn.Linear(16, 4), nn.Linear(16, 4, bias=False)])", STACK, "differ in their arguments"),
    ("widths of their own", "self.heads = nn.ModuleList([nn.Linear(16, i + 1) for i in range(3)])", "return torch.cat([h(x) for h in self.heads], -1)", "differ in their arguments"),
    ("a bias in turns", "self.heads = nn.ModuleList([nn.Linear(16, 4, bias=i > 0) for i in range(3)])", STACK, "differ in their arguments"),
    ("as many as something has", "names = 'ab'\nself.heads = nn.ModuleList([nn.Linear(16, 4) for _ in names])", STACK, "not shown by a `range`"),
    ("every second", "self.heads = nn.ModuleList([nn.Linear(16, 4) for i in range(4) if i % 2])", STACK, "decided elsewhere"),
    ("a random width", "import random\nself.heads = nn.ModuleList([nn.Linear(16, random.randint(4, 4)) for _ in range(3)])", STACK, "worked out by a call"),
    ("fewer", HEADS, "return torch.stack([self.heads[i](x) for i in range(2)], 1)", "not all layers"),
    ("some number of them", HEADS + "\nself.n = 3", "return torch.stack([self.heads[i](x) for i in range(self.n)], 1)", "not all layers"),
    ("the first two", HEADS, "return torch.stack([self.heads[0](x), self.heads[1](x)], 1)", "not all layers"),
    ("xavier", HEADS + "\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.xavier_uniform_(m.weight)", STACK, "depends on the shape"),
    ("by name", HEADS, "x = x + getattr(self, 'head' + 's')[0].bias.sum()\n" + STACK, "computed name"),
    ("something between", "self.heads = nn.ModuleList()\nn = 3\nprint(n)\nfor _ in range(n):\n    self.heads.append(nn.Linear(16, 4))", STACK, "may see the list"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


NOTHING = [
    ("each its own input", HEADS, "return torch.stack([h(x[:, i]) for i, h in enumerate(self.heads)], 1)"),
    ("its own input by number", HEADS, "return torch.stack([self.heads[i](x[:, i]) for i in range(3)], 1)"),
    ("its own input, zipped", HEADS, "return torch.stack([h(y) for h, y in zip(self.heads, x.unbind(1))], 1)"),
    ("in a row", HEADS, "outs = []\nfor h in self.heads:\n    x = h(x)\n    outs.append(x)\nreturn torch.stack(outs, 1)"),
    ("an activation each", HEADS, "return torch.stack([F.relu(h(x)) for h in self.heads], 1)"),
    ("backwards", HEADS, "return torch.stack([h(x) for h in reversed(self.heads)], 1)"),
    ("a part", HEADS, "return torch.stack([h(x) for h in self.heads[1:]], 1)"),
    ("a condition each", HEADS, "return torch.stack([h(x) for h in self.heads if h.training], 1)"),
    ("two loops", HEADS, "return torch.stack([h(x) for h in self.heads for _ in range(2)], 1)"),
    ("one layer, three times", "self.heads = nn.ModuleList([nn.Linear(16, 4)] * 3)", STACK),
    ("no linear layers", "self.heads = nn.ModuleList([nn.LayerNorm(16) for _ in range(3)])", STACK),
    ("small networks", "self.heads = nn.ModuleList([nn.Sequential(nn.Linear(16, 4)) for _ in range(3)])", STACK),
    ("summed", HEADS, "return sum(h(x) for h in self.heads)"),
    ("a list", HEADS, "return [h(x) for h in self.heads]"),
    ("no modules", "self.heads = [nn.Linear(16, 4) for _ in range(3)]", STACK),
    ("something else joined too", HEADS, "return torch.cat([x] + [h(x) for h in self.heads], -1)"),
    ("a start", HEADS, "outs = [x[..., :4]]\nfor h in self.heads:\n    outs.append(h(x))\nreturn torch.stack(outs, 1)"),
    ("a loop that stops", HEADS, "outs = []\nfor h in self.heads:\n    outs.append(h(x))\n    if x.dim() > 9:\n        break\nreturn torch.stack(outs, 1)"),
    ("numbers out of order", HEADS, "return torch.stack([self.heads[1](x), self.heads[0](x), self.heads[2](x)], 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in NOTHING], ids=[one[0] for one in NOTHING])
def test_no_candidate(init: str, forward: str) -> None:
    refused(module(init, forward), CODE)


AROUND = [
    ("another class uses it", "class N(nn.Module):\n    def __init__(self, m):\n        super().__init__()\n        self.first = m.heads[0]", "touches it"),
    ("a subclass uses it", "class N(M):\n    def one(self, x):\n        return self.heads[0](x)", "beside its call"),
    ("a subclass replaces it", "class N(M):\n    def __init__(self):\n        super().__init__()\n        self.heads = None", "beside its call"),
    ("an optimiser names it", "GROUPS = ['heads.0', 'body']", "names `heads`"),
    ("an optimiser of matrices", "from muon import Muon\n\n\ndef train(m):\n    return Muon(m.parameters())", "Muon"),
    ("picked by number", "def group(m):\n    return [p for n, p in m.named_parameters() if n.endswith('.0.bias')]", "picked by the string"),
    ("picked by a digit", "def group(m):\n    return [p for n, p in m.named_parameters() if '0' in n]", "picked by the string"),
    ("picked by depth", "def group(m):\n    return [p for n, p in m.named_parameters() if len(n.split('.')) > 2]", "picked by the string"),
    ("lists by their type", "def is_list(one):\n    return isinstance(one, nn.ModuleList)", "by its type"),
    ("a property", "class N(M):\n    @property\n    def heads(self):\n        return []", "class attribute or method"),
    ("scripted", "scripted = torch.jit.script(M())", "jit.script"),
    ("nested tensors", "def pack(xs):\n    return torch.nested.nested_tensor(xs)", "nested"),
]  # fmt: skip


@pytest.mark.parametrize(("tail", "reason"), [one[1:] for one in AROUND], ids=[one[0] for one in AROUND])
def test_refused_for_what_stands_around(tail: str, reason: str) -> None:
    reasons = refused(module(HEADS, STACK, tail=tail), CODE)
    assert any(reason in one for one in reasons), reasons
