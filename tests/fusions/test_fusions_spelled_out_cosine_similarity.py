"""FUS412: the cosine of two vectors each; matrices of cosines and other products stay as they are."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import equivalent, executed, refused
from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

CODE = frozenset({"FUS412"})
HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def function(body: str, arguments: str = "a, b") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return f"{HEAD}\n\ndef f({arguments}):\n{lines}"


UNIT = "F.normalize({}, dim={})"


def units(dim: str) -> tuple[str, str]:
    return UNIT.format("a", dim), UNIT.format("b", dim)


A, B = units("-1")
NORMALISED = {
    "sum": f"return ({A} * {B}).sum(-1)",
    "sum(dim=)": f"return ({A} * {B}).sum(dim=-1)",
    "torch.sum": f"return torch.sum({A} * {B}, -1)",
    "torch.mul": f"return torch.mul({A}, {B}).sum(dim=-1)",
    "in steps": f"a = {A}\nb = {B}\nreturn (a * b).sum(-1)",
    "other names": f"u = {A}\nv = {B}\ns = (u * v).sum(-1)\nreturn s",
    "the order": "return (F.normalize(a, p=2, dim=-1) * F.normalize(b, p=2.0, dim=-1)).sum(-1)",
    "in an expression": f"return 1 - ({A} * {B}).sum(-1)",
    "a loss": f"return (1 - ({A} * {B}).sum(-1)).mean()",
}
QUOTIENTS = {
    "a product of norms": "return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))",
    "one by one": "return (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)",
    "in steps": "d = (a * b).sum(-1)\nn = a.norm(dim=-1) * b.norm(dim=-1)\nreturn d / n",
    "torch.norm": "return torch.sum(a * b, dim=-1) / (torch.norm(a, dim=-1) * torch.norm(b, dim=-1))",
    "with their order": "return torch.sum(a * b, dim=-1) / (a.norm(p=2, dim=-1) * b.norm(2, -1))",
    "linalg": "return (a * b).sum(-1) / (torch.linalg.norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1))",
    "roots": "return (a * b).sum(-1) / (torch.sqrt((a**2).sum(-1)) * torch.sqrt((b * b).sum(-1)))",
    "the other order": "return (b * a).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))",
}


@pytest.mark.parametrize("id", NORMALISED)
def test_of_normalised_vectors(id: str) -> None:
    result = equivalent(function(NORMALISED[id]), ((2, 3, 6), (2, 3, 6)), codes=CODE)
    assert "F.cosine_similarity(a, b, dim=" in result.text, result.text
    assert "eps=1e-12)" in result.text
    assert [one.safety for one in result.applied] == [Safety.NUMERICS]


@pytest.mark.parametrize("id", QUOTIENTS)
def test_of_products(id: str) -> None:
    result = equivalent(function(QUOTIENTS[id]), ((2, 3, 6), (2, 3, 6)), codes=CODE)
    assert "F.cosine_similarity(" in result.text, result.text
    assert "dim=-1)" in result.text
    assert "vectors of zeros" in result.applied[0].title


def test_dimensions_from_the_front() -> None:
    for body in (
        "return (F.normalize(a) * F.normalize(b)).sum(1)",
        "return (F.normalize(a, dim=1) * F.normalize(b)).sum(dim=1)",
        "return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))",
    ):
        result = equivalent(function(body), ((2, 3, 6), (2, 3, 6)), codes=CODE)
        assert "the same number of dimensions" in result.applied[0].title
    known = "n, d = a.shape\nm, e = b.shape\nreturn (F.normalize(a) * F.normalize(b)).sum(-1)"
    result = equivalent(function(known), ((4, 6), (4, 6)), codes=CODE)
    assert "number of dimensions" not in result.applied[0].title


def test_broadcast() -> None:
    body = f"a = a[:, None]\nb = b[None]\nreturn ({A} * {B}).sum(-1)"
    equivalent(function(body), ((4, 6), (3, 6)), codes=CODE)


def test_small_vectors() -> None:
    a, b = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for body in (f"return ({A} * {B}).sum(-1)", "return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))"):
        text = function(body)
        after = fix_all(Analysis(text, codes=CODE), frozenset(Safety)).text
        with executed(text) as old, executed(after) as new:
            torch.testing.assert_close(new.f(a, b), old.f(a, b))
            assert not new.f(a * 0, b).any()
            if "normalize" in body:
                for scale in (1e-10, 1e-14, 1e-20, 0.0):
                    torch.testing.assert_close(new.f(a * scale, b), old.f(a * scale, b))
            else:
                assert old.f(a * 0, b).isnan().all()


NOTHING = {
    "a matrix": (f"return {A} @ {B}.T", ""),
    "a matrix by matmul": (f"return torch.matmul({A}, {B}.transpose(-2, -1))", ""),
    "a matrix by einsum": (f'return torch.einsum("id,jd->ij", {A}, {B})', ""),
    "no sum": (f"return {A} * {B}", ""),
    "the sum of it all": (f"return ({A} * {B}).sum()", "not shown"),
    "the mean": (f"return ({A} * {B}).mean(-1)", ""),
    "kept": (f"return ({A} * {B}).sum(-1, keepdim=True)", ""),
    "a difference": (f"return ({A} - {B}).sum(-1)", ""),
    "one normalised": (f"return ({A} * b).sum(-1)", ""),
    "of one": (f"return ({A} * {A}).sum(-1)", ""),
    "order one": ("return (F.normalize(a, p=1, dim=-1) * F.normalize(b, p=1, dim=-1)).sum(-1)", ""),
    "another eps": ("return (F.normalize(a, dim=-1, eps=1e-3) * F.normalize(b, dim=-1)).sum(-1)", ""),
    "another dimension": ("return (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(2)", "summed over"),
    "the default dimension": ("return (F.normalize(a) * F.normalize(b)).sum(-1)", "summed over"),
    "the default dimension of rank 3": (
        "n, t, d = a.shape\nreturn (F.normalize(a) * F.normalize(b)).sum(-1)", "summed over"),
    "two dimensions": ("return (F.normalize(a, dim=1) * F.normalize(b, dim=2)).sum(2)", "summed over"),
    "a tuple of one dimension": (f"return ({A} * {B}).sum((-1,))", "not shown"),
    "several dimensions": (f"return ({A} * {B}).sum((1, 2))", "not shown"),
    "a third factor": (f"return ({A} * {B} * w).sum(-1)", ""),
    "norms of everything": ("return (a * b).sum(1) / (a.norm() * b.norm())", "not shown"),
    "a norm too few": ("return (a * b).sum(-1) / a.norm(dim=-1)", ""),
    "one norm twice": ("return (a * b).sum(-1) / (a.norm(dim=-1) * a.norm(dim=-1))", ""),
    "other norms": ("return (a * b).sum(-1) / (w.norm(dim=-1) * b.norm(dim=-1))", ""),
    "the squares of the norms": ("return (a * b).sum(-1) / (a.norm(dim=-1) ** 2 * b.norm(dim=-1) ** 2)", ""),
    "a sum of norms": ("return (a * b).sum(-1) / (a.norm(dim=-1) + b.norm(dim=-1))", ""),
    "eps": ("return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-8)", "eps is added"),
    "clamped": ("return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-8)", ""),
    "order three": ("return (a * b).sum(-1) / (a.norm(p=3, dim=-1) * b.norm(p=3, dim=-1))", ""),
    "norms of another dimension": ("return (a * b).sum(-1) / (a.norm(dim=0) * b.norm(dim=0))", "summed over"),
    "kept norms": ("return (a * b).sum(-1) / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True))", ""),
    "used again": (f"a = {A}\nreturn (a * {B}).sum(-1), a", "used again"),
    "the norm is used again": ("n = a.norm(dim=-1)\nreturn (a * b).sum(-1) / (n * b.norm(dim=-1)), n", "used again"),
    "rebound between": ("n = a.norm(dim=-1)\na = a + 1\nreturn (a * b).sum(-1) / (n * b.norm(dim=-1))", ""),
    "written between": (
        "n = a.norm(dim=-1)\na.add_(1)\nreturn (a * b).sum(-1) / (n * b.norm(dim=-1))", "changed in between"),
}  # fmt: skip


@pytest.mark.parametrize("id", NOTHING)
def test_left_alone(id: str) -> None:
    body, reason = NOTHING[id]
    reasons = refused(function(body, "a, b, w"), "FUS412")
    assert not reason or any(reason in one for one in reasons), reasons


def test_in_a_reference() -> None:
    text = function(f"return ({A} * {B}).sum(-1)").replace("def f", "def naive_cosine")
    assert any("reference" in one for one in refused(text, "FUS412"))
