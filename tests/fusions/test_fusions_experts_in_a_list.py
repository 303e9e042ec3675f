"""FUS210: two products compute what experts in a list did one by one, from the old checkpoints; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest
import torch
from torch import nn

from equivalence.harness import REORDERED, Inputs, equivalent, executed, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS210"
X: Inputs = ((7, 6),)
TWO = "self.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])"
MLPS = "self.experts = nn.ModuleList([nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)) for _ in range(3)])"
STACK = "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])"
WHOLE = "return torch.stack([e(x) for e in self.experts])"


def offered(text: str, inputs: Inputs = X, deep: bool = False) -> str:
    result = equivalent(text, inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=deep)
    assert [finding.code for finding in result.applied] == [CODE], [one.refused for one in result.analysis.refusals]
    return result.text


MADE = [
    ("a range", TWO, STACK),
    ("lists", "self.w1 = nn.ModuleList([nn.Linear(6, 8), nn.Linear(6, 8)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5), nn.Linear(8, 5)])", STACK),
    ("generators", "self.w1 = nn.ModuleList(nn.Linear(6, 8) for _ in range(3))\nself.w2 = nn.ModuleList(nn.Linear(8, 5) for _ in range(3))", STACK),
    ("the second first", "self.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])\n# then\nself.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])", STACK),
    ("without a bias", "self.w1 = nn.ModuleList([nn.Linear(6, 8, bias=False) for _ in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5, bias=False) for _ in range(3)])", STACK),
    ("names", "n, d, h = 3, 6, 8\nself.w1 = nn.ModuleList([nn.Linear(d, h) for _ in range(n)])\nself.w2 = nn.ModuleList([nn.Linear(h, d) for _ in range(n)])", STACK),
    ("a product", "d = 6\nself.w1 = nn.ModuleList([nn.Linear(d, 2 * d) for _ in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(2 * d, d) for _ in range(3)])", STACK),
    ("keywords", "self.w1 = nn.ModuleList([nn.Linear(in_features=6, out_features=8) for i in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8, out_features=5) for i in range(3)])", STACK),
    ("something between", "self.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])\nself.p = 0.5\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])", STACK),
    ("whole experts", MLPS, WHOLE),
    ("whole experts, GELU", MLPS.replace("ReLU", "GELU"), WHOLE),
    ("whole experts, listed", "self.experts = nn.ModuleList([nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)), nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))])", WHOLE),
    ("no activation", TWO, "return torch.stack([b(a(x)) for a, b in zip(self.w1, self.w2)])"),
    ("a method", TWO, "return torch.stack([b(a(x).relu()) for a, b in zip(self.w1, self.w2)])"),
    ("a layer", f"{TWO}\nself.act = nn.SiLU()", "return torch.stack([b(self.act(a(x))) for a, b in zip(self.w1, self.w2)])"),
    ("with an argument", TWO, 'return torch.stack([b(F.gelu(a(x), approximate="tanh")) for a, b in zip(self.w1, self.w2)])'),
    ("two activations", TWO, "return torch.stack([b(torch.tanh(F.relu(a(x)))) for a, b in zip(self.w1, self.w2)])"),
    ("strict", TWO, "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2, strict=True)])"),
    ("a dimension", TWO, "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)], dim=0)"),
    ("keywords of stack", TWO, "return torch.stack(tensors=[b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)], dim=0)"),
    ("used further", TWO, "hidden = 3\ny = torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)]).mean(0)\nreturn y * hidden"),
    ("in its own name", TWO, "x = x * 2\nx = torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])\nreturn x"),
    ("over lines", TWO, "return torch.stack(\n    [\n        b(F.relu(a(x)))  # the second\n        for a, b in zip(self.w1, self.w2)\n    ]\n)"),
    ("in a branch", TWO, "if x.sum() != 0:\n    return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])\nreturn x"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in MADE], ids=[one[0] for one in MADE])
def test_however_it_is_spelled(init: str, forward: str) -> None:
    text = offered(module(init, forward))
    assert "bmm(" in text
    assert "ModuleList" not in text


@pytest.mark.parametrize(("init", "forward"), [(TWO, STACK), (MLPS, WHOLE)])
def test_copies_pickles_and_nested_modules_load(init: str, forward: str) -> None:
    offered(module(init, forward), deep=True)


@pytest.mark.parametrize(
    ("forward", "safety"),
    [
        (STACK, Safety.NUMERICS),
        (f"n, d = x.shape\n{STACK}", Safety.CHECKPOINT),
        (f"x = x.flatten(1)\n{STACK}", Safety.CHECKPOINT),
        (f"x = x.reshape(-1, 6)\n{STACK}", Safety.CHECKPOINT),
    ],
)
def test_the_title_says_what_is_taken_for_granted(forward: str, safety: Safety) -> None:
    found = [finding for finding in Analysis(module(TWO, forward)).findings if finding.code == CODE]
    assert [finding.safety for finding in found] == [safety]
    assert ("two dimensions" in found[0].title) == (safety is Safety.NUMERICS)


def test_what_loads_past_hooks_is_breaking() -> None:
    text = module(TWO, STACK, head="from safetensors.torch import load_file")
    assert [one.safety for one in Analysis(text).findings if one.code == CODE] == [Safety.BREAKING]


def test_the_parameters_are_drawn_from_the_distribution_of_a_linear_layer() -> None:
    init = "self.w1 = nn.ModuleList([nn.Linear(6, 90) for _ in range(4)])\nself.w2 = nn.ModuleList([nn.Linear(90, 80) for _ in range(4)])"
    with executed(offered(module(init, STACK))) as after:
        made = after.M()
        bound = nn.Linear(90, 80).in_features ** -0.5
        for parameter in (made.w2_weight, made.w2_bias):
            assert float(parameter.detach().abs().max()) == pytest.approx(bound, rel=0.03)
        assert float(made.w1.weight.detach().abs().max()) == pytest.approx(6**-0.5, rel=0.03)
        assert isinstance(made.w2_weight, torch.nn.Parameter)


def test_an_input_of_another_rank_does_not_pass_unnoticed() -> None:
    with executed(offered(module(TWO, STACK))) as after:
        made = after.M()
        for shape in ((6,), (3, 7, 6), (2, 3, 7, 6)):
            with pytest.raises((RuntimeError, IndexError)):
                made(torch.zeros(shape))


REFUSED = [
    ("three dimensions", TWO, f"n, t, d = x.shape\n{STACK}", "two dimensions"),
    ("another dimension", TWO, "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)], dim=1)", "first dimension"),
    ("concatenated", TWO, "return torch.cat([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)], dim=-1)", ""),
    ("added up", TWO, "return sum(b(F.relu(a(x))) for a, b in zip(self.w1, self.w2))", ""),
    ("weighted", TWO, "return torch.stack([b(F.relu(a(x))) * x.mean() for a, b in zip(self.w1, self.w2)])", ""),
    ("dropout", TWO, "return torch.stack([b(F.dropout(F.relu(a(x)))) for a, b in zip(self.w1, self.w2)])", "each element alone"),
    ("a dropout layer", f"{TWO}\nself.drop = nn.Dropout(0.1)", "return torch.stack([b(self.drop(a(x))) for a, b in zip(self.w1, self.w2)])", "each element alone"),
    ("softmax", TWO, "return torch.stack([b(F.softmax(a(x), -1)) for a, b in zip(self.w1, self.w2)])", "each element alone"),
    ("a norm", f"{TWO}\nself.norm = nn.LayerNorm(8)", "return torch.stack([b(self.norm(a(x))) for a, b in zip(self.w1, self.w2)])", "each element alone"),
    ("a gate", TWO, "return torch.stack([b(a(x) * x.mean()) for a, b in zip(self.w1, self.w2)])", "each element alone"),
    ("in place", TWO, "return torch.stack([b(F.relu(a(x), inplace=True)) for a, b in zip(self.w1, self.w2)])", "each element alone"),
    ("filtered", TWO, "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2) if b.bias is not None])", ""),
    ("another input for each", TWO, "return torch.stack([b(F.relu(a(y))) for a, b, y in zip(self.w1, self.w2, x.chunk(3))])", ""),
    ("an input computed anew", TWO, "return torch.stack([b(F.relu(a(F.dropout(x)))) for a, b in zip(self.w1, self.w2)])", "computed anew"),
    ("reversed", TWO, "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, reversed(self.w2))])", ""),
    ("the first twice", TWO, "return torch.stack([b(F.relu(a(x)) + a(x)) for a, b in zip(self.w1, self.w2)])", ""),
    ("swapped", TWO, "return torch.stack([b(F.relu(a(x))) for b, a in zip(self.w1, self.w2)])", ""),
    ("two lengths", "self.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(2)])", STACK, "as many"),
    ("two names", "n = m = 3\nself.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(n)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(m)])", STACK, "as many"),
    ("a name that changes", "n = 3\nself.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(n)])\nn = 2\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(n)])", STACK, "changes between"),
    ("widths that differ", "self.w1 = nn.ModuleList([nn.Linear(6, 8), nn.Linear(6, 9)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5), nn.Linear(9, 5)])", STACK, "differ"),
    ("widths by number", "self.w1 = nn.ModuleList([nn.Linear(6, 8 + i) for i in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8 + i, 5) for i in range(3)])", STACK, "differ"),
    ("one layer repeated", "self.w1 = nn.ModuleList([nn.Linear(6, 8)] * 3)\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])", STACK, ""),
    ("one bias", "self.w1 = nn.ModuleList([nn.Linear(6, 8, bias=False) for _ in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])", STACK, "bias"),
    ("a dtype", "self.w1 = nn.ModuleList([nn.Linear(6, 8, dtype=torch.float64) for _ in range(3)])\nself.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])", STACK, "dtype"),
    ("measured", TWO, "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)]) / len(self.w1)", "beside its call"),
    ("indexed", TWO, f"y = self.w1[0](x)\nprint(y)\n{STACK}", "beside its call"),
    ("appended", f"{TWO}\nself.w1.append(nn.Linear(6, 8))\nself.w2.append(nn.Linear(8, 5))", STACK, "beside its call"),
    ("initialised", f"{TWO}\nfor layer in self.w1:\n    nn.init.zeros_(layer.bias)", STACK, "beside its call"),
    ("initialised by type", f"{TWO}\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.normal_(m.weight)", STACK, "by their type"),
    ("decayed by name", f"{TWO}\nself.plain = [p for n, p in self.named_parameters() if n.endswith('.bias')]", STACK, ""),
    ("sparse", TWO, "return torch.stack([b(F.relu(a(x[i]))) for i, (a, b) in enumerate(zip(self.w1, self.w2))])", ""),
    ("a loop by number", TWO, "return torch.stack([self.w2[i](F.relu(self.w1[i](x))) for i in range(3)])", ""),
    ("whole experts with dropout", MLPS.replace("nn.ReLU()", "nn.Dropout(0.1)"), WHOLE, ""),
    ("whole experts of three layers", MLPS.replace("nn.ReLU()", "nn.ReLU(), nn.Linear(8, 8)"), WHOLE, ""),
    ("whole experts in place", MLPS.replace("nn.ReLU()", "nn.ReLU(inplace=True)"), WHOLE, ""),
    ("a walrus", TWO, "return torch.stack([(y := b(F.relu(a(x)))) for a, b in zip(self.w1, self.w2)]) + y", ""),
    ("one line", TWO, f"n = 3; {STACK}", "shares its line"),
    ("something before it", TWO, "return change(x) + torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])", "called before"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_is_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
