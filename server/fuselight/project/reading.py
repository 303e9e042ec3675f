"""Source files between disk and text: decoded as Python decodes them, written back byte for byte where not edited."""

from __future__ import annotations

import codecs
import os
import tokenize
from dataclasses import dataclass
from pathlib import Path

_BOM = codecs.BOM_UTF8


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was read: `text` is without the byte order mark, its line ends are as in the file."""

    path: Path
    data: bytes
    text: str
    encoding: str
    bom: bool

    def encoded(self, text: str) -> bytes | ReadingProblem:
        """`text` as bytes of this file: the same encoding, the same byte order mark."""
        try:
            body = text.encode(self.encoding)
        except UnicodeEncodeError as error:
            lost = text[error.start]
            return ReadingProblem(f"the edited text holds {lost!r}, which its encoding {self.encoding} cannot write")
        return _BOM + body if self.bom else body


@dataclass(frozen=True, slots=True)
class ReadingProblem:
    """Why a file cannot be read or written."""

    message: str


def read_source(path: Path) -> SourceFile | ReadingProblem:
    """The text of a file, or why it has none."""
    try:
        if not path.is_file():
            return ReadingProblem("not a regular file" if path.exists() else "no such file")
        data = path.read_bytes()
    except OSError as error:
        return ReadingProblem(f"cannot be read: {error.strerror}")
    return decode_source(path, data)


def decode_source(path: Path, data: bytes) -> SourceFile | ReadingProblem:
    """`data` decoded by its byte order mark or coding cookie (PEP 263), else as UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ReadingProblem("UTF-16, which Python source cannot be")
    if b"\0" in data:
        return ReadingProblem(f"a binary file (NUL at byte {data.index(0)})")
    # `bytes.splitlines` knows the three line ends of Python; a readline of BytesIO would miss a lone "\r".
    head = iter(data[:4096].splitlines(keepends=True))
    encoding = "utf-8"
    try:
        encoding, _ = tokenize.detect_encoding(lambda: next(head, b""))
        bom = data.startswith(_BOM)
        encoding = "utf-8" if encoding == "utf-8-sig" else encoding
        if "coding".encode(encoding) != b"coding":
            return ReadingProblem(f"its coding cookie says {encoding}, which Python source cannot be")
        text = data[len(_BOM) if bom else 0 :].decode(encoding)
    except UnicodeDecodeError as error:
        return _undecodable(encoding, data, error)
    except (SyntaxError, LookupError) as error:
        return _cookie_problem(data, error)
    return SourceFile(path, data, text, encoding, bom)


def _cookie_problem(data: bytes, told: SyntaxError | LookupError) -> ReadingProblem:
    # Of a first line that is no UTF-8 `tokenize` says only that it lacks a cookie.
    if str(told).startswith("invalid or missing"):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            return _undecodable("utf-8", data, error)
    return ReadingProblem(f"its encoding cannot be told: {told}")


def _undecodable(encoding: str, data: bytes, error: UnicodeDecodeError) -> ReadingProblem:
    return ReadingProblem(f"not {encoding} at byte {error.start + len(data) - len(error.object)}: {error.reason}")


def write_source(source: SourceFile, text: str) -> ReadingProblem | None:
    """Put `text` in the place of the file's, at once or not at all; the reason where it was not.

    The file behind a symbolic link is replaced, not the link; permission bits stay.
    """
    data = source.encoded(text)
    if isinstance(data, ReadingProblem):
        return data
    if source.encoded(source.text) != source.data:
        return ReadingProblem(f"{source.encoding} text that cannot be written back byte for byte; not edited")
    try:
        target = source.path.resolve(strict=True)
        status = target.stat()
        if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
            return ReadingProblem("read-only; not edited")
        if target.read_bytes() != source.data:
            return ReadingProblem("changed on disk while it was read; not edited")
        _replace(target, data, status)
    except OSError as error:
        return ReadingProblem(f"cannot be written: {error.strerror}")
    return None


def _replace(target: Path, data: bytes, status: os.stat_result) -> None:
    # Slow to import, and most runs write nothing.
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".fuselight", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if hasattr(os, "chown") and (status.st_uid, status.st_gid) != _owner(name):
            os.chown(name, status.st_uid, status.st_gid)
        # After chown, which clears set-id bits.
        os.chmod(name, status.st_mode & 0o7777)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _owner(name: str) -> tuple[int, int]:
    status = os.stat(name)
    return status.st_uid, status.st_gid
