"""When cycles of garbage are looked for: not while a file is read for the first time, nor ever in what that makes.

What stands in a file that is opened lives for as long as the file is open, some hundred thousand objects: looking
through them again and again costs a tenth of the reading, and a pause at some key later.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


class Garbage:
    """Python's collector of cycles, put off at times. What it is kept from is no more than what open files hold."""

    def __init__(self) -> None:
        self._readers = 0
        self._was_enabled = False

    @contextmanager
    def put_off(self) -> Generator[None]:
        """Look for none within, nor afterwards in what was made within; several may overlap."""
        if self._readers == 0:
            self._was_enabled = gc.isenabled()
            gc.disable()
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if self._readers == 0:
                gc.freeze()
                if self._was_enabled:
                    gc.enable()

    def look_everywhere(self) -> None:
        """Look through all there is: a file was closed."""
        if self._readers == 0:
            gc.unfreeze()
            gc.collect()
            gc.freeze()


garbage = Garbage()
"""That of this process."""
