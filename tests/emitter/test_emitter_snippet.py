"""The statements that the emitter makes, as text, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emitter.rendered import text
from fuselight_emitter import FRAMEWORKS, EmitError, LogicalNode, PythonSnippetEmitter


def node(kind: str, id: str = "fc", **metadata: str) -> LogicalNode:
    return LogicalNode(id, kind, metadata)


@pytest.mark.parametrize(
    ("framework", "made", "source"),
    [
        ("torch", node("Conv2d", "conv1", arg_0="3", arg_1="64", kernel_size="3"),
         "self.conv1 = nn.Conv2d(3, 64, kernel_size=3)"),
        ("torch", node("torch.nn.Linear"), "self.fc = nn.Linear()"),
        ("torch", node("nn.Linear"), "self.fc = nn.Linear()"),
        ("torch", node("Linear", in_features="8", out_features="n  +1"),
         "self.fc = nn.Linear(in_features=8, out_features=n  +1)"),
        ("torch", node("ModuleList", arg_0="[a]"), "self.fc = nn.ModuleList([a])"),
        ("torch", node("torch.nn.ParameterDict"), "self.fc = nn.ParameterDict()"),
        ("torch", node("timm.layers.RmsNorm", arg_0="8"), "self.fc = timm.layers.RmsNorm(8)"),
        ("torch", node("layers._Norm"), "self.fc = layers._Norm()"),
        ("torch", node("RMSNorm", arg_0="8", eps="1e-6"), "self.fc = nn.RMSNorm(8, eps=1e-6)"),
        ("flax_nnx", node("Linear", arg_0="3", arg_1="4"), "self.fc = nnx.Linear(3, 4, rngs=rngs)"),
        ("flax", node("flax.nnx.Dropout", rate="0.1"), "self.fc = nnx.Dropout(rate=0.1, rngs=rngs)"),
        ("flax", node("Linear", arg_0="3", arg_1="4", rngs="self.rngs"), "self.fc = nnx.Linear(3, 4, rngs=self.rngs)"),
        ("flax", node("Linear", arg_0="3", options="**kw"), "self.fc = nnx.Linear(3, rngs=rngs, **kw)"),
        ("flax", node("Sequential", arg_0="*layers"), "self.fc = nnx.Sequential(*layers)"),
        ("flax", node("PReLU"), "self.fc = nnx.PReLU()"),
        ("flax", node("my.Linear"), "self.fc = my.Linear()"),
        ("keras", node("Dense", arg_0="64", activation='"relu"'),
         'self.fc = keras.layers.Dense(64, activation="relu")'),
        ("keras", node("keras.layers.Conv2D", arg_0="8"), "self.fc = keras.layers.Conv2D(8)"),
    ],
)  # fmt: skip
def test_init(framework: str, made: LogicalNode, source: str) -> None:
    emitter = PythonSnippetEmitter(framework)
    assert text(emitter, emitter.emit_init(made)) == source
    assert emitter.missing_imports == ()


@pytest.mark.parametrize(
    ("framework", "made", "inputs", "source"),
    [
        ("torch", node("Conv2d"), ["x"], "out = self.fc(x)"),
        ("torch", node("Conv2d", arg_0="3"), ["x", "mask"], "out = self.fc(x, mask)"),
        ("torch", node("timm.layers.RmsNorm"), ["x"], "out = self.fc(x)"),
        ("torch", node("Linear"), [], "out = self.fc()"),
        ("torch", node("Linear"), ["*xs"], "out = self.fc(*xs)"),
        ("torch", node("Linear"), ["a+b", "f(x)[0]", "-y", "lambda: z"], "out = self.fc(a+b, f(x)[0], -y, lambda: z)"),
        ("torch", node("Linear"), ["(a, b)", "[c]", "(y := x)"], "out = self.fc((a, b), [c], (y := x))"),
        ("torch", node("Linear"), ["i for i in x"], "out = self.fc((i for i in x))"),
        ("torch", node("relu"), ["x"], "out = torch.relu(x)"),
        ("torch", node("func_relu"), ["x"], "out = torch.relu(x)"),
        ("torch", node("torch.nn.functional.relu"), ["x"], "out = F.relu(x)"),
        ("torch", node("F.relu"), ["x"], "out = F.relu(x)"),
        ("torch", node("func_gelu"), ["x"], "out = F.gelu(x)"),
        ("torch", node("gelu", approximate='"tanh"'), ["x"], 'out = F.gelu(x, approximate="tanh")'),
        ("torch", node("softmax", dim="-1"), ["x"], "out = torch.softmax(x, dim=-1)"),
        ("torch", node("softmax", arg_0="-1"), ["x"], "out = torch.softmax(x, -1)"),
        ("torch", node("func_cat", arg_0="1"), ["[a, b]"], "out = torch.cat([a, b], 1)"),
        ("torch", node("my.func", scale="2"), ["x"], "out = my.func(x, scale=2)"),
        ("torch", node("scaled_dot_product_attention", is_causal="True"), ["q", "k", "v"],
         "out = F.scaled_dot_product_attention(q, k, v, is_causal=True)"),
        ("jax", node("relu"), ["x"], "out = jax.nn.relu(x)"),
        ("jax", node("func_exp"), ["x"], "out = jnp.exp(x)"),
        ("jax", node("rsqrt"), ["x"], "out = jax.lax.rsqrt(x)"),
        ("jax", node("vector_norm"), ["x"], "out = jnp.linalg.vector_norm(x)"),
        ("flax", node("relu"), ["x"], "out = nnx.relu(x)"),
        ("flax", node("jax.nn.relu"), ["x"], "out = jax.nn.relu(x)"),
        ("flax", node("mish"), ["x"], "out = jax.nn.mish(x)"),
        ("flax", node("func_sum", axis="0"), ["x"], "out = jnp.sum(x, axis=0)"),
        ("keras", node("relu"), ["x"], "out = keras.ops.relu(x)"),
        ("keras", node("Dense"), ["x"], "out = self.fc(x)"),
    ],
)  # fmt: skip
def test_call(framework: str, made: LogicalNode, inputs: list[str], source: str) -> None:
    emitter = PythonSnippetEmitter(framework)
    assert text(emitter, emitter.emit_call(made, inputs, "out")) == source
    assert text(emitter, emitter.emit_expression(made, inputs)) == source.removeprefix("out = ")


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("x", "x.permute(0, 2, 1).mean(dim=-1)"),
        ("self.fc(x)[0]", "self.fc(x)[0].permute(0, 2, 1).mean(dim=-1)"),
        ("a + b", "(a + b).permute(0, 2, 1).mean(dim=-1)"),
        ("(a + b)", "(a + b).permute(0, 2, 1).mean(dim=-1)"),
        ("-x", "(-x).permute(0, 2, 1).mean(dim=-1)"),
        ("x if c else y", "(x if c else y).permute(0, 2, 1).mean(dim=-1)"),
    ],
)
def test_methods_of_a_value(value: str, source: str) -> None:
    emitter = PythonSnippetEmitter()
    methods = [("permute", {"arg_0": "0", "arg_1": "2", "arg_2": "1"}), ("mean", {"dim": "-1"})]
    assert text(emitter, emitter.emit_methods(value, methods)) == source


@pytest.mark.parametrize(("value", "methods"), [("x", []), ("x y", [("t", {})]), ("x", [("no name", {})])])
def test_methods_that_are_none(value: str, methods: list[tuple[str, dict[str, str]]]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().emit_methods(value, methods)


@pytest.mark.parametrize("target", ["y", "self.cache", "self.a.b", "größe"])
def test_targets(target: str) -> None:
    emitter = PythonSnippetEmitter()
    assert text(emitter, emitter.emit_call(node("Linear"), ["x"], target)) == f"{target} = self.fc(x)"


@pytest.mark.parametrize(
    ("metadata", "arguments"),
    [
        ({"arg_10": "k", "arg_2": "c", "arg_0": "a"}, "a, c, k"),
        ({"bias": "False", "arg_0": "a"}, "a, bias=False"),
        ({"z": "1", "a": "2"}, "z=1, a=2"),
        ({"arg_0": "*args", "arg_1": "b"}, "*args, b"),
        ({"arg_0": " * args"}, "*args"),
        ({"arg_0": "a", "kwargs": "**kw", "b": "1"}, "a, **kw, b=1"),
        ({"arg_3": "**kw", "arg_0": "a"}, "a, **kw"),
        ({"one two": "**kw"}, "**kw"),
        ({"arg_01": "x"}, "arg_01=x"),
        ({"arg_x": "x"}, "arg_x=x"),
        ({"match": "x", "type": "y"}, "match=x, type=y"),
        ({"p": "a  or(b)"}, "p=a  or(b)"),
        ({"p": " {'k':1} "}, "p={'k':1}"),
        ({"p": "x if y else z"}, "p=x if y else z"),
        ({"p": "'#'", "q": '")("'}, "p='#', q=\")(\""),
        ({"p": "(yield)"}, "p=(yield)"),
        ({"p": "await x"}, "p=await x"),
        ({"p": "()"}, "p=()"),
        ({"p": "(a, b)"}, "p=(a, b)"),
        ({"p": "(i for i in x)"}, "p=(i for i in x)"),
        ({"p": "i for i in x"}, "p=(i for i in x)"),
        ({"p": "a +\n  b"}, "p=a + b"),
        ({"p": "f(\n  a,\n  b\n)"}, "p=f(a, b)"),
        ({"p": "x[\n0]"}, "p=x[0]"),
    ],
)
def test_arguments(metadata: dict[str, str], arguments: str) -> None:
    emitter = PythonSnippetEmitter()
    made = emitter.emit_init(LogicalNode("fc", "Linear", metadata))
    assert emitter.render(made) == f"self.fc = nn.Linear({arguments})"


def test_a_value_with_a_comment_keeps_its_lines() -> None:
    emitter = PythonSnippetEmitter()
    made = emitter.emit_init(node("Sequential", arg_0="*[\n    a,  # why\n]"))
    assert text(emitter, made) == "self.fc = nn.Sequential(*[\n    a,  # why\n])"


BAD_VALUES = [
    "", " ", "\n", "x y", "x +", "(", ")", "f(x", "x) + (y", "x\n) + (y", "x), g(y", "1, 2", "1,", "*a, b", "(a), (b)",
    "x := 1", "yield", "yield x", "yield from x", "x = 1", "x; y", "x\ny", "x  # why", "# why", "x\n# why\n+ y",
    "import os", "pass", "return x", "lambda", "'open", '"""open', "f'{'", "x if y", "1x", "a b c", "$", "?", "x!",
    "\\", "a\\", "del x", "x for", "not", "**", "*", "***a", "* *a", "]", "}", "[1)", "...,", "=1", "a=1", "x\x00y",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_value_that_is_not_one_expression_is_refused(value: str) -> None:
    emitter = PythonSnippetEmitter()
    tries: list[Callable[[], object]] = [
        lambda: emitter.emit_init(node("Linear", arg_0=value)),
        lambda: emitter.emit_init(node("Linear", bias=value)),
        lambda: emitter.emit_init(
            node("Sequential", arg_0=f"*{value}") if value != "*a, b" else node("Linear", a=value)
        ),
        lambda: emitter.emit_call(node("Linear"), [value], "y"),
        lambda: emitter.emit_call(node("relu"), ["x", value], "y"),
        lambda: emitter.emit_call(node("softmax", dim=value), ["x"], "y"),
        lambda: emitter.emit_expression(node("relu"), [value]),
        lambda: emitter.emit_attribute("fc", value),
        lambda: emitter.emit_unpack(node("Linear"), ["x"], ["a", "b"], value),
        lambda: emitter.emit_unpack(node("Linear"), ["x"], ["a", "b"], ["1", value]),
        lambda: emitter.emit_unpack(node("Linear"), ["x"], ["a", "b"], ["1", "2"], value),
        lambda: emitter.load_hooks.emit_registration("fc", {"layer": value}),
    ]
    for attempt in tries:
        if value == "*" and attempt is tries[2]:
            continue  # `**` alone, tried below
        with pytest.raises(EmitError) as caught:
            attempt()
        assert caught.value.node == "fc"
        assert "'fc'" in str(caught.value)
        assert caught.value.text in {value, f"*{value}"}
        assert repr(caught.value.text) in str(caught.value)


@pytest.mark.parametrize("key", ["", "a b", "1a", "class", "None", "a-b", "a.b", "a=1, b", "x)", "__debug__", "arg_-1"])
def test_a_keyword_that_is_no_identifier_is_refused(key: str) -> None:
    with pytest.raises(EmitError) as caught:
        PythonSnippetEmitter().emit_init(LogicalNode("fc", "Linear", {key: "1"}))
    assert (caught.value.node, caught.value.text) == ("fc", key)


@pytest.mark.parametrize(("key", "value"), [("bias", "*args"), ("bias", "*a or b")])
def test_a_keyword_cannot_be_unpacked(key: str, value: str) -> None:
    with pytest.raises(EmitError, match="cannot be unpacked"):
        PythonSnippetEmitter().emit_init(LogicalNode("fc", "Linear", {key: value}))


@pytest.mark.parametrize(
    "id", ["", " ", "a b", "a.b", "1", "class", "True", "a=b", "a\n", "self.x", "x[0]", "__debug__"]
)
def test_an_id_that_is_no_identifier_is_refused(id: str) -> None:
    emitter = PythonSnippetEmitter()
    for attempt in (
        lambda: emitter.emit_init(node("Linear", id)),
        lambda: emitter.emit_call(node("Linear", id), ["x"], "y"),
        lambda: emitter.emit_call(node("relu", id), ["x"], "y"),
        lambda: emitter.emit_expression(node("Linear", id), ["x"]),
        lambda: emitter.emit_attribute(id, "1"),
        lambda: emitter.load_hooks.emit_fold_bias(id),
        lambda: emitter.load_hooks.emit_merge(id, "m", ["a", "b"], ["weight"]),
    ):
        with pytest.raises(EmitError) as caught:
            attempt()
        assert caught.value.text == id
        assert repr(id) in str(caught.value)


@pytest.mark.parametrize(
    "target", ["", " ", "a b", "a, b", "(a)", "x[0]", "f()", "f().x", "1", "None", "a.class", "*a", ".a", "a."]
)
def test_a_target_that_is_no_name_is_refused(target: str) -> None:
    emitter = PythonSnippetEmitter()
    for attempt in (
        lambda: emitter.emit_call(node("Linear"), ["x"], target),
        lambda: emitter.emit_unpack(node("Linear"), ["x"], ["a", target], ["1", "2"]),
        lambda: emitter.emit_delete(["a", target]),
    ):
        with pytest.raises(EmitError) as caught:
            attempt()
        assert caught.value.text == target


@pytest.mark.parametrize(
    ("framework", "kind"),
    [
        *[(framework, kind) for framework in FRAMEWORKS for kind in (
            "", "FooBar", "func_foo", "foo", "func_", "relu()", "nn.", ".relu", "a b", "nn..Linear", "import",
            "x.class", "lambda: 0", "func_Conv2d", "func_func_relu",
        )],
        ("torch", "Dense"), ("torch", "Module"), ("keras", "Linear"), ("jax", "Linear"), ("flax", "Conv2d"),
        ("flax", "Module"), ("keras", "Layer"), ("keras", "mish"), ("jax", "addmm"),
    ],
)  # fmt: skip
def test_an_unknown_kind_is_refused(framework: str, kind: str) -> None:
    emitter = PythonSnippetEmitter(framework)
    for attempt in (
        lambda: emitter.emit_init(node(kind)),
        lambda: emitter.emit_call(node(kind), ["x"], "y"),
        lambda: emitter.emit_expression(node(kind), ["x"]),
        lambda: emitter.emit_unpack(node(kind), ["x"], ["a", "b"], ["1", "2"]),
    ):
        with pytest.raises(EmitError) as caught:
            attempt()
        assert (caught.value.node, caught.value.text) == ("fc", kind)


@pytest.mark.parametrize(
    ("framework", "kind"),
    [("torch", "relu"), ("torch", "func_relu"), ("torch", "torch.nn.functional.relu"), ("torch", "my.func"),
     ("torch", "F.gelu"), ("jax", "exp"), ("flax", "nnx.relu"), ("keras", "keras.ops.relu")],
)  # fmt: skip
def test_a_function_has_no_initialiser(framework: str, kind: str) -> None:
    with pytest.raises(EmitError, match="nothing to initialise"):
        PythonSnippetEmitter(framework).emit_init(node(kind))


@pytest.mark.parametrize(
    ("framework", "kind"), [("torch", "ModuleList"), ("torch", "torch.nn.ParameterDict"), ("flax", "List")]
)
def test_a_container_cannot_be_called(framework: str, kind: str) -> None:
    with pytest.raises(EmitError, match="cannot be called"):
        PythonSnippetEmitter(framework).emit_call(node(kind), ["x"], "y")


def test_an_input_is_positional() -> None:
    with pytest.raises(EmitError, match="positional"):
        PythonSnippetEmitter().emit_call(node("Linear"), ["**kw"], "y")


@pytest.mark.parametrize(
    ("framework", "sizes", "source"),
    [
        ("torch", ["16", "8", "8"], "q, k, v = self.fc(x).split([16, 8, 8], dim=-1)"),
        ("torch", "self.sizes", "q, k, v = self.fc(x).split(self.sizes, dim=-1)"),
        ("torch", "[a, b, c]", "q, k, v = self.fc(x).split([a, b, c], dim=-1)"),
        ("torch", ["a or b", "c", "d"], "q, k, v = self.fc(x).split([a or b, c, d], dim=-1)"),
        ("jax", ["16", "8", "8"], None),
        ("flax", ["16", "8", "8"], "q, k, v = jnp.split(self.fc(x), [16, 24], axis=-1)"),
        ("flax", "[16, 8, 8]", "q, k, v = jnp.split(self.fc(x), [16, 24], axis=-1)"),
        ("flax", ["a", "a", "b"], "q, k, v = jnp.split(self.fc(x), [a, a + a], axis=-1)"),
        ("flax", ["16", "n", "8"], "q, k, v = jnp.split(self.fc(x), [16, 16 + n], axis=-1)"),
        ("flax", ["n", "16", "8"], "q, k, v = jnp.split(self.fc(x), [n, 16 + n], axis=-1)"),
        ("flax", ["a if b else c", "h * d", "8"],
         "q, k, v = jnp.split(self.fc(x), [(a if b else c), (a if b else c) + h * d], axis=-1)"),
        ("flax", ["a | b", "c // 2", "8"], "q, k, v = jnp.split(self.fc(x), [(a | b), (a | b) + c // 2], axis=-1)"),
        ("keras", ["16", "8", "8"], "q, k, v = keras.ops.split(self.fc(x), [16, 24], axis=-1)"),
    ],
)  # fmt: skip
def test_unpack(framework: str, sizes: str | list[str], source: str | None) -> None:
    emitter = PythonSnippetEmitter(framework, line_length=120)
    kinds = {"torch": "Linear", "flax": "Linear", "keras": "Dense", "jax": "my.Linear"}
    made = emitter.emit_unpack(node(kinds[framework]), ["x"], ["q", "k", "v"], sizes)
    assert text(emitter, made) == (source or "q, k, v = jnp.split(self.fc(x), [16, 24], axis=-1)")


@pytest.mark.parametrize(
    ("outputs", "sizes", "dim", "source"),
    [
        (["a"], ["1"], "-1", "(a,) = self.fc(x).split([1], dim=-1)"),
        (["a", "self.b"], ["1", "2"], "1 + n", "a, self.b = self.fc(x).split([1, 2], dim=1 + n)"),
    ],
)
def test_unpack_targets(outputs: list[str], sizes: list[str], dim: str, source: str) -> None:
    emitter = PythonSnippetEmitter()
    assert text(emitter, emitter.emit_unpack(node("Linear"), ["x"], outputs, sizes, dim)) == source


def test_unpacking_a_function() -> None:
    emitter = PythonSnippetEmitter()
    made = emitter.emit_unpack(node("linear"), ["x", "w"], ["a", "b"], ["1", "2"])
    assert text(emitter, made) == "a, b = F.linear(x, w).split([1, 2], dim=-1)"


@pytest.mark.parametrize(
    ("framework", "outputs", "sizes"),
    [
        ("torch", [], []), ("torch", ["a"], []), ("torch", ["a"], ["1", "2"]), ("torch", ["a", "b"], "[1]"),
        ("torch", ["a", "b"], "[1, 2, 3]"), ("flax", ["a", "b"], "self.sizes"), ("flax", ["a", "b"], "sizes(x)"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_match_are_refused(framework: str, outputs: list[str], sizes: str | list[str]) -> None:
    with pytest.raises(EmitError) as caught:
        PythonSnippetEmitter(framework).emit_unpack(node("Linear"), ["x"], outputs, sizes)
    assert caught.value.node == "fc"


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("[a, b]", "self.sizes = [a, b]"),
        ("a  *2", "self.sizes = a  *2"),
        ("(a, b)", "self.sizes = (a, b)"),
        ("[aaaaaaaaaaaa, bbbbbbbbbbbb]", "self.sizes = [\n    aaaaaaaaaaaa,\n    bbbbbbbbbbbb,\n]"),
        ("a +\n b", "self.sizes = (a + b)"),
    ],
)
def test_attribute(value: str, source: str) -> None:
    emitter = PythonSnippetEmitter(line_length=30)
    assert text(emitter, emitter.emit_attribute("sizes", value)) == source


@pytest.mark.parametrize(
    ("names", "source"), [(["a"], "del a"), (["a", "b"], "del a, b"), (["self.a", "b"], "del self.a, b")]
)
def test_delete(names: list[str], source: str) -> None:
    emitter = PythonSnippetEmitter()
    assert text(emitter, emitter.emit_delete(names)) == source


def test_deleting_nothing_is_refused() -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().emit_delete([])


@pytest.mark.parametrize(
    ("source", "laid_out"),
    [
        ("x = F.relu( x )", "x = F.relu( x )"),
        ("x = self.norm(\n    x[:, 0]\n)", "x = self.norm(x[:, 0])"),
        ("return self.a(self.b(x), self.c(x))", "return self.a(\n    self.b(x), self.c(x)\n)"),
        ("x = f(\n    x,  # why\n)", "x = f(\n    x,  # why\n)"),
    ],
)
def test_source_of_the_users_own(source: str, laid_out: str) -> None:
    emitter = PythonSnippetEmitter(line_length=30)
    assert text(emitter, emitter.emit_source(source)) == laid_out


@pytest.mark.parametrize("source", ["x =", "x = 1; y = 2", "if x:\n    y = 1", "x = 1\ny = 2", "x = (", ")"])
def test_source_that_is_not_one_simple_statement_is_refused(source: str) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().emit_source(source)


NAMES = [
    # imports, kind, spelled, what has to be imported
    ({"nn": "torch.nn"}, "Linear", "nn.Linear", []),
    ({"tnn": "torch.nn"}, "Linear", "tnn.Linear", []),
    ({"torch": "torch"}, "Linear", "torch.nn.Linear", []),
    ({"torch": "torch", "nn": "torch.nn"}, "Linear", "nn.Linear", []),
    ({"torch": "torch", "nn": "torch.nn", "L": "torch.nn.Linear"}, "Linear", "L", []),
    ({"torch": "torch", "nn": "torch.nn"}, "gelu", "nn.functional.gelu", []),
    ({"F": "torch.nn.functional", "nn": "torch.nn"}, "gelu", "F.gelu", []),
    ({"gelu": "torch.nn.functional.gelu"}, "gelu", "gelu", []),
    ({"nn": "torch.nn"}, "nn.Linear", "nn.Linear", []),
    ({"tnn": "torch.nn"}, "tnn.Linear", "tnn.Linear", []),
    ({"L": "torch.nn.Linear"}, "torch.nn.Linear", "L", []),
    ({"F": "torch.nn.functional"}, "F.relu", "F.relu", []),
    ({}, "Linear", "nn.Linear", ["from torch import nn"]),
    ({}, "gelu", "F.gelu", ["import torch.nn.functional as F"]),
    ({}, "relu", "torch.relu", ["import torch"]),
    ({"nn": "flax.linen"}, "Linear", "torch.nn.Linear", ["import torch.nn"]),
    ({"F": "my.F"}, "gelu", "torch.nn.functional.gelu", ["import torch.nn.functional"]),
    ({"F": "my.F", "torch": "my.torch"}, "gelu", "torch_functional.gelu",
     ["import torch.nn.functional as torch_functional"]),
    ({"torch": "my.torch"}, "relu", "torch_module.relu", ["import torch as torch_module"]),
    ({"nn": "my.nn", "torch": "my.torch", "torch_nn": "x"}, "Linear", "torch_nn_2.Linear",
     ["from torch import nn as torch_nn_2"]),
    ({"nn": "my.nn"}, "nn.Linear", "nn.Linear", []),
    ({"timm": "timm"}, "timm.layers.RmsNorm", "timm.layers.RmsNorm", []),
    ({"layers": "timm.layers"}, "timm.layers.RmsNorm", "layers.RmsNorm", []),
    ({}, "timm.layers.RmsNorm", "timm.layers.RmsNorm", []),
    # A prefix is a prefix by parts: torch.nnx is not torch.nn.
    ({"t": "torch.n"}, "Linear", "nn.Linear", ["from torch import nn"]),
]  # fmt: skip


@pytest.mark.parametrize(("imports", "kind", "spelled", "missing"), NAMES)
def test_names_go_through_the_files_imports(
    imports: dict[str, str], kind: str, spelled: str, missing: list[str]
) -> None:
    emitter = PythonSnippetEmitter(imports=imports)
    if kind.rpartition(".")[2][0].isupper():
        assert text(emitter, emitter.emit_init(node(kind))) == f"self.fc = {spelled}()"
    else:
        assert text(emitter, emitter.emit_call(node(kind), ["x"], "y")) == f"y = {spelled}(x)"
    assert [required.statement() for required in emitter.missing_imports] == missing


@pytest.mark.parametrize(
    ("framework", "imports", "taken", "kind", "spelled", "missing"),
    [
        ("torch", {}, {"nn"}, "Linear", "torch.nn.Linear", "import torch.nn"),
        ("torch", {}, {"nn", "torch"}, "Linear", "torch_nn.Linear", "from torch import nn as torch_nn"),
        ("torch", {"nn": "torch.nn"}, {"torch"}, "Linear", "nn.Linear", None),
        ("flax", {}, {"nnx"}, "PReLU", "flax.nnx.PReLU", "import flax.nnx"),
        ("flax", {"flax": "flax"}, set(), "PReLU", "nnx.PReLU", "from flax import nnx"),
        ("flax", {"flax": "flax"}, {"nnx"}, "PReLU", "flax_nnx.PReLU", "from flax import nnx as flax_nnx"),
        ("keras", {}, {"keras"}, "Dense", "keras_module.layers.Dense", "import keras as keras_module"),
        ("keras", {"layers": "keras.layers"}, set(), "Dense", "layers.Dense", None),
        ("keras", {"tf": "tensorflow"}, set(), "Dense", "keras.layers.Dense", "import keras"),
    ],
)
def test_a_new_import_shadows_nothing(
    framework: str, imports: dict[str, str], taken: set[str], kind: str, spelled: str, missing: str | None
) -> None:
    emitter = PythonSnippetEmitter(framework, imports=imports, taken=taken)
    assert text(emitter, emitter.emit_init(node(kind))) == f"self.fc = {spelled}()"
    assert [required.statement() for required in emitter.missing_imports] == ([missing] if missing else [])


def test_a_submodule_is_imported_once() -> None:
    emitter = PythonSnippetEmitter("flax", imports={}, taken={"nnx"})
    for _ in range(2):
        assert text(emitter, emitter.emit_init(node("PReLU"))) == "self.fc = flax.nnx.PReLU()"
    assert [required.statement() for required in emitter.missing_imports] == ["import flax.nnx"]


def test_a_table_is_filled_as_a_linear_layer_fills_its_weight() -> None:
    emitter = PythonSnippetEmitter(imports={"nn": "torch.nn"})
    filled = text(emitter, emitter.emit_linear_initialisation("table"))
    assert filled == 'nn.init.kaiming_uniform_(self.table.weight, a=5**0.5, mode="fan_out")'
    with pytest.raises(EmitError):
        emitter.emit_linear_initialisation("a table")
    with pytest.raises(EmitError):
        PythonSnippetEmitter("keras").emit_linear_initialisation("table")


def test_attention_without_its_weights() -> None:
    emitter = PythonSnippetEmitter()
    call = emitter.emit_attention("attn", ("x", "y + 1", "z"))
    assert text(emitter, call) == "self.attn(x, y + 1, z, need_weights=False)[0]"
    with pytest.raises(EmitError):
        emitter.emit_attention("a b", ("x", "x", "x"))
    with pytest.raises(EmitError):
        PythonSnippetEmitter("jax").emit_attention("attn", ("x", "x", "x"))


def test_a_fuse_method() -> None:
    emitter = PythonSnippetEmitter(imports={"nn": "torch.nn"})
    pairs = [
        ("self.conv", "self.bn", "convolution"),
        ("self.up", "self.up_bn", "transposed convolution"),
        ("self.head[0]", "self.head[1]", "linear"),
    ]
    assert (
        text(emitter, emitter.emit_fuse_method(pairs)) + "\n"
        == '''\
@torch.no_grad()
def fuse(self):
    """Fold batch norms into the layers before them; new biases do not train."""
    if self.training:
        raise RuntimeError("fuse() is for inference: call eval() first")
    if not isinstance(self.bn, nn.Identity):
        self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
        self.bn = nn.Identity()
    if not isinstance(self.up_bn, nn.Identity):
        self.up = nn.utils.fuse_conv_bn_eval(self.up, self.up_bn, transpose=True)
        self.up_bn = nn.Identity()
    if not isinstance(self.head[1], nn.Identity):
        self.head[0] = nn.utils.fuse_linear_bn_eval(self.head[0], self.head[1])
        self.head[1] = nn.Identity()
    return self
'''
    )
    assert [needed.statement() for needed in emitter.missing_imports] == ["import torch"]


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("self.conv", "bn", "convolution")],
        [("self", "self.bn", "convolution")],
        [("self.conv()", "self.bn", "convolution")],
        [("self.conv", "self.bn", "embedding")],
    ],
)
def test_a_fuse_method_of_nothing(pairs: list[tuple[str, str, str]]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().emit_fuse_method(pairs)


def test_a_return() -> None:
    emitter = PythonSnippetEmitter()
    assert text(emitter, emitter.emit_return("net")) == "return net"
    with pytest.raises(EmitError):
        emitter.emit_return("a b")


def test_an_import_is_needed_once() -> None:
    emitter = PythonSnippetEmitter(imports={})
    for kind in ("gelu", "silu", "relu", "sigmoid", "gelu"):
        emitter.emit_call(node(kind), ["x"], "y")
    assert [required.statement() for required in emitter.missing_imports] == [
        "import torch.nn.functional as F",
        "import torch",
    ]


def test_a_refused_node_needs_no_import() -> None:
    emitter = PythonSnippetEmitter(imports={})
    for made in (node("Linear", arg_0=")"), node("Linear", "1"), node("relu", x="")):
        with pytest.raises(EmitError):
            emitter.emit_init(made)
        with pytest.raises(EmitError):
            emitter.emit_call(made, ["("], "y")
    assert emitter.missing_imports == ()


def test_a_thin_class() -> None:
    emitter = PythonSnippetEmitter(imports={"nn": "torch.nn"})
    assert text(emitter, emitter.emit_base("torch.nn.LayerNorm")) == "nn.LayerNorm"
    assert text(emitter, emitter.emit_super_init()) == "super().__init__()"
    given = emitter.emit_super_init({"eps": "1e-5", "arg_0": "dim"})
    assert text(emitter, given) == "super().__init__(dim, eps=1e-5)"
    made = emitter.emit_init_method({"approximate": '"tanh"'})
    assert text(emitter, made) == 'def __init__(self):\n    super().__init__(approximate="tanh")'
    assert text(emitter, emitter.emit_pass()) == "pass"
    assert emitter.missing_imports == ()


@pytest.mark.parametrize("kind", ["torch.relu", "torch.nn.ModuleDict.keys", "mine.Norm", "no layer"])
def test_a_base_is_a_layer(kind: str) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().emit_base(kind)


def test_a_base_needs_an_import() -> None:
    emitter = PythonSnippetEmitter(imports={})
    assert text(emitter, emitter.emit_base("torch.nn.GELU")) == "nn.GELU"
    assert [need.local for need in emitter.missing_imports] == ["nn"]
