"""FUS201, FUS202: siblings that a comprehension calls; layers that must stay apart, each with its reason."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

TOKENS: Inputs = ((2, 5, 16),)
QKV = "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)\nself.v = nn.Linear(16, 16)"
CONV = "self.a = nn.Conv2d(4, 6, 1)\nself.b = nn.Conv2d(4, 3, 1)"
ATTEND = "\nreturn F.scaled_dot_product_attention(q, k, v)"
HEADS = "B, T, C = x.shape\n"

MERGED: list[tuple[str, str, str, str, Inputs]] = [
    (
        "a generator",
        QKV,
        f"q, k, v = (layer(x) for layer in (self.q, self.k, self.v)){ATTEND}",
        "q, k, v = self.qkv(x).split([16, 16, 16], dim=-1)",
        TOKENS,
    ),
    (
        "a list",
        QKV,
        f"[q, k, v] = [layer(x) for layer in [self.q, self.k, self.v]]{ATTEND}",
        "q, k, v = self.qkv(x).split([16, 16, 16], dim=-1)",
        TOKENS,
    ),
    (
        "map",
        QKV,
        f"q, k, v = map(lambda layer: layer(x), (self.q, self.k, self.v)){ATTEND}",
        "q, k, v = self.qkv(x).split([16, 16, 16], dim=-1)",
        TOKENS,
    ),
    (
        "an order of its own",
        QKV,
        f"v, q, k = (layer(x) for layer in (self.v, self.q, self.k)){ATTEND}",
        "v, q, k = self.vqk(x).split([16, 16, 16], dim=-1)",
        TOKENS,
    ),
    (
        "into heads",
        QKV,
        HEADS + f"q, k, v = (f(x).view(B, T, 4, 4).transpose(1, 2) for f in (self.q, self.k, self.v)){ATTEND}",
        "(f.view(B, T, 4, 4).transpose(1, 2) for f in (q, k, v))",
        TOKENS,
    ),
    (
        "into heads by map",
        QKV,
        HEADS + f"q, k, v = map(lambda f: f(x).view(B, T, 4, 4).transpose(1, 2), (self.q, self.k, self.v)){ATTEND}",
        "map(lambda f: f.view(B, T, 4, 4).transpose(1, 2), (q, k, v))",
        TOKENS,
    ),
    (
        "by the sizes of the input",
        QKV,
        "q, k, v = (f(x).reshape(x.size(0), x.shape[1], 4, 4).transpose(1, 2) for f in (self.q, self.k, self.v))"
        + ATTEND,
        "for f in (q, k, v)",
        TOKENS,
    ),
    (
        "a list that is handed on",
        QKV,
        "return torch.stack([torch.relu(layer(x)) for layer in (self.q, self.k)]), self.v(x)",
        "return torch.stack([torch.relu(layer) for layer in (q, k)]), self.v(x)",
        TOKENS,
    ),
    (
        "a list that is returned",
        QKV,
        "return [layer(x) for layer in (self.q, self.k, self.v)]",
        "return [layer for layer in (q, k, v)]",
        TOKENS,
    ),
    (
        "targets that the loop reads",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)",
        "q = x.mean()\nq, k = (layer(x) * q for layer in (self.q, self.k))\nreturn q, k",
        "q, k = (layer * q for layer in (q_out, k_out))",
        TOKENS,
    ),
    (
        "into the input's name",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)",
        "x, k = (layer(x) for layer in (self.q, self.k))\nreturn x * k",
        "x, k = self.qk(x).split([16, 16], dim=-1)",
        TOKENS,
    ),
    (
        "in a branch and a loop",
        QKV,
        f"for _ in range(2):\n    if x.dim() == 3:\n        q, k, v = (f(x) for f in (self.q, self.k, self.v)){ATTEND}"
        "\nreturn x".replace("\n", "\n"),
        "q, k, v = self.qkv(x)",
        TOKENS,
    ),
    (
        "unequal sizes",
        "self.q = nn.Linear(16, 8)\nself.k = nn.Linear(16, 4)",
        "q, k = (layer(x) for layer in (self.q, self.k))\nreturn q, k",
        "split([8, 4], dim=-1)",
        TOKENS,
    ),
    (
        "convolutions",
        CONV,
        "a, b = (F.relu(conv(x)) for conv in (self.a, self.b))\nreturn a, b",
        "a, b = self.ab(x).split([6, 3], dim=-3)",
        ((2, 4, 5, 6),),
    ),
]


@pytest.mark.parametrize(
    ("init", "forward", "part", "inputs"), [one[1:] for one in MERGED], ids=[one[0] for one in MERGED]
)
def test_merged(init: str, forward: str, part: str, inputs: Inputs) -> None:
    result = equivalent(module(init, forward), inputs, codes=frozenset({"FUS201", "FUS202"}), deep=False)
    assert [one.safety for one in result.applied] == [Safety.CHECKPOINT]
    assert part in result.text, result.text


LOOP = "q, k = (layer(x) for layer in (self.q, self.k))"
SUM = "\nreturn q + k"

REFUSED: list[tuple[str, str, str, str]] = [
    ("on demand", "asks for the next", QKV, "return sum(layer(x) for layer in (self.q, self.k))"),
    (
        "kept for later",
        "asks for the next",
        QKV,
        "g = (layer(x) for layer in (self.q, self.k))\nx = x + 1\nreturn list(g)",
    ),
    ("a map on demand", "asks for the next", QKV, "return list(map(lambda f: f(x), (self.q, self.k)))"),
    ("starred targets", "asks for the next", QKV, "q, *k = (f(x) for f in (self.q, self.k, self.v))\nreturn q + k[0]"),
    ("a condition", "does more", QKV, "return [f(x) for f in (self.q, self.k) if f is not None]"),
    ("a for loop", "does more", QKV, "o = []\nfor f in (self.q, self.k):\n    o.append(f(x))\nreturn o"),
    (
        "in turns",
        "does more",
        "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)",
        "for f in (self.q, self.k):\n    x = f(x)\nreturn x",
    ),
    ("called twice in the loop", "does more", QKV, "return [f(f(x)) for f in (self.q, self.k)]"),
    ("read besides in the loop", "does more", QKV, "return [f(x) * f.weight.sum() for f in (self.q, self.k)]"),
    ("the layer itself", "does more", QKV, "return [(f, f(x)) for f in (self.q, self.k)]"),
    ("another input each time", "", QKV, "return [f(t) for f, t in zip((self.q, self.k), (x, x + 1))]"),
    ("an input worked out", "does more", QKV, "return [f(x + 1) for f in (self.q, self.k)]"),
    ("the input written in the loop", "may change", QKV, "q, k = (f(x) + x.mul_(2) for f in (self.q, self.k))" + SUM),
    ("the input used in the loop", "besides", QKV, "q, k = (f(x) + x for f in (self.q, self.k))" + SUM),
    ("an output written in the loop", "may change", QKV, "q, k = (f(x).mul_(2) for f in (self.q, self.k))" + SUM),
    ("an unknown function in the loop", "may change", QKV, "q, k = (self.heads(f(x)) for f in (self.q, self.k))" + SUM),
    ("an output written afterwards", "in place", QKV, LOOP + "\nq += 1" + SUM),
    ("a flat view in the loop", "contiguous", QKV, "q, k = (f(x).view(-1) for f in (self.q, self.k))" + SUM),
    ("a flat view afterwards", "contiguous", QKV, LOOP + "\nreturn q.view(-1) + k.view(-1)"),
    ("a view of images", "contiguous", CONV, "a, b = (f(x).view(2, -1) for f in (self.a, self.b))\nreturn a, b"),
    ("called besides", "more than once", QKV, LOOP + SUM + " + self.q(x)"),
    ("in two loops", "beside its call", QKV, LOOP + "\n" + LOOP.replace("q, k", "a, b") + SUM + " + a + b"),
    ("read besides", "beside its call", QKV, LOOP + SUM + " + self.q.weight.sum()"),
    ("twice in one loop", "", QKV, "return [f(x) for f in (self.q, self.q)]"),
    ("of several sorts", "", QKV + "\nself.n = nn.LayerNorm(16)", "return [f(x) for f in (self.q, self.n)]"),
    ("biases", "bias", QKV.replace("16, 16)\nself.k", "16, 16, bias=False)\nself.k"), LOOP + SUM),
    ("tied", "beside its call", QKV + "\nself.k.weight = self.q.weight", LOOP + SUM),
    (
        "the input rebound in the statement",
        "same statement",
        QKV,
        "y, z = (x := x + 1), [f(x) for f in (self.q, self.k)]\nreturn y, z",
    ),
    (
        "the input written in the statement",
        "same statement",
        QKV,
        "y, z = x.mul_(2), [f(x) for f in (self.q, self.k)]\nreturn y, z",
    ),
    ("under a condition", "under a condition", QKV, "return [f(x) for f in (self.q, self.k)] if x.sum() > 0 else x"),
    (
        "in the head of a loop",
        "head of a compound",
        QKV,
        "y = 0\nfor z in [f(x) for f in (self.q, self.k)]:\n    y = y + z\nreturn y",
    ),
    ("in one line with another", "shares its line", QKV, LOOP + "; q = q + 1" + SUM),
    ("in a comprehension", "", QKV, "return [[f(t) for f in (self.q, self.k)] for t in x]"),
]


@pytest.mark.parametrize(("reason", "init", "forward"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(reason: str, init: str, forward: str) -> None:
    text = module(init, forward)
    reasons = refused(text, "FUS201") + refused(text, "FUS202")
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_only_the_alike_ones_are_merged() -> None:
    text = module(
        QKV.replace("self.k = nn.Linear(16, 16)", "self.k = nn.Linear(16, 16, bias=False)"),
        "q, k, v = self.q(x), self.k(x), self.v(x)\nk = k * torch.linspace(-1, 1, 5, dtype=k.dtype)[:, None]" + ATTEND,
    )
    result = equivalent(text, TOKENS, codes=frozenset({"FUS201"}), deep=False)
    assert "self.qv = nn.Linear(16, 32)" in result.text
    assert "self.k = nn.Linear(16, 16, bias=False)" in result.text
    refusals = [(one.message, one.refused) for one in Analysis(text).refusals]
    assert refusals == [("`k` is left out of a merge", "`q` and `k` differ in whether they have a bias (line 10)")]


def test_an_output_without_a_gradient_stays_apart() -> None:
    text = module(QKV, "return self.q(x).detach() + self.k(x) + self.v(x)")
    result = equivalent(text, TOKENS, codes=frozenset({"FUS201"}), deep=False)
    assert "self.kv = nn.Linear(16, 32)" in result.text
    assert any("gets no gradient" in (one.refused or "") for one in Analysis(text).refusals)


def test_the_hook_of_a_second_merge_would_come_too_early() -> None:
    text = module(QKV, "y = torch.cat([self.k(x), self.v(x)], dim=-1)\nreturn y, self.q(x)")
    result = equivalent(text, TOKENS, deep=False, codes=frozenset({"FUS201", "FUS204"}))
    assert [one.code for one in result.applied] == ["FUS204"]
    assert any("itself merged" in (one.refused or "") for one in result.analysis.refusals)


PROCESSOR = """
from torch import nn


class Processor:
    def __call__(self, attn, hidden_states):
        query = attn.to_q(hidden_states)
        key = attn.to_k(hidden_states)
        return query, key


class Block(nn.Module):
    def __init__(self, attn):
        super().__init__()
        self.attn = attn

    def forward(self, x):
        return self.attn.q_proj(x), self.attn.k_proj(x), self.attn.v_proj(x)
"""


def test_layers_of_another_object_are_reported() -> None:
    assert [(one.message, one.refused) for one in Analysis(PROCESSOR).refusals] == [
        (
            "`attn.to_q` and `attn.to_k` read one input",
            "the layers belong to `attn`, which is made elsewhere: merge them where it is made (line 7)",
        ),
        (
            "`self.attn.q_proj`, `self.attn.k_proj` and `self.attn.v_proj` read one input",
            "the layers belong to `self.attn`, which is made elsewhere: merge them where it is made (line 18)",
        ),
    ]


@pytest.mark.parametrize(
    "line", ["for m in (self.q, self.k):\n    nn.init.zeros_(m.bias)", "[m.bias for m in (self.q, self.k)]"]
)
def test_a_loop_that_calls_none_of_them_is_none(line: str) -> None:
    assert all("loop" not in reason for reason in refused(module(f"{QKV}\n{line}", "return self.q(x)"), "FUS201"))


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        ("self.a = nn.Sequential(nn.Tanh(), nn.Linear(16, 4))", "return self.a(x), self.b(x)"),
        ("self.a = nn.Sequential(nn.Linear(16, 4))", "return self.a(x), self.b(x + 1)"),
        ("self.a = nn.Sequential(nn.Linear(16, 4))", "x = self.a(x)\nreturn self.b(x)"),
    ],
)
def test_other_sequentials_are_no_siblings(init: str, forward: str) -> None:
    text = module(init + "\nself.b = nn.Sequential(nn.Linear(16, 2), nn.Tanh())", forward)
    assert refused(text, "FUS201") == []


def test_heads_in_sequentials_are_reported() -> None:
    text = module(
        "self.a = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))\n"
        "self.b = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))",
        "return self.a(x), self.b(x)",
    )
    assert ["would have to be taken apart" in reason for reason in refused(text, "FUS201")] == [True]
