"""An activation of an activation that changes nothing: `relu(relu(x))`.

ReLU, ReLU6, hard tanh and the absolute value leave their own results as they are, and so does a ReLU behind one of them
that yields nothing below zero; a ReLU before a ReLU6 does nothing that the ReLU6 does not do. One of the two goes. It
is often what is left of a layer that once stood between them.

## What it saves
A kernel, and the result that autograd keeps for it: on a CPU 2.3x forward, 2.8x forward and backward and half of the
memory, of the activations themselves.

## Fix safety
`exact`: the same values and the same gradients, where the input is zero or at a bound too. In a `nn.Sequential` an
`nn.Identity()` takes the layer's place, so that the keys behind it stay.

## Refused when
- the first result is used elsewhere too, or one of the two writes in place where the other does not;
- what autograd keeps afterwards, and did not before, may be written to in place behind the two: the result of a ReLU
  before an absolute value, the input of one before a ReLU6;
- a layer that would go is replaced, hooked or named in a string (of one that is called elsewhere only the call goes);
- the two are computed in different branches or loops.

Source: `torch.nn.ReLU`, `torch.nn.ReLU6`, `torch.nn.Hardtanh`, `torch.abs`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import partial

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Place
from fuselight.fusions.steps import (
    Pair,
    Step,
    input_written,
    integer,
    layer_dropped,
    layer_is_known,
    pairs,
    removed_places,
    without_first,
    without_second,
)
from fuselight.fusions.writes import result_written
from fuselight.graph.effects import asks_in_place, writes_by_position
from fuselight.graph.module import Module, Scope

_SECOND_GOES = {
    ("relu", "relu"), ("relu6", "relu6"), ("relu6", "relu"), ("abs", "abs"), ("abs", "relu"), ("relu", "abs"),
    ("relu6", "abs"), ("hardtanh", "hardtanh"),
}  # fmt: skip
_FIRST_GOES = {("relu", "relu6")}
_KINDS = frozenset(kind for pair in _SECOND_GOES | _FIRST_GOES for kind in pair)

_WORDS = frozenset("relu relu_ relu6 ReLU ReLU6 hardtanh Hardtanh abs absolute".split())
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "relu": ("inplace",),
    "relu6": ("inplace",),
    "abs": (),
    "hardtanh": ("min_val", "max_val", "inplace"),
}


@fusion
class RepeatedActivation(Fusion):
    __doc__ = __doc__

    code = "FUS107"
    name = "repeated-activation"
    words = (_WORDS,)
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.act = nn.ReLU()

    def forward(self, x):
        x = self.act(self.fc(x))
        x = F.relu(x)
        return F.relu6(F.relu(x))
""",
            after="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        x = self.fc(x)
        return F.relu6(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(16, 16),
            nn.ReLU(),
            nn.ReLU(),  # again
            nn.Linear(16, 4),
        )

    def forward(self, x):
        return self.net(x)
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(16, 16),
            nn.ReLU(),
            nn.Identity(),  # again
            nn.Linear(16, 4),
        )

    def forward(self, x):
        return self.net(x)
""",
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\n\ndef f(x):\n    return torch.sigmoid(torch.sigmoid(x))\n", ""),
        NearMiss("import torch.nn.functional as F\n\n\ndef f(x):\n    return F.gelu(F.relu(x))\n", ""),
        NearMiss("import torch.nn.functional as F\n\n\ndef f(x):\n    return F.relu(F.leaky_relu(x))\n", ""),
        NearMiss("import torch\n\n\ndef f(x):\n    return torch.relu(torch.relu(x) - 1)\n", ""),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = torch.relu(x)\n    return torch.relu(y), y\n", "used more than once"
        ),
        NearMiss(
            "import torch\n\n\ndef f(x):\n    y = torch.relu(x)\n    y.sub_(1)\n    return torch.relu(y)\n",
            "used more than once",
        ),
        NearMiss(
            "import torch.nn.functional as F\n\n\ndef f(x):\n    return F.hardtanh(F.hardtanh(x, 0, 1), -1, 0.5)\n",
            "different bounds",
        ),
        NearMiss(
            "from torch import nn\n\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.net = nn.Sequential(nn.ReLU(inplace=True), nn.ReLU())\n\n    def forward(self, x):\n"
            "        return self.net(x)\n",
            "in place",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in pairs(module, scope, _KINDS, _KINDS, _WORDS):
            kinds = (pair.first.kind, pair.second.kind)
            if kinds not in _SECOND_GOES and kinds not in _FIRST_GOES:
                continue
            gone, kept = (pair.first, pair.second) if kinds in _FIRST_GOES else (pair.second, pair.first)
            first, second = pair.places
            message = f"`{gone.label}` changes nothing beside `{kept.label}`"
            refusal = pair.refusal or _refusal(module, pair, gone, kept)
            dropped = layer_dropped(module, pair, gone) if refusal is None else ()
            if refusal is None and isinstance(dropped, Refusal):
                refusal = dropped
            if refusal is not None or isinstance(dropped, Refusal):
                yield Match(type(self), scope.name, second, message, others=(first,), refused=refusal)
                continue
            title = f"Remove `{gone.label}`, which changes nothing"
            yield Match(
                type(self), scope.name, second, message, title, Safety.EXACT, (first, *removed_places(dropped)),
                partial(_plan, pair, gone is pair.first, dropped),
            )  # fmt: skip


def _plan(pair: Pair, first_goes: bool, dropped: tuple[Action, ...]) -> tuple[Action, ...]:
    return (*(without_first(pair) if first_goes else without_second(pair)), *dropped)


def _refusal(module: Module, pair: Pair, gone: Step, kept: Step) -> Refusal | None:
    at = Place(pair.second.statement, pair.second.node)
    settings: list[dict[str, ast.expr]] = []
    for step in (pair.first, pair.second):
        given = step.arguments(_PARAMETERS[step.kind], _PARAMETERS[step.kind])
        if given is None or not given.keys() <= set(_PARAMETERS[step.kind]):
            return Refusal("one of the two takes arguments of which nothing is known", at)
        settings.append(given)
    if pair.first.kind == "hardtanh" and not _same_bounds(*settings):
        return Refusal("the two have different bounds, or bounds that are worked out", at)
    one, other = _writes(pair.first), _writes(pair.second)
    # Where the first writes in place, the second must not have made a copy; where the first goes, neither must write
    # to what the other did not.
    if (one and not other) or (other and not one and gone is pair.first):
        return Refusal("one of the two works in place, the other does not", at)
    if kept.layer is not None and gone.layer is not kept.layer:
        refusal = layer_is_known(module, pair, kept, None)
        if refusal is not None:
            return refusal
    if gone is pair.first:
        return input_written(module, pair)  # it kept its own result, the second keeps its input
    value = pair.second.value
    if pair.first.kind == "relu" and pair.second.kind != "relu" and value is not None and pair.graph is not None:
        return result_written(module, pair.scope, pair.graph, value)  # which the first one keeps
    return None


def _writes(step: Step) -> bool:
    """Whether a step works in place, as far as that is not known to be otherwise."""
    if step.maker is not None:
        return step.is_in_place
    value = step.value
    assert value is not None
    return asks_in_place(value.keywords) or writes_by_position(f"torch.nn.functional.{step.kind}", list(value.inputs))


def _same_bounds(one: dict[str, ast.expr], other: dict[str, ast.expr]) -> bool:
    return all(_bound(one.get(name)) == _bound(other.get(name)) != "?" for name in ("min_val", "max_val"))


def _bound(node: ast.expr | None) -> str:
    """A literal bound as text; "?" where it is worked out."""
    if node is None:
        return ""
    number = integer(node)
    if number is not None:
        return repr(float(number))
    match node:
        case ast.Constant(value=float() as value):
            return repr(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=float() as value)):
            return repr(-value)
        case _:
            return "?"
