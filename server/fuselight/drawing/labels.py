"""What stands in the box of a value: the layer and how it is made, the call, the operator."""

from __future__ import annotations

import ast
from collections.abc import Callable

from fuselight.graph.values import Value

_LONGEST = 36

_SYMBOLS = {
    "Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "MatMult": "@", "Pow": "**", "FloorDiv": "//", "Mod": "%",
    "BitAnd": "&", "BitOr": "|", "BitXor": "^", "LShift": "<<", "RShift": ">>", "USub": "-", "UAdd": "+",
    "Invert": "~", "Not": "not", "Eq": "==", "NotEq": "!=", "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=",
}  # fmt: skip
_IN_PLACE = {"add": "+=", "sub": "-=", "mul": "*=", "div": "/=", "matmul": "@=", "pow": "**="}


def label(value: Value, is_data: Callable[[Value], bool]) -> tuple[str, ...]:
    """The lines of a value's box. Arguments that are data are left out: the edges show them."""
    if value.layer is not None:
        made = value.layer.constructor
        lines = [value.layer.attribute]
        if made is not None:
            lines.append(_short(ast.unparse(made).removeprefix("torch.").removeprefix("nn.")))
        return tuple(lines)
    node = value.node
    if node is None or value.kind in ("parameter", "attribute"):
        return (_IN_PLACE.get(value.kind.removeprefix("in-place "), value.path or value.kind),)
    match node:
        case ast.Call(func=ast.Attribute() as func) if value.path is None:
            is_method = value.inputs and _is_method(value, node)
            return (f"{'.' if is_method else ''}{func.attr}{_settings(value, node, bool(is_method), is_data)}",)
        case ast.Call(func=ast.Name(id=name)):
            return (f"{name}{_settings(value, node, False, is_data)}",)
        case ast.Call():
            return (_short(ast.unparse(node.func)),)
        case ast.BinOp():
            return (_operation(value, node),)
        case ast.UnaryOp():
            return (_SYMBOLS.get(type(node.op).__name__, "operator"),)
        case ast.Compare():
            return (" ".join(_SYMBOLS.get(type(one).__name__, "in") for one in node.ops),)
        case ast.Subscript():
            # The index by itself would be a tuple in parentheses, which no slice may stand in.
            return (_short(ast.unparse(node)[len(ast.unparse(node.value)) :]),)
        case _:
            return (_short(ast.unparse(node)),)


def _is_method(value: Value, call: ast.Call) -> bool:
    """Whether a call's first input is the object that it is a method of."""
    return len(value.inputs) == len(call.args) + 1


def _settings(value: Value, call: ast.Call, is_method: bool, is_data: Callable[[Value], bool]) -> str:
    """The arguments that are no data, `(1, 2)` or `(dim=-1)`."""
    values = value.inputs[1:] if is_method else value.inputs
    shown: list[str] = []
    if len(values) == len(call.args):
        shown += [ast.unparse(node) for node, one in zip(call.args, values, strict=True) if not is_data(one)]
    for given in call.keywords:
        one = value.keywords.get(given.arg or "")
        if given.arg is not None and one is not None and not is_data(one):
            shown.append(f"{given.arg}={ast.unparse(given.value)}")
    return _short(f"({', '.join(shown)})") if shown else ""


def _operation(value: Value, node: ast.BinOp) -> str:
    symbol = _SYMBOLS[type(node.op).__name__]
    left, right = value.inputs
    if right.kind == "constant":
        return _short(f"{symbol} {ast.unparse(node.right)}")
    if left.kind == "constant":
        return _short(f"{ast.unparse(node.left)} {symbol}")
    return symbol


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
