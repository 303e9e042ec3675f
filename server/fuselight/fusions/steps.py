"""Two steps in a row, and an edit that takes one of them away.

A step is a layer or a function: a call in a forward, nested or in a statement of its own, or an element of a
`nn.Sequential` literal. `pairs` yields each one that works on the result of another and on nothing else;
`without_first` and `without_second` are the edits. In a literal an `nn.Identity()` takes the place of what goes, so
that no key of the state dict changes.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.exchange import Seated, kept_in_literal
from fuselight.fusions.literals import Element, Literal, literals, seen_between
from fuselight.fusions.plan import (
    Action,
    Argument,
    Construct,
    DropMethod,
    Expression,
    Place,
    ReplaceExpression,
    ReplaceStatements,
    SetArguments,
    Within,
)
from fuselight.fusions.sequence import call_metadata
from fuselight.fusions.writes import source_written_behind, written_by_callers
from fuselight.graph.classes import Layer, resolve
from fuselight.graph.effects import made_in_place
from fuselight.graph.kinds import kind_of_layer
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import EXTERNAL, Consumption, Graph, Value
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

_FUNCTIONAL = "torch.nn.functional."
_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A layer or a function that is applied once."""

    kind: str
    """A neutral kind ("relu", "pad"), or a layer's qualified name ("torch.nn.ZeroPad2d")."""
    statement: Statement
    """The top-level statement in which it is applied."""
    value: Value | None = None
    """Its call in a forward; None for an element of a literal."""
    layer: Layer | None = None
    element: Element | None = None

    @property
    def node(self) -> ast.expr:
        """The call in a forward, or the element."""
        node = self.value.node if self.value is not None else self.element.node if self.element is not None else None
        assert node is not None
        return node

    @property
    def maker(self) -> ast.Call | None:
        """The constructor of a layer; None for a function."""
        if self.element is not None:
            return self.element.call
        return self.layer.constructor if self.layer is not None else None

    @property
    def made_in(self) -> Statement:
        """The top-level statement in which its arguments stand."""
        return self.layer.statement if self.layer is not None else self.statement

    @property
    def label(self) -> str:
        """As a reader would write it: the attribute that holds the layer, else its source."""
        if self.layer is not None:
            return self.layer.attribute
        return " ".join(self.statement.source(self.node).split())[:60]

    @property
    def is_in_place(self) -> bool:
        maker = self.maker
        return maker is not None and made_in_place(maker)

    def arguments(self, layer: tuple[str, ...], function: tuple[str, ...] = ()) -> dict[str, ast.expr] | None:
        """What it is given, by name; None where `*` or `**` hide it.

        `layer` names the positional parameters of the constructor, `function` those of the function behind the
        tensor.
        """
        maker = self.maker
        if maker is not None:
            return _bound(maker.args, maker.keywords, layer)
        node = self.node
        if not isinstance(node, ast.Call):
            return None
        given = node.args if is_method(self) else node.args[1:]
        found = _bound(given, node.keywords, function)
        if found is not None:
            found.pop("input", None)
        return found


def _bound(args: list[ast.expr], keywords: list[ast.keyword], names: tuple[str, ...]) -> dict[str, ast.expr] | None:
    if len(args) > len(names) or any(isinstance(one, ast.Starred) for one in args):
        return None
    found = dict(zip(names, args, strict=False))
    for keyword in keywords:
        if keyword.arg is None or keyword.arg in found:
            return None
        found[keyword.arg] = keyword.value
    return found


def is_method(step: Step) -> bool:
    """Whether the step is a method of its input: `x.relu()`."""
    value = step.value
    if value is None or value.layer is not None or not isinstance(value.node, ast.Call):
        return False
    return isinstance(value.node.func, ast.Attribute) and len(value.inputs) == len(value.node.args) + 1


def operand(step: Step) -> ast.expr | None:
    """The expression of the tensor that a call works on."""
    node = step.node
    if isinstance(node, ast.Attribute | ast.Subscript):
        return node.value
    if step.value is None or not isinstance(node, ast.Call):
        return None
    if is_method(step):
        assert isinstance(node.func, ast.Attribute)
        return node.func.value
    if node.args:
        return node.args[0] if not isinstance(node.args[0], ast.Starred) else None
    return next((keyword.value for keyword in node.keywords if keyword.arg == "input"), None)


def source_of(step: Step) -> Value | None:
    """The value that a call works on."""
    if step.value is None:
        return None
    if step.value.inputs:
        return step.value.inputs[0]
    return step.value.keywords.get("input")


def of_numpy(value: Value | None) -> bool:
    """Whether a value comes from numpy, whose methods of the same names do other things."""
    while value is not None:
        if value.kind.startswith("numpy.") or value.kind == "method numpy" or (value.path or "").startswith("numpy."):
            return True
        value = value.inputs[0] if value.inputs and value.kind != "joined" else None
    return False


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A step, and another one on its result. `refusal`: why the second is not the only one who sees the first."""

    first: Step
    second: Step
    scope: Scope
    graph: Graph | None
    literal: Literal | None
    refusal: Refusal | None
    before: tuple[Element, ...] = ()
    """In a literal, the elements before the first."""

    @property
    def places(self) -> tuple[Place, ...]:
        return (Place(self.first.statement, self.first.node), Place(self.second.statement, self.second.node))


def pairs(
    module: Module,
    scope: Scope,
    firsts: Container[str],
    seconds: Container[str],
    words: frozenset[str],
    *,
    sizes: bool = False,
    least: int = 2,
) -> Iterator[Pair]:
    """Every step of a kind in `seconds` on the result of one in `firsts`.

    `words` are the last components of the names of either; a function that has none of them, nor a layer made by one,
    is not followed, and neither is one that names fewer than `least`. With `sizes` the second may ask for sizes of the
    first's result, and the caller looks at them.
    """
    for literal in literals(module, scope):
        yield from _in_literal(module, scope, literal, firsts, seconds)
    if not _wanted(scope, words, least):
        return
    graph = module.graph(scope)
    if graph.opaque is not None:
        return
    done: Value | None = None
    for one, kind, other, kind_of_other in _rows(graph):
        if kind not in firsts or kind_of_other not in seconds or one is done:
            continue
        first, second = step_of(one, scope), step_of(other, scope)
        if source_of(second) is one:
            yield Pair(first, second, scope, graph, None, _not_a_row(scope, graph, first, second, sizes))
            done = one


def _rows(graph: Graph) -> list[tuple[Value, str, Value, str]]:
    """Every step and what uses it, each with its kind: found once, whoever asks."""
    if graph.rows is None:
        kinds = {value: _kind_of(value) for value in graph.values if _is_step(value)}
        graph.rows = [
            (value, kind, use.by, kinds[use.by])
            for value, kind in kinds.items()
            for use in value.uses
            if use.how is Consumption.INPUT and use.by in kinds
        ]
    return graph.rows


def steps(module: Module, scope: Scope, kinds: Container[str], words: frozenset[str]) -> Iterator[Pair]:
    """Every step of a forward that is of a kind in `kinds`, as a pair of it and itself. `words` as of `pairs`."""
    if not _wanted(scope, words, 1):
        return
    graph = module.graph(scope)
    if graph.opaque is not None:
        return
    for value in graph.values:
        if value.uses and _is_step(value):
            step = step_of(value, scope)
            if step.kind in kinds:
                yield Pair(step, step, scope, graph, None, _not_a_step(scope, step))


def _not_a_step(scope: Scope, step: Step) -> Refusal | None:
    at = Place(scope.statement, step.node)
    if operand(step) is None or (step.layer is not None and not _has_one_input(step)):
        return Refusal(f"`{step.label}` is not called with one input", at)
    if any(isinstance(node, ast.NamedExpr) for node in ast.walk(step.node)):
        return Refusal("a name is bound inside the expression", at)
    return None


def _wanted(scope: Scope, words: frozenset[str], least: int) -> bool:
    """Whether a function names so many steps at all: told by its text, which is much cheaper than to follow it."""
    owner = scope.owner
    if owner is not None and scope.function is owner.methods.get("__init__"):
        return False  # layers are made there, not applied
    named = [*(words & scope.names)]
    for layer in scope.applied_layers:
        if layer.kind is not None and layer.kind.rpartition(".")[2] in words:
            named.append(layer.attribute)
    if not named or least == 1:
        return bool(named)
    text = scope.statement.lines_of(scope.function)
    return sum(text.count(word) for word in named) >= least


def _is_step(value: Value) -> bool:
    """Whether a value is worked out by a call, an attribute or an index; a layer that is made is not applied."""
    made = value.layer is None and value.kind.startswith("torch.nn.") and not value.kind.startswith(_FUNCTIONAL)
    return isinstance(value.node, ast.Call | ast.Attribute | ast.Subscript) and not made


def step_of(value: Value, scope: Scope) -> Step:
    return Step(_kind_of(value), scope.statement, value, value.layer)


def _kind_of(value: Value) -> str:
    kind = value.kind
    if value.layer is not None and value.layer.kind is not None:
        made = value.layer.kind
        kind = kind_of_layer(made) or made
    return kind.removeprefix(_FUNCTIONAL)


def _in_literal(
    module: Module, scope: Scope, literal: Literal, firsts: Container[str], seconds: Container[str]
) -> Iterator[Pair]:
    for at in range(len(literal.elements) - 1):
        one, other = literal.elements[at : at + 2]
        first, second = _element(one, scope), _element(other, scope)
        if first is None or second is None or first.kind not in firsts or second.kind not in seconds:
            continue
        yield Pair(first, second, scope, None, literal, seen_between(module, literal), literal.elements[:at])


def _element(element: Element, scope: Scope) -> Step | None:
    if element.kind is None or not isinstance(element.node, ast.Call):
        return None
    return Step(kind_of_layer(element.kind) or element.kind, scope.statement, element=element)


# -- is it a row of two?


def _not_a_row(scope: Scope, graph: Graph, first: Step, second: Step, sizes: bool) -> Refusal | None:
    one, other, statement = first.value, second.value, scope.statement
    assert one is not None
    assert other is not None
    at = Place(statement, first.node)
    for use in one.uses:
        if use.by is other and use.how is Consumption.INPUT:
            continue
        if sizes and use.how is Consumption.METADATA and _inside(second.node, use.node):
            continue
        node = use.node if isinstance(use.node, ast.expr | ast.stmt) else None
        return Refusal(
            f"the result of `{first.label}` is used more than once", Place(statement, node) if node is not None else at
        )
    for step in (first, second):
        if step.layer is not None and not _has_one_input(step):
            return Refusal(f"`{step.label}` is not called with one input", Place(statement, step.node))
    if operand(first) is None or any(
        isinstance(node, ast.NamedExpr) for step in (first, second) for node in ast.walk(step.node)
    ):
        return Refusal("a name is bound inside the expression", at)
    if one.block is not other.block:
        return Refusal("the two are computed in different branches or loops", at)
    if operand(second) is not first.node:
        binding = one.binding
        name = operand(second)
        target = binding.targets[0] if binding is not None else None
        held = isinstance(name, ast.Name) and isinstance(target, ast.Name) and name.id == target.id
        held = held and (sizes or one.reads == 1)
        if not held or binding is None or not scope.name:
            return Refusal(f"the result of `{first.label}` is not in a variable of its own", at)
        if not statement.stands_alone(binding) or binding not in one.block.statements:
            return Refusal("it shares its line with another statement", at)
        if other.statement not in one.block.statements:
            return Refusal("the two are computed in different branches or loops", at)
        if one.block.guarded and _may_be_caught(graph, scope, binding):
            return Refusal("an exception in between may be caught, and the name be used all the same", at)
    if graph.exits_between(one.order, other.order):
        return Refusal("the function may leave, or torch be switched over, in between", at)
    source = source_of(first)
    write = graph.written_between(source, one.order, other.order) if source is not None else None
    if write is not None:
        node = write.node if isinstance(write.node, ast.expr | ast.stmt) else first.node
        return Refusal("its input may be changed in between", Place(statement, node))
    return None


def input_written(module: Module, pair: Pair) -> Refusal | None:
    """Why what the first step works on, and autograd keeps for the second from now on, may be written to behind it."""
    if pair.literal is not None:
        one, other, elements = pair.first.element, pair.second.element, pair.literal.elements
        assert one is not None
        assert other is not None
        at = elements.index(one)
        before = elements[at - 1] if at else None
        return kept_in_literal(module, Seated(pair.literal, before, one, other, elements[at + 2 :]), result=False)
    source, site = source_of(pair.first), pair.second.value
    if source is None or site is None or pair.graph is None:
        return Refusal("what it works on is not known", Place(pair.scope.statement, pair.first.node))
    refusal = source_written_behind(module, pair.scope, pair.graph, source, site)
    if refusal is None and EXTERNAL in source.roots:
        refusal = written_by_callers(module, pair.scope.function)
    return refusal


def _inside(around: ast.AST, node: ast.AST | None) -> bool:
    return any(inner is node for inner in ast.walk(around))


def _has_one_input(step: Step) -> bool:
    node = step.node
    return isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords


def _may_be_caught(graph: Graph, scope: Scope, node: ast.stmt) -> bool:
    """Whether an exception at `node` may be caught in the function; torch's own contexts let it through."""
    for around in ast.walk(scope.function):
        if isinstance(around, ast.Try | ast.TryStar) and any(_inside(one, node) for one in around.body):
            return True
        if isinstance(around, ast.With | ast.AsyncWith) and _inside(around, node):
            for item in around.items:
                made = item.context_expr
                func = made.func if isinstance(made, ast.Call) else made
                path = resolve(func, graph.names, graph.local)
                if path is None or not path.startswith("torch."):
                    return True
    return False


# -- edits


def without_first(pair: Pair) -> tuple[Action, ...]:
    """The second step gets what the first one got."""
    if pair.literal is not None:
        return (_identity(pair.first),)
    actions, text = handed_past(pair)
    outer, statement = operand(pair.second), pair.scope.statement
    assert outer is not None
    if outer is pair.first.node:
        return (_dropped(pair.first),)
    if text != statement.source(outer):
        actions = (*actions, ReplaceExpression(statement, outer, text))
    return actions


def _dropped(step: Step) -> Action:
    """What a step works on stands in its place."""
    node, inner, statement = step.node, operand(step), step.statement
    assert inner is not None
    if is_method(step) and isinstance(node, ast.Call) and "#" not in _behind_name(statement, node):
        return DropMethod(statement, node)
    text = statement.source(inner)
    if "#" in statement.source(node):
        alone = isinstance(inner, _ATOMS) or _is_apart(statement, node)
        return ReplaceExpression(statement, node, text if alone else f"({text})")
    return ReplaceExpression(statement, node, Within(inner))


def _is_apart(statement: Statement, node: ast.expr) -> bool:
    """Whether an operator may stand in the place of an expression without brackets of its own."""
    for around in ast.walk(ast.Module(statement.body, [])):
        if any(one is node for one in ast.iter_child_nodes(around)):
            return isinstance(around, ast.Assign | ast.AnnAssign | ast.Return) or (
                isinstance(around, ast.Call) and around.func is not node
            )
    return False


def in_one_line(source: str) -> str:
    """Source of an operand on one line, unless a comment or a string is in it."""
    return source if "\n" not in source or any(one in source for one in "#'\"") else " ".join(source.split())


def _behind_name(statement: Statement, call: ast.Call) -> str:
    """The source of a call's arguments."""
    return statement.source(call)[statement.span(call.func).end - statement.span(call).start :]


def handed_past(pair: Pair) -> tuple[tuple[Action, ...], str]:
    """What goes around the second step of a pair in a forward, and the source that it then works on."""
    first, second, statement = pair.first, pair.second, pair.scope.statement
    inner, outer = operand(first), operand(second)
    assert inner is not None
    assert outer is not None
    text = statement.source(inner)
    if outer is first.node:
        return (), text if isinstance(inner, _ATOMS) or not is_method(second) else f"({text})"
    value = first.value
    assert value is not None
    assert value.binding is not None
    assert isinstance(outer, ast.Name)
    if isinstance(inner, ast.Name) and (inner.id == outer.id or (value.reads == 1 and _holds_until(pair, inner.id))):
        return (ReplaceStatements(statement, (value.binding,), (), _statement(second)),), text
    return (_dropped(first),), outer.id


def with_function_arguments(pair: Pair, parameters: tuple[str, ...], changes: Mapping[str, str]) -> tuple[Action, ...]:
    """The second step, a function, is called with other arguments, and the first goes.

    `parameters` are the function's positional ones behind the tensor.
    """
    value, statement = pair.second.value, pair.scope.statement
    assert value is not None
    node = value.node
    assert isinstance(node, ast.Call)
    actions, text = handed_past(pair)
    metadata = {f"arg_{number}": statement.source(one) for number, one in enumerate(node.args[1:])}
    metadata |= {one.arg: statement.source(one.value) for one in node.keywords if one.arg and one.arg != "input"}
    for name, change in changes.items():
        position = f"arg_{parameters.index(name)}"
        metadata[position if position in metadata else name] = change
    kind = value.kind if "." in value.kind else f"func_{value.kind}"
    return (*actions, ReplaceExpression(statement, node, Expression(LogicalNode("call", kind, metadata), (text,))))


def without(step: Step) -> tuple[Action, ...]:
    """What works on a step's result gets what the step works on."""
    value, inner = step.value, operand(step)
    assert value is not None
    target = value.binding.targets[0] if value.binding is not None else None
    same = isinstance(inner, ast.Name) and isinstance(target, ast.Name) and target.id == inner.id
    block = value.block.statements
    if same and value.binding in block and step.statement.stands_alone(value.binding) and len(block) > 1:
        at = block.index(value.binding)
        comments_to = block[at + 1] if at + 1 < len(block) else block[at - 1]
        return (ReplaceStatements(step.statement, (value.binding,), (), comments_to),)
    return (_dropped(step),)


def without_second(pair: Pair) -> tuple[Action, ...]:
    """What works on the second step's result gets the first's."""
    first, second, statement = pair.first, pair.second, pair.scope.statement
    if pair.literal is not None:
        return (_identity(second),)
    outer, value = operand(second), second.value
    assert outer is not None
    assert value is not None
    bound = value.binding.targets[0] if value.binding is not None else None
    same = isinstance(outer, ast.Name) and isinstance(bound, ast.Name) and bound.id == outer.id
    if same and value.binding is not None and statement.stands_alone(value.binding):
        block = value.block.statements
        after = block[block.index(value.binding) + 1 :] if value.binding in block else []
        comments_to = after[0] if after else _statement(first)
        return (ReplaceStatements(statement, (value.binding,), (), comments_to),)
    return (_dropped(second),)


def with_arguments(pair: Pair, arguments: tuple[Argument, ...]) -> tuple[Action, ...]:
    """The second step, a layer, is made with other arguments, and the first goes."""
    second = pair.second
    call = second.maker
    assert call is not None
    kind = second.layer.kind if second.layer is not None else second.element.kind if second.element else None
    metadata = _changed(second.made_in, call, arguments)
    node = LogicalNode(second.layer.attribute if second.layer is not None else "layer", kind or "", metadata)
    change = SetArguments(second.made_in, call, arguments, node)
    if pair.literal is None:
        return (*without_first(pair), change)
    whole = _one_line(pair, call, metadata)
    return (whole,) if whole is not None else (*without_first(pair), change)


def _changed(statement: Statement, call: ast.Call, arguments: tuple[Argument, ...]) -> dict[str, str]:
    metadata = call_metadata(statement, call)
    for one in arguments:
        position = f"arg_{one.position}"
        metadata[position if position in metadata else one.keyword] = one.value
    return metadata


def _one_line(pair: Pair, changed: ast.Call, metadata: dict[str, str]) -> Action | None:
    """A statement on one line is changed as a whole, so that it is laid out as one where it grows too long."""
    literal, first = pair.literal, pair.first.maker
    assert literal is not None
    assert first is not None
    statement = literal.statement
    both = [
        node
        for node in ast.walk(pair.scope.function)
        if isinstance(node, ast.expr | ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)
        and _inside(node, first)
        and _inside(node, changed)
    ]
    if not both or both[0].lineno != both[0].end_lineno or not isinstance(first.func, ast.Attribute):
        return None
    around = both[-1]
    if not isinstance(both[0], ast.stmt) or not isinstance(around, ast.expr):
        return None
    parts: tuple[tuple[ast.expr, Within | str], ...] = (
        (first, f"{statement.source(first.func.value)}.Identity()"),
        (changed, f"{statement.source(changed.func)}({', '.join(_given(metadata))})"),
    )
    return ReplaceExpression(statement, around, Within(around, parts))


def _given(metadata: Mapping[str, str]) -> Iterator[str]:
    for name, source in metadata.items():
        yield source if name.startswith("arg_") else f"{name}={source}"


def _identity(step: Step) -> Action:
    return ReplaceExpression(step.statement, step.node, Construct(LogicalNode("identity", "torch.nn.Identity", {})))


def _statement(step: Step) -> ast.stmt:
    assert step.value is not None
    assert step.value.statement is not None
    return step.value.statement


def _holds_until(pair: Pair, name: str) -> bool:
    """Whether a local name holds at the second step what it holds at the first."""
    value = pair.first.value
    assert value is not None
    assert value.binding is not None
    assert pair.graph is not None
    block, last = value.block.statements, _statement(pair.second)
    if name not in pair.graph.local:
        return False
    for statement in block[block.index(value.binding) : block.index(last)]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                return False
    return True


# -- layers whose call goes


def layer_dropped(
    module: Module, pair: Pair, step: Step, comments_to: ast.stmt | None = None
) -> Refusal | tuple[Action, ...]:
    """What becomes of the layer of a step that goes: its constructor goes too where nobody else calls it.

    `comments_to` is the statement above which comments of the constructor may go.
    """
    layer, owner = step.layer, pair.scope.owner
    if layer is None or owner is None or step.value is None:
        return ()
    refusal = layer_is_known(module, pair, step, None)
    if refusal is not None:
        return refusal
    node = step.node
    assert isinstance(node, ast.Call)
    others = [one for one in layer.block if one is not layer.assignment and not _is_docstring(one)]
    if (
        not others
        or not layer.statement.stands_alone(layer.assignment)
        or provenance.touched(module, owner, layer, node) is not None
    ):
        return ()
    if comments_to is None or comments_to not in layer.block:
        at = layer.block.index(layer.assignment)
        comments_to = layer.block[at + 1] if at + 1 < len(layer.block) else others[-1]
    return (ReplaceStatements(layer.statement, (layer.assignment,), (), comments_to),)


def layer_is_known(module: Module, pair: Pair, step: Step, call: ast.Call | None) -> Refusal | None:
    """The layer must be what its constructor says, wherever the file may reach it; called at `call` alone if given."""
    layer, owner = step.layer, pair.scope.owner
    if layer is None or owner is None or layer.kind is None:
        return None
    return (
        provenance.known_class(module, owner)
        or provenance.plain_layer(layer, frozenset({layer.kind}), f"a `{layer.kind.rpartition('.')[2]}`")
        or provenance.touched(module, owner, layer, call)
        or provenance.named_in_strings(module, (layer.attribute,))
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, frozenset({layer.attribute}))
    )


def removed_places(actions: tuple[Action, ...]) -> tuple[Place, ...]:
    """The places of statements that go."""
    return tuple(
        Place(action.statement, node)
        for action in actions
        if isinstance(action, ReplaceStatements)
        for node in action.removed
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


# -- literal numbers


def integer(node: ast.expr | None) -> int | None:
    """The number that an expression of integer literals comes to."""
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            value = integer(inner)
            return -value if value is not None else None
        case ast.BinOp(left=left, op=op, right=right):
            one, other = integer(left), integer(right)
            if one is None or other is None:
                return None
            match op:
                case ast.Add():
                    return one + other
                case ast.Sub():
                    return one - other
                case ast.Mult():
                    return one * other
                case ast.FloorDiv() if other:
                    return one // other
                case _:
                    return None
        case _:
            return None


def elements(node: ast.expr) -> list[ast.expr] | None:
    """The elements of a tuple or list display, or of one that is repeated: `(1, 1) * 2`."""
    match node:
        case ast.Tuple() | ast.List():
            return None if any(isinstance(one, ast.Starred) for one in node.elts) else list(node.elts)
        case ast.BinOp(left=ast.Tuple() | ast.List() as inner, op=ast.Mult(), right=ast.Constant(value=int() as times)):
            found = elements(inner)
            return found * times if found is not None else None
        case ast.BinOp(left=ast.Constant(value=int() as times), op=ast.Mult(), right=ast.Tuple() | ast.List() as inner):
            found = elements(inner)
            return found * times if found is not None else None
        case _:
            return None


def is_false(arguments: Mapping[str, ast.expr], name: str, default: object = False) -> bool:
    """Whether an argument is surely its default."""
    node = arguments.get(name)
    return node is None or (isinstance(node, ast.Constant) and node.value is default)
