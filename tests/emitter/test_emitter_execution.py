"""Emitted code runs in the real frameworks, and old checkpoints load through emitted hooks."""

from __future__ import annotations

import copy
import importlib
import io
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fuselight_emitter import FRAMEWORKS, EmitError, LogicalNode, PythonSnippetEmitter, get_dialect

os.environ.setdefault("KERAS_BACKEND", "torch")


def node(kind: str, id: str, **metadata: str) -> LogicalNode:
    return LogicalNode(id, kind, metadata)


def module(emitter: PythonSnippetEmitter, name: str, body: str) -> types.ModuleType:
    """A module of the emitter's missing imports and `body`, importable as `name`, as pickles want it."""
    imports = "\n".join(required.statement() for required in emitter.missing_imports)
    made = types.ModuleType(name)
    sys.modules[name] = made
    exec(compile(f"{imports}\n\n{body}", f"<{name}>", "exec"), made.__dict__)
    return made


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.startswith("emitted_"):
            del sys.modules[name]


def block(emitter: PythonSnippetEmitter, *nodes: object) -> str:
    return "\n".join(emitter.render(each, "        ") for each in nodes)  # type: ignore[arg-type]


@pytest.mark.parametrize("line_length", [30, 88])
def test_torch_code_computes(line_length: int) -> None:
    emitter = PythonSnippetEmitter(imports={}, line_length=line_length)
    conv = node("Conv2d", "conv1", arg_0="3", arg_1="8", kernel_size="3", padding="1", bias="False")
    norm, act = node("BatchNorm2d", "bn1", num_features="8"), node("func_gelu", "act", approximate='"tanh"')
    proj = node("torch.nn.Linear", "qkv", arg_0="8", arg_1="32")
    attend = node("scaled_dot_product_attention", "attend", is_causal="True")
    init = block(
        emitter,
        *(emitter.emit_init(each) for each in (conv, norm, proj)),
        emitter.emit_attribute("sizes", "[16, 8, 8]"),
    )
    forward = block(
        emitter,
        emitter.emit_call(conv, ["x"], "x"),
        emitter.emit_call(norm, ["x"], "x"),
        emitter.emit_call(act, ["x"], "x"),
        emitter.emit_call(node("mean", "pool", arg_0="(2, 3)"), ["x"], "x"),
        emitter.emit_unpack(proj, ["x"], ["q", "k", "v"], "self.sizes"),
        emitter.emit_unpack(proj, ["x"], ["a", "b"], ["30", "1 + 1"]),
        emitter.emit_call(attend, ["k", "v", "v"], "out"),
        emitter.emit_delete(["a", "self.sizes"]),
    )
    made = module(
        emitter,
        "emitted_torch",
        f"class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n{init}\n\n"
        f"    def forward(self, x):\n{forward}\n        return q, k, v, b, out\n",
    )
    net = made.Net().eval()
    x = torch.rand(2, 3, 5, 5)
    hidden = nn.functional.gelu(net.bn1(net.conv1(x)), approximate="tanh").mean((2, 3))
    q, k, v, b, out = net(x)
    assert not hasattr(net, "sizes")
    assert torch.equal(torch.cat([q, k, v], -1), net.qkv(hidden))
    assert torch.equal(b, net.qkv(hidden)[:, 30:])
    assert torch.equal(out, nn.functional.scaled_dot_product_attention(k, v, v, is_causal=True))


def test_flax_nnx_code_computes() -> None:
    jnp = importlib.import_module("jax.numpy")
    nnx = importlib.import_module("flax.nnx")
    emitter = PythonSnippetEmitter("flax", imports={}, line_length=50)
    linear = node("Linear", "linear", arg_0="4", arg_1="24")
    norm, drop = node("RMSNorm", "norm", num_features="4"), node("Dropout", "drop", rate="0.5", deterministic="True")
    act = node("PReLU", "act")
    init = block(emitter, *(emitter.emit_init(each) for each in (linear, norm, drop, act)))
    call = block(
        emitter,
        emitter.emit_call(norm, ["x"], "x"),
        emitter.emit_call(drop, ["x"], "x"),
        emitter.emit_call(act, ["x"], "x"),
        emitter.emit_unpack(linear, ["x"], ["q", "k", "v"], ["12", "self.n", "6"]),
        emitter.emit_call(node("silu", "silu"), ["q"], "q"),
        emitter.emit_call(node("func_cat", "cat", axis="-1"), ["[q, k, v]"], "out"),
    )
    made = module(
        emitter,
        "emitted_flax",
        f"class Net(nnx.Module):\n    def __init__(self, rngs):\n        self.n = 6\n{init}\n\n"
        f"    def __call__(self, x):\n{call}\n        return out\n",
    )
    net = made.Net(nnx.Rngs(0))
    x = jnp.arange(8.0).reshape(2, 4)
    y = net.linear(net.act(net.norm(x)))
    expected = jnp.concatenate([nnx.silu(y[:, :12]), y[:, 12:]], axis=-1)
    assert jnp.array_equal(net(x), expected)


def test_jax_code_computes() -> None:
    jax = importlib.import_module("jax")
    emitter = PythonSnippetEmitter("jax", imports={"np": "jax.numpy"})
    body = "\n".join(
        emitter.render(statement, "    ")
        for statement in (
            emitter.emit_call(node("relu", "a"), ["x - 1"], "y"),
            emitter.emit_call(node("softmax", "a", axis="-1"), ["y"], "y"),
            emitter.emit_unpack(node("square", "a"), ["y"], ["a", "b", "c"], ["1", "2", "1"]),
            emitter.emit_call(node("cat", "a", axis="-1"), ["[c, b, a]"], "y"),
        )
    )
    made = module(emitter, "emitted_jax", f"import jax.numpy as np\n\ndef f(x):\n{body}\n    return y\n")
    x = jax.numpy.arange(4.0)
    y = jax.nn.softmax(jax.nn.relu(x - 1), axis=-1) ** 2
    assert jax.numpy.allclose(made.f(x), y[jax.numpy.array([3, 1, 2, 0])])


def test_keras_code_computes() -> None:
    keras = importlib.import_module("keras")
    emitter = PythonSnippetEmitter("keras", imports={})
    dense, norm = node("Dense", "dense", arg_0="6", use_bias="False"), node("LayerNormalization", "norm")
    init = block(emitter, *(emitter.emit_init(each) for each in (dense, norm)))
    call = block(
        emitter,
        emitter.emit_call(norm, ["x"], "x"),
        emitter.emit_unpack(dense, ["x"], ["a", "b"], ["2", "4"]),
        emitter.emit_call(node("silu", "act"), ["a"], "a"),
        emitter.emit_call(node("cat", "cat", axis="-1"), ["[a, b]"], "out"),
    )
    made = module(
        emitter,
        "emitted_keras",
        f"class Net(keras.layers.Layer):\n    def __init__(self):\n        super().__init__()\n{init}\n\n"
        f"    def call(self, x):\n{call}\n        return out\n",
    )
    net = made.Net()
    x = keras.ops.reshape(keras.ops.arange(8.0), (2, 4))
    found = net(x)
    y = net.dense(net.norm(x))
    expected = keras.ops.concatenate([keras.ops.silu(y[:, :2]), y[:, 2:]], axis=-1)
    assert keras.ops.convert_to_numpy(keras.ops.isclose(found, expected)).all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_dotted_names_are_there_after_importing_the_packages_alone(framework: str) -> None:
    dialect = get_dialect(framework)
    roots = {conventional.module.partition(".")[0] for conventional in dialect.imports.values()}
    emitter = PythonSnippetEmitter(framework, imports={root: root for root in roots})
    for kind in (*dialect.layers, *dialect.containers):
        emitter.emit_init(node(kind, "a"))
    expressions = [emitter.render(emitter.emit_expression(node(kind, "a"), [])) for kind in dialect.functions]
    imports = [f"import {root}" for root in roots] + [required.statement() for required in emitter.missing_imports]
    program = "\n".join([*imports, *(expression.removesuffix("()") for expression in expressions)])
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    # `import flax` brings no flax.nnx.
    expected = ["from flax import nnx"] if framework == "flax_nnx" else []
    assert [required.statement() for required in emitter.missing_imports] == expected


class OldAttention(nn.Module):
    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.q_proj = nn.Linear(4, 4, bias=bias)
        self.k_proj = nn.Linear(4, 2, bias=bias)
        self.v_proj = nn.Linear(4, 2, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], -1)


class OldConvolution(nn.Module):
    def __init__(self, track: bool = True, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(4, track_running_stats=track, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn1(self.conv1(x))


def merged_attention(bias: bool = True, imports: dict[str, str] | None = None) -> types.ModuleType:
    emitter = PythonSnippetEmitter(imports={} if imports is None else imports)
    parameters = ["weight", "bias"] if bias else ["weight"]
    hook = emitter.load_hooks.emit_merge("_load_split", "qkv_proj", ["q_proj", "k_proj", "v_proj"], parameters)
    linear = node("Linear", "qkv_proj", arg_0="4", arg_1="8", bias=str(bias))
    init = block(emitter, emitter.emit_init(linear), emitter.load_hooks.emit_registration("_load_split"))
    forward = block(emitter, emitter.emit_call(linear, ["x"], "y"))
    given = "".join(f"import {origin} as {local}\n" for local, origin in (imports or {}).items())
    return module(
        emitter,
        "emitted_attention",
        f"{given}import torch\n\n{emitter.render(hook)}\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n{init}\n\n    def forward(self, x):\n{forward}\n        return y\n",
    )


def folded_convolution(track: bool = True, dtype: str = "torch.float32") -> types.ModuleType:
    emitter = PythonSnippetEmitter(imports={"torch": "torch"}, line_length=60)
    hook = emitter.load_hooks.emit_fold_bias("_fold_bias") if track else emitter.load_hooks.emit_drop_bias("_fold_bias")
    conv = node("Conv2d", "conv1", arg_0="3", arg_1="4", arg_2="3", bias="False", dtype=dtype)
    norm = node("BatchNorm2d", "bn1", arg_0="4", track_running_stats=str(track), dtype=dtype)
    arguments = {"layer": '"conv1"'} | ({"norm": '"bn1"'} if track else {})
    register = emitter.load_hooks.emit_registration("_fold_bias", arguments)
    init = block(emitter, emitter.emit_init(conv), emitter.emit_init(norm), register)
    assert [required.statement() for required in emitter.missing_imports] == ["import functools"]
    return module(
        emitter,
        "emitted_convolution",
        f"import torch\n\n{emitter.render(hook)}\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n{init}\n\n    def forward(self, x):\n        return self.bn1(self.conv1(x))\n",
    )


def nested(inner: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Identity(), nn.ModuleDict({"layer": inner}))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("imports", [None, {"th": "torch"}])
def test_old_checkpoints_load_merged(bias: bool, assign: bool, imports: dict[str, str] | None) -> None:
    made = merged_attention(bias, imports)
    old, new = OldAttention(bias), made.Net()
    x = torch.rand(3, 4)
    for old_model, new_model in ((old, new), (nested(old), nested(made.Net()))):
        state = old_model.state_dict()
        keys = list(state)
        new_model.load_state_dict(state, strict=True, assign=assign)
        assert list(state) == keys
    assert torch.allclose(new(x), old(x))
    new.load_state_dict(new.state_dict(), strict=True)


def test_parts_that_are_missing_are_reported() -> None:
    made = merged_attention()
    state = OldAttention().state_dict()
    del state["k_proj.bias"]
    result = made.Net().load_state_dict(state, strict=False)
    assert result.missing_keys == ["qkv_proj.bias"]
    assert sorted(result.unexpected_keys) == ["q_proj.bias", "v_proj.bias"]
    with pytest.raises(RuntimeError, match=r"q_proj\.bias"):
        made.Net().load_state_dict(state, strict=True)


def test_a_merged_model_loads_on_the_meta_device() -> None:
    made = merged_attention()
    with torch.device("meta"):
        net = made.Net()
    old = OldAttention()
    net.load_state_dict(old.state_dict(), strict=True, assign=True)
    x = torch.rand(3, 4)
    torch.testing.assert_close(net(x), old(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("assign", [False, True])
def test_old_checkpoints_load_folded(dtype: torch.dtype, assign: bool) -> None:
    made = folded_convolution(dtype=str(dtype))
    old = OldConvolution(dtype=dtype)
    old(torch.rand(4, 3, 6, 6, dtype=dtype) + 1)
    x = torch.rand(2, 3, 6, 6, dtype=dtype)
    new = made.Net()
    for old_model, new_model in ((old, new), (nested(old), nested(made.Net()))):
        state = old_model.state_dict()
        before = {key: value.clone() for key, value in state.items()}
        new_model.load_state_dict(state, strict=True, assign=assign)
        assert list(state) == list(before)
        assert all(torch.equal(state[key], value) for key, value in before.items())
    assert torch.allclose(new.eval()(x), old.eval()(x), atol=1e-5)
    assert torch.allclose(new.train()(x), old.train()(x), atol=1e-5)
    assert torch.allclose(new.eval()(x), old.eval()(x), atol=1e-5)
    mean = new.bn1.running_mean.clone()
    new.load_state_dict(new.state_dict(), strict=True)
    assert torch.equal(new.bn1.running_mean, mean)


def test_a_bias_of_another_dtype_keeps_the_mean_s() -> None:
    made = folded_convolution()
    state = OldConvolution().state_dict()
    state["conv1.bias"] = state["conv1.bias"].to(torch.bfloat16)
    net = made.Net()
    net.load_state_dict(state, strict=True, assign=True)
    assert net.bn1.running_mean.dtype is torch.float32
    assert torch.equal(net.bn1.running_mean, state["bn1.running_mean"] - state["conv1.bias"].float())


def test_without_running_statistics_the_bias_is_dropped() -> None:
    made = folded_convolution(track=False)
    old, new = OldConvolution(track=False), made.Net()
    new.load_state_dict(old.state_dict(), strict=True)
    x = torch.rand(2, 3, 6, 6)
    assert torch.allclose(new(x), old(x), atol=1e-5)


def test_a_folded_model_on_the_meta_device() -> None:
    made = folded_convolution()
    with torch.device("meta"):
        new, old = made.Net(), OldConvolution()
    new.load_state_dict(old.state_dict(), strict=True, assign=True)
    real = OldConvolution()
    new.load_state_dict(real.state_dict(), strict=True, assign=True)
    x = torch.rand(2, 3, 6, 6)
    assert torch.allclose(new.eval()(x), real.eval()(x), atol=1e-5)


@pytest.mark.parametrize("kind", ["merged", "folded"])
@pytest.mark.parametrize("way", ["torch.save", "pickle", "deepcopy"])
def test_models_with_hooks_copy_and_pickle(kind: str, way: str) -> None:
    made = merged_attention() if kind == "merged" else folded_convolution()
    old = OldAttention() if kind == "merged" else OldConvolution()
    net = nested(made.Net())
    if way == "torch.save":
        file = io.BytesIO()
        torch.save(net, file)
        file.seek(0)
        net = torch.load(file, weights_only=False)
    elif way == "pickle":
        net = pickle.loads(pickle.dumps(net))
    else:
        net = copy.deepcopy(net)
    net.load_state_dict(nested(old).state_dict(), strict=True)
    x = torch.rand(3, 4) if kind == "merged" else torch.rand(2, 3, 6, 6)
    assert torch.allclose(net[1]["layer"].eval()(x), old.eval()(x), atol=1e-5)


@pytest.mark.parametrize(
    ("merged", "parts", "parameters", "text"),
    [
        ("", ["a", "b"], ["weight"], ""),
        ("m n", ["a", "b"], ["weight"], "m n"),
        ('m"', ["a", "b"], ["weight"], 'm"'),
        ("m}", ["a", "b"], ["weight"], "m}"),
        ("m", ["a", 'b"'], ["weight"], 'b"'),
        ("m", ["a", "b\n"], ["weight"], "b\n"),
        ("m", ["a"], ["weight"], "a"),
        ("m", [], ["weight"], ""),
        ("m", ["a", "b"], [], "m"),
        ("m", ["a", "b"], ["weight", "bi as"], "bi as"),
        ("m", ["a", "b"], ["0"], "0"),
    ],
)
def test_a_merge_that_cannot_be_named_is_refused(
    merged: str, parts: list[str], parameters: list[str], text: str
) -> None:
    with pytest.raises(EmitError) as caught:
        PythonSnippetEmitter().load_hooks.emit_merge("_load", merged, parts, parameters)
    assert (caught.value.node, caught.value.text) == ("_load", text)


@pytest.mark.parametrize(
    ("hook", "arguments"), [("", {}), ("a b", {}), ("f()", {}), ("f", {"a b": "1"}), ("f", {"class": "1"})]
)
def test_a_hook_that_cannot_be_registered_is_refused(hook: str, arguments: dict[str, str]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().load_hooks.emit_registration(hook, arguments)
