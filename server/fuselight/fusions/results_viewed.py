"""Who may notice how the result of a site lies in memory: `view` takes what lies in one piece, `reshape` anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.fusions.writes import written_behind
from fuselight.graph.mentions import Called
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import Consumption, Graph, Value

_PASSES_ON = frozenset(
    "swapaxes permute unsqueeze squeeze getitem unpack unbind chunk split joined broadcast_to".split()
) | {f"method {name}" for name in "expand detach narrow select to type type_as t movedim squeeze unflatten".split()}
"""Kinds whose result lies as their input does, or where it may."""

_LIES_LIKE_INPUT = frozenset(
    "add sub mul div neg pow abs square exp log sqrt rsqrt relu leaky_relu gelu silu sigmoid tanh softplus clamp"
    " maximum minimum dropout where masked_fill zeros_like ones_like".split()
) | {f"method {name}" for name in "clone flip double float half bfloat16".split()}
_LAYERS_LIKE_INPUT = frozenset(
    f"torch.nn.{name}" for name in "Dropout Identity ReLU GELU SiLU Sigmoid Tanh LeakyReLU Softplus".split()
)
"""Kinds that compute element by element into new memory, which lies as their input does."""

_TAKES_ANY = frozenset(
    "reshape flatten matmul mm bmm baddbmm einsum linear layer_norm rms_norm normalize softmax log_softmax sum mean var"
    " std amax amin max min norm vector_norm cat stack compare metadata scaled_dot_product_attention mse_loss l1_loss"
    " cross_entropy".split()
) | {"method contiguous", "method backward", "method item", "method tolist", "method cumsum", "torch.nn.Linear"}
"""Kinds that yield the same values in the same places, however their input lies."""

_SEES = frozenset({"method view_as", "method unfold", "method as_strided"})
_SEEING = frozenset({"stride", "is_contiguous", "data_ptr", "storage_offset", "storage", "untyped_storage"})


@dataclass(slots=True)
class Views:
    """What views a result: calls of `view` that can be `reshape`, or why the result must lie as it does."""

    calls: list[ast.Call] = field(default_factory=list[ast.Call])
    beyond: bool = False
    """Whether it, or what lies like it, goes where it cannot be followed, or is viewed there."""
    refused: Refusal | None = None


def views_of(module: Module, scope: Scope, graph: Graph, root: Value) -> Views:
    """What views the result of `root` in the function, and in those functions of the file that call it by its name."""
    found = Views()
    escapes = _follow(scope, root, found)
    if escapes and found.refused is None and scope.name:
        _in_callers(module, scope, found)
        found.beyond = found.beyond or _is_handed_around(module, scope)
    return found


def _follow(scope: Scope, root: Value, found: Views) -> bool:
    """Follow a value to its views; whether the function returns it as it lies."""
    returned = False
    waiting, seen = [root], {root}
    new: set[Value] = set()
    """What is no view of the result, but lies as it does."""
    while waiting:
        value = waiting.pop()
        for use in value.uses:
            returned = returned or use.how is Consumption.RETURNED
            found.beyond = found.beyond or use.how in (Consumption.STORED, Consumption.CAPTURED)
            by = use.by
            if by is None and use.how is Consumption.INPUT:
                found.beyond = True  # a loop over it
            if by is None or by in seen or not by.inputs:
                continue
            if by.kind == "method view" and by.inputs[0] is value and isinstance(by.node, ast.Call):
                if by.node.keywords or _is_of_dtype(by):
                    found.refused = Refusal(
                        "how its result lies in memory is asked for", Place(scope.statement, by.node)
                    )
                found.calls.append(by.node)
                found.beyond = found.beyond or value in new
            elif by.kind in _SEES or (by.kind == "metadata" and _method(by) in _SEEING):
                node = by.node if by.node is not None else root.node
                place = Place(scope.statement, node) if node is not None else None
                found.refused = Refusal("how its result lies in memory is asked for", place)
            elif by.kind in _PASSES_ON or (by.kind == "container" and by.inputs):
                seen.add(by)
                waiting.append(by)
                if value in new:
                    new.add(by)
            elif by.kind in _LIES_LIKE_INPUT or by.kind in _LAYERS_LIKE_INPUT:
                seen.add(by)
                waiting.append(by)
                new.add(by)
            elif not (by.kind in _TAKES_ANY or by.kind.startswith("einops.") or "Norm" in by.kind):
                found.beyond = True
    return returned


def _is_of_dtype(view: Value) -> bool:
    """Whether `view` is asked for the same memory as another dtype: `x.view(torch.int32)`, `x.view(y.dtype)`."""
    return any(
        (one.path or "").startswith("torch.") or (isinstance(one.node, ast.Attribute) and one.node.attr == "dtype")
        for one in view.inputs[1:]
    )


def _method(value: Value) -> str:
    node = value.node
    return node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""


def _in_callers(module: Module, scope: Scope, found: Views) -> None:
    for called, other, _, value in _calls(module, scope):
        views = Views()
        escapes = _follow(other, value, views)
        if views.calls or views.refused is not None:
            place = Place(called.statement, called.node)
            found.refused = Refusal(f"`{other.name or 'the file'}` views its result, which may lie otherwise", place)
            return
        found.beyond = found.beyond or views.beyond or escapes


def _is_handed_around(module: Module, scope: Scope) -> bool:
    """Whether the function, or the class whose `forward` it is, may be called under another name in the file."""
    owner, name = scope.owner, scope.name.rpartition(".")[2]
    if owner is None or name != "forward":
        return module.mentions.used_uncalled(name)
    layers = {layer.constructor for info in module.classes for layer in info.layers.values()}
    return any(called.node not in layers for called in module.mentions.calls_of(owner.name))


def callers_write(module: Module, scope: Scope, graph: Graph, root: Value) -> Refusal | None:
    """Why a caller in the file may write in place to the result of `root`, which the function returns as it is."""
    if not scope.name or not _follow(scope, root, Views()):
        return None
    for called, other, caller, value in _calls(module, scope):
        refusal = written_behind(module, other, caller, value, value, f"in `{other.name or 'the file'}` its result")
        if refusal is not None:
            return Refusal(refusal.reason, Place(called.statement, called.node))
    return None


def _calls(module: Module, scope: Scope) -> Iterator[tuple[Called, Scope, Graph, Value]]:
    """The calls of a function in the file: by its name, and of a `forward` by the layers of its class."""
    owner, name = scope.owner, scope.name.rpartition(".")[2]
    names = {name}
    if owner is not None and name == "forward":
        for info in module.classes:
            names.update(layer.attribute for layer in info.layers.values() if _makes(layer.constructor, owner.name))
    for called in module.mentions.calls_of(*sorted(names)):
        for other in module.scopes(called.statement):
            if not any(node is called.node for node in ast.walk(other.function)):
                continue
            graph = module.graph(other)
            value = next((one for one in graph.values if one.node is called.node), None)
            if value is not None:
                yield called, other, graph, value


def _makes(constructor: ast.Call | None, name: str) -> bool:
    return constructor is not None and isinstance(constructor.func, ast.Name) and constructor.func.id == name


def lies_as_a_product(graph: Graph, root: Value) -> bool:
    """Whether the one call computes `root` by products, which lie in one piece: of three axes, and fewer."""
    rank = rank_of(graph, root)
    return rank.most is not None and rank.most <= 3


__all__ = ["callers_write", "lies_as_a_product", "views_of"]
