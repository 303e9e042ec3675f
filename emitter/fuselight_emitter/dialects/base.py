"""What a dialect is: one framework's names, as data that is read in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Function:
    """A function without parameters of its own.

    Attributes:
        api: The fully qualified public name that is emitted.
        spellings: Other fully qualified names of the same function, which take the same arguments in the same
            order. A spelling may take further options behind them (`inplace=` of `torch.nn.functional.relu`), which
            the neutral kind does not have; a reader has to look at a site's own arguments.
        methods: Methods of the framework's array that compute the same, with the array as the first argument.
        operator: The Python operator that computes the same, if there is one.
        layer: The kind of the layer that computes the same without holding parameters or state.
        signature: The parameters in their order, by neutral names, each with its default where it has one:
            "input dim=None keepdim=False". A name that the framework spells otherwise stands behind a colon:
            "input:x dim:axis=None". Empty where nobody has written it down yet.
    """

    api: str
    spellings: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    operator: str | None = None
    layer: str | None = None
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function.

    Attributes:
        name: Its neutral name, the same in every framework.
        spelled: Its name in the framework.
        default: What it is when it is not given, as source text; None where it must be given.
    """

    name: str
    spelled: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class RequiredImport:
    """An import that a file needs: `import module [as alias]`, or `from module import name [as alias]`."""

    module: str
    name: str | None = None
    alias: str | None = None

    @property
    def local(self) -> str:
        """The name that the import binds."""
        return self.alias or self.name or self.module.partition(".")[0]

    @property
    def origin(self) -> str:
        """The fully qualified name of what `local` is bound to."""
        if self.name is not None:
            return f"{self.module}.{self.name}"
        return self.module if self.alias is not None else self.local

    def statement(self) -> str:
        """The import's source text, without a line end."""
        alias = f" as {self.alias}" if self.alias is not None else ""
        if self.name is not None:
            return f"from {self.module} import {self.name}{alias}"
        return f"import {self.module}{alias}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One framework's names.

    A kind says what is computed. How the arguments are named and what they default to is the framework's own (`dim` in
    torch is `axis` in JAX; `gelu` is exact in torch and approximate in JAX), so whoever carries a site from one kind to
    another within a framework keeps its arguments, and nobody may carry them across frameworks unread.

    Attributes:
        name: The framework, as `get_dialect` knows it.
        layers: From the kind of a stateful layer ("Conv2d") to its fully qualified public API.
        containers: The same of classes that hold layers and are built in an initialiser, but never called.
        functions: From a neutral kind ("silu") to the function.
        imports: From a module to the conventional import of it. The longest module that leads a name counts.
        seeded: The kinds of the layers whose constructor takes a random number stream, `rngs`.
        separate: Submodules that importing their package alone does not bring.
    """

    name: str
    layers: Mapping[str, str]
    containers: Mapping[str, str]
    functions: Mapping[str, Function]
    imports: Mapping[str, RequiredImport]
    seeded: frozenset[str] = frozenset()
    separate: frozenset[str] = frozenset()
    _kinds: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False, compare=False)
    _layer_kinds: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False, compare=False)
    _methods: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False, compare=False)
    _short: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False, compare=False)
    _parameters: dict[str, tuple[Parameter, ...]] = field(
        default_factory=dict[str, tuple[Parameter, ...]], init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self._layer_kinds.update({api: kind for kind, api in self.layers.items()})
        for kind, function in self.functions.items():
            for name in (function.api, *function.spellings):
                self._kinds[name] = kind
            for method in function.methods:
                self._methods[method] = kind
            self._short.setdefault(function.api.rpartition(".")[2], kind)

    def function_kind(self, qualified: str) -> str | None:
        """The neutral kind of a function by any of its fully qualified names."""
        return self._kinds.get(qualified)

    def parameters(self, kind: str) -> tuple[Parameter, ...]:
        """The parameters of a function by its neutral kind; empty where the tables do not say."""
        known = self._parameters.get(kind)
        if known is None:
            function = self.functions.get(kind)
            known = tuple(_parameter(text) for text in function.signature.split()) if function is not None else ()
            self._parameters[kind] = known
        return known

    def layer_kind(self, qualified: str) -> str | None:
        """The kind of a stateful layer by its fully qualified name."""
        return self._layer_kinds.get(qualified)

    def method_kind(self, method: str) -> str | None:
        """The neutral kind of a method of the framework's array."""
        return self._methods.get(method)

    def function(self, kind: str) -> Function | None:
        """A function by its neutral kind, else by the last part of its API's name ("concatenate" in JAX)."""
        found = self.functions.get(kind)
        if found is None and kind in self._short:
            found = self.functions[self._short[kind]]
        return found


def _parameter(text: str) -> Parameter:
    names, equals, default = text.partition("=")
    name, _, spelled = names.partition(":")
    return Parameter(name, spelled or name, default if equals else None)


def under(module: str, names: str) -> dict[str, str]:
    """A table from each of the words in `names` to that name in `module`."""
    return {name: f"{module}.{name}" for name in names.split()}
