"""FUS203: embeddings that are merged compute the same on old checkpoints; what only looks like it is refused."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS203"
INDEX: Inputs = (torch.tensor([[0, 3, 9, 3], [2, 2, 0, 1]]),)
TWO = "self.a = nn.Embedding(10, 4)\nself.b = nn.Embedding(10, 6)"
BOTH = "return self.a(x), self.b(x)"

MERGED: list[tuple[str, str, str]] = [
    ("returned", TWO, BOTH),
    ("statements", TWO, "a = self.a(x)\nb = self.b(x)\nreturn a.sum(-1) * b.sum(-1)"),
    ("an index worked out", TWO, "i = x.flip(0) + 0\nreturn self.a(i), self.b(i)"),
    ("three", TWO + "\nself.c = nn.Embedding(10, 1)", "return self.a(x), self.b(x), self.c(x).squeeze(-1)"),
    ("keywords", "self.a = nn.Embedding(num_embeddings=10, embedding_dim=4)\nself.b = nn.Embedding(10, 6)", BOTH),
    ("one padding", TWO.replace(")", ", padding_idx=0)"), BOTH),
    (
        "one padding in two spellings",
        "self.a = nn.Embedding(10, 4, 0)\nself.b = nn.Embedding(10, 6, padding_idx=0)",
        BOTH,
    ),
    ("defaults spelled out", TWO.replace("6)", "6, max_norm=None, sparse=False)"), BOTH),
    ("sizes by name", "n, d = 10, 4\nself.a = nn.Embedding(n, d)\nself.b = nn.Embedding(n, d * 2)", BOTH),
    ("split into heads", TWO, "B, T = x.shape\nreturn self.a(x).view(B, T, 2, 2), self.b(x)"),
    (
        "two sizes",
        TWO + "\nself.c = nn.Embedding(12, 4)\nself.d = nn.Embedding(12, 2)",
        "return self.a(x), self.b(x), self.c(x), self.d(x)",
    ),
    ("in a loop", TWO, "y = 0\nfor _ in range(2):\n    y = y + self.a(x).sum() * self.b(x).sum()\nreturn y"),
    (
        "initialised element by element",
        TWO
        + "\nfor m in self.modules():\n    if isinstance(m, nn.Embedding):\n        nn.init.normal_(m.weight, 0, 0.1)",
        BOTH,
    ),
]


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in MERGED], ids=[one[0] for one in MERGED])
def test_merged(init: str, forward: str) -> None:
    text = module(init, forward)
    result = equivalent(text, INDEX, codes=frozenset({CODE}), deep=False)
    assert result.applied
    assert {finding.safety for finding in result.applied} == {Safety.CHECKPOINT}


def test_a_copy_a_pickle_and_a_nested_module_load_too() -> None:
    equivalent(module(TWO, BOTH), INDEX, codes=frozenset({CODE}))


def test_breaking_where_checkpoints_load_past_hooks() -> None:
    text = module(TWO, BOTH, head="from safetensors.torch import load_file")
    assert [one.safety for one in Analysis(text).findings if one.code == CODE] == [Safety.BREAKING]


REFUSED: list[tuple[str, str, str, str]] = [
    ("two indices", "", TWO, "return self.a(x[0]), self.b(x[1])"),
    ("an index and its next", "", TWO, "return self.a(x), self.b(x + 1)"),
    ("rebound between", "", TWO, "a = self.a(x)\nx = x.flip(0)\nreturn a, self.b(x)"),
    ("written between", "changed between", TWO, "a = self.a(x)\nx.clamp_(max=3)\nreturn a, self.b(x)"),
    ("sizes", "num_embeddings", TWO.replace("10, 6", "11, 6"), BOTH),
    (
        "sizes of two names",
        "num_embeddings",
        "n = m = 10\nself.a = nn.Embedding(n, 4)\nself.b = nn.Embedding(m, 6)",
        BOTH,
    ),
    ("paddings", "padding_idx", TWO.replace("6)", "6, padding_idx=1)"), BOTH),
    ("other paddings", "padding_idx", "self.a = nn.Embedding(10, 4, 0)\nself.b = nn.Embedding(10, 6, 1)", BOTH),
    ("a norm", "max_norm", TWO.replace(")", ", max_norm=1.0)"), BOTH),
    ("a norm by position", "max_norm", TWO.replace(")", ", None, 2.0)"), BOTH),
    ("a norm of one", "max_norm", TWO.replace("6)", "6, max_norm=1.0)"), BOTH),
    ("by frequency", "frequency", TWO.replace(")", ", scale_grad_by_freq=True)"), BOTH),
    ("sparse", "sparse", TWO.replace(")", ", sparse=True)"), BOTH),
    (
        "a given weight",
        "given weight",
        "w = torch.randn(10, 4)\nself.a = nn.Embedding(10, 4, _weight=w)\nself.b = nn.Embedding(10, 4, _weight=w)",
        BOTH,
    ),
    ("frozen by the constructor", "is frozen", TWO.replace(")", ", _freeze=True)"), BOTH),
    (
        "from a table",
        "",
        "self.a = nn.Embedding(10, 4)\nself.b = nn.Embedding.from_pretrained(torch.randn(10, 6))",
        BOTH,
    ),
    ("a bag", "", "self.a = nn.Embedding(10, 4)\nself.b = nn.EmbeddingBag(10, 6)", BOTH),
    ("dtypes", "dtype", TWO.replace("6)", "6, dtype=torch.float64)"), BOTH),
    ("an output layer", "beside its call", TWO, "return self.a(x) @ self.a.weight.T, self.b(x)"),
    ("tied", "beside its call", TWO.replace("6", "4") + "\nself.b.weight = self.a.weight", BOTH),
    ("padded by hand", "beside its call", TWO + "\nself.a.weight.data[0].zero_()", BOTH),
    ("frozen", "beside its call", TWO + "\nself.a.weight.requires_grad_(False)", BOTH),
    ("called twice", "more than once", TWO, BOTH + ", self.a(x.flip(0))"),
    ("written to", "in place", TWO, "a = self.a(x)\na[..., 0] = 0\nreturn a, self.b(x)"),
    ("scaled in place", "in place", TWO, "a = self.a(x)\na *= 2\nreturn a, self.b(x)"),
    ("flat", "contiguous", TWO, "return self.a(x).view(-1), self.b(x)"),
    ("merged with the tokens", "contiguous", TWO, "return self.a(x).view(x.size(0), -1), self.b(x)"),
    (
        "Xavier",
        "depends on the shape",
        TWO
        + "\nfor m in self.modules():\n    if isinstance(m, nn.Embedding):\n        nn.init.xavier_uniform_(m.weight)",
        BOTH,
    ),
    (
        "named in a string",
        "names",
        TWO.replace("self.a", "self.user").replace("self.b", "self.item") + '\nself.tables = ["user"]',
        "return self.user(x), self.item(x)",
    ),
    (
        "in a dict",
        "",
        "self.t = nn.ModuleDict({'a': nn.Embedding(10, 4), 'b': nn.Embedding(10, 4)})",
        "return self.t['a'](x), self.t['b'](x)",
    ),
    ("under a condition", "", TWO.replace("self.b =", "if torch.cuda.is_available():\n    self.b ="), BOTH),
]


@pytest.mark.parametrize(("reason", "init", "forward"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(reason: str, init: str, forward: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
