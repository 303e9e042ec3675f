"""When cycles of garbage are looked for: not while a file is read for the first time, nor later in what that makes.

What stands in a file that is opened lives for as long as the file is open, some hundred thousand objects: looking
through them again and again costs a tenth of the reading, and a pause at some key later.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def put_off() -> Generator[None]:
    """Look for none within, nor afterwards in what was made within."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def look_everywhere() -> None:
    """Look through all there is: a file was closed."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
