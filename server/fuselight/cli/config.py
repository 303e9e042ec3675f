"""`fuselight config`: the settings of a path, and where each comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fuselight.cli import ERROR, FOUND_NOTHING

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]
    from collections.abc import Iterator

    from fuselight.project.settings import Loaded

_EPILOG = """\
The editor's settings, which have the same names and win, are not among them: the server is told those.
exit status: 0, or 2 where a setting cannot be used"""


def add_command(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "config",
        help="show the settings of a path",
        description="Print the settings that hold for a file or directory, as TOML.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--explain", action="store_true", help="say which file, or default, gave each value")
    parser.add_argument(
        "path", nargs="?", default=".", metavar="PATH", help="a file or directory (default: the current directory)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from fuselight.cli.terminal import report_error, write
    from fuselight.project.settings import look_up

    path = Path(arguments.path)
    if not path.exists():
        report_error(f"{path}: no such file or directory")
        return ERROR
    loaded = look_up(path)
    for problem in loaded.problems:
        report_error(str(problem))
    status = ERROR if loaded.problems else FOUND_NOTHING
    lines = list(_lines(loaded))
    width = max(len(line) for line, _ in lines)
    write(
        "".join(f"{line:<{width}}  # {origin}\n" if arguments.explain else f"{line}\n" for line, origin in lines),
        status,
    )
    return status


def _lines(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Each setting as a line of TOML, and where its value comes from."""
    from fuselight.fusions.model import Safety

    settings = loaded.settings
    values: dict[str, object] = {
        "line-length": settings.line_length,
        "select": settings.select,
        "ignore": settings.ignore,
        "allow": [safety.value for safety in Safety if safety in settings.reported],
        "exclude": settings.exclude,
        "respect-gitignore": settings.respect_gitignore,
    }
    for name, value in values.items():
        yield f"{name} = {_toml(value)}", loaded.origins.get(name, "default")
    for safety in Safety:
        origin = loaded.origins.get("severity", "") if safety in settings.severity else "default"
        yield f"severity.{safety.value} = {_toml(settings.severity_of(safety).value)}", origin


def _toml(value: object) -> str:
    # JSON's strings, numbers, truth values and lists are TOML's too.
    import json

    return json.dumps(value, ensure_ascii=False)
