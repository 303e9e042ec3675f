"""The engine of the expressions: what a pattern finds in a file, what is refused, and how much work that takes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fuselight.analysis import Analysis
from fuselight.fusions import needs
from fuselight.fusions.base import Match
from fuselight.fusions.expression import Expression, Index
from fuselight.fusions.model import Fix, Safety
from fuselight.fusions.site import Rewrite
from fuselight.rewrite import render

HEAD = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"


def made(*rewrites: Rewrite, hints: tuple[str, ...] = ()) -> Index:
    """The index of a fusion of these rewrites."""
    fields = {"code": "TEST", "name": "test", "rewrites": rewrites, "hints": hints}
    return Index((type("Tested", (Expression,), fields),))


def found(index: Index, text: str) -> tuple[list[Match], list[str]]:
    """The matches in `text`, and the text with each that is not refused carried out alone."""
    analysis = Analysis(text, codes=frozenset())
    module = analysis._module  # pyright: ignore[reportPrivateUsage]
    matches = [
        match
        for statement in module.statements
        for scope in module.scopes(statement)
        for match in index.matches(module, scope)
    ]
    texts = [Fix("", render(one, module, text, 88)).apply(text) for one in matches if one.refused is None]
    return matches, texts


GELU = made(Rewrite("0.5 * x * (1 + erf(x / sqrt(2)))", "gelu(x)"))
LOG_SOFTMAX = made(Rewrite("log(softmax(x, dim=d))", "log_softmax(x, dim=d)", integers=("d",)))
SHARED = made(Rewrite("log(softmax(x, dim=d))", "log_softmax(x, dim=d)", integers=("d",), shared=True))
NORM = made(
    Rewrite(
        "w * x / sqrt(mean(x ** 2, dim=-1, keepdim=True) + eps)",
        "rms_norm(x, x.shape[-1:], w, eps)",
        scalars=("eps",),
    )
)
GLU = made(
    Rewrite("item(chunk(x, 2, dim=d), 0) * sigmoid(item(chunk(x, 2, dim=d), 1))", "glu(x, dim=d)", integers=("d",))
)
LERP = made(Rewrite("(1 - w) * a + w * b", "lerp(a, b, w)", needs=(needs.tensor("a", "b"),)), hints=("-",))


@dataclass(frozen=True)
class Case:
    """A body of `f`, and what it becomes."""

    index: Index
    body: str
    after: str
    arguments: str = "x"
    before: str = ""


CASES = {
    "as it is": Case(GELU, "return 0.5 * x * (1 + torch.erf(x / math.sqrt(2.0)))", "return F.gelu(x)"),
    "factors in another order": Case(GELU, "return (torch.erf(x / 2 ** 0.5) + 1) * x / 2", "return F.gelu(x)"),
    "methods": Case(GELU, "return x.mul(0.5).mul(torch.erf(x * 0.7071067811865476).add(1))", "return F.gelu(x)"),
    "a local variable": Case(
        GELU, "cdf = 0.5 * (1.0 + torch.erf(x / math.sqrt(2)))\n    return x * cdf", "return F.gelu(x)"
    ),
    "comments stay": Case(
        GELU,
        "# the normal distribution\n    cdf = 0.5 * (1.0 + torch.erf(x / math.sqrt(2)))\n    return x * cdf  # done",
        "# the normal distribution\n    return F.gelu(x)  # done",
    ),
    "a scaled sum": Case(GELU, "return x * (0.5 + 0.5 * torch.erf(x / math.sqrt(2)))", "return F.gelu(x)"),
    "a constant of the module": Case(
        GELU, "return 0.5 * x * (1 + torch.erf(x * ROOT))", "return F.gelu(x)", before="ROOT = 1 / math.sqrt(2)\n\n\n"
    ),
    "a constant tensor": Case(
        GELU, "return 0.5 * x * (1 + torch.erf(x / torch.sqrt(torch.tensor(2.0))))", "return F.gelu(x)"
    ),
    "an operand computed on the way": Case(
        GELU, "return 0.5 * x[:, 0] * (1 + torch.erf(x[:, 0] / math.sqrt(2)))", "return F.gelu(x[:, 0])"
    ),
    "an operator around": Case(
        GELU, "return -(0.5 * x * (1 + torch.erf(x / math.sqrt(2)))).sum()", "return -F.gelu(x).sum()"
    ),
    "by position": Case(LOG_SOFTMAX, "return torch.log(x.softmax(-1))", "return torch.log_softmax(x, dim=-1)"),
    "by keyword": Case(LOG_SOFTMAX, "return F.softmax(x, dim=1).log()", "return torch.log_softmax(x, dim=1)"),
    "an absent argument": Case(LOG_SOFTMAX, "return F.softmax(x).log()", "return torch.log_softmax(x)"),
    "the input's name bound anew": Case(
        LOG_SOFTMAX, "x = F.softmax(x, 1)\n    return x.log()", "return torch.log_softmax(x, dim=1)"
    ),
    "an operand that moves": Case(
        LOG_SOFTMAX, "p = F.softmax(x @ w, 1)\n    return p.log()", "return torch.log_softmax(x @ w, dim=1)", "x, w"
    ),
    "a part that is used again stays": Case(
        SHARED,
        "p = F.softmax(x, dim=1)\n    return torch.log(p), p",
        "p = F.softmax(x, dim=1)\n    return torch.log_softmax(x, dim=1), p",
    ),
    "several statements": Case(
        NORM,
        "v = x.pow(2).mean(-1, keepdim=True)\n    x = x * torch.rsqrt(v + eps)\n    return w * x",
        "return F.rms_norm(x, x.shape[-1:], w, eps)",
        "x, w, eps=1e-6",
    ),
    "a number in the place of a scalar": Case(
        NORM,
        "return w * (x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + 1e-6))",
        "return F.rms_norm(x, x.shape[-1:], w, 1e-6)",
        "x, w",
    ),
    "a tuple unpacked": Case(
        GLU, "a, b = x.chunk(2, dim=-1)\n    return a * torch.sigmoid(b)", "return F.glu(x, dim=-1)"
    ),
    "a tuple indexed": Case(
        GLU, "h = torch.chunk(x, 2, 1)\n    return h[1].sigmoid() * h[0]", "return F.glu(x, dim=1)"
    ),
    "operators alone": Case(
        LERP, "return (1 - w) * a.exp() + w * b.exp()", "return torch.lerp(a.exp(), b.exp(), w)", "a, b, w"
    ),
}  # fmt: skip


def program(case: Case, body: str) -> str:
    return f"{HEAD}{case.before}def f({case.arguments}):\n    {body}\n"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_found(case: Case) -> None:
    matches, texts = found(case.index, program(case, case.body))
    assert program(case, case.after) in texts, [texts, [one.refused for one in matches]]


REFUSED = {
    "another constant": (GELU, "return 0.5 * x * (1 + torch.erf(x / 2))", None),
    "another factor": (GELU, "return 0.4 * x * (1 + torch.erf(x / math.sqrt(2)))", None),
    "another input": (GELU, "return 0.5 * x * (1 + torch.erf(y / math.sqrt(2)))", None),
    "a constant bound twice": (GELU, "return 0.5 * x * (1 + torch.erf(x * TWICE))", None),
    "an option more": (LOG_SOFTMAX, "return F.softmax(x, 1, dtype=torch.float32).log()", None),
    "used again": (LOG_SOFTMAX, "p = F.softmax(x, 1)\n    return p.log() + p", "used again"),
    "returned as well": (LOG_SOFTMAX, "p = F.softmax(x, 1)\n    l = p.log()\n    return l, p", "used again"),
    "copied": (LOG_SOFTMAX, "p = F.softmax(x, 1)\n    q = p\n    return p.log(), q", "used again"),
    "captured": (LOG_SOFTMAX, "p = F.softmax(x, 1)\n    g = lambda: p\n    return p.log(), g", "used again"),
    "stored": (LOG_SOFTMAX, "y.p = p = F.softmax(x, 1)\n    return p.log()", ""),
    "written to in between": (
        LOG_SOFTMAX, "p = F.softmax(x, 1)\n    x.add_(1)\n    return p.log()", "changed in between"
    ),
    "the part written to": (LOG_SOFTMAX, "p = F.softmax(x, 1)\n    p.add_(1)\n    return p.log()", ""),
    "bound anew in between": (
        LOG_SOFTMAX,
        "p = F.softmax(x.tanh(), 1)\n    x = y\n    return p.log() + x",
        "not at hand",
    ),
    "left in between": (
        LOG_SOFTMAX, "p = F.softmax(x, 1)\n    if y:\n        return x\n    return p.log()", "may leave"
    ),
    "a branch": (
        LOG_SOFTMAX, "p = F.softmax(x, 1)\n    if y:\n        return p.log()\n    return x", "different branches"
    ),
    "a line shared": (LOG_SOFTMAX, "p = F.softmax(x, 1); y = 1\n    return p.log()", "shares its line"),
    "a name bound inside": (LOG_SOFTMAX, "return torch.log(p := F.softmax(x, 1)) + p", "bound inside"),
    "integers": (GELU, "x = x.long()\n    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))", "integers"),
    "no number": (NORM, "return w * x / torch.sqrt((x * x).mean(-1, keepdim=True) + y)", "is a number"),
    "a call twice": (
        GELU, "return 0.5 * next(x) * (1 + torch.erf(next(x) / math.sqrt(2)))", None
    ),
    "random numbers twice": (
        GELU, "return 0.5 * torch.rand(3) * (1 + torch.erf(torch.rand(3) / math.sqrt(2)))", None
    ),
    "no variable where two are wanted": (
        NORM, "return w * x.exp() / torch.sqrt((x.exp() ** 2).mean(-1, keepdim=True) + 1e-6)", "is no variable"
    ),
    "another tuple": (GLU, "a, b = x.chunk(2, 1)\n    c, d = y.chunk(2, 1)\n    return a * torch.sigmoid(d)", None),
    "the other half": (GLU, "a, b = x.chunk(2, 1)\n    return b * torch.sigmoid(a)", None),
    "a half used again": (GLU, "a, b = x.chunk(2, 1)\n    return a * torch.sigmoid(b) + b", "used again"),
    "three chunks": (GLU, "a, b, c = x.chunk(3, 1)\n    return a * torch.sigmoid(b)", None),
}  # fmt: skip


@pytest.mark.parametrize(("index", "body", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(index: Index, body: str, reason: str | None) -> None:
    text = f"{HEAD}TWICE = 1 / math.sqrt(2)\nTWICE = TWICE * 1\n\n\ndef f(x, y, w):\n    {body}\n"
    matches, texts = found(index, text)
    assert not texts, texts
    if reason is None:
        assert not matches
    else:
        assert any(one.refused is not None and reason in one.refused.reason for one in matches), matches


def test_numpy_is_no_torch() -> None:
    index = made(Rewrite("x - mean(x)", "relu(x)"))
    body = "def f(x):\n    return x - x.mean()\n"
    assert found(index, HEAD + body)[1]
    matches, texts = found(index, "import numpy as np\n" + HEAD + body)
    assert not texts
    assert matches[0].refused is not None
    assert "numpy" in matches[0].refused.reason
    assert found(index, "import numpy as np\n" + HEAD + "def f(x):\n    x = torch.exp(x)\n    return x - x.mean()\n")[1]


def test_the_first_rewrite_that_fits_wins_and_assumptions_are_told() -> None:
    index = made(
        Rewrite("exp(x) - 1", "expm1(x)", needs=(needs.rank("x", 2),)),
        Rewrite(
            "exp(x) - 1", "expm1(x)", Safety.NUMERICS, "more digits", needs=(needs.rank("x", 1, otherwise="x is flat"),)
        ),
    )
    matches, _ = found(index, HEAD + "def f(x):\n    return torch.exp(x) - 1\n")
    assert [(one.safety, one.title) for one in matches] == [
        (Safety.NUMERICS, "Replace `torch.exp(x) - 1` by one call of expm1 (numerics: more digits; x is flat)")
    ]
    matches, _ = found(index, HEAD + "def f(x, w):\n    x = torch.mm(x, w)\n    return torch.exp(x) - 1\n")
    assert [one.safety for one in matches] == [Safety.EXACT]


def test_work_does_not_grow_with_patterns_of_other_kinds() -> None:
    text = HEAD + "".join(
        f"def f{n}(x):\n    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))\n\n\n" for n in range(20)
    )
    mine = Rewrite("0.5 * x * (1 + erf(x / sqrt(2)))", "gelu(x)")
    others = [
        Rewrite(f"x * {kind}(x + {n})", "gelu(x)") for kind in ("cos", "sin", "tan", "log2", "exp2") for n in range(80)
    ]
    few, many = made(mine), made(mine, *others)
    assert found(few, text)[1] == found(many, text)[1]
    assert many.tried == few.tried <= 20 * 3, (few.tried, many.tried)


@pytest.mark.parametrize(
    ("body", "is_tried"),
    [("a * w + b", False), ("a * w + b * w", False), ("(1 - w) * a + w * b", True), ("a * w + b * (w - a)", True)],
)
def test_a_sum_in_a_sum_is_tried_where_there_are_two(body: str, is_tried: bool) -> None:
    index = made(Rewrite("(1 - w) * a + w * b", "lerp(a, b, w)"))
    matches, _ = found(index, f"{HEAD}def f(a, b, w):\n    return {body}\n")
    assert (index.tried > 0) is is_tried
    assert bool(matches) is (body == "(1 - w) * a + w * b")


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    import torch\n    return x * torch.sigmoid(x)\n",
        "import available\n\nif available.torch:\n    import torch\n\n\ndef f(x):\n    return x * torch.sigmoid(x)\n",
    ],
)
def test_a_file_that_can_do_without_torch_gets_no_edit(text: str) -> None:
    """An edit may need an import of its own, which would stand outside the condition."""
    analysis = Analysis(text)
    (finding,) = analysis.findings
    assert finding.withheld is not None
    assert "only under a condition" in finding.withheld
    assert analysis.fix(finding) is None


SILU = made(Rewrite("x * sigmoid(x)", "silu(x)"))
SOFTMAX = made(Rewrite("exp(x) / sum(exp(x), dim=d, keepdim=True)", "softmax(x, dim=d)", integers=("d",)))
SOFTPLUS = made(Rewrite("log(1 + exp(x))", "softplus(x)"))
TURNED = made(Rewrite("1 - sigmoid(x)", "sigmoid(-x)"))

ELSEWHERE = {
    "read behind a break": (
        SILU,
        "def f(x, y):\n    s = y\n    for i in range(3):\n        if i == 1:\n            s = torch.sigmoid(x)\n"
        "            y = x * s\n            break\n    return y, s\n",
        "is used again",
    ),
    "read in the turn behind a continue": (
        SILU,
        "def f(x, y):\n    s = y\n    for i in range(3):\n        z = y + s\n        s = torch.sigmoid(x)\n"
        "        w = x * s\n        if i == 1:\n            continue\n        s = y\n    return z + w\n",
        "is used again",
    ),
    "a part without gradients": (
        SHARED,
        "def f(x):\n    with torch.no_grad():\n        p = torch.softmax(x, 1)\n    return torch.log(p), p.argmax(1)\n",
        "different `with`",
    ),
    "gradients asked for in between": (
        SILU,
        "def f(x):\n    x = x.detach()\n    s = torch.sigmoid(x)\n    x.requires_grad = True\n    return x * s\n",
        "its input may be changed",
    ),
    "a property": (
        SILU,
        "class M:\n    @property\n    def h(self):\n        return torch.randn(3)\n\n"
        "    def f(self):\n        return self.h * torch.sigmoid(self.h)\n",
        None,
    ),
    "attributes that are computed": (
        SILU,
        "class M:\n    def __getattr__(self, name):\n        return torch.randn(3)\n\n"
        "    def f(self):\n        return self.h * torch.sigmoid(self.h)\n",
        None,
    ),
    "a global name bound anew": (
        SILU,
        "G = torch.ones(3)\n\n\ndef up():\n    global G\n    G = G + 1\n\n\n"
        "def f():\n    s = torch.sigmoid(G)\n    up()\n    return G * s\n",
        None,
    ),
    "in a text": (SILU, 'def f(x):\n    return f"{x * torch.sigmoid(x)}"\n', "stands in a text"),
    "a comment in its operand": (
        TURNED,
        "def f(x, y):\n    return 1 - torch.sigmoid(\n        x  # one\n        + y\n    )\n",
        "a comment",
    ),
    "the result written to, which is kept now": (
        SOFTMAX,
        "def f(x):\n    p = torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)\n    p += 1e-8\n    return p\n",
        "is written to in place behind it",
    ),
    "an element of the result": (
        TURNED,
        "def f(x):\n    p = 1 - torch.sigmoid(x)\n    p[:, 0] = 0\n    return p\n",
        "is written to in place behind it",
    ),
    "the input written to, which is kept now": (
        SOFTPLUS,
        "def f(x):\n    y = torch.log(1 + torch.exp(x))\n    x += 1\n    return y, x\n",
        "is written to in place behind it",
    ),
    "truth values": (TURNED, "def f(x):\n    b = x > 0\n    return 1 - torch.sigmoid(b)\n", "integers"),
}


@pytest.mark.parametrize(("index", "text", "reason"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_stands_around_speaks_against_it(index: Index, text: str, reason: str | None) -> None:
    matches, texts = found(index, HEAD + text)
    assert texts == []
    assert reason is None or any(one.refused is not None and reason in one.refused.reason for one in matches)


STILL_FOUND = {
    "the input kept before, too": (SILU, "def f(x):\n    y = x * torch.sigmoid(x)\n    x += 1\n    return y\n"),
    "another name written to": (
        SOFTPLUS,
        "def f(x, n):\n    y = torch.log(1 + torch.exp(x))\n    n += 1\n    return y\n",
    ),
    "a count in the loop": (
        SOFTPLUS,
        "def f(xs):\n    n = 0\n    for x in xs:\n        y = torch.log(1 + torch.exp(x))\n        n += 1\n"
        "    return y, n\n",
    ),
    "a comment in brackets of its operand": (
        TURNED,
        "def f(x, y):\n    return 1 - torch.sigmoid(\n        torch.add(  # one\n            x, y\n        )\n    )\n",
    ),
}


@pytest.mark.parametrize(("index", "text"), STILL_FOUND.values(), ids=STILL_FOUND.keys())
def test_what_stands_around_does_not_matter(index: Index, text: str) -> None:
    _, texts = found(index, HEAD + text)
    assert len(texts) == 1


MOVED = {
    "an effect past another": (
        LOG_SOFTMAX,
        "def g(x):\n    print('g')\n    return x\n\n\n"
        "def f(x):\n    p = torch.softmax(g(x), 1)\n    print('between')\n    return torch.log(p)\n",
        "is not at hand",
    ),
    "a write past a read": (
        LOG_SOFTMAX,
        "def f(x):\n    p = torch.softmax(x.add_(1), 1)\n    w = x * 2\n    return torch.log(p), w\n",
        "is not at hand",
    ),
    "a layer past its parameters": (
        LOG_SOFTMAX,
        "class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = nn.Linear(3, 3)\n"
        "        self.b = nn.Linear(3, 3)\n\n    def forward(self, x):\n        p = torch.softmax(self.a(x), 1)\n"
        "        self.a.weight = self.b.weight\n        return torch.log(p)\n",
        "is not at hand",
    ),
    "the gradient of a part": (
        SHARED,
        "def f(x):\n    p = torch.softmax(x, 1)\n    y = torch.log(p)\n    return torch.autograd.grad(y.sum(), p)\n",
        "its gradient may be asked for",
    ),
}


@pytest.mark.parametrize(("index", "text", "reason"), MOVED.values(), ids=MOVED.keys())
def test_operands_that_cannot_be_moved(index: Index, text: str, reason: str) -> None:
    matches, texts = found(index, HEAD + text)
    assert texts == []
    assert any(one.refused is not None and reason in one.refused.reason for one in matches)


DRAWN = (
    "F.dropout(x)", "torch.rand(3)", "F.fractional_max_pool2d(x, 2, 2)", "torch.binomial(x, x)",
    "F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)",
)  # fmt: skip


@pytest.mark.parametrize("drawn", DRAWN)
def test_two_draws_are_never_the_same(drawn: str) -> None:
    matches, _ = found(SILU, f"{HEAD}def f(x):\n    return {drawn} * torch.sigmoid({drawn})\n")
    assert matches == []


OF_INTEGERS = (
    *("x.to(torch.int64)", "x.argsort(-1)", "x.topk(2)[1]", "x.max(1).indices", "(x > 0).sum(1)", "x + 1j * x"),
    *("torch.tensor([1, 2])", "torch.full((6,), 3)", "torch.LongTensor([1])", "x.to(torch.complex64)", "x > 0"),
    *("torch.cumsum(torch.ones(6, dtype=torch.long), 0)", "torch.as_tensor([[1], [2]])", "x.isnan()"),
)


@pytest.mark.parametrize("made_so", OF_INTEGERS)
def test_integers_and_complex_numbers(made_so: str) -> None:
    matches, texts = found(SILU, f"{HEAD}def f(x):\n    s = {made_so}\n    return s * torch.sigmoid(s)\n")
    assert texts == []
    assert any(one.refused is not None and "of integers" in one.refused.reason for one in matches)


@pytest.mark.parametrize(
    "made_so", ["x.long().float()", "x.to(torch.float64)", "torch.tensor([1.0, 2])", "x * 2", "x.max(1)[0]"]
)
def test_floating_numbers(made_so: str) -> None:
    _, texts = found(SILU, f"{HEAD}def f(x):\n    s = {made_so}\n    return s * torch.sigmoid(s)\n")
    assert len(texts) == 1
