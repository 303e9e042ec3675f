"""How a class becomes that of the layer that its body computes: what of it goes, and what stands against that.

The class keeps its name, its constructor's signature and its docstring: others import it, ask `isinstance` for it and
make instances of it. It inherits from the layer of torch, hands over the sizes, and loses `forward`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.class_bodies import MODULE, ClassBody
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
from fuselight.fusions.written_out import is_docstring
from fuselight.graph.classes import ClassInfo, assigned_names, resolve
from fuselight.graph.mentions import Function, Mention, self_parameter
from fuselight.graph.module import Module
from fuselight.graph.values import Value

_BUILTIN_TYPES = frozenset("int float str bool list tuple dict set frozenset bytes complex type object slice".split())
_FILLS = frozenset("ones_ zeros_ constant_ fill_ zero_".split())
_SETTING_CALLS = frozenset("int float bool str len tuple list max min abs sqrt log round Size".split())


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
            if not (isinstance(one, ast.FunctionDef | ast.Pass) or declared or is_docstring(one)):
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
            done = tuple(one for one in forward.body if not is_docstring(one))
            found.append(ReplaceStatements(statement, done, self.forward))
        if not methods:
            return tuple(found)
        left = [one for one in self.owner.node.body if one not in methods]
        commented = any("#" in statement.lines_of(one) for one in methods) or self._commented_above(methods)
        first = min(methods, key=lambda one: one.lineno)
        if init is None and self.arguments:
            found.append(ReplaceStatements(statement, tuple(methods), (InitMethod(self.arguments),)))
        elif not left or (commented and init is None and all(is_docstring(one) for one in left)):
            found.append(ReplaceStatements(statement, tuple(methods), (Pass(),)))
        else:
            # What the comments speak of is now in the layer's `__init__`, or nowhere.
            anchor = call if call is not None else next((one for one in left if not is_docstring(one)), first)
            found.append(ReplaceStatements(statement, tuple(methods), (), anchor))
        return tuple(found)

    def _commented_above(self, methods: list[Function]) -> bool:
        lines = self.owner.statement.lines
        return any(
            method.lineno > 1 and lines.line_body(method.lineno - 2).lstrip().startswith("#") for method in methods
        )


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
