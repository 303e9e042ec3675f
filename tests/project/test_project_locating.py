"""The place of a bad setting in its file."""

from __future__ import annotations

import pytest

from fuselight.project.locating import place_of
from fuselight.project.settings import SettingsError


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("[tool.fuselight]\nline-length = 0", "tool.fuselight.line-length", (2, "line-length")),
        ("[ tool . fuselight ]\n  'line-length' = 0", "tool.fuselight.line-length", (2, "'line-length'")),
        ("[tool]\nfuselight.line-length = 0", "tool.fuselight.line-length", (2, "fuselight.line-length")),
        ("tool.fuselight = {line-length = 0}", "tool.fuselight.line-length", (1, "tool.fuselight")),
        ("[tool]\nfuselight = 3", "tool.fuselight", (2, "fuselight")),
        ("tool = 3", "tool", (1, "tool")),
        ("[tool.fuselight.severity]\nexact = 1", "tool.fuselight.severity.exact", (2, "exact")),
        ("[tool.fuselight]\nseverity = {exact = 1}", "tool.fuselight.severity.exact", (2, "severity")),
        ("[tool.fuselight]\nseverity.exact = 1", "tool.fuselight.severity.exact", (2, "severity.exact")),
        (
            "[tool.x]\nline-length = 1\n[tool.fuselight]\n\nline-length = 0",
            "tool.fuselight.line-length",
            (5, "line-length"),
        ),
        ('a = """\n[tool.fuselight]\nb = 1\n"""\n[tool.fuselight]\nb = 0', "tool.fuselight.b", (6, "b")),
        ("[tool.fuselight]\na = [ # ]\n'b = 1', [\n],\n]\nb = 0", "tool.fuselight.b", (6, "b")),
        ("x = 1\r\n[tool.fuselight]\r\nb = 0", "tool.fuselight.b", (3, "b")),
        ("", "tool.fuselight", (1, "")),
    ],
)
def test_the_place_of_a_key(text: str, key: str, shown: tuple[int, str]) -> None:
    assert found(SettingsError("pyproject.toml", key, "not allowed"), text) == shown


@pytest.mark.parametrize(
    ("text", "problem", "shown"),
    [
        ("a = 1\nb = = 2", "is no TOML: Invalid value (at line 2, column 5)", (2, "= 2")),
        ("[tool", "is no TOML: Expected ']' (at line 1, column 6)", (1, "")),
        ("a = [", "is no TOML: Invalid value (at end of document)", (1, "")),
        ("a = 1\n", "cannot be read: Permission denied", (1, "")),
        ("a", "is no TOML (at line 9, column 9)", (1, "")),
    ],
)
def test_the_place_of_a_fault(text: str, problem: str, shown: tuple[int, str]) -> None:
    assert found(SettingsError("pyproject.toml", None, problem), text) == shown


def found(problem: SettingsError, text: str) -> tuple[int, str]:
    span = place_of(problem, text)
    return text[: span.start].count("\n") + 1, text[span.start : span.end]
