"""What was found when a file was open before is shown at once, and nothing but shown."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lsprotocol import types
from pytest_lsp import ClientServerConfig

from fuselight.fusions.model import Finding, Safety
from fuselight.project.remembered import Remembered
from fuselight.source.lines import Span
from protocol.sessions import SERVER, URI, Editor, RecordingClient

TEXT = "import torch\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n"
FINDING = Finding("FUS401", "silu", "message", Safety.EXACT, "title", "f", Span(3, 9), (Span(1, 2),), None, "why", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.json"))


# -- the store


def test_what_is_kept_comes_back(folder: Path) -> None:
    remembered = Remembered(folder)
    assert remembered.of(TEXT) is None
    remembered.keep(TEXT, [FINDING], {"FUS401": "file:///page"})
    shown = Remembered(folder).of(TEXT)
    assert shown is not None
    assert shown.findings == (FINDING,)
    assert shown.pages == {"FUS401": "file:///page"}
    assert remembered.of(TEXT + "\n") is None


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSELIGHT_CACHE_DIR", "")
    remembered = Remembered.of_user()
    remembered.keep(TEXT, [FINDING], {})
    assert remembered.of(TEXT) is None
    remembered.forget_the_oldest()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "null", '{"findings": [{}], "pages": {}}', '{"findings": [1], "pages": {}}']
    + ['{"findings": [], "pages": []}', '{"findings": {}, "pages": 1}', "[" * 100_000]
    + [json.dumps({"findings": [{"spans": spans}], "pages": {}}) for spans in ([], [[5, 2]], [[0, 10_000]], "ab")],
)  # fmt: skip
def test_an_entry_that_is_none(folder: Path, content: str) -> None:
    remembered = Remembered(folder)
    remembered.keep(TEXT, [FINDING], {})
    (entry,) = entries(folder)
    whole = json.loads(entry.read_text())
    if '"spans"' in content:
        whole["findings"][0] |= json.loads(content)["findings"][0]
        content = json.dumps(whole)
    entry.write_text(content)
    assert remembered.of(TEXT) is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remembered = Remembered(tmp_path / "file" / "below")
    remembered.keep(TEXT, [FINDING], {})
    assert remembered.of(TEXT) is None
    remembered.forget_the_oldest()


def test_the_oldest_go_and_what_other_versions_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = Remembered(folder)
    for number in range(5):
        remembered.keep(f"{TEXT}# {number}\n", [], {})
    for age, entry in enumerate(entries(folder)):
        os.utime(entry, (1000 + age, 1000 + age))
    read = f"{TEXT}# 3\n"
    assert remembered.of(read) is not None
    other = folder / "another version" / "ab" / "cd.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    monkeypatch.setattr("fuselight.project.remembered._MOST_ENTRIES", 2)
    remembered.forget_the_oldest()
    assert not other.exists()
    assert len(entries(folder)) == 2
    assert remembered.of(read) is not None


# -- the server


@asynccontextmanager
async def session(folder: Path, **can: bool) -> AsyncGenerator[Editor]:
    """An editor with a server of its own, which remembers in `folder`."""
    environment = {**os.environ, "FUSELIGHT_CACHE_DIR": str(folder)}
    config = ClientServerConfig(server_command=SERVER, client_factory=RecordingClient, server_env=environment)
    client = await config.start()
    assert isinstance(client, RecordingClient)
    editor = Editor(client)
    await editor.start(**can)
    try:
        yield editor
    finally:
        await client.shutdown_session()
        await client.stop()


async def kept(folder: Path) -> Path:
    """The one entry, once it is there."""
    for _ in range(2000):
        if found := entries(folder):
            (entry,) = found
            return entry
        await asyncio.sleep(0.01)
    raise TimeoutError("nothing was remembered")


async def told_otherwise(folder: Path) -> str:
    """Have one session remember the text, and its entry say something else; what the finding really says."""
    async with session(folder) as editor:
        editor.open(TEXT)
        (diagnostic,) = await editor.pushed(1)
        entry = await kept(folder)
    whole = json.loads(entry.read_text())
    whole["findings"][0]["message"] = "as it was"
    entry.write_text(json.dumps(whole))
    return diagnostic.message


async def test_it_is_pushed_first_and_then_what_is_found(folder: Path) -> None:
    found = await told_otherwise(folder)
    async with session(folder, versioned=True) as editor:
        editor.open(TEXT)
        (first,) = await editor.pushed(1)
        assert first.message == "as it was"
        (action,) = await editor.fixes("x * torch")
        assert "functional.silu(x)" in editor.applied(action.edit)
        while editor.client.published[-1].diagnostics[0].message != found:
            await asyncio.sleep(0.01)


async def test_it_answers_a_pull_until_the_text_is_analysed(folder: Path) -> None:
    found = await told_otherwise(folder)
    async with session(folder, pull=True) as editor:
        editor.open(TEXT)
        (first,) = await editor.pull()
        assert first.message in ("as it was", found)
        await editor.fixes("x * torch")
        (second,) = await editor.pull()
        assert second.message == found


async def test_it_is_of_no_other_text(folder: Path) -> None:
    found = await told_otherwise(folder)
    async with session(folder) as editor:
        editor.open(TEXT)
        editor.replace("def f(x)", "def f(x, y=0)")
        (diagnostic,) = await editor.pushed(2)
        assert diagnostic.message == found
    async with session(folder) as editor:
        editor.open(TEXT + "\n")
        (diagnostic,) = await editor.pushed(1)
        assert diagnostic.message == found


async def test_what_is_saved_is_remembered(folder: Path) -> None:
    async with session(folder) as editor:
        editor.open("import torch\n")
        await kept(folder)
        editor.set(TEXT)
        await editor.pushed(2)
        assert len(entries(folder)) == 1
        saved = types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(URI))
        editor.client.text_document_did_save(saved)
        while len(entries(folder)) < 2:
            await asyncio.sleep(0.01)
