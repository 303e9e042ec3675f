"""Sizes in a source: the arguments of a layer's constructor by name, and arithmetic with them that stays readable."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from fuselight.graph.classes import ClassInfo, Layer, local_names
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module
from fuselight.graph.ranks import literal_number
from fuselight.source.statements import Statement

LINEAR = ("in_features", "out_features", "bias", "device", "dtype")
"""The positional parameters of `torch.nn.Linear`, torch 2.13."""

_PURE_CALLS = frozenset({"int", "len", "max", "min", "round", "sum", "abs", "getattr"})


def arguments(call: ast.Call, parameters: Sequence[str]) -> dict[str, ast.expr] | None:
    """The arguments of `call` by their names; None where they are not those of `parameters`."""
    if len(call.args) > len(parameters) or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    found: dict[str, ast.expr] = dict(zip(parameters, call.args, strict=False))
    for given in call.keywords:
        if given.arg is None or given.arg not in parameters or given.arg in found:
            return None
        found[given.arg] = given.value
    return found


def has_bias(given: dict[str, ast.expr]) -> bool | None:
    """Whether a layer has a bias; None where the source does not tell."""
    node = given.get("bias")
    if node is None:
        return True
    return bool(node.value) if isinstance(node, ast.Constant) else None


def is_pure(node: ast.expr) -> bool:
    """Whether evaluating an argument twice, or once in place of many times, changes nothing."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            name = inner.func.id if isinstance(inner.func, ast.Name) else None
            if name not in _PURE_CALLS and not ast.unparse(inner.func).startswith("math."):
                return False
        elif isinstance(inner, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda):
            return False
    return True


def source(statement: Statement, node: ast.expr) -> str:
    """The source of an expression, on one line."""
    if isinstance(node, ast.Constant) and not hasattr(node, "lineno"):
        return repr(node.value)  # a number that no source has
    text = statement.source(node)
    if "\n" in text and any(mark in text for mark in "#'\""):
        return ast.unparse(node)  # a comment or a string would not survive being joined
    return " ".join(text.split())


def factor(statement: Statement, node: ast.expr) -> str:
    """The source of an expression as an operand of `*`."""
    text = source(statement, node)
    tight = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant)
    return text if tight else f"({text})"


def product(statement: Statement, first: ast.expr, second: ast.expr) -> str:
    """The product of two sizes: a number where both are."""
    one, other = literal_number(first), literal_number(second)
    if one is not None and other is not None:
        return str(one * other)
    return f"{factor(statement, first)} * {factor(statement, second)}"


def is_builtin(module: Module, layer: Layer, name: str) -> bool:
    """Whether `name` is Python's own where a layer is made."""
    hidden = local_names(layer.init, layer.statement) | layer.owner.hidden
    return name not in hidden and name not in module.names.bindings and not module.names.stars


def names_in(node: ast.AST) -> set[str]:
    """Every name that stands in a node."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def filled_by_hook(module: Module, layer: Layer) -> bool:
    """Whether a load hook of an earlier edit makes the layer's parameters: one that takes them would run before it."""
    found = False
    for name, binding in module.names.bindings.items():
        if name.startswith("_merge_") and module.mentions.has_word(name):
            page = ast.get_docstring(binding.local) if isinstance(binding.local, Function) else None
            found = found or (page or "").endswith(f" in place of {layer.attribute}.")
    return found


def family_nodes(owner: ClassInfo) -> set[ast.ClassDef]:
    return {member.node for member in owner.family}
