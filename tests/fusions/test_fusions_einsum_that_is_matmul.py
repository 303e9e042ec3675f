"""FUS606: an equation that is a plain product becomes the call of that product, in whatever letters; else a reason."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import itertools

import pytest
import torch

from equivalence.harness import REORDERED, Inputs, equivalent, executed, module, refused, rewritten
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS606"
SIZES = {letter: at + 2 for at, letter in enumerate("bhijktodXY")}


HEAD = "import torch\nimport torch.nn.functional as F\n"


def function(body: str, arguments: str = "a, b", head: str = HEAD) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{head}\n\ndef f({arguments}):\n{lines}"


def of(equation: str) -> str:
    """A function with one einsum of as many operands as the equation has."""
    arguments = ", ".join("abc"[: equation.count(",") + 1])
    return function(f"return torch.einsum({equation!r}, {arguments})", arguments)


def operands(equation: str, *, dots: tuple[int, ...] = (3, 2), ones: str = "") -> list[torch.Tensor]:
    """Operands of an equation, each letter a size of its own; those of `ones` are one in the second operand."""
    found: list[torch.Tensor] = []
    for at, term in enumerate(equation.replace(" ", "").partition("->")[0].split(",")):
        letters = term.replace("...", ".")
        sizes = [[1 if at and one in ones else SIZES.get(one, 2)] if one != "." else dots for one in letters]
        found.append(torch.randn([size for each in sizes for size in each], dtype=torch.float64))
    return found


def returned(text: str) -> str:
    return text.rpartition("return ")[2].strip()


EQUATIONS = [
    ("bij,bjk->bik", "torch.matmul(a, b)"),
    ("bij,bkj->bik", "torch.matmul(a, b.mT)"),
    ("bji,bjk->bik", "torch.matmul(a.mT, b)"),
    ("bji,bkj->bik", "torch.matmul(a.mT, b.mT)"),
    ("bij,bjk->bki", "torch.matmul(b.mT, a.mT)"),
    ("bjk,bij->bik", "torch.matmul(b, a)"),
    ("bhid,bhjd->bhij", "torch.matmul(a, b.mT)"),
    ("b h i j, b h j d -> b h i d", "torch.matmul(a, b)"),
    ("XYij,XYjk->XYik", "torch.matmul(a, b)"),
    ("ij,jk->ik", "torch.matmul(a, b)"),
    ("ij,jk", "torch.matmul(a, b)"),
    ("ij,kj", "torch.matmul(a, b.mT)"),
    ("kj,ji", "torch.matmul(b.mT, a.mT)"),
    ("iY,Xi", "torch.matmul(b, a)"),
    ("ji,jk->ik", "torch.matmul(a.mT, b)"),
    ("ij,kj->ik", "torch.matmul(a, b.mT)"),
    ("ij,kj->ki", "torch.matmul(b, a.mT)"),
    ("ij,j->i", "torch.matmul(a, b)"),
    ("ji,j->i", "torch.matmul(a.mT, b)"),
    ("j,ij->i", "torch.matmul(b, a)"),
    ("j,ji->i", "torch.matmul(a, b)"),
    ("bij,j->bi", "torch.matmul(a, b)"),
    ("bji,j->bi", "torch.matmul(a.mT, b)"),
    ("j,bjk->bk", "torch.matmul(a, b)"),
    ("bti,oi->bto", "F.linear(a, b)"),
    ("oi,bti->bto", "F.linear(b, a)"),
    ("bhti,oi->bhto", "F.linear(a, b)"),
    ("bti,io->bto", "torch.matmul(a, b)"),
    ("bit,io->bto", "torch.matmul(a.mT, b)"),
    ("bit,oi->bto", "torch.matmul(a.mT, b.mT)"),
    ("ij,bjk->bik", "torch.matmul(a, b)"),
    ("bij,hbjk->hbik", "torch.matmul(a, b)"),
    ("hbij,bkj->hbik", "torch.matmul(a, b.mT)"),
    ("...i,oi->...o", "F.linear(a, b)"),
    ("...i, o i -> ... o", "F.linear(a, b)"),
    ("...i,io->...o", "torch.matmul(a, b)"),
    ("...ij,...jk->...ik", "torch.matmul(a, b)"),
    ("...ij,...kj->...ik", "torch.matmul(a, b.mT)"),
    ("...ij,...jk", "torch.matmul(a, b)"),
    ("...ji,jk->...ik", "torch.matmul(a.mT, b)"),
    ("...hij,hjk->...hik", "torch.matmul(a, b)"),
    ("...j,j->...", "torch.matmul(a, b)"),
    ("i,i->", "torch.matmul(a, b)"),
    ("i,i", "torch.matmul(a, b)"),
    ("i,j->ij", "torch.outer(a, b)"),
    ("i,j->ji", "torch.outer(b, a)"),
    ("i,j", "torch.outer(a, b)"),
    ("ij->ji", "a.transpose(0, 1)"),
    ("ji", "a.transpose(0, 1)"),
    ("bhij->bihj", "a.transpose(1, 2)"),
    ("bijk->bkij", "a.permute(0, 3, 1, 2)"),
    ("...ij->...ji", "a.transpose(-2, -1)"),
    ("bij->bi", "a.sum(-1)"),
    ("bij->bj", "a.sum(1)"),
    ("bij->b", "a.sum((1, 2))"),
    ("bij->", "a.sum()"),
    ("...ij->...j", "a.sum(-2)"),
]


@pytest.mark.parametrize(("equation", "call"), EQUATIONS, ids=[equation for equation, _ in EQUATIONS])
def test_equations(equation: str, call: str) -> None:
    text = of(equation)
    result = equivalent(text, operands(equation), codes=frozenset({CODE}), tolerance=REORDERED)
    assert [finding.code for finding in result.applied] == [CODE]
    assert returned(result.text) == call
    if "..." in equation:
        for dots in ((), (4,)):
            equivalent(text, operands(equation, dots=dots), codes=frozenset({CODE}), tolerance=REORDERED)


BATCHES = [one for one, call in EQUATIONS if "," in one and "->" in one and "outer" not in call]


@pytest.mark.parametrize("equation", BATCHES)
def test_batches_of_one_broadcast_alike(equation: str) -> None:
    left, _, right = equation.replace(" ", "").partition("->")
    first, second = left.split(",")
    shared = "".join(one for one in second if one in first and one in right)
    given = operands(equation, dots=(1, 2) if "..." in equation else (), ones=shared)
    equivalent(of(equation), given, codes=frozenset({CODE}), tolerance=REORDERED)


def test_every_plain_equation_of_three_letters() -> None:
    """All equations of two operands over three letters: whatever is offered computes the same."""
    terms = ["".join(one) for size in (1, 2, 3) for one in itertools.permutations("ijk", size)]
    results = ["".join(one) for size in (0, 1, 2) for one in itertools.permutations("ijk", size)]
    equations = [
        f"{a},{b}->{c}" for a, b, c in itertools.product(terms, terms, results) if set(c) <= {*a, *b} and len(a + b) < 5
    ]
    lines = [f"def f{at}(a, b):\n    return torch.einsum({one!r}, a, b)\n" for at, one in enumerate(equations)]
    head = "import torch\nimport torch.nn.functional as F\n\n\n"
    text = head + "\n\n".join(lines)
    analysis = Analysis(text, codes=frozenset({CODE}))
    edits = [edit for one in analysis.findings if (fix := analysis.fix(one)) is not None for edit in fix.edits]
    after = text
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        after = after[: edit.start] + edit.content + after[edit.end :]
    with executed(text) as old, executed(after) as new:
        for at, equation in enumerate(equations):
            given = operands(equation)
            torch.testing.assert_close(getattr(new, f"f{at}")(*given), getattr(old, f"f{at}")(*given))
    assert len(edits) > 60


SPELLINGS = [
    ("a list", "return torch.einsum('ij,jk->ik', [a, b])"),
    ("a tuple", "return torch.einsum('ij,jk->ik', (a, b))"),
    ("an equation with a name", "eq = 'ij,jk->ik'\nreturn torch.einsum(eq, a, b)"),
    ("pieces", "return torch.einsum('ij,' 'jk->ik', a, b)"),
    ("a part of a sum", "return 1 + torch.einsum('ij,jk->ik', a, b) ** 2"),
    ("a method behind it", "return torch.einsum('ij,jk->ik', a, b).relu()"),
    ("an operator as operand", "return torch.einsum('ij,kj->ik', a + 1, -b.mT)"),
    ("over lines", "return torch.einsum(\n    'ij,jk->ik',\n    a,  # the rows\n    b,\n)"),
    ("a call in the swapped place", "return torch.einsum('jk,ij->ik', b, torch.relu(a))"),
    ("in a branch", "if a.sum() > 0:\n    return torch.einsum('ij,jk->ik', a, b)\nreturn torch.einsum('ij,jk->ik', -a, b)"),
    ("a product then softmax alone", "return torch.einsum('ij,jk->ik', a, b).softmax(-1)"),
    ("log-softmax behind it", "return torch.log_softmax(torch.einsum('ij,jk->ik', a, b), -1) @ b.mT"),
    ("a size of it is read", "y = torch.einsum('ij,jk->ik', a, b)\nreturn a.view(y.shape[0], -1).softmax(-1) @ b"),
    ("a softmax long before", "w = torch.softmax(a, 1) @ b\nreturn torch.einsum('ij,kj->ik', w, b)"),
]  # fmt: skip


@pytest.mark.parametrize("body", [body for _, body in SPELLINGS], ids=[id for id, _ in SPELLINGS])
def test_spellings(body: str) -> None:
    result = equivalent(function(body), ((3, 4), (4, 5)), codes=frozenset({CODE}), tolerance=REORDERED)
    assert {finding.code for finding in result.applied} == {CODE}
    assert "einsum" not in result.text


def test_the_import_of_the_function_is_found() -> None:
    text = function("return es('bti,oi->bto', a, b)", head="from torch import einsum as es\n")
    result = equivalent(text, ((2, 3, 4), (5, 4)), codes=frozenset({CODE}))
    assert returned(result.text) == "F.linear(a, b)"
    assert "import torch.nn.functional as F\n" in result.text or "from torch.nn import functional as F" in result.text


def test_a_local_name_does_not_stand_for_torch() -> None:
    text = function("def einsum(e, x, y):\n    return x - y\nreturn einsum('ij,ij->ij', a, b)")
    assert refused(text, CODE) == []


SHOWN = [
    ("the same size", "n, d = a.shape\nk = b.view(-1, d)\nq = a.view(n, d)\nreturn torch.einsum('id,jd->ij', q, k)"),
    ("through a transposition", "n, d = a.shape\nk = b.reshape(5, d).transpose(0, 1)\nreturn torch.einsum('id,dj->ij', a.reshape(n, d), k)"),
    ("one tensor", "return torch.einsum('id,jd->ij', a, a)"),
    ("numbers", "return torch.einsum('id,jd->ij', a.view(-1, 4), b.view(-1, 4))"),
    ("an outer product", "return torch.einsum('i,j->ij', a[0], b[0])"),
    ("a transposition", "return torch.einsum('ij->ji', a)"),
    ("a sum", "return torch.einsum('ij->i', a)"),
]  # fmt: skip


@pytest.mark.parametrize("body", [body for _, body in SHOWN], ids=[id for id, _ in SHOWN])
def test_exact_where_no_size_of_one_can_be_broadcast(body: str) -> None:
    assert [finding.safety for finding in Analysis(function(body)).findings] == [Safety.EXACT]
    equivalent(function(body), ((3, 4), (5, 4)), codes=frozenset({CODE}))


NOT_SHOWN = [
    ("parameters", "return torch.einsum('id,jd->ij', a, b)"),
    ("whatever is left", "return torch.einsum('id,jd->ij', a.view(3, -1), b.view(5, -1))"),
    ("a number and something", "return torch.einsum('id,jd->ij', a.view(3, 4), b)"),
    ("numbers that may be one", "return torch.einsum('id,jd->ij', a.view(-1, 1), b.view(-1, 4))"),
    ("another dimension", "return torch.einsum('id,dj->ij', a, a)"),
    ("two sizes", "n, d = a.shape\nm, e = b.shape\nreturn torch.einsum('id,jd->ij', a.view(n, d), b.view(m, e))"),
]  # fmt: skip


@pytest.mark.parametrize("body", [body for _, body in NOT_SHOWN], ids=[id for id, _ in NOT_SHOWN])
def test_numerics_where_one_may_be_broadcast(body: str) -> None:
    (found,) = Analysis(function(body)).findings
    assert found.safety is Safety.NUMERICS
    assert "size one is not broadcast" in found.title


HEADS = """\
self.q = nn.Linear(16, 16)
self.k = nn.Linear(16, 16)
self.head_dim = 4
"""


def test_heads_of_one_size_are_exact() -> None:
    text = module(
        HEADS,
        "B, T, C = x.shape\nq = self.q(x).view(B, T, -1, self.head_dim).transpose(1, 2)\n"
        "k = self.k(x).view(B, T, -1, self.head_dim).transpose(1, 2)\n"
        'return torch.einsum("bhid,bhjd->bhij", q, k)',
    )
    assert [one.safety for one in Analysis(text, codes=frozenset({CODE})).findings] == [Safety.EXACT]
    equivalent(text, ((2, 5, 16),), codes=frozenset({CODE}), deep=False)


def test_widths_of_linears_are_numbers() -> None:
    text = module(HEADS, 'return torch.einsum("bid,bjd->bij", self.q(x), self.k(x))')
    assert [one.safety for one in Analysis(text, codes=frozenset({CODE})).findings] == [Safety.EXACT]
    equivalent(text, ((2, 5, 16),), codes=frozenset({CODE}), deep=False)


REFUSED = [
    ("a diagonal", of("ii->i"), "twice"),
    ("a trace", of("ii"), "twice"),
    ("a batch of diagonals", of("bii->bi"), "twice"),
    ("a diagonal in a product", of("iji,jk->ik"), "twice"),
    ("the same order", of("ij->ij"), "nothing but the tensor object"),
    ("a turned sum", of("bij->ib"), "another order"),
    ("dots moved", of("...ij->ij..."), "ellipsis"),
    ("dots summed", of("...ij->ij"), "ellipsis"),
    ("heads in between", of("bihd,bjhd->bhij"), "another order"),
    ("heads come out in between", of("bhid,bhjd->bihj"), "another order"),
    ("the weighted sum, heads out in between", of("bhij,bjhd->bihd"), "another order"),
    ("a convolution's weight", of("bchw,oc->bohw"), "another order"),
    ("batches crossed", of("bhij,hbjk->bhik"), "another order"),
    ("different batches", of("bij,hjk->bhik"), "another order"),
    ("a batch in the middle", of("ibj,bjk->ibk"), "another order"),
    ("a vector before dots", of("j,j...->..."), "another order"),
    ("dots at the end", of("ij...,jk...->ik..."), "another order"),
    ("dots against a letter", of("...ij,bjk->...bik"), "another order"),
    ("a batch of dot products", of("bi,bi->b"), "added"),
    ("a batch of rows", of("bj,bjk->bk"), "added"),
    ("a batch of columns", of("bij,bj->bi"), "added"),
    ("a batch of outer products", of("bi,bj->bij"), "nothing is summed"),
    ("elements", of("ij,ij->ij"), "nothing is summed"),
    ("a scale", of("bij,j->bij"), "nothing is summed"),
    ("one vector twice", of("i,i->i"), "nothing is summed"),
    ("two letters", of("bij,kij->bk"), "several"),
    ("all letters", of("ij,ij->"), "several"),
    ("a sum in the first alone", of("bij,jk->bk"), "one operand alone"),
    ("a sum in the second alone", of("ij,jkb->ik"), "one operand alone"),
    ("random numbers", function("return torch.einsum('jk,ij->ik', torch.dropout(a, 0.5, True), torch.rand_like(b))"), "the other order"),
    ("a name bound inside", function("return torch.einsum('jk,ij->ik', (c := a), b)"), "the other order"),
    ("a call that may set what is read", module("self.w = nn.Parameter(torch.randn(4, 5))", "return torch.einsum('jk,ij->ik', self.w, self.turn(x))"), "the other order"),
    ("written to behind it", function("y = torch.einsum('ij,jk->ik', a, b)\na += 1\nreturn y"), "written to in place"),
    ("torch under a condition", function("return torch.einsum('ij,jk->ik', a, b)", head="if True:\n    import torch\n"), "under a condition"),
    ("torch inside", function("import torch\nreturn torch.einsum('ij,jk->ik', a, b)", head='"""torch, where it is there."""\n'), "inside a function"),
    ("a test", "import torch\n\n\ndef test_product(a, b):\n    assert torch.equal(a @ b, torch.einsum('ij,jk->ik', a, b))\n", "test"),
    ("a gradient by hand", "import torch\n\n\nclass P(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, a, b):\n        return torch.einsum('ij,jk->ik', a, b)\n", "autograd function"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(text: str, reason: str) -> None:
    assert any(reason in why for why in refused(text, CODE)), refused(text, CODE)


ATTENTION = [
    ("plain", "s = torch.einsum('bid,bjd->bij', q, k) / 4\nreturn torch.einsum('bij,bjd->bid', s.softmax(-1), v)"),
    ("a mask between", "s = torch.einsum('bid,bjd->bij', q, k)\ns = s.masked_fill(m, -1e9)\np = F.softmax(s, dim=-1)\nreturn torch.einsum('bij,bjd->bid', p, v)"),
    ("scores alone", "s = torch.einsum('bid,bjd->bij', q, k)\nreturn s.softmax(-1) @ v"),
    ("a sum alone", "p = F.dropout(torch.softmax(q @ k.mT, -1), 0.1)\nreturn torch.einsum('bij,bjd->bid', p, v)"),
    ("a mask that may be none", "s = torch.einsum('bid,bjd->bij', q, k)\nif m is not None:\n    s = s + m\nreturn s.softmax(-1) @ v"),
    ("another softmax", "s = torch.einsum('bid,bjd->bij', q, k)\nreturn masked_softmax(s, m) @ v"),
]  # fmt: skip


@pytest.mark.parametrize("body", [body for _, body in ATTENTION], ids=[id for id, _ in ATTENTION])
def test_attention_is_one_call_as_a_whole(body: str) -> None:
    text = function(body, "q, k, v, m")
    found = refused(text, CODE)
    assert found
    assert all("attention" in why for why in found)


NOTHING = [
    ("three operands", of("ij,jk,kl->il")),
    ("as many operands as somebody gives", function("return torch.einsum('ij,jk->ik', *ab)", "*ab")),
    ("a list with a name", function("return torch.einsum('ij,jk->ik', ab)", "ab")),
    ("worked out", function("return torch.einsum(f'{a}j,jk->ik', a, b)")),
    ("given", function("return torch.einsum(e, a, b)", "e, a, b")),
    ("sublists", function("return torch.einsum(a, [0, 1], b, [1, 2], [0, 2])")),
    ("numpy's", function("return torch.tensor(np.einsum('ij,jk->ik', a, b))", head="import numpy as np\nimport torch\n")),
    ("einops'", function("return einsum(a, b, 'i j, j k -> i k')", head="import torch\nfrom einops import einsum\n")),
    ("jax's", function("return jnp.einsum('ij,jk->ik', a, b)", head="import jax.numpy as jnp\nimport torch\n")),
    ("opt_einsum's", function("return contract('ij,jk->ik', a, b)", head="import torch\nfrom opt_einsum import contract\n")),
    ("a letter out of nowhere", of("ij,jk->iz")),
    ("a letter that comes out twice", of("ij,jk->iki")),
    ("no letters", of("i1,1k->ik")),
    ("one operand too few", function("return torch.einsum('ij,jk->ik', a)", "a")),
    ("another function of that name", function("return self.einsum('ij,jk->ik', a, b)", "self, a, b")),
]  # fmt: skip


@pytest.mark.parametrize("text", [text for _, text in NOTHING], ids=[id for id, _ in NOTHING])
def test_no_candidate(text: str) -> None:
    assert refused(text, CODE) == []


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,kj->ik", "i,i->", "ij,j->i"])
def test_dtypes_are_kept_under_autocast(equation: str) -> None:
    text = of(equation)
    after = rewritten(text, codes=frozenset({CODE})).text
    given = [one.float() for one in operands(equation)]
    with executed(text) as old, executed(after) as new, torch.autocast("cpu", dtype=torch.bfloat16):
        assert new.f(*given).dtype is old.f(*given).dtype


def test_the_rows_of_a_table_are_looked_up_rather_than_multiplied() -> None:
    inputs: Inputs = (torch.tensor([[3, 0, 9], [1, 1, 5]]),)
    text = module(
        "self.w = nn.Parameter(torch.randn(10, 4))",
        'return torch.einsum("btn,nd->btd", F.one_hot(i, 10).double(), self.w)',
        arguments="self, i",
    )
    result = equivalent(text, inputs, deep=False)
    assert [finding.code for finding in result.applied] == ["FUS601"]
