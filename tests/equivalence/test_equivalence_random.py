"""Random modules, rewritten as far as it goes, compute what they computed, on the checkpoints of before.

`FUSELIGHT_RANDOM_PROGRAMS` sets how many the soak (`-m long`) runs, `FUSELIGHT_RANDOM_SEED` where it starts.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections import Counter

import pytest

from equivalence import programs
from equivalence.harness import EVERY_SAFETY, REORDERED, compare, rewritten, runs
from equivalence.programs import program
from fuselight.analysis import Analysis

EACH_RUN = 300
BATCH = 50


def check(seed: int) -> Counter[str]:
    """Rewrite and compare one program; how often each fusion was applied."""
    text = program(seed).text
    ast.parse(text)
    if not Analysis(text).findings or not runs(text, programs.INPUTS):
        return Counter(ran=0)
    try:
        result = rewritten(text, allow=EVERY_SAFETY)
        compare(text, result.text, programs.INPUTS, tolerance=REORDERED * 10, deep=seed % 10 == 0)
    except Exception as error:
        error.add_note(f"seed {seed}\n{text}")
        raise
    return Counter(finding.code for finding in result.applied) + Counter(ran=1)


def check_range(first: int, count: int) -> Counter[str]:
    total: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a program's in-place writes and resized outputs are what it is for
        for seed in range(first, first + count):
            total += check(seed)
    return total


@pytest.mark.parametrize("first", range(0, EACH_RUN, BATCH))
def test_random_programs_compute_the_same(first: int) -> None:
    total = check_range(first, BATCH)
    assert total["ran"] >= BATCH * 0.3, total
    for code in ("FUS101", "FUS201", "FUS401"):
        assert total[code] >= BATCH * 0.1, total


SOAK = int(os.environ.get("FUSELIGHT_RANDOM_PROGRAMS", "4000"))
SOAK_FROM = int(os.environ.get("FUSELIGHT_RANDOM_SEED", "100000"))


@pytest.mark.long
@pytest.mark.parametrize("first", range(SOAK_FROM, SOAK_FROM + SOAK, 250))
def test_many_random_programs_compute_the_same(first: int) -> None:
    count = min(250, SOAK_FROM + SOAK - first)
    total = check_range(first, count)
    assert total["ran"] >= count * 0.3, total
