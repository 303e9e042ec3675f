"""What takes long holds nothing up: a request that needs a long analysis is put off, the others are served."""

import asyncio

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

OTHER = "file:///project/other.py"
SLOW = "SLOW exact_1\n"


@pytest.fixture
async def slow(stand_in):
    """An editor that has just opened a file whose analysis lasts for many slices."""
    await stand_in.start(pull=True)
    stand_in.open(SLOW)
    stand_in.open("exact_2\n", uri=OTHER)
    return stand_in


async def test_other_documents_are_served_meanwhile(slow):
    pull, actions = asyncio.create_task(slow.pull()), asyncio.create_task(slow.actions("exact_1"))
    await asyncio.sleep(0)
    for _ in range(3):
        assert len(await slow.pull(uri=OTHER)) == 1
        assert await slow.actions("exact_2", uri=OTHER)
    assert not pull.done()
    assert not actions.done()
    assert len(await pull) == 1
    assert await actions


async def test_pushing_holds_nothing_up_either(stand_in):
    await stand_in.start()
    stand_in.open(SLOW)
    stand_in.open("exact_2\n", uri=OTHER)
    assert await stand_in.actions("exact_2", uri=OTHER)
    assert stand_in.client.published == []
    assert len(await stand_in.pushed(1)) == 1


async def test_a_change_refuses_what_was_asked_of_places_and_lets_a_pull_go_on(slow):
    pull, actions = asyncio.create_task(slow.pull()), asyncio.create_task(slow.actions("exact_1"))
    await slow.pull(uri=OTHER)
    slow.replace("SLOW", "exact_3")
    with pytest.raises(JsonRpcException) as refused:
        await actions
    assert refused.value.code == types.LSPErrorCodes.ContentModified
    assert len(await pull) == 2


async def test_only_the_newest_pull_is_answered(slow):
    first = asyncio.create_task(slow.pull())
    await slow.pull(uri=OTHER)
    second = asyncio.create_task(slow.pull())
    with pytest.raises(JsonRpcException) as refused:
        await first
    assert (refused.value.code, refused.value.data) == (
        types.LSPErrorCodes.ServerCancelled,
        {"retriggerRequest": False},
    )
    assert len(await second) == 1


async def test_what_is_put_off_can_be_cancelled(slow):
    params = types.DocumentDiagnosticParams(types.TextDocumentIdentifier("file:///project/model.py"))
    pull = asyncio.create_task(
        slow.client.protocol.send_request_async("textDocument/diagnostic", params, msg_id="slow")
    )
    await slow.pull(uri=OTHER)
    slow.client.cancel_request(types.CancelParams("slow"))
    with pytest.raises(JsonRpcException) as refused:
        await pull
    assert refused.value.code == types.LSPErrorCodes.RequestCancelled
    slow.client.cancel_request(types.CancelParams("slow"))
    slow.client.cancel_request(types.CancelParams(12345))
    assert len(await slow.pull(uri=OTHER)) == 1


async def test_a_document_that_is_closed_meanwhile_has_nothing_on_offer(slow):
    pull, actions = asyncio.create_task(slow.pull()), asyncio.create_task(slow.actions("exact_1"))
    await slow.pull(uri=OTHER)
    identifier = types.TextDocumentIdentifier("file:///project/model.py")
    slow.client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))
    assert (await pull, await actions) == ([], [])
