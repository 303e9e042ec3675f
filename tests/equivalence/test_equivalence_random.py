"""Random modules, rewritten as far as it goes, compute what they computed, on the checkpoints of before.

`FUSELIGHT_RANDOM_PROGRAMS` sets how many of each kind the soak (`-m long`) runs, `FUSELIGHT_RANDOM_SEED` where it
starts.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from equivalence import architectures, programs
from equivalence.harness import EVERY_SAFETY, REORDERED, Shape, compare, rewritten, runs
from fuselight.analysis import Analysis


@dataclass(frozen=True)
class Kind:
    """A generator of programs: what it writes, what its `M` takes, and how often each fusion must apply to 50."""

    program: Callable[[int], str]
    inputs: tuple[Shape, ...]
    least: dict[str, int]


KINDS = {
    "expressions": Kind(
        lambda seed: programs.program(seed).text, programs.INPUTS, {"FUS101": 5, "FUS201": 5, "FUS401": 5}
    ),
    "layers": Kind(architectures.architecture, architectures.INPUTS, {"FUS101": 2, "FUS201": 5}),
}
EACH_RUN = 200
BATCH = 50


def check(kind: Kind, seed: int) -> Counter[str]:
    """Rewrite and compare one program; how often each fusion was applied."""
    text = kind.program(seed)
    ast.parse(text)
    if not Analysis(text).findings or not runs(text, kind.inputs):
        return Counter(ran=0)
    try:
        result = rewritten(text, allow=EVERY_SAFETY)
        compare(text, result.text, kind.inputs, tolerance=REORDERED * 10, deep=seed % 10 == 0)
    except Exception as error:
        error.add_note(f"seed {seed}\n{text}")
        raise
    return Counter(finding.code for finding in result.applied) + Counter(ran=1)


def check_range(kind: Kind, first: int, count: int) -> Counter[str]:
    total: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a program's in-place writes and resized outputs are what it is for
        for seed in range(first, first + count):
            total += check(kind, seed)
    return total


@pytest.mark.parametrize("first", range(0, EACH_RUN, BATCH))
@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_compute_the_same(kind: str, first: int) -> None:
    total = check_range(KINDS[kind], first, BATCH)
    assert total["ran"] >= BATCH * 0.3, total
    for code, least in KINDS[kind].least.items():
        assert total[code] >= least, total


SOAK = int(os.environ.get("FUSELIGHT_RANDOM_PROGRAMS", "2500"))
SOAK_FROM = int(os.environ.get("FUSELIGHT_RANDOM_SEED", "100000"))


@pytest.mark.long
@pytest.mark.parametrize("first", range(SOAK_FROM, SOAK_FROM + SOAK, 250))
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_programs_compute_the_same(kind: str, first: int) -> None:
    count = min(250, SOAK_FROM + SOAK - first)
    total = check_range(KINDS[kind], first, count)
    assert total["ran"] >= count * 0.3, total
