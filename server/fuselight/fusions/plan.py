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
class Method:
    """`.<name>(...)` behind a call; the arguments as a logical node's metadata."""

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Expression:
    """A call without an assignment, perhaps with methods of its result behind it."""

    node: LogicalNode
    inputs: tuple[str, ...]
    methods: tuple[Method, ...] = ()


@dataclass(frozen=True, slots=True)
class Construct:
    """`<Kind>(...)`: a layer made where an expression stands, as an element of a `nn.Sequential`."""

    node: LogicalNode


@dataclass(frozen=True, slots=True)
class HookRegistration:
    """`<on>.register_load_state_dict_pre_hook(<hook>)`, the hook's own arguments bound."""

    hook: str
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    on: str = "self"


@dataclass(frozen=True, slots=True)
class Assigned:
    """`<output> = <call>`, or `<a>, <b> = <call>` where the outputs are a tuple."""

    node: LogicalNode
    inputs: tuple[str, ...]
    output: str | tuple[str, ...]
    methods: tuple[Method, ...] = ()


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
    """Put a call, a layer, or a piece of the user's own source (a name, an operand) where an expression stands."""

    statement: Statement
    node: ast.expr
    by: Expression | Construct | str


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


@dataclass(frozen=True, slots=True)
class Argument:
    """A keyword argument as it is to be."""

    keyword: str
    position: int | None
    """Where the argument stands when it is given by position."""
    value: str


@dataclass(frozen=True, slots=True, eq=False)
class SetArguments:
    """Give a call keyword arguments, or change those that the call has already."""

    statement: Statement
    call: ast.Call
    arguments: tuple[Argument, ...]
    node: LogicalNode
    """The whole call as it will be, for a call that must be laid out anew."""


@dataclass(frozen=True, slots=True, eq=False)
class AddFunction:
    """Put a module-level function before a top-level statement, unless the file has that very function."""

    before: Statement
    function: MergeHook | FoldBiasHook


Action = ReplaceExpression | ReplaceStatements | Insert | SetArguments | AddFunction


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A node of a top-level statement: a place that moves with its statement."""

    statement: Statement
    node: ast.expr | ast.stmt
