"""Whether a value can compute a pattern at all, whatever its metavariables stand for.

Most values can not, and that is told without trying them: by the kinds that are called, and how many factors and terms
there are. It is worked out once for a pattern and a value, though many patterns have a part in common.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fuselight.fusions.pattern import (
    Call,
    Cast,
    Display,
    Either,
    Item,
    Literal,
    Number,
    Pattern,
    Product,
    Sum,
    Variable,
)
from fuselight.graph.kinds import parameters_of
from fuselight.graph.values import Value

if TYPE_CHECKING:
    from fuselight.fusions.matching import Matcher, Operand


class Possible:
    """What the values of one graph can be."""

    def __init__(self, matcher: Matcher, scalars: tuple[str, ...]) -> None:
        """`scalars` are the metavariables that may stand for a number, which is then none of the factors or terms."""
        self._matcher = matcher
        self._scalars = scalars
        # By the identity of patterns, which are read once and kept, with one object for all equal parts.
        self._known: dict[tuple[int, Value, ast.expr | None], bool] = {}
        self._scaled: dict[tuple[int, Value, ast.expr | None], bool] = {}
        self._least: dict[int, int] = {}

    def is_possible(self, pattern: Pattern, at: Operand) -> bool:
        """False where `at` surely does not compute `pattern`; of a sum, nor a multiple of it."""
        if isinstance(pattern, Variable):
            return True
        key = (id(pattern), at.value, at.node)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._may_be(pattern, at)
        return known

    def is_possible_term(self, pattern: Pattern, at: Operand) -> bool:
        """As `is_possible`, of `pattern` times any number."""
        if isinstance(pattern, Variable):
            return True
        key = (id(pattern), at.value, at.node)
        known = self._scaled.get(key)
        if known is None:
            known = self._scaled[key] = self._may_be_scaled(pattern, at)
        return known

    def _may_be(self, pattern: Pattern, at: Operand) -> bool:
        matcher = self._matcher
        match pattern:
            case Number(value=wanted):
                return matcher.is_number(at.value, wanted)
            case Literal(value=literal):
                return at.value.kind == "constant" and type(at.value.constant) is type(literal)
            case Either(options=options):
                return any(self.is_possible(option, at) for option in options)
            case Cast(inner=inner):
                if self.is_possible(inner, at):
                    return True
                within = matcher.converted(at.value)
                return within is not None and self.is_possible(pattern, within)
            case Product():
                return self._may_be_product(pattern, at)
            case Sum():
                return self._may_be_sum(pattern, at)
            case Item(whole=whole, index=index):
                element = matcher.element(at.value)
                return element is not None and element[1] == index and self.is_possible(whole, element[0])
            case Display(elements=elements):
                return at.value.kind == "container" and len(at.value.inputs) == len(elements)
            case Call():
                return self._may_be_call(pattern, at)
            case Variable():
                return True

    def _may_be_sum(self, pattern: Sum, at: Operand) -> bool:
        terms = [term for _, term in pattern.terms]
        least = self._least_of(pattern, terms)
        for parts in self._matcher.as_sum(at):
            given = [one for one, _ in parts.factors]
            if (
                0 < len(given) <= len(terms)
                and least <= len(given)
                and all(any(self.is_possible_term(term, one) for term in terms) for one in given)
                and all(
                    type(term) is Variable or any(self.is_possible_term(term, one) for one in given) for term in terms
                )
            ):
                return True
        return False

    def _may_be_product(self, pattern: Product, at: Operand) -> bool:
        wanted = pattern.factors
        ways = self._matcher.as_product(at)
        if not any(len(parts.factors) <= len(wanted) for parts in ways):
            return False
        least = self._least_of(pattern, [part for part, _ in wanted])

        def fits(part: Pattern, exponent: float, operand: Operand, power: float) -> bool:
            return exponent == power and self.is_possible(part, operand)

        for parts in ways:
            given = parts.factors
            if (
                least <= len(given) <= len(wanted)
                and all(any(fits(*want, *one) for want in wanted) for one in given)
                and all(type(want[0]) is Variable or any(fits(*want, *one) for one in given) for want in wanted)
            ):
                return True
        return False

    def _least_of(self, pattern: Pattern, parts: list[Pattern]) -> int:
        """How many of its factors or terms a value has at least.

        A metavariable may stand for a number, and so for a part of the coefficient or the constant.
        """
        known = self._least.get(id(pattern))
        if known is None:
            numbers = sum(type(part) is Variable and part.name in self._scalars for part in parts)
            known = self._least[id(pattern)] = len(parts) - numbers
        return known

    def _may_be_scaled(self, pattern: Pattern, at: Operand) -> bool:
        if isinstance(pattern, Product):
            return self._may_be_product(pattern, at)
        return any(
            len(parts.factors) == 1 and parts.factors[0][1] == 1.0 and self.is_possible(pattern, parts.factors[0][0])
            for parts in self._matcher.as_product(at)
        )

    def _may_be_call(self, pattern: Call, at: Operand) -> bool:
        matcher = self._matcher
        if pattern.kind == "transposed":
            matrix = matcher.matrix(at.value)
            return matrix is not None and self.is_possible(pattern.arguments[0][1], matrix)
        called = matcher.called(at.value)
        if called is None or called.kind != pattern.kind:
            return False
        parameters = parameters_of(called.kind)
        for key, part in pattern.arguments:
            name = key if isinstance(key, str) else parameters[key].name if key < len(parameters) else str(key)
            operand = called.arguments.get(name)
            if operand is not None and not self.is_possible(part, operand):
                return False
        return True
