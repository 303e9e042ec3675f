"""Where edits put imports, functions, comments and line ends: texts before and after, side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from equivalence.harness import check_edit, fixes, module, rewritten
from fuselight.analysis import Analysis

CLASS = """\
class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))
"""


def head_after(before: str) -> str:
    """What stands above the load hook once the bias of `CLASS` below `before` is dropped (which needs functools)."""
    result = rewritten(f"{before}{CLASS}", codes=frozenset({"FUS101"}))
    assert result.applied
    return result.text.partition("def _fold")[0].removesuffix("\n\n\n") + "\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from torch import nn\n\n\n", "import functools\n\nfrom torch import nn\n"),
        ("import torch\nfrom torch import nn\n\n\n", "import functools\n\nimport torch\nfrom torch import nn\n"),
        ("import math\n\nfrom torch import nn\n\n\n", "import functools\nimport math\n\nfrom torch import nn\n"),
        ("import ast\n\nfrom torch import nn\n\n\n", "import ast\nimport functools\n\nfrom torch import nn\n"),
        (
            "import ast\nimport math\n\nfrom torch import nn\n\n\n",
            "import ast\nimport functools\nimport math\n\nfrom torch import nn\n",
        ),
        (
            "from math import pi\n\nfrom torch import nn\n\n\n",
            "import functools\nfrom math import pi\n\nfrom torch import nn\n",
        ),
        (
            "from __future__ import annotations\n\nfrom torch import nn\n\n\n",
            "from __future__ import annotations\n\nimport functools\n\nfrom torch import nn\n",
        ),
        ("import functools\n\nfrom torch import nn\n\n\n", "import functools\n\nfrom torch import nn\n"),
        (
            "from functools import partial\n\nfrom torch import nn\n\n\n",
            "from functools import partial\n\nfrom torch import nn\n",
        ),
        ('"""About."""\n\nfrom torch import nn\n\n\n', '"""About."""\n\nimport functools\n\nfrom torch import nn\n'),
        (
            "# Licence\n# of it\n\nfrom torch import nn\n\n\n",
            "# Licence\n# of it\n\nimport functools\n\nfrom torch import nn\n",
        ),
        (
            "#!/usr/bin/env python\nfrom torch import nn\n\n\n",
            "#!/usr/bin/env python\nimport functools\n\nfrom torch import nn\n",
        ),
        (
            "from torch import nn\n\nfrom . import local\n\n\n",
            "import functools\n\nfrom torch import nn\n\nfrom . import local\n",
        ),
        ("import os, sys\n\nfrom torch import nn\n\n\n", "import functools\nimport os, sys\n\nfrom torch import nn\n"),
        ("from torch import nn  # layers\n\n\n", "import functools\n\nfrom torch import nn  # layers\n"),
        ("from torch import (\n    nn,\n)\n\n\n", "import functools\n\nfrom torch import (\n    nn,\n)\n"),
    ],
)
def test_imports(before: str, after: str) -> None:
    assert head_after(before) == after


@pytest.mark.parametrize(
    "head",
    [
        "from torch import nn\n",
        "import math\n\nfrom torch import nn\n",
        "from __future__ import annotations\n\nimport abc\nimport os\nfrom typing import Any\n\n"
        "import numpy as np\nimport torch\nfrom torch import nn\n\nfrom . import local\n",
        "import collections\nimport sys\nfrom collections import OrderedDict\n\nimport torch.nn as nn\n",
        "import numpy as np\nfrom einops import rearrange\nfrom torch import nn\n\nfrom .. import other\n",
        '"""About."""\n\nfrom dataclasses import dataclass\n\nfrom torch import nn\n',
        "# Licence\n\nfrom torch import nn\n",
    ],
)
def test_imports_stay_sorted(head: str, tmp_path: Path) -> None:
    names = "".join(f"print({name})\n" for name in ("math", "np", "torch") if f"import {name}" in head)
    file = tmp_path / "m.py"

    def unsorted(text: str) -> str:
        file.write_text(text)
        ruff = Path(sys.executable).parent / "ruff"
        command = [
            str(ruff),
            "check",
            "--isolated",
            "--no-cache",
            "--select",
            "I",
            "--output-format",
            "full",
            str(file),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    before = "\n\n".join(part for part in (f"{head}\n{names}".rstrip("\n") + "\n", CLASS) if part)
    assert "All checks passed" in unsorted(before)
    result = rewritten(before, codes=frozenset({"FUS101"}))
    assert result.applied
    assert "All checks passed" in unsorted(result.text)


TWO = "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)"


def init_after(init: str, forward: str = "return self.q(x) + self.k(x)", code: str = "FUS201") -> str:
    """The lines of `__init__` behind `super().__init__()`, rewritten."""
    text = rewritten(module(init, forward), codes=frozenset({code})).text
    return text.partition("super().__init__()\n")[2].partition("\n    def forward")[0]


def forward_after(forward: str) -> str:
    text = rewritten(module(TWO, forward), codes=frozenset({"FUS201"})).text
    return text.partition("def forward(self, x):\n")[2]


HOOK = "        self.register_load_state_dict_pre_hook(_merge_m_qk)\n"
QK = "        self.qk = nn.Linear(16, 32)\n" + HOOK


@pytest.mark.parametrize(
    ("init", "after"),
    [
        (TWO, QK),
        ("# q\nself.q = nn.Linear(16, 16)\n# k\nself.k = nn.Linear(16, 16)", f"        # q\n        # k\n{QK}"),
        ("self.q = nn.Linear(16, 16)  # q\nself.k = nn.Linear(16, 16)", f"        # q\n{QK}"),
        ("self.q = nn.Linear(16, 16)\nself.n = 3  # n\nself.k = nn.Linear(16, 16)", f"{QK}        self.n = 3  # n\n"),
        (
            "self.q = nn.Linear(16, 16)\n\nself.n = 3\n\nself.k = nn.Linear(16, 16)\n\nself.m = 4",
            f"{QK}\n        self.n = 3\n\n        self.m = 4\n",
        ),
        ("self.q = nn.Linear(\n    16,  # in\n    16,\n)\nself.k = nn.Linear(16, 16)", f"        # in\n{QK}"),
        (
            "n = 4\nself.q = nn.Linear(16, n * 4)\nself.k = nn.Linear(16, n)",
            "        n = 4\n        self.qk_sizes = [n * 4, n]\n        self.qk = nn.Linear(16, sum(self.qk_sizes))\n"
            + HOOK,
        ),
        (
            "self.q = nn.Linear(16, 16, bias=False)\nself.k = nn.Linear(16, 16, bias=False)",
            QK.replace("32)", "32, bias=False)"),
        ),
    ],
)
def test_constructors(init: str, after: str) -> None:
    assert init_after(init) == after


UNPACK = "        q, k = self.qk(x).split([16, 16], dim=-1)\n"


@pytest.mark.parametrize(
    ("forward", "after"),
    [
        ("q = self.q(x)\nk = self.k(x)\nreturn q + k", f"{UNPACK}        return q + k\n"),
        (
            "q = self.q(x)  # q\nk = self.k(x)  # k\nreturn q + k",
            f"        # q\n        # k\n{UNPACK}        return q + k\n",
        ),
        (
            "# q\nq = self.q(x)\n# k\nk = self.k(x)\nreturn q + k",
            f"        # q\n        # k\n{UNPACK}        return q + k\n",
        ),
        (
            "q, k = self.q(x), self.k(x)  # both\nreturn q + k",
            UNPACK.replace("\n", "  # both\n") + "        return q + k\n",
        ),
        ("q = self.q(x)\n\nk = self.k(x)\n\nreturn q + k", f"{UNPACK}\n        return q + k\n"),
        ("return self.q(x) + self.k(x)", f"{UNPACK}        return q + k\n"),
        (
            "return torch.cat(\n    [\n        self.q(x),  # a\n        self.k(x),\n    ]\n)",
            f"{UNPACK}        return torch.cat(\n            [\n                q,  # a\n"
            f"                k,\n            ]\n        )\n",
        ),
        ("# about the sum\nreturn self.q(x) + self.k(x)", f"        # about the sum\n{UNPACK}        return q + k\n"),
    ],
)
def test_calls(forward: str, after: str) -> None:
    assert forward_after(forward) == after


CALL = "self.bn = nn.BatchNorm2d(8)"


@pytest.mark.parametrize(
    ("constructor", "after"),
    [
        ("nn.Conv2d(3, 8, 3)", "nn.Conv2d(3, 8, 3, bias=False)"),
        ("nn.Conv2d(3, 8, 3, bias=True)", "nn.Conv2d(3, 8, 3, bias=False)"),
        ("nn.Conv2d(3, 8, 3, bias = True)", "nn.Conv2d(3, 8, 3, bias = False)"),
        ("nn.Conv2d(3, 8, 3, 1, 0, 1, 1, True)", "nn.Conv2d(3, 8, 3, 1, 0, 1, 1, False)"),
        ("nn.Conv2d(3, 8, 3,)", "nn.Conv2d(3, 8, 3, bias=False,)"),
        ("nn.Conv2d(\n    3,\n    8,\n    3,\n)", "nn.Conv2d(\n    3,\n    8,\n    3,\n    bias=False,\n)"),
        (
            "nn.Conv2d(\n    3,\n    8,\n    3,  # size\n)",
            "nn.Conv2d(\n    3,\n    8,\n    3,  # size\n    bias=False,\n)",
        ),
        (
            "nn.Conv2d(\n    3,\n    8,\n    3  # size\n)",
            "nn.Conv2d(\n    3,\n    8,\n    3,  # size\n    bias=False,\n)",
        ),
        ("nn.Conv2d(\n    3, 8, 3\n)", "nn.Conv2d(\n    3, 8, 3, bias=False\n)"),
        (
            "nn.Conv2d(3, 8, kernel_size=3, stride=1, padding=1, dilation=1)",
            "nn.Conv2d(\n    3, 8, kernel_size=3, stride=1, padding=1, dilation=1, bias=False\n)",
        ),
        ("nn.Conv2d(3, 8, (3, 3))", "nn.Conv2d(3, 8, (3, 3), bias=False)"),
        ('nn.Conv2d(3, 8, 3, padding_mode="zeros")', 'nn.Conv2d(3, 8, 3, padding_mode="zeros", bias=False)'),
        ("nn.Conv2d(3, 8, # a )\n    3)", "nn.Conv2d(3, 8, # a )\n    3, bias=False)"),
    ],
)
def test_an_argument_is_added_as_the_call_is_written(constructor: str, after: str) -> None:
    found = init_after(f"self.conv = {constructor}\n{CALL}", "return self.bn(self.conv(x))", "FUS101")
    lines = "".join(f"        {line}\n" for line in f"self.conv = {after}".split("\n"))
    assert found.startswith(f"{lines}        {CALL}\n")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "bom"])
@pytest.mark.parametrize("indent", ["    ", "  ", "\t"], ids=["four", "two", "tab"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"], ids=["no end", "end", "ends"])
def test_the_rest_of_the_file_stays_byte_for_byte(newline: str, mark: str, indent: str, end: str) -> None:
    plain = module(
        f"{TWO}  # k\n{CALL}\nself.conv = nn.Conv2d(3, 8, 3)",
        "x = x * torch.sigmoid(x)  # é😀\nq = self.q(x)   \nreturn q + self.k(x), self.bn(self.conv(x))",
        tail="\n\nTEXT = 'ä  '   \n\f\nX = 1",
    )
    text = mark + (plain.rstrip("\n") + end).replace("    ", indent).replace("\n", newline)
    analysis = Analysis(text)
    offered = fixes(analysis)
    assert {finding.code for finding, _ in offered} == {"FUS101", "FUS103", "FUS201", "FUS401"}
    for _, fix in offered:
        after = check_edit(text, fix)
        touched = sum(edit.end - edit.start for edit in fix.edits)
        assert len(after) == len(text) - touched + sum(len(edit.content) for edit in fix.edits)
        assert after.partition("TEXT")[2] == text.partition("TEXT")[2]
    result = rewritten(text)
    assert {finding.code for finding in result.applied} == {"FUS101", "FUS103", "FUS201", "FUS401"}


def test_the_same_hook_is_added_once() -> None:
    pairs = "\n".join(f"self.c{number} = nn.Conv2d(3, 3, 3)\nself.b{number} = nn.BatchNorm2d(3)" for number in range(3))
    text = module(pairs, "return self.b2(self.c2(self.b1(self.c1(self.b0(self.c0(x))))))")
    result = rewritten(text, codes=frozenset({"FUS101"}))
    assert len(result.applied) == 3
    assert result.text.count("def _fold_bias_into_batch_norm(") == 1
    assert result.text.count("import functools\n") == 1


@pytest.mark.parametrize("line_length", [60, 79, 88, 120])
def test_what_is_inserted_keeps_to_the_line_length(line_length: int) -> None:
    names = [f"{name}_projection" for name in ("query", "key", "value")]
    init = "\n".join(f"self.{name} = nn.Linear(16, 16)" for name in names)
    text = module(init, "\n".join(f"x = x + self.{name}(y)" for name in names) + "\nreturn x", arguments="self, x, y")
    before = set(text.split("\n"))
    result = rewritten(text, line_length=line_length)
    assert result.applied
    new = [line for line in result.text.split("\n") if line not in before and '"""' not in line and 'f"' not in line]
    assert not [line for line in new if len(line) > line_length]
