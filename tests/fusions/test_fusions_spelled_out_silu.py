"""FUS401: one call computes what was spelled out; two values of one name, and references, stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS401"
HEAD = "import torch\nimport torch.nn.functional as F\n"


@dataclass
class Case:
    """One file, what must stand in it afterwards, and how safe that is."""

    id: str
    text: str
    after: str = "F.silu(x)"
    safety: Safety = Safety.EXACT
    inputs: Inputs = ((3, 4),)


def function(body: str, arguments: str = "x", head: str = HEAD) -> str:
    lines = "".join(f"    {line}\n" if line.strip() else "\n" for line in body.strip("\n").split("\n"))
    return f"{head}\n\ndef f({arguments}):\n{lines}"


def case(id: str, body: str, after: str = "F.silu(x)", safety: Safety = Safety.EXACT) -> Case:
    return Case(id, function(body), after, safety)


SPELLINGS = [
    case("torch.sigmoid", "return x * torch.sigmoid(x)"),
    case("the other order", "return torch.sigmoid(x) * x"),
    case("the method", "return x * x.sigmoid()"),
    case("the method first", "return x.sigmoid() * x"),
    case("F.sigmoid", "return x * F.sigmoid(x)"),
    case("torch.special.expit", "return x * torch.special.expit(x)"),
    case("torch.mul", "return torch.mul(x, torch.sigmoid(x))"),
    case("the method mul", "return x.mul(torch.sigmoid(x))"),
    case("the method mul of the gate", "return torch.sigmoid(x).mul(x)"),
    case("torch.multiply", "return torch.multiply(x, torch.sigmoid(x))"),
    case("parentheses", "return (x) * (torch.sigmoid((x)))"),
    case("parentheses around it all", "return (x * torch.sigmoid(x))"),
    case("a keyword", "return x * torch.sigmoid(input=x)"),
    case("a layer made on the spot", "return x * torch.nn.Sigmoid()(x)"),
    case("a reciprocal", "return x * (1 / (1 + torch.exp(-x)))", safety=Safety.NUMERICS),
    case("a reciprocal with floats", "return x * (1.0 / (1.0 + torch.exp(-x)))", safety=Safety.NUMERICS),
    case("a quotient", "return x / (1 + torch.exp(-x))", safety=Safety.NUMERICS),
    case("a quotient the other way round", "return x / (torch.exp(-x) + 1)", safety=Safety.NUMERICS),
    case("a quotient by methods", "return x / (1 + (-x).exp())", safety=Safety.NUMERICS),
    case("a quotient of negations", "return x / (1 + torch.exp(torch.neg(x)))", safety=Safety.NUMERICS),
    case("a quotient in steps", "e = torch.exp(-x)\nreturn x / (1 + e)", safety=Safety.NUMERICS),
]

PLACES = [
    case("a gate of its own", "s = torch.sigmoid(x)\nreturn x * s"),
    case("a gate some lines above", "s = torch.sigmoid(x)  # how much\n# passes\ny = x + 1\nreturn x * s + y"),
    case("a gate with a comment above", "# the gate\ns = torch.sigmoid(x)\nreturn x * s"),
    case("rebound", "x = x * torch.sigmoid(x)\nreturn x"),
    case("rebound before", "x = x + 1\nreturn x * torch.sigmoid(x)"),
    case("under another name", "h = x\nreturn h * torch.sigmoid(x)", "F.silu("),
    case("in an expression", "return (x * torch.sigmoid(x)).sum(-1) + x.mean()"),
    case("behind a minus", "return -x * torch.sigmoid(x)", "torch.sigmoid(x)"),
    case("behind a minus in parentheses", "return -(x * torch.sigmoid(x))", "-F.silu(x)"),
    case("squared", "return (x * torch.sigmoid(x)) ** 2"),
    case("indexed", "return (x * torch.sigmoid(x))[0]"),
    case("a method of it", "return (x * torch.sigmoid(x)).sum()"),
    case("an argument", "return torch.tanh(x * torch.sigmoid(x))"),
    case(
        "twice", "return x * torch.sigmoid(x) + torch.tanh(x * torch.sigmoid(x))", "F.silu(x) + torch.tanh(F.silu(x))"
    ),
    case("of itself", "y = x * torch.sigmoid(x)\nreturn y * torch.sigmoid(y)", "F.silu(y)"),
    case("over lines", "return (\n    x  # value\n    * torch.sigmoid(x)  # gate\n)"),
    case("over lines in a call", "return torch.tanh(\n    x\n    * torch.sigmoid(  # gate\n        x\n    )\n)"),
    case("in a branch", "if x.sum() > 1000:\n    return x\nelse:\n    return x * torch.sigmoid(x)"),
    case("in an arm", "return x * torch.sigmoid(x) if x.dim() == 2 else x"),
    case("in a loop", "for _ in range(3):\n    x = x * torch.sigmoid(x)\nreturn x"),
    case("in a with", "with torch.no_grad():\n    y = x * torch.sigmoid(x)\nreturn x + y"),
    case("in a nested function", "def g(x):\n    return x * torch.sigmoid(x)\n\nreturn g(x)"),
    case("in a lambda", "g = lambda x: x * torch.sigmoid(x)\nreturn g(x)"),
    case("in a tuple", "a, b = x * torch.sigmoid(x), x + 1\nreturn a, b"),
    case("in a dict", "return {'a': x * torch.sigmoid(x)}"),
    case("an element", "y = x[0]\nreturn y * torch.sigmoid(y)", "F.silu(y)"),
    case("written before", "x = x.clone()\nx.mul_(2)\nreturn x * torch.sigmoid(x)"),
    case("written after", "x = x + 0\ny = x * torch.sigmoid(x)\nz = y.sum()\nx = x.clone()\nx += 1\nreturn x + z"),
    case("semicolons", "y = x + 1; z = x * torch.sigmoid(x); return y + z"),
    case("letters beyond ASCII", "größe = x  # 😀\nreturn größe * torch.sigmoid(größe)", "F.silu(größe)"),
    Case("a tab", function("y = x + 1\nreturn x * torch.sigmoid(x)").replace("    ", "\t")),
    Case("windows line ends", function("s = torch.sigmoid(x)  # gate\nreturn x * s").replace("\n", "\r\n")),
    Case("old line ends", function("s = torch.sigmoid(x)  # gate\nreturn x * s").replace("\n", "\r")),
    Case("a byte-order mark and no newline", "\ufeff" + function("return x * torch.sigmoid(x)").rstrip("\n")),
]

LAYERS = [
    Case("a layer", module("self.gate = nn.Sigmoid()", "return x * self.gate(x)")),
    Case(
        "a layer behind another",
        module("self.fc = nn.Linear(4, 4)\nself.gate = nn.Sigmoid()", "y = self.fc(x)\nreturn y * self.gate(y)"),
        "F.silu(y)",
    ),
    Case("a module's forward", module("pass", "return x * torch.sigmoid(x)")),
]

IMPORTS = [
    Case("no functional import", "import torch\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n", "silu(x)"),
    Case("nn alone", "from torch import nn, sigmoid\n\n\ndef f(x):\n    return x * sigmoid(x)\n", "silu(x)"),
    Case(
        "functional from nn",
        "import torch\nfrom torch.nn import functional as F\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n",
    ),
    Case(
        "functional under another name",
        "import torch\nimport torch.nn.functional as tf\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n",
        "tf.silu(x)",
    ),
    Case(
        "silu is imported",
        "import torch\nfrom torch.nn.functional import silu\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n",
        "silu(x)",
    ),
    Case("torch under another name", "import torch as th\n\n\ndef f(x):\n    return x * th.sigmoid(x)\n", "silu(x)"),
    Case(
        "F is something else", "import torch\n\nF = 3\n\n\ndef f(x):\n    return x * torch.sigmoid(x) * F\n", "silu(x)"
    ),
    Case("F is a local name", function("F = 3\nreturn x * torch.sigmoid(x) * F"), "silu(x)"),
    Case("F is a parameter", function("return x * torch.sigmoid(x)", "x, F=None"), "silu(x)"),
    Case(
        "a docstring, a future import",
        '"""About."""\n\nfrom __future__ import annotations\n\nimport math\n\nimport torch\n\n\n'
        "def f(x):\n    return x * torch.sigmoid(x)\n",
        "silu(x)",
    ),
]

POSITIVES = SPELLINGS + PLACES + LAYERS + IMPORTS


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}))
    assert case.after in result.text, result.text
    if case.id != "behind a minus":
        assert result.applied
    assert {finding.safety for finding in result.applied} <= {case.safety}


@dataclass
class Miss:
    id: str
    text: str
    reason: str = ""


def miss(id: str, body: str, reason: str = "", arguments: str = "x, g", head: str = HEAD) -> Miss:
    return Miss(id, function(body, arguments, head), reason)


GATE = "s = torch.sigmoid(x)\n{}\nreturn x * s"

FORMULAS = [
    miss("another operand", "return x * torch.sigmoid(g)"),
    miss("a factor in the gate", "return x * torch.sigmoid(1.702 * x)"),
    miss("a learned factor", "return x * torch.sigmoid(g * x)"),
    miss("a shifted gate", "return x * torch.sigmoid(x + 1)"),
    miss("a negated gate", "return x * torch.sigmoid(-x)"),
    miss("a sum", "return x + torch.sigmoid(x)"),
    miss("a quotient", "return x / torch.sigmoid(x)"),
    miss("a matrix product", "return x @ torch.sigmoid(x)"),
    miss("another function", "return x * torch.tanh(x)"),
    miss("log of it", "return x * F.logsigmoid(x)"),
    miss("hard", "return x * F.hardsigmoid(x)"),
    miss("one plus exp of x", "return x / (1 + torch.exp(x))"),
    miss("two plus exp", "return x / (2 + torch.exp(-x))"),
    miss("one minus exp", "return x / (1 - torch.exp(-x))"),
    miss("exp of another", "return x / (1 + torch.exp(-g))"),
    miss("the gate by one", "return 1 / (1 + torch.exp(-x))"),
    miss("a GLU", "a, b = x.chunk(2, -1)\nreturn a * torch.sigmoid(b)"),
    miss("sigmoid with out", "return x * torch.sigmoid(x, out=g)"),
    miss("mul with out", "return torch.mul(x, torch.sigmoid(x), out=g)"),
    miss("two elements", "return x[0] * torch.sigmoid(x[1])"),
    miss("two calls of one function", "return g() * torch.sigmoid(g())"),
    miss("two draws", "return torch.rand(3) * torch.sigmoid(torch.rand(3))"),
    miss("two dropouts", "return F.dropout(x) * torch.sigmoid(F.dropout(x))"),
    miss("two of an iterator", "return next(g) * torch.sigmoid(next(g))"),
    miss("two pops", "return g.pop() * torch.sigmoid(g.pop())"),
    miss("two attributes", "return g.a * torch.sigmoid(g.b)"),
    miss("a walrus", "return (y := x + 1) * torch.sigmoid(x)"),
]

BETWEEN = [
    miss(f"between: {id}", GATE.format(line), reason)
    for id, line, reason in [
        ("rebound", "x = x + 1", ""),
        ("rebound by a loop", "for x in [x + 1]:\n    pass", ""),
        ("rebound in a branch", "if g:\n    x = x + 1", ""),
        ("rebound in a try", "try:\n    x = x + 1\nexcept ValueError:\n    pass", ""),
        ("rebound by a walrus", "(x := x + 1)", ""),
        ("rebound by an import", "import math as x", ""),
        ("rebound by with", "with g as x:\n    pass", ""),
        ("the gate rebound", "s = g", ""),
        ("the gate rebound in a branch", "if g:\n    s = x", ""),
        ("the gate in place", "s += 1", ""),
        ("the gate in place by a method", "s.clamp_(0, 1)", ""),
        ("in place", "x.add_(1)", "changed in between"),
        ("in place by an operator", "x += 1", ""),
        ("in place by an element", "x[0] = 0", "changed in between"),
        ("in place by a slice", "x[:, 0] *= 2", "changed in between"),
        ("in place by an attribute", "x.data = g", "changed in between"),
        ("in place through a view", "x.view(-1)[0] = 1", "changed in between"),
        ("in place through a name", "y = x[0]\ny.zero_()", "changed in between"),
        ("in place through a diagonal", "x.diagonal().fill_(0)", "changed in between"),
        ("in place by out", "torch.add(x, 1, out=x)", "changed in between"),
        ("in place by a function", "F.relu(x, inplace=True)", "changed in between"),
        ("in place by a function's position", "F.relu(x, True)", "changed in between"),
        ("in place by torch's function", "torch.relu_(x)", "changed in between"),
        ("in place of another that may be it", "g.add_(1)", "changed in between"),
        ("an unknown function", "g(x)", "changed in between"),
        ("a closure that writes", "def h():\n    x.add_(1)\n\nh()", "changed in between"),
        ("a comprehension that writes", "[y.add_(1) for y in x]", "changed in between"),
        ("a loop over it that writes", "for y in x:\n    y.add_(1)", "changed in between"),
        ("a zip over it that writes", "for y, z in zip(x, x):\n    y.add_(1)", "changed in between"),
        ("a generator", "yield s", ""),
    ]
]

USES = [
    miss("the gate has another name", "s = torch.sigmoid(x)\nother = s\nreturn x * s"),
    miss("the gate is swapped", "s = torch.sigmoid(x)\ny = x * s\ns, y = y, s\nreturn x"),
    miss("the gate has another name in a branch", "s = torch.sigmoid(x)\ny = x * s\nif g:\n    y = s\nreturn x"),
    miss("the gate has another name in an arm", "s = torch.sigmoid(x)\ny = x * s\nx = s if g else x\nreturn y"),
    miss("the gate has another name by a walrus", "s = torch.sigmoid(x)\ny = x * s\n(z := s)\nreturn y"),
    miss("the gate has another name in a with", "s = torch.sigmoid(x)\ny = x * s\nwith g:\n    z = s\nreturn y"),
    miss("the gate stands alone", "s = torch.sigmoid(x)\ny = x * s\ns\nreturn y"),
    miss("the gate is used again", "s = torch.sigmoid(x)\nreturn x * s + s", "used again"),
    miss("the gate is returned", "s = torch.sigmoid(x)\nreturn x * s, s", "used again"),
    miss("the gate is kept", "s = torch.sigmoid(x)\ng.s = s\nreturn x * s", "used again"),
    miss("the gate is printed", "s = torch.sigmoid(x)\nprint(s)\nreturn x * s", "used again"),
    miss("the gate is captured", "s = torch.sigmoid(x)\nh = lambda: s\nreturn x * s + h()", "used again"),
    miss("the gate by a walrus", "return x * (s := torch.sigmoid(x)) + s"),
    miss("the gate by a walrus alone", "return x * (s := torch.sigmoid(x))", "bound inside"),
    miss("the gate in a tuple", "s, n = torch.sigmoid(x), g\nreturn x * s * n", "variable of its own"),
    miss("the gate in another branch", "s = x\nif g:\n    s = torch.sigmoid(x)\nreturn x * s"),
    miss("the product in a branch", "s = torch.sigmoid(x)\nif g:\n    return x * s\nreturn x", "different branches"),
    miss(
        "the product in a loop",
        "s = torch.sigmoid(x)\nfor _ in range(2):\n    g = x * s\nreturn g",
        "different branches",
    ),
    miss(
        "the gate of the last turn",
        "s = torch.sigmoid(x)\nfor _ in range(2):\n    y = x * s\n    s = torch.sigmoid(x)\nreturn y",
    ),
    miss("the gate is global", "global s\ns = torch.sigmoid(x)\nreturn x * s"),
    miss(
        "the gate is nonlocal",
        "s = 0\n\ndef h(x):\n    nonlocal s\n    s = torch.sigmoid(x)\n    return x * s\n\nreturn h(x) + s",
    ),
    miss("the gate is deleted", "s = torch.sigmoid(x)\ny = x * s\ndel s\nreturn y"),
    miss("locals", "s = torch.sigmoid(x)\ng(locals())\nreturn x * s"),
    miss("exec", "s = torch.sigmoid(x)\nexec('x = 1')\nreturn x * s"),
    miss("an assignment in place", "x *= torch.sigmoid(x)\nreturn x"),
    miss("a method in place", "x.mul_(torch.sigmoid(x))\nreturn x"),
    miss("sigmoid in place", "return x * x.sigmoid_()"),
    miss("torch.sigmoid_ in place", "return x * torch.sigmoid_(x)"),
]

NAMES = [
    Miss(
        "a local class Sigmoid",
        "import torch\nfrom torch import nn\n\n\nclass Sigmoid(nn.Module):\n    pass\n\n\n"
        "class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.gate = Sigmoid()\n\n    def forward(self, x):\n"
        "        return x * self.gate(x)\n",
    ),
    Miss(
        "a function of the file",
        "import torch\n\n\ndef sigmoid(x):\n    return torch.tanh(x)\n\n\ndef f(x):\n    return x * sigmoid(x)\n",
    ),
    Miss("a parameter called torch", "import torch\n\n\ndef f(x, torch):\n    return x * torch.sigmoid(x)\n"),
    Miss("a local torch", "import torch\n\n\ndef f(x):\n    torch = numpy\n    return x * torch.sigmoid(x)\n"),
    Miss("a global torch", "import torch\n\ntorch = patched(torch)\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n"),
    Miss(
        "another torch in a try",
        "try:\n    import torch\nexcept ImportError:\n    import mytorch as torch\n\n\ndef f(x):\n"
        "    return x * torch.sigmoid(x)\n",
    ),
    Miss(
        "a loop's torch",
        "import torch\n\n\ndef f(x):\n    for torch in [x]:\n        x = x * torch.sigmoid(x)\n    return x\n",
    ),
    Miss("a comprehension's torch", "import torch\n\n\ndef f(x):\n    return [x * torch.sigmoid(x) for torch in x]\n"),
    Miss("a lambda's torch", "import torch\n\n\ndef f(x):\n    return (lambda torch: x * torch.sigmoid(x))(x)\n"),
    Miss(
        "an except's torch",
        "import torch\n\n\ndef f(x):\n    try:\n        pass\n    except ValueError as torch:\n"
        "        return x * torch.sigmoid(x)\n",
    ),
    Miss("numpy", "import numpy as np\nimport torch\n\n\ndef f(x):\n    return x * (1 / (1 + np.exp(-x)))\n"),
    Miss("math", "import math\nimport torch\n\n\ndef f(x):\n    return x / (1 + math.exp(-x))\n"),
    Miss("jax", "import jax\n\n\ndef f(x):\n    return x * jax.nn.sigmoid(x)\n"),
    Miss("jax's method beside torch", "import jax\nimport torch\n\n\ndef f(x):\n    return x * x.sigmoid()\n"),
    Miss("tensorflow", "import tensorflow as tf\nimport torch\n\n\ndef f(x):\n    return x * tf.sigmoid(x)\n"),
    Miss("scipy's expit", "import torch\nfrom scipy.special import expit\n\n\ndef f(x):\n    return x * expit(x)\n"),
    Miss(
        "a star import of two", "from numpy import *\nfrom torch import *\n\n\ndef f(x):\n    return x * sigmoid(x)\n"
    ),
    Miss("an attribute of something", "import torch\n\n\ndef f(x, lib):\n    return x * lib.sigmoid(x)\n"),
    Miss(
        "a method of self",
        "import torch\nfrom torch import nn\n\n\nclass M(nn.Module):\n    def forward(self, x):\n"
        "        return x * self.sigmoid(x)\n\n    def sigmoid(self, x):\n"
        "        return torch.tanh(x)\n",
    ),
    Miss(
        "a layer that is replaced",
        module(
            "self.gate = nn.Sigmoid()",
            "return x * self.gate(x)",
            tail="    def harden(self):\n        self.gate = nn.Hardsigmoid()",
        ),
    ),
    Miss(
        "a layer that is replaced from outside",
        module(
            "self.gate = nn.Sigmoid()", "return x * self.gate(x)", tail="def harden(m):\n    m.gate = nn.Hardsigmoid()"
        ),
    ),
    Miss(
        "a layer that a subclass replaces",
        module(
            "self.gate = nn.Sigmoid()",
            "return x * self.gate(x)",
            tail=(
                "class N(M):\n    def __init__(self):\n        super().__init__()\n        self.gate = nn.Hardsigmoid()"
            ),
        ),
    ),
    Miss(
        "a layer with a hook",
        module("self.gate = nn.Sigmoid()\nself.gate.register_forward_hook(print)", "return x * self.gate(x)"),
    ),
    Miss(
        "a layer that is optional",
        module("self.gate = nn.Sigmoid() if torch.cuda.is_available() else nn.Tanh()", "return x * self.gate(x)"),
    ),
    Miss(
        "a layer made under a condition",
        module(
            "self.gate = nn.Tanh()\nif torch.cuda.is_available():\n    self.gate = nn.Sigmoid()",
            "return x * self.gate(x)",
        ),
    ),
]

REFERENCES = [
    Miss("a test", "import torch\n\n\ndef test_silu(x):\n    return x * torch.sigmoid(x)\n", "reference"),
    Miss("a reference", "import torch\n\n\ndef silu_reference(x):\n    return x * torch.sigmoid(x)\n", "reference"),
    Miss("naive", "import torch\n\n\ndef naive_swish(x):\n    return x * torch.sigmoid(x)\n", "reference"),
    Miss(
        "an eager branch",
        "import torch\nimport torch.nn.functional as F\n\n\ndef f(x, fused):\n    if fused:\n"
        "        return F.silu(x)\n    return x * torch.sigmoid(x)\n",
        "another branch",
    ),
    Miss(
        "an eager arm",
        "import torch\nimport torch.nn.functional as F\n\n\ndef f(x, fused):\n"
        "    return F.silu(x) if fused else x * torch.sigmoid(x)\n",
        "branch",
    ),
    Miss(
        "a fallback",
        "import torch\nimport torch.nn.functional as F\n\n\ndef f(x):\n"
        "    if hasattr(F, 'silu'):\n        return F.silu(x)\n    return x * torch.sigmoid(x)\n",
    ),
    Miss(
        "a fallback in else",
        "import torch\nimport torch.nn.functional as F\n\nif hasattr(F, 'silu'):\n"
        "    swish = F.silu\nelse:\n    def swish(x):\n        return x * torch.sigmoid(x)\n",
        "lacks it",
    ),
    Miss(
        "a fallback in an except",
        "import torch\n\ntry:\n    from torch.nn.functional import silu\nexcept ImportError:\n"
        "    def silu(x):\n        return x * torch.sigmoid(x)\n",
    ),
    Miss(
        "an autograd function",
        "import torch\n\n\nclass Swish(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x):\n        ctx.save_for_backward(x)\n"
        "        return x * torch.sigmoid(x)\n",
        "autograd",
    ),
    Miss(
        "an autograd function by name",
        "import torch\nfrom torch.autograd import Function\n\n\nclass Swish(Function):\n"
        "    @staticmethod\n    def forward(ctx, x):\n        return x * torch.sigmoid(x)\n",
        "autograd",
    ),
    Miss(
        "a definition of silu itself",
        "import torch\n\n\ndef expected_silu(x):\n    return x * torch.sigmoid(x)\n",
        "reference",
    ),
    Miss("a half-typed line", "import torch\n\n\ndef f(x):\n    y = x.\n    return x * torch.sigmoid(x)\n"),
]

NEGATIVES = FORMULAS + BETWEEN + USES + NAMES + REFERENCES


@pytest.mark.parametrize("miss", NEGATIVES, ids=lambda miss: miss.id)
def test_refused(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons


def test_there_are_more_near_misses_than_matches() -> None:
    assert len(NEGATIVES) >= 1.5 * len(POSITIVES)
