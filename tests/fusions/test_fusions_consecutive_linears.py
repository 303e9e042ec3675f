"""FUS106: two linear maps in a row are reported where nothing says that they are meant."""

from __future__ import annotations

import pytest

from equivalence.harness import module
from fuselight.analysis import Analysis

CODE = "FUS106"
ROW = "return self.b(self.a(x))"


def reported(text: str) -> list[str]:
    analysis = Analysis(text)
    found = [finding for finding in analysis.findings if finding.code == CODE]
    assert all(analysis.fix(finding) is None for finding in found)
    return [finding.withheld or "" for finding in found]


def linears(*sizes: object) -> str:
    one, inner, other = sizes
    return f"self.a = nn.Linear({one}, {inner})\nself.b = nn.Linear({inner}, {other})"


REPORTED = [
    ("of one width", linears(8, 8, 8), ROW),
    ("wider inside", linears(8, 32, 4), ROW),
    ("as wide as the input", linears(8, 8, 2), ROW),
    ("in steps", linears(8, 8, 8), "x = self.a(x)\nx = self.b(x)\nreturn x"),
    ("by name", "d = 8\n" + linears("d", "d", 2), ROW),
    ("without biases", "self.a = nn.Linear(8, 8, bias=False)\nself.b = nn.Linear(8, 8, bias=False)", ROW),
    ("a literal", "self.a = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))", "return self.a(x)"),
    (
        "a literal that goes on",
        "self.a = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4), nn.ReLU())",
        "return self.a(x)",
    ),
    ("1x1 convolutions", "self.a = nn.Conv2d(3, 8, 1)\nself.b = nn.Conv2d(8, 4, kernel_size=(1, 1))", ROW),
    ("1x1 in one dimension", "self.a = nn.Conv1d(3, 8, 1)\nself.b = nn.Conv1d(8, 4, 1)", ROW),
]


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in REPORTED], ids=[one[0] for one in REPORTED])
def test_reported_without_an_edit(init: str, forward: str) -> None:
    (withheld,) = reported(module(init, forward))
    assert "activation" in withheld


SILENT = [
    ("low rank", linears(8, 2, 8), ROW),
    ("low rank by name", "d, r = 8, 2\n" + linears("d", "r", "d"), ROW),
    ("sizes that say nothing", "a, b, c = 8, 8, 8\n" + linears("a", "b", "c"), ROW),
    ("an activation", linears(8, 8, 8), "return self.b(torch.relu(self.a(x)))"),
    ("a norm", linears(8, 8, 8) + "\nself.n = nn.LayerNorm(8)", "return self.b(self.n(self.a(x)))"),
    ("a dropout", linears(8, 8, 8) + "\nself.d = nn.Dropout(0.1)", "return self.b(self.d(self.a(x)))"),
    ("a residual", linears(8, 8, 8), "return self.b(x + self.a(x))"),
    ("a view", linears(8, 8, 8), "return self.b(self.a(x).view(-1, 8))"),
    ("used elsewhere", linears(8, 8, 8), "y = self.a(x)\nreturn self.b(y), y"),
    ("called twice", linears(8, 8, 8), "return self.b(self.a(self.a(x)))"),
    ("tied", linears(8, 8, 8) + "\nself.b.weight = self.a.weight", ROW),
    ("frozen", linears(8, 8, 8) + "\nself.a.requires_grad_(False)", ROW),
    ("made under a condition", linears(8, 8, 8) + "\nif X:\n    self.a = nn.Identity()", ROW),
    ("an embedding", "self.a = nn.Embedding(8, 8)\nself.b = nn.Linear(8, 8)", ROW),
    ("a real convolution", "self.a = nn.Conv2d(3, 8, 3)\nself.b = nn.Conv2d(8, 8, 1)", ROW),
    ("depthwise", "self.a = nn.Conv2d(8, 8, 1, groups=8)\nself.b = nn.Conv2d(8, 8, 1)", ROW),
    ("strided", "self.a = nn.Conv2d(8, 8, 1, stride=2)\nself.b = nn.Conv2d(8, 8, 1)", ROW),
    ("padded", "self.a = nn.Conv2d(8, 8, 1, padding=1)\nself.b = nn.Conv2d(8, 8, 1)", ROW),
    (
        "an adapter",
        "self.lora_a = nn.Linear(8, 8)\nself.lora_b = nn.Linear(8, 8)",
        "return self.lora_b(self.lora_a(x))",
    ),
    ("in a branch", linears(8, 8, 8), "x = self.a(x)\nif self.training:\n    x = self.b(x)\nreturn x"),
    (
        "a literal with an activation",
        "self.a = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))",
        "return self.a(x)",
    ),
    ("a literal that is indexed", "self.a = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))", "return self.a[0](x)"),
    ("a list", "self.a = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])", "return self.a[1](self.a[0](x))"),
]


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in SILENT], ids=[one[0] for one in SILENT])
def test_not_reported(init: str, forward: str) -> None:
    assert reported(module(init, forward)) == []


def test_a_class_that_says_so_is_not_reported() -> None:
    assert reported(module(linears(8, 8, 8), ROW).replace("class M", "class LowRankMap")) == []
