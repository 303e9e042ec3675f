"""Flax NNX, as of flax 0.12: https://flax.readthedocs.io/en/latest/api_reference/flax.nnx/nn/index.html.

The functions are JAX's; `flax.nnx` re-exports those of `jax.nn`, and idiomatic code takes them from there.
"""

from __future__ import annotations

from fuselight_emitter.dialects.base import Dialect, Function, RequiredImport, under
from fuselight_emitter.dialects.jax import ACTIVATIONS, IMPORTS, NUMERICS

_SEEDED = """
    BatchNorm Bidirectional Conv ConvTranspose Dropout Einsum Embed GRUCell GroupNorm InstanceNorm LSTMCell LayerNorm
    Linear LinearGeneral LoRA LoRALinear MultiHeadAttention OptimizedLSTMCell RMSNorm RNN SimpleCell SpectralNorm
    WeightNorm
"""

# What flax.nnx does not re-export of jax.nn.
_JAX_ONLY = {"mish"}


def _activation(kind: str, function: Function) -> Function:
    if kind in _JAX_ONLY:
        return function
    name = function.api.rpartition(".")[2]
    spellings = [function.api, *function.spellings]
    spellings += [f"flax.nnx.{alias.rpartition('.')[2]}" for alias in function.spellings if alias == "jax.nn.swish"]
    return Function(f"flax.nnx.{name}", tuple(spellings))


FLAX_NNX = Dialect(
    name="flax_nnx",
    layers=under("flax.nnx", f"{_SEEDED} PReLU Sequential"),
    containers=under("flax.nnx", "Dict List"),
    functions={
        **{kind: _activation(kind, function) for kind, function in ACTIVATIONS.items()},
        **NUMERICS,
    },
    imports={**IMPORTS, "flax": RequiredImport("flax"), "flax.nnx": RequiredImport("flax", "nnx")},
    seeded=frozenset(_SEEDED.split()),
    separate=frozenset({"flax.nnx"}),
)
