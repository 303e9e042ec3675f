"""FUS411: vectors of length one, and their length; other functions of the norm, and other norms, stay as they are."""

from __future__ import annotations

import math

import pytest
import torch

from equivalence.harness import equivalent, executed, refused
from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

CODE = frozenset({"FUS411"})
HEAD = "import math\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def function(body: str, arguments: str = "x") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return f"{HEAD}\n\ndef f({arguments}):\n{lines}"


NORMS = {
    "the method": "x.norm(dim=-1, keepdim=True)",
    "its order": "x.norm(p=2, dim=-1, keepdim=True)",
    "its order by position": "x.norm(2, -1, True)",
    "its order as a float": "x.norm(2.0, dim=-1, keepdim=True)",
    "its order by name": 'x.norm(p="fro", dim=-1, keepdim=True)',
    "torch.norm": "torch.norm(x, dim=-1, keepdim=True)",
    "torch.norm by position": "torch.norm(x, 2, -1, True)",
    "linalg.norm": "torch.linalg.norm(x, dim=-1, keepdim=True)",
    "linalg.norm with its order": "torch.linalg.norm(x, ord=2, dim=-1, keepdim=True)",
    "vector_norm": "torch.linalg.vector_norm(x, dim=-1, keepdim=True)",
    "vector_norm with its order": "torch.linalg.vector_norm(x, ord=2, dim=-1, keepdim=True)",
    "unsqueeze": "x.norm(dim=-1).unsqueeze(-1)",
    "None": "x.norm(dim=-1)[..., None]",
    "numpy's names": "x.norm(dim=-1, keepdim=True)",
}
ROOTS = {
    "sqrt": "torch.sqrt((x**2).sum(-1, keepdim=True))",
    "pow": "x.pow(2).sum(dim=-1, keepdim=True).sqrt()",
    "a product": "torch.sqrt(torch.sum(x * x, dim=-1, keepdim=True))",
    "a power": "torch.sum(torch.square(x), -1, True) ** 0.5",
    "an unsqueezed sum": "torch.sqrt((x**2).sum(-1).unsqueeze(-1))",
}


@pytest.mark.parametrize("norm", [*NORMS.values(), *ROOTS.values()], ids=[*NORMS, *ROOTS])
def test_a_quotient(norm: str) -> None:
    result = equivalent(function(f"return x / {norm}"), ((2, 3, 6),), codes=CODE)
    assert "return F.normalize(x, dim=-1)" in result.text, result.text
    assert [one.safety for one in result.applied] == [Safety.NUMERICS]
    assert "vectors of zeros" in result.applied[0].title
    assert ("float16" in result.applied[0].title) == (norm in ROOTS.values())


CLAMPED = {
    "clamp(min=)": "{}.clamp(min=1e-8)",
    "clamp": "{}.clamp(1e-8)",
    "clamp_min": "{}.clamp_min(1e-8)",
    "torch.clamp": "torch.clamp({}, min=1e-8)",
    "torch.clamp_min": "torch.clamp_min({}, 1e-8)",
    "clip": "torch.clip({}, 1e-8)",
}


@pytest.mark.parametrize("clamp", CLAMPED.values(), ids=CLAMPED)
@pytest.mark.parametrize("norm", ["x.norm(dim=-1, keepdim=True)", "torch.linalg.norm(x, ord=2, dim=-1, keepdim=True)"])
def test_a_clamped_norm_is_exact(norm: str, clamp: str) -> None:
    rows = torch.randn(4, 6, dtype=torch.float64) * torch.tensor([[1.0], [0.0], [1e-9], [1e-8]], dtype=torch.float64)
    result = equivalent(function(f"return x / {clamp.format(norm)}"), (rows,), codes=CODE)
    assert "return F.normalize(x, dim=-1, eps=1e-8)" in result.text, result.text
    assert [one.safety for one in result.applied] == [Safety.EXACT]


OTHERS = {
    "rsqrt": ("return x * torch.rsqrt((x**2).sum(-1, keepdim=True))", "F.normalize(x, dim=-1)"),
    "a reciprocal": ("return x * (1 / x.norm(dim=-1, keepdim=True))", "F.normalize(x, dim=-1)"),
    "div": ("return x.div(x.norm(dim=1, keepdim=True))", "F.normalize(x, dim=1)"),
    "another dimension": ("return x / x.norm(dim=1, keepdim=True)", "F.normalize(x, dim=1)"),
    "the first dimension": ("return x / x.norm(dim=0, keepdim=True)", "F.normalize(x, dim=0)"),
    "in steps": ("n = x.norm(dim=-1, keepdim=True)\nx = x / n\nreturn x + 1", "F.normalize(x, dim=-1)"),
    "an eps of its own": ("return x / x.norm(dim=-1, keepdim=True).clamp(min=eps)", "F.normalize(x, dim=-1, eps=eps)"),
    "the sum of magnitudes": ("return x / x.abs().sum(-1, keepdim=True)", "F.normalize(x, p=1, dim=-1)"),
    "torch.abs": ("return x / torch.sum(torch.abs(x), 1, True)", "F.normalize(x, p=1, dim=1)"),
    "order one": ("return x / x.norm(p=1, dim=-1, keepdim=True)", "F.normalize(x, p=1, dim=-1)"),
    "order one, clamped": (
        "return x / x.abs().sum(-1, keepdim=True).clamp(min=1e-6)", "F.normalize(x, p=1, dim=-1, eps=1e-6)"),
    "order three": ("return x / x.norm(p=3, dim=-1, keepdim=True)", "F.normalize(x, p=3, dim=-1)"),
    "the largest": (
        "return x / torch.linalg.vector_norm(x, ord=math.inf, dim=-1, keepdim=True)",
        "F.normalize(x, p=math.inf, dim=-1)"),
    "a clamped root": (
        "return x / torch.sqrt((x**2).sum(-1, keepdim=True)).clamp(min=1e-8)", "F.normalize(x, dim=-1, eps=1e-8)"),
    "behind another product": ("return y * (x / x.norm(dim=-1, keepdim=True))", "y * F.normalize(x, dim=-1)"),
    "an expression": ("return (x + y) / (x + y).norm(dim=-1, keepdim=True)", "F.normalize(x + y, dim=-1)"),
    "the length": ("return torch.sqrt((x**2).sum(-1))", "torch.linalg.vector_norm(x, dim=-1)"),
    "the length, kept": (
        "return torch.sqrt(x.pow(2).sum(dim=1, keepdim=True))", "torch.linalg.vector_norm(x, dim=1, keepdim=True)"),
    "the length of it all": ("return torch.sqrt(torch.sum(x * x))", "torch.linalg.vector_norm(x)"),
    "the length of several": ("return (x**2).sum((1, 2)).sqrt()", "torch.linalg.vector_norm(x, dim=(1, 2))"),
    "a distance": ("return torch.sqrt(((x - y) ** 2).sum(-1))", "torch.linalg.vector_norm(x - y, dim=-1)"),
    "a distance by a power": ("return (x - y).pow(2).sum(-1).pow(0.5)", "torch.linalg.vector_norm(x - y, dim=-1)"),
}  # fmt: skip


@pytest.mark.parametrize("id", OTHERS)
def test_other_spellings(id: str) -> None:
    body, after = OTHERS[id]
    result = equivalent(function(body, "x, y, eps=1e-6"), ((2, 3, 6), (2, 3, 6)), codes=CODE)
    assert after in result.text, result.text
    if "x + y" not in after and "eps=" not in after:
        assert [one.safety for one in result.applied] == [Safety.NUMERICS]


def both(body: str, row: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Result and gradient by hand and by the call."""
    text = function(f"return {body}")
    runs: list[tuple[torch.Tensor, torch.Tensor]] = []
    after = fix_all(Analysis(text, codes=CODE), frozenset(Safety)).text
    assert after != text
    for source in (text, after):
        with executed(source) as module:
            leaf = row.clone().requires_grad_()
            result = module.f(leaf)
            (gradient,) = torch.autograd.grad(result.sum(), leaf)
            runs.append((result.detach(), gradient))
    return runs


def test_vectors_of_zeros() -> None:
    zeros = torch.zeros(1, 4)
    (by_hand, _), (by_call, gradient) = both("x / x.norm(dim=-1, keepdim=True)", zeros)
    assert by_hand.isnan().all()
    assert not by_call.any()
    assert gradient.isfinite().all()
    (one, before), (other, after) = both("torch.sqrt((x**2).sum(-1))", zeros)
    assert torch.equal(one, other)
    assert before.isnan().all()
    assert not after.any()
    (_, before), (_, after) = both("x / torch.sqrt((x**2).sum(-1, keepdim=True)).clamp(min=1e-8)", zeros)
    assert before.isnan().all()
    assert after.isfinite().all()


def test_small_and_large_vectors() -> None:
    (by_hand, _), (by_call, _) = both("x / x.norm(dim=-1, keepdim=True)", torch.full((1, 4), 1e-14))
    assert by_hand.allclose(torch.full((1, 4), 0.5))
    assert by_call.allclose(torch.full((1, 4), 0.01))
    (by_hand, _), (by_call, _) = both("x / torch.sqrt((x**2).sum(-1, keepdim=True))", torch.full((1, 4), 300.0).half())
    assert not by_hand.any()
    assert by_call.allclose(torch.full((1, 4), 0.5).half())
    for value in (1e-8, 1.0, math.inf, 1e20):
        (by_hand, _), (by_call, _) = both("x / x.norm(dim=-1, keepdim=True)", torch.tensor([[value, 1.0]]))
        torch.testing.assert_close(by_call, by_hand, equal_nan=True)


NOTHING = {
    "of everything": ("return x / x.norm()", ""),
    "of everything by torch": ("return x / torch.norm(x, 2)", ""),
    "without keepdim": ("return x / x.norm(dim=-1)", ""),
    "unsqueezed elsewhere": ("return x / x.norm(dim=-1).unsqueeze(1)", ""),
    "of another": ("return x / y.norm(dim=-1, keepdim=True)", ""),
    "times the norm": ("return x * x.norm(dim=-1, keepdim=True)", ""),
    "the square of the norm": ("return x / x.norm(dim=-1, keepdim=True) ** 2", ""),
    "by the squares": ("return x / (x**2).sum(-1, keepdim=True)", ""),
    "eps outside": ("return x / (x.norm(dim=-1, keepdim=True) + 1e-8)", "eps is added to the norm"),
    "eps outside of a root": (
        "return x / (torch.sqrt((x**2).sum(-1, keepdim=True)) + 1e-8) + y", "eps is added to the norm"),
    "eps inside": ("return x / torch.sqrt((x**2).sum(-1, keepdim=True) + 1e-8)", "eps is added to the squares"),
    "eps inside a rsqrt": ("return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)", "added to the squares"),
    "eps behind magnitudes": ("return x / (x.abs().sum(-1, keepdim=True) + 1e-8)", "eps is added to the norm"),
    "several dimensions": ("return x / x.norm(dim=(1, 2), keepdim=True)", "several dimensions"),
    "a tuple of one dimension": ("return x / x.norm(dim=(-1,), keepdim=True)", "as a number"),
    "an unknown dimension": ("return x / x.norm(dim=y, keepdim=True)", "dimension is not shown"),
    "an unknown order": ("return x / x.norm(p=y, dim=-1, keepdim=True)", "order of the norm is not shown"),
    "order zero": ("return x / x.norm(p=0, dim=-1, keepdim=True)", "order of the norm is not shown"),
    "the nuclear norm": ('return x / x.norm(p="nuc", dim=(1, 2), keepdim=True)', ""),
    "a matrix norm": ("return x / torch.linalg.matrix_norm(x, keepdim=True)", ""),
    "the sum": ("return x / x.sum(-1, keepdim=True)", ""),
    "the magnitude of the sum": ("return x / x.sum(-1, keepdim=True).abs()", ""),
    "the largest element": ("return x / x.abs().max()", ""),
    "the mean square": ("return x / torch.sqrt((x**2).mean(-1, keepdim=True))", ""),
    "clamped above": ("return x / x.norm(dim=-1, keepdim=True).clamp(max=1.0)", ""),
    "clamped on both sides": ("return x / x.norm(dim=-1, keepdim=True).clamp(1e-8, 1.0)", ""),
    "clamped by a tensor": ("return x / x.norm(dim=-1, keepdim=True).clamp(min=y)", "is a number"),
    "with a dtype": ("return x / x.norm(dim=-1, keepdim=True, dtype=torch.float64)", ""),
    "the norm is used again": ("n = x.norm(dim=-1, keepdim=True)\nreturn x / n, n", "used again"),
    "rebound between": ("n = x.norm(dim=-1, keepdim=True)\nx = x + y\nreturn x / n", ""),
    "written between": ("n = x.norm(dim=-1, keepdim=True)\nx.add_(y)\nreturn x / n", "changed in between"),
    "two elements": ("return x[0] / x[1].norm(dim=-1, keepdim=True)", ""),
    "in place": ("x /= x.norm(dim=-1, keepdim=True)\nreturn x", "in place"),
    "a root with eps": ("return torch.sqrt((x**2).sum(-1) + 1e-8)", ""),
    "a root of a mean": ("return torch.sqrt((x**2).mean(-1))", ""),
    "a root of a product": ("return torch.sqrt((x * y).sum(-1))", ""),
    "a root of a sum": ("return torch.sqrt(x.sum(-1))", ""),
    "a root of cubes": ("return torch.sqrt((x**3).sum(-1))", ""),
    "a cube root": ("return (x**2).sum(-1) ** (1 / 3)", ""),
    "no root": ("return (x**2).sum(-1)", ""),
    "of integers": ("x = torch.arange(6)\nreturn torch.sqrt((x**2).sum(-1))", "integers"),
    "of complex numbers": ("x = torch.fft.fft(x)\nreturn torch.sqrt((x**2).sum(-1))", "complex"),
    "for an exporter": (
        "s = torch.pow(x, 2)\ns = torch.sum(s, dim=-1, keepdim=True)  # executorch\nreturn torch.pow(s, 0.5)", ""),
}  # fmt: skip


@pytest.mark.parametrize("id", NOTHING)
def test_left_alone(id: str) -> None:
    body, reason = NOTHING[id]
    text = function(body, "x, y")
    if id.startswith("eps outside of a root"):
        assert any(reason in (one.refused or "") for one in Analysis(text, codes=CODE).refusals)
        return
    if id == "for an exporter":
        text = text.replace("def f(x, y):\n", 'def f(x, y):\n    """For executorch."""\n')
    reasons = refused(text, "FUS411")
    assert not reason or any(reason in one for one in reasons), reasons


def test_of_numpy() -> None:
    head = "import numpy as np\nimport torch\n\n\ndef f(x):\n"
    for body in ("return x / np.linalg.norm(x, axis=-1, keepdims=True)", "return ((x**2).sum(-1)) ** 0.5"):
        assert not Analysis(f"{head}    {body}\n", codes=CODE).findings


def test_in_a_reference() -> None:
    text = function("return x / x.norm(dim=-1, keepdim=True)").replace("def f", "def test_unit")
    assert any("reference" in one for one in refused(text, "FUS411"))
