"""FUS701: a selection of positions moves before the layer; what may be a selection of features does not, or says so."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS701"
X: Inputs = ((4, 7, 16),)
FC = "self.fc = nn.Linear(16, 5)\nself.norm = nn.LayerNorm(16)\n"
SHAPE = "B, T, C = x.shape\n"
IDS = torch.randint(0, 9, (4, 7))


@dataclass
class Case:
    """One file, what must stand in it afterwards, and how safe that is."""

    id: str
    text: str
    after: str
    inputs: Inputs = X
    safety: Safety = Safety.EXACT


def case(
    id: str, init: str, forward: str, after: str, inputs: Inputs = X, safety: Safety = Safety.EXACT, **around: str
) -> Case:
    return Case(id, module(init, forward, **around), after, inputs, safety)


INDICES = [
    case(f"index {index}", FC, f"{SHAPE}return self.fc(x){index}", f"return self.fc(x{index})")
    for index in (
        "[:, -1]",
        "[:, 0]",
        "[:, -1, :]",
        "[:, [-1], :]",
        "[:, 1:]",
        "[:, :3]",
        "[:, ::2]",
        "[:, -1:]",
        "[0]",
        "[0, 1]",
        "[1:]",
        "[..., -1, :]",
        "[..., 1:, :]",
        "[0, ...]",
        "[:, 0, ...]",
        "[:, T - 1]",
        "[:, T // 2]",
        "[:, x.size(1) - 1]",
        "[:, len(x)]",
        "[:, : T - 1]",
        "[torch.arange(B), torch.tensor([0, 2, 1, 6])]",
        "[torch.arange(x.size(0)), -1]",
        ".select(1, 0)",
        ".select(dim=1, index=-1)",
        ".select(-2, 0)",
        ".narrow(1, 2, 3)",
        ".index_select(1, torch.arange(3))",
        "[x[:, :, 0] > 0]",
        "[x.sum(-1) > 0]",
        "[~(x.sum(-1) > 0)]",
        "[x[:, :, 0].bool()]",
    )
    if index != "[:, [-1], :]"
] + [
    case(f"function {call}", FC, f"{SHAPE}return {call}", after)
    for call, after in (
        ("torch.select(self.fc(x), 1, 0)", "self.fc(torch.select(x, 1, 0))"),
        ("torch.narrow(self.fc(x), 1, 2, 3)", "self.fc(torch.narrow(x, 1, 2, 3))"),
        ("torch.index_select(self.fc(x), 1, torch.arange(2))", "self.fc(torch.index_select(x, 1, torch.arange(2)))"),
    )
]

WHO = [
    case(f"layer {made}", f"self.f = {made}", f"{SHAPE}return self.f(x)[:, 0]", "return self.f(x[:, 0])")
    for made in (
        "nn.Linear(16, 5)",
        "nn.Linear(16, 5, bias=False)",
        "nn.LayerNorm(16)",
        "nn.LayerNorm((16,))",
        "nn.LayerNorm([16], eps=1e-6)",
        "nn.RMSNorm(16)",
        "nn.GELU()",
        "nn.ReLU()",
        "nn.LeakyReLU(0.2)",
        "nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 5))",
        "nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 3))",
        "nn.Sequential(nn.Linear(16, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))",
    )
] + [
    case(f"function {call}", "pass", f"{SHAPE}return {call}[:, 0]", call.replace("(x", "(x[:, 0]", 1))
    for call in (
        "F.linear(x, torch.ones(3, 16).to(x))",
        "F.layer_norm(x, (16,))",
        "F.rms_norm(x, [16])",
        "F.relu(x)",
        "torch.sigmoid(x)",
        "F.gelu(x, approximate='tanh')",
    )
]

ELEMENTS = [
    case(f"element {index}", "pass", f"return torch.tanh(x){index}", f"return torch.tanh(x{index})")
    for index in ("[..., 0]", "[:, :, 3]", "[0]", "[..., :8]", "[:, 0]", ".select(-1, 2)", "[:, :, 0:4]")
]

RANKS = (
    [
        case(f"shown by {body}", FC, f"{body}\nreturn self.fc(x)[:, -1]", "self.fc(x[:, -1])")
        for body in (
            "B, T, C = x.shape",
            "B, T, C = x.size()",
            "x = x.view(4, 7, 16)",
            "x = x.transpose(1, 2).transpose(1, 2)",
            "n = x.size(2)",
            "x = x.permute(0, 1, 2)",
            "y = x.mean(dim=2)",
            "assert x.size(2) == 16",
        )
    ]
    + [
        case("shown by an embedding", "self.e = nn.Embedding(9, 16)\n" + FC, f"b, t = x.shape\n{body}", after, (IDS,))
        for body, after in (
            ("return self.fc(self.e(x))[:, -1]", "self.fc(self.e(x[:, -1]))"),
            ("x = self.norm(self.e(x))\nreturn self.fc(x)[:, -1, :]", "self.norm(self.e(x[:, -1]))"),
        )
    ]
    + [
        case(
            "shown by the next layer",
            "self.norm = nn.LayerNorm(16)\nself.head = nn.Linear(16, 3)",
            "x = self.norm(x)\nreturn self.head(x[:, 0])",
            "x = self.norm(x[:, 0])\n        return self.head(x)\n",
        ),
        case(
            "shown by the next layer, named",
            "dim = 16\nself.norm = nn.LayerNorm(dim)\nself.drop = nn.Dropout(0.0)\nself.head = nn.Linear(dim, 3)",
            "return self.head(self.drop(self.norm(x)[:, 0]))",
            "self.drop(self.norm(x[:, 0]))",
        ),
        case("not shown", FC, "return self.fc(x)[:, -1]", "return self.fc(x[:, -1])", safety=Safety.NUMERICS),
        case("not shown, first", FC, "return self.fc(x)[:, 0]", "return self.fc(x[:, 0])", safety=Safety.NUMERICS),
        case(
            "not shown, from the second on", FC, "return self.fc(x)[:, 1:]", "self.fc(x[:, 1:])", safety=Safety.NUMERICS
        ),
        case(
            "a weight that may have one dimension",
            "self.w = nn.Parameter(torch.randn(3, 16))",
            "return F.linear(x, self.w)[..., 0, :]",
            "F.linear(x[..., 0, :], self.w)",
            safety=Safety.NUMERICS,
        ),
        case("a weight of a layer", FC, "return F.linear(x, self.fc.weight).select(-2, 0)", "F.linear(x.select(-2, 0)"),
        case(
            "not shown in a branch",
            FC,
            f"if x.sum() > 1e9:\n    {SHAPE.strip()}\nreturn self.fc(x)[:, -1]",
            "return self.fc(x[:, -1])",
            safety=Safety.NUMERICS,
        ),
        case(
            "two dimensions and a row", FC, "n, c = x.shape\nreturn self.fc(x)[1:]", "return self.fc(x[1:])", ((5, 16),)
        ),
        case(
            "a mask of two dimensions",
            FC,
            "B, T, C = x.shape\nm = x.sum(-1) > 0\nb, t = m.shape\nreturn self.fc(x)[m]",
            "return self.fc(x[m])",
        ),
        case(
            "a mask of unknown dimensions",
            FC,
            f"{SHAPE}return self.fc(x)[mask]",
            "return self.fc(x[mask])",
            (*X, torch.rand(4, 7) > 0.5),
            Safety.NUMERICS,
            arguments="self, x, mask",
        ),
        case(
            "lengths",
            FC,
            "out = self.fc(x)\nreturn out[torch.arange(x.size(0)), lengths - 1]",
            "out = self.fc(x[torch.arange(x.size(0)), lengths - 1])\n        return out\n",
            (*X, torch.tensor([1, 7, 3, 2])),
            Safety.NUMERICS,
            arguments="self, x, lengths",
        ),
        case(
            "a number that is annotated",
            FC,
            f"{SHAPE}return self.fc(x)[:, t]",
            "self.fc(x[:, t])",
            X,
            arguments="self, x, t: int = 2",
        ),
        case(
            "a number by its name",
            FC,
            f"{SHAPE}return self.fc(x)[:, t]",
            "self.fc(x[:, t])",
            X,
            Safety.NUMERICS,
            arguments="self, x, t=2",
        ),
        case(
            "numbers of a loop",
            FC,
            f"{SHAPE}return [self.fc(x)[:, i] for i in range(1)] and self.fc(x)[:, 2]",
            "self.fc(x[:, 2])",
        ),
        case(
            "in a loop",
            FC,
            f"{SHAPE}y = 0\nfor t in range(T):\n    y = y + self.fc(x)[:, t]\nreturn y",
            "y + self.fc(x[:, t])",
        ),
    ]
)

EMBEDDINGS = [
    case(
        f"embedding {index}",
        "self.e = nn.Embedding(9, 5, padding_idx=0)",
        f"b, t = x.shape\nreturn self.e(x){index}",
        f"self.e(x{after})",
        (IDS,),
    )
    for index, after in (
        ("[:, 0]", "[:, 0]"),
        ("[:, 0, :]", "[:, 0]"),
        ("[..., -1, :]", "[..., -1]"),
        ("[:, 1:, :]", "[:, 1:]"),
        ("[0]", "[0]"),
        ("[0, :, :]", "[0]"),
        (".select(1, 0)", ".select(1, 0)"),
        (".select(-2, 0)", ".select(-1, 0)"),
        (".select(dim=-2, index=0)", ".select(dim=-1, index=0)"),
        (".select(-3, 0)", ".select(-2, 0)"),
        (".narrow(-2, 0, 2)", ".narrow(-1, 0, 2)"),
        (".index_select(-2, torch.arange(2))", ".index_select(-1, torch.arange(2))"),
        ("[x > 3]", "[x > 3]"),
    )
] + [
    case(
        f"embedding {call}",
        f"self.e = {made}",
        f"b, t = x.shape\nreturn {call}",
        after,
        (IDS,),
    )
    for made, call, after in (
        ("nn.Embedding(9, 5)", "torch.select(self.e(x), -2, 0)", "self.e(torch.select(x, -1, 0))"),
        ("nn.Embedding(9, 5)", "F.embedding(x, self.e.weight).select(-2, 0)", "F.embedding(x.select(-1, 0), "),
        ("nn.Sequential(nn.Embedding(9, 5), nn.ReLU())", "self.e(x).select(-2, 0)", "self.e(x.select(-1, 0))"),
    )
]

PLACES = [
    case(
        "a chain",
        FC,
        f"{SHAPE}return self.fc(torch.tanh(self.norm(x)))[:, -1]",
        "return self.fc(torch.tanh(self.norm(x[:, -1])))",
    ),
    case(
        "a chain of statements",
        FC,
        f"{SHAPE}x = self.norm(x)\nx = self.fc(x)\nreturn x[:, -1]",
        "x = self.norm(x[:, -1])\n        x = self.fc(x)\n        return x\n",
    ),
    case(
        "one name",
        FC,
        "logits = self.fc(x + 1)\nlogits = logits[:, -1, :]\nreturn logits",
        "logits = (x + 1)[:, -1, :]\n        logits = self.fc(logits)\n",
    ),
    case(
        "one name in an expression",
        FC,
        "logits = self.fc(x)\nlogits = logits[:, -1, :] / 2.0\nreturn torch.softmax(logits, -1)",
        "logits = self.fc(x[:, -1, :])\n        logits = logits / 2.0\n",
    ),
    case(
        "two names",
        FC,
        "h = self.fc(x)\nlast = h[:, -1, :]\nreturn last",
        "        last = self.fc(x[:, -1, :])\n        return last\n",
    ),
    case(
        "two names with comments",
        FC,
        "h = self.fc(x)  # all\n# the last\nlast = h[:, -1, :]  # one\nreturn last",
        "last = self.fc(x[:, -1, :])  # one\n",
    ),
    case(
        "statements between",
        FC,
        "h = self.fc(x)\nn = x.mean()\ny = h[:, -1, :] * n\nreturn y",
        "h = self.fc(x[:, -1, :])\n        n = x.mean()\n        y = h * n\n",
    ),
    case(
        "one name apart",
        FC,
        "h = self.fc(x)\nn = x.mean()\nh = h[:, -1, :]  # last\nreturn h * n",
        "h = self.fc(x[:, -1, :])\n        n = x.mean()\n        return h * n\n",
    ),
    case("a sum", FC, "return self.fc(x + x.mean())[:, -1, :]", "self.fc((x + x.mean())[:, -1, :])"),
    case(
        "a conditional", FC, "return self.fc(x if x.dim() else x + 1)[:, 0, :]", "((x if x.dim() else x + 1)[:, 0, :])"
    ),
    case("a keyword", FC, "return self.fc(input=x)[:, 0, :]", "self.fc(input=x[:, 0, :])"),
    case("a keyword of a sum", FC, "return self.fc(input=x + 1)[:, 0, :]", "self.fc(input=(x + 1)[:, 0, :])"),
    case("parentheses", FC, "return (self.fc(x))[:, 0, :]", "self.fc(x[:, 0, :])"),
    case(
        "a size of a config",
        "config = SimpleNamespace(size=16)\nself.norm = nn.LayerNorm(config.size)",
        "return self.norm(x)[:, 0, :]",
        "self.norm(x[:, 0, :])",
        head="from types import SimpleNamespace\n\nconfig = SimpleNamespace(size=16)\nproj = nn.Linear(config.size, 4)",
    ),
    case("a cast", FC, "return self.fc(x).float()[:, 0, :].double()", "self.fc(x[:, 0, :]).float().double()"),
    case(
        "over lines",
        FC,
        "h = self.fc(\n    x  # all\n)\nreturn h[\n    :, -1, :\n]",
        "return h\n",
    ),
    case("initialised", FC + "nn.init.zeros_(self.fc.bias)", "return self.fc(x)[:, 0, :]", "self.fc(x[:, 0, :])"),
    case("called twice", FC, "return self.fc(x)[:, 0, :] + self.fc(x).sum()", "self.fc(x[:, 0, :])"),
    case("a view written to behind", "pass", "y = F.softplus(x)[:, 0]\ny += 1\nreturn y", "F.softplus(x[:, 0])"),
    case("written to behind", FC, "y = self.fc(x)[:, 0, :]\ny[y < 0] = -1e9\nreturn y", "self.fc(x[:, 0, :])"),
    case("in a no_grad", FC, "with torch.no_grad():\n    y = self.fc(x)[:, 0, :]\nreturn y", "self.fc(x[:, 0, :])"),
    case(
        "in a branch",
        FC,
        "if x.dim() == 3:\n    h = self.fc(x)\n    return h[:, 0, :]\nreturn x",
        "h = self.fc(x[:, 0, :])",
    ),
    case("a method of it", FC, "return self.fc(x)[:, -1, :].argmax(-1)", "self.fc(x[:, -1, :]).argmax(-1)"),
    Case(
        "tabs",
        module(FC, "h = self.fc(x)\nreturn h[:, 0, :]").replace("    ", "\t"),
        "h = self.fc(x[:, 0, :])\n\t\treturn h\n",
    ),
    Case(
        "windows line ends",
        module(FC, "h = self.fc(x)\nreturn h[:, 0, :]").replace("\n", "\r\n"),
        "h = self.fc(x[:, 0, :])\r\n        return h\r\n",
    ),
]


@pytest.mark.parametrize("case", INDICES + WHO + ELEMENTS + RANKS + EMBEDDINGS + PLACES, ids=lambda case: case.id)
def test_moved(case: Case) -> None:
    result = equivalent(case.text, case.inputs, codes=frozenset({CODE}), deep=False)
    assert case.after in result.text, result.text
    assert {finding.safety for finding in result.applied} == {case.safety}


def test_the_title_says_what_is_assumed() -> None:
    text = module(FC, "return self.fc(x)[:, -1]")
    (finding,) = [one for one in Analysis(text).findings if one.code == CODE]
    assert finding.title == (
        "Select `[:, -1]` before `fc` (numerics: assumes that `fc` gives three dimensions or more)"
    )


@pytest.mark.parametrize(
    "forward", ["return h[:, 0, :], h", "return h.sum() + h[:, 0, :]", "del h[0]\nreturn h[:, 0, :]"]
)
def test_that_the_whole_output_is_used_is_no_news(forward: str) -> None:
    assert refused(module(FC, f"h = self.fc(x)\n{forward}"), CODE) == []


def test_selections_of_one_output_are_told_of_once() -> None:
    assert len(refused(module(FC, "h = self.fc(x)\nreturn h[:, 0, :] + h[:, 1, :] + h[:, 2, :]"), CODE)) == 1


def test_a_tied_weight_is_no_obstacle() -> None:
    text = module(
        "self.emb = nn.Embedding(9, 16)\nself.head = nn.Linear(16, 9, bias=False)\nself.head.weight = self.emb.weight",
        "return self.head(self.emb(x) + 1)[:, -1, :]",
    )
    (finding,) = [one for one in Analysis(text).findings if one.code == CODE]
    assert finding.safety is Safety.EXACT


@dataclass
class Miss:
    id: str
    text: str
    reason: str = ""


def miss(id: str, init: str, forward: str, reason: str = "", **around: str) -> Miss:
    return Miss(id, module(init, forward, **around), reason)


FEATURES = (
    [
        miss(f"features {index}", FC, f"return self.fc(x){index}", reason)
        for index, reason in (
            ("[..., 0]", "takes features"),
            ("[..., :3]", "takes features"),
            ("[..., -1]", "takes features"),
            (".select(-1, 0)", "takes features"),
            (".narrow(-1, 0, 2)", "takes features"),
            ("[:, None]", ""),
            ("[None]", ""),
            ("[:]", ""),
            ("[...]", ""),
            ("[:, :, :]", ""),
            ("[index]", "takes a position more than once"),
            ("[:, index]", "takes a position more than once"),
            ("[index, :]", "takes a position more than once"),
            ("[[0, 0, 1]]", "takes a position more than once"),
            ("[torch.tensor([0, 0])]", "takes a position more than once"),
            ("[:, torch.tensor([0, 0])]", "takes a position more than once"),
            ("[a, b]", "takes a position more than once"),
            (".index_select(1, index)", "more than once"),
            (".select(d, 0)", ""),
            (".gather(1, index)", ""),
            (".sum(1)", ""),
            (".max(1)", ""),
            (".view(4, 7, 5)", ""),
            (".chunk(2, 1)", ""),
            ("[x := 0]", "bound inside"),
            ("[self.next()]", "more than once"),
            ("[:, self.next()]", "more than once"),
        )
    ]
    + [
        miss(f"features of a matrix {index}", FC, f"n, c = x.shape\nreturn self.fc(x){index}", "takes features")
        for index in ("[:, -1]", "[:, 0]", "[:, 1:]", "[0, 1]", ".select(1, 0)", "[:, 0, ...]")
    ]
    + [
        miss("features of a flat view", FC, "return self.fc(x.view(-1, 16))[:, 0]", "takes features"),
        miss("features of three", FC, f"{SHAPE}return self.fc(x)[:, :, 0]", "takes features"),
        miss("features of a mask", FC, "n, c = x.shape\nm = x > 0\nreturn self.norm(x)[m]", "takes features"),
        miss("all features of a row", FC, "n, c = x.shape\nreturn self.fc(x)[0, 0]", "takes features"),
    ]
)

IMPROBABLE = [
    miss(f"perhaps features: {id}", init, f"return {call}", "positions, not features")
    for id, init, call in (
        ("the third index", FC, "self.fc(x)[:, :, 0]"),
        ("the third index of a tail", FC, "self.fc(x)[:, :, 1:]"),
        ("a value head", "self.fc = nn.Linear(16, 1)", "self.fc(x)[:, 0]"),
        ("a reward head", "self.fc = nn.Linear(16, 1)", "self.fc(x)[:, -1]"),
        (
            "a value head in a row",
            "self.fc = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))",
            "self.fc(x)[:, 0]",
        ),
        ("the last of five", FC, "self.fc(x)[:, 4]"),
        ("the second of five", FC, "self.fc(x)[:, 1]"),
        ("the first three of five", FC, "self.fc(x)[:, :3]"),
        ("one of two", "self.fc = nn.Linear(16, 2)", "self.fc(x)[:, 0]"),
        ("by a method", FC, "self.fc(x).select(2, 0)"),
        ("one index behind another", FC, "self.norm(x)[0][0][0]"),
    )
]

OTHERS = [
    miss(f"another layer {made}", f"self.f = {made}", f"{SHAPE}return self.f(x)[:, 0]", reason)
    for made, reason in (
        ("nn.BatchNorm1d(7)", ""),
        ("nn.GroupNorm(1, 7)", ""),
        ("nn.InstanceNorm1d(7)", ""),
        ("nn.Conv1d(7, 7, 3)", ""),
        ("nn.Dropout(0.1)", ""),
        ("nn.Softmax(1)", ""),
        ("nn.Softmax(dim=-1)", ""),
        ("nn.LayerNorm((7, 16))", "several dimensions"),
        ("nn.LayerNorm([7, 16])", "several dimensions"),
        ("nn.RMSNorm([7, 16])", "several dimensions"),
        ("nn.LayerNorm(*sizes)", ""),
        ("nn.TransformerEncoderLayer(16, 4)", ""),
        ("nn.ReLU(inplace=True)", ""),
        ("nn.PReLU()", ""),
        ("nn.Flatten()", ""),
        ("nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.1))", "other random numbers"),
        ("nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(7))", ""),
        ("nn.Sequential(nn.ReLU(inplace=True), nn.Linear(16, 16))", ""),
        ("nn.Sequential(nn.Linear(16, 16), self.other)", ""),
        ("nn.Sequential(nn.LayerNorm((7, 16)), nn.Linear(16, 4))", "several dimensions"),
        ("nn.Sequential(*layers)", ""),
        ("Block(16)", ""),
        ("layer(16)", ""),
    )
] + [
    miss("an attention", "self.a = nn.MultiheadAttention(16, 4)", "return self.a(x, x, x)[0][:, 0]"),
    miss("a recurrent layer", "self.l = nn.LSTM(16, 4)", "return self.l(x)[0][:, -1, :]"),
    miss("softmax over positions", "pass", f"{SHAPE}return x.softmax(1)[:, 0]"),
    miss("a cumulative sum", "pass", f"{SHAPE}return x.cumsum(1)[:, 0]"),
    miss("a layer norm over two", "pass", "return F.layer_norm(x, (7, 16))[:, 0, :]"),
    miss("a layer norm over a shape", "pass", "return F.layer_norm(x, x.shape[1:])[:, 0, :]"),
    miss(
        "an embedding with a largest norm",
        "self.e = nn.Embedding(9, 4, max_norm=1.0)",
        "return self.e(x)[:, 0, :]",
        "max_norm",
    ),
    miss(
        "an embedding that counts",
        "self.e = nn.Embedding(9, 4, scale_grad_by_freq=True)",
        "return self.e(x)[:, 0, :]",
        "scale_grad_by_freq",
    ),
    miss(
        "an embedding's features",
        "self.e = nn.Embedding(9, 4)",
        "b, t = x.shape\nreturn self.e(x)[:, :, 0]",
        "takes features",
    ),
    miss("made under a condition", "if x:\n    self.f = nn.Linear(16, 4)", "return self.f(x)[:, 0, :]"),
    miss("a parameter's layer", "self.f = make(16)", "return self.f(x)[:, 0, :]"),
    miss("a relu in place", "pass", "return F.relu(x, inplace=True)[:, 0]"),
]

USES = [
    miss(f"use: {id}", FC, forward, reason)
    for id, forward, reason in (
        ("twice", "h = self.fc(x)\nreturn h[:, 0, :], h", ""),
        ("two selections", "h = self.fc(x)\nreturn h[:, 0, :] + h[:, 1, :]", "used again"),
        ("its shape", "h = self.fc(x)\nn = h.shape[1]\nreturn h[:, 0, :] * n", "used again"),
        ("kept", "h = self.fc(x)\nself.h = h\nreturn h[:, 0, :]", ""),
        ("captured", "h = self.fc(x)\nf = lambda: h\nreturn h[:, 0, :] + f()", ""),
        ("another name", "h = self.fc(x)\ng = h\nreturn h[:, 0, :] + g.sum()", ""),
        ("deleted", "h = self.fc(x)\ny = h[:, 0, :]\ndel h\nreturn y", ""),
        ("two targets", "h = g = self.fc(x)\nreturn h[:, 0, :]", "variable of its own"),
        ("a tuple", "h, n = self.fc(x), 1\nreturn h[:, 0, :]", "variable of its own"),
        ("a walrus", "return (h := self.fc(x))[:, 0, :]", ""),
        ("another branch", "h = self.fc(x)\nif self.training:\n    return h[:, 0, :]\nreturn x", "branches"),
        ("a loop", "h = self.fc(x)\ny = 0\nfor t in range(3):\n    y = y + h[:, t, :]\nreturn y", "branches"),
        ("in place between", "h = self.fc(x)\nh += 1\nreturn h[:, 0, :]", ""),
        ("in place by an element", "h = self.fc(x)\nh[:, 0] = 0\nreturn h[:, 0, :]", ""),
        ("in place by a method", "h = self.fc(x)\nh.mul_(2)\nreturn h[:, 0, :]", ""),
        ("the index bound behind", "h = self.fc(x)\nt = 3\nreturn h[:, t, :]", "bound only behind"),
        ("the index rebound", "t = 0\nh = self.fc(x)\nt = t + 1\nreturn h[:, t, :]", "bound only behind"),
        ("the index of the output's name", "x = self.fc(x)\nreturn x[:, x.size(1) - 1, :]", "used again"),
        ("the index set behind", "h = self.fc(x)\nself.i = 1\nreturn h[:, : self.i, :]", "set only behind"),
        (
            "the index may be set by a call",
            "h = self.fc(x)\nself.step()\nreturn h[:, : self.i, :]",
            "may be changed between",
        ),
        ("the mask changed", "m = x.sum(-1) > 0\nh = self.fc(x)\nm[0] = True\nreturn h[m]", "may be changed between"),
        ("a copy written to", "m = x.sum(-1) > 0\ny = torch.sigmoid(x)[m]\ny.mul_(2)\nreturn y", "in place behind"),
        (
            "a selected copy written to",
            "y = torch.index_select(F.relu(x), 1, torch.arange(2))\ny += 1\nreturn y",
            "in place behind",
        ),
        ("leaves between", "h = self.fc(x)\nif self.training:\n    return x\nreturn h[:, 0, :]", "may leave"),
        ("a generator", "h = self.fc(x)\nyield x\nyield h[:, 0, :]", "before the second"),
        (
            "a try",
            "try:\n    h = self.fc(x)\n    y = h[:, 0, :]\nexcept ValueError:\n    y = x\nreturn y",
            "may be caught",
        ),
        (
            "a handler that reads",
            "try:\n    h = self.fc(x)\n    y = h[:, 0, :]\n    h = 0\nexcept ValueError:\n    y = h\nreturn y",
            "",
        ),
        ("rebound in a branch", "h = self.fc(x)\nif self.training:\n    h = x\nreturn h[:, 0, :]", ""),
        ("a starred input", "return self.fc(*x)[:, 0, :]", ""),
        ("two inputs", "return self.fc(x, x)[:, 0, :]", ""),
    )
]

TOUCHED = [
    miss(f"the layer is {id}", FC + init, "return self.fc(x)[:, 0, :]", reason, **around)
    for id, init, reason, around in (
        ("hooked", "self.fc.register_forward_hook(print)", "may be replaced or handed on", {}),
        ("wrapped", "self.fc = nn.utils.weight_norm(self.fc)", "", {}),
        ("handed on", "self.all = [self.fc]", "may be replaced or handed on", {}),
        ("replaced", "self.fc = nn.BatchNorm1d(7)", "", {}),
        ("replaced from outside", "", "may be replaced", {"tail": "def f(m):\n    m.fc = nn.Identity()\n"}),
        ("replaced by name", "", "computed name", {"tail": "def f(m, n):\n    setattr(m, n, nn.Identity())\n"}),
        (
            "hooked by name",
            "",
            "may hook",
            {"tail": "def f(m):\n    m.get_submodule('fc').register_forward_hook(print)\n"},
        ),
        (
            "a method too",
            "",
            "class attribute or method",
            {"tail": "class N(M):\n    def fc(self, x):\n        return x\n"},
        ),
        (
            "another in a subclass",
            "",
            "may be replaced",
            {
                "tail": "class N(M):\n    def __init__(self):\n        super().__init__()\n"
                "        self.fc = nn.GroupNorm(1, 7)\n"
            },
        ),
    )
] + [
    Miss("another base", module(FC, "return self.fc(x)[:, 0, :]").replace("nn.Module", "Base"), "inherits from"),
    Miss(
        "a global script",
        "import torch\nimport torch.nn.functional as F\n\nx = torch.randn(2, 3, 4)\nh = F.relu(x)\ny = h[:, 0]\n",
    ),
    Miss("a test", "import torch\n\n\ndef test_first(x):\n    return torch.sigmoid(x)[:, 0]\n"),
    Miss("another framework", "import jax\nimport torch\n\n\ndef f(x):\n    return x.sigmoid()[:, 0]\n"),
    Miss("another array", "import numpy as np\n\n\ndef f(x):\n    return np.tanh(x)[:, 0]\n"),
]

MISSES = FEATURES + IMPROBABLE + OTHERS + USES + TOUCHED


@pytest.mark.parametrize("miss", MISSES, ids=lambda miss: miss.id)
def test_left_alone(miss: Miss) -> None:
    reasons = refused(miss.text, CODE)
    if miss.reason:
        assert any(miss.reason in reason for reason in reasons), reasons
