"""A module class that computes one layer by hand: what its `forward` is, and how the class becomes that layer's.

The class keeps its name, its constructor's signature and its docstring: others import it, ask `isinstance` for it and
make instances of it. It inherits from the layer of torch, hands over the sizes, and loses `forward`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.matching import Found, Matcher, Operand
from fuselight.fusions.needs import Assumption, number
from fuselight.fusions.pattern import parse_pattern
from fuselight.fusions.plan import (
    Action,
    Emitted,
    HookRegistration,
    InitMethod,
    Pass,
    Place,
    ReplaceStatements,
    SetBase,
    SuperInit,
)
from fuselight.fusions.references import reads_as_reference
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.build import build_graph
from fuselight.graph.classes import ClassInfo, assigned_names, local_names, resolve
from fuselight.graph.mentions import Function, Mention, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import ANYTHING, EXTERNAL, Consumption, Graph, Value
from fuselight.source.nodes import walk

MODULE = "torch.nn.Module"
_MOST_STATEMENTS = 16
"""A `forward` with more of them is more than one layer."""
_MOST_METHODS = 7
_NOT_FOLLOWED = ("call", "opaque", "instance", "joined", "starred")


@dataclass(frozen=True, slots=True, eq=False)
class ClassBody:
    """A class of which `forward` maps one tensor to one value, with all that it calls of the file written out."""

    module: Module
    owner: ClassInfo
    scope: Scope
    """Its `forward`, with the file's own functions that it calls put in their place."""
    graph: Graph
    matcher: Matcher
    input: Value
    result: Value
    inlined: tuple[Function, ...]
    """Methods of the class that only `forward` needs."""

    @property
    def forward(self) -> Function:
        return self.owner.methods["forward"]

    @property
    def init(self) -> Function | None:
        return self.owner.methods.get("__init__")

    @property
    def place(self) -> Place:
        return Place(self.owner.statement, self.owner.node.bases[0])


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One rewrite that fits the whole of a class."""

    rewrite: Rewrite
    site: Site
    notes: tuple[str, ...]
    """What differs, or is assumed; nothing where it is exact."""

    def value(self, name: str) -> Value | None:
        return self.site.value(name)


def is_of_plain_class(scope: Scope) -> bool:
    """Whether `scope` is the `forward` of one input of a plain `nn.Module`: what a class body is read of."""
    owner, function = scope.owner, scope.function
    if owner is None or function.name != "forward" or owner.bases != (MODULE,) or owner.ancestors:
        return False
    if len(owner.node.bases) != 1 or not isinstance(function, ast.FunctionDef) or len(owner.methods) > _MOST_METHODS:
        return False
    if len(function.body) > _MOST_STATEMENTS or owner.methods.get("forward") is not function:
        return False
    arguments = function.args
    others = arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults
    return not others and len([*arguments.posonlyargs, *arguments.args]) == 2


def is_whole(scope: Scope) -> bool:
    """Whether every line of the class parses: one that does not may say anything of it."""
    return scope.owner is not None and not scope.statement.is_masked(scope.owner.node)


def class_body(module: Module, scope: Scope) -> ClassBody | None:
    """The body of a plain `nn.Module` of the file, where `scope` is a `forward` that can be followed.

    It is read once, whoever asks.
    """
    return module.once(("class body", scope.function), lambda: _read(module, scope))


def _read(module: Module, scope: Scope) -> ClassBody | None:
    owner, function = scope.owner, scope.function
    if owner is None or not is_of_plain_class(scope):
        return None
    assert isinstance(function, ast.FunctionDef)
    positional = [*function.args.posonlyargs, *function.args.args]
    written_out = _WrittenOut(module, owner, function)
    body = written_out.body()
    if body is None:
        return None
    graph: Graph
    if written_out.changed:
        whole = copy.copy(function)
        whole.body = body
        scope = Scope(whole, owner, scope.statement, scope.name, scope.enclosing)
        graph = build_graph(whole, owner, module.names, scope.statement, scope.name, scope.enclosing)
    else:
        graph = module.graph(scope)
    if graph.opaque is not None or _writes_show(graph) or len(graph.exits) != 1:
        return None
    others = [value for kind in _NOT_FOLLOWED for value in graph.of_kind(kind)]
    if any(not isinstance(value.node, ast.Slice) for value in others):
        return None
    inputs = [value for value in graph.of_kind("parameter") if value.path == positional[1].arg]
    results = [value for value in graph.values if any(use.how is Consumption.RETURNED for use in value.uses)]
    if len(inputs) != 1 or len(results) != 1 or results[0].node is None:
        return None
    matcher = Matcher(module, owner, graph)
    return ClassBody(module, owner, scope, graph, matcher, inputs[0], results[0], tuple(written_out.methods))


def _writes_show(graph: Graph) -> bool:
    """Whether something is written in place that anybody but the next step could see."""
    if any(not write.sure or not write.roots.isdisjoint({EXTERNAL, ANYTHING}) for write in graph.writes):
        return True
    written = frozenset(root for write in graph.writes for root in write.roots)
    made = [value for value in graph.values if not value.roots.isdisjoint(written)]
    return bool(graph.writes) and any(len(value.uses) > 1 for value in made)


def ways(body: ClassBody, rewrites: Iterable[Rewrite], operand: str = "x") -> Iterator[Way | Refusal]:
    """The rewrites that fit what the class returns, computed from nothing but its input `operand`."""
    for rewrite in rewrites:
        for found in body.matcher.matches(parse_pattern(rewrite.pattern), body.result, rewrite.scalars):
            bound = found.bound.get(operand)
            if not isinstance(bound, Operand) or bound.value is not body.input:
                continue
            yield _judged(body, rewrite, found)


def _judged(body: ClassBody, rewrite: Rewrite, found: Found) -> Way | Refusal:
    site = Site(body.module, body.scope, body.graph, body.matcher, rewrite, body.result, found)
    notes = [rewrite.note] if rewrite.note else []
    for need in (number(*rewrite.scalars), *rewrite.needs):
        verdict = need(site)
        if isinstance(verdict, Refusal):
            return Refusal(verdict.reason)
        if isinstance(verdict, Assumption) and verdict.text not in notes:
            notes.append(verdict.text)
    if found.off > 1e-7:
        notes.append("a constant is rounded in the source")
    return Way(rewrite, site, tuple(notes))


# -- forward with what it calls of the file written out


class _WrittenOut:
    """The statements of a `forward` in which every function and method of the file that it calls is written out."""

    def __init__(self, module: Module, owner: ClassInfo, function: ast.FunctionDef) -> None:
        self.module = module
        self.owner = owner
        self.function = function
        self.me = self_parameter(function)
        self.names = local_names(function, owner.statement)
        self.methods: list[Function] = []
        self.changed = False
        self._number = 0

    def body(self) -> list[ast.stmt] | None:
        """The statements; None where there are others than assignments to names and a last `return`."""
        if self.function.decorator_list or self.me is None:
            return None
        return self._statements(self.function, 0)

    def _statements(self, function: Function, depth: int) -> list[ast.stmt] | None:
        found: list[ast.stmt] = []
        for at, statement in enumerate(function.body):
            last = at == len(function.body) - 1
            if _is_docstring(statement):
                continue
            if last != isinstance(statement, ast.Return):
                return None
            parts = [statement]
            if isinstance(statement, ast.If):
                # Conversions of the dtype that depend on a dtype: a value is the same behind them.
                if not _converts_only(statement):
                    return None
                parts = statement.body
                self.changed = True
            for part in parts:
                if not _is_plain(part):
                    return None
                before = self._called(part, depth)
                if before is None:
                    return None
                found += before
        return found

    def _called(self, statement: ast.stmt, depth: int) -> list[ast.stmt] | None:
        """The statement, behind those of the functions that it calls."""
        calls = [(node, called) for node in walk(statement) if (called := self._function(node)) is not None]
        if not calls:
            return [statement]
        if len(calls) > 1 or depth > 2:
            return None
        (call, function) = calls[0]
        assert isinstance(call, ast.Call)
        given = self._arguments(call, function)
        inner = self._statements(function, depth + 1)
        if given is None or inner is None or not isinstance(inner[-1], ast.Return) or inner[-1].value is None:
            return None
        self.changed = True
        self._number += 1
        names = local_names(function, self.owner.statement)
        renamed = _Renamed({name: f"{name}_of_{self._number}" for name in names})
        me = self_parameter(function) if self._is_method(call) else None
        if me is not None:
            renamed.names[me] = self.me or me
        before: list[ast.stmt] = []
        for name, value in given.items():
            target = ast.Name(renamed.names[name], ast.Store())
            before.append(_at(call, ast.Assign([target], value)))
        inner = [cast(ast.stmt, renamed.visit(copy.deepcopy(one))) for one in inner]
        result = inner[-1]
        assert isinstance(result, ast.Return)
        assert result.value is not None
        if self._is_method(call) and function not in self.methods:
            self.methods.append(function)
        whole = _with(statement, call, result.value)
        return [*before, *inner[:-1], whole]

    def _is_method(self, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Attribute)

    def _function(self, node: ast.AST) -> Function | None:
        """The function or method of the file that a call calls."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=me), attr=name)) if me == self.me:
                found = self.owner.methods.get(name)
                return found if found is not None and _is_undecorated(found) and name != "forward" else None
            case ast.Call(func=ast.Name(id=name)) if name not in self.names and name not in self.owner.hidden:
                binding = self.module.names.bindings.get(name)
                found = binding.local if binding is not None else None
                defined = [
                    one
                    for statement in self.module.mentions.statements_with(name)
                    for one in statement.body
                    if isinstance(one, Function) and one.name == name
                ]
                if not isinstance(found, ast.FunctionDef) or defined != [found]:
                    return None
                # `torch.jit.script` compiles the function as it is.
                made = [resolve(one, self.module.names) for one in found.decorator_list]
                return found if all(one == "torch.jit.script" for one in made) else None
            case _:
                return None

    def _arguments(self, call: ast.Call, function: Function) -> dict[str, ast.expr] | None:
        """What each parameter of a called function is given."""
        arguments = function.args
        if arguments.vararg or arguments.kwarg or any(isinstance(one, ast.Starred) for one in call.args):
            return None
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        defaults = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
        defaults |= {
            one.arg: default
            for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if default is not None
        }
        names = names[1:] if self._is_method(call) and self_parameter(function) is not None else names
        given: dict[str, ast.expr] = dict(zip(names, call.args, strict=False))
        if len(call.args) > len(names):
            return None
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in given:
                return None
            given[keyword.arg] = keyword.value
        for name in (*names, *(one.arg for one in arguments.kwonlyargs)):
            if name not in given:
                default = defaults.get(name)
                if not isinstance(default, ast.Constant):
                    return None
                given[name] = default
        return given if given.keys() <= {*names, *(one.arg for one in arguments.kwonlyargs)} else None


def _is_undecorated(method: Function) -> bool:
    """Whether nothing but `@staticmethod` decorates a method."""
    return all(isinstance(one, ast.Name) and one.id == "staticmethod" for one in method.decorator_list)


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit(self, node: ast.AST) -> ast.AST:
        found = self.generic_visit(node)
        if isinstance(found, ast.Name):
            found.id = self.names.get(found.id, found.id)
        return found


class _Replaced(ast.NodeTransformer):
    def __init__(self, node: ast.AST, by: ast.expr) -> None:
        self.node = node
        self.by = by

    def visit(self, node: ast.AST) -> ast.AST:
        return self.by if node is self.node else self.generic_visit(node)


def _with(statement: ast.stmt, node: ast.AST, by: ast.expr) -> ast.stmt:
    """A copy of a statement with `by` in the place of one of its nodes."""
    copied = copy.deepcopy(statement)
    pairs = zip(ast.walk(statement), ast.walk(copied), strict=True)
    counterpart = next(other for one, other in pairs if one is node)
    return cast(ast.stmt, _Replaced(counterpart, by).visit(copied))


def _at(place: ast.AST, statement: ast.stmt) -> ast.stmt:
    ast.copy_location(statement, place)
    for node in ast.walk(statement):
        if isinstance(node, ast.stmt | ast.expr) and getattr(node, "lineno", None) is None:
            ast.copy_location(node, place)
    return statement


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_plain(statement: ast.stmt) -> bool:
    """Whether a statement only names values, or returns one."""
    match statement:
        case ast.Return(value=ast.expr()):
            return True
        case ast.Assign(targets=[target]):
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            return all(isinstance(one, ast.Name) for one in targets)
        case ast.AnnAssign(target=ast.Name(), value=ast.expr()):
            return True
        case _:
            return False


def _converts_only(statement: ast.If) -> bool:
    """`if self.weight.dtype in (torch.float16, torch.bfloat16): x = x.to(self.weight.dtype)`."""
    asked = [one for one in ast.walk(statement.test) if isinstance(one, ast.Attribute) and one.attr == "dtype"]
    called = any(isinstance(one, ast.Call | ast.NamedExpr | ast.BoolOp) for one in ast.walk(statement.test))
    if not asked or called or statement.orelse:
        return False
    for one in statement.body:
        match one:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Attribute(value=ast.Name(id=of), attr="to" | "float" | "type_as")),
            ) if name == of:
                continue
            case _:
                return False
    return True


# -- the class


@dataclass(slots=True, eq=False)
class Outline:
    """What of a class goes, and what its constructor hands to the layer's."""

    body: ClassBody
    layer: str
    """Fully qualified, `torch.nn.RMSNorm`."""
    attributes: frozenset[str]
    """What an instance of the layer has by itself."""
    arguments: dict[str, str] = field(default_factory=dict[str, str])
    gone: set[str] = field(default_factory=set[str])
    """Attributes whose assignment in `__init__` goes."""
    forward: tuple[Emitted, ...] = ()
    """What is put in the place of what `forward` does; without it, `forward` goes."""

    @property
    def module(self) -> Module:
        return self.body.module

    @property
    def owner(self) -> ClassInfo:
        return self.body.owner

    # -- what stands against it

    def refusal(self) -> Refusal | None:
        """Why the class must stay as it is, whatever it computes."""
        return (
            reads_as_reference(self.body.scope)
            or self._plain_class()
            or provenance.known_class(self.module, self.owner)
            or self._replaced_elsewhere()
            or self._asked_for()
            or self._called_by_keyword()
            or self._init_is_plain()
            or self._attributes_stay()
        )

    def _place(self, node: ast.stmt | ast.expr) -> Place:
        return Place(self.owner.statement, node)

    def _plain_class(self) -> Refusal | None:
        owner = self.owner
        node = owner.node
        if node.decorator_list:
            return Refusal(f"`{owner.name}` has a decorator, which may replace it", self._place(node.decorator_list[0]))
        if node not in owner.statement.body:
            return Refusal(f"`{owner.name}` is defined inside something else, perhaps in place of the layer")
        for one in node.body:
            if isinstance(one, ast.FunctionDef) and one.decorator_list and one not in self.body.inlined:
                return Refusal(f"`{owner.name}.{one.name}` has a decorator", self._place(one))
            declared = isinstance(one, ast.AnnAssign) and one.value is None
            if not (isinstance(one, ast.FunctionDef | ast.Pass) or declared or _is_docstring(one)):
                return Refusal(f"`{owner.name}` has class attributes of its own", self._place(one))
            if not owner.statement.stands_alone(one):
                return Refusal("it shares its line with another statement", self._place(one))
        if len({one.name for one in node.body if isinstance(one, Function)}) < sum(
            isinstance(one, Function) for one in node.body
        ):
            return Refusal(f"`{owner.name}` defines a method twice")
        for relative in owner.descendants:
            if relative.methods:
                return Refusal(
                    f"`{relative.name}` inherits from `{owner.name}` and adds to it",
                    Place(relative.statement, relative.node),
                )
        return None

    def _replaced_elsewhere(self) -> Refusal | None:
        """Nobody sets `forward`, or a method that goes, from outside."""
        for name in ("forward", *(one.name for one in self.body.inlined)):
            family = {member.node for member in self.owner.family}
            for mention in self.module.mentions.of_attribute_near(name, family, stored=name == "forward"):
                if mention.node not in self._nodes_gone:
                    return Refusal(
                        f"`{ast.unparse(mention.node)}` is used elsewhere", Place(mention.statement, mention.node)
                    )
        return None

    def _asked_for(self) -> Refusal | None:
        """Nobody tells modules of the layer's type from others, which the class becomes one of."""
        name = self.layer.rpartition(".")[2]
        for called in self.module.mentions.calls_of("isinstance", "issubclass"):
            if len(called.node.args) < 2:
                continue
            types = called.node.args[1]
            for one in types.elts if isinstance(types, ast.Tuple | ast.List) else [types]:
                path = resolve(one, self.module.names)
                at = Place(called.statement, called.node)
                if path is not None and (path == self.layer or path == f"torch.nn.modules.normalization.{name}"):
                    return Refusal(f"the file asks whether a module is a `nn.{name}`, which it becomes", at)
                known = path is not None or (
                    isinstance(one, ast.Name)
                    and (self.module.names.local_class(one.id) is not None or one.id in _BUILTIN_TYPES)
                )
                if not known and self.module.mentions.used_uncalled(name):
                    return Refusal(f"the file may ask whether a module is a `nn.{name}`, which it becomes", at)
        return None

    def _called_by_keyword(self) -> Refusal | None:
        """The layer's `forward` calls its input `input` or `x`: nobody may hand it over by its name."""
        parameter = self.body.input.path
        name = self.owner.name
        if parameter is None or self.forward:
            return None
        held: set[str] = set()
        handed_on = self.module.mentions.used_uncalled(name)
        for called in self.module.mentions.calls_of(name):
            for around in called.around:
                if isinstance(around, ast.Assign | ast.AnnAssign):
                    targets = around.targets if isinstance(around, ast.Assign) else [around.target]
                    held |= {
                        one.attr if isinstance(one, ast.Attribute) else one.id
                        for target in targets
                        for one in ast.walk(target)
                        if isinstance(one, ast.Attribute | ast.Name)
                    }
        for called in self.module.mentions.calls_with(parameter):
            node = called.node
            if node.args or len(node.keywords) != 1 or resolve(node.func, self.module.names) is not None:
                continue
            last = _last_name(node.func)
            other = isinstance(node.func, ast.Name) and self.module.names.local_class(node.func.id) is not None
            if not other and (handed_on or last is None or last in held):
                return Refusal(f"it may be called with `{parameter}` as a keyword", Place(called.statement, node))
        return None

    # -- __init__

    @property
    def super_call(self) -> ast.stmt | None:
        """`super().__init__()`, in the body of `__init__`."""
        init = self.body.init
        found = [one for one in init.body if _is_super_init(one, self.module)] if init is not None else []
        return found[0] if len(found) == 1 else None

    def assignment(self, attribute: str) -> ast.stmt | None:
        """The one statement of `__init__`'s own block that assigns `self.<attribute>`."""
        init = self.body.init
        me = self_parameter(init) if init is not None else None
        found: list[ast.stmt] = []
        for node in ast.walk(init) if init is not None else ():
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(_self_attribute(one, me) == attribute for target in targets for one in ast.walk(target)):
                    found.append(node)
        assert init is not None or not found
        if len(found) != 1 or init is None or found[0] not in init.body or isinstance(found[0], ast.AugAssign):
            return None
        targets = found[0].targets if isinstance(found[0], ast.Assign) else []
        return found[0] if len(targets) < 2 else None

    def assigned(self, attribute: str) -> ast.expr | None:
        statement = self.assignment(attribute)
        return statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None

    def _init_is_plain(self) -> Refusal | None:
        init = self.body.init
        if init is None:
            return None
        if self.super_call is None or self_parameter(init) is None:
            return Refusal(f"`{self.owner.name}.__init__` does not call `super().__init__()` once", self._place(init))
        call = self.super_call
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        me = self_parameter(init)
        for node in ast.walk(init):
            if isinstance(node, ast.Return | ast.Yield | ast.Global | ast.Nonlocal):
                return Refusal(f"`{self.owner.name}.__init__` may leave early", self._place(init))
            if isinstance(node, ast.Call) and node is not call.value:
                of_self = isinstance(node.func, ast.Attribute) and _last_name(node.func.value) == me
                name = _last_name(node.func)
                if of_self and name != "reset_parameters":
                    return Refusal(
                        f"`{ast.unparse(node)[:60]}` in `{self.owner.name}.__init__` may do anything", self._place(node)
                    )
                if name == "setattr":
                    return Refusal("its attributes are set by computed names", self._place(node))
                if name != "super" and any(isinstance(one, ast.Name) and one.id == me for one in node.args):
                    return Refusal(f"`{ast.unparse(node)[:60]}` may do anything to it", self._place(node))
        removed = set(self._init_gone())
        for statement in init.body:
            if statement in removed or statement is call:
                if not self.owner.statement.stands_alone(statement):
                    return Refusal("it shares its line with another statement", self._place(statement))
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and _self_attribute(node, me) in self.gone - self.attributes:
                    return Refusal(f"`{ast.unparse(node)}` is used again in `__init__`", self._place(node))
                if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                    refusal = self._kept(node, me)
                    if refusal is not None:
                        return refusal
        reset = self.owner.methods.get("reset_parameters")
        if reset is not None and not _fills_only(reset):
            return Refusal(
                f"`{self.owner.name}.reset_parameters` does more than fill with constants", self._place(reset)
            )
        return None

    def _kept(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, me: str | None) -> Refusal | None:
        """An assignment that stays: a number or a setting under a name that the layer has not."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for one in ast.walk(target):
                attribute = _self_attribute(one, me)
                if attribute is None:
                    continue
                if attribute in self.attributes:
                    return Refusal(
                        f"`self.{attribute}` is set, and is an attribute of `nn.{self.layer.rpartition('.')[2]}` too",
                        self._place(node),
                    )
                if node.value is not None and not _is_setting(node.value):
                    return Refusal(f"`self.{attribute}` may hold parameters or layers of its own", self._place(node))
        return None

    def _init_gone(self) -> list[ast.stmt]:
        found = [one for name in self.gone if (one := self.assignment(name)) is not None]
        return sorted(found, key=lambda one: one.lineno)

    # -- attributes

    @property
    def methods_gone(self) -> list[Function]:
        """`forward`, what only it called, and the representation where it speaks of what goes."""
        gone = [self.body.forward, *self.body.inlined]
        lost = self.gone - self.attributes
        told = self.owner.methods.get("extra_repr")
        if told is not None and any(isinstance(one, ast.Attribute) and one.attr in lost for one in ast.walk(told)):
            gone.append(told)
        return gone

    @property
    def _nodes_gone(self) -> set[ast.AST]:
        found = {node for method in self.methods_gone for node in ast.walk(method)}
        for statement in self._init_gone():
            found |= set(ast.walk(statement))
        return found

    def read_by_forward(self) -> set[str]:
        """The attributes of the instance that `forward`, or what it calls, reads."""
        found: set[str] = set()
        for method in (self.body.forward, *self.body.inlined):
            me = self_parameter(method)
            for node in ast.walk(method):
                name = _self_attribute(node, me)
                if name is not None:
                    found.add(name)
        return found - {one.name for one in self.body.inlined}

    def elsewhere(self, attribute: str) -> Mention | None:
        """A mention of the attribute beside what goes."""
        gone = {node for method in self.methods_gone for node in ast.walk(method)}
        told = self.owner.methods.get("extra_repr")
        gone |= set(ast.walk(told)) if told is not None else set()
        assignment = self.assignment(attribute)
        gone |= set(ast.walk(assignment)) if assignment is not None else set()
        family = {member.node for member in self.owner.family}
        for mention in self.module.mentions.of_attribute_near(attribute, family):
            if mention.node in gone:
                continue
            if mention.owner is None and provenance.is_other_object(self.module, mention):
                continue
            return mention
        return None

    def _attributes_stay(self) -> Refusal | None:
        """What goes must not be read, set or named elsewhere."""
        lost = sorted(self.gone - self.attributes)
        for attribute in lost:
            mention = self.elsewhere(attribute)
            if mention is not None:
                return Refusal(
                    f"`{ast.unparse(mention.node)}` is used elsewhere", Place(mention.statement, mention.node)
                )
        kept = [one for one in self.owner.methods.values() if one not in self.methods_gone and one.name != "__init__"]
        for method in kept:
            for node in ast.walk(method):
                if isinstance(node, ast.Attribute) and node.attr in lost:
                    return Refusal(f"`{ast.unparse(node)}` is read in `{method.name}`", self._place(node))
                if isinstance(node, ast.Name) and node.id == "super":
                    return Refusal(f"`{method.name}` calls that of its base", self._place(method))
        return provenance.named_in_strings(self.module, tuple(lost))

    def drop_attributes(self) -> None:
        """Let the settings go that `forward` alone reads, and those that the layer sets by itself."""
        for attribute in sorted(self.read_by_forward()):
            if attribute in self.gone or self.assignment(attribute) is None:
                continue
            if self.elsewhere(attribute) is None:
                self.gone.add(attribute)

    # -- expressions of __init__

    def at_init(self, value: Value | None) -> str | None:
        """The source with which `__init__` can say what `forward` reads; None where it cannot."""
        if value is None:
            return None
        if value.kind == "constant":
            return self._source(value.node) if isinstance(value.node, ast.expr) else repr(value.constant)
        if value.kind == "attribute" and isinstance(value.node, ast.Attribute):
            assigned = self.assigned(value.node.attr) if value.inputs[0].kind == "parameter" else None
            return self.init_source(assigned) if assigned is not None else None
        if value.kind == "global" and isinstance(value.node, ast.Name) and value.path is None:
            return value.node.id
        known = self.body.matcher.number(value)
        return repr(known) if known is not None else None

    def _source(self, node: ast.expr) -> str:
        statement = self.owner.statement
        source = statement.source(node)
        try:
            same = ast.dump(ast.parse(source.strip(), mode="eval").body) == ast.dump(node)
        except SyntaxError:
            same = False
        return source if same else ast.unparse(node)

    def init_source(self, node: ast.expr) -> str | None:
        """The source of an expression of `__init__` that means the same where the layer is initialised."""
        init = self.body.init
        if init is None:
            return None
        me = self_parameter(init)
        attribute = _self_attribute(node, me)
        if attribute is not None:
            assigned = self.assigned(attribute)
            return self.init_source(assigned) if assigned is not None and assigned is not node else None
        rebound = assigned_names(init.body, self.owner.statement)
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and (one.id in rebound or one.id == me):
                return None
            if isinstance(one, ast.NamedExpr | ast.Await | ast.Yield | ast.Lambda):
                return None
        source = self.owner.statement.source(node)
        return source if "\n" not in source and "\r" not in source else ast.unparse(node)

    # -- the edit

    def places(self) -> tuple[Place, ...]:
        return tuple(self._place(one) for one in (*self._init_gone(), *self.methods_gone))

    def parts(self) -> frozenset[ast.AST]:
        return frozenset(self._nodes_gone | {self.owner.node.bases[0]})

    def actions(self, registration: HookRegistration | None = None) -> tuple[Action, ...]:
        """The class as a thin one of the layer's."""
        statement, init, call = self.owner.statement, self.body.init, self.super_call
        found: list[Action] = [SetBase(statement, self.owner.node.bases[0], self.layer)]
        gone = self._init_gone()
        if init is not None and call is not None and (self.arguments or registration is not None):
            put = (SuperInit(self.arguments), *((registration,) if registration is not None else ()))
            found.append(ReplaceStatements(statement, (call, *gone), put))
        elif gone:
            found.append(ReplaceStatements(statement, tuple(gone), (), call))
        methods = self.methods_gone
        if self.forward:
            forward = self.body.forward
            methods.remove(forward)
            done = tuple(one for one in forward.body if not _is_docstring(one))
            found.append(ReplaceStatements(statement, done, self.forward))
        if not methods:
            return tuple(found)
        left = [one for one in self.owner.node.body if one not in methods]
        commented = any("#" in statement.lines_of(one) for one in methods) or self._commented_above(methods)
        first = min(methods, key=lambda one: one.lineno)
        if init is None and self.arguments:
            found.append(ReplaceStatements(statement, tuple(methods), (InitMethod(self.arguments),)))
        elif not left or (commented and init is None and all(_is_docstring(one) for one in left)):
            found.append(ReplaceStatements(statement, tuple(methods), (Pass(),)))
        else:
            # What the comments speak of is now in the layer's `__init__`, or nowhere.
            anchor = call if call is not None else next((one for one in left if not _is_docstring(one)), first)
            found.append(ReplaceStatements(statement, tuple(methods), (), anchor))
        return tuple(found)

    def _commented_above(self, methods: list[Function]) -> bool:
        lines = self.owner.statement.lines
        return any(
            method.lineno > 1 and lines.line_body(method.lineno - 2).lstrip().startswith("#") for method in methods
        )


_BUILTIN_TYPES = frozenset("int float str bool list tuple dict set frozenset bytes complex type object slice".split())

_FILLS = frozenset("ones_ zeros_ constant_ fill_ zero_".split())


def _fills_only(method: Function) -> bool:
    """Whether a method only fills `self.weight` and `self.bias` with constants."""
    for node in ast.walk(method):
        if isinstance(node, ast.Call) and _last_name(node.func) not in _FILLS:
            return False
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            return False
        name = _self_attribute(node, self_parameter(method))
        if name is not None and name not in ("weight", "bias"):
            return False
    return True


def _is_super_init(statement: ast.stmt, module: Module) -> bool:
    match statement:
        case ast.Expr(
            value=ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"), args=[], keywords=[]
            )
        ):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=base, attr="__init__"), args=[ast.Name()], keywords=[])):
            return resolve(base, module.names) == MODULE
        case _:
            return False


def _self_attribute(node: ast.AST, me: str | None) -> str | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == me:
        return node.attr
    return None


_SETTING_CALLS = frozenset("int float bool str len tuple list max min abs sqrt log round Size".split())


def _is_setting(node: ast.expr) -> bool:
    """Whether a value surely is no parameter, buffer or layer: arithmetic of names and numbers."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and _last_name(one.func) not in _SETTING_CALLS:
            return False
        if isinstance(one, ast.Lambda | ast.NamedExpr | ast.Await):
            return False
    return True


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def called_kind(replacement: str) -> tuple[str, Mapping[str, ast.expr]] | None:
    """The kind that a replacement is one call of, and its arguments behind the input, by position ("1") or name."""
    tree = ast.parse(replacement, mode="eval").body
    match tree:
        case ast.Call(func=ast.Name(id=kind), args=[ast.Name(id="x"), *rest], keywords=keywords):
            given = {str(number): one for number, one in enumerate(rest, 1)}
            named = {one.arg: one.value for one in keywords if one.arg is not None}
            return kind, {**given, **named}
        case _:
            return None


__all__ = ["ClassBody", "Outline", "Way", "called_kind", "class_body", "ways"]
