"""FUS512: means and sums of squares, of absolute values and of Huber pieces are the losses of these names."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS512"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (
    torch.randn(4, 5, dtype=torch.float64) * 3,
    torch.randn(4, 5, dtype=torch.float64),
    torch.randn(5, dtype=torch.float64),
)


def function(body: str, arguments: str = "a, b, c") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    ("return ((a - b) ** 2).mean()", "F.mse_loss(a, b)", NUMERICS),
    ("return torch.mean((a - b) ** 2)", "F.mse_loss(a, b)", NUMERICS),
    ("return torch.mean(torch.square(a - b))", "F.mse_loss(a, b)", NUMERICS),
    ("return (a - b).pow(2).mean()", "F.mse_loss(a, b)", NUMERICS),
    ("return (a - b).square().mean()", "F.mse_loss(a, b)", NUMERICS),
    ("return a.sub(b).pow(2).mean()", "F.mse_loss(a, b)", NUMERICS),
    ("return torch.pow(a - b, 2).mean()", "F.mse_loss(a, b)", NUMERICS),
    ("d = a - b\nreturn (d * d).mean()", "F.mse_loss(a, b)", NUMERICS),
    ("d = a - b\nreturn (d ** 2).mean()", "F.mse_loss(a, b)", NUMERICS),
    ("return ((a - b) ** 2).sum()", 'F.mse_loss(a, b, reduction="sum")', NUMERICS),
    ("return 0.5 * ((a - b) ** 2).sum() / len(a)", '0.5 * F.mse_loss(a, b, reduction="sum") / len(a)', NUMERICS),
    ("return torch.sqrt(torch.mean((a - b) ** 2))", "torch.sqrt(F.mse_loss(a, b))", NUMERICS),
    ("return ((torch.tanh(a) - b.sigmoid()) ** 2).mean()", "F.mse_loss(torch.tanh(a), b.sigmoid())", EXACT),
    ("return ((a - c) ** 2).mean()", "F.mse_loss(a, c)", NUMERICS),
    ("return ((a.detach() - b) ** 2).mean()", "F.mse_loss(a.detach(), b)", NUMERICS),
    ("return (a - b).abs().mean()", "F.l1_loss(a, b)", NUMERICS),
    ("return torch.mean(torch.abs(a - b))", "F.l1_loss(a, b)", NUMERICS),
    ("return torch.abs(a - b).sum()", 'F.l1_loss(a, b, reduction="sum")', NUMERICS),
    (
        "d = (a - b).abs()\nreturn torch.where(d < 1.5, 0.5 * d ** 2, 1.5 * (d - 0.75)).mean()",
        "F.huber_loss(a, b, delta=1.5)",
        NUMERICS,
    ),
    (
        "d = (a - b).abs()\nreturn torch.where(d <= 1.5, 0.5 * d ** 2, 1.5 * d - 1.125).mean()",
        "F.huber_loss(a, b, delta=1.5)",
        NUMERICS,
    ),
    (
        "d = (a - b).abs()\nreturn torch.where(d > 1.5, 1.5 * (d - 0.75), d.pow(2) / 2).sum()",
        'F.huber_loss(a, b, delta=1.5, reduction="sum")',
        NUMERICS,
    ),
    (
        (
            "d = (a - b).abs()\ndelta = 1.5\n"
            "return torch.where(d < delta, 0.5 * d ** 2, delta * (d - 0.5 * delta)).mean()"
        ),
        "F.huber_loss(a, b, delta=delta)",
        NUMERICS,
    ),
    (
        "r = a - b\nd = r.abs()\nreturn torch.where(d < 1.5, 0.5 * r ** 2, 1.5 * (d - 0.75))",
        'F.huber_loss(a, b, delta=1.5, reduction="none")',
        NUMERICS,
    ),
    (
        "d = (a - b).abs()\nreturn torch.where(d < 1.5, 0.5 * d ** 2 / 1.5, d - 0.75).mean()",
        "F.smooth_l1_loss(a, b, beta=1.5)",
        NUMERICS,
    ),
    (
        "d = (a - b).abs()\nreturn torch.where(d < 1, 0.5 * d ** 2, d - 0.5).mean()",
        "F.smooth_l1_loss(a, b, beta=1)",
        NUMERICS,
    ),
    ("d = (a - b).abs()\nreturn torch.where(d < 1.0, 0.5 * d ** 2, d - 0.5)", 'reduction="none")', NUMERICS),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("return ((a - a.mean()) ** 2).mean()", "one tensor"),
    ("return ((a - a.mean(0, keepdim=True)) ** 2).mean()", "one tensor"),
    ("m = a.mean(dim=0)\nreturn ((a - m) ** 2).sum()", "one tensor"),
    ("return (a[1:] - a[:-1]).abs().mean()", "one tensor"),
    ("return (a - b).abs().mean() / b.abs().mean()", "relative"),
    ("n = (a - b).abs().mean()\nreturn (n / (b.abs().mean() + 1e-8)).item()", "relative"),
    ("return ((a[:, 1:] - a[:, :-1]) ** 2).mean()", "one tensor"),
    ("return ((a - a.roll(1, 0)) ** 2).mean()", "one tensor"),
    ("return ((a - a.detach()) ** 2).mean()", "one tensor"),
    ("return ((a - 1) ** 2).mean()", ""),
    ("return ((a - 0.9) ** 2).mean()", ""),
    ("n = a.shape[0]\nreturn ((a - n) ** 2).mean()", "no tensor"),
    ("return ((a - b) ** 2).mean(dim=1)", ""),
    ("return ((a - b) ** 2).mean(1, keepdim=True)", ""),
    ("return ((a - b) ** 2).sum(-1)", ""),
    ("return ((a + b) ** 2).mean()", ""),
    ("return ((a - b - c) ** 3).mean()", ""),
    ("return ((a - b) ** 4).mean()", ""),
    ("return (a ** 2 - b ** 2).mean()", ""),
    ("return (c * (a - b) ** 2).mean()", ""),
    ("return (a - b).mean() ** 2", ""),
    ("return (a - b).mean().abs()", ""),
    ("return (a.abs() - b.abs()).mean()", ""),
    ("return ((a - b) ** 2).median()", ""),
    ("return ((a - b) ** 2).max()", ""),
    ("d = a - b\nreturn (d ** 2).mean(), d", "used again"),
    ("d = (a - b) ** 2\nreturn d.mean() + d.max()", "used again"),
    ("d = a - b\na.add_(1)\nreturn (d ** 2).mean()", "in between"),
    ("d = a - b\nd[0] = 0\nreturn (d ** 2).mean()", ""),
    ("d = a - b\nd.clamp_(min=0)\nreturn (d ** 2).mean()", ""),
    ("d = (a - b).abs()\nreturn torch.where(d < 1.5, 0.5 * d ** 2, d - 0.75).mean()", "pieces"),
    ("d = (a - b).abs()\nreturn torch.where(d < 1.5, 0.5 * d ** 2, 1.5 * (d - 0.5)).mean()", ""),
    ("d = (a - b).abs()\nreturn torch.where(d < 1.5, d ** 2, 1.5 * (d - 0.75)).mean()", ""),
    ("d = (a - b).abs()\nreturn torch.where(d > 1.5, 0.5 * d ** 2, 1.5 * (d - 0.75)).mean()", ""),
    ("d = (a - b).abs()\nreturn torch.where(c < 1.5, 0.5 * d ** 2, 1.5 * (d - 0.75)).mean()", ""),
    ("d = (a - b).abs()\nreturn torch.where(d < 1.5, 0.5 * d ** 2, 1.5 * (c - 0.75)).mean()", ""),
    ("import torch\n\n\ndef f(a, b, target=0.9):\n    return ((a - target) ** 2).mean()\n", "no tensor"),
    ("import numpy as np\nimport torch\n\n\ndef f(a, b):\n    return ((a - b) ** 2).mean()\n", "numpy"),
    ("import numpy as np\nimport torch\n\n\ndef f(a, b):\n    return np.mean((a - b) ** 2)\n", ""),
    (
        ("import torch\n\n\ndef f(a, b):\n    with torch.autocast('cuda'):\n        return (a - b).abs().mean()\n"),
        "autocast",
    ),
    (HEAD + "def test_mse(a, b):\n    return ((a - b) ** 2).mean()\n", "reference"),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons
