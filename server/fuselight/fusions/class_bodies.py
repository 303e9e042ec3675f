"""A module class that computes one layer by hand: what its `forward` is."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fuselight.fusions.base import Refusal
from fuselight.fusions.matching import Found, Matcher, Operand
from fuselight.fusions.needs import Assumption, number
from fuselight.fusions.pattern import parse_pattern
from fuselight.fusions.plan import Place
from fuselight.fusions.site import Rewrite, Site
from fuselight.fusions.written_out import WrittenOut
from fuselight.graph.build import build_graph
from fuselight.graph.classes import ClassInfo
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import ANYTHING, EXTERNAL, Consumption, Graph, Value

MODULE = "torch.nn.Module"
_MOST_STATEMENTS = 16
"""A `forward` with more of them is more than one layer."""
_MOST_METHODS = 7
_NOT_FOLLOWED = ("call", "opaque", "instance", "joined", "starred")


@dataclass(frozen=True, slots=True, eq=False)
class ClassBody:
    """A class of which `forward` maps one tensor to one value, with all that it calls of the file written out."""

    module: Module
    owner: ClassInfo
    scope: Scope
    """Its `forward`, with the file's own functions that it calls put in their place."""
    graph: Graph
    matcher: Matcher
    input: Value
    result: Value
    inlined: tuple[Function, ...]
    """Methods of the class that only `forward` needs."""

    @property
    def forward(self) -> Function:
        return self.owner.methods["forward"]

    @property
    def init(self) -> Function | None:
        return self.owner.methods.get("__init__")

    @property
    def place(self) -> Place:
        return Place(self.owner.statement, self.owner.node.bases[0])


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One rewrite that fits the whole of a class."""

    rewrite: Rewrite
    site: Site
    notes: tuple[str, ...]
    """What differs, or is assumed; nothing where it is exact."""

    def value(self, name: str) -> Value | None:
        return self.site.value(name)


def is_of_plain_class(scope: Scope) -> bool:
    """Whether `scope` is the `forward` of one input of a plain `nn.Module`: what a class body is read of."""
    owner, function = scope.owner, scope.function
    if owner is None or function.name != "forward" or owner.bases != (MODULE,) or owner.ancestors:
        return False
    if len(owner.node.bases) != 1 or not isinstance(function, ast.FunctionDef) or len(owner.methods) > _MOST_METHODS:
        return False
    if len(function.body) > _MOST_STATEMENTS or owner.methods.get("forward") is not function:
        return False
    arguments = function.args
    others = arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults
    return not others and len([*arguments.posonlyargs, *arguments.args]) == 2


def is_whole(scope: Scope) -> bool:
    """Whether every line of the class parses: one that does not may say anything of it."""
    return scope.owner is not None and not scope.statement.is_masked(scope.owner.node)


def class_body(module: Module, scope: Scope) -> ClassBody | None:
    """The body of a plain `nn.Module` of the file, where `scope` is a `forward` that can be followed.

    It is read once, whoever asks.
    """
    return module.once(("class body", scope.function), lambda: _read(module, scope))


def _read(module: Module, scope: Scope) -> ClassBody | None:
    owner, function = scope.owner, scope.function
    if owner is None or not is_of_plain_class(scope):
        return None
    assert isinstance(function, ast.FunctionDef)
    positional = [*function.args.posonlyargs, *function.args.args]
    written_out = WrittenOut(module, owner, function)
    body = written_out.body()
    if body is None:
        return None
    graph: Graph
    if written_out.changed:
        whole = copy.copy(function)
        whole.body = body
        scope = Scope(whole, owner, scope.statement, scope.name, scope.enclosing)
        graph = build_graph(whole, owner, module.names, scope.statement, scope.name, scope.enclosing)
    else:
        graph = module.graph(scope)
    if graph.opaque is not None or _writes_show(graph) or len(graph.exits) != 1:
        return None
    others = [value for kind in _NOT_FOLLOWED for value in graph.of_kind(kind)]
    if any(not isinstance(value.node, ast.Slice) for value in others):
        return None
    inputs = [value for value in graph.of_kind("parameter") if value.path == positional[1].arg]
    results = [value for value in graph.values if any(use.how is Consumption.RETURNED for use in value.uses)]
    if len(inputs) != 1 or len(results) != 1 or results[0].node is None:
        return None
    matcher = Matcher(module, owner, graph)
    return ClassBody(module, owner, scope, graph, matcher, inputs[0], results[0], tuple(written_out.methods))


def _writes_show(graph: Graph) -> bool:
    """Whether something is written in place that anybody but the next step could see."""
    if any(not write.sure or not write.roots.isdisjoint({EXTERNAL, ANYTHING}) for write in graph.writes):
        return True
    written = frozenset(root for write in graph.writes for root in write.roots)
    made = [value for value in graph.values if not value.roots.isdisjoint(written)]
    return bool(graph.writes) and any(len(value.uses) > 1 for value in made)


def ways(body: ClassBody, rewrites: Iterable[Rewrite], operand: str = "x") -> Iterator[Way | Refusal]:
    """The rewrites that fit what the class returns, computed from nothing but its input `operand`."""
    for rewrite in rewrites:
        for found in body.matcher.matches(parse_pattern(rewrite.pattern), body.result, rewrite.scalars):
            bound = found.bound.get(operand)
            if not isinstance(bound, Operand) or bound.value is not body.input:
                continue
            yield _judged(body, rewrite, found)


def _judged(body: ClassBody, rewrite: Rewrite, found: Found) -> Way | Refusal:
    site = Site(body.module, body.scope, body.graph, body.matcher, rewrite, body.result, found)
    notes = [rewrite.note] if rewrite.note else []
    for need in (number(*rewrite.scalars), *rewrite.needs):
        verdict = need(site)
        if isinstance(verdict, Refusal):
            return Refusal(verdict.reason)
        if isinstance(verdict, Assumption) and verdict.text not in notes:
            notes.append(verdict.text)
    if found.off > 1e-7:
        notes.append("a constant is rounded in the source")
    return Way(rewrite, site, tuple(notes))


def called_kind(replacement: str) -> tuple[str, Mapping[str, ast.expr]] | None:
    """The kind that a replacement is one call of, and its arguments behind the input, by position ("1") or name."""
    tree = ast.parse(replacement, mode="eval").body
    match tree:
        case ast.Call(func=ast.Name(id=kind), args=[ast.Name(id="x"), *rest], keywords=keywords):
            given = {str(number): one for number, one in enumerate(rest, 1)}
            named = {one.arg: one.value for one in keywords if one.arg is not None}
            return kind, {**given, **named}
        case _:
            return None
