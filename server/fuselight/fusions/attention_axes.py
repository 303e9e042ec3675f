"""Which axis of an attention's products is which, and how its operands are brought into the order of the one call."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial

from fuselight.fusions.attentions import Attention, Factor, Scores, Seen, Weights
from fuselight.fusions.matching import Matcher, Operand
from fuselight.fusions.products import (
    REST,
    Axes,
    Contraction,
    Ordering,
    ordering_of,
    permutation,
    reordered,
    rest_of,
    spread,
)
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import Consumption, Graph, Value

_MOST_STEPS = 24
"""How many operations may be taken off an operand."""


class Unfit(Exception):
    """Raised where the axes are not those of an attention."""

    def __init__(self, reason: str, node: ast.AST | None = None) -> None:
        self.reason = reason
        self.node = node


class AxesReader:
    """Which axis of each product is which."""

    def __init__(
        self,
        graph: Graph,
        way: Contraction,
        weights: Weights,
        scores: Scores,
    ) -> None:
        self.graph = graph
        self.way = way
        self.weights = weights
        self.scores = scores
        self.assumed: list[str] = []

    def read(self, peel: Peel) -> Attention:
        """The attention.

        Raises:
            Unfit: Its axes are not those of one.
        """
        product, at_softmax, at_values = self._followed()
        # The two products name the weights' axes by labels of their own: now by those of the first one.
        renamed, rest = _unified(at_values, self.way.left_axes)
        if renamed is None:
            raise Unfit("the weights have other axes than the product with the values takes")
        way = self.way.relabelled(lambda axes: _renamed(axes, renamed))
        product = product.relabelled(lambda axes: spread(axes, rest))
        at_softmax = spread(at_softmax, rest)
        keys = self._softmax_axis(at_softmax)
        product, query = self._oriented(product, keys)
        summed = [one for one in product.left_axes if one in product.right_axes and one not in product.out_axes]
        if len(summed) != 1:
            raise Unfit("the scores are summed over several axes, or none", product.value.node)
        self._check_values(way, query, keys)
        features = [one for one in way.right_axes if one not in way.left_axes]
        if len(features) != 1:
            raise Unfit("the values have no axis of their own, or several")
        batch = tuple(one for one in product.out_axes if one not in (query, keys))
        if REST in batch[1:]:
            raise Unfit("the axes are in an order that cannot be named")
        if not set(way.right_axes) <= {*batch, keys, features[0]} or set(way.out_axes) != {*batch, query, features[0]}:
            raise Unfit("the values have other axes than the weights")
        canonical = (*batch, query, keys)
        is_ordered = at_softmax == canonical and not self.scores.orderings
        if self.scores.masks and not is_ordered:
            raise Unfit("a mask stands between scores whose axes are in another order")
        if self.scores.maxima and not is_ordered:
            raise Unfit("the maximum that is subtracted may be over another axis than the keys")
        behind = permutation((*batch, query, features[0]), way.out_axes)
        if behind is None:
            raise Unfit("the result's axes are in an order that cannot be named")
        peel.least_rank = self._least_rank()
        q = peel.seen(product.left, product.left_axes, (*batch, query, summed[0]), numbers=not self._is_asked())
        k = peel.seen(product.right, product.right_axes, (*batch, keys, summed[0]), numbers=not self._is_asked())
        v = peel.seen(way.right, way.right_axes, (*batch, keys, features[0]))
        if q is None or k is None or v is None:
            raise Unfit("an operand's axes are in an order that cannot be named")
        if self._has_channels_first(product, k):
            raise Unfit("it attends over channels, or the channels come first, which is not shown", product.value.node)
        self._assume_axes((("queries", q, product), ("keys", k, product), ("values", v, way)))
        inner = [*self.weights.inner, *self.scores.inner, product.value, *q.peeled, *k.peeled, *v.peeled]
        masks = list(reversed(self.scores.masks))
        # An in-place mask reads the same value as the next step, so that reading it backwards is computing it forwards.
        fillers = [mask.fill.value for mask in masks if mask.fill is not None]
        return Attention(
            self.way.value,
            self.weights.softmax,
            product.value,
            q,
            k,
            v,
            behind,
            masks,
            list(reversed(self.scores.factors)),
            self.weights.dropout,
            [*self.weights.casts, *self.scores.casts],
            list(dict.fromkeys(one for one in inner if one is not self.way.value)),
            fillers,
            [*self.assumed, *peel.assumed],
            is_ordered,
        )

    def _assume_axes(self, operands: Sequence[tuple[str, Seen, Contraction]]) -> None:
        """`@` takes vectors too, the one call does not."""
        loose = [
            name
            for name, seen, product in operands
            if product.value.kind == "matmul"
            and not seen.peeled
            and rank_of(self.graph, seen.operand.value).least < 2
            and ordering_of(self.graph, seen.operand.value) is None
        ]
        if loose:
            names = " and ".join((", ".join(loose[:-1]), loose[-1])) if len(loose) > 1 else loose[0]
            self.assumed.append(f"{names} have two dimensions or more")

    def _followed(self) -> tuple[Contraction, Axes, Axes]:
        """The first product, and the axes of its result as the softmax and as the product with the values get it."""
        product = self.scores.product
        axes = at_softmax = product.out_axes
        for behind, orderings in ((False, self.scores.orderings), (True, self.weights.orderings)):
            for ordering in reversed(orderings):
                rest = rest_of(axes, ordering)
                product = product.relabelled(partial(spread, rest=rest))
                axes, at_softmax = self._ordered(spread(axes, rest), ordering), spread(at_softmax, rest)
            if not behind:
                at_softmax = axes
        return product, at_softmax, axes

    def _is_asked(self) -> bool:
        """Whether the scores' shape or dtype is read, which the queries and keys have as they meet."""
        values = (*self.scores.inner, self.scores.product.value)
        return any(use.how is Consumption.METADATA for one in values for use in one.uses)

    def _least_rank(self) -> int:
        """How many axes the operands have at least, as one of them shows it: products broadcast."""
        product = self.scores.product
        operands = (product.left, product.right, self.way.left, self.way.right)
        return max((rank_of(self.graph, one.value).least for one in operands), default=2)

    def _has_channels_first(self, product: Contraction, key: Seen) -> bool:
        """Whether `q.transpose(-2, -1) @ k` may be an attention over channels: nothing shows that they come first."""
        if product.value.kind == "einsum" or "transpose" not in key.methods:
            return False
        turned = ordering_of(self.graph, product.left.value, self._least_rank())
        if turned is None or turned.order[-2:] != (-1, -2):
            return False
        source = turned.source.value
        shown = source.kind in ("method view", "reshape", "flatten", "einops.rearrange", "torch.nn.Conv1d")
        return not shown

    def _ordered(self, axes: Axes, ordering: Ordering) -> Axes:
        """The labels behind an order of axes, where `axes` are those before it."""
        length = len(ordering.order)
        named = axes[1:] if axes[:1] == (REST,) else axes
        if length > len(named):
            raise Unfit("the axes of the scores cannot be followed")
        if ordering.assumed_rank is not None:
            self.assumed.append(f"the weights have {ordering.assumed_rank} dimensions")
        tail = named[len(named) - length :]
        return (*axes[: len(axes) - length], *(tail[origin] for origin in ordering.order)) if length else axes

    def _softmax_axis(self, axes: Axes) -> str:
        dim = self.weights.dim
        number = dim.constant if dim is not None else None
        node = self.weights.softmax.node
        if type(number) is not int:
            raise Unfit("the dimension of the softmax is not shown", node)
        if number >= 0:
            ranks = [rank_of(self.graph, one) for one in (self.weights.operand.value, self.scores.product.value)]
            rank = len(axes) if REST not in axes else next((one.exact for one in ranks if one.exact is not None), None)
            if rank is None:
                if number < 3:
                    raise Unfit(f"it is not shown that dimension {number} of the softmax is the last one", node)
                self.assumed.append(f"the scores have {number + 1} dimensions")
                rank = number + 1
            number -= rank
        if -number > len(axes) or axes[number] == REST or number >= 0:
            raise Unfit("the softmax is over another axis than the keys", node)
        return axes[number]

    def _oriented(self, product: Contraction, keys: str) -> tuple[Contraction, str]:
        """The first product with the queries on its left, and the axis of the queries."""
        if keys in product.left_axes and keys not in product.right_axes:
            product = product.swapped()
        elif keys not in product.right_axes or keys in product.left_axes:
            raise Unfit("the softmax is over another axis than the keys", self.weights.softmax.node)
        own = [one for one in product.out_axes if one in product.left_axes and one not in product.right_axes]
        own = [one for one in own if one != REST]
        if not own:
            raise Unfit("the queries have no axis of their own", product.value.node)
        return product, own[-1]

    def _check_values(self, way: Contraction, query: str, keys: str) -> None:
        summed = [one for one in way.left_axes if one in way.right_axes and one not in way.out_axes]
        if summed == [keys] and query in way.out_axes and query not in way.right_axes:
            return
        if summed == [query]:
            raise Unfit("the weights are summed over the queries, not over the keys")
        if summed == [keys]:
            raise Unfit("the values have an axis of the queries")
        raise Unfit("the weights are summed over another axis than the keys")


def _unified(known: Axes, named: Axes) -> tuple[dict[str, Axes] | None, Axes]:
    """What the labels in `named` are, by those in `known`; and what `REST` stands for in `known`."""
    starred, wanted = REST in known, REST in named
    if not starred and not wanted:
        return (dict(zip(named, ((one,) for one in known), strict=True)) if len(known) == len(named) else None), (REST,)
    if wanted:
        tail = named[1:]
        if len(tail) > len(known) - (1 if starred else 0):
            if not starred:
                return None, (REST,)
            extra = len(tail) - (len(known) - 1)
            rest = (REST, *tail[:extra])
            whole = (*rest, *known[1:])
            return {REST: (REST,), **{one: (label,) for one, label in zip(tail, whole[1:], strict=True)}}, rest
        cut = len(known) - len(tail)
        return {REST: known[:cut], **{one: (label,) for one, label in zip(tail, known[cut:], strict=True)}}, (REST,)
    tail = known[1:]
    if len(tail) > len(named):
        return None, (REST,)
    cut = len(named) - len(tail)
    rest = named[:cut]
    mapping = {one: (one,) for one in named[:cut]}
    mapping.update({one: (label,) for one, label in zip(named[cut:], tail, strict=True)})
    return mapping, rest


def _renamed(axes: Axes, names: dict[str, Axes]) -> Axes:
    return tuple(label for one in axes for label in names.get(one, (one,)))


class Peel:
    """Takes off what only orders the axes of an operand, where what is left is simpler to say."""

    def __init__(self, graph: Graph, matcher: Matcher, is_number: Callable[[Value], bool]) -> None:
        self._graph = graph
        self._matcher = matcher
        self._is_number = is_number
        self.assumed: list[str] = []
        """What the source does not show."""
        self.least_rank = 2

    def seen(self, operand: Operand, axes: Axes, wanted: Axes, numbers: bool = False) -> Seen | None:
        """The operand with the methods that order it as `wanted`; with `numbers`, factors are taken off too."""
        best: tuple[int, Seen, str | None] | None = None
        peeled: list[Value] = []
        factors: list[Factor] = []
        orders = 0
        assumed: str | None = None
        at = operand
        for _ in range(_MOST_STEPS):
            methods = permutation(axes, wanted)
            if methods is not None:
                cost = methods.count(".") - orders - len(factors)
                if best is None or cost < best[0]:
                    last, before_last = (axes.index(one) - len(axes) for one in (wanted[-1], wanted[-2]))
                    best = cost, Seen(at, methods, tuple(factors), tuple(peeled), last, before_last), assumed
            value = at.value
            if len(value.uses) > 1:
                break  # it is there for others, too
            ordering = ordering_of(self._graph, value, self.least_rank)
            factor = self._number(value) if numbers else None
            if factor is not None:
                factors.append(factor[0])
                at = factor[1]
            elif ordering is not None and ordering.order:
                rest = rest_of(axes, ordering)
                axes, wanted = spread(axes, rest), spread(wanted, rest)
                before = reordered(axes, ordering)
                if before is None:
                    break
                if ordering.assumed_rank is not None:
                    assumed = f"what is transposed has {ordering.assumed_rank} dimensions"
                axes, at = before, ordering.source
                orders += 1
            else:
                break
            peeled.append(value)
        if best is None:
            return None
        if best[2] is not None and best[2] not in self.assumed:
            self.assumed.append(best[2])
        return best[1]

    def _number(self, value: Value) -> tuple[Factor, Operand] | None:
        """`q * scale`, `q / 8`, where what it is multiplied by says by itself that it is a number."""
        if value.node is None:
            return None
        arithmetic = self._matcher.arithmetic(value)
        if arithmetic is None or arithmetic[0] not in ("mul", "div"):
            return None
        kind, (first, second) = arithmetic
        if self._is_number(second.value):
            return Factor(second, kind == "div", value), first
        if kind == "mul" and self._is_number(first.value):
            return Factor(first, False, value), second
        return None


__all__ = ["AxesReader", "Peel", "Unfit"]
