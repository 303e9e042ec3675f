"""The command line's grammar, and what its options say as settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from fuselight import __version__
from fuselight.cli import ERROR

_COMMANDS = ("check", "fix", "rule", "graph", "config", "server")

_EPILOG = """\
exit status: 0 nothing found, 1 findings, 2 an error (an unreadable file, a bad setting)

Settings are read from [tool.fuselight] of the nearest pyproject.toml; options win.
`# fuselight: ignore[FUS101]` on a line silences it, `# fuselight: ignore-file` a file."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error of the command line is said."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (see `{self.prog} --help`)", file=sys.stderr)
        sys.exit(ERROR)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of a run; `run` among them is the command to call with them."""
    parser = Parser(
        prog="fuselight",
        description="Finds layer sequences in model code that one existing, faster call can replace.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fuselight {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    given = sys.argv[1:] if argv is None else argv
    # The one that is named will do: the server's start does not wait for what the others import.
    named = given[0] if given and given[0] in _COMMANDS else None
    for name in _COMMANDS:
        if named in (None, name):
            import_module(f"fuselight.cli.{name}").add_command(commands)
    return parser.parse_args(given)
