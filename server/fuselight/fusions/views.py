"""Would a value's consumers notice that it is a slice of a larger tensor? A split yields views of one memory.

Two things differ. A slice along the last dimension is not contiguous: it can be viewed with that dimension split
(`view(B, T, heads, -1)`), but not with it merged into the ones before (`view(B, -1)`). A slice along the channels of
images can be viewed with all but the batch merged (`view(N, -1)`), but not with the batch merged into the channels. And
autograd lets nobody write in place to an output of a split. So a value is followed wherever it goes in the file, under
every name and view of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import Enum

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.fusions.writes import works_in_place
from fuselight.graph.classes import ClassInfo
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Graph, Value
from fuselight.source.nodes import walk

_SAME_SHAPE = frozenset(
    "torch.nn.Identity dropout joined container unpacked starred torch.clone torch.utils.checkpoint.checkpoint".split()
) | {"method to", "method float", "method half", "method type", "method type_as", "method bfloat16", "method double"}
"""Kinds whose result may be the value itself."""

_OWN_MEMORY = frozenset({"method contiguous", "contiguous", "method clone", "clone", "method repeat", "repeat"})
"""Kinds whose result is contiguous, or memory of its own in the order of its dimensions."""

_NEEDS_STRIDES = frozenset({"torch.view_as_complex", "torch.view_as_real", "torch.as_strided"})
_STRIDES = frozenset(
    "view_as as_strided stride is_contiguous storage_offset data_ptr storage untyped_storage set_ resize_".split()
)
_IN_PLACE_METHOD = re.compile(r"[a-z]\w*[a-z0-9]_")
_BATCHES = frozenset("b bs bsz n B N batch batch_size num_samples".split())
_DEEPEST = 3


class Lies(Enum):
    """How a value would lie in memory."""

    IN_FEATURES = "a slice along the last dimension"
    IN_CHANNELS = "a slice along the channels, behind the batch"
    ANYHOW = "its dimensions in another order"


def needs_contiguous(
    module: Module,
    scope: Scope,
    graph: Graph,
    value: Value,
    width: ast.expr | None,
    lies: Lies = Lies.IN_FEATURES,
    label: str = "",
    replaced: Function | None = None,
    gone: frozenset[Function] = frozenset(),
) -> Refusal | None:
    """Why `value`, the output of a layer of `width` features or channels, must stay a tensor of its own.

    `replaced` is a function whose own views of what it is given go with the edit; `gone` are those that nobody calls
    any more.
    """
    label = label or (value.layer.attribute if value.layer is not None else "it")
    text = ast.unparse(width) if width is not None else ""
    return _Follow(module, label, text, lies, replaced, gone).follow(scope, graph, value, 0)


def captured_needs_contiguous(module: Module, graph: Graph, body: ast.expr, lies: Lies, label: str) -> Refusal | None:
    """As `needs_contiguous`, of a value that a comprehension or lambda takes through `body`."""
    return _Follow(module, label, "", lies).captured(graph, body)


class _Follow:
    def __init__(
        self,
        module: Module,
        label: str,
        width: str,
        lies: Lies,
        replaced: Function | None = None,
        gone: frozenset[Function] = frozenset(),
    ) -> None:
        self.module = module
        self.gone = gone
        self.replaced = replaced
        self.label = label
        self.width = width
        self.lies = lies
        self.seen: set[tuple[str, int]] = set()

    def follow(self, scope: Scope, graph: Graph, value: Value, depth: int) -> Refusal | None:
        """Follow `value` through the function of `graph`; `depth` counts the calls on the way."""
        key = (scope.name, value.order)
        if key in self.seen:
            return None
        self.seen.add(key)
        for write in graph.writes:
            # Its own number: not the memory that all parameters may share.
            if write.sure and value.order in write.roots:
                return self._written(graph, write.node)
        visited: set[int] = set()
        waiting = [(value, True)]
        while waiting:
            one, whole = waiting.pop()
            if one.order in visited:
                continue
            visited.add(one.order)
            for use in one.uses:
                if use.how is Consumption.METADATA and self._asks_for_strides(use.node):
                    return self._viewed(graph, use.node)
                if use.how in (Consumption.RETURNED, Consumption.STORED):
                    refusal = self._kept(use.node) if isinstance(use.node, ast.Attribute) else None
                    refusal = refusal or self._given_away(scope, use.how)
                    if refusal is not None:
                        return refusal
                if use.how is Consumption.CAPTURED or (use.by is None and use.how is Consumption.INPUT):
                    refusal = self.captured(graph, use.node)
                    if refusal is not None:
                        return refusal
                by = use.by
                if by is None or by.order == one.order:
                    continue
                if by.kind == "call" or by.kind == "instance":
                    refusal = self._called(scope, graph, by, one, depth)
                    if refusal is not None:
                        return refusal
                    continue
                if by.kind in _NEEDS_STRIDES or self._asks_for_strides(by.node):
                    return self._viewed(graph, by.node)
                if by.kind in _OWN_MEMORY or value.order not in by.roots:
                    continue
                if by.kind == "method view" and by.inputs[0] is one:
                    if not whole or not self._can_be(by):
                        return self._viewed(graph, by.node)
                    waiting.append((by, False))
                    continue
                same = (
                    by.kind in _SAME_SHAPE or "Dropout" in by.kind or (by.kind == "unpack" and one.kind == "container")
                )
                waiting.append((by, whole and same))
        return None

    # -- refusals

    def _viewed(self, graph: Graph, node: ast.AST | None) -> Refusal:
        at = Place(graph.statement, node) if isinstance(node, ast.expr | ast.stmt) else None
        return Refusal(f"the output of `{self.label}` is viewed in a way that may need contiguous memory", at)

    def _written(self, graph: Graph, node: ast.AST | None) -> Refusal:
        at = Place(graph.statement, node) if isinstance(node, ast.expr | ast.stmt) else None
        return Refusal(f"the output of `{self.label}` is written to in place", at)

    @staticmethod
    def _asks_for_strides(node: ast.AST | None) -> bool:
        """Whether a call sees how its tensor lies in memory."""
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _STRIDES

    # -- views

    def _can_be(self, view: Value) -> bool:
        """Whether a `.view(...)` of the value is possible as it would lie in memory."""
        if self.lies is Lies.IN_FEATURES:
            return self._keeps_last(view)
        sizes = view.inputs[1:]
        if len(sizes) == 1 and sizes[0].kind == "container":
            sizes = sizes[0].inputs
        if self.lies is not Lies.IN_CHANNELS or len(sizes) < 2 or not _is_size(sizes[0], 0):
            return False
        return sizes[0].kind != "parameter" or sizes[0].path in _BATCHES

    def _keeps_last(self, view: Value) -> bool:
        """Whether a `.view(...)` of a (..., width) tensor leaves its last dimension whole or splits it."""
        node = view.node
        assert isinstance(node, ast.Call)
        arguments = list(node.args)
        sizes = list(view.inputs[1:])
        if len(arguments) == 1 and len(sizes) == 1:
            shape = sizes[0].inputs[0] if sizes[0].kind == "starred" else sizes[0]
            if shape.kind == "container" and isinstance(shape.node, ast.Tuple | ast.List):
                arguments, sizes = shape.node.elts, list(shape.inputs)
            else:
                return shape.kind == "add" and _is_leading_shape(shape.inputs[0])
        if not arguments or len(arguments) != len(sizes):
            return False
        if isinstance(arguments[0], ast.Starred):
            return _is_leading_shape(sizes[0])
        if len(arguments) == 1:
            return False
        last = ast.unparse(arguments[-1])
        if self._makes_up_width(arguments):
            return True
        if len(arguments) == 2:
            return last == self.width
        leading = [_is_size(size, at) for at, size in enumerate(sizes[:2])]
        if len(arguments) == 3:
            return last == self.width or (last == "-1" and all(leading))
        second = leading[1] or ast.unparse(arguments[1]) == "-1"
        first = leading[0] or (ast.unparse(arguments[0]) == "-1" and leading[1])
        return first and second

    def _makes_up_width(self, arguments: list[ast.expr]) -> bool:
        """Whether the last sizes are numbers whose product is the width: they split the last dimension exactly."""
        if not self.width.isdigit():
            return False
        product = 1
        for argument in reversed(arguments[1:]):
            if not (isinstance(argument, ast.Constant) and type(argument.value) is int):
                return False
            product *= argument.value
            if product == int(self.width):
                return True
        return False

    # -- where the file takes it

    def captured(self, graph: Graph, node: ast.AST | None) -> Refusal | None:
        """A comprehension or nested function that gets the value: every view in it must split the last dimension."""
        around = node
        if isinstance(node, ast.Name):
            inner = (one for one in ast.walk(graph.function) if isinstance(one, _INNER) and one is not graph.function)
            around = next((one for one in inner if any(part is node for part in ast.walk(one))), None)
        for one in ast.walk(around) if around is not None else ():
            if not (isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)):
                continue
            if _IN_PLACE_METHOD.fullmatch(one.func.attr):
                return self._written(graph, one)
            short = len(one.args) < 4 or any(isinstance(argument, ast.Starred) for argument in one.args)
            short = short or self.lies is not Lies.IN_FEATURES
            if one.func.attr in _STRIDES or (one.func.attr == "view" and short):
                return self._viewed(graph, one)
        return None

    def _called(self, scope: Scope, graph: Graph, by: Value, one: Value, depth: int) -> Refusal | None:
        """A function, method or module that gets the value: followed where the file has it."""
        node = by.node
        if not isinstance(node, ast.Call):
            return None
        if self._asks_for_strides(node):
            return self._viewed(graph, node)
        method = isinstance(node.func, ast.Attribute) and by.inputs[:1] == (one,) and by.layer is None
        if method and isinstance(node.func, ast.Attribute) and _IN_PLACE_METHOD.fullmatch(node.func.attr):
            return self._written(graph, node)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, ast.Lambda):
                refusal = self.captured(graph, argument)
                if refusal is not None:
                    return refusal
        callee = self._callee(scope, graph, by, node.func)
        if callee is None:
            # Of what another file defines nothing is seen. It writes in place only if this file lets it.
            if works_in_place(self.module):
                return Refusal(
                    f"the output of `{self.label}` may be written to in place by `{ast.unparse(node.func)[:60]}`",
                    Place(graph.statement, node),
                )
            return None
        inner, skipped, named = callee
        if depth >= _DEEPEST:
            return self._viewed(graph, node)
        parameter = _parameter(inner, node, by, one, skipped, named)
        below = self.module.graph(inner)
        if parameter is None or below.opaque is not None:
            return self._viewed(graph, node)
        received = next((value for value in below.of_kind("parameter") if value.path == parameter), None)
        return self._viewed(graph, node) if received is None else self.follow(inner, below, received, depth + 1)

    def _callee(self, scope: Scope, graph: Graph, by: Value, func: ast.expr) -> tuple[Scope, int, bool] | None:
        """The function of the file that is called, how many parameters the call leaves out, and whether by its name."""
        if isinstance(func, ast.Name):
            if func.id not in graph.local and func.id not in self.module.names.bindings:
                return None
            here = self.module.scopes(scope.statement)
            found = next((one for one in here if one.name == f"{scope.name}.{func.id}"), None)
            binding = self.module.names.bindings.get(func.id)
            if found is None and binding is not None and isinstance(binding.local, Function):
                self.module.mentions.has_word(func.id)  # what is found rests on the statement that defines it
                found = self._scope_of(binding.local)
            return (found, 0, True) if found is not None else None
        if scope.owner is None or not (isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name)):
            return None
        if func.value.id != "self":
            return None
        for member in (scope.owner, *scope.owner.ancestors):
            method = member.methods.get(func.attr)
            if method is not None:
                static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in method.decorator_list)
                return self._method(member, method, 0 if static else 1)
        layer = scope.owner.layers.get(func.attr)
        if layer is not None and layer.constructor is not None and isinstance(layer.constructor.func, ast.Name):
            info = self._class(layer.constructor.func.id)
            if info is not None and "forward" in info.methods:
                return self._method(info, info.methods["forward"], 1)
        return None

    def _class(self, name: str) -> ClassInfo | None:
        self.module.mentions.has_word(name)  # what is found rests on the statement that defines it
        node = self.module.names.local_class(name)
        return self.module.classes.by_node.get(node) if node is not None else None

    def _method(self, info: ClassInfo, method: Function, skipped: int) -> tuple[Scope, int, bool] | None:
        found = next((one for one in self.module.scopes(info.statement) if one.function is method), None)
        return (found, skipped, False) if found is not None else None

    def _scope_of(self, function: Function) -> Scope | None:
        home = self.module.home_of(function)
        if home is None:
            return None
        return next((one for one in self.module.scopes(home) if one.function is function), None)

    def _scopes(self) -> Iterator[Scope]:
        self.module.mentions.look_at_everything()
        for statement in self.module.statements:
            yield from self.module.scopes(statement)

    def _kept(self, target: ast.Attribute) -> Refusal | None:
        """The value is kept in an attribute: nobody in the file writes to that, or views it flat."""
        for mention in self.module.mentions.of_attribute(target.attr):
            parent = mention.parent
            written = isinstance(parent, ast.AugAssign) or isinstance(mention.node.ctx, ast.Del)
            if isinstance(parent, ast.Subscript):
                written = not isinstance(parent.ctx, ast.Load)
            if isinstance(parent, ast.Attribute):
                written = _IN_PLACE_METHOD.fullmatch(parent.attr) is not None or parent.attr in (*_STRIDES, "view")
            if written:
                return Refusal(
                    f"the output of `{self.label}`, kept in `{target.attr}`, may be written to or viewed flat",
                    Place(mention.statement, mention.node),
                )
        return None

    def _given_away(self, scope: Scope, how: Consumption) -> Refusal | None:
        """The value leaves the function: nobody in the file who may receive it writes to it or views it flat."""
        callers = {scope.name.rpartition(".")[2]} if how is Consumption.RETURNED else set[str]()
        anybody = how is Consumption.STORED or bool(callers & {"forward", "__call__"})
        for other in self._scopes() if anybody else self._callers(callers):
            if other.function is scope.function or other.function in self.gone:
                continue
            wanted = None if how is Consumption.STORED or callers & {"forward", "__call__"} else callers
            node = _Receiver(self.module, wanted, self.lies, self.replaced).misuse(other.function)
            if node is not None:
                return Refusal(
                    f"the output of `{self.label}` may be written to, or viewed flat, in `{other.name}`",
                    Place(other.statement, node) if isinstance(node, ast.expr | ast.stmt) else None,
                )
        return None

    def _callers(self, names: set[str]) -> Iterator[Scope]:
        """The functions that call one of `names`."""
        for called in self.module.mentions.calls_of(*names):
            yield from (one for one in self.module.scopes(called.statement) if one.function is called.function)


_INNER = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)


def _is_size(value: Value, index: int) -> bool:
    """Whether a value is size `index` of a tensor: `x.size(1)`, `x.shape[1]`, the second of `B, T, C = x.shape`.

    A parameter of the function is taken for one: helpers are handed the sizes.
    """
    if value.kind == "parameter":
        return True
    if value.kind == "metadata" and len(value.inputs) == 2:
        return value.inputs[1].constant == index
    if value.kind == "unpack" and value.inputs:
        return value.index == index and _starts_with_shape(value.inputs[0])
    if value.kind == "getitem" and len(value.inputs) == 2:
        return value.inputs[1].constant == index and _is_shape(value.inputs[0])
    return False


def _starts_with_shape(value: Value) -> bool:
    """Whether a value is a shape, a shape cut at its end (`x.shape[:2]`), or a tuple that begins with one."""
    if value.kind == "container" and value.inputs and value.inputs[0].kind == "starred":
        return _starts_with_shape(value.inputs[0].inputs[0])
    if value.kind == "getitem" and isinstance(value.node, ast.Subscript) and isinstance(value.node.slice, ast.Slice):
        lower, step = value.node.slice.lower, value.node.slice.step
        return lower is None and step is None and _is_shape(value.inputs[0])
    return _is_shape(value)


def _is_shape(value: Value) -> bool:
    if value.kind == "metadata":
        return len(value.inputs) == 1
    return value.kind == "attribute" and getattr(value.node, "attr", "") == "shape"


def _is_leading_shape(value: Value) -> bool:
    """Whether a value is the shape of a tensor without its last dimension: `x.shape[:-1]`, `x.size()[:-1]`."""
    if value.kind == "starred" and value.inputs:
        return _is_leading_shape(value.inputs[0])
    if value.kind != "getitem" or not isinstance(value.node, ast.Subscript) or not _is_shape(value.inputs[0]):
        return False
    return ast.unparse(value.node.slice) in (":-1", "0:-1")


def _parameter(inner: Scope, node: ast.Call, by: Value, one: Value, skipped: int, named: bool) -> str | None:
    """The parameter of `inner` that gets `one` in the call `node`; None where that cannot be told."""
    if any(isinstance(argument, ast.Starred) for argument in node.args):
        return None
    given = list(by.inputs[1:] if named else by.inputs)
    position = next((at for at, value in enumerate(given) if value is one), None)
    if position is None:
        return None
    if position >= len(node.args):
        keywords = [keyword.arg for keyword in node.keywords]
        return keywords[position - len(node.args)] if position - len(node.args) < len(keywords) else None
    names = [argument.arg for argument in (*inner.function.args.posonlyargs, *inner.function.args.args)][skipped:]
    return names[position] if position < len(names) else None


class _Receiver:
    """A function that gets a value as the result of a call: under which names, and what it does with them.

    `wanted` are the last components of what is called; None for any call.
    """

    def __init__(self, module: Module, wanted: set[str] | None, lies: Lies, replaced: Function | None = None) -> None:
        self.module = module
        self.replaced = replaced
        self.wanted = wanted
        self.lies = lies
        self.names: set[str] = set()

    def misuse(self, function: Function, given: frozenset[str] = frozenset()) -> ast.AST | None:
        """Where `function` writes to the value in place, or needs it contiguous; `given` are parameters that get it."""
        self.names = set(given)
        nodes = walk(function)
        known = -1
        while known != len(self.names):
            known = len(self.names)
            for node in nodes:
                self._bind(node)
        found = next((node for node in nodes if self._spoils(node)), None)
        return found if found is not None or given else next(self._handed_on(nodes), None)

    def _bind(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                pass
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                targets = [target]
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                targets = [target]
            case _:
                return
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
        if any(self._is_it(part) for part in parts):
            for target in targets:
                # What an attribute or an element is assigned to stays what it is.
                stack: list[ast.expr] = [target]
                while stack:
                    one = stack.pop()
                    if isinstance(one, ast.Name):
                        self.names.add(one.id)
                    elif isinstance(one, ast.Tuple | ast.List):
                        stack += one.elts
                    elif isinstance(one, ast.Starred):
                        stack.append(one.value)

    def _is_it(self, node: ast.expr) -> bool:
        """Whether an expression is the value, an element of it, or something that yields its elements."""
        while True:
            match node:
                case ast.Name():
                    return node.id in self.names
                case ast.Subscript(value=inner) | ast.Starred(value=inner) | ast.Await(value=inner):
                    node = inner
                case ast.Call(func=ast.Attribute(value=inner, attr="items" | "values" | "unbind" | "split" | "chunk")):
                    node = inner
                case ast.Call(func=ast.Name(id="zip" | "enumerate" | "reversed" | "list" | "tuple" | "iter")):
                    return any(self._is_it(one) for one in node.args)
                case ast.Call(func=func):
                    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", None)
                    return name is not None if self.wanted is None else name in self.wanted
                case _:
                    return False

    def _spoils(self, node: ast.AST) -> bool:
        match node:
            case ast.AugAssign(target=ast.Name() | ast.Subscript() as target):
                return self._is_kept(target)
            case ast.Assign(targets=targets):
                return any(isinstance(one, ast.Subscript) and self._is_kept(one.value) for one in targets)
            case ast.Call(func=ast.Attribute(value=value, attr=attribute)) if self._is_kept(value):
                short = attribute == "view" and (len(node.args) < 4 or self.lies is not Lies.IN_FEATURES)
                writes = _IN_PLACE_METHOD.fullmatch(attribute) is not None and attribute != "requires_grad_"
                return short or attribute in _STRIDES or writes
            case ast.Call(func=func, args=[first, *_], keywords=keywords) if self._is_kept(first):
                name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                return any(one.arg == "inplace" for one in keywords) or _IN_PLACE_METHOD.fullmatch(name) is not None
            case _:
                return False

    def _is_kept(self, node: ast.expr) -> bool:
        """Whether an expression is a name of the value, an element of one, or an element of a call's result."""
        base = node
        while isinstance(base, ast.Subscript | ast.Starred):
            base = base.value
        if isinstance(base, ast.Name):
            return base.id in self.names
        # Of other calls' results nothing is known here: only those that are asked for by name count.
        return isinstance(base, ast.Call) and self.wanted is not None and self._is_it(base)

    def _handed_on(self, nodes: list[ast.AST]) -> Iterator[ast.AST]:
        """Functions of the file that get the value from this one, and spoil it."""
        for node in nodes:
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            binding = self.module.names.bindings.get(node.func.id)
            if binding is None or not isinstance(binding.local, Function) or binding.local is self.replaced:
                continue
            if not any(self._is_kept(one) or (isinstance(one, ast.Starred) and self._is_it(one)) for one in node.args):
                continue
            self.module.mentions.has_word(node.func.id)
            arguments = binding.local.args
            names = frozenset(one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
            if _Receiver(self.module, set(), self.lies).misuse(binding.local, names) is not None:
                yield node
