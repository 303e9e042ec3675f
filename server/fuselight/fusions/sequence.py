"""Fusions of layers that follow one another: as statements, as nested calls, and inside `nn.Sequential` literals."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, Layer, local_names, resolve
from fuselight.graph.mentions import self_parameter, words_of
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Value
from fuselight.source.names import dotted
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

_SEQUENTIAL = "torch.nn.Sequential"


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
        init = scope.function
        for layer in owner.own_layers.values():
            if layer.kind == _SEQUENTIAL and layer.constructor is not None:
                yield from self._in_literal(module, scope, owner, layer, layer.constructor, layer.attribute, None)
        if _SEQUENTIAL in owner.bases:
            for statement in init.body:
                call = _super_init(statement)
                if call is not None:
                    whole = Layer("self", call, _SEQUENTIAL, owner, init, statement, init.body)
                    refusal = _seen_inside(owner) or _seen_outside(module, owner)
                    yield from self._in_literal(module, scope, owner, whole, call, "", refusal)

    def _in_literal(
        self,
        module: Module,
        scope: Scope,
        owner: ClassInfo,
        layer: Layer,
        literal: ast.Call,
        path: str,
        refusal: Refusal | None,
    ) -> Iterator[Chain]:
        local = local_names(scope.function, scope.statement)
        local |= owner.hidden
        elements: list[Link | None] = []
        for key, node in _elements(literal, module, local):
            full = f"{path}.{key}" if path else key
            kind = resolve(node.func, module.names, local) if node is not None else None
            elements.append(Link(kind, layer, node, full) if kind is not None and node is not None else None)
            if kind == _SEQUENTIAL and node is not None:
                yield from self._in_literal(module, scope, owner, layer, node, full, refusal)
        length = len(self.kinds)
        for at in range(len(elements) - length + 1):
            run = elements[at : at + length]
            links = tuple(
                link for link, kinds in zip(run, self.kinds, strict=True) if link is not None and link.kind in kinds
            )
            if len(links) == length:
                why = refusal or self._literal_refusal(module, scope, owner, layer, links)
                places = tuple(Place(layer.statement, link.call) for link in links[1:])
                yield Chain(links, scope.name, owner, places, why, layer.assignment)

    def _literal_refusal(
        self, module: Module, scope: Scope, owner: ClassInfo, layer: Layer, links: tuple[Link, ...]
    ) -> Refusal | None:
        refusal = provenance.known_class(module, owner)
        if refusal is None and layer.unknown is not None:
            refusal = Refusal(layer.unknown, Place(layer.statement, layer.assignment))
        for link in links:
            if any(isinstance(one, ast.Starred) for one in link.call.args) or any(
                keyword.arg is None for keyword in link.call.keywords
            ):
                refusal = refusal or Refusal(
                    f"the constructor of `{link.label}` takes `*` or `**` arguments", Place(link.statement, link.call)
                )
        if layer.attribute != "self":
            refusal = refusal or provenance.touched(module, owner, layer, None)
        if refusal is None and self_parameter(scope.function) != "self":
            refusal = Refusal("`__init__` does not call its instance `self`")
        if not layer.statement.stands_alone(layer.assignment):
            refusal = refusal or Refusal(
                "the layers share a line with another statement", Place(layer.statement, layer.assignment)
            )
        return refusal or _named(module, links) or provenance.found_by_computed_name(module, owner)


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


def _elements(literal: ast.Call, module: Module, local: set[str]) -> Iterator[tuple[str, ast.Call | None]]:
    """The elements of `nn.Sequential(...)` with their keys, as far as the keys are known; None for what is no call."""
    if literal.keywords:
        return
    if len(literal.args) == 1 and isinstance(literal.args[0], ast.Call):
        inner = literal.args[0]
        if resolve(inner.func, module.names, local) == "collections.OrderedDict":
            yield from _pairs(inner)
            return
    for number, argument in enumerate(literal.args):
        if isinstance(argument, ast.Starred):
            return
        yield str(number), argument if isinstance(argument, ast.Call) else None


def _pairs(ordered: ast.Call) -> Iterator[tuple[str, ast.Call | None]]:
    """The elements of `OrderedDict([("conv", nn.Conv2d(...)), ...])`; none where a key is unknown or given twice."""
    if len(ordered.args) != 1 or ordered.keywords or not isinstance(ordered.args[0], ast.List | ast.Tuple):
        return
    found: dict[str, ast.Call | None] = {}
    for pair in ordered.args[0].elts:
        match pair:
            case ast.Tuple(elts=[ast.Constant(value=str() as key), value]) if key not in found:
                found[key] = value if isinstance(value, ast.Call) else None
            case _:
                return
    yield from found.items()


def _super_init(statement: ast.stmt) -> ast.Call | None:
    """The call of `super().__init__(...)`, where that is the whole statement."""
    match statement:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__")) as call
        ):
            return call
        case _:
            return None


def _seen_inside(owner: ClassInfo) -> Refusal | None:
    """A `nn.Sequential` subclass must not index or iterate itself, or be handed around whole."""
    for member in owner.family:
        for method in member.methods.values():
            me = self_parameter(method)
            allowed: set[ast.AST] = set()
            for node in ast.walk(method):
                if isinstance(node, ast.Attribute):
                    allowed.add(node.value)
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super":
                    allowed.update(node.args)
                elif isinstance(node, ast.Name) and node.id == me and node not in allowed:
                    return Refusal(f"`{member.name}` reaches into itself", Place(member.statement, node))
        if member is not owner and "forward" in member.methods:
            return Refusal(f"`{member.name}` has a forward of its own over the same layers")
    return None


def _seen_outside(module: Module, owner: ClassInfo) -> Refusal | None:
    """Nobody in the file may index, slice or iterate an instance of a `nn.Sequential` subclass."""
    holders: set[str] = set()
    for called in module.mentions.calls_of(*(member.name for member in owner.family)):
        for node in ast.walk(called.around[-1]) if called.around else ():
            if isinstance(node, ast.Assign) and node.value is called.node:
                holders.update(path.rpartition(".")[2] for path in map(dotted, node.targets) if path is not None)
    module.mentions.has_word(*holders)
    for statement in module.statements:
        if not any(holder in words_of(statement) for holder in holders):
            continue
        for top in statement.body:
            for node in ast.walk(top):
                seen: ast.expr | None = None
                if isinstance(node, ast.Subscript | ast.Starred):
                    seen = node.value
                elif isinstance(node, ast.For | ast.comprehension):
                    seen = node.iter
                path = dotted(seen) if seen is not None else None
                if seen is not None and path is not None and path.rpartition(".")[2] in holders:
                    return Refusal(f"`{path}` is taken apart", Place(statement, seen))
    return None
