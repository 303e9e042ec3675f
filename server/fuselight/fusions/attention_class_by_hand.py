"""Multi-head self-attention written by hand in a module, as one `nn.MultiheadAttention`.

Linear layers for the queries, keys and values (or one for several), their outputs cut into heads, products of
queries and keys, a softmax, the weighted sum of the values, the heads put together again and a last linear layer: that
is `nn.MultiheadAttention`, whatever the names. The steps are followed by what they do to the dimensions (`view`,
`reshape`, `transpose`, `permute`, `chunk`, `split`, `unbind`, `einsum`, `rearrange`, a method of the class that splits
the heads), not by how they are spelled.

## What it saves
Memory that grows with the square of the length: the layer calls `F.scaled_dot_product_attention`, and the scores and
their softmax are not kept for the backward pass. Measured on a CPU, width 256, four heads, kept for backward: 6.0 MB
become 5.0 for 8 x 128 places, 12 become 5 for 2 x 512, 40 become 10 for 2 x 1024. Time, forward: 1.06x, 1.18x (128 and
512 places), forward and backward 0.92x (slower) and 1.11x; in eval mode without gradients, where torch takes a path of
its own for the whole layer, 1.15x and 1.59x.

## Fix safety
`checkpoint`: the same function, in training too. The rows of the layers become `in_proj_weight` and `in_proj_bias`, the
last layer `out_proj`. The edit adds a module-level function and registers it with
`register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict` (`from_pretrained` of transformers and
diffusers, safetensors loops, `torch.distributed.checkpoint`). `numerics` where the source does not show that the input
has three dimensions: the layer takes one of two for a sequence without a batch.

A new model starts from other numbers, and the title says so: `nn.MultiheadAttention` draws the weights of all three
projections from the range of Glorot and Bengio for the whole matrix, and sets its biases to zero. A dropout of the
weights becomes the layer's own; it, and a dropout behind the layer, draw as many random numbers, but may meet them in
another order. The state of a running optimiser and adapters that
name the layers are lost as with every merge. There is no second derivative of the fused kernel.

## Refused when
- the scores are masked, biased or changed in any other way than scaling them by one over the root of a head's size;
- the weights are used again, returned or mixed over heads; the queries or keys are rotated or normalised;
- the layers are not all of one width, or some have a bias and others none; the heads of keys and values are fewer;
- the rows of one layer for several of them do not lie as queries, keys, values, or the heads come together in another
  order;
- a dropout does not ask for training mode;
- a layer is used beside this, made under a condition, hooked, tied, named in a string, or initialised by the file,
  which would pass `in_proj_weight` by;
- something else happens between the steps, or a step is used again;
- the result, which lies in memory with its dimensions exchanged, is viewed by what comes behind;
- the file asks for second derivatives, or the class reads as a reference.

Source: Vaswani et al. 2017; `torch.nn.MultiheadAttention`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion, model_text
from fuselight.fusions.cells import constructors, made_together
from fuselight.fusions.drawn_sizes import Parameter
from fuselight.fusions.forward_readings import Attention, Read, Reading, read
from fuselight.fusions.layouts import LayerRef, Leaf, Tensor
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, snake_case
from fuselight.fusions.needs import higher_gradients
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Attend,
    CellHook,
    HookRegistration,
    Init,
    Place,
    ReplaceExpression,
    ReplaceStatements,
)
from fuselight.fusions.references import reference
from fuselight.fusions.views import Lies, needs_contiguous
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope
from fuselight_emitter.ir import LogicalNode

_KIND = "torch.nn.MultiheadAttention"
_LINEAR = frozenset({"torch.nn.Linear"})
_SOFTMAXES = ("softmax", "Softmax", "scaled_dot_product_attention")
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
_TOGETHER = "assigned together with another name"


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """What goes, where the call stands, and what it is called with."""

    statement: ast.stmt
    removed: tuple[ast.stmt, ...]
    nodes: frozenset[ast.AST]
    """All nodes that go."""
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """The one layer: its arguments as they stand where the first of the linear layers is made."""

    arguments: dict[str, str]
    has_bias: bool
    layers: tuple[Layer, ...]
    idle: tuple[ast.stmt, ...]
    """Statements that make a dropout or a softmax that nobody calls any more."""


_LAYERS = """\
self.q = nn.Linear(16, 16)
self.k = nn.Linear(16, 16)
self.v = nn.Linear(16, 16)
self.o = nn.Linear(16, 16)"""
_HEADS = """\
B, T, C = x.shape
q = self.q(x).view(B, T, 4, 4).transpose(1, 2)
k = self.k(x).view(B, T, 4, 4).transpose(1, 2)
v = self.v(x).view(B, T, 4, 4).transpose(1, 2)
"""
_WEIGHTS = "a = (q @ k.transpose(-2, -1) / 2).softmax(-1)\n"
_OUT = "return self.o((a @ v).transpose(1, 2).reshape(B, T, C))"


def _near(forward: str, init: str = _LAYERS) -> str:
    return model_text(init, forward)


@fusion
class AttentionClassByHand(Fusion):
    __doc__ = __doc__

    code = "FUS416"
    name = "attention-class-by-hand"
    words = (frozenset({"Linear"}), frozenset(_SOFTMAXES), frozenset({"torch"}))
    examples = (
        Example(
            before="""\
import math

import torch
from torch import nn


class M(nn.Module):
    def __init__(self, dim=16, heads=4):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        B, T, C = x.shape
        q = self.q_proj(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
        k = self.k_proj(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = self.v_proj(x).view(B, T, self.heads, C // self.heads).transpose(1, 2)
        # every place looks at every other
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
        y = scores.softmax(dim=-1) @ v
        return self.out(y.transpose(1, 2).reshape(B, T, C))
""",
            after='''\
import math

import torch
from torch import nn


def _merge_m_attn(module, state_dict, prefix, *args):
    """Load checkpoints that hold q_proj, k_proj, v_proj and out in place of attn."""
    for parameter, parts in (
        ("in_proj_weight", ("q_proj.weight", "k_proj.weight", "v_proj.weight")),
        ("in_proj_bias", ("q_proj.bias", "k_proj.bias", "v_proj.bias")),
        ("out_proj.weight", ("out.weight",)),
        ("out_proj.bias", ("out.bias",)),
    ):
        keys = [f"{prefix}{part}" for part in parts]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}attn.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self, dim=16, heads=4):
        super().__init__()
        self.heads = heads
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.register_load_state_dict_pre_hook(_merge_m_attn)

    def forward(self, x):
        # every place looks at every other
        return self.attn(x, x, x, need_weights=False)[0]
''',
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, dim=16, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(B, N, C)
        x = self.proj(x)
        return self.norm(x)
""",
            after='''\
import torch
from torch import nn


def _merge_m_attn(module, state_dict, prefix, *args):
    """Load checkpoints that hold qkv and proj in place of attn."""
    for parameter, parts in (
        ("in_proj_weight", ("qkv.weight",)),
        ("out_proj.weight", ("proj.weight",)),
    ):
        keys = [f"{prefix}{part}" for part in parts]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}attn.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self, dim=16, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.attn = nn.MultiheadAttention(dim, num_heads, bias=False, batch_first=True)
        self.register_load_state_dict_pre_hook(_merge_m_attn)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.attn(x, x, x, need_weights=False)[0]
        return self.norm(x)
''',
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # a mask
        NearMiss(
            _near(f"{_HEADS}s = q @ k.mT / 2\ns = s.masked_fill(x[:, None, None, :, 0] < 0, -1e9)\n"
                  f"a = s.softmax(-1)\n{_OUT}"),
            "masked_fill",
        ),
        # the weights go out too
        NearMiss(_near(f"{_HEADS}{_WEIGHTS}{_OUT}, a"), "used again"),
        # scaled by the width, not by the size of a head
        NearMiss(_near(f"{_HEADS}a = (q @ k.mT / 4).softmax(-1)\n{_OUT}"), "not scaled"),
        # over the queries
        NearMiss(_near(f"{_HEADS}a = (q @ k.mT / 2).softmax(-2)\n{_OUT}"), "not over the keys"),
        # the heads come out in another order
        NearMiss(_near(f"{_HEADS}{_WEIGHTS}{_OUT}".replace("(a @ v).transpose(1, 2)", "(a @ v).permute(0, 2, 3, 1)")),
                 "put together"),
        # every head with its own queries, keys and values side by side
        NearMiss(
            _near("B, T, C = x.shape\nq, k, v = self.qkv(x).view(B, T, 4, 12).transpose(1, 2).chunk(3, dim=-1)\n"
                  f"{_WEIGHTS}{_OUT}", "self.qkv = nn.Linear(16, 48)\nself.o = nn.Linear(16, 16)"),
            "one behind the other",
        ),
        # a bias here and none there
        NearMiss(_near(f"{_HEADS}{_WEIGHTS}{_OUT}", _LAYERS.replace("self.k = nn.Linear(16, 16)",
                                                                    "self.k = nn.Linear(16, 16, bias=False)")),
                 "bias"),
        # the queries are used for something else
        NearMiss(_near(f"{_HEADS}self.last = q.detach()\n{_WEIGHTS}{_OUT}"), "used again"),
        # always dropped
        NearMiss(_near(f"{_HEADS}{_WEIGHTS}a = F.dropout(a, 0.1)\n{_OUT}"), "training mode"),
        # the file initialises linear layers
        NearMiss(
            _near(f"{_HEADS}{_WEIGHTS}{_OUT}") + "\n\ndef start(m):\n    if isinstance(m, nn.Linear):\n"
            "        nn.init.normal_(m.weight, std=0.02)\n",
            "by its type",
        ),
        # a width of its own inside
        NearMiss(
            _near("B, T, C = x.shape\n"
                  "q, k, v = (t.view(B, T, 4, 8).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))\n"
                  "a = (q @ k.mT * 8**-0.5).softmax(-1)\nreturn self.o((a @ v).transpose(1, 2).reshape(B, T, 32))",
                  "self.qkv = nn.Linear(16, 96)\nself.o = nn.Linear(32, 16)"),
            "one width",
        ),
    )  # fmt: skip

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None or not _may_hold(scope, owner):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        readings = read(module, scope)
        if readings is None:
            return
        found = readings[0].found
        near = next((one.near for one in readings if one.near is not None), None)
        if found is None and near is None:
            return
        statement = scope.statement
        at = found.root if found is not None else near.node if near is not None else None
        place = Place(statement, at if isinstance(at, ast.expr | ast.stmt) else scope.function)
        message = "this is multi-head attention, written out"
        made = _worked_out(module, scope, owner, readings)
        if isinstance(made, Refusal):
            reason = Refusal(made.reason, made.at or place)
            yield Match(type(self), scope.name, place, message, refused=reason)
            return
        assert found is not None
        yield self._match(module, scope, owner, readings[0], found, *made)

    def _match(
        self,
        module: Module,
        scope: Scope,
        owner: ClassInfo,
        reading: Reading,
        found: Attention,
        site: _Site,
        layer: _Layer,
    ) -> Match:
        statement = scope.statement
        breaking = provenance.loads_past_hooks(module, owner)
        shown = found.query.source in reading.ranks
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT if shown else Safety.NUMERICS
        notes = [breaking or "old checkpoints load through a hook", "initialised as `nn.MultiheadAttention` is"]
        if not shown:
            notes.insert(0, "right for inputs of three dimensions")
        title = f"Replace the attention by one `nn.MultiheadAttention` ({safety.value}: {'; '.join(notes)})"
        name = free_attribute(module, owner, "attn")
        hook = free_function(module, f"_merge_{snake_case(owner.name)}_{name}")
        made = constructors(layer.layers)

        def plan() -> tuple[Action, ...]:
            put = (Init(LogicalNode(name, _KIND, layer.arguments)), HookRegistration(hook))
            call = Attend(name, (site.source, site.source, site.source))
            actions: list[Action] = [
                AddFunction(statement, CellHook(hook, name, *_entries(found, layer.has_bias), ())),
                ReplaceStatements(statement, tuple(made), put),
                ReplaceExpression(statement, found.root, call),
            ]
            if layer.idle:
                actions.append(ReplaceStatements(statement, layer.idle, (), made[0]))
            if site.removed:
                actions.append(ReplaceStatements(statement, site.removed, (), site.statement))
            return tuple(actions)

        others = [Place(statement, node) for node in (*made, *layer.idle, *site.removed, found.root)]
        parts = site.nodes | {node for one in made for node in ast.walk(one)}
        first = Place(statement, min((found.root, *site.removed), key=lambda node: (node.lineno, node.col_offset)))
        message = "this is multi-head attention, written out"
        return Match(
            type(self), scope.name, first, message, title, safety, tuple(others), plan, parts=frozenset(parts)
        )  # fmt: skip


def _may_hold(scope: Scope, owner: ClassInfo) -> bool:
    """Whether a method may hold an attention at all: a cheap answer."""
    if scope.function.name == "__init__" or scope.function.decorator_list or not isinstance(
        scope.function, ast.FunctionDef
    ):  # fmt: skip
        return False
    words = scope.words
    layers = [layer for layer in owner.layers.values() if layer.attribute in words]
    softmax = not words.isdisjoint(_SOFTMAXES) or any(layer.kind == "torch.nn.Softmax" for layer in layers)
    linears = sum(layer.kind in _LINEAR or (layer.unknown or "").endswith(_TOGETHER) for layer in layers)
    return softmax and linears >= 2


def _worked_out(
    module: Module, scope: Scope, owner: ClassInfo, readings: list[Reading]
) -> tuple[_Site, _Layer] | Refusal:
    statement = scope.statement
    every = [reading.found for reading in readings]
    found = every[0]
    if found is None or any(one is None or _told(one) != _told(found) for one in every):
        near = next((reading.near for reading in readings if reading.near is not None), None)
        if near is None:
            return Refusal("it is not shown for all sizes that the steps are those of an attention")
        node = near.node
        lies = isinstance(node, ast.expr | ast.stmt) and hasattr(node, "lineno")
        return Refusal(near.reason, Place(statement, node) if lies and isinstance(node, ast.expr | ast.stmt) else None)
    refusal = reference(module, scope, ("MultiheadAttention", "multi_head_attention_forward"), found.root)
    if refusal is not None:
        return refusal
    site = _site(scope, readings[0], found)
    if isinstance(site, Refusal):
        return site
    layer = _layer(module, scope, owner, readings, found, site)
    if isinstance(layer, Refusal):
        return layer
    return _kept(module, scope, owner, found, layer, site, readings[0].methods) or (site, layer)


def _told(found: Attention) -> tuple[object, ...]:
    """What all draws must agree on."""
    parts = (found.query, found.key, found.value)
    return (found.root, found.out.attribute, found.batch_first, *(part.layer.attribute for part in parts),
            *(ast.dump(node) for node in found.dropout))  # fmt: skip


# -- the steps, and what is between them


def _site(scope: Scope, reading: Reading, found: Attention) -> _Site | Refusal:
    statement, body = scope.statement, scope.function.body
    at = next((number for number, one in enumerate(body) if found.root in set(ast.walk(one))), None)
    if at is None or not isinstance(body[at], _SIMPLE) or len(reading.statements) != len(body):
        return Refusal("it stands in a branch, a loop or a method of its own", Place(statement, found.root))
    own = set(ast.walk(found.root))
    removed = _removable(reading.statements, at, own)
    nodes = own | {node for number in removed for node in ast.walk(body[number])}
    for one in (*found.layers, *(one for one in found.used if one.node in set(ast.walk(scope.function)))):
        if one.node not in nodes and one in found.layers:
            return Refusal(f"what `{one.attribute}` computes is used again", Place(statement, _expression(one)))
    first = min((*removed, at))
    for number in range(first, at):
        one = body[number]
        if number not in removed and not reading.statements[number].plain:
            return Refusal("something else is done between the steps", Place(statement, one))
        if number in removed and not statement.stands_alone(one):
            return Refusal("a step shares its line with another statement", Place(statement, one))
    if removed:
        around = {node for node in ast.walk(body[at]) if found.root in set(ast.walk(node))}
        for node in ast.walk(body[at]):
            before = isinstance(node, ast.Call) and node not in own and node not in around
            if before and isinstance(node, ast.Call) and _position(node) < _position(found.root):
                return Refusal("something is called before it in its statement", Place(statement, node))
    if any(isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for node in nodes):
        return Refusal("a name is bound inside an expression", Place(statement, found.root))
    source = _name_of(found.query.source, reading.statements[:at], removed)
    if source is None:
        return Refusal("its input has no name where the call would stand", Place(statement, found.root))
    return _Site(body[at], tuple(body[number] for number in sorted(removed)), frozenset(nodes), source)


def _expression(layer: LayerRef) -> ast.expr:
    assert isinstance(layer.node, ast.expr)
    return layer.node


def _position(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _removable(statements: Sequence[Read], at: int, own: set[ast.AST]) -> set[int]:
    """The statements before `at` of which nothing is read but by each other, and by the nodes `own`."""
    found = {
        number
        for number, one in enumerate(statements[:at])
        if one.plain and one.bound and not any(isinstance(value, Leaf) for _, value in one.bound)
    }
    while True:
        kept = {
            number
            for number in found
            if any(_is_read(statements, number, name, found, at, own) for name, _ in statements[number].bound)
        }
        if not kept:
            break
        found -= kept
    # Of numbers and shapes only those that were read for the steps: what nobody reads is none of ours.
    needed = {name for node in own for name in _loads(node)}
    for number in sorted(found, reverse=True):
        one = statements[number]
        if not needed.isdisjoint(name for name, _ in one.bound) or any(isinstance(v, Tensor) for _, v in one.bound):
            needed |= {name for node in ast.walk(one.node) for name in _loads(node)}
        else:
            found.discard(number)
    return found


def _is_read(statements: Sequence[Read], number: int, name: str, gone: set[int], at: int, own: set[ast.AST]) -> bool:
    """Whether what a statement binds to `name` is read by anything that stays."""
    for later, one in enumerate(statements):
        if later in gone:
            if later > number and _rebinds(one.node, name):
                return False
            continue
        nodes = [node for node in ast.walk(one.node) if not (later == at and node in own)]
        if later < number:
            # A function made earlier may read the name later.
            inner = (node for node in nodes if isinstance(node, ast.Lambda | Function))
            if any(name in _loads(node) for function in inner for node in ast.walk(function)):
                return True
            continue
        if later == number:
            continue
        if any(name in _loads(node) for node in nodes):
            return True
        if _rebinds(one.node, name):
            return False
    return False


def _rebinds(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(one, ast.Name) and one.id == name for target in targets for one in ast.walk(target))


def _loads(node: ast.AST) -> set[str]:
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
        return {node.id}
    return set(node.names) if isinstance(node, ast.Global | ast.Nonlocal) else set()


def _name_of(leaf: Leaf, statements: Sequence[Read], removed: set[int]) -> str | None:
    """A name that holds a value when what is removed is gone."""
    bound = any(value is leaf for one in statements for _, value in one.bound)
    holds: dict[str, object] = {} if bound or leaf.name is None else {leaf.name: leaf}
    for number, one in enumerate(statements):
        if number not in removed:
            holds.update(one.bound)
    names = [name for name, value in holds.items() if value is leaf]
    return leaf.name if leaf.name in names else next(iter(names), None)


# -- the layer


def _layer(
    module: Module, scope: Scope, owner: ClassInfo, readings: list[Reading], found: Attention, site: _Site
) -> _Layer | Refusal:
    place = Place(scope.statement, found.root)
    layers: list[Layer] = []
    for one in found.layers:
        layer = owner.layers.get(one.attribute)
        if layer is None or layer.owner is not owner:
            return Refusal(f"`{one.attribute}` is made by another class", place)
        if layer.unknown is not None and not layer.unknown.endswith(_TOGETHER):
            return Refusal(layer.unknown, Place(layer.statement, layer.assignment))
        layers.append(layer)
    refusal = made_together(layers)
    if refusal is not None:
        return refusal
    anchor = constructors(layers)[0]
    if any(anchor not in reading.inits.before for reading in readings):
        return Refusal("its layers are made in a branch or loop", Place(owner.statement, anchor))
    first = next(one.made for one in found.layers if one.made.statement is anchor)
    settings: list[dict[str, str]] = []
    for one in found.layers:
        given = {name: sizes.source(owner.statement, node) for name, node in one.made.nodes.items()}
        settings.append({name: given[name] for name in ("bias", "device", "dtype") if name in given})
        if settings[-1].get("bias") in ("True", "1"):
            del settings[-1]["bias"]
        for name, node in one.made.nodes.items():
            if not sizes.is_pure(node):
                return Refusal(f"`{name}` of `{one.attribute}` is worked out by a call", Place(owner.statement, node))
    if any(one != settings[0] for one in settings):
        return Refusal("its layers differ in their bias, device or dtype", Place(owner.statement, anchor))
    bias = settings[0].get("bias")
    heads = _at_anchor([reading.found.heads for reading in readings if reading.found is not None], readings, anchor)
    if heads is None:
        return Refusal("the number of heads is not at hand where the layers are made", Place(owner.statement, anchor))
    arguments = {"arg_0": sizes.source(owner.statement, first.nodes["in_features"]), "arg_1": heads}
    if found.dropout:
        dropout = _dropout(readings, found.dropout[0], owner, anchor)
        if dropout is None:
            return Refusal("the dropout is not at hand where the layers are made", place)
        if dropout not in ("0", "0.0"):
            arguments["dropout"] = dropout
    if bias is not None:
        arguments["bias"] = bias
    if found.batch_first:
        arguments["batch_first"] = "True"
    arguments |= {name: text for name, text in settings[0].items() if name != "bias"}
    return _Layer(arguments, bias not in ("False", "0"), tuple(layers), _idle(module, owner, found, site, anchor))


def _at_anchor(numbers: Sequence[object], readings: list[Reading], anchor: ast.stmt) -> str | None:
    """The source of a number, in the names that are bound when the statement `anchor` begins."""

    def fits(values: Sequence[object]) -> bool:
        found: list[object] = []
        for reading, value in zip(readings, values, strict=True):
            given = isinstance(value, Parameter) and value.path in (*reading.draw.given, reading.draw.wide)
            found.append(reading.draw.number(value.path) if isinstance(value, Parameter) and given else value)
        return found == list(numbers) and not any(isinstance(one, bool) for one in found)

    before = [reading.inits.before[anchor] for reading in readings]
    options: list[str] = []
    for at, prefix in ((0, ""), (1, "self.")):
        for name in before[0][at]:
            if all(name in one[at] for one in before) and fits([one[at][name] for one in before]):
                options.append(f"{prefix}{name}")
    settings = {path for path in readings[0].draw.given if "." in path}
    options += [
        path
        for path in sorted(settings)
        if fits([Parameter(path)] * len(readings)) and path.partition(".")[0] in before[0][0]
    ]
    literal = len(set(numbers)) == 1
    if literal:
        # Another number of the same value is no name for it.
        options = [one for one in options if one.lower().endswith("heads")]
    return next(iter(options), repr(numbers[0]) if literal else None)


def _dropout(readings: list[Reading], node: ast.expr, owner: ClassInfo, anchor: ast.stmt) -> str | None:
    """The source of a probability where the layers are made."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if not sizes.is_pure(node):
        return None
    names, attributes = readings[0].inits.before[anchor]
    last_names, last_attributes = readings[0].inits.names, readings[0].inits.attributes
    match node:
        case ast.Name(id=name) if name in names and names[name] == last_names.get(name):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            value = last_attributes.get(name)
            if name in attributes:
                return f"self.{name}"
            if isinstance(value, Parameter) and names.get(value.path.partition(".")[0]) == Parameter(
                value.path.partition(".")[0]
            ):
                return value.path
            same = all(reading.inits.attributes.get(name) == value for reading in readings)
            return repr(value) if same and isinstance(value, int | float) and not isinstance(value, bool) else None
        case ast.Attribute(value=ast.Name(id=root)) if names.get(root) == Parameter(root) == last_names.get(root):
            return sizes.source(owner.statement, node)
        case _:
            return None


def _idle(module: Module, owner: ClassInfo, found: Attention, site: _Site, anchor: ast.stmt) -> tuple[ast.stmt, ...]:
    """What made a dropout, a softmax or an identity that is called here alone."""
    removed: list[ast.stmt] = []
    for one in found.used:
        layer = owner.layers.get(one.attribute)
        if layer is None or one.node not in site.nodes or layer.unknown is not None or layer.owner is not owner:
            continue
        block = layer.init.body
        if layer.assignment not in block or anchor not in block or not owner.statement.stands_alone(layer.assignment):
            continue
        nodes = frozenset(node for node in site.nodes if isinstance(node, ast.Attribute))
        refusal = provenance.touched(module, owner, layer, found.root, nodes)
        refusal = refusal or provenance.named_in_strings(module, (one.attribute,))
        if refusal is None and layer.assignment not in removed:
            removed.append(layer.assignment)
    return tuple(sorted(removed, key=lambda node: node.lineno))


def _kept(
    module: Module,
    scope: Scope,
    owner: ClassInfo,
    found: Attention,
    layer: _Layer,
    site: _Site,
    methods: frozenset[Function],
) -> Refusal | None:
    """The layers must be called here alone, and nothing else in the file know, fill or look for them."""
    names = frozenset(one.attribute for one in layer.layers)
    refusal = provenance.known_class(module, owner)
    inside = {node for node in site.nodes if isinstance(node, ast.Attribute)}
    for one in layer.layers:
        if one.unknown is None:
            refusal = refusal or provenance.plain_layer(one, _LINEAR, "a plain `nn.Linear`")
        targets = {node for node in ast.walk(one.assignment) if isinstance(node, ast.Attribute)}
        refusal = refusal or provenance.touched(module, owner, one, found.root, frozenset(inside | targets))
        if refusal is None and sizes.filled_by_hook(module, one):
            refusal = Refusal(
                f"a load hook makes the parameters of `{one.attribute}`", Place(one.statement, one.assignment)
            )
    for one in found.used:
        used = owner.layers.get(one.attribute)
        if used is not None:
            refusal = refusal or provenance.replaced(module, owner, used)
    refusal = (
        refusal
        or provenance.named_in_strings(module, tuple(sorted(names)))
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, names)
        or walked(module)
        or provenance.depends_on_shape(module, owner, names)
        or _initialised(module)
        or higher_gradients(module)
    )
    graph = module.graph(scope)
    value = next((one for one in graph.values if one.node is found.root), None)
    if refusal is not None or value is None:
        return refusal or Refusal("what it yields cannot be followed")
    # A method that splits the heads views what it is given, and is called by nobody any more.
    gone = frozenset(
        method
        for method in methods
        if all(mention.node in site.nodes for mention in module.mentions.of_attribute(method.name))
    )
    return needs_contiguous(module, scope, graph, value, None, Lies.ANYHOW, found.out.attribute, gone=gone)


def _initialised(module: Module) -> Refusal | None:
    """No code of the file may be meant for linear layers, or for parameters called `weight` and `bias`."""
    if module.mentions.used_uncalled("Linear") or any(True for _ in module.mentions.strings_with("Linear")):
        return Refusal("the file treats `nn.Linear` by its type, which the projections are not any more")
    for called in module.mentions.calls_of("named_parameters", "named_modules"):
        return Refusal(
            "the file picks parameters or layers by their names, which are others then",
            Place(called.statement, called.node),
        )
    return None


def _entries(found: Attention, has_bias: bool) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """The attributes that go, and the entries of an old checkpoint that each parameter is made of."""
    projections = [one.attribute for one in found.layers[:-1]]
    out = found.out.attribute
    entries: list[tuple[str, tuple[str, ...]]] = []
    for parameter in ("weight", "bias") if has_bias else ("weight",):
        entries.append((f"in_proj_{parameter}", tuple(f"{one}.{parameter}" for one in projections)))
    for parameter in ("weight", "bias") if has_bias else ("weight",):
        entries.append((f"out_proj.{parameter}", (f"{out}.{parameter}",)))
    return (*projections, out), tuple(entries)
