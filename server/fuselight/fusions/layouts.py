"""What a forward of plain steps computes, worked out with numbers for its sizes: layers, heads, products, softmax.

A tensor is known by its axes, and an axis by the steps that it takes through what a linear layer wrote: a `view` cuts
an axis in two, a `transpose` moves it, a product takes one away. Sizes are numbers that stand for any: what holds for
several draws of numbers that have nothing in common but what the source gives them, holds. A literal size stays itself.

`read` yields what a method computes when it is the attention of its input, statement by statement.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from fuselight.graph.classes import ClassInfo, assigned_names, local_names, resolve
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope

_LINEAR = ("in_features", "out_features", "bias", "device", "dtype")
_MOST = 4096
"""The largest number of heads, or size of one, that is tried."""
_DEEPEST = 2
"""How far methods of the class are followed into one another."""


class Unread(Exception):
    """What stands here is not one of the steps that are known; `near` once the scores of an attention are there."""

    def __init__(self, reason: str, node: ast.AST | None = None, near: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node
        self.near = near


@dataclass(frozen=True, slots=True)
class Atom:
    """A run of steps along one root axis: `size` of them, `stride` apart."""

    root: str
    size: int
    stride: int = 1


Axis = tuple[Atom, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A value that the steps begin with: a parameter, or what anything unknown yields."""

    name: str | None = None


@dataclass(frozen=True, slots=True)
class ShapeOf:
    """The shape of a leaf, of which the number of dimensions is not known yet."""

    leaf: Leaf


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of `__init__`, or something of it: `config.hidden_size`."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A layer that `__init__` makes: its constructor, with the arguments by their names as nodes and as values."""

    kind: str
    call: ast.Call
    statement: ast.stmt
    nodes: Mapping[str, ast.expr]
    sizes: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class LayerRef:
    """`self.<attribute>`, where it stands."""

    attribute: str
    node: ast.AST
    made: Made


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the rows of a linear layer, applied to a leaf."""

    layer: LayerRef
    source: Leaf
    offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor on the way: `rows` of a layer, `scores`, `weights` (their softmax), or the `context` they sum."""

    step: str
    axes: tuple[Axis, ...]
    parts: tuple[Part, ...]
    factor: float = 1.0
    depth: int = 0
    """The size of a head, once it is known."""
    rows: str = ""
    """The axis of the input along which it is attended."""
    features: int = 0
    """How many features of a layer the scores are made of."""
    dropout: tuple[ast.expr, ...] = ()
    """Where the probability of a dropout of the weights is written."""


@dataclass(frozen=True, slots=True)
class Training:
    """`self.training`"""


@dataclass(frozen=True, slots=True)
class Probability:
    """`p if self.training else 0.0`"""

    node: ast.expr


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """A call of a linear layer whose result is that of multi-head attention."""

    root: ast.Call
    query: Part
    key: Part
    value: Part
    out: LayerRef
    heads: int
    batch_first: bool
    dropout: tuple[ast.expr, ...]
    used: tuple[LayerRef, ...]
    """Every layer without parameters on the way."""

    @property
    def layers(self) -> tuple[LayerRef, ...]:
        found: list[LayerRef] = []
        for one in (self.query.layer, self.key.layer, self.value.layer, self.out):
            if all(one.attribute != other.attribute for other in found):
                found.append(one)
        return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A statement that was read: what it binds to which names, and whether it does nothing but known steps."""

    node: ast.stmt
    bound: tuple[tuple[str, object], ...]
    plain: bool


@dataclass(slots=True, eq=False)
class Draw:
    """Numbers for sizes that the source leaves open, no two alike; the width is a multiple of all the others."""

    batch: int
    length: int
    pool: tuple[int, ...]
    width: int
    wide: str | None = None
    """The parameter that is the width."""
    features: int = 0
    """The size of the input's last dimension."""
    given: dict[str, int] = field(default_factory=dict[str, int])

    def number(self, path: str) -> int:
        if path == self.wide:
            return self.width
        if path not in self.given:
            if len(self.given) >= len(self.pool):
                raise Unread("too many sizes are left open")
            self.given[path] = self.pool[len(self.given)]
        return self.given[path]


_POOLS = (
    (11, 13, (4, 6, 3, 8, 10, 5, 7, 12, 14, 9, 15, 16), 5040),
    (17, 23, (9, 5, 7, 16, 4, 12, 3, 10, 18, 14, 6, 8), 10080),
    (29, 19, (6, 14, 8, 3, 15, 9, 10, 7, 5, 16, 4, 12), 15120),
)


@dataclass(slots=True, eq=False)
class Inits:
    """What `__init__` binds, in one draw: names, attributes, and both as they are before each of its statements."""

    names: dict[str, object] = field(default_factory=dict[str, object])
    attributes: dict[str, object] = field(default_factory=dict[str, object])
    before: dict[ast.stmt, tuple[dict[str, object], dict[str, object]]] = field(
        default_factory=dict[ast.stmt, tuple[dict[str, object], dict[str, object]]]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One draw's reading of a method."""

    draw: Draw
    inits: Inits
    found: Attention | None
    statements: tuple[Read, ...]
    ranks: frozenset[Leaf]
    """The leaves that are shown to have three dimensions."""
    methods: frozenset[Function]
    """The methods of the class that were followed."""
    near: Unread | None


def read(module: Module, scope: Scope) -> list[Reading] | None:
    """The readings of a method in several draws; None where there is nothing like an attention in it."""
    owner = scope.owner
    init = owner.methods.get("__init__") if owner is not None else None
    if owner is None or init is None or self_parameter(init) != "self" or self_parameter(scope.function) != "self":
        return None
    first = _inits(module, owner, init, Draw(*_POOLS[0]))
    widths = [
        made.nodes["in_features"]
        for made in first.attributes.values()
        if isinstance(made, Made) and made.kind == "torch.nn.Linear" and "in_features" in made.nodes
    ]
    if not widths:
        return None
    found: list[Reading] = []
    for batch, length, pool, width in _POOLS:
        draw = Draw(batch, length, pool, width)
        node = _most_common(widths)
        value = _Reader(module, owner, draw, first).value(node)
        if isinstance(value, Parameter):
            draw.wide, draw.features = value.path, width
        elif isinstance(value, int) and isinstance(node, ast.Constant):
            draw.pool = tuple(one for one in range(min(value // 2, _MOST), 1, -1) if value % one == 0)
            shift = len(found) % max(len(draw.pool), 1)
            draw.pool = draw.pool[shift:] + draw.pool[:shift]
            draw.features = value
        inits = _inits(module, owner, init, draw)
        draw.features = draw.features or _width_of(inits, ast.unparse(node))
        reader = _Forward(module, owner, scope, draw, inits)
        reader.run()
        near = reader.near
        methods = frozenset(reader.methods)
        found.append(
            Reading(draw, inits, reader.found, tuple(reader.statements), frozenset(reader.ranks), methods, near)
        )  # fmt: skip
    return found


def _most_common(nodes: Sequence[ast.expr]) -> ast.expr:
    texts = [ast.unparse(node) for node in nodes]
    return nodes[max(range(len(nodes)), key=lambda at: (texts.count(texts[at]), -at))]


def _width_of(inits: Inits, text: str) -> int:
    """What the layers' width, a product of parameters, comes to."""
    made = (one for one in inits.attributes.values() if isinstance(one, Made) and one.kind == "torch.nn.Linear")
    return next((one.sizes[0] for one in made if ast.unparse(one.nodes["in_features"]) == text), 0)


# -- __init__


def _inits(module: Module, owner: ClassInfo, init: Function, draw: Draw) -> Inits:
    found = Inits()
    for one in (*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs):
        found.names[one.arg] = Parameter(one.arg)
    reader = _Reader(module, owner, draw, found, local_names(init, owner.statement) | owner.hidden)
    for statement in init.body:
        found.before[statement] = (dict(found.names), dict(found.attributes))
        match statement:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                reader.statement = statement
                try:
                    result = reader.value(value)
                except Unread:
                    result = None
                _bind_init(target, result, found)
            case _:
                for name in assigned_names([statement], owner.statement):
                    found.names.pop(name, None)
                for node in ast.walk(statement):
                    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                        found.attributes.pop(node.attr, None)
    return found


def _bind_init(target: ast.expr, value: object, found: Inits) -> None:
    match target:
        case ast.Name(id=name):
            found.names.pop(name, None)
            if value is not None:
                found.names[name] = value
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            again = name in found.attributes
            found.attributes.pop(name, None)
            if value is not None and not again:
                found.attributes[name] = value
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            values = _items(value)
            same = values is not None and len(values) == len(targets)
            for at, one in enumerate(targets):
                _bind_init(one, values[at] if values is not None and same else None, found)
        case _:
            pass


def _items(value: object) -> tuple[object, ...] | None:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else None


# -- numbers, in `__init__` and elsewhere


class _Reader:
    """Expressions of numbers, and the layers that `__init__` makes."""

    def __init__(
        self, module: Module, owner: ClassInfo, draw: Draw, inits: Inits, local: set[str] | frozenset[str] = frozenset()
    ) -> None:
        self.module = module
        self.owner = owner
        self.draw = draw
        self.inits = inits
        self.local = local
        self.statement: ast.stmt | None = None

    def name(self, node: ast.Name) -> object:
        if node.id in self.inits.names:
            return self.inits.names[node.id]
        raise Unread(f"`{node.id}` is not known", node)

    def number(self, value: object, node: ast.AST | None = None) -> int | float:
        if isinstance(value, Parameter):
            return self.draw.number(value.path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise Unread("a size is not known", node)

    def whole(self, value: object, node: ast.AST | None = None) -> int:
        number = self.number(value, node)
        if isinstance(number, float):
            raise Unread("a size is no whole number", node)
        return number

    def resolved(self, node: ast.expr) -> str | None:
        return resolve(node, self.module.names, self.local)

    def value(self, node: ast.expr) -> object:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name():
                return self.name(node)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return self.attribute(node, name)
            case ast.Attribute(value=inner, attr=name):
                base = self.value(inner)
                if isinstance(base, Parameter):
                    return Parameter(f"{base.path}.{name}")
                return self.of(base, name, node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.number(self.value(operand), node)
            case ast.BinOp(left=left, op=op, right=right):
                return self.operation(node, op, self.value(left), self.value(right))
            case ast.Call():
                return self.call(node)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                return tuple(self.elements(elements))
            case ast.GeneratorExp() | ast.ListComp():
                return self.comprehension(node)
            case _:
                raise Unread(f"`{ast.unparse(node)[:60]}` is not one of the steps that are known", node)

    def elements(self, nodes: Sequence[ast.expr]) -> Iterator[object]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                values = _items(self.value(node.value))
                if values is None:
                    raise Unread("what is unpacked is not known", node)
                yield from values
            else:
                yield self.value(node)

    def attribute(self, node: ast.Attribute, name: str) -> object:
        if name not in self.inits.attributes:
            raise Unread(f"`self.{name}` is not known", node)
        return self.inits.attributes[name]

    def of(self, base: object, name: str, node: ast.expr) -> object:
        raise Unread(f"`{ast.unparse(node)[:60]}` is not one of the steps that are known", node)

    def operation(self, node: ast.BinOp, op: ast.operator, left: object, right: object) -> object:
        one, other = self.number(left, node.left), self.number(right, node.right)
        try:
            match op:
                case ast.Add():
                    return one + other
                case ast.Sub():
                    return one - other
                case ast.Mult():
                    return one * other
                case ast.Div():
                    return one / other
                case ast.FloorDiv():
                    return one // other
                case ast.Mod():
                    return one % other
                case ast.Pow() if abs(other) <= 64:
                    return cast("int | float", one**other)
                case _:
                    pass
        except (ArithmeticError, ValueError):
            pass
        raise Unread("this is not arithmetic of sizes", node)

    def call(self, node: ast.Call) -> object:
        name = self.resolved(node.func)
        if name in ("math.sqrt", "numpy.sqrt") and len(node.args) == 1 and not node.keywords:
            number = self.number(self.value(node.args[0]), node)
            if number < 0:
                raise Unread("this is not arithmetic of sizes", node)
            return math.sqrt(number)
        if name is not None and name.startswith("torch.nn.") and name.rpartition(".")[2][:1].isupper():
            return self.layer(name, node)
        func = node.func
        alone = len(node.args) == 1 and not node.keywords
        if alone and isinstance(func, ast.Name) and func.id in ("int", "float") and self.is_builtin(func.id):
            number = self.number(self.value(node.args[0]), node)
            return int(number) if func.id == "int" else float(number)
        raise Unread(f"`{ast.unparse(node.func)[:60]}` is not one of the steps that are known", node)

    def is_builtin(self, name: str) -> bool:
        return name not in self.local and name not in self.module.names.bindings and not self.module.names.stars

    def layer(self, kind: str, node: ast.Call) -> Made:
        parameters = _LINEAR if kind == "torch.nn.Linear" else ("p",) if "Dropout" in kind else ("dim",)
        if self.statement is None or len(node.args) > len(parameters):
            raise Unread("a layer is made", node)
        if any(isinstance(one, ast.Starred) for one in node.args):
            raise Unread("a layer is made of what is not known", node)
        nodes: dict[str, ast.expr] = dict(zip(parameters, node.args, strict=False))
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in parameters or keyword.arg in nodes:
                raise Unread("a layer is made with other arguments", node)
            nodes[keyword.arg] = keyword.value
        sizes = (0, 0)
        if kind == "torch.nn.Linear":
            if not {"in_features", "out_features"} <= nodes.keys():
                raise Unread("a layer is made without its sizes", node)
            width, height = (self.whole(self.value(nodes[one]), node) for one in _LINEAR[:2])
            sizes = (width, height)
        return Made(kind, node, self.statement, nodes, sizes)

    def comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> object:
        """`(nn.Linear(d, d) for _ in range(4))`"""
        match node:
            case ast.GeneratorExp(
                elt=ast.Call() as made,
                generators=[
                    ast.comprehension(
                        target=ast.Name(id=name),
                        iter=ast.Call(
                            func=ast.Name(id="range"), args=[ast.Constant(value=int() as count)], keywords=[]
                        ),
                        ifs=[],
                        is_async=0,
                    )
                ],
            ) if self.is_builtin("range") and count <= 64:
                if any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(made)):
                    raise Unread("the layers are made with the loop's number", node)
                return tuple(self.value(made) for _ in range(count))
            case _:
                raise Unread("a comprehension is not one of the steps that are known", node)


# -- the steps of a forward


class _Forward(_Reader):
    def __init__(self, module: Module, owner: ClassInfo, scope: Scope, draw: Draw, inits: Inits) -> None:
        local = local_names(scope.function, scope.statement) | scope.enclosing
        super().__init__(module, owner, draw, inits, local)
        self.scope = scope
        self.env: dict[str, object] = {}
        self.found: Attention | None = None
        self.near: Unread | None = None
        self.statements: list[Read] = []
        self.ranks: set[Leaf] = set()
        self.depth = 0
        self.tried: set[ast.AST] = set()
        self.used: list[LayerRef] = []
        self.methods: set[Function] = set()

    def run(self) -> None:
        arguments = self.scope.function.args
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.env[one.arg] = Leaf(one.arg)
        self.env.pop("self", None)
        for extra in (arguments.vararg, arguments.kwarg):
            if extra is not None:
                self.env.pop(extra.arg, None)
        for statement in self.scope.function.body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                self.statements.append(Read(node, (), True))
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                bound: list[tuple[str, object]] = []
                try:
                    self._bind(target, self.value(value), bound)
                    plain = True
                except Unread as unread:
                    self._missed(unread, node)
                    bound, plain = [], False
                    for name in sorted(assigned_names([node], self.scope.statement)):
                        bound.append((name, Leaf(name)))
                self._keep(node, bound, plain)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                try:
                    before = self.env.get(name)
                    if not isinstance(before, Tensor) or self._has_another_name(name, before):
                        raise Unread("it is changed in place", node, _is_near(before))
                    scaled = ast.BinOp(left=ast.Name(id=name, ctx=ast.Load()), op=op, right=value)
                    self._keep(node, [(name, self.operation(scaled, op, before, self.value(value)))], True)
                except Unread as unread:
                    self._missed(unread, node)
                    self._keep(node, [(name, Leaf(name))], False)
            case ast.Return(value=value):
                if value is not None:
                    try:
                        self.value(value)
                    except Unread as unread:
                        self._missed(unread, node)
                self._keep(node, [], False)
            case _:
                names = sorted(assigned_names([node], self.scope.statement))
                touched = [name for name in names if isinstance(self.env.get(name), Tensor)]
                if any(_is_near(self.env[name]) for name in touched):
                    self._near(Unread(f"`{touched[0]}` is changed under a condition", node, True))
                if isinstance(node, ast.Expr):
                    try:
                        self.value(node.value)
                    except Unread as unread:
                        self._missed(unread, node)
                self._keep(node, [(name, Leaf(name)) for name in names], False)

    def _has_another_name(self, name: str, value: Tensor) -> bool:
        """Whether an in-place change of a tensor may be seen under another name."""
        rows = {(part.layer.attribute, part.offset) for part in value.parts}
        return any(
            one != name and isinstance(held, Tensor) and held.step == value.step
            and rows & {(part.layer.attribute, part.offset) for part in held.parts}
            for one, held in self.env.items()
        )  # fmt: skip

    def _keep(self, node: ast.stmt, bound: Sequence[tuple[str, object]], plain: bool) -> None:
        self.env.update(bound)
        self.statements.append(Read(node, tuple(bound), plain))

    def _missed(self, unread: Unread, node: ast.stmt) -> None:
        names = (one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load))
        near = next((name for name in names if _is_near(self.env.get(name))), None)
        if near is not None and not unread.near:
            unread = Unread(f"something else is done with `{near}`", node, True)
        self._near(unread)
        # What stands further inside may be read all the same: `x + self.drop(self.proj(y))`.
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call) and inner not in self.tried and self._is_linear(inner):
                try:
                    self.value(inner)
                except Unread as again:
                    self._near(again)

    def _near(self, unread: Unread) -> None:
        if unread.near and self.near is None:
            self.near = unread

    def _is_linear(self, node: ast.Call) -> bool:
        func = node.func
        of_self = isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "self"
        made = self.inits.attributes.get(func.attr) if isinstance(func, ast.Attribute) and of_self else None
        return isinstance(made, Made) and made.kind == "torch.nn.Linear"

    def _bind(self, target: ast.expr, value: object, bound: list[tuple[str, object]]) -> None:
        match target:
            case ast.Name(id=name):
                bound.append((name, value))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                if any(isinstance(one, ast.Starred) for one in targets):
                    raise Unread("a starred name takes what is left", target)
                if isinstance(value, ShapeOf):
                    if len(targets) != 3:
                        raise Unread("its input does not have three dimensions", target)
                    self.ranks.add(value.leaf)
                    value = self._sizes()
                if isinstance(value, Tensor):
                    value = self._apart(target, value, 0)
                values = _items(value)
                if values is None or len(values) != len(targets):
                    raise Unread("what is taken apart is not known", target)
                for one, each in zip(targets, values, strict=True):
                    self._bind(one, each, bound)
            case _:
                raise Unread("something is kept in an attribute or an element", target)

    def _sizes(self) -> tuple[int, int, int]:
        return self.draw.batch, self.draw.length, self.draw.features

    # -- expressions

    def name(self, node: ast.Name) -> object:
        if node.id in self.env:
            return self.env[node.id]
        raise Unread(f"`{node.id}` is not known", node)

    def attribute(self, node: ast.Attribute, name: str) -> object:
        if name == "training":
            return Training()
        value = super().attribute(node, name)
        if isinstance(value, Made):
            return LayerRef(name, node, value)
        stores = [one for one in self.module.mentions.of_attribute(name) if not isinstance(one.node.ctx, ast.Load)]
        family = {member.node for member in self.owner.family}
        if sum(one.owner is None or one.owner in family for one in stores) != 1:
            raise Unread(f"`self.{name}` may be set elsewhere", node)
        return value

    def value(self, node: ast.expr) -> object:
        match node:
            case ast.Subscript(value=base, slice=index):
                return self._element(node, self.value(base), index)
            case ast.IfExp(
                test=ast.Attribute(value=ast.Name(id="self"), attr="training"),
                body=body,
                orelse=ast.Constant(value=0 | 0.0),
            ):
                self.number(self.value(body), body)
                return Probability(self._written(body))
            case ast.Tuple(elts=elements) | ast.List(elts=elements) if any(
                isinstance(one, ast.Starred) for one in elements
            ):
                return self._with_shape(node, elements)
            case _:
                return super().value(node)

    def _with_shape(self, node: ast.expr, elements: list[ast.expr]) -> object:
        """`b, n, _, h = *x.shape, self.heads`: the names tell how many dimensions there are."""
        found: list[object] = []
        for one in elements:
            value = self.value(one.value) if isinstance(one, ast.Starred) else self.value(one)
            if isinstance(one, ast.Starred) and isinstance(value, ShapeOf):
                wanted = self._targets(node)
                if wanted is None or wanted - (len(elements) - 1) != 3:
                    raise Unread("how many dimensions its input has is not known", node)
                self.ranks.add(value.leaf)
                found += self._sizes()
            elif isinstance(one, ast.Starred):
                values = _items(value)
                if values is None:
                    raise Unread("what is unpacked is not known", one)
                found += values
            else:
                found.append(value)
        return tuple(found)

    def _targets(self, node: ast.expr) -> int | None:
        for statement in self.scope.function.body:
            if isinstance(statement, ast.Assign) and statement.value is node and len(statement.targets) == 1:
                target = statement.targets[0]
                if isinstance(target, ast.Tuple | ast.List):
                    return len(target.elts)
        return None

    def of(self, base: object, name: str, node: ast.expr) -> object:
        if name == "shape":
            return self._shape(base, node)
        if isinstance(base, Tensor) and name in ("mT", "T") and (name == "mT" or len(base.axes) == 2):
            return self._swapped(base, -2, -1, node)
        raise Unread(f"`{name}` is not one of the steps that are known", node, _is_near(base))

    def _shape(self, base: object, node: ast.AST) -> object:
        if isinstance(base, Leaf):
            return ShapeOf(base)
        if isinstance(base, Tensor):
            return tuple(_size(axis) for axis in base.axes)
        raise Unread("this has no shape", node)

    def operation(self, node: ast.BinOp, op: ast.operator, left: object, right: object) -> object:
        if isinstance(op, ast.MatMult):
            return self._product(node, left, right)
        tensor, other = (left, right) if isinstance(left, Tensor) else (right, left)
        if isinstance(op, ast.Add) and _items(left) is not None and _items(right) is not None:
            return (*(_items(left) or ()), *(_items(right) or ()))
        if not isinstance(tensor, Tensor):
            return super().operation(node, op, left, right)
        scaled = tensor.step in ("rows", "scores") and isinstance(op, ast.Mult | ast.Div)
        if scaled and isinstance(other, int | float | Parameter) and (tensor is left or isinstance(op, ast.Mult)):
            number = self.number(other, node)
            factor = tensor.factor * number if isinstance(op, ast.Mult) else tensor.factor / (number or math.nan)
            return replace(tensor, factor=factor)
        what = {"scores": "the scores", "weights": "the weights", "context": "the weighted sum"}.get(tensor.step, "it")
        raise Unread(f"something else is done to {what} than scaling them", node, _is_near(tensor))

    def call(self, node: ast.Call) -> object:
        self.tried.add(node)
        func = node.func
        name = self.resolved(func)
        if name in _FUNCTIONS:
            return self._step(_FUNCTIONS[name], node, *self._arguments(node))
        if isinstance(func, ast.Name) and func.id == "map" and self.is_builtin("map"):
            return self._mapped(node)
        if isinstance(func, ast.Name) and func.id in self.env:
            held = self.env[func.id]
            if isinstance(held, LayerRef):
                return self._layer_call(node, held)
        if name == "einops.rearrange":
            inputs, keywords = self._arguments(node)
            if len(inputs) == 2:
                return self._rearranged(node, inputs[0], inputs[1], keywords)
        if name is None and isinstance(func, ast.Attribute):
            if isinstance(func.value, ast.Name) and func.value.id == "self":
                if func.attr in self.owner.methods:
                    return self._method(node, self.owner.methods[func.attr])
                held = self.attribute(func, func.attr)
                if isinstance(held, LayerRef):
                    return self._layer_call(node, held)
            else:
                base = self.value(func.value)
                if func.attr not in _METHODS and _is_near(base):
                    raise Unread(f"`{func.attr}` is not one of the steps that are known", node, True)
                inputs, keywords = self._arguments(node)
                return self._step(_METHODS.get(func.attr, func.attr), node, [base, *inputs], keywords)
        if name is None or not name.startswith(("math.", "numpy.")):
            inputs, keywords = self._arguments(node)
            near = any(_is_near(one) for one in (*inputs, *keywords.values()))
            if near:
                raise Unread(f"`{ast.unparse(func)[:60]}` is not one of the steps that are known", node, True)
        return super().call(node)

    def _arguments(self, node: ast.Call) -> tuple[list[object], dict[str, object]]:
        keywords: dict[str, object] = {}
        for one in node.keywords:
            if one.arg is None:
                raise Unread("an argument is not known", node)
            keywords[one.arg] = self.value(one.value)
        return list(self.elements(node.args)), keywords

    def comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> object:
        if len(node.generators) != 1 or node.generators[0].ifs or node.generators[0].is_async:
            raise Unread("a comprehension is not one of the steps that are known", node)
        loop = node.generators[0]
        values = _items(self.value(loop.iter))
        if values is None or not isinstance(loop.target, ast.Name):
            raise Unread("a comprehension goes through what is not known", node)
        return tuple(self._with(loop.target.id, value, node.elt) for value in values)

    def _mapped(self, node: ast.Call) -> object:
        """`map(lambda t: rearrange(t, ...), (q, k, v))`"""
        match node:
            case ast.Call(
                args=[ast.Lambda(args=ast.arguments(args=[ast.arg(arg=name)]), body=body), source], keywords=[]
            ):
                values = _items(self.value(source))
                if values is not None:
                    return tuple(self._with(name, value, body) for value in values)
            case _:
                pass
        raise Unread("`map` is given what is not known", node)

    def _with(self, name: str, value: object, body: ast.expr) -> object:
        outer = dict(self.env)
        self.env[name] = value
        try:
            return self.value(body)
        finally:
            self.env = outer

    def _method(self, node: ast.Call, method: Function) -> object:
        """A method of the class that is nothing but steps: `self.split_heads(q)`."""
        inputs, keywords = self._arguments(node)
        arguments = method.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)][1:]
        near = any(_is_near(one) for one in (*inputs, *keywords.values()))
        refused = Unread(f"`{method.name}` is not one of the steps that are known", node, near)
        special = arguments.vararg or arguments.kwarg or arguments.kwonlyargs or method.decorator_list
        if self.depth >= _DEEPEST or special or self_parameter(method) != "self" or len(inputs) > len(names):
            raise refused
        given = {**dict(zip(names, inputs, strict=False)), **keywords}
        defaults = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
        for name in names:
            if name not in given and isinstance(defaults.get(name), ast.Constant):
                given[name] = self.value(defaults[name])
        if given.keys() != set(names) or any(self.owner.name != one.name for one in self.owner.family):
            raise refused
        outer, local, statements = self.env, self.local, self.statements
        self.env, self.local, self.depth = given, local_names(method, self.owner.statement), self.depth + 1
        self.statements = []
        self.methods.add(method)
        try:
            for statement in method.body:
                if isinstance(statement, ast.Return) and statement.value is not None:
                    return self.value(statement.value)
                self._statement(statement)
                if not self.statements or not self.statements[-1].plain:
                    raise refused
        finally:
            self.env, self.local, self.depth, self.statements = outer, local, self.depth - 1, statements
        raise refused

    # -- layers

    def _layer_call(self, node: ast.Call, layer: LayerRef) -> object:
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            raise Unread(f"`{layer.attribute}` is not called with one input", node)
        value = self.value(node.args[0])
        kind = layer.made.kind
        if kind == "torch.nn.Linear":
            return self._linear(node, layer, value)
        if kind == "torch.nn.Identity":
            self.used.append(layer)
            return value
        if isinstance(value, Tensor):
            if kind == "torch.nn.Softmax" and "dim" in layer.made.nodes:
                self.used.append(layer)
                return self._softmax(node, value, self.value(layer.made.nodes["dim"]))
            if kind == "torch.nn.Dropout" and value.step == "weights" and not value.dropout:
                self.used.append(layer)
                given = layer.made.nodes.get("p", ast.Constant(value=0.5))
                return replace(value, dropout=(given,))
        raise Unread(f"`{layer.attribute}` is not one of the steps that are known", node, _is_near(value))

    def _linear(self, node: ast.Call, layer: LayerRef, value: object) -> object:
        width, height = layer.made.sizes
        if isinstance(value, Leaf):
            batch, length, _ = self._sizes()
            axes = ((Atom("0", batch),), (Atom("1", length),), (Atom("F", height),))
            return Tensor("rows", axes, (Part(layer, value),))
        if isinstance(value, Tensor) and value.step == "context":
            found = self._attention(node, layer, value, width, height)
            if self.found is not None:
                raise Unread("there is more than one attention in it", node, True)
            self.found = found
            return Leaf()
        raise Unread(f"`{layer.attribute}` is applied to something on the way", node, _is_near(value))

    def _attention(self, node: ast.Call, layer: LayerRef, value: Tensor, width: int, height: int) -> Attention:
        query, key, summed = value.parts
        if any(part.layer.attribute == layer.attribute for part in value.parts):
            raise Unread("its last layer is one of the first", node, True)
        if any(part.source is not query.source for part in value.parts):
            raise Unread("queries, keys and values are not of one input", node, True)
        every = [part.layer.attribute for part in value.parts]
        for at, part in enumerate(value.parts):
            inner, outer = part.layer.made.sizes
            count = every.count(every[at])
            if inner != width or outer != count * width or height != width or value.features != width:
                raise Unread("its layers do not all have one width", node, True)
            # As many rows each, in this order, in one layer or several: what `in_proj_weight` holds.
            if part.offset != (at - every.index(every[at])) * width:
                raise Unread("queries, keys and values do not lie one behind the other in their layer", node, True)
        batch, length, _ = self._sizes()
        wanted = ((Atom("0", batch),), (Atom("1", length),), (Atom("F", width),))
        if value.axes != wanted:
            raise Unread("the heads are not put together as they were taken apart", node, True)
        heads, first = width // value.depth, value.rows == "1"
        return Attention(node, query, key, summed, layer, heads, first, value.dropout, tuple(self.used))

    # -- steps

    def _softmax(self, node: ast.AST, value: object, dim: object) -> Tensor:
        if not isinstance(value, Tensor) or value.step != "scores":
            raise Unread("a softmax of something else", node, _is_near(value))
        at = self.whole(dim, node)
        count = len(value.axes)
        if at not in (-1, count - 1) or not all(atom.root.endswith("'") for atom in value.axes[-1]):
            raise Unread("the softmax is not over the keys", node, True)
        if not math.isclose(value.factor * math.sqrt(value.depth), 1.0, rel_tol=1e-9):
            raise Unread("the scores are not scaled by one over the root of the size of a head", node, True)
        return replace(value, step="weights", factor=1.0)

    def _product(self, node: ast.AST, left: object, right: object) -> Tensor:
        if not isinstance(left, Tensor) or not isinstance(right, Tensor):
            near = _is_near(left) or _is_near(right)
            raise Unread("a product with something else", node, near)
        count = len(left.axes)
        if count != len(right.axes) or count < 3:
            raise Unread("a product of tensors of different dimensions", node, _is_near(left) or _is_near(right))
        lead = [f"b{at}" for at in range(count - 2)]
        return self._einsum(node, [*lead, "i", "j"], [*lead, "j", "k"], [*lead, "i", "k"], left, right)

    def _einsum(
        self, node: ast.AST, first: list[str], second: list[str], result: list[str], left: Tensor, right: Tensor
    ) -> Tensor:
        if left.step == "rows" and right.step == "weights":
            first, second, left, right = second, first, right, left
        if (left.step, right.step) not in (("rows", "rows"), ("weights", "rows")) or right.step != "rows":
            raise Unread("a product of something else", node, _is_near(left) or _is_near(right))
        near = left.step == "weights"
        if len(first) != len(left.axes) or len(second) != len(right.axes):
            raise Unread("an einsum of other dimensions", node, near)
        one, other = dict(zip(first, left.axes, strict=True)), dict(zip(second, right.axes, strict=True))
        summed = [letter for letter in one if letter in other and letter not in result]
        mine = [letter for letter in one if letter not in other]
        theirs = [letter for letter in other if letter not in one]
        shared = [letter for letter in one if letter in other and letter in result]
        if len(summed) != 1 or {*mine, *theirs, *shared} != set(result) or any(one[a] != other[a] for a in shared):
            raise Unread("a product that is none of an attention", node, near)
        axes = {**one, **other}
        (k,) = summed
        if near:
            if one[k] != _primed(other[k]) or right.factor != 1.0:
                raise Unread("the weights do not sum the values of their keys", node, True)
            rest = tuple(axes[letter] for letter in result)
            return replace(left, step="context", axes=rest, parts=(*left.parts, *right.parts))
        depth = _size(one[k])
        features = [
            math.prod(atom.size for axis in side.axes for atom in axis if atom.root == "F") for side in (left, right)
        ]
        heads = features[0] == features[1] and one[k] in ((Atom("F", depth),), ()) and one[k] == other[k]
        if len(mine) != 1 or len(theirs) != 1 or one[mine[0]] != other[theirs[0]] or not heads:
            raise Unread("a product that is none of an attention", node)
        rows = one[mine[0]]
        sizes = {"0": self.draw.batch, "1": self.draw.length}
        if len(rows) != 1 or rows[0] not in (Atom("0", sizes["0"]), Atom("1", sizes["1"])):
            raise Unread("the scores are not those of two places of its input", node, True)
        # The keys are what the softmax goes over, the last dimension.
        keys = mine[0] if result[-1] == mine[0] else theirs[0]
        axes[keys] = _primed(rows)
        found = tuple(axes[letter] for letter in result)
        parts = (*right.parts, *left.parts) if keys == mine[0] else (*left.parts, *right.parts)
        return Tensor("scores", found, parts, left.factor * right.factor, depth, rows[0].root, features[0])

    def _element(self, node: ast.Subscript, base: object, index: ast.expr) -> object:
        values = _items(base)
        if isinstance(base, ShapeOf):
            if isinstance(index, ast.Slice):
                return self._sizes()[self._slice(index)]
            return self._at(node, base, self.value(index))
        if values is not None:
            if isinstance(index, ast.Slice):
                return values[self._slice(index)]
            at = self.whole(self.value(index), node)
            if not -len(values) <= at < len(values):
                raise Unread("an element that is not there", node)
            return values[at]
        if isinstance(base, Tensor) and base.step == "rows":
            return self._part(node, base, index)
        raise Unread("an element is taken", node, _is_near(base))

    def _slice(self, node: ast.Slice) -> slice:
        parts = [None if one is None else self.whole(self.value(one), one) for one in (node.lower, node.upper)]
        if node.step is not None:
            raise Unread("a slice with steps", node)
        return slice(*parts)

    def _part(self, node: ast.Subscript, base: Tensor, index: ast.expr) -> Tensor:
        """`qkv[0]`, `qkv[:, :, 1]`, `qkv[..., :width]`"""
        elements = list(index.elts) if isinstance(index, ast.Tuple) else [index]
        dots = [at for at, one in enumerate(elements) if isinstance(one, ast.Constant) and one.value is ...]
        if len(dots) > 1:
            raise Unread("an index that is not known", node)
        if dots:
            missing = len(base.axes) - len(elements) + 1
            elements[dots[0] : dots[0] + 1] = [ast.Slice()] * missing
        axes = list(base.axes)
        part = base.parts[0]
        at = 0
        for one in elements:
            if at >= len(axes):
                raise Unread("an index of more dimensions", node)
            if isinstance(one, ast.Slice):
                if one.lower is None and one.upper is None and one.step is None:
                    at += 1
                    continue
                start, stop, _ = self._slice(one).indices(_size(axes[at]))
                axes[at], offset = _cut(axes[at], start, stop, node)
                at += 1
            else:
                place = self.whole(self.value(one), node)
                size = _size(axes[at])
                if not -size <= place < size:
                    raise Unread("an element that is not there", node)
                _, offset = _cut(axes[at], place % size, place % size + 1, node)
                del axes[at]
            part = replace(part, offset=part.offset + offset)
        return replace(base, axes=tuple(axes), parts=(part,))

    def _pieces(self, node: ast.AST, value: object, count: int, dim: object) -> tuple[object, ...]:
        """Equal pieces along a dimension."""
        if not isinstance(value, Tensor) or value.step != "rows":
            raise Unread("pieces of something else", node, _is_near(value))
        at = self._dim(value, dim, node)
        size = _size(value.axes[at])
        if count < 1 or size % count:
            raise Unread("the pieces are not equal", node)
        found: list[object] = []
        for number in range(count):
            axis, offset = _cut(value.axes[at], number * (size // count), (number + 1) * (size // count), node)
            axes = (*value.axes[:at], axis, *value.axes[at + 1 :])
            part = replace(value.parts[0], offset=value.parts[0].offset + offset)
            found.append(replace(value, axes=axes, parts=(part,)))
        return tuple(found)

    def _apart(self, node: ast.AST, value: object, dim: object) -> tuple[object, ...]:
        """The elements along a dimension, which goes."""
        if not isinstance(value, Tensor) or value.step != "rows":
            raise Unread("something else is taken apart", node, _is_near(value))
        at = self._dim(value, dim, node)
        pieces = self._pieces(node, value, _size(value.axes[at]), at)
        axes = value.axes[:at] + value.axes[at + 1 :]
        found: list[object] = []
        for piece in pieces:
            assert isinstance(piece, Tensor)
            rest = piece.axes[:at] + piece.axes[at + 1 :]
            assert rest == axes
            found.append(replace(piece, axes=rest))
        return tuple(found)

    def _dim(self, value: Tensor, dim: object, node: ast.AST) -> int:
        at = self.whole(dim, node)
        if not -len(value.axes) <= at < len(value.axes):
            raise Unread("a dimension that is not there", node, _is_near(value))
        return at % len(value.axes)

    def _swapped(self, value: object, one: object, other: object, node: ast.AST) -> Tensor:
        if not isinstance(value, Tensor):
            raise Unread("another tensor is transposed", node)
        first, second = self._dim(value, one, node), self._dim(value, other, node)
        axes = list(value.axes)
        axes[first], axes[second] = axes[second], axes[first]
        return replace(value, axes=tuple(axes))

    def _permuted(self, value: object, dims: Sequence[object], node: ast.AST) -> Tensor:
        if not isinstance(value, Tensor):
            raise Unread("another tensor is permuted", node)
        order = [self._dim(value, dim, node) for dim in dims]
        if sorted(order) != list(range(len(value.axes))):
            raise Unread("the dimensions do not fit", node, _is_near(value))
        return replace(value, axes=tuple(value.axes[at] for at in order))

    def _step(self, name: str, node: ast.Call, inputs: list[object], keywords: dict[str, object]) -> object:
        """One of the functions and methods that are known, by its name."""
        if not inputs and "input" in keywords:
            inputs = [keywords.pop("input")]
        near = any(_is_near(one) for one in (*inputs, *keywords.values()))
        parameters = _PARAMETERS.get(name)
        if parameters is None or not inputs:
            raise Unread(f"`{ast.unparse(node.func)[:60]}` is not one of the steps that are known", node, near)
        names, needed = parameters
        base, rest = inputs[0], inputs[1:]
        if names == ("*",):
            if keywords:
                raise Unread("it is called with other arguments", node, near)
            items = _items(rest[0]) if len(rest) == 1 else None
            rest = list(items) if items is not None else rest
        else:
            if len(rest) > len(names) or any(one not in names[len(rest) :] for one in keywords):
                raise Unread("it is called with other arguments", node, near)
            rest += [keywords.get(one) for one in names[len(rest) :]]
            if any(one is None for one in rest[:needed]):
                raise Unread("it is called with other arguments", node, near)
        match name:
            case "reshape":
                return self._reshaped(base, rest, node)
            case "permute":
                return self._permuted(base, rest, node)
            case "transpose":
                return self._swapped(base, rest[0], rest[1], node)
            case "contiguous":
                return base
            case "size":
                shape = self._shape(base, node)
                if rest[0] is None:
                    return shape
                return self._at(node, shape, rest[0])
            case "matmul":
                return self._product(node, base, rest[0])
            case "mul" | "div":
                op = ast.Mult() if name == "mul" else ast.Div()
                return self.operation(ast.BinOp(node, op, node), op, base, rest[0])
            case "softmax":
                return self._softmax(node, base, rest[0])
            case "chunk":
                count = self.whole(rest[0], node)
                return self._pieces(node, base, count, 0 if rest[1] is None else rest[1])
            case "split":
                return self._split(node, base, rest[0], 0 if rest[1] is None else rest[1])
            case "unbind":
                return self._apart(node, base, 0 if rest[0] is None else rest[0])
            case "flatten" | "unflatten" if isinstance(base, Tensor):
                sizes: list[object] = [_size(axis) for axis in base.axes]
                start = self._dim(base, 0 if rest[0] is None else rest[0], node)
                if name == "flatten":
                    stop = self._dim(base, -1 if rest[1] is None else rest[1], node)
                    sizes[start : stop + 1] = [math.prod(_size(axis) for axis in base.axes[start : stop + 1])]
                else:
                    sizes[start : start + 1] = _items(rest[1]) or ()
                return self._reshaped(base, sizes, node)
            case "einsum":
                return self._of_equation(node, base, rest)
            case "dropout":
                return self._dropout(node, base, rest)
            case "attention":
                return self._one_call(node, base, rest)
            case _:
                raise Unread("this is not one of the steps that are known", node, near)

    def _at(self, node: ast.AST, shape: object, index: object) -> int:
        sizes = self._sizes() if isinstance(shape, ShapeOf) else _items(shape)
        at = self.whole(index, node)
        if sizes is None or not -len(sizes) <= at < len(sizes):
            raise Unread("a dimension that is not there", node)
        return self.whole(sizes[at], node)

    def _split(self, node: ast.AST, value: object, sizes: object, dim: object) -> tuple[object, ...]:
        if not isinstance(value, Tensor):
            raise Unread("something else is split", node)
        total = _size(value.axes[self._dim(value, dim, node)])
        items = _items(sizes)
        widths = [self.whole(one, node) for one in items] if items is not None else [self.whole(sizes, node)]
        if len(set(widths)) != 1 or widths[0] < 1 or total % widths[0] or (items and sum(widths) != total):
            raise Unread("the pieces are not equal", node)
        return self._pieces(node, value, total // widths[0], dim)

    def _dropout(self, node: ast.Call, value: object, rest: list[object]) -> Tensor:
        """`F.dropout(weights, p=p, training=self.training)`"""
        if not isinstance(value, Tensor) or value.step != "weights" or value.dropout:
            raise Unread("something else is dropped out than the weights", node, _is_near(value))
        if not isinstance(rest[1], Training):
            raise Unread("its dropout does not ask for training mode", node, True)
        given = (
            node.args[1] if len(node.args) > 1 else next((one.value for one in node.keywords if one.arg == "p"), None)
        )
        return replace(value, dropout=(self._written(given) if given is not None else ast.Constant(value=0.5),))

    def _written(self, node: ast.expr) -> ast.expr:
        """A probability that means the same in `__init__`: a number, or an attribute."""
        own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        if own or isinstance(node, ast.Constant):
            return node
        raise Unread("its dropout is worked out", node, True)

    def _one_call(self, node: ast.Call, query: object, rest: list[object]) -> Tensor:
        """`F.scaled_dot_product_attention(q, k, v, dropout_p=p if self.training else 0.0)`"""
        key, value, mask, dropout, causal, scale = rest
        if not all(isinstance(one, Tensor) and one.step == "rows" for one in (query, key, value)):
            raise Unread("an attention of something else", node)
        if mask is not None or causal not in (None, False):
            raise Unread("its attention has a mask", node, True)
        scores = self._product(node, query, self._swapped(key, -2, -1, node))
        number = 1 / math.sqrt(scores.depth) if scale is None else self.number(scale, node)
        weights = self._softmax(node, replace(scores, factor=scores.factor * number), -1)
        if isinstance(dropout, Probability):
            weights = replace(weights, dropout=(dropout.node,))
        elif dropout not in (None, 0, 0.0):
            raise Unread("its dropout does not ask for training mode", node, True)
        return self._product(node, weights, value)

    def _of_equation(self, node: ast.AST, equation: object, rest: list[object]) -> Tensor:
        if len(rest) == 1 and _items(rest[0]) is not None:
            rest = list(_items(rest[0]) or ())
        near = any(_is_near(one) for one in rest)
        if not isinstance(equation, str) or len(rest) != 2:
            raise Unread("an einsum of something else", node, near)
        found = re.fullmatch(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)", equation.replace(" ", ""))
        left, right = rest
        if found is None or not isinstance(left, Tensor) or not isinstance(right, Tensor):
            raise Unread("an einsum of something else", node, near)
        terms = [list(found[at]) for at in (1, 2, 3)]
        if any(len(set(term)) != len(term) for term in terms):
            raise Unread("an einsum of something else", node, near)
        return self._einsum(node, terms[0], terms[1], terms[2], left, right)

    def _rearranged(self, node: ast.AST, value: object, pattern: object, sizes: Mapping[str, object]) -> Tensor:
        """`rearrange(q, "b n (h d) -> b h n d", h=heads)`"""
        near = _is_near(value)
        unread = Unread("`rearrange` is not one of the steps that are known", node, near)
        sides = pattern.split("->") if isinstance(pattern, str) else []
        if not isinstance(value, Tensor) or len(sides) != 2:
            raise unread
        left, right = ([_GROUP.findall(one) for one in _TERM.findall(side)] for side in sides)
        flat_left, flat_right = ([one for group in side for one in group] for side in (left, right))
        if any(re.sub(r"[\sa-zA-Z_0-9()]", "", side) for side in sides) or sorted(flat_left) != sorted(flat_right):
            raise unread
        if (
            len(left) != len(value.axes)
            or len(set(flat_left)) != len(flat_left)
            or any(one.isdigit() for one in flat_left)
        ):
            raise unread
        known = {name: self.whole(size, node) for name, size in sizes.items()}
        if not known.keys() <= set(flat_left):
            raise unread
        for group, axis in zip(left, value.axes, strict=True):
            open_ = [one for one in group if one not in known]
            rest = math.prod(known[one] for one in group if one in known)
            if len(open_) > 1 or _size(axis) % rest or (not open_ and rest != _size(axis)):
                raise unread
            for one in open_:
                known[one] = _size(axis) // rest
        split = self._reshaped(value, [known[one] for one in flat_left], node)
        moved = self._permuted(split, [flat_left.index(one) for one in flat_right], node)
        return self._reshaped(moved, [math.prod(known[one] for one in group) for group in right], node)

    def _reshaped(self, value: object, sizes: Sequence[object], node: ast.AST) -> Tensor:
        if not isinstance(value, Tensor):
            raise Unread("another tensor is reshaped", node)
        numbers = [self.whole(size, node) for size in sizes]
        total = math.prod(_size(axis) for axis in value.axes)
        if numbers.count(-1) > 1 or any(number < 1 and number != -1 for number in numbers):
            raise Unread("the sizes do not fit", node, _is_near(value))
        if -1 in numbers:
            known = math.prod(number for number in numbers if number != -1)
            if total % known:
                raise Unread("the sizes do not fit", node, _is_near(value))
            numbers[numbers.index(-1)] = total // known
        if math.prod(numbers) != total:
            raise Unread("the sizes do not fit", node, _is_near(value))
        queue = [atom for axis in value.axes for atom in axis]
        axes: list[Axis] = []
        for number in numbers:
            axis: list[Atom] = []
            while number > 1:
                atom = queue.pop(0)
                if number % atom.size == 0:
                    axis.append(atom)
                    number //= atom.size
                elif atom.size % number == 0:
                    inner = atom.size // number
                    axis.append(Atom(atom.root, number, atom.stride * inner))
                    queue.insert(0, Atom(atom.root, inner, atom.stride))
                    number = 1
                else:
                    raise Unread("the sizes cut across the dimensions", node, _is_near(value))
            axes.append(_joined(axis))
        return replace(value, axes=tuple(axes))


def _is_near(value: object) -> bool:
    return isinstance(value, Tensor) and value.step != "rows"


def _size(axis: Axis) -> int:
    return math.prod(atom.size for atom in axis)


def _joined(axis: Sequence[Atom]) -> Axis:
    """An axis in as few runs as there are."""
    found: list[Atom] = []
    for atom in axis:
        if atom.size == 1:
            continue
        last = found[-1] if found else None
        if last is not None and last.root == atom.root and last.stride == atom.stride * atom.size:
            found[-1] = Atom(atom.root, last.size * atom.size, atom.stride)
        else:
            found.append(atom)
    return tuple(found)


def _primed(axis: Axis) -> Axis:
    return tuple(Atom(f"{atom.root}'", atom.size, atom.stride) for atom in axis)


def _cut(axis: Axis, start: int, stop: int, node: ast.AST) -> tuple[Axis, int]:
    """The steps of an axis from `start` to `stop`, and where in the layer they begin."""
    if len(axis) != 1 or axis[0].root != "F" or not 0 <= start < stop <= axis[0].size:
        raise Unread("something else than features is cut", node)
    atom = axis[0]
    return _joined([Atom("F", stop - start, atom.stride)]), start * atom.stride


# -- the functions and methods that are known

_F = "torch.nn.functional."
_TERM = re.compile(r"\([^()]*\)|\w+")
_GROUP = re.compile(r"\w+")

_METHODS = {
    "view": "reshape", "reshape": "reshape", "transpose": "transpose", "swapaxes": "transpose", "swapdims": "transpose",
    "permute": "permute", "contiguous": "contiguous", "size": "size", "matmul": "matmul", "bmm": "matmul", "mul": "mul",
    "div": "div", "softmax": "softmax", "chunk": "chunk", "split": "split", "unbind": "unbind", "flatten": "flatten",
    "unflatten": "unflatten",
}  # fmt: skip
_FUNCTIONS = {
    f"torch.{name}": step for name, step in _METHODS.items() if name not in ("view", "contiguous", "size")
} | {
    "torch.einsum": "einsum", f"{_F}softmax": "softmax", f"{_F}dropout": "dropout",
    f"{_F}scaled_dot_product_attention": "attention",
}  # fmt: skip

_PARAMETERS: dict[str, tuple[tuple[str, ...], int]] = {
    "reshape": (("*",), 1), "permute": (("*",), 1), "transpose": (("dim0", "dim1"), 2), "contiguous": ((), 0),
    "size": (("dim",), 0), "matmul": (("other",), 1), "mul": (("other",), 1), "div": (("other",), 1),
    "softmax": (("dim",), 1), "chunk": (("chunks", "dim"), 1), "split": (("split_size", "dim"), 1),
    "unbind": (("dim",), 0), "flatten": (("start_dim", "end_dim"), 0), "unflatten": (("dim", "sizes"), 2),
    "einsum": (("*",), 1), "dropout": (("p", "training"), 0),
    "attention": (("key", "value", "attn_mask", "dropout_p", "is_causal", "scale"), 2),
}  # fmt: skip
"""What follows the first argument of each step, and how much of it must be given. `*`: sizes, dimensions, operands."""
