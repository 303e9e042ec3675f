"""`nn.Sequential(...)` as it stands in a source: its elements and their keys, and who may look in between them.

`literals(module, scope)` yields every one that a function makes, wherever it stands: `self.net = nn.Sequential(...)`,
one inside another, in a local variable, returned, appended to a list, in a `nn.ModuleList`, handed to
`super().__init__`, and the runs of a list that becomes one (`layers = [...]`, `layers += [...]`,
`nn.Sequential(*layers)`).
`seen_between(module, literal)` says why its elements cannot be changed as if only its two ends were seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.parents import around, functions_around, parents_of
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.mentions import Function, is_own_fuse, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.source.names import dotted
from fuselight.source.nodes import children_of, walk
from fuselight.source.statements import Statement

SEQUENTIAL = "torch.nn.Sequential"
_LISTS = frozenset({"torch.nn.ModuleList", "torch.nn.ModuleDict"})
PARALLEL = frozenset({"torch.nn.parallel.data_parallel"})
"""Functions that call the layer that they get."""


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """One element: a call of a known name where `kind` is one, any expression else."""

    key: str | None
    """Its name in the state dict, within the literal; None where the source does not tell."""
    node: ast.expr
    kind: str | None

    @property
    def call(self) -> ast.Call:
        assert isinstance(self.node, ast.Call)
        return self.node


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """Where the outermost literal stands.

    `target` is how the statement behind `anchor` can name it: `self.net`, `net`, `layers[-1]`; None where it is
    returned (`anchor` is the `return`) or cannot be named. `each` says that `target` holds many of them.
    """

    anchor: ast.stmt
    target: str | None
    attribute: str | None = None
    """The attribute of `self` that holds it, itself or in a list."""
    name: str | None = None
    """The local variable that holds it, itself or in a list."""
    each: bool = False
    contained: bool = False
    """Whether `attribute` or `name` holds a list of it."""
    whole: bool = False
    """Whether it is the instance itself: what a subclass of `nn.Sequential` hands to `super().__init__`."""
    plain: bool = False
    """Whether it is assigned to an attribute of `self`, once and unconditionally, in `__init__`."""
    known: bool = True
    """Whether the source tells what the statement does with it."""

    @property
    def returned(self) -> bool:
        """Whether it is, itself or in a list of layers, all that the statement returns."""
        return self.known and isinstance(self.anchor, ast.Return)


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """One `nn.Sequential(...)`, or a run of a list's elements that follow one another in one."""

    call: ast.Call
    elements: tuple[Element, ...]
    scope: Scope
    path: str
    """From the seat's class on where the seat is an attribute ("net", "net.0"), else from the outermost literal on."""
    seat: Seat
    numbered: bool
    """Whether the keys are positions, so that to take out an element renames those behind it."""
    run: bool = False
    """Whether the elements are a part of a list that becomes the literal: more may stand before and behind."""

    @property
    def statement(self) -> Statement:
        return self.scope.statement

    @property
    def owner(self) -> ClassInfo | None:
        return self.scope.owner

    def key(self, element: Element) -> str | None:
        """The path of an element, as `path`."""
        if element.key is None:
            return None
        return f"{self.path}.{element.key}" if self.path else element.key


def literals(module: Module, scope: Scope) -> tuple[Literal, ...]:
    """Every literal of a function, outer ones first. Of nested functions the scopes of their own yield them.

    They are read once a function, whoever asks.
    """
    is_sequential = scope.owner is not None and SEQUENTIAL in scope.owner.bases
    names = scope.names
    if not ("Sequential" in names or (is_sequential and "super" in names) or _renamed(module, names)):
        return ()
    return module.once(("literals", scope.function), lambda: tuple(_read(module, scope)))


def _renamed(module: Module, names: frozenset[str]) -> bool:
    """Whether a function with these names may mention `nn.Sequential` under one that the file gives it."""
    return not module.names.imported_as(SEQUENTIAL).isdisjoint(names)


def _read(module: Module, scope: Scope) -> Iterator[Literal]:
    local = local_names(scope.function, scope.statement) | scope.enclosing
    if scope.owner is not None:
        local |= scope.owner.hidden
    reader = _Reader(module, scope, local)
    for block in blocks_of(scope.function.body):
        for node in block:
            if not isinstance(node, Function | ast.ClassDef):
                yield from reader.statement(node)


def blocks_of(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    yield body
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if inner:
                yield from blocks_of(inner)
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from blocks_of(part.body)


class _Reader:
    def __init__(self, module: Module, scope: Scope, local: set[str] | frozenset[str]) -> None:
        self.module = module
        self.scope = scope
        self.local = local
        self.me = self_parameter(scope.function) if scope.owner is not None else None
        self.is_init = scope.owner is not None and scope.owner.methods.get("__init__") is scope.function

    def statement(self, node: ast.stmt) -> Iterator[Literal]:
        expression: ast.expr | None = None
        seat: Seat | None = None
        match node:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                expression = value
                path = dotted(target)
                if path is not None and self.me is not None and path.startswith(f"{self.me}.") and path.count(".") == 1:
                    name = path.partition(".")[2]
                    seat = Seat(node, path, attribute=name, plain=self._is_plain(name, node))
                elif isinstance(target, ast.Name):
                    seat = Seat(node, path, name=target.id)
            case ast.Return(value=ast.expr() as value):
                expression, seat = value, Seat(node, None)
            case ast.Expr(value=ast.Call() as call):
                expression = call
                if _super_init(node) is not None and self._is_sequential_class() and self.is_init:
                    yield from self._literal(call, "", Seat(node, self.me, whole=True, plain=True))
                    return
                appended = _appended(call)
                if appended is not None:
                    holder, element = appended
                    path = dotted(holder)
                    expression = element
                    if path is not None and self.me is not None and path.startswith(f"{self.me}."):
                        attribute = path.partition(".")[2]
                        if "." not in attribute:
                            seat = Seat(node, f"{path}[-1]", attribute=attribute, contained=True)
                    elif isinstance(holder, ast.Name):
                        seat = Seat(node, f"{path}[-1]", name=holder.id, contained=True)
            case _:
                return
        assert expression is not None
        yield from self._expression(expression, seat, node)

    def _is_plain(self, name: str, node: ast.stmt) -> bool:
        owner = self.scope.owner
        layer = owner.own_layers.get(name) if owner is not None and self.is_init else None
        return layer is not None and layer.assignment is node and layer.unknown is None

    def _is_sequential_class(self) -> bool:
        return self.scope.owner is not None and SEQUENTIAL in self.scope.owner.bases

    def _kind(self, node: ast.expr) -> str | None:
        return resolve(node.func, self.module.names, self.local) if isinstance(node, ast.Call) else None

    def _expression(self, node: ast.expr, seat: Seat | None, anchor: ast.stmt) -> Iterator[Literal]:
        """The literals in an expression of a statement."""
        kind = self._kind(node)
        if kind == SEQUENTIAL and isinstance(node, ast.Call) and seat is not None:
            root = seat.attribute if seat.attribute is not None and seat.plain else ""
            yield from self._literal(node, root or "", seat)
            return
        if kind in _LISTS and seat is not None and isinstance(node, ast.Call) and len(node.args) == 1:
            inner = node.args[0]
            each = Seat(anchor, seat.target, seat.attribute, seat.name, each=True, contained=True)
            if kind == "torch.nn.ModuleList" and isinstance(inner, ast.ListComp | ast.GeneratorExp):
                if self._kind(inner.elt) == SEQUENTIAL and isinstance(inner.elt, ast.Call):
                    yield from self._literal(inner.elt, "", each)
                    return
            elif kind == "torch.nn.ModuleList" and isinstance(inner, ast.List):
                for element in inner.elts:
                    if self._kind(element) == SEQUENTIAL and isinstance(element, ast.Call):
                        yield from self._literal(element, "", each)
                return
        if isinstance(node, ast.IfExp) and seat is not None and seat.target is not None and not seat.contained:
            # Either arm is a layer, so that the target can be one to register something on.
            arms = (node.body, node.orelse)
            if all((self._kind(arm) or "").startswith("torch.nn.") for arm in arms):
                for arm in arms:
                    yield from self._expression(arm, replace(seat, plain=False), anchor)
                return
        # Anywhere else the source does not say who holds it.
        stack: list[ast.AST] = [node]
        while stack:
            inner = stack.pop()
            if isinstance(inner, ast.Call) and self._kind(inner) == SEQUENTIAL:
                yield from self._literal(inner, "", Seat(anchor, None, known=False))
            elif not isinstance(inner, ast.Lambda):
                stack += children_of(inner)

    def _literal(self, call: ast.Call, path: str, seat: Seat) -> Iterator[Literal]:
        if len(call.args) == 1 and not call.keywords:
            only = call.args[0]
            if isinstance(only, ast.Starred) and isinstance(only.value, ast.Name):
                yield from self._list(call, only.value, path, seat)
                return
            if isinstance(only, ast.Starred) and isinstance(only.value, ast.List):
                elements = self._elements(list(only.value.elts))
                yield Literal(call, elements, self.scope, path, seat, numbered=True)
                yield from self._inside(elements, path, seat)
                return
            if isinstance(only, ast.Call) and self._kind(only) == "collections.OrderedDict":
                found = tuple(Element(key, node, self._kind(node)) for key, node in _pairs(only))
                if found:
                    yield Literal(call, found, self.scope, path, seat, numbered=False)
                    yield from self._inside(found, path, seat)
                return
        if call.keywords:
            return
        elements = self._elements(call.args)
        if elements:
            yield Literal(call, elements, self.scope, path, seat, numbered=True)
            yield from self._inside(elements, path, seat)

    def _elements(self, nodes: list[ast.expr]) -> tuple[Element, ...]:
        """The elements, as far as their keys are known."""
        found: list[Element] = []
        for number, node in enumerate(nodes):
            if isinstance(node, ast.Starred):
                break
            found.append(Element(str(number), node, self._kind(node)))
        return tuple(found)

    def _inside(self, elements: tuple[Element, ...], path: str, seat: Seat) -> Iterator[Literal]:
        for element in elements:
            if element.kind == SEQUENTIAL:
                inner = f"{path}.{element.key}" if path else element.key or ""
                yield from self._literal(element.call, inner, seat)

    def _list(self, call: ast.Call, name: ast.Name, path: str, seat: Seat) -> Iterator[Literal]:
        """The runs of a list that only grows, and is then the literal and nothing else."""
        runs = _grown(self.scope.function, name)
        for run in runs or ():
            elements = tuple(Element(None, node, self._kind(node)) for node in run)
            yield Literal(call, elements, self.scope, path, seat, numbered=True, run=True)


def _appended(call: ast.Call) -> tuple[ast.expr, ast.expr] | None:
    """The list and the element of `layers.append(element)`."""
    match call:
        case ast.Call(func=ast.Attribute(value=holder, attr="append"), args=[element], keywords=[]):
            return holder, element
        case _:
            return None


def _grown(function: Function, name: ast.Name) -> list[list[ast.expr]] | None:
    """The runs of elements that a list gets, in order; None where more happens to it than growing.

    A run is one list display, or appends that follow one another directly in one block.
    """
    runs: list[list[ast.expr]] = []
    allowed: set[ast.AST] = {name}
    started = False
    for block in blocks_of(function.body):
        open_run: list[ast.expr] | None = None
        for node in block:
            target: ast.expr | None = None
            value: ast.expr | None = None
            match node:
                case ast.Assign(targets=[ast.Name(id=name.id) as target], value=ast.List() as value):
                    if started:
                        return None
                    started = True
                case ast.AnnAssign(target=ast.Name(id=name.id) as target, value=ast.List() as value):
                    if started:
                        return None
                    started = True
                case ast.AugAssign(target=ast.Name(id=name.id) as target, op=ast.Add(), value=ast.List() as value):
                    pass
                case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name.id) as target), args=[value])):
                    call = node.value
                    assert isinstance(call, ast.Call)
                    assert isinstance(call.func, ast.Attribute)
                    if call.func.attr == "append" and not call.keywords:
                        allowed.add(target)
                        if open_run is None:
                            open_run = []
                            runs.append(open_run)
                        open_run.append(value)
                        continue
                    if call.func.attr != "extend" or call.keywords or not isinstance(value, ast.List):
                        return None
                case _:
                    open_run = None
                    continue
            open_run = None
            assert isinstance(value, ast.List)
            allowed.add(target)
            if any(isinstance(one, ast.Starred) for one in value.elts):
                return None
            if value.elts:
                runs.append(list(value.elts))
                open_run = runs[-1]
    for inner in walk(function):
        if isinstance(inner, ast.Name) and inner.id == name.id and inner not in allowed:
            return None
    return runs if started else None


def _pairs(ordered: ast.Call) -> list[tuple[str, ast.expr]]:
    """The elements of `OrderedDict([("conv", nn.Conv2d(...)), ...])`; none where a key is unknown or given twice."""
    if len(ordered.args) != 1 or ordered.keywords or not isinstance(ordered.args[0], ast.List | ast.Tuple):
        return []
    found: dict[str, ast.expr] = {}
    for pair in ordered.args[0].elts:
        match pair:
            case ast.Tuple(elts=[ast.Constant(value=str() as key), value]) if key not in found:
                found[key] = value
            case _:
                return []
    return list(found.items())


def _super_init(statement: ast.stmt) -> ast.Call | None:
    """The call of `super().__init__(...)`, where that is the whole statement."""
    match statement:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__")) as call
        ):
            return call
        case _:
            return None


# -- who looks in between


def seen_between(module: Module, literal: Literal, *, but_by_fuse: bool = False) -> Refusal | None:
    """Why the elements of a literal may be seen one by one: indexed, iterated, hooked, named, or kept somewhere.

    `but_by_fuse` is for what leaves the elements where they are: the `fuse` that the emitter wrote does not count.
    """
    seat, scope = literal.seat, literal.scope
    statement = scope.statement
    if not statement.stands_alone(seat.anchor):
        return Refusal("the layers share a line with another statement", Place(statement, seat.anchor))
    if seat.whole:
        assert scope.owner is not None
        return _seen_inside(scope.owner) or _seen_outside(module, scope.owner)
    if scope.function.name == "<lambda>":
        return Refusal("a lambda makes it", Place(statement, literal.call))
    if scope.owner is not None:
        refusal = provenance.known_class(module, scope.owner)
        if refusal is not None:
            return refusal
    return _Follower(module, but_by_fuse).used(statement, literal.call, contained=False)


_HARMLESS = frozenset(
    "register_load_state_dict_pre_hook apply to cuda cpu float double half bfloat16 type parameters state_dict"
    " load_state_dict zero_grad modules requires_grad_".split()
)
"""Methods that do not tell one element from the next. What `apply` and `modules` lead to is looked at on its own."""

_GROWING = frozenset({"append", "extend", "insert"})


class _Follower:
    """Follows a `nn.Sequential` through the file: who holds it, who returns it, which lists and containers it is in.

    `contained` says that a value is not the `nn.Sequential` itself but something that holds it: that may be indexed
    and iterated, as long as what comes out is not.
    """

    def __init__(self, module: Module, but_by_fuse: bool = False) -> None:
        self.module = module
        self.but_by_fuse = but_by_fuse
        self.followed: set[tuple[object, ...]] = set()

    def _is_new(self, *key: object) -> bool:
        known = key in self.followed
        self.followed.add(key)
        return not known

    def used(self, statement: Statement, node: ast.expr, contained: bool) -> Refusal | None:
        """Why one use of the value may see between its elements."""
        parents = parents_of(statement)
        parent = parents.get(node)
        apart = Refusal(f"`{_short(node)}` is taken apart, or kept where it could be", Place(statement, node))
        match parent:
            case None | ast.Expr():
                return None
            case ast.Return():
                return self._returned(statement, parent, contained)
            case ast.Assign():
                for target in parent.targets:
                    refusal = self._held(statement, target, contained)
                    if refusal is not None:
                        return refusal
                return None
            case ast.AnnAssign():
                return self._held(statement, parent.target, contained)
            case ast.AugAssign() if contained:
                return self._held(statement, parent.target, contained)
            case ast.List() | ast.Tuple() if isinstance(parent.ctx, ast.Load):
                return self.used(statement, parent, True)
            case ast.Dict():
                return self.used(statement, parent, True)
            case ast.ListComp() | ast.GeneratorExp() if parent.elt is node:
                return self.used(statement, parent, True)
            case ast.IfExp() if parent.test is not node:
                return self.used(statement, parent, contained)
            case ast.IfExp() | ast.If() | ast.UnaryOp(op=ast.Not()):
                return None
            case ast.Compare() if all(isinstance(op, ast.Is | ast.IsNot) for op in parent.ops):
                return None
            case ast.Starred() if contained:
                outer = parents.get(parent)
                known = isinstance(outer, ast.List | ast.Tuple) or (
                    isinstance(outer, ast.Call) and self._kind(statement, outer) == SEQUENTIAL
                )
                return self.used(statement, outer, True) if known and isinstance(outer, ast.expr) else apart
            case ast.Call() if parent.func is node:
                return None
            case ast.Call() if node in parent.args:
                return self._handed_on(statement, node, parent, contained, apart)
            case ast.keyword() if isinstance(call := parents.get(parent), ast.Call):
                followed = self._parameter(statement, call, node)
                return self._as_parameter(*followed, contained) if followed is not None else apart
            case ast.Attribute():
                grows = contained and parent.attr in _GROWING
                return None if grows or parent.attr in _HARMLESS else apart
            case ast.Subscript() if contained and parent.value is node and not isinstance(parent.slice, ast.Slice):
                return self.used(statement, parent, False) if isinstance(parent.ctx, ast.Load) else None
            case ast.For() | ast.comprehension() if contained and parent.iter is node:
                return None if _targets_only_called(parent, parents) else apart
            case _:
                return apart

    def _handed_on(
        self, statement: Statement, node: ast.expr, call: ast.Call, contained: bool, apart: Refusal
    ) -> Refusal | None:
        match call.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
                owner = self._owner(statement, call)
                if owner is None or SEQUENTIAL not in owner.bases:
                    return Refusal("it is handed to the class above, which may look into it", Place(statement, call))
                return _seen_inside(owner) or _seen_outside(self.module, owner)
            case ast.Attribute(value=holder, attr=attr) if attr in _GROWING:
                return self._held(statement, holder, True)
            case ast.Name(id="len" | "print" | "isinstance"):
                return None
            case ast.Name(id="enumerate" | "zip" | "reversed") if contained:
                parents = parents_of(statement)
                loop = parents.get(call)
                called = isinstance(loop, ast.For | ast.comprehension) and _targets_only_called(loop, parents)
                return None if called else apart
            case _:
                pass
        kind = self._kind(statement, call)
        if kind in PARALLEL and call.args[0] is node:
            return None
        if kind == SEQUENTIAL or kind in _LISTS or kind == "collections.OrderedDict":
            return self.used(statement, call, True)
        followed = self._parameter(statement, call, node)
        if followed is not None:
            return self._as_parameter(*followed, contained)
        return Refusal(f"`{_short(call.func)}`, which gets it, may look into it", Place(statement, call))

    def _parameter(
        self, statement: Statement, call: ast.Call, node: ast.expr
    ) -> tuple[Statement, Function, str] | None:
        """The parameter of a function, or of the `__init__` of a class, of the file that a call hands `node` to."""
        if not isinstance(call.func, ast.Name):
            return None
        name = call.func.id
        if any(name in local_names(function, statement) for function in functions_around(statement, call)):
            return None
        binding = self.module.names.bindings.get(name)
        local = binding.local if binding is not None else None
        self.module.mentions.has_word(name)
        home = self.module.home_of(local) if local is not None else None
        if local is None or home is None or local.decorator_list:
            return None
        arguments: list[ast.arg]
        if isinstance(local, ast.ClassDef):
            owner = self.module.classes.by_node.get(local)
            init = owner.methods.get("__init__") if owner is not None else None
            if owner is None or init is None or owner.unknown_base is not None or local.keywords or init.decorator_list:
                return None
            function, arguments = init, [*init.args.posonlyargs, *init.args.args][1:]
        else:
            function, arguments = local, [*local.args.posonlyargs, *local.args.args]
        keyword = next((one.arg for one in call.keywords if one.value is node), None)
        if keyword is not None:
            named = [*arguments, *function.args.kwonlyargs]
            return (home, function, keyword) if any(one.arg == keyword for one in named) else None
        at = next((number for number, one in enumerate(call.args) if one is node), len(arguments))
        starred = any(isinstance(one, ast.Starred) for one in call.args[:at])
        return (home, function, arguments[at].arg) if at < len(arguments) and not starred else None

    def _as_parameter(self, home: Statement, function: Function, name: str, contained: bool) -> Refusal | None:
        if not self._is_new(function, name, contained):
            return None
        return self._loads(home, [function], name, contained)

    def _kind(self, statement: Statement, call: ast.Call) -> str | None:
        local: set[str] = set()
        for function in functions_around(statement, call):
            local |= local_names(function, statement)
        return resolve(call.func, self.module.names, local)

    def _owner(self, statement: Statement, node: ast.AST) -> ClassInfo | None:
        """The class whose method a node stands in."""
        parents = parents_of(statement)
        for function in functions_around(statement, node):
            around = parents.get(function)
            if isinstance(around, ast.ClassDef):
                return self.module.classes.by_node.get(around)
        return None

    def _held(self, statement: Statement, target: ast.expr, contained: bool) -> Refusal | None:
        """The uses of what `target` names, which holds the value."""
        place = Place(statement, target)
        match target:
            case ast.Name():
                return self._variable(statement, target, contained)
            case ast.Attribute():
                owner: ClassInfo | None = None
                if isinstance(target.value, ast.Name):
                    methods = functions_around(statement, target)
                    if methods and self_parameter(methods[-1]) == target.value.id:
                        owner = self._owner(statement, target)
                return self._attribute(owner, target.attr, contained)
            case ast.Subscript():
                return self._held(statement, target.value, True)
            case _:
                return Refusal("it is taken apart, or kept where it could be", place)

    def _variable(self, statement: Statement, name: ast.Name, contained: bool) -> Refusal | None:
        function = next(iter(functions_around(statement, name)), None)
        if not self._is_new(function, name.id, contained):
            return None
        if function is None:
            if any(isinstance(one, ast.ClassDef) for one in around(statement, name)):
                return Refusal("a class attribute holds it", Place(statement, name))
            places = self.module.mentions.statements_with(name.id)
            tops: list[tuple[Statement, list[ast.stmt]]] = [(one, one.body) for one in places]
        else:
            tops = [(statement, [function])]
        for one, body in tops:
            refusal = self._loads(one, body, name.id, contained, function is None)
            if refusal is not None:
                return refusal
        return provenance.named_in_strings(self.module, (name.id,)) if function is None else None

    def _loads(
        self, statement: Statement, body: Sequence[ast.stmt], name: str, contained: bool, whole: bool = False
    ) -> Refusal | None:
        """Every use of a variable in `body`; `whole` says that it is a script's whole model."""
        for top in body:
            for node in ast.walk(top):
                if isinstance(node, ast.Global | ast.Nonlocal) and name in node.names:
                    return Refusal(f"another function holds `{name}` too", Place(statement, node))
                if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                    parent = parents_of(statement).get(node)
                    if whole and isinstance(parent, ast.Attribute) and parent.attr in ("train", "eval"):
                        continue  # in a model it would freeze the norms of a part
                    refusal = self.used(statement, node, contained)
                    if refusal is not None:
                        return refusal
        return None

    def _attribute(self, owner: ClassInfo | None, name: str, contained: bool) -> Refusal | None:
        if not self._is_new(owner, name, contained):
            return None
        module = self.module
        family = {member.node for member in owner.family} if owner is not None else None
        if module.mentions.masked_word(name):
            return Refusal(f"`{name}` stands on a line that does not parse")
        for mention in module.mentions.of_attribute(name):
            if not isinstance(mention.node.ctx, ast.Load) or (self.but_by_fuse and is_own_fuse(mention.function)):
                continue
            if family is not None and mention.owner is not None and mention.owner not in family:
                continue
            if mention.owner is None and provenance.is_other_object(module, mention):
                continue
            refusal = self.used(mention.statement, mention.node, contained)
            if refusal is not None:
                return refusal
        return (
            provenance.named_in_strings(module, (name,))
            or provenance.hooked(module, frozenset({name}))
            or provenance.found_by_computed_name(module, owner)
        )

    def _returned(self, statement: Statement, node: ast.Return, contained: bool) -> Refusal | None:
        """What the file does with the results of the function that returns the value."""
        function = next(iter(functions_around(statement, node)), None)
        if function is None or any(isinstance(one, ast.Lambda) for one in around(statement, node)):
            return Refusal("a lambda returns it", Place(statement, node))
        name = function.name
        plain = ("staticmethod", "classmethod")
        decorators = [one for one in function.decorator_list if not (isinstance(one, ast.Name) and one.id in plain)]
        if decorators:
            return Refusal(f"`{name}`, which returns it, is decorated", Place(statement, decorators[0]))
        if not self._is_new("result", name, contained):
            return None
        if self.module.mentions.used_uncalled(name):
            return Refusal(f"`{name}`, which returns it, is handed around")
        for called in self.module.mentions.calls_of(name):
            refusal = self.used(called.statement, called.node, contained)
            if refusal is not None:
                return refusal
        return None


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _targets_only_called(loop: ast.For | ast.comprehension, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Whether what a loop takes out of a list is only called: `for block in blocks: x = block(x)`."""
    names = {one.id for one in ast.walk(loop.target) if isinstance(one, ast.Name)}
    around = loop if isinstance(loop, ast.For) else parents.get(loop)
    if around is None:
        return False
    for node in ast.walk(around):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
            parent = parents.get(node)
            called = isinstance(parent, ast.Call) and parent.func is node
            # An index or another element of the loop may be anything but taken apart or kept.
            apart = isinstance(parent, ast.Subscript | ast.For | ast.comprehension | ast.Starred | ast.Attribute)
            kept = isinstance(parent, ast.Call) and parent.func is not node
            kept = kept or isinstance(parent, ast.Assign | ast.Return | ast.List | ast.Tuple | ast.Dict | ast.keyword)
            if not called and (apart or kept) and not (isinstance(parent, ast.Subscript) and parent.slice is node):
                return False
    return True


def _seen_inside(owner: ClassInfo) -> Refusal | None:
    """A `nn.Sequential` subclass must not index or iterate itself, or be handed around whole."""
    for member in owner.family:
        for method in member.methods.values():
            me = self_parameter(method)
            allowed: set[ast.AST] = set()
            for node in ast.walk(method):
                if isinstance(node, ast.Attribute):
                    allowed.add(node.value)
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super":
                    allowed.update(node.args)
                elif isinstance(node, ast.Name) and node.id == me and node not in allowed:
                    return Refusal(f"`{member.name}` reaches into itself", Place(member.statement, node))
        if member is not owner and "forward" in member.methods:
            return Refusal(f"`{member.name}` has a forward of its own over the same layers")
    return None


def _seen_outside(module: Module, owner: ClassInfo) -> Refusal | None:
    """Nobody in the file may index, slice or iterate an instance of a `nn.Sequential` subclass."""
    follower = _Follower(module)
    names = tuple(member.name for member in owner.family)
    for called in module.mentions.calls_of(*names):
        # An instance may be handed to whatever takes a module; its user looks into it no more than into another.
        if not isinstance(parents_of(called.statement).get(called.node), ast.Call | ast.keyword):
            refusal = follower.used(called.statement, called.node, contained=False)
            if refusal is not None:
                return refusal
    return None
