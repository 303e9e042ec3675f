"""Workflow commands that GitHub Actions shows as annotations.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from fuselight.cli.formats import Report, label, notes
from fuselight.cli.run import FileReport, Site, displayed
from fuselight.source.lines import LineIndex


def render(report: Report) -> str:
    out: list[str] = []
    for file in report.files:
        lines = LineIndex(file.text)
        out += [_command(site, file, lines) for site in file.sites]
        for error in file.errors:
            place = f"file={_property(displayed(file.path))}"
            if error.row is not None:
                place += f",line={error.row},col={error.column}"
            out.append(f"::error title=fuselight,{place}::{_data(error.line(file.path))}\n")
    return "".join(out)


def _command(site: Site, file: FileReport, lines: LineIndex) -> str:
    finding = site.finding
    path = displayed(file.path)
    row, column = lines.row_column(finding.span.start)
    end_row, end_column = lines.row_column(finding.span.end)
    properties = [f"title=fuselight ({_property(finding.code)})", f"file={_property(path)}", f"line={row}"]
    # Columns go with a place on one line only.
    if row == end_row:
        properties += [f"col={column}", f"endLine={end_row}", f"endColumn={end_column}"]
    else:
        properties.append(f"endLine={end_row}")
    level = "warning" if finding.refused is None else "notice"
    message = f"{path}:{row}:{column}: {finding.code} [{label(site)}] {finding.message}"
    data = _data("\n  ".join([message, *(f"{name}: {text}" for name, text in notes(finding))]))
    return f"::{level} {','.join(properties)}::{data}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
