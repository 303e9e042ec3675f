"""What stands around a node of a statement, and whether something there gives a name another meaning."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from fuselight.graph.classes import local_names
from fuselight.graph.facts import Function
from fuselight.source.nodes import children_of
from fuselight.source.statements import Statement


def is_hidden(statement: Statement, node: ast.Name, name: str, top: ast.AST | None) -> bool:
    """Whether a function, lambda or comprehension inside `top` binds the name anew where `node` stands."""
    for one in around(statement, node):
        if one is top:
            return False
        if isinstance(one, Function) and name in local_names(one, statement):
            return True
        if isinstance(one, ast.Lambda) and any(
            arg.arg == name for arg in ast.walk(one.args) if isinstance(arg, ast.arg)
        ):
            return True
        if isinstance(one, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            targets = [inner for part in one.generators for inner in ast.walk(part.target)]
            if any(isinstance(inner, ast.Name) and inner.id == name for inner in targets):
                return True
    return False


def around(statement: Statement, node: ast.AST) -> list[ast.AST]:
    """The nodes around `node`, inmost first."""
    outside: list[ast.AST] = []
    if not isinstance(node, ast.stmt | ast.expr):
        parents = parents_of(statement)
    else:
        statement.note_lines_of(node)
        part = statement.parts.of(node)
        method = part.node
        if part is statement.parts.rest or method is None:
            parents = statement.keep("parents", _parents)
        else:
            parents = part.derive("parents", lambda: _parents_in([method]))
            outside += statement.body
    found: list[ast.AST] = []
    parent = parents.get(node)
    while parent is not None:
        found.append(parent)
        parent = parents.get(parent)
    return found + outside


def functions_around(statement: Statement, node: ast.AST) -> list[Function]:
    """The functions around `node`, inmost first."""
    return [one for one in around(statement, node) if isinstance(one, Function)]


def parents_of(statement: Statement) -> Mapping[ast.AST, ast.AST]:
    """The node around each node of a statement."""
    return statement.derive("parents", _parents)


def _parents(statement: Statement) -> Mapping[ast.AST, ast.AST]:
    return _parents_in(statement.body)


def _parents_in(tops: Sequence[ast.AST]) -> dict[ast.AST, ast.AST]:
    found: dict[ast.AST, ast.AST] = {}
    stack = [*tops]
    while stack:
        node = stack.pop()
        children = children_of(node)
        found.update(dict.fromkeys(children, node))
        stack += children
    return found
