"""The nodes below a node, without the contexts and the operators: what most walks of a tree look for, in less time."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, cast

from fuselight.source.reads import note, part_of


def walk(top: ast.AST) -> list[ast.AST]:
    """`top` and all below it, in the order of `ast.walk`."""
    found = [top]
    for node in found:
        below = _BELOW.get(type(node), _all_below)
        if below is not None:
            found += below(node)
    return found


def children_of(node: ast.AST) -> Sequence[ast.AST]:
    """As `ast.iter_child_nodes`."""
    below = _BELOW.get(type(node), _all_below)
    return below(node) if below is not None else []


def _all_below(node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    part = part_of(node)
    if part is not None:
        note(part)  # the attributes are read past the node, which would note it
    for value in vars(node).values():
        if isinstance(value, list):
            found += [child for child in cast("list[object]", value) if isinstance(child, ast.AST)]
        elif isinstance(value, ast.AST) and not isinstance(value, _SIGNS):
            found.append(value)
    return found


_SIGNS = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)


def _of_slice(node: Any) -> list[ast.AST]:
    return [one for one in (node.lower, node.upper, node.step) if one is not None]


def _of_arguments(node: Any) -> list[ast.AST]:
    several = (*node.posonlyargs, *node.args, node.vararg, *node.kwonlyargs, *node.kw_defaults, node.kwarg)
    return [one for one in (*several, *node.defaults) if one is not None]


_BELOW: dict[type[ast.AST], Callable[[Any], Sequence[ast.AST]] | None] = {
    ast.Name: None,
    ast.Constant: None,
    ast.Pass: None,
    ast.Break: None,
    ast.Continue: None,
    ast.alias: None,
    ast.Attribute: lambda node: [node.value],
    ast.Call: lambda node: [node.func, *node.args, *node.keywords],
    ast.keyword: lambda node: [node.value],
    ast.BinOp: lambda node: [node.left, node.right],
    ast.UnaryOp: lambda node: [node.operand],
    ast.BoolOp: lambda node: node.values,
    ast.Compare: lambda node: [node.left, *node.comparators],
    ast.Subscript: lambda node: [node.value, node.slice],
    ast.Slice: _of_slice,
    ast.Tuple: lambda node: node.elts,
    ast.List: lambda node: node.elts,
    ast.Dict: lambda node: [*(key for key in node.keys if key is not None), *node.values],
    ast.Starred: lambda node: [node.value],
    ast.ListComp: lambda node: [node.elt, *node.generators],
    ast.GeneratorExp: lambda node: [node.elt, *node.generators],
    ast.comprehension: lambda node: [node.target, node.iter, *node.ifs],
    ast.arguments: _of_arguments,
    ast.arg: lambda node: [node.annotation] if node.annotation is not None else [],
    ast.JoinedStr: lambda node: node.values,
    ast.IfExp: lambda node: [node.test, node.body, node.orelse],
    ast.Expr: lambda node: [node.value],
    ast.Assign: lambda node: [*node.targets, node.value],
    ast.AugAssign: lambda node: [node.target, node.value],
    ast.Return: lambda node: [node.value] if node.value is not None else [],
    ast.If: lambda node: [node.test, *node.body, *node.orelse],
    ast.For: lambda node: [node.target, node.iter, *node.body, *node.orelse],
}
"""What stands below the commonest nodes, in the order of their fields; None where nothing does."""
