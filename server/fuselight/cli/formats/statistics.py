"""How many there are of each code and safety class."""

from __future__ import annotations

import json
from collections import Counter

from fuselight.cli.formats import Report, label, summary

_Row = tuple[str, str, str]


def render(report: Report) -> str:
    counts = _counts(report)
    width = max((len(str(count)) for _, count in counts), default=0)
    classes = max((len(safety) for (_, safety, _), _ in counts), default=0) + 2
    style = report.style
    rows = (
        f"{style.bold(f'{count:>{width}}')}  {style.code(code)}  {f'[{safety}]':<{classes}}  {name}\n"
        for (code, safety, name), count in counts
    )
    return "".join(rows) + summary(report)


def render_json(report: Report) -> str:
    """A list of objects with `code`, `name`, `safety` ("refused" for near misses) and `count`."""
    counted = [
        {"code": code, "name": name, "safety": safety, "count": count}
        for (code, safety, name), count in _counts(report)
    ]
    return json.dumps(counted, indent=2) + "\n"


def _counts(report: Report) -> list[tuple[_Row, int]]:
    """The most frequent first, then by code."""
    counts = Counter((site.finding.code, label(site), site.finding.name) for site in report.sites())
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
