"""What a module's names mean: the imports, and what the file itself defines over them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fuselight.source.nodes import walk
from fuselight.source.parts import Part
from fuselight.source.statements import Statement


@dataclass(frozen=True, slots=True)
class Binding:
    """One name that a top-level statement binds.

    `origin` is the fully qualified name for an import or a plain alias of one (`Conv = nn.Conv2d`), None for what
    the file computes itself. `local` tells a class or function of this file.
    """

    name: str
    origin: str | None = None
    local: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | None = None
    alias: str | None = None
    """Dotted source text on the right of `name = some.dotted.name`."""
    star: str | None = None
    """The module of `from module import *` (then `name` is empty)."""


_IMPORT = re.compile(r"(?:^|[;:])[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]*import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)

_GLOBAL = re.compile(r"(?:^|[;:\r])[ \t\f]*global\b", re.MULTILINE)

_CANONICAL_PREFIXES = (
    ("torch.nn.modules.", "torch.nn."),
    ("torch.functional.", "torch."),
    ("torch.nn.utils.parametrizations.", "torch.nn.utils.parametrizations."),
)


class Names:
    """The module scope of one version of a file."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self.bindings: dict[str, Binding] = {}
        self.stars: list[str] = []
        self.imported_modules: set[str] = set()
        self._key: tuple[object, ...] | None = None
        self._imported_as: dict[str, frozenset[str]] = {}
        ambiguous: set[str] = set()
        for statement in statements:
            for binding in bindings_of(statement):
                if binding.star is not None:
                    self.stars.append(binding.star)
                    continue
                known = self.bindings.get(binding.name)
                if known is not None and not _same(known, binding):
                    ambiguous.add(binding.name)
                self.bindings[binding.name] = binding
            self.imported_modules |= imported_modules(statement)
        for name in ambiguous:
            self.bindings[name] = Binding(name)

    @property
    def origins(self) -> Mapping[str, str]:
        """Local name to fully qualified name, for every name of which that is known."""
        found: dict[str, str] = {}
        for name in self.bindings:
            origin = self.origin(name)
            if origin is not None:
                found[name] = origin
        return found

    def origin(self, name: str) -> str | None:
        """The fully qualified name that `name` stands for at module level; None where the file does not tell."""
        seen: set[str] = set()
        rest = ""
        while name not in seen:
            seen.add(name)
            binding = self.bindings.get(name)
            if binding is None:
                star = self._from_star(name)
                return star + rest if star is not None else None
            if binding.origin is not None:
                return _canonical(binding.origin + rest)
            if binding.alias is None:
                return None
            name, dot, tail = binding.alias.partition(".")
            rest = dot + tail + rest
        return None

    def imported_as(self, origin: str) -> frozenset[str]:
        """The names to which imports bind what is called `origin`, whole."""
        known = self._imported_as.get(origin)
        if known is None:
            known = frozenset(name for name, binding in self.bindings.items() if binding.origin == origin)
            self._imported_as[origin] = known
        return known

    def _from_star(self, name: str) -> str | None:
        if name.startswith("_") or len(self.stars) != 1:
            return None
        module = self.stars[0]
        return f"{module}.{name}" if module in ("torch.nn", "torch.nn.functional", "torch") else None

    def local_class(self, name: str) -> ast.ClassDef | None:
        binding = self.bindings.get(name)
        return binding.local if binding is not None and isinstance(binding.local, ast.ClassDef) else None

    def updated(self, statements: Iterable[Statement], replaced: Mapping[Statement, Statement] | None) -> Names:
        """The module scope of the next version: this object where every name means the same, so that it shows.

        `replaced` tells what stands in the place of which statement, where that is all that changed.
        """
        if replaced is not None and all(_means_the_same(old, new) for old, new in replaced.items()):
            pairs = [
                pair for old, new in replaced.items() for pair in zip(bindings_of(old), bindings_of(new), strict=True)
            ]
            # Others of these: an ambiguous name, or another version came from the one before, too.
            if all(self.bindings.get(before.name) is before for before, _ in pairs):
                self.bindings = self.bindings | {now.name: now for _, now in pairs}
                return self
        later = Names(statements)
        if self.key() != later.key():
            return later
        self.bindings = later.bindings
        self.stars = later.stars
        self.imported_modules = later.imported_modules
        return self

    def key(self) -> tuple[object, ...]:
        """Equal for two module scopes in which every name means the same."""
        if self._key is None:
            self._key = self._make_key()
        return self._key

    def _make_key(self) -> tuple[object, ...]:
        return (
            tuple(sorted((b.name, b.origin, b.alias, b.local is not None) for b in self.bindings.values())),
            tuple(self.stars),
            frozenset(self.imported_modules),
        )


def bindings_of(statement: Statement) -> tuple[Binding, ...]:
    """The names that a top-level statement binds, in order; worked out once a statement."""
    return statement.keep("bindings", _all_bindings)


def imported_modules(statement: Statement) -> frozenset[str]:
    """The first component of every module that the statement imports, wherever it stands (`.` for relative ones)."""
    return statement.keep("imported modules", _imported_modules)


def surely_imports(statement: Statement, package: str) -> bool:
    """Whether a statement imports `package`, or a part of it, whenever the module is: in no `if`, `try` or function."""
    return package in statement.keep("sure imports", _sure_imports)


def _sure_imports(statement: Statement) -> frozenset[str]:
    found: set[str] = set()
    for node in statement.body:
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def _all_bindings(statement: Statement) -> tuple[Binding, ...]:
    found = list(_bindings(statement.body))
    if "global" in statement.text and _GLOBAL.search(statement.text) is not None:
        for node in _walk(statement.body):
            if isinstance(node, ast.Global):
                found += map(Binding, node.names)
    if not statement.body:
        found += map(Binding, sorted(statement.masked_words))
    return tuple(found)


def _imported_modules(statement: Statement) -> frozenset[str]:
    """Read from the text: what looks like an import in a docstring counts too, which can only say too much."""

    def of(part: Part) -> frozenset[str]:
        text = statement.text_of(part)
        return part.derive("imported modules", lambda: _imported_in(text)) if text is part.text else _imported_in(text)

    if not statement.may_hold("import"):
        return frozenset()
    return frozenset[str]().union(*map(of, statement.parts))


def _imported_in(text: str) -> frozenset[str]:
    found: set[str] = set()
    if "import" in text:
        for match in _IMPORT.finditer(text):
            if match[1]:
                found.add("." if match[1].startswith(".") else match[1].partition(".")[0])
            else:
                found.update(name.split()[0].partition(".")[0] for name in match[2].split(",") if name.split())
    return frozenset(found)


def import_bindings(node: ast.Import | ast.ImportFrom) -> Iterator[Binding]:
    """The names that an import statement binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield Binding(alias.asname, _canonical(alias.name))
            else:
                root = alias.name.partition(".")[0]
                yield Binding(root, root)
        return
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        if alias.name == "*":
            yield Binding("", star=module)
        else:
            separator = "" if module.endswith(".") else "."
            yield Binding(alias.asname or alias.name, _canonical(f"{module}{separator}{alias.name}"))


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` as text; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    parts.append(node.id)
    return ".".join(reversed(parts))


def bound_names(target: ast.expr) -> Iterator[str]:
    """The names that an assignment target binds."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Starred):
        yield from bound_names(target.value)
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from bound_names(element)


def _walk(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        yield from walk(statement)


def _bindings(body: Iterable[ast.stmt]) -> Iterator[Binding]:
    for node in body:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from import_bindings(node)
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield Binding(node.name, local=node)
            case ast.Assign():
                alias = dotted(node.value)
                for target in node.targets:
                    for name in bound_names(target):
                        plain = alias if isinstance(target, ast.Name) else None
                        yield Binding(name, alias=plain if plain != name else None)
            case ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.AsyncFor():
                for name in bound_names(node.target):
                    yield Binding(name)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    if item.optional_vars is not None:
                        yield from map(Binding, bound_names(item.optional_vars))
            case ast.Delete():
                for target in node.targets:
                    yield from map(Binding, bound_names(target))
            case _:
                pass
        for inner in _inner_bodies(node):
            yield from _bindings(inner)


def _inner_bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(node, ast.If | ast.For | ast.AsyncFor | ast.While):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.With | ast.AsyncWith):
        yield node.body
    elif isinstance(node, ast.Try | ast.TryStar):
        yield node.body
        for handler in node.handlers:
            yield handler.body
        yield node.orelse
        yield node.finalbody
    elif isinstance(node, ast.Match):
        for case in node.cases:
            yield case.body


def _means_the_same(one: Statement, other: Statement) -> bool:
    """Whether two statements bind the same names, to the same but for the definitions themselves."""
    before, now = bindings_of(one), bindings_of(other)
    return (
        imported_modules(one) == imported_modules(other)
        and len(before) == len(now)
        and all(map(_is_alike, before, now))
    )


def _is_alike(one: Binding, other: Binding) -> bool:
    is_local = (one.local is None) is (other.local is None)
    return is_local and (one.name, one.origin, one.alias, one.star) == (
        other.name,
        other.origin,
        other.alias,
        other.star,
    )


def _same(one: Binding, other: Binding) -> bool:
    if one.origin is not None:
        return one.origin == other.origin
    return False


def _canonical(name: str) -> str:
    """The public name of what torch also exposes under private modules: `torch.nn.modules.linear.Linear`."""
    for prefix, public in _CANONICAL_PREFIXES:
        if name.startswith(prefix):
            last = name.rpartition(".")[2]
            return public + (last if prefix != public else name[len(prefix) :])
    return name
