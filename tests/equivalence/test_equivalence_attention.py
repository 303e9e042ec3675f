"""Attention by hand, spelled in random ways: it is found, and computes what was there before; what is none is refused.

`FUSELIGHT_RANDOM_ATTENTION` sets how many programs of each kind the soak (`-m long`) tries, `FUSELIGHT_RANDOM_SEED`
where it starts.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from equivalence.attention_runs import check_calls, compare, compare_draws, compare_halves, made, ran
from equivalence.attentions import Expected, Program, attention, near_miss
from equivalence.harness import EVERY_SAFETY, executed, rewritten
from fuselight.analysis import Analysis, FixedText
from fuselight.fusions.model import Safety

CODES = frozenset({"FUS301", "FUS302"})
EACH_RUN = 160
BATCH = 40
SOAK = int(os.environ.get("FUSELIGHT_RANDOM_ATTENTION", "3000"))
SOAK_FROM = int(os.environ.get("FUSELIGHT_RANDOM_SEED", "100000"))
# -- programs


@contextmanager
def noted(seed: int, program: Program, result: FixedText | None = None) -> Generator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"seed {seed} {program.expected.value} {program.why}\n{program.text}")
        if result is not None:
            error.add_note(result.text)
        raise


def check(seed: int) -> Counter[str]:
    """One program with attention, rewritten and compared where it is found; counted where it is not and must be."""
    program = attention(seed)
    analysis = Analysis(program.text, codes=CODES)
    with noted(seed, program):
        assert not analysis.problems, analysis.problems
        if not any(one.code == "FUS301" for one in analysis.findings):
            return Counter({"must": 1} if program.expected is Expected.FOUND else {"may": 1})
        result = rewritten(program.text, allow=EVERY_SAFETY, codes=CODES)
    with noted(seed, program, result):
        check_calls(result.text)
        compare(program, result.text)
        if seed % 8 == 0:
            check_masked_rows(program, result, analysis)
        halves = seed % 4 == 0 and compare_halves(program, result.text)
    return Counter({"found": 1, "halves": int(halves)})


def check_masked_rows(program: Program, result: FixedText, analysis: Analysis) -> None:
    """Where a row has no key left and both sides differ there, the rewrite is not called exact."""
    if program.masked_rows is None:
        return
    with executed(program.text) as first, executed(result.text) as second:
        old, new = made(first), made(second)
        if isinstance(old, nn.Module) and isinstance(new, nn.Module):
            new.load_state_dict(old.state_dict())
            old.eval()
            new.eval()
        wanted, found = (ran(side, program.masked_rows).outputs for side in (old, new))
    alike = all(torch.allclose(a, b, atol=1e-4, equal_nan=True) for a, b in zip(wanted, found, strict=True))
    safeties = {one.safety for one in analysis.findings if one.code == "FUS301"}
    assert alike or safeties == {Safety.NUMERICS}, f"{safeties}, though rows without a key differ"


def check_miss(seed: int) -> None:
    program = near_miss(seed)
    with noted(seed, program):
        analysis = Analysis(program.text, codes=CODES)
        assert not analysis.problems, analysis.problems
        found = [one for one in analysis.findings if one.code == "FUS301" and one.withheld is None]
        assert not found, f"{found[0].title}\n{applied(analysis)}"


def applied(analysis: Analysis) -> str:
    fix = analysis.fix(analysis.findings[0])
    return fix.apply(analysis.text) if fix is not None else ""


def check_range(first: int, count: int) -> Counter[str]:
    total: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(first, first + count):
            total += check(seed)
    return total


@pytest.mark.parametrize("first", range(0, EACH_RUN, BATCH))
def test_random_attention_computes_the_same(first: int) -> None:
    total = check_range(first, BATCH)
    assert total["must"] <= 1, total
    assert total["found"] >= BATCH * 0.8, total
    assert total["halves"], total


@pytest.mark.parametrize("first", range(0, EACH_RUN, BATCH))
def test_near_misses_are_refused(first: int) -> None:
    for seed in range(first, first + BATCH):
        check_miss(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(SOAK_FROM, SOAK_FROM + SOAK, 250))
def test_many_random_attentions_compute_the_same(first: int) -> None:
    count = min(250, SOAK_FROM + SOAK - first)
    total = check_range(first, count)
    assert total["must"] <= max(count * 0.03, 1), total
    assert total["found"] >= count * 0.8, total


@pytest.mark.long
@pytest.mark.parametrize("first", range(SOAK_FROM, SOAK_FROM + SOAK, 250))
def test_many_near_misses_are_refused(first: int) -> None:
    for seed in range(first, min(first + 250, SOAK_FROM + SOAK)):
        check_miss(seed)


def _with_dropout(first: int, count: int) -> list[int]:
    seeds: list[int] = []
    seed = first
    while len(seeds) < count:
        program = attention(seed)
        if program.dropout and program.expected is Expected.FOUND:
            seeds.append(seed)
        seed += 1
    return seeds


def check_dropout(seed: int) -> None:
    program = attention(seed)
    with noted(seed, program), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = rewritten(program.text, allow=EVERY_SAFETY, codes=CODES)
    if result.applied:
        with noted(seed, program, result):
            compare_draws(program, result.text)


@pytest.mark.parametrize("seed", _with_dropout(0, 4))
def test_dropout_has_the_same_mean(seed: int) -> None:
    check_dropout(seed)


@pytest.mark.long
def test_many_dropouts_have_the_same_mean() -> None:
    for seed in _with_dropout(SOAK_FROM, max(SOAK // 40, 1)):
        check_dropout(seed)


def test_the_programs_are_as_they_are_meant() -> None:
    """They run as they stand, in both modes, and a missing key in a row shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(120):
            program = attention(seed)
            with noted(seed, program), executed(program.text) as namespace:
                for call in program.calls:
                    outputs = ran(made(namespace), call).outputs
                    assert all(bool(one.isfinite().all()) for one in outputs)
        for seed in range(120):
            program = near_miss(seed)
            with noted(seed, program), executed(program.text) as namespace:
                for call in program.calls:
                    ran(made(namespace), call)
