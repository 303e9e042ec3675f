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
    dim: str = "-1"


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
class Template:
    """An expression in neutral kinds, with the user's own source in the place of its variables.

    As of `PythonSnippetEmitter.emit_template`.
    """

    text: str
    operands: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class OnValue:
    """Methods of a value of the user's own: `<value>.<name>(...)`."""

    value: str
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Elements:
    """Several elements of the user's own in the place of one, as they are to stand."""

    source: str


@dataclass(frozen=True, slots=True)
class Attend:
    """`self.<id>(<query>, <key>, <value>, need_weights=False)[0]`, of a `nn.MultiheadAttention`."""

    id: str
    inputs: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Construct:
    """`<Kind>(...)`: a layer made where an expression stands, as an element of a `nn.Sequential`."""

    node: LogicalNode


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """An expression of the user's own, with others in the place of some of its parts."""

    node: ast.expr
    parts: tuple[tuple[ast.expr, Within | str], ...] = ()


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


@dataclass(frozen=True, slots=True)
class AssignedTemplate:
    """`<output> = <template>`, or `<a>, <b> = <template>` where the outputs are a tuple."""

    template: Template
    output: str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinearInitialisation:
    """Fill the weight of the embedding `self.<id>` as `nn.Linear` fills its own, which is transposed."""

    id: str


@dataclass(frozen=True, slots=True)
class SuperInit:
    """`super().__init__(<arguments>)`; the arguments as a logical node's metadata."""

    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class InitMethod:
    """An `__init__` without parameters that calls `super().__init__(<arguments>)`."""

    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Pass:
    """`pass`"""


@dataclass(frozen=True, slots=True)
class Returned:
    """`return <value>`"""

    value: str


Emitted = (
    Assigned
    | AssignedTemplate
    | Init
    | Attribute
    | Unpack
    | HookRegistration
    | LinearInitialisation
    | SuperInit
    | InitMethod
    | Pass
    | Returned
)


@dataclass(frozen=True, slots=True)
class MergeHook:
    """A load hook that concatenates the entries of the layers that one layer replaces."""

    name: str
    merged: str
    parts: tuple[str, ...]
    parameters: tuple[str, ...]
    dims: tuple[int, ...] = ()
    """Along which dimension each parameter is concatenated; the first where it is not said."""
    unbiased: tuple[str, ...] = ()
    """Parts that had no bias, which is zero from now on."""


@dataclass(frozen=True, slots=True)
class MergeListHook:
    """A load hook that concatenates the entries of the layers of a `nn.ModuleList`, however many there are."""

    name: str
    merged: str
    layers: str
    """The attribute that held the list."""
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TransposeHook:
    """A load hook that makes the weight of a linear layer the table of an embedding."""

    name: str
    table: str
    layer: str


@dataclass(frozen=True, slots=True)
class ExpertsHook:
    """A load hook that concatenates the first layers of experts in a list, and stacks their second layers."""

    name: str
    first: str
    """The one layer with the rows of all first ones."""
    second: str
    """What the names of the stacked parameters begin with."""
    parts: tuple[str, str]
    """The paths of the two layers of an expert, `{}` for its number: `w1.{}`, `experts.{}.2`."""
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CellHook:
    """A load hook that makes the parameters of one recurrent cell out of those of linear layers."""

    name: str
    cell: str
    parts: tuple[str, ...]
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    """Each parameter of the cell with the entries whose rows it holds: one a gate, or one for all."""
    order: tuple[int, ...]
    """Which block of rows of a single entry each gate is; empty where each gate has an entry of its own."""
    negated: int | None = None
    """The gate whose rows change their sign."""


@dataclass(frozen=True, slots=True)
class RenameHook:
    """A load hook that gives the layers of nested modules the names that they have in a flat one."""

    name: str
    nested: str
    """A path that only old checkpoints have entries of."""
    renamed: tuple[tuple[str, str], ...]
    """Old and new paths; one comes before another that gets its old name."""


@dataclass(frozen=True, slots=True)
class RenameParametersHook:
    """A load hook that gives the parameters of a module itself other names."""

    name: str
    renamed: tuple[tuple[str, str], ...]
    """Old and new names."""


@dataclass(frozen=True, slots=True)
class FoldBiasHook:
    """A load hook that moves a dropped bias into the running mean of the norm behind it."""

    name: str
    norm: str = "a batch norm"
    """What its docstring calls the norm."""


@dataclass(frozen=True, slots=True)
class DropBiasHook:
    """A load hook that drops the bias of a layer that has none any more."""

    name: str
    norm: str = "an instance norm"


@dataclass(frozen=True, slots=True)
class FoldBiasesHook:
    """A load hook for a whole `nn.Sequential`: what those two do, for each of its layers that has a norm behind it."""

    name: str


@dataclass(frozen=True, slots=True)
class FuseMethod:
    """A method `fuse` that folds batch norms into the layers before them."""

    pairs: tuple[tuple[str, str, str], ...]
    """The layer, the norm, and what the layer is, as of `PythonSnippetEmitter.emit_fuse_method`."""


@dataclass(frozen=True, slots=True, eq=False)
class ReplaceExpression:
    """Put a call, a layer, or a piece of the user's own source (a name, an operand) where an expression stands."""

    statement: Statement
    node: ast.expr
    by: Expression | Template | OnValue | Elements | Construct | Attend | Within | str


@dataclass(frozen=True, slots=True, eq=False)
class SwapExpressions:
    """Let two expressions of the user's own, neither inside the other, change places."""

    statement: Statement
    first: ast.expr
    second: ast.expr


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
class DropMethod:
    """`<value>.<name>(...)` becomes `<value>`; the lines around it stay as they are."""

    statement: Statement
    call: ast.Call


@dataclass(frozen=True, slots=True, eq=False)
class ReplaceCallee:
    """`nll_loss(...)` becomes `cross_entropy(...)`: what is called is another, and the arguments stay as they are."""

    statement: Statement
    call: ast.Call
    by: Construct | Expression
    """A layer that is made, or a function; its own arguments are not looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class RenameMethod:
    """`<value>.<name>(...)` becomes `<value>.<other>(...)`; the arguments stay as they are."""

    statement: Statement
    call: ast.Call
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class AddFunction:
    """Put a module-level function before a top-level statement, unless the file has that very function."""

    before: Statement
    function: (
        MergeHook
        | FoldBiasHook
        | MergeListHook
        | DropBiasHook
        | FoldBiasesHook
        | CellHook
        | TransposeHook
        | RenameHook
        | RenameParametersHook
        | ExpertsHook
    )


@dataclass(frozen=True, slots=True, eq=False)
class NameReturned:
    """`return <value>` as `<name> = <value>`, `put` behind it, and `return <name>`."""

    statement: Statement
    anchor: ast.Return
    name: str
    put: tuple[Emitted, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SetBase:
    """Let a class inherit from a layer of the framework in place of another base."""

    statement: Statement
    base: ast.expr
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class AddMethod:
    """Put a method behind another one of its class."""

    statement: Statement
    anchor: ast.stmt
    method: FuseMethod


Action = (
    ReplaceExpression
    | SwapExpressions
    | ReplaceStatements
    | Insert
    | SetArguments
    | AddFunction
    | NameReturned
    | AddMethod
    | DropMethod
    | RenameMethod
    | SetBase
    | ReplaceCallee
)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A node of a top-level statement: a place that moves with its statement."""

    statement: Statement
    node: ast.expr | ast.stmt
