"""FUS201: what is merged computes the same on old checkpoints; what only looks like it is refused, with the reason."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS201"
X: Inputs = ((2, 5, 16),)
QKV = """
self.q = nn.Linear(16, 16)
self.k = nn.Linear(16, 16)
self.v = nn.Linear(16, 16)
"""
PROJ = QKV.replace("self.q", "self.q_proj").replace("self.k", "self.k_proj").replace("self.v", "self.v_proj")
ATTEND = "return F.scaled_dot_product_attention(q, k, v)"


@dataclass
class Case:
    """One file; `left` are the linear layers that its `__init__`s make after the rewrite."""

    id: str
    text: str
    left: list[str]
    inputs: Inputs = X
    options: dict[str, object] = field(default_factory=dict)


def case(id: str, left: str, init: str, forward: str, inputs: Inputs = X, **around: str) -> Case:
    return Case(id, module(init, forward, **around), left.split(), inputs)


CALLS = [
    case("statements", "qkv", QKV, f"q = self.q(x)\nk = self.k(x)\nv = self.v(x)\n{ATTEND}"),
    case("one tuple", "qkv", QKV, f"q, k, v = self.q(x), self.k(x), self.v(x)\n{ATTEND}"),
    case("one tuple in parentheses", "qkv", QKV, f"(q, k, v) = (self.q(x), self.k(x), self.v(x))\n{ATTEND}"),
    case(
        "a tuple over lines",
        "qkv",
        QKV,
        f"q, k, v = (\n    self.q(x),  # queries\n    self.k(x),\n    self.v(x),\n)\n{ATTEND}",
    ),
    case("a list of targets", "qkv", QKV, f"[q, k, v] = [self.q(x), self.k(x), self.v(x)]\n{ATTEND}"),
    case(
        "two of a tuple of three",
        "qk o",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)\nself.o = nn.Linear(16, 16)",
        "q, n, k = self.q(x), x.mean(), self.k(x)\nreturn self.o(q * k) + n",
    ),
    case("any order of calls", "qkv", QKV, f"v = self.v(x)\nq = self.q(x)\nk = self.k(x)\n{ATTEND}"),
    case("any order in a tuple", "qkv", QKV, f"v, q, k = self.v(x), self.q(x), self.k(x)\n{ATTEND}"),
    case(
        "methods behind",
        "qkv",
        QKV,
        """
B, T, C = x.shape
q = self.q(x).view(B, T, 4, 4).transpose(1, 2)
k = self.k(x).view(B, T, 4, 4).transpose(1, 2)
v = self.v(x).view(B, T, 4, 4).transpose(1, 2)
return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, C)
""",
    ),
    case(
        "a view to minus one heads",
        "qkv",
        QKV,
        """
shape = (*x.shape[:-1], -1, 4)
q = self.q(x).view(shape).transpose(1, 2)
k = self.k(x).view(shape).transpose(1, 2)
v = self.v(x).view(shape).transpose(1, 2)
return F.scaled_dot_product_attention(q, k, v)
""",
    ),
    case(
        "sizes from a shape cut at its end",
        "qkv",
        QKV,
        """
B, T = x.shape[:2]
q = self.q(x).view(B, T, 4, -1).transpose(1, 2)
k = self.k(x).view(B, T, 4, -1).transpose(1, 2)
v = self.v(x).view(B, T, 4, -1).transpose(1, 2)
return F.scaled_dot_product_attention(q, k, v)
""",
    ),
    case(
        "sizes from a shape in a tuple",
        "qkv",
        QKV,
        """
b, n, _, h = *x.shape, 4
q, k, v = self.q(x).view(b, n, h, -1), self.k(x).view(b, n, h, -1), self.v(x).view(b, n, h, -1)
return q + k + v
""",
    ),
    case("nested in one call", "qkv", QKV, "return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))"),
    case(
        "gate and up",
        "gate_up_proj down_proj",
        "self.gate_proj = nn.Linear(16, 24, bias=False)\n"
        "self.up_proj = nn.Linear(16, 24, bias=False)\n"
        "self.down_proj = nn.Linear(24, 16, bias=False)",
        "return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))",
    ),
    case(
        "gate and up with a layer between",
        "w1_w3 w2",
        "self.w1 = nn.Linear(16, 24)\nself.w2 = nn.Linear(24, 16)\nself.w3 = nn.Linear(16, 24)\nself.act = nn.GELU()",
        "return self.w2(self.act(self.w1(x)) * self.w3(x))",
    ),
    case(
        "gate and up in steps",
        "gate_up down",
        "self.gate = nn.Linear(16, 24)\nself.up = nn.Linear(16, 24)\nself.down = nn.Linear(24, 16)",
        "gate = F.silu(self.gate(x))\nup = self.up(x)\nreturn self.down(gate * up)",
    ),
    case(
        "a name bound twice",
        "mu_logvar",
        "self.mu = nn.Linear(16, 4)\nself.logvar = nn.Linear(16, 4)",
        "h = torch.tanh(x)\nmu = self.mu(h)\nmu = mu * 2\nlogvar = self.logvar(h)\nreturn mu, logvar",
    ),
    case(
        "mean and variance",
        "mu_logvar",
        "self.mu = nn.Linear(16, 4)\nself.logvar = nn.Linear(16, 4)",
        "h = F.relu(x)\nmu, logvar = self.mu(h), self.logvar(h)\nreturn mu + torch.exp(0.5 * logvar)",
    ),
    case(
        "returned as they are",
        "mu_logvar",
        "self.mu = nn.Linear(16, 4)\nself.logvar = nn.Linear(16, 4)",
        "return self.mu(x), self.logvar(x)",
    ),
    case(
        "returned in a dict",
        "mu_logvar",
        "self.mu = nn.Linear(16, 4)\nself.logvar = nn.Linear(16, 4)",
        'return {"loc": self.mu(x), "scale": F.softplus(self.logvar(x))}',
    ),
    case("a name used for the input", "qkv", QKV, f"h = x\nq = self.q(h)\nk = self.k(h)\nv = self.v(h)\n{ATTEND}"),
    case("the input rebound before", "qkv", QKV, f"x = x + 1\nq = self.q(x)\nk = self.k(x)\nv = self.v(x)\n{ATTEND}"),
    case(
        "the input rebound after", "qkv", QKV, f"q, k, v = self.q(x), self.k(x), self.v(x)\nx = {ATTEND[7:]}\nreturn x"
    ),
    case(
        "the input rebound by the last",
        "qk",
        "self.q = nn.Linear(16, 8)\nself.k = nn.Linear(16, 8)",
        "q = self.q(x)\nx = self.k(x)\nreturn q * x",
    ),
    case("keyword inputs", "qkv", QKV, f"q = self.q(input=x)\nk = self.k(input=x)\nv = self.v(x)\n{ATTEND}"),
    case(
        "self and cross attention",
        "q kv",
        QKV,
        f"q = self.q(x)\nk = self.k(y)\nv = self.v(y)\n{ATTEND}",
        ((2, 5, 16), (2, 5, 16)),
        arguments="self, x, y",
    ),
    case(
        "inside a branch",
        "qkv",
        QKV,
        f"if x.dim() == 3:\n    q = self.q(x)\n    k = self.k(x)\n    v = self.v(x)\n    {ATTEND}\nreturn x",
    ),
    case(
        "inside a loop",
        "ab",
        "self.a = nn.Linear(16, 16)\nself.b = nn.Linear(16, 16)",
        "for _ in range(3):\n    h = torch.tanh(x)\n    x = self.a(h) + self.b(h)\nreturn x",
    ),
    case(
        "statements between that read",
        "qkv",
        QKV,
        "q = self.q(x)\nn = x.size(1)\nk = self.k(x)\nm = torch.tril(torch.ones(n, n)).bool()\n"
        "v = self.v(x)\nreturn F.scaled_dot_product_attention(q, k, v, attn_mask=m)",
    ),
    case(
        "dropout behind each",
        "qkv",
        QKV,
        f"q = F.dropout(self.q(x), 0.5, self.training)\n"
        f"k = F.dropout(self.k(x), 0.5, self.training)\nv = self.v(x)\n{ATTEND}",
    ),
    case("a residual beside", "qkv", QKV, f"q, k, v = self.q(x), self.k(x), self.v(x)\nreturn x + {ATTEND[7:]}"),
    case(
        "an assertion between",
        "qkv",
        QKV,
        f"q = self.q(x)\nassert x.dim() == 3, x.shape\nk, v = self.k(x), self.v(x)\n{ATTEND}",
    ),
    case(
        "in a comprehension afterwards",
        "ab",
        "self.a = nn.Linear(16, 16)\nself.b = nn.Linear(16, 16)",
        "a, b = self.a(x), self.b(x)\nreturn [one * 2 for one in (a, b)]",
    ),
    case(
        "two groups",
        "ab cd",
        "self.a = nn.Linear(16, 16)\nself.b = nn.Linear(16, 16)\nself.c = nn.Linear(16, 16)\n"
        "self.d = nn.Linear(16, 16)",
        "h = self.a(x) * self.b(x)\nreturn self.c(h) + self.d(h)",
    ),
    case(
        "a float and a tuple of methods",
        "mu_logvar",
        "self.mu = nn.Linear(16, 4)\nself.logvar = nn.Linear(16, 4)",
        "return self.mu(x).float().double(), self.logvar(x).clamp(-3, 3)",
    ),
    case(
        "split along the last dimension",
        "mu_logvar",
        "self.mu = nn.Linear(16, 4)\nself.logvar = nn.Linear(16, 4)",
        "a, b = self.mu(x).chunk(2, dim=-1)\nreturn a * b + self.logvar(x).sum(-1, keepdim=True)",
    ),
]

CONSTRUCTORS = [
    case(
        "unequal widths",
        "qkv",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 8)\nself.v = nn.Linear(16, 4)",
        "return self.q(x), self.k(x), self.v(x)",
    ),
    case(
        "without bias",
        "qkv",
        QKV.replace("16)", "16, bias=False)"),
        f"q, k, v = self.q(x), self.k(x), self.v(x)\n{ATTEND}",
    ),
    case(
        "bias by position",
        "qkv",
        QKV.replace("16)", "16, False)"),
        f"q, k, v = self.q(x), self.k(x), self.v(x)\n{ATTEND}",
    ),
    case(
        "bias said and unsaid",
        "qk",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16, bias=True)",
        "return self.q(x) * self.k(x)",
    ),
    case(
        "keywords",
        "qk",
        "self.q = nn.Linear(in_features=16, out_features=8)\n"
        "self.k = nn.Linear(out_features=8, in_features=16, bias=True)",
        "return self.q(x) * self.k(x)",
    ),
    case(
        "widths of a config",
        "qkv",
        """
dim, heads, kv = 16, 4, 2
self.heads = heads
self.q = nn.Linear(dim, heads * 4)
self.k = nn.Linear(dim, kv * 4)
self.v = nn.Linear(dim, kv * 4)
""",
        "return self.q(x), self.k(x), self.v(x)",
    ),
    case(
        "widths of attributes",
        "qk",
        "self.dim = 16\nself.q = nn.Linear(self.dim, self.dim)\nself.k = nn.Linear(self.dim, self.dim // 2)",
        "return self.q(x), self.k(x)",
    ),
    case(
        "a bias of a config",
        "qk",
        "bias = 16 > 3\nself.q = nn.Linear(16, 16, bias=bias)\nself.k = nn.Linear(16, 16, bias=bias)",
        "return self.q(x), self.k(x)",
    ),
    case(
        "a bias of a config that is false",
        "qk",
        "bias = 16 < 3\nself.q = nn.Linear(16, 16, bias=bias)\nself.k = nn.Linear(16, 16, bias=bias)",
        "return self.q(x), self.k(x)",
    ),
    case(
        "other layers between",
        "qkv o",
        """
self.q = nn.Linear(16, 16)  # queries
self.norm = nn.LayerNorm(16)
# keys
self.k = nn.Linear(16, 16)

# values
# of which there are as many
self.v = nn.Linear(16, 16)
self.o = nn.Linear(16, 16)  # out
""",
        f"x = self.norm(x)\nq, k, v = self.q(x), self.k(x), self.v(x)\nreturn self.o({ATTEND[7:]})",
    ),
    case(
        "constructors over lines",
        "qk",
        """
self.q = nn.Linear(
    16,  # in
    16,
)
self.k = nn.Linear(
    in_features=16,
    out_features=16,  # out
)
""",
        "return self.q(x) + self.k(x)",
    ),
    case(
        "annotated",
        "qk",
        "self.q: nn.Linear = nn.Linear(16, 16)\nself.k: nn.Linear = nn.Linear(16, 16)",
        "return self.q(x) + self.k(x)",
    ),
    case(
        "in another order than called",
        "kvq",
        "self.k = nn.Linear(16, 8)\nself.v = nn.Linear(16, 8)\nself.q = nn.Linear(16, 16)",
        "q, k, v = self.q(x), self.k(x), self.v(x)\nreturn q, k, v",
    ),
    case(
        "an initialiser that looks at one layer",
        "qk",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)\nself.apply(self._init)",
        "return self.q(x) + self.k(x)",
        tail=(
            "    def _init(self, m):\n        if isinstance(m, nn.Linear):\n"
            "            nn.init.normal_(m.weight, std=0.02)\n            if m.bias is not None:\n"
            "                nn.init.zeros_(m.bias)\n"
        ),
    ),
    case(
        "taken names",
        "qk_2",
        "self.qk = 3\nself.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)",
        "return self.q(x) + self.k(x) * self.qk",
    ),
    case(
        "names that the outputs would take",
        "qk",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)",
        "q = 2\nk = 3\nreturn self.q(x) * q + self.k(x) * k",
    ),
    case(
        "names of builtins",
        "sum_max",
        "self.sum = nn.Linear(16, 16)\nself.max = nn.Linear(16, 16)",
        "return self.sum(x) * self.max(x) + sum([1, 2])",
    ),
    case(
        "long names",
        "query_key_value_projection_of_the_encoder_layer",
        "\n".join(
            f"self.{name}_projection_of_the_encoder_layer = nn.Linear(16, 16, bias=False)"
            for name in ("query", "key", "value")
        ),
        "return (\n    self.query_projection_of_the_encoder_layer(x)\n"
        "    * self.key_projection_of_the_encoder_layer(x)\n"
        "    * self.value_projection_of_the_encoder_layer(x)\n)",
    ),
]

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
WHOLE = [
    Case(
        "an inherited constructor",
        HEAD
        + """\
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)


class M(Base):
    def forward(self, x):
        return self.q(x) + self.k(x)
""",
        ["qk"],
    ),
    Case(
        "two classes of the same names",
        HEAD
        + """\
class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        return self.q(x) + self.k(x)


class M(nn.Module):
    def __init__(self):
        super(M, self).__init__()
        self.q = nn.Linear(16, 8)
        self.k = nn.Linear(16, 8)
        self.inner = Inner()

    def forward(self, x):
        x = self.inner(x)
        return self.q(x) * self.k(x)
""",
        ["qk", "qk"],
    ),
    Case(
        "tabs",
        module(
            "self.q = nn.Linear(16, 16)  # q\nself.k = nn.Linear(16, 16)", "q = self.q(x)\nk = self.k(x)\nreturn q + k"
        ).replace("    ", "\t"),
        ["qk"],
    ),
    Case(
        "two spaces",
        module(
            "self.q = nn.Linear(16, 16)  # q\nself.k = nn.Linear(16, 16)", "q = self.q(x)\nk = self.k(x)\nreturn q + k"
        ).replace("    ", "  "),
        ["qk"],
    ),
    Case(
        "windows line ends",
        module(
            "self.q = nn.Linear(16, 16)  # q\nself.k = nn.Linear(16, 16)",
            "q = self.q(x)  # a\nk = self.k(x)\nreturn q + k",
        ).replace("\n", "\r\n"),
        ["qk"],
    ),
    Case(
        "a byte-order mark",
        "\ufeff" + module("self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)", "return self.q(x) + self.k(x)"),
        ["qk"],
    ),
    Case(
        "no newline at the end",
        module("self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)", "return self.q(x) + self.k(x)").rstrip("\n"),
        ["qk"],
    ),
    Case(
        "trailing whitespace and form feeds",
        module("self.q = nn.Linear(16, 16)  \nself.k = nn.Linear(16, 16)\t", "return self.q(x) + self.k(x)   ").replace(
            "class M", "\fclass M"
        ),
        ["qk"],
    ),
    Case(
        "letters beyond ASCII",
        module(
            "self.q = nn.Linear(16, 16)  # größe\nself.k = nn.Linear(16, 16)",
            "ж = 'é😀'; y = x\nq = self.q(y)  # 😀\nk = self.k(y)\nreturn q + k",
        ),
        ["qk"],
    ),
    Case(
        "other import styles",
        """\
import torch as th
import torch.nn as tnn
from torch.nn import Linear


class M(tnn.Module):
    def __init__(self):
        super().__init__()
        self.q = Linear(16, 16)
        self.k = tnn.Linear(16, 16)

    def forward(self, x):
        return self.q(x) + th.tanh(self.k(x))
""",
        ["qk"],
    ),
    Case(
        "no import of torch itself",
        """\
from torch.nn import Linear, Module


class M(Module):
    def __init__(self):
        super().__init__()
        self.q = Linear(16, 16)
        self.k = Linear(16, 16)

    def forward(self, x):
        return self.q(x) + self.k(x)
""",
        ["qk"],
    ),
    Case(
        "a decorated class",
        HEAD
        + """\
def registered(cls):
    return cls


# the model
@registered
class M(nn.Module):
    # what it is made of
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    @torch.no_grad()
    def forward(self, x):
        return self.q(x) + self.k(x)
""",
        ["qk"],
    ),
    Case(
        "the hook's name is taken",
        module(
            "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)",
            "return self.q(x) + self.k(x)",
            head="_merge_m_qk = 3",
        ),
        ["qk"],
    ),
    Case(
        "a module docstring and no imports before",
        '"""About."""\n'
        + module("self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)", "return self.q(x) + self.k(x)"),
        ["qk"],
    ),
]

POSITIVES = CALLS + CONSTRUCTORS + WHOLE


def linears(text: str) -> list[str]:
    """The attributes that hold linear layers, in the file's order."""
    return [
        target.attr
        for node in ast.walk(ast.parse(text.removeprefix("\ufeff")))
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if ast.unparse(node.value.func).endswith("Linear") and isinstance(target, ast.Attribute)
    ]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_merged(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}))
    assert sorted(linears(result.text)) == sorted(case.left), result.text
    assert {finding.safety for finding in result.applied} == {Safety.CHECKPOINT}


@dataclass
class Miss:
    id: str
    text: str
    reason: str
    """A part of the reason; empty where the place need not even be a candidate."""


def miss(id: str, reason: str, init: str, forward: str, **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


TWO = "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)"
SUM = "q = self.q(x)\nk = self.k(x)\nreturn q + k"


def between(id: str, line: str, reason: str = "", **around: str) -> Miss:
    """A line between the two calls."""
    return miss(f"between: {id}", reason, TWO, f"q = self.q(x)\n{line}\nk = self.k(x)\nreturn q + k", **around)


BETWEEN = [
    between("rebound", "x = x + 1"),
    between("rebound by a tuple", "x, n = x + 1, 2"),
    between("rebound by a walrus", "if (x := x + 1).any():\n    pass"),
    between("rebound by a loop", "for x in [x + 1]:\n    pass"),
    between("rebound by with", "with open('f') as x:\n    pass"),
    between("rebound by import", "import math as x"),
    between("rebound by a function", "def x():\n    pass"),
    between("rebound in a branch", "if q.sum() > 0:\n    x = x + 1"),
    between("rebound in a try", "try:\n    x = x + 1\nexcept ValueError:\n    pass"),
    between("rebound in a handler", "try:\n    pass\nexcept ValueError as x:\n    pass"),
    between("rebound in a match", "match q.dim():\n    case 2:\n        x = x + 1"),
    between("deleted and bound", "del x\nx = q"),
    between("in place", "x.add_(1)", "changed"),
    between("in place by an operator", "x += 1"),
    between("in place in a branch", "if q.sum() > 0:\n    x.mul_(2)", "changed"),
    between("in place in a loop", "for _ in range(2):\n    x.mul_(2)", "changed"),
    between("in place by an index", "x[0] = 0", "changed"),
    between("in place by a slice operator", "x[:, 0] *= 2", "changed"),
    between("in place through a view", "x.view(-1)[0] = 1", "changed"),
    between("in place through a name of a view", "y = x[0]\ny.zero_()", "changed"),
    between("in place through a transpose", "x.transpose(0, 1).mul_(2)", "changed"),
    between("in place through a list", "for y in [x]:\n    y.zero_()", "changed"),
    between("in place by out", "torch.add(q, 1, out=x)", "changed"),
    between("in place by a function", "F.relu(x, inplace=True)", "changed"),
    between("in place by torch's function", "torch.relu_(x)", "changed"),
    between("in place by F's function", "F.relu_(x)", "changed"),
    between("in place by copy_", "x.copy_(q)", "changed"),
    between("in place by data", "x.data = q", "changed"),
    between("in place by data's method", "x.data.mul_(2)", "changed"),
    between("in place by set_", "x.set_(q)"),
    between("in place by an initialiser", "nn.init.zeros_(x)", "changed"),
    between("in place by del of an element", "del x[0]", "changed"),
    between(
        "in place by a method of the class",
        "self.shift(x)",
        "may be changed",
        tail="    def shift(self, t):\n        t.add_(1)",
    ),
    between("in place by a function of the file", "shift(x)", "may be changed", head="def shift(t):\n    t.add_(1)"),
    between("an unknown function", "log(x)", "may be changed", head="from somewhere import log"),
    between("a callback", "self.callback(x)", "may be changed"),
    between("a nested function that writes", "def shift():\n    x.add_(1)\nshift()", "changed"),
    between("a lambda that writes", "(lambda: x.add_(1))()", "changed"),
    between("a comprehension that writes", "[t.add_(1) for t in [x]]", "changed"),
    between("a comprehension over it that writes", "[t.add_(1) for t in x]", "changed"),
    between("a return", "if q.sum() > 0:\n    return q", "leave"),
    between("a raise", "if q.sum() > 0:\n    raise ValueError", "leave"),
    between("a yield", "yield q"),
    between("an await", "await q"),
    between("exec", "exec('x = 1')"),
    between("locals", "locals()['x'] = 1"),
]

OTHER_INPUTS = [
    miss("two parameters", "", TWO, "return self.q(x) + self.k(y)", arguments="self, x, y"),
    miss("a tensor and its double", "", TWO, "return self.q(x) + self.k(x * 2)"),
    miss(
        "two calls of a dropout",
        "",
        TWO + "\nself.drop = nn.Dropout(0.5)",
        "return self.q(self.drop(x)) + self.k(self.drop(x))",
    ),
    miss("a layer norm before one", "", TWO, "return self.q(F.layer_norm(x, (16,))) + self.k(x)"),
    miss("two elements", "", TWO, "return self.q(x[0]) + self.k(x[1])"),
    miss("a stack popped", "", TWO, "return self.q(xs.pop()) + self.k(xs.pop())", arguments="self, xs"),
    miss(
        "two joins",
        "",
        TWO,
        "if x.sum() > 0:\n    x = x + 1\nq = self.q(x)\nif q.sum() > 0:\n    x = x + 1\nreturn q + self.k(x)",
    ),
    miss(
        "a carried value",
        "",
        TWO,
        "q = 0\nfor _ in range(2):\n    q = self.q(x)\n    x = torch.tanh(x)\n    q = q + self.k(x)\nreturn q",
    ),
    miss("one in a branch", "", TWO, "q = self.q(x)\nif q.sum() > 0:\n    return self.k(x)\nreturn q"),
    miss("two arms", "", TWO, "if x.sum() > 0:\n    return self.q(x)\nelse:\n    return self.k(x)"),
    miss("two arms of an expression", "", TWO, "return self.q(x) if x.sum() > 0 else self.k(x)"),
    miss("behind an or", "", TWO, "return self.q(x) or self.k(x)"),
    miss("one in a loop", "", TWO, "q = self.q(x)\nfor _ in range(2):\n    q = q + self.k(x)\nreturn q"),
    miss("one in a comprehension", "", TWO, "q = self.q(x)\nreturn [self.k(x) for _ in range(2)]"),
    miss("both in a comprehension", "", TWO, "return [self.q(t) + self.k(t) for t in x]"),
    miss("in a lambda", "", TWO, "f = lambda t: self.q(t) + self.k(t)\nreturn f(x) + f(x)"),
    miss("in the head of a loop", "", TWO, "while (self.q(x) + self.k(x)).sum() > 0:\n    x = x - 1\nreturn x"),
    miss(
        "different methods",
        "",
        TWO,
        "return self.q(x) + self.other(x)",
        tail="    def other(self, x):\n        return self.k(x)",
    ),
    miss("starred", "", TWO, "return self.q(*x) + self.k(*x)"),
    miss("another name for self", "", TWO, "return this.q(x) + this.k(x)", arguments="this, x"),
    miss("a global", "", TWO, "global x\nq = self.q(x)\nchange()\nreturn q + self.k(x)", arguments="self"),
    miss(
        "an attribute written between",
        "",
        TWO,
        "q = self.q(self.x)\nself.x = q\nreturn q + self.k(self.x)",
        arguments="self",
    ),
]

LAYERS = [
    miss("called twice", "more than once", TWO, SUM.replace("q + k", "q + k + self.k(q)")),
    miss(
        "called in another method", "more than once", TWO, SUM, tail="    def keys(self, x):\n        return self.k(x)"
    ),
    miss("called by another object", "touches", TWO, SUM, tail="def keys(model, x):\n    return model.k(x)"),
    miss("its weight is read", "beside its call", TWO, SUM.replace("q + k", "q + k + self.k.weight.sum()")),
    miss("its weight is read outside", "touches", TWO, SUM, tail="m = M()\nprint(m.q.weight)"),
    miss("its features are read", "beside its call", TWO, SUM.replace("q + k", "q + k + self.k.in_features")),
    miss("tied", "", TWO + "\nself.k.weight = self.q.weight", SUM),
    miss("tied as layers", "", "self.q = self.k = nn.Linear(16, 16)", SUM),
    miss("the same layer", "", "self.q = nn.Linear(16, 16)\nself.k = self.q", SUM),
    miss("initialised alone", "beside its call", TWO + "\nnn.init.normal_(self.k.weight, std=0.02)", SUM),
    miss("frozen", "beside its call", TWO + "\nself.k.requires_grad_(False)", SUM),
    miss("frozen in part", "beside its call", TWO + "\nself.k.weight.requires_grad = False", SUM),
    miss("a forward hook", "beside its call", TWO + "\nself.k.register_forward_hook(print)", SUM),
    miss("weight norm", "", "self.q = nn.utils.weight_norm(nn.Linear(16, 16))\nself.k = nn.Linear(16, 16)", SUM),
    miss("spectral norm afterwards", "", TWO + "\nself.k = nn.utils.spectral_norm(self.k)", SUM),
    miss("parametrised", "beside its call", TWO + "\ntorch.nn.utils.parametrizations.orthogonal(self.k)", SUM),
    miss("made twice", "", TWO + "\nself.k = nn.Linear(16, 16)", SUM),
    miss(
        "made under a condition",
        "",
        "self.q = nn.Linear(16, 16)\nif torch.cuda.is_available():\n    self.k = nn.Linear(16, 16)",
        SUM,
    ),
    miss(
        "made in both branches",
        "",
        "self.q = nn.Linear(16, 16)\nif torch.cuda.is_available():\n"
        "    self.k = nn.Linear(16, 16)\nelse:\n    self.k = nn.Linear(16, 16)",
        SUM,
    ),
    miss(
        "optional",
        "",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16) if torch.cuda.is_available() else nn.Identity()",
        SUM,
    ),
    miss("made in a loop", "", "self.q = nn.Linear(16, 16)\nfor _ in range(1):\n    self.k = nn.Linear(16, 16)", SUM),
    miss(
        "made in a try",
        "",
        "self.q = nn.Linear(16, 16)\ntry:\n    self.k = nn.Linear(16, 16)\nexcept ValueError:\n    raise",
        SUM,
    ),
    miss("made together", "", "self.q, self.k = nn.Linear(16, 16), nn.Linear(16, 16)", SUM),
    miss(
        "made in another method",
        "",
        "self.q = nn.Linear(16, 16)\nself.build()",
        SUM,
        tail="    def build(self):\n        self.k = nn.Linear(16, 16)",
    ),
    miss("replaced later", "", TWO, SUM, tail="    def widen(self):\n        self.k = nn.Linear(16, 32)"),
    miss("replaced from outside", "touches", TWO, SUM, tail="m = M()\nm.k = nn.Identity()"),
    miss(
        "a bias on one",
        "differ in whether they have a bias",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16, bias=False)",
        SUM,
    ),
    miss(
        "biases of two settings",
        "",
        "a, b = True, False\nself.q = nn.Linear(16, 16, bias=a)\nself.k = nn.Linear(16, 16, bias=b)",
        SUM,
    ),
    miss("a dtype on one", "dtype", "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16, dtype=torch.float64)", SUM),
    miss(
        "devices", "device", 'self.q = nn.Linear(16, 16, device="cpu")\nself.k = nn.Linear(16, 16, device="cuda")', SUM
    ),
    miss("star arguments", "", "a = (16, 16)\nself.q = nn.Linear(*a)\nself.k = nn.Linear(*a)", SUM),
    miss(
        "double star arguments",
        "",
        "a = dict(bias=False)\nself.q = nn.Linear(16, 16, **a)\nself.k = nn.Linear(16, 16, **a)",
        SUM,
    ),
    miss(
        "a width that is worked out twice",
        "call",
        "n = iter([16, 16])\nself.q = nn.Linear(16, next(n))\nself.k = nn.Linear(16, next(n))",
        SUM,
    ),
    miss(
        "a width that changes",
        "change",
        "n = 16\nself.q = nn.Linear(16, n)\nn = 8\nself.k = nn.Linear(16, n)",
        "return self.q(x), self.k(x)",
    ),
    miss(
        "a width that changes in an attribute",
        "change",
        "self.n = 16\nself.q = nn.Linear(16, self.n)\nself.n = 8\nself.k = nn.Linear(16, self.n)",
        "return self.q(x), self.k(x)",
    ),
    miss(
        "an input width that changes",
        "change",
        "n = 16\nself.q = nn.Linear(n, 16)\nn += 0\nself.k = nn.Linear(n, 16)",
        "return self.q(x), self.k(x)",
    ),
    miss("in one line", "shares its line", "self.q = nn.Linear(16, 16); self.k = nn.Linear(16, 16)", SUM),
    miss("calls in one line", "shares its line", TWO, "q = self.q(x); k = self.k(x)\nreturn q + k"),
    miss(
        "a return between",
        "",
        "self.q = nn.Linear(16, 16)\nif not torch.cuda.is_available():\n    return\nself.k = nn.Linear(16, 16)",
        SUM,
    ),
    miss(
        "a subclass of Linear",
        "",
        "self.q = LoRALinear(16, 16)\nself.k = LoRALinear(16, 16)",
        SUM,
        head="class LoRALinear(nn.Linear):\n    pass",
    ),
    miss(
        "a class of that name",
        "",
        "self.q = Linear(16, 16)\nself.k = Linear(16, 16)",
        SUM,
        head="class Linear(nn.Linear):\n    pass",
    ),
    miss(
        "an unknown factory", "", "self.q = make(16, 16)\nself.k = make(16, 16)", SUM, head="from somewhere import make"
    ),
    Miss(
        "a type that is a parameter",
        module(TWO.replace("nn.", ""), SUM).replace("__init__(self)", "__init__(self, Linear=nn.Linear)"),
        "",
    ),
    Miss("nn is a local name", module("nn = make()\n" + TWO, SUM), ""),
    Miss("nn is rebound in the file", module(TWO, SUM, head="nn = make()"), ""),
    Miss("nn is another library", module(TWO, SUM).replace("from torch import nn", "from flax import linen as nn"), ""),
    Miss(
        "two star imports",
        module(TWO.replace("nn.", ""), SUM).replace(
            "from torch import nn", "from torch.nn import *\nfrom somewhere import *\nfrom torch import nn"
        ),
        "",
    ),
    miss("lazy layers", "", "self.q = nn.LazyLinear(16)\nself.k = nn.LazyLinear(16)", SUM),
    miss(
        "in a list",
        "",
        "self.layers = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])",
        "return self.layers[0](x) + self.layers[1](x)",
    ),
    miss(
        "in a Sequential",
        "",
        "self.q = nn.Sequential(nn.Linear(16, 16))\nself.k = nn.Sequential(nn.Linear(16, 16))",
        SUM,
    ),
    Miss(
        "not a module",
        module(TWO, SUM)
        .replace("nn.Module", "Block")
        .replace("from torch import nn", "from torch import nn\nfrom blocks import Block"),
        "",
    ),
    Miss("a metaclass", module(TWO, SUM).replace("nn.Module)", "nn.Module, metaclass=Meta)"), "metaclass"),
    Miss("class keywords", module(TWO, SUM).replace("nn.Module)", "nn.Module, fused=True)"), "class keywords"),
    Miss(
        "an unknown mixin",
        module(TWO, SUM, head="from somewhere import Mixin").replace("nn.Module)", "Mixin, nn.Module)"),
        "Mixin",
    ),
    Miss(
        "a class attribute of that name",
        module(TWO, SUM).replace("class M(nn.Module):\n", "class M(nn.Module):\n    k = None\n\n"),
        "",
    ),
    Miss(
        "a property of that name",
        module(TWO, SUM, tail="    @property\n    def k(self):\n        return nn.Identity()"),
        "",
    ),
    Miss("slots", module(TWO, SUM, tail="    def __getattr__(self, name):\n        return nn.Identity()"), ""),
]

FILES = [
    miss(
        "LoRA targets",
        "names",
        PROJ,
        "return self.q_proj(x) + self.k_proj(x) + self.v_proj(x)",
        head='TARGETS = ["q_proj", "k_proj", "v_proj"]',
    ),
    miss(
        "a parameter group",
        "string",
        TWO,
        SUM,
        tail="def groups(m):\n    return [p for n, p in m.named_parameters() if '.k.' in n]",
    ),
    miss(
        "a pattern",
        "",
        PROJ.replace("self.v_proj", "self.w_proj"),
        "return self.q_proj(x) + self.k_proj(x)",
        tail='PLAN = {"layers.*.q_proj": 1, "layers.*.k_proj": 2}',
    ),
    miss(
        "a key of a checkpoint",
        "names",
        TWO,
        SUM,
        tail='def load(sd, m):\n    m.load_state_dict({"q.weight": sd["a"]}, strict=False)',
    ),
    miss(
        "a renamed key",
        "",
        PROJ,
        "return self.q_proj(x) + self.k_proj(x)",
        tail=(
            "def convert(sd):\n"
            '    return {n.replace("attn.q_proj", "attn.query"): t for n, t in sd.items() if "k_proj" not in n}'
        ),
    ),
    miss("getattr", "computed name", TWO, SUM, tail="    def layer(self, name):\n        return getattr(self, name)"),
    miss(
        "getattr of a formatted name",
        "computed name",
        TWO,
        SUM,
        tail='def weight(m, name):\n    return getattr(m, f"{name}").weight',
    ),
    miss("setattr", "computed name", TWO, SUM, tail="def patch(m, name, new):\n    setattr(m, name, new)"),
    miss("_modules", "_modules", TWO, SUM, tail="def names(m):\n    return list(m._modules)"),
    miss(
        "children",
        "walks the layers",
        TWO,
        SUM,
        tail="    def reset(self):\n        for child in self.children():\n            child.reset_parameters()",
    ),
    miss("__dict__", "__dict__", TWO, SUM, tail="def peek(m):\n    return m.__dict__"),
    miss("vars", "", TWO, SUM, tail="def peek(m):\n    return vars(m)"),
    miss("Muon", "Muon", TWO, SUM, tail="def optimizer(m):\n    return torch.optim.Muon(m.parameters())"),
    miss(
        "Adafactor", "Adafactor", TWO, SUM, tail="def optimizer(m):\n    return torch.optim.Adafactor(m.parameters())"
    ),
    miss(
        "an aliased Muon",
        "",
        TWO,
        SUM,
        head="from torch.optim import Muon as Best",
        tail="def optimizer(m):\n    return Best(m.parameters())",
    ),
    miss(
        "Xavier",
        "xavier_uniform_",
        TWO,
        SUM,
        tail="def init(m):\n    for p in m.parameters():\n        nn.init.xavier_uniform_(p)",
    ),
    miss(
        "orthogonal in apply",
        "orthogonal_",
        TWO + "\nself.apply(init)",
        SUM,
        head="def init(m):\n    if isinstance(m, nn.Linear):\n        nn.init.orthogonal_(m.weight)",
    ),
    miss(
        "an initialiser by another name",
        "",
        TWO,
        SUM,
        head="from torch.nn.init import xavier_uniform_ as init_",
        tail="def init(m):\n    for p in m.parameters():\n        init_(p)",
    ),
    Miss(
        "a subclass that calls one alone",
        module(TWO, SUM, tail="class N(M):\n    def forward(self, x):\n        return self.k(x)"),
        "more than once",
    ),
    Miss(
        "a subclass that replaces one",
        module(
            TWO,
            SUM,
            tail="class N(M):\n    def __init__(self):\n        super().__init__()\n        self.k = nn.Identity()",
        ),
        "",
    ),
    Miss("a half-typed line that names one", module(TWO, SUM) + "\n\nm = M(\nm.k. = 3\n", ""),
]

OUTPUTS = [
    miss(
        "written to by an operator", "written to in place", TWO, "q = self.q(x)\nk = self.k(x)\nq *= 0.5\nreturn q + k"
    ),
    miss(
        "written to by a method", "written to in place", TWO, "q = self.q(x)\nk = self.k(x)\nq.mul_(0.5)\nreturn q + k"
    ),
    miss("written to in a chain", "written to in place", TWO, "return self.q(x).mul_(0.5) + self.k(x)"),
    miss(
        "written to by an index", "written to in place", TWO, "q = self.q(x)\nk = self.k(x)\nk[:, 0] = 0\nreturn q + k"
    ),
    miss(
        "written to by an activation",
        "written to in place",
        TWO + "\nself.act = nn.ReLU(inplace=True)",
        "return self.act(self.q(x)) + self.k(x)",
    ),
    miss(
        "written to by an activation by position",
        "written to in place",
        TWO + "\nself.act = nn.ReLU(True)",
        "return self.act(self.q(x)) + self.k(x)",
    ),
    miss("written to by F.relu", "written to in place", TWO, "return F.relu(self.q(x), inplace=True) + self.k(x)"),
    miss("written to by F.relu by position", "written to in place", TWO, "return F.relu(self.q(x), True) + self.k(x)"),
    miss(
        "written to by dropout",
        "written to in place",
        TWO,
        "return F.dropout(self.q(x), 0.1, self.training, True) + self.k(x)",
    ),
    miss(
        "written to through a view",
        "written to in place",
        TWO,
        "q = self.q(x)\nk = self.k(x)\nq.view(2, 5, 4, 4)[..., 0] = 0\nreturn q + k",
    ),
    miss(
        "written to by out",
        "written to in place",
        TWO,
        "q = self.q(x)\nk = self.k(x)\ntorch.add(q, k, out=q)\nreturn q",
    ),
    miss(
        "written to by a method of the class",
        "written to in place",
        TWO,
        "return self.halve(self.q(x)) + self.k(x)",
        tail="    def halve(self, t):\n        return t.mul_(0.5)",
    ),
    miss("viewed flat", "contiguous", TWO, "return self.q(x).view(-1) + self.k(x).view(-1)"),
    miss(
        "viewed in two dimensions",
        "contiguous",
        TWO,
        "B = x.size(0)\nreturn self.q(x).view(B, -1) + self.k(x).view(B, -1)",
    ),
    miss(
        "viewed with heads first",
        "contiguous",
        TWO,
        "q = self.q(x).view(2, 4, 5, 4)\nreturn q + self.k(x).view(2, 4, 5, 4)",
    ),
    miss(
        "viewed as another",
        "contiguous",
        TWO,
        "q = self.q(x)\nreturn q.view_as(x.view(-1)) + self.k(x).view_as(x.view(-1))",
    ),
    miss(
        "viewed in a helper",
        "contiguous",
        TWO,
        "return self.flat(self.q(x)) + self.flat(self.k(x))",
        tail="    def flat(self, t):\n        return t.view(-1)",
    ),
    miss(
        "viewed in a nested function",
        "contiguous",
        TWO,
        "q, k = self.q(x), self.k(x)\n\ndef flat(t):\n    return t.view(-1)\n\nreturn flat(q) + flat(k)",
    ),
    miss(
        "viewed later in a list",
        "contiguous",
        TWO,
        "both = [self.q(x), self.k(x)]\nreturn torch.cat([one.view(-1) for one in both])",
    ),
    miss(
        "its strides are read",
        "",
        TWO,
        "return torch.as_strided(self.q(x), (2, 2), (1, 16)) + torch.as_strided(self.k(x), (2, 2), (1, 16))",
    ),
]

NEGATIVES = BETWEEN + OTHER_INPUTS + LAYERS + FILES + OUTPUTS


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons


def test_there_are_more_near_misses_than_matches() -> None:
    assert len(NEGATIVES) > 2 * len(POSITIVES)


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ("from transformers import PreTrainedModel", "from_pretrained"),
        ("from diffusers.models.modeling_utils import ModelMixin", "from_pretrained"),
        ("from safetensors.torch import load_file", "safetensors"),
        ("import torch.distributed.checkpoint as dcp", "torch.distributed.checkpoint"),
    ],
)
def test_breaking_where_checkpoints_load_past_hooks(head: str, word: str) -> None:
    (finding,) = Analysis(module(TWO, SUM, head=head)).findings
    assert finding.safety is Safety.BREAKING
    assert word in finding.title
