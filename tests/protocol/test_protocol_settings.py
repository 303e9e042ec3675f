"""Settings: the editor's over the project's, folder by folder, reloaded while the session lasts; what is wrong is shown
where it stands."""

import asyncio
import os

import pytest
from lsprotocol import types

WORDS = "exact_1\ncheckpoint_1\nnumerics_1\nbreaking_1\n"


def project(folder, text, name="pyproject.toml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return (folder / "model.py").as_uri()


async def published(editor, file):
    """The newest problems pushed for a file."""
    for _ in range(500):
        pushed = [params for params in editor.client.published if params.uri == file.as_uri()]
        if pushed:
            return [
                (found.range.start.line, found.range.start.character, found.message) for found in pushed[-1].diagnostics
            ]
        await asyncio.sleep(0.01)
    raise TimeoutError(file)


async def gone(editor, file):
    while await published(editor, file):
        await asyncio.sleep(0.01)


async def test_severity_by_class_the_editors_class_by_class_over_the_projects(stand_in, tmp_path):
    uri = project(tmp_path, "[tool.fuselight]\nallow = ['all']\n[tool.fuselight.severity]\nexact = 'error'\n")
    await stand_in.start(pull=True, options={"severity": {"numerics": "warning", "breaking": None}})
    stand_in.open(WORDS, uri=uri)
    shown = {found.message.partition("_")[0]: found.severity.name for found in await stand_in.pull(uri=uri)}
    assert shown == {"exact": "Error", "checkpoint": "Hint", "numerics": "Warning", "breaking": "Hint"}


async def test_the_default_severities(stand_in):
    await stand_in.start(pull=True)
    stand_in.open(WORDS)
    assert [found.severity.name for found in await stand_in.pull()] == ["Information", "Hint", "Hint"]


async def test_each_folder_has_its_own(stand_in, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    uris = [project(one, "[tool.fuselight]\nline-length = 60\n"), project(two, "")]
    stand_in.client.set_configuration({"line-length": 70}, section="fuselight")
    stand_in.client.set_configuration({"line-length": 80}, section="fuselight", scope_uri=two.as_uri())
    await stand_in.start(pull=True, roots=[one], configuration=True, refresh=True, folders=True)
    assert stand_in.server.workspace.workspace_folders.change_notifications
    for uri in uris:
        stand_in.open("exact_1\n", uri=uri)
    stand_in.open("exact_1\n", uri="untitled:Untitled-1")

    async def lengths():
        found = [await stand_in.pull(uri=uri) for uri in (*uris, "untitled:Untitled-1")]
        return [int(one.message.rpartition(" ")[2].rstrip(")")) for (one,) in found]

    while await lengths() != [70, 70, 70]:
        pass
    folder = types.WorkspaceFolder(two.as_uri(), "two")
    event = types.WorkspaceFoldersChangeEvent([folder], [])
    stand_in.client.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
    while await lengths() != [70, 80, 70]:
        pass
    stand_in.client.set_configuration({"line-length": 75}, section="fuselight", scope_uri=two.as_uri())
    stand_in.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
    while await lengths() != [70, 75, 70]:
        pass
    event = types.WorkspaceFoldersChangeEvent([], [folder])
    stand_in.client.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
    while await lengths() != [70, 70, 70]:
        pass


@pytest.mark.parametrize("pull", [True, False])
async def test_what_is_wrong_is_shown_in_the_projects_file_and_stops_nothing(stand_in, tmp_path, pull):
    file = tmp_path / "pyproject.toml"
    uri = project(tmp_path, "[project]\nname = 'x'\n\n[tool.fuselight]\nwidth = 3\nignore = 3\nallow = ['exact']\n")
    await stand_in.start(pull=pull, roots=[tmp_path])
    found = await published(stand_in, file)
    assert [place[:2] for place in found] == [(4, 0), (5, 0)]
    assert "unknown setting" in found[0][2]
    assert "3 is not allowed" in found[1][2]
    stand_in.open(WORDS, uri=uri)
    assert len(await stand_in.pull(uri=uri) if pull else await stand_in.pushed(1, uri=uri)) == 1
    file.write_text("[tool.fuselight]\nallow = ['exact', 'checkpoint']\n")
    stand_in.client.workspace_did_change_watched_files(
        types.DidChangeWatchedFilesParams([types.FileEvent(file.as_uri(), types.FileChangeType.Changed)])
    )
    await gone(stand_in, file)
    assert stand_in.client.messages == []


async def test_a_broken_file_is_shown_where_it_breaks_until_it_is_mended(stand_in, tmp_path):
    file = tmp_path / "pyproject.toml"
    uri = project(tmp_path, "[tool.fuselight]\nignore = = 3\n")
    await stand_in.start(pull=True)
    stand_in.open(WORDS, uri=uri)
    assert len(await stand_in.pull(uri=uri)) == 3
    assert [place[0] for place in await published(stand_in, file)] == [1]
    file.write_text("[tool.fuselight]\nignore = ['FUS2']\n")
    assert len(await stand_in.pull(uri=uri)) == 1
    await gone(stand_in, file)


async def test_what_is_saved_in_the_editor_counts(stand_in, tmp_path):
    file = tmp_path / "pyproject.toml"
    uri = project(tmp_path, "")
    await stand_in.start()
    stand_in.open("exact_1\n", uri=uri)
    assert len(await stand_in.pushed(1, uri=uri)) == 1
    stand_in.open("", uri=file.as_uri(), language="toml")
    stand_in.client.published.clear()
    file.write_text("[tool.fuselight]\nignore = ['FUS1']\n")
    os.utime(file, ns=(1, 1))
    stand_in.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(file.as_uri())))
    assert await stand_in.pushed(1, uri=uri) == []


async def test_the_problems_of_the_formatters_settings(stand_in, tmp_path):
    project(tmp_path, "line-length = 'wide'\n", name="ruff.toml")
    await stand_in.start(pull=True, roots=[tmp_path])
    ((line, _, message),) = await published(stand_in, tmp_path / "ruff.toml")
    assert (line, "'wide' is not allowed" in message) == (0, True)


async def test_a_bad_value_of_the_editors_is_told_once_in_a_message(stand_in, tmp_path):
    await stand_in.start(pull=True, roots=[tmp_path], options={"severity": {"exact": "loud"}})
    stand_in.open("exact_1\n")
    for _ in range(3):
        (found,) = await stand_in.pull()
        assert found.severity is types.DiagnosticSeverity.Information
    (message,) = stand_in.client.messages
    assert "severity.exact: 'loud' is not allowed" in message.message


async def test_watches_the_files_that_settings_come_from(stand_in):
    await stand_in.start(watchers=True)
    while not stand_in.client.registered:
        await asyncio.sleep(0.01)
    (registration,) = stand_in.client.registered
    assert "pyproject.toml" in str(registration.register_options)
