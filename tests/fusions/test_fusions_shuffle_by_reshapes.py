"""FUS609: a shuffle that is written as reshapes around a permutation."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS609"
UP: Inputs = ((2, 8, 3, 5),)
DOWN: Inputs = ((2, 3, 4, 6),)
CHANNELS: Inputs = ((2, 6, 3, 5),)


def function(body: str, arguments: str = "x", head: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\nimport torch.nn.functional as F\n{head}\n\ndef f({arguments}):\n{lines}"


SIZES = "B, C, H, W = x.shape\n"
TO = ".permute(0, 1, 4, 2, 5, 3)"
WIDE = ".reshape(B, C // 4, H * 2, W * 2)"
MIXED = ".transpose(1, 2).reshape(B, C, H, W)"
BACK = ".permute(0, 1, 3, 5, 2, 4)"

POSITIVES: list[tuple[str, str, str, Inputs]] = [
    ("up", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W){TO}{WIDE}", "F.pixel_shuffle(x, 2)", UP),
    ("a square", f"{SIZES}r = 2\nreturn x.view(B, C // r**2, r, r, H, W){TO}.reshape(B, C // r**2, r * H, W * r)",
     "F.pixel_shuffle(x, r)", UP),
    ("a product", f"{SIZES}r = 2\nreturn "
     f"x.reshape(B, C // (r * r), r, r, H, W){TO}.reshape(B, C // (r * r), H * r, W * r)",
     "F.pixel_shuffle(x, r)", UP),
    ("int of a quotient", f"{SIZES}c = int(C / 4)\nreturn x.view(B, c, 2, 2, H, W){TO}.reshape(B, c, H * 2, W * 2)",
     "def f(x):\n    return F.pixel_shuffle(x, 2)\n", UP),
    ("names of sizes", f"{SIZES}c, h, w = C // 4, H * 2, W * 2\n"
     f"return x.view(B, c, 2, 2, H, W){TO}.reshape(B, c, h, w)",
     "F.pixel_shuffle(x, 2)", UP),
    ("left out",
     f"{SIZES}return x.view(B, -1, 2, 2, H, W){TO}.reshape(B, -1, H * 2, W * 2)", "F.pixel_shuffle(x, 2)", UP),
    ("left out in the end", f"{SIZES}y = x.view(B, C // 4, 2, 2, H, W){TO}\nreturn y.reshape(B, -1, 2 * H, 2 * W)",
     "return F.pixel_shuffle(x, 2)", UP),
    ("in steps", f"{SIZES}x = x.view(B, C // 4, 2, 2, H, W)\nx = x{TO}\nx = x.contiguous()\n"
     "x = x.view(B, C // 4, H * 2, W * 2)\nreturn x", "def f(x):\n    x = F.pixel_shuffle(x, 2)\n    return x\n", UP),
    ("size()", "b, c, h, w = x.size()\nreturn x.view(b, c // 4, 2, 2, h, w)" + TO + ".reshape(b, c // 4, h * 2, w * 2)",
     "F.pixel_shuffle(x, 2)", UP),
    ("sizes by number", f"y = x.view(x.size(0), x.size(1) // 4, 2, 2, x.size(2), x.size(3)){TO}\nB, C, H, W = x.shape\n"
     "return y.reshape(B, -1, x.shape[2] * 2, x.shape[-1] * 2)", "F.pixel_shuffle(x, 2)", UP),
    ("parts of the shape", "b, c = x.shape[:2]\nh, w = x.shape[2:]\na, b2, c2, d = x.size()\n"
     f"return x.view(b, c // 4, 2, 2, h, w){TO}.reshape(b, c // 4, h * 2, w * 2)", "F.pixel_shuffle(x, 2)", UP),
    ("tuples", f"{SIZES}y = torch.permute(x.view((B, C // 4, 2, 2, H, W)), (0, 1, 4, 2, 5, 3))\n"
     "return torch.reshape(y, (B, C // 4, H * 2, W * 2))", "F.pixel_shuffle(x, 2)", UP),
    ("in two steps of a call", "y = torch.relu(x)\nB, C, H, W = y.shape\nz = y.view(B, C // 4, 2, 2, H, W)"
     f"{TO}\nreturn z{WIDE}", "    y = torch.relu(x)\n    return F.pixel_shuffle(y, 2)\n", UP),
    ("unbatched", "C, H, W = x.shape\n"
     "return x.view(C // 4, 2, 2, H, W).permute(0, 3, 1, 4, 2).reshape(C // 4, H * 2, W * 2)",
     "F.pixel_shuffle(x, 2)", ((8, 3, 5),)),
    ("video", "B, T, C, H, W = x.shape\ny = x.view(B, T, C // 4, 2, 2, H, W).permute(0, 1, 2, 5, 3, 6, 4)\n"
     "return y.reshape(B, T, C // 4, H * 2, W * 2)", "F.pixel_shuffle(x, 2)", ((2, 2, 8, 3, 5),)),
    ("down", f"{SIZES}return x.view(B, C, H // 2, 2, W // 2, 2){BACK}.reshape(B, C * 4, H // 2, W // 2)",
     "F.pixel_unshuffle(x, 2)", DOWN),
    ("down by names", f"{SIZES}r = 2\nh = H // r\nw = W // r\nx = x.view(B, C, h, r, w, r){BACK}.contiguous()\n"
     "return x.view(B, C * r * r, h, w)", "def f(x):\n    r = 2\n    return F.pixel_unshuffle(x, r)\n", DOWN),
    ("down, left out", f"{SIZES}return x.view(B, C, H // 2, 2, W // 2, 2){BACK}.reshape(B, -1, H // 2, W // 2)",
     "F.pixel_unshuffle(x, 2)", DOWN),
    ("down and flat", f"{SIZES}return x.reshape(B, C, H // 2, 2, W // 2, 2){BACK}.flatten(1, 3)",
     "F.pixel_unshuffle(x, 2)", DOWN),
    ("channels", f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("channels, contiguous", f"{SIZES}g = 3\nx = x.view(B, g, C // g, H, W)\n"
     "x = torch.transpose(x, 1, 2).contiguous()\n"
     "x = x.view(B, -1, H, W)\nreturn x", "    g = 3\n    x = F.channel_shuffle(x, g)\n    return x\n", CHANNELS),
    ("channels by permute", f"{SIZES}return x.reshape(B, 2, -1, H, W).permute(0, 2, 1, 3, 4).reshape(B, C, H, W)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("channels, flat", f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(2, 1).flatten(1, 2)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("channels, unflattened", f"{SIZES}return x.unflatten(1, (2, C // 2)).transpose(1, 2).flatten(1, 2)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("channels of a sequence", "B, C, L = x.shape\nreturn x.view(B, 2, C // 2, L).transpose(1, 2).reshape(B, C, L)",
     "F.channel_shuffle(x, 2)", ((2, 6, 5),)),
    ("channels of a volume", "B, C, D, H, W = x.shape\nreturn x.view(B, 2, C // 2, D, H, W).transpose(1, 2)"
     ".reshape(B, C, D, H, W)", "F.channel_shuffle(x, 2)", ((2, 6, 2, 3, 5),)),
    ("pixels in a row", f"{SIZES}y = x.reshape(B, 2, C // 2, H * W).permute(0, 2, 1, 3)\nreturn y.reshape(B, C, H, W)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("pixels left out", f"{SIZES}y = x.reshape(B, 2, C // 2, W * H).permute(0, 2, 1, 3)\nreturn y.reshape(B, -1, H, W)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("contiguous before", f"{SIZES}return x.contiguous().view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)",
     "    return F.channel_shuffle(x, 2)", CHANNELS),
    ("sizes of its data", "y = torch.relu(x)\nB, C, H, W = x.data.size()\nn, c, h, w = y.shape\n"
     "return y.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W) + h", "F.channel_shuffle(y, 2)", CHANNELS),
    ("swapaxes", f"{SIZES}return x.view(B, 2, C // 2, H, W).swapaxes(1, 2).reshape(x.shape[0], -1, H, W)",
     "F.channel_shuffle(x, 2)", CHANNELS),
    ("behind it", f"{SIZES}return torch.relu(x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)) + H",
     "    B, C, H, W = x.shape\n    return torch.relu(F.channel_shuffle(x, 2)) + H", CHANNELS),
    ("comments", f"{SIZES}# split\nx = x.view(B, 2, C // 2, H, W)  # one\nx = x.transpose(1, 2)  # two\n"
     "return x.reshape(B, C, H, W)  # three", "# two", CHANNELS),
    ("sizes of the same", f"{SIZES}y = x\nreturn y.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)",
     "F.channel_shuffle(y, 2)", CHANNELS),
]  # fmt: skip


@pytest.mark.parametrize(("body", "after", "inputs"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES])
def test_shuffled(body: str, after: str, inputs: Inputs) -> None:
    result = equivalent(function(body), inputs, codes=frozenset({CODE}), tolerance=0.0, deep=False)
    assert result.applied
    assert all(finding.safety is Safety.EXACT for finding in result.applied)
    assert after in result.text, result.text


def test_a_factor_of_the_class() -> None:
    forward = (
        "b, c, h, w = x.shape\nx = x.view(b, c // self.r**2, self.r, self.r, h, w).permute(0, 1, 4, 2, 5, 3)\n"
        "return x.reshape(b, c // self.r**2, h * self.r, w * self.r)"
    )
    result = equivalent(module("self.r = 2", forward), UP, codes=frozenset({CODE}), tolerance=0.0)
    assert "return F.pixel_shuffle(x, self.r)" in result.text


def test_groups_of_a_parameter() -> None:
    body = (
        "batchsize, num_channels, height, width = x.size()\nchannels_per_group = num_channels // groups\n"
        "# reshape\nx = x.view(batchsize, groups, channels_per_group, height, width)\n"
        "x = torch.transpose(x, 1, 2).contiguous()\n# flatten\n"
        "x = x.view(batchsize, num_channels, height, width)\nreturn x"
    )
    text = function(body, "x, groups=3")
    result = equivalent(text, CHANNELS, codes=frozenset({CODE}), tolerance=0.0)
    assert "x = F.channel_shuffle(x, groups)\n    return x" in result.text
    assert "channels_per_group" not in result.text


def test_a_function_that_a_block_calls() -> None:
    body = (
        "b, c, h, w = x.size()\nx = x.view(b, groups, c // groups, h, w)\nx = x.transpose(1, 2).contiguous()\n"
        "return x.view(b, -1, h, w)"
    )
    tail = (
        "\n\nclass M(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.act = torch.nn.ReLU(inplace=True)\n\n    def forward(self, x):\n"
        "        out = torch.cat((x, self.act(x + 1)), 1)\n"
        "        out = f(out, 2)\n        return out\n"
    )
    text = function(body, "x, groups") + tail
    result = equivalent(text, CHANNELS, codes=frozenset({CODE}), tolerance=0.0, deep=False)
    assert "return F.channel_shuffle(x, groups)" in result.text


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("return x.view(x.size(0), 2, -1, x.size(2), x.size(3)).transpose(1, 2).reshape(x.shape)", None),
        (
            "b, c, h, w = x.size(0), x.size(1), x.size(2), x.size(3)\n"
            "return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)",
            "assumes that `x` has four dimensions",
        ),
    ],
)
def test_an_unknown_rank(body: str, note: str | None) -> None:
    found = [one for one in Analysis(function(body)).findings if one.code == CODE]
    if note is None:
        assert not found
        return
    (finding,) = found
    assert finding.safety is Safety.NUMERICS
    assert note in finding.title
    assert equivalent(function(body), CHANNELS, codes=frozenset({CODE}), tolerance=0.0, deep=False).applied


EINOPS = [
    ("'b (c r1 r2) h w -> b c (h r1) (w r2)', r1=2, r2=2", "F.pixel_shuffle(x, 2)"),
    ("'n (k p q) y x -> n k (y p) (x q)', p=r, q=r", "F.pixel_shuffle(x, r)"),
    ("'(c r1 r2) h w -> c (h r1) (w r2)', r1=2, r2=2", "F.pixel_shuffle(x, 2)"),
    ("'b c (h r1) (w r2) -> b (c r1 r2) h w', r1=2, r2=2", "F.pixel_unshuffle(x, 2)"),
    ("'b (g c) h w -> b (c g) h w', g=2", "F.channel_shuffle(x, 2)"),
]


@pytest.mark.parametrize(("arguments", "after"), EINOPS)
def test_einops(arguments: str, after: str) -> None:
    text = function(f"return rearrange(x, {arguments})", "x, r=2", "from einops import rearrange\n")
    (finding,) = (one for one in Analysis(text).findings if one.code == CODE)
    fix = Analysis(text).fix(finding)
    assert fix is not None
    assert f"return {after}" in fix.apply(text)


EINOPS_REFUSED = [
    ("'b (r1 r2 c) h w -> b c (h r1) (w r2)', r1=2, r2=2", ""),
    ("'b (c r1 r2) h w -> b c (h r2) (w r1)', r1=2, r2=2", ""),
    ("'b (c r1 r2) h w -> b c (r1 h) (r2 w)', r1=2, r2=2", ""),
    ("'b (c r1 r2) h w -> b c (w r1) (h r2)', r1=2, r2=2", ""),
    ("'b (c r1 r2) h w -> b c (h r1) (w r2)', r1=2, r2=3", ""),
    ("'b (c r1 r2) h w -> b c (h r1) (w r2)', r1=2, c=3", ""),
    ("'b (c r1 r2) h w -> b c (h r1) (w r2)', r1=r, r2=r + 0", ""),
    ("'b c (h r1) (w r2) -> b (r1 r2 c) h w', r1=2, r2=2", ""),
    ("'b c (h p1) (w p2) -> b (h w) (p1 p2 c)', p1=2, p2=2", ""),
    ("'b (h d) x y -> b h d x y', h=2", ""),
    ("'b (c g) h w -> b (g c) h w', c=2, g=3", ""),
    ("'b (g c) h w -> b (c g) h w', c=2", ""),
    ("'b c h w -> b h w c'", ""),
]


@pytest.mark.parametrize(("arguments", "reason"), EINOPS_REFUSED)
def test_einops_refused(arguments: str, reason: str) -> None:
    text = function(f"return rearrange(x, {arguments})", "x, r=2", "from einops import rearrange\n")
    assert not reason or any(reason in one for one in refused(text, CODE))
    refused(text, CODE)


def test_einops_of_numpy() -> None:
    head = "import numpy as np\nfrom einops import rearrange\n"
    text = function("return rearrange(x, 'b (g c) h w -> b (c g) h w', g=2)", head=head)
    assert any("an array" in one for one in refused(text, CODE))


REFUSED = [
    ("TensorFlow's order", f"{SIZES}return x.view(B, 2, 2, C // 4, H, W).permute(0, 3, 4, 1, 5, 2)"
     ".reshape(B, C // 4, H * 2, W * 2)", ""),
    ("width first", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 3, 5, 2)"
     ".reshape(B, C // 4, H * 2, W * 2)", ""),
    ("the factor before the height", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 2, 4, 3, 5)"
     ".reshape(B, C // 4, H * 2, W * 2)", ""),
    ("transposed", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 5, 2, 4, 3)"
     ".reshape(B, C // 4, W * 2, H * 2)", ""),
    ("channels last in the end", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W).permute(0, 4, 2, 5, 3, 1)"
     ".reshape(B, H * 2, W * 2, C // 4)", ""),
    ("channels last", "B, H, W, C = x.shape\nreturn x.view(B, H, W, 2, 2, C // 4).permute(0, 1, 3, 2, 4, 5)"
     ".reshape(B, H * 2, W * 2, C // 4)", ""),
    ("windows", "B, H, W, C = x.shape\nreturn x.view(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 2, 4, 5)"
     ".reshape(-1, 2, 2, C)", ""),
    ("patches",
     f"{SIZES}return x.reshape(B, C, H // 2, 2, W // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * 4)", ""),
    ("heads", "B, T, C = x.shape\nreturn x.view(B, T, 2, C // 2).transpose(1, 2).reshape(B, T, C)", ""),
    ("heads together", "B, T, C = x.shape\ny = x.view(B, T, 2, C // 2).transpose(1, 2)\n"
     "return y.transpose(1, 2).reshape(B, T, C)", ""),
    ("down by other factors",
     f"{SIZES}return x.view(B, C, H // 2, 2, W // 3, 3){BACK}.reshape(B, C * 6, H // 2, W // 3)", ""),
    ("down with the factors first", f"{SIZES}return x.view(B, C, H // 2, 2, W // 2, 2).permute(0, 3, 5, 1, 2, 4)"
     ".reshape(B, C * 4, H // 2, W // 2)", ""),
    ("another shape", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W){TO}.reshape(B, C, H * 2, W // 2)", ""),
    ("flattened in the end", f"{SIZES}return x.view(B, C // 4, 2, 2, H, W){TO}.reshape(B, C // 4, -1)", ""),
    ("batches together", f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(0, 1).reshape(B, C, H, W)", ""),
    ("other groups merged", f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(2, 3).reshape(B, C, H, W)", ""),
    ("merged elsewhere", f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(1, 2).flatten(2, 3)", ""),
    ("literal sizes", f"return x.view(2, 2, 2, 2, 3, 5){TO}.reshape(2, 2, 6, 10)", "the tensor's own"),
    ("another tensor's sizes", f"B, C, H, W = y.shape\nreturn x.view(B, C // 4, 2, 2, H, W){TO}{WIDE}",
     "the tensor's own"),
    ("sizes from before", f"{SIZES}x = x[:, :, 1:]\nreturn x.view(B, 2, C // 2, H - 1, W).transpose(1, 2)"
     ".reshape(B, C, H - 1, W)", "the tensor's own"),
    ("sizes swapped", f"{SIZES}return x.view(B, C // 4, 2, 2, W, H){TO}.reshape(B, C // 4, W * 2, H * 2)",
     "the tensor's own"),
    ("pixels in a row, and left so", f"{SIZES}y = x.reshape(B, 2, C // 2, H * W).permute(0, 2, 1, 3)\n"
     "return y.reshape(B, H * W, C)", ""),
    ("pixels of others", f"{SIZES}y = x.reshape(B, 2, C // 2, H * W).permute(0, 2, 1, 3)\n"
     "return y.reshape(B, C, W, H)", ""),
    ("heads of a merged batch", "n, t, d = x.shape\nb = n // y\nz = x.view(b, y, t, d).permute(0, 2, 1, 3)\n"
     "return z.reshape(b, t, y * d)", ""),
    ("rounded beside -1", f"{SIZES}return x.view(-1, C // 4, 2, 2, H, W){TO}{WIDE}", "rounded"),
    ("rounded beside -1, down", f"{SIZES}return x.view(B, C, -1, 2, W // 2, 2){BACK}.reshape(B, C * 4, H // 2, W // 2)",
     "rounded"),
    ("rounded and multiplied", f"{SIZES}return x.view(B, -1, 2, 2, H, W){TO}.reshape(B, C // 4, -1, W * 2)", ""),
    ("two factors", f"{SIZES}return x.view(B, C // 6, 2, 3, H, W){TO}.reshape(B, C // 6, H * 2, W * 3)", ""),
    ("two names of factors", f"{SIZES}r, s = y\nreturn x.view(B, -1, r, s, H, W){TO}.reshape(B, -1, H * r, W * s)", ""),
    ("a factor of one", f"{SIZES}return x.view(B, 1, C, H, W).transpose(1, 2).reshape(B, C, H, W)", ""),
    ("a factor worked out", f"{SIZES}return x.view(B, y + 1, -1, H, W).transpose(1, 2).reshape(B, C, H, W)", ""),
    ("starred", f"{SIZES}return x.view(*y).transpose(1, 2).reshape(B, C, H, W)", ""),
    ("a shape in a variable", f"{SIZES}return x.view(y).transpose(1, 2).reshape(B, C, H, W)", ""),
    ("something between", f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(1, 2).relu().reshape(B, C, H, W)", ""),
    ("used besides", f"{SIZES}z = x.view(B, 2, C // 2, H, W)\nreturn z{MIXED}, z", "besides"),
    ("asked for its shape", f"{SIZES}z = x.view(B, 2, C // 2, H, W)\ns = z.shape\n"
     "return z.transpose(1, 2).reshape(B, C, H, W), s", "besides"),
    ("captured", f"{SIZES}z = x.view(B, 2, C // 2, H, W)\ng = lambda: z\n"
     "return z.transpose(1, 2).reshape(B, C, H, W), g", "besides"),
    ("written to", f"{SIZES}z = x.view(B, 2, C // 2, H, W)\nx.add_(1)\nz = z{MIXED}\nreturn z",
     "changed in between"),
    ("reshaped in place", f"{SIZES}x.transpose_(2, 3)\nreturn x.view(B, 2, C // 2, H, W).transpose(1, 2)"
     ".reshape(B, C, H, W)", "another shape in place"),
    ("in branches", f"{SIZES}x = x.view(B, 2, C // 2, H, W)\nif y:\n    x = x{MIXED}\nreturn x",
     "besides"),
    ("sharing a line", f"{SIZES}x = x.view(B, 2, C // 2, H, W); x = x.transpose(1, 2)\nreturn x.reshape(B, C, H, W)",
     "statement of its own"),
    ("x rebound", f"{SIZES}z = x.view(B, 2, C // 2, H, W)\nx = y\nreturn z.transpose(1, 2).reshape(B, C, H, W), x",
     "another value"),
    ("the factor rebound", f"{SIZES}g = y\nz = x.view(B, g, C // g, H, W)\ng = 7\n"
     "return z.transpose(1, 2).reshape(B, C, H, W), g", "another one"),
    ("viewed", f"{SIZES}z = x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)\nreturn z.view(B, -1)",
     "contiguous memory"),
    ("written in place", f"{SIZES}z = x.view(B, 2, C // 2, H, W){MIXED}\nz += 1\nreturn z",
     "in place"),
    ("bound inside", f"{SIZES}return (z := x).view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W), z",
     "bound inside"),
    ("YOLO's slices",
     "return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)", ""),
    ("beside the call", f"{SIZES}if hasattr(F, 'channel_shuffle'):\n    return F.channel_shuffle(x, 2)\nelse:\n"
     "    return x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)", "lacks it"),
    ("a numpy array", "B, C, H, W = y.shape\nimport numpy as np\nreturn np.transpose(x, (0, 2, 1))", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(body: str, reason: str) -> None:
    reasons = refused(function(body, "x, y=2"), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_an_attribute_that_may_change() -> None:
    forward = (
        "b, c, h, w = x.shape\ny = x.view(b, -1, self.r, self.r, h, w)\nself.step()\n"
        "y = y.permute(0, 1, 4, 2, 5, 3)\nreturn y.reshape(b, -1, h * self.r, w * self.r)"
    )
    text = module("self.r = 2", forward, tail="def step(self):\n    self.r = 3\n\n\nM.step = step")
    assert any("changed in between" in one for one in refused(text, CODE))


@pytest.mark.parametrize("name", ["test_shuffle", "reference_shuffle", "naive_shuffle"])
def test_a_reference(name: str) -> None:
    body = f"{SIZES}return x.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)"
    assert any("reads as a reference" in one for one in refused(function(body).replace("def f", f"def {name}"), CODE))


def test_sizes_that_do_not_divide() -> None:
    """Both sides raise an error."""
    with pytest.raises(RuntimeError):
        torch.nn.functional.channel_shuffle(torch.ones(2, 5, 3, 3), 2)
    with pytest.raises(RuntimeError):
        torch.ones(2, 5, 3, 3).view(2, 2, 5 // 2, 3, 3)
