"""A gate and what it gates, of one input: one wider layer and `F.glu`.

`self.value(x) * torch.sigmoid(self.gate(x))`: two linear layers (or convolutions) of one size read the same value, and
the sigmoid of one multiplies the other. That is a gated linear unit: one layer with the rows of both, `F.glu` of its
output. It is found by what is computed, never by names, in either order of the factors, in one expression or over
several statements. Only a sigmoid makes a `glu`; for a gate of SiLU or GELU see FUS201.

## What it saves
Kernel launches and a read of the input. On a CPU, 8 x 128 tokens of 512: 0.96x to 1.04x forward, 1.07x to 1.10x forward
and backward, as much memory kept as before. (`F.glu` alone, of what one layer computes already, is 1.5x forward.)
Launch-bound code on a GPU should gain more, which is not measured here.

## Fix safety
`checkpoint`: the function is the same, with the same gradients; results differ by float rounding. The parameters of
both layers become rows of one, the value's above the gate's, as `F.glu` wants them. The edit adds a load hook (as
FUS201 has it), so that an old checkpoint loads with `strict=True`. `breaking` where the file's models load past
`nn.Module.load_state_dict`.

What you lose besides is what FUS201 lists: adapters by name, a running optimiser's state, optimisers and initialisers
that look at a matrix as a whole. A `nn.Sigmoid` of the class that computed the gate stays where it is made.

## Refused when
- the two sizes are not the same in the source: the product may broadcast;
- anything else reads the value, the gate or the sigmoid;
- the layers differ in their bias, kernel size, stride, ..., or one is grouped;
- a layer is called twice, used beside its call, tied, frozen, hooked, wrapped, made under a condition;
- the input is not provably one value: rebound or possibly written to between the calls.

Source: Dauphin et al. 2017; `torch.nn.functional.glu`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion, model_text
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Expression, Place
from fuselight.fusions.siblings import (
    SORTS,
    Merged,
    Root,
    input_of,
    listed,
    merge,
    one_place,
    part_of,
    refusal,
    unlike,
)
from fuselight.graph.classes import ClassInfo
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_TWO = "self.value = nn.Linear(16, 24)\nself.gate = nn.Linear(16, 24)"


_SIGMOIDS = frozenset({"sigmoid", "Sigmoid", "expit"})


@fusion
class GatedSiblings(Fusion):
    __doc__ = __doc__

    code = "FUS205"
    name = "gated-siblings"
    words = (frozenset(sort.name for sort in SORTS.values()), _SIGMOIDS)
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Linear(16, 24)
        self.gate = nn.Linear(16, 24)

    def forward(self, x):
        return self.value(x) * torch.sigmoid(self.gate(x))
""",
            after='''\
import torch
from torch import nn


def _merge_m_value_gate(module, state_dict, prefix, *args):
    """Load checkpoints that hold value and gate in place of value_gate."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("value", "gate")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}value_gate.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.value_gate = nn.Linear(16, 48)
        self.register_load_state_dict_pre_hook(_merge_m_value_gate)

    def forward(self, x):
        return nn.functional.glu(self.value_gate(x), dim=-1)
''',
            inputs=((2, 5, 16),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.gate_conv = nn.Conv1d(channels, channels, 3, padding=1)  # how much
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)  # of what

    def forward(self, x):
        gate = self.gate_conv(x).sigmoid()
        h = self.conv(x)
        h = gate * h
        return F.relu(h)
""",
            after='''\
import torch
import torch.nn.functional as F
from torch import nn


def _merge_m_conv_gate_conv(module, state_dict, prefix, *args):
    """Load checkpoints that hold conv and gate_conv in place of conv_gate_conv."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("conv", "gate_conv")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}conv_gate_conv.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        # how much
        # of what
        self.conv_gate_conv_sizes = [channels, channels]
        self.conv_gate_conv = nn.Conv1d(
            channels, sum(self.conv_gate_conv_sizes), 3, padding=1
        )
        self.register_load_state_dict_pre_hook(_merge_m_conv_gate_conv)

    def forward(self, x):
        h = F.glu(self.conv_gate_conv(x), dim=-2)
        return F.relu(h)
''',
            inputs=((2, 8, 9),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # another activation
        NearMiss(model_text(_TWO, "return self.value(x) * F.silu(self.gate(x))"), ""),
        # of two inputs
        NearMiss(model_text(_TWO, "return self.value(x) * torch.sigmoid(self.gate(x + 1))"), ""),
        # the gate is read besides
        NearMiss(
            model_text(_TWO, "gate = torch.sigmoid(self.gate(x))\nreturn self.value(x) * gate, gate"),
            "used again",
        ),
        # the value is read besides
        NearMiss(
            model_text(_TWO, "value = self.value(x)\nreturn value * torch.sigmoid(self.gate(x)) + value"),
            "used again",
        ),
        # one gate for all features
        NearMiss(
            model_text(
                "self.value = nn.Linear(16, 24)\nself.gate = nn.Linear(16, 1)",
                "return self.value(x) * torch.sigmoid(self.gate(x))",
            ),
            "are not known to be of one size",
        ),
        # both are sigmoids
        NearMiss(model_text(_TWO, "return torch.sigmoid(self.value(x)) * torch.sigmoid(self.gate(x))"), ""),
        # a sum
        NearMiss(model_text(_TWO, "return self.value(x) + torch.sigmoid(self.gate(x))"), ""),
        # one minus the gate
        NearMiss(model_text(_TWO, "return self.value(x) * (1 - torch.sigmoid(self.gate(x)))"), ""),
        # the input is changed between
        NearMiss(
            model_text(_TWO, "value = self.value(x)\nx.mul_(2)\nreturn value * torch.sigmoid(self.gate(x))"),
            "may be changed between",
        ),
        # one has no bias
        NearMiss(
            model_text(
                "self.value = nn.Linear(16, 24)\nself.gate = nn.Linear(16, 24, bias=False)",
                "return self.value(x) * torch.sigmoid(self.gate(x))",
            ),
            "differ in whether they have a bias",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None:
            return
        if sum(layer.kind in SORTS for layer in scope.applied_layers) < 2:
            return
        if _SIGMOIDS.isdisjoint(scope.called) and "torch.nn.Sigmoid" not in scope.applied_kinds:
            return
        graph = module.graph(scope)
        if graph.opaque is not None or not any(graph.of_kind("sigmoid")):
            return
        for root in graph.of_kind("mul"):
            found = _factors(root)
            if found is not None:
                yield self._match(module, scope, graph, owner, root, *found)

    def _match(
        self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, root: Value, value: Value, sigmoid: Value
    ) -> Match:
        gate = sigmoid.inputs[0]
        sort = SORTS[value.kind]
        names = listed([call.layer.attribute for call in (value, gate) if call.layer is not None])
        message = f"{names} are {sort.several} of one input, of which one gates the other"
        assert root.node is not None
        found = _merged(module, scope, graph, owner, root, value, sigmoid)
        if isinstance(found, Refusal):
            at = Place(scope.statement, root.node)
            others = tuple(Place(scope.statement, call.node) for call in (value, gate) if call.node is not None)
            return Match(type(self), scope.name, at, message, others=others, refused=found)
        one, place = found

        def plan() -> tuple[Action, ...]:
            glu = LogicalNode("func_glu", "glu", {"dim": str(sort.dim)})
            called = Expression(glu, (f"self.{one.name}({place.argument})",))
            return (*one.actions(), *place.actions(scope, called))

        first, *others = place.places(scope)
        return Match(
            type(self), scope.name, first, message,
            f"Merge {names} into one {sort.one} `{one.name}` with a `glu` behind it ({one.safety.value}: {one.note})",
            one.safety, (*others, *one.constructors()), plan,
        )  # fmt: skip


def _factors(root: Value) -> tuple[Value, Value] | None:
    """What is gated and the sigmoid of its gate, where the factors are that, of layers of one sort on one value."""
    if len(root.inputs) != 2 or root.keywords:
        return None
    for value, sigmoid in (root.inputs, root.inputs[::-1]):
        if sigmoid.kind != "sigmoid" or value.kind not in SORTS or len(sigmoid.inputs) != 1 or sigmoid.keywords:
            continue
        gate = sigmoid.inputs[0]
        source = input_of(value)
        if gate.kind == value.kind and gate.layer is not value.layer and source is not None:
            return (value, sigmoid) if input_of(gate) is source else None
    return None


def _merged(
    module: Module, scope: Scope, graph: Graph, owner: ClassInfo, root: Value, value: Value, sigmoid: Value
) -> tuple[Merged, Root] | Refusal:
    """The merged layer, the value's rows first, and where it is called; or the reason why not."""
    gate = sigmoid.inputs[0]
    sort = SORTS[value.kind]
    first = part_of(module, owner, value, sort)
    if isinstance(first, Refusal):
        return first
    second = part_of(module, owner, gate, sort)
    if isinstance(second, Refusal):
        return second
    if first.width != second.width:
        assert root.node is not None
        return Refusal(
            f"`{first.name}` and `{second.name}` are not known to be of one size", Place(scope.statement, root.node)
        )
    place = one_place(scope, graph, root, [value, gate], [sigmoid])
    if isinstance(place, Refusal):
        return place
    why = unlike(first, second) or _activation(module, owner, sigmoid) or refusal(module, owner, [first, second])
    return why or (merge(module, owner, [first, second]), place)


def _activation(module: Module, owner: ClassInfo, sigmoid: Value) -> Refusal | None:
    """A `nn.Sigmoid` of the class must be that, wherever the file may reach it."""
    layer = sigmoid.layer
    if layer is None:
        return None
    return (
        provenance.touched(module, owner, layer, None)
        or provenance.named_in_strings(module, (layer.attribute,))
        or provenance.hooked(module, frozenset({layer.attribute}))
    )
