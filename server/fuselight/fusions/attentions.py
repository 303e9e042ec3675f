"""Attention as the graph shows it: scores of queries and keys, what is done to them, their softmax, and the values.

`attention_reader` reads it, `attention_axes` says which axis is which, `attention_masks` what masks mean, and
`attention_plan` what an edit makes of it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from fuselight.fusions.matching import Operand
from fuselight.fusions.products import (
    Contraction,
    Ordering,
)
from fuselight.graph.values import Value


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """What the scores are multiplied by, or divided by."""

    operand: Operand
    divides: bool = False
    value: Value | None = None
    """The product or quotient."""


@dataclass(slots=True, eq=False)
class Mask:
    """What is added to the scores, or decides which of them are filled with a number.

    Attributes:
        how: "add" or "subtract"; "block" where the scores are filled where the operand is true, "keep" where they are
            filled where it is not.
        operand: The summand, or the condition.
        value: The operation.
        fill: What blocked scores become.
        scaled: Factors that are applied behind the mask, and so to a summand too.
        branch: The `if` that it stands in, directly.
    """

    how: str
    operand: Operand
    value: Value
    fill: Operand | None = None
    scaled: tuple[Factor, ...] = ()
    branch: ast.If | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Dropout:
    """A dropout of the weights: of the layer `layer` (`self.drop`), or with `p` and `training` of the function."""

    value: Value
    layer: ast.expr | None = None
    p: Operand | None = None
    training: Operand | None = None
    element: int | None = None
    """Which element of `layer`, a `nn.Sequential`, it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An operand as the one call takes it: a value of the function, and the methods that order its axes."""

    operand: Operand
    methods: str = ""
    factors: tuple[Factor, ...] = ()
    """Numbers that it was multiplied by, which become a part of the scale."""
    peeled: tuple[Value, ...] = ()
    """What was taken off: orders of axes, products with numbers."""
    features: int = -1
    """Which axis of the operand has the features, counted from the end; `tokens`, which has the tokens."""
    tokens: int = -2


@dataclass(slots=True, eq=False)
class Attention:
    """One attention of a function.

    Attributes:
        root: The product with the values.
        softmax: The softmax, or the quotient that is one by hand.
        query: The queries, (..., L, E); `key` (..., S, E) and `value` (..., S, Ev) likewise.
        behind: The methods that bring the result (..., L, Ev) into the order that the function goes on with.
        masks: In the order in which they are computed.
        factors: What the product of queries and keys is multiplied by, and nothing else.
        inner: Everything between the root and the operands.
        fillers: What was computed for blocked scores alone.
        assumed: What the source does not show.
        is_ordered: Whether the scores' axes are those of the call from their product on: (..., L, S).
    """

    root: Value
    softmax: Value
    scores: Value
    query: Seen
    key: Seen
    value: Seen
    behind: str
    masks: list[Mask] = field(default_factory=list[Mask])
    factors: list[Factor] = field(default_factory=list[Factor])
    dropout: Dropout | None = None
    casts: list[Value] = field(default_factory=list[Value])
    inner: list[Value] = field(default_factory=list[Value])
    fillers: list[Value] = field(default_factory=list[Value])
    assumed: list[str] = field(default_factory=list[str])
    is_ordered: bool = True


@dataclass(slots=True, eq=False)
class Weights:
    """The way from a product down to a softmax."""

    softmax: Value
    operand: Operand
    """What the softmax is of."""
    dim: Value | None
    orderings: list[Ordering]
    dropout: Dropout | None
    casts: list[Value]
    inner: list[Value]


@dataclass(slots=True, eq=False)
class Scores:
    """The way from a softmax down to the product of queries and keys; the outermost operation first.

    Attributes:
        maxima: Values whose maximum along their last axis is subtracted from them.
    """

    product: Contraction
    masks: list[Mask] = field(default_factory=list[Mask])
    factors: list[Factor] = field(default_factory=list[Factor])
    orderings: list[Ordering] = field(default_factory=list[Ordering])
    maxima: list[Value] = field(default_factory=list[Value])
    casts: list[Value] = field(default_factory=list[Value])
    inner: list[Value] = field(default_factory=list[Value])


__all__ = ["Attention", "Dropout", "Factor", "Mask", "Scores", "Seen", "Weights"]
