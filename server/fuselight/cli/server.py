"""`fuselight server`: the language server."""

from __future__ import annotations

import argparse
import gc
from typing import TYPE_CHECKING

from fuselight.cli import FOUND_NOTHING

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]

LOOPBACK = "127.0.0.1"


def add_command(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "server", help="run the language server", description="Run the language server, on standard input and output."
    )
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="standard input and output (the default)")
    transport.add_argument(
        "--tcp",
        type=address,
        metavar="[HOST:]PORT",
        help=f"listen there instead; without a host on {LOOPBACK}. Whoever can connect can read what is open.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from fuselight.lsp import start

    gc.enable()
    host, port = arguments.tcp or (None, None)
    start(host, port)
    return FOUND_NOTHING


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPv6]:PORT`, `:PORT` or `PORT`."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"{text!r}: an IPv6 address stands in brackets, [::1]:2087")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host or LOOPBACK, int(port)
