"""FUS601: a look-up reads the rows that a product with one-hot rows picked, however it is spelled; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest
import torch

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS601"
I = torch.tensor([[3, 0, 9], [1, 1, 5]])  # noqa: E741  (indices)
INPUTS: Inputs = (I,)
TABLE = "self.w = nn.Parameter(torch.randn(10, 4))"


def file(init: str, forward: str) -> str:
    return module(init, forward, arguments="self, i")


def offered(text: str, inputs: Inputs = INPUTS) -> str:
    result = equivalent(text, inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert [finding.code for finding in result.applied] == [CODE], [one.refused for one in result.analysis.refusals]
    assert "one_hot(" not in result.text
    return result.text


SPELLINGS = [
    ("an operator", "return F.one_hot(i, 10).to(self.w.dtype) @ self.w"),
    ("matmul", "return torch.matmul(F.one_hot(i, 10).to(self.w.dtype), self.w)"),
    ("a method", "return F.one_hot(i, 10).to(self.w.dtype).matmul(self.w)"),
    ("double", "return F.one_hot(i, 10).double() @ self.w"),
    ("a type", "return F.one_hot(i, 10).type(self.w.dtype) @ self.w"),
    ("a dtype by name", "return F.one_hot(i, 10).to(dtype=self.w.dtype) @ self.w"),
    ("a dtype in a name", "dtype = self.w.dtype\nreturn F.one_hot(i, 10).to(dtype) @ self.w"),
    ("as the table", "return F.one_hot(i, 10).type_as(self.w) @ self.w"),
    ("twice converted", "return F.one_hot(i, num_classes=10).float().double() @ self.w"),
    ("a device", "return F.one_hot(i, 10).to(self.w.device).double() @ self.w"),
    ("a device by name", "return F.one_hot(i, 10).to(device=self.w.device, dtype=self.w.dtype) @ self.w"),
    ("the whole name", "return torch.nn.functional.one_hot(i, 10).double() @ self.w"),
    ("the number of rows", "return F.one_hot(i, self.w.shape[0]).double() @ self.w"),
    ("the number of rows, asked", "return F.one_hot(i, self.w.size(0)).double() @ self.w"),
    ("keywords", "return F.one_hot(input=i, num_classes=10).double() @ self.w"),
    ("an einsum", "return torch.einsum('btn,nd->btd', F.one_hot(i, 10).double(), self.w)"),
    ("mm", "return torch.mm(F.one_hot(i.flatten(), 10).double(), self.w)"),
    ("in a name", "rows = F.one_hot(i, 10).double()\nreturn rows @ self.w"),
    ("in names", "rows = F.one_hot(i, 10)\n# now as numbers\nrows = rows.double()\ny = rows @ self.w\nreturn y"),
    ("in its own name", "i = F.one_hot(i, 10).double()\nreturn i @ self.w"),
    ("an index worked out", "rows = F.one_hot(i.flatten() % 10, 10).double()\nreturn rows @ self.w"),
    ("something in between", "rows = F.one_hot(i, 10).double()\nscale = self.w.mean()\nreturn (rows @ self.w) * scale"),
    ("converted too", "return F.one_hot(i, 10).float() @ self.w.float()"),
    ("a part of a sum", "return 1 + F.one_hot(i, 10).double() @ self.w"),
    ("over lines", "return torch.matmul(\n    F.one_hot(\n        i,  # which\n        10,\n    ).double(),\n    self.w,\n)"),
]  # fmt: skip


@pytest.mark.parametrize("forward", [forward for _, forward in SPELLINGS], ids=[id for id, _ in SPELLINGS])
def test_however_it_is_spelled(forward: str) -> None:
    text = file(TABLE, forward)
    assert [one.safety for one in Analysis(text).findings if one.code == CODE] == [Safety.EXACT]
    offered(text)


TABLES = [
    ("scaled", "self.w = nn.Parameter(torch.randn(10, 4) * 0.02)"),
    ("scaled by a size", "d = 4\nself.w = nn.Parameter(torch.randn(10, d) / d**0.5)"),
    ("a tuple of sizes", "self.w = nn.Parameter(torch.zeros((10, 4)))"),
    ("filled", "self.w = nn.Parameter(torch.empty(10, 4).normal_(0, 0.02))"),
    ("initialised", "self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(10, 4)))"),
    ("a buffer", 'self.register_buffer("w", torch.randn(10, 4))'),
    ("names", "n, d = 10, 4\nself.w = nn.Parameter(torch.zeros(n, d))"),
]  # fmt: skip


@pytest.mark.parametrize("init", [init for _, init in TABLES], ids=[id for id, _ in TABLES])
def test_tables(init: str) -> None:
    text = file(init, "return F.one_hot(i, 10).to(self.w.dtype) @ self.w")
    assert [one.safety for one in Analysis(text).findings if one.code == CODE] == [Safety.EXACT]
    offered(text)


def test_a_linear_function_takes_its_table_turned() -> None:
    text = offered(
        file("self.w = nn.Parameter(torch.randn(4, 10))", "return F.linear(F.one_hot(i, 10).double(), self.w)")
    )
    assert "F.embedding(i, self.w.t())" in text
    text = offered(
        file(
            "self.w = nn.Parameter(torch.randn(4, 10))",
            "return torch.einsum('btn,dn->btd', F.one_hot(i, 10).double(), self.w)",
        )
    )
    assert "F.embedding(i, self.w.t())" in text


def test_the_weight_of_a_layer_is_a_table() -> None:
    offered(
        file("self.emb = nn.Embedding(10, 4)", "return F.one_hot(i, 10).to(self.emb.weight.dtype) @ self.emb.weight")
    )


def test_the_index_follows_the_rows_to_their_device() -> None:
    text = offered(file(TABLE, "return F.one_hot(i + 0, 10).to(self.w.device).double() @ self.w"))
    assert "F.embedding((i + 0).to(self.w.device), self.w)" in text


def test_a_single_index() -> None:
    offered(file(TABLE, "return F.one_hot(i, 10).double() @ self.w"), (torch.tensor(3),))


@pytest.mark.parametrize("count", ["w.shape[0]", "w.size(0)", "len(w)"])
def test_a_table_that_counts_the_classes_is_taken_for_one(count: str) -> None:
    text = f"import torch\nimport torch.nn.functional as F\n\n\ndef f(i, w):\n    return F.one_hot(i, {count}).to(w.dtype) @ w\n"
    found = [one for one in Analysis(text).findings if one.code == CODE]
    assert [one.safety for one in found] == [Safety.NUMERICS]
    assert "two dimensions" in found[0].title
    offered(text, (I, (10, 4)))


REFUSED = [
    ("no number of classes", TABLE, "return F.one_hot(i).double() @ self.w", "read off the indices"),
    ("minus one", TABLE, "return F.one_hot(i, num_classes=-1).double() @ self.w", "read off the indices"),
    ("a vector", "self.w = nn.Parameter(torch.randn(10))", "return F.one_hot(i, 10).double() @ self.w", "two dimensions"),
    ("a vector by its length", "self.n = 3", "w = torch.randn(10)\nreturn F.one_hot(i, len(w)).float() @ w", "two dimensions"),
    ("of three dimensions", "self.w = nn.Parameter(torch.randn(2, 10, 4))", "return F.one_hot(i, 10).double() @ self.w", "two dimensions"),
    ("a shape by name", "shape = (10, 4)\nself.w = nn.Parameter(torch.zeros(shape))", "return F.one_hot(i, 10).double() @ self.w", "two dimensions"),
    ("set again", f"{TABLE}\nself.w = nn.Parameter(torch.zeros(10))", "return F.one_hot(i, 10).double() @ self.w", "two dimensions"),
    ("converted to who knows what", TABLE, "y = self.w\nreturn F.one_hot(i, 10).to(y) @ self.w", "not known what"),
    ("copied", TABLE, "return F.one_hot(i, 10).to(torch.float64, copy=True) @ self.w", "not known what"),
    ("used twice", TABLE, "rows = F.one_hot(i, 10).double()\nreturn rows @ self.w + rows.sum(-1, keepdim=True)", "used again"),
    ("returned", TABLE, "rows = F.one_hot(i, 10).double()\nreturn rows @ self.w, rows", "used again"),
    ("its size read", TABLE, "rows = F.one_hot(i, 10).double()\nreturn (rows @ self.w) * rows.shape[-1]", "used again"),
    ("the whole kept", TABLE, "whole = F.one_hot(i, 10)\nrows = whole.double()\nreturn rows @ self.w, whole", "used again"),
    ("scaled", TABLE, "return (F.one_hot(i, 10).double() * 0.5) @ self.w", ""),
    ("summed", TABLE, "return F.one_hot(i, 10).double().sum(1) @ self.w", ""),
    ("masked", TABLE, "rows = F.one_hot(i, 10).double()\nrows[0] = 0\nreturn rows @ self.w", ""),
    ("cut", TABLE, "return F.one_hot(i, 11).double()[..., :10] @ self.w", ""),
    ("on the right", TABLE, "return self.w.t() @ F.one_hot(i, 10).double().transpose(-1, -2)", ""),
    ("turned", TABLE, "return F.one_hot(i, 10).double().transpose(-1, -2) @ self.w[:3]", ""),
    ("an einsum over another letter", TABLE, "return torch.einsum('btn,nd->bnd', F.one_hot(i, 10).double(), self.w)", ""),
    ("an einsum with an ellipsis", TABLE, "return torch.einsum('...n,nd->...d', F.one_hot(i, 10).double(), self.w)", ""),
    ("the index written to", TABLE, "rows = F.one_hot(i, 10).double()\ni.clamp_(max=2)\nreturn rows @ self.w", "may be changed"),
    ("the index rebound", TABLE, "rows = F.one_hot(i, 10).double()\ni = i.clamp(max=2)\nreturn rows @ self.w, i", "another value"),
    ("the index handed on", TABLE, "rows = F.one_hot(i, 10).double()\nprint_to(i)\nreturn rows @ self.w", "may be changed"),
    ("an index that is drawn", TABLE, "rows = F.one_hot(torch.randint(10, (3,)), 10).double()\nreturn rows @ self.w + i.sum()", "worked out by a call"),
    ("a number of classes that is drawn", TABLE, "return F.one_hot(i, self.count()).double() @ self.w", "worked out by a call"),
    ("a branch", TABLE, "rows = F.one_hot(i, 10).double()\nif i.sum() > 3:\n    return rows @ self.w\nreturn i", "another branch"),
    ("a walrus", TABLE, "return (rows := F.one_hot(i, 10).double()) @ self.w", ""),
    ("autocast", TABLE, "with torch.autocast('cuda'):\n    return F.one_hot(i, 10).double() @ self.w", "autocast"),
    ("one line", TABLE, "rows = F.one_hot(i, 10).double(); n = 3\nreturn (rows @ self.w) * n", "shares its line"),
    ("left in between", TABLE, "rows = F.one_hot(i, 10).double()\nif i.sum() > 3:\n    return i\nreturn rows @ self.w", "may leave"),
    ("another framework's", "import jax\nself.n = 3", "return jax.nn.one_hot(i, 10) @ self.w", ""),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_is_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(file(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_a_reference_is_kept() -> None:
    text = "import torch.nn.functional as F\n\n\ndef expected(i, w):\n    return F.one_hot(i, len(w)).to(w.dtype) @ w\n"
    assert any("reference" in reason for reason in refused(text, CODE))
