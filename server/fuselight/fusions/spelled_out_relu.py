"""`where(x > 0, x, 0.1 * x)`: a rectifier spelled out: leaky_relu, relu, relu6, elu, selu, softsign.

Spelled out it runs a kernel an operator and keeps masks and both branches alive for the backward pass; the single call
runs one kernel and keeps only `x` or its result.

## What it saves
Time. On a CPU, 1.6 million elements in float32, forward, and forward and backward: `where(x > 0, x, 0.1 * x)` 31x and
11x (and 1.6 MB), `clamp(x, 0, 6)` 0.9x and 5.4x, `x / (1 + abs(x))` 1.0x and 1.1x.
`softsign` is the exception: torch computes `x / (abs(x) + 1)` itself, and the call is shorter, no more.

## Fix safety
`exact` where the value and the gradient are the same everywhere: `where(x > 0, x, s * x)`, `s * elu(x, a)` with both
constants of SELU, `x / (1 + abs(x))`. All others are `numerics`, and the title says where they differ:
- at exactly 0 (and 6) a kink has no gradient, and each spelling takes its own: `relu(x)` has 0 at 0, `maximum(x, 0)`
  1/2, `where(x >= 0, x, 0)` 1; `relu6(x)` has 0 at 0 and at 6, `clamp(x, 0, 6)` 1 at both. That matters where zeros are
  common: behind another relu, behind dropout, after an initialisation with zeros;
- `where(x > 0, x, 0)` turns NaN into 0, relu keeps it;
- on a GPU under autocast `exp` computes in float32, elu in the dtype that it is given;
- `where(x > 0, x, exp(x) - 1)` has a gradient of NaN where `exp(x)` overflows in the branch that is not taken, elu not.

`clamp(x, min=0)` alone is no candidate: it costs what relu costs, and has a gradient of 1 at 0.

## Refused when
- a slope or `alpha` is not shown to be a number, or the slope in `maximum(x, s * x)` not to be from 0 to 1;
- the operands are not provably the same value: rebound, written to in place, or two calls of anything;
- a form by `exp` stands in a file that speaks of autocast;
- a part (the mask, `exp(x)`) is used again, or computed in another branch;
- it reads as an index, a length, a label or an image, and not as an activation;
- the code is a reference: a test's expected value, a custom autograd function, the branch beside the call itself.

Source: the pages of the functions in `torch.nn.functional`, torch 2.13.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from fuselight.fusions.base import Example, NearMiss, Refusal, fusion
from fuselight.fusions.expression import Expression
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import dtype_under_autocast
from fuselight.fusions.site import Rewrite, Site
from fuselight.graph.constants import number_in, sole_assignment

_AT_ZERO = "another gradient at exactly 0"
_RELU_AT_ZERO = "its gradient at exactly 0 is 0"
_NAN = "NaN stays NaN"
_AT_BOTH = "its gradient at exactly 0 and 6 is 0"
_AT_SIX = "its gradient at exactly 6 is 0"
_OVERFLOW = "finite gradients where exp(x) overflows"

_NO_ACTIVATION = frozenset(
    "idx index indices id ids label labels target targets mask len lens length lengths position positions count"
    " counts num step steps size sizes start end time timestep timesteps box boxes coord coords token tokens image"
    " images img imgs pixel pixels row rows col cols column columns".split()
)


_NO_LAYER = frozenset(
    "position positions index indices bucket buckets mask labels boxes processor dataset transform transforms tokenizer"
    " augment augmentation sampler collator loader backend resize crop".split()
)
"""The same, in the names of functions and classes."""


def _activation(site: Site) -> Refusal | None:
    """What is rectified is no index, length, label or image."""
    for word in re.findall(r"[A-Z]?[a-z]+", site.scope.name):
        if word.lower() in _NO_LAYER:
            return Refusal(f"`{site.scope.name}` reads as no activation", site.place)
    for word in re.findall(r"[A-Za-z]+", site.text("x")):
        if word.lower() in _NO_ACTIVATION:
            return Refusal(f"`{site.text('x')}` reads as no activation", site.place)
    return None


def _slope(site: Site) -> Refusal | None:
    """`maximum(x, s * x)` is a leaky relu for 0 <= s <= 1 alone."""
    number = site.number("s")
    if number is None:
        number = _default(site)
    if number is None:
        return Refusal(f"`{site.text('s')}` is not shown", site.place)
    return None if 0 <= number <= 1 else Refusal(f"{number:g} is not from 0 to 1", site.place)


def _default(site: Site) -> float | None:
    """The default of the parameter that the slope is, or is made of in `__init__`."""
    value, owner = site.value("s"), site.scope.owner
    node = value.node if value is not None else None
    function: ast.FunctionDef | ast.AsyncFunctionDef | None = site.scope.function
    name = value.path if value is not None and value.kind == "parameter" else None
    if value is not None and value.kind == "attribute" and isinstance(node, ast.Attribute) and owner is not None:
        assigned = sole_assignment(site.module, owner, node.attr)
        function = owner.methods.get("__init__")
        name = assigned.id if isinstance(assigned, ast.Name) else None
    if function is None or name is None:
        return None
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(zip((one.arg for one in reversed(positional)), reversed(arguments.defaults), strict=False))
    keyword = {one.arg: given for one, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if given}
    default = {**defaults, **keyword}.get(name)
    return number_in(site.module, default) if default is not None else None


_ZERO = "either(0, zeros_like(x))"
_SMALL = "either(exp(x) - 1, expm1(x))"
_CAPPED = f"either(clamp(x, max=0), minimum(x, {_ZERO}))"
_SAFE = f"either(exp({_CAPPED}) - 1, expm1({_CAPPED}))"
_SCALE, _ALPHA = "1.0507009873554805", "1.6732632423543772"


def _elu() -> Iterator[Rewrite]:
    """The exponential linear units: with `alpha`, and without, where it is 1."""
    below = [(_SAFE, "elu(x)", ""), (f"a * {_SAFE}", "elu(x, a)", "")]
    below += [(_SMALL, "elu(x)", _OVERFLOW)]
    below += [(f"a * {small}", "elu(x, a)", _OVERFLOW) for small in ("(exp(x) - 1)", "expm1(x)")]
    for inner, call, note in below:
        scalars = ("a",) if inner.startswith("a ") else ()
        for pattern, at_zero in (
            (f"where(x > 0, x, {inner})", ""),
            (f"where(0 >= x, {inner}, x)", ""),
            (f"where(x >= 0, x, {inner})", _AT_ZERO),
            (f"where(0 > x, {inner}, x)", _AT_ZERO),
        ):
            notes = "; ".join(one for one in (note, at_zero) if one)
            safety = Safety.NUMERICS if notes else Safety.EXACT
            yield Rewrite(pattern, call, safety, notes, needs=(dtype_under_autocast,), scalars=scalars)


@fusion
class SpelledOutRelu(Expression):
    __doc__ = __doc__

    code = "FUS408"
    name = "spelled-out-relu"
    words = (
        frozenset(
            "where maximum minimum max min clamp clamp_ clip clip_ clamp_max clamp_max_ abs absolute abs_ elu ELU relu"
            " ReLU".split()
        ),
        frozenset({"torch"}),
    )
    rewrites = (
        # selu before elu: of both, it is the larger
        Rewrite(f"{_SCALE} * where(x > 0, x, {_ALPHA} * {_SAFE})", "selu(x)", needs=(dtype_under_autocast,)),
        Rewrite(
            f"{_SCALE} * where(x > 0, x, {_ALPHA} * {_SMALL})",
            "selu(x)",
            Safety.NUMERICS,
            _OVERFLOW,
            (dtype_under_autocast,),
        ),
        Rewrite(f"{_SCALE} * elu(x, {_ALPHA})", "selu(x)"),
        *_elu(),
        Rewrite("where(x > 0, x, s * x)", "leaky_relu(x, s)", scalars=("s",)),
        Rewrite("where(0 >= x, s * x, x)", "leaky_relu(x, s)", scalars=("s",)),
        Rewrite("where(x >= 0, x, s * x)", "leaky_relu(x, s)", Safety.NUMERICS, _AT_ZERO, scalars=("s",)),
        Rewrite("where(0 > x, s * x, x)", "leaky_relu(x, s)", Safety.NUMERICS, _AT_ZERO, scalars=("s",)),
        Rewrite("maximum(x, s * x)", "leaky_relu(x, s)", Safety.NUMERICS, _AT_ZERO, scalars=("s",), needs=(_slope,)),
        Rewrite("maximum(s * x, x)", "leaky_relu(x, s)", Safety.NUMERICS, _AT_ZERO, scalars=("s",), needs=(_slope,)),
        Rewrite("relu(x) - s * relu(-x)", "leaky_relu(x, s)", Safety.NUMERICS, _AT_ZERO, scalars=("s",)),
        Rewrite("clamp(x, 0, 6)", "relu6(x)", Safety.NUMERICS, _AT_BOTH),
        Rewrite("clamp(clamp(x, min=0), max=6)", "relu6(x)", Safety.NUMERICS, _AT_BOTH),
        Rewrite("minimum(either(maximum(x, 0), clamp(x, min=0)), 6)", "relu6(x)", Safety.NUMERICS, _AT_BOTH),
        Rewrite(
            "either(clamp(relu(x), max=6), clamp(relu(x), 0, 6), minimum(relu(x), 6))",
            "relu6(x)",
            Safety.NUMERICS,
            _AT_SIX,
        ),
        Rewrite(
            f"either(maximum(x, {_ZERO}), maximum({_ZERO}, x))",
            "relu(x)",
            Safety.NUMERICS,
            _RELU_AT_ZERO,
            needs=(_activation,),
        ),
        Rewrite(f"where(0 >= x, {_ZERO}, x)", "relu(x)", needs=(_activation,)),
        Rewrite(f"where(x > 0, x, {_ZERO})", "relu(x)", Safety.NUMERICS, _NAN, needs=(_activation,)),
        Rewrite(
            f"where(x >= 0, x, {_ZERO})", "relu(x)", Safety.NUMERICS, f"{_RELU_AT_ZERO}; {_NAN}", needs=(_activation,)
        ),
        Rewrite(f"where(0 > x, {_ZERO}, x)", "relu(x)", Safety.NUMERICS, _RELU_AT_ZERO, needs=(_activation,)),
        Rewrite("x / (1 + abs(x))", "softsign(x)", needs=(dtype_under_autocast,)),
    )
    examples = (
        Example(
            before="""\
import torch


def f(x):
    return torch.where(x > 0, x, 0.1 * x)
""",
            after="""\
import torch


def f(x):
    return torch.nn.functional.leaky_relu(x, 0.1)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, alpha=1.5):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.alpha = alpha

    def forward(self, x):
        x = self.fc(x)
        below = self.alpha * (torch.exp(x) - 1)  # for the negative ones
        x = torch.where(x > 0, x, below)
        return torch.clamp(x, 0, 6)
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, alpha=1.5):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.alpha = alpha

    def forward(self, x):
        x = self.fc(x)
        # for the negative ones
        x = F.elu(x, self.alpha)
        return F.relu6(x)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch


def f(x):
    return torch.maximum(x, torch.zeros_like(x))
""",
            after="""\
import torch


def f(x):
    return torch.relu(x)
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        NearMiss("import torch\n\ndef f(x):\n    return x.clamp(min=0)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.clamp(x, 0, 1)\n", ""),
        NearMiss("import torch\n\ndef f(x, y):\n    return torch.where(x > 0, y, 0.1 * x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.where(x > 1, x, 0.1 * x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.where(x > 0, 0.1 * x, x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return torch.max(x, 2 * x)\n", "not from 0 to 1"),
        NearMiss("import torch\n\ndef f(x, slope):\n    return torch.max(x, slope * x)\n", "not shown"),
        NearMiss(
            "import torch\nfrom torch import nn\n\nclass M(nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n        self.s = nn.Parameter(torch.ones(4))\n\n    def forward(self, x):\n"
            "        return torch.where(x > 0, x, self.s * x)\n",
            "not shown",
        ),
        NearMiss("import torch\n\ndef f(x):\n    return torch.where(x > 0, x, torch.exp(x))\n", ""),
        NearMiss(
            "import torch\n\n@torch.autocast('cuda')\ndef f(x):\n    return torch.where(x > 0, x, torch.exp(x) - 1)\n",
            "autocast",
        ),
        NearMiss("import torch\n\ndef f(x):\n    return x / (1 + x)\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    return x / (2 + x.abs())\n", ""),
        NearMiss("import torch\n\ndef f(x):\n    m = x > 0\n    return torch.where(m, x, 0.1 * x) * m\n", "used again"),
        NearMiss("import torch\n\ndef f(labels):\n    return torch.where(labels > 0, labels, 0)\n", "no activation"),
        NearMiss("import torch\n\ndef relu_ref(x):\n    return torch.maximum(x, torch.zeros_like(x))\n", "reference"),
    )
