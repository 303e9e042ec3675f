"""FUS502: `nll_loss` of log-probabilities over the classes is `cross_entropy`; over another dimension it is not."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS502"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (
    torch.randn(6, 5, dtype=torch.float64) * 3,
    torch.randint(0, 5, (6,)),
    torch.rand(5, dtype=torch.float64),
    torch.randn(2, 5, 3, dtype=torch.float64),
    torch.randint(0, 5, (2, 3)),
)


def function(body: str, arguments: str = "x, y, w, z, v") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    ("return F.nll_loss(F.log_softmax(x, dim=1), y)", "F.cross_entropy(x, y)", EXACT),
    ("return F.nll_loss(F.log_softmax(x, 1), y)", "F.cross_entropy(x, y)", EXACT),
    ("return F.nll_loss(torch.log_softmax(x, 1), y)", "F.cross_entropy(x, y)", EXACT),
    ("return F.nll_loss(x.log_softmax(1), target=y)", "F.cross_entropy(x, y)", EXACT),
    ("return F.nll_loss(input=x.log_softmax(1), target=y)", "F.cross_entropy(x, y)", EXACT),
    ("logp = F.log_softmax(x, dim=1)\nreturn F.nll_loss(logp, y)", "F.cross_entropy(x, y)", EXACT),
    (
        "return F.nll_loss(F.log_softmax(x, dim=1), y, weight=w.detach())",
        "F.cross_entropy(x, y, weight=w.detach())",
        EXACT,
    ),
    ("return F.nll_loss(F.log_softmax(x, dim=1), y, w.detach())", "F.cross_entropy(x, y, weight=w.detach())", EXACT),
    ('return F.nll_loss(F.log_softmax(x, dim=1), y, reduction="sum")', 'reduction="sum")', EXACT),
    (
        ('return F.nll_loss(F.log_softmax(x, dim=1), y, w.detach(), reduction="none", ignore_index=2)'),
        'ignore_index=2, reduction="none")',
        EXACT,
    ),
    ("return F.nll_loss(F.log_softmax(x.view(-1, 5), dim=-1), y)", "F.cross_entropy(x.view(-1, 5), y)", EXACT),
    ("return F.nll_loss(F.log_softmax(x, dim=-1), y.view(-1))", "F.cross_entropy(x, y.view(-1))", EXACT),
    ("return F.nll_loss(F.log_softmax(z, dim=1), v)", "F.cross_entropy(z, v)", EXACT),
    (
        "return F.nll_loss(F.log_softmax(x, dim=1, dtype=torch.float64), y)",
        "F.cross_entropy(x.to(torch.float64), y)",
        EXACT,
    ),
    ("return F.nll_loss(torch.log(F.softmax(x, dim=1)), y)", "F.cross_entropy(x, y)", NUMERICS),
    ("return F.nll_loss(x.softmax(1).log(), y, w.detach())", "F.cross_entropy(x, y, weight=w.detach())", NUMERICS),
    ("p = F.softmax(x, dim=1)\nreturn F.nll_loss(p.log(), y), p", "return F.cross_entropy(x, y), p", NUMERICS),
    (
        ("p = F.softmax(x, dim=1)\nlogp = torch.log(p)\nloss = F.nll_loss(logp, y)\nreturn loss, p.argmax(1)"),
        "loss = F.cross_entropy(x, y)",
        NUMERICS,
    ),
    ("return 0.5 * F.nll_loss(F.log_softmax(x, dim=1), y) + x.mean()", "0.5 * F.cross_entropy(x, y)", EXACT),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("return F.nll_loss(F.log_softmax(x, dim=-1), y)", "not shown"),
    ("return F.nll_loss(F.log_softmax(z, dim=-1), v)", "not shown"),
    ("return F.nll_loss(F.log_softmax(x, dim=0), y)", "another dimension"),
    ("return F.nll_loss(F.log_softmax(z, dim=2), v)", "another dimension"),
    ("return F.nll_loss(F.log_softmax(z.view(2, 5, 3), dim=-1), v)", "another dimension"),
    ("return F.nll_loss(F.log_softmax(z, dim=-1), v.view(2, 3))", "another dimension"),
    ("return F.nll_loss(F.log_softmax(x, dim=w), y)", "not shown"),
    ("return F.nll_loss(F.log_softmax(x), y)", "no dimension"),
    ("return F.nll_loss(F.softmax(x, dim=1), y)", ""),
    ("return F.nll_loss(torch.log(F.softmax(x, dim=1) + 1e-8), y)", ""),
    ("return F.nll_loss(F.log_softmax(x, dim=1) / 2, y)", ""),
    ("return F.nll_loss(F.log_softmax(x, dim=1), y, size_average=False)", ""),
    ("return F.nll_loss(F.log_softmax(x, dim=1), y, reduce=False)", ""),
    ("logp = F.log_softmax(x, dim=1)\nreturn F.nll_loss(logp, y), logp", "used again"),
    ("logp = F.log_softmax(x, dim=1)\nreturn F.nll_loss(logp, y) - (logp.exp() * logp).sum()", "used again"),
    ("logp = torch.log(F.softmax(x, dim=1))\nreturn F.nll_loss(logp, y), logp", "used again"),
    ("logp = F.log_softmax(x, dim=1)\nlogp[0] = 0\nreturn F.nll_loss(logp, y)", ""),
    ("logp = F.log_softmax(x, dim=1)\nx.add_(1)\nreturn F.nll_loss(logp, y)", "in between"),
    ("logp = F.log_softmax(x, dim=1)\nif y.any():\n    return F.nll_loss(logp, y)\nreturn x", "different branches"),
    ("return F.nll_loss(F.logsigmoid(x), y)", ""),
    ("return F.nll_loss(F.log_softmax(x, dim=1), y, **w)", ""),
    ("return F.poisson_nll_loss(F.log_softmax(x, dim=1), x)", ""),
    (HEAD + "def test_nll(x, y):\n    return F.nll_loss(F.log_softmax(x, dim=1), y)\n", "reference"),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons
