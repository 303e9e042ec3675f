"""FUS206 and FUS207: recurrent cells by hand compute the same as one cell; what only looks like one is refused."""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import pytest

from equivalence.harness import REORDERED, Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

LSTM, GRU = "FUS206", "FUS207"
XHC: Inputs = ((5, 6), (5, 8), (5, 8))
XH: Inputs = ((5, 6), (5, 8))


def layers(gates: str, bias: str = "", size: str = "6", hidden: str = "8") -> str:
    return "\n".join(
        f"self.{side}{gate} = nn.Linear({width}, {hidden}{bias})"
        for gate in gates
        for side, width in (("x", size), ("h", hidden))
    )


IN, FORGET, NEW, OUT = (f"self.x{gate}(x) + self.h{gate}(h)" for gate in "ifgo")
R, Z = (f"self.x{gate}(x) + self.h{gate}(h)" for gate in "rz")
GATES = f"i = torch.sigmoid({IN})\nf = torch.sigmoid({FORGET})\ng = torch.tanh({NEW})\no = torch.sigmoid({OUT})\n"
STEP = "c = f * c + i * g\nh = o * torch.tanh(c)\nreturn h, c"
GRU_GATES = f"r = torch.sigmoid({R})\nz = torch.sigmoid({Z})\nn = torch.tanh(self.xn(x) + r * self.hn(h))\n"
GRU_STEP = "return (1 - z) * n + z * h"


def lstm(forward: str, init: str = layers("ifgo"), **around: str) -> str:
    return module(init, forward, arguments="self, x, h, c", **around)


def gru(forward: str, init: str = layers("rzn"), **around: str) -> str:
    return module(init, forward, arguments="self, x, h", **around)


def offered(text: str, code: str, inputs: Inputs) -> str:
    result = equivalent(text, inputs, codes=frozenset({code}), tolerance=REORDERED, deep=False)
    assert [finding.code for finding in result.applied] == [code], [one.refused for one in result.analysis.refusals]
    return result.text


LSTM_STEPS = [
    ("statements", GATES + STEP),
    ("returned at once", GATES + "c = f * c + i * g\nreturn o * torch.tanh(c), c"),
    ("other names", GATES + "new = i * g + c * f\nout = torch.tanh(new) * o\nreturn out, (out, new)"),
    ("nested", f"c = torch.sigmoid({FORGET}) * c + torch.sigmoid({IN}) * torch.tanh({NEW})\nh = torch.sigmoid({OUT}) * torch.tanh(c)\nreturn h, c"),
    ("tuples", f"i, f = torch.sigmoid({IN}), torch.sigmoid({FORGET})\ng, o = torch.tanh({NEW}), torch.sigmoid({OUT})\n{STEP}"),
    ("sums first", f"a = {IN}\nb = {FORGET}\ni = a.sigmoid()\nf = b.sigmoid()\ng = ({NEW}).tanh()\no = F.sigmoid({OUT})\n{STEP}"),
    ("state first", GATES.replace("self.xi(x) + self.hi(h)", "self.hi(h) + self.xi(x)") + STEP),
    ("the output gate late", f"i = torch.sigmoid({IN})\nf = torch.sigmoid({FORGET})\ng = torch.tanh({NEW})\nc = f * c + i * g\no = torch.sigmoid({OUT})\nh = o * torch.tanh(c)\nreturn h, c"),
    ("the state in steps", GATES + "c = f * c\nc = c + i * g\nh = o * torch.tanh(c)\nreturn h, c"),
    ("products first", GATES + "kept = f * c\nadded = torch.mul(i, g)\nc = torch.add(kept, added)\nt = torch.tanh(c)\nh = o * t\nreturn h, c"),
    ("something in between", GATES + "y = x.sum()\nc = f * c + i * g\ny = y * 2\nh = o * torch.tanh(c)\nreturn h + y, c"),
    ("the old state is read later", GATES + "old = h\nc = f * c + i * g\nnew = o * torch.tanh(c)\nreturn new + old + h, c"),
    ("comments", "# gates\n" + GATES.replace("\nf =", "  # in\n# forget\nf =") + "# state\nc = f * c + i * g  # new\n# hidden\nh = o * torch.tanh(c)  # out\nreturn h, c"),
    ("in a branch", "if x.dim() == 2:\n    " + GATES.strip().replace("\n", "\n    ") + "\n    c = f * c + i * g\n    h = o * torch.tanh(c)\nreturn h, c"),
    ("a state in a tuple", "state = (h, c)\nhx, cx = state\n" + GATES.replace("(h)", "(hx)") + "cx = f * cx + i * g\nhx = o * torch.tanh(cx)\nreturn hx, (hx, cx)"),
    ("in a loop", "outs = []\nfor t in range(2):\n    y = x + t\n    " + GATES.strip().replace("(x)", "(y)").replace("\n", "\n    ") + "\n    c = f * c + i * g\n    h = o * torch.tanh(c)\n    outs.append(h)\nreturn torch.stack(outs), c"),
]  # fmt: skip


@pytest.mark.parametrize("forward", [one for _, one in LSTM_STEPS], ids=[id for id, _ in LSTM_STEPS])
def test_an_lstm_step(forward: str) -> None:
    text = offered(lstm(forward), LSTM, XHC)
    assert "sigmoid" not in text


WHOLE = "self.a = nn.Linear(6, 32)\nself.b = nn.Linear(8, 32)"
WHOLE_STEP = (
    "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)\nh = torch.sigmoid(o) * torch.tanh(c)\nreturn h, c"
)
LSTM_LAYERS = [
    ("without biases", layers("ifgo", ", bias=False"), GATES + STEP),
    ("sizes by name", "n, m = 6, 8\n" + layers("ifgo", "", "n", "m"), GATES + STEP),
    ("a bias by name", "flag = False\n" + layers("ifgo", ", bias=flag"), GATES + STEP),
    ("keywords", layers("ifgo").replace("(6, 8", "(in_features=6, out_features=8"), GATES + STEP),
    ("another order", layers("ogfi"), GATES + STEP),
    ("other layers between", layers("if") + "\nself.other = nn.Linear(2, 2)\nself.n = 8\n" + layers("go"), GATES + STEP),
    ("a loop over letters", "for k in 'ifgo': setattr(self, 'x' + k, nn.Linear(6, 8)); setattr(self, 'h' + k, nn.Linear(8, 8))", GATES + STEP),
    ("a loop over strings", "for k in ('i', 'f', 'g', 'o'):\n    setattr(self, f'x{k}', nn.Linear(6, 8))\n    setattr(self, 'h{}'.format(k), nn.Linear(8, 8))", GATES + STEP),
    ("loops", "for k in 'ifgo':\n    setattr(self, 'x' + k + '', nn.Linear(6, 8))\nfor k in 'ifgo':\n    setattr(self, 'h%s' % k, nn.Linear(8, 8))", GATES + STEP),
    ("a loop and statements", "for k in 'ifgo':\n    setattr(self, 'x' + k, nn.Linear(6, 8))\nself.hi = nn.Linear(8, 8)\nself.hf = nn.Linear(8, 8)\nself.hg = nn.Linear(8, 8)\nself.ho = nn.Linear(8, 8)", GATES + STEP),
    ("activations as layers", layers("ifgo") + "\nself.s = nn.Sigmoid()\nself.t = nn.Tanh()", GATES.replace("torch.sigmoid", "self.s").replace("torch.tanh", "self.t") + STEP.replace("torch.tanh", "self.t")),
    ("two wide layers", WHOLE, "i, f, g, o = (self.a(x) + self.b(h)).chunk(4, 1)\n" + WHOLE_STEP),
    ("another order of pieces", WHOLE, "z = self.a(x) + self.b(h)\no, i, f, g = torch.chunk(z, 4, dim=-1)\n" + WHOLE_STEP),
    ("split into sizes", WHOLE, "z = self.a(x) + self.b(h)\ni, f, g, o = z.split([8, 8, 8, 8], dim=1)\n" + WHOLE_STEP),
    ("split", WHOLE, "z = self.a(x) + self.b(h)\ni, f, g, o = z.split(8, 1)\n" + WHOLE_STEP),
    ("pieces of each", WHOLE, "xi, xf, xg, xo = self.a(x).chunk(4, 1)\nhi, hf, hg, ho = self.b(h).chunk(4, 1)\ni, f, g, o = xi + hi, xf + hf, xg + hg, xo + ho\n" + WHOLE_STEP),
    ("pieces by number", WHOLE, "z = (self.a(x) + self.b(h)).chunk(4, 1)\ni = z[0]\nf = z[1]\ng = z[2]\no = z[3]\n" + WHOLE_STEP),
    ("wide by name", "m = 8\nself.a = nn.Linear(6, 4 * m)\nself.b = nn.Linear(m, m * 4)", "i, f, g, o = (self.a(x) + self.b(h)).chunk(4, 1)\n" + WHOLE_STEP),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in LSTM_LAYERS], ids=[one[0] for one in LSTM_LAYERS])
def test_the_layers_of_an_lstm(init: str, forward: str) -> None:
    if "m * 4" in init:
        refused(lstm(forward, init).replace("m * 4", "m * 4 + 0"), LSTM)
    offered(lstm(forward, init), LSTM, XHC)


GRU_STEPS = [
    ("statements", GRU_GATES + GRU_STEP),
    ("turned round", GRU_GATES + "h = z * h + n * (1.0 - z)\nreturn h"),
    ("one product", GRU_GATES + "return n + z * (h - n)"),
    ("one product from the state", GRU_GATES + "return h - (1 - z) * (h - n)"),
    ("lerp", GRU_GATES + "return torch.lerp(n, h, z)"),
    ("swapped", GRU_GATES + "return z * n + (1 - z) * h"),
    ("swapped, one product", GRU_GATES + "h = h + z * (n - h)\nreturn h"),
    ("nested", f"z = torch.sigmoid({Z})\nreturn (1 - z) * torch.tanh(self.xn(x) + torch.sigmoid({R}) * self.hn(h)) + z * h"),
    ("the reset last", GRU_GATES.replace("self.xn(x) + r * self.hn(h)", "self.hn(h) * r + self.xn(x)") + GRU_STEP),
    ("in steps", GRU_GATES + "keep = z * h\nrest = 1 - z\nnew = rest * n\nh = keep + new\nreturn h, x"),
    ("in a loop", "for t in range(3):\n    " + GRU_GATES.strip().replace("\n", "\n    ") + "\n    h = (1 - z) * n + z * h\nreturn h"),
    ("the state twice", GRU_GATES + "return (1 - z) * n + z * h + h"),
    ("the state is renamed", GRU_GATES + "s = (1 - z) * n\nk, h = h, x\nreturn s + z * k"),
    ("in an operand", GRU_GATES + "return x.sum() + ((1 - z) * n + z * h).relu()"),
    ("in a condition", GRU_GATES + "if ((1 - z) * n + z * h).sum() > 0:\n    return x\nreturn h"),
]  # fmt: skip


@pytest.mark.parametrize("forward", [one for _, one in GRU_STEPS], ids=[id for id, _ in GRU_STEPS])
def test_a_gru_step(forward: str) -> None:
    text = offered(gru(forward), GRU, XH)
    assert "sigmoid" not in text


GRU_WHOLE = "self.a = nn.Linear(6, 24)\nself.b = nn.Linear(8, 24)"
PIECES = "xr, xz, xn = self.a(x).chunk(3, 1)\nhr, hz, hn = self.b(h).chunk(3, 1)\nr, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)\nn = torch.tanh(xn + r * hn)\n"
GRU_LAYERS = [
    ("without biases", layers("rzn", ", bias=False"), GRU_GATES + GRU_STEP),
    ("alike sizes", layers("rzn", "", "8"), GRU_GATES + GRU_STEP),
    ("a loop", "for k in 'rzn': setattr(self, 'x' + k, nn.Linear(6, 8)); setattr(self, 'h' + k, nn.Linear(8, 8))", GRU_GATES + GRU_STEP),
    ("wide", GRU_WHOLE, PIECES + GRU_STEP),
    ("wide, swapped", GRU_WHOLE, PIECES + "return z * n + (1 - z) * h"),
    ("wide, another order", GRU_WHOLE, PIECES.replace("xr, xz, xn", "xz, xn, xr").replace("hr, hz, hn", "hz, hn, hr") + GRU_STEP),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward"), [one[1:] for one in GRU_LAYERS], ids=[one[0] for one in GRU_LAYERS])
def test_the_layers_of_a_gru(init: str, forward: str) -> None:
    inputs: Inputs = ((5, 8), (5, 8)) if "nn.Linear(6" not in init else XH
    offered(gru(forward, init), GRU, inputs)


def test_old_checkpoints_load_in_copies_and_nested_too() -> None:
    for text, code, inputs in (
        (lstm(GATES + STEP), LSTM, XHC),
        (gru(GRU_GATES + "return z * n + (1 - z) * h"), GRU, XH),
    ):
        result = equivalent(text, inputs, codes=frozenset({code}), tolerance=REORDERED)
        assert len(result.applied) == 1


def test_the_title_says_what_is_assumed() -> None:
    for text, code in ((lstm(GATES + STEP), LSTM), (gru(GRU_GATES + "return z * n + (1 - z) * h"), GRU)):
        (found,) = [one for one in Analysis(text).findings if one.code == code]
        assert "one batch size" in found.title
        assert ("sign" in found.title) == (code == GRU)


def test_past_hooks_it_breaks() -> None:
    text = lstm(GATES + STEP).replace("from torch import nn", "from torch import nn\nfrom safetensors import safe_open")
    found = [one for one in Analysis(text).findings if one.code == LSTM]
    assert [one.safety for one in found] == [Safety.BREAKING]


def test_the_cell_comes_before_the_merges_of_its_layers() -> None:
    assert Analysis(lstm(GATES + STEP)).findings[0].code == LSTM
    result = equivalent(lstm(GATES + STEP), XHC, tolerance=REORDERED, deep=False)
    assert [one.code for one in result.applied] == [LSTM]
    # Where the merges came first their hooks would have to run before the cell's.
    merged = equivalent(lstm(GATES + STEP), XHC, codes=frozenset({"FUS201"}), tolerance=REORDERED, deep=False)
    assert any("load hook" in reason for reason in refused(merged.text, LSTM))


LSTM_REFUSED = [
    ("a forget bias", GATES.replace("self.xf(x)", "self.xf(x) + 1.0") + STEP, "something else than"),
    ("a peephole", GATES.replace("self.hi(h)", "self.hi(h) + c.mean()") + STEP, "something else than"),
    ("three layers", GATES.replace("self.hi(h)", "self.hi(h) + self.hf(h)") + STEP, ""),
    ("the output gate sees the new state", GATES.replace("o = torch.sigmoid(self.xo(x) + self.ho(h))\n", "") + "c = f * c + i * g\no = torch.sigmoid(self.xo(x) + self.ho(c))\nh = o * torch.tanh(c)\nreturn h, c", "not every gate"),
    ("a gate is used again", GATES + STEP + ", i", "used again"),
    ("a gate is measured", GATES + "print(i.shape)\n" + STEP, "used again"),
    ("a gate has two names", GATES + "j = i\n" + STEP, "second name"),
    ("a gate is captured", GATES + "k = lambda: i\n" + STEP, "used again"),
    ("a sum is used again", "a = " + IN + "\n" + GATES.replace(IN, "a") + STEP + " + a.sum()", "used again"),
    ("the squashed state is used", GATES + "c = f * c + i * g\nt = torch.tanh(c)\nreturn o * t, c, t", "used again"),
    ("an input changes in place", GATES.replace("\ng =", "\nx.add_(1)\ng =") + STEP, "changed in between"),
    ("the state changes in place", GATES + "c.mul_(2)\n" + STEP, "changed in between"),
    ("the new state changes in place", GATES + "c = f * c + i * g\nh = o * torch.tanh(c)\nc.clamp_(-3, 3)\nreturn h, c", "go backward"),
    ("the state begins as a number", "c = 0\nfor t in range(2):\n    " + GATES.strip().replace("\n", "\n    ") + "\n    c = f * c + i * g\n    h = o * torch.tanh(c)\nreturn h, c", "as a number"),
    ("an unknown call in between", GATES + "c = f * c + i * g\ntouch(c)\nh = o * torch.tanh(c)\nreturn h, c", "changed in between"),
    ("an input is rebound", GATES.replace("\no =", "\nx = x + 1\no =") + STEP, "not every gate"),
    ("the state is rebound", GATES + "h = x\n" + STEP, "no name where"),
    ("it may leave", GATES + "if x.sum() > 0:\n    return h, c\n" + STEP, "may leave"),
    ("it may leave before the end", GATES + "c = f * c + i * g\nif x.sum() > 0:\n    return h, c\nh = o * torch.tanh(c)\nreturn h, c", "may leave"),
    ("branches", GATES + "if x.sum() > 0:\n    c = f * c + i * g\n    h = o * torch.tanh(c)\nreturn h, c", "different branches"),
    ("no variable", GATES + "self.c = f * c + i * g\nreturn o * torch.tanh(self.c), c", ""),
    ("no variable for the state", GATES + "return o * torch.tanh(f * c + i * g)", "variable of its own"),
    ("the input has no name", GATES.replace("(x)", "(x * 1)") + STEP, "not every gate"),
    ("an unlike input", GATES.replace("self.xo(x)", "self.xo(x * 2)") + STEP, "not every gate"),
    ("a walrus", GATES.replace("i = torch.sigmoid(", "i = torch.sigmoid(k := ") + STEP, ""),
    ("one line", GATES.replace("\nf =", "; f =") + STEP, "does something else too"),
    ("a statement with more", f"i, y = torch.sigmoid({IN}), x.sum()\n" + GATES.partition("\n")[2] + STEP, "does something else too"),
    ("dropout on the state", GATES.replace("(h)", "(F.dropout(h))") + STEP, "not every gate"),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "reason"), [one[1:] for one in LSTM_REFUSED], ids=[one[0] for one in LSTM_REFUSED])
def test_an_lstm_step_refused(forward: str, reason: str) -> None:
    reasons = refused(lstm(forward), LSTM)
    if reason:
        assert any(reason in one for one in reasons), reasons


CAT = "i, f, g, o = self.a(torch.cat([x, h], 1)).chunk(4, 1)\n" + WHOLE_STEP
PLAIN = "i, f, g, o = (self.a(x) + self.b(h)).chunk(4, 1)\n" + WHOLE_STEP
LAYERS_REFUSED = [
    ("side by side", "self.a = nn.Linear(14, 32)", CAT, "side by side"),
    ("one bias", "self.a = nn.Linear(6, 32)\nself.b = nn.Linear(8, 32, bias=False)", PLAIN, "differ in their width, bias"),
    ("a bias in one gate", layers("ifg") + "\n" + layers("o", ", bias=False"), GATES + STEP, "differ in their sizes, bias"),
    ("unlike widths", layers("ifg") + "\n" + layers("o", hidden="9"), GATES + STEP, "differ in their sizes"),
    ("no state among the sizes", "self.a = nn.Linear(6, 32)\nself.b = nn.Linear(7, 32)", PLAIN, "which input is the state"),
    ("sizes that cannot be compared", "self.a = nn.Linear(6, 32)\nm = 2 * 16\nself.b = nn.Linear(8, m)", PLAIN, "not shown to be 4 times"),
    ("a computed width", "import random\n" + layers("ifgo", hidden="random.randint(8, 8)"), GATES + STEP, "worked out by a call"),
    ("three of five pieces", "self.a = nn.Linear(6, 40)\nself.b = nn.Linear(8, 40)", "i, f, g, o, _ = (self.a(x) + self.b(h)).chunk(5, 1)\n" + WHOLE_STEP, "equal pieces"),
    ("pieces of the batch", WHOLE, PLAIN.replace("chunk(4, 1)", "chunk(4, 0)"), ""),
    ("pieces of the batch by default", WHOLE, PLAIN.replace("chunk(4, 1)", "chunk(4)"), ""),
    ("unlike orders", WHOLE, "xi, xf, xg, xo = self.a(x).chunk(4, 1)\nhi, hf, ho, hg = self.b(h).chunk(4, 1)\ni, f, g, o = xi + hi, xf + hf, xg + hg, xo + ho\n" + WHOLE_STEP, "different ways"),
    ("a layer is used beside", layers("ifgo"), GATES + STEP + ", self.xi.weight", "beside its call"),
    ("a layer is called twice", layers("ifgo"), GATES + STEP + ", self.xi(x)", "more than once"),
    ("a condition", "self.k = True\nif self.k:\n    self.xi = nn.Linear(6, 8)\n" + layers("ifgo").replace("self.xi = nn.Linear(6, 8)\n", ""), GATES + STEP, ""),
    ("initialised", layers("ifgo") + "\nnn.init.ones_(self.xf.bias)", GATES + STEP, "beside its call"),
    ("initialised by type", layers("ifgo") + "\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.zeros_(m.bias)", GATES + STEP, "by its type"),
    ("initialised by name", layers("ifgo") + "\nfor n, p in self.named_parameters():\n    if n.endswith('weight'):\n        nn.init.zeros_(p)", GATES + STEP, "by their names"),
    ("orthogonal", layers("ifgo") + "\nfor p in self.parameters():\n    nn.init.orthogonal_(p)", GATES + STEP, ""),
    ("read by name", layers("ifgo"), "y = getattr(self, 'x' + 'i')(x)\n" + GATES + STEP, "computed name"),
    ("the loop makes another", "for k in 'ifgop': setattr(self, 'x' + k, nn.Linear(6, 8)); setattr(self, 'h' + k, nn.Linear(8, 8))", GATES + STEP, "makes `hp` too"),
    ("the loop does more", "for k in 'ifgo':\n    setattr(self, 'x' + k, nn.Linear(6, 8))\n    setattr(self, 'h' + k, nn.Linear(8, 8))\n    print(k)", GATES + STEP, ""),
    ("a loop over something", "names = 'ifgo'\nfor k in names: setattr(self, 'x' + k, nn.Linear(6, 8)); setattr(self, 'h' + k, nn.Linear(8, 8))", GATES + STEP, ""),
    ("unlike layers in the loop", "for k in 'ifgo': setattr(self, 'x' + k, nn.Linear(6, 8, bias=k > 'g')); setattr(self, 'h' + k, nn.Linear(8, 8))", GATES + STEP, ""),
    ("made twice", layers("ifgo") + "\nfor k in 'ifgo': setattr(self, 'x' + k, nn.Linear(6, 8))", GATES + STEP, ""),
    ("sizes change", "m = 8\n" + layers("if", hidden="m") + "\nm = m + 0\n" + layers("go", hidden="m"), GATES + STEP, "change a size"),
    ("norms of the sums", layers("ifgo") + "\nself.norm = nn.LayerNorm(8)", GATES.replace(IN, f"self.norm({IN})") + STEP, ""),
    ("convolutions", layers("ifgo").replace("nn.Linear(", "nn.Conv2d(1, "), GATES + STEP, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("init", "forward", "reason"), [one[1:] for one in LAYERS_REFUSED], ids=[one[0] for one in LAYERS_REFUSED]
)
def test_the_layers_of_an_lstm_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(lstm(forward, init), LSTM)
    if reason:
        assert any(reason in one for one in reasons), reasons


GRU_REFUSED = [
    ("the first version", GRU_GATES.replace("r * self.hn(h)", "self.hn(r * h)") + GRU_STEP, "before the matrix product"),
    ("the reset on both", GRU_GATES.replace("self.xn(x) + r * self.hn(h)", "r * (self.xn(x) + self.hn(h))") + GRU_STEP, ""),
    ("the reset on the input", GRU_GATES.replace("self.xn(x) + r * self.hn(h)", "r * self.xn(x) + self.hn(h)") + GRU_STEP, ""),
    ("no reset", GRU_GATES.replace("r * self.hn(h)", "self.hn(h)") + GRU_STEP, ""),
    ("a norm", GRU_GATES.replace("self.hz(h)", "self.hz(h) + h") + GRU_STEP, "something else than"),
    ("another state mixed", GRU_GATES + "return (1 - z) * n + z * x", ""),
    ("no sum of one", GRU_GATES + "return (1 - z) * n + r * h", ""),
    ("two minus", GRU_GATES + "return (2 - z) * n + z * h", ""),
    ("two gates in one", GRU_GATES + "return (1 - r) * n + r * h", "in common"),
    ("the new memory is used", GRU_GATES + GRU_STEP + ", n", "used again"),
    ("the gate is used", GRU_GATES + GRU_STEP + ", z", "used again"),
    ("an input is rebound", GRU_GATES + "s = (1 - z) * n\nx = x + 1\nreturn s + z * h", "no name where"),
    ("the state changes", GRU_GATES + "x.mul_(2)\n" + GRU_STEP, "changed in between"),
    ("relu", GRU_GATES.replace("torch.tanh", "torch.relu") + GRU_STEP, ""),
    ("a conditional expression", GRU_GATES + "return ((1 - z) * n + z * h) if x.sum() > 0 else h", "conditional expression"),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "reason"), [one[1:] for one in GRU_REFUSED], ids=[one[0] for one in GRU_REFUSED])
def test_a_gru_step_refused(forward: str, reason: str) -> None:
    reasons = refused(gru(forward), GRU)
    if reason:
        assert any(reason in one for one in reasons), reasons


AROUND = [
    ("a state of one row", "def begin(hidden):\n    return torch.zeros(1, hidden)", "one row"),
    ("autocast", "def train(m):\n    with torch.autocast('cuda'):\n        m()", "autocast"),
    ("a subclass", "class N(M):\n    def forward(self, x, h, c):\n        return self.xi(x)", "more than once"),
    ("named in a string", "GROUPS = ['xi', 'xf']", "names `x"),
    ("hooked", "def watch(m):\n    for one in m.modules():\n        one.register_forward_hook(print)", ""),
    ("quantised", "def small(m):\n    return torch.quantization.quantize_dynamic(m, {nn.Linear})", ""),
]  # fmt: skip


@pytest.mark.parametrize(("tail", "reason"), [one[1:] for one in AROUND], ids=[one[0] for one in AROUND])
def test_refused_for_what_stands_around(tail: str, reason: str) -> None:
    reasons = refused(lstm(GATES + STEP, tail=tail), LSTM)
    assert any(reason in one for one in reasons), reasons
