"""`nn.Sequential(...)` as it stands in a source: its elements and their keys, and who may look in between them.

`literals(module, scope)` yields every one that a function makes, wherever it stands: `self.net = nn.Sequential(...)`,
one inside another, in a local variable, returned, appended to a list, in a `nn.ModuleList`, handed to
`super().__init__`, and the runs of a list that becomes one (`layers = [...]`, `layers += [...]`,
`nn.Sequential(*layers)`).
`seen_between(module, literal)` says why its elements cannot be changed as if only its two ends were seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.source.names import dotted
from fuselight.source.statements import Statement

SEQUENTIAL = "torch.nn.Sequential"
_LISTS = frozenset({"torch.nn.ModuleList", "torch.nn.ModuleDict"})


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

    @property
    def returned(self) -> bool:
        return isinstance(self.anchor, ast.Return)


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


def literals(module: Module, scope: Scope) -> Iterator[Literal]:
    """Every literal of a function, outer ones first. Of nested functions the scopes of their own yield them."""
    if "Sequential" not in scope.words and "super" not in scope.words and not _renamed(module):
        return
    local = local_names(scope.function, scope.statement) | scope.enclosing
    if scope.owner is not None:
        local |= scope.owner.hidden
    reader = _Reader(module, scope, local)
    for block in _blocks(scope.function.body):
        for node in block:
            if not isinstance(node, Function | ast.ClassDef):
                yield from reader.statement(node)


def _renamed(module: Module) -> bool:
    """Whether the file imports `nn.Sequential` under another name."""
    return any(binding.origin == SEQUENTIAL for binding in module.names.bindings.values())


def _blocks(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    yield body
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if inner:
                yield from _blocks(inner)
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _blocks(part.body)


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
        # Anywhere else the source does not say who holds it.
        stack: list[ast.AST] = [node]
        while stack:
            inner = stack.pop()
            if isinstance(inner, ast.Call) and self._kind(inner) == SEQUENTIAL:
                yield from self._literal(inner, "", Seat(anchor, None))
            elif not isinstance(inner, ast.Lambda):
                stack += list(ast.iter_child_nodes(inner))

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
    for block in _blocks(function.body):
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
    for inner in ast.walk(function):
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


def seen_between(module: Module, literal: Literal) -> Refusal | None:
    """Why the elements of a literal may be seen one by one: indexed, iterated, hooked, named, or kept somewhere."""
    seat, scope = literal.seat, literal.scope
    statement = scope.statement
    if not statement.stands_alone(seat.anchor):
        return Refusal("the layers share a line with another statement", Place(statement, seat.anchor))
    if seat.whole:
        assert scope.owner is not None
        return _seen_inside(scope.owner) or _seen_outside(module, scope.owner)
    if scope.owner is not None:
        refusal = provenance.known_class(module, scope.owner)
        if refusal is not None:
            return refusal
    if seat.attribute is not None:
        assert scope.owner is not None
        return _attribute_seen(module, scope.owner, seat.attribute, seat.contained)
    if seat.name is not None:
        return _local_seen(module, literal, seat.name, seat.contained)
    if seat.returned:
        return _result_seen(module, scope, contained=seat.contained)
    return Refusal("it is not known who holds the `nn.Sequential`", Place(statement, literal.call))


def _attribute_seen(module: Module, owner: ClassInfo, name: str, contained: bool) -> Refusal | None:
    family = {member.node for member in owner.family}
    if module.mentions.masked_word(name):
        return Refusal(f"`{name}` stands on a line that does not parse")
    for mention in module.mentions.of_attribute(name):
        if mention.owner is not None and mention.owner not in family:
            continue
        if mention.owner is None and provenance.is_other_object(module, mention):
            continue
        place = Place(mention.statement, mention.node)
        if mention.is_call or isinstance(mention.node.ctx, ast.Store):
            continue
        if isinstance(mention.parent, ast.Attribute) and mention.parent.attr in _GROWING and contained:
            continue
        top = _surroundings(mention.statement, mention.node)
        if contained and top is not None and _only_called(mention.node, top, mention.function):
            continue
        return Refusal(f"`{ast.unparse(mention.node)}` is used beside its call", place)
    return (
        provenance.named_in_strings(module, (name,))
        or provenance.hooked(module, frozenset({name}))
        or provenance.found_by_computed_name(module, owner)
    )


_GROWING = frozenset({"append", "extend", "insert", "register_load_state_dict_pre_hook"})
_HARMLESS = frozenset({"register_load_state_dict_pre_hook", "apply", "to", "train", "eval", "append", "extend"})


def _local_seen(module: Module, literal: Literal, name: str, contained: bool) -> Refusal | None:
    """What a local variable that holds the literal, or a list of it, is used for in its function."""
    scope = literal.scope
    statement = scope.statement
    parents = _parents(scope.function)
    stores = 0
    for node in ast.walk(scope.function):
        if not (isinstance(node, ast.Name) and node.id == name):
            continue
        if isinstance(node.ctx, ast.Store):
            stores += 1
            continue
        at = Place(statement, node)
        parent = parents.get(node)
        match parent:
            case ast.Attribute() if parent.attr in _HARMLESS:
                continue
            case ast.Return():
                refusal = _result_seen(module, scope, contained)
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=me)) as target]) if (
                parent.value is node and scope.owner is not None and me == self_parameter(scope.function)
            ):
                refusal = _attribute_seen(module, scope.owner, target.attr, contained)
            case ast.Call() if parent.func is node and not contained:
                continue
            case ast.Call() if node in parent.args:
                refusal = _handed_on(module, scope, parent, parents)
            case ast.Starred() if contained and isinstance(parents.get(parent), ast.Call):
                call = parents[parent]
                assert isinstance(call, ast.Call)
                refusal = _handed_on(module, scope, call, parents)
            case _:
                refusal = None if contained and _only_called(node, parents, scope.function) else _taken_apart(name, at)
        if refusal is not None:
            return refusal
    if stores > 1 and not contained and literal.seat.target == name:
        return Refusal(f"`{name}` holds other things too", Place(statement, literal.call))
    return None


def _taken_apart(name: str, at: Place) -> Refusal:
    return Refusal(f"`{name}` is taken apart, or kept where it could be", at)


def _handed_on(module: Module, scope: Scope, call: ast.Call, parents: dict[ast.AST, ast.AST]) -> Refusal | None:
    """The literal, or a list of it, is handed to a call: of a container of `torch.nn`, or to `append`."""
    kind = resolve(call.func, module.names, local_names(scope.function, scope.statement))
    at = Place(scope.statement, call)
    if isinstance(call.func, ast.Attribute) and call.func.attr == "append" and isinstance(call.func.value, ast.Name):
        return _grown_list_seen(module, scope, call.func.value.id)
    if kind != SEQUENTIAL and kind not in _LISTS:
        return Refusal("it is handed to a call that may look into it", at)
    match parents.get(call):
        case ast.Return():
            return _result_seen(module, scope, True)
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=me)) as target]) if (
            scope.owner is not None and me == self_parameter(scope.function)
        ):
            return _attribute_seen(module, scope.owner, target.attr, True)
        case _:
            return Refusal("it is handed to a call that may look into it", at)


def _grown_list_seen(module: Module, scope: Scope, name: str) -> Refusal | None:
    parents = _parents(scope.function)
    for node in ast.walk(scope.function):
        if not (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)):
            continue
        parent = parents.get(node)
        if isinstance(parent, ast.Attribute) and parent.attr in _HARMLESS:
            continue
        if isinstance(parent, ast.Starred):
            parent = parents.get(parent)
        if isinstance(parent, ast.Call) and parent.func is not node:
            refusal = _handed_on(module, scope, parent, parents)
            if refusal is not None:
                return refusal
            continue
        if isinstance(parent, ast.Return):
            refusal = _result_seen(module, scope, True)
            if refusal is not None:
                return refusal
            continue
        return _taken_apart(name, Place(scope.statement, node))
    return None


def _result_seen(module: Module, scope: Scope, contained: bool) -> Refusal | None:
    """What the file does with the results of the function that returns the literal, or something that holds it."""
    name = scope.function.name
    if not name or ("." in scope.name and scope.owner is None):
        return Refusal("a nested function returns it")
    if module.mentions.used_uncalled(name):
        return Refusal(f"`{name}`, which returns it, is handed around")
    holders: dict[str, bool] = {}
    for called in module.mentions.calls_of(name):
        for top in called.around[-1:]:
            match top:
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                    targets = top.targets if isinstance(top, ast.Assign) else [top.target]
                    for target in targets:
                        path = dotted(target)
                        if path is None:
                            return Refusal(f"the result of `{name}` is taken apart", Place(called.statement, top))
                        last = path.rpartition(".")[2]
                        holders[last] = holders.get(last, True) and (contained or top.value is not called.node)
                case ast.Expr(value=ast.Call() as call):
                    appended = _appended(call)
                    path = dotted(appended[0]) if appended is not None else None
                    if path is not None:
                        holders.setdefault(path.rpartition(".")[2], True)
                case ast.Return():
                    outer = called.function.name if called.function is not None else ""
                    if outer and outer != name:
                        holders.setdefault(outer, True)
                case _:
                    pass
        if any(isinstance(one, ast.Subscript | ast.Starred) for one in _directly_around(called.statement, called.node)):
            return Refusal(f"the result of `{name}` is taken apart", Place(called.statement, called.node))
    for holder, many in holders.items():
        refusal = _holder_seen(module, holder, many)
        if refusal is not None:
            return refusal
    return None


def _holder_seen(module: Module, holder: str, contained: bool) -> Refusal | None:
    """Whether something called `holder` is indexed, sliced or iterated anywhere in the file."""
    module.mentions.has_word(holder)
    for statement in module.statements:
        if holder not in statement.text:
            continue
        parents: dict[ast.AST, ast.AST] = statement.derive("parents", lambda one: _parents_of(one.body))
        for node, parent in parents.items():
            path = dotted(node) if isinstance(node, ast.Name | ast.Attribute) else None
            if path is None or path.rpartition(".")[2] != holder:
                continue
            looked = isinstance(parent, ast.Subscript | ast.Starred) and parent.value is node
            looked = looked or (isinstance(parent, ast.For | ast.comprehension) and parent.iter is node)
            looked = looked or (isinstance(parent, ast.Attribute) and parent.attr in _WALKS)
            if looked and isinstance(parent, ast.Starred) and contained:
                continue
            if looked and not (contained and _only_called(node, parents, None)):
                assert isinstance(node, ast.expr)
                return Refusal(f"`{path}` is taken apart", Place(statement, node))
    return None


_WALKS = frozenset("children named_children modules named_modules _modules get_submodule".split())


def _only_called(node: ast.AST, parents: dict[ast.AST, ast.AST], function: Function | None) -> bool:
    """Whether what is taken out of a list is only called: `blocks[i](x)`, `for block in blocks: x = block(x)`."""
    parent = parents.get(node)
    match parent:
        case ast.Subscript() if parent.value is node and not isinstance(parent.slice, ast.Slice):
            call = parents.get(parent)
            return isinstance(call, ast.Call) and call.func is parent
        case ast.Call(func=ast.Name(id="enumerate" | "zip" | "len" | "reversed")) if node in parent.args:
            if isinstance(parent.func, ast.Name) and parent.func.id == "len":
                return True
            loop = parents.get(parent)
            return isinstance(loop, ast.For | ast.comprehension) and _targets_only_called(loop, parents)
        case ast.For() | ast.comprehension() if parent.iter is node:
            return _targets_only_called(parent, parents)
        case _:
            return False


def _targets_only_called(loop: ast.For | ast.comprehension, parents: dict[ast.AST, ast.AST]) -> bool:
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
            if not called and (apart or kept) and not (isinstance(parent, ast.Subscript) and parent.slice is node):
                return False
    return True


def _directly_around(statement: Statement, node: ast.AST) -> Iterator[ast.AST]:
    parents: dict[ast.AST, ast.AST] = statement.derive("parents", lambda one: _parents_of(one.body))
    parent = parents.get(node)
    if parent is not None:
        yield parent


def _surroundings(statement: Statement, node: ast.AST) -> dict[ast.AST, ast.AST] | None:
    return statement.derive("parents", lambda one: _parents_of(one.body))


def _parents(function: Function) -> dict[ast.AST, ast.AST]:
    return _parents_of([function])


def _parents_of(body: list[ast.stmt]) -> dict[ast.AST, ast.AST]:
    return {child: node for top in body for node in ast.walk(top) for child in ast.iter_child_nodes(node)}


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
    holders: set[str] = set()
    for called in module.mentions.calls_of(*(member.name for member in owner.family)):
        for node in ast.walk(called.around[-1]) if called.around else ():
            if isinstance(node, ast.Assign) and node.value is called.node:
                holders.update(path.rpartition(".")[2] for path in map(dotted, node.targets) if path is not None)
    for holder in sorted(holders):
        refusal = _holder_seen(module, holder, contained=False)
        if refusal is not None:
            return refusal
    return None
