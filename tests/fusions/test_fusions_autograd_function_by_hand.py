"""FUS415: the calls of a custom function go where its gradient is proven to be the activation's, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import equivalent, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS415"
CODES = frozenset({CODE})
HEAD = "import math\n\nimport torch\nimport torch.nn.functional as F\n"

VALUE = "return i * torch.sigmoid(i)"
SLOPE = "s = torch.sigmoid(i)\nreturn g * (s * (1 + i * (1 - s)))"


def indented(lines: str, by: str) -> str:
    return "".join(f"{by}{line}\n" for line in lines.split("\n"))


def function(
    forward: str = VALUE,
    backward: str = SLOPE,
    *,
    saved: str = "i",
    loaded: str = "(i,) = ctx.saved_tensors",
    body: str = "return Swish.apply(x)",
    name: str = "f",
    head: str = "",
    base: str = "torch.autograd.Function",
    methods: str = "",
) -> str:
    *steps, result = forward.split("\n")
    return (
        HEAD
        + (f"\n\n{head.strip(chr(10))}\n" if head else "")
        + f"\n\nclass Swish({base}):\n    @staticmethod\n    def forward(ctx, i):\n"
        + (indented("\n".join(steps), "        ") if steps else "")
        + (f"        ctx.save_for_backward({saved})\n" if saved else "")
        + indented(result, "        ")
        + "\n    @staticmethod\n    def backward(ctx, g):\n"
        + (f"        {loaded}\n" if loaded else "")
        + indented(backward, "        ")
        + methods
        + f"\n\ndef {name}(x):\n"
        + indented(body, "    ")
    )


@dataclass
class Case:
    id: str
    text: str
    after: str = "    return F.silu(x)\n"
    safety: Safety = Safety.EXACT


POSITIVES = [
    Case("as in EfficientNet", function()),
    Case("the tensors indexed", function(loaded="i = ctx.saved_tensors[0]")),
    Case("the tensors unpacked without brackets", function(loaded="i, = ctx.saved_tensors")),
    Case("the gradient expanded", function(backward="s = i.sigmoid()\nreturn g * (s + i * s * (1 - s))")),
    Case(
        "the gradient by its value", function(backward="s = torch.sigmoid(i)\ny = i * s\nreturn g * (y + s * (1 - y))")
    ),
    Case(
        "the gradient by torch.mul",
        function(backward="s = torch.sigmoid(i)\nreturn torch.mul(g, s).mul(1 + i * (1 - s))"),
    ),
    Case("a tuple of one", function(backward="s = torch.sigmoid(i)\nreturn (g * (s * (1 + i * (1 - s))),)")),
    Case(
        "the gate is saved",
        function(
            "s = torch.sigmoid(i)\nreturn i * s",
            "return g * (s * (1 + i * (1 - s)))",
            saved="i, s",
            loaded="i, s = ctx.saved_tensors",
        ),
    ),
    Case("kept on the context", function("ctx.i = i\n" + VALUE, saved="", loaded="i = ctx.i")),
    Case(
        "functions of the file",
        function(
            "return forward_of(i)",
            "return backward_of(i, g)",
            head="def forward_of(x):\n    return x.mul(torch.sigmoid(x))\n\n\n"
            "def backward_of(x, grad):\n    s = torch.sigmoid(x)\n    return grad * (s * (1 + x * (1 - s)))",
        ),
    ),
    Case(
        "once differentiable",
        function().replace(
            "    @staticmethod\n    def backward",
            "    @staticmethod\n    @torch.autograd.function.once_differentiable\n    def backward",
        ),
    ),
    Case("exp by hand", function("return i / (1 + torch.exp(-i))"), safety=Safety.NUMERICS),
    Case("of an expression", function(body="return Swish.apply(x + 1) * 2"), "return F.silu(x + 1) * 2"),
    Case("in a nested call", function(body="return torch.tanh(Swish.apply(torch.cos(x)))"), "F.silu(torch.cos(x))"),
    Case(
        "mish",
        function(
            "return i * torch.tanh(F.softplus(i))",
            "s = torch.sigmoid(i)\nt = F.softplus(i).tanh()\nreturn g * (t + i * s * (1 - t * t))",
        ),
        "F.mish(x)",
        Safety.NUMERICS,
    ),
    Case(
        "gelu",
        function(
            "return 0.5 * i * (1 + torch.erf(i / math.sqrt(2)))",
            "cdf = 0.5 * (1 + torch.erf(i / math.sqrt(2)))\n"
            "pdf = torch.exp(-0.5 * i * i) / math.sqrt(2 * math.pi)\nreturn g * (cdf + i * pdf)",
        ),
        "F.gelu(x)",
        Safety.EXACT,
    ),
    Case(
        "a sigmoid that saves its result",
        function(
            "s = torch.sigmoid(i)\nreturn s", "return g * s * (1 - s)", saved="s", loaded="(s,) = ctx.saved_tensors"
        ),
        "torch.sigmoid(x)",
    ),
]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, ((3, 4),), codes=CODES, tolerance=1e-10)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {case.safety}
    assert "class Swish(" in result.text


def test_functions_that_torch_compiles_are_read_too() -> None:
    text = next(case.text for case in POSITIVES if case.id == "functions of the file")
    scripted = text.replace("\n\ndef forward_of", "\n\n@torch.jit.script\ndef forward_of")
    found = Analysis(scripted, codes=CODES).findings
    assert [finding.safety for finding in found] == [Safety.EXACT]


@dataclass
class Negative:
    id: str
    text: str
    reason: str = ""


NEGATIVES = [
    Negative("another gradient", function(backward="return g * torch.sigmoid(i)"), "is not that of silu"),
    Negative("a straight-through gradient", function(backward="return g"), "is not that of silu"),
    Negative("a scaled gradient", function(backward=SLOPE.replace("g *", "0.5 * g *")), "is not that of silu"),
    Negative("a clipped gradient", function(backward=SLOPE.replace("g *", "g.clamp(-1, 1) *")), "not shown"),
    Negative("a sign that is wrong", function(backward=SLOPE.replace("1 + i", "1 - i")), "is not that of silu"),
    Negative("a small difference", function(backward=SLOPE.replace("1 + i", "1.000001 + i")), "is not that of silu"),
    Negative("in place", function(backward="s = torch.sigmoid(i)\ns.mul_(2)\nreturn g * s"), "not shown"),
    Negative(
        "a branch",
        function(backward="if ctx.needs_input_grad[0]:\n    s = torch.sigmoid(i)\nreturn g * (s * (1 + i * (1 - s)))"),
        "not shown",
    ),
    Negative("a function of its own", function("return i * torch.sigmoid(1.702 * i)")),
    Negative("a kink", function("return torch.where(i > 0, i, 0 * i)", "return g * (i > 0)")),
    Negative("a factor", function("return 2 * i * torch.sigmoid(i)")),
    Negative("an unknown function", function("return gate(i)", head="from gates import gate")),
    Negative(
        "symbolic",
        function(methods="\n    @staticmethod\n    def symbolic(g, x):\n        return g.op('Swish', x)\n"),
        "symbolic",
    ),
    Negative("jvp", function(methods="\n    @staticmethod\n    def jvp(ctx, t):\n        return t\n"), "jvp"),
    Negative(
        "a decorator",
        function().replace(
            "    @staticmethod\n    def forward", "    @staticmethod\n    @torch.cuda.amp.custom_fwd\n    def forward"
        ),
        "decorator",
    ),
    Negative("no function", function(base="torch.nn.Module")),
    Negative("a test", function(name="test_swish"), "reads as a reference"),
    Negative("two arguments", function(body="return Swish.apply(x, 2)"), "more than one argument"),
    Negative("unpacked arguments", function(body="return Swish.apply(*x)"), "more than one argument"),
    Negative("a local of that name", function(body="Swish = make()\nreturn Swish.apply(x)")),
    Negative("a subclass", function() + "\n\nclass Other(Swish):\n    pass\n", "subclass"),
    Negative("a class defined twice", function() + "\n\nclass Swish(torch.autograd.Function):\n    pass\n"),
    Negative(
        "apply of a module",
        HEAD + "\n\ndef f(model, init):\n    return model.apply(init)\n\n\ndef backward():\n    pass\n",
    ),
]


@pytest.mark.parametrize("case", NEGATIVES, ids=lambda case: case.id)
def test_refused(case: Negative) -> None:
    reasons = refused(case.text, CODE)
    if case.reason:
        assert any(case.reason in reason for reason in reasons), reasons
