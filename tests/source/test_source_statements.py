"""A file cut into top-level statements is the file: together they are its parse, and a key costs one of them."""

from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuselight.source.lines import LineIndex
from fuselight.source.statements import Placed, StatementCache

CLASS = '''\
# about the class
@decorated
@decorated(
    1,
)
class M(nn.Module):
    """About M."""

    def __init__(self):
        self.a = 1


    def forward(self, x):
        return x
'''
PIECES = [
    "import torch",
    "from a import (\n    b,\n    c,\n)",
    CLASS.rstrip("\n"),
    "def f(x):\n    return x",
    "@d\n\n# between\ndef g():\n    pass",
    "async def h():\n    await x",
    "x = 1; y = 2",
    "if x:\n    a = 1\nelif y:\n    b = 2\nelse:\n    c = 3",
    "try:\n    a\nexcept ValueError:\n    b\nexcept (A, B) as e:\n    c\nelse:\n    d\nfinally:\n    e",
    "for i in x:\n    pass\nelse:\n    pass",
    "while x:\n    break\nelse:\n    pass",
    "with a as b:\n    pass",
    'text = """\nclass Q:\n    pass\ndef q(): pass\n"""',
    "text = '''\nimport nothing\n# no comment\n'''",
    "text = (\n'column 0'\n'more'\n)",
    "table = [\n1,\n2,\n]",
    "call(\na,\n)",
    '"""A docstring."""',
    "# a comment",
    "x: int = 3",
    "match x:\n    case 1:\n        pass",
    "match = 3\ncase = 4\ntype = 5",
    "f'{x}'",
    'f"""\n{x}\n"""',
    "lambda: 0",
    "é = 'ü😀'",
    "def f(\n    a,\n):\n    return (\n1\n)",
    "class A: pass",
    "\f\nx = 1",
    "",
    "   ",
    "    # an indented comment",
    "del x",
    "x = [  # c\n# d\n]",
    "else_ = 1\nexcept_ = 2\nfinally_ = 3\nelif_ = 4",
    "assert x, (\n'no'\n)",
    "x = {\n'a': 1,\n}\n# after",
    "if x: y = 1\nelse: y = 2",
    "global z",
]  # fmt: skip
EDITED = [piece for piece in PIECES if "class Q" not in piece]
CONTINUED = ["x = \\\n1", "x = 1 + \\\n    2"]
NEWLINES = ["\n", "\r\n", "\r"]


def dumped(body: list[ast.stmt]) -> list[str]:
    return [ast.dump(node) for node in body]


def check(text: str) -> list[Placed]:
    """Check what holds for the statements of a valid text."""
    cache = StatementCache()
    placed = cache.split(text)
    first = 1 if text.startswith("\ufeff") else 0
    at = first
    for one in placed:
        assert one.start == at
        at += len(one.statement.text)
    assert text[first:] == "".join(one.statement.text for one in placed)
    assert not any(one.statement.problem for one in placed)
    whole = ast.parse(text[first:])
    assert dumped([node for one in placed for node in one.statement.body]) == dumped(whole.body)
    index = LineIndex(text)
    found = [(one, node) for one in placed for node in one.statement.body]
    for (one, cut), node in zip(found, whole.body, strict=True):
        # The same place in the file, whichever way it is worked out.
        span = one.statement.span(cut).moved(one.start)
        row, column = index.row_column(span.start)
        body = index.line_text(row - 1)[: column - 1].lstrip("\ufeff" if row == 1 else "")
        assert (row, len(body.encode())) == (node.lineno, node.col_offset)
    return placed


@pytest.mark.parametrize("newline", NEWLINES, ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("piece", PIECES + CONTINUED)
def test_each_piece_between_others(piece: str, newline: str) -> None:
    for text in (piece, f"{piece}\n", f"import a\n{piece}\nx = 1\n", f"\ufeff{piece}\n", f"\n\n{piece}\n\n\n{piece}"):
        check(text.replace("\n", newline))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=7),
    st.sampled_from(NEWLINES),
    st.sampled_from(["", "\n", "\n\n\n", "\n# c\n"]),
)
def test_any_pieces_in_a_row(pieces: list[str], newline: str, between: str) -> None:
    text = ("\n" + between).join(pieces)
    try:
        ast.parse(text.replace("\n", newline))
    except (SyntaxError, ValueError):
        return
    check(text.replace("\n", newline))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(EDITED), min_size=1, max_size=5), st.data())
def test_any_edit_gives_what_a_fresh_cache_gives(pieces: list[str], data: st.DataObject) -> None:
    """Also for texts that are no Python: what is kept from before must not show."""
    text = "import a\n" + "\n".join(pieces)
    cache = StatementCache()
    cache.split(text)
    for _ in range(3):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 6)))
        text = (
            text[:start]
            + data.draw(st.sampled_from(["", "x", "(", ")", "\n", "    ", "#", "'", "@d\n", ":"]))
            + text[end:]
        )
        placed = cache.split(text)
        assert "".join(one.statement.text for one in placed) == text
        try:
            whole = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        assert dumped([node for one in placed for node in one.statement.body]) == dumped(whole.body), text


FILE = "import torch\n\n\n" + "\n\n".join(
    textwrap.dedent(f"""\
    class C{number}(nn.Module):
        def __init__(self):
            self.a = nn.Linear(1, {number})

        def forward(self, x):
            return self.a(x)
    """)
    for number in range(20)
)


def test_opening_a_file_parses_each_statement_once() -> None:
    cache = StatementCache()
    assert len(cache.split(FILE)) == 21
    assert cache.parses == 21


@pytest.mark.parametrize(
    ("old", "new", "parses"),
    [
        ("self.a = nn.Linear(1, 7)", "self.ab = nn.Linear(1, 7)", 1),
        ("return self.a(x)\n\n\nclass C4", "return self.a(x)  # c\n\n\nclass C4", 1),
        ("import torch\n", "import torch\n\n\n\n", 1),
        ("class C5(nn.Module)", "class D5(nn.Module)", 1),
        ("\nclass C6", "\nx = 1\n\n\nclass C6", 2),
        ("import torch\n", "import torch\nimport math\n", 2),
        ("nothing that is there", "", 0),
    ],
)
def test_one_key_parses_one_statement(old: str, new: str, parses: int) -> None:
    cache = StatementCache()
    cache.split(FILE)
    before = cache.parses
    after = FILE.replace(old, new, 1)
    cache.split(after)
    assert cache.parses - before <= parses
    count = cache.parses
    cache.split(after)
    assert cache.parses == count
    cache.split(FILE)
    assert cache.parses - count <= parses


@pytest.mark.parametrize(
    "typed",
    [
        "        self.",
        "        self.b = nn.Linear(",
        "        if x",
        "        if x:",
        "        for",
        "        return (",
        "        x = [1, 2",
        "        x = 'open",
        '        x = """open',
        "        x = f'{",
        "    def g(self",
        "    @",
        "        x = )",
        "        lambda",
        "  odd_indent = 3",
        "        x == = 3",
        "        print 'old'",
        "        a b",
    ],
)
def test_a_half_typed_line_blinds_nobody_else(typed: str) -> None:
    marker = "class C9(nn.Module):\n    def __init__(self):\n        self.a = nn.Linear(1, 9)\n"
    assert marker in FILE
    placed = StatementCache().split(FILE.replace(marker, f"{marker}{typed}\n", 1))
    assert any(one.statement.problem for one in placed)
    classes = {
        node.name
        for one in placed
        if one.statement.problem is None
        for node in one.statement.body
        if isinstance(node, ast.ClassDef)
    }
    assert classes >= {f"C{number}" for number in range(20)} - {"C9", "C10"}, sorted(classes)


@pytest.mark.parametrize(
    "typed", ["        self.", "        self.b = nn.Linear(", "        x == = 3", "        a b", "        if x"]
)
def test_the_rest_of_a_class_is_read(typed: str) -> None:
    text = (
        f"class M:\n    def f(self):\n        return 1\n\n    def g(self):\n{typed}\n"
        f"        return 2\n\n    def h(self):\n        return 3\n"
    )
    (one,) = StatementCache().split(text)
    (node,) = one.statement.body
    assert isinstance(node, ast.ClassDef)
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    assert {"f", "h"} <= methods.keys()
    assert not one.statement.is_masked(methods["f"])
    assert not one.statement.is_masked(methods["h"])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("type A = int\n", "3.12"),
        ("def f[T](x: T): pass\n", "3.12"),
        ("x = t'{y}'\n", "3.14"),
        ("x = (\n", None),
        ("print 'x'\n", None),
    ],
)
def test_newer_syntax_is_told_from_mistakes(text: str, version: str | None) -> None:
    import sys

    problems = [one.statement.problem for one in StatementCache().split(text) if one.statement.problem]
    if version is not None and sys.version_info[:2] >= tuple(map(int, version.split("."))):
        assert not problems
        return
    assert [problem.newer_python for problem in problems] == [version]
