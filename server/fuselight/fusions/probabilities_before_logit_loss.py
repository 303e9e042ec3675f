"""Probabilities where a loss takes logits: the loss applies the softmax, or the sigmoid, a second time.

`nn.CrossEntropyLoss` applies `log_softmax` to what it gets, `nn.BCEWithLogitsLoss` the sigmoid, and `nn.NLLLoss` takes
log-probabilities. A softmax before the first, a sigmoid before the second, a softmax before the third train something
else than what is meant: gradients shrink, and the loss cannot fall below a bound (of ten classes, 1.46 with a softmax
too many). They are often in two places: the model ends in the activation, the training loop holds the criterion.

## What it saves
Not time: it is a mistake, nearly always. The network trains slower, and to a worse result.

## Fix safety
It is reported without an edit. To remove the activation changes what is trained, and what the model returns to
everybody else: code that reads probabilities would get logits. Remove it, and apply it where probabilities are wanted
(`F.softmax(model(x), dim=1)` when predicting); where `nn.NLLLoss` is meant, `log_softmax` in place of `softmax`.

## Refused when
Nothing is said, unless the activation's result surely is what the loss is given first:

- a softmax of the target, as in distillation, is right;
- an activation that is applied in eval mode only, or in one of two branches, is right;
- one inside the model, of an attention, a gate or a mixture, is not its output;
- a sigmoid before `nn.BCELoss`, or `log_softmax` before `nn.NLLLoss`, is right; see FUS505;
- a softmax over another dimension than that of the classes is something else;
- what a name holds is decided in another file, or one of two models.

Source: `torch.nn.CrossEntropyLoss`, `torch.nn.BCEWithLogitsLoss`, `torch.nn.NLLLoss`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.base import Fusion, Match, NearMiss, Report, fusion
from fuselight.fusions.criteria import LOSS_WORDS, Activation, Criteria, Loss, dim_of, may_lose
from fuselight.fusions.plan import Place
from fuselight.graph.module import Module, Scope

_WRONG = {
    ("softmax", "cross_entropy"): "applies `log_softmax` itself",
    ("softmax", "nll_loss"): "takes log-probabilities: it lacks a logarithm",
    ("sigmoid", "binary_cross_entropy_with_logits"): "applies the sigmoid itself",
    ("softmax", "binary_cross_entropy_with_logits"): "applies a sigmoid to what should be logits",
}


def _net(forward: str, loop: str, init: str = "self.fc = nn.Linear(16, 4)") -> str:
    """A file with a model and a training loop."""
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        + "".join(f"        {line}\n" for line in init.split("\n"))
        + "\n    def forward(self, x):\n"
        + "".join(f"        {line}\n" for line in forward.split("\n"))
        + "\n\n"
        + loop
    )


_LOOP = """\
model = Net()
criterion = nn.CrossEntropyLoss()


def train(loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        out = model(x)
        loss = criterion(out, y)
        loss.backward()
        optimizer.step()
"""


@fusion
class ProbabilitiesBeforeLogitLoss(Fusion):
    __doc__ = __doc__

    code = "FUS506"
    name = "probabilities-before-logit-loss"
    words = (LOSS_WORDS, frozenset("softmax Softmax Softmax2d sigmoid Sigmoid".split()))
    reports = (
        Report(_net("return F.softmax(self.fc(x), dim=1)", _LOOP), "applies `log_softmax` itself"),
        Report(
            _net("return self.fc(x)", _LOOP, "self.fc = nn.Sequential(nn.Linear(16, 4), nn.Softmax(dim=-1))"),
            "applies `log_softmax` itself",
        ),
        Report(
            "import torch\nimport torch.nn.functional as F\n\n\n"
            "def f(x, y):\n    return F.binary_cross_entropy_with_logits(torch.sigmoid(x), y)\n",
            "applies the sigmoid itself",
        ),
        Report(
            "import torch\nimport torch.nn.functional as F\n\n\n"
            "def f(x, y):\n    p = x.softmax(dim=-1)\n    return F.nll_loss(p, y)\n",
            "lacks a logarithm",
        ),
    )
    near_misses = (
        # the target is softmaxed
        NearMiss(
            "import torch.nn.functional as F\n\n\n"
            "def f(x, teacher):\n    return F.cross_entropy(x, F.softmax(teacher, dim=1))\n",
            "",
        ),
        # only in eval mode
        NearMiss(
            _net("x = self.fc(x)\nif not self.training:\n    x = F.softmax(x, dim=1)\nreturn x", _LOOP),
            "",
        ),
        # inside the model
        NearMiss(_net("return self.fc(F.softmax(x, dim=1) * x)", _LOOP), ""),
        # the criterion for it
        NearMiss(_net("return torch.sigmoid(self.fc(x))", _LOOP.replace("CrossEntropyLoss", "BCELoss")), ""),
        NearMiss(_net("return F.log_softmax(self.fc(x), dim=1)", _LOOP.replace("CrossEntropyLoss", "NLLLoss")), ""),
        # the logarithm is there
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\n\n"
            "def f(x, y):\n    return F.nll_loss(torch.log(F.softmax(x, dim=1)), y)\n",
            "",
        ),
        # probabilities for the user, logits for the loss
        NearMiss(
            "import torch.nn.functional as F\n\n\n"
            "def f(x, y):\n    p = F.softmax(x, dim=1)\n    return F.cross_entropy(x, y), p\n",
            "",
        ),
        # another dimension
        NearMiss(
            "import torch.nn.functional as F\n\n\ndef f(x, y):\n    return F.cross_entropy(F.softmax(x, dim=2), y)\n",
            "",
        ),
        # another model may come
        NearMiss(
            _net("return F.softmax(self.fc(x), dim=1)", _LOOP.replace("model = Net()", "model = make(Net)")),
            "",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if not may_lose(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        criteria = Criteria(module)
        found: dict[ast.expr, list[tuple[Loss, Activation]]] = {}
        for loss in criteria.losses(scope, graph):
            if all(kind != loss.kind for _, kind in _WRONG):
                continue
            activation = criteria.activation_before(loss)
            if activation is None or (activation.kind, loss.kind) not in _WRONG:
                continue
            module.mentions.look_at_everything()
            if activation.kind == "sigmoid" or _over_classes(activation):
                found.setdefault(activation.node, []).append((loss, activation))
        for sites in found.values():
            yield self._report(scope, sites)

    def _report(self, scope: Scope, sites: list[tuple[Loss, Activation]]) -> Match:
        loss, activation = sites[0]
        name = _called(loss.node)
        what = f"`{activation.label}`"
        where = f"{what}, the last step of `{activation.models[0].name}`," if activation.models else what
        why = _WRONG[activation.kind, loss.kind]
        message = f"`{name}` is given probabilities, and {why}: {where} comes before it"
        withheld = (
            f"it reads as a mistake: `{name}` {why}; without the {activation.kind} something else is trained, and"
            " whoever else reads the probabilities would get logits"
        )
        others = [Place(activation.statement, activation.node)]
        others += [Place(scope.statement, other.node) for other, _ in sites[1:]]
        place = Place(scope.statement, loss.node)
        return Match(type(self), scope.name, place, message, others=tuple(others), withheld=withheld)


def _called(node: ast.Call) -> str:
    text = " ".join(ast.unparse(node.func).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _over_classes(activation: Activation) -> bool:
    """Whether a softmax goes over what may be the dimension of the classes."""
    if activation.made is not None and activation.made.kind == "torch.nn.Softmax2d":
        return True
    dim = dim_of(activation, alone=False)
    return dim in (1, -1, None) or (activation.reshaped and dim not in (0, "?"))
