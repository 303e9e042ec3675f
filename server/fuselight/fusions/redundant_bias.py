"""A bias that the norm behind its layer subtracts: what the fusions that drop it have in common."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fuselight.fusions import provenance
from fuselight.fusions.base import Match, Refusal
from fuselight.fusions.literals import blocks_of
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_local
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Argument,
    DropBiasHook,
    FoldBiasesHook,
    FoldBiasHook,
    HookRegistration,
    Insert,
    NameReturned,
    Place,
    SetArguments,
)
from fuselight.fusions.sequence import Chain, Link, Sequence
from fuselight.fusions.walks import picked_by_position
from fuselight.graph.classes import Layer, local_names
from fuselight.graph.mentions import is_own_hook
from fuselight.graph.module import Module
from fuselight.graph.values import Value

CONVOLUTIONS = frozenset(f"torch.nn.Conv{transposed}{n}d" for transposed in ("", "Transpose") for n in (1, 2, 3))
LINEAR = frozenset({"torch.nn.Linear"})

_BIAS_POSITION = (
    {"torch.nn.Linear": 2}
    | {f"torch.nn.Conv{n}d": 7 for n in (1, 2, 3)}
    | {f"torch.nn.ConvTranspose{n}d": 7 for n in (1, 2, 3)}
)
"""Where `bias` stands among the positional arguments. Source: the signatures of torch 2.13."""

_FOLD_ALL = "_fold_biases_into_norms"


@dataclass(frozen=True, slots=True)
class LoadHook:
    """The load hook of one layer and its norm, and the keywords that it is bound to."""

    function: FoldBiasHook | DropBiasHook
    arguments: dict[str, str]


class RedundantBias(Sequence):
    """A layer with a bias and the norm that subtracts it: `bias=False`, and a hook that loads old checkpoints."""

    def subtracts(self, layer: Link, norm: Link) -> bool:
        """Whether a norm of this kind, made in this way, subtracts what is the same for a whole channel."""
        raise NotImplementedError

    def refusal(self, module: Module, chain: Chain) -> Refusal | None:
        """What else stands against it, for this norm."""
        raise NotImplementedError

    def hook(self, layer: Link, norm: Link) -> LoadHook:
        raise NotImplementedError

    def judge(self, module: Module, chain: Chain) -> Iterator[Match]:
        layer, norm = chain.links
        if not self.subtracts(layer, norm):
            return
        bias = has_bias(layer)
        if bias is False:
            return
        place = Place(layer.statement, layer.call)
        message = f"`{norm.label}` subtracts the bias of `{layer.label}`: it computes nothing"
        reason = chain.why_not(frozenset()) or self._refusal(module, chain, bias)
        if reason is not None:
            yield Match(type(self), chain.scope.name, place, message, refused=reason, others=chain.places)
            return
        breaking = provenance.loads_past_hooks(module, chain.owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
        note = breaking or "old checkpoints load through a hook"
        if layer.kind in LINEAR and not is_two_dimensional(layer.value):
            note += "; for inputs of shape (N, features)"
        title = f"Remove the bias of `{layer.label}`, which `{norm.label}` subtracts ({safety.value}: {note})"
        yield Match(
            type(self), chain.scope.name, place, message, title, safety, chain.places,
            lambda: self._plan(chain, layer, norm),
        )  # fmt: skip

    def _refusal(self, module: Module, chain: Chain, bias: bool | None) -> Refusal | None:
        layer, _ = chain.links
        if bias is None:
            return Refusal(
                f"whether `{layer.label}` has a bias is decided by an expression", Place(layer.statement, layer.call)
            )
        refusal = self.refusal(module, chain) or picked_by_position(module)
        if refusal is not None:
            return refusal
        held = layer.layer.attribute if layer.layer is not None else "self"
        refusal = provenance.bias_is_expected(module, _as_held(chain, layer, held))
        if refusal is None and layer.path is not None and layer.layer is not None:
            refusal = provenance.named_in_strings(module, (f"{layer.path}.bias",))
        return refusal

    def _plan(self, chain: Chain, layer: Link, norm: Link) -> tuple[Action, ...]:
        statement = chain.statement
        dropped = SetArguments(
            statement, layer.call, (Argument("bias", _BIAS_POSITION[layer.kind], "False"),),
            layer.logical(bias="False"),
        )  # fmt: skip
        if chain.is_named:
            hook = self.hook(layer, norm)
            registration = HookRegistration(hook.function.name, hook.arguments)
            return (
                dropped,
                AddFunction(statement, hook.function),
                Insert(statement, chain.anchor, (registration,), after=True),
            )
        assert chain.literal is not None
        seat = chain.literal.seat
        if seat.target is None:
            assert isinstance(chain.anchor, ast.Return)
            # As long as `return`, so that what hangs below the first line stays aligned.
            name = free_local("unit", local_names(chain.scope.function, statement) | _names(chain.scope.function))
            named = NameReturned(statement, chain.anchor, name, (HookRegistration(_FOLD_ALL, on=name),))
            return dropped, AddFunction(statement, FoldBiasesHook(_FOLD_ALL)), named
        if _is_registered(chain, seat.target):
            return (dropped,)
        registration = HookRegistration(_FOLD_ALL, on=seat.target)
        return (
            dropped,
            AddFunction(statement, FoldBiasesHook(_FOLD_ALL)),
            Insert(statement, chain.anchor, (registration,), after=True),
        )


def _as_held(chain: Chain, link: Link, attribute: str) -> Layer:
    """The layer for questions about what the file does to layers of its kind, and to the attribute that holds it."""
    if link.layer is not None:
        return replace(link.layer, attribute=attribute, kind=link.kind, constructor=link.call)
    function = chain.scope.function
    assert chain.literal is not None
    owner = chain.owner
    return Layer(attribute, link.call, link.kind, owner, function, chain.anchor, function.body)  # pyright: ignore


def _names(function: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


def _is_registered(chain: Chain, target: str) -> bool:
    """Whether the hook for all biases is registered behind the anchor already."""
    for block in blocks_of(chain.scope.function.body):
        if chain.anchor not in block:
            continue
        for node in block[block.index(chain.anchor) + 1 :]:
            match node:
                case ast.Expr(
                    value=ast.Call(
                        func=ast.Attribute(value=on, attr="register_load_state_dict_pre_hook"),
                        args=[ast.Name() as hook],
                    )
                ):
                    if ast.unparse(on) == target and is_own_hook(hook) and hook.id.startswith(_FOLD_ALL):
                        return True
                case _:
                    return False
    return False


def same_features(layer: Link, norm: Link) -> bool:
    """Whether the layer's output features are what the norm normalises.

    A norm behind a convolution of its own rank cannot take anything else for the channels, but for `Conv1d` on an
    input without a batch dimension. Behind a linear layer the source must say the same size twice.
    """
    made = argument_of(layer, "out_features" if layer.kind in LINEAR else "out_channels", 1)
    normalised = argument_of(norm, "num_features", 0)
    if made is None or normalised is None:
        return layer.kind not in LINEAR
    if isinstance(made, ast.Constant) and isinstance(normalised, ast.Constant):
        return made.value == normalised.value
    if ast.unparse(made) == ast.unparse(normalised):
        return True
    return layer.kind not in LINEAR or is_two_dimensional(layer.value)


def argument_of(link: Link, name: str, position: int) -> ast.expr | None:
    for keyword in link.call.keywords:
        if keyword.arg == name:
            return keyword.value
    return link.call.args[position] if len(link.call.args) > position else None


def has_bias(link: Link) -> bool | None:
    """Whether a layer has a bias; None where an expression decides."""
    given = argument_of(link, "bias", _BIAS_POSITION[link.kind])
    if given is None:
        return True
    if isinstance(given, ast.Constant) and isinstance(given.value, bool | int | None):
        return bool(given.value)
    return None


def tracks(norm: Link, default: bool) -> bool | None:
    """Whether a norm keeps running statistics; None where an expression decides."""
    given = argument_of(norm, "track_running_stats", 4)
    if given is None:
        return default
    if isinstance(given, ast.Constant) and isinstance(given.value, bool):
        return given.value
    return None


def is_two_dimensional(value: Value | None) -> bool:
    """Whether the source shows the input of a linear layer to be of shape (N, features)."""
    source = value.inputs[0] if value is not None and value.inputs else None
    while source is not None:
        if source.kind in ("flatten", "torch.nn.Flatten"):
            return True
        if source.kind in ("reshape", "method view"):
            return len(source.inputs) == 3
        if len(source.inputs) != 1 or source.kind in ("joined", "unpack", "attribute", "call", "container"):
            return False
        source = source.inputs[0]
    return False


def is_three_dimensional(value: Value | None) -> bool:
    source = value.inputs[0] if value is not None and value.inputs else None
    while source is not None:
        if source.kind in ("torch.nn.Embedding", "torch.nn.Conv1d"):
            return True
        if source.kind in ("unsqueeze", "swapaxes", "permute"):
            return True
        if source.kind in ("reshape", "method view"):
            return len(source.inputs) >= 4
        if len(source.inputs) != 1 or source.kind in ("joined", "unpack", "attribute", "call", "container"):
            return False
        source = source.inputs[0]
    return False
