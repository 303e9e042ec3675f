"""The life of a session: what is announced, what a message out of order or out of shape gets, how it ends."""

import json
import re
import socket
import subprocess
import sys

import pytest

from protocol.sessions import SERVER, STAND_IN, URI

PLACE = {"line": 0, "character": 0}
DOCUMENT = {"uri": URI}
HOVER = {"method": "textDocument/hover", "params": {"textDocument": DOCUMENT, "position": PLACE}}
OPEN = {
    "method": "textDocument/didOpen",
    "params": {"textDocument": {"uri": URI, "languageId": "python", "version": 1, "text": "exact_1 PRINT\n"}},
}
INITIALIZE = {"id": 0, "method": "initialize", "params": {"capabilities": {}}}
SHUTDOWN = {"id": 99, "method": "shutdown"}
EXIT = {"method": "exit"}


def frame(message):
    body = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def messages(output):
    """The messages in `output`, which holds nothing else."""
    found = []
    while output:
        header = re.match(rb"Content-Length: (\d+)\r\n(?:[\w-]+: [^\r]+\r\n)*\r\n", output)
        assert header, output[:200]
        end = header.end() + int(header[1])
        found.append(json.loads(output[header.end() : end]))
        output = output[end:]
    return found


def session(*parts, command=SERVER):
    """Exit status, messages and stderr of a server that is sent `parts`."""
    sent = b"".join(part if isinstance(part, bytes) else frame(part) for part in parts)
    done = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=False)
    return done.returncode, messages(done.stdout), done.stderr.decode()


def answers(received):
    return {message["id"]: message for message in received if "id" in message and "method" not in message}


def test_announces_what_it_does_and_no_more():
    status, received, _ = session(INITIALIZE, SHUTDOWN, EXIT)
    result = answers(received)[0]["result"]
    capabilities = result["capabilities"]
    assert status == 0
    assert result["serverInfo"]["name"] == "fuselight"
    assert capabilities["codeActionProvider"]["codeActionKinds"] == [
        "quickfix",
        "refactor.rewrite",
        "source.fixAll",
        "source.fixAll.fuselight",
    ]
    assert capabilities["textDocumentSync"]["change"] == 2
    assert capabilities["positionEncoding"] == "utf-16"
    assert "diagnosticProvider" not in capabilities
    assert "notebookDocumentSync" not in capabilities


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([INITIALIZE, SHUTDOWN, EXIT], 0, id="orderly"),
        pytest.param([INITIALIZE, EXIT], 1, id="exit without shutdown"),
        pytest.param([INITIALIZE], 1, id="hung up"),
        pytest.param([], 1, id="never said a word"),
        pytest.param([b"Content-Length: 900\r\n\r\n{"], 1, id="hung up in the middle of a message"),
    ],
)
def test_exit_status(parts, expected):
    status, _, log = session(*parts)
    assert status == expected
    assert "Traceback" not in log


def test_what_comes_out_of_order_is_refused():
    hover = {"method": "textDocument/hover", "params": {}}
    _, received, _ = session(
        {"id": 1, **hover}, OPEN, INITIALIZE, {**INITIALIZE, "id": 2}, SHUTDOWN, {"id": 3, **hover}, OPEN, EXIT
    )
    found = {identity: answer.get("error", {}).get("code") for identity, answer in answers(received).items()}
    assert found == {1: -32002, 0: None, 2: -32600, 99: None, 3: -32600}


GARBAGE = [
    pytest.param(b"no header at all\r\n\r\n", {}, id="no header"),
    pytest.param(b"Content-Length: many\r\n\r\n", {}, id="a length that is no number"),
    pytest.param(frame(b"{no json"), {None: -32700}, id="no JSON"),
    pytest.param(frame(b"\xff\xfe\x00"), {None: -32700}, id="no UTF-8"),
    pytest.param(frame(b"[" * 100_000), {None: -32700}, id="nested too deep"),
    pytest.param(frame(b"[1, 2]"), {None: -32600}, id="no object"),
    pytest.param(frame(b'{"jsonrpc": "1.0", "id": 1, "method": "x"}'), {None: -32600}, id="another JSON-RPC"),
    pytest.param(frame({"id": [1], "method": "textDocument/hover"}), {None: -32600}, id="an id that is none"),
    pytest.param(frame({"id": 1, "method": 7}), {None: -32600}, id="a method that is none"),
    pytest.param(frame({"id": 1, "method": "no/such"}), {1: -32601}, id="unknown request"),
    pytest.param(frame({"method": "no/such", "params": 3}), {}, id="unknown notification"),
    pytest.param(frame({"id": 1, "method": "textDocument/hover"}), {1: -32602}, id="no params"),
    pytest.param(
        frame({"id": 1, "method": "textDocument/hover", "params": [1]}), {1: -32602}, id="params of a wrong type"
    ),
    pytest.param(
        frame({"id": 1, "method": "textDocument/codeAction", "params": {"textDocument": {"uri": None}}}),
        {1: -32602},
        id="params of a wrong shape",
    ),
    pytest.param(frame({"id": "never asked", "result": 3}), {}, id="an answer to nothing"),
    pytest.param(frame({"method": "$/cancelRequest", "params": {"id": "never asked"}}), {}, id="cancels nothing"),
    pytest.param(frame({"method": "$/cancelRequest"}), {}, id="cancels no one knows what"),
    pytest.param(
        frame({"method": "textDocument/didChange", "params": {"textDocument": {"uri": "x:y"}, "contentChanges": 3}}),
        {},
        id="a change of wrong shape",
    ),
    pytest.param(
        frame({"method": "textDocument/didClose", "params": {"textDocument": {"uri": "file:///not/open.py"}}}),
        {},
        id="closes what is not open",
    ),
    pytest.param(
        frame({
            "id": 1,
            "method": "textDocument/hover",
            "params": {"textDocument": {"uri": "file:///not/open.py"}, "position": {"line": 0, "character": 0}},
        }),
        {1: None},
        id="asks of what is not open",
    ),
]  # fmt: skip


def test_garbage_is_answered_and_survived():
    """All of it in one session, which is the harder test."""
    sent, expected = [], []
    for case in GARBAGE:
        sent.append(case.values[0])
        expected += case.values[1].items()
    _, received, _ = session(INITIALIZE, *sent, SHUTDOWN, EXIT)
    found = [
        (message["id"], message.get("error", {}).get("code"))
        for message in received
        if "id" in message and "method" not in message
    ]
    assert found == [(0, None), *expected, (99, None)]


def test_a_malformed_change_makes_it_drop_the_document():
    """What the text is now is not known: an edit offered for it could be wrong."""
    bad = {"method": "textDocument/didChange", "params": {"textDocument": {"uri": URI}, "contentChanges": 3}}
    params = {"textDocument": DOCUMENT, "range": {"start": PLACE, "end": PLACE}, "context": {"diagnostics": []}}
    ask = {"id": 1, "method": "textDocument/codeAction", "params": params}
    item = {"uri": URI, "languageId": "python", "version": 1, "text": "exact_1\n"}
    opened = {"method": "textDocument/didOpen", "params": {"textDocument": item}}
    _, received, _ = session(INITIALIZE, opened, ask, bad, {**ask, "id": 2}, SHUTDOWN, EXIT, command=STAND_IN)
    assert [len(answers(received)[identity]["result"]) > 0 for identity in (1, 2)] == [True, False]


def test_cancelled_while_it_waits():
    cancel = {"method": "$/cancelRequest", "params": {"id": 2}}
    # The first answer takes so long that the rest has arrived when the second comes up.
    asked = [{"id": 1, **HOVER}, {"id": 2, **HOVER}, cancel]
    _, received, _ = session(INITIALIZE, OPEN, *asked, SHUTDOWN, EXIT, command=STAND_IN)
    assert answers(received)[1]["result"]
    assert answers(received)[2]["error"]["code"] == -32800


def test_nothing_but_the_protocol_on_stdout():
    status, received, log = session(INITIALIZE, OPEN, {"id": 1, **HOVER}, SHUTDOWN, EXIT, command=STAND_IN)
    assert status == 0
    assert answers(received)[1]["result"]
    assert "printed by the engine" in log
    assert "printed by a child" in log


def test_a_fault_is_logged_with_its_traceback():
    text = {**OPEN["params"]["textDocument"], "text": "FAULT"}
    opened = {"method": "textDocument/didOpen", "params": {"textDocument": text}}
    status, received, log = session(INITIALIZE, opened, {"id": 1, **HOVER}, SHUTDOWN, EXIT, command=STAND_IN)
    assert (status, answers(received)[1]["result"]) == (0, None)
    assert "a fault in the engine" in log
    assert log.count("Traceback") == 1


def test_tcp_on_the_loopback_interface():
    command = [sys.executable, "-c", "from fuselight.lsp import start; start(port=0)"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        host, port = re.search(r"on (.+):(\d+)", server.stderr.readline()).groups()
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(frame(INITIALIZE) + frame(SHUTDOWN) + frame(EXIT))
            output = b""
            while chunk := client.recv(65536):
                output += chunk
        assert server.wait(30) == 0
    assert list(answers(messages(output))) == [0, 99]
