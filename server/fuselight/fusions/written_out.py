"""The functions of a file written out in the method that calls them, so that one graph shows all that it computes."""

from __future__ import annotations

import ast
import copy
from typing import cast

from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module
from fuselight.source.nodes import walk


class WrittenOut:
    """The statements of a `forward` in which every function and method of the file that it calls is written out."""

    def __init__(self, module: Module, owner: ClassInfo, function: ast.FunctionDef) -> None:
        self.module = module
        self.owner = owner
        self.function = function
        self.me = self_parameter(function)
        self.names = local_names(function, owner.statement)
        self.methods: list[Function] = []
        self.changed = False
        self._number = 0

    def body(self) -> list[ast.stmt] | None:
        """The statements; None where there are others than assignments to names and a last `return`."""
        if self.function.decorator_list or self.me is None:
            return None
        return self._statements(self.function, 0)

    def _statements(self, function: Function, depth: int) -> list[ast.stmt] | None:
        found: list[ast.stmt] = []
        for at, statement in enumerate(function.body):
            last = at == len(function.body) - 1
            if is_docstring(statement):
                continue
            if last != isinstance(statement, ast.Return):
                return None
            parts = [statement]
            if isinstance(statement, ast.If):
                # Conversions of the dtype that depend on a dtype: a value is the same behind them.
                if not _converts_only(statement):
                    return None
                parts = statement.body
                self.changed = True
            for part in parts:
                if not _is_plain(part):
                    return None
                before = self._called(part, depth)
                if before is None:
                    return None
                found += before
        return found

    def _called(self, statement: ast.stmt, depth: int) -> list[ast.stmt] | None:
        """The statement, behind those of the functions that it calls."""
        calls = [(node, called) for node in walk(statement) if (called := self._function(node)) is not None]
        if not calls:
            return [statement]
        if len(calls) > 1 or depth > 2:
            return None
        (call, function) = calls[0]
        assert isinstance(call, ast.Call)
        given = self._arguments(call, function)
        inner = self._statements(function, depth + 1)
        if given is None or inner is None or not isinstance(inner[-1], ast.Return) or inner[-1].value is None:
            return None
        self.changed = True
        self._number += 1
        names = local_names(function, self.owner.statement)
        renamed = _Renamed({name: f"{name}_of_{self._number}" for name in names})
        me = self_parameter(function) if self._is_method(call) else None
        if me is not None:
            renamed.names[me] = self.me or me
        before: list[ast.stmt] = []
        for name, value in given.items():
            target = ast.Name(renamed.names[name], ast.Store())
            before.append(_at(call, ast.Assign([target], value)))
        inner = [cast(ast.stmt, renamed.visit(copy.deepcopy(one))) for one in inner]
        result = inner[-1]
        assert isinstance(result, ast.Return)
        assert result.value is not None
        if self._is_method(call) and function not in self.methods:
            self.methods.append(function)
        whole = _with(statement, call, result.value)
        return [*before, *inner[:-1], whole]

    def _is_method(self, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Attribute)

    def _function(self, node: ast.AST) -> Function | None:
        """The function or method of the file that a call calls."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=me), attr=name)) if me == self.me:
                found = self.owner.methods.get(name)
                return found if found is not None and _is_undecorated(found) and name != "forward" else None
            case ast.Call(func=ast.Name(id=name)) if name not in self.names and name not in self.owner.hidden:
                binding = self.module.names.bindings.get(name)
                found = binding.local if binding is not None else None
                defined = [
                    one
                    for statement in self.module.mentions.statements_with(name)
                    for one in statement.body
                    if isinstance(one, Function) and one.name == name
                ]
                if not isinstance(found, ast.FunctionDef) or defined != [found]:
                    return None
                # `torch.jit.script` compiles the function as it is.
                made = [resolve(one, self.module.names) for one in found.decorator_list]
                return found if all(one == "torch.jit.script" for one in made) else None
            case _:
                return None

    def _arguments(self, call: ast.Call, function: Function) -> dict[str, ast.expr] | None:
        """What each parameter of a called function is given."""
        arguments = function.args
        if arguments.vararg or arguments.kwarg or any(isinstance(one, ast.Starred) for one in call.args):
            return None
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        defaults = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
        defaults |= {
            one.arg: default
            for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if default is not None
        }
        names = names[1:] if self._is_method(call) and self_parameter(function) is not None else names
        given: dict[str, ast.expr] = dict(zip(names, call.args, strict=False))
        if len(call.args) > len(names):
            return None
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in given:
                return None
            given[keyword.arg] = keyword.value
        for name in (*names, *(one.arg for one in arguments.kwonlyargs)):
            if name not in given:
                default = defaults.get(name)
                if not isinstance(default, ast.Constant):
                    return None
                given[name] = default
        return given if given.keys() <= {*names, *(one.arg for one in arguments.kwonlyargs)} else None


def is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is nothing but a string."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_undecorated(method: Function) -> bool:
    """Whether nothing but `@staticmethod` decorates a method."""
    return all(isinstance(one, ast.Name) and one.id == "staticmethod" for one in method.decorator_list)


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit(self, node: ast.AST) -> ast.AST:
        found = self.generic_visit(node)
        if isinstance(found, ast.Name):
            found.id = self.names.get(found.id, found.id)
        return found


class _Replaced(ast.NodeTransformer):
    def __init__(self, node: ast.AST, by: ast.expr) -> None:
        self.node = node
        self.by = by

    def visit(self, node: ast.AST) -> ast.AST:
        return self.by if node is self.node else self.generic_visit(node)


def _with(statement: ast.stmt, node: ast.AST, by: ast.expr) -> ast.stmt:
    """A copy of a statement with `by` in the place of one of its nodes."""
    copied = copy.deepcopy(statement)
    pairs = zip(ast.walk(statement), ast.walk(copied), strict=True)
    counterpart = next(other for one, other in pairs if one is node)
    return cast(ast.stmt, _Replaced(counterpart, by).visit(copied))


def _at(place: ast.AST, statement: ast.stmt) -> ast.stmt:
    ast.copy_location(statement, place)
    for node in ast.walk(statement):
        if isinstance(node, ast.stmt | ast.expr) and getattr(node, "lineno", None) is None:
            ast.copy_location(node, place)
    return statement


def _is_plain(statement: ast.stmt) -> bool:
    """Whether a statement only names values, or returns one."""
    match statement:
        case ast.Return(value=ast.expr()):
            return True
        case ast.Assign(targets=[target]):
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            return all(isinstance(one, ast.Name) for one in targets)
        case ast.AnnAssign(target=ast.Name(), value=ast.expr()):
            return True
        case _:
            return False


def _converts_only(statement: ast.If) -> bool:
    """`if self.weight.dtype in (torch.float16, torch.bfloat16): x = x.to(self.weight.dtype)`."""
    asked = [one for one in ast.walk(statement.test) if isinstance(one, ast.Attribute) and one.attr == "dtype"]
    called = any(isinstance(one, ast.Call | ast.NamedExpr | ast.BoolOp) for one in ast.walk(statement.test))
    if not asked or called or statement.orelse:
        return False
    for one in statement.body:
        match one:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(value=ast.Name(id=of), attr="to" | "float" | "type_as")),
            ) if name == of:
                continue
            case _:
                return False
    return True
