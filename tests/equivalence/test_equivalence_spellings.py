"""Every rewrite of an expression, spelled in random ways: it is found, and computes what was there before.

`FUSELIGHT_RANDOM_SPELLINGS` sets how many spellings of each rewrite the soak (`-m long`) tries.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch

from equivalence.spellings import Spelling, spelled
from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.base import FUSIONS
from fuselight.fusions.expression import Expression, Rewrite
from fuselight.fusions.model import Safety
from fuselight.fusions.registry import all_fusions

assert all_fusions()

EXPRESSIONS = {
    code: fusion for code, fusion in sorted(FUSIONS.items()) if issubclass(fusion, Expression) and fusion.rewrites
}
EACH_RUN = 2
SOAK = int(os.environ.get("FUSELIGHT_RANDOM_SPELLINGS", "40"))

Maker = Callable[[torch.Generator], torch.Tensor]


def _normal(*shape: int) -> Maker:
    return lambda generator: torch.randn(shape, generator=generator, dtype=torch.float64)


def _share(*shape: int) -> Maker:
    return lambda generator: torch.rand(shape, generator=generator, dtype=torch.float64) * 0.9 + 0.05


def _classes(*shape: int) -> Maker:
    return lambda generator: torch.randint(0, 5, shape, generator=generator)


MAKERS = (_normal(5, 5), _share(5, 5), _normal(5), _classes(5), _normal(3, 5, 5), _classes(5, 1))
SHAPES: dict[str, dict[str, Maker]] = {
    "FUS409": {"w": _normal(5)},
    "FUS410": {"w": _normal(5), "b": _normal(5)},
    "FUS503": {"x": _normal(5, 5), "y": _classes(5)},
    "FUS612": {"d": _normal(5)},
    "FUS407": {"x": _normal(4, 4)},  # halves of an odd size may broadcast, which `glu` does not
}
"""Where the first inputs that run are not those that a rewrite is for: by code, the maker of each variable."""


RANKED = frozenset({"FUS607"})
"""What assumes a rank that its spelling decides: one of the inputs has it, and there both sides agree."""


def _close(before: list[torch.Tensor], after: list[torch.Tensor]) -> bool:
    return all(torch.allclose(one, other, rtol=2e-6, atol=1e-7) for one, other in zip(before, after, strict=True))


def _inputs(code: str, spelling: Spelling) -> Iterator[tuple[Maker, ...]]:
    """Inputs to try, the plainest first."""
    known = SHAPES.get(code, {})
    options = [(known[name],) if name in known else MAKERS for name in spelling.arguments]
    yield from itertools.islice(itertools.product(*options), 300)


def _function(text: str) -> Callable[..., torch.Tensor]:
    namespace: dict[str, Callable[..., torch.Tensor]] = {}
    exec(compile(text, "spelling", "exec"), namespace)  # type: ignore[arg-type]
    return namespace["f"]


def _run(text: str, makers: tuple[Maker, ...], seed: int) -> list[torch.Tensor] | None:
    """The output and the gradients of every input; None where the function does not run, or not to numbers."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [make(generator) for make in makers]
    floating = [one.requires_grad_() for one in inputs if one.is_floating_point()]
    try:
        output = _function(text)(*inputs)
        if not torch.isfinite(output.detach().double()).all():
            return None
        if not output.requires_grad:
            return [output]
        gradients = torch.autograd.grad(output.square().sum(), floating, allow_unused=True, materialize_grads=True)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return None
    found = [output.detach(), *gradients]
    return found if all(torch.isfinite(one.double()).all() for one in found) else None


def check(code: str, rewrite: Rewrite, seed: int) -> tuple[bool, bool]:
    """Whether a spelling was found, and whether both sides were executed. Raises where they differ."""
    spelling = spelled(rewrite, seed)
    analysis = Analysis(spelling.text, codes=frozenset({code}))
    assert not analysis.problems, spelling.text
    if not analysis.findings:
        return False, False
    after = fix_all(analysis, frozenset(Safety)).text
    for makers in _inputs(code, spelling):
        before = _run(spelling.text, makers, seed)
        if before is None:
            continue
        results = _run(after, makers, seed)
        if code in RANKED and (results is None or results[0].shape != before[0].shape or not _close(before, results)):
            continue
        assert results is not None, f"only the one side runs\n{spelling.text}\n{after}"
        for one, other in zip(before, results, strict=True):
            assert one.dtype == other.dtype, f"{one.dtype} {other.dtype}\n{spelling.text}\n{after}"
            torch.testing.assert_close(
                other, one, rtol=2e-6, atol=1e-7, msg=lambda text: f"{text}\n{spelling.text}\n{after}"
            )
        return True, True
    return True, False


def check_many(code: str, seeds: range) -> None:
    """Every rewrite of a fusion in many spellings; what a spelling does not show makes it be refused, not wrong."""
    executed: Counter[int] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, rewrite in enumerate(EXPRESSIONS[code].rewrites):
            for seed in seeds:
                executed[number] += check(code, rewrite, seed)[1]
    assert executed.total() > 0, "no spelling could be executed"


@pytest.mark.parametrize("code", EXPRESSIONS)
def test_spellings_compute_the_same(code: str) -> None:
    check_many(code, range(EACH_RUN))


@pytest.mark.long
@pytest.mark.parametrize("code", EXPRESSIONS)
def test_many_spellings_compute_the_same(code: str) -> None:
    # As much for a fusion of eighty rewrites as for one of eight.
    count = SOAK * 8 // max(8, len(EXPRESSIONS[code].rewrites))
    check_many(code, range(1000, 1000 + max(count, 4)))


@pytest.mark.parametrize("code", ["FUS401", "FUS402", "FUS403"])
def test_spellings_of_the_activations_are_found(code: str) -> None:
    """Of what needs nothing but its pattern, no spelling is missed."""
    for rewrite in EXPRESSIONS[code].rewrites:
        if not rewrite.needs:
            missed = [seed for seed in range(40) if not check(code, rewrite, seed)[0]]
            assert not missed, spelled(rewrite, missed[0]).text
