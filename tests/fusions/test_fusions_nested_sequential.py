"""FUS113: nested Sequentials are one; where names of parameters change, old checkpoints load through a hook."""

from __future__ import annotations

import pytest

from equivalence.harness import Inputs, equivalent, module, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS113"
ROWS: Inputs = ((3, 6),)
IMAGES: Inputs = ((2, 3, 6, 6),)
EXACT, CHECKPOINT, BREAKING = Safety.EXACT, Safety.CHECKPOINT, Safety.BREAKING
TWO = "nn.Sequential(nn.Linear(6, 6), nn.ReLU())"

FLAT: list[tuple[str, str, Safety, Inputs]] = [
    (f"nn.Sequential({TWO}, nn.Linear(6, 2))", "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))", CHECKPOINT,
     ROWS),
    (f"nn.Sequential(nn.Linear(6, 6), {TWO})", "nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU())", CHECKPOINT,
     ROWS),
    (f"nn.Sequential({TWO})", "nn.Sequential(nn.Linear(6, 6), nn.ReLU())", CHECKPOINT, ROWS),
    (f"nn.Sequential({TWO}, {TWO}, nn.Linear(6, 2))",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))", CHECKPOINT, ROWS),
    (f"nn.Sequential(nn.Sequential({TWO}, nn.Linear(6, 4)), nn.Linear(4, 2))",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 2))", CHECKPOINT, ROWS),
    (f"nn.Sequential(nn.Sequential(nn.Sequential({TWO})), nn.Tanh())",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Tanh())",
     CHECKPOINT, ROWS),
    ("nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), nn.BatchNorm2d(3))",
     "nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)", CHECKPOINT, IMAGES),
    ("nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), nn.Linear(6, 3)), nn.Sequential(nn.ELU()), nn.Linear(3, 2))",
     "nn.ReLU(), nn.Tanh(), nn.Linear(6, 3), nn.ELU(), nn.Linear(3, 2)", CHECKPOINT, ROWS),
    # no name of a parameter changes
    ("nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.ReLU(), nn.Dropout(0.1)))",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Dropout(0.1))", EXACT, ROWS),
    ("nn.Sequential(nn.Sequential(nn.ReLU(), nn.LeakyReLU(0.1)), nn.Sequential(nn.Tanh()))",
     "nn.Sequential(nn.ReLU(), nn.LeakyReLU(0.1), nn.Tanh())", EXACT, ROWS),
    ("nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.ReLU()), nn.Linear(6, 2))",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))", EXACT, ROWS),
    # what is no plain literal stays
    (f"nn.Sequential({TWO}, nn.Sequential(*[nn.Tanh()]))",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Sequential(*[nn.Tanh()]))",
     CHECKPOINT, ROWS),
    (f"nn.Sequential({TWO}, nn.Sequential())", "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Sequential())",
     CHECKPOINT, ROWS),
    # over lines
    ("nn.Sequential(\n    nn.Sequential(\n        nn.Linear(6, 6),\n        nn.ReLU(),\n    ),\n"
     "    nn.Linear(6, 2),  # out\n)",
     "nn.Sequential(\n            nn.Linear(6, 6),\n            nn.ReLU(),\n"
     "            nn.Linear(6, 2),  # out\n        )",
     CHECKPOINT, ROWS),
    ("nn.Sequential(\n    nn.Sequential(nn.Linear(6, 6), nn.ReLU()),\n    nn.Linear(6, 2),\n)",
     "nn.Sequential(\n            nn.Linear(6, 6),\n            nn.ReLU(),\n            nn.Linear(6, 2),\n        )",
     CHECKPOINT, ROWS),
    ("nn.Sequential(\n    nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 2)\n)",
     "nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))", CHECKPOINT, ROWS),
    ("nn.Sequential(\n    nn.Sequential(\n        nn.Linear(\n            6,\n            6,\n"
     "        ),\n        nn.ReLU(),\n    ),\n"
     "    nn.Tanh(),\n)",
     "nn.Sequential(\n            nn.Linear(\n                6,\n                6,\n"
     "            ),\n            nn.ReLU(),\n"
     "            nn.Tanh(),\n        )", CHECKPOINT, ROWS),
]  # fmt: skip


@pytest.mark.parametrize(("net", "flat", "safety", "inputs"), FLAT)
def test_flat(net: str, flat: str, safety: Safety, inputs: Inputs) -> None:
    text = module("self.net = " + net, "return self.net(x)")
    result = equivalent(text, inputs, codes=frozenset({CODE}), deep=safety is CHECKPOINT and "Conv" in net)
    assert [one.safety for one in result.applied] == [safety]
    assert flat in result.text
    assert ("register_load_state_dict_pre_hook" in result.text) == (safety is CHECKPOINT)


def test_elements_of_the_file_keep_their_state() -> None:
    head = (
        "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.parts = nn.Sequential(nn.Linear(6, 6), nn.Tanh())\n\n"
        "    def forward(self, x):\n        return self.parts(x)"
    )
    text = module(
        "self.net = nn.Sequential(nn.Sequential(nn.Linear(6, 6), Block()), Block())", "return self.net(x)", head=head
    )
    result = equivalent(text, ROWS, codes=frozenset({CODE}))
    assert [one.safety for one in result.applied] == [CHECKPOINT]


def test_two_of_one_class() -> None:
    text = module(
        f"self.a = nn.Sequential({TWO}, nn.Tanh())\nself.b = nn.Sequential({TWO}, {TWO})", "return self.b(self.a(x))"
    )
    result = equivalent(text, ROWS, codes=frozenset({CODE}), deep=False)
    assert len(result.applied) == 2


def test_one_after_another_fusion() -> None:
    text = module(
        "self.net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()), nn.Conv2d(3, 2, 1))",
        "return self.net(x)",
    )
    result = equivalent(text, IMAGES, codes=frozenset({CODE, "FUS101"}), deep=False, tolerance=1e-9)
    assert CODE in {one.code for one in result.applied}


def test_loaded_past_hooks() -> None:
    text = (
        module(f"self.net = nn.Sequential({TWO}, nn.Linear(6, 2))", "return self.net(x)")
        .replace("from torch import nn\n", "from torch import nn\nfrom transformers import PreTrainedModel\n")
        .replace("class M(nn.Module)", "class M(PreTrainedModel)")
    )
    found = [one for one in Analysis(text).findings if one.code == CODE]
    assert [one.safety for one in found] == [BREAKING]


NET = f"self.net = nn.Sequential({TWO}, nn.Linear(6, 2))"
REFUSED: list[tuple[str, str, str, str]] = [
    ("indexed", NET, "return self.net[1](x)", "apart"),
    ("sliced", NET, "return self.net[:1](x)", "apart"),
    ("iterated", NET, "for layer in self.net:\n    x = layer(x)\nreturn x", "apart"),
    ("counted", NET, "return self.net(x) * len(self.net)", "len"),
    ("handed on", NET + "\nself.shared = self.net", "return self.shared[0](x)", ""),
    ("hooked", NET + "\nself.net.register_forward_hook(print)", "return self.net(x)", ""),
    ("appended to", NET + "\nself.net.append(nn.ReLU())", "return self.net(x)", ""),
    ("initialised by part", NET + "\nnn.init.zeros_(self.net[0][0].weight)", "return self.net(x)", "apart"),
    ("named in a string", NET + "\nself.frozen = ['net.0']", "return self.net(x)", "net"),
    ("by name", NET + "\nself.names = [n for n, p in self.named_parameters()]", "return self.net(x)", "names"),
    ("asked what it is", NET + "\nself.n = [isinstance(m, nn.Sequential) for m in self.modules()]",
     "return self.net(x)", "asks"),
    ("a parameterless one in front", "self.net = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Linear(6, 2))",
     "return self.net(x)", "would tell"),
    ("comments",
     "self.net = nn.Sequential(\n    nn.Sequential(\n        nn.Linear(6, 6),  # in\n        nn.ReLU(),\n    ),\n"
     "    nn.Linear(6, 2),\n)", "return self.net(x)", "comments"),
    ("under a condition", f"if F is not None:\n    self.net = nn.Sequential({TWO}, nn.Linear(6, 2))",
     "return self.net(x)", ""),
    ("a local variable", f"net = nn.Sequential({TWO}, nn.Linear(6, 2))\nself.net = net", "return self.net(x)",
     "attribute"),
    ("in a list", f"self.nets = nn.ModuleList([nn.Sequential({TWO}, nn.Linear(6, 2))])",
     "for net in self.nets:\n    x = net(x)\nreturn x", "attribute"),
    ("a star behind", f"more = [nn.Tanh()]\nself.net = nn.Sequential({TWO}, *more)", "return self.net(x)", ""),
    ("names of its own", "from collections import OrderedDict\n"
     f"self.net = nn.Sequential(OrderedDict([('a', {TWO}), ('b', nn.Linear(6, 2))]))", "return self.net(x)", ""),
    ("inner names", "from collections import OrderedDict\n"
     "self.net = nn.Sequential(nn.Sequential(OrderedDict([('a', nn.Linear(6, 6))])), nn.Linear(6, 2))",
     "return self.net(x)", ""),
    ("a dict, perhaps", "def make():\n    return {}\nself.net = nn.Sequential(nn.Sequential(make()), nn.Linear(6, 2))",
     "return self.net(x)", ""),
    ("flat", "self.net = nn.Sequential(nn.Linear(6, 6), nn.ReLU())", "return self.net(x)", ""),
    ("another container", "self.net = nn.Sequential(nn.ModuleList([nn.Linear(6, 6)]), nn.ReLU())",
     "return self.net(x)", ""),
    ("replaced", NET + "\nself.net = nn.Identity()", "return self.net(x)", ""),
    ("picked by position", NET + "\nself.third = list(self.modules())[3]", "return self.net(x)", "position"),
    ("numbered", NET + "\nfor i, m in enumerate(self.modules()):\n    m.number = i", "return self.net(x)", "position"),
    ("all of them", NET + "\nself.all = tuple([m for m in self.modules()])", "return self.net(x)", "position"),
    ("shares its line", NET + "; self.n = 1", "return self.net(x)", "share"),
    ("read by a computed name", NET + "\nself.x = [getattr(self, n) for n in ('n' + 'et',)]", "return self.net(x)",
     "computed"),
]  # fmt: skip


@pytest.mark.parametrize(("init", "forward", "reason"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_refused(init: str, forward: str, reason: str) -> None:
    reasons = refused(module(init, forward), CODE)
    assert not reason or any(reason in one for one in reasons), reasons


ANOTHER = (f"nn.Sequential({TWO}, nn.Linear(6, 2))", "nn.Sequential(M0(), nn.Tanh())", "M0().net")


@pytest.mark.parametrize("made", ANOTHER)
def test_a_subclass_that_makes_another_one(made: str) -> None:
    head = f"class M0(nn.Module):\n    def __init__(self):\n        super().__init__()\n        {NET}\n"
    text = module(f"self.net = {made}", "return self.net(x)", head=head).replace("class M(nn.Module)", "class M(M0)")
    assert any("elsewhere too" in one for one in refused(text, CODE))


def test_modules_that_are_looped_over() -> None:
    init = NET + "\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.ones_(m.weight)"
    assert equivalent(module(init, "return self.net(x)"), ROWS, codes=frozenset({CODE}), deep=False).applied
