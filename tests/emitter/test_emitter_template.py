"""Templates: expressions in neutral kinds with source in the place of their variables, and the tables behind them."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch

from fuselight_emitter import EmitError, PythonSnippetEmitter
from fuselight_emitter.dialects import get_dialect

IMPORTS = {"torch": "torch", "F": "torch.nn.functional"}

FILLED = [
    ("silu(x)", {"x": "self.fc(h)"}, "F.silu(self.fc(h))"),
    ("silu(x)", {"x": "a + b"}, "F.silu(a + b)"),
    ("sigmoid(-x)", {"x": "a + b"}, "torch.sigmoid(-(a + b))"),
    ("sigmoid(-x)", {"x": "a[0].b(c)"}, "torch.sigmoid(-a[0].b(c))"),
    ("sigmoid(-x)", {"x": "(a)"}, "torch.sigmoid(-(a))"),
    ("x > 0", {"x": "a if b else c"}, "(a if b else c) > 0"),
    ("a @ b.mT", {"a": "x * 2", "b": "-y"}, "(x * 2) @ (-y).mT"),
    ("x.shape[-1:]", {"x": "h"}, "h.shape[-1:]"),
    ("softmax(x, dim=d)", {"x": "h", "d": "-1"}, "torch.softmax(h, dim=-1)"),
    ("softmax(x, dim=d)", {"x": "h", "d": None}, "torch.softmax(h)"),
    ('gelu(x, approximate="tanh")', {"x": "h"}, 'F.gelu(h, approximate="tanh")'),
    ("layer_norm(x, x.shape[-1:], w, b, eps)", {"x": "h", "w": "self.weight", "b": "self.bias", "eps": "1e-5"},
     "F.layer_norm(h, h.shape[-1:], self.weight, self.bias, 1e-5)"),
    ("cosine_similarity(a, b, dim=d)", {"a": "p", "b": "q", "d": "1"}, "F.cosine_similarity(p, q, dim=1)"),
    ("d[:, None] * x", {"d": "h + 1", "x": "y + 2"}, "(h + 1)[:, None] * (y + 2)"),
    ("stack([a, b], dim=0)", {"a": "p", "b": "q"}, "torch.stack([p, q], dim=0)"),
    ("p if t else 0.0", {"p": "self.drop.p", "t": "self.training"}, "self.drop.p if self.training else 0.0"),
    ("p if t else 0.0", {"p": "a + b", "t": "c or d"}, "a + b if c or d else 0.0"),
    ("p if t else 0.0", {"p": "a if b else c", "t": "d"}, "(a if b else c) if d else 0.0"),
    ("p if t else x", {"p": "a", "t": "b if c else d", "x": "e if f else g"},
     "a if (b if c else d) else (e if f else g)"),
    ("p if t else x", {"p": "lambda: 0", "t": "(a := b)", "x": "c"}, "(lambda: 0) if (a := b) else c"),
    ("m if a is None else m & a", {"m": "x | y", "a": "z"}, "x | y if z is None else (x | y) & z"),
    ("relu(p if t else x)", {"p": "a", "t": "b", "x": "c"}, "torch.relu(a if b else c)"),
    ("(p if t else x) * y", {"p": "a", "t": "b", "x": "c", "y": "d + e"}, "(a if b else c) * (d + e)"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "operands", "source"), FILLED)
def test_a_template_filled_in(template: str, operands: dict[str, str | None], source: str) -> None:
    emitter = PythonSnippetEmitter("torch", imports=IMPORTS)
    assert emitter.render(emitter.emit_template(template, operands)) == source
    assert not emitter.missing_imports


def test_a_template_assigned_with_the_imports_that_it_needs() -> None:
    emitter = PythonSnippetEmitter("torch", imports={})
    assert emitter.render(emitter.emit_template_call("silu(x)", {"x": "h"}, "h")) == "h = F.silu(h)"
    both = emitter.emit_template_call("softmax(x)", {"x": "h"}, ("a", "b"))
    assert emitter.render(both) == "a, b = torch.softmax(h)"
    assert [one.statement() for one in emitter.missing_imports] == ["import torch.nn.functional as F", "import torch"]


def test_keywords_are_spelled_as_the_framework_spells_them() -> None:
    emitter = PythonSnippetEmitter("torch", imports=IMPORTS)
    rendered = emitter.render(emitter.emit_template("cdist(input=a, other=b)", {"a": "p", "b": "q"}))
    assert rendered == "torch.cdist(x1=p, x2=q)"


@pytest.mark.parametrize(
    ("template", "operands", "message"),
    [
        ("silu(x", {"x": "h"}, "does not parse"),
        ("silu(x)", {}, "no operand"),
        ("silu(x)", {"x": None}, "takes"),
        ("no_such_kind(x)", {"x": "h"}, "no function of this kind"),
        ("silu(x)", {"x": "h)"}, "bracket"),
        ("lambda: x", {"x": "h"}, "cannot hold"),
        ("x + y", {"x": "h", "y": None}, "no operand"),
    ],
)
def test_bad_templates(template: str, operands: dict[str, str | None], message: str) -> None:
    with pytest.raises(EmitError, match=message):
        PythonSnippetEmitter("torch", imports=IMPORTS).emit_template(template, operands)


SIGNED = sorted(kind for kind, function in get_dialect("torch").functions.items() if function.signature)


@pytest.mark.parametrize("kind", SIGNED)
def test_signatures_are_torchs(kind: str) -> None:
    """The parameters are those of the function that is emitted, with their defaults where torch tells them."""
    dialect = get_dialect("torch")
    parameters = dialect.parameters(kind)
    function = eval(dialect.functions[kind].api, {"torch": torch})  # a name of the dialect's own table
    names = [one.spelled for one in parameters]
    try:
        known = inspect.signature(function).parameters
    except ValueError:
        known = None
    if known is not None and "args" not in known:
        assert list(known)[: len(names)] == names or set(names) <= set(known), (kind, names, list(known))
        for one in parameters:
            default = known[one.spelled].default
            if one.default is not None:
                assert ast.literal_eval(one.default) == default, (kind, one.name, default)
        return
    last = dialect.functions[kind].api.rpartition(".")[2]
    operators = [f"aten::{last}", f"aten::linalg_{last}", f"aten::special_{last}", f"aten::{kind}"]
    schemas = [one for operator in operators for one in torch._C._jit_get_schemas_for_operator(operator)]
    spellings = [
        {"self": "input"}.get(argument.name, argument.name) for schema in schemas for argument in schema.arguments
    ]
    # A function of several overloads has every parameter in one of them.
    assert schemas, kind
    # `_stacklevel` and `inplace` are those of the spelling in torch.nn.functional.
    assert set(names) - {"x", "_stacklevel", "inplace"} <= {*spellings, "input"}, (kind, names)
