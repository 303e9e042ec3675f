"""FUS407: the first half times the sigmoid of the second, along the dimension that is cut; halves have to be shown."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import Inputs, equivalent, function, in_layers, module, refused
from fuselight.fusions.model import Safety

CODE = "FUS407"
CUBE: Inputs = ((6, 4, 8),)


@dataclass
class Case:
    """One file and what must stand in it afterwards."""

    id: str
    text: str
    after: str = "F.glu(x, dim=-1)"
    inputs: Inputs = CUBE


def linear(cut: str, out: str = "8", init: str = "") -> str:
    made = f"{init}\nself.fc = nn.Linear(8, {out})".strip()
    return module(made, f"x = self.fc(x)\n{cut}").replace("def __init__(self):", "def __init__(self, width=4):")


UNPACKED = "a, b = {}\nreturn a * torch.sigmoid(b)"
CASES = [
    Case("chunk", function(UNPACKED.format("x.chunk(2, dim=-1)"))),
    Case("chunk by position", function(UNPACKED.format("x.chunk(2, -1)"))),
    Case("torch.chunk", function(UNPACKED.format("torch.chunk(x, 2, dim=1)")), "F.glu(x, dim=1)"),
    Case(
        "torch.chunk, keywords", function(UNPACKED.format("torch.chunk(input=x, chunks=2, dim=2)")), "F.glu(x, dim=2)"
    ),
    Case("chunk's own dimension", function(UNPACKED.format("x.chunk(2)")), "F.glu(x, dim=0)"),
    Case("chunk, dimension 0", function(UNPACKED.format("x.chunk(2, dim=0)")), "F.glu(x, dim=0)"),
    Case("a dimension by name", function(UNPACKED.format("x.chunk(2, dim)"), "x, dim=1"), "F.glu(x, dim=dim)"),
    Case(
        "a dimension of self",
        in_layers("self.dim = 1", UNPACKED.format("x.chunk(2, self.dim)")),
        "F.glu(x, dim=self.dim)",
    ),
    Case("the gate first", function("a, b = x.chunk(2, -1)\nreturn torch.sigmoid(b) * a")),
    Case("a method", function("a, b = x.chunk(2, -1)\nreturn a * b.sigmoid()")),
    Case("torch.mul", function("a, b = x.chunk(2, -1)\nreturn torch.mul(a, F.sigmoid(b))")),
    Case("a local gate", function("a, b = x.chunk(2, -1)\ng = torch.sigmoid(b)\ny = a * g\nreturn y")),
    Case("the gate rebound", function("x, gate = x.chunk(2, dim=-1)\nreturn x * gate.sigmoid()"), "F.glu("),
    Case("indexed", function("h = x.chunk(2, -1)\nreturn h[0] * torch.sigmoid(h[1])")),
    Case("indexed twice", function("return x.chunk(2, -1)[0] * torch.sigmoid(x.chunk(2, -1)[1])")),
    Case("a layer", in_layers("self.gate = nn.Sigmoid()", "a, b = x.chunk(2, -1)\nreturn a * self.gate(b)")),
    Case("of a sum", function("a, b = (x + 1).chunk(2, -1)\nreturn a * torch.sigmoid(b)"), "F.glu(x + 1, dim=-1)"),
    Case("parts", function(UNPACKED.format("x.split([4, 4], dim=-1)"))),
    Case("parts by name", function(UNPACKED.format("torch.split(x, [n, n], dim=2)"), "x, n=4"), "F.glu(x, dim=2)"),
    Case("parts, dimension 0", function(UNPACKED.format("torch.split(x, [3, 3])")), "F.glu(x, dim=0)"),
    Case("split by the half", function(UNPACKED.format("x.split(x.shape[-1] // 2, dim=-1)"))),
    Case(
        "split by the half of size",
        function(UNPACKED.format("torch.split(x, x.size(1) // 2, dim=1)")),
        "F.glu(x, dim=1)",
    ),
    Case("split by int", function(UNPACKED.format("torch.split(x, int(x.size(1) / 2), dim=1)")), "F.glu(x, dim=1)"),
    Case("split by a local", function("n = x.shape[0] // 2\n" + UNPACKED.format("x.split(n)")), "F.glu(x, dim=0)"),
    Case("split by a shape taken apart", function("b, t, c = x.shape\n" + UNPACKED.format("x.split(c // 2, -1)"))),
    Case("split of a layer", linear(UNPACKED.format("x.split(4, -1)"))),
    Case(
        "split of a layer by a name",
        linear(UNPACKED.format("x.split(self.width, -1)"), "2 * width", "self.width = width"),
    ),
    Case(
        "split of a layer by self",
        linear(UNPACKED.format("x.split(self.width, -1)"), "self.width * 2", "self.width = width"),
    ),
    Case(
        "split of a layer by a multiple",
        linear(UNPACKED.format("x.split(2 * self.width, -1)"), "4 * width", "self.width = width").replace("=4)", "=2)"),
    ),
    Case("slices", function("n = x.shape[-1] // 2\nreturn x[..., :n] * torch.sigmoid(x[..., n:])")),
    Case(
        "slices in place",
        function("return x[:, : x.size(1) // 2] * torch.sigmoid(x[:, x.size(1) // 2 :])"),
        "F.glu(x, dim=1)",
    ),
    Case(
        "slices with a whole one behind",
        function("n = x.shape[1] // 2\nreturn x[:, :n, :] * x[:, n:, :].sigmoid()"),
        "F.glu(x, dim=1)",
    ),
    Case("slices from 0", function("n = x.shape[0] // 2\nreturn x[0:n] * torch.sigmoid(x[n:])"), "F.glu(x, dim=0)"),
    Case(
        "slices in names", function("n = x.shape[-1] // 2\na, b = x[..., :n], x[..., n:]\nreturn a * torch.sigmoid(b)")
    ),
    Case("slices of a layer", linear("return x[..., :4] * torch.sigmoid(x[..., 4:])")),
    Case(
        "unbind",
        function("x = x.view(6, 4, 2, 4)\na, b = x.unbind(2)\nreturn a * torch.sigmoid(b)"),
        "F.glu(x, dim=2).squeeze(2)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), deep=False)
    assert case.after in result.text, result.text
    assert [finding.safety for finding in result.applied] == [Safety.EXACT]


def miss(id: str, body: str, reason: str = "", arguments: str = "x, n") -> tuple[str, str, str]:
    return id, function(body, arguments), reason


HALF = "a, b = x.chunk(2, -1)\n"
MISSES = [
    miss("the first half gates", f"{HALF}return torch.sigmoid(a) * b"),
    miss("the first half gates, indexed", "h = x.chunk(2, -1)\nreturn h[1] * torch.sigmoid(h[0])"),
    miss("both of the first", f"{HALF}return a * torch.sigmoid(a)"),
    miss("tanh", f"{HALF}return a * torch.tanh(b)"),
    miss("silu", f"{HALF}return a * F.silu(b)"),
    miss("wavenet", f"{HALF}return torch.tanh(a) * torch.sigmoid(b)"),
    miss("a sum", f"{HALF}return a + torch.sigmoid(b)"),
    miss("a shifted gate", f"{HALF}return a * torch.sigmoid(b + 1)"),
    miss("a scaled gate", f"{HALF}return a * torch.sigmoid(2 * b)"),
    miss("one minus the gate", f"{HALF}return a * (1 - torch.sigmoid(b))"),
    miss("three chunks", "a, b, c = x.chunk(3, -1)\nreturn a * torch.sigmoid(b) + c"),
    miss("two of three", "h = x.chunk(3, -1)\nreturn h[0] * torch.sigmoid(h[1])"),
    miss("another tensor's gate", "a, _ = x.chunk(2, -1)\nreturn a * torch.sigmoid(n)"),
    miss("two tensors", "a, _ = x.chunk(2, -1)\n_, b = n.chunk(2, -1)\nreturn a * torch.sigmoid(b)"),
    miss("two dimensions", "a, _ = x.chunk(2, 0)\n_, b = x.chunk(2, 1)\nreturn a * torch.sigmoid(b)"),
    miss("a half again", f"{HALF}return a * torch.sigmoid(b) + a", "used again"),
    miss("the gate again", f"{HALF}g = torch.sigmoid(b)\nreturn a * g + g", "used again"),
    miss("the halves are returned", f"{HALF}return a * torch.sigmoid(b), a, b", "used again"),
    miss("the chunks again", "h = x.chunk(2, -1)\nprint(h)\nreturn h[0] * torch.sigmoid(h[1])", "used again"),
    miss("in place", f"{HALF}x.mul_(2)\nreturn a * torch.sigmoid(b)", "changed in between"),
    miss("a half in place", f"{HALF}b.mul_(2)\nreturn a * torch.sigmoid(b)"),
    miss("a half rebound", f"{HALF}a = a + 1\nreturn a * torch.sigmoid(b)"),
    miss("branches", f"{HALF}if n:\n    return a * torch.sigmoid(b)\nreturn a", ""),
    miss("split by a name", "a, b = x.split(n, -1)\nreturn a * torch.sigmoid(b)", "half the size"),
    miss("split by a number", "a, b = x.split(4, -1)\nreturn a * torch.sigmoid(b)", "half the size"),
    miss("split by another half", "a, b = x.split(n.shape[-1] // 2, -1)\nreturn a * torch.sigmoid(b)", "half the size"),
    miss(
        "split by another dimension's half", "a, b = x.split(x.shape[1] // 2, 2)\nreturn a * torch.sigmoid(b)", "half"
    ),
    miss("split by a third", "a, b = x.split(x.shape[-1] // 3, -1)\nreturn a * torch.sigmoid(b)", "half the size"),
    miss("unequal parts", "a, b = x.split([n, 1], -1)\nreturn a * torch.sigmoid(b)"),
    miss("parts by two names", "a, b = x.split([n, m], -1)\nreturn a * torch.sigmoid(b)", "", "x, n, m"),
    miss("slices by a name", "return x[..., :n] * torch.sigmoid(x[..., n:])", "half the size"),
    miss("the last one gates", "return x[..., :-1] * torch.sigmoid(x[..., -1:])", "half the size"),
    miss("slices that overlap", "return x[..., :n] * torch.sigmoid(x[..., 1:])"),
    miss("interleaved", "return x[..., ::2] * torch.sigmoid(x[..., 1::2])"),
    miss("slices the other way", "m = x.shape[-1] // 2\nreturn x[..., m:] * torch.sigmoid(x[..., :m])"),
    miss("slices of another dimension", "m = x.shape[-1] // 2\nreturn x[:, :m] * torch.sigmoid(x[:, m:])", "half"),
    miss("slices of two dimensions", "m = x.shape[1] // 2\nreturn x[:, :m] * torch.sigmoid(x[m:])"),
    miss("unbind by index", "h = x.unbind(1)\nreturn h[0] * torch.sigmoid(h[1])", "that there are two"),
    miss("elements", "return x[:, 0] * torch.sigmoid(x[:, 1])"),
    ("a layer of other size", linear("a, b = x.split(4, -1)\nreturn a * torch.sigmoid(b)", "5"), "half the size"),
    (
        "a layer by another multiple",
        linear("a, b = x.split(self.width, -1)\nreturn a * torch.sigmoid(b)", "4 * width", "self.width = width"),
        "half the size",
    ),
    (
        "a layer by another name",
        linear("a, b = x.split(self.width, -1)\nreturn a * torch.sigmoid(b)", "2 * width", "self.width = 3"),
        "half the size",
    ),
    (
        "a layer by a name that changes",
        linear(
            "a, b = x.split(self.width, -1)\nreturn a * torch.sigmoid(b)", "2 * width", "self.width = width\nwidth = 3"
        ),
        "half the size",
    ),
    ("a reference", function(f"{HALF}return a * torch.sigmoid(b)").replace("def f", "def ref_glu"), "reference"),
]


@pytest.mark.parametrize(("id", "text", "reason"), MISSES, ids=[one[0] for one in MISSES])
def test_left_alone(id: str, text: str, reason: str) -> None:
    reasons = refused(text, CODE)
    if reason:
        assert any(reason in one for one in reasons), reasons
