"""FUS511: `kl_div` takes the log-probabilities first; only the product itself and its sum become a call."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS511"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (
    torch.randn(4, 5, dtype=torch.float64),
    torch.randn(4, 5, dtype=torch.float64),
    torch.rand(4, 5, dtype=torch.float64),
)


def function(body: str, arguments: str = "x, z, w") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log() - q)).sum()",
        'F.kl_div(q, p, reduction="sum")',
        NUMERICS,
    ),
    (
        ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn torch.sum(p * (torch.log(p) - q))"),
        'F.kl_div(q, p, reduction="sum")',
        NUMERICS,
    ),
    (
        ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log() - q)).sum(-1).mean()"),
        'F.kl_div(q, p, reduction="none").sum(-1).mean()',
        NUMERICS,
    ),
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log() - q)).mean()",
        'F.kl_div(q, p, reduction="none").mean()',
        NUMERICS,
    ),
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn p * (p.log() - q)",
        'F.kl_div(q, p, reduction="none")',
        NUMERICS,
    ),
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p.log() - q) * p",
        'F.kl_div(q, p, reduction="none")',
        NUMERICS,
    ),
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * p.log() - p * q).sum()",
        'F.kl_div(q, p, reduction="sum")',
        NUMERICS,
    ),
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn -(p * (q - p.log())).sum()",
        'F.kl_div(q, p, reduction="sum")',
        NUMERICS,
    ),
    (
        "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn -(p * (q - p.log()))",
        'F.kl_div(q, p, reduction="none")',
        NUMERICS,
    ),
    (
        ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log() - q)).sum() / p.size(0)"),
        'F.kl_div(q, p, reduction="sum") / p.size(0)',
        NUMERICS,
    ),
    (
        "p, m = z.softmax(1), x.softmax(1)\nreturn (p * (p / m).log()).sum()",
        'F.kl_div(torch.log(m), p, reduction="sum")',
        NUMERICS,
    ),
    (
        "p, m = z.softmax(1), x.softmax(1)\nreturn (p * torch.log(p / m)).sum(1)",
        'F.kl_div(torch.log(m), p, reduction="none").sum(1)',
        NUMERICS,
    ),
    (
        "p, m = z.softmax(1), x.softmax(1)\nreturn (p * (p.log() - m.log())).sum(1)",
        'F.kl_div(m.log(), p, reduction="none").sum(1)',
        NUMERICS,
    ),
    (
        "a, q = F.log_softmax(z, -1), F.log_softmax(x, -1)\nreturn (a.exp() * (a - q)).sum()",
        'F.kl_div(q, a, reduction="sum", log_target=True)',
        EXACT,
    ),
    (
        ("a, q = F.log_softmax(z, -1), F.log_softmax(x, -1)\nreturn (torch.exp(a) * (a - q)).sum(-1).mean()"),
        'F.kl_div(q, a, reduction="none", log_target=True).sum(-1)',
        EXACT,
    ),
    (
        "a, q = F.log_softmax(z, -1), F.log_softmax(x, -1)\nreturn -(a.exp() * (q - a)).sum()",
        'F.kl_div(q, a, reduction="sum", log_target=True)',
        EXACT,
    ),
    (
        "q = x.log_softmax(1)\nreturn (z.softmax(1) * (z.log_softmax(1) - q)).sum()",
        'F.kl_div(q, torch.log_softmax(z, dim=1), reduction="sum", log_target=True)',
        EXACT,
    ),
    (
        (
            "q = x.log_softmax(1)\np = F.softmax(z, 1)\nlogp = F.log_softmax(z, 1)\n"
            "return (p * (logp - q)).sum(1).mean()"
        ),
        'F.kl_div(q, torch.log_softmax(z, dim=1), reduction="none", log_target=True)',
        EXACT,
    ),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * q).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn -(p * p.log()).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (q - p.log())).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log() + q)).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (2 * p.log() - q)).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log2() - q)).sum()", ""),
    (("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * ((p + 1e-8).log() - q)).sum()"), ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (w * (p.log() - q)).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (q * (p.log() - q)).sum()", ""),
    ("p, m = z.softmax(1), x.softmax(1)\nreturn (m * (p.log() - m.log())).sum()", ""),
    ("p, m = z.softmax(1), x.softmax(1)\nreturn (p * torch.log(m / p)).sum()", ""),
    ("p, m = z.softmax(1), x.softmax(1)\nreturn (p * torch.log(p * m)).sum()", ""),
    ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nreturn (p * (p.log() - 0.5)).sum()", ""),
    (("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nl = p.log()\nreturn (p * (l - q)).sum(), l"), "used again"),
    (
        (
            "p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nl = p.log()\np = p.clone()\n"
            "p[0] = 1\nreturn (p * (l - q)).sum()"
        ),
        "",
    ),
    (
        ("p, q = F.softmax(z, -1), F.log_softmax(x, -1)\nl = p.log()\np[0] = 1\nreturn (p * (l - q)).sum()"),
        "in between",
    ),
    ("a, q = F.log_softmax(z, -1), F.log_softmax(x, -1)\nreturn (a.exp() * (a + q)).sum()", ""),
    ("a, q = F.log_softmax(z, -1), F.log_softmax(x, -1)\nreturn (q.exp() * (a - q)).sum()", ""),
    (("a, q = F.log_softmax(z, -1), F.log_softmax(x, -1)\ne = a.exp()\nreturn (e * (a - q)).sum(), e"), "used again"),
    ("return (w * (torch.log(w) - x)).sum()", "probabilities"),
    ("return (x.exp() * (x - z)).sum()", "probabilities"),
    ("return (z.softmax(1) * (z.log_softmax(0) - F.log_softmax(x, 1))).sum()", ""),
    ("return -0.5 * (1 + x - z ** 2 - x.exp()).sum()", ""),
    (HEAD + "def test_kl(p, log_q):\n    return (p * (p.log() - log_q)).sum()\n", "reference"),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons
