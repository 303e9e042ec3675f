"""Tensors that each get a new dimension and are concatenated along it: a stack.

`torch.cat([a.unsqueeze(1), b.unsqueeze(1)], dim=1)` is `torch.stack([a, b], dim=1)`. The elements may stand in a list,
in a comprehension, in variables, or be appended one by one.

## What it saves
A call and a view for every tensor, forward and backward: nothing where the tensors are large. On a CPU, two tensors of
64 x 512: 1.5x forward, 1.3x forward and backward; sixteen of 8 x 128: 5.4x and 1.7x; two of 1000 x 1000: 1.1x. No
memory is saved: the views that go held none of their own.

## Fix safety
`exact`: the same elements, bit by bit, in the same memory layout. A comprehension that is left with nothing to do
becomes what it runs over, where that is surely a list or a tuple.

## Refused when
- only some of the tensors get a dimension, or another one than the one they are concatenated along (nothing is said
  then), or one counts from the end and the other does not, and the number of dimensions is not shown;
- the list, or a tensor with its new dimension, is used besides;
- a dimension is not a literal number;
- a comment stands inside of what would go;
- the dimension is added in another statement, in a function that switches gradients off somewhere;
- the function is a test, a reference or a custom autograd function.

Source: `torch.stack`, `torch.cat`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Expression, Place, RenameMethod, ReplaceExpression, ReplaceStatements, Within
from fuselight.fusions.steps import in_one_line
from fuselight.fusions.tensor_objects import is_a_check
from fuselight.graph.classes import resolve
from fuselight.graph.effects import called_name
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import RESHAPED_IN_PLACE, argument, literal_number, rank_of
from fuselight.graph.values import Block, Consumption, Graph, Use, Value
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

_CATS = frozenset({"cat", "concat", "concatenate"})
_TUPLES = frozenset(
    {"split", "chunk", "unbind", "method unbind", "torch.unbind", "method tensor_split", "torch.tensor_split"}
)
"""Kinds that yield a tuple of tensors."""

_GRADIENTS = frozenset({"no_grad", "inference_mode", "set_grad_enabled", "enable_grad"})


def _near(body: str, arguments: str = "a, b") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\n\n\ndef f({arguments}):\n{lines}"


@dataclass(frozen=True, slots=True, eq=False)
class _Element:
    """A tensor that gets a new dimension: the expression that says so, what it is of, and along which dimension."""

    node: ast.expr
    operand: ast.expr
    dim: int
    source: Value | None = None
    """What it is of, where the graph has it."""
    held: ast.Assign | None = None
    """The statement that holds it, where it has one of its own."""
    block: Block | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """The tensors that are concatenated, and the list that holds them."""

    elements: tuple[_Element, ...]
    node: ast.expr
    """The display or comprehension."""
    nested: bool
    """Whether it is written inside the call."""
    iterated: ast.expr | None = None
    """What a comprehension runs over, where that can take its place."""


@fusion
class StackByCat(Fusion):
    __doc__ = __doc__

    code = "FUS611"
    name = "stack-by-cat"
    words = (_CATS, frozenset({"unsqueeze", "None", "newaxis"}))
    examples = (
        Example(
            before="""\
import torch


def f(a, b):
    return torch.cat([a.unsqueeze(1), b.unsqueeze(1)], dim=1)
""",
            after="""\
import torch


def f(a, b):
    return torch.stack([a, b], dim=1)
""",
            inputs=((4, 6), (4, 6)),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch


def f(x):
    outputs = []
    for step in range(3):
        x = torch.tanh(x)
        outputs.append(x.unsqueeze(0))
    return torch.cat(outputs, 0)
""",
            after="""\
import torch


def f(x):
    outputs = []
    for step in range(3):
        x = torch.tanh(x)
        outputs.append(x)
    return torch.stack(outputs, 0)
""",
            inputs=((4, 6),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch


def f(x):
    parts = x.chunk(3, dim=-1)
    return torch.cat([part[None] for part in parts])
""",
            after="""\
import torch


def f(x):
    parts = x.chunk(3, dim=-1)
    return torch.stack(parts)
""",
            inputs=((4, 6),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # one has the dimension already
        NearMiss(_near("return torch.cat([a.unsqueeze(1), b], dim=1)"), ""),
        # another dimension
        NearMiss(_near("return torch.cat([a.unsqueeze(1), b.unsqueeze(1)], dim=0)"), ""),
        # two dimensions
        NearMiss(_near("return torch.cat([a.unsqueeze(0), b.unsqueeze(1)], dim=0)"), ""),
        # of how many dimensions?
        NearMiss(_near("return torch.cat([a.unsqueeze(-1), b.unsqueeze(-1)], dim=1)"), "how many dimensions"),
        # a dimension in a variable
        NearMiss(_near("return torch.cat([a.unsqueeze(d), b.unsqueeze(d)], dim=d)", "a, b, d"), ""),
        # an index beside the new dimension
        NearMiss(_near("return torch.cat([a[None, 0], b[None, 0]])"), ""),
        # the list is used besides
        NearMiss(_near("ts = [a[None], b[None]]\nreturn torch.cat(ts), ts"), "used besides"),
        # its elements are used besides
        NearMiss(_near("a = a[None]\nb = b[None]\nreturn torch.cat([a, b]), a"), "used besides"),
        # a unknown number of others
        NearMiss(_near("return torch.cat([a[None], *b])"), ""),
        # something else is appended
        NearMiss(_near("ts = []\nts.append(a[None])\nts.append(b)\nreturn torch.cat(ts)"), ""),
        # what a test compares with
        NearMiss(_near("return torch.cat([a[None], b[None]])").replace("def f", "def test_stack"), "reads as a test"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if _CATS.isdisjoint(scope.called) or scope.words.isdisjoint(("unsqueeze", "None", "newaxis")):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for value in graph.of_kind("cat"):
            match = self._match(module, scope, graph, value)
            if match is not None:
                yield match

    def _match(self, module: Module, scope: Scope, graph: Graph, value: Value) -> Match | None:
        call, given = value.node, argument(value, 0, "tensors")
        if not isinstance(call, ast.Call) or given is None or given.kind == "starred":
            return None
        along = _along(value)
        listed = _listed(module, scope, graph, value, given)
        if along is None or listed is None:
            return None
        place = Place(scope.statement, call)
        message = "each tensor gets a new dimension, and they are concatenated along it"
        refusal = listed if isinstance(listed, Refusal) else _refusal(scope, graph, value, listed, along)
        if refusal is None and isinstance(listed, _Listed) and {one.dim for one in listed.elements} != {along}:
            refusal = _unlike(graph, value, listed, along, place)
            if refusal is False:
                return None
        if isinstance(refusal, Refusal):
            return Match(type(self), scope.name, place, message, refused=Refusal(refusal.reason, refusal.at or place))
        assert isinstance(listed, _Listed)
        others = [Place(scope.statement, one.node) for one in listed.elements]
        others += [Place(scope.statement, one.held) for one in listed.elements if one.held is not None]
        return Match(
            type(self), scope.name, place, message, "Stack them with `torch.stack`", Safety.EXACT, tuple(others),
            partial(_plan, module, scope, call, listed),
        )  # fmt: skip


# -- what is concatenated


def _along(value: Value) -> int | None:
    """The dimension of a concatenation, where it is literal."""
    if not value.keywords.keys() <= {"tensors", "dim", "axis"}:
        return None
    at = 0 if "tensors" in value.keywords else 1
    if len(value.inputs) > at + 1:
        return None
    given = argument(value, at, "axis" if "axis" in value.keywords else "dim")
    if given is None:
        return 0
    return given.constant if type(given.constant) is int else None


def _listed(module: Module, scope: Scope, graph: Graph, cat: Value, given: Value) -> _Listed | Refusal | None:
    """The tensors of a concatenation; None where they do not all get a dimension."""
    assert isinstance(cat.node, ast.Call)
    node = given.node
    nested = node is not None and node is _first(cat.node)
    match node:
        case ast.List() | ast.Tuple() if given.kind == "container":
            others = [use for use in given.uses if use.by is not cat]
            found = [_element(module, graph, one, value) for one, value in zip(node.elts, given.inputs, strict=True)]
            appended = _appended(module, graph, given, others) if others else []
            if None in found or appended is None:
                whole = found and None not in found
                return Refusal("the list is used besides", Place(scope.statement, node)) if whole else None
            elements = tuple(one for one in (*found, *appended) if one is not None)
            if len(elements) + bool(appended) < 2:
                return None
            if appended and (nested or given.binding is None):
                return None
            reads = len([use for use in given.uses if use.by is cat]) + len(appended)
            if not nested and given.reads != reads:
                return Refusal("the list is used besides", Place(scope.statement, node))
            return _Listed(elements, node, nested)
        case ast.ListComp() | ast.Call():
            comprehension = _comprehension(module, graph, node)
            if comprehension is None or any(part.is_async for part in comprehension.generators):
                return None
            if _holds_a_binding(comprehension.elt):
                return None
            added = _added(module, graph, comprehension.elt, _bound_by(comprehension))
            if added is None:
                return None
            if len(given.uses) != 1 or (not nested and (given.binding is None or given.reads != 1)):
                return Refusal("the list is used besides", Place(scope.statement, node))
            element = _Element(comprehension.elt, added[0], added[1])
            return _Listed((element,), node, nested, _runs_over(graph, comprehension, added[0]))
        case _:
            return None


def _first(call: ast.Call) -> ast.expr | None:
    if call.args:
        return call.args[0]
    return next((one.value for one in call.keywords if one.arg == "tensors"), None)


def _element(module: Module, graph: Graph, node: ast.expr, value: Value) -> _Element | None:
    """A tensor with a new dimension, where it stands in the list or in a variable that the list alone reads."""
    if value.kind not in ("unsqueeze", "getitem") or value.node is None:
        return None
    added = _added(module, graph, value.node)
    if added is None:
        return None
    source = value.inputs[0] if value.inputs else value.keywords.get("input")
    if value.node is node:
        return _Element(node, *added, source)
    return _Element(value.node, *added, source, value.binding, value.block) if value.binding is not None else None


def _appended(module: Module, graph: Graph, given: Value, uses: list[Use]) -> list[_Element] | None:
    """What is appended to a list, where nothing else is done with it."""
    found: list[_Element] = []
    for use in given.uses:
        if use not in uses:
            continue
        by = use.by
        match by.node if by is not None else None:
            case ast.Call(func=ast.Attribute(attr="append", value=ast.Name()), args=[argument], keywords=[]) as call:
                assert by is not None
                alone = isinstance(by.statement, ast.Expr) and by.statement.value is call
                if not alone or by.uses or len(by.inputs) != 2 or by.inputs[0] is not given:
                    return None
                element = _element(module, graph, argument, by.inputs[1])
                if element is None or element.held is not None or len(by.inputs[1].uses) != 1:
                    return None
                found.append(element)
            case _:
                return None
    return found


def _comprehension(module: Module, graph: Graph, node: ast.expr) -> ast.ListComp | ast.GeneratorExp | None:
    """A list comprehension, or a generator that a list or a tuple is made of."""
    if isinstance(node, ast.ListComp):
        return node
    match node:
        case ast.Call(func=ast.Name(id="list" | "tuple" as name), args=[ast.GeneratorExp() as made], keywords=[]):
            hidden = name in graph.local or name in module.names.bindings or module.names.stars
            return None if hidden else made
        case _:
            return None


def _bound_by(comprehension: ast.ListComp | ast.GeneratorExp) -> frozenset[str]:
    targets = [inner for part in comprehension.generators for inner in ast.walk(part.target)]
    return frozenset(inner.id for inner in targets if isinstance(inner, ast.Name))


def _runs_over(graph: Graph, comprehension: ast.ListComp | ast.GeneratorExp, operand: ast.expr) -> ast.expr | None:
    """What a comprehension that only hands on its elements runs over, where that is surely a list or a tuple."""
    match comprehension.generators:
        case [ast.comprehension(target=ast.Name(id=name), iter=ast.Name() as iterated, ifs=[])]:
            pass
        case _:
            return None
    if not (isinstance(operand, ast.Name) and operand.id == name):
        return None
    for value in graph.values:
        if any(use.node is comprehension and use.how is Consumption.INPUT for use in value.uses):
            display = value.kind == "container" and isinstance(value.node, ast.List | ast.Tuple)
            made = value.kind == "opaque" and isinstance(value.node, ast.ListComp)
            return iterated if display or made or value.kind in _TUPLES else None
    return None


def _added(
    module: Module, graph: Graph, node: ast.expr, bound: frozenset[str] = frozenset()
) -> tuple[ast.expr, int] | None:
    """What gets a new dimension, and which: `x.unsqueeze(1)`, `torch.unsqueeze(x, 1)`, `x[:, None]`."""
    local = graph.local | bound
    match node:
        case ast.Call(func=func, args=args, keywords=keywords):
            given = {one.arg: one.value for one in keywords}
            if any(isinstance(one, ast.Starred) for one in args) or not given.keys() <= {"input", "dim"}:
                return None
            path = resolve(func, module.names, local)
            if path is None and isinstance(func, ast.Attribute) and func.attr == "unsqueeze" and "input" not in given:
                args = [func.value, *args]
            elif path != "torch.unsqueeze":
                return None
            if len(args) + len(given) != 2:
                return None
            operand = args[0] if args else given.get("input")
            number = literal_number(args[1] if len(args) > 1 else given.get("dim"))
            return (operand, number) if operand is not None and number is not None else None
        case ast.Subscript(value=operand, slice=index):
            parts = index.elts if isinstance(index, ast.Tuple) else [index]
            new = [at for at, one in enumerate(parts) if _is_new(module, one, local)]
            dots = [at for at, one in enumerate(parts) if isinstance(one, ast.Constant) and one.value is ...]
            if len(new) != 1 or len(dots) > 1:
                return None
            if not all(_is_whole(one) for at, one in enumerate(parts) if at not in (*new, *dots)):
                return None
            at = new[0]
            return operand, at - len(parts) if dots and dots[0] < at else at
        case _:
            return None


def _is_new(module: Module, node: ast.expr, local: frozenset[str]) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None
    return resolve(node, module.names, local) in ("numpy.newaxis", "torch.newaxis")


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Slice) and node.lower is None and node.upper is None and node.step is None


def _holds_a_binding(node: ast.expr) -> bool:
    return any(isinstance(one, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for one in ast.walk(node))


# -- what speaks against it


def _refusal(scope: Scope, graph: Graph, cat: Value, listed: _Listed, along: int) -> Refusal | None:
    statement = scope.statement
    refusal = is_a_check(scope)
    if refusal is not None:
        return refusal
    for one in listed.elements:
        at = Place(statement, one.node)
        if _holds_a_binding(one.node):
            return Refusal("a name is bound inside the expression", at)
        if _commented(statement, one):
            return Refusal("a comment stands inside of what would go", at)
        if one.held is None:
            continue
        value = next(value for value in graph.values if value.node is one.node)
        if len(value.uses) != 1 or value.reads != 1:
            return Refusal(f"`{statement.source(one.node)[:60]}` is used besides", at)
        if not scope.name:
            return Refusal("its parts are variables of the module", at)
        if not statement.stands_alone(one.held):
            return Refusal("it shares its line with another statement", at)
        if _same_name(one) and len(value.block.statements) < 2:
            return Refusal("nothing would be left of a branch", at)
    assert isinstance(cat.node, ast.Call)
    inside = set(ast.walk(cat.node))
    if not _GRADIENTS.isdisjoint(scope.words) and any(one.node not in inside for one in listed.elements):
        return Refusal("gradients are switched off in the function, which a view of a tensor keeps to")
    for write in graph.writes:
        reshaped = isinstance(write.node, ast.Attribute) or _called(write.node) in RESHAPED_IN_PLACE
        if reshaped and any(one.source is not None and write.hits(one.source.roots) for one in listed.elements):
            return Refusal("a tensor gets another shape in place, which its view does not")
    text = statement.source(listed.node)
    if listed.iterated is not None and "#" in text:
        return Refusal("a comment stands inside of what would go", Place(statement, listed.node))
    if isinstance(cat.node.func, ast.Name) and "#" in statement.source(cat.node):
        return Refusal("a comment stands inside of what would go", Place(statement, cat.node))
    return None


def _called(node: ast.AST) -> str | None:
    return called_name(node.func) if isinstance(node, ast.Call) else None


def _commented(statement: Statement, element: _Element) -> bool:
    """Whether a comment stands beside the operand."""
    whole, inner = statement.span(element.node), statement.span(element.operand)
    return "#" in statement.text[whole.start : inner.start] + statement.text[inner.end : whole.end]


def _unlike(graph: Graph, cat: Value, listed: _Listed, along: int, place: Place) -> Refusal | bool | None:
    """Whether dimensions counted from both ends are one: None if so, False if they surely differ."""
    dims = {along, *(one.dim for one in listed.elements)}
    if len({one < 0 for one in dims}) == 1:
        return False
    ranks = {rank_of(graph, one.source, cat).exact for one in listed.elements if one.source is not None} - {None}
    if len(ranks) != 1:
        return Refusal("nothing shows how many dimensions the tensors have", place)
    total = (ranks.pop() or 0) + 1
    return None if len({one % total for one in dims}) == 1 else False


# -- the edit


def _same_name(element: _Element) -> bool:
    target = element.held.targets[0] if element.held is not None else None
    return isinstance(target, ast.Name) and isinstance(element.operand, ast.Name) and target.id == element.operand.id


def _plan(module: Module, scope: Scope, call: ast.Call, listed: _Listed) -> tuple[Action, ...]:
    statement = scope.statement
    actions: list[Action] = []
    inside: list[tuple[ast.expr, Within | str]] = []
    nodes = set(ast.walk(listed.node))
    for one in listed.elements:
        if one.held is not None and _same_name(one):
            actions.append(ReplaceStatements(statement, (one.held,), (), _behind(one)))
        elif one.node in nodes:
            inside.append((one.node, Within(one.operand)))
        else:
            actions.append(ReplaceExpression(statement, one.node, Within(one.operand)))
    if listed.iterated is not None:
        inside = [(listed.node, Within(listed.iterated))]
    if not listed.nested:
        if inside:
            by = Within(listed.iterated) if listed.iterated is not None else Within(listed.node, tuple(inside))
            actions.append(ReplaceExpression(statement, listed.node, by))
        inside = []
    func = call.func
    if isinstance(func, ast.Attribute):
        if not inside:
            return (*actions, RenameMethod(statement, call, "stack"))
        named = (func, f"{statement.source(func.value)}.stack")
        return (*actions, ReplaceExpression(statement, call, Within(call, (named, *inside))))
    first = _first(call)
    assert first is not None
    metadata = {f"arg_{at}": statement.source(one) for at, one in enumerate(call.args[1:])}
    metadata |= {one.arg: statement.source(one.value) for one in call.keywords if one.arg and one.value is not first}
    text = in_one_line(_spliced(statement, first, inside))
    made = Expression(LogicalNode("stack", "func_stack", metadata), (text,))
    return (*actions, ReplaceExpression(statement, call, made))


def _spliced(statement: Statement, node: ast.expr, parts: list[tuple[ast.expr, Within | str]]) -> str:
    """The source of a list with its elements' operands in their places."""
    text, start = statement.source(node), statement.span(node).start
    for part, by in sorted(parts, key=lambda one: statement.span(one[0]).start, reverse=True):
        assert isinstance(by, Within)
        span = statement.span(part)
        text = text[: span.start - start] + statement.source(by.node) + text[span.end - start :]
    return text


def _behind(element: _Element) -> ast.stmt | None:
    """The statement above which the comments of the one that goes may stand."""
    body = element.block.statements if element.block is not None else []
    if element.held not in body:
        return None
    at = body.index(element.held)
    return body[at + 1] if at + 1 < len(body) else body[at - 1]
