"""Attention written out as matmul, scale, mask, softmax, dropout, matmul: one call of `scaled_dot_product_attention`.

Found over what is computed, not by spelling: products by `@`, `matmul`, `mm`, `bmm`, `baddbmm` and `einsum` with any
letters; axes in any order, turned by `transpose`, `permute`, `.mT`, `swapaxes`, einops' `rearrange`; a scale on the
queries, the keys or the scores, by `*`, `/`, `math.sqrt`, `** -0.5`, a parameter per head, or none; masks that are
added, filled in (`masked_fill`, `masked_fill_`, `torch.where`) with minus infinity or a number as low, several of
them, or under a condition (`if mask is not None:`); softmax as a function, a method, a layer, or by hand, in float32
and back; dropout as a function, a layer, or none; keys and values whose heads are repeated for groups of queries.

## What it saves
The scores, their mask and their softmax, which grow with the square of the length: the call goes over them in blocks
and keeps its output and one number a query for the backward pass. Before divided by after (torch 2.13, CPU, one thread,
float32, batch 1, 8 heads of width 64; `benchmarks/attention.py`, drawn in docs/attention.svg; no GPU was at hand):

| length | time, forward: plain, causal | with backward: plain, causal | peak of memory, plain: forward, with backward |
|---:|---:|---:|---:|
| 128 | 1.30x, 1.83x | 1.12x, 1.39x | 5.4x, 1.1x (2.1 MB become 1.8) |
| 512 | 1.34x, 2.47x | 1.26x, 1.72x | 16x, 3.7x (27 MB become 7) |
| 1,024 | 3.15x, 6.02x | 2.14x, 3.52x | 26x, 7.1x (105 MB become 15) |
| 8,192 | 3.52x, 8.40x | 2.32x, 4.98x | 246x, 55x (6,476 MB become 117) |

From 1,024 on, half of the time before is fresh pages: with an allocator that keeps them 1.5x, 2.3x and 1.1x, 1.8x.
A learned bias saves no memory, and is slower when short (forward 0.67x at 128, 0.79x at 512, 1.1x to 1.3x from 1,024):
torch takes the steps one by one for a mask that needs a gradient. So it does on a CPU, with nothing gained, for queries
of three dimensions or five, for a last axis that is strided (channels first), for keys of another batch than the
queries, and for values that are wider than the queries.

## Fix safety
Always `numerics`: the call works in blocks, so that it rounds otherwise, and it has first gradients only. The title
says what else differs at the site:

- A query whose keys are all masked gives zeros. Filled with minus infinity it gave NaN, filled with a large number the
  mean of all values. A causal mask leaves each query itself.
- Dropout draws other random numbers, of the same distribution.
- A softmax or dropout layer stays in `__init__`, but is not called: a hook that another file registers on it does not
  run. In this file, such hooks refuse the site.
- What the source does not show is assumed: `transpose(1, 2)` exchanges the last two axes of what has three; queries,
  values and masks have two axes at least, and no mask is larger than the scores.

Parameters, buffers and their names stay, so that checkpoints load. The scale is left out where the source shows it to
be the call's own (the square root of the queries' last axis), and handed over otherwise, 1.0 for none; a tensor that
scales a head is multiplied into the queries, so that it keeps its gradient. What is added to the scores is converted
to the queries' dtype where the source does not show it to be floating: a mask of truth values that is added stays a
summand. `is_causal=True` stands for a triangle only where the source shows as many queries as keys: with a cache, the
call's own triangle would be another one. It never stands beside `attn_mask`, which some kernels refuse. The result
may lie otherwise in memory: a `view` of it becomes a `reshape`, and where what views it cannot be followed, a
`.contiguous()` stands behind the call. In a file that switches dropouts by themselves, the dropout's own `training` is
asked.

## Refused when
- the weights are returned, stored, read by an inner function, or used again, or changed before they meet the values;
- the scores are changed as no mask can say: clamped, capped by `tanh`, mixed between heads, with an extra column for a
  sink, by a call of which nothing is known, by a mask that is multiplied;
- the softmax is over another axis than the keys, or that is not shown; it attends over channels;
- masked scores become a number that blocks no key, or not every query keeps a key by the very shape of the mask;
- it is not shown what scales the scores, or that it is positive where a mask is filled in before;
- a fused kernel is called in another branch or another method, or the class asks whether torch has the call;
- the file asks for more than first gradients; a dtype is converted to that the call does not take;
- masked scores get another name under a condition, several masks stand under one, or one on the condition's line;
- an input may be changed in between, or the result, an added mask, or what a caller gets, in place behind it;
- the function is a reference, or an eager twin of another one.

Source: `torch.nn.functional.scaled_dot_product_attention`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.attention_plan import AttentionPlan
from fuselight.fusions.attention_reader import AttentionReader
from fuselight.fusions.attentions import Attention
from fuselight.fusions.base import Example, Match, NearMiss, Refusal, fusion, model_text
from fuselight.fusions.matching import Matcher
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Place
from fuselight.fusions.planned import OneCall
from fuselight.fusions.site import brief
from fuselight.graph.classes import Layer
from fuselight.graph.effects import called_name
from fuselight.graph.module import Module, Scope

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"


def _spelled(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{_HEAD}\ndef f(q, k, v, m):\n{lines}"


_SOFTMAXES = frozenset({"softmax", "Softmax", "exp", "log_softmax", "LogSoftmax"})


@fusion
class AttentionByHand(OneCall):
    __doc__ = __doc__

    code = "FUS301"
    name = "attention-by-hand"
    words = (_SOFTMAXES, frozenset({"torch"}))
    examples = (
        Example(
            before=model_text(
                "self.qkv = nn.Linear(16, 48)\nself.out = nn.Linear(16, 16)",
                "n, t, d = x.shape\n"
                "q, k, v = self.qkv(x).split(16, dim=2)\n"
                "q = q.view(n, t, 4, 4).transpose(1, 2)\n"
                "k = k.view(n, t, 4, 4).transpose(1, 2)\n"
                "v = v.view(n, t, 4, 4).transpose(1, 2)\n"
                "att = (q @ k.transpose(-2, -1)) / k.size(-1) ** 0.5\n"
                'att = att.masked_fill(torch.tril(torch.ones(t, t)) == 0, float("-inf"))\n'
                "y = F.softmax(att, dim=-1) @ v\n"
                "return self.out(y.transpose(1, 2).reshape(n, t, d))",
            ),
            after=model_text(
                "self.qkv = nn.Linear(16, 48)\nself.out = nn.Linear(16, 16)",
                "n, t, d = x.shape\n"
                "q, k, v = self.qkv(x).split(16, dim=2)\n"
                "q = q.view(n, t, 4, 4).transpose(1, 2)\n"
                "k = k.view(n, t, 4, 4).transpose(1, 2)\n"
                "v = v.view(n, t, 4, 4).transpose(1, 2)\n"
                "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n"
                "return self.out(y.transpose(1, 2).reshape(n, t, d))",
            ),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(q, k, v, bias=None):
    scores = torch.einsum("bihd,bjhd->bhij", q, k) * 0.25
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(dim=-1)
    return torch.einsum("bhij,bjhd->bihd", weights, v)
""",
            after=_HEAD
            + """
def f(q, k, v, bias=None):
    attn_mask = None
    if bias is not None:
        attn_mask = bias.to(q.dtype)
    return F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=attn_mask,
        scale=0.25,
    ).transpose(1, 2)
""",
            inputs=((2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 8), (3, 5, 7)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(_spelled("a = (q @ k.mT / 8).softmax(-1)\nreturn a @ v, a"), "the weights are returned"),
        NearMiss(_spelled("return torch.tanh(q @ k.mT).softmax(-1) @ v"), "changes the scores as no mask can say"),
        NearMiss(_spelled("return (q @ k.mT).softmax(-2) @ v"), "summed over the queries"),
        NearMiss(_spelled("return (q @ k.mT).softmax(dim=1) @ v"), "dimension 1 of the softmax"),
        NearMiss(_spelled("return (q @ k.mT * m).softmax(-1) @ v"), "scales all scores of a head alike"),
        NearMiss(_spelled("return ((q @ k.mT).softmax(-1) * m) @ v"), "changed before they meet the values"),
        NearMiss(_spelled("return (q @ k.mT).masked_fill(m, -1.0).softmax(-1) @ v"), "blocks no key"),
        NearMiss(_spelled("return (q.mT @ k).softmax(-1) @ v.mT"), "attends over channels"),
        NearMiss(_spelled("return q.softmax(-1) @ (k.softmax(-2).mT @ v)"), ""),
    )
    label = "scaled_dot_product_attention"
    says = "is attention written out"
    does = "Replace the attention by one call of {label}"

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if not self._may_hold(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        matcher = Matcher(module, scope.owner, graph)
        reader = AttentionReader(module, scope, matcher)
        for value, found in reader.attentions():
            if isinstance(found, Attention):
                yield AttentionPlan(type(self), module, scope, matcher, found).match()
            elif value.node is not None:
                yield self._refused(scope, Place(scope.statement, value.node), found)

    def _refused(self, scope: Scope, place: Place, refusal: Refusal) -> Match:
        message = f"`{brief(scope.statement.source(place.node))}` {self.says}"
        return Match(type(self), scope.name, place, message, refused=refusal)

    def _may_hold(self, scope: Scope) -> bool:
        """Whether a softmax stands in the function, by any spelling, or under the name of a layer."""
        return not _SOFTMAXES.isdisjoint(scope.names) or any(map(_is_softmax, scope.named_layers))


def _is_softmax(layer: Layer) -> bool:
    """Whether a layer is a softmax, or begins with one: `nn.Sequential(nn.Softmax(dim=-1), nn.Dropout(p))`."""
    if layer.kind != "torch.nn.Sequential":
        return (layer.kind or "").endswith("Softmax")
    first = next(iter(layer.constructor.args), None) if layer.constructor is not None else None
    return isinstance(first, ast.Call) and called_name(first.func) == "Softmax"
