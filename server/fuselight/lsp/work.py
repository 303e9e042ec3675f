"""Work that waits for a moment without messages, done in slices so that no message waits for all of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from enum import IntEnum

logger = logging.getLogger(__name__)

Steps = Iterator[None]


class Priority(IntEnum):
    """Who comes first among what waits."""

    ANSWER = 0
    """A request that waits for an analysis."""
    IDLE = 1
    """What nobody asked for just now: pushed diagnostics, warming up."""
    BACKGROUND = 2
    """What takes long and may: the files of the workspace that are not open."""


class Backlog:
    """What is to be done when no message is waiting: the most urgent first, a slice of each in turn."""

    def __init__(self) -> None:
        self._waiting: dict[Priority, dict[object, Callable[[], Steps | None]]] = {each: {} for each in Priority}
        self._begun: dict[object, Steps] = {}
        self._asleep: dict[object, tuple[Priority, Callable[[], Steps | None]]] = {}

    def __bool__(self) -> bool:
        return any(self._waiting.values())

    def add(self, name: object, work: Callable[[], Steps | None], priority: Priority = Priority.IDLE) -> None:
        """Do `work` once. What it returns, if anything, is gone on with slice by slice.

        A later call with the same name takes the place of this one.
        """
        self.drop(name)
        self._waiting[priority][name] = work

    def drop(self, name: object) -> bool:
        """Leave undone what is left of the work of that name; whether there was any."""
        found = self._asleep.pop(name, None) is not None
        for waiting in self._waiting.values():
            found |= waiting.pop(name, None) is not None
        begun = self._begun.pop(name, None)
        close = getattr(begun, "close", None)
        if close is not None:
            close()
        return found

    def sleep(self, name: object) -> None:
        """Leave work that is under way as it is until `wake`."""
        for priority, waiting in self._waiting.items():
            if name in waiting:
                self._asleep[name] = priority, waiting.pop(name)

    def wake(self, name: object) -> None:
        if name in self._asleep:
            priority, work = self._asleep.pop(name)
            self._waiting[priority][name] = work

    def step(self) -> None:
        """Do one slice. A fault costs the work that it is in.

        Raises:
            OSError: the client is gone.
        """
        waiting = next(waiting for waiting in self._waiting.values() if waiting)
        name, work = next(iter(waiting.items()))
        try:
            if name not in self._begun:
                steps = work()
                if waiting.get(name) is not work:
                    # It has put other work in its own place.
                    return
                if steps is None:
                    del waiting[name]
                    return
                self._begun[name] = steps
            next(self._begun[name])
            if waiting is not self._waiting[Priority.BACKGROUND] and waiting.get(name) is work:
                # In turn: what is soon done is not to wait for what is not.
                waiting[name] = waiting.pop(name)
        except StopIteration:
            self._forget(waiting, name, work)
        except (BrokenPipeError, ConnectionError):
            raise
        except Exception:
            logger.exception("%s failed", name)
            self._forget(waiting, name, work)

    def _forget(
        self, waiting: dict[object, Callable[[], Steps | None]], name: object, work: Callable[[], Steps | None]
    ) -> None:
        if waiting.get(name) is work:
            del waiting[name]
            self._begun.pop(name, None)
