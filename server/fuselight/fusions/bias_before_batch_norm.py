"""A convolution or linear layer with a bias straight before a batch norm: the norm subtracts the bias.

In training a batch norm subtracts the mean of each channel over the batch, and with it any constant that the layer
before it added; in eval mode it subtracts the running mean, which has tracked that same constant. The bias computes
nothing. It costs a parameter a channel, its gradient (a reduction over the whole activation) and its optimiser state.

## What it saves
Memory for `out_channels` parameters, their gradients and optimiser state, and one reduction in the backward pass.
On a CPU the time of a training step does not change measurably (1.00x forward, 0.97x forward and backward).

## Fix safety
`checkpoint`: the function is the same in training and in eval mode, with the same gradients for all other parameters;
the parameter `<layer>.bias` goes. The edit registers a load hook that drops the bias from an old checkpoint and folds
it into the running mean (`running_mean -= bias`), so that an old checkpoint loads with `strict=True` and gives the same
output in eval mode. `breaking` where the file's models load past `nn.Module.load_state_dict` (`from_pretrained`,
safetensors loops, `torch.distributed.checkpoint`): there no load hook runs. The random numbers that the bias's
initialisation drew are not drawn any more, so later layers start from others under the same seed. Optimiser state of an
old run has one entry more. `register_load_state_dict_pre_hook` is public since torch 2.5.

Layers that an attribute holds, or a `nn.Sequential(...)` assigned to one in `__init__`, get a hook of their own on the
class. Any other `nn.Sequential` (returned by a function, in a variable, appended to a list, in a `nn.ModuleList`, made
of a list of layers, under a condition) gets one hook for all its layers, registered on itself.

A linear layer before `BatchNorm1d` is taken to have an input of shape (N, in_features). An input of shape (N, L, C)
would be normalised over L, which runs only when L happens to equal C; where the source shows a third dimension the site
is refused.

## Refused when
- the norm keeps no running statistics (`track_running_stats=False`);
- the layer's output goes anywhere besides the norm, or the layer or the norm is called more than once;
- whether there is a bias is decided by an expression, or the layer's or the norm's type is not known from this file;
- the bias is read, initialised or walked over elsewhere in the file without minding that it may be None;
- the file puts batch norms into eval mode while training (frozen statistics): there the bias does act;
- a `nn.Sequential` that holds the pair is indexed, iterated, sliced, unpacked or handed to a call that may do so, so
  that the output between them can be seen; all its ways through the file are followed, through variables, attributes,
  lists, results of functions and parameters of the file's own classes and functions;
- there is not always a norm behind the layer (`if normalize: layers.append(...)`), or a variable holds the layer that
  is put into a list, so that it may stand in another place too.

Source: Ioffe and Szegedy 2015, section 3.2; `torch.nn.BatchNorm2d`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import FoldBiasHook, Place
from fuselight.fusions.redundant_bias import (
    CONVOLUTIONS,
    LINEAR,
    LoadHook,
    RedundantBias,
    is_three_dimensional,
    same_features,
    tracks,
)
from fuselight.fusions.sequence import Chain, Link
from fuselight.graph.module import Module

_BATCH_NORMS = frozenset({f"torch.nn.BatchNorm{n}d" for n in (1, 2, 3)} | {"torch.nn.SyncBatchNorm"})

_HOOK = "_fold_bias_into_batch_norm"


@fusion
class BiasBeforeBatchNorm(RedundantBias):
    __doc__ = __doc__

    code = "FUS101"
    name = "bias-before-batch-norm"
    words = (frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}),)
    kinds = (CONVOLUTIONS | LINEAR, _BATCH_NORMS)
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3, padding=1)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()
""",
            after='''\
import functools

from torch import nn


def _fold_bias_into_batch_norm(module, state_dict, prefix, *args, layer, norm):
    """Load checkpoints in which the layer before a batch norm still has a bias."""
    bias, mean = f"{prefix}{layer}.bias", f"{prefix}{norm}.running_mean"
    if state_dict.keys() >= {bias, mean}:
        state_dict[mean] = state_dict[mean] - state_dict.pop(bias).to(state_dict[mean])


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.register_load_state_dict_pre_hook(
            functools.partial(_fold_bias_into_batch_norm, layer="conv", norm="bn")
        )

    def forward(self, x):
        return self.bn(self.conv(x)).relu()
''',
            inputs=((4, 3, 6, 6),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3),  # stem
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.net(x)
""",
            after='''\
import functools

import torch
from torch import nn


def _fold_bias_into_batch_norm(module, state_dict, prefix, *args, layer, norm):
    """Load checkpoints in which the layer before a batch norm still has a bias."""
    bias, mean = f"{prefix}{layer}.bias", f"{prefix}{norm}.running_mean"
    if state_dict.keys() >= {bias, mean}:
        state_dict[mean] = state_dict[mean] - state_dict.pop(bias).to(state_dict[mean])


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),  # stem
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.register_load_state_dict_pre_hook(
            functools.partial(_fold_bias_into_batch_norm, layer="net.0", norm="net.1")
        )

    def forward(self, x):
        return self.net(x)
''',
            inputs=((4, 3, 6, 6),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import functools

import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        x = self.fc(x)
        x = self.norm(x)
        return torch.tanh(x)
""",
            after='''\
import functools

import torch
from torch import nn


def _fold_bias_into_batch_norm(module, state_dict, prefix, *args, layer, norm):
    """Load checkpoints in which the layer before a batch norm still has a bias."""
    bias, mean = f"{prefix}{layer}.bias", f"{prefix}{norm}.running_mean"
    if state_dict.keys() >= {bias, mean}:
        state_dict[mean] = state_dict[mean] - state_dict.pop(bias).to(state_dict[mean])


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.register_load_state_dict_pre_hook(
            functools.partial(_fold_bias_into_batch_norm, layer="fc", norm="norm")
        )

    def forward(self, x):
        x = self.fc(x)
        x = self.norm(x)
        return torch.tanh(x)
''',
            inputs=((6, 16),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


def conv_bn(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv_bn(3, 4), conv_bn(4, 8, stride=2))

    def forward(self, x):
        return self.features(x)
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


def conv_bn(inputs, outputs, stride=1):
    unit = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
    unit.register_load_state_dict_pre_hook(_fold_biases_into_norms)
    return unit


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv_bn(3, 4), conv_bn(4, 8, stride=2))

    def forward(self, x):
        return self.features(x)
''',
            inputs=((4, 3, 8, 8),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # the layer stands in two places (VGG)
        NearMiss(
            """\
import torch
from torch import nn


def make_layers(widths, batch_norm):
    layers = []
    inputs = 3
    for v in widths:
        conv2d = nn.Conv2d(inputs, v, kernel_size=3, padding=1)
        if batch_norm:
            layers += [conv2d, nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
        else:
            layers += [conv2d, nn.ReLU(inplace=True)]
        inputs = v
    return nn.Sequential(*layers)
""",
            "the variable `conv2d` holds the layer",
        ),
        # not always a norm
        NearMiss(
            """\
import torch
from torch import nn


def block(inputs, outputs, normalize=True):
    layers = [nn.Linear(inputs, outputs)]
    if normalize:
        layers.append(nn.BatchNorm1d(outputs, 0.8))
    layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers
""",
            "not always a norm",
        ),
        # the result is unpacked
        NearMiss(
            """\
import torch
from torch import nn


def conv_bn(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs))


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*conv_bn(3, 8), nn.ReLU())

    def forward(self, x):
        return self.net(x)
""",
            "taken apart",
        ),
        # the output goes elsewhere too
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.conv(x)
        return y + self.bn(y)
""",
            "more than once",
        ),
        # a group norm is no batch norm
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.GroupNorm(2, 8)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
            "",
        ),
        # an expression decides
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        b = bool(torch.cuda.is_available())
        self.conv = nn.Conv2d(3, 8, 3, bias=b)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
            "decided by an expression",
        ),
        # the bias is initialised
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
            "beside its call",
        ),
        # the Sequential is indexed
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    def forward(self, x):
        return self.net[0](x)
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
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(torch.relu(self.conv(x)))
""",
            "",
        ),
        # the norm is shared
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.other = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        return self.bn(self.conv(x)) + self.bn(self.other(x))
""",
            "more than once",
        ),
        # channels last, norm on the second dimension
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 5)
        self.bn = nn.BatchNorm1d(5)

    def forward(self, x):
        return self.bn(self.fc(x.view(2, 5, 16)))
""",
            "second dimension",
        ),
    )

    def subtracts(self, layer: Link, norm: Link) -> bool:
        """Whether the norm's channels can be the layer's: `BatchNorm2d` for `Conv2d`, `BatchNorm1d` for `Linear`."""
        if norm.kind == "torch.nn.SyncBatchNorm":
            return True
        return norm.kind[-2] == ("1" if layer.kind in LINEAR else layer.kind[-2])

    def refusal(self, module: Module, chain: Chain) -> Refusal | None:
        layer, norm = chain.links
        place = Place(layer.statement, layer.call)
        if layer.kind in LINEAR and is_three_dimensional(layer.value):
            return Refusal(
                "the norm takes the second dimension of three for the channels, the linear layer the last", place
            )
        if tracks(norm, default=True) is not True:
            return Refusal(f"`{norm.label}` may keep no running mean to fold the bias into", place)
        if not same_features(layer, norm):
            return Refusal(f"`{norm.label}` is not seen to normalise the features of `{layer.label}`", place)
        return provenance.norm_is_frozen(module)

    def hook(self, layer: Link, norm: Link) -> LoadHook:
        return LoadHook(FoldBiasHook(_HOOK), {"layer": f'"{layer.path}"', "norm": f'"{norm.path}"'})
