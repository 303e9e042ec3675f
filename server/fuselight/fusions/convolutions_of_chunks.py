"""Convolutions of the chunks of one value, concatenated again: one grouped convolution.

`a, b = x.chunk(2, dim=1)`, `torch.cat([self.c1(a), self.c2(b)], dim=1)`: channels are cut into equal parts, each part
goes through a convolution of its own, and the results are put together in the same order. That is the definition of a
convolution with `groups=2` whose filters are those of the parts, one after the other. The parts may come from `chunk`,
`split`, `tensor_split` or slices; convolutions that are grouped themselves become more groups. They may be in a list:
`[conv(part) for conv, part in zip(self.convs, x.chunk(4, dim=1))]`.

## What it saves
Time: the copies that `torch.cat` makes, and kernel launches. Four convolutions of chunks on a CPU: 1.34x forward, 1.23x
forward and backward. How well a grouped convolution runs depends on the device and on the number of groups: measure
where it matters. No memory is saved but for the parts of the result, which no longer stand beside it.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, filter by filter. The parameters of the parts become
parts of one parameter. The edit adds a module-level function and registers it with
`register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict`. That the chunks are of equal size needs no
proof: a convolution takes its number of channels and no other.

Where dimension 1 is cut and the source does not show that the input has a batch, the title says so: an input without
one, whose rows were cut before, would raise.

What you lose besides: adapters and quantisation by the names of the parts, a running optimiser's state, optimisers
that look at a weight as a whole. torch's default initialisation draws from the same distribution, as the fan-in of a
group is that of its part: the same numbers without a bias, others with one.

## Refused when
- the parts differ in their channels, kernel size, stride, padding, dilation, padding mode, groups, bias, dtype or
  device;
- the results are concatenated in another order, or along another dimension, than the chunks were cut;
- the source does not show that the parts are all of the input;
- a chunk or a result is used besides;
- the input may be changed before the concatenation;
- a part is called twice, used beside its call, tied, frozen, hooked, wrapped, made under a condition;
- a string in the file names a part, or attributes are reached by a computed name;
- the file initialises with, or optimises by, something that looks at the whole weight.

Source: `torch.nn.Conv2d`, `groups`, torch 2.13; Krizhevsky et al. 2012.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion, model_text
from fuselight.fusions.chunks import CUTS, Cut, cut_of, operand_of, pieces_of
from fuselight.fusions.lists import LIST, alike, called_itself, elements_of, list_of
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, merged_name, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Expression,
    HookRegistration,
    Init,
    MergeHook,
    MergeListHook,
    Place,
    ReplaceExpression,
    ReplaceStatements,
)
from fuselight.fusions.siblings import (
    CONVOLUTIONS,
    Merged,
    Part,
    Sort,
    input_of,
    listed,
    part_of,
    refusal,
    unlike,
)
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer, local_names, resolve
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import argument, literal_number, rank_of
from fuselight.graph.values import Graph, Value
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

_SORTS: Mapping[str, Sort] = {
    sort.kind: replace(
        sort,
        alike={**sort.alike, "in_channels": "", "out_channels": "", "groups": "1"},
        only={},
        dims={"weight": 0, "bias": 0},  # a grouped transposed convolution holds its groups along dim 0 too
    )
    for sort in CONVOLUTIONS
}

_TWO = "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = nn.Conv2d(4, 6, 3)"
_CHUNKS = "a, b = x.chunk(2, 1)\n"


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """The concatenation, the convolutions in their order, and all that goes with them."""

    root: Value
    container: Value
    calls: tuple[Value, ...]


@fusion
class ConvolutionsOfChunks(Fusion):
    __doc__ = __doc__

    code = "FUS209"
    name = "convolutions-of-chunks"
    words = (
        frozenset(sort.name for sort in CONVOLUTIONS),
        frozenset({"cat", "concat", "concatenate"}),
    )
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(4, 6, 3, padding=1)
        self.c2 = nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([self.c1(a), self.c2(b)], dim=1)
""",
            after='''\
import torch
from torch import nn


def _merge_m_c1_c2(module, state_dict, prefix, *args):
    """Load checkpoints that hold c1 and c2 in place of c1_c2."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("c1", "c2")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}c1_c2.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1_c2 = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.register_load_state_dict_pre_hook(_merge_m_c1_c2)

    def forward(self, x):
        return self.c1_c2(x)
''',
            inputs=((2, 8, 5, 7),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv_low = nn.Conv1d(channels, channels, 3, groups=2, bias=False)
        self.conv_mid = nn.Conv1d(channels, channels, 3, groups=2, bias=False)
        self.conv_high = nn.Conv1d(channels, channels, 3, groups=2, bias=False)
        self.act = nn.GELU()

    def forward(self, x):
        parts = torch.split(x, x.size(1) // 3, dim=1)
        low, mid, high = parts
        # each band by itself
        low = self.conv_low(low)
        mid = self.conv_mid(mid)
        high = self.conv_high(high)
        out = torch.cat((low, mid, high), dim=1)
        return self.act(out)
""",
            after='''\
import torch
from torch import nn


def _merge_m_conv_low_mid_high(module, state_dict, prefix, *args):
    """Load checkpoints that hold conv_low, conv_mid and conv_high in place of conv_low_mid_high."""
    for parameter in ("weight",):
        keys = [
            f"{prefix}{part}.{parameter}"
            for part in ("conv_low", "conv_mid", "conv_high")
        ]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}conv_low_mid_high.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv_low_mid_high = nn.Conv1d(
            3 * channels, 3 * channels, 3, groups=6, bias=False
        )
        self.register_load_state_dict_pre_hook(_merge_m_conv_low_mid_high)
        self.act = nn.GELU()

    def forward(self, x):
        # each band by itself
        out = self.conv_low_mid_high(x)
        return self.act(out)
''',
            inputs=((2, 12, 9),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # chunks of other sizes
        NearMiss(
            model_text(
                "self.c1 = nn.Conv2d(5, 6, 3)\nself.c2 = nn.Conv2d(4, 6, 3)",
                f"{_CHUNKS}return torch.cat([self.c1(a), self.c2(b)], 1)",
            ),
            "differ in their in_channels",
        ),
        # results of other sizes
        NearMiss(
            model_text(
                "self.c1 = nn.Conv2d(4, 6, 3)\nself.c2 = nn.Conv2d(4, 2, 3)",
                f"{_CHUNKS}return torch.cat([self.c1(a), self.c2(b)], 1)",
            ),
            "differ in their out_channels",
        ),
        # another window
        NearMiss(
            model_text(
                "self.c1 = nn.Conv2d(4, 6, 3, padding=1)\nself.c2 = nn.Conv2d(4, 6, 3, padding=2, dilation=2)",
                f"{_CHUNKS}return torch.cat([self.c1(a), self.c2(b)], 1)",
            ),
            "differ in their padding",
        ),
        # in another order
        NearMiss(model_text(_TWO, f"{_CHUNKS}return torch.cat([self.c2(b), self.c1(a)], 1)"), "in another order"),
        # one convolution for both
        NearMiss(model_text(_TWO, f"{_CHUNKS}return torch.cat([self.c1(a), self.c1(b)], 1)"), ""),
        # along another dimension
        NearMiss(
            model_text(_TWO, f"{_CHUNKS}return torch.cat([self.c1(a), self.c2(b)], 0)"),
            "not known to be that of the channels",
        ),
        # the batch is cut
        NearMiss(
            model_text(_TWO, "a, b = x.chunk(2)\nreturn torch.cat([self.c1(a), self.c2(b)], 1)"),
            "not known to be that of the channels",
        ),
        # a chunk is used besides
        NearMiss(
            model_text(_TWO, f"{_CHUNKS}return torch.cat([self.c1(a), self.c2(b)], 1) + b.sum()"), "is used again"
        ),
        # a third chunk
        NearMiss(
            model_text(_TWO, "a, b, c = x.chunk(3, 1)\nreturn torch.cat([self.c1(a), self.c2(b)], 1), c"),
            "not all of the input",
        ),
        # the first channels of perhaps more
        NearMiss(
            model_text(_TWO, "return torch.cat([self.c1(x[:, :4]), self.c2(x[:, 4:8])], 1)"), "not all of the input"
        ),
        # how many there are is not said
        NearMiss(
            model_text(_TWO, "parts = x.split(4, 1)\nreturn torch.cat([self.c1(parts[0]), self.c2(parts[1])], 1)"),
            "how many pieces",
        ),
        # the one is made of the other
        NearMiss(model_text(_TWO, f"{_CHUNKS}y = self.c1(a)\nreturn torch.cat([y, self.c2(b + y)], 1)"), ""),
        # something else in the list
        NearMiss(model_text(_TWO, f"{_CHUNKS}return torch.cat([self.c1(a), self.c2(b), x], 1)"), ""),
        # the input is changed
        NearMiss(
            model_text(_TWO, f"{_CHUNKS}y = self.c1(a)\nx.mul_(2)\nreturn torch.cat([y, self.c2(b)], 1)"),
            "may be changed",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner, layers = scope.owner, scope.named_layers
        if owner is None or scope.called.isdisjoint({"cat", "concat", "concatenate"}):
            return
        if sum(layer.kind in _SORTS for layer in layers) < 2 and not any(layer.kind == LIST for layer in layers):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for root in graph.of_kind("cat"):
            listed = _listed(graph, owner, root)
            if listed is not None:
                yield from self._of_list(module, scope, graph, owner, listed)
                continue
            site = _site(root)
            cut = cut_of(module, _pieces(site)) if site is not None else None
            if site is not None and cut is not None:
                yield self._match(module, scope, graph, owner, site, cut)

    def _match(
        self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, site: _Site, cut: Cut | Refusal
    ) -> Match:
        assert site.root.node is not None
        names = listed([call.layer.attribute for call in site.calls if call.layer is not None])
        message = f"{names} are convolutions of the chunks of one value, concatenated"
        at = Place(scope.statement, site.root.node)
        found = _merged(module, scope, graph, owner, site, cut) if isinstance(cut, Cut) else cut
        if isinstance(found, Refusal):
            others = tuple(Place(scope.statement, call.node) for call in site.calls if call.node is not None)
            why = Refusal(found.reason, found.at or at)
            return Match(type(self), scope.name, at, message, others=others, refused=why)
        one, held, note = found
        argument = " ".join(scope.statement.source(cut.node).split()) if isinstance(cut, Cut) else ""
        inner = [*site.calls, site.container, *(cut.inner if isinstance(cut, Cut) else ())]
        places = [Place(scope.statement, value.node) for value in inner if value.node is not None]
        places += [Place(scope.statement, node) for node in held]

        def plan() -> tuple[Action, ...]:
            return (*one.actions(), *_called(scope, site, held, one, argument))

        return Match(
            type(self), scope.name, at, message,
            f"Compute {names} as one grouped convolution `{one.name}` ({one.safety.value}: {note})",
            one.safety, (*places, *one.constructors()), plan,
        )  # fmt: skip

    def _of_list(
        self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, listed: _Listed
    ) -> Iterator[Match]:
        """One match for convolutions in a list; none where the list holds something else."""
        node, layer = listed.root.node, listed.layer
        assert node is not None
        statement, maker, name = scope.statement, layer.owner, layer.attribute
        at = Place(statement, node)
        message = f"the convolutions of `{name}` are applied to the chunks of one value, and concatenated"
        one = _of_list(module, scope, graph, owner, listed)
        if one is None:
            return
        if isinstance(one, Refusal):
            yield Match(type(self), scope.name, at, message, refused=Refusal(one.reason, one.at or at))
            return
        function = free_function(module, f"_merge_{snake_case(maker.name)}_{name.strip('_')}")
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
        note = breaking or "old checkpoints load through a hook"
        made = one

        def plan() -> tuple[Action, ...]:
            put = (Init(LogicalNode(name, made.sort.kind, made.metadata)), HookRegistration(function))
            call = Expression(LogicalNode(name, made.sort.kind, {}), (made.argument,))
            held = (ReplaceStatements(statement, made.held, (), listed.root.statement),) if made.held else ()
            return (
                ReplaceStatements(layer.statement, (layer.assignment,), put),
                AddFunction(maker.statement, MergeListHook(function, name, name, made.parameters)),
                *held,
                ReplaceExpression(statement, node, call),
            )

        title = f"Compute the convolutions of `{name}` as one grouped convolution ({safety.value}: {note}"
        title += f"; {one.granted})" if one.granted else ")"
        others = (Place(layer.statement, layer.assignment), *(Place(statement, held) for held in one.held))
        yield Match(type(self), scope.name, at, message, title, safety, others, plan)


def _site(root: Value) -> _Site | None:
    """A concatenation of nothing but convolutions of one sort, each a layer of its own."""
    container = root.inputs[0] if root.inputs else root.keywords.get("tensors")
    if container is None or container.kind != "container" or len(container.inputs) < 2:
        return None
    calls = container.inputs
    if len({call.kind for call in calls}) != 1 or calls[0].kind not in _SORTS:
        return None
    if any(input_of(call) is None or call.layer is None for call in calls):
        return None
    if len({call.layer for call in calls}) != len(calls):
        return None
    return _Site(root, container, calls)


def _pieces(site: _Site) -> list[Value]:
    """What the convolutions take."""
    found: list[Value] = []
    for call in site.calls:
        piece = input_of(call)
        assert piece is not None
        found.append(piece)
    return found


# -- what speaks against it


def _merged(
    module: Module, scope: Scope, graph: Graph, owner: ClassInfo, site: _Site, cut: Cut
) -> tuple[Merged, tuple[ast.stmt, ...], str] | Refusal:
    """The grouped convolution, the statements that go, and what the title says of it."""
    sort = _SORTS[site.calls[0].kind]
    parts: list[Part] = []
    for call in site.calls:
        part = part_of(module, owner, call, sort)
        if isinstance(part, Refusal):
            return part
        why = unlike(parts[0], part) if parts else None
        if why is not None:
            return why
        parts.append(part)
    granted = _along_channels(scope, graph, site, cut, sort)
    if isinstance(granted, Refusal):
        return granted
    held = _held(scope, graph, site, cut)
    if isinstance(held, Refusal):
        return held
    by_line = sorted(parts, key=lambda part: part.layer.assignment.lineno)
    why = refusal(module, owner, by_line)
    if why is not None:
        return why
    one = _merge(module, owner, parts)
    return one, held, f"{one.note}; {granted}" if granted else one.note


def _along_channels(scope: Scope, graph: Graph, site: _Site, cut: Cut, sort: Sort) -> Refusal | str:
    """Why the input is not cut, or the results not joined, along the channels; else what is taken for granted."""
    assert site.root.node is not None
    at = Place(scope.statement, site.root.node)
    given = argument(site.root, 1, "dim") or site.root.keywords.get("axis")
    joined = given.constant if given is not None else 0
    rank = rank_of(graph, cut.source, site.root).exact
    front = {sort.spatial + 2: 1, sort.spatial + 1: 0}.get(rank, 1) if rank is not None else 1
    for dim in (cut.dim, joined):
        if dim not in (front, sort.dim):
            return Refusal(f"dimension {dim} is not known to be that of the channels", at)
    if rank is None and joined == 1 and cut.dim == sort.dim:
        return Refusal("dimension 1 is not known to be that of the channels", at)
    # Where dimension 1 of an input without a batch was cut, the grouped convolution finds too few channels.
    return "an input needs its batch" if rank is None and cut.dim == 1 else ""


def _held(scope: Scope, graph: Graph, site: _Site, cut: Cut) -> tuple[ast.stmt, ...] | Refusal:
    """The statements that hold what is computed for the concatenation alone; they go."""
    statement, root = scope.statement, site.root
    assert root.node is not None
    at = Place(statement, root.node)
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`", at)
    if any(isinstance(node, ast.NamedExpr) for node in ast.walk(root.node)):
        return Refusal("a name is bound inside the expression", at)
    inner = (*site.calls, site.container, *cut.inner)
    held: list[ast.stmt] = []
    for value in inner:
        place = Place(statement, value.node) if value.node is not None else at
        if value.kind not in CUTS and (len(value.uses) != 1 or value.reads > 1):
            return Refusal(f"{_label(scope, value)} is used again", place)
        if value.block is not root.block:
            return Refusal("the chunks are computed in another branch or loop", place)
        if value.statement is root.statement or value.statement is None:
            continue
        holder = value.statement if value.kind == "unpack" or _is_held_by_tuple(value, inner) else value.binding
        if holder is None:
            continue  # a part of a statement that holds another one
        if holder not in root.block.statements or not statement.stands_alone(holder):
            return Refusal(f"{_label(scope, value)} shares its line with another statement", place)
        if holder not in held:
            held.append(holder)
    if any(value.statement is not root.statement and value.statement not in held for value in inner):
        return Refusal("a chunk or a result is not in a variable of its own", at)
    return _unchanged(scope, graph, site, cut, held) or tuple(held)


def _label(scope: Scope, value: Value) -> str:
    if value.node is not None:
        return f"`{' '.join(scope.statement.source(value.node).split())[:60]}`"
    match value.statement:
        case ast.Assign(targets=[ast.Tuple(elts=targets) | ast.List(elts=targets)]) if value.index is not None:
            return f"`{ast.unparse(targets[value.index])}`"
        case _:
            return "a chunk"


def _is_held_by_tuple(value: Value, inner: Sequence[Value]) -> bool:
    """Whether `a, b = self.c1(x1), self.c2(x2)` holds `value` and nothing but values of `inner`."""
    match value.statement:
        case ast.Assign(targets=[ast.Tuple(elts=targets) | ast.List(elts=targets)], value=bound) if isinstance(
            bound, ast.Tuple | ast.List
        ):
            pass
        case _:
            return False
    nodes = {one.node for one in inner}
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return len(names) == len(targets) == len(bound.elts) and all(element in nodes for element in bound.elts)


def _unchanged(scope: Scope, graph: Graph, site: _Site, cut: Cut, held: Sequence[ast.stmt]) -> Refusal | None:
    """The source must mean the same where the result is as where it was cut."""
    statement, root = scope.statement, site.root
    assert root.node is not None
    at = Place(statement, root.node)
    own = [value for value in cut.inner if value.kind != "unpack"]
    start = min(value.order for value in own)
    write = graph.written_between(cut.source, start - 1, root.order)
    if write is not None:
        node = write.node if isinstance(write.node, ast.expr | ast.stmt) else root.node
        return Refusal("the input may be changed before the results are put together", Place(statement, node))
    if graph.exits_between(start, root.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    if isinstance(cut.node, ast.Name):
        if held and _is_rebound(cut.node.id, root, held):
            return Refusal(f"`{cut.node.id}` is another value where the results are put together", at)
        return None
    inner = {*site.calls, site.container, *cut.inner}
    for value in graph.values:
        between = cut.source.order < value.order < root.order
        if between and value not in inner and value.kind in ("call", "opaque", "instance", "joined"):
            return Refusal("the input has no name, and something is computed in between", at)
    if own[0].statement is not root.statement and not _follows(root, held):
        return Refusal("the input has no name, and something is computed in between", at)
    return None


def _is_rebound(name: str, root: Value, held: Sequence[ast.stmt]) -> bool:
    """Whether a statement that stays binds `name` between the first of `held` and the root."""
    statements = root.block.statements
    if root.statement is None or root.statement not in statements:
        return True
    start = min(statements.index(one) for one in held)
    between: list[ast.AST] = [one for one in statements[start : statements.index(root.statement)] if one not in held]
    if not isinstance(root.statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return):
        between.append(root.statement)
    for one in between:
        for node in ast.walk(one):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                return True
            if name in (getattr(node, "name", None), getattr(node, "asname", None), getattr(node, "rest", None)):
                return True
    return False


def _follows(root: Value, held: Sequence[ast.stmt]) -> bool:
    """Whether nothing that stays stands between the statements that go and the root, which is all its statement has."""
    statements = root.block.statements
    if root.statement is None or root.statement not in statements:
        return False
    start, end = min(statements.index(one) for one in held), statements.index(root.statement)
    whole = getattr(root.statement, "value", None) is root.node
    simple = isinstance(root.statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return)
    return whole and simple and all(one in held for one in statements[start:end])


# -- convolutions in a list


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """`[conv(chunk) for conv, chunk in zip(self.convs, x.chunk(4, 1))]`"""

    root: Value
    node: ast.ListComp
    layer: Layer
    whole: Value
    mentions: frozenset[ast.AST]
    """Where it names the list."""


def _listed(graph: Graph, owner: ClassInfo, root: Value) -> _Listed | None:
    """A concatenation of what every convolution of a list makes of its chunk."""
    match root.node:
        case ast.Call(args=[ast.ListComp(elt=element, generators=[part]) as node, *_]) if not part.ifs:
            pass
        case _:
            return None
    match part.target, part.iter, element:
        case (
            ast.Tuple(elts=[ast.Name(id=one), ast.Name(id=other)]),
            ast.Call(func=ast.Name(id="zip"), args=[first, second]) as zipped,
            ast.Call(func=ast.Name(id=conv), args=[ast.Name(id=chunk)], keywords=[]),
        ) if {conv, chunk} == {one, other} and one != other and all(given.arg == "strict" for given in zipped.keywords):
            held, at = (first, 1) if conv == one else (second, 0)
        case _:
            return None
    layer = list_of(owner, held)
    value = next((value for value in graph.values if value.node is zipped and value.kind == "builtin"), None)
    if layer is None or value is None or len(value.inputs) < 2 or value.inputs[at].kind not in CUTS:
        return None
    count = _given_count(value.inputs[at])
    mentions = {held}
    match count:
        case ast.Call(func=ast.Name(id="len"), args=[measured], keywords=[]) if list_of(owner, measured) is layer:
            mentions.add(measured)
        case _:
            pass
    return _Listed(root, node, layer, value.inputs[at], frozenset(mentions))


def _given_count(whole: Value) -> ast.expr | None:
    given = argument(whole, 1, "chunks" if whole.kind == "chunk" else "split_size_or_sections")
    return given.node if given is not None else None


@dataclass(frozen=True, slots=True, eq=False)
class _One:
    """The one convolution in the place of a list."""

    listed: _Listed
    sort: Sort
    metadata: Mapping[str, str]
    parameters: tuple[str, ...]
    argument: str
    held: tuple[ast.stmt, ...]
    granted: str


def _of_list(module: Module, scope: Scope, graph: Graph, owner: ClassInfo, listed: _Listed) -> _One | Refusal | None:
    """The one convolution; None where the layers are surely something else."""
    layer, whole, root = listed.layer, listed.whole, listed.root
    elements = elements_of(module, layer)
    if elements is None or isinstance(elements, Refusal):
        return elements
    local = local_names(layer.init, layer.statement) | layer.owner.hidden
    kinds = {resolve(one.func, module.names, local) if isinstance(one, ast.Call) else None for one in elements[0]}
    sort = _SORTS.get(kinds.pop() or "")
    if sort is None or kinds:
        return None
    place = Place(layer.statement, layer.assignment)
    given = alike(elements[0], sort.parameters, frozenset(sort.required))
    if given is None:
        return Refusal("the convolutions differ", place)
    if not all(sizes.is_pure(node) for node in given.values()):
        return Refusal("an argument of the convolutions is worked out by a call", place)
    pieces = pieces_of(whole)
    if len(listed.mentions) == 1 and (pieces is None or pieces != elements[1]):
        return Refusal("the input is not shown to be cut into as many chunks as there are convolutions", place)
    node = operand_of(whole)
    source = argument(whole, 0, "tensor" if whole.kind == "split" else "input")
    at = argument(whole, 2, "dim")
    dim = at.constant if at is not None else 0
    if node is None or source is None or type(dim) is not int:
        return Refusal("the dimension that is cut is not written out")
    site = _Site(root, whole, ())
    cut = Cut(source, node, dim, (whole,))
    granted = _along_channels(scope, graph, site, cut, sort)
    if isinstance(granted, Refusal):
        return granted
    held = _held_of_list(module, scope, graph, listed, cut)
    if isinstance(held, Refusal):
        return held
    names = frozenset({layer.attribute})
    why = (
        provenance.known_class(module, owner)
        or provenance.touched(module, owner, layer, None, listed.mentions)
        or called_itself(module, owner, layer)
        or provenance.named_in_strings(module, (layer.attribute,))
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, names)
        or walked(module, sort.kind)
        or provenance.depends_on_shape(module, owner, names, sort.kind)
    )
    if why is not None:
        return why
    if self_parameter(layer.init) != "self" or not layer.statement.stands_alone(layer.assignment):
        return Refusal(f"`{layer.attribute}` shares its line with another statement", place)
    count = elements[1] if isinstance(elements[1], ast.expr) else ast.Constant(elements[1])
    first = elements[0][0]
    positional = len(first.args) if isinstance(first, ast.Call) else 0
    parameters = ("weight",) if sizes.has_bias(given) is False else ("weight", "bias")
    metadata = _metadata(layer.statement, sort, given, count, positional)
    text = sizes.source(scope.statement, cut.node)
    return _One(listed, sort, metadata, parameters, text, held, granted)


def _held_of_list(
    module: Module, scope: Scope, graph: Graph, listed: _Listed, cut: Cut
) -> tuple[ast.stmt, ...] | Refusal:
    statement, root, whole = scope.statement, listed.root, listed.whole
    assert root.node is not None
    at = Place(statement, root.node)
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`", at)
    if any(isinstance(node, ast.NamedExpr | ast.Starred) for node in ast.walk(root.node)):
        return Refusal("a name is bound inside the expression", at)
    if "zip" in graph.local or "zip" in module.names.bindings or module.names.stars:
        return Refusal("`zip` is not Python's own", at)
    if not isinstance(cut.node, ast.Name):
        return Refusal("the input has no name", at)
    inside = set(ast.walk(listed.node))
    others = [
        use for use in whole.uses if not (use.by is not None and use.by.node in inside) and use.node not in inside
    ]
    if others or whole.reads > 1:
        return Refusal("the chunks are used again", at)
    if whole.block is not root.block:
        return Refusal("the chunks are computed in another branch or loop", at)
    held: tuple[ast.stmt, ...] = ()
    if whole.statement is not root.statement:
        if whole.binding is None or whole.binding not in root.block.statements:
            return Refusal("a chunk or a result is not in a variable of its own", at)
        if not statement.stands_alone(whole.binding):
            return Refusal("the chunks share their line with another statement", at)
        held = (whole.binding,)
    for write in graph.writes:
        if (
            whole.order - 1 < write.order < root.order
            and write.hits(cut.source.roots)
            and write.node is not listed.node
        ):
            return Refusal("the input may be changed before the results are put together", at)
    if graph.exits_between(whole.order, root.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    if held and _is_rebound(cut.node.id, root, held):
        return Refusal(f"`{cut.node.id}` is another value where the results are put together", at)
    return held


# -- the edit


def _metadata(
    statement: Statement, sort: Sort, given: Mapping[str, ast.expr], count: ast.expr, positional: int
) -> dict[str, str]:
    """The arguments of the one convolution: the channels and the groups of all."""
    metadata: dict[str, str] = {}
    for number, parameter in enumerate(sort.parameters):
        node = given.get(parameter)
        if parameter == "groups":
            one = node if node is not None else ast.Constant(1)
            text = sizes.product(statement, count, one) if literal_number(one) != 1 else sizes.source(statement, count)
        elif parameter in ("in_channels", "out_channels") and node is not None:
            text = sizes.product(statement, count, node)
        elif node is not None:
            text = sizes.source(statement, node)
        else:
            continue
        metadata[f"arg_{number}" if number < positional else parameter] = text
    return metadata


def _merge(module: Module, owner: ClassInfo, parts: list[Part]) -> Merged:
    """One convolution with the channels and the groups of all."""
    first, maker, sort = parts[0], parts[0].layer.owner, parts[0].sort
    names = [part.name for part in parts]
    name = free_attribute(module, owner, merged_name(names))
    breaking = provenance.loads_past_hooks(module, owner)
    parameters = ("weight",) if sizes.has_bias(first.arguments) is False else ("weight", "bias")
    hook = MergeHook(free_function(module, f"_merge_{snake_case(maker.name)}_{name}"), name, tuple(names), parameters)
    given = first.layer.constructor
    assert given is not None
    metadata = _metadata(first.layer.statement, sort, first.arguments, ast.Constant(len(parts)), len(given.args))
    made = (Init(LogicalNode(name, sort.kind, metadata)),)
    note = breaking or "old checkpoints load through a hook"
    return Merged(tuple(parts), name, Safety.BREAKING if breaking else Safety.CHECKPOINT, note, hook, made, "")


def _called(scope: Scope, site: _Site, held: tuple[ast.stmt, ...], one: Merged, argument: str) -> Iterator[Action]:
    assert site.root.node is not None
    if held:
        yield ReplaceStatements(scope.statement, held, (), site.root.statement)
    call = Expression(LogicalNode(one.name, one.sort.kind, {}), (argument,))
    yield ReplaceExpression(scope.statement, site.root.node, call)
