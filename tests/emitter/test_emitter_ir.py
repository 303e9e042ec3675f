"""The logical graph, its order, and what importing the emitter costs."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from fuselight_emitter import EmitError, LogicalEdge, LogicalGraph, LogicalNode, topological_sort


def graph(nodes: str, edges: str = "") -> LogicalGraph:
    """A graph from "a b c" and "a-b b-c"."""
    pairs = [edge.split("-") for edge in edges.split()]
    return LogicalGraph([LogicalNode(id, "relu") for id in nodes.split()], [LogicalEdge(*pair) for pair in pairs])


@pytest.mark.parametrize(
    ("nodes", "edges", "order"),
    [
        ("", "", ""),
        ("a", "", "a"),
        ("b a", "", "b a"),
        ("b a", "a-b", "a b"),
        ("a b", "a-b a-b", "a b"),
        ("d c b a", "a-b b-c c-d", "a b c d"),
        ("x a b y", "a-y b-y", "x a b y"),
        # c becomes ready before b, and is still behind it.
        ("a b c", "a-c a-b", "a b c"),
        ("c a b", "a-c", "a c b"),
    ],
)
def test_order_is_topological_and_stable(nodes: str, edges: str, order: str) -> None:
    assert [node.id for node in topological_sort(graph(nodes, edges))] == order.split()


def test_order_of_random_graphs() -> None:
    random_ = random.Random(7)
    for _ in range(50):
        ids = [f"n{number}" for number in range(12)]
        hidden = random_.sample(ids, len(ids))
        edges = [LogicalEdge(*sorted(random_.sample(ids, 2), key=hidden.index)) for _ in range(20)]
        built = LogicalGraph([LogicalNode(id, "relu") for id in ids], edges)
        order = [node.id for node in topological_sort(built)]
        assert sorted(order) == sorted(ids)
        assert all(order.index(edge.source) < order.index(edge.target) for edge in edges)
        assert order == [node.id for node in topological_sort(built)]


@pytest.mark.parametrize(
    ("nodes", "edges", "cycle"),
    [
        ("a", "a-a", "a -> a"),
        ("a b", "a-b b-a", "a -> b -> a"),
        ("b a", "a-b b-a", "b -> a -> b"),
        ("s a b c t", "s-a a-b b-c c-a c-t", "a -> b -> c -> a"),
        # t only waits for the cycle.
        ("t a b", "b-t a-b b-a", "a -> b -> a"),
    ],
)
def test_a_cycle_is_named(nodes: str, edges: str, cycle: str) -> None:
    with pytest.raises(EmitError) as caught:
        topological_sort(graph(nodes, edges))
    assert caught.value.text == cycle
    assert cycle in str(caught.value)


def test_duplicates_and_unknown_ends_are_errors() -> None:
    built = graph("a b")
    with pytest.raises(EmitError, match="already has"):
        built.add_node(LogicalNode("a", "gelu"))
    for edge in (LogicalEdge("a", "c"), LogicalEdge("c", "a")):
        with pytest.raises(EmitError, match="unknown node") as caught:
            built.add_edge(edge)
        assert caught.value.node == "c"
    assert isinstance(caught.value, ValueError)
    assert [node.id for node in built.nodes] == ["a", "b"]
    assert built.edges == ()


def test_values_are_frozen() -> None:
    node = LogicalNode("a", "relu")
    with pytest.raises(AttributeError):
        node.id = "b"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        node.metadata["dim"] = "1"  # pyright: ignore[reportIndexIssue]


def test_libcst_is_imported_with_the_first_emitter_only() -> None:
    program = """
import sys
import fuselight_emitter, fuselight_emitter.ir, fuselight_emitter.dialects, fuselight_emitter.errors
assert "libcst" not in sys.modules
fuselight_emitter.PythonSnippetEmitter
assert "libcst" in sys.modules
"""
    emitter = Path(__file__).parents[2] / "emitter"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=emitter)


def test_an_unknown_attribute_is_one() -> None:
    import fuselight_emitter

    with pytest.raises(AttributeError):
        fuselight_emitter.NoSuchName  # noqa: B018
