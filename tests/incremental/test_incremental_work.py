"""How much is done for a key: statements parsed, functions matched. Counts, never times."""

from __future__ import annotations

import ast

import pytest

from fuselight.analysis import Analysis
from fuselight.source.statements import Statement, StatementCache

TEXT = '''\
import torch
import torch.nn.functional as F
from torch import nn

SCALE = 2


class Norm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))


class Attention(nn.Module):
    """Attention."""

    def __init__(self, dim):
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.norm = Norm(dim, eps=1e-5)

    def describe(self):
        # what it is
        weight = "attention"
        return weight

    # between two methods
    def swish(self, x):
        return x * torch.sigmoid(x)

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return F.scaled_dot_product_attention(q, k, v)


class MLP(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.up = nn.Linear(dim, dim)

    def forward(self, x):
        h = self.up(x)
        return h * torch.sigmoid(h)


def scaled(x):
    y = x * SCALE
    return y * torch.sigmoid(y)
'''


def typed(before: str, after: str) -> tuple[Analysis, int]:
    """The analysis of TEXT with `before` made `after`, and how many statements were parsed for it."""
    first = Analysis(TEXT)
    assert first.findings
    cache: StatementCache = first._cache  # pyright: ignore[reportPrivateUsage]
    parses = cache.parses
    assert TEXT.count(before) == 1
    later = first.updated(TEXT.replace(before, after))
    fresh = Analysis(later.text)
    assert (later.findings, later.refusals) == (fresh.findings, fresh.refusals)
    return later, cache.parses - parses


@pytest.mark.parametrize(
    ("before", "after", "matched"),
    [
        pytest.param("# what it is", "# what it does", 0, id="a comment in a method"),
        pytest.param(
            "self.k_proj(x), self.v_proj(x)\n", "self.k_proj(x), self.v_proj(x)  # so\n", 0, id="one behind code"
        ),
        pytest.param('weight = "att', 'weight = "sel', 1, id="a string in a method"),
        pytest.param("return weight", "return weights", 1, id="a name in a method, a word that a norm asks for"),
        pytest.param("q, k, v)\n", "q, k, v) \n", 0, id="a space"),
        pytest.param("h = self.up(x)", "h = self.up(x).eps", 1, id="an attribute that a norm asks for"),
        pytest.param("y = x * SCALE", "y = x * SCALE * 2", 1, id="in a function"),
        pytest.param("# between two methods", "# between the methods", 0, id="a comment between methods"),
        pytest.param("x * torch.sigmoid(x)", "x * torch.sigmoid(x", 1, id="what no longer parses, in its method"),
    ],
)
def test_a_key_parses_one_statement_and_matches_one_function(before: str, after: str, matched: int) -> None:
    later, parses = typed(before, after)
    assert later.scopes_matched <= matched
    assert parses <= 1 or later.problems


@pytest.mark.parametrize(
    ("before", "after", "matched"),
    [
        pytest.param("self.width = dim\n", "self.widths = dim\n", 1, id="a name that nobody has"),
        pytest.param("self.width = dim\n", "self.width = dim + 1\n", 1, id="its value"),
        pytest.param("self.width = dim\n", "self.up = dim\n", 2, id="the name of a layer"),
        pytest.param("self.width = dim\n", "self.width = self.up\n", 1, id="a layer again, after whom nobody asks"),
        pytest.param("self.width = dim\n", "self.width = nn.Linear(dim, dim)\n", 2, id="a layer more"),
        pytest.param("self.scale = 1.0\n", "self.scale = 2.0\n", 2, id="a number that is read"),
    ],
)
def test_what_init_sets_bears_on_who_reads_it(before: str, after: str, matched: int) -> None:
    sets = "self.up = nn.Linear(dim, dim)\n        self.width = dim\n        self.scale = 1.0\n"
    text = TEXT.replace("self.up = nn.Linear(dim, dim)\n", sets)
    text = text.replace("h = self.up(x)", "h = self.up(x) * self.scale")
    text = text.replace("class MLP(nn.Module)", "class Base(nn.Module):\n    pass\n\n\nclass MLP(Base)")
    first = Analysis(text)
    assert first.findings
    later, fresh = first.updated(text.replace(before, after)), Analysis(text.replace(before, after))
    assert (later.findings, later.refusals) == (fresh.findings, fresh.refusals)
    assert later.text != text
    assert later.scopes_matched == matched


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        pytest.param(
            "self.norm = Norm(dim, eps=1e-5)", "self.norm = Norm(dim)", {"__init__", "forward"}, id="layers of others"
        ),
        pytest.param(
            "def forward(self, x):\n        q,", "def forward(self, y):\n        q,", {"forward"}, id="its own"
        ),
    ],
)
def test_what_rests_on_a_method_is_matched_with_it(before: str, after: str, names: set[str]) -> None:
    later, parses = typed(before, after)
    assert parses == 1
    assert later.scopes_matched >= len(names)


def test_a_new_line_leaves_the_methods_above_alone() -> None:
    later, _ = typed("        h = self.up(x)\n", "        h = self.up(x)\n        h = h\n")
    assert later.scopes_matched == 1


def test_a_text_again_matches_nothing() -> None:
    first = Analysis(TEXT)
    assert first.findings
    again = first.updated(TEXT)
    assert again.findings == first.findings
    assert again.scopes_matched == 0


def test_what_was_left_half_done_is_gone_on_with() -> None:
    first = Analysis(TEXT)
    steps = first.work()
    while not first.scopes_matched:
        next(steps)
    done = first.scopes_matched
    later = first.updated(TEXT + "\n")
    assert later.findings == Analysis(TEXT + "\n").findings
    assert done > 0
    assert later.scopes_matched < Analysis(TEXT).scopes_matched or later.scopes_matched


def test_an_edit_of_what_was_taken_over_is_that_of_a_fresh_analysis() -> None:
    first = Analysis(TEXT)
    assert first.findings
    later = first.updated(TEXT.replace("# what it is", "# what it does"))
    fresh = Analysis(later.text)
    for one, other in zip(later.findings, fresh.findings, strict=True):
        assert later.fix(one) == fresh.fix(other)


def test_nodes_of_what_stays_are_the_same_and_stand_where_they_did() -> None:
    cache = StatementCache()
    before = cache.split(TEXT)
    after = cache.split(TEXT.replace('weight = "att', 'weight = "Att'), before)
    old, new = (class_of(placed.statement) for placed in (before[5], after[5]))
    assert old is not new
    same = [one is other for one, other in zip(old.body, new.body, strict=True)]
    assert same == [True, True, False, True, True]
    fresh = ast.parse("".join(one.statement.text for one in after))
    found = [node for one in after for node in one.statement.body]
    assert [ast.dump(node) for node in found] == [ast.dump(node) for node in fresh.body]


@pytest.mark.parametrize("number", range(TEXT.count("\n")))
def test_a_comment_behind_any_line_is_no_change_of_code(number: int) -> None:
    lines = TEXT.split("\n")
    lines[number] += "  # weight, eps and norm"
    text = "\n".join(lines)
    cache = StatementCache()
    before = cache.split(TEXT)
    parses = cache.parses
    after = cache.split(text, before)
    assert cache.parses <= parses + (number < 2)  # the first statements are cut anew with the text above them
    for version, placed in ((TEXT, before), (text, after)):
        found = [node for one in placed for node in one.statement.body]
        assert [ast.dump(node) for node in found] == [ast.dump(node) for node in ast.parse(version).body]
    assert "".join(one.statement.text for one in after) == text


NO_COMMENTS = [
    ('x = """\n{}\n"""\n', "x = None  # said"),
    ("x = (\n    1,{}\n)\n", "  # one"),
    ("x = [{}]\n", "  # open"),
    ('x = "{}"\n', "#"),
    ("x = 1 + \\{}\n    2\n", " "),
    ("if x:{}\n    pass\n", " y #"),
    ("if x:\n    pass\n{}else:\n    pass\n", " "),
    ("x = 1{}\n", "  # \0"),
    ("x = 1{}\n", "  # \ud800"),
    ("x = 1{}\n", "\x0b# a"),
    ("x = 1{}\n", ";# a"),
]


@pytest.mark.parametrize(("text", "put"), NO_COMMENTS)
def test_what_only_looks_like_a_comment(text: str, put: str) -> None:
    head, tail = "import torch\n\n", "\n\ny = 2\n"
    before, after = (head + text.format(one) + tail for one in ("", put))
    first = Analysis(before)
    assert first.findings == ()
    parses = first._cache.parses  # pyright: ignore[reportPrivateUsage]
    later, fresh = first.updated(after), Analysis(after)
    assert later.problems == fresh.problems
    assert first._cache.parses > parses  # pyright: ignore[reportPrivateUsage]


def test_words_of_a_comment_count_for_who_asks_for_any() -> None:
    text = TEXT.replace("# what it is", "# what it is {}")
    analysis = Analysis(text.format(""))
    for word in ("register_forward_hook", "state_dict", "", "weight", "setattr(self, n)"):
        analysis = analysis.updated(text.format(word))
        fresh = Analysis(analysis.text)
        assert (analysis.findings, analysis.refusals) == (fresh.findings, fresh.refusals)


def test_a_word_in_any_case_is_seen_when_it_comes_and_when_it_goes() -> None:
    text = TEXT.replace("# what it is", "# what it is {}")
    analysis = Analysis(text.format(""))
    for comment, there in (
        ("", False),
        ("fuselight: ignore", True),
        ("", False),
        ("FuseLight: IGNORE", True),
        ("", False),
    ):
        analysis = analysis.updated(text.format(comment))
        assert [one.text.count("# what it is") for one, _ in analysis.with_word("fuselight")] == [1] * there


def class_of(statement: Statement) -> ast.ClassDef:
    [node] = statement.body
    assert isinstance(node, ast.ClassDef)
    return node
