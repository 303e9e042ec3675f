"""A shape that the next step gives anew.

`x.view(B, -1)` and then `torch.flatten(x, 1)`: every one of these keeps the elements in their order, so that the last
shape alone tells the result. And `.contiguous().view(...)` is what `.reshape(...)` does.

## What it saves
Nothing but a line, and a view that autograd keeps. `.reshape` makes no copy where a view will do, where
`.contiguous()` makes one.

## Fix safety
`exact`. `.reshape` may yield a view where `.contiguous()` made a copy; an edit is offered only where nobody in the file
writes to the result or to what it may be a view of, or views it in a way that needs contiguous memory.

## Refused when
- the first result is used elsewhere too, or more of its sizes are asked for than the next step keeps;
- the last shape rests on the one before it: `flatten(2)`, or `flatten(1)` where the first size is not known to stay;
- a shape is in a variable, so that it may be a dtype (`x.view(torch.int32)`);
- the result is written to in place, viewed flat, asked for its strides or handed to a function of another file, where a
  copy becomes a view;
- what it may be a view of is written to in place behind it;
- the result of `.contiguous()` leaves the function or goes to a call of which nothing is known, and the last shape does
  not surely merge dimensions that a permutation put beside each other: a view would not be contiguous;
- a copy becomes a view that leaves the function, and the file works in place (`inplace=True`), or the function keeps or
  returns what it is a view of too.

Source: `torch.Tensor.view`, `torch.Tensor.reshape`, `torch.Tensor.contiguous`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Place, RenameMethod
from fuselight.fusions.repeated_permute import dimensions_of, order_of
from fuselight.fusions.steps import (
    Pair,
    Step,
    elements,
    input_written,
    integer,
    is_method,
    layer_dropped,
    of_numpy,
    pairs,
    removed_places,
    source_of,
    step_of,
    without_first,
    without_second,
)
from fuselight.fusions.views import Lies, needs_contiguous
from fuselight.fusions.writes import leaves, result_written, works_in_place
from fuselight.graph.kinds import is_torch_layer
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import ANYTHING, EXTERNAL, Consumption, Graph, Value
from fuselight.source.names import dotted

_CONTIGUOUS = "method contiguous"
_VIEW = "method view"
_LAYER = "torch.nn.Flatten"
_SHAPES = frozenset({_VIEW, "reshape", "flatten", _LAYER})
_WORDS = frozenset("view reshape flatten Flatten contiguous".split())


@fusion
class RepeatedReshape(Fusion):
    __doc__ = __doc__

    code = "FUS110"
    name = "repeated-reshape"
    words = (_WORDS,)
    examples = (
        Example(
            before="""\
import torch


def f(x):
    B, H, T, D = x.shape
    return x.transpose(1, 2).contiguous().view(B, T, H * D)
""",
            after="""\
import torch


def f(x):
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)
""",
            inputs=((2, 3, 5, 4),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch


def f(x):
    x = x.view(x.size(0), -1)  # flat
    x = x.reshape(x.shape[0], -1)
    return torch.flatten(x, 1)
""",
            after="""\
import torch


def f(x):
    x = x.view(x.size(0), -1)  # flat
    return x
""",
            inputs=((2, 3, 5, 4),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch


def f(x):
    return x.reshape(-1, 4).view(2, 30)
""",
            after="""\
import torch


def f(x):
    return x.reshape(2, 30)
""",
            inputs=((3, 5, 4),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\n\ndef f(x):\n    return x.view(-1, 12)\n", ""),
        NearMiss("import torch\n\n\ndef f(x):\n    return x.transpose(1, 2).flatten(1).flatten(2)\n", ""),
        NearMiss("import torch\n\n\ndef f(x, s):\n    return x.reshape(-1, 4).view(s)\n", ""),
        NearMiss("import torch\n\n\ndef f(x):\n    return x.view(4, -1).view(torch.int32)\n", ""),
        NearMiss("import torch\n\n\ndef f(x):\n    return x.view(-1, 4, 2).flatten(1)\n", ""),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = x.view(2, -1)\n    return y.view(-1), y\n", "used more than once"
        ),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = x.transpose(1, 2).contiguous().view(2, 5, -1)\n    y.mul_(2)\n"
            "    return y\n",
            "written to",
        ),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = x.transpose(1, 2).contiguous().view(2, 5, 3, 4)\n"
            "    return y[0].view(-1, 12)\n",
            "contiguous memory",
        ),
        NearMiss("import torch\n\n\ndef f(x):\n    y = x.view(-1, 4)\n    return y.view(y.size(0), 2, 2)\n", ""),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, _SHAPES | {_CONTIGUOUS}, _SHAPES, _WORDS, sizes=True):
            way = _way(pair)
            if way is None:
                continue
            gone = pair.second if way == "second" else pair.first
            message = (
                f"`{gone.label}` changes nothing beside `{(pair.first if way == 'second' else pair.second).label}`"
            )
            title = f"Remove `{gone.label}`, which changes nothing"
            if way == "reshape":
                title = "Replace the two by one `reshape`"
            first, second = pair.places
            refusal = pair.refusal or (None if way == "second" else _layout(module, pair, way))
            dropped = layer_dropped(module, pair, gone) if refusal is None else ()
            if refusal is None and isinstance(dropped, Refusal):
                refusal = dropped
            if refusal is not None or isinstance(dropped, Refusal):
                yield Match(type(self), scope.name, second, message, others=(first,), refused=refusal)
                continue
            yield Match(
                type(self), scope.name, second, message, title, Safety.EXACT, (first, *removed_places(dropped)),
                partial(_plan, pair, way, dropped),
            )  # fmt: skip


def _plan(pair: Pair, way: str, dropped: tuple[Action, ...]) -> tuple[Action, ...]:
    if way == "second":
        return (*without_second(pair), *dropped)
    if way == "first":
        return (*without_first(pair), *dropped)
    node = pair.second.node
    assert isinstance(node, ast.Call)
    return (*without_first(pair), RenameMethod(pair.scope.statement, node, "reshape"), *dropped)


def _way(pair: Pair) -> str | None:
    """Which step goes: "first" or "second", or "reshape" where the two become one; None where neither can."""
    first, second = pair.first, pair.second
    if of_numpy(source_of(first)):
        return None
    if pair.literal is not None:
        return "second" if flattens(first) and flattens(second) else None
    if first.kind == _CONTIGUOUS:
        node = first.node
        if not isinstance(node, ast.Call) or node.args or node.keywords or _sizes(second) is None:
            return None
        return "reshape" if second.kind == _VIEW else "first"
    if _is_flat(first) and _keeps_flat(pair):
        return "second"
    if not _rests_on_itself_alone(pair):
        return None
    return "reshape" if first.kind != _VIEW and second.kind == _VIEW else "first"


def _sizes(step: Step) -> list[ast.expr] | None:
    """The sizes that a view or reshape is given; none for a flatten; None where they may be something else."""
    node = step.node
    if step.kind in ("flatten", _LAYER):
        return []
    if not isinstance(node, ast.Call) or node.keywords:
        return None
    given = node.args if is_method(step) else node.args[1:]
    if len(given) == 1:
        listed = elements(given[0])
        if listed is not None:
            return listed
        product = isinstance(given[0], ast.BinOp) and isinstance(given[0].op, ast.Mult)
        return list(given) if integer(given[0]) is not None or product else None
    return list(given) if given and not any(isinstance(one, ast.Starred) for one in given) else None


def flattens(step: Step) -> bool:
    """Whether a step flattens everything behind the first dimension."""
    given = step.arguments(("start_dim", "end_dim"), ("start_dim", "end_dim"))
    if step.kind not in ("flatten", _LAYER) or given is None:
        return False
    start = 1 if step.kind == _LAYER else 0
    return _is(given.get("start_dim"), start, 1) and _is(given.get("end_dim"), -1, -1)


def _is(node: ast.expr | None, default: int, wanted: int) -> bool:
    return (default if node is None else integer(node)) == wanted


def _is_flat(step: Step) -> bool:
    """Whether the result has exactly two dimensions."""
    sizes = _sizes(step)
    return flattens(step) or (step.kind in (_VIEW, "reshape") and sizes is not None and len(sizes) == 2)


def _keeps_flat(pair: Pair) -> bool:
    """Whether the second step leaves a result of two dimensions as it is."""
    if flattens(pair.second):
        return True
    if pair.second.kind not in (_VIEW, "reshape"):
        return False
    sizes = values_of(pair.second)
    if sizes is None or len(sizes) != 2 or sizes[1].constant != -1:
        return False
    first = pair.first.value
    if is_first_size(sizes[0], first):
        return True
    before = values_of(pair.first)
    if pair.first.kind in (_VIEW, "reshape"):
        return before is not None and len(before) == 2 and before[0] is sizes[0]
    return is_first_size(sizes[0], source_of(pair.first))


def values_of(step: Step) -> list[Value] | None:
    """The sizes that a view or reshape is given, as values."""
    value = step.value
    if value is None or value.keywords:
        return None
    given = list(value.inputs[1:])
    if len(given) == 1 and given[0].kind == "container":
        given = list(given[0].inputs)
    return None if any(one.kind == "starred" for one in given) else given


def is_first_size(size: Value, of: Value | None) -> bool:
    """Whether a value is the first size of another: `x.size(0)`, `x.shape[0]`, `B` of `B, T = x.shape`."""
    return is_size(size, of, 0)


def is_size(size: Value, of: Value | None, dim: int) -> bool:
    """Whether a value is the size of another one along `dim`, as `is_first_size`."""
    if of is None:
        return False
    if size.kind == "metadata" and len(size.inputs) == 2:
        return size.inputs[0] is of and size.inputs[1].constant == dim and _calls(size, "size")
    if size.kind == "getitem" and len(size.inputs) == 2 and size.inputs[1].constant == dim:
        return _is_shape(size.inputs[0], of)
    if size.kind == "unpack" and size.index == dim and size.inputs:
        around = ast.walk(size.statement) if size.statement is not None else ()
        starred = size.inputs[0].kind == "starred" or (dim > 0 and any(isinstance(one, ast.Starred) for one in around))
        return not starred and _is_shape(size.inputs[0], of)
    return False


def _is_shape(value: Value, of: Value) -> bool:
    if value.kind == "attribute":
        return isinstance(value.node, ast.Attribute) and value.node.attr == "shape" and value.inputs[0] is of
    return value.kind == "metadata" and len(value.inputs) == 1 and value.inputs[0] is of and _calls(value, "size")


def _calls(value: Value, name: str) -> bool:
    node = value.node
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def _keeps_first_size(step: Step) -> bool:
    """Whether the first size of the result is that of the input."""
    if flattens(step):
        return True
    sizes = values_of(step) if step.kind in (_VIEW, "reshape") else None
    return sizes is not None and len(sizes) > 0 and is_first_size(sizes[0], source_of(step))


def _rests_on_itself_alone(pair: Pair) -> bool:
    """Whether the second step gives its result the same shape if the first is left out."""
    first, second = pair.first, pair.second
    if _sizes(first) is None or _sizes(second) is None or first.value is None or pair.graph is None:
        return False
    asked = [use for use in first.value.uses if use.how is Consumption.METADATA]
    if asked:
        values = values_of(second) or []
        of_first = [one for one in values if is_first_size(one, first.value)]
        if len(of_first) != len(asked) or not _keeps_first_size(first):
            return False
    if second.kind in (_VIEW, "reshape"):
        return True
    given = second.arguments(("start_dim", "end_dim"), ("start_dim", "end_dim"))
    if second.kind == "flatten" and given == {}:
        return True
    source = source_of(first)
    if not flattens(second) or source is None or not _keeps_first_size(first):
        return False
    return rank_of(pair.graph, source).least >= 2


def _layout(module: Module, pair: Pair, way: str) -> Refusal | None:
    """What was a copy may be a view afterwards."""
    value = pair.second.value
    assert value is not None
    assert pair.graph is not None
    if way == "first" and pair.first.kind == _VIEW:
        return None
    refusal = needs_contiguous(module, pair.scope, pair.graph, value, None, Lies.ANYHOW, "reshape")
    return refusal or _handed_on(module, pair, value) or _shared(module, pair, value)


def _shared(module: Module, pair: Pair, value: Value) -> Refusal | None:
    """Who may write to the memory that the result now shares with what the first step works on."""
    source, graph = source_of(pair.first), pair.graph
    assert source is not None
    assert graph is not None
    refusal = input_written(module, pair) or result_written(module, pair.scope, graph, value)
    at = Place(pair.scope.statement, pair.second.node)
    if refusal is None and pair.first.kind == _CONTIGUOUS and _is_handed_out(value) and not _surely_copies(pair):
        refusal = Refusal("the result leaves the function, and might not be contiguous any more", at)
    if refusal is not None or not leaves(module, value):
        return refusal
    if works_in_place(module):
        return Refusal("a copy would become a view that leaves the function, in a file that works in place", at)
    if _is_kept(pair, graph, source):
        return Refusal("a copy would become a view of what is kept elsewhere too", at)
    return None


_UNSEEN = frozenset({"call", "instance", "opaque"})


def _is_handed_out(value: Value) -> bool:
    """Whether a value, or a view of it, leaves the function, or goes to a call of which nothing is known."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if one.order in seen:
            continue
        seen.add(one.order)
        for use in one.uses:
            if use.how in (Consumption.RETURNED, Consumption.STORED, Consumption.CAPTURED):
                return True
            if use.by is None:
                continue
            layer = use.by.layer
            if use.by.kind in _UNSEEN and (layer is None or layer.kind is None or not is_torch_layer(layer.kind)):
                return True
            if value.order in use.by.roots:
                waiting.append(use.by)
    return False


def _surely_copies(pair: Pair) -> bool:
    """Whether the last shape merges dimensions that a permutation put beside each other: no view can do that.

    So many dimensions become so few that more pairs of neighbours are merged than were neighbours before, or the first
    ones are seen to stay, and all the others are merged.
    """
    permuted, graph = source_of(pair.first), pair.graph
    if permuted is None or graph is None or not isinstance(permuted.node, ast.Call | ast.Attribute):
        return False
    given = dimensions_of(step_of(permuted, pair.scope)) if permuted.inputs else None
    if given is None:
        return False
    source = permuted.inputs[0]
    rank = rank_of(graph, source)
    least = max([rank.least, *(one + 1 if one >= 0 else -one for one in given[1])])
    ranks = [len(given[1])] if given[0] == "permute" else [rank.exact] if rank.exact else range(least, least + 4)
    return all(_merges(pair, order, source) for count in ranks if (order := order_of(given, count)) is not None)


def _merges(pair: Pair, order: list[int], source: Value) -> bool:
    second = pair.second
    if second.kind in ("flatten", _LAYER):
        sizes = 2 if flattens(second) else 1 if second.arguments((), ()) == {} else None
        if sizes is None:
            return False
        values: list[Value] = []
    else:
        values = values_of(second) or []
        sizes = len(values)
    neighbours = sum(one + 1 == other for one, other in pairwise(order))
    if not sizes or len(order) - sizes > neighbours:
        return bool(sizes)
    stay = 0
    while stay < min(len(values), len(order)) and is_size(values[stay], source, order[stay]):
        stay += 1
    rest = order[stay:]
    return len(values) == stay + 1 < len(order) and any(one + 1 != other for one, other in pairwise(rest))


def _is_kept(pair: Pair, graph: Graph, source: Value) -> bool:
    """Whether what the first step works on leaves the function other than through it."""
    assert pair.first.value is not None
    memory, through = source.roots - {EXTERNAL, ANYTHING}, pair.first.value.order
    if any(root < 0 for root in memory) or source.kind == "global":
        return True  # an attribute
    held = [one for one in graph.values if one.roots & memory and through not in one.roots]
    seen: set[int] = set()
    while held:
        one = held.pop()
        if one.order in seen:
            continue
        seen.add(one.order)
        for use in one.uses:
            if use.how in (Consumption.RETURNED, Consumption.STORED, Consumption.CAPTURED):
                return True
            if use.by is not None and use.by.kind in ("container", "starred", "joined", "opaque"):
                held.append(use.by)
    return False


def _handed_on(module: Module, pair: Pair, value: Value) -> Refusal | None:
    """A function of another file may want contiguous memory, a kernel above all."""
    for use in value.uses:
        func = use.by.node.func if use.by is not None and isinstance(use.by.node, ast.Call) else None
        if use.by is None or use.by.kind != "call" or func is None or use.by.layer is not None:
            continue
        # What hangs on `self` is a module or a method; a function of the file is followed.
        path = dotted(func)
        binding = module.names.bindings.get(path or "")
        if path is None or not (path.startswith("self.") or (binding is not None and binding.local is not None)):
            called = " ".join(pair.scope.statement.source(func).split())[:60]
            return Refusal(
                f"it is handed to `{called}`, which may need contiguous memory", Place(pair.scope.statement, func)
            )
    return None
