"""FUS504: binary cross entropy of a sigmoid takes the logits; what is clamped or weighted otherwise stays."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS504"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (
    torch.randn(4, 5, dtype=torch.float64) * 3,
    torch.rand(4, 5, dtype=torch.float64),
    torch.rand(4, 5, dtype=torch.float64),
)


def function(body: str, arguments: str = "x, t, w") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    ("return F.binary_cross_entropy(torch.sigmoid(x), t)", "F.binary_cross_entropy_with_logits(x, t)", NUMERICS),
    ("return F.binary_cross_entropy(x.sigmoid(), t)", "F.binary_cross_entropy_with_logits(x, t)", NUMERICS),
    ("return F.binary_cross_entropy(F.sigmoid(x), target=t)", "F.binary_cross_entropy_with_logits(x, t)", NUMERICS),
    (
        "return F.binary_cross_entropy(input=x.sigmoid(), target=t)",
        "F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    ("return F.binary_cross_entropy(torch.nn.Sigmoid()(x), t)", "F.binary_cross_entropy_with_logits(x, t)", NUMERICS),
    (
        "p = torch.sigmoid(x)\nreturn F.binary_cross_entropy(p, t, reduction='sum')",
        "F.binary_cross_entropy_with_logits(x, t, reduction='sum')",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn F.binary_cross_entropy(p, t, weight=w.detach())",
        "F.binary_cross_entropy_with_logits(x, t, weight=w.detach())",
        NUMERICS,
    ),
    (
        ("p = torch.sigmoid(x)\nreturn F.binary_cross_entropy(p, t, w.detach(), reduction='none')"),
        "(x, t, weight=w.detach(), reduction='none')",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn F.binary_cross_entropy(p, t), (p > 0.5).sum()",
        "return F.binary_cross_entropy_with_logits(x, t), (p > 0.5)",
        NUMERICS,
    ),
    (
        "return F.binary_cross_entropy(torch.sigmoid(x[:, :1]).squeeze(1), t[:, 0])",
        "torch.squeeze(x[:, :1], dim=1), t[:, 0])",
        NUMERICS,
    ),
    (
        "return F.binary_cross_entropy(torch.sigmoid(x[:, 0]).squeeze(), t[:, 0])",
        "torch.squeeze(x[:, 0]), t[:, 0])",
        NUMERICS,
    ),
    (
        (
            "p = torch.sigmoid(x)\nce = F.binary_cross_entropy(p, t, reduction='none')\n"
            "pt = p * t + (1 - p) * (1 - t)\nreturn (ce * (1 - pt) ** 2).mean()"
        ),
        "ce = F.binary_cross_entropy_with_logits(x, t, reduction='none')",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()",
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn -torch.mean(t * p.log() + (1 - t) * (1 - p).log())",
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn (-(t * torch.log(p) + (1 - t) * torch.log(1 - p))).mean()",
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        ("p = torch.sigmoid(x)\nreturn torch.mean(-t * torch.log(p) - (1 - t) * torch.log(1 - p))"),
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn (-t * torch.log(p) - (1. - t) * torch.log(1. - p)).sum()",
        '(x, t, reduction="sum")',
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).sum()",
        '(x, t, reduction="sum")',
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p))",
        '(x, t, reduction="none")',
        NUMERICS,
    ),
    (
        ("p = torch.sigmoid(x)\nreturn (-(t * torch.log(p) + (1 - t) * torch.log(1 - p))).sum(1).mean()"),
        '(x, t, reduction="none").sum(1).mean()',
        NUMERICS,
    ),
    (
        ("p = torch.sigmoid(x)\na = t * torch.log(p)\nb = (1 - t) * torch.log(1 - p)\nreturn -(a + b).mean()"),
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        "p = torch.sigmoid(x)\nreturn -(t * p.log() + (1 - t) * torch.log1p(-p)).mean()",
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        "return -(t * x.sigmoid().log() + (1 - t) * (-x).sigmoid().log()).mean()",
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        "return -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x)).mean()",
        "return F.binary_cross_entropy_with_logits(x, t)",
        NUMERICS,
    ),
    (
        ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean(), p"),
        "return F.binary_cross_entropy_with_logits(x, t), p",
        NUMERICS,
    ),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("return F.binary_cross_entropy(x, t)", ""),
    ("return F.binary_cross_entropy(torch.softmax(x, 1), t)", ""),
    ("return F.binary_cross_entropy((torch.tanh(x) + 1) / 2, t)", ""),
    ("return F.binary_cross_entropy(torch.sigmoid(x) * w, t)", ""),
    ("return F.binary_cross_entropy(torch.sigmoid(x).clamp(1e-6, 1 - 1e-6), t)", ""),
    ("return F.binary_cross_entropy(torch.sigmoid(x), t, size_average=False)", ""),
    ("return F.binary_cross_entropy(t, torch.sigmoid(x))", ""),
    ("return F.binary_cross_entropy_with_logits(torch.sigmoid(x), t)", ""),
    ("return F.mse_loss(torch.sigmoid(x), t)", ""),
    ("p = torch.sigmoid(x)\np[0] = 0.5\nreturn F.binary_cross_entropy(p, t)", "in between"),
    ("p = torch.sigmoid(x)\np = p + 0.1\nreturn F.binary_cross_entropy(p, t)", ""),
    ("p = torch.sigmoid(F.dropout(x))\nreturn F.binary_cross_entropy(p, t), p", "at hand"),
    (("p = torch.sigmoid(x)\nreturn -(t * torch.log(p + 1e-8) + (1 - t) * torch.log(1 - p + 1e-8)).mean()"), ""),
    (("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p + 1e-8)).mean()"), ""),
    ("p = torch.sigmoid(x)\nreturn (t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()", ""),
    (("p = torch.sigmoid(x)\nreturn -(2 * t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()"), ""),
    (("p = torch.sigmoid(x)\nreturn -(w * t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()"), ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - w) * torch.log(1 - p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 + t) * torch.log(1 - p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (2 - t) * torch.log(1 - p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) - (1 - t) * torch.log(1 - p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(1 - p) + (1 - t) * torch.log(p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) * (1 - t) * torch.log(1 - p)).mean()", ""),
    (("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - torch.sigmoid(w))).mean()"), ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log2(p) + (1 - t) * torch.log2(1 - p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean(1)", ""),
    ("p = torch.sigmoid(x)\nreturn -(t * torch.log(p)).mean()", ""),
    ("p = torch.sigmoid(x)\nreturn -(p * torch.log(p) + (1 - p) * torch.log(1 - p)).mean()", "entropy"),
    (("p = torch.sigmoid(x)\nl = torch.log(p)\nreturn -(t * l + (1 - t) * torch.log(1 - p)).mean(), l"), "used again"),
    (
        (
            "t = torch.randint(0, 2, x.shape)\np = torch.sigmoid(x)\n"
            "return -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()"
        ),
        "integers",
    ),
    (
        ("t = t.long()\np = torch.sigmoid(x)\nreturn -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()"),
        "integers",
    ),
    (HEAD + "def bce_reference(x, t):\n    return F.binary_cross_entropy(torch.sigmoid(x), t)\n", "reference"),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons
