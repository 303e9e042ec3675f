"""A real Neovim, headless, with the configuration and the plugin that users are given."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "neovim"
PLUGIN = HERE.parents[2] / "editors" / "neovim"
SERVER = shlex.split(os.environ.get("FUSELIGHT_SERVER", "")) or [sys.executable, "-m", "fuselight", "server"]


def neovim() -> str:
    """The editor that the `test` extra installs beside the interpreter, else the user's own."""
    found = shutil.which("nvim", path=str(Path(sys.executable).parent)) or shutil.which("nvim")
    assert found, "Neovim is missing: it comes with the extra `test`"
    return found


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run of Neovim in a home of its own, to its end."""
    places = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    return subprocess.run(
        [neovim(), *arguments],
        env={**os.environ, **places, "HOME": str(home), **variables},
        cwd=home.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def package(packpath: Path, kind: str) -> Path:
    """A copy of the plugin as a package below `packpath`."""
    copy = packpath / "pack" / "fuselight" / kind / "fuselight"
    shutil.copytree(PLUGIN, copy, ignore=shutil.ignore_patterns("tags"))
    return copy


def session(home: Path, name: str, runtime: Path) -> None:
    """A session to its end, with every check in it passed."""
    script = HERE / f"{name}.lua"
    project = home.parent / "a project"
    project.mkdir()
    done = run(home, "--clean", "-u", "NONE", "-l", str(script), str(runtime), str(project), *SERVER)
    log = "\n".join(path.read_text() for path in home.rglob("lsp.log"))
    assert done.returncode == 0, f"{done.stdout}\n{log}"
    passed = re.findall("^ok ", done.stdout, re.MULTILINE)
    assert len(passed) == script.read_text().count("\ncheck("), done.stdout


def test_the_language_server_alone(home: Path):
    session(home, "lsp_session", PLUGIN)


@pytest.mark.parametrize("name", ["plugin_session", "no_server_session"])
def test_the_plugin(home: Path, tmp_path: Path, name: str):
    package(tmp_path / "packages", "opt")
    session(home, name, tmp_path / "packages")


def test_the_plugin_is_loaded_at_the_start(home: Path):
    package(home / "data" / "nvim" / "site", "start")
    done = run(home, "--headless", "+echo join(getcompletion('Fuselight ', 'cmdline'))", "+qall!")
    assert done.stdout.split() == ["fix", "graph", "log", "preview"]


def test_the_manual(home: Path):
    plugin = package(home / "data" / "nvim" / "site", "start")
    done = run(home, "--headless", "+helptags ALL", "+qall!")
    assert (done.returncode, done.stdout) == (0, "")
    tags = {line.split("\t")[0] for line in (plugin / "doc" / "tags").read_text().splitlines()}
    functions = re.findall(r"^function M\.(\w+)", (plugin / "lua" / "fuselight" / "init.lua").read_text(), re.MULTILINE)
    expected = {":Fuselight", "fuselight", "fuselight-health", *(f"fuselight.{name}()" for name in functions)}
    assert expected | {f":Fuselight-{name}" for name in ("fix", "preview", "graph", "log")} <= tags
    links = set(re.findall(r"\|([^|\s]+)\|", (plugin / "doc" / "fuselight.txt").read_text()))
    look_up = """
        for tag in vim.gsplit(vim.env.TAGS, ' ') do
          local found = pcall(vim.cmd.help, tag)
          local line = vim.api.nvim_get_current_line()
          if not found or not line:find('*' .. tag .. '*', 1, true) then
            print(tag, 'is not found')
          end
        end
    """
    done = run(home, "--headless", f"+lua {' '.join(look_up.split())}", "+qall!", TAGS=" ".join(sorted(tags | links)))
    assert done.stdout == ""
