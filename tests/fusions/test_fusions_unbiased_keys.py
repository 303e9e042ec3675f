"""FUS201: keys without a bias are merged with queries and values that have one where the softmax cancels it."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import REORDERED, Inputs, equivalent, executed, module
from fuselight.analysis import Analysis

CODES = frozenset({"FUS201"})
TOKENS: Inputs = ((2, 5, 16),)
QKV = "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16, bias=False)\nself.v = nn.Linear(16, 16)"
SCALED = QKV + "\nself.scale = 4 ** -0.5"
CALLS = "q, k, v = self.q(x), self.k(x), self.v(x)\n"
SDPA = "return F.scaled_dot_product_attention(q, k, v)"
HEADS = (
    "B, T, C = x.shape\nq = self.q(x).view(B, T, 4, 4).transpose(1, 2)\n"
    "k = self.k(x).view(B, T, 4, 4).transpose(1, 2)\nv = self.v(x).view(B, T, 4, 4).transpose(1, 2)\n"
)

MERGED: list[tuple[str, str, str]] = [
    ("as they are", QKV, CALLS + SDPA),
    ("by keywords", QKV, CALLS + "return F.scaled_dot_product_attention(query=q, key=k, value=v)"),
    ("causal", QKV, CALLS + "return F.scaled_dot_product_attention(q, k, v, is_causal=True)"),
    ("in heads", QKV, HEADS + SDPA),
    ("in heads of a number", QKV, HEADS.replace("(B, T, 4, 4)", "(-1, 5, 4, 4)") + SDPA),
    ("in heads of any number", QKV, HEADS.replace("(B, T, 4, 4)", "(B, T, 4, -1)") + SDPA),
    ("reshaped", QKV, HEADS.replace(".view(", ".reshape(") + SDPA),
    ("permuted", QKV, HEADS.replace("transpose(1, 2)", "permute(0, 2, 1, 3)") + SDPA),
    ("made contiguous", QKV, HEADS.replace("transpose(1, 2)", "transpose(1, 2).contiguous()") + SDPA),
    ("a softmax", QKV, CALLS + "w = (q @ k.transpose(-2, -1)).softmax(dim=-1)\nreturn w @ v"),
    ("a scaled softmax", QKV, CALLS + "w = torch.softmax(q @ k.transpose(-2, -1) / 4.0, dim=-1)\nreturn w @ v"),
    ("a softmax of heads", SCALED, HEADS + "w = (q @ k.transpose(-2, -1)) * self.scale\nreturn F.softmax(w, -1) @ v"),
    (
        "a softmax with a mask added",
        QKV,
        HEADS + "m = torch.ones(T, T).triu(1) * -1e9\nw = torch.matmul(q, k.transpose(-2, -1)) + m\n"
        "w = F.dropout(w.softmax(dim=-1), 0.1, self.training)\nreturn torch.matmul(w, v)",
    ),
    (
        "a masked softmax",
        QKV,
        HEADS + "m = torch.ones(T, T).tril() == 0\nw = torch.matmul(q, k.transpose(2, 3)) / 2\n"
        "w = w.masked_fill(m, float('-inf'))\nreturn torch.softmax(w, dim=-1) @ v",
    ),
    ("a batch of products", QKV, CALLS + "w = torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1)\nreturn torch.bmm(w, v)"),
    ("keys made first", QKV.replace("self.q = nn.Linear(16, 16)\n", "") + "\nself.q = nn.Linear(16, 16)", CALLS + SDPA),
]


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in MERGED], ids=[one[0] for one in MERGED])
def test_merged_with_a_bias_of_zeros(init: str, forward: str) -> None:
    result = equivalent(module(init, forward), TOKENS, codes=CODES, tolerance=REORDERED, deep=False)
    assert [
        one.title for one in result.applied if "`k` gains a bias, which the softmax over the keys cancels" in one.title
    ]
    assert "nn.Linear(16, 48)" in result.text


def test_a_checkpoint_of_either_code_loads() -> None:
    text = module(QKV, CALLS + SDPA)
    result = equivalent(text, TOKENS, codes=CODES, tolerance=REORDERED)
    with executed(text) as old, executed(result.text) as new:
        made = new.M()
        made.load_state_dict(old.M().state_dict(), strict=True)
        name = next(name for name, _ in made.named_parameters() if name.endswith("bias"))
        assert torch.equal(made.state_dict()[name][16:32], torch.zeros(16))
        new.M().load_state_dict(made.state_dict(), strict=True)
        with pytest.raises(RuntimeError, match="Missing key"):
            made.load_state_dict({"q.weight": torch.zeros(16, 16)}, strict=True)


def test_training_stays_on_the_same_way() -> None:
    text = module(QKV, HEADS + SDPA)
    result = equivalent(text, TOKENS, codes=CODES, tolerance=REORDERED, deep=False)
    with executed(text) as old, executed(result.text) as new:
        torch.manual_seed(0)
        one = old.M().double()
        other = new.M().double()
        other.load_state_dict(one.state_dict(), strict=True)
        optimisers = [torch.optim.Adam(model.parameters(), lr=1e-3) for model in (one, other)]
        for step in range(20):
            x = torch.randn(2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
            outputs = [model(x) for model in (one, other)]
            assert torch.allclose(*outputs, rtol=1e-9, atol=1e-9)
            for output, optimiser in zip(outputs, optimisers, strict=True):
                optimiser.zero_grad()
                output.square().mean().backward()
                optimiser.step()


APART: list[tuple[str, str, str]] = [
    ("rotated", QKV, CALLS + "k = k * torch.linspace(-1, 1, 5, dtype=k.dtype)[:, None]\n" + SDPA),
    ("rotated in heads", QKV, HEADS + "k = k * x.mean() + k.roll(1, -1) * torch.arange(5)[:, None]\n" + SDPA),
    ("rotated by a function", QKV, HEADS + "q, k = rotate(q), rotate(k)\n" + SDPA),
    ("normalised", QKV + "\nself.n = nn.LayerNorm(16)", CALLS + "k = self.n(k)\n" + SDPA),
    ("normalised by length", QKV, CALLS + "k = F.normalize(k, dim=-1)\n" + SDPA),
    ("activated", QKV, CALLS + "k = torch.relu(k)\n" + SDPA),
    ("dropped out", QKV, CALLS + "k = F.dropout(k, 0.1)\n" + SDPA),
    ("added to", QKV, CALLS + "k = k + x\n" + SDPA),
    ("with other keys", QKV, CALLS + "k = torch.cat([x, k], dim=1)\nv = torch.cat([x, v], dim=1)\n" + SDPA),
    ("used as values", QKV, CALLS + "return F.scaled_dot_product_attention(q, k, k) + v"),
    ("as queries", QKV, CALLS + "return F.scaled_dot_product_attention(k, q, v)"),
    ("as values alone", QKV, CALLS + "return F.scaled_dot_product_attention(q, v, k)"),
    ("returned", QKV, CALLS + SDPA + ", k"),
    ("kept", QKV, CALLS + "self.last = k\n" + SDPA),
    ("over the features", QKV, CALLS + "return F.scaled_dot_product_attention(q.mT, k.mT, v.mT)"),
    ("over the features by transpose", QKV,
     CALLS + "q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)\n" + SDPA),
    ("heads as positions", QKV, "B, T, C = x.shape\nq, k, v = self.q(x), self.k(x), self.v(x)\n"
     "k = k.view(B, 10, 2, 4).transpose(1, 2)\nq = q.view(B, 10, 2, 4).transpose(1, 2)\n"
     "v = v.view(B, 10, 2, 4).transpose(1, 2)\n" + SDPA),
    ("split over positions", QKV, "B, T, C = x.shape\nq = self.q(x).reshape(B, 4, T, 4)\n"
     "k = self.k(x).reshape(B, 4, T, 4)\nv = self.v(x).reshape(B, 4, T, 4)\n" + SDPA),
    ("heads not ahead", QKV, HEADS.replace(".transpose(1, 2)", "") + SDPA),
    ("a sigmoid", QKV, CALLS + "return torch.sigmoid(q @ k.transpose(-2, -1)) @ v"),
    ("no softmax", QKV, CALLS + "return (q @ k.transpose(-2, -1)) @ v"),
    ("a softmax over the queries", QKV, CALLS + "return (q @ k.transpose(-2, -1)).softmax(dim=-2) @ v"),
    ("a softmax over the batch", QKV, CALLS + "return (q @ k.transpose(-2, -1)).softmax(dim=0) @ v"),
    ("a softmax of the keys", QKV, CALLS + "return q @ (k.softmax(dim=-1).transpose(-2, -1) @ v)"),
    ("linear attention", QKV, CALLS + "return q.softmax(-1) @ (k.transpose(-2, -1).softmax(-1) @ v)"),
    ("scores scaled by key", QKV,
     CALLS + "w = q @ k.transpose(-2, -1) * x.mean(-1)[:, None]\nreturn w.softmax(dim=-1) @ v"),
    ("scores activated", QKV, CALLS + "return torch.tanh(q @ k.transpose(-2, -1)).softmax(dim=-1) @ v"),
    ("scores masked by a product", QKV,
     CALLS + "m = torch.ones(5, 5).tril()\nw = q @ k.transpose(-2, -1) * m\nreturn w.softmax(dim=-1) @ v"),
    ("scores filled with a small number", QKV,
     CALLS + "m = torch.ones(5, 5).tril() == 0\nw = (q @ k.transpose(-2, -1)).masked_fill(m, 0.0)\n"
     "return w.softmax(dim=-1) @ v"),
    ("scores returned", QKV, CALLS + "w = q @ k.transpose(-2, -1)\nreturn w.softmax(dim=-1) @ v, w"),
    ("a learned temperature", QKV + "\nself.scale = nn.Parameter(torch.ones(5))",
     CALLS + "return (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1) @ v"),
    ("a gate", QKV, CALLS + "return q * k + v"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in APART], ids=[one[0] for one in APART])
def test_keys_that_must_stay_apart(init: str, forward: str) -> None:
    text = module(init, forward, head="def rotate(x):\n    return x * torch.arange(5)[:, None]")
    found = [one for one in Analysis(text).findings if one.code == "FUS201"]
    assert [one.title for one in found if "`k`" in one.title] == []
    assert [one.refused for one in Analysis(text).refusals if "`k`" in one.message], text
