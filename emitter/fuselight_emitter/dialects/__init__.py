"""The frameworks that the emitter writes, each one a table of names."""

from __future__ import annotations

from fuselight_emitter.dialects.base import Dialect, Function, RequiredImport
from fuselight_emitter.dialects.flax import FLAX_NNX
from fuselight_emitter.dialects.jax import JAX
from fuselight_emitter.dialects.keras import KERAS
from fuselight_emitter.dialects.torch import TORCH
from fuselight_emitter.errors import EmitError

__all__ = ["FRAMEWORKS", "Dialect", "Function", "RequiredImport", "get_dialect"]

_DIALECTS = {dialect.name: dialect for dialect in (TORCH, FLAX_NNX, JAX, KERAS)}
_ALIASES = {"flax": "flax_nnx"}

FRAMEWORKS = tuple(_DIALECTS)
"""The frameworks' names; "flax" is accepted for "flax_nnx"."""


def get_dialect(framework: str) -> Dialect:
    """Return the dialect of `framework`.

    Raises:
        EmitError: There is none of that name; the message lists those there are.
    """
    dialect = _DIALECTS.get(_ALIASES.get(framework, framework))
    if dialect is None:
        raise EmitError(f"unknown framework (known are {', '.join([*FRAMEWORKS, *_ALIASES])})", text=framework)
    return dialect
