"""A 1x1 convolution behind an upsampling: the same before it, on fewer pixels.

Interpolation takes weighted means of pixels whose weights sum to one, for each channel alike; a convolution with a
kernel of one pixel mixes channels, for each pixel alike. The two commute, bias included, and before the upsampling
there are fewer pixels to mix.

## What it saves
Time and memory, by the factor of the upsampling. On a CPU, bilinear by 2: 7.2x forward, 4.9x forward and backward,
and 12.25 MB that autograd need not keep. What is upsampled then has the convolution's output channels: where these
are many more than its input channels, the upsampling itself grows. The title says so.

## Fix safety
`exact`: the same sums in another order; results differ by the rounding of the dtype.

## Refused when
- the convolution's kernel is not one pixel, or it has a stride or padding;
- the scale is not seen to enlarge: downsampling first is less work;
- the upsampled value is used elsewhere too (skip connections), or is written to in between;
- the input is written to in place behind the two: autograd then has to keep it for the convolution;
- a layer of the two is hooked, replaced or handed on.

Source: `torch.nn.functional.interpolate`, torch 2.13: nearest, nearest-exact, linear, bilinear, bicubic, trilinear
and area were each compared on both sides, gradients included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.exchange import (
    Pair,
    Seated,
    actions_in_literal,
    actions_of,
    kept_in_literal,
    label_of,
    operand_of,
    pair_of,
    reads_as_reference,
    refusal_in_literal,
    refusal_of,
    removed_by,
    seated,
)
from fuselight.fusions.literal_arguments import all_equal, number_of
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.sizes import arguments as arguments_of
from fuselight.fusions.writes import source_written_behind
from fuselight.graph.classes import Layer
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Graph, Value

CONVOLUTIONS = frozenset(f"torch.nn.Conv{n}d" for n in (1, 2, 3))

CONVOLUTION_ARGUMENTS = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode",
    "device", "dtype",
)  # fmt: skip

_UPSAMPLINGS = {
    "torch.nn.Upsample": ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor"),
    "torch.nn.UpsamplingNearest2d": ("size", "scale_factor"),
    "torch.nn.UpsamplingBilinear2d": ("size", "scale_factor"),
}
_LAYER_NAMES = frozenset(name.rpartition(".")[2] for name in _UPSAMPLINGS)
_INTERPOLATE = (
    "input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias"
)  # fmt: skip


@fusion
class PointwiseConvolutionBehindUpsampling(Fusion):
    __doc__ = __doc__

    code = "FUS704"
    name = "pointwise-convolution-behind-upsampling"
    words = (
        frozenset({"Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "interpolate"}),
        frozenset({"Conv1d", "Conv2d", "Conv3d"}),
    )
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.conv = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return self.conv(self.up(x))
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.conv = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return self.up(self.conv(x))
""",
            inputs=((2, 8, 5, 6),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # a kernel of more than one pixel
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, 3, 3)

    def forward(self, x):
        return self.conv(self.up(x))
""",
            "",
        ),
        # a kernel that is not seen
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        size = int("1")
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, 3, size)

    def forward(self, x):
        return self.conv(self.up(x))
""",
            "not seen to be one pixel",
        ),
        # a stride
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, 3, 1, stride=2)

    def forward(self, x):
        return self.conv(self.up(x))
""",
            "has a stride",
        ),
        # padding
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, 3, 1, padding=1)

    def forward(self, x):
        return self.conv(self.up(x))
""",
            "pads its input",
        ),
        # it does not enlarge
        NearMiss(
            """\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=0.5))
""",
            "does not enlarge",
        ),
        # what is upsampled is used too
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.up(x)
        return self.conv(x), x
""",
            "used again",
        ),
        # the keys of a checkpoint
        NearMiss(
            """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 1))

    def forward(self, x):
        return self.net(x)
""",
            "named by its place",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        called, used = scope.called, scope.applied_kinds
        if not _LAYER_NAMES.isdisjoint(scope.words):
            for pair in seated(module, scope):
                if pair.inner.kind in _UPSAMPLINGS and pair.outer.kind in CONVOLUTIONS:
                    yield from self._in_literal(module, scope, pair)
        if used.isdisjoint(CONVOLUTIONS) or not ("interpolate" in called or used & _UPSAMPLINGS.keys()):
            return
        if reads_as_reference(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for kind in sorted(CONVOLUTIONS):
            for outer in graph.of_kind(kind):
                pair = pair_of(outer)
                upsampling = _upsampling(pair.inner) if pair is not None else None
                if (
                    pair is not None
                    and upsampling is not None
                    and outer.layer is not None
                    and may_be_pointwise(outer.layer)
                ):
                    yield from self._match(module, scope, graph, pair, upsampling, outer.layer)

    def _match(
        self, module: Module, scope: Scope, graph: Graph, pair: Pair, upsampling: dict[str, ast.expr], layer: Layer
    ) -> Iterator[Match]:
        places = tuple(Place(scope.statement, node) for node in pair.places)
        conv, up = label_of(scope, pair.outer), label_of(scope, pair.inner)
        message = f"`{conv}` mixes the channels of the pixels that `{up}` adds"
        at = Place(layer.statement, layer.constructor or layer.assignment)
        refusal = (
            pointwise(conv, layer.constructor, at)
            or _enlarges(upsampling, places[1])
            or refusal_of(module, scope, graph, pair)
            or _kept(module, scope, graph, pair)
        )
        if refusal is not None:
            yield Match(type(self), scope.name, places[0], message, others=places[1:], refused=refusal)
            return
        gone = tuple(Place(scope.statement, node) for node in removed_by(scope, pair))
        title = f"Apply `{conv}` before `{up}`{_note(layer.constructor, upsampling)}"
        yield Match(
            type(self), scope.name, places[0], message, title, Safety.EXACT, (*places[1:], *gone),
            lambda: actions_of(scope, pair),
        )  # fmt: skip

    def _in_literal(self, module: Module, scope: Scope, pair: Seated) -> Iterator[Match]:
        up, conv = (ast.unparse(one.call.func).rpartition(".")[2] for one in (pair.inner, pair.outer))
        upsampling = arguments_of(pair.inner.call, _UPSAMPLINGS[pair.inner.kind or ""])
        if upsampling is None or pointwise(conv, pair.outer.call, pair.places[0]) is not None:
            return
        message = f"`{conv}` mixes the channels of the pixels that `{up}` adds"
        refusal = _enlarges(upsampling, pair.places[1]) or keys_in_literal(conv, pair)
        refusal = refusal or refusal_in_literal(module, pair) or kept_in_literal(module, pair, result=False)
        if refusal is not None:
            yield Match(type(self), scope.name, pair.places[0], message, others=pair.places[1:], refused=refusal)
            return
        title = f"Apply `{conv}` before `{up}`{_note(pair.outer.call, upsampling)}"
        yield Match(
            type(self), scope.name, pair.places[0], message, title, Safety.EXACT, pair.places[1:],
            lambda: actions_in_literal(pair),
        )  # fmt: skip


def _kept(module: Module, scope: Scope, graph: Graph, pair: Pair) -> Refusal | None:
    """Autograd keeps the convolution's input, which so far was the upsampled copy: nobody may write to it behind."""
    taken = operand_of(pair.inner)
    assert taken is not None
    return source_written_behind(module, scope, graph, taken[0], pair.inner)


def may_be_pointwise(layer: Layer) -> bool:
    """Whether a convolution's kernel is one pixel, or not seen."""
    given = arguments_of(layer.constructor, CONVOLUTION_ARGUMENTS) if layer.constructor is not None else None
    kernel = given.get("kernel_size") if given is not None else None
    elements = kernel.elts if isinstance(kernel, ast.Tuple | ast.List) else [kernel]
    return all(number_of(one) in (None, 1) for one in elements)


def pointwise(label: str, made: ast.Call | None, place: Place) -> Refusal | None:
    """Why a convolution may look at more than one pixel."""
    given = arguments_of(made, CONVOLUTION_ARGUMENTS) if made is not None else None
    if given is None or not given.keys() >= {"in_channels", "out_channels", "kernel_size"}:
        return Refusal(f"the arguments of `{label}` are not seen", place)
    if not all_equal(given["kernel_size"], 1):
        return Refusal(f"the kernel of `{label}` is not seen to be one pixel", place)
    if "stride" in given and not all_equal(given["stride"], 1):
        return Refusal(f"`{label}` has a stride", place)
    padding = given.get("padding")
    named = isinstance(padding, ast.Constant) and padding.value in ("valid", "same")
    if padding is not None and not named and not all_equal(padding, 0):
        return Refusal(f"`{label}` pads its input", place)
    return None


def keys_in_literal(conv: str, pair: Seated) -> Refusal | None:
    """Two elements of a plain `nn.Sequential` that change places change the names of their parameters."""
    if not pair.literal.numbered:
        return None
    return Refusal(f"the parameters of `{conv}` are named by its place in the `nn.Sequential`", pair.places[0])


def _upsampling(value: Value) -> dict[str, ast.expr] | None:
    """The arguments of an upsampling by their names; None for anything else."""
    node = value.node
    if not isinstance(node, ast.Call):
        return None
    if value.layer is not None:
        names = _UPSAMPLINGS.get(value.layer.kind or "")
        made = value.layer.constructor
        if names is None or made is None or len(node.args) + len(node.keywords) != 1:
            return None
        return arguments_of(made, names)
    return arguments_of(node, _INTERPOLATE) if value.kind == "interpolate" else None


def _enlarges(upsampling: dict[str, ast.expr], place: Place) -> Refusal | None:
    """A literal scale must enlarge; what a size does is only said in the title."""
    scale = upsampling.get("scale_factor")
    if scale is None or (isinstance(scale, ast.Constant) and scale.value is None):
        if upsampling.get("size") is None:
            return Refusal("neither a size nor a scale is seen", place)
        return None
    factors = scale.elts if isinstance(scale, ast.Tuple | ast.List) else [scale]
    for factor in factors:
        number = number_of(factor)
        if number is None and not isinstance(factor, ast.Name | ast.Attribute):
            return Refusal("the scale is not seen to enlarge", place)
        if number is not None and number < 1:
            return Refusal("the scale does not enlarge: the convolution has less to do behind it", place)
    return None


def _note(made: ast.Call | None, upsampling: dict[str, ast.expr]) -> str:
    """What the source leaves open of whether the edit pays."""
    given = arguments_of(made, CONVOLUTION_ARGUMENTS) if made is not None else None
    assert given is not None
    notes: list[str] = []
    scale = upsampling.get("scale_factor")
    factors = scale.elts if isinstance(scale, ast.Tuple | ast.List) else [scale]
    if any(number_of(factor) is None for factor in factors):
        notes.append("it enlarges")
    before, after = number_of(given.get("in_channels")), number_of(given.get("out_channels"))
    if before is None or after is None:
        if ast.unparse(given["in_channels"]) != ast.unparse(given["out_channels"]):
            notes.append("its output channels are not many more than its input channels")
    elif after > before:
        return f" (it then upsamples {after:.0f} channels in place of {before:.0f})"
    return f" (pays where {' and '.join(notes)})" if notes else ""
