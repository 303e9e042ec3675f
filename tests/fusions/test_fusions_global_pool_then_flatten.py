"""FUS112: pooled to one value and flattened is a mean."""

from __future__ import annotations

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS112"
X: Inputs = ((2, 3, 5, 4),)
POOL = "self.pool = nn.AdaptiveAvgPool2d(1)"
MEAN = "return x.mean((2, 3))"

POSITIVES: list[tuple[str, str, str, str, Inputs]] = [
    ("torch.flatten", POOL, "return torch.flatten(self.pool(x), 1)", MEAN, X),
    ("the method", POOL, "return self.pool(x).flatten(1)", MEAN, X),
    ("by keyword", POOL, "return self.pool(x).flatten(start_dim=1)", MEAN, X),
    ("a layer", POOL + "\nself.flat = nn.Flatten()", "return self.flat(self.pool(x))", MEAN, X),
    ("a tuple", "self.pool = nn.AdaptiveAvgPool2d((1, 1))", "return self.pool(x).flatten(1)", MEAN, X),
    (
        "the size by keyword",
        "self.pool = nn.AdaptiveAvgPool2d(output_size=1)",
        "return self.pool(x).flatten(1)",
        MEAN,
        X,
    ),
    ("a function", "pass", "return F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)", MEAN, X),
    ("a view", POOL, "return self.pool(x).view(x.size(0), -1)", MEAN, X),
    ("a view by its own size", POOL, "x = self.pool(x)\nreturn x.view(x.size(0), -1)", MEAN, X),
    ("a view by a name", POOL, "B = x.shape[0]\nreturn self.pool(x).view(B, -1)", MEAN, X),
    ("a reshape", POOL, "B, C, H, W = x.shape\nreturn self.pool(x).reshape(B, -1)", MEAN, X),
    ("both sizes", POOL, "n, c, h, w = x.shape\nreturn self.pool(x).view(n, c)", MEAN, X),
    ("sizes of its own", POOL, "y = self.pool(x)\nreturn y.view(y.shape[0], y.shape[1])", "return y.mean((2, 3))", X),
    ("indices", POOL, "return self.pool(x)[:, :, 0, 0]", MEAN, X),
    ("in steps", POOL, "y = self.pool(x)\ny = y.flatten(1)\nreturn y", "y = x.mean((2, 3))", X),
    ("of an expression", POOL, "return self.pool(x + 1).flatten(1)", "return (x + 1).mean((2, 3))", X),
    (
        "over lines",
        POOL,
        "return self.pool(\n    torch.cat(\n        [\n            x,\n        ],\n        1,\n    )\n).flatten(1)",
        "return torch.cat(\n            [\n                x,\n            ],\n            1,\n        ).mean((2, 3))",
        X,
    ),
    ("1d", "self.pool = nn.AdaptiveAvgPool1d(1)", "return self.pool(x).flatten(1)", "return x.mean(2)", ((2, 3, 5),)),
    (
        "1d squeezed",
        "self.pool = nn.AdaptiveAvgPool1d(1)",
        "return self.pool(x).squeeze(-1)",
        "return x.mean(2)",
        ((2, 3, 5),),
    ),
    ("1d functional", "pass", "return F.adaptive_avg_pool1d(x, 1).squeeze(2)", "return x.mean(2)", ((2, 3, 5),)),
    (
        "3d",
        "self.pool = nn.AdaptiveAvgPool3d(1)",
        "return self.pool(x).flatten(1)",
        "mean((2, 3, 4))",
        ((2, 3, 5, 4, 2),),
    ),
]


@pytest.mark.parametrize(
    ("init", "forward", "after", "inputs"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES]
)
def test_a_mean(init: str, forward: str, after: str, inputs: Inputs) -> None:
    result = equivalent(module(init, forward), inputs, codes=frozenset({CODE}), deep=False, tolerance=REORDERED)
    assert result.applied
    assert after in result.text, result.text
    assert "Adaptive" not in result.text


def test_it_is_exact_where_the_rank_is_shown() -> None:
    text = module("self.norm = nn.BatchNorm2d(3)\n" + POOL, "return self.pool(self.norm(x)).flatten(1)")
    result = equivalent(text, X, codes=frozenset({CODE}), deep=False, tolerance=REORDERED)
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}


def test_a_pool_that_is_called_elsewhere_stays() -> None:
    text = module(POOL, "return self.pool(x).flatten(1), self.pool(x)")
    result = equivalent(text, X, codes=frozenset({CODE}), deep=False, tolerance=REORDERED)
    assert POOL in result.text


REFUSED = [
    ("another size", "self.pool = nn.AdaptiveAvgPool2d(2)", "return self.pool(x).flatten(1)", ""),
    ("half a size", "self.pool = nn.AdaptiveAvgPool2d((1, 2))", "return self.pool(x).flatten(1)", ""),
    ("a size by name", "s = 1\nself.pool = nn.AdaptiveAvgPool2d(s)", "return self.pool(x).flatten(1)", ""),
    ("the largest", "self.pool = nn.AdaptiveMaxPool2d(1)", "return self.pool(x).flatten(1)", ""),
    ("flat altogether", POOL, "return self.pool(x).flatten()", ""),
    ("flat from the third", POOL, "return self.pool(x).flatten(2)", ""),
    ("squeezed", POOL, "return self.pool(x).squeeze()", ""),
    ("squeezed once", POOL, "return self.pool(x).squeeze(-1)", ""),
    ("another batch", POOL, "return self.pool(x).view(-1, 3)", ""),
    ("sizes in full", POOL, "return self.pool(x).view(2, 3)", ""),
    ("another first size", POOL, "return self.pool(x).view(x.size(1), -1)", ""),
    ("a slice", POOL, "return self.pool(x)[:, :, 0]", ""),
    ("a part of the channels", POOL, "return self.pool(x)[:, :2, 0, 0]", ""),
    ("another index", POOL, "return self.pool(x)[0, :, 0, 0]", ""),
    ("used twice", POOL, "y = self.pool(x)\nreturn y.flatten(1), y * 2", "more than once"),
    ("a convolution between", POOL + "\nself.c = nn.Conv2d(3, 3, 1)", "return self.c(self.pool(x)).flatten(1)", ""),
    ("hooked", POOL + "\nself.pool.register_forward_hook(print)", "return self.pool(x).flatten(1)", "beside"),
    ("a literal", "self.net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())", "return self.net(x)", ""),
    ("without a batch", POOL, "C, H, W = x.shape\nreturn self.pool(x).flatten(1)", ""),
    ("in a branch", POOL, "x = self.pool(x)\nif self.training:\n    return x.flatten(1)\nreturn x", ""),
]


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_the_title_says_what_goes() -> None:
    text = module(POOL + "\nself.flat = nn.Flatten()", "B, C, H, W = x.shape\nreturn self.flat(self.pool(x))")
    result = equivalent(text, X, codes=frozenset({CODE}), deep=False, tolerance=REORDERED)
    assert [one.title for one in result.applied] == ["Replace the two by one `.mean((2, 3))`; `pool` and `flat` go"]
    assert result.applied[0].safety is Safety.EXACT
