"""What a diagram holds of a class, and both ways to draw it."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from fuselight.analysis import Analysis
from fuselight.drawing.diagram import NothingToDraw, Shape, diagram
from fuselight.drawing.mermaid import mermaid
from fuselight.drawing.svg import svg

ATTENTION = """\
import torch
import torch.nn.functional as F
from torch import nn


@torch.compile
class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.pos = nn.Parameter(torch.zeros(dim))
        self.scale = dim**-0.5

    def forward(self, x, mask=None, unused=None):
        B, N, C = x.shape
        q, k = self.q(x).reshape(B, N, C), self.k(x).transpose(1, 2)
        scores = (q @ k) * 0.5 + self.pos
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
        return F.softmax(scores, dim=-1)[:, 0], N * 2
"""
GATE = """\
import torch
from torch import nn


class Outer(nn.Module):
    def other(self, y):
        return torch.exp(y)

    def forward(self, x):
        return x * torch.sigmoid(x)

    class Inner(nn.Module):
        def __call__(self, z):
            return torch.log(z)

    class Bare:
        size = 3


def loose(w):
    def inner(v):
        return torch.tanh(v)

    return torch.relu(w)


class Loop(nn.Module):
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Dynamic(nn.Module):
    def forward(self, x):
        return eval("x")
"""


def drawn(text, at):
    return diagram(Analysis(text), text.index(at))


def labels(picture):
    return {node.id: node.label for node in picture.nodes}


def flows(picture):
    names = {identity: label[0] for identity, label in labels(picture).items()}
    return {(names[edge.source], names[edge.target]) for edge in picture.edges}


def test_layers_calls_and_the_data_between_them():
    picture = drawn(ATTENTION, "class")
    assert picture.title == "Attention.forward"
    assert ("q", "Linear(dim, dim)") in labels(picture).values()
    assert flows(picture) == {
        ("x", "q"),
        ("q", ".reshape(B, N, C)"),
        ("x", "k"),
        ("k", ".transpose(1, 2)"),
        (".reshape(B, N, C)", "@"),
        (".transpose(1, 2)", "@"),
        ("@", "* 0.5"),
        ("* 0.5", "+"),
        ("self.pos", "+"),
        ("mask", "=="),
        ("+", ".masked_fill(-1000000000.0)"),
        ("==", ".masked_fill(-1000000000.0)"),
        ("+", "softmax(dim=-1)"),
        (".masked_fill(-1000000000.0)", "softmax(dim=-1)"),
        ("softmax(dim=-1)", "[:, 0]"),
        ("[:, 0]", "return"),
    }


def test_sizes_settings_and_what_is_not_used_are_left_out():
    names = {label[0] for label in labels(drawn(ATTENTION, "class")).values()}
    assert not names & {"self", "unused", "x.shape", "B", "N", "* 2", "is"}


def test_shapes():
    shapes = {node.label[0]: node.shape for node in drawn(ATTENTION, "class").nodes}
    assert (shapes["x"], shapes["self.pos"], shapes["return"]) == (Shape.INPUT, Shape.INPUT, Shape.OUTPUT)
    assert (shapes["q"], shapes["@"]) == (Shape.LAYER, Shape.OPERATION)


def test_the_fusable_group():
    picture = drawn(ATTENTION, "class")
    (group,) = picture.groups
    assert (group.code, group.safety.value) == ("FUS201", "checkpoint")
    assert [labels(picture)[node][0] for node in group.nodes] == ["q", "k"]
    assert diagram(Analysis(ATTENTION), ATTENTION.index("class"), []).groups == ()


@pytest.mark.parametrize(
    ("at", "title"),
    [
        ("class Outer", "Outer.forward"),
        ("return torch.exp", "Outer.forward"),
        ("sigmoid", "Outer.forward"),
        ("class Inner", "Outer.Inner.__call__"),
        ("torch.log", "Outer.Inner.__call__"),
        ("def loose", "loose"),
        ("torch.tanh", "loose.inner"),
        ("self.blocks", "Loop.forward"),
    ],
)
def test_the_class_at_a_place(at, title):
    assert drawn(GATE, at).title == title


def test_decorators_belong_to_the_class():
    assert drawn(ATTENTION, "@torch").title == "Attention.forward"


def test_a_loop_leads_back():
    assert {("x", "block"), ("block", "block"), ("block", "return"), ("x", "return")} == flows(
        drawn(GATE, "class Loop")
    )


@pytest.mark.parametrize(
    ("at", "reason"),
    [("import", "no class or function here"), ("class Bare", "no forward"), ("class Dynamic", "eval")],
)
def test_where_nothing_is_drawn_the_reason_is_said(at, reason):
    with pytest.raises(NothingToDraw, match=reason):
        drawn(GATE, at)


@pytest.mark.parametrize("text", ["", "# nothing\n", "x = (\n"])
def test_a_text_without_code(text):
    with pytest.raises(NothingToDraw):
        diagram(Analysis(text), 0)


def test_a_function_that_does_not_parse():
    broken = ATTENTION.replace("(q @ k)", "(q @ ")
    with pytest.raises(NothingToDraw, match="does not parse"):
        drawn(broken, "class")


def test_mermaid():
    picture = drawn(ATTENTION, "class")
    text = mermaid(picture)
    assert text.startswith('---\ntitle: "Attention.forward"\n---\nflowchart TD\n')
    (subgraph,) = re.findall(r'subgraph fusable0\["([^"]+)"\]\n(.+?)\n    end', text, re.DOTALL)
    assert subgraph[0] == "FUS201 sibling-linears: checkpoint"
    assert re.findall(r'"(.+)<br/>', subgraph[1]) == ["q", "k"]
    assert text.count(" --> ") == len(picture.edges)
    assert re.search(r"^    class v\d,v\d fusable$", text, re.MULTILINE)


def test_mermaid_of_a_node_in_two_groups_and_of_odd_labels():
    text = ATTENTION.replace("dim=-1", 'dim="<&`#;"')
    shown = mermaid(drawn(text, "class"))
    assert "#lt;#amp;#96;#35;#59;" in shown
    assert "<&" not in shown


def test_svg_is_xml_with_every_node_once():
    picture = drawn(ATTENTION.replace("dim=-1", 'dim="<&>"'), "class")
    root = ElementTree.fromstring(svg(picture))
    space = "{http://www.w3.org/2000/svg}"
    groups = {group.get("id"): group for group in root.iter(f"{space}g")}
    assert groups.keys() == labels(picture).keys()
    assert len(root.findall(f"{space}path")) == len(picture.edges)
    marked = [identity for identity, group in groups.items() if group.get("data-fusion") == "FUS201"]
    assert tuple(marked) == picture.groups[0].nodes
    assert "FUS201" in "".join(root.itertext())


def test_svg_of_a_loop():
    ElementTree.fromstring(svg(drawn(GATE, "class Loop")))
