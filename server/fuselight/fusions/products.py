"""Products of two tensors with their axes named: `@` and its kin, einsum, and what only puts axes in another order."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fuselight.fusions.matching import Matcher, Operand, keywords_of, operands_of
from fuselight.graph.ranks import argument, rank_of
from fuselight.graph.values import Graph, Value

REST = "..."
"""The label of any number of leading axes."""

Axes = tuple[str, ...]
"""The labels of a tensor's axes, in order; `REST` only as the first of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Contraction:
    """One product of two tensors.

    Attributes:
        value: What computes it.
        left: The first operand, with `left_axes`; the others likewise.
        added: The tensor that `baddbmm` adds.
        alpha: What `baddbmm` multiplies the product by.
        beta: What it multiplies the summand by.
    """

    value: Value
    left: Operand
    right: Operand
    left_axes: Axes
    right_axes: Axes
    out_axes: Axes
    added: Operand | None = None
    alpha: Operand | None = None
    beta: Operand | None = None

    def swapped(self) -> Contraction:
        """The same with its operands exchanged."""
        return Contraction(self.value, self.right, self.left, self.right_axes, self.left_axes, self.out_axes)

    def relabelled(self, labels: Callable[[Axes], Axes]) -> Contraction:
        return Contraction(
            self.value,
            self.left,
            self.right,
            labels(self.left_axes),
            labels(self.right_axes),
            labels(self.out_axes),
            self.added,
            self.alpha,
            self.beta,
        )


PRODUCTS = frozenset({"matmul", "mm", "bmm", "baddbmm", "einsum", "einops.einsum"})
"""Kinds of the graph that are such a product."""


def contraction_of(matcher: Matcher, value: Value) -> Contraction | None:
    """`value` as the product of two tensors over one axis or more; None where it is none that is understood."""
    if value.kind in ("einsum", "einops.einsum"):
        return _einsum(value)
    called = matcher.called(value) if value.kind in PRODUCTS else None
    if called is None:
        return None
    i, d, j = (f"{letter}{value.order}" for letter in "idj")
    batch: Axes = {"mm": (), "bmm": (f"b{value.order}",), "baddbmm": (f"b{value.order}",)}.get(called.kind, (REST,))
    axes = ((*batch, i, d), (*batch, d, j), (*batch, i, j))
    given = called.arguments
    if called.kind == "baddbmm":
        return Contraction(
            value, given["batch1"], given["batch2"], *axes, given["input"], given.get("alpha"), given.get("beta")
        )
    second = given.get("other") or given.get("mat2")
    return Contraction(value, given["input"], second, *axes) if second is not None else None


def _einsum(value: Value) -> Contraction | None:
    operands = operands_of(value)
    if value.keywords or len(operands) < 2:
        return None
    if value.kind == "einsum":
        equation, tensors = operands[0], operands[1:]
        if len(tensors) == 1 and tensors[0].value.kind == "container":
            tensors = operands_of(tensors[0].value)
    else:
        *tensors, equation = operands
    text = equation.value.constant
    if not isinstance(text, str) or len(tensors) != 2:
        return None
    terms = _terms(text, spelled=value.kind == "einops.einsum")
    if terms is None or len(terms) != 3:
        return None
    axes: list[Axes] = []
    for term in terms:
        if REST in term[1:] or len(set(term)) != len(term):
            return None
        axes.append(tuple(one if one == REST else f"{one}{value.order}" for one in term))
    left, right, out = axes
    known = {*left, *right}
    if not set(out) <= known or any(one not in out and not (one in left and one in right) for one in known):
        return None  # a sum over an axis that only one of them has
    return Contraction(value, tensors[0], tensors[1], left, right, out)


def _terms(equation: str, spelled: bool) -> list[list[str]] | None:
    """The labels of the operands and of the result; each label a word where `spelled`, else a letter."""
    left, arrow, right = equation.partition("->")
    sides = [*left.split(","), *([right] if arrow else [])]
    pattern = r"\.\.\.|\w+" if spelled else r"\.\.\.|[A-Za-z]"
    terms = [re.findall(pattern, side) for side in sides]
    if any(re.sub(pattern, "", side).strip() for side in sides):
        return None
    if not arrow:
        if spelled:
            return None
        letters = [one for term in terms for one in term if one != REST]
        kept = sorted(one for one in set(letters) if letters.count(one) == 1)
        terms.append([*([REST] if any(REST in term for term in terms) else []), *kept])
    return terms


@dataclass(frozen=True, slots=True)
class Ordering:
    """A value that is another one with its axes in another order."""

    source: Operand
    order: tuple[int, ...]
    """Which axis of the source each axis is, counted from the end (-1 the last), as many as are not left alone."""
    assumed_rank: int | None = None
    """The number of axes that was assumed to read it, where the source does not show it."""
    is_whole: bool = False
    """Whether `order` lists all axes."""


def ordering_of(graph: Graph, value: Value, least: int = 2) -> Ordering | None:
    """`value` as a mere order of axes: `transpose`, `permute`, `.mT`, a `rearrange` that splits and joins nothing.

    Dimensions that are counted from the front need the rank. Where it is not shown, it is taken to be `least`, what
    the other operands of a product show, or what makes two neighbours the last two.
    """
    node, kind = value.node, value.kind
    if value.layer is not None or not value.inputs:
        return None
    operands = operands_of(value)
    source = operands[0]
    if kind == "method contiguous" and len(value.inputs) == 1:
        return Ordering(source, ())
    if kind == "attribute":
        name = node.attr if isinstance(node, ast.Attribute) else ""
        if name == "mT" or (name == "T" and rank_of(graph, source.value).exact == 2):
            return Ordering(source, (-1, -2))
        return None
    if kind in ("method t", "torch.t") and len(value.inputs) == 1:
        return Ordering(source, (-1, -2))
    if kind == "einops.rearrange":
        return _rearranged(value, source)
    rank = rank_of(graph, source.value).exact
    if kind in ("swapaxes", "method movedim", "method moveaxis", "torch.movedim", "torch.moveaxis"):
        first, second = argument(value, 1, "dim0"), argument(value, 2, "dim1")
        if first is None or second is None:
            first, second = argument(value, 1, "source"), argument(value, 2, "destination")
        dims = [one.constant for one in (first, second) if one is not None]
        numbers = [one for one in dims if type(one) is int]
        if len(numbers) != 2:
            return None
        assumed = None
        if rank is None and any(one >= 0 for one in numbers):
            low, high = sorted(numbers)
            if low < 0 or (high - low != 1 and high >= least):
                return None
            rank = assumed = max(high + 1, least)
        if rank is not None:
            numbers = [one if one < 0 else one - rank for one in numbers]
        one, other = numbers
        if abs(one - other) > 1 and kind != "swapaxes":
            return None  # the axes in between move up
        length = max(-one, -other)
        order = list(range(-length, 0))
        order[one], order[other] = order[other], order[one]
        return Ordering(source, tuple(order), assumed)
    if kind == "permute":
        given = value.inputs[1:]
        if len(given) == 1 and given[0].kind == "container":
            given = given[0].inputs
        dims = [one.constant for one in given]
        if not given or not all(type(one) is int for one in dims):
            return None
        length = len(dims)
        order = [one if one < 0 else one - length for one in dims if type(one) is int]
        is_whole = sorted(order) == list(range(-length, 0))
        return Ordering(source, tuple(order), is_whole=True) if is_whole else None
    return None


def _rearranged(value: Value, source: Operand) -> Ordering | None:
    pattern = argument(value, 1, "pattern")
    text = pattern.constant if pattern is not None else None
    if not isinstance(text, str) or text.count("->") != 1 or keywords_of(value).keys() - {"pattern"}:
        return None
    left, right = (side.split() for side in text.split("->"))
    if sorted(left) != sorted(right) or len(set(left)) != len(left) or "()" in left or "1" in left:
        return None
    if any("(" in one or ")" in one or one == "…" for one in left):
        return None
    is_whole = REST not in left
    if not is_whole:
        if left[0] != REST or right[0] != REST:
            return None
        left, right = left[1:], right[1:]
    length = len(left)
    return Ordering(source, tuple(left.index(one) - length for one in right), is_whole=is_whole)


def rest_of(axes: Axes, ordering: Ordering) -> Axes:
    """What `REST` stands for in the axes of an ordering's result, as far as the ordering tells: labels of their own."""
    missing = len(ordering.order) - (len(axes) - 1)
    if REST not in axes or missing < 0 or (missing == 0 and not ordering.is_whole):
        return (REST,)
    return (*(() if ordering.is_whole else (REST,)), *(f"{REST}{at}" for at in range(missing)))


def spread(axes: Axes, rest: Axes) -> Axes:
    """`axes` with what `REST` stands for in its place."""
    return tuple(label for one in axes for label in (rest if one == REST else (one,)))


def reordered(axes: Axes, ordering: Ordering) -> Axes | None:
    """The labels of an ordering's source, where `axes` are those of its result; None where they do not reach."""
    length = len(ordering.order)
    named = axes[1:] if axes[:1] == (REST,) else axes
    if length > len(named):
        return None
    source: list[str] = list(named[len(named) - length :])
    for at, origin in enumerate(ordering.order):
        source[origin] = named[len(named) - length + at]
    head = axes[: len(axes) - length] if length else axes
    return (*head, *source)


def permutation(axes: Axes, wanted: Sequence[str]) -> str | None:
    """The methods that bring a tensor with `axes` into the `wanted` order: `.transpose(1, 2)`; empty for none.

    None where there are none: a label is missing that is not to be added, or the axes before `REST` would move.
    """
    present = [one for one in wanted if one in axes]
    if sorted(present) != sorted(axes) or (REST in axes and not present[0] == axes[0] == REST):
        return None
    text = ""
    if tuple(present) != axes:
        moved = [at for at, one in enumerate(present) if axes[at] != one]
        starred = REST in axes
        if len(moved) == 2:
            one, other = (
                (at - len(axes)) if starred or moved == [len(axes) - 2, len(axes) - 1] else at for at in moved
            )
            text = f".transpose({one}, {other})"
        elif starred:
            return None
        else:
            text = f".permute({', '.join(str(axes.index(one)) for one in present)})"
    for at, one in enumerate(wanted):
        if one not in axes:
            if REST in axes:
                return None
            text += f".unsqueeze({at})"
    return text
