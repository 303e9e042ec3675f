"""FUS506: probabilities that are given to a loss of logits are told of, and nothing else is."""

from __future__ import annotations

import pytest

from fuselight.analysis import Analysis
from fuselight.fusions.model import Finding

CODE = "FUS506"

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}
"""
LOOP = """

model = Net()
criterion = nn.CrossEntropyLoss()


def train(loader):
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()
"""
SOFT = "return F.softmax(self.fc(x), dim=1)"
FC = "self.fc = nn.Linear(16, 4)"


def net(forward: str = SOFT, init: str = FC, rest: str = LOOP) -> str:
    indented = "\n        ".join(forward.split("\n")), "\n        ".join(init.split("\n"))
    return HEAD + NET.format(forward=indented[0], init=indented[1]) + rest


def function(body: str) -> str:
    return HEAD + "def f(x, y, t):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


def found(text: str) -> list[Finding]:
    analysis = Analysis(text)
    told = [one for one in analysis.findings if one.code == CODE]
    assert all(one.withheld is not None and analysis.fix(one) is None for one in told)
    assert not [one for one in analysis.refusals if one.code == CODE]
    return told


REPORTS: list[tuple[str, str, str]] = [
    ("a function", function("return F.cross_entropy(F.softmax(x, dim=1), y)"), "`F.softmax(x, dim=1)`"),
    ("a method", function("return F.cross_entropy(x.softmax(-1), y)"), "applies `log_softmax` itself"),
    ("torch's", function("p = torch.softmax(x, 1)\nreturn F.cross_entropy(p, y)"), "applies `log_softmax` itself"),
    ("by names", function("return F.cross_entropy(target=y, input=torch.softmax(x, dim=1))"), "itself"),
    ("a layer", function("return nn.CrossEntropyLoss()(nn.Softmax(dim=1)(x), y)"), "itself"),
    (
        "local layers",
        function("act = nn.Softmax(dim=1)\nloss = nn.CrossEntropyLoss()\nreturn loss(act(x), y)"),
        "itself",
    ),
    ("without a dimension", function("return F.cross_entropy(F.softmax(x), y)"), "itself"),
    ("reshaped", function("p = F.softmax(x, dim=-1)\nreturn F.cross_entropy(p.view(-1, 4), y.view(-1))"), "itself"),
    ("of both", function("return F.cross_entropy(F.softmax(x, dim=1), F.softmax(t, dim=1))"), "itself"),
    ("returned too", function("p = F.softmax(x, dim=1)\nreturn F.cross_entropy(p, y), p"), "itself"),
    ("a sigmoid", function("return F.binary_cross_entropy_with_logits(torch.sigmoid(x), y)"), "the sigmoid itself"),
    (
        "a sigmoid layer",
        function("p = nn.Sigmoid()(x)\nreturn nn.BCEWithLogitsLoss()(p.squeeze(), y)"),
        "the sigmoid itself",
    ),
    ("in another dtype", function("return F.cross_entropy(F.softmax(x, dim=1, dtype=torch.float32), y)"), "itself"),
    ("no logarithm", function("return F.nll_loss(torch.softmax(x, dim=1), y)"), "lacks a logarithm"),
    ("no logarithm, a layer", function("return nn.NLLLoss()(F.softmax(x, dim=1), y)"), "lacks a logarithm"),
    (
        "a softmax before a sigmoid",
        function("return nn.BCEWithLogitsLoss()(F.softmax(x, dim=1), y)"),
        "should be logits",
    ),
    (
        "in one class",
        net(
            "return self.crit(self.act(self.fc(x)), x.argmax(1))",
            FC + "\nself.act = nn.Softmax(dim=1)\nself.crit = nn.CrossEntropyLoss()",
            "",
        ),
        "self.act",
    ),
    ("a model and a loop", net(), "the last step of `Net`"),
    ("a name for it", net("out = F.softmax(self.fc(x), dim=1)\nreturn out"), "the last step of `Net`"),
    (
        "several returns of it",
        net("p = F.softmax(self.fc(x), dim=1)\nif self.training:\n    return p\nreturn p"),
        "of `Net`",
    ),
    (
        "a row",
        net("return self.fc(x)", "self.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1))"),
        "nn.Softmax(dim=1)",
    ),
    (
        "a row with names",
        net(
            "return self.fc(x)",
            "from collections import OrderedDict\nself.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1))",
        ),
        "nn.Softmax(dim=1)",
    ),
    (
        "a row of what is not seen",
        net("return self.fc(x)", "self.fc = nn.Sequential(*blocks(), nn.Linear(16, 4), nn.Softmax(dim=1))"),
        "nn.Softmax(dim=1)",
    ),
    ("a layer", net("return self.act(self.fc(x))", FC + "\nself.act = nn.Softmax(dim=1)"), "self.act"),
    (
        "one of two results",
        net(
            "return x, F.softmax(self.fc(x), dim=1)",
            rest=LOOP.replace(
                "loss = criterion(model(x), y)", "hidden, out = model(x)\n        loss = criterion(out, y)"
            ),
        ),
        "of `Net`",
    ),
    (
        "the second result",
        net("return x, F.softmax(self.fc(x), dim=1)", rest=LOOP.replace("model(x)", "model(x)[1]")),
        "of `Net`",
    ),
    (
        "handed to a function",
        net(
            rest="\n\ndef train(m, loss_fn, x, y):\n    out = m(x)\n    return loss_fn(out, y)\n\n\n"
            "train(Net().cuda(), nn.CrossEntropyLoss(), None, None)\n"
        ),
        "of `Net`",
    ),
    (
        "in a main block",
        net(
            rest='\n\nif __name__ == "__main__":\n    model = Net()\n    loss_fn = nn.CrossEntropyLoss()\n'
            "    for x, y in load():\n        out = model(x)\n        loss_fn(out, y).backward()\n"
        ),
        "of `Net`",
    ),
    (
        "a class that trains",
        net(
            rest="\n\nclass Trainer:\n    def __init__(self):\n        self.model = Net()\n"
            "        self.loss = nn.CrossEntropyLoss()\n\n    def step(self, x, y):\n"
            "        return self.loss(self.model(x), y)\n"
        ),
        "of `Net`",
    ),
    ("its own step", net(rest="\n    def step(self, x, y):\n        return F.cross_entropy(self(x), y)\n"), "of `Net`"),
    (
        "its own forward",
        net(
            rest="\n    def step(self, x, y):\n        out = self.forward(x)\n        return F.cross_entropy(out, y)\n"
        ),
        "of `Net`",
    ),
    ("wrapped", net(rest=LOOP.replace("model = Net()", "model = nn.DataParallel(Net())")), "of `Net`"),
    ("compiled", net(rest=LOOP.replace("model = Net()", "model = torch.compile(Net())")), "of `Net`"),
    (
        "inherited",
        net(rest="\n\nclass Wide(Net):\n    pass\n" + LOOP.replace("model = Net()", "model = Wide()")),
        "of `Wide`",
    ),
    (
        "a model in a model",
        net(
            rest="\n\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.net = Net()\n\n    def forward(self, x):\n        return self.net(x)\n"
            + LOOP.replace("model = Net()", "model = Outer()")
        ),
        "of `Outer`",
    ),
    (
        "a row as a model",
        HEAD + "model = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1))\n\n\n"
        "def step(x, y):\n    return F.cross_entropy(model(x), y)\n",
        "nn.Softmax(dim=1)",
    ),
]


@pytest.mark.parametrize(("text", "part"), [row[1:] for row in REPORTS], ids=[row[0] for row in REPORTS])
def test_told(text: str, part: str) -> None:
    (one,) = found(text)
    assert part in one.message
    assert one.title == ""


EVAL = "x = self.fc(x)\nif not self.training:\n    x = F.softmax(x, dim=1)\nreturn x"

SILENT: list[tuple[str, str]] = [
    ("the target", function("return F.cross_entropy(x, F.softmax(t, dim=1))")),
    ("the target by its name", function("return F.cross_entropy(target=F.softmax(t, dim=1), input=x)")),
    ("a detached target", function("soft = F.softmax(t / 4, dim=1).detach()\nreturn F.cross_entropy(x / 4, soft)")),
    ("distillation", function("return F.kl_div(F.log_softmax(x, dim=1), F.softmax(t, dim=1))")),
    ("log_softmax", function("return F.nll_loss(F.log_softmax(x, dim=1), y)")),
    ("its logarithm", function("return F.nll_loss(torch.log(F.softmax(x, dim=1) + 1e-8), y)")),
    ("the right pair", function("return F.binary_cross_entropy(torch.sigmoid(x), y)")),
    ("a gate", function("return F.cross_entropy(torch.sigmoid(t) * x, y)")),
    ("attention", function("a = F.softmax(x @ t, dim=-1)\nreturn F.cross_entropy(a @ t, y)")),
    ("beside the loss", function("p = F.softmax(x, dim=1)\nloss = F.cross_entropy(x, y)\nreturn loss, p")),
    ("rebound", function("x2 = F.softmax(x, dim=1)\nx2 = x\nreturn F.cross_entropy(x2, y)")),
    ("one of two", function("p = x\nif y is None:\n    p = F.softmax(x, dim=1)\nreturn F.cross_entropy(p, t)")),
    ("a conditional expression", function("return F.cross_entropy(F.softmax(x, dim=1) if t else x, y)")),
    ("over a dimension of its own", function("return F.cross_entropy(F.softmax(x, dim=t).view(-1, 4), y)")),
    ("over the batch", function("return F.cross_entropy(F.softmax(x, dim=0), y)")),
    ("over another dimension", function("return F.cross_entropy(F.softmax(x, dim=2), y)")),
    ("a sigmoid and cross entropy", function("return F.cross_entropy(torch.sigmoid(x), y)")),
    ("hidden", function("return F.cross_entropy(*[F.softmax(x, dim=1), y])")),
    (
        "another softmax",
        HEAD + "from lib import softmax\n\n\ndef f(x, y):\n    return F.cross_entropy(softmax(x), y)\n",
    ),
    (
        "another loss",
        HEAD + "from lib import cross_entropy\n\n\ndef f(x, y):\n    return cross_entropy(F.softmax(x, 1), y)\n",
    ),
    (
        "another criterion",
        HEAD + "from lib import Criterion\n\ncriterion = Criterion()\n\n\ndef f(x, y):\n"
        "    return criterion(F.softmax(x, 1), y)\n",
    ),
    ("only in eval mode", net(EVAL)),
    ("in eval mode by a return", net("x = self.fc(x)\nif self.training:\n    return x\nreturn F.softmax(x, dim=1)")),
    ("a flag", net("x = self.fc(x)\nreturn F.softmax(x, dim=1) if self.flag else x")),
    ("inside the model", net("return self.fc(F.softmax(x, dim=1))")),
    ("a gate of the model", net("x = self.fc(x)\nreturn x * torch.sigmoid(x)")),
    ("another method", net("return self.fc(x)\n\ndef predict(self, x):\n    return F.softmax(self(x), dim=1)")),
    ("logits", net("return self.fc(x)", rest=LOOP + "\n\ndef predict(x):\n    return F.softmax(model(x), dim=1)\n")),
    (
        "the other result",
        net("x = self.fc(x)\nreturn x, F.softmax(x, dim=1)", rest=LOOP.replace("model(x)", "model(x)[0]")),
    ),
    (
        "not the last of a row",
        net("return self.fc(x)", "self.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1), nn.Linear(4, 4))"),
    ),
    (
        "a row that goes on",
        net(
            "return self.fc(x)",
            "self.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1))\nself.fc.append(nn.Linear(4, 4))",
        ),
    ),
    (
        "a row of what is not seen",
        net("return self.fc(x)", "self.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1), *blocks())"),
    ),
    (
        "another row",
        net(
            "return self.fc(x)",
            "self.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=1))",
            LOOP + "\n\nmodel.fc = nn.Linear(16, 4)\n",
        ),
    ),
    ("made elsewhere", net(rest=LOOP.replace("Net()", "build()"))),
    ("one of two models", net(rest=LOOP.replace("Net()", "Net() if flag else Other()"))),
    ("another model later", net(rest=LOOP + "\n\nmodel = other()\n")),
    ("called otherwise", net(rest="\n    def __call__(self, x):\n        return self.fc(x)\n" + LOOP)),
    (
        "a subclass overrides it",
        net(
            rest="\n\nclass Wide(Net):\n    def forward(self, x):\n        return self.fc(x)\n"
            + LOOP.replace("model = Net()", "model = Wide()")
        ),
    ),
    (
        "a loss of its own",
        net(rest=LOOP.replace("nn.CrossEntropyLoss()", "Loss()") + "\n\nclass Loss(nn.CrossEntropyLoss):\n    pass\n"),
    ),
    ("a discriminator", net("return torch.sigmoid(self.fc(x))", rest=LOOP.replace("CrossEntropyLoss", "BCELoss"))),
    ("decorated", net("return 0\n\n@wrap\ndef forward(self, x):\n    return F.softmax(self.fc(x), dim=1)")),
]


@pytest.mark.parametrize("text", [row[1] for row in SILENT], ids=[row[0] for row in SILENT])
def test_nothing_is_said(text: str) -> None:
    assert [one.message for one in found(text)] == []


def test_one_report_a_function() -> None:
    text = net(rest=LOOP.replace("        loss.backward()", "        loss = loss + criterion(model(x * 2), y)"))
    (one,) = found(text)
    assert len(one.others) == 2
    assert text[one.others[0].start : one.others[0].end] == "F.softmax(self.fc(x), dim=1)"


def test_what_changes_elsewhere_is_seen() -> None:
    """The findings of a function rest on other statements of the file."""
    text = net()
    analysis = Analysis(text)
    logits = text.replace("F.softmax(self.fc(x), dim=1)", "self.fc(x)")
    assert [one.code for one in analysis.findings].count(CODE) == 1
    later = analysis.updated(logits)
    assert CODE not in [one.code for one in later.findings]
    assert [one.code for one in later.updated(text).findings].count(CODE) == 1
    other = later.updated(text.replace("model = Net()", "model = build()"))
    assert CODE not in [one.code for one in other.findings]
    assert [one.code for one in other.updated(text).findings].count(CODE) == 1
