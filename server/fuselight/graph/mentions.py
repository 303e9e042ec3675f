"""Who else in the file touches an attribute: every mention of it, and every way to reach it without naming it."""

from __future__ import annotations

import ast
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from fuselight.source.statements import Statement

WORD = re.compile(r"\w+")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, eq=False)
class Mention:
    """One `<object>.<attribute>` in the file."""

    node: ast.Attribute
    owner: ast.ClassDef | None
    """The class whose `self` it is an attribute of; None for any other object."""
    parent: ast.AST
    function: Function | None
    """The innermost method or module-level function around it."""
    statement: Statement

    @property
    def is_call(self) -> bool:
        """Whether the attribute is called, as in `self.conv(x)`."""
        return isinstance(self.parent, ast.Call) and self.parent.func is self.node

    @property
    def line(self) -> int:
        return self.node.lineno


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """One call in the file, with what stands around it."""

    node: ast.Call
    owner: ast.ClassDef | None
    function: Function | None
    around: tuple[ast.AST, ...]
    """The nodes around the call, outermost first, as far as the top-level statement."""
    statement: Statement


@dataclass(slots=True, eq=False)
class Facts:
    """What one top-level statement mentions; worked out once a statement, and only when somebody asks."""

    attributes: dict[str, list[Mention]] = field(default_factory=dict[str, list[Mention]])
    calls: dict[str, list[Called]] = field(default_factory=dict[str, list[Called]])
    """By the last component of what is called: `nn.init.zeros_(...)` under `zeros_`."""
    loads: set[str] = field(default_factory=set[str])
    """Names that are read without being called, and names that imports give another name."""
    strings: list[tuple[str, Function | None]] = field(default_factory=list[tuple[str, Function | None]])
    """String constants that are no docstrings, with the function around each."""


def words_of(statement: Statement) -> frozenset[str]:
    """Every word of the statement's text: what no word names, no node names."""
    return statement.derive("words", lambda one: frozenset(WORD.findall(one.text)))


def facts_of(statement: Statement) -> Facts:
    return statement.derive("facts", _facts)


def _facts(statement: Statement) -> Facts:
    found = Facts()
    for node in statement.body:
        _collect(node, statement, found)
    return found


@dataclass(slots=True, eq=False)
class Asked:
    """Words and parts of strings that somebody looked for in the whole file."""

    words: set[str] = field(default_factory=set[str])
    parts: set[str] = field(default_factory=set[str])
    everything: bool = False
    """Whether the whole file was looked at."""

    def bears_on(self, words: frozenset[str], texts: list[str]) -> bool:
        """Whether statements with these words and texts could answer any of what was asked."""
        if self.everything:
            return True
        return not self.words.isdisjoint(words) or any(part in text for part in self.parts for text in texts)


class Mentions:
    """The mentions of one version of a file."""

    def __init__(self, statements: Iterable[Statement], previous: Mentions | None = None) -> None:
        self._statements = list(statements)
        self._by_word: dict[str, list[Statement]] = {}
        self._asked: Asked | None = None
        if previous is not None:
            changed = [words_of(one) for one in set(self._statements) ^ set(previous._statements)]
            self._by_word = {
                word: found for word, found in previous._by_word.items() if not any(word in words for words in changed)
            }

    @contextmanager
    def recorded(self) -> Generator[Asked]:
        """Record what is asked for, so that an answer can be kept until a statement that bears on it changes."""
        before, self._asked = self._asked, Asked()
        try:
            yield self._asked
        finally:
            self._asked = before

    def _with(self, word: str) -> list[Statement]:
        """The statements whose text has `word`."""
        if self._asked is not None:
            self._asked.words.add(word)
        known = self._by_word.get(word)
        if known is None:
            known = [statement for statement in self._statements if word in words_of(statement)]
            self._by_word[word] = known
        return known

    def look_at_everything(self) -> None:
        """Say that what is asked rests on every statement of the file."""
        if self._asked is not None:
            self._asked.everything = True

    def of_attribute(self, name: str) -> Iterator[Mention]:
        """Every `<object>.<name>`."""
        for statement in self._with(name):
            yield from facts_of(statement).attributes.get(name, ())

    def calls_of(self, *names: str) -> Iterator[Called]:
        """Every call whose last component is one of `names`."""
        for name in names:
            for statement in self._with(name):
                yield from facts_of(statement).calls.get(name, ())

    def used_uncalled(self, name: str) -> bool:
        """Whether something called `name` is handed around, renamed or kept rather than called."""
        return any(
            name in facts_of(statement).loads
            or any(not mention.is_call for mention in facts_of(statement).attributes.get(name, ()))
            for statement in self._with(name)
        )

    def strings_with(self, part: str) -> Iterator[tuple[str, Function | None]]:
        """Every string constant (docstrings aside) that contains `part`."""
        if self._asked is not None:
            self._asked.parts.add(part)
        for statement in self._statements:
            if part in statement.text:
                for text, function in facts_of(statement).strings:
                    if part in text:
                        yield text, function

    def strings_in(self, function: Function | None, statement: Statement) -> Iterator[str]:
        """The string constants of one function (None: of the statement outside any function)."""
        for text, around in facts_of(statement).strings:
            if around is function:
                yield text

    def masked_word(self, name: str) -> bool:
        """Whether `name` stands on a line that does not parse, where it may mean anything."""
        return any(name in statement.masked_words for statement in self._with(name))

    def has_word(self, *words: str) -> bool:
        """Whether one of `words` stands anywhere in the file, in code, comment or string."""
        found = [self._with(word) for word in words]  # all are asked, so that all are recorded
        return any(found)


@dataclass(frozen=True, slots=True)
class _Context:
    """What a node stands in."""

    parent: ast.AST
    owner: ast.ClassDef | None = None
    self_name: str | None = None
    function: Function | None = None
    around: tuple[ast.AST, ...] = ()


def _collect(top: ast.stmt, statement: Statement, facts: Facts) -> None:
    """Walk `top` once, with the context of each node beside it."""
    stack: list[tuple[ast.AST, _Context]] = [(top, _Context(top))]
    while stack:
        node, context = stack.pop()
        around = context.around
        inner = _Context(node, context.owner, context.self_name, context.function, around)
        match node:
            case ast.Attribute():
                mine = isinstance(node.value, ast.Name) and node.value.id == context.self_name
                owner = context.owner if mine else None
                mention = Mention(node, owner, context.parent, context.function, statement)
                facts.attributes.setdefault(node.attr, []).append(mention)
                stack.append((node.value, inner))
            case ast.Name():
                if not (isinstance(context.parent, ast.Call) and context.parent.func is node):
                    facts.loads.add(node.id)
            case ast.alias():
                if node.asname is not None and node.asname != node.name:
                    facts.loads.add(node.name.rpartition(".")[2])
            case ast.Constant():
                plain = isinstance(context.parent, ast.Expr) or _is_output_key(node, context) or _is_ours(context)
                if isinstance(node.value, str) and not plain and not _is_merge_hook(context.function):
                    facts.strings.append((node.value, context.function))
            case ast.ClassDef():
                inner = replace(inner, around=(*around, node))
                body = _Context(node, node, None, None, (*around, node))
                stack += [(child, inner) for child in (*node.decorator_list, *node.bases, *node.keywords)]
                stack += [(child, body) for child in node.body]
            case ast.FunctionDef() if _is_fold_hook(node):
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                method = isinstance(context.parent, ast.ClassDef)
                me = context.self_name
                if method:
                    # A method whose first parameter has another name may be used as a plain function.
                    me = self_parameter(node)
                    plain = me == "self" or node.name in ("__init__", "forward", "__call__")
                    me = me if plain else None
                elif me in _parameters(node.args):
                    me = None
                function = node if method or context.function is None else context.function
                body = _Context(node, context.owner, me, function, (*around, node))
                outside = replace(inner, around=(*around, node))
                stack += [(child, outside) for child in node.decorator_list]
                stack += [(child, body) for child in _children(node) if child not in node.decorator_list]
            case _:
                if isinstance(node, ast.Call):
                    name = _last_name(node.func)
                    if name is not None:
                        called = Called(node, context.owner, context.function, around, statement)
                        facts.calls.setdefault(name, []).append(called)
                if isinstance(node, ast.stmt):
                    inner = replace(inner, around=(*around, node))
                stack += [(child, inner) for child in _children(node)]


def _is_output_key(node: ast.Constant, context: _Context) -> bool:
    """Whether a string is a key of what a function returns, `return {"mu": self.mu(x)}`: a name of an output."""
    returned = bool(context.around) and isinstance(context.around[-1], ast.Return)
    return returned and isinstance(context.parent, ast.Dict) and node in context.parent.keys


def _is_ours(context: _Context) -> bool:
    """Whether a string names a layer in the registration of a load hook that the emitter wrote."""
    match context.around[-1] if context.around else None:
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


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """As `ast.iter_child_nodes`, without contexts and operators."""
    for name in node._fields:
        value: object = getattr(node, name)
        if isinstance(value, ast.expr_context | ast.operator):
            continue
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            for child in cast(list[object], value):
                if isinstance(child, ast.AST):
                    yield child


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


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
