"""`fuselight config`: the settings of a path, and where each comes from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fuselight.project.settings import Settings


def test_the_defaults_are_toml_that_is_read_back(run, tmp_path: Path) -> None:
    ran = run("config", str(tmp_path))
    assert (ran.status, ran.err) == (0, "")
    assert "#" not in ran.out
    merged = Settings().merge(tomllib.loads(ran.out))
    assert merged.reported == Settings().reported
    assert (merged.line_length, merged.select, merged.exclude) == (88, ("ALL",), ())


def test_each_value_names_its_file_or_that_it_is_the_default(run, tmp_path: Path) -> None:
    outer, inner = tmp_path / "pyproject.toml", tmp_path / "pkg" / "pyproject.toml"
    inner.parent.mkdir()
    outer.write_text("[tool.ruff]\nline-length = 100\n[tool.fuselight]\nignore = ['FUS2']\n")
    inner.write_text("[tool.fuselight]\nallow = ['exact']\nseverity.exact = 'warning'\n")
    model = inner.with_name("model.py")
    model.write_text("")
    ran = run("config", "--explain", str(model))
    assert (ran.status, ran.err) == (0, "")
    shown = {line.partition(" = ")[0]: line.partition(" = ")[2].split("  # ") for line in ran.out.splitlines()}
    told = {name: (value.strip(), origin) for name, (value, origin) in shown.items()}
    assert told["line-length"] == ("100", f"{outer} (tool.ruff.line-length)")
    assert told["ignore"] == ("[]", "default")
    assert told["allow"] == ('["exact"]', f"{inner} (tool.fuselight.allow)")
    assert told["severity.exact"] == ('"warning"', f"{inner} (tool.fuselight.severity)")
    assert told["severity.numerics"] == ('"hint"', "default")


@pytest.mark.parametrize("explain", [[], ["--explain"]])
def test_what_is_wrong_is_an_error_and_the_rest_is_shown(run, tmp_path: Path, explain: list[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nwidth = 3\nline-length = 0\nignore = ['FUS2']\n")
    ran = run("config", *explain, str(tmp_path))
    assert ran.status == 2
    assert [line.split(": ")[2] for line in ran.err.splitlines()] == [
        "tool.fuselight.width",
        "tool.fuselight.line-length",
    ]
    assert 'ignore = ["FUS2"]' in ran.out


def test_a_path_that_is_not_there(run, tmp_path: Path) -> None:
    ran = run("config", str(tmp_path / "gone"))
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith("gone: no such file or directory\n")
