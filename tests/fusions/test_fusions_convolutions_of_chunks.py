"""FUS209: one grouped convolution computes what convolutions of the chunks did, however the input is cut; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS209"
X: Inputs = ((2, 8, 5, 7),)
TWO = "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = nn.Conv2d(4, 6, 3)"
CAT = "return torch.cat([self.c1(a), self.c2(b)], dim=1)"
CHUNK = f"a, b = x.chunk(2, dim=1)\n{CAT}"


def offered(text: str, inputs: Inputs = X) -> str:
    result = equivalent(text, inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert [finding.code for finding in result.applied] == [CODE], [one.refused for one in result.analysis.refusals]
    return result.text


CUTS = [
    ("chunk", CHUNK),
    ("torch.chunk", f"a, b = torch.chunk(x, 2, dim=1)\n{CAT}"),
    ("keywords", f"a, b = torch.chunk(input=x, chunks=2, dim=1)\n{CAT}"),
    ("from the end", "a, b = x.chunk(2, -3)\nreturn torch.cat([self.c1(a), self.c2(b)], -3)"),
    ("split", f"a, b = x.split(4, 1)\n{CAT}"),
    ("split into a list", f"a, b = x.split([4, 4], dim=1)\n{CAT}"),
    ("torch.split", f"a, b = torch.split(x, 4, dim=1)\n{CAT}"),
    ("half", f"a, b = x.split(x.shape[1] // 2, dim=1)\n{CAT}"),
    ("tensor_split", f"a, b = x.tensor_split(2, dim=1)\n{CAT}"),
    ("a list of names", f"[a, b] = x.chunk(2, dim=1)\n{CAT}"),
    ("numbered", "parts = x.chunk(2, 1)\nreturn torch.cat([self.c1(parts[0]), self.c2(parts[1])], 1)"),
    ("numbered from the end", "parts = x.chunk(2, 1)\nreturn torch.cat([self.c1(parts[-2]), self.c2(parts[-1])], 1)"),
    ("numbered, split", "parts = x.split([4, 4], 1)\nreturn torch.cat([self.c1(parts[0]), self.c2(parts[1])], 1)"),
    ("unpacked later", f"parts = x.chunk(2, 1)\na, b = parts\n{CAT}"),
    ("slices", "return torch.cat([self.c1(x[:, :4]), self.c2(x[:, 4:])], dim=1)"),
    ("slices of all", "return torch.cat([self.c1(x[:, 0:4, :, :]), self.c2(x[:, 4:, :, :])], dim=1)"),
    ("slices from the end", "return torch.cat([self.c1(x[..., :4, :, :]), self.c2(x[..., 4:, :, :])], dim=-3)"),
    ("slices in names", f"a = x[:, :-4]\nb = x[:, -4:]\n{CAT}"),
    ("slices at half", f"half = x.size(1) // 2\na, b = x[:, :half], x[:, half:]\n{CAT}"),
    ("slices at a quotient", "return torch.cat([self.c1(x[:, : x.shape[1] // 2]), self.c2(x[:, x.shape[1] // 2 :])], dim=1)"),
    ("a name of its own", "x, gate = x.chunk(2, dim=1)\nreturn torch.cat([self.c1(x), self.c2(gate)], dim=1)"),
    ("results in names", "a, b = x.chunk(2, dim=1)\na = self.c1(a)\nb = self.c2(b)\nreturn torch.cat([a, b], dim=1)"),
    ("results together", "a, b = x.chunk(2, dim=1)\na, b = self.c1(a), self.c2(b)\nreturn torch.cat([a, b], dim=1)"),
    ("in another order", "a, b = x.chunk(2, dim=1)\nd = self.c2(b)\nc = self.c1(a)\nreturn torch.cat([c, d], dim=1)"),
    ("a list with a name", "a, b = x.chunk(2, dim=1)\nouts = [self.c1(a), self.c2(b)]\nreturn torch.cat(outs, dim=1)"),
    ("a tuple", "a, b = x.chunk(2, dim=1)\nreturn torch.concat((self.c1(a), self.c2(b)), axis=1)"),
    ("keywords of cat", "a, b = x.chunk(2, dim=1)\nreturn torch.cat(tensors=[self.c1(a), self.c2(b)], dim=1)"),
    ("an input by name", "a, b = x.chunk(2, dim=1)\nreturn torch.cat([self.c1(input=a), self.c2(b)], dim=1)"),
    ("used by something", "a, b = x.chunk(2, dim=1)\nreturn F.relu(torch.cat([self.c1(a), self.c2(b)], dim=1)) + 1"),
    ("computed where it is cut", f"a, b = F.relu(x).chunk(2, dim=1)\n{CAT}"),
    ("in a branch", "if x.sum() > 0:\n    a, b = x.chunk(2, 1)\n    return torch.cat([self.c1(a), self.c2(b)], 1)\na, b = x.chunk(2, 1)\nreturn a + b"),
    ("something else between", "a, b = x.chunk(2, dim=1)\ny = x.mean()\nreturn torch.cat([self.c1(a), self.c2(b)], dim=1) + y"),
    ("comments", "a, b = x.chunk(2, dim=1)  # halves\n# one each\nreturn torch.cat(\n    [\n        self.c1(a),  # low\n        self.c2(b),\n    ],\n    dim=1,\n)"),
]  # fmt: skip


@pytest.mark.parametrize("forward", [forward for _, forward in CUTS], ids=[id for id, _ in CUTS])
def test_however_the_input_is_cut(forward: str) -> None:
    text = offered(module(TWO, forward))
    assert "groups=2" in text
    assert "torch.cat([" not in text.partition("def forward")[2]


MADE: list[tuple[str, str, Inputs]] = [
    ("grouped already", "self.c1 = nn.Conv2d(4, 6, 3, groups=2)\nself.c2 = nn.Conv2d(4, 6, 3, groups=2)", X),
    ("depthwise", "n = 4\nself.c1 = nn.Conv2d(n, n, 3, 1, 1, 1, n)\nself.c2 = nn.Conv2d(n, n, 3, 1, 1, 1, n)", X),
    ("without a bias", "self.c1 = nn.Conv2d(4, 6, 3, bias=False)\nself.c2 = nn.Conv2d(4, 6, (3, 3), bias=False)", X),
    ("a window", "self.c1 = nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), dilation=1)\nself.c2 = nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), dilation=1)", X),
    ("padded by reflection", "self.c1 = nn.Conv2d(4, 6, 3, padding=1, padding_mode='reflect')\nself.c2 = nn.Conv2d(4, 6, 3, padding=1, padding_mode='reflect')", X),
    ("keywords", "self.c1 = nn.Conv2d(in_channels=4, out_channels=6, kernel_size=1)\nself.c2 = nn.Conv2d(in_channels=4, out_channels=6, kernel_size=1)", X),
    ("expressions", "dim = 8\nself.c1 = nn.Conv2d(dim // 2, dim // 2 + 1, 3)\nself.c2 = nn.Conv2d(dim // 2, dim // 2 + 1, 3)", X),
    ("transposed", "self.c1 = nn.ConvTranspose2d(4, 6, 3, stride=2)\nself.c2 = nn.ConvTranspose2d(4, 6, 3, stride=2)", X),
    ("transposed and grouped", "self.c1 = nn.ConvTranspose2d(4, 6, 3, groups=2)\nself.c2 = nn.ConvTranspose2d(4, 6, 3, groups=2)", X),
    ("1d", "self.c1 = nn.Conv1d(4, 6, 3)\nself.c2 = nn.Conv1d(4, 6, 3)", ((2, 8, 9),)),
    ("3d", "self.c1 = nn.Conv3d(4, 6, 3)\nself.c2 = nn.Conv3d(4, 6, 3)", ((2, 8, 4, 4, 4),)),
    ("made in another order", "self.c2 = nn.Conv2d(4, 6, 3)\nself.c1 = nn.Conv2d(4, 6, 3)", X),
]  # fmt: skip


@pytest.mark.parametrize(("init", "inputs"), [(init, inputs) for _, init, inputs in MADE], ids=[one[0] for one in MADE])
def test_however_they_are_made(init: str, inputs: Inputs) -> None:
    offered(module(init, CHUNK), inputs)


def test_four() -> None:
    init = "\n".join(f"self.c{at} = nn.Conv2d(2, 3, 3)" for at in range(4))
    forward = "a, b, c, d = x.chunk(4, 1)\nreturn torch.cat([self.c0(a), self.c1(b), self.c2(c), self.c3(d)], 1)"
    assert "self.c0_c1_c2_c3 = nn.Conv2d(8, 12, 3, groups=4)" in offered(module(init, forward))


def test_without_a_batch_the_channels_are_counted_from_the_end() -> None:
    forward = "a, b = x.chunk(2, -3)\nreturn torch.cat([self.c1(a), self.c2(b)], -3)"
    offered(module(TWO, forward), ((8, 5, 7),))


def test_copies_pickles_and_nested_modules_load() -> None:
    equivalent(module(TWO, CHUNK), X, codes=frozenset({CODE}), tolerance=REORDERED)


@pytest.mark.parametrize(
    ("forward", "note"),
    [
        (CHUNK, "an input needs its batch"),
        (f"n, c, h, w = x.shape\n{CHUNK}", None),
        ("a, b = x.chunk(2, -3)\nreturn torch.cat([self.c1(a), self.c2(b)], -3)", None),
    ],
)
def test_the_title_says_what_is_taken_for_granted(forward: str, note: str | None) -> None:
    found = [finding for finding in Analysis(module(TWO, forward)).findings if finding.code == CODE]
    assert [finding.safety for finding in found] == [Safety.CHECKPOINT]
    assert ("an input needs its batch" in found[0].title) == (note is not None)


def test_what_loads_past_hooks_is_breaking() -> None:
    text = module(TWO, CHUNK, head="from safetensors.torch import load_file")
    found = [finding for finding in Analysis(text).findings if finding.code == CODE]
    assert [finding.safety for finding in found] == [Safety.BREAKING]


REFUSED = [
    ("the first is used again", TWO, "a, b = x.chunk(2, dim=1)\ny = torch.cat([self.c1(a), self.c2(b)], 1)\nreturn y, a", "used again"),
    ("its size is read", TWO, "a, b = x.chunk(2, 1)\nreturn torch.cat([self.c1(a), self.c2(b)], 1) * b.shape[1]", "used again"),
    ("a result is used again", TWO, "a, b = x.chunk(2, 1)\ny = self.c1(a)\nreturn torch.cat([y, self.c2(b)], 1), y", "used again"),
    ("the list is used again", TWO, "a, b = x.chunk(2, 1)\nouts = [self.c1(a), self.c2(b)]\nreturn torch.cat(outs, 1), outs", "used again"),
    ("the chunks are used again", TWO, "parts = x.chunk(2, 1)\ny = torch.cat([self.c1(parts[0]), self.c2(parts[1])], 1)\nreturn y, parts", "used again"),
    ("captured", TWO, "a, b = x.chunk(2, 1)\nf = lambda: a\nreturn torch.cat([self.c1(a), self.c2(b)], 1), f", "used again"),
    ("deleted", TWO, "a, b = x.chunk(2, 1)\ny = torch.cat([self.c1(a), self.c2(b)], 1)\ndel a, b\nreturn y", "used again"),
    ("swapped", TWO, "a, b = x.chunk(2, 1)\nreturn torch.cat([self.c1(b), self.c2(a)], 1)", "another order"),
    ("swapped slices", TWO, "return torch.cat([self.c1(x[:, 4:]), self.c2(x[:, :4])], 1)", "not all of the input"),
    ("overlapping slices", TWO, "return torch.cat([self.c1(x[:, :4]), self.c2(x[:, 3:])], 1)", "follow one another"),
    ("slices with a gap", TWO, "return torch.cat([self.c1(x[:, :4]), self.c2(x[:, 5:])], 1)", "follow one another"),
    ("slices at two sizes", TWO, "n, m = x.size(1) // 2, 4\nreturn torch.cat([self.c1(x[:, :n]), self.c2(x[:, m:])], 1)", "follow one another"),
    ("slices at a size that changes", TWO, "n = 4\na = x[:, :n]\nn = 5\nreturn torch.cat([self.c1(a), self.c2(x[:, n:])], 1)", "follow one another"),
    ("every other channel", TWO, "return torch.cat([self.c1(x[:, ::2]), self.c2(x[:, 1::2])], 1)", ""),
    ("one of three", TWO, "a, b, _ = x.chunk(3, 1)\nreturn torch.cat([self.c1(a), self.c2(b)], 1)", "not all of the input"),
    ("a star", TWO, "a, *b = x.chunk(2, 1)\nreturn torch.cat([self.c1(a), self.c2(b[0])], 1)", ""),
    ("the same chunk twice", TWO, "parts = x.chunk(2, 1)\nreturn torch.cat([self.c1(parts[0]), self.c2(parts[0])], 1)", "not all of the input"),
    ("more chunks than used", TWO, "parts = x.chunk(4, 1)\nreturn torch.cat([self.c1(parts[0]), self.c2(parts[1])], 1)", "not all of the input"),
    ("a split of unknown length", TWO, "parts = x.split(4, 1)\nreturn torch.cat([self.c1(parts[0]), self.c2(parts[1])], 1)", "how many pieces"),
    ("rows of the image", TWO, "a, b = x.chunk(2, 2)\nreturn torch.cat([self.c1(a), self.c2(b)], 1)", "that of the channels"),
    ("joined along the rows", TWO, "a, b = x.chunk(2, 1)\nreturn torch.cat([self.c1(a), self.c2(b)], 2)", "that of the channels"),
    ("dimensions that may differ", TWO, "a, b = x.chunk(2, -3)\nreturn torch.cat([self.c1(a), self.c2(b)], 1)", "that of the channels"),
    ("a dimension by name", TWO, "d = 1 if x.ndim == 4 else 0\na, b = x.chunk(2, d)\nreturn torch.cat([self.c1(a), self.c2(b)], d)", "not written out"),
    ("stacked", TWO, "a, b = x.chunk(2, 1)\nreturn torch.stack([self.c1(a), self.c2(b)], 1)", ""),
    ("a residual", TWO, "a, b = x.chunk(2, 1)\nreturn torch.cat([self.c1(a), self.c2(b) + b], 1)", ""),
    ("one after the other", TWO, "a, b = x.chunk(2, 1)\nc = self.c1(a)\nd = self.c2(b + c)\nreturn torch.cat([c, d], 1)", ""),
    ("written to", TWO, "a, b = x.chunk(2, 1)\nc = self.c1(a)\nx += 1\nreturn torch.cat([c, self.c2(b)], 1)", "may be changed"),
    ("a chunk written to", TWO, "a, b = x.chunk(2, 1)\na.relu_()\nreturn torch.cat([self.c1(a), self.c2(b)], 1)", ""),
    ("rebound", TWO, "a, b = x.chunk(2, 1)\nx = x + 1\nreturn torch.cat([self.c1(a), self.c2(b)], 1) + x.mean()", "another value"),
    ("a function left", TWO, "a, b = x.chunk(2, 1)\nif x.sum() > 0:\n    return x\nreturn torch.cat([self.c1(a), self.c2(b)], 1)", "may leave"),
    ("in a branch", TWO, "a, b = x.chunk(2, 1)\nif x.sum() > 0:\n    return torch.cat([self.c1(a), self.c2(b)], 1)\nreturn x", "another branch"),
    ("a walrus", TWO, "a, b = x.chunk(2, 1)\nreturn torch.cat([(y := self.c1(a)), self.c2(b)], 1) + y.mean()", ""),
    ("one line", TWO, "a, b = x.chunk(2, 1); y = 3\nreturn torch.cat([self.c1(a), self.c2(b)], 1) * y", "shares its line"),
    ("a nameless input", TWO, "a, b = F.dropout(x).chunk(2, 1)\ny = F.dropout(x)\nreturn torch.cat([self.c1(a), self.c2(b)], 1) + y.mean()", "no name"),
    ("sizes", "self.c1 = nn.Conv2d(3, 6, 3)\nself.c2 = nn.Conv2d(5, 6, 3)", "a, b = x.split([3, 5], 1)\nreturn torch.cat([self.c1(a), self.c2(b)], 1)", "in_channels"),
    ("sizes of two names", "n = m = 4\nself.c1 = nn.Conv2d(n, 6, 3)\nself.c2 = nn.Conv2d(m, 6, 3)", CHUNK, "in_channels"),
    ("a stride", "self.c1 = nn.Conv2d(4, 6, 2, 1)\nself.c2 = nn.Conv2d(4, 6, 2, 2)", CHUNK, "stride"),
    ("groups", "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = nn.Conv2d(4, 6, 3, groups=2)", CHUNK, "groups"),
    ("a bias", "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = nn.Conv2d(4, 6, 3, bias=False)", CHUNK, "bias"),
    ("a dtype", "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = nn.Conv2d(4, 6, 3, dtype=torch.float64)", CHUNK, "dtype"),
    ("two sorts", "self.c1 = nn.Conv2d(4, 6, 3, padding=1)\nself.c2 = nn.ConvTranspose2d(4, 6, 3, padding=1)", CHUNK, ""),
    ("one for both", "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = self.c1", CHUNK, ""),
    ("tied", f"{TWO}\nself.c2.weight = self.c1.weight", CHUNK, "beside its call"),
    ("frozen", f"{TWO}\nself.c1.requires_grad_(False)", CHUNK, "beside its call"),
    ("wrapped", "self.c1 = nn.utils.spectral_norm(nn.Conv2d(4, 6, 3))\nself.c2 = nn.Conv2d(4, 6, 3)", CHUNK, ""),
    ("called twice", TWO, "a, b = x.chunk(2, 1)\nreturn torch.cat([self.c1(a), self.c2(b)], 1) + self.c1(x[:, :4]).mean()", "more than once"),
    ("initialised as a whole", f"{TWO}\nfor m in self.modules():\n    if isinstance(m, nn.Conv2d):\n        nn.init.orthogonal_(m.weight)", CHUNK, "depends on the shape"),
    ("under a condition", "self.c1 = nn.Conv2d(4, 6, 3)\nif torch.cuda.is_available():\n    self.c2 = nn.Conv2d(4, 6, 3)", CHUNK, ""),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_is_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_names_in_strings_are_kept() -> None:
    tail = 'def groups(model):\n    return [p for n, p in model.named_parameters() if n.endswith("c1.weight")]'
    assert any("c1" in reason for reason in refused(module(TWO, CHUNK, tail=tail), CODE))


def test_tabs_and_newlines() -> None:
    text = module(TWO, CHUNK).replace("    ", "\t").replace("\n", "\r\n")
    equivalent(text, X, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)


CONVS = "self.convs = nn.ModuleList([nn.Conv2d(2, 3, 3) for _ in range(4)])"
ZIPPED = "return torch.cat([conv(part) for conv, part in zip(self.convs, x.chunk(4, dim=1))], dim=1)"

LISTED = [
    ("a range", CONVS, ZIPPED),
    ("a list", "self.convs = nn.ModuleList([nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 1)])", ZIPPED.replace("chunk(4", "chunk(2")),
    ("without a bias", CONVS.replace(", 3) for", ", 3, bias=False) for"), ZIPPED),
    ("grouped", CONVS.replace(", 3) for", ", 1, groups=1) for"), ZIPPED),
    ("a count", "n = 4\nself.convs = nn.ModuleList([nn.Conv2d(2, 3, 3) for _ in range(n)])", "return torch.cat([conv(part) for conv, part in zip(self.convs, x.chunk(len(self.convs), 1))], 1)"),
    ("the chunks first", CONVS, "return torch.cat([conv(part) for part, conv in zip(x.chunk(4, 1), self.convs)], dim=1)"),
    ("the chunks in a name", CONVS, "parts = torch.chunk(x, 4, dim=1)\nreturn torch.cat([conv(part) for conv, part in zip(self.convs, parts)], dim=1)"),
    ("split", CONVS, "return torch.cat([conv(part) for conv, part in zip(self.convs, x.split([2, 2, 2, 2], 1))], dim=1)"),
    ("used further", CONVS, "y = torch.cat([conv(part) for conv, part in zip(self.convs, x.chunk(4, 1))], dim=1)\nreturn F.relu(y)"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in LISTED], ids=[one[0] for one in LISTED])
def test_convolutions_in_a_list(init: str, forward: str) -> None:
    text = offered(module(init, forward))
    assert "groups=" in text
    assert "ModuleList" not in text


REFUSED_LISTS = [
    ("fewer convolutions than chunks", CONVS.replace("range(4)", "range(3)"), ZIPPED, "as many chunks"),
    ("a split of unknown length", CONVS, ZIPPED.replace("chunk(4", "split(2"), "as many chunks"),
    ("rows of the image", CONVS, ZIPPED.replace("chunk(4, dim=1)", "chunk(4, dim=2)"), "that of the channels"),
    ("joined along the rows", CONVS, ZIPPED[:-2] + "2)", "that of the channels"),
    ("of two widths", "self.convs = nn.ModuleList([nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 1)])", ZIPPED.replace("chunk(4", "chunk(2"), "differ"),
    ("by number", "self.convs = nn.ModuleList([nn.Conv2d(2, 3, 1, dilation=i + 1) for i in range(4)])", ZIPPED, "differ"),
    ("linear layers", "self.convs = nn.ModuleList([nn.Linear(7, 3) for _ in range(4)])", ZIPPED, ""),
    ("filtered", CONVS, ZIPPED.replace("dim=1))]", "dim=1)) if part.any()]"), ""),
    ("a residual", CONVS, ZIPPED.replace("conv(part) for", "conv(part) + 1 for"), ""),
    ("the list measured", CONVS, ZIPPED + " / len(self.convs)", "beside its call"),
    ("the chunks used again", CONVS, "parts = x.chunk(4, 1)\ny = torch.cat([conv(part) for conv, part in zip(self.convs, parts)], dim=1)\nreturn y, parts", "used again"),
    ("the input changed", CONVS, "parts = x.chunk(4, 1)\nx += 1\nreturn torch.cat([conv(part) for conv, part in zip(self.convs, parts)], dim=1)", "may be changed"),
    ("the input rebound", CONVS, "parts = x.chunk(4, 1)\nx = x + 1\nreturn torch.cat([conv(part) for conv, part in zip(self.convs, parts)], dim=1) + x.mean()", "another value"),
    ("reversed", CONVS, "return torch.cat([conv(part) for conv, part in zip(reversed(self.convs), x.chunk(4, 1))], dim=1)", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("init", "forward", "reason"), [one[1:] for one in REFUSED_LISTS], ids=[one[0] for one in REFUSED_LISTS]
)
def test_a_list_is_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
