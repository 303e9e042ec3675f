"""Layers that a loop over literal names makes with `setattr` are known by their names, but are no plain layers."""

from __future__ import annotations

import pytest

from fuselight.graph.classes import Layer
from fuselight.graph.module import Module
from fuselight.source.statements import StatementCache

HEAD = (
    "import torch\nfrom torch import nn\n\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
)


def layers_of(lines: str) -> dict[str, Layer]:
    text = HEAD + "".join(f"        {line}\n" for line in lines.split("\n"))
    (info,) = Module(StatementCache().split(text)).classes
    return dict(info.layers)


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("for g in 'ab': setattr(self, 'x' + g, nn.Linear(2, 2))", "xa xb"),
        ("for g in ('a', 'b'):\n    setattr(self, f'{g}_x', nn.Linear(2, 2))", "a_x b_x"),
        ("for g in ['a', 'b']:\n    setattr(self, 'x_%s' % g, nn.Linear(2, 2))", "x_a x_b"),
        (
            "for g in 'ab':\n    setattr(self, 'x{}'.format(g), nn.Linear(2, 2))\n    setattr(self, g, nn.Tanh())",
            "xa a xb b",
        ),
    ],
)
def test_known(lines: str, names: str) -> None:
    found = layers_of(lines)
    assert list(found) == names.split()
    for layer in found.values():
        assert layer.kind in ("torch.nn.Linear", "torch.nn.Tanh")
        assert layer.named_by is not None
        assert layer.unknown is not None


@pytest.mark.parametrize(
    "lines",
    [
        "names = 'ab'\nfor g in names: setattr(self, 'x' + g, nn.Linear(2, 2))",
        "for g in 'ab': setattr(self, 'x' + g, nn.Linear(2, ord(g)))",
        "for g in 'ab': setattr(self.other, 'x' + g, nn.Linear(2, 2))",
        "for g in 'ab':\n    setattr(self, 'x' + g, nn.Linear(2, 2))\n    print(g)",
        "for g in 'ab': setattr(self, g.upper(), nn.Linear(2, 2))",
        "for g in 'ab': setattr(self, f'{g!r}', nn.Linear(2, 2))",
        "for g in 'ab': setattr(self, 'x ' + g, nn.Linear(2, 2))",
        "for g in '': setattr(self, 'x' + g, nn.Linear(2, 2))",
        "if torch:\n    for g in 'ab': setattr(self, 'x' + g, nn.Linear(2, 2))",
        "setattr = print\nfor g in 'ab': setattr(self, 'x' + g, nn.Linear(2, 2))",
    ],
)
def test_unknown(lines: str) -> None:
    assert not layers_of(lines)


def test_made_twice() -> None:
    found = layers_of("self.xa = nn.Linear(2, 2)\nfor g in 'ab': setattr(self, 'x' + g, nn.Linear(2, 2))")
    assert found["xa"].unknown == "`xa` is assigned more than once"
    assert found["xa"].named_by is None
