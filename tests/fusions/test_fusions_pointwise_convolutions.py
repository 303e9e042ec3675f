"""FUS704, FUS705: a convolution of one pixel commutes with an upsampling and an average pool; nothing else does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

UP, POOL = "FUS704", "FUS705"
CONV = "self.conv = nn.Conv2d(4, 3, 1)\n"
X: Inputs = ((2, 4, 5, 6),)
LINE: Inputs = ((2, 4, 7),)
VOLUME: Inputs = ((1, 4, 3, 4, 4),)


@dataclass
class Case:
    """One file, and what must stand in it afterwards."""

    id: str
    code: str
    text: str
    after: str
    inputs: Inputs = X


def case(id: str, code: str, init: str, forward: str, after: str, inputs: Inputs = X, **around: str) -> Case:
    return Case(f"{code} {id}", code, module(init, forward, **around), after, inputs)


UPSAMPLINGS = [
    case(made, UP, f"{conv}\nself.up = {made}", "return self.conv(self.up(x))", "return self.up(self.conv(x))", inputs)
    for made, conv, inputs in (
        ("nn.Upsample(scale_factor=2)", CONV, X),
        ('nn.Upsample(scale_factor=2, mode="nearest")', CONV, X),
        ('nn.Upsample(scale_factor=2.5, mode="nearest-exact")', CONV, X),
        ('nn.Upsample(scale_factor=2, mode="bilinear")', CONV, X),
        ('nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)', CONV, X),
        ('nn.Upsample(scale_factor=(2, 3), mode="bicubic")', CONV, X),
        ("nn.Upsample((9, 11))", CONV, X),
        ("nn.Upsample(size=9)", CONV, X),
        ("nn.UpsamplingNearest2d(scale_factor=2)", CONV, X),
        ("nn.UpsamplingBilinear2d(scale_factor=2)", CONV, X),
        ('nn.Upsample(scale_factor=2, mode="linear")', "self.conv = nn.Conv1d(4, 3, 1)", LINE),
        ('nn.Upsample(scale_factor=2, mode="trilinear")', "self.conv = nn.Conv3d(4, 3, 1)", VOLUME),
    )
] + [
    case(call, UP, CONV, f"return self.conv({call})", f"return {call.replace('(x', '(self.conv(x)', 1)}", inputs)
    for call, inputs in (
        ("F.interpolate(x, scale_factor=2)", X),
        ('F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)', X),
        ('F.interpolate(x, size=(9, 8), mode="bicubic")', X),
        ('F.interpolate(x, (9, 8), mode="area")', X),
        ('F.interpolate(x, None, 2, "bilinear")', X),
        ('F.interpolate(x, scale_factor=2, mode="bilinear", antialias=True)', X),
    )
]

CONVOLUTIONS = [
    case(
        made,
        UP,
        f"self.conv = {made}",
        "return self.conv(F.interpolate(x, scale_factor=2))",
        "F.interpolate(self.conv(x)",
    )
    for made in (
        "nn.Conv2d(4, 3, 1)",
        "nn.Conv2d(4, 3, (1, 1))",
        "nn.Conv2d(4, 3, kernel_size=1, bias=False)",
        "nn.Conv2d(4, 4, 1, groups=2)",
        "nn.Conv2d(4, 3, 1, 1, 0)",
        "nn.Conv2d(4, 3, 1, stride=(1, 1), padding='same')",
        "nn.Conv2d(4, 3, 1, padding='valid', dilation=2)",
        "nn.Conv2d(4, 8, 1)",
    )
]

POOLS = [
    case(made, POOL, f"{conv}\nself.pool = {made}", "return self.pool(self.conv(x))", "self.conv(self.pool(x))", inputs)
    for made, conv, inputs in (
        ("nn.AvgPool2d(2)", CONV, X),
        ("nn.AvgPool2d(3, stride=1)", CONV, X),
        ("nn.AvgPool2d(2, 2, 0)", CONV, X),
        ("nn.AvgPool2d(2, ceil_mode=True)", CONV, X),
        ("nn.AvgPool2d(2, padding=1, count_include_pad=False)", CONV, X),
        ("nn.AvgPool2d(3, 2, 1)", "self.conv = nn.Conv2d(4, 3, 1, bias=False)", X),
        ("nn.AvgPool2d(2, divisor_override=3)", "self.conv = nn.Conv2d(4, 3, 1, bias=False)", X),
        ("nn.AdaptiveAvgPool2d(1)", CONV, X),
        ("nn.AdaptiveAvgPool2d((3, 2))", CONV, X),
        ("nn.AdaptiveAvgPool2d((None, 1))", CONV, X),
        ("nn.AvgPool1d(2)", "self.conv = nn.Conv1d(4, 3, 1)", LINE),
        ("nn.AdaptiveAvgPool1d(3)", "self.conv = nn.Conv1d(4, 3, 1)", LINE),
        ("nn.AvgPool3d(2)", "self.conv = nn.Conv3d(4, 3, 1)", VOLUME),
    )
] + [
    case(call, POOL, CONV, f"return {call}", f"return self.conv({call.replace('self.conv(x)', 'x')})")
    for call in (
        "F.avg_pool2d(self.conv(x), 2)",
        "F.avg_pool2d(self.conv(x), kernel_size=2, stride=2)",
        "F.avg_pool2d(self.conv(x), 3, 1, 1, count_include_pad=False)",
        "F.adaptive_avg_pool2d(self.conv(x), 1)",
        "F.adaptive_avg_pool2d(self.conv(x), output_size=(2, 2))",
    )
]

PLACES = [
    case(
        "statements",
        UP,
        CONV,
        'x = F.interpolate(x, scale_factor=2, mode="bilinear")\nx = self.conv(x)\nreturn x',
        'x = self.conv(x)\n        x = F.interpolate(x, scale_factor=2, mode="bilinear")\n',
    ),
    case(
        "statements over lines",
        UP,
        CONV,
        "x = F.interpolate(\n    x,\n    scale_factor=2,\n)\nx = self.conv(x)\nreturn x",
        "x = self.conv(x)\n        x = F.interpolate(\n            x,\n            scale_factor=2,\n        )\n",
    ),
    case(
        "a size of another",
        UP,
        CONV,
        "return self.conv(F.interpolate(x, size=y.shape[-2:])) + y",
        "F.interpolate(self.conv(x), size=y.shape[-2:])",
        ((2, 4, 5, 6), (2, 3, 10, 12)),
        arguments="self, x, y",
    ),
    case(
        "an ordered literal",
        UP,
        "self.net = nn.Sequential(\n"
        '    OrderedDict([("up", nn.Upsample(scale_factor=2)), ("conv", nn.Conv2d(4, 3, 1))])\n)',
        "return self.net(x)",
        '("conv", nn.Conv2d(4, 3, 1)), ("up", nn.Upsample(scale_factor=2))',
        head="from collections import OrderedDict",
    ),
    case(
        "a transition",
        POOL,
        "self.norm = nn.BatchNorm2d(4)\nself.conv = nn.Conv2d(4, 2, 1, bias=False)\nself.pool = nn.AvgPool2d(2, 2)",
        "return self.pool(self.conv(F.relu(self.norm(x))))",
        "return self.conv(self.pool(F.relu(self.norm(x))))",
    ),
    case(
        "statements",
        POOL,
        f"{CONV}self.pool = nn.AvgPool2d(2)",
        "x = self.conv(x)\nx = self.pool(x)\nreturn x",
        "x = self.pool(x)\n        x = self.conv(x)\n",
    ),
    case(
        "an ordered literal",
        POOL,
        'self.net = nn.Sequential(\n    OrderedDict([("conv", nn.Conv2d(4, 3, 1)), ("pool", nn.AvgPool2d(2))])\n)',
        "return self.net(x)",
        '("pool", nn.AvgPool2d(2)), ("conv", nn.Conv2d(4, 3, 1))',
        head="from collections import OrderedDict",
    ),
]


@pytest.mark.parametrize("case", UPSAMPLINGS + CONVOLUTIONS + POOLS + PLACES, ids=lambda case: case.id)
def test_moved(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({case.code}), tolerance=REORDERED, deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}


@pytest.mark.parametrize(
    ("conv", "up", "note"),
    [
        ("nn.Conv2d(8, 4, 1)", "nn.Upsample(scale_factor=2)", "Apply `conv` before `up`"),
        ("nn.Conv2d(4, 8, 1)", "nn.Upsample(scale_factor=2)", "8 channels in place of 4"),
        ("nn.Conv2d(a, b, 1)", "nn.Upsample(scale_factor=2)", "not many more than"),
        ("nn.Conv2d(8, 4, 1)", "nn.Upsample(size=9)", "pays where it enlarges"),
    ],
)
def test_the_title_says_whether_it_pays(conv: str, up: str, note: str) -> None:
    text = module(f"self.conv = {conv}\nself.up = {up}", "return self.conv(self.up(x))")
    (finding,) = [one for one in Analysis(text).findings if one.code == UP]
    assert finding.title.endswith(note) or note in finding.title


UP_MISSES = (
    [
        (f"self.conv = {made}", "return self.conv(F.interpolate(x, scale_factor=2))", reason)
        for made, reason in (
            ("nn.Conv2d(4, 3, 3)", ""),
            ("nn.Conv2d(4, 3, (1, 3))", ""),
            ("nn.Conv2d(4, 3, k)", "not seen to be one pixel"),
            ("nn.Conv2d(4, 3, 1, stride=2)", "has a stride"),
            ("nn.Conv2d(4, 3, 1, 2)", "has a stride"),
            ("nn.Conv2d(4, 3, 1, padding=1)", "pads its input"),
            ("nn.Conv2d(4, 3, 1, padding=p)", "pads its input"),
            ("nn.Conv2d(*sizes)", ""),
            ("nn.ConvTranspose2d(4, 3, 1)", ""),
            ("nn.LazyConv2d(3, 1)", ""),
            ("nn.BatchNorm2d(4)", ""),
            ("nn.Dropout2d()", ""),
        )
    ]
    + [
        (CONV, f"return self.conv({call})", reason)
        for call, reason in (
            ("F.interpolate(x, scale_factor=0.5)", "does not enlarge"),
            ("F.interpolate(x, scale_factor=(2, 0.5))", "does not enlarge"),
            ("F.interpolate(x, scale_factor=1 / 2)", "not seen to enlarge"),
            ("F.interpolate(x)", "neither a size nor a scale"),
            ("F.grid_sample(x, x)", ""),
            ("F.pixel_shuffle(x, 2)", ""),
            ("F.relu(F.interpolate(x, scale_factor=2))", ""),
            ("F.pad(x, (1, 1))", ""),
            ("x", ""),
        )
    ]
    + [
        (CONV, "u = F.interpolate(x, scale_factor=2)\nreturn self.conv(u) + u.mean()", "used again"),
        (
            CONV,
            "x = x + 1\ny = self.conv(F.interpolate(x, scale_factor=2))\nx += 1\nreturn y + x.mean()",
            "in place behind",
        ),
        *(
            (f"{CONV}self.up = nn.Upsample(scale_factor=2)\nself.act = {act}", forward, "in place behind")
            for act, forward in (
                ("nn.ReLU()", "x = x * 1\nh = self.up(x)\nx += 1\nh = self.conv(h)\nreturn h, x"),
                ("nn.ReLU()", "x = x * 1\ny = self.conv(self.up(x))\nx.mul_(2)\nreturn y, x"),
                ("nn.ReLU()", "x = x * 1\nz = x[:, :, 1:]\ny = self.conv(self.up(x))\nz += 1\nreturn y, x"),
                ("nn.ReLU(True)", "x = x * 1\ny = self.conv(self.up(x))\nx = self.act(x)\nreturn y, x"),
                ("nn.Sequential(nn.ReLU(True))", "x = x * 1\ny = self.conv(self.up(x))\nreturn y, self.act(x)"),
                (
                    "nn.ReLU()",
                    "x = x * 1\ny = 0\nfor _ in range(2):\n    x *= 2\n    y = y + self.conv(self.up(x))\nreturn y, x",
                ),
            )
        ),
        (CONV, "u = F.interpolate(x, scale_factor=2)\nh = u.size(2)\nreturn self.conv(u) * h", "used again"),
        (CONV, "u = F.interpolate(x, scale_factor=2)\nu += 1\nreturn self.conv(u)", ""),
        (
            CONV,
            "u = F.interpolate(x, scale_factor=2)\nif self.training:\n    return self.conv(u)\nreturn x",
            "branches",
        ),
        (
            f"{CONV}self.conv.register_forward_hook(print)",
            "return self.conv(F.interpolate(x, scale_factor=2))",
            "handed on",
        ),
        (
            "self.net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 1))",
            "return self.net(x)",
            "named by its place",
        ),
        ("self.net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 3))", "return self.net(x)", ""),
    ]
)

POOL_MISSES = (
    [
        (f"self.conv = nn.Conv2d(4, 3, 1)\nself.pool = {made}", "return self.pool(self.conv(x))", reason)
        for made, reason in (
            ("nn.AvgPool2d(3, padding=1)", "counts its padding"),
            ("nn.AvgPool2d(3, 1, 1)", "counts its padding"),
            ("nn.AvgPool2d(3, padding=p)", "counts its padding"),
            ("nn.AvgPool2d(3, padding=1, count_include_pad=True)", "counts its padding"),
            ("nn.AvgPool2d(2, divisor_override=3)", "divisor of its own"),
            ("nn.MaxPool2d(2)", ""),
            ("nn.LPPool2d(2, 2)", ""),
            ("nn.AdaptiveMaxPool2d(1)", ""),
            ("nn.AvgPool2d(*sizes)", ""),
            ("pool(2)", ""),
        )
    ]
    + [
        (f"self.conv = {made}\nself.pool = nn.AvgPool2d(2)", "return self.pool(self.conv(x))", reason)
        for made, reason in (
            ("nn.Conv2d(4, 3, 3)", ""),
            ("nn.Conv2d(4, 3, k)", "not seen to be one pixel"),
            ("nn.Conv2d(4, 3, 1, stride=2)", "has a stride"),
            ("nn.Conv2d(4, 3, 1, padding=1)", "pads its input"),
            ("nn.Linear(4, 3)", ""),
        )
    ]
    + [
        (CONV, "return F.avg_pool2d(F.relu(self.conv(x)), 2)", ""),
        (CONV, "return F.avg_pool2d(self.conv(x), 2, padding=1)", "counts its padding"),
        (CONV, "h = self.conv(x)\nreturn F.avg_pool2d(h, 2) + h.mean()", "used again"),
        (CONV, "h = self.conv(x)\nreturn F.avg_pool2d(h, h.shape[2:])", "used again"),
        (CONV, "h = self.conv(x)\nh.mul_(2)\nreturn F.avg_pool2d(h, 2)", "used again"),
        (f"{CONV}self.bn = nn.BatchNorm2d(3)", "return F.avg_pool2d(self.bn(self.conv(x)), 2)", ""),
        (f"{CONV}self.convs = [self.conv]", "return F.avg_pool2d(self.conv(x), 2)", "handed on"),
        ("self.net = nn.Sequential(nn.Conv2d(4, 3, 1), nn.AvgPool2d(2))", "return self.net(x)", "named by its place"),
    ]
)


@pytest.mark.parametrize(
    ("code", "init", "forward", "reason"),
    [(UP, *miss) for miss in UP_MISSES] + [(POOL, *miss) for miss in POOL_MISSES],
)
def test_left_alone(code: str, init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), code)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_a_literal_whose_input_is_written_to_behind_it() -> None:
    literal = 'self.n = nn.Sequential(OrderedDict([("u", nn.Upsample(scale_factor=2)), ("c", nn.Conv2d(4, 3, 1))]))'
    forward = "x = x * 1\ny = self.n(x)\nx += 1\nreturn y, x"
    (reason,) = refused(module(literal, forward, head="from collections import OrderedDict"), UP)
    assert "in place behind" in reason
