"""`fuselight check`: what could be fused, and how safely."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fuselight.cli import ERROR, FOUND, FOUND_NOTHING
from fuselight.cli.selection import add_selection, overrides

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]

FORMATS = ("full", "concise", "json", "github", "sarif")

_EPILOG = """\
exit status: 0 nothing found, 1 findings, 2 an error
Near misses that --refused lists are no findings: on their own they exit with 0."""


def add_command(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="report what could be fused",
        description="Report what could be fused, and how safely. Nothing is edited, imported or run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(
        parser,
        "safety classes to report besides exact: checkpoint, numerics, inference, breaking, or all "
        "(default: checkpoint,numerics)",
    )
    parser.add_argument("--output-format", choices=FORMATS, default="full", help="default: full")
    parser.add_argument("--statistics", action="store_true", help="count by code instead (full, concise, json)")
    parser.add_argument("--refused", action="store_true", help="list near misses too, each with its reason")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from fuselight.cli.formats import Report, render
    from fuselight.cli.run import Wanted, read_all
    from fuselight.cli.terminal import Style, colours_wanted, report_error, write
    from fuselight.project.settings import SettingsError

    if arguments.statistics and arguments.output_format in ("github", "sarif"):
        report_error(f"--statistics has no {arguments.output_format} format; it has full, concise and json")
        return ERROR
    wanted = Wanted(
        fixes=arguments.output_format in ("full", "json", "sarif") and not arguments.statistics,
        refused=arguments.refused,
    )
    try:
        files, failed = read_all(
            arguments.paths,
            overrides(arguments),
            arguments.stdin_filename,
            wanted,
            force_exclude=arguments.force_exclude,
            cached=not arguments.no_cache,
        )
    except SettingsError as error:
        report_error(str(error))
        return ERROR
    report = Report(tuple(files), Style(colours_wanted(sys.stdout)))
    failed = failed or any(file.errors for file in files)
    status = ERROR if failed else FOUND if report.found else FOUND_NOTHING
    for file in files:
        for error in file.errors:
            report_error(error.line(file.path))
    write(render(report, arguments.output_format, statistics=arguments.statistics), status)
    return status
