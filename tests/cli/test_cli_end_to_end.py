"""The installed command on real model files, with the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("fuselight.fusions.registry") is None, reason="a checkout without the catalogue"
)

MODEL = """\
import torch
import torch.nn as nn


class Gate(nn.Module):
    def forward(self, x):
        y = x * torch.sigmoid(x)  # the gate
        return y
"""
PLAIN = """\
import torch


def scale(x, y):
    return x * torch.sigmoid(y)
"""


def fuselight(cwd: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "fuselight", *arguments],
        cwd=cwd,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_checked_fixed_and_checked_again(tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(MODEL, "utf-8")
    (tmp_path / "plain.py").write_text(PLAIN, "utf-8")

    found = fuselight(tmp_path, "check", "--output-format", "concise")
    assert (found.returncode, found.stderr) == (1, "")
    first, last = found.stdout.splitlines()
    assert first.startswith("model.py:7:13: FUS401 [exact] ")
    assert last == "Found 1 fusion (1 fixable with `fuselight fix`)."

    shown = fuselight(tmp_path, "fix", "--diff")
    assert (shown.returncode, shown.stderr) == (1, "Would apply 1 fusion in 1 file.\n")
    assert "-        y = x * torch.sigmoid(x)  # the gate\n" in shown.stdout
    assert model.read_text("utf-8") == MODEL

    fixed = fuselight(tmp_path, "fix")
    assert (fixed.returncode, fixed.stderr) == (0, "")
    assert "silu(x)  # the gate\n" in model.read_text("utf-8")
    assert (tmp_path / "plain.py").read_text("utf-8") == PLAIN
    again = fuselight(tmp_path, "check")
    assert (again.returncode, again.stdout, again.stderr) == (0, "No fusions found.\n", "")


def test_a_filter_does_what_fix_does(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    filtered = fuselight(tmp_path, "fix", "-", stdin=MODEL)
    fuselight(tmp_path, "fix")
    assert filtered.stdout == (tmp_path / "model.py").read_text("utf-8") != MODEL


def test_json_edits_are_the_fix(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    (found,) = json.loads(fuselight(tmp_path, "check", "--output-format", "json").stdout)
    lines = MODEL.splitlines(keepends=True)
    text = MODEL
    for edit in reversed(found["fix"]["edits"]):
        start, end = (
            sum(map(len, lines[: edit[end]["row"] - 1])) + edit[end]["column"] - 1
            for end in ("location", "end_location")
        )
        text = text[:start] + edit["content"] + text[end:]
    assert text == fuselight(tmp_path, "fix", "-", stdin=MODEL).stdout
    assert (found["code"], found["safety"], found["scope"]) == ("FUS401", "exact", "Gate.forward")


@pytest.mark.parametrize(
    ("arguments", "comment"),
    [
        (["--ignore", "FUS401"], ""),
        (["--select", "FUS1"], ""),
        ([], "# fuselight: ignore"),
        ([], "# fuselight: ignore[FUS4]"),
    ],
)
def test_silenced(tmp_path: Path, arguments: list[str], comment: str) -> None:
    (tmp_path / "model.py").write_text(MODEL.replace("# the gate", comment), "utf-8")
    assert fuselight(tmp_path, "check", *arguments).returncode == 0
    assert fuselight(tmp_path, "fix", "--diff", *arguments).stdout == ""


def test_a_broken_file_keeps_its_other_findings_and_is_not_edited(tmp_path: Path) -> None:
    broken = MODEL + "\n\ndef half(:\n    pass\n"
    (tmp_path / "model.py").write_text(broken, "utf-8")
    found = fuselight(tmp_path, "check", "--output-format", "concise")
    assert found.returncode == 2
    assert found.stderr.startswith("error: model.py:11:")
    assert "model.py:7:13: FUS401" in found.stdout
    assert fuselight(tmp_path, "fix").returncode == 2
    assert (tmp_path / "model.py").read_text("utf-8") == broken


def test_many_files_in_processes(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"m{number:02}.py").write_text(MODEL, "utf-8")
    found = fuselight(tmp_path, "check", "--output-format", "concise")
    assert found.stderr == ""
    assert [line[:10] for line in found.stdout.splitlines()[:-1]] == [f"m{number:02}.py:7:1" for number in range(30)]


def test_every_page_is_printed(tmp_path: Path) -> None:
    listed = [line.split()[0] for line in fuselight(tmp_path, "rule").stdout.splitlines()]
    assert "FUS401" in listed
    assert listed == sorted(set(listed))
    page = fuselight(tmp_path, "rule", "FUS401")
    assert page.returncode == 0
    assert "spelled-out-silu" in page.stdout
