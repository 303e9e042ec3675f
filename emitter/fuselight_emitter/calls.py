"""A node's call: what its kind comes to in one framework, and its arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from fuselight_emitter.dialects import Dialect
from fuselight_emitter.errors import EmitError
from fuselight_emitter.expressions import argument, call, dotted, is_dotted_name, is_identifier, parse_value
from fuselight_emitter.ir import LogicalNode
from fuselight_emitter.names import NameResolver

Methods = Sequence[tuple[str, Mapping[str, str]]]
"""Methods that are called one behind the other, each with its arguments as metadata."""

_POSITIONAL = re.compile(r"arg_(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a node's kind comes to; `api` is fully qualified when it is known, else the source to emit."""

    api: str
    stateful: bool
    known: bool
    callable: bool = True
    seeded: bool = False


def kind_of(node: LogicalNode, dialect: Dialect, names: NameResolver) -> Kind:
    """What a node's kind comes to.

    Raises:
        EmitError: It is no name, or a bare one that the framework does not have.
    """
    kind = node.kind
    if not is_dotted_name(kind):
        raise EmitError("a kind has to be a name", node=node.id, text=kind)
    if "." in kind:
        qualified = names.qualify(kind)
        if (layer := dialect.layer_kind(qualified)) is not None:
            return Kind(qualified, stateful=True, known=True, seeded=layer in dialect.seeded)
        if qualified in dialect.containers.values():
            return Kind(qualified, stateful=True, known=True, callable=False)
        if dialect.function_kind(qualified) is not None:
            return Kind(qualified, stateful=False, known=True)
        reached = names.reach(qualified)
        name = kind.rpartition(".")[2].lstrip("_")
        return Kind(reached or kind, stateful=name[:1].isupper(), known=False)
    if kind in dialect.layers:
        return Kind(dialect.layers[kind], stateful=True, known=True, seeded=kind in dialect.seeded)
    if kind in dialect.containers:
        return Kind(dialect.containers[kind], stateful=True, known=True, callable=False)
    function = dialect.function(kind.removeprefix("func_"))
    if function is None:
        raise EmitError(f"{dialect.name} has no layer and no function of this kind", node=node.id, text=kind)
    return Kind(function.api, stateful=False, known=True)


def call_of(node: LogicalNode, input_vars: Sequence[str], dialect: Dialect, names: NameResolver) -> cst.Call:
    """`self.<id>(<inputs>)`, or `func(<inputs>, ...)`.

    Raises:
        EmitError: The kind is unknown or cannot be called, or a name or an expression is malformed.
    """
    check_id(node)
    kind = kind_of(node, dialect, names)
    if not kind.callable:
        raise EmitError("a container of layers cannot be called", node=node.id, text=node.kind)
    inputs: list[cst.Arg] = []
    for text in input_vars:
        star, value = parse_value(text, node=node.id)
        if star == "**":
            raise EmitError("an input is positional", node=node.id, text=text)
        inputs.append(argument(value, star=star))
    if kind.stateful:
        return call(dotted(f"self.{node.id}"), inputs)
    arguments = arguments_of(node)
    function = dotted(names.spell(kind.api) if kind.known else kind.api)
    return call(function, [*inputs, *arguments])


def arguments_of(node: LogicalNode) -> list[cst.Arg]:
    """The arguments of a node's metadata: positional ones by number, then keywords as given."""
    positional: list[tuple[int, cst.Arg]] = []
    keywords: list[cst.Arg] = []
    for key, text in node.metadata.items():
        star, value = parse_value(text, node=node.id)
        place = _POSITIONAL.fullmatch(key)
        if star == "**":
            keywords.append(argument(value, star=star))
        elif place is not None:
            positional.append((int(place[1]), argument(value, star=star)))
        elif star:
            raise EmitError(f"the keyword {key} cannot be unpacked", node=node.id, text=text)
        elif not is_identifier(key):
            raise EmitError("a keyword has to be an identifier", node=node.id, text=key)
        else:
            keywords.append(argument(value, name=key))
    return [given for _, given in sorted(positional, key=lambda item: item[0])] + keywords


def behind(value: cst.BaseExpression, methods: Methods, id: str) -> cst.BaseExpression:
    """`value` with `methods` called on it, one behind the other."""
    for name, given in methods:
        if not is_identifier(name):
            raise EmitError("a method's name has to be an identifier", node=id, text=name)
        value = call(cst.Attribute(value, cst.Name(name)), arguments_of(LogicalNode(id, name, dict(given))))
    return value


def check_id(node: LogicalNode) -> None:
    """Refuse an id that is no attribute's name."""
    if not is_identifier(node.id):
        raise EmitError("an id has to be an identifier", node=node.id, text=node.id)
