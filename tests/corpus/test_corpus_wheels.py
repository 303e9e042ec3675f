"""Every file of the pinned wheels: analysed without a fault, fixed to a fixed point that parses."""

from __future__ import annotations

import ast
import logging
import sys
from collections import Counter
from pathlib import Path

import pytest

from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Safety

sys.path.insert(0, str(Path(__file__).parent))
from wheels import PINNED, sources

pytestmark = pytest.mark.corpus

LEAST = {
    "diffusers==0.42.1": 1,
    "segmentation-models-pytorch==0.6.0": 0,
    "timm==1.0.31": 1,
    "torchvision==0.29.2": 1,
    "transformers==5.23.0": 400,
    "vit-pytorch==1.26.11": 2,
    "x-transformers==2.31.10": 0,
}
"""Fewer findings than these mean that detection went blind."""


@pytest.mark.parametrize("requirement", PINNED)
def test_every_file_is_analysed_and_fixed(requirement: str, caplog: pytest.LogCaptureFixture) -> None:
    found: Counter[tuple[str, str]] = Counter()
    files = 0
    with caplog.at_level(logging.ERROR, logger="fuselight"):
        for name, text in sources(requirement):
            files += 1
            analysis = Analysis(text)
            assert not analysis.problems, name
            found.update((finding.code, finding.safety.value) for finding in analysis.findings)
            for finding in analysis.findings:
                fix = analysis.fix(finding)
                assert (fix is None) == (finding.withheld is not None), name
                if fix is not None:
                    ast.parse(fix.apply(text))
            fixed = fix_all(analysis, frozenset(Safety))
            ast.parse(fixed.text)
            left = [finding for finding in fixed.analysis.findings if finding.withheld is None]
            assert not left, (name, left)
    assert not caplog.records, [record.getMessage() for record in caplog.records]
    print(f"{requirement}: {files} files, {dict(found)}")
    assert sum(found.values()) >= LEAST[requirement]


def test_cpython_has_nothing_to_fuse() -> None:
    """Code that is no model code: the standard library that runs this test."""
    library = Path(ast.__file__).parent
    for path in sorted(library.rglob("*.py")):
        if "site-packages" in path.parts or "lib2to3" in path.parts:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        analysis = Analysis(text)
        assert not analysis.findings, path
        assert not analysis.refusals, path
