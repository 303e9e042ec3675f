"""A faster start: of the protocol's classes only those that are named are made, and what is compiled for them is kept.

`lsprotocol` has some 550 classes. `lazy_types` makes each when it is first named; attrs and cattrs write methods for it
and compile them in every process anew. The code of both lies in `__pycache__`, where Python keeps its own. A start that
does not find it there takes half as long again, and all else is the same.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING
from zlib import crc32

from fuselight import kept_code

if TYPE_CHECKING:
    from fuselight.lsp.lazy_types import Pieces

_TYPES = "lsprotocol.types"
_COMPILING = ("attr._make", "cattrs.gen")
_OWN = ("startup.py", "lazy_types.py")


@contextmanager
def quick_imports() -> Generator[None]:
    """Within, importing the protocol is quick, and no garbage is looked for."""
    was_enabled = gc.isenabled()
    # Importing makes hundreds of thousands of objects that live for ever: looking for cycles among them costs a tenth
    # of the start, and looking again a pause at each full collection later.
    gc.disable()
    try:
        _prepare()
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def keeping() -> Iterator[None]:
    """Keep what this session had to compile, for the next one; in slices."""
    kept_code.keep_dataclasses()
    yield from _kept.keep() if _kept is not None else ()


def _prepare() -> None:
    global _kept
    spec = find_spec(_TYPES)
    if spec is None or spec.origin is None:
        return
    _kept = _Kept(spec.origin)
    for name in _COMPILING:
        # A global of that name hides the built-in one. Where these come to compile in another place, nothing is gained
        # and nothing breaks.
        vars(import_module(name))["compile"] = _kept.compile
    if _kept.pieces is not None and _TYPES not in sys.modules:
        from fuselight.lsp.lazy_types import import_in_pieces

        import_in_pieces(spec, spec.origin, _kept.pieces)


class _Kept:
    """What is kept from one session to the next; nothing of it, where it is of other versions than these."""

    def __init__(self, types: str) -> None:
        self._types = types
        self._file = kept_code.place("protocol")
        self._stamp = _stamp(types)
        self.pieces: Pieces | None = None
        self._methods: dict[str, tuple[tuple[int, int], bytes]] = {}
        with suppress(TypeError, ValueError):
            stamp, pieces, methods = kept_code.read(self._file)
            if stamp == self._stamp:
                self.pieces, self._methods = pieces, methods
        self._is_written = self.pieces is not None

    def compile(self, source: str, filename: str, mode: str) -> CodeType:
        """The built-in `compile`, remembering by the name that the code goes by."""
        told = len(source), crc32(source.encode())
        known = self._methods.get(filename)
        if known is not None and known[0] == told:
            return marshal.loads(known[1])
        code = compile(source, filename, mode, dont_inherit=True)
        # One class has methods that list a set, in another order at each start: kept once, and then compiled.
        if known is None and filename.startswith("<"):
            self._methods[filename] = told, marshal.dumps(code)
            self._is_written = False
        return code

    def keep(self) -> Iterator[None]:
        if self._is_written:
            return
        self._is_written = True
        if self.pieces is None and kept_code.is_writable(self._file):
            from fuselight.lsp.lazy_types import cut

            self.pieces = yield from cut(sys.modules[_TYPES], self._types)
        kept_code.write(self._file, (self._stamp, self.pieces, self._methods))


_kept: _Kept | None = None


def _stamp(types: str) -> list[object]:
    """What the code depends on."""
    own = (Path(__file__).with_name(name) for name in _OWN)
    files = [types, *own, *(import_module(name).__file__ or "" for name in _COMPILING)]
    return [(status.st_mtime_ns, status.st_size) for status in map(os.stat, files)]
