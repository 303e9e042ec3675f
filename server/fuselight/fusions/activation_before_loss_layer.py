"""An activation that the loss should hold: `nn.LogSoftmax` and `nn.NLLLoss`, `nn.Sigmoid` and `nn.BCELoss`.

`nn.CrossEntropyLoss` is `nn.LogSoftmax` and `nn.NLLLoss` in one, `nn.BCEWithLogitsLoss` is `nn.Sigmoid` and
`nn.BCELoss`. The activation goes, as a layer of its own, as the last one of a `nn.Sequential` or as a function, and the
criterion becomes the one that takes logits; its arguments stay. A `log_softmax` before `cross_entropy`, which applies
it again and changes nothing, goes alone.

## What it saves
Of a sigmoid and `nn.BCELoss`: on a CPU 6.5x forward, 4.5x forward and backward, and half of the memory kept (8 MB
become 4 MB), of the two themselves. Of `log_softmax` and `nn.NLLLoss`: nothing, cross entropy runs the same two. Of
`log_softmax` before `cross_entropy`, 256 x 16,000: 2.1x forward, 1.5x forward and backward, and 16 MB of 33.

The sigmoid is worth more for what it computes: it rounds to one above 17 in float32, where its gradient is zero.

## Fix safety
`exact` for `log_softmax`, where the dimension is shown to be that of the classes. `numerics` for the sigmoid:
`nn.BCELoss` cuts the loss of an element off at 100, and has no gradient where the sigmoid rounds to zero or one; under
autocast on a GPU it raises. `numerics` also

- where `dim=-1` is that of the classes only if the input has two dimensions;
- where the model's class ends in the activation and every use of its instances in the file is a loss, or asks for the
  index of the largest: the model then returns logits, to code in other files too, which is not seen; likewise where a
  criterion or a `nn.Sequential` is a variable of the module, which other files may import;
- where the index of the largest is asked for besides: it may tell apart what `log_softmax` rounds to one value;
- of `log_softmax`, in a file that uses autocast: on a CPU it rounds to bfloat16 before the loss, and cross entropy
  does not.

The keys of the state dict stay: a layer at the end of a `nn.Sequential` goes, or leaves an `nn.Identity()`. Other files
that call a layer of the class by its name are not seen.

## Refused when
- somebody else gets what the activation returns: a threshold (`p > 0.5`), a metric, a `return`, another method;
- the criterion is called with anything else besides;
- the layer, the `nn.Sequential` or the criterion is indexed, hooked, replaced, handed on or named in a string;
- `log_softmax` goes over another dimension than that of the classes, or none is given;
- what the activation works on is written to in place behind it.

Where the model ends in the activation, and the file does anything else with its outputs, the two are reported without
an edit.

Source: `torch.nn.CrossEntropyLoss`, `torch.nn.BCEWithLogitsLoss`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, Report, fusion, model_text
from fuselight.fusions.criteria import LOSS_WORDS, Activation, Criteria, Loss, may_lose
from fuselight.fusions.logits import RENAMED, Removal, named
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Place
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope


def _net(loop: str, last: str = "F.log_softmax(self.fc(x), dim=1)") -> str:
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(16, 4)\n\n"
        f"    def forward(self, x):\n        return {last}\n\n\n"
        f"model = Net()\n\n\n{loop}"
    )


_NLL = "self.fc = nn.Linear(16, 16)\nself.act = nn.LogSoftmax(dim=1)\nself.crit = nn.NLLLoss()"
_BCE = "self.net = nn.Sequential(nn.Linear(16, 16), nn.Sigmoid())\nself.crit = nn.BCELoss()"
_TARGET = "y = torch.arange(x.shape[0])\n"


def _near(init: str, forward: str, reason: str) -> NearMiss:
    return NearMiss(model_text(init, forward), reason)


@fusion
class ActivationBeforeLossLayer(Fusion):
    __doc__ = __doc__

    code = "FUS505"
    name = "activation-before-loss-layer"
    words = (LOSS_WORDS, frozenset("log_softmax LogSoftmax sigmoid Sigmoid".split()))
    examples = (
        Example(
            model_text(
                "self.net = nn.Sequential(nn.Linear(16, 16), nn.LogSoftmax(dim=1))\nself.crit = nn.NLLLoss()",
                "y = torch.arange(x.shape[0])\nreturn self.crit(self.net(x), y)",
            ),
            model_text(
                "self.net = nn.Sequential(nn.Linear(16, 16))\nself.crit = nn.CrossEntropyLoss()",
                "y = torch.arange(x.shape[0])\nreturn self.crit(self.net(x), y)",
            ),
            inputs=((5, 16),),
            safety=Safety.EXACT,
        ),
        Example(
            model_text(
                'self.fc = nn.Linear(16, 1)\nself.act = nn.Sigmoid()\nself.crit = nn.BCELoss(reduction="sum")',
                "y = (x[:, :1] > 0).to(x.dtype)\np = self.act(self.fc(x))\nreturn self.crit(p, y)",
            ),
            model_text(
                'self.fc = nn.Linear(16, 1)\nself.crit = nn.BCEWithLogitsLoss(reduction="sum")',
                "y = (x[:, :1] > 0).to(x.dtype)\np = self.fc(x)\nreturn self.crit(p, y)",
            ),
            inputs=((5, 16),),
            safety=Safety.NUMERICS,
        ),
        Example(
            "import torch.nn.functional as F\n\n\n"
            "def f(x):\n    y = x.argmin(dim=1)\n    return F.cross_entropy(F.log_softmax(x, dim=1), y)\n",
            "import torch.nn.functional as F\n\n\n"
            "def f(x):\n    y = x.argmin(dim=1)\n    return F.cross_entropy(x, y)\n",
            inputs=((5, 16),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # a threshold on the probabilities
        _near(
            _BCE,
            "y = (x > 0).to(x.dtype)\np = self.net(x)\nright = (p > 0.5).sum()\nreturn self.crit(p, y) + right",
            "uses what",
        ),
        # the probabilities are returned
        _near(_BCE, "y = (x > 0).to(x.dtype)\np = self.net(x)\nreturn self.crit(p, y), p", "returns"),
        # another dimension
        _near(_NLL.replace("dim=1", "dim=0"), _TARGET + "return self.crit(self.act(self.fc(x)), y)", "dimension 0"),
        # no dimension
        _near(_NLL.replace("dim=1", ""), _TARGET + "return self.crit(self.act(self.fc(x)), y)", "no dimension"),
        # the criterion gets something else too
        _near(
            _NLL,
            _TARGET + "h = self.fc(x)\nreturn self.crit(self.act(h), y) + self.crit(h, y)",
            "something else",
        ),
        # the layers are indexed
        _near(
            _BCE, "y = (x > 0).to(x.dtype)\nh = self.net[0](x)\nreturn self.crit(self.net(x), y) + h.sum()", "handed on"
        ),
        # logits, as it should be
        _near(
            "self.fc = nn.Linear(16, 16)\nself.crit = nn.CrossEntropyLoss()",
            _TARGET + "return self.crit(self.fc(x), y) + torch.sigmoid(x).sum()",
            "",
        ),
        # softmax is not log_softmax
        _near(
            _NLL.replace("LogSoftmax", "Softmax").replace("NLLLoss", "CrossEntropyLoss"),
            _TARGET + "return self.crit(self.act(self.fc(x)), y)",
            "",
        ),
        # what it works on is written to
        _near(
            _NLL,
            _TARGET + "h = self.fc(x)\nloss = self.crit(self.act(h), y)\nh.mul_(2)\nreturn loss",
            "written to",
        ),
    )
    reports = (
        Report(
            _net(
                "def step(x, y):\n    p = model(x)\n    right = (p > 0.5).sum()\n"
                "    return F.binary_cross_entropy(p, y), right\n",
                "torch.sigmoid(self.fc(x))",
            ),
            "uses what",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if not may_lose(scope):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        criteria = Criteria(module)
        seen: set[ast.AST] = set()
        for loss in criteria.losses(scope, graph):
            activation = _before(criteria, loss)
            if activation is None or loss.node in seen or activation.node in seen:
                continue
            module.mentions.look_at_everything()
            found = Removal(module, criteria)
            refusal = found.collect(activation)
            seen.update((*(one.node for one in found.losses), *(one.node for one, _ in found.outputs), activation.node))
            # The first loss of the file tells of all.
            first = min(found.losses or [loss], key=lambda one: _order(module, one)).site.scope.function
            if refusal is not None and activation.models:
                first = _first_before(module, criteria, activation)
            if first is scope.function:
                yield self._match(module, scope, found, loss, activation, refusal)

    def _match(
        self, module: Module, scope: Scope, found: Removal, loss: Loss, activation: Activation, refusal: Refusal | None
    ) -> Match:
        name, what = named(loss), f"`{activation.label}`"
        renamed = RENAMED[activation.kind, loss.kind]
        new = f"`{renamed[0] if loss.made is None else renamed[1]}`" if renamed is not None else None
        where = f"{what}, the last step of `{activation.models[0].name}`," if activation.models else what
        message = f"{where} and `{name}` behind it are {new}" if new else f"`{name}` applies {what} itself"
        place = Place(scope.statement, loss.node)
        actions: tuple[Action, ...] | Refusal = refusal if refusal is not None else found.actions()
        if isinstance(actions, Refusal):
            others = (Place(activation.statement, activation.node),)
            if not activation.models:
                return Match(type(self), scope.name, place, message, others=others, refused=actions)
            withheld = f"{actions.reason}: the two have to change together with whoever uses the model's outputs"
            return Match(
                type(self), scope.name, place, message, safety=Safety.NUMERICS, others=others, withheld=withheld
            )
        title = f"Leave {what} to {new}" if new else f"Remove {what}, which `{name}` applies itself"
        safety = Safety.NUMERICS if found.notes else Safety.EXACT
        if found.notes:
            title += f" (numerics: {', '.join(found.notes)})"
        return Match(
            type(self), scope.name, place, message, title, safety, found.places(actions), lambda: actions
        )  # fmt: skip


def _before(criteria: Criteria, loss: Loss) -> Activation | None:
    """The activation before a loss, where the two are a pair."""
    if all(loss.kind != kind for _, kind in RENAMED):
        return None
    activation = criteria.activation_before(loss)
    if activation is None or (activation.kind, loss.kind) not in RENAMED:
        return None
    # Two functions in one function are an expression, which FUS502 and FUS504 look for.
    on_the_spot = isinstance(activation.node, ast.Call) and isinstance(activation.node.func, ast.Call)
    functions = (activation.made is None or on_the_spot) and loss.made is None and not activation.models
    return None if functions and RENAMED[activation.kind, loss.kind] is not None else activation


def _first_before(module: Module, criteria: Criteria, activation: Activation) -> Function | None:
    """The first function of the file that has a loss behind an activation."""
    for statement in module.statements:
        for scope in module.scopes(statement):
            if not may_lose(scope):
                continue
            graph = module.graph(scope)
            for loss in criteria.losses(scope, graph) if graph.opaque is None else ():
                found = _before(criteria, loss)
                if found is not None and found.node is activation.node:
                    return scope.function
    return None


def _order(module: Module, loss: Loss) -> tuple[int, int, int]:
    return module.statements.index(loss.site.scope.statement), loss.node.lineno, loss.node.col_offset
