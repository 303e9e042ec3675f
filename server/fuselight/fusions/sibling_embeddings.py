"""Embeddings of one index: one wider embedding and a split.

A factor and a bias of one user, a token's value and its gate, the scale and shift that belong to a class: several
`nn.Embedding` of one size that are looked up with the same index. They are found by that index, never by their names.
One embedding with their rows side by side looks up all with one gather.

## What it saves
Kernel launches and reads of the index, forward and backward. On a CPU, two tables of 10,000 x 64 and 8,192 indices:
1.05x forward, 1.26x forward and backward. No memory is saved.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, row by row. The parameters of the parts become columns
of one parameter. The edit adds a module-level function and registers it with `register_load_state_dict_pre_hook`
(public since torch 2.5), so that an old checkpoint loads with `strict=True`. `breaking` where the file's models load
past `nn.Module.load_state_dict`.

What you lose besides is what FUS201 lists: a running optimiser's state, optimisers and initialisers that look at a
matrix as a whole, tables by name. Torch's own initialisation draws the same numbers for other entries. The outputs are
views of one tensor: they are not contiguous.

## Refused when
- the number of embeddings or the padding index differ: an index may be legal for one only;
- one has a `max_norm` (it would be the norm of the wider row), sparse gradients, `scale_grad_by_freq`, a given weight;
- the index is not provably one value: rebound or possibly written to between the lookups;
- a part is called twice, used beside its call (`emb.weight` as an output layer), tied, frozen, hooked, made under a
  condition, or made by `from_pretrained`;
- an output is written to in place, or viewed in a way that needs contiguous memory;
- a string in the file names a part, or attributes are reached by a computed name;
- the file initialises with, or optimises by, something that looks at the whole matrix.

Source: `torch.nn.Embedding`, `torch.nn.Module.register_load_state_dict_pre_hook`, torch 2.13.
"""

from __future__ import annotations

from fuselight.fusions.base import Example, NearMiss, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.siblings import EMBEDDING
from fuselight.fusions.split_siblings import Siblings


def _near(init: str, forward: str) -> str:
    """A file with the class `M`."""
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *init.split("\n")))
    body = "".join(f"        {line}\n" for line in forward.split("\n"))
    return f"""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
{lines}
    def forward(self, i):
{body}"""


_TWO = "self.a = nn.Embedding(10, 4)\nself.b = nn.Embedding(10, 6)"


@fusion
class SiblingEmbeddings(Siblings):
    __doc__ = __doc__

    code = "FUS203"
    name = "sibling-embeddings"
    words = (frozenset({"Embedding"}),)
    sorts = (EMBEDDING,)
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Embedding(10, 16)
        self.shift = nn.Embedding(10, 16)

    def forward(self, x, scores):
        label = scores.argmax(-1)
        return x * (1 + self.scale(label)) + self.shift(label)
""",
            after='''\
import torch
from torch import nn


def _merge_m_scale_shift(module, state_dict, prefix, *args):
    """Load checkpoints that hold scale and shift in place of scale_shift."""
    for parameter in ("weight",):
        keys = [f"{prefix}{part}.{parameter}" for part in ("scale", "shift")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}scale_shift.{parameter}"] = torch.cat(tensors, dim=1)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale_shift = nn.Embedding(10, 32)
        self.register_load_state_dict_pre_hook(_merge_m_scale_shift)

    def forward(self, x, scores):
        label = scores.argmax(-1)
        scale, shift = self.scale_shift(label).split([16, 16], dim=-1)
        return x * (1 + scale) + shift
''',
            inputs=((2, 5, 16), (2, 5, 10)),
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # two indices
        NearMiss(_near(_TWO, "return self.a(i), self.b(i + 1)"), ""),
        # the index is rebound
        NearMiss(_near(_TWO, "a = self.a(i)\ni = i.flip(0)\nreturn a, self.b(i)"), ""),
        # the index is written to
        NearMiss(_near(_TWO, "a = self.a(i)\ni.clamp_(max=5)\nreturn a, self.b(i)"), "changed between"),
        # another size
        NearMiss(
            _near(_TWO.replace("(10, 6", "(12, 6"), "return self.a(i), self.b(i)"), "differ in their num_embeddings"
        ),
        # another padding
        NearMiss(
            _near(_TWO.replace("6)", "6, padding_idx=0)"), "return self.a(i), self.b(i)"),
            "differ in their padding_idx",
        ),
        # a norm of the row
        NearMiss(
            _near(_TWO.replace(")", ", max_norm=1.0)"), "return self.a(i), self.b(i)"),
            "has a `max_norm`",
        ),
        # sparse gradients
        NearMiss(_near(_TWO.replace(")", ", sparse=True)"), "return self.a(i), self.b(i)"), "sparse gradients"),
        # gradients by frequency
        NearMiss(
            _near(_TWO.replace(")", ", scale_grad_by_freq=True)"), "return self.a(i), self.b(i)"),
            "by the frequency",
        ),
        # the weight is an output layer, too
        NearMiss(_near(_TWO, "a = self.a(i)\nreturn a @ self.a.weight.T, self.b(i)"), "beside its call"),
        # a table from elsewhere
        NearMiss(
            _near(
                "self.a = nn.Embedding(10, 4)\nself.b = nn.Embedding.from_pretrained(torch.eye(10))",
                "return self.a(i), self.b(i)",
            ),
            "",
        ),
    )
