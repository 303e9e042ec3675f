"""What a padding layer or `F.pad` pads: how much on each side of each dimension, and with what."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.fusions.provenance import is_other_object
from fuselight.fusions.steps import Pair, Step, elements, integer, is_method
from fuselight.graph.classes import resolve
from fuselight.graph.module import Module
from fuselight.source.names import dotted

PADS = frozenset(
    f"torch.nn.{name}Pad{number}d"
    for name in ("Zero", "Constant", "Reflection", "Replication", "Circular")
    for number in (1, 2, 3)
) | {"pad"}
"""The kinds of steps that pad."""

WORDS = frozenset(kind.rpartition(".")[2] for kind in PADS)

_MODES = {"ZeroPad": "zeros", "ReflectionPad": "reflect", "ReplicationPad": "replicate", "CircularPad": "circular"}
_FUNCTION = ("pad", "mode", "value")
"""The parameters of `torch.nn.functional.pad` behind the tensor."""


@dataclass(frozen=True, slots=True)
class Padding:
    """How much each of the last dimensions gets on either side, as source; the first of them first."""

    amounts: tuple[str, ...]
    mode: str
    """"zeros", "-inf", "reflect", "replicate" or "circular"."""

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The amounts, where all of them are literal."""
        if all(one.isdigit() for one in self.amounts):
            return tuple(int(one) for one in self.amounts)
        return None


def padding_of(module: Module, pair: Pair, dimensions: int) -> Padding | Refusal | None:
    """What the first step of a pair pads, for a second one that works on so many dimensions.

    None where it is no padding that the second could do in any spelling.
    """
    step = pair.first
    at = Place(step.statement, step.node)
    given = step.arguments(("padding", "value"), _FUNCTION)
    if given is None or is_method(step):
        return Refusal("how much is padded is not given by plain arguments", at)
    amounts = given.get("pad" if step.kind == "pad" else "padding")
    if amounts is None:
        return None
    if step.kind != "pad" and int(step.kind[-2]) != dimensions:
        return Refusal(f"`{step.label}` pads another number of dimensions", at)
    mode = _mode(module, step, given)
    if mode is None:
        return Refusal("what is padded with is neither zeros nor the input itself", at)
    sides = elements(amounts)
    if sides is None and step.kind != "pad" and _is_number(pair, step, amounts):
        sides = [amounts] * (2 * dimensions)
    if sides is None or len(sides) % 2:
        return Refusal("how much is padded on each side is not written out", at)
    found: list[str] = []
    for left, right in zip(sides[::2], sides[1::2], strict=True):
        one = _amount(step, left)
        if one != _amount(step, right):
            return Refusal("the two sides are not padded alike", at)
        if one.startswith("-"):
            return Refusal("it takes something away at the edges", at)
        found.append(one)
    found.reverse()
    while len(found) > dimensions and found[0] == "0":
        del found[0]
    if len(found) > dimensions or (len(found) < dimensions and mode not in ("zeros", "-inf")):
        return Refusal(f"`{step.label}` pads another number of dimensions", at)
    return Padding((*["0"] * (dimensions - len(found)), *found), mode)


def _amount(step: Step, node: ast.expr) -> str:
    number = integer(node)
    return str(number) if number is not None else " ".join(step.made_in.source(node).split())


def _mode(module: Module, step: Step, given: dict[str, ast.expr]) -> str | None:
    if step.kind == "pad":
        mode = given.get("mode")
        if mode is not None and not (isinstance(mode, ast.Constant) and isinstance(mode.value, str)):
            return None
        if isinstance(mode, ast.Constant) and mode.value != "constant":
            return mode.value if mode.value in ("reflect", "replicate", "circular") else None
        return _constant(module, given.get("value"))
    name = step.kind.rpartition(".")[2][:-2]
    if name == "ConstantPad":
        return _constant(module, given.get("value")) if "value" in given else None
    return _MODES[name] if "value" not in given else None


def _constant(module: Module, node: ast.expr | None) -> str | None:
    """ "zeros" or "-inf", for the value that a constant padding has."""
    match node:
        case None:
            return "zeros"
        case ast.Constant(value=value) if value is None or (isinstance(value, int | float) and value == 0):
            return "zeros"
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return "-inf" if _is_infinity(module, inner, ("inf", "+inf", "infinity")) else None
        case _:
            return "-inf" if _is_infinity(module, node, ("-inf", "-infinity")) else None


def _is_infinity(module: Module, node: ast.expr, texts: Iterable[str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as text)], keywords=[]):
            return text.strip().lower() in texts and "float" not in module.names.bindings
        case ast.Attribute() if "inf" in texts:
            return resolve(node, module.names) in ("math.inf", "torch.inf", "numpy.inf")
        case _:
            return False


def _is_number(pair: Pair, step: Step, node: ast.expr) -> bool:
    """Whether an expression is surely one number: a tuple would be the amounts of all sides."""
    if integer(node) is not None:
        return True
    match node:
        case ast.BinOp(op=ast.FloorDiv()):
            return True
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return dotted(left) is not None or _is_number(pair, step, left) or integer(right) is not None
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult(), right=right):
            both = _is_number(pair, step, left) and _is_number(pair, step, right)
            added = isinstance(node.op, ast.Add) and (integer(left) is not None or integer(right) is not None)
            return both or added
        case ast.Name(id=name):
            function = step.layer.init if step.layer is not None else pair.scope.function
            every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
            note = next((one.annotation for one in every if one.arg == name), None)
            stored = any(
                isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Store)
                for one in ast.walk(function)
            )
            return isinstance(note, ast.Name) and note.id == "int" and not stored
        case _:
            return False


def amounts_hold(pair: Pair, padding: Padding) -> Refusal | None:
    """Amounts that are worked out must mean the same where the second layer is made."""
    if padding.numbers is not None:
        return None
    first, second = pair.first, pair.second
    at = Place(first.statement, first.node)
    moved = Refusal("how much is padded is worked out elsewhere than where the second layer is made", at)
    if pair.literal is not None:
        return None if _is_plain(padding) else moved
    one, other = first.layer, second.layer
    if one is None or other is None or one.init is not other.init or one.block is not other.block:
        return moved
    if not _is_plain(padding):
        return moved
    start, end = sorted((one.block.index(one.assignment), one.block.index(other.assignment)))
    names = {
        inner.id
        for text in padding.amounts
        for inner in ast.walk(ast.parse(text, mode="eval"))
        if isinstance(inner, ast.Name)
    }
    attributes = {
        inner.attr
        for text in padding.amounts
        for inner in ast.walk(ast.parse(text, mode="eval"))
        if isinstance(inner, ast.Attribute)
    }
    for statement in one.block[start:end]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and node.id in names:
                return moved
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and node.attr in attributes:
                return moved
    return None


def _is_plain(padding: Padding) -> bool:
    """Whether the amounts are names, attributes and arithmetic: nothing is called."""
    allowed = (ast.Expression, ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.operator, ast.expr_context)
    return all(isinstance(node, allowed) for text in padding.amounts for node in ast.walk(ast.parse(text, mode="eval")))


def written(amounts: tuple[str, ...]) -> str:
    """Amounts as an argument: one where all are alike."""
    return amounts[0] if len(set(amounts)) == 1 else f"({', '.join(amounts)})"


def own_padding(given: dict[str, ast.expr], dimensions: int) -> tuple[int, ...] | None:
    """The literal `padding=` of a convolution or pool; None where it is not literal."""
    node = given.get("padding")
    if node is None or (isinstance(node, ast.Constant) and node.value == "valid"):
        return (0,) * dimensions
    one = integer(node)
    if one is not None:
        return (one,) * dimensions
    sides = elements(node) or []
    numbers = tuple(number for side in sides if (number := integer(side)) is not None)
    if len(numbers) == len(sides) == 1:
        numbers *= dimensions
    return numbers if len(numbers) == len(sides or [0]) == dimensions else None


def padding_is_read(module: Module) -> Refusal | None:
    """Nobody may read or set the padding of layers that a loop or another object hands out."""
    for name in ("padding", "padding_mode"):
        for mention in module.mentions.of_attribute(name):
            if mention.owner is None and not is_other_object(module, mention):
                return Refusal(
                    f"`{ast.unparse(mention.node)[:60]}` reads or sets the padding of a layer",
                    Place(mention.statement, mention.node),
                )
    return None
