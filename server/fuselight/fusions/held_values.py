"""What `self.<attribute>` is made of in `__init__`."""

from __future__ import annotations

import ast

from fuselight.fusions.written_attributes import written_to
from fuselight.graph.constants import sole_assignment
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Value


def held(module: Module, scope: Scope, value: Value) -> ast.expr | None:
    """What `self.<attribute>` is made of in `__init__`: an attribute that is set once, or a buffer."""
    owner, node = scope.owner, value.node
    me = self_parameter(scope.function)
    if owner is None or not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return None
    if node.value.id != me or owner.unknown_base is not None:
        return None
    family = {member.node for member in owner.family}
    found: list[ast.expr | None] = []
    for called in module.mentions.calls_of("register_buffer"):
        given = [*called.node.args, *(one.value for one in called.node.keywords)]
        if called.owner not in family or not given:
            continue
        if not isinstance(given[0], ast.Constant):
            return None
        if given[0].value == node.attr:
            found.append(given[1] if len(given) > 1 else None)
    stored = any(
        not isinstance(one.node.ctx, ast.Load) and (one.owner is None or one.owner in family)
        for one in module.mentions.of_attribute(node.attr)
    )
    if found:
        return found[0] if len(found) == 1 and not stored else None
    return sole_assignment(module, owner, node.attr) if stored else None


def unwritten(module: Module, scope: Scope, value: Value) -> ast.expr | None:
    """What `self.<attribute>` is made of in `__init__`, where nobody writes to it in place."""
    made, node = held(module, scope, value), value.node
    if made is None or scope.owner is None or not isinstance(node, ast.Attribute):
        return None
    return None if written_to(module, scope.owner, node.attr) else made


__all__ = ["held", "unwritten"]
