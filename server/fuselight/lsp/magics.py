"""What IPython understands in a cell and Python does not: masked, each character by one, so that places stay."""

from __future__ import annotations

import re

_STARTS = re.compile(r"[ \t]*(?=[%!?])|[ \t]*(?=/[A-Za-z_])")
_ASSIGNED = re.compile(r"[ \t]*[A-Za-z_][\w.,\[\] \t]*=[ \t]*(?=[%!][^=\s])")
_HELP = re.compile(r"[ \t]*(?=[A-Za-z_][\w.\[\]*]*\?{1,2}[ \t]*$)")
_CELL_MAGIC = re.compile(r"\s*%%(\w+)")
_OF_PYTHON = frozenset({"capture", "prun", "time", "timeit"})
"""The cell magics whose cell is Python all the same."""
_TOKEN = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#.*|[\[\](){}]|\\.')
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")


def masked(text: str) -> str:
    """The Python of a cell, as long as `text` and with the same lines.

    A magic becomes a name that nothing binds, behind which its words stay as a comment; a cell in another language
    becomes comments.
    """
    if not any(mark in text for mark in "%!?/"):
        return text
    magic = _CELL_MAGIC.match(text)
    if magic is not None and magic[1] not in _OF_PYTHON:
        return "".join(_commented(line) for line in _LINE.findall(text))
    found: list[str] = []
    string, depth, continued, in_magic = "", 0, False, False
    for line in _LINE.findall(text):
        body = line.rstrip("\r\n")
        if in_magic:
            found.append(_commented(line))
        elif not string and not depth and not continued and (start := _magic_in(body)) is not None:
            mask = "_#"[: len(body) - start]
            found.append(f"{body[:start]}{mask}{line[start + len(mask) :]}")
            in_magic = True
        else:
            found.append(line)
            string, depth = _left_open(body, string, depth)
        continued = body.endswith("\\")
        in_magic = in_magic and continued
    return "".join(found)


def _magic_in(line: str) -> int | None:
    """Where on a line a magic starts."""
    for pattern in (_STARTS, _ASSIGNED, _HELP):
        if (match := pattern.match(line)) is not None:
            return match.end()
    return None


def _commented(line: str) -> str:
    return f"#{line[1:]}" if line.strip("\r\n") else line


def _left_open(line: str, string: str, depth: int) -> tuple[str, int]:
    """The quotes of a string that goes on behind a line, and how many brackets do."""
    for token in _TOKEN.finditer(line):
        mark = token[0]
        if string:
            string = "" if mark == string else string
        elif mark in ('"""', "'''"):
            string = mark
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth = max(depth - 1, 0)
        elif mark.startswith("#"):
            break
    return string, depth
