"""From a site to its edit: what goes, what stays for other uses, and under which names the operands are at hand."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Mapping
from functools import cache
from typing import ClassVar

from fuselight.fusions import provenance
from fuselight.fusions.base import Fusion, Match, Refusal
from fuselight.fusions.integers import not_floating
from fuselight.fusions.matching import Operand
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Assumption, number, shown_to_be_torch
from fuselight.fusions.plan import Action, AssignedTemplate, Place, ReplaceExpression, ReplaceStatements, Template
from fuselight.fusions.references import reference
from fuselight.fusions.site import Site, brief, number_text
from fuselight.fusions.writes import written_behind
from fuselight.graph.classes import assigned_names
from fuselight.graph.kinds import METADATA_ATTRIBUTES, is_random, read_as
from fuselight.graph.values import Consumption, Use, Value, Write
from fuselight.source.names import bound_names
from fuselight.source.nodes import walk
from fuselight.source.statements import Statement

_FLOAT32 = 1e-7
"""Constants that are closer than this differ by less than a float32 rounds."""


class OneCall(Fusion):
    """A fusion that puts one call in the place of an expression and of the statements that prepare it."""

    label: ClassVar[str] = ""
    """What the one call is called in titles; the replacement's kind where it is empty."""
    says: ClassVar[str] = "is {label} spelled out"
    """What the message says of a site."""
    does: ClassVar[str] = "Replace `{source}` by one call of {label}"
    """What the title says that the edit does."""


class Planned:
    """How one site is rewritten, or why it is not."""

    def __init__(self, fusion: type[OneCall], site: Site) -> None:
        self.fusion = fusion
        self.site = site
        self.statement = site.scope.statement
        self.root = site.root
        self.found = site.found
        self.target = _target(site.root)
        self.label = fusion.label or _label(site.rewrite.replacement)
        self.gone: set[Value] = set()
        """The values that the rewrite computes no more."""
        self.removed: list[ast.stmt] = []
        """Statements that held nothing else, in order."""

    def match(self) -> Match:
        site = self.site
        place = site.place
        source = brief(self.statement.source(place.node))
        notes: list[str] = []
        operands: dict[str, str | None] = {}
        refusal = self._sound() or self._asked(notes) or self._at_hand(operands)
        if refusal is not None:
            return self._refused(refusal)
        safety = Safety.NUMERICS if notes else site.rewrite.safety
        if site.rewrite.safety is not Safety.EXACT:
            safety = site.rewrite.safety
            notes.insert(0, site.rewrite.note)
        title = self.fusion.does.format(source=source, label=self.label) if self.label else f"Rewrite `{source}`"
        if safety is not Safety.EXACT:
            title += f" ({safety.value}: {'; '.join(notes)})"
        others = tuple(Place(self.statement, one) for one in self.removed)
        template = Template(site.rewrite.replacement, operands)
        return Match(
            self.fusion,
            site.scope.name,
            place,
            self._message(),
            title,
            safety,
            others,
            lambda: self._actions(template),
            parts=self._parts(),
        )

    def _message(self) -> str:
        return f"`{brief(self.statement.source(self.site.place.node))}` {self.fusion.says.format(label=self.label)}"

    def _refused(self, refusal: Refusal) -> Match:
        place = self.site.place
        return Match(self.fusion, self.site.scope.name, place, self._message(), refused=refusal, parts=self._parts())

    def _is_handled(self, value: Value) -> bool:
        """Whether somebody else sees to a part that is computed elsewhere, and to its statement."""
        return False

    def _is_replaced(self, use: Use) -> bool:
        """Whether what uses a part gets another value in its place."""
        return False

    def _changes_in_place(self, value: Value) -> bool:
        """Whether a part without an expression of its own writes to memory that others may see."""
        return value.kind != "unpack"

    def _parts(self) -> frozenset[ast.AST]:
        again = [one.value for one in self.found.repeated if one.value.kind not in ("parameter", "joined")]
        values = (self.root, *self.found.inner, *again)
        return frozenset((*(one.node for one in values if one.node is not None), self.site.place.node))

    def _actions(self, template: Template) -> tuple[Action, ...]:
        root = self.root
        if root.node is None:
            assert isinstance(root.statement, ast.AugAssign)
            assert isinstance(root.statement.target, ast.Name)
            put = AssignedTemplate(template, root.statement.target.id)
            return (ReplaceStatements(self.statement, (*self.removed, root.statement), (put,)),)
        actions: list[Action] = [ReplaceExpression(self.statement, root.node, template)]
        if self.removed:
            assert root.statement is not None
            actions.append(ReplaceStatements(self.statement, tuple(self.removed), (), root.statement))
        return tuple(actions)

    # -- what speaks against it

    def _sound(self) -> Refusal | None:
        site, root = self.site, self.root
        bound = tuple(one for one in self.found.bound.values() if isinstance(one, Operand))
        kinds = _kinds_in(site.rewrite.replacement)
        first = next((one.node for one in bound if one.node is not None), None)
        refusal = reference(
            site.module, site.scope, kinds, site.place.node, ast.unparse(first) if first is not None else None
        )
        if refusal is not None:
            return refusal
        if not shown_to_be_torch(site.module, (root, *self.found.inner), bound):
            return Refusal("it may compute with arrays of numpy", site.place)
        return (
            self._in_one_place()
            or self._in_place_root()
            or _layers_kept(site, (root, *self.found.inner))
            or self._written_behind(bound)
        )

    def _written_behind(self, bound: tuple[Operand, ...]) -> Refusal | None:
        """What autograd keeps from now on, and did not before, must not be written to in place behind the site."""
        site, root, rewrite = self.site, self.root, self.site.rewrite
        kind = _label(rewrite.replacement)
        result = f"`{self.label}`'s result"
        if kind in _KEEPS_RESULT and root.kind not in _KEEPS_RESULT:
            refusal = written_behind(site.module, site.scope, site.graph, root, root, result)
            if refusal is not None:
                return refusal
        if kind in _KEEPS_NO_OPERAND:
            return None
        numbers = {*rewrite.scalars, *rewrite.integers}
        tensors = [one for name, one in self.found.bound.items() if isinstance(one, Operand) and name not in numbers]
        for one in tensors:
            summand = kind in _KEEPS_NO_SUMMAND and self._is_summand(one.value)
            if one in bound and not summand and not self._is_kept_already(one.value):
                refusal = written_behind(site.module, site.scope, site.graph, one.value, root)
                if refusal is not None:
                    return refusal
        return None

    def _is_summand(self, value: Value) -> bool:
        """Whether the site does nothing with `value` but add it."""
        users = [one for one in (self.root, *self.found.inner) if value in one.inputs]
        return all(one.kind.removeprefix("in-place ") in ("add", "sub") for one in users)

    def _is_kept_already(self, value: Value) -> bool:
        """Whether a part of the site keeps `value` for its own backward pass."""
        for user in (self.root, *self.found.inner):
            kind = user.in_place or read_as(user.kind)[0]
            if value not in user.inputs or kind not in _KEEPS_OPERAND:
                continue
            if kind not in ("mul", "div") or not any(self.site.matcher.number(one) is not None for one in user.inputs):
                return True
        return False

    def _in_one_place(self) -> Refusal | None:
        """Every part is computed in this block, for this site or what stays, from values that do not change."""
        site, root, graph = self.site, self.root, self.site.graph
        for node in walk(self.target):
            if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                assert isinstance(node, ast.expr)
                return Refusal("a name is bound inside the expression", Place(self.statement, node))
        if root.statement is not None and any(
            isinstance(text, ast.JoinedStr) and any(one is root.node for one in walk(text))
            for text in walk(root.statement)
        ):
            return Refusal("it stands in a text", site.place)
        self.gone = self._disappearing()
        first = root.order
        for value in self.found.inner:
            first = min(first, value.order)
            if value.node is None and self._changes_in_place(value):
                return Refusal("a part of it is changed in place", site.place)
            kept = value not in self.gone
            if kept and not _OF_GRADIENTS.isdisjoint(site.scope.words):
                return Refusal("its gradient may be asked for", self._place(value))
            if kept and not site.rewrite.shared:
                return Refusal(f"`{self._source(value)}` is used again", self._place(value))
            if self._is_handled(value):
                continue
            if not kept and value.block is not root.block:
                return Refusal("its parts are computed in different branches or loops", self._place(value))
            if value.block is not root.block and self._contexts(value) != self._contexts(root):
                return Refusal("its parts are computed under different `with` statements", self._place(value))
        refusal = self._statements_go()
        if refusal is not None:
            return refusal
        if self.removed and not root.block.is_suite:
            return Refusal("its parts are computed in different branches or loops", site.place)
        if graph.exits_between(first, root.order):
            return Refusal("the function may leave, or torch be switched over, in between", site.place)
        reads = [one for one in self.found.bound.values() if isinstance(one, Operand)]
        for value in self.found.inner:
            if value not in self.gone and self._written_between(value, value.order) is not None:
                return Refusal(f"`{self._source(value)}` may be changed in between", self._place(value))
        for operand in (*reads, *self.found.repeated):
            write = self._written_between(operand.value, self._first_read(operand.value, first))
            if write is not None:
                at = write.node if isinstance(write.node, ast.expr | ast.stmt) else site.place.node
                return Refusal("its input may be changed in between", Place(self.statement, at))
        return None

    def _first_read(self, value: Value, otherwise: int) -> int:
        """When the site first reads an operand."""
        parts = (self.root, *self.found.inner, *self.found.numbers)
        return min((one.order for one in parts if value in (*one.inputs, *one.keywords.values())), default=otherwise)

    def _written_between(self, value: Value, first: int) -> Write | None:
        """The first write that may change `value` before the root, but for what the rewrite takes away."""
        going = self._going()
        for write in self.site.graph.writes:
            if first < write.order < self.root.order and write.node not in going and self._hits(write, value):
                return write
        return None

    def _going(self) -> set[ast.AST]:
        """The expressions, and statements that write in place, which the rewrite takes away."""
        nodes = (one.node if one.node is not None else one.statement for one in self.gone)
        return {one for one in nodes if one is not None}

    def _hits(self, write: Write, value: Value) -> bool:
        return write.hits(value.roots)

    def _contexts(self, value: Value) -> set[ast.AST]:
        """The `with` statements around a value: what stands in `torch.no_grad()` has no gradient."""
        node = value.node if value.node is not None else value.statement
        every = [one for one in ast.walk(self.site.graph.function) if isinstance(one, ast.With | ast.AsyncWith)]
        return {one for one in every if node is not None and _contains(one, node)}

    def _in_place_root(self) -> Refusal | None:
        """`h *= torch.sigmoid(h)`: the same as an assignment, where nobody else holds the memory of `h`."""
        root = self.root
        if root.node is not None:
            return None
        statement = root.statement
        if not isinstance(statement, ast.AugAssign) or not isinstance(statement.target, ast.Name):
            return Refusal("it is changed in place", self.site.place)
        before = root.inputs[0]
        outside = [use for use in before.uses if use.by is not root and use.by not in self.found.inner]
        if before.roots != frozenset({before.order}) or outside:
            name = statement.target.id
            return Refusal(f"`{name}` is changed in place, which another name of its memory may see", self.site.place)
        if not self.statement.stands_alone(statement):
            return Refusal("it shares its line with another statement", self.site.place)
        return None

    def _asked(self, notes: list[str]) -> Refusal | None:
        """The rewrite's own needs; what they assume goes into `notes`."""
        rewrite = self.site.rewrite
        for name, bound in self.found.bound.items():
            if isinstance(bound, Operand) and name not in (*rewrite.integers, *rewrite.scalars):
                refusal = not_floating(bound.value, self.site.place)
                if refusal is not None:
                    return refusal
        for need in (number(*rewrite.scalars), *rewrite.needs):
            verdict = need(self.site)
            if isinstance(verdict, Refusal):
                return verdict
            if isinstance(verdict, Assumption) and verdict.text not in notes:
                notes.append(verdict.text)
        if self.found.off > _FLOAT32:
            notes.append("a constant is rounded in the source")
        return None

    # -- what goes, and what stays

    def _disappearing(self) -> set[Value]:
        """The inner values that nothing else uses, with the constants and repeated reads that were for them alone."""
        inner = set(self.found.inner) | set(self.found.numbers)
        for operand in self.found.repeated:
            bound = [one.value for one in self.found.bound.values() if isinstance(one, Operand)]
            if operand.value not in bound:
                inner |= _computed_for(operand.value)
        inner -= {one.value for one in self.found.bound.values() if isinstance(one, Operand)}
        gone = {value for value in inner if not _is_copied(value)}
        while True:
            staying = {
                value
                for value in gone
                if any(
                    use.by is not self.root
                    and use.by not in gone
                    and not _is_idle(use.by)
                    and not self._is_replaced(use)
                    for use in value.uses
                )
                or any(use.how is Consumption.RETURNED for use in value.uses)
            }
            if not staying:
                return gone
            gone -= staying

    def _statements_go(self) -> Refusal | None:
        """Find the statements that held nothing but what disappears."""
        root = self.root
        going = [value for value in self.gone if not self._is_handled(value)]
        statements = {value.statement for value in going if value.statement is not root.statement}
        numbers = set(self.found.numbers) - set(self.found.inner)
        for statement in sorted((one for one in statements if one is not None), key=lambda one: one.lineno):
            there = [value for value in self.gone if value.statement is statement]
            if all(value in numbers for value in there) and not self._is_removable(statement):
                self.gone.difference_update(there)  # a constant may stay where it is
                continue
            if not self._is_removable(statement):
                value = max(there, key=lambda one: one.order)
                return Refusal(f"`{self._source(value)}` is not in a variable of its own", self._place(value))
            if not self.statement.stands_alone(statement):
                return Refusal("it shares its line with another statement", Place(self.statement, statement))
            self.removed.append(statement)
        return None

    def _is_removable(self, statement: ast.stmt) -> bool:
        """Whether a statement only binds names to values that disappear."""
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            return False
        if statement not in self.root.block.statements or not self.site.scope.name:
            return False
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return any(value.binding is statement for value in self.gone)
        if not isinstance(target, ast.Tuple) or not all(isinstance(one, ast.Name) for one in target.elts):
            return False
        if isinstance(statement.value, ast.Tuple):
            there = {value.node for value in self.gone if value.statement is statement}
            return all(element in there for element in statement.value.elts)
        unpacked = [one for one in self.site.graph.of_kind("unpack") if one.statement is statement]
        return bool(unpacked) and all(one in self.gone or not one.uses for one in unpacked)

    def _source(self, value: Value) -> str:
        return brief(self.statement.source(value.node)) if value.node is not None else "a part of it"

    def _place(self, value: Value) -> Place:
        return Place(self.statement, value.node) if value.node is not None else self.site.place

    # -- the operands where the site stands

    def _at_hand(self, operands: dict[str, str | None]) -> Refusal | None:
        """Find the source of every operand as it can stand at the root."""
        return self._at_root(self.site.rewrite.replacement, operands)

    def _at_root(self, template: str, operands: dict[str, str | None]) -> Refusal | None:
        uses = _uses_of_variables(template)
        for name in uses:
            bound = self.found.bound.get(name)
            if isinstance(bound, Operand):
                source = self._source_at_root(bound)
                if source is None or (uses[name] > 1 and not _is_plain(source)):
                    what = "is no variable" if source is not None else "is not at hand where the result is used"
                    return Refusal(f"`{self.site.text(name)}` {what}", self.site.place)
                if _is_commented(source):
                    return Refusal("a comment stands in its operand", self.site.place)
                operands[name] = source
            else:
                operands[name] = number_text(bound) if bound is not None else None
        return None

    def _source_at_root(self, bound: Operand) -> str | None:
        reads = [bound, *(one for one in self.found.repeated if self.site.matcher.is_same(one.value, bound.value))]
        nodes = [one.node for one in reads if one.node is not None and not self._loses_a_name(one.node)]
        for node in nodes:
            if _contains(self.target, node):
                return self.statement.source(node)
        for node in nodes:
            if isinstance(node, ast.Name) and self._still_holds(node, node.id):
                return node.id
        for node in nodes:
            if isinstance(bound.value.constant, int | float | str | bool) and isinstance(
                node, ast.Constant | ast.UnaryOp
            ):
                return self.statement.source(node)
            if self._can_be_moved(node, bound.value):
                return self.statement.source(node)
        if isinstance(bound.value.constant, int | float | str | bool):
            return repr(bound.value.constant)
        return None

    def _loses_a_name(self, node: ast.expr) -> bool:
        """Whether a statement goes that binds a name in `node`, as where one value is computed twice."""
        block, at = self.root.block.statements, self._statement_of(node)
        before = [one for one in self.removed if at is not None and one in block and block.index(one) < at]
        return not bound_in(before, self.statement).isdisjoint(
            one.id for one in ast.walk(node) if isinstance(one, ast.Name)
        )

    def _statement_of(self, node: ast.expr) -> int | None:
        """The number in the root's block of the statement in which `node` stands."""
        for at, statement in enumerate(self.root.block.statements):
            if _contains(statement, node):
                return at
        return None

    def _stays(self, node: ast.expr) -> bool:
        """Whether `node` stands in a statement that the rewrite leaves, for other uses of what it computes."""
        at = self._statement_of(node)
        return at is None or self.root.block.statements[at] not in self.removed

    def _between(self, node: ast.expr) -> list[ast.stmt] | None:
        """The statements that stay, from that of `node` to the root's, which is left out."""
        first, block = self._statement_of(node), self.root.block.statements
        last = next((n for n, one in enumerate(block) if one is self.root.statement), None)
        if first is None or last is None or first > last:
            return None
        return [one for one in block[first:last] if one not in self.removed]

    def _still_holds(self, node: ast.expr, name: str) -> bool:
        between = self._between(node)
        if between is None:
            return False
        return name not in bound_in(between, self.statement)

    def _can_be_moved(self, node: ast.expr, value: Value) -> bool:
        """Whether an operand may be evaluated at the root: nothing in between has an effect, or binds its names."""
        between = self._between(node)
        if between is None or self.root.block.guarded:
            return False
        if not isinstance(node, ast.Name | ast.Attribute) and self._stays(node):
            return False  # it would be computed twice: two draws, two calls, two times the work
        graph, root = self.site.graph, self.root
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        attributes = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
        if names & bound_in(between, self.statement) or attributes & self.site.matcher.stored_attributes:
            return False
        if between and self._has_effects(node, value, between):
            return False
        going = self._going()
        if any(value.order < write.order < root.order and write.node not in going for write in graph.writes):
            return False
        return not any(
            value.order < one.order < root.order
            and (one.kind in ("call", "instance", "opaque") or is_random(one.kind))
            and not isinstance(one.node, _HARMLESS)
            and one not in self.gone
            for one in graph.values
        )

    def _has_effects(self, node: ast.expr, value: Value, between: list[ast.stmt]) -> bool:
        """Whether what an operand calls does, or reads, something that the statements in between read, or change."""
        calls = {one for one in ast.walk(node) if isinstance(one, ast.Call)}
        if not calls:
            return False
        if _stores_attributes(between):  # `self.layer.weight = ...`
            return True
        writes = [one for one in self.site.graph.writes if one.node in calls]
        if any(one.sure for one in writes):
            return True
        return bool(writes) and any(
            value.order < one.order < self.root.order and one not in self.gone and _reads_state(one)
            for one in self.site.graph.values
        )


_KEEPS_RESULT = frozenset(
    "relu softmax log_softmax sigmoid tanh logsumexp hypot exp expm1 sqrt rsqrt cdist"
    " scaled_dot_product_attention".split()
)
"""Kinds whose backward pass reads their result. Source: tools/autograd/derivatives.yaml, torch 2.13."""

_KEEPS_NO_OPERAND = frozenset("relu softmax log_softmax sigmoid tanh exp expm1 sqrt rsqrt cross_entropy".split())
"""Kinds whose backward pass reads no floating operand."""

_KEEPS_NO_SUMMAND = frozenset({"addmm", "baddbmm", "addcmul", "addcdiv", "linear"})
"""Kinds whose backward pass reads no operand that is only added."""

_KEEPS_OPERAND = frozenset(
    "mul div pow square abs log log1p log2 log10 erf softplus gelu silu mish relu6 hardtanh clamp maximum minimum var"
    " std logsumexp norm vector_norm matmul linear conv1d conv2d conv3d log_sigmoid glu normalize layer_norm rms_norm"
    " cosine_similarity smooth_l1_loss huber_loss mse_loss kl_div mm bmm addmm sin cos leaky_relu hardswish".split()
)
"""Kinds whose backward pass reads their operands; a product with a number reads none."""


_HARMLESS = (ast.Slice, ast.ListComp, ast.SetComp, ast.DictComp)
"""Expressions that the graph does not follow, and of which a write tells where they have an effect."""

_OF_GRADIENTS = frozenset({"autograd", "grad", "retain_grad", "register_hook"})
"""Words of a function that may ask for the gradient of a part."""


def _reads_state(value: Value) -> bool:
    """Whether a value may be another one behind a call of which nothing is known, or have an effect itself."""
    if value.kind == "attribute" and isinstance(value.node, ast.Attribute):
        return value.node.attr not in METADATA_ATTRIBUTES
    return value.kind in ("builtin", "getitem") or (value.kind == "global" and value.path is None)


def _stores_attributes(statements: list[ast.stmt]) -> bool:
    return any(
        isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        for statement in statements
        for node in ast.walk(statement)
    )


def _target(root: Value) -> ast.AST:
    """What the rewrite replaces."""
    node = root.node if root.node is not None else root.statement
    assert node is not None
    return node


def _computed_for(value: Value) -> set[Value]:
    """A value with what it is computed from, as far as that is for it alone."""
    found = {value}
    stack = [value]
    while stack:
        one = stack.pop()
        for source in (*one.inputs, *one.keywords.values()):
            if source not in found and source.kind not in ("parameter", "joined") and len(source.uses) <= 1:
                found.add(source)
                stack.append(source)
    return found


def _is_idle(value: Value | None) -> bool:
    """Whether a value is an element of an unpacked tuple that nobody reads: `values, _ = x.max(-1)`."""
    return value is not None and value.kind == "unpack" and not value.uses and not value.reads


def _is_copied(value: Value) -> bool:
    """Whether a mere copy (`a = b`) hands the value on, so that its uses do not tell where it goes."""
    return value.binding is not None and value.reads > len(value.uses)


def _contains(outer: ast.AST, node: ast.AST) -> bool:
    first = (outer.lineno, outer.col_offset)  # pyright: ignore
    last = (outer.end_lineno, outer.end_col_offset)  # pyright: ignore
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # pyright: ignore
    return first <= begin and end <= last  # pyright: ignore


def bound_in(statements: list[ast.stmt], within: Statement) -> set[str]:
    """The names that statements bind, delete or bind inside of expressions."""
    found = assigned_names(statements, within) if statements else set[str]()
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.NamedExpr):
                found.update(bound_names(node.target))
            elif isinstance(node, ast.Delete):
                found.update(name for target in node.targets for name in bound_names(target))
    return set(found)


@cache
def _uses_of_variables(template: str) -> Mapping[str, int]:
    """How often each metavariable stands in a template, in the order of their first use."""
    tree = ast.parse(template, mode="eval")
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node not in called:
            found[node.id] = found.get(node.id, 0) + 1
    return found


def _is_commented(source: str) -> bool:
    """Whether a comment stands in an operand outside of its brackets, where the replacement has no place for it."""
    if "#" not in source:
        return False
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(f"({source}\n)").readline):
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if token.type == tokenize.COMMENT and depth == 1:
            return True
    return False


@cache
def _kinds_in(template: str) -> tuple[str, ...]:
    """The kinds that a template calls, and the last names of their functions in lower case."""
    tree = ast.parse(template, mode="eval")
    kinds = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return (*kinds, *(kind.replace("_", "") for kind in kinds))


@cache
def _label(template: str) -> str:
    tree = ast.parse(template, mode="eval").body
    tree = tree.operand if isinstance(tree, ast.UnaryOp) else tree
    while isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute):
        tree = tree.func.value  # a method of the call's result
    return tree.func.id if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else ""


def _is_plain(source: str) -> bool:
    """Whether source may be evaluated twice: a name, an attribute, a literal."""
    node = ast.parse(source.strip(), mode="eval").body
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name | ast.Constant)


def _layers_kept(site: Site, values: tuple[Value, ...]) -> Refusal | None:
    """A layer whose call goes must be what its constructor says, wherever the file may reach it."""
    module, owner = site.module, site.scope.owner
    for value in values:
        if value.layer is None or owner is None:
            continue
        refusal = (
            provenance.known_class(module, owner)
            or provenance.touched(module, owner, value.layer, None)
            or provenance.named_in_strings(module, (value.layer.attribute,))
            or provenance.found_by_computed_name(module, owner)
            or provenance.hooked(module, frozenset({value.layer.attribute}))
        )
        if refusal is not None:
            return refusal
    return None
