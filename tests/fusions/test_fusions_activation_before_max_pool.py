"""FUS703: an activation that never decreases moves behind a max pool; any other stays where it is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS703"
CONV = "self.conv = nn.Conv2d(3, 4, 3)\n"
POOL = CONV + "self.pool = nn.MaxPool2d(2)\n"
X: Inputs = ((2, 3, 9, 10),)


@dataclass
class Case:
    """One file, and what must stand in it afterwards."""

    id: str
    text: str
    after: str
    inputs: Inputs = X


def case(id: str, init: str, forward: str, after: str, inputs: Inputs = X, **around: str) -> Case:
    return Case(id, module(init, forward, **around), after, inputs)


ACTIVATIONS = [
    case(f"activation {call}", "pass", f"return F.max_pool2d({call}, 2)", call.replace("(x", "(F.max_pool2d(x, 2)", 1))
    for call in (
        "F.relu(x)",
        "torch.relu(x)",
        "F.relu6(x)",
        "F.leaky_relu(x)",
        "F.leaky_relu(x, 0.1)",
        "F.elu(x)",
        "F.elu(x, alpha=0.5)",
        "F.selu(x)",
        "torch.selu(x)",
        "F.celu(x, 2.0)",
        "torch.sigmoid(x)",
        "F.sigmoid(x)",
        "torch.tanh(x)",
        "F.hardtanh(x)",
        "F.hardtanh(x, -2.0, 0.5)",
        "F.softplus(x)",
        "F.softplus(x, beta=2)",
        "F.hardsigmoid(x)",
        "F.logsigmoid(x)",
    )
]

LAYERS = [
    case(f"layer {made}", f"{POOL}self.act = {made}", "return self.pool(self.act(self.conv(x)))", "self.act(self.pool(")
    for made in (
        "nn.ReLU()",
        "nn.ReLU6()",
        "nn.LeakyReLU()",
        "nn.LeakyReLU(0.2)",
        "nn.ELU(alpha=1.0)",
        "nn.SELU()",
        "nn.CELU()",
        "nn.Sigmoid()",
        "nn.Tanh()",
        "nn.Hardtanh(min_val=-1, max_val=2)",
        "nn.Softplus()",
        "nn.Hardsigmoid()",
        "nn.LogSigmoid()",
        "nn.ReLU(inplace=True)",
        "nn.ReLU(True)",
        "nn.LeakyReLU(0.2, inplace=True)",
        "nn.ELU(inplace=True)",
        "nn.Hardtanh(0, 6, True)",
    )
]

POOLS = [
    case(f"pool {call}", "pass", f"return {call}", f"F.relu({call.replace('F.relu(x)', 'x')})", inputs)
    for call, inputs in (
        ("F.max_pool1d(F.relu(x), 2)", ((2, 3, 9),)),
        ("F.max_pool2d(F.relu(x), (2, 3), stride=1)", X),
        ("F.max_pool2d(F.relu(x), 3, 2, 1)", X),
        ("F.max_pool2d(F.relu(x), 3, stride=2, padding=1, ceil_mode=True)", X),
        ("F.max_pool2d(F.relu(x), kernel_size=2, dilation=2)", X),
        ("F.max_pool3d(F.relu(x), 2)", ((1, 2, 4, 5, 6),)),
        ("torch.max_pool2d(F.relu(x), 2)", X),
        ("F.adaptive_max_pool1d(F.relu(x), 3)", ((2, 3, 9),)),
        ("F.adaptive_max_pool2d(F.relu(x), (1, 1))", X),
        ("F.adaptive_max_pool3d(F.relu(x), 2)", ((1, 2, 4, 5, 6),)),
        ("F.max_pool2d(F.relu(x), 2, return_indices=False)", X),
        ("F.max_pool2d(input=F.relu(x), kernel_size=2)", X),
    )
] + [
    case(f"pool {made}", f"self.pool = {made}", "return self.pool(torch.tanh(x))", "torch.tanh(self.pool(x))", inputs)
    for made, inputs in (
        ("nn.MaxPool1d(2)", ((2, 3, 9),)),
        ("nn.MaxPool2d(3, stride=2, padding=1)", X),
        ("nn.MaxPool2d(kernel_size=2, return_indices=False)", X),
        ("nn.MaxPool3d(2)", ((1, 2, 4, 5, 6),)),
        ("nn.AdaptiveMaxPool2d(1)", X),
        ("nn.AdaptiveMaxPool1d(2)", ((2, 3, 9),)),
    )
]

PLACES = [
    case(
        "two statements",
        POOL,
        "x = F.relu(self.conv(x))\nx = self.pool(x)\nreturn x",
        "x = self.pool(self.conv(x))\n        x = F.relu(x)\n",
    ),
    case(
        "three statements of layers",
        f"{POOL}self.bn = nn.BatchNorm2d(4)\nself.relu = nn.ReLU(inplace=True)",
        "x = self.conv(x)\nx = self.bn(x)\nx = self.relu(x)\nx = self.pool(x)\nreturn x",
        "x = self.pool(x)\n        x = self.relu(x)\n",
    ),
    case(
        "two names",
        POOL,
        "y = F.relu(self.conv(x))\nz = self.pool(y)\nreturn z + z.mean()",
        "        z = F.relu(self.pool(self.conv(x)))\n        return z",
    ),
    case(
        "two names with comments",
        POOL,
        "y = F.relu(self.conv(x))  # act\nz = self.pool(y)  # half\nreturn z + z.mean()",
        "        # act\n        z = F.relu(self.pool(self.conv(x)))  # half\n",
    ),
    case(
        "one name with comments",
        POOL,
        "x = F.relu(self.conv(x))  # act\n# smaller\nx = self.pool(x)  # half\nreturn x",
        "x = F.relu(self.pool(self.conv(x)))  # act\n        return x",
    ),
    case(
        "statements apart",
        POOL,
        "h = F.relu(self.conv(x))\nn = x.mean()\nh = self.pool(h)\nreturn h * n",
        "h = F.relu(self.pool(self.conv(x)))\n        n = x.mean()\n        return h * n",
    ),
    case(
        "the pool in the return",
        POOL,
        "h = F.relu(self.conv(x))\nreturn torch.flatten(self.pool(h), 1)",
        "h = F.relu(self.pool(self.conv(x)))\n        return torch.flatten(h, 1)",
    ),
    case("a method", POOL, "return self.pool(self.conv(x).relu())", "return self.pool(self.conv(x)).relu()"),
    case("a method of a sum", POOL, "return self.pool((x + 1).tanh())", "return self.pool(x + 1).tanh()"),
    case("a keyword", POOL, "return self.pool(torch.tanh(input=x))", "return torch.tanh(input=self.pool(x))"),
    case("made on the spot", POOL, "return self.pool(nn.ReLU()(x))", "return nn.ReLU()(self.pool(x))"),
    case(
        "a conditional operand",
        POOL,
        "return self.pool(torch.relu(x if x.dim() == 4 else x[None]))",
        "torch.relu(self.pool(x if",
    ),
    case(
        "over lines",
        POOL,
        "x = self.pool(\n    # the first\n    F.relu(\n        self.conv(x)  # features\n    )\n)\nreturn x",
        "x = F.relu(",
    ),
    case(
        "in a branch", POOL, "if x.dim() == 4:\n    x = F.relu(x)\n    x = self.pool(x)\nreturn x", "x = self.pool(x)\n"
    ),
    case("in a loop", POOL, "for _ in range(2):\n    x = self.pool(F.relu(x))\nreturn x", "F.relu(self.pool(x))"),
    case(
        "written to behind, but not kept",
        POOL,
        "y = self.pool(F.softplus(self.conv(x)))\ny += 1\nreturn y",
        "y = F.softplus(self.pool(self.conv(x)))",
    ),
    case(
        "a block behind",
        f"{POOL}self.relu = nn.ReLU(True)\nself.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True))",
        "return self.block(self.pool(self.relu(self.conv(x))))",
        "self.block(self.relu(self.pool(self.conv(x))))",
    ),
    case(
        "written to in every turn, made in every turn",
        POOL,
        "y = 0\nfor _ in range(2):\n    h = self.conv(x)\n    h += 1\n    y = y + self.pool(torch.tanh(h))\nreturn y",
        "torch.tanh(self.pool(h))",
    ),
    case(
        "what it is added to",
        POOL,
        "y = torch.zeros(2, 4, 3, 4)\ny += self.pool(torch.relu(self.conv(x)))\nreturn y",
        "y += torch.relu(self.pool(self.conv(x)))",
    ),
    case(
        "numbers that are counted",
        f"{POOL}self.relu = nn.ReLU(inplace=True)",
        "return self.pool(self.relu(self.conv(x)))",
        "self.relu(self.pool(self.conv(x)))",
        tail="def train(m, data):\n    total = 0.0\n    for x in data:\n        total += m(x).sum()\n    return total",
    ),
    case(
        "many blocks",
        "self.a = nn.Conv2d(3, 4, 3)\nself.b = nn.Conv2d(4, 4, 3)\nself.pool = nn.MaxPool2d(2)",
        "x = self.pool(F.relu(self.a(x)))\nx = self.pool(F.relu(self.b(x)))\nreturn x",
        "x = F.relu(self.pool(self.a(x)))\n        x = F.relu(self.pool(self.b(x)))",
        ((1, 3, 14, 14),),
    ),
    case(
        "in place by a function",
        POOL,
        "x = self.conv(x)\nx = F.relu(x, inplace=True)\nx = self.pool(x)\nreturn x",
        "x = self.pool(x)\n        x = F.relu(x, inplace=True)\n",
    ),
    Case(
        "a function",
        "import torch\nimport torch.nn.functional as F\n\n\ndef f(x):\n    return F.max_pool2d(torch.sigmoid(x), 2)\n",
        "return torch.sigmoid(F.max_pool2d(x, 2))",
    ),
    Case(
        "tabs",
        module(POOL, "x = F.relu(x)\nx = self.pool(x)\nreturn x").replace("    ", "\t"),
        "x = self.pool(x)\n\t\tx = F.relu(x)\n",
    ),
    Case(
        "windows line ends",
        module(POOL, "x = F.relu(x)\nx = self.pool(x)\nreturn x").replace("\n", "\r\n"),
        "x = self.pool(x)\r\n        x = F.relu(x)\r\n",
    ),
]

LITERALS = [
    case(
        "blocks of literals",
        "self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2))\n"
        "self.b = nn.Sequential(nn.Conv2d(4, 2, 2), nn.BatchNorm2d(2), nn.ReLU(inplace=True))",
        "return self.b(self.a(x))",
        "nn.MaxPool2d(2), nn.ReLU(inplace=True))",
    ),
    case(
        "a literal and a linear layer",
        "self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2))\n"
        "self.fc = nn.Linear(48, 2)",
        "x = self.a(x)\nx = x.view(x.size(0), -1)\nreturn self.fc(x)",
        "nn.MaxPool2d(2), nn.ReLU(inplace=True))",
        tail="def count(xs):\n    n = 0\n    for x in xs:\n        n += x.numel()\n    return n",
    ),
    case(
        "a literal",
        "self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))",
        "return self.net(x)",
        "nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU())",
    ),
    case(
        "a literal over lines",
        "self.net = nn.Sequential(\n    nn.Conv2d(3, 4, 3),\n    nn.BatchNorm2d(4),\n    nn.ReLU(inplace=True),\n"
        "    nn.MaxPool2d(kernel_size=2, stride=2),\n    nn.Conv2d(4, 4, 3),\n)",
        "return self.net(x)",
        "nn.MaxPool2d(kernel_size=2, stride=2),\n            nn.ReLU(inplace=True),\n",
    ),
    case(
        "an ordered literal",
        'self.net = nn.Sequential(\n    OrderedDict(\n        [("c", nn.Conv2d(3, 4, 3)), ("a", nn.Tanh()), '
        '("p", nn.MaxPool2d(2))]\n    )\n)',
        "return self.net(x)",
        '("p", nn.MaxPool2d(2)), ("a", nn.Tanh())',
        head="from collections import OrderedDict",
    ),
]


@pytest.mark.parametrize("case", ACTIVATIONS + LAYERS + POOLS + PLACES + LITERALS, ids=lambda case: case.id)
def test_moved(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}


@dataclass
class Miss:
    id: str
    text: str
    reason: str = ""


def miss(id: str, init: str, forward: str, reason: str = "", **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


FORMULAS = [
    miss(f"not monotone: {call}", POOL, f"return self.pool({call})", reason)
    for call, reason in (
        ("F.gelu(x)", "decreases somewhere"),
        ("F.silu(x)", "decreases somewhere"),
        ("F.mish(x)", "decreases somewhere"),
        ("F.hardswish(x)", "decreases somewhere"),
        ("F.leaky_relu(x, -0.1)", "decreases somewhere"),
        ("F.leaky_relu(x, negative_slope=-1)", "decreases somewhere"),
        ("F.leaky_relu(x, 0)", "decreases somewhere"),
        ("F.elu(x, -1.0)", "decreases somewhere"),
        ("F.celu(x, alpha=-2)", "decreases somewhere"),
        ("F.hardtanh(x, 1.0, -1.0)", "decreases somewhere"),
        ("F.softplus(x, beta=-1)", "decreases somewhere"),
        ("F.softplus(x, 1, 1)", "threshold of its own"),
        ("F.leaky_relu(x, self.slope)", "not a literal number"),
        ("F.leaky_relu(x, *args)", ""),
        ("F.elu(x, alpha=x.mean())", "not a literal number"),
        ("F.prelu(x, torch.tensor([-0.1]))", "no constant"),
        ("F.softmax(x, 1)", ""),
        ("F.dropout(x)", ""),
        ("torch.abs(x)", ""),
        ("x * 2", ""),
        ("F.relu(x) + 1", ""),
        ("-F.relu(x)", ""),
        ("F.normalize(x)", ""),
    )
] + [
    miss(f"not monotone: {made}", f"{POOL}self.act = {made}", "return self.pool(self.act(x))", reason)
    for made, reason in (
        ("nn.GELU()", "decreases somewhere"),
        ("nn.SiLU()", "decreases somewhere"),
        ("nn.Hardswish()", "decreases somewhere"),
        ("nn.PReLU()", "no constant"),
        ("nn.RReLU()", "no constant"),
        ("nn.LeakyReLU(-0.2)", "decreases somewhere"),
        ("nn.LeakyReLU(slope)", "not a literal number"),
        ("nn.Hardtanh(2, 1)", "decreases somewhere"),
        ("nn.Softplus(1, 5)", "threshold of its own"),
        ("nn.Dropout2d(0.5)", ""),
        ("nn.Softmax(1)", ""),
    )
]

OTHER_POOLS = [
    miss(f"another pool: {call}", POOL, f"return {call}", reason)
    for call, reason in (
        ("F.avg_pool2d(F.relu(x), 2)", ""),
        ("F.adaptive_avg_pool2d(F.relu(x), 1)", ""),
        ("F.lp_pool2d(F.relu(x), 2, 2)", ""),
        ("F.max_pool2d(F.relu(x), 2, return_indices=True)", "returns indices"),
        ("F.max_pool2d(F.relu(x), 2, 2, 0, 1, False, True)", "returns indices"),
        ("F.adaptive_max_pool2d(F.relu(x), 2, True)", "returns indices"),
        ("F.max_pool2d(F.relu(x), 2, return_indices=self.training)", "returns indices"),
        ("F.max_pool2d(F.relu(x), 2, padding=1, dilation=2)", "nothing but padding"),
        ("F.fractional_max_pool2d(F.relu(x), 2, 3)", ""),
        ("F.max_unpool2d(F.relu(x), x, 2)", ""),
        ("F.max_pool2d(*F.relu(x))", ""),
        ("F.relu(x).amax((2, 3))", ""),
        ("F.relu(self.pool(x))", ""),
    )
] + [
    miss(
        "a layer with indices",
        "self.pool = nn.MaxPool2d(2, return_indices=True)",
        "return self.pool(F.relu(x))",
        "indices",
    ),
    miss("a pool under a condition", "if x:\n    self.pool = nn.MaxPool2d(2)", "return self.pool(F.relu(x))"),
]

USES = [
    miss("used again", POOL, "y = F.relu(x)\nreturn self.pool(y), y", "used again"),
    miss("a skip connection", POOL, "y = F.relu(x)\nz = self.pool(y)\nreturn z + y.mean()", "used again"),
    miss("its size is read", POOL, "y = F.relu(x)\nh = y.size(2)\nreturn self.pool(y) * h", "used again"),
    miss("another name", POOL, "y = F.relu(x)\nz = y\nreturn self.pool(y) + z.sum()", "used again"),
    miss("captured", POOL, "y = F.relu(x)\nf = lambda: y\nreturn self.pool(y) + f().sum()", "used again"),
    miss("kept", POOL, "y = F.relu(x)\nself.seen = y\nreturn self.pool(y)", "used again"),
    miss("a walrus", POOL, "return self.pool(y := F.relu(x))", "bound inside"),
    miss("changed in between", POOL, "y = F.relu(x)\ny.mul_(2)\nreturn self.pool(y)"),
    miss("changed by an operator", POOL, "y = F.relu(x)\ny += 1\nreturn self.pool(y)"),
    miss("in another branch", POOL, "y = F.relu(x)\nif self.training:\n    return self.pool(y)\nreturn x", "branches"),
    miss("written to behind", POOL, "y = self.pool(torch.relu(self.conv(x)))\ny += 1\nreturn y", "in place behind"),
    miss("written to by a method", POOL, "return self.pool(torch.tanh(x)).mul_(2)", "in place behind"),
    miss(
        "written to by a layer",
        f"{POOL}self.relu = nn.ReLU(inplace=True)",
        "return self.relu(self.pool(torch.tanh(x)))",
        "in place behind",
    ),
    miss("its input written to", POOL, "x = x + 1\ny = self.pool(F.relu(x))\nx.add_(1)\nreturn y + x.sum()", "behind"),
    miss(
        "perhaps written to",
        f"{POOL}self.block = Block(4)",
        "return self.block(self.pool(torch.relu(self.conv(x))))",
        "in place behind",
        head="from blocks import Block  # works inplace",
    ),
    miss("in a loop", POOL, "y = F.relu(x)\nfor _ in range(2):\n    z = self.pool(y)\nreturn z", "branches"),
    miss("rebound", POOL, "y = F.relu(x)\nif self.training:\n    y = x\nreturn self.pool(y)"),
    miss("two targets", POOL, "y = z = F.relu(x)\nreturn self.pool(y)", "variable of its own"),
    miss("a tuple", POOL, "y, n = F.relu(x), 1\nreturn self.pool(y)", "variable of its own"),
    miss("the kernel bound behind", CONV, "y = F.relu(x)\nk = 2\nreturn F.max_pool2d(y, k)", "bound only behind"),
    miss("the kernel set behind", CONV, "y = F.relu(x)\nself.k = 2\nreturn F.max_pool2d(y, self.k)", "set only behind"),
    miss("a call for the kernel", CONV, "return F.max_pool2d(F.relu(x), self.size())", "called between"),
    miss("leaves between", POOL, "y = F.relu(x)\nif self.training:\n    return x\nreturn self.pool(y)", "may leave"),
    miss(
        "in place on the input",
        POOL,
        "y = F.relu(x, inplace=True)\nreturn self.pool(y)",
        "works in place",
    ),
    miss(
        "in place on a skip",
        f"{POOL}self.relu = nn.ReLU(inplace=True)",
        "h = self.conv(x)\ny = self.pool(self.relu(h))\nreturn y, h",
        "works in place",
    ),
    miss(
        "in place on a view",
        f"{POOL}self.relu = nn.ReLU(inplace=True)",
        "return self.pool(self.relu(x[:, :2]))",
        "works in place",
    ),
]

LAYERS_TOUCHED = [
    miss(f"the layer is {id}", f"{POOL}self.act = nn.ReLU()\n{init}", "return self.pool(self.act(x))", reason, **around)
    for id, init, reason, around in (
        ("hooked", "self.act.register_forward_hook(print)", "may be replaced or handed on", {}),
        ("replaced", "self.act = nn.GELU()", "", {}),
        ("replaced from outside", "", "may be replaced", {"tail": "def swap(m):\n    m.act = nn.GELU()\n"}),
        ("handed on", "self.acts = [self.act]", "may be replaced or handed on", {}),
        ("replaced by a computed name", "setattr(self, name, nn.GELU())", "computed name", {}),
        (
            "hooked from outside",
            "",
            "may be replaced or handed on",
            {"tail": "def watch(m):\n    m.pool.register_forward_hook(print)\n"},
        ),
        (
            "an output by name",
            "",
            "by their names",
            {"tail": "def take(m):\n    return create_feature_extractor(m, ['pool'])\n"},
        ),
    )
] + [
    Miss(
        "a base of another file",
        module(f"{POOL}self.act = nn.ReLU()", "return self.pool(self.act(x))").replace("nn.Module", "Base"),
        "inherits from",
    ),
]

LITERAL_MISSES = [
    miss(
        "literal: written to behind",
        "self.n = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.ReLU(inplace=True))",
        "return self.n(x)",
        "in place behind",
    ),
] + [
    miss(f"literal: {id}", init, forward, reason)
    for id, init, forward, reason in (
        ("gelu", "self.n = nn.Sequential(nn.GELU(), nn.MaxPool2d(2))", "return self.n(x)", "decreases"),
        ("average", "self.n = nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))", "return self.n(x)", ""),
        (
            "dropout between",
            "self.n = nn.Sequential(nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2))",
            "return self.n(x)",
            "",
        ),
        ("indexed", "self.n = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))", "return self.n[0](x)", "n"),
        (
            "iterated",
            "self.n = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))",
            "for m in self.n:\n    x = m(x)\nreturn x",
            "n",
        ),
        (
            "in place on the caller's",
            "self.n = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))",
            "return self.n(x)",
            "works in place",
        ),
        (
            "comments",
            "self.n = nn.Sequential(\n    nn.ReLU(),  # act\n    nn.MaxPool2d(2),  # half\n)",
            "return self.n(x)",
            "comment",
        ),
        (
            "a negative slope",
            "self.n = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LeakyReLU(-0.1), nn.MaxPool2d(2))",
            "return self.n(x)",
            "decreases",
        ),
        (
            "indices",
            "self.n = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True))",
            "return self.n(x)",
            "indices",
        ),
    )
]

KEPT_RESULT = [
    miss(
        f"its result: {id}",
        f"{POOL}self.r = nn.ReLU(True)\nself.s = nn.Sequential(nn.ReLU(True), nn.Conv2d(4, 4, 1))\n"
        "self.d = nn.Sequential(nn.Dropout(0.0), nn.ReLU(True))\nself.l = nn.ModuleList([nn.ReLU(True)])\n"
        "self.made = make()\nself.inner = nn.Sequential(nn.Sequential(nn.ReLU(True)), nn.Conv2d(4, 4, 1))",
        f"y = self.pool({act}(self.conv(x)))\n{behind}\nreturn y",
        "in place behind",
        tail="def make():\n    return nn.Sequential(nn.ReLU(True))",
    )
    for act in ("F.relu", "torch.sigmoid", "torch.tanh")
    for id, behind in (
        ("a number added", "y += 1"),
        ("a skip added", "y += x[:, :1, :3, :4]"),
        ("elements", "y[:, 0] = 0"),
        ("a view of it", "z = y.view(-1)\nz += 1"),
        ("a dropout", "y = F.dropout(y, 0.1, inplace=True)"),
        ("by position", "y = F.relu(y, True)"),
        ("a layer", "y = self.r(y)"),
        ("a layer in a row", "y = self.s(y)"),
        ("behind a dropout", "y = self.d(y)"),
        ("one in another", "y = self.inner(y)"),
        ("a layer of a list", "y = self.l[0](y)"),
        ("a loop over a list", "for f in self.l:\n    y = f(y)"),
        ("a layer that is made", "y = self.made(y)"),
        ("out of a list", "kept = []\nkept.append(y)\nkept[0] += 1"),
    )
    if act == "F.relu" or id in ("a number added", "a layer in a row")
] + [
    miss(
        f"its result: {id}",
        POOL,
        f"y = self.pool(torch.relu(self.conv(x)))\n{forward}",
        reason,
        **around,
    )
    for id, forward, reason, around in (
        ("in a comprehension", "return [t.add_(1) for t in (y,)][0]", "in place behind", {}),
        ("an alias", "g = torch.relu_\nreturn g(y)", "in place behind", {}),
        ("a list of functions", "fs = [torch.sigmoid_]\nreturn fs[0](y)", "in place behind", {}),
        ("a helper", "return bump(y)", "in place behind", {"tail": "def bump(x):\n    x += 1\n    return x"}),
        ("elements by a helper", "bump(y)\nreturn y", "in place behind", {"tail": "def bump(t):\n    t[:, 0] = 0"}),
        (
            "a block of the file",
            "return self.block(y)",
            "in place behind",
            {"tail": "class Block(nn.Module):\n    def forward(self, t):\n        t.mul_(2)\n        return t"},
        ),
        (
            "whoever gets it",
            "return y",
            "handed on",
            {
                "tail": "class N(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                "        self.m = M()\n\n    def forward(self, x):\n        x = self.m(x)\n        x += 1\n"
                "        return x"
            },
        ),
        (
            "a subclass",
            "return y",
            "handed on",
            {"tail": "class N(M):\n    def forward(self, x):\n        return super().forward(x).mul_(2)"},
        ),
    )
]

KEPT_RESULT.append(
    miss(
        "its result: out of a list that is filled",
        POOL,
        "ys = []\nfor _ in range(2):\n    ys.append(self.pool(torch.relu(self.conv(x))))\nfor y in ys:\n    y += 1\n"
        "return ys[0] + ys[1]",
        "in place behind",
    )
)

KEPT_INPUT = [
    miss(
        f"its input: {id}",
        f"{POOL}self.r = nn.ReLU(True)\nself.s = nn.Sequential(nn.ReLU(True))",
        f"{forward}",
        "in place behind",
    )
    for id, forward in (
        ("by a method", "x = x * 1\ny = self.pool(F.relu(x))\nx.mul_(2)\nreturn y, x"),
        ("the caller's", "y = self.pool(F.relu(x))\nx += 1\nreturn y, x"),
        ("a view of it", "x = x * 1\nz = x[:, 1:]\ny = self.pool(F.relu(x))\nz += 1\nreturn y, x"),
        ("by a layer", "x = x * 1\ny = self.pool(F.relu(x))\nx = self.r(x)\nreturn y, x"),
        ("by a row of layers", "x = x * 1\ny = self.pool(F.relu(x))\nx = self.s(x)\nreturn y, x"),
        ("in between", "x = x * 1\nh = F.relu(x)\nx += 1\ny = self.pool(h)\nreturn y, x"),
        (
            "in the next turn",
            "x = x * 1\ny = 0\nfor _ in range(2):\n    x *= 2\n    y = y + self.pool(F.relu(x))\nreturn y, x",
        ),
    )
]

NET = "self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.MaxPool2d(2))\n"
FIRST = "self.net = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))\n"
VGG = "self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.MaxPool2d(2))\n"

KEPT_OF_LITERALS = [
    miss(f"a literal: {id}", init, forward, reason, **around)
    for id, init, forward, reason, around in (
        ("its result clamped", NET, "x = self.net(x)\nx.clamp_(-1, 1)\nreturn x", "in place behind", {}),
        ("its result added to", VGG, "y = self.net(x)\ny += 1\nreturn y", "in place behind", {}),
        ("a layer behind", f"{NET}self.r = nn.ReLU(True)", "return self.r(self.net(x))", "in place behind", {}),
        (
            "a layer behind an act in place",
            f"{VGG}self.r = nn.ReLU(True)",
            "return self.r(self.net(x))",
            "in place",
            {},
        ),
        (
            "one behind it in another",
            f"self.n = nn.Sequential({NET[11:-1]}, nn.ReLU(True))",
            "return self.n(x)",
            "in place",
            {},
        ),
        (
            "in a loop with others",
            f"{NET}self.r = nn.ReLU(True)",
            "for f in (self.net, self.r):\n    x = f(x)\nreturn x",
            "in place behind",
            {},
        ),
        (
            "its caller's caller",
            NET,
            "return self.net(x)",
            "handed on",
            {"tail": "def f(m: M, x):\n    y = m(x)\n    y += 1\n    return y"},
        ),
        ("its input added to", FIRST, "x = x * 1\ny = self.net(x)\nx += 1\nreturn y, x", "in place behind", {}),
        ("its caller's input", FIRST, "y = self.net(x)\nx.mul_(2)\nreturn y, x", "in place behind", {}),
        (
            "an adaptive pool's input",
            "self.net = nn.Sequential(nn.Tanh(), nn.AdaptiveMaxPool2d(1))",
            "y = self.net(x)\nx += 1\nreturn y, x",
            "in place behind",
            {},
        ),
    )
] + [
    Miss(
        "a literal: a class of its own",
        "import torch\nfrom torch import nn\n\n\nclass B(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.MaxPool2d(2))\n\n\nclass M(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.b = B()\n\n    def forward(self, x):\n"
        "        x = self.b(x)\n        x += 1\n        return x\n",
        "in place behind",
    ),
]

REFERENCES = [
    Miss(
        "a test",
        "import torch\nimport torch.nn.functional as F\n\n\ndef test_pool(x):\n    return F.max_pool2d(F.relu(x), 2)\n",
    ),
    Miss(
        "another framework",
        "import jax\nimport torch\nfrom torch import max_pool2d\n\n\ndef f(x):\n    return max_pool2d(x.relu(), 2)\n",
    ),
    Miss(
        "a parameter that hides the module",
        "import torch\nimport torch.nn.functional as F\n\n\ndef f(x, F):\n    return F.max_pool2d(F.relu(x), 2)\n",
    ),
    Miss(
        "half a line",
        "import torch.nn.functional as F\n\n\ndef f(x):\n    y = F.relu(\n    return F.max_pool2d(y, 2)\n",
    ),
]

MISSES = FORMULAS + OTHER_POOLS + USES + LAYERS_TOUCHED + LITERAL_MISSES + REFERENCES
MISSES += KEPT_RESULT + KEPT_INPUT + KEPT_OF_LITERALS


@pytest.mark.parametrize("miss", MISSES, ids=lambda miss: miss.id)
def test_left_alone(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
