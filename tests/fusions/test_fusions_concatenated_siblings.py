"""FUS204: what is concatenated or stacked is what one layer computes; what only looks like it is refused."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS204"
TOKENS: Inputs = ((2, 5, 16),)
ROWS: Inputs = ((3, 16),)
IMAGES: Inputs = ((2, 4, 5, 6),)
TWO = "self.a = nn.Linear(16, 4)\nself.b = nn.Linear(16, 4)"
WIDE = "self.a = nn.Linear(16, 4)\nself.b = nn.Linear(16, 6)"
CONV = "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 1)"
THREE = "self.a = nn.Linear(16, 4)\nself.b = nn.Linear(16, 4)\nself.c = nn.Linear(16, 4)"
CAT = "return torch.cat([self.a(x), self.b(x)], dim=-1)"

MERGED: list[tuple[str, str, str, Inputs]] = [
    ("the last dimension", TWO, CAT, TOKENS),
    ("by position", TWO, "return torch.cat((self.a(x), self.b(x)), -1)", TOKENS),
    ("by its other names", TWO, "return torch.concat([self.a(x), self.b(x)], dim=-1)", TOKENS),
    ("one vector", TWO, CAT, ((16,),)),
    ("the tensors by name", TWO, "return torch.cat(tensors=[self.a(x), self.b(x)], dim=-1)", TOKENS),
    ("in the order of the list", WIDE, "return torch.cat([self.b(x), self.a(x)], dim=-1)", TOKENS),
    ("three in an order of their own", THREE, "return torch.cat([self.c(x), self.a(x), self.b(x)], -1)", TOKENS),
    ("widths that show the dimension", WIDE, "return torch.cat([self.a(x), self.b(x)], 1)", ROWS),
    ("widths that show the third dimension", WIDE, "return torch.cat([self.a(x), self.b(x)], 2)", TOKENS),
    (
        "a rank that shows the dimension",
        TWO,
        "x = x.flatten(1)\nreturn torch.cat([self.a(x), self.b(x)], 1)",
        ((3, 4, 4),),
    ),
    (
        "sizes that show the dimension",
        TWO,
        "B, T, C = x.shape\ny = torch.cat([self.a(x), self.b(x)], dim=2)\nreturn y.view(B, T * 8)",
        TOKENS,
    ),
    ("statements", WIDE, "a = self.a(x)\nb = self.b(x)\nreturn torch.cat([a, b], dim=-1)", TOKENS),
    ("statements in another order", WIDE, "b = self.b(x)\na = self.a(x)\nreturn torch.cat([a, b], dim=-1)", TOKENS),
    ("a tuple", WIDE, "a, b = self.a(x), self.b(x)\nreturn torch.cat([a, b], dim=-1)", TOKENS),
    ("one in a variable", WIDE, "b = self.b(x)\nreturn torch.cat([self.a(x), b], dim=-1)", TOKENS),
    ("the list in a variable", WIDE, "parts = [self.a(x), self.b(x)]\nreturn torch.cat(parts, dim=-1)", TOKENS),
    (
        "all in variables",
        WIDE,
        "a = self.a(x)\nb = self.b(x)\nparts = (a, b)\ny = torch.cat(parts, -1)\nreturn y * 2",
        TOKENS,
    ),
    (
        "comments on all",
        WIDE,
        "# first\na = self.a(x)  # a\n# second\nb = self.b(x)  # b\n# both\nreturn torch.cat([a, b], dim=-1)  # end",
        TOKENS,
    ),
    (
        "over lines",
        WIDE,
        "y = torch.cat(\n    [\n        self.a(x),  # the first\n        self.b(x),\n    ],\n    dim=-1,\n)\nreturn y",
        TOKENS,
    ),
    ("into the name of the input", TWO, "x = torch.cat([self.a(x), self.b(x)], dim=-1)\nreturn x", TOKENS),
    (
        "the input rebound afterwards",
        WIDE,
        "a = self.a(x)\nb = self.b(x)\ny = torch.cat([a, b], -1)\nx = x + 1\nreturn y.sum() + x",
        TOKENS,
    ),
    (
        "names that are bound before and after",
        WIDE,
        "a = x.mean()\ny = a\na = self.a(x)\nb = self.b(x)\nb = torch.cat([a, b], -1)\nreturn b + y",
        TOKENS,
    ),
    ("nested in an expression", WIDE, "return torch.relu(torch.cat([self.a(x), self.b(x)], dim=-1)) * 2", TOKENS),
    ("written to afterwards", WIDE, "y = torch.cat([self.a(x), self.b(x)], dim=-1)\ny += 1\nreturn y.relu_()", TOKENS),
    ("viewed flat afterwards", WIDE, "return torch.cat([self.a(x), self.b(x)], dim=-1).view(-1)", TOKENS),
    (
        "in a loop",
        "self.a = nn.Linear(16, 8)\nself.b = nn.Linear(16, 8)",
        "for _ in range(3):\n    x = torch.tanh(torch.cat([self.a(x), self.b(x)], dim=-1))\nreturn x",
        TOKENS,
    ),
    (
        "in a branch",
        WIDE,
        "if x.dim() == 3:\n    a = self.a(x)\n    return torch.cat([a, self.b(x)], dim=-1)\nreturn x",
        TOKENS,
    ),
    ("in an arm", WIDE, "return torch.cat([self.a(x), self.b(x)], dim=-1) if x.dim() == 3 else x", TOKENS),
    (
        "in a condition",
        WIDE,
        "if torch.cat([self.a(x), self.b(x)], dim=-1).sum() > 0:\n    return x * 2\nreturn x",
        TOKENS,
    ),
    ("widths by name", "n = 4\nself.a = nn.Linear(16, n)\nself.b = nn.Linear(16, n * 2)", CAT, TOKENS),
    ("no bias", TWO.replace("4)", "4, bias=False)"), CAT, TOKENS),
    (
        "convolutions of other widths",
        "self.a = nn.Conv2d(4, 2, 3)\nself.b = nn.Conv2d(4, 3, 3)",
        "return torch.cat([self.a(x), self.b(x)], dim=1)",
        IMAGES,
    ),
    ("convolutions counted from the end", CONV, "return torch.cat([self.a(x), self.b(x)], dim=-3)", IMAGES),
    ("convolutions without a batch", CONV, "return torch.cat([self.a(x), self.b(x)], dim=-3)", ((4, 5, 6),)),
    ("convolutions with a batch", CONV, "N, C, H, W = x.shape\nreturn torch.cat([self.a(x), self.b(x)], 1)", IMAGES),
    (
        "convolutions before a norm",
        CONV + "\nself.n = nn.BatchNorm2d(8)",
        "return self.n(torch.cat([self.a(x), self.b(x)], 1))",
        IMAGES,
    ),
    (
        "transposed convolutions",
        "self.a = nn.ConvTranspose1d(4, 2, 2)\nself.b = nn.ConvTranspose1d(4, 5, 2)",
        "return torch.cat([self.a(x), self.b(x)], 1)",
        ((2, 4, 7),),
    ),
    (
        "embeddings",
        "self.a = nn.Embedding(10, 4)\nself.b = nn.Embedding(10, 6)",
        "i = x.argmax(-1)\nreturn torch.cat([self.a(i), self.b(i)], dim=-1)",
        ((2, 5, 10),),
    ),
    (
        "embeddings of rows",
        "self.a = nn.Embedding(10, 4)\nself.b = nn.Embedding(10, 4)",
        "i = x.flatten(1).argmax(1)\nreturn torch.cat([self.a(i), self.b(i)], dim=1)",
        ((3, 10),),
    ),
    ("stacked in front", TWO, "return torch.stack([self.a(x), self.b(x)])", TOKENS),
    ("stacked at one", TWO, "return torch.stack([self.a(x), self.b(x)], dim=1)", TOKENS),
    ("stacked at two", TWO, "return torch.stack((self.a(x), self.b(x)), 2)", TOKENS),
    ("stacked at the end", TWO, "return torch.stack([self.a(x), self.b(x)], dim=-1)", TOKENS),
    ("stacked behind the end", TWO, "return torch.stack([self.a(x), self.b(x)], dim=3)", TOKENS),
    ("stacked before the last", TWO, "return torch.stack([self.a(x), self.b(x)], dim=-2)", TOKENS),
    ("stacked before the last and flat", TWO, "return torch.stack([self.a(x), self.b(x)], dim=-2).view(-1)", TOKENS),
    ("stacked from the third last", TWO, "return torch.stack([self.a(x), self.b(x)], dim=-3)", TOKENS),
    ("stacked and reshaped", TWO, "return torch.stack([self.a(x), self.b(x)], dim=1).reshape(2, -1)", TOKENS),
    ("stacked of rows", THREE, "return torch.stack([self.c(x), self.a(x), self.b(x)], dim=1)", ROWS),
    ("stacked of one vector", TWO, "return torch.stack([self.a(x), self.b(x)])", ((16,),)),
    (
        "stacked with widths by name",
        "n = 4\nself.a = nn.Linear(16, n)\nself.b = nn.Linear(16, n)",
        "a, b = self.a(x), self.b(x)\nreturn torch.stack([a, b], 1)",
        TOKENS,
    ),
    ("stacked of nothing", TWO, "return torch.stack([self.a(x), self.b(x)], dim=1)", ((0, 5, 16),)),
    ("stacked convolutions", CONV, "return torch.stack([self.a(x), self.b(x)], dim=1)", IMAGES),
    ("stacked convolutions at the end", CONV, "return torch.stack([self.a(x), self.b(x)], dim=-1)", IMAGES),
    ("stacked convolutions without a batch", CONV, "return torch.stack([self.a(x), self.b(x)])", ((4, 5, 6),)),
]


@pytest.mark.parametrize(("init", "forward", "inputs"), [one[1:] for one in MERGED], ids=[one[0] for one in MERGED])
def test_merged(init: str, forward: str, inputs: Inputs) -> None:
    text = module(init, forward)
    result = equivalent(text, inputs, codes=frozenset({CODE}), deep=False)
    assert [finding.safety for finding in result.applied] == [Safety.CHECKPOINT], result.text
    assert "self.b(" not in result.text


def test_a_copy_a_pickle_and_a_nested_module_load_too() -> None:
    equivalent(module(WIDE, "return torch.cat([self.b(x), self.a(x)], dim=-1)"), TOKENS, codes=frozenset({CODE}))


def test_the_larger_match_takes_the_place_of_the_smaller() -> None:
    for text in (module(TWO, CAT), module(CONV, "return torch.cat([self.a(x), self.b(x)], dim=-3)")):
        assert [one.code for one in Analysis(text).findings] == [CODE]


def test_a_batch_that_the_source_does_not_show_is_said_in_the_title() -> None:
    text = module(CONV, "return torch.cat([self.a(x), self.b(x)], dim=1)")
    analysis = Analysis(text)
    assert [(one.code, one.safety) for one in analysis.findings] == [
        (CODE, Safety.NUMERICS),
        ("FUS202", Safety.CHECKPOINT),
    ]
    assert "for an input with a batch" in analysis.findings[0].title
    equivalent(text, IMAGES, codes=frozenset({CODE}), deep=False)
    equivalent(text, ((4, 5, 6),), codes=frozenset({"FUS202"}), deep=False)


def test_a_third_sibling_is_left_as_it_is_beside_a_merge() -> None:
    text = module(THREE, "y = torch.cat([self.a(x), self.b(x)], dim=-1)\nreturn y, self.c(x)")
    for codes in (frozenset({CODE}), frozenset({"FUS201"}), frozenset({CODE, "FUS201"})):
        equivalent(text, TOKENS, codes=codes, deep=False)


REFUSED: list[tuple[str, str, str, str]] = [
    ("an unknown rank", "not known to be that of the features", TWO, "return torch.cat([self.a(x), self.b(x)], 1)"),
    ("the first dimension", "dimension 0", TWO, "return torch.cat([self.a(x), self.b(x)])"),
    ("the tokens", "dimension 1", TWO, "B, T, C = x.shape\nreturn torch.cat([self.a(x), self.b(x)], dim=1)"),
    ("the tokens from the end", "dimension -2", TWO, "return torch.cat([self.a(x), self.b(x)], dim=-2)"),
    ("rows", "dimension 0", TWO, "x = x.flatten(1)\nreturn torch.cat([self.a(x), self.b(x)], dim=0)"),
    ("heights", "dimension 2", CONV, "return torch.cat([self.a(x), self.b(x)], dim=2)"),
    ("widths", "dimension -1", CONV, "return torch.cat([self.a(x), self.b(x)], dim=-1)"),
    ("images in a batch", "dimension 0", CONV, "return torch.cat([self.a(x), self.b(x)])"),
    ("heights without a batch", "dimension 1", CONV, "C, H, W = x.shape\nreturn torch.cat([self.a(x), self.b(x)], 1)"),
    (
        "a dimension by name",
        "not written out",
        TWO,
        "d = len(x.shape) - 1\nreturn torch.cat([self.a(x), self.b(x)], d)",
    ),
    ("read besides", "used again", TWO, "a = self.a(x)\nreturn torch.cat([a, self.b(x)], dim=-1) + a.sum()"),
    ("its size read besides", "used again", TWO, "a = self.a(x)\nreturn torch.cat([a, self.b(x)], -1), a.shape"),
    ("kept besides", "used again", TWO, "a = self.a(x)\nself.last = a\nreturn torch.cat([a, self.b(x)], dim=-1)"),
    ("the list read besides", "used again", TWO, "p = [self.a(x), self.b(x)]\nreturn torch.cat(p, dim=-1), p[0]"),
    ("the list changed", "", TWO, "p = [self.a(x), self.b(x)]\np.append(x)\nreturn torch.cat(p, dim=-1)"),
    ("twice in the list", "used again", TWO, "a, b = self.a(x), self.b(x)\nreturn torch.cat([a, b, a], dim=-1)"),
    (
        "bound with another",
        "variable of its own",
        TWO,
        "a, n = self.a(x), x.mean()\nreturn torch.cat([a, self.b(x)], dim=-1) + n",
    ),
    ("bound to two names", "", TWO, "a = c = self.a(x)\nreturn torch.cat([a, self.b(x)], dim=-1)"),
    ("kept in an attribute", "", TWO, "self.h = self.a(x)\nreturn torch.cat([self.h, self.b(x)], dim=-1)"),
    ("bound in the expression", "bound inside", TWO, "return torch.cat([(a := self.a(x)), self.b(x)], dim=-1)"),
    (
        "one in a branch",
        "",
        TWO,
        "a = x\nif x.dim() == 3:\n    a = self.a(x)\nreturn torch.cat([a, self.b(x)], dim=-1)",
    ),
    (
        "one before a branch",
        "another branch",
        TWO,
        "a = self.a(x)\nif x.dim() == 3:\n    return torch.cat([a, self.b(x)], -1)\nreturn x",
    ),
    (
        "both before a branch",
        "another branch",
        TWO,
        "a = self.a(x)\nb = self.b(x)\nif x.dim() == 3:\n    return torch.cat([a, b], -1)\nreturn x",
    ),
    (
        "before a loop",
        "another branch",
        TWO,
        "a, b = self.a(x), self.b(x)\nfor _ in range(2):\n    y = torch.cat([a, b], -1)\nreturn y",
    ),
    ("the input rebound between", "", TWO, "a = self.a(x)\nx = x + 1\nreturn torch.cat([a, self.b(x)], dim=-1)"),
    (
        "the input rebound before the list",
        "may be changed",
        TWO,
        "a = self.a(x)\nb = self.b(x)\nx = x.sum()\nreturn torch.cat([a, b], dim=-1) + x",
    ),
    (
        "the input rebound by one",
        "may be changed",
        TWO,
        "a = self.a(x)\nx = self.b(x)\nreturn torch.cat([a, x], dim=-1)",
    ),
    (
        "the input deleted",
        "may be changed",
        TWO,
        "a = self.a(x)\nb = self.b(x)\ndel x\nreturn torch.cat([a, b], dim=-1)",
    ),
    (
        "the input written between",
        "may be changed",
        TWO,
        "a = self.a(x)\nx.mul_(2)\nreturn torch.cat([a, self.b(x)], -1)",
    ),
    (
        "the input written before the list",
        "may be changed",
        TWO,
        "a, b = self.a(x), self.b(x)\nx.mul_(2)\nreturn torch.cat([a, b], -1)",
    ),
    ("an output written", "used again", TWO, "a, b = self.a(x), self.b(x)\na.mul_(2)\nreturn torch.cat([a, b], -1)"),
    (
        "a return between",
        "leave",
        TWO,
        "a = self.a(x)\nif x.sum() > 99:\n    return x\nreturn torch.cat([a, self.b(x)], -1)",
    ),
    (
        "gradients switched between",
        "leave",
        TWO,
        "a = self.a(x)\ntorch.set_grad_enabled(False)\nreturn torch.cat([a, self.b(x)], -1)",
    ),
    ("in a lambda", "", TWO, "f = lambda t: torch.cat([self.a(t), self.b(t)], -1)\nreturn f(x)"),
    ("in a comprehension", "", TWO, "return [torch.cat([self.a(t), self.b(t)], -1) for t in x]"),
    ("captured", "", TWO, "a, b = self.a(x), self.b(x)\nf = lambda: a\nreturn torch.cat([a, b], -1) + f().sum()"),
    ("one line", "shares its line", TWO, "a = self.a(x); b = self.b(x)\nreturn torch.cat([a, b], -1)"),
    ("detached", "", TWO, "return torch.cat([self.a(x), self.b(x).detach()], -1)"),
    ("an activation on one", "", TWO, "return torch.cat([self.a(x), torch.relu(self.b(x))], -1)"),
    ("two inputs", "", TWO, "return torch.cat([self.a(x), self.b(x + 1)], dim=-1)"),
    (
        "two dropouts",
        "",
        TWO + "\nself.d = nn.Dropout()",
        "return torch.cat([self.a(self.d(x)), self.b(self.d(x))], -1)",
    ),
    ("an input without a name", "", TWO, "return torch.cat([self.a(x + 1), self.b(x + 1)], dim=-1)"),
    ("another thing in the list", "", TWO, "return torch.cat([self.a(x), x, self.b(x)], dim=-1)"),
    ("a starred list", "", TWO, "p = [self.a(x), self.b(x)]\nreturn torch.cat([*p], dim=-1)"),
    (
        "into a given tensor",
        "",
        TWO,
        "y = x.new_empty(2, 5, 8)\ntorch.cat([self.a(x), self.b(x)], dim=-1, out=y)\nreturn y",
    ),
    ("one is called twice", "more than once", TWO, "return torch.cat([self.a(x), self.b(x)], -1), self.a(x)"),
    ("biases", "bias", TWO.replace("4)\nself.b", "4, bias=False)\nself.b"), CAT),
    ("dtypes", "dtype", TWO[:-1] + ", dtype=torch.float64)", CAT),
    (
        "kernel sizes",
        "kernel_size",
        "self.a = nn.Conv2d(4, 4, 1)\nself.b = nn.Conv2d(4, 4, 3, padding=1)",
        "return torch.cat([self.a(x), self.b(x)], dim=-3)",
    ),
    (
        "grouped",
        "is grouped",
        "self.a = nn.Conv2d(4, 4, 1, groups=2)\nself.b = nn.Conv2d(4, 4, 1, groups=2)",
        "return torch.cat([self.a(x), self.b(x)], 1)",
    ),
    ("a linear layer and a convolution", "", "self.a = nn.Linear(16, 4)\nself.b = nn.Conv1d(16, 4, 1)", CAT),
    ("tied", "beside its call", TWO + "\nself.b.weight = self.a.weight", CAT),
    (
        "named in a string",
        "names",
        TWO.replace("self.a", "self.left").replace("self.b", "self.right") + '\nself.names = ["left"]',
        "return torch.cat([self.left(x), self.right(x)], -1)",
    ),
    ("Xavier", "depends on the shape", TWO + "\nfor p in self.parameters():\n    nn.init.xavier_uniform_(p)", CAT),
    (
        "embeddings of other sizes",
        "num_embeddings",
        "self.a = nn.Embedding(16, 4)\nself.b = nn.Embedding(17, 4)",
        "i = x.argmax(-1)\nreturn torch.cat([self.a(i), self.b(i)], -1)",
    ),
    ("stacked with other widths", "one size", WIDE, "return torch.stack([self.a(x), self.b(x)], dim=1)"),
    (
        "stacked with widths of two names",
        "one size",
        "n = 4\nm = 4\nself.a = nn.Linear(16, n)\nself.b = nn.Linear(16, m)",
        "return torch.stack([self.a(x), self.b(x)], dim=1)",
    ),
    ("stacked and viewed", "contiguous", TWO, "return torch.stack([self.a(x), self.b(x)], dim=1).view(2, -1)"),
    (
        "stacked in a variable and viewed",
        "contiguous",
        TWO,
        "y = torch.stack([self.a(x), self.b(x)])\nz = y * 2\nreturn y.view(-1) + z.sum()",
    ),
    (
        "stacked at a dimension by name",
        "not written out",
        TWO,
        "return torch.stack([self.a(x), self.b(x)], x.dim() - 1)",
    ),
]


@pytest.mark.parametrize(("reason", "init", "forward"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(reason: str, init: str, forward: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
