"""`fuselight rule`: the page of a fusion, or the list of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fuselight.cli import ERROR, FOUND_NOTHING

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]


def add_command(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "rule",
        help="explain a fusion, or list them",
        description="Print the page of one fusion: what it does, why it pays, when it refuses; or list all.",
    )
    parser.add_argument("code", nargs="?", metavar="CODE", help="a code (FUS401) or a name (spelled-out-silu)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from fuselight.cli.terminal import report_error, write
    from fuselight.fusions.registry import FUSIONS

    fusions = sorted(FUSIONS.values(), key=lambda fusion: fusion.code)
    if arguments.code is None:
        width = max((len(fusion.name) for fusion in fusions), default=0)
        listed = (f"{fusion.code}  {fusion.name:<{width}}  {fusion.summary}".rstrip() for fusion in fusions)
        write("".join(f"{line}\n" for line in listed), FOUND_NOTHING)
        return FOUND_NOTHING
    for fusion in fusions:
        if arguments.code.casefold() in (fusion.code.casefold(), fusion.name.casefold()):
            page = fusion.page.strip()
            title = "" if page.startswith("# ") else f"# {fusion.name} ({fusion.code})\n\n"
            write(f"{title}{page}\n", FOUND_NOTHING)
            return FOUND_NOTHING
    report_error(f"no fusion has the code {arguments.code!r}; known are {', '.join(fusion.code for fusion in fusions)}")
    return ERROR
