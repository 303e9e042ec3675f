"""A real Emacs with eglot, in batch mode, with the page's own blocks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from editors.debian import program
from editors.pages import block

pytestmark = pytest.mark.editor

SESSION = Path(__file__).parent / "emacs" / "eglot_session.el"


def test_a_session_with_eglot(tmp_path: Path):
    emacs = program("emacs", "emacs-nox elpa-eglot")
    page = tmp_path / "page.el"
    parts = [block("emacs", "elisp", text) for text in ("eglot-ensure", "before-save-hook", "fuselight-fix-workspace")]
    page.write_text("\n".join(parts))
    project = tmp_path / "a project"
    project.mkdir()
    settings = block("emacs", "elisp", "eglot-workspace-configuration").replace('"FUS2"', '"FUS4"')
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [emacs, "--batch", "-l", str(SESSION), "-f", "ert-run-tests-batch-and-exit"],
        env={**os.environ, "HOME": str(tmp_path), "PATH": path, "PAGE": str(page), "SETTINGS": settings},
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    count = SESSION.read_text().count("\n(ert-deftest ")
    assert re.search(rf"^Ran {count} tests, {count} results as expected, 0 unexpected", done.stdout, re.MULTILINE), (
        done.stdout
    )
