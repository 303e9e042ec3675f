"""Patterns over the graph: whether a value computes what a pattern says, and what its metavariables stand for."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

from fuselight.fusions.pattern import (
    POWERS,
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
from fuselight.fusions.possible import Possible
from fuselight.fusions.slices import slice_of
from fuselight.graph.classes import ClassInfo
from fuselight.graph.constants import number_of
from fuselight.graph.kinds import is_random, kind_of_layer, parameters_of
from fuselight.graph.module import Module
from fuselight.graph.values import Graph, Value

_CLOSE = 5e-7
"""How far apart two numbers may be, relatively, to be the same constant: seven digits."""

_SAME_SUM = 1e-12
"""How far apart the constants of two sums may be, relatively: by the rounding of the arithmetic alone."""

_MOST_OPTIONS = 64
"""In how many ways one product or sum is taken apart at most."""


# So many of these come and go that they are not frozen, which makes one in a third of the time.


@dataclass(slots=True, eq=False)
class Operand:
    """A value and the expression at which it is read."""

    value: Value
    node: ast.expr | None


Bound = Operand | float | None
"""What a metavariable stands for: an operand, a number that several constants make up, or an absent argument."""


@dataclass(slots=True, eq=False)
class Found:
    """A (partial) match."""

    bound: Mapping[str, Bound]
    inner: tuple[Value, ...] = ()
    """The values between the root and the metavariables."""
    numbers: tuple[Value, ...] = ()
    """Constants, and what they are computed from."""
    repeated: tuple[Operand, ...] = ()
    """Further reads of values that are bound already, or of others that compute the same."""
    off: float = 0.0
    """How far the site's constants are from the pattern's, relatively."""

    def with_inner(self, *values: Value) -> Found:
        return Found(self.bound, (*self.inner, *values), self.numbers, self.repeated, self.off)

    def bind(self, name: str, bound: Bound) -> Found:
        return Found({**self.bound, name: bound}, self.inner, self.numbers, self.repeated, self.off)

    def within(self, parts: _Parts) -> Found:
        """With what a product or sum was taken apart by."""
        if not parts.inner and not parts.numbers:
            return self
        inner, numbers = (*self.inner, *parts.inner), (*self.numbers, *parts.numbers)
        return Found(self.bound, inner, numbers, self.repeated, self.off)

    def off_by(self, off: float) -> Found:
        """With a constant that is as far from the pattern's."""
        if off <= self.off:
            return self
        return Found(self.bound, self.inner, self.numbers, self.repeated, off)


class Matcher:
    """Matches patterns against the values of one graph."""

    def __init__(self, module: Module, owner: ClassInfo | None, graph: Graph) -> None:
        """`owner` is the class of which the graph's function is a method."""
        self.module = module
        self.owner = owner
        self.graph = graph
        self._numbers: dict[Value, float | None] = {}
        self._calls: dict[Value, Called | None] = {}
        self._products: dict[tuple[Value, ast.expr | None], list[_Parts]] = {}  # a value is read at several places
        self._sums: dict[tuple[Value, ast.expr | None], list[_Parts]] = {}
        self._scalars: tuple[str, ...] = ()
        self._possible = Possible(self, ())
        self._possible_with: dict[tuple[str, ...], Possible] = {(): self._possible}

    def matches(self, pattern: Pattern, root: Value, scalars: tuple[str, ...] = ()) -> Iterator[Found]:
        """Every way in which `root` computes `pattern`; the root is none of the inner values.

        `scalars` are the metavariables that may stand for a number that is written as one.
        """
        self._scalars = scalars
        self._possible = self._possible_with.get(scalars) or Possible(self, scalars)
        self._possible_with[scalars] = self._possible
        for found in self._solve(pattern, Operand(root, root.node), Found({})):
            inner = tuple(dict.fromkeys(one for one in found.inner if one is not root))
            yield replace(found, inner=inner)

    def number(self, value: Value) -> float | None:
        """The number that `value` surely is."""
        if value not in self._numbers:
            self._numbers[value] = number_of(self.module, self.owner, value, self.graph)
        return self._numbers[value]

    def called(self, value: Value) -> Called | None:
        """`value` as a call of a neutral kind with its arguments by name; None where it is none."""
        if value not in self._calls:
            self._calls[value] = _called(value)
        return self._calls[value]

    @cached_property
    def stored_attributes(self) -> frozenset[str]:
        """Attributes that the function assigns: they are not the same before and behind."""
        return frozenset(
            node.attr
            for node in ast.walk(self.graph.function)
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        )

    def is_same(self, one: Value, other: Value) -> bool:
        """Whether two values surely are the same: one value, or the same computed twice from the same values."""
        if one is other:
            return True
        number = self.number(one)
        if number is not None:
            return number == self.number(other)
        return self._computes_the_same(one, other)

    def _computes_the_same(self, one: Value, other: Value) -> bool:
        if (
            one.kind != other.kind
            or one.layer is not None
            or other.layer is not None
            or one.index != other.index
            or one.path != other.path
            or one.constant != other.constant
            or len(one.inputs) != len(other.inputs)
            or one.keywords.keys() != other.keywords.keys()
            or (one.kind in _OWN and not isinstance(one.node, ast.Slice))
            or is_random(one.kind)
            or type(one.node) is not type(other.node)
        ):
            return False
        slices = isinstance(one.node, ast.Slice) and isinstance(other.node, ast.Slice)
        if slices and _open_ends(one.node) != _open_ends(other.node):
            return False
        if one.kind in _SAID_BY_SOURCE and (
            one.node is None or other.node is None or _gist(one.node) != _gist(other.node)
        ):
            return False
        if isinstance(one.node, ast.Attribute) and (
            one.node.attr in self.stored_attributes or self._is_computed(one.node.attr)
        ):
            return False
        if one.kind == "global" and one.path is None and self.module.mentions.has_word("global"):
            return False  # a call in between may have bound it anew, else it were one value
        first, last = sorted((one.order, other.order))
        if self.graph.written_between(one, first, last) is not None:
            return False
        pairs = [*zip(one.inputs, other.inputs, strict=True)]
        pairs += [(value, other.keywords[name]) for name, value in one.keywords.items()]
        return all(self.is_same(left, right) for left, right in pairs)

    def _is_computed(self, attribute: str) -> bool:
        """Whether reading an attribute runs code of the class: a property, `__getattr__`."""
        family = self.owner.family if self.owner is not None else ()
        return any(name in member.methods for member in family for name in (attribute, "__getattr__"))

    # -- matching

    def _solve(self, pattern: Pattern, at: Operand, found: Found) -> Iterator[Found]:
        if not self._possible.is_possible(pattern, at):
            return
        match pattern:
            case Variable(name=name):
                yield from self._bind(name, at, found)
            case Number(value=wanted):
                given = self.number_or_only_element(at.value)
                if given is not None:
                    yield from self._closer(given, wanted, self._numbered(found, at.value))
            case Literal(value=literal):
                known = at.value.constant
                if at.value.kind == "constant" and type(known) is type(literal) and known == literal:
                    yield found
            case Either(options=options):
                for option in options:
                    yield from self._solve(option, at, found)
            case Cast(inner=inner):
                yield from self._solve(inner, at, found)
                within = cast_operand(at.value)
                if within is not None:
                    # What only says the dtype goes with the conversion.
                    said = [one for one in at.value.inputs[1:] if one.kind == "attribute" and one is not within.value]
                    numbers = (*found.numbers, *said)
                    yield from self._solve(
                        pattern, within, replace(found, inner=(*found.inner, at.value), numbers=numbers)
                    )
            case Product():
                yield from self._product(pattern, at, found)
            case Sum():
                for result, scale in self._sum(pattern, at, found, free=False):
                    if scale == 1.0:
                        yield result
            case Item(whole=whole, index=index):
                element = element_of(at.value)
                if element is not None and element[1] == index:
                    yield from self._solve(whole, element[0], found.with_inner(at.value))
            case Display(elements=elements):
                value = at.value
                if value.kind == "container" and len(value.inputs) == len(elements):
                    parts = list(zip(elements, operands_of(value), strict=True))
                    yield from self._all(parts, found.with_inner(value))
            case Call():
                yield from self._call(pattern, at, found)

    def is_number(self, value: Value, wanted: float) -> bool:
        """Whether `value`, or the only element of it, is that number, up to rounding."""
        given = self.number_or_only_element(value)
        return given is not None and _is_close(given, wanted)

    def converted(self, value: Value) -> Operand | None:
        """What a conversion of the dtype converts; None for anything else."""
        return cast_operand(value)

    def element(self, value: Value) -> tuple[Operand, int] | None:
        """The tuple of which `value` is an element, and which."""
        return element_of(value)

    def matrix(self, value: Value) -> Operand | None:
        """The matrix whose rows and columns `value` exchanges."""
        return transposed_operand(value)

    def _all(self, parts: list[tuple[Pattern, Operand]], found: Found) -> Iterator[Found]:
        if not parts:
            yield found
            return
        (pattern, at), *rest = parts
        for result in self._solve(pattern, at, found):
            yield from self._all(rest, result)

    def _bind(self, name: str, at: Operand, found: Found) -> Iterator[Found]:
        if name not in found.bound:
            yield found.bind(name, at)
            return
        known = found.bound[name]
        if isinstance(known, Operand):
            if known.value is at.value or self.is_same(known.value, at.value):
                yield replace(found, repeated=(*found.repeated, at))
        elif isinstance(known, float) and self.number(at.value) is not None:
            yield from self._closer(self.number(at.value) or 0.0, known, self._numbered(found, at.value))

    def _bind_number(self, name: str, number: float, found: Found) -> Found | None:
        known = found.bound.get(name)
        if name not in found.bound:
            # As it is spelled, where one constant is the whole number.
            spelled = next((one for one in reversed(found.numbers) if self.number(one) == number), None)
            bound = number if spelled is None else Operand(spelled, spelled.node)
            return found.bind(name, bound)
        if isinstance(known, Operand):
            known = self.number(known.value)
        return found if known is not None and _is_close(known, number) else None

    def _call(self, pattern: Call, at: Operand, found: Found) -> Iterator[Found]:
        if pattern.kind == "transposed":
            matrix = transposed_operand(at.value)
            if matrix is not None:
                yield from self._solve(pattern.arguments[0][1], matrix, found.with_inner(at.value))
            return
        called = self.called(at.value)
        if called is None or called.kind != pattern.kind:
            return
        given = dict(called.arguments)
        parts: list[tuple[Pattern, Operand]] = []
        parameters = parameters_of(called.kind)
        absent: dict[str, Bound] = {}
        for key, part in pattern.arguments:
            name = key if isinstance(key, str) else parameters[key].name if key < len(parameters) else str(key)
            operand = given.pop(name, None)
            if operand is not None:
                parts.append((part, operand))
                continue
            default = next((one.default for one in parameters if one.name == name), None)
            if default is None:
                return
            if isinstance(part, Variable):
                if found.bound.get(part.name, None) is not None:
                    return
                absent[part.name] = None
            elif not _is_default(part, default):
                return
        for name, operand in given.items():
            default = next((one.default for one in parameters if one.name == name), None)
            if default is None or not _has_default(operand.value, default):
                return
        if absent:
            found = replace(found, bound={**found.bound, **absent})
        yield from self._all(parts, found.with_inner(at.value))

    def _product(self, pattern: Product, at: Operand, found: Found) -> Iterator[Found]:
        for parts in self.as_product(at):
            if len(parts.factors) > len(pattern.factors):
                continue
            state = found.within(parts)
            for result, rest in self._factors(list(pattern.factors), list(parts.factors), parts.scale, state):
                yield from self._closer(rest, pattern.coefficient, result)

    def _factors(
        self, wanted: list[tuple[Pattern, float]], given: list[tuple[Operand, float]], scale: float, found: Found
    ) -> Iterator[tuple[Found, float]]:
        """Give each wanted factor one that is given; yields with what is left of the coefficient."""
        if not wanted:
            if not given:
                yield found, scale
            return
        # What says most first: a variable takes what the others leave.
        at = next((n for n, (part, _) in enumerate(wanted) if not isinstance(part, Variable)), 0)
        (part, exponent), rest = wanted[at], wanted[:at] + wanted[at + 1 :]
        for number, (operand, power) in enumerate(given):
            if power != exponent:
                continue
            others = given[:number] + given[number + 1 :]
            if not self._possible.is_possible(part, operand):
                continue
            if isinstance(part, Sum) and abs(exponent) == 1.0:
                for result, factor in self._sum(part, operand, found, free=True):
                    yield from self._factors(rest, others, scale * factor**exponent, result)
                continue
            for result in self._solve(part, operand, found):
                yield from self._factors(rest, others, scale, result)
        if self._is_scalar(part) and len(given) < len(wanted) and abs(exponent) == 1.0 and scale not in (0.0, 1.0):
            assert isinstance(part, Variable)
            # A scalar that is written as a number went into the coefficient.
            result = self._bind_number(part.name, scale**exponent, found)
            if result is not None:
                yield from self._factors(rest, given, 1.0, result)

    def _sum(self, pattern: Sum, at: Operand, found: Found, free: bool) -> Iterator[tuple[Found, float]]:
        """Match a sum; with `free`, also a multiple of it, yielded with the factor."""
        for parts in self.as_sum(at):
            if len(parts.factors) > len(pattern.terms) or not parts.factors:
                continue
            state = found.within(parts)
            terms = sorted(pattern.terms, key=lambda one: isinstance(one[1], Variable))
            for result, scale, constant in self._terms(terms, list(parts.factors), parts.scale, state, free, None):
                scale = scale if scale is not None else 1.0
                if not free and scale != 1.0:
                    continue
                # Summands add up: a small one of several is an epsilon, and no rounding of the pattern's constant.
                if math.isclose(constant, pattern.constant * scale, rel_tol=_SAME_SUM):
                    yield result, scale

    def _terms(
        self,
        wanted: list[tuple[float, Pattern]],
        given: list[tuple[Operand, float]],
        constant: float,
        found: Found,
        free: bool,
        scale: float | None,
    ) -> Iterator[tuple[Found, float | None, float]]:
        """Give each wanted term one that is given (with its sign); yields with the scale and the constant left."""
        if not wanted:
            if not given:
                yield found, scale, constant
            return
        (weight, part), rest = wanted[0], wanted[1:]
        for number, (operand, sign) in enumerate(given):
            if not self._possible.is_possible_term(part, operand):
                continue
            others = given[:number] + given[number + 1 :]
            for result, factor in self._scaled(part, operand, found):
                ratio = sign * factor / weight
                if scale is None and (free or _is_close(ratio, 1.0)):
                    known = 1.0 if _is_close(ratio, 1.0) else ratio
                elif scale is not None and _is_close(ratio, scale):
                    known = scale
                else:
                    continue
                closer = result.off_by(abs(ratio / known - 1.0))
                yield from self._terms(rest, others, constant, closer, free, known)
        if self._is_scalar(part) and len(given) < len(wanted) and constant != 0 and scale in (None, 1.0):
            assert isinstance(part, Variable)
            # A summand that is written as a number went into the constant.
            result = self._bind_number(part.name, constant / weight, found)
            if result is not None:
                yield from self._terms(rest, given, 0.0, result, free, 1.0)

    def _is_scalar(self, part: Pattern) -> bool:
        return isinstance(part, Variable) and part.name in self._scalars

    def _scaled(self, part: Pattern, at: Operand, found: Found) -> Iterator[tuple[Found, float]]:
        """Match a term, whatever number it is multiplied by; yields with that number."""
        if isinstance(part, Product):
            for parts in self.as_product(at):
                if len(parts.factors) <= len(part.factors):
                    yield from self._factors(list(part.factors), list(parts.factors), parts.scale, found.within(parts))
            return
        if isinstance(part, Variable) and part.name in found.bound and not isinstance(found.bound[part.name], Operand):
            return
        for parts in self.as_product(at):
            if len(parts.factors) != 1 or parts.factors[0][1] != 1.0:
                continue
            for result in self._solve(part, parts.factors[0][0], found.within(parts)):
                yield result, parts.scale

    def _closer(self, given: float, wanted: float, found: Found) -> Iterator[Found]:
        """`found`, where the two numbers are the same."""
        if given == wanted:
            yield found
        elif _is_close(given, wanted):
            yield found.off_by(abs(given / wanted - 1.0))

    def _numbered(self, found: Found, value: Value) -> Found:
        return replace(found, numbers=(*found.numbers, value))

    def number_or_only_element(self, value: Value) -> float | None:
        if value.kind == "container" and len(value.inputs) == 1:
            return self.number(value.inputs[0])
        return self.number(value)

    # -- taking values apart

    def as_product(self, at: Operand) -> list[_Parts]:
        """The ways to see a value as a product: from its outermost operators down to its last."""
        known = self._products.get((at.value, at.node))
        if known is None:
            known = [_merged(self, parts) for parts in self._product_parts(at, 1.0)][:_MOST_OPTIONS]
            self._products[at.value, at.node] = known
        return known

    def _product_parts(self, at: Operand, exponent: float) -> list[_Parts]:
        value = at.value
        number = self.number(value)
        if number is not None:
            if number == 0 or (number < 0 and exponent != int(exponent)):
                return [_Parts(1.0, ((at, exponent),))]
            return [_Parts(number**exponent, (), (), (value,))]
        ways = [_Parts(1.0, ((at, exponent),))]
        whole = exponent == int(exponent)
        inner = self.arithmetic(value)
        if inner is None:
            return ways
        kind, operands = inner
        first = operands[0]
        if kind in ("mul", "div") and whole:
            second = operands[1]
            for left in self._product_parts(first, exponent):
                for right in self._product_parts(second, -exponent if kind == "div" else exponent):
                    ways.append(left.joined(right, value))
                    if len(ways) > _MOST_OPTIONS:
                        return ways
        elif kind == "neg" and whole:
            ways += [
                parts.scaled(-1.0 if exponent % 2 else 1.0, value) for parts in self._product_parts(first, exponent)
            ]
        elif kind == "pow":
            power = self.number(operands[1].value)
            if power is not None and (whole and abs(exponent) == 1.0):
                ways += [
                    parts.scaled(1.0, value, operands[1].value)
                    for parts in self._product_parts(first, exponent * power)
                ]
        elif kind in POWERS and abs(exponent) == 1.0:
            ways += [parts.scaled(1.0, value) for parts in self._product_parts(first, exponent * POWERS[kind])]
        return ways

    def as_sum(self, at: Operand) -> list[_Parts]:
        """The ways to see a value as a sum: the summands with their signs, and the constant as the scale."""
        known = self._sums.get((at.value, at.node))
        if known is None:
            known = self._sum_parts(at, 1.0)[:_MOST_OPTIONS]
            self._sums[at.value, at.node] = known
        return known

    def _sum_parts(self, at: Operand, sign: float) -> list[_Parts]:
        value = at.value
        number = self.number(value)
        if number is not None:
            return [_Parts(sign * number, (), (), (value,))]
        ways = [_Parts(0.0, ((at, sign),))]
        inner = self.arithmetic(value)
        if inner is None:
            return ways
        kind, operands = inner
        if kind in ("add", "sub"):
            for left in self._sum_parts(operands[0], sign):
                for right in self._sum_parts(operands[1], -sign if kind == "sub" else sign):
                    ways.append(left.added(right, value))
                    if len(ways) > _MOST_OPTIONS:
                        return ways
        elif kind == "neg":
            ways += [parts.within(value) for parts in self._sum_parts(operands[0], -sign)]
        elif kind in ("mul", "div"):
            for scalar, whole in ((operands[0], operands[1]), (operands[1], operands[0])):
                factor = self.number(scalar.value)
                if factor is None or factor == 0 or (kind == "div" and scalar is operands[0]):
                    continue
                factor = 1.0 / factor if kind == "div" else factor
                ways += [
                    parts.within(value, scalar.value)
                    for parts in self._sum_parts(whole, sign * factor)
                    if len(parts.factors) > 1 or parts.scale
                ]
        return ways

    def arithmetic(self, value: Value) -> tuple[str, list[Operand]] | None:
        """The kind and the operands of plain arithmetic: of tensors, without further arguments."""
        kind = value.kind.removeprefix("in-place ")
        if value.in_place is not None and is_private(value):
            kind = value.in_place
        if kind not in _ARITHMETIC or value.keywords or value.layer is not None:
            return None
        operands = operands_of(value)
        return (kind, operands) if len(operands) == _ARITHMETIC[kind] else None


_ARITHMETIC = {"add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "neg": 1, **dict.fromkeys(POWERS, 1)}

_SAID_BY_SOURCE = frozenset("attribute global metadata compare operator builtin getitem".split())
"""Kinds of which the source says something beside the inputs."""

_OWN = frozenset({"parameter", "call", "instance", "opaque", "joined", "starred"})
"""Kinds whose values are the same only where they are one."""


@dataclass(slots=True, eq=False)
class _Parts:
    """A product (or sum): a number, and factors with exponents (or summands with signs)."""

    scale: float
    factors: tuple[tuple[Operand, float], ...]
    inner: tuple[Value, ...] = ()
    numbers: tuple[Value, ...] = ()

    def joined(self, other: _Parts, by: Value) -> _Parts:
        return _Parts(
            self.scale * other.scale,
            self.factors + other.factors,
            (*self.inner, *other.inner, by),
            self.numbers + other.numbers,
        )

    def added(self, other: _Parts, by: Value) -> _Parts:
        joined = self.joined(other, by)
        joined.scale = self.scale + other.scale
        return joined

    def scaled(self, by: float, value: Value, *numbers: Value) -> _Parts:
        return _Parts(self.scale * by, self.factors, (*self.inner, value), (*self.numbers, *numbers))

    def within(self, value: Value, *numbers: Value) -> _Parts:
        return _Parts(self.scale, self.factors, (*self.inner, value), (*self.numbers, *numbers))


def _merged(matcher: Matcher, parts: _Parts) -> _Parts:
    """Equal factors as one: `x * x` is `x ** 2`."""
    if not parts.factors or (len(parts.factors) == 1 and parts.factors[0][1] != 0):
        return parts
    merged: list[tuple[Operand, float]] = []
    for operand, exponent in parts.factors:
        for number, (known, power) in enumerate(merged):
            if known.value is operand.value or matcher.is_same(known.value, operand.value):
                merged[number] = (known, power + exponent)
                break
        else:
            merged.append((operand, exponent))
    return replace(parts, factors=tuple(one for one in merged if one[1] != 0))


def _is_close(one: float, other: float) -> bool:
    return one == other or (other != 0 and math.isfinite(one) and abs(one / other - 1.0) <= _CLOSE)


def is_private(value: Value) -> bool:
    """Whether an in-place call writes to memory that was made for it alone, so that it computes what a plain one does.

    `F.relu6(x + 3, inplace=True)`: nothing but the call ever sees `x + 3`.
    """
    before = value.inputs[0] if value.inputs else None
    if before is None or len(before.uses) != 1 or before.block is not value.block:
        return False
    if before.in_place is not None:
        return is_private(before)
    return before.roots == frozenset({before.order})


def operands_of(value: Value) -> list[Operand]:
    """The inputs of a value, each with the expression that it is read at, in the inputs' order."""
    node: ast.AST | None = value.node
    if node is None and value.kind.startswith("in-place "):
        node = value.statement
    inputs = value.inputs
    if value.kind == "call" and value.in_place is not None:
        inputs = inputs[: len(inputs) - len(value.keywords)]
    nodes: list[ast.expr] = []
    match node:
        case ast.BinOp():
            nodes = [node.left, node.right]
        case ast.UnaryOp():
            nodes = [node.operand]
        case ast.AugAssign():
            nodes = [node.target, node.value]
        case ast.Attribute():
            nodes = [node.value]
        case ast.Subscript():
            nodes = [node.value, node.slice]
        case ast.Compare():
            nodes = [node.left, *node.comparators]
        case ast.Tuple() | ast.List() | ast.Set():
            nodes = list(node.elts)
        case ast.Call(func=func):
            nodes = list(node.args)
            if len(inputs) == len(nodes) + 1:
                if isinstance(func, ast.Attribute) and not _is_keyword_input(value):
                    nodes = [func.value, *nodes]
                else:
                    nodes = [one.value for one in node.keywords if one.arg == "input"] + nodes
        case _:
            pass
    if len(nodes) != len(inputs):
        return [Operand(one, None) for one in inputs]
    return [Operand(one, at) for one, at in zip(inputs, nodes, strict=True)]


def _is_keyword_input(value: Value) -> bool:
    return isinstance(value.node, ast.Call) and any(one.arg == "input" for one in value.node.keywords)


def keywords_of(value: Value) -> dict[str, Operand]:
    """The keyword arguments of a call, each with its expression."""
    nodes = {one.arg: one.value for one in value.node.keywords} if isinstance(value.node, ast.Call) else {}
    return {name: Operand(one, nodes.get(name)) for name, one in value.keywords.items()}


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a neutral kind: its arguments by neutral parameter name."""

    kind: str
    arguments: Mapping[str, Operand]


_OTHER_NAMES = {"axis": "dim", "keepdims": "keepdim"}
"""Names that torch also takes for its own, for numpy's sake."""

_COMPARED: dict[type[ast.cmpop], tuple[str, bool]] = {
    ast.Gt: ("gt", False),
    ast.Lt: ("gt", True),
    ast.GtE: ("ge", False),
    ast.LtE: ("ge", True),
    ast.Eq: ("eq", False),
}
_SWAPPED = {"lt": "gt", "le": "ge", "less": "gt", "less_equal": "ge"}


def _called(value: Value) -> Called | None:
    kind = value.kind
    if kind == "compare":
        node = value.node
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
            kind, swapped = _COMPARED[type(node.ops[0])]
            return _pair(kind, operands_of(value), swapped)
        return None
    if kind == "getitem":
        return _unsqueezed(value) or _sliced(value) or _picked(value)
    for prefix in ("method ", "torch.nn.functional.", "torch.linalg.", "torch."):
        if kind.startswith(prefix):
            kind = kind.removeprefix(prefix)
            break
    operands, keywords = operands_of(value), keywords_of(value)
    if value.in_place is not None:
        if not is_private(value):
            return None
        kind = value.in_place
    in_layer = value.in_place is not None and value.layer is not None
    if in_layer or (value.kind.startswith("torch.nn.") and not value.kind.startswith("torch.nn.functional.")):
        return _layer_called(value, operands)
    if kind in _SWAPPED or kind in ("gt", "ge", "eq", "greater", "greater_equal"):
        kind = {"greater": "gt", "greater_equal": "ge"}.get(kind, kind)
        return _pair(_SWAPPED.get(kind, kind), operands, kind in _SWAPPED) if not keywords else None
    if kind in ("max", "min") and len(operands) == 2 and not keywords and type(operands[1].value.constant) is not int:
        kind = f"{kind}imum"
    if kind in ("clamp_min", "clamp_max") and len(operands) == 2 and not keywords:
        return Called("clamp", {"input": operands[0], kind[6:]: operands[1]})
    if kind == "detach" and len(operands) == 1 and not keywords:
        return Called(kind, {"input": operands[0]})
    parameters = parameters_of(kind)
    if not parameters or len(operands) > len(parameters):
        return None
    if any(one.value.kind == "starred" for one in operands) or any(name.startswith("**") for name in keywords):
        return None
    arguments = {parameter.name: one for parameter, one in zip(parameters, operands, strict=False)}
    by_spelling = {one.spelled: one.name for one in parameters}
    for name, operand in keywords.items():
        name = _OTHER_NAMES.get(name, name)
        if name == "ord" and value.kind == "torch.linalg.norm":
            name = "p"
        name = by_spelling.get(name, name)
        if name in arguments:
            return None
        arguments[name] = operand
    arguments.pop("inplace", None)  # it is False, or nobody can tell
    if kind in ("var", "std", "var_mean", "std_mean"):
        return _spread(kind, arguments)
    return Called(kind, arguments)


def _pair(kind: str, operands: list[Operand], swapped: bool) -> Called | None:
    if len(operands) != 2:
        return None
    first, second = reversed(operands) if swapped else operands
    return Called(kind, {"input": first, "other": second})


def _unsqueezed(value: Value) -> Called | None:
    """`x[:, None]`: a subscript that only adds a dimension."""
    node = value.node
    if not isinstance(node, ast.Subscript):
        return None
    elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    added = [at for at, one in enumerate(elements) if isinstance(one, ast.Constant) and one.value is None]
    dots = [at for at, one in enumerate(elements) if isinstance(one, ast.Constant) and one.value is Ellipsis]
    if len(added) != 1 or len(dots) > 1:
        return None
    for at, one in enumerate(elements):
        full = isinstance(one, ast.Slice) and one.lower is None and one.upper is None and one.step is None
        if not full and at not in added and at not in dots:
            return None
    dim = added[0] - len(elements) if dots and dots[0] < added[0] else added[0]
    return Called("unsqueeze", {"input": operands_of(value)[0], "dim": constant_operand(dim, value)})


def transposed_operand(value: Value) -> Operand | None:
    """The matrix whose rows and columns `value` exchanges; its two dimensions are for the caller to show."""
    node, kind = value.node, value.kind
    if value.layer is not None or value.keywords:
        return None
    if kind == "attribute":
        is_it = isinstance(node, ast.Attribute) and node.attr in ("T", "mT")
    elif kind in ("method t", "torch.t"):
        is_it = len(value.inputs) == 1
    elif kind in ("swapaxes", "permute"):
        given = value.inputs[1:]
        if len(given) == 1 and given[0].kind == "container":
            given = given[0].inputs
        dims = tuple(one.constant for one in given)
        is_it = dims in (((1, 0),) if kind == "permute" else ((0, 1), (1, 0), (-1, -2), (-2, -1)))
    else:
        is_it = False
    return operands_of(value)[0] if is_it and value.inputs else None


def _picked(value: Value) -> Called | None:
    """`x[i, j]`, one element for each pair of indices; neither is known to be more than a number."""
    node, index = value.node, value.inputs[1]
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple) or len(index.inputs) != 2:
        return None
    if any(isinstance(one, ast.Slice | ast.Constant | ast.Starred) for one in node.slice.elts):
        return None
    row, column = (Operand(one, at) for one, at in zip(index.inputs, node.slice.elts, strict=True))
    return Called("pick", {"input": operands_of(value)[0], "row": row, "column": column})


def _sliced(value: Value) -> Called | None:
    """`x[..., :n]` and `x[..., n:]`: the head and the tail along one dimension."""
    taken = slice_of(value) if isinstance(value.node, ast.Subscript) else None
    if taken is None:
        return None
    dim, lower, upper = taken
    arguments = {"input": operands_of(value)[0], "dim": constant_operand(dim, value)}
    if upper is None and lower is not None:
        return Called("tail", {**arguments, "start": Operand(lower, lower.node)})
    if upper is not None and (lower is None or lower.constant == 0):
        return Called("head", {**arguments, "stop": Operand(upper, upper.node)})
    return None


def _spread(kind: str, arguments: dict[str, Operand]) -> Called | None:
    """`var` and `std` with `correction` in the place of `unbiased`."""
    dim, unbiased = arguments.get("dim"), arguments.pop("unbiased", None)
    if dim is not None and isinstance(dim.value.constant, bool):
        return None  # `x.var(False)`: the first argument is not always the dimension
    if unbiased is not None:
        if "correction" in arguments or not isinstance(unbiased.value.constant, bool):
            return None
        arguments["correction"] = constant_operand(int(unbiased.value.constant), unbiased.value)
    elif "correction" not in arguments:
        arguments["correction"] = constant_operand(1, (dim or arguments["input"]).value)
    return Called(kind, arguments)


def _layer_called(value: Value, operands: list[Operand]) -> Called | None:
    """`self.softmax(x)`, where the layer computes a function without parameters of its own."""
    kind = value.in_place or kind_of_layer(value.kind)
    constructor = value.layer.constructor if value.layer is not None else None
    if constructor is None and isinstance(value.node, ast.Call) and isinstance(value.node.func, ast.Call):
        constructor = value.node.func  # made where it is called
    if kind is None or constructor is None or len(operands) != 1 or value.keywords:
        return None
    arguments = {"input": operands[0]}
    parameters = [one for one in parameters_of(kind)[1:] if not one.name.startswith("_")]
    given = [*zip((one.name for one in parameters), constructor.args, strict=False)]
    if len(constructor.args) > len(parameters):
        return None
    for name, node in [*given, *((one.arg, one.value) for one in constructor.keywords)]:
        if name == "inplace":
            continue
        try:
            literal = ast.literal_eval(node)
        except ValueError:
            return None
        if name is None:
            return None
        arguments[name] = constant_operand(literal, value, node)
    return Called(kind, arguments)


def constant_operand(constant: object, beside: Value, node: ast.expr | None = None) -> Operand:
    """A constant that no expression of the function spells out."""
    value = Value("constant", node, (), beside.block, beside.statement, beside.order)
    value.constant = constant
    return Operand(value, node)


_CASTS = frozenset({"method float", "method double", "method half", "method bfloat16", "method contiguous"})


def cast_operand(value: Value) -> Operand | None:
    """What a conversion of the dtype converts; None for anything else."""
    node = value.node
    if not isinstance(node, ast.Call) or value.layer is not None or not value.inputs:
        return None
    if value.kind in _CASTS and len(value.inputs) == 1 and not value.keywords:
        return operands_of(value)[0]
    if value.kind == "method type_as" and len(value.inputs) == 2:
        return operands_of(value)[0]
    if value.kind in ("method to", "method type"):
        given = [*value.inputs[1:], *value.keywords.values()]
        if len(given) == 1 and dtype_of(given[0]) is not None:
            return operands_of(value)[0]
    return None


def dtype_of(value: Value) -> str | None:
    """What dtype an argument names: "torch.float32", or the expression whose dtype it is ("x.dtype")."""
    if value.path is not None:
        last = value.path.rpartition(".")[2]
        if value.path.startswith("torch.") and (last in _DTYPES):
            return value.path
        if last == "dtype" or "dtype" in last:
            return value.path
    if value.kind == "attribute" and isinstance(value.node, ast.Attribute) and value.node.attr == "dtype":
        return ast.unparse(value.node)
    return None


_DTYPES = frozenset("float32 float float64 double float16 half bfloat16".split())

_TUPLES = frozenset(
    {"chunk", "split", "unbind", "max", "min", "topk", "method sort", "torch.sort", "std_mean", "var_mean"}
)
_ELEMENTS = {"values": 0, "indices": 1}


def element_of(value: Value) -> tuple[Operand, int] | None:
    """The tuple of which `value` is an element, and which."""
    if not value.inputs:
        return None
    index: int | None = None
    if value.kind == "unpack":
        index = value.index
    elif value.kind == "getitem" and type(value.inputs[1].constant) is int:
        index = value.inputs[1].constant
    elif value.kind == "attribute" and isinstance(value.node, ast.Attribute):
        index = _ELEMENTS.get(value.node.attr)
    whole = value.inputs[0]
    bare = whole.kind.removeprefix("method ").removeprefix("torch.")
    if index is None or not ({whole.kind, bare} & _TUPLES):
        return None
    return operands_of(value)[0], index


def _is_default(part: Pattern, default: str) -> bool:
    match part:
        case Number(value=value):
            return _literal(default) == value
        case Literal(value=value):
            return _literal(default) == value
        case Either(options=options):
            return any(_is_default(option, default) for option in options)
        case _:
            return False


def _has_default(value: Value, default: str) -> bool:
    known = _literal(default)
    if value.kind != "constant":
        return False
    if isinstance(known, bool) or not isinstance(known, int | float):
        return type(value.constant) is type(known) and value.constant == known
    return isinstance(value.constant, int | float) and value.constant == known


@cache
def _literal(text: str) -> object:
    return ast.literal_eval(text)


def _open_ends(node: ast.AST | None) -> tuple[bool, ...]:
    """Which ends of a slice are left open."""
    return (node.lower is None, node.upper is None, node.step is None) if isinstance(node, ast.Slice) else ()


def _gist(node: ast.AST) -> str:
    """What an operator, an attribute or a subscript says beside its operands."""
    match node:
        case ast.Attribute(attr=name):
            return name
        case ast.Compare(ops=ops):
            return " ".join(type(one).__name__ for one in ops)
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.BoolOp(op=op):
            return type(op).__name__
        case ast.Call(func=func):
            return ast.unparse(func) if isinstance(func, ast.Name) else getattr(func, "attr", "")
        case ast.Subscript():
            return ""  # its index is an input
        case _:
            return ast.unparse(node)
