"""A faster start: the code that attrs writes for the protocol's classes is compiled once and kept, as imports are.

`lsprotocol` has some 550 classes; attrs writes methods for each and compiles them whenever they are imported. That is
two fifths of the time until the server answers. What is kept lies in `__pycache__`, where Python keeps its own.
"""

from __future__ import annotations

import gc
import importlib.util
import marshal
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import CodeType
from typing import cast


@contextmanager
def quick_imports() -> Generator[None]:
    """Within, importing the protocol is quick: no compiling of what is known, and no looking for garbage."""
    cached = importlib.util.cache_from_source(str(Path(__file__).with_name("attrs_methods.py")))
    compiled = _Compiled(Path(cached).with_suffix(".code"))
    was_enabled = gc.isenabled()
    # Importing makes hundreds of thousands of objects that live for ever: looking for cycles among them costs a tenth
    # of the start, and looking again a pause at each full collection later.
    gc.disable()
    module = vars(importlib.import_module("attr._make"))
    # A global of that name hides the built-in one. Where attrs comes to compile in another place, nothing is gained
    # and nothing breaks.
    module["compile"] = compiled
    try:
        yield
    finally:
        del module["compile"]
        compiled.keep()
        gc.freeze()
        if was_enabled:
            gc.enable()


class _Compiled:
    """The built-in `compile`, remembering."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _read(file)
        self._used: dict[bytes, CodeType] = {}

    def __call__(self, source: str, filename: str, mode: str) -> CodeType:
        # The few other classes have methods that list a set, in another order at each start.
        if "lsprotocol" not in filename:
            return compile(source, filename, mode)
        key = blake2b(f"{mode}\0{filename}\0{source}".encode(), digest_size=16).digest()
        code = self._used[key] = self._known.get(key) or compile(source, filename, mode)
        return code

    def keep(self) -> None:
        if self._used.keys() == self._known.keys() or sys.dont_write_bytecode:
            return
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        # A place that cannot be written to costs the time that would have been saved, no more.
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(importlib.util.MAGIC_NUMBER + marshal.dumps(self._used))
            beside.replace(self._file)


def _read(file: Path) -> dict[bytes, CodeType]:
    try:
        data = file.read_bytes()
        if data.startswith(importlib.util.MAGIC_NUMBER):
            return cast("dict[bytes, CodeType]", marshal.loads(data[len(importlib.util.MAGIC_NUMBER) :]))
    except (OSError, EOFError, ValueError, TypeError):
        pass
    return {}
