"""Random modules of layers over images, tokens and vectors, close to what the fusions of layers look for.

A program's `M` takes an image of shape (3, 4, 8, 8), tokens of shape (3, 5, 6) and a vector of shape (3, 6). Each step
writes one candidate in one of its spellings, and at times something beside it that forbids the rewrite: a write, a
second consumer, a second call, a look inside, a rebinding.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

INPUTS = ((3, 4, 8, 8), (3, 5, 6), (3, 6))

_ACTIVATIONS = (
    "F.relu({x})",
    "torch.relu({x})",
    "torch.tanh({x})",
    "F.gelu({x})",
    "torch.sigmoid({x})",
    "F.leaky_relu({x}, 0.1)",
    "F.leaky_relu({x}, -0.2)",
    "F.elu({x})",
    "F.silu({x})",
    "F.relu6({x})",
    "{x}.relu()",
    "{x} * torch.sigmoid({x})",
    "F.relu({x}, inplace=True)",
)
_ACTIVATION_LAYERS = (
    "nn.ReLU()",
    "nn.ReLU(inplace=True)",
    "nn.ReLU6()",
    "nn.Tanh()",
    "nn.SiLU()",
    "nn.LeakyReLU(0.2)",
    "nn.LeakyReLU(-0.2)",
    "nn.Sigmoid()",
    "nn.Hardswish()",
    "nn.PReLU()",
    "nn.ELU()",
    "nn.Identity()",
    "nn.Dropout(0.0)",
    "nn.Dropout2d(0.2)",
    "nn.Softplus()",
)
_WRITES = (
    "{x}.add_(1)",
    "{x} += 1",
    "{x} *= 0.5",
    "{x}[0] = 0.25",
    "{x}[:, 1] += 1",
    "F.relu({x}, inplace=True)",
    "{x}.clamp_(-1, 1)",
    "self.shift({x})",
    "{x}.transpose(0, 1).mul_(2)",
)
_REBINDS = (
    "{x} = {x} + 1",
    "{x} = {x} if {x}.sum() > 3 else {x} * 2",
    "if self.training:\n    {x} = {x} * 0.5",
    "for _ in range(2):\n    {x} = {x} * 0.9",
)


@dataclass
class _Writer:
    random: random.Random
    layers: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Each name's kind, "image", "tokens" or "vector", with the side of an image, the length of tokens."""
    number: int = 0

    def name(self, stem: str) -> str:
        self.number += 1
        return f"{stem}{self.number}"

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, kind: str, least: int = 0) -> str | None:
        names = [name for name, (known, size) in self.shapes.items() if known == kind and size >= least]
        return self.random.choice(names[-3:]) if names else None

    def choice(self, *options: str) -> str:
        return self.random.choice(options)

    def target(self, source: str, kind: str, size: int) -> str:
        """The name of a result: the source's own (most real forwards reuse a name), or a new one."""
        name = source if self.chance(0.55) else self.name("h")
        self.shapes[name] = (kind, size)
        return name

    def layer(self, stem: str, made: str) -> str:
        name = self.name(stem)
        self.layers.append(f"self.{name} = {made}")
        return name


def architecture(seed: int) -> str:
    """The program of a seed, the same on every run."""
    writer = _Writer(random.Random(seed))
    writer.shapes = {"x": ("image", 8), "t": ("tokens", 5), "v": ("vector", 0)}
    body: list[str] = []
    for name in writer.shapes:
        if writer.chance(0.5):
            body.append(f"{name} = {name} * 1.0")
    for _ in range(writer.random.randint(2, 5)):
        before = dict(writer.shapes)
        lines = writer.random.choice(_STEPS)(writer)
        if lines and writer.shapes == before and writer.chance(0.3):
            # A step that makes no new name may stand in a branch.
            inner = [line for one in lines for line in one.split("\n")]
            lines = [writer.choice("if x.dim() == 4:", "if self.training:"), *(f"    {line}" for line in inner)]
        body += lines
        if writer.chance(0.2):
            name = writer.random.choice(list(writer.shapes))
            body += writer.choice(*_WRITES, *_REBINDS).format(x=name).split("\n")
    kept = writer.random.sample(list(writer.shapes), min(len(writer.shapes), writer.random.randint(1, 4)))
    body.append(f"return {', '.join(kept)}")
    lines = [
        "import collections",
        "import torch",
        "import torch.nn.functional as F",
        "from torch import nn",
        "",
        "",
        "def watch(module, given, out):",
        "    return None",
        "",
        "",
        *(line for one in writer.helpers for line in [*one.split("\n"), "", ""]),
        "class M(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" for one in writer.layers or ["pass"] for line in one.split("\n")),
        "",
        "    def forward(self, x, t, v):",
        *(f"        {line}" for one in body for line in one.split("\n")),
        "",
        "    def shift(self, value):",
        "        value.mul_(1.5)",
        *(f"    {line}" if line else "" for one in writer.tail for line in ["", *one.split("\n")]),
    ]
    return "\n".join(lines) + "\n"


def _disturbed(writer: _Writer, names: list[str], share: float = 0.15) -> list[str]:
    """What may stand between the parts of a candidate."""
    if not writer.chance(share):
        return []
    name = writer.random.choice(names)
    return writer.choice(*_WRITES, *_REBINDS, "keep = {x}", "side = {x}.sum()").format(x=name).split("\n")


def _chain(writer: _Writer, source: str, target: str, parts: list[str], keep: bool = True) -> list[str]:
    """Steps one after the other (each a template with {x}), as statements or as one nested call."""
    if writer.chance(0.45):
        text = source
        for part in parts:
            text = part.format(x=text)
        return [f"{target} = {text}" + writer.choice("", "", "  # one after the other")]
    lines: list[str] = []
    name = source
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        out = target if last or writer.chance(0.5) else writer.name("m")
        lines.append(f"{out} = {part.format(x=name)}")
        name = out
        if not last:
            lines += _disturbed(writer, [name, source] if name != source else [name])
    return lines


def _sequential(writer: _Writer, elements: list[str]) -> str:
    """A layer that holds a Sequential of `elements`, made in one of the many ways; its attribute."""
    name = writer.name("net")
    way = writer.random.random()
    listed = ", ".join(elements)
    if way < 0.3:
        writer.layers.append(f"self.{name} = nn.Sequential({listed})")
    elif way < 0.45:
        rows = "\n".join(f"    {one}," + writer.choice("", "  # element") for one in elements)
        writer.layers.append(f"self.{name} = nn.Sequential(\n{rows}\n)")
    elif way < 0.55:
        pairs = ", ".join(f'("k{number}", {one})' for number, one in enumerate(elements))
        writer.layers.append(f"self.{name} = nn.Sequential(collections.OrderedDict([{pairs}]))")
    elif way < 0.7:
        helper = writer.name("make")
        writer.helpers.append(f"def {helper}():\n    return nn.Sequential({listed})")
        writer.layers.append(f"self.{name} = {helper}()")
    elif way < 0.8:
        writer.layers += [f"layers = [{listed}]", f"self.{name} = nn.Sequential(*layers)"]
    elif way < 0.88:
        writer.layers += [f"net = nn.Sequential({listed})", f"self.{name} = net"]
    elif way < 0.94:
        writer.layers += ["layers = []", *(f"layers.append({one})" for one in elements)]
        writer.layers.append(f"self.{name} = nn.Sequential(*layers)")
    else:
        writer.layers.append(f"self.{name} = nn.Sequential(nn.Sequential({listed}), nn.Identity())")
    if writer.chance(0.06):
        writer.tail.append(f"def inside{name}(self, x):\n    return self.{name}[0](x)")
    return name


def _steps(writer: _Writer, source: str, target: str, parts: list[tuple[str, str]]) -> list[str]:
    """Layers (constructor, functional spelling or "") in a row: attributes, functionals, or a Sequential."""
    if all(made for made, _ in parts) and writer.chance(0.4):
        return [f"{target} = self.{_sequential(writer, [made for made, _ in parts])}({source})"]
    calls: list[str] = []
    for made, functional in parts:
        if functional and (not made or writer.chance(0.5)):
            calls.append(functional)
            continue
        layer = writer.layer("l", made)
        calls.append(f"self.{layer}({{x}})")
        if writer.chance(0.04):
            writer.tail.append(f"def again{layer}(self, x):\n    return self.{layer}(x)")
        if writer.chance(0.03):
            writer.layers.append(f"self.{layer}.register_forward_hook(watch)")
    return _chain(writer, source, target, calls)


def _activation(writer: _Writer) -> tuple[str, str]:
    return writer.choice(*_ACTIVATION_LAYERS), writer.choice(*_ACTIVATIONS)


def _conv(writer: _Writer, kernel: int = 3, padding: int | None = None, into: int = 4, out: int = 4) -> str:
    bias = writer.choice("", "", "", ", bias=False", ", bias=True")
    pad = f", padding={(kernel // 2) if padding is None else padding}" if padding != 0 and kernel > 1 else ""
    return f"nn.Conv2d({into}, {out}, {kernel}{pad}{bias})"


def _norm(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    assert source is not None
    size = writer.shapes[source][1]
    norm = writer.choice(
        "nn.BatchNorm2d(4)",
        "nn.BatchNorm2d(4)",
        "nn.BatchNorm2d(4, affine=False)",
        "nn.BatchNorm2d(4, track_running_stats=False)",
        "nn.InstanceNorm2d(4)",
        "nn.InstanceNorm2d(4, affine=True)",
        "nn.InstanceNorm2d(4, track_running_stats=True)",
        "nn.GroupNorm(4, 4)",
        "nn.GroupNorm(2, 4)",
    )
    conv = writer.choice(_conv(writer), "nn.ConvTranspose2d(4, 4, 3, padding=1)")
    parts = [(conv, ""), (norm, "")]
    if writer.chance(0.1):
        parts.insert(1, _activation(writer))
    if writer.chance(0.5):
        parts.append(_activation(writer))
    return _steps(writer, source, writer.target(source, "image", size), parts)


def _padding(writer: _Writer) -> list[str]:
    source = writer.pick("image", 3)
    if source is None:
        return []
    size = writer.shapes[source][1]
    pad = writer.random.choice(
        [
            ("nn.ZeroPad2d(1)", "F.pad({x}, (1, 1, 1, 1))"),
            ("nn.ZeroPad2d(1)", "F.pad({x}, [1, 1, 1, 1], value=0)"),
            ("nn.ReflectionPad2d(1)", 'F.pad({x}, (1, 1, 1, 1), mode="reflect")'),
            ("nn.ReplicationPad2d(1)", 'F.pad({x}, (1, 1, 1, 1), "replicate")'),
            ("nn.CircularPad2d(1)", 'F.pad({x}, (1, 1, 1, 1), mode="circular")'),
            ("nn.ConstantPad2d(1, 0.5)", "F.pad({x}, (1, 1, 1, 1), value=1.0)"),
            ("nn.ConstantPad2d(1, float('-inf'))", "F.pad({x}, (1, 1, 1, 1), value=-float('inf'))"),
            ("nn.ZeroPad2d((2, 2, 1, 1))", "F.pad({x}, (2, 2, 1, 1))"),
            ("nn.ZeroPad2d((2, 0, 1, 1))", "F.pad({x}, (0, 2, 1, 1))"),
        ]
    )
    infinite = "inf" in pad[0]
    wide = "2, " in pad[0]
    behind = writer.choice(
        *(["nn.MaxPool2d(3, 1)", "nn.MaxPool2d(3, stride=1)"] if infinite or writer.chance(0.2) else []),
        *(["nn.AvgPool2d(3, 1)", "nn.AvgPool2d(3, 1, count_include_pad=False)"] if not infinite else []),
        *([_conv(writer, 3, 0)] * 3 if not infinite and not wide else []),
        *(["nn.Conv2d(4, 4, (3, 5))"] if wide and not infinite and "0, " not in pad[0] else []),
        *(["nn.Conv2d(4, 4, (3, 3))"] if wide and "0, " in pad[0] and not infinite else []),
    )
    if wide and "Pool" in behind:
        behind = "nn.AvgPool2d((3, 5), 1)" if "0, " not in pad[0] else "nn.AvgPool2d(3, 1)"
    return _steps(writer, source, writer.target(source, "image", size), [pad, (behind, "")])


def _pooled(writer: _Writer) -> list[str]:
    source = writer.pick("image", 4)
    if source is None:
        return []
    size = writer.shapes[source][1]
    pool = writer.random.choice(
        [
            ("nn.MaxPool2d(2)", "F.max_pool2d({x}, 2)"),
            ("nn.AvgPool2d(2)", "F.avg_pool2d({x}, 2)"),
            (f"nn.AdaptiveMaxPool2d({size // 2})", f"F.adaptive_max_pool2d({{x}}, {size // 2})"),
        ]
    )
    first = _activation(writer) if writer.chance(0.7) else (_conv(writer, 1), "")
    parts = [first, pool]
    if writer.chance(0.4):
        parts.insert(0, (_conv(writer), ""))
    return _steps(writer, source, writer.target(source, "image", size // 2), parts)


def _upsampled(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    if source is None or writer.shapes[source][1] > 8:
        return []
    size = writer.shapes[source][1] * 2
    mode = writer.choice("nearest", "bilinear", "bicubic")
    up = (f'nn.Upsample(scale_factor=2, mode="{mode}")', f'F.interpolate({{x}}, scale_factor=2, mode="{mode}")')
    conv = _conv(writer, writer.random.choice([1, 1, 1, 3]))
    return _steps(writer, source, writer.target(source, "image", size), [up, (conv, "")])


def _repeated(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    assert source is not None
    parts = [_activation(writer), _activation(writer)]
    if writer.chance(0.5):
        parts[1] = parts[0]
    if writer.chance(0.3):
        parts = [("nn.Dropout(0.2)", "F.dropout({x}, 0.2, self.training)"), ("nn.Dropout(0.3)", "")]
    return _steps(writer, source, writer.target(source, "image", writer.shapes[source][1]), parts)


def _convolutions(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    assert source is not None
    size = writer.shapes[source][1]
    kernel = writer.random.choice([1, 3])
    made = _conv(writer, kernel)
    odd = _conv(writer, kernel)
    parts = [writer.layer("c", made if writer.chance(0.9) else odd) for _ in range(writer.random.choice([2, 2, 3]))]
    calls = [f"self.{part}({source})" for part in parts]
    target = writer.target(source, "image", size)
    way = writer.random.random()
    if way < 0.35:
        after = writer.layer("after", f"nn.Conv2d({4 * len(parts)}, 4, 1)")
        joined = f"torch.cat([{', '.join(calls)}], {writer.choice('1', 'dim=1')})"
        return [f"{target} = self.{after}({joined})"]
    if way < 0.5:
        return [f"{target} = {' + '.join(calls)}"]
    lines: list[str] = []
    names: list[str] = []
    for call in calls:
        names.append(writer.name("b"))
        lines.append(f"{names[-1]} = {writer.choice('{c}', '{c}', 'F.relu({c})', '{c}.contiguous()').format(c=call)}")
        lines += _disturbed(writer, [names[-1], source], 0.1)
    lines.append(f"{target} = {writer.choice(' + ', ' * ').join(names)}")
    return lines


def _chunks(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    assert source is not None
    made = _conv(writer, 3, into=2, out=2)
    one, other = writer.layer("g", made), writer.layer("g", made)
    a, b = writer.name("a"), writer.name("b")
    target = writer.target(source, "image", writer.shapes[source][1])
    lines = [f"{a}, {b} = {source}.chunk(2, {writer.choice('1', 'dim=1')})", *_disturbed(writer, [a, source], 0.1)]
    order = [f"self.{one}({a})", f"self.{other}({b})"]
    if writer.chance(0.1):
        order.reverse()
    return [*lines, f"{target} = torch.cat([{', '.join(order)}], 1)"]


def _flattened(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    assert source is not None
    pool = ("nn.AdaptiveAvgPool2d(1)", "F.adaptive_avg_pool2d({x}, 1)")
    flat = ("nn.Flatten()", writer.choice("torch.flatten({x}, 1)", "{x}.flatten(1)", "{x}.view({x}.size(0), -1)"))
    if "size" in flat[1] or writer.chance(0.3):
        flat = ("nn.Flatten()", "torch.flatten({x}, 1)")
    target = writer.name("f")
    lines = _steps(writer, source, target, [pool, flat, ("nn.Linear(4, 6)", "")])
    writer.shapes[target] = ("vector", 0)
    return lines


def _permuted(writer: _Writer) -> list[str]:
    source = writer.pick("image")
    assert source is not None
    target = writer.target(source, "image", writer.shapes[source][1])
    parts = writer.random.choice(
        [
            ["{x}.permute(0, 2, 3, 1)", "{x}.permute(0, 3, 1, 2)"],
            ["{x}.transpose(1, 2)", "{x}.transpose(2, 1)"],
            ["{x}.permute(0, 2, 3, 1)", "{x}.transpose(1, 2)", "{x}.permute(0, 3, 2, 1)"],
            ["{x}.transpose(2, 3)", "{x}.contiguous()", "{x}.transpose(-1, -2)"],
            ["{x}.flatten(2)", "{x}.reshape(3, 4, -1)", f"{{x}}.reshape(3, 4, {writer.shapes[source][1]}, -1)"],
            ["{x}.transpose(2, 3)", f"{{x}}.contiguous().view(3, 4, -1, {writer.shapes[source][1]})"],
        ]
    )
    return _chain(writer, source, target, list(parts))


# -- tokens and vectors


def _token_layer(writer: _Writer) -> str:
    made = writer.choice(
        "nn.Linear(6, 6)",
        "nn.Linear(6, 6, bias=False)",
        "nn.LayerNorm(6)",
        "nn.LayerNorm((6,))",
        "nn.RMSNorm(6)",
        "nn.LayerNorm((5, 6))" if writer.chance(0.2) else "nn.LayerNorm(6, eps=1e-6)",
        "nn.BatchNorm1d(5)" if writer.chance(0.3) else "nn.Linear(6, 6)",
        "nn.GELU()",
        "nn.Dropout(0.1)" if writer.chance(0.3) else "nn.Linear(6, 6)",
    )
    return f"self.{writer.layer('w', made)}({{x}})"


def _selected(writer: _Writer) -> list[str]:
    source = writer.pick("tokens", 5)
    assert source is not None
    selection = writer.choice(
        "{x}[:, 0]",
        "{x}[:, -1]",
        "{x}[:, -1, :]",
        "{x}.select(1, 2)",
        "{x}.mean(1)",
        "{x}.mean(dim=1)",
        "torch.mean({x}, dim=-2)",
        "{x}.sum(1)",
        "{x}.amax(1)",
        "{x}[:, 1:].mean(1)",
        "{x}[torch.arange(3), torch.tensor([0, 2, 4])]",
    )
    target = writer.name("s")
    parts = [_token_layer(writer) for _ in range(writer.random.choice([1, 1, 2]))]
    parts = [part.replace("BatchNorm1d(5)", "LayerNorm(6)") for part in parts]
    shown = [f"B, L, C = {source}.shape"] if writer.chance(0.4) else []
    lines = [*shown, *_chain(writer, source, target, [*parts, selection])]
    writer.shapes[target] = ("vector", 0)
    return lines


def _masked(writer: _Writer) -> list[str]:
    source = writer.pick("tokens", 5)
    assert source is not None
    mask, target = writer.name("mask"), writer.name("p")
    lines = [f"{mask} = {source}[..., 0] > 0", *_disturbed(writer, [source], 0.2)]
    lines += _chain(writer, source, target, [_token_layer(writer), f"{{x}}[{mask}]"])
    vector = writer.name("q")
    writer.shapes[vector] = ("vector", 0)
    return [*lines, f"{vector} = {target}.sum(0).expand(3, 6)"]


def _projections(writer: _Writer) -> list[str]:
    kind = writer.choice("tokens", "vector")
    source = writer.pick(kind)
    assert source is not None
    size = writer.shapes[source][1]
    bias = writer.choice("", "", ", bias=False")
    count = writer.random.choice([2, 2, 3])
    parts = [
        writer.layer("p", f"nn.Linear(6, 6{bias if writer.chance(0.93) else ', bias=False'})") for _ in range(count)
    ]
    calls = [f"self.{part}({source})" for part in parts]
    target = writer.target(source, kind, size)
    way = writer.random.random()
    if way < 0.25:
        after = writer.layer("after", f"nn.Linear({6 * count}, 6)")
        return [f"{target} = self.{after}(torch.cat([{', '.join(calls)}], {writer.choice('-1', 'dim=-1')}))"]
    if way < 0.4:
        dim = writer.choice("0", "1", "-1", "dim=-2")
        return [f"{target} = torch.stack([{', '.join(calls)}], {dim}).mean({dim.removeprefix('dim=')})"]
    if way < 0.6:
        gate = writer.choice("torch.sigmoid({c})", "{c}.sigmoid()", "F.silu({c})")
        return [f"{target} = {calls[0]} * {gate.format(c=calls[1])}" + (f" + {calls[2]}" if count == 3 else "")]
    lines: list[str] = []
    names: list[str] = []
    for call in calls:
        names.append(writer.name("o"))
        lines.append(f"{names[-1]} = {call}")
        lines += _disturbed(writer, [names[-1], source], 0.1)
    return [*lines, f"{target} = {writer.choice(' + ', ' * ').join(names)}"]


def _heads(writer: _Writer) -> list[str]:
    kind = writer.choice("tokens", "vector")
    source = writer.pick(kind)
    assert source is not None
    count = writer.random.choice([2, 3])
    heads = writer.layer(
        "heads",
        writer.choice(
            f"nn.ModuleList([nn.Linear(6, 6) for _ in range({count})])",
            f"nn.ModuleList(nn.Linear(6, 6, bias=False) for _ in range({count}))",
            "nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])",
        ),
    )
    target = writer.target(source, kind, writer.shapes[source][1])
    each = f"[head({source}) for head in self.{heads}]"
    dim = writer.choice("0", "1", "-1")
    lines = [f"{target} = torch.stack({each}, {dim}).mean({dim})"]
    if writer.chance(0.3):
        kept = writer.name("outs")
        lines = [f"{kept} = {each}", f"{target} = torch.stack({kept}, dim={dim}).sum({dim})"]
    if writer.chance(0.08):
        lines.append(f"{target} = {target} + self.{heads}[0]({target})")
    return lines


def _cell(writer: _Writer) -> list[str]:
    source, state = writer.pick("vector"), writer.pick("vector")
    assert source is not None
    assert state is not None
    bias = writer.choice("", "", ", bias=False")
    gates = "ifgo" if writer.chance(0.5) else "rzn"
    stem = writer.name("u")
    for gate in gates:
        writer.layers += [f"self.{stem}x{gate} = nn.Linear(6, 6{bias})", f"self.{stem}h{gate} = nn.Linear(6, 6{bias})"]
    pre = {gate: f"self.{stem}x{gate}({source}) + self.{stem}h{gate}({state})" for gate in gates}
    target = writer.name("c")
    writer.shapes[target] = ("vector", 0)
    if gates == "ifgo":
        lines = [f"{gate}{stem} = torch.{'tanh' if gate == 'g' else 'sigmoid'}({pre[gate]})" for gate in gates]
        if writer.chance(0.3):
            writer.random.shuffle(lines)
        lines.append(f"k{stem} = f{stem} * {source} + i{stem} * g{stem}")
        return [*lines, f"{target} = o{stem} * torch.tanh(k{stem})"]
    lines = [f"{gate}{stem} = torch.sigmoid({pre[gate]})" for gate in "rz"]
    new = writer.choice(
        f"self.{stem}xn({source}) + r{stem} * self.{stem}hn({state})",
        f"self.{stem}xn({source}) + self.{stem}hn(r{stem} * {state})",
    )
    lines.append(f"n{stem} = torch.tanh({new})")
    mix = writer.choice("(1 - {z}) * {n} + {z} * {h}", "{z} * {n} + (1 - {z}) * {h}", "{n} + {z} * ({h} - {n})")
    return [*lines, f"{target} = " + mix.format(z=f"z{stem}", n=f"n{stem}", h=state)]


def _looked_up(writer: _Writer) -> list[str]:
    source = writer.pick("tokens", 5)
    assert source is not None
    index, target = writer.name("i"), writer.name("e")
    lines = [f"{index} = ({source}[..., 0] > 0).long()"]
    way = writer.random.random()
    writer.shapes[target] = ("tokens", 5)
    if way < 0.4:
        one, other = writer.layer("e", "nn.Embedding(4, 6)"), writer.layer("e", "nn.Embedding(4, 6)")
        return [*lines, f"{target} = self.{one}({index}) {writer.choice('+', '*')} self.{other}({index})"]
    if way < 0.7:
        layer = writer.layer("e", "nn.Linear(4, 6, bias=False)")
        return [*lines, f"{target} = self.{layer}(F.one_hot({index}, 4).to(self.{layer}.weight.dtype))"]
    weight = writer.layer("W", "nn.Parameter(torch.randn(4, 6))")
    return [*lines, f"{target} = F.one_hot({index}, 4).to(self.{weight}.dtype) @ self.{weight}"]


_STEPS = (
    _norm, _norm, _padding, _pooled, _upsampled, _repeated, _convolutions, _chunks, _flattened, _permuted, _selected,
    _selected, _masked, _projections, _projections, _heads, _cell, _looked_up,
)  # fmt: skip
