"""Whether the source shows a value to be of integers, truth values or complex numbers, which few calls take."""

from __future__ import annotations

from fuselight.fusions.base import Refusal
from fuselight.fusions.matching import element_of
from fuselight.fusions.plan import Place
from fuselight.graph.values import Value

_NOT_FLOATING = frozenset(
    "torch.arange torch.randint argmax argmin torch.bincount torch.nonzero torch.view_as_complex torch.complex"
    " torch.polar torch.searchsorted torch.bucketize torch.randperm one_hot compare gt ge eq lt le ne"
    " torch.isnan".split()
)


def not_floating(value: Value, place: Place) -> Refusal | None:
    """Whether the source shows an input to be of integers or complex numbers, which the one call may not take."""
    return Refusal("its input is of integers or complex numbers", place) if _is_integral(value) else None


_OF_PARTS = frozenset("add sub mul neg cat stack maximum minimum container operator".split())
"""Kinds whose result is of integers where all their tensors are."""

_WHOLE = frozenset(
    "long int bool short argmax argmin argsort gt ge eq lt le ne isnan isinf isfinite logical_not torch.argsort"
    " torch.LongTensor torch.IntTensor torch.BoolTensor torch.ShortTensor torch.ByteTensor".split()
)
"""Last words of the kinds whose result is of integers or truth values."""

_MOVED = frozenset("reshape swapaxes permute unsqueeze squeeze flatten broadcast_to getitem unpack chunk split".split())


def _is_integral(value: Value, depth: int = 10) -> bool:
    """Whether the source shows a tensor to be of integers, truth values or complex numbers."""
    named = _dtype_asked_for(value)
    last = value.kind.rpartition(" ")[2]
    integral = named is not None and named.startswith(("int", "uint", "complex", "cfloat", "cdouble", "long", "bool"))
    if integral or last in _WHOLE or value.kind.startswith("torch.fft.") or isinstance(value.constant, complex):
        return True
    if named is not None:
        return False
    if value.kind == "torch.arange":
        return not any(type(one.constant) is float for one in value.inputs)
    if value.kind in _NOT_FLOATING:
        return True
    element = element_of(value)
    if element is not None and element[1] == 1:
        whole = element[0].value.kind.rpartition(" ")[2].rpartition(".")[2]
        if whole in ("max", "min", "topk", "sort"):
            return True
    if depth == 0 or not value.inputs:
        return False
    if value.kind in ("torch.tensor", "torch.as_tensor"):
        return _holds_integers(value.inputs[0])
    if value.kind == "torch.full":
        return len(value.inputs) > 1 and _holds_integers(value.inputs[1])
    if value.kind in ("add", "sub", "mul", "div") and any(_is_complex(one) for one in value.inputs):
        return True
    if value.kind in _OF_PARTS:
        parts = [one for one in value.inputs if type(one.constant) is not int]
        return bool(parts) and all(_is_integral(one, depth - 1) for one in parts)
    moved = value.kind in _MOVED or (value.kind.startswith("method ") and last not in _FLOATED)
    moved = moved or value.kind in ("sum", "cumsum", "prod", "torch.cumsum", "torch.prod")
    return moved and _is_integral(value.inputs[0], depth - 1)


def _dtype_asked_for(value: Value) -> str | None:
    """The last word of the dtype that a call names: "int64" of `x.to(torch.int64)`."""
    given = [value.keywords["dtype"]] if "dtype" in value.keywords else []
    if value.kind in ("method to", "method type"):
        given += value.inputs[1:]
    names = [one.path.rpartition(".")[2] for one in given if one.path is not None and one.path.startswith("torch.")]
    return names[0] if names else None


def _holds_integers(value: Value) -> bool:
    """Whether a display holds nothing but whole numbers, or truth values."""
    if value.kind == "container":
        return bool(value.inputs) and all(_holds_integers(one) for one in value.inputs)
    return isinstance(value.constant, int)


def _is_complex(value: Value) -> bool:
    """Whether an operand of plain arithmetic is a complex number: `1j * y`."""
    if isinstance(value.constant, complex):
        return True
    return value.kind in ("add", "sub", "mul", "div", "neg") and any(_is_complex(one) for one in value.inputs)


_FLOATED = frozenset("float double half bfloat16 to type type_as mean item tolist div real imag".split())
"""Methods whose result may be floating where the tensor is not."""
