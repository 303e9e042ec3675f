"""FUS104: a convolution pads by itself what was padded before it, where both compute the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import Inputs, equivalent, module, refused, rewritten
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS104"
X = ((2, 3, 8, 9),)


@dataclass
class Case:
    """One file, and what must stand in it afterwards."""

    id: str
    text: str
    after: tuple[str, ...]
    inputs: Inputs = X


def case(id: str, init: str, forward: str, *after: str, inputs: Inputs = X) -> Case:
    return Case(id, module(init, forward), after, inputs)


def literal(id: str, init: str, *after: str, inputs: Inputs = X) -> Case:
    return Case(id, module(init, "return self.net(x)"), after, inputs)


PAD_CONV = "self.pad = {}\nself.conv = nn.Conv2d(3, 4, 3)"
CALL = "return self.conv(self.pad(x))"

LAYERS = [
    case("zeros", PAD_CONV.format("nn.ZeroPad2d(1)"), CALL, "nn.Conv2d(3, 4, 3, padding=1)", "self.conv(x)"),
    case("by keyword", PAD_CONV.format("nn.ZeroPad2d(padding=2)"), CALL, "padding=2)"),
    case("four sides", PAD_CONV.format("nn.ZeroPad2d((2, 2, 1, 1))"), CALL, "padding=(1, 2))"),
    case("a list", PAD_CONV.format("nn.ZeroPad2d([1, 1, 1, 1])"), CALL, "padding=1)"),
    case("repeated", PAD_CONV.format("nn.ZeroPad2d((1,) * 4)"), CALL, "padding=1)"),
    case("one dimension", PAD_CONV.format("nn.ZeroPad2d((3, 3, 0, 0))"), CALL, "padding=(0, 3))"),
    case("constant zeros", PAD_CONV.format("nn.ConstantPad2d(1, 0)"), CALL, "padding=1)"),
    case("constant zero as a float", PAD_CONV.format("nn.ConstantPad2d(1, value=0.0)"), CALL, "padding=1)"),
    case("worked out", PAD_CONV.format("nn.ZeroPad2d((3 - 1) // 2)"), CALL, "padding=1)"),
    case("reflecting", PAD_CONV.format("nn.ReflectionPad2d(1)"), CALL, 'padding=1, padding_mode="reflect"'),
    case("replicating", PAD_CONV.format("nn.ReplicationPad2d((2, 2, 1, 1))"), CALL, 'padding=(1, 2), padding_mode="re'),
    case("circular", PAD_CONV.format("nn.CircularPad2d(1)"), CALL, 'padding=1, padding_mode="circular"'),
    case(
        "1d",
        "self.pad = nn.ZeroPad1d(2)\nself.conv = nn.Conv1d(3, 4, 3)",
        CALL,
        "nn.Conv1d(3, 4, 3, padding=2)",
        inputs=((2, 3, 9),),
    ),
    case(
        "1d by a constant",
        "self.pad = nn.ConstantPad1d(2, 0.0)\nself.conv = nn.Conv1d(3, 4, 3, dilation=2)",
        CALL,
        "dilation=2, padding=2)",
        inputs=((2, 3, 9),),
    ),
    case(
        "1d reflecting",
        "self.pad = nn.ReflectionPad1d(2)\nself.conv = nn.Conv1d(3, 4, 3)",
        CALL,
        'padding=2, padding_mode="reflect"',
        inputs=((2, 3, 9),),
    ),
    case(
        "3d",
        "self.pad = nn.ConstantPad3d((1, 1, 2, 2, 0, 0), 0)\nself.conv = nn.Conv3d(2, 3, 3)",
        CALL,
        "padding=(0, 2, 1))",
        inputs=((2, 2, 4, 4, 5),),
    ),
    case("an input without a batch", PAD_CONV.format("nn.ZeroPad2d(1)"), CALL, "padding=1)", inputs=((3, 8, 9),)),
]

CONVOLUTIONS = [
    case(id, f"self.pad = nn.ZeroPad2d(1)\nself.conv = {made}", CALL, after)
    for id, made, after in (
        ("its own padding", "nn.Conv2d(3, 4, 3, padding=1)", "nn.Conv2d(3, 4, 3, padding=2)"),
        ("its own padding by position", "nn.Conv2d(3, 4, 3, 2, 1)", "nn.Conv2d(3, 4, 3, 2, 2)"),
        ("its own paddings", "nn.Conv2d(3, 4, (3, 5), padding=(0, 1))", "padding=(1, 2))"),
        ("no padding of its own", "nn.Conv2d(3, 4, 3, padding=0)", "padding=1)"),
        ("valid", "nn.Conv2d(3, 4, 3, padding='valid')", "padding=1)"),
        ("zeros by name", "nn.Conv2d(3, 4, 3, padding_mode='zeros')", "padding_mode='zeros', padding=1)"),
        (
            "everything by keyword",
            "nn.Conv2d(in_channels=3, out_channels=4, kernel_size=3)",
            "kernel_size=3, padding=1",
        ),
        ("strides, groups, no bias", "nn.Conv2d(3, 6, 3, stride=2, groups=3, bias=False)", "bias=False, padding=1)"),
    )
]

FUNCTIONS = [
    case("nested", "self.conv = nn.Conv2d(3, 4, 3)", "return self.conv(F.pad(x, (2, 2, 1, 1)))", "padding=(1, 2))"),
    case(
        "in a statement",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "x = F.pad(x, (1, 1, 1, 1))\nreturn self.conv(x)",
        "return self.conv(x)",
    ),
    case("a list of amounts", "self.conv = nn.Conv2d(3, 4, 3)", "return self.conv(F.pad(x, [1] * 4))", "padding=1)"),
    case(
        "one dimension only", "self.conv = nn.Conv2d(3, 4, 3)", "return self.conv(F.pad(x, (1, 1)))", "padding=(0, 1))"
    ),
    case(
        "zeros for the channels",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "return self.conv(F.pad(x, (1, 1, 1, 1, 0, 0)))",
        "padding=1)",
    ),
    case(
        "by keywords",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "return self.conv(F.pad(input=x, pad=(1, 1, 1, 1), mode='constant', value=0))",
        "self.conv(x)",
    ),
    case(
        "reflecting",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "return self.conv(F.pad(x, (1, 1, 2, 2), mode='reflect'))",
        'padding=(2, 1), padding_mode="reflect"',
    ),
    case(
        "replicating by position",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "return self.conv(F.pad(x, (1, 1, 1, 1), 'replicate'))",
        'padding_mode="replicate"',
    ),
    case(
        "circular",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "return self.conv(F.pad(x, (1,) * 4, mode='circular'))",
        '"circular"',
    ),
    case(
        "its name in full",
        "self.conv = nn.Conv2d(3, 4, 3)",
        "return self.conv(nn.functional.pad(x, (1, 1, 1, 1)))",
        "padding=1)",
    ),
    case(
        "a functional convolution",
        "self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))",
        "x = F.pad(x, (2, 2, 1, 1))\nreturn F.conv2d(x, self.weight, stride=2)",
        "return F.conv2d(x, self.weight, stride=2, padding=(1, 2))",
    ),
    case(
        "a functional convolution that pads",
        "self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))",
        "return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, None, 2, 1)",
        "F.conv2d(x, self.weight, None, 2, 2)",
    ),
    case(
        "a functional convolution of an expression",
        "self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))",
        "y = F.pad(x + 1, (1, 1, 1, 1))\nreturn F.conv2d(y, weight=self.weight)",
        "y = x + 1",
        "F.conv2d(y, weight=self.weight, padding=1)",
    ),
]

INIT = "self.conv = nn.Conv2d(3, 4, 3)"
PLACES = [
    case("another name", INIT, "y = F.pad(x, (1, 1, 1, 1))\nreturn self.conv(y)", "return self.conv(x)"),
    case(
        "a name that is bound anew",
        INIT,
        "y = F.pad(x, (1, 1, 1, 1))\nx = x + 1\nreturn self.conv(y) + x.mean()",
        "y = x",
    ),
    case("an expression", INIT, "y = F.pad(torch.relu(x), (1, 1, 1, 1))\nreturn self.conv(y)", "y = torch.relu(x)"),
    case("an operator", INIT, "return self.conv(F.pad(x * 2, (1, 1, 1, 1)))", "self.conv(x * 2)"),
    case("used later too", INIT, "y = self.conv(F.pad(x, (1, 1, 1, 1)))\nreturn y, x", "y = self.conv(x)"),
    case(
        "in a branch",
        INIT,
        "if x.dim() == 4:\n    x = F.pad(x, (1, 1, 1, 1))\n    return self.conv(x)\nreturn x",
        "    return self.conv(x)",
    ),
    case(
        "without gradients",
        INIT,
        "with torch.no_grad():\n    x = F.pad(x, (1, 1, 1, 1))\n    x = self.conv(x)\nreturn x",
        "    x = self.conv(x)",
    ),
    case(
        "comments",
        INIT,
        "# make room\nx = F.pad(x, (1, 1, 1, 1))  # one each\nreturn self.conv(x)",
        "# make room",
        "# one each",
    ),
    case(
        "a call over lines",
        INIT,
        "return self.conv(\n    F.pad(\n        x,  # the image\n        (1, 1, 1, 1),\n    ),\n)",
        "# the image",
    ),
    case(
        "a constructor over lines",
        "self.conv = nn.Conv2d(\n    3,\n    4,  # wide\n    kernel_size=3,\n)",
        "return self.conv(F.pad(x, (1, 1, 1, 1)))",
        "    padding=1,\n",
    ),
    case(
        "a pad layer for two",
        "self.pad = nn.ZeroPad2d(1)\nself.one = nn.Conv2d(3, 3, 3)\nself.two = nn.Conv2d(3, 4, 3)",
        "return self.two(self.pad(torch.relu(self.one(self.pad(x)))))",
        "self.two(torch.relu(self.one(x)))",
    ),
    case(
        "a pad layer that stays",
        "self.pad = nn.ZeroPad2d(1)\nself.one = nn.Conv2d(3, 3, 3)",
        "return self.one(self.pad(x)), self.pad(x)",
        "self.pad = nn.ZeroPad2d(1)",
        "return self.one(x), self.pad(x)",
    ),
    case(
        "amounts by name",
        "k = 5\nself.pad = nn.ZeroPad2d(k // 2)\nself.conv = nn.Conv2d(3, 4, k)",
        CALL,
        "nn.Conv2d(3, 4, k, padding=k // 2)",
    ),
    case(
        "all sides by name",
        "p = 1\nself.pad = nn.ReflectionPad2d((p, p, p, p))\nself.conv = nn.Conv2d(3, 4, 3)",
        CALL,
        'padding=p, padding_mode="reflect"',
    ),
    Case(
        "a parameter that is a number",
        module("pass", CALL)
        .replace("def __init__(self):", "def __init__(self, p: int = 2):")
        .replace("        pass\n", "        self.pad = nn.ZeroPad2d(p)\n        self.conv = nn.Conv2d(3, 4, 3)\n"),
        ("padding=p)",),
    ),
    Case("tabs", module(PAD_CONV.format("nn.ZeroPad2d(1)"), CALL).replace("    ", "\t"), ("padding=1)",)),
    Case("windows line ends", module(PAD_CONV.format("nn.ZeroPad2d(1)"), CALL).replace("\n", "\r\n"), ("padding=1)",)),
]

LITERALS = [
    literal(
        "one line",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3))",
        "nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, padding=1))",
    ),
    literal(
        "one line that gets too long",
        "self.net = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3), nn.ReLU())",
        '            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),\n',
    ),
    literal(
        "several lines",
        "self.net = nn.Sequential(\n    nn.ReLU(),\n    nn.ZeroPad2d((2, 2, 1, 1)),  # room\n"
        "    nn.Conv2d(3, 4, 3, 1, 1),\n)",
        "    nn.Identity(),  # room\n            nn.Conv2d(3, 4, 3, 1, (2, 3)),",
    ),
    literal(
        "several lines that get too long",
        "self.net = nn.Sequential(\n    nn.ReflectionPad2d(1),\n"
        "    nn.Conv2d(in_channels=3, out_channels=4, kernel_size=3, stride=2),\n)",
        '                padding_mode="reflect",\n',
    ),
    literal(
        "two on a line of several",
        "self.net = nn.Sequential(\n    nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3),\n    nn.ReLU(),\n)",
        "nn.Identity(), nn.Conv2d(3, 4, 3, padding=1),",
    ),
    literal(
        "named",
        "from collections import OrderedDict\nself.net = nn.Sequential(\n    OrderedDict(\n        [\n"
        "            ('pad', nn.ZeroPad2d(1)),\n            ('conv', nn.Conv2d(3, 4, 3)),\n        ]\n    )\n)",
        "nn.ZeroPad2d(1)",
    ),
    literal(
        "one inside another",
        "self.net = nn.Sequential(nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)), nn.ReLU())",
        "nn.Identity()",
        "padding=1",
    ),
    literal(
        "two of them",
        "self.net = nn.Sequential(\n    nn.ReflectionPad2d(1),\n    nn.Conv2d(3, 4, 3),\n    nn.ReLU(),\n"
        "    nn.ReflectionPad2d(2),\n    nn.Conv2d(4, 4, 5),\n)",
        'nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")',
        'nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect")',
    ),
    literal(
        "a list that becomes one",
        "layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, 4, 7)]\nlayers += [nn.ReLU()]\n"
        "self.net = nn.Sequential(*layers)",
        "[nn.Identity(), nn.Conv2d(3, 4, 7, ",
    ),
    literal(
        "appended",
        "layers = []\nlayers.append(nn.ZeroPad2d(1))\nlayers.append(nn.Conv2d(3, 4, 3))\n"
        "self.net = nn.Sequential(*layers)",
        "layers.append(nn.Identity())",
        "layers.append(nn.Conv2d(3, 4, 3, padding=1))",
    ),
    literal(
        "in a local variable",
        "net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3))\nself.net = net",
        "net = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, padding=1))",
    ),
]

POSITIVES = LAYERS + CONVOLUTIONS + FUNCTIONS + PLACES + [one for one in LITERALS if one.id != "named"]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_padded_by_the_convolution(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), deep=False)
    assert result.applied
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}
    for after in case.after:
        assert after in result.text.replace("\t", "    "), result.text


def test_a_named_element_stays_where_it_is() -> None:
    text = (
        "from collections import OrderedDict\n\nfrom torch import nn\n\n\nclass M(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n        self.net = nn.Sequential(\n            OrderedDict(\n                [\n"
        '                    ("pad", nn.ZeroPad2d(1)),\n                    ("conv", nn.Conv2d(3, 4, 3)),\n'
        "                ]\n            )\n        )\n\n    def forward(self, x):\n        return self.net(x)\n"
    )
    result = equivalent(text, X, codes=frozenset({CODE}), deep=False)
    assert '("pad", nn.Identity()),' in result.text
    assert '("conv", nn.Conv2d(3, 4, 3, padding=1)),' in result.text


def test_the_whole_example_keeps_its_state_dict_in_every_way() -> None:
    init = "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.PReLU(4))"
    equivalent(module(init, "return self.net(x)"), X, codes=frozenset({CODE}))


def test_a_subclass_of_sequential() -> None:
    text = (
        "from torch import nn\n\n\nclass M(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3))\n"
    )
    result = equivalent(text, X, codes=frozenset({CODE}), deep=False)
    assert "super().__init__(nn.Identity(), nn.Conv2d(3, 4, 3, padding=1))" in result.text


REFUSED = [
    (
        "the input is written to",
        PAD_CONV.format("nn.ZeroPad2d(1)"),
        "y = self.conv(self.pad(x))\nx += 1\nreturn x",
        "written to",
    ),
    ("in the same statement", INIT, "x += self.conv(F.pad(x, (1, 1, 1, 1))).mean()\nreturn x", "input is written to"),
    (
        "an activation in place",
        PAD_CONV.format("nn.ZeroPad2d(1)") + "\nself.act = nn.ReLU(True)",
        "y = self.conv(self.pad(x))\nx = self.act(x)\nreturn x, y",
        "input is written to",
    ),
    (
        "in place behind a literal",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 3, 3))",
        "y = self.net(x)\nx += y\nreturn x",
        "input is written to",
    ),
    (
        "an unknown call in a file that works in place",
        INIT + "\nself.post = nn.Sequential(nn.ReLU(True), nn.Conv2d(3, 3, 1))",
        "y = self.conv(F.pad(x, (1, 1, 1, 1)))\nreturn self.post(x), y",
        "may be written to",
    ),
    (
        "in the next turn",
        INIT,
        "for i in range(2):\n    x.add_(i)\n    y = self.conv(F.pad(x, (1,) * 4))\nreturn y",
        "written",
    ),
    ("two widths", PAD_CONV.format("nn.ZeroPad2d((1, 2, 1, 1))"), CALL, "alike"),
    ("causal", INIT, "return self.conv(F.pad(x, (2, 0)))", "alike"),
    ("cropped", PAD_CONV.format("nn.ZeroPad2d(-1)"), CALL, "takes something away"),
    ("ones", INIT, "return self.conv(F.pad(x, (1, 1, 1, 1), value=1.0))", "neither zeros"),
    ("a value by name", INIT, "v = 0\nreturn self.conv(F.pad(x, (1, 1, 1, 1), value=v))", "neither zeros"),
    ("minus infinity", INIT, "return self.conv(F.pad(x, (1, 1, 1, 1), value=float('-inf')))", "with zeros alone"),
    ("a mode by name", INIT, "m = 'reflect'\nreturn self.conv(F.pad(x, (1, 1, 1, 1), mode=m))", "neither zeros"),
    ("amounts by name", INIT, "p = (1, 1, 1, 1)\nreturn self.conv(F.pad(x, p))", "not written out"),
    ("amounts that may be four", "p = (1, 1, 2, 2)\n" + PAD_CONV.format("nn.ZeroPad2d(p)"), CALL, "not written out"),
    (
        "amounts worked out in the forward",
        INIT,
        "p = 1\nreturn self.conv(F.pad(x, (p, p, p, p)))",
        "worked out elsewhere",
    ),
    (
        "amounts that change in between",
        "p = 1\nself.pad = nn.ZeroPad2d((p, p, p, p))\np = 2\nself.conv = nn.Conv2d(3, 4, 3)",
        CALL,
        "worked out elsewhere",
    ),
    ("the channels too", INIT, "return self.conv(F.pad(x, (1, 1, 1, 1, 1, 1)))", "number of dimensions"),
    ("another rank", "self.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv1d(3, 4, 3)", CALL, "number of dimensions"),
    (
        "reflecting and padding",
        "self.pad = nn.ReflectionPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, padding=1)",
        CALL,
        "by itself already",
    ),
    (
        "reflecting twice",
        "self.pad = nn.ReflectionPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode='reflect')",
        CALL,
        "already",
    ),
    (
        "zeros, then reflecting",
        "self.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode='reflect')",
        CALL,
        "another way",
    ),
    (
        "zeros, then reflecting nothing",
        "self.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, padding_mode='circular')",
        CALL,
        "another way",
    ),
    ("same", "self.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, padding='same')", CALL, "own padding"),
    (
        "its own padding by name",
        "p = 1\nself.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, padding=p)",
        CALL,
        "own padding",
    ),
    ("arguments in a dict", "kw = {}\nself.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(3, 4, 3, **kw)", CALL, "`**`"),
    (
        "the shape is asked for",
        INIT,
        "x = F.pad(x, (1, 1, 1, 1))\ny = self.conv(x)\nreturn y, x.shape[-1]",
        "more than once",
    ),
    ("returned too", INIT, "x = F.pad(x, (1, 1, 1, 1))\nreturn self.conv(x), x", "more than once"),
    ("captured", INIT, "y = F.pad(x, (1, 1, 1, 1))\nf = lambda: y\nreturn self.conv(y)", "more than once"),
    ("held by two names", INIT, "y = F.pad(x, (1, 1, 1, 1))\nz = y\nreturn self.conv(z)", "variable of its own"),
    ("a walrus", INIT, "return self.conv(y := F.pad(x, (1, 1, 1, 1)))", "bound inside"),
    ("changed in between", INIT, "y = F.pad(x, (1, 1, 1, 1))\nx.mul_(2)\nreturn self.conv(y)", "changed in between"),
    (
        "written by index in between",
        INIT,
        "y = F.pad(x, (1, 1, 1, 1))\nx[0] = 0\nreturn self.conv(y)",
        "changed in between",
    ),
    ("under a condition", INIT, "if x.sum() > 0:\n    x = F.pad(x, (1, 1, 1, 1))\nreturn self.conv(x)", ""),
    ("in an inner block", INIT, "x = F.pad(x, (1, 1, 1, 1))\nif x.dim():\n    return self.conv(x)\nreturn None", ""),
    ("conditional", INIT, "return self.conv(F.pad(x, (1, 1, 1, 1)) if self.training else x)", ""),
    (
        "an exception that is caught",
        INIT,
        "try:\n    x = F.pad(x, (1, 1, 1, 1))\n    x = self.conv(x)\nexcept RuntimeError:\n    pass\nreturn x",
        "",
    ),
    ("two on a line", INIT, "x = F.pad(x, (1, 1, 1, 1)); x = self.conv(x)\nreturn x", "shares its line"),
    (
        "called twice",
        INIT.replace("4, 3)", "3, 3)"),
        "return self.conv(F.pad(x, (1, 1, 1, 1))) + self.conv(x).mean()",
        "more than once",
    ),
    (
        "the weight is read",
        INIT,
        "return self.conv(F.pad(x, (1, 1, 1, 1))) + self.conv.weight.sum()",
        "beside its call",
    ),
    ("transposed", "self.conv = nn.ConvTranspose2d(3, 4, 3)", "return self.conv(F.pad(x, (1, 1, 1, 1)))", ""),
    ("lazy", "self.conv = nn.LazyConv2d(4, 3)", "return self.conv(F.pad(x, (1, 1, 1, 1)))", ""),
    ("a pool between", INIT, "return self.conv(F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 2))", ""),
    ("an unfold", "self.conv = nn.Unfold(3)", "return self.conv(F.pad(x, (1, 1, 1, 1)))", ""),
    ("another pad", PAD_CONV.format("nn.ZeroPad2d(1)"), "return self.conv(torch.tanh(self.pad(x)))", ""),
    ("made under a condition", "self.pad = nn.ZeroPad2d(1) if torch.ones(()) else nn.Identity()\n" + INIT, CALL, ""),
    (
        "the padding is set later",
        "self.conv = nn.Conv2d(3, 4, 3)\nfor m in self.modules():\n    if hasattr(m, 'padding'):\n"
        "        m.padding = 0",
        "return self.conv(F.pad(x, (1, 1, 1, 1)))",
        "padding of a layer",
    ),
    (
        "replaced",
        INIT + "\nself.conv = torch.nn.utils.parametrizations.weight_norm(self.conv)",
        "return self.conv(F.pad(x, (1, 1, 1, 1)))",
        "",
    ),
    ("hooked", PAD_CONV.format("nn.ZeroPad2d(1)") + "\nself.pad.register_forward_hook(print)", CALL, "beside its call"),
    ("by a computed name", PAD_CONV.format("nn.ZeroPad2d(1)") + "\nfor n in ('pad',):\n    getattr(self, n)", CALL, ""),
    (
        "indexed",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3))",
        "return self.net[1](x)",
        "taken apart",
    ),
    (
        "sliced",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3))",
        "return self.net[:1](x)",
        "taken apart",
    ),
    (
        "iterated",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3))",
        "for one in self.net:\n    x = one(x)\nreturn x",
        "",
    ),
    (
        "not next to each other",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.ReLU(), nn.Conv2d(3, 4, 3))",
        "return self.net(x)",
        "",
    ),
    (
        "wrapped",
        "self.net = nn.Sequential(nn.ZeroPad2d(1), nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)))",
        "return self.net(x)",
        "",
    ),
    (
        "a reflecting functional",
        "self.w = nn.Parameter(torch.ones(4, 3, 3, 3))",
        "return F.conv2d(F.pad(x, (1, 1, 1, 1), 'reflect'), self.w)",
        "zeros alone",
    ),
]


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_a_shadowed_name_is_no_padding() -> None:
    text = module(INIT, "return self.conv(F.pad(x, (1, 1, 1, 1)))", arguments="self, x, F")
    assert refused(text, CODE) == []


def test_a_class_over_an_unknown_base_is_refused() -> None:
    text = module(INIT, "return self.conv(F.pad(x, (1, 1, 1, 1)))", head="from other import Base").replace(
        "class M(nn.Module)", "class M(Base)"
    )
    assert any("inherits" in one for one in refused(text, CODE))


def test_a_subclass_that_calls_the_convolution() -> None:
    tail = "class N(M):\n    def forward(self, x):\n        return self.conv(x)"
    text = module(INIT, "return self.conv(F.pad(x, (1, 1, 1, 1)))", tail=tail)
    assert any("more than once" in one for one in refused(text, CODE))


def test_the_other_arm_keeps_its_padding() -> None:
    init = "self.one = nn.Conv2d(3, 4, 3)\nself.two = nn.Conv2d(3, 4, 3)"
    forward = "x = F.pad(x, (1, 1, 1, 1)) if self.training else self.one(F.pad(x, (1, 1, 1, 1)))\nreturn x"
    assert "self.one(x)" in rewritten(module(init, forward), codes=frozenset({CODE})).text


def test_one_whose_caller_writes_to_what_it_gave() -> None:
    tail = (
        "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.inner = M()\n\n"
        "    def forward(self, x):\n        y = self.inner(x)\n        x += y\n        return x"
    )
    text = module(INIT, "return self.conv(F.pad(x, (1, 1, 1, 1)))", tail=tail)
    assert any("call was given" in one for one in refused(text, CODE))
    assert any("call was given" in one for one in refused(text.replace("x += y", "x.add_(y)"), CODE))
    assert Analysis(text.replace("x += y", "y += x")).findings


def test_reflecting_pads_by_a_copy_all_the_same() -> None:
    text = module(PAD_CONV.format("nn.ReflectionPad2d(1)"), "y = self.conv(self.pad(x))\nx = x * 1\nreturn x, y")
    assert Analysis(text).findings
