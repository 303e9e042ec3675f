"""Fusions of expressions: patterns and what replaces them, as data; matched over the graph from an index by kind.

The language of patterns is that of `pattern`, how they are matched stands in `matching`, what a rewrite asks of a site
beside its pattern in `needs`, and how a match becomes an edit in `planned`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from fuselight.fusions.base import Match
from fuselight.fusions.matching import Found, Matcher
from fuselight.fusions.pattern import (
    POWERS,
    Call,
    Cast,
    Either,
    Pattern,
    Product,
    Sum,
    Variable,
    commonness,
    height,
    needed_kinds,
    once_a_part,
    parse_pattern,
    parts_of,
)
from fuselight.fusions.planned import OneCall, Planned
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.kinds import layer_of_kind, read_as, sign_of_kind, words_of_kind
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph, Value


class Expression(OneCall):
    """A fusion of expressions: any of `rewrites`, the first that fits."""

    rewrites: ClassVar[tuple[Rewrite, ...]]
    hints: ClassVar[tuple[str, ...]] = ()
    """Regular expressions of which the source of a function must hold one, for patterns of operators alone (or of `@`).

    Each begins with the character or word that it is about, and looks behind that: the others are searched for slowly.
    """

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        yield from index_of((type(self),)).matches(module, scope)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One rewrite in the index."""

    fusion: type[Expression]
    rewrite: Rewrite
    rank: int
    """Where it stands among those of its fusion."""
    pattern: Pattern
    needed: frozenset[frozenset[str]]
    anchors: frozenset[str]
    """Kinds of which every site has one: where matching starts. Empty for patterns of operators alone."""
    roots: frozenset[str] | None
    """The kinds of the graph that the root may have; None where that is the anchor itself."""
    height: int
    summands: frozenset[str] | None
    """Of a sum: the kinds of which one of the root's operands must be; None where they may be anything."""
    arithmetic: frozenset[str]
    """Which of "sum" and "product" every site has, by an operator or a call."""


class Index:
    """The rewrites of several fusions by the kinds that they need.

    What a function costs depends on the kinds that stand in it, not on how many rewrites there are: those of which a
    needed kind is missing are never looked at, and the others are tried only around the calls of their rarest kind.
    """

    def __init__(self, fusions: Iterable[type[Expression]]) -> None:
        entries = [
            (fusion, rank, rewrite, parse_pattern(rewrite.pattern))
            for fusion in fusions
            for rank, rewrite in enumerate(fusion.rewrites)
        ]
        weights: dict[frozenset[str], int] = {}
        for *_, pattern in entries:
            for kinds in needed_kinds(pattern):
                weights[kinds] = weights.get(kinds, 0) + 1
        self._groups: dict[frozenset[frozenset[str]], list[_Entry]] = {}
        self._groups_of_kind: dict[str, list[frozenset[frozenset[str]]]] = {}
        """Those that have a kind among the rarest that they need."""
        self._hinted: dict[tuple[str, ...], list[_Entry]] = {}
        self._kinds_of_word: dict[str, set[str]] = {}
        self._kinds_of_layer: dict[str, set[str]] = {}
        self._kinds_of_sign: dict[type[ast.AST], set[str]] = {}
        self._known: dict[frozenset[str], tuple[_Entry, ...]] = {}
        self._sums: dict[_Entry, int] = {}
        """How many sums stand one inside the other at every site of those that were asked for."""
        for fusion, rank, rewrite, pattern in entries:
            entry = _entry(fusion, rank, rewrite, pattern, weights)
            if fusion.hints and any(map(sign_of_kind, entry.anchors or ("add",))):
                self._hinted.setdefault(fusion.hints, []).append(entry)
            else:
                self._groups.setdefault(entry.needed, []).append(entry)
            for kinds in entry.needed:
                for kind in kinds:
                    self._learn(kind)
        for needed in self._groups:
            for kind in min(needed, key=lambda kinds: (weights[kinds], sorted(kinds)), default=("",)):
                self._groups_of_kind.setdefault(kind, []).append(needed)
        self.tried = 0
        """How many pairs of a rewrite and a root were tried: the work, for whoever counts it."""

    def _learn(self, kind: str) -> None:
        for word in words_of_kind(kind):
            self._kinds_of_word.setdefault(word, set()).add(kind)
        layer = layer_of_kind(kind)
        if layer is not None:
            self._kinds_of_layer.setdefault(layer.rpartition(".")[2], set()).add(kind)
        sign = sign_of_kind(kind)
        if sign is not None:
            self._kinds_of_sign.setdefault(sign, set()).add(kind)

    def matches(
        self, module: Module, scope: Scope, fault: Callable[[type[Expression]], None] | None = None
    ) -> Iterator[Match]:
        """The sites in one function. `fault` is told of a fusion that fails, within the exception's handler."""
        wanted = self._wanted(scope)
        if not wanted:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        sites = _Sites(module, scope, graph)
        found: dict[tuple[type[Expression], Value], list[tuple[_Entry, Found]]] = {}
        for entry, root in self._candidates(graph, wanted):
            self.tried += 1
            try:
                for one in sites.matcher.matches(entry.pattern, root, entry.rewrite.scalars):
                    found.setdefault((entry.fusion, root), []).append((entry, one))
            except Exception:
                if fault is None:
                    raise
                fault(entry.fusion)
        for (fusion, root), ways in found.items():
            try:
                yield sites.match(fusion, root, ways)
            except Exception:
                if fault is None:
                    raise
                fault(fusion)

    def _wanted(self, scope: Scope) -> list[_Entry]:
        """The rewrites of which the function's words hold every kind."""
        kinds: set[str] = set()
        called = scope.called
        for word in scope.names & self._kinds_of_word.keys():
            if word in called or word in _ATTRIBUTES:
                kinds |= self._kinds_of_word[word]
        if ast.Call in scope.signs:
            for layer in scope.names & self._kinds_of_layer.keys():
                kinds |= self._kinds_of_layer[layer]
        for sign in scope.signs & self._kinds_of_sign.keys():
            kinds |= self._kinds_of_sign[sign]
        for layer in scope.applied_layers:
            if layer.kind is not None:
                kinds.update(read_as(layer.kind))
        arithmetic = _arithmetic(scope)
        wanted = [one for one in self._of_kinds(frozenset(kinds)) if one.arithmetic <= arithmetic]
        for hints, entries in self._hinted.items():
            able = [
                one
                for one in entries
                if one.arithmetic <= arithmetic and all(not kinds.isdisjoint(needed) for needed in one.needed)
            ]
            if able:
                source = scope.statement.lines_of(scope.function)
                if any(re.search(hint, source) is not None for hint in hints):
                    wanted += able
        return wanted

    def _of_kinds(self, kinds: frozenset[str]) -> tuple[_Entry, ...]:
        """The rewrites whose needed kinds are all among `kinds`; many functions have the same ones."""
        known = self._known.get(kinds)
        if known is None:
            possible = {needed for kind in ("", *kinds) for needed in self._groups_of_kind.get(kind, ())}
            known = tuple(
                entry
                for needed, entries in self._groups.items()
                if needed in possible and all(not kinds.isdisjoint(one) for one in needed)
                for entry in entries
            )
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[kinds] = known
        return known

    def _candidates(self, graph: Graph, wanted: list[_Entry]) -> Iterator[tuple[_Entry, Value]]:
        """Each wanted rewrite with the values that may be the root of a site of it."""
        by_kind: dict[str, list[Value]] = {}
        for raw, values in graph.by_kind.items():
            if raw == "attribute":  # of which a function has many, and few that are calls in another spelling
                values = [one for one in values if isinstance(one.node, ast.Attribute) and one.node.attr in ("T", "mT")]
            for kind in read_as(raw) if values else ():
                by_kind.setdefault(kind, []).extend(values)
        sums = sum(
            len(values)
            for raw, values in graph.by_kind.items()
            if not _ADDED.isdisjoint((raw.removeprefix("in-place "), *(one.in_place for one in values)))
        )
        seen: set[tuple[int, int]] = set()
        above: dict[tuple[Value, int], list[Value]] = {}
        for entry in wanted:
            if any(kinds.isdisjoint(by_kind) for kinds in entry.needed) or self._sums_of(entry) > sums:
                continue
            if not entry.anchors:
                starts = [value for kind in entry.roots or () for value in graph.of_kind(kind)]
                starts += [value for kind in entry.roots or () for value in graph.of_kind(f"in-place {kind}")]
            else:
                anchors = [value for kind in sorted(entry.anchors) for value in by_kind.get(kind, ())]
                starts = [root for anchor in anchors for root in _roots_above(entry, anchor, above)]
            for root in starts:
                key = (id(entry), root.order)
                if key not in seen and _may_be_sum(entry, root):
                    seen.add(key)
                    yield entry, root

    def _sums_of(self, entry: _Entry) -> int:
        if entry not in self._sums:
            self._sums[entry] = _nested_sums(entry.pattern, frozenset(entry.rewrite.scalars))
        return self._sums[entry]


_MOST_KNOWN = 4096

_ATTRIBUTES = frozenset({"T", "mT"})
"""Words that spell a kind without a call."""


@cache
def index_of(fusions: tuple[type[Expression], ...]) -> Index:
    """The index of these fusions, made once."""
    return Index(fusions)


def _entry(
    fusion: type[Expression], rank: int, rewrite: Rewrite, pattern: Pattern, weights: Mapping[frozenset[str], int]
) -> _Entry:
    needed = needed_kinds(pattern)
    sayable = [kinds for kinds in needed if not any(map(sign_of_kind, kinds))] or list(needed)
    anchors = min(
        sayable,
        key=lambda kinds: (commonness(kinds)[0], weights[kinds], sorted(kinds)),
        default=frozenset[str](),
    )
    return _Entry(
        fusion, rewrite, rank, pattern, needed, anchors,
        _root_kinds(pattern), height(pattern), _summands(pattern), _arithmetic_of(pattern),
    )  # fmt: skip


def _arithmetic(scope: Scope) -> frozenset[str]:
    """Whether a function may add anything, and whether it may multiply: "sum" and "product"."""
    return frozenset(
        name
        for name, (signs, words) in _ARITHMETIC.items()
        if not scope.signs.isdisjoint(signs) or not scope.names.isdisjoint(words)
    )


_ARITHMETIC = {
    "sum": ((ast.Add, ast.Sub), words_of_kind("add") | words_of_kind("sub")),
    "product": ((ast.Mult, ast.Div), words_of_kind("mul") | words_of_kind("div")),
}
"""The operators of sums and products, and the words."""


@once_a_part
def _arithmetic_of(pattern: Pattern) -> frozenset[str]:
    """What of "sum" and "product" every spelling of a pattern has."""
    if isinstance(pattern, Either):
        return frozenset[str].intersection(*map(_arithmetic_of, pattern.options))
    found = frozenset[str]().union(*map(_arithmetic_of, parts_of(pattern)))
    if isinstance(pattern, Sum) and len(pattern.terms) + (pattern.constant != 0) > 1:
        found |= {"sum"}
    if isinstance(pattern, Product) and len(pattern.factors) > 1:
        found |= {"product"}
    return found


def _nested_sums(pattern: Pattern, scalars: frozenset[str]) -> int:
    """How many sums stand one inside the other in every spelling of a pattern."""
    if isinstance(pattern, Either):
        return min(_nested_sums(option, scalars) for option in pattern.options)
    inner = max((_nested_sums(part, scalars) for part in parts_of(pattern)), default=0)
    if isinstance(pattern, Sum):
        # A scalar may be a number, and so a part of the constant.
        terms = [term for _, term in pattern.terms if not (isinstance(term, Variable) and term.name in scalars)]
        inner += len(terms) + (pattern.constant != 0) > 1
    return inner


def _may_be_sum(entry: _Entry, root: Value) -> bool:
    """Whether an operand of the root may be a summand that the pattern names: of most sums, none is."""
    if entry.summands is None:
        return True
    return any(one.in_place is not None or not entry.summands.isdisjoint(read_as(one.kind)) for one in root.inputs)


def _summands(pattern: Pattern) -> frozenset[str] | None:
    """The kinds of which a sum that matches has an operand, as products and calls are among its terms."""
    if not isinstance(pattern, Sum):
        return None
    found: set[str] = set()
    for _, term in pattern.terms:
        options = term.options if isinstance(term, Either) else (term,)
        if all(isinstance(one, Call) for one in options):
            found.update(one.kind for one in options if isinstance(one, Call))
        elif not isinstance(term, Product | Variable):
            return None
    if not found and not any(isinstance(term, Product) for _, term in pattern.terms):
        return None
    return frozenset(found | _SUMS | _PRODUCTS)


_ADDED = frozenset({"add", "sub"})
_PRODUCTS = frozenset({"mul", "div", "neg", "pow", *POWERS})
_SUMS = frozenset({"add", "sub", "neg", "mul", "div"})
_CONVERTED = frozenset({f"method {name}" for name in "float double half bfloat16 contiguous to type type_as".split()})


@once_a_part
def _root_kinds(pattern: Pattern) -> frozenset[str] | None:
    """The graph's kinds that a site's root may have; None where a call of any spelling is the root."""
    match pattern:
        case Product():
            return _PRODUCTS
        case Sum():
            return _SUMS
        case Cast(inner=inner):
            kinds = _root_kinds(inner)
            return None if kinds is None else kinds | _CONVERTED
        case Either(options=options):
            several = [_root_kinds(option) for option in options]
            return None if None in several else frozenset(kind for kinds in several for kind in kinds or ())
        case _:
            return None


def _roots_above(entry: _Entry, anchor: Value, above: dict[tuple[Value, int], list[Value]]) -> Iterator[Value]:
    """The values that use `anchor`, at any depth that the pattern has, and itself."""
    if isinstance(entry.pattern, Call) and entry.pattern.kind in entry.anchors:
        yield anchor
        return
    key = (anchor, entry.height)
    if key not in above:
        above[key] = _users(anchor, entry.height)
    for value in above[key]:
        if entry.roots is None or not entry.roots.isdisjoint((value.kind.removeprefix("in-place "), value.in_place)):
            yield value


_MOST_USERS = 120


def _users(value: Value, depth: int) -> list[Value]:
    found = {value: None}
    level = [value]
    for _ in range(depth):
        following: list[Value] = []
        for one in level:
            for use in one.uses:
                if use.how is Consumption.INPUT and use.by is not None and use.by not in found:
                    found[use.by] = None
                    following.append(use.by)
        level = following
        if not level or len(found) > _MOST_USERS:
            break
    return list(found)


@dataclass(slots=True, eq=False)
class _Sites:
    """The sites of one function."""

    module: Module
    scope: Scope
    graph: Graph
    matcher: Matcher = field(init=False)

    def __post_init__(self) -> None:
        self.matcher = Matcher(self.module, self.scope.owner, self.graph)

    def match(self, fusion: type[Expression], root: Value, ways: list[tuple[_Entry, Found]]) -> Match:
        """The best of several ways to see one site: the first that nothing speaks against."""
        ways.sort(key=lambda way: way[0].rank)
        refused: Match | None = None
        for entry, found in ways:
            site = Site(self.module, self.scope, self.graph, self.matcher, entry.rewrite, root, found)
            match = Planned(fusion, site).match()
            if match.refused is None:
                return match
            refused = refused or match
        assert refused is not None
        return refused


__all__ = ["Expression", "Index", "index_of"]
