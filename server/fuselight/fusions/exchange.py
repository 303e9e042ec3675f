"""Two operations in a row that change places: when nobody can tell, and how the edit writes it.

`outer(inner(x))` becomes `inner(outer(x))`. What is written is the user's own source in another order: in the place of
a nested expression, or over two statements, one for each.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.literals import Element, Literal, literals, seen_between
from fuselight.fusions.plan import Action, Place, ReplaceExpression, ReplaceStatements, SwapExpressions, Within
from fuselight.fusions.sizes import LINEAR, arguments
from fuselight.fusions.writes import (
    is_fresh,
    result_written,
    source_written_behind,
    unknown_may_write,
    works_in_place,
    written_by_others,
)
from fuselight.graph.classes import assigned_names, resolve
from fuselight.graph.effects import made_in_place
from fuselight.graph.kinds import CONTAINERS, METADATA_ATTRIBUTES, is_torch_layer
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import argument, rank_of, surely_runs
from fuselight.graph.values import Graph, Value
from fuselight.source.names import bound_names

_REFERENCE = frozenset("reference ref naive test expected golden".split())
"""Words in a function's name that say it is compared with something."""

_UNSEEN = frozenset({"call", "opaque", "instance"})
"""Kinds that may do anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An operation and the one that takes its result."""

    inner: Value
    outer: Value
    operand: ast.expr
    """What the inner one works on."""
    hole: ast.expr
    """Where the inner one's result stands in the outer one."""
    changes: tuple[tuple[ast.expr, str], ...] = ()
    """Parts of the outer one that are spelled otherwise once it works on the operand."""

    @property
    def nested(self) -> bool:
        """Whether the one is written inside the other."""
        return self.hole is self.inner.node

    @property
    def places(self) -> tuple[ast.expr, ...]:
        return tuple(value.node for value in (self.outer, self.inner) if value.node is not None)


def pair_of(outer: Value) -> Pair | None:
    """The operation whose result `outer` works on, with it; None where `outer` works on nothing that is computed."""
    taken = operand_of(outer)
    if taken is None:
        return None
    inner, hole = taken
    worked_on = operand_of(inner)
    if worked_on is None or inner.order >= outer.order:
        return None
    return Pair(inner, outer, worked_on[1], hole)


def operand_of(value: Value) -> tuple[Value, ast.expr] | None:
    """What a call, a method or a subscript works on: its first argument, or `input=`, or what its dot is behind."""
    node = value.node
    if isinstance(node, ast.Subscript):
        return (value.inputs[0], node.value) if len(value.inputs) == 2 and value.kind == "getitem" else None
    if not isinstance(node, ast.Call):
        return None
    if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
        return None
    named = next((one for one in node.keywords if one.arg == "input"), None)
    if named is not None:
        given = value.keywords.get("input")
        if given is None and value.inputs and not node.args and value.kind != "call":
            given = value.inputs[0]
        return (given, named.value) if given is not None and not node.args else None
    if not value.inputs:
        return None
    if value.kind != "call" and isinstance(node.func, ast.Attribute) and len(value.inputs) == len(node.args) + 1:
        return (value.inputs[0], node.func.value) if value.layer is None else None
    return (value.inputs[0], node.args[0]) if node.args else None


def refusal_of(module: Module, scope: Scope, graph: Graph, pair: Pair) -> Refusal | None:
    """Why the two may not change places, whatever they compute."""
    inner, outer = pair.inner, pair.outer
    assert inner.node is not None
    assert outer.node is not None
    statement = scope.statement
    at = Place(statement, inner.node)
    for node in (inner.node, outer.node):
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                return Refusal("a name is bound inside the expression", Place(statement, part))
    if len(inner.uses) != 1 or (inner.binding is not None and inner.reads != 1):
        other = next((use.node for use in inner.uses if use.by is not outer), None)
        place = Place(statement, other) if isinstance(other, ast.expr | ast.stmt) else at
        return Refusal(f"`{short(statement.source(inner.node))}` is used again", place)
    if inner.block is not outer.block:
        return Refusal("the two are computed in different branches or loops", at)
    for value in (inner, outer):
        if value.layer is not None and scope.owner is not None:
            refusal = provenance.replaced(module, scope.owner, value.layer)
            if refusal is not None:
                return refusal
    for value in graph.values:
        if not inner.order < value.order < outer.order or value.kind not in _UNSEEN:
            continue
        if not isinstance(value.node, ast.Slice) and _within(outer.node, value.node):
            return Refusal("something is called between the two", Place(statement, value.node or outer.node))
    write = graph.written_between(inner, inner.order, outer.order)
    if write is not None:
        place = write.node if isinstance(write.node, ast.expr | ast.stmt) else inner.node
        return Refusal("what the first computes may be changed before the second", Place(statement, place))
    if graph.exits_between(inner.order, outer.order):
        return Refusal("the function may leave, or torch be switched over, between the two", at)
    if pair.nested:
        changed = next((one for one in graph.writes if inner.order < one.order < outer.order), None)
        return Refusal("something is written between the two", at) if changed is not None else None
    return _apart(scope, graph, pair, at)


def _apart(scope: Scope, graph: Graph, pair: Pair, at: Place) -> Refusal | None:
    """Why two operations in different statements may not change places: something does not mean the same there."""
    inner, outer = pair.inner, pair.outer
    statement = scope.statement
    name = _held(inner)
    if not scope.name or name is None or not (isinstance(pair.hole, ast.Name) and pair.hole.id == name):
        return Refusal("what the first computes is not in a variable of its own", at)
    assert outer.node is not None
    body = inner.block.statements
    if not inner.block.is_suite or inner.binding not in body or outer.statement not in body:
        return Refusal("the two are computed in different branches or loops", at)
    assert inner.binding is not None
    for node in ast.walk(scope.function):
        if isinstance(node, ast.Try | ast.TryStar) and any(_within(one, inner.binding) for one in node.body):
            return Refusal("an exception between the two may be caught, and find the name bound otherwise", at)
    between = body[body.index(inner.binding) : body.index(outer.statement)]
    bound = assigned_names(between, statement)
    stored = {
        node.attr
        for one in between
        for node in ast.walk(one)
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
    }
    for node in _outside(outer.node, pair.hole):
        if isinstance(node, ast.Name) and node.id in bound:
            return Refusal(f"`{node.id}` is bound only behind the first", Place(statement, node))
        if isinstance(node, ast.Attribute) and node.attr in stored:
            return Refusal(f"`{ast.unparse(node)}` is set only behind the first", Place(statement, node))
    calls = (one.node for one in graph.values if inner.order < one.order < outer.order and one.kind in _UNSEEN)
    called = next((node for node in calls if isinstance(node, ast.Call)), None)
    if called is not None:
        for node in _attributes(outer.node, pair.hole):
            return Refusal(f"`{ast.unparse(node)}` may be changed between the two", Place(statement, called))
    start = min(value.order for value in graph.values if value.statement is inner.binding)
    for value in _leaves(outer, inner):
        write = graph.written_between(value, start - 1, outer.order)
        if write is not None:
            place = write.node if isinstance(write.node, ast.expr | ast.stmt) else outer.node
            return Refusal("what the second is given may be changed between the two", Place(statement, place))
    return None


def actions_of(scope: Scope, pair: Pair) -> tuple[Action, ...]:
    """The edit that lets the two change places."""
    inner, outer = pair.inner.node, pair.outer.node
    assert inner is not None
    assert outer is not None
    statement = scope.statement
    moved = Within(outer, ((pair.hole, Within(pair.operand)), *pair.changes))
    if pair.nested:
        return (ReplaceExpression(statement, outer, Within(inner, ((pair.operand, moved),))),)
    assert pair.inner.binding is not None
    if _neighbours(pair):
        renamed = _held(pair.outer) != _held(pair.inner) and statement.stands_alone(pair.inner.binding)
        if not renamed and not _commented(scope, pair):
            return (
                ReplaceExpression(statement, inner, moved),
                ReplaceExpression(statement, outer, Within(inner, ((pair.operand, Within(pair.hole)),))),
            )
        if renamed:
            return (
                ReplaceExpression(statement, outer, Within(inner, ((pair.operand, moved),))),
                ReplaceStatements(statement, (pair.inner.binding,), (), pair.outer.binding),
            )
    up = ReplaceExpression(statement, pair.operand, moved)
    same = pair.outer.binding is not None and _held(pair.outer) == _held(pair.inner)
    if same and pair.outer.binding is not None and statement.stands_alone(pair.outer.binding):
        return (up, ReplaceStatements(statement, (pair.outer.binding,), (), pair.inner.binding))
    return (up, ReplaceExpression(statement, outer, Within(pair.hole)))


def removed_by(scope: Scope, pair: Pair) -> tuple[ast.stmt, ...]:
    """The statements that are gone afterwards."""
    return tuple(node for one in actions_of(scope, pair) if isinstance(one, ReplaceStatements) for node in one.removed)


@dataclass(frozen=True, slots=True, eq=False)
class Seated:
    """Two elements of a `nn.Sequential` literal, one behind the other, with the one before and those behind."""

    literal: Literal
    before: Element | None
    inner: Element
    outer: Element
    behind: tuple[Element, ...]

    @property
    def places(self) -> tuple[Place, Place]:
        return Place(self.literal.statement, self.outer.node), Place(self.literal.statement, self.inner.node)


def seated(module: Module, scope: Scope) -> Iterator[Seated]:
    """Every two neighbours, both calls of known layers, in the literals that a function makes."""
    for literal in literals(module, scope):
        elements = literal.elements
        for at, (inner, outer) in enumerate(pairwise(elements)):
            if inner.kind is not None and outer.kind is not None:
                yield Seated(literal, elements[at - 1] if at else None, inner, outer, elements[at + 2 :])


def refusal_in_literal(module: Module, pair: Seated) -> Refusal | None:
    """Why two elements of a literal may not change places, whatever they compute."""
    statement = pair.literal.statement
    starts = statement.lines.starts
    end = pair.outer.node.end_lineno or 0
    first, second = statement.span(pair.inner.node), statement.span(pair.outer.node)
    if second.start < first.end:
        return Refusal("the elements do not stand one behind the other", pair.places[0])
    text = statement.text[first.start : starts[end] if end < len(starts) else None]
    if "#" in text:
        return Refusal("a comment speaks of one of them, which would stand beside the other", pair.places[0])
    return seen_between(module, pair.literal)


def kept_in_literal(module: Module, pair: Seated, result: bool) -> Refusal | None:
    """Why what autograd comes to keep may be written to: the literal's input, or (`result`) the outer one's result."""
    literal = pair.literal
    elements = literal.elements
    at = elements.index(pair.inner)
    source = not any(one.kind is not None and is_fresh(one.call, one.kind) for one in elements[:at])
    for element in pair.behind if result else ():
        if element.kind is None or not is_torch_layer(element.kind) or element.kind in CONTAINERS:
            if unknown_may_write(module):
                place = Place(literal.statement, element.node)
                return Refusal("what autograd would have to keep may be written to in place behind the two", place)
            continue
        if made_in_place(element.call):
            place = Place(literal.statement, element.node)
            return Refusal("what autograd would have to keep is written to in place behind the two", place)
        if is_fresh(element.call, element.kind):
            result = False
            break
    return _kept_by_callers(module, pair, source, result) if source or result else None


def _kept_by_callers(module: Module, pair: Seated, source: bool, result: bool) -> Refusal | None:
    """As `kept_in_literal`, of what those do that call the literal: the methods of its class, where only they can."""
    calls = list(_calls_of(module, pair.literal) or ())
    for scope, graph, value in calls:
        refusal = None
        if source and value.inputs:
            refusal = source_written_behind(module, scope, graph, value.inputs[0], value)
        if refusal is None and result:
            refusal = result_written(module, scope, graph, value)
        if refusal is not None:
            return refusal
    if calls or not (works_in_place(module) or written_by_others(module, own=source)):
        return None
    return Refusal("what autograd would have to keep may be written to in place behind the two", pair.places[0])


def _calls_of(module: Module, literal: Literal) -> list[tuple[Scope, Graph, Value]] | None:
    """Every call of a literal that an attribute holds; None where it is not seen by whom else it may be called."""
    owner, seat, name = literal.owner, literal.seat, literal.seat.attribute
    if owner is None or name is None or not seat.plain or literal.path != name or literal.run:
        return None
    found: list[tuple[Scope, Graph, Value]] = []
    for scope in module.scopes(literal.statement):
        if scope.owner is not owner or name not in scope.words or scope.function is literal.scope.function:
            continue
        graph = module.graph(scope)
        if graph.opaque is not None:
            return None
        mine = (one for one in graph.values if one.layer is not None and one.layer.owner is owner)
        found += [(scope, graph, one) for one in mine if one.layer is not None and one.layer.attribute == name]
    mentioned = 0
    for mention in module.mentions.of_attribute(name):
        other = module.classes.by_node.get(mention.owner) if mention.owner is not None else None
        same = other is None or other is owner or name not in other.own_layers
        mentioned += same and not isinstance(mention.node.ctx, ast.Store)
    return found if mentioned == len(found) else None


def actions_in_literal(pair: Seated) -> tuple[Action, ...]:
    """The edit that lets two elements change places, with their names where they have names."""
    inner, outer = pair.inner.node, pair.outer.node
    if not pair.literal.numbered:
        inner, outer = _with_its_name(pair.literal, inner), _with_its_name(pair.literal, outer)
    return (SwapExpressions(pair.literal.statement, inner, outer),)


def _with_its_name(literal: Literal, element: ast.expr) -> ast.expr:
    """`("conv", nn.Conv2d(...))` of an OrderedDict."""
    return next(node for node in ast.walk(literal.call) if isinstance(node, ast.Tuple) and node.elts[1:] == [element])


NORM = ("normalized_shape", "eps", "elementwise_affine", "bias", "device", "dtype")
"""The positional parameters of `torch.nn.LayerNorm`, torch 2.13."""

_FEATURES = {"torch.nn.Linear": LINEAR, "torch.nn.LayerNorm": NORM, "torch.nn.RMSNorm": NORM}
_HANDED_ON = frozenset(
    "relu gelu silu tanh sigmoid leaky_relu elu selu mish dropout torch.nn.GELU torch.nn.LeakyReLU torch.nn.ELU"
    " torch.nn.Dropout".split()
)


def goes_on_as_features(graph: Graph, pair: Pair, width: str | None) -> bool:
    """Whether what the outer one yields surely goes into a layer for as many features as the inner one gives (`width`).

    Of a matrix, a position taken or averaged out would leave one number for each row, and that layer would be one over
    the rows, of which there would have to be that many.
    """
    maker = pair.inner.layer.owner if pair.inner.layer is not None else None
    if width is None or maker is None:
        return False
    waiting = [pair.outer]
    while waiting:
        one = waiting.pop()
        for use in one.uses:
            by = use.by
            if by is None or not surely_runs(graph, by.block, by.order, pair.outer):
                continue
            if by.kind in _HANDED_ON:
                waiting.append(by)
            if by.kind not in _FEATURES or by.layer is None or by.layer.constructor is None:
                continue
            names = _FEATURES[by.kind]
            size = (arguments(by.layer.constructor, names) or {}).get(names[0])
            if size is not None and ast.unparse(size) == width and by.layer.owner is maker:
                return True
    return False


def takes_a_matrix(scope: Scope, graph: Graph, linear: Value) -> bool:
    """Whether the weight of `F.linear` surely has two dimensions: of one with one, the result lacks the last one."""
    weight = argument(linear, 1, "weight")
    if weight is None:
        return False
    if rank_of(graph, weight, linear).least >= 2:
        return True
    match weight.node:
        case ast.Attribute(value=ast.Attribute(value=ast.Name(), attr=attr), attr="weight") if scope.owner is not None:
            layer = scope.owner.layers.get(attr)
            return layer is not None and layer.unknown is None and layer.kind in _MATRICES
        case _:
            return False


_MATRICES = ("torch.nn.Linear", "torch.nn.Embedding")


def reads_as_reference(scope: Scope) -> bool:
    """Whether a function computes what something else is compared with."""
    return not _REFERENCE.isdisjoint(scope.name.replace(".", "_").lower().split("_"))


def function_name(module: Module, graph: Graph, value: Value) -> str | None:
    """The fully qualified name of the function that a call calls."""
    node = value.node
    return resolve(node.func, module.names, graph.local) if isinstance(node, ast.Call) else None


def label_of(scope: Scope, value: Value) -> str:
    """What is called, as the user writes it: `norm`, `F.relu`, `x.mean`."""
    if value.layer is not None:
        return value.layer.attribute
    node = value.node
    func = node.func if isinstance(node, ast.Call) else node
    taken = operand_of(value)
    if isinstance(func, ast.Attribute) and taken is not None and taken[1] is func.value:
        return func.attr
    return short(scope.statement.source(func)) if func is not None else value.kind


def _held(value: Value) -> str | None:
    """The name that holds a value, where a statement does nothing but bind it."""
    target = value.binding.targets[0] if value.binding is not None else None
    return target.id if isinstance(target, ast.Name) else None


def _neighbours(pair: Pair) -> bool:
    """Whether the two are all that two lines one below the other compute, so that each can take the other's place."""
    first, second = pair.inner.binding, pair.outer.binding
    body = pair.inner.block.statements
    if first is None or second is None or body.index(second) != body.index(first) + 1:
        return False
    inner = pair.inner.node
    assert inner is not None
    names = set(bound_names(first.targets[0]))
    return not any(isinstance(node, ast.Name) and node.id in names for node in _outside(inner, pair.operand))


def _commented(scope: Scope, pair: Pair) -> bool:
    """Whether a comment speaks of one of two neighbours."""
    first, second = pair.inner.binding, pair.outer.binding
    assert first is not None
    assert second is not None
    starts = scope.statement.lines.starts
    end = second.end_lineno or 0
    text = scope.statement.text[starts[first.lineno - 1] : starts[end] if end < len(starts) else None]
    return "#" in text


def _leaves(value: Value, inner: Value) -> Iterator[Value]:
    """What a call is given besides `inner`, down to what was there before."""
    waiting = [one for one in (*value.inputs, *value.keywords.values()) if one is not inner]
    while waiting:
        one = waiting.pop()
        if one.order < inner.order or one.kind == "attribute" or not (one.inputs or isinstance(one.node, ast.Slice)):
            yield one
        else:
            waiting += [*one.inputs, *one.keywords.values()]


def _attributes(node: ast.expr, hole: ast.expr) -> Iterator[ast.Attribute]:
    """The attributes that an expression reads, besides those of one part, the names of methods and sizes."""
    parts = list(_outside(node, hole))
    called = {part.func for part in parts if isinstance(part, ast.Call)}
    for part in parts:
        if isinstance(part, ast.Attribute) and part not in called and part.attr not in METADATA_ATTRIBUTES:
            yield part


def _outside(node: ast.AST, hole: ast.AST) -> Iterator[ast.AST]:
    """The nodes of an expression besides those of one part of it."""
    if node is hole:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside(child, hole)


def _within(around: ast.AST, node: ast.AST | None) -> bool:
    return node is None or any(one is node for one in ast.walk(around))


def short(source: str) -> str:
    """Source on one line, cut where it is long."""
    text = " ".join(source.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
