"""Many files in many processes, and the real command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from io import FileIO
from pathlib import Path

import pytest

from fuselight import __version__
from fuselight.cli.run import FEW, in_order


def fuselight(*arguments: str, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "fuselight", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


def doubled(number: int) -> int:
    if number == 13:
        raise ValueError("unlucky")
    return 2 * number


def doubled_or_dead(number: int) -> int:
    if number == 13:
        os._exit(1)
    return 2 * number


def failure(number: int, why: str) -> str:
    return f"{number}: {why}"


def expected(count: int, why: str) -> list[int | str]:
    return [f"13: {why}" if number == 13 else 2 * number for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 100])
def test_in_order(count: int) -> None:
    at = f"test_cli_run.py:{doubled.__code__.co_firstlineno + 2}"
    assert in_order(range(count), doubled, failure) == expected(count, f"internal error: ValueError: unlucky at {at}")


def test_a_process_that_dies_costs_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert in_order(range(20), doubled_or_dead, failure) == expected(
        20, "internal error: the process that read it died"
    )


def test_one_processor_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    pids = in_order(range(20), lambda _: os.getpid(), failure)
    assert set(pids) == {os.getpid()}


def test_version(tmp_path: Path) -> None:
    assert fuselight("--version", cwd=tmp_path).stdout == f"fuselight {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["check", "--help"], ["rule", "--help"], ["graph", "--help"]]
)
def test_help_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fuselight", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert not imported & {"libcst", "pygls", "lsprotocol", "rich", "pathspec", "fuselight.analysis", "asyncio"}


def test_check_imports_no_libcst_to_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("x = 1\n", "utf-8")
    code = (
        "import sys; from fuselight.cli import main; main(['check']); "
        "print([name for name in ('libcst', 'pygls') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout == "No fusions found.\n[]\n"


def test_many_files_report_in_order(tmp_path: Path) -> None:
    names = [f"m{number:03}.py" for number in range(60)]
    for name in names:
        (tmp_path / name).write_bytes(b"\0")
    ran = fuselight("check", cwd=tmp_path)
    assert ran.returncode == 2
    assert [line.split(":")[1].strip() for line in ran.stderr.splitlines()] == names


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
@pytest.mark.parametrize(
    ("count", "term", "bar"), [(30, "xterm", True), (30, "dumb", False), (FEW, "xterm", False)], ids=str
)
def test_a_bar_where_errors_go_to_a_terminal(tmp_path: Path, count: int, term: str, bar: bool) -> None:
    import pty

    for number in range(count):
        (tmp_path / f"m{number}.py").write_text("x = 1\n", "utf-8")
    ours, theirs = pty.openpty()
    # One processor would read the files one by one, without a bar.
    command = "import os, sys; os.cpu_count = lambda: 2; from fuselight.cli import main; sys.exit(main(['check']))"
    ran = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env={**os.environ, "TERM": term, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        shown = b"".join(iter(lambda: _read(terminal), b""))
    assert (ran.returncode, ran.stdout) == (0, b"No fusions found.\n")
    assert (b"Reading" in shown) == bar
    if bar:
        assert b"30/30" in shown
        # Taken away when it is done: the report stands alone.
        assert shown.rstrip(b"\r\n").endswith((b"\x1b[2K", b"\x1b[?25h"))
    else:
        assert shown == b""


def _read(terminal: FileIO) -> bytes:
    try:
        return terminal.read(4096)
    except OSError:
        # Linux's way to say that the other end is closed.
        return b""


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("x = 1\n", "utf-8")
    for command in (["check"], ["fix"], ["check", "--output-format", "json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "fuselight", *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
        process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_ends_the_run_and_its_processes(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"m{number}.py").write_text("x = 1\n", "utf-8")
    slow = (
        "import sys, time, os, fuselight.cli.run as r\n"
        "from fuselight.cli import program\n"
        "def sleep(*_):\n    os.write(2, b'%d\\n' % os.getpid())\n    time.sleep(60)\n"
        "r.check_file = sleep\n"
        "os.cpu_count = lambda: 2\n"
        "sys.argv = ['fuselight', 'check']\n"
        "program()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore it, and what they start does, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    workers = [int(process.stderr.readline()), int(process.stderr.readline())]
    # As a terminal does: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    # As an interrupted program, which ends a shell's loop around it, too.
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "")
    time.sleep(0.2)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_between_any_two_lines_of_the_pool_leaves_no_lock_taken(tmp_path: Path) -> None:
    """Each in one process: raised there and then, it left a thread of the pool waiting for a lock for good."""
    program = tmp_path / "program.py"
    program.write_text(
        "import faulthandler, os, signal, sys, threading, time\n"
        "import concurrent.futures, multiprocessing\n"
        "from fuselight.cli.run import in_order\n"
        "os.cpu_count = lambda: 2\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a shell's background jobs\n"
        "faulthandler.dump_traceback_later(90, exit=True)\n"
        "class Interrupts:\n"
        "    def __init__(self, left):\n"
        "        self.left = left\n"
        "    def __call__(self, frame, event, argument):\n"
        "        if not frame.f_code.co_filename.endswith(('_base.py', 'process.py', 'threading.py')):\n"
        "            return None\n"
        "        if event == 'line':\n"
        "            self.left -= 1\n"
        "            if self.left == 0:\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "        return self\n"
        "interrupted = 0\n"
        "for line in range(1, 1000, 21):\n"
        "    sys.settrace(Interrupts(line))\n"
        "    try:\n"
        "        in_order([5.0] * 10, time.sleep, lambda *_: None)\n"
        "    except KeyboardInterrupt:\n"
        "        interrupted += 1\n"
        "    finally:\n"
        "        sys.settrace(None)\n"
        "    for thread in threading.enumerate():\n"
        "        if thread is not threading.main_thread():\n"
        "            thread.join()\n"
        "    assert not multiprocessing.active_children()\n"
        "print(interrupted)\n",
        "utf-8",
    )
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("48\n", "", 0)


def test_a_locale_without_unicode_still_prints(tmp_path: Path) -> None:
    (tmp_path / "mod\u00e8le.py").write_bytes(b"\0")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = subprocess.run(
        [sys.executable, "-m", "fuselight", "check"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert ran.stderr.startswith(rb"error: mod\xe8le.py: a binary file")
