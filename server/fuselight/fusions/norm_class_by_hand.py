"""A class that is RMSNorm or LayerNorm by hand.

A class of its own for what torch has as a layer since 1.0 (LayerNorm) and 2.4 (RMSNorm): it becomes a thin class of
torch's, under its old name, with the old signature of its constructor. So everybody who makes, imports or asks for the
class gains at once, and the keys of checkpoints stay.

## What it saves
For LayerNorm time and memory: on a CPU 5.44x forward, 6.16x forward and backward, and 36 MB less kept for the backward
pass (float32, 3 million elements). The LayerNorm of an image's channels, 2.4 million elements, keeps 28 MB less and is
0.76x forward, 1.12x forward and backward: it is put back in order by a copy. For RMSNorm brevity, and accuracy in
float16 and bfloat16; on a CPU no time (0.99x forward, 1.17x forward and backward in float32; 0.94x and 0.83x in
bfloat16) and no memory. The kernels for GPUs are not measured here. Where `forward` is one call of `layer_norm` or
`rms_norm` already, it saves the class's own lines.

## Fix safety
`exact` where `forward` is that one call. Else as for the expression (FUS409, FUS410), with the reason in the title:
`numerics` for a norm that is not computed in float32 or float64 throughout, that rounds before the weight is applied
(the order of Llama: in bfloat16 a quarter of the elements differ by one rounding, and torch's layer is the more
accurate one), or that rounds float64 inputs to float32. With a float32 weight and a bfloat16 input the old class may
give float32 where the layer gives bfloat16. Under autocast on a GPU the layer gives float32, also where the class
converted back. A size that is handed over as a shape of several dimensions, by another file, is not seen: the class
normalised the last of them, the layer normalises all.

`checkpoint` where the parameters are called `gamma`, `scale`, `g` and the like: they become `weight` and `bias`, and a
load hook renames them in old checkpoints; `breaking` where the file's models load past load hooks. A whole model that
`torch.save(model)` pickled before does not load into the new class: save state dicts.

The LayerNorm of an image's channels (`LayerNorm2d`) keeps a `forward`, which moves the channels to the end and back; it
is `numerics`, for inputs of four dimensions. Its result is contiguous, for who views it afterwards.

An attribute such as `variance_epsilon` goes where the file reads it nowhere else; torch's layer has `eps`. What
`repr(model)` shows is that of torch's layer. Other files are not seen.

## Refused when
- `1 + weight` multiplies, the weight starts at zero, or has another shape than one size: torch's layers cannot say it;
- the variance is unbiased, eps stands outside of the root (the Annotated Transformer's), or there is none;
- the result is converted to the dtype of the weight (T5's): the layer gives that of its input;
- the class has a decorator, class attributes, a base beside `nn.Module`, subclasses with methods, buffers, further
  parameters, or a method that reads what goes; `forward` takes more than the tensor, branches or does more;
- the file asks `isinstance(m, nn.LayerNorm)`: the class would become one, with another weight decay or initialisation;
- its input is handed over by name (`norm(hidden_states=x)`), or an attribute that goes is read, set or named elsewhere;
- sizes and eps are not at hand where `super().__init__` is called; it is made with a shape of several dimensions;
- it reads as a reference for a test, or stands in a branch for a torch that lacks the layer.

Source: Ba et al. 2016; Zhang and Sennrich 2019; `torch.nn.LayerNorm`, `torch.nn.RMSNorm`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.class_bodies import (
    ClassBody,
    Way,
    called_kind,
    class_body,
    is_of_plain_class,
    is_whole,
    ways,
)
from fuselight.fusions.class_outlines import Outline
from fuselight.fusions.matching import Operand, cast_operand
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_function, snake_case
from fuselight.fusions.needs import Assumption, Need, Verdict, without_autocast
from fuselight.fusions.norms_by_hand import (
    affine,
    converted_to,
    last_dimensions,
    same_dtype_assumed,
    through_float32,
    wide,
)
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    AssignedTemplate,
    HookRegistration,
    Place,
    RenameParametersHook,
    Returned,
    Template,
)
from fuselight.fusions.site import Rewrite, Site
from fuselight.fusions.spelled_out_layer_norm import SpelledOutLayerNorm
from fuselight.fusions.spelled_out_rms_norm import SpelledOutRmsNorm
from fuselight.graph.classes import resolve
from fuselight.graph.kinds import parameters_of
from fuselight.graph.module import Module, Scope
from fuselight.graph.values import Value

_LAYERS = {"rms_norm": "torch.nn.RMSNorm", "layer_norm": "torch.nn.LayerNorm"}
_ATTRIBUTES = {
    "rms_norm": frozenset({"weight", "eps", "normalized_shape", "elementwise_affine"}),
    "layer_norm": frozenset({"weight", "bias", "eps", "normalized_shape", "elementwise_affine"}),
}
_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
_FILLED = {
    "torch.ones": 1.0,
    "torch.zeros": 0.0,
    "torch.empty": None,
    "torch.Tensor": None,
    "torch.FloatTensor": None,
}
_WORDS = frozenset("mean sum var std norm normalize rms_norm layer_norm var_mean vector_norm".split())
_IN_CLASS = ("arameter", "layer_norm", "rms_norm")
"""Of which the class itself holds one: what it computes may stand in a function of the file."""


def _refused(reason: str) -> Need:
    def verdict(site: Site) -> Verdict:
        return Refusal(reason, site.place)

    return verdict


def _promoted(site: Site) -> Verdict:
    """The squares are computed in float32, and the result is converted back to the dtype of the input."""
    value, weight = site.value("x"), site.value("w")
    behind = False
    for one in (site.root, *site.found.inner):
        converted = cast_operand(one)
        if converted is None or one.kind == "method contiguous":
            continue
        made = converted_to(one)
        if converted.value is value:
            if made not in ("torch.float32", "torch.float"):
                return Refusal("it is not computed in float32", site.place)
        elif isinstance(made, Value) and weight is not None and _is_same(site, made, weight):
            return Refusal("its result is converted to the dtype of its weight, that of the layer to the input's")
        elif made is not value:
            return Refusal("its result is converted to another dtype than the input's", site.place)
        behind = behind or made is value
    if not behind:
        return Refusal("the dtype of its result is another one", site.place)
    if converted_to(site.root) is value:
        return Assumption("float64 is no longer rounded to float32")
    late = same_dtype_assumed(site)
    if isinstance(late, Assumption):
        return Assumption("the weight multiplies before the result is rounded to the input's dtype, which it shares")
    return late


def _is_same(site: Site, one: Value, other: Value) -> bool:
    while (converted := cast_operand(other)) is not None:
        other = converted.value
    return site.matcher.is_same(one, other)


_SHAPES = " of the size of the last dimension"
"""The end of what expressions assume of parameters; how a class makes its own is read here."""

_MEAN = "mean(x, dim=d, keepdim=True)"
_CALLED = (
    Rewrite("rms_norm(x, s, weight=w, eps=eps)", "rms_norm(x, s, w, eps)", scalars=("eps",), integers=("s",)),
    Rewrite(
        "layer_norm(x, s, weight=w, bias=b, eps=eps)",
        "layer_norm(x, s, w, b, eps)",
        scalars=("eps",),
        integers=("s",),
    ),
    Rewrite(
        "cast(cast(w) * cast(rms_norm(cast(x), s, eps=eps)))",
        "rms_norm(x, s, w, eps)",
        scalars=("eps",),
        integers=("s",),
        needs=(through_float32("x", "w"),),
    ),
    Rewrite(
        "cast(rms_norm(cast(x), s, weight=cast(w), eps=eps))",
        "rms_norm(x, s, w, eps)",
        scalars=("eps",),
        integers=("s",),
        needs=(through_float32("x", "w"),),
    ),
    Rewrite(
        "cast(layer_norm(cast(x), s, weight=cast(w), bias=cast(b), eps=eps))",
        "layer_norm(x, s, w, b, eps)",
        scalars=("eps",),
        integers=("s",),
        needs=(through_float32("x", "w", "b"),),
    ),
)
_ROOT = "rsqrt(mean(cast(x) ** 2, dim=d, keepdim=True) + eps)"
_ADDED = tuple(
    Rewrite(
        pattern,
        "rms_norm(x, s, w, eps)",
        scalars=("eps",),
        integers=("d",),
        needs=(_refused("a number is added to its weight, which the layer cannot say"),),
    )
    for pattern in (
        f"cast(cast(1 + cast(w)) * cast(cast(x) * {_ROOT}))",
        f"cast(cast(1 + cast(w)) * cast(x) * {_ROOT})",
    )
)
"""The order of Gemma."""

_PROMOTED = tuple(
    Rewrite(
        pattern,
        "rms_norm(x, s, w, eps)",
        scalars=("eps",),
        integers=("d",),
        needs=(last_dimensions("d", "x", 1), affine("w"), _promoted),
    )
    for pattern in (f"cast(cast(w) * cast(x * {_ROOT}))", f"cast(cast(w) * x * {_ROOT})")
)
"""The mean square is of float32, and what it divides becomes float32 by that."""

_SQUARES = "mean((x - mean(x, dim=1, keepdim=True)) ** 2, dim=1, keepdim=True)"
_IMAGES = (
    Rewrite(
        "w * ((x - mean(x, dim=1, keepdim=True))"
        f" / sqrt(either({_SQUARES}, var(x, dim=1, keepdim=True, correction=0)) + eps)) + b",
        "layer_norm(x, s, w, b, eps)",
        Safety.NUMERICS,
        "for images of shape (N, C, H, W), which come out contiguous",
        scalars=("eps",),
        needs=(same_dtype_assumed, wide("x")),
    ),
)
"""The layer norm of each pixel over its channels, `LayerNorm2d` of ConvNeXt."""

_OTHERS = tuple(
    Rewrite(pattern, "layer_norm(x, s, w, b, eps)", scalars=("eps",), integers=("d", "c"), needs=(_refused(reason),))
    for pattern, reason in (
        (
            f"w * (x - {_MEAN}) / (std(x, dim=d, keepdim=True, correction=1) + eps) + b",
            "the deviation is unbiased (it divides by n - 1) and eps stands outside of the root",
        ),
        (
            f"w * (x - {_MEAN}) / (either(std(x, dim=d, keepdim=True, correction=0), "
            "sqrt(var(x, dim=d, keepdim=True, correction=0))) + eps) + b",
            "eps stands outside of the root: another function",
        ),
        (
            f"w * (x - {_MEAN}) / sqrt(var(x, dim=d, keepdim=True, correction=1) + eps) + b",
            "the variance is unbiased: it divides by n - 1",
        ),
        (
            "w * x / (sqrt(mean(x ** 2, dim=d, keepdim=True)) + eps)",
            "eps stands outside of the root: another function",
        ),
        ("w * x * rsqrt(mean(x ** 2, dim=d, keepdim=True))", "it has no eps, which the layer adds"),
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """How `__init__` makes a parameter."""

    size: ast.expr
    fill: float | None
    options: dict[str, ast.expr] = field(default_factory=dict[str, ast.expr])
    condition: ast.expr | None = None
    """`nn.Parameter(...) if bias else None`"""


_CLASS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        {init}
        self.eps = eps

    def forward(self, x):
        {forward}
"""
_WEIGHT = "self.weight = nn.Parameter(torch.ones(dim))"
_RMS = "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight"


def _near(reason: str, init: str = _WEIGHT, forward: str = _RMS, behind: str = "") -> NearMiss:
    return NearMiss(_CLASS.format(init=init, forward=forward) + behind, reason)


@fusion
class NormClassByHand(Fusion):
    __doc__ = __doc__

    code = "FUS413"
    name = "norm-class-by-hand"
    words = (frozenset({"forward"}), _WORDS, frozenset({"torch"}))
    examples = (
        Example(
            before='''\
import torch
from torch import nn


class LayerNorm(nn.Module):
    """Normalise the last dimension."""

    def __init__(self, features, eps=1e-6):
        super().__init__()
        # how much of each
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        var = x.var(-1, keepdim=True, unbiased=False)
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = LayerNorm(16)

    def forward(self, x):
        return self.norm(x)
''',
            after='''\
import torch
from torch import nn


class LayerNorm(nn.LayerNorm):
    """Normalise the last dimension."""

    def __init__(self, features, eps=1e-6):
        # how much of each
        super().__init__(features, eps=eps)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = LayerNorm(16)

    def forward(self, x):
        return self.norm(x)
''',
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    def __init__(self, ndim, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, input):
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-5)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = LayerNorm(16, bias=False)

    def forward(self, x):
        return self.norm(x)
""",
            after="""\
import torch
from torch import nn
from torch.nn import functional as F


class LayerNorm(nn.LayerNorm):
    def __init__(self, ndim, bias):
        super().__init__(ndim, eps=1e-5, bias=bias)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = LayerNorm(16, bias=False)

    def forward(self, x):
        return self.norm(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        return self._norm(x) * self.gamma


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = RMSNorm(16)

    def forward(self, x):
        return self.norm(x)
""",
            after='''\
import torch
from torch import nn


def _rename_parameters_of_rms_norm(module, state_dict, prefix, *args):
    """Load checkpoints that hold gamma in place of weight."""
    for old, new in (("gamma", "weight"),):
        if f"{prefix}{old}" in state_dict:
            state_dict[f"{prefix}{new}"] = state_dict.pop(f"{prefix}{old}")


class RMSNorm(nn.RMSNorm):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps=eps)
        self.register_load_state_dict_pre_hook(_rename_parameters_of_rms_norm)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = RMSNorm(16)

    def forward(self, x):
        return self.norm(x)
''',
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        _near("added to its weight", forward=_RMS.replace("self.weight", "(1 + self.weight)")),
        _near("starts at 0", init=_WEIGHT.replace("ones", "zeros")),
        _near("one dimension", init=_WEIGHT.replace("(dim)", "(1, dim)")),
        _near("eps", forward="return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps)"),
        _near(
            "unbiased",
            forward="return self.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps)"
            " + self.weight",
        ),
        _near("", forward=f"{_RMS} * F.silu(x)"),
        _near("", forward=f"print(x.shape)\n        {_RMS}"),
        _near("asks whether", behind="\n\ndef is_norm(m):\n    return isinstance(m, nn.RMSNorm)\n"),
        _near("inherits", behind="\n\nclass Other(Norm):\n    def forward(self, x):\n        return x\n"),
        _near("number", behind="\n\ndef soften(norm):\n    norm.eps = 1e-3\n"),
        _near("as a keyword", behind="\n\nnorm = Norm(4)\ny = norm(x=torch.ones(4))\n"),
        _near("several dimensions", behind="\n\nnorm = Norm((2, 4))\n"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if scope.owner is None or not is_of_plain_class(scope):
            return
        called = [method for name, method in scope.owner.methods.items() if name == "__init__" or name in scope.words]
        texts = [scope.statement.lines_of(method) for method in (scope.function, *called)]
        if not any(word in text for text in texts for word in _IN_CLASS):
            return
        body = class_body(module, scope)
        if body is not None:
            yield from (found for found in self._found(body) if is_whole(scope))

    def _found(self, body: ClassBody) -> Iterator[Match]:
        refused: list[Match] = []
        norms = (*SpelledOutRmsNorm.rewrites, *SpelledOutLayerNorm.rewrites)
        for way in ways(body, (*_ADDED, *_CALLED, *norms, *_PROMOTED, *_IMAGES, *_OTHERS)):
            found = _Norm(body, way).match() if isinstance(way, Way) else _refusal(body, way)
            if found.refused is None:
                yield found
                return
            if isinstance(way, Way):
                # What is wrong with the class says more than why one way to see it does not fit.
                refused = [found]
                break
            refused.append(found)
        # That a way to see it asks for more float32 says less than what the others find.
        refused.sort(key=lambda one: one.refused is not None and one.refused.reason.endswith("computed in float32"))
        yield from refused[:1]


def _refusal(body: ClassBody, refusal: Refusal) -> Match:
    name = body.owner.name
    message = f"`{name}` is a norm by hand"
    return Match(NormClassByHand, body.scope.name, body.place, message, refused=refusal)


class _Norm:
    """A class that one way of seeing it makes a norm of torch."""

    def __init__(self, body: ClassBody, way: Way) -> None:
        self.body = body
        self.way = way
        self.module = body.module
        called = called_kind(way.rewrite.replacement)
        assert called is not None
        self.kind, self.given = called
        self.outline = Outline(body, _LAYERS[self.kind], _ATTRIBUTES[self.kind])
        self.renamed: list[tuple[str, str]] = []
        self.notes = [note for note in way.notes if not note.endswith(_SHAPES)]

    def match(self) -> Match:
        outline, owner = self.outline, self.body.owner
        name = self.outline.layer.rpartition(".")[2]
        message = f"`{owner.name}` is `nn.{name}` by hand"
        refusal = self._arguments()
        outline.drop_attributes()
        refusal = refusal or outline.refusal() or self._names_change() or self._under_autocast()
        if refusal is not None:
            return Match(NormClassByHand, self.body.scope.name, self.body.place, message, refused=refusal)
        safety = Safety.NUMERICS if self.notes else self.way.rewrite.safety
        if self.renamed:
            breaking = provenance.loads_past_hooks(self.module, owner)
            safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
            old, new = (" and ".join(f"`{one}`" for one in names) for names in zip(*self.renamed, strict=True))
            becomes = "become" if len(self.renamed) > 1 else "becomes"
            self.notes.insert(0, breaking or f"{old} {becomes} {new}, old checkpoints load through a hook")
        title = f"Make `{owner.name}` a `nn.{name}`"
        if safety is not Safety.EXACT:
            title += f" ({safety.value}: {'; '.join(self.notes)})"
        return Match(
            NormClassByHand,
            self.body.scope.name,
            self.body.place,
            message,
            title,
            safety,
            outline.places(),
            self._actions,
            parts=outline.parts(),
        )

    def _actions(self) -> tuple[Action, ...]:
        owner = self.body.owner
        if not self.renamed:
            return self.outline.actions()
        hook = RenameParametersHook(
            free_function(self.module, f"_rename_parameters_of_{snake_case(owner.name)}"), tuple(self.renamed)
        )
        return (*self.outline.actions(HookRegistration(hook.name)), AddFunction(owner.statement, hook))

    # -- what the layer is made with

    def _argument(self, name: str) -> ast.expr | None:
        """The part of the replacement that is the argument `name`."""
        parameters = parameters_of(self.kind)
        at = next(number for number, one in enumerate(parameters) if one.name == name)
        return self.given.get(name, self.given.get(str(at)))

    def _value(self, name: str) -> Value | None:
        node = self._argument(name)
        value = self.way.value(node.id) if isinstance(node, ast.Name) else None
        return None if value is not None and value.kind == "constant" and value.constant is None else value

    def _arguments(self) -> Refusal | None:
        """Find what the layer's constructor is handed."""
        place = self.body.place
        if self.body.init is None:
            return Refusal("it has no `__init__`, so that its size is not known", place)
        weight, bias = self._value("weight"), self._value("bias") if self.kind == "layer_norm" else None
        arguments = self.outline.arguments
        size: str | None = None
        options: dict[str, str] = {}
        if weight is not None:
            made = self._parameter(weight, "weight", 1.0)
            if isinstance(made, Refusal):
                return made
            if made.condition is not None:
                return Refusal("whether it has a weight is decided by an expression", place)
            size = self._size(made.size)
            for option, node in made.options.items():
                source = self.outline.init_source(node)
                if source is None:
                    return Refusal(f"`{option}` is not at hand where the layer is initialised", place)
                options[option] = source
            refusal = self._one_size(made.size)
            if refusal is not None:
                return refusal
        elif bias is not None:
            return Refusal("it has a bias and no weight, which the layer cannot say", place)
        else:
            shape = self._value("normalized_shape")
            size = self.outline.at_init(shape) if shape is not None else None
            if size is not None:
                size = _unwrapped(size)
        if size is None:
            return Refusal("its size is not at hand where the layer is initialised", place)
        arguments["arg_0"] = size
        refusal = self._epsilon(arguments)
        if refusal is not None:
            return refusal
        if weight is None:
            arguments["elementwise_affine"] = "False"
        elif self.kind == "layer_norm":
            refusal = self._bias(bias, weight, arguments)
            if refusal is not None:
                return refusal
        arguments.update(options)
        self._settled(size)
        if self.way.rewrite in _IMAGES:
            if bias is None or weight is None or arguments.get("bias") is not None:
                return Refusal("its parameters are not of one number for each channel", place)
            name = self.body.input.path or "x"
            operands = {
                "x": name,
                "s": "self.normalized_shape",
                "w": "self.weight",
                "b": "self.bias",
                "eps": "self.eps",
            }
            moved = Template("layer_norm(x.permute(0, 2, 3, 1), s, w, b, eps)", operands)
            back = f"{name}.permute(0, 3, 1, 2).contiguous()"
            self.outline.forward = (AssignedTemplate(moved, name), Returned(back))
        return None

    def _settled(self, size: str) -> None:
        """The attributes that torch's layer sets to the same go, whoever reads them."""
        outline = self.outline
        epsilon = self._value("eps")
        if epsilon is not None and isinstance(epsilon.node, ast.Attribute) and epsilon.node.attr == "eps":
            outline.gone.add("eps")
        shape = outline.assigned("normalized_shape")
        if shape is not None:
            source = outline.init_source(shape)
            if isinstance(shape, ast.Tuple) and source is not None and _unwrapped(source) == size:
                outline.gone.add("normalized_shape")

    def _parameter(self, value: Value, expected: str, fill: float) -> _Made | Refusal:
        """How the parameter of that name is made; it is to start as torch's does."""
        value = self._bare(value)
        place = self.body.place
        if value.kind in ("add", "sub"):
            return Refusal("a number is added to its weight, which the layer cannot say", place)
        path = value.path or ""
        attribute = path.partition(".")[2]
        if value.kind != "attribute" or not attribute.isidentifier() or value.inputs[0].kind != "parameter":
            return Refusal(f"its {expected} is no parameter of the class alone", place)
        assigned = self.outline.assigned(attribute)
        if assigned is None:
            return Refusal(f"`self.{attribute}` is not assigned once, and in any case, in `__init__`", place)
        made = _made(self.module, assigned)
        at = Place(self.body.owner.statement, assigned)
        if made is None:
            return Refusal(f"`self.{attribute}` is not made of one size, filled with a number and trained", at)
        if made.fill is not None and made.fill != fill:
            return Refusal(f"`self.{attribute}` starts at {made.fill:g}, that of the layer at {fill:g}", at)
        self.outline.gone.add(attribute)
        if attribute != expected:
            if attribute in self.outline.attributes:
                return Refusal(f"`self.{attribute}` is another attribute of the layer", at)
            self.renamed.append((attribute, expected))
        return made

    def _bias(self, bias: Value | None, weight: Value, arguments: dict[str, str]) -> Refusal | None:
        if bias is None:
            arguments["bias"] = "False"
            return None
        made = self._parameter(bias, "bias", 0.0)
        if isinstance(made, Refusal):
            return made
        of_weight = self._parameter(weight, "weight", 1.0)
        self.renamed = list(dict.fromkeys(self.renamed))
        assert isinstance(of_weight, _Made)
        if ast.dump(made.size) != ast.dump(of_weight.size) or _dumped(made) != _dumped(of_weight):
            return Refusal("its weight and its bias are not made alike", self.body.place)
        first, second = (self._statement_of(one) for one in (weight, bias))
        if first is not None and second is not None and first.lineno > second.lineno:
            return Refusal("its bias comes before its weight, which optimisers go by", self.body.place)
        if made.condition is not None:
            source = self.outline.init_source(made.condition)
            if source is None or self.way.rewrite not in _CALLED:
                return Refusal("whether it has a bias is decided by an expression", self.body.place)
            arguments["bias"] = source
        return None

    def _bare(self, value: Value) -> Value:
        """A parameter without conversions, and without the dimensions that it is given beside a pixel's channels."""
        if self.way.rewrite in _IMAGES:
            value = _of_channels(value) or value
            if value.kind == "attribute":
                return value
            return Value("opaque", None, (), value.block, value.statement, value.order)
        while (converted := cast_operand(value)) is not None:
            value = converted.value
        return value

    def _statement_of(self, value: Value) -> ast.stmt | None:
        value = self._bare(value)
        return self.outline.assignment((value.path or "").partition(".")[2])

    def _size(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 1:
            node = node.elts[0]
        return self.outline.init_source(node)

    def _one_size(self, node: ast.expr) -> Refusal | None:
        """A norm by hand is over the last dimension alone, whatever the shape of its weight."""
        if self.way.rewrite in _CALLED:
            return None
        init = self.body.init
        assert init is not None
        place = self.body.place
        if isinstance(node, ast.Tuple | ast.List) and len(node.elts) != 1:
            return Refusal("its weight has more dimensions than one", place)
        if isinstance(node, ast.Name):
            arguments = (*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs)
            annotation = next((one.annotation for one in arguments if one.arg == node.id), None)
            said = ast.unparse(annotation) if annotation is not None else ""
            if any(part in said for part in ("uple", "ist", "Size", "Sequence")):
                return Refusal("its size may be a shape of several dimensions", place)
            if node.id.endswith("shape") and said != "int":
                self.notes.append(f"for a `{node.id}` of one dimension")
        for called in self.module.mentions.calls_of(self.body.owner.name):
            given = [*called.node.args[:1], *(one.value for one in called.node.keywords)]
            if any(isinstance(one, ast.Tuple | ast.List) and len(one.elts) != 1 for one in given):
                return Refusal("it is made with a shape of several dimensions", Place(called.statement, called.node))
        return None

    def _epsilon(self, arguments: dict[str, str]) -> Refusal | None:
        node = self._argument("eps")
        if node is None:
            return Refusal("it has no eps", self.body.place)
        if isinstance(node, ast.Constant):
            arguments["eps"] = ast.unparse(node)
            return None
        squared = isinstance(node, ast.BinOp)
        name = next(one.id for one in ast.walk(node) if isinstance(one, ast.Name))
        bound = self.way.site.found.bound.get(name)
        if bound is None:
            return None  # the default of the call, which is the layer's
        source = self.outline.at_init(bound.value) if isinstance(bound, Operand) else repr(bound)
        if source is None or (squared and not source.isidentifier()):
            return Refusal("eps is not at hand where the layer is initialised", self.body.place)
        arguments["eps"] = f"{source} * {source}" if squared else source
        return None

    def _under_autocast(self) -> Refusal | None:
        """A class that converts its result keeps the dtype of the input, which the layer does not under autocast."""
        if cast_operand(self.body.result) is None:
            return None
        verdict = without_autocast("under autocast on a GPU the result is float32")(self.way.site)
        if isinstance(verdict, Assumption):
            self.notes.append(verdict.text)
            return None
        return verdict

    def _names_change(self) -> Refusal | None:
        """Nobody may go by the names of the parameters that are renamed."""
        if not self.renamed:
            return None
        return provenance.found_by_computed_name(self.module, self.body.owner)


def _of_channels(value: Value) -> Value | None:
    """`w` of `w[:, None, None]` and `w.view(1, -1, 1, 1)`: one number for each channel of an image."""
    node = value.node
    if value.kind == "getitem" and isinstance(node, ast.Subscript):
        return value.inputs[0] if ast.unparse(node.slice) in _BESIDE_PIXELS else None
    if value.kind.removeprefix("method ") in ("view", "reshape") and not value.keywords:
        sizes = value.inputs[1:]
        if len(sizes) == 1 and sizes[0].kind == "container":
            sizes = sizes[0].inputs
        return value.inputs[0] if [one.constant for one in sizes] in ([1, -1, 1, 1], [-1, 1, 1]) else None
    return None


_BESIDE_PIXELS = frozenset(
    {":, None, None", "(:, None, None)", "None, :, None, None", "(None, :, None, None)", "(..., None, None)"}
)


def _dumped(made: _Made) -> dict[str, str]:
    return {name: ast.dump(node) for name, node in made.options.items()}


def _unwrapped(source: str) -> str:
    """`dim` of `(dim,)`."""
    node = ast.parse(source, mode="eval").body
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 1:
        return ast.unparse(node.elts[0])
    return source


def _made(module: Module, node: ast.expr) -> _Made | None:
    """A parameter that is made by one plain call, `nn.Parameter(torch.ones(dim))`."""
    match node:
        case ast.IfExp(test=test, body=body, orelse=ast.Constant(value=None)):
            made = _made(module, body)
            return _Made(made.size, made.fill, made.options, test) if made is not None else None
        case ast.Call(func=func, args=[ast.Call() as tensor], keywords=keywords):
            if resolve(func, module.names) not in _PARAMETERS:
                return None
            if any(one.arg != "requires_grad" or not _is_true(one.value) for one in keywords):
                return None
        case _:
            return None
    path = resolve(tensor.func, module.names)
    sizes = list(tensor.args)
    options = {one.arg: one.value for one in tensor.keywords if one.arg is not None}
    if len(options) != len(tensor.keywords):
        return None
    if path == "torch.full":
        value = sizes.pop() if len(sizes) == 2 else options.pop("fill_value", None)
        fill = value.value if isinstance(value, ast.Constant) else None
        if not isinstance(fill, int | float):
            return None
        fill = float(fill)
    elif path in _FILLED:
        fill = _FILLED[path]
    else:
        return None
    if "size" in options:
        sizes.append(options.pop("size"))
    options.pop("requires_grad", None)
    if len(sizes) != 1 or isinstance(sizes[0], ast.Starred) or not options.keys() <= {"device", "dtype"}:
        return None
    if isinstance(sizes[0], ast.Tuple | ast.List) and len(sizes[0].elts) != 1:
        return None
    return _Made(sizes[0], fill, options)


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
