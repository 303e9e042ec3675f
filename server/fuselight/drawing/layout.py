"""Places for the boxes of a directed graph, in layers from top to bottom (Sugiyama, Tagawa and Toda, 1981).

Cycles are opened, nodes ranked by their longest path, long edges carried through the layers between, the order in each
layer chosen by the barycentres of the neighbours, and the coordinates by least squares under that order.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

GAP = 28.0
"""Between two boxes of a layer."""
RISE = 44.0
"""Between two layers."""
_SWEEPS = 12


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The centres of the boxes; for each edge the points it goes through, from box to box."""

    centres: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


@dataclass(slots=True)
class _Layers:
    """Boxes, and the stand-ins of long edges behind them, each with its width, neighbours and layer."""

    widths: list[float]
    rank: list[int]
    above: list[list[int]] = field(default_factory=list[list[int]])
    below: list[list[int]] = field(default_factory=list[list[int]])


def arrange(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Layout:
    """Lay out boxes of the given widths and heights. An edge from a box to itself has no route."""
    down = _acyclic(len(sizes), edges)
    layers = _Layers([width for width, _ in sizes], _ranks(len(sizes), [one for one in down if one is not None]))
    layers.above = [[] for _ in sizes]
    layers.below = [[] for _ in sizes]
    chains = [_chain(layers, edge) if edge is not None else [] for edge in down]
    order = _ordered(layers)
    xs = _columns(layers, order)
    heights = [max((sizes[one][1] for one in layer if one < len(sizes)), default=0.0) for layer in order]
    ys: list[float] = []
    y = 0.0
    for height in heights:
        ys.append(y + height / 2)
        y += height + RISE
    left = min((xs[at] - layers.widths[at] / 2 for at in range(len(xs))), default=0.0)
    right = max((xs[at] + layers.widths[at] / 2 for at in range(len(xs))), default=0.0)
    points = [Point(xs[at] - left, ys[layers.rank[at]]) for at in range(len(xs))]
    routes: list[tuple[Point, ...]] = []
    for edge, given, chain in zip(down, edges, chains, strict=True):
        if edge is None:
            routes.append(())
            continue
        first, last = points[edge[0]], points[edge[1]]
        start = Point(first.x, first.y + sizes[edge[0]][1] / 2)
        end = Point(last.x, last.y - sizes[edge[1]][1] / 2)
        route = (start, *(points[one] for one in chain), end)
        routes.append(route if edge == tuple(given) else route[::-1])
    return Layout(tuple(points[: len(sizes)]), tuple(routes), right - left, max(y - RISE, 0.0))


def _acyclic(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, int] | None]:
    """The edges with those that lead back turned round, so that no cycle is left; None for a loop of one node."""
    below: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        below[source].append(target)
    position: dict[int, int] = {}
    finished: list[int] = []
    for root in range(count):
        if root in position:
            continue
        position[root] = len(position)
        stack = [(root, iter(below[root]))]
        while stack:
            node, rest = stack[-1]
            child = next((one for one in rest if one not in position), None)
            if child is None:
                finished.append(node)
                stack.pop()
            else:
                position[child] = len(position)
                stack.append((child, iter(below[child])))
    # In reverse order of leaving them, every edge but those that close a cycle leads forward.
    at = {node: place for place, node in enumerate(reversed(finished))}
    return [
        None if source == target else (source, target) if at[source] < at[target] else (target, source)
        for source, target in edges
    ]


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        above[target].append(source)
        below[source].append(target)
    waiting = [len(one) for one in above]
    rank = [0] * count
    ready = [node for node in range(count) if not waiting[node]]
    for node in ready:
        for child in below[node]:
            rank[child] = max(rank[child], rank[node] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    # What nothing leads to stands right above the first that uses it.
    for node in range(count):
        if not above[node] and below[node]:
            rank[node] = min(rank[child] for child in below[node]) - 1
    return rank


def _chain(layers: _Layers, edge: tuple[int, int]) -> list[int]:
    """Link two boxes, through a stand-in on every layer between them."""
    source, target = edge
    chain: list[int] = []
    at = source
    for rank in range(layers.rank[source] + 1, layers.rank[target]):
        new = len(layers.widths)
        layers.widths.append(0.0)
        layers.rank.append(rank)
        layers.above.append([])
        layers.below.append([])
        _link(layers, at, new)
        chain.append(new)
        at = new
    _link(layers, at, target)
    return chain


def _link(layers: _Layers, upper: int, lower: int) -> None:
    layers.below[upper].append(lower)
    layers.above[lower].append(upper)


def _ordered(layers: _Layers) -> list[list[int]]:
    """Each layer from left to right, with the fewest crossings that the sweeps came by."""
    order: list[list[int]] = [[] for _ in range(max(layers.rank, default=-1) + 1)]
    for node, rank in enumerate(layers.rank):
        order[rank].append(node)
    place = {node: at for layer in order for at, node in enumerate(layer)}
    best, fewest = [list(layer) for layer in order], _crossings(layers, order)
    for sweep in range(_SWEEPS):
        downward = sweep % 2 == 0
        neighbours = layers.above if downward else layers.below
        for layer in order if downward else order[::-1]:
            centre = {
                node: sum(place[one] for one in neighbours[node]) / len(neighbours[node])
                if neighbours[node]
                else place[node]
                for node in layer
            }
            layer.sort(key=centre.__getitem__)
            place.update((node, at) for at, node in enumerate(layer))
        crossings = _crossings(layers, order)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in order], crossings
    return best


def _crossings(layers: _Layers, order: list[list[int]]) -> int:
    place = {node: at for layer in order for at, node in enumerate(layer)}
    count = 0
    for layer in order:
        passed: list[int] = []
        for end in [end for node in layer for end in sorted(place[one] for one in layers.below[node])]:
            count += len(passed) - bisect_right(passed, end)
            insort(passed, end)
    return count


def _columns(layers: _Layers, order: list[list[int]]) -> list[float]:
    """The x of every node: near its neighbours, in order, never overlapping."""
    xs = [0.0] * len(layers.widths)
    for layer in order:
        _spread(layers, layer, [0.0] * len(layer), [1.0] * len(layer), xs)
    for sweep in range(_SWEEPS):
        downward = sweep % 2 == 0
        neighbours = layers.above if downward else layers.below
        for layer in order if downward else order[::-1]:
            wanted = [
                sum(xs[one] for one in neighbours[node]) / len(neighbours[node]) if neighbours[node] else xs[node]
                for node in layer
            ]
            # The stand-ins of a long edge weigh more: bends are what makes a picture hard to read.
            weights = [8.0 if not layers.widths[node] else 1.0 for node in layer]
            _spread(layers, layer, wanted, weights, xs)
    return xs


def _spread(layers: _Layers, layer: list[int], wanted: list[float], weights: list[float], xs: list[float]) -> None:
    """Put a layer's nodes as near to where they are wanted as their widths allow, by pooling adjacent violators."""
    offsets: list[float] = []
    for at, node in enumerate(layer):
        before = layer[at - 1] if at else None
        apart = (layers.widths[before] + layers.widths[node]) / 2 + GAP if before is not None else 0.0
        offsets.append((offsets[-1] if offsets else 0.0) + apart)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for x, offset, weight in zip(wanted, offsets, weights, strict=True):
        mean, total, many = x - offset, weight, 1
        while pools and pools[-1][0] > mean:
            other, others, size = pools.pop()
            mean = (mean * total + other * others) / (total + others)
            total, many = total + others, many + size
        pools.append((mean, total, many))
    places = [mean for mean, _, many in pools for _ in range(many)]
    for node, place, offset in zip(layer, places, offsets, strict=True):
        xs[node] = place + offset
