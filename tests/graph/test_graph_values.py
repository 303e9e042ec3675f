"""What is one value, who uses it, and what may be written in between: facts of functions, as tables."""

from __future__ import annotations

import textwrap

import pytest

from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph
from fuselight.source.statements import StatementCache

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"


def graph_of(text: str, scope: str) -> Graph:
    module = Module(StatementCache().split(text))
    scopes = [one for statement in module.statements for one in module.scopes(statement)]
    return module.graph(next(one for one in scopes if one.name == scope))


def function(body: str, arguments: str = "x, y, g") -> Graph:
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return graph_of(f"{HEAD}def f({arguments}):\n{lines}\n", "f")


def groups(graph: Graph) -> str:
    """The inputs of the sigmoids, in their order: the same letter for the same value."""
    names: dict[int, str] = {}
    values = sorted(graph.of_kind("sigmoid"), key=lambda value: value.order)
    return "".join(names.setdefault(id(value.inputs[0]), chr(ord("a") + len(names))) for value in values)


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        ("aa", "torch.sigmoid(x)\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\ntorch.sigmoid(y)"),
        ("aaaa", "torch.sigmoid(x)\nx.sigmoid()\nF.sigmoid(x)\ntorch.special.expit(x)"),
        ("aa", "torch.sigmoid(x)\nz = x\ntorch.sigmoid(z)"),
        ("aa", "z = w = x\ntorch.sigmoid(z)\ntorch.sigmoid(w)"),
        ("aba", "torch.sigmoid(x)\nz = x\nx = x + 1\ntorch.sigmoid(x)\ntorch.sigmoid(z)"),
        ("abab", "torch.sigmoid(x)\ntorch.sigmoid(y)\ny, x = x, y\ntorch.sigmoid(y)\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x + 1)\ntorch.sigmoid(x + 1)"),
        ("ab", "torch.sigmoid(x)\nx += 1\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nif g:\n    x = y\ntorch.sigmoid(x)"),
        ("aa", "torch.sigmoid(x)\nif g:\n    z = y\ntorch.sigmoid(x)"),
        ("aab", "if g:\n    torch.sigmoid(x)\n    torch.sigmoid(x)\n    x = y\ntorch.sigmoid(x)"),
        ("aa", "if g:\n    torch.sigmoid(x)\nelse:\n    torch.sigmoid(x)"),
        ("aa", "if g:\n    x = y\n    return x\ntorch.sigmoid(x)\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nfor _ in g:\n    x = y\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nfor _ in g:\n    torch.sigmoid(x)\n    x = y"),
        ("aa", "torch.sigmoid(x)\nfor _ in g:\n    torch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nfor x in g:\n    torch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nwhile (x := y):\n    pass\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nwith g as x:\n    torch.sigmoid(x)"),
        ("aa", "torch.sigmoid(x)\nwith g as z:\n    torch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\ntry:\n    x = y\nexcept ValueError:\n    pass\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\ntry:\n    pass\nexcept ValueError as x:\n    torch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nmatch g:\n    case x:\n        torch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\n(x := y * 1)\ntorch.sigmoid(x)"),
        ("aa", "torch.sigmoid(y)\n(x := y)\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\n[x := t for t in g]\ntorch.sigmoid(x)"),
        ("aa", "torch.sigmoid(x)\n[x for x in g]\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\ndel x\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\nimport math as x\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x)\n\ndef x():\n    pass\n\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x[0])\ntorch.sigmoid(x[0])"),
        ("ab", "torch.sigmoid(g.a)\ntorch.sigmoid(g.a)"),
        ("ab", "torch.sigmoid(y())\ntorch.sigmoid(y())"),
        ("ab", "global x\ntorch.sigmoid(x)\ng()\ntorch.sigmoid(x)"),
        ("ab", "torch.sigmoid(x if g else y)\ntorch.sigmoid(x)"),
        ("ab", "z, *w = x, y\ntorch.sigmoid(w)\ntorch.sigmoid(y)"),
        ("ab", "z, w = x\ntorch.sigmoid(z)\ntorch.sigmoid(w)"),
    ],
)
def test_one_value_or_several(expected: str, body: str) -> None:
    arguments = "y, g" if "global x" in body else "x, y, g"
    assert groups(function(body, arguments)) == expected


INPUT, METADATA, RETURNED = Consumption.INPUT, Consumption.METADATA, Consumption.RETURNED
STORED, CAPTURED = Consumption.STORED, Consumption.CAPTURED
JOINED, TESTED = Consumption.JOINED, Consumption.TESTED


@pytest.mark.parametrize(
    ("uses", "body"),
    [
        ([], "z = torch.tanh(x)"),
        ([RETURNED], "return torch.tanh(x)"),
        ([INPUT], "z = torch.tanh(x)\nw = z + 1"),
        ([INPUT, INPUT], "z = torch.tanh(x)\nw = z * z"),
        ([INPUT], "z = torch.tanh(x)\nz = z + 1\nz = z + 1"),
        ([METADATA], "z = torch.tanh(x)\nz.shape"),
        ([METADATA, METADATA, METADATA], "z = torch.tanh(x)\nz.size(0), z.dim(), z.dtype"),
        ([METADATA], "z = torch.tanh(x)\nlen(z)"),
        ([METADATA], "z = torch.tanh(x)\nz is None"),
        ([TESTED], "z = torch.tanh(x)\nif z:\n    pass"),
        ([TESTED], "z = torch.tanh(x)\nassert z"),
        ([STORED], "z = torch.tanh(x)\ng.z = z"),
        ([CAPTURED], "z = torch.tanh(x)\nh = lambda: z"),
        ([CAPTURED], "z = torch.tanh(x)\n\ndef h():\n    return z"),
        ([JOINED, RETURNED], "z = torch.tanh(x)\nif g:\n    z = y\nreturn z"),
        ([JOINED, RETURNED], "z = torch.tanh(x) if g else y\nreturn z"),
        ([INPUT], "print(torch.tanh(x))"),
        ([INPUT], "z = f'{torch.tanh(x)}'"),
    ],
)
def test_uses(uses: list[Consumption], body: str) -> None:
    graph = function(body)
    (value,) = graph.of_kind("tanh")
    hows = [use.how for use in value.uses]
    if uses[:1] == [JOINED]:
        assert JOINED in hows
    else:
        # A capture may be counted where the name stands and where the function is made: it is one either way.
        counted = [how for how in hows if how is not CAPTURED or CAPTURED not in uses] + [CAPTURED] * (
            CAPTURED in hows and CAPTURED in uses
        )
        assert sorted(how.value for how in counted) == sorted(how.value for how in uses)


@pytest.mark.parametrize(
    ("written", "between"),
    [
        (False, "pass"),
        (False, "z = x + 1\nz += 1"),
        (False, "z = x.clone() + 1\nz.add_(1)"),
        (False, "z = torch.relu(x)\nz.zero_()"),
        (False, "z = torch.zeros(3)\nz[0] = 1"),
        (False, "n = 1\nn += 1"),
        (False, "z = x.shape\nprint(z)"),
        (False, "torch.manual_seed"),
        (False, "z = [t * 2 for t in x]"),
        (False, "self.cache = 3"),
        (True, "x.add_(1)"),
        (True, "x += 1"),
        (True, "x[0] = 1"),
        (True, "x[0] += 1"),
        (True, "x[0].add_(1)"),
        (True, "x.T.add_(1)"),
        (True, "x.data.add_(1)"),
        (True, "x.data = y"),
        (True, "z = x.view(-1)\nz.add_(1)"),
        (True, "z = x.reshape(-1)\nz.add_(1)"),
        (True, "z = x.contiguous()\nz.add_(1)"),
        (True, "z = x.to(y)\nz.add_(1)"),
        (True, "z, w = x.chunk(2)\nw.add_(1)"),
        (True, "z = (x, y)\nz[0].add_(1)"),
        (True, "z = {'x': x}\nz['x'].add_(1)"),
        (True, "z = []\nz.append(x)\nz[0].add_(1)"),
        (True, "z = []\nfor _ in g:\n    z.append(x)\nfor w in z:\n    w += 1"),
        (True, "for z in x:\n    z.add_(1)"),
        (True, "for n, z in enumerate(x):\n    z.add_(1)"),
        (True, "z = x if g else y\nz.add_(1)"),
        (True, "if g:\n    z = x\nelse:\n    z = y\nz.add_(1)"),
        (True, "z = g or x\nz.add_(1)"),
        (True, "z = torch.Tensor(3)\nz = x\nfor _ in g:\n    z.add_(1)\n    z = z[0]"),
        (True, "torch.add(x, 1, out=x)"),
        (True, "F.relu(x, inplace=True)"),
        (True, "F.relu(x, inplace=g)"),
        (True, "F.relu(x, True)"),
        (True, "F.dropout(x, 0.5, True, True)"),
        (True, "nn.ReLU(inplace=True)(x)"),
        (True, "torch.relu_(x)"),
        (True, "nn.init.ones_(x)"),
        (True, "torch._foreach_add_([x], 1)"),
        (True, "g(x)"),
        (True, "g.method(x)"),
        (True, "x.unknown()"),
        (False, "z = y.clone()\nz.copy_(x)\nz.add_(1)"),
        (True, "z = x.detach()\nz.add_(1)"),
        (True, "(lambda: x.add_(1))()"),
        (True, "def h():\n    x.add_(1)\nh()"),
        (True, "def h(t=x):\n    t.add_(1)\nh()"),
        (True, "del x[0]"),
        (True, "z = lambda: x\nz().add_(1)"),
        (True, "map(lambda t: t.add_(1), [x])\ng()"),
        (True, "with g(x):\n    pass"),
        (True, "yield x"),
    ],
)
def test_written_in_between(written: bool, between: str) -> None:
    graph = function(f"x = x * 2\na = torch.sigmoid(x)\n{between}\nb = torch.tanh(a)", "self, x, y, g")
    (first,) = graph.of_kind("sigmoid")
    last = max(graph.of_kind("tanh"), key=lambda value: value.order)
    assert (graph.written_between(first.inputs[0], first.order, last.order) is not None) is written


@pytest.mark.parametrize(
    ("written", "body"),
    [
        (True, "h = self.h\na = torch.sigmoid(h)\nself.step()\nb = torch.tanh(a)"),
        (True, "a = torch.sigmoid(x)\nself.step()\nb = torch.tanh(self.h)"),
        (True, "a = torch.sigmoid(x)\nself.inner.step()\nb = torch.tanh(self.h)"),
        (True, "a = torch.sigmoid(x)\ng(self)\nb = torch.tanh(self.h)"),
        (False, "self.step()\na = torch.sigmoid(x)\nb = torch.tanh(self.h)"),
        (False, "a = torch.sigmoid(x)\nb = torch.tanh(self.h)\nself.step()"),
        (False, "a = torch.sigmoid(x)\ng(x)\nb = torch.tanh(self.h)"),
    ],
)
def test_a_call_of_self_may_write_to_attributes_that_are_read_only_behind_it(written: bool, body: str) -> None:
    graph = graph_of(f"{HEAD}class M:\n    def f(self, x, g):\n{textwrap.indent(body, ' ' * 8)}\n", "M.f")
    (attribute,) = [value for value in graph.of_kind("attribute") if value.path == "self.h"]
    (first,), (last,) = graph.of_kind("sigmoid"), graph.of_kind("tanh")
    assert (graph.written_between(attribute, first.order, last.order) is not None) is written


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    h = torch.tanh(x)\n    h = y\nexcept ValueError:\n    print(h)",
        "try:\n    h = torch.tanh(x)\n    h = g(h.shape)\n    h = y\nexcept ValueError:\n    print(h)",
        "h = y\ntry:\n    h = torch.tanh(x)\n    h = y\nexcept ValueError:\n    print(h)",
        "try:\n    h = torch.tanh(x)\nexcept ValueError:\n    print(h)\nelse:\n    h = y",
        "try:\n    try:\n        h = torch.tanh(x)\n        h = y\n    finally:\n        pass\n"
        "except ValueError:\n    print(h)",
        "try:\n    h = torch.tanh(x)\n    h = y\nfinally:\n    print(h)",
        "try:\n    for h in (torch.tanh(x),):\n        h = y\nexcept ValueError:\n    print(h)",
        "try:\n    with g:\n        h = torch.tanh(x)\n        h = y\nexcept ValueError:\n    print(h)",
    ],
)
def test_a_handler_may_find_whatever_a_name_was_bound_to(body: str) -> None:
    (value,) = function(body).of_kind("tanh")
    assert value.consumers


@pytest.mark.parametrize(
    ("kind", "expression"),
    [
        ("matmul", "x @ y"),
        ("matmul", "torch.matmul(x, y)"),
        ("matmul", "x.matmul(y)"),
        ("softmax", "F.softmax(x, -1)"),
        ("softmax", "x.softmax(-1)"),
        ("softmax", "torch.softmax(x, dim=-1)"),
        ("silu", "F.silu(x)"),
        ("silu", "nn.SiLU()(x)"),
        ("silu", "torch.nn.functional.silu(x)"),
        ("sigmoid", "nn.Sigmoid()(x)"),
        ("add", "x + y"),
        ("add", "torch.add(x, y)"),
        ("mul", "x * y"),
        ("mul", "x.mul(y)"),
        ("neg", "-x"),
        ("neg", "torch.neg(x)"),
        ("exp", "x.exp()"),
    ],
)
def test_many_spellings_are_one_kind(kind: str, expression: str) -> None:
    assert len(list(function(f"return {expression}").of_kind(kind))) == 1


@pytest.mark.parametrize(
    "body",
    ["locals()", "vars()", "exec('x = 1')", "eval('x')", "globals()", "def h():\n    nonlocal x\n    x = 1\nh()"],
)
def test_functions_that_cannot_be_followed(body: str) -> None:
    assert function(body).opaque is not None


@pytest.mark.parametrize(
    ("kind", "hiding"),
    [
        (1, ""),
        (0, "torch = g"),
        (0, "for torch in g:\n    pass"),
        (0, "import other as torch"),
        (0, "def torch():\n    pass"),
    ],
)
def test_names_that_hide_an_import(kind: int, hiding: str) -> None:
    # `torch.sigmoid(x)` may still be read as a method of the local object, which then is an input of its own.
    found = [
        value
        for value in function(f"{hiding or 'pass'}\nreturn torch.sigmoid(x)").of_kind("sigmoid")
        if len(value.inputs) == 1
    ]
    assert len(found) == kind


def test_a_layer_is_known_by_its_constructor() -> None:
    text = HEAD + (
        "class M(nn.Module):\n    def __init__(self, make):\n        super().__init__()\n"
        "        self.a = nn.Linear(1, 2)\n        self.b = make()\n"
        "        self.c = nn.Linear(1, 2) if make else None\n\n"
        "    def forward(self, x):\n        return self.a(x) + self.b(x) + self.c(x)\n"
    )
    graph = graph_of(text, "M.forward")
    assert [value.layer.attribute for value in graph.of_kind("torch.nn.Linear") if value.layer] == ["a"]


def test_scopes_have_dotted_names() -> None:
    text = (
        "x = 1\n\n\ndef f():\n    def g():\n        pass\n\n    return lambda: 0\n\n\nclass M:\n"
        "    def a(self):\n        pass\n\n    class N:\n        def b(self):\n            pass\n"
    )
    module = Module(StatementCache().split(text))
    names = [scope.name for statement in module.statements for scope in module.scopes(statement)]
    assert sorted(names) == ["", "M.N.b", "M.a", "f", "f.<lambda>", "f.g"]
    assert all(isinstance(scope, Scope) for statement in module.statements for scope in module.scopes(statement))
