"""Experts of two linear layers in a list, all applied to one input, their outputs stacked: two matrix products.

`torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])`, or `torch.stack([e(x) for e in self.experts])` where
each expert is `nn.Sequential(nn.Linear(...), nn.ReLU(), nn.Linear(...))`: a dense mixture of experts, an ensemble of
small MLPs. A loop in Python makes two small products for each expert. All first layers read one input, so that one
layer with all their rows computes them; the second ones are one batched product, `torch.baddbmm`, over the experts.

## What it saves
Time, the more the smaller and more numerous the experts are. Measured on one thread of a CPU, forward, and forward and
backward: 8 experts of 64-64-64 on 32 rows 4.2x and 2.9x; 16 of 32-32-32 on 8 rows 10.9x and 6.5x; 8 of 128-256-128 on
64 rows 1.7x and 1.3x. No memory is saved.

## Fix safety
`checkpoint`: the function is the same, with the same gradients. The first layers become rows of one `nn.Linear`. The
second ones become bare parameters of the module, stacked, their weights transposed: `w2_weight` of (experts, in, out)
and `w2_bias` of (experts, 1, out). The edit adds a module-level function and registers it with
`register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict`. All parameters start from the distribution
that `nn.Linear` draws from; a seeded run draws other numbers.

`torch.baddbmm` takes experts and rows and no further dimension. Where the source does not show that the input has two
dimensions, the edit is `numerics` and the title says so: an input of one dimension or of three would raise.

What you lose besides: the lists, for other files that index them; adapters, quantisation and optimiser groups that look
for `nn.Linear`; bias decay by the number of dimensions; the state of a running optimiser.

## Refused when
- the input is shown to have another number of dimensions than two;
- the input differs from expert to expert, is computed anew for each, or only some experts see it (sparse routing);
- the experts are not all made alike by a `range` or a literal list of plain `nn.Linear`, or have a dtype or a device;
- what stands between the two layers is not an activation that works on each element alone: dropout draws, a norm or a
  softmax looks at a whole row;
- the outputs are stacked along another dimension than the first, or anything but stacked;
- a list is used anywhere else: indexed, measured, walked, named in a string;
- the file tells layers apart by their type, or picks parameters by `.weight` and `.bias`;
- the file initialises with, or optimises by, something that looks at the whole matrix.

Source: `torch.baddbmm`, `torch.nn.Linear.reset_parameters`, torch 2.13; Jacobs et al. 1991.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.lists import LIST, alike, called_itself, elements_of, is_linear, list_of, number
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, free_local, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Assigned,
    Emitted,
    ExpertsHook,
    Expression,
    HookRegistration,
    Init,
    Insert,
    Method,
    Place,
    ReplaceExpression,
    ReplaceStatements,
)
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer, local_names, resolve
from fuselight.graph.kinds import kind_of_function, kind_of_layer, kind_of_method
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import literal_number, rank_of
from fuselight.graph.values import Graph, Value
from fuselight.source.names import dotted
from fuselight_emitter.ir import LogicalNode

_LINEAR, _SEQUENTIAL = "torch.nn.Linear", "torch.nn.Sequential"
_REQUIRED = frozenset({"in_features", "out_features"})
_ELEMENTWISE = frozenset(
    "relu gelu silu tanh sigmoid elu celu selu relu6 leaky_relu hardswish hardsigmoid hardtanh mish softplus softsign"
    " log_sigmoid square exp abs".split()
)
"""Kinds that work on each element alone, and draw no random numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class _Experts:
    """One expression that calls every expert on one input."""

    lists: tuple[Layer, ...]
    """The lists of the first and of the second layers, or the one list of whole experts."""
    argument: ast.expr
    mentions: frozenset[ast.AST]
    between: ast.expr | None = None
    """What is done with the first layer's result, in the source; None where the experts are whole."""
    call: ast.expr | None = None
    """The call of the first layer in it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """How the experts are made: the arguments of the two layers of each, and how many there are."""

    first: dict[str, ast.expr]
    second: dict[str, ast.expr]
    count: ast.expr | int
    activation: str | None = None
    """The kind of what stands between the two, where the experts are whole."""
    paths: tuple[str, str] = ("", "")
    """Where the two layers of an expert are in a checkpoint, `{}` for its number."""


def _near(forward: str, init: str = "") -> str:
    lists = (
        "self.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])\n"
        "self.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])"
    )
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *(init or lists).split("\n")))
    body = "".join(f"        {line}\n" for line in forward.split("\n"))
    return f"""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
{lines}
    def forward(self, x):
{body}"""


@fusion
class ExpertsInAList(Fusion):
    __doc__ = __doc__

    code = "FUS210"
    name = "experts-in-a-list"
    words = (frozenset({"Linear"}), frozenset({"ModuleList"}), frozenset({"stack"}))
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])
        self.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(3)])

    def forward(self, x):
        rows, width = x.shape
        return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])
""",
            after='''\
import torch
import torch.nn.functional as F
from torch import nn


def _merge_m_w1_w2(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of w1 and w2 one by one, in place of w1."""
    for parameter in ("weight", "bias"):
        number, firsts, seconds = 0, [], []
        while True:
            one = f"{prefix}w1.{number}.{parameter}"
            other = f"{prefix}w2.{number}.{parameter}"
            if not state_dict.keys() >= {one, other}:
                break
            firsts.append(state_dict.pop(one))
            seconds.append(state_dict.pop(other))
            number += 1
        if firsts:
            stacked = torch.stack(seconds)
            stacked = stacked.mT if parameter == "weight" else stacked.unsqueeze(1)
            state_dict[f"{prefix}w1.{parameter}"] = torch.cat(firsts)
            state_dict[f"{prefix}w2_{parameter}"] = stacked


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1 = nn.Linear(6, 24)
        self.w2_weight = nn.Parameter(
            torch.empty(3, 8, 5).uniform_(-(8**-0.5), 8**-0.5)
        )
        self.w2_bias = nn.Parameter(torch.empty(3, 1, 5).uniform_(-(8**-0.5), 8**-0.5))
        self.register_load_state_dict_pre_hook(_merge_m_w1_w2)

    def forward(self, x):
        rows, width = x.shape
        hidden = self.w1(x).unflatten(-1, (3, 8)).movedim(-2, 0)
        return torch.baddbmm(self.w2_bias, F.relu(hidden), self.w2_weight)
''',
            inputs=((7, 6),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # along another dimension
        NearMiss(
            _near("return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)], 1)"), "first dimension"
        ),
        # a batch of sequences
        NearMiss(
            _near("n, t, c = x.shape\nreturn torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])"),
            "two dimensions",
        ),
        # each expert its own input
        NearMiss(
            _near("return torch.stack([b(F.relu(a(y))) for a, b, y in zip(self.w1, self.w2, x)])"),
            "",
        ),
        # dropped out anew for each
        NearMiss(
            _near("return torch.stack([b(F.dropout(a(x))) for a, b in zip(self.w1, self.w2)])"),
            "each element alone",
        ),
        # over whole rows
        NearMiss(
            _near("return torch.stack([b(F.softmax(a(x), -1)) for a, b in zip(self.w1, self.w2)])"),
            "each element alone",
        ),
        # some of them only
        NearMiss(
            _near("return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2) if a.bias is not None])"), ""
        ),
        # the input goes past the first layer
        NearMiss(_near("return torch.stack([b(F.relu(a(x))) + x.sum() for a, b in zip(self.w1, self.w2)])"), ""),
        # a list is indexed besides
        NearMiss(
            _near(
                "y = self.w1[0](x)\nreturn torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)]), y",
            ),
            "beside its call",
        ),
        # lists of two lengths
        NearMiss(
            _near(
                "return torch.stack([b(F.relu(a(x))) for a, b in zip(self.w1, self.w2)])",
                "self.w1 = nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])\n"
                "self.w2 = nn.ModuleList([nn.Linear(8, 5) for _ in range(2)])",
            ),
            "as many",
        ),
        # experts of three layers
        NearMiss(
            _near(
                "return torch.stack([e(x) for e in self.experts])",
                "self.experts = nn.ModuleList([nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 5))"
                " for _ in range(3)])",
            ),
            "",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None or "stack" not in scope.called or LIST not in scope.named_kinds:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for root in graph.of_kind("stack"):
            experts = _experts(owner, root)
            made = _made(module, experts) if experts is not None else None
            if experts is not None and made is not None:
                yield self._match(module, scope, graph, owner, root, experts, made)

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        owner: ClassInfo,
        root: Value,
        experts: _Experts,
        made: _Made | Refusal,
    ) -> Match:
        assert root.node is not None
        place = Place(scope.statement, root.node)
        names = " and ".join(f"`{layer.attribute}`" for layer in experts.lists)
        message = f"the experts of {names} are applied to one input one by one"
        why = made if isinstance(made, Refusal) else _refusal(module, scope, graph, owner, root, experts, made)
        if why is not None or isinstance(made, Refusal):
            assert why is not None
            return Match(type(self), scope.name, place, message, refused=Refusal(why.reason, why.at or place))
        edit = _Edit(module, scope, owner, root, experts, made)
        shown = _rank(graph, root, experts.argument) == 2
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT if shown else Safety.NUMERICS
        note = breaking or "old checkpoints load through a hook"
        if not shown:
            note += "; right for an input of two dimensions"
        title = f"Compute the experts of {names} by two products ({safety.value}: {note})"
        others = tuple(Place(layer.statement, layer.assignment) for layer in experts.lists)
        return Match(type(self), scope.name, place, message, title, safety, others, edit.actions)


# -- the experts


def _experts(owner: ClassInfo, root: Value) -> _Experts | None:
    """A list of the outputs of all experts, where that is what is stacked."""
    node = root.node
    match node:
        case ast.Call(args=[ast.ListComp() as listed, *_]):
            pass
        case ast.Call(args=[], keywords=[ast.keyword(arg="tensors", value=ast.ListComp() as listed), *_]):
            pass
        case _:
            return None
    if len(listed.generators) != 1 or listed.generators[0].ifs or listed.generators[0].is_async:
        return None
    target, iterated, element = listed.generators[0].target, listed.generators[0].iter, listed.elt
    match target, iterated:
        case ast.Name(id=name), ast.Attribute():
            return _whole(owner, name, iterated, element)
        case ast.Tuple(elts=[ast.Name(id=one), ast.Name(id=other)]), ast.Call(
            func=ast.Name(id="zip"), args=[first, second]
        ) if one != other and all(given.arg == "strict" for given in iterated.keywords):
            lists = list_of(owner, first), list_of(owner, second)
        case _:
            return None
    match element:
        case ast.Call(func=ast.Name(id=called), args=[between], keywords=[]) if called == other:
            pass
        case _:
            return None
    calls = [
        inner
        for inner in ast.walk(between)
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == one
    ]
    named = [inner for inner in ast.walk(between) if isinstance(inner, ast.Name) and inner.id in (one, other)]
    if len(calls) != 1 or len(named) != 1 or len(calls[0].args) != 1 or calls[0].keywords:
        return None
    argument = calls[0].args[0]
    if lists[0] is None or lists[1] is None or lists[0] is lists[1] or {one, other} & sizes.names_in(argument):
        return None
    return _Experts((lists[0], lists[1]), argument, frozenset({first, second}), between, calls[0])


def _whole(owner: ClassInfo, name: str, iterated: ast.expr, element: ast.expr) -> _Experts | None:
    """`[e(x) for e in self.experts]`"""
    layer = list_of(owner, iterated)
    match element:
        case ast.Call(func=ast.Name(id=called), args=[argument], keywords=[]) if called == name and layer is not None:
            if name in sizes.names_in(argument):
                return None
            return _Experts((layer,), argument, frozenset({iterated}))
        case _:
            return None


def _made(module: Module, experts: _Experts) -> _Made | Refusal | None:
    """How the experts are made; None where they are surely something else."""
    found: list[tuple[list[ast.expr], ast.expr | int]] = []
    for layer in experts.lists:
        elements = elements_of(module, layer)
        if elements is None or isinstance(elements, Refusal):
            return elements
        found.append(elements)
    local = local_names(experts.lists[0].init, experts.lists[0].statement) | experts.lists[0].owner.hidden
    (firsts, count), (seconds, other) = found[0], found[-1]
    activation, paths = None, tuple(f"{layer.attribute}.{{}}" for layer in experts.lists)
    if len(found) == 1:
        layers = _of_sequential(module, firsts, local)
        if layers is None:
            return None
        firsts, activation, seconds = layers
        paths = (f"{paths[0]}.0", f"{paths[0]}.2")
    place = Place(experts.lists[0].statement, experts.lists[0].assignment)
    if not all(is_linear(module, element, local) for element in (*firsts, *seconds)):
        return None
    if number(count) != number(other):
        return Refusal("the lists are not shown to hold as many layers", place)
    one, two = alike(firsts, sizes.LINEAR, _REQUIRED), alike(seconds, sizes.LINEAR, _REQUIRED)
    if one is None or two is None:
        return Refusal("the experts differ, or are not made by plain constructors of `nn.Linear`", place)
    if {"device", "dtype"} & {*one, *two}:
        return Refusal("the experts have a dtype or a device of their own", place)
    if sizes.has_bias(one) is None or sizes.has_bias(one) != sizes.has_bias(two):
        return Refusal("the first and the second layers differ in whether they have a bias", place)
    for node in (*one.values(), *two.values(), *((count,) if isinstance(count, ast.expr) else ())):
        if not sizes.is_pure(node):
            return Refusal("a size of the experts is worked out by a call", place)
    return _Made(one, two, count, activation, (paths[0], paths[-1]))


def _of_sequential(
    module: Module, experts: list[ast.expr], local: set[str]
) -> tuple[list[ast.expr], str, list[ast.expr]] | None:
    """The first layers, the activation between, and the second layers of `nn.Sequential(Linear, ReLU, Linear)`."""
    firsts: list[ast.expr] = []
    seconds: list[ast.expr] = []
    kinds: set[str | None] = set()
    for expert in experts:
        match expert:
            case ast.Call(func=func, args=[first, ast.Call(func=middle, args=[], keywords=[]), second], keywords=[]):
                pass
            case _:
                return None
        if resolve(func, module.names, local) != _SEQUENTIAL:
            return None
        firsts.append(first)
        seconds.append(second)
        kinds.add(kind_of_layer(resolve(middle, module.names, local) or ""))
    kind = kinds.pop()
    return (firsts, kind, seconds) if not kinds and kind in _ELEMENTWISE else None


# -- what speaks against it


def _refusal(
    module: Module, scope: Scope, graph: Graph, owner: ClassInfo, root: Value, experts: _Experts, made: _Made
) -> Refusal | None:
    names = {layer.attribute for layer in experts.lists}
    if experts.between is not None:
        # An activation that is a layer is called once where it was called for each expert: nobody may count.
        names |= {node.attr for node in ast.walk(experts.between) if isinstance(node, ast.Attribute) and _of_self(node)}
    for layer in experts.lists:
        why = (
            provenance.touched(module, owner, layer, None, experts.mentions)
            or called_itself(module, owner, layer)
            or provenance.named_in_strings(module, (layer.attribute,))
        )
        if why is not None:
            return why
    return (
        _called(module, scope, graph, root, experts)
        or provenance.known_class(module, owner)
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, frozenset(names))
        or walked(module)
        or provenance.depends_on_shape(module, owner, frozenset(names))
        or _told_apart(module)
        or _made_alone(module, root, experts, made)
    )


def _called(module: Module, scope: Scope, graph: Graph, root: Value, experts: _Experts) -> Refusal | None:
    statement, node = scope.statement, root.node
    assert isinstance(node, ast.Call)
    place = Place(statement, node)
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`", place)
    for inner in ast.walk(node):
        if isinstance(inner, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda | ast.Starred):
            return Refusal("a name is bound inside the expression", place)
    if any(isinstance(inner, ast.Call) for inner in ast.walk(experts.argument)):
        return Refusal("the input is computed anew for each expert", Place(statement, experts.argument))
    dim = root.inputs[1] if len(root.inputs) > 1 else root.keywords.get("dim")
    if (dim is not None and dim.constant != 0) or len(root.inputs) > 2 or root.keywords.keys() - {"dim", "tensors"}:
        return Refusal("the outputs are not stacked along the first dimension", place)
    if experts.between is not None and not _is_elementwise(module, graph, experts):
        return Refusal(
            "what stands between the two layers is not known to work on each element alone",
            Place(statement, experts.between),
        )
    rank = _rank(graph, root, experts.argument)
    if rank is not None and rank != 2:
        return Refusal("the input has not two dimensions", Place(statement, experts.argument))
    simple = isinstance(root.statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)
    if not simple or not root.block.is_suite or root.statement not in root.block.statements:
        return Refusal("the outputs are stacked in a conditional expression or in the head of a statement", place)
    assert root.statement is not None
    if not statement.stands_alone(root.statement):
        return Refusal("it shares its line with another statement", place)
    start = min(value.order for value in graph.values if value.statement is root.statement)
    inside = set(ast.walk(node))
    if any(start <= write.order < root.order and write.node not in inside for write in graph.writes):
        return Refusal("something is called before it in the same statement", place)
    if {"zip"} & graph.local or "zip" in module.names.bindings or module.names.stars:
        return Refusal("`zip` is not Python's own", place)
    return None


def _is_elementwise(module: Module, graph: Graph, experts: _Experts) -> bool:
    """Whether nothing but activations stands around the call of the first layer."""
    node, call = experts.between, experts.call
    while node is not call:
        if not isinstance(node, ast.Call):
            return False
        path = resolve(node.func, module.names, graph.local)
        if path is not None:
            kind, inner = kind_of_function(path), node.args[0] if node.args else None
            rest = node.args[1:]
        elif isinstance(node.func, ast.Attribute) and not _of_self(node.func):
            kind, inner, rest = kind_of_method(node.func.attr), node.func.value, node.args
        elif isinstance(node.func, ast.Attribute) and graph.owner is not None and len(node.args) == 1:
            layer = graph.owner.layers.get(node.func.attr)
            plain = layer is not None and layer.unknown is None and layer.constructor is not None
            if not plain or layer is None or layer.constructor is None or layer.constructor.keywords:
                return False
            kind, inner, rest = kind_of_layer(layer.kind or ""), node.args[0], layer.constructor.args
        else:
            return False
        if kind not in _ELEMENTWISE or inner is None or rest:
            return False
        if any(given.arg not in ("approximate", "negative_slope", "alpha") for given in node.keywords):
            return False
        if not all(isinstance(given.value, ast.Constant) for given in node.keywords):
            return False
        node = inner
    return True


def _of_self(func: ast.Attribute) -> bool:
    return isinstance(func.value, ast.Name) and func.value.id == "self"


def _rank(graph: Graph, root: Value, argument: ast.expr) -> int | None:
    """How many dimensions the input has, where the source shows it."""
    for value in graph.values:
        if any(use.node is argument for use in value.uses):
            return rank_of(graph, value, root).exact
    return None


def _told_apart(module: Module) -> Refusal | None:
    """Nobody may look for linear layers by their type, or for parameters by the last part of their names."""
    if module.mentions.used_uncalled("Linear") or any(True for _ in module.mentions.strings_with("Linear")):
        return Refusal("the file tells layers apart by their type, `nn.Linear` among them")
    for part in (".weight", ".bias"):
        for text, _ in module.mentions.strings_with(part):
            return Refusal(f"the string {text[:60]!r} picks parameters by a part of their names")
    if module.mentions.has_word("nested_tensor", "as_nested_tensor", "jagged"):
        return Refusal("the file works on nested tensors")
    if module.mentions.has_word("jit") and module.mentions.has_word("script", "script_method", "ScriptModule"):
        return Refusal("the file compiles with `torch.jit.script`")
    return None


def _made_alone(module: Module, root: Value, experts: _Experts, made: _Made) -> Refusal | None:
    """The constructors must stand where one can take the place of all, in names that mean the same there."""
    first = experts.lists[0]
    statement = first.statement
    place = Place(statement, first.assignment)
    if self_parameter(first.init) != "self":
        return Refusal("`__init__` does not call its instance `self`", place)
    local = local_names(first.init, statement) | first.owner.hidden
    root_name = _torch(module, root)
    if root_name is None or root_name.partition(".")[0] in local:
        return Refusal("`torch` has no name where the experts are made", place)
    for layer in experts.lists:
        if layer.owner is not first.owner or layer.block is not first.block:
            return Refusal("the lists are made in different places", place)
        if not statement.stands_alone(layer.assignment):
            return Refusal("a list shares its line with another statement", place)
    at = [first.block.index(layer.assignment) for layer in experts.lists]
    between = first.block[min(at) : max(at)]
    lists = [layer.assignment for layer in experts.lists]
    given = [*made.first.values(), *made.second.values()]
    given += [made.count] if isinstance(made.count, ast.expr) else []
    read = {name for node in given for name in sizes.names_in(node)}
    read |= {one.attr for node in given for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    for one in between:
        if one in lists:
            continue
        if any(isinstance(node, ast.Return | ast.Raise | ast.For | ast.While | ast.With) for node in ast.walk(one)):
            return Refusal("something between the lists may see one of them", Place(statement, one))
        for node in ast.walk(one):
            if not isinstance(node, ast.Name | ast.Attribute) or isinstance(node.ctx, ast.Load):
                continue
            if (node.id if isinstance(node, ast.Name) else node.attr) in read:
                return Refusal("a size changes between the lists", Place(statement, one))
    return None


def _torch(module: Module, root: Value) -> str | None:
    """The name that the file has for torch itself, as the stacking writes it."""
    func = root.node.func if isinstance(root.node, ast.Call) else None
    if isinstance(func, ast.Attribute) and resolve(func.value, module.names) == "torch":
        return dotted(func.value)
    return None


# -- the edit


@dataclass(frozen=True, slots=True, eq=False)
class _Edit:
    module: Module
    scope: Scope
    owner: ClassInfo
    root: Value
    experts: _Experts
    made: _Made

    def actions(self) -> tuple[Action, ...]:
        lists, made = self.experts.lists, self.made
        by_line = sorted(lists, key=lambda layer: layer.assignment.lineno)
        maker, statement = lists[0].owner, lists[0].statement
        whole = len(lists) == 1
        names = "_".join(layer.attribute.strip("_") for layer in lists)
        first = lists[0].attribute if not whole else free_attribute(self.module, self.owner, f"{names}_in")
        second = self._stem(lists[-1].attribute if not whole else f"{names}_out")
        biased = sizes.has_bias(made.first) is not False
        parameters = ("weight", "bias") if biased else ("weight",)
        function = free_function(self.module, f"_merge_{snake_case(maker.name)}_{names}")
        put: list[Emitted] = [Init(self._first(first)), *self._second(second, biased), HookRegistration(function)]
        hook = ExpertsHook(function, first, second, made.paths, parameters)
        return (
            ReplaceStatements(statement, tuple(layer.assignment for layer in by_line), tuple(put)),
            AddFunction(maker.statement, hook),
            *self._call(first, second, biased),
        )

    def _stem(self, wanted: str) -> str:
        """What the names of the stacked parameters begin with, so that both are free."""
        stem, again = wanted, 1
        while any(
            free_attribute(self.module, self.owner, f"{stem}_{parameter}") != f"{stem}_{parameter}"
            for parameter in ("weight", "bias")
        ):
            again += 1
            stem = f"{wanted}_{again}"
        return stem

    def _source(self, node: ast.expr) -> str:
        return sizes.source(self.experts.lists[0].statement, node)

    def _count(self) -> str:
        return str(self.made.count) if isinstance(self.made.count, int) else self._source(self.made.count)

    def _first(self, name: str) -> LogicalNode:
        """The one layer with the rows of all first layers."""
        made, statement = self.made, self.experts.lists[0].statement
        count = made.count if isinstance(made.count, ast.expr) else ast.Constant(made.count)
        metadata = {
            "arg_0": self._source(made.first["in_features"]),
            "arg_1": sizes.product(statement, count, made.first["out_features"]),
        }
        if sizes.has_bias(made.first) is False:
            metadata["bias"] = "False"
        return LogicalNode(name, _LINEAR, metadata)

    def _second(self, stem: str, biased: bool) -> Iterator[Emitted]:
        """The stacked parameters, filled as `nn.Linear` fills its own."""
        torch = _torch(self.module, self.root)
        width, out = self.made.second["in_features"], self._source(self.made.second["out_features"])
        wide = self._source(width)
        simple = isinstance(width, ast.Name | ast.Constant) or dotted(width) is not None
        bound = f"{wide}**-0.5" if simple else f"({wide}) ** -0.5"
        for parameter, rows in (("weight", wide), ("bias", "1")):
            if parameter == "weight" or biased:
                drawn = f"{torch}.empty({self._count()}, {rows}, {out}).uniform_(-({bound}), {bound})"
                yield Init(LogicalNode(f"{stem}_{parameter}", "torch.nn.Parameter", {"arg_0": drawn}))

    def _call(self, first: str, second: str, biased: bool) -> Iterator[Action]:
        statement, experts, made = self.scope.statement, self.experts, self.made
        assert self.root.node is not None
        assert self.root.statement is not None
        graph = self.module.graph(self.scope)
        hidden = free_local("hidden", graph.all_names())
        known = literal_number(made.first["out_features"])
        count = str(made.count) if isinstance(made.count, int) else f"self.{second}_weight.shape[0]"
        apart = (
            Method("unflatten", {"arg_0": "-1", "arg_1": f"({count}, {known if known is not None else -1})"}),
            Method("movedim", {"arg_0": "-2", "arg_1": "0"}),
        )
        argument = sizes.source(statement, experts.argument)
        put: list[Emitted] = [Assigned(LogicalNode(first, _LINEAR, {}), (argument,), hidden, apart)]
        if experts.between is None or experts.call is None:
            kind = made.activation or ""
            put.append(Assigned(LogicalNode(kind, f"func_{kind}", {}), (hidden,), hidden))
            text = hidden
        else:
            text = _spliced(self.scope, experts.between, experts.call, hidden)
        yield Insert(statement, self.root.statement, tuple(put))
        kind, more = ("baddbmm", (f"self.{second}_bias",)) if biased else ("bmm", ())
        call = Expression(LogicalNode(kind, f"func_{kind}", {}), (*more, text, f"self.{second}_weight"))
        yield ReplaceExpression(statement, self.root.node, call)


def _spliced(scope: Scope, node: ast.expr, part: ast.expr, by: str) -> str:
    """The source of an expression with a name in the place of one part of it."""
    text, whole, hole = scope.statement.source(node), scope.statement.span(node), scope.statement.span(part)
    spliced = text[: hole.start - whole.start] + by + text[hole.end - whole.start :]
    return ast.unparse(ast.parse(spliced, mode="eval").body) if "\n" in spliced else spliced
