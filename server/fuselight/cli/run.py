"""Files to reports: found, read in as many processes as pay, one fault costing one file."""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fuselight.analysis import Analysis, SyntaxProblem, preparing
from fuselight.cli.terminal import note, report_error
from fuselight.fusions.model import Finding, Fix
from fuselight.project.discovery import discover
from fuselight.project.reading import ReadingProblem, SourceFile, decode_source, read_source
from fuselight.project.remembered import Remembered
from fuselight.project.settings import Settings, SettingsError, configures, load_settings
from fuselight.project.suppression import suppressions
from fuselight.source.lines import LineIndex

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

STANDARD_INPUT = "-"
FEW = 8
"""Up to so many files one process is faster than starting others."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report should hold beyond the findings."""

    fixes: bool
    refused: bool


@dataclass(frozen=True, slots=True)
class Site:
    """A finding, and its edits where they were asked for and are on offer."""

    finding: Finding
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class FileError:
    """What kept a file, or a part of it, from being read."""

    message: str
    row: int | None = None
    column: int | None = None

    def line(self, path: Path) -> str:
        place = displayed(path) if self.row is None else f"{displayed(path)}:{self.row}:{self.column}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file came to."""

    path: Path
    text: str = ""
    """The text that the findings' places refer to; empty where there are none."""
    sites: tuple[Site, ...] = ()
    errors: tuple[FileError, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read, and how. `data` is what came on standard input; None reads the file."""

    path: Path
    settings: Settings
    remembered: Remembered
    data: bytes | None = None

    def source(self) -> SourceFile | ReadingProblem:
        return read_source(self.path) if self.data is None else decode_source(self.path, self.data)


def read_all(
    paths: Sequence[str],
    overrides: dict[str, object],
    stdin_filename: str | None,
    wanted: Wanted,
    *,
    force_exclude: bool = False,
    cached: bool = True,
) -> tuple[list[FileReport], bool]:
    """The reports of all files at `paths` in order, and whether a path or setting was at fault.

    Raises:
        SettingsError: an option's value is not allowed.
    """
    jobs, failed = find_jobs(paths, overrides, stdin_filename, force_exclude=force_exclude, cached=cached)
    checks = [_Check(job, wanted) for job in jobs]
    return (
        in_order(checks, _run_check, lambda check, problem: FileReport(check.job.path, errors=(FileError(problem),))),
        failed,
    )


@dataclass(frozen=True, slots=True)
class _Check:
    job: Job
    wanted: Wanted


def _run_check(check: _Check) -> FileReport:
    return check_file(check.job, check.wanted)


def check_file(job: Job, wanted: Wanted) -> FileReport:
    """The report of one file."""
    source = job.source()
    if isinstance(source, ReadingProblem):
        return FileReport(job.path, errors=(FileError(source.message),))
    codes = job.settings.codes()
    known = None if wanted.refused else job.remembered.of(source.text, codes)
    if known is not None:
        found = [
            finding
            for finding in wanted_of(known.findings, LineIndex(source.text), job.settings)
            if finding.safety in job.settings.reported
        ]
        if not found or not wanted.fixes:
            return FileReport(job.path, source.text if found else "", tuple(map(Site, _by_place(found))))
    analysis = Analysis(source.text, line_length=job.settings.line_length, codes=codes)
    errors = [syntax_error(problem) for problem in analysis.problems]
    with engine_faults() as faults:
        found = [finding for finding in analysis.findings if finding.safety in job.settings.reported]
        near = analysis.refusals if wanted.refused else ()
    remember(job, analysis)
    sites: list[Site] = []
    for finding in _by_place(wanted_of((*found, *near), analysis.lines, job.settings)):
        fix = None
        if wanted.fixes and finding.refused is None:
            try:
                fix = analysis.fix(finding)
            except Exception as error:
                row, column = analysis.lines.row_column(finding.span.start)
                errors.append(FileError(f"{internal(error)} (the edit of {finding.code})", row, column))
        sites.append(Site(finding, fix))
    return FileReport(job.path, analysis.text if sites else "", tuple(sites), (*errors, *faults))


def _by_place(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.span.start, finding.span.end, finding.code))


def remember(job: Job, analysis: Analysis) -> None:
    """Remember what was found in the text of a file."""
    from fuselight.fusions.pages import pages_of

    if job.remembered.keeps and not analysis.problems and not analysis.is_faulty:
        findings = analysis.findings
        job.remembered.keep(analysis.text, findings, pages_of(findings), analysis.codes)


def wanted_of(findings: Iterable[Finding], lines: LineIndex, settings: Settings) -> list[Finding]:
    """The findings and near misses of a text that have a selected code and that no comment silences."""
    selected = [finding for finding in findings if settings.includes(finding.code)]
    return [finding for finding in selected if not suppressions(lines.text).silences(finding, lines)]


@contextmanager
def engine_faults() -> Generator[list[FileError]]:
    """The faults of single fusions that the engine logs meanwhile; each cost that fusion in that scope, no more."""
    faults: list[FileError] = []
    listener = _Faults(faults)
    log = logging.getLogger("fuselight")
    log.addHandler(listener)
    try:
        yield faults
    finally:
        log.removeHandler(listener)


class _Faults(logging.Handler):
    def __init__(self, faults: list[FileError]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        cause = f": {_told(error)}" if error is not None else ""
        fault = FileError(f"internal error: {record.getMessage()}{cause}")
        # A text that is fixed step by step is looked at again and again.
        if fault not in self._faults:
            self._faults.append(fault)


def syntax_error(problem: SyntaxProblem) -> FileError:
    if problem.newer_python is not None:
        running = ".".join(map(str, sys.version_info[:2]))
        message = f"syntax of Python {problem.newer_python}; fuselight runs on Python {running} ({problem.message})"
    else:
        message = f"syntax error: {problem.message}"
    return FileError(message, problem.row, problem.column)


def internal(error: BaseException) -> str:
    """A fault of fuselight's own, with the place that a report of it should name."""
    return f"internal error: {_told(error)}"


def _told(error: BaseException) -> str:
    told = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    return f"{told} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else told


def find_jobs(
    paths: Sequence[str], overrides: dict[str, object], stdin_filename: str | None, *, force_exclude: bool, cached: bool
) -> tuple[list[Job], bool]:
    """The files to read, each with its settings, and whether a path or setting was at fault (said on stderr).

    Where `cached`, what was found in the same text before need not be found again.

    Raises:
        SettingsError: an option's value is not allowed.
    """
    Settings().merge(overrides, "command line")
    complaints: dict[str, None] = {}

    of_folder: dict[Path, Settings | None] = {}

    def settings_of(folder: Path) -> Settings | None:
        place = Path(os.path.abspath(folder))
        if place not in of_folder:
            if place.parent in of_folder and not configures(place):
                of_folder[place] = of_folder[place.parent]
            else:
                of_folder[place] = read_settings(place)
        return of_folder[place]

    def read_settings(place: Path) -> Settings | None:
        try:
            return load_settings(place).merge(overrides, "command line")
        except SettingsError as error:
            complaints[str(error)] = None
            return None

    remembered = Remembered.of_user() if cached else Remembered(None)
    remembered.prepare()
    jobs: list[Job] = []
    if STANDARD_INPUT in paths:
        if len(paths) > 1:
            raise SettingsError("command line", None, "- for standard input stands alone")
        path = Path(stdin_filename or STANDARD_INPUT)
        settings = settings_of(path.parent)
        if settings is not None:
            jobs.append(Job(path, settings, remembered, sys.stdin.buffer.read()))
        failed = False
    else:
        found = discover(
            [Path(path) for path in paths],
            lambda folder: settings_of(folder) or Settings(),
            force_exclude=force_exclude,
        )
        for file in found.files:
            settings = settings_of(file.parent)
            if settings is not None:
                jobs.append(Job(file, settings, remembered))
        for problem in found.problems:
            report_error(f"{displayed(problem.path)}: {problem.message}")
        failed = bool(found.problems)
        if not found.files and not failed and not force_exclude:
            note("warning: no Python files found under the given paths")
    for complaint in complaints:
        report_error(complaint)
    return jobs, failed or bool(complaints)


_Task = TypeVar("_Task")


def in_order(tasks: Sequence[_Task], run: Callable[[_Task], _T], failed: Callable[[_Task, str], _T]) -> list[_T]:
    """`run` of every task, in the order of the tasks; `failed(task, why)` of one that raises or kills its process."""
    processes = min(os.cpu_count() or 1, len(tasks), 61)
    few = len(tasks) <= FEW or processes == 1
    done = _chunk(tasks, run) if few else _in_processes(tasks, run, processes)
    return [
        failed(task, problem) if result is None else result for task, (result, problem) in zip(tasks, done, strict=True)
    ]


_Done = tuple[_T | None, str]
"""(the result of a task, ""), or (None, why there is none)."""


_MOST_LEFT_BEHIND = 50_000
"""How many objects, some 10 MB, may wait to be looked through for garbage."""


def _chunk(tasks: Sequence[_Task], run: Callable[[_Task], _T]) -> list[_Done[_T]]:
    # A file's trees are many objects that all live until it is done: to look for garbage meanwhile is a sixth of the
    # time. So is to look for it behind every file: that waits until there is much, or the process ends.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return [_attempt(task, run) for task in tasks]
    finally:
        if collecting:
            gc.enable()


def _attempt(task: _Task, run: Callable[[_Task], _T]) -> _Done[_T]:
    try:
        return run(task), ""
    except Exception as error:
        return None, internal(error)
    finally:
        if gc.get_count()[0] > _MOST_LEFT_BEHIND:
            gc.collect(0)


def _in_processes(tasks: Sequence[_Task], run: Callable[[_Task], _T], processes: int) -> list[_Done[_T]]:
    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool

    size = max(1, min(32, len(tasks) // (processes * 4)))
    chunks = [tasks[at : at + size] for at in range(0, len(tasks), size)]
    results: dict[int, list[_Done[_T]]] = {}
    if multiprocessing.get_start_method() == "fork":
        for _ in preparing():
            pass  # once, and not in every process anew
        gc.freeze()  # nor is it garbage to any of them
    with _interrupts() as raise_interrupt:
        with _pool(processes) as pool:
            # All submitted, and so all workers started, before the progress bar starts its thread.
            numbers = {pool.submit(_chunk, chunk, run): number for number, chunk in enumerate(chunks)}
            with _progress(len(tasks)) as advance:
                for future in _finished(numbers, raise_interrupt):
                    number = numbers[future]
                    try:
                        results[number] = future.result()
                    except BrokenProcessPool:
                        continue
                    advance(len(chunks[number]))
        for number, chunk in enumerate(chunks):
            if number not in results:
                results[number] = [_alone(task, run, raise_interrupt) for task in chunk]
    return [each for number in range(len(chunks)) for each in results[number]]


def _alone(task: _Task, run: Callable[[_Task], _T], raise_interrupt: Callable[[], None]) -> _Done[_T]:
    """A task whose process died, or whose neighbour's did, in a process of its own."""
    from concurrent.futures.process import BrokenProcessPool

    with _pool(1) as pool:
        (future,) = _finished([pool.submit(_chunk, [task], run)], raise_interrupt)
        try:
            return future.result()[0]
        except BrokenProcessPool:
            return None, "internal error: the process that read it died"


@contextmanager
def _pool(processes: int) -> Generator[ProcessPoolExecutor]:
    """Processes that are ended, whatever they are at, where the block is left by an exception."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(processes, initializer=_begin)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        ended = multiprocessing.active_children()
        for process in ended:
            process.terminate()
        for process in ended:
            process.join(1)
        pool.shutdown(wait=False, cancel_futures=True)
        raise


_INTERRUPT_NOTICED = 0.1
"""How many seconds a Ctrl-C may wait."""


def _finished(futures: Iterable[Future[_T]], raise_interrupt: Callable[[], None]) -> Generator[Future[_T]]:
    """Each of `futures` as soon as it is done."""
    from concurrent.futures import FIRST_COMPLETED, wait

    pending = set(futures)
    while pending:
        done, pending = wait(pending, _INTERRUPT_NOTICED, FIRST_COMPLETED)
        raise_interrupt()
        yield from done


@contextmanager
def _interrupts() -> Generator[Callable[[], None]]:
    """What raises KeyboardInterrupt if there was a Ctrl-C since; Ctrl-C itself raises nothing inside the block.

    Raised wherever the main thread happens to be, between two steps of a lock of the pool, say, it would leave the lock
    taken for good, and a thread of the pool waiting for it.
    """
    import signal
    import threading

    arrived = False

    def note_interrupt(*_: object) -> None:
        nonlocal arrived
        arrived = True

    def raise_interrupt() -> None:
        if arrived:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield raise_interrupt
        return
    signal.signal(signal.SIGINT, note_interrupt)
    try:
        yield raise_interrupt
    finally:
        signal.signal(signal.SIGINT, before)
    raise_interrupt()


def _begin() -> None:
    """Begin a process of the pool. The parent alone answers Ctrl-C, once."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # for good: between two chunks, too


@contextmanager
def _progress(total: int) -> Generator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal that can take it away again; called with what is done."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Reading", total=total)
        yield lambda done: bar.advance(task, done)


def displayed(path: Path) -> str:
    """A path as people read it: relative to the current directory where it lies below it."""
    if not path.is_absolute():
        return str(path)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
