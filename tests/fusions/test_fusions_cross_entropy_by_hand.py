"""FUS503: one-hot, picked, soft and smoothed losses are `cross_entropy`; means over the classes are not."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS503"
HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
EXACT, NUMERICS = Safety.EXACT, Safety.NUMERICS
INPUTS: Inputs = (
    torch.randn(6, 5, dtype=torch.float64) * 3,
    torch.randint(0, 5, (6,)),
    torch.rand(6, 5, dtype=torch.float64),
    torch.randn(2, 5, 3, dtype=torch.float64),
    torch.randint(0, 5, (2, 3)),
    torch.rand(2, 5, 3, dtype=torch.float64),
)


def function(body: str, arguments: str = "x, y, t, z, v, w") -> str:
    """A file with the function `f`, from the lines of its body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{HEAD}def f({arguments}):\n{lines}"


CASES = [
    ("return -(F.one_hot(y, 5) * F.log_softmax(x, 1)).sum(1).mean()", "F.cross_entropy(x, y)", NUMERICS),
    (
        ("return -(F.one_hot(y, num_classes=5).float() * F.log_softmax(x, dim=1)).sum(dim=1).mean()"),
        "F.cross_entropy(x, y)",
        NUMERICS,
    ),
    (
        ("logp = F.log_softmax(x, dim=1)\nreturn -(F.one_hot(y, 5).to(logp.dtype) * logp).sum(dim=1).mean()"),
        "F.cross_entropy(x, y)",
        NUMERICS,
    ),
    (
        (
            "logp = F.log_softmax(x, dim=1)\noh = F.one_hot(y, 5)\n"
            "loss = -torch.sum(oh * logp, dim=1)\nreturn loss.mean()"
        ),
        "F.cross_entropy(x, y)",
        NUMERICS,
    ),
    ("return torch.mean(-torch.sum(F.log_softmax(x, 1) * F.one_hot(y, 5), 1))", "F.cross_entropy(x, y)", NUMERICS),
    ("return torch.mean(torch.sum(-F.one_hot(y, 5) * F.log_softmax(x, 1), dim=1))", "F.cross_entropy(x, y)", NUMERICS),
    ("return -(F.one_hot(y, 5) * F.log_softmax(x, 1)).sum()", 'reduction="sum")', NUMERICS),
    ("return -(F.one_hot(y, 5) * F.log_softmax(x, 1)).sum(1)", 'F.cross_entropy(x, y, reduction="none")', NUMERICS),
    (
        "return -(F.one_hot(y, 5) * F.log_softmax(x, -1)).sum(-1).mean()",
        "F.cross_entropy(torch.flatten(x, 0, -2), torch.flatten(y))",
        NUMERICS,
    ),
    (
        "return -(F.one_hot(v, 5) * F.log_softmax(z.mT, -1)).sum(-1).mean()",
        "torch.flatten(z.mT, 0, -2), torch.flatten(v)",
        NUMERICS,
    ),
    ("return -(F.one_hot(y, 5) * F.log_softmax(x, 1)).sum() / x.shape[0]", "F.cross_entropy(x, y)", NUMERICS),
    ("return -(t * F.log_softmax(x, 1)).sum(1).mean()", "F.cross_entropy(x, t)", NUMERICS),
    ("return (-t * F.log_softmax(x, dim=1)).sum(dim=1).mean()", "F.cross_entropy(x, t)", NUMERICS),
    ("return torch.sum(-t * F.log_softmax(x, dim=1), dim=1).mean()", "F.cross_entropy(x, t)", NUMERICS),
    ("return -torch.mean(torch.sum(t * F.log_softmax(x, 1), dim=1))", "F.cross_entropy(x, t)", NUMERICS),
    ("return -(w * F.log_softmax(z, 1)).sum(1).mean()", "F.cross_entropy(z, w)", NUMERICS),
    ("return -(w * F.log_softmax(z, 1)).sum(1)", 'F.cross_entropy(z, w, reduction="none")', NUMERICS),
    (
        "return -(w * F.log_softmax(z, -1)).sum(-1).mean()",
        "F.cross_entropy(torch.flatten(z, 0, -2), torch.flatten(w, 0, -2))",
        NUMERICS,
    ),
    ("return -(t * F.log_softmax(x, -1)).sum(1).mean()", "F.cross_entropy(x, t)", NUMERICS),
    ("return -(t.to(x.device) * F.log_softmax(x, 1)).sum(1).mean()", "F.cross_entropy(x, t.to(x.device))", NUMERICS),
    (
        ("oh = torch.zeros_like(x).scatter_(1, y.unsqueeze(1), 1)\nreturn -(oh * F.log_softmax(x, 1)).sum(1).mean()"),
        "F.cross_entropy(x, oh)",
        NUMERICS,
    ),
    ("return -F.log_softmax(x, 1)[torch.arange(len(y), device=x.device), y].mean()", "F.cross_entropy(x, y)", NUMERICS),
    ("return -(t * F.log_softmax(x, dim=1)).sum() / len(t)", "F.cross_entropy(x, t)", NUMERICS),
    ("return -(t * F.log_softmax(x, 1)).sum() / w.sum()", 'F.cross_entropy(x, t, reduction="sum") / w.sum()', NUMERICS),
    ("return -(t * F.log_softmax(x / 2, dim=1)).sum(1).mean() * 4", "F.cross_entropy(x / 2, t) * 4", NUMERICS),
    ("return -F.log_softmax(x, 1).gather(1, y.unsqueeze(1)).mean()", "F.cross_entropy(x, y)", EXACT),
    ("return -F.log_softmax(x, 1).gather(1, y[:, None]).squeeze(1).mean()", "F.cross_entropy(x, y)", EXACT),
    ("return -F.log_softmax(z, 1).gather(1, v.unsqueeze(1)).squeeze(1).mean()", "F.cross_entropy(z, v)", EXACT),
    (
        "return -F.log_softmax(z, 1).gather(1, v.unsqueeze(1)).squeeze(1)",
        'F.cross_entropy(z, v, reduction="none")',
        EXACT,
    ),
    ("return -F.log_softmax(x, 1).gather(1, y.unsqueeze(1)).squeeze().mean()", "F.cross_entropy(x, y)", EXACT),
    (
        "l = -F.log_softmax(x, 1).gather(1, y.unsqueeze(1))\nreturn l.squeeze(1).sum()",
        'F.cross_entropy(x, y, reduction="sum")',
        EXACT,
    ),
    (
        "return -F.log_softmax(x, -1).gather(-1, y.unsqueeze(-1)).squeeze(-1).mean()",
        "F.cross_entropy(torch.flatten(x, 0, -2), torch.flatten(y))",
        NUMERICS,
    ),
    (
        "return -F.log_softmax(z.mT, -1).gather(-1, v.unsqueeze(-1)).mean()",
        "torch.flatten(z.mT, 0, -2), torch.flatten(v)",
        NUMERICS,
    ),
    (
        "return -F.log_softmax(x.view(6, 5), -1).gather(-1, y.unsqueeze(-1)).mean()",
        "F.cross_entropy(x.view(6, 5), y)",
        EXACT,
    ),
    ("return -torch.log(F.softmax(x, 1).gather(1, y.unsqueeze(1))).mean()", "F.cross_entropy(x, y)", NUMERICS),
    (
        ("p = F.softmax(x, 1)\nreturn -torch.log(p.gather(1, y.unsqueeze(1)).squeeze(1)).mean(), p"),
        "return F.cross_entropy(x, y), p",
        NUMERICS,
    ),
    ("return -F.log_softmax(x, 1)[range(len(y)), y].mean()", "F.cross_entropy(x, y)", NUMERICS),
    ("return -F.log_softmax(x, dim=-1)[torch.arange(x.shape[0]), y].mean()", "F.cross_entropy(x, y)", NUMERICS),
    (
        ("x = x.view(-1, 5)\nlogp = F.log_softmax(x, dim=1)\nreturn -logp[torch.arange(y.size(0)), y].sum()"),
        'F.cross_entropy(x, y, reduction="sum")',
        EXACT,
    ),
    ("p = x.softmax(1)\nreturn -p[range(len(x)), y].log().mean()", "F.cross_entropy(x, y)", NUMERICS),
    (
        (
            "l = F.log_softmax(x, 1)\nn = -l.gather(1, y.unsqueeze(1)).squeeze(1)\n"
            "return (0.9 * n + 0.1 * -l.mean(1)).mean()"
        ),
        "F.cross_entropy(x, y, label_smoothing=0.1)",
        EXACT,
    ),
    (
        (
            "l = F.log_softmax(x, 1)\nn = -l.gather(1, y.unsqueeze(1)).squeeze(1)\n"
            "return (0.9 * n - 0.1 * l.mean(1)).mean()"
        ),
        "F.cross_entropy(x, y, label_smoothing=0.1)",
        EXACT,
    ),
    (
        (
            "l = F.log_softmax(x, 1)\ns = -l.mean(dim=1)\n"
            "n = -l.gather(dim=1, index=y.unsqueeze(1))\nn = n.squeeze(1)\n"
            "return (n * 0.8 + s * 0.2).mean()"
        ),
        "label_smoothing=0.2)",
        EXACT,
    ),
    (
        "l = F.log_softmax(x, 1)\nreturn 0.9 * F.nll_loss(l, y) - 0.1 * l.mean()",
        "F.cross_entropy(x, y, label_smoothing=0.1)",
        NUMERICS,
    ),
    (
        "l = F.log_softmax(x, 1)\nreturn 0.9 * F.nll_loss(l, y) + 0.1 * -l.mean(1).mean()",
        "F.cross_entropy(x, y, label_smoothing=0.1)",
        NUMERICS,
    ),
    (
        "s = 0.1\nl = F.log_softmax(x, 1)\nreturn (1 - s) * F.nll_loss(l, y) + s * -l.mean()",
        "label_smoothing=0.1)",
        NUMERICS,
    ),
    (
        (
            "l = F.log_softmax(x, -1)\nn = -l.gather(-1, y.unsqueeze(-1)).squeeze(-1)\n"
            "return (0.9 * n + 0.1 * -l.mean(-1)).mean()"
        ),
        "torch.flatten(y), label_smoothing=0.1",
        NUMERICS,
    ),
]


@pytest.mark.parametrize(("body", "after", "safety"), CASES)
def test_replaced(body: str, after: str, safety: Safety) -> None:
    result = equivalent(function(body), INPUTS, codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {safety}


MISSES = [
    ("return -(F.one_hot(y, 5) * F.log_softmax(x, 1)).mean()", ""),
    ("return -(t * F.log_softmax(x, 1)).mean()", ""),
    ("return -(t * F.log_softmax(x, 1)).mean(1).mean()", ""),
    ("return -(t * F.log_softmax(x, 1)).mean(1).sum()", ""),
    ("return -(t * F.log_softmax(x, 1)).sum(0).mean()", "classes"),
    ("return -(t * F.log_softmax(x, 0)).sum(0).mean()", "classes"),
    ("return -(w * F.log_softmax(z, 2)).sum(2).mean()", "classes"),
    ("return -(t * F.log_softmax(x, 1)).sum().mean()", ""),
    ("return (t * F.log_softmax(x, 1)).sum(1).mean()", ""),
    ("return -(t * F.softmax(x, 1)).sum(1).mean()", ""),
    ("return -(t * torch.log(F.softmax(x, 1) + 1e-8)).sum(1).mean()", ""),
    ("return -(t * F.log_softmax(x)).sum(1).mean()", "not shown"),
    ("return -(t * F.log_softmax(x, -1)).sum(-1)", "second dimension"),
    ("return -(x.softmax(1) * F.log_softmax(x, 1)).sum(1).mean()", "entropy"),
    ("return -(F.one_hot(y) * F.log_softmax(x, 1)).sum(1).mean()", "is left out"),
    (("y = y.long()\nt = y.unsqueeze(1).long()\nreturn -(t * F.log_softmax(x, 1)).sum(1).mean()"), "integers"),
    ("l = F.log_softmax(x, 1)\nreturn -(t * l).sum(1).mean(), l", "used again"),
    ("l = F.log_softmax(x, 1)\nl[0] = 0\nreturn -(t * l).sum(1).mean()", ""),
    ("l = F.log_softmax(x, 1)\nt.mul_(2)\nreturn -(t * l).sum(1).mean()", ""),
    ("return -F.log_softmax(x, 1).gather(1, y.unsqueeze(1)).mean(1).mean()", ""),
    ("return F.log_softmax(x, 1).gather(1, y.unsqueeze(1)).mean()", ""),
    ("return -F.log_softmax(x, 1).gather(1, y.unsqueeze(1))", ""),
    ("return -(F.log_softmax(x, 1).gather(1, y.unsqueeze(1)) * t).mean()", ""),
    ("return -F.log_softmax(x, 0).gather(1, y.unsqueeze(1)).mean()", "second dimension"),
    ("return -F.softmax(x, 1).gather(1, y.unsqueeze(1)).mean()", ""),
    ("return -torch.log(F.softmax(x, 1).gather(1, y.unsqueeze(1)) + 1e-8).mean()", ""),
    ("return -F.log_softmax(x, 1)[v, y].mean()", "all of them"),
    ("return -F.log_softmax(x, 1)[torch.arange(1, 7), y].mean()", "all of them"),
    ("return -F.log_softmax(x, 1)[range(6), y].mean(0)", ""),
    ("return -F.log_softmax(x, 1)[:, y].mean()", ""),
    ("return -F.log_softmax(x, 1)[0, y].mean()", ""),
    (
        (
            "l = F.log_softmax(x, 1)\nn = -l.gather(1, y.unsqueeze(1)).squeeze(1)\n"
            "return (0.9 * n - 0.2 * l.mean(1)).mean()"
        ),
        "add up to 1",
    ),
    (
        (
            "l = F.log_softmax(x, 1)\nn = -l.gather(1, y.unsqueeze(1)).squeeze(1)\n"
            "return (0.9 * n - 0.1 * l.sum(1)).mean()"
        ),
        "",
    ),
    (
        (
            "l = F.log_softmax(x, 1)\nn = -l.gather(1, y.unsqueeze(1)).squeeze(1)\n"
            "return (0.9 * n + 0.1 * l.mean(1)).mean()"
        ),
        "",
    ),
    (HEAD + "def test_loss(x, t):\n    return -(t * F.log_softmax(x, 1)).sum(1).mean()\n", "reference"),
]


@pytest.mark.parametrize(("body", "reason"), MISSES)
def test_refused(body: str, reason: str) -> None:
    text = body if body.startswith("import") else function(body)
    reasons = refused(text, CODE)
    assert not reason or any(reason in one for one in reasons), reasons


SMOOTHED = """
logprobs = F.log_softmax(x, dim=-1)
target = x.argmin(1)
nll = -logprobs.gather(dim=-1, index=target.unsqueeze(1))
nll = nll.squeeze(1)
smooth = -logprobs.mean(dim=-1)
return (self.confidence * nll + self.smoothing * smooth).mean()
"""


def smoothed(init: str) -> str:
    """A file with a module that smooths labels by what its `__init__` sets."""
    return module(init, SMOOTHED).replace("__init__(self)", "__init__(self, smoothing=0.1)")


def test_label_smoothing_by_attributes_that_add_up_to_one() -> None:
    text = smoothed("self.smoothing = smoothing\nself.confidence = 1.0 - smoothing")
    result = equivalent(text, ((6, 5),), codes=frozenset({CODE}), tolerance=1e-9, deep=False)
    assert "F.cross_entropy(x, target, label_smoothing=self.smoothing)" in result.text


@pytest.mark.parametrize(
    "init",
    [
        "self.smoothing = 0.1\nself.confidence = 0.8",
        "self.smoothing = smoothing\nself.confidence = smoothing",
        "self.smoothing = smoothing\nself.confidence = 1.0 + smoothing",
        "self.smoothing = smoothing\nself.confidence = 2.0 - smoothing",
        "self.smoothing = 2 * smoothing\nself.confidence = 1.0 - smoothing",
    ],
)
def test_label_smoothing_by_attributes_that_may_not(init: str) -> None:
    assert any("add up to 1" in reason for reason in refused(smoothed(init), CODE))
