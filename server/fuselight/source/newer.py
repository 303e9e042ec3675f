"""Syntax that a later Python has: a file in it is not wrong, only newer than the Python that reads it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

_SOFT_TYPE = re.compile(r"^\s*type\s+[^\W\d]\w*\s*(\[[^\]]*\])?\s*=(?!=)")
_TYPE_PARAMETERS = re.compile(r"^\s*(?:async\s+)?(?:def|class)\s+[^\W\d]\w*\s*\[")
_NESTED_QUOTES = re.compile(r"""\b[rR]?[fF][rR]?(["']).*\{[^}]*\1[^}]*\}""")
_BARE_EXCEPT = re.compile(r"^\s*except\*?\s+[\w.]+\s*,\s*[\w.]+[\w., ]*:")
_TEMPLATE = re.compile(r"""(?<![\w"'])[rR]?[tT][rR]?["']""")

_SYNTAX: tuple[tuple[tuple[int, int], Callable[[str], object]], ...] = (
    ((3, 12), _SOFT_TYPE.search),
    ((3, 12), _TYPE_PARAMETERS.search),
    ((3, 12), _NESTED_QUOTES.search),
    ((3, 14), _BARE_EXCEPT.search),
    ((3, 14), _TEMPLATE.search),
)


def newer_python_of(error: SyntaxError, text: str) -> str | None:
    """The version ("3.12") whose syntax `error` met in `text`, where it is newer than the running Python.

    Source: PEP 695 (type parameters), PEP 701 (f-strings), PEP 758 (`except A, B:`), PEP 750 (template strings).
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    at = (error.lineno or 1) - 1
    if not 0 <= at < len(lines):
        return None
    for version, found in _SYNTAX:
        if version > sys.version_info[:2] and found(lines[at]):
            return f"{version[0]}.{version[1]}"
    return None
