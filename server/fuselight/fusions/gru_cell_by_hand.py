"""A GRU cell written out: linear layers, three gates and the new state, as one `nn.GRUCell`.

Six linear layers, two a gate, or two layers of three times the width whose output is cut into the gates: whatever the
names, `n = tanh(W x + b + r * (U h + b'))` and `h' = (1 - z) * n + z * h` with `r` and `z` a sigmoid of `W x + U h` is
what `nn.GRUCell` computes, in two matrix products and one pointwise step.

## What it saves
Kernel launches, and reads of the input and the state. On a CPU, six layers of 128 to 256 on 32 rows as one cell: 1.27x
forward, 1.12x forward and backward; a quarter more is kept for the backward pass (0.16 MB become 0.20 MB).

## Fix safety
`numerics`: a cell takes matrices of one batch size (or vectors), which the source does not show. Linear layers also
take more dimensions and broadcast a state of one row over a batch; where that happened the cell raises an error. For
matrices the function is the same, with the same gradients. The rows of the layers, in torch's order of gates (reset,
update, new), become the parameters of the cell. The edit adds a module-level function and registers it with
`register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict` (`from_pretrained` of transformers and
diffusers, safetensors loops, `torch.distributed.checkpoint`).

`h' = z * n + (1 - z) * h`, the update gate of the original paper and of many tutorials, is the same cell with `1 - z`
in place of `z`. As `1 - sigmoid(a)` is `sigmoid(-a)`, the load hook changes the sign of that gate's rows. Their
gradients change sign too, and torch draws new ones from a range that lies evenly around zero: training is the same.
The title says so, as who reads the parameters will see it.

A new model starts from other numbers: `nn.GRUCell` draws all parameters from the range of one over the root of the
width of the state; `nn.Linear` draws those of the input from that of the width of the input. The state of a running
optimiser, adapters that name the layers and optimisers that look at a matrix as a whole are lost as with every merge.

## Refused when
- the reset gate acts before the matrix product, `tanh(W x + U (r * h))`, as in the first version of the paper: that is
  another function;
- something else goes into a gate: a norm, a constant, a third layer;
- the layers read the input and the state side by side (`torch.cat`) or only those of one side have a bias: a cell has
  two biases, and both would be trained where one was;
- the sizes do not show that the gates are equally wide and that the state is as wide;
- a layer is used beside this call, made under a condition, hooked, tied or initialised by the file;
- a gate or a sum is used again, or an input may change on the way;
- the file makes a state of one row, `torch.zeros(1, hidden)`, to be broadcast;
- the file works with autocast, in which the cell would keep its state in half precision.

Source: Cho et al. 2014, version 3; `torch.nn.GRUCell`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import cells, provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.cells import Cell, Rows, Site, Sum
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Expression, Place, ReplaceExpression, ReplaceStatements
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph, Value
from fuselight_emitter.ir import LogicalNode

_KIND = "torch.nn.GRUCell"
_MIXING = frozenset({"add", "sub", "mul", "neg", "lerp"})
_DEEPEST = 4

_Polynomial = dict[tuple[Value, ...], float]
"""From products of values, in the order of their evaluation, to coefficients."""


@dataclass(frozen=True, slots=True, eq=False)
class _New:
    """The new memory: `tanh(W x + r * (U h))`, or as the paper's first version has it."""

    value: Value
    of_x: Rows
    of_h: Rows
    reset: Value
    old: Value
    inner: tuple[Value, ...]
    paper: bool = False
    """Whether the reset gate acts on the state itself."""


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """The values of one step."""

    new: _New
    update: Value
    swapped: bool
    """Whether the update gate says how much of the new memory is taken, not how much of the old."""
    state: Value
    between: tuple[Value, ...]
    sums: tuple[Sum, Sum]
    """Of the reset and the update gate."""

    @property
    def inner(self) -> list[Value]:
        found = [self.new.value, *self.new.inner, self.new.reset, self.update, *self.between, self.state]
        for one in self.sums:
            found += one.inner
        return list(dict.fromkeys(found))


def _file(forward: str, made: str = "") -> str:
    """A file for a near miss: six layers unless `made` has others."""
    layers = made.split("\n") if made else [
        f"self.{side}{gate} = nn.Linear({size}, 8)" for gate in "rzn" for side, size in (("x", 6), ("h", 8))
    ]  # fmt: skip
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\nclass M(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        + "".join(f"        {line}\n" for line in layers)
        + "\n    def forward(self, x, h):\n"
        + "".join(f"        {line}\n" for line in forward.strip("\n").split("\n"))
    )


_GATES = """
r = torch.sigmoid(self.xr(x) + self.hr(h))
z = torch.sigmoid(self.xz(x) + self.hz(h))
n = torch.tanh(self.xn(x) + r * self.hn(h))
"""
_STEP = "return (1 - z) * n + z * h"


@fusion
class GruCellByHand(Fusion):
    __doc__ = __doc__

    code = "FUS207"
    name = "gru-cell-by-hand"
    words = (frozenset({"Linear"}), frozenset({"sigmoid", "Sigmoid", "expit"}), frozenset({"tanh", "Tanh"}))
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, size=6, hidden=8):
        super().__init__()
        self.of_x = nn.Linear(size, 3 * hidden)
        self.of_h = nn.Linear(hidden, 3 * hidden)

    def forward(self, x, h):
        x_r, x_z, x_n = self.of_x(x).chunk(3, dim=-1)
        h_r, h_z, h_n = self.of_h(h).chunk(3, dim=-1)
        reset = torch.sigmoid(x_r + h_r)
        update = torch.sigmoid(x_z + h_z)
        new = torch.tanh(x_n + reset * h_n)
        return (1 - update) * new + update * h
""",
            after='''\
import torch
from torch import nn


def _merge_m_cell(module, state_dict, prefix, *args):
    """Load checkpoints that hold of_x and of_h in place of cell."""
    for parameter, part in (
        ("weight_ih", "of_x.weight"),
        ("weight_hh", "of_h.weight"),
        ("bias_ih", "of_x.bias"),
        ("bias_hh", "of_h.bias"),
    ):
        key = f"{prefix}{part}"
        if key in state_dict:
            rows = state_dict.pop(key)
            state_dict[f"{prefix}cell.{parameter}"] = rows


class M(nn.Module):
    def __init__(self, size=6, hidden=8):
        super().__init__()
        self.cell = nn.GRUCell(size, hidden)
        self.register_load_state_dict_pre_hook(_merge_m_cell)

    def forward(self, x, h):
        return self.cell(x, h)
''',
            inputs=((5, 6), (5, 8)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        for gate in ("r", "z", "n"):
            setattr(self, f"x{gate}", nn.Linear(6, 8, bias=False))
            setattr(self, f"h{gate}", nn.Linear(8, 8, bias=False))

    def forward(self, x, h):
        r = torch.sigmoid(self.xr(x) + self.hr(h))
        z = torch.sigmoid(self.xz(x) + self.hz(h))
        n = torch.tanh(self.xn(x) + r * self.hn(h))
        return z * n + (1 - z) * h
""",
            after='''\
import torch
from torch import nn


def _merge_m_cell(module, state_dict, prefix, *args):
    """Load checkpoints that hold xr, xz, xn, hr, hz and hn in place of cell."""
    for parameter, parts in (
        ("weight_ih", ("xr.weight", "xz.weight", "xn.weight")),
        ("weight_hh", ("hr.weight", "hz.weight", "hn.weight")),
    ):
        keys = [f"{prefix}{part}" for part in parts]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            tensors[1] = -tensors[1]
            state_dict[f"{prefix}cell.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 8, bias=False)
        self.register_load_state_dict_pre_hook(_merge_m_cell)

    def forward(self, x, h):
        return self.cell(x, h)
''',
            inputs=((5, 6), (5, 8)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        # the paper's first version
        NearMiss(_file(_GATES.replace("r * self.hn(h)", "self.hn(r * h)") + _STEP), "before the matrix product"),
        NearMiss(
            _file(
                _GATES.replace("self.xn(x) + r * self.hn(h)", "self.w(torch.cat([x, r * h], 1))") + _STEP,
                "self.xr = nn.Linear(6, 8)\nself.hr = nn.Linear(8, 8)\nself.xz = nn.Linear(6, 8)\n"
                "self.hz = nn.Linear(8, 8)\nself.w = nn.Linear(14, 8)",
            ),
            "before the matrix product",
        ),
        # the gate of another state
        NearMiss(_file(_GATES + "g = h + 1\nreturn (1 - z) * n + z * g"), ""),
        # no mixture
        NearMiss(_file(_GATES + "return (1 - z) * n + (1 - z) * h"), ""),
        NearMiss(_file(_GATES + "return (2 - z) * n + z * h"), ""),
        # the gates mixed up
        NearMiss(_file(_GATES + "return (1 - r) * n + r * h"), "in common"),
        # a constant
        NearMiss(_file(_GATES.replace("self.hz(h)", "self.hz(h) + 1") + _STEP), "something else"),
        # a gate is looked at
        NearMiss(_file(_GATES + _STEP + ", z"), "used again"),
        # the reset gate on both
        NearMiss(_file(_GATES.replace("self.xn(x) + r * self.hn(h)", "r * (self.xn(x) + self.hn(h))") + _STEP), ""),
        # one side has a bias
        NearMiss(
            _file(_GATES + _STEP).replace("self.hn = nn.Linear(8, 8)", "self.hn = nn.Linear(8, 8, bias=False)"),
            "differ in their sizes, bias",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None:
            return
        if not cells.may_hold(scope, owner):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for value in list(graph.of_kind("tanh")):
            for new in _new(value):
                steps = _steps(new)
                if steps is not None:
                    yield self._match(module, scope, graph, steps)
                    break

    def _match(self, module: Module, scope: Scope, graph: Graph, steps: _Steps) -> Match:
        statement, owner = scope.statement, scope.owner
        assert owner is not None
        assert steps.state.node is not None
        place = Place(statement, steps.state.node)
        message = "this is a GRU cell, written out"
        found = _worked_out(module, scope, graph, steps)
        if isinstance(found, Refusal):
            return Match(type(self), scope.name, place, message, refused=found)
        cell, site = found
        names = cells.named(module, owner, cell)
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.NUMERICS
        note = breaking or "old checkpoints load through a hook"
        if steps.swapped:
            note += ", which changes the sign of the update gate's rows"
        title = f"Replace the gates by one `nn.GRUCell` ({safety.value}: takes matrices of one batch size; {note})"

        def plan() -> tuple[Action, ...]:
            return (
                *cells.made(cell, _KIND, names, 1 if steps.swapped else None),
                *_called(scope, steps, site, names.cell),
            )

        others = [Place(statement, one.call.node) for one in cell.rows if one.call.node is not None]
        others += [Place(statement, one) for one in (*site.removed[1:], steps.state.node)]
        others += [Place(layer.statement, layer.assignment) for layer in cell.layers]
        # Where its first statement stands, so that it comes before the merges of its layers.
        first = Place(statement, site.removed[0] if site.removed else site.at)
        return Match(type(self), scope.name, first, message, title, safety, tuple(others), plan)


def _new(value: Value) -> Iterator[_New]:
    """The ways in which a `tanh` may be the new memory."""
    if len(value.inputs) != 1:
        return
    whole = cells.taken_apart(value.inputs[0])
    if len(whole.rows) == 1 and len(whole.others) == 1:
        product = whole.others[0]
        for reset, other in _both(product):
            part = cells.taken_apart(other)
            if reset.kind == "sigmoid" and len(part.rows) == 1 and not part.others and part.rows[0].source is not None:
                inner = (*whole.inner, product, *part.inner)
                yield _New(value, whole.rows[0], part.rows[0], reset, part.rows[0].source, inner)
    for rows in whole.rows:
        source = rows.source
        for gated in source.inputs if source is not None and source.kind == "cat" else (source,):
            for one in gated.inputs if gated is not None and gated.kind == "container" else (gated,):
                for reset, old in _both(one) if one is not None else ():
                    if reset.kind == "sigmoid" and old.kind != "sigmoid":
                        yield _New(value, rows, rows, reset, old, (), paper=True)


def _both(value: Value) -> Iterator[tuple[Value, Value]]:
    if value.kind == "mul" and len(value.inputs) == 2 and not value.keywords:
        one, other = value.inputs
        yield one, other
        yield other, one


def _steps(new: _New) -> _Steps | None:
    """The step in which `new` is mixed with the old state by an update gate."""
    waiting, seen = [(new.value, 0)], set[Value]()
    while waiting:
        value, depth = waiting.pop(0)
        if value in seen:
            continue
        seen.add(value)
        if value is not new.value:
            found = _mixture(new, value)
            if found is not None:
                return found
        if depth < _DEEPEST:
            waiting += [
                (use.by, depth + 1)
                for use in value.uses
                if use.how is Consumption.INPUT and use.by is not None and use.by.kind in _MIXING
            ]
    return None


def _mixture(new: _New, value: Value) -> _Steps | None:
    inner: list[Value] = []
    terms = _expanded(value, (new.value, new.old), inner, 0)
    if terms is None or value.node is None:
        return None
    gates = {one for product in terms for one in product if one not in (new.value, new.old)}
    if len(gates) != 1:
        return None
    (update,) = gates
    if update.kind != "sigmoid" or len(update.inputs) != 1 or len(new.reset.inputs) != 1:
        return None
    n, h = new.value, new.old

    def product(*values: Value) -> tuple[Value, ...]:
        return tuple(sorted(values, key=lambda one: one.order))

    if terms == {product(n): 1, product(n, update): -1, product(h, update): 1}:
        swapped = False
    elif terms == {product(n, update): 1, product(h): 1, product(h, update): -1}:
        swapped = True
    else:
        return None
    sums = (cells.taken_apart(new.reset.inputs[0]), cells.taken_apart(update.inputs[0]))
    if not all(one.rows for one in sums):
        return None
    between = tuple(one for one in inner if one is not value)
    return _Steps(new, update, swapped, value, between, sums)


def _expanded(value: Value, stops: tuple[Value, ...], inner: list[Value], depth: int) -> _Polynomial | None:
    """`value` multiplied out, down to `stops`, sigmoids and whatever is no arithmetic; None where that is too long."""
    if isinstance(value.constant, int | float) and not isinstance(value.constant, bool):
        return {(): float(value.constant)} if value.constant else {}
    if value in stops or value.kind not in _MIXING or value.keywords or depth > _DEEPEST:
        return {(value,): 1.0}
    inner.append(value)
    parts: list[_Polynomial] = []
    for one in value.inputs:
        part = _expanded(one, stops, inner, depth + 1)
        if part is None:
            return None
        parts.append(part)
    match value.kind, parts:
        case "add", [one, other]:
            return _plus(one, other)
        case "sub", [one, other]:
            return _plus(one, _times({(): -1.0}, other))
        case "neg", [one]:
            return _times({(): -1.0}, one)
        case "mul", [one, other]:
            result = _times(one, other)
            return result if len(result) <= 8 else None
        case "lerp", [start, end, weight]:
            return _plus(start, _times(weight, _plus(end, _times({(): -1.0}, start))))
        case _:
            return None


def _plus(one: _Polynomial, other: _Polynomial) -> _Polynomial:
    total = dict(one)
    for product, factor in other.items():
        total[product] = total.get(product, 0.0) + factor
    return {product: factor for product, factor in total.items() if factor}


def _times(one: _Polynomial, other: _Polynomial) -> _Polynomial:
    total: _Polynomial = {}
    for left, factor in one.items():
        for right, by in other.items():
            product = tuple(sorted((*left, *right), key=lambda value: value.order))
            total[product] = total.get(product, 0.0) + factor * by
    return {product: factor for product, factor in total.items() if factor}


def _worked_out(module: Module, scope: Scope, graph: Graph, steps: _Steps) -> tuple[Cell, Site] | Refusal:
    statement, new = scope.statement, steps.new
    assert steps.state.node is not None
    place = Place(statement, steps.state.node)
    if new.paper:
        return Refusal(
            "the reset gate acts before the matrix product, in `nn.GRUCell` it acts behind it",
            Place(statement, new.value.node) if new.value.node is not None else place,
        )
    for name, one in zip(("reset", "update"), steps.sums, strict=True):
        if one.others:
            node = one.others[0].node
            return Refusal(
                f"something else than two linear layers goes into the {name} gate",
                Place(statement, node) if node is not None else place,
            )
    gates = [steps.sums[0].rows, steps.sums[1].rows, [new.of_x, new.of_h]]
    cell = cells.cell_of(module, scope, gates, new.old)
    if isinstance(cell, Refusal):
        return cell
    at = steps.state.statement
    if at is None:
        return Refusal("the new state is computed outside a statement", place)
    leaves = (cell.x.source, cell.h.source)
    site = cells.in_one_place(
        module, scope, graph, steps.inner, leaves, steps.state, at, steps.state, (steps.state,)
    )  # fmt: skip
    if isinstance(site, Refusal):
        return site
    refusal = cells.layers_kept(module, scope, cell, (new.value, new.reset, steps.update))
    return refusal if refusal is not None else (cell, site)


def _called(scope: Scope, steps: _Steps, site: Site, name: str) -> Iterator[Action]:
    """`self.cell(x, h)` where the new state was computed."""
    assert steps.state.node is not None
    if site.removed:
        yield ReplaceStatements(scope.statement, site.removed, (), site.at)
    call = Expression(LogicalNode(name, _KIND, {}), site.inputs)
    yield ReplaceExpression(scope.statement, steps.state.node, call)
