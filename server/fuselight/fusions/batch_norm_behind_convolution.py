"""A convolution or linear layer with a batch norm straight behind it: `fuse()`, which makes one layer of both.

In eval mode a batch norm multiplies each channel by one number and adds another, and so does a convolution with
suitable weights: the two are one convolution. Training needs the norm, and so do checkpoints. The edit therefore
changes no layer and no line of the forward; it adds a method `fuse` to the class, as the YOLO models have it, which is
to be called on a model that is trained and loaded. Nothing changes until then.

    model.load_state_dict(checkpoint)
    model.eval()
    for module in model.modules():
        if hasattr(module, "fuse"):
            module.fuse()

## What it saves
In eval mode, once it is called, one pass over each activation: on a CPU 1.05x to 1.11x for a convolution of 64 channels
on 56x56 with its norm. Nothing in training.

## Fix safety
`inference`: after `fuse()` the model computes the same in eval mode, by rounding, and must not be trained on: the norms
are gone. `fuse()` raises while the model is in training mode, and does nothing when called again. State dicts after the
call lack the norms and have biases that they did not have, so load checkpoints before it. `torch.nn.utils`'
`fuse_conv_bn_eval` and `fuse_linear_bn_eval` do the work; the bias that they give a layer that had none has
`requires_grad=False`.

A linear layer before `BatchNorm1d` is taken to have an input of shape (N, in_features); of an input (N, L, C) the norm
would normalise L.

## Refused when
- the class, or one of its family in the file, has a `fuse` already, or the file calls one;
- the norm keeps no running statistics (`track_running_stats=False`, or an expression);
- the layer's output goes anywhere besides the norm, or the layer or the norm is called more than once;
- the layer is a transposed convolution in groups, which torch's function does not fold, or a linear layer before a norm
  without weights (`affine=False`), on which it fails;
- the layer or the norm is wrapped, hooked, replaced or used beside its call, but for its parameters in `__init__`;
- the layers are made in another class than the one that calls them;
- the file walks the children of its models or reaches attributes by computed names, as utilities do that replace
  batch norms by their type.

Source: `torch.nn.utils.fuse_conv_bn_eval`, `torch.nn.utils.fuse_linear_bn_eval`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.literals import literals
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import AddMethod, FuseMethod, Place
from fuselight.fusions.redundant_bias import (
    CONVOLUTIONS,
    LINEAR,
    argument_of,
    is_three_dimensional,
    is_two_dimensional,
    same_features,
    tracks,
)
from fuselight.fusions.sequence import Chain, Link, called_chains, chains_in
from fuselight.graph.classes import ClassInfo
from fuselight.graph.mentions import is_own_fuse
from fuselight.graph.module import Module, Scope

_BATCH_NORMS = frozenset({f"torch.nn.BatchNorm{n}d" for n in (1, 2, 3)} | {"torch.nn.SyncBatchNorm"})
_KINDS = (CONVOLUTIONS | LINEAR, _BATCH_NORMS)

_PARAMETERS = frozenset(
    "weight bias running_mean running_var eps momentum in_channels out_channels num_features".split()
)

_TAKEN_KEYS = frozenset("append extend insert pop forward training".split())
"""Names that a `nn.Sequential` has for itself, so that an element of that key is not reached by it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A layer and its norm, as `fuse` names them."""

    chain: Chain
    layer: str
    norm: str

    @property
    def what(self) -> str:
        kind = self.chain.links[0].kind
        return "linear" if kind in LINEAR else "transposed convolution" if "Transpose" in kind else "convolution"

    @property
    def place(self) -> Place:
        """Where the norm is called; its constructor, where it is an element of a `nn.Sequential`."""
        norm = self.chain.links[1]
        value = norm.value.node if norm.value is not None else None
        return Place(self.chain.scope.statement, value if value is not None else norm.call)


@fusion
class BatchNormBehindConvolution(Fusion):
    __doc__ = __doc__

    code = "FUS103"
    name = "batch-norm-behind-convolution"
    words = (frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}),)
    examples = (
        Example(
            before="""\
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))
""",
            after='''\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))

    @torch.no_grad()
    def fuse(self):
        """Fold batch norms into the layers before them; new biases do not train."""
        if self.training:
            raise RuntimeError("fuse() is for inference: call eval() first")
        if not isinstance(self.bn, nn.Identity):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()
        return self
''',
            inputs=((4, 3, 6, 6),),
            safety=Safety.INFERENCE,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(
            nn.Conv2d(4, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )

    def forward(self, x):
        x = self.up(x)
        x = self.norm(x)
        return self.body(x)
""",
            after='''\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(
            nn.Conv2d(4, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )

    def forward(self, x):
        x = self.up(x)
        x = self.norm(x)
        return self.body(x)

    @torch.no_grad()
    def fuse(self):
        """Fold batch norms into the layers before them; new biases do not train."""
        if self.training:
            raise RuntimeError("fuse() is for inference: call eval() first")
        if not isinstance(self.norm, nn.Identity):
            self.up = nn.utils.fuse_conv_bn_eval(self.up, self.norm, transpose=True)
            self.norm = nn.Identity()
        if not isinstance(self.body[1], nn.Identity):
            self.body[0] = nn.utils.fuse_conv_bn_eval(self.body[0], self.body[1])
            self.body[1] = nn.Identity()
        return self
''',
            inputs=((4, 3, 6, 6),),
            safety=Safety.INFERENCE,
        ),
    )
    near_misses = (
        # the output goes elsewhere too
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return torch.relu(self.bn(y)) + y
""",
            "more than once",
        ),
        # no statistics
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
            "running statistics",
        ),
        # a transposed convolution in groups
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.ConvTranspose2d(8, 8, 3, groups=4)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
            "groups",
        ),
        # a linear layer and a norm without weights
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.bn = nn.BatchNorm1d(8, affine=False)

    def forward(self, x):
        return self.bn(self.fc(x))
""",
            "without weights",
        ),
        # norms are replaced by their type
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))


def replace_bn(model):
    for n, m in model.named_children():
        if isinstance(m, nn.BatchNorm2d):
            setattr(model, n, nn.GroupNorm(4, m.num_features))
        else:
            replace_bn(m)
""",
            "",
        ),
        # there is a fuse
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x))

    def fuse(self):
        return self
""",
            "`fuse` already",
        ),
        # the norm is used beside its call
        NearMiss(
            """\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x)) + self.bn.weight.sum()
""",
            "beside its call",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None or scope.function is not owner.methods.get("__init__"):
            return
        kinds = {layer.kind for layer in owner.own_layers.values()}
        called = all(kinds & wanted for wanted in _KINDS)
        if not called and "Sequential" not in scope.words:
            return
        own = owner.methods.get("fuse")
        if is_own_fuse(own):
            return
        pairs: list[_Pair] = []
        for chain in _chains(module, scope, owner, called):
            pair = _pair(module, owner, chain)
            if isinstance(pair, _Pair):
                pairs.append(pair)
            elif pair is not None:
                yield self._refused(owner, chain, pair)
        if not pairs:
            return
        refusal = _taken(module, owner)
        if refusal is not None:
            for pair in pairs:
                yield self._refused(owner, pair.chain, refusal)
            return
        yield self._offered(owner, pairs)

    def _refused(self, owner: ClassInfo, chain: Chain, refusal: Refusal) -> Match:
        layer, norm = chain.links
        message = f"`{norm.label}` is one layer with `{layer.label}` in eval mode"
        # A place of its own: the refusal is to be seen beside a fusion that is offered for the same layers.
        return Match(type(self), owner.name, Place(norm.statement, norm.call.func), message, refused=refusal)

    def _offered(self, owner: ClassInfo, pairs: list[_Pair]) -> Match:
        norms = [f"`{pair.chain.links[1].label}`" for pair in pairs]
        layers = [f"`{pair.chain.links[0].label}`" for pair in pairs]
        one = len(pairs) == 1
        message = (
            f"{_listed(norms)} {'is one layer' if one else 'are one layer each'} with {_listed(layers)} in eval mode"
        )
        note = "training and checkpoints stay as they are until it is called"
        linear = [pair.chain.links[0] for pair in pairs if pair.what == "linear"]
        if any(not is_two_dimensional(link.value) for link in linear):
            note += "; for inputs of shape (N, features)"
        title = f"Add `fuse()`, which folds {_listed(norms)} into {_listed(layers)} ({Safety.INFERENCE.value}: {note})"
        method = FuseMethod(tuple((pair.layer, pair.norm, pair.what) for pair in pairs))
        behind = owner.methods.get("forward") or list(owner.methods.values())[-1]
        places = [pair.place for pair in pairs]
        return Match(
            type(self), owner.name, places[0], message, title, Safety.INFERENCE, tuple(places[1:]),
            lambda: (AddMethod(owner.statement, behind, method),),
        )  # fmt: skip


def _listed(names: list[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _chains(module: Module, init: Scope, owner: ClassInfo, called: bool) -> Iterator[Chain]:
    """The pairs that methods of the class call, and those in the `nn.Sequential`s that its attributes hold."""
    if called:
        for scope in module.scopes(owner.statement):
            if scope.owner is owner:
                yield from called_chains(module, scope, owner, _KINDS)
    for literal in literals(module, init):
        if literal.seat.plain and not literal.seat.whole and not literal.run:
            yield from chains_in(module, init, literal, _KINDS)


def _pair(module: Module, owner: ClassInfo, chain: Chain) -> _Pair | Refusal | None:
    """The pair as `fuse` will name it; why it cannot be folded; or None where it is not the norm's layer at all."""
    layer, norm = chain.links
    if norm.kind != "torch.nn.SyncBatchNorm" and norm.kind[-2] != ("1" if layer.kind in LINEAR else layer.kind[-2]):
        return None
    refusal = _unfoldable(layer, norm) or chain.why_not(_used_for_parameters(module, owner, chain))
    if refusal is not None:
        return refusal
    if layer.layer is None or layer.layer.owner is not owner:
        return Refusal("another class makes the layers", Place(layer.statement, layer.call))
    paths: list[str] = []
    for link in (layer, norm):
        path = _reached(module, chain, link)
        if path is None:
            return Refusal(f"`{link.label}` has a key by which it cannot be reached", Place(link.statement, link.call))
        paths.append(path)
    return _Pair(chain, *paths)


def _unfoldable(layer: Link, norm: Link) -> Refusal | None:
    place = Place(layer.statement, layer.call)
    if tracks(norm, default=True) is not True:
        return Refusal(f"`{norm.label}` may keep no running statistics to fold", place)
    if "Transpose" in layer.kind:
        groups = argument_of(layer, "groups", 6)
        if groups is not None and not (isinstance(groups, ast.Constant) and groups.value == 1):
            return Refusal(f"`{layer.label}` is a transposed convolution in groups, which torch does not fold", place)
    if layer.kind in LINEAR:
        affine = argument_of(norm, "affine", 3)
        if affine is not None and not (isinstance(affine, ast.Constant) and affine.value is True):
            return Refusal(f"`{norm.label}` may be without weights, on which torch's function fails", place)
        if is_three_dimensional(layer.value):
            return Refusal(
                "the norm takes the second dimension of three for the channels, the linear layer the last", place
            )
    if not same_features(layer, norm):
        return Refusal(f"`{norm.label}` is not seen to normalise the features of `{layer.label}`", place)
    return None


def _used_for_parameters(module: Module, owner: ClassInfo, chain: Chain) -> frozenset[ast.AST]:
    """Mentions in `__init__` that read or set a parameter of the layers: `nn.init.zeros_(self.bn.weight)`."""
    found: set[ast.AST] = set()
    for link in chain.links:
        for mention in module.mentions.of_attribute(link.layer.attribute) if link.layer is not None else ():
            in_init = mention.owner is owner.node and mention.function is owner.methods.get("__init__")
            if in_init and isinstance(mention.parent, ast.Attribute) and mention.parent.attr in _PARAMETERS:
                found.add(mention.node)
    return frozenset(found)


def _reached(module: Module, chain: Chain, link: Link) -> str | None:
    """How a method of the class names a layer: `self.conv`, `self.net[0]`, `self.net.conv`."""
    assert link.path is not None
    attribute, *keys = link.path.split(".")
    path = f"self.{attribute}"
    numbered: dict[str, bool] = {}
    if chain.literal is not None:
        numbered = {
            one.path: one.numbered for one in literals(module, chain.literal.scope) if one.seat.anchor is chain.anchor
        }
    at = attribute
    for key in keys:
        if numbered.get(at, False):
            path += f"[{key}]"
        elif key.isidentifier() and key not in _TAKEN_KEYS and not key.startswith("_"):
            path += f".{key}"
        else:
            return None
        at = f"{at}.{key}"
    return path


def _taken(module: Module, owner: ClassInfo) -> Refusal | None:
    """Whether the name `fuse` has a meaning in the file that a new method would change."""
    for member in owner.family:
        if "fuse" in member.methods:
            return Refusal(f"`{member.name}` has a `fuse` already", Place(member.statement, member.methods["fuse"]))
    for mention in module.mentions.of_attribute("fuse"):
        return Refusal("the file uses a `fuse` already", Place(mention.statement, mention.node))
    if any(text == "fuse" for text, _ in module.mentions.strings_with("fuse")):
        return Refusal("the file uses a `fuse` already, by a string")
    for called in module.mentions.calls_of("set_submodule"):
        return Refusal("the file replaces layers", Place(called.statement, called.node))
    for member in owner.family:
        refusal = provenance.known_class(module, member)
        if refusal is not None:
            return refusal
        if provenance.is_class_attribute(member.node, "fuse"):
            return Refusal(f"`{member.name}` has a `fuse` already", Place(member.statement, member.node))
    return None
