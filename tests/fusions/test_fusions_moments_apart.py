"""FUS608: two statistics of one tensor are worked out together."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS608"
X: Inputs = ((3, 4, 5, 2),)


def function(body: str, head: str = "", arguments: str = "x") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import torch\nfrom torch import nn\n{head}\n\ndef f({arguments}):\n{lines}"


POSITIVES = [
    ("a deviation", "m = x.mean(1)\ns = x.std(1)\nreturn m, s", "    s, m = torch.std_mean(x, 1)\n    return m, s"),
    ("the other way round", "s = x.std(1)\nm = x.mean(1)\nreturn m, s", "    s, m = torch.std_mean(x, 1)\n    return"),
    ("a variance", "m = x.mean(-1)\nv = x.var(-1)\nreturn m, v", "v, m = torch.var_mean(x, -1)"),
    ("biased", "m = x.mean(-1, True)\nv = x.var(-1, unbiased=False, keepdim=True)\nreturn (x - m) * v.rsqrt()",
     "v, m = torch.var_mean(x, -1, unbiased=False, keepdim=True)"),
    ("biased by position", "m = x.mean(1)\nv = x.var(1, False)\nreturn m, v", "v, m = torch.var_mean(x, 1, False)"),
    ("all by position", "m = x.mean(1, True)\nv = x.var(1, False, True)\nreturn m + v", "var_mean(x, 1, False, True)"),
    ("a correction", "m = x.mean(1)\ns = x.std(1, correction=2)\nreturn m, s", "std_mean(x, 1, correction=2)"),
    ("functions", "m = torch.mean(x, dim=1)\ns = torch.std(x, dim=1)\nreturn m, s", "s, m = torch.std_mean(x, dim=1)"),
    ("input=", "m = torch.mean(input=x, dim=1)\ns = torch.std(input=x, dim=1)\nreturn m, s", "std_mean(x, dim=1)"),
    ("mixed", "m = torch.mean(x, 1)\ns = x.std(dim=1)\nreturn m, s", "s, m = torch.std_mean(x, dim=1)"),
    ("axis", "m = x.mean(axis=1)\ns = x.std(axis=1)\nreturn m, s", "s, m = torch.std_mean(x, axis=1)"),
    ("a tuple", "m, s = x.mean(1), x.std(1)\nreturn m, s", "    s, m = torch.std_mean(x, 1)\n    return m, s"),
    ("a tuple the other way", "s, m = x.std(1), x.mean(1)\nreturn m, s", "    s, m = torch.std_mean(x, 1)\n    return"),
    ("to attributes", "g = nn.Module()\ng.m, g.s = x.mean(1), x.std(1)\nreturn g.m, g.s", "    g.m, g.s = mean, std\n"),
    ("nested", "return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)",
     "    std, mean = torch.std_mean(x, 1, keepdim=True)\n    return (x - mean) / std\n"),
    ("half nested", "m = x.mean(1, keepdim=True)\nreturn (x - m) / x.std(1, keepdim=True)",
     "    std, m = torch.std_mean(x, 1, keepdim=True)\n    return (x - m) / std\n"),
    ("nested, then bound", "y = x - x.mean(1, True)\ns = x.std(1, keepdim=True)\nreturn y / s",
     "    s, mean = torch.std_mean(x, 1, keepdim=True)\n    y = x - mean\n    return y / s\n"),
    ("walrus", "return (m := x.mean(1)) + x.std(1)", "    return (m := mean) + std"),
    ("returned", "return x.mean((0, 1)), x.std((1, 0))", "= torch.std_mean(x, (1, 0))\n    return mean, std"),
    ("a name taken", "mean = 2\nreturn x.mean(1) * mean, x.std(1)", "std, mean_out = torch.std_mean(x, 1)"),
    ("from both ends", "a, b, c, d = x.shape\nm = x.mean(-1)\ns = x.std(3)\nreturn m, s", "std_mean(x, 3)"),
    ("a dimension by name", "d = x.dim() - 1\nm = x.mean(d)\ns = x.std(d)\nreturn m, s", "s, m = torch.std_mean(x, d)"),
    ("between", "m = x.mean(1)\ny = x * 2\ns = x.std(1)\nreturn m, s, y", "s, m = torch.std_mean(x, 1)\n    y = x * 2"),
    ("the mean rebound", "m = x.mean(1)\nm = m + 1\ns = x.std(1)\nreturn m, s", "torch.std_mean(x, 1)\n    m = m + 1"),
    ("x itself", "m = x.mean(1)\nx = x.std(1)\nreturn m, x", "    x, m = torch.std_mean(x, 1)\n    return m, x"),
    ("of a layer", "y = torch.relu(x)\nm = y.mean(1)\ns = y.std(1)\nreturn m, s", "s, m = torch.std_mean(y, 1)"),
    ("in a loop", "out = 0\nfor k in range(2):\n    m = x.mean(1)\n    s = x.std(1)\n    out = out + m / s\nreturn out",
     "        s, m = torch.std_mean(x, 1)\n"),
    ("in a branch", "if x.dim() > 1:\n    m = x.mean(1)\n    s = x.std(1)\n    return m / s\nreturn x",
     "        s, m = torch.std_mean(x, 1)\n"),
    ("comments", "m = x.mean(1)  # one\ns = x.std(1)  # two\nreturn m, s", "    # one\n    # two\n    s, m ="),
    ("annotated", "m: torch.Tensor = x.mean(1)\ns = x.std(1)\nreturn m, s", "m: torch.Tensor = mean\n"),
    ("extremes", "lo = x.min()\nhi = x.max()\nreturn (x - lo) / (hi - lo)", "lo, hi = torch.aminmax(x)"),
    ("extremes the other way", "hi = torch.max(x)\nlo = torch.min(x)\nreturn hi - lo", "lo, hi = torch.aminmax(x)"),
    ("extremes nested", "return (x - x.min()) / (x.max() - x.min() + 1e-8)",
     "    low, high = torch.aminmax(x)\n    return (x - low) / (high - low + 1e-8)\n"),
    ("extremes by a", "return x.amax() - x.amin()", "    low, high = torch.aminmax(x)\n    return high - low\n"),
    ("extremes of pairs", "lo, hi = x.min(), x.max()\nreturn hi - lo", "    lo, hi = torch.aminmax(x)\n"),
    ("extremes of both", "return x.max() - x.amin()", "return high - low\n"),
    ("keywords show a tensor", "import numpy as np\nm = x.mean(dim=1)\ns = x.std(dim=1)\nreturn m, s", "std_mean"),
    ("deviation and extremes", "y = (x - x.mean(1, True)) / x.std(1, keepdim=True)\nreturn y, x.max() - x.min()",
     "std_mean(x, 1, keepdim=True)"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "after"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES])
def test_together(body: str, after: str) -> None:
    result = equivalent(function(body), X, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert result.applied
    assert after in result.text, result.text


def test_ties() -> None:
    """The gradient of an extreme is spread over ties, and a NaN is one."""
    x = torch.tensor([[1.0, 3.0, 3.0, 1.0], [2.0, 1.0, 3.0, 0.5]], dtype=torch.float64)
    body = "return x.min() * 2 + x.max() * 3"
    assert equivalent(function(body), (x,), codes=frozenset({CODE}), tolerance=0.0).applied
    low, high = torch.aminmax(torch.tensor([1.0, torch.nan]))
    assert low.isnan()
    assert high.isnan()


@pytest.mark.parametrize(
    ("body", "safety"),
    [("return x.mean(1), x.std(1)", Safety.NUMERICS), ("return x.min(), x.max()", Safety.EXACT)],
)
def test_how_safe(body: str, safety: Safety) -> None:
    (finding,) = (one for one in Analysis(function(body)).findings if one.code == CODE)
    assert finding.safety is safety
    assert ("infinite" in finding.title) == (safety is Safety.NUMERICS)


NUMPY = "import numpy as np\n"
SHOWN = [
    "x = torch.relu(x)\nreturn x.mean(1), x.std(1)",
    "return torch.mean(x, 1), x.std(1)",
    "x = x.permute(0, 2, 1, 3)\nreturn x.mean(1), x.std(1)",
    "return x.mean(1, keepdim=True), x.std(1, keepdim=True)",
]


@pytest.mark.parametrize("body", SHOWN)
def test_a_tensor_beside_numpy(body: str) -> None:
    assert equivalent(function(body, NUMPY), X, codes=frozenset({CODE}), tolerance=REORDERED, deep=False).applied


def test_the_input_of_a_forward_beside_numpy() -> None:
    text = "import numpy as np\n" + module("self.a = 1", "return x.mean(1), x.std(1)")
    assert any(one.code == CODE for one in Analysis(text).findings)


REFUSED = [
    ("the whole tensor", "return x.mean(), x.std()", "whole tensor"),
    ("the whole tensor, biased", "return x.mean(), x.std(unbiased=False)", "whole tensor"),
    ("a correction alone", "return x.mean(), x.std(False)", ""),
    ("extremes along a dimension", "return x.amin(1), x.amax(1)", "along a dimension"),
    ("with indices", "return x.min(1)[0], x.max(1)[0]", ""),
    ("of two tensors", "return torch.min(x, y), torch.max(x, y)", ""),
    ("other dimensions", "return x.mean(0), x.std(1)", ""),
    ("one more dimension", "return x.mean((0, 1)), x.std(1)", ""),
    ("one over all", "return x.mean(), x.std(1)", ""),
    ("one keeps them", "return x.mean(1, keepdim=True), x.std(1)", ""),
    ("who keeps them?", "k = y > 0\nreturn x.mean(1, keepdim=k), x.std(1, keepdim=not k)", ""),
    ("from both ends", "return x.mean(-1), x.std(3)", ""),
    ("another tensor", "return x.mean(1), y.std(1)", ""),
    ("two like it", "return (x + 1).mean(1), (x + 1).std(1)", ""),
    ("an attribute", "return x.w.mean(1), x.w.std(1)", ""),
    ("a slice", "return x[0].mean(1), x[0].std(1)", ""),
    ("a dtype", "return x.mean(1, dtype=torch.float64), x.std(1)", ""),
    ("into a tensor", "return torch.mean(x, 1, out=y), x.std(1)", ""),
    ("starred", "a = (1,)\nreturn x.mean(*a), x.std(*a)", ""),
    ("a correction in a variable", "return x.mean(1), x.std(1, correction=y)", ""),
    ("rebound", "m = x.mean(1)\nx = x + 1\ns = x.std(1)\nreturn m, s", ""),
    ("written to", "m = x.mean(1)\nx.add_(1)\ns = x.std(1)\nreturn m, s", "changed in between"),
    ("added to", "m = x.mean(1)\nx += 1\ns = x.std(1)\nreturn m, s", ""),
    ("an element set", "m = x.mean(1)\nx[0] = 0\ns = x.std(1)\nreturn m, s", "changed in between"),
    ("handed on", "x = x + 1\nm = x.mean(1)\ng(x)\ns = x.std(1)\nreturn m, s", "changed in between"),
    ("changed in one expression", "return x.mean(1) * x.mul_(2).sum() + x.std(1)", "changed in between"),
    ("one name for both", "m = x.mean(1)\ny = m + 1\nm = x.std(1)\nreturn m, y", "holds both"),
    ("a name still read", "s = y\nm = x.mean(1)\nz = m * s\ns = x.std(1)\nreturn m, s, z", "something else"),
    ("a name read in the first", "s = 1\nm = x.mean(1, keepdim=s == 2)\ns = x.std(1)\nreturn m, s", ""),
    ("branches", "if y > 0:\n    m = x.mean(1)\nelse:\n    m = x.std(1)\nreturn m", ""),
    ("one in a branch", "m = x.mean(1)\nif y > 0:\n    m = x.std(1)\nreturn m", "different branches"),
    ("a conditional", "m = x.mean(1)\nreturn m if y > 0 else x.std(1)", "different branches"),
    ("a comprehension", "m = x.mean(1)\nreturn [m, *(x.std(1) for _ in range(2))]", ""),
    ("the head of a branch", "m = x.mean(1)\nif (x.std(1) > 0).any():\n    m = m + 1\nreturn m", "head of a statement"),
    ("a return between", "m = x.mean(1)\nif y > 0:\n    return m\ns = x.std(1)\nreturn m, s", "may leave"),
    (
        "a try",
        "try:\n    m = x.mean(1)\n    y = m + 1\n    s = x.std(1)\nexcept OSError:\n    s = y\nreturn s",
        "caught",
    ),
    ("walrus of x", "return (x := y).mean(1) + x.std(1)", "bound inside"),
    ("sharing a line", "m = x.mean(1); s = x.std(1)\nreturn m, s", "shares its line"),
    ("a lambda", "return (lambda z: z.mean(1) + z.std(1))(x)", ""),
    ("captured", "g = lambda: s\nm = x.mean(1)\ny = g()\ns = x.std(1)\nreturn m, s, y", "elsewhere"),
    ("a dimension from between", "m = x.mean(1)\nd = 1\ns = x.std(d)\nreturn m, s", "another one"),
    ("a median", "return x.median(1), x.std(1)", ""),
    ("a norm", "return x.mean(1), x.norm(dim=1)", ""),
]


@pytest.mark.parametrize(("body", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(body: str, reason: str) -> None:
    reasons = refused(function(body, arguments="x, y, g=None"), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


ARRAYS = [
    ("import numpy as np\n", "return x.mean(1), x.std(1)"),
    ("import numpy as np\n", "return x.min(), x.max()"),
    ("import numpy as np\n", "x = np.asarray(x)\nreturn x.mean(axis=1), x.std(axis=1)"),
    ("import numpy as np\n", "x = x.reshape(2, -1)\nreturn x.mean(1), x.std(1)"),
    ("import pandas as pd\n", "x = pd.read_csv(x)\nreturn x.min(), x.max()"),
    ("import cv2\n", "return x.mean(1), x.std(1)"),
    (
        "import numpy as np\nfrom einops import rearrange\n",
        "x = rearrange(x, 'a b c d -> b a c d')\nreturn x.min(), x.max()",
    ),
]


@pytest.mark.parametrize(("head", "body"), ARRAYS)
def test_an_array_of_another_package(head: str, body: str) -> None:
    reasons = refused(function(body, head), CODE)
    assert not reasons or any("an array" in one for one in reasons), reasons


@pytest.mark.parametrize("name", ["test_moments", "reference_norm", "naive"])
def test_a_reference(name: str) -> None:
    text = function("return x.mean(1), x.std(1)").replace("def f", f"def {name}")
    assert any("reads as a reference" in one for one in refused(text, CODE))


def test_at_the_top_of_a_module() -> None:
    text = "import torch\n\nx = torch.randn(3, 4)\nm = x.mean(1)\ns = x.std(1)\n"
    assert refused(text, CODE) == []
