"""How many dimensions a value has, as the source shows it: by how it was made, and by what surely is done with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fuselight.graph.values import Block, Graph, Use, Value


@dataclass(frozen=True, slots=True)
class Rank:
    """The number of dimensions of a tensor: at least `least`, and at most `most` where that is known."""

    least: int = 0
    most: int | None = None

    @property
    def exact(self) -> int | None:
        return self.least if self.least == self.most else None

    def plus(self, change: int) -> Rank:
        return Rank(max(self.least + change, 0), None if self.most is None else max(self.most + change, 0))

    def meet(self, other: Rank) -> Rank:
        """What both say. Of two that contradict each other, the first."""
        least = max(self.least, other.least)
        most = min((one for one in (self.most, other.most) if one is not None), default=None)
        return self if most is not None and least > most else Rank(least, most)


UNKNOWN = Rank()


def rank_of(graph: Graph, value: Value, at: Value | None = None) -> Rank:
    """How many dimensions `value` has whenever `at` (else it itself) is computed.

    What is done with a value shows its rank only where it surely is done: in the block of `at` or one around it, and
    not behind a `return` that may come first.
    """
    return _Ranks(graph, at if at is not None else value).of(value)


def surely_runs(graph: Graph, block: Block, order: int, at: Value) -> bool:
    """Whether what `block` holds at `order` is executed, without an exception that is caught, whenever `at` is."""
    around: Block | None = at.block
    while around is not None and around is not block:
        around = around.parent
    if around is None:
        return False
    return order <= at.order or not (block.guarded or graph.exits_between(at.order, order))


def dimensions(value: Value, position: int = 1, name: str = "dim") -> tuple[int, ...] | None:
    """The literal dimensions that a call is given, as one number or several; None where they are not literal.

    `position` counts the tensor itself as 0.
    """
    given = argument(value, position, name)
    if given is None:
        return None
    elements = given.inputs if given.kind == "container" else (given,)
    found = [one.constant for one in elements]
    if not all(type(one) is int for one in found):
        return None
    return tuple(one for one in found if type(one) is int)


def argument(value: Value, position: int, name: str) -> Value | None:
    """An argument of a call by its position (the tensor itself is 0) or its name."""
    if name in value.keywords:
        return value.keywords[name]
    return value.inputs[position] if len(value.inputs) > position else None


def source_of(value: Value) -> Value | None:
    """The tensor that a call, a method or a subscript works on."""
    if value.inputs and value.inputs[0].kind != "starred":
        return value.inputs[0]
    return value.keywords.get("input") if not value.inputs else None


_SAME = frozenset(
    "neg sigmoid tanh relu gelu silu softmax log_softmax softplus softsign log_sigmoid elu celu selu relu6 leaky_relu"
    " hardswish hardsigmoid hardtanh hardshrink softshrink tanhshrink threshold mish prelu exp exp2 expm1 log log1p"
    " log2 log10 erf abs sign sqrt rsqrt square reciprocal sin cos tan clamp masked_fill layer_norm rms_norm"
    " group_norm batch_norm instance_norm normalize dropout cumsum tril triu swapaxes permute zeros_like ones_like"
    " conv1d conv2d conv3d max_pool2d avg_pool2d adaptive_avg_pool2d interpolate pad contiguous clone gather".split()
)
"""Kinds whose result has as many dimensions as their first input."""

_SAME_METHODS = frozenset(
    "contiguous clone detach to float half double bfloat16 type long int bool cpu cuda type_as masked_fill clamp clip"
    " narrow index_select roll flip repeat_interleave cumprod index_add index_fill scatter scatter_add"
    " view_as_same nan_to_num round floor ceil movedim moveaxis logical_not softplus".split()
)
_SAME_FUNCTIONS = frozenset(
    "torch.clone torch.narrow torch.index_select torch.roll torch.flip torch.nan_to_num"
    " torch.logical_not torch.movedim torch.rand_like torch.randn_like torch.full_like torch.empty_like".split()
)
_SAME_LAYERS = frozenset(
    f"torch.nn.{name}"
    for name in (
        "Linear LayerNorm RMSNorm Identity LeakyReLU ELU CELU Hardtanh Softplus Threshold PReLU RReLU GELU Softmax"
        " LogSoftmax Hardshrink Softshrink GroupNorm BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d"
        " InstanceNorm3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d MaxPool1d MaxPool2d"
        " MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d"
        " AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d Upsample UpsamplingNearest2d UpsamplingBilinear2d"
        " ZeroPad1d ZeroPad2d ZeroPad3d ReflectionPad1d ReflectionPad2d ReplicationPad2d PixelShuffle PixelUnshuffle"
        " Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout SyncBatchNorm ReLU ReLU6 SiLU SELU"
        " Sigmoid Tanh Mish Hardswish Hardsigmoid LogSigmoid"
    ).split()
)

_BROADCAST = frozenset(
    "add sub mul div pow maximum minimum where lerp addcmul logaddexp floor_divide remainder compare operator".split()
)

_REDUCTIONS = frozenset("mean sum prod var std amax amin argmax argmin logsumexp norm vector_norm".split())

_FILLED = frozenset(f"torch.{name}" for name in "zeros ones empty rand randn full".split())

_PYTHON_NUMBERS = frozenset({"metadata", "constant"})

_TUPLES = frozenset({"split", "chunk"})
"""Kinds that yield a tuple of tensors with as many dimensions as their input."""

_ACCEPTED: dict[str, tuple[int, int | None]] = {
    "torch.nn.BatchNorm1d": (2, 3), "torch.nn.BatchNorm2d": (4, 4), "torch.nn.BatchNorm3d": (5, 5),
    "torch.nn.GroupNorm": (2, None), "torch.nn.Linear": (1, None), "torch.nn.LayerNorm": (1, None),
    "torch.nn.LSTM": (2, 3), "torch.nn.GRU": (2, 3), "torch.nn.RNN": (2, 3), "torch.nn.MultiheadAttention": (2, 3),
    "torch.nn.PixelShuffle": (3, None), "torch.nn.PixelUnshuffle": (3, None), "torch.nn.Upsample": (3, 5),
    "torch.nn.UpsamplingNearest2d": (4, 4), "torch.nn.UpsamplingBilinear2d": (4, 4), "interpolate": (3, 5),
    "bmm": (3, 3), "mm": (2, 2), "linear": (1, None),
}  # fmt: skip
"""How many dimensions an operation takes. Source: the `Shape` sections of the reference, torch 2.13."""

for _number in (1, 2, 3):
    _with = (_number + 1, _number + 2)
    for _layer in (
        "Conv ConvTranspose MaxPool AvgPool AdaptiveAvgPool AdaptiveMaxPool InstanceNorm ZeroPad ReflectionPad"
        " ReplicationPad LazyConv"
    ).split():
        _ACCEPTED[f"torch.nn.{_layer}{_number}d"] = _with
    for _function in ("conv", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"):
        _ACCEPTED[f"{_function}{_number}d"] = _with
        _ACCEPTED[f"torch.nn.functional.{_function}{_number}d"] = _with

_AT_DIMENSION = {
    "softmax": 1, "log_softmax": 1, "cumsum": 1, "chunk": 2, "split": 2, "method select": 1, "torch.select": 1,
    "method narrow": 1, "torch.narrow": 1, "method index_select": 1, "torch.index_select": 1, "gather": 1, "unbind": 1,
    "squeeze": 1, "topk": 2,
    "method repeat_interleave": 2, "method argsort": 1, "method sort": 1, "method unflatten": 1,
}  # fmt: skip
"""Where a dimension stands among the arguments."""

RESHAPED_IN_PLACE = frozenset(
    "squeeze_ unsqueeze_ transpose_ swapaxes_ swapdims_ t_ resize_ resize_as_ set_ as_strided_".split()
)
"""Methods that give a tensor another shape where it stands."""


class _Ranks:
    def __init__(self, graph: Graph, at: Value) -> None:
        self.graph = graph
        self.at = at
        self.made: dict[int, Rank] = {}
        self.shown: dict[int, Rank] = {}

    def of(self, value: Value) -> Rank:
        if any(_reshapes_in_place(use) for use in value.uses):
            return UNKNOWN
        return self.by_making(value).meet(self.by_use(value))

    # -- how a value is made

    def by_making(self, value: Value) -> Rank:
        known = self.made.get(value.order)
        if known is None:
            self.made[value.order] = UNKNOWN  # what a loop hands on to itself says nothing
            known = self._made(value)
            accepted = _ACCEPTED.get(value.kind)
            if accepted is not None and (value.kind in _SAME_LAYERS or value.kind in _SAME or "pool" in value.kind):
                known = known.meet(Rank(*accepted))
            self.made[value.order] = known
        return known

    def _made(self, value: Value) -> Rank:
        kind = value.kind
        source = source_of(value)
        if kind in _PYTHON_NUMBERS:
            return Rank(0, 0)
        if kind == "joined":
            return self._joined(value)
        if kind in _BROADCAST:
            return self._broadcast(value.inputs)
        if kind.startswith("in-place "):
            return self.of(value.inputs[0])
        if kind in ("matmul", "mm", "bmm", "einsum"):
            return self._product(value)
        if kind == "permute":
            return (self.of(source) if source is not None else UNKNOWN).meet(_listed(value))
        if kind in ("cat", "stack"):
            return self._together(value)
        if kind in ("reshape", "broadcast_to", "method view", "method expand", "method repeat") or kind in _FILLED:
            return _listed(value, 0 if kind in _FILLED else 1)
        if kind == "torch.arange":
            return Rank(1, 1)
        if kind == "einops.rearrange":
            return _side_of_pattern(value, 1)
        if kind == "unpack":
            return self._unpacked(value)
        if source is None:
            return UNKNOWN
        if kind == "getitem":
            return self._element(value)
        if kind == "attribute":
            same = isinstance(value.node, ast.Attribute) and value.node.attr in ("T", "mT", "H", "mH", "data")
            return self.of(source) if same else UNKNOWN
        if kind in _SAME or kind in _SAME_LAYERS or kind in _SAME_FUNCTIONS:
            return self.of(source)
        if kind.startswith("method ") and kind[7:] in _SAME_METHODS:
            return self.of(source)
        change = self._changed(value, source)
        return change if change is not None else UNKNOWN

    def _changed(self, value: Value, source: Value) -> Rank | None:
        """The rank of an operation that takes dimensions away, or adds one."""
        match value.kind:
            case "unsqueeze" | "torch.nn.Embedding" | "embedding" | "one_hot":
                return self.of(source).plus(1)
            case "method unflatten" | "torch.nn.Unflatten":
                return Rank(self.of(source).least + 1)
            case "method select" | "torch.select":
                return self.of(source).plus(-1)
            case "linear":  # a weight of one dimension takes the last one away
                before = self.of(source)
                return Rank(max(before.least - 1, 0), before.most)
            case "squeeze":
                before = self.of(source)
                dims = dimensions(value)
                return Rank(max(before.least - len(dims), 0) if dims is not None else 0, before.most)
            case "flatten" | "torch.nn.Flatten":
                return self._flattened(value, source)
            case kind if kind in _REDUCTIONS:
                return self._reduced(value, source)
            case _:
                return None

    def _joined(self, value: Value) -> Rank:
        """Of a branch, what all its arms say. What a loop or a `try` leaves in a name may be what no arm shows."""
        if not value.inputs or isinstance(value.statement, ast.For | ast.AsyncFor | ast.While | ast.Try | ast.TryStar):
            return UNKNOWN
        arms = [self.by_making(one) for one in value.inputs]
        mosts = [one.most for one in arms]
        most = max((one for one in mosts if one is not None), default=None)
        return Rank(min(one.least for one in arms), None if None in mosts else most)

    def _broadcast(self, inputs: Iterable[Value]) -> Rank:
        ranks = [self.of(one) for one in inputs]
        if not ranks:
            return UNKNOWN
        mosts = [one.most for one in ranks]
        most = max((one for one in mosts if one is not None), default=None)
        return Rank(max(one.least for one in ranks), None if None in mosts else most)

    def _product(self, value: Value) -> Rank:
        if value.kind in ("mm", "bmm"):
            rank = 2 if value.kind == "mm" else 3
            return Rank(rank, rank)
        if value.kind == "einsum":
            terms = _einsum(value)
            return Rank(terms[-1], terms[-1]) if terms is not None else UNKNOWN
        ranks = [self.of(one) for one in value.inputs]
        return self._broadcast(value.inputs) if all(one.least >= 2 for one in ranks) else UNKNOWN

    def _together(self, value: Value) -> Rank:
        given = argument(value, 0, "tensors")
        if given is None or given.kind != "container" or any(one.kind == "starred" for one in given.inputs):
            return UNKNOWN
        rank = UNKNOWN
        for one in given.inputs:
            rank = rank.meet(self.of(one))
        return rank.plus(1) if value.kind == "stack" else rank

    def _unpacked(self, value: Value) -> Rank:
        whole = value.inputs[0]
        if shape_of(whole) is not None or (whole.kind == "getitem" and shape_of(whole.inputs[0]) is not None):
            return Rank(0, 0)
        if whole.kind == "builtin" and isinstance(whole.node, ast.Call) and _name(whole.node.func) == "range":
            return Rank(0, 0)
        if whole.kind in _TUPLES and whole.inputs:
            return self.of(whole.inputs[0])
        if whole.kind == "unbind" and whole.inputs:
            return self.of(whole.inputs[0]).plus(-1)
        if whole.kind in ("torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN") and value.index == 0 and whole.inputs:
            return self.of(whole.inputs[0])
        return UNKNOWN

    def _element(self, value: Value) -> Rank:
        base = value.inputs[0]
        if shape_of(base) is not None:
            return Rank(0, 0) if value.inputs[1].constant is not None else UNKNOWN
        if base.kind in _TUPLES and base.inputs:
            return self.of(base.inputs[0]) if type(value.inputs[1].constant) is int else UNKNOWN
        if base.kind in ("container", "unbind", "topk", "opaque", "call", "instance"):
            return UNKNOWN
        change = 0
        for element, node in index_elements(value):
            if isinstance(node, ast.Slice) or _is_ellipsis(node):
                continue
            if isinstance(node, ast.Constant) and node.value is None:
                change += 1
            elif is_whole_number(element):
                change -= 1
            else:
                return UNKNOWN
        return self.of(base).plus(change)

    def _flattened(self, value: Value, source: Value) -> Rank:
        if value.kind == "torch.nn.Flatten":
            start, end = _constructor_numbers(value, ("start_dim", 1), ("end_dim", -1))
        else:
            start = _number_of(argument(value, 1, "start_dim"), 0)
            end = _number_of(argument(value, 2, "end_dim"), -1)
        if start is None or end is None:
            return UNKNOWN
        if start >= 0 and end == -1:
            return Rank(start + 1, start + 1)
        if (start >= 0) == (end >= 0):
            return self.of(source).plus(start - end)
        return UNKNOWN

    def _reduced(self, value: Value, source: Value) -> Rank:
        before = self.of(source)
        dims = dimensions(value, 2 if value.kind in ("norm", "vector_norm") else 1)
        kept = argument(value, 2, "keepdim")
        if "keepdim" not in value.keywords and value.kind in ("norm", "vector_norm", "var", "std"):
            kept = None
        keeps = kept.constant if kept is not None else False
        if dims is None:
            named = argument(value, 1, "dim") is not None
            return Rank(0, before.most) if named or kept is not None else Rank(0, 0)
        if keeps is True:
            return before
        if keeps is False:
            return before.plus(-len(dims))
        return Rank(max(before.least - len(dims), 0), before.most)

    # -- what is done with a value

    def by_use(self, value: Value) -> Rank:
        known = self.shown.get(value.order)
        if known is None:
            self.shown[value.order] = UNKNOWN
            known = UNKNOWN
            for use in value.uses:
                if use.by is not None and surely_runs(self.graph, use.by.block, use.by.order, self.at):
                    known = known.meet(self._used(value, use.by))
            self.shown[value.order] = known
        return known

    def _used(self, value: Value, by: Value) -> Rank:
        kind = by.kind
        if kind == "container":
            return self._in_container(by)
        if kind == "einsum":
            terms = _einsum(by)
            positions = [at for at, one in enumerate(by.inputs[1:]) if one is value]
            return Rank(terms[positions[0]], terms[positions[0]]) if terms is not None and positions else UNKNOWN
        if kind in ("mm", "bmm"):
            return Rank(*_ACCEPTED[kind])
        if source_of(by) is not value:
            return UNKNOWN
        found = UNKNOWN
        accepted = _ACCEPTED.get(kind)
        if accepted is not None:
            found = found.meet(Rank(*accepted))
        if kind == "einops.rearrange":
            return _side_of_pattern(by, 0)
        if shape_of(by) is value:
            return self._shape_read(by)
        if kind == "metadata" and len(by.inputs) == 2:
            return _reaches(by.inputs[1].constant)
        if kind == "permute":
            found = found.meet(_listed(by))
        elif kind == "swapaxes":
            for one in by.inputs[1:]:
                found = found.meet(_reaches(one.constant))
        elif kind == "getitem":
            taken = sum(
                isinstance(node, ast.Slice) or (is_whole_number(element) and not _is_ellipsis(node))
                for element, node in index_elements(by)
            )
            found = found.meet(Rank(taken))
        elif kind == "flatten":
            for at, name in ((1, "start_dim"), (2, "end_dim")):
                given = argument(by, at, name)
                found = found.meet(_reaches(given.constant if given is not None else None))
        elif kind == "unsqueeze":
            given = argument(by, 1, "dim")
            if given is not None and type(given.constant) is int:
                found = found.meet(Rank(given.constant if given.constant >= 0 else -given.constant - 1))
        elif kind in _REDUCTIONS or kind in _AT_DIMENSION:
            at = 2 if kind in ("norm", "vector_norm") else _AT_DIMENSION.get(kind, 1)
            for one in dimensions(by, at) or ():
                found = found.meet(_reaches(one))
        if kind in _SAME or kind in _SAME_LAYERS or (kind.startswith("method ") and kind[7:] in _SAME_METHODS):
            found = found.meet(self.by_use(by))
        return found

    def _in_container(self, container: Value) -> Rank:
        found = UNKNOWN
        for use in container.uses:
            by = use.by
            if (
                by is None
                or by.kind not in ("cat", "stack")
                or not surely_runs(self.graph, by.block, by.order, self.at)
            ):
                continue
            if by.kind == "cat":
                for one in dimensions(by) or ():
                    found = found.meet(_reaches(one))
                found = found.meet(self.by_use(by))
        return found

    def _shape_read(self, shape: Value) -> Rank:
        """What `a, b, c = x.shape` and `x.shape[2]` show of `x`."""
        found = UNKNOWN
        for use in shape.uses:
            by = use.by
            if by is None or not surely_runs(self.graph, by.block, by.order, self.at):
                continue
            if by.kind == "getitem":
                found = found.meet(_reaches(by.inputs[1].constant))
                cut = by.node.slice if isinstance(by.node, ast.Subscript) else None
                if isinstance(cut, ast.Slice):
                    found = found.meet(self._slice_read(by, cut))
            elif by.kind == "unpack":
                found = found.meet(_unpacked_into(by, 0))
        return found

    def _slice_read(self, part: Value, cut: ast.Slice) -> Rank:
        """`h, w = x.shape[2:]`, `b, c = x.shape[:2]`."""
        found = UNKNOWN
        for use in part.uses:
            if use.by is None or use.by.kind != "unpack" or cut.step is not None:
                continue
            if not surely_runs(self.graph, use.by.block, use.by.order, self.at):
                continue
            lower = cut.lower.value if isinstance(cut.lower, ast.Constant) else None
            if type(lower) is int and cut.upper is None:
                found = found.meet(_unpacked_into(use.by, lower))
            else:
                found = found.meet(Rank(_unpacked_into(use.by, 0).least))
        return found


def index_elements(value: Value) -> Iterator[tuple[Value | None, ast.expr]]:
    """The elements of a subscript's index with their nodes; of a slice there is no value."""
    node = value.node
    assert isinstance(node, ast.Subscript)
    index = value.inputs[1]
    if isinstance(node.slice, ast.Tuple) and index.kind == "container":
        yield from zip(index.inputs, node.slice.elts, strict=True)
    else:
        yield index, node.slice


def is_whole_number(value: Value | None) -> bool:
    """Whether a value is surely a Python integer: a literal, a size, what `range` yields, sums of these."""
    if value is None:
        return False
    if type(value.constant) is int:
        return True
    if value.kind == "metadata":
        return len(value.inputs) == 2 or (isinstance(value.node, ast.Call) and not value.node.args and _counts(value))
    if value.kind in ("add", "sub", "mul", "operator", "neg", "joined"):
        return bool(value.inputs) and value.kind != "joined" and all(map(is_whole_number, value.inputs))
    if value.kind == "builtin" and isinstance(value.node, ast.Call):
        return _name(value.node.func) in ("int", "len")
    if value.kind == "unpack" and value.inputs:
        whole = value.inputs[0]
        if whole.kind == "builtin" and isinstance(whole.node, ast.Call) and _name(whole.node.func) == "range":
            return True
        return shape_of(whole) is not None or (whole.kind == "getitem" and shape_of(whole.inputs[0]) is not None)
    if value.kind == "getitem" and value.inputs:
        return shape_of(value.inputs[0]) is not None and is_whole_number(value.inputs[1])
    return False


def _counts(value: Value) -> bool:
    func = value.node.func if isinstance(value.node, ast.Call) else None
    return isinstance(func, ast.Attribute) and func.attr in ("dim", "ndimension", "numel", "nelement")


def _name(func: ast.expr) -> str | None:
    return func.id if isinstance(func, ast.Name) else None


def shape_of(value: Value) -> Value | None:
    """The tensor whose whole shape a value is: `x.shape`, `x.size()`."""
    if value.kind == "attribute" and isinstance(value.node, ast.Attribute) and value.node.attr == "shape":
        return value.inputs[0]
    if value.kind == "metadata" and len(value.inputs) == 1 and isinstance(value.node, ast.Call):
        func = value.node.func
        if isinstance(func, ast.Attribute) and func.attr == "size" and not value.node.keywords:
            return value.inputs[0]
    return None


def _reaches(dim: object) -> Rank:
    """What a literal dimension shows."""
    if type(dim) is not int:
        return UNKNOWN
    return Rank(dim + 1 if dim >= 0 else -dim)


def _unpacked_into(part: Value, before: int) -> Rank:
    """What an unpacking of the sizes from `before` on shows, by the number of its targets."""
    statement = part.statement
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    whole = part.inputs[0].node
    if len(targets) != 1 or not isinstance(statement, ast.Assign) or statement.value is not whole:
        return UNKNOWN
    target = targets[0]
    if not isinstance(target, ast.Tuple | ast.List):
        return UNKNOWN
    stars = sum(isinstance(one, ast.Starred) for one in target.elts)
    if before < 0:
        return Rank(len(target.elts) - stars)
    count = before + len(target.elts) - stars
    return Rank(count, None if stars else count)


def _listed(value: Value, skipped: int = 1) -> Rank:
    """The rank that a list of sizes or dimensions shows: as many as there are."""
    given = value.inputs[skipped:]
    if len(given) == 1 and given[0].kind == "container":
        given = given[0].inputs
    elif len(given) == 1 and not is_whole_number(given[0]) and given[0].kind != "starred":
        return UNKNOWN  # a tuple, perhaps
    if not given:
        named = next((one for name, one in value.keywords.items() if name in ("shape", "size", "dims")), None)
        if named is None or named.kind != "container":
            return UNKNOWN
        given = named.inputs
    if value.kind == "torch.full":
        return UNKNOWN if value.inputs[:1] and value.inputs[0].kind != "container" else _length(value.inputs[0].inputs)
    return _length(given)


def _length(given: tuple[Value, ...]) -> Rank:
    stars = sum(one.kind == "starred" for one in given)
    return Rank(len(given) - stars, None if stars else len(given))


def _number_of(value: Value | None, default: int) -> int | None:
    if value is None:
        return default
    return value.constant if type(value.constant) is int else None


def _constructor_numbers(value: Value, *wanted: tuple[str, int]) -> tuple[int | None, ...]:
    """Literal arguments of the constructor of the layer that is called, in their order."""
    call = value.layer.constructor if value.layer is not None else None
    found: list[int | None] = []
    for at, (name, default) in enumerate(wanted):
        node: ast.expr | None = None
        if call is not None:
            node = call.args[at] if len(call.args) > at else None
            node = next((one.value for one in call.keywords if one.arg == name), node)
        found.append(default if node is None else literal_number(node))
    return tuple(found)


def literal_number(node: ast.expr | None) -> int | None:
    """The integer that an expression writes out, with its sign."""
    match node:
        case ast.Constant(value=int() as number) if type(number) is int:
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)) if type(number) is int:
            return -number
        case _:
            return None


def _einsum(value: Value) -> list[int] | None:
    """How many dimensions each operand of an einsum has, and its result."""
    equation = value.inputs[0].constant if value.inputs else None
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return None
    left, _, right = equation.replace(" ", "").partition("->")
    return [len(term) for term in (*left.split(","), right)]


def _side_of_pattern(value: Value, side: int) -> Rank:
    """How many axes an einops pattern has on its left (0) or right (1) side."""
    pattern = argument(value, 1, "pattern")
    text = pattern.constant if pattern is not None else None
    if not isinstance(text, str) or text.count("->") != 1 or "..." in text or "…" in text:
        return UNKNOWN
    axes = len(re.sub(r"\([^()]*\)", " group ", text.split("->")[side]).split())
    return Rank(axes, axes)


def _reshapes_in_place(use: Use) -> bool:
    func = use.by.node.func if use.by is not None and isinstance(use.by.node, ast.Call) else None
    return isinstance(func, ast.Attribute) and func.attr in RESHAPED_IN_PLACE


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


__all__ = ["RESHAPED_IN_PLACE", "UNKNOWN", "Rank", "argument", "dimensions", "index_elements", "is_whole_number",
           "literal_number", "rank_of", "shape_of", "source_of", "surely_runs"]  # fmt: skip
