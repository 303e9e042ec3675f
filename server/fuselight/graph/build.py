"""From a function's source to its values: evaluated block by block, opaque wherever the source does not tell."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from fuselight.graph.classes import ClassInfo, Layer, assigned_names, local_names, resolve
from fuselight.graph.effects import (
    VIEWING_LAYERS,
    asks_in_place,
    called_name,
    is_bare,
    made_in_place,
    writes_by_position,
)
from fuselight.graph.facts import facts_around
from fuselight.graph.kinds import (
    CONTAINERS,
    FRESH_KINDS,
    METADATA_ATTRIBUTES,
    METADATA_METHODS,
    OPERATORS,
    RIVAL_FRAMEWORKS,
    SWITCHES,
    is_in_place_name,
    is_pure_builtin,
    is_pure_function,
    is_pure_method,
    is_torch_layer,
    kind_of_function,
    kind_of_layer,
    kind_of_method,
)
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.values import ANYTHING, EXTERNAL, Block, Consumption, Graph, Use, Value, Write
from fuselight.source.names import Names, bound_names, dotted, import_bindings
from fuselight.source.nodes import walk
from fuselight.source.statements import Statement

_GROWING = frozenset({"append", "appendleft", "extend", "insert", "setdefault", "update"})
"""Methods that keep what they are given."""

_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.GeneratorExp, ast.ClassDef)
"""What runs later than where it stands, or may do so."""

_DYNAMIC = frozenset({"locals", "vars", "exec", "eval", "globals"})


def build_graph(
    function: Function,
    owner: ClassInfo | None,
    names: Names,
    statement: Statement,
    scope: str,
    enclosing: frozenset[str] = frozenset(),
) -> Graph:
    """The values of `function`, a method of `owner` or a function outside any class.

    `enclosing` are the names that the functions around it bind.
    """
    local = frozenset(local_names(function, statement)) | enclosing
    graph = Graph(function, owner, names, statement, local, scope)
    if statement.is_masked(function):
        graph.opaque = "a line of the function does not parse"
        return graph
    _Builder(graph).run()
    return graph


_NOTHING = frozenset[int]()


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names = graph.names
        self.env: dict[str, Value] = {}
        self.imported: dict[str, str] = {}
        self.foreign: set[str] = set()
        self.order = 0
        self.block: Block = Block(None, graph.function.body)
        self.statement: ast.stmt | None = None
        owner = graph.owner
        self.me = self_parameter(graph.function) if owner is not None else None
        self.layers: Mapping[str, Layer] = owner.layers if owner is not None else {}
        imports = self.names.imported_modules
        self.tensors = "torch" in imports and not imports & RIVAL_FRAMEWORKS
        self.escaped: set[int] = set()
        self.captured: set[str] = set()
        self.attributes: dict[str, int] = {}
        self.free: dict[str, Value] = {}
        """Names of the scopes around, as far as no call since could have bound them anew."""
        self.tried: list[dict[str, list[Value]]] = []
        """For every `try` around: what the names were bound to in it."""
        self.left: list[list[dict[str, Value]]] = []
        """For every loop around: what the names hold where a `break` or `continue` leaves its body."""
        self.own_calls: list[int] = []
        """Which writes are calls of `self`: they may write to every attribute, those first read later too."""

    def run(self) -> None:
        for name in _argument_names(self.graph.function.args):
            value = self._value("parameter", None)
            # `self` is no memory of its own: what hangs on it has roots by its attribute.
            value.roots = frozenset({EXTERNAL}) if name == self.me else value.roots | {EXTERNAL}
            value.path = name
            self.env[name] = value
        self.captured = self._read_by_inner_functions()
        self._suite(self.graph.function.body)
        attributes = frozenset(self.attributes.values())
        for at in self.own_calls:
            write = self.graph.writes[at]
            self.graph.writes[at] = Write(write.order, write.roots | attributes, write.node, write.sure)

    def _read_by_inner_functions(self) -> set[str]:
        """Names that nested functions, lambdas and generators read: they may read what is bound only later."""
        function, statement = self.graph.function, self.graph.statement
        text = statement.lines_of(function)
        inner = "class " in text or text.count("def ") > 1
        if not inner and facts_around(statement, function).signs.isdisjoint(_INNER):
            return set()
        within = [one for one in walk(function)[1:] if isinstance(one, _INNER)]
        return {name.id for one in within for name in walk(one) if isinstance(name, ast.Name)}

    # -- values

    def _value(
        self,
        kind: str,
        node: ast.expr | None,
        inputs: Iterable[Value] = (),
        roots: frozenset[int] | None = None,
    ) -> Value:
        self.order += 1
        if roots is None:
            roots = frozenset((self.order,))
        value = Value(kind, node, tuple(inputs), self.block, self.statement, self.order, roots)
        self.graph.values.append(value)
        alike = self.graph.by_kind.get(kind)
        if alike is None:
            self.graph.by_kind[kind] = [value]
        else:
            alike.append(value)
        return value

    def _use(self, value: Value, how: Consumption, by: Value | None = None, node: ast.AST | None = None) -> None:
        first = not value.uses
        value.uses.append(Use(how, by, node))
        if value.kind == "joined" and first:
            for source in value.inputs:
                self._use(source, Consumption.JOINED, value)
        if how in (Consumption.STORED, Consumption.CAPTURED, Consumption.RETURNED):
            self.escaped |= value.roots

    def _consume(self, value: Value) -> None:
        """Register the uses of a value's own inputs."""
        for source in (*value.inputs, *value.keywords.values()):
            self._use(source, Consumption.INPUT, value, source.node)

    def _write(self, roots: frozenset[int], node: ast.AST, sure: bool = True) -> None:
        self.order += 1
        if not sure:
            self.free.clear()
        if roots:
            self.graph.writes.append(Write(self.order, roots, node, sure))

    def _opaque(self, node: ast.expr | None, inputs: Iterable[Value] = ()) -> Value:
        sources = list(inputs)
        value = self._value("opaque", node, sources, self._alias(sources) | {ANYTHING})
        self._consume(value)
        return value

    def _joined(self, sources: list[Value]) -> Value:
        roots = self._alias(sources) or frozenset({ANYTHING})
        return self._value("joined", None, sources, roots)

    @staticmethod
    def _alias(values: Iterable[Value]) -> frozenset[int]:
        several = [value.roots for value in values]
        return several[0] if len(several) == 1 else _NOTHING.union(*several)

    # -- statements

    def _suite(self, body: list[ast.stmt]) -> bool:
        """Execute `body` in the present block; False when its end is never reached."""
        for statement in body:
            self.statement = statement
            if not self._execute(statement):
                return False
        return True

    def _inner(self, body: list[ast.stmt], guarded: bool = False) -> tuple[dict[str, Value], bool]:
        """Execute `body` as a block of its own on a copy of the environment."""
        outer, statement, env = self.block, self.statement, self.env
        self.block, self.env = Block(outer, body, guarded=guarded or outer.guarded), dict(env)
        reached = self._suite(body)
        result = self.env
        self.block, self.statement, self.env = outer, statement, env
        return result, reached

    def _execute(self, node: ast.stmt) -> bool:
        match node:
            case ast.Assign():
                self._assign(node)
            case ast.AnnAssign():
                if node.value is not None:
                    self._bind(node.target, self._eval(node.value))
            case ast.AugAssign():
                self._augmented(node)
            case ast.Expr():
                self._eval(node.value)
            case ast.Return():
                if node.value is not None:
                    self._use(self._eval(node.value), Consumption.RETURNED, None, node)
                self._exit()
                return False
            case ast.Raise():
                for part in (node.exc, node.cause):
                    if part is not None:
                        self._use(self._eval(part), Consumption.TESTED, None, node)
                self._exit()
                return False
            case ast.Break() | ast.Continue():
                if self.left:
                    self.left[-1].append(dict(self.env))
                self._exit()
                return False
            case ast.If():
                return self._if(node)
            case ast.For() | ast.AsyncFor():
                iterated = self._eval(node.iter)
                self._use(iterated, Consumption.INPUT, None, node)
                self._loop(node, node.target, iterated)
            case ast.While():
                self._loop(node, None, None)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    context = self._eval(item.context_expr)
                    self._use(context, Consumption.STORED, None, node)
                    if item.optional_vars is not None:
                        self._bind(item.optional_vars, self._opaque(None, [context]))
                env, reached = self._inner(node.body, guarded=True)
                if reached:
                    self.env = env
                else:
                    self._join([self.env, env])
            case ast.Try() | ast.TryStar():
                self._try(node)
            case ast.Match():
                self._match(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._captured(node)
                self.env[node.name] = self._opaque(None)
            case ast.Import() | ast.ImportFrom():
                for binding in import_bindings(node):
                    if binding.origin is not None:
                        self.imported[binding.name] = binding.origin
                    self.env.pop(binding.name, None)
            case ast.Global() | ast.Nonlocal():
                self.foreign.update(node.names)
            case ast.Delete():
                for target in node.targets:
                    if isinstance(target, ast.Subscript):
                        base = self._eval(target.value)
                        self._use(base, Consumption.INPUT, None, node)
                        self._write(base.roots, node)
                    for name in bound_names(target):
                        if name in self.env:
                            self._use(self.env[name], Consumption.DELETED, None, node)
                        self.env[name] = self._opaque(None)
            case ast.Assert():
                self._use(self._eval(node.test), Consumption.TESTED, None, node)
                if node.msg is not None:
                    self._arm([node.msg])
            case _:
                pass
        return True

    def _exit(self) -> None:
        self.order += 1
        self.graph.exits.append(self.order)

    def _assign(self, node: ast.Assign) -> None:
        if len(node.targets) == 1:
            target = node.targets[0]
            if (
                isinstance(target, ast.Tuple | ast.List)
                and isinstance(node.value, ast.Tuple | ast.List)
                and len(target.elts) == len(node.value.elts)
                and not any(isinstance(one, ast.Starred) for one in (*target.elts, *node.value.elts))
            ):
                values = [self._eval(element) for element in node.value.elts]
                for element, value in zip(target.elts, values, strict=True):
                    self._bind(element, value)
                return
            value = self._eval(node.value)
            if isinstance(target, ast.Name) and value.node is node.value:
                value.binding = node
            self._bind(target, value)
            return
        value = self._eval(node.value)
        for target in node.targets:
            self._bind(target, value)

    def _bind(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name():
                self._name(target.id, value)
            case ast.Starred():
                self._bind(target.value, self._opaque(None, [value]))
            case ast.Tuple() | ast.List():
                for index, element in enumerate(target.elts):
                    part = self._value("unpack", None, [value], value.roots)
                    part.index = index
                    self._consume(part)
                    self._bind(element, part)
            case ast.Attribute():
                base = self._eval(target.value)
                self._use(value, Consumption.STORED, None, target)
                if target.attr in ("data", "grad", "requires_grad"):
                    self._use(base, Consumption.INPUT, None, target)
                    self._write(base.roots, target)
            case ast.Subscript():
                base = self._eval(target.value)
                index = self._eval(target.slice)
                self._use(index, Consumption.INPUT, None, target)
                self._use(base, Consumption.STORED, None, target)
                self._use(value, Consumption.STORED, None, target)
                self._write(base.roots, target)
            case _:
                self._use(value, Consumption.STORED, None, target)

    def _name(self, name: str, value: Value) -> None:
        if name in self.foreign:
            self._use(value, Consumption.STORED)
            return
        if name in self.captured:
            self._use(value, Consumption.CAPTURED)
        for bound in self.tried:
            bound.setdefault(name, []).append(value)
        self.env[name] = value

    def _augmented(self, node: ast.AugAssign) -> None:
        target = node.target
        if not isinstance(target, ast.Name):
            value = self._eval(node.value)
            self._use(value, Consumption.INPUT, None, node)
            inner = target.value
            base = self._eval(inner)
            self._use(base, Consumption.STORED, None, node)
            self._write(base.roots if isinstance(target, ast.Subscript) else base.roots | {EXTERNAL}, node)
            return
        before = self._lookup(target)
        change = self._eval(node.value)
        kind = OPERATORS.get(type(node.op), "operator")
        number = isinstance(before.constant, int | float)
        value = self._value(f"in-place {kind}", None, [before, change], frozenset() if number else before.roots)
        self._consume(value)
        if not number:
            self._write(before.roots, node)
        self._name(target.id, value)

    def _if(self, node: ast.If) -> bool:
        self._use(self._eval(node.test), Consumption.TESTED, None, node)
        body, body_reached = self._inner(node.body)
        other, other_reached = self._inner(node.orelse) if node.orelse else (dict(self.env), True)
        reached = [env for env, ok in ((body, body_reached), (other, other_reached)) if ok]
        if not reached:
            return False
        self._join(reached)
        return True

    def _join(self, envs: list[dict[str, Value]]) -> None:
        merged: dict[str, Value] = {}
        first, *others = envs
        for name in dict.fromkeys(name for env in envs for name in env):
            same = first.get(name)
            if same is not None and all(env.get(name) is same for env in others):
                merged[name] = same
                continue
            values: list[Value] = []
            for env in envs:
                value = env.get(name)
                if value is not None and value not in values:
                    values.append(value)
            whole = all(name in env for env in envs)
            merged[name] = values[0] if len(values) == 1 and whole else self._joined(values)
        self.env = merged

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, target: ast.expr | None, iterated: Value | None) -> None:
        assigned = assigned_names(node.body, self.graph.statement)
        if target is not None:
            assigned.update(bound_names(target))
        if isinstance(node, ast.While):
            assigned.update(assigned_names([ast.Expr(node.test)], self.graph.statement))
        # A name that the body assigns holds, at its start, what was there before or what the last turn left. That
        # may share memory with anything there was before the loop, but with nothing that this turn makes.
        before = self.env
        shared = self._alias(before.values()) | {EXTERNAL, self.order}
        carried: dict[str, Value] = {}
        for name in sorted(assigned):
            known = before.get(name)
            value = self._value("joined", None, [known] if known is not None else [], shared)
            value.roots |= {value.order}
            carried[name] = value
        start = self.order
        self.env = {**before, **carried}
        outer, statement = self.block, self.statement
        if isinstance(node, ast.While):
            self.block = Block(outer, [], is_suite=False)
            self._use(self._eval(node.test), Consumption.TESTED, None, node)
        self.block = Block(outer, node.body, guarded=outer.guarded)
        if target is not None and iterated is not None:
            element = self._value("unpack", None, [iterated], iterated.roots | {EXTERNAL})
            self._bind(target, element)
        self.left.append([])
        reached = self._suite(node.body)
        after = self.env
        left = self.left.pop()
        self.block, self.statement = outer, statement
        for name, value in carried.items():
            for end in dict.fromkeys(env.get(name) for env in (after, *left)):
                if end is not None and end is not value:
                    value.inputs = (*value.inputs, end)
                    if value.uses:
                        self._use(end, Consumption.JOINED, value)
        self._carry_over(start, carried)
        self.env = {**before, **carried}
        self._join([self.env, after if reached else {**self.env, **after}, *({**self.env, **env} for env in left)])
        if node.orelse:
            env, _ = self._inner(node.orelse)
            self._join([self.env, env])

    def _carry_over(self, start: int, carried: dict[str, Value]) -> None:
        """What a turn of a loop does to a carried value, it does to what the turn before left in it."""
        left = {value.order: self._alias(value.inputs) for value in carried.values()}
        orders = frozenset(left)

        def with_left(roots: frozenset[int]) -> frozenset[int]:
            return roots.union(*(left[order] for order in roots & orders))

        grows = bool(left)
        while grows:  # a value may be handed on through several names, a turn each
            grows = False
            for order, roots in left.items():
                more = with_left(roots)
                if len(more) > len(roots):
                    left[order], grows = more, True
        if not left:
            return
        first = min(left)
        known: dict[frozenset[int], frozenset[int]] = {}  # most values share what they may be with others
        for value in reversed(self.graph.values):
            if value.order < first:
                break
            if not value.roots.isdisjoint(orders):
                if value.roots not in known:
                    known[value.roots] = with_left(value.roots)
                value.roots = known[value.roots]
        for at, write in enumerate(self.graph.writes):
            if write.order > start and not write.roots.isdisjoint(orders):
                self.graph.writes[at] = Write(write.order, with_left(write.roots), write.node, write.sure)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        before = dict(self.env)
        bound: dict[str, list[Value]] = {}
        self.tried.append(bound)
        body, reached = self._inner(node.body, guarded=True)
        self.tried.pop()
        # An exception may leave a name with anything that was bound to it on the way.
        halfway = [before, body, *({**before, name: value} for name, values in bound.items() for value in values)]
        ends: list[dict[str, Value]] = []
        if reached:
            self.env = body
            if node.orelse:
                body, reached = self._inner(node.orelse)
            if reached:
                ends.append(body)
        for handler in node.handlers:
            self.env = dict(before)
            self._join(halfway)
            if handler.name:
                self.env[handler.name] = self._opaque(None)
            env, ok = self._inner(handler.body)
            if ok:
                ends.append(env)
        # Even where every way leaves, what follows is read as if some way went on.
        self.env = before
        self._join([*ends] or [before, body])
        for name in assigned_names(node.body, self.graph.statement):
            if name in self.env:
                self.env[name] = self._joined([self.env[name]])
        if node.finalbody:
            self._join([self.env, *halfway])
            env, _ = self._inner(node.finalbody)
            self.env = env

    def _match(self, node: ast.Match) -> None:
        subject = self._eval(node.subject)
        self._use(subject, Consumption.TESTED, None, node)
        ends: list[dict[str, Value]] = [dict(self.env)]
        before = dict(self.env)
        for case in node.cases:
            self.env = dict(before)
            for inner in ast.walk(case.pattern):
                name = getattr(inner, "name", None) or getattr(inner, "rest", None)
                if isinstance(name, str):
                    self.env[name] = self._opaque(None, [subject])
            if case.guard is not None:
                self._arm([case.guard])
            env, reached = self._inner(case.body)
            if reached:
                ends.append(env)
        self.env = before
        self._join(ends)

    # -- expressions

    def _eval(self, node: ast.expr) -> Value:
        match node:
            case ast.Name():
                return self._lookup(node)
            case ast.Constant():
                value = self._value("constant", node, roots=frozenset())
                value.constant = node.value
                return value
            case ast.Attribute():
                return self._attribute(node)
            case ast.Call():
                return self._call(node)
            case ast.BinOp():
                left, right = self._eval(node.left), self._eval(node.right)
                value = self._value(OPERATORS.get(type(node.op), "operator"), node, [left, right])
                self._consume(value)
                return value
            case ast.UnaryOp():
                operand = self._eval(node.operand)
                if isinstance(node.op, ast.USub) and isinstance(operand.constant, int | float):
                    value = self._value("constant", node, roots=frozenset())
                    value.constant = -operand.constant
                    return value
                value = self._value("neg" if isinstance(node.op, ast.USub) else "operator", node, [operand])
                self._consume(value)
                return value
            case ast.Compare():
                return self._compare(node)
            case ast.BoolOp():
                first = self._eval(node.values[0])
                self._use(first, Consumption.TESTED, None, node)
                rest = self._arm(node.values[1:])
                return self._joined([first, *rest])
            case ast.IfExp():
                self._use(self._eval(node.test), Consumption.TESTED, None, node)
                value = self._joined([*self._arm([node.body]), *self._arm([node.orelse])])
                value.node = node
                return value
            case ast.Subscript():
                base, index = self._eval(node.value), self._eval(node.slice)
                value = self._value("getitem", node, [base, index], base.roots)
                self._consume(value)
                return value
            case ast.Tuple() | ast.List() | ast.Set():
                elements = [self._eval(element) for element in node.elts]
                value = self._value("container", node, elements, self._alias(elements))
                for element in elements:
                    self._use(element, Consumption.INPUT, value, element.node)
                return value
            case ast.NamedExpr():
                value = self._eval(node.value)
                self._bind(node.target, value)
                return value
            case ast.Starred():
                inner = self._eval(node.value)
                value = self._value("starred", node, [inner], inner.roots)
                self._consume(value)
                return value
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self._captured(node)
            case ast.Yield() | ast.YieldFrom() | ast.Await():
                inner = self._eval(node.value) if node.value is not None else None
                if inner is not None:
                    self._use(inner, Consumption.RETURNED, None, node)
                self._exit()
                self._write(frozenset({ANYTHING}), node, sure=False)
                return self._opaque(node)
            case _:
                parts = [self._eval(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
                value = self._opaque(node, parts)
                if isinstance(node, ast.JoinedStr | ast.FormattedValue):
                    value.roots = frozenset()
                return value

    def _lookup(self, node: ast.Name) -> Value:
        known = self.env.get(node.id)
        if known is not None:
            known.reads += 1
            return known
        if node.id in _DYNAMIC and node.id not in self.graph.local:
            self.graph.opaque = f"`{node.id}` can read and change every name"
        known = self.free.get(node.id)
        if known is not None:
            return known
        value = self._value("global", node, roots=frozenset({EXTERNAL}))
        value.path = self._resolve(node)
        self.free[node.id] = value
        return value

    def _resolve(self, node: ast.expr) -> str | None:
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name):
            return None
        if root.id in self.imported and root.id not in self.env:
            return self.imported[root.id] + (dotted(node) or "").removeprefix(root.id)
        return resolve(node, self.names, self.graph.local) if root.id not in self.graph.local else None

    def _attribute(self, node: ast.Attribute) -> Value:
        path = self._resolve(node)
        if path is not None:
            value = self._value("global", node, roots=frozenset({EXTERNAL}))
            value.path = path
            return value
        base = self._eval(node.value)
        metadata = node.attr in METADATA_ATTRIBUTES
        roots: frozenset[int] = frozenset() if metadata else base.roots
        value = self._value("attribute", node, [base], roots)
        value.path = dotted(node)
        if isinstance(node.value, ast.Name) and node.value.id == self.me:
            # Another attribute of `self` is another object: only its own name stands for its memory.
            value.roots = frozenset({EXTERNAL, self.attributes.setdefault(node.attr, -2 - len(self.attributes))})
        self._use(base, Consumption.METADATA if metadata else Consumption.INPUT, value, node)
        return value

    def _compare(self, node: ast.Compare) -> Value:
        operands = [self._eval(operand) for operand in (node.left, *node.comparators)]
        identity = all(isinstance(one, ast.Is | ast.IsNot) for one in node.ops)
        value = self._value("compare", node, operands)
        for operand in operands:
            self._use(operand, Consumption.METADATA if identity else Consumption.INPUT, value, node)
        return value

    def _arm(self, nodes: Iterable[ast.expr]) -> list[Value]:
        """Evaluate expressions that may not be reached: a block of their own, names bound in it joined after."""
        outer, before = self.block, dict(self.env)
        self.block = Block(outer, [], is_suite=False)
        values = [self._eval(node) for node in nodes]
        self.block = outer
        if self.env != before:
            self._join([before, self.env])
        return values

    def _captured(self, node: ast.AST) -> Value:
        """A nested function, lambda or comprehension: what it reads from outside is captured, its body not followed."""
        captured: list[Value] = []
        changes = False
        comprehension = isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
        first = node.generators[0].iter if comprehension else None
        if first is not None:
            source = self._eval(first)
            self._use(source, Consumption.INPUT, None, node)
            captured.append(source)
        for inner in walk(node):
            match inner:
                case ast.Name(ctx=ast.Load()) if inner.id in self.env:
                    value = self.env[inner.id]
                    if value not in captured:
                        captured.append(value)
                    self._use(value, Consumption.CAPTURED, None, inner)
                case ast.Name(ctx=ast.Load()) if inner.id in _DYNAMIC:
                    self.graph.opaque = f"`{inner.id}` can read and change every name"
                case ast.Nonlocal():
                    self.graph.opaque = "a nested function rebinds a name of this one (`nonlocal`)"
                case ast.NamedExpr() if comprehension:
                    self.env[inner.target.id] = self._opaque(None)
                case ast.Call():
                    name = called_name(inner.func)
                    if name is None or is_in_place_name(name) or not (is_pure_method(name) or is_pure_builtin(name)):
                        changes = True
                case ast.AugAssign() | ast.Subscript(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                    changes = True
                case _:
                    pass
        roots = self._alias(captured)
        if changes:
            if comprehension:
                self._write(roots, node, sure=False)
            else:
                self.escaped |= roots  # it runs whenever it is called: every unknown call may run it
        return self._value(
            "opaque", node if isinstance(node, ast.expr) else None, [], roots | {EXTERNAL, self.order + 1}
        )

    # -- calls

    def _call(self, node: ast.Call) -> Value:
        func = node.func
        path = self._resolve(func)
        if path is not None:
            inputs, keywords = self._arguments(node)
            return self._function(node, path, inputs, keywords)
        if isinstance(func, ast.Name):
            return self._named(node, func)
        if isinstance(func, ast.Attribute):
            return self._method(node, func)
        if isinstance(func, ast.Call):
            made = self._resolve(func.func)
            kind = kind_of_layer(made) if made is not None else None
            if kind is not None and made is not None and _is_literal(func) and not made_in_place(func):
                inputs, keywords = self._arguments(node)
                if len(inputs) == 1 and not keywords:
                    plain = not func.args and not func.keywords
                    return self._known(kind if plain else made, node, inputs, keywords)
                return self._unknown(node, [*inputs, *keywords.values()])
        callee = self._eval(func)
        inputs, keywords = self._arguments(node)
        return self._unknown(node, [callee, *inputs, *keywords.values()])

    def _arguments(self, node: ast.Call) -> tuple[list[Value], dict[str, Value]]:
        inputs: list[Value] = []
        for argument in node.args:
            inputs.append(self._eval(argument))
        keywords: dict[str, Value] = {}
        for keyword in node.keywords:
            keywords[keyword.arg or f"**{len(keywords)}"] = self._eval(keyword.value)
        return inputs, keywords

    def _known(self, kind: str, node: ast.expr, inputs: list[Value], keywords: dict[str, Value]) -> Value:
        # An einsum of one tensor is a view of it, behind the equation.
        seen = inputs[:2] if kind == "einsum" and len(inputs) == 2 else inputs[:1]
        roots = None if kind in FRESH_KINDS else self._alias(seen) | {self.order + 1}
        value = self._value(kind, node, inputs, roots)
        value.keywords = keywords
        self._consume(value)
        return value

    def _unknown(self, node: ast.expr, inputs: list[Value]) -> Value:
        """A call of which nothing is known: it may write to what it gets and to what escaped, and return any of it."""
        roots = self._alias(inputs)
        written = roots | self.escaped
        if any(one.kind == "parameter" and one.path == self.me for one in inputs) or self._is_own(node):
            written |= frozenset(self.attributes.values()) | {EXTERNAL}
            self.own_calls.append(len(self.graph.writes))
        self._write(written, node, sure=False)
        value = self._value("call", node, inputs, roots | {EXTERNAL, self.order + 1})
        self._consume(value)
        return value

    def _is_own(self, node: ast.expr) -> bool:
        """Whether a call is one of `self`, or of what hangs on it: it may write to any attribute."""
        func = node.func if isinstance(node, ast.Call) else node
        path = dotted(func)
        return self.me is not None and path is not None and path.partition(".")[0] == self.me

    def _function(self, node: ast.Call, path: str, inputs: list[Value], keywords: dict[str, Value]) -> Value:
        everything = [*inputs, *keywords.values()]
        if (is_in_place_name(path) and path.startswith("torch.")) or writes_by_position(path, inputs):
            written = inputs[0].roots if inputs else self._alias(everything)
            self._write(written, node)
            value = self._value("call", node, everything, written)
            self._consume(value)
            self._in_place(value, kind_of_function(path.removesuffix("_")), keywords)
            return value
        if path.startswith(SWITCHES):
            self._exit()
        self._effects(node, inputs, keywords)
        kind = kind_of_function(path)
        if kind is not None and not inputs and list(keywords) == ["input"]:
            inputs, keywords = [keywords["input"]], {}
        if kind is not None and not asks_in_place(keywords) and "out" not in keywords:
            return self._known(kind, node, inputs, keywords)
        if is_pure_function(path):
            value = self._value(path, node, inputs, self._alias(everything) | {self.order + 1})
            value.keywords = keywords
            value.in_place = kind if "out" not in keywords else None
            self._consume(value)
            return value
        return self._unknown(node, everything)

    def _in_place(self, value: Value, kind: str | None, keywords: dict[str, Value]) -> None:
        """Note what a call computes in the memory of its first input, where that is a kind of the dialect's."""
        if kind is not None:
            value.in_place = kind
            value.keywords = keywords
            self.graph.by_kind.setdefault(f"in-place {kind}", []).append(value)

    def _effects(self, node: ast.Call, inputs: list[Value], keywords: dict[str, Value]) -> None:
        """`inplace=True` and `out=` write."""
        if asks_in_place(keywords):
            self._write(self._alias(inputs[:1]) or self._alias(keywords.values()), node)
        if "out" in keywords:
            self._write(keywords["out"].roots, node)

    def _named(self, node: ast.Call, func: ast.Name) -> Value:
        callee = self._lookup(func)
        inputs, keywords = self._arguments(node)
        everything = [*inputs, *keywords.values()]
        unbound = callee.kind == "global" and func.id not in self.names.bindings
        if unbound and is_pure_builtin(func.id):
            metadata = func.id in ("len", "isinstance", "type", "id", "callable")
            value = self._value("builtin", node, everything, self._alias(everything) | {self.order + 1})
            for source in everything:
                how = Consumption.METADATA if metadata else Consumption.INPUT
                self._use(source, how, value, source.node)
            return value
        value = self._unknown(node, [callee, *everything])
        if self.names.local_class(func.id) is not None and func.id not in self.graph.local:
            value.kind = "instance"
        return value

    def _method(self, node: ast.Call, func: ast.Attribute) -> Value:
        if isinstance(func.value, ast.Name) and func.value.id == self.me and self.me in self.env:
            return self._own(node, func)
        base = self._eval(func.value)
        inputs, keywords = self._arguments(node)
        name = func.attr
        everything = [base, *inputs, *keywords.values()]
        if name in _GROWING:
            base.roots |= self._alias(everything)  # a list, which from here on holds it
        if is_in_place_name(name):
            self._write(base.roots, node)
            value = self._value("call", node, everything, base.roots)
            self._consume(value)
            if self.tensors and base.kind not in ("global", "instance"):
                self._in_place(value, kind_of_method(name.removesuffix("_")), keywords)
            return value
        if base.kind in ("global", "instance") or not self.tensors:
            # A module of another package, or an object of which nothing says that it is a tensor.
            if base.kind != "global" and name in METADATA_METHODS:
                return self._metadata(node, base, inputs)
            return self._unknown(node, everything)
        if name in METADATA_METHODS:
            return self._metadata(node, base, inputs)
        self._effects(node, [base], keywords)
        kind = kind_of_method(name)
        if kind is not None and not asks_in_place(keywords) and "out" not in keywords:
            return self._known(kind, node, [base, *inputs], keywords)
        if is_pure_method(name):
            value = self._value(f"method {name}", node, [base, *inputs], base.roots | {self.order + 1})
            value.keywords = keywords
            self._consume(value)
            return value
        return self._unknown(node, everything)

    def _metadata(self, node: ast.Call, base: Value, inputs: list[Value]) -> Value:
        value = self._value("metadata", node, [base, *inputs], frozenset())
        self._use(base, Consumption.METADATA, value, node)
        for source in inputs:
            self._use(source, Consumption.INPUT, value, node)
        return value

    def _own(self, node: ast.Call, func: ast.Attribute) -> Value:
        """`self.<attribute>(...)`: a layer of the class, or a method or object of which nothing is known."""
        inputs, keywords = self._arguments(node)
        everything = [*inputs, *keywords.values()]
        layer = self.graph.called[func.attr] = self.layers.get(func.attr)
        if layer is None or layer.kind is None or layer.unknown is not None or layer.constructor is None:
            value = self._unknown(node, everything)
            value.layer = layer
            value.path = dotted(func)
            return value
        if not is_torch_layer(layer.kind) or layer.kind in CONTAINERS:
            value = self._unknown(node, everything)
            value.layer = layer
            return value
        if made_in_place(layer.constructor):
            roots = self._alias(everything)
            self._write(roots, node)
            value = self._value("call", node, everything, roots)
            value.layer = layer
            self._consume(value)
            self._in_place(value, kind_of_layer(layer.kind), keywords)
            return value
        kind = kind_of_layer(layer.kind)
        if kind is not None and is_bare(layer.constructor) and len(inputs) == 1 and not keywords:
            value = self._known(kind, node, inputs, keywords)
            value.layer = layer
            return value
        roots = None
        if layer.kind in VIEWING_LAYERS or "Dropout" in layer.kind:
            roots = self._alias(everything) | {self.order + 1}
        value = self._value(layer.kind, node, inputs, roots)
        value.keywords = keywords
        value.layer = layer
        self._consume(value)
        return value


def _is_literal(constructor: ast.Call) -> bool:
    """Whether a layer is made of literals alone: `nn.Softmax(dim=1)`."""
    given = [*constructor.args, *(one.value for one in constructor.keywords)]
    named = all(one.arg is not None for one in constructor.keywords)
    return named and all(
        isinstance(one.operand if isinstance(one, ast.UnaryOp) else one, ast.Constant) for one in given
    )


def _argument_names(arguments: ast.arguments) -> Iterator[str]:
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        yield argument.arg
    for extra in (arguments.vararg, arguments.kwarg):
        if extra is not None:
            yield extra.arg
