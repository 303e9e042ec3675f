"""The catalogue: every fusion, its page and its code. Importing this module imports every fusion's file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module

from fuselight.fusions.base import FUSIONS as _CLASSES
from fuselight.fusions.base import Fusion, FusionInfo

_FILES = (
    "activation_before_max_pool",
    "average_pool_behind_pointwise_convolution",
    "batch_norm_behind_convolution",
    "bias_before_batch_norm",
    "bias_before_instance_norm",
    "concatenated_siblings",
    "consecutive_linears",
    "convolutions_of_chunks",
    "experts_in_a_list",
    "gated_siblings",
    "global_pool_then_flatten",
    "gru_cell_by_hand",
    "idle_layer",
    "linears_in_a_list",
    "lstm_cell_by_hand",
    "mean_behind_linear",
    "nested_sequential",
    "one_hot_before_linear",
    "one_hot_matmul",
    "padding_before_convolution",
    "padding_before_pool",
    "pointwise_convolution_behind_upsampling",
    "repeated_activation",
    "repeated_dropout",
    "repeated_permute",
    "repeated_reshape",
    "selection_behind_layer",
    "sibling_convolutions",
    "sibling_embeddings",
    "sibling_linears",
    "spelled_out_silu",
)

for _file in _FILES:
    import_module(f"fuselight.fusions.{_file}")


def _info(cls: type[Fusion]) -> FusionInfo:
    page = inspect.cleandoc(cls.__doc__ or "")
    for example in cls.examples[:1]:
        page += f"\n\n## Example\n```python\n{example.before}```\n\nbecomes\n\n```python\n{example.after}```"
    return FusionInfo(cls.code, cls.name, page)


FUSIONS: Mapping[str, FusionInfo] = {code: _info(_CLASSES[code]) for code in sorted(_CLASSES)}
"""Every fusion by its code."""


def all_fusions() -> list[Fusion]:
    """One of each fusion, in the order of their codes."""
    return [_CLASSES[code]() for code in sorted(_CLASSES)]
