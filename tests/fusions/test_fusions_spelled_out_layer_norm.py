"""FUS410: the biased spread of the last dimensions is one call; other spreads and adaptive scales stay as they are."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import equivalent, executed, fixes, refused
from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

CODE = frozenset({"FUS410"})
HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
FLOAT32 = 1e-5
"""Tolerance where a part is computed in float32 whatever the input is."""


def function(body: str, arguments: str = "x") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return f"{HEAD}\n\ndef f({arguments}):\n{lines}"


def layer(body: str, weight: str = "torch.ones(dim)", bias: str = "torch.zeros(dim)") -> str:
    """A layer with a norm in it that is not the whole of it."""
    lines = "".join(f"        {line}\n" for line in body.strip("\n").split("\n"))
    return (
        f"{HEAD}\n\nclass M(nn.Module):\n    def __init__(self, dim: int = 6, eps=1e-5):\n        super().__init__()\n"
        f"        self.weight = nn.Parameter({weight})\n        self.bias = nn.Parameter({bias})\n"
        f"        self.eps = eps\n        self.out = nn.Linear(dim, 3)\n\n    def forward(self, x):\n{lines}"
    )


U = "x.mean(-1, keepdim=True)"
VAR = "x.var(-1, keepdim=True, unbiased=False)"
NORM = f"(x - {U}) / torch.sqrt({VAR} + 1e-5)"
STEPS = f"u = {U}\ns = (x - u).pow(2).mean(-1, keepdim=True)\n"
PLAIN = {
    "var": f"return {NORM}",
    "rsqrt": f"return (x - {U}) * torch.rsqrt({VAR} + 1e-5)",
    "the other order": f"return torch.rsqrt(1e-5 + {VAR}) * (x - {U})",
    "a power": f"return (x - {U}) / ({VAR} + 1e-5) ** 0.5",
    "a method": f"return (x - {U}) / ({VAR} + 1e-5).sqrt()",
    "pow": f"return (x - {U}) * ({VAR} + 1e-5).pow(-0.5)",
    "correction": f"return (x - {U}) / torch.sqrt(x.var(-1, keepdim=True, correction=0) + 1e-5)",
    "torch.var": f"return (x - {U}) / torch.sqrt(torch.var(x, dim=-1, keepdim=True, unbiased=False) + 1e-5)",
    "positional": "return (x - torch.mean(x, -1, True)) / torch.sqrt(torch.var(x, -1, False, True) + 1e-5)",
    "the mean of squares": f"{STEPS}return (x - u) / torch.sqrt(s + 1e-5)",
    "the mean of a product": f"d = x - {U}\ns = (d * d).mean(-1, keepdim=True)\nreturn d / torch.sqrt(s + 1e-5)",
    "square": f"d = x - {U}\ns = torch.mean(torch.square(d), dim=-1, keepdim=True)\nreturn d * torch.rsqrt(s + 1e-5)",
    "a mean twice": f"s = ((x - {U}) ** 2).mean(-1, keepdim=True)\nreturn (x - {U}) / torch.sqrt(s + 1e-5)",
    "the other sign": f"u = {U}\ns = (u - x).pow(2).mean(-1, keepdim=True)\nreturn (x - u) / torch.sqrt(s + 1e-5)",
    "var_mean": "v, m = torch.var_mean(x, -1, unbiased=False, keepdim=True)\nreturn (x - m) / torch.sqrt(v + 1e-5)",
    "var_mean with a correction": (
        "v, m = torch.var_mean(x, dim=-1, correction=0, keepdim=True)\nreturn (x - m) * torch.rsqrt(v + 1e-5)"
    ),
    "a squared deviation": f"return (x - {U}) / torch.sqrt(x.std(-1, keepdim=True, unbiased=False) ** 2 + 1e-5)",
    "unsqueeze": "m = x.mean(-1).unsqueeze(-1)\nv = x.var(-1, unbiased=False).unsqueeze(-1)\n"
    "return (x - m) / torch.sqrt(v + 1e-5)",
    "a tuple of one": "return (x - x.mean((-1,), keepdim=True)) / torch.sqrt(x.var((-1,), False, True) + 1e-5)",
    "sub and div": f"return torch.div(torch.sub(x, {U}), torch.sqrt(torch.add({VAR}, 1e-5)))",
    "rebound": f"{STEPS}x = (x - u) / torch.sqrt(s + 1e-5)\nreturn x + 1",
    "comments": f"# mean\nu = {U}\n# spread\nv = {VAR}  # biased\nreturn (x - u) / torch.sqrt(v + 1e-5)",
    "a known rank": f"b, t, d = x.shape\nreturn {NORM.replace('-1', '2', 2)}",
    "a difference of means": (
        f"u = {U}\nv = (x ** 2).mean(-1, keepdim=True) - u ** 2\nreturn (x - u) / torch.sqrt(v + 1e-5)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("id", PLAIN)
def test_without_parameters(id: str) -> None:
    result = equivalent(function(PLAIN[id]), ((2, 3, 6),), codes=CODE, tolerance=1e-9)
    assert "F.layer_norm(x, x.shape[-1:], eps=1e-5)" in result.text, result.text
    assert [one.safety for one in result.applied] == [Safety.NUMERICS]
    assert ("difference" in result.applied[0].title) == (id == "a difference of means")


@pytest.mark.parametrize(
    ("dims", "count"), [("(-2, -1)", 2), ("[-1, -2]", 2), ("(-3, -2, -1)", 3), ("(1, 2, 3)", 3), ("(2, 3)", 2)]
)
def test_several_dimensions(dims: str, count: int) -> None:
    text = function(
        f"b, c, h, w = x.shape\n{NORM}".replace("-1, keepdim", f"{dims}, keepdim").replace("\n(", "\nreturn (")
    )
    assert f"F.layer_norm(x, x.shape[-{count}:], eps=1e-5)" in equivalent(text, ((2, 3, 4, 5),), codes=CODE).text


ASSUMED = {
    "both": (f"return w * ({NORM}) + b", "x, w, b", "x, x.shape[-1:], w, b, 1e-5"),
    "in one product": (f"return w * {NORM} + b", "x, w, b", "x, x.shape[-1:], w, b, 1e-5"),
    "the bias first": (f"return b + {NORM} * w", "x, w, b", "x, x.shape[-1:], w, b, 1e-5"),
    "in steps": (
        f"{STEPS}x = (x - u) / torch.sqrt(s + 1e-5)\nx = x * gamma\nreturn x + beta",
        "x, gamma, beta",
        "x, x.shape[-1:], gamma, beta, 1e-5",
    ),
    "a weight": (f"return {NORM} * weight", "x, weight", "x, x.shape[-1:], weight, eps=1e-5"),
}


@pytest.mark.parametrize("id", ASSUMED)
def test_parameters_that_are_assumed(id: str) -> None:
    body, arguments, call = ASSUMED[id]
    inputs = ((2, 3, 6), *((6,) for _ in arguments.split(", ")[1:]))
    result = equivalent(function(body, arguments), inputs, codes=CODE)
    assert f"F.layer_norm({call})" in result.text, result.text
    assert "of the size of the last dimension" in result.applied[0].title
    assert "one dtype" in result.applied[0].title


LAYERS = {
    "both": (f"return self.out(self.weight * ({NORM}) + self.bias)", "self.weight, self.bias, 1e-5"),
    "one product": (f"return self.out(self.weight * {NORM} + self.bias)", "self.weight, self.bias, 1e-5"),
    "a bias": (f"return self.out({NORM} + self.bias) + self.weight[:3]", "bias=self.bias, eps=1e-5"),
    "in steps, with its eps": (
        f"{STEPS}x = (x - u) / torch.sqrt(s + self.eps)\nx = self.weight * x + self.bias\nreturn self.out(x)",
        "self.weight, self.bias, self.eps",
    ),
}


@pytest.mark.parametrize("id", LAYERS)
def test_parameters_of_the_class(id: str) -> None:
    body, call = LAYERS[id]
    result = equivalent(layer(body), ((2, 3, 6),), codes=CODE, deep=False)
    found = "".join(result.text.split())
    assert "F.layer_norm(x,x.shape[-1:]," + call.replace(" ", "") in found, result.text
    assert "of the size" not in result.applied[0].title


@pytest.mark.parametrize("down", ["w * h.to(x.dtype) + b", "(w * h + b).to(x.dtype)", "h.type_as(x)"])
def test_through_float32(down: str) -> None:
    """The part in float32 is exact; the whole is offered with what it rounds otherwise."""
    steps = "h = x.float()\nu = h.mean(-1, keepdim=True)\nv = h.var(-1, keepdim=True, unbiased=False)\n"
    text = function(f"{steps}h = (h - u) * torch.rsqrt(v + 1e-5)\nreturn {down}", "x, w, b")
    offered = {finding.safety: fix.apply(text) for finding, fix in fixes(Analysis(text, codes=CODE))}
    assert "h = F.layer_norm(h, h.shape[-1:], eps=1e-5)" in offered[Safety.EXACT]
    call = "F.layer_norm(x, x.shape[-1:], w, b, 1e-5)" if "w" in down else "F.layer_norm(x, x.shape[-1:], eps=1e-5)"
    assert f"def f(x, w, b):\n    return {call}\n" in offered[Safety.NUMERICS]
    for after in offered.values():
        for dtype, error in (
            (torch.float64, 1e-5),
            (torch.float32, 1e-5),
            (torch.bfloat16, 4e-2),
            (torch.float16, 5e-3),
        ):
            x, w, b = torch.randn(8, 32).to(dtype) * 300, torch.randn(32).to(dtype), torch.randn(32).to(dtype)
            with executed(text) as old, executed(after) as new:
                wanted, found = old.f(x, w, b), new.f(x, w, b)
            assert found.dtype == wanted.dtype == dtype
            torch.testing.assert_close(found, wanted, rtol=error, atol=error)


def test_parameters_of_another_dtype_stay_outside() -> None:
    """`layer_norm` raises for a float32 input with a bfloat16 weight."""
    steps = "h = x.float()\nh = (h - h.mean(-1, keepdim=True)) / torch.sqrt(h.var(-1, False, True) + 1e-5)\n"
    result = fix_all(Analysis(function(f"{steps}return h * w", "x, w"), codes=CODE), frozenset(Safety))
    assert "h = F.layer_norm(h, h.shape[-1:], eps=1e-5)\n    return h * w" in result.text, result.text


def test_edge_values() -> None:
    text = function(f"return {NORM}")
    after = fix_all(Analysis(text, codes=CODE), frozenset(Safety)).text
    with executed(text) as old, executed(after) as new:
        for value in (0.0, 1e-30, 1e-8, 300.0, 1e15):
            row = torch.tensor([[value, 2 * value, -value, 0.0], [value] * 4], requires_grad=True)
            (one,) = torch.autograd.grad(old.f(row)[:, 0].sum(), row)
            (other,) = torch.autograd.grad(new.f(row)[:, 0].sum(), row)
            torch.testing.assert_close(new.f(row), old.f(row))
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
        row = torch.tensor([[-800.0, 800.0]])
        assert old.f(row.half()).abs().max() == 0
        assert new.f(row.half()).abs().min() == 1


SCALED = f"return self.out(self.weight * ({NORM}) + self.bias)"
OUTSIDE = {
    "an adaptive scale": (function(f"return {NORM} * (1 + scale) + shift", "x, scale, shift"), "one number for each"),
    "a residual": (function(f"return {NORM} + y", "x, y"), "one number for each"),
    "a bias that is assumed alone": (function(f"return {NORM} + bias", "x, bias"), "one number for each"),
    "a residual behind a weight": (function(f"return {NORM} * w + y", "x, w, y"), "one number for each"),
    "a weight of rank 3": (
        layer(f"return self.weight * {NORM} + self.bias", "torch.ones(1, 1, dim)"), "not one dimension"),
    "a bias of rank 3": (layer(SCALED, bias="torch.zeros(1, 1, dim)"), "not one dimension"),
    "a weight with one element": (layer(SCALED, "torch.ones(1)"), "one element"),
    "numbers": (function(f"return 2 * ({NORM}) + 1"), ""),
    "a weight that is viewed": (function(f"return w.view(1, 1, -1) * ({NORM})", "x, w"), "one number for each"),
}  # fmt: skip


@pytest.mark.parametrize("id", OUTSIDE)
def test_what_is_no_parameter_stays_outside(id: str) -> None:
    text, reason = OUTSIDE[id]
    analysis = Analysis(text, codes=CODE)
    if id != "a weight of rank 3":  # in one product with the input, of which no norm is a part
        assert "layer_norm(x, x.shape[-1:], " in fix_all(analysis, frozenset(Safety)).text
    if reason:
        assert any(reason in (one.refused or "") for one in analysis.refusals), analysis.refusals


def spread(var: str, eps: str = "1e-5", mean: str = U) -> str:
    return f"return (x - {mean}) / torch.sqrt({var} + {eps})"


NOTHING = {
    "unbiased by default": (spread("x.var(-1, keepdim=True)"), "unbiased"),
    "unbiased": (spread("x.var(-1, keepdim=True, unbiased=True)"), "unbiased"),
    "a correction": (spread("x.var(-1, keepdim=True, correction=1)"), "unbiased"),
    "an unknown correction": (spread("x.var(-1, keepdim=True, correction=y)"), ""),
    "a deviation": (f"return (x - {U}) / (x.std(-1, keepdim=True) + 1e-5)", "added to the deviation"),
    "a deviation and a weight": (
        f"return y * (x - {U}) / (x.std(-1, keepdim=True) + 1e-5) + 1", "added to the deviation"),
    "a biased deviation": (
        f"return (x - {U}) / (x.std(-1, keepdim=True, unbiased=False) + 1e-5)", "added to the deviation"),
    "var_mean": ("v, m = torch.var_mean(x, -1, keepdim=True)\nreturn (x - m) / torch.sqrt(v + 1e-5)", ""),
    "eps outside": (f"return (x - {U}) / (torch.sqrt({VAR}) + 1e-5)", ""),
    "without eps": (f"return (x - {U}) / torch.sqrt({VAR})", ""),
    "no root": (f"return (x - {U}) / ({VAR} + 1e-5)", ""),
    "a sum of squares": (f"{STEPS.replace('pow(2).mean', 'pow(2).sum')}return (x - u) / torch.sqrt(s + 1e-5)", ""),
    "another mean": (spread(VAR, mean="y.mean(-1, keepdim=True)"), ""),
    "another variance": (spread("y.var(-1, keepdim=True, unbiased=False)"), ""),
    "another dimension of the mean": (spread(VAR, mean="x.mean(-2, keepdim=True)"), ""),
    "over rows": (spread(VAR, mean=U).replace("-1, keepdim", "-2, keepdim"), "other dimensions"),
    "over channels": (spread(VAR).replace("-1, keepdim", "1, keepdim"), "is the last one"),
    "over the batch": (spread(VAR).replace("-1, keepdim", "0, keepdim"), "is the last one"),
    "over pixels of an unknown rank": (spread(VAR).replace("-1, keepdim", "(2, 3), keepdim"), "is the last one"),
    "over the first and the last": (spread(VAR).replace("-1, keepdim", "(0, -1), keepdim"), "is the last one"),
    "over an argument": (spread(VAR).replace("-1, keepdim", "y, keepdim"), "not shown"),
    "without keepdim": (spread("x.var(-1, unbiased=False)"), ""),
    "over everything": ("return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5)", ""),
    "constants": ("return (x - 0.485) / 0.229", ""),
    "tensors": ("return (x - y.mean) / y.std", ""),
    "the sum": (f"return (x + {U}) / torch.sqrt({VAR} + 1e-5)", ""),
    "a tensor for eps": (spread(VAR, "y"), "is a number"),
    "the mean is used again": (f"u = {U}\nreturn (x - u) / torch.sqrt({VAR} + 1e-5), u", "used again"),
    "rebound between": (f"u = {U}\nx = x + y\nreturn (x - u) / torch.sqrt({VAR} + 1e-5)", ""),
    "written between": (f"u = {U}\nv = {VAR}\nx.mul_(y)\nreturn (x - u) / torch.sqrt(v + 1e-5)", "changed in between"),
    "an expression": (f"return {NORM}".replace("x", "(x * y)"), "is no variable"),
    "only the mean in float32": (spread("x.float().var(-1, keepdim=True, unbiased=False)"), "not computed in float32"),
}  # fmt: skip


@pytest.mark.parametrize("id", NOTHING)
def test_left_alone(id: str) -> None:
    body, reason = NOTHING[id]
    reasons = refused(function(body, "x, y"), "FUS410")
    assert not reason or any(reason in one for one in reasons), reasons


def test_beside_the_call_itself() -> None:
    body = f"if y:\n    return F.layer_norm(x, (6,))\nelse:\n    {NORM.replace('(x', 'return (x', 1)}"
    assert any("another branch" in one for one in refused(function(body, "x, y"), "FUS410"))


def test_in_a_reference() -> None:
    for name in ("test_norm", "reference_norm", "naive_layer_norm"):
        text = function(f"return {NORM}").replace("def f", f"def {name}")
        assert any("reference" in one for one in refused(text, "FUS410"))
