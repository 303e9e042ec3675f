"""One version of a file as a whole: its statements, names, classes, mentions and the graphs of its functions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterator, KeysView, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fuselight.graph.build import build_graph
from fuselight.graph.changes import Changes
from fuselight.graph.classes import Classes, ClassInfo, Layer, local_names
from fuselight.graph.effects import is_bare, made_in_place
from fuselight.graph.facts import Facts, facts_of, words_in, words_of_part
from fuselight.graph.mentions import Asked, Function, Mentions
from fuselight.graph.values import Graph
from fuselight.source.names import Names
from fuselight.source.nodes import children_of
from fuselight.source.parts import Facet, Part
from fuselight.source.reads import note, reader, unnoted
from fuselight.source.statements import Placed, Statement

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Scope:
    """A function of the file, with the class it is a method of."""

    function: Function
    owner: ClassInfo | None
    statement: Statement
    name: str
    """Dotted, `Attention.forward`; empty for statements outside any function."""
    enclosing: frozenset[str] = frozenset()
    """Names that the functions around bind: in here they hide the module's."""
    _words: frozenset[str] | None = None
    _names: frozenset[str] | None = None
    _part: Part | None = None
    _facts: Facts | None = None
    _named_layers: tuple[Layer, ...] | None = None
    _applied_layers: tuple[Layer, ...] | None = None
    _noted_layers_in: set[Part | Facet] | None = None
    """Where it was noted last that the class's layers are read."""

    @property
    def words(self) -> frozenset[str]:
        """Every word on the source lines of the function: a cheap answer to what it cannot hold."""
        if self._words is None:
            text, part = self.statement.lines_of(self.function), self.statement.parts.of(self.function)
            alone = part.node is self.function and self.statement.text_of(part) == text
            self._words = words_of_part(part, self.statement) if alone else words_in(text)
        return self._words

    @property
    def names(self) -> frozenset[str]:
        """Those of the words that name something: without what stands in comments and strings."""
        if self._names is None:
            self._names = self.words & self.facts.names
        return self._names

    @property
    def facts(self) -> Facts:
        """What the part that the function stands in mentions: a method's own, else that of all the statement."""
        if self._part is None:
            self._part = self.statement.parts.of(self.function)
        note(self._part)
        if self._facts is None:
            self._facts = facts_of(self._part, self.statement)
        return self._facts

    @property
    def called(self) -> KeysView[str]:
        """The last names of what the function, or what stands around it, calls."""
        return self.facts.calls.keys()

    @property
    def signs(self) -> set[type[ast.AST]]:
        """The operators of the function, or of what stands around it, as `Facts.signs`."""
        return self.facts.signs

    @property
    def named_layers(self) -> tuple[Layer, ...]:
        """The layers of the class of which the function has the name."""
        if self.owner is None:
            return ()
        if self._named_layers is None:
            names = self.names
            self._named_layers = tuple(layer for layer in self.owner.layers.values() if layer.attribute in names)
        elif self._noted_layers_in is not reader():
            _ = self.owner.layers
        self._noted_layers_in = reader()
        return self._named_layers

    @property
    def named_kinds(self) -> set[str | None]:
        """Their kinds."""
        return {layer.kind for layer in self.named_layers}

    @property
    def applied_layers(self) -> tuple[Layer, ...]:
        """Those of them that it may call by their name, `self.fc(x)`."""
        named = self.named_layers
        if self._applied_layers is None:
            called = self.called if named else ()
            self._applied_layers = tuple(layer for layer in named if layer.attribute in called)
        return self._applied_layers

    @property
    def applied_kinds(self) -> set[str | None]:
        """Their kinds."""
        return {layer.kind for layer in self.applied_layers}


def _told(layer: Layer | None) -> tuple[object, ...] | None:
    """What a graph rests on of a layer: another version of the file may have the same by other objects."""
    if layer is None:
        return None
    made = layer.constructor
    how = (made_in_place(made), is_bare(made)) if made is not None else None
    return layer.kind, layer.unknown, how


def _move(graph: Graph, scope: Scope) -> None:
    """Have a graph be that of the same function in another version of the file."""
    graph.function, graph.owner, graph.statement = scope.function, scope.owner, scope.statement
    layers: Mapping[str, Layer] = scope.owner.layers if scope.owner is not None else {}
    graph.called = {name: layers.get(name) for name in graph.called}
    for value in graph.values:
        if value.layer is not None:
            value.layer = layers[value.layer.attribute]


class Module:
    """What the graph stage knows of one version of a file."""

    def __init__(self, placed: list[Placed], previous: Module | None = None, changes: Changes | None = None) -> None:
        """`changes` are those since `previous`, the version before, of which what holds is taken over."""
        self.placed = placed
        self.statements = [one.statement for one in placed]
        if previous is None or changes is None:
            self.names = Names(self.statements)
            self.classes = Classes(self.statements, self.names)
            self.mentions = Mentions(self.statements)
        else:
            replaced = _replaced(previous.statements, self.statements, changes)
            self.names = previous.names.updated(self.statements, replaced)
            updated = previous.classes.updated(self.names, replaced) if replaced is not None else None
            self.classes = updated or Classes(self.statements, self.names, previous.classes)
            self.mentions = Mentions(self.statements, previous.mentions, changes)
        self.starts = {one.statement: one.start for one in placed}
        self._once: dict[Hashable, tuple[Any, Asked]] = {}

    def scopes(self, statement: Statement) -> list[Scope]:
        """The functions of a statement: methods, module-level and nested ones, each a scope of its own."""

        def make(statement: Statement) -> _Scopes:
            scopes = list(_scopes(statement.body, statement, self.classes, ""))
            return _Scopes([scope.owner for scope in scopes], scopes)

        def still_good(kept: _Scopes) -> bool:
            return all(owner is None or self.classes.by_node.get(owner.node) is owner for owner in kept.owners)

        return statement.derive("scopes", make, still_good).scopes

    def graph(self, scope: Scope) -> Graph:
        """The graph of a function; built once for as long as nothing that it rests on changes."""
        owner, statement = scope.owner, scope.statement
        layers: Mapping[str, Layer] = owner.layers if owner is not None else {}

        def make() -> Graph:
            return build_graph(scope.function, owner, self.names, statement, scope.name, scope.enclosing)

        def still_good(kept: Graph) -> bool:
            if kept.names is not self.names or (kept.owner is None) != (owner is None):
                return False
            return kept.owner is owner or all(
                _told(was) == _told(layers.get(name)) for name, was in kept.called.items()
            )

        statement.note_lines_of(scope.function)
        key = f"graph {scope.name} {scope.function.lineno} {scope.function.col_offset}"
        graph = statement.parts.of(scope.function).keep(key, make, still_good)
        if graph.statement is not statement or graph.owner is not owner:
            _move(graph, scope)
        return graph

    def home_of(self, node: ast.stmt) -> Statement | None:
        """The statement that is, or holds side by side with others, a node of the module's own."""
        found = unnoted(lambda: next((one for one in self.statements if node in one.body), None))
        if found is not None:
            note(found.parts.rest)
        return found

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """What `make` finds in this version of the file: found once, whoever asks, and resting on the same for all."""
        known = self._once.get(what)
        if known is None:
            with self.mentions.recorded() as asked:
                value = make()
            known = self._once[what] = (value, asked)
        self.mentions.rest_on(known[1])
        return known[0]


def _replaced(before: list[Statement], now: list[Statement], changes: Changes) -> dict[Statement, Statement] | None:
    """What stands in the place of each statement that went; None where others went or came than these."""
    if len(before) != len(now) or len(changes.before) != len(changes.now):
        return None
    found = {old: new for old, new in zip(before, now, strict=True) if old is not new}
    return found if len(found) == len(changes.before) and found.keys() == {*changes.before} else None


@dataclass(slots=True, eq=False)
class _Scopes:
    owners: list[ClassInfo | None]
    scopes: list[Scope]


def _scopes(
    body: list[ast.stmt],
    statement: Statement,
    classes: Classes,
    prefix: str,
    owner: ClassInfo | None = None,
    enclosing: frozenset[str] = frozenset(),
) -> Iterator[Scope]:
    loose: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            info = classes.by_node.get(node)
            yield from _scopes(node.body, statement, classes, f"{prefix}{node.name}.", info, enclosing)
        elif isinstance(node, Function):
            yield Scope(node, owner, statement, prefix + node.name, enclosing)
            if _holds_functions(node, statement):
                inner = enclosing | local_names(node, statement)
                yield from _inside(node, statement, classes, f"{prefix}{node.name}.", inner)
        elif not prefix:
            loose.append(node)
        else:
            yield from _inside(node, statement, classes, prefix, enclosing)
    if loose:
        whole = _as_function("", ast.arguments([], [], None, [], [], None, []), loose, loose[0], loose[-1])
        yield Scope(whole, None, statement, "")
        for node in loose:
            if any(word in statement.lines_of(node) for word in ("lambda", "def ", "class ")):
                yield from _inside(node, statement, classes, "", frozenset())


def _holds_functions(node: Function, statement: Statement) -> bool:
    """Whether a function may hold others: told by its text, which is much cheaper than a walk."""
    text = statement.lines_of(node)
    return "lambda" in text or text.count("def ") > 1 or "class " in text


def _inside(
    node: ast.stmt, statement: Statement, classes: Classes, prefix: str, enclosing: frozenset[str]
) -> Iterator[Scope]:
    """The functions, classes and lambdas inside a statement, at any depth."""
    stack: list[ast.AST] = [*children_of(node)]
    while stack:
        inner = stack.pop()
        if isinstance(inner, Function | ast.ClassDef):
            yield from _scopes([inner], statement, classes, prefix or ".", None, enclosing)
            continue
        if isinstance(inner, ast.Lambda):
            result = ast.copy_location(ast.Return(inner.body), inner.body)
            function = _as_function("<lambda>", inner.args, [result], inner, inner)
            yield Scope(function, None, statement, f"{prefix}<lambda>", enclosing)
            enclosing |= frozenset(argument.arg for argument in ast.walk(inner.args) if isinstance(argument, ast.arg))
        stack += children_of(inner)


def _as_function(
    name: str, arguments: ast.arguments, body: list[ast.stmt], first: ast.AST, last: ast.AST
) -> ast.FunctionDef:
    """Code outside any `def` as a function, so that it is followed in the same way. Its nodes are the file's own."""
    function = ast.FunctionDef(name, arguments, body, [], None, None)
    function.lineno, function.col_offset = first.lineno, first.col_offset  # pyright: ignore
    function.end_lineno, function.end_col_offset = last.end_lineno, last.end_col_offset  # pyright: ignore
    return function
