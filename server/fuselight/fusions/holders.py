"""Who holds an object of the file, and who calls it: a layer, a criterion, an instance of a model.

An object is followed from its constructor through variables, attributes, `.to(device)`, `nn.DataParallel` and the
parameters of the file's functions, to every call of it. Where somebody else may get hold of it, that is the answer.
"""

from __future__ import annotations

import ast

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.criteria import WRAPPERS, Made, Site, is_plain, names_a_class, value_of
from fuselight.fusions.parents import around, functions_around, is_hidden, parents_of
from fuselight.fusions.plan import Place
from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.source.statements import Statement

_SAME_OBJECT = frozenset("to cuda cpu float double half bfloat16 train eval requires_grad_ share_memory".split())
_HARMLESS = frozenset(
    "parameters named_parameters state_dict load_state_dict zero_grad apply buffers named_buffers extra_repr"
    " register_load_state_dict_pre_hook".split()
)
"""Methods and attributes of a module that do not call it, nor tell what it is."""


def calls_of(module: Module, made: Made) -> list[Site] | Refusal:
    """Every call of the object that a constructor call makes."""
    holders = _Holders(module)
    refusal = holders.used(made.statement, made.call)
    return refusal if refusal is not None else holders.calls


def instances_of(module: Module, cls: ClassInfo) -> list[tuple[Statement, ast.Call]] | Refusal:
    """Every constructor call of a class; a refusal where the class is handed around, or has subclasses."""
    if cls.descendants:
        return Refusal(f"`{cls.name}` has a subclass", Place(cls.statement, cls.node))
    found: list[tuple[Statement, ast.Call]] = []
    for statement in module.mentions.statements_with(cls.name):
        if cls.name in statement.masked_words:
            return Refusal(f"`{cls.name}` stands on a line that does not parse")
        parents = parents_of(statement)
        for node in parents:
            if not (isinstance(node, ast.Name) and node.id == cls.name):
                continue
            parent = parents[node]
            if isinstance(parent, ast.Call) and parent.func is node:
                found.append((statement, parent))
            elif not names_a_class(parent):
                return Refusal(f"`{cls.name}` is handed around", Place(statement, node))
    return found


class _Holders:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.calls: list[Site] = []
        self.followed: set[tuple[object, ...]] = set()

    def _is_new(self, *key: object) -> bool:
        known = key in self.followed
        self.followed.add(key)
        return not known

    def used(self, statement: Statement, node: ast.expr) -> Refusal | None:
        """What is done with the object where an expression yields it."""
        parents = parents_of(statement)
        parent = parents.get(node)
        kept = Refusal(f"`{_short(node)}` is handed on, to where its calls are not seen", Place(statement, node))
        match parent:
            case ast.Expr():
                return None
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) if parent.value is node:
                return self._held(statement, target)
            case ast.Call() if parent.func is node:
                return self._called(statement, parent)
            case ast.Attribute(attr="forward") if isinstance(call := parents.get(parent), ast.Call):
                return self._called(statement, call) if call.func is parent else kept
            case ast.Attribute(attr=attr) if attr in _SAME_OBJECT:
                call = parents.get(parent)
                return self.used(statement, call) if isinstance(call, ast.Call) and call.func is parent else kept
            case ast.Attribute(attr=attr) if attr in _HARMLESS:
                return None
            case ast.Call(func=ast.Name(id="print" | "isinstance" | "id" | "type")):
                return None
            case ast.Call() if node in parent.args:
                return self._argument(statement, parent, node, kept)
            case ast.keyword() if isinstance(call := parents.get(parent), ast.Call):
                return self._argument(statement, call, node, kept)
            case ast.If() | ast.UnaryOp(op=ast.Not()):
                return None
            case ast.Compare() if all(isinstance(op, ast.Is | ast.IsNot) for op in parent.ops):
                return None
            case _:
                return kept

    def _called(self, statement: Statement, call: ast.Call) -> Refusal | None:
        if any(site.value.node is call for site in self.calls):
            return None
        for scope in self.module.scopes(statement):
            if not _spans(scope, call):
                continue
            graph = self.module.graph(scope)
            value = value_of(graph, call) if graph.opaque is None else None
            if value is not None:
                self.calls.append(Site(scope, graph, value))
                return None
        return Refusal(f"`{_short(call)}` is not followed: it stands in a comprehension or a lambda, or the like",
                       Place(statement, call))  # fmt: skip

    def _argument(self, statement: Statement, call: ast.Call, node: ast.expr, kept: Refusal) -> Refusal | None:
        hidden: set[str] = set()
        for function in functions_around(statement, call):
            hidden |= local_names(function, statement)
        path = resolve(call.func, self.module.names, hidden)
        if path in WRAPPERS:
            return self.used(statement, call) if call.args and call.args[0] is node else kept
        if not isinstance(call.func, ast.Name) or call.func.id in hidden:
            return kept
        name = call.func.id
        binding = self.module.names.bindings.get(name)
        self.module.mentions.has_word(name)
        local = binding.local if binding is not None else None
        home = self.module.home_of(local) if local is not None else None
        function, own = local, 0
        if isinstance(local, ast.ClassDef):
            owner = self.module.classes.by_node.get(local)
            plain = owner is not None and owner.unknown_base is None and not local.keywords and not local.decorator_list
            function, own = owner.methods.get("__init__") if owner is not None and plain else None, 1
        if home is None or not isinstance(function, Function) or not is_plain(self.module, function):
            return kept
        parameter = _parameter(function, call, node, own)
        return self._loads(home, function, parameter) if parameter is not None else kept

    def _held(self, statement: Statement, target: ast.expr) -> Refusal | None:
        match target:
            case ast.Name():
                return self._variable(statement, target)
            case ast.Attribute(value=ast.Name(id=me), attr=name):
                functions = functions_around(statement, target)
                method = functions[-1] if functions else None
                owner = self._owner(statement, method) if method is not None else None
                if owner is not None and method is not None and self_parameter(method) == me:
                    return self._attribute(owner, name)
            case _:
                pass
        return Refusal("it is kept where its calls are not seen", Place(statement, target))

    def _owner(self, statement: Statement, method: Function) -> ClassInfo | None:
        around = parents_of(statement).get(method)
        return self.module.classes.by_node.get(around) if isinstance(around, ast.ClassDef) else None

    def _variable(self, statement: Statement, name: ast.Name) -> Refusal | None:
        functions = functions_around(statement, name)
        if functions:
            return self._loads(statement, functions[0], name.id)
        if any(isinstance(one, ast.ClassDef) for one in around(statement, name)):
            return Refusal("a class attribute holds it", Place(statement, name))
        if not self._is_new("global", name.id):
            return None
        for one in self.module.mentions.statements_with(name.id):
            if name.id in one.masked_words:
                return Refusal(f"`{name.id}` stands on a line that does not parse")
            for top in one.body:
                refusal = self._uses(one, top, name.id, True)
                if refusal is not None:
                    return refusal
        return None

    def _loads(self, statement: Statement, function: Function, name: str) -> Refusal | None:
        if not self._is_new(function, name):
            return None
        return self._uses(statement, function, name, False)

    def _uses(self, statement: Statement, top: ast.AST, name: str, everywhere: bool) -> Refusal | None:
        """Every use of a variable in `top`; those `everywhere` are of a global one, which functions may hide."""
        for node in ast.walk(top):
            if isinstance(node, ast.Global | ast.Nonlocal) and name in node.names:
                return Refusal(f"another function binds `{name}` too", Place(statement, node))
            if not (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)):
                continue
            if is_hidden(statement, node, name, None if everywhere else top):
                continue
            refusal = self.used(statement, node)
            if refusal is not None:
                return refusal
        return None

    def _attribute(self, owner: ClassInfo, name: str) -> Refusal | None:
        if not self._is_new(owner, name):
            return None
        module = self.module
        if owner.unknown_base is not None:
            base = owner.unknown_base
            return Refusal(
                f"`{owner.name}` inherits from `{base}`, which may use its attributes",
                Place(owner.statement, owner.node),
            )
        family = {member.node for member in owner.family}
        if module.mentions.masked_word(name):
            return Refusal(f"`{name}` stands on a line that does not parse")
        for member in owner.family:
            if name in member.methods or provenance.is_class_attribute(member.node, name):
                return Refusal(f"`{member.name}` has a class attribute or method `{name}`",
                               Place(member.statement, member.node))  # fmt: skip
            for special in ("__getattr__", "__getattribute__", "__setattr__"):
                if special in member.methods:
                    return Refusal(f"`{member.name}.{special}` decides what its attributes are",
                                   Place(member.statement, member.node))  # fmt: skip
        for mention in module.mentions.of_attribute(name):
            if mention.owner is not None and mention.owner not in family:
                continue
            if mention.owner is None and provenance.is_other_object(module, mention):
                continue
            if not isinstance(mention.node.ctx, ast.Load):
                continue  # `Criteria` sees that one assignment is all
            refusal = self.used(mention.statement, mention.node)
            if refusal is not None:
                return refusal
        return (
            provenance.named_in_strings(module, (name,))
            or provenance.hooked(module, frozenset({name}))
            or provenance.found_by_computed_name(module, owner)
        )


def _parameter(function: Function, call: ast.Call, node: ast.expr, own: int) -> str | None:
    """The parameter that a call hands an argument to; the first `own` ones are not the caller's."""
    keyword = next((one.arg for one in call.keywords if one.value is node), None)
    arguments = [*function.args.posonlyargs, *function.args.args][own:]
    if keyword is not None:
        named = [*function.args.args, *function.args.kwonlyargs]
        return keyword if any(one.arg == keyword for one in named) else None
    at = next((number for number, one in enumerate(call.args) if one is node), len(arguments))
    if any(isinstance(one, ast.Starred) for one in call.args[: at + 1]) or at >= len(arguments):
        return None
    return arguments[at].arg


def _spans(scope: Scope, node: ast.AST) -> bool:
    first, last = scope.function.lineno, scope.function.end_lineno or 0
    return isinstance(node, ast.expr) and first <= node.lineno <= last


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
