"""Dimensions put in order twice.

`x.permute(0, 2, 3, 1).transpose(1, 2)` is one permutation, and two that undo each other are none. The dimensions have
to be literal, and how many there are is known from a `permute` among the two, or from what else the source shows.

## What it saves
Nothing but a line, and a view that autograd keeps.

## Fix safety
`exact`: the same elements in the same memory, with the same strides. Where the two undo each other, what follows gets
the tensor itself and not a view of it.

## Refused when
- the first result is used elsewhere too, or has a name of its own (nothing is said then, unless the two undo each
  other), or the second is for a matrix product: keys that are transposed;
- a dimension is not literal, or counted from the end where the number of dimensions is not known;
- the two undo each other, and the result is written to in place, or the file does something with tensor objects
  themselves (`retain_grad`, `register_hook`, `y is x`, `unsqueeze_`), or they start from an attribute, which may be a
  parameter;
- the two do not undo each other, and it may be an array of another library;
- the function is a test, or a custom autograd function.

Source: `torch.permute`, `torch.transpose`, `torch.movedim`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Method, OnValue, Place, ReplaceExpression, ReplaceStatements, Within
from fuselight.fusions.steps import (
    Pair,
    Step,
    elements,
    handed_past,
    in_one_line,
    integer,
    is_method,
    of_numpy,
    operand,
    pairs,
    source_of,
)
from fuselight.fusions.tensor_objects import is_a_check, is_tensor, needs_its_own_object
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of

_KINDS = frozenset(
    {"permute", "swapaxes", "method movedim", "method moveaxis", "torch.movedim", "method t", "attribute"}
)
_WORDS = frozenset("permute transpose swapaxes swapdims movedim moveaxis t mT".split())


@fusion
class RepeatedPermute(Fusion):
    __doc__ = __doc__

    code = "FUS111"
    name = "repeated-permute"
    words = (_WORDS,)
    examples = (
        Example(
            before="""\
import torch


def f(x):
    x = x.permute(0, 2, 3, 1)  # channels last
    x = x.transpose(0, 1)
    return x * 2
""",
            after="""\
import torch


def f(x):
    # channels last
    x = x.permute(2, 0, 3, 1)
    return x * 2
""",
            inputs=((4, 3, 5, 2),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch


def f(x):
    return torch.relu(x.transpose(1, 2).transpose(2, 1))
""",
            after="""\
import torch


def f(x):
    return torch.relu(x)
""",
            inputs=((4, 3, 5),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\n\ndef f(x):\n    return x.transpose(1, 2).transpose(-1, -2)\n", ""),
        NearMiss("import torch\n\n\ndef f(x):\n    return x.transpose(1, 2).transpose(0, 1)\n", ""),
        NearMiss("import torch\n\n\ndef f(x, i):\n    return x.permute(0, 2, 1).transpose(i, 1)\n", ""),
        NearMiss("import torch\n\n\ndef f(x):\n    return x.permute(0, 2, 1).softmax(1).permute(0, 2, 1)\n", ""),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = x.permute(0, 2, 1)\n    return y.permute(0, 2, 1), y\n",
            "used more than once",
        ),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = x.permute(0, 2, 1).permute(0, 2, 1)\n    y.add_(1)\n"
            "    return y, x\n",
            "written to",
        ),
        NearMiss("import numpy as np\nimport torch\n\n\ndef f():\n    return np.ones((2, 3)).transpose(1, 0).T\n", ""),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, _KINDS, _KINDS, _WORDS):
            if pair.literal is not None or of_numpy(source_of(pair.first)):
                continue
            order = _composed(pair)
            if order is None:
                continue
            undone = order == list(range(len(order)))
            if not undone and not _is_one_thought(pair):
                continue
            first, second = pair.places
            message = "two permutations undo each other" if undone else "two permutations are one"
            refusal = pair.refusal or is_a_check(scope)
            if refusal is None:
                refusal = _written(pair) or needs_its_own_object(module, pair) if undone else _of_torch(pair, order)
            if refusal is not None:
                yield Match(type(self), scope.name, second, message, others=(first,), refused=refusal)
                continue
            method = Method("permute", {f"arg_{at}": str(dim) for at, dim in enumerate(order)})
            moved = [at for at, dim in enumerate(order) if at != dim]
            if len(moved) == 2:
                method = Method("transpose", {"arg_0": str(moved[0]), "arg_1": str(moved[1])})
            written = f".{method.name}({', '.join(method.arguments.values())})"
            title = "Remove both, which undo each other" if undone else f"Replace the two by one `{written}`"
            yield Match(
                type(self), scope.name, second, message, title, Safety.EXACT, (first,),
                partial(_plan, pair, None if undone else method),
            )  # fmt: skip


def _plan(pair: Pair, method: Method | None) -> tuple[Action, ...]:
    statement, value, node = pair.scope.statement, pair.second.value, pair.second.node
    assert value is not None
    actions, text = handed_past(pair)
    if method is not None:
        return (*actions, ReplaceExpression(statement, node, OnValue(in_one_line(text), (method,))))
    inner = operand(pair.first)
    assert inner is not None
    nested = operand(pair.second) is pair.first.node
    target = value.binding.targets[0] if value.binding is not None else None
    if (
        isinstance(target, ast.Name)
        and target.id == text
        and value.binding is not None
        and statement.stands_alone(value.binding)
    ):
        removed = [node for one in actions if isinstance(one, ReplaceStatements) for node in one.removed]
        rest = [one for one in actions if not isinstance(one, ReplaceStatements)]
        block = value.block.statements
        after = block[block.index(value.binding) + 1 :] if value.binding in block else []
        comments_to = after[0] if after else None
        if comments_to is not None:
            return (*rest, ReplaceStatements(statement, (*removed, value.binding), (), comments_to))
    by = Within(inner) if nested and "#" not in statement.source(node) else text
    return (*actions, ReplaceExpression(statement, node, by))


_PRODUCTS = frozenset({"matmul", "bmm", "einsum", "baddbmm", "method baddbmm", "torch.baddbmm", "mm", "addmm"})


def _is_one_thought(pair: Pair) -> bool:
    """Whether nothing is lost by writing two permutations as one.

    Heads of attention that are split off, and keys that are then transposed for a product, are two: what is between
    them has a meaning, and often a name.
    """
    one, other = pair.first.value, pair.second.value
    assert one is not None
    assert other is not None
    if any(use.by is not None and use.by.kind in _PRODUCTS for use in other.uses):
        return False
    if operand(pair.second) is pair.first.node:
        return True
    names = [
        value.binding.targets[0].id
        for value in (one, other)
        if value.binding is not None and isinstance(value.binding.targets[0], ast.Name)
    ]
    inner = operand(pair.first)
    same = len(names) < 2 or names[0] == names[1]
    return same and (len(names) == 2 or (isinstance(inner, ast.Name) and inner.id == names[0]))


def _of_torch(pair: Pair, order: list[int]) -> Refusal | None:
    """Only a tensor has `permute`; an array has `swapaxes` too, and a `transpose` of two only where it is a matrix."""
    funcs = [step.node.func for step in (pair.first, pair.second) if isinstance(step.node, ast.Call)]
    transposes = any(isinstance(func, ast.Attribute) and func.attr == "transpose" for func in funcs)
    if is_tensor(pair) or (transposes and len(order) > 2):
        return None
    at = Place(pair.scope.statement, pair.second.node)
    return Refusal("the source does not show that it is a tensor of torch", at)


def _written(pair: Pair) -> Refusal | None:
    """Where both go, what follows gets the tensor itself: nothing may be done to it in place."""
    value = pair.second.value
    assert value is not None
    assert pair.graph is not None
    # An attribute, `.mT`, has no memory of its own: what it was read from is written to, whoever does it.
    roots = value.roots if value.order not in value.roots else frozenset({value.order})
    for write in pair.graph.writes:
        if write.sure and write.order > value.order and write.hits(roots):
            at = write.node if isinstance(write.node, ast.expr | ast.stmt) else pair.second.node
            return Refusal("the result is written to in place", Place(pair.scope.statement, at))
    return None


def _composed(pair: Pair) -> list[int] | None:
    """Which dimension of the input each of the result is; None where the source does not tell."""
    one, other = dimensions_of(pair.first), dimensions_of(pair.second)
    if one is None or other is None:
        return None
    source = source_of(pair.first)
    lengths = {len(given) for kind, given in (one, other) if kind == "permute"}
    if len(lengths) > 1:
        return None
    rank = lengths.pop() if lengths else None
    if rank is None and source is not None and pair.graph is not None:
        rank = rank_of(pair.graph, source).exact
    if rank is None:
        # A swap undoes itself, whatever the number of dimensions.
        same = one[0] == other[0] == "swap" and sorted(one[1]) == sorted(other[1])
        return [] if same else None
    before, after = order_of(one, rank), order_of(other, rank)
    if before is None or after is None:
        return None
    return [before[dim] for dim in after]


def order_of(given: tuple[str, list[int]], rank: int) -> list[int] | None:
    kind, numbers = given
    if any(not -rank <= one < rank for one in numbers):
        return None
    dims = [one % rank for one in numbers]
    order = list(range(rank))
    match kind:
        case "permute":
            return dims if sorted(dims) == order else None
        case "swap":
            order[dims[0]], order[dims[1]] = dims[1], dims[0]
            return order
        case _:
            order.remove(dims[0])
            order.insert(dims[1], dims[0])
            return order


def dimensions_of(step: Step) -> tuple[str, list[int]] | None:
    """What a step does, and the literal dimensions that it is given."""
    node = step.node
    if isinstance(node, ast.Attribute):
        return ("swap", [-2, -1]) if node.attr == "mT" and step.kind == "attribute" else None
    if not isinstance(node, ast.Call) or node.keywords or step.layer is not None or step.kind not in _KINDS:
        return None
    given = list(node.args) if is_method(step) else list(node.args[1:])
    if step.kind == "method t":
        return ("swap", [0, 1]) if not given else None
    listed = elements(given[0]) if len(given) == 1 and step.kind == "permute" else None
    numbers = [integer(one) for one in (listed if listed is not None else given)]
    found = [one for one in numbers if one is not None]
    if len(found) != len(numbers):
        return None
    if step.kind == "permute":
        return ("permute", found) if found else None
    if len(found) != 2:
        return None
    return ("swap" if step.kind == "swapaxes" else "move", found)
