"""`lsprotocol.types`, of which each class is made when it is first named.

The protocol has some 550 classes and a session names a third of them; making all of them is half of the time until the
server answers. The module's source is cut at its top-level statements, and each is run when what it defines is asked
for. Every class is what the plain import makes of it, left as `lsprotocol.converters` leaves it: with the names in its
annotations resolved.
"""

from __future__ import annotations

import ast
import marshal
import re
import sys
from collections.abc import Generator, Iterator, Set
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, TypeAlias

from attrs import resolve_types

NAME = "lsprotocol.types"


Statement: TypeAlias = "tuple[bytes, list[str], list[str]]"
"""What defines a name: its code, the names that it needs to run, and those that it mentions."""
Entry: TypeAlias = "tuple[bytes, list[str]]"
"""The value of an entry of a table: its code, and the names that it needs."""
Pieces: TypeAlias = "tuple[bytes, dict[str, Statement], dict[str, dict[str, Entry]]]"
"""A module: the code of its imports, the statements and the tables that define its names."""


def import_in_pieces(spec: ModuleSpec, path: str, pieces: Pieces) -> None:
    """Import the module, its names yet to be made."""
    spec.loader = _Loader(spec.name, path, pieces)
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    package, _, name = spec.name.rpartition(".")
    setattr(sys.modules[package], name, module)
    # The classes are resolved as they are made; to have them all made and resolved would be to gain nothing.
    vars(import_module("lsprotocol._hooks"))["_resolved_forward_references"] = True


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, pieces: Pieces) -> None:
        super().__init__(name, path)
        self._pieces = pieces

    def exec_module(self, module: ModuleType) -> None:
        exec(marshal.loads(self._pieces[0]), vars(module))
        vars(module).update(_Names(module, self._pieces).hooks())


class _Names:
    """The names of the module, made as they are asked for."""

    def __init__(self, module: ModuleType, pieces: Pieces) -> None:
        self._module = module.__name__
        self._namespace: dict[str, Any] = vars(module)
        _, self._statements, self._tables = pieces
        self._lock = RLock()

    def hooks(self) -> dict[str, object]:
        """What has Python ask here for the names that the module does not have yet."""
        return {"__getattr__": self._made, "__dir__": self._all}

    def _made(self, name: str) -> object:
        if name not in self._statements and name not in self._tables:
            raise AttributeError(f"module {self._module!r} has no attribute {name!r}")
        with self._lock:
            self._make([name])
            return self._namespace[name]

    def _all(self) -> list[str]:
        return sorted({*self._namespace, *self._statements, *self._tables})

    def value(self, entry: Entry) -> object:
        with self._lock:
            code, needed = entry
            self._make(needed)
            return eval(marshal.loads(code), self._namespace)

    def _make(self, names: list[str]) -> None:
        waiting, made = list(names), list[str]()
        while waiting:
            run = list(self._run(waiting.pop()))
            waiting += [name for one in run for name in self._statements[one][2]]
            made += run
        for name in made:
            if hasattr(self._namespace[name], "__attrs_attrs__"):
                resolve_types(self._namespace[name], self._namespace, {})

    def _run(self, name: str) -> Iterator[str]:
        """Run the statement that defines `name`, behind those that it needs; their names."""
        if name in self._namespace:
            return
        if name in self._tables:
            self._namespace[name] = _Table(self, self._tables[name])
            return
        code, needed, _ = self._statements[name]
        for one in needed:
            yield from self._run(one)
        exec(marshal.loads(code), self._namespace)
        yield name


class _Table(dict[Any, Any]):
    """A table of which each value is made when it is asked for; asked as a whole, it is made as a whole."""

    def __init__(self, names: _Names, entries: dict[str, Entry]) -> None:
        super().__init__()
        self._names = names
        self._entries = entries

    def __missing__(self, key: str) -> Any:
        value = self[key] = self._names.value(self._entries[key])
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._entries

    def __iter__(self) -> Iterator[Any]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def keys(self) -> Any:
        return self._whole().keys()

    def values(self) -> Any:
        return self._whole().values()

    def items(self) -> Any:
        return self._whole().items()

    def _whole(self) -> dict[Any, Any]:
        """The table, in its own order and then that of what was put in since."""
        self.update({key: self[key] for key in self._entries})
        return {**{key: self[key] for key in self._entries}, **dict(super().items())}


def cut(module: ModuleType, path: str) -> Generator[None, None, Pieces | None]:
    """The pieces of a module that is imported, worked out in slices; None where it holds what cannot be cut."""
    imports: list[ast.stmt] = []
    defining: dict[str, ast.stmt] = {}
    for statement in ast.parse(Path(path).read_bytes()).body:
        name = ""
        match statement:
            case ast.Import() | ast.ImportFrom():
                imports.append(statement)
                continue
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.ClassDef() | ast.FunctionDef():
                name = statement.name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                pass
            case _:
                return None
        if name in defining:
            return None
        defining[name] = statement
    yield
    names = defining.keys()
    statements: dict[str, Statement] = {}
    tables: dict[str, dict[str, Entry]] = {}
    for name, statement in defining.items():
        match statement:
            case ast.Assign(value=ast.Dict() as table) | ast.AnnAssign(value=ast.Dict() as table):
                keys = [_key(key, module) for key in table.keys]
                tables[name] = {
                    key: (_compiled(ast.Expression(value), path), _loaded(value, names))
                    for key, value in zip(keys, table.values, strict=True)
                    if key is not None
                }
                if len(tables[name]) != len(keys):
                    return None
            case _:
                needed = _loaded(statement, defining.keys() - {name})
                statements[name] = (
                    _compiled(ast.Module([statement], []), path),
                    needed,
                    _mentioned(statement, defining.keys()),
                )
        yield
    return _compiled(ast.Module(imports, []), path), statements, tables


def _key(node: ast.expr | None, module: ModuleType) -> str | None:
    match node:
        case ast.Constant(value=str() as key):
            return key
        case ast.Name(id=name):
            return vars(module)[name]
        case _:
            return None


def _compiled(code: ast.Module | ast.Expression, path: str) -> bytes:
    # The `from __future__` of this module is not that of the other.
    mode = "eval" if isinstance(code, ast.Expression) else "exec"
    return marshal.dumps(compile(code, path, mode, dont_inherit=True))


def _loaded(node: ast.AST, names: Set[str]) -> list[str]:
    return sorted({one.id for one in ast.walk(node) if isinstance(one, ast.Name)} & names)


_WORD = re.compile(r"\w+")


def _mentioned(statement: ast.stmt, names: Set[str]) -> list[str]:
    """The names in the strings of a statement's annotations, and of the types that it gives a name."""
    annotations = [
        one.annotation if isinstance(one, ast.AnnAssign) else one
        for one in ast.walk(statement)
        if isinstance(one, ast.AnnAssign | ast.Subscript)
    ]
    constants = [one.value for each in annotations for one in ast.walk(each) if isinstance(one, ast.Constant)]
    return sorted({word for text in constants if isinstance(text, str) for word in _WORD.findall(text)} & names)
