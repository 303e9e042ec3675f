"""What the literals among a call's arguments say."""

from __future__ import annotations

import ast


def number_of(node: ast.expr | None) -> float | None:
    """The number that an expression writes out, with its sign."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = number_of(operand)
            return -inner if inner is not None else None
        case _:
            return None


def is_false(node: ast.expr | None) -> bool:
    """Whether an argument that is False by default is not given, or a literal that counts as False."""
    return node is None or (isinstance(node, ast.Constant) and not node.value)


def all_equal(node: ast.expr, wanted: float) -> bool:
    """Whether a size is the literal `wanted`, or a tuple of nothing else."""
    if isinstance(node, ast.Tuple | ast.List):
        return bool(node.elts) and all(all_equal(one, wanted) for one in node.elts)
    return number_of(node) == wanted
