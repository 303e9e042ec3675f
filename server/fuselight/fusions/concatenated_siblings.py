"""Layers of one input whose outputs are concatenated, or stacked: one wider layer, and nothing to concatenate.

`torch.cat([self.a(x), self.b(x)], dim=-1)` of linear layers, `dim=1` of convolutions, `torch.stack([...], dim=1)` of
heads of one size: what is put together is what one layer with the rows of all computes, in the order of the list. So
the parts are merged as in FUS201, FUS202 and FUS203, but there is no split; a stack becomes a view
(`.unflatten(-1, (n, size))`, its dimension moved to where the stack had it). The calls may stand in the list or in
variables of their own.

## What it saves
Kernel launches, reads of the input, and the copy that `torch.cat` makes of all outputs. On a CPU: twelve small heads
2.8x forward, 2.6x forward and backward; of few large layers little more than FUS201 shows. The copy is no longer kept,
so the peak of memory falls by the size of the result while the layers run.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, row by row. The edit adds a load hook (as FUS201 has
it), so that an old checkpoint loads with `strict=True`. `breaking` where the file's models load past
`nn.Module.load_state_dict`. `numerics` where convolutions of equal width are concatenated along dimension 1 and the
source does not show that their input has a batch: without one, dimension 1 is the height, and the result another.

What you lose besides is what FUS201 lists: adapters by name, a running optimiser's state, optimisers and initialisers
that look at a matrix as a whole. The rows are in the order of the list, so that torch's own initialisation may draw the
same numbers for other rows.

## Refused when
- anything else reads one of the outputs, or the list;
- the dimension is not shown to be that of the features or channels: it is counted from the front, the widths are equal
  and the rank of the input is not known;
- the sizes of what is stacked are not the same in the source;
- a stack that is moved elsewhere than in front of its size is viewed in a way that needs contiguous memory;
- the parts differ in their bias, kernel size, stride, ..., or one is grouped;
- a part is called twice, used beside its call, tied, frozen, hooked, wrapped, made under a condition;
- the input is not provably one value: rebound or possibly written to between the calls.

Source: `torch.cat`, `torch.stack`, `torch.Tensor.unflatten`, `torch.nn.Linear`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Expression, Method, Place
from fuselight.fusions.siblings import (
    SORTS,
    Merged,
    Part,
    Root,
    input_of,
    listed,
    merge,
    one_place,
    part_of,
    refusal,
    unlike,
)
from fuselight.fusions.views import Lies, needs_contiguous
from fuselight.graph.classes import ClassInfo
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode


def _near(init: str, forward: str) -> str:
    """A file with the class `M`."""
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *init.split("\n")))
    body = "".join(f"        {line}\n" for line in forward.split("\n"))
    return f"""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
{lines}
    def forward(self, x):
{body}"""


_TWO = "self.a = nn.Linear(16, 4)\nself.b = nn.Linear(16, 4)"


@fusion
class ConcatenatedSiblings(Fusion):
    __doc__ = __doc__

    code = "FUS204"
    name = "concatenated-siblings"
    words = (
        frozenset(sort.name for sort in SORTS.values()),
        frozenset({"cat", "concat", "concatenate", "stack"}),
    )
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.color = nn.Linear(16, 3)
        self.depth = nn.Linear(16, 1)

    def forward(self, x):
        return torch.cat([self.color(x), self.depth(x)], dim=-1)
""",
            after='''\
import torch
from torch import nn


def _merge_m_color_depth(module, state_dict, prefix, *args):
    """Load checkpoints that hold color and depth in place of color_depth."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("color", "depth")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}color_depth.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.color_depth = nn.Linear(16, 4)
        self.register_load_state_dict_pre_hook(_merge_m_color_depth)

    def forward(self, x):
        return self.color_depth(x)
''',
            inputs=((2, 5, 16),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 8)
        self.second = nn.Linear(16, 8)

    def forward(self, x):
        first = self.first(x)
        second = self.second(x)
        heads = torch.stack([first, second], dim=1)
        return heads.softmax(dim=-1)
""",
            after='''\
import torch
from torch import nn


def _merge_m_first_second(module, state_dict, prefix, *args):
    """Load checkpoints that hold first and second in place of first_second."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("first", "second")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}first_second.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.first_second = nn.Linear(16, 16)
        self.register_load_state_dict_pre_hook(_merge_m_first_second)

    def forward(self, x):
        heads = self.first_second(x).unflatten(-1, (2, 8)).movedim(-2, 1)
        return heads.softmax(dim=-1)
''',
            inputs=((2, 5, 16),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # an output is read besides
        NearMiss(_near(_TWO, "a = self.a(x)\nreturn torch.cat([a, self.b(x)], dim=-1) + a.sum()"), "used again"),
        # the rank is not known, and the widths are equal
        NearMiss(
            _near(_TWO, "return torch.cat([self.a(x), self.b(x)], dim=1)"), "not known to be that of the features"
        ),
        # the first dimension, which is the default
        NearMiss(_near(_TWO, "return torch.cat([self.a(x), self.b(x)])"), "not known to be that of the features"),
        # tokens, not features
        NearMiss(
            _near(_TWO, "return torch.cat([self.a(x), self.b(x)], dim=-2)"), "not known to be that of the features"
        ),
        # two inputs
        NearMiss(_near(_TWO, "return torch.cat([self.a(x), self.b(x + 1)], dim=-1)"), ""),
        # the input is changed between
        NearMiss(
            _near(_TWO, "a = self.a(x)\nx.mul_(2)\nreturn torch.cat([a, self.b(x)], dim=-1)"),
            "may be changed between",
        ),
        # the input has another value by then
        NearMiss(
            _near(_TWO, "a, b = self.a(x), self.b(x)\nx = a.detach()\nreturn torch.cat([a, b], dim=-1), x"),
            "used again",
        ),
        # one twice
        NearMiss(_near(_TWO, "return torch.cat([self.a(x), self.b(x), self.a(x)], dim=-1)"), "more than once"),
        # something else in the list
        NearMiss(_near(_TWO, "return torch.cat([self.a(x), self.b(x), x], dim=-1)"), ""),
        # sizes of which the source does not say that they are one
        NearMiss(
            _near(
                "n = m = 4\nself.a = nn.Linear(16, n)\nself.b = nn.Linear(16, m)",
                "return torch.stack([self.a(x), self.b(x)])",
            ),
            "are not known to be of one size",
        ),
        # one has no bias
        NearMiss(
            _near(
                "self.a = nn.Linear(16, 4)\nself.b = nn.Linear(16, 4, bias=False)",
                "return torch.cat([self.a(x), self.b(x)], dim=-1)",
            ),
            "differ in whether they have a bias",
        ),
        # the list is kept
        NearMiss(_near(_TWO, "parts = [self.a(x), self.b(x)]\nreturn torch.cat(parts, dim=-1), parts"), "used again"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None or scope.called.isdisjoint(("cat", "concat", "concatenate", "stack")):
            return
        if sum(layer.kind in SORTS for layer in scope.named_layers) < 2:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for kind in ("cat", "stack"):
            for root in graph.of_kind(kind):
                found = _listed_calls(root)
                if found is not None:
                    yield self._match(module, scope, graph, owner, root, *found)

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        owner: ClassInfo,
        root: Value,
        container: Value,
        calls: list[Value],
    ) -> Match:
        names = listed([call.layer.attribute for call in calls if call.layer is not None])
        sort = SORTS[calls[0].kind]
        together = "concatenated" if root.kind == "cat" else "stacked"
        message = f"{names} are {sort.several} of one input whose outputs are {together}"
        assert root.node is not None
        found = _merged(module, scope, graph, owner, root, container, calls)
        if isinstance(found, Refusal):
            at = Place(scope.statement, root.node)
            others = tuple(Place(scope.statement, call.node) for call in calls if call.node is not None)
            return Match(type(self), scope.name, at, message, others=others, refused=found)
        one, place = found.one, found.place
        safety, note = one.safety, one.note
        if found.granted is not None:
            note = f"{note}; {found.granted}"
            safety = Safety.NUMERICS if safety is Safety.CHECKPOINT else safety
        methods = _methods(root, one)

        def plan() -> tuple[Action, ...]:
            node = LogicalNode(one.name, sort.kind, {})
            return (*one.actions(), *place.actions(scope, Expression(node, (place.argument,), methods)))

        first, *others = place.places(scope)
        return Match(
            type(self), scope.name, first, message,
            f"Merge {names} into one {sort.one} `{one.name}` that needs no `{root.kind}` ({safety.value}: {note})",
            safety, (*others, *one.constructors()), plan,
        )  # fmt: skip


def _listed_calls(root: Value) -> tuple[Value, list[Value]] | None:
    """The list of a `torch.cat([...])`, and what is in it, where that is nothing but calls of layers on one value."""
    container = root.inputs[0] if root.inputs else root.keywords.get("tensors")
    if container is None or container.kind != "container" or len(container.inputs) < 2:
        return None
    calls = list(container.inputs)
    kinds = {call.kind for call in calls}
    sources = {id(input_of(call)) for call in calls}
    if len(kinds) != 1 or calls[0].kind not in SORTS or len(sources) != 1 or input_of(calls[0]) is None:
        return None
    return container, calls


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The merged layer, where it is called, and what is taken for granted, for people."""

    one: Merged
    place: Root
    granted: str | None


def _merged(
    module: Module,
    scope: Scope,
    graph: Graph,
    owner: ClassInfo,
    root: Value,
    container: Value,
    calls: list[Value],
) -> _Found | Refusal:
    sort = SORTS[calls[0].kind]
    parts: list[Part] = []
    for call in calls:
        part = part_of(module, owner, call, sort)
        if isinstance(part, Refusal):
            return part
        why = unlike(parts[0], part) if parts else None
        if why is not None:
            return why
        parts.append(part)
    assert root.node is not None
    at = Place(scope.statement, root.node)
    dim = _dim(root)
    if dim is None:
        return Refusal("the dimension is not written out", at)
    granted = _along(graph, root, dim, parts, at) if root.kind == "cat" else None
    if isinstance(granted, Refusal):
        return granted
    why = _stacked(module, scope, graph, root, dim, parts, at) if root.kind == "stack" else None
    if why is not None:
        return why
    place = one_place(scope, graph, root, calls, [container])
    if isinstance(place, Refusal):
        return place
    return refusal(module, owner, parts) or _Found(merge(module, owner, parts), place, granted)


def _dim(root: Value) -> int | None:
    given = root.inputs[1] if len(root.inputs) > 1 else root.keywords.get("dim", root.keywords.get("axis"))
    if given is None:
        return 0
    return given.constant if type(given.constant) is int else None


def _along(graph: Graph, root: Value, dim: int, parts: list[Part], at: Place) -> Refusal | str | None:
    """None where `dim` is surely the dimension that the rows make up, or what is taken for granted."""
    sort = parts[0].sort
    if dim == sort.dim:
        return None
    rows = {part.rows for part in parts}
    if dim >= 0 and len(rows - {None}) > 1:
        return None  # along any other dimension, tensors of these sizes cannot be concatenated
    source = input_of(parts[0].value)
    assert source is not None
    rank = rank_of(graph, source, root)
    exact = rank.exact
    if exact is not None and sort.kind.endswith(".Embedding"):
        exact += 1
    if dim >= 0 and exact is not None and dim == exact + sort.dim:
        return None
    # A convolution takes its input with a batch or without one.
    if sort.spatial and dim == 1 and (exact is None or exact == sort.spatial + 2):
        return "right for an input with a batch, as the source does not show it to be"
    features = "channels" if sort.spatial else "features"
    return Refusal(f"dimension {dim} is not known to be that of the {features}", at)


def _stacked(
    module: Module, scope: Scope, graph: Graph, root: Value, dim: int, parts: list[Part], at: Place
) -> Refusal | None:
    if len({part.width for part in parts}) > 1:
        return Refusal("the outputs are not known to be of one size", at)
    if dim == parts[0].sort.dim - 1:
        return None
    return needs_contiguous(module, scope, graph, root, None, Lies.ANYHOW, "torch.stack")


def _methods(root: Value, one: Merged) -> tuple[Method, ...]:
    """What makes the stack of the merged layer's output."""
    if root.kind == "cat":
        return ()
    dim, rows = one.sort.dim, one.parts[0].rows
    size = "-1" if rows is None else str(rows)
    apart = Method("unflatten", {"arg_0": str(dim), "arg_1": f"({len(one.parts)}, {size})"})
    wanted = _dim(root)
    if wanted == dim - 1:
        return (apart,)
    return (apart, Method("movedim", {"arg_0": str(dim - 1), "arg_1": str(wanted)}))
