"""What was found in a text is not looked for again; what an edit does always is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fuselight.analysis
import fuselight.cli.run
from cli.conftest import Run, StandIn

MODEL = "fuse_exact(x)\nfuse_checkpoint(y)\nrefused(z)\n"


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the runs of one test remember."""
    folder = tmp_path_factory.mktemp("remembered")
    monkeypatch.setenv("FUSELIGHT_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def read(cache: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were analysed."""
    texts: list[str] = []

    class Counting(StandIn):
        def __init__(self, text: str, **options: Any) -> None:
            texts.append(text)
            super().__init__(text, **options)

    monkeypatch.setattr(fuselight.analysis, "Analysis", Counting)
    monkeypatch.setattr(fuselight.cli.run, "Analysis", Counting)
    return texts


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*/*.json"))


@pytest.mark.parametrize("layout", ["concise", "github"])
def test_the_same_text_is_not_analysed_again(
    run: Run, files: Callable[..., None], read: list[str], layout: str
) -> None:
    files(model=MODEL, other=MODEL, plain="y = 1\n")
    first = run("check", "--output-format", layout)
    assert sorted(read) == sorted([MODEL, "y = 1\n"])  # two files of one text are one
    assert run("check", "--output-format", layout) == first
    assert "model.py" in first.out
    assert "other.py" in first.out
    assert len(read) == 2
    assert run("check", "--output-format", layout, "--no-cache") == first
    assert len(read) == 5


@pytest.mark.parametrize("layout", ["full", "json", "sarif"])
def test_what_shows_edits_analyses_where_there_are_findings(
    run: Run, files: Callable[..., None], read: list[str], layout: str
) -> None:
    files(model=MODEL, plain="y = 1\n")
    first = run("check", "--output-format", layout)
    read.clear()
    assert run("check", "--output-format", layout) == first
    assert read == [MODEL]


def test_near_misses_are_looked_for(run: Run, files: Callable[..., None], read: list[str]) -> None:
    files(model=MODEL)
    run("check")
    ran = run("check", "--refused", "--output-format", "concise")
    assert "it is also called elsewhere" in ran.out
    assert len(read) == 2


def test_a_text_that_changes_is_analysed(run: Run, files: Callable[..., None], read: list[str]) -> None:
    files(model=MODEL)
    run("check", "--output-format", "concise")
    files(model=MODEL.replace("(x)", "(w)"))
    assert "model.py:1:1" in run("check", "--output-format", "concise").out
    assert len(read) == 2


def test_settings_apply_to_what_is_remembered(run: Run, files: Callable[..., None], read: list[str]) -> None:
    silenced = MODEL.replace("fuse_exact(x)", "fuse_exact(x)  # fuselight: ignore")
    files(model=silenced)
    for _ in range(2):
        assert "FUS401" not in run("check", "--output-format", "concise").out
    assert "FUS201" in run("check", "--output-format", "concise").out
    assert "FUS201" not in run("check", "--output-format", "concise", "--allow", "exact").out
    assert len(read) == 1
    # Of two overlapping fusions another may win where one is not looked for.
    for _ in range(2):
        assert run("check", "--output-format", "concise", "--ignore", "FUS201").out.count("model.py") == 0
    assert len(read) == 2


def test_fix_where_nothing_is_left(run: Run, tmp_path: Path, files: Callable[..., None], read: list[str]) -> None:
    files(model=MODEL)
    assert "FUS401" in run("fix").out
    fixed = (tmp_path / "model.py").read_text()
    assert fixed.startswith("fused(x)\n")
    read.clear()
    again = run("fix")
    assert "1 more with `--allow checkpoint`" in again.out
    assert read == []
    assert "FUS201" in run("check", "--output-format", "concise").out
    assert read == []
    assert run("fix", "--allow", "checkpoint").status == 0
    assert (tmp_path / "model.py").read_text().startswith("fused(x)\nfused(y)\n")
    assert read != []


@pytest.mark.parametrize("text", ["fuse_exact(x)\ndef (\n", "fuse_exact(x)  # fault\n", "crash\n"])
def test_what_went_wrong_is_said_again(
    run: Run, files: Callable[..., None], read: list[str], cache: Path, text: str
) -> None:
    files(model=text)
    first = run("check")
    assert first.status == 2
    assert run("check") == first
    assert entries(cache) == []


def test_an_entry_that_is_none(run: Run, files: Callable[..., None], read: list[str], cache: Path) -> None:
    files(model=MODEL)
    first = run("check", "--output-format", "concise")
    (entry,) = entries(cache)
    entry.write_text(json.dumps({"findings": [{"code": "FUS401"}], "pages": {}}))
    assert run("check", "--output-format", "concise") == first
    assert len(read) == 2


def test_standard_input_too(run: Run, read: list[str]) -> None:
    for _ in range(2):
        assert run("fix", "-", stdin=b"y = 1\n").out == "y = 1\n"
    assert read == ["y = 1\n"]


def test_processes_share_it(cache: Path, tmp_path: Path) -> None:
    for number in range(12):
        text = f"import torch\n\n\ndef f(x):\n    return x * torch.sigmoid(x) + {number}\n"
        (tmp_path / f"m{number}.py").write_text(text, "utf-8")

    def ran() -> tuple[int, str, str]:
        command = [sys.executable, "-m", "fuselight", "check", "--output-format", "concise"]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return found.returncode, found.stdout, found.stderr

    first = ran()
    assert first[1].count("FUS401") == len(entries(cache)) == 12
    for entry in entries(cache):
        told = json.loads(entry.read_text("utf-8"))
        told["findings"][0]["message"] = "as it was remembered"
        entry.write_text(json.dumps(told), "utf-8")
    assert ran()[1].count("as it was remembered") == 12
