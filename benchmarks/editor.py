"""The editor's end of a language server: a client on blocking pipes, and the file that it has open."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from select import select
from typing import Any

CAPABILITIES = {
    "textDocument": {
        "diagnostic": {},
        "publishDiagnostics": {"versionSupport": True},
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["quickfix", "refactor", "source"]}},
            "dataSupport": True,
            "resolveSupport": {"properties": ["edit"]},
        },
    },
    "workspace": {"workspaceEdit": {"documentChanges": True}},
}

CLOCK_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


PATIENCE = 60
"""How many seconds one answer may take."""


class Unanswered(RuntimeError):
    """The server does not offer what is asked for, answers with an error, or is gone."""


class Server:
    """A server process, and the client's end of its pipes."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        """`environment` is set beside what this process has, of which Python's bytecode is kept as it is for users."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**inherited, **(environment or {})},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._sink, self._source = self.process.stdin, self.process.stdout.fileno()
        self._unread = b""
        self._asked = 0
        self.pushed: dict[int | None, list[Any]] = {}
        self.capabilities: dict[str, Any] = {}

    def initialize(self, folder: Path) -> None:
        params = {"processId": None, "rootUri": folder.as_uri(), "capabilities": CAPABILITIES}
        self.capabilities = self.ask("initialize", params)["capabilities"]
        self.tell("initialized", {})

    def tell(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: object) -> Any:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params})
        while (message := self.receive()).get("id") != self._asked or "method" in message:
            pass
        if "error" in message:
            raise Unanswered(f"{method}: {message['error']}")
        return message["result"]

    def receive(self) -> dict[str, Any]:
        """The next message; requests of the server are answered with nothing, pushes are kept."""
        head, found, rest = self._unread.partition(b"\r\n\r\n")
        while not found:
            self._read()
            head, found, rest = self._unread.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n"))
        length = int(headers[b"content-length"])
        while len(self._unread) < len(head) + 4 + length:
            self._read()
        rest = self._unread[len(head) + 4 :]
        body, self._unread = rest[:length], rest[length:]
        message = json.loads(body)
        if "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})
        elif message.get("method") == "textDocument/publishDiagnostics":
            # Some say no version: theirs are of the newest text that they know.
            self.pushed[message["params"].get("version")] = message["params"]["diagnostics"]
        return message

    def processor_time(self) -> float | None:
        """Seconds of CPU so far, of the server and what it started and is alive; None without `/proc`."""
        try:
            return sum(_processor_time(number) for number in _family(self.process.pid))
        except OSError:
            return None

    def peak_memory(self) -> float | None:
        """The most memory that the server's own process held, in MiB; None without `/proc`."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def _read(self) -> None:
        ready, _, _ = select([self._source], [], [], PATIENCE)
        more = os.read(self._source, 1 << 16) if ready else b""
        if not more:
            raise Unanswered("the server is gone" if ready else "no answer in time")
        self._unread += more

    def _send(self, message: dict[str, object]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._sink.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


class Document:
    """The open file."""

    def __init__(self, server: Server, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        self._server = server
        self._lines = text.splitlines()
        self._uri = path.as_uri()
        self._text = text
        self._version = 1
        self._typed: set[int] = set()
        self.diagnostics: list[Any] = []

    def open(self) -> None:
        document = {"uri": self._uri, "languageId": "python", "version": 1, "text": self._text}
        self._server.tell("textDocument/didOpen", {"textDocument": document})
        self.wait()

    def place_in_comment(self) -> dict[str, int]:
        """Behind a comment in the middle of the file."""
        return self._middle(lambda line: line.lstrip().startswith("# "), len)

    def place_in_name(self) -> dict[str, int]:
        """Behind a name that a statement in the middle of the file assigns."""
        return self._middle(
            lambda line: line.startswith("        ") and line.split(" = ")[0].strip().isidentifier() and " = " in line,
            lambda line: line.index(" = "),
        )

    def place_on_offer(self) -> dict[str, int]:
        return {"line": len(self._lines) - 1, "character": self._lines[-1].index("x *")}

    def _middle(self, fits: Callable[[str], bool], column: Callable[[str], int]) -> dict[str, int]:
        half = len(self._lines) // 2
        line = min((at for at, text in enumerate(self._lines) if fits(text)), key=lambda at: abs(at - half))
        return {"line": line, "character": column(self._lines[line])}

    def place_behind_name(self) -> dict[str, int]:
        """Behind the line of `place_in_name`, where an open bracket breaks the syntax."""
        line = self.place_in_name()["line"]
        return {"line": line, "character": len(self._lines[line])}

    def type(self, at: dict[str, int], key: str = "x") -> None:
        """A key at `at`: a letter, and the next time its removal."""
        is_typed = at["line"] in self._typed
        end = {**at, "character": at["character"] + is_typed}
        change = {"range": {"start": at, "end": end}, "text": "" if is_typed else key}
        self._typed ^= {at["line"]}
        self._version += 1
        document = {"uri": self._uri, "version": self._version}
        self._server.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def key(self, at: dict[str, int], key: str = "x") -> None:
        """Type at `at` and wait for what comes of it."""
        self.type(at, key)
        self.wait()

    def mend(self, at: dict[str, int]) -> None:
        """Take back what was typed at `at`."""
        if at["line"] in self._typed:
            self.key(at)

    def wait(self) -> None:
        """Wait for the diagnostics of the newest version."""
        if "diagnosticProvider" in self._server.capabilities:
            report = self._server.ask("textDocument/diagnostic", {"textDocument": {"uri": self._uri}})
            self.diagnostics = report.get("items", self.diagnostics)
            return
        self._server.pushed.pop(None, None)
        while self._version not in self._server.pushed and None not in self._server.pushed:
            self._server.receive()
        pushed = self._server.pushed
        self.diagnostics = pushed[self._version] if self._version in pushed else pushed[None]

    def actions(self, at: dict[str, int]) -> list[Any]:
        if "codeActionProvider" not in self._server.capabilities:
            raise Unanswered("no code actions")
        here = [d for d in self.diagnostics if d["range"]["start"]["line"] == at["line"]]
        context = {"diagnostics": here, "triggerKind": 1}
        params = {"textDocument": {"uri": self._uri}, "range": {"start": at, "end": at}, "context": context}
        return self._server.ask("textDocument/codeAction", params) or []


def _processor_time(number: int) -> float:
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def _family(number: int) -> list[int]:
    found = [number]
    for task in Path(f"/proc/{number}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _family(int(child))
    return found
