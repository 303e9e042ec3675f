"""Several steps in a row in a forward, each on the result of the one before, and one call in their place.

`rows` yields them: nested in one expression, or in statements of their own. `handed_on` says what the last step may
work on when those before it go, and which statements go with them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Action, Place, ReplaceExpression, ReplaceStatements, Within
from fuselight.fusions.steps import Pair, Step, operand, pairs, source_of
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph, Value

_TESTS = frozenset("test tests reference ref naive expected golden roundtrip".split())
"""Words in a function's name that say that it compares something with something else."""

_OF_THE_OBJECT = frozenset(
    "retain_grad register_hook register_post_accumulate_grad_hook requires_grad_ detach_ rename_ refine_names grad"
    " grad_fn is_leaf data names _base set_".split()
)
_OF_ANY_OBJECT = (
    "t_", "squeeze_", "unsqueeze_", "transpose_", "swapaxes_", "swapdims_", "resize_", "resize_as_", "as_strided_",
    "set_", "retain_grad", "register_hook", "_base", "autograd",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Steps in a row. `refusal`: why they cannot be taken for one."""

    pairs: tuple[Pair, ...]
    scope: Scope
    graph: Graph

    @property
    def first(self) -> Step:
        return self.pairs[0].first

    @property
    def last(self) -> Step:
        return self.pairs[-1].second

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.first, *(pair.second for pair in self.pairs))

    @property
    def source(self) -> Value | None:
        """What the first step works on."""
        return source_of(self.first)

    @property
    def refusal(self) -> Refusal | None:
        return next((pair.refusal for pair in self.pairs if pair.refusal is not None), None)

    @property
    def text(self) -> str:
        """As a reader would name it."""
        return " ".join(self.scope.statement.source(self.last.node).split())[:60]

    def cut(self, first: int, last: int) -> Row:
        """The row of the steps from number `first` to number `last`."""
        return Row(self.pairs[first:last], self.scope, self.graph)

    def places(self, handed: Handed | None = None) -> tuple[Place, tuple[Place, ...]]:
        """Where the row is, and what else belongs to it."""
        statement = self.scope.statement
        others = [Place(statement, step.node) for step in self.steps[:-1]]
        others += [Place(statement, node) for node in (handed.removed if handed is not None else ())]
        return Place(statement, self.last.node), tuple(others)


def rows(
    module: Module, scope: Scope, firsts: frozenset[str], kinds: frozenset[str], words: frozenset[str]
) -> Iterator[Row]:
    """Every longest row that starts with a step in `firsts` or `kinds` and goes on with steps in `kinds`.

    Two steps that cannot be taken for one are a row of their own, with the refusal. A step may ask for sizes of the
    result of the one before; the caller looks at them.
    """
    after: dict[int, Pair] = {}
    behind: set[int] = set()
    for pair in pairs(module, scope, firsts | kinds, kinds, words, sizes=True):
        first, second = pair.first.value, pair.second.value
        if pair.graph is None or first is None or second is None:
            continue
        if pair.refusal is None and _has_other_names(pair):
            at = Place(scope.statement, pair.first.node)
            pair = replace(pair, refusal=Refusal(f"the result of `{pair.first.label}` has another name too", at))
        after[first.order] = pair
        if pair.refusal is None:
            behind.add(second.order)
    for order, pair in after.items():
        assert pair.graph is not None
        if pair.refusal is not None:
            yield Row((pair,), scope, pair.graph)
            continue
        if order in behind:
            continue
        found = [pair]
        while (last := found[-1].second.value) is not None:
            following = after.get(last.order)
            if following is None or following.refusal is not None:
                break
            found.append(following)
        yield Row(tuple(found), scope, pair.graph)


def _has_other_names(pair: Pair) -> bool:
    """Whether the result of the first step is copied to another name, or the second step reads it by one."""
    value, read = pair.first.value, operand(pair.second)
    assert value is not None
    if read is pair.first.node or value.binding is None:
        return False
    bound = value.binding.targets[0]
    same = isinstance(read, ast.Name) and isinstance(bound, ast.Name) and read.id == bound.id
    return not same or value.reads != len(value.uses)


# -- edits


@dataclass(frozen=True, slots=True, eq=False)
class Handed:
    """What the last step of a row works on when the others are gone: `node`, in the user's own source."""

    node: ast.expr
    source: str
    removed: tuple[ast.stmt, ...]
    actions: tuple[Action, ...]

    @property
    def name(self) -> str | None:
        return self.node.id if isinstance(self.node, ast.Name) else None


def handed_on(row: Row) -> Handed | Refusal:
    """What the last step gets when those before it go, and the actions that take them away."""
    statement = row.scope.statement
    deepest = operand(row.first)
    assert deepest is not None
    apart = [pair for pair in row.pairs if operand(pair.second) is not pair.first.node]
    if not apart:
        return Handed(deepest, statement.source(deepest), (), ())
    bound = [pair.first.value.binding for pair in apart if pair.first.value is not None]
    removed = tuple(node for node in bound if node is not None)
    last = _statement(row.last)
    if isinstance(deepest, ast.Name) and _holds(row, deepest.id, removed, removed):
        return Handed(deepest, deepest.id, removed, (ReplaceStatements(statement, removed, (), last),))
    name = operand(apart[0].second)
    assert isinstance(name, ast.Name)
    if not _holds(row, name.id, removed, removed[1:]):
        return Refusal(f"`{name.id}` is bound anew in between", Place(statement, row.last.node))
    actions: list[Action] = [ReplaceExpression(statement, apart[0].first.node, Within(deepest))]
    if removed[1:]:
        actions.append(ReplaceStatements(statement, removed[1:], (), last))
    return Handed(name, name.id, removed[1:], tuple(actions))


def _holds(row: Row, name: str, between: tuple[ast.stmt, ...], gone: tuple[ast.stmt, ...]) -> bool:
    """Whether a local name holds at the last step what it holds at the first of `between`, when `gone` are gone."""
    if name not in row.graph.local:
        return False
    assert row.first.value is not None
    block = row.last.value.block.statements if row.last.value is not None else []
    start = block.index(between[0])
    if between[0] not in gone:
        start += 1
    for statement in block[start : block.index(_statement(row.last))]:
        if statement in gone:
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                return False
    return True


def _statement(step: Step) -> ast.stmt:
    assert step.value is not None
    assert step.value.statement is not None
    return step.value.statement


Plan = tuple[tuple[Action, ...], tuple[ast.stmt, ...]]
"""Actions, and the statements that go."""


def without(row: Row, handed: Handed) -> Plan | Refusal:
    """The actions that take a whole row away, and the statements that go: what used its result uses its input."""
    statement, value = row.scope.statement, row.last.value
    assert value is not None
    target = value.binding.targets[0] if value.binding is not None else None
    if value.binding is None or not isinstance(target, ast.Name) or target.id != handed.name:
        by = Within(handed.node) if handed.name is None else handed.source
        return (*handed.actions, ReplaceExpression(statement, row.last.node, by)), handed.removed
    removed = (*handed.removed, value.binding)
    block = value.block.statements
    left = [node for node in block if node not in removed]
    if not left or not statement.stands_alone(value.binding):
        return Refusal("nothing would be left of the block", Place(statement, value.binding))
    at = block.index(value.binding)
    comments_to = next((node for node in block[at:] if node in left), left[-1])
    kept = tuple(
        action
        for action in handed.actions
        if not (isinstance(action, ReplaceStatements) and action.removed == handed.removed)
    )
    return (*kept, ReplaceStatements(statement, removed, (), comments_to)), removed


# -- what may stand in for what


def is_a_check(scope: Scope) -> Refusal | None:
    """A test, or a gradient by hand, is left as it is spelled."""
    if not _TESTS.isdisjoint(scope.name.replace(".", "_").lower().split("_")):
        return Refusal(f"`{scope.name}` reads as a test or a reference")
    if scope.owner is not None and any(
        one is not None and one.endswith("autograd.Function") for one in scope.owner.all_bases
    ):
        return Refusal(f"`{scope.owner.name}` is a custom autograd function")
    return None


def needs_its_own_object(module: Module, row: Row) -> Refusal | None:
    """Why the result of a row that changes nothing must stay another tensor object than its input.

    Both share one memory before and after. What differs is what belongs to the object: its gradient, its hooks, its
    shape changed in place, whether it is a parameter.
    """
    statement, source, value = row.scope.statement, row.source, row.last.value
    assert value is not None
    at = Place(statement, row.last.node)
    if source is None or source.kind in ("attribute", "global"):
        return Refusal("what it works on may be a parameter, of which a view is none", at)
    for one in (source, value):
        for use in one.uses:
            if _is_of_the_object(use.node) or (use.by is not None and _is_of_the_object(use.by.node)):
                node = use.node if isinstance(use.node, ast.expr | ast.stmt) else row.last.node
                return Refusal("something is done with the tensor object itself", Place(statement, node))
            if use.how is Consumption.METADATA and use.by is not None and _compares_objects(use.by):
                return Refusal("whether it is another tensor object is asked for", at)
            if use.how is Consumption.STORED and one is value and isinstance(use.node, ast.Attribute):
                return Refusal("it is kept in an attribute", at)
    if module.mentions.has_word(*_OF_ANY_OBJECT):
        return Refusal("the file works on tensor objects: their gradients, hooks, or shapes changed in place", at)
    return None


def _compares_objects(compare: Value) -> bool:
    """Whether a comparison asks if two tensors are one object: `y is x`, and not `y is None`."""
    none = any(one.kind == "constant" and one.constant is None for one in compare.inputs)
    return compare.kind == "compare" and not none


def _is_of_the_object(node: ast.AST | None) -> bool:
    func = node.func if isinstance(node, ast.Call) else node
    return isinstance(func, ast.Attribute) and func.attr in _OF_THE_OBJECT


def is_tensor(row: Row) -> bool:
    """Whether the source shows that a row works on a tensor of torch, and not on an array of another library."""
    if any(step.kind in _OF_TORCH or _is_function(step.value) for step in row.steps):
        return True
    source, scope = row.source, row.scope
    if source is None:
        return False
    if source.kind.startswith("torch.") or source.kind in _OF_TORCH or _is_function(source):
        return True
    owner = scope.owner
    return source.kind == "parameter" and owner is not None and owner.is_module and scope.function.name == "forward"


_OF_TORCH = frozenset(
    "permute unsqueeze masked_fill".split()
    + [f"method {name}" for name in "movedim moveaxis view t contiguous expand unflatten".split()]
)
"""Kinds of methods that arrays of other libraries do not have."""

_UNKNOWN = frozenset({"call", "opaque", "builtin", "instance", "metadata"})


def _is_function(value: Value | None) -> bool:
    """Whether a value is what a layer or a function of torch yields: a tensor."""
    if value is None or not isinstance(value.node, ast.Call) or value.kind in _UNKNOWN:
        return False
    return value.layer is not None or len(value.inputs) != len(value.node.args) + 1
