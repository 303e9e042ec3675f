"""FUS103: `fuse()` makes one layer of a convolution and its norm, and changes nothing until it is called."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from equivalence.harness import (
    REORDERED,
    Inputs,
    close,
    equivalent,
    executed,
    fixed_text,
    module,
    perturb,
    refused,
    rewritten,
)
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS103"
IMAGE: Inputs = ((4, 3, 8, 8),)
PAIR = "self.conv = nn.Conv2d(3, 8, 3, bias=False)\nself.bn = nn.BatchNorm2d(8)"
RUN = "return self.bn(self.conv(x))"


@dataclass
class Case:
    """One file; `count` norms are folded by `fuse()`."""

    id: str
    text: str
    count: int = 1
    inputs: Inputs = IMAGE


def case(id: str, init: str, forward: str = RUN, count: int = 1, inputs: Inputs = IMAGE, **around: str) -> Case:
    return Case(id, module(init, forward, **around), count, inputs)


def pair(conv: str, norm: str) -> str:
    return f"self.conv = {conv}\nself.bn = {norm}"


POSITIVES = [
    case("without a bias", PAIR),
    case("with a bias", pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8)")),
    case(
        "a bias of a setting",
        "b = len(torch.__version__) > 1\n" + pair("nn.Conv2d(3, 8, 3, bias=b)", "nn.BatchNorm2d(8)"),
    ),
    case("one dimension", pair("nn.Conv1d(3, 8, 3)", "nn.BatchNorm1d(8)"), inputs=((4, 3, 6),)),
    case("three dimensions", pair("nn.Conv3d(2, 4, 2)", "nn.BatchNorm3d(4)"), inputs=((2, 2, 4, 4, 4),)),
    case("transposed", pair("nn.ConvTranspose2d(3, 8, 3, stride=2)", "nn.BatchNorm2d(8)")),
    case("transposed, as many outputs", pair("nn.ConvTranspose2d(3, 3, 3)", "nn.BatchNorm2d(3)")),
    case("transposed, one group by position", pair("nn.ConvTranspose2d(3, 3, 3, 1, 0, 0, 1)", "nn.BatchNorm2d(3)")),
    case("transposed, one dimension", pair("nn.ConvTranspose1d(3, 3, 3)", "nn.BatchNorm1d(3)"), inputs=((4, 3, 6),)),
    case("linear", pair("nn.Linear(16, 8)", "nn.BatchNorm1d(8)"), inputs=((6, 16),)),
    case("linear without a bias", pair("nn.Linear(16, 8, bias=False)", "nn.BatchNorm1d(8)"), inputs=((6, 16),)),
    case("in groups", pair("nn.Conv2d(3, 6, 3, groups=3, padding=1)", "nn.BatchNorm2d(6)")),
    case("padded by reflection", pair('nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")', "nn.BatchNorm2d(8)")),
    case("another eps", pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8, eps=1e-2, momentum=0.3)")),
    case("without weights", pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8, affine=False)")),
    case("in steps", PAIR, "x = self.conv(x)\nx = self.bn(x)\nreturn F.relu(x)"),
    case("by keyword", PAIR, "return self.bn(input=self.conv(input=x))"),
    case(
        "two pairs",
        PAIR + "\nself.conv2 = nn.Conv2d(8, 4, 1)\nself.bn2 = nn.BatchNorm2d(4)",
        "x = F.relu(self.bn(self.conv(x)))\nreturn self.bn2(self.conv2(x))",
        2,
    ),
    case(
        "four pairs and a residual",
        "\n".join(f"self.c{i} = nn.Conv2d(3, 3, 3, padding=1)\nself.b{i} = nn.BatchNorm2d(3)" for i in range(4)),
        "y = x\n" + "\n".join(f"y = F.relu(self.b{i}(self.c{i}(y)))" for i in range(4)) + "\nreturn x + y",
        4,
    ),
    case(
        "in a loop",
        pair("nn.Conv2d(3, 3, 1)", "nn.BatchNorm2d(3)"),
        "for _ in range(2):\n    x = self.bn(self.conv(x))\nreturn x",
    ),
    case(
        "in another method",
        PAIR,
        "return self.stem(x)",
        tail="    def stem(self, x):\n        return self.bn(self.conv(x))",
    ),
    case(
        "a Sequential",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())",
        "return self.net(x)",
    ),
    case(
        "a nested Sequential",
        "self.net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))",
        "return self.net(x)",
    ),
    case(
        "an OrderedDict",
        'self.net = nn.Sequential(OrderedDict([("conv", nn.Conv2d(3, 8, 3)), ("bn", nn.BatchNorm2d(8))]))',
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    case(
        "a Sequential within an OrderedDict",
        'self.net = nn.Sequential(OrderedDict([("stem", nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))]))',
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    case("the norm is initialised", PAIR + "\nnn.init.constant_(self.bn.weight, 0.5)\nself.conv.weight.data.mul_(2)"),
    case(
        "a train method that freezes",
        PAIR,
        tail=(
            "    def train(self, mode=True):\n        super().train(mode)\n        for m in self.modules():\n"
            "            if isinstance(m, nn.BatchNorm2d):\n                m.eval()\n        return self"
        ),
    ),
    Case("tabs", module(PAIR, RUN).replace("    ", "\t")),
    Case("windows line ends", module(PAIR, RUN).replace("\n", "\r\n")),
    Case("no newline at the end", module(PAIR, RUN).rstrip("\n")),
    case("another method behind", PAIR, tail="    def name(self):\n        return 'm'  # here\n"),
    Case(
        "other imports",
        "import torch.nn as tnn\nfrom torch.nn import BatchNorm2d, Conv2d as Conv\n\n\nclass M(tnn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = Conv(3, 8, 3)\n"
        "        self.bn = BatchNorm2d(8)\n\n    def forward(self, x):\n        return self.bn(self.conv(x))\n",
    ),
]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_fused(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    (finding,) = result.applied
    assert finding.safety is Safety.INFERENCE
    assert result.text.count("isinstance(self.") == case.count
    check_fuse(result.text, case.inputs, case.count)


def check_fuse(text: str, inputs: Inputs, count: int) -> None:
    """`fuse()` keeps the outputs of eval mode, takes `count` norms out, and may be called again."""
    with executed(text) as new:
        made = new.M().double()
        perturb(made)
        generator = torch.Generator().manual_seed(3)
        given = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in inputs]  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="eval"):
            made.train().fuse()
        made.eval()
        for module in made.modules():
            module.training = False
        wanted = made(*given)
        norms = batch_norms(made)
        again = copy.deepcopy(made)
        assert made.fuse() is made
        assert batch_norms(made) == norms - count
        close(made(*given), wanted, REORDERED, "after fuse()")
        state = {key: value.clone() for key, value in made.state_dict().items()}
        made.fuse()
        close(made(*given), wanted, REORDERED, "after fuse() twice")
        # A fused model's own checkpoint loads into a fused model.
        perturb(again)
        again.fuse().load_state_dict(state, strict=True)
        close(again(*given), wanted, REORDERED, "from a fused checkpoint")


def batch_norms(module: nn.Module) -> int:
    return sum(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in module.modules())


@pytest.mark.parametrize("order", [("FUS101", CODE), (CODE, "FUS101")], ids=["bias first", "fuse first"])
@pytest.mark.parametrize(
    ("init", "forward"),
    [
        ("self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)", RUN),
        ("self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())", "return self.net(x)"),
        (
            "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)\n"
            "self.net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))",
            "return self.net(self.bn(self.conv(x)))",
        ),
    ],
    ids=["attributes", "a Sequential", "both"],
)
def test_with_the_fusion_that_drops_biases(order: tuple[str, str], init: str, forward: str) -> None:
    before = module(init, forward)
    count = init.count("BatchNorm2d")
    text = before
    for code in order:
        text = equivalent(text, IMAGE, codes=frozenset({code}), tolerance=REORDERED, deep=False).text
    assert text.count("bias=False") == count
    assert text.count("isinstance(self.") == count
    check_fuse(text, IMAGE, count)
    # Whichever came first, and applied one by one as they come.
    both = rewritten(before, codes=frozenset(order)).text
    assert both.count("bias=False") == count
    assert both.count("def fuse(") == 1


def test_a_checkpoint_of_the_old_code_loads_before_fuse() -> None:
    before = module("self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)", RUN)
    after = rewritten(before, codes=frozenset({CODE, "FUS101"})).text
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with executed(before) as old, executed(after) as new:
        one, other = old.M().double(), new.M().double()
        perturb(one)
        other.load_state_dict(one.state_dict(), strict=True)
        close(other.eval().fuse()(x), one.eval()(x), REORDERED, "fused")


def test_a_synchronised_norm() -> None:
    text = module(pair("nn.Conv2d(3, 8, 3)", "nn.SyncBatchNorm(8)"), RUN)
    (finding,) = [one for one in Analysis(text).findings if one.code == CODE]
    check_fuse(fixed_text(Analysis(text), finding), IMAGE, 1)


def test_tied_weights() -> None:
    init = PAIR + "\nself.other = nn.Conv2d(3, 8, 3)\nself.other.weight = self.conv.weight"
    result = rewritten(module(init, RUN + " + self.other(x)"), codes=frozenset({CODE}))
    check_fuse(result.text, IMAGE, 1)


def test_the_method_stands_behind_forward() -> None:
    text = module(PAIR, RUN, tail="    def name(self):\n        return 'm'")
    result = rewritten(text, codes=frozenset({CODE})).text
    (cls,) = [node for node in ast.parse(result).body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in cls.body if isinstance(node, ast.FunctionDef)] == [
        "__init__",
        "forward",
        "fuse",
        "name",
    ]


@dataclass
class Miss:
    id: str
    text: str
    reason: str = ""


def miss(id: str, reason: str, init: str, forward: str = RUN, **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


NET = "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())"

NEGATIVES = [
    miss(
        "two consumers",
        "more than once",
        pair("nn.Conv2d(3, 3, 1)", "nn.BatchNorm2d(3)"),
        "y = self.conv(x)\nreturn F.relu(self.bn(y)) + y",
    ),
    miss("returned too", "more than once", PAIR, "y = self.conv(x)\nreturn self.bn(y), y"),
    miss("the conv is called twice", "more than once", PAIR, "y = self.conv(x)\nreturn self.bn(y) + self.conv(x)"),
    miss("the norm is called twice", "more than once", PAIR, "return self.bn(self.conv(x)) + self.bn(x)"),
    miss("the norm is called from outside", "touches", PAIR, tail="def f(m, x):\n    return m.bn(x)"),
    miss("the norm under a condition", "", PAIR, "y = self.conv(x)\nif x.shape[0] > 1:\n    y = self.bn(y)\nreturn y"),
    miss(
        "no statistics",
        "running statistics",
        pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8, track_running_stats=False)"),
    ),
    miss(
        "no statistics by position",
        "running statistics",
        pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8, 1e-5, 0.1, True, False)"),
    ),
    miss(
        "statistics of a setting",
        "running statistics",
        "t = True\n" + pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8, track_running_stats=t)"),
    ),
    miss("transposed, in groups", "in groups", pair("nn.ConvTranspose2d(3, 3, 3, groups=3)", "nn.BatchNorm2d(3)")),
    miss(
        "transposed, groups by position",
        "in groups",
        pair("nn.ConvTranspose2d(3, 3, 3, 1, 0, 0, 3)", "nn.BatchNorm2d(3)"),
    ),
    miss(
        "transposed, groups of a setting",
        "in groups",
        "g = 3\n" + pair("nn.ConvTranspose2d(3, 3, 3, groups=g)", "nn.BatchNorm2d(3)"),
    ),
    miss(
        "linear and a norm without weights",
        "without weights",
        pair("nn.Linear(3, 8)", "nn.BatchNorm1d(8, affine=False)"),
    ),
    miss(
        "linear and a norm of a setting",
        "without weights",
        "a = True\n" + pair("nn.Linear(3, 8)", "nn.BatchNorm1d(8, 1e-5, 0.1, a)"),
    ),
    miss(
        "linear on sequences",
        "second dimension",
        pair("nn.Linear(16, 5)", "nn.BatchNorm1d(5)"),
        "return self.bn(self.conv(x.view(2, 5, 16)))",
    ),
    miss("linear, other features", "features", pair("nn.Linear(16, 5)", "nn.BatchNorm1d(8)")),
    miss("another rank", "", pair("nn.Conv1d(3, 8, 3)", "nn.BatchNorm2d(8)")),
    miss("an instance norm", "", pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8)")),
    miss("a norm of a parameter", "", pair("nn.Conv2d(3, 8, 3)", "norm(8)")),
    miss("an activation between", "", PAIR, "return self.bn(F.relu(self.conv(x)))"),
    miss("a norm before", "", pair("nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(3)"), "return self.conv(self.bn(x))"),
    miss("written to between", "", PAIR, "y = self.conv(x)\ny += 1\nreturn self.bn(y)"),
    miss("the weight is read in forward", "beside its call", PAIR, RUN + " + self.bn.weight.sum()"),
    miss(
        "the statistics are read",
        "beside its call",
        PAIR,
        tail="    def mean(self):\n        return self.bn.running_mean",
    ),
    miss("the norm is handed on", "beside its call", PAIR + "\nself.norms = [self.bn]"),
    miss("the conv is wrapped", "beside its call", PAIR + "\nnn.utils.spectral_norm(self.conv)"),
    miss("the conv is wrapped when made", "", pair("nn.utils.weight_norm(nn.Conv2d(3, 8, 3))", "nn.BatchNorm2d(8)")),
    miss("the conv is hooked", "beside its call", PAIR + "\nself.conv.register_forward_hook(print)"),
    miss("replaced", "", PAIR + "\nself.bn = nn.BatchNorm2d(8)"),
    miss(
        "an optional norm",
        "",
        "self.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8) if torch.cuda.is_available() else nn.Identity()",
    ),
    miss("the name is taken", "`fuse` already", PAIR, tail="    def fuse(self):\n        return self"),
    miss("the name is an attribute", "`fuse` already", PAIR + "\nself.fuse = True"),
    miss(
        "the name is called",
        "`fuse` already",
        PAIR,
        tail="def deploy(m):\n    for one in m.modules():\n        one.fuse()",
    ),
    miss(
        "the name is a string",
        "`fuse` already",
        PAIR,
        tail="def deploy(m):\n    return [one for one in m.modules() if hasattr(one, 'fuse')]",
    ),
    miss(
        "the name is a subclass's", "`fuse` already", PAIR, tail="class N(M):\n    def fuse(self):\n        return self"
    ),
    miss(
        "norms are replaced by type",
        "",
        PAIR,
        tail=(
            "def f(m):\n    for n, c in m.named_children():\n        if isinstance(c, nn.BatchNorm2d):\n"
            "            setattr(m, n, nn.GroupNorm(4, c.num_features))\n        else:\n            f(c)"
        ),
    ),
    miss(
        "norms are replaced by path",
        "replaces layers",
        PAIR,
        tail=(
            "def f(m):\n    for n, c in m.named_modules():\n        if isinstance(c, nn.BatchNorm2d):\n"
            "            m.set_submodule(n, nn.Identity())"
        ),
    ),
    miss("children", "walks", PAIR, tail="def f(m):\n    return nn.Sequential(*list(m.children())[:1])"),
    miss(
        "named for a quantiser",
        "names",
        PAIR,
        tail="def f(m):\n    torch.ao.quantization.fuse_modules(m, ['conv', 'bn'], inplace=True)",
    ),
    miss("a Sequential that is indexed", "beside its call", NET, "return self.net[0](x)"),
    miss("a Sequential that is iterated", "beside its call", NET, "for layer in self.net:\n    x = layer(x)\nreturn x"),
    miss(
        "a Sequential that is extended", "beside its call", NET + "\nself.net.append(nn.ReLU())", "return self.net(x)"
    ),
    miss("a Sequential under a condition", "", "if torch.cuda.is_available():\n    " + NET, "return self.net(x)"),
    miss(
        "a Sequential of a list",
        "",
        "layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]\nself.net = nn.Sequential(*layers)",
        "return self.net(x)",
    ),
    miss(
        "a key that the Sequential has",
        "cannot be reached",
        'self.net = nn.Sequential(OrderedDict([("append", nn.Conv2d(3, 8, 3)), ("bn", nn.BatchNorm2d(8))]))',
        "return self.net(x)",
        head="from collections import OrderedDict",
    ),
    Miss(
        "an inherited convolution",
        "from torch import nn\n\n\nclass Base(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 8, 3)\n\n\nclass M(Base):\n    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.bn = nn.BatchNorm2d(8)\n\n    def forward(self, x):\n        return self.bn(self.conv(x))\n",
    ),
    Miss(
        "a subclass with another forward",
        module(PAIR, RUN, tail="class N(M):\n    def forward(self, x):\n        return self.bn(F.relu(self.conv(x)))"),
        "more than once",
    ),
    Miss("an unknown base", module(PAIR, RUN, head="from somewhere import Base").replace("(nn.Module)", "(Base)")),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons


def test_there_are_more_near_misses_than_matches() -> None:
    assert len(NEGATIVES) > len(POSITIVES)


def test_a_pair_that_cannot_be_folded_costs_no_other() -> None:
    text = module(
        PAIR + "\nself.up = nn.ConvTranspose2d(8, 8, 2, groups=2)\nself.up_bn = nn.BatchNorm2d(8)",
        "return self.up_bn(self.up(self.bn(self.conv(x))))",
    )
    result = equivalent(text, IMAGE, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    check_fuse(result.text, IMAGE, 1)
    assert "up_bn, nn.Identity" not in result.text
