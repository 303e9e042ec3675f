"""Would a value's consumers notice that it is a slice of a larger tensor? A split yields views of one memory."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TypeGuard

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module
from fuselight.graph.values import Consumption, Graph, Value

_SAME_MEMORY = (
    "torch.nn.Identity",
    "dropout",
    "method to",
    "method float",
    "method half",
    "method type",
    "method type_as",
    "joined",
)


_NEEDS_STRIDES = ("torch.view_as_complex", "torch.as_strided")
_STRIDES = frozenset(
    "view_as as_strided stride is_contiguous storage_offset data_ptr storage untyped_storage set_".split()
)


def needs_contiguous(module: Module, graph: Graph, value: Value, width: ast.expr | None) -> Refusal | None:
    """Why `value`, the output of a linear layer of `width` features, must stay a tensor of its own.

    A slice along the last dimension can be viewed with that dimension split (`view(B, T, heads, -1)`), but not with it
    merged into the ones before (`view(B, -1)`); and autograd lets nobody write in place to an output of a split.
    """
    statement = graph.statement
    label = value.layer.attribute if value.layer is not None else "it"
    for write in graph.writes:
        if write.sure and write.roots & value.roots:
            at = write.node if isinstance(write.node, ast.expr | ast.stmt) else None
            return Refusal(
                f"the output of `{label}` is written to in place", Place(statement, at) if at is not None else None
            )
    text = ast.unparse(width) if width is not None else ""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if one.order in seen:
            continue
        seen.add(one.order)
        for use in one.uses:
            by = use.by
            if use.how is Consumption.METADATA and _asks_for_strides(use.node):
                return _viewed(graph, use.node, label)
            if use.how is Consumption.CAPTURED or (by is None and use.how is Consumption.INPUT):
                refusal = _captured(graph, use.node, label)
                if refusal is not None:
                    return refusal
            if by is None or by.order == one.order:
                continue
            if by.kind == "container" or by.kind in _SAME_MEMORY or "Dropout" in by.kind:
                waiting.append(by)
            elif by.kind in _NEEDS_STRIDES or (isinstance(by.node, ast.Call) and _asks_for_strides(by.node)):
                return _viewed(graph, by.node, label)
            elif by.kind == "method view" and by.inputs[0] is one:
                if not _keeps_last(by, text):
                    return _viewed(graph, by.node, label)
            elif by.kind == "call" and by.node is not None:
                refusal = _own_function(module, graph, by, one, label)
                if refusal is not None:
                    return refusal
    return None


def _asks_for_strides(node: ast.AST | None) -> bool:
    """Whether a call sees how its tensor lies in memory."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _STRIDES


def _viewed(graph: Graph, node: ast.AST | None, label: str) -> Refusal:
    at = Place(graph.statement, node) if isinstance(node, ast.expr | ast.stmt) else None
    return Refusal(f"the output of `{label}` is viewed in a way that may need contiguous memory", at)


def _keeps_last(view: Value, width: str) -> bool:
    """Whether a `.view(...)` leaves the last dimension whole or splits it."""
    node = view.node
    assert isinstance(node, ast.Call)
    arguments = node.args
    sizes = list(view.inputs[1:])
    if len(arguments) == 1 and len(sizes) == 1:
        shape = sizes[0]
        if shape.kind == "starred":
            shape = shape.inputs[0]
        if shape.kind == "container" and isinstance(shape.node, ast.Tuple | ast.List):
            arguments, sizes = shape.node.elts, list(shape.inputs)
        else:
            return shape.kind == "add" and _is_leading_shape(shape.inputs[0])
    if not arguments:
        return False
    if isinstance(arguments[0], ast.Starred):
        leading = sizes[0].inputs[0] if sizes[0].inputs else sizes[0]
        return _is_leading_shape(leading)
    by_node = dict(zip(arguments, sizes, strict=False))
    return _splits_last(arguments, width, lambda argument: argument in by_node and _is_size(by_node[argument]))


def _splits_last(arguments: list[ast.expr], width: str, is_size: Callable[[ast.expr], bool]) -> bool:
    """Whether `view(*arguments)` of a (..., width) tensor keeps or splits its last dimension.

    `is_size` tells arguments that are sizes of some tensor, as a batch size or a length is.
    """
    last = ast.unparse(arguments[-1])
    if len(arguments) == 1:
        return False
    if last == width:
        return True
    if len(arguments) == 2:
        return False
    if len(arguments) == 3:
        return last == "-1" and is_size(arguments[0]) and is_size(arguments[1])
    return is_size(arguments[1]) or ast.unparse(arguments[1]) == "-1"


def _is_size(value: Value) -> bool:
    """Whether a value is one size of a tensor: `x.size(1)`, `x.shape[1]`, a part of `B, T, C = x.shape`."""
    if value.kind == "metadata":
        return True
    if value.kind in ("getitem", "unpack") and value.inputs:
        return _is_shape(value.inputs[0])
    return False


def _is_shape(value: Value) -> bool:
    if value.kind == "metadata":
        return True
    return value.kind == "attribute" and value.node is not None and getattr(value.node, "attr", "") == "shape"


def _is_leading_shape(value: Value) -> bool:
    """Whether a value is the shape of a tensor without its last dimension: `x.shape[:-1]`, `x.size()[:-1]`."""
    if value.kind == "starred" and value.inputs:
        return _is_leading_shape(value.inputs[0])
    if value.kind != "getitem" or not isinstance(value.node, ast.Subscript) or not _is_shape(value.inputs[0]):
        return False
    return ast.unparse(value.node.slice) in (":-1", "0:-1")


def _captured(graph: Graph, node: ast.AST | None, label: str) -> Refusal | None:
    """A comprehension or nested function that gets the value: every view in it must split the last dimension."""
    scope = node
    if isinstance(node, ast.Name):
        scope = next(
            (
                outer
                for outer in ast.walk(graph.function)
                if isinstance(
                    outer, ast.Lambda | ast.FunctionDef | ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp
                )
                and outer is not graph.function
                and any(inner is node for inner in ast.walk(outer))
            ),
            None,
        )
    if scope is None:
        return None
    for inner in ast.walk(scope):
        if _is_view(inner) and (len(inner.args) < 4 or any(isinstance(one, ast.Starred) for one in inner.args)):
            return _viewed(graph, inner, label)
    return None


def _is_view(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("view", "view_as")


def _own_function(module: Module, graph: Graph, by: Value, one: Value, label: str) -> Refusal | None:
    """A method or function of the file that gets the value: what it does to that parameter."""
    node = by.node
    if not isinstance(node, ast.Call):
        return None
    function, skipped = _callee(module, graph, node.func)
    if function is None:
        return None
    given = [*by.inputs[1:], *by.keywords.values()] if isinstance(node.func, ast.Name) else list(by.inputs)
    position = next((number for number, value in enumerate(given) if value is one), None)
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)][skipped:]
    if position is None:
        return None
    if position < len(node.args) and any(isinstance(argument, ast.Starred) for argument in node.args):
        return _viewed(graph, node, label)
    if position >= len(node.args):
        names = [keyword.arg or "" for keyword in node.keywords]
        position -= len(node.args)
    if position >= len(names):
        return _viewed(graph, node, label)
    for inner in ast.walk(function):
        if not (isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute)):
            continue
        receiver = inner.func.value
        if not (isinstance(receiver, ast.Name) and receiver.id == names[position]):
            continue
        if inner.func.attr.endswith("_") and not inner.func.attr.endswith("__"):
            return Refusal(f"the output of `{label}` is written to in place by `{function.name}`")
        if _asks_for_strides(inner):
            return _viewed(graph, node, label)
        if inner.func.attr == "view" and not (len(inner.args) >= 4 or _named_shape(function, inner)):
            return _viewed(graph, node, label)
    return None


def _callee(module: Module, graph: Graph, func: ast.expr) -> tuple[Function | None, int]:
    """The function of the file that `func` names, and how many of its parameters a call does not give."""
    if isinstance(func, ast.Name):
        for inner in ast.walk(graph.function):
            if isinstance(inner, Function) and inner is not graph.function and inner.name == func.id:
                return inner, 0
        binding = module.names.bindings.get(func.id)
        if binding is not None and isinstance(binding.local, Function) and func.id not in graph.local:
            return binding.local, 0
        return None, 0
    if graph.owner is None or not (isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name)):
        return None, 0
    if func.value.id != "self":
        return None, 0
    for member in (graph.owner, *graph.owner.ancestors):
        method = member.methods.get(func.attr)
        if method is not None:
            static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in method.decorator_list)
            return method, 0 if static else 1
    return None, 0


def _named_shape(method: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call) -> bool:
    """`shape = x.size()[:-1] + (heads, -1)`, then `x.view(shape)` or `x.view(*shape)`."""
    if len(call.args) != 1:
        return False
    argument = call.args[0]
    if isinstance(argument, ast.Starred):
        argument = argument.value
    if isinstance(argument, ast.Name):
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == argument.id for target in node.targets
            ):
                argument = node.value
                break
    text = ast.unparse(argument)
    return text.startswith(("x.size()[:-1] +", "x.shape[:-1] +")) or any(
        f".{shape}[:-1] +" in text for shape in ("size()", "shape")
    )
