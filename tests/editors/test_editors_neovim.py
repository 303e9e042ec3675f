"""A real Neovim, headless, with the configuration that users are given."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "editors" / "neovim"
SERVER = shlex.split(os.environ.get("FUSELIGHT_SERVER", "")) or [sys.executable, "-m", "fuselight", "server"]


def neovim() -> str:
    """The editor that the `test` extra installs beside the interpreter, else the user's own."""
    found = shutil.which("nvim", path=str(Path(sys.executable).parent)) or shutil.which("nvim")
    assert found, "Neovim is missing: it comes with the extra `test`"
    return found


def test_a_session_in_neovim(tmp_path):
    home = tmp_path / "home"
    project = tmp_path / "project"
    project.mkdir()
    places = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    script = [str(HERE / "neovim_session.lua"), str(RUNTIME), str(project), *SERVER]
    done = subprocess.run(
        [neovim(), "--clean", "-u", "NONE", "-l", *script],
        env={**os.environ, **places, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    log = "\n".join(path.read_text() for path in home.rglob("lsp.log"))
    assert done.returncode == 0, f"{done.stdout}\n{log}"
    passed = re.findall("^ok ", done.stdout, re.MULTILINE)
    assert len(passed) == (HERE / "neovim_session.lua").read_text().count("\ncheck("), done.stdout
