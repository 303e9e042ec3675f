"""What a file costs with 10, 40 and 400 patterns of expressions: it must not grow with their number.

    python benchmarks/patterns.py [FILE ...] [--rounds N]

Without FILE the file of `latency.py`. The patterns are the catalogue's own; what is missing to 40 and 400 is made up
from the dialect's kinds, in the shapes that the catalogue has. The graphs are built before the clock starts. Beside the
index stands the plain way, every pattern at every value, which does grow. Quote ratios of one run.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import median

from latency import pinned_text

from fuselight.analysis import Analysis
from fuselight.fusions.base import FUSIONS
from fuselight.fusions.expression import Expression, Index
from fuselight.fusions.matching import Matcher
from fuselight.fusions.pattern import POWERS, parse_pattern
from fuselight.fusions.registry import all_fusions
from fuselight.fusions.site import Rewrite
from fuselight.graph.module import Module
from fuselight_emitter.dialects import get_dialect

COUNTS = (10, 40, 400)
SHAPES = (
    "x * {0}(x)", "x / (1 + {0}(x))", "{0}(1 + {1}(x))", "{0}({1}(x))", "{0}(x) * {1}(y) + z", "x * {0}({1}(x))",
    "0.5 * x * (1 + {0}(x / sqrt(2)))", "{0}(x - mean(x, dim=d)) + {1}(x)",
)  # fmt: skip


def rewrites(count: int) -> tuple[type[Expression], ...]:
    """Fusions with `count` patterns between them: the catalogue's first, then made-up ones, the same on every run."""
    assert all_fusions()
    known = [
        rewrite
        for _, fusion in sorted(FUSIONS.items())
        if issubclass(fusion, Expression) and not fusion.hints
        for rewrite in fusion.rewrites
    ]
    choice = random.Random(1)
    functions = get_dialect("torch").functions
    kinds = sorted(
        kind
        for kind, function in functions.items()
        if function.signature in ("", "input") and kind not in POWERS and function.operator is None
    )
    texts = {rewrite.pattern for rewrite in known}
    while len(texts) < count:
        texts.add(choice.choice(SHAPES).format(*choice.sample(kinds, 2)))
    made = [Rewrite(text, "silu(x)") for text in sorted(texts - {rewrite.pattern for rewrite in known})]
    chosen = [*choice.sample(known, len(known)), *made][:count]
    return (type("Benchmarked", (Expression,), {"code": "BENCH", "name": "bench", "rewrites": tuple(chosen)}),)


def with_index(module: Module, fusions: tuple[type[Expression], ...]) -> tuple[float, int]:
    """CPU seconds and the pairs of a pattern and a root that were tried."""
    index = Index(fusions)
    start = time.process_time()
    for statement in module.statements:
        for scope in module.scopes(statement):
            list(index.matches(module, scope))
    return time.process_time() - start, index.tried


def plainly(module: Module, fusions: tuple[type[Expression], ...]) -> tuple[float, int]:
    """The same without the index: every pattern is tried at every value."""
    patterns = [parse_pattern(rewrite.pattern) for fusion in fusions for rewrite in fusion.rewrites]
    tried = 0
    start = time.process_time()
    for statement in module.statements:
        for scope in module.scopes(statement):
            graph = module.graph(scope)
            matcher = Matcher(module, scope.owner, graph)
            for value in graph.values:
                for pattern in patterns:
                    tried += 1
                    next(matcher.matches(pattern, value), None)
    return time.process_time() - start, tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = [path.read_text() for path in options.files] or [pinned_text()]
    modules = [Analysis(text)._module for text in texts]  # pyright: ignore[reportPrivateUsage]
    lines = sum(text.count("\n") for text in texts)
    for module in modules:
        for statement in module.statements:
            for scope in module.scopes(statement):
                module.graph(scope)
    print(f"{lines} lines, {options.rounds} rounds; milliseconds of CPU, median\n")
    print("| patterns | index | x 10 | tried | every pattern everywhere | x 10 | tried |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    first: tuple[float, float] | None = None
    for count in COUNTS:
        fusions = rewrites(count)
        rows = [[measure(module, fusions) for module in modules] for measure in (with_index, plainly)]
        indexed = median(sum(with_index(module, fusions)[0] for module in modules) for _ in range(options.rounds))
        plain = sum(seconds for seconds, _ in rows[1])
        tried = [sum(number for _, number in row) for row in rows]
        first = first or (indexed, plain)
        print(
            f"| {count} | {indexed * 1000:.1f} | {indexed / first[0]:.2f} | {tried[0]} |"
            f" {plain * 1000:.0f} | {plain / first[1]:.2f} | {tried[1]} |"
        )


if __name__ == "__main__":
    main()
