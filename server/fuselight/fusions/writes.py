"""Who may write in place to a value behind a site: autograd may keep another tensor after a rewrite than before it.

A convolution keeps its input for the backward pass, a padding keeps nothing; ReLU keeps its result, a max pool does
not. Where a rewrite has another tensor kept, or another one handed on, a later in-place write to that tensor makes
`backward()` raise; where a copy becomes a view, it changes values. So the rewrites ask here first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.classes import Layer, resolve
from fuselight.graph.effects import VIEWING_LAYERS, called_name, made_in_place
from fuselight.graph.kinds import CONTAINERS, is_in_place_name, is_torch_layer
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import ANYTHING, EXTERNAL, Consumption, Graph, Value, Write
from fuselight.source.names import bound_names
from fuselight.source.nodes import walk
from fuselight.source.statements import Statement

_BY_POSITION = (
    "ReLU", "ReLU6", "SiLU", "SELU", "Mish", "Hardswish", "Hardsigmoid", "ELU", "CELU", "LeakyReLU", "Hardtanh",
    "RReLU", "Threshold", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout",
)  # fmt: skip
"""Layers that can be asked for in-place work by position, `nn.ReLU(True)`. Source: `torch.nn`, torch 2.13."""

_IN_PLACE_FUNCTIONS = (
    "relu_", "sigmoid_", "tanh_", "clamp_", "elu_", "leaky_relu_", "selu_", "celu_", "hardtanh_", "rrelu_", "dropout_",
    "exp_", "abs_", "neg_", "sqrt_", "relu6_", "threshold_", "add_", "mul_", "sub_", "div_", "zero_", "fill_",
)  # fmt: skip


def works_in_place(module: Module) -> bool:
    """Whether a call of which the file shows nothing else may write to what it is given.

    That is taken to be so where the file asks for in-place work anywhere: by name (`inplace=True`, an option of that
    name), by position (`nn.ReLU(True)`), or by an in-place function that is handed around (`act = torch.relu_`).
    """
    if module.mentions.has_word("inplace", "in_place"):
        return True
    if any(made_in_place(called.node) for called in module.mentions.calls_of(*_BY_POSITION)):
        return True
    return any(module.mentions.used_uncalled(name) for name in _IN_PLACE_FUNCTIONS)


def source_written_behind(
    module: Module, scope: Scope, graph: Graph, value: Value, site: Value, name: str | None = None
) -> Refusal | None:
    """Why `value`, which the rewrite has autograd keep (or alias), may be changed after `site` has read it.

    In a loop, what stands before the site runs again behind it, on whatever the turn does not make anew.
    """
    loops = () if _made_in_the_turn(graph, value, site) else _loops_around(graph, site)
    for write in graph.writes:
        if write.order <= site.order and not _inside(write.node, loops):
            continue
        if write.node is site.node or not write.hits(value.roots):
            continue
        if not write.sure and not _may_write(module, scope, write):
            continue
        how = "is" if write.sure else "may be"
        return Refusal(f"{name or 'its input'} {how} written to in place behind it", _place(scope, write))
    return None


def result_written(module: Module, scope: Scope, graph: Graph, value: Value, name: str | None = None) -> Refusal | None:
    """Why `value`, which the rewrite has another operation make, may be written to in place by whoever gets it.

    Where it is a call of which nothing is known, it is taken to yield memory of its own.
    """
    roots = frozenset({value.order}) if value.order in value.roots else value.roots - {EXTERNAL, ANYTHING}
    loops = () if _made_in_the_turn(graph, value, value) else _loops_around(graph, value)
    for write in graph.writes:
        if write.order <= value.order and not _inside(write.node, loops):
            continue
        # Its own number: not the memory that all parameters may share.
        if write.node is not value.node and write.roots & roots and (write.sure or _may_write(module, scope, write)):
            how = "is" if write.sure else "may be"
            return Refusal(f"{name or 'its result'} {how} written to in place behind it", _place(scope, write))
    if _leaves(module, value, roots) and written_by_others(module, graph.function):
        at = Place(scope.statement, value.node) if value.node is not None else None
        return Refusal(f"{name or 'its result'} is handed on, in a file that works in place", at)
    return None


def written_behind(
    module: Module, scope: Scope, graph: Graph, value: Value, site: Value, name: str | None = None
) -> Refusal | None:
    """Why the function itself writes to `value` in place behind `site`; to what the site makes, calls may do so, too.

    What comes from outside under another name is taken to be other memory.
    """
    roots = value.roots - {EXTERNAL, ANYTHING}
    loops = () if _made_in_the_turn(graph, value, site) else _loops_around(graph, site)
    plain: frozenset[str] | None = None
    for write in graph.writes:
        if write.order <= site.order and not _inside(write.node, loops):
            continue
        if write.node is site.node or write.node is site.statement or write.roots.isdisjoint(roots):
            continue
        if not write.sure and (value is not site or not _may_write(module, scope, write)):
            continue
        if isinstance(write.node, ast.AugAssign):
            plain = _plain_names(graph.function) if plain is None else plain
            if not _is_to_a_tensor(write.node, plain):
                continue
        how = "is" if write.sure else "may be"
        return Refusal(f"{name or 'its input'} {how} written to in place behind it", _place(scope, write))
    return None


def written_by_callers(module: Module, function: Function) -> Refusal | None:
    """Why what `function` is given may be written to in place behind its call: somebody in the file does so to a call.

    What a call itself yields is taken to be memory of its own here.
    """
    module.mentions.look_at_everything()
    for statement in module.statements:
        for scope in module.scopes(statement):
            text = scope.statement.lines_of(scope.function)
            if scope.function is function or _makes(scope.function) or not ("= " in text or "_(" in text):
                continue
            graph = module.graph(scope)
            if graph.opaque is not None:
                continue
            write = _written_argument(graph)
            if write is not None:
                return Refusal("what a call was given is written to in place behind it", _place(scope, write))
    return None


def _written_argument(graph: Graph) -> Write | None:
    sure = [write for write in graph.writes if write.sure]
    if not sure:
        return None
    plain = _plain_names(graph.function)
    calls = [one for kind in ("call", "instance") for one in graph.of_kind(kind) if isinstance(one.node, ast.Call)]
    for write in sure:
        for call in calls:
            if call.order > write.order or call.order in write.roots or call.node is write.node:
                continue
            given = {root for one in (*call.inputs, *call.keywords.values()) for root in one.roots}
            if write.roots & (given - {EXTERNAL, ANYTHING}) and _is_to_a_tensor(write.node, plain):
                return write
    return None


def unknown_may_write(module: Module) -> bool:
    """Whether a layer of which nothing is known may write to what it is given."""
    return works_in_place(module) or any(one.is_call for one in _writers(module))


def written_by_others(module: Module, function: Function | None = None, *, own: bool = False) -> bool:
    """Whether a function of the file, other than `function`, may write in place to what it is given, or a call yields.

    With `own`, to whatever tensor.
    """
    module.mentions.look_at_everything()
    for statement in module.statements:
        for scope in module.scopes(statement):
            if scope.function is not function and not _makes(scope.function) and _writes(module, scope, own):
                return True
    return False


def _writes(module: Module, scope: Scope, own: bool) -> bool:
    text = scope.statement.lines_of(scope.function)
    if not ("= " in text or "_(" in text or works_in_place(module)):
        return False
    graph = module.graph(scope)
    if graph.opaque is not None:
        return works_in_place(module)
    received = {one.order for kind in ("call", "instance", "opaque") for one in graph.of_kind(kind)} | {EXTERNAL}
    plain: frozenset[str] | None = None
    for write in graph.writes:
        if not own and write.roots.isdisjoint(received):
            continue
        if not write.sure:
            if works_in_place(module) and _may_be_of_torch(module, scope, write.node):
                return True
            continue
        plain = _plain_names(scope.function) if plain is None else plain
        if _is_to_a_tensor(write.node, plain):
            return True
    return False


def _may_be_of_torch(module: Module, scope: Scope, call: ast.AST) -> bool:
    """Whether what is called may be a layer of torch that nothing is known of, itself or in a container.

    What a function or class of the file writes to, its own code shows.
    """
    if not isinstance(call, ast.Call) or scope.owner is None:
        return False
    layer = _layer(scope, call.func)
    if layer is not None:
        maker = layer.kind if layer.kind is not None and is_torch_layer(layer.kind) else None
        return maker is not None and not _starts_anew(module, layer)
    match call.func:
        case ast.Name(id=name):
            return name not in module.names.bindings
        case ast.Attribute(attr=attr, value=ast.Name(id=name)) if name == self_parameter(scope.function):
            return attr not in scope.owner.methods
        case ast.Subscript():
            return True
        case _:
            return False


def _makes(function: Function) -> bool:
    """Whether a function makes or initialises layers."""
    return "init" in function.name or function.name == "reset_parameters"


def _is_to_a_tensor(node: ast.AST, plain: frozenset[str]) -> bool:
    """Whether what writes in place may write to a tensor that a name holds, by how it is spelled."""
    match node:
        case ast.AugAssign(target=ast.Name(id=name), value=value):
            return name not in plain and not _is_plain(value, numbers=False)
        case ast.AugAssign(target=ast.Subscript() as target) | (ast.Subscript() as target):
            return any(name not in plain for name, _ in _element(target))
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if is_in_place_name(attr):
            held = value if not _is_module(value) else next(iter(node.args), None)
            while isinstance(held, ast.Subscript):
                held = held.value
            return isinstance(held, ast.Name | ast.Call)
        case ast.Call():
            return True
        case _:
            return False


def _is_module(node: ast.expr) -> bool:
    return called_name(node) in ("torch", "F", "functional", "nn", "init")


def is_fresh(made: ast.Call, kind: str) -> bool:
    """Whether a layer of torch yields memory of its own and leaves its input alone."""
    if not is_torch_layer(kind) or kind in CONTAINERS:
        return False
    return not made_in_place(made) and kind not in VIEWING_LAYERS and "Dropout" not in kind


def _may_write(module: Module, scope: Scope, write: Write) -> bool:
    """Whether a call of which the graph knows nothing may write to what it is given, as far as the file shows it."""
    call = write.node
    if not isinstance(call, ast.Call):  # a comprehension, a generator
        called = {called_name(one.func) or "" for one in ast.walk(call) if isinstance(one, ast.Call)}
        changed = any(map(is_in_place_name, called)) or any(one.name in called for one in _writers(module))
        return changed or works_in_place(module)
    layer = _layer(scope, call.func)
    made = layer.constructor if layer is not None and layer.unknown is None else None
    if _starts_anew(module, layer):
        return False
    if works_in_place(module):
        return True
    name = called_name(call.func)
    maker = called_name(made.func) if made is not None else None
    writers = list(_writers(module))
    if any(one.name == name for one in writers):
        return True
    if layer is None and isinstance(call.func, ast.Name) and module.names.bindings.get(call.func.id) is not None:
        return any(one.owner == name and one.is_call for one in writers)
    binding = module.names.bindings.get(maker) if maker is not None else None
    if binding is not None and binding.local is None:
        return False  # of another file, or of torch: the words have been asked for
    known = isinstance(binding.local, ast.ClassDef) and _has_forward(binding.local) if binding is not None else False
    return any(one.is_call and (not known or one.owner == maker) for one in writers)


def _starts_anew(module: Module, layer: Layer | None) -> bool:
    """Whether a layer is a `nn.Sequential` whose first one yields memory of its own."""
    made = layer.constructor if layer is not None and layer.unknown is None else None
    if layer is None or layer.kind != "torch.nn.Sequential" or made is None or not made.args:
        return False
    first = made.args[0]
    kind = resolve(first.func, module.names) if isinstance(first, ast.Call) else None
    return isinstance(first, ast.Call) and kind is not None and is_fresh(first, kind)


def _has_forward(node: ast.ClassDef) -> bool:
    return any(isinstance(one, Function) and one.name in _CALLED for one in node.body)


def _layer(scope: Scope, func: ast.expr) -> Layer | None:
    if scope.owner is None or not isinstance(func, ast.Attribute) or not isinstance(func.value, ast.Name):
        return None
    return scope.owner.layers.get(func.attr) if func.value.id == self_parameter(scope.function) else None


# -- what the functions of the file write to


_CALLED = ("forward", "__call__")


@dataclass(frozen=True, slots=True, eq=False)
class _Writer:
    """A function that writes in place to a parameter that may hold a tensor."""

    name: str
    owner: str | None
    """The class that it is a method of."""

    @property
    def is_call(self) -> bool:
        return self.name in _CALLED


def _writers(module: Module) -> Iterator[_Writer]:
    module.mentions.look_at_everything()
    for statement in module.statements:
        yield from statement.derive("in-place writers", _writers_of)


def _writers_of(statement: Statement) -> tuple[_Writer, ...]:
    text = statement.text
    if "def " not in text or not ("= " in text or "_(" in text):
        return ()
    found: list[_Writer] = []
    waiting: list[tuple[ast.AST, str | None]] = [(node, None) for node in statement.body]
    while waiting:
        node, owner = waiting.pop()
        if isinstance(node, ast.ClassDef):
            waiting += [(one, node.name) for one in node.body]
        elif isinstance(node, Function):
            if not _makes(node) and _writes_to_parameter(node):
                found.append(_Writer(node.name, owner))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting += [(one, owner) for one in ast.iter_child_nodes(node)]
    return tuple(found)


def _writes_to_parameter(function: Function) -> bool:
    given = function.args
    parameters = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    first: dict[str, int] = {}
    """The line on which a name is first bound to something else."""
    written: list[tuple[str, int]] = []
    for node in walk(function):
        match node:
            case ast.Assign() | ast.AnnAssign(value=ast.expr()):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name in bound_names(target):
                        first[name] = min(first.get(name, node.lineno), node.lineno)
                    if isinstance(target, ast.Subscript):
                        written += _element(target)
            case ast.AugAssign(target=ast.Name(id=name)) if not _is_plain(node.value, numbers=False):
                written.append((name, node.lineno))
            case ast.AugAssign(target=ast.Subscript() as target):
                written += _element(target)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if is_in_place_name(attr):
                written.append((name, node.lineno))
            case _:
                pass
    return any(name in parameters and line <= first.get(name, line) for name, line in written)


def _plain_names(function: Function) -> frozenset[str]:
    """Names that hold numbers, texts, lists."""
    found: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=targets, value=value) if _is_plain(value):
                found.update(name for target in targets for name in bound_names(target))
            case ast.AnnAssign(target=target, value=ast.expr() as value) if _is_plain(value):
                found.update(bound_names(target))
            case _:
                pass
    return frozenset(found)


def _element(target: ast.Subscript) -> Iterator[tuple[str, int]]:
    """The name whose elements are set, where the index is one of a tensor: a slice, several, a comparison."""
    by_slices = isinstance(target.slice, ast.Slice | ast.Tuple | ast.Compare) or (
        isinstance(target.slice, ast.Constant) and target.slice.value is ...
    )
    if isinstance(target.value, ast.Name) and by_slices:
        yield target.value.id, target.lineno


def _is_plain(value: ast.expr, *, numbers: bool = True) -> bool:
    """Whether an expression is a text, a list, or a number that is no tensor's."""
    match value:
        case ast.Constant(value=constant):
            return isinstance(constant, str | bytes) or (numbers and isinstance(constant, int | float))
        case ast.UnaryOp():
            return _is_plain(value.operand, numbers=numbers)
        case ast.Tuple():
            return all(_is_plain(one, numbers=numbers) for one in value.elts)
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.JoinedStr():
            return True
        case ast.Call(func=ast.Attribute(attr="item" | "size" | "numel")):
            return True
        case ast.Call(func=ast.Name(id="int" | "float" | "len" | "str" | "list" | "dict" | "defaultdict")):
            return True
        case _:
            return False


# -- where a value goes


_GROWING = frozenset({"append", "appendleft", "extend", "insert", "setdefault", "update"})
"""Methods that keep what they are given."""


def leaves(module: Module, value: Value) -> bool:
    """Whether a value, or what may be a view of it, is returned, stored or captured."""
    return _leaves(module, value, frozenset({value.order}) if value.order in value.roots else value.roots)


def _leaves(module: Module, value: Value, roots: frozenset[int]) -> bool:
    """Whether a value, or what may be a view of it, leaves the function."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if one.order in seen:
            continue
        seen.add(one.order)
        for use in one.uses:
            if use.how in (Consumption.RETURNED, Consumption.STORED, Consumption.CAPTURED):
                return True
            call = use.by.node if use.by is not None else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _GROWING:
                return True
            if use.by is not None and use.by.roots & roots and not _starts_anew(module, use.by.layer):
                waiting.append(use.by)
    return False


_Loops = tuple[ast.For | ast.AsyncFor | ast.While, ...]


def _loops_around(graph: Graph, site: Value) -> _Loops:
    statement = site.statement
    if statement is None:
        return ()
    return tuple(
        node
        for node in walk(graph.function)
        if isinstance(node, ast.For | ast.AsyncFor | ast.While)
        and node.lineno <= statement.lineno
        and (statement.end_lineno or 0) <= (node.end_lineno or 0)
        and node is not statement
    )


def _made_in_the_turn(graph: Graph, value: Value, site: Value) -> bool:
    """Whether every turn of the loops around `site` makes memory of its own for `value`."""
    loops = _loops_around(graph, site)
    if not loops:
        return True
    inmost = max(loops, key=lambda one: one.lineno)
    makers = {one.order: one for one in graph.values if one.order in value.roots}
    return makers.keys() == value.roots and all(
        one.kind not in ("joined", "parameter", "unpack") and one.node is not None and _inside(one.node, (inmost,))
        for one in makers.values()
    )


def _inside(node: ast.AST, loops: _Loops) -> bool:
    line = getattr(node, "lineno", None)
    return line is not None and any(loop.lineno <= line <= (loop.end_lineno or 0) for loop in loops)


def _place(scope: Scope, write: Write) -> Place | None:
    return Place(scope.statement, write.node) if isinstance(write.node, ast.expr | ast.stmt) else None
