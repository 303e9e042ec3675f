"""FUS202: convolutions that are merged compute the same on old checkpoints; what only looks like it is refused."""

from __future__ import annotations

import re

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS202"
IMAGES: Inputs = ((2, 4, 5, 6),)
TWO = "self.a = nn.Conv2d(4, 6, 1)\nself.b = nn.Conv2d(4, 3, 1)"
BOTH = "return self.a(x), self.b(x)"


def pair(arguments: str, other: str | None = None, kind: str = "Conv2d") -> str:
    """Two convolutions, made alike but for their channels (or as `other` says)."""
    return f"self.a = nn.{kind}(4, 6, {arguments})\nself.b = nn.{kind}(4, 3, {other or arguments})"


MERGED: list[tuple[str, str, str, Inputs]] = [
    ("returned", TWO, BOTH, IMAGES),
    ("statements", TWO, "a = self.a(x)\nb = self.b(x)\nreturn a, b", IMAGES),
    ("an activation behind one", TWO, "return torch.relu(self.a(x)), self.b(x)", IMAGES),
    ("without a batch", TWO, BOTH, ((4, 5, 6),)),
    ("concatenated with activations", TWO, "return torch.cat([F.relu(self.a(x)), self.b(x)], 1)", IMAGES),
    ("a window", pair("3, padding=1"), BOTH, IMAGES),
    ("a window by position", pair("3, 2, 1, 1, 1, False"), BOTH, IMAGES),
    ("no bias", pair("3, bias=False"), BOTH, IMAGES),
    ("no bias, spelled in two ways", pair("1, bias=False", "1, bias=0"), BOTH, IMAGES),
    ("a size and a tuple of it", pair("3", "(3, 3)"), BOTH, IMAGES),
    ("a size and a list of it", pair("3, padding=[1, 1]", "kernel_size=(3, 3), padding=1"), BOTH, IMAGES),
    ("a default said and unsaid", pair("1", "1, stride=1, padding=0, dilation=1, groups=1, bias=True"), BOTH, IMAGES),
    ("a padding by name", pair("3, padding='same'"), BOTH, IMAGES),
    ("a padding mode", pair("3, padding=1, padding_mode='circular'"), BOTH, IMAGES),
    ("a dilation", pair("3, dilation=2"), BOTH, ((2, 4, 7, 8),)),
    ("an oblong window", pair("(1, 3), padding=(0, 1)"), BOTH, IMAGES),
    ("one dimension", pair("3", kind="Conv1d"), BOTH, ((2, 4, 9),)),
    ("one dimension without a batch", pair("3", kind="Conv1d"), BOTH, ((4, 9),)),
    ("three dimensions", pair("2", kind="Conv3d"), BOTH, ((2, 4, 3, 4, 5),)),
    ("transposed", pair("2, stride=2", kind="ConvTranspose2d"), BOTH, IMAGES),
    ("transposed, no bias", pair("2, bias=False", kind="ConvTranspose2d"), BOTH, IMAGES),
    ("transposed in one dimension", pair("4, 2, 1, output_padding=1", kind="ConvTranspose1d"), BOTH, ((2, 4, 9),)),
    ("transposed in three dimensions", pair("2", kind="ConvTranspose3d"), BOTH, ((2, 4, 3, 4, 5),)),
    (
        "the alike ones of a block",
        "self.a = nn.Conv2d(4, 2, 1)\nself.b = nn.Conv2d(4, 3, 3, padding=1)\nself.c = nn.Conv2d(4, 5, 1)",
        "return self.a(x), self.b(x), self.c(x)",
        IMAGES,
    ),
    (
        "two sorts of alike ones",
        "self.a = nn.Conv2d(4, 2, 1)\nself.b = nn.Conv2d(4, 3, 3, padding=1)\n"
        "self.c = nn.Conv2d(4, 5, 1)\nself.d = nn.Conv2d(4, 4, 3, padding=1)",
        "return self.a(x), self.b(x), self.c(x), self.d(x)",
        IMAGES,
    ),
    (
        "channels by name",
        "n = 4\nself.a = nn.Conv2d(n, n // 2, 1)\nself.b = nn.Conv2d(n, n, 1)",
        BOTH,
        IMAGES,
    ),
    (
        "an attention over pixels",
        "self.q = nn.Conv2d(4, 2, 1)\nself.k = nn.Conv2d(4, 2, 1)\nself.v = nn.Conv2d(4, 4, 1)",
        "B, C, H, W = x.shape\nq = self.q(x).view(B, -1, H * W).permute(0, 2, 1)\n"
        "k = self.k(x).view(B, -1, H * W)\nv = self.v(x).view(B, -1, H * W)\n"
        "w = torch.bmm(q, k).softmax(-1)\nreturn torch.bmm(v, w.permute(0, 2, 1)).view(B, C, H, W)",
        IMAGES,
    ),
    ("flat behind the batch", TWO, "return self.a(x).view(x.size(0), -1), self.b(x).flatten(1)", IMAGES),
    ("reshaped at will", TWO, "return self.a(x).reshape(-1), self.b(x).flatten()", IMAGES),
    ("contiguous first", TWO, "return self.a(x).contiguous().view(-1), self.b(x)", IMAGES),
    ("channels last", TWO, "return self.a(x).permute(0, 2, 3, 1).reshape(2, -1), self.b(x)", IMAGES),
    (
        "norms behind",
        TWO + "\nself.n = nn.BatchNorm2d(6)\nself.m = nn.GroupNorm(3, 3)",
        "return F.gelu(self.n(self.a(x))), self.m(self.b(x))",
        IMAGES,
    ),
    (
        "a loop",
        "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)",
        "for _ in range(2):\n    x = torch.tanh(self.a(x)) + self.b(x)\nreturn x",
        IMAGES,
    ),
    (
        "initialised element by element",
        TWO + "\nfor m in self.modules():\n    if isinstance(m, nn.Conv2d):\n        nn.init.normal_(m.weight, 0, 0.1)",
        BOTH,
        IMAGES,
    ),
    (
        "others initialised by their shape",
        TWO + "\nself.fc = nn.Linear(6, 6)\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n"
        "        nn.init.xavier_uniform_(m.weight)",
        "return self.fc(self.a(x)), self.b(x)",
        IMAGES,
    ),
]


@pytest.mark.parametrize(("init", "forward", "inputs"), [one[1:] for one in MERGED], ids=[one[0] for one in MERGED])
def test_merged(init: str, forward: str, inputs: Inputs) -> None:
    text = module(init, forward)
    result = equivalent(text, inputs, codes=frozenset({CODE}), deep=False)
    assert result.applied
    assert {finding.safety for finding in result.applied} == {Safety.CHECKPOINT}
    assert len(re.findall(r"nn\.Conv\w+\(", result.text)) < len(re.findall(r"nn\.Conv\w+\(", text))


def test_a_copy_a_pickle_and_a_nested_module_load_too() -> None:
    equivalent(module(pair("2", kind="ConvTranspose2d"), BOTH), IMAGES, codes=frozenset({CODE}))


def test_breaking_where_checkpoints_load_past_hooks() -> None:
    text = module(TWO, BOTH, head="from safetensors.torch import load_file")
    assert [one.safety for one in Analysis(text).findings if one.code == CODE] == [Safety.BREAKING]


ACT = TWO + "\nself.act = nn.ReLU(inplace=True)"

REFUSED: list[tuple[str, str, str, str]] = [
    ("grouped", "is grouped", pair("1, groups=1", "1, groups=2").replace("(4, 3", "(4, 4"), BOTH),
    (
        "grouped alike",
        "is grouped",
        "self.a = nn.Conv2d(4, 4, 3, groups=4)\nself.b = nn.Conv2d(4, 4, 3, groups=4)",
        BOTH,
    ),
    ("groups by name", "is grouped", "g = 2\n" + pair("1, groups=g").replace("(4, 3", "(4, 4"), BOTH),
    ("groups by position", "is grouped", pair("1, 1, 0, 1, 2").replace("(4, 3", "(4, 4"), BOTH),
    ("kernel sizes", "kernel_size", pair("1", "3, padding=1"), BOTH),
    ("kernel sizes by name", "kernel_size", "k = 3\nn = 3\n" + pair("k", "n"), BOTH),
    ("a square and an oblong kernel", "kernel_size", pair("3, padding=1", "(3, 1), padding=(1, 0)"), BOTH),
    ("strides", "stride", pair("1, 2", "1"), BOTH),
    ("paddings", "padding", pair("3, padding=1", "3"), BOTH),
    ("dilations", "dilation", pair("3, padding=1", "3, padding=1, dilation=2"), BOTH),
    ("padding modes", "padding_mode", pair("3, padding=1", "3, padding=1, padding_mode='reflect'"), BOTH),
    ("biases", "bias", pair("1", "1, bias=False"), BOTH),
    ("dtypes", "dtype", pair("1", "1, dtype=torch.float64"), BOTH),
    ("an output padding", "output_padding", pair("2, 2", "2, 2, output_padding=1", "ConvTranspose2d"), BOTH),
    (
        "a stated output size",
        "",
        pair("2, 2", kind="ConvTranspose2d"),
        "return self.a(x, [10, 12]), self.b(x, [10, 12])",
    ),
    ("one transposed", "", TWO.replace("self.b = nn.Conv", "self.b = nn.ConvTranspose"), BOTH),
    ("one lazy", "", TWO.replace("self.b = nn.Conv2d(4, ", "self.b = nn.LazyConv2d("), BOTH),
    ("two inputs", "", TWO, "return self.a(x), self.b(x.relu())"),
    ("rebound between", "", TWO, "a = self.a(x)\nx = x + 1\nreturn a, self.b(x)"),
    ("written between", "changed between", TWO, "a = self.a(x)\nx.relu_()\nreturn a, self.b(x)"),
    ("written by a function", "changed between", TWO, "a = self.a(x)\nF.relu(x, inplace=True)\nreturn a, self.b(x)"),
    ("in a comprehension", "", TWO, "return [self.a(y) + self.b(y).sum() for y in (x,)]"),
    ("an in-place layer behind", "in place", ACT, "return self.act(self.a(x)), self.b(x)"),
    ("an in-place function behind", "in place", TWO, "return F.relu(self.a(x), inplace=True), self.b(x)"),
    ("an in-place method behind", "in place", TWO, "return self.a(x).relu_(), self.b(x)"),
    ("an in-place sum behind", "in place", TWO, "a = self.a(x)\na += 1\nreturn a, self.b(x)"),
    ("written at an index", "in place", TWO, "a = self.a(x)\na[:, 0] = 0\nreturn a, self.b(x)"),
    ("the batch merged into the channels", "contiguous", TWO, "return self.a(x).view(-1, 5, 6), self.b(x)"),
    (
        "the batch merged by a product",
        "contiguous",
        TWO,
        "B, C, H, W = x.shape\nreturn self.a(x).view(B * 2, 3, H, W), self.b(x)",
    ),
    ("any number for the batch", "contiguous", TWO, "return self.a(x).view(heads, -1), self.b(x)"),
    ("flat", "contiguous", TWO, "return self.a(x).view(-1), self.b(x)"),
    ("a number for the batch", "contiguous", TWO, "return self.a(x).view(2, -1), self.b(x)"),
    (
        "a view of a transpose",
        "contiguous",
        TWO,
        "B = x.size(0)\nreturn self.a(x).transpose(1, 2).view(B, -1), self.b(x)",
    ),
    (
        "a view in a comprehension",
        "contiguous",
        TWO,
        "a, b = self.a(x), self.b(x)\nreturn [t.view(2, -1) for t in (a, b)]",
    ),
    ("its strides", "contiguous", TWO, "a = self.a(x)\nreturn a.as_strided((2,), (1,)), self.b(x)"),
    ("called twice", "more than once", TWO, "return self.a(x), self.b(x), self.a(x + 1)"),
    ("its weight read", "beside its call", TWO, "return self.a(x), self.b(x) + self.a.weight.sum()"),
    ("tied", "beside its call", TWO + "\nself.b.weight = self.a.weight", BOTH),
    ("frozen", "beside its call", TWO + "\nself.b.requires_grad_(False)", BOTH),
    ("initialised on its own", "beside its call", TWO + "\nnn.init.zeros_(self.b.weight)", BOTH),
    ("hooked", "beside its call", TWO + "\nself.a.register_forward_hook(print)", BOTH),
    ("weight norm", "", TWO.replace("nn.Conv2d(4, 3, 1)", "nn.utils.weight_norm(nn.Conv2d(4, 3, 1))"), BOTH),
    ("under a condition", "", TWO.replace("self.b =", "if torch.cuda.is_available():\n    self.b ="), BOTH),
    ("one in a branch", "", TWO, "a = self.a(x)\nif a.sum() > 0:\n    return self.b(x)\nreturn a"),
    ("a return between", "leave", TWO, "a = self.a(x)\nif a.sum() > 0:\n    return a\nreturn a, self.b(x)"),
    (
        "Kaiming",
        "depends on the shape",
        TWO + "\nfor m in self.modules():\n    if isinstance(m, nn.Conv2d):\n        nn.init.kaiming_normal_(m.weight)",
        BOTH,
    ),
    (
        "a fan worked out by hand",
        "measures",
        TWO + "\nfor m in self.modules():\n    if isinstance(m, nn.Conv2d):\n"
        "        m.weight.data.normal_(0, (2 / m.out_channels) ** 0.5)",
        BOTH,
    ),
    ("picked by position", "by position", TWO + "\nlist(self.parameters())[0].requires_grad = False", BOTH),
    (
        "named in a string",
        "names",
        TWO.replace("self.a", "self.cls_conv").replace("self.b", "self.box_conv") + '\nself.targets = ["cls_conv"]',
        "return self.cls_conv(x), self.box_conv(x)",
    ),
    ("by a computed name", "computed name", TWO + '\nself.all = [getattr(self, n) for n in "ab"]', BOTH),
    ("star arguments", "", "o = dict(kernel_size=1)\n" + pair("**o"), BOTH),
    ("sizes that a call works out", "worked out by a call", "n = iter((1, 1))\n" + pair("next(n)"), BOTH),
    ("an LSTM in between", "see half of them", TWO.replace("\n", "\nself.build()\n"), BOTH),
]


@pytest.mark.parametrize(("reason", "init", "forward"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(reason: str, init: str, forward: str) -> None:
    reasons = refused(module(init, forward, arguments="self, x, heads=2"), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_what_is_left_out_of_a_merge_says_why() -> None:
    text = module(
        "self.a = nn.Conv2d(4, 2, 1)\nself.b = nn.Conv2d(4, 3, 3, padding=1)\nself.c = nn.Conv2d(4, 5, 1)",
        "return self.a(x), self.b(x), self.c(x)",
    )
    analysis = Analysis(text)
    assert [one.code for one in analysis.findings] == [CODE]
    assert [(one.message, one.refused) for one in analysis.refusals] == [
        ("`b` is left out of a merge", "`a` and `b` differ in their kernel_size (line 10)")
    ]
