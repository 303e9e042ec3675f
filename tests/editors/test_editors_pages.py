"""The pages of editors that are not run here: their configuration parses, and names what the server reads."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from fuselight.fusions.model import Safety
from fuselight.lsp.code_actions import FIX_ALL
from fuselight.project.settings import Settings

EDITORS = Path(__file__).parents[2] / "editors"


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks of a language, those of one setting file each."""
    found = re.findall(
        rf"^```{language}\n(.*?)^```", (EDITORS / page / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    return found


def merged(tables: list[dict[str, object]]) -> dict[str, object]:
    """Tables on top of each other, as one file would hold them; of two values the first."""
    result: dict[str, object] = {}
    for table in tables:
        for key, value in table.items():
            known = result.setdefault(key, value)
            if isinstance(known, dict) and isinstance(value, dict):
                result[key] = merged([known, value])
    return result


def test_helix():
    config = merged([tomllib.loads(block) for block in blocks("helix", "toml")])
    server = config["language-server"]["fuselight"]
    assert [server["command"], *server["args"]] == ["fuselight", "server"]
    (python,) = config["language"]
    assert python["name"] == "python"
    assert "fuselight" in python["language-servers"]
    Settings().merge(server["config"]["fuselight"])


def test_zed():
    config = merged([json.loads(block) for block in blocks("zed", "json")])
    server = config["lsp"]["pylsp"]
    assert server["binary"]["path"].endswith("/fuselight")
    assert server["binary"]["arguments"] == ["server"]
    assert "pylsp" in config["languages"]["Python"]["language_servers"]
    assert config["languages"]["Python"]["code_actions_on_format"] == {FIX_ALL: True}
    Settings().merge(server["settings"]["fuselight"])


def test_visual_studio_code():
    config = merged([json.loads(block) for block in blocks("vscode", "json")])
    assert config["[python]"]["editor.codeActionsOnSave"] == {FIX_ALL: "explicit"}
    assert set(config) - {"[python]"} <= set(manifest()["contributes"]["configuration"]["properties"])


def manifest() -> dict[str, object]:
    return json.loads((EDITORS / "vscode" / "package.json").read_text())


def test_the_manifest_of_visual_studio_code_has_the_servers_settings():
    properties = manifest()["contributes"]["configuration"]["properties"]
    own = {"fuselight.path", "fuselight.trace.server"}
    for_files = {"exclude", "respect-gitignore", "root"}  # what is open is read, wherever it lies
    read = {name.replace("_", "-") for name in Settings.__dataclass_fields__} - for_files
    assert set(properties) - own == {f"fuselight.{name}" for name in read}
    # A default would win over pyproject.toml.
    assert all(properties[f"fuselight.{name}"]["default"] is None for name in read)
    assert Settings().merge(dict.fromkeys(read)) == Settings()
    assert set(properties["fuselight.allow"]["items"]["enum"]) == {"all", *(safety.value for safety in Safety)}


@pytest.mark.parametrize("page", ["emacs", "helix", "neovim", "vscode", "zed"])
def test_a_page_names_the_action_for_saving(page):
    assert FIX_ALL in (EDITORS / page / "README.md").read_text()
