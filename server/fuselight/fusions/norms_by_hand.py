"""What normalisations that are spelled out ask of their site: the last dimensions, affine parameters, dtypes."""

from __future__ import annotations

import ast

from fuselight.fusions.base import Refusal
from fuselight.fusions.matching import Operand, cast_operand, dtype_of
from fuselight.fusions.needs import Assumption, Need, Verdict, is_number
from fuselight.fusions.site import Site
from fuselight.graph.classes import resolve
from fuselight.graph.constants import sole_assignment
from fuselight.graph.mentions import self_parameter
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import Value


def refused(reason: str) -> Need:
    """A near miss, which is reported with its reason and never rewritten."""

    def verdict(site: Site) -> Verdict:
        return Refusal(reason, site.place)

    return verdict


def last_dimensions(dim: str, name: str, count: int) -> Need:
    """`dim` names the last `count` dimensions of `name`, by negative numbers or where the rank is shown."""

    def verdict(site: Site) -> Verdict:
        if not site.is_given(dim):
            return None
        bound, value = site.found.bound[dim], site.value(name)
        dims = dimensions_of(site, bound)
        if dims is None or value is None:
            return Refusal("the dimension is not shown", site.place)
        rank = rank_of(site.graph, value, site.root).exact
        wrapped = sorted({one - rank if rank is not None and one >= 0 else one for one in dims})
        if wrapped == list(range(-count, 0)):
            return None
        if wrapped[-1] >= 0:
            what = f"dimension {wrapped[-1]} is the last one"
            return Refusal(f"it is not shown that {what}", site.place)
        return Refusal("it is over other dimensions than the last", site.place)

    return verdict


def dimensions_of(site: Site, bound: Operand | float | None) -> tuple[int, ...] | None:
    """The literal dimensions that a metavariable stands for, one or several."""
    if bound is None:
        return None
    if not isinstance(bound, Operand):
        return (int(bound),)
    elements = bound.value.inputs if bound.value.kind == "container" else (bound.value,)
    numbers = [site.matcher.number(one) for one in elements]
    if not numbers or any(one is None or one != int(one) for one in numbers):
        return None
    return tuple(int(one) for one in numbers if one is not None)


def size_of(name: str, of: str, dim: int = -1) -> Need:
    """`name`, where it is given, is the size of `of` in the dimension `dim`: `x.shape[-1]`, `x.size(-1)`."""

    def verdict(site: Site) -> Verdict:
        if not site.is_given(name):
            return None
        size, value = site.value(name), site.value(of)
        if size is not None and value is not None and is_size(site, size, value, dim):
            return None
        return Refusal(f"it is not shown that `{site.text(name)}` is the size of the dimension", site.place)

    return verdict


def is_size(site: Site, size: Value, value: Value, dim: int) -> bool:
    """Whether `size` is how large `value` is in the dimension `dim`, counted from the end."""
    rank = rank_of(site.graph, value, site.root).exact
    if size.kind == "unpack" and size.index is not None:
        shape = size.inputs[0]
        unpacked = [one for one in site.graph.of_kind("unpack") if one.inputs[0] is shape]
        starred = any(isinstance(one, ast.Starred) for one in _targets(size))
        asked = None if starred else size.index - len(unpacked)
    elif size.kind == "getitem" and len(size.inputs) == 2:
        shape, asked = size.inputs[0], _index(site, size.inputs[1], rank)
    elif size.kind == "metadata" and len(size.inputs) == 2 and isinstance(size.node, ast.Call):
        named = size.node.func
        if not isinstance(named, ast.Attribute) or named.attr != "size":
            return False
        return size.inputs[0] is value and _index(site, size.inputs[1], rank) == dim
    else:
        return False
    return asked == dim and _is_shape_of(shape, value)


def _targets(value: Value) -> list[ast.expr]:
    targets = value.statement.targets if isinstance(value.statement, ast.Assign) else []
    return [one for target in targets if isinstance(target, ast.Tuple | ast.List) for one in target.elts]


def _is_shape_of(shape: Value, value: Value) -> bool:
    if shape.kind == "attribute":
        return isinstance(shape.node, ast.Attribute) and shape.node.attr == "shape" and shape.inputs[0] is value
    node = shape.node
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "size"
    return shape.kind == "metadata" and called and len(shape.inputs) == 1 and shape.inputs[0] is value


def _index(site: Site, value: Value, rank: int | None) -> int | None:
    number = site.matcher.number(value)
    if number is None or number != int(number):
        return None
    return int(number) if number < 0 or rank is None else int(number) - rank


# -- affine parameters

_WEIGHTS = frozenset({"weight", "w", "gamma", "gain"})
_BIASES = frozenset({"bias", "b", "beta"})
_FILLED = frozenset(f"torch.{name}" for name in "ones zeros empty rand randn full Tensor FloatTensor".split())
_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})


def affine(*names: str, assume: bool = True) -> Need:
    """These have one number for each element of the last dimension: parameters of the class that are made so.

    Where the source does not show how one is made, its name may say what it is; with `assume` that is taken on trust.
    """

    def verdict(site: Site) -> Verdict:
        assumed: list[str] = []
        for name in names:
            value = site.value(name)
            if value is None:
                return Refusal(f"`{site.text(name)}` is a number, and no weight", site.place)
            refusal = _shape_of(site, value, site.text(name), _WEIGHTS | _BIASES, assumed)
            if refusal is not None:
                return refusal
        if assumed and not assume:
            text = assumed[0]
            return Refusal(f"it is not shown that `{text}` has one number for each of the last dimension", site.place)
        if assumed:
            each = " and ".join(f"`{one}`" for one in dict.fromkeys(assumed))
            return Assumption(f"{each} of the size of the last dimension")
        return None

    return verdict


def _shape_of(site: Site, value: Value, text: str, spoken: frozenset[str], assumed: list[str]) -> Refusal | None:
    """Why a value may have another shape than the last dimension's; what is taken on trust goes into `assumed`."""
    refusal = Refusal(f"it is not shown that `{text}` has one number for each of the last dimension", site.place)
    converted = cast_operand(value)
    if converted is not None:
        return _shape_of(site, converted.value, text, spoken, assumed)
    if site.matcher.number(value) is not None or is_number(site, value):
        return Refusal(f"`{text}` is a number, and no weight", site.place)
    if value.kind in ("add", "sub") and len(value.inputs) == 2 and not value.keywords:
        tensors = [one for one in value.inputs if site.matcher.number(one) is None]
        if len(tensors) == 1:
            return _shape_of(site, tensors[0], text, spoken, assumed)
        return refusal
    if value.kind == "parameter" and value.path is not None:
        if not _speaks(value.path, spoken):
            return refusal
        assumed.append(text)
        return None
    if value.kind != "attribute" or value.path is None:
        return refusal
    sizes = made_parameter(site, value)
    if sizes is not None and len(sizes) != 1:
        return Refusal(f"`{text}` has not one dimension", site.place)
    if sizes is not None:
        if isinstance(sizes[0], ast.Constant) and sizes[0].value == 1:
            return Refusal(f"`{text}` has one element", site.place)
        if not isinstance(sizes[0], ast.Name) or not sizes[0].id.endswith(("shape", "dims", "sizes")):
            return None
    if not _speaks(value.path.rpartition(".")[2], spoken):
        return refusal
    assumed.append(text)
    return None


def made_parameter(site: Site, value: Value) -> list[ast.expr] | None:
    """The sizes with which the class makes a parameter, read behind conversions and `1 +`; None where it is none."""
    converted = cast_operand(value)
    if converted is not None:
        return made_parameter(site, converted.value)
    if value.kind in ("add", "sub") and len(value.inputs) == 2 and not value.keywords:
        tensors = [one for one in value.inputs if site.matcher.number(one) is None]
        return made_parameter(site, tensors[0]) if len(tensors) == 1 else None
    assigned = assigned_attribute(site, value)
    return _sizes_of_parameter(site, assigned) if assigned is not None else None


def assigned_attribute(site: Site, value: Value) -> ast.expr | None:
    """What `__init__` assigns to `self.<attribute>`, where it is assigned once."""
    owner = site.scope.owner
    if owner is None or value.kind != "attribute" or value.path is None:
        return None
    me, dot, attribute = value.path.partition(".")
    if not dot or "." in attribute or me != self_parameter(site.scope.function):
        return None
    return sole_assignment(site.module, owner, attribute)


def is_bound_once(site: Site, node: ast.expr) -> bool:
    """Whether the names in an expression of `__init__` mean the same wherever they stand in it."""
    owner = site.scope.owner
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    for member in owner.family if owner is not None else ():
        init = member.methods.get("__init__")
        for one in ast.walk(init) if init is not None else ():
            if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load) and one.id in names:
                return False
    return True


def _speaks(name: str, spoken: frozenset[str]) -> bool:
    return name.lower().rpartition("_")[2] in spoken


def _sizes_of_parameter(site: Site, assigned: ast.expr) -> list[ast.expr] | None:
    """The sizes that a parameter is made with, `[dim]` of `nn.Parameter(torch.ones(dim))`; None where they are not."""
    if not isinstance(assigned, ast.Call) or resolve(assigned.func, site.module.names) not in _PARAMETERS:
        return None
    made = assigned.args[0] if assigned.args else None
    while isinstance(made, ast.BinOp | ast.Call):
        if isinstance(made, ast.BinOp):
            sides = [one for one in (made.left, made.right) if not isinstance(one, ast.Constant)]
            if len(sides) != 1:
                return None
            made = sides[0]
            continue
        path = resolve(made.func, site.module.names)
        if path not in _FILLED:
            return None
        sizes = list(made.args)
        if path == "torch.full":
            sizes = sizes[:1]
        sizes += [one.value for one in made.keywords if one.arg == "size"]
        if len(sizes) == 1 and isinstance(sizes[0], ast.Tuple | ast.List):
            sizes = list(sizes[0].elts)
        return None if any(isinstance(one, ast.Starred) for one in sizes) else sizes
    return None


# -- dtypes

HALF = Assumption("in float16, large values no longer overflow")

_SINGLE = frozenset({"torch.float32", "torch.float"})
_WIDE = _SINGLE | {"torch.float64", "torch.double"}
_METHODS = {"method float": "torch.float32", "method double": "torch.float64"}


def converted_to(value: Value) -> str | Value | None:
    """What a conversion makes: a dtype, or the value whose dtype it takes; None where it converts none."""
    if cast_operand(value) is None:
        return None
    if value.kind in _METHODS:
        return _METHODS[value.kind]
    if value.kind == "method type_as":
        return value.inputs[1]
    if value.kind in ("method to", "method type"):
        (given,) = (*value.inputs[1:], *value.keywords.values())
        if given.kind == "attribute" and isinstance(given.node, ast.Attribute) and given.node.attr == "dtype":
            return given.inputs[0]
        return dtype_of(given)
    return None


def is_wide(value: Value | None) -> bool:
    """Whether a value is shown to be of float32 or float64."""
    return value is not None and converted_to(value) in _WIDE


def wide(name: str) -> Need:
    """`name` is of float32 or float64; else it is said what differs in float16."""

    def verdict(site: Site) -> Verdict:
        return None if is_wide(site.value(name)) else HALF

    return verdict


def one_dtype(name: str, *affine: str) -> Need:
    """`name` and the affine parameters are of one dtype, which the call asks for, or takes the input's alone."""

    def verdict(site: Site) -> Verdict:
        value = site.value(name)
        if value is None:
            return Refusal(f"`{site.text(name)}` is no tensor", site.place)
        assumed = False
        for one in affine:
            parameter = site.value(one)
            made = converted_to(_converted_part(site, parameter)) if parameter is not None else None
            if is_wide(value) and made != converted_to(value):
                return Refusal(f"`{site.text(one)}` may be of another dtype than `{site.text(name)}`", site.place)
            if isinstance(made, str) and not is_wide(value):
                return Refusal(f"`{site.text(one)}` may be of another dtype than `{site.text(name)}`", site.place)
            assumed = assumed or not (is_wide(value) or made is value)
        return same_dtype_assumed(site) if assumed else None

    return verdict


def _converted_part(site: Site, value: Value) -> Value:
    """`w.float()` of `1 + w.float()`."""
    if value.kind in ("add", "sub") and len(value.inputs) == 2:
        return next((one for one in value.inputs if site.matcher.number(one) is None), value)
    return value


def same_dtype_assumed(site: Site) -> Verdict:
    """A float32 weight makes the result float32 where it is multiplied by hand; the call keeps the input's dtype."""
    if site.module.mentions.has_word("autocast", "amp", "GradScaler"):
        return Refusal("the file uses autocast, under which the result would have another dtype", site.place)
    return Assumption("input and parameters of one dtype")


def through_float32(name: str, *affine: str) -> Need:
    """The input is computed with in float32, and the result converted back to the input's dtype.

    The call does both by itself. What it does otherwise is said: parameters are applied before the result is rounded.
    """

    def verdict(site: Site) -> Verdict:
        value = site.value(name)
        if value is None:
            return Refusal(f"`{site.text(name)}` is no tensor", site.place)
        parameters = [one for one in map(site.value, affine) if one is not None]
        inner = (site.root, *site.found.inner)
        before: list[Value] = []
        behind: list[Value] = []
        for one in inner:
            converted = cast_operand(one)
            if converted is None:
                if any(source is value for source in one.inputs) and one.kind != "attribute":
                    return Refusal("a part of it is not computed in float32", site.place)
                continue
            while (further := cast_operand(converted.value)) is not None and converted.value is not value:
                converted = further
            if converted.value is value:
                before.append(one)
            elif converted.value not in parameters:
                behind.append(one)
            elif converted_to(one) not in (*_SINGLE, value):
                return Refusal("its weight is converted to another dtype", site.place)
        if not before or not behind:
            return Refusal("the dtype of its result is another one", site.place)
        if any(is_wide(_converted_part(site, one)) for one in parameters):
            return Refusal("its weight is converted to another dtype", site.place)
        if any(converted_to(one) not in _SINGLE for one in before):
            return Refusal("it is not computed in float32", site.place)
        if any(converted_to(one) is not value for one in behind):
            return Refusal("its result is converted to another dtype than the input's", site.place)
        if site.root in behind:
            return Assumption("float64 is no longer rounded to float32")
        if any(converted_to(one) in _SINGLE for one in inner if one not in before):
            return Refusal("the dtype of its result is another one", site.place)
        late = same_dtype_assumed(site)
        if isinstance(late, Assumption):
            return Assumption(
                "the weight multiplies before the result is rounded to the input's dtype, which it shares;"
                " float64 is no longer rounded to float32"
            )
        return late

    return verdict
