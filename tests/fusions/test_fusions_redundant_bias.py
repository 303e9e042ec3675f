"""Biases before a norm in every seat that a `nn.Sequential` has: local, returned, appended, in lists, conditional."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

IMAGE: Inputs = ((4, 3, 8, 8),)
CODES = frozenset({"FUS101"})


@dataclass
class Case:
    """One file; `count` biases are dropped, and as many hooks as `hooks` registered."""

    id: str
    text: str
    count: int = 1
    hooks: int = 1
    inputs: Inputs = IMAGE


def case(
    id: str,
    init: str,
    forward: str = "return self.net(x)",
    count: int = 1,
    hooks: int = 1,
    inputs: Inputs = IMAGE,
    **around: str,
) -> Case:
    return Case(id, module(init, forward, **around), count, hooks, inputs)


MAKER = """
def conv_bn(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
"""

RETURNED = [
    case("from a function", "self.net = conv_bn(3, 8)", head=MAKER),
    case(
        "several calls of the function",
        "self.net = nn.Sequential(conv_bn(3, 8), conv_bn(8, 8, 2), nn.AdaptiveAvgPool2d(1))",
        head=MAKER,
    ),
    case(
        "in an OrderedDict",
        'self.net = nn.Sequential(OrderedDict([("stem", conv_bn(3, 8)), ("body", conv_bn(8, 4))]))',
        head="from collections import OrderedDict\n\n" + MAKER,
    ),
    case(
        "collected in a list",
        "layers = [conv_bn(3, 8)]\nfor _ in range(2):\n    layers.append(conv_bn(8, 8))\n"
        "self.net = nn.Sequential(*layers)",
        head=MAKER,
    ),
    case(
        "collected in a list of self",
        "self.layers = [conv_bn(3, 8)]\nself.layers.append(conv_bn(8, 4))\nself.net = nn.Sequential(*self.layers)",
        head=MAKER,
    ),
    case(
        "called in a loop over a ModuleList",
        "self.blocks = nn.ModuleList([conv_bn(3, 8), conv_bn(8, 8)])",
        "for block in self.blocks:\n    x = block(x)\nreturn x",
        head=MAKER,
    ),
    case(
        "from a method",
        "self.net = self._block(3, 8)",
        tail="    def _block(self, a, b):\n"
        "        return nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU())",
    ),
    case(
        "from a static method",
        "self.net = self._block(3, 8)",
        tail="    @staticmethod\n    def _block(a, b):\n"
        "        return nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b))",
    ),
    case(
        "from nested functions",
        """
def conv_bn(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU())

def conv_dw(a, b):
    return nn.Sequential(
        nn.Conv2d(a, a, 3, groups=a),  # depthwise
        nn.BatchNorm2d(a),
        nn.ReLU(),
        nn.Conv2d(a, b, 1),
        nn.BatchNorm2d(b),
        nn.ReLU(),
    )

self.net = nn.Sequential(conv_bn(3, 8), conv_dw(8, 4))
""",
        count=3,
        hooks=2,
    ),
    case(
        "from a function with branches",
        "self.net = nn.Sequential(make(3, 8, True), make(8, 4, False))",
        count=2,
        hooks=2,
        head="""
def make(a, b, wide):
    if wide:
        return nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b))
    else:
        return nn.Sequential(nn.Conv2d(a, b, 1), nn.BatchNorm2d(b))
""",
    ),
    case(
        "under the name that a new variable would have",
        "self.net = make(3)",
        head="def make(unit):\n    return nn.Sequential(nn.Conv2d(unit, 8, 3), nn.BatchNorm2d(8))",
    ),
    case(
        "nested",
        "self.net = make(3)",
        head="def make(a):\n    return nn.Sequential(nn.Sequential(nn.Conv2d(a, 8, 3), nn.BatchNorm2d(8)), nn.ReLU())",
    ),
    case(
        "of a list",
        "self.net = make(3)",
        count=2,
        head="""
def make(a):
    layers = []
    for width in (8, 4):
        layers += [nn.Conv2d(a, width, 3), nn.BatchNorm2d(width), nn.ReLU()]
        a = width
    layers.append(nn.Conv2d(a, 2, 1))
    layers.append(nn.BatchNorm2d(2))
    return nn.Sequential(*layers)
""",
    ),
    case(
        "handed on by another function",
        "self.net = outer(3)",
        head=MAKER + "\n\ndef outer(a):\n    return nn.Sequential(conv_bn(a, 8), nn.Conv2d(8, 4, 1))",
    ),
    case(
        "of an OrderedDict",
        "self.net = make(3)",
        head="""
from collections import OrderedDict


def make(a):
    return nn.Sequential(
        OrderedDict([("conv", nn.Conv2d(a, 8, 3)), ("bn", nn.BatchNorm2d(8)), ("relu", nn.LeakyReLU(0.1))])
    )
""",
    ),
    case(
        "with a comment",
        "self.net = make(3)",
        head="""
def make(a):
    # one
    return nn.Sequential(  # two
        nn.Conv2d(a, 8, 3),  # three
        nn.BatchNorm2d(8),
    )  # four
""",
    ),
    case(
        "aligned below the bracket",
        "self.net = make(3)",
        head="def make(a):\n    return nn.Sequential(nn.Conv2d(a, 8, 3),\n                         nn.BatchNorm2d(8))",
    ),
    case(
        "a ModuleList",
        "self.nets = make(3)",
        "return sum(net(x).mean() for net in self.nets) * x",
        head="def make(a):\n"
        "    return nn.ModuleList([nn.Sequential(nn.Conv2d(a, 8, 3), nn.BatchNorm2d(8)) for _ in range(2)])",
    ),
]

HELD = [
    case("a local variable", "net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\nself.net = net"),
    case(
        "a local variable, handed on in another Sequential",
        "stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\nself.net = nn.Sequential(stem, nn.ReLU())",
    ),
    case(
        "under a condition",
        "self.net = nn.Identity()\nif len(torch.__version__) > 1:\n"
        "    self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
    ),
    case(
        "the shortcut of a residual block",
        """
stride, inputs, outputs = 1, 3, 8
self.conv = nn.Conv2d(inputs, outputs, 1)
self.shortcut = nn.Sequential()
if stride != 1 or inputs != outputs:
    self.shortcut = nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride),
        nn.BatchNorm2d(outputs)
    )
""",
        "return self.conv(x) + self.shortcut(x)",
    ),
    case(
        "in both branches",
        """
if len(torch.__version__) > 1:
    self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
else:
    self.net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
""",
        count=2,
        hooks=2,
    ),
    case(
        "or nothing",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)) if len("
        "torch.__version__) > 1 else nn.Identity()",
    ),
    case(
        "made in another method",
        "self.build()",
        tail="    def build(self):\n        self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
    ),
    case(
        "under another name of self",
        "self.build()",
        tail="    def build(this):\n        this.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
    ),
    case(
        "two pairs of one Sequential",
        """
net = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)
)
self.net = net
""",
        count=2,
    ),
    case(
        "appended to a list",
        """
blocks = []
for width in (3, 8):
    blocks.append(nn.Sequential(nn.Conv2d(width, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))
self.net = nn.Sequential(*blocks)
""",
    ),
    case(
        "appended to a ModuleList",
        """
self.blocks = nn.ModuleList()
for width in (3, 8):
    self.blocks.append(nn.Sequential(nn.Conv2d(width, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))
""",
        "for block in self.blocks:\n    x = block(x)\nreturn x",
    ),
    case(
        "in a ModuleList",
        """
self.blocks = nn.ModuleList([
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)),
    nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)),
])
""",
        "for block in self.blocks:\n    x = block(x)\nreturn self.blocks[-1](x)",
        count=2,
    ),
    case(
        "in a ModuleList by comprehension",
        "self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)) for _ in range(2)])",
        "for i, block in enumerate(self.blocks):\n    x = block(x)\nreturn x",
    ),
    case(
        "in a ModuleList by a generator",
        "n = nn\nself.blocks = nn.ModuleList(\n"
        "    nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for i in 'ab'\n)",
        "for i in range(2):\n    x = self.blocks[i](x)\nreturn x",
    ),
    case(
        "a linear stack in a list",
        "layers = []\nfor a, b in ((16, 8), (8, 4)):\n    layers.append(nn.Linear(a, b))\n"
        "    layers.append(nn.BatchNorm1d(b))\n    layers.append(nn.ReLU())\nself.net = nn.Sequential(*layers)",
        inputs=((6, 16),),
    ),
]

WRAPPER = """
class Residual(nn.Module):
    def __init__(self, fn, scale=1.0):
        super().__init__()
        self.fn = fn
        self.scale = scale

    def forward(self, x):
        return self.fn(x) * self.scale + x
"""

HELD += [
    case(
        "a local variable wrapped by a class of the file",
        "net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))\nself.net = Residual(net)",
        head=WRAPPER,
    ),
    case(
        "a local variable wrapped by keyword",
        "net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))\nself.net = Residual(scale=2.0, fn=net)",
        head=WRAPPER,
    ),
    case(
        "a result that a function of the file wraps",
        "self.net = twice(conv_bn(3, 3))",
        head=MAKER + "\n\ndef twice(net):\n    return nn.Sequential(net, nn.Sigmoid())",
    ),
]

HELD += [
    case(
        "run on several devices",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\nself.n = 0",
        "if self.n > 1:\n    return nn.parallel.data_parallel(self.net, x, range(self.n))\nreturn self.net(x)",
    ),
    case(
        "run on several devices, made under a condition",
        "self.n = 0\nif self.n == 0:\n    self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
        "if self.n > 1:\n    return nn.parallel.data_parallel(self.net, x, range(self.n))\nreturn self.net(x)",
    ),
]

LISTS = [
    case("a list", "layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]\nself.net = nn.Sequential(*layers)"),
    case(
        "a list that grows",
        """
model = [nn.ReflectionPad2d(3), nn.Conv2d(3, 8, 7), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]

# down
for i in range(2):
    model += [
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
    ]
model += [nn.Conv2d(8, 3, 1), nn.Tanh()]
self.net = nn.Sequential(*model)
""",
        count=2,
    ),
    case(
        "a list and appends",
        "layers = [nn.Conv2d(3, 8, 3)]\nlayers.append(nn.BatchNorm2d(8))\nself.net = nn.Sequential(*layers)",
    ),
    case(
        "a list in a branch",
        """
layers = []
a = 3
for v in [4, "M", 8]:
    if v == "M":
        layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
    else:
        layers += [nn.Conv2d(a, v, kernel_size=3, padding=1), nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
        a = v
self.net = nn.Sequential(*layers)
""",
    ),
    case(
        "a list in two branches, with and without a norm",
        """
layers = []
if len(torch.__version__) > 1:
    layers += [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
else:
    layers += [nn.Conv2d(3, 8, 3), nn.ReLU()]
self.net = nn.Sequential(*layers)
""",
    ),
    case(
        "extended",
        "layers = []\nlayers.extend([nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)])\nself.net = nn.Sequential(*layers)",
    ),
    case(
        "annotated",
        "layers: list[nn.Module] = []\nlayers += [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]\n"
        "self.net = nn.Sequential(*layers)",
    ),
    case(
        "a starred list",
        "self.net = nn.Sequential(*[nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()])",
    ),
    case(
        "the list is made in another method",
        "self.net = self._make_layers([4, 'M', 8])",
        tail="""
    def _make_layers(self, cfg):
        layers = []
        in_channels = 3
        for x in cfg:
            if x == 'M':
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [nn.Conv2d(in_channels, x, kernel_size=3, padding=1),
                           nn.BatchNorm2d(x),
                           nn.ReLU(inplace=True)]
                in_channels = x
        layers += [nn.AvgPool2d(kernel_size=1, stride=1)]
        return nn.Sequential(*layers)
""",
    ),
    Case(
        "a subclass of Sequential with a list",
        """\
from torch import nn


class M(nn.Sequential):
    def __init__(self):
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]
        layers.append(nn.ReLU())
        super().__init__(*layers)
""",
    ),
]

CLASSES = [
    Case(
        "the double convolution of a U-Net",
        """\
import torch
from torch import nn


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.MaxPool2d(2), DoubleConv(3, 4))
        self.stem = DoubleConv(4, 4)

    def forward(self, x):
        return self.stem(self.down(x))
""",
        2,
        2,
    ),
    Case(
        "the functions of a YOLO",
        """\
from collections import OrderedDict

import torch.nn as nn


def conv2d(filter_in, filter_out, kernel_size, stride=1):
    pad = (kernel_size - 1) // 2 if kernel_size else 0
    return nn.Sequential(OrderedDict([
        ("conv", nn.Conv2d(filter_in, filter_out, kernel_size=kernel_size, stride=stride, padding=pad)),
        ("bn", nn.BatchNorm2d(filter_out)),
        ("relu", nn.LeakyReLU(0.1)),
    ]))


def make_three_conv(filters_list, in_filters):
    m = nn.Sequential(
        conv2d(in_filters, filters_list[0], 1),
        conv2d(filters_list[0], filters_list[1], 3),
        conv2d(filters_list[1], filters_list[0], 1),
    )
    return m


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = make_three_conv([4, 8], 3)
        self.head = nn.Sequential(conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))

    def forward(self, x):
        return self.head(self.conv1(x))
""",
    ),
    Case(
        "attributes and a returned Sequential of one file",
        MAKER.strip().replace("def conv_bn", "from torch import nn\n\n\ndef conv_bn", 1)
        + """


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 4)
        self.conv = nn.Conv2d(4, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(self.stem(x)))
""",
        2,
        2,
    ),
]

POSITIVES = RETURNED + HELD + LISTS + CLASSES


def dropped(text: str) -> int:
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    given = [keyword for call in calls for keyword in call.keywords if keyword.arg == "bias"]
    return sum(isinstance(one.value, ast.Constant) and one.value.value is False for one in given)


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_dropped(case: Case) -> None:
    result = equivalent(
        case.text, case.inputs, codes=CODES, tolerance=REORDERED, deep="returned" in case.id or case.id == "a list"
    )
    assert dropped(result.text) == case.count, result.text
    assert result.text.count("register_load_state_dict_pre_hook(") == case.hooks, result.text
    assert {finding.safety for finding in result.applied} == {Safety.CHECKPOINT}


@dataclass
class Miss:
    id: str
    text: str
    reason: str


def miss(id: str, reason: str, init: str, forward: str = "return self.net(x)", **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


HEADED = "self.net = conv_bn(3, 8)"
LOCAL = "net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())\n"
LIST = "layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]\n"

TAKEN_APART = [
    miss("the result is indexed", "taken apart", HEADED, "return self.net[0](x)", head=MAKER),
    miss("the result is sliced", "taken apart", HEADED, "return self.net[:2](x)", head=MAKER),
    miss("the result is iterated", "taken apart", HEADED, "for m in self.net:\n    x = m(x)\nreturn x", head=MAKER),
    miss("the result is unpacked", "taken apart", "self.net = nn.Sequential(*conv_bn(3, 8))", head=MAKER),
    miss("the result is unpacked into names", "taken apart", "self.c, self.b, self.r = conv_bn(3, 8)", head=MAKER),
    miss("its children are listed", "taken apart", "self.net = nn.Sequential(*conv_bn(3, 8).children())", head=MAKER),
    miss("the result is indexed at once", "taken apart", "self.net = conv_bn(3, 8)[0]", head=MAKER),
    miss("the result is made a list", "may look into it", "self.net = nn.ModuleList(list(conv_bn(3, 8)))", head=MAKER),
    miss("the result goes to an unknown call", "may look into it", "self.net = wrap(conv_bn(3, 8))", head=MAKER),
    miss("the result goes to a keyword", "", "self.net = Wrap(body=conv_bn(3, 8))", head=MAKER),
    miss("the function is handed around", "handed around", "self.net = make(conv_bn)", head=MAKER),
    miss("the function is decorated", "decorated", HEADED, head=MAKER.replace("def", "@register\ndef")),
    miss(
        "a property returns it",
        "decorated",
        "pass",
        "return self.block(x)",
        tail="    @property\n    def block(self):\n        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
    ),
    miss(
        "taken apart behind two functions",
        "taken apart",
        "self.net = outer(3)[1]",
        head=MAKER + "\n\ndef outer(a):\n    net = conv_bn(a, 8)\n    return net",
    ),
    miss(
        "taken apart behind a Sequential",
        "taken apart",
        "self.net = nn.Sequential(conv_bn(3, 8), nn.ReLU())",
        "return self.net[0][0](x)",
        head=MAKER,
    ),
    miss(
        "taken apart in another class",
        "taken apart",
        HEADED,
        head=MAKER,
        tail="class N(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.stem = conv_bn(3, 4)\n\n"
        "    def forward(self, x):\n        return self.stem[1](x)",
    ),
    miss("the bias is read", "taken apart", HEADED + "\nnn.init.zeros_(self.net[0].bias)", head=MAKER),
    miss("hooked", "", HEADED + "\nself.net[0].register_forward_hook(print)", head=MAKER),
    miss(
        "an initialiser that needs the bias",
        "without asking",
        HEADED,
        head=MAKER,
        tail="def init(m):\n    if isinstance(m, nn.Conv2d):\n        nn.init.zeros_(m.bias)",
    ),
    miss(
        "an initialiser that needs the bias of an attribute's element",
        "without asking",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\nself.apply(init)",
        head="def init(m):\n    if isinstance(m, nn.Conv2d):\n        nn.init.zeros_(m.bias)",
    ),
    miss(
        "frozen",
        "eval mode",
        HEADED,
        head=MAKER,
        tail="def freeze(m):\n    if isinstance(m, nn.BatchNorm2d):\n        m.eval()",
    ),
    miss(
        "children of the model",
        "walks",
        HEADED,
        head=MAKER,
        tail="def f(m):\n    return nn.Sequential(*list(m.children())[:1])",
    ),
    miss("a computed name", "computed name", HEADED, head=MAKER, tail="def f(m, n):\n    return getattr(m, n)"),
    miss(
        "a class reads checkpoints its own way",
        "its own way",
        HEADED,
        head=MAKER,
        tail="    def load_state_dict(self, state, strict=True):\n        return super().load_state_dict(state, False)",
    ),
    miss(
        "a lambda makes it",
        "share a line",
        "make = lambda a: nn.Sequential(nn.Conv2d(a, 8, 3), nn.BatchNorm2d(8))\nself.net = make(3)",
    ),
    miss(
        "a generator yields it",
        "",
        "self.net = nn.Sequential(*make())",
        head="def make():\n    yield nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
    ),
    miss(
        "a tuple is returned",
        "not known who holds",
        "self.net, _ = make()",
        head=("def make():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), 8"),
    ),
    miss(
        "one line",
        "share a line",
        "self.net = make()",
        head=("def make(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))"),
    ),
]

HELD_MISSES = [
    miss(
        "made where a class of the file gets it",
        "not known who holds",
        "self.net = Residual(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))",
        head=WRAPPER,
    ),
    miss(
        "wrapped by a class that looks into it",
        "taken apart",
        LOCAL + "self.net = Wrap(net)",
        head="class Wrap(nn.Module):\n    def __init__(self, fn):\n        super().__init__()\n        self.fn = fn\n\n"
        "    def forward(self, x):\n        return self.fn[0](x)",
    ),
    miss(
        "wrapped by a class that keeps a part",
        "taken apart",
        LOCAL + "self.net = Wrap(net)",
        head="class Wrap(nn.Module):\n    def __init__(self, fn):\n        super().__init__()\n"
        "        self.fn = fn[:1]\n\n"
        "    def forward(self, x):\n        return self.fn(x)",
    ),
    miss(
        "wrapped by a function that iterates",
        "taken apart",
        "self.net = wrap(conv_bn(3, 8))",
        head=MAKER + "\n\ndef wrap(net):\n    return nn.ModuleList([m for m in net])",
    ),
    miss(
        "wrapped by a class with starred arguments",
        "may look into it",
        LOCAL + "self.net = Wrap(net)",
        head="class Wrap(nn.Module):\n    def __init__(self, *fns):\n        super().__init__()\n"
        "        self.fns = fns",
    ),
    miss(
        "a local is indexed",
        "taken apart",
        LOCAL + "self.conv, self.bn = net[0], net[1]",
        "return self.bn(self.conv(x))",
    ),
    miss("a local is iterated", "taken apart", LOCAL + "self.net = nn.ModuleList([m for m in net])", "return x"),
    miss("a local is unpacked", "taken apart", LOCAL + "self.net = nn.Sequential(*net, nn.ReLU())"),
    miss("a local is handed to a call", "may look into it", LOCAL + "self.net = wrap(net)"),
    miss("a local is put into eval mode", "taken apart", LOCAL + "net.eval()\nself.net = net"),
    miss("a local is captured", "", LOCAL + "self.f = lambda x: net[0](x)\nself.net = net"),
    miss("held by an attribute that is indexed", "taken apart", LOCAL + "self.net = net", "return self.net[0](x)"),
    miss(
        "handed to a block",
        "may look into it",
        LOCAL + "self.net = Block(3, 8, net)",
        head="from somewhere import Block",
    ),
    miss(
        "conditional and indexed",
        "taken apart",
        "if torch.cuda.is_available():\n    self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
        "return self.net[1](self.net[0](x))",
    ),
    miss(
        "conditional and named by a string",
        "names",
        "if torch.cuda.is_available():\n    self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))",
        tail="def f(m):\n    return m.get_submodule('net.0')",
    ),
    miss(
        "or None",
        "not known who holds",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)) if torch.cuda.is_available() else None",
    ),
    miss(
        "a dictionary of them",
        "not known who holds",
        "self.nets = nn.ModuleDict({'a': nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))})",
        "return self.nets['a'](x)",
    ),
    miss(
        "a plain list of them",
        "not known who holds",
        "nets = [nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))]\nself.net = nn.Sequential(*nets)",
    ),
    miss(
        "appended to something",
        "not known to be a list",
        "self.nets = other()\nself.nets.append(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))",
        "return self.nets(x)",
    ),
    miss(
        "appended, and elements looked at",
        "taken apart",
        "self.nets = nn.ModuleList()\nself.nets.append(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))",
        "return self.nets[0][0](x)",
    ),
    miss(
        "appended, and iterated twice",
        "taken apart",
        "self.nets = nn.ModuleList()\nself.nets.append(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))",
        "for net in self.nets:\n    for m in net:\n        x = m(x)\nreturn x",
    ),
    miss(
        "a ModuleList whose elements are looked at",
        "taken apart",
        "self.nets = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)) for _ in range(2)])",
        "for net in self.nets:\n    x = net[0](x)\nreturn x",
    ),
    miss(
        "pairs in two ModuleLists",
        "",
        "self.cs = nn.ModuleList([nn.Conv2d(3, 3, 1) for _ in range(2)])\n"
        "self.bs = nn.ModuleList([nn.BatchNorm2d(3) for _ in range(2)])",
        "for c, b in zip(self.cs, self.bs):\n    x = b(c(x))\nreturn x",
    ),
]

LIST_MISSES = [
    miss(
        "a convolution of a variable (VGG)",
        "the variable `conv2d` holds",
        """
layers = []
for v in (8, 8):
    conv2d = nn.Conv2d(3, v, kernel_size=3, padding=1)
    if torch.cuda.is_available():
        layers += [conv2d, nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
    else:
        layers += [conv2d, nn.ReLU(inplace=True)]
self.net = nn.Sequential(*layers)
""",
    ),
    miss(
        "a variable in a Sequential",
        "the variable `c` holds",
        "c = nn.Conv2d(3, 8, 3)\nself.net = nn.Sequential(c, nn.BatchNorm2d(8))",
    ),
    miss(
        "an optional norm (GAN)",
        "not always a norm",
        "self.net = nn.Sequential(*block(3, 8), *block(8, 8, False))",
        head="""
def block(inputs, outputs, normalize=True):
    layers = [nn.Conv2d(inputs, outputs, 4, 2, 1)]
    if normalize:
        layers.append(nn.BatchNorm2d(outputs, 0.8))
    layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers
""",
    ),
    miss(
        "an optional norm, appended",
        "not always a norm",
        "layers = []\nlayers.append(nn.Conv2d(3, 8, 3))\nif torch.cuda.is_available():\n"
        "    layers += [nn.BatchNorm2d(8)]\nself.net = nn.Sequential(*layers)",
    ),
    miss("the list is indexed", "", LIST + "self.conv = layers[0]\nself.net = nn.Sequential(*layers)"),
    miss("the list is reversed", "", LIST + "layers.reverse()\nself.net = nn.Sequential(*layers)"),
    miss("inserted between", "", LIST + "layers.insert(1, nn.ReLU())\nself.net = nn.Sequential(*layers)"),
    miss("removed", "", LIST + "layers.pop()\nself.net = nn.Sequential(*layers)"),
    miss("deleted", "", LIST + "del layers[1]\nself.net = nn.Sequential(*layers)"),
    miss(
        "two Sequentials of one list", "", LIST + "self.a = nn.Sequential(*layers)\nself.net = nn.Sequential(*layers)"
    ),
    miss(
        "the list of a parameter",
        "",
        "self.net = self.make([])",
        tail=(
            "    def make(self, layers):\n        layers += [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]\n"
            "        return nn.Sequential(*layers)"
        ),
    ),
    miss("a slice of the list", "", LIST + "self.net = nn.Sequential(*layers[:1])"),
    miss(
        "a starred list in the list",
        "",
        "layers = [*more(), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]\nself.net = nn.Sequential(*layers)",
    ),
    miss(
        "statements between the appends",
        "",
        "layers = []\nlayers.append(nn.Conv2d(3, 8, 3))\nif torch.cuda.is_available():\n"
        "    layers.append(nn.ReLU())\nlayers.append(nn.BatchNorm2d(8))\nself.net = nn.Sequential(*layers)",
    ),
    miss(
        "the Sequential is made between",
        "",
        "layers = [nn.Conv2d(3, 8, 3)]\nself.net = nn.Sequential(*layers)\nlayers.append(nn.BatchNorm2d(8))",
    ),
    miss(
        "an activation between",
        "",
        "layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)]\nself.net = nn.Sequential(*layers)",
    ),
    miss(
        "the list that is made is indexed later",
        "beside its call",
        LIST + "self.net = nn.Sequential(*layers)",
        "return self.net[0](x)",
    ),
    miss(
        "the norm is a parameter",
        "",
        "self.net = make(3)",
        head=(
            "def make(a, norm=nn.BatchNorm2d):\n    layers = [nn.Conv2d(a, 8, 3), norm(8)]\n"
            "    return nn.Sequential(*layers)"
        ),
    ),
    miss(
        "an expression decides on the bias",
        "decided by an expression",
        "self.net = make(3)",
        head=("def make(a, bias=True):\n    return nn.Sequential(nn.Conv2d(a, 8, 3, bias=bias), nn.BatchNorm2d(8))"),
    ),
    Miss(
        "by add_module",
        "from torch import nn\n\n\nclass M(nn.Sequential):\n    def __init__(self):\n        super().__init__()\n"
        '        self.add_module("c", nn.Conv2d(3, 8, 3))\n        self.add_module("bn", nn.BatchNorm2d(8))\n',
        "add_module",
    ),
    Miss(
        "a layer of a helper",
        module(
            "self.conv = conv3x3(3, 8)\nself.bn = nn.BatchNorm2d(8)",
            "return self.bn(self.conv(x))",
            head="def conv3x3(a, b):\n    return nn.Conv2d(a, b, 3)",
        ),
        "",
    ),
    Miss(
        "a Sequential subclass in a list whose elements are looked at",
        "from torch import nn\n\n\nclass Block(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))\n\n\nclass M(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n        self.a = nn.ModuleList([Block()])\n\n    def forward(self, x):\n"
        "        return self.a[0][1](x)\n",
        "taken apart",
    ),
]

NEGATIVES = TAKEN_APART + HELD_MISSES + LIST_MISSES


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, "FUS101")
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons


def test_there_are_more_near_misses_than_matches() -> None:
    assert len(NEGATIVES) > len(POSITIVES)


SCRIPT = """\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.Adam(model.parameters())


def f(x):
    model.eval()
    return model(x)
"""


def test_a_script() -> None:
    """A function's own module is fixed and executed as a whole: the weights are drawn before, so only texts compare."""
    (finding,) = [one for one in Analysis(SCRIPT).findings if one.code == "FUS101"]
    fix = Analysis(SCRIPT).fix(finding)
    assert fix is not None
    assert "\nmodel.register_load_state_dict_pre_hook(_fold_biases_into_norms)\noptimizer" in fix.apply(SCRIPT)


@pytest.mark.parametrize("line", ["first = model[0]", "for layer in model:\n    print(layer)", "train(model)"])
def test_a_script_that_looks_into_its_model(line: str) -> None:
    assert refused(f"{SCRIPT}\n\n{line}\n", "FUS101")


def test_a_fused_model_still_loads_its_own_checkpoints() -> None:
    """The hook takes a bias only where the layer has none, and a norm with statistics is behind it."""
    result = equivalent(module(LOCAL + "self.net = net", "return self.net(x)"), IMAGE, codes=CODES, tolerance=REORDERED)
    scope: dict[str, type] = {}
    exec(result.text, scope)  # the fixed text of this test
    import torch
    from torch import nn

    made = scope["M"]().eval()
    made.net[0] = nn.utils.fuse_conv_bn_eval(made.net[0], made.net[1])
    made.net[1] = nn.Identity()
    state = {key: value.clone() for key, value in made.state_dict().items()}
    made.load_state_dict(state, strict=True)
    assert torch.equal(made.net[0].bias, state["net.0.bias"])
