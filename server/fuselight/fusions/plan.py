"""A rewrite as data: what an edit changes, before anybody renders it. Code is named as logical nodes, never as text."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode


@dataclass(frozen=True, slots=True)
class Init:
    """`self.<id> = <Kind>(...)`"""

    node: LogicalNode


@dataclass(frozen=True, slots=True)
class Attribute:
    """`self.<id> = <value>`"""

    id: str
    value: str


@dataclass(frozen=True, slots=True)
class Unpack:
    """`q, k, v = self.<id>(x).split(sizes, dim=-1)`"""

    node: LogicalNode
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A call without an assignment."""

    node: LogicalNode
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HookRegistration:
    """`self.register_load_state_dict_pre_hook(<hook>)`, the hook's own arguments bound."""

    hook: str
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Assigned:
    """`<output> = <call>`"""

    node: LogicalNode
    inputs: tuple[str, ...]
    output: str


Emitted = Assigned | Init | Attribute | Unpack | HookRegistration


@dataclass(frozen=True, slots=True)
class MergeHook:
    """A load hook that concatenates the entries of the layers that one layer replaces."""

    name: str
    merged: str
    parts: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoldBiasHook:
    """A load hook that moves a dropped bias into the running mean of the norm behind it."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ReplaceExpression:
    """Put a call, or a name, where an expression stands."""

    statement: Statement
    node: ast.expr
    by: Expression | str


@dataclass(frozen=True, slots=True, eq=False)
class ReplaceStatements:
    """Remove statements and put others where the first of them stands. Their comments stay, above what is put.

    With nothing to put, the comments go above `comments_to`.
    """

    statement: Statement
    removed: tuple[ast.stmt, ...]
    put: tuple[Emitted, ...] = ()
    comments_to: ast.stmt | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """Put statements before or after another one, in its block."""

    statement: Statement
    anchor: ast.stmt
    put: tuple[Emitted, ...]
    after: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SetArgument:
    """Give a call one keyword argument, or change it where the call has it already."""

    statement: Statement
    call: ast.Call
    keyword: str
    position: int | None
    """Where the argument stands when it is given by position."""
    value: str
    node: LogicalNode
    """The whole call as it will be, for a call that must be laid out anew."""


@dataclass(frozen=True, slots=True, eq=False)
class AddFunction:
    """Put a module-level function before a top-level statement, unless the file has that very function."""

    before: Statement
    function: MergeHook | FoldBiasHook


Action = ReplaceExpression | ReplaceStatements | Insert | SetArgument | AddFunction


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A node of a top-level statement: a place that moves with its statement."""

    statement: Statement
    node: ast.expr | ast.stmt
