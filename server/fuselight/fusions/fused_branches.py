"""Whether written-out attention is the other half of a choice: a fused kernel is called where it may be."""

from __future__ import annotations

import ast
import re
from typing import cast

from fuselight.fusions.base import Refusal
from fuselight.fusions.parents import around
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope

_FUSED = re.compile(
    r"scaled_dot_product_attention|sdpa|flash|memory_efficient_attention|xformers|flex_attention|fused_att",
    re.IGNORECASE,
)
"""What is called, or asked for, where a fused kernel does the same."""

_Choice = ast.If | ast.IfExp | ast.Try | ast.Match


def beside_fused(module: Module, scope: Scope, root: ast.AST) -> Refusal | None:
    """Why the attention at `root` stays: the function, or its class, calls a fused kernel in its place elsewhere."""
    statement = scope.statement
    if _FUSED.search(statement.text) is None:
        return None
    own = [root, *around(statement, root)]
    for node in _fused_calls(scope.function):
        if _is_alternative(_arms(node, scope), own):
            return Refusal("a fused kernel is called in another branch", Place(statement, node))
    for one in own:
        if isinstance(one, ast.If | ast.IfExp) and _FUSED.search(ast.unparse(one.test)) is not None:
            return Refusal("it stands where a fused kernel is not to be used", Place(statement, one.test))
        if one is scope.function:
            break
    return _in_the_class(scope.owner, scope) if scope.owner is not None else None


def _arms(node: ast.AST, scope: Scope) -> list[tuple[ast.AST, ast.AST]]:
    """The branches and loops around `node` in the function, each with the child that leads to it."""
    found: list[tuple[ast.AST, ast.AST]] = []
    child = node
    for one in around(scope.statement, node):
        if one is scope.function:
            break
        if isinstance(one, _Choice):
            found.append((one, child))
        child = one
    return found


def _is_alternative(arms: list[tuple[ast.AST, ast.AST]], own: list[ast.AST]) -> bool:
    """Whether what stands in these arms may not be executed along with what `own` leads to."""
    return any(choice not in own or not _is_same_arm(choice, child, own) for choice, child in arms)


def _is_same_arm(choice: ast.AST, child: ast.AST, own: list[ast.AST]) -> bool:
    """Whether `own` leads through the arm of a choice that `child` stands in."""
    for name in choice._fields:
        part: object = getattr(choice, name)
        children: list[object] = [*cast("list[object]", part)] if isinstance(part, list) else [part]
        if child in children:
            return any(one in children for one in own)
    return False


def _fused_calls(function: Function) -> list[ast.Call]:
    calls = [one for one in ast.walk(function) if isinstance(one, ast.Call)]
    return [one for one in calls if _FUSED.search(_called(one)) is not None]


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func) if isinstance(call.func, ast.Name | ast.Attribute) else ""


def _in_the_class(owner: ClassInfo, scope: Scope) -> Refusal | None:
    """A class that asks whether torch has the call, or chooses between a method that uses it and this one."""
    name = scope.name.rpartition(".")[2]
    for member in owner.family:
        for method_name, method in member.methods.items():
            for node in ast.walk(method):
                if isinstance(node, ast.Constant) and node.value == "scaled_dot_product_attention":
                    return Refusal("the class asks whether torch has the call", Place(member.statement, node))
            if method_name == name or not _fused_calls(method):
                continue
            if any(_calls(other, name) and _calls(other, method_name) for other in member.methods.values()):
                return Refusal(f"`{method_name}` does the same by a fused kernel", Place(member.statement, method))
        if member is not owner and _FUSED.search(member.name) is not None:
            return Refusal(f"`{member.name}` does the same by a fused kernel", Place(member.statement, member.node))
    return None


def _calls(function: Function, method: str) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == method for one in ast.walk(function))


__all__ = ["beside_fused"]
