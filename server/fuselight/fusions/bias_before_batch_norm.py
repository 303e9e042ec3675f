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

A linear layer before `BatchNorm1d` is taken to have an input of shape (N, in_features). An input of shape (N, L, C)
would be normalised over L, which runs only when L happens to equal C; where the source shows a third dimension the site
is refused.

## Refused when
- the norm keeps no running statistics (`track_running_stats=False`);
- the layer's output goes anywhere besides the norm, or the layer or the norm is called more than once;
- whether there is a bias is decided by an expression, or the layer's or the norm's type is not known from this file;
- the bias is read, initialised or walked over elsewhere in the file without minding that it may be None;
- the file puts batch norms into eval mode while training (frozen statistics): there the bias does act;
- a `nn.Sequential` that holds the pair is indexed, iterated or sliced, so that the output between them can be seen.

Source: Ioffe and Szegedy 2015, section 3.2; `torch.nn.BatchNorm2d`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import AddFunction, Argument, FoldBiasHook, HookRegistration, Insert, Place, SetArguments
from fuselight.fusions.sequence import Chain, Link, Sequence
from fuselight.graph.module import Module
from fuselight.graph.values import Value

_CONVOLUTIONS = frozenset(f"torch.nn.Conv{transposed}{n}d" for transposed in ("", "Transpose") for n in (1, 2, 3))
_LINEAR = frozenset({"torch.nn.Linear"})
_BATCH_NORMS = frozenset({f"torch.nn.BatchNorm{n}d" for n in (1, 2, 3)} | {"torch.nn.SyncBatchNorm"})

_BIAS_POSITION = (
    {"torch.nn.Linear": 2}
    | {f"torch.nn.Conv{n}d": 7 for n in (1, 2, 3)}
    | {f"torch.nn.ConvTranspose{n}d": 7 for n in (1, 2, 3)}
)
"""Where `bias` stands among the positional arguments. Source: the signatures of torch 2.13."""

_HOOK = "_fold_bias_into_batch_norm"


@fusion
class BiasBeforeBatchNorm(Sequence):
    __doc__ = __doc__

    code = "FUS101"
    name = "bias-before-batch-norm"
    words = (frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}),)
    kinds = (_CONVOLUTIONS | _LINEAR, _BATCH_NORMS)
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
    bias = state_dict.pop(f"{prefix}{layer}.bias", None)
    mean = state_dict.get(f"{prefix}{norm}.running_mean")
    if bias is not None and mean is not None:
        state_dict[f"{prefix}{norm}.running_mean"] = mean - bias.to(mean)


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
    bias = state_dict.pop(f"{prefix}{layer}.bias", None)
    mean = state_dict.get(f"{prefix}{norm}.running_mean")
    if bias is not None and mean is not None:
        state_dict[f"{prefix}{norm}.running_mean"] = mean - bias.to(mean)


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
    bias = state_dict.pop(f"{prefix}{layer}.bias", None)
    mean = state_dict.get(f"{prefix}{norm}.running_mean")
    if bias is not None and mean is not None:
        state_dict[f"{prefix}{norm}.running_mean"] = mean - bias.to(mean)


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
    )
    near_misses = (
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

    def judge(self, module: Module, chain: Chain) -> Iterator[Match]:
        layer, norm = chain.links
        if not _same_rank(layer.kind, norm.kind):
            return
        bias = _bias(layer)
        if bias is False:
            return
        place = Place(layer.statement, layer.call)
        title = f"Remove the bias of `{layer.label}`, which `{norm.label}` subtracts"
        message = f"`{norm.label}` subtracts the bias of `{layer.label}`: it computes nothing"
        reason = chain.refusal or self._refusal(module, chain, bias)
        if reason is not None:
            yield Match(type(self), chain.scope, place, message, refused=reason, others=chain.places)
            return
        breaking = provenance.loads_past_hooks(module, chain.owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
        note = breaking or "old checkpoints load through a hook"
        if layer.kind in _LINEAR and not _is_two_dimensional(layer.value):
            note += "; for inputs of shape (N, features)"
        assert chain.anchor is not None
        anchor, without = chain.anchor, layer.logical(bias="False")
        yield Match(
            type(self), chain.scope, place, message, f"{title} ({safety.value}: {note})", safety, chain.places,
            lambda: (
                SetArguments(
                    layer.statement, layer.call, (Argument("bias", _BIAS_POSITION[layer.kind], "False"),), without
                ),
                AddFunction(chain.owner.statement, FoldBiasHook(_HOOK)),
                Insert(
                    chain.owner.statement,
                    anchor,
                    (HookRegistration(_HOOK, {"layer": f'"{layer.path}"', "norm": f'"{norm.path}"'}),),
                    after=True,
                ),
            ),
        )  # fmt: skip

    def _refusal(self, module: Module, chain: Chain, bias: bool | None) -> Refusal | None:
        layer, norm = chain.links
        place = Place(layer.statement, layer.call)
        if bias is None:
            return Refusal(f"whether `{layer.label}` has a bias is decided by an expression", place)
        if layer.kind in _LINEAR and _is_three_dimensional(layer.value):
            return Refusal(
                "the norm takes the second dimension of three for the channels, the linear layer the last", place
            )
        tracked = _argument(norm, "track_running_stats", 4)
        if tracked is not None and not (isinstance(tracked, ast.Constant) and tracked.value is True):
            return Refusal(f"`{norm.label}` may keep no running mean to fold the bias into", place)
        if not _same_features(layer, norm):
            return Refusal(f"`{norm.label}` is not seen to normalise the features of `{layer.label}`", place)
        return (
            provenance.bias_is_expected(module, layer.layer)
            or provenance.norm_is_frozen(module)
            or provenance.named_in_strings(module, (f"{layer.path}.bias",))
        )


def _same_rank(layer: str, norm: str) -> bool:
    """Whether a norm's channels can be the layer's: `BatchNorm2d` behind `Conv2d`, `BatchNorm1d` behind `Linear`."""
    if norm == "torch.nn.SyncBatchNorm":
        return True
    return norm[-2] == ("1" if layer in _LINEAR else layer[-2])


def _same_features(layer: Link, norm: Link) -> bool:
    """Whether the layer's output features are what the norm normalises.

    A norm behind a convolution of its own rank cannot take anything else for the channels, but for `Conv1d` on an
    input without a batch dimension. Behind a linear layer the source must say the same size twice.
    """
    made = _argument(layer, "out_features" if layer.kind in _LINEAR else "out_channels", 1)
    normalised = _argument(norm, "num_features", 0)
    if made is None or normalised is None:
        return layer.kind not in _LINEAR
    if isinstance(made, ast.Constant) and isinstance(normalised, ast.Constant):
        return made.value == normalised.value
    if ast.unparse(made) == ast.unparse(normalised):
        return True
    return layer.kind not in _LINEAR or _is_two_dimensional(layer.value)


def _argument(link: Link, name: str, position: int) -> ast.expr | None:
    for keyword in link.call.keywords:
        if keyword.arg == name:
            return keyword.value
    return link.call.args[position] if len(link.call.args) > position else None


def _bias(link: Link) -> bool | None:
    """Whether a layer has a bias; None where an expression decides."""
    position = _BIAS_POSITION[link.kind]
    given: ast.expr | None = None
    if len(link.call.args) > position:
        given = link.call.args[position]
    for keyword in link.call.keywords:
        if keyword.arg == "bias":
            given = keyword.value
    if given is None:
        return True
    if isinstance(given, ast.Constant) and isinstance(given.value, bool | int | None):
        return bool(given.value)
    return None


def _is_two_dimensional(value: Value | None) -> bool:
    """Whether the source shows the input of a linear layer to be of shape (N, features)."""
    source = value.inputs[0] if value is not None and value.inputs else None
    while source is not None:
        if source.kind in ("flatten", "torch.nn.Flatten"):
            return True
        if source.kind in ("reshape", "method view"):
            return len(source.inputs) == 3
        if len(source.inputs) != 1 or source.kind in ("joined", "unpack", "attribute", "call", "container"):
            return False
        source = source.inputs[0]
    return False


def _is_three_dimensional(value: Value | None) -> bool:
    source = value.inputs[0] if value is not None and value.inputs else None
    while source is not None:
        if source.kind in ("torch.nn.Embedding", "torch.nn.Conv1d"):
            return True
        if source.kind in ("unsqueeze", "swapaxes", "permute"):
            return True
        if source.kind in ("reshape", "method view"):
            return len(source.inputs) >= 4
        if len(source.inputs) != 1 or source.kind in ("joined", "unpack", "attribute", "call", "container"):
            return False
        source = source.inputs[0]
    return False
