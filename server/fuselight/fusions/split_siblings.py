"""Sibling layers that become one layer, and the output of that one split: `Siblings`, which FUS201 to FUS203 are.

The calls may stand anywhere in one block, or in a comprehension over the layers. Where several sorts of siblings read
one value, each sort is merged by itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.naming import free_local
from fuselight.fusions.plan import Action, Insert, Place, ReplaceExpression, ReplaceStatements, Unpack
from fuselight.fusions.siblings import (
    SORTS,
    Merged,
    Part,
    Sort,
    argument_of,
    bias_of,
    groups,
    input_of,
    layer_as_part,
    listed,
    merge,
    part_of,
    refusal,
    setting,
    unlike,
)
from fuselight.fusions.views import Lies, captured_needs_contiguous, needs_contiguous
from fuselight.graph.classes import ClassInfo, Layer, resolve
from fuselight.graph.kinds import METADATA_ATTRIBUTES, METADATA_METHODS, is_pure_function, is_pure_method
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight.source.nodes import walk
from fuselight_emitter.ir import LogicalNode


class Siblings(Fusion):
    """A fusion that merges sibling layers of some sorts, and splits the output of the merged layer."""

    sorts: ClassVar[tuple[Sort, ...]]

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None:
            return
        kinds = {sort.kind for sort in self.sorts}
        layers = scope.applied_layers if scope.words.isdisjoint(_LOOPING) else scope.named_layers
        if sum(layer.kind in kinds for layer in layers) < 2:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for sort in self.sorts:
            for values in groups(graph, sort):
                yield from self._group(module, scope, graph, owner, values, sort)
        for found in loops(scope, graph, owner, kinds):
            yield self._of_loop(module, scope, graph, owner, found)

    def _group(
        self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, values: list[Value], sort: Sort
    ) -> Iterator[Match]:
        parts: list[Part] = []
        left: list[tuple[Value, Refusal]] = []
        for value in values:
            part = part_of(module, owner, value, sort)
            why = part if isinstance(part, Refusal) else _viewed(module, scope, graph, part)
            if why is not None:
                left.append((value, why))
            elif isinstance(part, Part):
                parts.append(part)
        if len(parts) < 2:
            yield self._refused(scope, values, left[0][1], sort)
            return
        parts.sort(key=lambda part: part.layer.assignment.lineno)
        alike = self._joined(graph, owner, _alike(parts))
        merges = [one for one in alike if len(one) > 1]
        if not merges:
            why = unlike(alike[0][0], alike[1][0])
            assert why is not None
            yield self._refused(scope, [part.value for part in parts], why, sort)
            parts = []
        for one in merges:
            yield self._of_parts(module, scope, graph, owner, one)
        for part in parts:
            why = unlike(merges[0][0], part)
            if why is not None and [part] in alike:
                left.append((part.value, why))
        for value, reason in left:
            yield self._refused(scope, [value], reason, sort)

    def gains_a_bias(self, graph: Graph, owner: ClassInfo, part: Part) -> bool:
        """Whether a bias of a layer that has none would change nothing, now and in training."""
        return False

    def _joined(self, graph: Graph, owner: ClassInfo, alike: list[list[Part]]) -> list[list[Part]]:
        """`alike`, with layers that have no bias among those that have one, where nothing tells the difference."""
        for one in alike:
            homes = [other for other in alike if _lacks_a_bias(other[0], one[0])]
            moved = [part for part in one if homes and self.gains_a_bias(graph, owner, part)]
            if moved:
                left = [part for part in one if part not in moved]
                home = sorted([*homes[0], *moved], key=lambda part: part.layer.assignment.lineno)
                others = [other for other in alike if other is not one and other is not homes[0]]
                return [home, *([left] if left else []), *others]
        return alike

    def _of_parts(self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, parts: list[Part]) -> Match:
        why = refusal(module, owner, parts) or called_apart(scope, graph, parts)
        if why is not None:
            return self._refused(scope, [part.value for part in parts], why, parts[0].sort)
        return self._offered(module, scope, graph, owner, parts)

    def _of_loop(self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, loop: Loop) -> Match:
        names = listed([layer.attribute for layer in loop.layers])
        sort = SORTS[loop.layers[0].kind or ""]
        message = f"{names} are {sort.several} of one input"
        one = _merged_loop(module, scope, graph, owner, loop, sort)
        places = [Place(scope.statement, node) for node in (loop.node, loop.listed, *loop.mentions)]
        if isinstance(one, Refusal):
            return Match(type(self), scope.name, places[0], message, others=tuple(places[1:]), refused=one)

        def plan() -> tuple[Action, ...]:
            return (*one.actions(), *_calls_of_loop(scope, graph, loop, one))

        return Match(
            type(self), scope.name, places[0], message,
            f"Merge {names} into one {sort.one} `{one.name}` ({one.safety.value}: {one.note})", one.safety,
            (*places[1:], *one.constructors()), plan,
        )  # fmt: skip

    def _refused(self, scope: Scope, values: list[Value], refusal: Refusal, sort: Sort) -> Match:
        places = [Place(scope.statement, value.node) for value in values if value.node is not None]
        names = listed([value.layer.attribute for value in values if value.layer is not None])
        message = f"{names} are {sort.several} of one input" if len(values) > 1 else f"{names} is left out of a merge"
        return Match(type(self), scope.name, places[0], message, others=tuple(places[1:]), refused=refusal)

    def _offered(self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, parts: list[Part]) -> Match:
        one = merge(module, owner, parts)
        sort = one.sort
        names = listed([part.name for part in parts])

        def plan() -> tuple[Action, ...]:
            return (*one.actions(), *_calls(scope, graph, one))

        ordered = sorted(parts, key=lambda part: part.value.order)
        places = [Place(scope.statement, part.call) for part in ordered]
        return Match(
            type(self), scope.name, places[0], f"{names} are {sort.several} of one input",
            f"Merge {names} into one {sort.one} `{one.name}` ({one.safety.value}: {one.note})", one.safety,
            (*places[1:], *one.constructors()), plan,
        )  # fmt: skip


def _viewed(module: Module, scope: Scope, graph: Graph, part: Part) -> Refusal | None:
    lies = Lies.IN_CHANNELS if part.sort.spatial else Lies.IN_FEATURES
    return needs_contiguous(module, scope, graph, part.value, part.arguments[part.sort.width], lies)


def _alike(parts: list[Part]) -> list[list[Part]]:
    """The parts, those that may be one layer together."""
    found: list[list[Part]] = []
    for part in parts:
        home = next((one for one in found if unlike(one[0], part) is None), None)
        if home is None:
            found.append([part])
        else:
            home.append(part)
    return found


def _lacks_a_bias(first: Part, part: Part) -> bool:
    """Whether a layer has no bias, another has one, and they differ in nothing else."""
    if bias_of(first) != "True" or bias_of(part) != "False":
        return False
    return all(setting(part, name, one) == setting(first, name, one) for name, one in part.sort.alike.items())


def called_apart(scope: Scope, graph: Graph, parts: list[Part]) -> Refusal | None:
    """All must be called in one block, on a name whose value does not change from the first call's statement on."""
    statement = scope.statement
    ordered = sorted((part.value for part in parts), key=lambda value: value.order)
    first, last = ordered[0], ordered[-1]
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`")
    assert first.node is not None
    at = Place(statement, first.node)
    anchor = first.statement
    if not first.block.is_suite or anchor is None or anchor not in first.block.statements:
        return Refusal("they are called inside a conditional expression or comprehension", at)
    for value in ordered:
        if not isinstance(value.statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return):
            return Refusal("they are called in the head of a compound statement", at)
        if not statement.stands_alone(value.statement):
            return Refusal("a call shares its line with another statement", at)
    source = input_of(first)
    assert source is not None
    if not isinstance(argument_of(first), ast.Name):
        return Refusal("their input has no name", at)
    if source.statement is anchor:
        return Refusal("their input is made in the same statement", at)
    start = min(value.order for value in graph.values if value.statement is anchor)
    write = graph.written_between(source, start - 1, last.order)
    if write is not None:
        place = write.node if isinstance(write.node, ast.expr | ast.stmt) else first.node
        how = "is" if write.sure else "may be"
        return Refusal(f"their input {how} changed between the calls", Place(statement, place))
    if graph.exits_between(first.order, last.order):
        return Refusal("the function may leave between the calls", at)
    return None


def _calls(scope: Scope, graph: Graph, one: Merged) -> Iterator[Action]:
    """One call and a split where the first of the layers is called; a name wherever one of them was."""
    statement = scope.statement
    parts = one.parts
    ordered = sorted(parts, key=lambda part: part.value.order)
    anchor = ordered[0].value.statement
    assert anchor is not None
    block = ordered[0].value.block.statements
    argument = argument_of(ordered[0].value)
    taken = graph.all_names()
    guarded = ordered[0].value.block.guarded
    outputs: dict[str, str] = {}
    removed: list[ast.stmt] = []
    replaced: list[Action] = []
    whole = _tuple_targets(anchor, parts)
    if whole is not None:
        outputs, removed = whole, [anchor]
    else:
        for part in ordered:
            binding = part.value.binding
            name = _bound_early(binding, anchor, block, argument, outputs) if binding is not None else None
            if (
                guarded
                and binding is not None
                and not set(block[block.index(anchor) : block.index(binding)]) <= set(removed)
            ):
                name = None  # an exception in between would find the name bound already
            if name is not None and binding is not None:
                outputs[part.name] = name
                removed.append(binding)
                continue
            fresh = free_local(part.name, taken)
            taken.add(fresh)
            outputs[part.name] = fresh
            replaced.append(ReplaceExpression(statement, part.call, fresh))
    node = LogicalNode(one.name, one.sort.kind, {})
    names = tuple(outputs[part.name] for part in parts)
    unpack = Unpack(node, (statement.source(argument),), names, one.sizes, str(one.sort.dim))
    if anchor in removed:
        yield ReplaceStatements(statement, tuple(removed), (unpack,))
    else:
        yield Insert(statement, anchor, (unpack,))
        if removed:
            yield ReplaceStatements(statement, tuple(removed), (), anchor)
    yield from replaced


def _tuple_targets(anchor: ast.stmt, parts: Sequence[Part]) -> dict[str, str] | None:
    """The targets of `q, k, v = self.q(x), self.k(x), self.v(x)`, where the statement is that and nothing else."""
    match anchor:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=calls)):
            pass
        case _:
            return None
    by_call = {part.call: part.name for part in parts}
    if len(targets) != len(calls) or len(calls) != len(parts):
        return None
    found: dict[str, str] = {}
    for target, call in zip(targets, calls, strict=True):
        if not isinstance(target, ast.Name) or not isinstance(call, ast.Call) or call not in by_call:
            return None
        found[by_call[call]] = target.id
    return found if len(set(found.values())) == len(parts) else None


def _bound_early(
    binding: ast.Assign, anchor: ast.stmt, block: list[ast.stmt], argument: ast.expr, outputs: dict[str, str]
) -> str | None:
    """The target of `name = self.q(x)`, where the name may be bound as early as `anchor`."""
    target = binding.targets[0]
    if not isinstance(target, ast.Name) or len(binding.targets) != 1 or binding not in block:
        return None
    name = target.id
    if name in outputs.values() or (isinstance(argument, ast.Name) and name == argument.id):
        return None
    for statement in block[block.index(anchor) : block.index(binding)]:
        if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement)):
            return None
    return name


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """Layers that are called by the name of a loop: `q, k, v = (layer(x) for layer in (self.q, self.k, self.v))`."""

    node: ast.expr | ast.stmt
    listed: ast.expr
    """The tuple or list of the layers."""
    name: str
    layers: tuple[Layer, ...]
    mentions: tuple[ast.expr, ...]
    body: ast.expr | None
    """What is computed for each layer; None where that is more than an expression."""
    call: ast.Call | None
    """The one call of the loop's name, `layer(x)`."""


_LOOPING = frozenset({"for", "map"})


def loops(scope: Scope, graph: Graph, owner: ClassInfo, kinds: set[str]) -> Iterator[Loop]:
    """The comprehensions, `map`s and `for` loops over layers that are named one by one."""
    if scope.words.isdisjoint(_LOOPING):
        return
    for node in walk(graph.function):
        match node:
            case ast.GeneratorExp() | ast.ListComp() if len(node.generators) == 1:
                part = node.generators[0]
                plain = not part.ifs and not part.is_async
                target, over, body = part.target, part.iter, node.elt if plain else None
            case ast.Call(func=ast.Name(id="map"), args=[ast.Lambda() as function, over]):
                given = function.args
                one = len(given.args) == 1 and not (given.defaults or given.vararg or given.kwonlyargs or given.kwarg)
                target, body = (ast.Name(given.args[0].arg) if given.args else None), function.body if one else None
            case ast.For():
                target, over, body = node.target, node.iter, None
            case _:
                continue
        if not (isinstance(target, ast.Name) and isinstance(over, ast.Tuple | ast.List) and len(over.elts) > 1):
            continue
        if not any(isinstance(one, ast.Call) and _is_name(one.func, target.id) for one in ast.walk(node)):
            continue
        layers = [_own_layer(element, owner) for element in over.elts]
        of_kind = {layer.kind for layer in layers if layer is not None}
        if None in layers or len(of_kind) != 1 or not of_kind <= kinds or len(set(layers)) < len(layers):
            continue
        call = _only_call(body, target.id) if body is not None else None
        found = tuple(layer for layer in layers if layer is not None)
        yield Loop(node, over, target.id, found, tuple(over.elts), body, call)


def _own_layer(node: ast.expr, owner: ClassInfo) -> Layer | None:
    match node:
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return owner.layers.get(name)
        case _:
            return None


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _only_call(body: ast.expr, name: str) -> ast.Call | None:
    """`layer(x)` in the body of a loop over `layer`, where that is its one mention."""
    uses = [node for node in ast.walk(body) if isinstance(node, ast.Name) and node.id == name]
    calls = [node for node in ast.walk(body) if isinstance(node, ast.Call) and node.func in uses]
    if len(uses) != 1 or len(calls) != 1:
        return None
    call = calls[0]
    if len(call.args) != 1 or call.keywords or not isinstance(call.args[0], ast.Name) or call.args[0].id == name:
        return None
    return call


def _merged_loop(
    module: Module, scope: Scope, graph: Graph, owner: ClassInfo, loop: Loop, sort: Sort
) -> Merged | Refusal:
    """The layers of a loop as one layer, their rows in the order of the loop."""
    at = Place(scope.statement, loop.node)
    if loop.body is None or loop.call is None:
        return Refusal("they are called by the name of a loop, which does more than call each once", at)
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`")
    value = _value_of(graph, loop)
    if value is None or value.statement is None:
        return Refusal("they are called inside a conditional expression or comprehension", at)
    if not (isinstance(loop.node, ast.ListComp) or _targets(value.statement, loop.node)):
        return Refusal("they are called only when something asks for the next of them", at)
    why = _moved_ahead(scope, graph, loop, value, at) or _beside_the_call(module, graph, loop.body, loop.call, at)
    if why is not None:
        return why
    parts: list[Part] = []
    for layer, mention in zip(loop.layers, loop.mentions, strict=True):
        part = layer_as_part(module, owner, layer, value, loop.call, sort, frozenset({mention}))
        if isinstance(part, Refusal):
            return part
        why = unlike(parts[0], part) if parts else None
        if why is not None:
            return why
        parts.append(part)
    lies = Lies.IN_CHANNELS if sort.spatial else Lies.IN_FEATURES
    why = captured_needs_contiguous(module, graph, loop.body, lies, loop.layers[0].attribute) or needs_contiguous(
        module, scope, graph, value, None, lies, loop.layers[0].attribute
    )
    return why or refusal(module, owner, parts) or merge(module, owner, parts)


def _moved_ahead(scope: Scope, graph: Graph, loop: Loop, value: Value, at: Place) -> Refusal | None:
    """Why the calls cannot stand before the statement of the loop."""
    anchor = value.statement
    assert loop.call is not None
    simple = isinstance(anchor, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)
    if not (simple and value.block.is_suite and anchor in value.block.statements):
        return Refusal("they are called in the head of a compound statement, or under a condition", at)
    assert anchor is not None
    if not scope.statement.stands_alone(anchor):
        return Refusal("a call shares its line with another statement", at)
    source = _input_of_loop(graph, loop.call, value)
    if source is None or source.statement is anchor or any(isinstance(one, ast.NamedExpr) for one in ast.walk(anchor)):
        return Refusal("their input is made in the same statement", at)
    start = min(one.order for one in graph.values if one.statement is anchor)
    for write in graph.writes:
        if start - 1 < write.order < value.order and write.node is not loop.node and write.hits(source.roots):
            return Refusal("their input may be changed in the same statement", at)
    return None


def _input_of_loop(graph: Graph, call: ast.Call, value: Value) -> Value | None:
    """What the input's name holds where the loop is."""
    for one in graph.values:
        if one.order < value.order and any(use.node is call.args[0] for use in one.uses):
            return one
    return None


def _value_of(graph: Graph, loop: Loop) -> Value | None:
    return next((one for one in graph.values if one.node is loop.node), None)


def _beside_the_call(module: Module, graph: Graph, body: ast.expr, call: ast.Call, at: Place) -> Refusal | None:
    """What a loop does with `layer(x)` besides calling it may change nothing that the next call reads."""
    assert isinstance(call.args[0], ast.Name)
    allowed = {id(call.args[0])}
    for node in ast.walk(body):
        if isinstance(node, ast.NamedExpr | ast.Lambda | ast.Await | ast.Yield | ast.YieldFrom | _COMPREHENSION):
            return Refusal("the loop does more than call each of them once", at)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METADATA_ATTRIBUTES:
            allowed.add(id(node.value))
        if not isinstance(node, ast.Call) or node is call:
            continue
        if isinstance(node.func, ast.Attribute) and is_pure_method(node.func.attr):
            if node.func.attr in METADATA_METHODS:
                allowed.add(id(node.func.value))
            continue
        path = resolve(node.func, module.names, graph.local)
        if path is None or not is_pure_function(path) or any(one.arg in ("out", "inplace") for one in node.keywords):
            return Refusal(f"the loop calls `{ast.unparse(node.func)[:60]}`, which may change their input", at)
    name = call.args[0].id
    for node in ast.walk(body):
        if isinstance(node, ast.Name) and node.id == name and id(node) not in allowed:
            return Refusal("the loop uses their input besides", at)
    return None


_COMPREHENSION = ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp


def _calls_of_loop(scope: Scope, graph: Graph, loop: Loop, one: Merged) -> Iterator[Action]:
    """One call and a split before the statement of the loop, which then goes over the pieces."""
    value = _value_of(graph, loop)
    assert loop.call is not None
    assert value is not None
    assert value.statement is not None
    statement, anchor = scope.statement, value.statement
    argument = statement.source(loop.call.args[0])
    targets = _targets(anchor, loop.node)
    node = LogicalNode(one.name, one.sort.kind, {})
    if loop.body is loop.call and len(targets) == len(loop.layers):
        unpack = Unpack(node, (argument,), targets, one.sizes, str(one.sort.dim))
        yield ReplaceStatements(statement, (anchor,), (unpack,))
        return
    names = targets
    read = {node.id for node in ast.walk(loop.node) if isinstance(node, ast.Name)}
    if len(targets) != len(loop.layers) or read & set(targets) or value.block.guarded:
        taken = graph.all_names()
        fresh: list[str] = []
        for layer in loop.layers:
            fresh.append(free_local(layer.attribute, taken))
            taken.add(fresh[-1])
        names = tuple(fresh)
    yield Insert(statement, anchor, (Unpack(node, (argument,), names, one.sizes, str(one.sort.dim)),))
    yield ReplaceExpression(statement, loop.listed, f"({', '.join(names)})")
    yield ReplaceExpression(statement, loop.call, loop.name)


def _targets(anchor: ast.stmt, node: ast.AST) -> tuple[str, ...]:
    """The names of `q, k, v = <node>`; none where the statement is another."""
    match anchor:
        case ast.Assign(targets=[ast.Tuple(elts=targets) | ast.List(elts=targets)], value=bound) if bound is node:
            names = tuple(target.id for target in targets if isinstance(target, ast.Name))
            return names if len(set(names)) == len(targets) else ()
        case _:
            return ()
