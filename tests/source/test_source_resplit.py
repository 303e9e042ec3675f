"""The next version of a text, cut from the version before, is cut as the whole text is."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuselight.source.statements import StatementCache

PIECES = (
    "import torch\n",
    "x = 1\n",
    "# about\n",
    "\n",
    "@decorated\nclass M(nn.Module):\n    def forward(self, x):\n        return x\n",
    "if x:\n    y = 1\nelse:\n    y = 2\n",
    "try:\n    import a\nexcept ImportError:\n    a = None\n",
    'text = """\nclass Q:\n    pass\n"""\n',
    'names = [\n"a",\n"b",\n]\n',
    "x = 1 + \\\n    2\n",
    "def f():\r\n    return 1\r\n",
    "z = 3; w = 4\n",
)
INSERTED = st.sampled_from(
    ["", "x", " ", "\n", "(", ")", '"""', "#", "else:\n", "    y = 1\n", "@d\n", "\\\n", "pass\n"]
)


def cut(cache: StatementCache, text: str, previous: list | None = None) -> list:
    return cache.split(text, previous)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=2, max_size=8), st.data())
def test_any_edit(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cache = StatementCache()
    placed = cut(cache, text)
    for _ in range(3):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 4, len(text))))
        text = text[:start] + data.draw(INSERTED) + text[end:]
        placed = cut(cache, text, placed)
        assert "".join(part.statement.text for part in placed) == text
        assert [part.start for part in placed] == [
            sum(len(before.statement.text) for before in placed[:at]) for at in range(len(placed))
        ]
        if not any(part.statement.problem for part in placed):
            read = [ast.dump(node) for part in placed for node in part.statement.body]
            assert read == [ast.dump(node) for node in ast.parse(text).body]


@pytest.mark.parametrize(
    ("before", "after", "parses"),
    [
        ("a = 1\nb = 2\nc = 3\n", "a = 1\nb = 22\nc = 3\n", 1),
        ("a = 1\nb = 2\nc = 3\n", "a = 1\nc = 3\n", 0),
        ("a = 1\nb = 2\nc = 3\n", "a = 1\nb = 2\nx = 0\nc = 3\n", 1),
        ("a = 1\nif a:\n    b = 2\nc = 3\n", "a = 1\nif a:\n    b = 2\nelse:\n    d = 0\nc = 3\n", 1),
    ],
)
def test_an_edit_parses_what_it_touches(before: str, after: str, parses: int) -> None:
    cache = StatementCache()
    placed = cut(cache, before)
    done = cache.parses
    cut(cache, after, placed)
    assert cache.parses - done == parses


def test_a_line_end_that_goes_joins_two_statements() -> None:
    cache = StatementCache()
    placed = cut(cache, "a = 1\nb = 2\nclass C:\n    pass\n")
    joined = cut(cache, "a = 1\nb = 2class C:\n    pass\n", placed)
    assert any(part.statement.problem for part in joined)


def test_a_broken_statement_costs_no_other() -> None:
    cache = StatementCache()
    texts = [f"def f{number}():\n    return {number}\n" for number in range(20)]
    placed = cut(cache, "".join(texts))
    done = cache.parses
    broken = "".join([*texts[:10], "def f10(:\n    return 10\n", *texts[11:]])
    placed = cut(cache, broken, placed)
    assert sum(part.statement.problem is not None for part in placed) == 1
    assert cache.parses - done <= 12  # the piece, and the regions of it that are tried
    done = cache.parses
    cut(cache, "".join(texts), placed)
    assert cache.parses - done <= 1
