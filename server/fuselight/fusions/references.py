"""Code that must stay spelled out: a test's reference, a gradient by hand, the branch beside the call itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from fuselight.fusions.base import Refusal
from fuselight.fusions.parents import around
from fuselight.fusions.plan import Place
from fuselight.graph.classes import resolve
from fuselight.graph.facts import Function, words_around
from fuselight.graph.module import Module, Scope
from fuselight.source.nodes import walk

_REFERENCE = frozenset("reference ref naive test tests expected golden eager slow python fwd bwd backward grad".split())
"""Words in a function's name that say it is compared with something, or is a part of a gradient."""

_REFERENCE_CLASS = frozenset({"reference", "ref", "naive", "golden"})

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def reference(
    module: Module, scope: Scope, kinds: Iterable[str], root: ast.AST | None, operand: str | None = None
) -> Refusal | None:
    """Why what stands at `root` must stay spelled out, though one call of `kinds` computes it.

    `operand` is the source of what is computed with: the same call of it in another branch is the other half of a
    choice that the code makes.
    """
    return reads_as_reference(scope) or (_beside_the_call(module, scope, tuple(kinds), root, operand) if root else None)


def reads_as_reference(scope: Scope) -> Refusal | None:
    """Whether a function's name, or its class, says that it is a reference or part of a gradient by hand."""
    *classes, function = scope.name.split(".")
    spoken = not _REFERENCE.isdisjoint(function.lower().split("_"))
    for name in classes:
        words = {word.lower() for word in _WORD.findall(name)}
        spoken = spoken or name.startswith(("Test", "test_")) or not _REFERENCE_CLASS.isdisjoint(words)
    if spoken:
        return Refusal(f"`{scope.name}` reads as a reference, or as part of a gradient by hand")
    if scope.owner is not None:
        for base in scope.owner.all_bases:
            if base is not None and base.endswith("autograd.Function"):
                return Refusal(f"`{scope.owner.name}` is a custom autograd function")
    return None


def _beside_the_call(
    module: Module, scope: Scope, kinds: tuple[str, ...], root: ast.AST, operand: str | None
) -> Refusal | None:
    if module.once(("words", scope.function), lambda: _lower_words(scope)).isdisjoint(kinds):
        return None
    around_root = [one for one in around(scope.statement, root) if isinstance(one, ast.If | ast.IfExp | ast.Try)]
    for one in around_root:
        tested = one.test if isinstance(one, ast.If | ast.IfExp) else one
        for node in walk(tested):
            imported = isinstance(node, ast.alias) and node.name.rpartition(".")[2] in kinds
            named = isinstance(node, ast.Attribute | ast.Name | ast.Constant) and _names_kind(module, node, kinds)
            if imported or named:
                return Refusal("it stands in for the call where torch lacks it", Place(scope.statement, tested))
    if operand is None or not any(name.lower() in kinds for name in scope.called):
        return None
    for branch, calls in module.once(("branches", scope.function), lambda: _branches(scope.function)):
        if not (branch in around_root and not branch.orelse):
            for node in calls:
                if node is root:
                    continue
                if _names_kind(module, node.func, kinds) and ast.unparse(node.args[0]) == operand:
                    return Refusal("the call itself stands in another branch", Place(scope.statement, node))
    return None


def _lower_words(scope: Scope) -> frozenset[str]:
    return frozenset(map(str.lower, words_around(scope.statement, scope.function)))


def _branches(function: Function) -> list[tuple[ast.If | ast.IfExp, list[ast.Call]]]:
    """The branches of a function, each with the calls in it that are given something by position."""
    nodes = walk(function)
    branches = [node for node in nodes if isinstance(node, ast.If | ast.IfExp)]
    return [(one, [node for node in walk(one) if isinstance(node, ast.Call) and node.args]) for one in branches]


def _names_kind(module: Module, node: ast.expr, kinds: tuple[str, ...]) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in kinds
    path = resolve(node, module.names)
    return path is not None and path.startswith("torch.") and path.rpartition(".")[2].lower() in kinds
