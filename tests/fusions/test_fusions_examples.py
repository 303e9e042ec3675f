"""The examples and near misses that every fusion carries, as they stand on its page."""

from __future__ import annotations

import pytest

import fuselight.fusions.registry  # noqa: F401  (registers every fusion)
from equivalence.harness import REORDERED, Inputs, equivalent, refused
from fuselight.analysis import Analysis
from fuselight.fusions.base import FUSIONS, Example, NearMiss, Report
from fuselight.fusions.model import Safety

EXAMPLES = [(code, example) for code, fusion in sorted(FUSIONS.items()) for example in fusion.examples]
NEAR_MISSES = [(code, near) for code, fusion in sorted(FUSIONS.items()) for near in fusion.near_misses]
REPORTS = [(code, report) for code, fusion in sorted(FUSIONS.items()) for report in fusion.reports]
LEAST_NEAR_MISSES = 5


def numbered(value: object) -> str | None:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("code", "example"), EXAMPLES, ids=numbered)
def test_example(code: str, example: Example) -> None:
    inputs: Inputs = example.inputs
    result = equivalent(example.before, inputs, codes=frozenset({code}), tolerance=REORDERED)
    assert result.text == example.after
    assert {finding.code for finding in result.applied} == {code}
    if example.safety is not None:
        assert {finding.safety for finding in result.applied} == {example.safety}


@pytest.mark.parametrize(("code", "near"), NEAR_MISSES, ids=numbered)
def test_near_miss(code: str, near: NearMiss) -> None:
    reasons = refused(near.text, code)
    if near.reason:
        assert any(near.reason in reason for reason in reasons), reasons


@pytest.mark.parametrize(("code", "report"), REPORTS, ids=numbered)
def test_report(code: str, report: Report) -> None:
    analysis = Analysis(report.text)
    found = [finding for finding in analysis.findings if finding.code == code]
    assert len(found) == 1
    assert found[0].withheld is not None
    assert report.reason in found[0].withheld
    assert analysis.fix(found[0]) is None


@pytest.mark.parametrize("code", sorted(FUSIONS))
def test_every_fusion_has_examples_and_more_near_misses(code: str) -> None:
    fusion = FUSIONS[code]
    assert fusion.examples or fusion.reports
    assert len(fusion.near_misses) >= LEAST_NEAR_MISSES


@pytest.mark.parametrize("code", sorted(FUSIONS))
def test_what_is_not_exact_says_so_in_the_title(code: str) -> None:
    for example in FUSIONS[code].examples:
        for finding in Analysis(example.before).findings:
            if finding.code == code and finding.safety is not Safety.EXACT:
                assert finding.safety.value in finding.title


@pytest.mark.parametrize(("code", "example"), EXAMPLES, ids=numbered)
def test_an_example_is_fixed_once(code: str, example: Example) -> None:
    assert [finding.code for finding in Analysis(example.after).findings if finding.code == code] == []
