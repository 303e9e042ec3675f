"""Losses and what goes into them: which criterion a call is, and which activation made what it is given first.

The two are rarely in one function: a model ends in the activation, a training loop holds the criterion. So what a name
holds is followed through the file: local and global variables, attributes, parameters (to every call of the function),
`.to(device)`, `nn.DataParallel`; a value is followed back through reshapes, the last element of a `nn.Sequential` and
the `return` of a model's `forward`. Where any of that is not told for sure, nothing is said.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fuselight.fusions.literals import literals
from fuselight.fusions.parents import around, is_hidden, parents_of
from fuselight.fusions.steps import integer
from fuselight.graph.classes import ClassInfo, Layer, local_names, resolve
from fuselight.graph.mentions import Called, Function
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph, Value
from fuselight.source.statements import Statement

SEQUENTIAL = "torch.nn.Sequential"

LOSS_LAYERS = {
    "torch.nn.CrossEntropyLoss": "cross_entropy",
    "torch.nn.NLLLoss": "nll_loss",
    "torch.nn.NLLLoss2d": "nll_loss",
    "torch.nn.BCELoss": "binary_cross_entropy",
    "torch.nn.BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
}
"""The criteria, each with the function that it calls."""

LOSS_FUNCTIONS = frozenset(LOSS_LAYERS.values())
LOSS_WORDS = frozenset(name.rpartition(".")[2] for name in LOSS_LAYERS) | LOSS_FUNCTIONS

ACTIVATIONS = {
    "torch.nn.Sigmoid": "sigmoid",
    "torch.nn.Softmax": "softmax",
    "torch.nn.Softmax2d": "softmax",
    "torch.nn.LogSoftmax": "log_softmax",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
"""The activations, as layers and as functions."""

_RESHAPES = frozenset("reshape squeeze unsqueeze flatten permute swapaxes getitem".split()) | frozenset(
    f"method {name}" for name in "view contiguous view_as reshape_as t cpu cuda".split()
)
_RESHAPING_LAYERS = frozenset({"torch.nn.Flatten", "torch.nn.Unflatten"})

_SAME_OBJECT = frozenset("to cuda cpu float double half bfloat16 train eval requires_grad_ share_memory".split())
"""Methods of a module that return it."""

WRAPPERS = frozenset(
    {"torch.nn.DataParallel", "torch.nn.parallel.DistributedDataParallel", "torch.nn.parallel.DataParallel",
     "torch.compile"}
)  # fmt: skip
"""Functions and modules that yield what their first argument does."""

_ORDERED = "collections.OrderedDict"
_GROWING = frozenset("append extend insert add_module register_module pop".split())
_DEPTH = 12


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A constructor call, of a layer of torch or of a class of the file."""

    kind: str | None
    """Fully qualified, for a layer of torch."""
    cls: ClassInfo | None
    call: ast.Call
    statement: Statement
    hidden: frozenset[str]
    """Names that hide the module's where the call stands."""
    layer: Layer | None = None
    """The attribute that holds it."""
    name: str | None = None
    """The global variable that holds it."""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A value, and the function that it is a value of."""

    scope: Scope
    graph: Graph
    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A call of a loss function or criterion; `first` is what it compares with a target."""

    kind: str
    """The neutral kind of the function: `nll_loss`."""
    site: Site
    first: Value
    made: Made | None = None
    """The criterion; None for a function."""

    @property
    def node(self) -> ast.Call:
        assert isinstance(self.site.value.node, ast.Call)
        return self.site.value.node


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """What made a value: an activation that is called, or one that a `nn.Sequential` ends in."""

    kind: str
    """`softmax`, `log_softmax` or `sigmoid`."""
    node: ast.expr
    """Its call, or the element of the `nn.Sequential`."""
    statement: Statement
    call: Site | None
    """The call in a function: of the activation, or of what holds it; None where that stands in no function's graph."""
    made: Made | None = None
    """The layer; None for a function."""
    sequential: Made | None = None
    """The outermost `nn.Sequential` of which it is the last element."""
    reshaped: bool = False
    """Whether its result is reshaped, or a part taken of it, before the loss."""
    models: tuple[ClassInfo, ...] = ()
    """The classes whose `forward` hands it on, outermost first."""
    returned: int | None = None
    """Which element of what the `forward` returns it is."""

    @property
    def label(self) -> str:
        return " ".join(self.statement.source(self.node).split())[:60]


def given(value: Value, position: int, name: str) -> Value | None:
    """An argument of a call by its position, the callee aside, or its name; None where `*` hides it."""
    node = value.node
    if not isinstance(node, ast.Call) or any(isinstance(one, ast.Starred) for one in node.args):
        return None
    if name in value.keywords:
        return value.keywords[name]
    count = len(node.args)
    loose = 0 if value.keywords else len(node.keywords)
    offset = len(value.inputs) - count - (loose if value.kind in ("call", "instance") else 0)
    if position < count:
        return value.inputs[offset + position] if 0 <= offset <= 1 else None
    if value.kind in ("call", "instance") and 0 <= offset <= 1:
        for at, keyword in enumerate(node.keywords):
            if keyword.arg == name:
                return value.inputs[offset + count + at]
    return None


_HELD = re.compile(r"crit|loss|objective|bce|xent|nll|(^|_)ce(_|$)", re.IGNORECASE)
"""Names that may hold a criterion."""


def may_lose(scope: Scope) -> bool:
    """Whether a function may call a loss, by its words."""
    return any(word in LOSS_FUNCTIONS or _HELD.search(word) is not None for word in scope.words)


class Criteria:
    """Reads the losses of one file."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._asked: set[tuple[object, ...]] = set()
        self._losses: dict[Function, list[Loss]] = {}

    # -- losses

    def losses(self, scope: Scope, graph: Graph) -> list[Loss]:
        """The calls of losses in a function."""
        known = self._losses.get(scope.function)
        if known is None:
            known = self._losses[scope.function] = list(self._read(scope, graph))
        return known

    def _read(self, scope: Scope, graph: Graph) -> Iterator[Loss]:
        for value in graph.values:
            node = value.node
            if not isinstance(node, ast.Call):
                continue
            kind, made = None, None
            if value.layer is None and value.kind in LOSS_FUNCTIONS:
                kind = value.kind
                first = value.inputs[0] if value.inputs else value.keywords.get("input")
                if any(isinstance(one, ast.Starred) for one in node.args):
                    continue
            elif value.layer is not None or value.kind == "call":
                if len(node.args) + len(node.keywords) != 2:
                    continue
                made = self.callee(Site(scope, graph, value))
                kind = LOSS_LAYERS.get(made.kind or "") if made is not None else None
                first = given(value, 0, "input")
            else:
                continue
            if kind is not None and first is not None:
                yield Loss(kind, Site(scope, graph, value), first, made)

    # -- what is called

    def callee(self, site: Site) -> Made | None:
        """What a call calls, where it is an object whose constructor is known."""
        value, node = site.value, site.value.node
        if not isinstance(node, ast.Call):
            return None
        func = node.func
        self._asked.clear()
        if value.layer is not None:
            return self._attribute(value.layer.attribute, site.scope.owner)
        if isinstance(func, ast.Attribute):
            if func.attr == "forward" and value.inputs:
                return self._forward_of(site, func)
            held = isinstance(func.value, ast.Name) and site.scope.owner is not None and value.path is not None
            return self._attribute(func.attr, site.scope.owner) if held else None
        if value.kind != "call" and isinstance(func, ast.Call):  # `nn.Sigmoid()(x)`
            return self._constructed(func, site.scope.statement, site.graph.local)
        if value.kind != "call" or not value.inputs:
            return None
        return self.made(Site(site.scope, site.graph, value.inputs[0]))

    def _forward_of(self, site: Site, func: ast.Attribute) -> Made | None:
        """What `model.forward(x)` is a call of; that of `self` is looked at by the caller."""
        base = site.value.inputs[0]
        return self.made(Site(site.scope, site.graph, base)) if base.node is func.value else None

    def made(self, site: Site) -> Made | None:
        """The one constructor call that made what a value holds; None where there may be others."""
        self._asked.clear()
        found = self._made(site)
        if not found:
            return None
        first = found[0]
        same = all(one.call is first.call or (one.cls is first.cls and one.cls is not None) for one in found)
        return first if same else None

    def _is_new(self, *key: object) -> bool:
        known = key in self._asked
        self._asked.add(key)
        return not known

    def _made(self, site: Site) -> list[Made] | None:
        """Every constructor call that may have made a value; None where the file does not tell."""
        value, node, scope, graph = site.value, site.value.node, site.scope, site.graph
        if value.kind == "joined":
            if not self._is_new(value):
                return []
            return self._all(Site(scope, graph, one) for one in value.inputs)
        if value.kind == "parameter":
            return self._parameter(scope, value.path or "")
        if value.kind == "global" and isinstance(node, ast.Name) and value.path is None:
            return self._global(node.id) if node.id not in scope.enclosing else None
        if value.kind == "attribute" and isinstance(node, ast.Attribute):
            mine = len(value.inputs) == 1 and value.inputs[0].kind == "parameter" and scope.owner is not None
            first = next(iter([*scope.function.args.posonlyargs, *scope.function.args.args]), None)
            if not mine or first is None or value.inputs[0].path != first.arg:
                return None
            found = self._attribute(node.attr, scope.owner)
            return [found] if found is not None else None
        if not isinstance(node, ast.Call) or value.layer is not None:
            return None
        path = resolve(node.func, self.module.names, graph.local)
        if path in WRAPPERS:
            return self._made(Site(scope, graph, value.inputs[0])) if value.inputs and node.args else None
        if path is not None and value.kind == path and _is_layer(path):
            return [Made(path, None, node, scope.statement, graph.local)]
        if value.kind == "instance" and isinstance(node.func, ast.Name):
            found = self._instance(node, scope.statement, graph.local)
            return [found] if found is not None else None
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SAME_OBJECT and value.inputs:
            same = value.inputs[0]
            return self._made(Site(scope, graph, same)) if path is None else None
        return None

    def _all(self, sites: Iterable[Site]) -> list[Made] | None:
        found: list[Made] = []
        for site in sites:
            made = self._made(site)
            if made is None:
                return None
            found += made
        return found

    def _instance(self, call: ast.Call, statement: Statement, hidden: frozenset[str]) -> Made | None:
        if not isinstance(call.func, ast.Name) or call.func.id in hidden:
            return None
        node = self.module.names.local_class(call.func.id)
        self.module.mentions.has_word(call.func.id)
        cls = self.module.classes.by_node.get(node) if node is not None else None
        return Made(None, cls, call, statement, hidden) if cls is not None else None

    def _constructed(self, node: ast.expr, statement: Statement, hidden: frozenset[str]) -> Made | None:
        """A constructor call outside a graph: what an attribute is assigned, an element of a literal."""
        while True:
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Call() as inner, attr=attr)) if attr in _SAME_OBJECT:
                    node = inner
                case ast.Call() if resolve(node.func, self.module.names, hidden) in WRAPPERS and node.args:
                    node = node.args[0]
                case _:
                    break
        if not isinstance(node, ast.Call):
            return None
        path = resolve(node.func, self.module.names, hidden)
        if path is not None:
            return Made(path, None, node, statement, hidden) if _is_layer(path) else None
        return self._instance(node, statement, hidden)

    def _attribute(self, name: str, owner: ClassInfo | None) -> Made | None:
        """What `self.<name>` holds, where one assignment in `__init__` is all that sets it."""
        layer = owner.layers.get(name) if owner is not None else None
        if owner is None or layer is None or layer.unknown is not None:
            return None
        family = {member.node for member in owner.family}
        for mention in self.module.mentions.of_attribute(name):
            if isinstance(mention.node.ctx, ast.Load):
                parent = mention.parent
                grows = isinstance(parent, ast.Attribute) and parent.attr in _GROWING
                if (mention.owner is None or mention.owner in family) and grows:
                    return None
                continue
            same = mention.owner is None or mention.owner in family
            targets = layer.assignment.targets if isinstance(layer.assignment, ast.Assign) else []
            if isinstance(layer.assignment, ast.AnnAssign):
                targets = [layer.assignment.target]
            if same and mention.node not in targets:
                return None
        value = layer.assignment.value if isinstance(layer.assignment, ast.Assign | ast.AnnAssign) else None
        hidden = frozenset(local_names(layer.init, layer.statement)) | layer.owner.hidden
        if isinstance(value, ast.Name):
            return self._kept_parameter(layer, value.id)
        found = self._constructed(value, layer.statement, hidden) if value is not None else None
        if found is None:
            return None
        return Made(found.kind, found.cls, found.call, found.statement, found.hidden, layer)

    def _kept_parameter(self, layer: Layer, name: str) -> Made | None:
        """What `self.model = model` holds, by what the class is made with."""
        scope = next((one for one in self.module.scopes(layer.statement) if one.function is layer.init), None)
        if scope is None or layer.init.name != "__init__" or not self._is_new(layer):
            return None
        graph = self.module.graph(scope)
        if graph.opaque is not None or any(_binds(node, name) for node in ast.walk(layer.init)):
            return None
        found = self._parameter(scope, name)
        if not found or any(one.call is not found[0].call for one in found):
            return None
        return found[0]

    def _global(self, name: str) -> list[Made] | None:
        """What a module-level name holds, whichever of its assignments came last."""
        module = self.module
        binding = module.names.bindings.get(name)
        if binding is None or binding.origin is not None or binding.local is not None or binding.alias is not None:
            return None
        if not self._is_new("global", name):
            return []
        found: list[Made] = []
        for statement in module.mentions.statements_with(name):
            if name in statement.masked_words or _rebinds_global(statement, name):
                return None
            for scope in module.scopes(statement):
                if scope.name or scope.owner is not None:
                    continue
                targets = [node for node in _own_nodes(scope.function) if _binds(node, name)]
                if not targets:
                    continue
                graph = module.graph(scope)
                values = _assigned(scope.function, name)
                if graph.opaque is not None or len(values) != len(targets):
                    return None
                for node in values:
                    made = self._of_node(scope, graph, node)
                    if made is None:
                        return None
                    found += [
                        Made(one.kind, one.cls, one.call, one.statement, one.hidden, one.layer, name) for one in made
                    ]
        return found

    def _of_node(self, scope: Scope, graph: Graph, node: ast.expr) -> list[Made] | None:
        if isinstance(node, ast.Name):
            return self._global(node.id) if node.id not in scope.enclosing else None
        value = value_of(graph, node)
        return self._made(Site(scope, graph, value)) if value is not None else None

    def _parameter(self, scope: Scope, name: str) -> list[Made] | None:
        """What a parameter holds, by every call of the function in the file."""
        function, module = scope.function, self.module
        if not self._is_new("parameter", function, name):
            return []
        if not is_plain(self.module, function) or not function.name or function.name == "<lambda>":
            return None
        arguments = [*function.args.posonlyargs, *function.args.args]
        called_name = function.name
        if scope.owner is not None:
            if function.name != "__init__" or scope.owner.descendants:
                return None
            arguments = arguments[1:]
            called_name = scope.owner.name
        elif function not in scope.statement.body:
            return None
        module.mentions.has_word(called_name)
        if module.names.bindings.get(called_name) is None or self._handed_around(called_name):
            return None
        position = next((at for at, one in enumerate(arguments) if one.arg == name), None)
        if position is None and not any(one.arg == name for one in function.args.kwonlyargs):
            return None
        calls = [one for one in module.mentions.calls_of(called_name) if isinstance(one.node.func, ast.Name)]
        if not calls:
            return None
        found: list[Made] = []
        for called in calls:
            site = self.site_of(called)
            value = given(site.value, position if position is not None else 10**6, name) if site is not None else None
            if site is None or value is None:
                return None
            made = self._made(Site(site.scope, site.graph, value))
            if made is None:
                return None
            found += made
        return found

    def _handed_around(self, name: str) -> bool:
        """Whether a function or class of the file is used otherwise than by calls of its name."""
        for statement in self.module.mentions.statements_with(name):
            if name in statement.masked_words:
                return True
            for node, parent in parents_of(statement).items():
                if not (isinstance(node, ast.Name) and node.id == name):
                    continue
                called = isinstance(parent, ast.Call) and parent.func is node
                if not called and not names_a_class(parent) and not is_hidden(statement, node, name, None):
                    return True
        return False

    def site_of(self, called: Called) -> Site | None:
        """A call as a value of the function that it stands in."""
        for scope in self.module.scopes(called.statement):
            if called.function is None and scope.name:
                continue
            first, last = scope.function.lineno, scope.function.end_lineno or 0
            if not first <= called.node.lineno <= last:
                continue
            graph = self.module.graph(scope)
            value = value_of(graph, called.node) if graph.opaque is None else None
            if value is not None:
                return Site(scope, graph, value)
        return None

    # -- what made a value

    def activation_before(self, loss: Loss) -> Activation | None:
        """The activation whose result a loss is given."""
        return self.activation(Site(loss.site.scope, loss.site.graph, loss.first))

    def activation(self, site: Site, returned: int | None = None, depth: int = _DEPTH) -> Activation | None:
        """The activation whose result a value is, reshaped perhaps; None where another value may come the same way."""
        value, scope, graph = site.value, site.scope, site.graph
        reshaped = False
        while True:
            if value.kind == "unpack" and value.index is not None and returned is None and value.inputs:
                returned = value.index
                value = value.inputs[0]
            elif reshapes(value):
                index = value.inputs[1].constant if value.kind == "getitem" and len(value.inputs) == 2 else None
                inner = value.inputs[0]
                if type(index) is int and returned is None and self._yields_tuple(scope, graph, inner):
                    returned = index
                else:
                    reshaped = True
                value = inner
            else:
                break
        if depth <= 0:
            return None
        found = self._activation(Site(scope, graph, value), returned, depth)
        return replace(found, reshaped=True) if found is not None and reshaped else found

    def _yields_tuple(self, scope: Scope, graph: Graph, value: Value) -> bool:
        cls = self.model(Site(scope, graph, value))
        forward = self._forward(cls) if cls is not None else None
        return forward is not None and all(
            isinstance(node.value, ast.Tuple)
            for node in _own_nodes(forward[0].function)
            if isinstance(node, ast.Return)
        )

    def _activation(self, site: Site, returned: int | None, depth: int) -> Activation | None:
        value, node, statement = site.value, site.value.node, site.scope.statement
        if not isinstance(node, ast.Call):
            return None
        if value.layer is None and value.kind in ACTIVATIONS and not isinstance(node.func, ast.Call):
            return Activation(ACTIVATIONS[value.kind], node, statement, site) if returned is None else None
        cls = self.model(site)
        if cls is not None:
            return self._returned_by(cls, returned, depth)
        made = self.callee(site)
        if made is None or made.kind is None or returned is not None:
            return None
        if made.kind in ACTIVATIONS:
            return Activation(ACTIVATIONS[made.kind], node, statement, site, made)
        if made.kind == SEQUENTIAL:
            return self._last(made, made, site, depth)
        return None

    def model(self, site: Site) -> ClassInfo | None:
        """The class whose `forward` a call runs."""
        value, node = site.value, site.value.node
        if not isinstance(node, ast.Call) or value.kind not in ("call", "instance"):
            return None
        owner, function = site.scope.owner, site.scope.function
        me = next((one.arg for one in [*function.args.posonlyargs, *function.args.args]), None)
        if owner is not None and me is not None and owner.is_module and not owner.descendants:
            match node.func:
                case ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name), attr="forward") if name == me:
                    return owner
                case _:
                    pass
        made = self.callee(site)
        return made.cls if made is not None else None

    def _forward(self, cls: ClassInfo) -> tuple[Scope, Graph] | None:
        """The `forward` of a class, its own or an inherited one."""
        for member in (cls, *cls.ancestors):
            self.module.mentions.has_word(member.name)
            if "__call__" in member.methods or member.node.keywords:
                return None
            function = member.methods.get("forward")
            if function is None:
                continue
            scope = next((one for one in self.module.scopes(member.statement) if one.function is function), None)
            if scope is None or isinstance(function, ast.AsyncFunctionDef) or function.decorator_list:
                return None
            graph = self.module.graph(scope)
            return (scope, graph) if graph.opaque is None else None
        return None

    def _returned_by(self, cls: ClassInfo, returned: int | None, depth: int) -> Activation | None:
        """The activation that every `return` of a model's `forward` hands on."""
        if not cls.is_module:
            return None
        found = self._forward(cls)
        if found is None:
            return None
        scope, graph = found
        own = list(_own_nodes(scope.function))
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own):
            return None
        values: list[Value] = []
        for node in own:
            if isinstance(node, ast.Return):
                held = [one for one in graph.values if any(use.node is node for use in one.uses)]
                held = [one for one in held if any(_returns(use.how, use.node, node) for use in one.uses)]
                if len(held) != 1:
                    return None
                values += held
        activations: list[Activation] = []
        for value in values:
            index = returned
            if index is not None:
                tuples = value.kind == "container" and isinstance(value.node, ast.Tuple | ast.List)
                if tuples and not any(one.kind == "starred" for one in value.inputs):
                    if not -len(value.inputs) <= index < len(value.inputs):
                        return None
                    value, index = value.inputs[index], None
            one = self.activation(Site(scope, graph, value), index, depth - 1)
            if one is None:
                return None
            activations.append(one)
        if not activations or any(one.kind != activations[0].kind for one in activations):
            return None
        first = activations[0]
        if any(one.node is not first.node for one in activations):
            return None
        return replace(first, models=(cls, *first.models), returned=returned)

    def _last(self, made: Made, outermost: Made, site: Site, depth: int) -> Activation | None:
        """The last element of a `nn.Sequential`, of those that compute something."""
        if depth <= 0:
            return None
        reshaped = False
        for element in reversed(self._elements(made)):
            inner = self._constructed(element, made.statement, made.hidden) if element is not None else None
            if element is None or inner is None:
                return None
            if inner.kind == "torch.nn.Identity" or inner.kind in _RESHAPING_LAYERS:
                reshaped = reshaped or inner.kind in _RESHAPING_LAYERS
                continue
            found: Activation | None = None
            kind = ACTIVATIONS.get(inner.kind or "")
            if inner.kind == SEQUENTIAL:
                found = self._last(inner, outermost, site, depth - 1)
            elif kind is not None:
                found = Activation(kind, element, made.statement, site, inner, outermost)
            elif inner.cls is not None:
                found = self._returned_by(inner.cls, None, depth - 1)
            return replace(found, reshaped=True) if found is not None and reshaped else found
        return None

    def _elements(self, made: Made) -> list[ast.expr | None]:
        """The elements of `nn.Sequential(...)`, as far as they are told; None for those that the source hides."""
        call = made.call
        if call.keywords:
            return [None]
        only = call.args[0] if len(call.args) == 1 else None
        if isinstance(only, ast.Starred) and isinstance(only.value, ast.Name):
            return [None, *self._grown(made)]
        if isinstance(only, ast.Call) and resolve(only.func, self.module.names, made.hidden) == _ORDERED:
            pairs = only.args[0] if len(only.args) == 1 and not only.keywords else None
            listed = pairs.elts if isinstance(pairs, ast.List | ast.Tuple) else [None]
            return [one.elts[1] if isinstance(one, ast.Tuple) and len(one.elts) == 2 else None for one in listed]
        found: list[ast.expr | None] = []
        for one in call.args:
            inner = one.value if isinstance(one, ast.Starred) else None
            if isinstance(inner, ast.List | ast.Tuple):
                found += [None if isinstance(each, ast.Starred) else each for each in inner.elts]
            else:
                found.append(None if inner is not None else one)
        return found

    def _grown(self, made: Made) -> list[ast.expr]:
        """What a list that becomes a `nn.Sequential` gets last, in the block where it becomes it."""
        runs = [
            literal
            for scope in self.module.scopes(made.statement)
            for literal in literals(self.module, scope)
            if literal.run and literal.call is made.call
        ]
        if not runs:
            return []
        nodes = [one.node for one in runs[-1].elements]
        behind = [one for one in around(made.statement, made.call) if isinstance(one, ast.stmt)]
        for node in nodes:
            before = [one for one in around(made.statement, node) if isinstance(one, ast.stmt)]
            if before[1:] != behind[1:]:
                return []
        return nodes


def reshapes(value: Value) -> bool:
    """Whether a call or subscript hands on the same elements, or some of them."""
    if value.kind not in _RESHAPES or not value.inputs or not isinstance(value.node, ast.Call | ast.Subscript):
        return False
    return not any((one.path or "").startswith("torch.") for one in value.inputs[1:])  # `x.view(torch.int32)`


def dim_of(activation: Activation, *, alone: bool = True) -> int | str | None:
    """The dimension that a softmax goes over; None where none is given, "?" where it is no literal.

    Where it must be `alone`, also "?" where more is given, such as a dtype.
    """
    made, node = activation.made, activation.node
    if made is not None:
        bound, keywords = made.call.args, made.call.keywords
    else:
        assert isinstance(node, ast.Call)
        assert activation.call is not None
        method = len(activation.call.value.inputs) == len(node.args) + 1
        bound, keywords = node.args if method else node.args[1:], node.keywords
    named = [one for one in keywords if one.arg != "input"]
    if alone and (len(bound) + len(named) > 1 or any(one.arg != "dim" for one in named)):
        return "?"
    if any(isinstance(one, ast.Starred) for one in bound) or any(one.arg is None for one in named):
        return "?"
    dim = (*bound[:1], *(one.value for one in named if one.arg == "dim"))
    if not dim:
        return None
    if isinstance(dim[0], ast.Constant) and dim[0].value is None:
        return None
    number = integer(dim[0])
    return number if number is not None else "?"


_MODES = frozenset({"torch.no_grad", "torch.inference_mode", "torch.enable_grad"})


def is_plain(module: Module, function: Function) -> bool:
    """Whether a call of a function runs just it: no decorator but those of torch that switch gradients."""
    for decorator in function.decorator_list:
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        if resolve(named, module.names) not in _MODES:
            return False
    return True


def names_a_class(parent: ast.AST) -> bool:
    """Whether a class is named there for its own sake: `super(Net, self)`, an annotation."""
    match parent:
        case ast.Call(func=ast.Name(id="super" | "isinstance")) | ast.arg() | ast.AnnAssign():
            return True
        case _:
            return False


def value_of(graph: Graph, node: ast.expr) -> Value | None:
    """The value that a node yields in a graph."""
    return next((one for one in graph.values if one.node is node), None)


def _returns(how: Consumption, node: ast.AST | None, statement: ast.Return) -> bool:
    return how is Consumption.RETURNED and node is statement


def _is_layer(path: str) -> bool:
    return path.startswith("torch.nn.") and path.rpartition(".")[2][:1].isupper() and "functional" not in path


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function, those of the functions and classes in it aside."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, Function | ast.ClassDef):
            continue
        yield node
        if not isinstance(node, ast.Lambda):
            stack += list(ast.iter_child_nodes(node))


def _binds(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)


def _assigned(function: Function, name: str) -> list[ast.expr]:
    """What plain assignments of a function give a name."""
    found: list[ast.expr] = []
    for node in _own_nodes(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found.append(value)
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                found.append(value)
            case _:
                pass
    return found


def _rebinds_global(statement: Statement, name: str) -> bool:
    if "global" not in statement.text:
        return False
    return any(isinstance(node, ast.Global) and name in node.names for top in statement.body for node in ast.walk(top))


__all__ = [
    "ACTIVATIONS", "LOSS_FUNCTIONS", "LOSS_LAYERS", "LOSS_WORDS", "SEQUENTIAL", "WRAPPERS", "Activation", "Criteria",
    "Loss", "Made", "Site", "dim_of", "given", "is_plain", "may_lose", "names_a_class", "reshapes", "value_of",
]  # fmt: skip
