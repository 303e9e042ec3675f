"""Fusions of expressions: patterns and what replaces them, as data; matched over the graph from an index by kind.

The language of patterns is that of `pattern`, how they are matched stands in `matching`, what a rewrite asks of a site
beside its pattern in `needs`. Here a match becomes an edit: what goes, what stays because it is used again, and under
which names the operands are at hand.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.integers import not_floating
from fuselight.fusions.matching import Bound, Found, Matcher, Operand
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Assumption, Need, number, shown_to_be_torch
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
    parse_pattern,
)
from fuselight.fusions.plan import Action, AssignedTemplate, Place, ReplaceExpression, ReplaceStatements, Template
from fuselight.fusions.references import reference
from fuselight.fusions.writes import written_behind
from fuselight.graph.classes import assigned_names
from fuselight.graph.kinds import METADATA_ATTRIBUTES, is_random, read_as, words_of_kind
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph, Value
from fuselight.source.names import bound_names

_FLOAT32 = 1e-7
"""Constants that are closer than this differ by less than a float32 rounds."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A pattern and what it becomes.

    Attributes:
        pattern: In the language of `pattern`.
        replacement: A template of the emitter with the pattern's metavariables.
        safety: The class where every need is shown; an assumption makes it `numerics`.
        note: What differs, where the rewrite is not exact; it stands in the title.
        needs: What the site must show beside the pattern.
        shared: Parts that are used again elsewhere stay for them; without it such a site is refused.
        scalars: Metavariables that are Python numbers, and shown to be.
        integers: Further metavariables that may be of integers (targets, dimensions); all others must not be.
    """

    pattern: str
    replacement: str
    safety: Safety = Safety.EXACT
    note: str = ""
    needs: tuple[Need, ...] = ()
    shared: bool = False
    scalars: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()


class Expression(Fusion):
    """A fusion of expressions: any of `rewrites`, the first that fits."""

    rewrites: ClassVar[tuple[Rewrite, ...]]
    label: ClassVar[str] = ""
    """What the one call is called in titles; the replacement's kind where it is empty."""
    says: ClassVar[str] = "is {label} spelled out"
    """What the message says of a site."""
    does: ClassVar[str] = "Replace `{source}` by one call of {label}"
    """What the title says that the edit does."""
    hint: ClassVar[str] = ""
    """A regular expression that the source of a function must hold, for patterns of operators alone (or of `@`)."""

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        yield from index_of((type(self),)).matches(module, scope)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One match of a rewrite's pattern, as its needs see it."""

    module: Module
    scope: Scope
    graph: Graph
    matcher: Matcher
    rewrite: Rewrite
    root: Value
    found: Found

    @property
    def place(self) -> Place:
        node = self.root.node if self.root.node is not None else self.root.statement
        assert node is not None
        return Place(self.scope.statement, node)

    def value(self, name: str) -> Value | None:
        """What a metavariable stands for; None for an absent argument, or several constants together."""
        bound = self.found.bound.get(name)
        return bound.value if isinstance(bound, Operand) else None

    def number(self, name: str) -> float | None:
        """The number that a metavariable stands for, where the source shows it."""
        bound = self.found.bound.get(name)
        return self.matcher.number(bound.value) if isinstance(bound, Operand) else bound

    def is_given(self, name: str) -> bool:
        """Whether an argument is given at the site."""
        return self.found.bound.get(name) is not None

    def text(self, name: str) -> str:
        """The source of a metavariable, for a message."""
        bound = self.found.bound.get(name)
        if isinstance(bound, Operand):
            return _brief(self.scope.statement.source(bound.node)) if bound.node is not None else name
        return _number_text(bound) if bound is not None else name


# -- the index


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
        self._hinted: dict[str, list[_Entry]] = {}
        self._kinds_of_word: dict[str, set[str]] = {}
        self._wordless: set[str] = set()
        self._known: dict[frozenset[str], tuple[_Entry, ...]] = {}
        for fusion, rank, rewrite, pattern in entries:
            entry = _entry(fusion, rank, rewrite, pattern, weights)
            if fusion.hint and any(words_of_kind(kind) is None for kind in entry.anchors or ("add",)):
                self._hinted.setdefault(fusion.hint, []).append(entry)
            else:
                self._groups.setdefault(entry.needed, []).append(entry)
            for kinds in entry.needed:
                for kind in kinds:
                    self._learn(kind)
        self.tried = 0
        """How many pairs of a rewrite and a root were tried: the work, for whoever counts it."""

    def _learn(self, kind: str) -> None:
        words = words_of_kind(kind)
        if words is None:
            self._wordless.add(kind)
        for word in words or ():
            self._kinds_of_word.setdefault(word, set()).add(kind)

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
        words = scope.words
        kinds = set(self._wordless)
        for word in words & self._kinds_of_word.keys():
            kinds |= self._kinds_of_word[word]
        for attribute, layer in scope.owner.layers.items() if scope.owner is not None else ():
            if layer.kind is not None and attribute in words:
                kinds.update(read_as(layer.kind))
        wanted = [*self._of_kinds(frozenset(kinds))]
        text = scope.statement.lines_of(scope.function)
        for hint, entries in self._hinted.items():
            if re.search(hint, text) is not None:
                wanted += [one for one in entries if all(not kinds.isdisjoint(needed) for needed in one.needed)]
        return wanted

    def _of_kinds(self, kinds: frozenset[str]) -> tuple[_Entry, ...]:
        """The rewrites whose needed kinds are all among `kinds`; many functions have the same ones."""
        known = self._known.get(kinds)
        if known is None:
            known = tuple(
                entry
                for needed, entries in self._groups.items()
                if all(not kinds.isdisjoint(one) for one in needed)
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
        seen: set[tuple[int, int]] = set()
        above: dict[tuple[Value, int], list[Value]] = {}
        for entry in wanted:
            if any(kinds.isdisjoint(by_kind) for kinds in entry.needed):
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


_MOST_KNOWN = 4096


@cache
def index_of(fusions: tuple[type[Expression], ...]) -> Index:
    """The index of these fusions, made once."""
    return Index(fusions)


def _entry(
    fusion: type[Expression], rank: int, rewrite: Rewrite, pattern: Pattern, weights: Mapping[frozenset[str], int]
) -> _Entry:
    needed = needed_kinds(pattern)
    sayable = [kinds for kinds in needed if not any(words_of_kind(kind) is None for kind in kinds)] or list(needed)
    anchors = min(
        sayable,
        key=lambda kinds: (commonness(kinds)[0], weights[kinds], sorted(kinds)),
        default=frozenset[str](),
    )
    return _Entry(
        fusion, rewrite, rank, pattern, needed, anchors, _root_kinds(pattern), height(pattern), _summands(pattern)
    )


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


_PRODUCTS = frozenset({"mul", "div", "neg", "pow", *POWERS})
_SUMS = frozenset({"add", "sub", "neg", "mul", "div"})
_CONVERTED = frozenset({f"method {name}" for name in "float double half bfloat16 contiguous to type type_as".split()})


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


# -- from a match to an edit


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
            match = _Planned(fusion, site).match()
            if match.refused is None:
                return match
            refused = refused or match
        assert refused is not None
        return refused


class _Planned:
    """How one site is rewritten, or why it is not."""

    def __init__(self, fusion: type[Expression], site: Site) -> None:
        self.fusion = fusion
        self.site = site
        self.statement = site.scope.statement
        self.root = site.root
        self.found = site.found
        self.target = _target(site.root)
        self.label = fusion.label or _label(site.rewrite.replacement)
        self.gone: set[Value] = set()
        """The values that the rewrite computes no more."""
        self.removed: list[ast.stmt] = []
        """Statements that held nothing else, in order."""

    def match(self) -> Match:
        site = self.site
        place = site.place
        source = _brief(self.statement.source(place.node))
        message = f"`{source}` {self.fusion.says.format(label=self.label)}"
        notes: list[str] = []
        operands: dict[str, str | None] = {}
        refusal = self._sound() or self._asked(notes) or self._at_hand(operands)
        if refusal is not None:
            return Match(self.fusion, site.scope.name, place, message, refused=refusal, parts=self._parts())
        safety = Safety.NUMERICS if notes else site.rewrite.safety
        if site.rewrite.safety is not Safety.EXACT:
            safety = site.rewrite.safety
            notes.insert(0, site.rewrite.note)
        title = self.fusion.does.format(source=source, label=self.label) if self.label else f"Rewrite `{source}`"
        if safety is not Safety.EXACT:
            title += f" ({safety.value}: {'; '.join(notes)})"
        others = tuple(Place(self.statement, one) for one in self.removed)
        template = Template(site.rewrite.replacement, operands)
        return Match(
            self.fusion,
            site.scope.name,
            place,
            message,
            title,
            safety,
            others,
            lambda: self._actions(template),
            parts=self._parts(),
        )

    def _parts(self) -> frozenset[ast.AST]:
        again = [one.value for one in self.found.repeated if one.value.kind not in ("parameter", "joined")]
        values = (self.root, *self.found.inner, *again)
        return frozenset((*(one.node for one in values if one.node is not None), self.site.place.node))

    def _actions(self, template: Template) -> tuple[Action, ...]:
        root = self.root
        if root.node is None:
            assert isinstance(root.statement, ast.AugAssign)
            assert isinstance(root.statement.target, ast.Name)
            put = AssignedTemplate(template, root.statement.target.id)
            return (ReplaceStatements(self.statement, (*self.removed, root.statement), (put,)),)
        actions: list[Action] = [ReplaceExpression(self.statement, root.node, template)]
        if self.removed:
            assert root.statement is not None
            actions.append(ReplaceStatements(self.statement, tuple(self.removed), (), root.statement))
        return tuple(actions)

    # -- what speaks against it

    def _sound(self) -> Refusal | None:
        site, root = self.site, self.root
        bound = tuple(one for one in self.found.bound.values() if isinstance(one, Operand))
        kinds = _kinds_in(site.rewrite.replacement)
        first = next((one.node for one in bound if one.node is not None), None)
        refusal = reference(
            site.module, site.scope, kinds, site.place.node, ast.unparse(first) if first is not None else None
        )
        if refusal is not None:
            return refusal
        if not shown_to_be_torch(site.module, (root, *self.found.inner), bound):
            return Refusal("it may compute with arrays of numpy", site.place)
        return (
            self._in_one_place()
            or self._in_place_root()
            or _layers_kept(site, (root, *self.found.inner))
            or self._written_behind(bound)
        )

    def _written_behind(self, bound: tuple[Operand, ...]) -> Refusal | None:
        """What autograd keeps from now on, and did not before, must not be written to in place behind the site."""
        site, root, rewrite = self.site, self.root, self.site.rewrite
        kind = _label(rewrite.replacement)
        result = f"`{self.label}`'s result"
        if kind in _KEEPS_RESULT and root.kind not in _KEEPS_RESULT:
            refusal = written_behind(site.module, site.scope, site.graph, root, root, result)
            if refusal is not None:
                return refusal
        if kind in _KEEPS_NO_OPERAND:
            return None
        numbers = {*rewrite.scalars, *rewrite.integers}
        tensors = [one for name, one in self.found.bound.items() if isinstance(one, Operand) and name not in numbers]
        for one in tensors:
            summand = kind in _KEEPS_NO_SUMMAND and self._is_summand(one.value)
            if one in bound and not summand and not self._is_kept_already(one.value):
                refusal = written_behind(site.module, site.scope, site.graph, one.value, root)
                if refusal is not None:
                    return refusal
        return None

    def _is_summand(self, value: Value) -> bool:
        """Whether the site does nothing with `value` but add it."""
        users = [one for one in (self.root, *self.found.inner) if value in one.inputs]
        return all(one.kind.removeprefix("in-place ") in ("add", "sub") for one in users)

    def _is_kept_already(self, value: Value) -> bool:
        """Whether a part of the site keeps `value` for its own backward pass."""
        for user in (self.root, *self.found.inner):
            kind = user.in_place or read_as(user.kind)[0]
            if value not in user.inputs or kind not in _KEEPS_OPERAND:
                continue
            if kind not in ("mul", "div") or not any(self.site.matcher.number(one) is not None for one in user.inputs):
                return True
        return False

    def _in_one_place(self) -> Refusal | None:
        """Every part is computed in this block, for this site or what stays, from values that do not change."""
        site, root, graph = self.site, self.root, self.site.graph
        for node in ast.walk(self.target):
            if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                return Refusal("a name is bound inside the expression", Place(self.statement, node))
        if root.statement is not None and any(
            isinstance(text, ast.JoinedStr) and any(one is root.node for one in ast.walk(text))
            for text in ast.walk(root.statement)
        ):
            return Refusal("it stands in a text", site.place)
        self.gone = self._disappearing()
        first = root.order
        for value in self.found.inner:
            first = min(first, value.order)
            if value.node is None and value.kind != "unpack":
                return Refusal("a part of it is changed in place", site.place)
            kept = value not in self.gone
            if kept and not _OF_GRADIENTS.isdisjoint(site.scope.words):
                return Refusal("its gradient may be asked for", self._place(value))
            if kept and not site.rewrite.shared:
                return Refusal(f"`{self._source(value)}` is used again", self._place(value))
            if not kept and value.block is not root.block:
                return Refusal("its parts are computed in different branches or loops", self._place(value))
            if value.block is not root.block and self._contexts(value) != self._contexts(root):
                return Refusal("its parts are computed under different `with` statements", self._place(value))
        refusal = self._statements_go()
        if refusal is not None:
            return refusal
        if self.removed and not root.block.is_suite:
            return Refusal("its parts are computed in different branches or loops", site.place)
        if graph.exits_between(first, root.order):
            return Refusal("the function may leave, or torch be switched over, in between", site.place)
        reads = [one for one in self.found.bound.values() if isinstance(one, Operand)]
        for value in self.found.inner:
            if value not in self.gone and graph.written_between(value, value.order, root.order) is not None:
                return Refusal(f"`{self._source(value)}` may be changed in between", self._place(value))
        for operand in (*reads, *self.found.repeated):
            write = graph.written_between(operand.value, first, root.order)
            if write is not None:
                at = write.node if isinstance(write.node, ast.expr | ast.stmt) else site.place.node
                return Refusal("its input may be changed in between", Place(self.statement, at))
        return None

    def _contexts(self, value: Value) -> set[ast.AST]:
        """The `with` statements around a value: what stands in `torch.no_grad()` has no gradient."""
        node = value.node if value.node is not None else value.statement
        every = [one for one in ast.walk(self.site.graph.function) if isinstance(one, ast.With | ast.AsyncWith)]
        return {one for one in every if node is not None and _contains(one, node)}

    def _in_place_root(self) -> Refusal | None:
        """`h *= torch.sigmoid(h)`: the same as an assignment, where nobody else holds the memory of `h`."""
        root = self.root
        if root.node is not None:
            return None
        statement = root.statement
        if not isinstance(statement, ast.AugAssign) or not isinstance(statement.target, ast.Name):
            return Refusal("it is changed in place", self.site.place)
        before = root.inputs[0]
        outside = [use for use in before.uses if use.by is not root and use.by not in self.found.inner]
        if before.roots != frozenset({before.order}) or outside:
            name = statement.target.id
            return Refusal(f"`{name}` is changed in place, which another name of its memory may see", self.site.place)
        if not self.statement.stands_alone(statement):
            return Refusal("it shares its line with another statement", self.site.place)
        return None

    def _asked(self, notes: list[str]) -> Refusal | None:
        """The rewrite's own needs; what they assume goes into `notes`."""
        rewrite = self.site.rewrite
        for name, bound in self.found.bound.items():
            if isinstance(bound, Operand) and name not in (*rewrite.integers, *rewrite.scalars):
                refusal = not_floating(bound.value, self.site.place)
                if refusal is not None:
                    return refusal
        for need in (number(*rewrite.scalars), *rewrite.needs):
            verdict = need(self.site)
            if isinstance(verdict, Refusal):
                return verdict
            if isinstance(verdict, Assumption) and verdict.text not in notes:
                notes.append(verdict.text)
        if self.found.off > _FLOAT32:
            notes.append("a constant is rounded in the source")
        return None

    # -- what goes, and what stays

    def _disappearing(self) -> set[Value]:
        """The inner values that nothing else uses, with the constants and repeated reads that were for them alone."""
        inner = set(self.found.inner) | set(self.found.numbers)
        for operand in self.found.repeated:
            bound = [one.value for one in self.found.bound.values() if isinstance(one, Operand)]
            if operand.value not in bound:
                inner |= _computed_for(operand.value)
        inner -= {one.value for one in self.found.bound.values() if isinstance(one, Operand)}
        gone = {value for value in inner if not _is_copied(value)}
        while True:
            staying = {
                value
                for value in gone
                if any(use.by is not self.root and use.by not in gone and not _is_idle(use.by) for use in value.uses)
                or any(use.how is Consumption.RETURNED for use in value.uses)
            }
            if not staying:
                return gone
            gone -= staying

    def _statements_go(self) -> Refusal | None:
        """Find the statements that held nothing but what disappears."""
        root = self.root
        statements = {value.statement for value in self.gone if value.statement is not root.statement}
        numbers = set(self.found.numbers) - set(self.found.inner)
        for statement in sorted((one for one in statements if one is not None), key=lambda one: one.lineno):
            there = [value for value in self.gone if value.statement is statement]
            if all(value in numbers for value in there) and not self._is_removable(statement):
                self.gone.difference_update(there)  # a constant may stay where it is
                continue
            if not self._is_removable(statement):
                value = max(there, key=lambda one: one.order)
                return Refusal(f"`{self._source(value)}` is not in a variable of its own", self._place(value))
            if not self.statement.stands_alone(statement):
                return Refusal("it shares its line with another statement", Place(self.statement, statement))
            self.removed.append(statement)
        return None

    def _is_removable(self, statement: ast.stmt) -> bool:
        """Whether a statement only binds names to values that disappear."""
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            return False
        if statement not in self.root.block.statements or not self.site.scope.name:
            return False
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return any(value.binding is statement for value in self.gone)
        if not isinstance(target, ast.Tuple) or not all(isinstance(one, ast.Name) for one in target.elts):
            return False
        if isinstance(statement.value, ast.Tuple):
            there = {value.node for value in self.gone if value.statement is statement}
            return all(element in there for element in statement.value.elts)
        unpacked = [one for one in self.site.graph.of_kind("unpack") if one.statement is statement]
        return bool(unpacked) and all(one in self.gone or not one.uses for one in unpacked)

    def _source(self, value: Value) -> str:
        return _brief(self.statement.source(value.node)) if value.node is not None else "a part of it"

    def _place(self, value: Value) -> Place:
        return Place(self.statement, value.node) if value.node is not None else self.site.place

    # -- the operands where the site stands

    def _at_hand(self, operands: dict[str, str | None]) -> Refusal | None:
        """Find the source of every operand as it can stand at the root."""
        uses = _uses_of_variables(self.site.rewrite.replacement)
        for name in uses:
            bound = self.found.bound.get(name)
            if isinstance(bound, Operand):
                source = self._source_at_root(bound)
                if source is None or (uses[name] > 1 and not _is_plain(source)):
                    what = "is no variable" if source is not None else "is not at hand where the result is used"
                    return Refusal(f"`{self.site.text(name)}` {what}", self.site.place)
                if _is_commented(source):
                    return Refusal("a comment stands in its operand", self.site.place)
                operands[name] = source
            else:
                operands[name] = _number_text(bound) if bound is not None else None
        return None

    def _source_at_root(self, bound: Operand) -> str | None:
        reads = [bound, *(one for one in self.found.repeated if self.site.matcher.is_same(one.value, bound.value))]
        nodes = [one.node for one in reads if one.node is not None and not self._loses_a_name(one.node)]
        for node in nodes:
            if _contains(self.target, node):
                return self.statement.source(node)
        for node in nodes:
            if isinstance(node, ast.Name) and self._still_holds(node, node.id):
                return node.id
        for node in nodes:
            if isinstance(bound.value.constant, int | float | str | bool):
                return self.statement.source(node)
            if self._can_be_moved(node, bound.value):
                return self.statement.source(node)
        if isinstance(bound.value.constant, int | float | str | bool):
            return repr(bound.value.constant)
        return None

    def _loses_a_name(self, node: ast.expr) -> bool:
        """Whether a statement goes that binds a name in `node`, as where one value is computed twice."""
        block, at = self.root.block.statements, self._statement_of(node)
        before = [one for one in self.removed if at is not None and block.index(one) < at]
        return not _bound_in(before, self).isdisjoint(one.id for one in ast.walk(node) if isinstance(one, ast.Name))

    def _statement_of(self, node: ast.expr) -> int | None:
        """The number in the root's block of the statement in which `node` stands."""
        for at, statement in enumerate(self.root.block.statements):
            if _contains(statement, node):
                return at
        return None

    def _stays(self, node: ast.expr) -> bool:
        """Whether `node` stands in a statement that the rewrite leaves, for other uses of what it computes."""
        at = self._statement_of(node)
        return at is None or self.root.block.statements[at] not in self.removed

    def _between(self, node: ast.expr) -> list[ast.stmt] | None:
        """The statements that stay, from that of `node` to the root's, which is left out."""
        first, block = self._statement_of(node), self.root.block.statements
        last = next((n for n, one in enumerate(block) if one is self.root.statement), None)
        if first is None or last is None or first > last:
            return None
        return [one for one in block[first:last] if one not in self.removed]

    def _still_holds(self, node: ast.expr, name: str) -> bool:
        between = self._between(node)
        if between is None:
            return False
        return name not in _bound_in(between, self)

    def _can_be_moved(self, node: ast.expr, value: Value) -> bool:
        """Whether an operand may be evaluated at the root: nothing in between has an effect, or binds its names."""
        between = self._between(node)
        if between is None or self.root.block.guarded:
            return False
        if not isinstance(node, ast.Name | ast.Attribute) and self._stays(node):
            return False  # it would be computed twice: two draws, two calls, two times the work
        graph, root = self.site.graph, self.root
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        attributes = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
        if names & _bound_in(between, self) or attributes & self.site.matcher.stored_attributes:
            return False
        if between and self._has_effects(node, value, between):
            return False
        if any(value.order < write.order < root.order for write in graph.writes):
            return False
        return not any(
            value.order < one.order < root.order
            and (one.kind in ("call", "instance", "opaque") or is_random(one.kind))
            and one not in self.gone
            for one in graph.values
        )

    def _has_effects(self, node: ast.expr, value: Value, between: list[ast.stmt]) -> bool:
        """Whether what an operand calls does, or reads, something that the statements in between read, or change."""
        calls = {one for one in ast.walk(node) if isinstance(one, ast.Call)}
        if not calls:
            return False
        if _stores_attributes(between):  # `self.layer.weight = ...`
            return True
        writes = [one for one in self.site.graph.writes if one.node in calls]
        if any(one.sure for one in writes):
            return True
        return bool(writes) and any(
            value.order < one.order < self.root.order and one not in self.gone and _reads_state(one)
            for one in self.site.graph.values
        )


_KEEPS_RESULT = frozenset("relu softmax log_softmax sigmoid tanh logsumexp hypot exp expm1 sqrt rsqrt cdist".split())
"""Kinds whose backward pass reads their result. Source: tools/autograd/derivatives.yaml, torch 2.13."""

_KEEPS_NO_OPERAND = frozenset("relu softmax log_softmax sigmoid tanh exp expm1 sqrt rsqrt cross_entropy".split())
"""Kinds whose backward pass reads no floating operand."""

_KEEPS_NO_SUMMAND = frozenset({"addmm", "baddbmm", "addcmul", "addcdiv", "linear"})
"""Kinds whose backward pass reads no operand that is only added."""

_KEEPS_OPERAND = frozenset(
    "mul div pow square abs log log1p log2 log10 erf softplus gelu silu mish relu6 hardtanh clamp maximum minimum var"
    " std logsumexp norm vector_norm matmul linear conv1d conv2d conv3d log_sigmoid glu normalize layer_norm rms_norm"
    " cosine_similarity smooth_l1_loss huber_loss mse_loss kl_div mm bmm addmm sin cos leaky_relu hardswish".split()
)
"""Kinds whose backward pass reads their operands; a product with a number reads none."""


_OF_GRADIENTS = frozenset({"autograd", "grad", "retain_grad", "register_hook"})
"""Words of a function that may ask for the gradient of a part."""


def _reads_state(value: Value) -> bool:
    """Whether a value may be another one behind a call of which nothing is known, or have an effect itself."""
    if value.kind == "attribute" and isinstance(value.node, ast.Attribute):
        return value.node.attr not in METADATA_ATTRIBUTES
    return value.kind in ("builtin", "getitem") or (value.kind == "global" and value.path is None)


def _stores_attributes(statements: list[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        for statement in statements
        for node in ast.walk(statement)
    )


def _target(root: Value) -> ast.AST:
    """What the rewrite replaces."""
    node = root.node if root.node is not None else root.statement
    assert node is not None
    return node


def _computed_for(value: Value) -> set[Value]:
    """A value with what it is computed from, as far as that is for it alone."""
    found = {value}
    stack = [value]
    while stack:
        one = stack.pop()
        for source in (*one.inputs, *one.keywords.values()):
            if source not in found and source.kind not in ("parameter", "joined") and len(source.uses) <= 1:
                found.add(source)
                stack.append(source)
    return found


def _is_idle(value: Value | None) -> bool:
    """Whether a value is an element of an unpacked tuple that nobody reads: `values, _ = x.max(-1)`."""
    return value is not None and value.kind == "unpack" and not value.uses and not value.reads


def _is_copied(value: Value) -> bool:
    """Whether a mere copy (`a = b`) hands the value on, so that its uses do not tell where it goes."""
    return value.binding is not None and value.reads > len(value.uses)


def _contains(outer: ast.AST, node: ast.AST) -> bool:
    first = (outer.lineno, outer.col_offset)  # pyright: ignore
    last = (outer.end_lineno, outer.end_col_offset)  # pyright: ignore
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # pyright: ignore
    return first <= begin and end <= last  # pyright: ignore


def _bound_in(statements: list[ast.stmt], planned: _Planned) -> set[str]:
    found = assigned_names(statements, planned.statement) if statements else set[str]()
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.NamedExpr):
                found.update(bound_names(node.target))
            elif isinstance(node, ast.Delete):
                found.update(name for target in node.targets for name in bound_names(target))
    return set(found)


@cache
def _uses_of_variables(template: str) -> Mapping[str, int]:
    """How often each metavariable stands in a template, in the order of their first use."""
    tree = ast.parse(template, mode="eval")
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node not in called:
            found[node.id] = found.get(node.id, 0) + 1
    return found


def _is_commented(source: str) -> bool:
    """Whether a comment stands in an operand outside of its brackets, where the replacement has no place for it."""
    if "#" not in source:
        return False
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(f"({source}\n)").readline):
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if token.type == tokenize.COMMENT and depth == 1:
            return True
    return False


@cache
def _kinds_in(template: str) -> tuple[str, ...]:
    """The kinds that a template calls, and the last names of their functions in lower case."""
    tree = ast.parse(template, mode="eval")
    kinds = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return (*kinds, *(kind.replace("_", "") for kind in kinds))


@cache
def _label(template: str) -> str:
    tree = ast.parse(template, mode="eval").body
    tree = tree.operand if isinstance(tree, ast.UnaryOp) else tree
    return tree.func.id if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else ""


def _is_plain(source: str) -> bool:
    """Whether source may be evaluated twice: a name, an attribute, a literal."""
    node = ast.parse(source.strip(), mode="eval").body
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name | ast.Constant)


def _number_text(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def _brief(source: str) -> str:
    text = " ".join(source.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _layers_kept(site: Site, values: tuple[Value, ...]) -> Refusal | None:
    """A layer whose call goes must be what its constructor says, wherever the file may reach it."""
    module, owner = site.module, site.scope.owner
    for value in values:
        if value.layer is None or owner is None:
            continue
        refusal = (
            provenance.known_class(module, owner)
            or provenance.touched(module, owner, value.layer, None)
            or provenance.named_in_strings(module, (value.layer.attribute,))
            or provenance.found_by_computed_name(module, owner)
            or provenance.hooked(module, frozenset({value.layer.attribute}))
        )
        if refusal is not None:
            return refusal
    return None


__all__ = ["Bound", "Expression", "Index", "Rewrite", "Site", "index_of"]
