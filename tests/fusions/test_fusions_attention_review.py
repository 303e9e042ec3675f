"""FUS301, FUS302: programs that were once rewritten to something else, each with what is wrong about rewriting it."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest
import torch
from test_fusions_attention_by_hand import (
    BTHD,
    DIV,
    END,
    GROUPED,
    KEEP,
    QKV,
    SELF,
    Call,
    calls,
    check_never_wrong,
    f,
    m,
    offered,
    program,
)

from equivalence.attention_runs import fused_calls
from equivalence.attentions import Expected, Program
from equivalence.harness import EVERY_SAFETY, rewritten

CODES = frozenset({"FUS301", "FUS302"})


def refusals(text: str) -> str:
    result = rewritten(text, allow=EVERY_SAFETY, codes=CODES)
    assert not result.applied, result.text
    return " ".join(str(one.refused) for one in result.analysis.refusals)


# -- offers that were wrong, and are none

BIAS: Call = (*QKV, (5, 7))
OPTIONAL = "q, k, v, mask=None"

FUNCTIONS = [
    ("the maximum over the queries", "s = k @ q.mT * 0.3\ns = s - s.amax(-1, keepdim=True)\nreturn s.softmax(-2).mT @ v", QKV, "maximum"),
    ("the maximum over the queries, turned behind", "s = k @ q.mT * 0.3\ns = s - s.amax(-1, keepdim=True)\ns = s.transpose(-1, -2)\nreturn s.softmax(-1) @ v", QKV, "maximum"),
    ("a size of turned scores", "s = k @ q.mT * 0.3\nn = s.size(-1)\nreturn s.mT.softmax(-1) @ v * n", QKV, "used again"),
    ("a size of scores with heads last", "s = torch.einsum('bqhd,bkhd->bqkh', q, k) * 0.3\nn = s.shape[-1]\nw = s.softmax(-2)\nreturn torch.einsum('bqkh,bkhd->bqhd', w, v) * n", BTHD, "used again"),
    ("the dtype of raised scores", "s = (q @ k.mT).float()\nw = s.softmax(-1).to(v.dtype)\nreturn (w @ v).to(s.dtype)", QKV, "used again"),
    ("the dtype of raised weights", "w = (q @ k.mT).softmax(-1, dtype=torch.float32)\nreturn (w.to(v.dtype) @ v).to(w.dtype)", QKV, "used again"),
    ("a summand written to behind", f"{DIV}mask = mask.clone()\nscores = scores + mask\ny = scores.softmax(-1) @ v\nmask.fill_(0)\nreturn y", BIAS, "written to in place behind it"),
    ("a summand written to in the next turn", "x = q\nmask = torch.zeros(5, 5, dtype=q.dtype)\nfor i in range(2):\n    s = x @ k.mT * 0.2 + mask\n    x = s.softmax(-1) @ v\n    mask[i] += 1.0\nreturn x", SELF, "written to in place behind it"),
    ("its memory as another dtype", "y = (q @ k.mT).softmax(-1) @ v\nreturn y.view(torch.int64).view(torch.float64) + q", tuple(torch.randn(2, 4, 5, 8, dtype=torch.float64) for _ in range(3)), "lies in memory"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "call", "reason"), [one[1:] for one in FUNCTIONS], ids=[one[0] for one in FUNCTIONS])
def test_refused(body: str, call: Call, reason: str) -> None:
    text = f(body, "q, k, v, mask" if len(call) == 4 else "q, k, v")
    check_never_wrong(program(text, [call]))
    assert reason in refusals(text)


ON_ONE_LINE = [
    ("a condition", "if mask is not None: scores = scores.masked_fill(mask == 0, -1e9)"),
    ("the other branch", "if mask is None: pass\nelse: scores = scores.masked_fill(mask == 0, -1e9)"),
    ("a condition and another statement", "n = 1\nif mask is not None: n = 2; scores = scores.masked_fill(mask == 0, -1e9)"),
    ("another statement", "n = 1\nif mask is not None:\n    n = 2; scores = scores.masked_fill(mask == 0, -1e9)"),
]  # fmt: skip


@pytest.mark.parametrize("body", [one for _, one in ON_ONE_LINE], ids=[one for one, _ in ON_ONE_LINE])
def test_a_mask_on_the_line_of_its_condition(body: str) -> None:
    text = f(f"{DIV}{body}\n{END}", OPTIONAL)
    check_never_wrong(program(text, [QKV, (*QKV, KEEP.long())]))
    assert "shares its line" in refusals(text)


# -- what others write to

LAYERS = "self.q = nn.Linear(16, 16)\nself.k = nn.Linear(16, 16)\nself.v = nn.Linear(16, 16)\n"
HEADS = "B, T, C = x.shape\nq = self.q(x).view(B, T, 4, 4).transpose(1, 2)\nk = self.k(x).view(B, T, 4, 4).transpose(1, 2)\nv = self.v(x).view(B, T, 4, 4).transpose(1, 2)\n"
CAUSAL = (
    HEADS
    + "s = q @ k.transpose(-2, -1) * 0.5\ns = s.masked_fill(self.mask[:T, :T] == 0, float('-inf'))\nreturn (s.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)"
)
BUFFER = "self.register_buffer('mask', torch.tril(torch.ones(8, 8)))\n"
X: Call = ((2, 5, 16),)

WRITTEN = [
    ("elements", "self.mask[:, :3] = 1", ""),
    ("elements added to", "self.mask[0] += 1", ""),
    ("filled", "self.mask.fill_(1)", ""),
    ("filled by a function", "nn.init.ones_(self.mask)", ""),
    ("copied into", "self.mask.copy_(torch.ones(8, 8))", ""),
    ("its data", "self.mask.data = torch.ones(8, 8)", ""),
    ("under another name", "same = self.mask\nsame[:, :3] = 1", ""),
    ("a view of it", "self.mask.view(-1)[:20] = 1", ""),
    ("the table of buffers", "self._buffers['mask'] = torch.ones(8, 8)", ""),
    ("set by its name", "setattr(self, 'mask', torch.ones(8, 8))", ""),
    ("set by some name", "for name in ('mask',):\n    setattr(self, name, torch.ones(8, 8))", ""),
    ("all buffers", "for one in self.buffers():\n    one.fill_(1)", ""),
    ("in a method", "self.open()", "def open(self):\n    self.mask[:, :3] = 1"),
    ("by a function that is applied", "self.apply(self.open)", "def open(self, one):\n    if hasattr(one, 'mask'):\n        one.mask[:] = 1"),
]  # fmt: skip


def with_methods(init: str, forward: str, methods: str, after: str = "", arguments: str = "x") -> str:
    text = m(init, forward, arguments)
    if methods:
        body = "".join(f"    {line}\n" for line in methods.split("\n"))
        text = text.replace("\n    def forward(", f"\n{body}\n    def forward(")
    return text + after


@pytest.mark.parametrize(("line", "methods"), [one[1:] for one in WRITTEN], ids=[one[0] for one in WRITTEN])
def test_a_causal_buffer_that_is_written_to(line: str, methods: str) -> None:
    text = with_methods(f"{LAYERS}{BUFFER}{line}", CAUSAL, methods)
    check_never_wrong(Program(text, calls(X), Expected.MAYBE, (), 1e-6, dropout=False))


def test_a_causal_buffer_that_nobody_writes_to() -> None:
    methods = "def hides(self, length):\n    return int(self.mask[:length].sum())"
    text = offered(with_methods(LAYERS + BUFFER, CAUSAL, methods), [X], "is_causal=True", 1e-6)
    assert "attn_mask" not in text


def test_a_causal_buffer_of_a_descendant() -> None:
    after = "\n\nclass Open(M):\n    def __init__(self):\n        super().__init__()\n        self.mask = torch.ones(8, 8)\n"
    (call,) = fused_calls(offered(m(LAYERS + BUFFER, CAUSAL, "x") + after, [X], tolerance=1e-6))
    assert "is_causal" not in {one.arg for one in call.keywords}


SWITCHED = [
    "def eval(self):\n    super().eval()\n    for one in self.modules():\n        if isinstance(one, nn.Dropout):\n            one.train()\n    return self",
    "def eval(self):\n    super().eval()\n    for one in self.modules():\n        if one.__class__.__name__.startswith('Dropout'):\n            one.training = True\n    return self",
]


@pytest.mark.parametrize("method", SWITCHED)
def test_dropouts_switched_to_training_mode_alone(method: str) -> None:
    """A layer that drops everything shows whether it does so."""
    text = with_methods(
        "self.drop = nn.Dropout(1.0)", "return self.drop((q @ k.mT).softmax(-1)) @ v", method, "", "q, k, v"
    )
    after = offered(text, [QKV], "dropout_p=self.drop.p if self.drop.training else 0.0")
    assert "self.training" not in after


@pytest.mark.parametrize("training", ["self.training", "not self.training", "self.training or self.always"])
def test_a_share_under_a_condition(training: str) -> None:
    """`a if b else c if training else 0.0` would be another expression."""
    init = "self.some = True\nself.always = False"
    body = f"w = (q @ k.mT).softmax(-1)\nw = F.dropout(w, 1.0 if self.some else 0.5, {training})\nreturn w @ v"
    offered(m(init, body), [QKV], "(1.0 if self.some else 0.5) if ")


def test_a_dropout_in_a_container() -> None:
    init = "self.q = nn.Linear(8, 8)\nself.way = nn.Sequential(nn.Softmax(-1), nn.Dropout(0.0))"
    text = m(init, "q = self.q(q)\nreturn self.way(q @ k.mT * 0.3) @ v")
    check_never_wrong(program(text, [QKV]))


def test_self_bound_anew() -> None:
    body = "w = self.drop((q @ k.mT).softmax(-1))\nself = None\nreturn w @ v"
    check_never_wrong(program(m("self.drop = nn.Dropout(0.0)", body), [QKV]))


# -- how the result lies in memory, and who writes to it

TURNED = "q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)\n"
RESULT = "(q @ k.mT).softmax(-1) @ v"
VIEWED = [
    f"y = {RESULT} + 1.0\nreturn y.view(2, 20, 8)",
    f"y = torch.relu({RESULT})\nreturn y.view(2, 20, 8)",
    f"y = -({RESULT}).clamp(-1, 1)\nz = y.view(2, 20, 8)\nreturn z",
    f"y = []\ny.append({RESULT})\nreturn y[0].view(2, 20, 8)",
    f"return (lambda t: t.view(2, 20, 8))({RESULT})",
    f"y = {RESULT}\ndef g():\n    return y.view(2, 20, 8)\nreturn g()",
    f"y = {RESULT}\nreturn torch.stack([t.view(20, 8) for t in y])",
    f"y = {RESULT}\nr = []\nfor t in y:\n    r.append(t.view(20, 8))\nreturn torch.stack(r)",
    f"y = {RESULT}\nreturn torch.Tensor.view(y, 2, 20, 8)",
]


@pytest.mark.parametrize("body", VIEWED)
def test_a_view_of_what_lies_like_the_result(body: str) -> None:
    offered(f(TURNED + body), [BTHD], ".contiguous()")


INNER = f"class A(nn.Module):\n    def forward(self, q, k, v):\n        {TURNED}        return {RESULT}\n\n\n"
GIVEN_ON = [
    ("a list of layers", "self.a = nn.ModuleList([A()])", "return self.a[0](q, k, v).view(2, 20, 8)"),
    ("a container", "self.a = nn.Sequential(A())", "return self.a[0](q, k, v).view(2, 20, 8)"),
    ("another name", "a = A()\nself.a = a", "return self.a(q, k, v).view(2, 20, 8)"),
    ("a method between", "self.a = A()", "return self.between(q, k, v).view(2, 20, 8)"),
    ("a layer", "self.a = A()", "return self.a(q, k, v).view(2, 20, 8)"),
]


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in GIVEN_ON], ids=[one[0] for one in GIVEN_ON])
def test_a_view_by_who_calls_the_layer(init: str, forward: str) -> None:
    methods = "def between(self, q, k, v):\n    return self.a(q, k, v)"
    text = with_methods(init, forward, methods, "", "q, k, v").replace("class M(", f"{INNER}class M(")
    check_never_wrong(program(text, [BTHD]))


@pytest.mark.parametrize("use", ["y += 1.0\nreturn y", "return y.mul_(2.0)", "return torch.relu_(y)"])
def test_a_caller_that_writes_to_the_result(use: str) -> None:
    body = f(f"return {RESULT}").replace("def f(", "def g(")
    lines = "".join(f"    {line}\n" for line in f"y = g(q, k, v)\n{use}".split("\n"))
    text = f"{body}\n\ndef f(q, k, v):\n{lines}"
    check_never_wrong(program(text, [QKV]))
    assert "written to in place behind it" in refusals(text)


def test_a_layer_in_place_behind_the_layer() -> None:
    init = "self.a = A()\nself.act = nn.ReLU(inplace=True)"
    inner = INNER.replace(TURNED + "        ", "")
    text = m(init, "y = self.a(q, k, v)\nreturn self.act(y)").replace("class M(", f"{inner}class M(")
    check_never_wrong(program(text, [QKV]))


# -- helpers


def test_a_helper_that_a_decorator_changes() -> None:
    head = "\n\ndef twice(g):\n    return lambda x, n: g(x, n) * 2\n\n\n@twice\ndef rep(x, n):\n    return x.repeat_interleave(n, dim=1)\n"
    text = f(f"k = rep(k, 2)\nv = rep(v, 2)\n{DIV}{END}", head=head)
    check_never_wrong(program(text, [GROUPED]))


def test_a_static_method_that_repeats_heads() -> None:
    methods = "@staticmethod\ndef rep(x, n):\n    return x.repeat_interleave(n, dim=-3)\n"
    text = with_methods("", f"k = self.rep(k, 2)\nv = self.rep(v, 2)\n{DIV}{END}", methods, "", "q, k, v")
    offered(text.replace("super().__init__()\n", "super().__init__()\n", 1), [GROUPED], "enable_gqa=True")


# -- what is assumed stands in the title

TITLES = [
    ("return (q @ k.mT).softmax(-1) @ v", "queries and values have two dimensions or more"),
    ("return (q @ k).softmax(-1) @ v", "queries, keys and values have two dimensions or more"),
    ("return (q @ k.mT + mask).softmax(-1) @ v", "masks have two dimensions or more, and are no larger than the scores"),
    ("return (q @ k.mT + mask[:, None, None, :]).softmax(-1) @ v", "masks are no larger than the scores"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "note"), TITLES)
def test_titles(body: str, note: str) -> None:
    analysis = rewritten(f(body, "q, k, v, mask"), allow=frozenset(), codes=CODES).analysis
    assert [note in one.title for one in analysis.findings] == [True]


def test_titles_without_assumptions() -> None:
    text = f("s = torch.bmm(q, k.transpose(1, 2)) * 0.3 + torch.zeros(5, 7)\nreturn torch.bmm(s.softmax(-1), v)")
    (finding,) = rewritten(text, allow=frozenset(), codes=CODES).analysis.findings
    assert "dimensions" not in finding.title
    assert "larger" not in finding.title


OWN_DTYPES = [
    "bias = torch.linspace(0, 1, 7, dtype=torch.float64)[None, :]",
    "bias = torch.linspace(0, 1, 7).double()[None, :]",
    "bias = torch.rand(5, 7).to(torch.float16)",
]


@pytest.mark.parametrize("line", OWN_DTYPES)
def test_a_summand_of_another_dtype_is_converted(line: str) -> None:
    after = rewritten(f(f"{line}\ns = q @ k.mT + bias\nreturn s.softmax(-1).to(v.dtype) @ v"), codes=CODES).text
    assert "bias.to(q.dtype)" in after


def test_a_bias_before_a_condition_is_scaled_by_what_is_made_behind_it() -> None:
    text = """\
import torch


def f(q, k, v, bias, mask=None):
    s = q @ k.mT
    s += bias
    if mask is not None:
        s = s.masked_fill(mask, -float("inf"))
    width = q.shape[-1]
    s /= width ** 0.5
    return s.softmax(-1) @ v
"""
    assert "not at hand before the condition" in refusals(text)


# -- both arms of a condition go on from what stood before it

LONG, SHORT = (2, 1, 5, 7), (2, 1, 3, 7)
TWO_ARMS = "if q.shape[-2] > 4:\n    s = s.masked_fill({yes})\nelse:\n    s = s.masked_fill({no})\n"
ARMS = TWO_ARMS.format(yes="m, -1e9", no="~m, -1e9")
OTHER_KINDS = "if q.shape[-2] > 4:\n    s = s.masked_fill(m, -1e9)\nelse:\n    s = s + q.sum(-1, keepdim=True) * k.sum(-1)[..., None, :]\n"
BEFORE = [
    ("nothing", "", ARMS),
    ("a bias", "s = s + bias\n", ARMS),
    ("a mask", "s = s.masked_fill(other, -1e9)\n", ARMS),
    ("a mask under a condition", "if other is not None:\n    s = s.masked_fill(other, -1e9)\n", ARMS),
    ("a bias under a condition", "if other is not None:\n    s = s + bias\n", ARMS),
    ("a mask in one arm only", "", "if q.shape[-2] > 4:\n    s = s.masked_fill(m, -1e9)\nif other is not None:\n    s = s.masked_fill(other, -1e9)\n"),
    ("arms of two kinds", "", OTHER_KINDS),
    ("arms of two kinds behind a mask", "s = s.masked_fill(other, -1e9)\n", OTHER_KINDS),
    ("arms of two kinds behind a bias", "s = s + bias\n", OTHER_KINDS),
    ("arms of two kinds, and one more", "", OTHER_KINDS + "if other is not None:\n    s = s.masked_fill(other, -1e9)\n"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "arms"), [one[1:] for one in BEFORE], ids=[one[0] for one in BEFORE])
def test_both_arms_of_a_condition(before: str, arms: str) -> None:
    body = f"s = q @ k.mT\n{before}{arms}return s.softmax(-1) @ v"
    generator = torch.Generator().manual_seed(3)
    given: list[Call] = []
    for shape in (LONG, SHORT):
        queries = (2, 4, shape[-2], 8)
        keep = torch.rand(shape, generator=generator) > 0.5
        keep[..., 0], keep[..., 1] = True, False
        other = torch.zeros(shape, dtype=torch.bool)
        other[..., -1] = True
        call: Call = (queries, (2, 4, 7, 8), (2, 4, 7, 8), (shape[-2], 7), keep)
        given += [(*call, other)] if "if other" not in before + arms else [(*call, other), call]
    check_never_wrong(program(f(body, "q, k, v, bias, m, other=None"), given))


def test_both_arms_behind_a_bias_add_to_it() -> None:
    after = rewritten(f(f"s = q @ k.mT + bias\n{ARMS}return s.softmax(-1) @ v", "q, k, v, bias, m"), codes=CODES).text
    assert after.count("        attn_mask = attn_mask.masked_fill(") == 2, after


# -- what scales each head alike

PER_HEAD = [
    ("torch.tensor(scales)", "scales", False),
    ("torch.tensor(scales[0])", "scales", False),
    ("torch.tensor(0.3)", "", True),
    ("torch.tensor(dim ** -0.5)", "dim=8", True),
    ("torch.tensor([0.3])", "", True),
    ("torch.ones(4, 1, 1) * 0.3", "", True),
    ("torch.ones(4, 1, 7) * 0.3", "", False),
]


@pytest.mark.parametrize(("made", "argument", "is_shown"), PER_HEAD, ids=[one[0] for one in PER_HEAD])
def test_a_scale_of_each_head(made: str, argument: str, is_shown: bool) -> None:
    forward = "return (q @ k.mT * self.scale).softmax(-1) @ v"
    text = m(f"self.scale = nn.Parameter({made})", forward).replace("__init__(self)", f"__init__(self, {argument})")
    assert (argument or "self") in text
    result = rewritten(text, allow=EVERY_SAFETY, codes=CODES)
    assert bool(result.applied) == is_shown, result.text
