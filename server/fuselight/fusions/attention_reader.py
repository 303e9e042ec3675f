"""Reads attentions from the graph: from the product with the values down to the one of queries and keys."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from fuselight.fusions.attention_axes import AxesReader, Peel, Unfit
from fuselight.fusions.attentions import Attention, Dropout, Factor, Mask, Scores, Weights
from fuselight.fusions.base import Refusal
from fuselight.fusions.matching import Found, Matcher, Operand, cast_operand, constant_operand, operands_of
from fuselight.fusions.needs import is_number
from fuselight.fusions.parents import around
from fuselight.fusions.pattern import Pattern, parse_pattern
from fuselight.fusions.plan import Place
from fuselight.fusions.products import (
    PRODUCTS,
    Contraction,
    Ordering,
    contraction_of,
    ordering_of,
)
from fuselight.fusions.site import brief
from fuselight.graph.classes import resolve
from fuselight.graph.constants import is_tensor_of_number
from fuselight.graph.effects import made_in_place
from fuselight.graph.kinds import read_as
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import literal_number
from fuselight.graph.values import Value
from fuselight.source.nodes import walk

_MOST_STEPS = 24
"""How many operations may stand between the scores and their softmax, and how many masks and factors they may be."""


class AttentionReader:
    """Reads the attentions of one function."""

    def __init__(self, module: Module, scope: Scope, matcher: Matcher) -> None:
        self.module = module
        self.scope = scope
        self._statement = scope.statement
        self._graph = matcher.graph
        self._matcher = matcher
        self._leading: dict[Value, bool] = {}

    def attentions(self) -> Iterator[tuple[Value, Attention | Refusal]]:
        """Every attention, or what is nearly one with the reason why not; each with its root or softmax."""
        told: set[Value] = set()
        for value in list(self._graph.values):
            if value.kind not in PRODUCTS:
                continue
            product = contraction_of(self._matcher, value)
            if product is None:
                continue
            for way in (product, product.swapped()):
                weights = self._weights(way.left)
                if weights is None:
                    continue
                if isinstance(weights, Refusal):
                    yield value, weights
                    break
                scores = self._scores(weights.operand, weights.softmax)
                if scores is None:
                    continue
                told.add(weights.softmax)
                yield value, scores if isinstance(scores, Refusal) else self._attention(way, weights, scores)
                break
        yield from self._without_values(told)

    def _without_values(self, told: set[Value]) -> Iterator[tuple[Value, Refusal]]:
        """Softmaxes of scores that no product with values follows at once."""
        for value in list(self._graph.values):
            if "softmax" not in read_as(value.kind) or value in told:
                continue
            called = self._matcher.called(value)
            if called is None or called.kind != "softmax":
                continue
            scores = self._scores(called.arguments["input"], value)
            if scores is None:
                continue
            if isinstance(scores, Refusal):
                if self._reaches_a_product(value):
                    yield value, scores
                continue
            use = next((one.by for one in value.consumers if one.by is not None), None)
            at = use.node if use is not None and use.node is not None else value.node
            if self._reaches_a_product(value):
                reason = "the weights are changed before they meet the values, which the one call cannot do"
                yield value, Refusal(reason, self._place(at))

    def _reaches_a_product(self, value: Value, depth: int = 4) -> bool:
        users = [use.by for use in value.consumers if use.by is not None]
        return any(one.kind in PRODUCTS or (depth > 0 and self._reaches_a_product(one, depth - 1)) for one in users)

    def _place(self, node: ast.AST | None) -> Place | None:
        return Place(self._statement, node) if isinstance(node, ast.expr | ast.stmt) else None

    # -- from the product with the values to the softmax

    def _weights(self, at: Operand) -> Weights | Refusal | None:
        orderings: list[Ordering] = []
        dropout: Dropout | None = None
        casts: list[Value] = []
        inner: list[Value] = []
        for _ in range(_MOST_STEPS):
            value = at.value
            called = self._matcher.called(value)
            if called is not None and called.kind == "softmax":
                dim = called.arguments.get("dim")
                inner.append(value)
                operand = called.arguments["input"]
                if "dtype" in called.arguments:
                    casts.append(value)
                return Weights(value, operand, dim.value if dim else None, orderings, dropout, casts, inner)
            together = self._in_sequence(value)
            if together is not None and dropout is None:
                inner.append(value)
                return Weights(value, operands_of(value)[0], together[0], orderings, together[1], casts, inner)
            by_hand = self._by_hand(value)
            if by_hand is not None:
                operand, dim, parts = by_hand
                return Weights(value, operand, dim, orderings, dropout, casts, [*inner, *parts])
            inner.append(value)
            dropped = self._dropout(value)
            converted = self._converted(value)
            ordering = ordering_of(self._graph, value)
            if dropped is not None:
                if dropout is not None:
                    return None
                dropout, at = dropped
            elif ordering is not None:
                orderings.append(ordering)
                at = ordering.source
            elif converted is not None:
                casts.append(value)
                at = converted
            elif value.kind == "torch.nn.Identity" and len(value.inputs) == 1:
                at = operands_of(value)[0]
            else:
                return None
        return None

    def _converted(self, value: Value) -> Operand | None:
        """What a conversion of the dtype converts, `.to(q)` among them: what meets the values is as they are."""
        if value.kind == "method to" and len(value.inputs) == 2 and not value.keywords:
            return operands_of(value)[0]
        return cast_operand(value)

    def _by_hand(self, value: Value) -> tuple[Operand, Value | None, list[Value]] | None:
        """A softmax that is written out, with its operand and its dimension."""
        if value.kind.removeprefix("in-place ") not in ("div", "mul", "exp", "method exp") and value.in_place != "div":
            return None
        for pattern in _softmaxes():
            for found in self._matcher.matches(pattern, value):
                operand, dim = found.bound.get("x"), found.bound.get("d")
                if isinstance(operand, Operand) and isinstance(dim, Operand) and self._along_one(found):
                    again = [one.value for one in found.repeated if one.value is not operand.value]
                    return operand, dim.value, [value, *found.inner, *found.numbers, *again]
        return None

    def _along_one(self, found: Found) -> bool:
        """Whether the maximum, the sum and the axis that is put back are along one dimension."""
        bound = [found.bound.get(name) for name in ("d", "m", "u")]
        numbers = {self._matcher.number(one.value) for one in bound if isinstance(one, Operand)}
        return len(numbers) == 1 and None not in numbers

    def _in_sequence(self, value: Value) -> tuple[Value, Dropout] | None:
        """`self.attend(scores)` of `nn.Sequential(nn.Softmax(dim=-1), nn.Dropout(p))`: the dimension, the dropout."""
        layer, node = value.layer, value.node
        if layer is None or layer.kind != "torch.nn.Sequential" or layer.unknown is not None or len(value.inputs) != 1:
            return None
        made = layer.constructor.args if layer.constructor is not None else []
        if len(made) != 2 or not isinstance(node, ast.Call) or not isinstance(layer.constructor, ast.Call):
            return None
        softmax, dropout = made
        if not isinstance(softmax, ast.Call) or not isinstance(dropout, ast.Call) or layer.constructor.keywords:
            return None
        names = [resolve(one.func, self.module.names) for one in (softmax, dropout)]
        if names != ["torch.nn.Softmax", "torch.nn.Dropout"] or made_in_place(dropout):
            return None
        dims = [*softmax.args, *(one.value for one in softmax.keywords if one.arg == "dim")]
        dim = literal_number(dims[0]) if len(dims) == 1 else None
        return (constant_operand(dim, value).value, Dropout(value, node.func, element=1)) if dim is not None else None

    def _dropout(self, value: Value) -> tuple[Dropout, Operand] | None:
        if value.kind == "torch.nn.Dropout" and isinstance(value.node, ast.Call) and len(value.inputs) == 1:
            if value.layer is None or value.keywords or self._binds_self():
                return None
            return Dropout(value, layer=value.node.func), operands_of(value)[0]
        called = self._matcher.called(value)
        if called is None or called.kind != "dropout":
            return None
        given = called.arguments
        return Dropout(value, p=given.get("p"), training=given.get("training")), given["input"]

    def _binds_self(self) -> bool:
        """Whether the function gives its own `self` another meaning, which the call reads once more."""
        function = self.scope.function
        names = [one for one in walk(function) if isinstance(one, ast.Name) and one.id == self_parameter(function)]
        return any(not isinstance(one.ctx, ast.Load) for one in names)

    # -- from the softmax to the product of queries and keys

    def _leads(self, value: Value, depth: int = _MOST_STEPS) -> bool:
        """Whether the scores' product is found on the way down from `value`."""
        known = self._leading.get(value)
        if known is not None:
            return known
        self._leading[value] = False  # what a loop hands on to itself leads nowhere
        self._leading[value] = found = depth > 0 and self._leads_on(value, depth - 1)
        return found

    def _leads_on(self, value: Value, depth: int) -> bool:
        if value.kind in PRODUCTS:
            return contraction_of(self._matcher, value) is not None
        return any(self._leads(one, depth) for one in self._followed(value))

    def _followed(self, value: Value) -> list[Value]:
        """The inputs of which one may be the scores."""
        if value.kind == "joined":
            return list(value.inputs)
        if value.kind == "call" and value.in_place in _IN_PLACE:
            return [value.inputs[0]]
        arithmetic = self._matcher.arithmetic(value)
        if arithmetic is not None:
            kind, operands = arithmetic
            return [one.value for one in (operands[:1] if kind == "div" else operands) if kind != "pow"]
        called = self._matcher.called(value)
        if called is not None and called.kind == "masked_fill":
            return [called.arguments["input"].value]
        if value.kind in ("where", "method where"):
            return [one for one in value.inputs if one.kind != "compare"][:3]
        converted = self._converted(value)
        if converted is not None:
            return [converted.value]
        ordering = ordering_of(self._graph, value)
        return [ordering.source.value] if ordering is not None else []

    def _scores(self, at: Operand, softmax: Value) -> Scores | Refusal | None:
        if not self._leads(at.value):
            return self._nearly(at)
        product = self._product(at.value)
        if isinstance(product, Refusal):
            return product
        assert product is not None
        found = Scores(product)
        user = softmax
        for _ in range(_MOST_STEPS):
            value = at.value
            refusal = self._written(value, user, found, None)
            if refusal is not None:
                return refusal
            if value is product.value:
                if product.added is not None:
                    refusal = self._summand(product, found)
                return refusal or found
            found.inner.append(value)
            user = value
            step = self._joined(value, found) if value.kind == "joined" else self._step(value, found, None)
            if isinstance(step, Refusal):
                return step
            at = step
        return Refusal("there is too much between the scores and their softmax", self._place(softmax.node))

    def _nearly(self, at: Operand) -> Refusal | None:
        """Why scores are none that a mask can say, where one operation stands between them and their product."""
        seen: set[Value] = set()
        waiting = [at.value]
        while waiting and len(seen) < _MOST_STEPS:
            value = waiting.pop(0)
            if value in seen:
                continue
            seen.add(value)
            followed = self._followed(value)
            waiting += followed
            given = [inner for one in value.inputs for inner in (one.inputs if one.kind == "container" else (one,))]
            if followed or value.node is None or value.kind in ("parameter", "joined", "unpack"):
                continue
            if any(self._leads(one) for one in given):
                return self._changed(value)
        return None

    def _product(self, value: Value) -> Contraction | Refusal | None:
        """The one product that the scores come from."""
        found: list[Contraction] = []
        seen: set[Value] = set()
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if one in seen or not self._leads(one):
                continue
            seen.add(one)
            product = contraction_of(self._matcher, one) if one.kind in PRODUCTS else None
            if product is not None:
                found.append(product)
            else:
                waiting += self._followed(one)
        if len(found) > 1:
            return Refusal("the scores are the sum of several products", self._place(found[0].value.node))
        return found[0] if found else None

    def _summand(self, product: Contraction, found: Scores) -> Refusal | None:
        """What `baddbmm` adds, and what it multiplies by."""
        assert product.added is not None
        value = product.value
        beta = product.beta.value if product.beta is not None else None
        weight = 1.0 if beta is None else self._matcher.number(beta)
        if weight not in (0.0, 1.0):
            return Refusal("what `baddbmm` adds is multiplied by a number", self._place(value.node))
        if weight == 1.0:
            found.masks.append(Mask("add", product.added, value, scaled=tuple(found.factors)))
        else:
            found.inner.append(product.added.value)
        if product.alpha is not None:
            found.factors.append(Factor(product.alpha, value=value))
        return None

    def _step(self, value: Value, found: Scores, branch: ast.If | None) -> Operand | Refusal:
        """One operation on the scores: it is noted in `found`, and what it was done to is returned."""
        if value.kind == "call" and value.in_place in _IN_PLACE:
            return self._in_place(value, value.inputs[0], found, branch) or operands_of(value)[0]
        arithmetic = self._matcher.arithmetic(value)
        if arithmetic is not None:
            return self._arithmetic(value, *arithmetic, found, branch)
        called = self._matcher.called(value)
        if called is not None and called.kind == "masked_fill":
            given = called.arguments
            self._mask(found, Mask("block", given["mask"], value, given["value"], branch=branch))
            return given["input"]
        if value.kind in ("where", "method where"):
            return self._where(value, found, branch)
        converted = self._converted(value)
        if converted is not None and branch is None:
            found.casts.append(value)
            return converted
        ordering = ordering_of(self._graph, value)
        if ordering is not None and branch is None:
            found.orderings.append(ordering)
            return ordering.source
        return self._changed(value)

    def _changed(self, value: Value) -> Refusal:
        text = f"`{brief(self._statement.source(value.node))}`" if value.node is not None else "a part of it"
        return Refusal(f"{text} changes the scores as no mask can say", self._place(value.node))

    def _mask(self, found: Scores, mask: Mask) -> None:
        mask.scaled = tuple(found.factors)
        found.masks.append(mask)

    def _arithmetic(
        self, value: Value, kind: str, operands: list[Operand], found: Scores, branch: ast.If | None
    ) -> Operand | Refusal:
        first = operands[0]
        second = operands[1] if len(operands) > 1 else first
        leads = [self._leads(one.value) for one in operands]
        maximum = self._maximum(second, first) if kind == "sub" and leads[0] else None
        if maximum is not None:
            found.inner += maximum
            found.maxima.append(first.value)
            return first
        if leads.count(True) != 1 or kind not in ("mul", "div", "add", "sub"):
            return self._changed(value)
        scores, other = (first, second) if leads[0] else (second, first)
        if kind in ("mul", "div"):
            if branch is not None:
                return Refusal("the scores are scaled under a condition", self._place(value.node))
            found.factors.append(Factor(other, kind == "div", value))
            return scores
        if kind == "sub" and scores is second:
            return Refusal("the scores are subtracted from something", self._place(value.node))
        self._mask(found, Mask("add" if kind == "add" else "subtract", other, value, branch=branch))
        return scores

    def _maximum(self, other: Operand, scores: Operand) -> list[Value] | None:
        """What computes a summand that is the maximum of the scores, whose subtraction changes no softmax."""
        maximum = other.value.inputs[0] if other.value.kind == "method detach" else other.value
        for pattern in _maxima():
            for found in self._matcher.matches(pattern, maximum):
                bound = found.bound.get("x")
                if isinstance(bound, Operand) and self._matcher.is_same(bound.value, scores.value):
                    return list(dict.fromkeys((other.value, maximum, *found.inner)))
        return None

    def _where(self, value: Value, found: Scores, branch: ast.If | None) -> Operand | Refusal:
        operands = operands_of(value)
        if len(operands) != 3 or value.keywords:
            return self._changed(value)
        if value.kind == "method where":
            operands = [operands[1], operands[0], operands[2]]
        condition, one, other = operands
        if self._leads(one.value) == self._leads(other.value):
            return self._changed(value)
        how, scores, fill = ("keep", one, other) if self._leads(one.value) else ("block", other, one)
        self._mask(found, Mask(how, condition, value, fill, branch=branch))
        return scores

    # -- masks under a condition, and in place

    def _joined(self, value: Value, found: Scores) -> Operand | Refusal:
        """Scores that an `if` masks, or does not: `if mask is not None: scores = scores.masked_fill(...)`."""
        bases: list[Value] = []
        for one in value.inputs:
            at = Operand(one, None)
            user = value
            for _ in range(_MOST_STEPS):
                if at.value.block is value.block:
                    break
                branch = self._branch(at.value, value)
                if isinstance(branch, Refusal):
                    return branch
                refusal = self._written(at.value, user, found, value)
                if refusal is not None:
                    return refusal
                found.inner.append(at.value)
                user = at.value
                step = self._step(at.value, found, branch)
                if isinstance(step, Refusal):
                    return step
                at = step
            bases.append(at.value)
        if value.node is not None or len(set(bases)) != 1 or bases[0].block is not value.block:
            at = next((one.node for one in value.inputs if one.node is not None), None)
            return Refusal("the scores differ between branches by more than a mask", self._place(at))
        return Operand(bases[0], None)

    def _branch(self, value: Value, outer: Value) -> ast.If | Refusal:
        """The `if` in whose suite `value` stands, in the block that `outer` is of."""
        statement = value.statement
        node = value.node if value.node is not None else statement
        if statement is not None and node is not None:
            for one in around(self._statement, node):
                if isinstance(one, ast.If):
                    if (statement in one.body or statement in one.orelse) and one in outer.block.statements:
                        return one
                    break
                if isinstance(one, ast.stmt) and one is not statement:
                    break
        return Refusal("the scores are computed in different branches or loops", self._place(value.node))

    def _written(self, value: Value, user: Value, found: Scores, outer: Value | None) -> Refusal | None:
        """In-place masks of `value` before `user` reads it: `scores.masked_fill_(mask, -inf)` as a statement."""
        own = {value.order} & value.roots
        writes = [
            one
            for one in self._graph.writes
            if value.order < one.order < user.order and (one.roots & own or one.hits(value.roots))
        ]
        for write in reversed(writes):
            users = [one.by for one in value.uses if one.by is not None]
            by = next((one for one in users if one.node is write.node), None)
            if any(one.node is None and one.statement is write.node and one in found.inner for one in users):
                continue  # `scores += mask` under a condition, seen on the way
            if (by is not None and by is user) or (value.node is None and write.node is value.statement):
                continue
            if not write.sure and not write.roots & own:
                continue  # a call that may write to what it was given, which the scores are not
            statement = by.statement if by is not None else None
            if by is None or not isinstance(statement, ast.Expr) or by.inputs[0] is not value or by.in_place is None:
                return Refusal("the scores are changed in place", self._place(write.node))
            branch: ast.If | None = None
            if by.block is not value.block:
                within = self._branch(by, outer or value)
                if isinstance(within, Refusal):
                    return within
                branch = within
            step = self._in_place(by, value, found, branch)
            if step is not None:
                return step
            found.inner.append(by)
        return None

    def _in_place(self, by: Value, value: Value, found: Scores, branch: ast.If | None) -> Refusal | None:
        operands = operands_of(by)
        given = {**dict(zip(("input", "mask", "value"), operands, strict=False)), **_keyword_operands(by)}
        if by.in_place == "masked_fill" and {"mask", "value"} <= given.keys():
            self._mask(found, Mask("block", given["mask"], by, given["value"], branch=branch))
            return None
        if by.in_place in ("mul", "div", "add", "sub") and len(operands) == 2 and not by.keywords:
            other = operands[1]
            if by.in_place in ("mul", "div"):
                if branch is not None:
                    return Refusal("the scores are scaled under a condition", self._place(by.node))
                found.factors.append(Factor(other, by.in_place == "div", by))
            else:
                self._mask(found, Mask("add" if by.in_place == "add" else "subtract", other, by, branch=branch))
            return None
        return Refusal("the scores are changed in place", self._place(by.node))

    # -- the axes

    def _attention(self, way: Contraction, weights: Weights, scores: Scores) -> Attention | Refusal:
        peel = Peel(self._graph, self._matcher, self._is_number)
        try:
            return AxesReader(self._graph, way, weights, scores).read(peel)
        except Unfit as unfit:
            return Refusal(unfit.reason, self._place(unfit.node if unfit.node is not None else way.value.node))

    def _is_number(self, value: Value) -> bool:
        """Whether a value surely is a Python number, and no tensor that is made of one."""
        return is_number(self, value) and not is_tensor_of_number(value)


def _keyword_operands(value: Value) -> dict[str, Operand]:
    nodes = {one.arg: one.value for one in value.node.keywords} if isinstance(value.node, ast.Call) else {}
    return {name: Operand(one, nodes.get(name)) for name, one in value.keywords.items()}


_IN_PLACE = frozenset({"masked_fill", "mul", "div", "add", "sub"})
"""What is done to scores in place, by a method of that name with an underscore."""


@cache
def _softmaxes() -> tuple[Pattern, ...]:
    """A softmax by hand, in the ways that another fusion knows."""
    from fuselight.fusions.softmax_by_hand import SoftmaxByHand

    return tuple(parse_pattern(one.pattern) for one in SoftmaxByHand.rewrites if one.replacement.startswith("softmax("))


@cache
def _maxima() -> tuple[Pattern, ...]:
    return tuple(
        parse_pattern(text)
        for text in ("amax(x, dim=-1, keepdim=True)", "item(max(x, dim=-1, keepdim=True), 0)", "amax(x)", "max(x)")
    )


__all__ = ["AttentionReader"]
