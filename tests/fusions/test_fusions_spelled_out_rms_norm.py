"""FUS409: the norm of the last dimension is one call; other statistics, gates and half conversions stay as they are."""

from __future__ import annotations

import warnings

import pytest
import torch

from equivalence.harness import equivalent, executed, fixes, refused
from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

CODE = frozenset({"FUS409"})
HEAD = "import math\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
FLOAT32 = 1e-5
"""Tolerance where a part is computed in float32 whatever the input is."""


def function(body: str, arguments: str = "x", head: str = HEAD) -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return f"{head}\n\ndef f({arguments}):\n{lines}"


def layer(
    body: str, weight: str = "nn.Parameter(torch.ones(dim))", more: str = "pass", eps: str = "eps: float = 1e-6"
) -> str:
    """A layer with a norm in it that is not the whole of it."""
    lines = "".join(f"        {line}\n" for line in body.strip("\n").split("\n"))
    made = "".join(f"        {line}\n" for line in more.split("\n"))
    return (
        f"{HEAD}\n\nclass M(nn.Module):\n    def __init__(self, dim: int = 6, {eps}):\n        super().__init__()\n"
        f"        self.weight = {weight}\n        self.eps = eps\n        self.out = nn.Linear(dim, 3)\n{made}\n"
        f"    def forward(self, x):\n{lines}"
    )


SQUARE = "x.pow(2).mean(-1, keepdim=True)"
NORM = f"x * torch.rsqrt({SQUARE} + 1e-6)"
PLAIN = {
    "rsqrt": "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)",
    "the other order": "return torch.rsqrt(1e-6 + x.pow(2).mean(-1, keepdim=True)) * x",
    "a quotient": "return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)",
    "a method sqrt": "return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()",
    "a power": "return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6) ** -0.5",
    "a power of a half": "return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6) ** 0.5",
    "pow": "return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).pow(-0.5)",
    "a reciprocal": "return x * (1 / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))",
    "a square by **": "return x * torch.rsqrt((x**2).mean(-1, keepdim=True) + 1e-6)",
    "a product": "return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)",
    "square": "return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)",
    "torch.square": "return x * torch.rsqrt(torch.square(x).mean(-1, keepdim=True) + 1e-6)",
    "torch.mean": "return x * torch.rsqrt(torch.mean(x**2, dim=-1, keepdim=True) + 1e-6)",
    "positional keepdim": "return x * torch.rsqrt(torch.mean(x**2, -1, True) + 1e-6)",
    "numpy's names": "return x * torch.rsqrt(x.pow(2).mean(axis=-1, keepdims=True) + 1e-6)",
    "a tuple of one": "return x * torch.rsqrt(x.pow(2).mean((-1,), keepdim=True) + 1e-6)",
    "a list of one": "return x * torch.rsqrt(x.pow(2).mean(dim=[-1], keepdim=True) + 1e-6)",
    "unsqueeze": "return x * torch.rsqrt(x.pow(2).mean(-1).unsqueeze(-1) + 1e-6)",
    "None": "return x * torch.rsqrt(x.pow(2).mean(-1)[..., None] + 1e-6)",
    "a sum by the size": "return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / x.shape[-1] + 1e-6)",
    "a sum by size()": "return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / x.size(-1) + 1e-6)",
    "a sum by an unpacked size": "b, t, d = x.shape\nreturn x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / d + 1e-6)",
    "steps": "s = x.pow(2)\nv = s.mean(-1, keepdim=True)\nr = torch.rsqrt(v + 1e-6)\ny = x * r\nreturn y",
    "rebound": "v = x.pow(2).mean(-1, keepdim=True)\nx = x * torch.rsqrt(v + 1e-6)\nreturn x + 1",
    "a comment": f"# the mean square\nv = {SQUARE}  # of each row\nreturn x * torch.rsqrt(v + 1e-6)",
    "a default": "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)",
    "mul": "return torch.mul(x, torch.rsqrt(torch.add(x.pow(2).mean(-1, keepdim=True), 1e-6)))",
    "in a branch": "if x.dim() == 3:\n    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\nreturn x",
    "a known rank": "b, t, d = x.shape\nreturn x * torch.rsqrt(x.pow(2).mean(2, keepdim=True) + 1e-6)",
    "with a scale": "return 3 * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))",
}  # fmt: skip


@pytest.mark.parametrize("id", PLAIN)
def test_without_a_weight(id: str) -> None:
    text = function(PLAIN[id], "x, eps=1e-6" if id == "a default" else "x")
    result = equivalent(text, ((2, 3, 6),), codes=CODE)
    assert "F.rms_norm(x, x.shape[-1:], eps=" in result.text, result.text
    assert [one.safety for one in result.applied] == [Safety.NUMERICS]
    assert "float16" in result.applied[0].title


def test_two_dimensions() -> None:
    for dims in ("(-2, -1)", "(-1, -2)", "[-1, -2]"):
        text = function(f"return x * torch.rsqrt(x.pow(2).mean({dims}, keepdim=True) + 1e-6)")
        assert "x.shape[-2:]" in equivalent(text, ((2, 3, 6),), codes=CODE).text


WEIGHTED = {
    "behind": (function(f"return {NORM} * w", "x, w"), "x, x.shape[-1:], w, 1e-6"),
    "before": (function(f"return w * ({NORM})", "x, w"), "x, x.shape[-1:], w, 1e-6"),
    "before, in one product": (function(f"return w * {NORM}", "x, w"), "x, x.shape[-1:], w, 1e-6"),
    "called gamma": (function(f"return {NORM} * gamma", "x, gamma"), "x, x.shape[-1:], gamma, 1e-6"),
    "one and a weight": (function(f"return {NORM} * (1 + w)", "x, w"), "x, x.shape[-1:], 1 + w, 1e-6"),
    "a weight and one": (function(f"return (w + 1.0) * {NORM}", "x, w"), "x, x.shape[-1:], w + 1.0, 1e-6"),
    "several lines": (
        function("v = x.pow(2).mean(-1, keepdim=True)\nx = x * torch.rsqrt(v + 1e-6)\nreturn w * x", "x, w"),
        "x, x.shape[-1:], w, 1e-6",
    ),
    "of the weight's dtype": (
        function(f"return {NORM} * weight.to(x.dtype)", "x, weight"), "x.shape[-1:], weight.to(x.dtype), 1e-6"
    ),
}  # fmt: skip


@pytest.mark.parametrize("id", WEIGHTED)
def test_a_weight_that_is_assumed(id: str) -> None:
    text, call = WEIGHTED[id]
    result = equivalent(text, ((2, 3, 6), (6,)), codes=CODE)
    assert f"F.rms_norm({call})" in result.text or call in result.text, result.text
    assert "of the size of the last dimension" in result.applied[0].title


LAYERS = {
    "a parameter": layer(f"return self.out({NORM} * self.weight)"),
    "with its own eps": layer(
        "v = x.square().mean(-1, keepdim=True)\nx = x * torch.rsqrt(v + self.eps)\nreturn self.out(self.weight * x)"
    ),
    "of zeros": layer(f"return self.out({NORM} * (1 + self.weight))", "nn.Parameter(torch.zeros(dim))"),
    "of an expression": layer(f"return self.out({NORM} * self.weight)", "nn.Parameter(torch.ones(3 * 2))"),
    "scaled": layer(f"return self.out({NORM} * self.weight)", "nn.Parameter(0.5 * torch.ones((dim,)))"),
    "with a dtype": layer(f"return self.out({NORM} * self.weight)", "nn.Parameter(torch.ones(dim, dtype=None))"),
    "full": layer(f"return self.out({NORM} * self.weight)", "nn.Parameter(torch.full((dim,), 0.3))"),
}  # fmt: skip


@pytest.mark.parametrize("id", LAYERS)
def test_a_parameter(id: str) -> None:
    result = equivalent(LAYERS[id], ((2, 3, 6),), codes=CODE, deep=False)
    assert "F.rms_norm(x, x.shape[-1:], " in result.text, result.text
    assert result.text.count("self.weight") == 2, result.text
    assert "of the size" not in result.applied[0].title
    assert "one dtype" in result.applied[0].title


LUCID = "self.scale = dim ** 0.5\nself.gamma = nn.Parameter(torch.ones(dim))"
LENGTHS = {
    "normalize": layer("return self.out(F.normalize(x, dim=-1) * self.scale * self.gamma)", more=LUCID),
    "another order": layer("return self.out(self.scale * self.gamma * F.normalize(x, dim=-1))", more=LUCID),
    "one and gamma": layer("return self.out(F.normalize(x, dim=-1) * self.scale * (self.gamma + 1))", more=LUCID),
    "math.sqrt": layer(
        "return self.out(F.normalize(x, dim=-1) * self.scale * self.gamma)",
        more=LUCID.replace("dim ** 0.5", "math.sqrt(dim)"),
    ),
    "a clamped norm": layer(
        "norm = torch.norm(x, dim=-1, keepdim=True) * self.scale\n"
        "return self.out(x / norm.clamp(min=self.eps) * self.gamma)",
        more=LUCID.replace("0.5", "-0.5"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("id", LENGTHS)
def test_by_the_length(id: str) -> None:
    result = equivalent(LENGTHS[id], ((2, 3, 6),), codes=CODE, deep=False, tolerance=1e-9)
    assert "F.rms_norm(x, x.shape[-1:], self.gamma" in result.text, result.text


HALVES = "h = {}\nh = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)\nreturn {}"


@pytest.mark.parametrize("up", ["x.float()", "x.to(torch.float32)", "x.type(torch.float32)", "x.to(dtype=torch.float)"])
@pytest.mark.parametrize("down", ["w * h.to(x.dtype)", "w * h.type_as(x)", "(w * h).to(x.dtype)", "h.type_as(x)"])
def test_through_float32(up: str, down: str) -> None:
    """The part in float32 is exact; the whole is offered with what it rounds otherwise."""
    text = function(HALVES.format(up, down), "x, w")
    analysis = Analysis(text, codes=CODE)
    offered = {finding.safety: fix.apply(text) for finding, fix in fixes(analysis)}
    assert set(offered) == {Safety.EXACT, Safety.NUMERICS}
    assert "F.rms_norm(h, h.shape[-1:], eps=1e-6)" in offered[Safety.EXACT]
    whole = "F.rms_norm(x, x.shape[-1:], w, 1e-6)" if "w" in down else "F.rms_norm(x, x.shape[-1:], eps=1e-6)"
    assert f"def f(x, w):\n    return {whole}\n" in offered[Safety.NUMERICS]
    equivalent(text, ((2, 3, 6), (6,)), codes=CODE, tolerance=FLOAT32)
    equivalent(text, ((2, 3, 6), (6,)), codes=CODE, allow=frozenset({Safety.EXACT}))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x, w = torch.randn(64, 32).to(dtype) * 500, torch.randn(32).to(dtype)
        with warnings.catch_warnings(), executed(text) as old, executed(offered[Safety.NUMERICS]) as new:
            warnings.simplefilter("error")
            wanted, found = old.f(x, w), new.f(x, w)
        assert found.dtype == wanted.dtype == dtype
        if down == "(w * h).to(x.dtype)" or "w" not in down:
            assert torch.equal(found, wanted)
        else:
            torch.testing.assert_close(found, wanted, rtol=2e-2 if dtype is torch.bfloat16 else 2e-3, atol=1e-6)


def test_the_name_of_the_dtype_goes_with_the_conversions() -> None:
    body = (
        "dt = x.dtype\nx = x.float()\nx = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\nreturn w * x.to(dt)"
    )
    text = function(body, "x, w")
    whole = [fix.apply(text) for one, fix in fixes(Analysis(text, codes=CODE)) if one.safety is Safety.NUMERICS]
    assert [after.partition("w):\n")[2] for after in whole] == ["    return F.rms_norm(x, x.shape[-1:], w, 1e-6)\n"]


def test_a_weight_in_float32_too() -> None:
    steps = "h = x.float()\nh = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)\n"
    text = layer(steps + "return self.out((h * (1.0 + self.weight.float())).type_as(x))")
    result = equivalent(text, ((2, 3, 6),), codes=CODE, tolerance=FLOAT32, deep=False)
    assert "h, h.shape[-1:], 1.0 + self.weight.float(), 1e-6" in result.text, result.text
    assert {one.safety for one in result.applied} == {Safety.EXACT}


def test_in_float16_large_values_no_longer_overflow() -> None:
    text = function(f"return {NORM}")
    after = fix_all(Analysis(text, codes=CODE), frozenset(Safety)).text
    x = torch.full((1, 8), 300.0)
    with executed(text) as old, executed(after) as new:
        assert old.f(x.half()).abs().max() == 0
        assert new.f(x.half()).allclose(torch.ones(1, 8).half(), atol=1e-2)
        for value in (0.0, 1e-30, 1e-8, 300.0, 1e20):
            row = torch.tensor([[value, 2 * value, -value, 0.0]], dtype=torch.float32)
            assert torch.equal(old.f(row), new.f(row)), value


def test_autocast_leaves_the_weight_outside() -> None:
    text = function(f"with torch.autocast('cpu'):\n    return {NORM} * w", "x, w")
    result = fix_all(Analysis(text, codes=CODE), frozenset(Safety))
    assert "F.rms_norm(x, x.shape[-1:], eps=1e-6) * w" in result.text
    assert any("autocast" in (one.refused or "") for one in Analysis(text, codes=CODE).refusals)


OF_WEIGHT = f"return self.out({NORM} * self.weight)"
OUTSIDE = {
    "a gate": (function(f"return {NORM} * g", "x, g"), "one number for each"),
    "a gate of the class": (layer(f"return self.out({NORM} * F.silu(x))"), "one number for each"),
    "a weight of rank 3": (layer(OF_WEIGHT, "nn.Parameter(torch.ones(1, 1, dim))"), "has not one dimension"),
    "a weight with one element": (layer(OF_WEIGHT, "nn.Parameter(torch.ones(1))"), "has one element"),
    "a weight without dimensions": (layer(OF_WEIGHT, "nn.Parameter(torch.ones(()))"), "has not one dimension"),
    "a weight with a new dimension": (function(f"return {NORM} * w[:, None]", "x, w"), "one number for each"),
    "a weight that is viewed": (function(f"return {NORM} * w.view(1, -1)", "x, w"), "one number for each"),
    "a number": (layer(f"return self.out({NORM} * self.scale)", more="self.scale = 0.5"), ""),
    "a scale": (function(f"return {NORM} * scale", "x, scale"), "one number for each"),
    "a residual": (function(f"return x + {NORM}", "x"), ""),
    "a float32 weight": (function(f"return {NORM} * w.float()", "x, w"), "another dtype"),
}  # fmt: skip


@pytest.mark.parametrize("id", OUTSIDE)
def test_what_is_no_weight_stays_outside(id: str) -> None:
    text, reason = OUTSIDE[id]
    analysis = Analysis(text, codes=CODE)
    assert "F.rms_norm(x, x.shape[-1:], eps=1e-6)" in fix_all(analysis, frozenset(Safety)).text
    if reason:
        assert any(reason in (one.refused or "") for one in analysis.refusals), analysis.refusals


def norm(mean: str = "x.pow(2).mean(-1, keepdim=True)", eps: str = "1e-6", of: str = "x") -> str:
    return f"return {of} * torch.rsqrt({mean} + {eps})"


NOTHING = {
    "a sum": (norm("x.pow(2).sum(-1, keepdim=True)"), ""),
    "a sum by another size": (norm("x.pow(2).sum(-1, keepdim=True) / x.shape[0]"), "size of the dimension"),
    "a sum by another tensor's size": (norm("x.pow(2).sum(-1, keepdim=True) / y.shape[-1]"), "size of the dimension"),
    "the mean": (norm("x.mean(-1, keepdim=True)"), ""),
    "the magnitude": (norm("x.abs().mean(-1, keepdim=True)"), ""),
    "a cube": (norm("x.pow(3).mean(-1, keepdim=True)"), ""),
    "of another": (norm("y.pow(2).mean(-1, keepdim=True)"), ""),
    "a product of two": (norm("(x * y).mean(-1, keepdim=True)"), ""),
    "without keepdim": (norm("x.pow(2).mean(-1)"), ""),
    "over everything": (norm("x.pow(2).mean()"), ""),
    "over rows": (norm("x.pow(2).mean(-2, keepdim=True)"), "other dimensions"),
    "over channels": (norm("x.pow(2).mean(1, keepdim=True)"), "is the last one"),
    "over the first and last": (norm("x.pow(2).mean((0, -1), keepdim=True)"), "is the last one"),
    "over an argument": (norm("x.pow(2).mean(y, keepdim=True)"), "not shown"),
    "over the second with a known rank": (
        "b, t, d = x.shape\n" + norm("x.pow(2).mean(1, keepdim=True)"), "other dimensions"),
    "minus eps": (norm(eps="-y"), ""),
    "eps twice": (norm(eps="1e-6 * y"), ""),
    "a tensor for eps": (norm(eps="y"), "is a number"),
    "eps outside": ("return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)", "outside of the root"),
    "sqrt": ("return x * torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)", ""),
    "no root": ("return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6)", ""),
    "the amplitude alone": ("return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)", ""),
    "the square of it": ("return x ** 2 * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)", ""),
    "only the mean in float32": (norm("x.float().pow(2).mean(-1, keepdim=True)"), "not computed in float32"),
    "another dtype behind": (
        "h = x.float()\nv = h.pow(2).mean(-1, keepdim=True)\nreturn (x * torch.rsqrt(v + 1e-6)).half()",
        "not computed in float32",
    ),
    "an expression": ("return (x + 1) * torch.rsqrt((x + 1).pow(2).mean(-1, keepdim=True) + 1e-6)", "is no variable"),
    "used again": ("r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\nreturn x * r, r", "used again"),
    "rebound between": ("r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)\nx = x + y\nreturn x * r", ""),
    "written between": (f"r = torch.rsqrt({SQUARE} + 1e-6)\nx.add_(y)\nreturn x * r", "changed in between"),
    "in another branch": (
        f"if y is None:\n    r = torch.rsqrt({SQUARE} + 1e-6)\nelse:\n    r = 1.0\nreturn x * r", ""),
    "groups": (
        "g = x.view(2, 3, 2, 3)\nreturn (g * torch.rsqrt(g.pow(2).mean((0, 3), keepdim=True) + 1e-6)).view_as(x)",
        "other dimensions",
    ),
    "a scale of another size": ("return F.normalize(x, dim=-1) * y * 3 ** 0.5", ""),
    "the length of rows": ("return F.normalize(x, dim=1) * y * x.shape[-1] ** 0.5", ""),
}  # fmt: skip


@pytest.mark.parametrize("id", NOTHING)
def test_left_alone(id: str) -> None:
    body, reason = NOTHING[id]
    reasons = refused(function(body, "x, y"), "FUS409")
    assert not reason or any(reason in one for one in reasons), reasons


def test_made_contiguous_is_no_conversion_to_float32() -> None:
    body = "h = x.contiguous()\nh = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)\nreturn h.type_as(x)"
    result = equivalent(function(body), ((2, 3, 6),), codes=CODE)
    assert "h = F.rms_norm(h, h.shape[-1:], eps=1e-6)\n    return h.type_as(x)" in result.text


def test_left_alone_in_classes() -> None:
    scale = "self.scale = {}\nself.gamma = nn.Parameter(torch.ones({}))"
    of = "return self.out(F.normalize(x, dim=-1) * self.scale * self.gamma)"
    for made, size in (("dim ** -0.5", "dim"), ("dim ** 0.5", "dim, 1"), ("dim", "dim"), ("eps ** 0.5", "dim")):
        assert refused(layer(of, more=scale.format(made, size)), "FUS409")
    grown = "self.scale = dim ** 0.5\ndim = dim * 2\nself.gamma = nn.Parameter(torch.ones(dim))"
    assert refused(layer(of, more=grown), "FUS409")
    changed = scale.format("dim ** 0.5", "dim") + "\nself.scale = 2.0"
    assert refused(layer(of, more=changed), "FUS409")


def test_in_a_reference() -> None:
    for name in ("test_norm", "reference_norm", "norm_ref"):
        text = function(f"return {NORM}").replace("def f", f"def {name}")
        assert any("reference" in one for one in refused(text, "FUS409"))


def test_of_numpy() -> None:
    text = function(
        "return x / (np.mean(x**2, -1, keepdims=True) + 1e-6) ** 0.5", head="import numpy as np\nimport torch\n"
    )
    assert not refused(text, "FUS409")
