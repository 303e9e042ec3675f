"""Random programs with attention written by hand: what must be found, what may be, and what only looks like it.

A tensor under construction is its source and the names of its axes (`b` batch, `w` windows, `n` batch and heads in one,
`g` heads of keys, `h` heads, `t` queries, `s` keys, `d` their width, `e` the width of values), so that every layout comes
out of the same few steps: arranged by any of the functions that exchange axes, multiplied by any that multiplies.
"""

# ruff: noqa: E501  (lines of the programs)

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from string import ascii_lowercase

import torch

SIZES = {"b": 2, "w": 3, "n": 6, "g": 2, "h": 4, "t": 5, "s": 7, "d": 8, "e": 8}
_WORDS = {
    "b": ("b", "batch"), "w": ("w", "win"), "n": ("n", "bh"), "g": ("g", "kv"), "h": ("h", "heads"), "t": ("i", "q", "l"),
    "s": ("j", "k", "m"), "d": ("d", "c"), "e": ("e", "dv"),
}  # fmt: skip
"""What the axes are called in the patterns of einops."""
_COMMENTS = ("scores of all pairs", "see the paper", "TODO: faster", "no dropout in eval", "shape: ...", "noqa")


class Expected(Enum):
    """What the fusion owes to a program."""

    FOUND = "found"
    MAYBE = "maybe"
    REFUSED = "refused"


@dataclass(frozen=True)
class Program:
    """A file with a function `f` or a class `M`, and what it is called with, one call after the other."""

    text: str
    calls: tuple[tuple[torch.Tensor, ...], ...]
    expected: Expected
    why: tuple[str, ...]
    """What makes it less than FOUND, or what near miss it is."""
    tolerance: float
    dropout: bool
    masked_rows: tuple[torch.Tensor, ...] | None = None
    """Another call, in which a row has no key left."""


@dataclass(frozen=True)
class Tensor:
    """Source that holds a tensor, and its axes."""

    text: str
    axes: str

    def at(self, axis: str) -> int:
        return self.axes.index(axis)


def _level(text: str) -> int:
    """How tight the outermost operator of an expression binds."""
    node = ast.parse(text, mode="eval").body
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Pow):
            return 3
        return 1 if isinstance(node.op, ast.Add | ast.Sub) else 2 if not isinstance(node.op, ast.BitAnd) else 0
    if isinstance(node, ast.UnaryOp):
        return 3 if not isinstance(node.op, ast.Not) else 0
    return 0 if isinstance(node, ast.Compare | ast.IfExp | ast.BoolOp | ast.Lambda) else 4


def tight(text: str, least: int = 4) -> str:
    """`text` as an operand: in parentheses where it binds less than it must."""
    return text if _level(text) >= least else f"({text})"


def _reads(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


@dataclass
class _Writer:
    random: random.Random
    miss: str = ""
    """The near miss to write; none for attention."""
    expected: Expected = Expected.FOUND
    why: list[str] = field(default_factory=list)
    froms: set[str] = field(default_factory=set)
    head: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    depth: int = 0
    arguments: dict[str, torch.Tensor] = field(default_factory=dict)
    optional: list[str] = field(default_factory=list)
    blind: dict[str, torch.Tensor] = field(default_factory=dict)
    """Values of arguments with which a row has no key left."""
    live: dict[str, str] = field(default_factory=dict)
    """The axes of the names that hold operands."""
    used: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))
    tolerance: float = 1e-10
    dropout: bool = False
    is_class: bool = False
    rank_shown: bool = False
    batch: str = "bh"

    # -- choices

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def odds(self, share: float) -> bool:
        return self.random.random() < share

    def maybe(self, reason: str) -> None:
        if self.expected is Expected.FOUND:
            self.expected = Expected.MAYBE
        self.why.append(reason)

    def near_miss(self, stage: dict[str, Callable[[_Writer, Tensor], Tensor]], tensor: Tensor) -> Tensor:
        return stage[self.miss](self, tensor) if self.miss in stage else tensor

    # -- statements

    def put(self, line: str) -> None:
        if self.odds(0.04) and not line.startswith(("if", "else")):
            line += f"  # {self.pick(*_COMMENTS)}"
        elif self.odds(0.04):
            self.lines.append("    " * self.depth + f"# {self.pick(*_COMMENTS)}")
        self.lines.append("    " * self.depth + line)

    def fresh(self, *names: str) -> str:
        free = [name for name in names if name not in self.used]
        name = self.random.choice(free) if free else f"{names[0]}{len(self.used)}"
        self.used.add(name)
        return name

    def bound(self, tensor: Tensor, *names: str) -> Tensor:
        """`tensor` in a name of its own."""
        if tensor.text.isidentifier():
            return tensor
        name = self.fresh(*names)
        self.put(f"{name} = {tensor.text}")
        return Tensor(name, tensor.axes)

    def step(self, old: Tensor, text: str, *names: str, axes: str | None = None) -> Tensor:
        """What `text` makes of `old`: left as it stands, or held by the same name or another."""
        made = Tensor(text, old.axes if axes is None else axes)
        if self.depth and self.odds(0.9):
            self.put(f"{old.text} = {text}")
            return Tensor(old.text, made.axes)
        if self.odds(0.4) and len(text) < 150 and self.depth == 0:
            return made
        if old.text.isidentifier() and old.text not in self.live and self.odds(0.6):
            self.put(f"{old.text} = {text}")
            return Tensor(old.text, made.axes)
        return self.bound(made, *names)

    def attribute(self, name: str, *values: str) -> None:
        """`self.name = value` in `__init__`, once."""
        if not any(line.startswith(f"self.{name} = ") for line in self.init):
            self.init.append(f"self.{name} = {self.pick(*values)}")

    def argument(self, name: str, value: torch.Tensor, grad: bool = False) -> str:
        self.used.add(name)
        self.arguments[name] = value.requires_grad_() if grad else value
        return name

    def tensor(self, axes: str, name: str) -> Tensor:
        """An operand that the function is given."""
        self.argument(name, torch.randn([self.sizes[one] for one in axes], dtype=torch.float64), grad=True)
        self.live[name] = axes
        return Tensor(name, axes)

    def size(self, axis: str) -> str:
        """An expression for the length of an axis: read off an operand, inside or before."""
        if axis == "t" and "T" in self.used:
            return "T"
        name, axes = self.random.choice([(name, axes) for name, axes in self.live.items() if axis in axes])
        at = axes.index(axis)
        if self.odds(0.5):
            at -= len(axes)
        read = self.pick(f"{name}.size({at})", f"{name}.shape[{at}]", f"{name}.shape[{at}]")
        known = {"t": "T", "s": "S", "d": "D", "h": "H", "b": "B", "n": "N", "g": "G"}.get(axis, "L")
        if known in self.used:
            return known
        if self.odds(0.5):
            self.used.add(known)
            self.lines.append("    " * self.depth + f"{known} = {read}")
            if self.depth:
                self.used.discard(known)  # known inside of the branch only
            return known
        return read

    # -- axes

    def arranged(self, tensor: Tensor, axes: str) -> Tensor:
        """`tensor` with its axes in another order, by any of the ways to exchange them."""
        if tensor.axes == axes:
            return tensor
        order = [tensor.axes.index(one) for one in axes]
        text, rank = tight(tensor.text), len(axes)
        moved = [at for at in range(rank) if order[at] != at]
        ways = [f"{text}.permute({', '.join(map(str, order))})", f"torch.permute({tensor.text}, {tuple(order)})"]
        ways.append(self._rearranged(tensor, axes))
        ways.append(ways[0])
        if len(moved) == 2:
            pairs = [f"{a}, {b}" for a, b in self._pairs(*moved, rank)]
            pairs = pairs[2:] if self.from_right else pairs
            last = moved == [rank - 2, rank - 1]
            for pair in pairs * 2:
                ways += [f"{text}.transpose({pair})", f"{text}.transpose({pair})", f"{text}.transpose({pair})"]
            ways += [f"{text}.swapaxes({pairs[0]})", f"torch.transpose({tensor.text}, {pairs[0]})"]
            ways += [f"{text}.swapdims({pairs[-1]})", f"torch.swapaxes({tensor.text}, {pairs[0]})"]
            if moved[1] == moved[0] + 1 and not self.from_right:
                ways += [f"{text}.movedim({moved[0]}, {moved[1]})", f"torch.movedim({tensor.text}, {pairs[0]})"]
            if last:
                ways += [f"{text}.mT"] * 3
            if last and rank == 2:
                ways += [f"{text}.T", f"{text}.t()"]
        return Tensor(self.random.choice(ways), axes)

    def _pairs(self, first: int, second: int, rank: int) -> list[tuple[int, int]]:
        return [(first, second), (second, first), (first - rank, second - rank), (second - rank, first - rank)]

    def _rearranged(self, tensor: Tensor, axes: str) -> str:
        self.froms.add("einops:rearrange")
        words = {one: self.random.choice(_WORDS[one]) for one in axes}
        if self.odds(0.3) and tensor.axes[: len(self.batch)] == axes[: len(self.batch)] and self.batch:
            old, new = tensor.axes[len(self.batch) :], axes[len(self.batch) :]
            return f"rearrange({tensor.text}, '... {self._spaced(old, words)} -> ... {self._spaced(new, words)}')"
        return f"rearrange({tensor.text}, '{self._spaced(tensor.axes, words)} -> {self._spaced(axes, words)}')"

    @staticmethod
    def _spaced(axes: str, words: dict[str, str]) -> str:
        return " ".join(words[one] for one in axes)

    # -- products

    def product(self, left: Tensor, right: Tensor, axes: str) -> Tensor:
        """The sum over the axis that is in both and not in the result, by a matrix product or `einsum`."""
        (inner,) = set(left.axes) & set(right.axes) - set(axes)
        if self.odds(0.3) or left.axes.replace(inner, "") + right.axes.replace(inner, "") == "":
            return self.einsum([left, right], axes)
        batch = axes[:-2]
        first, second = axes[-2], axes[-1]
        if first in right.axes:
            left, right = right, left
        left = self.arranged(left, batch + first + inner)
        right = self.arranged(right, batch + inner + second)
        if self.odds(0.25) and right.text not in self.live and not right.text.isidentifier():
            right = self.bound(right, "kt", "k_t", "key_t", "right")
        ways = [f"{tight(left.text, 2)} @ {tight(right.text, 3)}"] * 3
        ways += [f"torch.matmul({left.text}, {right.text})"] * 2 + [f"{tight(left.text)}.matmul({right.text})"]
        if len(axes) == 3:
            ways += [f"torch.bmm({left.text}, {right.text})"] * 4 + [f"{tight(left.text)}.bmm({right.text})"]
        return Tensor(self.random.choice(ways), axes)

    def einsum(self, operands: Sequence[Tensor], axes: str) -> Tensor:
        self.rank_shown = True
        letters = dict(zip(SIZES, self.random.sample(ascii_lowercase, len(SIZES)), strict=True))
        if self.odds(0.5):
            letters = {"b": "b", "w": "w", "n": "n", "g": "g", "h": "h", "t": "i", "s": "j", "d": "d", "e": "e"}
        space = " " if self.odds(0.5) else ""
        dots = 0
        shared = [one.axes[: len(self.batch)] == self.batch for one in operands]
        if self.batch and all(shared) and axes.startswith(self.batch) and self.odds(0.25):
            dots = len(self.batch)
            self.rank_shown = False
        sides = ["..." * bool(dots) + space + space.join(letters[one] for one in side[dots:])
                 for side in (*(one.axes for one in operands), axes)]  # fmt: skip
        sides = [side.strip() for side in sides]
        written = (", " if space else ",").join(sides[:-1]) + (" -> " if space else "->") + sides[-1]
        if self.odds(0.2):
            self.froms.add("torch:einsum")
            name = "einsum"
        else:
            name = "torch.einsum"
        quote = self.pick("'", '"')
        return Tensor(f"{name}({quote}{written}{quote}, {', '.join(one.text for one in operands)})", axes)

    # -- operands

    def operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, as arguments or projected from an input."""
        if self.is_class and self.batch in ("bh", "n", "b") and self.odds(0.5):
            return self.projected()
        spoken = self.random.choice([("q", "k", "v"), ("query", "key", "value"), ("q", "k", "v"), ("Q", "K", "V")])
        orders: list[list[str]] = [[self.batch + "td", self.batch + "sd", self.batch + "se"]]
        if len(self.batch) == 2:
            outer, inner = self.batch
            orders.append([f"{outer}t{inner}d", f"{outer}s{inner}d", f"{outer}s{inner}e"])
        if self.batch:
            orders.append([self.batch + "td", self.batch + "ds", self.batch + "es"])
            orders.append([self.batch + "td", self.batch + "ds", self.batch + "se"])
        chosen = orders[0] if self.odds(0.5) else self.random.choice(orders)
        if self.odds(0.1):
            self.sizes["e"] = 6
        grouped = self.batch == "bh" and chosen[1] in ("bhsd", "bshd") and self.odds(0.2)
        if grouped:
            chosen = [chosen[0], chosen[1].replace("h", "g"), chosen[2].replace("h", "g")]
        tensors = [self.tensor(axes, name) for axes, name in zip(chosen, spoken, strict=True)]
        if grouped:
            tensors = [tensors[0], *self.repeated(tensors[1], tensors[2])]
        if self.odds(0.25) and len(self.batch) == 2:
            core = [self.batch + "td", self.batch + "sd", self.batch + "se"]
            tensors = [self._prepared(one, axes) for one, axes in zip(tensors, core, strict=True)]
        q, k, v = tensors
        return q, k, v

    def _prepared(self, tensor: Tensor, axes: str) -> Tensor:
        """In the order that a matrix product wants, under the same name."""
        made = self.arranged(tensor, axes)
        if made.text != tensor.text:
            self.put(f"{tensor.text} = {made.text}")
            self.live[tensor.text] = axes
        return Tensor(tensor.text, axes)

    def repeated(self, *tensors: Tensor) -> list[Tensor]:
        """Each head of keys and values as often as queries share it."""
        way = self.random.randrange(5)
        many = "self.groups" if self.is_class and self.odds(0.4) else "2"
        if many != "2":
            self.init.append("self.groups = 2")
        made: list[Tensor] = []
        for one in tensors:
            at, axes = one.at("g"), one.axes.replace("g", "h")
            if way == 0:
                text = f"{one.text}.repeat_interleave({many}, dim={at})"
            elif way == 1:
                text = f"torch.repeat_interleave({one.text}, repeats={many}, dim={at - 4})"
            elif way == 2:
                shape = self.fresh("shape", "sizes", "kv_shape")
                names = [f"{letter}{len(self.used)}" for letter in one.axes]
                self.put(f"{', '.join(names)} = {one.text}.shape")
                shape = [*names[: at + 1], many, *names[at + 1 :]]
                flat = [*names[:at], f"{names[at]} * {many}", *names[at + 1 :]]
                index = ", ".join([":"] * (at + 1) + ["None"] + [":"] * (3 - at))
                text = f"{one.text}[{index}].expand({', '.join(shape)}).reshape({', '.join(flat)})"
            elif way == 3:
                self.froms.add("einops:repeat")
                old = " ".join(one.axes)
                text = f"repeat({one.text}, '{old} -> {old.replace('g', '(g r)')}', r={many})"
            else:
                if at != 1:
                    text = f"{one.text}.repeat_interleave({many}, {at})"
                else:
                    self._repeat_kv()
                    text = f"repeat_kv({one.text}, {many})"
            self.put(f"{one.text} = {text}")
            self.live[one.text] = axes
            made.append(Tensor(one.text, axes))
        return made

    def _repeat_kv(self) -> None:
        if not any("def repeat_kv" in one for one in self.head):
            self.head.append(
                "def repeat_kv(x, n_rep):\n"
                "    bs, heads, length, dim = x.shape\n"
                "    if n_rep == 1:\n"
                "        return x\n"
                "    x = x[:, :, None, :, :].expand(bs, heads, n_rep, length, dim)\n"
                "    return x.reshape(bs, heads * n_rep, length, dim)\n"
            )

    def projected(self) -> tuple[Tensor, Tensor, Tensor]:
        """Linear layers, and their outputs cut into heads."""
        self.rank_shown = True
        heads = "self.heads" if self.odds(0.6) else "4"
        if self.batch == "b":
            width = 8
        else:
            width = 32
            self.sizes["n"] = 8
        self.init.append("self.heads = 4")
        same = self.sizes["s"] == self.sizes["t"]
        self.argument("x", torch.randn(2, self.sizes["t"], 16, dtype=torch.float64), grad=True)
        other = "x"
        if not same:
            other = self.argument("context", torch.randn(2, self.sizes["s"], 16, dtype=torch.float64), grad=True)
        bias = "" if self.odds(0.5) else ", bias=False"
        self.put("B, T, _ = x.shape")
        self.used |= {"B", "T"}
        self.live["x"] = "bt_"
        self.live[other] = self.live.get(other, "bs_") if not same else "bt_"
        split = self._heads(heads)
        names = ("q", "k", "v")
        self.used |= set(names)
        if same and self.odds(0.4):
            self.init.append(f"self.to_qkv = nn.Linear(16, {3 * width}{bias})")
            self.put(
                self.pick(
                    "q, k, v = self.to_qkv(x).chunk(3, dim=-1)", f"q, k, v = self.to_qkv(x).split({width}, dim=2)"
                )
            )
            if split:
                cut = split("t")
                self.put(
                    self.pick(
                        f"q, k, v = map(lambda t: {cut}, (q, k, v))",
                        f"q, k, v = ({cut} for t in (q, k, v))",
                        f"q, k, v = [{cut} for t in (q, k, v)]",
                    )
                )
        else:
            layers = self.random.choice(
                [("to_q", "to_k", "to_v"), ("q_proj", "k_proj", "v_proj"), ("query", "key", "value")]
            )
            for layer, name, source in zip(layers, names, ("x", other, other), strict=True):
                self.init.append(f"self.{layer} = nn.Linear(16, {width}{bias})")
                call = f"self.{layer}({source})"
                if split and self.odds(0.5):
                    self.put(f"{name} = {call}")
                    call = name
                self.put(f"{name} = {split(call) if split else call}")
        axes = {"b": "b{}", "n": "n{}", "bh": self.layout}[self.batch] if self.batch != "bh" else self.layout
        made: list[Tensor] = []
        for name, own in zip(names, ("td", "sd", "se"), strict=True):
            layout = axes.format(own) if "{}" in axes else axes.replace("t", own[0]).replace("d", own[1])
            self.live[name] = layout
            made.append(Tensor(name, layout))
        q, k, v = made
        return q, k, v

    layout: str = "bhtd"

    def _heads(self, heads: str) -> Callable[[str], str] | None:
        """How a projection is cut into heads; None where there is one."""
        if self.batch == "b":
            return None
        if self.batch == "n":
            way = self.random.randrange(2)
            if way:
                self.froms.add("einops:rearrange")
                return lambda one: f"rearrange({one}, 'b n (h d) -> (b h) n d', h={heads})"
            return lambda one: f"{one}.view(B, -1, {heads}, 8).transpose(1, 2).reshape(B * {heads}, -1, 8)"
        if self.odds(0.25):
            self.layout = "bthd"
            return lambda one: f"{one}.view(B, -1, {heads}, 8)"
        way = self.random.randrange(5)
        if way == 0:
            self.froms.add("einops:rearrange")
            return lambda one: f"rearrange({one}, 'b n (h d) -> b h n d', h={heads})"
        return [
            lambda one: f"{one}.view(B, -1, {heads}, 8).transpose(1, 2)",
            lambda one: f"{one}.reshape(B, -1, {heads}, 8).permute(0, 2, 1, 3)",
            lambda one: f"{one}.unflatten(-1, ({heads}, 8)).transpose(1, 2)",
            lambda one: f"{one}.view(B, -1, {heads}, 32 // {heads}).transpose(1, 2).contiguous()",
        ][way - 1]

    # -- scale

    def width(self) -> str:
        """The width of a head, as code has it."""
        if self.is_class and self.odds(0.3):
            self.init.append("self.head_dim = 8")
            return "self.head_dim"
        return "8" if self.odds(0.15) else self.size("d")

    def factor(self, power: float = -0.5) -> tuple[str, str]:
        """An operator and a number behind it: the width to a power, or any other number."""
        kind = self.random.randrange(8)
        if kind == 0:
            return "*", self.pick("0.25", "0.35355339059327373", "1.5", "24 ** -0.5", "(1 / 3)")
        if kind == 1:
            return "/", self.pick("2.0", "8 ** 0.5", "math.sqrt(24)", "3")
        if self.is_class and kind <= 3:
            if self.odds(0.3):
                self.attribute("root", "math.sqrt(8)", "8 ** 0.5")
                return "/", "self.root"
            self.attribute("scale", "8 ** -0.5", "1 / math.sqrt(8)", "8 ** (-0.5)", "0.3")
            return "*", "self.scale"
        width = self.width()
        if power == -0.25:
            return "*", self.pick(f"{tight(width)} ** -0.25", f"(1 / math.sqrt(math.sqrt({width})))")
        if kind == 4:
            return "*", self.pick(f"{width} ** -0.5", f"({width} ** -0.5)", f"(1.0 / math.sqrt({width}))")
        if kind == 5 and self.odds(0.3):
            return "/", width  # as muP has it
        return "/", self.pick(f"math.sqrt({width})", f"math.sqrt({width})", f"{width} ** 0.5", f"({width} ** 0.5)")

    def scaled(self, tensor: Tensor, *names: str, power: float = -0.5) -> Tensor:
        operator, number = self.factor(power)
        if number.isidentifier() and number in self.live:
            raise AssertionError(number)
        text = f"{tight(tensor.text, 2)} {operator} {tight(number, 3)}"
        if operator == "*" and self.odds(0.2):
            text = f"{tight(number, 2)} * {tight(tensor.text, 3)}"
        elif self.odds(0.06):
            name = "mul" if operator == "*" else "div"
            text = f"torch.{name}({tensor.text}, {number})"
        if self.odds(0.15) and names and (name := tensor.text).isidentifier() and name not in self.live:
            self.put(f"{name} {operator}= {number}")
            return tensor
        if self.odds(0.2) and not number[0].isdigit():
            name = self.fresh("scale", "factor", "norm_fact", "coef")
            self.put(f"{name} = {number}")
            text = f"{tight(tensor.text, 2)} {operator} {name}"
        return self.step(tensor, text, *names)

    def learned(self, tensor: Tensor) -> Tensor:
        """Scores times a parameter, one for all or one for each head."""
        heads = "h" in tensor.axes and self.odds(0.6)
        shape = f"({self.sizes['h']}, 1, 1)" if heads else self.pick("1", "()")
        if heads and tensor.axes != "bhts":
            shape = str(tuple(self.sizes["h"] if one == "h" else 1 for one in tensor.axes))
        made = f"torch.full({shape}, 0.4)" if shape != "1" else "torch.ones(1)"
        self.init.append(f"self.temperature = nn.Parameter({made})")
        value = self.pick(
            "self.temperature",
            "self.temperature",
            "self.temperature.exp()",
            "torch.clamp(self.temperature, max=2.0).exp()",
        )
        operator = self.pick("*", "*", "/") if value == "self.temperature" else "*"
        return self.step(tensor, f"{tight(tensor.text, 2)} {operator} {value}", *_SCORES)

    # -- masks

    def mask_axes(self, scores: str, *, small: bool = False) -> str:
        options = ["ts", scores.replace("h", "") or "ts"]
        if "b" in scores:
            options += ["bs", "bs", "bts"]
        if "n" in scores:
            options += ["nts", "ns"]
        if not small:
            options += [scores]
        axes = self.random.choice(options)
        return "".join(one for one in scores if one in axes)

    def broadcast(self, text: str, axes: str, scores: str) -> str:
        """`text` with axes of length one where the scores have more."""
        shown = [one if one in axes else "" for one in scores]
        while shown and not shown[0] and self.odds(0.6):
            shown.pop(0)
        missing = [at for at, one in enumerate(shown) if not one]
        if not missing:
            return text
        way = self.random.randrange(4)
        if way == 0:
            for at in missing:
                text = f"{tight(text)}.unsqueeze({at})"
            return text
        if way == 1:
            self.froms.add("einops:rearrange")
            return f"rearrange({text}, '{' '.join(axes)} -> {' '.join(one or '1' for one in shown)}')"
        if way == 2 and shown[-1] and len(shown) > 2 and missing == [1]:
            return f"{tight(text)}[:, None]"
        return f"{tight(text)}[{', '.join(':' if one else 'None' for one in shown)}]"

    def keep_mask(self, scores: str) -> tuple[str, str, str]:
        """An argument that says which keys count, its kind (`keep`, `drop`, `int`, `float`), and its axes."""
        axes = self.mask_axes(scores)
        if "s" not in axes:
            axes = "ts"
        kind = self.pick("keep", "drop", "int", "float")
        keep = torch.rand([self.sizes[one] for one in axes]) > 0.4
        keep[..., 0] = True
        blind = keep.clone()
        if "t" in axes:
            blind[..., 1, :] = False
        else:
            blind[..., :] = False
        name = self.fresh("mask", "attn_mask", "key_mask", "padding_mask", "m")
        made = {
            "keep": lambda one: one, "drop": lambda one: ~one, "int": lambda one: one.long(),
            "float": lambda one: one.double(),
        }[kind]  # fmt: skip
        self.argument(name, made(keep))
        self.blind[name] = made(blind)
        return name, kind, axes

    def dropped(self, text: str, kind: str) -> str:
        """The condition under which a score does not count."""
        one = tight(text)
        ways = {
            "keep": [f"~{one}", f"~{one}", f"{one}.logical_not()", f"torch.logical_not({text})", f"{one} == 0", f"{one}.eq(0)",
                     f"{one} == False"],
            "drop": [text, text, f"{one} != 0", f"{one}.bool()"],
            "int": [f"{one} == 0", f"{one} == 0", f"{one}.eq(0)", f"(1 - {one}).bool()", f"~{one}.bool()", f"{one} < 1",
                    f"{one} != 1", f"torch.eq({text}, 0)"],
            "float": [f"{one} == 0", f"{one} < 0.5", f"(1.0 - {one}).bool()", f"{one} == 0.0", f"~({one} > 0)"],
        }[kind]  # fmt: skip
        return self.random.choice(ways)

    def kept(self, text: str, kind: str) -> str:
        one = tight(text)
        ways = {
            "keep": [text, text, f"{one} != 0"],
            "drop": [f"~{one}", f"{one}.logical_not()", f"{one} == 0"],
            "int": [f"{one} != 0", f"{one} == 1", f"{one}.bool()", f"{one} > 0", f"{one}.to(torch.bool)"],
            "float": [f"{one} != 0", f"{one} > 0.5", f"{one}.bool()"],
        }[kind]
        return self.random.choice(ways)

    def lowest(self, scores: Tensor) -> str:
        """What a score that does not count becomes."""
        ways = ["float('-inf')", 'float("-inf")', "-float('inf')", "-math.inf", "-torch.inf", "-1e9", "-1e9", "-1e10",
                "-1e4", "-10000.0", "-1e30", "torch.finfo(torch.float32).min"]  # fmt: skip
        if scores.text.isidentifier():
            ways += [f"torch.finfo({scores.text}.dtype).min", f"-torch.finfo({scores.text}.dtype).max"] * 2
        if self.scaled_behind:
            ways = [one for one in ways if one not in ("-1e4", "-10000.0")]  # the scale may bring it near the others
        text = self.random.choice(ways)
        if self.odds(0.15):
            name = self.fresh("lowest", "max_neg_value", "fill", "minus")
            self.put(f"{name} = {text}")
            return name
        return text

    def filled(self, scores: Tensor, dropped: Callable[[], str], kept: Callable[[], str]) -> Tensor:
        """Scores with the lowest number where they do not count."""
        way = self.random.randrange(7)
        if way <= 3 or self.depth:
            condition = self.held(dropped(), "blocked", "hidden", "is_pad", "drop_mask")
            value = self.lowest(scores)
            if way == 0 and scores.text.isidentifier() and scores.text not in self.live:
                self.put(f"{scores.text}.masked_fill_({condition}, {value})")
                return scores
            if way == 1:
                return self.step(scores, f"torch.masked_fill({scores.text}, {condition}, {value})", *_SCORES)
            return self.step(scores, f"{tight(scores.text)}.masked_fill({condition}, {value})", *_SCORES)
        value = self.lowest(scores)
        if way == 4:
            condition = self.held(kept(), "visible", "keep_mask", "allowed")
            return self.step(scores, f"torch.where({condition}, {scores.text}, {value})", *_SCORES)
        if way == 5:
            condition = self.held(dropped(), "blocked", "hidden", "is_pad", "drop_mask")
            return self.step(scores, f"torch.where({condition}, {value}, {scores.text})", *_SCORES)
        scores = self.bound(scores, *_SCORES)
        condition = self.held(kept(), "visible", "keep_mask", "allowed")
        made = self.pick(
            f"torch.full_like({scores.text}, {value})",
            f"torch.tensor({value}, dtype={scores.text}.dtype, device={scores.text}.device)",
            f"torch.full([], {value}, dtype={scores.text}.dtype, device={scores.text}.device)",
            value,
        )
        if self.odds(0.4):
            return self.step(scores, f"{scores.text}.where({condition}, {made})", *_SCORES)
        return self.step(scores, f"torch.where({condition}, {scores.text}, {made})", *_SCORES)

    def held(self, text: str, *names: str) -> str:
        if not text.isidentifier() and self.odds(0.25):
            name = self.fresh(*names)
            self.put(f"{name} = {text}")
            return name
        return text

    def padded(self, scores: Tensor) -> Tensor:
        """A mask that the caller gives, boolean or of zeros and ones."""
        name, kind, axes = self.keep_mask(scores.axes)
        optional = self.odds(0.3)
        if optional:
            return self.when_given(scores, name, lambda inner: self._pad(inner, name, kind, axes))
        return self._pad(scores, name, kind, axes)

    def _pad(self, scores: Tensor, name: str, kind: str, axes: str) -> Tensor:
        text = self.broadcast(name, axes, scores.axes)
        if text != name and self.odds(0.35):
            held = name if self.odds(0.6) else self.fresh("wide", "mask4", "full_mask")
            self.put(f"{held} = {text}")
            text = held
        if self.odds(0.25) and kind != "drop":
            return self.added(scores, self._penalty(text, kind))
        return self.filled(scores, lambda: self.dropped(text, kind), lambda: self.kept(text, kind))

    def _penalty(self, text: str, kind: str) -> str:
        """What is added to scores: nothing, or a lowest number."""
        self.tolerance = max(self.tolerance, 1e-9)
        one = tight(text)
        dtype = f"{next(iter(self.live))}.dtype"
        value = self.pick("-1e9", "-10000.0", "-1e4", "torch.finfo(torch.float32).min")
        wide = self.pick(value, f"torch.finfo({dtype}).min")
        if kind == "keep":
            return self.pick(
                f"(1.0 - {one}.to({dtype})) * {wide}",
                f"(1.0 - {one}.float()) * {value}",
                f"torch.zeros_like({text}, dtype={dtype}).masked_fill(~{one}, float('-inf'))",
                f"torch.where({text}, 0.0, float('-inf'))",
                f"(~{one}).to({dtype}) * {wide}",
            )
        return self.pick(
            f"(1.0 - {one}) * {value}",
            f"(1 - {one}) * {value}",
            f"(1.0 - {one}.to(dtype={dtype})) * {wide}",
            f"{one}.float().masked_fill({one} == 0, float('-inf')).masked_fill({one} == 1, 0.0)",
        )

    def when_given(self, scores: Tensor, name: str, make: Callable[[Tensor], Tensor]) -> Tensor:
        """`make` under `if name is not None`, with the name's default of None."""
        scores = self.bound(scores, *_SCORES)
        self.optional.append(name)
        self.put(f"if {name} is not None:")
        self.depth += 1
        before = set(self.used)
        made = make(scores)
        if made.text != scores.text:
            self.maybe("another name within the branch")
            self.put(f"{scores.text} = {made.text}")
        self.used = before
        self.depth -= 1
        return scores

    def added(self, scores: Tensor, text: str) -> Tensor:
        self.additive = True
        text = self.held(text, "bias", "penalty", "additive")
        way = self.random.randrange(8)
        if way <= 3:
            return self.step(scores, f"{tight(scores.text, 1)} + {tight(text, 2)}", *_SCORES)
        if way == 4:
            return self.step(scores, f"{tight(text, 1)} + {tight(scores.text, 2)}", *_SCORES)
        if way == 5 and scores.text.isidentifier():
            self.put(f"{scores.text} += {text}")
            return scores
        if way == 6:
            return self.step(scores, f"torch.add({scores.text}, {text})", *_SCORES)
        return self.step(scores, f"{tight(scores.text, 1)} + {tight(text, 2)}", *_SCORES)

    def biased(self, scores: Tensor) -> Tensor:
        """Numbers added to scores: an argument, slopes times distances, a table of relative positions."""
        way = self.random.randrange(4 if self.is_class else 2)
        if way == 0 or ("h" not in scores.axes and way < 3):
            axes = self.mask_axes(scores.axes)
            name = self.fresh("bias", "mask", "attn_bias", "rel_pos")
            self.argument(
                name, torch.randn([self.sizes[one] for one in axes], dtype=torch.float64), grad=self.odds(0.5)
            )
            if self.odds(0.25):
                return self.when_given(
                    scores, name, lambda inner: self.added(inner, self.broadcast(name, axes, inner.axes))
                )
            return self.added(scores, self.broadcast(name, axes, scores.axes))
        rows, columns = self.size("t"), self.size("s")
        if self.odds(0.15):
            return self._odd_bias(scores, rows, columns)
        if way == 1:
            self.tolerance = max(self.tolerance, 1e-6)
            distance = f"(torch.arange({columns})[None, :] - torch.arange({rows})[:, None])"
            if self.odds(0.5):
                distance = f"-{distance}.abs()"
            distance = self.held(distance, "distance", "relative")
            slopes = "torch.tensor([2.0 ** -(i + 1) for i in range(4)])"
            if self.is_class and self.odds(0.6):
                self.init.append(f"self.register_buffer('slopes', {slopes}.view(4, 1, 1), persistent=False)")
                slopes = "self.slopes"
            else:
                slopes = f"{self.held(slopes, 'slopes', 'm_h')}[:, None, None]"
            return self.added(scores, f"{slopes} * {tight(distance, 3)}")
        most = max(self.sizes["t"], self.sizes["s"])
        if way == 2:
            size = 2 * most - 1
            self.init.append(f"self.table = nn.Parameter(torch.randn({size}, {self.sizes['h']}))")
            self.init.append(
                f"self.register_buffer('index', torch.arange({most})[:, None] - torch.arange({most})[None] + {most - 1})"
            )
            index = f"self.index[:{rows}, :{columns}]"
            text = f"self.table[{index}].permute(2, 0, 1)"
            return self.added(scores, self.pick(text, f"{text}.unsqueeze(0)", f"{text}.contiguous()"))
        self.init.append(f"self.rel = nn.Parameter(torch.randn(1, 1, {most}, {most}))")
        if len(scores.axes) != 4:
            return self.added(scores, f"self.rel[0, 0, :{rows}, :{columns}]")
        return self.added(scores, f"self.rel[:, :, :{rows}, :{columns}]")

    def _odd_bias(self, scores: Tensor, rows: str, columns: str) -> Tensor:
        """Numbers of another dtype or with fewer axes than `attn_mask` takes, or taken away."""
        self.maybe("an odd bias")
        self.tolerance = max(self.tolerance, 1e-6)
        distance = f"(torch.arange({columns})[None, :] - torch.arange({rows})[:, None])"
        operand = next(iter(self.live))
        flags = torch.rand(self.sizes["t"], self.sizes["s"]) > 0.5
        name = self.argument(self.fresh("near", "same_word"), flags if self.odds(0.5) else flags.long())
        text = self.pick(
            f"{name}.to({operand}.dtype)", f"{name}.float()", f"({name} == 0)", f"({name} == 0).float() * -2.0", distance,
            f"{distance}.abs()", f"torch.arange({columns}) * 0.1", f"torch.arange({columns})", "1.0",
            f"torch.ones({rows}, {columns}, dtype=torch.bool).tril()", f"torch.rand({rows}, {columns}).mul(0)",
        )  # fmt: skip
        operator = (
            "+" if "bool" in text or text.endswith("== 0)") else self.pick("+", "-")
        )  # there is no minus of booleans
        text = self.held(text, "bias", "extra")
        return self.step(scores, f"{tight(scores.text, 1)} {operator} {tight(text, 2)}", *_SCORES)

    def bound_anew(self, scores: Tensor) -> Tensor:
        """Another value for a name that the scores were made of."""
        scores = self.bound(scores, *_SCORES)
        names = [one for one in self.arguments if one not in self.optional and one != scores.text]
        name = self.random.choice(names)
        self.maybe(f"{name} is bound anew")
        value = self.arguments[name]
        self.put(f"{name} = {name} + 1.0" if value.is_floating_point() else f"{name} = {name} == 0")
        return scores

    def causal(self, scores: Tensor) -> Tensor:
        """Each query sees the keys up to its own place."""
        rows, columns = self.size("t"), self.size("s")
        if scores.text.isidentifier() and self.odds(0.15):
            self.put(f"i, j = {scores.text}.shape[-2:]")
            rows, columns = "i", "j"
        square = self.sizes["t"] == self.sizes["s"]
        device = self.pick("", "", f", device={next(iter(self.live))}.device")
        ones = self.pick(f"torch.ones({rows}, {columns}{device})", f"torch.ones(({rows}, {columns}){device})")
        flags = f"torch.ones({rows}, {columns}, dtype=torch.bool{device})"
        back = "" if square and self.odds(0.6) else f"{columns} - {rows}"
        comma = f", {back}" if back else ""
        above = f"{back} + 1" if back else "1"
        named = f", diagonal={back}" if back else ""
        kept = [
            f"torch.tril({ones}{comma})",
            f"{ones}.tril({back})",
            f"torch.tril({ones}{named}).bool()",
            f"{flags}.tril({back})",
        ]
        hidden = [f"torch.triu({ones}, diagonal={above})", f"{ones}.triu({above}).bool()", f"{flags}.triu({above})"]
        dense = [f"torch.triu(torch.full(({rows}, {columns}), float('-inf'){device}), diagonal={above})",
                 f"torch.full(({rows}, {columns}), float('-inf'){device}).triu({above})",
                 f"torch.zeros({rows}, {columns}{device}).masked_fill({flags}.triu({above}), float('-inf'))"]  # fmt: skip
        way = self.random.randrange(6)
        if way == 0:
            self.tolerance = max(self.tolerance, 1e-9)
            text = self.random.choice(dense)
            operand = next(iter(self.live))
            return self.added(scores, text + self.pick("", f".to({operand}.dtype)", f".type_as({operand})"))
        if way == 1 and not back:
            places = self.fresh("places", "r", "position")
            self.put(f"{places} = torch.arange({rows}{device})")
            smaller = f"{places}[:, None] < {places}[None, :]"
            larger = f"{places}[None, :] <= {places}[:, None]"
            return self.filled(scores, lambda: smaller, lambda: larger)
        if way >= 4 and self.is_class and not back:
            return self._from_buffer(scores, rows)
        if self.odds(0.5):
            text = self.held(self.random.choice(kept), "causal_mask", "tril", "visible")
            if "bool" in text or (text.isidentifier() and self.lines and "bool" in self.lines[-1]):
                return self.filled(scores, lambda: self.dropped(text, "keep"), lambda: self.kept(text, "keep"))
            return self.filled(scores, lambda: f"{text} == 0", lambda: f"{text} != 0")
        text = self.held(self.random.choice(hidden), "future", "causal_mask", "upper")
        if "bool" in text or (text.isidentifier() and self.lines and "bool" in self.lines[-1]):
            return self.filled(scores, lambda: text, lambda: f"~{tight(text)}")
        return self.filled(scores, lambda: self.pick(f"{text}.bool()", f"{text} == 1"), lambda: f"{text} == 0")

    def _from_buffer(self, scores: Tensor, rows: str) -> Tensor:
        name = self.pick("causal", "tril", "causal_mask")
        persistent = self.pick("", ", persistent=False")
        if self.odds(0.4):
            made = self.pick(
                "torch.triu(torch.ones(16, 16), diagonal=1)", "torch.triu(torch.ones((16, 16), dtype=torch.bool), 1)"
            )
            self.init.append(f"self.register_buffer('{name}', {made}{persistent})")
            text = self.pick(f"self.{name}.bool()[:{rows}, :{rows}]", f"self.{name}[:{rows}, :{rows}].bool()")
            return self.filled(scores, lambda: text, lambda: f"~{text}")
        made = self.pick(
            "torch.tril(torch.ones(16, 16))", "torch.ones(16, 16).tril()", "torch.ones(16, 16, dtype=torch.bool).tril()"
        )
        index = f"[:{rows}, :{rows}]"
        if len(scores.axes) == 4 and self.odds(0.5):
            made += ".view(1, 1, 16, 16)"
            index = f"[:, :, :{rows}, :{rows}]"
        self.init.append(f"self.register_buffer('{name}', {made}{persistent})")
        text = f"self.{name}{index}"
        return self.filled(scores, lambda: f"{text} == 0", lambda: f"{text} != 0")

    # -- the middle

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        axes = self.batch + "ts"
        if self.batch and not self.miss and self.odds(0.06):
            axes = self.random.choice(["".join(self.random.sample(axes, len(axes))), self.batch + "st"])
            if axes != self.batch + "ts":
                self.maybe("scores in another order")
                return self.einsum(self.random.sample([q, k], 2), axes)
        if self.batch == "n" and self.odds(0.15):
            return self._added_product(q, k)
        if self.odds(0.3):
            return self.step(q, self.einsum(self.random.sample([q, k], 2), axes).text, *_SCORES, axes=axes)
        made = self.product(q, k, axes)
        return self.step(Tensor("", axes), made.text, *_SCORES, axes=axes)

    def _added_product(self, q: Tensor, k: Tensor) -> Tensor:
        """As BLOOM and diffusers have it."""
        self.rank_shown = True
        left, right = self.arranged(q, "ntd").text, self.arranged(k, "nds").text
        operator, number = self.factor()
        alpha = number if operator == "*" else f"1 / {tight(number, 3)}"
        if self.odds(0.5):
            name = self.fresh("bias", "alibi", "extra")
            value = torch.randn(self.sizes["n"], self.sizes["t"], self.sizes["s"], dtype=torch.float64)
            self.argument(name, value, grad=self.odds(0.5))
            beta = self.pick(", beta=1", "", ", beta=1.0")
            text = f"torch.baddbmm({name}, {left}, {right}{beta}, alpha={alpha})"
            if self.odds(0.3):
                text = f"{name}.baddbmm({left}, {right}{beta}, alpha={alpha})"
        else:
            empty = self.fresh("empty", "out", "start")
            self.put(
                f"{empty} = torch.empty({self.size('n')}, {self.size('t')}, {self.size('s')}, dtype={next(iter(self.live))}.dtype)"
            )
            text = f"torch.baddbmm({empty}, {left}, {right}, beta=0, alpha={alpha})"
        return self.step(Tensor("", "nts"), text, *_SCORES, axes="nts")

    def softmax(self, scores: Tensor) -> Tensor:
        if self.miss in _SOFTMAXES:
            return _SOFTMAXES[self.miss](self, self.bound(scores, *_SCORES))
        at, rank = scores.at("s"), len(scores.axes)
        dim = at - rank
        if (self.odds(0.15) or (self.odds(0.4) and self.rank_shown)) and not self.miss:
            dim = at
            if not self.rank_shown:
                self.maybe("the rank is not shown, and the axis counted from the left")
        wide = self.odds(0.15)
        cast = f", dtype={self.pick('torch.float32', 'torch.float')}" if wide else ""
        if wide:
            self.tolerance = max(self.tolerance, 3e-5)
        way = self.random.randrange(12)
        text = scores.text
        if way == 0 and not cast:
            at_most = self.pick(
                "amax({0}, keepdim=True)", "max(dim={0}, keepdim=True).values", "max({0}, keepdim=True)[0]"
            )
            scores = self.bound(scores, *_SCORES)
            power = self.fresh("e", "exped", "numerator")
            shifted = f"{scores.text} - {scores.text}.{at_most.format(dim)}"
            self.put(f"{power} = {self.pick(f'torch.exp({shifted})', f'({shifted}).exp()')}")
            total = (
                f"{power}.sum({dim}, keepdim=True)"
                if self.odds(0.5)
                else f"torch.sum({power}, dim={dim}, keepdim=True)"
            )
            return self.step(scores, f"{power} / {total}", *_WEIGHTS)
        if way == 1 and not cast:
            made = f"{self.pick(f'F.log_softmax({text}, dim={dim})', f'{tight(text)}.log_softmax({dim})')}.exp()"
        elif way == 2 and not cast and self.is_class:
            name = self.pick("attend", "softmax", "sm")
            self.init.append(f"self.{name} = nn.Softmax(dim={dim})")
            made = f"self.{name}({text})"
        elif way == 3 and not cast:
            made = f"nn.Softmax(dim={dim})({text})"
        elif way == 4 and wide:
            made = f"F.softmax({tight(text)}.float(), dim={dim})"
        elif way == 5 and wide:
            made = f"torch.softmax({tight(text)}.to(torch.float32), {dim})"
        elif way <= 7:
            made = f"F.softmax({text}, dim={dim}{cast})"
        elif way <= 9:
            made = f"torch.softmax({text}, {self.pick('dim=', '') if not cast else 'dim='}{dim}{cast})"
        else:
            made = f"{tight(text)}.softmax({self.pick('dim=', '') if not cast else 'dim='}{dim}{cast})"
        if wide and "self.temperature" in "".join(self.lines) + scores.text:
            self.maybe("a parameter of another dtype")
        if wide:
            other = next(iter(self.live))
            made += self.pick(f".to({other}.dtype)", f".type_as({other})", f".to({other})", f".to(dtype={other}.dtype)")
        return self.step(scores, made, *_WEIGHTS)

    def dropped_out(self, weights: Tensor) -> Tensor:
        if not self.is_class or self.odds(0.6):
            return weights
        share = self.pick("0.1", "0.3", "0.0")
        self.dropout = self.dropout or share != "0.0"
        if self.odds(0.6):
            name = self.pick("drop", "dropout", "attn_drop")
            self.init.append(f"self.{name} = nn.Dropout({self.pick('', 'p=')}{share})")
            return self.step(weights, f"self.{name}({weights.text})", *_WEIGHTS)
        self.attribute("p", share)
        text = self.pick(
            f"F.dropout({weights.text}, p=self.p, training=self.training)",
            f"F.dropout({weights.text}, self.p, self.training)",
            f"nn.functional.dropout({weights.text}, {share}, training=self.training)",
        )
        return self.step(weights, text, *_WEIGHTS)

    def weighted(self, weights: Tensor, v: Tensor) -> Tensor:
        if self.miss in _PRODUCTS:
            return _PRODUCTS[self.miss](self, weights, v)
        axes = self.batch + "te"
        if weights.axes == self.batch + "ts" and self.batch and self.odds(0.15):
            # As in the blocks of U-Nets: the values with their channels first, and the weights turned.
            self.from_right = not self.rank_shown
            made = self.product(v, weights, self.batch + "et")
            self.from_right = False
            return made
        if self.odds(0.3) or weights.axes != self.batch + "ts":
            if len(self.batch) == 2 and self.odds(0.5):
                axes = f"{self.batch[0]}t{self.batch[1]}e"
            return self.einsum(self.random.sample([weights, v], 2), axes)
        return self.product(weights, v, axes)

    def result(self, y: Tensor) -> None:
        multiplied = "@" in y.text or "mul(" in y.text
        if multiplied and "einsum" not in y.text and y.axes == self.batch + "te" and self.batch and self.odds(0.12):
            # A matrix product is contiguous; the fused call's result lies as its queries do.
            self.maybe("a view behind")
            y = self.bound(y, *_OUTPUTS)
            self.put(
                f"return {y.text}.view({self.pick('-1', '-1, 5, ' + str(self.sizes['e']), '-1, ' + str(self.sizes['e']))})"
            )
            return
        if self.is_class and "x" in self.arguments:
            self._put_together(y)
            return
        if self.odds(0.4) and len(self.batch) == 2:
            axes = f"{self.batch[0]}t{self.batch[1]}e"
            if self.odds(0.5):
                y = self.bound(y, *_OUTPUTS)
            y = self.arranged(y, axes)
            text = tight(y.text) + self.pick("", ".contiguous()", ".flatten(2)", ".reshape(2, 5, -1)")
        else:
            text = y.text
        if self.odds(0.4):
            text = self.bound(Tensor(text, ""), *_OUTPUTS).text
        self.put(f"return {text}")

    def _put_together(self, y: Tensor) -> None:
        if self.odds(0.6):
            y = self.bound(y, *_OUTPUTS)
        width = 32
        if self.batch == "bh":
            y = self.arranged(y, "bthe") if self.odds(0.6) else Tensor(self._rearranged(y, "bthe"), "bthe")
            text = f"{tight(y.text)}{self.pick('.reshape(B, T, -1)', '.contiguous().view(B, T, -1)', '.flatten(2)', '.flatten(-2)')}"
        elif self.batch == "n":
            y = self.arranged(y, "nte")
            text = f"{tight(y.text)}.reshape(B, 4, T, 8).transpose(1, 2).reshape(B, T, 32)"
        else:
            width = 8
            text = self.arranged(y, "bte").text
        if self.odds(0.5):
            text = self.bound(Tensor(text, ""), *_OUTPUTS).text
        if self.odds(0.8):
            self.init.append(f"self.to_out = nn.Linear({width}, 16)")
            text = f"self.to_out({text})"
        self.put(f"return {text}")

    def program(self) -> None:
        self.batch = self.random.choice(["bh"] * 6 + ["n", "n", "b", "", "bwh"]) if not self.miss else "bh"
        self.is_class = self.odds(0.5)
        wants = {"padded": 0.4, "biased": 0.25, "causal": 0.3}
        masks = [kind for kind, share in wants.items() if self.odds(share)]
        if self.odds(0.3):
            masks = []
        if ("causal" in masks and self.odds(0.75)) or self.odds(0.3) or self.miss:
            self.sizes["s"] = self.sizes["t"]
        if self.miss in _STRUCTURES:
            _STRUCTURES[self.miss](self)
            return
        q, k, v = self.operands()
        place = self.pick("scores", "scores", "scores", "q", "q", "k", "both", "none", "twice", "learned", "last")
        if place == "learned" and not self.is_class:
            place = "q"
        if self.miss:
            place = self.pick("scores", "q")
        self.scaled_behind = place == "last"
        if place in ("q", "both", "twice"):
            q = self._scaled_operand(q, -0.25 if place == "both" else -0.5)
        if place in ("k", "both"):
            k = self._scaled_operand(k, -0.25 if place == "both" else -0.5)
        s = self.scores(q, k)
        if place in ("scores", "twice"):
            s = self.scaled(s, *_SCORES)
        if place == "learned":
            s = self.learned(s)
        s = self.near_miss(_EDITS, s)
        if s.axes == self.batch + "ts":
            for mask in self.random.sample(masks, len(masks)):
                s = {"padded": self.padded, "biased": self.biased, "causal": self.causal}[mask](s)
        if place == "last":
            if self.additive:
                self.maybe("the bias is scaled")
            s = self.scaled(s, *_SCORES)
        if self.miss in _KEPT:
            s = self.bound(s, *_SCORES)
        if not self.miss and self.odds(0.06):
            s = self.bound_anew(s)
        a = self.softmax(s)
        a = self.near_miss(_WEIGHT_EDITS, a) if self.odds(0.5) else a
        a = self.dropped_out(a)
        if self.miss in _WEIGHT_EDITS and not self.done:
            a = self.near_miss(_WEIGHT_EDITS, a)
        if self.miss in _KEPT:
            a = self.bound(a, *_WEIGHTS)
            y = self.bound(self.weighted(a, v), *_OUTPUTS)
            self.put(_KEPT[self.miss](self, s.text, a.text, y.text))
            return
        self.result(self.weighted(a, v))

    done: bool = False
    additive: bool = False
    scaled_behind: bool = False
    from_right: bool = False
    """Axes are counted from the right, as the rank is not shown."""

    def _scaled_operand(self, tensor: Tensor, power: float) -> Tensor:
        if self.odds(0.5):
            operator, number = self.factor(power)
            text = f"{tensor.text} {operator} {tight(number, 3)}"
            self.put(f"{tensor.text} = {text}" if self.odds(0.8) else f"{tensor.text} = {tight(number, 2)} * {tensor.text}"
                     if operator == "*" else f"{tensor.text} = torch.div({tensor.text}, {number})")  # fmt: skip
            return tensor
        return self.scaled(tensor, "scaled", "qs", "normed", power=power)

    # -- the file

    def text(self) -> str:
        arguments = [name for name in self.arguments if name not in self.optional] + [
            f"{one}=None" for one in self.optional
        ]
        parts = ["import math\n\nimport torch\nimport torch.nn.functional as F\n"]
        for package in ("einops", "torch"):
            names = sorted(
                {one.split(":")[1] for one in self.froms if one.startswith(package)}
                | ({"nn"} if package == "torch" else set())
            )
            if names:
                parts[0] += f"from {package} import {', '.join(names)}\n"
        body = "\n".join(self.lines)
        unused = [one for one in self.froms if not _reads(body, one.split(":")[1])]
        for one in unused:
            parts[0] = parts[0].replace(f"from einops import {one.split(':')[1]}\n", "")
        parts += [f"\n\n{one}" for one in self.head]
        if not self.is_class:
            return "".join(parts) + f"\n\ndef f({', '.join(arguments)}):\n{_indented(self.lines, 4)}"
        init = list(dict.fromkeys(self.init))
        return (
            "".join(parts)
            + "\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            + _indented(init, 8)
            + f"\n    def forward(self, {', '.join(arguments)}):\n"
            + _indented(self.lines, 8)
        )


def _indented(lines: Sequence[str], by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in lines)


_SCORES = ("scores", "attn", "sim", "dots", "att", "s", "logits", "energy", "attn_scores")
_WEIGHTS = ("weights", "attn", "probs", "a", "p_attn", "attention")
_OUTPUTS = ("out", "y", "o", "context_layer", "z")


# -- near misses: what is done to scores


def _edit(*ways: str) -> Callable[[_Writer, Tensor], Tensor]:
    def made(writer: _Writer, tensor: Tensor) -> Tensor:
        writer.done = True
        bound = writer.bound(tensor, *(_SCORES if writer.expected is not Expected.MAYBE else _WEIGHTS))
        return writer.step(bound, writer.pick(*ways).replace("$", bound.text), *_SCORES)

    return made


def _talk(writer: _Writer, tensor: Tensor) -> Tensor:
    writer.done = True
    if writer.is_class:
        writer.init.append("self.talk = nn.Conv2d(4, 4, 1, bias=False)")
        return writer.step(tensor, f"self.talk({tensor.text})", *_SCORES)
    writer.argument("mix", torch.randn(4, 4, dtype=torch.float64), grad=True)
    return writer.step(tensor, f"torch.einsum('hg,bgij->bhij', mix, {tensor.text})", *_SCORES)


def _opaque(writer: _Writer, tensor: Tensor) -> Tensor:
    writer.done = True
    writer.head.append("def adjusted(scores):\n    return scores - 0.1 * scores.abs()\n")
    if writer.is_class and writer.odds(0.5):
        writer.init.append("self.shape = nn.PReLU()")
        return writer.step(tensor, f"self.shape({tensor.text})", *_SCORES)
    return writer.step(tensor, f"adjusted({tensor.text})", *_SCORES)


def _top(writer: _Writer, tensor: Tensor) -> Tensor:
    scores = writer.bound(tensor, *_SCORES)
    name = writer.fresh("kth", "smallest")
    writer.put(f"{name} = {scores.text}.topk(3, dim=-1).values[..., -1:]")
    return writer.step(scores, f"{scores.text}.masked_fill({scores.text} < {name}, float('-inf'))", *_SCORES)


def _multiplied(writer: _Writer, tensor: Tensor) -> Tensor:
    writer.done = True
    value = (torch.rand(2, 1, 5, 5) > 0.4).double()
    value[..., 0] = 1.0
    name = writer.argument(writer.fresh("gate", "weight_mask"), value)
    return writer.step(tensor, f"{tight(tensor.text, 2)} * {name}", *_SCORES)


def _small(writer: _Writer, tensor: Tensor) -> Tensor:
    value = torch.rand(2, 1, 5, 5) > 0.6
    value[..., 0] = False
    name = writer.argument(writer.fresh("pad", "soft_mask"), value)
    fill = writer.pick("-1.0", "0.0", "-5.0", "1e-9", "-1e-9", "1e9", "-3", "0")
    text = writer.pick(
        f"{tight(tensor.text)}.masked_fill({name}, {fill})", f"torch.where({name}, {fill}, {tensor.text})"
    )
    if "where" in text and fill in ("0", "-3"):
        text = f"{tight(tensor.text)}.masked_fill({name}, {fill})"
    return writer.step(tensor, text, *_SCORES)


def _unknown_fill(writer: _Writer, tensor: Tensor) -> Tensor:
    value = torch.rand(2, 1, 5, 5) > 0.6
    name = writer.argument(writer.fresh("pad", "hidden"), value)
    fill = writer.argument("fill_value", torch.tensor(-0.5, dtype=torch.float64))
    text = writer.pick(
        f"{tight(tensor.text)}.masked_fill({name}, {fill})", f"torch.where({name}, {fill}, {tensor.text})"
    )
    return writer.step(tensor, text, *_SCORES)


def _from_scores(writer: _Writer, tensor: Tensor) -> Tensor:
    scores = writer.bound(tensor, *_SCORES)
    text = writer.pick(
        f"{scores.text} + {scores.text}.amax(dim=-2, keepdim=True)",
        f"{scores.text} + {scores.text}.roll(1, -1)",
        f"{scores.text}.masked_fill({scores.text} < 0, float('-inf')) + {scores.text}.amax(-1, keepdim=True)",
        f"{scores.text} + {scores.text}.transpose(-2, -1)",
    )
    return writer.step(scores, text, *_SCORES)


def _sink(writer: _Writer, tensor: Tensor) -> Tensor:
    scores = writer.bound(tensor, *_SCORES)
    text = f"torch.cat([{scores.text}, torch.zeros_like({scores.text}[..., :1])], dim=-1)"
    name = writer.fresh("with_sink", "extended")
    writer.put(f"{name} = F.softmax({text}, dim=-1)[..., :-1]")
    return Tensor(name, tensor.axes)


def _unknown_scale(writer: _Writer, tensor: Tensor) -> Tensor:
    name = writer.argument(writer.fresh("scale", "factor"), torch.rand(5, 5, dtype=torch.float64) + 0.5, grad=True)
    return writer.step(tensor, f"{tight(tensor.text, 2)} {writer.pick('*', '/')} {name}", *_SCORES)


def _dropped_scores(writer: _Writer, tensor: Tensor) -> Tensor:
    if not writer.is_class:
        return writer.step(tensor, f"F.dropout({tensor.text}, 0.1, training=False).relu()", *_SCORES)
    writer.dropout = True
    writer.init.append("self.score_drop = nn.Dropout(0.1)")
    return writer.step(tensor, f"self.score_drop({tensor.text})", *_SCORES)


_EDITS: dict[str, Callable[[_Writer, Tensor], Tensor]] = {
    "clamped": _edit("$.clamp(-2, 2)", "torch.clamp($, max=1.0)", "$.clamp(min=-1.0)", "torch.clip($, -1, 1)"),
    "soft cap": _edit("3.0 * torch.tanh($ / 3.0)", "($ / 5).tanh() * 5", "torch.tanh($)"),
    "rectified": _edit("F.relu($)", "$.abs()", "$ ** 2", "$.sigmoid()", "F.gelu($)"),
    "normalised": _edit("F.normalize($, dim=-1)", "F.layer_norm($, $.shape[-1:])", "$ / $.norm(dim=-1, keepdim=True)"),
    "talking heads": _talk,
    "an opaque call": _opaque,
    "the largest only": _top,
    "multiplied by a mask": _multiplied,
    "a small fill": _small,
    "an unknown fill": _unknown_fill,
    "scores from scores": _from_scores,
    "an unknown scale": _unknown_scale,
    "dropout of scores": _dropped_scores,
}


# -- near misses: what stands in place of the softmax


def _instead(*ways: str) -> Callable[[_Writer, Tensor], Tensor]:
    def made(writer: _Writer, tensor: Tensor) -> Tensor:
        return writer.step(tensor, writer.pick(*ways).replace("$", tensor.text), *_WEIGHTS)

    return made


def _exped(way: str) -> Callable[[_Writer, Tensor], Tensor]:
    def made(writer: _Writer, tensor: Tensor) -> Tensor:
        name = writer.fresh("e", "power")
        writer.put(f"{name} = torch.exp({tensor.text} - {tensor.text}.amax(-1, keepdim=True))")
        return writer.step(tensor, way.replace("$", name), *_WEIGHTS)

    return made


_SOFTMAXES: dict[str, Callable[[_Writer, Tensor], Tensor]] = {
    "over the queries": _instead("$.softmax(-2)", "F.softmax($, dim=-2)", "torch.softmax($, 2)"),
    "over the heads": _instead("$.softmax(1)", "F.softmax($, dim=-3)"),
    "over the batch": _instead("F.softmax($, dim=0)"),
    "a sigmoid": _instead("torch.sigmoid($)", "F.softplus($)", "F.relu($) / 5"),
    "twice": _instead("$.softmax(-1).softmax(-1)", "$.softmax(-1) * $.softmax(-2)", "F.softmax(F.softmax($, -2), -1)"),
    "its logarithm": _instead("F.log_softmax($, dim=-1)"),
    "of the negative": _instead("F.softmin($, dim=-1)", "1 - $.softmax(-1)"),
    "not normalised": _exped("$ / 5"),
    "one more": _exped("$ / (1 + $.sum(-1, keepdim=True))"),
    "normalised over the queries": _exped("$ / $.sum(-2, keepdim=True)"),
    "a sink": _sink,
}


# -- near misses: what is done to the weights


def _headed(writer: _Writer, tensor: Tensor) -> Tensor:
    writer.done = True
    value = torch.tensor([1.0, 0.0, 1.0, 0.5], dtype=torch.float64).view(4, 1, 1)
    return writer.step(tensor, f"{tight(tensor.text, 2)} * {writer.argument('head_mask', value)}", *_WEIGHTS)


def _changed(*ways: str) -> Callable[[_Writer, Tensor], Tensor]:
    def made(writer: _Writer, tensor: Tensor) -> Tensor:
        writer.done = True
        bound = writer.bound(tensor, *_WEIGHTS)
        return writer.step(bound, writer.pick(*ways).replace("$", bound.text), *_WEIGHTS)

    return made


_WEIGHT_EDITS: dict[str, Callable[[_Writer, Tensor], Tensor]] = {
    "weights by head": _headed,
    "weights masked": _multiplied,
    "weights mixed": _talk,
    "weights through a call": _opaque,
    "weights cut": _changed("$ * ($ > 0.1)", "$.masked_fill($ < 0.1, 0.0)", "$.tril()", "$.clamp(min=0.1)"),
    "weights normalised again": _changed("$ / ($.sum(-2, keepdim=True) + 1e-9)", "F.normalize($, dim=-1)", "$ ** 2"),
    "weights and identity": _changed("$ + torch.eye(5, dtype=torch.float64)", "$ - $.mean(-2, keepdim=True)"),
}


# -- near misses: what else is done with scores and weights


def _stored(writer: _Writer, scores: str, weights: str, result: str) -> str:
    if not writer.is_class:
        return f"return {result}, {weights}.mean(1)"
    writer.put(f"self.last = {writer.pick(weights, scores, weights + '.detach()')}")
    return f"return {result}"


def _logged(writer: _Writer, scores: str, weights: str, result: str) -> str:
    writer.head.append("seen = []\n")
    writer.put(
        writer.pick(f"seen.append({weights})", f"seen.append({scores}.detach())", f"seen.append({weights}.amax())")
    )
    return f"return {result}"


def _hooked(writer: _Writer, scores: str, weights: str, result: str) -> str:
    writer.put(f"if {weights}.requires_grad:")
    writer.put(f"    {writer.pick(weights, scores)}.register_hook(lambda grad: 2 * grad)")
    writer.lines[-2:] = [*writer.lines[-2:]]
    return f"return {result}"


_KEPT: dict[str, Callable[[_Writer, str, str, str], str]] = {
    "weights returned": lambda _, s, a, y: f"return {y}, {a}",
    "scores returned": lambda _, s, a, y: f"return {y}, {s}",
    "weights returned at times": lambda w, s, a, y: f"return ({y}, {a}) if {y}.dim() == 4 else {y}",
    "weights stored": _stored,
    "weights used": lambda w, s, a, y: f"return {y} + {w.pick(f'{a}.sum()', f'{a}.amax()', f'{s}.mean()')}",
    "weights logged": _logged,
    "weights in an f-string": lambda w, s, a, y: f"return {y}, f'{{{a}.mean()}}'",
}


# -- near misses: how weights and values meet


def _turned(writer: _Writer, weights: Tensor, v: Tensor) -> Tensor:
    v = writer.arranged(v, "bhse")
    turned = writer.arranged(weights, "bhst")
    return Tensor(
        writer.pick(f"{tight(turned.text, 2)} @ {tight(v.text, 3)}", f"torch.matmul({turned.text}, {v.text})"), "bhte"
    )


def _contracted(writer: _Writer, weights: Tensor, v: Tensor) -> Tensor:
    return Tensor(f"torch.einsum('bhij,bhid->bhjd', {weights.text}, {writer.arranged(v, 'bhse').text})", "bhte")


def _cut(writer: _Writer, weights: Tensor, v: Tensor) -> Tensor:
    v = writer.arranged(v, "bhse")
    cut = writer.pick(":3", "1:", ":-1")
    return Tensor(f"{tight(weights.text)}[..., {cut}] @ {tight(v.text)}[..., {cut}, :]", "bhte")


def _squared(writer: _Writer, weights: Tensor, v: Tensor) -> Tensor:
    bound = writer.bound(weights, *_WEIGHTS).text
    return Tensor(f"{bound} @ {bound} @ {tight(writer.arranged(v, 'bhse').text, 3)}", "bhte")


_PRODUCTS: dict[str, Callable[[_Writer, Tensor, Tensor], Tensor]] = {
    "weights turned": _turned,
    "summed over the queries": _contracted,
    "keys cut": _cut,
    "weights squared": _squared,
}


# -- near misses: whole programs


def _linear(writer: _Writer) -> None:
    q, k, v = (writer.tensor(axes, name).text for axes, name in (("bhtd", "q"), ("bhsd", "k"), ("bhse", "v")))
    way = writer.random.randrange(3)
    if way == 0:
        writer.put(f"return {q}.softmax(-1) @ ({k}.softmax(-2).transpose(-2, -1) @ {v})")
    elif way == 1:
        writer.put(f"context = torch.einsum('bhnd,bhne->bhde', {k}.softmax(dim=-2), {v})")
        writer.put(f"return torch.einsum('bhnd,bhde->bhne', {q} * 0.3, context)")
    else:
        writer.put(f"{k} = F.softmax({k}, dim=-1)")
        writer.put(f"return {q} @ ({k}.mT @ {v})")


def _channels(writer: _Writer) -> None:
    q, k, v = (writer.tensor(axes, name).text for axes, name in (("bhtd", "q"), ("bhsd", "k"), ("bhse", "v")))
    writer.put(f"a = ({q}.transpose(-2, -1) @ {k} / math.sqrt({q}.size(-2))).softmax(-1)")
    writer.put(f"return (a @ {v}.transpose(-2, -1)).transpose(-2, -1)")


def _second(writer: _Writer) -> None:
    way = writer.random.randrange(3)
    writer.head.append(
        [
            "def penalty(y, x):\n    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)\n    return g.pow(2).sum()\n",
            "def slope(function, x):\n    return torch.func.jvp(function, (x,), (torch.ones_like(x),))\n",
            "def curvature(function, x):\n    return torch.autograd.functional.hessian(function, x)\n",
        ][way]
    )
    writer.miss = ""
    writer.program()


def _branch(writer: _Writer) -> None:
    q, k, v = (writer.tensor(axes, name).text for axes, name in (("bhtd", "q"), ("bhsd", "k"), ("bhse", "v")))
    test = "hasattr(F, 'scaled_dot_product_attention')"
    if writer.is_class:
        writer.init.append(f"self.flash = {test}")
        test = "self.flash"
    call = f"F.scaled_dot_product_attention({q}, {k}, {v})"
    writer.put(f"if {test}:")
    if writer.odds(0.5):
        writer.put(f"    return {call}")
        writer.put(f"a = ({q} @ {k}.mT / math.sqrt({q}.size(-1))).softmax(-1)")
        writer.put(f"return a @ {v}")
    else:
        writer.put(f"    y = {call}")
        writer.put("else:")
        writer.put(f"    a = ({q} @ {k}.mT / math.sqrt({q}.size(-1))).softmax(-1)")
        writer.put(f"    y = a @ {v}")
        writer.put("return y")


_STRUCTURES: dict[str, Callable[[_Writer], None]] = {
    "linear": _linear,
    "channels": _channels,
    "second derivatives": _second,
    "beside the call": _branch,
}

NEAR_MISSES = (*_EDITS, *_SOFTMAXES, *_WEIGHT_EDITS, *_KEPT, *_PRODUCTS, *_STRUCTURES)


# -- what is given out


def attention(seed: int) -> Program:
    """A program with attention by hand, the same for a seed on every run."""
    writer = _Writer(random.Random(seed))
    return _made(writer, seed)


def near_miss(seed: int) -> Program:
    """A program that only looks like attention by hand."""
    generator = random.Random(seed)
    writer = _Writer(generator, NEAR_MISSES[seed % len(NEAR_MISSES)])
    name = writer.miss
    program = _made(writer, seed)
    return Program(program.text, program.calls, Expected.REFUSED, (name,), program.tolerance, program.dropout)


def _made(writer: _Writer, seed: int) -> Program:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        writer.program()
    order = [name for name in writer.arguments if name not in writer.optional] + writer.optional
    given = tuple(writer.arguments[name] for name in order)
    calls = [given]
    if writer.optional:
        calls.append(tuple(writer.arguments[name] for name in order if name not in writer.optional))
    blind = tuple(writer.blind.get(name, writer.arguments[name]) for name in order) if writer.blind else None
    return Program(
        writer.text(), tuple(calls), writer.expected, tuple(writer.why), writer.tolerance, writer.dropout, blind
    )
