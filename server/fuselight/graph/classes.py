"""A module class as its source tells it: its family in the file, its methods, its layers and their constructors."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import starmap
from typing import TypeAlias

from fuselight.graph.facts import facts_of
from fuselight.graph.mentions import Function, self_parameter
from fuselight.source.names import Names, bound_names, dotted
from fuselight.source.nodes import walk
from fuselight.source.reads import is_noted, note, part_of, unnoted
from fuselight.source.statements import Statement

MODULE_BASES = frozenset(
    {
        "torch.nn.Module",
        "torch.nn.Sequential",
        "pytorch_lightning.LightningModule",
        "lightning.LightningModule",
        "lightning.pytorch.LightningModule",
        "lightning.pytorch.core.LightningModule",
    }
)
"""Bases that say nothing of a layer's name, so that a class over them is known from its file alone."""

HARMLESS_BASES = frozenset({"object", "abc.ABC", "typing.Generic", "typing.Protocol"})

PRETRAINED_BASES = ("PreTrainedModel", "ModelMixin")
"""Last components of bases whose checkpoints load past load hooks (transformers, diffusers)."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One attribute that a class assigns in its `__init__`."""

    attribute: str
    constructor: ast.Call | None
    """The call that makes it, where it is one plain call."""
    kind: str | None
    """The constructor's fully qualified name, `torch.nn.Linear`; None where the source does not tell."""
    owner: ClassInfo
    init: Function
    assignment: ast.stmt
    _block: list[ast.stmt]
    unknown: str | None = None
    """Why the layer is not known, for people: assigned under a condition, wrapped, made by a helper."""
    named_by: ast.Call | None = None
    """`setattr(self, "x" + gate, ...)` in a loop over literal names, where that makes it; `assignment` is the loop."""

    @property
    def statement(self) -> Statement:
        return self.owner.statement

    @property
    def block(self) -> list[ast.stmt]:
        """The statements among which the assignment stands."""
        self.statement.note_lines_of(self.init)
        return self._block


@dataclass(slots=True, eq=False)
class ClassInfo:
    """A class of the file."""

    node: ast.ClassDef
    statement: Statement
    bases: tuple[str | None, ...]
    """Fully qualified names of the bases that other files define; None where unknown."""
    ancestors: tuple[ClassInfo, ...]
    """The bases that this file defines, nearest first, and theirs."""
    descendants: list[ClassInfo] = field(default_factory=list["ClassInfo"])
    top_level: bool = True
    hidden: frozenset[str] = frozenset()
    """Names that the functions around the class bind: in it they hide the module's."""
    _methods: dict[str, Function] = field(default_factory=dict[str, Function])
    _own_layers: dict[str, Layer] = field(default_factory=dict[str, Layer])
    _layers: dict[str, Layer] | None = None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def methods(self) -> Mapping[str, Function]:
        note(self.statement.parts.rest)
        return self._methods

    @property
    def own_layers(self) -> Mapping[str, Layer]:
        """The layers that its own `__init__` makes."""
        self.note_layers()
        return self._own_layers

    def note_layers(self) -> None:
        """Say that somebody reads what the class's `__init__` makes."""
        note(self.statement.parts.rest)
        init = self._methods.get("__init__")
        if init is not None:
            part = part_of(init)
            if part is not None and part.node is init:
                note(part.facet)
            else:
                self.statement.note_lines_of(init)

    @property
    def family(self) -> tuple[ClassInfo, ...]:
        """The class, its ancestors and its descendants in the file, and theirs: all who share its attributes."""
        found: list[ClassInfo] = [self]
        for member in found:
            for relative in (*member.ancestors, *member.descendants):
                if relative not in found:
                    found.append(relative)
        return tuple(found)

    def note_family(self) -> None:
        """Say that somebody reads what the class is: its bases, and what its family is called."""
        for member in self.family:
            note(member.statement.parts.rest)

    @property
    def all_bases(self) -> tuple[str | None, ...]:
        return tuple(base for member in (self, *self.ancestors) for base in member.bases)

    @property
    def is_module(self) -> bool:
        """Whether the class is surely a `torch.nn.Module`."""
        return any(
            base is not None and (base in MODULE_BASES or base.endswith(PRETRAINED_BASES)) for base in self.all_bases
        )

    @property
    def unknown_base(self) -> str | None:
        """A base of which the file tells nothing and which could use the class's attributes."""
        for member in (self, *self.ancestors):
            for base, node in zip(member.bases, _outside_bases(member), strict=True):
                if base is None or not (
                    base in MODULE_BASES or base in HARMLESS_BASES or base.rpartition(".")[2] in PRETRAINED_BASES
                ):
                    return ast.unparse(node)
        return None

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers of an instance: its own and the inherited ones."""
        if is_noted():
            for member in (self, *self.ancestors):
                member.note_layers()
        if self._layers is None:
            self._layers = unnoted(self._all_layers)
        return self._layers

    def _all_layers(self) -> dict[str, Layer]:
        found: dict[str, Layer] = {}
        for member in (self, *self.ancestors):
            for name, layer in member.own_layers.items():
                found.setdefault(name, layer)
            if "__init__" in member.methods and not _calls_super_init(member):
                break
        return found


class _ByNode(dict[ast.ClassDef, "ClassInfo"]):
    """Classes by their nodes; to look one up is to read what its family is."""

    def get(self, key: ast.ClassDef, default: ClassInfo | None = None) -> ClassInfo | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = super().get(key, default)
        if found is not None and is_noted():
            found.note_family()
        return found


class Classes:
    """The classes of one version of a file.

    What a statement's classes are is kept with the statement, as long as the module's names mean the same and the
    classes it inherits from are the same.
    """

    def __init__(self, statements: Iterable[Statement], names: Names, previous: Classes | None = None) -> None:
        """`previous` are those of an earlier version of the file."""
        self._names = names
        self._newest = previous._newest if previous is not None else [self]
        """The version made last, of which the descendants of every class are."""
        self._newest[0] = self
        self.by_node = _ByNode()
        self._by_name: dict[str, ClassInfo] = {}
        for statement in statements:
            last = statement.keep("classes kept", _Last)
            for info in self._of(statement, names, last) if last.may_be else ():
                info.descendants.clear()
                for ancestor in info.ancestors:
                    ancestor.descendants.append(info)
                self.by_node[info.node] = info
                if info.top_level:
                    self._by_name[info.node.name] = info

    def updated(self, names: Names, replaced: Mapping[Statement, Statement]) -> Classes | None:
        """The classes of the next version, where those of the statements that were replaced are all that changed.

        None where that is not so: their names, bases or places are not what they were, or others inherit from them.
        """
        if names is not self._names or self._newest[0] is not self:
            return None
        swapped: dict[ClassInfo, ClassInfo] = {}
        for old, new in replaced.items():
            before = old.keep("classes kept", _Last)
            last = new.keep("classes kept", _Last)
            was = before.kept.infos if before.kept is not None else []
            nodes = _class_nodes(new) if last.may_be else []
            if len(was) != len(nodes) or not self._have(was):
                return None
            if not all(starmap(_is_the_same, zip(was, nodes, strict=True))):
                return None
            if was:
                bases = [(info.bases, info.ancestors) for info in was]
                infos = _made(new, names, last, nodes, bases, before.kept.local if before.kept is not None else [])
                swapped.update(zip(was, infos, strict=True))
        for info, later in swapped.items():
            later.descendants.clear()
            for ancestor in info.ancestors:
                ancestor.descendants[ancestor.descendants.index(info)] = later
        classes = Classes((), names, self)
        classes.by_node.update((one.node, one) for one in (swapped.get(info, info) for info in self.by_node.values()))
        classes._by_name = {name: swapped.get(info, info) for name, info in self._by_name.items()}
        return classes

    def __iter__(self) -> Iterator[ClassInfo]:
        for info in self.by_node.values():
            note(info.statement.parts.rest)
            yield info

    def related(self) -> dict[Statement, set[Statement]]:
        """For each statement, the others whose classes share a family with one of its classes."""
        found: dict[Statement, set[Statement]] = {}
        for info in self:
            if info.ancestors or info.descendants:
                members = {member.statement for member in info.family}
                found.setdefault(info.statement, set()).update(members)
        return found

    def _of(self, statement: Statement, names: Names, last: _Last) -> list[ClassInfo]:
        known = last.kept
        if known is not None and known.names is names and all(self._by_name.get(n) is one for n, one in known.local):
            return known.infos
        nodes = _class_nodes(statement)
        bases = [self._bases(node, names, hidden) for node, _, hidden in nodes]
        local = [(root, self._by_name.get(root)) for node, _, hidden in nodes for root in _local(node, names, hidden)]
        return _made(statement, names, last, nodes, bases, local)

    def _have(self, infos: list[ClassInfo]) -> bool:
        return all(self.by_node.get(info.node) is info for info in infos)

    def _bases(self, node: ast.ClassDef, names: Names, hidden: frozenset[str]) -> _Bases:
        outside: list[str | None] = []
        ancestors: list[ClassInfo] = []
        for base in node.bases:
            origin, local = self._base(base, names, hidden)
            if local is not None:
                ancestors += [one for one in (local, *local.ancestors) if one not in ancestors]
            else:
                outside.append(origin)
        return tuple(outside), tuple(ancestors)

    def _base(self, base: ast.expr, names: Names, hidden: frozenset[str]) -> tuple[str | None, ClassInfo | None]:
        if isinstance(base, ast.Subscript):  # Generic[T]
            base = base.value
        path = dotted(base)
        if path is None:
            return None, None
        root, dot, rest = path.partition(".")
        if root in hidden:
            return None, None
        if not dot and names.local_class(root) is not None:
            return None, self._by_name.get(root)
        origin = names.origin(root)
        if origin is None:
            return ("object" if path == "object" else None), None
        return origin + dot + rest, None


_Bases: TypeAlias = tuple[tuple[str | None, ...], tuple[ClassInfo, ...]]
"""As `ClassInfo.bases`, and `ClassInfo.ancestors`."""
_Local: TypeAlias = list[tuple[str, ClassInfo | None]]
"""The bases by names of the file's own classes, each with the class of that name that stands above; None for none."""
_ClassNode: TypeAlias = tuple[ast.ClassDef, bool, frozenset[str]]
"""A class, whether it stands at the top, and the names that functions around it bind."""


@dataclass(slots=True, eq=False)
class _Kept:
    names: Names
    bases: list[_Bases]
    local: _Local
    infos: list[ClassInfo]


class _Last:
    """Whether a statement may hold classes, and what they were in the version of the file that asked last."""

    __slots__ = ("kept", "may_be")

    def __init__(self, statement: Statement) -> None:
        self.may_be = statement.may_hold("class")
        self.kept: _Kept | None = None


def _class_nodes(statement: Statement) -> list[_ClassNode]:
    return statement.keep("class nodes", lambda one: list(_classes(one.body, one, True, frozenset())))


def _made(
    statement: Statement, names: Names, last: _Last, nodes: list[_ClassNode], bases: list[_Bases], local: _Local
) -> list[ClassInfo]:
    """The classes of a statement, with these bases."""

    def make(statement: Statement) -> _Kept:
        infos = [
            _class(node, statement, names, top_level, hidden, *found)
            for (node, top_level, hidden), found in zip(nodes, bases, strict=True)
        ]
        return _Kept(names, bases, local, infos)

    last.kept = statement.keep("classes", make, lambda kept: kept.names is names and kept.bases == bases)
    last.kept.local = local
    return last.kept.infos


def _local(node: ast.ClassDef, names: Names, hidden: frozenset[str]) -> Iterator[str]:
    for base in node.bases:
        root = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(root, ast.Name) and root.id not in hidden and names.local_class(root.id) is not None:
            yield root.id


def _is_the_same(info: ClassInfo, later: _ClassNode) -> bool:
    """Whether a class from which no other inherits has its name, its bases and its place in a later version, too."""
    node, *place = later
    return (
        not info.descendants
        and [info.top_level, info.hidden] == place
        and info.node.name == node.name
        and [*map(ast.dump, info.node.bases)] == [*map(ast.dump, node.bases)]
    )


def _class(
    node: ast.ClassDef,
    statement: Statement,
    names: Names,
    top_level: bool,
    hidden: frozenset[str],
    outside: tuple[str | None, ...],
    ancestors: tuple[ClassInfo, ...],
) -> ClassInfo:
    methods = {one.name: one for one in node.body if isinstance(one, Function)}
    info = ClassInfo(node, statement, outside, ancestors, top_level=top_level, hidden=hidden, _methods=methods)
    init = methods.get("__init__")
    if init is not None and not statement.is_masked(init):
        info._own_layers = _layers(init, info, names)  # pyright: ignore[reportPrivateUsage]
    return info


def resolve(node: ast.expr, names: Names, local: frozenset[str] | set[str] = frozenset()) -> str | None:
    """The fully qualified name of `nn.Linear` and the like; None where a name in `local` hides the import."""
    path = dotted(node)
    if path is None:
        return None
    root, dot, rest = path.partition(".")
    if root in local:
        return None
    origin = names.origin(root)
    if origin is None:
        return None
    full = origin + dot + rest
    if full.startswith("torch.nn.modules."):
        return "torch.nn." + full.rpartition(".")[2]
    return full


def _outside_bases(info: ClassInfo) -> list[ast.expr]:
    inside = {ancestor.name for ancestor in info.ancestors}
    return [base for base in info.node.bases if not (isinstance(base, ast.Name) and base.id in inside)]


def _classes(
    body: list[ast.stmt], statement: Statement, top_level: bool, hidden: frozenset[str]
) -> Iterator[_ClassNode]:
    """The classes in `body`, at any depth, each with the names that functions around it bind."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield node, top_level, hidden
            yield from _classes(node.body, statement, False, hidden)
        elif isinstance(node, Function):
            if "class " in statement.lines_of(node):
                yield from _classes(node.body, statement, False, hidden | local_names(node, statement))
        else:
            yield from _classes(inner_statements(node), statement, False, hidden)


def _calls_super_init(info: ClassInfo) -> bool:
    init = info.methods["__init__"]
    part = part_of(init)
    if part is not None and part.node is init:
        return "__init__" in facts_of(part, info.statement).attributes
    return any(isinstance(node, ast.Attribute) and node.attr == "__init__" for node in walk(init))


def local_names(function: Function, statement: Statement) -> set[str]:
    """Every name that the function itself binds: parameters, assignments, loops, imports, nested definitions."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return {argument.arg for argument in every} | assigned_names(function.body, statement)


def assigned_names(body: list[ast.stmt], statement: Statement) -> set[str]:
    """Every name that `body` binds or deletes, at any depth, in its own scope.

    Only statements are walked, and expressions where the text of `statement` has a `:=` at all.
    """
    found: set[str] = set()
    stack = list(body)
    if statement.may_hold(":="):
        within = [inner for node in body if not isinstance(node, Function | ast.ClassDef) for inner in walk(node)]
        found.update(inner.target.id for inner in within if isinstance(inner, ast.NamedExpr))
    while stack:
        node = stack.pop()
        if type(node) in _SIMPLE:
            continue
        match node:
            case ast.Assign() | ast.Delete():
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.add(target.id)
                    else:
                        found.update(bound_names(target))
                continue
            case ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.AsyncFor():
                found.update(bound_names(node.target))
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    if item.optional_vars is not None:
                        found.update(bound_names(item.optional_vars))
            case ast.Import() | ast.ImportFrom():
                found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
                continue
            case ast.Match():
                for inner in ast.walk(node):
                    for name in (getattr(inner, "name", None), getattr(inner, "rest", None)):
                        if isinstance(name, str):
                            found.add(name)
            case _:
                pass
        for handler in getattr(node, "handlers", ()):
            if handler.name:
                found.add(handler.name)
        stack += inner_statements(node)
    return found


_SIMPLE = frozenset({ast.Expr, ast.Return, ast.Pass, ast.Raise, ast.Assert, ast.Break, ast.Continue})
"""Statements that bind no name, but by a `:=`, and hold no others."""


def inner_statements(node: ast.stmt) -> list[ast.stmt]:
    """The statements directly inside a compound statement, of all its suites."""
    found: list[ast.stmt] = []
    if isinstance(node, ast.Assign):
        return found
    for name in ("body", "orelse", "finalbody"):
        found += getattr(node, name, ())
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        found += part.body
    return found


def _layers(init: Function, info: ClassInfo, names: Names) -> dict[str, Layer]:
    me = self_parameter(init)
    if me is None:
        return {}
    local = local_names(init, info.statement) | info.hidden
    found: dict[str, Layer] = {}
    again: set[str] = set()

    def add(
        attribute: str, value: ast.expr | None, statement: ast.stmt, block: list[ast.stmt], why: str | None
    ) -> None:
        constructor, kind = None, None
        if value is not None:
            constructor, kind, unknown = _constructor(value, names, local)
            why = why or unknown
        if attribute in found:
            again.add(attribute)
        found[attribute] = Layer(attribute, constructor, kind, info, init, statement, block, why)

    def visit(block: list[ast.stmt], condition: str | None) -> None:
        for statement in block:
            match statement:
                case ast.Assign(targets=[target], value=value):
                    _assigned(target, value, statement, block, condition)
                case ast.Assign():
                    for target in statement.targets:
                        for attribute in _attributes_of(target, me):
                            add(
                                attribute,
                                None,
                                statement,
                                block,
                                f"`{attribute}` is assigned together with another name",
                            )
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    _assigned(target, value, statement, block, condition)
                case ast.AugAssign():
                    for attribute in _attributes_of(statement.target, me):
                        add(attribute, None, statement, block, f"`{attribute}` is changed in place")
                case ast.If():
                    visit(statement.body, condition or "only under a condition")
                    visit(statement.orelse, condition or "only under a condition")
                case ast.For() if condition is None and (made := _set_in_turn(statement, me, names, local)):
                    for attribute, call, value in made:
                        constructor, kind, _ = _constructor(value, names, local)
                        if attribute in found:
                            again.add(attribute)
                        why = f"`{attribute}` is made by a `setattr` in a loop"
                        found[attribute] = Layer(
                            attribute, constructor, kind, info, init, statement, block, why, named_by=call
                        )
                case ast.For() | ast.AsyncFor() | ast.While():
                    visit(statement.body, condition or "in a loop")
                    visit(statement.orelse, condition or "in a loop")
                case ast.With() | ast.AsyncWith():
                    visit(statement.body, condition or "inside a `with`")
                case ast.Try() | ast.TryStar():
                    for inner in (statement.body, statement.orelse, statement.finalbody):
                        visit(inner, condition or "inside a `try`")
                    for handler in statement.handlers:
                        visit(handler.body, condition or "inside a `try`")
                case ast.Match():
                    for case_ in statement.cases:
                        visit(case_.body, condition or "only under a condition")
                case ast.Return() if condition is None:
                    condition = "after a `return`"
                case _:
                    pass

    def _assigned(
        target: ast.expr, value: ast.expr, statement: ast.stmt, block: list[ast.stmt], condition: str | None
    ) -> None:
        attribute = _self_attribute(target, me)
        if attribute is not None:
            add(attribute, value, statement, block, f"`{attribute}` is assigned {condition}" if condition else None)
            return
        for name in _attributes_of(target, me):
            add(name, None, statement, block, f"`{name}` is assigned together with another name")

    visit(init.body, None)
    for attribute in again:
        layer = found[attribute]
        found[attribute] = Layer(
            attribute, layer.constructor, layer.kind, info, init, layer.assignment, layer.block,
            f"`{attribute}` is assigned more than once",
        )  # fmt: skip
    return found


def _set_in_turn(loop: ast.For, me: str, names: Names, local: set[str]) -> list[tuple[str, ast.Call, ast.expr]]:
    """What `for g in "ifgo": setattr(self, "x" + g, ...)` assigns, where that is all the loop does; else nothing."""
    turns = _literal_strings(loop.iter)
    if not isinstance(loop.target, ast.Name) or loop.orelse or not turns:
        return []
    if "setattr" in local or "setattr" in names.bindings or names.stars:
        return []
    found: list[tuple[str, ast.Call, ast.expr]] = []
    for turn in turns:
        for statement in loop.body:
            match statement:
                case ast.Expr(
                    value=ast.Call(
                        func=ast.Name(id="setattr"), args=[ast.Name(id=owner), name, value], keywords=[]
                    ) as call
                ) if owner == me:
                    attribute = _name_in_turn(name, loop.target.id, turn)
                    used = any(isinstance(one, ast.Name) and one.id == loop.target.id for one in ast.walk(value))
                    if attribute is None or not attribute.isidentifier() or used:
                        return []
                    found.append((attribute, call, value))
                case _:
                    return []
    return found


def _literal_strings(node: ast.expr) -> list[str]:
    """The strings that a loop over a literal goes through."""
    match node:
        case ast.Constant(value=str() as text):
            return list(text)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            texts = [one.value for one in elements if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            return texts if len(texts) == len(elements) else []
        case _:
            return []


def _name_in_turn(node: ast.expr, variable: str, turn: str) -> str | None:
    """The value of `"x" + g`, `f"x{g}"`, `"x_%s" % g` and `"x{}".format(g)` in one turn of a loop."""
    match node:
        case ast.Name(id=name):
            return turn if name == variable else None
        case ast.Constant(value=str() as text):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            one, other = _name_in_turn(left, variable, turn), _name_in_turn(right, variable, turn)
            return one + other if one is not None and other is not None else None
        case ast.BinOp(left=ast.Constant(value=str() as text), op=ast.Mod(), right=ast.Name(id=name)):
            return text.replace("%s", turn) if name == variable and text.count("%") == text.count("%s") == 1 else None
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(value=str() as text), attr="format"), args=[ast.Name(id=name)]
        ):
            return text.replace("{}", turn) if name == variable and text.count("{") == text.count("{}") == 1 else None
        case ast.JoinedStr(values=values):
            parts = [
                _name_in_turn(one.value, variable, turn)
                if isinstance(one, ast.FormattedValue) and one.conversion == -1 and one.format_spec is None
                else _name_in_turn(one, variable, turn)
                for one in values
            ]
            texts = [part for part in parts if part is not None]
            return "".join(texts) if len(texts) == len(parts) else None
        case _:
            return None


def _constructor(value: ast.expr, names: Names, local: set[str]) -> tuple[ast.Call | None, str | None, str | None]:
    if isinstance(value, ast.IfExp):
        return None, None, "it is made only under a condition"
    if not isinstance(value, ast.Call):
        return None, None, None
    kind = resolve(value.func, names, local)
    if kind is None:
        path = dotted(value.func)
        if path is not None and path.partition(".")[0] in local:
            return value, None, f"its type `{path}` is decided elsewhere"
        return value, None, None
    return value, kind, None


def _self_attribute(target: ast.expr, me: str) -> str | None:
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == me:
        return target.attr
    return None


def _attributes_of(target: ast.expr, me: str) -> Iterator[str]:
    attribute = _self_attribute(target, me)
    if attribute is not None:
        yield attribute
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _attributes_of(element, me)
    elif isinstance(target, ast.Starred):
        yield from _attributes_of(target.value, me)


__all__ = ["ClassInfo", "Classes", "Layer", "bound_names", "local_names", "resolve"]
