"""A layer computes positions that a selection behind it throws away: select first.

`self.lm_head(x)[:, -1]` computes the logits of every position and keeps one; `self.norm(x)[:, 0]` normalises every
token for the first. Layers that work on each position by itself give the same for the positions that are kept when
they see only those. Chains of them are taken one after the other: behind `self.head(self.norm(x)[:, 0])` comes
`self.head(self.norm(x[:, 0]))`.

## What it saves
Time and memory, by the part of the positions that is dropped. On a CPU, one position of 128: 11.5x forward for a
language model's head, 13x for a layer norm. Autograd keeps that much less too.

## Fix safety
`exact`: the same layer on the same numbers. `numerics` where the source does not show that the selection leaves the
last dimension alone: `self.fc(x)[:, -1]` on a matrix takes a feature, on three dimensions a position. The title says
what is assumed. It is shown by the subscript itself (`[:, -1, :]`), by how many dimensions the input has (`B, T, C =
x.shape`, a `view` to three sizes, an embedding), and by what comes next: where the selected value goes on into a
layer that takes the features that this one gives, they were not selected.

## Refused when
- the layer's whole output is used too, other selections of it, or its shape;
- nothing shows that it takes positions, and it may well take features: `[:, :, 0]`, `[:, 2]` of five features, any
  selection of a single feature;
- it is a copy, by a mask or an index tensor, that is written to in place behind it: autograd may come to keep it;
- the layer is no such layer: attention, batch norm, group norm, convolutions and recurrent layers mix positions;
  dropout draws other random numbers for fewer elements; a layer norm over several dimensions needs them all; an
  embedding with `max_norm` or `scale_grad_by_freq` looks at all indices;
- the index may be a tensor that takes a position more than once, so that there would be more to compute, not less;
- the index, or a name in it, means something else where the layer is called;
- the layer is hooked, replaced or handed on: a hook would see less.

Source: the `Shape` sections of `torch.nn.Linear`, `LayerNorm`, `RMSNorm`, `Embedding`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.exchange import (
    NORM,
    Pair,
    actions_of,
    function_name,
    goes_on_as_features,
    label_of,
    operand_of,
    pair_of,
    reads_as_reference,
    refusal_of,
    removed_by,
    short,
    takes_a_matrix,
)
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.sizes import LINEAR
from fuselight.fusions.sizes import arguments as arguments_of
from fuselight.fusions.writes import result_written
from fuselight.graph.classes import Layer, local_names, resolve
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import Rank, argument, index_elements, is_whole_number, literal_number, rank_of
from fuselight.graph.values import Consumption, Graph, Value

_ELEMENTWISE = frozenset(
    "relu relu6 sigmoid tanh gelu silu mish softplus softsign log_sigmoid elu celu selu leaky_relu hardswish"
    " hardsigmoid hardtanh hardshrink softshrink tanhshrink".split()
)
"""Activations without parameters: any element by itself."""

_CASTS = frozenset({"method float", "method half", "method double", "method bfloat16"})

_ELEMENTWISE_LAYERS = frozenset(
    f"torch.nn.{name}"
    for name in (
        "ReLU ReLU6 Sigmoid Tanh GELU SiLU Mish Softplus Softsign LogSigmoid ELU CELU SELU LeakyReLU Hardswish"
        " Hardsigmoid Hardtanh Hardshrink Softshrink Tanhshrink Identity"
    ).split()
)

_LINEAR = "torch.nn.Linear"
_EMBEDDING = "torch.nn.Embedding"
_NORMS = frozenset({"torch.nn.LayerNorm", "torch.nn.RMSNorm"})
_SEQUENTIAL = "torch.nn.Sequential"
_LAYERS = frozenset({_LINEAR, _EMBEDDING, _SEQUENTIAL}) | _NORMS | _ELEMENTWISE_LAYERS

_EMBEDDING_ARGUMENTS = (
    "num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse",
    "_weight", "_freeze", "device", "dtype",
)  # fmt: skip

_FUNCTIONS = frozenset("linear layer_norm rms_norm embedding".split()) | _ELEMENTWISE
_WORDS = _FUNCTIONS | {"logsigmoid"}
_KINDS = _FUNCTIONS | _CASTS

_SELECTORS = frozenset(
    {"method select", "torch.select", "method narrow", "torch.narrow", "method index_select", "torch.index_select"}
)
_SELECTING = frozenset({"select", "narrow", "index_select"})


@dataclass(frozen=True, slots=True)
class _Selection:
    """What a subscript or a method takes out of a tensor."""

    text: str
    """As the user writes it: `[:, -1]`, `.select(1, 0)`."""
    least: int
    """How many dimensions there must be for the last one to be left alone."""
    shown: int = 0
    """How many dimensions the selection itself shows."""
    assumed: tuple[str, ...] = ()
    """What must be true besides, as far as the source does not show it."""
    trimmed: tuple[tuple[ast.expr, str], ...] = ()
    """The index without the last dimension, for a tensor that lacks it."""
    spans: bool = False
    """Whether it says `:` of the last dimension, which a tensor without it has not."""
    from_end: bool = False
    """Whether it counts dimensions from the end."""
    copies: bool = True
    """Whether what is selected may be memory of its own, not a view."""


@dataclass(frozen=True, slots=True)
class _Positionwise:
    """A layer or function that works on each position by itself."""

    elementwise: bool = False
    lookup: bool = False
    """Whether its input has one dimension less: an embedding."""
    width: str | None = None
    """The size of its last dimension, as the source has it."""
    assumed: tuple[str, ...] = field(default=())


@fusion
class SelectionBehindLayer(Fusion):
    __doc__ = __doc__

    code = "FUS701"
    name = "selection-behind-layer"
    words = (frozenset({"torch"}),)
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.norm(x)
        return self.head(x[:, 0])
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.norm(x[:, 0])
        return self.head(x)
""",
            inputs=((4, 7, 16),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(16)
        self.lm_head = nn.Linear(16, 9, bias=False)

    def forward(self, x):
        logits = self.lm_head(self.norm(x))
        logits = logits[:, -1, :] / 0.7
        return torch.softmax(logits, dim=-1)
""",
            after="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(16)
        self.lm_head = nn.Linear(16, 9, bias=False)

    def forward(self, x):
        logits = self.lm_head(self.norm(x[:, -1, :]))
        logits = logits / 0.7
        return torch.softmax(logits, dim=-1)
""",
            inputs=((4, 7, 16),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(x)[:, -1]
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(x[:, -1])
""",
            inputs=((4, 7, 16),),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        # features
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        return self.fc(x)[..., :8]
""",
            "takes features",
        ),
        # features of a matrix
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        rows, features = x.shape
        return self.fc(x)[:, -1]
""",
            "takes features",
        ),
        # two selections of one output
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        x = self.norm(x)
        return x[:, 0], x[:, 1:]
""",
            "used again",
        ),
        # statistics over positions
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(7)

    def forward(self, x):
        return self.norm(x)[:, 0]
""",
            "",
        ),
        # a norm over positions too
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm((7, 16))

    def forward(self, x):
        return self.norm(x)[:, 0]
""",
            "several dimensions",
        ),
        # attention mixes positions
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0][:, 0]
""",
            "",
        ),
        # dropout draws for every element
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(16, 8), nn.Dropout(0.1))

    def forward(self, x):
        return self.mlp(x)[:, 0]
""",
            "other random numbers",
        ),
        # a position may be taken many times
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        index = torch.randint(0, 7, (100,))
        return self.fc(x)[:, index]
""",
            "more than once",
        ),
        # the index is bound behind
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        h = self.fc(x)
        last = x.size(1) - 1
        return h[:, last, :]
""",
            "bound only behind",
        ),
        # a hook would see less
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)
        self.fc.register_forward_hook(print)

    def forward(self, x):
        return self.fc(x)[:, 0, :]
""",
            "handed on",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if _WORDS.isdisjoint(scope.called) and not any(layer.kind in _LAYERS for layer in scope.applied_layers):
            return
        if ast.Subscript not in scope.signs and _SELECTING.isdisjoint(scope.names):
            return
        if reads_as_reference(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        outers = [outer for kind in ("getitem", *sorted(_SELECTORS)) for outer in graph.of_kind(kind)]
        for outer in sorted(outers, key=lambda one: one.order):
            inner = outer.inputs[0] if outer.inputs else outer.keywords.get("input")
            if inner is None or (inner.layer is None and inner.kind not in _KINDS):
                continue
            pair = pair_of(outer)
            layer = _layer(module, scope, graph, pair.inner) if pair is not None else None
            if pair is None or layer is None or _plainly_used_again(pair):
                continue
            selection = _selection(scope, graph, outer)
            if selection is not None:
                yield from self._match(module, scope, graph, pair, layer, selection)

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        pair: Pair,
        layer: _Positionwise | Refusal,
        selection: _Selection | Refusal,
    ) -> Iterator[Match]:
        places = tuple(Place(scope.statement, node) for node in pair.places)
        label = label_of(scope, pair.inner)

        def refused(reason: Refusal, text: str) -> Match:
            message = f"`{label}` computes positions that `{text}` drops"
            return Match(type(self), scope.name, places[0], message, others=places[1:], refused=reason)

        assert pair.outer.node is not None
        if isinstance(layer, Refusal) or isinstance(selection, Refusal):
            source = scope.statement.source(pair.outer.node)
            reason = layer if isinstance(layer, Refusal) else selection
            assert isinstance(reason, Refusal)
            yield refused(reason, short(source))
            return
        text = short(selection.text)
        assumed: list[str] = []
        if not layer.elementwise:
            assumed += [*layer.assumed, *selection.assumed]
            if selection.least >= _NEVER:
                yield refused(Refusal("the selection takes features, not positions", places[0]), text)
                return
            rank = _rank(graph, pair, layer)
            if rank.most is not None and rank.most < selection.least:
                yield refused(Refusal("the selection takes features, not positions", places[0]), text)
                return
            shown = max(rank.least, selection.shown)
            if shown < selection.least and not goes_on_as_features(graph, pair, layer.width):
                if _may_well_be_features(graph, pair, selection, layer.width):
                    reason = Refusal("nothing shows that the selection takes positions, not features", places[0])
                    yield refused(reason, text)
                    return
                count = _NUMBERS.get(selection.least, str(selection.least))
                assumed.insert(0, f"`{label}` gives {count} dimensions or more")
            if selection.from_end and pair.inner.kind == "linear" and not takes_a_matrix(scope, graph, pair.inner):
                assumed.append(f"the weight of `{label}` is a matrix")
        reason = refusal_of(module, scope, graph, pair)
        if reason is None and selection.copies and (layer.elementwise or pair.inner.kind == "call"):
            # Autograd may keep the layer's result: so far an index of tensors took a copy of it.
            reason = result_written(module, scope, graph, pair.outer)
        if reason is not None:
            yield refused(reason, text)
            return
        if layer.lookup and selection.spans:
            pair = replace(pair, changes=selection.trimmed)
        gone = tuple(Place(scope.statement, node) for node in removed_by(scope, pair))
        safety = Safety.NUMERICS if assumed else Safety.EXACT
        note = f" (numerics: assumes that {' and '.join(assumed)})" if assumed else ""
        yield Match(
            type(self), scope.name, places[0], f"`{label}` computes positions that `{text}` drops",
            f"Select `{text}` before `{label}`{note}", safety, (*places[1:], *gone), lambda: actions_of(scope, pair),
        )  # fmt: skip


def _rank(graph: Graph, pair: Pair, layer: _Positionwise) -> Rank:
    """How many dimensions the layer's result has: as many as its input, an embedding's one more."""
    taken = operand_of(pair.inner)
    assert taken is not None
    given = rank_of(graph, taken[0], pair.outer)
    return rank_of(graph, pair.inner, pair.outer).meet(given.plus(1) if layer.lookup else given)


def _plainly_used_again(pair: Pair) -> bool:
    """Whether the whole output is plainly needed, or another selection already tells that it is used again."""
    others = [use for use in pair.inner.uses if use.by is not pair.outer]
    if not all(use.how is Consumption.METADATA or _selects(use.by) for use in others):
        return True
    return any(use.by is not None and _selects(use.by) and use.by.order < pair.outer.order for use in others)


def _selects(value: Value | None) -> bool:
    return value is not None and (value.kind == "getitem" or value.kind in _SELECTORS)


def _may_well_be_features(graph: Graph, pair: Pair, selection: _Selection, width: str | None) -> bool:
    """Whether a selection, of a value of unknown rank, reads like one of features."""
    if selection.least >= 4 or width == "1":
        return True
    if any(use.by is not None and use.by.kind == "getitem" for use in pair.outer.uses):
        return True  # `[0][0]`: each takes a dimension
    features = int(width) if width is not None and width.isdecimal() else None
    if features is None or selection.least < 3:
        return False
    if features <= _FEW:
        return True
    node = pair.outer.node
    index = node.slice if isinstance(node, ast.Subscript) else None
    last = index.elts[-1] if isinstance(index, ast.Tuple) and index.elts else index
    if isinstance(last, ast.Slice):
        upper = literal_number(last.upper) if last.upper is not None else None
        return upper is not None and 0 < upper <= features
    number = literal_number(last) if last is not None else None
    return number is not None and 0 < number < features


_FEW = 4
"""So many features, of a literal number, are each taken by itself more often than there are positions."""


_NEVER = 99
"""More dimensions than any tensor has."""

_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


# -- the layer


def _layer(module: Module, scope: Scope, graph: Graph, value: Value) -> _Positionwise | Refusal | None:
    """What a call computes, position by position; None where it is nothing of the kind."""
    if value.layer is not None:
        node = value.node
        in_place = value.kind == "call" and value.layer.kind != _SEQUENTIAL
        if in_place or not isinstance(node, ast.Call) or len(node.args) + len(node.keywords) != 1:
            return None
        return _made(module, scope, value.layer)
    if value.kind in _CASTS:
        return _Positionwise(elementwise=True)
    if value.kind in _ELEMENTWISE:
        return _Positionwise(elementwise=True)
    if value.kind == "linear":
        return _Positionwise()
    if value.kind in ("layer_norm", "rms_norm"):
        shape = argument(value, 1, "normalized_shape")
        if shape is not None and shape.kind == "container" and len(shape.inputs) == 1:
            return _Positionwise() if shape.inputs[0].kind != "starred" else None
        return None
    if value.kind == "embedding":
        given = {*value.keywords}
        node = value.node
        plain = isinstance(node, ast.Call) and len(node.args) <= 3 and not given & {"max_norm", "scale_grad_by_freq"}
        return _Positionwise(lookup=True) if plain and function_name(module, graph, value) is not None else None
    return None


def _made(module: Module, scope: Scope, layer: Layer) -> _Positionwise | Refusal | None:
    """What a layer computes, as its constructor says."""
    made = layer.constructor
    if made is None or layer.kind not in _LAYERS or layer.unknown is not None:
        return None
    if layer.kind == _SEQUENTIAL:
        return _sequence(module, layer, made)
    return _one(module, layer, layer.kind, made)


def _one(module: Module, layer: Layer, kind: str, made: ast.Call) -> _Positionwise | Refusal | None:
    place = Place(layer.statement, made)
    if kind in _ELEMENTWISE_LAYERS:
        return _Positionwise(elementwise=True)
    if kind == _LINEAR:
        given = arguments_of(made, LINEAR)
        width = given.get("out_features") if given is not None else None
        return _Positionwise(width=ast.unparse(width) if width is not None else None)
    if kind == _EMBEDDING:
        given = arguments_of(made, _EMBEDDING_ARGUMENTS)
        if given is None:
            return Refusal(f"the constructor of `{layer.attribute}` takes `*` or `**` arguments", place)
        for name in ("max_norm", "scale_grad_by_freq"):
            node = given.get(name)
            if node is not None and not (isinstance(node, ast.Constant) and not node.value):
                return Refusal(f"`{name}` makes `{layer.attribute}` look at all indices together", place)
        width = given.get("embedding_dim")
        return _Positionwise(lookup=True, width=ast.unparse(width) if width is not None else None)
    if kind in _NORMS:
        given = arguments_of(made, NORM)
        shape = given.get("normalized_shape") if given is not None else None
        if shape is None:
            return Refusal(f"what `{layer.attribute}` normalises is not seen", place)
        if isinstance(shape, ast.Tuple | ast.List):
            if len(shape.elts) != 1 or isinstance(shape.elts[0], ast.Starred):
                return Refusal(f"`{layer.attribute}` normalises over several dimensions", place)
            return _Positionwise(width=ast.unparse(shape.elts[0]))
        width = ast.unparse(shape)
        assumed = () if _is_number(module, layer, shape) else (f"`{width}` is one number",)
        return _Positionwise(width=width, assumed=assumed)
    return None


def _sequence(module: Module, layer: Layer, made: ast.Call) -> _Positionwise | Refusal | None:
    """A `nn.Sequential` written out, of layers that all work on each position by itself."""
    local = local_names(layer.init, layer.statement) | layer.owner.hidden
    if not made.args or made.keywords:
        return None
    parts: list[_Positionwise] = []
    for element in made.args:
        kind = resolve(element.func, module.names, local) if isinstance(element, ast.Call) else None
        if kind is None or not isinstance(element, ast.Call):
            return None
        if "Dropout" in kind and kind.startswith("torch.nn.") and parts:
            return Refusal(
                f"a dropout in `{layer.attribute}` draws other random numbers for fewer elements",
                Place(layer.statement, element),
            )
        part = _one(module, layer, kind, element) if kind in _LAYERS and kind != _SEQUENTIAL else None
        if part is None or isinstance(part, Refusal) or (part.lookup and parts) or _in_place_first(element, parts):
            return part if isinstance(part, Refusal) else None
        parts.append(part)
    width = next((part.width for part in reversed(parts) if part.width is not None), None)
    assumed = tuple(dict.fromkeys(one for part in parts for one in part.assumed))
    return _Positionwise(all(part.elementwise for part in parts), parts[0].lookup, width, assumed)


def _in_place_first(element: ast.Call, before: list[_Positionwise]) -> bool:
    """Whether an element writes to what the whole `nn.Sequential` is given."""
    asked = bool(element.keywords) and any(one.arg == "inplace" for one in element.keywords)
    return not any(not part.elementwise for part in before) and (asked or _first_is_true(element))


def _first_is_true(element: ast.Call) -> bool:
    return any(isinstance(one, ast.Constant) and one.value is True for one in element.args)


def _is_number(module: Module, layer: Layer, shape: ast.expr) -> bool:
    """Whether the source shows a size to be one number, not a shape: by what else it is used for where it is made."""
    if isinstance(shape, ast.Constant):
        return type(shape.value) is int
    if isinstance(shape, ast.BinOp):
        return isinstance(shape.op, ast.Mult | ast.FloorDiv | ast.Sub | ast.Mod | ast.Pow)
    if isinstance(shape, ast.Call):
        return isinstance(shape.func, ast.Name) and shape.func.id in ("int", "len", "round", "sum")
    text = ast.unparse(shape)
    sized = (called.node for called in module.mentions.calls_of(*sorted(_SIZED))) if "." in text else ()
    if any(ast.unparse(given) == text for call in sized for given in call.args[:2]):
        return True  # `config.hidden_size` is one thing in all classes of a file
    for node in ast.walk(layer.owner.node):
        match node:
            case ast.arg() if node.arg == text and node.annotation is not None:
                if ast.unparse(node.annotation) == "int":
                    return True
            case ast.Call(func=func):
                last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                given = [*node.args[:2], *(one.value for one in node.keywords if one.arg in _SIZES)]
                if last in _SIZED and any(ast.unparse(one) == text for one in given):
                    return True
            case ast.BinOp() if isinstance(node.op, ast.FloorDiv | ast.Div | ast.Mod):
                if text in (ast.unparse(node.left), ast.unparse(node.right)):
                    return True
            case _:
                pass
    arguments = layer.init.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(zip([one.arg for one in positional[::-1]], arguments.defaults[::-1], strict=False))
    defaults.update(
        {one.arg: given for one, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if given}
    )
    default = defaults.get(text)
    return isinstance(default, ast.Constant) and type(default.value) is int


_SIZED = frozenset({"Linear", "Embedding", "Conv1d", "Conv2d", "Conv3d", "MultiheadAttention", "LSTM", "GRU"})
_SIZES = frozenset("in_features out_features embedding_dim in_channels out_channels embed_dim input_size".split())


# -- the selection


def _selection(scope: Scope, graph: Graph, value: Value) -> _Selection | Refusal | None:
    if value.kind == "getitem":
        return _subscript(scope, graph, value)
    return _selected(scope, value)


def _selected(scope: Scope, value: Value) -> _Selection | Refusal | None:
    """`x.select(1, 0)`, `x.narrow(1, 0, n)`, `torch.index_select(x, 1, i)`."""
    given = argument(value, 1, "dim")
    dim = given.constant if given is not None else None
    node = value.node
    if type(dim) is not int or not isinstance(node, ast.Call):
        return None
    taken = operand_of(value)
    hole = taken[1] if taken is not None else None
    others = [one for one in (*node.args, *(one.value for one in node.keywords)) if one is not hole]
    listed = ", ".join(scope.statement.source(one) for one in others)
    name = value.kind.rpartition(".")[2].rpartition(" ")[2]
    text = f"{name}({listed})"
    if "index_select" in value.kind:
        index = argument(value, 2, "index")
        if index is None or not _selects_once(index):
            place = Place(scope.statement, node)
            return Refusal("the index is a tensor that may take a position more than once", place)
    if dim == -1:
        return _Selection(text, _NEVER)
    copies = "index_select" in value.kind
    if dim >= 0:
        return _Selection(text, dim + 2, dim + 1, copies=copies)
    assert given is not None
    # Of a tensor that lacks the last dimension, one less from the end.
    shorter = ((given.node, str(dim + 1)),) if given.node is not None else ()
    return _Selection(text, -dim, -dim, trimmed=shorter, spans=True, from_end=True, copies=copies)


def _subscript(scope: Scope, graph: Graph, value: Value) -> _Selection | Refusal | None:
    node = value.node
    assert isinstance(node, ast.Subscript)
    statement = scope.statement
    text = f"[{' '.join(statement.source(node.slice).split())}]"
    place = Place(statement, node)
    elements = list(index_elements(value))
    nodes = [one for _, one in elements]
    dots = [at for at, one in enumerate(nodes) if isinstance(one, ast.Constant) and one.value is ...]
    added = any(isinstance(one, ast.Constant) and one.value is None for one in nodes)
    if added or len(dots) > 1 or "#" in statement.source(node.slice):
        return None
    whole = [isinstance(one, ast.Slice) and not (one.lower or one.upper or one.step) for one in nodes]
    kept = [at for at in range(len(nodes)) if not whole[at] and at not in dots]
    if not kept:
        return None
    assumed: list[str] = []
    tensors = 0
    copies = False
    widths: list[int] = []
    """How many dimensions each element takes."""
    for at, (element, one) in enumerate(elements):
        taken = 1
        if at in dots:
            taken = 0
        elif not (isinstance(one, ast.Slice) or is_whole_number(element)):
            assert element is not None
            source = statement.source(one)
            kind = _kind_of_index(graph, element)
            copies = copies or kind != "number"
            tensors += kind == "tensor" or (kind == "unknown" and not _named_a_number(one))
            if kind == "mask":
                rank = rank_of(graph, element, value)
                taken = rank.exact or 1
                if rank.exact is None:
                    assumed.append(f"`{source}` is a mask of leading dimensions")
            elif kind == "unknown":
                assumed.append(f"`{source}` is an index of one dimension")
        widths.append(taken)
    arange = any(element is not None and element.kind == "torch.arange" for element, _ in elements)
    if tensors and not arange:
        return Refusal("the index may be a tensor, which takes a position more than once", place)
    if arange:
        assumed.clear()  # beside one position of each row stand positions
    total = sum(widths)
    if dots and dots[0] < len(nodes) - 1:
        if not whole[-1]:
            return _Selection(text, _NEVER)
        trimmed = _trim(scope, value, nodes, kept, dots[0])
        return _Selection(text, 0, total, tuple(assumed), trimmed, True, from_end=True, copies=copies)
    reach = sum(widths[: kept[-1] + 1])
    spans = len(nodes) - 1 > kept[-1] and not dots
    trimmed = _trim(scope, value, nodes, kept, None)
    return _Selection(text, reach + 1, total, tuple(assumed), trimmed, spans, copies=copies)


def _trim(
    scope: Scope, value: Value, nodes: list[ast.expr], kept: list[int], dots: int | None
) -> tuple[tuple[ast.expr, str], ...]:
    """The index without what it says of the last dimension."""
    node = value.node
    assert isinstance(node, ast.Subscript)
    end = len(nodes) - 1 if dots is not None else kept[-1] + 1
    source = ", ".join(scope.statement.source(one) for one in nodes[:end])
    return ((node.slice, source),)


def _kind_of_index(graph: Graph, element: Value | None) -> str:
    """Whether an element of an index is a mask, a tensor of positions, or may be anything."""
    if element is None:
        return "number"
    if is_whole_number(element):
        return "number"
    node = element.node
    if element.kind in ("compare", "method bool", "method logical_not", "method isnan", "torch.isnan"):
        return "mask"
    if element.kind.startswith(("torch.logical_", "method logical_", "torch.is", "torch.eq", "torch.ne")):
        return "mask"
    if element.kind in ("method eq", "method ne", "method lt", "method le", "method gt", "method ge"):
        return "mask"
    dtype = element.keywords.get("dtype")
    if dtype is not None and dtype.path == "torch.bool":
        return "mask"
    if element.kind == "method to" and any(one.path == "torch.bool" for one in element.inputs[1:]):
        return "mask"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return "mask"
    if element.kind == "operator" and isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        kinds = {_kind_of_index(graph, one) for one in element.inputs}
        return "mask" if kinds == {"mask"} else "unknown"
    if element.kind in ("torch.arange", "argmax", "argmin", "container", "torch.tensor", "torch.nonzero"):
        return "tensor"
    if element.kind == "parameter" and _annotated(graph, element.path or "") == "int":
        return "number"
    if element.kind in ("parameter", "attribute", "global", "getitem", "unpack", "joined"):
        name = element.path or ""
        return "mask" if "mask" in name.rpartition(".")[2].lower() else "unknown"
    if element.kind in ("add", "sub", "mul", "method long", "method int", "sum", "method clamp", "clamp"):
        return "unknown"
    return "unknown" if element.kind.startswith("method ") else "tensor"


def _annotated(graph: Graph, name: str) -> str | None:
    """What a parameter is annotated with."""
    given = graph.function.args
    for one in (*given.posonlyargs, *given.args, *given.kwonlyargs):
        if one.arg == name and one.annotation is not None:
            return ast.unparse(one.annotation)
    return None


def _selects_once(index: Value) -> bool:
    """Whether an index surely holds no position twice."""
    return index.kind in ("torch.arange", "torch.nonzero") or (index.kind == "torch.tensor" and len(index.inputs) == 1)


_NUMBERED = frozenset("i j k t n step timestep pos position start end last num n_prefix num_prefix_tokens".split())


def _named_a_number(node: ast.expr) -> bool:
    """Whether an index reads as a number: `i`, `idx + 1`, `step`."""
    names = [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]
    return bool(names) and all(name in _NUMBERED for name in names)
