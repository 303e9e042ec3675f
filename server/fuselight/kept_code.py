"""Code that Python compiles from strings at every start, kept as it keeps that of modules: in `__pycache__`.

A frozen dataclass with slots is six functions, each compiled on its own; for some 200 of them that is a third of the
time until the first file is read.
"""

from __future__ import annotations

import marshal
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from types import CodeType
from typing import Any

_MOST = 4000
"""So many functions are kept; code that is edited leaves those of its earlier versions behind."""


def place(name: str) -> Path:
    """Where code of that name is kept."""
    return Path(cache_from_source(str(Path(__file__).with_name(f"{name}.py")))).with_suffix(".code")


def read(file: Path) -> Any:
    """What is kept in a file by this version of Python; None where there is nothing, or it is damaged."""
    with suppress(OSError, EOFError, ValueError, TypeError):
        data = file.read_bytes()
        if data.startswith(MAGIC_NUMBER):
            return marshal.loads(data[len(MAGIC_NUMBER) :])
    return None


def is_writable(file: Path) -> bool:
    """Whether a value can be kept there."""
    return not sys.dont_write_bytecode and os.access(_folder(file.parent), os.W_OK)


def _folder(path: Path) -> Path:
    return path if path.exists() else _folder(path.parent)


def write(file: Path, value: Any) -> None:
    """Keep a value. A place that cannot be written to costs the time that would have been saved, no more."""
    if sys.dont_write_bytecode:
        return
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(MAGIC_NUMBER + marshal.dumps(value))
        beside.replace(file)


def know_dataclasses() -> None:
    """From here on the methods that dataclasses write are not compiled where they are known."""
    global _dataclasses
    # Later versions of Python may compile them by another call.
    if sys.version_info < (3, 14):
        _dataclasses = _Dataclasses()
        # A global of that name hides the built-in one. Where dataclasses come to compile in another place, nothing is
        # gained and nothing breaks.
        vars(import_module("dataclasses"))["exec"] = _dataclasses.exec


def keep_dataclasses() -> None:
    """Keep what had to be compiled since."""
    if _dataclasses is not None:
        _dataclasses.keep()


class _Dataclasses:
    def __init__(self) -> None:
        self._file = place("dataclasses")
        known = read(self._file)
        self._known: dict[str, bytes] = known if isinstance(known, dict) else {}
        self._new: dict[str, bytes] = {}

    def exec(self, source: str, namespace: dict[str, Any], local: dict[str, Any]) -> None:
        """The built-in `exec`, remembering."""
        known = self._known.get(source)
        if known is not None:
            code: CodeType = marshal.loads(known)
        else:
            code = compile(source, "<string>", "exec", dont_inherit=True)
            self._new[source] = marshal.dumps(code)
        exec(code, namespace, local)

    def keep(self) -> None:
        if self._new:
            self._known = {**(self._known if len(self._known) <= _MOST else {}), **self._new}
            self._new = {}
            write(self._file, self._known)


_dataclasses: _Dataclasses | None = None
