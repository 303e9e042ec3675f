"""What the parts of a statement mention: attributes, calls, names, strings. One walk of each part, kept with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fuselight.source.nodes import children_of
from fuselight.source.parts import Part
from fuselight.source.reads import note
from fuselight.source.statements import Statement

_WORD = re.compile(r"\w+")
_APART = "".join(one if one.isalnum() or one == "_" else " " for one in map(chr, range(128)))
"""What ASCII becomes where only the words are left."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

CLASS = ast.ClassDef("", [], [], [], [])
"""Stands in what is kept of a method for the class around it, which is another object when a neighbour changes."""

AttributeFact: TypeAlias = "tuple[ast.Attribute, ast.ClassDef | None, ast.AST, Function | None]"
"""The node, the class whose `self` it is an attribute of, its parent, the function around."""
CallFact: TypeAlias = "tuple[ast.Call, ast.ClassDef | None, Function | None, tuple[ast.AST, ...]]"
"""The node, the class and the function around, and the nodes around, outermost first."""


@dataclass(slots=True, eq=False)
class Facts:
    """What one part mentions."""

    attributes: dict[str, list[AttributeFact]] = field(default_factory=dict[str, list[AttributeFact]])
    calls: dict[str, list[CallFact]] = field(default_factory=dict[str, list[CallFact]])
    """By the last component of what is called: `nn.init.zeros_(...)` under `zeros_`."""
    keywords: dict[str, list[CallFact]] = field(default_factory=dict[str, list[CallFact]])
    """Calls by the names of their keyword arguments."""
    loads: set[str] = field(default_factory=set[str])
    """Names that are read without being called, and names that imports give another name."""
    strings: list[tuple[str, Function | None]] = field(default_factory=list[tuple[str, Function | None]])
    """String constants that are no docstrings, with the function around each."""
    signs: set[type[ast.AST]] = field(default_factory=set[type[ast.AST]])
    """The kinds of operators, and of comparisons, subscripts, lambdas and generators, where there are any.

    `ast.Call` is for calls of what a call yields, `nn.ReLU()(x)`.
    """
    sets_attributes: bool = False
    """Whether any attribute is set, or deleted."""
    _names: frozenset[str] | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every name, and every attribute's."""
        if self._names is None:
            self._names = frozenset((*self.attributes, *self.calls, *self.loads))
        return self._names

    def hands_around(self, name: str) -> bool:
        """Whether something called `name` is read and not called."""
        return name in self.loads or any(
            not (isinstance(parent, ast.Call) and parent.func is node)
            for node, _, parent, _ in self.attributes.get(name, ())
        )


def facts_of(part: Part, statement: Statement) -> Facts:
    """What a part of `statement` mentions; of a method's class `CLASS` stands for itself."""

    def make() -> Facts:
        found = Facts()
        if not statement.parts.methods:
            if part is statement.parts.rest:
                for node in statement.body:
                    _collect((node, node, _NOWHERE), found)
        elif part.node is statement.parts.rest.node:
            for within in _outside_methods(statement):
                _collect(within, found)
        elif part.node is not None:
            _collect((part.node, CLASS, _IN_CLASS), found)
        return found

    return part.derive("facts", make)


def facts_of_some(method: Part, statements: Iterable[ast.stmt]) -> Facts:
    """What some statements of the suite of a method mention."""
    found = Facts()
    function = method.node
    assert isinstance(function, Function)
    owner, me, around, outside = _inside(function, CLASS, _IN_CLASS)
    for statement in statements:
        _collect((statement, function, (owner, me, around, (*outside, function))), found)
    return found


def words_of(statement: Statement) -> frozenset[str]:
    """Every word of the statement's text: what no word names, no node names."""
    return statement.derive("words", _words)


def words_around(statement: Statement, node: ast.stmt | ast.expr) -> frozenset[str]:
    """Every word of the part of the statement, a method or all of it, that `node` stands in."""
    part = statement.parts.of(node)
    note(part)
    return words_of_part(part, statement)


def facts_around(statement: Statement, node: ast.stmt | ast.expr) -> Facts:
    """What the part of the statement, a method or all of it, that `node` stands in mentions."""
    part = statement.parts.of(node)
    note(part)
    return facts_of(part, statement)


def _words(statement: Statement) -> frozenset[str]:
    parts = [words_of_part(part, statement) for part in statement.parts]
    return parts[0].union(*parts[1:])


def words_of_part(part: Part, statement: Statement) -> frozenset[str]:
    """Every word of the text of a part, as it stands in `statement`."""
    text = statement.text_of(part)
    return own_words(part) if text is part.text else words_in(text)


def own_words(part: Part) -> frozenset[str]:
    """Every word of the text of a part as it was parsed."""
    return part.derive("words", lambda: words_in(part.text))


def words_in(text: str) -> frozenset[str]:
    """Every run of letters, digits and underscores."""
    # Of ASCII in a third of the time that a pattern takes.
    return frozenset(text.translate(_APART).split() if text.isascii() else _WORD.findall(text))


def kept_words(statement: Statement) -> frozenset[str]:
    """As `words_of`, for those who note themselves what they rest on."""
    return statement.keep("words", _words)


_Around: TypeAlias = "tuple[ast.ClassDef | None, str | None, Function | None, tuple[ast.AST, ...]]"
"""The class around a node, the name of `self`, the function around, and the nodes around."""

_Within: TypeAlias = "tuple[ast.AST, ast.AST, _Around]"
"""A node, its parent, and what is around."""

_NOWHERE: _Around = (None, None, None, ())
_BESIDE_BODY: _Around = (None, None, None, (CLASS,))
_IN_CLASS: _Around = (CLASS, None, None, (CLASS,))
"""What is around a class's decorators and bases, and around its members."""


def _outside_methods(statement: Statement) -> Iterator[_Within]:
    """The nodes of a class that are of none of the methods that are parts of their own."""
    top = statement.body[0]
    assert isinstance(top, ast.ClassDef)
    apart = {method.part.node for method in statement.parts.methods}
    for child in (*top.decorator_list, *top.bases, *top.keywords):
        yield child, CLASS, _BESIDE_BODY
    for child in top.body:
        if child not in apart:
            yield child, CLASS, _IN_CLASS


def _collect(top: _Within, facts: Facts) -> None:
    """Walk a node once, with what it stands in beside it."""
    # What each kind of node has is known by its type, of which a checker is not told: a question less for every node.
    stack: list[tuple[Any, Any, _Around]] = [top]
    attributes, calls, loads = facts.attributes, facts.calls, facts.loads
    below: Sequence[Any]
    while stack:
        node, parent, within = stack.pop()
        kind: type[ast.AST] = node.__class__
        if kind is ast.Attribute:
            owner, me, function, _ = within
            value = node.value
            mine = value.__class__ is ast.Name and value.id == me
            attributes.setdefault(node.attr, []).append((node, owner if mine else None, parent, function))
            if node.ctx.__class__ is not ast.Load:
                facts.sets_attributes = True
            if value.__class__ is ast.Name:
                loads.add(value.id)
            else:
                stack.append((value, node, within))
            continue
        if kind is ast.Call:
            func = node.func
            owner, _, function, around = within
            called = (node, owner, function, around)
            if func.__class__ is ast.Name:
                calls.setdefault(func.id, []).append(called)
            else:
                if func.__class__ is ast.Attribute:
                    calls.setdefault(func.attr, []).append(called)
                elif func.__class__ is ast.Call:
                    facts.signs.add(ast.Call)
                stack.append((func, node, within))
            for keyword in node.keywords:
                if keyword.arg is not None:
                    facts.keywords.setdefault(keyword.arg, []).append(called)
            below = (*node.args, *node.keywords)
        elif kind is ast.Name:
            loads.add(node.id)
            continue
        elif kind is ast.Constant:
            if isinstance(node.value, str):
                _, _, function, around = within
                plain = type(parent) is ast.Expr or _is_output_key(node, parent, around) or _is_ours(around)
                if not plain and not _is_merge_hook(function):
                    facts.strings.append((node.value, function))
            continue
        else:
            if kind is ast.BinOp or kind is ast.UnaryOp:
                facts.signs.add(node.op.__class__)
            elif kind in _SIGNS:
                facts.signs.add(kind)
            elif isinstance(node, ast.stmt):
                owner, me, function, around = within
                within = (owner, me, function, (*around, node))
                if isinstance(node, ast.ClassDef):
                    stack += [(child, node, within) for child in (*node.decorator_list, *node.bases, *node.keywords)]
                    inside = (node, None, None, within[3])
                    stack += [(child, node, inside) for child in node.body]
                    continue
                if isinstance(node, Function):
                    if not (isinstance(node, ast.FunctionDef) and _is_fold_hook(node)):
                        inside = _inside(node, parent, within)
                        stack += [(child, node, within) for child in node.decorator_list]
                        others = (child for child in children_of(node) if child not in node.decorator_list)
                        stack += [(child, node, inside) for child in others]
                    continue
                if isinstance(node, ast.AugAssign):
                    facts.signs.add(node.op.__class__)
            elif kind is ast.alias:
                if node.asname is not None and node.asname != node.name:
                    loads.add(node.name.rpartition(".")[2])
                continue
            below = children_of(node)
        for child in below:
            if child.__class__ is ast.Name:
                loads.add(child.id)
            else:
                stack.append((child, node, within))


_SIGNS = frozenset({ast.Compare, ast.Subscript, ast.Lambda, ast.GeneratorExp})


def _inside(function: Function, parent: ast.AST, within: _Around) -> _Around:
    """What is around the nodes of a function."""
    owner, me, outer, around = within
    if isinstance(parent, ast.ClassDef):
        # A method whose first parameter has another name may be used as a plain function.
        me = self_parameter(function)
        is_named_so = me == "self" or function.name in ("__init__", "forward", "__call__")
        return owner, me if is_named_so else None, function, around
    if me in _parameters(function.args):
        me = None
    return owner, me, outer if outer is not None else function, around


def _is_output_key(node: ast.Constant, parent: ast.AST, around: tuple[ast.AST, ...]) -> bool:
    """Whether a string is a key of what a function returns, `return {"mu": self.mu(x)}`: a name of an output."""
    returned = bool(around) and isinstance(around[-1], ast.Return)
    return returned and isinstance(parent, ast.Dict) and node in parent.keys


def _is_ours(around: tuple[ast.AST, ...]) -> bool:
    """Whether a string names a layer in the registration of a load hook that the emitter wrote."""
    match around[-1] if around else None:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="register_load_state_dict_pre_hook"), args=[hook])):
            return is_own_hook(hook)
        case _:
            return False


def is_own_hook(node: ast.expr) -> bool:
    """Whether a registered hook is one that the emitter wrote, plain or with its arguments bound."""
    if isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    return isinstance(node, ast.Name) and node.id.startswith((*_MERGE_HOOKS, *_FOLD_HOOKS))


_MERGE_HOOKS = ("_merge_", "_rename_parameters_of_")
_FOLD_HOOKS = ("_fold_bias_into_", "_fold_biases_into_", "_drop_bias_before_")


def _is_fold_hook(function: Function) -> bool:
    """Whether a function is a load hook that the emitter wrote for biases: what it touches is no other function's."""
    if not function.name.startswith(_FOLD_HOOKS):
        return False
    return (ast.get_docstring(function) or "").startswith("Load checkpoints in which ")


def is_own_fuse(function: Function | None) -> bool:
    """Whether a method is the `fuse` that the emitter wrote, which leaves the layers alone until it is called."""
    if function is None or function.name != "fuse":
        return False
    return (ast.get_docstring(function) or "").startswith("Fold batch norms into the layers before them")


def _is_merge_hook(function: Function | None) -> bool:
    """Whether a function is a load hook that the emitter wrote: the names in it are of layers that are gone."""
    if function is None or not function.name.startswith(_MERGE_HOOKS):
        return False
    return (ast.get_docstring(function) or "").startswith("Load checkpoints that hold ")


def self_parameter(node: Function) -> str | None:
    """The name of a method's `self`; None for a static or class method."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Name) and decorator.id in ("staticmethod", "classmethod"):
            return None
    positional = [*node.args.posonlyargs, *node.args.args]
    return positional[0].arg if positional else None


def _parameters(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return {argument.arg for argument in every}
