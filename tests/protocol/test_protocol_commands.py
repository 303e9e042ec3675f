"""Commands: what they fix, what the client is told meanwhile, and that no stale edit is sent."""

import asyncio
from pathlib import Path

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.uris import to_fs_path

from protocol.sessions import URI, capabilities

GATE = """\
import torch
import torch.nn.functional as F


def gate(x):
    return x * torch.sigmoid(x)
"""
FUSED = GATE.replace("x * torch.sigmoid(x)", "F.silu(x)")
ATTENTION = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)

    def forward(self, x):
        return self.q(x) @ self.k(x)


def after():
    pass
"""


async def execute(editor, command, *arguments, token=None):
    params = types.ExecuteCommandParams(f"fuselight.{command}", list(arguments), token)
    return await asyncio.wait_for(editor.client.workspace_execute_command_async(params), 60)


async def start(editor, folder, **can):
    can = {"apply": True, "versioned": True, "progress": True, **can}
    params = types.InitializeParams(
        capabilities=capabilities(None, **can),
        workspace_folders=[types.WorkspaceFolder(Path(folder).as_uri(), "project")],
    )
    result = await editor.client.initialize_session(params)
    editor.server = result.capabilities


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.py").write_bytes(text.encode())


def sent(editor):
    """The texts that the one edit leaves, and the versions it names, by file name."""
    (params,) = editor.client.edits
    texts, versions = {}, {}
    for change in params.edit.document_changes:
        uri = change.text_document.uri
        name = uri.rpartition("/")[2]
        path = Path(to_fs_path(uri))
        editor.texts.setdefault(uri, path.read_bytes().decode("utf-8-sig") if path.exists() else "")
        text = editor.texts[uri]
        for each in sorted(change.edits, key=lambda one: editor.offset(one.range.start, uri=uri), reverse=True):
            first, last = editor.offset(each.range.start, uri=uri), editor.offset(each.range.end, uri=uri)
            text = text[:first] + each.new_text + text[last:]
        texts[name], versions[name] = text, change.text_document.version
    return texts, versions


def kinds(editor):
    return [[report.kind for report in reports] for reports in editor.client.progress_reports.values()]


async def test_announced(editor, tmp_path):
    await start(editor, tmp_path)
    provider = editor.server.execute_command_provider
    assert set(provider.commands) == {"fuselight.fixWorkspace", "fuselight.fixFile", "fuselight.showGraph"}


async def test_the_workspace_open_files_by_their_buffer_and_closed_ones_from_disk(editor, tmp_path):
    write(
        tmp_path, closed=GATE, crlf=GATE.replace("\n", "\r\n"), bom="\ufeff" + GATE, opened="x = 1\n", plain="x = 1\n"
    )
    write(tmp_path, broken=GATE + "def (:\n", silenced=GATE.replace("(x)\n", "(x)  # fuselight: ignore\n"))
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\n# \xe9\n" + GATE.encode())
    (tmp_path / ".venv").mkdir()
    write(tmp_path / ".venv", other=GATE)
    await start(editor, tmp_path)
    opened = (tmp_path / "opened.py").as_uri()
    unsaved = (tmp_path / "unsaved.py").as_uri()
    editor.open(GATE, uri=opened, version=7)
    editor.open(GATE, uri=unsaved, version=3)
    result = await execute(editor, "fixWorkspace")
    texts, versions = sent(editor)
    assert versions == {"bom.py": None, "closed.py": None, "crlf.py": None, "opened.py": 7, "unsaved.py": 3}
    assert texts.pop("crlf.py") == FUSED.replace("\n", "\r\n")
    assert set(texts.values()) == {FUSED}
    assert (result["applied"], result["fusions"], result["files"], result["leftOut"]) == (True, 5, 5, 1)
    assert (tmp_path / "closed.py").read_text() == GATE
    (shown,) = kinds(editor)
    assert (shown[0], shown[-1]) == ("begin", "end")
    assert set(shown[1:-1]) == {"report"}


async def test_only_what_is_allowed_and_the_settings_want(editor, tmp_path):
    write(tmp_path, gate=GATE, attention=ATTENTION)
    (tmp_path / "pyproject.toml").write_text('[tool.fuselight]\nignore = ["FUS4"]\n')
    await start(editor, tmp_path, annotations=True)
    assert (await execute(editor, "fixWorkspace"))["fusions"] == 0
    assert editor.client.edits == []
    assert (await execute(editor, "fixWorkspace", {"allow": ["checkpoint"]}))["fusions"] == 1
    (params,) = editor.client.edits
    (annotation,) = params.edit.change_annotations.values()
    assert "load hook" in annotation.label
    with pytest.raises(JsonRpcException) as refused:
        await execute(editor, "fixWorkspace", {"allow": ["everything"]})
    assert refused.value.code == -32602


async def test_without_a_folder_the_open_files(editor, tmp_path):
    write(tmp_path, closed=GATE)
    await editor.start(apply=True, versioned=True)
    editor.open(GATE, uri=(tmp_path / "opened.py").as_uri())
    editor.open(GATE, uri="untitled:Untitled-1")
    assert (await execute(editor, "fixWorkspace"))["files"] == 1
    assert list(sent(editor)[0]) == ["opened.py"]


async def test_a_client_without_versions_or_progress(editor, tmp_path):
    write(tmp_path, gate=GATE)
    await start(editor, tmp_path, versioned=False, progress=False)
    assert (await execute(editor, "fixWorkspace"))["applied"]
    (params,) = editor.client.edits
    assert params.edit.document_changes is None
    assert list(params.edit.changes) == [(tmp_path / "gate.py").as_uri()]
    assert editor.client.progress_reports == {}
    assert "1 fusion in 1 file" in editor.client.messages[-1].message


async def test_a_token_of_the_clients_own(editor, tmp_path):
    write(tmp_path, gate=GATE)
    await start(editor, tmp_path)
    editor.client.progress_reports["mine"] = []
    await execute(editor, "fixWorkspace", token="mine")
    assert [report.kind for report in editor.client.progress_reports["mine"]] == ["begin", "report", "end"]


async def test_a_client_that_refuses_the_edit_or_cannot_apply_any(editor, tmp_path):
    write(tmp_path, gate=GATE)
    await start(editor, tmp_path)
    editor.client.refuses_edits = "the file is read-only"
    result = await execute(editor, "fixWorkspace")
    assert (result["applied"], result["fusions"]) == (False, 0)
    assert "read-only" in editor.client.messages[-1].message
    editor.open(GATE, uri=(tmp_path / "gate.py").as_uri())
    with pytest.raises(JsonRpcException, match="read-only"):
        await execute(editor, "fixFile", {"uri": (tmp_path / "gate.py").as_uri()})


async def test_edits_are_not_sent_to_a_client_that_applies_none(editor, tmp_path):
    await start(editor, tmp_path, apply=False)
    for command in ("fixWorkspace", "fixFile"):
        with pytest.raises(JsonRpcException, match="applyEdit"):
            await execute(editor, command, {"uri": URI})


async def test_cancelled_by_the_progress_bar_and_as_a_request(editor, tmp_path):
    for number in range(60):
        write(tmp_path, **{f"gate_{number}": GATE.replace("gate", f"gate_{number}")})
    await start(editor, tmp_path)
    running = asyncio.ensure_future(execute(editor, "fixWorkspace"))
    while not any(editor.client.progress_reports.values()):
        await asyncio.sleep(0.001)
    (token,) = editor.client.progress_reports
    editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))
    result = await running
    assert (result["applied"], result["message"]) == (False, "cancelled")
    params = types.ExecuteCommandParams("fuselight.fixWorkspace")
    asked = editor.client.protocol.send_request("workspace/executeCommand", params, msg_id="run")
    while len(editor.client.progress_reports) < 2 or not all(editor.client.progress_reports.values()):
        await asyncio.sleep(0.001)
    editor.client.cancel_request(types.CancelParams("run"))
    with pytest.raises(JsonRpcException) as cancelled:
        await asyncio.wrap_future(asked)
    assert cancelled.value.code == types.LSPErrorCodes.RequestCancelled
    while [shown[-1:] for shown in kinds(editor)] != [["end"], ["end"]]:
        await asyncio.sleep(0.001)
    assert editor.client.edits == []


async def test_other_requests_are_served_meanwhile_and_what_changes_is_done_again(editor, tmp_path):
    for number in range(40):
        write(tmp_path, **{f"gate_{number:02}": GATE.replace("gate", f"gate_{number}")})
    await start(editor, tmp_path)
    uri = (tmp_path / "gate_00.py").as_uri()
    editor.open(GATE, uri=uri)
    running = asyncio.ensure_future(execute(editor, "fixWorkspace"))
    while not any(editor.client.progress_reports.values()):
        await asyncio.sleep(0.001)
    (token,) = editor.client.progress_reports
    while len(editor.client.progress_reports[token]) < 5:
        await asyncio.sleep(0.001)
    editor.replace("def gate", "def door", uri=uri)
    assert await editor.fixes("x * torch", uri=uri)
    assert not running.done()
    await running
    texts, versions = sent(editor)
    assert (texts["gate_00.py"], versions["gate_00.py"]) == (FUSED.replace("gate", "door"), 2)
    assert len(texts) == 40


async def test_a_file(editor, tmp_path):
    await start(editor, tmp_path)
    uri = (tmp_path / "model.py").as_uri()
    editor.open(GATE + ATTENTION, uri=uri, version=4)
    assert await execute(editor, "fixFile", {"uri": uri, "version": 4}) == {"applied": True, "fusions": 1, "files": 1}
    texts, versions = sent(editor)
    assert texts["model.py"] == (GATE + ATTENTION).replace("x * torch.sigmoid(x)", "F.silu(x)")
    assert versions == {"model.py": 4}
    editor.client.edits.clear()
    result = await execute(editor, "fixFile", {"uri": uri, "allow": "all"})
    assert result["fusions"] == 2
    compile(sent(editor)[0]["model.py"], "model.py", "exec")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], -32602),
        ([{}], -32602),
        ([3], -32602),
        ([{"uri": URI}, {"uri": URI}], -32602),
        ([{"uri": "file:///not/open.py"}], -32602),
        ([{"uri": URI, "allow": {"exact": True}}], -32602),
        ([{"uri": URI, "version": 3}], -32801),
    ],
)
async def test_a_file_that_cannot_be_fixed(editor, tmp_path, arguments, code):
    await start(editor, tmp_path)
    editor.open(GATE)
    with pytest.raises(JsonRpcException) as refused:
        await execute(editor, "fixFile", *arguments)
    assert refused.value.code == code
    assert editor.client.edits == []


async def test_an_unknown_command(editor, tmp_path):
    await start(editor, tmp_path)
    with pytest.raises(JsonRpcException, match="fixWorkspace"):
        await execute(editor, "fixEverything")


@pytest.mark.parametrize("style", ["mermaid", "svg"])
async def test_the_graph_of_the_class_under_the_cursor(editor, tmp_path, style):
    await start(editor, tmp_path)
    editor.open(ATTENTION)
    for place in ("class Attention", "self.k = nn", "return self.q"):
        position = editor.position(ATTENTION.index(place))
        where = {"line": position.line, "character": position.character}
        text = await execute(editor, "showGraph", {"uri": URI, "position": where, "format": style})
        assert text.startswith("<svg" if style == "svg" else "---\ntitle")
        assert "FUS201" in text
    position = editor.position(ATTENTION.index("import"))
    with pytest.raises(JsonRpcException, match="no class"):
        await execute(editor, "showGraph", {"uri": URI, "position": {"line": 0, "character": 0}, "format": style})


async def test_the_graph_of_a_closed_file_and_of_none(editor, tmp_path):
    write(tmp_path, model=ATTENTION)
    await start(editor, tmp_path)
    where = {"position": {"line": 5, "character": 0}}
    assert "flowchart" in await execute(editor, "showGraph", {"uri": (tmp_path / "model.py").as_uri(), **where})
    for bad in (
        {"uri": (tmp_path / "none.py").as_uri(), **where},
        {"uri": "untitled:Untitled-1", **where},
        {"uri": (tmp_path / "model.py").as_uri()},
        {"uri": (tmp_path / "model.py").as_uri(), **where, "format": "png"},
    ):
        with pytest.raises(JsonRpcException) as refused:
            await execute(editor, "showGraph", bad)
        assert refused.value.code == -32602
