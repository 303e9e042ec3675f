"""The language of patterns: Python with metavariables, read into a normal form of products, sums and calls.

- A name that is called is a neutral kind (`sigmoid(x)`), its keywords are neutral parameter names (`sum(x, dim=d)`).
- Any other name is a metavariable: one value, the same wherever it stands. An argument that is a metavariable may also
  be absent at a site, where the parameter has a default; `None` stands for an absent argument only.
- `*`, `/`, unary `-`, `**` with a number, `square`, `sqrt`, `rsqrt` and `reciprocal` make one product: factors with
  exponents, in any order, and a coefficient. `+` and `-` make one sum. So `x / sqrt(v + eps)` is also
  `x * rsqrt(eps + v)` and `x * (v + eps) ** -0.5`.
- Numbers are equal by value, `sqrt(2 / pi)` is one.
- `either(a, b)`: one of several. `cast(x)`: `x`, perhaps converted to another dtype or made contiguous on the way.
  `item(t, 0)`: an element of a tuple, unpacked or indexed. `head(input=x, dim=d, stop=n)` and
  `tail(input=x, dim=d, start=n)`: the slices `x[..., :n]` and `x[..., n:]`. `transposed(w)`: `w.t()`, `w.T`,
  `w.transpose(0, 1)` and their like, of a matrix. `unsqueeze(x, 1)` is also `x[:, None]`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Variable:
    """A metavariable."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as a whole argument or operand."""

    value: float


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a truth value or None."""

    value: str | bool | None


@dataclass(frozen=True, slots=True)
class Product:
    """`coefficient` times the factors, each to the power of its exponent."""

    coefficient: float
    factors: tuple[tuple[Pattern, float], ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """`constant` plus the terms, each times its coefficient."""

    constant: float
    terms: tuple[tuple[float, Pattern], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A neutral kind with its arguments: by position (an int) or by neutral name."""

    kind: str
    arguments: tuple[tuple[int | str, Pattern], ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Any one of several."""

    options: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Cast:
    """A value, perhaps behind conversions of its dtype."""

    inner: Pattern


@dataclass(frozen=True, slots=True)
class Item:
    """An element of a tuple of tensors."""

    whole: Pattern
    index: int


@dataclass(frozen=True, slots=True)
class Display:
    """A tuple or a list of known length."""

    elements: tuple[Pattern, ...]


Pattern = Variable | Number | Literal | Product | Sum | Call | Either | Cast | Item | Display

POWERS = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}
"""Functions of one argument that raise it to a power."""

_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Gt: "gt",
    ast.Lt: "gt",
    ast.GtE: "ge",
    ast.LtE: "ge",
    ast.Eq: "eq",
}
"""What a comparison is read as; one that looks the other way has its operands swapped."""

_NUMBERS = {"pi": math.pi, "e": math.e, "inf": math.inf}
_FOLDED = {"sqrt": math.sqrt, "exp": math.exp, "log": math.log}


@cache
def parse_pattern(text: str) -> Pattern:
    """Parse a pattern.

    Raises:
        ValueError: It is Python that a pattern cannot hold.
    """
    return _same(_parsed(ast.parse(text, mode="eval").body))


_KNOWN: dict[Pattern, Pattern] = {}


def _same(pattern: Pattern) -> Pattern:
    """`pattern` with one object for all equal parts, of this and of other patterns."""
    known = _KNOWN.get(pattern)
    if known is not None:
        return known
    match pattern:
        case Product(coefficient, factors):
            found: Pattern = Product(coefficient, tuple((_same(part), exponent) for part, exponent in factors))
        case Sum(constant, terms):
            found = Sum(constant, tuple((scale, _same(part)) for scale, part in terms))
        case Call(kind, arguments):
            found = Call(kind, tuple((name, _same(part)) for name, part in arguments))
        case Either(options):
            found = Either(tuple(map(_same, options)))
        case Cast(inner):
            found = Cast(_same(inner))
        case Item(whole, index):
            found = Item(_same(whole), index)
        case Display(elements):
            found = Display(tuple(map(_same, elements)))
        case _:
            found = pattern
    return _KNOWN.setdefault(found, found)


_T = TypeVar("_T")


def once_a_part(function: Callable[[Pattern], _T]) -> Callable[[Pattern], _T]:
    """`function`, worked out once for every part of a pattern: many patterns have a part in common."""
    # By identity, as equal parts are one object; each is kept, so that no other gets its identity.
    known: dict[int, tuple[Pattern, _T]] = {}

    def asked(pattern: Pattern) -> _T:
        found = known.get(id(pattern))
        if found is None:
            found = known[id(pattern)] = pattern, function(pattern)
        return found[1]

    return asked


def variables_of(pattern: Pattern) -> frozenset[str]:
    """The names of the metavariables."""
    if isinstance(pattern, Variable):
        return frozenset({pattern.name})
    return frozenset(name for part in parts_of(pattern) for name in variables_of(part))


@once_a_part
def parts_of(pattern: Pattern) -> tuple[Pattern, ...]:
    match pattern:
        case Product(factors=factors):
            return tuple(part for part, _ in factors)
        case Sum(terms=terms):
            return tuple(part for _, part in terms)
        case Call(arguments=arguments):
            return tuple(part for _, part in arguments)
        case Either(options=options):
            return options
        case Cast(inner=inner):
            return (inner,)
        case Item(whole=whole):
            return (whole,)
        case Display(elements=elements):
            return elements
        case _:
            return ()


@once_a_part
def needed_kinds(pattern: Pattern) -> frozenset[frozenset[str]]:
    """Sets of kinds of which a site must hold one each; products and sums are not asked for."""
    match pattern:
        case Either(options=options):
            several = [needed_kinds(option) for option in options]
            if not all(several):
                return frozenset()
            shared = several[0].intersection(*several[1:])
            others = [option - shared for option in several]
            if not all(others):
                return shared
            # Beside what is shared, one kind of whichever option it is, the one that says most.
            return shared | {frozenset(kind for option in others for kind in min(option, key=commonness))}
        case Call(kind=kind):
            return frozenset({frozenset({kind})}).union(*map(needed_kinds, parts_of(pattern)))
        case _:
            return frozenset[frozenset[str]]().union(*map(needed_kinds, parts_of(pattern)))


def commonness(kinds: frozenset[str]) -> tuple[bool, int, list[str]]:
    """Orders sets of kinds by how much code has one of each: the rarest first."""
    return not kinds.isdisjoint(_COMMON), len(kinds), sorted(kinds)


_COMMON = frozenset(
    "mean sum exp matmul relu softmax sigmoid linear abs max log maximum var gt ge eq clamp unsqueeze squeeze head tail"
    " pick transposed amax where".split()
)
"""Kinds that much code has, or a subscript or an operator spells."""


@once_a_part
def height(pattern: Pattern) -> int:
    """How many operators and calls may stand one inside the other at a site."""
    inner = max(map(height, parts_of(pattern)), default=0)
    match pattern:
        case Product(factors=factors):
            return inner + 2 * len(factors) + 1
        case Sum(terms=terms):
            return inner + len(terms) + 1
        case Call() | Item():
            return inner + 1
        case Cast():
            return inner + 3
        case _:
            return inner


def _parsed(node: ast.expr) -> Pattern:
    found = None
    # The node's class alone first: a pattern has many nodes, and each that does not fit costs.
    match node:
        case ast.Name():
            found = Number(_NUMBERS[node.id]) if node.id in _NUMBERS else Variable(node.id)
        case ast.Call(func=ast.Name(id=kind)):
            found = _call(kind, node)
        case ast.Constant():
            found = _constant(node)
        case ast.BinOp():
            found = _operation(node.op, node.left, node.right)
        case ast.UnaryOp(op=ast.USub()):
            found = _product(Number(-1.0), _parsed(node.operand))
        case ast.Compare(ops=[operation], comparators=[right]):
            comparison = _COMPARED.get(type(operation))
            if comparison is not None:
                first, second = (right, node.left) if isinstance(operation, ast.Lt | ast.LtE) else (node.left, right)
                found = Call(comparison, (("input", _parsed(first)), ("other", _parsed(second))))
        case ast.Tuple() | ast.List():
            found = Display(tuple(map(_parsed, node.elts)))
        case _:
            pass
    if found is None:
        raise ValueError(f"no pattern: {ast.unparse(node)}")
    return found


def _constant(node: ast.Constant) -> Pattern | None:
    value = node.value
    if value is None or isinstance(value, bool | str):
        return Literal(value)
    return Number(float(value)) if isinstance(value, int | float) else None


def _operation(operator: ast.operator, left: ast.expr, right: ast.expr) -> Pattern | None:
    match operator:
        case ast.Mult():
            return _product(_parsed(left), _parsed(right))
        case ast.Add():
            return _sum((1.0, _parsed(left)), (1.0, _parsed(right)))
        case ast.Sub():
            return _sum((1.0, _parsed(left)), (-1.0, _parsed(right)))
        case ast.Div():
            return _product(_parsed(left), _power(_parsed(right), -1.0))
        case ast.Pow():
            exponent = _parsed(right)
            return _power(_parsed(left), exponent.value) if isinstance(exponent, Number) else None
        case ast.MatMult():
            return Call("matmul", ((0, _parsed(left)), (1, _parsed(right))))
        case _:
            return None


def _call(kind: str, node: ast.Call) -> Pattern | None:
    match kind, node.args, node.keywords:
        case "either", [_, _, *_], []:
            return Either(tuple(map(_parsed, node.args)))
        case "cast", [inner], []:
            return Cast(_parsed(inner))
        case "item", [whole, ast.Constant(value=int() as index)], []:
            return Item(_parsed(whole), index)
        case _:
            pass
    arguments: list[tuple[int | str, Pattern]] = list(enumerate(map(_parsed, node.args)))
    for keyword in node.keywords:
        if keyword.arg is None:
            return None
        arguments.append((keyword.arg, _parsed(keyword.value)))
    first = arguments[0][1] if arguments else None
    if len(arguments) == 1 and isinstance(first, Number) and kind in _FOLDED:
        return Number(_FOLDED[kind](first.value))
    if len(arguments) == 1 and first is not None and kind in POWERS:
        return _power(first, POWERS[kind])
    return Call(kind, tuple(arguments))


def _product(*parts: Pattern) -> Pattern:
    coefficient = 1.0
    factors: dict[Pattern, float] = {}
    for part in parts:
        match part:
            case Number(value=value):
                coefficient *= value
            case Product():
                coefficient *= part.coefficient
                for inner, exponent in part.factors:
                    factors[inner] = factors.get(inner, 0.0) + exponent
            case Sum(constant=constant, terms=((scale, inner),)) if constant == 0:
                coefficient *= scale
                factors[inner] = factors.get(inner, 0.0) + 1.0
            case _:
                factors[part] = factors.get(part, 0.0) + 1.0
    if not factors:
        return Number(coefficient)
    if coefficient == 1.0 and list(factors.values()) == [1.0]:
        return next(iter(factors))
    return Product(coefficient, tuple(factors.items()))


def _power(part: Pattern, exponent: float) -> Pattern:
    if isinstance(part, Number):
        return Number(part.value**exponent)
    if isinstance(part, Product) and exponent == int(exponent):
        factors = tuple((inner, power * exponent) for inner, power in part.factors)
        return Product(part.coefficient**exponent, factors)
    return Product(1.0, ((part, exponent),))


def _sum(*parts: tuple[float, Pattern]) -> Pattern:
    constant = 0.0
    terms: list[tuple[float, Pattern]] = []
    for scale, part in parts:
        match part:
            case Number(value=value):
                constant += scale * value
            case Sum():
                constant += scale * part.constant
                terms += [(scale * inner, term) for inner, term in part.terms]
            case Product() if part.coefficient != 1.0:
                bare = Product(1.0, part.factors)
                whole = part.factors[0][0] if len(part.factors) == 1 and part.factors[0][1] == 1.0 else bare
                terms.append((scale * part.coefficient, whole))
            case _:
                terms.append((scale, part))
    if not terms:
        return Number(constant)
    if constant == 0 and len(terms) == 1 and terms[0][0] == 1.0:
        return terms[0][1]
    return Sum(constant, tuple(terms))
