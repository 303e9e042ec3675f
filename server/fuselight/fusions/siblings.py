"""Layers of one kind that read one input, and what it takes to merge them: for every fusion of sibling layers.

`groups` finds them by the value that they read, `part_of` says whether a layer may become rows of another,
`refusal` whether several may be merged, and `merge` makes the merged layer and its load hook. `one_place` serves the
fusions that leave no call of a part; those that split the output again are in `split_siblings`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Refusal
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, merged_name, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Attribute,
    Emitted,
    Expression,
    HookRegistration,
    Init,
    MergeHook,
    Place,
    ReplaceExpression,
    ReplaceStatements,
)
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer, local_names
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_PURE_CALLS = frozenset("int float len max min round sum abs getattr range tuple".split())


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort of layers, as far as a merge asks: each row of the weight makes a row of the output."""

    kind: str
    """Its fully qualified name, `torch.nn.Linear`."""
    one: str
    several: str
    """What one and several of them are called."""
    parameters: tuple[str, ...]
    """The constructor's parameters in their order."""
    width: str
    """The parameter that says how many rows it has."""
    dim: int = -1
    """The dimension of the output that the rows make up, counted from the end: so it holds without a batch too."""
    required: tuple[str, ...] = ()
    alike: Mapping[str, str] = field(default_factory=dict[str, str])
    """Arguments that must be the same in all, with their defaults."""
    only: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Arguments that must have one value, with that value and the reason why no other will do."""
    dims: Mapping[str, int] = field(default_factory=lambda: {"weight": 0, "bias": 0})
    """Which parameters it has, and which dimension of each holds the rows."""

    @property
    def name(self) -> str:
        return self.kind.rpartition(".")[2]

    @property
    def spatial(self) -> int:
        """How many dimensions stand behind the one of the rows."""
        return -self.dim - 1


_MADE = {"device": "None", "dtype": "None"}

LINEAR = Sort(
    "torch.nn.Linear", "linear layer", "linear layers",
    ("in_features", "out_features", "bias", "device", "dtype"), "out_features",
    required=("in_features", "out_features"), alike=_MADE,
)  # fmt: skip

_CONV = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode device dtype"
_TRANSPOSED = (
    "in_channels out_channels kernel_size stride padding output_padding groups bias dilation padding_mode device dtype"
)
_WINDOW = {"kernel_size": "", "stride": "1", "padding": "0", "dilation": "1", "padding_mode": "'zeros'"}
_GROUPED = {"groups": ("1", "is grouped: its rows would be given other channels")}


def _convolution(spatial: int, transposed: bool) -> Sort:
    return Sort(
        f"torch.nn.Conv{'Transpose' if transposed else ''}{spatial}d", "convolution", "convolutions",
        tuple((_TRANSPOSED if transposed else _CONV).split()), "out_channels", -1 - spatial,
        ("in_channels", "out_channels", "kernel_size"),
        {**_WINDOW, **({"output_padding": "0"} if transposed else {}), **_MADE}, _GROUPED,
        {"weight": 1 if transposed else 0, "bias": 0},
    )  # fmt: skip


CONVOLUTIONS = tuple(_convolution(spatial, transposed) for transposed in (False, True) for spatial in (1, 2, 3))

EMBEDDING = Sort(
    "torch.nn.Embedding", "embedding", "embeddings",
    tuple(
        "num_embeddings embedding_dim padding_idx max_norm norm_type scale_grad_by_freq sparse _weight _freeze device"
        " dtype".split()
    ),
    "embedding_dim", -1, ("num_embeddings", "embedding_dim"),
    {"num_embeddings": "", "padding_idx": "None", **_MADE},
    {
        "max_norm": ("None", "has a `max_norm`, which would be that of the wider row"),
        "scale_grad_by_freq": ("False", "scales its gradient by the frequency of the index"),
        "sparse": ("False", "has sparse gradients"),
        "_weight": ("None", "is made from a given weight"),
        "_freeze": ("False", "is frozen"),
    },
    {"weight": 1},
)  # fmt: skip

SORTS: Mapping[str, Sort] = {sort.kind: sort for sort in (LINEAR, *CONVOLUTIONS, EMBEDDING)}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of the layers to merge."""

    layer: Layer
    value: Value
    arguments: dict[str, ast.expr]
    sort: Sort

    @property
    def name(self) -> str:
        return self.layer.attribute

    @property
    def call(self) -> ast.Call:
        assert isinstance(self.value.node, ast.Call)
        return self.value.node

    def source(self, argument: str) -> str | None:
        node = self.arguments.get(argument)
        return self.layer.statement.source(node) if node is not None else None

    @property
    def width(self) -> str:
        """The number of rows, as normalised source."""
        return ast.unparse(self.arguments[self.sort.width])

    @property
    def rows(self) -> int | None:
        """The number of rows, where the constructor says it in digits."""
        node = self.arguments[self.sort.width]
        return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def groups(graph: Graph, sort: Sort) -> Iterator[list[Value]]:
    """Layers of the class, of one sort, called on one value in one block, in the order of the calls."""
    found: dict[tuple[int, int], list[Value]] = {}
    for value in graph.of_kind(sort.kind):
        source = input_of(value)
        if source is not None and value.layer is not None:
            found.setdefault((id(source), id(value.block)), []).append(value)
    for values in found.values():
        if len({value.layer for value in values}) > 1:
            yield values


def input_of(value: Value) -> Value | None:
    """What a layer is applied to, by position or as `input=`."""
    given = [*value.inputs, *value.keywords.values()]
    if len(given) != 1 or given[0].kind == "starred" or (value.keywords and "input" not in value.keywords):
        return None
    return given[0]


def part_of(module: Module, owner: ClassInfo, value: Value, sort: Sort) -> Part | Refusal:
    """The layer that `value` is a call of, if its rows may become rows of another layer."""
    assert value.layer is not None
    assert isinstance(value.node, ast.Call)
    if all(use.by is not None and use.by.kind == "method detach" for use in value.consumers):
        name = value.layer.attribute
        return Refusal(f"`{name}` gets no gradient: in one parameter with others its rows would be decayed")
    return layer_as_part(module, owner, value.layer, value, value.node, sort, frozenset())


def layer_as_part(
    module: Module,
    owner: ClassInfo,
    layer: Layer,
    value: Value,
    call: ast.Call,
    sort: Sort,
    allowed: frozenset[ast.AST],
) -> Part | Refusal:
    """The layer, called at `call`, as a part; `allowed` are mentions of it that the caller has looked at."""
    refusal = (
        provenance.plain_layer(layer, frozenset({sort.kind}), f"a plain `nn.{sort.name}`")
        or provenance.touched(module, owner, layer, call, allowed)
        or provenance.named_in_strings(module, (layer.attribute,))
    )
    if refusal is not None:
        return refusal
    arguments = _arguments(layer, sort)
    if arguments is None or not all(name in arguments for name in sort.required):
        return Refusal(f"the constructor of `{layer.attribute}` is not that of `nn.{sort.name}`", _constructor(layer))
    for name, node in arguments.items():
        if not sizes.is_pure(node):
            return Refusal(f"`{name}` of `{layer.attribute}` is worked out by a call", _constructor(layer))
        if name in sort.only and ast.unparse(node) != sort.only[name][0]:
            return Refusal(f"`{layer.attribute}` {sort.only[name][1]}", _constructor(layer))
    if _is_merged_already(module, layer):
        return Refusal(
            f"`{layer.attribute}` is itself merged: the load hook of a second merge would run before that of the first",
            _constructor(layer),
        )
    return Part(layer, value, arguments, sort)


def _is_merged_already(module: Module, layer: Layer) -> bool:
    """Whether a load hook of the file makes the layer's parameters from others: a second one would come too early."""
    found = False
    for text in module.names.bindings:
        if text.startswith("_merge_") and module.mentions.has_word(text):
            function = module.names.bindings[text].local
            page = ast.get_docstring(function) if isinstance(function, Function) else None
            found = found or (page or "").endswith(f" in place of {layer.attribute}.")
    return found


def _constructor(layer: Layer) -> Place:
    return Place(layer.statement, layer.constructor or layer.assignment)


def _arguments(layer: Layer, sort: Sort) -> dict[str, ast.expr] | None:
    """The constructor's arguments by their names; None where they are not those of the sort."""
    if layer.constructor is None or len(layer.constructor.args) > len(sort.parameters):
        return None
    arguments: dict[str, ast.expr] = dict(zip(sort.parameters, layer.constructor.args, strict=False))
    for given in layer.constructor.keywords:
        if given.arg not in sort.parameters or given.arg in arguments:
            return None
        arguments[given.arg] = given.value
    return arguments


def refusal(module: Module, owner: ClassInfo, parts: list[Part]) -> Refusal | None:
    """Why the parameters of `parts`, which are alike, must stay apart, whatever becomes of their calls."""
    names = frozenset(part.name for part in parts)
    kind = parts[0].sort.kind
    ordered = sorted(parts, key=lambda part: part.layer.assignment.lineno)
    return (
        provenance.known_class(module, owner)
        or _nested_tensors(module)
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, names)
        or walked(module, kind)
        or provenance.depends_on_shape(module, owner, names, kind)
        or _made_apart(ordered)
    )


def _nested_tensors(module: Module) -> Refusal | None:
    """A jagged nested tensor cannot be split along its last dimension and then be attended over (torch 2.13)."""
    for mention in module.mentions.of_attribute("nested"):
        if mention.owner is None:
            return Refusal("the file works on nested tensors", Place(mention.statement, mention.node))
    if module.mentions.has_word("nested_tensor", "NestedTensor", "as_nested_tensor", "jagged"):
        return Refusal("the file works on nested tensors")
    return None


def unlike(first: Part, part: Part) -> Refusal | None:
    """In what two layers differ that would have to be the same in one."""
    if bias_of(part) != bias_of(first):
        return Refusal(f"`{first.name}` and `{part.name}` differ in whether they have a bias", _constructor(part.layer))
    for name, default in part.sort.alike.items():
        if setting(part, name, default) != setting(first, name, default):
            return Refusal(f"`{first.name}` and `{part.name}` differ in their {name}", _constructor(part.layer))
    return None


def setting(part: Part, name: str, default: str) -> object:
    """An argument's value, however it is spelled: `3` and `(3, 3)` are one kernel size."""
    node = part.arguments.get(name)
    if node is None:
        if not default:
            return None
        node = ast.parse(default, mode="eval").body
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.unparse(node)
    if part.sort.spatial and type(value) is int:
        return (value,) * part.sort.spatial
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def bias_of(part: Part) -> str:
    if "bias" not in part.sort.parameters:
        return "False"
    node = part.arguments.get("bias")
    if node is None:
        return "True"
    if isinstance(node, ast.Constant):
        return str(bool(node.value))
    return ast.unparse(node)


def _made_apart(parts: list[Part]) -> Refusal | None:
    """All must be made in one block, and nothing that their sizes rest on may change between the first and the last."""
    first = parts[0].layer
    statement = first.statement
    if self_parameter(first.init) != "self":
        return Refusal("`__init__` does not call its instance `self`", _constructor(first))
    for part in parts:
        layer = part.layer
        if layer.owner is not first.owner or layer.block is not first.block:
            return Refusal("the layers are made in different places", _constructor(layer))
        if not statement.stands_alone(layer.assignment):
            return Refusal(f"`{part.name}` shares its line with another statement", _constructor(layer))
    block = first.block
    assigned = [part.layer.assignment for part in parts]
    start, end = block.index(assigned[0]), block.index(assigned[-1])
    read = {ast.unparse(node) for part in parts for given in part.arguments.values() for node in _reads(given)}
    for between in block[start:end]:
        if between not in assigned and not _is_plain_assignment(between):
            return Refusal(
                "something between the layers may change a size, or see half of them", Place(statement, between)
            )
        for node in ast.walk(between):
            stored = isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load)
            if stored and ast.unparse(node) in read:
                return Refusal(f"`{ast.unparse(node)}` changes between the layers", Place(statement, between))
    return None


def _is_plain_assignment(node: ast.stmt) -> bool:
    """Whether a statement only assigns a value that is no call, or one of a class that does not get `self`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return isinstance(node, ast.AnnAssign | ast.Pass)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if not all(isinstance(target, ast.Name | ast.Attribute) for target in targets):
        return False
    for inner in ast.walk(node.value):
        if isinstance(inner, ast.Call):
            name = ast.unparse(inner.func).rpartition(".")[2]
            if not (name[:1].isupper() or name in _PURE_CALLS):
                return False
            if any(isinstance(one, ast.Name) and one.id == "self" for one in inner.args):
                return False
        elif isinstance(inner, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
    return True


def _reads(node: ast.expr) -> Iterator[ast.expr]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute):
            yield inner


def argument_of(value: Value) -> ast.expr:
    node = value.node
    assert isinstance(node, ast.Call)
    return node.args[0] if node.args else node.keywords[0].value


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Several layers as one: its name, its constructor, its load hook."""

    parts: tuple[Part, ...]
    """In the order of their rows."""
    name: str
    safety: Safety
    note: str
    hook: MergeHook
    made: tuple[Emitted, ...]
    sizes: str | tuple[str, ...]
    """The rows of the parts, as `split` takes them."""

    @property
    def sort(self) -> Sort:
        return self.parts[0].sort

    @property
    def by_line(self) -> list[Part]:
        return sorted(self.parts, key=lambda part: part.layer.assignment.lineno)

    def constructors(self) -> list[Place]:
        return [Place(part.layer.statement, part.layer.assignment) for part in self.by_line]

    def actions(self) -> tuple[Action, ...]:
        """What makes the merged layer in place of the parts; the calls are left."""
        maker = self.parts[0].layer.owner
        removed = tuple(part.layer.assignment for part in self.by_line)
        put = (*self.made, HookRegistration(self.hook.name))
        return (ReplaceStatements(maker.statement, removed, put), AddFunction(maker.statement, self.hook))


def merge(module: Module, owner: ClassInfo, parts: Sequence[Part]) -> Merged:
    """`parts`, which `refusal` found nothing against, as one layer; their rows in the order given."""
    maker = parts[0].layer.owner
    sort = parts[0].sort
    names = [part.name for part in parts]
    name = free_attribute(module, owner, merged_name(names))
    breaking = provenance.loads_past_hooks(module, owner)
    note = breaking or "old checkpoints load through a hook"
    unbiased = tuple(part.name for part in parts if bias_of(part) == "False")
    held = {one: dim for one, dim in sort.dims.items() if one != "bias" or len(unbiased) < len(parts)}
    dims = tuple(held.values()) if any(held.values()) else ()
    function = free_function(module, f"_merge_{snake_case(maker.name)}_{name}")
    if "bias" in held and unbiased:
        gains = "gain" if len(unbiased) > 1 else "gains"
        note = f"{note}; {listed(list(unbiased))} {gains} a bias, which the softmax over the keys cancels"
    if "ConvTranspose" in (parts[0].layer.kind or ""):
        note = f"{note}; a new model starts with smaller weights, whose range goes by all output channels"
    hook = MergeHook(function, name, tuple(names), tuple(held), dims, unbiased if "bias" in held else ())
    made, sizes = _made(module, maker, parts, name)
    return Merged(tuple(parts), name, Safety.BREAKING if breaking else Safety.CHECKPOINT, note, hook, made, sizes)


def _made(
    module: Module, maker: ClassInfo, parts: Sequence[Part], merged: str
) -> tuple[tuple[Emitted, ...], str | tuple[str, ...]]:
    """The statements that make the merged layer, and the sizes to split its output into."""
    sort = parts[0].sort
    rows = [part.rows for part in parts]
    sources = [" ".join((part.source(sort.width) or "").split()) for part in parts]
    made: list[Emitted] = []
    sizes: str | tuple[str, ...]
    if None not in rows:
        total = str(sum(row for row in rows if row is not None))
        sizes = tuple(sources)
    else:
        attribute = free_attribute(module, maker, f"{merged}_sizes")
        sizes = f"self.{attribute}"
        made.append(Attribute(attribute, f"[{', '.join(sources)}]"))
        total = (
            f"sum({sizes})" if _is_builtin_sum(module, parts[0]) else " + ".join(f"({source})" for source in sources)
        )
    first = next((part for part in parts if bias_of(part) != "False"), parts[0])
    given = first.layer.constructor
    assert given is not None
    metadata: dict[str, str] = {}
    for number, name in enumerate(sort.parameters):
        text = total if name == sort.width else first.source(name)
        if text is not None:
            metadata[f"arg_{number}" if number < len(given.args) else name] = text
    made.append(Init(LogicalNode(merged, sort.kind, metadata)))
    return tuple(made), sizes


def _is_builtin_sum(module: Module, part: Part) -> bool:
    """Whether `sum` is Python's own where the layers are made."""
    layer = part.layer
    hidden = local_names(layer.init, layer.statement) | layer.owner.hidden
    return "sum" not in hidden and "sum" not in module.names.bindings and not module.names.stars


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """An expression in whose place the merged layer is called, and the statements that hold what it is made of."""

    value: Value
    inner: tuple[Value, ...]
    """What is computed for it alone: the calls of the layers, and all between them and the root."""
    argument: str
    """The source of the layers' input."""
    held: tuple[ast.stmt, ...]

    @property
    def node(self) -> ast.expr:
        assert self.value.node is not None
        return self.value.node

    def places(self, scope: Scope) -> list[Place]:
        """The root itself first."""
        inner = [value.node for value in self.inner if value.node is not None]
        return [Place(scope.statement, node) for node in (self.node, *inner, *self.held)]

    def actions(self, scope: Scope, by: Expression) -> tuple[Action, ...]:
        """Put `by` where the root stands, and remove what was computed for it."""
        replaced = ReplaceExpression(scope.statement, self.node, by)
        if not self.held:
            return (replaced,)
        return (ReplaceStatements(scope.statement, self.held, (), self.value.statement), replaced)


def one_place(
    scope: Scope, graph: Graph, root: Value, calls: Sequence[Value], between: Sequence[Value]
) -> Root | Refusal:
    """Whether `calls` of layers on one input, and what is made `between` them and `root`, can be computed at `root`."""
    statement = scope.statement
    assert root.node is not None
    at = Place(statement, root.node)
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`")
    if any(isinstance(node, ast.NamedExpr) for node in ast.walk(root.node)):
        return Refusal("a name is bound inside the expression", at)
    inner = (*calls, *between)
    start = min(calls, key=lambda call: call.order)
    source = input_of(start)
    argument = argument_of(start)
    assert source is not None
    if not isinstance(argument, ast.Name):
        return Refusal("their input has no name", at)
    held: list[ast.stmt] = []
    for value in inner:
        assert value.node is not None
        name = statement.source(value.node)[:60]
        if len(value.uses) != 1 or value.reads > 1:
            return Refusal(f"`{name}` is used again", Place(statement, value.node))
        if value.block is not root.block:
            return Refusal("they are called in another branch or loop", Place(statement, value.node))
        if value.statement is root.statement:
            continue
        if value.reads == 1:
            holder = _holder(value, inner)
            if holder is None or holder not in root.block.statements:
                return Refusal(f"`{name}` is not in a variable of its own", Place(statement, value.node))
            if not statement.stands_alone(holder):
                return Refusal("a call shares its line with another statement", Place(statement, holder))
            if holder not in held:
                held.append(holder)
    if any(value.statement is not root.statement and value.statement not in held for value in inner):
        return Refusal("a call is not in a variable of its own", at)
    write = graph.written_between(source, start.order - 1, root.order)
    if write is not None or (held and _is_rebound(argument.id, root, held)):
        where = write.node if write is not None and isinstance(write.node, ast.expr | ast.stmt) else root.node
        return Refusal("their input may be changed between the calls", Place(statement, where))
    if graph.exits_between(start.order, root.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    return Root(root, inner, statement.source(argument), tuple(held))


def _holder(value: Value, inner: Sequence[Value]) -> ast.stmt | None:
    """The statement that binds `value` to a name, and does nothing but bind values of `inner` to names."""
    if value.binding is not None:
        return value.binding if isinstance(value.binding.targets[0], ast.Name) else None
    match value.statement:
        case ast.Assign(targets=[ast.Tuple(elts=targets) | ast.List(elts=targets)], value=bound) if isinstance(
            bound, ast.Tuple | ast.List
        ):
            pass
        case _:
            return None
    nodes = {one.node for one in inner}
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    whole = len(set(names)) == len(targets) == len(bound.elts) and all(element in nodes for element in bound.elts)
    return value.statement if whole and value.node in bound.elts else None


def _is_rebound(name: str, root: Value, held: Sequence[ast.stmt]) -> bool:
    """Whether `name` may be bound anew between the first of `held` and the evaluation of `root`."""
    statements = root.block.statements
    if root.statement is None or root.statement not in statements:
        return True
    start = min(statements.index(one) for one in held)
    end = statements.index(root.statement)
    between: list[ast.AST] = list(statements[start:end])
    simple = isinstance(root.statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)
    if not simple:
        between.append(root.statement)  # its body may bind the name before its head is evaluated again
    for one in between:
        for node in ast.walk(one):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                return True
            if name in (getattr(node, "name", None), getattr(node, "asname", None), getattr(node, "rest", None)):
                return True
    return False


def listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
