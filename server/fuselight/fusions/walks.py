"""Loops over all parameters or layers of a model: may what they do tell a merged matrix from its parts?"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.mentions import Called
from fuselight.graph.module import Module

_WALKS = ("parameters", "modules", "named_parameters", "named_modules")

_FILLS = frozenset(
    "normal_ uniform_ trunc_normal_ zeros_ ones_ constant_ zero_ fill_ log_normal_ exponential_ cauchy_".split()
)
"""Initialisers that draw or set each element alike, whatever the shape."""

_HARMLESS_ATTRIBUTES = frozenset(
    "requires_grad device dtype is_cuda is_leaf is_sparse training ndim eval train to cuda cpu half float double"
    " bfloat16 zero_grad requires_grad_ is_floating_point dim apply extra_repr __class__".split()
)
_TAKERS = frozenset(
    "clip_grad_norm_ clip_grad_value_ clip_grad_norm clip_grad_value list filter tuple sum next any all set len"
    " itertools.chain chain enumerate zip dict sorted".split()
)

_BY_POSITION = frozenset(
    "enumerate zip sorted iter islice reversed map max min parameters_to_vector vector_to_parameters".split()
)
"""What tells the first of the parameters from the second, or looks at each as a whole."""


def walked(module: Module, kind: str = "torch.nn.Linear") -> Refusal | None:
    """Nothing that the file does to every parameter or layer may depend on where one matrix ends.

    A loop may fill, freeze, move or count; it may not measure, slice or pick by position. Layers of types other than
    `kind` are of no concern.
    """
    for called in module.mentions.calls_of(*_WALKS):
        if not isinstance(called.node.func, ast.Attribute):
            continue
        refusal = _walk(module, called, kind)
        if refusal is not None:
            return refusal
    for called in module.mentions.calls_of("apply"):
        for argument in called.node.args[:1]:
            refusal = _applied(module, called, argument, kind)
            if refusal is not None:
                return refusal
    return None


def _taken_by_position(called: Called, assignment: ast.Assign, loops: bool = True) -> bool:
    """Whether `ps = model.parameters()` is later taken apart: `next(ps)`, `zip(ps, qs)`, a loop over it (`loops`)."""
    names = {one.id for target in assignment.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    around = [called.function] if called.function is not None else called.statement.body
    for node in (inner for top in around for inner in ast.walk(top)):
        match node:
            case ast.Call(func=func, args=given):
                last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                if last in (*_BY_POSITION, "next") and any(
                    isinstance(one, ast.Name) and one.id in names for one in given
                ):
                    return True
            case ast.For(iter=ast.Name(id=name)) | ast.comprehension(iter=ast.Name(id=name)) if loops and name in names:
                return True
            case _:
                pass
    return False


def picked_by_position(module: Module) -> Refusal | None:
    """Nobody may tell one parameter from another by its place among them: one that goes moves those behind it."""
    for called in module.mentions.calls_of("parameters", "named_parameters"):
        if not isinstance(called.node.func, ast.Attribute) or not called.around:
            continue
        why = Refusal("the file picks parameters of a model by position", Place(called.statement, called.node))
        parents = _parents(called)
        end = _end_of(module, called, parents)
        if isinstance(end, ast.For):
            if _counts(end):
                return why
        elif isinstance(end, ast.comprehension):
            whole = parents.get(end)
            around = parents.get(whole) if whole is not None else None
            kept = isinstance(around, ast.Assign) and _subscripted(called, around)
            if kept or (whole is not None and _first_of(whole, parents)):
                return why
        elif end and not _is_zipped(called, parents):
            return why
    return None


def _is_zipped(called: Called, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether two models of one class are walked side by side: both lose the same parameter."""
    parent = parents.get(called.node)
    return (
        isinstance(parent, ast.Call)
        and isinstance(parent.func, ast.Name)
        and parent.func.id == "zip"
        and all(
            isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _WALKS
            for one in parent.args
        )
    )


def _subscripted(called: Called, assignment: ast.Assign) -> bool:
    """Whether a list of parameters that a name holds is indexed or sliced."""
    names = {one.id for target in assignment.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    around = [called.function] if called.function is not None else called.statement.body
    return any(
        isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in names
        for top in around
        for node in ast.walk(top)
    )


def _counts(loop: ast.For) -> bool:
    """Whether a loop tells its turns apart: by a counter or flag that it asks, by leaving, by taking from elsewhere."""
    written: set[str] = set()
    asked: set[str] = set()
    for node in (inner for part in loop.body for inner in ast.walk(part)):
        match node:
            case ast.Break():
                return True
            case ast.Call(func=ast.Attribute(attr="pop" | "popleft") | ast.Name(id="next")):
                return True
            case (
                ast.AugAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant())
            ):
                written.add(name)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                asked |= {one.id for one in ast.walk(test) if isinstance(one, ast.Name)}
            case ast.Compare() | ast.Subscript():
                asked |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            case _:
                pass
    return bool(written & asked)


def _is_of_this_file(module: Module, func: ast.expr) -> bool:
    if isinstance(func, ast.Attribute):
        return isinstance(func.value, ast.Name) and func.value.id == "self"
    binding = module.names.bindings.get(func.id) if isinstance(func, ast.Name) else None
    return binding is not None and binding.local is not None


def _told_apart(called: Called, whole: ast.AST, variables: set[str], parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a comprehension counts, or its list is kept and then taken apart."""
    element = getattr(whole, "elt", None)
    if isinstance(element, ast.expr) and not _mentions(element, variables):
        return True
    around = parents.get(whole)
    if not isinstance(around, ast.Assign) or not isinstance(whole, ast.ListComp):
        return False
    names = {one.id for target in around.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    bodies: list[ast.AST] = [called.function] if called.function is not None else list(called.statement.body)
    for node in (inner for top in bodies for inner in ast.walk(top)):
        match node:
            case ast.For(iter=ast.Name(id=name)) | ast.comprehension(iter=ast.Name(id=name)) if name in names:
                return True
            case ast.Subscript(value=ast.Name(id=name)) | ast.Starred(value=ast.Name(id=name)) if name in names:
                return True
            case ast.Call(func=ast.Name(id="len" | "zip" | "enumerate" | "map" | "max" | "min" | "sorted"), args=given):
                if any(isinstance(one, ast.Name) and one.id in names for one in given):
                    return True
            case _:
                pass
    return False


def _walk(module: Module, called: Called, kind: str) -> Refusal | None:
    place = Place(called.statement, called.node)
    why = Refusal("the file picks parameters or layers of a model by position, or measures them", place)
    if not called.around:
        return None
    parents = _parents(called)
    end = _end_of(module, called, parents)
    if isinstance(end, ast.For):
        variables = {name.id for name in ast.walk(end.target) if isinstance(name, ast.Name)}
        return why if _counts(end) else _uses(module, called, variables, end.body, why, kind)
    if isinstance(end, ast.comprehension):
        variables = {name.id for name in ast.walk(end.target) if isinstance(name, ast.Name)}
        whole = parents.get(end)
        if whole is not None and (_told_apart(called, whole, variables, parents) or _first_of(whole, parents)):
            return why
        return _uses(module, called, variables, [whole] if whole is not None else [], why, kind)
    return why if end else None


def _parents(called: Called) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(called.around[-1]) for child in ast.iter_child_nodes(node)}


def _end_of(module: Module, called: Called, parents: dict[ast.AST, ast.AST]) -> ast.For | ast.comprehension | bool:
    """Where a walk ends: in a loop, in what may tell one parameter from another (True), or handed on whole."""
    node: ast.AST = called.node
    parent = parents.get(node)
    while isinstance(parent, ast.Call | ast.keyword):
        call = parents.get(parent) if isinstance(parent, ast.keyword) else parent
        if not isinstance(call, ast.Call) or call.func is node:
            return True
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name == "next":
            outer = parents.get(call)
            return not (isinstance(outer, ast.Attribute) and outer.attr in _HARMLESS_ATTRIBUTES)
        if name in _BY_POSITION:
            return True
        if _takes_all(module, call, name):
            return False
        if name not in _TAKERS:
            return True
        node, parent = call, parents.get(call)
    match parent:
        case ast.For() | ast.comprehension() if parent.iter is node:
            return parent
        case ast.Dict():
            keys = [key for key, value in zip(parent.keys, parent.values, strict=True) if value is node]
            return not all(isinstance(key, ast.Constant) and key.value == "params" for key in keys)
        case ast.Assign():
            several = any(isinstance(one, ast.Tuple | ast.List) for one in parent.targets)
            return several or node is not called.node or _taken_by_position(called, parent)
        case ast.Return():
            return node is not called.node
        case ast.Expr():
            return False
        case _:
            return True


def _takes_all(module: Module, call: ast.Call, name: str) -> bool:
    """Whether a call treats each element of each parameter alike: an optimiser, a clipping by the total norm."""
    if name.startswith("clip_grad"):
        return True
    if _is_of_this_file(module, call.func) or name in ("ParameterList", "ParameterDict", "OrderedDict", "Counter"):
        return False
    return name[:1].isupper() or "optim" in name.lower()


def _first_of(whole: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether one element of a comprehension is picked: `[...][2]`, `tuple(...)[:3]`, `next(...)`."""
    node, parent = whole, parents.get(whole)
    while isinstance(parent, ast.Call) and node in parent.args:
        name = parent.func.attr if isinstance(parent.func, ast.Attribute) else getattr(parent.func, "id", "")
        if name == "next" or name in _BY_POSITION:
            return True
        node, parent = parent, parents.get(parent)
    return isinstance(parent, ast.Subscript | ast.Attribute) and parent.value is node


def _applied(module: Module, called: Called, argument: ast.expr, kind: str) -> Refusal | None:
    why = Refusal("a function applied to every layer measures it", Place(called.statement, called.node))
    if isinstance(argument, ast.Lambda):
        variables = {one.arg for one in argument.args.args}
        return _uses(module, called, variables, [argument.body], why, kind)
    name = argument.attr if isinstance(argument, ast.Attribute) else getattr(argument, "id", None)
    if name is None or not module.mentions.has_word(name):
        return None
    for statement in module.statements:
        for scope in module.scopes(statement):
            function = scope.function
            if function.name == name:
                variables = {one.arg for one in function.args.args if one.arg != "self"}
                refusal = _uses(module, called, variables, function.body, why, kind)
                if refusal is not None:
                    return refusal
    return None


def _uses(
    module: Module,
    called: Called,
    variables: set[str],
    body: list[ast.stmt] | list[ast.expr] | list[ast.AST],
    why: Refusal,
    kind: str,
) -> Refusal | None:
    name = called.node.func.attr if isinstance(called.node.func, ast.Attribute) else ""
    of_layers = "modules" in name
    for part in body:
        for node, around in _occurrences(part, variables, ()):
            if provenance.only_for_other_types(module, node, around, kind):
                continue
            if not _is_harmless(node, around, variables, of_layers):
                return why
    return None


def _occurrences(
    node: ast.AST, variables: set[str], around: tuple[ast.AST, ...]
) -> Iterator[tuple[ast.Name, tuple[ast.AST, ...]]]:
    if isinstance(node, ast.Name):
        if node.id in variables and isinstance(node.ctx, ast.Load):
            yield node, around
        return
    for child in ast.iter_child_nodes(node):
        yield from _occurrences(child, variables, (*around, node))


def _is_harmless(node: ast.Name, around: tuple[ast.AST, ...], variables: set[str], of_layers: bool) -> bool:
    """Whether one use of the loop variable would do the same to a merged matrix as to its parts."""
    chain: ast.AST = node
    depth = len(around)
    names: list[str] = []
    while depth and isinstance(around[depth - 1], ast.Attribute):
        depth -= 1
        chain = around[depth]
        assert isinstance(chain, ast.Attribute)
        names.append(chain.attr)
    parent = around[depth - 1] if depth else None
    if names and names[0] in _HARMLESS_ATTRIBUTES:
        return True
    if names and names[-1] in _FILLS and isinstance(parent, ast.Call) and parent.func is chain:
        return not any(_mentions(argument, variables) or _draws(argument) for argument in _arguments(parent))
    match parent:
        case ast.Call(func=func) if chain in parent.args:
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if name in ("isinstance", "hasattr", "type", "getattr", "print", "issubclass", "id"):
                return True
            others = [argument for argument in _arguments(parent) if argument is not chain]
            if name in _FILLS:
                return not any(_mentions(argument, variables) or _draws(argument) for argument in others)
            return name in provenance.SHAPE_INITIALISERS  # looked at on its own
        case ast.Call() if parent.func is chain and names and names[-1] == "numel":
            return depth >= 2 and isinstance(around[depth - 2], ast.GeneratorExp | ast.ListComp | ast.AugAssign)
        case ast.Compare():
            return all(
                isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn | ast.Eq | ast.NotEq) for op in parent.ops
            ) and (not names or names[-1] in ("bias", "weight", "grad"))
        case ast.Assign():
            return chain in parent.targets and names[-1:] in (["requires_grad"], ["grad"])
        case ast.If() | ast.IfExp() | ast.BoolOp() | ast.UnaryOp():
            return names[-1:] in (["requires_grad"], ["bias"], ["grad"])
        case ast.GeneratorExp() | ast.ListComp() | ast.DictComp():
            # `[p for p in model.parameters() if p.requires_grad]`: handed on as they are.
            return not names and not of_layers
        case ast.comprehension():
            return names[-1:] == ["requires_grad"]
        case _:
            # Strings picked from a name: `"bias" in n`, `n.endswith(...)`. Names are looked at on their own.
            return bool(names) and names[-1] in ("endswith", "startswith", "split", "replace", "lower")


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _mentions(node: ast.expr, variables: set[str]) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id in variables for inner in ast.walk(node))


def _draws(node: ast.expr) -> bool:
    """Whether an expression is another one in each turn of a loop."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            name = inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
            if name.startswith(("rand", "normal", "uniform", "next", "pop", "choice", "gauss")):
                return True
    return False
