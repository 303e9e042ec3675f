"""The client's process, watched: a server whose client died without closing its end would stay for ever."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable

_SECONDS = 3.0
"""How often a process is looked for where the system does not tell of its end."""


def watch(process: int, ended: Callable[[], None]) -> None:
    """Call `ended` from a thread of its own once `process` has ended.

    A process that cannot be seen is not watched: the client may be on another machine, or outside this container.
    """
    if process <= 0 or not _lives(process):
        return
    threading.Thread(target=_wait, args=(process, ended), name="fuselight-client", daemon=True).start()


def _wait(process: int, ended: Callable[[], None]) -> None:
    if not _is_told_of_the_end(process):
        while _lives(process):
            time.sleep(_SECONDS)
    ended()


def _is_told_of_the_end(process: int) -> bool:
    """Wait for the end of `process` without looking for it again and again; False where that cannot be done."""
    if sys.platform != "linux":
        return False
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        return False
    try:
        end = select.poll()
        end.register(descriptor, select.POLLIN)
        end.poll()
    finally:
        os.close(descriptor)
    return True


def _lives(process: int) -> bool:
    if sys.platform == "win32":
        return _lives_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It is there, and another user's.
        return True
    return True


def _lives_on_windows(process: int) -> bool:
    # Not `os.kill`, which ends the process there.
    import ctypes

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  # pyright knows it on Windows only
    may_wait = 0x00100000
    handle = kernel.OpenProcess(may_wait, False, process)
    if not handle:
        return False
    try:
        timed_out = 0x102
        return bool(kernel.WaitForSingleObject(handle, 0) == timed_out)
    finally:
        kernel.CloseHandle(handle)
