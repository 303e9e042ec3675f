"""What makes the start faster changes nothing else."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

MAGIC = importlib.util.MAGIC_NUMBER
MODEL = "import torch\n\n\ndef swish(x):\n    return x * torch.sigmoid(x)\n"


@pytest.fixture
def check(tmp_path: Path):
    model = tmp_path / "model.py"
    model.write_text(MODEL)
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": str(tmp_path / "code"),
        "PYTHONDONTWRITEBYTECODE": "",
        "FUSELIGHT_CACHE_DIR": "",
    }

    def run() -> str:
        command = [sys.executable, "-m", "fuselight", "check", "--refused", str(model)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "")
        return done.stdout

    return run


def test_reports_the_same_whatever_the_kept_code_is(tmp_path: Path, check):
    report = check()
    (kept,) = tmp_path.rglob("dataclasses.*.code")
    good = kept.read_bytes()
    assert check() == report
    assert kept.read_bytes() == good
    for content in (b"", b"no code", MAGIC, MAGIC + b"\xff", MAGIC + b"N", MAGIC + b"i\0\0\0\1", good[:1000]):
        kept.write_bytes(content)
        assert check() == report
        assert kept.read_bytes() == good


COMPARED = """
import dataclasses
from fuselight.kept_code import know_dataclasses

def made():
    @dataclasses.dataclass(frozen=True, slots=True, order=True)
    class Point:
        x: int
        y: list[int] = dataclasses.field(default_factory=list)

    one = Point(1)
    told = [repr(one), one == Point(1, []), one < Point(2), Point.__init__.__annotations__, Point.__slots__]
    try:
        one.x = 2
    except dataclasses.FrozenInstanceError as error:
        told.append(str(error))
    return told

plain = made()
know_dataclasses()
assert made() == plain
assert made() == plain
"""


def test_a_dataclass_of_kept_code_is_what_the_plain_one_is():
    done = subprocess.run([sys.executable, "-c", COMPARED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
