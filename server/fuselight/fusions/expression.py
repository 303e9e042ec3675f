"""Fusions of expressions: a pattern and what replaces it, each written as Python with metavariables.

A pattern is matched over the graph, not over text: `x * sigmoid(x)` finds `torch.mul(h, h.sigmoid())`, either order of
a commutative operator, and a factor that waits in a local variable. A name that is called is a neutral kind; any other
name stands for a value, the same one wherever it occurs; a number stands for itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Assigned, Place, ReplaceExpression, ReplaceStatements
from fuselight.fusions.plan import Expression as Call
from fuselight.graph.classes import resolve
from fuselight.graph.kinds import COMMUTATIVE, OPERATORS
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_REFERENCE = frozenset("reference ref naive test expected golden eager slow fwd bwd backward grad".split())
"""Words in a function's name that say it is compared with something, or is a part of a gradient by hand."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One node of a parsed pattern: a metavariable, a number, or a kind with inputs."""

    kind: str | None
    inputs: tuple[Pattern, ...] = ()
    variable: str | None = None
    constant: float | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One pattern of a fusion, with the safety of a rewrite from it."""

    pattern: str
    safety: Safety = Safety.EXACT
    note: str = ""
    """What differs, where the rewrite is not exact; it stands in the title."""


class Expression(Fusion):
    """A fusion of one expression: any of `alternatives` becomes `replacement`."""

    alternatives: ClassVar[tuple[Alternative, ...]]
    replacement: ClassVar[str]
    triggers: ClassVar[frozenset[str]]
    """Words of which a function must hold one (or its class a layer of a kind of the pattern)."""

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if not self._wanted(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for alternative in self.alternatives:
            pattern = parse_pattern(alternative.pattern)
            assert pattern.kind is not None
            for root in graph.of_kind(pattern.kind):
                if root.node is None:
                    continue
                found: dict[str, Value] = {}
                inner: list[Value] = []
                if _fits(pattern, root, found, inner):
                    yield self._match(module, scope, graph, alternative, root, found, inner)
            yield from self._in_place(module, scope, graph, alternative, pattern)

    def _wanted(self, scope: Scope) -> bool:
        words = scope.words
        if not self.triggers.isdisjoint(words):
            return True
        layers = scope.owner.layers.values() if scope.owner is not None else ()
        return any(
            layer.kind is not None and layer.kind.rpartition(".")[2] in self.triggers and layer.attribute in words
            for layer in layers
        )

    def _in_place(
        self, module: Module, scope: Scope, graph: Graph, alternative: Alternative, pattern: Pattern
    ) -> Iterator[Match]:
        """`h *= torch.sigmoid(h)`: the same as an assignment, where nobody else holds the memory of `h`."""
        for root in graph.of_kind(f"in-place {pattern.kind}"):
            found: dict[str, Value] = {}
            inner: list[Value] = []
            statement = root.statement
            if not isinstance(statement, ast.AugAssign) or not isinstance(statement.target, ast.Name):
                continue
            if not _fits(pattern, root, found, inner, root.inputs):
                continue
            before, target = root.inputs[0], parse_pattern(self.replacement)
            assert target.kind is not None
            source = " ".join(scope.statement.source(statement).split())
            place = Place(scope.statement, statement)
            message = f"`{source}` is {target.kind} spelled out"
            name = statement.target.id
            refusal = _reference(module, scope, target.kind, statement.value, name)
            refusal = refusal or _layers_kept(module, scope, inner) or _not_floating(before, place)
            alone = before.roots == frozenset({before.order}) and len(before.uses) == 2
            if refusal is None and (not alone or list(found.values()) != [before]):
                refusal = Refusal(f"`{name}` is changed in place, which another name of its memory may see", place)
            if refusal is None and any(value.statement is not statement or len(value.uses) != 1 for value in inner):
                refusal = Refusal("a part of it is used again", place)
            if refusal is None and not scope.statement.stands_alone(statement):
                refusal = Refusal("it shares its line with another statement", place)
            if refusal is not None:
                yield Match(type(self), scope.name, place, message, refused=refusal)
                continue
            put = Assigned(LogicalNode(target.kind, f"func_{target.kind}", {}), (name,), name)
            action = ReplaceStatements(scope.statement, (statement,), (put,))
            title = f"Replace `{source}` by one call of {target.kind}"
            if alternative.safety is not Safety.EXACT:
                title += f" ({alternative.safety.value}: {alternative.note})"
            yield Match(
                type(self), scope.name, place, message, title, alternative.safety, (), partial(_only, action)
            )  # fmt: skip

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        alternative: Alternative,
        root: Value,
        found: dict[str, Value],
        inner: list[Value],
    ) -> Match:
        statement = scope.statement
        assert root.node is not None
        place = Place(statement, root.node)
        source = " ".join(statement.source(root.node).split())
        target = parse_pattern(self.replacement)
        assert target.kind is not None
        message = f"`{source}` is {target.kind} spelled out"
        nodes = [_occurrence(root, found[part.variable or ""]) for part in target.inputs]
        first = ast.unparse(nodes[0]) if nodes and nodes[0] is not None else None
        refusal = _reference(module, scope, target.kind, root.node, first)
        refusal = refusal or _one_place(graph, scope, root, inner, found) or _layers_kept(module, scope, inner)
        refusal = refusal or next((why for value in found.values() if (why := _not_floating(value, place))), None)
        if refusal is None and None in nodes:
            refusal = Refusal("its input is not at hand where the result is used", place)
        inputs = [statement.source(node) for node in nodes if node is not None]
        if refusal is not None:
            return Match(type(self), scope.name, place, message, refused=refusal)
        call = LogicalNode(target.kind, f"func_{target.kind}", {})
        actions: list[Action] = [ReplaceExpression(statement, root.node, Call(call, tuple(inputs)))]
        held = tuple(value.binding for value in inner if value.statement is not root.statement and value.binding)
        if held:
            assert root.statement is not None
            actions.append(ReplaceStatements(statement, held, (), root.statement))
        title = f"Replace `{source}` by one call of {target.kind}"
        if alternative.safety is not Safety.EXACT:
            title += f" ({alternative.safety.value}: {alternative.note})"
        others = tuple(Place(statement, binding) for binding in held)
        return Match(type(self), scope.name, place, message, title, alternative.safety, others, lambda: tuple(actions))


@cache
def parse_pattern(text: str) -> Pattern:
    """Parse a pattern. Raises ValueError for Python that a pattern cannot hold."""
    return _pattern(ast.parse(text, mode="eval").body)


def _pattern(node: ast.expr) -> Pattern:
    match node:
        case ast.Name():
            return Pattern(None, variable=node.id)
        case ast.Constant(value=int() | float() as number):
            return Pattern(None, constant=float(number))
        case ast.BinOp():
            return Pattern(OPERATORS[type(node.op)], (_pattern(node.left), _pattern(node.right)))
        case ast.UnaryOp(op=ast.USub()):
            return Pattern("neg", (_pattern(node.operand),))
        case ast.Call(func=ast.Name(id=kind), keywords=[]):
            return Pattern(kind, tuple(_pattern(argument) for argument in node.args))
        case _:
            raise ValueError(f"no pattern: {ast.unparse(node)}")


def _only(action: Action) -> tuple[Action, ...]:
    return (action,)


def _fits(
    pattern: Pattern,
    value: Value,
    found: dict[str, Value],
    inner: list[Value],
    operands: tuple[Value, ...] | None = None,
) -> bool:
    """Whether `value` computes `pattern`; fills in the metavariables and the values between root and leaves.

    `operands` are those of an operator that works in place; its kind is taken for granted.
    """
    if pattern.variable is not None:
        return found.setdefault(pattern.variable, value) is value
    if pattern.constant is not None:
        known = value.constant
        return isinstance(known, int | float) and not isinstance(known, bool) and known == pattern.constant
    given = value.inputs if operands is None else operands
    known_kind = operands is not None or value.kind == pattern.kind
    if not known_kind or value.keywords or len(given) != len(pattern.inputs):
        return False
    orders = [given]
    if pattern.kind in COMMUTATIVE and operands is None:
        orders.append(tuple(reversed(given)))
    for inputs in orders:
        trial, between = dict(found), list(inner)
        if all(_fits(part, one, trial, between) for part, one in zip(pattern.inputs, inputs, strict=True)):
            found.clear()
            found.update(trial)
            inner[:] = [*between, *(one for part, one in zip(pattern.inputs, inputs, strict=True) if part.kind)]
            return True
    return False


def _one_place(graph: Graph, scope: Scope, root: Value, inner: list[Value], found: dict[str, Value]) -> Refusal | None:
    """Every part must be computed once, for this site alone, from values that do not change on the way."""
    statement = scope.statement
    assert root.node is not None
    for node in ast.walk(root.node):
        if isinstance(node, ast.NamedExpr):
            return Refusal("a name is bound inside the expression", Place(statement, node))
    first = root.order
    for value in inner:
        if value.node is None:
            return Refusal("a part of it is changed in place", Place(statement, root.node))
        at = Place(statement, value.node)
        copied = value.statement is not root.statement and value.binding is not None and value.reads != 1
        if len(value.uses) != 1 or copied:
            return Refusal(f"`{statement.source(value.node)[:60]}` is used again", at)
        if value.block is not root.block:
            return Refusal("its parts are computed in different branches or loops", at)
        inside = any(
            use.by in inner and use.by.statement is value.statement for use in value.uses if use.by is not None
        )
        if value.statement is not root.statement and not inside and (not scope.name or value.binding is None):
            return Refusal(f"`{statement.source(value.node)[:60]}` is not in a variable of its own", at)
        if value.binding is not None and not statement.stands_alone(value.binding):
            return Refusal("it shares its line with another statement", at)
        first = min(first, value.order)
    if not all(value.statement is root.statement for value in inner) and not root.block.is_suite:
        return Refusal("its parts are computed in different branches or loops", Place(statement, root.node))
    if graph.exits_between(first, root.order):
        return Refusal("the function may leave, or torch be switched over, in between", Place(statement, root.node))
    for value in found.values():
        write = graph.written_between(value, first, root.order)
        if write is not None:
            at = write.node if isinstance(write.node, ast.expr | ast.stmt) else root.node
            return Refusal("its input may be changed in between", Place(statement, at))
    return None


def _layers_kept(module: Module, scope: Scope, inner: list[Value]) -> Refusal | None:
    """A layer whose call goes must be what its constructor says, wherever the file may reach it."""
    for value in inner:
        if value.layer is None or scope.owner is None:
            continue
        refusal = (
            provenance.known_class(module, scope.owner)
            or provenance.touched(module, scope.owner, value.layer, None)
            or provenance.named_in_strings(module, (value.layer.attribute,))
            or provenance.found_by_computed_name(module, scope.owner)
            or provenance.hooked(module, frozenset({value.layer.attribute}))
        )
        if refusal is not None:
            return refusal
    return None


_NOT_FLOATING = frozenset(
    "torch.arange torch.randint torch.argmax torch.argmin torch.bincount torch.nonzero torch.view_as_complex"
    " torch.complex torch.polar torch.searchsorted torch.bucketize torch.randperm argmax argmin one_hot".split()
)


def _not_floating(value: Value, place: Place) -> Refusal | None:
    """Whether the source shows an input to be of integers or complex numbers, which the one call may not take."""
    source: Value | None = value
    while source is not None:
        dtype = source.keywords.get("dtype")
        named = dtype.path if dtype is not None else None
        integral = named is not None and named.rpartition(".")[2].startswith(("int", "uint", "complex", "long", "bool"))
        last = source.kind.rpartition(" ")[2]
        if (
            integral
            or source.kind in _NOT_FLOATING
            or last in ("long", "int", "bool", "short", "argmax")
            or (source.kind.startswith("torch.fft."))
        ):
            return Refusal("its input is of integers or complex numbers", place)
        source = (
            source.inputs[0] if source.inputs and source.kind.startswith(("method ", "getitem", "unpack")) else None
        )
    return None


def _occurrence(root: Value, value: Value) -> ast.expr | None:
    """Where `value` stands as an operand of the root itself."""
    for node, one in zip(operands(root), root.inputs, strict=False):
        if one is value:
            return node
    return None


def operands(value: Value) -> list[ast.expr]:
    """The expressions of a value's inputs, in the inputs' order."""
    node = value.node
    match node:
        case ast.BinOp():
            return [node.left, node.right]
        case ast.UnaryOp():
            return [node.operand]
        case ast.Call(func=ast.Attribute() as func):
            if len(value.inputs) == len(node.args) + 1:
                return [func.value, *node.args]
            return list(node.args)
        case ast.Call():
            return list(node.args)
        case _:
            return []


def _reference(module: Module, scope: Scope, kind: str, root: ast.expr, operand: str | None) -> Refusal | None:
    """Code that must stay spelled out: a test's reference, a custom autograd function, the branch beside the call."""
    parts = scope.name.replace(".", "_").lower().split("_")
    if _REFERENCE & set(parts):
        return Refusal(f"`{scope.name}` reads as a reference, or as part of a gradient by hand")
    if scope.owner is not None:
        for base in scope.owner.all_bases:
            if base is not None and base.endswith("autograd.Function"):
                return Refusal(f"`{scope.owner.name}` is a custom autograd function")
    for around in _around(scope, root):
        tested = around.test if isinstance(around, ast.If | ast.IfExp) else around
        for node in ast.walk(tested):
            imported = isinstance(node, ast.alias) and node.name.rpartition(".")[2] == kind
            named = isinstance(node, ast.Attribute | ast.Name | ast.Constant) and _names_kind(module, node, kind)
            if imported or named:
                return Refusal("it stands in for the call where torch lacks it", Place(scope.statement, tested))
    for branch in ast.walk(scope.function):
        if isinstance(branch, ast.If | ast.IfExp) and not (branch in _around(scope, root) and _arms(branch) == 1):
            for node in ast.walk(branch):
                called = isinstance(node, ast.Call) and _names_kind(module, node.func, kind) and node.args
                if called and isinstance(node, ast.Call) and ast.unparse(node.args[0]) == operand:
                    return Refusal("the call itself stands in another branch", Place(scope.statement, node))
    return None


def _around(scope: Scope, root: ast.expr) -> list[ast.If | ast.IfExp | ast.Try]:
    """The branches and `try` statements, of the whole top-level statement, in which `root` stands."""
    found: list[ast.If | ast.IfExp | ast.Try] = []
    for top in scope.statement.body:
        for node in ast.walk(top):
            if isinstance(node, ast.If | ast.IfExp | ast.Try) and any(inner is root for inner in ast.walk(node)):
                found.append(node)
    return found


def _arms(branch: ast.If | ast.IfExp) -> int:
    return 2 if branch.orelse else 1


def _names_kind(module: Module, node: ast.expr, kind: str) -> bool:
    if isinstance(node, ast.Constant):
        return node.value == kind
    path = resolve(node, module.names)
    return path is not None and path.startswith("torch.") and path.rpartition(".")[2].lower() == kind
