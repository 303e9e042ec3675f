"""The manifest of the VS Code extension beside what the server knows: settings, commands, versions, files."""

import json
import re
import struct

import pytest

from editors.pages import EDITORS, block, page
from fuselight import __version__
from fuselight.fusions.model import Safety
from fuselight.lsp.code_actions import FIX_ALL
from fuselight.lsp.commands import COMMANDS
from fuselight.project.settings import CHECKED, DEFAULT_LINE_LENGTH, LONGEST_LINE, Settings, SettingsError, Severity

EXTENSION = EDITORS / "vscode"
SESSIONS = EDITORS.parent / "tests" / "editors" / "vscode"
MANIFEST = json.loads((EXTENSION / "package.json").read_text())
CONTRIBUTES = MANIFEST["contributes"]
PROPERTIES = {
    name.removeprefix("fuselight."): schema for name, schema in CONTRIBUTES["configuration"]["properties"].items()
}
OWN = {"path", "trace.server"}
"""Settings of the extension's, of which the server knows nothing."""
READ = {name.replace("_", "-") for name in Settings.__dataclass_fields__} - {"root"}
STEPS = [step for walkthrough in CONTRIBUTES["walkthroughs"] for step in walkthrough["steps"]]


def test_the_settings_are_the_servers():
    assert set(PROPERTIES) == READ | OWN
    assert all(name.startswith("fuselight.") for name in CONTRIBUTES["configuration"]["properties"])


@pytest.mark.parametrize("name", sorted(READ))
def test_a_setting_is_unset_until_it_is_set(name):
    # A default would win over pyproject.toml.
    assert PROPERTIES[name]["default"] is None
    assert "null" in PROPERTIES[name]["type"]
    assert PROPERTIES[name]["scope"] == "resource"
    assert Settings().merge({name: None}) == Settings()
    assert "pyproject.toml" in PROPERTIES[name]["markdownDescription"]


# What the schema's type lets through, and a value of another type.
VALUES = {
    "integer": (100, "100"),
    "boolean": (False, "no"),
    "array": (["exact"], "exact"),
    "object": ({"exact": "hint"}, "hint"),
}


@pytest.mark.parametrize("name", sorted(READ))
def test_the_server_reads_the_type_that_the_schema_says(name):
    (kind,) = (kind for kind in PROPERTIES[name]["type"] if kind != "null")
    good, bad = VALUES[kind]
    if name in ("select", "ignore"):
        good = ["FUS1", "FUS401"]
    assert Settings().merge({name: good}) != Settings()
    with pytest.raises(SettingsError):
        Settings().merge({name: bad})


def test_the_values_are_the_servers():
    classes = {safety.value for safety in Safety}
    assert (PROPERTIES["line-length"]["minimum"], PROPERTIES["line-length"]["maximum"]) == (1, LONGEST_LINE)
    assert set(PROPERTIES["allow"]["items"]["enum"]) == {"all", *classes}
    severities = PROPERTIES["severity"]["properties"]
    assert set(severities) == classes
    assert all(set(schema["enum"]) == {one.value for one in Severity} for schema in severities.values())


def test_the_descriptions_name_the_servers_defaults():
    allow, severity = PROPERTIES["allow"]["markdownDescription"], PROPERTIES["severity"]["markdownDescription"]
    assert set(re.findall(r"`(\w+)`", allow.partition("unset in both:")[2])) == {one.value for one in CHECKED}
    assert "`exact` as information, the others as hints" in severity
    assert {safety for safety in Safety if Settings().severity_of(safety) is Severity.INFORMATION} == {Safety.EXACT}
    assert str(DEFAULT_LINE_LENGTH) in PROPERTIES["line-length"]["markdownDescription"]
    assert "unset in both: `true`" in PROPERTIES["respect-gitignore"]["markdownDescription"]
    assert Settings().respect_gitignore


def test_the_commands_are_not_the_servers():
    # The client registers those that the server announces: a second one of the same name would fail.
    commands = {command["command"] for command in CONTRIBUTES["commands"]}
    assert not commands & COMMANDS.keys()
    assert all(command["category"] == "fuselight" for command in CONTRIBUTES["commands"])
    sources = "".join(file.read_text() for file in (EXTENSION / "src").iterdir())
    assert set(re.findall(r'registerCommand\("(fuselight\.\w+)"', sources)) == commands
    assert set(re.findall(r'execute<\w+>\("(fuselight\.\w+)"', sources)) == COMMANDS.keys()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["id"])
def test_a_step_of_the_walkthrough_can_be_done(step):
    commands = {command["command"] for command in CONTRIBUTES["commands"]}
    named = re.findall(r"\(command:([\w.]+)", step["description"]) + [
        event.partition(":")[2] for event in step["completionEvents"] if event.startswith("onCommand:")
    ]
    assert {name for name in named if name.startswith("fuselight.")} <= commands
    assert {event.partition(":")[0] for event in step["completionEvents"]} <= {
        "onCommand",
        "onContext",
        "onSettingChanged",
    }
    assert (EXTENSION / step["media"]["markdown"]).read_text().startswith("# ")


def test_nothing_of_an_untrusted_workspace_is_run():
    trust = MANIFEST["capabilities"]["untrustedWorkspaces"]
    # VS Code heeds restricted settings only where the support is said to be limited.
    assert trust["supported"] == "limited"
    assert trust["restrictedConfigurations"] == ["fuselight.path"]


def test_it_starts_with_python_and_with_notebooks():
    assert set(MANIFEST["activationEvents"]) == {"onLanguage:python", "onNotebook:jupyter-notebook"}


def test_the_oldest_server_is_not_newer_than_this_one():
    (oldest,) = re.findall(r'OLDEST = "([\d.]+)"', (EXTENSION / "src" / "version.ts").read_text())
    assert MANIFEST["version"] == __version__
    assert [*map(int, oldest.split("."))] <= [*map(int, MANIFEST["version"].split("."))]


def test_the_icon_is_a_picture_of_the_size_that_is_asked_for():
    data = (EXTENSION / MANIFEST["icon"]).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (128, 128)


@pytest.mark.parametrize("directory", [EXTENSION, SESSIONS], ids=["extension", "sessions"])
def test_a_lock_file_names_versions_and_no_host(directory):
    lock = json.loads((directory / "package-lock.json").read_text())
    manifest = json.loads((directory / "package.json").read_text())
    asked = {**manifest.get("dependencies", {}), **manifest.get("devDependencies", {})}
    root = lock["packages"][""]
    assert {**root.get("dependencies", {}), **root.get("devDependencies", {})} == asked
    packages = [entry for path, entry in lock["packages"].items() if path]
    assert all("resolved" not in entry for entry in packages)
    assert all(entry["integrity"] for entry in packages if not entry.get("inBundle"))


def test_the_page_fixes_on_save_as_the_server_names_it():
    config = json.loads(block("vscode", "json", "codeActionsOnSave"))
    assert config == {"[python]": {"editor.codeActionsOnSave": {FIX_ALL: "explicit"}}}


def test_the_page_names_every_setting_and_command():
    text = page("vscode")
    assert all(f"`fuselight.{name}`" in text for name in PROPERTIES)
    assert all(f"*fuselight: {command['title']}*" in text for command in CONTRIBUTES["commands"])
