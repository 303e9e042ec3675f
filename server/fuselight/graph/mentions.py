"""Who else in the file touches an attribute: every mention of it, and every way to reach it without naming it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fuselight.source.statements import Statement

_WORD = re.compile(r"\w+")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, eq=False)
class Mention:
    """One `<object>.<attribute>` in the file."""

    node: ast.Attribute
    owner: ast.ClassDef | None
    """The class whose `self` it is an attribute of; None for any other object."""
    parent: ast.AST
    function: Function | None
    """The innermost method or module-level function around it."""
    statement: Statement

    @property
    def is_call(self) -> bool:
        """Whether the attribute is called, as in `self.conv(x)`."""
        return isinstance(self.parent, ast.Call) and self.parent.func is self.node

    @property
    def line(self) -> int:
        return self.node.lineno


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """One call in the file, with what stands around it."""

    node: ast.Call
    owner: ast.ClassDef | None
    function: Function | None
    around: tuple[ast.AST, ...]
    """The nodes around the call, outermost first, as far as the top-level statement."""
    statement: Statement


@dataclass(slots=True, eq=False)
class Facts:
    """What one top-level statement mentions; worked out once a statement, and only when somebody asks."""

    attributes: dict[str, list[Mention]] = field(default_factory=dict[str, list[Mention]])
    calls: dict[str, list[Called]] = field(default_factory=dict[str, list[Called]])
    """By the last component of what is called: `nn.init.zeros_(...)` under `zeros_`."""
    strings: list[tuple[str, Function | None]] = field(default_factory=list[tuple[str, Function | None]])
    """String constants that are no docstrings, with the function around each."""
    classes: list[ast.ClassDef] = field(default_factory=list[ast.ClassDef])


def words_of(statement: Statement) -> frozenset[str]:
    """Every word of the statement's text: what no word names, no node names."""
    known = statement.derived.get("words")
    if known is None:
        known = frozenset(_WORD.findall(statement.text))
        statement.derived["words"] = known
    assert isinstance(known, frozenset)
    return known  # pyright: ignore[reportUnknownVariableType]


def facts_of(statement: Statement) -> Facts:
    known = statement.derived.get("facts")
    if known is None:
        known = Facts()
        for node in statement.body:
            _collect(node, statement, known)
        statement.derived["facts"] = known
    assert isinstance(known, Facts)
    return known


@dataclass(slots=True, eq=False)
class Asked:
    """Words and parts of strings that somebody looked for in the whole file."""

    words: set[str] = field(default_factory=set[str])
    parts: set[str] = field(default_factory=set[str])

    def bears_on(self, statement: Statement) -> bool:
        """Whether `statement` could answer any of what was asked."""
        return not self.words.isdisjoint(words_of(statement)) or any(part in statement.text for part in self.parts)


class Mentions:
    """The mentions of one version of a file."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._statements = list(statements)
        self._by_word: dict[str, list[Statement]] = {}
        self._asked: Asked | None = None

    @contextmanager
    def recorded(self) -> Iterator[Asked]:
        """Record what is asked for, so that an answer can be kept until a statement that bears on it changes."""
        before, self._asked = self._asked, Asked()
        try:
            yield self._asked
        finally:
            self._asked = before

    def _with(self, word: str) -> list[Statement]:
        """The statements whose text has `word`."""
        if self._asked is not None:
            self._asked.words.add(word)
        known = self._by_word.get(word)
        if known is None:
            known = [statement for statement in self._statements if word in words_of(statement)]
            self._by_word[word] = known
        return known

    def of_attribute(self, name: str) -> Iterator[Mention]:
        """Every `<object>.<name>`."""
        for statement in self._with(name):
            yield from facts_of(statement).attributes.get(name, ())

    def calls_of(self, *names: str) -> Iterator[Called]:
        """Every call whose last component is one of `names`."""
        for name in names:
            for statement in self._with(name):
                yield from facts_of(statement).calls.get(name, ())

    def strings_with(self, part: str) -> Iterator[tuple[str, Function | None]]:
        """Every string constant (docstrings aside) that contains `part`."""
        if self._asked is not None:
            self._asked.parts.add(part)
        for statement in self._statements:
            if part in statement.text:
                for text, function in facts_of(statement).strings:
                    if part in text:
                        yield text, function

    def strings_in(self, function: Function | None, statement: Statement) -> Iterator[str]:
        """The string constants of one function (None: of the statement outside any function)."""
        for text, around in facts_of(statement).strings:
            if around is function:
                yield text

    def masked_word(self, name: str) -> bool:
        """Whether `name` stands on a line that does not parse, where it may mean anything."""
        return any(name in statement.masked_words for statement in self._with(name))

    def has_word(self, *words: str) -> bool:
        """Whether one of `words` stands anywhere in the file, in code, comment or string."""
        return any(self._with(word) for word in words)


def _collect(top: ast.stmt, statement: Statement, facts: Facts) -> None:
    """Walk `top` once. The stack carries what each node stands in."""
    Frame = tuple[ast.AST, ast.AST, ast.ClassDef | None, str | None, Function | None, tuple[ast.AST, ...]]
    stack: list[Frame] = [(top, top, None, None, None, ())]
    while stack:
        node, parent, owner, self_name, function, around = stack.pop()
        kind = type(node)
        if kind is ast.Attribute:
            assert isinstance(node, ast.Attribute)
            value = node.value
            mine = isinstance(value, ast.Name) and value.id == self_name
            mention = Mention(node, owner if mine else None, parent, function, statement)
            facts.attributes.setdefault(node.attr, []).append(mention)
            stack.append((value, node, owner, self_name, function, around))
            continue
        if kind is ast.Name:
            continue
        if kind is ast.Constant:
            assert isinstance(node, ast.Constant)
            if isinstance(node.value, str) and not isinstance(parent, ast.Expr):
                facts.strings.append((node.value, function))
            continue
        if kind is ast.Call:
            assert isinstance(node, ast.Call)
            name = _last_name(node.func)
            if name is not None:
                facts.calls.setdefault(name, []).append(Called(node, owner, function, around, statement))
        elif kind is ast.ClassDef:
            assert isinstance(node, ast.ClassDef)
            facts.classes.append(node)
            around = (*around, node)
            for child in (*node.decorator_list, *node.bases, *node.keywords):
                stack.append((child, node, owner, self_name, function, around))
            for child in node.body:
                stack.append((child, node, node, None, None, around))
            continue
        elif kind is ast.FunctionDef or kind is ast.AsyncFunctionDef:
            assert isinstance(node, Function)
            around = (*around, node)
            inner_self = self_name
            if isinstance(parent, ast.ClassDef):
                inner_self = self_parameter(node)
            elif self_name in _parameters(node.args):
                inner_self = None
            inner = function if function is not None and not isinstance(parent, ast.ClassDef) else node
            for child in node.decorator_list:
                stack.append((child, node, owner, self_name, function, around))
            for child in ast.iter_child_nodes(node):
                if child not in node.decorator_list:
                    stack.append((child, node, owner, inner_self, inner, around))
            continue
        elif isinstance(node, ast.stmt):
            around = (*around, node)
        for name in node._fields:
            value = getattr(node, name)
            if value.__class__ is list:
                for child in value:
                    if isinstance(child, ast.AST):
                        stack.append((child, node, owner, self_name, function, around))
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context | ast.operator):
                stack.append((value, node, owner, self_name, function, around))


def self_parameter(node: Function) -> str | None:
    """The name of a method's `self`; None for a static or class method."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Name) and decorator.id in ("staticmethod", "classmethod"):
            return None
    positional = [*node.args.posonlyargs, *node.args.args]
    return positional[0].arg if positional else None


def _parameters(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return {argument.arg for argument in every}


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
