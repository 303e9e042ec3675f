"""Subscripts that take a slice along one dimension: `x[:, 4:]`, `x[..., :n]`."""

from __future__ import annotations

import ast

from fuselight.graph.ranks import index_elements
from fuselight.graph.values import Value


def slice_of(piece: Value) -> tuple[int, Value | None, Value | None] | None:
    """The one dimension along which a subscript takes a slice, with its bounds; every other one is taken whole."""
    found: tuple[int, Value | None, Value | None] | None = None
    elements = list(index_elements(piece))
    behind_ellipsis = False
    for at, (value, node) in enumerate(elements):
        if isinstance(node, ast.Constant) and node.value is ...:
            behind_ellipsis = True
            continue
        if not isinstance(node, ast.Slice) or node.step is not None or value is None:
            return None
        if node.lower is None and node.upper is None:
            continue
        if found is not None:
            return None
        bounds = list(value.inputs)
        if len(bounds) != (node.lower is not None) + (node.upper is not None):
            return None
        lower = bounds[0] if node.lower is not None else None
        upper = bounds[-1] if node.upper is not None else None
        found = (at - len(elements) if behind_ellipsis else at, lower, upper)
    return found
