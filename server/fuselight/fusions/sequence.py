"""Fusions of layers that follow one another: as statements, as nested calls, and inside `nn.Sequential` literals."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.literals import PARALLEL, Element, Literal, blocks_of, literals, seen_between
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, Layer, local_names, resolve
from fuselight.graph.mentions import is_own_fuse, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Value
from fuselight.source.names import dotted
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

_LISTS = frozenset({"torch.nn.ModuleList", "torch.nn.Sequential"})


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One layer of a chain."""

    kind: str
    statement: Statement
    call: ast.Call
    """Its constructor."""
    path: str | None
    """Its name in the state dict: from its class on where `layer` is known (`conv1`, `net.0`), else from the outermost
    `nn.Sequential` on; None where the source does not tell."""
    layer: Layer | None = None
    """The attribute that holds it: itself, or the `nn.Sequential` around it."""
    value: Value | None = None
    """Its call in a forward; None for an element of a `nn.Sequential`."""

    @property
    def label(self) -> str:
        """As a reader would write it: `conv1`, `net[0]`; its constructor where it has no name."""
        if self.layer is None or self.path is None:
            text = ast.unparse(self.call)
            return text if len(text) <= 40 else f"{ast.unparse(self.call.func)}(...)"
        root, *rest = self.path.split(".")
        return root + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest)

    def logical(self, **changes: str) -> LogicalNode:
        """The constructor as a logical node, with `changes` among its keywords."""
        name = self.layer.attribute if self.layer is not None else "layer"
        return LogicalNode(name, self.kind, call_metadata(self.statement, self.call) | changes)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Layers of which each has the one before it as its only input."""

    links: tuple[Link, ...]
    scope: Scope
    owner: ClassInfo | None
    """The class in whose method they are made; None where a function makes them."""
    places: tuple[Place, ...]
    why_not: Callable[[frozenset[ast.AST]], Refusal | None]
    """Why the layers are not a chain of which only the ends can be seen: a question that costs, so ask it late.

    Its argument are mentions of the layers that the caller does not mind.
    """
    anchor: ast.stmt
    """The statement behind which something about the chain can be registered."""
    literal: Literal | None = None
    """The `nn.Sequential` that they are elements of."""

    @property
    def statement(self) -> Statement:
        return self.links[0].statement

    @property
    def is_named(self) -> bool:
        """Whether `self` has the layers under paths that the source tells."""
        return self.literal is None or (self.literal.seat.plain and not self.literal.run)


class Sequence(Fusion):
    """A fusion of layers in a row: `kinds` says which; `judge` what is to be done with a chain of them."""

    kinds: ClassVar[tuple[frozenset[str], ...]]

    def judge(self, module: Module, chain: Chain) -> Iterator[Match]:
        """The match of a chain. A chain with a refusal is to be refused, if the fusion would have wanted it at all."""
        raise NotImplementedError

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for chain in self.chains(module, scope):
            yield from self.judge(module, chain)

    def chains(self, module: Module, scope: Scope) -> Iterator[Chain]:
        """Every chain of the kinds in one function, those included that are none for a reason."""
        owner = scope.owner
        if owner is not None:
            found = {layer.kind for layer in scope.applied_layers}
            if all(kinds & found for kinds in self.kinds):
                yield from called_chains(module, scope, owner, self.kinds)
        for literal in literals(module, scope):
            yield from chains_in(module, scope, literal, self.kinds)
        if not scope.names.isdisjoint(kind.rpartition(".")[2] for kind in self.kinds[-1]):
            yield from _optional(module, scope, self.kinds)


# -- chains of calls


def called_chains(module: Module, scope: Scope, owner: ClassInfo, kinds: tuple[frozenset[str], ...]) -> Iterator[Chain]:
    """Layers of `owner` that a method calls one after the other."""
    graph = module.graph(scope)
    if graph.opaque is not None:
        return
    for kind in sorted(kinds[0]):
        for first in graph.of_kind(kind):
            values = _follow(first, kinds)
            if values is not None:
                yield _chain(module, scope, owner, values, kinds)


def _follow(first: Value, kinds: tuple[frozenset[str], ...]) -> list[Value] | None:
    values = [first]
    for wanted in kinds[1:]:
        following = [
            use.by
            for use in values[-1].consumers
            if use.how is Consumption.INPUT and use.by is not None and use.by.kind in wanted
        ]
        if not following:
            return None
        values.append(following[0])
    return values


def _chain(
    module: Module, scope: Scope, owner: ClassInfo, values: list[Value], kinds: tuple[frozenset[str], ...]
) -> Chain:
    links: list[Link] = []
    layers: list[Layer] = []
    for value in values:
        layer = value.layer
        assert layer is not None
        assert layer.constructor is not None
        layers.append(layer)
        links.append(Link(value.kind, layer.statement, layer.constructor, layer.attribute, layer, value))
    maker = layers[0].owner
    places = tuple(Place(scope.statement, value.node) for value in values if value.node is not None)
    anchor = _last([layer.assignment for layer in layers], layers[0].block)
    why_not = partial(_called_refusal, module, scope, owner, values, layers, kinds, anchor)
    return Chain(tuple(links), scope, maker, places, why_not, anchor)


def _called_refusal(
    module: Module,
    scope: Scope,
    owner: ClassInfo,
    values: list[Value],
    layers: list[Layer],
    kinds: tuple[frozenset[str], ...],
    anchor: ast.stmt,
    allowed: frozenset[ast.AST],
) -> Refusal | None:
    refusal = provenance.known_class(module, owner)
    for value, layer, wanted in zip(values, layers, kinds, strict=True):
        assert isinstance(value.node, ast.Call)
        refusal = (
            refusal
            or provenance.plain_layer(layer, wanted, "one of the layers of the chain")
            or provenance.touched(module, owner, layer, value.node, allowed | own_mentions(module, layer.attribute))
            or single_input(value, scope.statement)
        )
    for value in values[:-1]:
        refusal = refusal or single_consumer(value, scope.statement)
    refusal = refusal or provenance.found_by_computed_name(module, owner)
    maker = layers[0].owner
    if refusal is None and any(layer.owner is not maker for layer in layers):
        refusal = Refusal("the layers are made in different classes")
    if refusal is None and self_parameter(layers[0].init) != "self":
        refusal = Refusal("`__init__` does not call its instance `self`")
    refusal = refusal or _named(module, layers)
    if not maker.statement.stands_alone(anchor):
        refusal = refusal or Refusal("the layers share a line with another statement", Place(maker.statement, anchor))
    return refusal


def own_mentions(module: Module, attribute: str) -> frozenset[ast.AST]:
    """Where code that the emitter wrote mentions an attribute: in `fuse`, and to register a load hook on it."""
    return frozenset(
        mention.node
        for mention in module.mentions.of_attribute(attribute)
        if is_own_fuse(mention.function)
        or (isinstance(mention.parent, ast.Attribute) and mention.parent.attr == "register_load_state_dict_pre_hook")
    )


# -- elements of a literal


def chains_in(module: Module, scope: Scope, literal: Literal, kinds: tuple[frozenset[str], ...]) -> Iterator[Chain]:
    """The chains among the elements of a literal."""
    length = len(kinds)
    seat = literal.seat
    owner = scope.owner
    layer: Layer | None = None
    if seat.plain and seat.attribute is not None:
        assert owner is not None
        layer = owner.own_layers[seat.attribute]
    known: list[Refusal | None] = []

    def refusal_of(links: tuple[Link, ...], allowed: frozenset[ast.AST]) -> Refusal | None:
        refusal = _starred(links)
        if refusal is None and not known:
            known.append(_literal_refusal(module, scope, literal, layer))
        return refusal or known[0]

    for at in range(len(literal.elements) - length + 1):
        run = literal.elements[at : at + length]
        if all(element.kind in wanted for element, wanted in zip(run, kinds, strict=True)):
            links = tuple(_link(scope, literal, element, layer) for element in run)
            why_not = partial(refusal_of, links)
        elif length == 2 and run[1].kind in kinds[1]:
            held = _held_by_variable(module, scope, run[0], kinds[0])
            if held is None:
                continue
            links = (held, _link(scope, literal, run[1], layer))
            name = ast.unparse(run[0].node)
            why_not = partial(
                _because, f"the variable `{name}` holds the layer, which may stand elsewhere too", _place(scope, run[0])
            )
        else:
            continue
        places = tuple(Place(scope.statement, link.call) for link in links[1:])
        yield Chain(links, scope, owner, places, why_not, seat.anchor, literal)


def _because(reason: str, place: Place, _: frozenset[ast.AST]) -> Refusal:
    return Refusal(reason, place)


def _link(scope: Scope, literal: Literal, element: Element, layer: Layer | None) -> Link:
    return Link(element.kind or "", scope.statement, element.call, literal.key(element), layer)


def _place(scope: Scope, element: Element) -> Place:
    return Place(scope.statement, element.node)


def _starred(links: tuple[Link, ...]) -> Refusal | None:
    for link in links:
        starred = any(isinstance(one, ast.Starred) for one in link.call.args)
        if starred or any(keyword.arg is None for keyword in link.call.keywords):
            return Refusal(
                f"the constructor of `{link.label}` takes `*` or `**` arguments", Place(link.statement, link.call)
            )
    return None


def _literal_refusal(module: Module, scope: Scope, literal: Literal, layer: Layer | None) -> Refusal | None:
    seat = literal.seat
    place = Place(scope.statement, literal.call)
    if seat.plain and self_parameter(scope.function) != "self":
        return Refusal("`__init__` does not call its instance `self`")
    if seat.target is None and not seat.returned:
        return Refusal("it is not known who holds the `nn.Sequential`", place)
    if seat.target is not None and seat.target.endswith("]") and not _is_list(module, scope, seat.target[:-4]):
        return Refusal(f"`{seat.target[:-4]}` is not known to be a list", place)
    if layer is not None:
        allowed = own_mentions(module, layer.attribute) | _run_in_parallel(module, layer.attribute)
        refusal = provenance.touched(module, layer.owner, layer, None, allowed) or _named(module, (layer,))
    else:
        refusal = provenance.hooked(module, frozenset())
    return (
        refusal
        or (provenance.own_checkpoints(module) if scope.owner is None else None)
        or seen_between(module, literal, but_by_fuse=True)
        or provenance.found_by_computed_name(module, scope.owner)
    )


def _run_in_parallel(module: Module, attribute: str) -> frozenset[ast.AST]:
    """Where a whole `nn.Sequential` is called on several devices: `nn.parallel.data_parallel(self.net, x)`."""
    return frozenset(
        mention.node
        for mention in module.mentions.of_attribute(attribute)
        if isinstance(mention.parent, ast.Call)
        and mention.parent.args[:1] == [mention.node]
        and resolve(mention.parent.func, module.names) in PARALLEL
    )


def _is_list(module: Module, scope: Scope, path: str) -> bool:
    """Whether what is appended to is a list, or a container of layers: what has a last element."""
    local = local_names(scope.function, scope.statement)
    tops = [scope.function] if "." not in path or scope.owner is None else list(scope.owner.methods.values())
    for top in tops:
        for node in ast.walk(top):
            match node:
                case (
                    ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
                ):
                    if dotted(target) == path:
                        made = isinstance(value, ast.List | ast.ListComp)
                        kind = resolve(value.func, module.names, local) if isinstance(value, ast.Call) else None
                        return made or kind in _LISTS
                case _:
                    pass
    return False


def _held_by_variable(module: Module, scope: Scope, element: Element, kinds: frozenset[str]) -> Link | None:
    """The layer that a variable of the function holds, `conv` of `nn.Sequential(conv, nn.BatchNorm2d(8))`."""
    if not isinstance(element.node, ast.Name):
        return None
    local = local_names(scope.function, scope.statement)
    for node in ast.walk(scope.function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if name == element.node.id:
                kind = resolve(call.func, module.names, local)
                if kind in kinds:
                    return Link(kind, scope.statement, call, None)
            case _:
                pass
    return None


# -- chains that may have a gap


def _optional(module: Module, scope: Scope, kinds: tuple[frozenset[str], ...]) -> Iterator[Chain]:
    """Layers that a list gets and the next of which it gets only under a condition, and layers put in by name."""
    words = scope.words
    if "if" not in words and "add_module" not in words:
        return
    local = local_names(scope.function, scope.statement) | scope.enclosing

    def kind_of(node: ast.expr) -> str | None:
        return resolve(node.func, module.names, local) if isinstance(node, ast.Call) else None

    for block in blocks_of(scope.function.body):
        added: tuple[str, ast.Call] | None = None
        for node, following in zip(block, (*block[1:], None), strict=True):
            grown = _growth(node)
            then = _growth(following.body[0]) if isinstance(following, ast.If) else None
            if grown is not None and then is not None and grown[0] == then[0]:
                first, second = grown[1][-1], then[1][0]
                if kind_of(first) in kinds[0] and kind_of(second) in kinds[1]:
                    yield _gap(scope, node, first, second, kind_of, "there is not always a norm behind it")
            layer = _added_by_name(node)
            if layer is not None:
                if added is not None and added[0] == layer[0] and kind_of(layer[1]) in kinds[1]:
                    yield _gap(scope, node, added[1], layer[1], kind_of, "`add_module` puts the layers in one by one")
                added = layer if kind_of(layer[1]) in kinds[0] else None


def _gap(
    scope: Scope,
    anchor: ast.stmt,
    first: ast.expr,
    second: ast.expr,
    kind_of: Callable[[ast.expr], str | None],
    reason: str,
) -> Chain:
    assert isinstance(first, ast.Call)
    assert isinstance(second, ast.Call)
    links = tuple(Link(kind_of(call) or "", scope.statement, call, None) for call in (first, second))
    place = Place(scope.statement, second)
    return Chain(links, scope, scope.owner, (place,), partial(_because, reason, place), anchor)


def _growth(node: ast.stmt) -> tuple[str, list[ast.expr]] | None:
    """The list that a statement starts or lengthens, and by what."""
    match node:
        case (
            ast.Assign(targets=[target], value=ast.List(elts=elements))
            | ast.AugAssign(target=target, op=ast.Add(), value=ast.List(elts=elements))
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=target, attr="extend"), args=[ast.List(elts=elements)]))
        ):
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=target, attr="append"), args=[element])):
            elements = [element]
        case _:
            return None
    path = dotted(target)
    return (path, elements) if path is not None and elements else None


def _added_by_name(node: ast.stmt) -> tuple[str, ast.Call] | None:
    """`self.add_module("conv", nn.Conv2d(...))`: to what, and the layer."""
    match node:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=holder, attr="add_module"), args=[_, ast.Call() as layer])
        ):
            return ast.unparse(holder), layer
        case _:
            return None


# -- for both


def _named(module: Module, layers: Iterable[Layer]) -> Refusal | None:
    """No string or hook may reach a layer whose output will differ."""
    attributes = tuple(layer.attribute for layer in layers)
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


def single_input(value: Value, statement: Statement) -> Refusal | None:
    node = value.node
    assert node is not None
    if len(value.inputs) + len(value.keywords) != 1 or any(one.kind == "starred" for one in value.inputs):
        return Refusal("a layer of the chain is not called with one input", Place(statement, node))
    return None


def single_consumer(value: Value, statement: Statement) -> Refusal | None:
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
