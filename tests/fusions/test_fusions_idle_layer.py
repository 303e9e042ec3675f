"""FUS109: a layer that hands on what it gets goes; a placeholder stays."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS109"
X: Inputs = ((3, 4),)

POSITIVES = [
    ("an identity", "self.skip = nn.Identity()", "return x + self.skip(x)", "return x + x"),
    ("with arguments", "self.skip = nn.Identity(54, unused=0.1)", "return self.skip(x) * 2", "return x * 2"),
    ("returned", "self.identity = nn.Identity()", "return self.identity(torch.relu(x))", "return torch.relu(x)"),
    ("a dropout of nothing", "self.drop = nn.Dropout(0.0)", "return self.drop(x + 1)", "return x + 1"),
    ("by keyword", "self.drop = nn.Dropout(p=0)", "return self.drop(x + 1)", "return x + 1"),
    (
        "one of channels",
        "self.drop = nn.Dropout2d(0.0)",
        "return self.drop(x[None, None])[0, 0]",
        "return x[None, None][0, 0]",
    ),
    (
        "in a statement",
        "self.drop = nn.Dropout(0.0)",
        "x = x + 1\nx = self.drop(x)\nreturn x",
        "        x = x + 1\n        return x",
    ),
    ("into another name", "self.drop = nn.Dropout(0.0)", "y = self.drop(x)\nreturn y + x", "y = x"),
    ("before a method", "self.skip = nn.Identity()", "return self.skip(x + 1).sum(-1)", "return (x + 1).sum(-1)"),
    ("a function", "pass", "return F.dropout(x, 0.0) + 1", "return x + 1"),
    ("a function in training", "pass", "return F.dropout(x, p=0.0, training=self.training) + 1", "return x + 1"),
    ("floats", "pass", "return x.float().float()", "return x.float()"),
    ("contiguous twice", "pass", "return x.t().contiguous().contiguous()", "return x.t().contiguous()"),
    (
        "doubles in steps",
        "pass",
        "x = x.double()\nx = x.double()\nreturn x + 1",
        "x = x.double()\n        return x + 1",
    ),
    ("detached twice", "pass", "return x.detach().detach() + x", "return x.detach() + x"),
    (
        "comments",
        "# nothing\nself.drop = nn.Dropout(0.0)  # for now",
        "x = self.drop(x)  # none\nreturn x + 1",
        "# for now",
    ),
    (
        "an operand over lines",
        "self.skip = nn.Identity()",
        "y = self.skip(\n    x\n    + 1\n)\nreturn y * 2",
        "y = (\n            x\n            + 1\n        )\n",
    ),
    (
        "a call over lines",
        "self.skip = nn.Identity()",
        "y = self.skip(\n    torch.relu(\n        x,\n    )\n)\nreturn y * 2",
        "y = torch.relu(\n            x,\n        )\n",
    ),
    (
        "an operator with comments",
        "self.skip = nn.Identity()",
        "y = self.skip(  # one\n    -x,  # two\n)\nreturn y",
        "y = -x\n",
    ),
    ("a call of a lambda", "self.skip = nn.Identity()", "return self.skip(lambda: x)()", "return (lambda: x)()"),
    (
        "a string over lines",
        "self.skip = nn.Identity()",
        'return self.skip(\n    x * len(\n        """a\n        b"""\n    )\n)',
        "return x * len(",
    ),
    ("two calls", "self.skip = nn.Identity()", "return self.skip(x) + self.skip(x * 2)", "return x + (x * 2)"),
]


@pytest.mark.parametrize(
    ("init", "forward", "after"), [one[1:] for one in POSITIVES], ids=[one[0] for one in POSITIVES]
)
def test_removed(init: str, forward: str, after: str) -> None:
    result = equivalent(module(init, forward), X, codes=frozenset({CODE}), deep=False, tolerance=0.0)
    assert {finding.safety for finding in result.applied} == {Safety.EXACT}
    assert after in result.text, result.text
    assert "Identity" not in result.text
    assert "nn.Dropout" not in result.text


IDENTITY = "self.skip = nn.Identity()"
REFUSED = [
    ("a place for others", "self.to_latent = nn.Identity()", "return self.to_latent(x)", ""),
    ("a dropout", "self.drop = nn.Dropout(0.1)", "return self.drop(x)", ""),
    ("a dropout by default", "self.drop = nn.Dropout()", "return self.drop(x)", ""),
    ("a probability by name", "p = 0.0\nself.drop = nn.Dropout(p)", "return self.drop(x)", ""),
    ("in place", "self.drop = nn.Dropout(0.0, inplace=True)", "return self.drop(x)", ""),
    ("an alpha dropout", "self.drop = nn.AlphaDropout(0.0)", "return self.drop(x)", ""),
    ("under a condition", "self.skip = nn.ReLU() if X else nn.Identity()", "return self.skip(x)", ""),
    (
        "in a branch",
        "if X:\n    self.skip = nn.Identity()\nelse:\n    self.skip = nn.ReLU()",
        "return self.skip(x)",
        "",
    ),
    ("made twice", IDENTITY + "\nself.skip = nn.ReLU()", "return self.skip(x)", ""),
    ("made by name", "act = nn.Identity\nself.skip = act()", "return self.skip(x)", ""),
    ("hooked", IDENTITY + "\nself.skip.register_forward_hook(print)", "return self.skip(x)", "beside its call"),
    ("handed on", IDENTITY + "\nself.other = nn.Sequential(self.skip)", "return self.skip(x)", "beside its call"),
    ("named in a string", IDENTITY + "\nself.taps = ['skip']", "return self.skip(x)", "string"),
    (
        "by a computed name",
        IDENTITY + "\nfor n in 'ab':\n    setattr(self, n, 1)",
        "return self.skip(x)",
        "computed name",
    ),
    ("for hooks", IDENTITY + "  # to be hooked", "return self.skip(x)", ""),
    ("a placeholder", "# placeholder, replaced by the trainer\n" + IDENTITY, "return self.skip(x)", ""),
    ("for quantisation", "self.quant_in = nn.Identity()", "return self.quant_in(x)", ""),
    (
        "a probability that is set",
        "self.drop = nn.Dropout(0.0)\nfor m in self.modules():\n    m.p = 0.5",
        "return self.drop(x)",
        "probability",
    ),
    ("in a literal", "self.net = nn.Sequential(nn.Identity(), nn.Dropout(0.0))", "return self.net(x)", ""),
    ("in a list", "self.net = nn.ModuleList([nn.Identity()])", "return self.net[0](x)", ""),
    ("two arguments", "self.skip = nn.Identity()", "return self.skip(x, x)", "one input"),
    ("a function that drops", "pass", "return F.dropout(x, 0.5)", ""),
    ("a function by default", "pass", "return F.dropout(x)", ""),
    ("other conversions", "pass", "return x.float().half()", ""),
    ("a memory format", "pass", "return x.contiguous().contiguous(memory_format=torch.preserve_format)", ""),
    ("clones", "pass", "return x.clone().clone()", ""),
    ("to a device", "pass", "return x.to('cpu').to('cpu')", ""),
    ("the first is used too", "pass", "y = x.half()\nreturn y.half(), y", "more than once"),
]


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons


def test_one_that_is_replaced_from_outside_stays() -> None:
    text = module(IDENTITY, "return self.skip(x)", tail="def f(model):\n    model.skip = nn.Tanh()")
    assert any("touches" in one for one in refused(text, CODE))


def test_one_that_a_subclass_replaces_stays() -> None:
    tail = "class N(M):\n    def __init__(self):\n        super().__init__()\n        self.skip = nn.Tanh()"
    assert refused(module(IDENTITY, "return self.skip(x)", tail=tail), CODE)
