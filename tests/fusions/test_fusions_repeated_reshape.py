"""FUS110: only the last shape counts, where it does not rest on the one before it."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, module, refused

CODE = "FUS110"
X: Inputs = ((2, 3, 5, 4),)


def function(*lines: str, arguments: str = "x") -> str:
    body = "".join(f"    {line}\n" for line in "\n".join(lines).split("\n"))
    return f"import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\ndef f({arguments}):\n{body}"


SHAPES = "B, H, T, D = x.shape"
TRANSPOSED = "x.transpose(1, 2)"
MADE = "z = x * 2"

POSITIVES: list[tuple[str, str, str]] = [
    (
        "contiguous, view",
        f"{SHAPES}\nreturn {TRANSPOSED}.contiguous().view(2, 5, 12)",
        f"return {TRANSPOSED}.reshape(2, 5, 12)",
    ),
    ("by names", f"{SHAPES}\nreturn {TRANSPOSED}.contiguous().view(B, T, H * D)", ".reshape(B, T, H * D)"),
    ("a tuple", f"return {TRANSPOSED}.contiguous().view((2, 5, 12)) * 2", ".reshape((2, 5, 12))"),
    ("minus one", f"return {TRANSPOSED}.contiguous().view(-1)", ".reshape(-1)"),
    ("a product", f"{SHAPES}\nreturn {TRANSPOSED}.contiguous().view(B * T * H * D)", ".reshape(B * T * H * D)"),
    (
        "sizes",
        f"{SHAPES}\nreturn {TRANSPOSED}.contiguous().view(x.size(0), x.size(2), -1)",
        ".reshape(x.size(0), x.size(2), -1)",
    ),
    ("contiguous, reshape", f"return {TRANSPOSED}.contiguous().reshape(2, -1)", f"return {TRANSPOSED}.reshape(2, -1)"),
    ("contiguous, flatten", f"return {TRANSPOSED}.contiguous().flatten(1)", f"return {TRANSPOSED}.flatten(1)"),
    (
        "contiguous, torch.flatten",
        f"return torch.flatten({TRANSPOSED}.contiguous(), 1)",
        f"torch.flatten({TRANSPOSED}, 1)",
    ),
    (
        "in steps",
        f"x = {TRANSPOSED}.contiguous()\nx = x.view(2, -1)\nreturn x",
        f"x = {TRANSPOSED}\n    x = x.reshape(2, -1)",
    ),
    (
        "a step of its own",
        "x = x.permute(0, 2, 3, 1)\nx = x.contiguous()\nreturn x.view(2, -1)",
        "return x.reshape(2, -1)",
    ),
    (
        "its own sizes",
        "x = x.mT\nx = x.contiguous()\nreturn x.view(x.size(0), x.size(1), -1) * 2",
        "reshape(x.size(0), x.size(1)",
    ),
    ("into another name", f"y = {TRANSPOSED}.contiguous().view(2, 5, 12)\nreturn torch.relu(y)", ".reshape(2, 5, 12)"),
    (
        "to a product",
        f"return {TRANSPOSED}.contiguous().view(2, 5, 12) @ torch.ones(12, 3).double()",
        ".reshape(2, 5, 12) @",
    ),
    ("view, flatten", "return x.view(2, -1).flatten(1)", "return x.view(2, -1)"),
    ("view, torch.flatten", "return torch.flatten(x.view(x.size(0), -1), 1)", "return x.view(x.size(0), -1)"),
    ("a merged batch, flatten", "return x.view(-1, 12).flatten(1)", "return x.view(-1, 12)"),
    ("flatten twice", "return x.flatten(1).flatten(1)", "return x.flatten(1)"),
    (
        "flatten by name",
        "return torch.flatten(torch.flatten(x, start_dim=1), 1, -1)",
        "return torch.flatten(x, start_dim=1)",
    ),
    ("flatten, view", "x = x.flatten(1)\nreturn x.view(x.size(0), -1)", "    x = x.flatten(1)\n    return x\n"),
    ("flatten, view by the old size", "B = x.size(0)\nreturn x.flatten(1).view(B, -1)", "return x.flatten(1)"),
    ("view, view", "return x.view(6, 20).view(3, 40)", "return x.view(3, 40)"),
    ("reshape, reshape", "return x.mT.reshape(6, 20).reshape(3, 40).sin()", "return x.mT.reshape(3, 40).sin()"),
    ("reshape, view", "return x.mT.reshape(6, 20).view(3, 40)", "return x.mT.reshape(3, 40)"),
    ("flatten, view of other sizes", "return x.flatten(1).view(6, 20)", "return x.reshape(6, 20)"),
    ("everything flat", "return x.view(2, -1).flatten()", "return x.flatten()"),
    ("view of minus one", "return x.view(2, -1).view(-1)", "return x.view(-1)"),
    (
        "a first size that stays",
        "x = x.view(x.size(0), 15, 4)\nreturn x.view(x.size(0), 4, -1)",
        "return x.view(x.size(0), 4, -1)",
    ),
    (
        "a shape that stays",
        "x = x.view(x.shape[0], 15, 4)\nreturn x.view(x.shape[0], -1)",
        "return x.view(x.shape[0], -1)",
    ),
    ("another name that stays", "y = x.view(x.size(0), 15, 4)\nreturn y.view(y.size(0), 4, -1)", "y = x\n"),
    ("three", "return x.view(6, 20).view(3, 40).view(2, 60)", "return x.view(2, 60)"),
    (
        "comments",
        f"# swap\ny = ({TRANSPOSED}  # to the front\n    .contiguous()  # a copy\n    .view(2, -1))\nreturn y",
        "# a copy",
    ),
    (
        "over lines",
        f"y = (\n    {TRANSPOSED}\n    .contiguous()\n    .view(2, -1)\n)\nreturn y",
        f"        {TRANSPOSED}\n        .reshape(2, -1)\n",
    ),
    ("of an operator", "return (x + 1).contiguous().view(2, -1) * 2", "return (x + 1).reshape(2, -1) * 2"),
    (
        "four at least",
        "y = x[:, :, :, None]\nreturn x.transpose(1, 2).contiguous().view(2, 5, 12) + y.sum()",
        ".reshape(2, 5, 12)",
    ),
    ("into two, of any rank", "return x.transpose(1, 2).contiguous().view(2, -1)", "x.transpose(1, 2).reshape(2, -1)"),
    (
        "the first ones stay",
        "x = x.permute(0, 2, 1, 3)\nreturn x.contiguous().view(2, 5, -1)",
        "return x.reshape(2, 5, -1)",
    ),
    (
        "the first sizes stay",
        "y = x.permute(0, 2, 3, 1).contiguous().view(x.size(0), x.size(2), -1)\nreturn y",
        "y = x.permute(0, 2, 3, 1).reshape(x.size(0), x.size(2), -1)",
    ),
    (
        "merged at the end",
        "B, C, H, W = x.shape\nreturn x.permute(0, 2, 3, 1).contiguous().view(B, -1)",
        ".reshape(B, -1)",
    ),
    (
        "a rank that is known",
        "B, C, H, W = x.shape\nx = x.view(x.size(0), 3, 20)\nreturn x.flatten(1)",
        "return x.flatten(1)",
    ),
]


@pytest.mark.parametrize(("body", "after"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES])
def test_one_shape(body: str, after: str) -> None:
    result = equivalent(function(body), X, codes=frozenset({CODE}), tolerance=0.0)
    assert result.applied
    assert after in result.text, result.text


LAYERS = [
    ("layers", "self.flat = nn.Flatten()", "return torch.flatten(self.flat(x), 1)", "return self.flat(x)"),
    ("two layers", "self.a = nn.Flatten()\nself.b = nn.Flatten()", "return self.b(self.a(x))", "return self.a(x)"),
    (
        "a layer behind a view",
        "self.flat = nn.Flatten()",
        "return self.flat(x.view(x.size(0), -1))",
        "return x.view(x.size(0), -1)",
    ),
    (
        "a literal",
        "self.net = nn.Sequential(nn.Flatten(), nn.Flatten())",
        "return self.net(x)",
        "nn.Flatten(), nn.Identity()",
    ),
]


@pytest.mark.parametrize(("init", "forward", "after"), [one[1:] for one in LAYERS], ids=[one[0] for one in LAYERS])
def test_layers(init: str, forward: str, after: str) -> None:
    result = equivalent(module(init, forward), X, codes=frozenset({CODE}), deep=False, tolerance=0.0)
    assert result.applied
    assert after in result.text, result.text


REFUSED = [
    ("a view alone", "return x.view(-1, 12)", ""),
    ("contiguous alone", f"return {TRANSPOSED}.contiguous()", ""),
    ("a memory format", "return x.contiguous(memory_format=torch.channels_last).view(2, -1)", ""),
    ("a dtype", "return x.contiguous().view(torch.int64)", ""),
    ("a shape by name", "s = (2, 60)\nreturn x.contiguous().view(s)", ""),
    ("a starred shape", "s = (2, 60)\nreturn x.contiguous().view(*s)", ""),
    ("flatten in between", "return x.flatten(1, 2).flatten(1)", ""),
    ("flatten from the third", "return x.view(2, 3, 20).flatten(2)", ""),
    ("a first size that goes", "return x.view(-1, 4, 5).flatten(1)", ""),
    ("another first size", "x = x.view(-1, 4)\nreturn x.view(x.size(0), 2, 2)", ""),
    ("another size", "x = x.view(x.size(0), -1, 4)\nreturn x.view(x.size(1), -1)", ""),
    ("a rank that is not known", "return x.view(x.size(0), 3, 20).flatten(1)", ""),
    ("a transpose between", "return x.view(6, 20).t().reshape(2, 60)", ""),
    ("a cat between", "y = x.view(6, 20)\nreturn torch.cat([y, y]).view(2, 120)", ""),
    ("used twice", f"y = {TRANSPOSED}.contiguous()\nreturn y.view(2, -1), y.sum()", "more than once"),
    ("the size is asked for later", "y = x.view(6, 20)\nz = y.view(2, 60)\nreturn z, y.shape[0]", ""),
    ("written to later", f"y = {TRANSPOSED}.contiguous().view(2, 5, 12)\ny += 1\nreturn y, x", "written to"),
    ("written by index later", f"y = {TRANSPOSED}.contiguous().view(2, 5, 12)\ny[0] = 1\nreturn y", "written to"),
    ("viewed flat later", f"y = {TRANSPOSED}.contiguous().view(2, 5, 3, 4)\nreturn y[1].view(-1)", "contiguous memory"),
    ("strides", f"y = {TRANSPOSED}.contiguous().view(2, 5, 12)\nreturn y, y.stride()", "contiguous memory"),
    (
        "as strided",
        f"y = {TRANSPOSED}.contiguous().view(2, 60)\nreturn torch.as_strided(y, (2, 2), (1, 1))",
        "contiguous",
    ),
    (
        "handed to a kernel",
        f"import kernels\nreturn kernels.apply({TRANSPOSED}.contiguous().view(2, 5, 12))",
        "may need contiguous memory",
    ),
    ("written in between", f"y = {TRANSPOSED}.contiguous()\nx.mul_(2)\nreturn y.view(2, -1)", "changed in between"),
    ("in a branch", f"y = {TRANSPOSED}.contiguous()\nif y.dim() == 4:\n    y = y.view(2, -1)\nreturn y", ""),
    ("held by two names", "y = x.view(6, 20)\nx = y\nreturn x.view(2, 60)", "variable of its own"),
    ("captured", "y = x.view(6, 20)\ng = lambda: y.sum()\nreturn y.view(2, 60) + g()", "more than once"),
    ("numpy", "import numpy as np\nreturn np.ones(6).reshape(2, 3).reshape(6)", ""),
    ("in a loop", "for _ in range(2):\n    x = x.view(2, -1)\nreturn x", ""),
    ("split alone", "return x.transpose(1, 2).contiguous().view(2, 5, 3, 2, 2)", "contiguous any more"),
    (
        "the same sizes",
        "B, H, T, D = x.shape\nreturn x.permute(0, 2, 3, 1).contiguous().view(B, T, D, H)",
        "contiguous any",
    ),
    ("neighbours merged", "return x.permute(0, 2, 3, 1).contiguous().view(2, 20, 3)", "contiguous any more"),
    ("of an unknown rank", "return x.transpose(1, 2).contiguous().view(2, 5, 12)", "contiguous any more"),
    ("not permuted", "return x[:, :2].contiguous().view(2, -1)", "contiguous any more"),
    ("two numbers", "return x.clamp(0, 1).contiguous().view(2, -1)", "contiguous any more"),
    (
        "a starred size",
        "B, *s, D = x.shape\nreturn x.permute(0, 2, 3, 1).contiguous().view(B, D, -1)",
        "contiguous any",
    ),
    ("stored", "x.y = x.mT.contiguous().view(2, -1)\nreturn x", "contiguous any more"),
    ("viewed, and returned", "return x.mT.contiguous().view(2, -1)[0]", "contiguous any more"),
    ("handed to a call", "g = x.g\nreturn g(x.mT.contiguous().view(2, -1))", ""),
    (
        "the source is written to",
        f"{MADE}\ny = z[:, :2].contiguous().view(2, -1)\nz += 1\nreturn y",
        "input is written",
    ),
    ("an element of it", f"{MADE}\ny = z[:, :2].contiguous().view(2, -1)\nz[:, 0] = 0\nreturn y", "input is written"),
    ("it is zeroed", f"{MADE}\ny = torch.flatten(z[:, :2].contiguous(), 1)\nz.zero_()\nreturn y", "input is written"),
    (
        "a split of the last dimension",
        f"{MADE}\ny = z.permute(0, 2, 3, 1).contiguous().view(2, 5, 4, 3, 1)\nz += 1\nreturn y",
        "input is written",
    ),
    ("two copies", f"{MADE}\nz = z.mT\ny = z.reshape(2, -1).reshape(2, 3, 4, 5)\nz += 1\nreturn y", "input is written"),
    (
        "in its next turn",
        f"{MADE}\nfor _ in range(2):\n    z += 1\n    y = z.mT.contiguous().view(-1)\nreturn y",
        "input is",
    ),
    (
        "an in-place function",
        "acts = [torch.relu_]\ny = x.mT.contiguous().view(2, -1)\nreturn acts[0](y), x",
        "in place",
    ),
    ("the source is returned too", f"{MADE}\nreturn z.transpose(1, 2).contiguous().view(2, -1), z", "kept elsewhere"),
    ("in a dict", f"{MADE}\nreturn {{'a': z.transpose(1, 2).contiguous().view(2, -1), 'b': z}}", "kept elsewhere"),
    ("captured", f"{MADE}\nx = lambda: z\nreturn z.transpose(1, 2).contiguous().view(2, -1), x", "kept elsewhere"),
]


@pytest.mark.parametrize(("body", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(body: str, reason: str) -> None:
    reasons = refused(function(body), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_an_array_of_another_framework() -> None:
    assert refused("import jax\nimport torch\n\n\ndef f(x):\n    return x.reshape(2, -1).reshape(-1)\n", CODE) == []


IN_PLACE = [
    (
        "self.seq = nn.Sequential(nn.ReLU(True), nn.Linear(40, 3))",
        "y = x[:, :2].contiguous().view(2, -1)\nreturn self.seq(y), x",
        "in place",
    ),
    ("self.act = nn.ReLU(True)", "z = x * 2\ny = z.mT.contiguous().view(2, -1)\nz = self.act(z)\nreturn y", "input is"),
    (
        "self.act = nn.ReLU(True)",
        "x = self.act(x * 2)\nreturn x.transpose(1, 2).contiguous().view(2, -1)",
        "works in place",
    ),
    ("self.w = nn.Parameter(torch.ones(3, 3))", "return self.w.t().contiguous().view(-1)", "kept elsewhere"),
]


@pytest.mark.parametrize(("init", "forward", "reason"), IN_PLACE)
def test_a_copy_does_not_become_a_view_of_what_is_written_to(init: str, forward: str, reason: str) -> None:
    assert any(reason in one for one in refused(module(init, forward), CODE))


def test_one_whose_caller_writes_to_what_it_gave() -> None:
    tail = "def train(model, x):\n    y = model(x)\n    x.zero_()\n    return y"
    text = module("pass", "return x[:, :2].contiguous().view(2, -1)", tail=tail)
    assert any("call was given" in one for one in refused(text, CODE))


def test_what_stays_inside_is_a_view_in_a_file_that_works_in_place_too() -> None:
    text = module(
        "self.act = nn.ReLU(True)\nself.fc = nn.Linear(12, 3)",
        "y = self.fc(x.transpose(1, 2).contiguous().view(2, 5, -1))\nreturn self.act(y)",
    )
    result = equivalent(text, X, codes=frozenset({CODE}), deep=False)
    assert "x.transpose(1, 2).reshape(2, 5, -1)" in result.text


def test_lines_move_out_with_the_call_around_them() -> None:
    text = function(
        "return torch.flatten(\n    torch.cat(\n        [x, x],\n        dim=1,\n    ).view(2, -1),\n    1,\n)"
    )
    after = "    return torch.cat(\n        [x, x],\n        dim=1,\n    ).view(2, -1)\n"
    for newline in ("\n", "\r\n"):
        result = equivalent(text.replace("\n", newline), X, codes=frozenset({CODE}))
        assert after.replace("\n", newline) in result.text
