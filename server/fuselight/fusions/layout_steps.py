"""The functions and methods that are known, by what each makes of a tensor: from rows to scores, weights, a context.

`step` does one of them by its name, `operated` an operator, `element_of` a subscript.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from fuselight.fusions.drawn_sizes import Draw, Parameter, Unread, arithmetic, items_of
from fuselight.fusions.layouts import (
    Atom,
    Leaf,
    Tensor,
    chunked,
    dimension,
    indexed,
    is_near,
    permuted,
    primed,
    reshaped,
    size_of,
    slice_of,
    split_up,
    swapped,
    unbound,
)

_F = "torch.nn.functional."

METHODS = {
    "view": "reshape", "reshape": "reshape", "transpose": "transpose", "swapaxes": "transpose", "swapdims": "transpose",
    "permute": "permute", "contiguous": "contiguous", "size": "size", "matmul": "matmul", "bmm": "matmul", "mul": "mul",
    "div": "div", "softmax": "softmax", "chunk": "chunk", "split": "split", "unbind": "unbind", "flatten": "flatten",
    "unflatten": "unflatten",
}  # fmt: skip
FUNCTIONS = {
    f"torch.{name}": step for name, step in METHODS.items() if name not in ("view", "contiguous", "size")
} | {
    "torch.einsum": "einsum", f"{_F}softmax": "softmax", f"{_F}dropout": "dropout",
    f"{_F}scaled_dot_product_attention": "attention",
}  # fmt: skip
_PARAMETERS: dict[str, tuple[tuple[str, ...], int]] = {
    "reshape": (("*",), 1), "permute": (("*",), 1), "transpose": (("dim0", "dim1"), 2), "contiguous": ((), 0),
    "size": (("dim",), 0), "matmul": (("other",), 1), "mul": (("other",), 1), "div": (("other",), 1),
    "softmax": (("dim",), 1), "chunk": (("chunks", "dim"), 1), "split": (("split_size", "dim"), 1),
    "unbind": (("dim",), 0), "flatten": (("start_dim", "end_dim"), 0), "unflatten": (("dim", "sizes"), 2),
    "einsum": (("*",), 1), "dropout": (("p", "training"), 0),
    "attention": (("key", "value", "attn_mask", "dropout_p", "is_causal", "scale"), 2),
}  # fmt: skip
"""What follows the first argument of each step, and how much of it must be given. `*`: sizes, dimensions, operands."""


@dataclass(frozen=True, slots=True)
class ShapeOf:
    """The shape of a leaf, of which the number of dimensions is not known yet."""

    leaf: Leaf


@dataclass(frozen=True, slots=True)
class Training:
    """`self.training`"""


@dataclass(frozen=True, slots=True)
class Probability:
    """`p if self.training else 0.0`"""

    node: ast.expr


def step(draw: Draw, name: str, node: ast.Call, inputs: list[object], keywords: dict[str, object]) -> object:
    """One of the functions and methods that are known, by its name."""
    if not inputs and "input" in keywords:
        inputs = [keywords.pop("input")]
    near = any(is_near(one) for one in (*inputs, *keywords.values()))
    parameters = _PARAMETERS.get(name)
    if parameters is None or not inputs:
        raise Unread(f"`{ast.unparse(node.func)[:60]}` is not one of the steps that are known", node, near)
    names, needed = parameters
    base, rest = inputs[0], inputs[1:]
    if names == ("*",):
        if keywords:
            raise Unread("it is called with other arguments", node, near)
        items = items_of(rest[0]) if len(rest) == 1 else None
        rest = list(items) if items is not None else rest
    else:
        if len(rest) > len(names) or any(one not in names[len(rest) :] for one in keywords):
            raise Unread("it is called with other arguments", node, near)
        rest += [keywords.get(one) for one in names[len(rest) :]]
        if any(one is None for one in rest[:needed]):
            raise Unread("it is called with other arguments", node, near)
    match name:
        case "reshape":
            return reshaped(draw, base, rest, node)
        case "permute":
            return permuted(draw, base, rest, node)
        case "transpose":
            return swapped(draw, base, rest[0], rest[1], node)
        case "contiguous":
            return base
        case "size":
            shape = shape_of(base, node)
            if rest[0] is None:
                return shape
            return _size_at(draw, node, shape, rest[0])
        case "matmul":
            return _product(draw, node, base, rest[0])
        case "mul" | "div":
            op = ast.Mult() if name == "mul" else ast.Div()
            return operated(draw, ast.BinOp(node, op, node), op, base, rest[0])
        case "softmax":
            return softmax(draw, node, base, rest[0])
        case "chunk":
            count = draw.whole(rest[0], node)
            return chunked(draw, node, base, count, 0 if rest[1] is None else rest[1])
        case "split":
            return split_up(draw, node, base, rest[0], 0 if rest[1] is None else rest[1])
        case "unbind":
            return unbound(draw, node, base, 0 if rest[0] is None else rest[0])
        case "flatten" | "unflatten" if isinstance(base, Tensor):
            sizes: list[object] = [size_of(axis) for axis in base.axes]
            start = dimension(draw, base, 0 if rest[0] is None else rest[0], node)
            if name == "flatten":
                stop = dimension(draw, base, -1 if rest[1] is None else rest[1], node)
                sizes[start : stop + 1] = [math.prod(size_of(axis) for axis in base.axes[start : stop + 1])]
            else:
                sizes[start : start + 1] = items_of(rest[1]) or ()
            return reshaped(draw, base, sizes, node)
        case "einsum":
            return _by_equation(draw, node, base, rest)
        case "dropout":
            return _dropped_out(node, base, rest)
        case "attention":
            return _attended(draw, node, base, rest)
        case _:
            raise Unread("this is not one of the steps that are known", node, near)


def operated(draw: Draw, node: ast.BinOp, op: ast.operator, left: object, right: object) -> object:
    """An operator between what is known: a product, a scaling, tuples put together, arithmetic."""
    if isinstance(op, ast.MatMult):
        return _product(draw, node, left, right)
    tensor, other = (left, right) if isinstance(left, Tensor) else (right, left)
    if isinstance(op, ast.Add) and items_of(left) is not None and items_of(right) is not None:
        return (*(items_of(left) or ()), *(items_of(right) or ()))
    if not isinstance(tensor, Tensor):
        return arithmetic(draw, node, op, left, right)
    scaled = tensor.step in ("rows", "scores") and isinstance(op, ast.Mult | ast.Div)
    if scaled and isinstance(other, int | float | Parameter) and (tensor is left or isinstance(op, ast.Mult)):
        number = draw.number_of(other, node)
        factor = tensor.factor * number if isinstance(op, ast.Mult) else tensor.factor / (number or math.nan)
        return replace(tensor, factor=factor)
    what = {"scores": "the scores", "weights": "the weights", "context": "the weighted sum"}.get(tensor.step, "it")
    raise Unread(f"something else is done to {what} than scaling them", node, is_near(tensor))


def softmax(draw: Draw, node: ast.AST, value: object, dim: object) -> Tensor:
    """The weights of scores, where they are scaled as those of an attention."""
    if not isinstance(value, Tensor) or value.step != "scores":
        raise Unread("a softmax of something else", node, is_near(value))
    at = draw.whole(dim, node)
    count = len(value.axes)
    if at not in (-1, count - 1) or not all(atom.root.endswith("'") for atom in value.axes[-1]):
        raise Unread("the softmax is not over the keys", node, True)
    if not math.isclose(value.factor * math.sqrt(value.depth), 1.0, rel_tol=1e-9):
        raise Unread("the scores are not scaled by one over the root of the size of a head", node, True)
    return replace(value, step="weights", factor=1.0)


def _product(draw: Draw, node: ast.AST, left: object, right: object) -> Tensor:
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        near = is_near(left) or is_near(right)
        raise Unread("a product with something else", node, near)
    count = len(left.axes)
    if count != len(right.axes) or count < 3:
        raise Unread("a product of tensors of different dimensions", node, is_near(left) or is_near(right))
    lead = [f"b{at}" for at in range(count - 2)]
    return _einsum(draw, node, [*lead, "i", "j"], [*lead, "j", "k"], [*lead, "i", "k"], left, right)


def _einsum(
    draw: Draw, node: ast.AST, first: list[str], second: list[str], result: list[str], left: Tensor, right: Tensor
) -> Tensor:
    if left.step == "rows" and right.step == "weights":
        first, second, left, right = second, first, right, left
    if (left.step, right.step) not in (("rows", "rows"), ("weights", "rows")) or right.step != "rows":
        raise Unread("a product of something else", node, is_near(left) or is_near(right))
    near = left.step == "weights"
    if len(first) != len(left.axes) or len(second) != len(right.axes):
        raise Unread("an einsum of other dimensions", node, near)
    one, other = dict(zip(first, left.axes, strict=True)), dict(zip(second, right.axes, strict=True))
    summed = [letter for letter in one if letter in other and letter not in result]
    mine = [letter for letter in one if letter not in other]
    theirs = [letter for letter in other if letter not in one]
    shared = [letter for letter in one if letter in other and letter in result]
    if len(summed) != 1 or {*mine, *theirs, *shared} != set(result) or any(one[a] != other[a] for a in shared):
        raise Unread("a product that is none of an attention", node, near)
    axes = {**one, **other}
    (k,) = summed
    if near:
        if one[k] != primed(other[k]) or right.factor != 1.0:
            raise Unread("the weights do not sum the values of their keys", node, True)
        rest = tuple(axes[letter] for letter in result)
        return replace(left, step="context", axes=rest, parts=(*left.parts, *right.parts))
    depth = size_of(one[k])
    features = [
        math.prod(atom.size for axis in side.axes for atom in axis if atom.root == "F") for side in (left, right)
    ]
    heads = features[0] == features[1] and one[k] in ((Atom("F", depth),), ()) and one[k] == other[k]
    if len(mine) != 1 or len(theirs) != 1 or one[mine[0]] != other[theirs[0]] or not heads:
        raise Unread("a product that is none of an attention", node)
    rows = one[mine[0]]
    sizes = {"0": draw.batch, "1": draw.length}
    if len(rows) != 1 or rows[0] not in (Atom("0", sizes["0"]), Atom("1", sizes["1"])):
        raise Unread("the scores are not those of two places of its input", node, True)
    # The keys are what the softmax goes over, the last dimension.
    keys = mine[0] if result[-1] == mine[0] else theirs[0]
    axes[keys] = primed(rows)
    found = tuple(axes[letter] for letter in result)
    parts = (*right.parts, *left.parts) if keys == mine[0] else (*left.parts, *right.parts)
    return Tensor("scores", found, parts, left.factor * right.factor, depth, rows[0].root, features[0])


def _by_equation(draw: Draw, node: ast.AST, equation: object, rest: list[object]) -> Tensor:
    if len(rest) == 1 and items_of(rest[0]) is not None:
        rest = list(items_of(rest[0]) or ())
    near = any(is_near(one) for one in rest)
    if not isinstance(equation, str) or len(rest) != 2:
        raise Unread("an einsum of something else", node, near)
    found = re.fullmatch(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)", equation.replace(" ", ""))
    left, right = rest
    if found is None or not isinstance(left, Tensor) or not isinstance(right, Tensor):
        raise Unread("an einsum of something else", node, near)
    terms = [list(found[at]) for at in (1, 2, 3)]
    if any(len(set(term)) != len(term) for term in terms):
        raise Unread("an einsum of something else", node, near)
    return _einsum(draw, node, terms[0], terms[1], terms[2], left, right)


def _attended(draw: Draw, node: ast.Call, query: object, rest: list[object]) -> Tensor:
    """`F.scaled_dot_product_attention(q, k, v, dropout_p=p if self.training else 0.0)`"""
    key, value, mask, dropout, causal, scale = rest
    if not all(isinstance(one, Tensor) and one.step == "rows" for one in (query, key, value)):
        raise Unread("an attention of something else", node)
    if mask is not None or causal not in (None, False):
        raise Unread("its attention has a mask", node, True)
    scores = _product(draw, node, query, swapped(draw, key, -2, -1, node))
    number = 1 / math.sqrt(scores.depth) if scale is None else draw.number_of(scale, node)
    weights = softmax(draw, node, replace(scores, factor=scores.factor * number), -1)
    if isinstance(dropout, Probability):
        weights = replace(weights, dropout=(dropout.node,))
    elif dropout not in (None, 0, 0.0):
        raise Unread("its dropout does not ask for training mode", node, True)
    return _product(draw, node, weights, value)


def _dropped_out(node: ast.Call, value: object, rest: list[object]) -> Tensor:
    """`F.dropout(weights, p=p, training=self.training)`"""
    if not isinstance(value, Tensor) or value.step != "weights" or value.dropout:
        raise Unread("something else is dropped out than the weights", node, is_near(value))
    if not isinstance(rest[1], Training):
        raise Unread("its dropout does not ask for training mode", node, True)
    given = node.args[1] if len(node.args) > 1 else next((one.value for one in node.keywords if one.arg == "p"), None)
    return replace(value, dropout=(written(given) if given is not None else ast.Constant(value=0.5),))


def written(node: ast.expr) -> ast.expr:
    """A probability that means the same in `__init__`: a number, or an attribute."""
    own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    if own or isinstance(node, ast.Constant):
        return node
    raise Unread("its dropout is worked out", node, True)


def shape_of(base: object, node: ast.AST) -> object:
    """The sizes of a tensor, or `ShapeOf` a leaf."""
    if isinstance(base, Leaf):
        return ShapeOf(base)
    if isinstance(base, Tensor):
        return tuple(size_of(axis) for axis in base.axes)
    raise Unread("this has no shape", node)


def _size_at(draw: Draw, node: ast.AST, shape: object, index: object) -> int:
    sizes = draw.shape if isinstance(shape, ShapeOf) else items_of(shape)
    at = draw.whole(index, node)
    if sizes is None or not -len(sizes) <= at < len(sizes):
        raise Unread("a dimension that is not there", node)
    return draw.whole(sizes[at], node)


def element_of(
    draw: Draw, node: ast.Subscript, base: object, index: ast.expr, number: Callable[[ast.expr], int]
) -> object:
    """`base[index]`; `number` yields what an expression of the index comes to."""
    values = items_of(base)
    if isinstance(base, ShapeOf):
        if isinstance(index, ast.Slice):
            return draw.shape[slice_of(index, number)]
        return _size_at(draw, node, base, number(index))
    if values is not None:
        if isinstance(index, ast.Slice):
            return values[slice_of(index, number)]
        at = number(index)
        if not -len(values) <= at < len(values):
            raise Unread("an element that is not there", node)
        return values[at]
    if isinstance(base, Tensor) and base.step == "rows":
        return indexed(node, base, index, number)
    raise Unread("an element is taken", node, is_near(base))
