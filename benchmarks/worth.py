"""What each fusion is worth: time and memory before and after, the rewrite made by fuselight itself.

    python benchmarks/worth.py [CODE ...] [--rounds N]

Each case is a module as people write it. fuselight rewrites its text with that one fusion, both texts are executed in
torch on the same weights (the old state dict loaded into the new module), and both are timed by turns, on one thread,
by the thread's own CPU time, so that what else runs on the machine disturbs little. Figures are medians of the faster
half. Printed as a Markdown table, ratios first; nothing is asserted but that both sides agree.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

HEAD = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"


@dataclass(frozen=True)
class Case:
    """One module: the lines of its `__init__` and its `forward`, and the inputs of a call."""

    code: str
    what: str
    init: str
    forward: str
    inputs: Callable[[], tuple[torch.Tensor, ...]]
    arguments: str = "x"
    backward: bool = True
    fuse: bool = False
    """Whether the rewrite pays only behind `eval().fuse()`."""

    @property
    def text(self) -> str:
        lines = ["class M(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {line}" for line in self.init.split("\n") if line]
        lines += ["", f"    def forward(self, {self.arguments}):"]
        lines += [f"        {line}" for line in self.forward.split("\n")]
        return HEAD + "\n".join(lines) + "\n"


def normal(*shape: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: (torch.randn(*shape, requires_grad=True),)


def indices(top: int, *shape: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: (torch.randint(0, top, shape),)


def positive(*shape: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: ((torch.rand(*shape) * 0.9 + 0.1).requires_grad_(),)


def several(*makers: Callable[[], tuple[torch.Tensor, ...]]) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: tuple(one for make in makers for one in make())


def spelled(
    code: str,
    what: str,
    forward: str,
    inputs: Callable[[], tuple[torch.Tensor, ...]],
    arguments: str = "x",
    init: str = "",
) -> Case:
    """An expression in a module's `forward`."""
    return Case(code, what, init, forward, inputs, arguments)


IMAGE = normal(4, 64, 56, 56)
CONV = "self.conv = nn.Conv2d(64, 64, 3, padding=1{extra})"

CASES = [
    Case(
        "FUS101", "conv with bias before batch norm, training",
        CONV.format(extra="") + "\nself.bn = nn.BatchNorm2d(64)", "return self.bn(self.conv(x))", IMAGE,
    ),
    Case(
        "FUS102", "conv with bias before instance norm",
        CONV.format(extra="") + "\nself.norm = nn.InstanceNorm2d(64)", "return self.norm(self.conv(x))", IMAGE,
    ),
    Case(
        "FUS103", "conv, batch norm, relu in eval mode",
        CONV.format(extra=", bias=False") + "\nself.bn = nn.BatchNorm2d(64)", "return F.relu(self.bn(self.conv(x)))",
        IMAGE, backward=False, fuse=True,
    ),
    Case(
        "FUS104", "zero padding, then a 3x3 conv",
        "self.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(64, 64, 3)", "return self.conv(self.pad(x))", IMAGE,
    ),
    Case(
        "FUS104", "reflection padding, then a 3x3 conv",
        "self.pad = nn.ReflectionPad2d(1)\nself.conv = nn.Conv2d(64, 64, 3)", "return self.conv(self.pad(x))", IMAGE,
    ),
    Case(
        "FUS105", "zero padding, then average pooling",
        "self.pad = nn.ZeroPad2d(1)\nself.pool = nn.AvgPool2d(3, 2)", "return self.pool(self.pad(x))", IMAGE,
    ),
    Case(
        "FUS105", "padding by -inf, then max pooling",
        "self.pool = nn.MaxPool2d(3, 2)", 'return self.pool(F.pad(x, (1, 1, 1, 1), value=float("-inf")))', IMAGE,
    ),
    Case("FUS107", "relu twice", "self.act = nn.ReLU()", "return F.relu(self.act(x))", IMAGE),
    Case(
        "FUS110", "transpose, contiguous, view", "self.n = 4",
        "B, H, T, D = x.shape\nreturn x.transpose(1, 2).contiguous().view(B, T, H * D)", normal(8, 12, 197, 64),
    ),
    Case(
        "FUS111", "three permutes that cancel", "self.n = 4",
        "x = x.permute(0, 2, 3, 1)\nx = x.transpose(1, 2)\nreturn x.permute(0, 3, 2, 1)", IMAGE,
    ),
    Case(
        "FUS112", "global average pool and flatten",
        "self.conv = nn.Conv2d(64, 64, 1)\nself.pool = nn.AdaptiveAvgPool2d(1)",
        "return torch.flatten(self.pool(self.conv(x)), 1)", IMAGE,
    ),
    Case(
        "FUS113", "a Sequential of three small ones", "self.net = nn.Sequential("
        "nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 8))",
        "return self.net(x)", normal(32, 64),
    ),
    Case(
        "FUS114", "linear layer of a one-hot vector, 5,000 classes",
        "self.fc = nn.Linear(5000, 128, bias=False)",
        "return self.fc(F.one_hot(i, 5000).to(self.fc.weight.dtype))", indices(5000, 512), "i",
    ),
    Case(
        "FUS201", "q, k and v, 8 x 128 tokens of 512",
        "self.q = nn.Linear(512, 512)\nself.k = nn.Linear(512, 512)\nself.v = nn.Linear(512, 512)",
        "return self.q(x), self.k(x), self.v(x)", normal(8, 128, 512),
    ),
    Case(
        "FUS201", "gate and up, 2 x 128 tokens, 512 to 1,376",
        "self.gate = nn.Linear(512, 1376, bias=False)\nself.up = nn.Linear(512, 1376, bias=False)",
        "return F.silu(self.gate(x)) * self.up(x)", normal(2, 128, 512),
    ),
    Case(
        "FUS202", "two 1x1 convs of one input",
        "self.a = nn.Conv2d(64, 32, 1)\nself.b = nn.Conv2d(64, 32, 1)", "return self.a(x), self.b(x)",
        normal(4, 64, 28, 28),
    ),
    Case(
        "FUS202", "two 3x3 convs of one input",
        "self.a = nn.Conv2d(64, 32, 3, padding=1)\nself.b = nn.Conv2d(64, 32, 3, padding=1)",
        "return self.a(x), self.b(x)", normal(4, 64, 28, 28),
    ),
    Case(
        "FUS203", "two embeddings of one index",
        "self.a = nn.Embedding(10000, 64)\nself.b = nn.Embedding(10000, 64)", "return self.a(i), self.b(i)",
        indices(10000, 64, 128), "i",
    ),
    Case(
        "FUS204", "cat of three heads",
        "\n".join(f"self.h{n} = nn.Linear(256, 16)" for n in range(3)),
        "return torch.cat([self.h0(x), self.h1(x), self.h2(x)], dim=-1)", normal(64, 256),
    ),
    Case(
        "FUS205", "value * sigmoid(gate)",
        "self.value = nn.Linear(512, 512)\nself.gate = nn.Linear(512, 512)",
        "return self.value(x) * torch.sigmoid(self.gate(x))", normal(8, 128, 512),
    ),
    Case(
        "FUS206", "an LSTM cell of eight linear layers",
        "\n".join(f"self.x{g} = nn.Linear(128, 256)\nself.h{g} = nn.Linear(256, 256)" for g in "ifgo"),
        "i = torch.sigmoid(self.xi(x) + self.hi(h))\nf = torch.sigmoid(self.xf(x) + self.hf(h))\n"
        "g = torch.tanh(self.xg(x) + self.hg(h))\no = torch.sigmoid(self.xo(x) + self.ho(h))\n"
        "c = f * c + i * g\nreturn o * torch.tanh(c), c",
        lambda: (torch.randn(32, 128, requires_grad=True), torch.randn(32, 256), torch.randn(32, 256)), "x, h, c",
    ),
    Case(
        "FUS207", "a GRU cell of six linear layers",
        "\n".join(f"self.x{g} = nn.Linear(128, 256)\nself.h{g} = nn.Linear(256, 256)" for g in "rzn"),
        "r = torch.sigmoid(self.xr(x) + self.hr(h))\nz = torch.sigmoid(self.xz(x) + self.hz(h))\n"
        "n = torch.tanh(self.xn(x) + r * self.hn(h))\nreturn (1 - z) * n + z * h",
        lambda: (torch.randn(32, 128, requires_grad=True), torch.randn(32, 256)), "x, h",
    ),
    Case(
        "FUS208", "twelve small heads in a list, stacked",
        "self.heads = nn.ModuleList([nn.Linear(256, 16) for _ in range(12)])",
        "return torch.stack([head(x) for head in self.heads], dim=1)", normal(64, 256),
    ),
    Case(
        "FUS209", "two convs of two chunks",
        "self.a = nn.Conv2d(64, 64, 3, padding=1)\nself.b = nn.Conv2d(64, 64, 3, padding=1)",
        "a, b = x.chunk(2, dim=1)\nreturn torch.cat([self.a(a), self.b(b)], dim=1)", normal(4, 128, 28, 28),
    ),
    Case(
        "FUS210", "eight experts of two layers in lists",
        "self.a = nn.ModuleList([nn.Linear(64, 128) for _ in range(8)])\n"
        "self.b = nn.ModuleList([nn.Linear(128, 64) for _ in range(8)])",
        "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.a, self.b)])", normal(32, 64),
    ),
    Case(
        "FUS401", "x * sigmoid(x)", "self.n = 1", "return x * torch.sigmoid(x)", normal(8, 512, 768),
    ),
    Case(
        "FUS601", "one-hot @ W, 5,000 rows", "self.W = nn.Parameter(torch.randn(5000, 128))",
        "return F.one_hot(i, 5000).float() @ self.W", indices(5000, 512), "i",
    ),
    Case(
        "FUS701", "lm_head(x)[:, -1, :], 128 tokens, 16,000 words",
        "self.head = nn.Linear(256, 16000, bias=False)", "return self.head(x)[:, -1, :]", normal(2, 128, 256),
    ),
    Case(
        "FUS701", "norm(x)[:, 0, :], 197 tokens", "self.norm = nn.LayerNorm(768)", "return self.norm(x)[:, 0, :]",
        normal(8, 197, 768),
    ),
    Case(
        "FUS702", "linear(x).mean(1), 196 tokens", "self.fc = nn.Linear(768, 768)",
        "B, T, C = x.shape\nreturn self.fc(x).mean(1)", normal(8, 196, 768),
    ),
    Case(
        "FUS703", "conv, relu, max pool, conv", "self.a = nn.Conv2d(16, 16, 1)\nself.b = nn.Conv2d(16, 16, 1)",
        "return self.b(F.max_pool2d(F.relu(self.a(x)), 2))", normal(8, 16, 112, 112),
    ),
    Case(
        "FUS704", "1x1 conv, 256 to 64, of an upsampled image",
        'self.up = nn.Upsample(scale_factor=2, mode="bilinear")\nself.conv = nn.Conv2d(256, 64, 1)',
        "return self.conv(self.up(x))", normal(4, 256, 28, 28),
    ),
    Case(
        "FUS705", "average pool of a 1x1 conv, 256 to 128",
        "self.conv = nn.Conv2d(256, 128, 1)\nself.pool = nn.AvgPool2d(2)", "return self.pool(self.conv(x))",
        normal(4, 256, 28, 28),
    ),
]  # fmt: skip

WIDE = normal(8, 256, 768)
ROWS = normal(256, 16000)
PAIR = several(normal(8, 256, 768), normal(8, 256, 768))
NORM = "self.weight = nn.Parameter(torch.ones(768))"

EXPRESSIONS = [
    spelled(
        "FUS402", "tanh GELU", "return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))", WIDE
    ),
    spelled("FUS402", "erf GELU", "return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))", WIDE),
    spelled("FUS403", "x * tanh(softplus(x))", "return x * torch.tanh(F.softplus(x))", WIDE),
    spelled("FUS404", "log(1 + exp(x))", "return torch.log(1 + torch.exp(x))", WIDE),
    spelled("FUS405", "log(sigmoid(x))", "return torch.log(torch.sigmoid(x))", WIDE),
    spelled("FUS406", "x * relu6(x + 3) / 6", "return x * F.relu6(x + 3) / 6", WIDE),
    spelled("FUS407", "a * sigmoid(b) of two chunks", "a, b = x.chunk(2, dim=-1)\nreturn a * torch.sigmoid(b)", WIDE),
    spelled("FUS408", "where(x > 0, x, 0.1 * x)", "return torch.where(x > 0, x, 0.1 * x)", WIDE),
    spelled("FUS408", "x / (1 + abs(x))", "return x / (1 + x.abs())", WIDE),
    spelled("FUS408", "clamp(x, 0, 6)", "return x.clamp(0, 6)", WIDE),
    spelled(
        "FUS409",
        "RMSNorm, 8 x 256 tokens of 768",
        "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight",
        WIDE,
        init=NORM,
    ),
    spelled(
        "FUS410",
        "LayerNorm, 8 x 256 tokens of 768",
        "u = x.mean(-1, keepdim=True)\ns = (x - u).pow(2).mean(-1, keepdim=True)\n"
        "x = (x - u) / torch.sqrt(s + 1e-5)\nreturn self.weight * x + self.bias",
        WIDE,
        init=NORM + "\nself.bias = nn.Parameter(torch.zeros(768))",
    ),
    spelled("FUS411", "x / x.norm(dim=-1)", "return x / x.norm(dim=-1, keepdim=True)", WIDE),
    spelled(
        "FUS412",
        "sum of normalized products",
        "return (F.normalize(x, dim=-1) * F.normalize(y, dim=-1)).sum(-1)",
        PAIR,
        "x, y",
    ),
    spelled("FUS501", "log(softmax(x)), 256 x 16,000", "return torch.log(F.softmax(x, dim=-1))", ROWS),
    spelled(
        "FUS502",
        "nll_loss(log(softmax(x))), 256 x 16,000",
        "return F.nll_loss(torch.log(F.softmax(x, dim=1)), y)",
        several(ROWS, indices(16000, 256)),
        "x, y",
    ),
    spelled(
        "FUS503",
        "one-hot cross entropy, 256 x 16,000",
        "p = F.log_softmax(x, dim=1)\nreturn -(F.one_hot(y, 16000).to(p.dtype) * p).sum(dim=1).mean()",
        several(ROWS, indices(16000, 256)),
        "x, y",
    ),
    spelled(
        "FUS504",
        "binary_cross_entropy(sigmoid(x))",
        "return F.binary_cross_entropy(torch.sigmoid(x), y.detach())",
        several(normal(256, 8192), positive(256, 8192)),
        "x, y",
    ),
    spelled(
        "FUS505",
        "cross_entropy(log_softmax(x)), 256 x 16,000",
        "return F.cross_entropy(F.log_softmax(x, dim=1), y)",
        several(ROWS, indices(16000, 256)),
        "x, y",
    ),
    spelled(
        "FUS507",
        "log_softmax gathered, 256 x 16,000",
        "return F.log_softmax(x, dim=-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)",
        several(ROWS, indices(16000, 256)),
        "x, y",
    ),
    spelled("FUS508", "log(sum(exp(x))), 256 x 16,000", "return torch.log(torch.exp(x).sum(dim=-1))", ROWS),
    spelled("FUS508", "log(exp(x) + exp(y))", "return torch.log(torch.exp(x) + torch.exp(y))", PAIR, "x, y"),
    spelled("FUS509", "log(1 + x)", "return torch.log(1 + x)", positive(8, 256, 768)),
    spelled("FUS509", "exp(x) - 1", "return torch.exp(x) - 1", WIDE),
    Case(
        "FUS510",
        "argmax(softmax(x)), 256 x 16,000",
        "",
        "return torch.argmax(F.softmax(x, dim=1), dim=1)",
        ROWS,
        backward=False,
    ),
    spelled(
        "FUS511",
        "KL divergence, 256 x 16,000",
        "p, q = F.softmax(y, dim=-1), F.log_softmax(x, dim=-1)\nreturn (p * (p.log() - q)).sum()",
        several(ROWS, ROWS),
        "x, y",
    ),
    spelled(
        "FUS512", "mean of squared differences", "return ((torch.tanh(x) - torch.tanh(y)) ** 2).mean()", PAIR, "x, y"
    ),
    spelled("FUS513", "1 - sigmoid(x)", "return 1 - torch.sigmoid(x)", WIDE),
    spelled("FUS514", "exp(x) / sum(exp(x))", "return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)", WIDE),
    spelled(
        "FUS602",
        "x @ w.t() + b",
        "return x @ self.w.t() + self.b",
        WIDE,
        init="self.w = nn.Parameter(torch.randn(768, 768))\nself.b = nn.Parameter(torch.randn(768))",
    ),
    spelled(
        "FUS603", "x * (1 + scale) + shift", "x, y = torch.tanh(x), torch.tanh(y)\nreturn x * (1 + y) + y", PAIR, "x, y"
    ),
    spelled(
        "FUS604",
        "(1 - w) * x + w * y",
        "x, y = torch.tanh(x), torch.tanh(y)\nreturn (1 - 0.3) * x + 0.3 * y",
        PAIR,
        "x, y",
    ),
    spelled(
        "FUS605",
        "mean of embedded tokens",
        "return self.emb(i).mean(dim=1)",
        indices(5000, 64, 50),
        "i",
        init="self.emb = nn.Embedding(5000, 256)",
    ),
    spelled(
        "FUS606",
        "einsum bij,bkj->bik, small",
        'return torch.einsum("bij,bkj->bik", x, y)',
        several(normal(2, 8, 16), normal(2, 8, 16)),
        "x, y",
    ),
    spelled(
        "FUS606",
        "einsum bij,bkj->bik, large",
        'return torch.einsum("bij,bkj->bik", x, y)',
        several(normal(8, 128, 256), normal(8, 128, 256)),
        "x, y",
    ),
    spelled(
        "FUS607",
        "pairwise distances, 256 x 256 of 64",
        "return ((x[:, None] - y[None]) ** 2).sum(-1).sqrt()",
        several(normal(256, 64), normal(256, 64)),
        "x, y",
    ),
    spelled(
        "FUS608",
        "mean and std apart",
        "m = x.mean(dim=-1, keepdim=True)\ns = x.std(dim=-1, keepdim=True)\nreturn m, s",
        WIDE,
    ),
    spelled(
        "FUS609",
        "pixel shuffle by reshapes",
        "B, C, H, W = x.shape\nx = x.view(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3)\n"
        "return x.reshape(B, C // 4, H * 2, W * 2)",
        normal(4, 64, 56, 56),
    ),
    spelled("FUS610", "(x * y).sum(-1)", "return (torch.tanh(x) * torch.tanh(y)).sum(dim=-1)", PAIR, "x, y"),
    spelled(
        "FUS611", "cat of two unsqueezed", "return torch.cat([x.unsqueeze(1), y.unsqueeze(1)], dim=1)", PAIR, "x, y"
    ),
    spelled("FUS612", "diag(d) @ x, 768", "return torch.diag(x) @ y", several(normal(768), normal(768, 256)), "x, y"),
    spelled("FUS613", "sqrt(exp(x))", "return torch.sqrt(torch.exp(x))", WIDE),
    spelled("FUS614", "sqrt(x * x + y * y)", "return torch.sqrt(x * x + y * y)", PAIR, "x, y"),
]


@dataclass
class Side:
    module: nn.Module
    forward: list[float]
    both: list[float]
    saved: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", nargs="*", metavar="CODE")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| | case | forward | forward and backward | ms forward | ms both | MB kept for backward |")
    print("|---|---|---:|---:|---:|---:|---:|")
    missing: list[str] = []
    for case in [*CASES, *EXPRESSIONS]:
        if given.codes and case.code not in given.codes:
            continue
        row = measured(case, given.rounds)
        if row is None:
            missing.append(f"{case.code} {case.what}")
        else:
            print(row, flush=True)
    for one in missing:
        print(f"not offered: {one}", file=sys.stderr)
    return 0


def measured(case: Case, rounds: int) -> str | None:
    """One row of the table; None where fuselight offers nothing."""
    codes = frozenset({case.code})
    result = fix_all(Analysis(case.text, codes=codes), frozenset(Safety), codes)
    if not result.applied:
        return None
    before, after = made(case.text), made(result.text)
    after.load_state_dict(before.state_dict())
    inputs = case.inputs()
    if case.fuse:
        before.eval()
        after.eval()
        after.fuse()  # pyright: ignore[reportCallIssue]
    agree(before(*inputs), after(*inputs), case)
    sides = [Side(before, [], []), Side(after, [], [])]
    for side in sides:
        side.saved = saved_bytes(side.module, inputs) if case.backward else 0
    for _ in range(rounds):
        for side in sides:
            forward, both = timed(side.module, inputs, case.backward)
            side.forward.append(forward)
            side.both.append(both)
    old, new = sides
    forward = f"{fast(old.forward) / fast(new.forward):.2f}x"
    both = f"{fast(old.both) / fast(new.both):.2f}x" if case.backward else "-"
    ms = [f"{1000 * fast(one):.3g}" for one in (old.forward, new.forward, old.both, new.both)]
    kept = f"{old.saved / 1e6:.2f} -> {new.saved / 1e6:.2f}" if case.backward else "-"
    second = f"{ms[2]} -> {ms[3]}" if case.backward else "-"
    return f"| {case.code} | {case.what} | {forward} | {both} | {ms[0]} -> {ms[1]} | {second} | {kept} |"


def made(text: str) -> nn.Module:
    namespace: dict[str, object] = {"__name__": "measured"}
    exec(compile(text, "<case>", "exec"), namespace)
    torch.manual_seed(0)
    cls = namespace["M"]
    assert isinstance(cls, type)
    module = cls()
    assert isinstance(module, nn.Module)
    return module


def tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for one in value for tensor in tensors(one)] if isinstance(value, list | tuple) else []


def agree(one: object, other: object, case: Case) -> None:
    for wanted, found in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3, msg=lambda text: f"{case.code}: {text}")


def timed(module: nn.Module, inputs: tuple[torch.Tensor, ...], backward: bool) -> tuple[float, float]:
    """CPU seconds of one forward, and of one forward and backward."""
    repeats = 1
    with torch.no_grad():
        while True:
            start = time.thread_time()
            for _ in range(repeats):
                module(*inputs)
            took = time.thread_time() - start
            if took > 0.02 or repeats >= 256:
                break
            repeats *= 2
    forward = took / repeats
    if not backward:
        return forward, 0.0
    start = time.thread_time()
    for _ in range(max(1, repeats // 4)):
        torch.stack([one.sum() for one in tensors(module(*inputs))]).sum().backward()
    return forward, (time.thread_time() - start) / max(1, repeats // 4)


def saved_bytes(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Bytes that autograd keeps for the backward pass besides inputs and parameters."""
    own = {one.untyped_storage().data_ptr() for one in (*module.parameters(), *inputs)}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # else an output that its own node keeps is never freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = module(*inputs)
    del result
    return sum(kept.values())


def fast(times: list[float]) -> float:
    """The median of the faster half."""
    return statistics.median(sorted(times)[: max(1, len(times) // 2)])


if __name__ == "__main__":
    sys.exit(main())
