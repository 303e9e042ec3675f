"""Bytes to messages: framing, the inbox that reads ahead, and stdio or TCP below them."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import BinaryIO, Protocol, TypeAlias, cast

logger = logging.getLogger(__name__)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def table(value: object) -> dict[str, object]:
    """A JSON object as it is; anything else as an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


_LENGTH = re.compile(rb"content-length:[ \t]*(\d+)\s*$", re.IGNORECASE)
_LONGEST_HEADER = 8192


@dataclass(frozen=True, slots=True)
class Written:
    """A result of a request that is written out already, as `json`."""

    json: str


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A message whose body is no JSON."""

    reason: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The client closed its end."""


Arrival: TypeAlias = "Json | Undecodable | HungUp"


class Writer(Protocol):
    """Where answers go; what pygls calls a writer."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Inbox:
    """The client's messages in order, read ahead by a thread of its own.

    Reading ahead tells the server what is waiting: a request that was cancelled or asked again in the meantime
    need not be worked out. An own thread rather than asyncio, since it answers in a third of the time and works alike
    on pipes, sockets and every operating system.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._arrived: SimpleQueue[Arrival] = SimpleQueue()
        self._waiting: deque[Arrival] = deque()
        threading.Thread(target=self._read, args=(source,), name="fuselight-inbox", daemon=True).start()

    def take(self) -> Arrival:
        """The next message; waits for one."""
        return self._waiting.popleft() if self._waiting else self._arrived.get()

    def waiting(self) -> deque[Arrival]:
        """What has arrived and was not yet taken, oldest first."""
        try:
            while True:
                self._waiting.append(self._arrived.get_nowait())
        except Empty:
            return self._waiting

    def hang_up(self) -> None:
        """Take it, from any thread, that no more will come."""
        self._arrived.put(HungUp())

    def _read(self, source: BinaryIO) -> None:
        try:
            while (body := _next_body(source)) is not None:
                try:
                    self._arrived.put(json.loads(body))
                except (ValueError, RecursionError) as error:
                    self._arrived.put(Undecodable(str(error)))
        except (OSError, ValueError):
            logger.info("The client's end broke", exc_info=True)
        finally:
            self._arrived.put(HungUp())


def _next_body(source: BinaryIO) -> bytes | None:
    """The body of the next message, None at the end of the input. Whatever is no header is passed over."""
    length: int | None = None
    while line := source.readline(_LONGEST_HEADER):
        if match := _LENGTH.search(line):
            length = int(match[1])
        elif length is not None and not line.strip():
            body = source.read(length)
            return body if len(body) == length else None
    return None


@dataclass(frozen=True, slots=True)
class Connection:
    """Both directions of one client."""

    source: BinaryIO
    writer: Writer


class _FileWriter:
    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink

    def write(self, data: bytes) -> None:
        self._sink.write(data)
        self._sink.flush()

    def close(self) -> None:
        self._sink.close()


def stdio() -> Connection:
    """The client at stdin and stdout, which from here on belong to the protocol alone.

    Whatever else prints, or reads, in this process or a child of it, gets stderr and an empty input instead.
    """
    sys.stdout.flush()
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    sys.stdout = sys.stderr
    return Connection(source, _FileWriter(sink))


def tcp(host: str | None, port: int, listening: Callable[[str, int], None]) -> Connection:
    """The first client that connects; `listening` is told the address before the wait."""
    host = host or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        address = cast("tuple[str, int]", listener.getsockname())
        listening(address[0], address[1])
        connected, _ = listener.accept()
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(connected.makefile("rb"), _FileWriter(connected.makefile("wb")))
