"""Names for what a rewrite adds: told from the names it replaces, and taken by nothing else."""

from __future__ import annotations

import ast
import builtins
import keyword
import re

from fuselight.graph.classes import ClassInfo
from fuselight.graph.module import Module


def merged_name(names: list[str]) -> str:
    """A name for the merged layer: `qkv_proj` of `q_proj`, `k_proj`, `v_proj`; `to_kv` of `to_k`, `to_v`."""
    words = [name.split("_") for name in names]
    prefix = _shared(words)
    suffix = _shared([word[len(prefix) :][::-1] for word in words])[::-1]
    middles = [word[len(prefix) : len(word) - len(suffix)] for word in words]
    if not all(middles):
        prefix, suffix, middles = [], [], words
    texts = ["_".join(middle) for middle in middles]
    short = all(len(text) == 1 for text in texts)
    joined = "".join(texts) if short else "_".join(texts)
    name = "_".join([*prefix, joined, *suffix])
    return name if name.isidentifier() else "_".join(names)


def _shared(words: list[list[str]]) -> list[str]:
    """The elements that all of `words` start with."""
    first = words[0]
    for at, element in enumerate(first):
        if any(len(word) <= at or word[at] != element for word in words):
            return first[:at]
    return first


def snake_case(name: str) -> str:
    """`MultiHeadAttention` as `multi_head_attention`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower().strip("_")


_MODULE_ATTRIBUTES = frozenset(
    "T_destination add_module apply bfloat16 buffers call_super_init children compile config cpu cuda device"
    " double dtype dump_patches eval extra_repr fabric float forward get_buffer get_extra_state get_parameter"
    " get_submodule half hparams ipu load_state_dict log logger modules mtia name named_buffers"
    " named_children named_modules named_parameters optimizers parameters register_backward_hook"
    " register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook"
    " register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook"
    " register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook"
    " requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty train trainer training"
    " type xpu zero_grad".split()
)
"""Attributes that `torch.nn.Module` (torch 2.13), and modules of Lightning and transformers, have already."""


def free_attribute(module: Module, owner: ClassInfo, name: str) -> str:
    """`name`, or it with a number, so that the class and its family do not have it."""
    family = {member.node for member in owner.family}

    def taken(candidate: str) -> bool:
        if candidate in _MODULE_ATTRIBUTES or keyword.iskeyword(candidate):
            return True
        if any(candidate in member.methods or _is_bound_in(member.node, candidate) for member in owner.family):
            return True
        if any(True for _ in module.mentions.strings_with(candidate)):
            return True
        return any(mention.owner in family for mention in module.mentions.of_attribute_near(candidate, family))

    candidate, number = name, 1
    while taken(candidate):
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _is_bound_in(node: ast.ClassDef, name: str) -> bool:
    """Whether a class body binds or declares `name`."""
    return any(
        isinstance(inner, ast.Assign | ast.AnnAssign)
        and any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(inner))
        for inner in node.body
    )


def free_function(module: Module, name: str) -> str:
    """`name`, or it with a number, so that the file does not have it."""
    candidate, number = name, 1
    while candidate in module.names.bindings or (number == 1 and module.mentions.has_word(candidate)):
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def free_local(name: str, taken: set[str]) -> str:
    """`name`, or it with a suffix, so that it is none of `taken`, no keyword and no builtin."""
    candidate, number = name, 1
    while candidate in taken or keyword.iskeyword(candidate) or hasattr(builtins, candidate):
        number += 1
        candidate = f"{name}_out" if number == 2 else f"{name}_out{number - 1}"
    return candidate
