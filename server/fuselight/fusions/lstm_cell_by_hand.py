"""An LSTM cell written out: linear layers, four gates and the two new states, as one `nn.LSTMCell`.

Eight linear layers, two a gate, or two layers of four times the width whose output is cut into the gates: whatever the
names, `c' = f * c + i * g` and `h' = o * tanh(c')` with `i`, `f`, `o` a sigmoid and `g` a tanh of `W x + U h` is what
`nn.LSTMCell` computes, in two matrix products and one pointwise step.

## What it saves
Kernel launches, and reads of the input and the state: eight layers as one cell 1.27x forward, 1.17x forward and
backward on a CPU. No memory is saved.

## Fix safety
`numerics`: a cell takes matrices of one batch size (or vectors), which the source does not show. Linear layers also
take more dimensions and broadcast a state of one row over a batch; where that happened the cell raises an error. For
matrices the function is the same, with the same gradients. The rows of the layers, in torch's order of gates (input,
forget, cell, output), become the parameters of the cell. The edit adds a module-level function and registers it with
`register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict` (`from_pretrained` of transformers and
diffusers, safetensors loops, `torch.distributed.checkpoint`).

A new model starts from other numbers: `nn.LSTMCell` draws all parameters from the range of one over the root of the
width of the state; `nn.Linear` draws those of the input from that of the width of the input. The state of a running
optimiser, adapters that name the layers and optimisers that look at a matrix as a whole are lost as with every merge.

## Refused when
- something else goes into a gate: a peephole, a forget bias of one, a norm;
- the layers read the input and the state side by side (`torch.cat`) or only those of one side have a bias: a cell has
  two biases, and both would be trained where one was;
- the sizes do not show that the gates are equally wide and which of the two inputs is the state;
- a layer is used beside this call, made under a condition, hooked, tied or initialised by the file;
- a gate or a sum is used again, or an input may change on the way;
- the file makes a state of one row, `torch.zeros(1, hidden)`, to be broadcast;
- the file works with autocast, in which the cell would keep its state in half precision.

Source: Hochreiter and Schmidhuber 1997; `torch.nn.LSTMCell`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import cells, provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.cells import Cell, Site, Sum
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_local
from fuselight.fusions.plan import Action, Assigned, Place, ReplaceExpression, ReplaceStatements
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_KIND = "torch.nn.LSTMCell"
_NAMES = ("input", "forget", "cell", "output")


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """The values of one step: four activations in torch's order, the old state, the two new ones."""

    gates: tuple[Value, Value, Value, Value]
    old: Value
    state: Value
    hidden: Value
    between: tuple[Value, ...]
    """The products and the `tanh` of the new state."""
    sums: tuple[Sum, ...]

    @property
    def inner(self) -> list[Value]:
        found = [*self.gates, *self.between, self.state, self.hidden]
        for one in self.sums:
            found += one.inner
        return list(dict.fromkeys(found))


def _file(forward: str, made: str = "", hidden: str = "8") -> str:
    """A file for a near miss: eight layers unless `made` has others."""
    layers = made.split("\n") if made else [
        f"self.{side}{gate} = nn.Linear({size}, {hidden})" for gate in "ifgo" for side, size in (("x", 6), ("h", 8))
    ]  # fmt: skip
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\nclass M(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        + "".join(f"        {line}\n" for line in layers)
        + "\n    def forward(self, x, h, c):\n"
        + "".join(f"        {line}\n" for line in forward.strip("\n").split("\n"))
    )


_GATES = """
i = torch.sigmoid(self.xi(x) + self.hi(h))
f = torch.sigmoid(self.xf(x) + self.hf(h))
g = torch.tanh(self.xg(x) + self.hg(h))
o = torch.sigmoid(self.xo(x) + self.ho(h))
"""
_STEP = "c = f * c + i * g\nh = o * torch.tanh(c)\nreturn h, c"


@fusion
class LstmCellByHand(Fusion):
    __doc__ = __doc__

    code = "FUS206"
    name = "lstm-cell-by-hand"
    words = (frozenset({"Linear"}), frozenset({"sigmoid", "Sigmoid", "expit"}), frozenset({"tanh", "Tanh"}))
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        for g in "ifgo":
            setattr(self, "x" + g, nn.Linear(6, 8))
            setattr(self, "h" + g, nn.Linear(8, 8))

    def forward(self, x, h, c):
        i = torch.sigmoid(self.xi(x) + self.hi(h))
        f = torch.sigmoid(self.xf(x) + self.hf(h))
        g = torch.tanh(self.xg(x) + self.hg(h))
        o = torch.sigmoid(self.xo(x) + self.ho(h))
        c = f * c + i * g
        h = o * torch.tanh(c)
        return h, c
""",
            after='''\
import torch
from torch import nn


def _merge_m_cell(module, state_dict, prefix, *args):
    """Load checkpoints that hold xi, xf, xg, xo, hi, hf, hg and ho in place of cell."""
    for parameter, parts in (
        ("weight_ih", ("xi.weight", "xf.weight", "xg.weight", "xo.weight")),
        ("weight_hh", ("hi.weight", "hf.weight", "hg.weight", "ho.weight")),
        ("bias_ih", ("xi.bias", "xf.bias", "xg.bias", "xo.bias")),
        ("bias_hh", ("hi.bias", "hf.bias", "hg.bias", "ho.bias")),
    ):
        keys = [f"{prefix}{part}" for part in parts]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}cell.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(6, 8)
        self.register_load_state_dict_pre_hook(_merge_m_cell)

    def forward(self, x, h, c):
        h, c = self.cell(x, (h, c))
        return h, c
''',
            inputs=((5, 6), (5, 8), (5, 8)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, size=6, hidden=8):
        super().__init__()
        self.of_x = nn.Linear(size, 4 * hidden, bias=False)
        self.of_h = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x, h, c):
        gates = self.of_x(x) + self.of_h(h)
        i, f, o, g = gates.chunk(4, dim=1)
        c_new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c_new.tanh(), c_new
""",
            after='''\
import torch
from torch import nn


def _merge_m_cell(module, state_dict, prefix, *args):
    """Load checkpoints that hold of_x and of_h in place of cell."""
    for parameter, part in (("weight_ih", "of_x.weight"), ("weight_hh", "of_h.weight")):
        key = f"{prefix}{part}"
        if key in state_dict:
            rows = state_dict.pop(key).chunk(4)
            state_dict[f"{prefix}cell.{parameter}"] = torch.cat(
                [rows[0], rows[1], rows[3], rows[2]]
            )


class M(nn.Module):
    def __init__(self, size=6, hidden=8):
        super().__init__()
        self.cell = nn.LSTMCell(size, hidden, bias=False)
        self.register_load_state_dict_pre_hook(_merge_m_cell)

    def forward(self, x, h, c):
        h_out, c_new = self.cell(x, (h, c))
        return h_out, c_new
''',
            inputs=((5, 6), (5, 8), (5, 8)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        # a forget bias
        NearMiss(_file(_GATES.replace("self.xf(x) + ", "1.0 + self.xf(x) + ") + _STEP), "something else"),
        # a peephole
        NearMiss(_file(_GATES.replace("self.hf(h)", "self.hf(h) + self.xi.bias * c") + _STEP), "something else"),
        # a gate is looked at
        NearMiss(_file(_GATES + _STEP + ", f"), "used again"),
        # the state of another step
        NearMiss(_file(_GATES.replace("self.ho(h)", "self.ho(c)") + _STEP), "not every gate"),
        # two gates of one layer
        NearMiss(_file(_GATES.replace("self.xf", "self.xi") + _STEP), "in common"),
        # no tanh
        NearMiss(_file(_GATES + _STEP.replace("torch.tanh(c)", "torch.relu(c)")), ""),
        # a coupled gate
        NearMiss(_file(_GATES + _STEP.replace("i * g", "(1 - f) * g")), ""),
        # one side has a bias
        NearMiss(
            _file(
                "z = self.a(x) + self.b(h)\ni, f, g, o = z.chunk(4, 1)\n"
                "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)\n"
                "return torch.sigmoid(o) * torch.tanh(c), c",
                "self.a = nn.Linear(6, 32)\nself.b = nn.Linear(8, 32, bias=False)",
            ),
            "differ in their width, bias",
        ),
        # side by side
        NearMiss(
            _file(
                "i, f, g, o = self.a(torch.cat([x, h], 1)).chunk(4, 1)\n"
                "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)\n"
                "return torch.sigmoid(o) * torch.tanh(c), c",
                "self.a = nn.Linear(14, 32)",
            ),
            "side by side",
        ),
        # an input changes on the way
        NearMiss(_file(_GATES.replace("\no =", "\nx.mul_(2)\no =") + _STEP), "changed in between"),
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
        for value in list(graph.of_kind("mul")):
            steps = _steps(value)
            if steps is not None:
                yield self._match(module, scope, graph, steps)

    def _match(self, module: Module, scope: Scope, graph: Graph, steps: _Steps) -> Match:
        statement, owner = scope.statement, scope.owner
        assert owner is not None
        assert steps.state.node is not None
        place = Place(statement, steps.state.node)
        message = "this is an LSTM cell, written out"
        found = _worked_out(module, scope, graph, steps)
        if isinstance(found, Refusal):
            return Match(type(self), scope.name, place, message, refused=found)
        cell, site = found
        names = cells.named(module, owner, cell)
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.NUMERICS
        note = breaking or "old checkpoints load through a hook"
        title = f"Replace the gates by one `nn.LSTMCell` ({safety.value}: takes matrices of one batch size; {note})"

        def plan() -> tuple[Action, ...]:
            return (*cells.made(cell, _KIND, names), *_called(scope, graph, steps, site, names.cell))

        others = [Place(statement, one.call.node) for one in cell.rows if one.call.node is not None]
        others += [Place(statement, one) for one in (*site.removed[1:], steps.state.node)]
        others += [Place(layer.statement, layer.assignment) for layer in cell.layers]
        # Where its first statement stands, so that it comes before the merges of its layers.
        first = Place(statement, site.removed[0] if site.removed else site.at)
        return Match(type(self), scope.name, first, message, title, safety, tuple(others), plan)


def _steps(hidden: Value) -> _Steps | None:
    """The step whose new hidden state is `hidden`: `o * tanh(f * c + i * g)`."""
    for output, squashed in _both(hidden):
        if output.kind != "sigmoid" or squashed.kind != "tanh" or len(squashed.inputs) != 1:
            continue
        state = squashed.inputs[0]
        for kept, written in _both(state, "add"):
            if kept.kind != "mul" or written.kind != "mul":
                continue
            for gate, new in _both(written):
                for forget, old in _both(kept):
                    if (gate.kind, new.kind, forget.kind) != ("sigmoid", "tanh", "sigmoid"):
                        continue
                    gates = (gate, forget, new, output)
                    if len(set(gates)) < 4 or any(len(one.inputs) != 1 for one in gates):
                        continue
                    sums = tuple(cells.taken_apart(one.inputs[0]) for one in gates)
                    if all(one.rows for one in sums):
                        return _Steps(gates, old, state, hidden, (squashed, kept, written), sums)
    return None


def _both(value: Value, kind: str = "mul") -> Iterator[tuple[Value, Value]]:
    """The operands of a sum or product, in either order."""
    if value.kind == kind and len(value.inputs) == 2 and not value.keywords:
        one, other = value.inputs
        yield one, other
        yield other, one


def _worked_out(module: Module, scope: Scope, graph: Graph, steps: _Steps) -> tuple[Cell, Site] | Refusal:
    statement = scope.statement
    for name, one in zip(_NAMES, steps.sums, strict=True):
        if one.others:
            node = one.others[0].node
            return Refusal(
                f"something else than two linear layers goes into the {name} gate",
                Place(statement, node) if node is not None else None,
            )
    cell = cells.cell_of(module, scope, [one.rows for one in steps.sums], None)
    if isinstance(cell, Refusal):
        return cell
    binding = steps.state.binding
    assert steps.state.node is not None
    if binding is None or len(binding.targets) != 1 or not isinstance(binding.targets[0], ast.Name):
        return Refusal("the new state is not in a variable of its own", Place(statement, steps.state.node))
    if steps.hidden.node is None or steps.hidden.block is not steps.state.block:
        return Refusal("the two states are computed in different branches", Place(statement, steps.state.node))
    if not statement.stands_alone(binding):
        return Refusal("the new state shares its line with another statement", Place(statement, binding))
    leaves = (cell.x.source, cell.h.source, steps.old)
    site = cells.in_one_place(
        module, scope, graph, steps.inner, leaves, steps.state, binding, steps.hidden, (steps.state, steps.hidden)
    )
    if isinstance(site, Refusal):
        return site
    for write in graph.writes:
        if write.sure and write.order > steps.hidden.order and steps.state.order in write.roots:
            at = write.node if isinstance(write.node, ast.expr | ast.stmt) else steps.state.node
            return Refusal(
                "the new state is changed in place, which the cell needs to go backward", Place(statement, at)
            )
    refusal = cells.layers_kept(module, scope, cell, (*steps.gates, *steps.between))
    return refusal if refusal is not None else (cell, site)


def _called(scope: Scope, graph: Graph, steps: _Steps, site: Site, name: str) -> Iterator[Action]:
    """`h, c = self.cell(x, (h, c))` where the new state was computed."""
    statement = scope.statement
    assert isinstance(site.at, ast.Assign)
    target = site.at.targets[0]
    assert isinstance(target, ast.Name)
    bound = _bound_with(scope, steps, site)
    x, h, c = site.inputs
    output = bound or free_local(h, graph.all_names())
    call = Assigned(LogicalNode(name, _KIND, {}), (x, f"({h}, {c})"), (output, target.id))
    assert steps.hidden.node is not None
    removed = site.removed
    if bound is not None:
        assert steps.hidden.binding is not None
        removed = (*removed, steps.hidden.binding)
    before = tuple(one for one in removed if one.lineno < site.at.lineno)
    after = tuple(one for one in removed if one.lineno >= site.at.lineno)
    if before:
        yield ReplaceStatements(statement, before, (), site.at)
    if after:
        yield ReplaceStatements(statement, after, (), site.at)
    yield ReplaceStatements(statement, (site.at,), (call,))
    if bound is None:
        yield ReplaceExpression(statement, steps.hidden.node, output)


def _bound_with(scope: Scope, steps: _Steps, site: Site) -> str | None:
    """The name of the new hidden state, where it may be bound together with the new state."""
    binding = steps.hidden.binding
    if binding is None or len(binding.targets) != 1 or not scope.statement.stands_alone(binding):
        return None
    target, own = binding.targets[0], site.at
    assert isinstance(own, ast.Assign)
    if not isinstance(target, ast.Name) or ast.unparse(target) == ast.unparse(own.targets[0]):
        return None
    block = steps.state.block
    between = block.statements[block.statements.index(own) + 1 : block.statements.index(binding)]
    left = [one for one in between if one not in site.removed]
    if block.guarded and left:
        return None
    if any(isinstance(node, ast.Name) and node.id == target.id for one in left for node in ast.walk(one)):
        return None
    return target.id
