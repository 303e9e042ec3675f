"""What masks of attention scores mean, and how the one call is told: kept, blocked, added, or causal."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from dataclasses import dataclass

from fuselight.fusions.attentions import Attention, Factor, Mask
from fuselight.fusions.base import Refusal
from fuselight.fusions.extents import Extents
from fuselight.fusions.held_values import unwritten
from fuselight.fusions.integers import not_floating
from fuselight.fusions.matching import Matcher, Operand, keywords_of, operands_of
from fuselight.fusions.needs import InScope, is_floating
from fuselight.fusions.plan import Place
from fuselight.fusions.triangles import Triangle, Triangles
from fuselight.graph.classes import resolve
from fuselight.graph.constants import number_in, sole_assignment
from fuselight.graph.module import Module
from fuselight.graph.ranks import argument, rank_of
from fuselight.graph.values import Value

_LEAST_FILL = -1e4
"""A score this low has no weight beside any other: what half precision takes, and is written, for minus infinity."""

_UNSCALED_FILL = -1e6
"""The same, of a fill that is scaled afterwards, by a head's width at most."""

_INVERSE: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<",
}  # fmt: skip
_INVERSE_METHODS = {"eq": "!=", "ne": "==", "lt": ">=", "le": ">", "gt": "<=", "ge": "<"}

NO_KEYS = "a query whose keys are all masked gives zeros"


@dataclass(frozen=True, slots=True)
class Said:
    """A mask as the one call takes it: a template, and whether it is of truth values (true: kept) or is added."""

    template: str
    is_boolean: bool


class Operands:
    """The metavariables of a template that is being written."""

    def __init__(self) -> None:
        self.bound: dict[str, Operand] = {}
        self.texts: dict[str, str] = {}
        """What stands for a metavariable as source of ours."""

    def name(self, operand: Operand, hint: str) -> str:
        """A metavariable for an operand; the same one for the same reading of it."""
        for name, known in self.bound.items():
            if known.value is operand.value and known.node is operand.node:
                return name
        name = f"{hint}{len(self.bound)}"
        self.bound[name] = operand
        return name

    def text(self, source: str) -> str:
        """A metavariable for source that is not the user's."""
        for name, known in self.texts.items():
            if known == source:
                return name
        name = f"t{len(self.texts)}_"
        self.texts[name] = source
        return name


class MaskWriter:
    """Says the masks of one attention."""

    def __init__(self, where: InScope, matcher: Matcher, extents: Extents, attention: Attention) -> None:
        self._where = where
        self._matcher = matcher
        self._extents = extents
        self._attention = attention
        self.inverted: list[Value] = []
        """Conditions of which the opposite is said, so that they may go."""

    # -- what a mask means

    def said(self, mask: Mask, operands: Operands, dtype: str | None) -> Said | Refusal:
        """One mask. `dtype` is the template of a tensor of the queries' dtype, where one has a name."""
        said = self._said(mask, operands, dtype)
        graph = self._matcher.graph
        rank = rank_of(graph, mask.operand.value).exact
        # The one call takes two axes at least; its fused kernels take as many as the queries have, but not three.
        if isinstance(said, Refusal) or not (
            rank == 1 or (rank == 3 and rank_of(graph, self._attention.root).exact == 4)
        ):
            return said
        return Said(f"{_enclosed(said.template)}[None]", said.is_boolean)

    def _said(self, mask: Mask, operands: Operands, dtype: str | None) -> Said | Refusal:
        if mask.how in ("add", "subtract"):
            return self._added(mask, operands, dtype)
        refusal = self._fill(mask)
        if refusal is not None:
            return refusal
        if mask.how == "keep":
            return Said(self._kept(mask.operand, operands), is_boolean=True)
        return Said(self._inverted(mask.operand, operands), is_boolean=True)

    def together(self, masks: Iterable[Mask], operands: Operands, dtype: str | None) -> Said | Refusal | None:
        """Several masks as one; None for none."""
        result: Said | None = None
        for mask in masks:
            said = self.said(mask, operands, dtype)
            if isinstance(said, Refusal):
                return said
            result = said if result is None else self.joined(result, said, mask, operands)
        return result

    def joined(self, first: Said, second: Said, mask: Mask, operands: Operands) -> Said:
        """Two masks as one, of which `mask` says the second."""
        one, other = _enclosed(first.template), _enclosed(second.template)
        if first.is_boolean and second.is_boolean:
            return Said(f"{one} & {other}", is_boolean=True)
        if not first.is_boolean and not second.is_boolean:
            return Said(f"{one} + {other}", is_boolean=False)
        added, kept = (one, second.template) if second.is_boolean else (other, first.template)
        blocked = operands.name(mask.operand, "m") if second.is_boolean and mask.how == "block" else None
        infinite = operands.text('float("-inf")')
        return Said(f"{added}.masked_fill({blocked or _negated(kept)}, {infinite})", is_boolean=False)

    def notes(self, mask: Mask) -> str | None:
        """What differs under a mask, for the title."""
        if mask.how in ("add", "subtract") or self.is_causal(mask, own=False):
            return None
        number = self._filled_with(mask.fill.value) if mask.fill is not None else None
        return f"{NO_KEYS}, not {'NaN' if number == -math.inf else 'the mean of all values'}"

    def _added(self, mask: Mask, operands: Operands, dtype: str | None) -> Said | Refusal:
        value = mask.operand.value
        at = mask.value.node
        place = Place(self._where.scope.statement, at) if isinstance(at, ast.expr) else None
        if self._matcher.number(value) is not None:
            return Refusal("a number is added to the scores, which changes nothing", place)
        template = operands.name(mask.operand, "m")
        if (is_floating(self._where, value) or _is_filled_floating(value)) and not _has_own_dtype(value):
            pass
        elif dtype is not None:
            template = f"{template}.to({dtype}.dtype)"
        elif not_floating(value, place or self._place()) is not None or value.kind in ("parameter", "joined", "call"):
            return Refusal("it is not shown that what is added to the scores is of floating numbers", place)
        for factor in mask.scaled:
            if factor.value is not None:
                template = f"{template} {'/' if factor.divides else '*'} {operands.name(factor.operand, 's')}"
        if mask.how == "subtract":
            template = f"-{_enclosed(template)}"
        return Said(template, is_boolean=False)

    def _place(self) -> Place:
        node = self._attention.root.node
        assert node is not None
        return Place(self._where.scope.statement, node)

    def _fill(self, mask: Mask) -> Refusal | None:
        at = mask.value.node
        place = Place(self._where.scope.statement, at) if isinstance(at, ast.expr) else None
        number = self._filled_with(mask.fill.value) if mask.fill is not None else None
        if number is None:
            return Refusal("it is not shown what masked scores become", place)
        for factor in mask.scaled:
            scale = self._matcher.number(factor.operand.value)
            if scale is None and not self._is_positive(factor):
                return Refusal("masked scores are multiplied by what is not shown to be positive", place)
            if scale is not None:
                number = number / scale if factor.divides and scale else number * scale
        if number > _LEAST_FILL or (number > _UNSCALED_FILL and len(mask.scaled) > 0):
            return Refusal(f"masked scores become {number:g}, which blocks no key", place)
        triangle = self._triangle(mask.operand.value, added=False)
        if (
            triangle is not None
            and triangle.is_strict
            and triangle.shows == {"block": "upper", "keep": "lower"}[mask.how]
        ):
            return Refusal("the first query has no key left, and would give zeros", place)
        return None

    def _filled_with(self, value: Value, depth: int = 6) -> float | None:
        """What number a fill is: -inf, the lowest of a dtype (as -3.4e38), or as it is written."""
        number = self._matcher.number(value)
        if number is not None or depth == 0:
            return number
        kind, node = value.kind, value.node
        if kind == "attribute" and isinstance(node, ast.Attribute) and value.inputs[0].kind == "torch.finfo":
            return {"min": -3.4e38, "max": 3.4e38}.get(node.attr)
        if kind == "neg":
            inner = self._filled_with(value.inputs[0], depth - 1)
            return None if inner is None else -inner
        if kind in ("mul", "div") and len(value.inputs) == 2:
            one, other = (self._filled_with(part, depth - 1) for part in value.inputs)
            if one is None or other is None:
                return None
            return one * other if kind == "mul" else (one / other if other else None)
        if kind == "ones_like" or (kind == "torch.ones" and value.inputs):
            return 1.0
        if kind in ("torch.full", "torch.full_like", "method new_full"):
            filled = argument(value, 2 if kind == "method new_full" else 1, "fill_value")
            return self._filled_with(filled, depth - 1) if filled is not None else None
        if kind in ("torch.tensor", "torch.as_tensor", "method to", "method type_as", "method new_tensor"):
            given = value.inputs[1] if kind == "method new_tensor" else value.inputs[0]
            return self._filled_with(given, depth - 1)
        if kind == "attribute":
            made = unwritten(self._where.module, self._where.scope, value)
            return _number_made(self._where.module, made) if made is not None else None
        return None

    # -- truth values

    def _kept(self, operand: Operand, operands: Operands) -> str:
        name = operands.name(operand, "m")
        if _is_of_bytes(operand.value):
            return f"{name} != 0"
        return name

    def _inverted(self, operand: Operand, operands: Operands) -> str:
        """The template of what is true where `operand`, a tensor of truth values, is not."""
        value, node = operand.value, operand.node
        if value.kind == "compare" and isinstance(node, ast.Compare) and len(node.ops) == 1:
            inverse = _INVERSE.get(type(node.ops[0]))
            if inverse is not None:
                first, second = operands_of(value)
                self.inverted.append(value)
                return f"{operands.name(first, 'm')} {inverse} {operands.name(second, 'm')}"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert) and value.node is node:
            self.inverted.append(value)
            return operands.name(operands_of(value)[0], "m")
        last = value.kind.rpartition(" ")[2].rpartition(".")[2]
        given = operands_of(value)
        if isinstance(node, ast.Call) and value.node is node and not value.keywords:
            if (last == "logical_not" and len(given) == 1) or (last in _INVERSE_METHODS and len(given) == 2):
                self.inverted.append(value)
            if last == "logical_not" and len(given) == 1:
                inner = operands.name(given[0], "m")
                return inner if _is_truth(given[0].value) else f"{inner} != 0"
            if last in _INVERSE_METHODS and len(given) == 2:
                first, second = (operands.name(one, "m") for one in given)
                return f"{first} {_INVERSE_METHODS[last]} {second}"
        return f"~{operands.name(operand, 'm')}"

    # -- causal masks

    def is_causal(self, mask: Mask, own: bool = True) -> bool:
        """Whether a mask lets each query see the keys up to its own, of as many queries as keys.

        With `own=False`, whether it is such a triangle at all, whatever the lengths: then no row is empty.
        """
        value = mask.operand.value
        if mask.how == "subtract" or not all(self._is_positive(one) for one in mask.scaled):
            return False
        kept = self._triangle(value, added=mask.how == "add")
        wanted = {"add": "lower", "block": "upper", "keep": "lower"}[mask.how]
        if kept is None or kept.shows != wanted or kept.is_strict:
            return False
        if not own:
            return True
        queries, keys = (
            self._extents.of(one.operand.value, one.tokens) for one in (self._attention.query, self._attention.key)
        )
        rows, columns = (self._extents.of_size(one) if one is not None else None for one in kept.sizes)
        return all(self._extents.same(one, queries) for one in (rows, columns, keys))

    def _is_positive(self, factor: Factor) -> bool:
        """Whether a factor surely is more than zero."""
        return self._is_above_zero(factor.operand.value)

    def _is_above_zero(self, value: Value, depth: int = 6) -> bool:
        number = self._matcher.number(value)
        if number is not None:
            return number > 0
        if value.kind in ("math.sqrt", "numpy.sqrt", "sqrt", "exp", "math.exp", "metadata", "softplus") or depth == 0:
            return depth > 0
        if value.kind in ("mul", "div"):
            return all(self._is_above_zero(one, depth - 1) for one in value.inputs)
        if value.kind == "pow":
            exponent = self._matcher.number(value.inputs[1])
            return exponent is not None and (exponent != int(exponent) or exponent % 2 == 0)
        if value.kind == "getitem" and value.inputs[0].kind == "attribute":
            return (value.inputs[0].path or "").endswith(".shape")
        if value.kind == "attribute" and self._where.scope.owner is not None and isinstance(value.node, ast.Attribute):
            made = sole_assignment(self._where.module, self._where.scope.owner, value.node.attr)
            return made is not None and _is_made_above_zero(made)
        return False

    def _triangle(self, value: Value, added: bool) -> Triangle | None:
        """A triangle of ones, or of what is added, by what made it."""
        return Triangles(self._where, self._matcher).of(value, added)


def _is_made_above_zero(node: ast.expr) -> bool:
    """Whether an expression of `__init__` surely is a number above zero: `dim ** -0.5`, `math.sqrt(dim)`."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number > 0
        case ast.BinOp(op=ast.Pow(), right=exponent):
            exponent = exponent.operand if isinstance(exponent, ast.UnaryOp) else exponent
            return isinstance(exponent, ast.Constant) and isinstance(exponent.value, float) and exponent.value % 1 != 0
        case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
            return _is_made_above_zero(left) and _is_made_above_zero(right)
        case ast.Call(func=ast.Attribute(attr="sqrt" | "exp")):
            return True
        case ast.BoolOp(values=[*_, last]):  # `scale or dim ** -0.5`
            return _is_made_above_zero(last)
        case _:
            return False


def _number_made(module: Module, node: ast.expr) -> float | None:
    """The number of `torch.tensor(-1e4)`."""
    if isinstance(node, ast.Call) and node.args:
        path = resolve(node.func, module.names)
        if path in ("torch.tensor", "torch.as_tensor"):
            return number_in(module, node.args[0])
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("to", "float", "cuda"):
            return _number_made(module, node.func.value)
    return number_in(module, node)


def _is_truth(value: Value) -> bool:
    """Whether a value is made as a tensor of truth values."""
    last = value.kind.rpartition(" ")[2].rpartition(".")[2]
    if value.kind == "compare" or last in ("bool", "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "isnan"):
        return True
    named = [one.path or "" for one in (*value.inputs[1:], *_keyword_values(value))]
    return "torch.bool" in named


def _keyword_values(value: Value) -> list[Value]:
    return [one.value for one in keywords_of(value).values()]


def _is_of_bytes(value: Value) -> bool:
    """Whether a condition may be of bytes, which `torch.where` takes for truth values, and the one call does not."""
    last = value.kind.rpartition(" ")[2]
    named = [one.path or "" for one in (*value.inputs[1:], *_keyword_values(value))]
    inner = value.inputs[:1] if value.kind in ("getitem", "method view", "reshape", "unsqueeze") else ()
    return last == "byte" or "torch.uint8" in named or any(map(_is_of_bytes, inner))


def _is_filled_floating(value: Value) -> bool:
    """Whether a mask is one that is filled with a floating number: `torch.full((n, n), float("-inf")).triu(1)`."""
    if value.kind in ("tril", "triu", "method to", "unsqueeze", "getitem", "method type_as", "masked_fill"):
        return bool(value.inputs) and _is_filled_floating(value.inputs[0])
    if value.kind == "torch.full":
        fill = argument(value, 1, "fill_value")
        return fill is not None and (type(fill.constant) is float or fill.kind in ("builtin", "global", "neg"))
    return value.kind in ("torch.zeros", "torch.empty") and "dtype" not in value.keywords


def _has_own_dtype(value: Value, depth: int = 8) -> bool:
    """Whether a summand is made in a dtype of its own, neither that of the queries nor float32."""
    if value.kind in ("method double", "method half", "method bfloat16"):
        return True
    named = [one.path or "" for one in (*value.inputs, *_keyword_values(value))]
    if any(one in _OWN_DTYPES for one in named):
        return True
    return depth > 0 and any(_has_own_dtype(one, depth - 1) for one in value.inputs)


_OWN_DTYPES = frozenset(f"torch.{name}" for name in "float64 double float16 half bfloat16".split())


def _enclosed(template: str) -> str:
    tree = ast.parse(template, mode="eval").body
    return template if isinstance(tree, ast.Name | ast.Call | ast.Attribute | ast.Subscript) else f"({template})"


def _negated(template: str) -> str:
    return template[1:] if template.startswith("~") else f"~{_enclosed(template)}"


__all__ = ["NO_KEYS", "MaskWriter", "Operands", "Said"]
