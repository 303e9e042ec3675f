"""FUS507: picked log-probabilities are logits less their logsumexp; where all of them are needed, they stay."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, refused
from fuselight.fusions.model import Safety

CODE = "FUS507"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (
    torch.randn(2, 3, 5, dtype=torch.float64) * 3,
    torch.randint(0, 5, (2, 3)),
    torch.randn(5, 5, dtype=torch.float64),
)


def function(body: str, arguments: str = "x, y, w") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    (
        "return F.log_softmax(x, dim=-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)",
        "torch.gather(x, dim=-1, index=y.unsqueeze(-1))",
        NUMERICS,
    ),
    (
        "return F.log_softmax(x, -1).gather(dim=-1, index=y.unsqueeze(-1))",
        "torch.gather(x, dim=-1, index=y.unsqueeze(-1))",
        NUMERICS,
    ),
    (
        "return torch.gather(F.log_softmax(x, -1), -1, y.unsqueeze(-1))",
        "torch.gather(x, dim=-1, index=y.unsqueeze(-1))",
        NUMERICS,
    ),
    (
        "return torch.gather(input=x.log_softmax(-1), dim=-1, index=y[..., None])",
        "index=y[..., None]) - torch.logsumexp(",
        NUMERICS,
    ),
    (
        ("logp = F.log_softmax(x, dim=-1)\nlogp = logp.gather(-1, y.unsqueeze(-1)).squeeze(-1)\nreturn logp.sum(-1)"),
        "torch.gather(x, dim=-1, index=y.unsqueeze(-1))",
        NUMERICS,
    ),
    (
        "x = x @ w\nlogp = F.log_softmax(x, dim=-1)\nreturn logp.gather(-1, y.unsqueeze(-1))",
        "torch.gather(x, dim=-1, index=y.unsqueeze(-1))",
        NUMERICS,
    ),
    (
        ("i = y.unsqueeze(-1)\nlogp = F.log_softmax(x, dim=-1)  # all\nreturn torch.exp(logp.gather(-1, i))"),
        "torch.gather(x, dim=-1, index=i) - torch.logsumexp(",
        NUMERICS,
    ),
    (
        "i = x.topk(2, dim=-1)[1]\nreturn x.log_softmax(-1).gather(-1, i)",
        "torch.gather(x, dim=-1, index=i) - torch.logsumexp(x, dim=-1",
        NUMERICS,
    ),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    (
        ("logp = F.log_softmax(x, dim=-1)\nreturn logp.gather(-1, y.unsqueeze(-1)), -(logp.exp() * logp).sum(-1)"),
        "used again",
    ),
    ("logp = F.log_softmax(x, dim=-1)\nreturn logp.gather(-1, y.unsqueeze(-1)), logp", "used again"),
    ("return F.log_softmax(x, 1).gather(2, y.unsqueeze(-1))", "same dimension"),
    ("return F.log_softmax(x, -1).gather(1, y.unsqueeze(1))", "same dimension"),
    ("return F.log_softmax(x, w).gather(w, y)", "one dimension"),
    ("return F.log_softmax(x).gather(1, y)", "one dimension"),
    ("return F.softmax(x, -1).gather(-1, y.unsqueeze(-1))", ""),
    ("return F.logsigmoid(x).gather(-1, y.unsqueeze(-1))", ""),
    ("return F.log_softmax(x @ w, -1).gather(-1, y.unsqueeze(-1))", "no variable"),
    ("return F.log_softmax(x, -1, dtype=torch.float32).gather(-1, y.unsqueeze(-1))", ""),
    ("return F.log_softmax(x, -1).gather(-1, y.unsqueeze(-1), sparse_grad=True)", ""),
    ("return F.log_softmax(x, -1).index_select(-1, y)", ""),
    ("logp = F.log_softmax(x, -1)\nlogp[0] = 0\nreturn logp.gather(-1, y.unsqueeze(-1))", ""),
    ("logp = F.log_softmax(x, -1)\nx.add_(1)\nreturn logp.gather(-1, y.unsqueeze(-1))", "in between"),
    (
        ("logp = F.log_softmax(x, -1)\nif w.any():\n    return logp.gather(-1, y.unsqueeze(-1))\nreturn x"),
        "different branches",
    ),
    ("logp = (2 * F.log_softmax(x, -1)).gather(-1, y.unsqueeze(-1))\nreturn logp", ""),
    (HEAD + "def logps_reference(x, y):\n    return F.log_softmax(x, -1).gather(-1, y)\n", "reference"),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons
