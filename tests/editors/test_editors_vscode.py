"""The extension for VS Code: types, bundle and package, made in a copy with the packages that its manifest names."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.editor

SOURCE = Path(__file__).parents[2] / "editors" / "vscode"


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """A copy of the extension with its packages installed, away from the tree."""
    copy = tmp_path_factory.mktemp("extension") / "vscode"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    npm(copy, "install", "--ignore-scripts", "--package-lock=false", "--no-audit", "--no-fund")
    return copy


def npm(directory: Path, *arguments: str) -> str:
    command = shutil.which("npm")
    assert command, "npm is missing: it comes with Node 20 or newer"
    done = subprocess.run(
        [command, *arguments],
        cwd=directory,
        env={**os.environ, "CI": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_types(extension):
    npm(extension, "run", "check")


def test_package(extension):
    said = npm(extension, "run", "package")
    assert "WARNING" not in said, said
    with zipfile.ZipFile(extension / "dist" / "fuselight.vsix") as package:
        held = {name.removeprefix("extension/").lower() for name in package.namelist() if name.startswith("extension/")}
        manifest = json.loads(package.read("extension/package.json"))
        bundle = package.read("extension/dist/extension.js").decode()
    assert held == {"package.json", "readme.md", "license.txt", "dist/extension.js"}
    assert manifest["main"] == "./dist/extension.js"
    assert manifest["contributes"] == json.loads((SOURCE / "package.json").read_text())["contributes"]
    # Everything but the editor's own module and Node's is in the bundle.
    required = set(re.findall(r"\brequire\(\"([^\"]+)\"\)", bundle))
    assert "vscode" in required
    assert not {name for name in required if name.startswith(("vscode-", "."))}
    assert all(command["command"] in bundle for command in manifest["contributes"]["commands"])


def test_the_command_is_found_as_the_setting_says(extension, tmp_path):
    script = tmp_path / "find.cjs"
    esbuild = extension / "node_modules" / ".bin" / "esbuild"
    bundling = [str(esbuild), "src/command.ts", "--bundle", "--platform=node", "--format=cjs", f"--outfile={script}"]
    subprocess.run(bundling, cwd=extension, check=True, capture_output=True, timeout=60)
    folder = tmp_path / "project"
    command = folder / ".venv" / "bin" / "fuselight"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (folder / "plain").write_text("")

    def found(setting: str, workspace: Path | None = folder) -> str | None:
        call = (
            "const [setting, folder] = JSON.parse(process.argv[1]);"
            f"const {{ find }} = require({json.dumps(str(script))});"
            "console.log(JSON.stringify(find(setting, folder ?? undefined) ?? null))"
        )
        done = subprocess.run(
            ["node", "-e", call, json.dumps([setting, workspace and str(workspace)])],
            env={**os.environ, "HOME": str(folder), "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    assert found("fuselight") == str(command)
    assert found("${workspaceFolder}/.venv/bin/fuselight") == str(command)
    assert found(".venv/bin/fuselight") == str(command)
    assert found("~/.venv/bin/fuselight", None) == str(command)
    assert found(str(command), None) == str(command)
    for absent in ("no-such-fuselight", "./plain", "./.venv", "", str(folder / "nothing")):
        assert found(absent) is None
    assert found("${workspaceFolder}/.venv/bin/fuselight", None) is None
