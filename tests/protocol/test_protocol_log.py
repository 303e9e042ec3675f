"""What the server tells of itself: its log, by level, on stderr and to the client; how long each message took."""

import logging
import subprocess
import sys

import pytest
from test_protocol_session import EXIT, HOVER, INITIALIZE, SHUTDOWN, URI, answers, frame, session

from fuselight.lsp import client_process
from protocol.sessions import SERVER, STAND_IN

FAULT = {
    "method": "textDocument/didOpen",
    "params": {"textDocument": {"uri": URI, "languageId": "python", "version": 1, "text": "FAULT"}},
}
STALE = {
    "method": "textDocument/didChange",
    "params": {"textDocument": {"uri": "file:///gone.py", "version": 2}, "contentChanges": []},
}
UNKNOWN = {"method": "no/such", "params": {}}


def trace(value):
    return {"method": "$/setTrace", "params": {"value": value}}


def told(received, method="window/logMessage"):
    return [message["params"] for message in received if message.get("method") == method]


def test_what_goes_wrong_is_told_to_the_client_and_on_stderr():
    hover = {"id": 1, **HOVER}
    status, received, log = session(INITIALIZE, FAULT, STALE, UNKNOWN, hover, SHUTDOWN, EXIT, command=STAND_IN)
    assert status == 0
    stale, fault = sorted(told(received), key=lambda params: -params["type"])
    assert (fault["type"], stale["type"]) == (1, 2)
    assert "a fault in the engine" in fault["message"]
    assert "file:///gone.py, which is not open" in stale["message"]
    assert "a fault in the engine" in log
    assert told(received, "$/logTrace") == []


def test_the_trace_tells_more():
    asked = [{"id": number, **HOVER} for number in (1, 2, 3)]
    _, received, log = session(
        INITIALIZE,
        trace("messages"), UNKNOWN, asked[0],
        trace("verbose"), asked[1],
        trace("off"), UNKNOWN, asked[2],
        SHUTDOWN, EXIT,
    )  # fmt: skip
    traces = told(received, "$/logTrace")
    hovers = [each for each in traces if each["message"].startswith("textDocument/hover")]
    assert [each["message"].partition(":")[0] for each in hovers] == [
        "textDocument/hover (1)",
        "textDocument/hover (2)",
    ]
    assert [URI in each.get("verbose", "") for each in hovers] == [False, True]
    (passed_over,) = [each for each in told(received) if "no/such" in each["message"]]
    assert passed_over["type"] == 3
    assert log.count("Passed over no/such") == 1


def test_the_trace_can_be_asked_for_at_the_start():
    initialize = {**INITIALIZE, "params": {"capabilities": {}, "trace": "messages"}}
    _, received, _ = session(initialize, SHUTDOWN, EXIT)
    assert any(each["message"].startswith("initialize") for each in told(received, "$/logTrace"))


def test_nothing_is_told_before_initialize_is_answered():
    _, received, _ = session(b"no header\r\n\r\n", frame(b"{no json"), STALE, INITIALIZE, SHUTDOWN, EXIT)
    methods = [message.get("method") for message in received]
    first = next(number for number, message in enumerate(received) if message.get("id") == 0)
    assert set(methods[:first]) == {None}


@pytest.mark.parametrize("ends", [True, False])
def test_ends_with_its_client(ends):
    """Though its input stays open: something else may hold the other end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as client:
        initialize = {**INITIALIZE, "params": {"capabilities": {}, "processId": client.pid}}
        with subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            server.stdin.write(frame(initialize))
            server.stdin.flush()
            assert server.stdout.readline().startswith(b"Content-Length")
            if ends:
                client.communicate(b"\n")
                assert server.wait(30) == 1
            else:
                server.stdin.write(frame(SHUTDOWN) + frame(EXIT))
                server.stdin.flush()
                assert server.wait(30) == 0
                client.communicate(b"\n")


def test_a_client_that_cannot_be_seen_is_not_watched():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    for process in (gone.pid, 0, -1):
        initialize = {**INITIALIZE, "params": {"capabilities": {}, "processId": process}}
        status, received, _ = session(initialize, SHUTDOWN, EXIT)
        assert (status, 0 in answers(received)) == (0, True)


def test_where_the_system_does_not_tell_of_a_process_end_it_is_looked_for(monkeypatch):
    monkeypatch.setattr(client_process, "_is_told_of_the_end", lambda process: False)
    monkeypatch.setattr(client_process, "_SECONDS", 0.01)
    ended = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as client:
        client_process.watch(client.pid, lambda: ended.append(client.pid))
        assert ended == []
        client.communicate(b"\n")
    while not ended:
        pass
    assert ended == [client.pid]


def test_the_log_does_not_grow_without_end():
    from fuselight.lsp.log import ClientLog

    log = ClientLog()
    for number in range(3000):
        log.handle(logging.LogRecord("fuselight", logging.ERROR, "", 0, str(number), (), None))
    assert len(log._lines) == 1000
