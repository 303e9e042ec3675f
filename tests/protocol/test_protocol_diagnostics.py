"""Diagnostics: pulled or pushed, for the newest text, of the classes and codes that the settings ask for."""

import asyncio

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from protocol.sessions import URI

GATE = """\
import torch
import torch.nn.functional as F


def gate(x):
    return x * torch.sigmoid(x)
"""
WORDS = "exact_1\ncheckpoint_1\nnumerics_1\nbreaking_1\ninference_1\nrefused_1\n"


def codes(diagnostics):
    return [diagnostic.code for diagnostic in diagnostics]


async def test_pushes_with_the_version_and_takes_back_at_close(editor):
    await editor.start()
    assert editor.server.diagnostic_provider is None
    editor.open(GATE, version=7)
    (diagnostic,) = await editor.pushed(7)
    assert editor.shown(diagnostic.range) == "x * torch.sigmoid(x)"
    assert (diagnostic.code, diagnostic.source) == ("FUS401", "fuselight")
    assert diagnostic.severity == types.DiagnosticSeverity.Information
    assert diagnostic.data["safety"] == "exact"
    editor.replace("torch.sigmoid(x)", "torch.tanh(x)")
    assert await editor.pushed(8) == []
    editor.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(URI)))
    assert await editor.pushed(None) == []


async def test_pulls_and_never_pushes_where_the_client_pulls(editor):
    await editor.start(pull=True)
    assert editor.server.diagnostic_provider is not None
    editor.open(GATE)
    assert codes(await editor.pull()) == ["FUS401"]
    editor.replace("sigmoid(x)", "sigmoid(y)")
    assert await editor.pull() == []
    editor.replace("sigmoid(y)", "sigmoid(x)")
    assert codes(await editor.pull()) == ["FUS401"]
    assert editor.client.published == []


async def test_a_burst_of_changes_ends_with_the_newest_text(editor):
    await editor.start()
    editor.open(GATE)
    for number in range(50):
        editor.replace("def gate", f"# {number}\ndef gate")
    (diagnostic,) = await editor.pushed(51)
    assert editor.shown(diagnostic.range) == "x * torch.sigmoid(x)"
    versions = [params.version for params in editor.client.published]
    assert versions == sorted(versions)


async def test_a_half_typed_line_does_not_blind_it(editor):
    await editor.start(pull=True)
    editor.open(GATE + "\n\ndef other(x):\n    return x\n")
    editor.replace("    return x\n", "    return x.(\n")
    assert codes(await editor.pull()) == ["FUS401"]


@pytest.mark.parametrize("language", ["markdown", "toml"])
async def test_other_languages_are_left_alone(editor, language):
    await editor.start()
    editor.open(GATE, language=language)
    editor.open(GATE, uri="file:///project/other.py")
    assert codes(await editor.pushed(1, uri="file:///project/other.py")) == ["FUS401"]
    assert {params.uri for params in editor.client.published} == {"file:///project/other.py"}
    assert await editor.actions("x * torch") == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_columns_behind_wide_characters_are_in_the_negotiated_unit(editor, encoding):
    await editor.start(pull=True, encodings=[encoding, "utf-16"])
    assert editor.encoding == encoding
    editor.open(GATE.replace("return", 'return len("é漢😀") +'))
    (diagnostic,) = await editor.pull()
    assert editor.shown(diagnostic.range) == "x * torch.sigmoid(x)"
    editor.replace("😀", "😀😀")
    (diagnostic,) = await editor.pull()
    assert editor.shown(diagnostic.range) == "x * torch.sigmoid(x)"


async def test_the_clients_order_of_encodings_decides(editor):
    await editor.start(encodings=["ebcdic", "utf-32", "utf-8"])
    assert editor.encoding == "utf-32"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GATE.replace("\n", "\r\n"), id="CRLF"),
        pytest.param("\ufeff" + GATE, id="BOM"),
        pytest.param(GATE.replace("\n\n\n", "\n\f\n# \x85 \u2028\n"), id="form feed, NEL, U+2028"),
        pytest.param(GATE.rstrip("\n"), id="no newline at the end"),
    ],
)
async def test_unusual_line_ends(editor, text):
    await editor.start(pull=True)
    editor.open(text)
    editor.replace("def gate", "y = 1\ndef gate")
    (diagnostic,) = await editor.pull()
    assert editor.shown(diagnostic.range) == "x * torch.sigmoid(x)"


async def test_reported_classes_and_related_places(stand_in):
    await stand_in.start(pull=True, related=True)
    stand_in.open(WORDS + "exact_related\nwithheld_1\n")
    found = await stand_in.pull()
    assert [d.message.split()[0] for d in found] == [
        "exact_1",
        "checkpoint_1",
        "numerics_1",
        "exact_related",
        "withheld_1",
    ]
    assert [bool(d.related_information) for d in found] == [False, False, False, True, False]
    assert found[-1].message.endswith("(no edit: generated)")


async def test_settings_of_the_project_of_the_editor_and_comments(stand_in, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.fuselight]\nline-length = 100\nallow = ["exact"]\n')
    uri = (tmp_path / "model.py").as_uri()
    await stand_in.start(pull=True, options={"settings": {"line-length": 70, "interpreter": "/usr/bin/python3"}})
    stand_in.open("exact_1  # fuselight: ignore\nexact_2\ncheckpoint_1\n", uri=uri)
    (found,) = await stand_in.pull(uri=uri)
    assert found.message == "exact_2 could be capitals (line length 70)"
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nline-length = 101\n")
    assert len(await stand_in.pull(uri=uri)) == 2
    stand_in.client.workspace_did_change_configuration(
        types.DidChangeConfigurationParams({"fuselight": {"allow": ["exact", "breaking"]}})
    )
    (found,) = await stand_in.pull(uri=uri)
    assert found.message == "exact_2 could be capitals (line length 101)"


async def test_settings_are_asked_for_where_the_client_has_them_asked(stand_in):
    stand_in.client.set_configuration({"allow": ["all"]}, section="fuselight")
    await stand_in.start(pull=True, configuration=True, refresh=True)
    stand_in.open(WORDS)
    while not stand_in.client.diagnostic_refresh_count:
        await stand_in.pull()
    assert len(await stand_in.pull()) == 5


async def test_broken_settings_are_told_once_and_the_rest_works(stand_in):
    await stand_in.start(pull=True, options={"line-length": "wide", "allow": ["all"]})
    stand_in.open(WORDS)
    assert len(await stand_in.pull()) == 5
    assert len(await stand_in.pull()) == 5
    (message,) = stand_in.client.messages
    assert "line-length" in message.message


async def test_a_fault_costs_only_its_text(stand_in):
    await stand_in.start()
    stand_in.open("exact_1\n")
    assert len(await stand_in.pushed(1)) == 1
    stand_in.replace("exact_1", "exact_1 FAULT ")
    assert await stand_in.pushed(2) == []
    stand_in.replace(" FAULT ", "")
    assert len(await stand_in.pushed(3)) == 1


async def test_a_pull_that_was_asked_again_is_cancelled(stand_in):
    await stand_in.start(pull=True)
    stand_in.open("PRINT exact_1\n")  # takes long enough for the rest to arrive
    params = types.DocumentDiagnosticParams(types.TextDocumentIdentifier(URI))
    pulls = []
    for _ in range(4):
        pulls.append(asyncio.create_task(stand_in.client.text_document_diagnostic_async(params)))
        await asyncio.sleep(0)
        stand_in.replace("exact_1", "exact_1 exact_1")
    pulls.append(stand_in.client.text_document_diagnostic_async(params))
    *earlier, last = await asyncio.gather(*pulls, return_exceptions=True)
    assert len(last.items) == 5
    refused = [outcome for outcome in earlier if isinstance(outcome, JsonRpcException)]
    assert {error.code for error in refused} == {types.LSPErrorCodes.ServerCancelled}
