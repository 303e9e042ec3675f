"""The graph that the emitter reads: operations, and which operation feeds which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import MappingProxyType

from fuselight_emitter.errors import EmitError


def _empty() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LogicalNode:
    """One operation.

    Attributes:
        id: The attribute or variable name, unique in its graph.
        kind: The operation: "Conv2d", "torch.nn.Conv2d", "func_relu", "torch.nn.functional.relu".
        metadata: Its arguments as source text: `arg_0`, `arg_1`, ... positional, every other key a keyword.
    """

    id: str
    kind: str
    metadata: Mapping[str, str] = field(default_factory=_empty, hash=False)


@dataclass(frozen=True, slots=True)
class LogicalEdge:
    """The value of node `source` is an input of node `target`; both are ids."""

    source: str
    target: str


class LogicalGraph:
    """Nodes by id, in the order in which they were added, and the edges between them.

    Raises:
        EmitError: Two nodes have one id, or an edge names a node that the graph does not have.
    """

    __slots__ = ("_edges", "_nodes")

    def __init__(self, nodes: Iterable[LogicalNode] = (), edges: Iterable[LogicalEdge] = ()) -> None:
        self._nodes: dict[str, LogicalNode] = {}
        self._edges: list[LogicalEdge] = []
        for node in nodes:
            self.add_node(node)
        for edge in edges:
            self.add_edge(edge)

    @property
    def nodes(self) -> tuple[LogicalNode, ...]:
        return tuple(self._nodes.values())

    @property
    def edges(self) -> tuple[LogicalEdge, ...]:
        return tuple(self._edges)

    def __getitem__(self, node_id: str) -> LogicalNode:
        return self._nodes[node_id]

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def add_node(self, node: LogicalNode) -> None:
        """Add `node`; its id must be new."""
        if node.id in self._nodes:
            raise EmitError("the graph already has a node of this id", node=node.id, text=node.id)
        self._nodes[node.id] = node

    def add_edge(self, edge: LogicalEdge) -> None:
        """Add `edge`; both its nodes must be in the graph. Parallel edges are allowed: `x + x` has two."""
        for end in (edge.source, edge.target):
            if end not in self._nodes:
                raise EmitError(f"edge {edge.source} -> {edge.target} names an unknown node", node=end, text=end)
        self._edges.append(edge)


def topological_sort(graph: LogicalGraph) -> list[LogicalNode]:
    """Return the nodes so that each stands behind all that feed it.

    The order is stable: among the nodes that are ready, the one that was added first comes first.

    Raises:
        EmitError: The graph has a cycle; the message names its nodes in order, `a -> b -> a`.
    """
    consumers: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
    waiting: dict[str, int] = dict.fromkeys(consumers, 0)
    for edge in graph.edges:
        consumers[edge.source].append(edge.target)
        waiting[edge.target] += 1
    # A heap of insertion positions keeps ties in insertion order, also for nodes that become ready late.
    position = {node_id: at for at, node_id in enumerate(consumers)}
    ids = list(consumers)
    ready = [position[node_id] for node_id, count in waiting.items() if count == 0]
    ordered: list[LogicalNode] = []
    while ready:
        node_id = ids[heappop(ready)]
        ordered.append(graph[node_id])
        for consumer in consumers[node_id]:
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                heappush(ready, position[consumer])
    if len(ordered) < len(graph):
        cycle = _cycle({node_id for node_id, count in waiting.items() if count}, consumers)
        raise EmitError("the graph has a cycle", node=cycle[0], text=" -> ".join(cycle))
    return ordered


def _cycle(blocked: set[str], consumers: Mapping[str, list[str]]) -> list[str]:
    """One cycle among the nodes `blocked`, from the node that was added first back to itself."""
    producers: dict[str, str] = {}
    for node_id in consumers:
        for consumer in consumers[node_id]:
            if node_id in blocked and consumer in blocked:
                producers.setdefault(consumer, node_id)
    # Every blocked node has a blocked producer, so that walking backwards must come round.
    order = list(consumers)
    at = next(node_id for node_id in order if node_id in blocked)
    seen: dict[str, None] = {}
    while at not in seen:
        seen[at] = None
        at = producers[at]
    path = list(seen)
    cycle = list(reversed(path[path.index(at) :]))
    start = min(range(len(cycle)), key=lambda index: order.index(cycle[index]))
    cycle = cycle[start:] + cycle[:start]
    return [*cycle, cycle[0]]
