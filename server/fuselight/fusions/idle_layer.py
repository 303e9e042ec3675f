"""A layer that hands on what it gets: `nn.Identity()`, `nn.Dropout(0.0)`, `x.float().float()`.

An `nn.Identity` that is called `identity`, `skip` or the like, made once and in no condition; a dropout of nothing; a
conversion to what a tensor already is. All of these return the very tensor that they are given.

## What it saves
A call. Not one kernel runs for any of them.

## Fix safety
`exact`: the same tensor, and not one random number is drawn less (a dropout of nothing draws none, torch 2.13). The
layers have no parameters.

## Refused when
- the layer is made under a condition, replaced, hooked, named in a string or used beside its calls: a placeholder
  stays one;
- it is an `nn.Identity` whose name is that of a place (`to_latent`, `head`): other files hook or replace it there, and
  nothing is said of it;
- a comment or its name says that it is there to be hooked, replaced, quantised or exported;
- the file sets the probability `p` of a layer;
- it is an element of a `nn.Sequential`, which counts its places.

Source: `torch.nn.Identity`, `torch.nn.Dropout`, torch 2.13.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Place
from fuselight.fusions.steps import (
    Pair,
    Step,
    layer_dropped,
    of_numpy,
    pairs,
    removed_places,
    source_of,
    steps,
    without,
    without_second,
)
from fuselight.graph.module import Module, Scope

_DROPOUTS = frozenset(f"torch.nn.Dropout{number}" for number in ("", "1d", "2d", "3d")) | {"dropout"}
_LAYERS = _DROPOUTS | {"torch.nn.Identity"}
_LAYER_WORDS = frozenset("Identity Dropout Dropout1d Dropout2d Dropout3d dropout".split())

_CONVERSIONS = frozenset(
    f"method {name}" for name in "float double half bfloat16 long int bool contiguous cpu detach".split()
)
"""Methods that, called again on their own result, change nothing."""
_CONVERSION_WORDS = frozenset(kind[7:] for kind in _CONVERSIONS)

_ON_PURPOSE = re.compile(
    r"hook|placeholder|stub|probe|\btap|_tap|export|quant|observ|\bfx\b|trac(e|ing)|replac|overrid|overwrit|patch|swap",
    re.IGNORECASE,
)
"""What a comment or a name says of a layer that is there for others."""

_NAMED_IDLE = re.compile(r"_?(id|idt|ident|identity|no_?op|nop|dummy|skip|pass_?through)_?\d*", re.IGNORECASE)
"""Names that say that a layer does nothing. Any other names a place, at which other files may hook or replace it."""

_M = """\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        return {result}
"""


def _near(init: str, result: str, reason: str) -> NearMiss:
    return NearMiss(_M.format(init=init.replace("\n", "\n        "), result=result), reason)


@fusion
class IdleLayer(Fusion):
    __doc__ = __doc__

    code = "FUS109"
    name = "idle-layer"
    words = (_LAYER_WORDS | _CONVERSION_WORDS,)
    examples = (
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.skip = nn.Identity()
        self.drop = nn.Dropout(p=0.0)

    def forward(self, x):
        y = self.drop(self.fc(x))
        y = self.drop(y)
        return y + self.skip(x)
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        y = self.fc(x)
        return y + x
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x):
    x = F.dropout(x.float().float(), 0.0)
    return x + 1
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x):
    x = x.float()
    return x + 1
""",
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        _near("self.drop = nn.Dropout(0.1)", "self.drop(x)", ""),
        _near("p = 0.0\nself.drop = nn.Dropout(p)", "self.drop(x)", ""),
        _near("self.act = nn.Identity() if F else nn.ReLU()", "self.act(x)", ""),
        _near("self.act = nn.Identity()\nself.act = nn.ReLU()", "self.act(x)", ""),
        _near("self.skip = nn.Identity()\nself.skip.register_forward_hook(print)", "self.skip(x)", "beside its call"),
        _near("self.skip = nn.Identity()  # for feature hooks", "self.skip(x)", ""),
        _near("self.to_latent = nn.Identity()", "self.to_latent(x)", ""),
        _near("self.net = nn.Sequential(nn.Identity(), nn.ReLU())", "self.net(x)", ""),
        _near("pass", "F.dropout(x, 0.5)", ""),
        _near("pass", "x.float().half()", ""),
        _near("pass", "F.dropout(x)", ""),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        for pair in steps(module, scope, _LAYERS, _LAYER_WORDS) if _may_be_idle(scope) else ():
            if _is_idle(pair.first) and not _is_for_others(pair.first):
                yield from self._found(module, pair, pair.refusal or _probability_is_set(module, pair.first))
        if _CONVERSION_WORDS.isdisjoint(scope.names):
            return
        text = scope.statement.lines_of(scope.function)
        if all(text.count(f".{word}()") < 2 for word in _CONVERSION_WORDS):
            return
        for pair in pairs(module, scope, _CONVERSIONS, _CONVERSIONS, _CONVERSION_WORDS):
            node = pair.second.node
            same = pair.literal is None and pair.first.kind == pair.second.kind and not of_numpy(source_of(pair.first))
            if same and all(_has_no_arguments(step.node) for step in (pair.first, pair.second)):
                message = f"`{' '.join(scope.statement.source(node).split())[:60]}` converts twice to the same"
                place, other = Place(scope.statement, node), Place(scope.statement, pair.first.node)
                if pair.refusal is not None:
                    yield Match(type(self), scope.name, place, message, others=(other,), refused=pair.refusal)
                    continue
                yield Match(
                    type(self), scope.name, place, message, "Remove the second conversion, which changes nothing",
                    Safety.EXACT, (other,), partial(without_second, pair),
                )  # fmt: skip

    def _found(self, module: Module, pair: Pair, refusal: Refusal | None) -> Iterator[Match]:
        step = pair.first
        place = Place(step.statement, step.node)
        message = f"`{step.label}` hands on what it gets"
        dropped = layer_dropped(module, pair, step)
        if refusal is not None or isinstance(dropped, Refusal):
            why = refusal if refusal is not None else dropped
            assert isinstance(why, Refusal)
            yield Match(type(self), pair.scope.name, place, message, refused=why)
            return
        title = f"Remove `{step.label}`, which hands on what it gets"
        yield Match(
            type(self), pair.scope.name, place, message, title, Safety.EXACT, removed_places(dropped),
            partial(_plan, step, dropped),
        )  # fmt: skip


def _may_be_idle(scope: Scope) -> bool:
    """Whether the class has a layer of a kind that may be idle, or the function calls one that may be."""
    if "dropout" in scope.names:
        return True
    for layer in scope.applied_layers:
        if layer.kind not in _LAYERS or layer.constructor is None:
            continue
        given = [*layer.constructor.args, *(keyword.value for keyword in layer.constructor.keywords)]
        nothing = any(isinstance(one, ast.Constant) and one.value == 0 for one in given)
        if layer.kind == "torch.nn.Identity" or nothing:
            return True
    return False


def _plan(step: Step, dropped: tuple[Action, ...]) -> tuple[Action, ...]:
    return (*without(step), *dropped)


def _has_no_arguments(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and not node.args and not node.keywords


def _is_idle(step: Step) -> bool:
    if step.layer is not None and step.layer.unknown is not None:
        return False
    if step.kind == "torch.nn.Identity":
        return step.layer is not None and _NAMED_IDLE.fullmatch(step.layer.attribute) is not None
    given = step.arguments(("p", "inplace"), ("p", "training", "inplace"))
    if given is None or step.is_in_place or "inplace" in given:
        return False
    p = given.get("p")
    return isinstance(p, ast.Constant) and type(p.value) in (int, float) and p.value == 0


def _is_for_others(step: Step) -> bool:
    """Whether the layer's name, or a comment beside or above where it is made, says that others will use its place."""
    layer = step.layer
    if layer is None:
        return False
    lines = layer.statement.text.splitlines()
    end = layer.assignment.end_lineno or layer.assignment.lineno
    around = lines[max(layer.assignment.lineno - 2, 0) : end]
    comments = [line.partition("#")[2] for line in around if "#" in line]
    return any(_ON_PURPOSE.search(text) for text in (layer.attribute, *comments))


def _probability_is_set(module: Module, step: Step) -> Refusal | None:
    if step.kind == "torch.nn.Identity" or step.layer is None:
        return None
    for mention in module.mentions.of_attribute("p"):
        if isinstance(mention.node.ctx, ast.Store) and mention.owner is None:
            return Refusal("the file sets the probability of a layer", Place(mention.statement, mention.node))
    return None
