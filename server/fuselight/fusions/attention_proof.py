"""The proof of an attention's site: what the rewrite may take away, with masks under conditions and in place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fuselight.fusions.base import Match, Refusal
from fuselight.fusions.matching import Operand
from fuselight.fusions.needs import is_number
from fuselight.fusions.parents import around
from fuselight.fusions.plan import (
    Action,
    AssignedTemplate,
    Insert,
    Place,
    RenameMethod,
    ReplaceExpression,
    ReplaceStatements,
    Template,
)
from fuselight.fusions.planned import OneCall, Planned, bound_in
from fuselight.fusions.results_viewed import callers_write
from fuselight.fusions.site import Site
from fuselight.graph.values import ANYTHING, EXTERNAL, Use, Value, Write

if TYPE_CHECKING:
    from fuselight.fusions.attention_plan import AttentionPlan


@dataclass(slots=True, eq=False)
class Arm:
    """A mask under a condition, as it is computed once the attention is one call."""

    branch: ast.If
    statement: ast.stmt
    template: str


class PlannedAttention(Planned):
    """The proof of a site, with masks under conditions and in place."""

    def __init__(self, fusion: type[OneCall], site: Site, plan: AttentionPlan) -> None:
        super().__init__(fusion, site)
        self.plan = plan
        self.dead: list[ast.stmt] = []
        """Statements under a condition that only prepared a mask's number."""

    def refused(self, refusal: Refusal) -> Match:
        """The site with the reason why it stays."""
        return self._refused(refusal)

    def _hits(self, write: Write, value: Value) -> bool:
        """A call that may write is one that was given the value; of most operands it is not known where they lie."""
        if is_number(self.plan, value):
            return False  # a name may be bound to another one, which is asked for elsewhere, but no number changes
        if write.sure:
            return write.hits(value.roots)
        shared = (write.roots & value.roots) - {EXTERNAL}
        if not _hangs_on_self(value):
            shared = {root for root in shared if root > EXTERNAL or root == ANYTHING}
        if shared - {ANYTHING} or not shared:
            return bool(shared)
        call = next((one for one in self.site.graph.values if one.node is write.node), None)
        given = call.inputs if call is not None else ()
        return call is None or any((one.roots & value.roots) - {EXTERNAL} for one in given)

    def _can_be_moved(self, node: ast.expr, value: Value) -> bool:
        between = self._between(node)
        if between is not None and is_number(self.plan, value) and not self.root.block.guarded:
            names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            attributes = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
            if not attributes & self.site.matcher.stored_attributes and not names & bound_in(between, self.statement):
                return True
        return super()._can_be_moved(node, value)

    def _written_behind(self, bound: tuple[Operand, ...]) -> Refusal | None:
        refusal = super()._written_behind(bound)
        if refusal is not None:
            return refusal
        site = self.site
        for mask in self.plan.at.masks:
            if mask.how not in ("add", "subtract"):
                continue
            write = self._write_behind(mask.operand.value)  # the call keeps it, a sum did not
            if write is not None:
                at = write.node if isinstance(write.node, ast.expr | ast.stmt) else site.place.node
                return Refusal("a mask is written to in place behind it", Place(self.statement, at))
        return callers_write(site.module, site.scope, site.graph, self.root)

    def _write_behind(self, value: Value) -> Write | None:
        """What writes to the memory of `value` behind the site, or in a further turn of a loop around it."""
        node = self.site.place.node
        loops = [one for one in around(self.statement, node) if isinstance(one, ast.For | ast.AsyncFor | ast.While)]
        roots = value.roots - {EXTERNAL, ANYTHING}
        makers = [one for one in self.site.graph.values if one.order in roots]
        if loops and all(one.kind != "joined" and _stands_in(one.node, loops[0]) for one in makers):
            loops = []  # every turn makes its own
        for write in self.site.graph.writes:
            again = write.order > self.root.order or any(_stands_in(write.node, one) for one in loops)
            if write.sure and again and not write.roots.isdisjoint(roots):
                return write
        return None

    def _is_replaced(self, use: Use) -> bool:
        return use.by is not None and use.by in self.plan.replaced

    def _is_handled(self, value: Value) -> bool:
        """Whether a value is one of a mask under a condition, whose statement gets another one in its place."""
        return value.statement in {one.statement for one in self.plan.arms} or value.kind == "joined"

    def _changes_in_place(self, value: Value) -> bool:
        if value.kind == "joined":
            return False
        statement = value.statement
        return not (isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name))

    def _is_removable(self, statement: ast.stmt) -> bool:
        there = {value.node for value in self.gone if value.statement is statement}
        if statement in self.root.block.statements and self.site.scope.name:
            if isinstance(statement, ast.Expr) and statement.value in there:
                return True
            if isinstance(statement, ast.AugAssign) and any(
                one.statement is statement and one.node is None for one in self.gone
            ):
                return True
        if isinstance(statement, ast.Assign) and self._in_a_branch(statement) is not None:
            return any(value.binding is statement for value in self.gone)
        return super()._is_removable(statement)

    def _statements_go(self) -> Refusal | None:
        refusal = super()._statements_go()
        if refusal is not None:
            return refusal
        block = self.root.block.statements
        self.dead = [one for one in self.removed if one not in block]
        self.removed = [one for one in self.removed if one in block]
        for value in self.gone:
            for use in value.uses:
                by = use.by
                if by is None or by is self.root or by in self.gone or by in self.plan.replaced or by.kind == "joined":
                    continue
                if not (by.kind == "unpack" and not by.uses and not by.reads):
                    return Refusal(f"`{self._source(value)}` is used again", self._place(value))
        return None

    def _in_a_branch(self, statement: ast.stmt) -> ast.stmt | None:
        """The masking statement of the suite under a condition in which a statement stands."""
        for arm in self.plan.arms:
            for suite in (arm.branch.body, arm.branch.orelse):
                if statement in suite and arm.statement in suite and statement is not arm.statement:
                    return arm.statement
        return None

    def _at_hand(self, operands: dict[str, str | None]) -> Refusal | None:
        refusal = self._at_root(self.site.rewrite.replacement, operands)
        operands.update(self.plan.operands.texts)
        return refusal or self._arms_at_hand(operands)

    def _arms_at_hand(self, operands: dict[str, str | None]) -> Refusal | None:
        """The operands of masks under conditions are read where they were, or are plain names that hold there."""
        for arm in self.plan.arms:
            for name in variables_of(arm.template):
                bound = self.found.bound.get(name)
                if not isinstance(bound, Operand) or bound.node is None:
                    continue
                inside = any(one is bound.node for one in ast.walk(arm.statement))
                if not inside and not self._holds_at(bound, arm.branch):
                    return Refusal("a mask's operand is not at hand under its condition", self.site.place)
                operands[name] = self.statement.source(bound.node)
        for name in variables_of(self.plan.before) if self.plan.before is not None else ():
            bound = self.found.bound.get(name)
            if isinstance(bound, Operand):
                branch = self.plan.arms[0].branch
                holds = bound.node is not None and self._holds_at(bound, branch)
                computed_before = bound.node is not None and bound.node.lineno < branch.lineno
                if bound.node is None or not (
                    holds or (computed_before and self._can_be_moved(bound.node, bound.value))
                ):
                    return Refusal("a mask's operand is not at hand before the condition", self.site.place)
                operands[name] = self.statement.source(bound.node)
        for _, template in self.plan.prepared:
            refusal = self._at_root(template, operands)
            if refusal is not None:
                return refusal
        return None

    def _holds_at(self, bound: Operand, branch: ast.If) -> bool:
        """Whether a name is bound to the operand where an `if` begins: it was read before, and not bound anew since."""
        node = bound.node
        if isinstance(node, ast.Attribute) and is_number(self.plan, bound.value):
            return node.attr not in self.site.matcher.stored_attributes
        if not isinstance(node, ast.Name):
            return False
        if node.lineno < branch.lineno:
            return self._still_holds(node, node.id)
        stores = [one for one in ast.walk(self.site.graph.function) if isinstance(one, ast.Name) and one.id == node.id]
        places = [one.lineno for one in stores if not isinstance(one.ctx, ast.Load)]
        return not places if bound.value.kind == "parameter" else len(places) == 1 and places[0] < branch.lineno

    def _reads_elsewhere(self, template: Template) -> Iterator[Action]:
        """What the rest of the function reads of the scores' shape, read of the queries and keys; and views."""
        for call in self.plan.viewed:
            yield RenameMethod(self.statement, call, "reshape")
        for value, text in self.plan.replaced.items():
            removed = value in self.gone or value.statement in self.removed
            if text and value.node is not None and not removed:
                yield ReplaceExpression(self.statement, value.node, Template(text, template.operands))

    def _actions(self, template: Template) -> tuple[Action, ...]:
        arms = self.plan.arms
        if not arms:
            return (*super()._actions(template), *self._reads_elsewhere(template))
        name = self.plan.mask_name
        assert self.root.node is not None
        assert self.plan.before is not None
        actions: list[Action] = [ReplaceExpression(self.statement, self.root.node, template)]
        first = arms[0].branch
        before = AssignedTemplate(Template(self.plan.before, template.operands), name)
        if self.removed:
            assert self.root.statement is not None
            actions.append(ReplaceStatements(self.statement, tuple(self.removed), (), self.root.statement))
        actions.append(Insert(self.statement, first, (before,)))
        for prepared, text in self.plan.prepared:
            put = AssignedTemplate(Template(text, template.operands), prepared)
            assert self.root.statement is not None
            actions.append(Insert(self.statement, self.root.statement, (put,)))
        for arm in arms:
            put = AssignedTemplate(Template(arm.template, template.operands), name)
            actions.append(ReplaceStatements(self.statement, (arm.statement,), (put,)))
            dead = tuple(one for one in self.dead if self._in_a_branch(one) is arm.statement)
            if dead:
                actions.append(ReplaceStatements(self.statement, dead, (), arm.statement))
        return (*actions, *self._reads_elsewhere(template))


def _stands_in(node: ast.AST | None, loop: ast.AST) -> bool:
    return node is not None and any(one is node for one in ast.walk(loop))


def _hangs_on_self(value: Value) -> bool:
    """Whether a value is an attribute, or an element or a view of one."""
    while value.kind in ("getitem", "unpack", "reshape", "swapaxes", "permute", "unsqueeze") and value.inputs:
        value = value.inputs[0]
    return value.kind == "attribute"


def variables_of(template: str) -> list[str]:
    tree = ast.parse(template, mode="eval")
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


__all__ = ["Arm", "PlannedAttention", "variables_of"]
