"""`F.one_hot(i, n)` and the conversions behind it: whether they may go where only the index is asked for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fuselight.fusions import sizes
from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.fusions.writes import source_written_behind
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import argument
from fuselight.graph.values import Graph, Value
from fuselight.source.names import bound_names

_TO_DTYPE = frozenset({"method float", "method double", "method half", "method bfloat16", "method long", "method int"})
_CONVERSIONS = _TO_DTYPE | {"method to", "method type", "method type_as"}
_UNSEEN = frozenset({"call", "opaque", "instance"})
"""Kinds of which nothing is known."""
_TIGHT = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)


@dataclass(frozen=True, slots=True, eq=False)
class OneHot:
    """The rows of `F.one_hot(i, n)`, converted to the dtype in which something is multiplied by them."""

    index: Value
    node: ast.expr
    """Where the index stands."""
    classes: ast.expr
    inner: tuple[Value, ...]
    """The conversions, the last first, and the call."""
    dropped: tuple[ast.expr, ...]
    """The further arguments, which nobody evaluates once the rows are gone."""
    device: str | None
    """What the rows are moved to, as source."""

    def argument(self, scope: Scope) -> str:
        """The index as source, on the device of the rows."""
        text = sizes.source(scope.statement, self.node)
        if self.device is None:
            return text
        return f"{text if isinstance(self.node, _TIGHT) else f'({text})'}.to({self.device})"


def one_hot_of(scope: Scope, graph: Graph, value: Value) -> OneHot | Refusal | None:
    """The one-hot rows that `value` is; None where it is something else."""
    inner: list[Value] = []
    devices: list[str] = []
    dropped: list[ast.expr] = []
    unknown: Value | None = None
    while value.kind in _CONVERSIONS and value.inputs:
        inner.append(value)
        found = _devices(scope, value)
        if found is None:
            unknown = value
        else:
            devices += found
        assert isinstance(value.node, ast.Call)
        dropped += [*value.node.args, *(keyword.value for keyword in value.node.keywords)]
        value = value.inputs[0]
    if value.kind != "one_hot" or not isinstance(value.node, ast.Call):
        return None
    inner.append(value)
    place = Place(scope.statement, value.node)
    index, classes = argument(value, 0, "input"), argument(value, 1, "num_classes")
    node, count = _given(value.node, 0, "input"), _given(value.node, 1, "num_classes")
    if index is None or node is None or any(isinstance(one, ast.Starred) for one in value.node.args):
        return Refusal("the arguments of `one_hot` are not written out", place)
    if classes is None or count is None or classes.constant == -1:
        return Refusal("the number of classes is read off the indices", place)
    if unknown is not None and unknown.node is not None:
        source = sizes.source(scope.statement, unknown.node)
        return Refusal(f"it is not known what `{source[-60:]}` converts to", Place(scope.statement, unknown.node))
    if len(devices) > 1:
        return Refusal("the rows are moved from device to device", place)
    dropped.append(count)
    seen = {inside for one in dropped for inside in ast.walk(one)}
    if any(one.kind in _UNSEEN and one.node in seen for one in graph.values):
        return Refusal("the number of classes, or the dtype, is worked out by a call", place)
    return OneHot(index, node, count, tuple(inner), tuple(dropped), devices[0] if devices else None)


def _given(call: ast.Call, position: int, name: str) -> ast.expr | None:
    if len(call.args) > position:
        return call.args[position]
    return next((one.value for one in call.keywords if one.arg == name), None)


def _devices(scope: Scope, value: Value) -> list[str] | None:
    """The devices that a conversion moves its tensor to, as source; None where the source does not tell."""
    call = value.node
    if not isinstance(call, ast.Call):
        return None
    if value.kind in _TO_DTYPE:
        return [] if not call.args and not call.keywords else None
    if value.kind == "method type_as":
        if len(call.args) != 1 or not isinstance(call.args[0], _TIGHT):
            return None
        return [f"{sizes.source(scope.statement, call.args[0])}.device"]
    found: list[str] = []
    for node, one in zip(call.args, value.inputs[1:], strict=False):
        what = _sort_of(node, one)
        if what is None or (what == "device" and value.kind == "method type"):
            return None
        found += [sizes.source(scope.statement, node)] if what == "device" else []
    for keyword in call.keywords:
        if keyword.arg == "device":
            found.append(sizes.source(scope.statement, keyword.value))
        elif keyword.arg not in ("dtype", "non_blocking"):
            return None
    return found


def _sort_of(node: ast.expr, value: Value) -> str | None:
    """Whether an argument of `.to` is a dtype or a device, as far as its spelling tells."""
    if value.kind == "torch.device":
        return "device"
    if isinstance(value.constant, str):
        return "device" if not value.constant.startswith("torch.") else None
    if value.path is not None and value.path.startswith("torch."):
        return "dtype" if not value.path.endswith("Tensor") else None
    last = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    for what in ("dtype", "device"):
        if last == what or last.endswith(f"_{what}"):
            return what
    return None


def runs_under_autocast(module: Module) -> bool:
    """Whether the file multiplies in a lower precision than its tensors have."""
    return module.mentions.has_word("autocast", "amp", "custom_fwd")


def held_by(module: Module, scope: Scope, graph: Graph, root: Value, rows: OneHot) -> tuple[ast.stmt, ...] | Refusal:
    """The statements that hold the rows and nothing else, which may go: the index means the same where the root is."""
    statement = scope.statement
    assert root.node is not None
    at = Place(statement, root.node)
    for node in (*ast.walk(root.node), *(inside for one in rows.dropped for inside in ast.walk(one))):
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return Refusal("a name is bound inside the expression", at)
    held: list[ast.stmt] = []
    for value in rows.inner:
        assert value.node is not None
        place = Place(statement, value.node)
        label = f"`{sizes.source(statement, value.node)[:60]}`"
        if len(value.uses) != 1 or value.reads > 1:
            return Refusal(f"{label} is used again", place)
        if value.block is not root.block:
            return Refusal("the one-hot rows are made in another branch or loop", place)
        holder = value.binding
        if value.statement is root.statement or holder is None:
            continue
        if not scope.name or holder not in root.block.statements:
            return Refusal(f"{label} is not in a variable of its own", place)
        if not statement.stands_alone(holder):
            return Refusal(f"{label} shares its line with another statement", place)
        held.append(holder)
    if any(value.statement is not root.statement and value.statement not in held for value in rows.inner):
        return Refusal("the one-hot rows are not in a variable of their own", at)
    start = rows.inner[-1].order
    if graph.exits_between(start, root.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    write = graph.written_between(rows.index, start - 1, root.order)
    if write is not None:
        node = write.node if isinstance(write.node, ast.expr | ast.stmt) else root.node
        return Refusal("the index may be changed in between", Place(statement, node))
    behind = source_written_behind(module, scope, graph, rows.index, root, "the index")
    if behind is not None:
        return behind
    if held:
        return _moved(scope, graph, root, rows, held) or tuple(held)
    return ()


def _moved(scope: Scope, graph: Graph, root: Value, rows: OneHot, held: Sequence[ast.stmt]) -> Refusal | None:
    """Why the index may not be evaluated where the root stands."""
    statement, block = scope.statement, root.block.statements
    place = Place(statement, rows.node)
    if root.statement is None or root.statement not in block:
        return Refusal("the one-hot rows are made in another branch or loop", place)
    if not isinstance(root.statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return):
        return Refusal("the product stands in the head of a compound statement", place)
    first, last = min(block.index(one) for one in held), block.index(root.statement)
    made = rows.inner[-1].statement
    device = [ast.parse(rows.device, mode="eval").body] if rows.device is not None else []
    read = {name for node in (rows.node, *device) for name in sizes.names_in(node)}
    for one in block[first:last]:
        # What is removed binds nothing any more; but what `i = F.one_hot(i, 10)` is followed by means another `i`.
        for name in _bound(one) if one not in held else ():
            if name in read:
                return Refusal(f"`{name}` is another value where the product is", place)
    if device and made is not root.statement and any(name in read for one in held for name in _bound(one)):
        return Refusal("the device is another one where the product is", place)
    inside = set(ast.walk(rows.node))
    for value in graph.values:
        if value.node not in inside:
            continue
        known = value.kind not in _UNSEEN and not value.kind.startswith(("torch.", "in-place ")) and value.layer is None
        if not known or value.kind == "dropout":
            return Refusal("the index is worked out by a call, and not at hand where the product is", place)
        if value.kind in ("attribute", "getitem") and graph.written_between(value, value.order, root.order) is not None:
            return Refusal("the index may be changed in between", place)
    return None


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Every name that a statement binds, at any depth."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield from bound_names(node)
        for name in (getattr(node, "name", None), getattr(node, "asname", None), getattr(node, "rest", None)):
            if isinstance(name, str):
                yield name
