"""The pieces that one value is cut into along a dimension: all of it, in order, and nothing else of the cut is used."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fuselight.fusions.base import Refusal
from fuselight.fusions.slices import slice_of
from fuselight.graph.module import Module
from fuselight.graph.ranks import argument
from fuselight.graph.values import Value

CUTS = frozenset({"chunk", "split", "method tensor_split", "torch.tensor_split"})
"""The kinds that yield pieces."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """How one value is cut into pieces."""

    source: Value
    node: ast.expr
    """Where the source stands."""
    dim: int
    inner: tuple[Value, ...]
    """What is computed for the pieces alone: they, and the call that cuts."""


def cut_of(module: Module, pieces: Sequence[Value]) -> Cut | Refusal | None:
    """How the pieces are cut from one value; None where they are not, or not by a known call or by slices."""
    wholes = [piece.inputs[0] for piece in pieces if piece.kind in ("unpack", "getitem") and piece.inputs]
    if len(wholes) != len(pieces) or any(whole is not wholes[0] for whole in wholes):
        return None
    if wholes[0].kind in CUTS:
        return _taken_apart(pieces, wholes[0])
    return _sliced(module, pieces, wholes[0]) if all(piece.kind == "getitem" for piece in pieces) else None


def operand_of(whole: Value) -> ast.expr | None:
    """Where the value that is cut stands."""
    call = whole.node
    if not isinstance(call, ast.Call) or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    if isinstance(call.func, ast.Attribute) and len(whole.inputs) == len(call.args) + 1:
        return call.func.value
    if call.args:
        return call.args[0]
    return next((one.value for one in call.keywords if one.arg in ("input", "tensor")), None)


def pieces_of(whole: Value) -> int | None:
    """How many pieces a call yields at most, where it says so."""
    given = argument(whole, 1, "chunks" if whole.kind == "chunk" else "split_size_or_sections")
    if given is None:
        return None
    if given.kind == "container" and whole.kind == "split":
        return None if any(one.kind == "starred" for one in given.inputs) else len(given.inputs)
    if whole.kind == "split" or type(given.constant) is not int:
        return None
    return given.constant


def _taken_apart(pieces: Sequence[Value], whole: Value) -> Cut | Refusal | None:
    """The pieces of `x.chunk(2, 1)`, unpacked or taken by their numbers."""
    source = argument(whole, 0, "tensor" if whole.kind == "split" else "input")
    node = operand_of(whole)
    if source is None or node is None:
        return None
    indices: list[int] = []
    counts: set[int] = set()
    for piece in pieces:
        if piece.kind == "unpack":
            count = _targets(piece, whole)
            index = piece.index
        else:
            count = pieces_of(whole)
            index = piece.inputs[1].constant
        if count is None:
            return Refusal("how many pieces the input is cut into is not shown")
        if type(index) is not int:
            return None
        counts.add(count)
        indices.append(index + count if index < 0 else index)
    if counts != {len(pieces)} or sorted(indices) != list(range(len(pieces))):
        return Refusal("what is concatenated is not all of the input")
    if indices != sorted(indices):
        return Refusal("the results are concatenated in another order than the chunks")
    given = argument(whole, 2, "dim")
    dim = given.constant if given is not None else 0
    if type(dim) is not int:
        return Refusal("the dimension that is cut is not written out")
    if len(whole.uses) != len(pieces) or (whole.binding is not None and whole.reads != _reads(pieces, whole)):
        return Refusal("the chunks are used again")
    return Cut(source, node, dim, (*pieces, whole))


def _targets(piece: Value, whole: Value) -> int | None:
    """Into how many names a tuple is taken apart, all at once."""
    match piece.statement:
        case ast.Assign(targets=[ast.Tuple(elts=targets) | ast.List(elts=targets)], value=value):
            pass
        case _:
            return None
    if value is not whole.node and not (isinstance(value, ast.Name) and whole.binding is not None):
        return None
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return len(targets) if len(names) == len(targets) else None


def _reads(pieces: Sequence[Value], whole: Value) -> int:
    """How often the name of all chunks is read for the pieces: for each by its number, or once to unpack them."""
    numbered = sum(piece.kind == "getitem" for piece in pieces)
    return numbered or (1 if pieces[0].statement is not whole.binding else 0)


def _sliced(module: Module, pieces: Sequence[Value], source: Value) -> Cut | Refusal | None:
    """`x[:, :4]`, `x[:, 4:]`: slices along one dimension, each from where the one before it ends."""
    first = pieces[0].node
    if not isinstance(first, ast.Subscript):
        return None
    bounds: list[tuple[Value | None, Value | None]] = []
    dims: set[int] = set()
    for piece in pieces:
        found = slice_of(piece)
        if found is None:
            return None
        dim, lower, upper = found
        dims.add(dim)
        bounds.append((lower, upper))
    if len(dims) != 1:
        return None
    start, end = bounds[0][0], bounds[-1][1]
    if (start is not None and start.constant != 0) or end is not None:
        return Refusal("what is concatenated is not all of the input")
    for (_, one), (other, _) in pairwise(bounds):
        if one is None or other is None or not _equal(module, one, other):
            return Refusal("the slices are not known to follow one another")
    return Cut(source, first.value, dims.pop(), tuple(pieces))


def _equal(module: Module, one: Value, other: Value) -> bool:
    """Whether two sizes are surely the same number."""
    if one is other:
        return True
    if one.constant is not None or other.constant is not None:
        return type(one.constant) is int and one.constant == other.constant
    if one.node is None or other.node is None or ast.dump(one.node) != ast.dump(other.node) or one.kind != other.kind:
        return False
    if one.kind == "attribute" and isinstance(one.node, ast.Attribute):
        metadata = one.node.attr == "shape"
        stores = [mention for mention in module.mentions.of_attribute(one.node.attr) if _is_store(mention.node)]
        kept = len(stores) == 1 and stores[0].function is not None and stores[0].function.name == "__init__"
        return (metadata or kept) and one.inputs[0] is other.inputs[0]
    known = one.kind in ("getitem", "metadata", "floor_divide", "operator", "add", "sub", "mul")
    return known and all(_equal(module, *pair) for pair in zip(one.inputs, other.inputs, strict=True))


def _is_store(node: ast.Attribute) -> bool:
    return not isinstance(node.ctx, ast.Load)
