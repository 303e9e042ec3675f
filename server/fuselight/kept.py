"""The matches that one version of a file takes over from the one before: of every part on which no change bears."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fuselight.fusions.base import Match
from fuselight.fusions.plan import Action, Place
from fuselight.graph.changes import Changes
from fuselight.graph.mentions import Asked
from fuselight.graph.module import Module
from fuselight.source.lines import Span
from fuselight.source.parts import Part
from fuselight.source.statements import Statement


@dataclass(slots=True, eq=False)
class Unit:
    """The matches in the functions of one part of a statement, and what they rest on."""

    version: int
    """The version of the file in which they were found."""
    codes: frozenset[str] = frozenset()
    """The fusions that were looked for."""
    matches: list[Match] = field(default_factory=list[Match])
    asked: Asked = field(default_factory=Asked)

    def statements(self) -> set[Statement]:
        """Every statement that a match has a place in."""
        return {place.statement for match in self.matches for place in _places(match)}


class Shown:
    """A match that is to be seen, the part that it was found in, and where it stands in its statements."""

    __slots__ = ("at", "match", "others", "part", "statement")

    def __init__(self, match: Match, statement: Statement, part: Part) -> None:
        self.match = match
        self.statement = statement
        self.part = part
        self.at, *others = (
            (place.statement, place.statement.span(place.node)) for place in (match.place, *match.others)
        )
        self.others: list[tuple[Statement, Span]] = others


@dataclass(slots=True, eq=False)
class Kept:
    """The units of one statement, with what they rest on together."""

    units: dict[Part, Unit] = field(default_factory=dict[Part, Unit])
    shown: list[Shown] = field(default_factory=list[Shown])
    """Those of their matches that are to be seen, once the units are whole."""
    shown_for: frozenset[str] | None = None
    """The fusions that were looked for in all units; None where some are missing."""
    _asked: Asked | None = None
    _statements: set[Statement] | None = None

    def hold(self, changes: Changes) -> bool:
        """Whether all units hold, with their places."""
        if self._asked is None:
            self._asked = Asked()
            for unit in self.units.values():
                self._asked.add(unit.asked)
        if self._statements is None:
            self._statements = {one for unit in self.units.values() if unit.matches for one in unit.statements()}
        return self._statements.isdisjoint(changes.before) and self._asked.hold(changes)


def taken_over(
    known: dict[Statement, Kept], version: int, before: Module, now: Module, changes: Changes
) -> dict[Statement, Kept]:
    """What of the matches of `before`, the module of a file's `version`, holds in `now`."""
    if before.names is not now.names:
        return {}
    if before.statements == now.statements:
        return dict(known)
    new = set(now.statements)
    follower = _followers(changes)
    come = set(changes.now).difference(follower.values())
    if [follower.get(one, one) for one in before.statements if one in new or one in follower] != [
        one for one in now.statements if one not in come
    ]:
        return {}  # they changed places: of several reasons another may come first
    relatives = _relatives(changes, before, now)
    found: dict[Statement, Kept] = {}
    for statement, kept in known.items():
        home = follower.get(statement, statement)
        if home not in new or home in relatives:
            continue
        whole = home is statement and kept.shown_for is not None
        if whole and kept.hold(changes):
            found[home] = kept
            continue
        holding = {
            part: unit
            for part, unit in kept.units.items()
            if (home is statement or part in changes.stayed) and unit.asked.hold(changes)
        }
        taken = {part: _brought_along(unit, version, changes, follower) for part, unit in holding.items()}
        units = {part: unit for part, unit in taken.items() if unit is not None}
        same = home is statement and units == kept.units
        found[home] = kept if same else Kept(units)
    return found


def _followers(changes: Changes) -> dict[Statement, Statement]:
    """The statement in the place of each that went, where a part of it stayed."""
    return {
        statement: changes.stayed[part]
        for statement in changes.before
        for part in statement.parts
        if part in changes.stayed
    }


def _relatives(changes: Changes, before: Module, now: Module) -> set[Statement]:
    """The statements whose classes share a family with a class of which more than methods changed."""
    found: set[Statement] = set()
    for module, parts in ((before, changes.gone), (now, changes.come)):
        changed = [statement for part, statement in parts.items() if part is statement.parts.rest]
        if any("class" in statement.text for statement in changed):
            related = module.classes.related()
            found.update(relative for statement in changed for relative in related.get(statement, ()))
    return found


def _brought_along(unit: Unit, version: int, changes: Changes, follower: dict[Statement, Statement]) -> Unit | None:
    """A unit with its places in the statements of now; None where one of them is gone."""
    if not unit.matches or (unit.version != version and unit.statements().isdisjoint(changes.before)):
        return unit
    matches: list[Match] = []
    for match in unit.matches:
        refused = match.refused
        places = {place: _moved(place, changes, follower) for place in _places(match)}
        if None in places.values() or any(one in match.parts for one in _tops(changes.before)):
            return None
        at = refused.at if refused is not None else None
        matches.append(
            replace(
                match,
                place=places[match.place] or match.place,
                others=tuple(places[place] or place for place in match.others),
                refused=replace(refused, at=places[at]) if refused is not None and at is not None else refused,
                plan=_lost,  # it would carry out the match in a version of the file that is gone
            )
        )
    return Unit(unit.version, unit.codes, matches, unit.asked)


def _places(match: Match) -> Iterable[Place]:
    yield match.place
    yield from match.others
    if match.refused is not None and match.refused.at is not None:
        yield match.refused.at


def _tops(statements: Iterable[Statement]) -> Iterable[object]:
    for statement in statements:
        yield from statement.body


def _moved(place: Place, changes: Changes, follower: dict[Statement, Statement]) -> Place | None:
    """The same place in the file as it is now."""
    statement = place.statement
    if statement not in changes.before:
        return place
    now = follower.get(statement)
    if now is None:
        return None
    parts = statement.parts
    if place.node is statement.body[0]:
        return Place(now, now.body[0]) if parts.rest in changes.stayed else None
    on_it = parts.on_lines(place.node.lineno, place.node.end_lineno or place.node.lineno)
    stays = all(part in changes.stayed for part in on_it if part is not parts.gaps)
    return replace(place, statement=now) if stays else None


def _lost() -> tuple[Action, ...]:
    raise LookupError("the match was found in an earlier version of the file")
