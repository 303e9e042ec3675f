"""FUS114: an embedding computes what a linear layer of one-hot rows did, from the old weight; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest
import torch
from torch import nn

from equivalence.harness import REORDERED, Inputs, equivalent, executed, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS114"
I = torch.tensor([[3, 0, 9], [1, 1, 5]])  # noqa: E741  (indices)
INPUTS: Inputs = (I,)
FC = "self.fc = nn.Linear(10, 4, bias=False)"
CALL = "return self.fc(F.one_hot(i, 10).to(self.fc.weight.dtype))"


def file(init: str, forward: str, **more: str) -> str:
    return module(init, forward, arguments="self, i", **more)


def offered(text: str, inputs: Inputs = INPUTS, deep: bool = False) -> str:
    result = equivalent(text, inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=deep)
    assert [finding.code for finding in result.applied] == [CODE], [one.refused for one in result.analysis.refusals]
    return result.text


SPELLINGS = [
    ("a dtype", FC, CALL),
    ("double", FC, "return self.fc(F.one_hot(i, 10).double())"),
    ("in a name", FC, "rows = F.one_hot(i, num_classes=10).double()\nreturn self.fc(rows)"),
    ("in names", FC, "rows = F.one_hot(i, num_classes=10)\n# numbers\nrows = rows.double()\ny = self.fc(rows)\nreturn y"),
    ("by name", FC, "return self.fc(input=F.one_hot(i, 10).double())"),
    ("to a device", FC, "device = i.device\nreturn self.fc(F.one_hot(i, 10).to(device).double())"),
    ("an index worked out", FC, "return self.fc(F.one_hot(i.flatten() + 0, 10).double())"),
    ("and on", FC, "return F.relu(self.fc(F.one_hot(i, 10).double()))"),
    ("square", "self.fc = nn.Linear(10, 10, bias=False)", CALL),
    ("keywords", "self.fc = nn.Linear(out_features=4, in_features=10, bias=False)", CALL),
    ("by position", "self.fc = nn.Linear(10, 4, False)", CALL),
    ("names", "n, d = 10, 4\nself.fc = nn.Linear(n, d + 1, bias=False)", CALL),
    ("a dtype of its own", "self.fc = nn.Linear(10, 4, bias=False, dtype=torch.float64)", CALL),
    ("named an embedding already", "self.embed = nn.Linear(10, 4, bias=False)", "return self.embed(F.one_hot(i, 10).double())"),
    ("with a comment", "# which\nself.fc = nn.Linear(10, 4, bias=False)  # of ten", CALL),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in SPELLINGS], ids=[one[0] for one in SPELLINGS])
def test_however_it_is_spelled(init: str, forward: str) -> None:
    text = offered(file(init, forward))
    assert "nn.Embedding(" in text
    assert "one_hot(" not in text


def test_copies_pickles_and_nested_modules_load() -> None:
    offered(file("self.fc = nn.Linear(10, 10, bias=False)", CALL), deep=True)


def test_the_name_of_the_new_layer_is_free() -> None:
    text = offered(file(f"self.fc_embedding = 3\n{FC}", CALL))
    assert "self.fc_embedding_2 = nn.Embedding(10, 4)" in text


def test_the_weight_is_drawn_from_the_distribution_of_a_linear_layer() -> None:
    before = file(
        "self.fc = nn.Linear(400, 300, bias=False)", "return self.fc(F.one_hot(i, 400).to(self.fc.weight.dtype))"
    )
    with executed(offered(before)) as after:
        weight = after.M().fc_embedding.weight
        bound = nn.Linear(400, 300).in_features ** -0.5
        assert float(weight.detach().abs().max()) == pytest.approx(bound, rel=1e-2)
        assert float(weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=2e-2)


def test_what_loads_past_hooks_is_breaking() -> None:
    text = file(FC, CALL, head="from safetensors.torch import load_file")
    assert [one.safety for one in Analysis(text).findings if one.code == CODE] == [Safety.BREAKING]


REFUSED = [
    ("a bias", "self.fc = nn.Linear(10, 4)", CALL, "has a bias"),
    ("perhaps a bias", "flag = False\nself.fc = nn.Linear(10, 4, bias=flag)", CALL, "has a bias"),
    ("no number of classes", FC, "return self.fc(F.one_hot(i).double())", "read off the indices"),
    ("minus one", FC, "return self.fc(F.one_hot(i, -1).double())", "read off the indices"),
    ("to who knows what", FC, "y = self.fc.weight\nreturn self.fc(F.one_hot(i, 10).to(y))", "not known what"),
    ("used again", FC, "rows = F.one_hot(i, 10).double()\nreturn self.fc(rows), rows", "used again"),
    ("scaled", FC, "return self.fc(F.one_hot(i, 10) * 0.5)", ""),
    ("summed", FC, "return self.fc(F.one_hot(i, 10).double().sum(1))", ""),
    ("turned", FC, "return self.fc(F.one_hot(i, 10).double().transpose(0, 1))", ""),
    ("together with others", FC, "return self.fc(torch.cat([F.one_hot(i, 9).double(), i[..., None]], -1))", ""),
    ("other rows too", FC, "return self.fc(F.one_hot(i, 10).double()) + self.fc(torch.ones(10))", "more than once"),
    ("twice", FC, "return self.fc(F.one_hot(i, 10).double()) + self.fc(F.one_hot(i * 0, 10).double())", "more than once"),
    ("its weight used", FC, "return self.fc(F.one_hot(i, 10).double()) + self.fc.weight.sum()", "beside its call"),
    ("its device used", FC, "return self.fc(F.one_hot(i, 10).to(self.fc.weight.device).double())", "beside its call"),
    ("its size used", FC, "return self.fc(F.one_hot(i, 10).double()) * self.fc.in_features", "beside its call"),
    ("frozen", f"{FC}\nself.fc.weight.requires_grad = False", CALL, "beside its call"),
    ("initialised", f"{FC}\nnn.init.normal_(self.fc.weight)", CALL, "beside its call"),
    ("tied", f"{FC}\nself.out = nn.Linear(10, 4, bias=False)\nself.out.weight = self.fc.weight", CALL, "beside its call"),
    ("wrapped", "self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(10, 4, bias=False))", CALL, ""),
    ("under a condition", "if torch.cuda.is_available():\n    self.fc = nn.Linear(10, 4, bias=False)", CALL, ""),
    ("initialised by type", f"{FC}\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.normal_(m.weight)", CALL, "by their type"),
    ("decayed by type", f"{FC}\nself.plain = [m for m in self.modules() if isinstance(m, nn.Embedding)]", CALL, ""),
    ("found by class name", f"{FC}\nfor m in self.modules():\n    if m.__class__.__name__.find('Linear') != -1:\n        nn.init.normal_(m.weight)", CALL, ""),
    ("picked by name", f"{FC}\nself.slow = [p for n, p in self.named_parameters() if 'fc' in n]", CALL, ""),
    ("decayed by name", f"{FC}\nself.slow = [p for n, p in self.named_parameters() if 'embedding' in n]", CALL, ""),
    ("the index written to", FC, "rows = F.one_hot(i, 10).double()\ni.zero_()\nreturn self.fc(rows)", "may be changed"),
    ("the index rebound", FC, "rows = F.one_hot(i, 10).double()\ni = i * 0\nreturn self.fc(rows) + i.sum()", "another value"),
    ("autocast", FC, "with torch.autocast('cuda'):\n    return self.fc(F.one_hot(i, 10).double())", "autocast"),
    ("a hook", f"{FC}\nself.fc.register_forward_hook(print)", CALL, "beside its call"),
    ("one line", f"self.n = 3; {FC}", CALL, "shares its line"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_is_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(file(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
