"""What differs between two versions of a file, as far as anybody asks."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property

from fuselight.graph.facts import CLASS, Facts, facts_of, facts_of_some, words_in, words_of_part
from fuselight.source.parts import Facet, Part
from fuselight.source.statements import Statement


class Changes:
    """What went from a file, or came to it, between two of its versions."""

    def __init__(self, before: Iterable[Statement], now: Iterable[Statement]) -> None:
        """`before` and `now` are the statements of the two versions."""
        before, now = dict.fromkeys(before), dict.fromkeys(now)
        self._known: dict[Part, Facts] = {}
        self._strings: dict[str, bool] = {}
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
        self.only_comments = not self._parts
        retyped = [(part, part.retyped) for part in self.come]
        self._some = {
            one: statements
            for part, made in retyped
            if made is not None and made.before in self.gone
            for one, statements in ((made.before, made.gone), (part, made.come))
        }
        """The statements that alone differ in parts that went or came."""
        facets = {part.facet for part in self.come}
        self.lost: set[Part | Facet] = {*self.gone, *(part.facet for part in self.gone if part.facet not in facets)}
        """What nobody can rest on any more."""
        self.facets = facets.difference(self.lost, (part.facet for part in self.stayed))
        """Facets of parts that came, which hold but for the attributes `sets`."""
        self.sets = frozenset[str]().union(*(made.sets for _, made in retyped if made is not None and made.sets))

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of what went or came."""
        comments = [words_of_part(part, old) ^ words_of_part(part, now) for part, old, now in self._commented]
        whole = [words_of_part(part, one) for part, one in self._parts.items() if part not in self._some]
        some = [words_in(self._parts[part].lines_of(node)) for part, nodes in self._some.items() for node in nodes]
        return frozenset[str]().union(*comments, *whole, *some, *map(self._words_apart, self.come))

    def _words_apart(self, part: Part) -> frozenset[str]:
        """The words that a part of which some differs has, and had not, or the other way round."""
        if part.retyped is None or part not in self._some:
            return frozenset()
        before = part.retyped.before
        return words_of_part(before, self.gone[before]) ^ words_of_part(part, self.come[part])

    def _facts_in(self, part: Part) -> Facts:
        """What differs of what a part mentions."""
        known = self._known.get(part)
        if known is None:
            some = self._some.get(part)
            known = facts_of(part, self._parts[part]) if some is None else facts_of_some(part, some)
            self._known[part] = known
        return known

    @cached_property
    def _facts(self) -> list[Facts]:
        return [self._facts_in(part) for part in self._parts]

    def mentions(self, name: str) -> bool:
        return any(name in facts.attributes for facts in self._facts)

    def mentions_near(self, name: str, classes: frozenset[str], stored: bool) -> bool:
        """Whether `<object>.<name>` stands there, of anything but the `self` of a class that is not among `classes`."""
        for part, statement in self._parts.items():
            for node, owner, _, _ in self._facts_in(part).attributes.get(name, ()):
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
            any(self._facts_in(part).hands_around(name) for part in parts) for parts in (self.gone, self.come)
        )
        return before is not now

    def masks(self, name: str) -> bool:
        """Whether `name` stood on a line that does not parse and does no longer, or the other way round."""
        before, now = (any(name in one.masked_words for one in each) for each in (self.before, self.now))
        return before is not now

    def has_string_with(self, part: str) -> bool:
        if part not in self._strings:
            self._strings[part] = any(
                part in one.text and any(part in text for text, _ in self._facts_in(one).strings) for one in self._parts
            )
        return self._strings[part]
