"""An embedding whose rows are averaged, summed or compared at once: an embedding bag.

`self.emb(i).mean(dim=1)` looks up a row for every token of a text, (B, L, D) numbers, and then averages them over the
tokens. `nn.EmbeddingBag(mode="mean")` adds the rows up while it reads them. It is found by the reduction over the
tokens, `mean`, `sum`, `max` or `amax`, of a lookup that nobody else uses.

## What it saves
The (B, L, D) tensor, forward and backward, and time. On a CPU, `.mean(1)`: 1.7x forward, 1.5x forward and backward.
Autograd keeps a little more: where each row of the result came from.

## Fix safety
`exact`: the same parameter `weight` with the same initial numbers, and the same result up to the rounding of the dtype.
In bfloat16 and float16 the mean of a bag is rounded once more. A bag of no tokens raises an error, where the mean of
nothing was NaN and the sum 0.

`numerics` where the source does not show that the index is a batch of rows, (B, L): an embedding bag takes nothing else
and raises an error. The title says what is assumed. Also for `amax`: it spreads the gradient over equal entries of
different rows (all of them, while the table is all zeros), an embedding bag gives it to the first one, as `max` does.

## Refused when
- there is a padding index: an embedding bag leaves its row out, an embedding counts it in;
- the index has one dimension or more than two, or the reduction is over `dim=-2` and nothing shows how many;
- the reduction is over anything but the tokens, keeps the dimension, or has a dtype of its own;
- anything stands between the two: a dropout, a position or a weight that is added or multiplied;
- the lookup is used besides, the layer is called twice, or anything but its initialisation reads its weight: tied
  weights, `from_pretrained`;
- `scale_grad_by_freq` is on, or `sparse` for a maximum: the gradients differ, or there are none;
- the file differentiates twice or forward (`create_graph=True`, `torch.func.jvp`, `hessian`, `gradgradcheck`): an
  embedding bag can do neither;
- the file tells layers apart by their type, `nn.Embedding` among them, or hooks them;
- both values and indices of a maximum are used.

Source: `torch.nn.EmbeddingBag`, `torch.nn.functional.embedding_bag`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion, model_text
from fuselight.fusions.literal_arguments import is_false
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import (
    Action,
    Expression,
    Init,
    Place,
    ReplaceExpression,
    ReplaceStatements,
    Within,
)
from fuselight.fusions.references import reads_as_reference
from fuselight.fusions.steps import in_one_line
from fuselight.graph.classes import ClassInfo, Layer, resolve
from fuselight.graph.mentions import Mention, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import argument, dimensions, rank_of
from fuselight.graph.values import Consumption, Graph, Value
from fuselight.source.names import bound_names
from fuselight_emitter.ir import LogicalNode

_EMBEDDING = "torch.nn.Embedding"
_TABLE = (
    "num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse",
    "_weight", "_freeze", "device", "dtype",
)  # fmt: skip
"""The positional parameters of `torch.nn.Embedding`, torch 2.13."""

_LOOKUP = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
"""Those of `torch.nn.functional.embedding`."""

_MODES = {
    "mean": "mean", "sum": "sum", "amax": "max", "max": "max", "method max": "max", "torch.max": "max",
}  # fmt: skip
_WITH_INDICES = frozenset({"max", "method max", "torch.max"})

_WORDS = frozenset({"mean", "sum", "amax", "max"})

_TWICE = (
    "create_graph", "gradgradcheck", "gradgrad", "jvp", "jacfwd", "jacrev", "hessian", "hvp", "vhp", "jacobian",
    "linearize", "forward_ad", "make_dual", "dual_level",
)  # fmt: skip
"""Words that say that something is differentiated twice, or forward."""

_INITIALISERS = frozenset(
    "data copy_ normal_ uniform_ trunc_normal_ zero_ fill_ clamp_ requires_grad requires_grad_ device dtype shape"
    " size numel detach".split()
)


@dataclass(frozen=True, slots=True, eq=False)
class _Bag:
    """A lookup and the reduction of its rows."""

    lookup: Value
    reduced: Value
    whole: Value
    """What yields the tensor: the reduction, or `.values` of it."""
    mode: str
    index: Value
    index_node: ast.expr
    from_end: bool
    """Whether the dimension is counted from the end, which goes for an index of any number of dimensions."""

    @property
    def label(self) -> str:
        return self.lookup.layer.attribute if self.lookup.layer is not None else "F.embedding"


@fusion
class ReducedEmbedding(Fusion):
    __doc__ = __doc__

    code = "FUS605"
    name = "reduced-embedding"
    words = (frozenset({"Embedding", "embedding"}), _WORDS)
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(10, 6)  # words
        self.out = nn.Linear(6, 3)

    def forward(self, scores):
        tokens = scores.argmax(-1)
        batch, length = tokens.shape
        return self.out(self.emb(tokens).mean(dim=1))
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.EmbeddingBag(10, 6, mode="mean")  # words
        self.out = nn.Linear(6, 3)

    def forward(self, scores):
        tokens = scores.argmax(-1)
        batch, length = tokens.shape
        return self.out(self.emb(tokens))
""",
            inputs=((4, 7, 10),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch.nn.functional as F


def f(weight, scores):
    tokens = scores.argmax(-1)
    rows = F.embedding(tokens, weight)
    return rows.sum(1)
""",
            after="""\
import torch.nn.functional as F


def f(weight, scores):
    tokens = scores.argmax(-1)
    return F.embedding_bag(tokens, weight, mode="sum")
""",
            inputs=((10, 6), (4, 7, 10)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        # a padding row counts
        NearMiss(
            model_text("self.emb = nn.Embedding(10, 6, padding_idx=0)", "return self.emb(x).sum(1)"), "padding index"
        ),
        # three dimensions
        NearMiss(
            model_text("self.emb = nn.Embedding(10, 4)", "b, s, n = x.shape\nreturn self.emb(x).sum(1)"),
            "three dimensions",
        ),
        # over the features
        NearMiss(model_text("self.emb = nn.Embedding(10, 4)", "return self.emb(x).sum(2)"), ""),
        # over everything
        NearMiss(model_text("self.emb = nn.Embedding(10, 4)", "return self.emb(x).mean()"), ""),
        # a position between
        NearMiss(
            model_text(
                "self.emb = nn.Embedding(10, 6)\nself.pos = nn.Parameter(torch.randn(4, 6))",
                "return (self.emb(x) * self.pos).sum(1)",
            ),
            "",
        ),
        # a dropout between
        NearMiss(
            model_text(
                "self.emb = nn.Embedding(10, 6)\nself.drop = nn.Dropout(0.1)", "return self.drop(self.emb(x)).mean(1)"
            ),
            "",
        ),
        # the tokens are used besides
        NearMiss(
            model_text("self.emb = nn.Embedding(10, 6)", "h = self.emb(x)\nreturn h - h.mean(1, keepdim=True)"), ""
        ),
        NearMiss(model_text("self.emb = nn.Embedding(10, 6)", "h = self.emb(x)\nreturn h, h.mean(1)"), "used besides"),
        # called twice
        NearMiss(
            model_text("self.emb = nn.Embedding(10, 6)", "return self.emb(x).mean(1) + self.emb(x[:, 0])"),
            "more than once",
        ),
        # tied
        NearMiss(
            model_text(
                "self.emb = nn.Embedding(10, 6)\nself.out = nn.Linear(6, 10)\nself.out.weight = self.emb.weight",
                "return self.out(self.emb(x).mean(1))",
            ),
            "beside its call",
        ),
        # a table from elsewhere
        NearMiss(
            model_text("self.emb = nn.Embedding.from_pretrained(torch.eye(10))", "return self.emb(x).mean(1)"), ""
        ),
        # gradients by frequency
        NearMiss(
            model_text("self.emb = nn.Embedding(10, 6, scale_grad_by_freq=True)", "return self.emb(x).mean(1)"),
            "by the frequency",
        ),
        # a second derivative
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\n\ndef f(w, i):\n"
            "    g, = torch.autograd.grad(F.embedding(i, w).sum(1).pow(2).sum(), w, create_graph=True)\n"
            "    g.pow(2).sum().backward()\n",
            "differentiates",
        ),
        # initialised by its type
        NearMiss(
            model_text("self.emb = nn.Embedding(10, 6)", "return self.emb(x).mean(1)")
            + "\n\ndef init(m):\n    if isinstance(m, nn.Embedding):\n        nn.init.zeros_(m.weight)\n",
            "by their type",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        called = scope.called
        if _WORDS.isdisjoint(called):
            return
        if "embedding" not in called and _EMBEDDING not in scope.applied_kinds:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for kind in (_EMBEDDING, "embedding"):
            for lookup in graph.of_kind(kind):
                bag = _bag(lookup)
                if bag is not None:
                    yield self._match(module, scope, graph, bag)

    def _match(self, module: Module, scope: Scope, graph: Graph, bag: _Bag) -> Match:
        statement, node = scope.statement, bag.whole.node
        assert node is not None
        assert bag.lookup.node is not None
        place = Place(statement, node)
        message = f"the rows of `{bag.label}` are looked up one by one, and then reduced to one"
        rank = rank_of(graph, bag.index, bag.reduced)
        refusal = _refusal(module, scope, graph, bag)
        if refusal is None and rank.least > 2:
            refusal = Refusal(f"the index has {_NUMBERS.get(rank.least, 'more than two')} dimensions")
        if refusal is None and rank.most is not None and rank.most < 2:
            refusal = Refusal("the index has fewer than two dimensions")
        if refusal is None and rank.exact != 2 and bag.from_end:
            refusal = Refusal("nothing shows that the index has two dimensions, and not more of them")
        layer = bag.lookup.layer
        if refusal is None and layer is not None and scope.owner is not None:
            refusal = _layer_refusal(module, scope.owner, layer, bag)
        moved = refusal if refusal is not None else _moved(scope, graph, bag)
        if isinstance(moved, Refusal):
            return Match(type(self), scope.name, place, message, refused=Refusal(moved.reason, moved.at or place))
        notes: list[str] = []
        if rank.exact != 2:
            notes.append(f"assumes that `{_short(scope, bag.index_node)}` has two dimensions")
        if bag.reduced.kind == "amax":
            notes.append("equal entries of different rows share no gradient")
        safety = Safety.NUMERICS if notes else Safety.EXACT
        note = f" ({safety.value}: {'; '.join(notes)})" if notes else ""
        title = f"Look up and reduce with an `EmbeddingBag`{note}"
        if layer is not None:
            title = f"Make `{layer.attribute}` an `EmbeddingBag`{note}"
        others = [Place(statement, bag.lookup.node)]
        if layer is not None:
            others.append(Place(layer.statement, layer.assignment))
        if bag.lookup.binding is not None:
            others.append(Place(statement, bag.lookup.binding))
        return Match(
            type(self), scope.name, place, message, title, safety, tuple(others),
            partial(_plan, scope, bag, moved),
        )  # fmt: skip


_NUMBERS = {3: "three", 4: "four", 5: "five"}


# -- what is reduced


def _bag(lookup: Value) -> _Bag | None:
    """A lookup of which the rows are reduced over the tokens, as far as its first use shows."""
    node = lookup.node
    if not isinstance(node, ast.Call) or (lookup.kind == _EMBEDDING and lookup.layer is None):
        return None
    if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
        return None
    given = {one.arg: one.value for one in node.keywords}
    index = argument(lookup, 0, "input")
    index_node = node.args[0] if node.args else given.get("input")
    if index is None or index_node is None:
        return None
    for use in lookup.uses:
        reduced = use.by
        if use.how is not Consumption.INPUT or reduced is None or reduced.kind not in _MODES:
            continue
        dim = _over_tokens(reduced, lookup)
        if dim is None:
            continue
        whole = _values(reduced) if reduced.kind in _WITH_INDICES else reduced
        if whole is None or whole.node is None:
            continue
        return _Bag(lookup, reduced, whole, _MODES[reduced.kind], index, index_node, dim < 0)
    return None


def _over_tokens(reduced: Value, lookup: Value) -> int | None:
    """The dimension of a reduction over the tokens of (B, L, D) that does not keep it and does nothing else."""
    node = reduced.node
    if not isinstance(node, ast.Call) or any(isinstance(one, ast.Starred) for one in node.args):
        return None
    if not reduced.keywords.keys() <= {"input", "dim", "axis", "keepdim", "keepdims"}:
        return None
    source = argument(reduced, 0, "input")
    behind = 0 if "input" in reduced.keywords else 1
    if source is not lookup or len(reduced.inputs) > behind + 2:
        return None
    kept = argument(reduced, behind + 1, "keepdims" if "keepdims" in reduced.keywords else "keepdim")
    if kept is not None and kept.constant is not False:
        return None
    dims = dimensions(reduced, behind, "axis" if "axis" in reduced.keywords else "dim")
    return dims[0] if dims in ((1,), (-2,)) else None


def _values(reduced: Value) -> Value | None:
    """The values of a maximum, where its indices are not used: `.values`, `[0]`."""
    if len(reduced.uses) != 1 or reduced.uses[0].by is None:
        return None
    by = reduced.uses[0].by
    match by.node:
        case ast.Attribute(attr="values"):
            return by
        case ast.Subscript(slice=ast.Constant(value=0)):
            return by
        case _:
            return None


# -- what speaks against it


def _refusal(module: Module, scope: Scope, graph: Graph, bag: _Bag) -> Refusal | None:
    statement, lookup = scope.statement, bag.lookup
    assert isinstance(lookup.node, ast.Call)
    at = Place(statement, lookup.node)
    refusal = reads_as_reference(scope)
    if refusal is not None:
        return refusal
    if module.mentions.has_word(*_TWICE):
        return Refusal("the file differentiates twice or forward, which an embedding bag cannot")
    for node in (*ast.walk(lookup.node), *(ast.walk(bag.whole.node) if bag.whole.node is not None else ())):
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return Refusal("a name is bound inside the expression", Place(statement, lookup.node))
    for value in (lookup, bag.reduced):
        node = value.node
        assert node is not None
        if len(value.uses) != 1 and value is not bag.whole:
            return Refusal(f"`{_short(scope, node)}` is used besides", Place(statement, node))
    if lookup.block is not bag.whole.block or bag.reduced.block is not bag.whole.block:
        return Refusal("the two are computed in different branches or loops", at)
    if graph.exits_between(lookup.order, bag.whole.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    inputs = (*lookup.inputs, *lookup.keywords.values())
    for one in (lookup, *inputs):
        write = graph.written_between(one, lookup.order, bag.whole.order)
        if write is not None:
            node = write.node if isinstance(write.node, ast.expr | ast.stmt) else lookup.node
            return Refusal(
                "the rows, or what they are looked up with, may be changed in between", Place(statement, node)
            )
    if lookup.layer is not None:
        if len(lookup.node.args) + len(lookup.node.keywords) != 1:
            return Refusal(f"`{bag.label}` is not called with one input", at)
        return None
    given = sizes.arguments(lookup.node, _LOOKUP)
    if given is None or "weight" not in given:
        return Refusal("the arguments of `F.embedding` are not written out", at)
    return _options(given, bag, at)


def _options(given: dict[str, ast.expr], bag: _Bag, at: Place) -> Refusal | None:
    """What an embedding is told besides its table: an embedding bag does not mean the same by all of it."""
    padding = given.get("padding_idx")
    if padding is not None and not (isinstance(padding, ast.Constant) and padding.value is None):
        return Refusal(f"`{bag.label}` has a padding index, whose row an embedding bag leaves out", at)
    if not is_false(given.get("scale_grad_by_freq")):
        return Refusal(f"`{bag.label}` scales its gradient by the frequency of a row, which a bag does otherwise", at)
    if bag.mode == "max" and not is_false(given.get("sparse")):
        return Refusal("the maximum of a bag has no sparse gradient", at)
    if "_weight" in given or "_freeze" in given:
        return Refusal(f"`{bag.label}` is given its table", at)
    return None


def _layer_refusal(module: Module, owner: ClassInfo, layer: Layer, bag: _Bag) -> Refusal | None:
    refusal = provenance.plain_layer(layer, frozenset({_EMBEDDING}), "a plain `nn.Embedding`")
    if refusal is not None:
        return refusal
    place = Place(layer.statement, layer.constructor or layer.assignment)
    given = sizes.arguments(layer.constructor, _TABLE) if layer.constructor is not None else None
    if given is None or not {"num_embeddings", "embedding_dim"} <= given.keys():
        return Refusal(f"the constructor of `{layer.attribute}` is not that of `nn.Embedding`", place)
    refusal = _options(given, bag, place)
    if refusal is not None:
        return refusal
    plain = isinstance(layer.assignment, ast.Assign) and len(layer.assignment.targets) == 1
    if not plain or not layer.statement.stands_alone(layer.assignment) or layer.named_by is not None:
        return Refusal(f"`{layer.attribute}` is not made in a statement of its own", place)
    if self_parameter(layer.init) != "self":
        return Refusal(f"`{layer.attribute}` is not an attribute of `self`", place)
    name = layer.attribute
    mentions = [one for one in module.mentions.of_attribute(name) if _initialises(module, one)]
    call = bag.lookup.node
    assert isinstance(call, ast.Call)
    return (
        provenance.known_class(module, owner)
        or provenance.touched(module, owner, layer, call, frozenset(one.node for one in mentions))
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, frozenset({name}))
        or _told_by_type(module)
    )


def _initialises(module: Module, mention: Mention) -> bool:
    """Whether a mention of the layer fills or measures its weight, `nn.init.normal_(self.emb.weight)`, and no more."""
    match mention.parent:
        case ast.Attribute(attr="num_embeddings" | "embedding_dim", ctx=ast.Load()):
            return True
        case ast.Attribute(attr="weight", ctx=ast.Load()) as weight:
            pass
        case _:
            return False
    for top in mention.statement.body:
        for node in ast.walk(top):
            match node:
                case ast.Call(func=func, args=[first, *_]) if first is weight:
                    path = resolve(func, module.names)
                    return path is not None and path.startswith("torch.nn.init.")
                case ast.Attribute(value=value, attr=attr) if value is weight:
                    return attr in _INITIALISERS and (attr != "data" or _fills(top, node))
                case _:
                    pass
    return False


def _fills(top: ast.stmt, data: ast.Attribute) -> bool:
    """Whether `self.emb.weight.data` is filled in place and nothing else."""
    for node in ast.walk(top):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if value is data:
                return attr in _INITIALISERS and attr.endswith("_")
            case _:
                pass
    return False


def _told_by_type(module: Module) -> Refusal | None:
    """Nobody may ask whether a layer is an embedding: an embedding bag is none."""
    for name in ("Embedding", "EmbeddingBag"):
        if module.mentions.used_uncalled(name) or any(True for _ in module.mentions.strings_with(name)):
            return Refusal(f"the file tells layers apart by their type, `nn.{name}` among them")
    return None


# -- the edit


class _Way(Enum):
    """Where the bag is looked up."""

    NESTED = "in the one expression that holds both"
    BEHIND = "where the reduction was; the statement of the lookup goes"
    BEFORE = "where the lookup was"


def _moved(scope: Scope, graph: Graph, bag: _Bag) -> _Way | Refusal:
    """How the two become one, where the lookup may have a statement of its own."""
    statement, lookup = scope.statement, bag.lookup
    if lookup.statement is bag.whole.statement and _inside(bag.whole.node, lookup.node):
        return _Way.NESTED
    binding, at = lookup.binding, Place(statement, lookup.node) if lookup.node is not None else None
    if binding is None or lookup.reads != 1 or not scope.name:
        return Refusal("the rows are not in a variable of their own", at)
    if not _inside(bag.whole.node, bag.reduced.node):
        return Refusal("the maximum is not reduced to its values at once", at)
    block = lookup.block.statements
    if not lookup.block.is_suite or binding not in block or bag.whole.statement not in block:
        return Refusal("the two are computed in different branches or loops", at)
    if not statement.stands_alone(binding):
        return Refusal("it shares its line with another statement", at)
    if lookup.block.guarded:
        return Refusal("an exception in between may be caught", at)
    if _holds(graph, bag):
        return _Way.BEHIND
    whole = bag.whole.binding
    if whole is not None and not statement.stands_alone(whole):
        return Refusal("it shares its line with another statement", at)
    return _Way.BEFORE


def _inside(around: ast.AST | None, node: ast.AST | None) -> bool:
    return around is not None and any(one is node for one in ast.walk(around))


def _holds(graph: Graph, bag: _Bag) -> bool:
    """Whether all that the lookup is given means the same where the reduction is."""
    assert bag.lookup.node is not None
    assert bag.lookup.binding is not None
    block = bag.lookup.block.statements
    assert bag.whole.statement is not None
    between = block[block.index(bag.lookup.binding) + 1 : block.index(bag.whole.statement)]
    if any(one.kind in ("call", "opaque", "instance") for one in _values_in(graph, bag.lookup.node)):
        return False
    nodes = list(ast.walk(bag.lookup.node))
    read = {node.id for node in nodes if isinstance(node, ast.Name)}
    bound = {name for one in between for name in _names_bound(one)} | set(bound_names(bag.lookup.binding.targets[0]))
    if read & bound or not read - {"self"} <= graph.local | graph.names.bindings.keys():
        return False
    simple = all(isinstance(one, ast.Name) for one in (bag.index_node,))
    return simple or not between


def _values_in(graph: Graph, node: ast.expr) -> Iterator[Value]:
    inside = set(ast.walk(node))
    return (one for one in graph.values if one.node in inside and one.node is not node)


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        name = getattr(node, "name", None)
        if isinstance(name, str):
            yield name


def _plan(scope: Scope, bag: _Bag, way: _Way) -> tuple[Action, ...]:
    statement, lookup, whole = scope.statement, bag.lookup, bag.whole
    assert isinstance(lookup.node, ast.Call)
    assert whole.node is not None
    actions: list[Action] = []
    layer = lookup.layer
    if layer is not None:
        actions.append(ReplaceStatements(layer.statement, (layer.assignment,), (Init(_made(layer, bag.mode)),)))
        by: Expression | Within = Within(lookup.node)
    else:
        given = sizes.arguments(lookup.node, _LOOKUP) or {}
        texts = {name: in_one_line(statement.source(node)) for name, node in given.items()}
        kept = {name: texts[name] for name in ("max_norm", "norm_type", "sparse") if name in texts}
        call = LogicalNode("call", "torch.nn.functional.embedding_bag", {**kept, "mode": f'"{bag.mode}"'})
        by = Expression(call, (texts["input"], texts["weight"]))
    if way is not _Way.BEFORE:
        if way is _Way.BEHIND:
            assert lookup.binding is not None
            actions.append(ReplaceStatements(statement, (lookup.binding,), (), whole.statement))
        actions.append(ReplaceExpression(statement, whole.node, by))
        return tuple(actions)
    assert lookup.binding is not None
    if layer is None:
        actions.append(ReplaceExpression(statement, lookup.node, by))
    held, target = lookup.binding.targets[0], whole.binding.targets[0] if whole.binding is not None else None
    assert isinstance(held, ast.Name)
    block = whole.block.statements
    if whole.binding is not None and isinstance(target, ast.Name) and target.id == held.id:
        at = block.index(whole.binding)
        behind = block[at + 1] if at + 1 < len(block) else lookup.binding
        actions.append(ReplaceStatements(statement, (whole.binding,), (), behind))
    else:
        actions.append(ReplaceExpression(statement, whole.node, held.id))
    return tuple(actions)


def _made(layer: Layer, mode: str) -> LogicalNode:
    """The embedding bag, of the embedding's arguments."""
    call = layer.constructor
    assert call is not None
    given = sizes.arguments(call, _TABLE) or {}
    metadata: dict[str, str] = {}
    for number, name in enumerate(("num_embeddings", "embedding_dim")):
        metadata[f"arg_{number}" if number < len(call.args) else name] = sizes.source(layer.statement, given[name])
    for name in ("max_norm", "norm_type", "sparse", "device", "dtype"):
        if name in given:
            metadata[name] = sizes.source(layer.statement, given[name])
    metadata["mode"] = f'"{mode}"'
    return LogicalNode(layer.attribute, "torch.nn.EmbeddingBag", metadata)


def _short(scope: Scope, node: ast.expr) -> str:
    text = " ".join(scope.statement.source(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
