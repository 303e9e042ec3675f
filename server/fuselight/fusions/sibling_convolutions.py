"""Convolutions of one input: one with all their channels and a split.

The 1x1 branches of an Inception block, the class, box and score heads of a detector, the query, key and value
convolutions of an attention over pixels, the scale and shift of a modulation: several `nn.Conv2d` (or 1d, 3d, or
transposed) that read the same value with the same window. They are found by that value, never by their names. One
convolution with their filters one after the other computes them in one pass over the input.

## What it saves
Kernel launches and reads of the input, which for a 3x3 window is read nine times. On a CPU, two convolutions of 1x1:
1.10x forward, 1.36x forward and backward. Launch-bound code on a GPU should gain more; that is not measured here. No
memory is saved.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, filter by filter. The parameters of the parts become
rows of one parameter (of a transposed convolution: columns). The edit adds a module-level function and registers it
with `register_load_state_dict_pre_hook` (public since torch 2.5), so that an old checkpoint loads with `strict=True`.
`breaking` where the file's models load past `nn.Module.load_state_dict`.

The output is split along the channels counted from the end (`dim=-3` of images), which is right with a batch and
without one. What you lose besides is what FUS201 lists: adapters and quantisation by name, a running optimiser's state,
optimisers and initialisers that look at a weight as a whole, an in-place activation behind one of the parts. Another
algorithm may be picked for more channels, so that results differ by float rounding. Transposed convolutions start
otherwise: torch draws their weights from a range that goes by the number of output channels, 0.71 times as wide for two
equal parts; the title says so. Other convolutions start as before.

## Refused when
- the kernel size, stride, padding, dilation, padding mode, bias, dtype or device differ: only those that are alike are
  merged;
- one is grouped: the groups of a merged convolution would take other channels;
- a part is called twice, used beside its call, tied, frozen, hooked, wrapped, made under a condition;
- the input is not provably one value: rebound or possibly written to between the calls;
- an output is written to in place (`nn.ReLU(inplace=True)` behind it), or viewed with its batch merged;
- a string in the file names a part, or attributes are reached by a computed name;
- the file initialises with, or optimises by, something that looks at the whole weight (`kaiming_normal_`).

Source: `torch.nn.Conv2d`, `torch.nn.ConvTranspose2d`, `torch.Tensor.split`, torch 2.13; Szegedy et al. 2015.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion, model_text
from fuselight.fusions.model import Safety
from fuselight.fusions.siblings import CONVOLUTIONS
from fuselight.fusions.split_siblings import Siblings


@fusion
class SiblingConvolutions(Siblings):
    __doc__ = __doc__

    code = "FUS202"
    name = "sibling-convolutions"
    words = (frozenset(sort.name for sort in CONVOLUTIONS),)
    sorts = CONVOLUTIONS
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_head = nn.Conv2d(8, 6, 3, padding=1)
        self.box_head = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        scores = self.cls_head(x)
        boxes = F.relu(self.box_head(x))
        return scores, boxes
""",
            after='''\
import torch
import torch.nn.functional as F
from torch import nn


def _merge_m_cls_box_head(module, state_dict, prefix, *args):
    """Load checkpoints that hold cls_head and box_head in place of cls_box_head."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("cls_head", "box_head")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}cls_box_head.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_box_head = nn.Conv2d(8, 10, 3, padding=1)
        self.register_load_state_dict_pre_hook(_merge_m_cls_box_head)

    def forward(self, x):
        scores, box_head = self.cls_box_head(x).split([6, 4], dim=-3)
        boxes = F.relu(box_head)
        return scores, boxes
''',
            inputs=((2, 8, 5, 7),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.up_mean = nn.ConvTranspose1d(channels, 4, kernel_size=4, stride=2)
        self.up_scale = nn.ConvTranspose1d(channels, 4, kernel_size=4, stride=2)

    def forward(self, x):
        return self.up_mean(x), self.up_scale(x).exp()
""",
            after='''\
import torch
from torch import nn


def _merge_m_up_mean_scale(module, state_dict, prefix, *args):
    """Load checkpoints that hold up_mean and up_scale in place of up_mean_scale."""
    for parameter, dim in (("weight", 1), ("bias", 0)):
        keys = [f"{prefix}{part}.{parameter}" for part in ("up_mean", "up_scale")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}up_mean_scale.{parameter}"] = torch.cat(
                tensors, dim=dim
            )


class M(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.up_mean_scale = nn.ConvTranspose1d(channels, 8, kernel_size=4, stride=2)
        self.register_load_state_dict_pre_hook(_merge_m_up_mean_scale)

    def forward(self, x):
        up_mean, up_scale = self.up_mean_scale(x).split([4, 4], dim=-2)
        return up_mean, up_scale.exp()
''',
            inputs=((2, 8, 9),),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # grouped
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1, groups=2)\nself.b = nn.Conv2d(4, 4, 1, groups=2)",
                "return self.a(x), self.b(x)",
            ),
            "is grouped",
        ),
        # another window
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 3, padding=1)",
                "return self.a(x), self.b(x)",
            ),
            "differ in their kernel_size",
        ),
        # another stride
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 2, 2)\nself.b = nn.Conv2d(4, 4, 2)",
                "return self.a(x), self.b(x)",
            ),
            "differ in their stride",
        ),
        # padded with something else
        NearMiss(
            model_text(
                'self.a = nn.Conv2d(4, 4, 3, padding=1)\nself.b = nn.Conv2d(4, 4, 3, 1, 1, padding_mode="reflect")',
                "return self.a(x), self.b(x)",
            ),
            "differ in their padding_mode",
        ),
        # one bias
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1, bias=False)",
                "return self.a(x), self.b(x)",
            ),
            "differ in whether they have a bias",
        ),
        # written to in place
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)\nself.act = nn.ReLU(inplace=True)",
                "return self.act(self.a(x)), self.b(x)",
            ),
            "written to in place",
        ),
        # the batch and the channels as one
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)",
                "return self.a(x).view(-1, 5, 5), self.b(x)",
            ),
            "contiguous",
        ),
        # the input is another one
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)",
                "a = self.a(x)\nx = F.relu(x)\nreturn a, self.b(x)",
            ),
            "",
        ),
        # one transposed
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.ConvTranspose2d(4, 4, 1)",
                "return self.a(x), self.b(x)",
            ),
            "",
        ),
        # initialised by the shape of the whole weight
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)\nfor m in self.modules():\n"
                '    if isinstance(m, nn.Conv2d):\n        nn.init.kaiming_normal_(m.weight, mode="fan_out")',
                "return self.a(x), self.b(x)",
            ),
            "depends on the shape",
        ),
        # called twice
        NearMiss(
            model_text(
                "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)",
                "return self.a(x), self.b(x), self.a(x + 1)",
            ),
            "more than once",
        ),
    )
