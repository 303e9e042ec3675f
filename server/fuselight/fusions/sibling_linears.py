"""Linear layers of one input: one wider linear layer and a split.

Query, key and value projections, the gate and up projections of an MLP, the mean and log-variance heads of a VAE, the
gates of a hand-written GRU: several `nn.Linear` that read the same value. They are found by that value, never by their
names. One layer with their rows one below the other computes them in one matrix product that reads the input once.

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
- one part has a bias and another has none, or their dtype or device differ;
- an output is written to in place, or viewed in a way that needs contiguous memory;
- a string in the file names a part, or attributes are reached by a computed name;
- the file initialises with, or optimises by, something that looks at the whole matrix;
- the file works on nested (jagged) tensors.

Source: `torch.nn.Linear`, `torch.nn.Module.register_load_state_dict_pre_hook`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, free_local, merged_name, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Attribute,
    Emitted,
    HookRegistration,
    Init,
    Insert,
    MergeHook,
    Place,
    ReplaceExpression,
    ReplaceStatements,
    Unpack,
)
from fuselight.fusions.views import needs_contiguous
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer, local_names
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_LINEAR = "torch.nn.Linear"
_PURE_CALLS = frozenset("int float len max min round sum abs getattr range tuple".split())

_PARAMETERS = ("in_features", "out_features", "bias", "device", "dtype")
"""The positional parameters of `torch.nn.Linear`, torch 2.13."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One of the layers to merge."""

    layer: Layer
    value: Value
    arguments: dict[str, ast.expr]

    @property
    def name(self) -> str:
        return self.layer.attribute

    @property
    def call(self) -> ast.Call:
        assert isinstance(self.value.node, ast.Call)
        return self.value.node

    def source(self, argument: str) -> str | None:
        node = self.arguments.get(argument)
        return self.layer.statement.source(node) if node is not None else None


@fusion
class SiblingLinears(Fusion):
    __doc__ = __doc__

    code = "FUS201"
    name = "sibling-linears"
    words = (frozenset({"Linear"}),)
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
        owner = scope.owner
        if owner is None:
            return
        words = scope.words
        if sum(layer.kind == _LINEAR and layer.attribute in words for layer in owner.layers.values()) < 2:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for values in _groups(graph):
            yield from self._group(module, scope, graph, owner, values)

    def _group(
        self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, values: list[Value]
    ) -> Iterator[Match]:
        parts: list[_Part] = []
        reasons: list[Refusal] = []
        for value in values:
            part = _part(module, scope, graph, owner, value)
            if isinstance(part, Refusal):
                reasons.append(part)
            else:
                parts.append(part)
        if len(parts) < 2:
            yield self._refused(scope, values, reasons[0])
            return
        parts.sort(key=lambda part: part.layer.assignment.lineno)
        refusal = _refusal(module, scope, graph, owner, parts)
        if refusal is not None:
            yield self._refused(scope, [part.value for part in parts], refusal)
            return
        yield self._offered(module, scope, graph, owner, parts)
        kept = {part.value for part in parts}
        for value, reason in zip((value for value in values if value not in kept), reasons, strict=True):
            yield self._refused(scope, [value], reason)

    def _refused(self, scope: Scope, values: list[Value], refusal: Refusal) -> Match:
        places = [Place(scope.statement, value.node) for value in values if value.node is not None]
        names = _listed([value.layer.attribute for value in values if value.layer is not None])
        message = f"{names} are linear layers of one input" if len(values) > 1 else f"{names} is left out of a merge"
        return Match(type(self), scope.name, places[0], message, others=tuple(places[1:]), refused=refusal)

    def _offered(self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, parts: list[_Part]) -> Match:
        maker = parts[0].layer.owner
        names = [part.name for part in parts]
        merged = free_attribute(module, owner, merged_name(names))
        hook = free_function(module, f"_merge_{snake_case(maker.name)}_{merged}")
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
        note = breaking or "old checkpoints load through a hook"
        has_bias = parts[0].source("bias") not in ("False", "0", "None")
        function = MergeHook(hook, merged, tuple(names), ("weight", "bias") if has_bias else ("weight",))
        made, sizes = _made(module, maker, parts, merged)
        statement = parts[0].layer.statement

        def plan() -> tuple[Action, ...]:
            return (
                ReplaceStatements(
                    statement, tuple(part.layer.assignment for part in parts), (*made, HookRegistration(hook))
                ),
                AddFunction(maker.statement, function),
                *_calls(scope, graph, parts, merged, sizes),
            )

        ordered = sorted(parts, key=lambda part: part.value.order)
        places = [Place(scope.statement, part.call) for part in ordered]
        constructors = [Place(statement, part.layer.assignment) for part in parts]
        return Match(
            type(self), scope.name, places[0], f"{_listed(names)} are linear layers of one input",
            f"Merge {_listed(names)} into one linear layer `{merged}` ({safety.value}: {note})", safety,
            (*places[1:], *constructors), plan,
        )  # fmt: skip


def _groups(graph: Graph) -> Iterator[list[Value]]:
    """Linear layers of the class called on one value in one block, in the order of the calls."""
    groups: dict[tuple[int, int], list[Value]] = {}
    for value in graph.of_kind(_LINEAR):
        source = _input(value)
        if source is not None and value.layer is not None:
            groups.setdefault((id(source), id(value.block)), []).append(value)
    for values in groups.values():
        if len({value.layer for value in values}) > 1:
            yield values


def _input(value: Value) -> Value | None:
    """What a linear layer is applied to, by position or as `input=`."""
    given = [*value.inputs, *value.keywords.values()]
    if len(given) != 1 or given[0].kind == "starred" or (value.keywords and "input" not in value.keywords):
        return None
    return given[0]


def _part(module: Module, scope: Scope, graph: Graph, owner: ClassInfo, value: Value) -> _Part | Refusal:
    layer = value.layer
    assert layer is not None
    assert isinstance(value.node, ast.Call)
    refusal = (
        provenance.plain_layer(layer, frozenset({_LINEAR}), "a plain `nn.Linear`")
        or provenance.touched(module, owner, layer, value.node)
        or provenance.named_in_strings(module, (layer.attribute,))
        or needs_contiguous(module, scope, graph, value, _out_features(layer))
    )
    if refusal is not None:
        return refusal
    arguments = _arguments(layer)
    if arguments is None or "in_features" not in arguments or "out_features" not in arguments:
        return Refusal(f"the constructor of `{layer.attribute}` is not that of `nn.Linear`", _constructor(layer))
    for name in ("in_features", "out_features", "bias", "device", "dtype"):
        if name in arguments and not _is_pure(arguments[name]):
            return Refusal(f"`{name}` of `{layer.attribute}` is worked out by a call", _constructor(layer))
    return _Part(layer, value, arguments)


def _constructor(layer: Layer) -> Place:
    return Place(layer.statement, layer.constructor or layer.assignment)


def _out_features(layer: Layer) -> ast.expr | None:
    arguments = _arguments(layer)
    return arguments.get("out_features") if arguments is not None else None


def _arguments(layer: Layer) -> dict[str, ast.expr] | None:
    """The constructor's arguments by their names; None where they are not those of `nn.Linear`."""
    if layer.constructor is None or len(layer.constructor.args) > len(_PARAMETERS):
        return None
    arguments: dict[str, ast.expr] = dict(zip(_PARAMETERS, layer.constructor.args, strict=False))
    for given in layer.constructor.keywords:
        if given.arg not in _PARAMETERS or given.arg in arguments:
            return None
        arguments[given.arg] = given.value
    return arguments


def _is_pure(node: ast.expr) -> bool:
    """Whether evaluating an argument twice, or a line earlier, is evaluating it once."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            pure = isinstance(inner.func, ast.Name) and inner.func.id in (
                "int",
                "len",
                "max",
                "min",
                "round",
                "sum",
                "abs",
            )
            path = ast.unparse(inner.func)
            if not pure and not path.startswith("math.") and path != "getattr":
                return False
        elif isinstance(inner, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda):
            return False
    return True


def _refusal(module: Module, scope: Scope, graph: Graph, owner: ClassInfo, parts: list[_Part]) -> Refusal | None:
    names = frozenset(part.name for part in parts)
    return (
        provenance.known_class(module, owner)
        or _nested_tensors(module)
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, names)
        or walked(module)
        or provenance.depends_on_shape(module, owner, names)
        or _unlike(parts)
        or _made_apart(parts)
        or _called_apart(scope, graph, parts)
    )


def _nested_tensors(module: Module) -> Refusal | None:
    """A jagged nested tensor cannot be split along its last dimension and then be attended over (torch 2.13)."""
    for mention in module.mentions.of_attribute("nested"):
        if mention.owner is None:
            return Refusal("the file works on nested tensors", Place(mention.statement, mention.node))
    if module.mentions.has_word("nested_tensor", "NestedTensor", "as_nested_tensor", "jagged"):
        return Refusal("the file works on nested tensors")
    return None


def _unlike(parts: list[_Part]) -> Refusal | None:
    first = parts[0]
    for part in parts[1:]:
        if _bias(part) != _bias(first):
            return Refusal(
                f"`{first.name}` and `{part.name}` differ in whether they have a bias", _constructor(part.layer)
            )
        for name in ("device", "dtype"):
            if part.source(name) != first.source(name):
                return Refusal(f"`{first.name}` and `{part.name}` differ in their {name}", _constructor(part.layer))
    return None


def _bias(part: _Part) -> str:
    node = part.arguments.get("bias")
    if node is None:
        return "True"
    if isinstance(node, ast.Constant):
        return str(bool(node.value))
    return ast.unparse(node)


def _made_apart(parts: list[_Part]) -> Refusal | None:
    """All must be made in one block, and nothing that their sizes rest on may change between the first and the last."""
    first = parts[0].layer
    statement = first.statement
    if self_parameter(first.init) != "self":
        return Refusal("`__init__` does not call its instance `self`", _constructor(first))
    for part in parts:
        layer = part.layer
        if layer.owner is not first.owner or layer.block is not first.block:
            return Refusal("the layers are made in different places", _constructor(layer))
        if not statement.stands_alone(layer.assignment):
            return Refusal(f"`{part.name}` shares its line with another statement", _constructor(layer))
    block = first.block
    assigned = [part.layer.assignment for part in parts]
    start, end = block.index(assigned[0]), block.index(assigned[-1])
    read = {ast.unparse(node) for part in parts for given in part.arguments.values() for node in _reads(given)}
    for between in block[start:end]:
        if between not in assigned and not _is_plain_assignment(between):
            return Refusal(
                "something between the layers may change a size, or see half of them", Place(statement, between)
            )
        for node in ast.walk(between):
            stored = isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load)
            if stored and ast.unparse(node) in read:
                return Refusal(f"`{ast.unparse(node)}` changes between the layers", Place(statement, between))
    return None


def _is_plain_assignment(node: ast.stmt) -> bool:
    """Whether a statement only assigns a value that is no call, or one of a class that does not get `self`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return isinstance(node, ast.AnnAssign | ast.Pass)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if not all(isinstance(target, ast.Name | ast.Attribute) for target in targets):
        return False
    for inner in ast.walk(node.value):
        if isinstance(inner, ast.Call):
            name = ast.unparse(inner.func).rpartition(".")[2]
            if not (name[:1].isupper() or name in _PURE_CALLS):
                return False
            if any(isinstance(one, ast.Name) and one.id == "self" for one in inner.args):
                return False
        elif isinstance(inner, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
    return True


def _reads(node: ast.expr) -> Iterator[ast.expr]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute):
            yield inner


def _called_apart(scope: Scope, graph: Graph, parts: list[_Part]) -> Refusal | None:
    """All must be called in one block, on a name whose value does not change from the first call's statement on."""
    statement = scope.statement
    ordered = sorted((part.value for part in parts), key=lambda value: value.order)
    first, last = ordered[0], ordered[-1]
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`")
    assert first.node is not None
    at = Place(statement, first.node)
    anchor = first.statement
    if not first.block.is_suite or anchor is None or anchor not in first.block.statements:
        return Refusal("they are called inside a conditional expression or comprehension", at)
    for value in ordered:
        if not isinstance(value.statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return):
            return Refusal("they are called in the head of a compound statement", at)
        if not statement.stands_alone(value.statement):
            return Refusal("a call shares its line with another statement", at)
    source = _input(first)
    assert source is not None
    if not isinstance(_argument(first), ast.Name):
        return Refusal("their input has no name", at)
    if source.statement is anchor:
        return Refusal("their input is made in the same statement", at)
    start = min(value.order for value in graph.values if value.statement is anchor)
    write = graph.written_between(source, start - 1, last.order)
    if write is not None:
        place = write.node if isinstance(write.node, ast.expr | ast.stmt) else first.node
        how = "is" if write.sure else "may be"
        return Refusal(f"their input {how} changed between the calls", Place(statement, place))
    if graph.exits_between(first.order, last.order):
        return Refusal("the function may leave between the calls", at)
    return None


def _argument(value: Value) -> ast.expr:
    node = value.node
    assert isinstance(node, ast.Call)
    return node.args[0] if node.args else node.keywords[0].value


def _made(
    module: Module, maker: ClassInfo, parts: list[_Part], merged: str
) -> tuple[tuple[Emitted, ...], str | tuple[str, ...]]:
    """The statements that make the merged layer, and the sizes to split its output into."""
    widths = [part.arguments["out_features"] for part in parts]
    sources = [" ".join((part.source("out_features") or "").split()) for part in parts]
    made: list[Emitted] = []
    sizes: str | tuple[str, ...]
    if all(isinstance(width, ast.Constant) and type(width.value) is int for width in widths):
        total = str(
            sum(width.value for width in widths if isinstance(width, ast.Constant) and isinstance(width.value, int))
        )
        sizes = tuple(sources)
    else:
        attribute = free_attribute(module, maker, f"{merged}_sizes")
        sizes = f"self.{attribute}"
        made.append(Attribute(attribute, f"[{', '.join(sources)}]"))
        total = (
            f"sum({sizes})" if _is_builtin_sum(module, parts[0]) else " + ".join(f"({source})" for source in sources)
        )
    first = parts[0]
    given = first.layer.constructor
    assert given is not None
    metadata: dict[str, str] = {}
    for number, name in enumerate(_PARAMETERS):
        text = total if name == "out_features" else first.source(name)
        if text is not None:
            metadata[f"arg_{number}" if number < len(given.args) else name] = text
    made.append(Init(LogicalNode(merged, _LINEAR, metadata)))
    return tuple(made), sizes


def _is_builtin_sum(module: Module, part: _Part) -> bool:
    """Whether `sum` is Python's own where the layers are made."""
    layer = part.layer
    hidden = local_names(layer.init, layer.statement) | layer.owner.hidden
    return "sum" not in hidden and "sum" not in module.names.bindings and not module.names.stars


def _calls(
    scope: Scope, graph: Graph, parts: list[_Part], merged: str, sizes: str | tuple[str, ...]
) -> Iterator[Action]:
    """One call and a split where the first of the layers is called; a name wherever one of them was."""
    statement = scope.statement
    ordered = sorted(parts, key=lambda part: part.value.order)
    anchor = ordered[0].value.statement
    assert anchor is not None
    block = ordered[0].value.block.statements
    argument = _argument(ordered[0].value)
    taken = graph.all_names()
    guarded = ordered[0].value.block.guarded
    outputs: dict[str, str] = {}
    removed: list[ast.stmt] = []
    replaced: list[Action] = []
    whole = _tuple_targets(anchor, parts)
    if whole is not None:
        outputs, removed = whole, [anchor]
    else:
        for part in ordered:
            binding = part.value.binding
            name = _bound_early(binding, anchor, block, argument, outputs) if binding is not None else None
            if (
                guarded
                and binding is not None
                and not set(block[block.index(anchor) : block.index(binding)]) <= set(removed)
            ):
                name = None  # an exception in between would find the name bound already
            if name is not None and binding is not None:
                outputs[part.name] = name
                removed.append(binding)
                continue
            fresh = free_local(part.name, taken)
            taken.add(fresh)
            outputs[part.name] = fresh
            replaced.append(ReplaceExpression(statement, part.call, fresh))
    node = LogicalNode(merged, _LINEAR, {})
    unpack = Unpack(node, (statement.source(argument),), tuple(outputs[part.name] for part in parts), sizes)
    if anchor in removed:
        yield ReplaceStatements(statement, tuple(removed), (unpack,))
    else:
        yield Insert(statement, anchor, (unpack,))
        if removed:
            yield ReplaceStatements(statement, tuple(removed), (), anchor)
    yield from replaced


def _tuple_targets(anchor: ast.stmt, parts: list[_Part]) -> dict[str, str] | None:
    """The targets of `q, k, v = self.q(x), self.k(x), self.v(x)`, where the statement is that and nothing else."""
    match anchor:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=calls)):
            pass
        case _:
            return None
    by_call = {part.call: part.name for part in parts}
    if len(targets) != len(calls) or len(calls) != len(parts):
        return None
    found: dict[str, str] = {}
    for target, call in zip(targets, calls, strict=True):
        if not isinstance(target, ast.Name) or not isinstance(call, ast.Call) or call not in by_call:
            return None
        found[by_call[call]] = target.id
    return found if len(set(found.values())) == len(parts) else None


def _bound_early(
    binding: ast.Assign, anchor: ast.stmt, block: list[ast.stmt], argument: ast.expr, outputs: dict[str, str]
) -> str | None:
    """The target of `name = self.q(x)`, where the name may be bound as early as `anchor`."""
    target = binding.targets[0]
    if not isinstance(target, ast.Name) or len(binding.targets) != 1 or binding not in block:
        return None
    name = target.id
    if name in outputs.values() or (isinstance(argument, ast.Name) and name == argument.id):
        return None
    for statement in block[block.index(anchor) : block.index(binding)]:
        if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement)):
            return None
    return name


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
