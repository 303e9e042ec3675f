"""The extension for VS Code as it ships: types and package, and sessions in VS Code's own workbench, in a browser."""

import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from editors.debian import program
from editors.vscode_session import EXTENSION, SESSIONS, built_extension, python_extension, run, wheels

pytestmark = pytest.mark.editor

SPECS = sorted(SESSIONS.glob("*.spec.mjs"))


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    return built_extension(tmp_path_factory.mktemp("extension"))


@pytest.fixture(scope="module")
def surroundings(extension, tmp_path_factory):
    """What `surroundings.mjs` reads."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("code-server is installed for Linux on x86-64 alone")
    chromium = program("chromium", "chromium")
    run(SESSIONS / "install.sh", cwd=SESSIONS)
    directory = tmp_path_factory.mktemp("packages")
    return {
        "FUSELIGHT_VSIX": str(extension / "dist" / "fuselight.vsix"),
        "FUSELIGHT_PYTHON": sys.executable,
        "FUSELIGHT_BASE_PYTHON": getattr(sys, "_base_executable", sys.executable),
        "FUSELIGHT_WHEELS": str(wheels(directory / "wheels")),
        "FUSELIGHT_PYTHON_EXTENSION": str(python_extension(directory)),
        "FUSELIGHT_CHROMIUM": chromium,
    }


def test_types(extension):
    run(program("npm", "npm"), "run", "check", cwd=extension)


def test_package(extension):
    with zipfile.ZipFile(extension / "dist" / "fuselight.vsix") as package:
        held = {name.removeprefix("extension/").lower() for name in package.namelist() if name.startswith("extension/")}
        manifest = json.loads(package.read("extension/package.json"))
        bundle = package.read("extension/dist/extension.js").decode()
    pages = {step["media"]["markdown"] for step in manifest["contributes"]["walkthroughs"][0]["steps"]}
    assert held == {"package.json", "readme.md", "license.txt", "dist/extension.js", "icon.png", *pages}
    assert manifest["main"] == "./dist/extension.js"
    assert manifest["contributes"] == json.loads((EXTENSION / "package.json").read_text())["contributes"]
    # Everything but the editor's own module and Node's is in the bundle.
    required = set(re.findall(r"\brequire\(\"([^\"]+)\"\)", bundle))
    assert "vscode" in required
    assert not {name for name in required if name.startswith(("vscode-", "@", "."))}
    assert all(command["command"] in bundle for command in manifest["contributes"]["commands"])


def test_packaging_asks_nothing_and_warns_of_nothing(extension):
    # On a terminal it would wait for an answer: `script` is one.
    command = f"{program('npm', 'npm')} run package"
    said = run(program("script", "bsdutils"), "--quiet", "--return", "--command", command, "/dev/null", cwd=extension)
    assert "DONE" in said
    # That a newer packager exists is not about this package.
    warnings = [line for line in said.splitlines() if "WARNING" in line and "@vscode/vsce" not in line]
    assert not warnings, said


def test_packaging_needs_no_network(extension):
    apart = [program("unshare", "util-linux"), "--user", "--map-root-user", "--net"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no process may be without a network here")
    package = extension / "dist" / "fuselight.vsix"
    package.unlink()
    run(*apart, program("npm", "npm"), "run", "package", cwd=extension)
    assert package.is_file()


@pytest.fixture(scope="module")
def functions(extension, tmp_path_factory):
    """The extension's modules that know nothing of VS Code, as scripts that Node can load."""
    directory = tmp_path_factory.mktemp("functions")
    esbuild = extension / "node_modules" / ".bin" / "esbuild"
    sources = ["src/command.ts", "src/version.ts"]
    run(esbuild, *sources, "--bundle", "--platform=node", "--format=cjs", f"--outdir={directory}", cwd=extension)
    return directory


def call(script: Path, function: str, *arguments: object, **environment: str) -> object:
    """What a function of a script returns."""
    code = (
        "const [script, name, given] = JSON.parse(process.argv[1]);"
        "Promise.resolve(require(script)[name](...given.map((one) => one ?? undefined)))"
        ".then((value) => console.log(JSON.stringify(value ?? null)))"
    )
    given = json.dumps([str(script), function, arguments])
    done = subprocess.run(
        [program("node", "nodejs"), "-e", code, given],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_the_command_is_found_as_the_setting_says(functions, tmp_path):
    folder = tmp_path / "my project"
    command = folder / ".venv" / "bin" / "fuselight"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (folder / "plain").write_text("")
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"

    def found(setting: str, workspace: Path | None = folder) -> object:
        given = (setting, workspace and str(workspace))
        return call(functions / "command.js", "find", *given, HOME=str(folder), PATH=path)

    assert found("fuselight") == str(command)
    assert found("${workspaceFolder}/.venv/bin/fuselight") == str(command)
    assert found(".venv/bin/fuselight") == str(command)
    assert found("~/.venv/bin/fuselight", None) == str(command)
    assert found(str(command), None) == str(command)
    for absent in ("no-such-fuselight", "./plain", "./.venv", "", str(folder / "nothing")):
        assert found(absent) is None
    assert found("${workspaceFolder}/.venv/bin/fuselight", None) is None


def test_a_command_lies_in_a_folder_whatever_links_lead_there(functions, tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "folder beside"
    for directory in (folder, elsewhere):
        directory.mkdir()
        (directory / "fuselight").touch()
    (elsewhere / "inward").symlink_to(folder / "fuselight")
    (folder / "outward").symlink_to(elsewhere / "fuselight")
    (tmp_path / "link").symlink_to(folder)

    def lies(file: Path) -> object:
        return call(functions / "command.js", "liesIn", [str(folder)], str(file))

    inside = [folder / "fuselight", folder / "outward", elsewhere / "inward", tmp_path / "link" / "fuselight"]
    assert [lies(file) for file in inside] == [True] * 4
    assert lies(elsewhere / "fuselight") is False
    assert lies(tmp_path / "folder..fuselight") is False


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [
        ("0.1.0", "0.1.0", False),
        ("0.1", "0.1.0", False),
        ("0.0.9", "0.1.0", True),
        ("0.9.0", "0.10.0", True),
        ("1.0.0", "0.10.0", False),
        ("0.1.0.dev3", "0.1.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(functions, one, other, older):
    assert call(functions / "version.js", "isOlder", one, other) is older


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name.removesuffix(".spec.mjs"))
def test_a_session(spec, surroundings):
    npx = program("npx", "npm")
    said = run(npx, "--no-install", "playwright", "test", spec.name, cwd=SESSIONS, timeout=400, **surroundings)
    tests = len(re.findall(r"^test\(", spec.read_text(), re.MULTILINE))
    assert re.search(rf"^ +{tests} passed", said, re.MULTILINE), said
