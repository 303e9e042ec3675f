"""The catalogue: every fusion, its page and its code. Importing this module imports every fusion's file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module

from fuselight.fusions.base import FUSIONS as _CLASSES
from fuselight.fusions.base import Fusion, FusionInfo

_FILES = (
    "activation_before_loss_layer",
    "activation_before_max_pool",
    "activation_class_by_hand",
    "attention_by_hand",
    "attention_class_by_hand",
    "autograd_function_by_hand",
    "average_pool_behind_pointwise_convolution",
    "batch_norm_behind_convolution",
    "bce_of_sigmoid",
    "bias_before_batch_norm",
    "bias_before_instance_norm",
    "concatenated_siblings",
    "consecutive_linears",
    "convolutions_of_chunks",
    "cross_entropy_by_hand",
    "diagonal_matmul",
    "einsum_that_is_matmul",
    "experts_in_a_list",
    "gated_siblings",
    "gathered_log_softmax",
    "global_pool_then_flatten",
    "gru_cell_by_hand",
    "hypotenuse_by_hand",
    "idle_layer",
    "interpolation_by_hand",
    "kl_divergence_by_hand",
    "linears_in_a_list",
    "log_of_one_plus",
    "log_of_softmax",
    "logsumexp_by_hand",
    "lstm_cell_by_hand",
    "matmul_then_add",
    "mean_behind_linear",
    "moments_apart",
    "multiply_then_add",
    "nested_sequential",
    "nll_of_log_softmax",
    "norm_class_by_hand",
    "one_hot_before_linear",
    "one_hot_matmul",
    "one_minus_sigmoid",
    "padding_before_convolution",
    "padding_before_pool",
    "pairwise_distance_by_hand",
    "pointwise_convolution_behind_upsampling",
    "probabilities_before_logit_loss",
    "product_then_sum",
    "reduced_embedding",
    "regression_loss_by_hand",
    "repeated_activation",
    "repeated_dropout",
    "repeated_heads_before_attention",
    "repeated_permute",
    "repeated_reshape",
    "root_of_exponential",
    "selection_behind_layer",
    "shuffle_by_reshapes",
    "sibling_convolutions",
    "sibling_embeddings",
    "sibling_linears",
    "softmax_before_argmax",
    "softmax_by_hand",
    "spelled_out_cosine_similarity",
    "spelled_out_gelu",
    "spelled_out_glu",
    "spelled_out_hardswish",
    "spelled_out_layer_norm",
    "spelled_out_log_sigmoid",
    "spelled_out_mish",
    "spelled_out_normalize",
    "spelled_out_relu",
    "spelled_out_rms_norm",
    "spelled_out_silu",
    "spelled_out_softplus",
    "stack_by_cat",
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
