"""The installed command on real model files, with the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        pytest.param("check plain.py", 0, "", id="nothing found"),
        pytest.param("check empty", 0, "warning: no Python files found under the given paths\n", id="nothing to read"),
        pytest.param("check --refused refused.py", 0, "", id="a near miss is no finding"),
        pytest.param("check model.py --ignore FUS4", 0, "", id="all that there is is ignored"),
        pytest.param("check model.py", 1, "", id="a finding"),
        pytest.param("check model.py plain.py", 1, "", id="a finding in one of two"),
        pytest.param("check model.py --statistics", 1, "", id="a finding, counted"),
        pytest.param("fix --diff model.py", 1, "Would apply 1 fusion in 1 file.\n", id="a diff"),
        pytest.param("fix --diff plain.py", 0, "Nothing to apply.\n", id="no diff"),
        pytest.param("fix plain.py", 0, "", id="nothing to fix"),
        pytest.param("fix model.py", 0, "", id="fixed"),
        pytest.param("fix generated.py", 1, "", id="its edit is withheld"),
        pytest.param("rule FUS401", 0, "", id="a page"),
        pytest.param("rule FUS9", 2, "error: no fusion has the code 'FUS9'", id="no such page"),
        pytest.param("check gone.py model.py", 2, "error: gone.py: no such file", id="a path that is not there"),
        pytest.param("fix gone.py model.py", 2, "error: gone.py: no such file", id="a path to fix that is not there"),
        pytest.param("check binary.py model.py", 2, "error: binary.py: a binary file", id="a binary file"),
        pytest.param("check broken.py model.py", 2, "error: broken.py:1:", id="a syntax error"),
        pytest.param("check coded.py model.py", 2, "error: coded.py: not utf-8 at byte 5", id="an undecodable file"),
        pytest.param("check newer.py model.py", 2, "error: newer.py:1:", id="syntax that no Python has yet"),
        pytest.param("check bad model.py", 2, "error: {tmp}/bad/pyproject.toml: tool.", id="a bad setting"),
        pytest.param("check --select FUS9", 2, "error: command line: select: ['FUS9']", id="a code that is not there"),
        pytest.param("check --frobnicate", 2, "error: unrecognized arguments", id="an option that is not there"),
    ],
)
def test_exit_status(tmp_path: Path, arguments: str, status: int, said: str) -> None:
    texts = {
        "model": MODEL,
        "plain": PLAIN,
        "refused": MODEL.replace("y = x * torch.sigmoid(x)", "s = torch.sigmoid(x)\n        y = x * s + s"),
        "generated": f"# @generated\n{MODEL}",
        "binary": "\0",
        "broken": "def f(:\n",
        "coded": b"s = '\xff'\n",
        "newer": "type X = = int\n",
        "bad/model": MODEL,
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "pyproject.toml").write_text("[tool.fuselight]\nallow = ['chekpoint']\n", "utf-8")
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    ran = fuselight(tmp_path, *arguments.split())
    assert ran.returncode == status
    assert ran.stderr.startswith(said.replace("{tmp}", str(tmp_path)))
    assert ran.stderr.count("\n") == (1 if said else 0)
    if "model.py" in arguments.split()[2:]:
        assert "model.py" in ran.stdout


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python knows the syntax")
@pytest.mark.parametrize("text", ["type X = int\n", "def f[T](x: T) -> T: ...\n"])
def test_newer_syntax_is_said_as_that(tmp_path: Path, text: str) -> None:
    (tmp_path / "newer.py").write_text(f"{text}\n\n{MODEL}", "utf-8")
    found = fuselight(tmp_path, "check", "--output-format", "concise")
    assert found.returncode == 2
    assert ": syntax of Python 3.12; fuselight runs on Python 3.11 (" in found.stderr
    assert "FUS401" in found.stdout
    assert fuselight(tmp_path, "fix").returncode == 2
    assert (tmp_path / "newer.py").read_text("utf-8") == f"{text}\n\n{MODEL}"


def test_the_example(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "examples" / "hybrid_vit.py").read_text("utf-8")
    (tmp_path / "vit.py").write_text(text, "utf-8")
    found = json.loads(fuselight(tmp_path, "check", "--allow", "all", "--output-format", "json").stdout)
    assert {each["code"] for each in found} == {"FUS101", "FUS103", "FUS201", "FUS401"}
    assert all(each["fix"] and each["refused"] is None and each["scope"] for each in found)
    fixed = fuselight(tmp_path, "fix", "--allow", "all")
    assert (fixed.returncode, fixed.stderr) == (0, "")
    assert fixed.stdout.count("\n    FUS") == len(found)
    again = fuselight(tmp_path, "check", "--allow", "all")
    assert (again.returncode, again.stdout) == (0, "No fusions found.\n")


def test_git_applies_the_diff(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "examples" / "hybrid_vit.py").read_text("utf-8")
    (tmp_path / "vit.py").write_text(text, "utf-8")
    diff = fuselight(tmp_path, "fix", "--diff", "--allow", "all").stdout
    fixed = fuselight(tmp_path, "fix", "--allow", "all", "-", stdin=text).stdout
    subprocess.run(["git", "apply", "-p0"], input=diff, cwd=tmp_path, text=True, check=True)
    assert (tmp_path / "vit.py").read_text("utf-8") == fixed != text


def test_gitignore_is_respected(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("made/\n*_gen.py\n", "utf-8")
    for name in ("model", "x_gen", "made/model", "kept/model", "kept/x_gen"):
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(MODEL, "utf-8")
    found = fuselight(tmp_path, "check", "--output-format", "concise").stdout
    assert [line.split(":")[0] for line in found.splitlines()[:-1]] == ["kept/model.py", "model.py"]
    named = fuselight(tmp_path, "check", "--output-format", "concise", "x_gen.py").stdout
    assert named.startswith("x_gen.py:7:13")


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
