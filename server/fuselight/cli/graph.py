"""`fuselight graph`: a class as a picture, what can be fused marked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fuselight.cli import ERROR, FOUND_NOTHING

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]

    from fuselight.analysis import Analysis


def add_command(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "graph",
        help="draw the forward of a class",
        description="Draw the forward of a class: its layers and calls, the data between them, what can be fused.",
    )
    parser.add_argument("place", metavar="PATH[:LINE]", help="a file, and a line of the class where it has several")
    parser.add_argument("--format", choices=("mermaid", "svg"), default="mermaid", help="the default is mermaid")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from fuselight.analysis import Analysis
    from fuselight.cli.terminal import report_error, write
    from fuselight.drawing.diagram import NothingToDraw, diagram
    from fuselight.project.reading import ReadingProblem, read_source
    from fuselight.project.settings import SettingsError, load_settings
    from fuselight.project.suppression import suppressions

    path, row = _place(arguments.place)
    source = read_source(path)
    if isinstance(source, ReadingProblem):
        report_error(f"{path}: {source.message}")
        return ERROR
    try:
        settings = load_settings(path)
    except SettingsError as error:
        report_error(str(error))
        return ERROR
    analysis = Analysis(source.text, line_length=settings.line_length)
    silenced = suppressions(source.text)
    findings = [
        finding
        for finding in analysis.findings
        if settings.includes(finding.code) and not silenced.silences(finding, analysis.lines)
    ]
    try:
        offset = _only_class(analysis, str(path)) if row is None else _start_of(analysis, row)
        picture = diagram(analysis, offset, findings)
    except NothingToDraw as nothing:
        report_error(f"{arguments.place}: {nothing}")
        return ERROR
    if arguments.format == "svg":
        from fuselight.drawing.svg import svg

        write(svg(picture), FOUND_NOTHING)
    else:
        from fuselight.drawing.mermaid import mermaid

        write(mermaid(picture), FOUND_NOTHING)
    return FOUND_NOTHING


def _place(text: str) -> tuple[Path, int | None]:
    """A path, and the row behind its last colon; a file whose own name ends so is taken whole."""
    path, colon, row = text.rpartition(":")
    if colon and row.isascii() and row.isdigit() and not os.path.exists(text):
        return Path(path), int(row)
    return Path(text), None


def _start_of(analysis: Analysis, row: int) -> int:
    """Where the code of a row begins: in a class, and not before it."""
    from fuselight.drawing.diagram import NothingToDraw

    if not 1 <= row <= len(analysis.lines):
        raise NothingToDraw(f"the file has {len(analysis.lines)} lines")
    body = analysis.lines.line_body(row - 1)
    return analysis.lines.starts[row - 1] + len(body) - len(body.lstrip())


def _only_class(analysis: Analysis, path: str) -> int:
    """The one class of the file that has a forward; where there are several, the reason names them."""
    from fuselight.drawing.diagram import FORWARDS, NothingToDraw

    module = analysis.module
    found = [info for info in module.classes if any(name in info.methods for name in FORWARDS)]
    starts = [module.starts[info.statement] + info.statement.span(info.node).start for info in found]
    if len(found) == 1:
        return starts[0]
    if not found:
        raise NothingToDraw("no class has a forward")
    rows = (analysis.lines.row_column(start)[0] for start in starts)
    listed = ", ".join(f"{path}:{row} ({info.name})" for info, row in zip(found, rows, strict=True))
    raise NothingToDraw(f"several classes have a forward, name one by a line: {listed}")
