"""A `nn.ModuleList` as its constructor tells it: what its layers are made by, and how many there are."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, Layer, resolve
from fuselight.graph.module import Module
from fuselight.graph.ranks import literal_number

LIST = "torch.nn.ModuleList"


def list_of(owner: ClassInfo, node: ast.expr) -> Layer | None:
    """The `nn.ModuleList` that `self.<attribute>` names."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        layer = owner.layers.get(node.attr)
        return layer if layer is not None and layer.kind == LIST else None
    return None


def elements_of(module: Module, layer: Layer) -> tuple[list[ast.expr], ast.expr | int] | Refusal | None:
    """What a list is made of: one element for all, with their number, or all of them; None where it starts empty."""
    refusal = provenance.plain_layer(layer, frozenset({LIST}), "a plain `nn.ModuleList`")
    if refusal is not None:
        return refusal
    assert layer.constructor is not None
    given = [*layer.constructor.args, *(keyword.value for keyword in layer.constructor.keywords)]
    match given:
        case [ast.ListComp(elt=element, generators=[part]) | ast.GeneratorExp(elt=element, generators=[part])] if (
            not part.ifs and not part.is_async and isinstance(part.target, ast.Name)
        ):
            place = Place(layer.statement, element)
            if part.target.id in sizes.names_in(element):
                return Refusal(f"the layers of `{layer.attribute}` differ", place)
            match part.iter:
                case ast.Call(func=ast.Name(id="range"), args=[count], keywords=[]) if sizes.is_builtin(
                    module, layer, "range"
                ):
                    number = literal_number(count)
                    return [element], number if number is not None else count
                case _:
                    return Refusal(f"how many layers `{layer.attribute}` has is not shown by a `range`", place)
        case [ast.List(elts=elements) | ast.Tuple(elts=elements)] if elements:
            return elements, len(elements)
        case _:
            return None


def number(count: ast.expr | int) -> int | str:
    """A number of layers, so that two can be compared."""
    return count if isinstance(count, int) else ast.unparse(count)


def alike(
    elements: Sequence[ast.expr], parameters: Sequence[str], required: frozenset[str]
) -> dict[str, ast.expr] | None:
    """The arguments of constructors, by name, where all are given the same; None where they differ."""
    found: list[dict[str, ast.expr]] = []
    for element in elements:
        given = sizes.arguments(element, parameters) if isinstance(element, ast.Call) else None
        if given is None or not required <= given.keys():
            return None
        found.append(given)
    texts = [{name: ast.unparse(node) for name, node in one.items()} for one in found]
    return found[0] if all(text == texts[0] for text in texts) else None


def called_itself(module: Module, owner: ClassInfo, layer: Layer) -> Refusal | None:
    """A `nn.ModuleList` cannot be called: who calls it means something else."""
    for mention in module.mentions.of_attribute(layer.attribute):
        if mention.is_call and mention.owner in sizes.family_nodes(owner):
            return Refusal(f"`{layer.attribute}` is called", Place(mention.statement, mention.node))
    return None


def is_linear(module: Module, node: ast.expr, local: set[str]) -> bool:
    """Whether an expression makes a plain `nn.Linear`."""
    return isinstance(node, ast.Call) and resolve(node.func, module.names, local) == "torch.nn.Linear"
