"""Random modules that come close to what the fusions look for: some may be rewritten, most have a reason not to be.

A program works on tensors of shape (4, 6): rows are a batch, so that batch norms of one dimension fit as well.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

WIDTH = 6
INPUTS = ((4, WIDTH), (4, WIDTH))

_UNARY = (
    "torch.tanh({x})",
    "F.relu({x})",
    "{x} * 0.5",
    "{x} + 1",
    "({x}).clone()",
    "torch.sigmoid({x})",
    "-{x}",
    "F.dropout({x}, 0.3, self.training)",
    "{x}.view_as({x})",
    "{x}.reshape(4, 6)",
    "{x}.view(4, -1)",
    "{x}.t().t()",
    "{x}[:]",
    "{x}.detach()",
    "{x}.view(4, 2, 3).reshape(4, 6)",
    "F.layer_norm({x}, (6,))",
    "{x}.contiguous()",
    "torch.relu({x})",
    "{x}.expand(4, 6)",
    "F.gelu(input={x})",
    "{x}.to(torch.float64)",
    "{x}.unflatten(1, (2, 3)).flatten(1)",
)
_BINARY = (
    "{x} + {y}",
    "{x} * {y}",
    "{x} - {y}",
    "torch.mul({x}, {y})",
    "{x} * torch.tanh({y})",
    "torch.maximum({x}, {y})",
    "torch.where({x} > 0, {x}, {y})",
    "{x}.add({y})",
    "torch.cat([{x}, {y}], -1)[:, :6]",
    "{x} / (1 + {y} ** 2)",
)
_WRITES = (
    "{x}.add_(1)",
    "{x} += 1",
    "{x} *= 0.5",
    "{x}[0] = 0.25",
    "{x}[:, 1] += 1",
    "{x}.mul_({y})",
    "{x} = {x}.clamp_(-1, 1)",
    "F.relu({x}, inplace=True)",
    "F.relu({x}, True)",
    "torch.add({x}, {y}, out={x})",
    "{x}.view(-1)[2] = 1",
    "{x}.data.mul_(0.5)",
    "self.shift({x})",
    "shift({x})",
    "{x}.copy_({y})",
    "{x} -= {y}",
    "torch.relu_({x})",
    "{x}[0].zero_()",
    "for row in {x}:\n    row.add_(1)",
    "[row.mul_(2) for row in {x}]",
    "self.twice(lambda: {x}.add_(1))",
    "torch.nn.init.ones_({x}[0])",
    "{x}.t().mul_(2)",
    "for one in ({x}, {y}):\n    one.add_(1)",
    "(({x})).sub_(1)",
    "{x}.swapaxes(0, 1)[0] += 1",
)
_REBINDS = (
    "{x} = {y}",
    "{x}, {y} = {y}, {x}",
    "{x} = {x} + {y}",
    "({x} := {x} * 2)",
    "for {x} in [{x} + 1]:\n    pass",
    "{x} = {x} if {y}.abs().sum() > 12 else {y}",
    "with keep({x} + 1) as {x}:\n    pass",
    "{x}: torch.Tensor = {x} * 1.5",
    "{x} = {y} = {x} + 1",
    "[{x}] = [{y} + 1]",
    "{x}, *rest = {x} - 1, {y}",
)


@dataclass
class Program:
    """The source of a file with a class `M`, whose forward takes two tensors."""

    seed: int
    text: str = ""


@dataclass
class _Writer:
    random: random.Random
    layers: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    number: int = 0
    linears: list[str] = field(default_factory=list)
    depth: int = 0

    def name(self, stem: str) -> str:
        self.number += 1
        return f"{stem}{self.number}"

    def chance(self, share: float) -> bool:
        return self.random.random() < share


def program(seed: int) -> Program:
    """The random program of a seed, always the same."""
    writer = _Writer(random.Random(seed))
    names = ["x", "y"]
    body: list[str] = []
    if writer.chance(0.8):
        body += ["x = x * 1", "y = y + 0"]  # what is written to must be no leaf's view of the caller
    for _ in range(writer.random.randint(2, 6)):
        body += _step(writer, names)
    result = _result(writer, names)
    body.append(result)
    return Program(seed, _file(writer, body))


def _file(writer: _Writer, body: list[str]) -> str:
    functional = writer.random.choice(["import torch.nn.functional as F", "from torch.nn import functional as F"])
    made = [one for layer in writer.layers for one in layer.split("\n")]
    lines = [
        "import contextlib",
        "",
        "import torch",
        functional,
        "from torch import nn",
        "",
        "",
        "@contextlib.contextmanager",
        "def keep(value):",
        "    yield value",
        "",
        "",
        "def shift(value):",
        "    value.add_(1)",
        "    return value",
        "",
        "",
        "class M(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" if line else "" for line in made or ["pass"]),
        "",
        "    def forward(self, x, y):",
        *(f"        {line}" if line else "" for one in body for line in one.split("\n")),
        "",
        "    def shift(self, value):",
        "        value.mul_(1.5)",
        "",
        "    def twice(self, function):",
        "        function()",
        "        function()",
        *(f"    {line}" if line else "" for one in writer.tail for line in ["", *one.split("\n")]),
    ]
    return "\n".join(lines) + "\n"


def _result(writer: _Writer, names: list[str]) -> str:
    kept = writer.random.sample(names, min(len(names), writer.random.randint(1, 3)))
    if len(kept) == 1:
        return f"return {kept[0]}"
    if writer.chance(0.3):
        return f"return {' + '.join(kept)}"
    return f"return {', '.join(kept)}"


def _step(writer: _Writer, names: list[str]) -> list[str]:
    steps = [_plain, _disturb, _silu, _siblings, _norm, _silu, _siblings, _norm]
    if writer.depth < 2:
        steps += [_branch, _loop]
    return writer.random.choice(steps)(writer, names)


def _pick(writer: _Writer, names: list[str]) -> str:
    return writer.random.choice(names[-3:] if writer.chance(0.6) else names)


def _target(writer: _Writer, names: list[str]) -> str:
    """A new name, or one that is there: 71 % of real forwards reuse a name."""
    if names and writer.chance(0.45):
        return writer.random.choice(names)
    return writer.name("h")


def _bind(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def _plain(writer: _Writer, names: list[str]) -> list[str]:
    x, y = _pick(writer, names), _pick(writer, names)
    template = writer.random.choice(_UNARY + _BINARY)
    target = _target(writer, names)
    line = f"{target} = {template.format(x=x, y=y)}"
    _bind(names, target)
    return [line]


def _disturb(writer: _Writer, names: list[str]) -> list[str]:
    """A write, a rebinding or an alias."""
    x, y = _pick(writer, names), _pick(writer, names)
    kind = writer.random.random()
    if kind < 0.2:
        target = writer.name("alias")
        _bind(names, target)
        return [f"{target} = {writer.random.choice(['{x}', '{x}.view_as({x})', '{x}[:]', '{x}.t().t()']).format(x=x)}"]
    template = writer.random.choice(_WRITES if kind < 0.65 else _REBINDS)
    return template.format(x=x, y=y).split("\n")


def _between(writer: _Writer, names: list[str], share: float = 0.3) -> list[str]:
    """What may stand between the parts of a pattern."""
    if not writer.chance(share):
        return ["# a comment"] if writer.chance(0.1) else []
    return writer.random.choice([_plain, _disturb, _disturb])(writer, list(names))


def _silu(writer: _Writer, names: list[str]) -> list[str]:
    x = _pick(writer, names)
    other = x if writer.chance(0.9) else _pick(writer, names)
    gate = writer.random.choice(
        ["torch.sigmoid({x})", "{x}.sigmoid()", "F.sigmoid({x})", "self.{layer}({x})", "torch.special.expit({x})"]
    )
    if "layer" in gate:
        layer = writer.name("gate")
        writer.layers.append(f"self.{layer} = nn.Sigmoid()")
        gate = gate.replace("{layer}", layer)
    gate = gate.replace("{x}", other)
    target = _target(writer, names)
    lines: list[str] = []
    if writer.chance(0.5):
        kept = writer.name("s")
        lines.append(f"{kept} = {gate}" + writer.random.choice(["", "", "  # the gate"]))
        lines += _between(writer, [*names, kept] if writer.chance(0.3) else names)
        gate = kept
        if writer.chance(0.1):
            _bind(names, kept)
    product = writer.random.choice(["{x} * {s}", "{s} * {x}", "torch.mul({x}, {s})", "{x}.mul({s})", "({x} * {s}) + 1"])
    form = writer.random.choice(
        ["{t} = {p}", "{t} = {p}", "{t} = torch.tanh({p})", "{t} = {p}  # gated", "{t} = ({p}) * 0.5 + {x}"]
    )
    lines.append(form.format(t=target, p=product.format(x=x, s=gate), x=x))
    _bind(names, target)
    return lines


def _siblings(writer: _Writer, names: list[str]) -> list[str]:
    count = writer.random.choice([2, 2, 3])
    bias = writer.random.choice(["", "", ", bias=False"])
    stem = writer.name("p")
    parts = [f"{stem}_{letter}" for letter in "qkv"[:count]]
    form = writer.random.choice(
        ["nn.Linear(6, 6{b})", "nn.Linear(in_features=6, out_features=6{b})", "nn.Linear(\n    6,\n    6{b},  # six\n)"]
    )
    for part in parts:
        odd = "" if bias == "" or writer.chance(0.95) else ", bias=True"
        writer.layers.append(f"self.{part} = {form.format(b=odd or bias)}")
        if writer.chance(0.15):
            writer.layers.append("# between")
    x = _pick(writer, names)
    inputs = [x if writer.chance(0.93) else _pick(writer, names) for _ in parts]
    if writer.chance(0.06):
        writer.tail.append(f"def again{stem}(self, x):\n    return self.{parts[0]}(x)")
    calls = [f"self.{part}({given})" for part, given in zip(parts, inputs, strict=True)]
    wrap = writer.random.choice(
        ["{c}"] * 5
        + [
            "torch.tanh({c})",
            "{c}.view(4, 2, 3).reshape(4, 6)",
            "{c}.clone()",
            "F.relu({c}, inplace=True)",
            "{c}.view(-1, 6)",
            "{c}.view(4, 6)",
        ]
    )
    calls = [wrap.format(c=call) for call in calls]
    if writer.chance(0.3):
        writer.random.shuffle(calls)
    lines: list[str] = []
    shape = writer.random.random()
    if shape < 0.3:
        targets = [writer.name("o") for _ in parts]
        lines.append(f"{', '.join(targets)} = {', '.join(calls)}")
        for target in targets:
            _bind(names, target)
    elif shape < 0.75:
        for call in calls:
            target = _target(writer, names) if writer.chance(0.5) else writer.name("o")
            lines.append(f"{target} = {call}" + writer.random.choice(["", "", "", "  # projected"]))
            _bind(names, target)
            lines += _between(writer, names, 0.2)
    else:
        target = _target(writer, names)
        lines.append(f"{target} = {writer.random.choice([' * ', ' + ']).join(calls)}")
        _bind(names, target)
    return lines


def _norm(writer: _Writer, names: list[str]) -> list[str]:
    x = _pick(writer, names)
    target = _target(writer, names)
    layer, norm = writer.name("fc"), writer.name("bn")
    bias = writer.random.choice(["", "", "", ", bias=True", ", True", ", bias=False"])
    options = writer.random.choice(
        ["", "", ", affine=False", ", momentum=None", ", track_running_stats=False", ", momentum=0.3"]
    )
    made = f"nn.Linear(6, 6{bias})", f"nn.BatchNorm1d(6{options})"
    between = "nn.ReLU()" if writer.chance(0.15) else None
    if writer.chance(0.35):
        elements = [made[0], *([between] if between else []), made[1], *writer.random.choice([[], ["nn.Tanh()"]])]
        if writer.chance(0.15):
            elements.insert(1, "act")
            writer.layers.append("act = nn.Tanh()")
        if writer.chance(0.5):
            listed = "\n".join(
                f"    {one},  # {number}" if writer.chance(0.2) else f"    {one},"
                for number, one in enumerate(elements)
            )
            writer.layers.append(f"self.{layer} = nn.Sequential(\n{listed}\n)")
        else:
            writer.layers.append(f"self.{layer} = nn.Sequential({', '.join(elements)})")
        if writer.chance(0.1):
            _bind(names, target)
            return [f"{target} = self.{layer}[0]({x}) + self.{layer}({x})"]
        _bind(names, target)
        return [f"{target} = self.{layer}({x})"]
    writer.layers += [f"self.{layer} = {made[0]}", f"self.{norm} = {made[1]}"]
    if writer.chance(0.08):
        writer.layers.append(f"nn.init.normal_(self.{layer}.weight)")
    if writer.chance(0.5):
        _bind(names, target)
        return [f"{target} = self.{norm}({'F.relu' if between else ''}(self.{layer}({x})))"]
    kept = writer.name("z")
    lines = [f"{kept} = self.{layer}({x})"]
    lines += _between(writer, [*names, kept] if writer.chance(0.4) else names)
    lines.append(f"{target} = self.{norm}({kept})")
    if writer.chance(0.15):
        _bind(names, kept)
    _bind(names, target)
    return lines


def _inner(writer: _Writer, names: list[str], steps: int) -> list[str]:
    """Statements of a block, whose new names nobody outside may rely on."""
    writer.depth += 1
    inner = list(names)
    lines = [line for _ in range(steps) for one in _step(writer, inner) for line in one.split("\n")]
    fresh = [name for name in inner if name not in names]
    if fresh and writer.chance(0.7):
        lines.append(f"{writer.random.choice(names)} = {writer.random.choice(fresh)}")
    writer.depth -= 1
    return [f"    {line}" if line else "" for line in lines]


def _branch(writer: _Writer, names: list[str]) -> list[str]:
    test = writer.random.choice(
        ["{x}.abs().sum() > 12", "self.training", "{x}.dim() == 2", "{x}.mean() < 100", "not self.training"]
    )
    lines = [f"if {test.format(x=_pick(writer, names))}:"]
    lines += _inner(writer, names, writer.random.randint(1, 2))
    if writer.chance(0.5):
        lines += ["else:", *_inner(writer, names, 1)]
    elif writer.chance(0.15):
        lines.append(f"    return {_pick(writer, names)}")
    return lines


def _loop(writer: _Writer, names: list[str]) -> list[str]:
    head = writer.random.choice(["for _ in range(2):", "for index in range(1, 3):"])
    return [head, *_inner(writer, names, writer.random.randint(1, 2))]
