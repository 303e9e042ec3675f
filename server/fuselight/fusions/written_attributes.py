"""Whether the tensor that an attribute holds is written to in place, or replaced past its assignment, in the file."""

from __future__ import annotations

import ast

from fuselight.fusions.parents import around
from fuselight.graph.classes import ClassInfo
from fuselight.graph.kinds import is_in_place_name
from fuselight.graph.mentions import Called, Function, Mention, self_parameter
from fuselight.graph.module import Module
from fuselight.source.names import bound_names, dotted

_REPLACING = ("setattr", "delattr", "_set_tensor", "set_")


def written_to(module: Module, owner: ClassInfo, attribute: str) -> bool:
    """Whether the file may write to the tensor that `self.<attribute>` holds: `self.mask[0] = 1`, `mask.fill_(1)`.

    What sets the attribute itself is asked for elsewhere, but for `setattr` and the like.
    """
    family = {member.node for member in owner.family}
    if any(_writes(mention) for mention in module.mentions.of_attribute_near(attribute, family)):
        return True
    for called in module.mentions.calls_of(*_REPLACING):
        given = called.node.args[1] if len(called.node.args) > 1 else None
        if isinstance(given, ast.Constant):
            if given.value == attribute:
                return True
        elif called.owner in family and called.node.args and _is_self(called, called.node.args[0]):
            return True
    if any(
        isinstance(mention.parent, ast.Subscript) and not isinstance(mention.parent.ctx, ast.Load)
        for mention in module.mentions.of_attribute_near("_buffers", family)
    ):
        return True
    for called in module.mentions.calls_of("buffers", "named_buffers"):
        of_self = isinstance(called.node.func, ast.Attribute) and _is_self(called, called.node.func.value)
        if of_self and called.owner in family and called.function is not None:
            called.statement.note_lines_of(called.function)
            if any(isinstance(one, ast.Call) and _is_in_place(one) for one in ast.walk(called.function)):
                return True
    return False


def _is_self(called: Called, node: ast.expr) -> bool:
    return called.function is not None and dotted(node) == self_parameter(called.function)


def _writes(mention: Mention) -> bool:
    """Whether a mention writes to what the attribute holds, or gives it a name that is written to."""
    node: ast.AST = mention.node
    for parent in around(mention.statement, mention.node):
        match parent:
            case ast.Subscript(value=value) if value is node:
                if not isinstance(parent.ctx, ast.Load):
                    return True
            case ast.Attribute(value=value) if value is node:
                if not isinstance(parent.ctx, ast.Load) or is_in_place_name(parent.attr):
                    return True
            case ast.Call(func=func) if func is node:
                pass  # what a method yields may be a view
            case ast.Call():
                return _is_in_place(parent) or any(one.arg == "out" and one.value is node for one in parent.keywords)
            case ast.Assign(targets=targets, value=value) if value is node:
                names = {name for target in targets for name in bound_names(target)}
                return mention.function is not None and _are_written(mention, mention.function, names)
            case ast.NamedExpr() | ast.For():
                return True
            case _:
                return False
        node = parent
    return False


def _is_in_place(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return is_in_place_name(name) and not name.startswith("requires_grad")
        case _:
            return False


def _are_written(mention: Mention, function: Function, names: set[str]) -> bool:
    """Whether a function writes in place to what one of its names holds."""
    mention.statement.note_lines_of(function)
    for node in ast.walk(function):
        match node:
            case ast.Subscript(value=ast.Name(id=name)) if not isinstance(node.ctx, ast.Load):
                pass
            case ast.AugAssign(target=ast.Name(id=name)):
                pass
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if _is_in_place(node):
                pass
            case ast.Call(args=[ast.Name(id=name), *_]) if _is_in_place(node):
                pass
            case _:
                continue
        if name in names:
            return True
    return False


__all__ = ["written_to"]
