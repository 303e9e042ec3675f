"""FUS505: an activation goes into the loss behind it, where nobody else gets what it makes."""

from __future__ import annotations

import pytest
import torch

from equivalence.harness import Inputs, equivalent, executed, module, refused, rewritten
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS505"
CODES = frozenset({CODE})

_GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(6, 16, generator=_GENERATOR, dtype=torch.float64)
CLASSES = torch.randint(0, 4, (6,), generator=_GENERATOR)
BITS = (torch.rand(6, 4, generator=_GENERATOR) > 0.5).to(torch.float64)
IMAGES = torch.randn(2, 16, 3, 3, generator=_GENERATOR, dtype=torch.float64)
PIXELS = torch.randint(0, 4, (2, 3, 3), generator=_GENERATOR)

NLL: Inputs = (X, CLASSES)
BCE: Inputs = (X, BITS)
SOFT: Inputs = (X, torch.softmax(BITS, 1))

FC = "self.fc = nn.Linear(16, 4)\n"
LOG = FC + "self.act = nn.LogSoftmax(dim=1)\nself.crit = nn.NLLLoss()"
NET = "self.net = nn.Sequential(nn.Linear(16, 4), nn.Sigmoid())\nself.crit = nn.BCELoss()"
LOG_NET = "self.net = nn.Sequential(nn.Linear(16, 4), nn.LogSoftmax(1))\nself.crit = nn.NLLLoss()"
CALL = "return self.crit(self.net(x), y)"

POSITIVES: list[tuple[str, str, str, Inputs, str, Safety]] = [
    (
        "a layer of its own",
        LOG,
        "return self.crit(self.act(self.fc(x)), y)",
        NLL,
        "return self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "in steps",
        LOG,
        "h = self.fc(x)\np = self.act(h)\nloss = self.crit(p, y)\nreturn loss",
        NLL,
        "loss = self.crit(h, y)",
        Safety.EXACT,
    ),
    (
        "one name",
        LOG,
        "x = self.fc(x)\nx = self.act(x)\nreturn self.crit(x, y)",
        NLL,
        "x = self.fc(x)\n        return self.crit(x, y)",
        Safety.EXACT,
    ),
    (
        "behind an if",
        LOG,
        "x = self.act(self.fc(x))\nif self.training:\n    return self.crit(x, y)\nreturn self.crit(x, y) * 2",
        NLL,
        "x = self.fc(x)\n",
        Safety.EXACT,
    ),
    ("the last of a row", LOG_NET, CALL, NLL, "nn.Sequential(nn.Linear(16, 4))", Safety.EXACT),
    (
        "a function and a layer",
        FC + "self.crit = nn.NLLLoss()",
        "return self.crit(F.log_softmax(self.fc(x), dim=1), y)",
        NLL,
        "return self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "torch's function",
        FC + "self.crit = nn.NLLLoss()",
        "return self.crit(torch.log_softmax(self.fc(x), 1), y)",
        NLL,
        "return self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "a method and a layer",
        FC + "self.crit = nn.NLLLoss()",
        "return self.crit(self.fc(x).log_softmax(1), y)",
        NLL,
        "return self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "the input by its name",
        FC + "self.crit = nn.NLLLoss()",
        "return self.crit(F.log_softmax(input=self.fc(x), dim=1), y)",
        NLL,
        "return self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "a layer and a function",
        FC + "self.act = nn.LogSoftmax(dim=1)",
        "return F.nll_loss(self.act(self.fc(x)), y)",
        NLL,
        "return F.cross_entropy(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "arguments of a function",
        FC + "self.act = nn.LogSoftmax(dim=1)",
        "return F.nll_loss(self.act(self.fc(x)), y, ignore_index=2, reduction='sum')",
        NLL,
        "F.cross_entropy(self.fc(x), y, ignore_index=2, reduction='sum')",
        Safety.EXACT,
    ),
    (
        "loss arguments by name",
        LOG,
        "return self.crit(target=y, input=self.act(self.fc(x)))",
        NLL,
        "return self.crit(target=y, input=self.fc(x))",
        Safety.EXACT,
    ),
    (
        "arguments stay",
        LOG.replace("NLLLoss()", 'NLLLoss(torch.ones(4), None, 1, reduction="sum")'),
        "return self.crit(self.act(self.fc(x)), y)",
        NLL,
        'nn.CrossEntropyLoss(torch.ones(4), None, 1, reduction="sum")',
        Safety.EXACT,
    ),
    (
        "unreduced",
        LOG.replace("NLLLoss()", 'NLLLoss(reduction="none")'),
        "return self.crit(self.act(self.fc(x)), y).mean()",
        NLL,
        'nn.CrossEntropyLoss(reduction="none")',
        Safety.EXACT,
    ),
    (
        "images",
        "self.conv = nn.Conv2d(16, 4, 1)\nself.act = nn.LogSoftmax(dim=1)\nself.crit = nn.NLLLoss()",
        "return self.crit(self.act(self.conv(x)), y)",
        (IMAGES, PIXELS),
        "self.crit(self.conv(x), y)",
        Safety.EXACT,
    ),
    (
        "the last of two dimensions",
        LOG.replace("dim=1", "dim=-1"),
        "x = torch.flatten(x, 1)\nreturn self.crit(self.act(self.fc(x)), y)",
        NLL,
        "self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "the last dimension",
        LOG.replace("dim=1", "dim=-1"),
        "return self.crit(self.act(self.fc(x)), y)",
        NLL,
        "self.crit(self.fc(x), y)",
        Safety.NUMERICS,
    ),
    (
        "local ones",
        FC + "pass",
        "act = nn.LogSoftmax(dim=1)\ncriterion = nn.NLLLoss()\nreturn criterion(act(self.fc(x)), y)",
        NLL,
        "criterion = nn.CrossEntropyLoss()\n        return criterion(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "made where it is called",
        FC + "pass",
        "return nn.NLLLoss()(nn.LogSoftmax(dim=1)(self.fc(x)), y)",
        NLL,
        "nn.CrossEntropyLoss()(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "on a device",
        LOG.replace("NLLLoss()", "NLLLoss().to('cpu')"),
        "return self.crit(self.act(self.fc(x)), y)",
        NLL,
        "nn.CrossEntropyLoss().to('cpu')",
        Safety.EXACT,
    ),
    (
        "two calls of one criterion",
        LOG,
        "return self.crit(self.act(self.fc(x)), y) + self.crit(self.act(self.fc(x * 2)), y)",
        NLL,
        "self.crit(self.fc(x), y) + self.crit(self.fc(x * 2), y)",
        Safety.EXACT,
    ),
    (
        "logits go on",
        LOG,
        "h = self.fc(x)\np = self.act(h)\nreturn self.crit(p, y), h",
        NLL,
        "self.crit(h, y), h",
        Safety.EXACT,
    ),
    (
        "the index of the largest",
        LOG,
        "p = self.act(self.fc(x))\nreturn self.crit(p, y), p.argmax(dim=1)",
        NLL,
        "p = self.fc(x)",
        Safety.NUMERICS,
    ),
    (
        "the index by max",
        LOG,
        "p = self.act(self.fc(x))\nwhich = p.data.max(1)[1]\nreturn self.crit(p, y), which",
        NLL,
        "p = self.fc(x)",
        Safety.NUMERICS,
    ),
    (
        "the index by max, unpacked",
        LOG,
        "p = self.act(self.fc(x))\n_, which = torch.max(p, 1)\nreturn self.crit(p, y), (which == y).sum()",
        NLL,
        "p = self.fc(x)",
        Safety.NUMERICS,
    ),
    (
        "the largest ones",
        LOG,
        "p = self.act(self.fc(x))\nreturn self.crit(p, y), p.topk(2, dim=1).indices",
        NLL,
        "p = self.fc(x)",
        Safety.NUMERICS,
    ),
    (
        "its shape",
        LOG,
        "p = self.act(self.fc(x))\nreturn self.crit(p, y) / p.shape[0]",
        NLL,
        "p = self.fc(x)",
        Safety.EXACT,
    ),
    ("probabilities", NET, CALL, BCE, "nn.Sequential(nn.Linear(16, 4))", Safety.NUMERICS),
    (
        "their arguments",
        NET.replace("BCELoss()", 'BCELoss(torch.arange(4.0), reduction="sum")'),
        CALL,
        BCE,
        'nn.BCEWithLogitsLoss(torch.arange(4.0), reduction="sum")',
        Safety.NUMERICS,
    ),
    (
        "a layer",
        FC + "self.sigmoid = nn.Sigmoid()\nself.loss = nn.BCELoss()",
        "out = self.sigmoid(self.fc(x))\nreturn self.loss(out, y)",
        BCE,
        "out = self.fc(x)",
        Safety.NUMERICS,
    ),
    (
        "a function before",
        FC + "self.loss = nn.BCELoss()",
        "return self.loss(torch.sigmoid(self.fc(x)), y)",
        BCE,
        "return self.loss(self.fc(x), y)",
        Safety.NUMERICS,
    ),
    (
        "of a sum",
        FC + "self.loss = nn.BCELoss()",
        "return self.loss((self.fc(x) + 1).sigmoid(), y)",
        BCE,
        "return self.loss((self.fc(x) + 1), y)",
        Safety.NUMERICS,
    ),
    (
        "a function behind",
        "self.net = nn.Sequential(nn.Linear(16, 4), nn.Sigmoid())",
        "return F.binary_cross_entropy(self.net(x), y, reduction='none').mean()",
        BCE,
        "F.binary_cross_entropy_with_logits(self.net(x), y, reduction='none')",
        Safety.NUMERICS,
    ),
    (
        "reshaped",
        NET,
        "return self.crit(self.net(x).view(-1), y.view(-1))",
        BCE,
        "nn.BCEWithLogitsLoss()",
        Safety.NUMERICS,
    ),
    (
        "a part",
        NET,
        "p = self.net(x)\nreturn self.crit(p[:, 0], y[:, 0]) + self.crit(p[:, 1:].squeeze(), y[:, 1:])",
        BCE,
        "nn.BCEWithLogitsLoss()",
        Safety.NUMERICS,
    ),
    (
        "flattened in the row",
        "self.net = nn.Sequential(nn.Linear(16, 4), nn.Sigmoid(), nn.Flatten(0))\nself.crit = nn.BCELoss()",
        "return self.crit(self.net(x), y.flatten())",
        BCE,
        "nn.Linear(16, 4), nn.Identity(), nn.Flatten(0)",
        Safety.NUMERICS,
    ),
    (
        "nested rows",
        "self.net = nn.Sequential(nn.Linear(16, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 4), nn.Sigmoid()))\n"
        "self.crit = nn.BCELoss()",
        CALL,
        BCE,
        "nn.Sequential(nn.ReLU(), nn.Linear(8, 4)))",
        Safety.NUMERICS,
    ),
    (
        "a row of lines",
        "self.net = nn.Sequential(\n    nn.Linear(16, 4),  # the head\n    nn.Sigmoid(),  # to probabilities\n)\n"
        "self.crit = nn.BCELoss()",
        CALL,
        BCE,
        "nn.Identity(),  # to probabilities",
        Safety.NUMERICS,
    ),
    (
        "a row of lines without comments",
        "self.net = nn.Sequential(\n    nn.Linear(16, 4),\n    nn.Sigmoid(),\n)\nself.crit = nn.BCELoss()",
        CALL,
        BCE,
        "nn.Linear(16, 4),\n        )",
        Safety.NUMERICS,
    ),
    (
        "a list that grows",
        "layers = [nn.Linear(16, 8), nn.ReLU()]\nlayers.append(nn.Linear(8, 4))\nlayers.append(nn.Sigmoid())\n"
        "self.net = nn.Sequential(*layers)\nself.crit = nn.BCELoss()",
        CALL,
        BCE,
        "layers.append(nn.Identity())",
        Safety.NUMERICS,
    ),
    (
        "a layer in steps and a function",
        FC + "self.act = nn.LogSoftmax(dim=1)",
        "h = self.fc(x)\np = self.act(h)\nreturn F.nll_loss(p, y)",
        NLL,
        "return F.cross_entropy(h, y)",
        Safety.EXACT,
    ),
    (
        "a long line in steps",
        FC + "self.activation_of_the_head = nn.Sigmoid()",
        "logits = self.fc(x)\nprobabilities = self.activation_of_the_head(logits)\n"
        "total = F.binary_cross_entropy(probabilities, y, reduction='sum') * 1.25\nreturn total",
        BCE,
        "F.binary_cross_entropy_with_logits(logits, y, reduction='sum') * 1.25",
        Safety.NUMERICS,
    ),
    (
        "steps that share a line",
        FC + "self.act = nn.LogSoftmax(dim=1); self.crit = nn.NLLLoss()",
        "h = self.fc(x); p = self.act(h); return self.crit(p, y)",
        NLL,
        "h = self.fc(x); p = h; return self.crit(p, y)",
        Safety.EXACT,
    ),
    (
        "annotated",
        LOG,
        "p: torch.Tensor = self.act(self.fc(x))\nreturn self.crit(p, y)",
        NLL,
        "p: torch.Tensor = self.fc(x)",
        Safety.EXACT,
    ),
    (
        "over lines",
        LOG,
        "p = self.act(  # logs\n    self.fc(x),\n)\nreturn self.crit(\n    p,  # of the classes\n    y,\n)",
        NLL,
        "# of the classes",
        Safety.EXACT,
    ),
    (
        "with a comment on every line",
        "self.fc = nn.Linear(16, 4)  # head\nself.act = nn.LogSoftmax(dim=1)  # last\nself.crit = nn.NLLLoss()  # loss",
        "h = self.fc(x)  # one\np = self.act(h)  # two\nloss = self.crit(p, y)  # three\nreturn loss",
        NLL,
        "# two",
        Safety.EXACT,
    ),
    (
        "alone in a row",
        FC + "self.net = nn.Sequential(nn.Sigmoid())\nself.crit = nn.BCELoss()",
        "return self.crit(self.net(self.fc(x)), y)",
        BCE,
        "nn.Sequential(nn.Identity())",
        Safety.NUMERICS,
    ),
    (
        "dropout before",
        "self.net = nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.5), nn.Sigmoid())\nself.crit = nn.BCELoss()",
        CALL,
        BCE,
        "nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.5))",
        Safety.NUMERICS,
    ),
    (
        "the row is called twice",
        NET,
        "return self.crit(self.net(x), y) + self.crit(self.net(x + 1), y)",
        BCE,
        "nn.BCEWithLogitsLoss()",
        Safety.NUMERICS,
    ),
    (
        "the layer is used inside too",
        FC + "self.fc2 = nn.Linear(4, 4)\nself.act = nn.Sigmoid()\nself.crit = nn.BCELoss()",
        "h = self.act(self.fc(x))\nreturn self.crit(self.act(self.fc2(h)), y)",
        BCE,
        "self.crit(self.fc2(h), y)",
        Safety.NUMERICS,
    ),
    (
        "cross entropy of it",
        FC + "pass",
        "return F.cross_entropy(F.log_softmax(self.fc(x), dim=1), y)",
        NLL,
        "return F.cross_entropy(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "cross entropy of it in steps",
        FC + "pass",
        "logp = torch.log_softmax(self.fc(x), dim=1)\nreturn F.cross_entropy(logp, y, label_smoothing=0.1)",
        NLL,
        "logp = self.fc(x)",
        Safety.EXACT,
    ),
    (
        "cross entropy of soft targets",
        FC + "pass",
        "return F.cross_entropy(F.log_softmax(self.fc(x), dim=1), y)",
        SOFT,
        "return F.cross_entropy(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "a cross entropy layer of it",
        LOG.replace("NLLLoss", "CrossEntropyLoss"),
        "return self.crit(self.act(self.fc(x)), y) + self.crit(self.fc(x), y)",
        NLL,
        "self.crit(self.fc(x), y) + self.crit(self.fc(x), y)",
        Safety.EXACT,
    ),
    (
        "cross entropy of a row that ends in it",
        LOG_NET.replace("NLLLoss", "CrossEntropyLoss"),
        CALL,
        NLL,
        "nn.Sequential(nn.Linear(16, 4))",
        Safety.EXACT,
    ),
]


@pytest.mark.parametrize(
    ("init", "forward", "inputs", "after", "safety"), [row[1:] for row in POSITIVES], ids=[row[0] for row in POSITIVES]
)
def test_one_class(init: str, forward: str, inputs: Inputs, after: str, safety: Safety) -> None:
    text = module(init, forward, arguments="self, x, y")
    result = equivalent(text, inputs, codes=CODES, deep=False)
    assert after in result.text
    assert [finding.code for finding in result.applied] == [CODE]
    assert result.applied[0].safety is safety
    assert ("numerics" in result.applied[0].title) == (safety is Safety.NUMERICS)
    for gone in ("LogSoftmax", "NLLLoss", "BCELoss", "log_softmax", "nll_loss"):
        assert gone not in result.text or ";" in text  # of statements on one line, none goes


NEGATIVES: list[tuple[str, str, str, str]] = [
    ("a threshold", NET, "p = self.net(x)\nreturn self.crit(p, y), (p > 0.5).sum()", "uses what"),
    (
        "a threshold of a part",
        NET,
        "p = self.net(x)\nright = p[:, 0] > 0.5\nreturn self.crit(p, y), right",
        "uses what",
    ),
    ("rounded", NET, "p = self.net(x)\nreturn self.crit(p, y), p.round()", "uses what"),
    ("returned", NET, "p = self.net(x)\nreturn self.crit(p, y), p", "returns"),
    ("returned in a dict", NET, 'p = self.net(x)\nreturn {"loss": self.crit(p, y), "p": p}', "uses what"),
    ("returned otherwise", NET, "p = self.net(x)\nif y is None:\n    return p\nreturn self.crit(p, y)", "returns"),
    ("kept", NET, "p = self.net(x)\nself.last = p\nreturn self.crit(p, y)", "kept"),
    ("kept in a list", NET, "p = self.net(x)\nkept = []\nkept.append(p)\nreturn self.crit(p, y)", "uses what"),
    ("read by a lambda", NET, "p = self.net(x)\nlater = lambda: p\nreturn self.crit(p, y)", "inner function"),
    ("printed", NET, "p = self.net(x)\nprint(p)\nreturn self.crit(p, y)", "uses what"),
    ("in a string", NET, 'p = self.net(x)\nself.said = f"{p}"\nreturn self.crit(p, y)', "uses what"),
    ("detached", NET, "p = self.net(x)\nreturn self.crit(p, y), p.detach()", "uses what"),
    (
        "its own weight",
        FC + "self.act = nn.Sigmoid()",
        "p = self.act(self.fc(x))\nreturn F.binary_cross_entropy(p, y, weight=p)",
        "uses what",
    ),
    ("its own target", NET, "p = self.net(x)\nreturn self.crit(p, p)", "uses what"),
    ("the target", NET, "p = self.net(x)\nreturn self.crit(y, p)", ""),
    (
        "another loss too",
        FC + "self.act = nn.Sigmoid()\nself.crit = nn.BCELoss()",
        "p = self.act(self.fc(x))\nreturn self.crit(p, y) + F.mse_loss(p, y)",
        "uses what",
    ),
    (
        "after a loop",
        NET,
        "for _ in range(2):\n    p = self.net(x)\n    loss = self.crit(p, y)\nreturn loss, p",
        "behind a branch",
    ),
    (
        "one of two",
        FC + "self.act = nn.Sigmoid()\nself.crit = nn.BCELoss()",
        "p = x[:, :4]\nif self.training:\n    p = self.act(self.fc(x))\nreturn self.crit(p, y)",
        "",
    ),
    (
        "a conditional expression",
        FC + "self.act = nn.Sigmoid()\nself.crit = nn.BCELoss()",
        "h = self.fc(x)\nreturn self.crit(self.act(h) if self.training else h.clamp(0, 1), y)",
        "",
    ),
    (
        "made under a condition",
        "self.fc = nn.Linear(16, 4)\nself.act = nn.Sigmoid() if F else nn.Tanh()\nself.crit = nn.BCELoss()",
        "return self.crit(self.act(self.fc(x)), y)",
        "",
    ),
    (
        "made twice",
        FC + "self.act = nn.Sigmoid()\nself.act = nn.Sigmoid()\nself.crit = nn.BCELoss()",
        "return self.crit(self.act(self.fc(x)), y)",
        "",
    ),
    ("a criterion made twice", NET + "\nself.crit = nn.BCELoss()", CALL, ""),
    ("another method replaces it", NET + "\n\ndef set(self):\n    self.crit = nn.MSELoss()", CALL, ""),
    (
        "the criterion gets more",
        LOG,
        "h = self.fc(x)\nreturn self.crit(self.act(h), y) + self.crit(h, y)",
        "something else",
    ),
    ("the criterion is handed on", NET, "p = self.net(x)\nreturn self.crit(p, y) + apply(self.crit, x)", "handed on"),
    ("the criterion is asked for", NET, "p = self.net(x)\nself.crit.reduction\nreturn self.crit(p, y)", "handed on"),
    ("the row is sliced", NET, "return self.crit(self.net(x), y) + self.net[:1](x).sum()", "handed on"),
    ("the last layer is asked for", NET, "self.net[-1]\nreturn self.crit(self.net(x), y)", "handed on"),
    ("the row grows", NET + '\nself.net.add_module("last", nn.Tanh())', CALL, ""),
    (
        "the row is looked through",
        NET,
        "for layer in self.net:\n    x = layer(x)\nreturn self.crit(self.net(x), y)",
        "handed on",
    ),
    ("hooked", NET + "\nself.net.register_forward_hook(print)", CALL, "handed on"),
    (
        "a hooked layer",
        LOG + "\nself.act.register_forward_hook(print)",
        "return self.crit(self.act(self.fc(x)), y)",
        "handed on",
    ),
    (
        "by a computed name",
        LOG + '\nself.parts = [getattr(self, n) for n in ("fc", "ac" + "t")]',
        "return self.crit(self.act(self.fc(x)), y)",
        "computed name",
    ),
    ("named in a string", LOG + '\nself.kept = ["act"]', "return self.crit(self.act(self.fc(x)), y)", "names `act`"),
    (
        "a list that grows under a condition",
        "layers = [nn.Linear(16, 4), nn.Sigmoid()]\nif F:\n    layers.append(nn.Tanh())\n"
        "self.net = nn.Sequential(*layers)\nself.crit = nn.BCELoss()",
        CALL,
        "",
    ),
    (
        "an end under a condition",
        "layers = [nn.Linear(16, 4)]\nif F:\n    layers.append(nn.Sigmoid())\n"
        "self.net = nn.Sequential(*layers)\nself.crit = nn.BCELoss()",
        CALL,
        "",
    ),
    ("no dimension", LOG.replace("dim=1", ""), "return self.crit(self.act(self.fc(x)), y)", "no dimension"),
    ("None", LOG.replace("dim=1", "dim=None"), "return self.crit(self.act(self.fc(x)), y)", "no dimension"),
    (
        "written to behind a row of the activation alone",
        FC + "self.net = nn.Sequential(nn.Sigmoid())\nself.crit = nn.BCELoss()",
        "h = self.fc(x)\nloss = self.crit(self.net(h), y)\nh += 1\nreturn loss",
        "written to",
    ),
    (
        "an expression in its dimension",
        LOG.replace("dim=1", "dim=len((1, 2)) - 1"),
        "return self.crit(self.act(self.fc(x)), y)",
        "no literal",
    ),
    ("the first dimension", LOG.replace("dim=1", "dim=0"), "return self.crit(self.act(self.fc(x)), y)", "dimension 0"),
    ("the third dimension", LOG.replace("dim=1", "dim=2"), "return self.crit(self.act(self.fc(x)), y)", "dimension 2"),
    (
        "a computed dimension",
        "d = 1\n" + LOG.replace("dim=1", "d"),
        "return self.crit(self.act(self.fc(x)), y)",
        "no literal",
    ),
    (
        "the last of four",
        "self.conv = nn.Conv2d(16, 4, 1)\nself.act = nn.LogSoftmax(-1)\nself.crit = nn.NLLLoss()",
        "x = x.view(2, 16, 3, 3)\nreturn self.crit(self.act(self.conv(x)), y)",
        "more than two",
    ),
    (
        "another dtype",
        FC + "self.crit = nn.NLLLoss()",
        "return self.crit(F.log_softmax(self.fc(x), dim=1, dtype=torch.float64), y)",
        "more than that",
    ),
    ("transposed between", LOG, "return self.crit(self.act(self.fc(x)).transpose(1, 2), y)", "reshaped"),
    (
        "the logarithm between",
        FC + "self.act = nn.Softmax(dim=1)\nself.crit = nn.NLLLoss()",
        "return self.crit(torch.log(self.act(self.fc(x))), y)",
        "",
    ),
    ("softmax", LOG.replace("LogSoftmax", "Softmax"), "return self.crit(self.act(self.fc(x)), y)", ""),
    (
        "the other activation",
        LOG.replace("LogSoftmax(dim=1)", "Sigmoid()"),
        "return self.crit(self.act(self.fc(x)), y)",
        "",
    ),
    (
        "another activation",
        FC + "self.act = nn.LogSigmoid()\nself.crit = nn.NLLLoss()",
        "return self.crit(self.act(self.fc(x)), y)",
        "",
    ),
    ("logits already", FC + "self.crit = nn.BCEWithLogitsLoss()", "return self.crit(self.fc(x), y)", ""),
    (
        "another criterion",
        FC + "self.act = nn.Sigmoid()\nself.crit = nn.MSELoss()",
        "return self.crit(self.act(self.fc(x)), y)",
        "",
    ),
    ("written to", LOG, "h = self.fc(x)\nloss = self.crit(self.act(h), y)\nh += 1\nreturn loss", "written to"),
    (
        "written to before the loss",
        LOG,
        "h = self.fc(x)\np = self.act(h)\nh.zero_()\nreturn self.crit(p, y)",
        "written to",
    ),
    ("written to itself", NET, "p = self.net(x)\np.clamp_(0.1, 0.9)\nreturn self.crit(p, y)", "uses what"),
    ("a walrus", LOG, "return self.crit(self.act(h := self.fc(x)), y)", "inside the expression"),
    (
        "argmax of another dimension",
        LOG,
        "p = self.act(self.fc(x))\nreturn self.crit(p, y), p.argmax(dim=0)",
        "uses what",
    ),
    ("argmax of all", LOG, "p = self.act(self.fc(x))\nreturn self.crit(p, y), p.argmax()", "uses what"),
    ("the largest itself", LOG, "p = self.act(self.fc(x))\nreturn self.crit(p, y), p.max(1)[0]", "uses what"),
    (
        "both of max",
        LOG,
        "p = self.act(self.fc(x))\nbest, which = p.max(1)\nreturn self.crit(p, y), best, which",
        "uses what",
    ),
    ("exponentiated", LOG, "p = self.act(self.fc(x))\nreturn self.crit(p, y), p.exp()", "uses what"),
    ("argmax of a sigmoid", NET, "p = self.net(x)\nreturn self.crit(p, y), p.argmax(dim=1)", "uses what"),
    ("the row in another method", NET + "\n\ndef predict(self, x):\n    return self.net(x)", CALL, "returns what"),
    ("another dtype between", NET, "return self.crit(self.net(x).float(), y.float())", ""),
    ("the layer by a variable", NET, "net = self.net\nreturn self.crit(net(x), y), net", "handed on"),
    ("an expanded call", NET, "given = (self.net(x), y)\nreturn self.crit(*given)", ""),
    (
        "a shadowed name",
        "self.fc = nn.Linear(16, 4)",
        "class nn:\n    Sigmoid = F.relu\nact = nn.Sigmoid()\nreturn F.binary_cross_entropy(act(x), y)",
        "",
    ),
]


@pytest.mark.parametrize(
    ("init", "forward", "reason"), [row[1:] for row in NEGATIVES], ids=[row[0] for row in NEGATIVES]
)
def test_refused(init: str, forward: str, reason: str) -> None:
    made, _, method = init.partition("\n\ndef ")
    tail = "\n".join(f"    {line}" for line in f"def {method}".split("\n")) if method else ""
    text = module(made, forward, arguments="self, x, y")
    reasons = refused(text + (f"\n{tail}\n" if tail else ""), CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
    else:
        assert not reasons


def test_another_method_keeps_its_own_call_of_the_layer() -> None:
    text = module(FC + "self.act = nn.Sigmoid()\nself.crit = nn.BCELoss()",
                  "return self.crit(self.act(self.fc(x)), y)", arguments="self, x, y")  # fmt: skip
    text += "\n    def predict(self, x):\n        return self.act(self.fc(x)) > 0.5\n"
    result = equivalent(text, BCE, codes=CODES, deep=False)
    assert "return self.crit(self.fc(x), y)" in result.text
    assert "return self.act(self.fc(x)) > 0.5" in result.text
    assert "self.act = nn.Sigmoid()" in result.text


@pytest.mark.parametrize(
    "tail",
    [
        "class Other(M):\n    def predict(self, x):\n        return self.net(x)",
        "def predict(model, x):\n    return model.net(x)",
        "class Other(nn.Module):\n    def __init__(self, m):\n        super().__init__()\n"
        "        self.inner = m.net\n\n"
        "    def forward(self, x):\n        return self.inner(x)",
        "def show(model):\n    return dict(model.named_children())",
        "def swap(model):\n    model.net[1] = nn.Identity()",
    ],
    ids=["a subclass", "another function", "another class", "its children", "replaced"],
)
def test_others_reach_the_row(tail: str) -> None:
    assert refused(module(NET, CALL, arguments="self, x, y", tail=tail), CODE)


NET_CLASS = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return {last}
"""
LOG_LAST = "F.log_softmax(self.fc(x), dim=1)"
BIT_LAST = "torch.sigmoid(self.fc(x))"


def file(last: str, rest: str, net: str = NET_CLASS) -> str:
    """A file with a model, an instance of it, and functions that use it."""
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
        f"{net.format(last=last)}\n\ntorch.manual_seed(0)\n{rest.strip(chr(10))}\n"
    )


STEP = "\n\n\ndef f(x, y):\n    out = model(x)\n    return criterion(out, y)\n"
MODEL = "model = Net().double()\n"

FILES: list[tuple[str, str, Inputs, str]] = [
    ("a criterion", file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()" + STEP), NLL, "return self.fc(x)"),
    ("probabilities", file(BIT_LAST, MODEL + "criterion = nn.BCELoss()" + STEP), BCE, "nn.BCEWithLogitsLoss()"),
    (
        "a function",
        file(LOG_LAST, MODEL + "\n\ndef f(x, y):\n    return F.nll_loss(model(x), y)"),
        NLL,
        "F.cross_entropy(model(x), y)",
    ),
    (
        "moved",
        file(LOG_LAST, "model = Net()\nmodel = model.to('cpu').double()\ncriterion = nn.NLLLoss().cpu()" + STEP),
        NLL,
        "nn.CrossEntropyLoss().cpu()",
    ),
    (
        "moved under a condition",
        file(
            LOG_LAST,
            MODEL + "criterion = nn.NLLLoss()\nif torch.cuda.is_available():\n    model.cuda()\n"
            "    criterion = criterion.cuda()" + STEP,
        ),
        NLL,
        "nn.CrossEntropyLoss()",
    ),
    (
        "handed to functions",
        file(
            LOG_LAST,
            "def train(net, loss_fn, x, y):\n    net.train()\n    out = net(x)\n    return loss_fn(out, y)\n\n\n"
            "def test(net, x, y):\n    net.eval()\n    out = net(x)\n    best = out.argmax(dim=1)\n"
            "    return F.nll_loss(out, y), (best == y).sum()\n\n\n"
            "def f(x, y):\n    torch.manual_seed(1)\n    model = Net().double()\n"
            "    return train(model, nn.NLLLoss(), x, y), test(model, x=x, y=y)\n",
        ),
        NLL,
        "return F.cross_entropy(out, y), (best == y).sum()",
    ),
    (
        "in a main block",
        file(
            LOG_LAST,
            "def f(x, y):\n    return train(Net.made, x, y)\n\n\n".replace("Net.made", "model")
            + "def train(net, x, y):\n    return F.nll_loss(net(x), y)\n\n\n"
            + MODEL,
        ),
        NLL,
        "F.cross_entropy(net(x), y)",
    ),
    (
        "a name for the result",
        file(
            "None",
            MODEL + "criterion = nn.NLLLoss()" + STEP,
            NET_CLASS.replace(
                "return {last}", "h = self.fc(x)\n        out = F.log_softmax(h, dim=1)\n        return out"
            ),
        ),
        NLL,
        "h = self.fc(x)\n        return h\n",
    ),
    (
        "a row at the end",
        file(
            "self.fc(x)",
            MODEL + "criterion = nn.BCELoss()" + STEP,
            NET_CLASS.replace("nn.Linear(16, 4)", "nn.Sequential(nn.Linear(16, 4), nn.Sigmoid())"),
        ),
        BCE,
        "self.fc = nn.Sequential(nn.Linear(16, 4))",
    ),
    (
        "a layer at the end",
        file(
            "self.act(self.fc(x))",
            MODEL + "criterion = nn.BCELoss()" + STEP,
            NET_CLASS.replace("(16, 4)\n", "(16, 4)\n        self.act = nn.Sigmoid()\n"),
        ),
        BCE,
        "return self.fc(x)",
    ),
    (
        "log-probabilities before cross entropy",
        file(LOG_LAST, MODEL + "criterion = nn.CrossEntropyLoss()" + STEP),
        NLL,
        "return self.fc(x)",
    ),
    (
        "two instances for one function",
        file(
            LOG_LAST,
            "one = Net().double()\nother = Net().double()\n\n\n"
            "def step(net, x, y):\n    return F.nll_loss(net(x), y)\n\n\n"
            "def f(x, y):\n    return step(one, x, y) + step(other, x, y)\n",
        ),
        NLL,
        "F.cross_entropy(net(x), y)",
    ),
    (
        "in a class",
        file(
            BIT_LAST,
            "class Trainer:\n    def __init__(self):\n        self.model = Net().double()\n"
            "        self.criterion = nn.BCELoss()\n\n    def step(self, x, y):\n        out = self.model(x)\n"
            "        return self.criterion(out.view(-1), y.view(-1))\n\n\ndef f(x, y):\n    torch.manual_seed(1)\n"
            "    return Trainer().step(x, y)\n",
        ),
        BCE,
        "self.criterion = nn.BCEWithLogitsLoss()",
    ),
    (
        "made for a class",
        file(
            BIT_LAST,
            "class Trainer:\n    def __init__(self, model, criterion):\n        self.model = model\n"
            "        self.criterion = criterion\n\n    def step(self, x, y):\n        out = self.model(x)\n"
            "        return self.criterion(out, y)\n\n\ndef f(x, y):\n    torch.manual_seed(1)\n"
            "    return Trainer(Net().double(), criterion=nn.BCELoss()).step(x, y)\n",
        ),
        BCE,
        "criterion=nn.BCEWithLogitsLoss()",
    ),
    (
        "without gradients",
        file(
            LOG_LAST,
            "@torch.no_grad()\ndef test(net, x, y):\n    return F.nll_loss(net(x), y)\n\n\n"
            "def f(x, y):\n    return test(model, x, y)\n\n\n" + MODEL,
        ),
        NLL,
        "F.cross_entropy(net(x), y)",
    ),
    (
        "in the model's own step",
        file(
            BIT_LAST,
            MODEL + "\n\ndef f(x, y):\n    return model.step(x, y)\n",
            NET_CLASS + "\n    def step(self, x, y):\n        return F.binary_cross_entropy(self(x), y)\n",
        ),
        BCE,
        "",
    ),
    (
        "a row as a model",
        file(
            "x",
            "model = nn.Sequential(nn.Linear(16, 4), nn.LogSoftmax(dim=1)).double()\ncriterion = nn.NLLLoss()" + STEP,
            "",
        ),
        NLL,
        "nn.Sequential(nn.Linear(16, 4)).double()",
    ),
    (
        "two instances",
        file(
            BIT_LAST,
            "one = Net().double()\nother = Net().double()\ncriterion = nn.BCELoss()\n\n\ndef f(x, y):\n"
            "    return criterion(one(x), y) + criterion(other(x.detach()), y)",
        ),
        BCE,
        "nn.BCEWithLogitsLoss()",
    ),
    (
        "wrapped",
        file(BIT_LAST, "model = nn.DataParallel(Net().double())\ncriterion = nn.BCELoss()" + STEP),
        BCE,
        "nn.BCEWithLogitsLoss()",
    ),
]


@pytest.mark.parametrize(("text", "inputs", "after"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_one_file(text: str, inputs: Inputs, after: str) -> None:
    analysis = Analysis(text)
    found = [one for one in analysis.findings if one.code == CODE]
    if not after:  # an object whose methods are called is handed on
        assert [one.withheld is not None for one in found] == [True]
        return
    assert [one.withheld for one in found] == [None]
    result = equivalent(text, inputs, codes=CODES, deep=False)
    assert after in result.text
    assert [one.safety for one in result.applied] == [Safety.NUMERICS]
    assert "logits from then on, in other files too" in result.applied[0].title


WITHHELD: list[tuple[str, str, str]] = [
    (
        "a threshold",
        file(BIT_LAST, MODEL + "criterion = nn.BCELoss()" + STEP + "\n\ndef predict(x):\n    return model(x) > 0.5\n"),
        "uses what",
    ),
    (
        "rounded",
        file(
            BIT_LAST,
            MODEL
            + "criterion = nn.BCELoss()"
            + STEP
            + "\n\ndef predict(x):\n    p = model(x).squeeze()\n    return torch.round(p)\n",
        ),
        "uses what",
    ),
    (
        "returned",
        file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()" + STEP + "\n\ndef predict(x):\n    return model(x)\n"),
        "returns what",
    ),
    (
        "exponentiated",
        file(
            LOG_LAST,
            MODEL + "criterion = nn.NLLLoss()" + STEP + "\n\ndef predict(x):\n    return torch.exp(model(x))\n",
        ),
        "uses what",
    ),
    (
        "saved whole",
        file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()" + STEP + "\n\ntorch.save(model, 'model.pt')\n"),
        "handed on",
    ),
    (
        "compiled by a script",
        file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()" + STEP + "\n\nscripted = torch.jit.script(model)\n"),
        "handed on",
    ),
    ("in a list", file(LOG_LAST, MODEL + "models = [model]\ncriterion = nn.NLLLoss()" + STEP), "handed on"),
    (
        "a subclass",
        file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()" + STEP + "\n\nclass Wide(Net):\n    pass\n"),
        "subclass",
    ),
    (
        "the class handed around",
        file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()\nmodels = {'net': Net}" + STEP),
        "handed around",
    ),
    (
        "another loss",
        file(
            BIT_LAST,
            MODEL + "criterion = nn.BCELoss()" + STEP + "\n\ndef other(x, y):\n    return F.mse_loss(model(x), y)\n",
        ),
        "uses what",
    ),
    (
        "the criterion of two",
        file(
            BIT_LAST, MODEL + "criterion = nn.BCELoss()" + STEP + "\n\ndef other(p, y):\n    return criterion(p, y)\n"
        ),
        "something else",
    ),
    (
        "in a comprehension",
        file(
            BIT_LAST,
            MODEL + "criterion = nn.BCELoss()" + STEP + "\n\ndef other(xs):\n    return [model(x) for x in xs]\n",
        ),
        "not followed",
    ),
    (
        "an attribute of it",
        file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()" + STEP + "\n\ndef other():\n    return model.head\n"),
        "handed on",
    ),
    (
        "a mask of the rows",
        file(
            LOG_LAST,
            MODEL + "criterion = nn.NLLLoss()\n\n\ndef f(x, y, mask):\n"
            "    out = model(x)\n    return criterion(out[mask], y[mask])\n",
        ),
        "reshaped",
    ),
    (
        "two results",
        file(
            BIT_LAST + ", x",
            MODEL + "criterion = nn.BCELoss()\n\n\ndef f(x, y):\n"
            "    out, rest = model(x)\n    return criterion(out, y)\n",
        ),
        "other values",
    ),
    (
        "another base",
        file(
            BIT_LAST,
            MODEL + "criterion = nn.BCELoss()" + STEP,
            "from base import Base\n\n\n" + NET_CLASS.replace("(nn.Module)", "(nn.Module, Base)"),
        ),
        "inherits from",
    ),
    (
        "made elsewhere",
        file(
            BIT_LAST, "", NET_CLASS + "\n    def step(self, x, y):\n        return F.binary_cross_entropy(self(x), y)\n"
        ),
        "made in other files",
    ),
    (
        "it prints itself",
        file(
            BIT_LAST,
            MODEL + "criterion = nn.BCELoss()" + STEP,
            NET_CLASS + "\n    def show(self):\n        draw(self)\n",
        ),
        "hands itself on",
    ),
]


@pytest.mark.parametrize(("text", "reason"), [row[1:] for row in WITHHELD], ids=[row[0] for row in WITHHELD])
def test_reported_without_an_edit(text: str, reason: str) -> None:
    analysis = Analysis(text)
    found = [one for one in analysis.findings if one.code == CODE]
    assert len(found) == 1
    assert found[0].withheld is not None
    assert reason in found[0].withheld
    assert analysis.fix(found[0]) is None


SILENT: list[tuple[str, str]] = [
    ("another model may come", file(LOG_LAST, "model = make(Net)\ncriterion = nn.NLLLoss()" + STEP)),
    ("one of two models", file(LOG_LAST, "model = Net() if flag else Wide()\ncriterion = nn.NLLLoss()" + STEP)),
    ("one of two criteria", file(LOG_LAST, MODEL + "criterion = nn.NLLLoss() if flag else nn.MSELoss()" + STEP)),
    ("another criterion later", file(LOG_LAST, MODEL + "criterion = nn.NLLLoss()\ncriterion = nn.MSELoss()" + STEP)),
    (
        "set by a function",
        file(
            LOG_LAST,
            MODEL + "criterion = nn.NLLLoss()\n\n\ndef choose():\n    global criterion\n"
            "    criterion = nn.MSELoss()" + STEP,
        ),
    ),
    (
        "a loop over models",
        file(
            LOG_LAST,
            "criterion = nn.NLLLoss()\n\n\ndef f(x, y):\n    for model in [Net(), Net()]:\n"
            "        loss = criterion(model(x), y)\n    return loss\n",
        ),
    ),
    (
        "only in eval mode",
        file(
            "None",
            MODEL + "criterion = nn.NLLLoss()" + STEP,
            NET_CLASS.replace(
                "return {last}", "x = self.fc(x)\n        return x if self.training else F.log_softmax(x, dim=1)"
            ),
        ),
    ),
    ("logits", file("self.fc(x)", MODEL + "criterion = nn.CrossEntropyLoss()" + STEP)),
    (
        "its own call",
        file(
            LOG_LAST,
            MODEL + "criterion = nn.NLLLoss()" + STEP,
            NET_CLASS + "\n    def __call__(self, x):\n        return x\n",
        ),
    ),
    ("a parameter that nobody gives", file(LOG_LAST, "def f(model, x, y):\n    return F.nll_loss(model(x), y)\n")),
    (
        "functions in one",
        "import torch.nn.functional as F\n\n\ndef f(x, y):\n    return F.nll_loss(F.log_softmax(x, 1), y)\n",
    ),
]


@pytest.mark.parametrize("text", [row[1] for row in SILENT], ids=[row[0] for row in SILENT])
def test_nothing_is_said(text: str) -> None:
    analysis = Analysis(text)
    assert [one.title for one in analysis.findings if one.code == CODE] == []


def test_two_names_of_one_variable() -> None:
    """A variable that holds another model later: the loss of that one stays what it is."""
    other = "class Other(Net):\n    def forward(self, x):\n        return F.log_softmax(self.fc(x) * 2, dim=1)"
    text = file(
        LOG_LAST,
        f"{other}\n\n\ndef f(x, y):\n    model = Net()\n    one = F.nll_loss(model(x), y)\n    model = Other()\n"
        "    return one + F.nll_loss(model(x), y)\n",
    )
    assert all(one.withheld is not None for one in Analysis(text).findings if one.code == CODE)


def test_named_imports() -> None:
    text = (
        "import torch\nfrom torch import nn\nfrom torch.nn import BCELoss, Linear, Sigmoid\n"
        "from torch.nn.functional import nll_loss\n\n\n"
        "class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = Linear(16, 4)\n"
        "        self.act = Sigmoid()\n        self.crit = BCELoss(reduction='sum')\n"
        "        self.log = nn.LogSoftmax(dim=1)\n\n"
        "    def forward(self, x, y, z):\n        h = self.fc(x)\n"
        "        return self.crit(self.act(h), y) + nll_loss(self.log(h), z, reduction='sum')\n"
    )
    result = equivalent(text, (X, BITS, CLASSES), codes=CODES, deep=False)
    assert "BCEWithLogitsLoss(reduction='sum')" in result.text
    assert "cross_entropy(h, z, reduction='sum')" in result.text
    assert [one.safety for one in result.applied] == [Safety.EXACT, Safety.NUMERICS] or len(result.applied) == 2


def test_autocast_is_told() -> None:
    text = module(
        LOG, "with torch.autocast('cpu'):\n    h = self.fc(x)\nreturn self.crit(self.act(h), y)", arguments="self, x, y"
    )
    (found,) = [one for one in Analysis(text).findings if one.code == CODE]
    assert found.safety is Safety.NUMERICS
    assert "autocast" in found.title


def test_saturated_probabilities_differ_as_the_title_says() -> None:
    text = module(
        "self.net = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())\nself.crit = nn.BCELoss()",
        CALL,
        arguments="self, x, y",
    )
    after = rewritten(text, codes=CODES).text
    x, y = torch.tensor([[300.0]]), torch.tensor([[0.0]])
    losses: list[float] = []
    for one in (text, after):
        with executed(one) as loaded:
            made = loaded.M()
            with torch.no_grad():
                made.net[0].weight.fill_(1.0)
                made.net[0].bias.zero_()
            losses.append(made(x, y).item())
    assert losses == [100.0, 300.0]


def test_windows_newlines_and_tabs() -> None:
    text = module(NET, CALL, arguments="self, x, y")
    for changed in (text.replace("\n", "\r\n"), text.replace("    ", "\t")):
        assert "BCEWithLogitsLoss" in rewritten(changed, codes=CODES).text


def test_lines_that_grow_too_long_are_laid_out() -> None:
    init = NET.replace("BCELoss()", 'BCELoss(weight=torch.ones(4, dtype=torch.float64), reduction="sum")')
    result = equivalent(module(init, CALL, arguments="self, x, y"), BCE, codes=CODES, deep=False)
    assert "self.crit = nn.BCEWithLogitsLoss(\n" in result.text


def test_what_changes_elsewhere_is_seen() -> None:
    """The offer rests on every function that uses the model."""
    text = file(BIT_LAST, MODEL + "criterion = nn.BCELoss()" + STEP + "\n\ndef other(x):\n    return x\n")
    analysis = Analysis(text)

    def withheld(one: Analysis) -> list[bool]:
        return [finding.withheld is not None for finding in one.findings if finding.code == CODE]

    assert withheld(analysis) == [False]
    used = analysis.updated(text.replace("    return x\n", "    return model(x) > 0.5\n"))
    assert withheld(used) == [True]
    assert withheld(used.updated(text)) == [False]
    other = analysis.updated(text.replace("return torch.sigmoid(self.fc(x))", "return self.fc(x)"))
    assert withheld(other) == []
    assert withheld(other.updated(text)) == [False]


def test_one_report_a_model() -> None:
    text = file(BIT_LAST, MODEL + "criterion = nn.BCELoss()" + STEP + STEP.replace("def f", "def g"))
    text += "\n\ndef predict(x):\n    return model(x) > 0.5\n"
    assert [one.scope for one in Analysis(text).findings if one.code == CODE] == ["f"]
