"""Heads of keys and values that are repeated for groups of queries: `repeat_interleave`, `expand` and `reshape`."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from fuselight.fusions.extents import Extents
from fuselight.fusions.matching import Matcher, Operand, operands_of
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import argument, rank_of
from fuselight.graph.values import Consumption, Graph, Value

_MOST_HELPERS = 2
"""How many functions of the file may stand in each other, as helpers of helpers."""


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """A tensor (..., H * count, S, E) that repeats each head of another one (..., H, S, E), one beside the other.

    Attributes:
        source: The tensor with fewer heads.
        count: How often each is repeated.
        inner: What computes the repetition.
        assumed: What the source does not show.
        numbers: What was computed for it alone: sizes.
    """

    source: Operand
    count: Value | int
    inner: tuple[Value, ...]
    numbers: tuple[Value, ...] = ()
    assumed: tuple[str, ...] = ()

    def is_like(self, other: Repeat, matcher: Matcher) -> bool:
        """Whether both repeat each head as often."""
        if isinstance(self.count, Value) and isinstance(other.count, Value):
            return matcher.is_same(self.count, other.count)
        return self.count == other.count


def repeated(
    module: Module, scope: Scope, graph: Graph, matcher: Matcher, operand: Operand, depth: int = _MOST_HELPERS
) -> Repeat | None:
    """`operand` as heads that are repeated, along the third axis from the end; None where it is none."""
    value = operand.value
    if len(value.uses) != 1:
        return None
    if value.kind in ("method repeat_interleave", "torch.repeat_interleave"):
        return _interleaved(graph, value)
    if value.kind in ("reshape", "method view", "flatten"):
        return _expanded(graph, matcher, value)
    if value.kind == "einops.repeat":
        return _by_pattern(value)
    if value.kind == "call" and depth > 0:
        return _by_helper(module, scope, value, depth)
    if value.kind == "method contiguous":
        inner = repeated(module, scope, graph, matcher, operands_of(value)[0], depth)
        return replace(inner, inner=(value, *inner.inner)) if inner is not None else None
    return None


def _counted(value: Value | None) -> Value | int | None:
    if value is None:
        return None
    return value.constant if type(value.constant) is int else value


def _is_one_number(value: Value) -> bool:
    """Whether a count is no tensor of counts."""
    if value.kind in ("attribute", "parameter", "global", "metadata", "operator", "builtin", "getitem", "unpack"):
        return True
    return value.kind in ("div", "mul")


def _interleaved(graph: Graph, value: Value) -> Repeat | None:
    count = _counted(argument(value, 1, "repeats"))
    dim = argument(value, 2, "dim")
    if count is None or dim is None or "output_size" in value.keywords:
        return None
    rank = rank_of(graph, value)
    # Counted from the front, it is the axis of the heads where there are two behind it.
    number = dim.constant if type(dim.constant) is int else None
    rank_wanted = number + 3 if number is not None and number >= 0 else None
    fits = rank_wanted is not None and rank.least <= rank_wanted and (rank.most is None or rank.most == rank_wanted)
    shown = number == 1 or rank.exact is not None
    if not (number == -3 or (fits and shown)) or (isinstance(count, Value) and not _is_one_number(count)):
        return None
    assumed = () if number == -3 or rank.exact is not None else (f"keys and values have {rank_wanted} dimensions",)
    return Repeat(operands_of(value)[0], count, (value,), tuple(value.inputs[1:]), assumed)


def _expanded(graph: Graph, matcher: Matcher, value: Value) -> Repeat | None:
    """`x[:, :, None].expand(b, h, n, s, d).reshape(b, h * n, s, d)`."""
    wide = value.inputs[0] if value.inputs else None
    if wide is None or wide.kind not in ("method expand", "broadcast_to") or len(wide.consumers) != 1:
        return None
    called = matcher.called(wide.inputs[0])
    if called is None or called.kind != "unsqueeze" or len(wide.inputs[0].consumers) != 1:
        return None
    dim = called.arguments["dim"].value.constant
    sizes, source = _sizes(wide), called.arguments["input"]
    if len(sizes) != 5 or dim not in (2, -3):
        return None
    if dim == 2 and rank_of(graph, source.value).exact not in (None, 4):
        return None
    count = _counted(sizes[2])
    if value.kind == "flatten":
        start, end = argument(value, 1, "start_dim"), argument(value, 2, "end_dim")
        joined = start is not None and end is not None and (start.constant, end.constant) in ((1, 2), (-4, -3))
    else:
        joined = _joins(Extents(graph, matcher), source.value, sizes, _sizes(value))
    if count is None or count == -1 or not joined:
        return None
    assumed = (_ALIKE,) if any(one.constant == -1 for one in sizes) else ()
    inner = (value, wide, wide.inputs[0])
    numbers = (*value.inputs[1:], *wide.inputs[1:], *wide.inputs[0].inputs[1:])
    return Repeat(source, count, inner, tuple(numbers), assumed)


_ALIKE = "keys and values are of one shape"


def _sizes(value: Value) -> tuple[Value, ...]:
    given = value.inputs[1:]
    return given[0].inputs if len(given) == 1 and given[0].kind == "container" else given


def _joins(extents: Extents, source: Value, before: tuple[Value, ...], after: tuple[Value, ...]) -> bool:
    """Whether five sizes become four, of which the second is two of them together."""
    if len(after) != 4 or sum(one.constant == -1 for one in after) > 1:
        return False
    # The sizes that stay, each with its axis of the source.
    pairs = ((before[0], after[0], -4), (before[3], after[2], -2), (before[4], after[3], -1))
    told = [(one, extents.of_size(other), axis) for one, other, axis in pairs if other.constant != -1]
    for one, size, axis in told:
        if one.constant != -1:
            if not extents.same(extents.of_size(one), size):
                return False
        elif not extents.same(extents.of(source, axis), size) and size.axis != axis:
            return False  # not its own size, nor the one along that axis of another tensor
    return len(told) >= 2


def _by_pattern(value: Value) -> Repeat | None:
    """`repeat(k, "b h n d -> b (h g) n d", g=groups)`, of einops."""
    pattern = argument(value, 1, "pattern")
    text = pattern.constant if pattern is not None else None
    if not isinstance(text, str) or text.count("->") != 1:
        return None
    left, right = (side.split() for side in text.replace("(", " ( ").replace(")", " ) ").split("->"))
    if len(left) < 3 or "(" in left or len(set(left)) != len(left):
        return None
    group = ["(", left[-3], *(one for one in right if one in value.keywords), ")"]
    if len(group) != 4 or right != [*left[:-3], *group, *left[-2:]]:
        return None
    count = _counted(value.keywords[group[2]])
    if count is None or value.keywords.keys() - {group[2], "pattern"}:
        return None
    return Repeat(operands_of(value)[0], count, (value,), tuple(value.keywords.values()))


def _by_helper(module: Module, scope: Scope, value: Value, depth: int) -> Repeat | None:
    """A call of a function of the file that does so to its first argument, as often as its second one says."""
    node = value.node
    if not isinstance(node, ast.Call) or node.keywords or len(node.args) != 2:
        return None
    helper = _helper(module, scope, node.func)
    if helper is None:
        return None
    graph = module.graph(helper)
    if graph.opaque is not None or graph.writes:
        return None
    names = [one.arg for one in helper.function.args.args]
    names = names[1:] if helper.owner is not None and names[:1] == ["self"] else names
    if len(names) != 2:
        return None
    count = _returned(module, helper, graph, names, depth)
    if count is None:
        return None
    given = dict(zip(names, _arguments(value, node), strict=True))
    counted = count if isinstance(count, int) else _counted(given[names[1]].value)
    if counted is None:
        return None
    return Repeat(given[names[0]], counted, (value,), (given[names[1]].value,))


def _arguments(value: Value, call: ast.Call) -> list[Operand]:
    """The positional arguments of an unknown call, of which `value` has the callee first where it is a plain name."""
    given = value.inputs[len(value.inputs) - len(call.args) :]
    return [Operand(one, at) for one, at in zip(given, call.args, strict=True)]


def _helper(module: Module, scope: Scope, func: ast.expr) -> Scope | None:
    if isinstance(func, ast.Name):
        binding = module.names.bindings.get(func.id)
        if binding is None or not isinstance(binding.local, Function):
            return None
        wanted: Function | None = binding.local
    elif isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and scope.owner is not None:
        if func.value.id != "self" or len(scope.owner.family) > 1:
            return None
        wanted = scope.owner.methods.get(func.attr)
    else:
        return None
    if wanted is None or any(ast.unparse(one) != "staticmethod" for one in wanted.decorator_list):
        return None
    home = module.home_of(wanted) or scope.statement
    return next((one for one in module.scopes(home) if one.function is wanted), None)


def _returned(module: Module, helper: Scope, graph: Graph, names: list[str], depth: int) -> int | str | None:
    """How often what the helper returns repeats its first parameter: a number, or the name of its second one."""
    matcher = Matcher(module, helper.owner, graph)
    found: set[int | str] = set()
    for value in graph.values:
        for use in value.uses:
            if use.how is not Consumption.RETURNED:
                continue
            if value.kind == "parameter" and value.path == names[0]:
                if not _is_for_one(helper.function, use.node, names[1]):
                    return None
                continue
            repeat = repeated(module, helper, graph, matcher, Operand(value, value.node), depth - 1)
            if repeat is None or repeat.source.value.path != names[0] or repeat.source.value.kind != "parameter":
                return None
            if isinstance(repeat.count, int):
                found.add(repeat.count)
            elif repeat.count.kind == "parameter" and repeat.count.path == names[1]:
                found.add(names[1])
            else:
                return None
    return found.pop() if len(found) == 1 else None


def _is_for_one(function: Function, returned: ast.AST | None, count: str) -> bool:
    """Whether a `return` stands under `if <count> == 1`."""
    for node in ast.walk(function):
        if isinstance(node, ast.If) and returned in node.body:
            return ast.unparse(node.test) in (f"{count} == 1", f"{count} <= 1", f"1 == {count}")
    return False


__all__ = ["Repeat", "repeated"]
