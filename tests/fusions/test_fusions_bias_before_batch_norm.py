"""FUS101: a dropped bias changes nothing on old checkpoints; where somebody could see it, nothing is offered."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS101"
IMAGE: Inputs = ((4, 3, 6, 6),)
PAIR = "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)"
RUN = "return self.bn(self.conv(x))"


@dataclass
class Case:
    """One file; `count` biases are dropped."""

    id: str
    text: str
    count: int = 1
    inputs: Inputs = field(default_factory=lambda: IMAGE)


def case(id: str, init: str, forward: str, count: int = 1, inputs: Inputs = IMAGE, **around: str) -> Case:
    return Case(id, module(init, forward, **around), count, inputs)


LAYERS = [
    case(
        "Conv1d", "self.c = nn.Conv1d(5, 4, 3)\nself.n = nn.BatchNorm1d(4)", "return self.n(self.c(x))", 1, ((3, 5, 8),)
    ),
    case("Conv2d", PAIR, RUN),
    case(
        "Conv3d",
        "self.c = nn.Conv3d(2, 4, 2)\nself.n = nn.BatchNorm3d(4)",
        "return self.n(self.c(x))",
        1,
        ((2, 2, 4, 4, 4),),
    ),
    case(
        "ConvTranspose1d",
        "self.c = nn.ConvTranspose1d(5, 4, 3)\nself.n = nn.BatchNorm1d(4)",
        "return self.n(self.c(x))",
        1,
        ((3, 5, 8),),
    ),
    case(
        "ConvTranspose2d",
        "self.c = nn.ConvTranspose2d(3, 4, 3, stride=2)\nself.n = nn.BatchNorm2d(4)",
        "return self.n(self.c(x))",
    ),
    case(
        "ConvTranspose3d",
        "self.c = nn.ConvTranspose3d(2, 4, 2)\nself.n = nn.BatchNorm3d(4)",
        "return self.n(self.c(x))",
        1,
        ((2, 2, 4, 4, 4),),
    ),
    case(
        "Linear", "self.fc = nn.Linear(16, 8)\nself.n = nn.BatchNorm1d(8)", "return self.n(self.fc(x))", 1, ((6, 16),)
    ),
    case(
        "grouped and dilated",
        "self.conv = nn.Conv2d(4, 8, 3, 1, 1, 2, 2)\nself.bn = nn.BatchNorm2d(8)",
        RUN,
        1,
        ((4, 4, 6, 6),),
    ),
    case(
        "padding by reflection",
        'self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")\nself.bn = nn.BatchNorm2d(8)',
        RUN,
    ),
    case("the bias by keyword", "self.conv = nn.Conv2d(3, 8, 3, bias=True)\nself.bn = nn.BatchNorm2d(8)", RUN),
    case("the bias by position", "self.conv = nn.Conv2d(3, 8, 3, 1, 0, 1, 1, True)\nself.bn = nn.BatchNorm2d(8)", RUN),
    case(
        "the bias of Linear by position",
        "self.fc = nn.Linear(16, 8, True)\nself.n = nn.BatchNorm1d(8)",
        "return self.n(self.fc(x))",
        1,
        ((6, 16),),
    ),
    case("a norm without affine", "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8, affine=False)", RUN),
    case(
        "a norm with a cumulative average",
        "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8, momentum=None)",
        RUN,
    ),
    case(
        "a norm with another momentum",
        "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8, eps=1e-3, momentum=0.9)",
        RUN,
    ),
    case("widths of settings", "width = 8\nself.conv = nn.Conv2d(3, width, 3)\nself.bn = nn.BatchNorm2d(width)", RUN),
    case(
        "keyword arguments alone",
        "self.conv = nn.Conv2d(in_channels=3, out_channels=8, kernel_size=3)\nself.bn = nn.BatchNorm2d(num_features=8)",
        RUN,
    ),
]

CALLS = [
    case("in steps", PAIR, "x = self.conv(x)\nx = self.bn(x)\nreturn x"),
    case("in steps under new names", PAIR, "y = self.conv(x)\nz = self.bn(y)\nreturn F.relu(z)"),
    case("statements between", PAIR, "y = self.conv(x)\nn = x.mean()\nz = self.bn(y)\nreturn z + n"),
    case("nested with an activation", PAIR, "return F.relu(self.bn(self.conv(x)))"),
    case("nested with an in-place activation", PAIR, "return F.relu(self.bn(self.conv(x)), inplace=True)"),
    case(
        "with an in-place layer behind",
        PAIR + "\nself.act = nn.ReLU(inplace=True)",
        "return self.act(self.bn(self.conv(x)))",
    ),
    case("keyword inputs", PAIR, "return self.bn(input=self.conv(input=x))"),
    case(
        "a residual",
        "self.conv = nn.Conv2d(3, 3, 3, padding=1)\nself.bn = nn.BatchNorm2d(3)",
        "return x + self.bn(self.conv(x))",
    ),
    case("the shape is read", PAIR, "y = self.conv(x)\nn = y.shape[0]\nreturn self.bn(y).view(n, -1)"),
    case("an assertion on the shape", PAIR, "y = self.conv(x)\nassert y.dim() == 4\nreturn self.bn(y)"),
    case(
        "a chain of three",
        "self.c1 = nn.Conv2d(3, 4, 3)\nself.b1 = nn.BatchNorm2d(4)\nself.c2 = nn.Conv2d(4, 5, 3)\n"
        "self.b2 = nn.BatchNorm2d(5)",
        "x = F.relu(self.b1(self.c1(x)))\nreturn self.b2(self.c2(x))",
        2,
    ),
    case("in a branch", PAIR, "if x.dim() == 4:\n    return self.bn(self.conv(x))\nreturn x"),
    case("in an arm", PAIR, "return self.bn(self.conv(x)) if x.dim() == 4 else x"),
    case(
        "in a loop",
        "self.conv = nn.Conv2d(3, 3, 3, padding=1)\nself.bn = nn.BatchNorm2d(3)",
        "for _ in range(2):\n    x = torch.tanh(self.bn(self.conv(x)))\nreturn x",
    ),
    case(
        "in another method",
        PAIR,
        "return self.stem(x)",
        tail="    def stem(self, x):\n        return self.bn(self.conv(x))",
    ),
    case("walrus", PAIR, "return self.bn(y := self.conv(x))"),
    case(
        "the linear layer behind a flatten",
        "self.fc = nn.Linear(108, 8)\nself.n = nn.BatchNorm1d(8)",
        "return self.n(self.fc(x.flatten(1)))",
    ),
    case(
        "two heads of one conv each",
        "self.a = nn.Conv2d(3, 4, 3)\nself.b = nn.Conv2d(3, 4, 3)\nself.na = nn.BatchNorm2d(4)\n"
        "self.nb = nn.BatchNorm2d(4)",
        "return self.na(self.a(x)) * self.nb(self.b(x))",
        2,
    ),
    case("another name for self in forward", PAIR, "return this.bn(this.conv(x))", arguments="this, x"),
    case(
        "an aliased layer type",
        "self.conv = Conv(3, 8, 3)\nself.bn = Norm(8)",
        RUN,
        head="Conv = nn.Conv2d\nNorm = nn.BatchNorm2d",
    ),
]

SEQUENTIALS = [
    case(
        "a Sequential",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())",
        "return self.net(x)",
    ),
    case(
        "a Sequential over lines",
        """
self.net = nn.Sequential(
    nn.Conv2d(3, 8, 3),  # a
    # b
    nn.BatchNorm2d(8),
    nn.ReLU(inplace=True),
    nn.Conv2d(8, 8, 3, padding=1),
    nn.BatchNorm2d(8),
)
""",
        "return self.net(x)",
        2,
    ),
    case(
        "a nested Sequential",
        "self.net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), nn.ReLU())",
        "return self.net(x)",
    ),
    case(
        "an OrderedDict",
        """
self.net = nn.Sequential(
    OrderedDict([("conv", nn.Conv2d(3, 8, 3)), ("norm", nn.BatchNorm2d(8)), ("act", nn.ReLU())])
)
""",
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    case(
        "an OrderedDict over lines",
        """
self.net = nn.Sequential(
    OrderedDict(
        [
            ("conv", nn.Conv2d(3, 8, 3)),
            ("norm", nn.BatchNorm2d(8)),  # n
        ]
    )
)
""",
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    Case(
        "a Sequential subclass",
        "from torch import nn\n\n\nclass M(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())\n",
    ),
    Case(
        "a Sequential subclass over lines",
        """\
from torch import nn


class Block(nn.Sequential):
    def __init__(self, inputs, outputs, stride=1):
        padding = 1
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),  # in place would do
        )


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = Block(3, 4)
        self.two = Block(4, 4)

    def forward(self, x):
        return self.two(self.one(x))
""",
    ),
    case(
        "a linear stack",
        "self.net = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), "
        "nn.Linear(8, 4), nn.BatchNorm1d(4))",
        "return self.net(x)",
        2,
    ),
    case(
        "several in one class",
        "self.a = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))\n"
        "self.b = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))",
        "return self.a(x) + self.b(x)",
        2,
    ),
    case(
        "an element that is not known",
        "self.net = nn.Sequential(other(), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
        "return self.net(x)",
        head="def other():\n    return nn.Identity()",
    ),
]

HEAD = "import torch\nfrom torch import nn\n\n\n"
LAYOUTS = [
    case(
        "an exploded constructor",
        """
self.conv = nn.Conv2d(
    3,
    8,
    kernel_size=3,
)
self.bn = nn.BatchNorm2d(8)
""",
        RUN,
    ),
    case(
        "an exploded constructor with comments",
        """
self.conv = nn.Conv2d(  # a
    3,  # in
    8,  # out
    kernel_size=3,  # size
    # nothing more
)  # b
self.bn = nn.BatchNorm2d(8)  # c
""",
        RUN,
    ),
    case(
        "an exploded constructor without a last comma",
        """
self.conv = nn.Conv2d(
    3,
    8,
    kernel_size=3  # size
)
self.bn = nn.BatchNorm2d(8)
""",
        RUN,
    ),
    case(
        "arguments on one line of their own",
        """
self.conv = nn.Conv2d(
    3, 8, kernel_size=3, stride=1, padding=1, dilation=1, groups=1, padding_mode="zeros"
)
self.bn = nn.BatchNorm2d(8)
""",
        RUN,
    ),
    case(
        "a hanging indent",
        """
self.conv = nn.Conv2d(3, 8,
                      kernel_size=3)
self.bn = nn.BatchNorm2d(8)
""",
        RUN,
    ),
    case("a trailing comma on one line", "self.conv = nn.Conv2d(3, 8, 3,)\nself.bn = nn.BatchNorm2d(8,)", RUN),
    case(
        "a line that becomes too long",
        """
self.conv = nn.Conv2d(3, 8, kernel_size=3, stride=1, padding=1, dilation=1)
self.bn = nn.BatchNorm2d(8)
""",
        RUN,
    ),
    case(
        "a commented line that becomes too long",
        """
self.conv = nn.Conv2d(3, 8, kernel_size=3, stride=1, padding=1)  # keeps the size
self.bn = nn.BatchNorm2d(8)
""",
        RUN,
    ),
    case("backslashes", "self.conv = \\\n    nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)", RUN),
    case("annotated", "self.conv: nn.Module = nn.Conv2d(3, 8, 3)\nself.bn: nn.BatchNorm2d = nn.BatchNorm2d(8)", RUN),
    case(
        "a starred keyword afterwards is not there",
        "self.conv = nn.Conv2d(3, 8, (3, 3))\nself.bn = nn.BatchNorm2d(8)",
        RUN,
    ),
    Case("tabs", module(PAIR, RUN).replace("    ", "\t")),
    Case(
        "windows line ends",
        module("self.conv = nn.Conv2d(\n    3,\n    8,\n    3,  # size\n)\nself.bn = nn.BatchNorm2d(8)", RUN).replace(
            "\n", "\r\n"
        ),
    ),
    Case("old line ends", module(PAIR, RUN).replace("\n", "\r")),
    Case("a byte-order mark", "\ufeff" + module(PAIR, RUN)),
    Case("no newline at the end", module(PAIR, RUN).rstrip("\n")),
    Case("super with arguments", module(PAIR, RUN).replace("super().__init__()", "super(M, self).__init__()")),
    Case("super by name", module(PAIR, RUN).replace("super().__init__()", "nn.Module.__init__(self)")),
    Case(
        "other imports",
        """\
import torch.nn as tnn
from torch.nn import BatchNorm2d, Conv2d as Conv


class M(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv = Conv(3, 8, 3)
        self.bn = BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
    ),
    Case("functools has another name", "import functools as ft\n" + module(PAIR, RUN)),
    Case("partial is imported", "from functools import partial\n\n" + module(PAIR, RUN)),
    Case("functools is something else", module(PAIR, RUN, head="functools = 3")),
    Case("the hook is there, changed", module(PAIR, RUN, head="def _fold_bias_into_batch_norm():\n    pass")),
    Case(
        "an inherited forward",
        HEAD
        + """\
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))


class M(Base):
    pass
""",
    ),
    Case(
        "an inherited constructor",
        HEAD
        + """\
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)


class M(Base):
    def forward(self, x):
        return self.bn(self.conv(x))
""",
    ),
    Case(
        "two classes",
        HEAD
        + """\
class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Stem()
        self.conv = nn.Conv2d(8, 4, 1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.stem(x)
        return self.bn(self.conv(x))
""",
        2,
    ),
    case(
        "an initialiser that minds the bias",
        PAIR + "\nself.apply(self._init)",
        RUN,
        tail=(
            "    def _init(self, m):\n        if isinstance(m, nn.Conv2d):\n"
            "            nn.init.kaiming_normal_(m.weight)\n            if m.bias is not None:\n"
            "                nn.init.zeros_(m.bias)"
        ),
    ),
    case(
        "an initialiser of another type's bias",
        PAIR + "\nself.apply(self._init)",
        RUN,
        tail="    def _init(self, m):\n        if isinstance(m, nn.Linear):\n            nn.init.zeros_(m.bias)",
    ),
    case(
        "a guard in an expression",
        PAIR,
        RUN,
        tail="def biases(model):\n    return [m.bias for m in model.modules() if getattr(m, 'bias', None) is not None]",
    ),
    case("eval mode for evaluation", PAIR, RUN, tail="def evaluate(model, x):\n    model.eval()\n    return model(x)"),
]

POSITIVES = LAYERS + CALLS + SEQUENTIALS + LAYOUTS


def without_bias(text: str) -> int:
    calls = [node for node in ast.walk(ast.parse(text.removeprefix("\ufeff"))) if isinstance(node, ast.Call)]
    return sum(
        isinstance(value, ast.Constant) and value.value is False
        for call in calls
        for value in (*call.args[2:], *(keyword.value for keyword in call.keywords if keyword.arg == "bias"))
    )


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_dropped(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), tolerance=REORDERED)
    assert without_bias(result.text) == case.count, result.text
    assert len(result.applied) == case.count
    assert {finding.safety for finding in result.applied} == {Safety.CHECKPOINT}


@dataclass
class Miss:
    id: str
    text: str
    reason: str
    """A part of the reason; empty where the place need not even be a candidate."""


def miss(id: str, reason: str, init: str, forward: str, **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


NET = "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())"

CONSUMERS = [
    miss(
        "a norm without running statistics",
        "no running mean",
        "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8, track_running_stats=False)",
        "return self.bn(self.conv(x))",
    ),
    miss("a residual around the norm", "more than once", PAIR, "y = self.conv(x)\nreturn y + self.bn(y)"),
    miss("a residual, nested", "more than once", PAIR, "return (y := self.conv(x)) + self.bn(y)"),
    miss("returned too", "more than once", PAIR, "y = self.conv(x)\nreturn self.bn(y), y"),
    miss("kept in an attribute", "more than once", PAIR, "y = self.conv(x)\nself.last = y\nreturn self.bn(y)"),
    miss(
        "kept in a list", "more than once", PAIR, "seen = []\ny = self.conv(x)\nseen.append(y)\nreturn self.bn(y), seen"
    ),
    miss("kept in a dict", "more than once", PAIR, "y = self.conv(x)\nself.cache['y'] = y\nreturn self.bn(y)"),
    miss(
        "two norms",
        "more than once",
        PAIR + "\nself.bn2 = nn.BatchNorm2d(8)",
        "y = self.conv(x)\nreturn self.bn(y) + self.bn2(y)",
    ),
    miss("printed", "more than once", PAIR, "y = self.conv(x)\nprint(y)\nreturn self.bn(y)"),
    miss("in an f-string", "more than once", PAIR, "y = self.conv(x)\nself.log(f'{y}')\nreturn self.bn(y)"),
    miss("a test", "more than once", PAIR, "y = self.conv(x)\nif y.sum() > 0:\n    return x\nreturn self.bn(y)"),
    miss(
        "an assertion on values",
        "more than once",
        PAIR,
        "y = self.conv(x)\nassert not y.isnan().any()\nreturn self.bn(y)",
    ),
    miss("captured by a lambda", "more than once", PAIR, "y = self.conv(x)\nf = lambda: y\nreturn self.bn(y) + f()"),
    miss(
        "captured by a function",
        "more than once",
        PAIR,
        "y = self.conv(x)\n\ndef f():\n    return y\n\nreturn self.bn(y) + f()",
    ),
    miss(
        "captured by a comprehension",
        "more than once",
        PAIR,
        "y = self.conv(x)\nz = [y * i for i in range(2)]\nreturn self.bn(y) + z[1]",
    ),
    miss("yielded", "more than once", PAIR, "y = self.conv(x)\nyield y\nyield self.bn(y)"),
    miss("used after the norm", "more than once", PAIR, "y = self.conv(x)\nz = self.bn(y)\nreturn z - y"),
    miss(
        "used in a branch",
        "more than once",
        PAIR,
        "y = self.conv(x)\nif x.dim() == 3:\n    return y\nreturn self.bn(y)",
    ),
    miss("a norm in one branch", "", PAIR, "y = self.conv(x)\nif self.training:\n    y = self.bn(y)\nreturn y"),
    miss("a norm in one arm", "more than once", PAIR, "y = self.conv(x)\nreturn self.bn(y) if x.dim() == 4 else y"),
    miss("after a join", "", PAIR, "y = self.conv(x) if x.dim() == 4 else x\nreturn self.bn(y)"),
    miss("after a join of branches", "", PAIR, "y = x\nif x.dim() == 4:\n    y = self.conv(x)\nreturn self.bn(y)"),
    miss("after a loop", "", PAIR, "y = x\nfor _ in range(1):\n    y = self.conv(x)\nreturn self.bn(y)"),
    miss("with an or", "", PAIR, "return self.bn(self.conv(x) or x)"),
    miss("in-place between", "", PAIR, "y = self.conv(x)\ny.relu_()\nreturn self.bn(y)"),
    miss("an in-place operator between", "", PAIR, "y = self.conv(x)\ny += 1\nreturn self.bn(y)"),
    miss("an element written between", "", PAIR, "y = self.conv(x)\ny[:, 0] = 0\nreturn self.bn(y)"),
    miss("an activation between the two", "", PAIR, "return self.bn(F.relu(self.conv(x)))"),
    miss("a constant between", "", PAIR, "return self.bn(self.conv(x) * 2)"),
    miss("a pool between", "", PAIR, "return self.bn(F.max_pool2d(self.conv(x), 2))"),
    miss("a view between", "", PAIR, "return self.bn(self.conv(x).transpose(1, 2))"),
    miss("a mask between", "", PAIR, "y = self.conv(x)\nreturn self.bn(y.masked_fill(y > 3, 0))"),
]

OTHER_NORMS = [
    miss(f"a {name}", "", f"self.conv = nn.Conv2d(3, 8, 3)\nself.bn = {made}", RUN)
    for name, made in [
        ("group norm", "nn.GroupNorm(2, 8)"),
        ("layer norm", "nn.LayerNorm([8, 4, 4])"),
        ("instance norm", "nn.InstanceNorm2d(8)"),
        ("local response norm", "nn.LocalResponseNorm(2)"),
        ("norm of another library", "timm.layers.BatchNormAct2d(8)"),
        ("norm of the file", "FrozenBatchNorm2d(8)"),
        ("norm from a helper", "norm(8)"),
        ("norm of a setting", "(nn.BatchNorm2d if torch.cuda.is_available() else nn.GroupNorm)(8)"),
        ("lazy norm", "nn.LazyBatchNorm2d()"),
    ]
]

LAYER_MISSES = [
    miss("semicolons", "share a line", "self.conv = nn.Conv2d(3, 8, 3); self.bn = nn.BatchNorm2d(8)", RUN),
    miss(
        "a bias of a setting",
        "decided by an expression",
        "bias = torch.cuda.is_available()\nself.conv = nn.Conv2d(3, 8, 3, bias=bias)\nself.bn = nn.BatchNorm2d(8)",
        RUN,
    ),
    miss("no bias", "", "self.conv = nn.Conv2d(3, 8, 3, bias=False)\nself.bn = nn.BatchNorm2d(8)", RUN),
    miss(
        "no bias by position", "", "self.conv = nn.Conv2d(3, 8, 3, 1, 0, 1, 1, False)\nself.bn = nn.BatchNorm2d(8)", RUN
    ),
    miss(
        "arguments of a dict",
        "",
        "a = dict(bias=False)\nself.conv = nn.Conv2d(3, 8, 3, **a)\nself.bn = nn.BatchNorm2d(8)",
        RUN,
    ),
    miss("arguments of a tuple", "", "a = (3, 8, 3)\nself.conv = nn.Conv2d(*a)\nself.bn = nn.BatchNorm2d(8)", RUN),
    miss(
        "a norm's arguments of a dict",
        "",
        "a = dict(momentum=0.9)\nself.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8, **a)",
        RUN,
    ),
    miss(
        "the conv is called twice",
        "more than once",
        "self.conv = nn.Conv2d(3, 3, 3, padding=1)\nself.bn = nn.BatchNorm2d(3)",
        "return self.bn(self.conv(self.conv(x)))",
    ),
    miss(
        "the conv is called elsewhere",
        "more than once",
        PAIR,
        RUN,
        tail="    def raw(self, x):\n        return self.conv(x)",
    ),
    miss("the conv is called from outside", "touches", PAIR, RUN, tail="def raw(m, x):\n    return m.conv(x)"),
    miss(
        "the norm is shared",
        "more than once",
        "self.a = nn.Conv2d(3, 8, 3)\nself.b = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)",
        "return self.bn(self.a(x)) + self.bn(self.b(x))",
    ),
    miss(
        "the norm is called elsewhere",
        "more than once",
        PAIR,
        RUN,
        tail="    def again(self, y):\n        return self.bn(y)",
    ),
    miss("the norm is in eval mode", "beside its call", PAIR + "\nself.bn.eval()", RUN),
    miss(
        "the norm's statistics are read",
        "beside its call",
        PAIR,
        "m = self.bn.running_mean.mean()\nreturn self.bn(self.conv(x)) + m",
    ),
    miss("the bias is read", "beside its call", PAIR, "return self.bn(self.conv(x)) + self.conv.bias.sum()"),
    miss("the bias is initialised", "beside its call", PAIR + "\nnn.init.zeros_(self.conv.bias)", RUN),
    miss(
        "the bias is in a group of its own",
        "beside its call",
        PAIR,
        RUN,
        tail="    def groups(self):\n        return [self.conv.bias]",
    ),
    miss("a hook sees the output", "beside its call", PAIR + "\nself.conv.register_forward_hook(print)", RUN),
    miss(
        "a wrapped conv", "", "self.conv = nn.utils.weight_norm(nn.Conv2d(3, 8, 3))\nself.bn = nn.BatchNorm2d(8)", RUN
    ),
    miss("a conv made twice", "", PAIR + "\nself.conv = nn.Conv2d(3, 8, 3)", RUN),
    miss(
        "an optional norm",
        "",
        "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8) if torch.cuda.is_available() else nn.Identity()",
        RUN,
    ),
    miss(
        "a norm under a condition",
        "",
        "self.conv = nn.Conv2d(3, 8, 3)\nif torch.cuda.is_available():\n    self.bn = nn.BatchNorm2d(8)",
        RUN,
    ),
    miss(
        "a conv in a loop",
        "",
        "for _ in range(1):\n    self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)",
        RUN,
    ),
    Miss(
        "the norm's type is a parameter",
        module("self.conv = nn.Conv2d(3, 8, 3)\nself.bn = norm(8)", RUN).replace(
            "__init__(self)", "__init__(self, norm=nn.BatchNorm2d)"
        ),
        "",
    ),
    miss(
        "a subclass of the conv",
        "",
        "self.conv = Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)",
        RUN,
        head="class Conv2d(nn.Conv2d):\n    pass",
    ),
    miss("a lazy conv", "", "self.conv = nn.LazyConv2d(8, 3)\nself.bn = nn.BatchNorm2d(8)", RUN),
    miss(
        "lists of layers",
        "",
        "self.convs = nn.ModuleList([nn.Conv2d(3, 8, 3)])\nself.bns = nn.ModuleList([nn.BatchNorm2d(8)])",
        "return self.bns[0](self.convs[0](x))",
    ),
    miss(
        "output sizes of a transposed convolution",
        "not called with one input",
        "self.conv = nn.ConvTranspose2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)",
        "return self.bn(self.conv(x, output_size=(8, 8)))",
    ),
    miss(
        "a linear layer on sequences",
        "second dimension",
        "self.e = nn.Embedding(9, 16)\nself.fc = nn.Linear(16, 5)\nself.bn = nn.BatchNorm1d(5)",
        "return self.bn(self.fc(self.e(x)))",
    ),
    miss(
        "a linear layer on a view of three",
        "second dimension",
        "self.fc = nn.Linear(16, 5)\nself.bn = nn.BatchNorm1d(5)",
        "return self.bn(self.fc(x.view(2, 5, 16)))",
    ),
    miss(
        "a linear layer before a norm of images",
        "",
        "self.fc = nn.Linear(16, 5)\nself.bn = nn.BatchNorm2d(5)",
        RUN.replace("conv", "fc"),
    ),
    miss("a convolution of another rank", "", "self.conv = nn.Conv1d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)", RUN),
    miss("a functional norm", "", PAIR, "return F.batch_norm(self.conv(x), self.bn.running_mean, self.bn.running_var)"),
    miss("a functional convolution", "", PAIR, "return self.bn(F.conv2d(x, self.conv.weight, self.conv.bias))"),
    Miss(
        "another name in __init__",
        module(PAIR.replace("self", "this"), RUN).replace("__init__(self)", "__init__(this)"),
        "",
    ),
    Miss(
        "the layers are made in two classes",
        """\
from torch import nn


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)


class M(Base):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
        "different classes",
    ),
    Miss(
        "a subclass that calls the conv",
        module(PAIR, RUN, tail="class N(M):\n    def forward(self, x):\n        return self.conv(x)"),
        "more than once",
    ),
    Miss(
        "a subclass that replaces the norm",
        module(
            PAIR,
            RUN,
            tail="class N(M):\n    def __init__(self):\n        super().__init__()\n        self.bn = nn.Identity()",
        ),
        "",
    ),
    Miss(
        "a subclass that has another forward",
        module(PAIR, RUN, tail="class N(M):\n    def forward(self, x):\n        return self.bn(F.relu(self.conv(x)))"),
        "more than once",
    ),
    Miss("an unknown base", module(PAIR, RUN, head="from somewhere import Base").replace("(nn.Module)", "(Base)"), ""),
    Miss(
        "an unknown mixin",
        module(PAIR, RUN, head="from somewhere import Mixin").replace("(nn.Module)", "(nn.Module, Mixin)"),
        "Mixin",
    ),
    Miss("a metaclass", module(PAIR, RUN).replace("nn.Module)", "nn.Module, metaclass=Meta)"), "metaclass"),
]

FILES = [
    miss(
        "an initialiser that needs the bias",
        "without asking",
        PAIR + "\nself.apply(self._init)",
        RUN,
        tail="    def _init(self, m):\n        if isinstance(m, nn.Conv2d):\n            nn.init.zeros_(m.bias)",
    ),
    miss(
        "a walk that needs the bias",
        "without asking",
        PAIR,
        RUN,
        tail=(
            "def reset(model):\n    for m in model.modules():\n        if hasattr(m, 'weight'):\n"
            "            m.bias.data.zero_()"
        ),
    ),
    miss(
        "a walk over several types",
        "without asking",
        PAIR,
        RUN,
        tail=(
            "def reset(model):\n    for m in model.modules():\n"
            "        if isinstance(m, (nn.Linear, nn.Conv2d)):\n"
            "            nn.init.constant_(m.bias, 0)"
        ),
    ),
    miss(
        "a fold of the norm",
        "",
        PAIR,
        RUN,
        tail="def fold(conv, bn):\n    return (conv.bias - bn.running_mean) / bn.running_var",
    ),
    miss(
        "the norm is frozen in train",
        "eval mode",
        PAIR,
        RUN,
        tail=(
            "    def train(self, mode=True):\n        super().train(mode)\n"
            "        for m in self.modules():\n            if isinstance(m, nn.BatchNorm2d):\n"
            "                m.eval()"
        ),
    ),
    miss(
        "the norm is frozen by a function",
        "",
        PAIR,
        RUN,
        tail=(
            "def freeze(m):\n    if isinstance(m, nn.BatchNorm2d):\n        m.eval()\n\n\n"
            "def setup(model):\n    model.apply(freeze)"
        ),
    ),
    miss(
        "the norm is frozen by train(False)",
        "",
        PAIR,
        RUN,
        tail=(
            "def freeze(model):\n    for m in model.modules():\n"
            "        if isinstance(m, nn.BatchNorm2d):\n            m.train(False)"
        ),
    ),
    miss(
        "the norm is frozen by its flag",
        "",
        PAIR,
        RUN,
        tail=(
            "def freeze(model):\n    for m in model.modules():\n"
            "        if isinstance(m, nn.BatchNorm2d):\n            m.training = False"
        ),
    ),
    miss(
        "the norm is frozen by its class name",
        "",
        PAIR,
        RUN,
        tail=(
            "def freeze(model):\n    for m in model.modules():\n"
            "        if 'BatchNorm' in m.__class__.__name__:\n            m.eval()"
        ),
    ),
    miss(
        "the key is named",
        "names",
        PAIR,
        RUN,
        tail="def convert(sd):\n    sd['conv.bias'] = sd.pop('stem.bias')\n    return sd",
    ),
    miss("getattr", "computed name", PAIR, RUN, tail="    def layer(self, name):\n        return getattr(self, name)"),
    miss("_modules", "_modules", PAIR, RUN, tail="def names(m):\n    return list(m._modules)"),
    miss(
        "children",
        "walks the layers",
        PAIR,
        "for layer in self.children():\n    x = layer(x)\nreturn self.bn(self.conv(x))",
    ),
    miss(
        "the layers are fed to a Sequential",
        "",
        PAIR,
        RUN,
        tail="def head(m):\n    return nn.Sequential(*list(m.children())[:-1])",
    ),
    miss(
        "features by create_feature_extractor",
        "",
        PAIR,
        RUN,
        head="from torchvision.models.feature_extraction import create_feature_extractor",
        tail='def features(m):\n    return create_feature_extractor(m, ["conv"])',
    ),
]

SEQUENTIAL_MISSES = [
    miss("indexed", "beside its call", NET, "return self.net[0](x)"),
    miss("sliced", "beside its call", NET, "return self.net[:1](x) + self.net[1:](self.net[:1](x))"),
    miss("iterated", "beside its call", NET, "for layer in self.net:\n    x = layer(x)\nreturn x"),
    miss(
        "indexed elsewhere",
        "beside its call",
        NET,
        "return self.net(x)",
        tail="    def first(self):\n        return self.net[0]",
    ),
    miss("indexed from outside", "touches", NET, "return self.net(x)", tail="def first(m):\n    return m.net[0]"),
    miss("its bias is read", "", NET, "return self.net(x) + self.net[0].bias.sum()"),
    miss("hooked", "", NET + "\nself.net[0].register_forward_hook(print)", "return self.net(x)"),
    miss("extended", "beside its call", NET + "\nself.net.append(nn.Tanh())", "return self.net(x)"),
    miss(
        "an element given to another",
        "",
        "conv = nn.Conv2d(3, 8, 3)\nself.conv = conv\nself.net = nn.Sequential(conv, nn.BatchNorm2d(8))",
        "return self.net(x) + self.conv(x)",
    ),
    miss(
        "an element kept by a walrus",
        "",
        "self.net = nn.Sequential(conv := nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\nself.conv = conv",
        "return self.net(x) + self.conv(x)",
    ),
    miss(
        "another container",
        "",
        "self.net = nn.ModuleList([nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)])",
        "return self.net[1](self.net[0](x))",
    ),
    miss(
        "an activation between",
        "",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))",
        "return self.net(x)",
    ),
    miss(
        "a starred element between",
        "",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), *more(), nn.BatchNorm2d(8))",
        "return self.net(x)",
    ),
    miss(
        "a name between",
        "",
        "act = nn.ReLU()\nself.net = nn.Sequential(nn.Conv2d(3, 8, 3), act, nn.BatchNorm2d(8))",
        "return self.net(x)",
    ),
    miss(
        "an element of a setting between",
        "",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), "
        "nn.ReLU() if torch.cuda.is_available() else nn.Identity(), nn.BatchNorm2d(8))",
        "return self.net(x)",
    ),
    miss(
        "an unknown call between",
        "",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), act(), nn.BatchNorm2d(8))",
        "return self.net(x)",
        head="from somewhere import act",
    ),
    miss(
        "a name between in an OrderedDict",
        "",
        "act = nn.ReLU()\n"
        "self.net = nn.Sequential(OrderedDict([('a', nn.Conv2d(3, 8, 3)), ('b', act), ('c', nn.BatchNorm2d(8))]))",
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    miss(
        "repeated keys in an OrderedDict",
        "",
        "self.net = nn.Sequential(OrderedDict([('a', nn.Conv2d(3, 8, 3)), "
        "('b', nn.BatchNorm2d(8)), ('a', nn.ReLU())]))",
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    miss(
        "a parallel container of the file",
        "",
        "self.net = Parallel(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
        "return self.net(x)",
        head="class Parallel(nn.Sequential):\n    def forward(self, x):\n        return [layer(x) for layer in self]",
    ),
    Miss(
        "a subclass of Sequential with a forward",
        "from torch import nn\n\n\nclass M(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n\n"
        "    def forward(self, x):\n        return self[0](x)\n",
        "reaches into itself",
    ),
    Miss(
        "a subclass of Sequential with a forward that iterates",
        "from torch import nn\n\n\nclass M(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n\n"
        "    def forward(self, x):\n        return [layer(x) for layer in self]\n",
        "reaches into itself",
    ),
    Miss(
        "a subclass of that",
        "from torch import nn\n\n\nclass M(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n\n\nclass N(M):\n"
        "    def forward(self, x):\n        return [layer(x) for layer in self]\n",
        "",
    ),
    Miss(
        "the Sequential is shared by a subclass",
        module(NET, "return self.net(x)", tail="class N(M):\n    def forward(self, x):\n        return self.net[0](x)"),
        "",
    ),
]

# The same with a linear layer, which has another batch norm and another way to its channels.
LINEAR_CONSUMERS = [
    Miss(
        f"linear: {one.id}",
        one.text.replace("nn.Conv2d(3, 8, 3)", "nn.Linear(3, 8)").replace("BatchNorm2d", "BatchNorm1d"),
        one.reason,
    )
    for one in CONSUMERS
]

# And in one dimension, where a norm takes both (N, C) and (N, C, L).
SEQUENCE_CONSUMERS = [
    Miss(
        f"one dimension: {one.id}",
        one.text.replace("Conv2d", "Conv1d").replace("BatchNorm2d", "BatchNorm1d"),
        one.reason,
    )
    for one in CONSUMERS[:15]
]

NEGATIVES = CONSUMERS + LINEAR_CONSUMERS + SEQUENCE_CONSUMERS + OTHER_NORMS + LAYER_MISSES + FILES + SEQUENTIAL_MISSES


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        ("for i, p in enumerate(self.parameters()):\n    p.requires_grad = i > 2", False),
        ("for p in list(self.parameters())[:3]:\n    p.requires_grad = False", False),
        ("k = 0\nfor p in self.parameters():\n    k += 1\n    p.requires_grad = k > 2", False),
        ("it = iter(self.parameters())\nnext(it).requires_grad = False", False),
        ("ps = list(self.parameters())\nps[3].requires_grad_(False)", False),
        ("first, *rest = self.parameters()", False),
        ("total = sum(p.numel() for p in self.parameters())", True),
        ("for p in self.parameters():\n    p.requires_grad = True", True),
        ("device = next(self.parameters()).device", True),
        ("ps = self.parameters()\nself.optimiser = torch.optim.SGD(ps, lr=0.1)", True),
    ],
)
def test_a_parameter_that_goes_moves_those_behind_it(lines: str, offered: bool) -> None:
    analysis = Analysis(module(f"{PAIR}\n{lines}", RUN))
    assert [finding.code for finding in analysis.findings if finding.code == CODE] == [CODE] * offered
    reasons = [finding.refused or "" for finding in analysis.refusals if finding.code == CODE]
    assert offered or any("by position" in reason for reason in reasons), reasons


def test_there_are_more_near_misses_than_matches() -> None:
    assert len(NEGATIVES) >= 2 * len(POSITIVES)


@pytest.mark.parametrize(
    "head",
    [
        "from transformers import PreTrainedModel",
        "from safetensors.torch import load_file",
        "import torch.distributed.checkpoint as dcp",
    ],
)
def test_breaking_where_checkpoints_load_past_hooks(head: str) -> None:
    (finding,) = [one for one in Analysis(module(PAIR, RUN, head=head)).findings if one.code == CODE]
    assert finding.safety is Safety.BREAKING


def test_a_generated_file_is_reported_without_an_edit() -> None:
    analysis = Analysis("# This file was automatically generated from modular_m.py, do not edit\n" + module(PAIR, RUN))
    (finding,) = [one for one in analysis.findings if one.code == CODE]
    assert analysis.fix(finding) is None
    assert finding.withheld is not None
    assert "modular_m.py" in finding.withheld
