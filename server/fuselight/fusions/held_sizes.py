"""The sizes of a tensor that a module holds, as `__init__` makes it: a parameter, a buffer, the weight of a layer."""

from __future__ import annotations

import ast

from fuselight.fusions.sizes import arguments
from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Value
from fuselight.source.names import dotted

_FILLED = frozenset(f"torch.{name}" for name in "zeros ones empty rand randn Tensor FloatTensor full".split())
_PASSES_ON = frozenset("torch.nn.Parameter torch.nn.parameter.Parameter torch.nn.Buffer torch.clone".split())
_FILLING = frozenset("normal_ uniform_ zero_ fill_ float clone detach requires_grad_ to cuda".split())
_SIZES_OF_LAYER: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # Its parameters, the sizes of its weight, the sizes of its bias.
    "torch.nn.Linear": (
        ("in_features", "out_features", "bias", "device", "dtype"),
        ("out_features", "in_features"),
        ("out_features",),
    ),
    "torch.nn.Embedding": (("num_embeddings", "embedding_dim"), ("num_embeddings", "embedding_dim"), ()),
}


def held_sizes(module: Module, scope: Scope, value: Value) -> tuple[ast.expr, ...] | None:
    """The sizes of a tensor read from `self`: `self.weight`, `self.fc.bias`; None where they are not shown."""
    owner, node = scope.owner, value.node
    path = dotted(node) if value.kind == "attribute" and node is not None else None
    me = self_parameter(scope.function)
    if owner is None or path is None or me is None or not path.startswith(f"{me}."):
        return None
    attribute, _, rest = path.removeprefix(f"{me}.").partition(".")
    if rest in ("", "data"):
        return _made_sizes(module, owner, attribute)
    layer = owner.layers.get(attribute)
    if layer is None or layer.unknown is not None or layer.constructor is None or layer.kind not in _SIZES_OF_LAYER:
        return None
    names, weight, bias = _SIZES_OF_LAYER[layer.kind]
    given = arguments(layer.constructor, names)
    wanted = {"weight": weight, "bias": bias}.get(rest)
    if given is None or not wanted or any(name not in given for name in wanted):
        return None
    return tuple(given[name] for name in wanted)


def _made_sizes(module: Module, owner: ClassInfo, attribute: str) -> tuple[ast.expr, ...] | None:
    """The sizes with which `self.<attribute>` is made, where it is set once."""
    if owner.unknown_base is not None:
        return None
    family = {member.node for member in owner.family}
    stores = module.mentions.of_attribute_near(attribute, family, stored=True)
    layer = owner.layers.get(attribute)
    if layer is not None:
        if len(stores) != 1 or layer.unknown is not None or layer.constructor is None:
            return None
        return _sizes(module, layer.constructor, local_names(layer.init, layer.statement) | layer.owner.hidden)
    found: list[tuple[ast.expr, ...] | None] = []
    for called in module.mentions.calls_of("register_buffer", "register_parameter"):
        given = [*called.node.args, *(keyword.value for keyword in called.node.keywords)]
        if called.owner not in family or not given:
            continue
        if not isinstance(given[0], ast.Constant):
            return None
        if given[0].value == attribute:
            local = local_names(called.function, called.statement) if called.function is not None else set[str]()
            found.append(_sizes(module, given[1], local) if len(given) > 1 else None)
    return found[0] if not stores and len(found) == 1 else None


def _sizes(module: Module, node: ast.expr, local: set[str] | frozenset[str]) -> tuple[ast.expr, ...] | None:
    """The sizes of `torch.randn(10, 4)`, perhaps scaled by a number, filled, or made a parameter."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        made, number = (node.left, node.right) if isinstance(node.left, ast.Call) else (node.right, node.left)
        return _sizes(module, made, local) if _is_number(number) else None
    if not isinstance(node, ast.Call):
        return None
    path = resolve(node.func, module.names, set(local))
    if path is None:
        filled = isinstance(node.func, ast.Attribute) and node.func.attr in _FILLING
        return _sizes(module, node.func.value, local) if filled and isinstance(node.func, ast.Attribute) else None
    if not node.args:
        return None
    if path in _PASSES_ON or path.startswith("torch.nn.init."):
        return _sizes(module, node.args[0], local)
    if path not in _FILLED or any(one.arg in ("dtype", None) for one in node.keywords):
        return None  # of another dtype it may be a counter or an index
    given = node.args[:1] if path == "torch.full" else node.args
    if len(given) == 1:
        # A lone name may be a tuple of sizes.
        if isinstance(given[0], ast.Tuple | ast.List):
            given = given[0].elts
        elif (
            path == "torch.full"
            or not isinstance(given[0], ast.Constant | ast.BinOp | ast.Name | ast.Attribute)
            or not _reads_as_size(given[0])
        ):
            return None
    return None if any(isinstance(one, ast.Starred | ast.Tuple | ast.List) for one in given) else tuple(given)


_SIZE_WORDS = frozenset(
    "dim dims features channels size hidden width units out in embed inner heads experts classes d dk dv n c embd"
    " planes".split()
)


def _reads_as_size(node: ast.expr) -> bool:
    """Whether a lone argument is surely one size, or called as one: `torch.zeros(dim)`, not `torch.zeros(shape)`."""
    match node:
        case ast.Constant(value=value):
            return type(value) is int
        case ast.BinOp(op=ast.Mult() | ast.FloorDiv() | ast.Sub(), right=right):
            return not isinstance(right, ast.Tuple | ast.List)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return reads_as_size(name)
        case _:
            return False


def reads_as_size(name: str) -> bool:
    """Whether a name says that it is a size: `hidden_size`, `head_dim`, `d_model`."""
    return not _SIZE_WORDS.isdisjoint(name.rpartition(".")[2].lower().split("_"))


def _is_number(node: ast.expr) -> bool:
    """Whether a factor is no tensor: constants, names and what `math` makes of them."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and not ast.unparse(inner.func).startswith("math."):
            return False
        if isinstance(inner, ast.Attribute) and not ast.unparse(inner).startswith(("math.", "self.")):
            return False
    return True
