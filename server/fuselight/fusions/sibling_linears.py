"""Linear layers of one input: one wider linear layer and a split.

Query, key and value projections, the gate and up projections of an MLP, the mean and log-variance heads of a VAE, the
gates of a hand-written GRU: several `nn.Linear` that read the same value. They are found by that value, never by their
names, called one by one or in a comprehension over them. One layer with their rows one below the other computes them in
one matrix product that reads the input once.

## What it saves
Kernel launches and reads of the input. On a CPU: three equal projections 1.02x to 1.18x forward, two that make a gate
and an up projection 0.95x to 1.01x, which is nothing, twelve small heads 2.6x. Launch-bound code on a GPU should gain
more; that is not measured here. No memory is saved.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, row by row. The parameters of the parts become rows of
one parameter. The edit adds a module-level function and registers it with `register_load_state_dict_pre_hook` (public
since torch 2.5), so that an old checkpoint loads with `strict=True`. `breaking` where the file's models load past
`nn.Module.load_state_dict`: `from_pretrained` of transformers and diffusers, safetensors loops,
`torch.distributed.checkpoint`, copies by name. There the checkpoint has to be converted.

Keys without a bias beside queries and values that have one (Whisper, BEiT) are merged with them only where the softmax
over the keys surely cancels a bias: the new one is zero for old checkpoints, its gradient is zero but for rounding
(2.7e-15 in float64), and the output is the same whatever it is. It is a parameter more all the same: Adam, which looks
at the sign of a gradient more than at its size, lets it drift. Anywhere else the new bias would train, so the layers
with a bias are merged and the others left: behind rotary embeddings, a norm of the keys, an activation, a cache.

What you lose besides: adapters that name the parts (LoRA `target_modules=["q_proj"]`), and an adapter on the merged
layer shares its A matrix; tensor-parallel plans by name, and a column-wise shard of the merged matrix mixes the parts;
the state of a running optimiser, whose moments would have to be concatenated too; optimisers that look at a matrix as a
whole (Muon, Shampoo, Adafactor, LAMB) step otherwise; initialisers that depend on the shape of the whole matrix
(Xavier, orthogonal, Kaiming by fan-out) initialise otherwise; torch's default initialisation draws the same numbers
without a bias, others with one. The outputs are views of one tensor: they are not contiguous. Other files that use a
part by its name are not seen.

## Refused when
- a part is called twice, used beside its call, tied, frozen, hooked, wrapped, made under a condition or not a plain
  `nn.Linear`; the other parts may still be merged;
- the input is not provably one value: rebound or possibly written to between the calls;
- one part has a bias and another has none (but see above), or their dtype or device differ: only those that are alike
  are merged;
- they are called by the name of a loop that does more than call each once, or one after the other on demand;
- they stand at the start of `nn.Sequential`s, or belong to an object that is handed in (`attn.to_q(x)`);
- an output is only used without its gradient: weight decay would reach its rows as part of a parameter that trains;
- an output is written to in place, or viewed in a way that needs contiguous memory;
- a string in the file names a part, or attributes are reached by a computed name;
- the file initialises with, or optimises by, something that looks at the whole matrix;
- the file works on nested (jagged) tensors.

Source: `torch.nn.Linear`, `torch.nn.Module.register_load_state_dict_pre_hook`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.base import Example, Match, NearMiss, Refusal, fusion
from fuselight.fusions.keys import bias_cancels
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.siblings import LINEAR, Part, input_of, listed
from fuselight.fusions.split_siblings import Siblings
from fuselight.graph.classes import ClassInfo, resolve
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value

_ROLES = frozenset(
    "to_q to_k to_v q_proj k_proj v_proj query_proj key_proj value_proj add_q_proj add_k_proj add_v_proj wq wk wv"
    " gate_proj up_proj linear_q linear_k linear_v".split()
)
"""Names that hardly anything but a linear layer has. They serve for reasons, never for a merge."""


@fusion
class SiblingLinears(Siblings):
    __doc__ = __doc__

    code = "FUS201"
    name = "sibling-linears"
    words = (frozenset({"Linear", *_ROLES}),)
    sorts = (LINEAR,)
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(16, 16)
        self.k_proj = nn.Linear(16, 16)
        self.v_proj = nn.Linear(16, 16)

    def forward(self, x):
        q = self.q_proj(x)
        k = self.k_proj(x)
        v = self.v_proj(x)
        return F.scaled_dot_product_attention(q, k, v)
""",
            after='''\
import torch
import torch.nn.functional as F
from torch import nn


def _merge_m_qkv_proj(module, state_dict, prefix, *args):
    """Load checkpoints that hold q_proj, k_proj and v_proj in place of qkv_proj."""
    for parameter in ("weight", "bias"):
        keys = [
            f"{prefix}{part}.{parameter}" for part in ("q_proj", "k_proj", "v_proj")
        ]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}qkv_proj.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv_proj = nn.Linear(16, 48)
        self.register_load_state_dict_pre_hook(_merge_m_qkv_proj)

    def forward(self, x):
        q, k, v = self.qkv_proj(x).split([16, 16, 16], dim=-1)
        return F.scaled_dot_product_attention(q, k, v)
''',
            inputs=((2, 5, 16),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.gate = nn.Linear(16, hidden, bias=False)  # how much
        self.up = nn.Linear(16, hidden, bias=False)  # of what
        self.down = nn.Linear(hidden, 16, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))
""",
            after='''\
import torch
import torch.nn.functional as F
from torch import nn


def _merge_m_gate_up(module, state_dict, prefix, *args):
    """Load checkpoints that hold gate and up in place of gate_up."""
    for parameter in ("weight",):
        keys = [f"{prefix}{part}.{parameter}" for part in ("gate", "up")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}gate_up.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        # how much
        # of what
        self.gate_up_sizes = [hidden, hidden]
        self.gate_up = nn.Linear(16, sum(self.gate_up_sizes), bias=False)
        self.register_load_state_dict_pre_hook(_merge_m_gate_up)
        self.down = nn.Linear(hidden, 16, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).split(self.gate_up_sizes, dim=-1)
        return self.down(F.silu(gate) * up)
''',
            inputs=((2, 5, 16),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # rebound
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        q = self.q(x)
        x = x + 1
        return q + self.k(x)
""",
            "",
        ),
        # in place between
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        q = self.q(x)
        x.mul_(2)
        return q + self.k(x)
""",
            "changed between",
        ),
        # called twice
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        q, k = self.q(x), self.k(x)
        return q + k + self.k(q)
""",
            "more than once",
        ),
        # the weight is read
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        return self.q(x) + self.k(x) + self.k.weight.sum()
""",
            "beside its call",
        ),
        # one bias
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16, bias=False)

    def forward(self, x):
        return self.q(x) + self.k(x)
""",
            "differ in whether they have a bias",
        ),
        # written to
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        return self.q(x).mul_(2) + self.k(x)
""",
            "written to in place",
        ),
        # flat views
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        return self.q(x).view(-1) + self.k(x).view(-1)
""",
            "contiguous",
        ),
        # by a computed name
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)
        self.parts = [getattr(self, n) for n in "qk"]

    def forward(self, x):
        return self.q(x) + self.k(x)
""",
            "computed name",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        yield from super().matches(module, scope)
        sequential = [layer.kind for layer in scope.applied_layers].count(_SEQUENTIAL) > 1
        if not sequential and len(scope.called & _ROLES) < 2:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        if sequential:
            yield from self._in_sequentials(module, scope, graph)
        yield from self._of_another_object(scope, graph)

    def gains_a_bias(self, graph: Graph, owner: ClassInfo, part: Part) -> bool:
        return bias_cancels(graph, owner, part.value, part.rows)

    def _in_sequentials(self, module: Module, scope: Scope, graph: Graph) -> Iterator[Match]:
        """`nn.Sequential`s of one input that start with a linear layer: their later layers stand in the way."""
        found: dict[tuple[int, int], list[Value]] = {}
        for value in graph.of_kind("call"):
            layer, source = value.layer, input_of(value)
            if layer is None or layer.kind != _SEQUENTIAL or source is None or layer.constructor is None:
                continue
            first = layer.constructor.args[0] if layer.constructor.args else None
            if isinstance(first, ast.Call) and resolve(first.func, module.names) == LINEAR.kind:
                found.setdefault((id(source), id(value.block)), []).append(value)
        for values in found.values():
            names = listed(list(dict.fromkeys(value.layer.attribute for value in values if value.layer is not None)))
            if len({value.layer for value in values}) > 1:
                reason = "their first layers stand inside an `nn.Sequential`, which would have to be taken apart"
                yield self._reported(scope, values, f"{names} start with linear layers of one input", reason)

    def _of_another_object(self, scope: Scope, graph: Graph) -> Iterator[Match]:
        """`attn.to_q(x)`, `attn.to_k(x)`: layers of an object that is handed in."""
        found: dict[tuple[str, int, int], dict[str, Value]] = {}
        for value in graph.of_kind("call"):
            func = value.node.func if isinstance(value.node, ast.Call) else None
            if not isinstance(func, ast.Attribute) or func.attr not in _ROLES or value.layer is not None:
                continue
            if len(value.inputs) != 2 or value.inputs[0].kind not in ("parameter", "attribute"):
                continue
            path = ast.unparse(func.value)
            if path != "self":
                key = (path, id(value.inputs[1]), id(value.block))
                found.setdefault(key, {}).setdefault(func.attr, value)
        for (path, _, _), named in found.items():
            if len(named) > 1:
                names = listed([f"{path}.{name}" for name in named])
                reason = f"the layers belong to `{path}`, which is made elsewhere: merge them where it is made"
                yield self._reported(scope, list(named.values()), f"{names} read one input", reason)

    def _reported(self, scope: Scope, values: list[Value], message: str, reason: str) -> Match:
        places = [Place(scope.statement, value.node) for value in values if value.node is not None]
        refused = Refusal(reason, places[0])
        return Match(type(self), scope.name, places[0], message, others=tuple(places[1:]), refused=refused)


_SEQUENTIAL = "torch.nn.Sequential"
