"""Numbers that the source shows: literals, arithmetic on them, `math.sqrt(2 / math.pi)`, names bound to such once."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator

from fuselight.graph.classes import ClassInfo, resolve
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module
from fuselight.graph.values import Value
from fuselight.source.statements import Statement

_NAMED = {
    **dict.fromkeys(("math.pi", "numpy.pi", "torch.pi", "scipy.pi"), math.pi),
    **dict.fromkeys(("math.e", "numpy.e", "torch.e"), math.e),
    "math.tau": math.tau,
    **dict.fromkeys(("math.inf", "numpy.inf", "torch.inf"), math.inf),
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("math.sqrt", "numpy.sqrt", "sqrt"), math.sqrt),
    **dict.fromkeys(("math.exp", "numpy.exp", "exp"), math.exp),
    **dict.fromkeys(("math.log", "numpy.log", "log"), math.log),
    **dict.fromkeys(("numpy.float32", "numpy.float64", "float"), float),
}
"""Functions of one number. The neutral kinds work on `torch.tensor(number)`."""


def _divided(one: float, other: float) -> float:
    return one / other


def _raised(one: float, other: float) -> float:
    return math.pow(one, other)


def _negated(one: float) -> float:
    return -one


_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": _divided,
    "pow": _raised,
    "math.pow": math.pow,
    "numpy.power": _raised,
}
_TENSORS = frozenset({"torch.tensor", "torch.as_tensor", "torch.Tensor"})
_SYNTAX: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divided,
    ast.Pow: _raised,
}


def number_of(module: Module, owner: ClassInfo | None, value: Value) -> float | None:
    """The number that `value` surely is, where the source shows it; None for anything else.

    A tensor without dimensions that is made of a number, `torch.tensor(2.0)`, counts as that number.
    """
    constant = value.constant
    if isinstance(constant, int | float):
        return None if isinstance(constant, bool) else float(constant)
    if value.kind in ("global", "attribute"):
        return _named(module, owner, value)
    if not value.inputs or value.layer is not None:
        return None
    if value.kind in _OPERATORS and len(value.inputs) == 2 and not value.keywords:
        left, right = (number_of(module, owner, one) for one in value.inputs)
        return _applied(_OPERATORS[value.kind], left, right)
    if len(value.inputs) != 1:
        return None
    if value.kind in _TENSORS:
        # Its dtype is that of no parameter: without dimensions it takes part in no promotion.
        plain = set(value.keywords) <= {"dtype", "device"} and value.kind != "torch.Tensor"
        return number_of(module, owner, value.inputs[0]) if plain else None
    if value.keywords:
        return None
    if value.kind == "neg":
        return _applied(_negated, number_of(module, owner, value.inputs[0]))
    if value.kind == "builtin":
        return _built_in(value)
    if value.kind in _FUNCTIONS:
        return _applied(_FUNCTIONS[value.kind], number_of(module, owner, value.inputs[0]))
    return None


def is_tensor_of_number(value: Value) -> bool:
    """Whether a tensor is made on the way to a number: `torch.sqrt(torch.tensor(2.0))`."""
    return value.kind in _TENSORS or any(is_tensor_of_number(one) for one in value.inputs)


def _built_in(value: Value) -> float | None:
    """`float("-inf")` and the like."""
    node, source = value.node, value.inputs[0].constant
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
    if not called or not isinstance(source, str | int | float):
        return None
    try:
        return float(source)
    except ValueError:
        return None


def _named(module: Module, owner: ClassInfo | None, value: Value) -> float | None:
    path = value.path
    if path in _NAMED:
        return _NAMED[path]
    if value.kind == "global":
        return _module_constant(module, value.node.id) if isinstance(value.node, ast.Name) and path is None else None
    node = value.node
    if owner is None or not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return None
    assigned = sole_assignment(module, owner, node.attr)
    return number_in(module, assigned) if assigned is not None and value.inputs[0].kind == "parameter" else None


def number_in(module: Module, node: ast.expr) -> float | None:
    """The number that an expression outside any function surely is, by its source alone."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return None if isinstance(number, bool) else float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _applied(_negated, number_in(module, operand))
        case ast.BinOp() if type(node.op) in _SYNTAX:
            return _applied(_SYNTAX[type(node.op)], number_in(module, node.left), number_in(module, node.right))
        case ast.Call(args=[argument], keywords=[]):
            path = resolve(node.func, module.names) or ""
            if path.startswith(("math.", "numpy.")) and path in _FUNCTIONS:
                return _applied(_FUNCTIONS[path], number_in(module, argument))
            return None
        case ast.Attribute() | ast.Name():
            path = resolve(node, module.names)
            if path is not None:
                return _NAMED.get(path)
            return _module_constant(module, node.id) if isinstance(node, ast.Name) else None
        case _:
            return None


def _module_constant(module: Module, name: str) -> float | None:
    """The number that a name of the module is bound to, where that is its only binding."""
    module.mentions.has_word(name)
    found: list[ast.expr | None] = []
    for statement in module.statements:
        if name not in statement.text:
            continue
        for node in statement.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    found.append(value)
                case ast.AnnAssign(target=ast.Name(id=target), value=value) if target == name:
                    found.append(value)
                case _:
                    pass
        if f"global {name}" in statement.text:
            return None
    binding = module.names.bindings.get(name)
    if binding is None or len(found) != 1 or found[0] is None:
        return None
    if any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(found[0])):
        return None
    return number_in(module, found[0])


def sole_assignment(module: Module, owner: ClassInfo, attribute: str) -> ast.expr | None:
    """What `self.<attribute>` is assigned, where the class and its family assign it once, in `__init__`."""
    found = [one for member in owner.family for one in _assignments(member).get(attribute, ())]
    if len(found) != 1:
        return None
    # Whoever sets it from outside: `model.norm.eps = 1e-3`.
    for mention in module.mentions.of_attribute(attribute):
        if mention.owner is None and isinstance(mention.node.ctx, ast.Store):
            return None
    return found[0]


def _assignments(member: ClassInfo) -> dict[str, list[ast.expr | None]]:
    """What a class assigns to each attribute of its instances; None for what is no plain value of `__init__`."""

    def make(_: Statement) -> dict[str, list[ast.expr | None]]:
        found: dict[str, list[ast.expr | None]] = {}
        for name, method in member.methods.items():
            me = self_parameter(method)
            for node in ast.walk(method):
                for attribute, value in _assigned(node, me):
                    found.setdefault(attribute, []).append(value if name == "__init__" else None)
        for node in member.node.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value):
                    found.setdefault(target, []).append(value)
                case ast.AnnAssign(target=ast.Name(id=target), value=value):
                    found.setdefault(target, []).append(value)
                case _:
                    pass
        return found

    return member.statement.derive(f"assignments {member.node.lineno} {member.node.col_offset}", make)


def _assigned(node: ast.AST, me: str | None) -> Iterator[tuple[str, ast.expr | None]]:
    """The attributes of `me` that a statement assigns, each with the value where it is that one's alone."""
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        elements = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        for element in elements:
            if isinstance(element, ast.Attribute) and isinstance(element.value, ast.Name) and element.value.id == me:
                whole = element is target and not isinstance(node, ast.AugAssign)
                yield element.attr, node.value if whole else None


def _applied(function: Callable[..., float], *given: float | None) -> float | None:
    known = [one for one in given if one is not None]
    if len(known) < len(given):
        return None
    try:
        return float(function(*known))
    except (ArithmeticError, ValueError):
        return None
