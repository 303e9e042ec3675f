"""How long an editor waits for fuselight, beside ruff's server and a server that does nothing.

    python benchmarks/latency.py [FILE] [--sessions N] [--rounds N]

Without FILE the largest model file of a pinned transformers release is taken (downloaded once into `.cache/`, never
imported). The three servers take turns, session by session, so that a noisy machine hits all alike: quote the ratios of
one run, not the milliseconds of two. README.md beside this file says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "wheels"
PINNED = "transformers==5.23.0"
MEMBER = "transformers/models/qwen3_omni_moe/modeling_qwen3_omni_moe.py"

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
SWISH = """

def benchmark_swish(x):
    return x * torch.sigmoid(x)
"""
"""Appended, so that every file has a site on offer."""

FIGURES = {
    "start": "start: process to `initialize` answered",
    "open": "open: `didOpen` to diagnostics",
    "comment": "key in a comment to diagnostics",
    "name": "key in a name to diagnostics",
    "first": "code action, first of the session",
    "warm": "code action, warm",
    "cold": "code action right behind a key",
    "resolve": "resolve of a code action",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a model file; by default one of transformers")
    parser.add_argument("--sessions", type=int, default=5, help="of each server (default: 5)")
    parser.add_argument("--rounds", type=int, default=30, help="keys and code actions a session (default: 30)")
    options = parser.parse_args()
    text = (options.file.read_text(encoding="utf-8") if options.file else pinned_text()) + SWISH
    servers = {
        "fuselight": [sys.executable, "-m", "fuselight", "server"],
        "ruff": [beside_python("ruff"), "server"],
        "floor": [sys.executable, str(HERE / "noop_server.py")],
    }
    taken: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in servers}
    names = list(servers)
    for turn in range(options.sessions):
        for name in names[turn % 3 :] + names[: turn % 3]:
            print(f"session {turn + 1} of {options.sessions}: {name}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                measure(servers[name], text, Path(folder), options.rounds, taken[name])
    print(f"{len(text.splitlines())} lines; milliseconds, median of {options.sessions} sessions (least to most)\n")
    print(table(taken))


def pinned_text() -> str:
    CACHE.mkdir(parents=True, exist_ok=True)
    wheel = f"{PINNED.replace('==', '-')}-*.whl"
    if not list(CACHE.glob(wheel)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), PINNED]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    with zipfile.ZipFile(next(CACHE.glob(wheel))) as archive:
        text = archive.read(MEMBER).decode()
    # Without the header that says the file is generated, for which no edits are offered.
    return text[text.index("# Copyright") :]


def beside_python(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if not found:
        sys.exit(f"{name} is missing: pip install {name}")
    return found


def measure(command: list[str], text: str, folder: Path, rounds: int, taken: dict[str, list[float]]) -> None:
    """One session; adds its medians to `taken`."""
    start = time.perf_counter()
    server = Server(command)
    try:
        server.initialize(folder)
        taken["start"].append((time.perf_counter() - start) * 1000)
        document = Document(server, folder / "model.py", text)
        taken["open"].append(timed(document.open))
        found = document.diagnostics
        places = [document.place_on_offer(), *(diagnostic["range"]["start"] for diagnostic in found)]
        taken["first"].append(timed(lambda: document.actions(places[0])))
        time.sleep(2)  # whatever warms up in the background
        samples: dict[str, list[float]] = defaultdict(list)
        comment, name = document.place_in_comment(), document.place_in_name()
        for number in range(rounds):
            for figure, place in (("comment", comment), ("name", name)):
                samples[figure].append(timed(lambda at=place: document.key(at)))
            place = places[number % len(places)]
            samples["warm"].append(timed(lambda at=place: document.actions(at)))
            samples["cold"].append(timed(lambda at=place: (document.type(comment), document.actions(at))))
            document.wait()
            for action in document.actions(place):
                if "edit" not in action and "data" in action:
                    samples["resolve"].append(timed(lambda chosen=action: server.ask("codeAction/resolve", chosen)))
                    break
        for figure, values in samples.items():
            taken[figure].append(median(values))
        server.ask("shutdown", None)
        server.tell("exit", None)
        server.process.wait(10)
    finally:
        server.process.kill()
        server.process.wait()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


class Server:
    """A server process, and the client's end of its pipes."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._sink, self._source = self.process.stdin, open(self.process.stdout.fileno(), "rb", closefd=False)  # noqa: SIM115
        self._asked = 0
        self.pushed: dict[int, list[Any]] = {}
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
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def receive(self) -> dict[str, Any]:
        """The next message; requests of the server are answered with nothing, pushes are kept."""
        length = 0
        while header := self._source.readline().strip():
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        if not length:
            raise RuntimeError("the server is gone")
        message = json.loads(self._source.read(length))
        if "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})
        elif message.get("method") == "textDocument/publishDiagnostics":
            self.pushed[message["params"].get("version")] = message["params"]["diagnostics"]
        return message

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

    def type(self, at: dict[str, int]) -> None:
        """A key at `at`: a letter, and the next time its removal."""
        is_typed = at["line"] in self._typed
        end = {**at, "character": at["character"] + is_typed}
        change = {"range": {"start": at, "end": end}, "text": "" if is_typed else "x"}
        self._typed ^= {at["line"]}
        self._version += 1
        document = {"uri": self._uri, "version": self._version}
        self._server.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def key(self, at: dict[str, int]) -> None:
        """Type at `at` and wait for what comes of it."""
        self.type(at)
        self.wait()

    def wait(self) -> None:
        """Wait for the diagnostics of the newest version."""
        if "diagnosticProvider" in self._server.capabilities:
            report = self._server.ask("textDocument/diagnostic", {"textDocument": {"uri": self._uri}})
            self.diagnostics = report.get("items", self.diagnostics)
            return
        while self._version not in self._server.pushed:
            self._server.receive()
        self.diagnostics = self._server.pushed[self._version]

    def actions(self, at: dict[str, int]) -> list[Any]:
        here = [d for d in self.diagnostics if d["range"]["start"]["line"] == at["line"]]
        context = {"diagnostics": here, "triggerKind": 1}
        params = {"textDocument": {"uri": self._uri}, "range": {"start": at, "end": at}, "context": context}
        return self._server.ask("textDocument/codeAction", params) or []


def table(taken: dict[str, dict[str, list[float]]]) -> str:
    rows = [
        "| | " + " | ".join(taken) + " | fuselight / ruff | fuselight / floor |",
        "|---|" + "---:|" * (len(taken) + 2),
    ]
    for figure, title in FIGURES.items():
        cells = [cell(figures[figure]) for figures in taken.values()]
        own = taken["fuselight"][figure]
        ratios = [ratio(own, taken[other][figure]) for other in ("ruff", "floor")]
        rows.append(f"| {title} | " + " | ".join(cells + ratios) + " |")
    return "\n".join(rows)


def cell(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def ratio(own: list[float], others: list[float]) -> str:
    """The median of the ratios of sessions that ran in the same turn."""
    if not own or len(own) != len(others):
        return "-"
    return f"{median(mine / other for mine, other in zip(own, others, strict=True)):.2f}"


if __name__ == "__main__":
    main()
