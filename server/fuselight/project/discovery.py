"""Which files a run reads: the paths it was given, directories walked, what git ignores left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuselight.project.settings import Settings

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NEVER_READ: Final = frozenset(
    {
        ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints", ".mypy_cache", ".nox",
        ".pants.d", ".pyenv", ".pytest_cache", ".pytype", ".ruff_cache", ".svn", ".tox", ".venv", ".vscode",
        "__pycache__", "__pypackages__", "_build", "buck-out", "build", "dist", "node_modules", "site-packages", "venv",
    }
)  # fmt: skip
"""Directories that hold no one's own source, by name, as ruff has them; `exclude = ["!build"]` lets one in again."""


@dataclass(frozen=True, slots=True)
class PathProblem:
    """A path that cannot be read, and why."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """The files to read, each once, sorted; and the paths that are none."""

    files: tuple[Path, ...]
    problems: tuple[PathProblem, ...]


def discover(
    paths: Iterable[Path], settings_of: Callable[[Path], Settings], *, force_exclude: bool = False
) -> Discovery:
    """The Python files at and below `paths`.

    A path that is named is read whatever the ignore files say; only what lies below it can be left out. With
    `force_exclude` the setting `exclude` leaves out what is named, too.
    `settings_of` gives the settings of a directory.
    """
    steps = discovering(paths, settings_of, force_exclude=force_exclude)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def discovering(
    paths: Iterable[Path], settings_of: Callable[[Path], Settings], *, force_exclude: bool = False
) -> Generator[None, None, Discovery]:
    """As `discover`, a directory at a time: between two of them whoever asked can do something else."""
    walk = _Walk(settings_of)
    for path in paths:
        if not (force_exclude and walk.is_excluded(path)):
            yield from walk.add(path)
    # A link and its target are one file; the shorter way to it, then the first in order, stands for both.
    files: dict[str, Path] = {}
    for path in sorted(walk.files, key=lambda path: (path not in walk.named, path.is_symlink(), path.parts)):
        files.setdefault(os.path.realpath(path), path)
    return Discovery(tuple(sorted(files.values(), key=lambda path: path.parts)), tuple(walk.problems))


@dataclass(frozen=True, slots=True)
class _Ignored:
    """The patterns that one directory lays on everything below it."""

    root: str
    patterns: GitIgnoreSpec

    def verdict(self, path: str, is_directory: bool) -> bool | None:
        """Whether `path` is left out (True) or let in again (False); None where no pattern speaks of it."""
        below = self.root.rstrip(os.sep) + os.sep
        if not path.startswith(below):
            return None
        relative = path[len(below) :].replace(os.sep, "/")
        return self.patterns.check_file(f"{relative}/" if is_directory else relative).include


class _Walk:
    def __init__(self, settings_of: Callable[[Path], Settings]) -> None:
        self.files: list[Path] = []
        self.named: set[Path] = set()
        self.problems: list[PathProblem] = []
        self._settings_of = settings_of
        self._excludes: dict[tuple[Path, tuple[str, ...]], _Ignored] = {}

    def is_excluded(self, path: Path) -> bool:
        """Whether the setting `exclude` speaks of `path`, or of a directory around it."""
        is_directory = os.path.isdir(path)
        exclude = self._exclude(self._settings_of(path if is_directory else path.parent))
        return exclude is not None and exclude.verdict(os.path.realpath(path), is_directory) is True

    def add(self, path: Path) -> Iterator[None]:
        # `os.path` answers False where `Path` raises: a loop of links, a directory that may not be entered.
        if os.path.isdir(path):
            yield from self._enter(path)
        elif path.suffix == ".ipynb" and os.path.exists(path):
            self.problems.append(PathProblem(path, "a notebook; only Python files are read"))
        elif os.path.isfile(path):
            self.files.append(path)
            self.named.add(path)
        elif os.path.exists(path):
            self.problems.append(PathProblem(path, "neither a file nor a directory"))
        else:
            self.problems.append(PathProblem(path, "no such file or directory"))

    def _enter(self, named: Path) -> Iterator[None]:
        place = os.path.realpath(named)
        above = list(_gitignores_above(place))
        if _is_ignored(place, above):
            # Named all the same: what ignores the directory itself has nothing to say on what lies in it.
            above = []
        # (directory as it is shown, its real place, the .gitignore files that speak of it)
        waiting = [(named, place, above)]
        while waiting:
            yield
            shown, real, ignored = waiting.pop()
            try:
                with os.scandir(real) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                self.problems.append(PathProblem(shown, f"cannot be read: {error.strerror}"))
                continue
            names = {entry.name for entry in entries}
            if ".git" in names and real != place:
                ignored = []
            if ".gitignore" in names or ".git" in names:
                ignored = [*ignored, *_gitignores_of(real)]
            settings = self._settings_of(shown)
            exclude = self._exclude(settings)
            if exclude is not None and exclude.verdict(place, True):
                exclude = None
            for entry in entries:
                # A linked directory is not walked: it lies elsewhere, or leads back up.
                is_directory = entry.is_dir(follow_symlinks=False)
                if not is_directory and not (entry.name.endswith(".py") and os.path.isfile(entry.path)):
                    continue
                path = os.path.join(real, entry.name)
                wanted = exclude.verdict(path, is_directory) if exclude is not None else None
                if wanted is None:
                    wanted = is_directory and entry.name in NEVER_READ
                if wanted or (settings.respect_gitignore and _is_ignored(path, ignored, is_directory)):
                    continue
                if is_directory:
                    waiting.append((shown / entry.name, path, ignored))
                else:
                    self.files.append(shown / entry.name)

    def _exclude(self, settings: Settings) -> _Ignored | None:
        if not settings.exclude:
            return None
        root = settings.root or Path.cwd()
        key = (root, settings.exclude)
        if key not in self._excludes:
            self._excludes[key] = _Ignored(os.path.realpath(root), _patterns(settings.exclude))
        return self._excludes[key]


def _is_ignored(path: str, ignored: list[_Ignored], is_directory: bool = True) -> bool:
    """Whether the nearest `.gitignore` that speaks of `path` leaves it out."""
    for one in reversed(ignored):
        verdict = one.verdict(path, is_directory)
        if verdict is not None:
            return verdict
    return False


def _gitignores_above(place: str) -> Iterator[_Ignored]:
    """The ignore files of the directories above `place`, from its repository's root down; none outside of one."""
    if os.path.lexists(os.path.join(place, ".git")):
        return
    above = list(Path(place).parents)
    for depth, folder in enumerate(above):
        if os.path.lexists(folder / ".git"):
            for inner in reversed(above[: depth + 1]):
                yield from _gitignores_of(str(inner))
            return


def _gitignores_of(directory: str) -> Iterator[_Ignored]:
    for name in (os.path.join(".git", "info", "exclude"), ".gitignore"):
        try:
            with open(os.path.join(directory, name), encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError:
            # No such file, or, in a worktree, `.git` is itself a file.
            continue
        yield _Ignored(directory, _patterns(_sound(lines)))


def _sound(lines: Iterable[str]) -> Iterator[str]:
    """The lines that are patterns; git skips one that it cannot read, pathspec would raise."""
    for line in lines:
        try:
            _patterns([line])
        except ValueError:
            continue
        yield line


def _patterns(lines: Iterable[str]) -> GitIgnoreSpec:
    # Slow to import, and a file that is named needs none.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)
