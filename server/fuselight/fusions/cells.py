"""Recurrent cells by hand: linear layers of an input and of a state, and gates of their sums.

`Gate` is what one `sigmoid` or `tanh` is applied to, taken apart into rows of linear layers; `Cell` the layers of all
gates as the one call that replaces them needs them. They are found by what they compute, never by names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Refusal
from fuselight.fusions.naming import free_attribute, free_function, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    CellHook,
    HookRegistration,
    Init,
    Place,
    ReplaceStatements,
)
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer, assigned_names
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import literal_number
from fuselight.graph.values import Consumption, Graph, Value
from fuselight_emitter.ir import LogicalNode

LINEAR = "torch.nn.Linear"
_PLAIN = frozenset({"constant", "joined"})


def may_hold(scope: Scope, owner: ClassInfo) -> bool:
    """Whether a function may hold a cell at all: a cheap answer."""
    kinds, called = scope.applied_kinds, scope.called
    return LINEAR in kinds and ("tanh" in called or "Tanh" in called or "torch.nn.Tanh" in kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The output of a linear layer, or one of equal pieces of it along its last dimension."""

    call: Value
    at: int = 0
    of: int = 1

    @property
    def layer(self) -> Layer:
        assert self.call.layer is not None
        return self.call.layer

    @property
    def source(self) -> Value | None:
        """What the layer is applied to."""
        given = [*self.call.inputs, *self.call.keywords.values()]
        return given[0] if len(given) == 1 and given[0].kind != "starred" else None

    @property
    def key(self) -> tuple[Layer, int, int]:
        return self.layer, self.at, self.of


@dataclass(slots=True, eq=False)
class Sum:
    """A sum, taken apart: rows of linear layers, and whatever else is added."""

    rows: list[Rows] = field(default_factory=list[Rows])
    others: list[Value] = field(default_factory=list[Value])
    inner: list[Value] = field(default_factory=list[Value])
    """The values between: additions, pieces, calls of layers."""


def taken_apart(value: Value) -> Sum:
    """`value` as a sum of rows of linear layers and of other values."""
    found = Sum()
    _take(value, found, ())
    return found


def _take(value: Value, found: Sum, pieces: tuple[tuple[int, int], ...]) -> None:
    if value.kind == "add" and len(value.inputs) == 2 and not value.keywords:
        found.inner.append(value)
        for one in value.inputs:
            _take(one, found, pieces)
    elif is_linear(value):
        found.inner.append(value)
        at, of = pieces[0] if pieces else (0, 1)
        found.rows.append(Rows(value, at, of))
    elif not pieces and (piece := _piece(value)) is not None:
        whole, between, at, of = piece
        found.inner += [value, *between]
        _take(whole, found, ((at, of),))
    else:
        found.others.append(value)


def is_linear(value: Value) -> bool:
    layer = value.layer
    if layer is None or layer.kind != LINEAR or not isinstance(value.node, ast.Call):
        return False
    return value.kind == LINEAR or (value.kind == "call" and layer.named_by is not None)


def _piece(value: Value) -> tuple[Value, list[Value], int, int] | None:
    """The value that was cut along its last dimension, what lies between, which piece `value` is, and of how many."""
    if value.kind == "unpack" and len(value.inputs) == 1:
        cut, at = value.inputs[0], value.index
        count = sum(use.by is not None and use.by.kind == "unpack" for use in cut.uses)
    elif value.kind == "getitem" and isinstance(value.inputs[1].constant, int):
        cut, at, count = value.inputs[0], value.inputs[1].constant, None
    else:
        return None
    if cut.kind not in ("chunk", "split") or at is None or at < 0 or not cut.inputs:
        return None
    given = list(cut.inputs[1:])
    size = given.pop(0) if given else None
    keywords = {**cut.keywords}
    if size is None:
        size = (
            keywords.pop("chunks", None)
            or keywords.pop("split_size_or_sections", None)
            or keywords.pop("split_size", None)
        )
    dim = given.pop(0) if given else keywords.pop("dim", None)
    if size is None or given or keywords or dim is None or dim.constant not in (1, -1):
        return None
    if size.kind == "container":
        # `split([8, 8, 8, 8], dim=-1)`: as many equal sizes as there are pieces.
        numbers = {one.constant for one in size.inputs}
        equal = len(numbers) == 1 and isinstance(next(iter(numbers)), int)
        if cut.kind != "split" or not equal or count not in (None, len(size.inputs)):
            return None
        return cut.inputs[0], [cut], at, len(size.inputs)
    if cut.kind == "chunk":
        if not isinstance(size.constant, int) or (count is not None and count != size.constant):
            return None
        count = size.constant
    if count is None:
        return None
    return cut.inputs[0], [cut], at, count


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The layers of one of the two inputs: rows of each gate, in the cell's order of gates."""

    source: Value
    rows: tuple[Rows, ...]

    @property
    def layers(self) -> list[Layer]:
        found: list[Layer] = []
        for one in self.rows:
            if one.layer not in found:
                found.append(one.layer)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """All layers of a cell, as its two sides."""

    x: Side
    h: Side
    input_size: str
    hidden_size: str
    settings: dict[str, str]
    """`bias`, `device` and `dtype`, where the layers are given them."""
    has_bias: bool

    @property
    def rows(self) -> tuple[Rows, ...]:
        return (*self.x.rows, *self.h.rows)

    @property
    def layers(self) -> list[Layer]:
        return [*self.x.layers, *self.h.layers]


def cell_of(module: Module, scope: Scope, gates: Sequence[Sequence[Rows]], hidden: Value | None) -> Cell | Refusal:
    """The cell whose gates are the sums of `gates`, two rows each.

    `hidden` is the state, where the source tells which of the two inputs it is; else their sizes have to.
    """
    statement = scope.statement
    first = gates[0][0].call
    assert first.node is not None
    at = Place(statement, first.node)
    sources: list[Value] = []
    for gate in gates:
        for one in gate:
            if one.source is None:
                return Refusal("a linear layer is not called with one input", at)
            if one.source not in sources:
                sources.append(one.source)
    if len(sources) == 1 and sources[0].kind == "cat":
        return Refusal(
            "its layers read the input and the state side by side; a bias of theirs would be two in a cell", at
        )
    if len(sources) != 2 or any({one.source for one in gate} != set(sources) or len(gate) != 2 for gate in gates):
        return Refusal("not every gate is a layer of the input and a layer of the state", at)
    keys = [one.key for gate in gates for one in gate]
    if len(set(keys)) != len(keys):
        return Refusal("two gates have a layer in common", at)
    sides = [Side(source, tuple(one for gate in gates for one in gate if one.source is source)) for source in sources]
    found: list[tuple[str, str, dict[str, str]]] = []
    for side in sides:
        shared = _sizes(module, side, len(gates))
        if isinstance(shared, Refusal):
            return shared
        found.append(shared)
    if found[0][1] != found[1][1] or found[0][2] != found[1][2]:
        return Refusal("the layers of the input and of the state differ in their width, bias, device or dtype", at)
    if sides[0].rows[0].of != sides[1].rows[0].of or (
        sides[0].rows[0].of > 1 and [one.at for one in sides[0].rows] != [one.at for one in sides[1].rows]
    ):
        return Refusal("the layers of the input and of the state hold their gates in different ways", at)
    width, settings = found[0][1], found[0][2]
    fits = [number for number, (size, _, _) in enumerate(found) if size == width]
    if hidden is not None:
        fits = [number for number in fits if sides[number].source is hidden]
    if not fits:
        return Refusal("the sizes do not show which input is the state", at)
    state = fits[-1]
    return Cell(
        sides[1 - state], sides[state], found[1 - state][0], width, settings, settings.get("bias") not in ("False", "0")
    )


def _sizes(module: Module, side: Side, gates: int) -> tuple[str, str, dict[str, str]] | Refusal:
    """The width of the input, the width of a gate, and the other settings, which all layers of a side share."""
    pieces = {one.of for one in side.rows}
    whole = len(side.layers) == 1 and gates > 1
    statement = side.rows[0].layer.statement
    place = Place(statement, side.rows[0].layer.assignment)
    if pieces != ({gates} if whole else {1}):
        return Refusal("the gates are not equal pieces of the layers", place)
    first: tuple[str, str, dict[str, str]] | None = None
    for layer in side.layers:
        call = layer.constructor
        given = sizes.arguments(call, sizes.LINEAR) if call is not None else None
        if given is None or not {"in_features", "out_features"} <= given.keys():
            return Refusal(f"the constructor of `{layer.attribute}` is not that of `nn.Linear`", place)
        for name, node in given.items():
            if not sizes.is_pure(node):
                return Refusal(f"`{name}` of `{layer.attribute}` is worked out by a call", place)
        width = given["out_features"]
        text = _divided(layer, width, gates) if whole else sizes.source(layer.statement, width)
        if text is None:
            return Refusal(
                f"the width of `{layer.attribute}` is not shown to be {gates} times that of the state", place
            )
        settings = {
            name: sizes.source(layer.statement, given[name]) for name in ("bias", "device", "dtype") if name in given
        }
        if settings.get("bias") in ("True", "1"):
            del settings["bias"]
        one = (sizes.source(layer.statement, given["in_features"]), text, settings)
        first = first or one
        if one != first:
            return Refusal(
                "the layers differ in their sizes, bias, device or dtype", Place(statement, layer.assignment)
            )
    assert first is not None
    return first


def _divided(layer: Layer, width: ast.expr, gates: int) -> str | None:
    """The source of `hidden` in a width of `4 * hidden`, or a fourth of a number."""
    number = literal_number(width)
    if number is not None:
        return str(number // gates) if number % gates == 0 else None
    match width:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for factor, other in ((left, right), (right, left)):
                if literal_number(factor) == gates:
                    return sizes.source(layer.statement, other)
        case _:
            pass
    return None


# -- what speaks against it


def layers_kept(module: Module, scope: Scope, cell: Cell, activations: Iterable[Value]) -> Refusal | None:
    """The linear layers must be called here alone, and nothing else in the file know or look for them."""
    owner = scope.owner
    assert owner is not None
    loops = {layer.named_by for layer in cell.layers if layer.named_by is not None}
    names = frozenset(layer.attribute for layer in cell.layers)
    refusal = provenance.known_class(module, owner)
    calls = {one.layer: one.call for one in cell.rows}
    for layer in cell.layers:
        if layer.named_by is None:
            refusal = refusal or provenance.plain_layer(layer, frozenset({LINEAR}), "a plain `nn.Linear`")
        node = calls[layer].node
        assert isinstance(node, ast.Call)
        refusal = refusal or provenance.touched(module, owner, layer, node)
        if refusal is None and sizes.filled_by_hook(module, layer):
            refusal = Refusal(
                f"a load hook makes the parameters of `{layer.attribute}`", Place(layer.statement, layer.assignment)
            )
    for value in activations:
        if value.layer is not None:
            refusal = refusal or provenance.touched(module, owner, value.layer, None)
    return (
        refusal
        or provenance.named_in_strings(module, tuple(sorted(names)))
        or provenance.found_by_computed_name(module, owner, frozenset(loops))
        or provenance.hooked(module, names)
        or walked(module)
        or provenance.depends_on_shape(module, owner, names)
        or _initialised(module)
        or made_together(cell.layers)
    )


def _initialised(module: Module) -> Refusal | None:
    """No code of the file may be meant for linear layers, or for parameters called `weight` and `bias`."""
    if module.mentions.used_uncalled("Linear"):
        return Refusal("the file treats `nn.Linear` by its type, which a cell is not")
    for called in module.mentions.calls_of("named_parameters", "named_modules"):
        return Refusal(
            "the file picks parameters or layers by their names, which are others in a cell",
            Place(called.statement, called.node),
        )
    for called in module.mentions.calls_of("zeros", "ones", "new_zeros", "new_ones"):
        given = called.node.args[:1]
        shape = given[0].elts[:1] if given and isinstance(given[0], ast.Tuple | ast.List) else given
        if shape and literal_number(shape[0]) == 1:
            return Refusal(
                "the file makes a state of one row, which a cell does not broadcast",
                Place(called.statement, called.node),
            )
    if module.mentions.has_word("autocast"):
        return Refusal("the file works with autocast, in which a cell keeps its state in half precision")
    return None


def made_together(layers: Sequence[Layer]) -> Refusal | None:
    """All layers must be made in one block, with nothing in between that could change a size or see half of them."""
    first = layers[0]
    statement = first.statement
    if self_parameter(first.init) != "self":
        return Refusal("`__init__` does not call its instance `self`", Place(statement, first.assignment))
    for layer in layers:
        if layer.owner is not first.owner or layer.block is not first.block:
            return Refusal("the layers are made in different places", Place(layer.statement, layer.assignment))
        if not statement.stands_alone(layer.assignment):
            return Refusal(
                f"`{layer.attribute}` shares its line with another statement", Place(statement, layer.assignment)
            )
    made = constructors(layers)
    others = {
        layer.attribute for layer in first.owner.own_layers.values() if layer.assignment in made and layer not in layers
    }
    if others:
        return Refusal(f"the loop makes `{min(others)}` too", Place(statement, made[0]))
    block = first.block
    read: set[str] = set()
    for layer in layers:
        made_by = layer.constructor or layer.assignment
        read |= {ast.unparse(node) for node in ast.walk(made_by) if isinstance(node, ast.Name | ast.Attribute)}
    for between in block[block.index(made[0]) : block.index(made[-1])]:
        if between in made:
            continue
        simple = isinstance(between, ast.Assign | ast.AnnAssign | ast.Pass) or (
            isinstance(between, ast.Expr) and isinstance(between.value, ast.Constant)
        )
        for node in ast.walk(between):
            stored = isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load)
            called = isinstance(node, ast.Call) and not _is_constructor(node)
            if not simple or called or (stored and ast.unparse(node) in read):
                return Refusal(
                    "something between the layers may change a size, or see half of them", Place(statement, between)
                )
    return None


def _is_constructor(node: ast.Call) -> bool:
    name = ast.unparse(node.func).rpartition(".")[2]
    return name[:1].isupper() and not any(isinstance(one, ast.Name) and one.id == "self" for one in node.args)


def constructors(layers: Sequence[Layer]) -> list[ast.stmt]:
    """The statements that make the layers, in their order."""
    made = {id(layer.assignment): layer.assignment for layer in layers}
    return sorted(made.values(), key=lambda node: node.lineno)


# -- the place of the call


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """Where the one call goes: in the statement `at`; `removed` only computed what it computes."""

    at: ast.stmt
    removed: tuple[ast.stmt, ...]
    inputs: tuple[str, ...]


def in_one_place(
    module: Module,
    scope: Scope,
    graph: Graph,
    inner: Sequence[Value],
    leaves: Sequence[Value],
    root: Value,
    at: ast.stmt,
    last: Value,
    outputs: Sequence[Value],
) -> Site | Refusal:
    """Whether all of `inner` can be replaced by one call of `leaves` in the statement `at`.

    `root` is what is computed at `at`, `last` the last of all values that are replaced; `outputs` those that may be
    used by others. The statements that only compute inner values are to be removed.
    """
    statement = scope.statement
    assert root.node is not None
    place = Place(statement, root.node)
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`", place)
    block = root.block
    if not block.is_suite or at not in block.statements:
        return Refusal("it is computed inside a conditional expression or comprehension", place)
    inside = {*inner, *outputs}
    for value in inner:
        if value.block is not block:
            return Refusal("its parts are computed in different branches or loops", place)
        if value in outputs:
            continue
        there = Place(statement, value.node) if value.node is not None else place
        text = statement.source(value.node)[:60] if value.node is not None else "a part of it"
        if any(use.by not in inside or use.how is not Consumption.INPUT for use in value.uses):
            return Refusal(f"`{text}` is used again", there)
        if value.reads > len(value.uses):
            return Refusal(f"`{text}` has a second name", there)
    ends = {value.statement for value in outputs}
    kept = {node for value in outputs if value.node is not None for node in ast.walk(value.node)}
    for value in inner:
        if value.statement in ends and value.node is not None and value.node not in kept:
            return Refusal("a part of it is computed beside its result", Place(statement, value.node))
        if value.statement is not None and any(isinstance(one, ast.NamedExpr) for one in ast.walk(value.statement)):
            return Refusal("a name is bound inside an expression", Place(statement, value.statement))
    removed: list[ast.stmt] = []
    for value in inner:
        one = value.statement
        if one is None or one in ends or one in removed:
            continue
        if not _only_computes(one, inside) or not statement.stands_alone(one):
            return Refusal(
                "a part of it is computed in a statement that does something else too", Place(statement, one)
            )
        removed.append(one)
    removed.sort(key=lambda node: node.lineno)
    first = min((value.order for value in inner), default=root.order)
    if graph.exits_between(first - 1, last.order):
        return Refusal("the function may leave, or torch be switched over, in between", place)
    own = {value.node for value in inner}
    for value in (*leaves, *outputs):
        for write in graph.writes:
            if first < write.order < last.order and write.node not in own and write.hits(value.roots):
                there = write.node if isinstance(write.node, ast.expr | ast.stmt) else root.node
                return Refusal("an input or the state may be changed in between", Place(statement, there))
    inputs: list[str] = []
    for leaf in leaves:
        if any(isinstance(one.constant, int | float) for one in (leaf, *leaf.inputs) if leaf.kind in _PLAIN):
            return Refusal("an input or the state begins as a number", place)
        name = _name_at(scope, leaf, inner, block.statements, at, removed)
        if name is None:
            return Refusal("an input has no name where the call would stand", place)
        inputs.append(name)
    return Site(at, tuple(removed), tuple(inputs))


def _only_computes(node: ast.stmt, inside: set[Value]) -> bool:
    """Whether a statement assigns inner values to names, and does nothing else."""
    nodes = {value.node for value in inside if value.node is not None}
    match node:
        case ast.Assign(targets=[ast.Name()], value=value):
            return value in nodes
        case ast.Assign(targets=[ast.Tuple(elts=targets) | ast.List(elts=targets)], value=value):
            if not all(isinstance(target, ast.Name) for target in targets):
                return False
            if isinstance(value, ast.Tuple | ast.List):
                return all(one in nodes for one in value.elts)
            return value in nodes
        case _:
            return False


def _name_at(
    scope: Scope,
    leaf: Value,
    inner: Sequence[Value],
    block: list[ast.stmt],
    at: ast.stmt,
    removed: Sequence[ast.stmt],
) -> str | None:
    """A name that holds `leaf` when `at` starts, seen where an inner value reads it."""
    for value in sorted(inner, key=lambda one: one.order):
        if leaf not in (*value.inputs, *value.keywords.values()) or value.statement is None:
            continue
        for node in operands(value):
            if not isinstance(node, ast.Name) or not _holds(value, node, leaf):
                continue
            start, end = block.index(value.statement), block.index(at)
            if start > end:
                continue
            between = [one for one in block[start:end] if one not in removed]
            if node.id not in assigned_names(between, scope.statement):
                return node.id
    return None


def operands(value: Value) -> list[ast.expr]:
    node = value.node
    match node:
        case ast.BinOp():
            return [node.left, node.right]
        case ast.Call(func=ast.Attribute() as func) if len(value.inputs) == len(node.args) + 1:
            return [func.value, *node.args]
        case ast.Call():
            return [*node.args, *(keyword.value for keyword in node.keywords)]
        case _:
            return []


def _holds(value: Value, node: ast.expr, leaf: Value) -> bool:
    """Whether the operand `node` of `value` is `leaf`."""
    given = [*value.inputs, *value.keywords.values()]
    nodes = operands(value)
    return len(nodes) == len(given) and any(
        one is node and held is leaf for one, held in zip(nodes, given, strict=True)
    )


# -- the edit


@dataclass(frozen=True, slots=True)
class Named:
    """The names of what the edit adds."""

    cell: str
    hook: str


def named(module: Module, owner: ClassInfo, cell: Cell) -> Named:
    maker = cell.layers[0].owner
    name = free_attribute(module, owner, "cell")
    return Named(name, free_function(module, f"_merge_{snake_case(maker.name)}_{name}"))


def made(cell: Cell, kind: str, names: Named, negated: int | None = None) -> tuple[Action, ...]:
    """The cell where the linear layers were made, and its load hook."""
    maker = cell.layers[0].owner
    metadata = {"arg_0": cell.input_size, "arg_1": cell.hidden_size, **cell.settings}
    put = (Init(LogicalNode(names.cell, kind, metadata)), HookRegistration(names.hook))
    whole = cell.x.rows[0].of > 1
    parameters: list[tuple[str, tuple[str, ...]]] = []
    for parameter in ("weight", "bias") if cell.has_bias else ("weight",):
        for side, suffix in ((cell.x, "ih"), (cell.h, "hh")):
            entries = tuple(f"{layer.attribute}.{parameter}" for layer in side.layers)
            parameters.append((f"{parameter}_{suffix}", entries))
    order = tuple(one.at for one in cell.x.rows) if whole else ()
    hook = CellHook(
        names.hook, names.cell, tuple(layer.attribute for layer in cell.layers), tuple(parameters), order, negated
    )
    return (
        ReplaceStatements(cell.layers[0].statement, tuple(constructors(cell.layers)), put),
        AddFunction(maker.statement, hook),
    )
