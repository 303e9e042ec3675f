"""Many spellings, one kind: the dialect tables read backwards, and what is known of calls that no table lists."""

from __future__ import annotations

import ast
from functools import cache

from fuselight_emitter.dialects import get_dialect
from fuselight_emitter.dialects.base import Parameter

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.MatMult: "matmul",
    ast.Pow: "pow",
}

METADATA_ATTRIBUTES = frozenset(
    "shape dtype device ndim layout requires_grad is_cuda is_sparse is_quantized itemsize nbytes".split()
)
METADATA_METHODS = frozenset(
    "size dim ndimension numel nelement stride element_size is_floating_point is_complex is_contiguous get_device"
    " storage_offset".split()
)

FRESH_KINDS = frozenset(
    "add sub mul div matmul pow neg sigmoid tanh relu gelu silu softmax log_softmax softplus exp log sqrt rsqrt"
    " embedding_bag pixel_shuffle pixel_unshuffle channel_shuffle std_mean var_mean aminmax"
    " square mean sum linear conv1d conv2d conv3d layer_norm rms_norm cat stack mish elu"
    " relu6 leaky_relu selu hardswish hardsigmoid hardtanh log_sigmoid softsign glu clamp maximum minimum where abs erf"
    " log1p expm1 mm bmm addmm baddbmm masked_fill scaled_dot_product_attention".split()
)
"""Kinds whose result is memory of its own (as long as nothing is done in place)."""

_ALIASING_METHODS = frozenset(
    "view reshape transpose permute t contiguous unsqueeze squeeze expand expand_as repeat repeat_interleave flatten"
    " unflatten chunk split unbind narrow select index_select gather to type float half double bfloat16 int long bool"
    " cpu cuda detach clone swapaxes swapdims movedim moveaxis view_as reshape_as type_as masked_fill masked_select"
    " mean sum max min amax amin argmax argmin std var norm softmax log_softmax sigmoid tanh relu exp log sqrt rsqrt"
    " abs pow square clamp clip clamp_min clamp_max mul add sub div matmul bmm mm addmm baddbmm where eq ne lt le gt ge"
    " logical_not logical_and logical_or cumsum cumprod sort topk triu tril diagonal roll flip item tolist numpy"
    " new_zeros new_ones new_full new_empty new_tensor round floor ceil sign neg reciprocal sin cos erf logsumexp prod"
    " all any unfold fold scatter scatter_add index_add index_fill masked_scatter nonzero isnan isinf isfinite"
    " nan_to_num dot mv outer einsum tile rot90 diag trace inverse det lerp addcmul addcdiv hypot log1p log2 log10"
    " expm1 multiply subtract divide true_divide floor_divide remainder fmod rsub xor bitwise_not argsort unique"
    " bincount histc count_nonzero take take_along_dim kthvalue median mode quantile logaddexp softplus float_power"
    " negative absolute is_pinned pin_memory is_contiguous data_ptr size dim numel stride requires_grad"
    " tensor_split".split()
)
"""Methods of a tensor that change nothing. Their results are taken for views: an in-place write to one then counts
as a write to all, which can only refuse too much."""

_PURE_BUILTINS = frozenset(
    "len isinstance issubclass print range zip enumerate int float bool str tuple list dict set frozenset min max sum"
    " abs hasattr type id repr sorted reversed any all super round divmod slice callable format hash ord chr"
    " getattr NotImplementedError ValueError TypeError RuntimeError AssertionError KeyError IndexError".split()
)
_PURE_MODULES = (
    "math.",
    "numpy.",
    "einops.",
    "typing.",
    "warnings.",
    "logging.",
    "operator.",
    "itertools.",
    "packaging.",
)
_IMPURE_TORCH = (
    "torch.utils.", "torch.compile", "torch.jit.", "torch.func.", "torch.autograd.", "torch.distributed.",
    "torch.ops.", "torch.library.", "torch.nn.utils.", "torch._", "torch.cond", "torch.vmap", "torch.manual_seed",
    "torch.set_", "torch.nn.parallel.", "torch.hub.", "torch.fx.", "torch.multiprocessing.", "torch.export.",
)  # fmt: skip

_WRITERS = frozenset(
    "operator.setitem operator.delitem numpy.copyto numpy.put numpy.place numpy.putmask numpy.fill_diagonal"
    " numpy.random.shuffle numpy.put_along_axis".split()
)
"""Functions of otherwise pure modules that change their first argument."""

SWITCHES = ("torch.set_", "torch.autograd.set_", "torch._C.", "torch.manual_seed", "torch.backends.", "torch.use_")
"""Calls behind which the same call computes, or records, something else."""

RIVAL_FRAMEWORKS = frozenset(
    "jax jaxlib tensorflow keras paddle mindspore tinygrad mxnet oneflow cupy chainer theano mlx"
    " megengine jittor".split()
)
"""Frameworks whose arrays have methods of the same names: a file that imports one proves no method to be torch's."""


def kind_of_function(name: str) -> str | None:
    """The neutral kind of `torch.sigmoid` and the like."""
    return get_dialect("torch").function_kind(name)


def kind_of_method(name: str) -> str | None:
    """The neutral kind of `x.sigmoid()` and the like."""
    return get_dialect("torch").method_kind(name)


def kind_of_layer(name: str) -> str | None:
    """The neutral kind of a layer without state, `torch.nn.Sigmoid`."""
    return _stateless_layers().get(name)


def layer_of_kind(kind: str) -> str | None:
    """The layer without state that computes a neutral kind, `torch.nn.Sigmoid`."""
    dialect = get_dialect("torch")
    function = dialect.functions.get(kind)
    return dialect.layers[function.layer] if function is not None and function.layer is not None else None


def parameters_of(kind: str) -> tuple[Parameter, ...]:
    """The parameters of a function by its neutral kind."""
    return _EXTREMES if kind in ("max", "min") else get_dialect("torch").parameters(kind)


_EXTREMES = (Parameter("input", "input"), Parameter("dim", "dim", "None"), Parameter("keepdim", "keepdim", "False"))
"""Of `max` and `min`, which are no kind: with a dimension they yield a tuple, without one a tensor."""


_SIGNS: dict[str, type[ast.AST]] = {
    **{kind: operator for operator, kind in OPERATORS.items()},
    "floor_divide": ast.FloorDiv,
    "remainder": ast.Mod,
    "neg": ast.USub,
    **dict.fromkeys(("gt", "ge", "eq"), ast.Compare),
    **dict.fromkeys(("unsqueeze", "head", "tail", "pick"), ast.Subscript),
}
"""Kinds that an operator or a subscript spells, too."""

_ALSO_SPELLED = {
    "maximum": ("max",), "minimum": ("min",), "clamp": ("clamp_min", "clamp_max"), "amax": ("max",), "amin": ("min",),
    "transposed": ("t", "T", "mT", "transpose", "swapaxes", "swapdims", "permute"), "gt": ("lt", "greater", "less"),
    "ge": ("le", "greater_equal", "less_equal"),
}  # fmt: skip
"""Further words under which a reader of sites takes a call for a kind."""

_READ_AS = {
    "compare": ("gt", "ge", "eq"), "max": ("max", "maximum"), "min": ("min", "minimum"), "lt": ("gt",), "le": ("ge",),
    "clamp_min": ("clamp",), "clamp_max": ("clamp",), "greater": ("gt",), "less": ("gt",), "greater_equal": ("ge",),
    "less_equal": ("ge",), "getitem": ("getitem", "unsqueeze", "head", "tail", "pick"), "t": ("transposed",),
    "attribute": ("transposed",), "swapaxes": ("swapaxes", "transposed"), "permute": ("permute", "transposed"),
}  # fmt: skip


def sign_of_kind(kind: str) -> type[ast.AST] | None:
    """The operator, or `ast.Compare` or `ast.Subscript`, that spells a kind without any word."""
    return _SIGNS.get(kind)


@cache
def words_of_kind(kind: str) -> frozenset[str]:
    """The words of which one stands in every spelling of a kind, but for those by an operator or a layer."""
    function = get_dialect("torch").functions.get(kind)
    words = {kind, *_ALSO_SPELLED.get(kind, ())}
    if function is not None:
        words.update(name.rpartition(".")[2] for name in (function.api, *function.spellings))
        words.update(function.methods)
        words.update([f"{name}_" for name in words])
    return frozenset(words)


@cache
def read_as(kind: str) -> tuple[str, ...]:
    """The neutral kinds as which a value of the graph's `kind` may be read, the layers and plain methods among them."""
    layer = kind_of_layer(kind)
    if layer is not None:
        return (layer,)
    kind = kind.removeprefix("in-place ")
    for prefix in ("method ", "torch.nn.functional.", "torch.linalg.", "torch."):
        if kind.startswith(prefix):
            kind = kind.removeprefix(prefix)
            break
    return _READ_AS.get(kind, (kind,))


_RANDOM = frozenset(
    "rand randn randint randperm normal bernoulli multinomial poisson rand_like randn_like randint_like gumbel_softmax"
    " uniform rrelu binomial _standard_gamma svd_lowrank pca_lowrank fractional_max_pool2d fractional_max_pool3d"
    " scaled_dot_product_attention multi_head_attention_forward".split()
)


def is_random(kind: str) -> bool:
    """Whether a call draws random numbers, so that two of them are never the same."""
    last = kind.rpartition(" ")[2].rpartition(".")[2]
    return last in _RANDOM or "dropout" in last.lower()


def is_torch_layer(name: str) -> bool:
    """Whether `name` is a public layer of `torch.nn`."""
    return get_dialect("torch").layer_kind(name) is not None


@cache
def _stateless_layers() -> dict[str, str]:
    dialect = get_dialect("torch")
    return {
        dialect.layers[function.layer]: kind
        for kind, function in dialect.functions.items()
        if function.layer is not None
    }


CONTAINERS = frozenset(
    {f"torch.nn.{name}" for name in ("Sequential", "ModuleList", "ModuleDict", "Module", "ParameterList")}
)


def is_in_place_name(name: str) -> bool:
    """Whether torch's naming says that a function or method changes its first argument: `add_`, `relu_`."""
    last = name.rpartition(".")[2]
    return last.endswith("_") and not last.endswith("__") and len(last) > 1


def is_pure_function(name: str) -> bool:
    """Whether a call of the imported function `name` changes none of its arguments."""
    if name.startswith("torch."):
        return not is_in_place_name(name) and not name.startswith(_IMPURE_TORCH)
    if name in _WRITERS or (name.startswith("operator.i") and name != "operator.index"):
        return False
    return name.startswith(_PURE_MODULES)


def is_pure_builtin(name: str) -> bool:
    return name in _PURE_BUILTINS


def is_pure_method(name: str) -> bool:
    return name in _ALIASING_METHODS or name in METADATA_METHODS or kind_of_method(name) is not None
