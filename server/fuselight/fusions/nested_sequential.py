"""A `nn.Sequential` as an element of a `nn.Sequential`.

`nn.Sequential(nn.Sequential(a, b), c)` calls the same layers in the same order as `nn.Sequential(a, b, c)`.

## What it saves
A level of brackets and of names, and a call. No memory. Where the names of parameters change, a load hook is added
that is longer than what goes: worth it only where the flat names are wanted. On a CPU, a flat `nn.Sequential` of five
small layers in place of three: 1.06x forward, 1.03x forward and backward.

## Fix safety
`exact` where no layer with parameters or buffers changes its name: the inner one holds activations, dropouts and pools
only, and so does what stands behind it. Else `checkpoint`: `net.0.0.weight` becomes `net.0.weight`, and `net.1.weight`
becomes `net.2.weight`; the edit registers a load hook that renames the entries of an old checkpoint, so that it loads
with `strict=True`. `breaking` where the file's models load past `nn.Module.load_state_dict`. The parameters, their
order and the random numbers that initialise them stay the same. Other files that index the layers are not seen.

## Refused when
- the outer one is indexed, sliced, iterated, measured by `len`, hooked or named in a string;
- the file asks whether a module is a `nn.Sequential`, or walks over the names of parameters or modules;
- names change, and the outer one is not assigned to an attribute in `__init__`, or that attribute is assigned to
  elsewhere too, in a subclass above all;
- modules are picked or counted by their position in `.modules()`;
- names change, and nothing would tell an old checkpoint from a new one: no layer of the inner one has parameters;
- comments stand inside the inner one: they tell its parts apart;
- an inner one has names of its own, `*` arguments or no elements (it stays as it is).

Source: `torch.nn.Sequential`, `torch.nn.Module.register_load_state_dict_pre_hook`, torch 2.13.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import provenance
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.literals import SEQUENTIAL, Literal, literals, seen_between
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_function, snake_case
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    Elements,
    HookRegistration,
    Init,
    Insert,
    Place,
    RenameHook,
    ReplaceExpression,
    ReplaceStatements,
)
from fuselight.graph.classes import local_names, resolve
from fuselight.graph.kinds import CONTAINERS, is_torch_layer, kind_of_layer
from fuselight.graph.mentions import is_own_fuse
from fuselight.graph.module import Module, Scope
from fuselight.source.nodes import walk
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

_WITHOUT_STATE = frozenset(
    f"torch.nn.{name}"
    for name in (
        "Identity Flatten Unflatten Upsample UpsamplingNearest2d UpsamplingBilinear2d PixelShuffle PixelUnshuffle"
        " ChannelShuffle LeakyReLU ELU CELU GELU Hardtanh Softmax Softmax2d Softmin LogSoftmax Softplus Threshold RReLU"
        " Hardshrink Softshrink GLU LocalResponseNorm Fold Unfold CosineSimilarity PairwiseDistance"
    ).split()
)
_WITHOUT_STATE_WORDS = ("Dropout", "Pool", "Pad")
_HOLDING = CONTAINERS | frozenset(
    f"torch.nn.{name}"
    for name in (
        "MultiheadAttention Transformer TransformerEncoder TransformerDecoder TransformerEncoderLayer"
        " TransformerDecoderLayer AdaptiveLogSoftmaxWithLoss DataParallel LinearCrossEntropyLoss"
    ).split()
)
"""Layers that hold others, whose names might be numbers."""
_NAME_WALKS = ("named_parameters", "named_modules", "named_buffers", "get_submodule", "get_parameter", "set_submodule")


@dataclass(frozen=True, slots=True, eq=False)
class _Element:
    """An element of the flat one: its path in the nested one, from the outermost literal on."""

    path: tuple[int, ...]
    node: ast.expr
    kind: str | None

    @property
    def has_state(self) -> bool:
        """Whether it may have parameters or buffers."""
        kind = self.kind
        if kind is None or not is_torch_layer(kind):
            return True
        name = kind.rpartition(".")[2]
        stateless = kind_of_layer(kind) is not None or kind in _WITHOUT_STATE
        return not (stateless or any(word in name for word in _WITHOUT_STATE_WORDS))


_NESTED = """\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = {net}

    def forward(self, x):
        return {result}
"""


def _near(net: str, result: str, reason: str) -> NearMiss:
    return NearMiss(_NESTED.format(net=net, result=result), reason)


@fusion
class NestedSequential(Fusion):
    __doc__ = __doc__

    code = "FUS113"
    name = "nested-sequential"
    words = (frozenset({"Sequential"}),)
    examples = (
        Example(
            before=_NESTED.format(
                net="nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 2))", result="self.net(x)"
            ),
            after='''\
from torch import nn


def _merge_nested_m_net(module, state_dict, prefix, *args):
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


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_load_state_dict_pre_hook(_merge_nested_m_net)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.net(x)
''',
            inputs=((5, 6),),
            safety=Safety.CHECKPOINT,
        ),
        Example(
            before="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 8),
            nn.Sequential(
                nn.ReLU(),
                nn.Dropout(0.1),
            ),
        )

    def forward(self, x):
        return self.net(x)
""",
            after="""\
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 8),
            nn.ReLU(),
            nn.Dropout(0.1),
        )

    def forward(self, x):
        return self.net(x)
""",
            inputs=((5, 6),),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        _near(
            "nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 2))", "self.net[0](x)", "taken apart"
        ),
        _near(
            "nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Linear(6, 2))", "self.net(x)", "nothing would tell"
        ),
        _near("nn.Sequential(nn.Sequential(nn.Linear(6, 8)), nn.ReLU())", "self.net(x) * len(self.net)", "len"),
        _near("nn.Sequential(nn.Sequential(), nn.Linear(6, 2))", "self.net(x)", ""),
        _near("nn.Sequential(nn.Sequential(*[nn.Linear(6, 6)]), nn.Linear(6, 2))", "self.net(x)", ""),
        _near("nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.ReLU())])", "self.net[0](x)", ""),
        _near("nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))", "self.net(x)", ""),
        NearMiss(
            "from torch import nn\n\n\ndef make(n):\n"
            "    return nn.Sequential(nn.Sequential(nn.Linear(n, 8), nn.ReLU()), nn.Linear(8, 2))\n",
            "not assigned to an attribute",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        inner: set[ast.AST] = set()
        for literal in literals(module, scope):
            if literal.call in inner or literal.run or not literal.numbered:
                continue
            flat = list(_flat(module, literal, literal.call.args, ()))
            inner |= {node for node in walk(literal.call) if node is not literal.call}
            if all(len(element.path) == 1 for element in flat):
                continue
            if any(isinstance(one, ast.Starred) for one in literal.call.args):
                continue
            yield self._match(module, literal, flat)

    def _match(self, module: Module, literal: Literal, flat: list[_Element]) -> Match:
        statement = literal.statement
        nested = _nested(module, literal)
        place = Place(statement, nested[0])
        others = tuple(Place(statement, node) for node in (literal.call, *nested[1:]))
        message = "a `nn.Sequential` in another one calls the same layers as one"
        moved = [(number, one) for number, one in enumerate(flat) if one.path != (number,) and one.has_state]
        refusal = (
            _commented(statement, nested)
            or seen_between(module, literal)
            or _asked_for(module, literal)
            or _picked_by_position(module)
            or (_names_change(literal, flat) or _assigned_elsewhere(module, literal) if moved else None)
        )
        if refusal is not None:
            return Match(type(self), literal.scope.name, place, message, others=others, refused=refusal)
        actions = _spliced(module, literal)
        title, safety = "Make one `nn.Sequential` of both", Safety.EXACT
        if moved:
            owner, attribute = literal.owner, literal.seat.attribute
            assert owner is not None
            assert attribute is not None
            telling = _telling(flat)
            assert telling is not None
            renamed = tuple((f"{attribute}.{_dotted(one.path)}", f"{attribute}.{at}") for at, one in reversed(moved))
            hook = RenameHook(
                free_function(module, f"_merge_nested_{snake_case(owner.name)}_{attribute.strip('_')}"),
                f"{attribute}.{_dotted(telling.path)}",
                renamed,
            )
            breaking = provenance.loads_past_hooks(module, owner)
            safety = Safety.BREAKING if breaking else Safety.CHECKPOINT
            note = breaking or "the names of parameters change, old checkpoints load through a hook"
            title += f" ({safety.value}: {note})"
            actions.append(_registered(literal, hook.name))
            actions.append(AddFunction(statement, hook))
        plan = tuple(actions)
        return Match(type(self), literal.scope.name, place, message, title, safety, others, lambda: plan)


def _registered(literal: Literal, hook: str) -> Insert:
    """The registration of the hook, in front of all others: they go by the new names."""
    anchor, function = literal.seat.anchor, literal.scope.function
    me = (literal.seat.target or "").rpartition(".")[0] or "self"
    put = (HookRegistration(hook, on=me),)
    for node in function.body:
        if node is anchor:
            break
        if isinstance(node, ast.Expr) and ast.unparse(node.value).startswith("super(") and _runs_alone(literal, node):
            return Insert(literal.statement, node, put, after=True)
    return Insert(literal.statement, anchor, put)


def _runs_alone(literal: Literal, node: ast.stmt) -> bool:
    func = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(func, ast.Attribute) and func.attr == "__init__" and literal.statement.stands_alone(node)


def _flat(module: Module, literal: Literal, nodes: list[ast.expr], path: tuple[int, ...]) -> Iterator[_Element]:
    for number, node in enumerate(nodes):
        kind = _kind(module, literal, node)
        if isinstance(node, ast.Call) and _is_plain(module, literal, node, kind):
            yield from _flat(module, literal, node.args, (*path, number))
        else:
            yield _Element((*path, number), node, kind)


def _kind(module: Module, literal: Literal, node: ast.expr) -> str | None:
    scope = literal.scope
    local = local_names(scope.function, scope.statement) | scope.enclosing
    if scope.owner is not None:
        local |= scope.owner.hidden
    return resolve(node.func, module.names, local) if isinstance(node, ast.Call) else None


def _is_plain(module: Module, literal: Literal, node: ast.Call, kind: str | None) -> bool:
    """Whether a call makes a `nn.Sequential` of elements that are all written out."""
    starred = any(isinstance(one, ast.Starred | ast.NamedExpr) for one in node.args)
    if kind != SEQUENTIAL or not node.args or node.keywords or starred:
        return False
    if len(node.args) > 1:
        return True
    # A single argument may be a dict of layers.
    only = node.args[0]
    func = only.func if isinstance(only, ast.Call) else None
    named = module.names.local_class(func.id) if isinstance(func, ast.Name) else None
    made = _kind(module, literal, only)
    return named is not None or (made is not None and (made == SEQUENTIAL or is_torch_layer(made)))


def _nested(module: Module, literal: Literal) -> list[ast.Call]:
    """The outermost of the literals inside that go."""
    calls = [one for one in literal.call.args if isinstance(one, ast.Call)]
    return [one for one in calls if _is_plain(module, literal, one, _kind(module, literal, one))]


def _dotted(path: tuple[int, ...]) -> str:
    return ".".join(map(str, path))


# -- refusals


def _commented(statement: Statement, nested: list[ast.Call]) -> Refusal | None:
    for node in nested:
        if "#" in statement.source(node) and _has_comment(statement.source(node)):
            return Refusal("comments tell its parts apart", Place(statement, node))
    return None


def _has_comment(source: str) -> bool:
    try:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        return any(token.type == tokenize.COMMENT for token in tokens)
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return True


def _asked_for(module: Module, literal: Literal) -> Refusal | None:
    """Whether the file counts the layers, asks what they are, or goes by the names of what they hold."""
    name = literal.seat.attribute or literal.seat.name
    for called in module.mentions.calls_of("isinstance", "issubclass", "type"):
        if "Sequential" in ast.unparse(called.node):
            return Refusal("the file asks whether a module is a `nn.Sequential`", Place(called.statement, called.node))
    for called in module.mentions.calls_of("len"):
        measured = ast.unparse(called.node.args[0]) if called.node.args else ""
        if name is None or name in measured:
            return Refusal("its layers are counted by `len`", Place(called.statement, called.node))
    for called in module.mentions.calls_of(*_NAME_WALKS):
        where = Place(called.statement, called.node)
        return Refusal(f"`{ast.unparse(called.node)[:60]}` goes by names, which change", where)
    if literal.seat.attribute is not None:
        for mention in module.mentions.of_attribute(literal.seat.attribute):
            if is_own_fuse(mention.function):
                return Refusal("`fuse` goes by the positions of the layers", Place(mention.statement, mention.node))
    for node in ast.walk(literal.owner.node) if literal.owner is not None and name is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{name}."):
            return Refusal(f"the string {node.value[:60]!r} names a part of `{name}`")
    return None


def _picked_by_position(module: Module) -> Refusal | None:
    """Whether `.modules()` is anything but looped over: there is one module less in it."""
    for called in module.mentions.calls_of("modules"):
        walked: set[ast.AST] = set()
        for node in ast.walk(ast.Module(called.statement.body, [])):
            if isinstance(node, ast.For) or (isinstance(node, ast.comprehension) and node.ifs):
                walked.add(node.iter)
        if called.node not in walked:
            at = Place(called.statement, called.node)
            return Refusal("modules may be picked or counted by their position, which changes", at)
    return None


def _assigned_elsewhere(module: Module, literal: Literal) -> Refusal | None:
    """Whether something else may be assigned to the attribute: the load hook would rename its entries too."""
    owner, attribute, anchor = literal.owner, literal.seat.attribute, literal.seat.anchor
    if owner is None or attribute is None:
        return None
    targets = {one for one in ast.walk(anchor) if isinstance(one, ast.Attribute)}
    family = {member.node for member in owner.family}
    for mention in module.mentions.of_attribute(attribute):
        if isinstance(mention.node.ctx, ast.Load) or mention.node in targets:
            continue
        if mention.owner in family or (mention.owner is None and not provenance.is_other_object(module, mention)):
            at = Place(mention.statement, mention.node)
            return Refusal(f"the names of its parameters change, and `{attribute}` is assigned to elsewhere too", at)
    return None


def _names_change(literal: Literal, flat: list[_Element]) -> Refusal | None:
    """Why an old checkpoint could not be loaded into the flat one by a hook."""
    seat, statement = literal.seat, literal.statement
    at = Place(statement, literal.call)
    anchor = seat.anchor
    owner = literal.owner
    plain = isinstance(anchor, ast.Assign | ast.AnnAssign) and anchor.value is literal.call
    if owner is None or seat.attribute is None or not seat.plain or not plain:
        return Refusal("the names of its parameters change, and it is not assigned to an attribute in `__init__`", at)
    if not owner.is_module:
        return Refusal(f"`{owner.name}` is not known to be a `nn.Module`, on which a load hook can be registered", at)
    telling = _telling(flat)
    if telling is None:
        return Refusal("nothing would tell an old checkpoint from a new one: the inner layers have no parameters", at)
    first = flat[telling.path[0]] if telling.path[0] < len(flat) else None
    if first is None or first.kind is None or not is_torch_layer(first.kind) or first.kind in _HOLDING:
        return Refusal("nothing would tell an old checkpoint from a new one: other layers take that name", at)
    return None


def _telling(flat: list[_Element]) -> _Element | None:
    """An inner layer of torch with parameters: an entry of it tells an old checkpoint from a new one."""
    inner = (one for one in flat if len(one.path) > 1 and one.has_state)
    return next((one for one in inner if is_torch_layer(one.kind or "") and one.kind not in _HOLDING), None)


# -- text


def _spliced(module: Module, literal: Literal) -> list[Action]:
    """Each inner literal gives way to its elements, as they stand; a statement on shared lines is laid out anew."""
    statement, anchor, attribute = literal.statement, literal.seat.anchor, literal.seat.attribute
    nested = _nested(module, literal)
    apart = all(_own_indent(statement, node) is not None for node in nested)
    whole = isinstance(anchor, ast.Assign) and anchor.value is literal.call and literal.seat.plain
    shared = anchor.lineno != anchor.end_lineno and not apart and not _has_comment(statement.source(anchor))
    if shared and whole and attribute is not None:
        flat = _flat(module, literal, literal.call.args, ())
        elements = {f"arg_{at}": statement.source(one.node) for at, one in enumerate(flat)}
        return [ReplaceStatements(statement, (anchor,), (Init(LogicalNode(attribute, SEQUENTIAL, elements)),))]
    actions: list[Action] = []
    for node in nested:
        inner = _flat(module, literal, node.args, ())
        indent = _own_indent(statement, node)
        between = ", " if indent is None else f",\n{indent}"
        text = between.join(_moved(statement, one.node, indent) for one in inner)
        actions.append(ReplaceExpression(statement, node, Elements(text)))
    return actions


def _own_indent(statement: Statement, node: ast.expr) -> str | None:
    """The indentation of the lines that an expression has for itself; None where something stands beside it."""
    span = statement.span(node)
    before, behind = statement.text[: span.start], statement.text[span.end :]
    line = before[max(before.rfind("\n"), before.rfind("\r")) + 1 :]
    alone = not line.strip() and re.match(r",?[ \t]*(#.*)?[\r\n]", behind)
    return line if alone else None


def _moved(statement: Statement, node: ast.expr, indent: str | None) -> str:
    """The source of an element; further lines of it go out as far as its first line does."""
    source = statement.source(node).replace("\r\n", "\n").replace("\r", "\n")
    own = _own_indent(statement, node)
    if "\n" not in source or own is None or indent is None or not own.startswith(indent):
        return source
    first, *rest = source.split("\n")
    return "\n".join([first, *(indent + line[len(own) :] if line.startswith(own) else line for line in rest)])
