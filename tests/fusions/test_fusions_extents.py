"""Lengths of axes, and repeated heads, as the source shows them: facts of functions, as tables."""

from __future__ import annotations

import textwrap

import pytest

from fuselight.fusions.extents import Extents
from fuselight.fusions.matching import Matcher, Operand
from fuselight.fusions.repeated_heads import Repeat, repeated
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight.source.statements import StatementCache

HEAD = """\
import torch
import torch.nn.functional as F
from einops import repeat
from torch import nn


def decorated(function):
    return function


def rep(x, n):
    if n == 1:
        return x
    b, h, s, d = x.shape
    return x[:, :, None].expand(b, h, n, s, d).reshape(b, h * n, s, d)


def tiled(x, n):
    return x.repeat(1, n, 1, 1)


def either(x, n):
    if n == 2:
        return x
    return x.repeat_interleave(n, dim=1)


@decorated
def changed(x, n):
    return x.repeat_interleave(n, dim=1)


class M(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.drop = nn.Dropout(0.1)
        self.groups = groups

    def rep(self, x, n):
        return x.repeat_interleave(n, dim=-3)

    def forward(self, x, y, q, k, v):
"""


def read(body: str) -> tuple[Module, Scope, Graph, Matcher]:
    module = Module(StatementCache().split(HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8) + "\n"))
    scopes = [one for statement in module.statements for one in module.scopes(statement)]
    scope = next(one for one in scopes if one.name == "M.forward")
    graph = module.graph(scope)
    return module, scope, graph, Matcher(module, scope.owner, graph)


def given(graph: Graph, kind: str) -> Value:
    (site,) = graph.of_kind(kind)
    return site.inputs[0]


def same(body: str, axis: int = -2) -> bool:
    """Whether what the only sigmoid gets is as long along `axis` as what the only tanh gets along its last but one."""
    _, _, graph, matcher = read(body)
    extents = Extents(graph, matcher)
    return extents.same(extents.of(given(graph, "sigmoid"), axis), extents.of(given(graph, "tanh"), -2))


def says(body: str, axis: int = -2) -> bool:
    """Whether what the only sigmoid gets is as long along `axis` as the size that is printed first."""
    _, _, graph, matcher = read(body)
    extents = Extents(graph, matcher)
    printed = next(one for one in graph.values if one.kind == "builtin" or one.kind == "call")
    return extents.same(extents.of(given(graph, "sigmoid"), axis), extents.of_size(printed.inputs[-1]))


SAME = [
    ("torch.sigmoid(x)\ntorch.tanh(x)", True),
    ("torch.sigmoid(x)\ntorch.tanh(y)", False),
    ("torch.sigmoid(x * 2)\ntorch.tanh(x)", True),
    ("torch.sigmoid(self.drop(self.norm(self.fc(x))))\ntorch.tanh(x)", True),
    ("torch.sigmoid(x + y)\ntorch.tanh(x)", False),
    ("torch.sigmoid(x[:, 1:])\ntorch.tanh(x)", False),
    ("torch.sigmoid(torch.cat([x, x], 1))\ntorch.tanh(x)", False),
    ("torch.sigmoid(x.repeat(1, 2, 1))\ntorch.tanh(x)", False),
    ("b, t, c = x.shape\ntorch.sigmoid(self.fc(x).view(b, t, 4, 4).transpose(1, 2))\ntorch.tanh(x)", True),
    ("b, t, c = x.shape\ntorch.sigmoid(self.fc(x).view(b, 4, t, 4).transpose(1, 2))\ntorch.tanh(x)", False),
    ("b, t, c = x.size()\ntorch.sigmoid(self.fc(x).reshape(b, t, 4, 4).permute(0, 2, 1, 3))\ntorch.tanh(x)", True),
    ("b, t, c = x.shape\ntorch.sigmoid(x.view(b, t * 2, c // 2))\ntorch.tanh(x)", False),
    ("b, t, c = x.shape\ntorch.sigmoid(x.view(b, -1, c))\ntorch.tanh(x)", False),
    ("b, t, c = x.shape\nt = t + 1\ntorch.sigmoid(y.view(b, t, c))\ntorch.tanh(x)", False),
    ("b, t, c = x.shape\ntorch.sigmoid(y.view(b, t, c))\ntorch.tanh(x)", True),
    ("torch.sigmoid(x.view(2, 5, 3))\ntorch.tanh(y.view(2, 5, 4))", True),
    ("torch.sigmoid(x.view(2, 5, 3))\ntorch.tanh(y.view(2, 6, 4))", False),
    ("q, k, v = self.fc(x).chunk(3, dim=-1)\ntorch.sigmoid(q)\ntorch.tanh(v)", True),
    ("q, k, v = x.view(2, 6, 4).chunk(3, dim=1)\ntorch.sigmoid(q)\ntorch.tanh(x.view(2, 6, 4))", False),
    ("q, k, v = x.chunk(3, dim=1)\ntorch.sigmoid(q)\ntorch.tanh(x)", False),
    ("x = x[:, :5]\ntorch.sigmoid(x)\nx = y\ntorch.tanh(x)", False),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), SAME)
def test_same_lengths(body: str, expected: bool) -> None:
    assert same(body) is expected


SAYS = [
    ("print(x.size(-2))\ntorch.sigmoid(x)", True),
    ("print(x.shape[-2])\ntorch.sigmoid(x)", True),
    ("print(x.size(-1))\ntorch.sigmoid(x)", False),
    ("print(x.size(1))\ntorch.sigmoid(x)", False),
    ("x = x.view(2, 3, 4)\nprint(x.size(1))\ntorch.sigmoid(x)", True),
    ("b, t, c = x.shape\nprint(t)\ntorch.sigmoid(x)", True),
    ("b, t, c = x.shape\nprint(b)\ntorch.sigmoid(x)", False),
    ("*_, t, c = x.shape\nprint(c)\ntorch.sigmoid(x)", False),
    ("t, c = x.shape[-2:]\nprint(t)\ntorch.sigmoid(x)", True),
    ("t, c = x.shape[1:3]\nprint(t)\ntorch.sigmoid(x)", False),
    ("b, t, c = x.shape\nprint(t + 1)\ntorch.sigmoid(x)", False),
    ("print(5)\ntorch.sigmoid(x.view(2, 5, 4))", True),
    ("print(6)\ntorch.sigmoid(x.view(2, 5, 4))", False),
    ("print(self.groups)\ntorch.sigmoid(x.view(2, self.groups, 4))", True),
    ("print(len(x))\ntorch.sigmoid(x)", False),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), SAYS)
def test_sizes_that_say_a_length(body: str, expected: bool) -> None:
    assert says(body) is expected


def repeat_of(body: str) -> Repeat | None:
    """What the only sigmoid gets, as repeated heads."""
    module, scope, graph, matcher = read(body)
    value = given(graph, "sigmoid")
    return repeated(module, scope, graph, matcher, Operand(value, value.node))


REPEATED = [
    ("torch.sigmoid(k.repeat_interleave(2, dim=-3))", 2, ""),
    ("torch.sigmoid(k.repeat_interleave(2, dim=1))", 2, "4 dimensions"),
    ("torch.sigmoid(torch.repeat_interleave(k, repeats=3, dim=1))", 3, "4 dimensions"),
    ("torch.sigmoid(k.view(2, 4, 5, 8).repeat_interleave(2, 1))", 2, ""),
    ("torch.sigmoid(k.repeat_interleave(2, dim=-3).contiguous())", 2, ""),
    ("b, h, s, d = k.shape\ntorch.sigmoid(k[:, :, None].expand(b, h, 2, s, d).reshape(b, h * 2, s, d))", 2, ""),
    ("b, h, s, d = k.shape\ntorch.sigmoid(k.unsqueeze(2).expand(b, h, 2, s, d).flatten(1, 2))", 2, ""),
    ("torch.sigmoid(k.unsqueeze(2).expand(-1, -1, 2, -1, -1).flatten(1, 2))", 2, "one shape"),
    ("torch.sigmoid(repeat(k, 'b h n d -> b (h g) n d', g=2))", 2, ""),
    ("torch.sigmoid(rep(k, 2))", 2, ""),
    ("torch.sigmoid(self.rep(k, 2))", 2, ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "count", "assumed"), REPEATED)
def test_repeated_heads(body: str, count: int, assumed: str) -> None:
    found = repeat_of(body)
    assert found is not None
    number = found.count if isinstance(found.count, int) else found.count.constant
    assert number == count
    assert assumed in "; ".join(found.assumed)
    assert bool(found.assumed) is bool(assumed)


@pytest.mark.parametrize(
    "body",
    [
        "torch.sigmoid(k.repeat(1, 2, 1, 1))",
        "torch.sigmoid(k.repeat_interleave(2))",
        "torch.sigmoid(k.repeat_interleave(2, dim=2))",
        "torch.sigmoid(k.repeat_interleave(2, dim=-2))",
        "torch.sigmoid(k.repeat_interleave(torch.tensor([1, 3]), dim=1))",
        "torch.sigmoid(k.repeat_interleave(2, dim=1, output_size=8))",
        "torch.sigmoid(k.view(2, 4, 5).repeat_interleave(2, dim=1))",
        "k = k.repeat_interleave(2, dim=1)\ntorch.sigmoid(k)\nprint(k)",
        "b, h, s, d = k.shape\ntorch.sigmoid(k[:, None].expand(b, 2, h, s, d).reshape(b, h * 2, s, d))",
        "b, h, s, d = k.shape\ntorch.sigmoid(k[:, :, None].expand(b, h, 2, s, d).reshape(b, h, 2 * s, d))",
        "b, h, s, d = k.shape\ntorch.sigmoid(k[:, :, None].expand(b, h, 2, s, d).flatten(2, 3))",
        "torch.sigmoid(repeat(k, 'b h n d -> b (g h) n d', g=2))",
        "torch.sigmoid(repeat(k, 'b h n d -> b h (n g) d', g=2))",
        "torch.sigmoid(tiled(k, 2))",
        "torch.sigmoid(either(k, 2))",
        "torch.sigmoid(changed(k, 2))",
        "torch.sigmoid(rep(k, n=2))",
        "torch.sigmoid(k.expand(2, 4, 5, 8))",
    ],
)
def test_what_repeats_no_heads(body: str) -> None:
    assert repeat_of(body) is None


def test_a_count_that_has_a_name() -> None:
    found = repeat_of("torch.sigmoid(k.repeat_interleave(self.groups, dim=-3))")
    assert found is not None
    assert isinstance(found.count, Value)
    assert found.count.path == "self.groups"
