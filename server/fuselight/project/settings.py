"""A project's settings: `[tool.fuselight]` of the nearest `pyproject.toml`, and the line length of its formatter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar, cast

from fuselight.fusions.model import Safety
from fuselight.project.codes import EVERYTHING, includes, is_known, known_codes

DEFAULT_LINE_LENGTH: Final = 88
LONGEST_LINE: Final = 320
CHECKED: Final = frozenset({Safety.EXACT, Safety.CHECKPOINT, Safety.NUMERICS})
"""The safety classes that `check` and the editor's diagnostics report unless told otherwise."""


class Severity(Enum):
    """How loudly an editor shows a finding."""

    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"
    HINT = "hint"


class SettingsError(ValueError):
    """A setting that cannot be used: where it stands, its key, its value, and what would be allowed."""

    def __init__(self, source: str, key: str | None, problem: str) -> None:
        self.source = source
        self.key = key
        self.problem = problem
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project asks of fuselight."""

    line_length: int = DEFAULT_LINE_LENGTH
    select: tuple[str, ...] = (EVERYTHING,)
    ignore: tuple[str, ...] = ()
    allow: frozenset[Safety] | None = None
    """The safety classes to report; None means the default, `CHECKED`."""
    exclude: tuple[str, ...] = ()
    """Patterns as in a `.gitignore` at `root`, on top of the directories that are never read."""
    respect_gitignore: bool = True
    severity: Mapping[Safety, Severity] = field(default_factory=dict[Safety, Severity], hash=False)
    """By safety class; what is not named has the default of `severity_of`."""
    root: Path | None = None
    """The directory whose `pyproject.toml` holds the settings; None where there is none."""

    @property
    def reported(self) -> frozenset[Safety]:
        return CHECKED if self.allow is None else self.allow

    def severity_of(self, safety: Safety) -> Severity:
        """How an editor shows a class: information what is exact, a hint the rest, unless told otherwise."""
        return self.severity.get(safety, Severity.INFORMATION if safety is Safety.EXACT else Severity.HINT)

    def includes(self, code: str) -> bool:
        """Whether findings of `code` are wanted."""
        return includes(code, self.select, self.ignore)

    def codes(self) -> frozenset[str] | None:
        """The wanted codes; None where none is left out."""
        if self.select == (EVERYTHING,) and not self.ignore:
            return None
        return frozenset(code for code in known_codes() if self.includes(code))

    def merge(self, overrides: Mapping[str, object], source: str = "settings") -> Settings:
        """These settings with `overrides` on top, under the names that `[tool.fuselight]` has; None means unset.

        Raises:
            SettingsError: a key or value that is not allowed; `source` says where it came from.
        """
        return _merged(self, {key: value for key, value in overrides.items() if value is not None}, source, "")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings of a directory: what of them can be used, what is wrong with the rest, where each came from."""

    settings: Settings
    problems: tuple[SettingsError, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """The file, and in brackets the key, by the name of the setting; what is not named has its default."""


def load_settings(path: Path) -> Settings:
    """The settings for the file or directory `path`.

    Raises:
        SettingsError: broken TOML, or a key or value that is not allowed.
    """
    loaded = look_up(path)
    if loaded.problems:
        raise loaded.problems[0]
    return loaded.settings


def look_up(path: Path) -> Loaded:
    """The settings for the file or directory `path`, whatever is wrong with them."""
    return _load(_directory(path))[0]


def configures(folder: Path) -> bool:
    """Whether `folder` holds a file that settings can come from; where not, its parent's settings are its own."""
    return any(os.path.isfile(file) for file in _configurations(folder))


class SettingsCache:
    """Settings by directory, read again when a file that they come from appears, changes or goes."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Loaded, _Stamps]] = {}
        self._directories: dict[Path, tuple[str, bool, Path]] = {}
        """Of paths that were asked for: as text, whether it was a directory, and the directory itself."""
        self.loads = 0
        """How often settings were read from files: what was derived from them is good until this changes."""

    def of(self, path: Path) -> Loaded:
        """The settings for the file or directory `path`; the same object for as long as nothing changes."""
        directory = self._directory(path)
        known = self._known.get(directory)
        if known is None or any(_stamp(file) != stamp for file, stamp in known[1].items()):
            # Stamps first: a file that changes while it is read is read again next time.
            files = [str(file) for folder in _upward(directory) for file in _configurations(folder)]
            stamps = {file: _stamp(file) for file in files}
            loaded, extended = _load(directory)
            self.loads += 1
            known = self._known[directory] = loaded, stamps | {str(file): _stamp(str(file)) for file in extended}
        return known[0]

    def _directory(self, path: Path) -> Path:
        known = self._directories.get(path)
        if known is None or os.path.isdir(known[0]) is not known[1]:
            known = self._directories[path] = str(path), os.path.isdir(path), _directory(path)
        return known[2]

    def reload(self) -> None:
        """Read again what has changed of the settings of every directory that was asked for."""
        for directory in list(self._known):
            self.of(directory)

    def problems(self) -> Iterator[SettingsError]:
        """What was wrong with the settings of every directory that was asked for, when they were read."""
        for loaded, _ in self._known.values():
            yield from loaded.problems


_Stamp = tuple[int, int] | None
_Stamps = dict[str, _Stamp]
_Table = dict[str, object]
_T = TypeVar("_T")


def _stamp(file: str) -> _Stamp:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _directory(path: Path) -> Path:
    # Without "..": its parents must be those on disk.
    absolute = Path(os.path.abspath(path))
    return absolute if os.path.isdir(absolute) else absolute.parent


def _upward(directory: Path) -> Iterator[Path]:
    yield directory
    yield from directory.parents


def _configurations(folder: Path) -> tuple[Path, Path, Path]:
    return folder / ".ruff.toml", folder / "ruff.toml", folder / "pyproject.toml"


@dataclass(frozen=True, slots=True)
class _Length:
    """The line length of a formatter, and where it says so."""

    value: int
    origin: str


def _load(directory: Path) -> tuple[Loaded, tuple[Path, ...]]:
    """The settings of a directory, and the files outside its parents that they came from."""
    settings: Settings | None = None
    origins: dict[str, str] = {}
    problems: list[SettingsError] = []
    length: _Length | None = None
    extended: list[Path] = []
    for folder in _upward(directory):
        file = folder / "pyproject.toml"
        try:
            tools = _tools(file)
            if settings is None and "fuselight" in tools:
                table = _subtable(tools, "fuselight", file, "tool.fuselight")
                settings, used, wrong = _taken(Settings(root=folder), table, str(file), "tool.fuselight.")
                problems += wrong
                origins = {name: f"{file} (tool.fuselight.{name})" for name in used}
        except SettingsError as error:
            # What the file would say is not known: not that it says nothing, and its parents decide.
            problems.append(error)
            settings, tools = settings or Settings(root=folder), {}
        if length is None:
            try:
                length = _formatter_length(folder, tools, extended)
            except SettingsError as error:
                problems.append(error)
                length = _Length(DEFAULT_LINE_LENGTH, "")
        if settings is not None and ("line-length" in origins or length is not None):
            break
    settings = settings or Settings()
    if "line-length" not in origins and length is not None:
        settings = replace(settings, line_length=length.value)
        if length.origin:
            origins["line-length"] = length.origin
    return Loaded(settings, tuple(problems), origins), tuple(extended)


def _formatter_length(folder: Path, tools: _Table, extended: list[Path]) -> _Length | None:
    """The line length that ruff or black uses in `folder`; None where the folder configures neither."""
    *ruff_files, project = _configurations(folder)
    for file in ruff_files:
        if file.is_file():
            return _ruff_length(file, _toml(file), "", tools, extended)
    if "ruff" in tools:
        return _ruff_length(project, _subtable(tools, "ruff", project, "tool.ruff"), "tool.ruff.", tools, extended)
    return _black_length(project, tools)


def _ruff_length(file: Path, table: _Table, prefix: str, tools: _Table, extended: list[Path]) -> _Length:
    key = f"{prefix}line-length"
    if "line-length" in table:
        return _Length(_checked(_line_length, table["line-length"], str(file), key), f"{file} ({key})")
    base = table.get("extend")
    if isinstance(base, str):
        parent = (file.parent / Path(base).expanduser()).resolve()
        # A file that extends itself, through others or not, is ruff's to complain about.
        if parent not in extended:
            extended.append(parent)
            if parent.name == "pyproject.toml":
                return _ruff_length(
                    parent, _subtable(_tools(parent), "ruff", parent, "tool.ruff"), "tool.ruff.", {}, extended
                )
            return _ruff_length(parent, _toml(parent), "", {}, extended)
    default = _Length(DEFAULT_LINE_LENGTH, f"default of ruff, which {file} configures")
    return _black_length(file.parent / "pyproject.toml", tools) or default


def _black_length(project: Path, tools: _Table) -> _Length | None:
    if "black" not in tools:
        return None
    table, key = _subtable(tools, "black", project, "tool.black"), "tool.black.line-length"
    if "line-length" not in table:
        return _Length(DEFAULT_LINE_LENGTH, f"default of black, which {project} configures")
    return _Length(_checked(_line_length, table["line-length"], str(project), key), f"{project} ({key})")


def _toml(file: Path) -> _Table:
    """The tables of a TOML file; empty where there is no such file."""
    import tomllib  # the server's start does not wait for it

    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(str(file), None, f"cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(file), None, f"is no TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(str(file), None, f"is no TOML: not UTF-8 at byte {error.start}") from None


def _tools(project: Path) -> _Table:
    tables = _toml(project)
    return _subtable(tables, "tool", project, "tool") if "tool" in tables else {}


def _subtable(tables: _Table, name: str, file: Path, key: str) -> _Table:
    value = tables.get(name, {})
    if not isinstance(value, dict):
        raise SettingsError(str(file), key, f"{value!r} is no table")
    return cast(_Table, value)


class _NotAllowed(Exception):
    """The argument says what would be allowed; `at` is the part of the value that is meant, `value` that part."""

    def __init__(self, allowed: str, at: str = "", value: object = None) -> None:
        self.at = at
        self.value = value
        super().__init__(allowed)


def _line_length(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LONGEST_LINE:
        raise _NotAllowed(f"a whole number from 1 to {LONGEST_LINE}")
    return value


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _NotAllowed("a list of strings")
    items = cast("list[object]", value)
    if not all(isinstance(item, str) for item in items):
        raise _NotAllowed("a list of strings")
    return tuple(cast("list[str]", items))


def _selectors(value: object) -> tuple[str, ...]:
    selectors = _strings(value)
    codes = known_codes() if any(selector != EVERYTHING for selector in selectors) else ()
    for selector in selectors:
        if not is_known(selector, codes):
            raise _NotAllowed(f"{', '.join(codes)}, a prefix of these, or {EVERYTHING}")
    return selectors


def _safeties(value: object) -> frozenset[Safety]:
    names = _strings(value)
    known = {safety.value: safety for safety in Safety}
    if "all" in names and len(names) == 1:
        return frozenset(Safety)
    if not all(name in known for name in names):
        raise _NotAllowed(f"{', '.join(known)}, or all")
    # What is exact is never in doubt: naming further classes adds to it.
    return frozenset({Safety.EXACT, *(known[name] for name in names)})


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _NotAllowed("true or false")
    return value


def _severities(value: object) -> dict[Safety, Severity]:
    classes = {safety.value: safety for safety in Safety}
    severities = {severity.value: severity for severity in Severity}
    allowed = f"a table from a safety class ({', '.join(classes)}) to {', '.join(severities)}"
    if not isinstance(value, Mapping):
        raise _NotAllowed(allowed)
    read: dict[Safety, Severity] = {}
    for name, severity in cast("Mapping[object, object]", value).items():
        if severity is None:
            # An editor's word for unset.
            continue
        if name not in classes:
            raise _NotAllowed(allowed, f".{name}", name)
        if not isinstance(severity, str) or severity not in severities:
            raise _NotAllowed(", ".join(severities), f".{name}", severity)
        read[classes[cast(str, name)]] = severities[severity]
    return read


_READERS: Final[dict[str, Callable[[object], object]]] = {
    "line-length": _line_length,
    "select": _selectors,
    "ignore": _selectors,
    "allow": _safeties,
    "exclude": _strings,
    "respect-gitignore": _truth,
    "severity": _severities,
}


def _merged(settings: Settings, table: Mapping[str, object], source: str, prefix: str) -> Settings:
    merged, _, problems = _taken(settings, table, source, prefix)
    if problems:
        raise problems[0]
    return merged


def _taken(
    settings: Settings, table: Mapping[str, object], source: str, prefix: str
) -> tuple[Settings, tuple[str, ...], list[SettingsError]]:
    """The settings with what of `table` can be used on top, the names of that, and what is wrong with the rest."""
    read: dict[str, object] = {}
    problems: list[SettingsError] = []
    for key, value in table.items():
        if key not in _READERS:
            known = f"unknown setting; known are {', '.join(_READERS)}"
            problems.append(SettingsError(source, f"{prefix}{key}", known))
            continue
        try:
            read[key] = _checked(_READERS[key], value, source, f"{prefix}{key}")
        except SettingsError as error:
            problems.append(error)
    taken = Settings(
        line_length=cast(int, read.get("line-length", settings.line_length)),
        select=cast("tuple[str, ...]", read.get("select", settings.select)),
        ignore=cast("tuple[str, ...]", read.get("ignore", settings.ignore)),
        allow=cast("frozenset[Safety] | None", read.get("allow", settings.allow)),
        exclude=cast("tuple[str, ...]", read.get("exclude", settings.exclude)),
        respect_gitignore=cast(bool, read.get("respect-gitignore", settings.respect_gitignore)),
        # Class by class: to have one shown louder says nothing of the others.
        severity={**settings.severity, **cast("dict[Safety, Severity]", read.get("severity", {}))},
        root=settings.root,
    )
    return taken, tuple(read), problems


def _checked(reader: Callable[[object], _T], value: object, source: str, key: str) -> _T:
    try:
        return reader(value)
    except _NotAllowed as error:
        bad = error.value if error.at else value
        raise SettingsError(source, f"{key}{error.at}", f"{bad!r} is not allowed; allowed is {error}") from None
