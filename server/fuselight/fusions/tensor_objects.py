"""Tensor objects: where it matters that the result of steps that undo each other is another one than their input."""

from __future__ import annotations

import ast

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.fusions.steps import Pair, source_of
from fuselight.fusions.writes import leaves
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Consumption, Value
from fuselight.source.statements import Statement

_TESTS = frozenset("test tests reference ref naive expected golden roundtrip".split())
"""Words in a function's name that say that it compares something with something else."""

_OF_THE_OBJECT = frozenset(
    "retain_grad register_hook register_post_accumulate_grad_hook requires_grad_ detach_ rename_ refine_names grad"
    " grad_fn is_leaf data names _base set_".split()
)
_OF_ANY_OBJECT = (
    "t_", "squeeze_", "unsqueeze_", "transpose_", "swapaxes_", "swapdims_", "resize_", "resize_as_", "as_strided_",
    "set_", "retain_grad", "register_hook", "_base", "autograd",
)  # fmt: skip


def is_a_check(scope: Scope) -> Refusal | None:
    """A test, or a gradient by hand, is left as it is spelled."""
    if not _TESTS.isdisjoint(scope.name.replace(".", "_").lower().split("_")):
        return Refusal(f"`{scope.name}` reads as a test or a reference")
    if scope.owner is not None and any(
        one is not None and one.endswith("autograd.Function") for one in scope.owner.all_bases
    ):
        return Refusal(f"`{scope.owner.name}` is a custom autograd function")
    return None


_GRADIENTS = frozenset({"no_grad", "inference_mode", "set_grad_enabled", "enable_grad"})


def needs_its_own_object(module: Module, pair: Pair) -> Refusal | None:
    """Why the result of two steps that undo each other must stay another tensor object than its input.

    Both share one memory before and after. What differs is what belongs to the object: its gradient, its hooks, its
    shape changed in place, whether it is a parameter.
    """
    statement, source, value = pair.scope.statement, source_of(pair.first), pair.second.value
    assert value is not None
    at = Place(statement, pair.second.node)
    if source is None or source.kind in ("attribute", "global"):
        return Refusal("what it works on may be a parameter, of which a view is none", at)
    if _GRADIENTS & pair.scope.words or pair.scope.function.decorator_list:
        return Refusal("gradients are switched off around it, which stops at the result and not at its input", at)
    for one in (source, value):
        for use in one.uses:
            if _is_of_the_object(use.node) or (use.by is not None and _is_of_the_object(use.by.node)):
                node = use.node if isinstance(use.node, ast.expr | ast.stmt) else pair.second.node
                return Refusal("something is done with the tensor object itself", Place(statement, node))
            if (
                use.how is Consumption.METADATA
                and use.by is not None
                and (_compares_objects(use.by) or _is_id(use.by.node))
            ):
                return Refusal("whether it is another tensor object is asked for", at)
            if use.how is Consumption.STORED and one is value and isinstance(use.node, ast.Attribute):
                return Refusal("it is kept in an attribute", at)
    if leaves(module, value) and _objects_are_compared(module):
        return Refusal("the file asks whether two objects are one", at)
    if module.mentions.has_word(*_OF_ANY_OBJECT):
        return Refusal("the file works on tensor objects: their gradients, hooks, or shapes changed in place", at)
    return None


def _compares_objects(compare: Value) -> bool:
    """Whether a comparison asks if two tensors are one object: `y is x`, and not `y is None`."""
    none = any(one.kind == "constant" and one.constant is None for one in compare.inputs)
    return compare.kind == "compare" and not none


def _is_id(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "id"


def _objects_are_compared(module: Module) -> bool:
    """Whether `is` compares what may be two tensors, or `id` asks for one's address, anywhere in the file."""
    if any(isinstance(called.node.func, ast.Name) for called in module.mentions.calls_of("id")):
        return True
    module.mentions.look_at_everything()
    return any(statement.derive("objects compared", _compares_two) for statement in module.statements)


def _compares_two(statement: Statement) -> bool:
    if " is " not in statement.text:
        return False
    for node in ast.walk(ast.Module(statement.body, [])):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            sides = (node.left, *node.comparators)
            if all(isinstance(side, ast.Name | ast.Subscript) for side in sides):
                return True
    return False


def _is_of_the_object(node: ast.AST | None) -> bool:
    func = node.func if isinstance(node, ast.Call) else node
    return isinstance(func, ast.Attribute) and func.attr in _OF_THE_OBJECT


def is_tensor(pair: Pair) -> bool:
    """Whether the source shows that two steps work on a tensor of torch, and not on an array of another library."""
    if any(step.kind in _OF_TORCH or _is_function(step.value) for step in (pair.first, pair.second)):
        return True
    source, scope = source_of(pair.first), pair.scope
    if source is None:
        return False
    if source.kind.startswith("torch.") or source.kind in _OF_TORCH or _is_function(source):
        return True
    owner = scope.owner
    return source.kind == "parameter" and owner is not None and owner.is_module and scope.function.name == "forward"


_OF_TORCH = frozenset(
    "permute unsqueeze masked_fill".split()
    + [f"method {name}" for name in "movedim moveaxis view t contiguous expand unflatten".split()]
)
"""Kinds of methods that arrays of other libraries do not have."""

_UNKNOWN = frozenset({"call", "opaque", "builtin", "instance", "metadata"})


def _is_function(value: Value | None) -> bool:
    """Whether a value is what a layer or a function of torch yields: a tensor."""
    if value is None or not isinstance(value.node, ast.Call) or value.kind in _UNKNOWN:
        return False
    return value.layer is not None or len(value.inputs) != len(value.node.args) + 1
