"""One site of a rewrite: what a pattern, or another reader of the graph, found there, as needs and planning see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fuselight.fusions.matching import Found, Matcher, Operand
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value

if TYPE_CHECKING:
    from fuselight.fusions.needs import Need


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
            return brief(self.scope.statement.source(bound.node)) if bound.node is not None else name
        return number_text(bound) if bound is not None else name


def number_text(number: float) -> str:
    """The source of a number."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def brief(source: str) -> str:
    """Source on one line, cut where it is long: for messages."""
    text = " ".join(source.split())
    return text if len(text) <= 80 else f"{text[:77]}..."
