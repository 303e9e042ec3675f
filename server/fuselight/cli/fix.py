"""`fuselight fix`: carries out what is safe enough, until nothing of it is left."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fuselight.cli import ERROR, FOUND, FOUND_NOTHING
from fuselight.cli.selection import add_selection, allowed, overrides

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]

    from fuselight.cli.run import FileError, Job
    from fuselight.fusions.model import Finding, Safety

_EPILOG = """\
exit status: 0 all that is allowed is applied; 1 something allowed is left (its edit is withheld), or --diff shows
a change; 2 an error. What --allow does not name is left alone and changes nothing about the status.
A file with a syntax error is not edited."""


def add_command(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fix",
        help="apply what is safe",
        description="Apply what is safe, until nothing of it is left. Files are replaced whole or not at all.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(
        parser,
        "safety classes to apply besides exact: checkpoint, breaking, inference, numerics, or all (default: none)",
    )
    parser.add_argument("--diff", action="store_true", help="show what would change and write nothing")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class FixTask:
    """One file to fix, and how far."""

    job: Job
    allow: frozenset[Safety]
    write: bool


@dataclass(frozen=True, slots=True)
class FixReport:
    """What one file came to. `before` and `after` are its bytes, equal where nothing changed."""

    path: Path
    before: bytes = b""
    after: bytes = b""
    applied: tuple[Finding, ...] = ()
    left: tuple[Finding, ...] = ()
    """What `fix` may apply and could not, and what it could with more allowed."""
    errors: tuple[FileError, ...] = ()


def run(arguments: argparse.Namespace) -> int:
    from fuselight.cli.run import STANDARD_INPUT, FileError, find_jobs, in_order
    from fuselight.cli.terminal import colours_wanted, report_error, write, write_bytes
    from fuselight.project.settings import SettingsError

    try:
        allow = allowed(arguments)
        options = {key: value for key, value in overrides(arguments).items() if key != "allow"}
        jobs, failed = find_jobs(
            arguments.paths,
            options,
            arguments.stdin_filename,
            force_exclude=arguments.force_exclude,
            cached=not arguments.no_cache,
        )
    except SettingsError as error:
        report_error(str(error))
        return ERROR
    streamed = STANDARD_INPUT in arguments.paths
    tasks = [FixTask(job, allow, write=not (arguments.diff or streamed)) for job in jobs]
    files = in_order(tasks, fix_file, lambda task, problem: FixReport(task.job.path, errors=(FileError(problem),)))
    for file in files:
        for error in file.errors:
            report_error(error.line(file.path))
    changed = [file for file in files if file.before != file.after]
    stuck = any(finding.safety in allow for file in files for finding in file.left)
    if failed or any(file.errors for file in files):
        status = ERROR
    elif stuck or (arguments.diff and changed):
        status = FOUND
    else:
        status = FOUND_NOTHING
    say = _say(arguments.diff or streamed, status)
    if arguments.diff:
        coloured = colours_wanted(sys.stdout)
        for file in changed:
            if coloured:
                write(_coloured(_diff(file)), status)
            else:
                write_bytes(_diff(file), status)
    elif streamed:
        # Whatever went wrong, an editor that filters its buffer through this gets its text back.
        if not tasks:
            write_bytes(sys.stdin.buffer.read(), status)
        for task, file in zip(tasks, files, strict=True):
            write_bytes(file.after if file.after or not file.errors else task.job.data or b"", status)
    else:
        for file in changed:
            _list_applied(file, say)
    _summarise(files, allow, arguments.diff, say)
    return status


def _say(on_stderr: bool, status: int) -> Callable[[str], None]:
    """Where the summary goes: to standard output, unless that carries the diff or the text."""
    from fuselight.cli.terminal import note, write

    return note if on_stderr else lambda line: write(f"{line}\n", status)


def _list_applied(file: FixReport, say: Callable[[str], None]) -> None:
    from fuselight.cli.formats import on_offer
    from fuselight.cli.run import displayed
    from fuselight.cli.terminal import Style, colours_wanted, printable

    style = Style(colours_wanted(sys.stdout))
    say(style.bold(printable(displayed(file.path))))
    for finding in file.applied:
        where = f"{printable(finding.scope)}: " if finding.scope else ""
        say(f"    {style.code(finding.code)} [{finding.safety.value}] {where}{printable(on_offer(finding)[0])}")


def _summarise(files: list[FixReport], allow: frozenset[Safety], diff: bool, say: Callable[[str], None]) -> None:
    from fuselight.cli.formats import counted
    from fuselight.fusions.model import Safety

    applied = sum(len(file.applied) for file in files)
    in_files = counted(sum(bool(file.applied) for file in files), "file")
    if applied:
        say(f"{'Would apply' if diff else 'Applied'} {counted(applied, 'fusion')} in {in_files}.")
    else:
        say("Nothing to apply.")
    left = [finding for file in files for finding in file.left]
    stuck = sum(finding.safety in allow for finding in left)
    if stuck:
        say(f"{counted(stuck, 'fusion')} left without an edit; `fuselight check` says why.")
    for safety in Safety:
        more = sum(finding.safety is safety and finding.withheld is None for finding in left)
        if more and safety not in allow:
            say(f"{more} more with `--allow {safety.value}`.")


def fix_file(task: FixTask) -> FixReport:
    """Fix one file, and write it if asked to."""
    from fuselight.analysis import Analysis, fix_all
    from fuselight.cli.run import FileError, engine_faults, remember, syntax_error, wanted_of
    from fuselight.project.reading import ReadingProblem, write_source
    from fuselight.source.lines import LineIndex

    job = task.job
    source = job.source()
    if isinstance(source, ReadingProblem):
        return FixReport(job.path, errors=(FileError(source.message),))
    untouched = FixReport(job.path, source.data, source.data)
    known = job.remembered.of(source.text, job.settings.codes())
    if known is not None:
        left = tuple(wanted_of(known.findings, LineIndex(source.text), job.settings))
        if not any(finding.safety in task.allow for finding in left):
            return FixReport(job.path, source.data, source.data, left=left)
    before = Analysis(source.text, line_length=job.settings.line_length, codes=job.settings.codes())
    if before.problems:
        return _with_errors(untouched, *(syntax_error(problem) for problem in before.problems))
    with engine_faults() as faults:
        fixed = fix_all(
            before,
            task.allow,
            wanted=lambda version, finding: bool(wanted_of([finding], version.lines, job.settings)),
        )
        left = tuple(wanted_of(fixed.analysis.findings, fixed.analysis.lines, job.settings))
    remember(job, fixed.analysis)
    data = source.encoded(fixed.text)
    if isinstance(data, ReadingProblem):
        return _with_errors(untouched, FileError(data.message))
    if task.write and fixed.applied and (problem := write_source(source, fixed.text)) is not None:
        return _with_errors(untouched, FileError(problem.message))
    return FixReport(job.path, source.data, data, fixed.applied, left, tuple(faults))


def _with_errors(report: FixReport, *errors: FileError) -> FixReport:
    return FixReport(report.path, report.before, report.after, errors=errors)


def _diff(file: FixReport) -> bytes:
    """The unified diff, in the file's own bytes: `patch` and `git apply -p0` take it, whatever the encoding."""
    from fuselight.cli.run import displayed

    name = displayed(file.path).encode("utf-8", "surrogateescape")
    # What follows a tab is no part of the name; without one a name with a blank in it would end there.
    name += b"\t" if b" " in name else b""
    # `patch` knows no line end but "\n"; `bytes.splitlines` would split at a lone "\r" too.
    before, after = (re.findall(rb"[^\n]*\n|[^\n]+", data) for data in (file.before, file.after))
    out: list[bytes] = []
    for line in difflib.diff_bytes(difflib.unified_diff, before, after, name, name):
        out.append(line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n")
    return b"".join(out)


def _coloured(diff: bytes) -> str:
    """The diff for people's eyes: in colours, without control characters."""
    from fuselight.cli.terminal import Style, printable

    style = Style(True)
    starts = {"---": style.bold, "+++": style.bold, "@@ ": style.faint}
    signs = {"-": style.removed, "+": style.added}
    out: list[str] = []
    for line in diff.decode("utf-8", "replace").split("\n"):
        paint = starts.get(line[:3]) or signs.get(line[:1]) or str
        out.append(paint(printable(line.rstrip("\r"))))
    return "\n".join(out)
