"""FUS416: attention written by hand becomes one `nn.MultiheadAttention`, however its steps are spelled; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import sys
import types

import pytest
import torch

from equivalence.harness import EXACT, REORDERED, compare, equivalent, executed, module, perturb, refused, rewritten
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS416"
CODES = frozenset({CODE})
LAYERS = (
    "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)\nself.v = nn.Linear(16, 16)\nself.o = nn.Linear(16, 16)"
)
QKV = "self.qkv = nn.Linear(16, 48)\nself.o = nn.Linear(16, 16)"
SIZES = "B, T, C = x.shape\n"
HEADS = SIZES + "".join(f"{one} = self.{one}(x).view(B, T, 4, 4).transpose(1, 2)\n" for one in "qkv")
WEIGHTS = "a = (q @ k.transpose(-2, -1) / 2).softmax(-1)\n"
OUT = "return self.o((a @ v).transpose(1, 2).reshape(B, T, C))"
PLAIN = HEADS + WEIGHTS + OUT


def file(forward: str, init: str = LAYERS, head: str = "", tail: str = "", arguments: str = "self, x") -> str:
    text = module(init, forward, head=head, tail=tail, arguments=arguments)
    return text.replace("import torch\n", "import math\n\nimport torch\n", 1)


def offered(text: str, safety: Safety = Safety.CHECKPOINT, *, deep: bool = False, **given: bool) -> str:
    (found,) = [one for one in Analysis(text).findings if one.code == CODE]
    assert found.safety is safety, found.title
    assert "initialised as `nn.MultiheadAttention` is" in found.title
    result = equivalent(text, ((2, 5, 16),), codes=CODES, tolerance=REORDERED, deep=deep)
    assert "softmax" not in result.text.partition("def forward")[2]
    return result.text


FORWARDS = [
    ("plain", PLAIN),
    ("a root", HEADS + "a = torch.softmax(torch.matmul(q, k.mT) / math.sqrt(4), dim=-1)\n" + OUT),
    ("a power", HEADS + "a = F.softmax(q @ k.transpose(2, 3) * 4 ** -0.5, dim=3)\n" + OUT),
    ("scaled queries", HEADS + "q = q * 0.5\na = (q @ k.mT).softmax(-1)\n" + OUT),
    ("scaled in place", HEADS + "q *= 0.5\na = (q @ k.mT).softmax(-1)\n" + OUT),
    ("both scaled", HEADS + "a = ((q * 4**-0.25) @ (k * 4**-0.25).mT).softmax(-1)\n" + OUT),
    ("the size of a head, read", HEADS + "a = (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)\n" + OUT),
    ("scores in place", HEADS + "s = q @ k.mT\ns /= 2\na = s.softmax(-1)\n" + OUT),
    ("permuted", SIZES + "".join(f"{one} = self.{one}(x).reshape(B, T, 4, 4).permute(0, 2, 1, 3)\n" for one in "qkv") + WEIGHTS + "y = (a @ v).permute(0, 2, 1, 3).contiguous().view(B, T, 16)\nreturn self.o(y)"),
    ("keys turned at once", SIZES + "q = self.q(x).view(B, T, 4, 4).transpose(1, 2)\nk = self.k(x).view(B, T, 4, 4).permute(0, 2, 3, 1)\nv = self.v(x).view(B, T, 4, 4).transpose(1, 2)\na = (q @ k / 2).softmax(-1)\n" + OUT),
    ("flatten", HEADS + WEIGHTS + "return self.o((a @ v).transpose(1, 2).flatten(2))"),
    ("unflatten", "".join(f"{one} = self.{one}(x).unflatten(-1, (4, 4)).transpose(1, 2)\n" for one in "qkv") + "B, T, C = x.shape\n" + WEIGHTS + OUT),
    ("whatever is left", SIZES + "".join(f"{one} = self.{one}(x).view(B, -1, 4, 4).transpose(1, 2)\n" for one in "qkv") + WEIGHTS + "return self.o((a @ v).transpose(1, 2).reshape(B, -1, C))"),
    ("sizes", "B, T, _ = x.size()\n" + HEADS.removeprefix(SIZES) + WEIGHTS + "return self.o((a @ v).transpose(1, 2).reshape(B, T, -1))"),
    ("several at once", "B, T, C = x.shape\nq, k, v = self.q(x), self.k(x), self.v(x)\nq, k, v = (t.view(B, T, 4, 4).transpose(1, 2) for t in (q, k, v))\n" + WEIGHTS + OUT),
    ("a generator of layers", "B, T, C = x.shape\nq, k, v = (l(x).view(B, T, 4, 4).transpose(1, 2) for l in (self.q, self.k, self.v))\n" + WEIGHTS + OUT),
    ("a list of them", "B, T, C = x.shape\nq, k, v = [t.view(B, T, 4, 4).transpose(1, 2) for t in [self.q(x), self.k(x), self.v(x)]]\n" + WEIGHTS + OUT),
    ("mapped", "B, T, C = x.shape\nq, k, v = map(lambda t: t.view(B, T, 4, 4).transpose(1, 2), (self.q(x), self.k(x), self.v(x)))\n" + WEIGHTS + OUT),
    ("batches and heads as one", SIZES + "".join(f"{one} = self.{one}(x).view(B, T, 4, 4).transpose(1, 2).reshape(B * 4, T, 4)\n" for one in "qkv") + "a = (torch.bmm(q, k.transpose(1, 2)) / 2).softmax(2)\ny = torch.bmm(a, v).view(B, 4, T, 4).transpose(1, 2).reshape(B, T, C)\nreturn self.o(y)"),
    ("einsum", SIZES + "".join(f"{one} = self.{one}(x).view(B, T, 4, 4)\n" for one in "qkv") + "s = torch.einsum('bqhd,bkhd->bhqk', q, k) / 2\na = s.softmax(-1)\ny = torch.einsum('bhqk,bkhd->bqhd', a, v)\nreturn self.o(y.reshape(B, T, C))"),
    ("einsum, keys first", HEADS + "a = (torch.einsum('bhkd,bhqd->bhqk', k, q) / 2).softmax(-1)\n" + OUT),
    ("the fused call", HEADS + "y = F.scaled_dot_product_attention(q, k, v)\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("the fused call with a scale", HEADS + "y = F.scaled_dot_product_attention(q, k, v, scale=0.5, dropout_p=0.0)\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("one expression", SIZES + "return self.o(((self.q(x).view(B, T, 4, 4).transpose(1, 2) @ self.k(x).view(B, T, 4, 4).permute(0, 2, 3, 1) / 2).softmax(-1) @ self.v(x).view(B, T, 4, 4).transpose(1, 2)).transpose(1, 2).reshape(B, T, C))"),
    ("one head", SIZES + "a = (self.q(x) @ self.k(x).transpose(1, 2) / math.sqrt(C)).softmax(-1)\nreturn self.o(a @ self.v(x))"),
    ("its own name", HEADS + WEIGHTS + "x = (a @ v).transpose(1, 2).reshape(B, T, C)\nx = self.o(x)\nreturn x"),
    ("a residual", HEADS + WEIGHTS + "return x + self.o((a @ v).transpose(1, 2).reshape(B, T, C))"),
    ("a sum into it", HEADS + WEIGHTS + "y = self.o((a @ v).transpose(1, 2).reshape(B, T, C))\nx = x + y\nreturn x"),
    ("a shape that is used later", PLAIN.replace("return self.o(", "y = self.o(") + "\nreturn y.reshape(B, T * C)"),
    ("an input worked out", "y = torch.tanh(x)\nB, T, C = y.shape\n" + HEADS.removeprefix(SIZES).replace("(x)", "(y)") + WEIGHTS + OUT),
    ("an input with its own name again", "x = torch.tanh(x)\n" + PLAIN),
    ("comments", HEADS.replace("\n", "  # heads\n") + "# the weights\n" + WEIGHTS + OUT),
    ("a docstring", '"""Attend."""\n' + PLAIN),
]  # fmt: skip


@pytest.mark.parametrize("forward", [one for _, one in FORWARDS], ids=[id for id, _ in FORWARDS])
def test_forwards(forward: str) -> None:
    text = offered(file(forward))
    assert "batch_first=True)" in text
    assert "nn.Linear" not in text
    assert "need_weights=False)[0]" in text


FUSED = [
    ("chunks", SIZES + "q, k, v = self.qkv(x).chunk(3, dim=-1)\nq, k, v = (t.view(B, T, 4, 4).transpose(1, 2) for t in (q, k, v))\n"),
    ("a split", SIZES + "q, k, v = self.qkv(x).split(C, dim=2)\nq, k, v = [t.view(B, T, 4, 4).transpose(1, 2) for t in (q, k, v)]\n"),
    ("a split of sizes", SIZES + "q, k, v = torch.split(self.qkv(x), [16, 16, 16], dim=-1)\nq, k, v = [t.view(B, T, 4, 4).transpose(1, 2) for t in (q, k, v)]\n"),
    ("five dimensions, unbound", SIZES + "q, k, v = self.qkv(x).reshape(B, T, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)\n"),
    ("five dimensions, unpacked", SIZES + "q, k, v = self.qkv(x).reshape(B, T, 3, 4, 4).permute(2, 0, 3, 1, 4)\n"),
    ("five dimensions, by number", SIZES + "qkv = self.qkv(x).reshape(B, T, 3, 4, 4).permute(2, 0, 3, 1, 4)\nq, k, v = qkv[0], qkv[1], qkv[2]\n"),
    ("inside", SIZES + "qkv = self.qkv(x).view(B, T, 3, 4, 4)\nq, k, v = (qkv[:, :, at].transpose(1, 2) for at in (0, 1, 2))\n"),
    ("slices", SIZES + "qkv = self.qkv(x)\nq = qkv[..., :C].view(B, T, 4, 4).transpose(1, 2)\nk = qkv[:, :, C:2 * C].view(B, T, 4, 4).transpose(1, 2)\nv = qkv[..., 2 * C:].view(B, T, 4, 4).transpose(1, 2)\n"),
]  # fmt: skip


@pytest.mark.parametrize("forward", [one for _, one in FUSED], ids=[id for id, _ in FUSED])
def test_one_layer_for_all_three(forward: str) -> None:
    text = offered(file(forward + WEIGHTS + OUT, QKV))
    assert '("in_proj_weight", ("qkv.weight",))' in text


SHARED = [
    ("keys and values", "q = self.q(x)\nk, v = self.kv(x).chunk(2, -1)\n", "self.q = nn.Linear(16, 16)\nself.kv = nn.Linear(16, 32)\nself.o = nn.Linear(16, 16)"),
    ("queries and keys", "q, k = self.qk(x).chunk(2, -1)\nv = self.v(x)\n", "self.v = nn.Linear(16, 16)\nself.qk = nn.Linear(16, 32)\nself.o = nn.Linear(16, 16)"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "init"), [one[1:] for one in SHARED], ids=[one[0] for one in SHARED])
def test_one_layer_for_two(steps: str, init: str) -> None:
    forward = SIZES + steps + "q, k, v = (t.view(B, T, 4, 4).transpose(1, 2) for t in (q, k, v))\n" + WEIGHTS + OUT
    offered(file(forward, init))


INITS = [
    ("a generator", "self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))", "nn.MultiheadAttention(16, 4, batch_first=True)"),
    ("a tuple", "self.q, self.k = nn.Linear(16, 16), nn.Linear(16, 16)\nself.v, self.o = nn.Linear(16, 16), nn.Linear(16, 16)", "nn.MultiheadAttention(16, 4, batch_first=True)"),
    ("no bias", LAYERS.replace("16)", "16, bias=False)"), "nn.MultiheadAttention(16, 4, bias=False, batch_first=True)"),
    ("keywords", LAYERS.replace("16, 16", "in_features=16, out_features=16"), "nn.MultiheadAttention(16, 4, batch_first=True)"),
    ("a dtype", LAYERS.replace("16, 16", "16, 16, dtype=torch.float64"), "nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)"),
    ("a name", f"d = 16\n{LAYERS.replace('16', 'd')}", "nn.MultiheadAttention(d, 4, batch_first=True)"),
    ("something else in between", LAYERS.replace("self.v", "self.norm = nn.LayerNorm(16)\nself.v"), "nn.MultiheadAttention(16, 4, batch_first=True)"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "made"), [one[1:] for one in INITS], ids=[one[0] for one in INITS])
def test_inits(init: str, made: str) -> None:
    assert made in " ".join(offered(file(PLAIN, init)).split()).replace("( ", "(").replace(", )", ")").replace(
        " )", ")"
    )


SETTINGS = """\
import math

import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, {parameters}):
        super().__init__()
{init}

    def forward(self, x):
        B, T, C = x.shape
        q = self.q(x).view(B, T, {heads}, {size}).transpose(1, 2)
        k = self.k(x).view(B, T, {heads}, {size}).transpose(1, 2)
        v = self.v(x).view(B, T, {heads}, {size}).transpose(1, 2)
        a = F.softmax(q @ k.transpose(-2, -1) * {scale}, dim=-1)
        y = (a @ v).transpose(1, 2).contiguous().view(B, T, {width})
        return self.o(y)
"""


def settings(
    parameters: str, before: str, width: str, heads: str, size: str, scale: str, whole: str = "C", after: str = ""
) -> str:
    lines = [*before.split("\n"), *(f"self.{one} = nn.Linear({width}, {width})" for one in "qkvo"), *after.split("\n")]
    init = "\n".join(f"        {line}" for line in lines if line)
    return SETTINGS.format(parameters=parameters, init=init, heads=heads, size=size, scale=scale, width=whole)


OPEN = [
    ("parameters", settings("d=16, h=4", "self.h = h\nself.d = d // h", "d", "self.h", "self.d", "self.d**-0.5"), "(d, h, batch_first"),
    ("the size of a head", settings("d=16, h=4", "self.h = h", "d", "self.h", "C // self.h", "(C // self.h) ** -0.5"), "(d, h, batch_first"),
    ("what is left", settings("d=16, h=4", "self.h = h", "d", "self.h", "-1", "1 / math.sqrt(C / self.h)"), "(d, h, batch_first"),
    ("heads from the size of one", settings("d=16, size=4", "self.size = size\nself.heads = d // size", "d", "self.heads", "self.size", "self.size**-0.5"), "(d, self.heads, batch_first"),
    ("a scale", settings("d=16, h=4", "self.h = h\nself.scale = 1 / math.sqrt(d // h)", "d", "self.h", "-1", "self.scale"), "(d, h, batch_first"),
    ("a local size", settings("d=16, h=4", "head = d // h\nself.h = h\nself.scale = head ** (-0.5)", "d", "self.h", "-1", "self.scale"), "(d, h, batch_first"),
    ("a product", settings("h=4, s=4", "self.h, self.s = h, s", "h * s", "self.h", "self.s", "self.s**-0.5", "self.h * self.s"), "(h * s, h, batch_first"),
    ("a literal width", settings("h=4", "self.h = h", "16", "self.h", "16 // self.h", "(16 // self.h) ** -0.5"), "(16, h, batch_first"),
    ("attributes after the layers", settings("d=16, h=4", "", "d", "self.h", "-1", "self.scale", after="self.h = h\nself.scale = (d // h) ** -0.5"), "(d, h, batch_first"),
    ("an assertion", settings("d=16, h=4", "assert d % h == 0\nself.h = h", "d", "self.h", "-1", "(C // self.h) ** -0.5"), "(d, h, batch_first"),
    ("an attribute for the width", settings("d=16, h=4", "self.d = d\nself.h = h", "self.d", "self.h", "-1", "(self.d // self.h) ** -0.5", "self.d"), "(self.d, h, batch_first"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "made"), [one[1:] for one in OPEN], ids=[one[0] for one in OPEN])
def test_sizes_that_are_left_open(text: str, made: str) -> None:
    assert made in offered(text)


def test_settings_of_a_config() -> None:
    text = (
        settings("config=Config()", "self.h = config.heads", "config.width", "self.h", "-1", "(C // self.h) ** -0.5")
        .replace("class M", "class Config:\n    width = 16\n    heads = 4\n\n\nclass M")
    )  # fmt: skip
    assert "nn.MultiheadAttention(config.width, self.h, batch_first=True)" in offered(text)


def test_a_bias_that_a_parameter_decides() -> None:
    for default in ("True", "False"):
        text = settings(f"d=16, h=4, b={default}", "self.h = h", "d", "self.h", "-1", "(C // self.h) ** -0.5")
        assert "bias=b, batch_first=True" in " ".join(offered(text.replace("(d, d)", "(d, d, bias=b)")).split())


def rearrange(tensor: torch.Tensor, pattern: str, h: int = 0) -> torch.Tensor:
    """What einops does for the two patterns of the test, which does not need einops for them."""
    if pattern == "b n (h d) -> b h n d":
        return tensor.reshape(tensor.shape[0], tensor.shape[1], h, -1).transpose(1, 2)
    assert pattern == "b h n d -> b n (h d)"
    return tensor.transpose(1, 2).flatten(2)


def test_rearranged(monkeypatch: pytest.MonkeyPatch) -> None:
    einops = types.ModuleType("einops")
    monkeypatch.setattr(einops, "rearrange", rearrange, raising=False)
    monkeypatch.setitem(sys.modules, "einops", einops)
    forward = (
        "b, n, _, h = *x.shape, 4\nqkv = self.qkv(x).chunk(3, dim=-1)\n"
        "q, k, v = map(lambda t: rearrange(t, 'b n (h d) -> b h n d', h=h), qkv)\n"
        "dots = torch.matmul(q, k.transpose(-1, -2)) * 0.5\nattn = self.attend(dots)\n"
        "out = torch.matmul(attn, v)\nout = rearrange(out, 'b h n d -> b n (h d)')\nreturn self.o(out)"
    )
    text = file(forward, f"{QKV}\nself.attend = nn.Softmax(dim=-1)").replace(
        "from torch import nn\n", "from einops import rearrange\nfrom torch import nn\n"
    )
    assert "self.attend" not in offered(text)


def test_a_method_that_splits_the_heads() -> None:
    text = file(
        SIZES + "q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))\n" + WEIGHTS + OUT
    ).replace(
        "    def forward",
        "    def split(self, t):\n        shape = t.size()[:-1] + (4, 4)\n        t = t.view(*shape)\n"
        "        return t.permute(0, 2, 1, 3)\n\n    def forward",
    )
    offered(text)


DROPOUTS = [
    ("a layer", "a = self.drop(a)\n", "self.drop = nn.Dropout(0.3)", "dropout=0.3, batch_first"),
    ("a layer by default", "a = self.drop(a)\n", "self.drop = nn.Dropout()", "dropout=0.5, batch_first"),
    ("a keyword", "a = self.drop(a)\n", "self.drop = nn.Dropout(p=0.3)", "dropout=0.3, batch_first"),
    ("a function", "a = F.dropout(a, 0.3, self.training)\n", "", "dropout=0.3, batch_first"),
    ("a function with keywords", "a = F.dropout(a, p=0.3, training=self.training)\n", "", "dropout=0.3, batch_first"),
    ("a number of its own", "a = F.dropout(a, p=self.p, training=self.training)\n", "self.p = 0.3", "dropout=0.3, batch_first"),
    ("none", "a = self.drop(a)\n", "self.drop = nn.Dropout(0.0)", "(16, 4, batch_first"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "init", "made"), [one[1:] for one in DROPOUTS], ids=[one[0] for one in DROPOUTS])
def test_a_dropout_of_the_weights(step: str, init: str, made: str) -> None:
    """It draws its own random numbers: what is compared is eval mode, and that training drops as much."""
    text = file(HEADS + WEIGHTS + step + OUT, f"{LAYERS}\n{init}" if init else LAYERS)
    after = rewritten(text, codes=CODES, layout=True).text
    assert made in " ".join(after.split()).replace("( ", "(")
    assert "nn.Dropout" not in after
    with executed(text) as old, executed(after) as new:
        one, other = old.M().double(), new.M().double()
        perturb(one)
        other.load_state_dict(one.state_dict())
        x = torch.randn(2, 5, 16, dtype=torch.float64)
        torch.testing.assert_close(other.eval()(x), one.eval()(x))
        drops = "dropout" in made
        assert torch.equal(other.train()(x), other.eval()(x)) != drops
        other.train()
        one.eval()
        mean = other(x.repeat(4000, 1, 1)).unflatten(0, (4000, 2)).mean(0)
        torch.testing.assert_close(mean, one(x), atol=0.5, rtol=0.0)


def test_a_dropout_of_the_fused_call() -> None:
    forward = (
        HEADS
        + "y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"
    )
    text = file(forward, f"{LAYERS}\nself.p = 0.25")
    assert "nn.MultiheadAttention(16, 4, dropout=0.25, batch_first=True)" in rewritten(text, codes=CODES).text


def test_a_dropout_behind_stays() -> None:
    """Its random numbers meet the elements in the order in which they lie in memory, which is another one."""
    forward = PLAIN.replace("return self.o(", "y = self.o(") + "\nreturn self.drop(y)"
    after = rewritten(file(forward, f"{LAYERS}\nself.drop = nn.Dropout(0.3)"), codes=CODES, layout=True).text
    assert "return self.drop(y)" in after
    compare(
        file(forward, f"{LAYERS}\nself.drop = nn.Dropout(0.0)"), after.replace("0.3", "0.0"), ((2, 5, 16),), deep=False
    )


def test_two_in_one_class() -> None:
    second = PLAIN.replace("(x)", "(y)")
    for one in "qkvo":
        second = second.replace(f"self.{one}(", f"self.{one}2(")
    init = LAYERS + "\n" + "\n".join(line.replace(" = ", "2 = ") for line in LAYERS.split("\n"))
    text = file(PLAIN.replace("return self.o(", "y = self.o(") + "\n" + second, init)
    result = equivalent(text, ((2, 5, 16),), codes=CODES, tolerance=REORDERED)
    assert [one.code for one in result.applied] == [CODE, CODE]
    assert "return self.attn_2(y, y, y, need_weights=False)[0]" in result.text


def test_the_sequence_may_come_first() -> None:
    forward = (
        "T, B, C = x.shape\nq, k, v = (t.view(T, B * 4, 4).transpose(0, 1) for t in (self.q(x), self.k(x), self.v(x)))\n"
        "a = (q @ k.mT / 2).softmax(-1)\nreturn self.o((a @ v).transpose(0, 1).reshape(T, B, C))"
    )
    assert "nn.MultiheadAttention(16, 4)\n" in offered(file(forward))


def test_copies_pickles_and_nested_modules() -> None:
    offered(file(PLAIN), deep=True)
    offered(file(FUSED[0][1] + WEIGHTS + OUT, QKV), deep=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_path_of_its_own_without_gradients(dtype: torch.dtype) -> None:
    text = file(PLAIN)
    after = rewritten(text, codes=CODES).text
    with executed(text) as old, executed(after) as new:
        one, other = old.M().to(dtype), new.M().to(dtype)
        perturb(one)
        other.load_state_dict(one.state_dict())
        x = torch.randn(2, 5, 16, dtype=dtype)
        with torch.no_grad():
            torch.testing.assert_close(other.eval()(x), one.eval()(x))


def test_dimensions_that_are_not_shown_are_said() -> None:
    forward = "n = x.size(0)\n" + "".join(f"{one} = self.{one}(x).view(n, -1, 4, 4).transpose(1, 2)\n" for one in "qkv")
    text = file(forward + WEIGHTS + "return self.o((a @ v).transpose(1, 2).reshape(n, -1, 16))")
    (found,) = Analysis(text, codes=CODES).findings
    assert found.safety is Safety.NUMERICS
    assert "three dimensions" in found.title
    compare(text, rewritten(text, codes=CODES).text, ((2, 5, 16),), tolerance=REORDERED, deep=False)


def test_breaking_where_checkpoints_load_past_hooks() -> None:
    text = file(PLAIN, head="import safetensors.torch").replace(
        "\n\nimport safetensors.torch\n", "\nimport safetensors.torch\n"
    )
    (found,) = Analysis(text, codes=CODES).findings
    assert found.safety is Safety.BREAKING


def test_a_new_model_is_initialised_as_the_layer_is() -> None:
    after = rewritten(file(PLAIN), codes=CODES).text
    with executed(after) as new:
        made = new.M()
    assert made.attn.in_proj_bias.abs().max() == 0
    assert EXACT < made.attn.in_proj_weight.abs().max() <= (6 / 64) ** 0.5


REFUSED = [
    ("a mask", HEADS + "s = q @ k.mT / 2\ns = s.masked_fill(x[:, None, None, :, 0] < 0, -1e9)\na = s.softmax(-1)\n" + OUT, LAYERS, "masked_fill"),
    ("a causal mask", HEADS + "s = q @ k.mT / 2\ns = s + torch.full((T, T), float('-inf')).triu(1)\na = s.softmax(-1)\n" + OUT, LAYERS, "something else"),
    ("a mask that may be none", HEADS + "s = q @ k.mT / 2\nif self.training:\n    s = s.clamp(max=1)\na = s.softmax(-1)\n" + OUT, LAYERS, "under a condition"),
    ("a bias", HEADS + "s = q @ k.mT / 2 + self.b\na = s.softmax(-1)\n" + OUT, LAYERS + "\nself.b = nn.Parameter(torch.zeros(4, 1, 1))", "scores"),
    ("causal", HEADS + "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))", LAYERS, "mask"),
    ("masked by the fused call", HEADS + "y = F.scaled_dot_product_attention(q, k, v, attn_mask=x[0, :, :5] > 0)\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))", LAYERS, ""),
    ("the weights go out", PLAIN + ", a", LAYERS, "used again"),
    ("the weights are kept", HEADS + WEIGHTS + "self.last = a\n" + OUT, LAYERS, ""),
    ("the weights are printed", HEADS + WEIGHTS + "print(a.max())\n" + OUT, LAYERS, ""),
    ("scaled by the width", HEADS + "a = (q @ k.mT / math.sqrt(C)).softmax(-1)\n" + OUT, LAYERS, "not scaled"),
    ("not scaled", HEADS + "a = (q @ k.mT).softmax(-1)\n" + OUT, LAYERS, "not scaled"),
    ("scaled twice", HEADS + "q = q / 2\na = (q @ k.mT / 2).softmax(-1)\n" + OUT, LAYERS, "not scaled"),
    ("multiplied", HEADS + "a = (q @ k.mT * 2).softmax(-1)\n" + OUT, LAYERS, "not scaled"),
    ("a learned scale", HEADS + "a = (q @ k.mT * self.t).softmax(-1)\n" + OUT, LAYERS + "\nself.t = nn.Parameter(torch.ones(()))", ""),
    ("scaled behind the softmax", HEADS + "a = (q @ k.mT).softmax(-1) / 2\n" + OUT, LAYERS, ""),
    ("over the queries", HEADS + "a = (q @ k.mT / 2).softmax(-2)\n" + OUT, LAYERS, "not over the keys"),
    ("over the heads", HEADS + "a = (q @ k.mT / 2).softmax(1)\n" + OUT, LAYERS, "not over the keys"),
    ("another activation", HEADS + "a = torch.sigmoid(q @ k.mT / 2)\ns = a.softmax(-1)\n" + OUT, LAYERS, ""),
    ("normalised queries", HEADS + "q = F.normalize(q, dim=-1)\n" + WEIGHTS + OUT, LAYERS, ""),
    ("rotated", HEADS + "q, k = rotate(q), rotate(k)\n" + WEIGHTS + OUT, LAYERS, ""),
    ("values scaled", HEADS + "v = v * 2\n" + WEIGHTS + OUT, LAYERS, "do not sum the values"),
    ("an activation of the values", HEADS + "v = F.relu(v)\n" + WEIGHTS + OUT, LAYERS, ""),
    ("keys are the queries", SIZES + "q = k = self.q(x).view(B, T, 4, 4).transpose(1, 2)\nv = self.v(x).view(B, T, 4, 4).transpose(1, 2)\n" + WEIGHTS + OUT, LAYERS, ""),
    ("keys are values", HEADS + "v = k\n" + WEIGHTS + OUT, LAYERS, "one width"),
    ("heads come together in another order", HEADS + WEIGHTS + "return self.o((a @ v).permute(0, 2, 3, 1).reshape(B, T, C))", LAYERS, "put together"),
    ("heads do not come back", HEADS + WEIGHTS + "return self.o((a @ v).reshape(B, T, C))", LAYERS, ""),
    ("heads taken the other way", SIZES + "".join(f"{one} = self.{one}(x).view(B, T, 2, 8).transpose(2, 3).transpose(1, 2)\n" for one in "qkv") + "a = (q @ k.mT / math.sqrt(2)).softmax(-1)\n" + OUT, LAYERS, ""),
    ("over the heads of one place", SIZES + "".join(f"{one} = self.{one}(x).view(B, T, 4, 4)\n" for one in "qkv") + "a = (q @ k.mT / 2).softmax(-1)\nreturn self.o((a @ v).reshape(B, T, C))", LAYERS, ""),
    ("over features", HEADS + "a = (q.mT @ k / math.sqrt(T)).softmax(-1)\nreturn self.o((v @ a).transpose(1, 2).reshape(B, T, C))", LAYERS, ""),
    ("over batches", SIZES + "".join(f"{one} = self.{one}(x).view(B, T, 4, 4).permute(1, 2, 0, 3)\n" for one in "qkv") + WEIGHTS + "return self.o((a @ v).permute(1, 0, 2, 3).reshape(B, T, C))", LAYERS, ""),
    ("heads cut across", SIZES + "".join(f"{one} = self.{one}(x).view(B, 4, T, 4)\n" for one in "qkv") + WEIGHTS + "return self.o((a @ v).reshape(B, T, C))", LAYERS, ""),
    ("two inputs", HEADS.replace("self.k(x)", "self.k(y)").replace("self.v(x)", "self.v(y)") + WEIGHTS + OUT, LAYERS, "one input"),
    ("another input by then", HEADS.replace("k = ", "x = torch.tanh(x)\nk = ") + WEIGHTS + OUT, LAYERS, "one input"),
    ("rebound behind", HEADS + "x = torch.tanh(x)\n" + WEIGHTS + OUT, LAYERS, "between the steps"),
    ("an input without a name", PLAIN.replace("self.q(x)", "self.q(torch.tanh(x))"), LAYERS, ""),
    ("written to", HEADS + "x += 1\n" + WEIGHTS + OUT, LAYERS, "something else is done"),
    ("something is called between", HEADS + "torch.manual_seed(0)\n" + WEIGHTS + OUT, LAYERS, "something else is done"),
    ("a bias here and none there", PLAIN, LAYERS.replace("self.k = nn.Linear(16, 16)", "self.k = nn.Linear(16, 16, bias=False)"), "differ in their bias"),
    ("none at the end", PLAIN, LAYERS.replace("self.o = nn.Linear(16, 16)", "self.o = nn.Linear(16, 16, bias=False)"), "differ in their bias"),
    ("a wider result", PLAIN, LAYERS.replace("self.o = nn.Linear(16, 16)", "self.o = nn.Linear(16, 32)"), "one width"),
    ("a narrower inside", HEADS.replace("4, 4", "4, 2") + "a = (q @ k.mT / math.sqrt(2)).softmax(-1)\nreturn self.o((a @ v).transpose(1, 2).reshape(B, T, 8))", "self.q = nn.Linear(16, 8)\nself.k = nn.Linear(16, 8)\nself.v = nn.Linear(16, 8)\nself.o = nn.Linear(8, 16)", "one width"),
    ("fewer heads of keys", SIZES + "q = self.q(x).view(B, T, 4, 4).transpose(1, 2)\nk = self.k(x).view(B, T, 1, 4).transpose(1, 2)\nv = self.v(x).view(B, T, 1, 4).transpose(1, 2)\n" + WEIGHTS + OUT, LAYERS.replace("self.k = nn.Linear(16, 16)", "self.k = nn.Linear(16, 4)").replace("self.v = nn.Linear(16, 16)", "self.v = nn.Linear(16, 4)"), ""),
    ("interleaved by head", SIZES + "q, k, v = self.qkv(x).view(B, T, 4, 12).transpose(1, 2).chunk(3, dim=-1)\n" + WEIGHTS + OUT, QKV, "one behind the other"),
    ("half of the features", SIZES + "a = (self.q(x)[..., :8] @ self.k(x)[..., :8].mT / math.sqrt(8)).softmax(-1)\nreturn self.o(a @ self.v(x))", LAYERS, "one width"),
    ("a probability of the call", HEADS + WEIGHTS + "a = F.dropout(a, y, self.training)\n" + OUT, "y = 0.1\n" + LAYERS, ""),
    ("a probability worked out", HEADS + WEIGHTS + "p = 0.1\na = F.dropout(a, p, self.training)\n" + OUT, "p = 0.2\n" + LAYERS, "worked out"),
    ("values first", SIZES + "v, q, k = self.qkv(x).view(B, T, 3, 4, 4).permute(2, 0, 3, 1, 4)\n" + WEIGHTS + OUT, QKV, "one behind the other"),
    ("queries and keys exchanged", SIZES + "k, q, v = self.qkv(x).view(B, T, 3, 4, 4).permute(2, 0, 3, 1, 4)\n" + WEIGHTS + OUT, QKV, "one behind the other"),
    ("a layer for two", HEADS.replace("v = self.v(x)", "v = self.k(x)") + WEIGHTS + OUT, LAYERS, "one width"),
    ("the last is the first", PLAIN.replace("self.o(", "self.q("), LAYERS, "one of the first"),
    ("always dropped", HEADS + WEIGHTS + "a = F.dropout(a, 0.1)\n" + OUT, LAYERS, "training mode"),
    ("dropped in eval too", HEADS + WEIGHTS + "a = F.dropout(a, 0.1, True)\n" + OUT, LAYERS, "training mode"),
    ("dropped before the softmax", HEADS + "a = F.dropout(q @ k.mT / 2, 0.1, self.training).softmax(-1)\n" + OUT, LAYERS, ""),
    ("another dropout", HEADS + WEIGHTS + "a = self.drop(a)\n" + OUT, LAYERS + "\nself.drop = nn.Dropout2d(0.1)", ""),
    ("dropped twice", HEADS + WEIGHTS + "a = self.drop(self.drop(a))\n" + OUT, LAYERS + "\nself.drop = nn.Dropout(0.1)", ""),
    ("a softmax in another dtype", HEADS + "a = F.softmax(q @ k.mT / 2, dim=-1, dtype=torch.float32).to(q.dtype)\n" + OUT, LAYERS, ""),
    ("a layer that is read", PLAIN + " + self.q.bias", LAYERS, "beside its call"),
    ("a layer that is called again", PLAIN + " + self.o(x)", LAYERS, "more than once"),
    ("tied", PLAIN, LAYERS + "\nself.k.weight = self.q.weight", "beside its call"),
    ("initialised", PLAIN, LAYERS + "\nnn.init.zeros_(self.o.weight)", "beside its call"),
    ("hooked", PLAIN, LAYERS + "\nself.o.register_forward_hook(print)", ""),
    ("made under a condition", PLAIN, "if True:\n" + "".join(f"    {line}\n" for line in LAYERS.split("\n")).rstrip(), ""),
    ("one replaced", PLAIN, LAYERS + "\nself.q = nn.Linear(16, 16)", ""),
    ("heads set elsewhere", PLAIN.replace("B, T, 4, 4", "B, T, self.h, 4"), LAYERS + "\nself.h = 4\nsetattr(self, 'h', 2)\nself.h = 4", ""),
    ("viewed behind", PLAIN.replace("return self.o(", "y = self.o(") + "\nreturn y.view(B, -1)", LAYERS, "contiguous"),
    ("a second derivative", "# create_graph\n" + PLAIN + "\ncreate_graph", LAYERS, "first gradients"),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "init", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(forward: str, init: str, reason: str) -> None:
    text = file(forward, init, arguments="self, x, y=None")
    found = refused(text, CODE)
    if reason:
        assert any(reason in why for why in found), found


TAILS = [
    ("an initialisation by type", "def start(m):\n    if isinstance(m, nn.Linear):\n        nn.init.normal_(m.weight, std=0.02)", "by its type"),
    ("an initialisation by the name of the type", "def start(m):\n    if 'Linear' in type(m).__name__:\n        m.weight.data.normal_()", "by its type"),
    ("names", "def decayed(m):\n    return [p for n, p in m.named_parameters() if n.endswith('bias')]", "names"),
    ("a string", "TARGETS = ['net.q.weight', 'net.v.weight']", "names"),
    ("a subclass", "class N(M):\n    def forward(self, x):\n        return self.q(x)", "more than once"),
    ("a layer of an instance", "def freeze(m):\n    m.k.requires_grad_(False)", "touches it"),
    ("a matrix optimiser", "def train(m):\n    return Muon(m.parameters())", "matrix as a whole"),
    ("higher gradients", "def penalty(y, x):\n    return torch.autograd.grad(y.sum(), x, create_graph=True)", "first gradients"),
    ("a checkpoint hook", "def load(m, f):\n    m.register_load_state_dict_pre_hook(f)", "hook of its own"),
    ("computed names", "def layer(m, name):\n    return getattr(m, name)", "computed name"),
]  # fmt: skip


@pytest.mark.parametrize(("tail", "reason"), [one[1:] for one in TAILS], ids=[one[0] for one in TAILS])
def test_refused_for_what_the_file_does(tail: str, reason: str) -> None:
    found = refused(file(PLAIN, tail=tail), CODE)
    assert any(reason in why for why in found), found


def test_a_reference_stays() -> None:
    assert any("reference" in why for why in refused(file(PLAIN).replace("class M", "class NaiveM"), CODE))


def test_no_module() -> None:
    text = file(PLAIN).replace("class M(nn.Module)", "class M(Base)")
    assert any("Base" in why for why in refused(text, CODE))


NOTHING = [
    ("the layer itself", "return self.a(x, x, x)[0]", "self.a = nn.MultiheadAttention(16, 4, batch_first=True)\nself.o = nn.Linear(16, 16)"),
    ("a classifier", "return self.o(self.q(x)).softmax(-1)", LAYERS),
    ("a gate", "return self.o(self.q(x).softmax(-1) * self.v(x))", LAYERS),
    ("a branch", "if self.training:\n" + "".join(f"    {line}\n" for line in PLAIN.split("\n")) + "return x", LAYERS),
    ("linear attention", HEADS + "c = k.softmax(-2).mT @ v\nreturn self.o((q.softmax(-1) @ c).transpose(1, 2).reshape(B, T, C))", LAYERS),
    ("nothing but a softmax", "return x.softmax(-1)", LAYERS),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "init"), [one[1:] for one in NOTHING], ids=[one[0] for one in NOTHING])
def test_no_candidate(forward: str, init: str) -> None:
    assert refused(file(forward, init), CODE) == []


@pytest.mark.parametrize("behind", ["for d in range(3):\n    self.n = d", "d = 4"])
def test_a_width_whose_name_is_bound_anew_behind(behind: str) -> None:
    init = f"d = 16\n{LAYERS.replace('16', 'd')}\n{behind}"
    assert "nn.MultiheadAttention(d, 4, batch_first=True)" in offered(file(PLAIN, init))


def test_a_width_whose_name_is_bound_anew_between() -> None:
    first, *others = LAYERS.replace("16", "d").split("\n")
    init = "\n".join(["d = 16", first, "d = 8", "d = 16", *others, "d = 2"])
    (reason,) = refused(file(PLAIN, init), CODE)
    assert "may change a size" in reason


@pytest.mark.parametrize(
    ("forward", "init"),
    [
        (
            "q, k, v = (rearrange(one(x), 'b n (h d) -> b h n d', h=0) for one in (self.q, self.k, self.v))\n"
            + WEIGHTS
            + "return self.o(rearrange(a @ v, 'b h n d -> b n (h d)'))",
            LAYERS,
        ),
        (
            "".join(f"{one} = rearrange(self.{one}(x), 'b n (h d) -> b h n d', h=0)\n" for one in "qkv")
            + WEIGHTS
            + "return self.o(rearrange(a @ v, 'b h n d -> b n (h d)'))",
            LAYERS,
        ),
    ],
    ids=["no heads, in a loop", "no heads"],
)
def test_what_cannot_be_read_is_no_fault(forward: str, init: str) -> None:
    analysis = Analysis(file(forward, init, head="from einops import rearrange\n"))
    assert CODE not in {one.code for one in analysis.findings}
    assert not analysis.is_faulty
