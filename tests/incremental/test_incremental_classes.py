"""Families of classes, and the graphs of their methods, from one version of a file to the next."""

from __future__ import annotations

from itertools import product

import pytest

from fuselight.analysis import Analysis
from fuselight.graph.values import Graph

HEAD = "import torch\nfrom torch import nn\n\n\n"
BASE = """\
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4){}

    def forward(self, x):
        return self.fc(x)


"""
CHILD = """\
class Child({}):
    def forward(self, x):
        return self.fc(x).relu()


"""
OTHER = """\
class Other(nn.Module):
    class Inner(nn.Module):
        def forward(self, x):
            return x{}


"""
VERSIONS = (
    BASE.format("") + CHILD.format("Base") + OTHER.format(""),
    BASE.format("  # a layer") + CHILD.format("Base") + OTHER.format(""),
    BASE.format("\n        self.n = 1") + CHILD.format("Base") + OTHER.format(""),
    BASE.format("") + CHILD.format("nn.Module") + OTHER.format(" + 1"),
    BASE.format("\n        self.n = 1") + CHILD.format("nn.Module") + OTHER.format(""),
    BASE.format("") + OTHER.format("") + CHILD.format("Base"),
    CHILD.format("Base") + BASE.format("") + OTHER.format(""),
    BASE.format("") + BASE.format("").replace("4, 4", "4, 8") + CHILD.format("Base"),
    BASE.format("") + BASE.format("").replace("4, 4", "4, 9") + CHILD.format("Base"),
    BASE.format("") + CHILD.format("Base").replace("Child", "Kid") + OTHER.format(""),
    BASE.format("") + CHILD.format("Base").replace("relu", "tanh") + OTHER.format("").replace("Inner", "Within"),
)


def families(analysis: Analysis) -> list[tuple[object, ...]]:
    return [
        (
            info.name,
            info.top_level,
            info.bases,
            [(one.name, one.statement.text) for one in info.ancestors],
            [(one.name, one.statement.text) for one in info.descendants],
            [(layer.attribute, layer.kind, layer.statement.text) for layer in info.layers.values()],
            info.statement in analysis.module.statements,
        )
        for info in analysis.module.classes
    ]


@pytest.mark.parametrize(("first", "second"), [*product(range(len(VERSIONS)), repeat=2)])
def test_families_are_those_of_a_fresh_analysis(first: int, second: int) -> None:
    texts = [HEAD + one for one in VERSIONS]
    fresh = [families(Analysis(text)) for text in texts]
    start = Analysis(texts[first])
    later = start.updated(texts[second])
    assert families(later) == fresh[second]
    for number, text in enumerate(texts):
        # From the version before, too, though another one came behind it.
        assert families(start.updated(text)) == fresh[number]
        assert families(later.updated(text)) == fresh[number]


LAYERS = (
    HEAD
    + """\
class Model(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.width = 4
        self.fc = nn.Linear(4, 4)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.fc(x)) + self.width
"""
)


def graph_of(analysis: Analysis) -> Graph:
    module = analysis.module
    return next(
        module.graph(scope)
        for statement in module.statements
        for scope in module.scopes(statement)
        if scope.name == "Model.forward"
    )


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("self.width = 4", "self.widths = 4", True),
        ("self.width = 4", "self.width = 5", True),
        ("nn.Linear(4, 4)", "nn.Linear(4, 5)", True),
        ("nn.Linear(4, 4)", "nn.LayerNorm(4)", False),
        ("nn.ReLU()", "nn.ReLU(inplace)", False),
        ("nn.ReLU()", "nn.ReLU(False)", False),
        ("self.fc = ", "self.fd = ", False),
        ("self.width = 4", "self.width = 4\n        self.fc = nn.Conv2d(4, 4, 1)", False),
        ("return self.act", "return  self.act", False),
    ],
)
def test_a_graph_stays_while_the_layers_that_it_calls_are_alike(before: str, after: str, same: bool) -> None:
    first = Analysis(LAYERS)
    graph = graph_of(first)
    later = first.updated(LAYERS.replace(before, after))
    kept = graph_of(later)
    assert (kept is graph) is same
    [owner] = later.module.classes
    assert kept.owner is owner
    assert kept.statement in later.module.statements
    layers = {value.layer for value in kept.values if value.layer is not None}
    assert layers <= {*owner.layers.values()}
    assert [value.kind for value in kept.values] == [
        value.kind for value in graph_of(Analysis(LAYERS.replace(before, after))).values
    ]
