"""What the rewrites of losses and probabilities ask of their sites: dimensions of classes, targets, what may stay."""

from __future__ import annotations

import ast

from fuselight.fusions.base import Refusal
from fuselight.fusions.matching import Operand
from fuselight.fusions.needs import Assumption, Need, Verdict, shown_rank
from fuselight.fusions.plan import Place
from fuselight.fusions.site import Site
from fuselight.graph.kinds import METADATA_ATTRIBUTES
from fuselight.graph.values import Consumption, Value

TWO_DIMENSIONS = "the logits have two dimensions"


def named_dimension(dim: str, call: str) -> Need:
    """A dimension is given: without one, that of `call` depends on the rank, and torch warns."""

    def verdict(site: Site) -> Verdict:
        value = site.value(dim)
        if value is None or (value.kind == "constant" and value.constant is None):
            return Refusal(f"the {call} names no dimension", site.place)
        return None

    return verdict


def one_dimension(dim: str) -> Need:
    """A dimension is one number, and no tuple of several."""

    def verdict(site: Site) -> Verdict:
        if site.number(dim) is None:
            return Refusal("it is not shown that it works along one dimension", site.place)
        return None

    return verdict


def over_classes(*dims: str, of: str = "x", spatial: bool = True) -> Need:
    """All `dims` are where `cross_entropy` has its classes: dimension 1.

    Args:
        dims: Metavariables of dimensions, the first that of the softmax; others do not count where they are absent.
        of: The logits.
        spatial: Whether the logits may have dimensions behind that of the classes.
    """

    def verdict(site: Site) -> Verdict:
        numbers = {site.number(dim) for dim in dims if dim == dims[0] or site.is_given(dim)}
        logits = site.value(of)
        if logits is None or None in numbers:
            return Refusal("the dimension of the classes is not shown", site.place)
        known = shown_rank(site, logits)
        if known.exact is not None:
            wrapped = {number + known.exact if number is not None and number < 0 else number for number in numbers}
            if wrapped != {1}:
                return Refusal("it is not the second dimension, where `cross_entropy` has the classes", site.place)
            if known.exact > 2 and not spatial:
                return Refusal("the logits have more than two dimensions", site.place)
            return None
        if numbers == {1} and spatial:
            return None
        if 1 in numbers and numbers <= {1, -1} and known.least <= 2:
            return Assumption(TWO_DIMENSIONS)
        return Refusal("it is not shown that the classes are the second dimension", site.place)

    return verdict


def over_last(*dims: str, of: str = "x") -> Need:
    """All `dims` are the last dimension, and there is another one before it."""

    def verdict(site: Site) -> Verdict:
        numbers = {site.number(dim) for dim in dims if dim == dims[0] or site.is_given(dim)}
        logits = site.value(of)
        if logits is None or numbers != {-1}:
            return Refusal("it is not shown that the classes are the last dimension", site.place)
        known = shown_rank(site, logits)
        if known.most is not None and known.most < 2:
            return Refusal("the logits have one dimension", site.place)
        return None if known.least >= 2 else Assumption("the logits have at least two dimensions")

    return verdict


def present(*dims: str) -> Need:
    """A reduction is along a dimension, and not over everything."""

    def verdict(site: Site) -> Verdict:
        if not all(site.is_given(dim) for dim in dims):
            return Refusal("the sum is over everything", site.place)
        return None

    return verdict


def probabilities(target: str, of: str) -> Need:
    """A target of one number a class, of the logits' shape; an assumption, unless the source speaks against it."""

    def verdict(site: Site) -> Verdict:
        value, logits = site.value(target), site.value(of)
        if (
            value is None
            or logits is None
            or site.number(target) is not None
            or site.matcher.number(logits) is not None
        ):
            return Refusal(f"`{site.text(target)}` is no tensor of probabilities", site.place)
        if computed_from(value, logits):
            return Refusal("both factors come from the same logits: an entropy, and no loss of a target", site.place)
        ranks = [shown_rank(site, one).exact for one in (value, logits)]
        if None not in ranks and ranks[0] != ranks[1]:
            return Refusal(f"`{site.text(target)}` has another shape than the logits", site.place)
        return Assumption(f"`{site.text(target)}` holds one floating-point number for each logit")

    return verdict


def computed_from(value: Value, wanted: Value) -> bool:
    """Whether the numbers in `value` are computed from those in `wanted`, by what the function does with them."""
    seen: set[Value] = set()
    stack = [value]
    while stack:
        one = stack.pop()
        if one is wanted:
            return True
        if one not in seen and not _tells_no_numbers(one):
            seen.add(one)
            stack += [*one.inputs, *one.keywords.values()]
    return False


_LIKE = frozenset("zeros_like ones_like torch.full_like torch.empty_like torch.rand_like torch.randn_like".split())


def _tells_no_numbers(value: Value) -> bool:
    """Whether of its inputs a value takes no more than the shape, the dtype or the device."""
    if value.kind in ("call", "instance", "metadata") or value.kind in _LIKE:
        return True
    return isinstance(value.node, ast.Attribute) and value.node.attr in METADATA_ATTRIBUTES


def only_stays(kind: str, note: str) -> Need:
    """Of the parts, only calls of `kind` may be used again; they stay, and the title says so with `note`."""

    def verdict(site: Site) -> Verdict:
        kept = _used_elsewhere(site)
        for value in kept:
            called = site.matcher.called(value)
            if called is None or called.kind != kind:
                source = site.scope.statement.source(value.node) if value.node is not None else "a part of it"
                place = Place(site.scope.statement, value.node) if value.node is not None else site.place
                return Refusal(f"`{' '.join(source.split())}` is used again", place)
        return Assumption(note) if kept else None

    return verdict


def _used_elsewhere(site: Site) -> list[Value]:
    """The parts that something beside this site uses by itself."""
    bound = {one.value for one in site.found.bound.values() if isinstance(one, Operand)}
    inner = [value for value in site.found.inner if value not in bound]
    own = {site.root, *inner}
    return [
        value
        for value in inner
        if (value.binding is not None and value.reads > len(value.uses))
        or any(use.by not in own or use.how is not Consumption.INPUT for use in value.uses)
    ]


def counts_rows(count: str, *of: str) -> Need:
    """`count` is the number of rows of one of `of`: `len(y)`, `y.shape[0]`, `y.size(0)`."""

    def verdict(site: Site) -> Verdict:
        value = site.value(count)
        if value is not None and is_row_count(site, value, *of):
            return None
        return Refusal(f"it is not shown that `{site.text(count)}` is the number of rows", site.place)

    return verdict


def is_row_count(site: Site, count: Value, *of: str) -> bool:
    """Whether the source shows that `count` is the number of rows of one of `of`."""
    counted = _counted(count)
    values = [site.value(name) for name in of]
    return counted is not None and any(one is not None and site.matcher.is_same(one, counted) for one in values)


def _counted(value: Value) -> Value | None:
    """The tensor of which `value` is the size of the first dimension."""
    node = value.node
    if value.kind == "builtin" and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return value.inputs[0] if node.func.id == "len" and len(value.inputs) == 1 else None
    if value.kind == "metadata" and len(value.inputs) == 2 and isinstance(node, ast.Call):
        sized = isinstance(node.func, ast.Attribute) and node.func.attr == "size"
        return value.inputs[0] if sized and value.inputs[1].constant == 0 else None
    if value.kind == "getitem" and value.inputs[1].constant == 0:
        shape = value.inputs[0]
        if shape.kind == "attribute" and isinstance(shape.node, ast.Attribute) and shape.node.attr == "shape":
            return shape.inputs[0]
        if shape.kind == "metadata" and len(shape.inputs) == 1:
            return shape.inputs[0]
    return None
