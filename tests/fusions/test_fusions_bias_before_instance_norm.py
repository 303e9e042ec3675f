"""FUS102: a bias that an instance norm subtracts is dropped, and old checkpoints still load."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS102"
IMAGE: Inputs = ((4, 3, 6, 6),)
PAIR = "self.conv = nn.Conv2d(3, 8, 3)\nself.norm = nn.InstanceNorm2d(8)"
RUN = "return self.norm(self.conv(x))"


@dataclass
class Case:
    id: str
    text: str
    count: int = 1
    inputs: Inputs = IMAGE


def case(id: str, init: str, forward: str = RUN, count: int = 1, inputs: Inputs = IMAGE, **around: str) -> Case:
    return Case(id, module(init, forward, **around), count, inputs)


def pair(conv: str, norm: str) -> str:
    return f"self.conv = {conv}\nself.norm = {norm}"


POSITIVES = [
    case("plain", PAIR),
    case("affine", pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8, affine=True)")),
    case("with statistics", pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8, track_running_stats=True)")),
    case("with all by position", pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8, 1e-5, 0.1, True, True)")),
    case("without, by keyword", pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8, track_running_stats=False)")),
    case("one dimension", pair("nn.Conv1d(3, 8, 3)", "nn.InstanceNorm1d(8)"), inputs=((4, 3, 6),)),
    case("one dimension without a batch", pair("nn.Conv1d(3, 8, 3)", "nn.InstanceNorm1d(8)"), inputs=((3, 6),)),
    case("three dimensions", pair("nn.Conv3d(2, 4, 2)", "nn.InstanceNorm3d(4)"), inputs=((2, 2, 4, 4, 4),)),
    case("transposed", pair("nn.ConvTranspose2d(3, 8, 3, stride=2)", "nn.InstanceNorm2d(8)")),
    case("an image without a batch", PAIR, inputs=((3, 6, 6),)),
    case("a group a channel", pair("nn.Conv2d(3, 8, 3)", "nn.GroupNorm(8, 8)")),
    case("a group a channel by keyword", pair("nn.Conv2d(3, 8, 3)", "nn.GroupNorm(num_channels=8, num_groups=8)")),
    case("a group a channel of one pixel", pair("nn.Conv2d(3, 8, 6)", "nn.GroupNorm(8, 8, affine=False)")),
    case("a group a channel by expression", "w = 4\n" + pair("nn.Conv2d(3, w * 2, 3)", "nn.GroupNorm(w * 2, w * 2)")),
    case("a bias by keyword", pair("nn.Conv2d(3, 8, 3, bias=True)", "nn.InstanceNorm2d(8)")),
    case("in steps", PAIR, "x = self.conv(x)\nx = self.norm(x)\nreturn F.relu(x)"),
    case(
        "an attribute",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.ReLU())",
        "return self.net(x)",
    ),
    case(
        "an attribute with a group norm",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(8, 8), nn.ReLU())",
        "return self.net(x)",
    ),
    case(
        "returned",
        "self.net = make(3, 8)",
        "return self.net(x)",
        head="def make(a, b):\n    return nn.Sequential(nn.Conv2d(a, b, 3), nn.InstanceNorm2d(b), nn.ReLU())",
    ),
    case(
        "returned with statistics",
        "self.net = make(3, 8)",
        "return self.net(x)",
        head="def make(a, b):\n"
        "    return nn.Sequential(nn.Conv2d(a, b, 3), nn.InstanceNorm2d(b, affine=True, track_running_stats=True))",
    ),
    case(
        "the residual block of CycleGAN",
        """
self.block = nn.Sequential(
    nn.ReflectionPad2d(1),
    nn.Conv2d(3, 3, 3),
    nn.InstanceNorm2d(3),
    nn.ReLU(inplace=True),
    nn.ReflectionPad2d(1),
    nn.Conv2d(3, 3, 3),
    nn.InstanceNorm2d(3),
)
""",
        "return x + self.block(x)",
        2,
    ),
    case(
        "beside a batch norm in one list",
        "layers = [nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8)]\nlayers += [nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)]\n"
        "self.net = nn.Sequential(*layers)",
        "return self.net(x)",
    ),
    case(
        "not frozen by eval mode",
        PAIR,
        tail="def f(m):\n    for n in m.modules():\n        if isinstance(n, nn.BatchNorm2d):\n            n.eval()",
    ),
]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_dropped(case: Case) -> None:
    # A norm that computes from few values amplifies what rounding leaves of a constant.
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=case.id == "plain")
    assert len(result.applied) == case.count, result.text
    assert result.text.count("bias=False") == case.count
    assert {finding.safety for finding in result.applied} == {Safety.CHECKPOINT}


def test_both_fusions_share_the_hook_of_a_list() -> None:
    text = next(case for case in POSITIVES if case.id == "beside a batch norm in one list").text
    result = equivalent(text, IMAGE, codes=frozenset({CODE, "FUS101"}), tolerance=REORDERED)
    assert result.text.count("bias=False") == 2
    assert result.text.count("def _fold_biases_into_norms(") == 1
    assert result.text.count("register_load_state_dict_pre_hook(") == 1


@dataclass
class Miss:
    id: str
    text: str
    reason: str = ""


def miss(id: str, reason: str, init: str, forward: str = RUN, **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


NEGATIVES = [
    *(
        miss(f"a norm: {norm}", "", pair("nn.Conv2d(3, 8, 3)", norm))
        for norm in (
            "nn.GroupNorm(1, 8)",
            "nn.GroupNorm(4, 8)",
            "nn.GroupNorm(8 // 2, 8)",
            "nn.GroupNorm(num_groups=2, num_channels=8)",
            "nn.GroupNorm(w(), w())",
            "nn.GroupNorm(*sizes)",
            "nn.LayerNorm([8, 4, 4])",
            "nn.BatchNorm2d(8)",
            "nn.LocalResponseNorm(2)",
            "nn.InstanceNorm1d(8)",
            "nn.InstanceNorm3d(8)",
            "nn.LazyInstanceNorm2d()",
            "norm_layer(8)",
            "InstanceNorm2d(8)",
        )
    ),
    miss("linear", "", pair("nn.Linear(3, 8)", "nn.InstanceNorm1d(8)")),
    miss("linear before a group norm", "", pair("nn.Linear(3, 8)", "nn.GroupNorm(8, 8)")),
    miss("no bias", "", pair("nn.Conv2d(3, 8, 3, bias=False)", "nn.InstanceNorm2d(8)")),
    miss(
        "a bias of a setting",
        "decided by an expression",
        "b = len(torch.__version__) > 1\n" + pair("nn.Conv2d(3, 8, 3, bias=b)", "nn.InstanceNorm2d(8)"),
    ),
    miss(
        "statistics of a setting",
        "running statistics is decided",
        "t = len(torch.__version__) > 1\n" + pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8, track_running_stats=t)"),
    ),
    miss("a residual", "more than once", PAIR, "y = self.conv(x)\nreturn y + self.norm(y)"),
    miss("returned too", "more than once", PAIR, "y = self.conv(x)\nreturn self.norm(y), y"),
    miss(
        "statistics of the input are kept (AdaIN)",
        "more than once",
        PAIR,
        "y = self.conv(x)\nm = y.mean((2, 3))\nreturn self.norm(y), m",
    ),
    miss(
        "the conv is called twice",
        "more than once",
        pair("nn.Conv2d(3, 3, 1)", "nn.InstanceNorm2d(3)"),
        "return self.norm(self.conv(self.conv(x)))",
    ),
    miss(
        "the norm is shared",
        "more than once",
        PAIR + "\nself.b = nn.Conv2d(3, 8, 3)",
        "return self.norm(self.conv(x)) + self.norm(self.b(x))",
    ),
    miss("a norm in one arm", "", PAIR, "y = self.conv(x)\nreturn self.norm(y) if self.training else y"),
    miss("an activation between", "", PAIR, "return self.norm(F.relu(self.conv(x)))"),
    miss("a pool between", "", PAIR, "return self.norm(F.max_pool2d(self.conv(x), 2))"),
    miss("noise between", "", PAIR, "y = self.conv(x)\ny = y + torch.randn_like(y)\nreturn self.norm(y)"),
    miss("in-place between", "", PAIR, "y = self.conv(x)\ny.relu_()\nreturn self.norm(y)"),
    miss("the bias is read", "beside its call", PAIR, RUN + " + self.conv.bias.sum()"),
    miss("the bias is initialised", "beside its call", PAIR + "\nself.conv.bias.data.zero_()"),
    miss("a hook sees the output", "beside its call", PAIR + "\nself.conv.register_forward_hook(print)"),
    miss(
        "an initialiser needs it",
        "without asking",
        PAIR,
        tail="def init(m):\n    if isinstance(m, nn.Conv2d):\n        m.bias.data.fill_(0)",
    ),
    miss(
        "the initialiser of a GAN",
        "without asking",
        PAIR,
        tail=(
            "def weights_init_normal(m):\n    classname = m.__class__.__name__\n    if classname.find('Conv') != -1:\n"
            "        nn.init.normal_(m.weight.data, 0.0, 0.02)\n        nn.init.constant_(m.bias.data, 0.0)"
        ),
    ),
    miss("the key is named", "names", PAIR, tail="def f(sd):\n    return sd['conv.bias']"),
    miss(
        "statistics that are frozen",
        "eval mode",
        pair("nn.Conv2d(3, 8, 3)", "nn.InstanceNorm2d(8, track_running_stats=True)"),
        tail="def f(m):\n    for n in m.modules():\n        if isinstance(n, nn.BatchNorm2d):\n            n.eval()",
    ),
    miss(
        "a Sequential that is indexed",
        "beside its call",
        "self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8))",
        "return self.net[0](x)",
    ),
    miss(
        "a result that is indexed",
        "taken apart",
        "self.net = make()",
        "return self.net[0](x)",
        head="def make():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8))",
    ),
    miss(
        "a group norm in a returned Sequential",
        "knows no group norms",
        "self.net = make()",
        "return self.net(x)",
        head="def make():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(8, 8))",
    ),
    miss(
        "an optional norm of a list",
        "not always a norm",
        "layers = [nn.Conv2d(3, 8, 3)]\nif len(torch.__version__) > 1:\n    layers.append(nn.InstanceNorm2d(8))\n"
        "self.net = nn.Sequential(*layers)",
        "return self.net(x)",
    ),
]


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons


def test_there_are_more_near_misses_than_matches() -> None:
    assert len(NEGATIVES) > len(POSITIVES)


def test_breaking_where_checkpoints_load_past_hooks() -> None:
    (finding,) = Analysis(module(PAIR, RUN, head="from transformers import PreTrainedModel")).findings
    assert finding.safety is Safety.BREAKING
