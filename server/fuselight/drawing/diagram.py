"""What a picture of a function shows: its layers and calls, the data that flows between them, the fusable groups."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from fuselight.analysis import Analysis
from fuselight.drawing.labels import label
from fuselight.fusions.model import Finding, Safety
from fuselight.graph.classes import ClassInfo
from fuselight.graph.kinds import METADATA_ATTRIBUTES
from fuselight.graph.module import Scope
from fuselight.graph.values import Consumption, Graph, Value
from fuselight.source.lines import Span


class Shape(Enum):
    """What a node stands for."""

    INPUT = "input"
    LAYER = "layer"
    OPERATION = "operation"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Node:
    """One box; `label` line by line."""

    id: str
    label: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Edge:
    """Data that flows from one node to another, named by their ids."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Group:
    """The nodes that one finding would fuse."""

    code: str
    name: str
    message: str
    safety: Safety
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagram:
    """A picture before it is drawn. The nodes are in the order of evaluation."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    groups: tuple[Group, ...]


class NothingToDraw(ValueError):
    """Why there is no picture of a place."""


FORWARDS = ("forward", "__call__", "call")


def diagram(analysis: Analysis, offset: int, findings: Iterable[Finding] | None = None) -> Diagram:
    """The picture of the class at an offset of the text: of its `forward`, or of the method or function there.

    Args:
        findings: Those to mark; all of the analysis where it is not said.

    Raises:
        NothingToDraw: there is no class or function, or nothing of it can be followed.
    """
    scope = _scope_at(analysis, offset)
    graph = analysis.module.graph(scope)
    if graph.opaque is not None:
        raise NothingToDraw(f"{scope.name}: {graph.opaque}")
    picture = _Picture(graph)
    for value in graph.values:
        picture.add(value)
    picture.finish()
    marked = analysis.findings if findings is None else findings
    groups = [group for finding in marked if (group := picture.group(analysis, finding)) is not None]
    edges = tuple(dict.fromkeys(picture.edges))
    # What has to do with nothing else in the picture is seldom data: a test, a message.
    tied = {one for edge in edges for one in (edge.source, edge.target)} | {
        one for group in groups for one in group.nodes
    }
    nodes = tuple(node for node in picture.nodes if node.id in tied or node.shape is Shape.LAYER)
    return Diagram(scope.name, nodes, edges, tuple(groups))


def _scope_at(analysis: Analysis, offset: int) -> Scope:
    module = analysis.module
    placed = next((one for one in reversed(module.placed) if one.start <= offset), None)
    if placed is None:
        raise NothingToDraw("no class or function here")
    at = Span(offset - placed.start, offset - placed.start)
    scopes = [scope for scope in module.scopes(placed.statement) if scope.name and "<lambda>" not in scope.name]
    owners = [info for info in module.classes if info.statement is placed.statement and _lines(info).touches(at)]
    if owners:
        owner = min(owners, key=lambda info: _lines(info).end - _lines(info).start)
        methods = {scope.function.name: scope for scope in scopes if scope.owner is owner}
        found = next((methods[name] for name in FORWARDS if name in methods), None)
        if found is not None:
            return found
    here = [scope for scope in scopes if placed.statement.span(scope.function).touches(at)]
    if here:
        return min(here, key=lambda scope: len(placed.statement.source(scope.function)))
    raise NothingToDraw(f"{owners[-1].name} has no forward" if owners else "no class or function here")


def _lines(info: ClassInfo) -> Span:
    """A class with its decorators."""
    span = info.statement.span(info.node)
    return Span(min([span.start, *(info.statement.span(one).start - 1 for one in info.node.decorator_list)]), span.end)


_PASSED_THROUGH = frozenset({"joined", "unpack", "starred", "container"})
"""Values that stand for others."""
_NEVER_DATA = frozenset({"constant", "global", "metadata", "builtin"})
_COMPUTED_FROM = frozenset({"add", "sub", "mul", "div", "matmul", "pow", "neg", "operator", "getitem"})
"""Kinds that are data only where an operand is: arithmetic on sizes is not drawn."""
_PARAMETERS = ("torch.nn.Parameter", "torch.nn.parameter.Parameter", "torch.nn.Buffer")


class _Picture:
    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self._graph = graph
        self._ids: dict[int, str] = {}
        self._data: dict[int, bool] = {}
        self._drawn: list[Value] = []

    def add(self, value: Value) -> None:
        """Draw a value, if it is one that is drawn."""
        if value.kind in _PASSED_THROUGH or not self._is_data(value):
            return
        if value.kind == "parameter" and not value.uses:
            return
        if value.kind == "attribute" and not self._is_parameter(value):
            return
        identity = f"v{len(self.nodes)}"
        self._ids[id(value)] = identity
        self._drawn.append(value)
        shape = Shape.LAYER if value.layer is not None else Shape.OPERATION
        if value.kind in ("parameter", "attribute"):
            shape = Shape.INPUT
        self.nodes.append(Node(identity, label(value, self._is_data), shape))

    def finish(self) -> None:
        """Draw the data flow, which in a loop leads back to values that come first, and what is returned."""
        for value in self._drawn:
            if value.kind not in ("parameter", "attribute"):
                for given in (*value.inputs, *value.keywords.values()):
                    self._connect(given, self._ids[id(value)])
        returned = [value for value in self._graph.values if any(_is_returned(use.how) for use in value.uses)]
        returned = [value for value in returned if self._is_data(value)]
        if returned:
            self.nodes.append(Node("out", ("return",), Shape.OUTPUT))
            for value in returned:
                self._connect(value, "out")

    def group(self, analysis: Analysis, finding: Finding) -> Group | None:
        """The nodes of a finding; None where none of them is drawn."""
        match = analysis.match(finding)
        places = {place.node for place in (match.place, *match.others)} | match.parts
        # A layer's constructor stands for its calls only where the match names no call.
        made = {node for node in places if isinstance(node, ast.Call)}
        inside = [value for value in self._drawn if value.node in places]
        if not inside:
            inside = [value for value in self._drawn if value.layer is not None and value.layer.constructor in made]
        if not inside:
            return None
        nodes = tuple(self._ids[id(value)] for value in inside)
        return Group(finding.code, finding.name, finding.message, finding.safety, nodes)

    def _connect(self, given: Value, target: str) -> None:
        for source in self._sources(given, set()):
            self.edges.append(Edge(source, target))

    def _sources(self, value: Value, seen: set[int]) -> list[str]:
        """The drawn values that a value is, or may be."""
        if id(value) in seen:
            return []
        seen.add(id(value))
        if id(value) in self._ids:
            return [self._ids[id(value)]]
        if value.kind in _PASSED_THROUGH or (value.kind == "attribute" and self._is_data(value)):
            return [found for given in value.inputs for found in self._sources(given, seen)]
        return []

    def _is_data(self, value: Value) -> bool:
        """Whether a value may be a tensor, and not a size or a setting."""
        known = self._data.get(id(value))
        if known is None:
            self._data[id(value)] = False  # a loop that leads back here adds nothing
            known = self._data[id(value)] = self._may_be_data(value)
        return known

    def _may_be_data(self, value: Value) -> bool:
        if value.kind in _NEVER_DATA:
            return False
        if value.kind == "parameter":
            return not self._is_self(value)
        if value.kind == "attribute":
            if self._is_self(value.inputs[0]):
                return self._is_parameter(value)
            name = value.node.attr if isinstance(value.node, ast.Attribute) else ""
            return name not in METADATA_ATTRIBUTES and self._is_data(value.inputs[0])
        if value.kind == "compare" and isinstance(value.node, ast.Compare):
            tests_identity = all(isinstance(one, ast.Is | ast.IsNot | ast.In | ast.NotIn) for one in value.node.ops)
            return not tests_identity and any(map(self._is_data, value.inputs))
        if value.kind == "opaque":
            return bool(value.uses) and value.node is not None and not isinstance(value.node, ast.JoinedStr | ast.Slice)
        if value.kind in _PASSED_THROUGH | _COMPUTED_FROM or value.kind.startswith("in-place "):
            return any(map(self._is_data, value.inputs))
        return True

    def _is_self(self, value: Value) -> bool:
        arguments = self._graph.function.args
        first = next(iter((*arguments.posonlyargs, *arguments.args)), None)
        return (
            value.kind == "parameter"
            and self._graph.owner is not None
            and first is not None
            and value.path == first.arg
        )

    def _is_parameter(self, value: Value) -> bool:
        """Whether an attribute of `self` is a parameter of the module."""
        owner = self._graph.owner
        if owner is None or not value.inputs or not self._is_self(value.inputs[0]):
            return False
        layer = owner.layers.get(value.node.attr) if isinstance(value.node, ast.Attribute) else None
        return layer is not None and layer.kind in _PARAMETERS


def _is_returned(how: Consumption) -> bool:
    return how is Consumption.RETURNED
