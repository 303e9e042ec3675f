"""FUS605: an embedding whose rows are reduced at once becomes an embedding bag."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS605"
ROWS: Inputs = (torch.randint(0, 10, (4, 7), generator=torch.Generator().manual_seed(0)),)
TABLE = "self.emb = nn.Embedding(10, 6)"


def function(body: str, arguments: str = "i, w") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\nimport torch.nn.functional as F\n\n\ndef f({arguments}):\n{lines}"


POSITIVES = [
    ("mean", TABLE, "return self.emb(x).mean(dim=1)", 'nn.EmbeddingBag(10, 6, mode="mean")'),
    ("by position", TABLE, "return self.emb(x).mean(1)", "return self.emb(x)\n"),
    ("from the end", TABLE, "b, n = x.shape\nreturn self.emb(x).mean(-2)", "return self.emb(x)\n"),
    ("a tuple", TABLE, "return self.emb(x).sum((1,))", 'nn.EmbeddingBag(10, 6, mode="sum")'),
    ("axis", TABLE, "return self.emb(x).sum(axis=1)", "return self.emb(x)\n"),
    ("without keeping", TABLE, "return self.emb(x).sum(1, keepdim=False)", "return self.emb(x)\n"),
    ("a function", TABLE, "return torch.mean(self.emb(x), dim=1)", "return self.emb(x)\n"),
    ("input=", TABLE, "return torch.sum(input=self.emb(x), dim=1)", "return self.emb(x)\n"),
    ("max", TABLE, "return self.emb(x).max(dim=1).values", 'nn.EmbeddingBag(10, 6, mode="max")'),
    ("max by index", TABLE, "return self.emb(x).max(1)[0]", "return self.emb(x)\n"),
    ("max as a function", TABLE, "return torch.max(self.emb(x), 1).values", "return self.emb(x)\n"),
    ("amax", TABLE, "return self.emb(x).amax(1)", 'nn.EmbeddingBag(10, 6, mode="max")'),
    ("in steps", TABLE, "h = self.emb(x)\nreturn h.mean(1)", "def forward(self, x):\n        return self.emb(x)\n"),
    ("in one name", TABLE, "h = self.emb(x)\nh = h.mean(1)\nreturn h", "        h = self.emb(x)\n        return h"),
    ("another name", TABLE, "h = self.emb(x)\nout = h.mean(1)\nreturn out.tanh()", "        out = self.emb(x)\n"),
    ("x itself", TABLE, "x = self.emb(x)\nx = x.mean(1)\nreturn x", "        x = self.emb(x)\n        return x"),
    (
        "the index rebound",
        TABLE,
        "h = self.emb(x)\nx = x + 1\nh = h.mean(1)\nreturn h, x",
        "h = self.emb(x)\n        x = x + 1\n        return h, x",
    ),
    ("of a call", TABLE, "h = self.emb(x.flip(0))\nreturn h.mean(1)", "return self.emb(x.flip(0))"),
    ("keywords", "self.emb = nn.Embedding(num_embeddings=10, embedding_dim=6)", "return self.emb(x).mean(1)",
     'nn.EmbeddingBag(num_embeddings=10, embedding_dim=6, mode="mean")'),
    ("no padding", "self.emb = nn.Embedding(10, 6, padding_idx=None)", "return self.emb(x).mean(1)",
     'nn.EmbeddingBag(10, 6, mode="mean")'),
    ("a norm", "self.emb = nn.Embedding(10, 6, None, 1.0)", "return self.emb(x).mean(1)",
     'nn.EmbeddingBag(10, 6, max_norm=1.0, mode="mean")'),
    ("another norm", "self.emb = nn.Embedding(10, 6, max_norm=1.0, norm_type=1.0)", "return self.emb(x).sum(1)",
     "max_norm=1.0, norm_type=1.0, mode="),
    ("a dtype", "self.emb = nn.Embedding(10, 6, dtype=torch.float64)", "return self.emb(x).sum(1)",
     "dtype=torch.float64, mode="),
    ("a comment", f"{TABLE}  # words\nself.b = 1", "return self.emb(x).mean(1)", 'mode="mean")  # words'),
    ("initialised", f"{TABLE}\nnn.init.normal_(self.emb.weight, std=0.1)", "return self.emb(x).mean(1)", "Bag"),
    ("filled", f"{TABLE}\nself.emb.weight.data.uniform_(-1, 1)", "return self.emb(x).mean(1)", "EmbeddingBag"),
    ("frozen", f"{TABLE}\nself.emb.weight.requires_grad = False", "return self.emb(x).mean(1)", "EmbeddingBag"),
    ("measured", f"{TABLE}\nself.fc = nn.Linear(self.emb.embedding_dim, 3)", "return self.fc(self.emb(x).mean(1))",
     "self.fc(self.emb(x))"),
    ("a known rank", TABLE, "b, n = x.shape\nreturn self.emb(x).mean(1)", "return self.emb(x)\n"),
    ("in a branch", TABLE, "if self.training:\n    return self.emb(x).mean(1)\nreturn self.emb.weight.shape",
     "return self.emb(x)\n"),
    ("behind it", "self.emb = nn.Embedding(10, 6)\nself.fc = nn.Linear(6, 3)",
     "return torch.relu(self.fc(self.emb(x).sum(dim=1)))", "self.fc(self.emb(x))"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("init", "forward", "after"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES]
)
def test_layers(init: str, forward: str, after: str) -> None:
    deep = forward == "return self.emb(x).mean(dim=1)"
    result = equivalent(module(init, forward), ROWS, codes=frozenset({CODE}), tolerance=REORDERED, deep=deep)
    assert result.applied
    assert after in result.text, result.text


FUNCTIONS = [
    ("nested", "return F.embedding(i, w).mean(1)", 'return F.embedding_bag(i, w, mode="mean")'),
    ("keywords", "return F.embedding(input=i, weight=w).sum(dim=1)", 'F.embedding_bag(i, w, mode="sum")'),
    ("a norm", "return F.embedding(i, w.clone(), max_norm=1.0).sum(1)", 'w.clone(), max_norm=1.0, mode="sum")'),
    ("max", "return F.embedding(i, w).max(1)[0]", 'F.embedding_bag(i, w, mode="max")'),
    ("in steps", "e = F.embedding(i, w)\nreturn e.mean(1)", 'return F.embedding_bag(i, w, mode="mean")'),
    (
        "rebound",
        "e = F.embedding(i, w)\ni = i + 1\ne = e.mean(1)\nreturn e, i",
        'e = F.embedding_bag(i, w, mode="mean")',
    ),
    ("plain options", "return F.embedding(i, w, None, None, 2.0, False).mean(1)", "embedding_bag(i, w"),
]


@pytest.mark.parametrize(("body", "after"), [one[1:] for one in FUNCTIONS], ids=[one[0] for one in FUNCTIONS])
def test_functions(body: str, after: str) -> None:
    inputs = (*ROWS, (10, 6))
    result = equivalent(function(body), inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert result.applied
    assert after in result.text, result.text


@pytest.mark.parametrize(
    ("forward", "safety", "note"),
    [
        ("return self.emb(x).mean(1)", Safety.NUMERICS, "assumes that `x` has two dimensions"),
        ("b, n = x.shape\nreturn self.emb(x).mean(1)", Safety.EXACT, ""),
        ("b, n = x.size()\nreturn self.emb(x).max(1).values", Safety.EXACT, ""),
        ("b, n = x.shape\nreturn self.emb(x).amax(1)", Safety.NUMERICS, "share no gradient"),
        ("x = x.view(-1, 7)\nreturn self.emb(x).mean(1)", Safety.EXACT, ""),
    ],
)
def test_how_safe(forward: str, safety: Safety, note: str) -> None:
    (finding,) = (one for one in Analysis(module(TABLE, forward)).findings if one.code == CODE)
    assert finding.safety is safety
    assert note in finding.title


def test_a_sparse_table() -> None:
    text = module("self.emb = nn.Embedding(10, 6, sparse=True)", "return self.emb(x).mean(1)")
    (finding,) = (one for one in Analysis(text).findings if one.code == CODE)
    fix = Analysis(text).fix(finding)
    assert fix is not None
    assert 'nn.EmbeddingBag(10, 6, sparse=True, mode="mean")' in fix.apply(text)


REFUSED = [
    ("padding", "self.emb = nn.Embedding(10, 6, padding_idx=0)", "return self.emb(x).mean(1)", "padding index"),
    ("padding by position", "self.emb = nn.Embedding(10, 6, 0)", "return self.emb(x).mean(1)", "padding index"),
    ("perhaps padding", "p = None\nself.emb = nn.Embedding(10, 6, p)", "return self.emb(x).mean(1)", "padding index"),
    ("by frequency", "self.emb = nn.Embedding(10, 6, scale_grad_by_freq=True)", "return self.emb(x).sum(1)", "freq"),
    ("a sparse maximum", "self.emb = nn.Embedding(10, 6, sparse=True)", "return self.emb(x).amax(1)", "sparse grad"),
    ("its own table", "self.emb = nn.Embedding(10, 6, _weight=torch.eye(10))", "return self.emb(x).sum(1)", "given"),
    ("from_pretrained", "self.emb = nn.Embedding.from_pretrained(torch.eye(6))", "return self.emb(x).sum(1)", ""),
    ("starred", "a = (10, 6)\nself.emb = nn.Embedding(*a)", "return self.emb(x).sum(1)", ""),
    ("under a condition", "if torch.get_num_threads():\n    self.emb = nn.Embedding(10, 6)",
     "return self.emb(x).sum(1)", ""),
    ("made otherwise", "self.emb = nn.Embedding(10, 6) if torch.get_num_threads() else nn.Identity()",
     "return self.emb(x).sum(1)", ""),
    ("a bag already", 'self.emb = nn.EmbeddingBag(10, 6, mode="sum")', "return self.emb(x).sum(1)", ""),
    ("three dimensions", TABLE, "a, b, c = x.shape\nreturn self.emb(x).sum(1)", "three dimensions"),
    ("three, from the end", TABLE, "a, b, c = x.shape\nreturn self.emb(x).sum(-2)", "three dimensions"),
    ("from the end of many", TABLE, "return self.emb(x).sum(-2)", "nothing shows"),
    ("one dimension", TABLE, "x = x.flatten()\nreturn self.emb(x).sum(-2)", "fewer than two"),
    ("over the features", TABLE, "return self.emb(x).sum(-1)", ""),
    ("over the third", TABLE, "return self.emb(x).sum(2)", ""),
    ("over two", TABLE, "return self.emb(x).sum((1, 2))", ""),
    ("over all", TABLE, "return self.emb(x).mean()", ""),
    ("over the batch", TABLE, "return self.emb(x).mean(0)", ""),
    ("kept", TABLE, "return self.emb(x).mean(1, keepdim=True)", ""),
    ("kept by position", TABLE, "return self.emb(x).mean(1, True)", ""),
    ("a dtype", TABLE, "return self.emb(x).sum(1, dtype=torch.float64)", ""),
    ("a variable", TABLE, "d = x.dim() - 1\nreturn self.emb(x).sum(d)", ""),
    ("a minimum", TABLE, "return self.emb(x).amin(1)", ""),
    ("values and indices", TABLE, "v, i = self.emb(x).max(1)\nreturn v, i", ""),
    ("indices", TABLE, "return self.emb(x).max(1).indices", ""),
    ("a median", TABLE, "return self.emb(x).median(1).values", ""),
    ("a position", f"{TABLE}\nself.pos = nn.Embedding(7, 6)",
     "return (self.emb(x) + self.pos(torch.arange(7))).mean(1)", ""),
    ("a mask", TABLE, "m = (x > 0).unsqueeze(-1)\nreturn (self.emb(x) * m).sum(1)", ""),
    ("a dropout", f"{TABLE}\nself.drop = nn.Dropout(0.5)", "return self.drop(self.emb(x)).mean(1)", ""),
    ("transposed", TABLE, "return self.emb(x).transpose(1, 2).mean(1)", ""),
    ("used besides", TABLE, "h = self.emb(x)\nreturn h.mean(1), h", "used besides"),
    ("asked for its shape", TABLE, "h = self.emb(x)\nreturn h.sum(1) / h.shape[1]", "used besides"),
    ("mean and max", TABLE, "h = self.emb(x)\nreturn h.mean(1) + h.amax(1)", "used besides"),
    ("captured", TABLE, "h = self.emb(x)\ng = lambda: h\nreturn h.mean(1), g", "used besides"),
    ("written to", TABLE, "h = self.emb(x)\nh[:, 0] = 0\nreturn h.mean(1)", "used besides"),
    ("the index written to", TABLE, "h = self.emb(x)\nx.clamp_(0, 1)\nreturn h.mean(1)", "changed in between"),
    ("called twice", TABLE, "return self.emb(x).mean(1) + self.emb(x[:, 0])", "more than once"),
    ("two bags", TABLE, "return self.emb(x).mean(1) + self.emb(x + 0).sum(1)", "more than once"),
    ("tied", f"{TABLE}\nself.out = nn.Linear(6, 10)\nself.out.weight = self.emb.weight",
     "return self.out(self.emb(x).mean(1))", "beside its call"),
    ("read", TABLE, "return self.emb(x).mean(1) @ self.emb.weight.t()", "beside its call"),
    ("replaced", f"{TABLE}\nself.emb = nn.Embedding(10, 6)", "return self.emb(x).mean(1)", ""),
    ("wrapped", f"{TABLE}\nself.emb = nn.Sequential(self.emb)", "return self.emb(x).mean(1)", ""),
    ("in a list", f"{TABLE}\nself.all = nn.ModuleList([self.emb])", "return self.emb(x).mean(1)", "beside its call"),
    ("hooked", f"{TABLE}\nself.emb.register_forward_hook(print)", "return self.emb(x).mean(1)", ""),
    ("computed names", TABLE, "n = 'e' + 'mb'\nreturn self.emb(x).mean(1) + getattr(self, n)(x)", "computed name"),
    ("under a branch", TABLE, "h = self.emb(x)\nif self.training:\n    h = h.mean(1)\nreturn h", ""),
    ("in a try", TABLE, "try:\n    h = self.emb(x)\n    h = h.mean(1)\nexcept OSError:\n    h = x\nreturn h", "caught"),
    ("bound inside", TABLE, "return self.emb(y := x).mean(1) + y.sum()", "bound inside"),
    ("sharing a line", TABLE, "h = self.emb(x); h = h.mean(1)\nreturn h", "shares its line"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


TAILS = [
    ("def init(m):\n    if isinstance(m, nn.Embedding):\n        nn.init.zeros_(m.weight)", "by their type"),
    ("def init(m):\n    if type(m).__name__ == 'Embedding':\n        nn.init.zeros_(m.weight)", "by their type"),
    ("def load(m, t):\n    m.emb = nn.Embedding.from_pretrained(t)", ""),
    ("def load(m, t):\n    m.emb.weight = nn.Parameter(t)", "touches it"),
    ("def penalty(m, x):\n    return torch.autograd.grad(m(x).sum(), x, create_graph=True)", "differentiates"),
    ("def curvature(m, x):\n    return torch.func.hessian(m)(x)", "differentiates"),
    ("class N(M):\n    def forward(self, x):\n        return self.emb(x)", "more than once"),
    ("class N(M):\n    def __init__(self):\n        super().__init__()\n        self.emb = nn.Linear(1, 1)", ""),
]


@pytest.mark.parametrize(("tail", "reason"), TAILS)
def test_refused_for_the_rest_of_the_file(tail: str, reason: str) -> None:
    reasons = refused(module(TABLE, "return self.emb(x).mean(1)", tail=tail), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_filled_from_outside() -> None:
    tail = "def load(model, table):\n    model.emb.weight.data.copy_(table)"
    text = module(TABLE, "return self.emb(x).mean(1)", tail=tail)
    assert any(one.code == CODE for one in Analysis(text).findings)


FUNCTIONS_REFUSED = [
    ("return F.embedding(i, w, padding_idx=0).mean(1)", "padding index"),
    ("return F.embedding(i, w, 3).mean(1)", "padding index"),
    ("return F.embedding(i, w, scale_grad_by_freq=True).mean(1)", "frequency"),
    ("return F.embedding(i, w, None, None, 2.0, True).mean(1)", "frequency"),
    ("return w[i].mean(1)", ""),
    ("a = (i, w)\nreturn F.embedding(*a).mean(1)", ""),
    ("e = F.embedding(i, w)\nw.data.zero_()\nreturn e.mean(1)", "changed in between"),
    ("e = F.embedding(i, w)\nw[0] = 0\nreturn e.mean(1)", "changed in between"),
]


@pytest.mark.parametrize(("body", "reason"), FUNCTIONS_REFUSED)
def test_functions_refused(body: str, reason: str) -> None:
    reasons = refused(function(body), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


@pytest.mark.parametrize("name", ["test_lookup", "reference_lookup", "naive"])
def test_a_reference(name: str) -> None:
    text = function("return F.embedding(i, w).mean(1)").replace("def f", f"def {name}")
    assert any("reads as a reference" in one for one in refused(text, CODE))
