"""Two statistics of one tensor, each worked out by a pass of its own: the mean beside the deviation, the least value
beside the largest.

`m = x.mean(dim=(2, 3))` and `s = x.std(dim=(2, 3))` are both in `s, m = torch.std_mean(x, dim=(2, 3))`: a deviation
needs the mean anyway. The same for `var` and `torch.var_mean`, and for `x.min()` beside `x.max()`, which
`torch.aminmax(x)` yields together. The deviation comes first in what torch returns, and the smallest value.

## What it saves
One pass over the tensor, and a kernel launch. On a CPU a deviation with its mean: 1.03x to 1.08x forward; forward and
backward 1.05x for a matrix of 64 x 512, nothing (1.00x) over the last dimension of 8 x 128 x 768, and less than nothing
over the pixels of images, 0.8x to 0.9x. The minimum with the maximum of a whole tensor: 1.7x forward, 1.1x to 1.3x
forward and backward. No memory is saved.

## Fix safety
`exact` for the extremes: the same numbers with the same gradients, those of ties and of NaN included.

`numerics` for the moments: they agree to the rounding of the dtype, but where a number is infinite `torch.std_mean`
yields NaN for the mean, too, where `mean` alone yields infinity, and where a sum overflows it yields the mean.

## Refused when
- the two do not work on one value, or it may be written to in between;
- the dimensions, `keepdim` or the correction are not the same, or nobody can tell from the source;
- a deviation is over the whole tensor: there `torch.std_mean` takes a CPU four times as long as the two apart;
- extremes are along a dimension: there `torch.aminmax` takes a CPU ten times as long as `amin` and `amax`;
- the two stand in different branches or loops, or a name would hold its result too early;
- it may be an array of numpy or a frame of pandas, whose methods have the same names: nothing shows a tensor of torch;
- the function is a test, a reference or a custom autograd function.

Source: `torch.std_mean`, `torch.var_mean`, `torch.aminmax`, torch 2.13; Welford 1962.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_local
from fuselight.fusions.plan import Action, Assigned, Insert, Place, ReplaceExpression, ReplaceStatements
from fuselight.fusions.references import reads_as_reference
from fuselight.fusions.steps import in_one_line
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import argument, rank_of
from fuselight.graph.values import Consumption, Graph, Value
from fuselight_emitter.ir import LogicalNode

_READ_AS = {
    "mean": "mean", "std": "std", "var": "var", "min": "min", "method min": "min", "torch.min": "min", "amin": "amin",
    "max": "max", "method max": "max", "torch.max": "max", "amax": "amax",
}  # fmt: skip
_TOGETHER = (
    ("std", "mean", "std_mean"), ("var", "mean", "var_mean"), ("min", "max", "aminmax"), ("amin", "amax", "aminmax"),
    ("min", "amax", "aminmax"), ("amin", "max", "aminmax"),
)  # fmt: skip
"""Two statistics, in the order in which the call yields them, and the call."""

_NAMES = {"mean": "mean", "std": "std", "var": "var", "min": "low", "amin": "low", "max": "high", "amax": "high"}

_ARRAYS = frozenset(
    "numpy pandas polars xarray scipy sklearn cv2 dask cudf skimage PIL statsmodels pyarrow awkward modin".split()
)
"""Packages whose objects have methods of these names."""

_OF_TORCH = frozenset({"dim", "keepdim", "unbiased", "correction"})
"""Keywords that no array of another package takes."""

_UNKNOWN = frozenset({"call", "opaque", "builtin", "instance", "metadata", "parameter", "global", "joined", "unpack"})

_SIMPLE = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return


def _near(body: str, arguments: str = "x") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\n\n\ndef f({arguments}):\n{lines}"


@dataclass(frozen=True, slots=True, eq=False)
class _Statistic:
    """One statistic of a tensor, and what it is told."""

    value: Value
    name: str
    node: ast.Call
    source: Value
    source_node: ast.expr
    dim: Value | None
    keepdim: Value | None
    rest: tuple[str, ...] = ()
    """How the arguments that the other one has not are spelled."""

    @property
    def held(self) -> str | None:
        """The name that a statement of its own binds to it."""
        target = self.value.binding.targets[0] if self.value.binding is not None else None
        return target.id if isinstance(target, ast.Name) else None


@dataclass(frozen=True, slots=True, eq=False)
class _Both:
    """Two statistics of one tensor, in the order of their evaluation, and the call that yields both."""

    parts: tuple[_Statistic, ...]
    """All of them: one may be worked out several times in one expression."""
    order: tuple[str, str]
    """The statistics in the order in which the call yields them."""
    call: str

    @property
    def first(self) -> _Statistic:
        return self.parts[0]

    @property
    def last(self) -> _Statistic:
        return self.parts[-1]

    @property
    def spread(self) -> _Statistic:
        """The one whose arguments the call takes over: a deviation has a correction."""
        return next(one for one in self.parts if one.name == self.order[0])


@fusion
class MomentsApart(Fusion):
    __doc__ = __doc__

    code = "FUS608"
    name = "moments-apart"
    words = (frozenset({"std", "var", "min", "amin"}), frozenset({"mean", "max", "amax"}))
    examples = (
        Example(
            before="""\
import torch


def f(x):
    m = x.mean(dim=(2, 3), keepdim=True)
    s = x.std(dim=(2, 3), keepdim=True)
    return (x - m) / s
""",
            after="""\
import torch


def f(x):
    s, m = torch.std_mean(x, dim=(2, 3), keepdim=True)
    return (x - m) / s
""",
            inputs=((2, 3, 4, 5),),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(x):
    return (x - x.min()) / (x.max() - x.min())
""",
            after="""\
import torch


def f(x):
    low, high = torch.aminmax(x)
    return (x - low) / (high - low)
""",
            inputs=((2, 3, 4),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # other dimensions
        NearMiss(_near("return x.mean(0), x.std(1)"), ""),
        # one keeps its dimensions
        NearMiss(_near("return x.mean(1, keepdim=True), x.std(1)"), ""),
        # a mean of something else
        NearMiss(_near("return (x + 1).mean(1), x.std(1)"), ""),
        # over everything
        NearMiss(_near("return x.mean(), x.std()"), "whole tensor"),
        # along a dimension
        NearMiss(_near("return x.amin(dim=1), x.amax(dim=1)"), "along a dimension"),
        # with indices
        NearMiss(_near("return x.min(1), x.max(1)"), ""),
        # rebound
        NearMiss(_near("m = x.mean(1)\nx = x + 1\ns = x.std(1)\nreturn m, s"), ""),
        # written to
        NearMiss(_near("m = x.mean(1)\nx += 1\ns = x.std(1)\nreturn m, s"), ""),
        # the name is still in use
        NearMiss(
            _near("s = x.sum()\nm = x.mean(1)\ny = m * s\ns = x.std(1)\nreturn y, s"), "holds something else until then"
        ),
        # in a branch
        NearMiss(_near("m = x.mean(1)\nif m.sum() > 0:\n    m = x.std(1)\nreturn m"), "different branches"),
        # an accuracy of its own
        NearMiss(_near("return x.mean(1, dtype=torch.float64), x.std(1)"), ""),
        # perhaps an array
        NearMiss(
            _near("return x.mean(1), x.std(1)").replace("import torch\n", "import numpy as np\nimport torch\n"),
            "an array",
        ),
        # what a test compares with
        NearMiss(_near("return x.mean(1), x.std(1)").replace("def f", "def reference_norm"), "reads as a reference"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        called = scope.called
        if not any(one in called and other in called for one, other, _ in _TOGETHER):
            return
        text = scope.statement.lines_of(scope.function)
        if not any(f"{one}(" in text and f"{other}(" in text for one, other, _ in _TOGETHER):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        found: dict[int, list[_Statistic]] = {}
        for kind in _READ_AS:
            for value in graph.of_kind(kind):
                statistic = _statistic(value)
                if statistic is not None:
                    found.setdefault(statistic.source.order, []).append(statistic)
        for statistics in found.values():
            if len(statistics) > 1:
                yield from self._of_one_tensor(module, scope, graph, statistics)

    def _of_one_tensor(
        self, module: Module, scope: Scope, graph: Graph, statistics: list[_Statistic]
    ) -> Iterator[Match]:
        statistics = sorted(statistics, key=lambda one: one.value.order)
        taken: set[Value] = set()
        for one, other, call in _TOGETHER:
            pairs = product(
                [part for part in statistics if part.name == one], [part for part in statistics if part.name == other]
            )
            for pair in sorted(pairs, key=lambda two: abs(two[0].value.order - two[1].value.order)):
                if taken & {part.value for part in pair} or not _alike(graph, *pair):
                    continue
                first, last = sorted(pair, key=lambda part: part.value.order)
                both = _Both((first, last), (one, other), call)
                if first.value.statement is last.value.statement:
                    both = _all_of(graph, both, [part for part in statistics if part.value not in taken])
                taken |= {part.value for part in both.parts}
                yield self._match(module, scope, graph, both)

    def _match(self, module: Module, scope: Scope, graph: Graph, both: _Both) -> Match:
        place, *others = (Place(scope.statement, part.node) for part in both.parts)
        one, other = (_SPOKEN[name] for name in both.order)
        source = in_one_line(scope.statement.source(both.first.source_node))[:60]
        message = f"the {one} and the {other} of `{source}` are worked out apart"
        refusal = _refusal(module, scope, graph, both)
        if refusal is not None:
            why = Refusal(refusal.reason, refusal.at or place)
            return Match(type(self), scope.name, place, message, others=tuple(others), refused=why)
        title = f"Work both out with `torch.{both.call}`"
        safety = Safety.EXACT
        if both.call != "aminmax":
            safety = Safety.NUMERICS
            title += " (numerics: the mean of infinite numbers becomes NaN)"
        others += [Place(scope.statement, part.value.binding) for part in both.parts if part.value.binding is not None]
        return Match(
            type(self), scope.name, place, message, title, safety, tuple(others), partial(_plan, scope, graph, both)
        )


_SPOKEN = {
    "std": "deviation", "var": "variance", "mean": "mean", "min": "minimum", "amin": "minimum", "max": "maximum",
    "amax": "maximum",
}  # fmt: skip


# -- what is computed


def _statistic(value: Value) -> _Statistic | None:
    """A statistic with the dimensions that it is over; None where its arguments are not written out."""
    node, name = value.node, _READ_AS[value.kind]
    if not isinstance(node, ast.Call) or value.layer is not None:
        return None
    if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
        return None
    source = argument(value, 0, "input")
    if source is None or ("input" in value.keywords and node.args):
        return None
    behind = 0 if "input" in value.keywords else 1
    source_node = _operand(value, node)
    if source_node is None:
        return None
    spread = name in ("std", "var")
    keywords = {one for one in value.keywords if one != "input"}
    if not keywords <= {"dim", "axis", "keepdim", "keepdims", *(("unbiased", "correction") if spread else ())}:
        return None
    given = value.inputs[behind:]
    if len(given) > (3 if spread else 2):
        return None
    if spread and given and type(given[0].constant) is bool:
        return None  # `x.std(False)`: a correction, over the whole tensor
    dim = given[0] if given else value.keywords.get("dim", value.keywords.get("axis"))
    at = 2 if spread else 1
    keepdim = given[at] if len(given) > at else value.keywords.get("keepdim", value.keywords.get("keepdims"))
    if name in ("min", "max") and (given or keywords):
        return None
    rest = [given[1]] if spread and len(given) > 1 else []
    rest += [value.keywords[one] for one in ("unbiased", "correction") if one in value.keywords]
    if any(one.constant is None or not isinstance(one.node, ast.Constant) for one in rest):
        return None
    return _Statistic(value, name, node, source, source_node, dim, keepdim)


def _operand(value: Value, node: ast.Call) -> ast.expr | None:
    """What the statistic is of, as it stands in the source."""
    if isinstance(node.func, ast.Attribute) and len(value.inputs) == len(node.args) + 1 and value.inputs:
        given = next((one.value for one in node.keywords if one.arg == "input"), None)
        return given if given is not None else node.func.value
    return node.args[0] if node.args else next((one.value for one in node.keywords if one.arg == "input"), None)


def _alike(graph: Graph, one: _Statistic, other: _Statistic) -> bool:
    """Whether two statistics are over the same dimensions, and keep them or not alike."""
    if (one.dim is None) != (other.dim is None) or not _same_flag(one.keepdim, other.keepdim):
        return False
    if one.dim is None or other.dim is None or one.dim is other.dim:
        return True
    dims, others = _literal(one.dim), _literal(other.dim)
    if dims is None or others is None:
        return False
    if set(dims) == set(others):
        return True
    rank = rank_of(graph, one.source, one.value).exact
    return rank is not None and {dim % rank for dim in dims} == {dim % rank for dim in others}


def _same_flag(one: Value | None, other: Value | None) -> bool:
    if one is other:
        return True
    flags = [False if flag is None else flag.constant for flag in (one, other)]
    return flags[0] is flags[1] and isinstance(flags[0], bool)


def _literal(dim: Value) -> tuple[int, ...] | None:
    parts = dim.inputs if dim.kind == "container" else (dim,)
    found = tuple(one.constant for one in parts if type(one.constant) is int)
    return found if found and len(found) == len(parts) else None


def _all_of(graph: Graph, both: _Both, statistics: Sequence[_Statistic]) -> _Both:
    """With the same two where one expression works them out several times, as a minimum often is."""
    first = both.first
    parts = [
        part
        for part in statistics
        if part.name in both.order and part.value.statement is first.value.statement and _alike(graph, part, first)
    ]
    spread = both.spread
    same = all(ast.unparse(part.node) == ast.unparse(spread.node) for part in parts if part.name == spread.name)
    return _Both(tuple(parts), both.order, both.call) if same else both


# -- what speaks against it


def _refusal(module: Module, scope: Scope, graph: Graph, both: _Both) -> Refusal | None:
    statement, first, last = scope.statement, both.first, both.last
    at = Place(statement, last.node)
    refusal = reads_as_reference(scope)
    if refusal is not None:
        return refusal
    if both.call == "aminmax" and first.dim is not None:
        return Refusal("it is along a dimension, where `torch.aminmax` takes longer than the two apart", at)
    if both.call != "aminmax" and first.dim is None:
        return Refusal(f"it is over the whole tensor, where `torch.{both.call}` takes longer than the two apart", at)
    if not _is_tensor(module, scope, both):
        return Refusal("nothing shows that it is a tensor of torch, and not an array of another package", at)
    for part in both.parts:
        for node in ast.walk(part.node):
            if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                return Refusal("a name is bound inside the expression", Place(statement, part.node))
    block = first.value.block
    if any(part.value.block is not block for part in both.parts):
        return Refusal("the two are computed in different branches or loops", at)
    if not block.is_suite or not scope.name or scope.name.endswith("<lambda>"):
        return Refusal("the two are not in statements of their own block", at)
    if not all(part.value.statement in block.statements for part in both.parts):
        return Refusal("the two are computed in the head of a statement", at)
    if graph.exits_between(first.value.order, last.value.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    start = min((one.order for one in graph.values if one.statement is first.value.statement), default=0)
    if first.source.order >= start and first.value.binding is None:
        return Refusal("what they are of is worked out in the same statement", at)
    write = graph.written_between(first.source, min(start, first.value.order) - 1, last.value.order)
    if write is not None:
        node = write.node if isinstance(write.node, ast.expr | ast.stmt) else last.node
        return Refusal("the tensor may be changed in between", Place(statement, node))
    return _names(scope, graph, both) or _placed(scope, both)


def _names(scope: Scope, graph: Graph, both: _Both) -> Refusal | None:
    """Why what the call is given may mean something else where it comes to stand."""
    statement, spread = scope.statement, both.spread
    at = Place(statement, spread.node)
    if not isinstance(both.first.source_node, ast.Name) and both.first.source.node is not both.first.source_node:
        return Refusal("the tensor is not in a variable of its own", at)
    if not all(isinstance(part.source_node, ast.Name) for part in both.parts):
        return Refusal("the tensor is not in a variable of its own", at)
    dim = spread.dim
    nodes = [*spread.node.args, *(given.value for given in spread.node.keywords)]
    names = {node.id for one in nodes for node in ast.walk(one) if isinstance(node, ast.Name)}
    names.discard(spread.source_node.id if isinstance(spread.source_node, ast.Name) else "")
    names -= {"torch"}
    if names and both.first is not spread:
        between = _between(both)
        if any(name in names for one in between for name in _bound(one)):
            return Refusal("the dimension is another one where the first of them stands", at)
    if dim is not None and dim.kind not in ("constant", "container", "parameter", "neg"):
        start = both.first.value.order
        if dim.order > start and _literal(dim) is None:
            return Refusal("the dimension is worked out in between", at)
    return None


def _between(both: _Both) -> list[ast.stmt]:
    block = both.first.value.block.statements
    assert both.first.value.statement is not None
    assert both.last.value.statement is not None
    return block[block.index(both.first.value.statement) : block.index(both.last.value.statement)]


def _bound(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        name = getattr(node, "name", None)
        if isinstance(name, str):
            yield name


def _placed(scope: Scope, both: _Both) -> Refusal | None:
    """Why the call, which comes to stand where the first of the two stands, may not."""
    statement, first, last = scope.statement, both.first, both.last
    if _tuple(both) is not None:
        node = first.value.statement
        assert node is not None
        alone = statement.stands_alone(node)
        return None if alone else Refusal("it shares its line with another statement", Place(statement, node))
    for part in both.parts:
        node = part.value.statement
        assert node is not None
        if not isinstance(node, _SIMPLE):
            return Refusal("it stands in the head of a statement", Place(statement, part.node))
        if not statement.stands_alone(node):
            return Refusal("it shares its line with another statement", Place(statement, part.node))
    if last.held is None or last.value.statement is first.value.statement:
        return None
    if last.held == first.held:
        return Refusal(f"`{last.held}` holds both, one after the other", Place(statement, last.node))
    for one in _between(both)[0 if first.value.binding is None else 1 :]:
        for node in ast.walk(one):
            named = node.id if isinstance(node, ast.Name) else getattr(node, "name", None)
            if named == last.held:
                return Refusal(f"`{last.held}` holds something else until then", Place(statement, one))
    if last.value.block.guarded:
        return Refusal("an exception in between may be caught", Place(statement, last.node))
    if any(use.how in (Consumption.CAPTURED, Consumption.STORED) and use.by is None for use in last.value.uses):
        return Refusal(f"`{last.held}` is read elsewhere, perhaps before it is bound", Place(statement, last.node))
    return None


def _tuple(both: _Both) -> tuple[str, ...] | None:
    """The names that `m, s = x.mean(1), x.std(1)` binds, in the order of the two."""
    node = both.first.value.statement
    if len(both.parts) != 2 or node is not both.last.value.statement:
        return None
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=one), ast.Name(id=other)])], value=ast.Tuple(elts=elts)):
            return (one, other) if elts == [both.first.node, both.last.node] and one != other else None
        case _:
            return None


def _is_tensor(module: Module, scope: Scope, both: _Both) -> bool:
    """Whether the source shows a tensor of torch: by how it is made, or by what is done with it."""
    if module.names.imported_modules.isdisjoint(_ARRAYS):
        return True
    for part in both.parts:
        if not _OF_TORCH.isdisjoint(part.value.keywords) or len(part.value.inputs) == len(part.node.args):
            return True
    source = both.first.source
    layer = source.layer
    if (layer is not None and (layer.kind or "").startswith("torch.nn.")) or _made_by_torch(source):
        return True
    owner = scope.owner
    forward = owner is not None and owner.is_module and scope.function.name == "forward"
    return source.kind == "parameter" and forward


def _made_by_torch(source: Value) -> bool:
    """Whether a value is what a function of torch, or a method that only tensors have, yields."""
    if source.kind in ("permute", "unsqueeze"):
        return True
    if source.kind in _UNKNOWN or not isinstance(source.node, ast.Call):
        return False
    neutral = "." not in source.kind and not source.kind.startswith("method ")
    return source.kind.startswith("torch.") or (neutral and len(source.inputs) == len(source.node.args))


# -- the edit


def _plan(scope: Scope, graph: Graph, both: _Both) -> tuple[Action, ...]:
    statement, first, last, spread = scope.statement, both.first, both.last, both.spread
    taken = graph.all_names()
    names: dict[str, str] = {}
    paired = _tuple(both)
    if paired is not None:
        names = {first.name: paired[0], last.name: paired[1]}
    else:
        for name in both.order:
            held = [part.held for part in both.parts if part.name == name and part.held is not None]
            names[name] = held[0] if held else free_local(_NAMES[name], taken)
            taken.add(names[name])
    metadata = {f"arg_{at}": text for at, text in enumerate(_positional(scope, spread))}
    metadata |= {
        one.arg: in_one_line(statement.source(one.value))
        for one in spread.node.keywords
        if one.arg is not None and one.arg != "input"
    }
    call = LogicalNode("both", f"torch.{both.call}", metadata)
    text = statement.source(first.source_node)
    put = Assigned(call, (text,), (names[both.order[0]], names[both.order[1]]))
    bindings = [part.value.binding for part in both.parts if part.value.binding is not None]
    if paired is not None:
        assert first.value.statement is not None
        return (ReplaceStatements(statement, (first.value.statement,), (put,)),)
    replaced = [
        ReplaceExpression(statement, part.node, names[part.name]) for part in both.parts if part.value.binding is None
    ]
    if first.value.binding is not None:
        return (ReplaceStatements(statement, tuple(bindings), (put,)), *replaced)
    assert first.value.statement is not None
    gone = (ReplaceStatements(statement, tuple(bindings), (), _next(last)),) if bindings else ()
    return (Insert(statement, first.value.statement, (put,)), *replaced, *gone)


def _next(last: _Statistic) -> ast.stmt:
    block = last.value.block.statements
    assert last.value.statement is not None
    at = block.index(last.value.statement)
    return block[at + 1] if at + 1 < len(block) else block[at - 1]


def _positional(scope: Scope, part: _Statistic) -> list[str]:
    """The positional arguments behind the tensor."""
    method = len(part.value.inputs) == len(part.node.args) + 1
    given = part.node.args if method else part.node.args[1:]
    return [in_one_line(scope.statement.source(one)) for one in given]
