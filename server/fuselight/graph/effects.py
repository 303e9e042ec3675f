"""Who writes to its input, and whose output is its input: what torch's signatures say of in-place work."""

from __future__ import annotations

import ast

from fuselight.graph.kinds import CONTAINERS, is_torch_layer
from fuselight.graph.values import Value


def asks_in_place(keywords: dict[str, Value]) -> bool:
    """Whether a call's `inplace=` is anything but False."""
    flag = keywords.get("inplace")
    return flag is not None and flag.constant is not False


VIEWING_LAYERS = frozenset(
    f"torch.nn.{name}" for name in "Identity Flatten Unflatten PixelShuffle PixelUnshuffle ChannelShuffle".split()
)
"""Layers whose output may be a view of their input."""

_IN_PLACE_POSITION = {
    "relu": 1, "relu6": 1, "selu": 1, "silu": 1, "mish": 1, "hardswish": 1, "hardsigmoid": 1, "leaky_relu": 2, "elu": 2,
    "celu": 2, "hardtanh": 3, "threshold": 3, "rrelu": 4, "dropout": 3, "dropout1d": 3, "dropout2d": 3, "dropout3d": 3,
    "alpha_dropout": 3, "feature_alpha_dropout": 3,
}  # fmt: skip
"""Where `inplace` stands among the arguments of `torch.nn.functional`, torch 2.13."""


def writes_by_position(path: str, inputs: list[Value]) -> bool:
    """Whether a functional is asked for in-place work by position, `F.relu(x, True)`."""
    module, _, name = path.rpartition(".")
    if module != "torch.nn.functional":
        return False
    if any(value.kind == "starred" for value in inputs):
        return name in _IN_PLACE_POSITION
    position = _IN_PLACE_POSITION.get(name)
    return position is not None and len(inputs) > position and inputs[position].constant is not False


_IN_PLACE_AT = {
    **dict.fromkeys("ReLU ReLU6 SiLU SELU Mish Hardswish Hardsigmoid".split(), 0),
    **dict.fromkeys(
        "ELU CELU LeakyReLU Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout".split(), 1
    ),
    **dict.fromkeys("Hardtanh RReLU Threshold".split(), 2),
}
"""The layers that can be asked for in-place work, with the position of `inplace`. Source: `torch.nn`, torch 2.13."""


def is_bare(constructor: ast.Call) -> bool:
    """Whether a layer is made without arguments: `nn.ReLU()`."""
    return not constructor.args and not constructor.keywords


def made_in_place(constructor: ast.Call) -> bool:
    """Whether a layer's constructor may ask for in-place work: `nn.ReLU(True)`, `nn.Dropout(0.1, inplace=flag)`."""
    last = called_name(constructor.func) or ""
    position = _IN_PLACE_AT.get(last)
    if position is None and is_torch_layer(f"torch.nn.{last}") and f"torch.nn.{last}" not in CONTAINERS:
        return False
    for keyword in constructor.keywords:
        if keyword.arg == "inplace":
            return not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        if keyword.arg is None:
            return True
    if position is None or len(constructor.args) <= position:
        return any(isinstance(argument, ast.Starred) for argument in constructor.args)
    flag = constructor.args[position]
    return not (isinstance(flag, ast.Constant) and flag.value is False)


def called_name(func: ast.expr) -> str | None:
    """The last component of what is called."""
    if isinstance(func, ast.Attribute):
        return func.attr
    return func.id if isinstance(func, ast.Name) else None
