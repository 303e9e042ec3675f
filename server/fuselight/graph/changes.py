"""What differs between two versions of a file, as far as anybody asks."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property
from itertools import starmap

from fuselight.graph.facts import CLASS, Facts, facts_of, words_of_part
from fuselight.source.statements import Statement


class Changes:
    """What went from a file, or came to it, between two of its versions."""

    def __init__(self, before: Iterable[Statement], now: Iterable[Statement]) -> None:
        """`before` and `now` are the statements of the two versions."""
        before, now = dict.fromkeys(before), dict.fromkeys(now)
        self.before = [one for one in before if one not in now]
        self.now = [one for one in now if one not in before]
        old = {part: statement for statement in self.before for part in statement.parts}
        new = {part: statement for statement in self.now for part in statement.parts}
        self.gone = {part: statement for part, statement in old.items() if part not in new}
        self.come = {part: statement for part, statement in new.items() if part not in old}
        self.stayed = {part: statement for part, statement in new.items() if part in old}
        """Parts that stand in another statement than before."""
        self._commented = [
            (part, old[part], now)
            for part, now in self.stayed.items()
            if old[part].text_of(part) is not now.text_of(part)
        ]
        self._parts = {**self.gone, **self.come}

    def __bool__(self) -> bool:
        """Whether more than comments changed."""
        return bool(self._parts)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of what went or came."""
        comments = [words_of_part(part, old) ^ words_of_part(part, now) for part, old, now in self._commented]
        return frozenset[str]().union(*starmap(words_of_part, self._parts.items()), *comments)

    @cached_property
    def _facts(self) -> list[Facts]:
        return [facts_of(part, statement) for part, statement in self._parts.items()]

    def mentions(self, name: str) -> bool:
        return any(name in facts.attributes for facts in self._facts)

    def mentions_near(self, name: str, classes: frozenset[str], stored: bool) -> bool:
        """Whether `<object>.<name>` stands there, of anything but the `self` of a class that is not among `classes`."""
        for part, statement in self._parts.items():
            for node, owner, _, _ in facts_of(part, statement).attributes.get(name, ()):
                if owner is CLASS:
                    top = statement.body[0]
                    assert isinstance(top, ast.ClassDef)
                    owner = top
                if (owner is None or owner.name in classes) and not (stored and isinstance(node.ctx, ast.Load)):
                    return True
        return False

    def gives(self, keyword: str) -> bool:
        return any(keyword in facts.keywords for facts in self._facts)

    def calls(self, name: str) -> bool:
        return any(name in facts.calls for facts in self._facts)

    def hands_around(self, name: str) -> bool:
        """Whether `name` is handed around in what went and not in what came, or the other way round."""
        before, now = (
            any(facts_of(part, statement).hands_around(name) for part, statement in parts.items())
            for parts in (self.gone, self.come)
        )
        return before is not now

    def masks(self, name: str) -> bool:
        """Whether `name` stood on a line that does not parse and does no longer, or the other way round."""
        before, now = (any(name in one.masked_words for one in each) for each in (self.before, self.now))
        return before is not now

    def has_string_with(self, part: str) -> bool:
        return any(
            part in one.text and any(part in text for text, _ in facts_of(one, statement).strings)
            for one, statement in self._parts.items()
        )
