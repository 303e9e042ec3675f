"""Reading and writing back: every byte that was not edited stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuselight.project.reading import ReadingProblem, SourceFile, decode_source, read_source, write_source


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        pytest.param(b"", "", "utf-8", id="empty"),
        pytest.param(b"x = 1\r\ny\rz\n", "x = 1\r\ny\rz\n", "utf-8", id="mixed line ends"),
        pytest.param(b"\xef\xbb\xbfx = 1\n", "x = 1\n", "utf-8", id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf# coding: utf-8\n", "# coding: utf-8\n", "utf-8", id="both"),
        pytest.param(
            b"# -*- coding: latin-1 -*-\n# \xe9\n", "# -*- coding: latin-1 -*-\n# \xe9\n", "iso-8859-1", id="cookie"
        ),
        pytest.param(
            b"#!/bin/python\r# coding: cp1252\r# \x80", "#!/bin/python\r# coding: cp1252\r# \u20ac", "cp1252", id="cr"
        ),
        pytest.param(
            b"x = 1\ny = 2\n# coding: latin-1\n", "x = 1\ny = 2\n# coding: latin-1\n", "utf-8", id="line three"
        ),
        pytest.param("s = '\u2028\x0c'\n".encode(), "s = '\u2028\x0c'\n", "utf-8", id="other line ends"),
        pytest.param(b"x = 1", "x = 1", "utf-8", id="no last line end"),
    ],
)
def test_read_and_written_back_untouched(tmp_path: Path, data: bytes, text: str, encoding: str) -> None:
    file = tmp_path / "model.py"
    file.write_bytes(data)
    source = read_source(file)
    assert isinstance(source, SourceFile)
    assert (source.text, source.encoding) == (text, encoding)
    assert write_source(source, source.text) is None
    assert file.read_bytes() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x = 1\0", "a binary file (NUL at byte 5)"),
        (b"\xff\xfex\0", "UTF-16, which Python source cannot be"),
        (b"# \xe9\n", "not utf-8 at byte 2: invalid continuation byte"),
        (b"a\nb\nc = '\xe9'\n", "not utf-8 at byte 9: invalid continuation byte"),
        (b"\xef\xbb\xbfa\nb\nc = '\xe9'\n", "not utf-8 at byte 12: invalid continuation byte"),
        (b"# coding: klingon\n", "its encoding cannot be told: unknown encoding: klingon"),
        (b"\xef\xbb\xbf# coding: latin-1\n", "its encoding cannot be told: encoding problem: utf-8"),
        (b"# coding: rot13\n", "its encoding cannot be told: 'rot13' is not a text encoding"),
        (b"# coding: utf-16\n\n", "its coding cookie says utf-16, which"),
        (b"# coding: ascii\n\n\n# \xe9", "not ascii at byte"),
    ],
)
def test_what_is_no_text_says_so(data: bytes, message: str) -> None:
    problem = decode_source(Path("model.py"), data)
    assert isinstance(problem, ReadingProblem)
    assert problem.message.startswith(message)


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    assert read_source(tmp_path / "gone.py") == ReadingProblem("no such file")
    assert read_source(tmp_path) == ReadingProblem("not a regular file")


def _source(file: Path, data: bytes) -> SourceFile:
    file.write_bytes(data)
    source = read_source(file)
    assert isinstance(source, SourceFile)
    return source


def test_an_edit_keeps_encoding_mark_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    source = _source(file, b"\xef\xbb\xbfx = '\xc3\xa9'\r\n")
    file.chmod(0o750)
    assert write_source(source, source.text.replace("x", "y")) is None
    assert file.read_bytes() == b"\xef\xbb\xbfy = '\xc3\xa9'\r\n"
    assert file.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "model.py", tmp_path / "link.py"
    real.write_bytes(b"x")
    link.symlink_to(real)
    source = read_source(link)
    assert isinstance(source, SourceFile)
    assert write_source(source, "y") is None
    assert link.is_symlink()
    assert real.read_bytes() == b"y"


def test_what_cannot_be_encoded_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    data = b"# coding: latin-1\n"
    problem = write_source(_source(file, data), "# coding: latin-1\n# \u20ac\n")
    assert problem is not None
    assert "'\u20ac'" in problem.message
    assert "iso-8859-1" in problem.message
    assert file.read_bytes() == data


def test_a_file_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    source = _source(file, b"x")
    file.write_bytes(b"newer")
    assert write_source(source, "y") == ReadingProblem("changed on disk while it was read; not edited")
    assert file.read_bytes() == b"newer"


def test_a_read_only_file_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    source = _source(file, b"x")
    file.chmod(0o444)
    assert write_source(source, "y") == ReadingProblem("read-only; not edited")
    assert file.read_bytes() == b"x"


def test_a_lossy_decoding_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    # "A" spelled in base64, which encoding writes plainly.
    source = _source(file, b"# coding: utf-7\n# +AEE-\n")
    problem = write_source(source, source.text + "x")
    assert problem is not None
    assert "byte for byte" in problem.message


def test_a_failed_replace_leaves_file_and_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.py"
    source = _source(file, b"x")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    assert write_source(source, "y") == ReadingProblem("cannot be written: No space left on device")
    assert file.read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]


def test_a_file_that_went_away_is_not_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    source = _source(file, b"x")
    file.unlink()
    assert write_source(source, "y") == ReadingProblem("cannot be written: No such file or directory")
    assert not file.exists()
