"""Numbers that the source shows: literals, arithmetic on them, `math.sqrt(2 / math.pi)`, names bound to such once."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from fuselight.graph.classes import ClassInfo, resolve
from fuselight.graph.facts import facts_around, words_around
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module
from fuselight.graph.values import Graph, Value
from fuselight.source.nodes import walk
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


def number_of(module: Module, owner: ClassInfo | None, value: Value, graph: Graph) -> float | None:
    """The number that `value`, one of `graph`, surely is, where the source shows it; None for anything else.

    A tensor without dimensions that is made of a number, `torch.tensor(2.0)`, counts as that number.
    """
    constant = value.constant
    if isinstance(constant, int | float):
        return None if isinstance(constant, bool) else float(constant)
    if value.kind in ("global", "attribute"):
        return _named(module, owner, value, graph)
    if not value.inputs or value.layer is not None:
        return None
    if value.kind in _OPERATORS and len(value.inputs) == 2 and not value.keywords:
        left, right = (number_of(module, owner, one, graph) for one in value.inputs)
        return _applied(_OPERATORS[value.kind], left, right)
    if len(value.inputs) != 1:
        return None
    if value.kind in _TENSORS:
        # Its dtype is that of no parameter: without dimensions it takes part in no promotion.
        plain = set(value.keywords) <= {"dtype", "device"} and value.kind != "torch.Tensor"
        return number_of(module, owner, value.inputs[0], graph) if plain else None
    if value.keywords:
        return None
    if value.kind == "neg":
        return _applied(_negated, number_of(module, owner, value.inputs[0], graph))
    if value.kind == "builtin":
        return _built_in(value)
    if value.kind in _FUNCTIONS:
        return _applied(_FUNCTIONS[value.kind], number_of(module, owner, value.inputs[0], graph))
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


def _named(module: Module, owner: ClassInfo | None, value: Value, graph: Graph) -> float | None:
    path = value.path
    if path in _NAMED:
        return _NAMED[path]
    node = value.node
    if value.kind == "global":
        # A name that a function around it binds is not the module's.
        is_of_module = isinstance(node, ast.Name) and path is None and node.id not in graph.local
        return _module_constant(module, node.id) if isinstance(node, ast.Name) and is_of_module else None
    if owner is None or not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return None
    if node.value.id != self_parameter(graph.function):
        return None
    if value.inputs[0].kind != "parameter":
        return None
    own = _assignments(owner, node.attr)
    if any(one is None or number_in(module, one) is None for one in own):
        return None  # whatever the rest of the family assigns
    assigned = sole_assignment(module, owner, node.attr)
    return number_in(module, assigned) if assigned is not None else None


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
    if name not in module.names.bindings or module.mentions.has_word("globals"):
        return None
    found: list[ast.expr | None] = []
    for statement in module.mentions.statements_with(name):
        bound = statement.keep(f"bindings of {name}", lambda one: _bindings_at_top(one, name))
        if bound is None:
            return None
        found += bound
    if len(found) != 1 or found[0] is None:
        return None
    if any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(found[0])):
        return None
    return number_in(module, found[0])


def _bindings(body: Iterable[ast.stmt], name: str) -> list[ast.expr | None]:
    """What `name` is bound to in a body, not in the functions and classes in it; None for what is no plain value."""
    found: list[ast.expr | None] = []
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found.append(value)
                waiting.append(value)
            case ast.AnnAssign(target=ast.Name(id=target), value=value) if target == name:
                if value is not None:
                    found.append(value)
                    waiting.append(value)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if node.name == name:
                    found.append(None)
                continue
            case ast.Lambda():
                continue
            case ast.Name(id=target, ctx=ast.Store() | ast.Del()) if target == name:
                found.append(None)
            case ast.alias():
                if (node.asname or node.name.partition(".")[0]) == name:
                    found.append(None)
            case ast.ExceptHandler(name=target) | ast.MatchAs(name=target) | ast.MatchStar(name=target):
                if target == name:
                    found.append(None)
                waiting += ast.iter_child_nodes(node)
            case ast.comprehension():
                waiting += [node.iter, *node.ifs]  # its target is its own
            case _:
                waiting += ast.iter_child_nodes(node)
    return found


def sole_assignment(module: Module, owner: ClassInfo, attribute: str) -> ast.expr | None:
    """What `self.<attribute>` is assigned, where the class and its family assign it once, in `__init__`."""
    module.mentions.ask_for(attributes=("__dict__",), calls=("setattr",))
    from_outside = module.mentions.of_attribute_near(attribute, (one.node for one in owner.family), stored=True)
    found = [one for member in owner.family for one in _assignments(member, attribute)]
    if len(found) != 1:
        return None
    # Whoever sets it from outside: `model.norm.eps = 1e-3`.
    if any(mention.owner is None and isinstance(mention.node.ctx, ast.Store) for mention in from_outside):
        return None
    for called in module.mentions.calls_of("setattr"):
        named = called.node.args[1] if len(called.node.args) > 1 else None
        if isinstance(named, ast.Constant) and named.value == attribute:
            return None
    return found[0]


def _assignments(member: ClassInfo, attribute: str) -> list[ast.expr | None]:
    """What a class assigns to an attribute of its instances; None for what is no plain value of `__init__`."""

    found: list[ast.expr | None] = []
    for name, method in member.methods.items():
        if name == attribute:
            found.append(None)  # a property, it may be
        assigned = member.statement.keep_of(method, "assigned", partial(_all_assigned, member.statement))
        for each in (attribute, _ANY):
            found += [value if name == "__init__" else None for value in assigned.get(each, ())]
    is_named = attribute in words_around(member.statement, member.node)
    of_class = _bindings(member.node.body, attribute) if is_named else []
    if _is_filled_by_constructor(member):
        of_class = [None for _ in of_class]
    return [*found, *of_class]


def _all_assigned(statement: Statement, method: Function) -> dict[str, list[ast.expr | None]]:
    found: dict[str, list[ast.expr | None]] = {}
    facts = facts_around(statement, method)
    if not (facts.sets_attributes or "__dict__" in facts.attributes or "setattr" in facts.calls):
        return found
    for attribute, value in _assigned(method):
        found.setdefault(attribute, []).append(value)
    return found


_ANY = "*"
"""Stands for every attribute: `setattr(self, name, value)`, `self.__dict__.update(...)`."""


def _is_filled_by_constructor(member: ClassInfo) -> bool:
    """Whether the values in a class's body may be but the defaults of its constructor: a dataclass, a named tuple."""
    bases = [base.rpartition(".")[2] if base is not None else "" for base in member.all_bases]
    return bool(member.node.decorator_list) or any(
        base in ("NamedTuple", "BaseModel", "Struct") or "Config" in base for base in bases
    )


def _assigned(method: Function) -> Iterator[tuple[str, ast.expr | None]]:
    """The attributes of its `self` that a method assigns, each with the value where it is that one's alone."""
    me = self_parameter(method)
    plain: dict[ast.expr, ast.expr | None] = {}
    for node in walk(method):
        match node:
            case ast.Assign():
                plain.update(dict.fromkeys(node.targets, node.value))
            case ast.AnnAssign():
                plain[node.target] = node.value
            case ast.Attribute(value=ast.Name(id=name), attr="__dict__") if name == me:
                yield _ANY, None
            case ast.Attribute(value=ast.Name(id=name)) if name == me and not isinstance(node.ctx, ast.Load):
                if node not in plain or plain[node] is not None:  # not `self.eps: float`
                    yield node.attr, plain.get(node)
            case ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id=name), key, *_]) if name == me:
                if not isinstance(key, ast.Constant):
                    yield _ANY, None
            case _:
                pass


def _bindings_at_top(statement: Statement, name: str) -> list[ast.expr | None] | None:
    """What a statement binds a name of the module to; None where a function of it may, by `global`."""
    walked = (one for top in statement.body for one in ast.walk(top)) if "global" in statement.text else ()
    if any(isinstance(one, ast.Global) and name in one.names for one in walked):
        return None
    return _bindings(statement.body, name)


def _applied(function: Callable[..., float], *given: float | None) -> float | None:
    known = [one for one in given if one is not None]
    if len(known) < len(given):
        return None
    try:
        return float(function(*known))
    except (ArithmeticError, ValueError):
        return None
