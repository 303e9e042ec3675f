"""One line a finding: `path:row:column: CODE [safety] message`."""

from __future__ import annotations

from fuselight.cli.formats import Report, label, summary
from fuselight.cli.run import displayed
from fuselight.cli.terminal import printable
from fuselight.source.lines import LineIndex


def render(report: Report) -> str:
    style = report.style
    out: list[str] = []
    for file in report.files:
        lines = LineIndex(file.text)
        path = printable(displayed(file.path))
        for site in file.sites:
            finding = site.finding
            row, column = lines.row_column(finding.span.start)
            reason = f" ({finding.refused})" if finding.refused is not None else ""
            reason += f" (no edit: {finding.withheld})" if finding.withheld is not None else ""
            message = printable(" ".join(f"{finding.message}{reason}".splitlines()))
            place = f"{style.bold(path)}{style.faint(':')}{row}{style.faint(':')}{column}{style.faint(':')}"
            out.append(f"{place} {style.code(finding.code)} [{label(site)}] {message}\n")
    return "".join(out) + summary(report)
