"""What the sessions in VS Code are run with: the package that ships, code-server, a browser, wheels to install."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from editors.debian import program

EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"
SESSIONS = Path(__file__).parent / "vscode"


def run(*command: str | Path, cwd: Path, timeout: int = 300, **environment: str) -> str:
    """What a command says, which must succeed. It asks nothing, and nothing that it started outlives it."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, "CI": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            said, _ = process.communicate()
            pytest.fail(f"{command} took more than {timeout} s\n{said}")
    assert process.returncode == 0, said
    return said


def built_extension(directory: Path) -> Path:
    """The extension, copied away from the tree, with its packages as the lock file has them, packaged."""
    npm = program("npm", "npm")
    copy = directory / "vscode"
    shutil.copytree(EXTENSION, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    run(npm, "ci", cwd=copy)
    run(npm, "run", "package", cwd=copy)
    return copy


def wheels(directory: Path) -> Path:
    """fuselight and all that it needs, as wheels."""
    root = Path(__file__).parents[2]
    directory.mkdir()
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", directory, root, cwd=directory)
    return directory


def python_extension(directory: Path) -> Path:
    """The stand-in for Microsoft's Python extension, as a package."""
    package = directory / "python.vsix"
    source = SESSIONS / "python-extension"
    with zipfile.ZipFile(package, "w") as archive:
        for file in source.iterdir():
            archive.write(file, f"extension/{file.name}")
    return package
