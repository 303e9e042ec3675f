"""What a rewrite asks of its site beside the pattern: ranks, numbers, tensors; each need is a value that says it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from fuselight.fusions.base import Refusal
from fuselight.fusions.held_sizes import held_sizes, reads_as_size
from fuselight.fusions.matching import Operand, operands_of
from fuselight.fusions.site import Site
from fuselight.graph.constants import sole_assignment
from fuselight.graph.kinds import METADATA_ATTRIBUTES, kind_of_method, read_as
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import Rank, is_whole_number, rank_of
from fuselight.graph.values import Value
from fuselight.source.nodes import walk


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something that the source does not show: the rewrite is `numerics`, and its title says it."""

    text: str


class InScope(Protocol):
    """What says in which function of which file a value stands: a site, and whatever else reads values."""

    @property
    def module(self) -> Module: ...

    @property
    def scope(self) -> Scope: ...


Verdict = Refusal | Assumption | None
"""What a need comes to at a site: refused, offered under an assumption, or shown to hold."""

Need = Callable[[Site], Verdict]


def rank(name: str, least: int, most: int | None = None, *, otherwise: str | None = None) -> Need:
    """`name` has from `least` to `most` dimensions (exactly `least` without `most`).

    Where the source does not show it, `otherwise` is what the title assumes; without it the site is refused.
    """
    most = least if most is None else most

    def verdict(site: Site) -> Verdict:
        value = site.value(name)
        if value is None:
            return None
        known = shown_rank(site, value)
        if known.least >= least and known.most is not None and known.most <= most:
            return None
        if known.least > most or (known.most is not None and known.most < least):
            return Refusal(f"`{site.text(name)}` has not {_dimensions(least, most)}", site.place)
        if otherwise is not None:
            return Assumption(otherwise)
        return Refusal(f"it is not shown that `{site.text(name)}` has {_dimensions(least, most)}", site.place)

    return verdict


def shown_rank(site: Site, value: Value) -> Rank:
    """How many dimensions a value has: as its making and its use show, or `__init__` where the module holds it."""
    known = rank_of(site.graph, value, site.root)
    if known.exact is not None:
        return known
    sizes = held_sizes(site.module, site.scope, value)
    return known if sizes is None else Rank(len(sizes), len(sizes)).meet(known)


def given(*names: str) -> Need:
    """These arguments stand at the site."""

    def verdict(site: Site) -> Verdict:
        if all(site.is_given(name) for name in names):
            return None
        return Refusal("an argument is left out that the one call needs, such as the dimension", site.place)

    return verdict


def same_dimension(one: str, other: str, name: str) -> Need:
    """Two dimensions of `name` are one: by their source, or by their numbers where the rank is shown.

    An absent one takes all dimensions, which are one where `name` has no more.
    """

    def verdict(site: Site) -> Verdict:
        first, second = site.value(one), site.value(other)
        tensor = site.value(name)
        if first is not None and second is not None and site.matcher.is_same(first, second):
            return None
        numbers = [site.number(dim) for dim in (one, other) if site.is_given(dim)]
        rank = shown_rank(site, tensor).exact if tensor is not None else None
        if len(numbers) == 1 and rank == 1:
            return None
        known = [number for number in numbers if number is not None]
        if len(known) == 2 and rank is not None and (known[0] - known[1]) % rank == 0:
            return None
        return Refusal("it is not shown that both work along the same dimension", site.place)

    return verdict


def _dimensions(least: int, most: int) -> str:
    return f"{least} dimensions" if least == most else f"{least} to {most} dimensions"


def last_dimension(dim: str, name: str) -> Need:
    """The dimension `dim` is the last one of `name`: -1, or its number where the rank is shown."""

    def verdict(site: Site) -> Verdict:
        number = site.number(dim)
        if number == -1:
            return None
        if number is None:
            return Refusal("the dimension is not shown", site.place)
        value = site.value(name)
        known = rank_of(site.graph, value, site.root).exact if value is not None else None
        if known is not None and number == known - 1:
            return None
        return Refusal(f"it is not shown that dimension {int(number)} is the last one", site.place)

    return verdict


def number(*names: str) -> Need:
    """These are Python numbers: constants, or names that the source shows to be bound to one."""

    def verdict(site: Site) -> Verdict:
        for name in names:
            if site.is_given(name) and site.number(name) is None and not _is_number(site, name):
                return Refusal(f"it is not shown that `{site.text(name)}` is a number", site.place)
        return None

    return verdict


def constant(name: str, least: float, most: float) -> Need:
    """A number that the source shows, from `least` to `most`."""

    def verdict(site: Site) -> Verdict:
        known = site.number(name)
        if known is None:
            return Refusal(f"`{site.text(name)}` is not shown", site.place)
        return None if least <= known <= most else Refusal(f"{known:g} is not from {least:g} to {most:g}", site.place)

    return verdict


def tensor(*names: str, otherwise: str = "all are tensors") -> Need:
    """These are tensors: made by torch, by a layer, or read from a parameter; else it is assumed, or they are none."""

    def verdict(site: Site) -> Verdict:
        assumed = False
        for name in names:
            value = site.value(name)
            if value is None or site.number(name) is not None or _is_number(site, name):
                return Refusal(f"`{site.text(name)}` is no tensor", site.place)
            assumed = assumed or not is_tensor(site.module, value)
        return Assumption(otherwise) if assumed else None

    return verdict


def operands(*names: str, otherwise: str = "all are tensors", among_tensors: bool = False) -> Need:
    """These are tensors, where the one call takes nothing else: numbers are refused, and what may well be one.

    Plain parameters and what unknown calls return are assumed to be tensors, an attribute or a global name is not.
    `among_tensors`: that a function of torch is the root shows that one of them is, so that the others may be.
    """

    def verdict(site: Site) -> Verdict:
        shown = int(among_tensors and isinstance(site.root.node, ast.Call))
        assumed = 0
        least = len(names) + shown
        for name in names:
            value = site.value(name)
            if value is None or site.number(name) is not None or _is_number(site, name):
                return Refusal(f"`{site.text(name)}` is no tensor", site.place)
            if is_operand(site, value):
                shown += 1
            elif not _is_plain(value):
                if not _is_returned(value):
                    return Refusal(f"nothing shows that `{site.text(name)}` is a tensor", site.place)
                assumed += 1
        if assumed and not shown:
            return Refusal("nothing shows that it computes with tensors", site.place)
        return Assumption(otherwise) if shown < least else None

    return verdict


def is_operand(site: InScope, value: Value) -> bool:
    """Whether a value is shown to be a tensor: by its making, its annotation, or what else is done with it."""
    if is_tensor(site.module, value) or held_sizes(site.module, site.scope, value) is not None:
        return True
    if value.kind == "parameter" and value.path is not None and _is_annotated(site.scope.function, value.path):
        return True
    if value.kind == "getitem" and _is_of_arrays(value.node):
        return True
    if value.kind in ("add", "sub", "mul", "div", "neg", "pow"):
        return any(is_operand(site, one) for one in value.inputs)
    return any(use.by is not None and _takes_a_tensor(use.by, value) for use in value.uses)


def _is_plain(value: Value) -> bool:
    """Whether a value is a parameter of the function, or computed from such by operators alone."""
    if value.kind in ("add", "sub", "mul", "div", "neg", "pow"):
        return all(_is_plain(one) or one.constant is not None for one in value.inputs)
    return value.kind == "parameter"


def _is_returned(value: Value) -> bool:
    """Whether a value is what a call of something unknown returns, or an element of that: a tensor, most likely."""
    while value.kind in ("getitem", "unpack") and value.inputs:
        value = value.inputs[0]
    return value.kind in ("call", "instance", "opaque", "parameter", "joined")


def _is_of_arrays(node: ast.expr | None) -> bool:
    """Whether a subscript is one that lists and tuples do not take: `x[:, None]`, `x[None]`."""
    if not isinstance(node, ast.Subscript):
        return False
    cut = node.slice
    return isinstance(cut, ast.Tuple) or (isinstance(cut, ast.Constant) and cut.value is None)


_FLOATING = frozenset(
    "sigmoid tanh softmax log_softmax exp log log1p expm1 sqrt rsqrt div linear conv1d conv2d conv3d "
    "layer_norm rms_norm normalize dropout mean std var sin cos tan erf gelu silu softplus reciprocal "
    "logsumexp norm vector_norm softsign method_float method_double method_half method_bfloat16 torch.rand "
    "torch.randn torch.randn_like torch.rand_like torch.linspace method_atan2 torch.atan2 embedding "
    "interpolate batch_norm group_norm".split()
)
_KEEPS_DTYPE = frozenset(
    "add sub mul neg maximum minimum clamp abs relu reshape swapaxes permute unsqueeze squeeze flatten cat stack sum"
    " getitem unpack chunk split broadcast_to matmul mm bmm pow square container joined where".split()
)


def is_floating(site: InScope, value: Value, depth: int = 8) -> bool:
    """Whether the source shows a tensor to be of floating numbers: by what made it, or what that was made of."""
    kind = value.kind.removeprefix("in-place ").replace("method ", "method_")
    if kind in _FLOATING or held_sizes(site.module, site.scope, value) is not None:
        return True
    if value.layer is not None and value.layer.kind is not None and value.kind.startswith("torch.nn."):
        return True
    if value.kind == "attribute" and value.path is not None and value.path.rpartition(".")[2] in ("weight", "bias"):
        return True
    if depth == 0 or not value.inputs:
        return False
    if kind in ("getitem", "unpack") or (kind.startswith("method_") and kind[7:] in _SAME_DTYPE):
        return is_floating(site, value.inputs[0], depth - 1)
    every = all if kind == "joined" else any
    return kind in _KEEPS_DTYPE and every(is_floating(site, one, depth - 1) for one in value.inputs)


_SAME_DTYPE = frozenset(
    "detach clone contiguous view expand expand_as repeat repeat_interleave t flip roll select narrow index_select cuda"
    " cpu masked_fill unflatten movedim".split()
)


def _is_annotated(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    arguments = function.args
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if one.arg == name and one.annotation is not None:
            return ast.unparse(one.annotation).rpartition(".")[2].endswith("Tensor")
    return False


def _takes_a_tensor(by: Value, value: Value) -> bool:
    """Whether what is done with a value can be done with a tensor only, or an array."""
    node = by.node
    if by.layer is not None:
        return bool(by.inputs) and by.inputs[0] is value
    if isinstance(node, ast.Attribute):
        return _says_of(node) or node.attr in ("T", "mT")
    if isinstance(node, ast.Subscript):
        return bool(by.inputs) and by.inputs[0] is value and _is_of_arrays(node)
    if not isinstance(node, ast.Call) or by.kind in ("call", "opaque", "instance", "builtin"):
        return by.kind == "metadata"
    if by.kind == "metadata" or not by.inputs or by.inputs[0] is not value:
        return by.kind == "metadata"
    return not by.kind.startswith(("math.", "numpy."))


def without_autocast(note: str) -> Need:
    """Under autocast the result has another dtype: refused in a file that speaks of it, else said."""

    def verdict(site: Site) -> Verdict:
        if site.module.mentions.has_word("autocast", "amp", "GradScaler"):
            return Refusal("the file uses autocast, under which the result would have another dtype", site.place)
        return Assumption(note)

    return verdict


_FLOAT32_UNDER_AUTOCAST = frozenset(
    "exp expm1 log log1p log2 log10 pow square reciprocal rsqrt softplus softmax log_softmax sum prod cumsum"
    " norm".split()
)
"""Functions that compute in float32 on a GPU under autocast.

Source: the notes on `torch.amp` of torch 2.13, "CUDA Ops that can autocast to float32".
"""


def widens_under_autocast(kinds: Iterable[str]) -> bool:
    """Whether one of these neutral kinds computes in float32 on a GPU under autocast."""
    return not _FLOAT32_UNDER_AUTOCAST.isdisjoint(kinds)


def dtype_under_autocast(site: Site) -> Verdict:
    """The one call keeps the dtype that it is given; a part of the site may not, on a GPU under autocast."""
    for value in (site.root, *site.found.inner):
        kinds = (value.in_place,) if value.in_place is not None else read_as(value.kind)
        divided = value.kind == "div" and isinstance(value.inputs[0].constant, int | float)
        if divided or not _FLOAT32_UNDER_AUTOCAST.isdisjoint(kinds):
            return without_autocast("on a GPU under autocast in the dtype of its operand")(site)
    return None


_HIGHER = ("create_graph", "gradgradcheck", "jvp", "jacfwd", "hessian", "forward_ad", "hvp", "vhp", "jacobian")


def first_gradients_only(site: Site) -> Verdict:
    """The one call has no double backward and no forward mode: refused in a file that asks for either."""
    return higher_gradients(site.module)


def higher_gradients(module: Module) -> Refusal | None:
    """Why a call without double backward and forward mode cannot stand in this file."""
    for word in _HIGHER:
        if module.mentions.has_word(word):
            return Refusal(f"the file asks for more than first gradients (`{word}`), which the one call does not have")
    return None


def _is_number(site: Site, name: str) -> bool:
    bound = site.found.bound.get(name)
    return is_number(site, bound.value) if isinstance(bound, Operand) else bound is not None


def is_number(site: InScope, value: Value) -> bool:
    """Whether a value surely is a Python number: by its arithmetic, its default, or what `__init__` makes of it."""
    if isinstance(value.constant, int | float) and not isinstance(value.constant, bool):
        return True
    if value.kind == "pow" and len(value.inputs) == 2:
        base, exponent = value.inputs
        return is_number(site, exponent) and (is_number(site, base) or _is_named_size(base))
    if value.kind in ("add", "sub", "mul", "div", "neg") and value.inputs:
        return all(is_number(site, one) for one in value.inputs)
    if is_whole_number(value):
        return True
    if (
        isinstance(value.node, ast.Call)
        and isinstance(value.node.func, ast.Attribute)
        and value.node.func.attr == "item"
    ):
        return True
    if value.kind == "builtin" and isinstance(value.node, ast.Call):
        return isinstance(value.node.func, ast.Name) and value.node.func.id in ("float", "int", "len", "round")
    if value.kind == "metadata" or (value.kind.startswith("math.") and value.inputs):
        return True
    if value.kind == "getitem" and value.inputs[0].path is not None and value.inputs[0].path.endswith(".shape"):
        return True
    if value.kind == "parameter" and value.path is not None:
        return _numeric_parameter(site.scope.function, value.path)
    if value.kind == "attribute" and value.path is not None and site.scope.owner is not None:
        me, dot, attribute = value.path.partition(".")
        if not dot or me != self_parameter(site.scope.function) or "." in attribute:
            return _reads_as_epsilon(value.path)
        return _numeric_attribute(site, attribute)
    return False


def _is_named_size(value: Value) -> bool:
    return value.kind in ("attribute", "parameter") and value.path is not None and reads_as_size(value.path)


_MOST_STEPS = 6
"""Through how many names a number of `__init__` is followed."""


def _numeric_attribute(site: InScope, attribute: str, depth: int = _MOST_STEPS) -> bool:
    owner = site.scope.owner
    assigned = sole_assignment(site.module, owner, attribute) if owner is not None else None
    if owner is None or assigned is None:
        return False
    for member in owner.family:
        init = member.methods.get("__init__")
        if init is not None and any(one is assigned for one in ast.walk(init)):
            return _numeric(site, assigned, init, depth)
    return isinstance(assigned, ast.Constant) and type(assigned.value) in (int, float)


def is_made_number(site: InScope, node: ast.expr) -> bool:
    """Whether an expression in the `__init__` of the class surely is a Python number."""
    for member in site.scope.owner.family if site.scope.owner is not None else ():
        init = member.methods.get("__init__")
        if init is not None and any(one is node for one in ast.walk(init)):
            return _numeric(site, node, init, _MOST_STEPS)
    return False


def _numeric(site: InScope, node: ast.expr, init: ast.FunctionDef | ast.AsyncFunctionDef, depth: int) -> bool:
    """Whether an expression of `__init__` surely is a Python number."""

    def numeric(part: ast.expr) -> bool:
        return depth > 0 and _numeric(site, part, init, depth - 1)

    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float)
        case ast.BinOp(left=left, right=right):
            return all(numeric(one) or _reads_as_size(one) for one in (left, right))
        case ast.UnaryOp(operand=operand):
            return numeric(operand)
        case ast.BoolOp(op=ast.Or(), values=[ast.Name(id=name), other]):  # `scale or head_dim ** -0.5`
            return numeric(other) and (_numeric_parameter(init, name) or _optional_parameter(init, name))
        case ast.IfExp(body=body, orelse=orelse):
            given = [one for one in (body, orelse) if not (isinstance(one, ast.Name) and numeric(orelse))]
            return all(map(numeric, given))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"))):
            return True
        case ast.Call(func=ast.Name(id="float" | "int")):
            return True
        case ast.Name(id=name):
            made = _local_assignment(init, name)
            return _numeric_parameter(init, name) or (made is not None and numeric(made))
        case ast.Attribute(value=ast.Name(id=me), attr=attribute) if me == self_parameter(init):
            return depth > 0 and _numeric_attribute(site, attribute, depth - 1)
        case ast.Attribute():
            return _reads_as_epsilon(ast.unparse(node))
        case _:
            return False


def _reads_as_size(node: ast.expr) -> bool:
    """Whether a name says that it is a size: `config.hidden_size`, `head_dim`, `getattr(config, "head_dim", None)`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return reads_as_size(name)
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return reads_as_size(name)
        case _:
            return False


def _local_assignment(init: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> ast.expr | None:
    """What a function binds a name to, where it does so once."""
    found = [one for one in walk(init) if isinstance(one, ast.Name) and one.id == name]
    if sum(not isinstance(one.ctx, ast.Load) for one in found) != 1:
        return None
    for node in walk(init):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id == name:
                return node.value
    return None


def _optional_parameter(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    """Whether a parameter is None where it is not given."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*zip(reversed(positional), reversed(arguments.defaults), strict=False)]
    defaults += [(one, given) for one, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if given]
    return any(one.arg == name and isinstance(given, ast.Constant) and given.value is None for one, given in defaults)


def _numeric_parameter(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    """Whether a parameter has a number for its default or its annotation, or is called epsilon."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(zip((one.arg for one in reversed(positional)), reversed(arguments.defaults), strict=False))
    defaults.update(
        {one.arg: given for one, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if given}
    )
    for one in (*positional, *arguments.kwonlyargs):
        if one.arg != name:
            continue
        if isinstance(one.annotation, ast.Name) and one.annotation.id in ("int", "float"):
            return True
        default = defaults.get(name)
        if isinstance(default, ast.UnaryOp):
            default = default.operand
        if isinstance(default, ast.Constant) and type(default.value) in (int, float):
            return True
        return one.annotation is None and default is None and _reads_as_epsilon(name)
    return False


def _reads_as_epsilon(path: str) -> bool:
    last = path.rpartition(".")[2].lower()
    return last in ("eps", "epsilon") or last.endswith(("_eps", "_epsilon"))


_ARITHMETIC = frozenset("add sub mul div pow neg getitem unpack compare operator attribute joined builtin".split())

_ALSO_NUMPY = frozenset(
    "mean sum std var max min argmax argmin clip dot reshape transpose squeeze prod cumsum round repeat flatten ravel"
    " view trace sort all any take swapaxes diagonal nonzero copy astype item tolist".split()
)
"""Methods that an array of numpy has as well."""


_NO_TENSORS = frozenset("item tolist numpy".split())
"""Methods of a tensor whose result is none."""


def _says_of(node: ast.Attribute) -> bool:
    """Whether an attribute says something of a tensor, and is none."""
    return node.attr in METADATA_ATTRIBUTES


def is_tensor(module: Module, value: Value, depth: int = 8) -> bool:
    """Whether the source shows that a value is a tensor of torch: it, or what it is computed from, is made by torch."""
    if depth == 0:
        return False
    if value.kind.startswith("torch.nn.") or (value.layer is not None and value.layer.kind is not None):
        return True
    node = value.node
    if isinstance(node, ast.Call):
        if value.kind in ("call", "opaque", "instance", "builtin", "metadata"):
            return False
        if not isinstance(node.func, ast.Attribute):
            return True
        method = node.func.attr
        named = "." not in value.kind and not value.kind.startswith("method ")
        by_torch = value.kind.startswith("torch.") or (named and not _is_method_call(value))
        if by_torch or {"dim", "keepdim"} & value.keywords.keys() or method not in _ALSO_NUMPY:
            return value.kind.startswith(("method ", "torch.")) or kind_of_method(method) is not None or by_torch
    if value.kind == "attribute" and value.path is not None and value.path.rpartition(".")[2] in ("weight", "bias"):
        return True
    if value.kind.removeprefix("method ") in _NO_TENSORS or (isinstance(node, ast.Attribute) and _says_of(node)):
        return False
    if value.kind in _ARITHMETIC or isinstance(node, ast.Call):
        inputs = value.inputs[:1] if value.kind in ("getitem", "unpack", "attribute") else value.inputs
        some = all if value.kind == "joined" else any
        return bool(inputs) and some(is_tensor(module, one, depth - 1) for one in inputs)
    return False


def _is_method_call(value: Value) -> bool:
    node = value.node
    assert isinstance(node, ast.Call)
    operands = operands_of(value)
    return isinstance(node.func, ast.Attribute) and bool(operands) and operands[0].node is node.func.value


def shown_to_be_torch(module: Module, inner: tuple[Value, ...], bound: tuple[Operand, ...]) -> bool:
    """Whether a site surely computes with tensors of torch, and not with arrays of numpy or plain numbers.

    Methods that both have do not show it, in a file that uses both.
    """
    if any(_shows_torch(value) for value in inner):
        return True
    if any(is_tensor(module, one.value) for one in bound):
        return True
    return bool(inner) and not module.mentions.has_word("numpy", "np", "pandas", "pd", "cupy")


def _shows_torch(value: Value) -> bool:
    node = value.node
    if value.layer is not None or value.in_place is not None or value.kind.startswith("torch."):
        return True
    if not isinstance(node, ast.Call):
        return False
    if not _is_method_call(value):
        return value.kind not in ("call", "builtin") and not value.kind.startswith(("math.", "numpy."))
    assert isinstance(node.func, ast.Attribute)
    if {"dim", "keepdim"} & value.keywords.keys():
        return True
    return node.func.attr not in _ALSO_NUMPY and value.kind != "call"
