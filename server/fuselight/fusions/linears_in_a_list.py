"""Linear layers in a list, all applied to one input, their outputs joined: one wider linear layer.

`torch.stack([head(x) for head in self.heads], dim=1)`, where `self.heads` is a `nn.ModuleList` of `nn.Linear`: the
heads of a multi-task model, of an ensemble, of a mixture. A loop in Python makes one matrix product after the other,
each of which reads the input again. One layer with their rows one below the other makes them all at once, and its
output is taken apart into views for the `torch.stack` or `torch.cat` that the source has; `torch.cat` along the last
dimension goes away.

## What it saves
Time, the more the smaller and more numerous the layers are: twelve small heads joined by `torch.cat` 2.78x forward and
2.59x forward and backward on a CPU. A few large layers gain nothing on a CPU. No memory is saved.

## Fix safety
`checkpoint`: the function is the same, with the same gradients, row by row. The layers become rows of one parameter,
under the attribute that held the list: `heads.0.weight`, `heads.1.weight` and so on become `heads.weight`. The edit
adds a module-level function and registers it with `register_load_state_dict_pre_hook` (public since torch 2.5), so
that an old checkpoint loads with `strict=True`. `breaking` where the file's models load past
`nn.Module.load_state_dict` (`from_pretrained` of transformers and diffusers, safetensors loops,
`torch.distributed.checkpoint`).

What you lose besides: the list, for other files that index it; adapters and parallel plans that name the parts; the
state of a running optimiser, whose moments would have to be concatenated too; optimisers that look at a matrix as a
whole (Muon, Shampoo, Adafactor, LAMB) step otherwise. torch's default initialisation draws the same numbers without a
bias, others of the same distribution with one.

## Refused when
- the list is used anywhere else: indexed, measured, appended to, walked, named in a string, or its parameters are
  picked by a number in their names;
- the layers are not all plain `nn.Linear` with the same arguments (the widths may differ), or they are made under a
  condition;
- the input differs from layer to layer, or is computed anew for each: `head(self.dropout(x))`;
- the list of outputs is used again;
- the file initialises with, or optimises by, something that looks at the whole matrix; scripts with
  `torch.jit.script`; or works on nested (jagged) tensors.

Source: `torch.nn.Linear`, `torch.stack`, `torch.cat`, `torch.Tensor.chunk`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import provenance, sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.lists import called_itself, is_linear
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_attribute, free_function, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Assigned,
    Attribute,
    Emitted,
    Expression,
    HookRegistration,
    Init,
    MergeListHook,
    Method,
    Place,
    ReplaceExpression,
    ReplaceStatements,
)
from fuselight.fusions.walks import walked
from fuselight.graph.classes import ClassInfo, Layer, local_names
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import literal_number
from fuselight.graph.values import Graph, Value
from fuselight_emitter.ir import LogicalNode

_LINEAR = "torch.nn.Linear"
_LIST = "torch.nn.ModuleList"
_NAME_WALKS = ("named_parameters", "named_modules", "named_children", "state_dict", "get_parameter", "get_submodule")


def _file(forward: str, init: str = "", made: str = "nn.ModuleList([nn.Linear(16, 4) for _ in range(3)])") -> str:
    """A file for a near miss."""
    lines = [f"self.heads = {made}", *([init] if init else [])]
    return (
        "import torch\nfrom torch import nn\n\n\nclass M(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        + "".join(f"        {line}\n" for line in lines)
        + "\n    def forward(self, x):\n"
        + "".join(f"        {line}\n" for line in forward.split("\n"))
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """One expression or loop that calls every layer of a list on one input."""

    layer: Layer
    argument: ast.expr
    mentions: frozenset[ast.AST]
    """Where it names the list."""
    counted: ast.expr | None
    """What says how many layers are called, where they are called by number and not by `len` of the list."""


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """A `torch.stack` or `torch.cat` of the outputs."""

    root: Value
    calls: _Calls
    whole: ast.expr
    """The list of outputs."""
    loop: ast.For | None = None
    """The loop that appends to the list."""
    name: str | None = None
    """The name of the list, where it has one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """How the layers of a list are made."""

    element: ast.Call
    arguments: dict[str, ast.expr]
    count: ast.expr | int | None
    """How many there are; None where the widths are those of an iterable."""
    widths: tuple[ast.expr, ...]
    """One for all, or each layer's own."""
    iterable: ast.expr | None
    """What the widths are taken from."""
    removed: tuple[ast.stmt, ...]
    mentions: frozenset[ast.AST]


@fusion
class LinearsInAList(Fusion):
    __doc__ = __doc__

    code = "FUS208"
    name = "linears-in-a-list"
    words = (frozenset({"Linear"}), frozenset({"ModuleList"}), frozenset({"stack", "cat", "concat", "concatenate"}))
    examples = (
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(3)])

    def forward(self, x):
        return torch.stack([head(x) for head in self.heads], dim=1)
""",
            after='''\
import torch
from torch import nn


def _merge_m_heads(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of a list, heads.0 and so on, in place of heads."""
    for parameter in ("weight", "bias"):
        number, tensors = 0, []
        while f"{prefix}heads.{number}.{parameter}" in state_dict:
            tensors.append(state_dict.pop(f"{prefix}heads.{number}.{parameter}"))
            number += 1
        if tensors:
            state_dict[f"{prefix}heads.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.Linear(16, 12)
        self.register_load_state_dict_pre_hook(_merge_m_heads)

    def forward(self, x):
        return torch.stack(self.heads(x).chunk(3, dim=-1), dim=1)
''',
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
import torch
from torch import nn


class M(nn.Module):
    def __init__(self, width=16, classes=(2, 3, 5)):
        super().__init__()
        self.heads = nn.ModuleList()
        for count in classes:
            # one head a task
            self.heads.append(nn.Linear(width, count, bias=False))

    def forward(self, x):
        logits = []
        for head in self.heads:
            logits.append(head(x))
        return torch.cat(logits, dim=-1)
""",
            after='''\
import torch
from torch import nn


def _merge_m_heads(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of a list, heads.0 and so on, in place of heads."""
    for parameter in ("weight",):
        number, tensors = 0, []
        while f"{prefix}heads.{number}.{parameter}" in state_dict:
            tensors.append(state_dict.pop(f"{prefix}heads.{number}.{parameter}"))
            number += 1
        if tensors:
            state_dict[f"{prefix}heads.{parameter}"] = torch.cat(tensors)


class M(nn.Module):
    def __init__(self, width=16, classes=(2, 3, 5)):
        super().__init__()
        # one head a task
        self.heads = nn.Linear(width, sum(classes), bias=False)
        self.register_load_state_dict_pre_hook(_merge_m_heads)

    def forward(self, x):
        logits = self.heads(x)
        return logits
''',
            safety=Safety.CHECKPOINT,
        ),
    )
    near_misses = (
        # the input is dropped out anew for each
        NearMiss(
            _file("return torch.stack([head(self.drop(x)) for head in self.heads], 1)", "self.drop = nn.Dropout(0.1)"),
            "computed anew",
        ),
        # another input for each
        NearMiss(_file("return torch.stack([head(x[:, i]) for i, head in enumerate(self.heads)], 1)"), ""),
        # not all of them
        NearMiss(_file("return torch.stack([self.heads[i](x) for i in range(2)], 1)"), "not all layers"),
        # in another order
        NearMiss(_file("return torch.stack([head(x) for head in reversed(self.heads)], 1)"), ""),
        # the list is indexed besides
        NearMiss(
            _file("return torch.stack([head(x) for head in self.heads], 1) + self.heads[0].weight.sum()"),
            "beside its call",
        ),
        # the list of outputs is used again
        NearMiss(_file("outs = [head(x) for head in self.heads]\nreturn torch.stack(outs, 1), outs[0]"), "used again"),
        # one layer, several times
        NearMiss(
            _file("return torch.stack([head(x) for head in self.heads])", made="nn.ModuleList([nn.Linear(16, 4)] * 3)"),
            "",
        ),
        # one of the layers is missing
        NearMiss(_file("return torch.stack([head(x) for head in self.heads if head is not None])"), ""),
        # the layers differ otherwise
        NearMiss(
            _file(
                "return torch.stack([head(x) for head in self.heads])",
                made="nn.ModuleList([nn.Linear(16, 4, bias=i > 0) for i in range(3)])",
            ),
            "differ in their arguments",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        owner = scope.owner
        if owner is None:
            return
        if scope.called.isdisjoint({"stack", "cat", "concat", "concatenate"}) or _LIST not in scope.named_kinds:
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for kind in ("stack", "cat"):
            for root in graph.of_kind(kind):
                site = _site(module, scope, graph, owner, root)
                if site is not None:
                    yield from self._at(module, scope, graph, owner, site)

    def _at(self, module: Module, scope: Scope, graph: Graph, owner: ClassInfo, site: _Site) -> Iterator[Match]:
        layer = site.calls.layer
        made = _made(module, layer)
        if made is None:
            return
        root = site.root
        assert root.node is not None
        place = Place(scope.statement, root.node)
        message = f"the linear layers of `{layer.attribute}` are applied to one input and their outputs joined"
        if isinstance(made, Refusal):
            yield Match(type(self), scope.name, place, message, refused=made)
            return
        refusal = _refusal(module, scope, graph, owner, site, made)
        if refusal is not None:
            yield Match(type(self), scope.name, place, message, refused=refusal)
            return
        yield self._offered(module, scope, owner, site, made, place, message)

    def _offered(
        self,
        module: Module,
        scope: Scope,
        owner: ClassInfo,
        site: _Site,
        made: _Made,
        place: Place,
        message: str,
    ) -> Match:
        layer, statement = site.calls.layer, scope.statement
        maker, name = layer.owner, layer.attribute
        hook = free_function(module, f"_merge_{snake_case(maker.name)}_{name.strip('_')}")
        breaking = provenance.loads_past_hooks(module, owner)
        safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
        note = breaking or "old checkpoints load through a hook"
        parameters = ("weight",) if sizes.has_bias(made.arguments) is False else ("weight", "bias")
        joined = _joined(module, site, made)
        wide = _wide(layer, made, joined.attribute)
        put: list[Emitted] = [] if joined.attribute is None else [joined.attribute]
        put += [Init(wide), HookRegistration(hook)]
        call = Expression(
            LogicalNode(name, _LINEAR, {}), (sizes.source(statement, site.calls.argument),), joined.methods
        )

        def plan() -> tuple[Action, ...]:
            return (
                *_constructed(layer, made, tuple(put)),
                AddFunction(maker.statement, MergeListHook(hook, name, name, parameters)),
                *_called(scope, site, call, joined.whole),
            )

        others = [Place(layer.statement, layer.assignment)]
        others += [Place(statement, node) for node in (site.loop, site.whole) if node is not None]
        title = f"Compute the layers of `{name}` as one linear layer ({safety.value}: {note})"
        return Match(type(self), scope.name, place, message, title, safety, tuple(others), plan)


# -- the calls


def _site(module: Module, scope: Scope, graph: Graph, owner: ClassInfo, root: Value) -> _Site | None:
    """A join of the outputs of all layers of one list, each called on one input."""
    if not isinstance(root.node, ast.Call) or not root.inputs:
        return None
    outputs = root.inputs[0]
    node = outputs.node
    binding = outputs.binding
    if binding is not None:
        target = binding.targets[0]
        name = target.id if isinstance(target, ast.Name) else None
    else:
        name = None
    inline = node is not None and node is root.node.args[0] if root.node.args else False
    if not inline and name is None:
        return None
    if isinstance(node, ast.List) and not node.elts and name is not None:
        found = _appended(scope, graph, owner, outputs, name)
        if found is None:
            return None
        loop, calls = found
        return _Site(root, calls, node, loop, name)
    inner = node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "tuple"):
        if outputs.kind != "builtin" or len(node.args) != 1 or node.keywords:
            return None
        inner = node.args[0]
    if isinstance(inner, ast.ListComp | ast.GeneratorExp) and (inner is not node or isinstance(inner, ast.ListComp)):
        calls = _comprehended(owner, inner)
    elif isinstance(inner, ast.List | ast.Tuple):
        calls = _spelled_out(owner, inner.elts)
    else:
        return None
    return _Site(root, calls, node, None, None if inline else name) if calls is not None and node is not None else None


def _comprehended(owner: ClassInfo, node: ast.ListComp | ast.GeneratorExp) -> _Calls | None:
    """`[head(x) for head in self.heads]`"""
    if len(node.generators) != 1:
        return None
    part = node.generators[0]
    if part.ifs or part.is_async:
        return None
    return _turn(owner, part.target, part.iter, node.elt)


def _appended(scope: Scope, graph: Graph, owner: ClassInfo, outputs: Value, name: str) -> tuple[ast.For, _Calls] | None:
    """The loop `for head in self.heads: outputs.append(head(x))` behind `outputs = []`, in the same block."""
    block, binding = outputs.block.statements, outputs.binding
    if binding is None or binding not in block:
        return None
    for loop in block[block.index(binding) + 1 :]:
        if name not in sizes.names_in(loop):
            continue
        if not isinstance(loop, ast.For) or loop.orelse:
            return None
        element = _appended_element(scope, loop, name)
        calls = _turn(owner, loop.target, loop.iter, element) if element is not None else None
        return (loop, calls) if calls is not None else None
    return None


def _appended_element(scope: Scope, loop: ast.For, name: str) -> ast.expr | None:
    """What the loop appends in each turn, where that is all it does."""
    match loop.body:
        case [ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=appended), attr="append"), args=[element]))]:
            return element if appended == name else None
        case [
            ast.Assign(targets=[ast.Name(id=held)], value=element),
            ast.Expr(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id=appended), attr="append"), args=[ast.Name(id=given)]
                )
            ),
        ]:
            alone = _occurrences(scope.function, held) == 2
            return element if appended == name and given == held != name and alone else None
        case _:
            return None


def _occurrences(node: ast.AST, name: str) -> int:
    return sum(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))


def _turn(owner: ClassInfo, target: ast.expr, iterated: ast.expr, element: ast.expr) -> _Calls | None:
    """One turn of a loop over all layers of a list, or over their numbers."""
    if not isinstance(target, ast.Name):
        return None
    match element:
        case ast.Call(func=called, args=[argument], keywords=[]) if target.id not in sizes.names_in(argument):
            pass
        case _:
            return None
    match called:
        case ast.Name(id=name) if name == target.id:
            layer = _list_of(owner, iterated)
            return _Calls(layer, argument, frozenset({iterated}), None) if layer is not None else None
        case ast.Subscript(value=indexed, slice=ast.Name(id=name)) if name == target.id:
            layer = _list_of(owner, indexed)
        case _:
            return None
    match iterated:
        case ast.Call(func=ast.Name(id="range"), args=[counted], keywords=[]) if layer is not None:
            pass
        case _:
            return None
    match counted:
        case ast.Call(func=ast.Name(id="len"), args=[measured], keywords=[]) if _list_of(owner, measured) is layer:
            return _Calls(layer, argument, frozenset({indexed, measured}), None)
        case _:
            return _Calls(layer, argument, frozenset({indexed}), counted)


def _spelled_out(owner: ClassInfo, elements: list[ast.expr]) -> _Calls | None:
    """`[self.heads[0](x), self.heads[1](x)]`"""
    arguments: list[ast.expr] = []
    layers: list[Layer | None] = []
    mentions: set[ast.AST] = set()
    for number, element in enumerate(elements):
        match element:
            case ast.Call(
                func=ast.Subscript(value=indexed, slice=ast.Constant(value=int() as at)), args=[argument], keywords=[]
            ) if at == number:
                arguments.append(argument)
                layers.append(_list_of(owner, indexed))
                mentions.add(indexed)
            case _:
                return None
    if not layers or layers[0] is None or any(layer is not layers[0] for layer in layers):
        return None
    if any(ast.dump(argument) != ast.dump(arguments[0]) for argument in arguments):
        return None
    return _Calls(layers[0], arguments[0], frozenset(mentions), ast.Constant(len(elements)))


def _list_of(owner: ClassInfo, node: ast.expr) -> Layer | None:
    """The `nn.ModuleList` that `self.<attribute>` names."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        layer = owner.layers.get(node.attr)
        return layer if layer is not None and layer.kind == _LIST else None
    return None


# -- the layers


def _made(module: Module, layer: Layer) -> _Made | Refusal | None:
    """How the layers are made; None where they are surely something else than linear layers."""
    refusal = provenance.plain_layer(layer, frozenset({_LIST}), "a plain `nn.ModuleList`")
    if refusal is not None:
        return refusal
    call = layer.constructor
    assert call is not None
    local = local_names(layer.init, layer.statement) | layer.owner.hidden
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    elements = given[0] if len(given) == 1 else None
    removed: tuple[ast.stmt, ...] = ()
    mentions: frozenset[ast.AST] = frozenset()
    if not given or (isinstance(elements, ast.List) and not elements.elts):
        filled = _filled(layer)
        if filled is None:
            return None
        loop, appended, mention = filled
        target, iterated, ifs, element = loop.target, loop.iter, False, appended
        removed, mentions = (loop,), frozenset({mention})
    elif isinstance(elements, ast.ListComp | ast.GeneratorExp) and len(elements.generators) == 1:
        part = elements.generators[0]
        target, iterated, ifs, element = part.target, part.iter, bool(part.ifs or part.is_async), elements.elt
    elif isinstance(elements, ast.List | ast.Tuple):
        return _literal(module, layer, elements.elts, local)
    else:
        return None
    if not is_linear(module, element, local):
        return None
    assert isinstance(element, ast.Call)
    place = Place(layer.statement, element)
    if ifs or not isinstance(target, ast.Name):
        return Refusal(f"how many layers `{layer.attribute}` has is decided elsewhere", place)
    arguments = sizes.arguments(element, sizes.LINEAR)
    if arguments is None or not {"in_features", "out_features"} <= arguments.keys():
        return Refusal("the constructor of its layers is not that of `nn.Linear`", place)
    width = arguments["out_features"]
    varying = [name for name, node in arguments.items() if target.id in sizes.names_in(node)]
    if varying == ["out_features"] and isinstance(width, ast.Name):
        if not sizes.is_builtin(module, layer, "sum") or not isinstance(
            iterated, ast.Name | ast.Attribute | ast.List | ast.Tuple
        ):
            return Refusal("the layers differ in their widths", place)
        return _Made(element, arguments, None, (width,), iterated, removed, mentions)
    if varying:
        return Refusal("the layers differ in their arguments", place)
    match iterated:
        case ast.Call(func=ast.Name(id="range"), args=[count], keywords=[]) if sizes.is_builtin(module, layer, "range"):
            return _Made(element, arguments, count, (width,), None, removed, mentions)
        case _:
            return Refusal(f"how many layers `{layer.attribute}` has is not shown by a `range`", place)


def _filled(layer: Layer) -> tuple[ast.For, ast.expr, ast.AST] | None:
    """`for _ in range(n): self.heads.append(...)` behind `self.heads = nn.ModuleList()`, in the same block."""
    block = layer.block
    for loop in block[block.index(layer.assignment) + 1 :]:
        if not any(isinstance(node, ast.Attribute) and node.attr == layer.attribute for node in ast.walk(loop)):
            continue
        match loop:
            case ast.For(
                body=[
                    ast.Expr(
                        value=ast.Call(
                            func=ast.Attribute(
                                value=ast.Attribute(value=ast.Name(id="self"), attr=attribute) as mention, attr="append"
                            ),
                            args=[element],
                            keywords=[],
                        )
                    )
                ],
                orelse=[],
            ) if attribute == layer.attribute:
                return loop, element, mention
            case _:
                return None
    return None


def _literal(module: Module, layer: Layer, elements: list[ast.expr], local: set[str]) -> _Made | Refusal | None:
    """`nn.ModuleList([nn.Linear(16, 4), nn.Linear(16, 4)])`"""
    if not elements or not all(is_linear(module, element, local) for element in elements):
        return None
    every: list[dict[str, ast.expr]] = []
    for element in elements:
        assert isinstance(element, ast.Call)
        arguments = sizes.arguments(element, sizes.LINEAR)
        if arguments is None or not {"in_features", "out_features"} <= arguments.keys():
            return Refusal("the constructor of its layers is not that of `nn.Linear`", Place(layer.statement, element))
        every.append(arguments)
    texts = [{name: ast.unparse(node) for name, node in one.items()} for one in every]
    widths = [one.pop("out_features") for one in texts]
    for element, text in zip(elements, texts, strict=True):
        if text != texts[0]:
            return Refusal("the layers differ in their arguments", Place(layer.statement, element))
    same = all(width == widths[0] for width in widths)
    first = elements[0]
    assert isinstance(first, ast.Call)
    nodes = tuple(one["out_features"] for one in (every[:1] if same else every))
    return _Made(first, every[0], len(elements), nodes, None, (), frozenset())


# -- what speaks against it


def _refusal(module: Module, scope: Scope, graph: Graph, owner: ClassInfo, site: _Site, made: _Made) -> Refusal | None:
    layer, names = site.calls.layer, frozenset({site.calls.layer.attribute})
    for name, node in made.arguments.items():
        if not sizes.is_pure(node):
            return Refusal(f"`{name}` of its layers is worked out by a call", Place(layer.statement, node))
    for node in (made.count, made.iterable):
        if isinstance(node, ast.expr) and not sizes.is_pure(node):
            return Refusal("how many layers there are is worked out by a call", Place(layer.statement, node))
    return (
        _apart(scope, graph, site)
        or _counted(module, site, made)
        or provenance.known_class(module, owner)
        or provenance.touched(module, owner, layer, None, site.calls.mentions | made.mentions)
        or called_itself(module, owner, layer)
        or provenance.named_in_strings(module, (layer.attribute,))
        or _numbered(module)
        or provenance.found_by_computed_name(module, owner)
        or provenance.hooked(module, names)
        or walked(module)
        or provenance.depends_on_shape(module, owner, names)
        or _elsewhere(module)
        or _made_alone(layer, made)
    )


def _apart(scope: Scope, graph: Graph, site: _Site) -> Refusal | None:
    """The list of outputs must be seen by the join alone, and the input be one value in every turn."""
    statement, root = scope.statement, site.root
    assert root.node is not None
    place = Place(statement, root.node)
    members = scope.owner.family if scope.owner is not None else ()
    if self_parameter(scope.function) != "self":
        return Refusal(f"`{scope.name}` does not call its instance `self`", place)
    for node in ast.walk(site.calls.argument):
        computed = isinstance(node, ast.Attribute) and any(node.attr in one.methods for one in members)
        if computed or isinstance(node, ast.Call | ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda):
            return Refusal("the input is computed anew for each layer", Place(statement, site.calls.argument))
    if site.name is None:
        return None
    assert isinstance(root.node, ast.Call)
    if not (isinstance(root.node.args[0], ast.Name) and root.node.args[0].id == site.name):
        return Refusal("the list of outputs has a second name", place)
    outputs = root.inputs[0]
    expected = 3 if site.loop is not None else 2
    if _occurrences(scope.function, site.name) != expected:
        return Refusal(f"the list of outputs, `{site.name}`, is used again", place)
    if root.block is not outputs.block:
        return Refusal("the outputs are joined in another branch or loop", place)
    binding = outputs.binding
    assert binding is not None
    if not statement.stands_alone(binding):
        return Refusal("the list of outputs shares its line with another statement", Place(statement, binding))
    loop = site.loop
    if loop is None:
        return None
    block = outputs.block.statements
    inside = block.index(loop)
    if root.statement not in block[inside + 1 :]:
        return Refusal("the outputs are joined in another branch or loop", place)
    if not statement.stands_alone(loop):
        return Refusal("the loop shares its line with another statement", Place(statement, loop))
    assert isinstance(loop.target, ast.Name)
    if _occurrences(scope.function, loop.target.id) != _occurrences(loop, loop.target.id):
        return Refusal(f"`{loop.target.id}` is used outside the loop", Place(statement, loop))
    return None


def _counted(module: Module, site: _Site, made: _Made) -> Refusal | None:
    """Layers that are called by number must all be called."""
    counted, count = site.calls.counted, made.count
    if counted is None:
        return None
    place = Place(site.calls.layer.statement, made.element)
    wanted = count if isinstance(count, int) else literal_number(count)
    if wanted is not None and literal_number(counted) == wanted:
        return None
    if isinstance(count, ast.expr) and _is_same_setting(module, site.calls.layer, counted, count):
        return None
    return Refusal("not all layers of the list may be called", place)


def _is_same_setting(module: Module, layer: Layer, counted: ast.expr, count: ast.expr) -> bool:
    """Whether `self.n`, set once, is what the layers are counted by in `__init__`: `range(self.n)`, or `self.n = n`."""
    if not (isinstance(counted, ast.Attribute) and isinstance(counted.value, ast.Name) and counted.value.id == "self"):
        return False
    stores = [one for one in module.mentions.of_attribute(counted.attr) if not isinstance(one.node.ctx, ast.Load)]
    if len(stores) != 1 or counted.attr not in layer.owner.own_layers:
        return False
    setting = layer.owner.own_layers[counted.attr]
    if setting.unknown is not None or not isinstance(setting.assignment, ast.Assign | ast.AnnAssign):
        return False
    if ast.unparse(count) == ast.unparse(counted):
        return True
    value = setting.assignment.value
    if not (isinstance(value, ast.Name) and isinstance(count, ast.Name) and value.id == count.id):
        return False
    bound = [one for one in ast.walk(layer.init) if isinstance(one, ast.Name) and one.id == count.id]
    return all(isinstance(one.ctx, ast.Load) for one in bound)


def _numbered(module: Module) -> Refusal | None:
    """Nobody may pick parameters by a part of their name that fits `heads.0.bias`, but `heads.bias` no more."""
    for called in module.mentions.calls_of(*_NAME_WALKS):
        for text in module.mentions.strings_in(called.function, called.statement):
            if text == "." or (len(text) < 40 and any(one.isdigit() for one in text)):
                return Refusal(
                    f"parameters are picked by the string {text!r}, which may fit the number of a layer",
                    Place(called.statement, called.node),
                )
    return None


def _elsewhere(module: Module) -> Refusal | None:
    if module.mentions.has_word("nested_tensor", "NestedTensor", "as_nested_tensor", "jagged"):
        return Refusal("the file works on nested tensors")
    if module.mentions.used_uncalled("ModuleList"):
        return Refusal("the file treats `nn.ModuleList` by its type, which one layer is not")
    if module.mentions.has_word("jit") and module.mentions.has_word("script", "script_method", "ScriptModule"):
        return Refusal("the file compiles with `torch.jit.script`")
    return None


def _made_alone(layer: Layer, made: _Made) -> Refusal | None:
    statement = layer.statement
    if self_parameter(layer.init) != "self":
        return Refusal("`__init__` does not call its instance `self`", Place(statement, layer.assignment))
    for node in (layer.assignment, *made.removed):
        if not statement.stands_alone(node):
            return Refusal("the layers share a line with another statement", Place(statement, node))
    if not made.removed:
        return None
    loop = made.removed[0]
    assert isinstance(loop, ast.For)
    inside = sizes.names_in(loop.target)
    for name in inside:
        if _occurrences(layer.init, name) != _occurrences(loop, name):
            return Refusal(f"`{name}` is used outside the loop that makes the layers", Place(statement, loop))
    block = layer.block
    for between in block[block.index(layer.assignment) + 1 : block.index(loop)]:
        if any(isinstance(node, ast.Call | ast.Return | ast.Raise) for node in ast.walk(between)):
            return Refusal("something between the list and its layers may see the list", Place(statement, between))
    return None


# -- the edit


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """What follows the one call, and whether that is all that the join was."""

    methods: tuple[Method, ...]
    whole: bool
    attribute: Attribute | None = None
    """A size that the forward cannot write."""


def _joined(module: Module, site: _Site, made: _Made) -> _Joined:
    layer, root = site.calls.layer, site.root
    given = {**root.keywords}
    at = given.pop("dim", None) or given.pop("axis", None) or (root.inputs[1] if len(root.inputs) > 1 else None)
    plain = not given and len(root.inputs) <= 2
    dim = at.constant if at is not None else 0
    number = made.count if isinstance(made.count, int) else literal_number(made.count)
    first = made.widths[0]
    width = literal_number(first) if len(made.widths) == 1 and made.iterable is None else None
    if plain and root.kind == "cat" and dim == -1:
        return _Joined((), True)
    if plain and root.kind == "stack" and dim == -2 and width is not None:
        return _Joined((Method("unflatten", {"arg_0": "-1", "arg_1": f"({number or -1}, {width})"}),), True)
    if made.iterable is not None:
        name = free_attribute(module, layer.owner, f"{layer.attribute}_widths")
        kept = Attribute(name, f"[*{sizes.source(layer.statement, made.iterable)}]")
        return _Joined((Method("split", {"arg_0": f"self.{name}", "dim": "-1"}),), False, kept)
    if len(made.widths) > 1:
        texts = [sizes.source(layer.statement, one) for one in made.widths]
        if all(literal_number(one) is not None for one in made.widths):
            return _Joined((Method("split", {"arg_0": f"[{', '.join(texts)}]", "dim": "-1"}),), False)
        name = free_attribute(module, layer.owner, f"{layer.attribute}_widths")
        kept = Attribute(name, f"[{', '.join(texts)}]")
        return _Joined((Method("split", {"arg_0": f"self.{name}", "dim": "-1"}),), False, kept)
    if number is not None:
        return _Joined((Method("chunk", {"arg_0": str(number), "dim": "-1"}),), False)
    if width is not None:
        return _Joined((Method("split", {"arg_0": str(width), "dim": "-1"}),), False)
    name = free_attribute(module, layer.owner, f"{layer.attribute}_width")
    kept = Attribute(name, sizes.source(layer.statement, first))
    return _Joined((Method("split", {"arg_0": f"self.{name}", "dim": "-1"}),), False, kept)


def _wide(layer: Layer, made: _Made, kept: Attribute | None) -> LogicalNode:
    """The one layer: the constructor of each, with all their rows."""
    statement, first = layer.statement, made.widths[0]
    if made.iterable is not None:
        total = f"sum({f'self.{kept.id}' if kept is not None else sizes.source(statement, made.iterable)})"
    elif len(made.widths) > 1:
        numbers = [literal_number(width) for width in made.widths]
        known = [number for number in numbers if number is not None]
        whole = len(known) == len(numbers)
        total = str(sum(known)) if whole else " + ".join(sizes.factor(statement, width) for width in made.widths)
    elif isinstance(made.count, int):
        total = sizes.product(statement, ast.Constant(made.count), first)
    else:
        assert made.count is not None
        total = sizes.product(statement, made.count, first)
    metadata: dict[str, str] = {}
    for number, name in enumerate(sizes.LINEAR):
        if name in made.arguments:
            text = total if name == "out_features" else sizes.source(statement, made.arguments[name])
            metadata[f"arg_{number}" if number < len(made.element.args) else name] = text
    return LogicalNode(layer.attribute, _LINEAR, metadata)


def _constructed(layer: Layer, made: _Made, put: tuple[Emitted, ...]) -> Iterator[Action]:
    """The one layer where the last of the statements stood that made the list."""
    statement, first = layer.statement, layer.assignment
    last = made.removed[-1] if made.removed else first
    if last is not first:
        yield ReplaceStatements(statement, (first,), (), last)
    yield ReplaceStatements(statement, (last,), put)


def _called(scope: Scope, site: _Site, call: Expression, whole: bool) -> Iterator[Action]:
    """The one call where the list of outputs stood; the join goes where the call is all that it was."""
    statement, root = scope.statement, site.root
    assert root.node is not None
    if site.name is None:
        yield ReplaceExpression(statement, root.node if whole else site.whole, call)
        return
    if site.loop is not None:
        binding = root.inputs[0].binding
        assert binding is not None
        assigned = Assigned(call.node, call.inputs, site.name, call.methods)
        yield ReplaceStatements(statement, (binding,), (), site.loop)
        yield ReplaceStatements(statement, (site.loop,), (assigned,))
    else:
        yield ReplaceExpression(statement, site.whole, call)
    if whole:
        yield ReplaceExpression(statement, root.node, site.name)
