"""`fuselight graph`, as it is installed."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

MODEL = """\
import torch
from torch import nn


class Gate(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)
"""
TWO = f"""{MODEL}

class Other(nn.Module):
    def forward(self, x):
        return torch.relu(x)
"""


def graph(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuselight", "graph", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_the_only_class(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    ran = graph(tmp_path, "model.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "FUS401" in ran.stdout
    assert ran.stdout.splitlines()[3] == "flowchart TD"


def test_the_class_at_a_line_as_svg(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(TWO, "utf-8")
    ran = graph(tmp_path, "model.py:12", "--format", "svg")
    assert ran.returncode == 0
    assert "Other.forward" in "".join(ElementTree.fromstring(ran.stdout).itertext())


def test_what_is_silenced_or_not_selected_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL.replace("(x)\n", "(x)  # fuselight: ignore\n"), "utf-8")
    assert "FUS401" not in graph(tmp_path, "model.py").stdout
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.fuselight]\nignore = ["FUS4"]\n', "utf-8")
    assert "FUS401" not in graph(tmp_path, "model.py").stdout


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("model.py", "model.py:5 (Gate), model.py:10 (Other)"),
        ("model.py:1", "no class or function here"),
        ("model.py:99", "the file has 13 lines"),
        ("none.py", "no such file"),
        ("none.py:3", "no such file"),
        ("empty.py", "no class has a forward"),
    ],
)
def test_where_there_is_no_picture(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "model.py").write_text(TWO, "utf-8")
    (tmp_path / "empty.py").write_text("x = 1\n", "utf-8")
    ran = graph(tmp_path, place)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert reason in ran.stderr
