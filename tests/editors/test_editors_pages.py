"""The pages of the editors: their configuration parses, and names what the server reads; they say what was tested."""

import json
import re
import tomllib

import pytest

from editors.pages import EDITORS, block, blocks, page
from fuselight.lsp.code_actions import FIX_ALL
from fuselight.lsp.commands import COMMANDS
from fuselight.project.settings import Settings

TESTED = ("emacs", "neovim", "vim")
UNTESTED = ("coc", "helix", "kakoune", "sublime", "zed")


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
    Settings().merge(server["initialization_options"]["fuselight"])


def test_sublime():
    commands, *tables = sorted(map(json.loads, blocks("sublime", "json")), key=lambda config: isinstance(config, dict))
    config = merged(tables)
    assert set(config) == {"clients", "lsp_code_actions_on_save"}
    assert config["lsp_code_actions_on_save"] == {FIX_ALL: True}
    (server,) = config["clients"].values()
    assert (server["command"], server["selector"]) == (["fuselight", "server"], "source.python")
    sections = {key.partition(".")[0] for key in server["settings"]}
    assert sections == {"fuselight"}
    Settings().merge({key.partition(".")[2]: value for key, value in server["settings"].items()})
    (command,) = commands
    assert command["args"]["session_name"] in config["clients"]
    assert command["args"]["command_name"] in COMMANDS


def test_coc():
    config = merged([json.loads(block) for block in blocks("coc", "json")])
    (server,) = config["languageserver"].values()
    assert [server["command"], *server["args"]] == ["fuselight", "server"]
    assert server["filetypes"] == ["python"]
    Settings().merge(server["settings"]["fuselight"])
    assert config["[python]"] == {"editor.codeActionsOnSave": {FIX_ALL: "always"}}
    assert set(re.findall(r"fuselight\.\w+", block("coc", "vim", "executeCommand"))) <= COMMANDS.keys()


def test_kakoune():
    tables = [
        tomllib.loads(table)
        for text in blocks("kakoune", "kak")
        for table in re.findall(r"lsp_servers %\{\n(.*?)^ *\}$", text, re.MULTILINE | re.DOTALL)
    ]
    assert [list(table) for table in tables] == [["fuselight"]] * 3
    plain, elsewhere, configured = (table["fuselight"] for table in tables)
    # Without a command, the name of the table is the command.
    assert plain == {"root_globs": ["pyproject.toml", ".git", ".hg"], "args": ["server"]}
    assert elsewhere.pop("command").endswith("/bin/fuselight")
    Settings().merge(configured.pop("settings")["fuselight"])
    assert plain == elsewhere == configured
    assert f"lsp-code-actions-sync {FIX_ALL}" in block("kakoune", "kak", "BufWritePre")
    assert re.findall(r"fuselight\.\w+", block("kakoune", "kak", "lsp-execute-command"))[0] in COMMANDS


@pytest.mark.parametrize("editor", [*TESTED, *UNTESTED, "vscode"])
def test_a_page_names_the_action_for_saving(editor: str):
    assert FIX_ALL in page(editor)


def test_a_page_says_first_whether_it_was_tested():
    assert {path.parent.name for path in EDITORS.glob("*/README.md")} == {*TESTED, *UNTESTED, "vscode"}
    for editor in (*TESTED, *UNTESTED):
        title, said, *_ = page(editor).split("\n\n")
        assert title.startswith("# fuselight in ")
        assert said.startswith("Tested: " if editor in TESTED else "Untested in "), editor


@pytest.mark.parametrize("editor", [*TESTED, *UNTESTED])
def test_the_links_of_a_page_lead_somewhere(editor: str):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page(editor)):
        assert (EDITORS / editor / target).exists(), target
