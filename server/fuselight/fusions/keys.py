"""Would a bias of the keys of an attention change anything? The softmax over the keys cancels what all keys share.

A bias `b` adds `q·b` to the scores of one query with every key, and `softmax(s + c) = softmax(s)`: the output, and the
gradients of everything else, are the same whatever `b` is, and its own gradient is zero but for rounding. That holds as
long as each key gets the same `b`: not behind rotary embeddings, a norm of the keys, an activation, a dropout or a
concatenation with other keys, and not where the softmax goes over the features. So the way of a value to the softmax is
followed, step by step; every step that is not known to keep the keys alike ends it.
"""

from __future__ import annotations

import ast

from fuselight.graph.classes import ClassInfo
from fuselight.graph.ranks import argument, dimensions, rank_of
from fuselight.graph.values import Graph, Value

_FLAT, _SPLIT, _HEADS, _TURNED = "... T D", "B T H d", "B H T d", "... d T"
"""How the keys lie: as the layer yields them, split into heads, with the heads ahead, and turned for a product."""

_ORDERS: dict[tuple[object, ...], str] = {(0, 2, 1, 3): _HEADS, (0, 2, 3, 1): _TURNED}

_COPIES = frozenset({"contiguous", "method contiguous", "clone", "method clone", "torch.clone"})
_MASKED = ("float('-inf')", "-torch.inf", "-math.inf", "-float('inf')", "float('-Inf')")
_LOWEST = -1e4


def bias_cancels(graph: Graph, owner: ClassInfo, keys: Value, width: int | None) -> bool:
    """Whether `keys`, the output of a linear layer, are used for nothing but as the keys of one softmax attention."""
    value, lies = keys, _FLAT
    for _ in range(8):
        by = _only_use(value)
        if by is None:
            return False
        if by.kind == "scaled_dot_product_attention":
            return lies in (_FLAT, _HEADS) and argument(by, 1, "key") is value
        if by.kind in ("matmul", "bmm"):
            second = len(by.inputs) == 2 and by.inputs[1] is value
            return lies == _TURNED and second and _under_softmax(owner, by)
        if not by.inputs or by.inputs[0] is not value:
            return False
        after = lies if by.kind in _COPIES else _laid(graph, by, lies, keys, width)
        if after is None:
            return False
        value, lies = by, after
    return False


def _only_use(value: Value) -> Value | None:
    uses = value.consumers
    return uses[0].by if len(uses) == 1 else None


def _laid(graph: Graph, by: Value, lies: str, keys: Value, width: int | None) -> str | None:
    """How keys that lie so lie behind a reshape or transpose; None where that is not known."""
    if by.kind in ("method view", "reshape"):
        return _SPLIT if lies == _FLAT and _splits_features(by, keys, width) else None
    if by.kind == "permute":
        several = by.inputs[1:] if len(by.inputs) > 2 else ()
        order = tuple(one.constant for one in several) if several else dimensions(by)
        return _ORDERS.get(order or ()) if lies == _SPLIT else None
    if by.kind == "swapaxes" and len(by.inputs) == 3 and not by.keywords:
        first, second = by.inputs[1].constant, by.inputs[2].constant
        pair = {first, second}
        if lies == _SPLIT:
            return _HEADS if pair in ({1, 2}, {-3, -2}) else None
        if lies in (_FLAT, _HEADS):
            last = {-2, -1} if pair != {1, 2} or lies == _HEADS or rank_of(graph, keys).exact != 3 else pair
            return _TURNED if pair == last or (lies == _HEADS and pair == {2, 3}) else None
    return None


def _splits_features(view: Value, keys: Value, width: int | None) -> bool:
    """Whether `view` makes (B, T, H, d) of (B, T, H * d): its first sizes stay, or its last make up the width."""
    sizes = view.inputs[1:]
    if len(sizes) == 1 and sizes[0].kind == "container":
        sizes = sizes[0].inputs
    if len(sizes) != 4:
        return False
    heads, size = sizes[2].constant, sizes[3].constant
    if type(heads) is int and type(size) is int and heads * size == width and heads > 0:
        return True
    source = (*keys.inputs, *keys.keywords.values())[0]
    return all(_is_size_of(one, at, (keys, source)) for at, one in enumerate(sizes[:2]))


def _is_size_of(size: Value, index: int, tensors: tuple[Value, ...]) -> bool:
    """Whether `size` is that of a dimension of one of `tensors`: `x.size(1)`, the second of `B, T, C = x.shape`."""
    if size.kind == "metadata" and len(size.inputs) == 2:
        return size.inputs[0] in tensors and size.inputs[1].constant == index
    shape = size.inputs[0] if size.inputs else None
    if shape is None:
        return False
    whole = shape.kind == "attribute" and isinstance(shape.node, ast.Attribute) and shape.node.attr == "shape"
    if not whole and not (shape.kind == "metadata" and len(shape.inputs) == 1):
        return False
    if shape.inputs[0] not in tensors:
        return False
    if size.kind == "getitem":
        return size.inputs[1].constant == index
    return size.kind == "unpack" and size.index == index


def _under_softmax(owner: ClassInfo, scores: Value) -> bool:
    """Whether scores (..., queries, keys) go into a softmax over the keys, scaled and masked at most."""
    value = scores
    for _ in range(8):
        by = _only_use(value)
        if by is None:
            return False
        if by.kind == "softmax":
            dim = argument(by, 1, "dim")
            return by.inputs[:1] == (value,) and dim is not None and dim.constant == -1
        if by.kind == "torch.nn.Softmax":
            made = by.layer.constructor if by.layer is not None else None
            return made is not None and ast.unparse(made).endswith(("(dim=-1)", "(-1)"))
        others = [one for one in by.inputs if one is not value]
        if by.kind in ("mul", "div"):
            known = len(others) == 1 and (by.kind == "mul" or by.inputs[0] is value) and _is_number(owner, others[0])
        elif by.kind in ("add", "sub"):
            known = len(others) == 1 and (by.kind == "add" or by.inputs[0] is value)
        elif by.kind == "masked_fill":
            known = by.inputs[0] is value and len(by.inputs) == 3 and _is_masking(by.inputs[2])
        else:
            known = by.kind == "method float"
        if not known:
            return False
        value = by
    return False


def _is_number(owner: ClassInfo, value: Value) -> bool:
    """Whether a factor is a number, which scales the scores of all keys alike."""
    if isinstance(value.constant, int | float):
        return True
    if value.kind in ("math.sqrt", "metadata", "neg"):
        return True
    if value.kind in ("pow", "div", "mul") and value.inputs:
        return all(_is_number(owner, one) for one in value.inputs)
    if value.kind == "attribute" and isinstance(value.node, ast.Attribute):
        layer = owner.layers.get(value.node.attr) if value.path == f"self.{value.node.attr}" else None
        if layer is None or layer.unknown is not None or not isinstance(layer.assignment, ast.Assign):
            return False
        made = layer.assignment.value
        if layer.constructor is not None:
            return layer.kind == "math.sqrt"
        return isinstance(made, ast.BinOp) and isinstance(made.op, ast.Pow | ast.Div)
    return False


def _is_masking(value: Value) -> bool:
    """Whether a filled value is so low that the softmax makes nothing of it."""
    if isinstance(value.constant, int | float):
        return value.constant <= _LOWEST
    text = ast.unparse(value.node) if value.node is not None else ""
    return text in _MASKED or (text.startswith("torch.finfo(") and text.endswith(").min"))
