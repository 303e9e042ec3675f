"""What README.md shows of the command line is what the command line says."""

import re

import pytest

from ci.readme import ROOT, blocks, shell

SHOWN = [
    pytest.param(command, said, id=command)
    for block in blocks("console")
    for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


@pytest.mark.parametrize(("command", "said"), SHOWN)
def test_what_is_shown_is_said(command: str, said: str):
    done = shell(command, ROOT)
    assert done.returncode in (0, 1), done.stderr
    out = done.stdout + done.stderr
    # ` ...` stands for lines that are left out.
    whole, *rest = re.split(r"^ \.\.\.\n", said.rstrip("\n") + "\n", flags=re.MULTILINE)
    if not rest:
        assert out == whole
    else:
        assert any(rest)
        for part in (whole, *rest):
            assert part in out
            out = out[out.index(part) + len(part) :]
