"""`fuselight fix`: what it applies, what it leaves, what it never touches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ALL = "fuse_exact(x)\nfuse_checkpoint(x)\nfuse_breaking(x)\nfuse_inference(x)\nfuse_numerics(x)\n"


@pytest.mark.parametrize(
    ("arguments", "fixed"),
    [
        ("", "1"),
        ("--allow exact", "1"),
        ("--allow checkpoint", "12"),
        ("--allow breaking,numerics", "135"),
        ("--allow all", "12345"),
        ("--allow all --select FUS2", "23"),
        ("--allow all --ignore FUS2", "145"),
        ("--select FUS2", ""),
    ],
)
def test_what_is_applied(run, files, tmp_path: Path, arguments: str, fixed: str) -> None:
    files(model=ALL)
    ran = run("fix", *arguments.split())
    assert (ran.status, ran.err) == (0, "")
    lines = (tmp_path / "model.py").read_text("utf-8").splitlines()
    assert "".join(str(row) for row, line in enumerate(lines, 1) if line == "fused(x)") == fixed


def test_settings_do_not_allow_fix_anything(run, files, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nallow = ['all']\n", "utf-8")
    files(model=ALL)
    run("fix")
    assert (tmp_path / "model.py").read_text("utf-8").count("fused(x)") == 1


def test_it_says_what_it_did(run, files) -> None:
    files(model=ALL, other="x = 1\n")
    assert run("fix").out.splitlines() == [
        "model.py",
        "    FUS401 [exact] Block.forward: Replace by `fused(x)`",
        "Applied 1 fusion in 1 file.",
        "1 more with `--allow checkpoint`.",
        "1 more with `--allow breaking`.",
        "1 more with `--allow inference`.",
        "1 more with `--allow numerics`.",
    ]
    assert run("fix", "--allow", "checkpoint").out.splitlines()[:2] == [
        "model.py",
        "    FUS201 [checkpoint] Block.forward: Replace by `fused(x)`",
    ]
    assert run("fix").out.splitlines()[0] == "Nothing to apply."


def test_what_is_left_of_the_allowed_is_a_finding(run, files) -> None:
    files(model="withheld(x)\nfuse_exact(x)\n")
    ran = run("fix")
    assert ran.status == 1
    assert "1 fusion left without an edit" in ran.out


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"y = fuse_exact(x)\r\nz = 1\r\n", id="crlf"),
        pytest.param(b"y = fuse_exact(x)\rz = 1\r", id="cr"),
        pytest.param(b"\xef\xbb\xbfy = fuse_exact(x)", id="byte order mark, no last line end"),
        pytest.param(b"# coding: cp1252\ny = fuse_exact(x)  # \x80\n", id="cookie"),
        pytest.param("s = '\u2028\x0c'\ny = fuse_exact(x)\n".encode(), id="other line ends"),
    ],
)
def test_the_rest_stays_byte_for_byte(run, files, tmp_path: Path, data: bytes) -> None:
    files(model=data)
    assert run("fix").status == 0
    assert (tmp_path / "model.py").read_bytes() == data.replace(b"fuse_exact", b"fused")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"y = fuse_exact(x)\ndef (:\n", "model.py:2:5: syntax error: invalid syntax"),
        (b"y = fuse_exact(x)\nnewer = = 1\n", "model.py:2:9: syntax of Python 3.99"),
        (b"y = fuse_exact(x)\n# \0", "model.py: a binary file"),
        (b"y = fuse_exact(x)\n# crash", "model.py: internal error: RuntimeError: the engine fell over"),
        (b"y = nofix(x)\n", "model.py: internal error: FUS404 in Block.forward: RewriteError: no edit came of it"),
        (b"# coding: latin-1\ny = fuse_exact(x)\n", "model.py: the edited text holds '\u0394'"),
    ],
)
def test_never_edited(run, files, tmp_path: Path, data: bytes, said: str) -> None:
    files(model=data, other="y = fuse_exact(x)\n")
    ran = run("fix")
    assert ran.status == 2
    assert ran.err.startswith(f"error: {said}")
    assert (tmp_path / "model.py").read_bytes() == data
    assert (tmp_path / "other.py").read_bytes() == b"y = fused(x)\n"


def test_a_fault_in_a_fusion_is_told_once_and_costs_no_other(run, files, tmp_path: Path) -> None:
    files(model="fuse_exact(x)  # fault\nfuse_exact(x)\n")
    ran = run("fix")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith("error: model.py: internal error: FUS201 failed in Block.forward: KeyError: 'layer' at ")
    assert (tmp_path / "model.py").read_text("utf-8") == "fused(x)  # fault\nfused(x)\n"


def test_a_read_only_file_is_an_error(run, files, tmp_path: Path) -> None:
    files(model=ALL)
    (tmp_path / "model.py").chmod(0o444)
    ran = run("fix")
    assert (ran.status, ran.err) == (2, "error: model.py: read-only; not edited\n")


def test_comments_silence(run, files, tmp_path: Path) -> None:
    files(
        a="fuse_exact(x)  # fuselight: ignore\nfuse_exact(x)\nfuse_exact(x)\n",
        b="# fuselight: ignore-file\nfuse_exact(x)\n",
        c="fuse_exact(x)  # fuselight: ignore[FUS1]\n",
    )
    assert run("fix").status == 0
    assert (tmp_path / "a.py").read_text("utf-8") == "fuse_exact(x)  # fuselight: ignore\nfused(x)\nfused(x)\n"
    assert (tmp_path / "b.py").read_text("utf-8") == "# fuselight: ignore-file\nfuse_exact(x)\n"
    assert (tmp_path / "c.py").read_text("utf-8") == "fused(x)  # fuselight: ignore[FUS1]\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a\nb\ny = fuse_exact(x)\nc\nd\n", id="lines"),
        pytest.param(b"y = fuse_exact(x)", id="no last line end"),
        pytest.param(b"a\r\ny = fuse_exact(x)\r\n", id="crlf"),
        pytest.param(b"a = 1\ry = fuse_exact(x)\rb\n", id="cr"),
        pytest.param(b"# coding: cp1252\ny = fuse_exact(x)  # \x80\n", id="cookie"),
    ],
)
def test_diff_is_one_that_git_applies(
    run, files, tmp_path: Path, data: bytes, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from fuselight.cli import main

    files(**{"a model": data, "b": "x = 1\n"})
    capfdbinary.readouterr()
    assert main(["fix", "--diff"]) == 1
    out, err = capfdbinary.readouterr()
    assert err == b"Would apply 1 fusion in 1 file.\n"
    assert (tmp_path / "a model.py").read_bytes() == data
    applied = subprocess.run(["git", "apply", "-p0"], input=out, cwd=tmp_path, capture_output=True, check=False)
    assert applied.stderr == b""
    assert (tmp_path / "a model.py").read_bytes() == data.replace(b"fuse_exact", b"fused")


def test_diff_in_colours_sends_nothing_else(run, files, monkeypatch: pytest.MonkeyPatch) -> None:
    files(model="s = '\x07'; fuse_exact(x)\r\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run("fix", "--diff").out.splitlines()[3:] == [
        "\x1b[31m-s = '\\x07'; fuse_exact(x)\x1b[0m",
        "\x1b[32m+s = '\\x07'; fused(x)\x1b[0m",
    ]


def test_diff_of_nothing(run, files) -> None:
    files(model="fuse_checkpoint(x)\n")
    ran = run("fix", "--diff")
    assert (ran.status, ran.out) == (0, "")


@pytest.mark.parametrize(
    ("stdin", "out", "status"),
    [
        (b"y = fuse_exact(x)\r\n", "y = fused(x)\r\n", 0),
        (b"y = 1", "y = 1", 0),
        (b"", "", 0),
        (b"fuse_exact(x)\ndef (:\n", "fuse_exact(x)\ndef (:\n", 2),
        (b"fuse_exact(x)\n# crash", "fuse_exact(x)\n# crash", 2),
        (b"a\0", "a\0", 2),
        (b"withheld(x)\n", "withheld(x)\n", 1),
    ],
)
def test_a_filter_always_gives_the_text_back(run, stdin: bytes, out: str, status: int) -> None:
    ran = run("fix", "-", stdin=stdin)
    assert (ran.out, ran.status) == (out, status)


def test_a_filter_gives_the_text_back_when_the_settings_are_bad(run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nselct = []\n", "utf-8")
    ran = run("fix", "-", stdin=b"fuse_exact(x)\n")
    assert (ran.out, ran.status) == ("fuse_exact(x)\n", 2)


def test_a_filter_can_show_a_diff(run) -> None:
    ran = run("fix", "--diff", "-", "--stdin-filename", "m.py", stdin=b"fuse_exact(x)\n")
    assert ran.out == "--- m.py\n+++ m.py\n@@ -1 +1 @@\n-fuse_exact(x)\n+fused(x)\n"
    assert ran.status == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fix --allow safe", "command line: allow: ['safe'] is not allowed"),
        ("fix --select X", "command line: select: ['X'] is not allowed"),
        ("fix gone", "gone: no such file or directory"),
        ("fix - .", "command line: - for standard input stands alone"),
    ],
)
def test_a_bad_command_line_is_one_line(run, arguments: str, said: str) -> None:
    ran = run(*arguments.split())
    assert ran.status == 2
    assert ran.err.startswith(f"error: {said}")
