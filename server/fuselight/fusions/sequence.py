"""Fusions of layers that follow one another: as statements, as nested calls, and inside `nn.Sequential` literals."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.literals import SEQUENTIAL, Literal, literals, seen_between
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, Layer
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Value
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One layer of a chain."""

    kind: str
    layer: Layer
    """The attribute that holds it: itself, or the `nn.Sequential` around it."""
    call: ast.Call
    """Its constructor."""
    path: str
    """Its name in the state dict, from its class on: `conv1`, `net.0`."""
    value: Value | None = None
    """Its call in a forward; None for an element of a `nn.Sequential`."""

    @property
    def statement(self) -> Statement:
        return self.layer.statement

    @property
    def label(self) -> str:
        """As a reader would write it: `conv1`, `net[0]`."""
        root, *rest = self.path.split(".")
        return root + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest)

    def logical(self, **changes: str) -> LogicalNode:
        """The constructor as a logical node, with `changes` among its keywords."""
        return LogicalNode(self.layer.attribute, self.kind, call_metadata(self.statement, self.call) | changes)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Layers of which each has the one before it as its only input."""

    links: tuple[Link, ...]
    scope: str
    owner: ClassInfo
    """The class in whose `__init__` they are made."""
    places: tuple[Place, ...]
    refusal: Refusal | None
    """Why the layers are not a chain of which only the ends can be seen."""
    anchor: ast.stmt | None
    """The statement behind which something about the chain can be registered."""


class Sequence(Fusion):
    """A fusion of layers in a row: `kinds` says which; `judge` what is to be done with a chain of them."""

    kinds: ClassVar[tuple[frozenset[str], ...]]

    def judge(self, module: Module, chain: Chain) -> Iterator[Match]:
        """The match of a chain. A chain with a refusal is to be refused, if the fusion would have wanted it at all."""
        raise NotImplementedError

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None:
            return
        words = scope.words
        found = {layer.kind for layer in owner.layers.values() if layer.attribute in words}
        if all(kinds & found for kinds in self.kinds):
            for chain in self._called(module, scope, owner):
                yield from self.judge(module, chain)
        if scope.function is owner.methods.get("__init__"):
            for chain in self._literal(module, scope, owner):
                yield from self.judge(module, chain)

    # -- chains of calls

    def _called(self, module: Module, scope: Scope, owner: ClassInfo) -> Iterator[Chain]:
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for kind in sorted(self.kinds[0]):
            for first in graph.of_kind(kind):
                values = self._follow(first)
                if values is not None:
                    yield self._chain(module, scope, owner, values)

    def _follow(self, first: Value) -> list[Value] | None:
        values = [first]
        for kinds in self.kinds[1:]:
            following = [
                use.by
                for use in values[-1].consumers
                if use.how is Consumption.INPUT and use.by is not None and use.by.kind in kinds
            ]
            if not following:
                return None
            values.append(following[0])
        return values

    def _chain(self, module: Module, scope: Scope, owner: ClassInfo, values: list[Value]) -> Chain:
        links: list[Link] = []
        refusal = provenance.known_class(module, owner)
        for value, kinds in zip(values, self.kinds, strict=True):
            layer = value.layer
            assert layer is not None
            assert layer.constructor is not None
            assert isinstance(value.node, ast.Call)
            links.append(Link(value.kind, layer, layer.constructor, layer.attribute, value))
            refusal = (
                refusal
                or provenance.plain_layer(layer, kinds, "one of the layers of the chain")
                or provenance.touched(module, owner, layer, value.node)
                or _single_input(value, scope.statement)
            )
        for value in values[:-1]:
            refusal = refusal or _single_consumer(value, scope.statement)
        refusal = refusal or provenance.found_by_computed_name(module, owner)
        maker = links[0].layer.owner
        if refusal is None and any(link.layer.owner is not maker for link in links):
            refusal = Refusal("the layers are made in different classes")
        if refusal is None and self_parameter(links[0].layer.init) != "self":
            refusal = Refusal("`__init__` does not call its instance `self`")
        refusal = refusal or _named(module, links)
        places = tuple(Place(scope.statement, value.node) for value in values if value.node is not None)
        anchor = _last([link.layer.assignment for link in links], links[0].layer.block)
        if not maker.statement.stands_alone(anchor):
            refusal = refusal or Refusal(
                "the layers share a line with another statement", Place(maker.statement, anchor)
            )
        return Chain(tuple(links), scope.name, maker, places, refusal, anchor)

    # -- elements of a literal

    def _literal(self, module: Module, scope: Scope, owner: ClassInfo) -> Iterator[Chain]:
        for literal in literals(module, scope):
            if literal.seat.plain and not literal.run:
                yield from self._in_literal(module, scope, owner, literal)

    def _in_literal(self, module: Module, scope: Scope, owner: ClassInfo, literal: Literal) -> Iterator[Chain]:
        seat = literal.seat
        layer = owner.own_layers[seat.attribute] if seat.attribute is not None else None
        if layer is None:
            assert isinstance(seat.anchor, ast.Expr)
            layer = Layer("self", literal.call, SEQUENTIAL, owner, scope.function, seat.anchor, scope.function.body)
        length = len(self.kinds)
        for at in range(len(literal.elements) - length + 1):
            run = literal.elements[at : at + length]
            if not all(element.kind in kinds for element, kinds in zip(run, self.kinds, strict=True)):
                continue
            links = tuple(Link(element.kind or "", layer, element.call, literal.key(element) or "") for element in run)
            why = _literal_refusal(module, scope, literal, layer, links)
            places = tuple(Place(layer.statement, link.call) for link in links[1:])
            yield Chain(links, scope.name, owner, places, why, seat.anchor)


def _literal_refusal(
    module: Module, scope: Scope, literal: Literal, layer: Layer, links: tuple[Link, ...]
) -> Refusal | None:
    for link in links:
        if any(isinstance(one, ast.Starred) for one in link.call.args) or any(
            keyword.arg is None for keyword in link.call.keywords
        ):
            return Refusal(
                f"the constructor of `{link.label}` takes `*` or `**` arguments", Place(link.statement, link.call)
            )
    if self_parameter(scope.function) != "self":
        return Refusal("`__init__` does not call its instance `self`")
    refusal = provenance.touched(module, layer.owner, layer, None) if layer.attribute != "self" else None
    return (
        refusal
        or seen_between(module, literal)
        or _named(module, links)
        or provenance.found_by_computed_name(module, layer.owner)
    )


def _named(module: Module, links: Iterable[Link]) -> Refusal | None:
    """No string or hook may reach a layer whose output will differ."""
    attributes = tuple(link.layer.attribute for link in links if link.layer.attribute != "self")
    return provenance.named_in_strings(module, attributes) or provenance.hooked(module, frozenset(attributes))


def call_metadata(statement: Statement, call: ast.Call) -> dict[str, str]:
    """The arguments of a call as a logical node's metadata, each in the user's own spelling."""
    metadata: dict[str, str] = {}
    for number, argument in enumerate(call.args):
        metadata[f"arg_{number}"] = statement.source(argument)
    for number, keyword in enumerate(call.keywords):
        if keyword.arg is None:
            metadata[f"kwargs_{number}"] = f"**{statement.source(keyword.value)}"
        else:
            metadata[keyword.arg] = statement.source(keyword.value)
    return metadata


def _single_input(value: Value, statement: Statement) -> Refusal | None:
    node = value.node
    assert node is not None
    if len(value.inputs) + len(value.keywords) != 1 or any(one.kind == "starred" for one in value.inputs):
        return Refusal("a layer of the chain is not called with one input", Place(statement, node))
    return None


def _single_consumer(value: Value, statement: Statement) -> Refusal | None:
    consumers = value.consumers
    if len(consumers) == 1:
        return None
    assert value.layer is not None
    other = next((use.node for use in consumers[1:] if isinstance(use.node, ast.expr | ast.stmt)), None)
    return Refusal(
        f"the output of `{value.layer.attribute}` is used more than once",
        Place(statement, other) if other is not None else None,
    )


def _last(statements: list[ast.stmt], block: list[ast.stmt]) -> ast.stmt:
    """The one that stands last in `block`."""
    inside = [statement for statement in block if statement in statements]
    return inside[-1] if inside else statements[0]
