"""The language of patterns: what is one in its normal form, and what it cannot hold."""

from __future__ import annotations

import math

import pytest

from fuselight.fusions.pattern import Call, Number, Product, Sum, Variable, needed_kinds, parse_pattern, variables_of

X, Y = Variable("x"), Variable("y")

ONE = [
    ("a factor's place", "x * sigmoid(y)", "x * sigmoid(y)"),
    ("division by a root", "x / sqrt(y)", "x * rsqrt(y)"),
    ("a negative power", "x * y ** -0.5", "x * rsqrt(y)"),
    ("a reciprocal", "x * (1 / y)", "x / y"),
    ("a square", "square(x)", "x ** 2"),
    ("a product with itself", "x * x", "x ** 2"),
    ("a cube", "x * x * x", "x ** 3"),
    ("a quotient of numbers", "x / 2", "0.5 * x"),
    ("a folded constant", "sqrt(2 / pi) * x", f"{math.sqrt(2 / math.pi)!r} * x"),
    ("a difference", "x - y", "x + -y"),
    ("a sign before a product", "-x * y", "-(x * y)"),
    ("numbers in a sum", "1 + x + 2", "x + 3"),
    ("a comparison the other way", "0 < x", "x > 0"),
    ("the matrix product", "x @ y", "matmul(x, y)"),
]


@pytest.mark.parametrize(("first", "second"), [pytest.param(a, b, id=name) for name, a, b in ONE])
def test_one_normal_form(first: str, second: str) -> None:
    one, other = parse_pattern(first), parse_pattern(second)
    if isinstance(one, Product) and isinstance(other, Product):
        assert math.isclose(one.coefficient, other.coefficient)
        assert set(one.factors) == set(other.factors)
    elif isinstance(one, Sum) and isinstance(other, Sum):
        assert one.constant == other.constant
        assert set(one.terms) == set(other.terms)
    else:
        assert one == other


def test_what_stays_apart() -> None:
    # sqrt(x ** 2) is |x|, and a root of a product is no product of roots where both are negative.
    assert parse_pattern("sqrt(x ** 2)") != X
    assert parse_pattern("sqrt(x * y)") != parse_pattern("sqrt(x) * sqrt(y)")
    assert parse_pattern("sub(x, y)") == Call("sub", ((0, X), (1, Y)))


@pytest.mark.parametrize(
    "text", ["x if y else z", "x[0]", "lambda: x", "f(*x)", "x ** y", "[x for y in z]", "x < y < z"]
)
def test_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="no pattern"):
        parse_pattern(text)


def test_variables_and_needed_kinds() -> None:
    pattern = parse_pattern("nll_loss(either(log(softmax(x, dim=d)), log_softmax(x, dim=d)), y)")
    assert variables_of(pattern) == {"x", "y", "d"}
    assert needed_kinds(pattern) == {frozenset({"nll_loss"}), frozenset({"log", "log_softmax"})}
    assert needed_kinds(parse_pattern("x + y * 2")) == frozenset()
    assert parse_pattern("exp(1)") == Number(math.e)
