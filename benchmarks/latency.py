"""How long an editor waits for fuselight, beside ruff's server, a server that does nothing, and others that are there.

    python benchmarks/latency.py [FILE] [--sessions N] [--rounds N] [--server NAME=COMMAND ...]

Without FILE the largest model file of a pinned transformers release is taken (downloaded once into `.cache/`, never
imported). The servers take turns, session by session, so that a noisy machine hits all alike: quote the ratios of one
run, not the milliseconds of two. jedi-language-server, pylsp (with its rope plugin) and Fixit are measured where they
are installed, or where `--server` says how to start them. README.md beside this file says what each figure means.
"""

from __future__ import annotations

import argparse
import shlex
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

from editor import Document, Server, Unanswered

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "wheels"
PINNED = "transformers==5.23.0"
MEMBER = "transformers/models/qwen3_omni_moe/modeling_qwen3_omni_moe.py"

SWISH = """

def benchmark_swish(x):
    return x * torch.sigmoid(x)
"""
"""Appended, so that every file has a site on offer."""

FIGURES = {
    "start": "start: process to `initialize` answered",
    "open": "open: `didOpen` to diagnostics",
    "again": "open: the same in another process, which may remember",
    "comment": "key in a comment to diagnostics",
    "name": "key in a name to diagnostics",
    "broken": "key that breaks the syntax to diagnostics",
    "cpu comment": "CPU a key in a comment",
    "cpu name": "CPU a key in a name",
    "first": "code action, first of the session",
    "warm": "code action, warm",
    "cold": "code action right behind a key",
    "cold broken": "code action, the syntax broken",
    "resolve": "resolve of a code action",
    "burst": "30 keys 30 ms apart: last key to its diagnostics",
    "memory": "peak memory, MiB",
}
PEERS = {"jedi": "jedi-language-server", "pylsp-rope": "pylsp", "fixit": "fixit lsp"}
"""Measured where they are installed."""
BURST, SPACING = 30, 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a model file; by default one of transformers")
    parser.add_argument("--sessions", type=int, default=5, help="of each server (default: 5)")
    parser.add_argument("--rounds", type=int, default=30, help="keys and code actions a session (default: 30)")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND", help="another server")
    parser.add_argument("--budget", type=float, default=20, help="seconds for one figure of a session (default: 20)")
    options = parser.parse_args()
    text = (options.file.read_text(encoding="utf-8") if options.file else pinned_text()) + SWISH
    servers = {
        "fuselight": [sys.executable, "-m", "fuselight", "server"],
        "ruff": [beside_python("ruff") or sys.exit("ruff is missing: pip install ruff"), "server"],
        "floor": [sys.executable, str(HERE / "noop_server.py")],
    }
    given = dict(one.split("=", 1) for one in options.server)
    for name, command in {**PEERS, **given}.items():
        first, *rest = shlex.split(command)
        found = beside_python(first)
        if found:
            servers[name] = [found, *rest]
        else:
            print(f"{name} is not there: it is left out", file=sys.stderr)
    taken: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in servers}
    names = list(servers)
    for turn in range(options.sessions):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            print(f"session {turn + 1} of {options.sessions}: {name}", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                Session(servers[name], text, Path(folder), options.rounds, options.budget, taken[name]).run()
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


def beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


class Session:
    """One server process, measured on everything that it offers; the medians go to `taken`."""

    def __init__(
        self, command: list[str], text: str, folder: Path, rounds: int, budget: float, taken: dict[str, list[float]]
    ) -> None:
        self.rounds = rounds
        self.budget = budget
        self.taken = taken
        self.command, self.folder, self.text = command, folder, text
        # What one process remembers the next one of this session finds, and no other.
        self.environment = {"FUSELIGHT_CACHE_DIR": str(folder / "remembered")}

    def run(self) -> None:
        self._process("open", self._phases)
        self._process("again", lambda: None)

    def _process(self, opening: str, phases: Callable[[], None]) -> None:
        start = time.perf_counter()
        self.server = Server(self.command, self.environment)
        try:
            self.server.initialize(self.folder)
            if opening == "open":
                self._take("start", (time.perf_counter() - start) * 1000)
            self.document = Document(self.server, self.folder / "model.py", self.text)
            self._take(opening, timed(self.document.open))
            phases()
            if opening == "open":
                self._take("memory", self.server.peak_memory())
            self.server.ask("shutdown", None)
            self.server.tell("exit", None)
            self.server.process.wait(10)
        except Unanswered as error:
            print(f"  left off: {error}", file=sys.stderr)
        finally:
            self.server.process.kill()
            self.server.process.wait()

    def _phases(self) -> None:
        document = self.document
        found = [diagnostic["range"]["start"] for diagnostic in document.diagnostics][:50]
        places = [document.place_on_offer(), *found]
        comment, name = document.place_in_comment(), document.place_in_name()
        self._median("first", 1, lambda _: document.actions(places[0]))
        time.sleep(2)  # whatever warms up in the background
        for figure, place in (("comment", comment), ("name", name)):
            before = self.server.processor_time()
            keys = self._median(figure, 2 * self.rounds, lambda _, at=place: document.key(at))
            after = self.server.processor_time()
            if keys and before is not None and after is not None:
                self._take(f"cpu {figure}", (after - before) * 1000 / keys)
        self._median("warm", self.rounds, lambda number: document.actions(places[number % len(places)]))
        self._median("cold", self.rounds, lambda number: self._type_and_ask(comment, places[number % len(places)]))
        document.wait()
        self._resolve(places)
        end = document.place_behind_name()
        self._median("broken", self.rounds, lambda _: document.key(end, "("), lambda: document.mend(end))
        self._median("cold broken", self.rounds, lambda number: document.actions(places[number % len(places)]))
        document.mend(end)
        self._median("burst", 3, lambda _: document.wait(), lambda: self._burst(comment))

    def _type_and_ask(self, key: dict[str, int], place: dict[str, int]) -> None:
        self.document.type(key)
        self.document.actions(place)

    def _burst(self, place: dict[str, int]) -> None:
        self.document.wait()
        for _ in range(BURST):
            time.sleep(SPACING)
            self.document.type(place)

    def _resolve(self, places: list[dict[str, int]]) -> None:
        try:
            actions = [action for place in places for action in self.document.actions(place)]
        except Unanswered:
            return
        lazy = [action for action in actions if "edit" not in action and "data" in action]
        if lazy:
            ask = self.server.ask
            self._median("resolve", self.rounds, lambda number: ask("codeAction/resolve", lazy[number % len(lazy)]))

    def _median(
        self, figure: str, rounds: int, work: Callable[[int], object], before: Callable[[], object] = lambda: None
    ) -> int:
        """Time `work`, after what comes `before` it; how often it was done."""
        samples: list[float] = []
        end = time.monotonic() + self.budget
        try:
            while len(samples) < rounds and (len(samples) < 2 or time.monotonic() < end):
                before()
                samples.append(timed(lambda: work(len(samples))))
        except Unanswered as error:
            print(f"  {figure}: {str(error)[:100]}", file=sys.stderr)
            if self.server.process.poll() is not None:
                raise
        if samples:
            self._take(figure, median(samples))
        return len(samples)

    def _take(self, figure: str, value: float | None) -> None:
        if value is not None:
            self.taken[figure].append(value)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


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
