"""FUS301: attention by hand becomes the fused call, however it is spelled; what only looks like it is refused.

FUS302: keys and values whose heads are repeated for the fused call are given as they are.
"""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence

import pytest
import torch

from equivalence.attention_runs import check_calls, compare, compare_draws, fused_calls
from equivalence.attentions import Expected, Program
from equivalence.harness import EVERY_SAFETY, rewritten
from equivalence.harness import compare as compare_modules
from fuselight.analysis import Analysis

CODE = "FUS301"
CODES = frozenset({CODE})
REPEATED = frozenset({"FUS302"})
HEAD = "import math\n\nimport torch\nimport torch.nn.functional as F\n"
EINOPS = "from einops import rearrange, repeat\nfrom torch import einsum, nn\n"
CLASS = HEAD + "from torch import nn\n\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"

Call = Sequence["tuple[int, ...] | torch.Tensor"]

QKV: Call = ((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8))
SELF: Call = ((2, 4, 5, 8),) * 3
FLAT: Call = ((6, 5, 8), (6, 7, 8), (6, 7, 8))
BTHD: Call = ((2, 5, 4, 8), (2, 7, 4, 8), (2, 7, 4, 8))
GROUPED: Call = ((2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8))
X: Call = ((2, 5, 16),)

_generator = torch.Generator().manual_seed(1)


def flags(*shape: int) -> torch.Tensor:
    """Which keys count: the first one always."""
    made = torch.rand(shape, generator=_generator) > 0.4
    made[..., 0] = True
    return made


KEEP = flags(2, 1, 5, 7)
KEYS = flags(2, 7)
OWN = flags(2, 5)


def lines(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" if line.strip() else "\n" for line in text.strip("\n").split("\n"))


def f(body: str, arguments: str = "q, k, v", head: str = "") -> str:
    return f"{HEAD}{head}\n\ndef f({arguments}):\n{lines(body, 4)}"


def m(init: str, forward: str, arguments: str = "q, k, v", head: str = "") -> str:
    start = CLASS.replace(HEAD + "from torch import nn\n", f"{HEAD}{head or 'from torch import nn' + chr(10)}")
    return f"{start}{lines(init, 8) if init else ''}\n    def forward(self, {arguments}):\n{lines(forward, 8)}"


def calls(*given: Call) -> tuple[tuple[torch.Tensor, ...], ...]:
    generator = torch.Generator().manual_seed(2)
    return tuple(
        tuple(
            one
            if isinstance(one, torch.Tensor)
            else torch.randn(one, generator=generator, dtype=torch.float64).requires_grad_()
            for one in call
        )
        for call in given
    )


def program(text: str, given: Sequence[Call], tolerance: float = 1e-9) -> Program:
    return Program(text, calls(*given), Expected.FOUND, (), tolerance, dropout="ropout" in text)


def offered(
    text: str,
    given: Sequence[Call],
    wanted: str = "",
    tolerance: float = 1e-9,
    codes: frozenset[str] = CODES,
    *,
    layout: bool = False,
) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = rewritten(text, allow=EVERY_SAFETY, codes=codes, layout=layout)
        if not result.applied:
            raise AssertionError(f"not found: {[one.refused for one in result.analysis.refusals]}\n{text}")
        check_calls(result.text)
        try:
            compare(program(text, given, tolerance), result.text)
        except Exception as error:
            error.add_note(result.text)
            raise
    assert wanted in " ".join(result.text.split()), result.text
    return result.text


def check_never_wrong(given: Program) -> None:
    after = rewritten(given.text, allow=EVERY_SAFETY, codes=CODES | REPEATED).text
    if after == given.text:
        return
    check_calls(after)
    try:
        compare(given, after)
    except Exception as error:
        error.add_note(after)
        raise


# -- operations one at a time


DIV = "scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))\n"
END = "return scores.softmax(dim=-1) @ v"

PRODUCTS = [
    ("methods", "scores = q.matmul(k.transpose(-2, -1)) / math.sqrt(k.size(-1))\nreturn scores.softmax(-1).matmul(v)", QKV),
    ("one line", "return F.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v", QKV),
    ("functions all the way", "return torch.matmul(torch.softmax(torch.div(torch.matmul(q, torch.transpose(k, -2, -1)), math.sqrt(q.size(-1))), dim=-1), v)", QKV),
    ("swapped axes", "w = torch.matmul(q, k.swapaxes(-1, -2)) * q.size(-1) ** -0.5\nw = w.softmax(dim=-1)\nreturn torch.matmul(w, v)", QKV),
    ("swapped dims", "return (q @ torch.swapdims(k, 2, 3) * 0.3).softmax(-1) @ v", QKV),
    ("a permutation", "logits = torch.matmul(q, k.permute(0, 1, 3, 2)) / math.sqrt(q.shape[3])\nreturn torch.matmul(F.softmax(logits, dim=-1), v)", QKV),
    ("a moved axis", "return (q @ k.movedim(-1, -2) / 4.0).softmax(-1) @ v", QKV),
    ("keys given turned", "w = torch.softmax(q @ k * 8 ** -0.5, dim=-1)\nreturn w @ v", ((2, 4, 5, 8), (2, 4, 8, 7), (2, 4, 7, 8))),
    ("keys turned under their name", "k = k.transpose(2, 3)\natt = q @ k\natt = att / math.sqrt(q.size(-1))\natt = F.softmax(att, -1)\nout = att @ v\nreturn out", QKV),
    ("queries last", "s = (k @ q.transpose(-2, -1)).transpose(-2, -1) / math.sqrt(q.size(-1))\nreturn s.softmax(-1) @ v", QKV),
    ("both turned behind", "y = v.transpose(-2, -1) @ (q @ k.mT * 0.25).softmax(-1).transpose(-2, -1)\nreturn y.transpose(-2, -1)", QKV),
    ("bmm", "energy = torch.bmm(q, k.permute(0, 2, 1)) / 8 ** 0.5\nattention = F.softmax(energy, dim=2)\nreturn torch.bmm(attention, v)", FLAT),
    ("bmm method", "return q.bmm(k.transpose(1, 2)).mul(0.25).softmax(-1).bmm(v)", FLAT),
    ("two dimensions", "return torch.softmax(q @ k.T / math.sqrt(8), dim=-1) @ v", ((5, 8), (7, 8), (7, 8))),
    ("two dimensions, turned", "w = F.softmax(torch.mm(q, k.t()) / k.shape[-1] ** 0.5, dim=-1)\nreturn torch.mm(w, v)", ((5, 8), (7, 8), (7, 8))),
    ("windows", "return (q * 0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v", ((2, 3, 4, 5, 8), (2, 3, 4, 7, 8), (2, 3, 4, 7, 8))),
    ("values of another width", f"{DIV}{END}", ((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 6))),
    ("an einsum", "s = torch.einsum('bhqd,bhkd->bhqk', q, k) / math.sqrt(q.size(-1))\nreturn torch.einsum('bhqk,bhkd->bhqd', torch.softmax(s, dim=-1), v)", QKV),
    ("heads third", "s = torch.einsum('bqhd,bkhd->bhqk', q, k) * 8 ** -0.5\nreturn torch.einsum('bhqk,bkhd->bqhd', s.softmax(-1), v)", BTHD),
    ("heads third, other letters", "s = torch.einsum('nlhe,nshe->nhls', q, k)\na = torch.softmax(0.3 * s, dim=-1)\nreturn torch.einsum('nhls,nshd->nlhd', a, v).contiguous()", BTHD),
    ("heads third, capital letters", "A = torch.einsum('BQHD, BKHD -> BHQK', q, k) / math.sqrt(8)\nreturn torch.einsum('BHQK, BKHD -> BQHD', A.softmax(dim=3), v)", BTHD),
    ("an ellipsis", "s = torch.einsum('...qd,...kd->...qk', q, k) * 0.4\nreturn torch.einsum('...qk,...kd->...qd', s.softmax(-1), v)", QKV),
    ("keys first, values first", "s = torch.einsum('bhkd,bhqd->bhqk', k, q) / 3\nreturn torch.einsum('bhkd,bhqk->bhqd', v, s.softmax(-1))", QKV),
    ("heads folded into the batch", "sim = torch.einsum('b i d, b j d -> b i j', q, k) * 8 ** -0.5\nattn = sim.softmax(dim=-1)\nreturn torch.einsum('b i j, b j d -> b i d', attn, v)", FLAT),
    ("channels first", "s = torch.einsum('bct,bcs->bts', q * 8 ** -0.25, k * 8 ** -0.25)\nreturn torch.einsum('bts,bcs->bct', s.softmax(-1), v)", ((6, 8, 5), (6, 8, 7), (6, 8, 7))),
    ("mixed", "s = torch.einsum('bqhd,bkhd->bhqk', q, k) / math.sqrt(8)\nreturn torch.matmul(s.softmax(-1), v.transpose(1, 2)).transpose(1, 2).flatten(2)", BTHD),
    ("rearranged", "kt = rearrange(k, 'b h n d -> b h d n')\nreturn (q @ kt * 0.3).softmax(-1) @ v", QKV),
    ("scores and heads exchanged", "q, k, v = (rearrange(t, 'b n h d -> b h n d') for t in (q, k, v))\ns = einsum('b h i d, b h j d -> b h i j', q, k) * 8 ** -0.5\nout = einsum('b h i j, b h j d -> b h i d', s.softmax(dim=-1), v)\nreturn rearrange(out, 'b h n d -> b n (h d)')", BTHD),
    ("an added product without its start", "s = torch.baddbmm(torch.empty(q.shape[0], q.shape[1], k.shape[1], dtype=q.dtype, device=q.device), q, k.transpose(-1, -2), beta=0, alpha=8 ** -0.5)\nreturn torch.bmm(s.softmax(dim=-1), v)", FLAT),
]  # fmt: skip


@pytest.mark.parametrize(("body", "call"), [one[1:] for one in PRODUCTS], ids=[one[0] for one in PRODUCTS])
def test_products(body: str, call: Call) -> None:
    head = EINOPS if "rearrange" in body else ""
    text = offered(f(body, head=head), [call])
    assert "softmax" not in text


SCALES = [
    ("queries", "q = q * (q.size(-1) ** -0.5)\nscores = q @ k.mT", ""),
    ("queries, divided", "q = q / math.sqrt(k.size(-1))\nscores = q @ k.mT", ""),
    ("queries, in place", "q = q.clone()\nq *= 8 ** -0.5\nscores = q @ k.mT", ""),
    ("queries, inside", "scores = (q * 0.2) @ k.mT", "scale=0.2"),
    ("keys", "scores = q @ (k / math.sqrt(k.shape[-1])).transpose(-2, -1)", ""),
    ("keys, turned before", "kt = k.transpose(-2, -1) * 0.3\nscores = q @ kt", "scale=0.3"),
    ("both", "s = q.shape[-1] ** -0.25\nscores = (q * s) @ (k * s).mT", ""),
    ("both, roots", "s = 1 / math.sqrt(math.sqrt(q.size(-1)))\nscores = torch.matmul(q * s, (k * s).transpose(-1, -2))", ""),
    ("twice", "q = q / math.sqrt(q.size(-1))\nscores = q @ k.mT * 2.0", ""),
    ("thrice", "scores = 0.5 * ((q * 2) @ k.mT) / 3", ""),
    ("scores, in place", "scores = q @ k.mT\nscores *= 0.125", "scale=0.125"),
    ("scores, divided in place", "scores = q @ k.mT\nscores /= math.sqrt(q.size(-1))", ""),
    ("a number first", "scores = (1.0 / math.sqrt(k.size(-1))) * (q @ k.mT)", ""),
    ("a name", "d_k = q.size()[-1]\nscale = 1 / math.sqrt(d_k)\nscores = q @ k.mT * scale", ""),
    ("a shape unpacked", "b, h, n, d = q.shape\nscores = q @ k.mT * (d ** -0.5)", ""),
    ("the width itself", "scores = q @ k.mT / q.size(-1)", "scale="),
    ("a constant", "scores = q @ k.mT / math.sqrt(32)", "scale="),
    ("none", "scores = q @ k.mT", "scale=1.0"),
    ("of the reversed product", "scores = torch.einsum('bhkd,bhqd->bhqk', k * 0.2, q)", "scale=0.2"),
    ("math.pow", "scores = q @ k.mT * math.pow(8, -0.5)", "scale="),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), [one[1:] for one in SCALES], ids=[one[0] for one in SCALES])
def test_scales(body: str, wanted: str) -> None:
    offered(f(f"{body}\n{END}"), [QKV], wanted)


INT = KEEP.long()
BIAS: Call = (*QKV, (4, 5, 7))
LOW = float("-inf")
FLOAT_MASK = torch.zeros(2, 1, 5, 7, dtype=torch.float64).masked_fill(~KEEP, LOW)

MASKS = [
    ("added", "scores = scores + mask", (*QKV, FLOAT_MASK), "attn_mask=mask"),
    ("added in place", "scores += mask", (*QKV, FLOAT_MASK), "attn_mask=mask"),
    ("added first", "scores = mask + scores", (*QKV, torch.randn(5, 7, dtype=torch.float64)), "attn_mask=mask"),
    ("a trained bias", "scores = scores + mask", BIAS, "attn_mask=mask"),
    ("a trained bias, of pairs", "scores = scores + mask.unsqueeze(0)", BIAS, "attn_mask=mask"),
    ("a penalty of zeros and ones", "scores = scores + (1.0 - mask[:, None, None, :]) * -10000.0", (*QKV, KEYS.long()), "attn_mask="),
    ("a penalty in the dtype", "penalty = (1.0 - mask.to(dtype=q.dtype)) * torch.finfo(q.dtype).min\nscores = scores + penalty", (*QKV, INT), "attn_mask="),
    ("a penalty filled in", "mask = mask.float().masked_fill(mask == 0, float('-inf')).masked_fill(mask == 1, float(0.0))\nscores = scores + mask", (*QKV, INT), "attn_mask="),
    ("a bias filled in", "bias = torch.zeros(q.size(-2), k.size(-2), dtype=q.dtype)\nbias = bias.masked_fill(mask.logical_not(), float('-inf'))\nscores = scores + bias", (*QKV, flags(5, 7)), "attn_mask="),
    ("filled where true", "scores = scores.masked_fill(mask, float('-inf'))", (*QKV, ~KEEP), "attn_mask=~mask"),
    ("filled where false", "scores = scores.masked_fill(~mask, float('-inf'))", (*QKV, KEEP), "attn_mask=mask"),
    ("filled where not", "scores = scores.masked_fill(mask.logical_not(), -1e9)", (*QKV, KEEP), "attn_mask="),
    ("filled where torch says not", "scores = scores.masked_fill(torch.logical_not(mask), -math.inf)", (*QKV, KEEP), "attn_mask="),
    ("filled where zero", "scores = scores.masked_fill(mask == 0, -1e9)", (*QKV, INT), "attn_mask=mask != 0"),
    ("filled where zero, boolean", "scores = scores.masked_fill(mask == 0, float('-inf'))", (*QKV, KEEP), "attn_mask="),
    ("filled where equal to zero", "scores = scores.masked_fill(mask.eq(0), -1e4)", (*QKV, INT), "attn_mask="),
    ("filled where less", "scores = scores.masked_fill(mask < 0.5, torch.finfo(scores.dtype).min)", (*QKV, KEEP.double()), "attn_mask="),
    ("filled where one less is", "scores = scores.masked_fill((1 - mask).bool(), -1e10)", (*QKV, INT), "attn_mask="),
    ("filled in place", "scores.masked_fill_(mask, -torch.inf)", (*QKV, ~KEEP), "attn_mask=~mask"),
    ("filled by the function", "scores = torch.masked_fill(scores, mask, float('-inf'))", (*QKV, ~KEEP), "attn_mask="),
    ("padded keys", "scores = scores.masked_fill(mask.unsqueeze(1).unsqueeze(2), float('-inf'))", (*QKV, ~KEYS), "attn_mask="),
    ("padded keys by index", "scores = scores.masked_fill(mask[:, None, None, :] == 0, -1e9)", (*QKV, KEYS.long()), "attn_mask="),
    ("a mask of its own name", "mask = mask[:, None, None, :].bool()\nscores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)", (*QKV, KEYS.long()), "attn_mask="),
    ("where it counts", "scores = torch.where(mask, scores, float('-inf'))", (*QKV, KEEP), "attn_mask=mask"),
    ("where it does not", "scores = torch.where(mask, -1e9, scores)", (*QKV, ~KEEP), "attn_mask=~mask"),
    ("where, with a tensor", "low = torch.full([], torch.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)\nscores = torch.where(mask, scores, low)", (*QKV, KEEP), "attn_mask=mask"),
    ("where, with another", "scores = torch.where(mask > 0, scores, torch.tensor(-1e30, dtype=scores.dtype))", (*QKV, INT), "attn_mask="),
    ("where, as many", "scores = torch.where(mask, scores, torch.full_like(scores, -1e9))", (*QKV, KEEP), "attn_mask=mask"),
    ("where, the method", "scores = scores.where(mask, float('-inf'))", (*QKV, KEEP), "attn_mask=mask"),
    ("a name for the number", "max_neg_value = -torch.finfo(scores.dtype).max\nscores = scores.masked_fill(~mask, max_neg_value)", (*QKV, KEEP), "attn_mask=mask"),
    ("two", "scores = scores.masked_fill(mask, float('-inf'))\nscores = scores.masked_fill(torch.arange(7) > 5, float('-inf'))", (*QKV, ~KEEP), "attn_mask="),
    ("a mask and a bias", "scores = scores + bias\nscores = scores.masked_fill(~mask, -1e9)", (*QKV, KEEP, (4, 5, 7)), "attn_mask="),
    ("the scale behind", "scores = q @ k.mT\nscores = scores.masked_fill(mask == 0, float('-inf'))\nscores = scores / math.sqrt(q.size(-1))", (*QKV, INT), "attn_mask="),
]  # fmt: skip


@pytest.mark.parametrize(("body", "call", "wanted"), [one[1:] for one in MASKS], ids=[one[0] for one in MASKS])
def test_masks(body: str, call: Call, wanted: str) -> None:
    arguments = "q, k, v, mask, bias" if "+ bias\n" in body and len(call) == 5 else "q, k, v, mask"
    offered(f(f"{DIV}{body}\n{END}", arguments), [call], wanted)


T = "T = q.size(-2)\n"
CAUSAL = [
    ("a lower triangle", T + "scores = scores.masked_fill(torch.tril(torch.ones(T, T)) == 0, float('-inf'))"),
    ("a lower triangle, its name", T + "mask = torch.ones(T, T, device=q.device).tril()\nscores = scores.masked_fill(mask == 0, -1e9)"),
    ("an upper triangle", T + "mask = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)\nscores = scores.masked_fill(mask, float('-inf'))"),
    ("an upper triangle, a method", T + "scores.masked_fill_(torch.ones((T, T), device=q.device).triu(1).bool(), -torch.inf)"),
    ("numbers added", T + "scores = scores + torch.triu(torch.full((T, T), float('-inf')), diagonal=1)"),
    ("numbers added, of the dtype", T + "mask = torch.full((T, T), float('-inf'), device=q.device).triu(1).type_as(q)\nscores = scores + mask"),
    ("zeros filled", T + "mask = torch.zeros(T, T).masked_fill(torch.ones(T, T).tril() == 0, float('-inf'))\nscores = scores + mask"),
    ("where", T + "visible = torch.tril(torch.ones(T, T, dtype=torch.bool))\nscores = torch.where(visible, scores, torch.finfo(scores.dtype).min)"),
    ("places", T + "i = torch.arange(T)\nscores = scores.masked_fill(i[:, None] < i[None, :], float('-inf'))"),
    ("four dimensions", T + "mask = torch.tril(torch.ones(T, T)).view(1, 1, T, T)\nscores = scores.masked_fill(mask == 0, float('-inf'))"),
    ("the size unpacked", "B, H, T, D = q.shape\nscores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool, device=q.device).tril(), float('-inf'))"),
]  # fmt: skip


@pytest.mark.parametrize("body", [one for _, one in CAUSAL], ids=[id for id, _ in CAUSAL])
def test_causal(body: str) -> None:
    offered(f(f"{DIV}{body}\n{END}"), [SELF])


def test_causal_of_one_input() -> None:
    """Where queries and keys are shown to be as many, no mask is made."""
    init = "self.qkv = nn.Linear(16, 48)\nself.out = nn.Linear(16, 16)"
    forward = """
B, T, C = x.shape
q, k, v = self.qkv(x).chunk(3, dim=-1)
q, k, v = (t.view(B, T, 4, 4).transpose(1, 2) for t in (q, k, v))
att = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(k.size(-1)))
att = att.masked_fill(torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1), float("-inf"))
y = att.softmax(dim=-1) @ v
return self.out(y.transpose(1, 2).reshape(B, T, C))
"""
    text = offered(m(init, forward, "x"), [X], "is_causal=True")
    (call,) = fused_calls(text)
    assert {one.arg for one in call.keywords} == {"is_causal"}


OFFSETS = [
    ("cached keys", "T, S = q.size(-2), k.size(-2)\nm = torch.ones(T, S, dtype=torch.bool).tril(S - T)\nscores = scores.masked_fill(~m, float('-inf'))"),
    ("cached keys, hidden", "i, j = scores.shape[-2:]\nhidden = torch.ones((i, j), dtype=torch.bool, device=q.device).triu(j - i + 1)\nscores = scores.masked_fill(hidden, -torch.finfo(scores.dtype).max)"),
    ("the upper left", "T, S = q.size(-2), k.size(-2)\nscores = scores.masked_fill(torch.tril(torch.ones(T, S)) == 0, -1e9)"),
    ("a window", "i, j = torch.arange(q.size(-2))[:, None], torch.arange(k.size(-2))\nm = (i >= j) & (i - j < 3)\nscores = scores.masked_fill(~m, float('-inf'))"),
    ("a band", "m = torch.ones(5, 7, dtype=torch.bool).tril(1).triu(-1)\nscores = scores.masked_fill(~m, float('-inf'))"),
    ("and padding", "T, S = q.size(-2), k.size(-2)\nm = torch.ones(T, S).tril().bool()\nscores = scores.masked_fill(~m, float('-inf'))\nscores = scores.masked_fill(torch.arange(S) > 5, float('-inf'))"),
    ("alibi", "slopes = torch.tensor([0.5, 0.25, 0.125, 0.0625], dtype=q.dtype).view(1, 4, 1, 1)\nplaces = torch.arange(k.size(-2))[None, :] - torch.arange(q.size(-2))[:, None]\nscores = scores + slopes * places.abs().neg()"),
]  # fmt: skip


@pytest.mark.parametrize("body", [one for _, one in OFFSETS], ids=[id for id, _ in OFFSETS])
def test_masks_that_are_made(body: str) -> None:
    assert "is_causal" not in offered(f(f"{DIV}{body}\n{END}"), [QKV], "attn_mask=")


OPTIONAL = [
    ("filled", "if mask is not None:\n    scores = scores.masked_fill(mask == 0, -1e9)", INT),
    ("filled in place", "if mask is not None:\n    scores.masked_fill_(~mask, float('-inf'))", KEEP),
    ("added", "if mask is not None:\n    scores = scores + mask", FLOAT_MASK),
    ("added in place", "if mask is not None:\n    scores += mask", FLOAT_MASK),
    ("prepared within", "if mask is not None:\n    mask = mask.unsqueeze(1).unsqueeze(2)\n    scores = scores.masked_fill(mask == 0, float('-inf'))", KEYS.long()),
    ("prepared in steps", "if mask is not None:\n    # one for all heads\n    mask = mask[:, None, None, :]\n    mask = mask.bool()\n    low = torch.finfo(scores.dtype).min\n    scores = scores.masked_fill(~mask, low)", KEYS.long()),
    ("and a causal one behind", "if mask is not None:\n    scores = scores.masked_fill(mask == 0, -1e9)\nscores = scores.masked_fill(torch.ones(q.size(-2), k.size(-2)).tril() == 0, float('-inf'))", INT),
    ("and a causal one before", "scores = scores.masked_fill(torch.ones(q.size(-2), k.size(-2)).tril() == 0, float('-inf'))\nif mask is not None:\n    scores = scores + mask", FLOAT_MASK),
    ("prepared before", "if mask is not None:\n    mask = mask[:, None, None, :]\nif mask is not None:\n    scores = scores.masked_fill(mask == 0, -1e9)", KEYS.long()),
]  # fmt: skip


@pytest.mark.parametrize(("body", "mask"), [one[1:] for one in OPTIONAL], ids=[one[0] for one in OPTIONAL])
def test_optional_masks(body: str, mask: torch.Tensor) -> None:
    offered(f(f"{DIV}{body}\n{END}", "q, k, v, mask=None"), [QKV, (*QKV, mask)], "attn_mask=")


S = "s = q @ k.mT / math.sqrt(q.size(-1))\n"
SOFTMAXES = [
    ("a function", "p = F.softmax(s, dim=-1)", 1e-9),
    ("the last of four", "B, H, L, D = q.shape\np = F.softmax(s, dim=3)", 1e-9),
    ("torch's", "p = torch.softmax(s, -1)", 1e-9),
    ("torch's, all keywords", "p = torch.softmax(input=s, dim=-1)", 1e-9),
    ("the whole name", "p = torch.nn.functional.softmax(s, dim=-1)", 1e-9),
    ("a layer on the way", "p = torch.nn.Softmax(dim=-1)(s)", 1e-9),
    ("by hand", "s = s - s.amax(-1, keepdim=True)\ne = s.exp()\np = e / e.sum(-1, keepdim=True)", 1e-9),
    ("by hand, the largest of a pair", "e = torch.exp(s - torch.max(s, dim=-1, keepdim=True)[0])\np = e / torch.sum(e, dim=-1, keepdim=True)", 1e-9),
    ("by hand, named values", "top = s.max(dim=-1, keepdim=True).values\ne = torch.exp(s - top)\np = e.div(e.sum(dim=-1, keepdim=True))", 1e-9),
    ("of the logarithm", "p = F.log_softmax(s, dim=-1).exp()", 1e-9),
    ("of the logarithm, a function", "p = torch.exp(s.log_softmax(-1))", 1e-9),
    ("in float32", "p = F.softmax(s, dim=-1, dtype=torch.float32).to(q.dtype)", 3e-5),
    ("in float32, as another", "p = F.softmax(s.float(), dim=-1).type_as(s)", 3e-5),
    ("in float32, to the values'", "p = s.to(torch.float32).softmax(-1).to(v.dtype)", 3e-5),
    ("in float32, as the tensor", "p = torch.softmax(s, -1, dtype=torch.float).to(q)", 3e-5),
]  # fmt: skip


@pytest.mark.parametrize(("body", "tolerance"), [one[1:] for one in SOFTMAXES], ids=[one[0] for one in SOFTMAXES])
def test_softmaxes(body: str, tolerance: float) -> None:
    text = offered(f(f"{S}{body}\nreturn p @ v"), [QKV], tolerance=tolerance)
    assert "softmax" not in text
    assert "exp" not in text


PLAIN = "a = (q @ k.transpose(-2, -1) * 8**-0.5).softmax(-1)\n"
DROPOUTS = [
    ("a layer", "self.drop = nn.Dropout(0.3)", "a = self.drop(a)\nreturn a @ v", "dropout_p=self.drop.p if self.training else 0.0"),
    ("a layer, inside", "self.attn_dropout = nn.Dropout(p=0.3)", "return self.attn_dropout(a) @ v", "dropout_p=self.attn_dropout.p if self.training else 0.0"),
    ("a function", "self.p = 0.3", "a = F.dropout(a, p=self.p, training=self.training)\nreturn a @ v", "dropout_p=self.p if self.training else 0.0"),
    ("a function, by place", "self.p = 0.3", "return torch.matmul(F.dropout(a, self.p, self.training), v)", "dropout_p=self.p if self.training else 0.0"),
    ("a number", "", "return nn.functional.dropout(a, 0.3, training=self.training) @ v", "dropout_p=0.3 if self.training else 0.0"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "body", "wanted"), [one[1:] for one in DROPOUTS], ids=[one[0] for one in DROPOUTS])
def test_dropouts(init: str, body: str, wanted: str) -> None:
    before = m(init, PLAIN + body)
    after = offered(before, [QKV], wanted)
    compare_draws(program(before, [QKV]), after)


# -- models as people write them


QKV_OUT = (
    "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)\nself.v = nn.Linear(16, 16)\nself.o = nn.Linear(16, 16)"
)

VIT = f"""{HEAD}{EINOPS}

class Attention(nn.Module):
    def __init__(self, dim, heads=8, dim_head=64, dropout=0.):
        super().__init__()
        inner_dim = dim_head * heads
        project_out = not (heads == 1 and dim_head == dim)

        self.heads = heads
        self.scale = dim_head ** -0.5

        self.norm = nn.LayerNorm(dim)

        self.attend = nn.Softmax(dim = -1)
        self.dropout = nn.Dropout(dropout)

        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias = False)

        self.to_out = nn.Sequential(
            nn.Linear(inner_dim, dim),
            nn.Dropout(dropout)
        ) if project_out else nn.Identity()

    def forward(self, x):
        x = self.norm(x)

        qkv = self.to_qkv(x).chunk(3, dim = -1)
        q, k, v = map(lambda t: rearrange(t, 'b n (h d) -> b h n d', h = self.heads), qkv)

        dots = torch.matmul(q, k.transpose(-1, -2)) * self.scale

        attn = self.attend(dots)
        attn = self.dropout(attn)

        out = torch.matmul(attn, v)
        out = rearrange(out, 'b h n d -> b n (h d)')
        return self.to_out(out)


def M():
    return Attention(16, heads=4, dim_head=8)
"""

CROSS = f"""{HEAD}{EINOPS}
from inspect import isfunction


def default(val, d):
    if val is not None:
        return val
    return d() if isfunction(d) else d


class M(nn.Module):
    def __init__(self, query_dim=16, context_dim=None, heads=4, dim_head=8, dropout=0.):
        super().__init__()
        inner_dim = dim_head * heads
        context_dim = default(context_dim, query_dim)

        self.scale = dim_head ** -0.5
        self.heads = heads

        self.to_q = nn.Linear(query_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim, inner_dim, bias=False)

        self.to_out = nn.Sequential(nn.Linear(inner_dim, query_dim), nn.Dropout(dropout))

    def forward(self, x, context=None, mask=None):
        h = self.heads

        q = self.to_q(x)
        context = default(context, x)
        k = self.to_k(context)
        v = self.to_v(context)

        q, k, v = map(lambda t: rearrange(t, 'b n (h d) -> (b h) n d', h=h), (q, k, v))

        sim = einsum('b i d, b j d -> b i j', q, k) * self.scale

        if mask is not None:
            mask = rearrange(mask, 'b ... -> b (...)')
            max_neg_value = -torch.finfo(sim.dtype).max
            mask = repeat(mask, 'b j -> (b h) () j', h=h)
            sim.masked_fill_(~mask, max_neg_value)

        # attention, what we cannot get enough of
        attn = sim.softmax(dim=-1)

        out = einsum('b i j, b j d -> b i d', attn, v)
        out = rearrange(out, '(b h) n d -> b n (h d)', h=h)
        return self.to_out(out)
"""

NANO = f"""{HEAD}from torch import nn


class CausalSelfAttention(nn.Module):
    def __init__(self, n_embd, n_head, block_size, dropout, bias=False):
        super().__init__()
        assert n_embd % n_head == 0
        # key, query, value projections for all heads, but in a batch
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        # output projection
        self.c_proj = nn.Linear(n_embd, n_embd, bias=bias)
        # regularization
        self.attn_dropout = nn.Dropout(dropout)
        self.resid_dropout = nn.Dropout(dropout)
        self.n_head = n_head
        self.n_embd = n_embd
        # causal mask to ensure that attention is only applied to the left in the input sequence
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x):
        B, T, C = x.size()  # batch size, sequence length, embedding dimensionality (n_embd)

        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)

        # causal self-attention; Self-attend: (B, nh, T, hs) x (B, nh, hs, T) -> (B, nh, T, T)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        att = self.attn_dropout(att)
        y = att @ v  # (B, nh, T, T) x (B, nh, T, hs) -> (B, nh, T, hs)
        y = y.transpose(1, 2).contiguous().view(B, T, C)  # re-assemble all head outputs side by side

        # output projection
        y = self.resid_dropout(self.c_proj(y))
        return y


def M():
    return CausalSelfAttention(16, 4, 32, 0.0)
"""

HEAD_CLASS = f"""{HEAD}from torch import nn

block_size = 8
n_embd = 16
dropout = 0.0


class M(nn.Module):
    \"\"\"one head of self-attention\"\"\"

    def __init__(self, head_size=8):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        B, T, C = x.shape
        k = self.key(x)  # (B,T,C)
        q = self.query(x)  # (B,T,C)
        # compute attention scores ("affinities")
        wei = q @ k.transpose(-2, -1) * C**-0.5  # (B, T, C) @ (B, C, T) -> (B, T, T)
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))  # (B, T, T)
        wei = F.softmax(wei, dim=-1)  # (B, T, T)
        wei = self.dropout(wei)
        # perform the weighted aggregation of the values
        v = self.value(x)  # (B,T,C)
        out = wei @ v  # (B, T, T) @ (B, T, C) -> (B, T, C)
        return out
"""

SCRATCH = f"""{HEAD}from torch import nn


class MultiHeadAttention(nn.Module):
    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        assert d_out % num_heads == 0, "d_out must be divisible by num_heads"

        self.d_out = d_out
        self.num_heads = num_heads
        self.head_dim = d_out // num_heads  # Reduce the projection dim to match desired output dim

        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)  # Linear layer to combine head outputs
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mask", torch.triu(torch.ones(context_length, context_length), diagonal=1))

    def forward(self, x):
        b, num_tokens, d_in = x.shape

        keys = self.W_key(x)  # Shape: (b, num_tokens, d_out)
        queries = self.W_query(x)
        values = self.W_value(x)

        # We implicitly split the matrix by adding a `num_heads` dimension
        keys = keys.view(b, num_tokens, self.num_heads, self.head_dim)
        values = values.view(b, num_tokens, self.num_heads, self.head_dim)
        queries = queries.view(b, num_tokens, self.num_heads, self.head_dim)

        # Transpose: (b, num_tokens, num_heads, head_dim) -> (b, num_heads, num_tokens, head_dim)
        keys = keys.transpose(1, 2)
        queries = queries.transpose(1, 2)
        values = values.transpose(1, 2)

        # Compute scaled dot-product attention (aka self-attention) with a causal mask
        attn_scores = queries @ keys.transpose(2, 3)  # Dot product for each head

        # Original mask truncated to the number of tokens and converted to boolean
        mask_bool = self.mask.bool()[:num_tokens, :num_tokens]

        # Use the mask to fill attention scores
        attn_scores.masked_fill_(mask_bool, -torch.inf)

        attn_weights = torch.softmax(attn_scores / keys.shape[-1] ** 0.5, dim=-1)
        attn_weights = self.dropout(attn_weights)

        # Shape: (b, num_tokens, num_heads, head_dim)
        context_vec = (attn_weights @ values).transpose(1, 2)

        # Combine heads, where self.d_out = self.num_heads * self.head_dim
        context_vec = context_vec.contiguous().view(b, num_tokens, self.d_out)
        context_vec = self.out_proj(context_vec)  # optional projection

        return context_vec


def M():
    return MultiHeadAttention(16, 16, 8, 0.0, 4)
"""

ANNOTATED = f"""{HEAD}from torch import nn


def attention(query, key, value, mask=None, dropout=None):
    "Compute 'Scaled Dot Product Attention'"
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    return torch.matmul(p_attn, value)


class M(nn.Module):
    def __init__(self, h=4, d_model=16):
        super().__init__()
        self.d_k = d_model // h
        self.h = h
        self.linears = nn.ModuleList([nn.Linear(d_model, d_model) for _ in range(4)])

    def forward(self, x, mask=None):
        if mask is not None:
            # Same mask applied to all h heads.
            mask = mask.unsqueeze(1)
        nbatches = x.size(0)
        query, key, value = [
            lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2) for lin in self.linears[:3]
        ]
        x = attention(query, key, value, mask=mask)
        x = x.transpose(1, 2).contiguous().view(nbatches, -1, self.h * self.d_k)
        return self.linears[-1](x)
"""

COMPVIS = f"""{HEAD}from torch import nn


def Normalize(in_channels):
    return torch.nn.GroupNorm(num_groups=4, num_channels=in_channels, eps=1e-6, affine=True)


class AttnBlock(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.in_channels = in_channels

        self.norm = Normalize(in_channels)
        self.q = torch.nn.Conv2d(in_channels, in_channels, kernel_size=1, stride=1, padding=0)
        self.k = torch.nn.Conv2d(in_channels, in_channels, kernel_size=1, stride=1, padding=0)
        self.v = torch.nn.Conv2d(in_channels, in_channels, kernel_size=1, stride=1, padding=0)
        self.proj_out = torch.nn.Conv2d(in_channels, in_channels, kernel_size=1, stride=1, padding=0)

    def forward(self, x):
        h_ = x
        h_ = self.norm(h_)
        q = self.q(h_)
        k = self.k(h_)
        v = self.v(h_)

        # compute attention
        b, c, h, w = q.shape
        q = q.reshape(b, c, h * w)
        q = q.permute(0, 2, 1)  # b,hw,c
        k = k.reshape(b, c, h * w)  # b,c,hw
        w_ = torch.bmm(q, k)  # b,hw,hw    w[b,i,j]=sum_c q[b,i,c]k[b,c,j]
        w_ = w_ * (int(c) ** (-0.5))
        w_ = torch.nn.functional.softmax(w_, dim=2)

        # attend to values
        v = v.reshape(b, c, h * w)
        w_ = w_.permute(0, 2, 1)  # b,hw,hw (first hw of k, second of q)
        h_ = torch.bmm(v, w_)  # b, c,hw (hw of q) h_[b,c,j] = sum_i v[b,c,i] w_[b,i,j]
        h_ = h_.reshape(b, c, h, w)

        h_ = self.proj_out(h_)

        return x + h_


def M():
    return AttnBlock(8)
"""

DIT = m(
    "dim, num_heads = 16, 4\nself.num_heads = num_heads\nself.head_dim = dim // num_heads\nself.scale = self.head_dim ** -0.5\nself.qkv = nn.Linear(dim, dim * 3, bias=True)\nself.attn_drop = nn.Dropout(0.0)\nself.proj = nn.Linear(dim, dim)",
    "B, N, C = x.shape\nqkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)\nq, k, v = qkv.unbind(0)\nq = q * self.scale\nattn = q @ k.transpose(-2, -1)\nattn = attn.softmax(dim=-1)\nattn = self.attn_drop(attn)\nx = attn @ v\nx = x.transpose(1, 2).reshape(B, N, C)\nreturn self.proj(x)",
    "x",
)

DINO = DIT.replace("q, k, v = qkv.unbind(0)\n        q = q * self.scale", "q, k, v = qkv[0], qkv[1], qkv[2]").replace(
    "attn = q @ k.transpose(-2, -1)\n", "attn = (q @ k.transpose(-2, -1)) * self.scale\n"
)

SWIN = f"""{HEAD}from torch import nn


class WindowAttention(nn.Module):
    def __init__(self, dim, window_size, num_heads, qkv_bias=True, qk_scale=None, attn_drop=0., proj_drop=0.):
        super().__init__()
        self.dim = dim
        self.window_size = window_size  # Wh, Ww
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.scale = qk_scale or head_dim ** -0.5

        # define a parameter table of relative position bias
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size[0] - 1) * (2 * window_size[1] - 1), num_heads)
        )  # 2*Wh-1 * 2*Ww-1, nH

        # get pair-wise relative position index for each token inside the window
        coords_h = torch.arange(self.window_size[0])
        coords_w = torch.arange(self.window_size[1])
        coords = torch.stack(torch.meshgrid([coords_h, coords_w], indexing="ij"))  # 2, Wh, Ww
        coords_flatten = torch.flatten(coords, 1)  # 2, Wh*Ww
        relative_coords = coords_flatten[:, :, None] - coords_flatten[:, None, :]  # 2, Wh*Ww, Wh*Ww
        relative_coords = relative_coords.permute(1, 2, 0).contiguous()  # Wh*Ww, Wh*Ww, 2
        relative_coords[:, :, 0] += self.window_size[0] - 1  # shift to start from 0
        relative_coords[:, :, 1] += self.window_size[1] - 1
        relative_coords[:, :, 0] *= 2 * self.window_size[1] - 1
        relative_position_index = relative_coords.sum(-1)  # Wh*Ww, Wh*Ww
        self.register_buffer("relative_position_index", relative_position_index)

        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x):
        B_, N, C = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # make torchscript happy (cannot use tensor as tuple)

        q = q * self.scale
        attn = q @ k.transpose(-2, -1)

        relative_position_bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(
            self.window_size[0] * self.window_size[1], self.window_size[0] * self.window_size[1], -1
        )  # Wh*Ww,Wh*Ww,nH
        relative_position_bias = relative_position_bias.permute(2, 0, 1).contiguous()  # nH, Wh*Ww, Wh*Ww
        attn = attn + relative_position_bias.unsqueeze(0)

        attn = self.softmax(attn)

        attn = self.attn_drop(attn)

        x = (attn @ v).transpose(1, 2).reshape(B_, N, C)
        return self.proj(x)


def M():
    return WindowAttention(16, (2, 3), 4)
"""

SWIN_V2 = m(
    "self.num_heads = 4\nself.logit_scale = nn.Parameter(torch.log(10 * torch.ones((4, 1, 1))), requires_grad=True)\nself.qkv = nn.Linear(16, 48, bias=False)\nself.bias = nn.Parameter(torch.zeros(1, 4, 5, 5))\nself.softmax = nn.Softmax(dim=-1)\nself.attn_drop = nn.Dropout(0.0)\nself.proj = nn.Linear(16, 16)",
    "B_, N, C = x.shape\nqkv = self.qkv(x)\nqkv = qkv.reshape(B_, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)\nq, k, v = qkv[0], qkv[1], qkv[2]\n\n# cosine attention\nattn = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)\nlogit_scale = torch.clamp(self.logit_scale, max=math.log(1. / 0.01)).exp()\nattn = attn * logit_scale\n\nattn = attn + self.bias\nattn = self.softmax(attn)\n\nattn = self.attn_drop(attn)\n\nx = (attn @ v).transpose(1, 2).reshape(B_, N, C)\nx = self.proj(x)\nreturn x",
    "x",
)

T5 = m(
    QKV_OUT + "\nself.relative_attention_bias = nn.Embedding(32, 4)",
    "b, n = x.shape[:2]\n\ndef shape(states):\n    return states.view(b, -1, 4, 4).transpose(1, 2)\n\nq, k, v = shape(self.q(x)), shape(self.k(x)), shape(self.v(x))\nplaces = torch.arange(n)[None, :] - torch.arange(n)[:, None] + 16\nposition_bias = self.relative_attention_bias(places).permute(2, 0, 1).unsqueeze(0)\nscores = torch.matmul(q, k.transpose(3, 2))  # no scale: it is in the weights\nscores += position_bias\nattn_weights = F.softmax(scores.float(), dim=-1).type_as(scores)\nattn_output = torch.matmul(attn_weights, v)\nreturn self.o(attn_output.transpose(1, 2).contiguous().view(b, -1, 16))",
    "x",
)

BLOOM = m(
    "self.inv_norm_factor = 1.0 / math.sqrt(8)\nself.beta = 1.0",
    "batch_heads, q_length, _ = query_layer.shape\nmatmul_result = alibi.baddbmm(batch1=query_layer, batch2=key_layer, beta=self.beta, alpha=self.inv_norm_factor)\nattention_probs = F.softmax(matmul_result, dim=-1, dtype=torch.float32).to(query_layer.dtype)\ncontext_layer = torch.bmm(attention_probs, value_layer)\nreturn context_layer",
    "query_layer, key_layer, value_layer, alibi",
)

GPT2 = m(
    'self.register_buffer("bias", torch.tril(torch.ones((32, 32), dtype=torch.bool)).view(1, 1, 32, 32), persistent=False)\nself.attn_dropout = nn.Dropout(0.0)',
    "attn_weights = torch.matmul(query, key.transpose(-1, -2))\nattn_weights = attn_weights / torch.full([], value.size(-1) ** 0.5, dtype=attn_weights.dtype, device=attn_weights.device)\n\nquery_length, key_length = query.size(-2), key.size(-2)\ncausal_mask = self.bias[:, :, key_length - query_length : key_length, :key_length]\nmask_value = torch.finfo(attn_weights.dtype).min\n# Need to be a tensor, otherwise we get error.\nmask_value = torch.full([], mask_value, dtype=attn_weights.dtype, device=attn_weights.device)\nattn_weights = torch.where(causal_mask, attn_weights.to(attn_weights.dtype), mask_value)\n\nif attention_mask is not None:\n    # Apply the attention mask\n    attn_weights = attn_weights + attention_mask\n\nattn_weights = nn.functional.softmax(attn_weights, dim=-1)\n\n# Downcast (if necessary) back to V's dtype\nattn_weights = attn_weights.type(value.dtype)\nattn_weights = self.attn_dropout(attn_weights)\n\nattn_output = torch.matmul(attn_weights, value)\nreturn attn_output",
    "query, key, value, attention_mask=None",
)

GUIDED = m(
    "self.n_heads = 2",
    'bs, width, length = qkv.shape\nassert width % (3 * self.n_heads) == 0\nch = width // (3 * self.n_heads)\nq, k, v = qkv.reshape(bs * self.n_heads, ch * 3, length).split(ch, dim=1)\nscale = 1 / math.sqrt(math.sqrt(ch))\nweight = torch.einsum(\n    "bct,bcs->bts", q * scale, k * scale\n)  # More stable with f16 than dividing afterwards\nweight = torch.softmax(weight.float(), dim=-1).type(weight.dtype)\na = torch.einsum("bts,bcs->bct", weight, v)\nreturn a.reshape(bs, -1, length)',
    "qkv",
)

DENOISING = f"""{HEAD}{EINOPS}

class M(nn.Module):
    def __init__(self, dim=8, heads=2, dim_head=4):
        super().__init__()
        self.scale = dim_head ** -0.5
        self.heads = heads
        hidden_dim = dim_head * heads
        self.to_qkv = nn.Conv2d(dim, hidden_dim * 3, 1, bias=False)
        self.to_out = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        qkv = self.to_qkv(x).chunk(3, dim=1)
        q, k, v = map(lambda t: rearrange(t, 'b (h c) x y -> b h c (x y)', h=self.heads), qkv)

        q = q * self.scale

        sim = einsum('b h d i, b h d j -> b h i j', q, k)
        attn = sim.softmax(dim=-1)
        out = einsum('b h i j, b h d j -> b h i d', attn, v)

        out = rearrange(out, 'b h (x y) d -> b (h d) x y', x=h, y=w)
        return self.to_out(out)
"""

BERT = m(
    "self.num_attention_heads = 4\nself.attention_head_size = 4\nself.all_head_size = 16\nself.query = nn.Linear(16, 16)\nself.key = nn.Linear(16, 16)\nself.value = nn.Linear(16, 16)\nself.dropout = nn.Dropout(0.0)",
    'query_layer = self.transpose_for_scores(self.query(hidden_states))\nkey_layer = self.transpose_for_scores(self.key(hidden_states))\nvalue_layer = self.transpose_for_scores(self.value(hidden_states))\n\n# Take the dot product between "query" and "key" to get the raw attention scores.\nattention_scores = torch.matmul(query_layer, key_layer.transpose(-1, -2))\nattention_scores = attention_scores / math.sqrt(self.attention_head_size)\n# Apply the attention mask\nattention_scores = attention_scores + attention_mask\n\n# Normalize the attention scores to probabilities.\nattention_probs = nn.Softmax(dim=-1)(attention_scores)\n\n# This is actually dropping out entire tokens to attend to\nattention_probs = self.dropout(attention_probs)\n\ncontext_layer = torch.matmul(attention_probs, value_layer)\n\ncontext_layer = context_layer.permute(0, 2, 1, 3).contiguous()\nnew_context_layer_shape = context_layer.size()[:-2] + (self.all_head_size,)\ncontext_layer = context_layer.view(*new_context_layer_shape)\nreturn context_layer',
    "hidden_states, attention_mask",
).replace(
    "    def forward(",
    "    def transpose_for_scores(self, x):\n        new_x_shape = x.size()[:-1] + (self.num_attention_heads, self.attention_head_size)\n        x = x.view(*new_x_shape)\n        return x.permute(0, 2, 1, 3)\n\n    def forward(",
)

SAGAN = m(
    "self.query_conv = nn.Conv2d(8, 4, 1)\nself.key_conv = nn.Conv2d(8, 4, 1)\nself.value_conv = nn.Conv2d(8, 8, 1)\nself.gamma = nn.Parameter(torch.zeros(1))\nself.softmax = nn.Softmax(dim=-1)",
    "m_batchsize, C, width, height = x.size()\nproj_query = self.query_conv(x).view(m_batchsize, -1, width * height).permute(0, 2, 1)  # B X N X C\nproj_key = self.key_conv(x).view(m_batchsize, -1, width * height)  # B X C X N\nenergy = torch.bmm(proj_query, proj_key)  # transpose check\nattention = self.softmax(energy)  # B X N X N\nproj_value = self.value_conv(x).view(m_batchsize, -1, width * height)  # B X C X N\n\nout = torch.bmm(proj_value, attention.permute(0, 2, 1))\nout = out.view(m_batchsize, C, width, height)\n\nout = self.gamma * out + x\nreturn out",
    "x",
)

NON_LOCAL = m(
    "self.inter_channels = 4\nself.theta = nn.Conv2d(8, 4, 1)\nself.phi = nn.Conv2d(8, 4, 1)\nself.g = nn.Conv2d(8, 4, 1)\nself.W = nn.Conv2d(4, 8, 1)",
    "batch_size = x.size(0)\n\ng_x = self.g(x).view(batch_size, self.inter_channels, -1)\ng_x = g_x.permute(0, 2, 1)\n\ntheta_x = self.theta(x).view(batch_size, self.inter_channels, -1)\ntheta_x = theta_x.permute(0, 2, 1)\nphi_x = self.phi(x).view(batch_size, self.inter_channels, -1)\nf = torch.matmul(theta_x, phi_x)\nf_div_C = F.softmax(f, dim=-1)\n\ny = torch.matmul(f_div_C, g_x)\ny = y.permute(0, 2, 1).contiguous()\ny = y.view(batch_size, self.inter_channels, *x.size()[2:])\nW_y = self.W(y)\nz = W_y + x\nreturn z",
    "x",
)

LLAMA = f"""{HEAD}from torch import nn


def repeat_kv(x: torch.Tensor, n_rep: int) -> torch.Tensor:
    bs, slen, n_kv_heads, head_dim = x.shape
    if n_rep == 1:
        return x
    return (
        x[:, :, :, None, :]
        .expand(bs, slen, n_kv_heads, n_rep, head_dim)
        .reshape(bs, slen, n_kv_heads * n_rep, head_dim)
    )


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.n_local_heads = 4
        self.n_local_kv_heads = 2
        self.n_rep = self.n_local_heads // self.n_local_kv_heads
        self.head_dim = 4
        self.wq = nn.Linear(16, 16, bias=False)
        self.wk = nn.Linear(16, 8, bias=False)
        self.wv = nn.Linear(16, 8, bias=False)
        self.wo = nn.Linear(16, 16, bias=False)

    def forward(self, x, mask=None):
        bsz, seqlen, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)

        xq = xq.view(bsz, seqlen, self.n_local_heads, self.head_dim)
        xk = xk.view(bsz, seqlen, self.n_local_kv_heads, self.head_dim)
        xv = xv.view(bsz, seqlen, self.n_local_kv_heads, self.head_dim)

        # repeat k/v heads if n_kv_heads < n_heads
        keys = repeat_kv(xk, self.n_rep)  # (bs, seqlen, n_local_heads, head_dim)
        values = repeat_kv(xv, self.n_rep)  # (bs, seqlen, n_local_heads, head_dim)

        xq = xq.transpose(1, 2)  # (bs, n_local_heads, seqlen, head_dim)
        keys = keys.transpose(1, 2)
        values = values.transpose(1, 2)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.head_dim)
        if mask is not None:
            scores = scores + mask
        scores = F.softmax(scores.float(), dim=-1).type_as(xq)
        output = torch.matmul(scores, values)
        output = output.transpose(1, 2).contiguous().view(bsz, seqlen, -1)
        return self.wo(output)
"""

MULTI_QUERY = m(
    "self.heads = 4\nself.scale = 4 ** -0.5\nself.to_q = nn.Linear(16, 16, bias=False)\nself.to_kv = nn.Linear(16, 2 * 4, bias=False)\nself.to_out = nn.Linear(16, 16, bias=False)",
    "b, n, _ = x.shape\nq = self.to_q(x).view(b, n, self.heads, 4).transpose(1, 2)\nk, v = self.to_kv(x).chunk(2, dim=-1)\nk, v = k.unsqueeze(1), v.unsqueeze(1)\nsim = (q @ k.transpose(-1, -2)) * self.scale\nattn = sim.softmax(dim=-1)\nout = attn @ v\nreturn self.to_out(out.transpose(1, 2).reshape(b, n, -1))",
    "x",
)

WHISPER = m(
    "self.n_head = 4\nself.query = nn.Linear(16, 16)\nself.key = nn.Linear(16, 16, bias=False)\nself.value = nn.Linear(16, 16)\nself.out = nn.Linear(16, 16)",
    "q, k, v = self.query(x), self.key(x), self.value(x)\nn_batch, n_ctx, n_state = q.shape\nscale = (n_state // self.n_head) ** -0.25\nq = q.view(*q.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) * scale\nk = k.view(*k.shape[:2], self.n_head, -1).permute(0, 2, 3, 1) * scale\nv = v.view(*v.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)\n\nqk = q @ k\nif mask is not None:\n    qk = qk + mask[:n_ctx, :n_ctx]\nqk = qk.float()\n\nw = F.softmax(qk, dim=-1).to(q.dtype)\nreturn self.out((w @ v).permute(0, 2, 1, 3).flatten(start_dim=2))",
    "x, mask=None",
)

PERCEIVER = f"""{HEAD}{EINOPS}

class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = 2
        self.to_q = nn.Linear(16, 16, bias=False)
        self.to_kv = nn.Linear(16, 32, bias=False)
        self.to_out = nn.Linear(16, 16)

    def forward(self, x, context, mask):
        h = self.heads
        q = self.to_q(x)
        k, v = self.to_kv(context).chunk(2, dim=-1)
        q, k, v = map(lambda t: rearrange(t, 'b n (h d) -> b h n d', h=h), (q, k, v))
        q = q * (q.shape[-1] ** -0.5)
        sim = torch.einsum('b h i d, b h j d -> b h i j', q, k)
        mask = rearrange(mask, 'b j -> b 1 1 j')
        sim = sim.masked_fill(~mask, -torch.finfo(sim.dtype).max)
        attn = sim.softmax(dim=-1)
        out = torch.einsum('b h i j, b h j d -> b h i d', attn, v)
        return self.to_out(rearrange(out, 'b h n d -> b n (h d)'))
"""

MEGATRON = f"""{HEAD}from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden_size_per_partition = 32
        self.norm_factor = math.sqrt(8)
        self.attention_dropout = nn.Dropout(0.0)

    def forward(self, query_layer, key_layer, value_layer, attention_mask):
        # [b, np, sq, sk]
        output_size = (query_layer.size(1), query_layer.size(2), query_layer.size(0), key_layer.size(0))

        # [sq, b, np, hn] -> [b, np, sq, hn]
        query_layer = query_layer.permute(1, 2, 0, 3)
        key_layer = key_layer.permute(1, 2, 0, 3)
        value_layer = value_layer.permute(1, 2, 0, 3)

        attention_scores = torch.matmul(query_layer, key_layer.transpose(-1, -2)) / self.norm_factor
        attention_scores = attention_scores.masked_fill(attention_mask, -10000.0)
        attention_probs = F.softmax(attention_scores, dim=-1)
        attention_probs = self.attention_dropout(attention_probs)

        context_layer = torch.matmul(attention_probs, value_layer)
        context_layer = context_layer.permute(2, 0, 1, 3).contiguous()
        return context_layer.view(context_layer.size(0), context_layer.size(1), self.hidden_size_per_partition)
"""

ALIBI = m(
    QKV_OUT
    + '\nslopes = torch.tensor([2.0 ** (-8 * (i + 1) / 4) for i in range(4)])\nself.register_buffer("slopes", slopes.view(4, 1, 1), persistent=False)',
    "b, n, d = x.shape\nq, k, v = (layer(x).view(b, n, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))\nbias = torch.arange(n, device=x.device)[None, :] - torch.arange(n, device=x.device)[:, None]\nscores = q @ k.transpose(-2, -1) / 4 ** 0.5 + self.slopes * bias\ncausal = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)\nscores = scores.masked_fill(causal, float('-inf'))\ny = (F.softmax(scores, -1) @ v).transpose(1, 2).contiguous().view(b, n, d)\nreturn self.o(y)",
    "x",
)

CACHE = m(
    QKV_OUT,
    "b, n, d = x.shape\nq, k, v = (layer(x).view(b, n, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))\nk = torch.cat([past_k, k], dim=2)\nv = torch.cat([past_v, v], dim=2)\ntotal = k.size(2)\nmask = torch.ones(n, total, dtype=torch.bool, device=x.device).tril(diagonal=total - n)\natt = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))\natt = att.masked_fill(~mask, float('-inf'))\ny = F.softmax(att, dim=-1) @ v\nreturn self.o(y.transpose(1, 2).reshape(b, n, d)), (k, v)",
    "x, past_k, past_v",
)

LSA = f"""{HEAD}{EINOPS}

class M(nn.Module):
    def __init__(self, dim=16, heads=2, dim_head=8, dropout=0.):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.log(torch.tensor(dim_head ** -0.5)))
        self.attend = nn.Softmax(dim=-1)
        self.dropout = nn.Dropout(dropout)
        self.to_qkv = nn.Linear(dim, dim_head * heads * 3, bias=False)

    def forward(self, x):
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = map(lambda t: rearrange(t, 'b n (h d) -> b h n d', h=self.heads), qkv)

        dots = torch.matmul(q, k.transpose(-1, -2)) * self.temperature.exp()

        mask = torch.eye(dots.shape[-1], device=dots.device, dtype=torch.bool)
        mask_value = -torch.finfo(dots.dtype).max
        dots = dots.masked_fill(mask, mask_value)

        attn = self.attend(dots)
        attn = self.dropout(attn)

        out = torch.matmul(attn, v)
        return rearrange(out, 'b h n d -> b n (h d)')
"""

POOLING = m(
    "self.query = nn.Parameter(torch.randn(1, 3, 16))\nself.key = nn.Linear(16, 16)\nself.value = nn.Linear(16, 16)",
    "k, v = self.key(x), self.value(x)\nq = self.query.expand(x.size(0), -1, -1)\nweights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(16), dim=-1)\nreturn torch.bmm(weights, v).mean(dim=1)",
    "x",
)

GRAPH = m(
    "self.lin = nn.Linear(16, 16)",
    "h = self.lin(x)\nscore = torch.matmul(h, x.transpose(1, 2)).masked_fill(adjacency == 0, -9e15)\nreturn F.relu(torch.matmul(F.softmax(score, dim=-1), x))",
    "x, adjacency",
)

TUTORIAL = f"""{HEAD}from torch import nn


def scaled_dot_product(q, k, v, mask=None):
    d_k = q.size()[-1]
    attn_logits = torch.matmul(q, k.transpose(-2, -1))
    attn_logits = attn_logits / math.sqrt(d_k)
    if mask is not None:
        attn_logits = attn_logits.masked_fill(mask == 0, -9e15)
    attention = F.softmax(attn_logits, dim=-1)
    values = torch.matmul(attention, v)
    return values


def f(x, mask):
    return scaled_dot_product(x, x, x, mask)
"""

SCALED_MODULE = m(
    "self.temperature = 8 ** 0.5\nself.dropout = nn.Dropout(0.0)",
    "attn = torch.matmul(q / self.temperature, k.transpose(2, 3))\n\nif mask is not None:\n    attn = attn.masked_fill(mask == 0, -1e9)\n\nattn = self.dropout(F.softmax(attn, dim=-1))\noutput = torch.matmul(attn, v)\n\nreturn output",
    "q, k, v, mask=None",
)

GPT_J = m(
    'self.scale_attn = torch.sqrt(torch.tensor(8, dtype=torch.float32))\nself.register_buffer("masked_bias", torch.tensor(-1e9), persistent=False)',
    "attn_weights = torch.matmul(query, key.transpose(-1, -2))\nattn_weights = attn_weights / self.scale_attn\nattn_weights = nn.functional.softmax(attn_weights, dim=-1)\nattn_weights = attn_weights.to(value.dtype)\nreturn torch.matmul(attn_weights, value)",
    "query, key, value",
)

SAM = m(
    "self.num_heads = 4\nself.scale = 4 ** -0.5\nself.qkv = nn.Linear(16, 48)\nself.proj = nn.Linear(16, 16)",
    "B, H, W, _ = x.shape\n# qkv with shape (3, B, nHead, H * W, C)\nqkv = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)\n# q, k, v with shape (B * nHead, H * W, C)\nq, k, v = qkv.reshape(3, B * self.num_heads, H * W, -1).unbind(0)\n\nattn = (q * self.scale) @ k.transpose(-2, -1)\n\nattn = attn.softmax(dim=-1)\nx = (attn @ v).view(B, self.num_heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, -1)\nx = self.proj(x)\n\nreturn x",
    "x",
)

MODELS = [
    ("vit-pytorch", VIT, [X], "dropout_p=self.dropout.p if self.training else 0.0", 1e-9),
    ("stable diffusion's cross attention", CROSS, [X, (*X, (2, 7, 16)), (*X, (2, 7, 16), KEYS)], "attn_mask=", 1e-9),
    ("nanoGPT", NANO, [X], "is_causal=True", 1e-9),
    ("a head of the lecture", HEAD_CLASS, [X], "is_causal=True", 1e-9),
    ("LLMs from scratch", SCRATCH, [X], "is_causal=True", 1e-9),
    ("the Annotated Transformer", ANNOTATED, [X, (*X, flags(2, 1, 5).long())], "attn_mask=", 1e-9),
    ("an AttnBlock", COMPVIS, [((2, 8, 3, 2),)], "", 1e-9),
    ("DiT", DIT, [X], "dropout_p=self.attn_drop.p if self.training else 0.0", 1e-9),
    ("DINO", DINO, [X], "dropout_p=", 1e-9),
    ("Swin", SWIN, [((2, 6, 16),)], "attn_mask=", 1e-9),
    ("Swin v2", SWIN_V2, [X], "scale=1.0", 1e-8),
    ("T5", T5, [X], "scale=1.0", 3e-5),
    ("BLOOM", BLOOM, [((6, 5, 8), (6, 8, 7), (6, 7, 8), (6, 1, 7))], "attn_mask=", 3e-5),
    ("GPT-2", GPT2, [SELF, QKV, (*SELF, torch.zeros(2, 1, 1, 5, dtype=torch.float64).masked_fill(~OWN[:, None, None], -1e4))], "attn_mask=", 1e-9),
    ("guided diffusion", GUIDED, [((2, 24, 5),)], "", 3e-5),
    ("denoising diffusion", DENOISING, [((2, 8, 3, 2),)], "", 1e-9),
    ("BERT", BERT, [(*X, torch.zeros(2, 1, 1, 5, dtype=torch.float64).masked_fill(~OWN[:, None, None], -1e4))], "attn_mask=", 1e-9),
    ("SAGAN", SAGAN, [((2, 8, 3, 2),)], "scale=1.0", 1e-9),
    ("a non-local block", NON_LOCAL, [((2, 8, 3, 2),)], "scale=1.0", 1e-9),
    ("Llama", LLAMA, [X, (*X, torch.full((5, 5), LOW, dtype=torch.float64).triu(1))], "attn_mask=", 3e-5),
    ("one head of keys", MULTI_QUERY, [X], "", 1e-9),
    ("Whisper", WHISPER, [X, (*X, torch.full((9, 9), LOW, dtype=torch.float64).triu(1))], "attn_mask=", 3e-5),
    ("Perceiver", PERCEIVER, [(*X, (2, 7, 16), KEYS)], "attn_mask=", 1e-9),
    ("Megatron", MEGATRON, [((5, 2, 4, 8), (7, 2, 4, 8), (7, 2, 4, 8), ~KEEP)], "attn_mask=", 1e-9),
    ("ALiBi", ALIBI, [X], "attn_mask=", 1e-6),
    ("a cache", CACHE, [(*X, (2, 4, 3, 4), (2, 4, 3, 4))], "attn_mask=", 1e-9),
    ("locality self-attention", LSA, [X], "scale=1.0", 1e-9),
    ("pooling", POOLING, [X], "", 1e-9),
    ("a graph", GRAPH, [(*X, flags(2, 5, 5).long())], "attn_mask=", 1e-9),
    ("a tutorial", TUTORIAL, [((2, 4, 5, 8), flags(2, 1, 5, 5).long())], "attn_mask=", 1e-9),
    ("a module of its own", SCALED_MODULE, [QKV, (*QKV, INT)], "attn_mask=", 1e-9),
    ("segment anything", SAM, [((2, 3, 2, 16),)], "", 1e-9),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "given", "wanted", "tolerance"), [one[1:] for one in MODELS], ids=[one[0] for one in MODELS]
)
def test_models(text: str, given: Sequence[Call], wanted: str, tolerance: float) -> None:
    after = offered(text, given, wanted, tolerance, layout=True)
    assert "is_causal" not in after or "attn_mask" not in after


def test_a_persistent_buffer_stays() -> None:
    """Old checkpoints hold it, and load strictly."""
    assert "register_buffer" in offered(NANO, [X])
    assert "register_buffer" in offered(SCRATCH, [X])


def test_weights_returned_by_the_tutorial() -> None:
    text = TUTORIAL.replace("return values", "return values, attention")
    assert not found(text)


# -- with the other fusions


SIBLINGS = [
    ("three projections", QKV_OUT, "b, n, d = x.shape\nq = self.q(x).view(b, n, 4, 4).transpose(1, 2)\nk = self.k(x).view(b, n, 4, 4).transpose(1, 2)\nv = self.v(x).view(b, n, 4, 4).transpose(1, 2)\na = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)), dim=-1)\ny = (a @ v).transpose(1, 2).reshape(b, n, d)\nreturn torch.relu(self.o(y))"),
    ("three projections in a tuple", QKV_OUT, "b, n, d = x.shape\nq, k, v = self.q(x), self.k(x), self.v(x)\ns = torch.bmm(q, k.transpose(1, 2)) * 16 ** -0.5\ns = s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1), float('-inf'))\nreturn torch.relu(self.o(torch.bmm(s.softmax(-1), v)))"),
    ("inside of the products", QKV_OUT, "a = torch.softmax(self.q(x) @ self.k(x).mT * 0.25, dim=-1)\nreturn torch.relu(self.o(a @ self.v(x)))"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in SIBLINGS], ids=[one[0] for one in SIBLINGS])
def test_siblings_in_either_order(init: str, forward: str) -> None:
    """Merged projections and the fused call come to the same code, whichever is first (a line may be wrapped otherwise)."""
    text = m(init, forward, "x")
    merged = frozenset({"FUS201"})
    one = rewritten(rewritten(text, codes=CODES).text, codes=merged)
    other = rewritten(rewritten(text, codes=merged).text, codes=CODES)
    assert one.applied
    assert other.applied
    both = rewritten(text, codes=CODES | merged)
    assert ast.dump(ast.parse(one.text)) == ast.dump(ast.parse(other.text)) == ast.dump(ast.parse(both.text))
    compare_modules(text, one.text, X, tolerance=1e-9)


# -- heads of keys and values


REPEATS = [
    ("interleaved", "k = k.repeat_interleave(2, dim=1)\nv = v.repeat_interleave(2, dim=1)"),
    ("interleaved at once", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)"),
    ("interleaved, a function", "k = torch.repeat_interleave(k, repeats=2, dim=1)\nv = torch.repeat_interleave(v, repeats=2, dim=1)"),
    ("interleaved, from the right", "k = k.repeat_interleave(2, -3)\nv = v.repeat_interleave(2, -3)"),
    ("interleaved by a quotient", "n = q.size(1) // k.size(1)\nk = k.repeat_interleave(n, dim=1)\nv = v.repeat_interleave(n, dim=1)"),
    ("expanded", "B, H, S, D = k.shape\nk = k[:, :, None, :, :].expand(B, H, 2, S, D).reshape(B, H * 2, S, D)\nv = v[:, :, None, :, :].expand(B, H, 2, S, D).reshape(B, H * 2, S, D)"),
    ("expanded, unsqueezed", "B, H, S, D = k.shape\nk = k.unsqueeze(2).expand(-1, -1, 2, -1, -1).reshape(B, H * 2, S, D)\nv = v.unsqueeze(2).expand(-1, -1, 2, -1, -1).reshape(B, H * 2, S, D)"),
    ("expanded and flattened", "k = k[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2)\nv = v[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2)"),
    ("einops", "k = repeat(k, 'b h n d -> b (h g) n d', g=2)\nv = repeat(v, 'b h n d -> b (h g) n d', g=2)"),
    ("a function of the file", "k, v = repeat_kv(k, 2), repeat_kv(v, 2)"),
]  # fmt: skip
REPEAT_KV = """

def repeat_kv(hidden_states, n_rep):
    batch, num_key_value_heads, slen, head_dim = hidden_states.shape
    if n_rep == 1:
        return hidden_states
    hidden_states = hidden_states[:, :, None, :, :].expand(batch, num_key_value_heads, n_rep, slen, head_dim)
    return hidden_states.reshape(batch, num_key_value_heads * n_rep, slen, head_dim)
"""


def _head(body: str) -> str:
    return (
        EINOPS
        if "repeat(k" in body.replace("_repeat", "") and "'b h" in body
        else REPEAT_KV
        if "repeat_kv" in body
        else ""
    )


@pytest.mark.parametrize("body", [one for _, one in REPEATS], ids=[id for id, _ in REPEATS])
def test_repeated_heads(body: str) -> None:
    text = offered(
        f(f"{body}\nreturn F.scaled_dot_product_attention(q, k, v)", head=_head(body)),
        [GROUPED],
        "enable_gqa=True",
        codes=REPEATED,
    )
    (call,) = fused_calls(text)
    assert "enable_gqa" in {one.arg for one in call.keywords}


@pytest.mark.parametrize("body", [one for _, one in REPEATS], ids=[id for id, _ in REPEATS])
def test_repeated_heads_of_attention_by_hand(body: str) -> None:
    offered(f(f"{body}\n{DIV}{END}", head=_head(body)), [GROUPED], codes=CODES | REPEATED)


REPEATED_CALLS = [
    ("a mask", "F.scaled_dot_product_attention(q, k, v, attn_mask=mask)", "attn_mask=mask"),
    ("causal", "F.scaled_dot_product_attention(q, k, v, is_causal=True)", "is_causal=True"),
    ("a scale", "F.scaled_dot_product_attention(q, k, v, scale=0.3)", "scale=0.3"),
    ("keywords", "F.scaled_dot_product_attention(query=q, key=k, value=v)", "enable_gqa=True"),
    ("inside", "F.scaled_dot_product_attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))", "enable_gqa=True"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "wanted"), [one[1:] for one in REPEATED_CALLS], ids=[one[0] for one in REPEATED_CALLS]
)
def test_repeated_heads_of_a_call(call: str, wanted: str) -> None:
    before = "" if "repeat" in call else "k = k.repeat_interleave(2, dim=1)\nv = v.repeat_interleave(2, dim=1)\n"
    text = offered(f(f"{before}return {call}", "q, k, v, mask"), [(*GROUPED, KEEP)], wanted, codes=REPEATED)
    assert "enable_gqa=True" in text


NOT_REPEATED = [
    ("tiled", "k, v = k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)", ""),
    ("tiled by einops", "k = repeat(k, 'b h n d -> b (g h) n d', g=2)\nv = repeat(v, 'b h n d -> b (g h) n d', g=2)", ""),
    ("expanded before the heads", "B, H, S, D = k.shape\nk = k[:, None].expand(B, 2, H, S, D).reshape(B, H * 2, S, D)\nv = v[:, None].expand(B, 2, H, S, D).reshape(B, H * 2, S, D)", ""),
    ("keys only", "k = k.repeat_interleave(2, dim=1)\nv = v.repeat(1, 2, 1, 1)", ""),
    ("another axis", "k = k.repeat_interleave(2, dim=2)\nv = v.repeat_interleave(2, dim=2)\nq = q[:, :2]", ""),
    ("joined", "k = torch.cat([k, k], dim=1)\nv = torch.cat([v, v], dim=1)", ""),
    ("different numbers", "k = k.repeat_interleave(2, dim=1)\nv = v.repeat_interleave(torch.tensor([2, 2]), dim=1)", ""),
    ("by heads", "k = k.repeat_interleave(torch.tensor([1, 3]), dim=1)\nv = v.repeat_interleave(torch.tensor([1, 3]), dim=1)", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), [one[1:] for one in NOT_REPEATED], ids=[one[0] for one in NOT_REPEATED])
def test_other_repeats(body: str, reason: str) -> None:
    text = f(f"{body}\nreturn F.scaled_dot_product_attention(q, k, v)", head=_head(body))
    check_refused(text, reason, "FUS302")


CAREFUL_REPEATS = [
    ("used again", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nreturn F.scaled_dot_product_attention(q, k, v), k", GROUPED),
    ("their size read", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nH = k.size(1)\nreturn F.scaled_dot_product_attention(q, k, v).view(2, H, -1)", GROUPED),
    ("kept before", "cache = (k, v)\nk = k.repeat_interleave(2, dim=1)\nv = v.repeat_interleave(2, dim=1)\nreturn F.scaled_dot_product_attention(q, k, v), cache", GROUPED),
    ("places first", "k = k.repeat_interleave(2, dim=2).transpose(1, 2)\nv = v.repeat_interleave(2, dim=2).transpose(1, 2)\nreturn F.scaled_dot_product_attention(q, k, v)", ((2, 4, 5, 8), (2, 7, 2, 8), (2, 7, 2, 8))),
    ("places first, all turned", "k, v = k.repeat_interleave(2, dim=2), v.repeat_interleave(2, dim=2)\nq, k, v = (t.transpose(1, 2) for t in (q, k, v))\nreturn F.scaled_dot_product_attention(q, k, v).transpose(1, 2)", ((2, 5, 4, 8), (2, 7, 2, 8), (2, 7, 2, 8))),
    ("no batch", "k, v = k.repeat_interleave(2, dim=0), v.repeat_interleave(2, dim=0)\nreturn F.scaled_dot_product_attention(q, k, v)", ((4, 5, 8), (2, 7, 8), (2, 7, 8))),
    ("batch and heads in one", "k, v = k.repeat_interleave(2, dim=0), v.repeat_interleave(2, dim=0)\nreturn F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])", ((4, 5, 8), (2, 7, 8), (2, 7, 8))),
    ("batches repeated", "k, v = k.repeat_interleave(2, dim=0), v.repeat_interleave(2, dim=0)\nreturn F.scaled_dot_product_attention(q, k, v)", ((4, 2, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8))),
    ("the places repeated", "k, v = k.repeat_interleave(2, dim=2), v.repeat_interleave(2, dim=2)\nreturn F.scaled_dot_product_attention(q, k, v)", SELF),
    ("the width repeated", "k = k.repeat_interleave(2, dim=3)\nq = q.repeat_interleave(2, dim=3)\nreturn F.scaled_dot_product_attention(q, k, v)", QKV),
    ("queries as well", "q, k, v = (t.repeat_interleave(2, dim=1) for t in (q, k, v))\nreturn F.scaled_dot_product_attention(q, k, v)", QKV),
    ("once", "k, v = k.repeat_interleave(1, dim=1), v.repeat_interleave(1, dim=1)\nreturn F.scaled_dot_product_attention(q, k, v)", QKV),
    ("under a condition", "if q.size(1) != k.size(1):\n    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nreturn F.scaled_dot_product_attention(q, k, v)", GROUPED),
    ("under a condition that does not hold", "if q.size(1) == k.size(1):\n    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nreturn F.scaled_dot_product_attention(q, k, v)", (*GROUPED[:1], (2, 1, 7, 8), (2, 1, 7, 8))),
    ("changed behind", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nk = k * torch.arange(4).view(4, 1, 1)\nreturn F.scaled_dot_product_attention(q, k, v)", GROUPED),
    ("changed in place", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nk[:, 1] *= 2.0\nreturn F.scaled_dot_product_attention(q, k, v)", GROUPED),
    ("one head for all", "k, v = k.expand(-1, 4, -1, -1), v.expand(-1, 4, -1, -1)\nreturn F.scaled_dot_product_attention(q, k, v)", ((2, 4, 5, 8), (2, 1, 7, 8), (2, 1, 7, 8))),
    ("one head, repeated", "k, v = k.repeat(1, 4, 1, 1), v.repeat(1, 4, 1, 1)\nreturn F.scaled_dot_product_attention(q, k, v)", ((2, 4, 5, 8), (2, 1, 7, 8), (2, 1, 7, 8))),
    ("a mask for each head", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\nmask = torch.arange(7) * torch.arange(4).view(4, 1, 1) * -0.1\nreturn F.scaled_dot_product_attention(q, k, v, mask.to(q.dtype).expand(4, 5, 7), 0.0, False)", GROUPED),
    ("a helper that tiles", "k, v = tiled(k, 2), tiled(v, 2)\nreturn F.scaled_dot_product_attention(q, k, v)", GROUPED),
    ("a helper that doubles", "k, v = doubled(k, 2), doubled(v, 2)\nreturn F.scaled_dot_product_attention(q, k, v)", GROUPED),
    ("groups of both kinds", "B, H, S, D = k.shape\nk = k[:, :, None].expand(B, H, 2, S, D).reshape(B, -1, S, D)\nv = v[:, None].expand(B, 2, H, S, D).reshape(B, -1, S, D)\nreturn F.scaled_dot_product_attention(q, k, v)", GROUPED),
    ("by hand, used again", "k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)\na = (q @ k.mT * 0.3).softmax(-1)\nreturn a @ v + k.mean(2, keepdim=True)", GROUPED),
    ("by hand, tiled", "k, v = k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)\na = (q @ k.mT * 0.3).softmax(-1)\nreturn a @ v", GROUPED),
    ("by hand, grouped by five axes", "B, H, T, D = q.shape\nq = q.view(B, 2, 2, T, D)\na = (q @ k.unsqueeze(2).mT * 0.3).softmax(-1)\nreturn (a @ v.unsqueeze(2)).reshape(B, H, T, D)", GROUPED),
    ("by hand, grouped in the sum", "B, H, T, D = q.shape\nq = q.view(B, 2, 2, T, D)\na = (torch.einsum('bghid,bgjd->bghij', q, k) * 0.3).softmax(-1)\nreturn torch.einsum('bghij,bgjd->bghid', a, v).reshape(B, H, T, D)", GROUPED),
]  # fmt: skip
TILED = """

def tiled(x, n_rep):
    batch, heads, slen, head_dim = x.shape
    x = x[:, None, :, :, :].expand(batch, n_rep, heads, slen, head_dim)
    return x.reshape(batch, heads * n_rep, slen, head_dim)


def doubled(x, n_rep):
    batch, heads, slen, head_dim = x.shape
    if n_rep == 1:
        return x
    x = 2.0 * x[:, :, None, :, :].expand(batch, heads, n_rep, slen, head_dim)
    return x.reshape(batch, heads * n_rep, slen, head_dim)
"""


@pytest.mark.parametrize(
    ("body", "call"), [one[1:] for one in CAREFUL_REPEATS], ids=[one[0] for one in CAREFUL_REPEATS]
)
def test_repeats_are_never_wrong(body: str, call: Call) -> None:
    text = f(body, head=TILED if "tiled(" in body or "doubled(" in body else "")
    given = program(text, [call], 1e-9)
    compare(given, text)
    check_never_wrong(given)


# -- near misses


def found(text: str, code: str = CODE) -> str:
    """What the fusion would make of a text; nothing where it offers nothing."""
    analysis = Analysis(text, codes=frozenset({code}))
    for finding in analysis.findings:
        fix = analysis.fix(finding)
        if fix is not None:
            return fix.apply(text)
    return ""


def check_refused(text: str, reason: str, code: str = CODE) -> None:
    after = found(text, code)
    assert not after, after
    if reason:
        reasons = [one.refused or "" for one in Analysis(text, codes=frozenset({code})).refusals]
        assert any(reason in one for one in reasons), f"{reasons}\n{text}"


A = "a = scores.softmax(-1)\n"
REFUSED = [
    # what is done to the weights
    ("returned", f"{DIV}{A}return a @ v, a", "are returned"),
    ("returned with more", f"{DIV}{A}y = a @ v\nreturn dict(y=y, attention=a.mean(1))", "used again"),
    ("returned at times", f"{DIV}{A}y = a @ v\nreturn (y, a) if q.dim() == 4 else y", "used again"),
    ("kept in a list", f"{DIV}{A}seen.append(a)\nreturn a @ v", "used again"),
    ("printed", f"{DIV}{A}print(a.shape)\nreturn a @ v", "used again"),
    ("entropy", f"{DIV}{A}entropy = -(a * (a + 1e-9).log()).sum(-1).mean()\nreturn a @ v + entropy", "used again"),
    ("watched", f"{DIV}{A}if a.requires_grad:\n    a.register_hook(print)\nreturn a @ v", "gradient may be asked"),
    ("their gradient kept", f"{DIV}{A}a.retain_grad()\nreturn a @ v", "gradient may be asked"),
    ("scores returned", f"{DIV}{A}return a @ v, scores", "are returned"),
    ("scores used again", f"{DIV}{A}return a @ v + scores.mean()", "used again"),
    ("used for two values", f"{DIV}{A}return a @ v + a @ v.flip(-2)", "used again"),
    ("times a mask of heads", f"{DIV}{A}a = a * mask\nreturn a @ v", "weights are changed"),
    ("masked behind", f"{DIV}{A}a = a.masked_fill(mask, 0.0)\nreturn a @ v", "weights are changed"),
    ("masked behind and normalised", f"{DIV}{A}a = a * mask\na = a / a.sum(-1, keepdim=True)\nreturn a @ v", "weights are changed"),
    ("written to", f"{DIV}{A}a[..., 0] = 0\nreturn a @ v", "are stored"),
    ("cut", f"{DIV}{A}a = torch.where(a > 0.1, a, torch.zeros_like(a))\nreturn a @ v", "weights are changed"),
    ("identity added", f"{DIV}{A}return (a + torch.eye(a.size(-1))) @ v", "weights are changed"),
    ("the mean of heads", f"{DIV}{A}return a.mean(1, keepdim=True) @ v", "weights are changed"),
    ("turned", f"{DIV}{A}return a.transpose(-2, -1) @ v", "over the queries"),
    ("turned in the sum", f"{DIV}{A}return torch.einsum('bhqk,bhqd->bhkd', a, v)", "over the queries"),
    ("squared", f"{DIV}{A}return a @ a @ v", "used again"),
    ("elementwise", f"{DIV}{A}return a * v", ""),
    ("keys left out", f"{DIV}{A}return a[..., 1:] @ v[..., 1:, :]", "weights are changed"),
    ("detached", f"{DIV}{A}return a.detach() @ v", "weights are changed"),
    ("hard", f"{DIV}{A}hard = F.one_hot(a.argmax(-1), a.size(-1)).to(a.dtype)\nreturn (hard - a.detach() + a) @ v", "weights are changed"),
    # what is done to the scores
    ("clamped", f"{DIV}scores = scores.clamp(-50, 50)\n{END}", "no mask can say"),
    ("clamped at the top", f"{DIV}scores = torch.clamp(scores, max=10.0)\n{END}", "no mask can say"),
    ("capped softly", f"{DIV}scores = 30.0 * torch.tanh(scores / 30.0)\n{END}", "no mask can say"),
    ("rectified", f"{DIV}scores = F.leaky_relu(scores)\n{END}", "no mask can say"),
    ("a sink", f"{DIV}scores = torch.cat([scores, scores.new_zeros(*scores.shape[:-1], 1)], dim=-1)\na = scores.softmax(-1)[..., :-1]\nreturn a @ v", "no mask can say"),
    ("a zero in the sum", f"{DIV}e = scores.exp()\na = e / (1 + e.sum(-1, keepdim=True))\nreturn a @ v", ""),
    ("talking heads", f"{DIV}scores = torch.einsum('hg,bgqk->bhqk', mask, scores)\n{END}", "axis of the queries"),
    ("the largest", f"{DIV}least = scores.topk(3, dim=-1).values[..., -1:]\nscores = scores.masked_fill(scores < least, float('-inf'))\n{END}", "used again"),
    ("the largest, scattered", f"{DIV}top, at = scores.topk(3, dim=-1)\nscores = torch.full_like(scores, float('-inf')).scatter(-1, at, top)\n{END}", ""),
    ("a function", f"{DIV}scores = score_mod(scores)\n{END}", "no mask can say"),
    ("normalised", f"{DIV}scores = F.normalize(scores, dim=-1)\n{END}", "no mask can say"),
    ("their own mean", f"{DIV}scores = scores - scores.mean(dim=-2, keepdim=True)\n{END}", "used again"),
    ("shifted", f"{DIV}scores = scores + scores.roll(1, dims=-1)\n{END}", "used again"),
    ("relative shift", f"{DIV}B, H, T, S = scores.shape\nscores = F.pad(scores, (1, 0)).view(B, H, S + 1, T)[:, :, 1:].view_as(scores)\n{END}", "no mask can say"),
    ("dropped", f"{DIV}scores = F.dropout(scores, 0.1)\n{END}", "no mask can say"),
    ("noise", f"{DIV}scores = scores + torch.randn_like(scores)\n{END}", "used again"),
    ("multiplied by a mask", f"{DIV}scores = scores * mask\n{END}", "scales all scores"),
    ("written into", f"{DIV}scores[..., 0] = 3.0\n{END}", "in place"),
    ("a small fill", f"{DIV}scores = scores.masked_fill(mask, -1.0)\n{END}", "blocks no key"),
    ("a tiny fill", f"{DIV}scores = scores.masked_fill(mask == 0, 1e-9)\n{END}", "blocks no key"),
    ("a tiny negative fill", f"{DIV}scores = scores.masked_fill(mask == 0, -1e-9)\n{END}", "blocks no key"),
    ("a large fill", f"{DIV}scores = scores.masked_fill(mask == 0, 1e9)\n{END}", "blocks no key"),
    ("a fill of the least", f"{DIV}scores = scores.masked_fill(mask == 0, scores.min())\n{END}", "not shown what masked"),
    ("an unknown fill", f"{DIV}scores = scores.masked_fill(mask == 0, low)\n{END}", "not shown what masked"),
    ("an unknown choice", f"{DIV}scores = torch.where(mask, scores, low)\n{END}", "not shown what masked"),
    ("a mask of scores", f"{DIV}scores = scores.masked_fill(scores == 0, -1e9)\n{END}", "used again"),
    ("an unknown scale", f"scores = q @ k.mT * scale\n{END}", "scales all scores"),
    ("an unknown divisor", f"scores = q @ k.mT / temperature\n{END}", "scales all scores"),
    ("a scale from the scores", f"scores = q @ k.mT\nscores = scores / scores.std()\n{END}", "scales all scores"),
    # what stands in place of the softmax
    ("over the queries", f"{DIV}return scores.softmax(dim=-2) @ v", "over the queries"),
    ("over the heads", f"{DIV}return scores.softmax(dim=1) @ v", "dimension"),
    ("over everything", f"{DIV}a = scores.flatten(1).softmax(-1).view_as(scores)\nreturn a @ v", "no mask can say"),
    ("twice", f"{DIV}return (scores.softmax(-1) * scores.softmax(-2)).matmul(v)", ""),
    ("twice in a row", f"{DIV}return scores.softmax(-1).softmax(-1) @ v", "weights are changed"),
    ("a sigmoid", f"{DIV}return torch.sigmoid(scores) @ v", ""),
    ("a rectifier", f"{DIV}return F.relu(scores).square() @ v", ""),
    ("the logarithm", f"{DIV}return scores.log_softmax(-1) @ v", ""),
    ("a softmin", f"{DIV}return F.softmin(scores, dim=-1) @ v", ""),
    ("gumbel", f"{DIV}return F.gumbel_softmax(scores, dim=-1) @ v", ""),
    ("unnormalised", f"{DIV}e = (scores - scores.amax(-1, keepdim=True)).exp()\nreturn e @ v", ""),
    ("normalised over the queries", f"{DIV}e = scores.exp()\nreturn (e / e.sum(-2, keepdim=True)) @ v", "over the queries"),
    ("shifted by the largest of the queries", f"{DIV}e = (scores - scores.amax(-2, keepdim=True)).exp()\nreturn (e / e.sum(-1, keepdim=True)) @ v", "used again"),
    ("no axis", f"{DIV}return F.softmax(scores) @ v", "dimension"),
    ("an unknown axis", f"{DIV}return F.softmax(scores, dim=axis) @ v", "dimension"),
    # what is no attention of queries to keys
    ("linear", "context = k.softmax(-2).transpose(-2, -1) @ v\nreturn q.softmax(-1) @ context", ""),
    ("channels", "a = (q.transpose(-2, -1) @ k / math.sqrt(q.size(-2))).softmax(-1)\nreturn (a @ v.transpose(-2, -1)).transpose(-2, -1)", "channels"),
    ("heads summed", "s = torch.einsum('bhqd,bhkd->bqk', q, k)\nreturn torch.einsum('bqk,bhkd->bhqd', s.softmax(-1), v)", "over several axes"),
    ("squared distances", "s = -torch.cdist(q, k)\nreturn s.softmax(-1) @ v", ""),
    ("additive scores", "s = torch.tanh(q.unsqueeze(-2) + k.unsqueeze(-3)).sum(-1)\nreturn s.softmax(-1) @ v", ""),
    ("a product of elements", "s = q * k\nreturn s.softmax(-1) * v", ""),
    ("a bilinear form of three", "s = torch.einsum('bhqd,de,bhke->bhqk', q, mask, k)\nreturn s.softmax(-1) @ v", ""),
    ("two products", f"scores = q @ k.mT + q @ k.flip(-2).mT\n{END}", "sum of several products"),
    # the surroundings
    ("in a reference", f"{DIV}{END}", "reads as a reference"),
    ("second derivatives", f"{DIV}{END}", "first gradients"),
    ("forward mode", f"{DIV}{END}", "first gradients"),
    ("autocast off", "with torch.autocast('cuda', enabled=False):\n    scores = q.float() @ k.float().mT / 8 ** 0.5\n    a = scores.softmax(-1)\nreturn a @ v", "of one dtype"),
    ("no gradient for the weights", f"with torch.no_grad():\n    {DIV}    a = scores.softmax(-1)\nreturn a @ v", "different branches"),
    ("under a condition", f"{DIV}a = scores.softmax(-1)\nif mask:\n    a = a * 2\nreturn a @ v", "weights are changed"),
    ("one of two", "if mask:\n    a = (q @ k.mT).softmax(-1)\nelse:\n    a = (q @ k.mT).sigmoid()\nreturn a @ v", "weights are changed"),
    ("captured", f"{DIV}{A}return a @ v, lambda: a", "inner function"),
    ("deleted later", f"{DIV}{A}y = a @ v\ndel a\nreturn y, locals()", ""),
    ("eager", f"{DIV}{END}", "reads as a reference"),
]  # fmt: skip
ARGUMENTS = "q, k, v, mask=None, low=None, scale=None, temperature=None, axis=-1, seen=None, score_mod=None"
AROUND = {
    "in a reference": lambda text: text.replace("def f(", "def naive_attention("),
    "second derivatives": lambda text: (
        text + "\n\ndef penalty(y, x):\n    return torch.autograd.grad(y.sum(), x, create_graph=True)\n"
    ),
    "forward mode": lambda text: text + "\n\ndef slope(x):\n    return torch.func.jvp(f, (x,), (x,))\n",
    "eager": lambda text: text.replace("def f(", "def eager_attention_forward("),
}


@pytest.mark.parametrize(("id", "body", "reason"), REFUSED, ids=[one[0] for one in REFUSED])
def test_refused(id: str, body: str, reason: str) -> None:
    text = f(body, ARGUMENTS)
    check_refused(AROUND[id](text) if id in AROUND else text, reason)


IN_CLASSES = [
    ("stored", "", f"{DIV}{A}self.attention = a\nreturn a @ v", "are stored"),
    ("stored for looking", "", f"{DIV}{A}self.maps = a.detach().cpu()\nreturn a @ v", "used again"),
    ("scores stored", "", f"{DIV}self.scores = scores\n{END}", "are stored"),
    ("stored when asked", "self.keep = False", f"{DIV}{A}if self.keep:\n    self.attention = a\nreturn a @ v", "are stored"),
    ("a convolution of the scores", "self.talk = nn.Conv2d(4, 4, 1)", f"{DIV}scores = self.talk(scores)\n{END}", "no mask can say"),
    ("a convolution of the weights", "self.talk = nn.Conv2d(4, 4, 1)", f"{DIV}a = self.talk(scores.softmax(-1))\nreturn a @ v", "weights are changed"),
    ("a norm of the weights", "self.norm = nn.LayerNorm(7)", f"{DIV}a = self.norm(scores.softmax(-1))\nreturn a @ v", "weights are changed"),
    ("dropout before the softmax", "self.drop = nn.Dropout(0.1)", f"{DIV}scores = self.drop(scores)\n{END}", "no mask can say"),
    ("dropout of channels", "self.drop = nn.Dropout2d(0.1)", f"{DIV}{A}return self.drop(a) @ v", "weights are changed"),
    ("another dropout", "self.drop = nn.AlphaDropout(0.1)", f"{DIV}{A}return self.drop(a) @ v", "weights are changed"),
    ("a softmax over heads", "self.softmax = nn.Softmax(dim=1)", f"{DIV}return self.softmax(scores) @ v", "dimension"),
    ("a softmax of a picture", "self.softmax = nn.Softmax2d()", f"{DIV}return self.softmax(scores) @ v", ""),
    ("a softmax that is chosen", "self.softmax = nn.Softmax(dim=-1) if hasattr(F, 'x') else nn.Sigmoid()", f"{DIV}return self.softmax(scores) @ v", ""),
    ("an unknown layer", "self.act = make()", f"{DIV}return self.act(scores) @ v", ""),
    ("a scale for each key", "self.scale = nn.Parameter(torch.ones(5, 7))", f"scores = q @ k.mT * self.scale\n{END}", "scales all scores"),
    ("a scale that is set from outside", "self.scale = None", f"scores = q @ k.mT * self.scale\n{END}", "scales all scores"),
    ("a hook on the dropout", "self.drop = nn.Dropout(0.1)\nself.drop.register_forward_hook(print)", f"{DIV}{A}return self.drop(a) @ v", "beside its call"),
    ("a hook on the softmax", "self.softmax = nn.Softmax(dim=-1)\nself.softmax.register_forward_hook(print)", f"{DIV}return self.softmax(scores) @ v", "beside its call"),
    ("beside the call", "self.flash = hasattr(F, 'scaled_dot_product_attention')", f"if self.flash:\n    return F.scaled_dot_product_attention(q, k, v)\n{DIV}{END}", "another branch"),
    ("beside the call, else", "self.fused = True", f"if self.fused:\n    y = F.scaled_dot_product_attention(q, k, v)\nelse:\n    {DIV}    y = scores.softmax(-1) @ v\nreturn y", "another branch"),
    ("of a custom function", "", f"{DIV}{END}", ""),
]  # fmt: skip


@pytest.mark.parametrize(("id", "init", "forward", "reason"), IN_CLASSES, ids=[one[0] for one in IN_CLASSES])
def test_refused_in_classes(id: str, init: str, forward: str, reason: str) -> None:
    text = m(init or "self.x = 1", forward)
    if id == "of a custom function":
        text = text.replace("nn.Module", "torch.autograd.Function").replace("forward(self", "forward(ctx")
    check_refused(text, reason)


def test_dropout_that_is_always_on() -> None:
    """It must not be switched off by `self.training`."""
    text = found(m("self.x = 1", f"{DIV}{A}return F.dropout(a, 0.5) @ v"))
    assert "self.training" not in text


# Rewritten or refused, but never wrong.
CAREFUL = [
    ("queries bound anew", f"{DIV}q = q + 1.0\nreturn scores.softmax(-1) @ v + q", SELF),
    ("keys bound anew", f"{DIV}k = k * 2.0\nreturn scores.softmax(-1) @ v + k", SELF),
    ("values bound anew", f"{DIV}v = v * 2.0\nreturn scores.softmax(-1) @ v", SELF),
    ("a mask bound anew", f"{DIV}scores = scores.masked_fill(mask, -1e9)\nmask = ~mask\nreturn scores.softmax(-1) @ v * mask.sum()", (*QKV, ~KEEP)),
    ("a number bound anew", "c = 0.5\nscores = q @ k.mT * c\nc = 3.0\nreturn scores.softmax(-1) @ v * c", QKV),
    ("a size bound anew", "d = q.size(-1)\nscores = q @ k.mT / math.sqrt(d)\nd = 2\nreturn scores.softmax(-1) @ v * d", QKV),
    ("values written to", f"{DIV}v = v.clone()\nv.mul_(2.0)\n{END}", QKV),
    ("a mask written to", f"mask = mask.clone()\n{DIV}scores = scores.masked_fill(mask != 0, -1e9)\nmask.fill_(False)\n{END}", (*QKV, ~KEEP)),
    ("a bias taken away", f"{DIV}scores = scores - mask\n{END}", (*QKV, (4, 5, 7))),
    ("integers added", f"{DIV}scores = scores + mask\n{END}".replace("+ mask", "- (torch.arange(5)[:, None] - torch.arange(7)).abs()"), QKV),
    ("booleans added", f"{DIV}scores = scores + (mask == 0)\n{END}", (*QKV, KEEP)),
    ("booleans as numbers", f"{DIV}scores = scores + mask.to(q.dtype)\n{END}", (*QKV, KEEP)),
    ("one number added", f"{DIV}scores = scores + 1.0\n{END}", QKV),
    ("one axis added", f"{DIV}scores = scores + torch.arange(7) * 0.3\n{END}", QKV),
    ("a mask written into", "hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)\nhidden[:, :2] = False\nscores = q @ k.mT * 0.3\nscores = scores.masked_fill(hidden, float('-inf'))\nreturn scores.softmax(-1) @ v", SELF),
    ("a mask filled", "hidden = torch.ones(5, 5).triu(0)\nhidden.fill_diagonal_(0)\nscores = (q @ k.mT * 0.3).masked_fill(hidden.bool(), float('-inf'))\nreturn scores.softmax(-1) @ v", SELF),
    ("a mask in place", "hidden = torch.ones(5, 5)\nhidden.triu_(2)\nscores = (q @ k.mT * 0.3).masked_fill(hidden == 1, float('-inf'))\nreturn scores.softmax(-1) @ v", SELF),
    ("a mask or none", f"{DIV}scores = scores if mask is None else scores.masked_fill(mask, -1e9)\n{END}", (*QKV, ~KEEP)),
    ("a bias or none", f"{DIV}scores = scores + mask if mask is not None else scores\n{END}", (*QKV, (5, 7))),
    ("a mask that is made", f"if mask is None:\n    mask = torch.ones(5, 7, dtype=torch.bool)\n{DIV}scores = scores.masked_fill(~mask, -1e9)\n{END}", (*QKV, KEEP)),
    ("one mask or another", f"{DIV}if mask is not None:\n    scores = scores.masked_fill(mask, -1e9)\nelse:\n    scores = scores + 1.0\n{END}", (*QKV, ~KEEP)),
    ("no mask", f"{DIV}if mask is None:\n    scores = scores * 2.0\n{END}", (*QKV, ~KEEP)),
    ("a mask and a number", f"{DIV}c = 1.0\nif mask is not None:\n    scores = scores.masked_fill(mask, -1e9)\n    c = 3.0\nreturn scores.softmax(-1) @ v * c", (*QKV, ~KEEP)),
    ("a mask read behind", f"{DIV}if mask is not None:\n    mask = mask.logical_not()\n    scores = scores.masked_fill(~mask, -1e9)\nreturn (scores.softmax(-1) @ v) * mask.sum()", (*QKV, ~KEEP)),
    ("another name under the condition", f"{DIV}if mask is not None:\n    masked = scores.masked_fill(mask, -1e9)\n    scores = masked\n{END}", (*QKV, ~KEEP)),
    ("a scale made behind the condition", f"scores = q @ k.mT\nif mask is not None:\n    scores = scores + mask\nroot = math.sqrt(q.size(-1))\nscores = scores / root\n{END}", (*QKV, (5, 7))),
    ("a mask under two conditions", f"{DIV}if mask is not None:\n    if mask.dim() == 4:\n        scores = scores.masked_fill(mask, -1e9)\n{END}", (*QKV, ~KEEP)),
    ("scores under the condition", f"{DIV}if mask is not None:\n    scores = scores.clamp(max=1.0)\n    scores = scores.masked_fill(mask, -1e9)\n{END}", (*QKV, ~KEEP)),
    ("a scale under the condition", f"{DIV}if mask is not None:\n    scores = scores * 3.0\n    scores = scores.masked_fill(mask, -1e9)\n{END}", (*QKV, ~KEEP)),
    ("filled with the least of halves", f"{DIV}scores = scores.masked_fill(mask, torch.finfo(torch.float16).min)\n{END}", (*QKV, ~KEEP)),
    ("filled with not so little", f"{DIV}scores = scores.masked_fill(mask, -100.0)\n{END}", (*QKV, ~KEEP)),
    ("filled with little", f"{DIV}scores = scores.masked_fill(mask, -30.0)\n{END}", (*QKV, ~KEEP)),
    ("a penalty of one", f"{DIV}scores = scores + (1.0 - mask.to(q.dtype)) * -1.0\n{END}", (*QKV, KEEP)),
    ("a penalty times the scores", f"{DIV}scores = scores * mask.to(q.dtype) - 1e9 * (1.0 - mask.to(q.dtype))\n{END}", (*QKV, KEEP)),
    ("a penalty taken away", f"{DIV}scores = scores - (1.0 - mask.to(q.dtype)) * 1e9\n{END}", (*QKV, KEEP)),
    ("the logarithm of a mask", f"{DIV}scores = scores + torch.log(mask.to(q.dtype) + 1e-9)\n{END}", (*QKV, KEEP)),
    ("one axis hidden", f"{DIV}scores = scores.masked_fill(torch.arange(7) > 4, float('-inf'))\n{END}", QKV),
    ("scaled with its bias", f"scores = (q @ k.mT + mask) / math.sqrt(q.size(-1))\n{END}", (*QKV, (4, 5, 7))),
    ("filled, then biased", f"{DIV}scores = scores.masked_fill(mask == 0, -1e4)\nscores = scores + 5.0 * torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double()\n{END}", (*QKV, KEEP)),
    ("filled with little twice", f"{DIV}scores = scores.masked_fill(mask == 0, -1e4)\nscores = scores.masked_fill(torch.arange(7) > 0, -9e3)\n{END}", (*QKV, ~KEEP)),
    ("filled and scaled up", f"scores = (q @ k.mT).masked_fill(mask == 0, -1e9) * -0.3\n{END}", (*QKV, KEEP)),
    ("filled and made small", f"scores = (q @ k.mT).masked_fill(mask == 0, -1e4) * 1e-4\n{END}", (*QKV, KEEP)),
    ("the diagonal too", f"{DIV}hidden = torch.triu(torch.ones(5, 5), diagonal=0).bool()\nscores = scores.masked_fill(hidden, -1e9)\n{END}", SELF),
    ("the upper half kept", f"{DIV}scores = scores.masked_fill(torch.ones(5, 5).triu() == 0, float('-inf'))\n{END}", SELF),
    ("the lower half hidden", f"{DIV}scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).tril(-1), float('-inf'))\n{END}", SELF),
    ("causal for more keys", f"T = q.size(-2)\nS = k.size(-2)\n{DIV}scores = scores.masked_fill(torch.ones(T, S).tril(S - T) == 0, float('-inf'))\n{END}", QKV),
    ("causal with a gap", f"T = q.size(-2)\n{DIV}scores = scores + torch.triu(torch.full((T, T), float('-inf')), diagonal=2)\n{END}", SELF),
    ("causal with small numbers", f"T = q.size(-2)\n{DIV}scores = scores + torch.triu(torch.full((T, T), -1.0, dtype=q.dtype), diagonal=1)\n{END}", SELF),
    ("heads on the left", "s = torch.einsum('hbqd,hbkd->hbqk', q, k) * 0.3\nreturn torch.einsum('hbqk,hbkd->bqhd', s.softmax(-1), v)", QKV),
    ("scores in another order", "s = torch.einsum('bqhd,bkhd->bqkh', q, k) * 0.3\nreturn torch.einsum('bqkh,bkhd->bqhd', s.softmax(2), v)", BTHD),
    ("scores turned", "s = k @ q.mT * 0.3\nreturn s.softmax(-2).mT @ v", QKV),
    ("heads summed behind", "s = torch.einsum('bhqd,bhkd->bhqk', q, k) * 0.3\nreturn torch.einsum('bhqk,bhkd->bqd', s.softmax(-1), v)", QKV),
    ("broadcast keys", "s = q @ k.mT * 0.3\nreturn s.softmax(-1) @ v", ((2, 4, 5, 8), (7, 8), (7, 8))),
    ("one head of keys", "s = torch.einsum('bhid,bjd->bhij', q, k) * 0.3\nreturn torch.einsum('bhij,bjd->bhid', s.softmax(-1), v)", ((2, 4, 5, 8), (2, 7, 8), (2, 7, 8))),
    ("a cast of the scores", "s = (q @ k.mT).double() / 3\nreturn s.softmax(-1).to(v.dtype) @ v", QKV),
    ("a view behind", f"{DIV}y = scores.softmax(-1) @ v\nreturn y.view(8, 5, 8)", QKV),
    ("a view behind, of queries with other strides", "q = q.transpose(1, 2)\ny = (q @ k.transpose(1, 2).mT * 0.3).softmax(-1) @ v.transpose(1, 2)\nreturn y.view(8, 5, 8)", BTHD),
    ("a view behind what an einsum gave", "q, k, v = (t.transpose(1, 2).contiguous() for t in (q, k, v))\ns = torch.einsum('bhqd,bhkd->bhqk', q, k).softmax(-1)\ny = torch.einsum('bhqk,bhkd->bhqd', s, v)\nreturn y.view(8, 5, 8)", BTHD),
    ("written to behind", "y = (q @ k.mT * 0.3).softmax(-1) @ v\ny += 1.0\nreturn y", QKV),
    ("the maximum without gradient", "s = q @ k.mT\ne = (s - s.detach().amax(-1, keepdim=True)).exp()\nreturn (e / e.sum(-1, keepdim=True)) @ v", QKV),
    ("normalised behind", "e = (q @ k.mT * 0.3).exp()\nreturn (e @ v) / e.sum(-1, keepdim=True)", QKV),
    ("a small number in the sum", "e = (q @ k.mT * 0.3).exp()\nreturn (e / (e.sum(-1, keepdim=True) + 0.5)) @ v", QKV),
    ("keys as values", "s = q @ k.mT * 0.3\nreturn s.softmax(-1) @ k", QKV),
    ("one tensor", "s = q @ q.mT * 0.3\nreturn s.softmax(-1) @ q", QKV),
    ("conjugated", "s = q @ k.adjoint() * 0.3\nreturn s.softmax(-1) @ v", QKV),
    ("in a loop", "for _ in range(2):\n    q = (q @ k.mT * 0.3).softmax(-1) @ v\nreturn q", SELF),
    ("one after the other", "y = (q @ k.mT * 0.3).softmax(-1) @ v\ny = (y @ k.mT * 0.3).softmax(-1) @ v\nreturn y", SELF),
    ("one inside the other", "return ((q @ k.mT * 0.3).softmax(-1) @ v @ k.mT * 0.3).softmax(-1) @ v", SELF),
    ("a walrus", "return (s := q @ k.mT * 0.3).softmax(-1) @ v", QKV),
    ("several targets", "s = t = q @ k.mT * 0.3\nreturn s.softmax(-1) @ v + t.mean()", QKV),
    ("written through another name", "s = q @ k.mT\nt = s\nt *= 2.0\nreturn s.softmax(-1) @ v", QKV),
    ("written through a view", "s = q @ k.mT\ns[..., 0].add_(3.0)\nreturn s.softmax(-1) @ v", QKV),
    ("on one line", "s = q @ k.mT * 0.3; a = s.softmax(-1)\nreturn a @ v", QKV),
]  # fmt: skip


@pytest.mark.parametrize(("body", "call"), [one[1:] for one in CAREFUL], ids=[one[0] for one in CAREFUL])
def test_never_wrong(body: str, call: Call) -> None:
    text = f(body, "q, k, v, mask" if len(call) == 4 else "q, k, v")
    check_never_wrong(program(text, [call], 1e-6))


HEADS = (
    "B, T, C = x.shape\nq, k, v = (layer(x).view(B, T, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))\n"
)
SCORES = HEADS + "s = q @ k.transpose(-2, -1) * 0.5\n"
OUT = "y = s.softmax(-1) @ v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"
BUFFER = "self.register_buffer('mask', torch.tril(torch.ones(8, 8)))"
HIDDEN = "s = s.masked_fill(self.mask[:T, :T] == 0, float('-inf'))\n"
CAREFUL_CLASSES = [
    ("a prefix", "mask = torch.tril(torch.ones(8, 8))\nmask[:, :2] = 1\nself.register_buffer('mask', mask)", SCORES + HIDDEN + OUT),
    ("a prefix, afterwards", f"{BUFFER}\nself.mask[:, :2] = 1", SCORES + HIDDEN + OUT),
    ("a prefix, in place", f"{BUFFER}\nself.mask.add_(torch.ones(8, 8).triu(6))", SCORES + HIDDEN + OUT),
    ("a window", "self.register_buffer('mask', torch.tril(torch.ones(8, 8)) - torch.tril(torch.ones(8, 8), -3))", SCORES + HIDDEN + OUT),
    ("a window, twice", "self.register_buffer('mask', torch.triu(torch.tril(torch.ones(8, 8)), -2))", SCORES + HIDDEN + OUT),
    ("a step further", "self.register_buffer('mask', torch.tril(torch.ones(8, 8), diagonal=1))", SCORES + HIDDEN + OUT),
    ("other rows", BUFFER, SCORES + "s = s.masked_fill(self.mask[1:T + 1, :T] == 0, float('-inf'))\n" + OUT),
    ("other columns", BUFFER, SCORES + "s = s.masked_fill(self.mask[8 - T:, 8 - T:] == 0, float('-inf'))\n" + OUT),
    ("turned", BUFFER, SCORES + "s = s.masked_fill(self.mask.T[:T, :T] == 0, float('-inf'))\n" + OUT),
    ("ones hidden", "self.register_buffer('mask', torch.tril(torch.ones(8, 8), -1))", SCORES + "s = s.masked_fill(self.mask[:T, :T] == 1, float('-inf'))\n" + OUT),
    ("replaced", BUFFER, "self.mask = torch.ones_like(self.mask)\n" + SCORES + HIDDEN + OUT),
    ("replaced in a method", BUFFER + "\nself.open()", SCORES + HIDDEN + OUT),
    ("the last query", BUFFER, HEADS + "q = q[:, :, -1:]\ns = q @ k.mT * 0.5\ns = s.masked_fill(self.mask[T - 1 : T, :T] == 0, float('-inf'))\nreturn s.softmax(-1) @ v"),
    ("viewed", "self.unused = 1", SCORES + "y = s.softmax(-1) @ v\nreturn y.view(B * 4, T, 4)"),
    ("viewed in the next statement", "self.unused = 1", SCORES + "y = torch.matmul(F.softmax(s, dim=-1), v)\nz = y.view(B, -1)\nreturn z"),
    ("viewed when turned", "self.unused = 1", HEADS + "s = torch.einsum('bhid,bhjd->bhij', q, k) * 0.5\ny = torch.matmul(s.softmax(-1), v)\ny = y.permute(0, 2, 1, 3).contiguous().view(B, T, C)\nreturn self.o(y)"),
    ("every other key", BUFFER, HEADS + "k, v = k[:, :, ::2], v[:, :, ::2]\nS = k.size(2)\ns = q @ k.mT * 0.5\ns = s.masked_fill(self.mask[:T, :S] == 0, float('-inf'))\nreturn s.softmax(-1) @ v"),
("a triangle written into", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1)\nhidden[:, :2] = False\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle written into by a name", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1)\nsame = hidden\nsame[:, 1] = False\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle opened", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1)\nhidden &= torch.arange(T) > 2\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle closed", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1)\nhidden = hidden | (torch.arange(T) == 1) & (torch.arange(T)[:, None] > 1)\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle made again", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1)\nif T > 3:\n    hidden = torch.ones(T, T, dtype=torch.bool).triu(2)\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle cut twice", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1).tril(3)\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle turned", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).tril(-1).T\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle flipped", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool).triu(1).flip(0).flip(1).T\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle in place", "self.unused = 1", SCORES + "hidden = torch.ones(T, T, dtype=torch.bool)\nhidden.triu_(2)\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle shifted by a name", "self.unused = 1", SCORES + "d = T - 3\nhidden = torch.ones(T, T, dtype=torch.bool).triu(d)\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle compared", "self.unused = 1", SCORES + "hidden = torch.tril(torch.ones(T, T), 1) < 1\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle compared with much", "self.unused = 1", SCORES + "hidden = torch.tril(torch.ones(T, T)) >= 2\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle of twos", "self.unused = 1", SCORES + "hidden = torch.tril(torch.ones(T, T) * 2) == 1\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle of the other comparison", "self.unused = 1", SCORES + "hidden = torch.triu(torch.ones(T, T), 1) > 0.5\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("a triangle of zeros", "self.unused = 1", SCORES + "hidden = torch.triu(torch.zeros(T, T), 1) == 1\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places, and more", "self.unused = 1", SCORES + "i = torch.arange(T)\nhidden = i[None] > i[:, None] + 1\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places, from above", "self.unused = 1", SCORES + "i = torch.arange(T)\nhidden = ~(i[:, None] >= i[None, :])\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places, strictly, and the first", "self.unused = 1", SCORES + "i = torch.arange(T)\nhidden = (i[:, None] <= i[None, :]) & (i[None, :] > 0)\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places in steps", "self.unused = 1", SCORES + "i = torch.arange(T) // 2\nhidden = i[:, None] < i[None, :]\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places backwards", "self.unused = 1", SCORES + "i = torch.arange(T)\nhidden = i.flip(0)[:, None] < i.flip(0)[None, :]\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places, sides exchanged", "self.unused = 1", SCORES + "i, j = torch.arange(T)[None, :], torch.arange(T)[:, None]\nhidden = i < j\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("places from one", "self.unused = 1", SCORES + "i = torch.arange(1, T + 1)\nhidden = i[:, None] < torch.arange(T)[None, :]\ns = s.masked_fill(hidden, float('-inf'))\n" + OUT),
    ("numbers opened", "self.unused = 1", SCORES + "hidden = torch.full((T, T), float('-inf')).triu(1)\nhidden[:, 0] = 0.5\ns = s + hidden\n" + OUT),
    ("numbers of another kind", "self.unused = 1", SCORES + "hidden = torch.full((T, T), -2.0).triu(1)\ns = s + hidden\n" + OUT),
    ("numbers in the other half", "self.unused = 1", SCORES + "hidden = torch.full((T, T), float('-inf')).tril(-1)\ns = s + hidden\n" + OUT),
    ("numbers of places", "self.unused = 1", SCORES + "hidden = torch.zeros(T, T).masked_fill(torch.ones(T, T).tril() == 0, -3.0)\ns = s + hidden\n" + OUT),
    ("numbers, filled with more", "self.unused = 1", SCORES + "hidden = torch.ones(T, T).masked_fill(torch.ones(T, T).tril() == 0, float('-inf')) * torch.arange(1.0, T + 1)\ns = s + hidden\n" + OUT),
    ("numbers from a product", "self.unused = 1", SCORES + "hidden = (1.0 - torch.tril(torch.ones(T, T))) * -1e9 + torch.tril(torch.ones(T, T)) * 0.3 * torch.arange(T)\ns = s + hidden\n" + OUT),
    ("no dropout or one", "p = 0.0\nself.drop = nn.Dropout(p) if p > 0 else nn.Identity()", SCORES + "y = self.drop(s.softmax(-1)) @ v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("a dropout replaced", "self.drop = nn.Dropout(0.0)\nself.drop = nn.Identity()", SCORES + "y = self.drop(s.softmax(-1)) @ v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("no dropout", "self.drop = nn.Identity()", SCORES + "y = self.drop(s.softmax(-1)) @ v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("a dropout in place", "self.drop = nn.Dropout(0.0, inplace=True)", SCORES + "y = self.drop(s.softmax(-1)) @ v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("a scale that changes", "self.scale = 0.1\nself.scale = 0.7", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a scale set in between", "self.scale = 0.1", HEADS + "s = q @ k.mT * self.scale\nself.scale = 0.9\n" + OUT + " * self.scale"),
    ("a trained scale", "self.scale = nn.Parameter(torch.tensor(0.3))", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a trained scale of heads", "self.scale = nn.Parameter(torch.rand(4, 1, 1))", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a trained scale of places", "self.scale = nn.Parameter(torch.rand(5, 5))", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a trained scale of keys", "self.scale = nn.Parameter(torch.rand(5))", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a trained scale of queries", "self.scale = nn.Parameter(torch.rand(5, 1))", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a scale that is a buffer", "self.register_buffer('scale', torch.tensor(0.3))", HEADS + "s = q @ k.mT * self.scale\n" + OUT),
    ("a scale of one element", "self.scale = torch.sqrt(torch.FloatTensor([4]))", HEADS + "s = q @ k.mT / self.scale\n" + OUT),
    ("a scale of the class", "self.unused = 1", HEADS + "s = q @ k.mT * self.temperature\n" + OUT),
    ("a scale that is worked out", "self.unused = 1", HEADS + "s = q @ k.mT * self.root\n" + OUT),
    ("masks made by a method", "self.unused = 1", SCORES + "s = s.masked_fill(self.hidden(T), float('-inf'))\n" + OUT),
    ("a flag", "self.causal = True", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\n" + OUT),
    ("a flag that is off", "self.causal = False", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\n" + OUT),
    ("a length", "self.unused = 1", SCORES + "if T > 5:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\n" + OUT),
    ("either of two masks", "self.causal = False", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\nelse:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(3), float('-inf'))\n" + OUT),
    ("either of two masks, the first", "self.causal = True", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\nelse:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(3), float('-inf'))\n" + OUT),
    ("two flags, one off", "self.causal = False\nself.near = True", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\nif self.near:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).tril(-2), float('-inf'))\n" + OUT),
    ("two flags, both off", "self.causal = False\nself.near = False", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\nif self.near:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).tril(-2), float('-inf'))\n" + OUT),
    ("two flags", "self.causal = True\nself.near = True", SCORES + "if self.causal:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float('-inf'))\nif self.near:\n    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).tril(-2), float('-inf'))\n" + OUT),
    ("a softmax in training only", "self.unused = 1", SCORES + "a = s.softmax(-1) if self.training else s.sigmoid()\ny = a @ v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("a bias in training only", "self.bias = nn.Parameter(torch.rand(5, 5))", SCORES + "if self.training:\n    s = s + self.bias\n" + OUT),
    ("shape read off the scores", "self.unused = 1", SCORES + "i, j = s.shape[-2:]\ns = s.masked_fill(torch.ones(i, j, dtype=torch.bool).triu(j - i + 1), -torch.finfo(s.dtype).max)\n" + OUT),
    ("a mask like the scores", "self.unused = 1", SCORES + "s = s + torch.zeros_like(s).masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -1e9)\n" + OUT),
    ("a head at a time", "self.unused = 1", HEADS + "y = torch.stack([(q[:, i] @ k[:, i].mT * 0.5).softmax(-1) @ v[:, i] for i in range(4)], dim=1)\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("two attentions", "self.unused = 1", SCORES + "y = s.softmax(-1) @ v\nt = y @ k.mT * 0.2\nz = t.softmax(-1) @ v\nreturn self.o((y - 0.3 * z).transpose(1, 2).reshape(B, T, C))"),
    ("differential", "self.unused = 1", HEADS + "s, t = q @ k.mT * 0.5, q.flip(1) @ k.mT * 0.5\na = s.softmax(-1) - 0.3 * t.softmax(-1)\nreturn a @ v"),
    ("gated weights", "self.gate = nn.Parameter(torch.rand(4, 1, 1))", SCORES + "a = self.gate.sigmoid() * s.softmax(-1)\nreturn a @ v"),
    ("gated result", "self.gate = nn.Parameter(torch.rand(4, 1, 1))", SCORES + "y = s.softmax(-1) @ v\nreturn self.gate.sigmoid() * y"),
    ("a residual of values", "self.unused = 1", SCORES + "y = s.softmax(-1) @ v + v\nreturn self.o(y.transpose(1, 2).reshape(B, T, C))"),
    ("channels of each head", "self.t = nn.Parameter(torch.ones(4, 1, 1))", "B, T, C = x.shape\nq, k, v = (layer(x).view(B, T, 4, 4).permute(0, 2, 3, 1) for layer in (self.q, self.k, self.v))\nq, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)\na = ((q @ k.transpose(-2, -1)) * self.t).softmax(dim=-1)\nreturn self.o((a @ v).permute(0, 3, 1, 2).reshape(B, T, C))"),
    ("heads last", "self.unused = 1", "B, T, C = x.shape\nq, k, v = (layer(x).view(B, T, 4, 4) for layer in (self.q, self.k, self.v))\na = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)\nreturn self.o((a @ v).reshape(B, T, C))"),
]  # fmt: skip
METHODS = """
    temperature = 0.25

    @property
    def root(self):
        return 0.75

    def hidden(self, n):
        return torch.ones(n, n, dtype=torch.bool).triu(2)

    def open(self):
        self.mask = self.mask * 0 + 1
"""


def careful(init: str, forward: str) -> str:
    text = m(f"{QKV_OUT}\n{init}", forward, "x")
    return text.replace("\n    def forward(", f"{METHODS}\n    def forward(")


@pytest.mark.parametrize(
    ("init", "forward"), [one[1:] for one in CAREFUL_CLASSES], ids=[one[0] for one in CAREFUL_CLASSES]
)
def test_never_wrong_in_classes(init: str, forward: str) -> None:
    text = careful(init, forward)
    given = Program(text, calls(X), Expected.MAYBE, (), 1e-6, dropout=False)
    check_never_wrong(given)


def test_every_program_of_the_tables_runs() -> None:
    """Of code that does not run nothing could be said."""
    rows = [(f(body, head=EINOPS if "rearrange" in body else ""), [call]) for _, body, call in PRODUCTS]
    rows += [(text, given) for _, text, given, _, _ in MODELS]
    rows += [(f(body, "q, k, v, mask" if len(call) == 4 else "q, k, v"), [call]) for _, body, call in CAREFUL]
    rows += [(careful(init, forward), [X]) for _, init, forward in CAREFUL_CLASSES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text, given in rows:
            try:
                compare(program(text, given), text)
            except Exception as error:
                error.add_note(text)
                raise
