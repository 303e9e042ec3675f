"""What one call of attention is worth, by length: time and memory before and after, the rewrite made by fuselight.

    python benchmarks/attention.py [--lengths N ...] [--rounds N] [--device cpu|cuda ...] [--memory GB] [--svg PATH]

Each case is self-attention as people write it, from the output of its projection to its merged heads: batch 1, 8 heads
of width 64. fuselight rewrites the text (FUS301, and FUS302 for repeated heads), both texts are executed on the same
weights, and outputs and gradients are compared. Then both are measured by turns: forward alone under `no_grad`, and
forward with backward.

Time: on a CPU in float32 on one thread, by the CPU time of the process, so that what else runs on the machine disturbs
little; on a GPU in bfloat16, by CUDA events. Medians of the rounds, of which long lengths get fewer.

Memory: "peak" is the most that torch's allocator had handed out at one moment of the call beyond what stood before it.
On a CPU that is summed over the allocations and frees that the profiler records, on a GPU it is
`max_memory_allocated`; both count bytes, not pages, and do not depend on what ran before. The scratch space that a
matmul library takes for itself is not in it. "Kept" are the bytes that autograd keeps for the backward pass besides
inputs, parameters and buffers.

Printed as a Markdown table, ratios first (before divided by after); nothing is asserted but that both sides agree.
`--svg` draws the plain case and needs matplotlib.
"""

# pyright: reportUnknownMemberType=false
# (the stubs of torch and matplotlib leave parameters without types)

from __future__ import annotations

import argparse
import io
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # read at import: the profiler reports its every start and stop

import torch
from torch import nn

from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
HEADS, WIDTH = 8, 64

HEAD = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
SPLIT = f"""\
B, T, _ = x.size()
q, k, v = x.chunk(3, dim=-1)
q = q.view(B, T, {HEADS}, {WIDTH}).transpose(1, 2)
k = k.view(B, T, {HEADS}, {WIDTH}).transpose(1, 2)
v = v.view(B, T, {HEADS}, {WIDTH}).transpose(1, 2)
scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
"""
MERGE = f"""\
weights = F.softmax(scores, dim=-1)
y = weights @ v
return y.transpose(1, 2).reshape(B, T, {HEADS * WIDTH})
"""


@dataclass(frozen=True)
class Case:
    """One module: the lines of its `__init__(self, length)` and of its `forward`, and the inputs of a call."""

    code: str
    what: str
    forward: str
    becomes: str
    """What the rewrite contains: otherwise another rewrite than the case's name says was measured."""
    inputs: Callable[[int], tuple[torch.Tensor, ...]]
    init: str = ""
    arguments: str = "x"
    lengths: tuple[int, ...] | None = None

    @property
    def text(self) -> str:
        lines = ["class M(nn.Module):", "    def __init__(self, length):", "        super().__init__()"]
        lines += [f"        {line}" for line in self.init.splitlines()]
        lines += ["", f"    def forward(self, {self.arguments}):"]
        lines += [f"        {line}" for line in self.forward.splitlines()]
        return HEAD + "\n".join(lines) + "\n"


def projected(length: int) -> torch.Tensor:
    """Queries, keys and values side by side, as one linear layer leaves them."""
    return torch.randn(1, length, 3 * HEADS * WIDTH)


def grouped(length: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(1, heads, length, WIDTH) for heads in (HEADS, 2, 2))


PLAIN = Case("FUS301", "plain", SPLIT + MERGE, "(q, k, v)", lambda length: (projected(length),))
CAUSAL = Case(
    "FUS301",
    "causal",
    SPLIT + 'scores = scores.masked_fill(self.mask[:T, :T] == 0, float("-inf"))\n' + MERGE,
    "is_causal=True",
    lambda length: (projected(length),),
    init='self.register_buffer("mask", torch.tril(torch.ones(length, length)))',
)
REPEAT = "k = k.repeat_interleave(4, dim=1)\nv = v.repeat_interleave(4, dim=1)\n"
CASES = (
    PLAIN,
    CAUSAL,
    Case(
        "FUS301",
        "padding mask",
        SPLIT + 'scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))\n' + MERGE,
        "attn_mask=mask[:, None, None, :]",
        lambda length: (projected(length), torch.arange(length)[None] < length * 3 // 4),
        arguments="x, mask",
    ),
    Case(
        "FUS301",
        "learned bias",
        SPLIT + "scores = scores + self.bias[:, :T, :T]\n" + MERGE,
        "attn_mask=self.bias[:, :T, :T]",
        lambda length: (projected(length),),
        init=f"self.bias = nn.Parameter(torch.randn({HEADS}, length, length))",
    ),
    Case(
        "FUS301",
        "fixed bias",
        SPLIT + "scores = scores + self.bias[:, :, :T, :T]\n" + MERGE,
        "attn_mask=self.bias[:, :, :T, :T]",
        lambda length: (projected(length),),
        init=f'self.register_buffer("bias", torch.randn(1, {HEADS}, length, length))',
        lengths=(512, 2048),
    ),
    Case(
        "FUS302",
        "2 key heads for 8",
        REPEAT + "return F.scaled_dot_product_attention(q, k, v)",
        "enable_gqa=True",
        grouped,
        arguments="q, k, v",
        lengths=(512, 2048),
    ),
    Case(
        "FUS302",
        "2 key heads for 8, causal",
        REPEAT + "return F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        "is_causal=True, enable_gqa=True",
        grouped,
        arguments="q, k, v",
        lengths=(512, 2048),
    ),
)

Run = Callable[[], object]
T = TypeVar("T")


class Device(Protocol):
    """Where a call is measured."""

    name: str
    says: str
    dtype: torch.dtype

    def seconds(self, run: Run, repeats: int) -> float:
        """Seconds of one of `repeats` runs in a row."""
        ...

    def peak(self, run: Run) -> int:
        """The most bytes that were allocated at one moment of a run, beyond those before it."""
        ...


class Allocation(Protocol):
    """What the profiler records of an allocation, or, with negative bytes, of a free."""

    def start_ns(self) -> int: ...
    def nbytes(self) -> int: ...


class Cpu:
    name = "cpu"
    says = "CPU, float32, one thread"
    dtype = torch.float32

    def seconds(self, run: Run, repeats: int) -> float:
        start = time.process_time()
        for _ in range(repeats):
            run()
        return (time.process_time() - start) / repeats

    def peak(self, run: Run) -> int:
        profile = torch.autograd.profiler.profile(profile_memory=True)
        with profile:
            run()
        assert profile.kineto_results is not None
        events = cast("list[Allocation]", [one for one in profile.kineto_results.events() if one.name() == "[memory]"])
        now = most = 0
        for event in sorted(events, key=lambda one: one.start_ns()):
            now += event.nbytes()
            most = max(most, now)
        return most


class Cuda:
    name = "cuda"
    says = "GPU, bfloat16"
    dtype = torch.bfloat16

    def seconds(self, run: Run, repeats: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000 / repeats

    def peak(self, run: Run) -> int:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


@dataclass(frozen=True)
class Cost:
    """What one way of calling a module costs: median seconds, and peak bytes."""

    seconds: float
    peak: int


@dataclass(frozen=True)
class Figures:
    """One side of a row; None where the memory did not suffice."""

    forward: Cost | None
    both: Cost | None
    kept: int | None


@dataclass(frozen=True)
class Row:
    device: Device
    case: Case
    length: int
    before: Figures
    after: Figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--rounds", type=int, default=15, help="up to length 1,024; fewer above, at least 3")
    parser.add_argument("--device", choices=["cpu", "cuda"], nargs="+", help="all that there are, if not given")
    parser.add_argument("--memory", type=float, default=16, help="GB that the process may take (CPU alone, Linux)")
    parser.add_argument("--svg", type=Path, help="where to draw time and memory against length")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names: list[str] = given.device or (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
    devices: list[Device] = [Cuda() if name == "cuda" else Cpu() for name in names]
    if "cuda" not in names:
        limit_memory(int(given.memory * 1e9))
    rows: list[Row] = []
    for device in devices:
        print(f"\n{device.says}:\n\n{TABLE}", flush=True)
        for row in measurements(device, given.lengths, given.rounds):
            print(line(row), flush=True)
            rows.append(row)
    if given.svg is not None:
        given.svg.write_text(drawing(rows))
    return 0


def limit_memory(size: int) -> None:
    """Has allocations beyond `size` bytes fail, where the machine would go on to kill something."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def measurements(device: Device, lengths: Sequence[int], rounds: int) -> Iterator[Row]:
    for case in CASES:
        for length in lengths if case.lengths is None else case.lengths:
            few = max(3, rounds * 1024 // length)
            yield measured(case, length, device, min(rounds, few))


# -- one case at one length


class Side:
    """One of the two modules, and its two ways of being called."""

    def __init__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.module = module
        self.inputs = inputs
        self.leaves = [one for one in (*inputs, *module.parameters()) if one.requires_grad]
        self.gradient: torch.Tensor | None = None

    def forward(self) -> torch.Tensor:
        with torch.no_grad():
            return self.module(*self.inputs)

    def both(self) -> torch.Tensor:
        self.clear()
        output = self.module(*self.inputs)
        if self.gradient is None:
            self.gradient = gradient_of(output)
        torch.autograd.backward([output], [self.gradient])
        return output.detach()

    def clear(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None

    def results(self) -> list[torch.Tensor]:
        """The output and the gradients; of a large one its start."""
        output = self.both()
        gradients = [one.grad.flatten()[: 1 << 20].clone() for one in self.leaves if one.grad is not None]
        self.clear()
        return [output, *gradients]


def gradient_of(output: torch.Tensor) -> torch.Tensor:
    """What backward starts from, the same for both sides."""
    torch.manual_seed(1)
    return torch.randn_like(output)


def measured(case: Case, length: int, device: Device, rounds: int) -> Row:
    sides = fitting(partial(both_sides, case, length, device))
    if sides is None:
        nothing = Figures(None, None, None)
        return Row(device, case, length, nothing, nothing)
    agree(sides, case, length)
    forward = costs(device, sides, Side.forward, rounds)
    both = costs(device, sides, Side.both, rounds)
    kept = [fitting(partial(kept_bytes, side)) for side in sides]
    before, after = (Figures(*found) for found in zip(forward, both, kept, strict=True))
    return Row(device, case, length, before, after)


def both_sides(case: Case, length: int, device: Device) -> tuple[Side, Side]:
    """The module as it is written and as fuselight rewrites it, on the same weights and inputs."""
    codes = frozenset({case.code})
    result = fix_all(Analysis(case.text, codes=codes), frozenset(Safety), codes)
    assert result.applied, f"{case.code} {case.what}: nothing is offered"
    assert case.becomes in result.text, result.text
    torch.manual_seed(0)
    inputs = tuple(one.to(device.name) for one in case.inputs(length))
    inputs = tuple(one.to(device.dtype).requires_grad_() if one.is_floating_point() else one for one in inputs)
    before = made(case.text, length).to(device.name, device.dtype)
    with torch.device("meta"):
        after = made(result.text, length)
    after.load_state_dict(before.state_dict(), assign=True)
    return Side(before, inputs), Side(after, inputs)


def made(text: str, length: int) -> nn.Module:
    namespace: dict[str, object] = {"__name__": "measured"}
    exec(compile(text, "<case>", "exec"), namespace)
    cls = namespace["M"]
    assert isinstance(cls, type)
    module = cls(length)
    assert isinstance(module, nn.Module)
    return module


def agree(sides: tuple[Side, Side], case: Case, length: int) -> None:
    before, after = (fitting(side.results) for side in sides)
    if before is None or after is None:
        return
    within = 5e-2 if before[0].dtype is torch.bfloat16 else 1e-4
    for wanted, found in zip(before, after, strict=True):
        apart = float((found - wanted).abs().max() / wanted.abs().max())
        assert apart < within, f"{case.code} {case.what}, {length}: {apart} apart"


def fitting(run: Callable[[], T]) -> T | None:
    """What `run` returns; None where the memory does not suffice."""
    try:
        return run()
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        return None


def costs(device: Device, sides: tuple[Side, Side], way: Callable[[Side], object], rounds: int) -> list[Cost | None]:
    """What it costs to call the sides that way, measured by turns."""
    runs = [partial(way, side) for side in sides]
    peaks: list[int | None] = []
    repeats: list[int] = []
    for side, run in zip(sides, runs, strict=True):
        side.clear()
        start = time.perf_counter()
        peak = fitting(partial(device.peak, run))
        took = time.perf_counter() - start
        if peak is not None and took < 1:  # the profiler's own time may be most of it
            took = device.seconds(run, 1)
        peaks.append(peak)
        repeats.append(max(1, min(256, math.ceil(0.02 / took))))
        side.clear()
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, run, peak, often, seconds in zip(sides, runs, peaks, repeats, times, strict=True):
            if peak is not None:
                seconds.append(device.seconds(run, often))
                side.clear()
    return [
        Cost(statistics.median(seconds), peak) if peak is not None else None
        for seconds, peak in zip(times, peaks, strict=True)
    ]


def kept_bytes(side: Side) -> int:
    """Bytes that autograd keeps for the backward pass besides inputs, parameters and buffers."""
    own = (*side.module.parameters(), *side.module.buffers(), *side.inputs)
    known = {one.untyped_storage().data_ptr() for one in own}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that kept its own graph would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = side.module(*side.inputs)
    del result
    return sum(kept.values())


# -- the table

TABLE = """\
| | length | forward | both | peak, forward | both | ms forward | ms both | MB peak, forward | MB both | MB kept |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


def line(row: Row) -> str:
    old, new = row.before, row.after
    pairs = [(old.forward, new.forward), (old.both, new.both)]
    seconds = [tuple(1e3 * one.seconds if one else None for one in pair) for pair in pairs]
    peaks = [tuple(one.peak / 1e6 if one else None for one in pair) for pair in pairs]
    kept = tuple(one / 1e6 if one is not None else None for one in (old.kept, new.kept))
    cells = [f"{row.case.code} {row.case.what}", f"{row.length:,}"]
    cells += [ratio(*pair) for pair in (*seconds, *peaks)]
    cells += [" -> ".join(short(one) for one in pair) for pair in (*seconds, *peaks, kept)]
    return f"| {' | '.join(cells)} |"


def ratio(before: float | None, after: float | None) -> str:
    return f"{before / after:.2f}x" if before is not None and after else "-"


def short(number: float | None) -> str:
    if number is None:
        return "does not fit"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


# -- the drawing

SHADES = {"before": "#d97706", "after": "#2f7de1"}
INK = "#7a7a7a"
"""Of text and axes, read on white as on black: a picture is not told the theme of the page that it stands on."""
WAYS = {"forward and backward": "-", "forward": "--"}


def drawing(rows: list[Row]) -> str:
    """Time and memory of plain attention against length, as SVG: a row of two panels for each device."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "attention", "font.family": "sans-serif"})
    mpl.rcParams.update(dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK))
    mpl.rcParams.update({"axes.edgecolor": INK, "grid.color": INK, "grid.alpha": 0.25, "font.size": 11})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 12})
    devices = list({row.device.name: row.device for row in rows}.values())
    figure, panels = pyplot.subplots(len(devices), 2, figsize=(9, 3.9 * len(devices)), squeeze=False)
    for (left, right), device in zip(panels, devices, strict=True):
        own = [row for row in rows if row.device is device and row.case is PLAIN]
        panel(left, own, f"plain attention, {device.says}: ms", lambda cost: 1e3 * cost.seconds)
        panel(right, own, "plain attention, peak of memory: MB", lambda cost: cost.peak / 1e6)
    figure.tight_layout(w_pad=3, rect=(0, 0.08 / len(devices), 1, 1))
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False, fontsize=9.5)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return re.sub(r" +\n", "\n", re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", text.getvalue()))


def panel(axes: Axes, rows: list[Row], title: str, figure: Callable[[Cost], float]) -> None:
    """Straight lines in it are powers of the length; what did not fit is not drawn."""
    for name, shade in SHADES.items():
        for way, style in WAYS.items():
            found = [(row.length, row.before if name == "before" else row.after) for row in rows]
            spent = [(length, one.forward if way == "forward" else one.both) for length, one in found]
            points = [(length, figure(cost)) for length, cost in spent if cost is not None]
            x, y = [one for one, _ in points], [one for _, one in points]
            axes.plot(x, y, style, color=shade, label=f"{name}, {way}", marker="o", markersize=3.5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([row.length for row in rows], [f"{row.length:,}" for row in rows])
    axes.yaxis.set_major_formatter(lambda number, _: f"{number:,g}")
    axes.minorticks_off()
    axes.grid()
    axes.set_title(title, loc="left")
    axes.set_xlabel("length")


if __name__ == "__main__":
    sys.exit(main())
