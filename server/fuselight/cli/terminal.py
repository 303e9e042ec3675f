"""What goes to the terminal: standard output that may close early, errors one a line, colours where they are wanted."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import TextIO


class StandardOutputClosed(Exception):
    """The reader of standard output has gone; the run's exit status is known all the same."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def prepare_output() -> None:
    """Let standard output and error print any path and source line, whatever the locale's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str, status: int) -> None:
    """Print `text` on standard output; `status` is what the run ends with if no one reads it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise StandardOutputClosed(status) from None


def write_bytes(data: bytes, status: int) -> None:
    """Put `data` on standard output as it is: no newline or encoding is touched."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise StandardOutputClosed(status) from None


def close_output() -> None:
    """Keep the interpreter's own flush at exit from failing on a pipe that is closed."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), descriptor)


def report_error(message: str) -> None:
    """One error, on one line of standard error."""
    line = " ".join(message.splitlines()) or "unknown"
    if colours_wanted(sys.stderr):
        print(f"{Style(True).error('error')}: {printable(line)}", file=sys.stderr)
    else:
        print(f"error: {printable(line)}", file=sys.stderr)


def note(message: str) -> None:
    """A line on standard error that is no error."""
    print(printable(message), file=sys.stderr)


def colours_wanted(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that should have colours (https://no-color.org, FORCE_COLOR, TERM=dumb)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """`text` with control characters shown, not sent: a file must not steer the terminal of who checks it."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\t":
        return "    "
    if "\ud800" <= character <= "\udfff":
        # An undecodable byte of a path; the stream's own error handler shows it.
        return character
    return character.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True)
class Style:
    """The colours of the reports, or none."""

    coloured: bool

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def code(self, text: str) -> str:
        return self._in("1;33", text)

    def gutter(self, text: str) -> str:
        return self._in("1;34", text)

    def caret(self, text: str) -> str:
        return self._in("1;33", text)

    def removed(self, text: str) -> str:
        return self._in("31", text)

    def added(self, text: str) -> str:
        return self._in("32", text)

    def faint(self, text: str) -> str:
        return self._in("36", text)

    def error(self, text: str) -> str:
        return self._in("1;31", text)

    def _in(self, sequence: str, text: str) -> str:
        return f"\x1b[{sequence}m{text}\x1b[0m" if self.coloured and text else text
