"""Load hooks, as they are written; what they do is run in `test_emitter_execution.py`."""

from __future__ import annotations

import pytest

from emitter.rendered import text
from fuselight_emitter import EmitError, PythonSnippetEmitter


@pytest.mark.parametrize(
    ("imports", "call", "missing"),
    [
        ({"torch": "torch"}, "torch.cat(tensors)", []),
        ({"cat": "torch.cat"}, "cat(tensors)", []),
        ({"keys": "torch.cat"}, "torch.cat(tensors)", ["import torch"]),
        ({"prefix": "torch", "torch": "my.torch"}, "torch_module.cat(tensors)", ["import torch as torch_module"]),
    ],
)
def test_a_hook_s_own_names_hide_the_file_s(imports: dict[str, str], call: str, missing: list[str]) -> None:
    emitter = PythonSnippetEmitter(imports=imports)
    assert call in text(emitter, emitter.load_hooks.emit_merge("_load", "m", ["a", "b"], ["weight"]))
    assert [required.statement() for required in emitter.missing_imports] == missing


def test_the_hook_of_a_merge() -> None:
    emitter = PythonSnippetEmitter()
    hook = emitter.load_hooks.emit_merge("_load_qkv", "qkv", ["q", "k", "v"], ["weight", "bias"])
    assert (
        text(emitter, hook) + "\n"
        == '''\
def _load_qkv(module, state_dict, prefix, *args):
    """Load checkpoints that hold q, k and v in place of qkv."""
    for parameter in ("weight", "bias"):
        keys = [f"{prefix}{part}.{parameter}" for part in ("q", "k", "v")]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}qkv.{parameter}"] = torch.cat(tensors)
'''
    )


def test_the_hook_of_experts() -> None:
    emitter = PythonSnippetEmitter()
    hook = emitter.load_hooks.emit_experts("_load", "first", "second", ("experts.{}.0", "experts.{}.2"), ("weight",))
    assert (
        text(emitter, hook) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of experts one by one, in place of first."""
    for parameter in ("weight",):
        number, firsts, seconds = 0, [], []
        while True:
            one = f"{prefix}experts.{number}.0.{parameter}"
            other = f"{prefix}experts.{number}.2.{parameter}"
            if not state_dict.keys() >= {one, other}:
                break
            firsts.append(state_dict.pop(one))
            seconds.append(state_dict.pop(other))
            number += 1
        if firsts:
            stacked = torch.stack(seconds)
            stacked = stacked.mT if parameter == "weight" else stacked.unsqueeze(1)
            state_dict[f"{prefix}first.{parameter}"] = torch.cat(firsts)
            state_dict[f"{prefix}second_{parameter}"] = stacked
'''
    )
    for parts, parameters in ((("w1.{}", "w2.{}"), ()), (("w1.{}", "w2.{}"), ("scale",)), (("w1 {}", "w2"), ("bias",))):
        with pytest.raises(EmitError):
            emitter.load_hooks.emit_experts("_load", "first", "second", parts, parameters)


def test_the_hook_of_a_table() -> None:
    emitter = PythonSnippetEmitter()
    assert (
        text(emitter, emitter.load_hooks.emit_transpose("_load", "table", "fc")) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold fc, a linear layer, in place of table."""
    weight = state_dict.pop(f"{prefix}fc.weight", None)
    if weight is not None:
        state_dict[f"{prefix}table.weight"] = weight.t()
'''
    )
    with pytest.raises(EmitError):
        emitter.load_hooks.emit_transpose("_load", "fc", "fc")


def test_the_hook_of_a_cell() -> None:
    emitter = PythonSnippetEmitter()
    one = {"weight_ih": ["a.weight"], "bias_ih": ["a.bias"]}
    assert (
        text(emitter, emitter.load_hooks.emit_cell("_load", "cell", ["a", "b"], one, [0, 2, 1], 1)) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold a and b in place of cell."""
    for parameter, part in (("weight_ih", "a.weight"), ("bias_ih", "a.bias")):
        key = f"{prefix}{part}"
        if key in state_dict:
            rows = state_dict.pop(key).chunk(3)
            state_dict[f"{prefix}cell.{parameter}"] = torch.cat(
                [rows[0], -rows[2], rows[1]]
            )
'''
    )
    each = {"weight_ih": ["r.weight", "z.weight"]}
    assert (
        text(emitter, emitter.load_hooks.emit_cell("_load", "cell", ["r", "z"], each, negated=1)) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold r and z in place of cell."""
    for parameter, parts in (("weight_ih", ("r.weight", "z.weight")),):
        keys = [f"{prefix}{part}" for part in parts]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            tensors[1] = -tensors[1]
            state_dict[f"{prefix}cell.{parameter}"] = torch.cat(tensors)
'''
    )


def test_the_hook_of_an_attention() -> None:
    emitter = PythonSnippetEmitter()
    parameters = {"in_proj_weight": ["q.weight", "k.weight"], "out_proj.weight": ["o.weight"]}
    assert (
        text(emitter, emitter.load_hooks.emit_cell("_load", "attn", ["q", "k", "o"], parameters)) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold q, k and o in place of attn."""
    for parameter, parts in (
        ("in_proj_weight", ("q.weight", "k.weight")),
        ("out_proj.weight", ("o.weight",)),
    ):
        keys = [f"{prefix}{part}" for part in parts]
        if state_dict.keys() >= {*keys}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{prefix}attn.{parameter}"] = torch.cat(tensors)
'''
    )


@pytest.mark.parametrize(
    ("parameters", "order"),
    [
        ({}, []),
        ({"weight_ih": []}, []),
        ({"weight_ih": ["a.weight", "b.weight"]}, [0, 1]),
        ({"w h": ["a", "b"]}, []),
    ],
)
def test_no_hook_of_a_cell(parameters: dict[str, list[str]], order: list[int]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().load_hooks.emit_cell("f", "cell", ["a"], parameters, order)


def test_the_hook_that_renames() -> None:
    emitter = PythonSnippetEmitter()
    hook = emitter.load_hooks.emit_rename("_load", "net.0.0", [("net.1", "net.2"), ("net.0.0", "net.0")])
    assert (
        text(emitter, hook) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold net.0.0 and so on in place of net.0 and so on."""
    if not [key for key in state_dict if key.startswith(f"{prefix}net.0.0.")]:
        return
    for old, new in (
        ("net.1", "net.2"),
        ("net.0.0", "net.0"),
    ):
        for key in [key for key in state_dict if key.startswith(f"{prefix}{old}.")]:
            entry = key.removeprefix(f"{prefix}{old}")
            state_dict[f"{prefix}{new}{entry}"] = state_dict.pop(key)
'''
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("f g", "a.0", [("a.0", "a")]),
        ("f", "a.0", []),
        ("f", "a.", [("a.0", "a")]),
        ("f", "a.0", [("a.0", "a b")]),
        ("f", "a.0", [('a"', "a")]),
    ],
)
def test_no_hook_that_renames(arguments: tuple[str, str, list[tuple[str, str]]]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().load_hooks.emit_rename(*arguments)


def test_the_hook_of_a_merged_list() -> None:
    emitter = PythonSnippetEmitter()
    hook = emitter.load_hooks.emit_merge_list("_load_heads", "head", "heads", ["weight", "bias"])
    assert (
        text(emitter, hook) + "\n"
        == '''\
def _load_heads(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of a list, heads.0 and so on, in place of head."""
    for parameter in ("weight", "bias"):
        number, tensors = 0, []
        while f"{prefix}heads.{number}.{parameter}" in state_dict:
            tensors.append(state_dict.pop(f"{prefix}heads.{number}.{parameter}"))
            number += 1
        if tensors:
            state_dict[f"{prefix}head.{parameter}"] = torch.cat(tensors)
'''
    )


@pytest.mark.parametrize(
    "arguments",
    [("f", "m", "a.", ["weight"]), ("f g", "m", "a", ["weight"]), ("f", "m", "a", []), ("f", "m", "a", ["in put"])],
)
def test_no_hook_of_a_merged_list(arguments: tuple[str, str, str, list[str]]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().load_hooks.emit_merge_list(*arguments)


@pytest.mark.parametrize(
    ("parameters", "dims", "loop", "along"),
    [
        (["weight", "bias"], [0, 0], 'for parameter in ("weight", "bias"):', "torch.cat(tensors)"),
        (["weight"], [1], 'for parameter in ("weight",):', "torch.cat(tensors, dim=1)"),
        (
            ["weight", "bias"],
            [1, 0],
            'for parameter, dim in (("weight", 1), ("bias", 0)):',
            "torch.cat(tensors, dim=dim)",
        ),
    ],
)
def test_the_hook_of_a_merge_along_other_dimensions(
    parameters: list[str], dims: list[int], loop: str, along: str
) -> None:
    emitter = PythonSnippetEmitter()
    source = text(emitter, emitter.load_hooks.emit_merge("_load", "ab", ["a", "b"], parameters, dims))
    assert loop in source
    assert along in source


def test_a_merge_needs_a_dimension_for_each_parameter() -> None:
    with pytest.raises(EmitError, match="a dimension for each parameter"):
        PythonSnippetEmitter().load_hooks.emit_merge("_load", "ab", ["a", "b"], ["weight", "bias"], [1])


def test_the_hook_of_a_folded_bias() -> None:
    emitter = PythonSnippetEmitter()
    assert (
        text(emitter, emitter.load_hooks.emit_fold_bias("_fold")) + "\n"
        == '''\
def _fold(module, state_dict, prefix, *args, layer, norm):
    """Load checkpoints in which the layer before a batch norm still has a bias."""
    bias, mean = f"{prefix}{layer}.bias", f"{prefix}{norm}.running_mean"
    if state_dict.keys() >= {bias, mean}:
        state_dict[mean] = state_dict[mean] - state_dict.pop(bias).to(state_dict[mean])
'''
    )
    assert '"""Load checkpoints in which the layer before an instance norm' in text(
        emitter, emitter.load_hooks.emit_fold_bias("_fold", "an instance norm")
    )


def test_the_hook_of_a_dropped_bias() -> None:
    emitter = PythonSnippetEmitter()
    assert (
        text(emitter, emitter.load_hooks.emit_drop_bias("_drop")) + "\n"
        == '''\
def _drop(module, state_dict, prefix, *args, layer):
    """Load checkpoints in which the layer before an instance norm still has a bias."""
    state_dict.pop(f"{prefix}{layer}.bias", None)
'''
    )


def test_the_hook_of_all_biases_of_a_sequential() -> None:
    emitter = PythonSnippetEmitter(imports={"Sequential": "torch.nn.Sequential"})
    assert (
        text(emitter, emitter.load_hooks.emit_fold_biases("_fold")) + "\n"
        == '''\
def _fold(module, state_dict, prefix, *args):
    """Load checkpoints in which layers before a norm still have a bias."""
    before = None
    for name, child in module.named_children():
        bias, mean = f"{prefix}{before}.bias", f"{prefix}{name}.running_mean"
        if before is not None and hasattr(child, "running_mean") and bias in state_dict:
            dropped = state_dict.pop(bias)
            if mean in state_dict:
                state_dict[mean] = state_dict[mean] - dropped.to(state_dict[mean])
        if isinstance(child, Sequential):
            _fold(child, state_dict, f"{prefix}{name}.")
        before = name if getattr(child, "bias", True) is None else None
'''
    )


def test_the_hook_of_all_biases_needs_its_builtins() -> None:
    with pytest.raises(EmitError, match="builtin"):
        PythonSnippetEmitter(imports={}, taken={"isinstance"}).load_hooks.emit_fold_biases("_fold")


@pytest.mark.parametrize(
    ("imports", "arguments", "source"),
    [
        (None, {}, "self.register_load_state_dict_pre_hook(_fold)"),
        (None, {"layer": '"a"'}, 'self.register_load_state_dict_pre_hook(functools.partial(_fold, layer="a"))'),
        ({"partial": "functools.partial"}, {"a": "1"}, "self.register_load_state_dict_pre_hook(partial(_fold, a=1))"),
        ({"ft": "functools"}, {"a": "1"}, "self.register_load_state_dict_pre_hook(ft.partial(_fold, a=1))"),
    ],
)
def test_registering_a_hook(imports: dict[str, str] | None, arguments: dict[str, str], source: str) -> None:
    emitter = PythonSnippetEmitter(imports=imports)
    assert text(emitter, emitter.load_hooks.emit_registration("_fold", arguments)) == source
    assert emitter.missing_imports == ()


@pytest.mark.parametrize("on", ["net", "self.net", "layers[-1]", "self.nets[-1]"])
def test_registering_a_hook_on_another_module(on: str) -> None:
    emitter = PythonSnippetEmitter()
    source = text(emitter, emitter.load_hooks.emit_registration("_fold", on=on))
    assert source == f"{on}.register_load_state_dict_pre_hook(_fold)"


@pytest.mark.parametrize("on", ["", "layers[0]", "f()", "layers[-1][-1]", "[-1]"])
def test_a_hook_is_registered_on_a_name(on: str) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().load_hooks.emit_registration("_fold", on=on)


@pytest.mark.parametrize("framework", ["jax", "flax", "keras"])
def test_nothing_is_invented_for_a_framework_without_load_hooks(framework: str) -> None:
    hooks = PythonSnippetEmitter(framework).load_hooks
    with pytest.raises(EmitError, match="no load hook"):
        hooks.emit_merge("f", "m", ["a", "b"], ["weight"])
    with pytest.raises(EmitError, match="no load hook"):
        hooks.emit_fold_bias("f")
    with pytest.raises(EmitError, match="no load hook"):
        hooks.emit_registration("f")


def test_the_hook_of_renamed_parameters() -> None:
    emitter = PythonSnippetEmitter()
    hook = emitter.load_hooks.emit_rename_parameters("_load", [("gamma", "weight"), ("beta", "bias")])
    assert (
        text(emitter, hook) + "\n"
        == '''\
def _load(module, state_dict, prefix, *args):
    """Load checkpoints that hold gamma and beta in place of weight and bias."""
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        if f"{prefix}{old}" in state_dict:
            state_dict[f"{prefix}{new}"] = state_dict.pop(f"{prefix}{old}")
'''
    )
    one = emitter.load_hooks.emit_rename_parameters("_load", [("g", "weight")])
    assert 'for old, new in (("g", "weight"),):' in text(emitter, one)


@pytest.mark.parametrize("arguments", [("f g", [("a", "b")]), ("f", []), ("f", [("a.b", "c")]), ("f", [("a", "b c")])])
def test_no_hook_of_malformed_parameters(arguments: tuple[str, list[tuple[str, str]]]) -> None:
    with pytest.raises(EmitError):
        PythonSnippetEmitter().load_hooks.emit_rename_parameters(*arguments)
