"""A JSON list of objects, one a finding, for scripts; the fields are ruff's and three of our own."""

from __future__ import annotations

import json
from pathlib import Path

from fuselight.cli.formats import Report, page_url
from fuselight.cli.run import STANDARD_INPUT, Site
from fuselight.source.lines import LineIndex


def render(report: Report) -> str:
    objects: list[dict[str, object]] = []
    for file in report.files:
        lines = LineIndex(file.text)
        filename = absolute(file.path)
        objects += [_object(site, filename, lines) for site in file.sites]
    return json.dumps(objects, indent=2) + "\n"


def absolute(path: Path) -> str:
    return STANDARD_INPUT if str(path) == STANDARD_INPUT else str(path.absolute())


def _object(site: Site, filename: str, lines: LineIndex) -> dict[str, object]:
    finding = site.finding
    fix: dict[str, object] | None = None
    if site.fix is not None:
        edits = [
            {
                "content": edit.content,
                "location": _place(lines, edit.start),
                "end_location": _place(lines, edit.end),
            }
            for edit in site.fix.edits
        ]
        fix = {"message": site.fix.title, "edits": edits}
    return {
        "code": finding.code,
        "name": finding.name,
        "message": finding.message,
        "safety": finding.safety.value,
        "scope": finding.scope,
        "filename": filename,
        "location": _place(lines, finding.span.start),
        "end_location": _place(lines, finding.span.end),
        "fix": fix,
        "refused": finding.refused,
        "url": page_url(finding.code),
    }


def _place(lines: LineIndex, offset: int) -> dict[str, int]:
    row, column = lines.row_column(offset)
    return {"row": row, "column": column}
