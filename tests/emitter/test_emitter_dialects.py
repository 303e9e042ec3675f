"""The dialect tables against the installed frameworks: nothing invented, nothing left out."""

from __future__ import annotations

import functools
import importlib
import inspect
import os

import pytest

from fuselight_emitter import FRAMEWORKS, EmitError, RequiredImport, get_dialect

os.environ.setdefault("KERAS_BACKEND", "torch")

# Public module or layer classes that the tables leave out, and why.
LEFT_OUT = {
    "torch": {
        "Module": "the base class",
        "Container": "deprecated since 0.4, a bare base class",
        "RNNBase": "the abstract base of RNN, LSTM and GRU",
        "RNNCellBase": "the abstract base of the cells",
    },
    "flax_nnx": {"Module": "the base class", "RNNCellBase": "the abstract base of the cells"},
    "keras": {"Layer": "the base class", "Wrapper": "the abstract base of the wrappers"},
    "jax": {},
}


@functools.cache
def resolve(qualified: str) -> object:
    head, *rest = qualified.split(".")
    found: object = importlib.import_module(head)
    path = head
    for name in rest:
        path = f"{path}.{name}"
        found = getattr(found, name) if hasattr(found, name) else importlib.import_module(path)
    return found


def public_layers(framework: str) -> dict[str, type]:
    if framework == "jax":
        return {}
    module, base = {
        "torch": ("torch.nn", "torch.nn.Module"),
        "flax_nnx": ("flax.nnx", "flax.nnx.Module"),
        "keras": ("keras.layers", "keras.layers.Layer"),
    }[framework]
    return {
        name: value
        for name, value in vars(resolve(module)).items()
        if not name.startswith("_") and isinstance(value, type) and issubclass(value, resolve(base))
    }


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_public_layer_is_in_the_table_and_no_other(framework: str) -> None:
    dialect = get_dialect(framework)
    listed = {**dialect.layers, **dialect.containers}
    assert set(listed) == set(public_layers(framework)) - set(LEFT_OUT[framework])
    assert set(LEFT_OUT[framework]) <= set(public_layers(framework))
    assert not set(dialect.layers) & set(dialect.containers)
    for kind, api in listed.items():
        assert resolve(api) is public_layers(framework)[kind]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_containers_are_the_modules_that_cannot_be_called(framework: str) -> None:
    dialect = get_dialect(framework)
    if framework == "torch":
        module = resolve("torch.nn.Module")
        uncallable = {
            name for name, value in public_layers("torch").items() if value.forward is module.forward
        }  # fmt: skip
    else:
        uncallable = {name for name, value in public_layers(framework).items() if not callable_instances(value)}
    assert uncallable - set(LEFT_OUT[framework]) == set(dialect.containers)


def callable_instances(cls: type) -> bool:
    return any("__call__" in vars(base) for base in cls.__mro__)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_function_exists_and_so_do_its_spellings(framework: str) -> None:
    dialect = get_dialect(framework)
    array = {"torch": "torch.Tensor", "jax": "jax.Array", "flax_nnx": "jax.Array", "keras": ""}[framework]
    for kind, function in dialect.functions.items():
        for name in (function.api, *function.spellings):
            assert callable(resolve(name)), name
            assert not isinstance(resolve(name), type), name
            assert dialect.function_kind(name) == kind
        for method in function.methods:
            assert hasattr(resolve(array), method), method
            assert dialect.method_kind(method) == kind
        assert function.layer is None or function.layer in dialect.layers
    assert len(dialect.functions) >= 60


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_name_stands_for_two_kinds(framework: str) -> None:
    dialect = get_dialect(framework)
    names = [name for function in dialect.functions.values() for name in (function.api, *function.spellings)]
    methods = [method for function in dialect.functions.values() for method in function.methods]
    operators = [function.operator for function in dialect.functions.values() if function.operator not in {None, "-"}]
    for listed in (names, methods, operators):
        assert len(listed) == len(set(listed))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_kind_is_never_the_name_of_another_function_of_the_framework(framework: str) -> None:
    # "func_transpose" in JAX has to be jax.numpy.transpose, whatever torch.transpose does.
    dialect = get_dialect(framework)
    for kind, function in dialect.functions.items():
        module, _, name = function.api.rpartition(".")
        if kind != name and hasattr(resolve(module), kind):
            assert dialect.function_kind(f"{module}.{kind}") == kind


# A spelling may take more behind the arguments that both have, and calls the array by another name.
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_spellings_take_the_same_arguments_in_the_same_order(framework: str) -> None:
    for function in get_dialect(framework).functions.values():
        expected = parameters(function.api)
        for spelling in function.spellings:
            found = parameters(spelling)
            if expected is None or found is None:
                continue
            shared = min(len(expected), len(found))
            assert found[1:shared] == expected[1:shared], (function.api, spelling)


def parameters(name: str) -> list[str] | None:
    """The positional parameters, or None when they cannot be known: builtins, dispatchers of `*args`."""
    try:
        signature = inspect.signature(resolve(name))
    except ValueError:
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values()):
        return None
    return [
        parameter.name for parameter in signature.parameters.values() if parameter.kind is not parameter.KEYWORD_ONLY
    ]


TORCH_ARGUMENTS = {
    "softmax": (1,), "log_softmax": (1,), "logsumexp": (1,), "threshold": (0.1, 2.0), "clamp": (-0.5, 0.5),
    "swapaxes": (0, 1), "celu": (), "selu": (), "hardshrink": (),
}  # fmt: skip


def test_torch_spellings_methods_and_layers_compute_the_same() -> None:
    torch = importlib.import_module("torch")
    x, y = torch.rand(4, 4) + 0.1, torch.rand(4, 4) + 0.1
    compared = 0
    for kind, function in get_dialect("torch").functions.items():
        api = resolve(function.api)
        for inputs in ((x,), (x, y), ([x, y],)):
            arguments = TORCH_ARGUMENTS.get(kind, ())
            try:
                expected = api(*inputs, *arguments)
            except (TypeError, RuntimeError, ValueError, AttributeError):
                continue
            if not torch.is_tensor(expected):
                continue
            others = [resolve(spelling)(*inputs, *arguments) for spelling in function.spellings]
            if torch.is_tensor(inputs[0]):
                others += [getattr(inputs[0], method)(*inputs[1:], *arguments) for method in function.methods]
            if function.operator and len(inputs) == 2:
                others.append(eval(f"a {function.operator} b", {"a": x, "b": y}))
            if function.operator and len(inputs) == 1 and kind == "neg":
                others.append(-x)
            if function.layer and len(inputs) == 1:
                others.append(getattr(torch.nn, function.layer)(*arguments)(*inputs))
            for other in others:
                assert torch.equal(other, expected), kind
                compared += 1
    assert compared > 100


OTHER_ARGUMENTS = {"clamp": (0.2, 0.5), "swapaxes": (0, 1), "threshold": (0.1, 2.0), "permute": ((1, 0),)}


@pytest.mark.parametrize("framework", ["jax", "flax_nnx", "keras"])
def test_spellings_of_the_others_compute_the_same(framework: str) -> None:
    numpy = importlib.import_module("numpy")
    random = numpy.random.default_rng(0)
    x, y = (random.random((4, 4), dtype="float32") + 0.1 for _ in range(2))
    compared = 0
    for kind, function in get_dialect(framework).functions.items():
        api = resolve(function.api)
        for inputs in ((x,), (x, y), ([x, y],)):
            arguments = OTHER_ARGUMENTS.get(kind, ())
            try:
                expected = numpy.asarray(api(*inputs, *arguments))
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
                continue
            for spelling in function.spellings:
                other = numpy.asarray(resolve(spelling)(*inputs, *arguments))
                assert numpy.array_equal(other, expected, equal_nan=True), spelling
                compared += 1
    assert compared > 10


def test_rngs_go_to_the_flax_layers_whose_constructor_takes_them() -> None:
    dialect = get_dialect("flax")
    seeded = set[str]()
    for kind, cls in public_layers("flax_nnx").items():
        parameter = inspect.signature(cls.__init__).parameters.get("rngs")
        if parameter is not None:
            assert parameter.kind is parameter.KEYWORD_ONLY, kind
            seeded.add(kind)
    assert dialect.seeded == seeded - set(LEFT_OUT["flax_nnx"])
    assert all(not get_dialect(framework).seeded for framework in ("torch", "jax", "keras"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_conventional_imports_work(framework: str) -> None:
    for module, required in get_dialect(framework).imports.items():
        names: dict[str, object] = {}
        exec(required.statement(), names)
        assert names[required.local] is resolve(required.origin)
        assert resolve(module) is not None


@pytest.mark.parametrize(
    ("required", "statement", "local", "origin"),
    [
        (RequiredImport("torch"), "import torch", "torch", "torch"),
        (RequiredImport("torch", "nn"), "from torch import nn", "nn", "torch.nn"),
        (RequiredImport("torch", "nn", "tnn"), "from torch import nn as tnn", "tnn", "torch.nn"),
        (RequiredImport("a.b", alias="c"), "import a.b as c", "c", "a.b"),
        (RequiredImport("a.b"), "import a.b", "a", "a"),
    ],
)
def test_required_imports(required: RequiredImport, statement: str, local: str, origin: str) -> None:
    assert (required.statement(), required.local, required.origin) == (statement, local, origin)


@pytest.mark.parametrize("framework", ["", "Torch", "tensorflow", "pytorch", "nnx"])
def test_an_unknown_framework_lists_those_there_are(framework: str) -> None:
    with pytest.raises(EmitError) as caught:
        get_dialect(framework)
    assert all(name in str(caught.value) for name in FRAMEWORKS)
    assert caught.value.text == framework


def test_flax_is_flax_nnx() -> None:
    assert get_dialect("flax") is get_dialect("flax_nnx")


@pytest.mark.parametrize(
    ("framework", "kind", "api"),
    [
        ("torch", "transpose", "torch.transpose"),
        ("jax", "transpose", "jax.numpy.transpose"),
        ("keras", "transpose", "keras.ops.transpose"),
        ("jax", "concatenate", "jax.numpy.concatenate"),
        ("jax", "cat", "jax.numpy.concatenate"),
        ("jax", "relu", "jax.nn.relu"),
        ("flax", "relu", "flax.nnx.relu"),
        ("torch", "logsigmoid", "torch.nn.functional.logsigmoid"),
    ],
)
def test_functions_by_kind_or_by_their_own_name(framework: str, kind: str, api: str) -> None:
    function = get_dialect(framework).function(kind)
    assert function is not None
    assert function.api == api
