"""SARIF 2.1.0, for code scanning: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from fuselight import __version__
from fuselight.cli.formats import Report, label, page_url
from fuselight.cli.formats.fingerprints import line_hashes
from fuselight.cli.run import FileReport, Site
from fuselight.fusions.model import Fix
from fuselight.source.lines import LineIndex

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "SRCROOT"

_Json = dict[str, object]


def render(report: Report) -> str:
    results: list[_Json] = []
    notifications: list[_Json] = []
    for file in report.files:
        lines = LineIndex(file.text)
        hashes = line_hashes(file.text) if file.sites else []
        results += [_result(site, file, lines, hashes) for site in file.sites]
        for error in file.errors:
            location: _Json = {"artifactLocation": _artifact(file.path)}
            if error.row is not None:
                location["region"] = {"startLine": error.row, "startColumn": error.column}
            notifications.append(
                {
                    "level": "error",
                    "message": {"text": error.message},
                    "locations": [{"physicalLocation": location}],
                }
            )
    run: _Json = {
        "tool": {"driver": {"name": "fuselight", "version": __version__, "rules": _rules(report)}},
        "originalUriBaseIds": {_ROOT: {"uri": f"{Path.cwd().as_uri()}/"}},
        # Our columns count characters, SARIF's default is UTF-16 code units.
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not notifications, "toolExecutionNotifications": notifications}],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rules(report: Report) -> list[_Json]:
    names = {site.finding.code: site.finding.name for site in report.sites()}
    if not names:
        return []
    from fuselight.fusions.registry import FUSIONS

    rules: list[_Json] = []
    for code, name in sorted(names.items()):
        rule: _Json = {"id": code, "name": name}
        if code in FUSIONS:
            rule["shortDescription"] = {"text": FUSIONS[code].summary}
            rule["fullDescription"] = {"text": FUSIONS[code].page.partition("\n## ")[0].strip()}
            rule["help"] = {"text": FUSIONS[code].page, "markdown": FUSIONS[code].page}
        if (url := page_url(code)) is not None:
            rule["helpUri"] = url
        rules.append(rule)
    return rules


def _result(site: Site, file: FileReport, lines: LineIndex, hashes: list[str]) -> _Json:
    finding = site.finding
    text = finding.message if finding.refused is None else f"{finding.message} (refused: {finding.refused})"
    artifact = _artifact(file.path)
    result: _Json = {
        "ruleId": finding.code,
        "level": "warning" if finding.refused is None else "note",
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": artifact,
                    "region": _region(lines, finding.span.start, finding.span.end),
                },
                "logicalLocations": [{"fullyQualifiedName": finding.scope}],
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": hashes[lines.line_of(finding.span.start)]},
        "properties": {"safety": label(site)},
    }
    if finding.others:
        result["relatedLocations"] = [
            {"physicalLocation": {"artifactLocation": artifact, "region": _region(lines, other.start, other.end)}}
            for other in finding.others
        ]
    if site.fix is not None:
        result["fixes"] = [_fix(site.fix, artifact, lines)]
    return result


def _fix(fix: Fix, artifact: _Json, lines: LineIndex) -> _Json:
    replacements = [
        {"deletedRegion": _region(lines, edit.start, edit.end), "insertedContent": {"text": edit.content}}
        for edit in fix.edits
    ]
    return {
        "description": {"text": fix.title},
        "artifactChanges": [{"artifactLocation": artifact, "replacements": replacements}],
    }


def _region(lines: LineIndex, start: int, end: int) -> _Json:
    row, column = lines.row_column(start)
    end_row, end_column = lines.row_column(end)
    return {"startLine": row, "startColumn": column, "endLine": end_row, "endColumn": end_column}


def _artifact(path: Path) -> _Json:
    """Relative to the current directory, so that the report reads the same on the machine that takes it in."""
    try:
        inside = path.absolute().relative_to(Path.cwd())
    except ValueError:
        return {"uri": path.absolute().as_uri()}
    return {"uri": quote(inside.as_posix(), errors="surrogateescape"), "uriBaseId": _ROOT}
