"""Of several fusions at one site the larger wins, the same each time; a smaller one is found when alone asked for."""

from __future__ import annotations

import pytest

from equivalence.harness import EVERY_SAFETY, equivalent, module
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

HEADS = "self.a = nn.Linear(16, 8)\nself.b = nn.Linear(16, 8)"
CONVOLUTIONS = "self.a = nn.Conv2d(3, 4, 1)\nself.b = nn.Conv2d(3, 5, 1)"
SITES = [
    ("a cat of linears", HEADS, "return torch.cat([self.a(x), self.b(x)], dim=-1)", "FUS204", "FUS201"),
    ("a stack of linears", HEADS, "return torch.stack([self.a(x), self.b(x)], dim=-1)", "FUS204", "FUS201"),
    ("a gate", HEADS, "return self.a(x) * torch.sigmoid(self.b(x))", "FUS205", "FUS201"),
    ("a cat of convolutions", CONVOLUTIONS, "return torch.cat([self.a(x), self.b(x)], dim=-3)", "FUS204", "FUS202"),
]
IDS = [site[0] for site in SITES]


@pytest.mark.parametrize(("_id", "init", "forward", "larger", "smaller"), SITES, ids=IDS)
def test_the_larger_wins(_id: str, init: str, forward: str, larger: str, smaller: str) -> None:
    text = module(init, forward)
    for _ in range(2):
        assert [finding.code for finding in Analysis(text).findings] == [larger]


@pytest.mark.parametrize(("_id", "init", "forward", "larger", "smaller"), SITES, ids=IDS)
def test_a_smaller_one_is_found_when_only_it_is_looked_for(
    _id: str, init: str, forward: str, larger: str, smaller: str
) -> None:
    only = Analysis(module(init, forward), codes=frozenset({smaller}))
    assert [finding.code for finding in only.findings] == [smaller]
    assert [finding.code for finding in only.updated(f"{only.text}\n").findings] == [smaller]


def test_fusions_of_one_class_apply_one_after_the_other() -> None:
    """Chains, siblings and moved work in one class: each is found, and what is left of them computes the same."""
    text = module(
        "self.pad = nn.ZeroPad2d(1)\nself.conv = nn.Conv2d(3, 8, 3)\nself.bn = nn.BatchNorm2d(8)\n"
        "self.up = nn.Upsample(scale_factor=2)\nself.narrow = nn.Conv2d(8, 4, 1)\n"
        "self.left = nn.Conv2d(4, 4, 1)\nself.right = nn.Conv2d(4, 4, 1)\nself.q = nn.Linear(8, 6)\n"
        "self.k = nn.Linear(8, 6)\nself.norm = nn.LayerNorm(6)",
        "x = F.max_pool2d(F.relu(self.bn(self.conv(self.pad(x)))), 2)\nx = self.narrow(self.up(x))\n"
        "x = torch.cat([self.left(x), self.right(x)], dim=1)\nB, C, H, W = x.shape\n"
        "x = x.permute(0, 2, 3, 1).reshape(B, H * W, C)\nx = self.q(x) * torch.sigmoid(self.k(x))\n"
        "return self.norm(x)[:, 0, :]",
    )
    result = equivalent(text, ((2, 3, 8, 8),), allow=EVERY_SAFETY - {Safety.INFERENCE}, tolerance=1e-9)
    applied = {finding.code for finding in result.applied}
    assert applied == {"FUS101", "FUS104", "FUS204", "FUS205", "FUS701", "FUS703", "FUS704"}, applied
