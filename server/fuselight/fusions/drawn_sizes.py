"""The sizes of a class, as numbers that stand for any: what `__init__` binds, worked out with a draw of them.

What holds for several draws of numbers that have nothing in common but what the source gives them, holds. A literal
size stays itself.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from fuselight.graph.classes import ClassInfo, assigned_names, local_names, resolve
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module

_LINEAR = ("in_features", "out_features", "bias", "device", "dtype")
_MOST = 4096
"""The largest number of heads, or size of one, that is tried."""
_POOLS = (
    (11, 13, (4, 6, 3, 8, 10, 5, 7, 12, 14, 9, 15, 16), 5040),
    (17, 23, (9, 5, 7, 16, 4, 12, 3, 10, 18, 14, 6, 8), 10080),
    (29, 19, (6, 14, 8, 3, 15, 9, 10, 7, 5, 16, 4, 12), 15120),
)


class Unread(Exception):
    """What stands here is not one of the steps that are known; `near` once the scores of an attention are there."""

    def __init__(self, reason: str, node: ast.AST | None = None, near: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node
        self.near = near


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
        """What stands for a parameter, the same each time."""
        if path == self.wide:
            return self.width
        if path not in self.given:
            if len(self.given) >= len(self.pool):
                raise Unread("too many sizes are left open")
            self.given[path] = self.pool[len(self.given)]
        return self.given[path]

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the input."""
        return self.batch, self.length, self.features

    def number_of(self, value: object, node: ast.AST | None = None) -> int | float:
        """A value that is a number, or stands for one."""
        if isinstance(value, Parameter):
            return self.number(value.path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise Unread("a size is not known", node)

    def whole(self, value: object, node: ast.AST | None = None) -> int:
        """`number_of`, where it is a whole one."""
        number = self.number_of(value, node)
        if isinstance(number, float):
            raise Unread("a size is no whole number", node)
        return number


@dataclass(slots=True, eq=False)
class Inits:
    """What `__init__` binds, in one draw: names, attributes, and both as they are before each of its statements."""

    names: dict[str, object] = field(default_factory=dict[str, object])
    attributes: dict[str, object] = field(default_factory=dict[str, object])
    before: dict[ast.stmt, tuple[dict[str, object], dict[str, object]]] = field(
        default_factory=dict[ast.stmt, tuple[dict[str, object], dict[str, object]]]
    )


def drawn(module: Module, owner: ClassInfo, init: Function) -> list[tuple[Draw, Inits]] | None:
    """Several draws, each with what `__init__` binds in it; None where it makes no linear layer."""
    first = _inits(module, owner, init, Draw(*_POOLS[0]))
    widths = [
        made.nodes["in_features"]
        for made in first.attributes.values()
        if isinstance(made, Made) and made.kind == "torch.nn.Linear" and "in_features" in made.nodes
    ]
    if not widths:
        return None
    found: list[tuple[Draw, Inits]] = []
    for batch, length, pool, width in _POOLS:
        draw = Draw(batch, length, pool, width)
        node = _most_common(widths)
        try:
            value = SizeReader(module, owner, draw, first).value(node)
        except Unread:
            value = None  # a name that `__init__` binds anew, say
        if isinstance(value, Parameter):
            draw.wide, draw.features = value.path, width
        elif isinstance(value, int) and isinstance(node, ast.Constant):
            draw.pool = tuple(one for one in range(min(value // 2, _MOST), 1, -1) if value % one == 0)
            shift = len(found) % max(len(draw.pool), 1)
            draw.pool = draw.pool[shift:] + draw.pool[:shift]
            draw.features = value
        inits = _inits(module, owner, init, draw)
        draw.features = draw.features or _width_of(inits, ast.unparse(node))
        found.append((draw, inits))
    return found


def _most_common(nodes: Sequence[ast.expr]) -> ast.expr:
    texts = [ast.unparse(node) for node in nodes]
    return nodes[max(range(len(nodes)), key=lambda at: (texts.count(texts[at]), -at))]


def _width_of(inits: Inits, text: str) -> int:
    """What the layers' width, a product of parameters, comes to."""
    made = (one for one in inits.attributes.values() if isinstance(one, Made) and one.kind == "torch.nn.Linear")
    return next((one.sizes[0] for one in made if ast.unparse(one.nodes["in_features"]) == text), 0)


def _inits(module: Module, owner: ClassInfo, init: Function, draw: Draw) -> Inits:
    found = Inits()
    for one in (*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs):
        found.names[one.arg] = Parameter(one.arg)
    reader = SizeReader(module, owner, draw, found, local_names(init, owner.statement) | owner.hidden)
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
            values = items_of(value)
            same = values is not None and len(values) == len(targets)
            for at, one in enumerate(targets):
                _bind_init(one, values[at] if values is not None and same else None, found)
        case _:
            pass


def items_of(value: object) -> tuple[object, ...] | None:
    """The elements of a tuple; None of anything else."""
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else None


class SizeReader:
    """Expressions of numbers, and the layers that `__init__` makes.

    Every method raises `Unread` at what it does not know.
    """

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
                return -self.draw.number_of(self.value(operand), node)
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
                values = items_of(self.value(node.value))
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
        return arithmetic(self.draw, node, op, left, right)

    def call(self, node: ast.Call) -> object:
        name = self.resolved(node.func)
        if name in ("math.sqrt", "numpy.sqrt") and len(node.args) == 1 and not node.keywords:
            number = self.draw.number_of(self.value(node.args[0]), node)
            if number < 0:
                raise Unread("this is not arithmetic of sizes", node)
            return math.sqrt(number)
        if name is not None and name.startswith("torch.nn.") and name.rpartition(".")[2][:1].isupper():
            return self.layer(name, node)
        func = node.func
        alone = len(node.args) == 1 and not node.keywords
        if alone and isinstance(func, ast.Name) and func.id in ("int", "float") and self.is_builtin(func.id):
            number = self.draw.number_of(self.value(node.args[0]), node)
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
            width, height = (self.draw.whole(self.value(nodes[one]), node) for one in _LINEAR[:2])
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


def arithmetic(draw: Draw, node: ast.BinOp, op: ast.operator, left: object, right: object) -> int | float:
    """An operator between two numbers."""
    one, other = draw.number_of(left, node.left), draw.number_of(right, node.right)
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
