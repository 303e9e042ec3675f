"""A convolution with a bias straight before an instance norm: the norm subtracts the bias.

An instance norm subtracts the mean of each channel of each image, in training and in eval mode alike, and with it any
constant that the convolution before it added. The bias computes nothing. It costs a parameter a channel, its gradient
(a reduction over the whole activation) and its optimiser state. A `nn.GroupNorm` with a group for each channel is an
instance norm too.

## What it saves
Memory for `out_channels` parameters, their gradients and optimiser state, and one reduction in the backward pass.
On a CPU the time of a training step does not change measurably (1.02x forward, 0.9x to 1.1x forward and backward).

## Fix safety
`checkpoint`: the function is the same in training and in eval mode, with the same gradients for all other parameters;
the parameter `<layer>.bias` goes. The edit registers a load hook that drops the bias from an old checkpoint, so that it
loads with `strict=True`; where the norm keeps running statistics the hook folds the bias into the running mean.
`breaking` where the file's models load past `nn.Module.load_state_dict` (`from_pretrained`, safetensors loops,
`torch.distributed.checkpoint`): there no load hook runs. The random numbers that the bias's initialisation drew are not
drawn any more, so later layers start from others under the same seed. Optimiser state of an old run has one entry more.
`register_load_state_dict_pre_hook` is public since torch 2.5.

## Refused when
- the layer's output goes anywhere besides the norm, or the layer or the norm is called more than once;
- whether there is a bias, or whether the norm keeps running statistics, is decided by an expression, or the layer's or
  the norm's type is not known from this file (`norm_layer`, `use_bias`);
- there is not always a norm behind the convolution (`if normalize: layers.append(...)`);
- the bias is read, initialised or walked over elsewhere in the file without minding that it may be None;
- the norm keeps running statistics and the file puts norms into eval mode while training: there the bias does act;
- a `nn.Sequential` that holds the pair is indexed, iterated or sliced, so that the output between them can be seen.

A `nn.GroupNorm` with fewer groups than channels and a `nn.LayerNorm` average over several channels: there a bias acts.
So does one before `nn.InstanceNorm1d` behind a linear layer, whose features it does not take for channels.

Source: Ulyanov et al. 2016; `torch.nn.InstanceNorm2d`, `torch.nn.GroupNorm`, torch 2.13.
"""

from __future__ import annotations

import ast

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import DropBiasHook, FoldBiasHook, Place
from fuselight.fusions.redundant_bias import CONVOLUTIONS, LoadHook, RedundantBias, argument_of, tracks
from fuselight.fusions.sequence import Chain, Link
from fuselight.graph.module import Module

_GROUP_NORM = "torch.nn.GroupNorm"
_NORMS = frozenset({f"torch.nn.InstanceNorm{n}d" for n in (1, 2, 3)} | {_GROUP_NORM})

_DROP = "_drop_bias_before_instance_norm"
_FOLD = "_fold_bias_into_instance_norm"


@fusion
class BiasBeforeInstanceNorm(RedundantBias):
    __doc__ = __doc__

    code = "FUS102"
    name = "bias-before-instance-norm"
    words = (frozenset({"InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "GroupNorm"}),)
    kinds = (CONVOLUTIONS, _NORMS)
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3)
        self.norm = nn.InstanceNorm2d(8, affine=True)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()
""",
            after='''\
import functools

from torch import nn


def _drop_bias_before_instance_norm(module, state_dict, prefix, *args, layer):
    """Load checkpoints in which the layer before an instance norm still has a bias."""
    state_dict.pop(f"{prefix}{layer}.bias", None)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3, bias=False)
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.register_load_state_dict_pre_hook(
            functools.partial(_drop_bias_before_instance_norm, layer="conv")
        )

    def forward(self, x):
        return self.norm(self.conv(x)).relu()
''',
            inputs=((4, 3, 6, 6),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        model = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, width, 7),
            nn.InstanceNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        model += [nn.Conv2d(width, 3, 3), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, x):
        return self.model(x)
""",
            after='''\
import torch
from torch import nn


def _fold_biases_into_norms(module, state_dict, prefix, *args):
    """Load checkpoints in which layers before a norm still have a bias."""
    before = None
    for name, child in module.named_children():
        bias, mean = f"{prefix}{before}.bias", f"{prefix}{name}.running_mean"
        if before is not None and hasattr(child, "running_mean") and bias in state_dict:
            dropped = state_dict.pop(bias)
            if mean in state_dict:
                state_dict[mean] = state_dict[mean] - dropped.to(state_dict[mean])
        if isinstance(child, nn.Sequential):
            _fold_biases_into_norms(child, state_dict, f"{prefix}{name}.")
        before = name if getattr(child, "bias", True) is None else None


class M(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        model = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, width, 7, bias=False),
            nn.InstanceNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        model += [nn.Conv2d(width, 3, 3), nn.Tanh()]
        self.model = nn.Sequential(*model)
        self.model.register_load_state_dict_pre_hook(_fold_biases_into_norms)

    def forward(self, x):
        return self.model(x)
''',
            inputs=((2, 3, 8, 8),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # groups of several channels
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x):
        return self.norm(self.conv(x))
""",
            "",
        ),
        # one group for all
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.GroupNorm(num_groups=1, num_channels=8)

    def forward(self, x):
        return self.norm(self.conv(x))
""",
            "",
        ),
        # a residual
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.InstanceNorm2d(8)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)
""",
            "more than once",
        ),
        # an expression decides
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, norm_layer=nn.InstanceNorm2d):
        super().__init__()
        use_bias = norm_layer == nn.InstanceNorm2d
        self.conv = nn.Conv2d(3, 8, 3, bias=use_bias)
        self.norm = nn.InstanceNorm2d(8)

    def forward(self, x):
        return self.norm(self.conv(x))
""",
            "decided by an expression",
        ),
        # not always a norm
        NearMiss(
            """\
import torch
from torch import nn


def block(inputs, outputs, normalize=True):
    layers = [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)]
    if normalize:
        layers.append(nn.InstanceNorm2d(outputs))
    layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers
""",
            "not always a norm",
        ),
        # the bias is read
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.InstanceNorm2d(8)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.norm(self.conv(x))
""",
            "beside its call",
        ),
        # an activation between
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.InstanceNorm2d(8))

    def forward(self, x):
        return self.net(x)
""",
            "",
        ),
    )

    def subtracts(self, layer: Link, norm: Link) -> bool:
        if norm.kind == _GROUP_NORM:
            return _has_a_group_a_channel(norm)
        return norm.kind[-2] == layer.kind[-2]

    def refusal(self, module: Module, chain: Chain) -> Refusal | None:
        layer, norm = chain.links
        place = Place(layer.statement, layer.call)
        if norm.kind == _GROUP_NORM:
            if not chain.is_named:
                return Refusal("the load hook of a `nn.Sequential` knows no group norms", place)
            return None
        tracked = tracks(norm, default=False)
        if tracked is None:
            return Refusal(f"whether `{norm.label}` keeps running statistics is decided by an expression", place)
        return provenance.norm_is_frozen(module) if tracked else None

    def hook(self, layer: Link, norm: Link) -> LoadHook:
        if norm.kind != _GROUP_NORM and tracks(norm, default=False):
            arguments = {"layer": f'"{layer.path}"', "norm": f'"{norm.path}"'}
            return LoadHook(FoldBiasHook(_FOLD, "an instance norm"), arguments)
        return LoadHook(DropBiasHook(_DROP), {"layer": f'"{layer.path}"'})


def _has_a_group_a_channel(norm: Link) -> bool:
    """Whether a group norm surely has as many groups as channels."""
    groups, channels = argument_of(norm, "num_groups", 0), argument_of(norm, "num_channels", 1)
    if groups is None or channels is None:
        return False
    # A call may yield something else each time.
    if any(isinstance(node, ast.Call | ast.NamedExpr | ast.Await) for node in ast.walk(groups)):
        return False
    return ast.unparse(groups) == ast.unparse(channels)
