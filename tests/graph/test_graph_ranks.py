"""How many dimensions a value is shown to have: facts of functions, as tables."""

from __future__ import annotations

import textwrap

import pytest

from fuselight.graph.module import Module
from fuselight.graph.ranks import Rank, rank_of
from fuselight.graph.values import Graph
from fuselight.source.statements import StatementCache

HEAD = """\
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.emb = nn.Embedding(9, 4)
        self.conv = nn.Conv2d(4, 4, 3)
        self.conv1 = nn.Conv1d(4, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.bn1 = nn.BatchNorm1d(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.1)
        self.act = nn.GELU()
        self.flat = nn.Flatten()
        self.flat2 = nn.Flatten(2)
        self.lstm = nn.LSTM(4, 4)
        self.table = nn.Parameter(torch.zeros(3, 4))

    def forward(self, x, y, g):
"""


def graph_of(body: str) -> Graph:
    text = HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), "        ") + "\n"
    module = Module(StatementCache().split(text))
    scopes = [one for statement in module.statements for one in module.scopes(statement)]
    return module.graph(next(one for one in scopes if one.name == "M.forward"))


def shown(body: str) -> tuple[int, int | None]:
    """The rank of what the only sigmoid of `body` gets."""
    graph = graph_of(body)
    (site,) = graph.of_kind("sigmoid")
    rank = rank_of(graph, site.inputs[0], site)
    return rank.least, rank.most


MADE = [
    ("torch.sigmoid(x)", (0, None)),
    ("torch.sigmoid(x.view(2, 3, 4))", (3, 3)),
    ("torch.sigmoid(x.view((2, 3, 4)))", (3, 3)),
    ("torch.sigmoid(x.view(-1))", (1, 1)),
    ("torch.sigmoid(x.view(y))", (0, None)),
    ("torch.sigmoid(x.view(*y))", (0, None)),
    ("torch.sigmoid(x.view(*y, 3, 4))", (2, None)),
    ("torch.sigmoid(x.view(x.size(0), -1))", (2, 2)),
    ("torch.sigmoid(x.view(torch.int32))", (0, None)),
    ("torch.sigmoid(x.reshape(2, -1))", (2, 2)),
    ("torch.sigmoid(torch.reshape(x, (2, 3, -1)))", (3, 3)),
    ("torch.sigmoid(x.expand(2, -1, -1))", (3, 3)),
    ("torch.sigmoid(x.permute(0, 2, 1))", (3, 3)),
    ("torch.sigmoid(x.permute(y))", (0, None)),
    ("torch.sigmoid(x.transpose(1, 2))", (3, None)),
    ("torch.sigmoid(x.transpose(-2, -1))", (2, None)),
    ("torch.sigmoid(x.view(2, 3, 4).transpose(0, 1))", (3, 3)),
    ("torch.sigmoid(torch.zeros(2, 3))", (2, 2)),
    ("torch.sigmoid(torch.zeros(y))", (0, None)),
    ("torch.sigmoid(torch.randn((2, 3, 4)))", (3, 3)),
    ("torch.sigmoid(torch.arange(3))", (1, 1)),
    ("torch.sigmoid(x.flatten())", (1, 1)),
    ("torch.sigmoid(x.flatten(1))", (2, 2)),
    ("torch.sigmoid(x.view(2, 3, 4, 5).flatten(0, 1))", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4, 5).flatten(-2))", (3, 3)),
    ("torch.sigmoid(x.flatten(2).transpose(1, 2))", (3, 3)),
    ("torch.sigmoid(self.flat(x))", (2, 2)),
    ("torch.sigmoid(self.flat2(x))", (3, 3)),
    ("torch.sigmoid(x.view(2, 3).unsqueeze(1))", (3, 3)),
    ("torch.sigmoid(x.unsqueeze(1))", (2, None)),
    ("torch.sigmoid(x.view(2, 1, 3).squeeze(1))", (2, 3)),
    ("torch.sigmoid(x.view(2, 1, 3).squeeze())", (0, 3)),
    ("torch.sigmoid(x.view(2, 3, 4)[0])", (2, 2)),
    ("torch.sigmoid(x.view(2, 3, 4)[:, 0])", (2, 2)),
    ("torch.sigmoid(x.view(2, 3, 4)[:, None])", (4, 4)),
    ("torch.sigmoid(x.view(2, 3, 4)[..., 0])", (2, 2)),
    ("torch.sigmoid(x.view(2, 3, 4)[:, 1:])", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4)[y])", (0, None)),
    ("torch.sigmoid(x.view(2, 3, 4)[:, x.size(1) - 1])", (2, 2)),
    ("torch.sigmoid(x.view(2, 3, 4).mean(1))", (2, 2)),
    ("torch.sigmoid(x.view(2, 3, 4).mean(1, keepdim=True))", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4).mean((1, 2)))", (1, 1)),
    ("torch.sigmoid(x.view(2, 3, 4).mean())", (0, 0)),
    ("torch.sigmoid(x.view(2, 3, 4).mean(y))", (0, 3)),
    ("torch.sigmoid(x.view(2, 3, 4).mean(1, keepdim=y))", (2, 3)),
    ("torch.sigmoid(torch.sum(x.view(2, 3, 4), dim=-1))", (2, 2)),
    ("torch.sigmoid(torch.cat([x.view(2, 3), y], 1))", (2, 2)),
    ("torch.sigmoid(torch.cat((x, y), dim=2))", (3, None)),
    ("torch.sigmoid(torch.stack([x.view(2, 3), y]))", (3, 3)),
    ("torch.sigmoid(torch.cat(y))", (0, None)),
    ("torch.sigmoid(self.emb(y.view(2, 3)))", (3, 3)),
    ("torch.sigmoid(self.emb(y))", (1, None)),
    ("torch.sigmoid(F.one_hot(y.view(2, 3), 4))", (3, 3)),
    ("torch.sigmoid(self.fc(x.view(2, 3, 4)))", (3, 3)),
    ("torch.sigmoid(F.linear(x.view(2, 3, 4), y))", (2, 3)),
    ("torch.sigmoid(self.drop(self.act(self.norm(self.fc(x.view(2, 3, 4))))))", (3, 3)),
    ("torch.sigmoid(self.conv(x))", (3, 4)),
    ("torch.sigmoid(self.bn(self.conv(x)))", (4, 4)),
    ("torch.sigmoid(self.bn(x))", (4, 4)),
    ("torch.sigmoid(self.pool(x))", (3, 4)),
    ("torch.sigmoid(self.bn1(x))", (2, 3)),
    ("torch.sigmoid(F.conv2d(x, y))", (3, 4)),
    ("torch.sigmoid(x.view(2, 3, 4) + y)", (3, None)),
    ("torch.sigmoid(x.view(2, 3, 4) + 1)", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4) * y.size(1) / 2)", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4) == y.view(2, 1, 1))", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4) @ y.view(4, 5))", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4) @ y)", (0, None)),
    ("torch.sigmoid(torch.bmm(x, y))", (3, 3)),
    ("torch.sigmoid(torch.einsum('bhqd,bhkd->bhqk', x, y))", (4, 4)),
    ("torch.sigmoid(torch.einsum('...d,...d->...', x, y))", (0, None)),
    ("torch.sigmoid(rearrange(x, 'b n (h d) -> b h n d', h=2))", (4, 4)),
    ("torch.sigmoid(rearrange(x, '... d -> (...) d'))", (0, None)),
    ("a, b = x.view(2, 3, 4).chunk(2, -1)\ntorch.sigmoid(a)", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4).split(2, 1)[0])", (3, 3)),
    ("a, b, c = x.view(3, 2, 4).unbind(0)\ntorch.sigmoid(b)", (2, 2)),
    ("out, h = self.lstm(x.view(2, 3, 4))\ntorch.sigmoid(out)", (3, 3)),
    ("torch.sigmoid(x.view(2, 3, 4).float().contiguous())", (3, 3)),
    ("torch.sigmoid(g(x.view(2, 3, 4)))", (0, None)),
    ("x = x.view(2, 3, 4)\nx += y\ntorch.sigmoid(x)", (3, 3)),
    ("torch.sigmoid(x.view(2, 3) if g else y.view(2, 3, 4))", (2, 3)),
    ("if g:\n    x = x.view(2, 3)\nelse:\n    x = y.view(2, 3, 4)\ntorch.sigmoid(x)", (2, 3)),
    ("if g:\n    x = x.view(2, 3)\ntorch.sigmoid(x)", (0, None)),
    ("if g:\n    x = x.view(2, 3)\nelse:\n    return x\ntorch.sigmoid(x)", (2, 2)),
    ("x = x.view(2, 3)\nfor _ in g:\n    x = x.unsqueeze(0)\ntorch.sigmoid(x)", (0, None)),
    ("x = x.view(2, 3)\nfor _ in g:\n    x = y\n    break\ntorch.sigmoid(x)", (0, None)),
    (
        "x = x.view(2, 3)\ntry:\n    x = y\n    x = x.view(2, 3)\nexcept ValueError:\n    pass\ntorch.sigmoid(x)",
        (0, None),
    ),
    ("x = x.view(2, 3)\nx.unsqueeze_(0)\ntorch.sigmoid(x)", (0, None)),
]

USED = [
    ("B, T, C = x.shape\ntorch.sigmoid(x)", (3, 3)),
    ("torch.sigmoid(x)\nB, T, C = x.shape", (3, 3)),
    ("B, T, C = x.size()\ntorch.sigmoid(x)", (3, 3)),
    ("(B, T, C) = x.shape\ntorch.sigmoid(x)", (3, 3)),
    ("B, *rest = x.shape\ntorch.sigmoid(x)", (1, None)),
    ("B, T, *_ = x.shape\ntorch.sigmoid(x)", (2, None)),
    ("B, T = x.shape[:2]\ntorch.sigmoid(x)", (2, None)),
    ("h, w = x.shape[2:]\ntorch.sigmoid(x)", (4, 4)),
    ("h, w = x.shape[-2:]\ntorch.sigmoid(x)", (2, None)),
    ("T = x.shape[1]\ntorch.sigmoid(x)", (2, None)),
    ("T = x.size(2)\ntorch.sigmoid(x)", (3, None)),
    ("T = x.size(-3)\ntorch.sigmoid(x)", (3, None)),
    ("y = x[:, -1, :]\ntorch.sigmoid(x)", (3, None)),
    ("y = x[:, g]\ntorch.sigmoid(x)", (1, None)),
    ("y = x[..., 0]\ntorch.sigmoid(x)", (1, None)),
    ("y = x.transpose(1, 2)\ntorch.sigmoid(x)", (3, None)),
    ("y = x.permute(0, 2, 1)\ntorch.sigmoid(x)", (3, 3)),
    ("y = x.mean(dim=2)\ntorch.sigmoid(x)", (3, None)),
    ("y = x.mean((-2, -1))\ntorch.sigmoid(x)", (2, None)),
    ("y = self.conv(x)\ntorch.sigmoid(x)", (3, 4)),
    ("y = self.conv1(x)\ntorch.sigmoid(x)", (2, 3)),
    ("y = self.lstm(x)\ntorch.sigmoid(x)", (2, 3)),
    ("y = self.fc(x).transpose(1, 2)\ntorch.sigmoid(x)", (3, None)),
    ("y = torch.bmm(g, x)\ntorch.sigmoid(x)", (3, 3)),
    ("y = torch.einsum('bqd,bkd->bqk', g, x)\ntorch.sigmoid(x)", (3, 3)),
    ("y = rearrange(x, 'b (h w) c -> b c h w', h=2)\ntorch.sigmoid(x)", (3, 3)),
    ("y = torch.cat([x, y], dim=2)\ntorch.sigmoid(x)", (3, None)),
    ("y = x.chunk(2, dim=2)\ntorch.sigmoid(x)", (3, None)),
    ("y = x.unsqueeze(2)\ntorch.sigmoid(x)", (2, None)),
    ("y = x.softmax(dim=2)\ntorch.sigmoid(x)", (3, None)),
    ("h = self.fc(x)\nB, T, C = x.shape\ntorch.sigmoid(h)", (3, 3)),
    # only where it surely is done
    ("if g:\n    B, T, C = x.shape\ntorch.sigmoid(x)", (0, None)),
    ("if g:\n    torch.sigmoid(x)\nB, T, C = x.shape", (3, 3)),
    ("if g:\n    B, T, C = x.shape\n    torch.sigmoid(x)", (3, 3)),
    ("if g:\n    y = 1\nelse:\n    B, T, C = x.shape\ntorch.sigmoid(x)", (0, None)),
    ("for _ in g:\n    B, T, C = x.shape\ntorch.sigmoid(x)", (0, None)),
    ("B, T, C = x.shape\nfor _ in g:\n    torch.sigmoid(x)", (3, 3)),
    ("torch.sigmoid(x)\nif g:\n    return x\nB, T, C = x.shape", (0, None)),
    ("try:\n    torch.sigmoid(x)\n    B, T, C = x.shape\nexcept ValueError:\n    pass", (0, None)),
    ("try:\n    B, T, C = x.shape\n    torch.sigmoid(x)\nexcept ValueError:\n    pass", (3, 3)),
    ("y = g and x.view(2, 3).size(1)\nz = g and x.transpose(1, 2)\ntorch.sigmoid(x)", (0, None)),
    ("h = lambda: x.transpose(1, 2)\ntorch.sigmoid(x)", (0, None)),
    ("x = x + 1\nB, T, C = x.shape\ntorch.sigmoid(y)", (0, None)),
]


@pytest.mark.parametrize(("body", "expected"), MADE)
def test_by_how_it_is_made(body: str, expected: tuple[int, int | None]) -> None:
    assert shown(body) == expected


@pytest.mark.parametrize(("body", "expected"), USED)
def test_by_what_is_done_with_it(body: str, expected: tuple[int, int | None]) -> None:
    assert shown(body) == expected


def test_what_contradicts_itself_keeps_what_was_known_first() -> None:
    assert Rank(3, 3).meet(Rank(4, 4)) == Rank(3, 3)
    assert Rank(2, None).meet(Rank(0, 4)) == Rank(2, 4)
    assert Rank(2, 2).exact == 2
    assert Rank(2, 3).exact is None
