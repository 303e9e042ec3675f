"""JAX, as of jax 0.10: https://docs.jax.dev/en/latest/jax.numpy.html and .../jax.nn.html. It has no layers.

Defaults that differ from PyTorch's: `gelu` is the tanh approximation unless `approximate=False`; `var` and `std` divide
by the count, not by one less; `split` takes the indices at which it cuts, not sizes; the layout that
`dot_product_attention` reads is batch, length, heads, features, which is why it is no `scaled_dot_product_attention`.
"""

from __future__ import annotations

from fuselight_emitter.dialects.base import Dialect, Function, RequiredImport

_NUMPY = "jax.numpy"


def _function(name: str, *spellings: str, methods: str = "", operator: str | None = None) -> Function:
    return Function(f"{_NUMPY}.{name}", tuple(f"jax.{name}" for name in spellings), tuple(methods.split()), operator)


def _activation(name: str, *spellings: str) -> Function:
    return Function(f"jax.nn.{name}", tuple(f"jax.{name}" for name in spellings))


ACTIVATIONS = {
    "relu": _activation("relu"),
    "sigmoid": _activation("sigmoid", "lax.logistic"),
    "tanh": _function("tanh", "nn.tanh", "lax.tanh"),
    "softmax": _activation("softmax"),
    "log_softmax": _activation("log_softmax"),
    "gelu": _activation("gelu"),
    "silu": _activation("silu", "nn.swish"),
    "mish": _activation("mish"),
    "softplus": _activation("softplus"),
    "softsign": _activation("soft_sign"),
    "log_sigmoid": _activation("log_sigmoid"),
    "elu": _activation("elu"),
    "celu": _activation("celu"),
    "selu": _activation("selu"),
    "relu6": _activation("relu6"),
    "leaky_relu": _activation("leaky_relu"),
    "hardswish": _activation("hard_swish", "nn.hard_silu"),
    "hardsigmoid": _activation("hard_sigmoid"),
    "hardtanh": _activation("hard_tanh"),
    "glu": _activation("glu"),
}
"""jax.numpy has no activation but tanh."""

NUMERICS = {
    "exp": _function("exp"),
    "exp2": _function("exp2"),
    "expm1": _function("expm1"),
    "log": _function("log"),
    "log1p": _function("log1p"),
    "log2": _function("log2"),
    "log10": _function("log10"),
    "erf": Function("jax.lax.erf"),
    "abs": _function("abs", "numpy.absolute"),
    "neg": _function("negative", operator="-"),
    "sign": _function("sign"),
    "sqrt": _function("sqrt"),
    "rsqrt": Function("jax.lax.rsqrt"),
    "square": _function("square"),
    "reciprocal": _function("reciprocal"),
    "sin": _function("sin"),
    "cos": _function("cos"),
    "tan": _function("tan"),
    "pow": _function("power", "numpy.pow", operator="**"),
    "add": _function("add", operator="+"),
    "sub": _function("subtract", operator="-"),
    "mul": _function("multiply", operator="*"),
    "div": _function("divide", "numpy.true_divide", operator="/"),
    "floor_divide": _function("floor_divide", operator="//"),
    "remainder": _function("remainder", "numpy.mod", operator="%"),
    "maximum": _function("maximum"),
    "minimum": _function("minimum"),
    "clamp": _function("clip", methods="clip"),
    "where": _function("where"),
    "logaddexp": _function("logaddexp"),
    "matmul": _function("matmul", operator="@"),
    "einsum": _function("einsum"),
    "tril": _function("tril"),
    "triu": _function("triu"),
    "sum": _function("sum", methods="sum"),
    "mean": _function("mean", methods="mean"),
    "prod": _function("prod", methods="prod"),
    "var": _function("var", methods="var"),
    "std": _function("std", methods="std"),
    "amax": _function("max", "numpy.amax", methods="max"),
    "amin": _function("min", "numpy.amin", methods="min"),
    "argmax": _function("argmax", methods="argmax"),
    "argmin": _function("argmin", methods="argmin"),
    "logsumexp": Function("jax.nn.logsumexp", ("jax.scipy.special.logsumexp",)),
    "cumsum": _function("cumsum", methods="cumsum"),
    "vector_norm": _function("linalg.vector_norm"),
    "cat": _function("concatenate"),
    "stack": _function("stack"),
    "split": _function("split"),
    "reshape": _function("reshape", methods="reshape"),
    "flatten": _function("ravel", methods="ravel flatten"),
    "swapaxes": _function("swapaxes", methods="swapaxes"),
    "permute": _function("transpose", "numpy.permute_dims"),
    "squeeze": _function("squeeze", methods="squeeze"),
    "unsqueeze": _function("expand_dims"),
    "broadcast_to": _function("broadcast_to"),
    "zeros_like": _function("zeros_like"),
    "ones_like": _function("ones_like"),
    "pad": _function("pad"),
    "one_hot": Function("jax.nn.one_hot"),
    "dot_product_attention": Function("jax.nn.dot_product_attention"),
    "standardize": Function("jax.nn.standardize"),
}

IMPORTS = {
    "jax": RequiredImport("jax"),
    _NUMPY: RequiredImport(_NUMPY, alias="jnp"),
}

JAX = Dialect(
    name="jax",
    layers={},
    containers={},
    functions={**ACTIVATIONS, **NUMERICS},
    imports=IMPORTS,
)
