"""Heads of keys and values repeated before `scaled_dot_product_attention`: the call groups the queries itself.

Grouped-query attention: `repeat_interleave`, `expand` and `reshape`, einops' `repeat`, or a helper of the file that
does so (`repeat_kv`) make as many heads of keys and values as there are of queries. `enable_gqa=True` takes them as
they are.

## What it saves
The copies of keys and values, and what is kept of them for the backward pass; no time. Measured on a CPU, 2 heads of
keys for 8 of queries, float32: time 0.98x to 1.09x at lengths 512 and 2,048; the peak of memory is 2.7 times less
forward and 1.9 times less with backward, and 12.6 MB kept for it become 4.3 at 2,048 (`benchmarks/attention.py`).

## Fix safety
Always `numerics`: torch calls the option experimental. The title says what is assumed beside: `dim=1` is that of the
heads where there are four dimensions.

## Refused when
- keys and values are not repeated alike, or one beside the other: `k.repeat(1, 2, 1, 1)` puts whole groups behind each
  other, which is another grouping;
- the repeated tensors are used again, or their sizes are read;
- how often each head is repeated is not one number;
- an input may be changed in between.

Attention by hand that becomes the call (FUS301) takes the repetition in at once.

Source: `torch.nn.functional.scaled_dot_product_attention`, torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuselight.fusions.base import Example, Match, NearMiss, fusion
from fuselight.fusions.matching import Found, Matcher, Operand
from fuselight.fusions.model import Safety
from fuselight.fusions.planned import OneCall, Planned
from fuselight.fusions.repeated_heads import Repeat, repeated
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Value

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"


def _called(key: str, value: str) -> str:
    return f"{_HEAD}\ndef f(q, k, v, m):\n    return F.scaled_dot_product_attention(q, {key}, {value})\n"


_KIND = "scaled_dot_product_attention"
_NAMES = {"query": "q", "key": "k", "value": "v"}


@fusion
class RepeatedHeadsBeforeAttention(OneCall):
    __doc__ = __doc__

    code = "FUS302"
    name = "repeated-heads-before-attention"
    words = (frozenset({_KIND}), frozenset({"torch"}))
    examples = (
        Example(
            before=_HEAD
            + """
def f(q, k, v):
    k = k.repeat_interleave(3, dim=-3)  # a head for each query's
    v = v.repeat_interleave(3, dim=-3)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
""",
            after=_HEAD
            + """
def f(q, k, v):
    # a head for each query's
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
""",
            inputs=((2, 6, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def repeat_kv(x, count):
    n, heads, length, width = x.shape
    if count == 1:
        return x
    x = x[:, :, None, :, :].expand(n, heads, count, length, width)
    return x.reshape(n, heads * count, length, width)


def f(q, k, v):
    return F.scaled_dot_product_attention(q, repeat_kv(k, 2), repeat_kv(v, 2))
""",
            after=_HEAD
            + """
def repeat_kv(x, count):
    n, heads, length, width = x.shape
    if count == 1:
        return x
    x = x[:, :, None, :, :].expand(n, heads, count, length, width)
    return x.reshape(n, heads * count, length, width)


def f(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
""",
            inputs=((2, 4, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss(_called("k.repeat(1, 2, 1, 1)", "v.repeat(1, 2, 1, 1)"), ""),
        NearMiss(_called("k.repeat_interleave(2, dim=1)", "v"), ""),
        NearMiss(_called("k.repeat_interleave(2, dim=1)", "v.repeat_interleave(3, dim=1)"), ""),
        NearMiss(_called("k.repeat_interleave(2, dim=2)", "v.repeat_interleave(2, dim=2)"), ""),
        NearMiss(_called("k.repeat_interleave(m, dim=1)[0]", "v.repeat_interleave(m, dim=1)[0]"), ""),
        NearMiss(_called("k.repeat_interleave(2)", "v.repeat_interleave(2)"), ""),
    )
    label = _KIND
    says = "gets keys and values whose heads were repeated for the queries"
    does = "Let `{label}` group the queries itself"

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if _KIND not in scope.words:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        matcher = Matcher(module, scope.owner, graph)
        for value in list(graph.of_kind(_KIND)):
            called = matcher.called(value)
            if called is None or not {"query", "key", "value"} <= called.arguments.keys():
                continue
            if "enable_gqa" in called.arguments:
                continue
            given = called.arguments
            key, other = (repeated(module, scope, graph, matcher, given[name]) for name in ("key", "value"))
            if key is None or other is None or not key.is_like(other, matcher):
                continue
            yield Planned(type(self), _site(module, scope, matcher, value, dict(given), (key, other))).match()


def _site(
    module: Module,
    scope: Scope,
    matcher: Matcher,
    root: Value,
    given: dict[str, Operand],
    repeats: tuple[Repeat, Repeat],
) -> Site:
    given["key"], given["value"] = (one.source for one in repeats)
    bound = {_NAMES.get(name, f"{name}_"): operand for name, operand in given.items()}
    rest = [f"{name}={name}_" for name in given if name not in _NAMES]
    template = f"{_KIND}({', '.join(('q', 'k', 'v', *rest, 'enable_gqa=True'))})"
    notes = ["`enable_gqa` is experimental in torch", *(note for one in repeats for note in one.assumed)]
    rewrite = Rewrite(
        "",
        template,
        Safety.NUMERICS,
        "; ".join(dict.fromkeys(notes)),
        integers=tuple(name for name in bound if name.endswith("_")),
    )
    inner = tuple(one for repeat in repeats for one in repeat.inner)
    numbers = tuple(one for repeat in repeats for one in repeat.numbers)
    return Site(module, scope, matcher.graph, matcher, rewrite, root, Found(bound, inner, numbers))
