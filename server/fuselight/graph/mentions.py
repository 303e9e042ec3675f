"""Who else in the file touches an attribute: every mention of it, and every way to reach it without naming it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fuselight.graph.changes import Changes
from fuselight.graph.facts import CLASS, AttributeFact, CallFact, facts_of, kept_words, own_words
from fuselight.graph.facts import Function as Function
from fuselight.graph.facts import is_own_fuse as is_own_fuse
from fuselight.graph.facts import is_own_hook as is_own_hook
from fuselight.graph.facts import self_parameter as self_parameter
from fuselight.source.parts import Facet, Part
from fuselight.source.reads import note, note_in
from fuselight.source.statements import Statement


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
    def is_read(self) -> bool:
        return isinstance(self.node.ctx, ast.Load)

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


class _Mentioned:
    """What one statement mentions: that of its parts, put into the statement."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.facts = [facts_of(part, statement) for part in reversed([*statement.parts])]
        self.top: ast.stmt | None = statement.body[0] if statement.parts.methods else None
        self._attributes: dict[str, list[Mention]] = {}
        self._calls: dict[str, list[Called]] = {}

    def attributes(self, name: str) -> list[Mention]:
        known = self._attributes.get(name)
        if known is None:
            known = [self._mention(one) for facts in self.facts for one in facts.attributes.get(name, ())]
            self._attributes[name] = known
        return known

    def calls(self, name: str) -> list[Called]:
        known = self._calls.get(name)
        if known is None:
            known = [self._called(one) for facts in self.facts for one in facts.calls.get(name, ())]
            self._calls[name] = known
        return known

    def with_keyword(self, name: str) -> list[Called]:
        return [self._called(one) for facts in self.facts for one in facts.keywords.get(name, ())]

    def strings(self) -> Iterator[tuple[str, Function | None]]:
        for facts in self.facts:
            yield from facts.strings

    def _mention(self, fact: AttributeFact) -> Mention:
        node, owner, parent, function = fact
        parent = self.top if parent is CLASS and self.top is not None else parent
        return Mention(node, self._owner(owner), parent, function, self.statement)

    def _called(self, fact: CallFact) -> Called:
        node, owner, function, around = fact
        if self.top is not None and around and around[0] is CLASS:
            around = (self.top, *around[1:])
        return Called(node, self._owner(owner), function, around, self.statement)

    def _owner(self, owner: ast.ClassDef | None) -> ast.ClassDef | None:
        return self.top if owner is CLASS and isinstance(self.top, ast.ClassDef) else owner


def _mentioned(statement: Statement) -> _Mentioned:
    return statement.keep("mentioned", _Mentioned)


def _has_alike(statement: Statement, word: str) -> bool:
    """Whether a statement has `word`, given in lower case, in whatever case."""

    def has(statement: Statement) -> bool:
        alike = (one for one in kept_words(statement) if len(one) == len(word))
        # What is no ASCII may be alike all the same: "\u017f" is an "s".
        return any(
            one.lower() == word if one.isascii() else re.fullmatch(word, one, re.IGNORECASE) is not None
            for one in alike
        )

    return statement.keep(f"{word} in any case", has)


def read_ahead(statement: Statement) -> None:
    """Work out what a statement mentions, before anybody asks."""
    _mentioned(statement)


@dataclass(slots=True, eq=False)
class Asked:
    """What somebody looked for in the whole file, and the parts that were read on the way."""

    words: set[str] = field(default_factory=set[str])
    attributes: set[str] = field(default_factory=set[str])
    calls: set[str] = field(default_factory=set[str])
    keywords: set[str] = field(default_factory=set[str])
    handed: set[str] = field(default_factory=set[str])
    masked: set[str] = field(default_factory=set[str])
    strings: set[str] = field(default_factory=set[str])
    near: set[tuple[str, frozenset[str], bool]] = field(default_factory=set[tuple[str, frozenset[str], bool]])
    """Attributes, the names of the classes of whose `self` they may be, and whether only being set counts."""
    parts: set[Part | Facet] = field(default_factory=set["Part | Facet"])
    everything: bool = False
    """Whether the whole file was looked at."""
    _every: frozenset[str] | None = None
    """All the words and names, once they are complete."""

    def hold(self, changes: Changes) -> bool:
        """Whether the answers are what they were."""
        words = changes.words
        if changes.only_comments:
            return self.words.isdisjoint(words)
        if self.everything or not self.parts.isdisjoint(changes.lost):
            return False
        if changes.sets and not self.parts.isdisjoint(changes.facets):
            # Of the attributes that are set without a call those count that the readers have the names of.
            names = map(own_words, (part for part in self.parts if isinstance(part, Part)))
            if not all(map(changes.sets.isdisjoint, names)):
                return False
        if self._every is None:
            names = [*(name for name, _, _ in self.near), *self.keywords]
            self._every = frozenset((*self.words, *self.attributes, *self.calls, *self.handed, *self.masked, *names))
        if self._every.isdisjoint(words):
            return not any(map(changes.has_string_with, self.strings))
        return not (
            not self.words.isdisjoint(words)
            or any(map(changes.mentions, self.attributes & words))
            or any(name in words and changes.mentions_near(name, near, stored) for name, near, stored in self.near)
            or any(map(changes.calls, self.calls & words))
            or any(map(changes.gives, self.keywords & words))
            or any(map(changes.hands_around, self.handed & words))
            or any(map(changes.masks, self.masked & words))
            or any(map(changes.has_string_with, self.strings))
        )

    def add(self, other: Asked) -> None:
        """Rest on what `other` rests on too."""
        self.words |= other.words
        self.attributes |= other.attributes
        self.calls |= other.calls
        self.keywords |= other.keywords
        self.handed |= other.handed
        self.masked |= other.masked
        self.strings |= other.strings
        self.near |= other.near
        self.parts |= other.parts
        self.everything = self.everything or other.everything


class _Recording:
    """What is asked of some mentions, and read of the file, within its `with`."""

    # No generator: there is one of these for every function.
    __slots__ = ("_asked_before", "_mentions", "_read_before")

    def __init__(self, mentions: Mentions) -> None:
        self._mentions = mentions

    def __enter__(self) -> Asked:
        asked = Asked()
        self._asked_before = self._mentions.swap_record(asked)
        self._read_before = note_in(asked.parts)
        return asked

    def __exit__(self, *_: object) -> None:
        note_in(self._read_before)
        self._mentions.swap_record(self._asked_before)


class Mentions:
    """The mentions of one version of a file."""

    def __init__(
        self, statements: Iterable[Statement], previous: Mentions | None = None, changes: Changes | None = None
    ) -> None:
        self._statements = list(statements)
        self._words: list[tuple[Statement, frozenset[str]]] | None = None
        self._by_word: dict[str, list[Statement]] | None = None
        self._unknown: set[str] = set()
        """Words of statements that changed, of which nobody has asked since who else has them."""
        self._lacking: set[str] = set()
        """Words that the file has in no case."""
        self._asked: Asked | None = None
        if previous is not None and changes is not None:
            now = changes.now
            self._lacking = {word for word in previous._lacking if not any(_has_alike(one, word) for one in now)}
            if previous._by_word is not None:
                self._by_word = dict(previous._by_word)
                self._unknown = previous._unknown.union(*map(kept_words, (*changes.before, *changes.now)))

    def recorded(self) -> _Recording:
        """Record what is asked for and read, so that an answer can be kept until something that bears on it changes."""
        return _Recording(self)

    def swap_record(self, asked: Asked | None) -> Asked | None:
        """Record in `asked` from here on; returns what was recorded in before."""
        before, self._asked = self._asked, asked
        return before

    def rest_on(self, asked: Asked) -> None:
        """Have what is recorded rest on what was asked before."""
        if self._asked is not None:
            self._asked.add(asked)

    def _with(self, word: str) -> list[Statement]:
        """The statements whose text has `word`."""
        if self._by_word is None:
            self._by_word = {}
            for statement in self._statements:
                for one in kept_words(statement):
                    self._by_word.setdefault(one, []).append(statement)
        elif word in self._unknown:
            if self._words is None:
                self._words = [(statement, kept_words(statement)) for statement in self._statements]
            self._by_word[word] = [statement for statement, words in self._words if word in words]
            self._unknown.discard(word)
        return self._by_word.get(word) or []

    def ask_for(self, attributes: Iterable[str] = (), calls: Iterable[str] = ()) -> None:
        """Say that what is asked rests on the mentions of these attributes, and the calls of that name."""
        if self._asked is not None:
            self._asked.attributes.update(attributes)
            self._asked.calls.update(calls)

    def look_at_everything(self) -> None:
        """Say that what is asked rests on every statement of the file."""
        if self._asked is not None:
            self._asked.everything = True

    def of_attribute(self, name: str) -> Iterator[Mention]:
        """Every `<object>.<name>`."""
        if self._asked is not None:
            self._asked.attributes.add(name)
        for statement in self._with(name):
            yield from _mentioned(statement).attributes(name)

    def of_attribute_near(self, name: str, family: Iterable[ast.ClassDef], stored: bool = False) -> list[Mention]:
        """Every `<object>.<name>`, of `self` only in the classes of `family`; with `stored`, those that set it."""
        classes = set(family)
        if self._asked is not None:
            self._asked.near.add((name, frozenset(one.name for one in classes), stored))
        return [
            mention
            for statement in self._with(name)
            for mention in _mentioned(statement).attributes(name)
            if (mention.owner is None or mention.owner in classes) and not (stored and mention.is_read)
        ]

    def of_attribute_in(self, statement: Statement, name: str) -> list[Mention]:
        """Every `<object>.<name>` in one statement."""
        if self._asked is not None:
            self._asked.attributes.add(name)
        return _mentioned(statement).attributes(name) if name in kept_words(statement) else []

    def calls_of(self, *names: str) -> Iterator[Called]:
        """Every call whose last component is one of `names`."""
        for name in names:
            if self._asked is not None:
                self._asked.calls.add(name)
            for statement in self._with(name):
                yield from _mentioned(statement).calls(name)

    def calls_with(self, keyword: str) -> Iterator[Called]:
        """Every call with a keyword argument of that name."""
        if self._asked is not None:
            self._asked.keywords.add(keyword)
        for statement in self._with(keyword):
            yield from _mentioned(statement).with_keyword(keyword)

    def used_uncalled(self, name: str) -> bool:
        """Whether something called `name` is handed around, renamed or kept rather than called."""
        if self._asked is not None:
            self._asked.handed.add(name)
        return any(facts.hands_around(name) for statement in self._with(name) for facts in _mentioned(statement).facts)

    def strings_with(self, part: str) -> Iterator[tuple[str, Function | None]]:
        """Every string constant (docstrings aside) that contains `part`."""
        if self._asked is not None:
            self._asked.strings.add(part)
        for statement in self._statements:
            if any(part in one.text for one in statement.parts):
                for text, function in _mentioned(statement).strings():
                    if part in text:
                        yield text, function

    def strings_in(self, function: Function | None, statement: Statement) -> Iterator[str]:
        """The string constants of one function (None: of the statement outside any function)."""
        if function is None:
            for part in statement.parts:
                note(part)
        else:
            statement.note_lines_of(function)
        for text, around in _mentioned(statement).strings():
            if around is function:
                yield text

    def masked_word(self, name: str) -> bool:
        """Whether `name` stands on a line that does not parse, where it may mean anything."""
        if self._asked is not None:
            self._asked.masked.add(name)
        return any(name in statement.masked_words for statement in self._with(name))

    def has_word(self, *words: str) -> bool:
        """Whether one of `words` stands anywhere in the file, in code, comment or string.

        What is kept rests on every place that has one of them.
        """
        if self._asked is not None:
            self._asked.words.update(words)
        return any(map(self._with, words))

    def statements_alike(self, word: str) -> list[Statement]:
        """The statements whose text has `word` in whatever case."""
        if word in self._lacking:
            return []
        found = [statement for statement in self._statements if _has_alike(statement, word)]
        if not found:
            self._lacking.add(word)
        return found

    def statements_with(self, word: str) -> list[Statement]:
        """The statements whose text has `word`; what is kept rests on every place that has it."""
        if self._asked is not None:
            self._asked.words.add(word)
        return self._with(word)
