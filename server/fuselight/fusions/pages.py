"""Where the page of a fusion lies."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuselight.fusions.model import Finding


def page_of(code: str) -> str | None:
    """The fusion's page: its address, or the file whose docstring it is, which is there without a network."""
    from fuselight.fusions.base import FUSIONS as CLASSES
    from fuselight.fusions.registry import FUSIONS

    about, fusion = FUSIONS.get(code), CLASSES.get(code)
    if about is None or fusion is None:
        return None
    file = getattr(sys.modules.get(fusion.__module__), "__file__", None)
    return about.url or (Path(file).as_uri() if file and Path(file).is_file() else None)


def pages_of(findings: Iterable[Finding]) -> dict[str, str]:
    """The addresses of the pages of the fusions."""
    return {code: page for code in {finding.code for finding in findings} if (page := page_of(code))}
