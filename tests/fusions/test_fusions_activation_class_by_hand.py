"""FUS414: a hand-written activation becomes a thin class of torch's; what others use of it stays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import Inputs, equivalent, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS414"
CODES = frozenset({CODE})
HEAD = "import math\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def indented(lines: str, by: str) -> str:
    return "".join(f"{by}{line}\n" if line.strip() else "\n" for line in lines.strip("\n").split("\n"))


def act(
    forward: str,
    *,
    init: str | None = None,
    arguments: str = "self",
    made: str = "Act()",
    body: str = "",
    between: str = "",
    head: str = "",
    tail: str = "",
    base: str = "nn.Module",
    takes: str = "self, x",
    call: str = "self.act(x)",
) -> str:
    """A file with a class `Act`, and `M` which uses it."""
    constructor = "" if init is None else f"    def __init__({arguments}):\n{indented(init, '        ')}\n"
    return (
        HEAD
        + (f"\n\n{head.strip(chr(10))}\n" if head else "")
        + f"\n\nclass Act({base}):\n"
        + (indented(body, "    ") + "\n" if body else "")
        + constructor
        + f"    def forward({takes}):\n"
        + indented(forward, "        ")
        + (f"\n{indented(between, '    ')}" if between else "")
        + "\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + f"        self.act = {made}\n\n    def forward(self, x):\n        return {call}\n"
        + (f"\n\n{tail.strip(chr(10))}\n" if tail else "")
    )


@dataclass
class Case:
    """A class, what must stand in its place, and how safe that is."""

    id: str
    text: str
    after: str
    safety: Safety = Safety.EXACT
    inputs: Inputs = ((3, 5),)


SUPER = "super().__init__()"
SWISH = "return x * torch.sigmoid(x)"
TANH = "return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))"
EMPTY = "class Act(nn.{}):\n    pass\n\n\nclass M"

POSITIVES = [
    Case("swish", act(SWISH), EMPTY.format("SiLU")),
    Case("swish in steps", act("s = x.sigmoid()\nreturn s * x"), EMPTY.format("SiLU")),
    Case("swish by a quotient", act("return x / (1 + torch.exp(-x))"), EMPTY.format("SiLU"), Safety.NUMERICS),
    Case(
        "swish with a constructor",
        act(SWISH, init=SUPER),
        f"class Act(nn.SiLU):\n    def __init__(self):\n        {SUPER}\n",
    ),
    Case(
        "swish with the old super",
        act(SWISH, init="super(Act, self).__init__()"),
        "class Act(nn.SiLU):\n    def __init__(self):\n        super(Act, self).__init__()\n\n\n",
    ),
    Case(
        "swish with a layer",
        act("return x * self.gate(x)", init=f"{SUPER}\nself.gate = nn.Sigmoid()"),
        f"class Act(nn.SiLU):\n    def __init__(self):\n        {SUPER}\n\n\nclass M",
    ),
    Case(
        "swish with arguments that do nothing",
        act(SWISH, init=SUPER, arguments="self, inplace=True", made="Act(inplace=True)"),
        "def __init__(self, inplace=True):",
    ),
    Case("swish with a setting", act(SWISH, init=f"{SUPER}\nself.kind = 'swish'"), "self.kind = 'swish'"),
    Case(
        "swish with a docstring",
        act(SWISH, body='"""x times its gate."""'),
        'class Act(nn.SiLU):\n    """x times its gate."""\n\n\nclass M',
    ),
    Case(
        "swish with comments",
        act("# the gate\ns = torch.sigmoid(x)  # in (0, 1)\nreturn x * s"),
        "class Act(nn.SiLU):\n    # the gate\n    # in (0, 1)\n    pass\n",
    ),
    Case(
        "swish with a docstring and comments",
        act("return x * torch.sigmoid(x)  # as is", body='"""Gated."""'),
        "\n    pass  # as is\n",
    ),
    Case(
        "swish by a function of the file",
        act("return swish(x)", head="def swish(h):\n    return h * h.sigmoid()"),
        EMPTY.format("SiLU"),
    ),
    Case(
        "swish by a method",
        act("return x * self.gate(x)", between="def gate(self, h):\n    return torch.sigmoid(h)"),
        EMPTY.format("SiLU"),
    ),
    Case(
        "swish by a static method",
        act("return x * self.gate(x)", between="@staticmethod\ndef gate(h):\n    return torch.sigmoid(h)"),
        EMPTY.format("SiLU"),
    ),
    Case("swish with annotations", act(SWISH, takes="self, x: torch.Tensor"), EMPTY.format("SiLU")),
    Case("swish of torch.nn", act(SWISH, base="torch.nn.Module"), EMPTY.format("SiLU")),
    Case(
        "gelu by tanh",
        act(TANH),
        'class Act(nn.GELU):\n    def __init__(self):\n        super().__init__(approximate="tanh")\n\n\nclass M',
        Safety.NUMERICS,
    ),
    Case(
        "gelu by tanh with a docstring",
        act(TANH, body='"""As in GPT-2."""'),
        '    """As in GPT-2."""\n\n    def __init__(self):\n        super().__init__(approximate="tanh")\n\n\nclass M',
        Safety.NUMERICS,
    ),
    Case(
        "gelu by tanh with a constant",
        act(
            "return 0.5 * x * (1 + torch.tanh(self.c * (x + 0.044715 * x ** 3)))",
            init=f"{SUPER}\nself.c = math.sqrt(2 / math.pi)",
        ),
        'def __init__(self):\n        super().__init__(approximate="tanh")\n\n\nclass M',
        Safety.NUMERICS,
    ),
    Case("gelu by erf", act("return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))"), EMPTY.format("GELU")),
    Case("mish", act("return x * torch.tanh(F.softplus(x))"), EMPTY.format("Mish"), Safety.NUMERICS),
    Case(
        "mish by log", act("return x * torch.tanh(torch.log(1 + torch.exp(x)))"), EMPTY.format("Mish"), Safety.NUMERICS
    ),
    Case("hardswish", act("return x * F.relu6(x + 3) / 6"), EMPTY.format("Hardswish")),
    Case("hardswish in place", act("return x * F.relu6(x + 3, inplace=True) / 6"), EMPTY.format("Hardswish")),
    Case(
        "hardswish by layers",
        act("return x * self.relu(x + 3) / 6", init=f"{SUPER}\nself.relu = nn.ReLU6()"),
        f"class Act(nn.Hardswish):\n    def __init__(self):\n        {SUPER}\n\n\n",
    ),
    Case(
        "hardswish by a clamp",
        act("return x * torch.clamp(x + 3, 0, 6) / 6"),
        EMPTY.format("Hardswish"),
        Safety.NUMERICS,
    ),
    Case("hardsigmoid", act("return F.relu6(x + 3) / 6"), EMPTY.format("Hardsigmoid"), Safety.NUMERICS),
    Case("softplus", act("return torch.log(1 + torch.exp(x))"), EMPTY.format("Softplus"), Safety.NUMERICS),
    Case("leaky relu", act("return torch.where(x > 0, x, 0.2 * x)"), "super().__init__(negative_slope=0.2)"),
    Case(
        "leaky relu with a slope",
        act(
            "return torch.where(x > 0, x, self.slope * x)",
            init=f"{SUPER}\nself.slope = slope",
            arguments="self, slope=0.3",
            made="Act(slope=0.1)",
        ),
        "        super().__init__(negative_slope=slope)\n\n\n",
    ),
    Case("softsign", act("return x / (1 + x.abs())"), EMPTY.format("Softsign")),
    Case("flatten", act("return x.view(x.size(0), -1)"), EMPTY.format("Flatten"), inputs=((3, 2, 5),)),
    Case("flatten by a shape", act("return x.view(x.shape[0], -1)"), EMPTY.format("Flatten"), inputs=((3, 2, 5),)),
    Case(
        "flatten by the whole shape",
        act("return x.view(x.size()[0], -1)"),
        EMPTY.format("Flatten"),
        inputs=((3, 2, 5),),
    ),
    Case(
        "flatten by reshape",
        act("b = x.shape[0]\nreturn x.reshape(b, -1)"),
        EMPTY.format("Flatten"),
        inputs=((3, 2, 2, 5),),
    ),
    Case(
        "flatten by its length",
        act("return x.contiguous().view(len(x), -1)"),
        EMPTY.format("Flatten"),
        inputs=((3, 2, 5),),
    ),
    Case("flatten, called", act("return torch.flatten(x, 1)"), EMPTY.format("Flatten"), inputs=((3, 2, 5),)),
    Case("flatten, the method", act("return x.flatten(start_dim=1)"), EMPTY.format("Flatten"), inputs=((3, 2, 5),)),
    Case("tabs", act("s = torch.sigmoid(x)\nreturn x * s").replace("    ", "\t"), "class Act(nn.SiLU):\n\tpass\n"),
    Case("windows line ends", act(SWISH).replace("\n", "\r\n"), "class Act(nn.SiLU):\r\n    pass\r\n"),
    Case(
        "an import of the base alone",
        act(SWISH, base="Module", head="from torch.nn import Module"),
        EMPTY.format("SiLU"),
    ),
    Case(
        "a subclass that adds nothing",
        act(SWISH, made="Other()").replace("\n\nclass M", "\n\nclass Other(Act):\n    pass\n\n\nclass M"),
        "class Act(nn.SiLU):\n    pass\n",
    ),
]


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=CODES, tolerance=1e-7, deep=False)
    assert [finding.code for finding in result.applied] == [CODE]
    assert case.after in result.text, result.text
    assert result.applied[0].safety is case.safety, result.applied[0].title


@dataclass
class Negative:
    """A text in which nothing is offered, and a part of the reason."""

    id: str
    text: str
    reason: str = ""


NEGATIVES = [
    Negative("quick gelu", act("return x * torch.sigmoid(1.702 * x)")),
    Negative(
        "a learned beta",
        act("return x * torch.sigmoid(self.b * x)", init=f"{SUPER}\nself.b = nn.Parameter(torch.ones(1))"),
    ),
    Negative("a beta", act("return x * torch.sigmoid(self.b * x)", init=f"{SUPER}\nself.b = 2.0")),
    Negative("a gate of another value", act("return x * torch.sigmoid(x + 1)")),
    Negative("another constant", act(TANH.replace("0.044715", "0.0447")), "stands where"),
    Negative("in place", act("return x.mul_(torch.sigmoid(x))")),
    Negative("in place by an operator", act("x *= torch.sigmoid(x)\nreturn x")),
    Negative("in place by the call", act("return F.relu(x, inplace=True)")),
    Negative("the gate is written to", act("s = torch.sigmoid(x)\ns.mul_(2)\nreturn x * s")),
    Negative("the input is written to", act("x.add_(1)\nreturn x * torch.sigmoid(x)")),
    Negative("a branch", act("if self.training:\n    return x\nreturn x * torch.sigmoid(x)")),
    Negative("an arm", act("return x * torch.sigmoid(x) if self.training else x")),
    Negative("two inputs", act("return x * torch.sigmoid(y)", takes="self, x, y=None")),
    Negative("an option", act(SWISH, takes="self, x, inplace=False")),
    Negative("two results", act("s = torch.sigmoid(x)\nreturn x * s, s")),
    Negative("something kept", act("self.last = x\nreturn x * torch.sigmoid(x)")),
    Negative("something printed", act("print(x)\nreturn x * torch.sigmoid(x)")),
    Negative("random", act("return x * torch.sigmoid(x) + 0 * torch.rand(1)")),
    Negative("a dropout", act("return F.dropout(x * torch.sigmoid(x))")),
    Negative("an unknown function", act("return g(x)", head="from gates import g")),
    Negative(
        "a function that is bound twice",
        act("return g(x)", head="def g(x):\n    return x * torch.sigmoid(x)\n\n\ndef g(x):\n    return x\n"),
    ),
    Negative("a class around a layer", act("return self.f(x)", init=f"{SUPER}\nself.f = nn.SiLU()")),
    Negative("a decorated class", act(SWISH).replace("class Act", "@torch.jit.script\nclass Act"), "decorator"),
    Negative("a decorated forward", act(SWISH).replace("    def forward", "    @torch.no_grad()\n    def forward", 1)),
    Negative("class attributes", act(SWISH, body="inplace = True"), "class attributes"),
    Negative("an attribute of the layer", act(SWISH, init=f"{SUPER}\nself.inplace = True"), "is set"),
    Negative("a parameter", act(SWISH, init=f"{SUPER}\nself.scale = nn.Parameter(torch.ones(1))"), "may hold"),
    Negative("a buffer", act(SWISH, init=f"{SUPER}\nself.register_buffer('n', torch.ones(1))"), "may do anything"),
    Negative("no call of its base", act(SWISH, init="pass"), "does not call"),
    Negative(
        "a subclass with methods",
        act(SWISH, tail="class Other(Act):\n    def forward(self, x):\n        return -x"),
        "inherits",
    ),
    Negative("two bases", act(SWISH, base="nn.Module, object")),
    Negative("another base", act(SWISH, base="nn.Sequential")),
    Negative(
        "its layer is used elsewhere",
        act(
            "return x * self.gate(x)",
            init=f"{SUPER}\nself.gate = nn.Sigmoid()",
            tail="def show(act, x):\n    return act.gate(x)",
        ),
    ),
    Negative(
        "its layer is hooked",
        act(
            "return x * self.gate(x)",
            init=f"{SUPER}\nself.gate = nn.Sigmoid()",
            tail="M().act.gate.register_forward_hook(print)",
        ),
    ),
    Negative("isinstance", act(SWISH, tail="def f(m):\n    return isinstance(m, (nn.ReLU, nn.SiLU))"), "asks whether"),
    Negative("called by a keyword", act(SWISH, call="self.act(x=x)"), "as a keyword"),
    Negative("forward is replaced", act(SWISH, tail="Act.forward = lambda self, x: x"), "used elsewhere"),
    Negative("a reference", act(SWISH).replace("Act", "ReferenceAct"), "reference"),
    Negative("a view of other sizes", act("return x.view(-1, 10)")),
    Negative("a view by the second size", act("return x.view(x.size(1), -1)")),
    Negative("a view of three", act("return x.view(x.size(0), -1, 1)")),
    Negative("flatten from the third", act("return torch.flatten(x, 2)")),
    Negative("flatten up to the third", act("return torch.flatten(x, 1, 2)")),
    Negative("a flatten of something else", act("return x.t().reshape(x.size(0), -1)")),
    Negative(
        "a class inside a function",
        HEAD
        + "\n\ndef make():\n    class Act(nn.Module):\n        def forward(self, x):\n"
        + f"            {SWISH}\n\n    return Act()\n",
        "inside something else",
    ),
    Negative(
        "a class for an old torch",
        HEAD
        + "\n\ntry:\n    from torch.nn import SiLU\nexcept ImportError:\n\n    class SiLU(nn.Module):\n"
        + f"        def forward(self, x):\n            {SWISH}\n",
        "inside something else",
    ),
]


@pytest.mark.parametrize("case", NEGATIVES, ids=lambda case: case.id)
def test_refused(case: Negative) -> None:
    reasons = refused(case.text, CODE)
    if case.reason:
        assert any(case.reason in reason for reason in reasons), reasons


def test_a_function_that_torch_compiles_is_read_too() -> None:
    text = act("return swish(x)", head="@torch.jit.script\ndef swish(h):\n    return h * h.sigmoid()")
    assert [finding.safety for finding in Analysis(text, codes=CODES).findings] == [Safety.EXACT]


def test_the_expression_in_it_is_the_smaller_edit() -> None:
    assert [finding.code for finding in Analysis(act(SWISH)).findings] == ["FUS401"]
    assert [finding.code for finding in Analysis(act(SWISH), codes=frozenset({CODE})).findings] == [CODE]


def test_what_is_switched_off_is_not_offered_under_another_code() -> None:
    assert not Analysis(act(SWISH), codes=frozenset({CODE, "FUS402"})).findings


@pytest.mark.parametrize("call", ["F.silu(x)", "F.gelu(x, approximate='tanh')", "F.leaky_relu(x, 0.1)"])
def test_one_call_already(call: str) -> None:
    assert not Analysis(act(f"return {call}"), codes=frozenset({CODE})).findings


def test_a_class_that_is_refused_leaves_the_expression() -> None:
    text = act(SWISH, init=f"{SUPER}\nself.inplace = True")
    assert [finding.code for finding in Analysis(text).findings] == ["FUS401"]
