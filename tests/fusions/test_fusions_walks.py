"""Walks over all parameters: what treats every element alike allows a merge, what tells parameters apart does not."""

from __future__ import annotations

import pytest

from equivalence.harness import module
from fuselight.analysis import Analysis

APART = [
    "k = 0\nfor p in self.parameters():\n    k += 1\n    p.requires_grad = k > 2",
    "one = True\nfor p in self.parameters():\n    if one:\n        p.requires_grad = False\n    one = False",
    "n = 3\nfor p in self.parameters():\n    if not n:\n        break\n    p.requires_grad = False\n    n -= 1",
    "flags = [True, False, True, False]\nfor p in self.parameters():\n    p.requires_grad = flags.pop(0)",
    "for i, p in enumerate(self.parameters()):\n    p.requires_grad = i > 1",
    "for p in self.parameters():\n    p.data.fill_(torch.rand(()))",
    "[p for p in self.parameters()][2].requires_grad_(False)",
    "tuple(p for p in self.parameters())[:3]",
    "next(p for p in self.parameters() if p.requires_grad).requires_grad_(False)",
    "ps = []\nps.extend(self.parameters())\nps[2].requires_grad_(False)",
    "ps = [] + list(self.parameters())",
    "ps = []\nps += list(self.parameters())",
    'd = {"p": list(self.parameters())}',
    "self.ps = nn.ParameterList(self.parameters())",
    "ps = (list(self.parameters()) if self.training else [])[:3]",
    "if (ps := list(self.parameters())):\n    ps[2].requires_grad_(False)",
    "a, *rest = self.parameters()",
    "total = sum(map(torch.norm, self.parameters()))",
    "size = max(self.parameters(), key=lambda p: p.numel())",
    "ws = [p for p in self.parameters()]\ntotal = sum(torch.norm(w) for w in ws)",
    "count = sum(1 for _ in self.parameters())",
    "flat = torch.nn.utils.parameters_to_vector(self.parameters())[:40]",
    "i = 0\nfor s in self.modules():\n    i += 1\n    s.requires_grad_(i > 3)",
]
ALIKE = [
    "",
    "for p in self.parameters():\n    p.requires_grad = False",
    "for p in self.parameters():\n    nn.init.normal_(p, 0.0, 0.02)",
    "total = sum(p.numel() for p in self.parameters())",
    "total = 0\nfor p in self.parameters():\n    total += p.numel()",
    "device = next(self.parameters()).device",
    "self.optimiser = torch.optim.SGD(self.parameters(), lr=0.1)",
    "self.optimiser = torch.optim.AdamW(params=self.parameters())",
    'self.optimiser = torch.optim.SGD([{"params": self.parameters(), "lr": 0.1}])',
    "ps = [p for p in self.parameters() if p.requires_grad]\nself.optimiser = torch.optim.AdamW(ps)",
    "torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)",
    "for m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.normal_(m.weight, std=0.02)",
]
PARTS = "self.q = nn.Linear(6, 6)\nself.k = nn.Linear(6, 6)"


def codes(lines: str) -> list[str]:
    text = module(f"{PARTS}\n{lines}", "return self.q(x) + self.k(x)")
    return [finding.code for finding in Analysis(text).findings]


@pytest.mark.parametrize("lines", APART)
def test_told_apart(lines: str) -> None:
    assert codes(lines) == []


@pytest.mark.parametrize("lines", ALIKE)
def test_treated_alike(lines: str) -> None:
    assert codes(lines) == ["FUS201"]
