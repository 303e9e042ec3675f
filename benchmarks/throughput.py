"""How many lines a second of CPU the command lines read: fuselight, and TorchFix and Fixit where they are there.

    python benchmarks/throughput.py [FOLDER] [--peer-every N] [--rounds N] [--command NAME=COMMAND ...]

Without FOLDER the models of a pinned timm release are read (downloaded once into `.cache/`, never imported). The slower
ones get every `--peer-every`th file alone: what counts is lines a second of CPU, over all processes. They take turns.
fuselight reads every file anew; the row "again" is a run behind another one, which remembers what was found.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median

from latency import CACHE, beside_python

PINNED = "timm==1.0.31"
FOLDER = "timm/models/"
PEERS = {"TorchFix": "flake8 --isolated --select=TOR0,TOR1,TOR2", "Fixit": "fixit --quiet lint"}
"""Measured where they are installed. TorchFix is a plugin of flake8."""
AGAIN = "fuselight, again"
OWN = {"fuselight", AGAIN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="by default the models of timm")
    parser.add_argument("--peer-every", type=int, default=12, help="of how many files the peers read one (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--command", action="append", default=[], metavar="NAME=COMMAND", help="another command line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        files = sorted((options.folder or unpacked(Path(place))).rglob("*.py"))
        check = [sys.executable, "-m", "fuselight", "check", "--output-format", "concise"]
        commands = {"fuselight": [*check, "--no-cache"], AGAIN: check}
        # The first of the rounds, of which all others remember, is no round.
        os.environ["FUSELIGHT_CACHE_DIR"] = str(Path(place, "remembered"))
        measured(check, files)
        given = dict(one.split("=", 1) for one in options.command)
        for name, command in {**PEERS, **given}.items():
            first, *rest = shlex.split(command)
            found = beside_python(first)
            if found:
                commands[name] = [found, *rest]
            else:
                print(f"{name} is not there: it is left out", file=sys.stderr)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(options.rounds):
            for name, command in commands.items():
                print(f"round {turn + 1} of {options.rounds}: {name}", file=sys.stderr)
                taken[name].append(measured(command, files if name in OWN else files[:: options.peer_every]))
    print("| | lines a second of CPU | lines a second |\n|---|---:|---:|")
    for name, rates in taken.items():
        of_cpu, of_wall = (f"{median(each):,.0f}" for each in zip(*rates, strict=True))
        print(f"| {name} | {of_cpu} | {of_wall} |")
    own = median(rate for rate, _ in taken["fuselight"])
    for name in commands.keys() - OWN:
        print(f"\nfuselight / {name}: {own / median(rate for rate, _ in taken[name]):.1f}")


def measured(command: list[str], files: list[Path]) -> tuple[float, float]:
    """Lines a second, of CPU and of the clock; the start of the process is not taken off."""
    lines = sum(file.read_bytes().count(b"\n") for file in files)
    # Python's bytecode is kept, as it is where fuselight is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, *map(str, files)], env=environment, check=False, **quiet)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return lines / spent, lines / wall


def unpacked(place: Path) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    wheel = f"{PINNED.replace('==', '-')}-*.whl"
    if not list(CACHE.glob(wheel)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), PINNED]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    with zipfile.ZipFile(next(CACHE.glob(wheel))) as archive:
        archive.extractall(place, [one for one in archive.namelist() if one.startswith(FOLDER)])
    return place / FOLDER


if __name__ == "__main__":
    main()
