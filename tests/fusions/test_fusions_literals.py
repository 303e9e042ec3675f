"""Where `nn.Sequential(...)` stands, what its elements are called, and who sees them one by one."""

from __future__ import annotations

import ast

import pytest

from fuselight.fusions.literals import Literal, literals, seen_between
from fuselight.graph.module import Module
from fuselight.source.statements import StatementCache

HEAD = "import torch\nfrom collections import OrderedDict\nfrom torch import nn\n\n\n"
A, B = "nn.Conv2d(3, 8, 3)", "nn.BatchNorm2d(8)"
NET = f"nn.Sequential({A}, {B})"


def read(text: str) -> tuple[Module, list[Literal]]:
    module = Module(StatementCache().split(text, None))
    found = [
        one for statement in module.statements for scope in module.scopes(statement) for one in literals(module, scope)
    ]
    return module, found


def cls(init: str, forward: str = "return self.net(x)", base: str = "nn.Module") -> str:
    body = "".join(f"        {line}\n" for line in init.split("\n"))
    made = f"class M({base}):\n    def __init__(self):\n        super().__init__()\n{body}"
    return f"{HEAD}{made}\n    def forward(self, x):\n        {forward}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (cls(f"self.net = {NET}"), ["self.net plain: net.0 net.1"]),
        (cls(f"self.net: nn.Module = {NET}"), ["self.net plain: net.0 net.1"]),
        (cls(f"if c:\n    self.net = {NET}"), ["self.net: 0 1"]),
        (cls(f"self.net = {NET}\nself.net = {NET}"), ["self.net: 0 1", "self.net: 0 1"]),
        (cls(f"self.net = {NET} if c else nn.Identity()"), ["self.net: 0 1"]),
        (cls(f"self.net = {NET} if c else None"), ["unknown: 0 1"]),
        (
            cls(f"self.net = nn.Sequential({NET}, {B})"),
            ["self.net plain: net.0 net.1", "self.net plain: net.0.0 net.0.1"],
        ),
        (
            cls(f'self.net = nn.Sequential(OrderedDict([("a", {A}), ("b", {B})]))'),
            ["self.net plain: net.a net.b"],
        ),
        (cls(f"self.net = nn.Sequential({A}, *more, {B})"), ["self.net plain: net.0"]),
        (cls(f"self.net = nn.Sequential(*[{A}, {B}])"), ["self.net plain: net.0 net.1"]),
        (cls("self.net = nn.Sequential()"), []),
        (cls(f"self.net = torch.nn.Sequential({A})"), ["self.net plain: net.0"]),
        (cls(f"self.net = nn.Sequential(**{{'a': {A}}})"), []),
        (cls(f"net = {NET}\nself.net = net"), ["net: 0 1"]),
        (cls(f"self.a = self.b = {NET}"), []),
        (cls(f"self.nets = nn.ModuleList()\nself.nets.append({NET})"), ["self.nets[-1] contained: 0 1"]),
        (cls(f"nets = []\nnets.append({NET})"), ["nets[-1] contained: 0 1"]),
        (cls(f"self.nets = nn.ModuleList([{NET}, {NET}])"), ["self.nets contained: 0 1"] * 2),
        (cls(f"self.nets = nn.ModuleList([{NET} for _ in range(2)])"), ["self.nets contained: 0 1"]),
        (cls(f"self.net = wrap({NET})"), ["unknown: 0 1"]),
        (cls(f"self.nets = {{'a': {NET}}}"), ["unknown: 0 1"]),
        (cls(f"layers = [{A}, {B}]\nself.net = nn.Sequential(*layers)"), ["self.net plain run: ? ?"]),
        (
            cls(
                f"layers = []\nfor i in x:\n    layers += [{A}, {B}]\nlayers.append({A})\n"
                "self.net = nn.Sequential(*layers)"
            ),
            ["self.net plain run: ?", "self.net plain run: ? ?"],
        ),
        (cls(f"layers = [{A}]\nlayers.append({B})\nself.net = nn.Sequential(*layers)"), ["self.net plain run: ? ?"]),
        (
            cls(f"layers = [{A}]\nif c:\n    layers.append({B})\nself.net = nn.Sequential(*layers)"),
            ["self.net plain run: ?"] * 2,
        ),
        (cls(f"layers = [{A}, {B}]\nprint(layers)\nself.net = nn.Sequential(*layers)"), []),
        (cls(f"layers = [{A}, {B}]\nlayers.insert(0, x)\nself.net = nn.Sequential(*layers)"), []),
        (cls(f"layers = [{A}]\nlayers = [{B}]\nself.net = nn.Sequential(*layers)"), []),
        (cls(f"super().__init__({A}, {B})", base="nn.Sequential"), ["self plain: 0 1"]),
        (cls(f"super().__init__({A}, {B})"), []),
        (f"{HEAD}def f():\n    return {NET}\n", ["returned: 0 1"]),
        (f"{HEAD}def f():\n    return {NET}, 1\n", ["unknown: 0 1"]),
        (f"{HEAD}def f():\n    def g():\n        return {NET}\n    return g()\n", ["returned: 0 1"]),
        (f"{HEAD}model = {NET}\n", ["model: 0 1"]),
        ("from torch.nn import Sequential as S, Conv2d\n\nmodel = S(Conv2d(3, 8, 3))\n", ["model: 0"]),
        (f"{HEAD}def f(nn):\n    return {NET}\n", []),
        (f"from somewhere import nn\n\nmodel = {NET}\n", []),
    ],
)
def test_where_they_stand(text: str, told: list[str]) -> None:
    _, found = read(text)
    assert sorted(tell(one) for one in found) == sorted(told)


def tell(literal: Literal) -> str:
    seat = literal.seat
    where = seat.target or ("returned" if seat.returned else "unknown")
    flags = [name for name in ("contained", "plain") if getattr(seat, name)] + ["run"] * literal.run
    return f"{' '.join([where, *flags])}: {' '.join(literal.key(element) or '?' for element in literal.elements)}"


def test_they_are_read_once() -> None:
    module, found = read(cls(f"self.net = {NET}"))
    (scope,) = [one for one in module.scopes(module.statements[-1]) if one.function.name == "__init__"]
    assert literals(module, scope)[0] is literals(module, scope)[0] is found[0]


def test_a_new_import_is_a_new_reading() -> None:
    cache = StatementCache()
    before = Module(cache.split(cls(f"self.net = {NET}"), None))
    text = cls(f"self.net = {NET}").replace("from torch import nn", "from somewhere import nn")
    after = Module(cache.split(text, before.placed), before)
    for module, count in ((before, 1), (after, 0)):
        (scope,) = [one for one in module.scopes(module.statements[-1]) if one.function.name == "__init__"]
        assert len(literals(module, scope)) == count


SEEN = [
    "return self.net[0](x)",
    "return self.net[:1](x)",
    "return [m(x) for m in self.net]",
    "return look(self.net)",
    "return self.net.children()",
    "y, z = self.net\n        return y",
    "return nn.Sequential(*self.net)(x)",
    "return list(self.net)",
    "return self.net",
    "return self.other(net=self.net)",
]
NOT_SEEN = [
    "return self.net(x)",
    "return self.net(x) if self.net is not None else x",
    "return x if not self.net else self.net(x)",
    "return nn.Sequential(self.net, nn.ReLU())(x)",
    "self.net.to(x.device)\n        return self.net(x)",
    "return sum(p.numel() for p in self.net.parameters())",
    "net = self.net\n        return net(x)",
]


@pytest.mark.parametrize("made", [f"self.net = {NET}", f"if c:\n    self.net = {NET}", f"net = {NET}\nself.net = net"])
@pytest.mark.parametrize(
    ("forward", "seen"), [(one, True) for one in SEEN if one != "return self.net"] + [(one, False) for one in NOT_SEEN]
)
def test_who_sees_the_elements(made: str, forward: str, seen: bool) -> None:
    module, (literal, *_) = read(cls(made, forward))
    refusal = seen_between(module, literal)
    assert (refusal is not None) == seen, refusal


def test_the_fuse_of_the_emitter_is_let_pass_where_asked() -> None:
    fuse = (
        '\n    def fuse(self):\n        """Fold batch norms into the layers before them; new biases do not train."""\n'
        "        self.net[1] = nn.Identity()\n        self.net[0].eval()\n        return self\n"
    )
    module, (literal,) = read(cls(f"self.net = {NET}") + fuse)
    assert seen_between(module, literal) is not None
    assert seen_between(module, literal, but_by_fuse=True) is None


def test_every_literal_is_a_call_of_the_text() -> None:
    text = cls(f"self.net = nn.Sequential({NET}, {NET})")
    module, found = read(text)
    assert len(found) == 3
    assert all(isinstance(one.call, ast.Call) and one.statement in module.statements for one in found)
