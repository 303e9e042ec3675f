"""A linear layer of one-hot rows: an embedding.

`self.fc(F.one_hot(i, n).float())`, where `self.fc = nn.Linear(n, width, bias=False)`, multiplies a matrix of zeros with
a single one in each row by the weight, to read one column of the weight for each index. `nn.Embedding(n, width)` holds
those columns as rows, and reads them.

## What it saves
Memory and time that grow with the number of classes: the one-hot matrix, its conversion and a product of which all but
one term a row are zero. As a product with a bare table (FUS601) measured on a CPU: 74x forward, 21x forward and
backward, and 9.8 MB less kept for the backward pass.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, transposed. That the layer takes as many features as
there are classes needs no proof: otherwise it raises. An index that is negative or too large raises in both.

The weight is held transposed, under a new name: `fc.weight` becomes `fc_embedding.weight`. The name is new because a
square weight would not tell an old checkpoint from a new one. The edit adds a module-level function and registers it
with `register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict`.

An embedding starts from N(0, 1), a linear layer from a uniform distribution that narrows with the number of classes.
The edit adds a line that fills the weight as `nn.Linear` does, so that a new training run starts from the same
distribution. It draws other numbers, and more of them, so that a seeded run differs: the title says so. What you lose
besides: adapters and quantisation by the name or the type of the layer, and the state of a running optimiser. Under
autocast from outside the file the layer's result was rounded to half precision, and an embedding's is not.

## Refused when
- the layer has a bias, or the source does not show that it has none;
- the number of classes is left to the indices (`num_classes` omitted or -1);
- the one-hot rows are used again, or the index may be changed before the layer is called;
- what the rows are converted to cannot be told: `.to(y)`, where it may be another device;
- the layer is called twice, used beside its call, tied, frozen, hooked, wrapped, made under a condition;
- the file tells layers apart by their type (`isinstance(m, nn.Linear)`), as initialisers and optimiser groups do;
- a string in the file names the layer, or attributes are reached by a computed name;
- the file initialises with, or optimises by, something that looks at the whole matrix;
- the file uses autocast.

Source: `torch.nn.Embedding`, `torch.nn.Linear.reset_parameters`, `torch.nn.functional.one_hot`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.exchange import reads_as_reference
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, snake_case
from fuselight.fusions.one_hots import OneHot, held_by, one_hot_of, runs_under_autocast
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Expression,
    HookRegistration,
    Init,
    LinearInitialisation,
    Place,
    ReplaceExpression,
    ReplaceStatements,
    TransposeHook,
)
from fuselight.fusions.siblings import input_of
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_LINEAR, _EMBEDDING = "torch.nn.Linear", "torch.nn.Embedding"
_AS_EMBEDDING = {"in_features": "num_embeddings", "out_features": "embedding_dim", "device": "device", "dtype": "dtype"}


def _near(forward: str, init: str = "self.fc = nn.Linear(10, 4, bias=False)", tail: str = "") -> str:
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *init.split("\n")))
    body = "".join(f"        {line}\n" for line in forward.split("\n"))
    return f"""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
{lines}
    def forward(self, i):
{body}{tail}"""


@fusion
class OneHotBeforeLinear(Fusion):
    __doc__ = __doc__

    code = "FUS114"
    name = "one-hot-before-linear"
    words = (frozenset({"one_hot"}), frozenset({"Linear"}))
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 4, bias=False)

    def forward(self, x):
        i = x.argmax(dim=-1)
        return self.fc(F.one_hot(i, 10).to(self.fc.weight.dtype))
""",
            after='''\
import torch.nn.functional as F
from torch import nn


def _merge_m_fc_embedding(module, state_dict, prefix, *args):
    """Load checkpoints that hold fc, a linear layer, in place of fc_embedding."""
    weight = state_dict.pop(f"{prefix}fc.weight", None)
    if weight is not None:
        state_dict[f"{prefix}fc_embedding.weight"] = weight.t()


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc_embedding = nn.Embedding(10, 4)
        nn.init.kaiming_uniform_(self.fc_embedding.weight, a=5**0.5, mode="fan_out")
        self.register_load_state_dict_pre_hook(_merge_m_fc_embedding)

    def forward(self, x):
        i = x.argmax(dim=-1)
        return self.fc_embedding(i)
''',
            inputs=((3, 5, 10),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, kinds=6, width=8):
        super().__init__()
        self.kinds = kinds
        # what kind of token it is
        self.kind = nn.Linear(in_features=kinds, out_features=width, bias=False)
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        kind = x.argmax(dim=-1)
        rows = nn.functional.one_hot(kind, num_classes=self.kinds)
        rows = rows.to(x.dtype)
        return self.out(self.kind(rows))
""",
            after='''\
import torch
from torch import nn


def _merge_m_kind_embedding(module, state_dict, prefix, *args):
    """Load checkpoints that hold kind, a linear layer, in place of kind_embedding."""
    weight = state_dict.pop(f"{prefix}kind.weight", None)
    if weight is not None:
        state_dict[f"{prefix}kind_embedding.weight"] = weight.t()


class M(nn.Module):
    def __init__(self, kinds=6, width=8):
        super().__init__()
        self.kinds = kinds
        # what kind of token it is
        self.kind_embedding = nn.Embedding(num_embeddings=kinds, embedding_dim=width)
        nn.init.kaiming_uniform_(self.kind_embedding.weight, a=5**0.5, mode="fan_out")
        self.register_load_state_dict_pre_hook(_merge_m_kind_embedding)
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        kind = x.argmax(dim=-1)
        return self.out(self.kind_embedding(kind))
''',
            inputs=((3, 5, 6),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # a bias
        NearMiss(_near("return self.fc(F.one_hot(i, 10).float())", "self.fc = nn.Linear(10, 4)"), "has a bias"),
        # perhaps a bias
        NearMiss(
            _near("return self.fc(F.one_hot(i, 10).float())", "b = i = 0\nself.fc = nn.Linear(10, 4, bias=b)"),
            "has a bias",
        ),
        # as many classes as the batch happens to have
        NearMiss(_near("return self.fc(F.one_hot(i).float())"), "read off the indices"),
        # the rows are used besides
        NearMiss(_near("rows = F.one_hot(i, 10).float()\nreturn self.fc(rows), rows"), "used again"),
        # something besides the rows
        NearMiss(_near("return self.fc(torch.cat([F.one_hot(i, 9).float(), i[..., None].float()], -1))"), ""),
        # several ones in a row
        NearMiss(_near("return self.fc(F.one_hot(i, 10).float().sum(1))"), ""),
        # of other values too
        NearMiss(_near("return self.fc(F.one_hot(i, 10).float()) + self.fc(i.float())"), "more than once"),
        # the weight is an output layer's as well
        NearMiss(
            _near(
                "return self.fc(F.one_hot(i, 10).float())",
                "self.fc = nn.Linear(10, 4, bias=False)\nself.out = nn.Linear(10, 4, bias=False)\n"
                "self.out.weight = self.fc.weight",
            ),
            "beside its call",
        ),
        # the weight is used besides
        NearMiss(_near("return self.fc(F.one_hot(i, 10).float()) + self.fc.weight.sum()"), "beside its call"),
        # initialised by its type
        NearMiss(
            _near(
                "return self.fc(F.one_hot(i, 10).float())",
                tail="\n\ndef init(m):\n    if isinstance(m, nn.Linear):\n        nn.init.zeros_(m.weight)\n",
            ),
            "by their type",
        ),
        # another index by then
        NearMiss(_near("rows = F.one_hot(i, 10).float()\ni = i + 1\nreturn self.fc(rows), i"), "another value"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None or "one_hot" not in scope.called or _LINEAR not in scope.applied_kinds:
            return
        graph = module.graph(scope)
        if graph.opaque is not None or not graph.by_kind.get("one_hot"):
            return
        for root in graph.of_kind(_LINEAR):
            source = input_of(root)
            rows = one_hot_of(scope, graph, source) if source is not None else None
            if rows is not None and root.layer is not None:
                yield self._match(module, scope, graph, owner, root, rows, root.layer)

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        owner: ClassInfo,
        root: Value,
        rows: OneHot | Refusal,
        layer: Layer,
    ) -> Match:
        assert isinstance(root.node, ast.Call)
        statement, call = scope.statement, root.node
        place = Place(statement, call)
        message = f"`{layer.attribute}` is a linear layer of one-hot rows"
        held = rows if isinstance(rows, Refusal) else _held(module, scope, graph, owner, root, rows, layer)
        if isinstance(held, Refusal):
            why = Refusal(held.reason, held.at or place)
            return Match(type(self), scope.name, place, message, refused=why)
        assert isinstance(rows, OneHot)
        maker = layer.owner
        name = free_attribute(module, owner, _named(layer.attribute))
        function = free_function(module, f"_merge_{snake_case(maker.name)}_{name.strip('_')}")
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
        note = breaking or "old checkpoints load through a hook; a seeded run starts from other numbers"
        made = (Init(_made(layer, name)), LinearInitialisation(name), HookRegistration(function))
        looked_up = Expression(LogicalNode(name, _EMBEDDING, {}), (rows.argument(scope),))

        def plan() -> tuple[Action, ...]:
            removed = (ReplaceStatements(statement, held, (), root.statement),) if held else ()
            return (
                ReplaceStatements(maker.statement, (layer.assignment,), made),
                AddFunction(maker.statement, TransposeHook(function, name, layer.attribute)),
                *removed,
                ReplaceExpression(statement, call, looked_up),
            )

        others = [Place(layer.statement, layer.assignment), *(Place(statement, one) for one in held)]
        others += [Place(statement, value.node) for value in rows.inner if value.node is not None]
        title = f"Make `{layer.attribute}` an embedding `{name}` ({safety.value}: {note})"
        return Match(type(self), scope.name, place, message, title, safety, tuple(others), plan)


def _named(attribute: str) -> str:
    return f"{attribute}_table" if "embed" in attribute.lower() else f"{attribute}_embedding"


def _made(layer: Layer, name: str) -> LogicalNode:
    """The embedding, of the linear layer's sizes."""
    call = layer.constructor
    assert call is not None
    given = sizes.arguments(call, sizes.LINEAR)
    assert given is not None
    metadata: dict[str, str] = {}
    for number, (one, other) in enumerate(_AS_EMBEDDING.items()):
        if one in given:
            positional = number < 2 and number < len(call.args)
            metadata[f"arg_{number}" if positional else other] = sizes.source(layer.statement, given[one])
    return LogicalNode(name, _EMBEDDING, metadata)


def _held(
    module: Module, scope: Scope, graph: Graph, owner: ClassInfo, root: Value, rows: OneHot, layer: Layer
) -> tuple[ast.stmt, ...] | Refusal:
    """The statements that hold nothing but the one-hot rows, or what speaks against the edit."""
    assert isinstance(root.node, ast.Call)
    refusal = provenance.plain_layer(layer, frozenset({_LINEAR}), "a plain `nn.Linear`")
    if refusal is not None:
        return refusal
    given = sizes.arguments(layer.constructor, sizes.LINEAR) if layer.constructor is not None else None
    place = Place(layer.statement, layer.constructor or layer.assignment)
    if given is None or not {"in_features", "out_features"} <= given.keys():
        return Refusal(f"the constructor of `{layer.attribute}` is not that of `nn.Linear`", place)
    if sizes.has_bias(given) is not False:
        return Refusal(f"`{layer.attribute}` has a bias, or may have one, which an embedding has not", place)
    if reads_as_reference(scope):
        return Refusal(f"`{scope.name}` reads as a reference that something is compared with")
    if runs_under_autocast(module):
        return Refusal("the file uses autocast, under which the layer rounds and an embedding does not")
    if self_parameter(scope.function) != "self" or self_parameter(layer.init) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`")
    if not layer.statement.stands_alone(layer.assignment):
        return Refusal(f"`{layer.attribute}` shares its line with another statement", place)
    held = held_by(module, scope, graph, root, rows)
    if isinstance(held, Refusal):
        return held
    names = frozenset({layer.attribute})
    # `.to(self.fc.weight.dtype)` goes with the rows; a device that is read off the layer would stay.
    kept = rows.device is not None and f"self.{layer.attribute}." in rows.device
    gone = frozenset[ast.AST]() if kept else frozenset(node for one in rows.dropped for node in ast.walk(one))
    why = (
        provenance.known_class(module, owner)
        or provenance.touched(module, owner, layer, root.node, gone)
        or provenance.named_in_strings(module, (layer.attribute, _named(layer.attribute)))
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, names)
        or walked(module)
        or provenance.depends_on_shape(module, owner, names)
        or _told_by_type(module)
    )
    return why or held


def _told_by_type(module: Module) -> Refusal | None:
    """Nobody may ask whether a layer is a linear layer or an embedding: the answer changes."""
    for name in ("Linear", "Embedding"):
        if module.mentions.used_uncalled(name) or any(True for _ in module.mentions.strings_with(name)):
            return Refusal(f"the file tells layers apart by their type, `nn.{name}` among them")
    return None
