"""FUS108: dropout of what was dropped out is reported, with the one probability that is the same."""

from __future__ import annotations

import pytest

from equivalence.harness import module
from fuselight.analysis import Analysis

CODE = "FUS108"
ROW = "return self.b(self.a(x))"


def reported(text: str) -> list[str]:
    analysis = Analysis(text)
    found = [finding for finding in analysis.findings if finding.code == CODE]
    assert all(analysis.fix(finding) is None for finding in found)
    return [finding.withheld or "" for finding in found]


def two(one: str, other: str) -> str:
    return f"self.a = nn.{one}\nself.b = nn.{other}"


REPORTED = [
    ("two layers", two("Dropout(0.1)", "Dropout(0.2)"), ROW, "p=0.28,"),
    ("a half twice, which is not all", two("Dropout()", "Dropout(p=0.5)"), ROW, "p=0.75,"),
    ("one layer twice", "self.a = nn.Dropout(0.1)", "return self.a(self.a(x))", "p=0.19,"),
    ("in steps", two("Dropout(0.1)", "Dropout(0.2)"), "x = self.a(x)\nx = self.b(x)\nreturn x", "p=0.28,"),
    ("of channels", two("Dropout2d(0.1)", "Dropout2d(0.2)"), ROW, "p=0.28,"),
    ("a literal", "self.a = nn.Sequential(nn.Dropout(0.25), nn.Dropout(0.2))", "return self.a(x)", "p=0.4,"),
    ("a function", "self.a = nn.Dropout(0.1)", "return F.dropout(self.a(x), 0.2, self.training)", "p=0.28,"),
]


@pytest.mark.parametrize(("init", "forward", "p"), [one[1:] for one in REPORTED], ids=[one[0] for one in REPORTED])
def test_reported_without_an_edit(init: str, forward: str, p: str) -> None:
    (withheld,) = reported(module(init, forward))
    assert p in withheld
    assert "random numbers" in withheld


SILENT = [
    ("of other things", two("Dropout(0.5)", "Dropout2d(0.5)"), ROW),
    ("an alpha dropout", two("AlphaDropout(0.5)", "AlphaDropout(0.5)"), ROW),
    ("of nothing", two("Dropout(0.0)", "Dropout(0.5)"), ROW),
    ("of everything", two("Dropout(1.0)", "Dropout(0.5)"), ROW),
    ("a probability by name", "p = 0.5\n" + two("Dropout(p)", "Dropout(0.5)"), ROW),
    (
        "a layer between",
        two("Dropout(0.5)", "Dropout(0.5)") + "\nself.l = nn.Linear(4, 4)",
        "return self.b(self.l(self.a(x)))",
    ),
    ("an addition between", two("Dropout(0.5)", "Dropout(0.5)"), "return self.b(x + self.a(x))"),
    ("used elsewhere", two("Dropout(0.5)", "Dropout(0.5)"), "y = self.a(x)\nreturn self.b(y) + y"),
    ("always on", "self.a = nn.Dropout(0.5)", "return F.dropout(self.a(x), 0.5)"),
    ("in a branch", two("Dropout(0.5)", "Dropout(0.5)"), "x = self.a(x)\nif X:\n    x = self.b(x)\nreturn x"),
    ("made under a condition", "self.a = nn.Dropout(0.5)\nself.b = nn.Dropout(0.5) if X else nn.Identity()", ROW),
    (
        "a literal with a layer",
        "self.a = nn.Sequential(nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.5))",
        "return self.a(x)",
    ),
    ("a literal that is indexed", "self.a = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))", "return self.a[1](x)"),
    ("replaced from a string", two("Dropout(0.5)", "Dropout(0.5)") + "\nsetattr(self, 'a', nn.Identity())", ROW),
]


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in SILENT], ids=[one[0] for one in SILENT])
def test_not_reported(init: str, forward: str) -> None:
    assert reported(module(init, forward)) == []
