"""`-(one_hot(y, n) * log_softmax(x, 1)).sum(1).mean()`: cross entropy by hand.

Also the log-probabilities of the targets picked by `gather` or by `logp[range(n), y]`, targets that are probabilities
(soft targets, distillation, mixup), and label smoothing: `(1 - s) * nll - s * logp.mean(-1)`. `F.cross_entropy` is all
of these: `label_smoothing=s` spreads `s` over *all* classes, the true one included.

## What it saves
Memory, and some time. On a CPU, float32, 256 x 16,000, forward / forward and backward, and what autograd keeps: from
the one-hot product 3.4x / 2.2x, 31 -> 16 MB; with soft targets 1.3x / 1.1x, 31 -> 16 MB; label smoothing 0.9x / 1.2x,
no memory; from `gather` or picked log-probabilities nothing (1.0x): a formula less to get wrong.

## Fix safety
`exact` where the log-probabilities are picked, and the dimensions are shown. `numerics`, with what is assumed in the
title:

- the product with a one-hot row is NaN where any class has a log-probability of -inf (masked logits); the call is not;
- soft targets have to be of a floating dtype and of the logits' shape: the call does not broadcast, and says so;
- `log(softmax(x))` is -inf where a probability underflows to 0; the call is finite;
- `dim=-1` is where `cross_entropy` has its classes in logits of two dimensions only. Where their rank is not shown, the
  dimensions before it are flattened into one, which is right for any rank from two on.

- label smoothing beside `nll_loss` or `cross_entropy`: the call leaves out the rows of ignored targets altogether.

Class indices below 0, which Python counts from the end, the call takes for an error or for `ignore_index`.

## Refused when
- the mean is over everything, classes and batch: that is the loss divided by the number of classes;
- the sum is not over the classes, or what the softmax is over is not shown;
- the number of classes of the one-hot rows is not given, so that it depends on the targets;
- the log-probabilities are used again: the call would compute them a second time;
- the target comes from the same logits: an entropy;
- the smoothing and its complement do not add up to 1, or spread over the other classes only (as in fairseq).

`F.linear_cross_entropy` is not offered in place of `cross_entropy(self.lm_head(h), y)`: with its default
`options=None` it is the same two steps, and with options it costs time (0.7x) for memory. What speaks against it is
what goes wrong in silence: forward-mode derivatives come out zero, and a second backward pass raises, which no file
shows of its callers.

Source: `torch.nn.functional.cross_entropy`, torch 2.13; Szegedy et al. 2016 (label smoothing).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.losses import (
    TWO_DIMENSIONS,
    counts_rows,
    is_row_count,
    only_stays,
    over_classes,
    over_last,
    present,
    probabilities,
)
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import Assumption, Need, Verdict, given, rank
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.constants import sole_assignment

_HEAD = "import torch\nimport torch.nn.functional as F\n\n"
_INTEGERS = ("y", "n", "d", "u", "g", "k", "q", "r", "w", "i", "v")
_UNDERFLOW = "finite where a probability underflows to 0"
_LOGP = "log_softmax(x, dim=d)"
_FLAT = "flatten(x, 0, -2)"


def _reductions(product: str) -> dict[str, str]:
    """The patterns of the loss by its reduction, from the product that is summed over the classes."""
    rows = f"either(-sum({product}, dim=u), sum(-({product}), dim=u))"
    return {
        "mean": f"either(-mean(sum({product}, dim=u)), mean({rows}))",
        "sum": f"either(-sum({product}), sum(-({product})), -sum(sum({product}, dim=u)), sum({rows}))",
        "none": rows,
        "batch": f"either(-sum({product}) / v, sum(-({product})) / v)",
    }


def _call(logits: str, target: str, reduction: str, *further: str) -> str:
    """The call's template; of `batch`, a sum over everything by the number of rows, it is the mean."""
    options = [] if reduction in ("mean", "batch") else [f'reduction="{reduction}"']
    return f"cross_entropy({', '.join((logits, target, *further, *options))})"


def _products() -> Iterator[Rewrite]:
    """The product with one-hot rows, and with probabilities."""
    for product, target, flat, spatial, needs, note in (
        (
            f"cast(one_hot(y, n)) * {_LOGP}",
            "y",
            "flatten(y)",
            False,
            (given("n"),),
            "a number where 0 * -inf gives NaN",
        ),
        (f"t * {_LOGP}", "t", "flatten(t, 0, -2)", True, (probabilities("t", "x"),), ""),
    ):
        safety = Safety.NUMERICS if note else Safety.EXACT
        for reduction, pattern in _reductions(product).items():
            summed: tuple[Need, ...] = () if reduction in ("sum", "batch") else (present("u"),)
            plain = (over_classes("d", "u", spatial=spatial and reduction != "batch"), *summed, *needs)
            if reduction == "batch":
                plain = (counts_rows("v", "x", target), *plain)
            yield Rewrite(pattern, _call("x", target, reduction), safety, note, plain, integers=_INTEGERS)
            if reduction in ("mean", "sum"):
                last = (over_last("d", "u"), *summed, *needs)
                yield Rewrite(pattern, _call(_FLAT, flat, reduction), safety, note, last, integers=_INTEGERS)


def _all_rows(site: Site) -> Verdict:
    """The first of two indices counts the rows: `range(n)` or `torch.arange(n)`, of as many as there are targets."""
    rows = site.value("w")
    if rows is None or len(rows.inputs) != 1 or not set(rows.keywords) <= {"device", "dtype"}:
        return Refusal("the rows that are picked are not shown to be all of them", site.place)
    ranged = isinstance(rows.node, ast.Call) and ast.unparse(rows.node.func) == "range"
    if rows.kind != "torch.arange" and not (rows.kind == "builtin" and ranged):
        return Refusal("the rows that are picked are not shown to be all of them", site.place)
    if site.number("d") not in (1, -1):
        return Refusal("the softmax is not over the classes", site.place)
    if is_row_count(site, rows.inputs[0], "x", "y"):
        return None
    # As many indices as targets, or torch raises: only further rows of the logits may be left out.
    return Assumption("there are as many logits as targets")


def _gathered(values: str) -> str:
    return f"gather({values}, dim=g, index=unsqueeze(y, dim=k))"


def _squeezed(values: str) -> str:
    return f"squeeze({_gathered(values)}, dim=q)"


def _picked(values: str) -> str:
    return f"pick(input={values}, row=w, column=y)"


_NEGATIVE_SQUEEZED = f"either(-{_squeezed(_LOGP)}, squeeze(-{_gathered(_LOGP)}, dim=q))"


def _log_of(one: Callable[[str], str]) -> str:
    """The logarithm of probabilities, before or after those of the targets are taken."""
    return f"either({one('log(softmax(x, dim=d))')}, log({one('softmax(x, dim=d)')}))"


def _picks() -> Iterator[Rewrite]:
    """Log-probabilities of the targets, by `gather` or by two indices, with or without a reduction."""
    two = rank("x", 2, otherwise=TWO_DIMENSIONS)
    dims = ("d", "g", "k", "q")
    either = f"either({_gathered(_LOGP)}, {_squeezed(_LOGP)})"
    either_log = f"either({_log_of(_gathered)}, {_log_of(_squeezed)})"
    kept = only_stays("softmax", "the softmax stays for its other uses")
    for logp, squeezed, needs, last, note in (
        (either, _NEGATIVE_SQUEEZED, (over_classes(*dims),), (over_last(*dims),), ""),
        (either_log, f"-{_log_of(_squeezed)}", (over_classes(*dims), kept), (over_last(*dims), kept), _UNDERFLOW),
        (_picked(_LOGP), f"-{_picked(_LOGP)}", (_all_rows, two), (), ""),
        (_log_of(_picked), f"-{_log_of(_picked)}", (_all_rows, two, kept), (), _UNDERFLOW),
    ):
        safety = Safety.NUMERICS if note else Safety.EXACT
        shared = bool(note)
        for reduction in ("mean", "sum"):
            negative = f"either(-{logp}, {squeezed})"
            pattern = f"either(-{reduction}({logp}), {reduction}({negative}))"
            call = _call("x", "y", reduction)
            yield Rewrite(pattern, call, safety, note, needs, shared, integers=_INTEGERS)
            if last:
                call = _call(_FLAT, "flatten(y)", reduction)
                yield Rewrite(pattern, call, safety, note, last, shared, integers=_INTEGERS)
        each = (given("q"), *needs) if last else needs
        yield Rewrite(squeezed, _call("x", "y", "none"), safety, note, each, shared, integers=_INTEGERS)


def _complements(site: Site) -> Verdict:
    """The weights of the target and of all classes add up to 1, and lie between 0 and 1."""
    weight, smoothing = site.number("c"), site.number("s")
    if weight is not None and smoothing is not None:
        right = math.isclose(weight + smoothing, 1.0, rel_tol=1e-9) and 0.0 <= smoothing <= 1.0
        return None if right else Refusal("the two weights do not add up to 1", site.place)
    target, rest = _held(site, "c"), _held(site, "s")
    if target is None or rest is None:
        return Refusal("it is not shown that the two weights add up to 1", site.place)
    if _is_one_less(target[1], rest[1], rest[0]) or _is_one_less(rest[1], target[1], target[0]):
        return None
    return Refusal("it is not shown that the two weights add up to 1", site.place)


def _held(site: Site, name: str) -> tuple[str, ast.expr] | None:
    """An attribute of the module, with what `__init__` assigns to it."""
    value, owner = site.value(name), site.scope.owner
    if owner is None or value is None or value.kind != "attribute" or not isinstance(value.node, ast.Attribute):
        return None
    assigned = sole_assignment(site.module, owner, value.node.attr)
    return (ast.unparse(value.node), assigned) if assigned is not None else None


def _is_one_less(one: ast.expr, other: ast.expr, path: str) -> bool:
    """Whether `one` is 1 less `other`, which is held as `path`: `1.0 - smoothing`, `1 - self.smoothing`."""
    match one:
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=right):
            return ast.unparse(right) in (ast.unparse(other), path)
        case _:
            return False


def _smoothings() -> Iterator[Rewrite]:
    """Label smoothing: the loss of the target, and that of all classes, weighted."""
    of_all = (f"s * either(-mean({_LOGP}, dim=u), mean(-{_LOGP}, dim=u))", f"s * mean({_LOGP}, dim=u)")
    of_target = (f"{{}} * {_NEGATIVE_SQUEEZED}", f"{{}} * {_squeezed(_LOGP)}")
    mean_of_target = (
        f"{{}} * either(-mean({_squeezed(_LOGP)}), mean({_NEGATIVE_SQUEEZED}))",
        f"{{}} * mean({_squeezed(_LOGP)})",
    )
    mean_of_all = (
        f"s * either(-mean({_LOGP}), mean(-{_LOGP}), -mean(mean({_LOGP}, dim=u)), mean({of_all[0][4:]}))",
        f"s * either(mean({_LOGP}), mean(mean({_LOGP}, dim=u)))",
    )
    dims = ("d", "g", "k", "q", "u")
    by_call = f"{{}} * either(nll_loss({_LOGP}, y), cross_entropy(x, y))"
    for weight, scalars, weights in (("(1 - s)", ("s",), ()), ("c", ("c", "s"), (_complements,))):
        # A minus may stand with the mean or with the term.
        sums = [
            whole.format(f"{sign}{one.format(weight)} {'-+'[plus]} {other}")
            for whole, ones, others in (("mean({})", of_target, of_all), ("{}", mean_of_target, mean_of_all))
            for sign, one in zip(("", "-"), ones, strict=True)
            for plus, other in zip((True, False), others, strict=True)
        ]
        pattern = f"either({', '.join(sums)})"
        for logits, labels, over in (("x", "y", over_classes(*dims)), (_FLAT, "flatten(y)", over_last(*dims))):
            call = _call(logits, labels, "mean", "label_smoothing=s")
            yield Rewrite(pattern, call, needs=(*weights, over), scalars=scalars, integers=_INTEGERS)
        target = by_call.format(weight)
        pattern = f"either({target} + {mean_of_all[0]}, {target} - {mean_of_all[1]})"
        call = _call("x", "y", "mean", "label_smoothing=s")
        needs = (*weights, over_classes("d", "u"))
        note = "no target is `ignore_index`"
        yield Rewrite(pattern, call, Safety.NUMERICS, note, needs, scalars=scalars, integers=_INTEGERS)


@fusion
class CrossEntropyByHand(Expression):
    __doc__ = __doc__

    code = "FUS503"
    name = "cross-entropy-by-hand"
    words = (frozenset("softmax log_softmax Softmax LogSoftmax".split()), frozenset({"mean", "sum", "gather"}))
    rewrites = (*_products(), *_picks(), *_smoothings())
    examples = (
        Example(
            before=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    logp = F.log_softmax(x, dim=1)
    return -(F.one_hot(y, 5).to(logp.dtype) * logp).sum(dim=1).mean()
""",
            after=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    return F.cross_entropy(x, y)
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x, scores):
    t = scores.softmax(dim=1)
    return (-t * F.log_softmax(x, dim=1)).sum(dim=1).mean()
""",
            after=_HEAD
            + """
def f(x, scores):
    t = scores.softmax(dim=1)
    return F.cross_entropy(x, t)
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    logp = F.log_softmax(x, dim=1)
    nll = -logp.gather(1, y.unsqueeze(1)).squeeze(1)
    smooth = -logp.mean(dim=1)
    return (0.9 * nll + 0.1 * smooth).mean()
""",
            after=_HEAD
            + """
def f(x, scores):
    y = scores.argmax(dim=1)
    return F.cross_entropy(x, y, label_smoothing=0.1)
""",
            inputs=((4, 5), (4, 5)),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        NearMiss(_HEAD + "def f(x, y):\n    return -(F.one_hot(y, 5) * F.log_softmax(x, 1)).mean()\n", ""),
        NearMiss(_HEAD + "def f(x, t):\n    return -(t * F.log_softmax(x, 1)).mean()\n", ""),
        NearMiss(_HEAD + "def f(x, t):\n    return -(t * F.log_softmax(x, 1)).sum(0).mean()\n", "classes"),
        NearMiss(_HEAD + "def f(x, t):\n    return (t * F.log_softmax(x, 1)).sum(1).mean()\n", ""),
        NearMiss(_HEAD + "def f(x, t):\n    return -(t * F.softmax(x, 1)).sum(1).mean()\n", ""),
        NearMiss(_HEAD + "def f(x, t):\n    return -(t * F.log_softmax(x)).sum(1).mean()\n", "not shown"),
        NearMiss(_HEAD + "def f(x):\n    return -(x.softmax(1) * F.log_softmax(x, 1)).sum(1).mean()\n", "entropy"),
        NearMiss(
            _HEAD + "def f(x, y):\n    t = F.one_hot(y)\n    return -(t * F.log_softmax(x, 1)).sum(1).mean()\n", ""
        ),
        NearMiss(
            _HEAD + "def f(x, t):\n    l = F.log_softmax(x, 1)\n    return -(t * l).sum(1).mean(), l\n", "used again"
        ),
        NearMiss(
            _HEAD + "def f(x, i, y):\n    return -F.log_softmax(x, 1)[i, y].mean()\n",
            "all of them",
        ),
        NearMiss(
            _HEAD + "def f(x, y):\n    l = F.log_softmax(x, 1)\n    n = -l.gather(1, y.unsqueeze(1)).squeeze(1)\n"
            "    return (0.9 * n - 0.2 * l.mean(1)).mean()\n",
            "add up to 1",
        ),
        NearMiss(_HEAD + "def f(x, a):\n    return -(F.log_softmax(x, 1).gather(1, a) * x).mean()\n", ""),
        NearMiss(_HEAD + "def test_loss(x, t):\n    return -(t * F.log_softmax(x, 1)).sum(1).mean()\n", "reference"),
    )
