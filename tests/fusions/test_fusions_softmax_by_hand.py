"""FUS514: the ways to write a softmax, or its logarithm; sums over anything else stay."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS514"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (torch.randn(3, 4, 5, dtype=torch.float64) * 3, torch.rand(3, 4, 5, dtype=torch.float64))


def function(body: str, arguments: str = "x, y") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    ("return torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)", "torch.softmax(x, dim=-1)", NUMERICS),
    ("return torch.exp(x) / torch.sum(torch.exp(x), dim=1, keepdim=True)", "torch.softmax(x, dim=1)", NUMERICS),
    ("e = x.exp()\nreturn e / e.sum(dim=-1, keepdim=True)", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\ns = e.sum(-1, True)\nreturn e / s", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\nreturn e.div(e.sum(-1, keepdims=True))", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\nreturn e * (1 / e.sum(-1, keepdim=True))", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\nreturn e * e.sum(-1, keepdim=True).reciprocal()", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\nreturn e / e.sum(-1).unsqueeze(-1)", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\nreturn e / e.sum(-1)[..., None]", "torch.softmax(x, dim=-1)", NUMERICS),
    ("e = x.exp()\nreturn e / e.sum(1)[:, None]", "torch.softmax(x, dim=1)", NUMERICS),
    ("e = x.exp()\nreturn e / e.sum(0)", "torch.softmax(x, dim=0)", NUMERICS),
    ("e = torch.exp(x / 2)\nreturn e / e.sum(1, keepdim=True)", "torch.softmax(x / 2, dim=1)", NUMERICS),
    (
        ("m = x.max(-1, keepdim=True)[0]\ne = torch.exp(x - m)\nreturn e / e.sum(-1, keepdim=True)"),
        "torch.softmax(x, dim=-1)",
        EXACT,
    ),
    (
        ("m, _ = torch.max(x, dim=-1, keepdim=True)\ne = torch.exp(x - m)\nreturn e / e.sum(-1, keepdim=True)"),
        "torch.softmax(x, dim=-1)",
        EXACT,
    ),
    ("e = (x - x.amax(1, keepdim=True)).exp()\nreturn e / e.sum(1, keepdim=True)", "torch.softmax(x, dim=1)", EXACT),
    (
        "e = (x - x.amax(1, keepdim=True).detach()).exp()\nreturn e / e.sum(1, keepdim=True)",
        "torch.softmax(x, dim=1)",
        EXACT,
    ),
    (
        ("m = x.max(dim=1, keepdim=True).values\ne = (x - m).exp()\nreturn e / e.sum(1, keepdim=True)"),
        "torch.softmax(x, dim=1)",
        EXACT,
    ),
    ("e = torch.exp(x - x.max())\nreturn e / e.sum(1, keepdim=True)", "torch.softmax(x, dim=1)", NUMERICS),
    (
        "e = torch.exp(x - x.amax(0, keepdim=True))\nreturn e / e.sum(1, keepdim=True)",
        "torch.softmax(x - x.amax(0, keepdim=True), dim=1)",
        NUMERICS,
    ),
    ("return x - torch.logsumexp(x, dim=-1, keepdim=True)", "torch.log_softmax(x, dim=-1)", NUMERICS),
    ("return x - x.logsumexp(1, keepdim=True)", "torch.log_softmax(x, dim=1)", NUMERICS),
    ("return x - x.logsumexp(1, True)", "torch.log_softmax(x, dim=1)", NUMERICS),
    ("return x - x.logsumexp(-1).unsqueeze(-1)", "torch.log_softmax(x, dim=-1)", NUMERICS),
    ("return x - x.logsumexp(0)", "torch.log_softmax(x, dim=0)", NUMERICS),
    ("return -(x.logsumexp(-1, keepdim=True) - x)", "torch.log_softmax(x, dim=-1)", NUMERICS),
    ("return x - torch.log(torch.exp(x).sum(-1, keepdim=True))", "torch.log_softmax(x, dim=-1)", NUMERICS),
    ("return torch.exp(F.log_softmax(x, dim=-1))", "torch.softmax(x, dim=-1)", EXACT),
    ("return x.log_softmax(1).exp()", "torch.softmax(x, dim=1)", EXACT),
    ("return F.softmax(F.log_softmax(x, dim=1), dim=1)", "torch.softmax(x, dim=1)", EXACT),
    ("return F.log_softmax(F.log_softmax(x, dim=1), dim=1)", "torch.log_softmax(x, dim=1)", EXACT),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("return torch.exp(x) / torch.exp(x).sum()", ""),
    ("return torch.exp(x) / torch.exp(x).sum(-1)", ""),
    ("return torch.exp(x) / torch.exp(x).sum((1, 2), keepdim=True)", "one dimension"),
    ("return torch.exp(x) / torch.exp(x).sum(y, keepdim=True)", "one dimension"),
    ("return torch.exp(x) / torch.exp(y).sum(-1, keepdim=True)", ""),
    ("return torch.exp(x) / (torch.exp(x).sum(-1, keepdim=True) + 1e-8)", ""),
    ("return torch.exp(x) / (1 + torch.exp(x).sum(-1, keepdim=True))", ""),
    ("return torch.exp(x) / torch.exp(x).mean(-1, keepdim=True)", ""),
    ("return torch.exp(x) * torch.exp(x).sum(-1, keepdim=True)", ""),
    ("return torch.exp(x) / torch.exp(x).cumsum(-1)", ""),
    ("return torch.exp(-x) / torch.exp(x).sum(-1, keepdim=True)", ""),
    ("return torch.exp2(x) / torch.exp2(x).sum(-1, keepdim=True)", ""),
    ("e = torch.exp(x) * y\nreturn e / e.sum(-1, keepdim=True)", ""),
    ("e = torch.exp(x)\nreturn (e * y) / (e * y).sum(-1, keepdim=True)", ""),
    ("e = x.exp()\ns = e.sum(-1, keepdim=True)\nreturn e / s, s", "used again"),
    ("e = x.exp()\nreturn e / e.sum(-1, keepdim=True), e", "used again"),
    ("e = x.exp()\ne[0] = 0\nreturn e / e.sum(-1, keepdim=True)", ""),
    ("e = x.exp()\ne.masked_fill_(y > 0.5, 0)\nreturn e / e.sum(-1, keepdim=True)", ""),
    ("e = x.exp()\nreturn e / e.sum(1).unsqueeze(-1)", "same dimension"),
    ("e = x.exp()\nreturn e / e.sum(-1)[:, None]", "same dimension"),
    ("return x / x.sum(-1, keepdim=True)", ""),
    ("g = torch.exp(-x ** 2 / 2)\nreturn g / g.sum(-1, keepdim=True)", "kernel"),
    ("g = torch.exp(-x.pow(2.0) / (2 * y.pow(2.0)))\nreturn g / g.sum(-1, keepdim=True)", "kernel"),
    ("return x - torch.logsumexp(x, dim=-1)", ""),
    ("return y - torch.logsumexp(x, dim=-1, keepdim=True)", ""),
    ("return x + torch.logsumexp(x, dim=-1, keepdim=True)", ""),
    ("return 2 * x - torch.logsumexp(x, dim=-1, keepdim=True)", ""),
    ("return x - torch.logsumexp(2 * x, dim=-1, keepdim=True)", ""),
    ("return x - torch.logsumexp(x, dim=(1, 2), keepdim=True)", "one dimension"),
    ("return x - torch.logcumsumexp(x, dim=-1)", ""),
    ("l = F.log_softmax(x, dim=-1)\nreturn (l.exp() * l).sum()", "used again"),
    ("return torch.expm1(F.log_softmax(x, dim=-1))", ""),
    ("return F.log_softmax(x).exp()", "no dimension"),
    (
        (
            "import torch\n\n\ndef f(x):\n    with torch.autocast('cuda'):\n"
            "        return x - x.logsumexp(-1, keepdim=True)\n"
        ),
        "autocast",
    ),
    ("return F.softmax(F.log_softmax(x, dim=1), dim=0)", ""),
    ("return F.softmax(F.softmax(x, dim=1), dim=1)", ""),
    ("return F.softmax(2 * F.log_softmax(x, dim=1), dim=1)", ""),
    ("return F.log_softmax(F.softmax(x, dim=1), dim=1)", ""),
    (HEAD + ("def softmax_reference(x):\n    e = torch.exp(x)\n    return e / e.sum(-1, keepdim=True)\n"), "reference"),
    (("import numpy as np\nimport torch\n\n\ndef f(x):\n    e = np.exp(x - x.max())\n    return e / e.sum(0)\n"), ""),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons
