"""FUS501: the logarithm of a softmax is `log_softmax`; of anything else it stays."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS501"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (torch.randn(3, 4, 5, dtype=torch.float64) * 3, torch.randn(3, 4, 5, dtype=torch.float64))


def function(body: str, arguments: str = "x, y") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    ("return torch.log(F.softmax(x, dim=-1))", "log_softmax(x, dim=-1)", NUMERICS),
    ("return torch.log(F.softmax(x, -1))", "log_softmax(x, dim=-1)", NUMERICS),
    ("return F.softmax(x, dim=1).log()", "log_softmax(x, dim=1)", NUMERICS),
    ("return torch.log(torch.softmax(x, 0))", "log_softmax(x, dim=0)", NUMERICS),
    ("return torch.log(input=torch.softmax(input=x, dim=2))", "log_softmax(x, dim=2)", NUMERICS),
    ("return x.softmax(-1).log()", "log_softmax(x, dim=-1)", NUMERICS),
    ("return x.softmax(dim=-1).log().sum()", "log_softmax(x, dim=-1).sum()", NUMERICS),
    ("return torch.log(torch.special.softmax(x, 1))", "log_softmax(x, dim=1)", NUMERICS),
    ("return torch.log(F.softmax(x, dim=-1, dtype=torch.float64))", "dtype=torch.float64", NUMERICS),
    ("p = F.softmax(x, dim=-1)\nreturn torch.log(p)", "log_softmax(x, dim=-1)", NUMERICS),
    ("p = F.softmax(x, dim=-1)  # of each class\nlogp = p.log()\nreturn logp * 2", "log_softmax(x, dim=-1)", NUMERICS),
    ("p = F.softmax(x, dim=-1)\nlogp = p.log()\nreturn (p * logp).sum()", "log_softmax(x, dim=-1)", NUMERICS),
    ("p = F.softmax(x, dim=-1)\nreturn p, p.log()", "return p, torch.log_softmax(x, dim=-1)", NUMERICS),
    ("x = x + y\nreturn F.softmax(x, -1).log()", "log_softmax(x, dim=-1)", NUMERICS),
    ("return F.softmax(x @ y.mT, -1).log()", "log_softmax(x @ y.mT, dim=-1)", NUMERICS),
    ("return -F.softmax(-x, dim=1).log()", "-torch.log_softmax(-x, dim=1)", NUMERICS),
    ("p = torch.softmax(x / 2, dim=1)\nreturn p.log()", "log_softmax(x / 2, dim=1)", NUMERICS),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("return torch.log(F.softmax(x, dim=-1) + 1e-8)", ""),
    ("return torch.log(1e-8 + F.softmax(x, dim=-1))", ""),
    ("return torch.log(F.softmax(x, dim=-1).clamp(min=1e-8))", ""),
    ("return torch.log(F.softmax(x, dim=-1) * y)", ""),
    ("return torch.log(1 - F.softmax(x, dim=-1))", ""),
    ("return torch.log(F.softmax(x))", "no dimension"),
    ("return torch.log(F.softmax(x, dim=None))", "no dimension"),
    ("return torch.log2(F.softmax(x, dim=-1))", ""),
    ("return torch.log10(F.softmax(x, dim=-1))", ""),
    ("return torch.log1p(F.softmax(x, dim=-1))", ""),
    ("return torch.log(F.softmin(x, dim=-1))", ""),
    ("return torch.log(F.gumbel_softmax(x, dim=-1))", ""),
    ("return torch.log(F.softmax(x, dim=-1), out=y)", ""),
    ("return torch.softmax(torch.log(x), dim=-1)", ""),
    ("p = F.softmax(x, dim=-1)\np[0] = 0.5\nreturn p.log()", "in between"),
    ("p = F.softmax(x, dim=-1)\np.mul_(0.5)\nreturn p.log()", ""),
    ("p = F.softmax(x, dim=-1)\np.view(-1)[0] = 1\nreturn p.log()", "in between"),
    ("p = F.softmax(x, dim=-1)\nx.add_(1)\nreturn p.log()", "in between"),
    ("p = F.softmax(x, dim=-1)\ny(p)\nreturn p.log()", "in between"),
    ("p = F.softmax(x, dim=-1)\nx = x + 1\nreturn p.log()", "at hand"),
    ("p = F.softmax(F.dropout(x), dim=-1)\nreturn p.log() * p", "at hand"),
    ("p = F.softmax(x + y, dim=-1)\nreturn p.log() * p", "at hand"),
    ("p = F.softmax(x, dim=-1)\nif y.any():\n    p = y\nreturn p.log()", ""),
    ("p = x\nfor _ in range(2):\n    p = p.log()\n    p = F.softmax(p, -1)\nreturn p", ""),
    ("p, n = F.softmax(x, dim=-1), y\nreturn p.log() * n", "variable of its own"),
    (HEAD + "def test_log_softmax(x):\n    return torch.log(F.softmax(x, dim=-1))\n", "reference"),
    (
        HEAD
        + (
            "def f(x, fused):\n    if fused:\n        return F.log_softmax(x, dim=-1)\n"
            "    return torch.log(F.softmax(x, dim=-1))\n"
        ),
        "branch",
    ),
    (
        (
            "import numpy as np\nfrom scipy.special import softmax\nimport torch\n\n\ndef f(x):\n"
            "    return np.log(softmax(x, -1))\n"
        ),
        "",
    ),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons


def test_probabilities_that_are_used_again_stay_and_the_title_says_so() -> None:
    text = function("p = F.softmax(x, dim=-1)\nreturn p, p.log()")
    result = equivalent(text, INPUTS, codes=frozenset({CODE}), deep=False)
    assert "stays for its other uses" in result.applied[0].title


def test_what_underflows_is_finite_afterwards() -> None:
    result = equivalent(function("return torch.log(F.softmax(x, dim=-1))"), INPUTS, codes=frozenset({CODE}), deep=False)
    assert "underflows" in result.applied[0].title
    found: dict[str, object] = {}
    exec(result.text, found)
    x = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    found["f"](x, None).sum().backward()  # type: ignore[operator]
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_layer() -> None:
    text = module(
        "self.fc = nn.Linear(5, 4)\nself.softmax = nn.Softmax(dim=-1)", "return self.softmax(self.fc(x)).log()"
    )
    result = equivalent(text, ((3, 5),), codes=frozenset({CODE}), deep=False)
    assert "torch.log_softmax(self.fc(x), dim=-1)" in result.text
