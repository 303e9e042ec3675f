"""The axes of products and of what orders axes, and the methods that bring axes into another order."""

from __future__ import annotations

import re
import textwrap

import pytest
import torch

from fuselight.fusions.matching import Matcher
from fuselight.fusions.products import (
    REST,
    Ordering,
    contraction_of,
    ordering_of,
    permutation,
    reordered,
    rest_of,
    spread,
)
from fuselight.graph.module import Module
from fuselight.graph.values import Graph, Value
from fuselight.source.statements import StatementCache

HEAD = "import einops\nimport torch\nfrom einops import rearrange\n\n\ndef f(q, k, v):\n"


def read(expression: str, before: str = "") -> tuple[Graph, Matcher, Value]:
    """The graph of a function, and what it gives to its only sigmoid."""
    body = "\n".join(part for part in (before, f"torch.sigmoid({expression})") if part)
    module = Module(StatementCache().split(HEAD + textwrap.indent(body, "    ") + "\n"))
    (scope,) = (one for statement in module.statements for one in module.scopes(statement) if one.name == "f")
    graph = module.graph(scope)
    (site,) = graph.of_kind("sigmoid")
    return graph, Matcher(module, scope.owner, graph), site.inputs[0]


def axes_of(expression: str, before: str = "") -> str | None:
    """`left, right -> result`, each axis without the number of the value that it is named by."""
    _, matcher, value = read(expression, before)
    found = contraction_of(matcher, value)
    if found is None:
        return None
    left, right, out = (
        " ".join(re.sub(r"(?<=\w)\d+$", "", axis) for axis in axes)
        for axes in (found.left_axes, found.right_axes, found.out_axes)
    )
    return f"{left}, {right} -> {out}"


@pytest.mark.parametrize(
    ("expression", "axes"),
    [
        ("q @ k", "... i d, ... d j -> ... i j"),
        ("torch.matmul(q, k)", "... i d, ... d j -> ... i j"),
        ("torch.matmul(other=k, input=q)", "... i d, ... d j -> ... i j"),
        ("q.matmul(k)", "... i d, ... d j -> ... i j"),
        ("torch.mm(q, k)", "i d, d j -> i j"),
        ("torch.bmm(q, k)", "b i d, b d j -> b i j"),
        ("q.bmm(mat2=k)", "b i d, b d j -> b i j"),
        ("torch.baddbmm(v, q, k)", "b i d, b d j -> b i j"),
        ("torch.einsum('bhqd,bhkd->bhqk', q, k)", "b h q d, b h k d -> b h q k"),
        ("torch.einsum(' b h q d , b h k d -> b h q k ', q, k)", "b h q d, b h k d -> b h q k"),
        ("torch.einsum('...qd,...kd->...qk', q, k)", "... q d, ... k d -> ... q k"),
        ("torch.einsum('qd,kd', q, k)", "q d, k d -> k q"),
        ("torch.einsum('zd,ad', [q, k])", "z d, a d -> a z"),
        ("einops.einsum(q, k, 'b query d, b key d -> b query key')", "b query d, b key d -> b query key"),
        ("torch.einsum('b...d,bkd->b...k', q, k)", None),
        ("torch.einsum('bqd,bkd->bq', q, k)", None),
        ("torch.einsum('qq,qd->qd', q, k)", None),
        ("torch.einsum('bqd,bkd,bkv->bqv', q, k, v)", None),
        ("torch.einsum(q, [0, 1], k, [1, 2], [0, 2])", None),
        ("torch.einsum(v, q, k)", None),
        ("q * k", None),
        ("torch.matmul(*q)", None),
    ],
)
def test_products(expression: str, axes: str | None) -> None:
    assert axes_of(expression) == axes


def test_the_equation_may_have_a_name() -> None:
    assert axes_of("torch.einsum(rule, q, k)", "rule = 'qd,kd->qk'") == "q d, k d -> q k"


def test_operands_exchanged() -> None:
    _, matcher, value = read("torch.bmm(q, k)")
    found = contraction_of(matcher, value)
    assert found is not None
    swapped = found.swapped()
    assert (swapped.left, swapped.left_axes) == (found.right, found.right_axes)
    assert swapped.out_axes == found.out_axes


def test_what_baddbmm_adds() -> None:
    _, matcher, value = read("torch.baddbmm(v, q, k, alpha=0.5, beta=2)")
    found = contraction_of(matcher, value)
    assert found is not None
    assert found.added is not None
    assert found.added.value.path == "v"
    assert found.alpha is not None
    assert found.alpha.value.constant == 0.5
    assert found.beta is not None
    assert found.beta.value.constant == 2


FOUR = "a, b, c, d = q.shape\nx = q.view(a, b, c, d)"
ORDERS = [
    ("q.mT", (-1, -2), None),
    ("q.transpose(-2, -1)", (-1, -2), None),
    ("torch.swapaxes(q, -1, -3)", (-1, -2, -3), None),
    ("q.permute(0, 1, 3, 2)", (-4, -3, -1, -2), None),
    ("q.permute((0, 2, 1))", (-3, -1, -2), None),
    ("torch.permute(q, (1, 0))", (-1, -2), None),
    ("q.t()", (-1, -2), None),
    ("q.movedim(-1, -2)", (-1, -2), None),
    ("q.contiguous()", (), None),
    ("rearrange(q, 'b n d -> b d n')", (-3, -1, -2), None),
    ("rearrange(q, '... n d -> ... d n')", (-1, -2), None),
    ("q.transpose(1, 2)", (-1, -2), 3),
    ("q.transpose(2, 3)", (-1, -2), 4),
    ("x.transpose(1, 2)", (-2, -3, -1), None),
    ("q.transpose(0, 2)", None, None),
    ("q.transpose(1, -1)", None, None),
    ("q.movedim(0, -1)", None, None),
    ("q.movedim(-1, -3)", None, None),
    ("q.T", None, None),
    ("q.permute(0, 2)", None, None),
    ("q.permute(*v)", None, None),
    ("q.permute(0, 1, 1)", None, None),
    ("q.transpose(1, v)", None, None),
    ("rearrange(q, 'b (h d) n -> b h d n', h=2)", None, None),
    ("rearrange(q, 'b n d -> b (n d)')", None, None),
    ("rearrange(q, 'b ... d -> b d ...')", None, None),
    ("rearrange(q, 'b n 1 -> b 1 n')", None, None),
    ("rearrange(q, v)", None, None),
    ("q.contiguous(memory_format=v)", (), None),
    ("q.flip(-1)", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "order", "assumed"), ORDERS)
def test_orders(expression: str, order: tuple[int, ...] | None, assumed: int | None) -> None:
    graph, _, value = read(expression, FOUR if expression.startswith("x") else "")
    found = ordering_of(graph, value)
    assert (found.order if found is not None else None) == order
    if found is not None:
        assert found.assumed_rank == assumed


@pytest.mark.parametrize("least", [3, 4])
def test_other_operands_tell_how_many_axes_there_are(least: int) -> None:
    graph, _, value = read("q.transpose(1, 2)")
    found = ordering_of(graph, value, least)
    assert found is not None
    assert found.order == ((-1, -2) if least == 3 else (-2, -3, -1))


def ordering(expression: str) -> Ordering:
    graph, _, value = read(expression)
    found = ordering_of(graph, value)
    assert found is not None
    return found


def test_what_the_rest_stands_for() -> None:
    whole, tail = ordering("q.permute(0, 2, 1, 3)"), ordering("q.transpose(-1, -2)")
    assert rest_of((REST, "i", "j"), tail) == (REST,)
    assert rest_of((REST, "j"), tail) == (REST, f"{REST}0")
    rest = rest_of((REST, "i", "j"), whole)
    assert rest == (f"{REST}0", f"{REST}1")
    assert spread((REST, "i", "j"), rest) == (*rest, "i", "j")
    assert rest_of(("b", "i", "j"), tail) == (REST,)


def test_axes_before_an_order() -> None:
    assert reordered(("b", "h", "i", "j"), ordering("q.transpose(-1, -2)")) == ("b", "h", "j", "i")
    assert reordered((REST, "i", "j"), ordering("q.transpose(-1, -2)")) == (REST, "j", "i")
    assert reordered((REST, "j"), ordering("q.transpose(-1, -2)")) is None
    # The third axis of the source came first.
    assert reordered(("a", "b", "c"), ordering("q.permute(2, 0, 1)")) == ("b", "c", "a")
    assert reordered(("a", "b"), ordering("q.contiguous()")) == ("a", "b")


PERMUTATIONS = [
    ("b h i j", "b h i j", ""),
    ("b i h j", "b h i j", ".transpose(1, 2)"),
    ("b h j i", "b h i j", ".transpose(-2, -1)"),
    ("i b h j", "b h i j", ".permute(1, 2, 0, 3)"),
    ("h i j", "b h i j", ".unsqueeze(0)"),
    ("b i j", "b h i j", ".unsqueeze(1)"),
    ("i j", "b h i j", ".unsqueeze(0).unsqueeze(1)"),
    ("... j i", "... i j", ".transpose(-2, -1)"),
    ("... h i j", "... i h j", ".transpose(-3, -2)"),
    ("... i j", "... i j", ""),
    ("... h i j", "... j h i", None),
    ("... i", "... i j", None),
    ("i ... j", "... i j", None),
    ("b h i j", "b i j", None),
    ("b x i j", "b h i j", None),
]  # fmt: skip


@pytest.mark.parametrize(("axes", "wanted", "text"), PERMUTATIONS)
def test_permutations(axes: str, wanted: str, text: str | None) -> None:
    assert permutation(tuple(axes.split()), tuple(wanted.split())) == text


@pytest.mark.parametrize(("axes", "wanted", "text"), [one for one in PERMUTATIONS if one[2] is not None])
def test_permutations_executed(axes: str, wanted: str, text: str) -> None:
    """Each axis has a size of its own; what is added has one."""
    sizes = {"b": 2, "h": 3, "i": 4, "j": 5, REST: 6}
    tensor = torch.zeros([sizes[one] for one in axes.split()])
    result = eval(f"tensor{text}", {"tensor": tensor})
    assert list(result.shape) == [sizes[one] if one in axes.split() else 1 for one in wanted.split()]
