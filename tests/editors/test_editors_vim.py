"""A real Vim with ALE, without a screen, with the page's own blocks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from editors.debian import program
from editors.pages import block

pytestmark = pytest.mark.editor

SESSION = Path(__file__).parent / "vim" / "ale_session.vim"


def test_a_session_with_ale(tmp_path: Path):
    vim = program("vim", "vim-nox vim-ale", needs=Path("/usr/share/vim-ale"))
    linter = tmp_path / "runtime" / "ale_linters" / "python" / "fuselight.vim"
    linter.parent.mkdir(parents=True)
    linter.write_text(block("vim", "vim", "ale#linter#Define"))
    page = tmp_path / "page.vim"
    page.write_text(block("vim", "vim", "ale_fixers"))
    project = tmp_path / "a project"
    project.mkdir()
    done = subprocess.run(
        [vim, "-i", "NONE", "-Nu", str(SESSION), "-es", "-V1"],
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "RUNTIME": str(tmp_path / "runtime"),
            "PAGE": str(page),
        },
        cwd=project,
        input="1\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.split()[-2:] == ["all", "passed"], done.stdout
