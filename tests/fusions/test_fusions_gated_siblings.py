"""FUS205: a value and its gate as one layer compute the same; what only looks like a gated linear unit is refused."""

from __future__ import annotations

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS205"
TOKENS: Inputs = ((2, 5, 16),)
IMAGES: Inputs = ((2, 4, 5, 6),)
TWO = "self.v = nn.Linear(16, 8)\nself.g = nn.Linear(16, 8)"
CONV = "self.v = nn.Conv2d(4, 3, 3)\nself.g = nn.Conv2d(4, 3, 3)"
LAYER = TWO + "\nself.act = nn.Sigmoid()"
PLAIN = "return self.v(x) * torch.sigmoid(self.g(x))"

MERGED: list[tuple[str, str, str, Inputs]] = [
    ("the value first", TWO, PLAIN, TOKENS),
    ("the gate first", TWO, "return torch.sigmoid(self.g(x)) * self.v(x)", TOKENS),
    ("the gate made first", "self.g = nn.Linear(16, 8)\nself.v = nn.Linear(16, 8)", PLAIN, TOKENS),
    ("one vector", TWO, PLAIN, ((16,),)),
    ("a method", TWO, "return self.v(x) * self.g(x).sigmoid()", TOKENS),
    ("a function of torch.nn", TWO, "return self.v(x) * F.sigmoid(self.g(x))", TOKENS),
    ("a layer", LAYER, "return self.v(x) * self.act(self.g(x))", TOKENS),
    ("a layer made in place", TWO, "return self.v(x) * nn.Sigmoid()(self.g(x))", TOKENS),
    ("a layer used twice", LAYER, "return self.act(self.v(x) * self.act(self.g(x)))", TOKENS),
    ("torch.mul", TWO, "return torch.mul(self.v(x), torch.sigmoid(self.g(x)))", TOKENS),
    ("a method of the gate", TWO, "return self.g(x).sigmoid().mul(self.v(x))", TOKENS),
    ("keyword inputs", TWO, "return self.v(input=x) * torch.sigmoid(input=self.g(x))", TOKENS),
    ("over statements", TWO, "v = self.v(x)\ng = self.g(x)\ng = torch.sigmoid(g)\nreturn v * g", TOKENS),
    ("over statements, the gate first", TWO, "g = torch.sigmoid(self.g(x))\nv = self.v(x)\nreturn v * g", TOKENS),
    ("a tuple", TWO, "v, g = self.v(x), self.g(x)\nreturn v * g.sigmoid()", TOKENS),
    ("a tuple with the sigmoid", TWO, "v, g = self.v(x), self.g(x).sigmoid()\nreturn v * g", TOKENS),
    ("into the input's name", TWO, "x = self.v(x) * torch.sigmoid(self.g(x))\nreturn x", TOKENS),
    (
        "with comments",
        TWO,
        "# what\nv = self.v(x)\n# how much\ng = self.g(x)  # a gate\nreturn v * torch.sigmoid(g)",
        TOKENS,
    ),
    (
        "in an expression",
        TWO + "\nself.out = nn.Linear(8, 16)",
        "return x + self.out(self.v(x) * torch.sigmoid(self.g(x)))",
        TOKENS,
    ),
    ("over lines", TWO, "y = (\n    self.v(x)  # what\n    * torch.sigmoid(self.g(x))\n)\nreturn y", TOKENS),
    (
        "written to and viewed afterwards",
        TWO,
        "y = self.v(x) * torch.sigmoid(self.g(x))\ny += 1\nreturn y.view(-1)",
        TOKENS,
    ),
    (
        "in a loop",
        "self.v = nn.Linear(16, 16)\nself.g = nn.Linear(16, 16)",
        "for _ in range(2):\n    x = self.v(x) * torch.sigmoid(self.g(x))\nreturn x",
        TOKENS,
    ),
    (
        "in a branch",
        TWO,
        "if x.dim() == 3:\n    g = torch.sigmoid(self.g(x))\n    return self.v(x) * g\nreturn x",
        TOKENS,
    ),
    ("sizes by name", "n = 8\nself.v = nn.Linear(16, n)\nself.g = nn.Linear(16, n)", PLAIN, TOKENS),
    ("no bias", TWO.replace("8)", "8, bias=False)"), PLAIN, TOKENS),
    ("images", CONV, PLAIN, IMAGES),
    ("images without a batch", CONV, PLAIN, ((4, 5, 6),)),
    ("images viewed afterwards", CONV, "return (self.v(x) * self.g(x).sigmoid()).view(-1)", IMAGES),
    ("transposed", CONV.replace("Conv2d", "ConvTranspose2d"), PLAIN, IMAGES),
    ("sequences", CONV.replace("2d", "1d"), PLAIN, ((2, 4, 9),)),
    ("volumes", CONV.replace("2d", "3d"), PLAIN, ((2, 4, 3, 4, 5),)),
    (
        "embeddings",
        "self.v = nn.Embedding(10, 4)\nself.g = nn.Embedding(10, 4)",
        "i = x.argmax(-1)\nreturn self.v(i) * torch.sigmoid(self.g(i))",
        ((2, 5, 10),),
    ),
]


@pytest.mark.parametrize(("init", "forward", "inputs"), [one[1:] for one in MERGED], ids=[one[0] for one in MERGED])
def test_merged(init: str, forward: str, inputs: Inputs) -> None:
    text = module(init, forward)
    result = equivalent(text, inputs, codes=frozenset({CODE}), tolerance=REORDERED, deep=False)
    assert [finding.safety for finding in result.applied] == [Safety.CHECKPOINT], result.text
    assert "F.glu(self.vg(" in result.text


def test_a_copy_a_pickle_and_a_nested_module_load_too() -> None:
    equivalent(module(TWO, PLAIN), TOKENS, codes=frozenset({CODE}), tolerance=REORDERED)


def test_the_larger_match_takes_the_place_of_the_smaller() -> None:
    assert [one.code for one in Analysis(module(TWO, PLAIN)).findings] == [CODE]
    assert [one.code for one in Analysis(module(CONV, PLAIN)).findings] == [CODE]


REFUSED: list[tuple[str, str, str, str]] = [
    ("SiLU", "", TWO, "return self.v(x) * F.silu(self.g(x))"),
    ("tanh", "", TWO, "return torch.tanh(self.v(x)) * torch.sigmoid(self.g(x))"),
    ("hard sigmoid", "", TWO, "return self.v(x) * F.hardsigmoid(self.g(x))"),
    ("a softmax", "", TWO, "return self.v(x) * torch.softmax(self.g(x), -1)"),
    ("a scaled gate", "", TWO, "return self.v(x) * torch.sigmoid(2 * self.g(x))"),
    ("a gate taken from one", "", TWO, "return self.v(x) * (1 - torch.sigmoid(self.g(x)))"),
    ("two sigmoids", "", TWO, "return torch.sigmoid(self.v(x)) * torch.sigmoid(self.g(x))"),
    ("a sum", "", TWO, "return self.v(x) + torch.sigmoid(self.g(x))"),
    ("a quotient", "", TWO, "return self.v(x) / torch.sigmoid(self.g(x))"),
    ("a matrix product", "", TWO, "return self.v(x) @ torch.sigmoid(self.g(x)).mT"),
    ("an in-place product", "", TWO, "v = self.v(x)\nv *= torch.sigmoid(self.g(x))\nreturn v"),
    ("three factors", "", TWO, "return self.v(x) * 2 * torch.sigmoid(self.g(x))"),
    ("the input as the value", "", TWO.replace("8", "16"), "return x * torch.sigmoid(self.g(x)) + self.v(x)"),
    ("its own gate", "", TWO, "v = self.v(x)\nreturn v * torch.sigmoid(v) + self.g(x)"),
    ("the same layer twice", "", TWO, "return self.v(x) * torch.sigmoid(self.v(x)) + self.g(x)"),
    ("two inputs", "", TWO, "return self.v(x) * torch.sigmoid(self.g(x + 1))"),
    ("a norm before the gate", "", TWO, "return self.v(x) * torch.sigmoid(self.g(F.layer_norm(x, (16,))))"),
    ("one gate for all", "one size", TWO[:-2] + "1)", PLAIN),
    ("one value for all gates", "one size", "self.v = nn.Linear(16, 1)\nself.g = nn.Linear(16, 8)", PLAIN),
    ("sizes of two names", "one size", "n = 8\nm = 8\nself.v = nn.Linear(16, n)\nself.g = nn.Linear(16, m)", PLAIN),
    (
        "a size that changes",
        "changes between",
        "n = 8\nself.v = nn.Linear(16, n)\nn = n + 0\nself.g = nn.Linear(16, n)",
        PLAIN,
    ),
    ("biases", "bias", TWO.replace("8)\n", "8, bias=False)\n"), PLAIN),
    ("kernel sizes", "kernel_size", "self.v = nn.Conv2d(4, 3, 3, padding=1)\nself.g = nn.Conv2d(4, 3, 1)", PLAIN),
    ("grouped", "is grouped", "self.v = nn.Conv2d(4, 4, 3, groups=4)\nself.g = nn.Conv2d(4, 4, 3, groups=4)", PLAIN),
    ("the gate read besides", "used again", TWO, "g = torch.sigmoid(self.g(x))\nreturn self.v(x) * g, g"),
    ("the logits of the gate read besides", "used again", TWO, "g = self.g(x)\nreturn self.v(x) * torch.sigmoid(g), g"),
    ("the value read besides", "used again", TWO, "v = self.v(x)\nreturn v * torch.sigmoid(self.g(x)) + v"),
    (
        "the gate on both sides",
        "used again",
        TWO,
        "g = torch.sigmoid(self.g(x))\nreturn self.v(x) * g + x[..., :8] * (1 - g)",
    ),
    ("the gate kept", "", TWO, "self.last = torch.sigmoid(self.g(x))\nreturn self.v(x) * self.last"),
    ("the gate written", "used again", TWO, "g = torch.sigmoid(self.g(x))\ng.clamp_(0.1)\nreturn self.v(x) * g"),
    (
        "the input rebound",
        "may be changed",
        TWO,
        "v = self.v(x)\ng = self.g(x)\nx = x[..., :8]\nreturn v * torch.sigmoid(g) + x",
    ),
    (
        "the input rebound by the value",
        "may be changed",
        TWO,
        "g = torch.sigmoid(self.g(x))\nx = self.v(x)\nreturn x * g",
    ),
    ("the input written", "may be changed", TWO, "v = self.v(x)\nx.mul_(2)\nreturn v * torch.sigmoid(self.g(x))"),
    ("in two branches", "", TWO, "v = self.v(x)\nif v.sum() > 0:\n    return v * torch.sigmoid(self.g(x))\nreturn v"),
    (
        "a return between",
        "leave",
        TWO,
        "g = self.g(x)\nif x.sum() > 99:\n    return x\nreturn self.v(x) * torch.sigmoid(g)",
    ),
    (
        "without gradients for the gate",
        "another branch",
        TWO,
        "with torch.no_grad():\n    g = torch.sigmoid(self.g(x))\nreturn self.v(x) * g",
    ),
    ("detached", "", TWO, "return self.v(x) * torch.sigmoid(self.g(x)).detach()"),
    ("called twice", "more than once", TWO, PLAIN + " + self.g(x)"),
    ("tied", "beside its call", TWO + "\nself.g.weight = self.v.weight", PLAIN),
    ("a bias set by hand", "beside its call", TWO + "\nnn.init.constant_(self.g.bias, 2.0)", PLAIN),
    (
        "the sigmoid hooked",
        "beside its call",
        LAYER + "\nself.act.register_forward_hook(print)",
        "return self.v(x) * self.act(self.g(x))",
    ),
    ("the sigmoid replaced", "", LAYER, "self.act = nn.Tanh()\nreturn self.v(x) * self.act(self.g(x))"),
    (
        "another activation in the attribute",
        "",
        LAYER.replace("Sigmoid", "Tanh"),
        "return self.v(x) * self.act(self.g(x)) + torch.sigmoid(x[..., :8])",
    ),
    (
        "named in a string",
        "names",
        TWO.replace("self.v", "self.value").replace("self.g", "self.gate") + '\nself.frozen = ["value"]',
        "return self.value(x) * torch.sigmoid(self.gate(x))",
    ),
    ("orthogonal", "depends on the shape", TWO + "\nfor p in self.parameters():\n    nn.init.orthogonal_(p)", PLAIN),
]


@pytest.mark.parametrize(("reason", "init", "forward"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(reason: str, init: str, forward: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
