"""The options that `check` and `fix` share: which paths, which fusions, how safe."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuselight.fusions.model import Safety


def add_selection(parser: argparse.ArgumentParser, allow: str) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        default=["."],
        metavar="PATH",
        help="files, directories, or - for standard input (default: the current directory)",
    )
    parser.add_argument("--allow", action="append", metavar="SAFETY", help=allow)
    parser.add_argument("--select", action="append", metavar="CODE", help="only these codes: FUS101, a prefix, or ALL")
    parser.add_argument("--ignore", action="append", metavar="CODE", help="all but these codes; the longer prefix wins")
    parser.add_argument("--line-length", type=int, metavar="N", help="lay out new code for lines of N characters")
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="read every file anew, whatever was found in the same text before",
    )
    parser.add_argument("--stdin-filename", metavar="PATH", help="the name of what comes on standard input")
    parser.add_argument(
        "--force-exclude", action="store_true", help="leave out what the settings exclude, even where it is named"
    )


def overrides(arguments: argparse.Namespace) -> dict[str, object]:
    """What the options say, under the settings' names; None where they say nothing."""
    allow = _listed(arguments.allow)
    return {
        "line-length": arguments.line_length,
        "select": _listed(arguments.select),
        "ignore": _listed(arguments.ignore),
        "allow": ["all"] if allow and "all" in allow else allow,
    }


def allowed(arguments: argparse.Namespace) -> frozenset[Safety]:
    """The safety classes that `--allow` lets `fix` apply; the exact ones always.

    Raises:
        SettingsError: no such class.
    """
    from fuselight.fusions.model import Safety
    from fuselight.project.settings import Settings

    options = {key: value for key, value in overrides(arguments).items() if key == "allow"}
    return Settings().merge(options, "command line").allow or frozenset({Safety.EXACT})


def _listed(given: list[str] | None) -> list[str] | None:
    """`--select A,B --select C` as one list."""
    if given is None:
        return None
    return [part.strip() for text in given for part in text.split(",") if part.strip()]
