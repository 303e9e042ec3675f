"""`fuselight rule` and the address of `fuselight server`."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

import pytest

from fuselight.cli.server import address


def test_the_list(run) -> None:
    ran = run("rule")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == "FUS101  fuse-inference   `fuse_inference`."
    assert lines == sorted(lines)


@pytest.mark.parametrize("code", ["FUS401", "fus401", "fuse-exact"])
def test_a_page(run, code: str) -> None:
    ran = run("rule", code)
    assert (ran.status, ran.out) == (0, "# fuse-exact (FUS401)\n\n`fuse_exact` is fused.\n\nSafety: exact.\n")


@pytest.mark.parametrize("code", ["FUS4", "FUS999", "", "FUS401 "])
def test_no_such_page(run, code: str) -> None:
    ran = run("rule", code)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"error: no fusion has the code {code!r}; known are FUS101, FUS201")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2087", ("127.0.0.1", 2087)),
        (":2087", ("127.0.0.1", 2087)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:2087", ("::1", 2087)),
    ],
)
def test_address(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "host:port", "::1:2087", "host:65536", "host:-1", "host:\u0661"])
def test_no_address(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        address(text)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("server", (None, None)), ("server --stdio", (None, None)), ("server --tcp 2087", ("127.0.0.1", 2087))],
)
def test_the_server_is_started(run, monkeypatch: pytest.MonkeyPatch, arguments: str, expected: object) -> None:
    started: list[object] = []
    lsp = ModuleType("fuselight.lsp")
    lsp.__dict__["start"] = lambda host, port: started.append((host, port))
    monkeypatch.setitem(sys.modules, "fuselight.lsp", lsp)
    assert run(*arguments.split()).status == 0
    assert started == [expected]


@pytest.mark.parametrize("arguments", ["server --tcp nowhere", "server --tcp 1 --stdio", "server here"])
def test_the_server_is_not_started(run, arguments: str) -> None:
    ran = run(*arguments.split())
    assert ran.status == 2
    assert ran.err.startswith("error: ")
