"""The values of a function: one for every call site, operator and parameter, never one for a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from fuselight.graph.classes import ClassInfo, Layer
from fuselight.graph.mentions import Function
from fuselight.source.names import Names
from fuselight.source.nodes import walk
from fuselight.source.statements import Statement

EXTERNAL = 0
"""Memory that the function did not make: its parameters and everything that hangs on `self` or a module."""
ANYTHING = -1
"""Memory of which nothing is known."""


class Consumption(Enum):
    """In which way a value is used."""

    INPUT = "input"
    """As an input of another call or operator of the graph."""
    METADATA = "metadata"
    """Only its shape, dtype or device is read, or whether it is None."""
    RETURNED = "returned"
    STORED = "stored"
    """In an attribute, an element, a container: from there anybody can read it."""
    CAPTURED = "captured"
    """By a nested function, a lambda or a comprehension."""
    JOINED = "joined"
    """It is one of several values that a name may hold after a branch or loop."""
    TESTED = "tested"
    DELETED = "deleted"
    """By a `del` of the name that holds it."""


# So many of these are made that they are not frozen, which makes one in a third of the time.


@dataclass(slots=True, eq=False)
class Block:
    """A run of code of which all is executed or nothing: a suite, or an arm of a conditional expression."""

    parent: Block | None
    statements: list[ast.stmt]
    is_suite: bool = True
    guarded: bool = False
    """Whether an exception in it may be caught, or swallowed by a `with`, and the function go on."""


@dataclass(slots=True, eq=False)
class Value:
    """What one call, operator or parameter yields.

    `roots` names the memory it may share: its own number where it is fresh, those of its inputs where it may be a
    view of them.
    """

    kind: str
    node: ast.expr | None
    inputs: tuple[Value, ...]
    block: Block
    statement: ast.stmt | None
    order: int
    roots: frozenset[int] = frozenset()
    layer: Layer | None = None
    keywords: dict[str, Value] = field(default_factory=dict[str, "Value"])
    constant: object = None
    index: int | None = None
    """Which element of its input it is, where a tuple was unpacked."""
    path: str | None = None
    """Dotted text of an attribute or module-level name; a fully qualified one for what is imported."""
    uses: list[Use] = field(default_factory=list["Use"])
    reads: int = 0
    """How often a name that holds it is read, a mere copy (`a = b`) included."""
    in_place: str | None = None
    """The neutral kind that a call computes in the memory of its input: "relu6" of `F.relu6(x, inplace=True)`."""
    binding: ast.Assign | None = None
    """`name = <this value>`, where that is the statement that holds it, whole."""

    @property
    def consumers(self) -> list[Use]:
        """The uses that see the value itself, not merely its shape or dtype."""
        return [use for use in self.uses if use.how not in (Consumption.METADATA, Consumption.DELETED)]

    @property
    def line(self) -> int:
        return self.node.lineno if self.node is not None else 0


@dataclass(slots=True, eq=False)
class Use:
    """One use of a value."""

    how: Consumption
    by: Value | None
    node: ast.AST | None


@dataclass(slots=True, eq=False)
class Write:
    """Something that may change memory: an in-place operation, or a call of which nothing is known."""

    order: int
    roots: frozenset[int]
    node: ast.AST
    sure: bool
    """False for an unknown call, which only may write."""

    def hits(self, roots: frozenset[int]) -> bool:
        """Whether the write may change a value with these roots.

        What comes from outside may be one memory under two names, so a sure write to any of it is a write to all.
        An unknown call is only suspected of writing to what it was given.
        """
        if ANYTHING in self.roots or ANYTHING in roots:
            return True
        shared = self.roots & roots
        return bool(shared if self.sure else shared - {EXTERNAL})


@dataclass(slots=True, eq=False)
class Graph:
    """The values of one function, in the order of evaluation."""

    function: Function
    owner: ClassInfo | None
    names: Names
    statement: Statement
    local: frozenset[str]
    scope: str
    values: list[Value] = field(default_factory=list[Value])
    writes: list[Write] = field(default_factory=list[Write])
    exits: list[int] = field(default_factory=list[int])
    """After which orders the function may leave the block: `return`, `raise`, `break`, `continue`, `yield`."""
    by_kind: dict[str, list[Value]] = field(default_factory=dict[str, list[Value]])
    called: dict[str, Layer | None] = field(default_factory=dict[str, "Layer | None"])
    """The attributes of `self` that are called, each with the layer that it is; None where it is none."""
    opaque: str | None = None
    """Why nothing of this function can be followed."""
    rows: list[tuple[Value, str, Value, str]] | None = None
    """The steps on each other's results, each with its kind, once somebody has asked (`steps.pairs`)."""

    def of_kind(self, kind: str) -> Iterator[Value]:
        yield from self.by_kind.get(kind, ())

    def written_between(self, value: Value, first: int, last: int) -> Write | None:
        """The first write that may change `value` after order `first` and before order `last`."""
        for write in self.writes:
            if first < write.order < last and write.hits(value.roots):
                return write
        return None

    def exits_between(self, first: int, last: int) -> bool:
        return any(first < order < last for order in self.exits)

    def all_names(self) -> set[str]:
        """Every name that stands anywhere in the function: a fresh name is none of them."""
        found = set(self.local)
        for node in walk(self.function):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Global | ast.Nonlocal):
                found.update(node.names)
        return found
