"""What a method computes, statement by statement, when it is the attention of its input.

`read` yields it, in several draws of numbers for its sizes.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fuselight.fusions.drawn_sizes import Draw, Inits, Made, SizeReader, Unread, drawn, items_of
from fuselight.fusions.layout_steps import (
    FUNCTIONS,
    METHODS,
    Probability,
    ShapeOf,
    Training,
    element_of,
    operated,
    shape_of,
    softmax,
    step,
    written,
)
from fuselight.fusions.layouts import Atom, LayerRef, Leaf, Part, Tensor, is_near, rearranged, swapped, unbound
from fuselight.graph.classes import ClassInfo, assigned_names, local_names
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope

_DEEPEST = 2
"""How far methods of the class are followed into one another."""


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
    draws = drawn(module, owner, init)
    if draws is None:
        return None
    found: list[Reading] = []
    for draw, inits in draws:
        reader = _Forward(module, owner, scope, draw, inits)
        reader.run()
        near = reader.near
        methods = frozenset(reader.methods)
        found.append(
            Reading(draw, inits, reader.found, tuple(reader.statements), frozenset(reader.ranks), methods, near)
        )  # fmt: skip
    return found


class _Forward(SizeReader):
    """The statements of a method, one after the other, with what each name holds."""

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
                        raise Unread("it is changed in place", node, is_near(before))
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
                if any(is_near(self.env[name]) for name in touched):
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
        near = next((name for name in names if is_near(self.env.get(name))), None)
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
                    value = self.draw.shape
                if isinstance(value, Tensor):
                    value = unbound(self.draw, target, value, 0)
                values = items_of(value)
                if values is None or len(values) != len(targets):
                    raise Unread("what is taken apart is not known", target)
                for one, each in zip(targets, values, strict=True):
                    self._bind(one, each, bound)
            case _:
                raise Unread("something is kept in an attribute or an element", target)

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
                return element_of(self.draw, node, self.value(base), index, self._number)
            case ast.IfExp(
                test=ast.Attribute(value=ast.Name(id="self"), attr="training"),
                body=body,
                orelse=ast.Constant(value=0 | 0.0),
            ):
                self.draw.number_of(self.value(body), body)
                return Probability(written(body))
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
                found += self.draw.shape
            elif isinstance(one, ast.Starred):
                values = items_of(value)
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
            return shape_of(base, node)
        if isinstance(base, Tensor) and name in ("mT", "T") and (name == "mT" or len(base.axes) == 2):
            return swapped(self.draw, base, -2, -1, node)
        raise Unread(f"`{name}` is not one of the steps that are known", node, is_near(base))

    def operation(self, node: ast.BinOp, op: ast.operator, left: object, right: object) -> object:
        return operated(self.draw, node, op, left, right)

    def call(self, node: ast.Call) -> object:
        self.tried.add(node)
        func = node.func
        name = self.resolved(func)
        if name in FUNCTIONS:
            return step(self.draw, FUNCTIONS[name], node, *self._arguments(node))
        if isinstance(func, ast.Name) and func.id == "map" and self.is_builtin("map"):
            return self._mapped(node)
        if isinstance(func, ast.Name) and func.id in self.env:
            held = self.env[func.id]
            if isinstance(held, LayerRef):
                return self._layer_call(node, held)
        if name == "einops.rearrange":
            inputs, keywords = self._arguments(node)
            if len(inputs) == 2:
                return rearranged(self.draw, node, inputs[0], inputs[1], keywords)
        if name is None and isinstance(func, ast.Attribute):
            if isinstance(func.value, ast.Name) and func.value.id == "self":
                if func.attr in self.owner.methods:
                    return self._method(node, self.owner.methods[func.attr])
                held = self.attribute(func, func.attr)
                if isinstance(held, LayerRef):
                    return self._layer_call(node, held)
            else:
                base = self.value(func.value)
                if func.attr not in METHODS and is_near(base):
                    raise Unread(f"`{func.attr}` is not one of the steps that are known", node, True)
                inputs, keywords = self._arguments(node)
                return step(self.draw, METHODS.get(func.attr, func.attr), node, [base, *inputs], keywords)
        if name is None or not name.startswith(("math.", "numpy.")):
            inputs, keywords = self._arguments(node)
            near = any(is_near(one) for one in (*inputs, *keywords.values()))
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
        values = items_of(self.value(loop.iter))
        if values is None or not isinstance(loop.target, ast.Name):
            raise Unread("a comprehension goes through what is not known", node)
        return tuple(self._with(loop.target.id, value, node.elt) for value in values)

    def _mapped(self, node: ast.Call) -> object:
        """`map(lambda t: rearrange(t, ...), (q, k, v))`"""
        match node:
            case ast.Call(
                args=[ast.Lambda(args=ast.arguments(args=[ast.arg(arg=name)]), body=body), source], keywords=[]
            ):
                values = items_of(self.value(source))
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
        near = any(is_near(one) for one in (*inputs, *keywords.values()))
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
                return softmax(self.draw, node, value, self.value(layer.made.nodes["dim"]))
            if kind == "torch.nn.Dropout" and value.step == "weights" and not value.dropout:
                self.used.append(layer)
                given = layer.made.nodes.get("p", ast.Constant(value=0.5))
                return replace(value, dropout=(given,))
        raise Unread(f"`{layer.attribute}` is not one of the steps that are known", node, is_near(value))

    def _linear(self, node: ast.Call, layer: LayerRef, value: object) -> object:
        width, height = layer.made.sizes
        if isinstance(value, Leaf):
            batch, length, _ = self.draw.shape
            axes = ((Atom("0", batch),), (Atom("1", length),), (Atom("F", height),))
            return Tensor("rows", axes, (Part(layer, value),))
        if isinstance(value, Tensor) and value.step == "context":
            found = self._attention(node, layer, value, width, height)
            if self.found is not None:
                raise Unread("there is more than one attention in it", node, True)
            self.found = found
            return Leaf()
        raise Unread(f"`{layer.attribute}` is applied to something on the way", node, is_near(value))

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
        batch, length, _ = self.draw.shape
        wanted = ((Atom("0", batch),), (Atom("1", length),), (Atom("F", width),))
        if value.axes != wanted:
            raise Unread("the heads are not put together as they were taken apart", node, True)
        heads, first = width // value.depth, value.rows == "1"
        return Attention(node, query, key, summed, layer, heads, first, value.dropout, tuple(self.used))

    def _number(self, node: ast.expr) -> int:
        return self.draw.whole(self.value(node), node)
