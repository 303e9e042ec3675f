"""FUS105: a pool pads by itself what was padded before it, where both compute the same."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS105"
X = ((2, 3, 8, 9),)
NEGATIVE = (-torch.rand(2, 3, 8, 9, dtype=torch.float64) - 0.1,)
LOW = 'value=float("-inf")'

POSITIVES: list[tuple[str, str, str, str, Inputs]] = [
    (
        "zeros",
        "self.pad = nn.ZeroPad2d(1)\nself.pool = nn.AvgPool2d(3)",
        "return self.pool(self.pad(x))",
        "nn.AvgPool2d(3, padding=1)",
        X,
    ),
    ("F.pad", "self.pool = nn.AvgPool2d(3)", "return self.pool(F.pad(x, (1,) * 4))", "nn.AvgPool2d(3, padding=1)", X),
    (
        "both functional",
        "pass",
        "return F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)",
        "F.avg_pool2d(x, 3, 2, padding=1)",
        X,
    ),
    (
        "in a statement",
        "pass",
        "x = F.pad(x, (1, 1, 1, 1))\nx = F.avg_pool2d(x, 3, 2)\nreturn x",
        "x = F.avg_pool2d(x, 3, 2, padding=1)",
        X,
    ),
    ("by position", "pass", "return F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 5, 2, 1)", "F.avg_pool2d(x, 5, 2, 2)", X),
    (
        "by keywords",
        "pass",
        "y = F.pad(x, (1, 1, 1, 1))\nreturn F.avg_pool2d(y, kernel_size=3)",
        "F.avg_pool2d(x, kernel_size=3, padding=1)",
        X,
    ),
    ("one dimension", "pass", "return F.avg_pool2d(F.pad(x, (2, 2)), 5)", "padding=(0, 2)", X),
    (
        "a long window",
        "self.pool = nn.AvgPool2d((2, 5))",
        "return self.pool(F.pad(x, (2, 2, 1, 1)))",
        "padding=(1, 2))",
        X,
    ),
    (
        "another divisor",
        "self.pool = nn.AvgPool2d(3, divisor_override=5)",
        "return self.pool(F.pad(x, (1,) * 4))",
        "padding=1)",
        X,
    ),
    (
        "counting",
        "self.pool = nn.AvgPool2d(3, count_include_pad=True)",
        "return self.pool(F.pad(x, (1,) * 4))",
        "padding=1)",
        X,
    ),
    (
        "its own padding",
        "self.pool = nn.AvgPool2d(5, padding=1)",
        "return self.pool(F.pad(x, (1,) * 4))",
        "padding=2)",
        X,
    ),
    ("an even window", "self.pool = nn.AvgPool2d(4, 1)", "return self.pool(F.pad(x, (2,) * 4))", "padding=2)", X),
    (
        "1d",
        "self.pool = nn.AvgPool1d(3)",
        "return self.pool(F.pad(x, (1, 1)))",
        "nn.AvgPool1d(3, padding=1)",
        ((2, 3, 9),),
    ),
    (
        "1d functional",
        "pass",
        "return F.avg_pool1d(F.pad(x, (1, 1)), 3)",
        "F.avg_pool1d(x, 3, padding=1)",
        ((2, 3, 9),),
    ),
    ("3d", "self.pool = nn.AvgPool3d(3)", "return self.pool(F.pad(x, (1,) * 6))", "padding=1)", ((1, 2, 5, 6, 7),)),
    ("max", "self.pool = nn.MaxPool2d(3, 2)", f"return self.pool(F.pad(x, (1,) * 4, {LOW}))", "padding=1)", X),
    (
        "max of what is negative",
        "self.pool = nn.MaxPool2d(3, 2)",
        f"return self.pool(F.pad(x, (1,) * 4, {LOW}))",
        "padding=1)",
        NEGATIVE,
    ),
    (
        "max functional",
        "pass",
        f"return F.max_pool2d(F.pad(x, (1,) * 4, {LOW}), 3)",
        "F.max_pool2d(x, 3, padding=1)",
        X,
    ),
    ("torch.inf", "pass", "return F.max_pool2d(F.pad(x, (1,) * 4, value=-torch.inf), 3)", "padding=1)", X),
    ("minus float", "pass", "return F.max_pool2d(F.pad(x, (1,) * 4, value=-float('inf')), 3)", "padding=1)", X),
    ("dilated", "pass", f"return F.max_pool2d(F.pad(x, (1,) * 4, {LOW}), 3, dilation=2)", "dilation=2, padding=1)", X),
    (
        "a layer of minus infinity",
        "self.pad = nn.ConstantPad2d(1, float('-inf'))\nself.pool = nn.MaxPool2d(3)",
        "return self.pool(self.pad(x))",
        "self.pool(x)",
        X,
    ),
    (
        "max 1d",
        "pass",
        f"return F.max_pool1d(F.pad(x, (1, 1), {LOW}), 3)",
        "F.max_pool1d(x, 3, padding=1)",
        ((2, 3, 9),),
    ),
    (
        "zeros behind a relu",
        "self.pool = nn.MaxPool2d(3)",
        "return self.pool(F.pad(F.relu(x), (1,) * 4))",
        "self.pool(F.relu(x))",
        NEGATIVE,
    ),
    (
        "zeros behind a relu in steps",
        "self.pool = nn.MaxPool2d(3)",
        "x = torch.relu(x)\nx = F.pad(x, (1,) * 4)\nreturn self.pool(x)",
        "padding=1",
        X,
    ),
    (
        "zeros behind a relu6",
        "self.act = nn.ReLU6()",
        "return F.max_pool2d(F.pad(self.act(x), (1,) * 4), 3)",
        "F.max_pool2d(self.act(x), 3, padding=1)",
        X,
    ),
    (
        "zeros behind a relu in place",
        "self.act = nn.ReLU(inplace=True)",
        "x = self.act(x * 1)\nreturn F.max_pool2d(F.pad(x, (1,) * 4), 3)",
        "padding=1)",
        X,
    ),
    (
        "a literal",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3))",
        "return self.net(x)",
        "nn.Identity(), nn.AvgPool2d(3, padding=1)",
        X,
    ),
    (
        "a literal behind a relu",
        "self.net = nn.Sequential(nn.ReLU(), nn.ZeroPad2d(1), nn.MaxPool2d(3))",
        "return self.net(x)",
        "nn.MaxPool2d(3, padding=1)",
        X,
    ),
]


@pytest.mark.parametrize(
    ("init", "forward", "after", "inputs"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES]
)
def test_padded_by_the_pool(init: str, forward: str, after: str, inputs: Inputs) -> None:
    result = equivalent(module(init, forward), inputs, codes=frozenset({CODE}), deep=False)
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}
    assert after in result.text, result.text


AVERAGE = "self.pool = nn.AvgPool2d(3)"
MAXIMUM = "self.pool = nn.MaxPool2d(3)"
PADDED = "return self.pool(F.pad(x, (1,) * 4))"
REFUSED = [
    (
        "the input is written to",
        AVERAGE,
        "y = self.pool(F.pad(x, (1,) * 4))\nx.mul_(2)\nreturn x, y",
        "input is written",
    ),
    (
        "an activation in place",
        AVERAGE + "\nself.act = nn.ReLU(True)",
        "y = self.pool(F.pad(x, (1,) * 4))\nx = self.act(x)\nreturn x, y",
        "input is written",
    ),
    (
        "in place behind a literal",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3))",
        "y = self.net(x)\nx += 1\nreturn x, y",
        "input is written",
    ),
    ("zeros before a max pool", MAXIMUM, PADDED, "below zero"),
    ("zeros behind a leaky relu", MAXIMUM, "return self.pool(F.pad(F.leaky_relu(x), (1,) * 4))", "below zero"),
    (
        "zeros behind a relu and a change",
        MAXIMUM,
        "x = F.relu(x)\nx.sub_(1)\nreturn self.pool(F.pad(x, (1,) * 4))",
        "below zero",
    ),
    (
        "zeros behind a relu and a subtraction",
        MAXIMUM,
        "return self.pool(F.pad(F.relu(x) - 1, (1,) * 4))",
        "below zero",
    ),
    (
        "zeros behind a norm",
        "self.net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.ZeroPad2d(1), nn.MaxPool2d(3))",
        "return self.net(x)",
        "below zero",
    ),
    ("a low number", MAXIMUM, "return self.pool(F.pad(x, (1,) * 4, value=-1e38))", "neither"),
    ("plus infinity", MAXIMUM, "return self.pool(F.pad(x, (1,) * 4, value=float('inf')))", "neither"),
    ("minus infinity before an average", AVERAGE, f"return self.pool(F.pad(x, (1,) * 4, {LOW}))", "does not pad with"),
    ("reflected", AVERAGE, "return self.pool(F.pad(x, (1,) * 4, 'reflect'))", "does not pad with"),
    ("not counted", "self.pool = nn.AvgPool2d(3, count_include_pad=False)", PADDED, "not count"),
    ("perhaps counted", "c = True\nself.pool = nn.AvgPool2d(3, count_include_pad=c)", PADDED, "not count"),
    ("not counted by position", "self.pool = nn.AvgPool2d(3, 1, 0, False, False)", PADDED, "not count"),
    ("rounded up", "self.pool = nn.AvgPool2d(3, ceil_mode=True)", PADDED, "rounds"),
    ("max rounded up", "pass", f"return F.max_pool2d(F.pad(x, (1,) * 4, {LOW}), 3, 2, 0, 1, True)", "rounds"),
    (
        "indices",
        "self.pool = nn.MaxPool2d(3, return_indices=True)",
        f"return self.pool(F.pad(x, (1,) * 4, {LOW}))",
        "indices",
    ),
    ("more than half", "self.pool = nn.AvgPool2d(2)", "return self.pool(F.pad(x, (2,) * 4))", "half"),
    ("more than half together", "self.pool = nn.AvgPool2d(3, padding=1)", PADDED, "half"),
    ("one side", AVERAGE, "return self.pool(F.pad(x, (1, 0, 1, 0)))", "alike"),
    ("a window by name", "k = 3\nself.pool = nn.AvgPool2d(k)", PADDED, "window"),
    (
        "amounts by name",
        "p = 1\nself.pad = nn.ZeroPad2d((p, p, p, p))\n" + AVERAGE,
        "return self.pool(self.pad(x))",
        "not literal",
    ),
    ("used elsewhere", AVERAGE, "x = F.pad(x, (1,) * 4)\nreturn self.pool(x) + x.mean()", "more than once"),
    ("the pool is called twice", AVERAGE, "return self.pool(F.pad(x, (1,) * 4)), self.pool(x)", "more than once"),
    ("the padding is set", AVERAGE + "\nfor m in self.modules():\n    m.padding = 0", PADDED, "padding of a layer"),
    ("changed in between", AVERAGE, "y = F.pad(x, (1,) * 4)\nx.add_(1)\nreturn self.pool(y)", "changed in between"),
    ("adaptive", "self.pool = nn.AdaptiveAvgPool2d(3)", PADDED, ""),
    ("a power average", "self.pool = nn.LPPool2d(2, 3)", PADDED, ""),
    (
        "a convolution between",
        AVERAGE + "\nself.conv = nn.Conv2d(3, 3, 1, bias=False)",
        "return self.pool(self.conv(F.pad(x, (1,) * 4)))",
        "",
    ),
    ("another rank", "self.pool = nn.AvgPool1d(3)", "return self.pool(F.pad(x, (1, 1, 1, 1)))", "number of dimensions"),
    (
        "a subscript",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3))",
        "return self.net[0](x)",
        "taken apart",
    ),
    ("a starred call", AVERAGE, "return self.pool(*[F.pad(x, (1,) * 4)])", ""),
]


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
