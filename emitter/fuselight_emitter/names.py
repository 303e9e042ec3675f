"""Spell a fully qualified name the way a file's own imports do."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from fuselight_emitter.dialects import Dialect, RequiredImport


class NameResolver:
    """The names of one file.

    A name is spelled through the file's imports: a direct binding first, then the longest module prefix. What no
    import reaches is spelled through the framework's conventional import, which `missing` then holds; when the
    conventional local name is taken, the import binds another one.

    Args:
        dialect: Knows the conventional imports.
        imports: From a local name to the fully qualified name that it stands for; None when nothing is known, and
            the conventional names are just there.
        taken: Further names that the file binds, which no new import may shadow.
    """

    def __init__(self, dialect: Dialect, imports: Mapping[str, str] | None, taken: Container[str]) -> None:
        self._dialect = dialect
        self._known = imports is not None
        self._imports = dict(imports) if imports is not None else {}
        self._taken = taken
        self._missing: list[RequiredImport] = []
        self._brought: set[str] = set()

    @property
    def missing(self) -> tuple[RequiredImport, ...]:
        return tuple(self._missing)

    def qualify(self, name: str) -> str:
        """The fully qualified name of what `name` means in the file; `name` itself where it is qualified already."""
        head, dot, rest = name.partition(".")
        if head in self._imports:
            return self._imports[head] + dot + rest
        if not self._known:
            for conventional in self._dialect.imports.values():
                if conventional.local == head:
                    return conventional.origin + dot + rest
        return name

    def reach(self, qualified: str, hidden: Container[str] = ()) -> str | None:
        """`qualified` through an import that the file has, under no name in `hidden`, or None."""
        best = ""
        for local, origin in self._imports.items():
            if local in hidden:
                continue
            if origin == qualified:
                return local
            if self._leads_to(origin, qualified) and (not best or len(origin) > len(self._imports[best])):
                best = local
        return best + qualified[len(self._imports[best]) :] if best else None

    def spell(self, qualified: str, hidden: Container[str] = ()) -> str:
        """`qualified` as the file spells it, by an import that it lacks if need be.

        Args:
            qualified: The fully qualified name.
            hidden: Local names that mean something else where the spelling is to stand.
        """
        reached = self.reach(qualified, hidden)
        if reached is not None:
            return reached
        conventional = self._conventional(qualified)
        if not self._known:
            return conventional.local + qualified[len(conventional.origin) :]
        wanted = next(
            choice
            for choice in self._choices(conventional)
            if choice.local not in hidden and self._is_free(choice.local)
        )
        self._imports[wanted.local] = wanted.origin
        self._missing.append(wanted)
        self._brought.add(wanted.module)
        return wanted.local + qualified[len(wanted.origin) :]

    def _leads_to(self, origin: str, qualified: str) -> bool:
        """Whether `qualified` is an attribute, at any depth, of the module `origin`."""
        if not qualified.startswith(f"{origin}."):
            return False
        return not any(
            module.startswith(f"{origin}.") and qualified.startswith(f"{module}.") and module not in self._brought
            for module in self._dialect.separate
        )

    def _conventional(self, qualified: str) -> RequiredImport:
        modules = [module for module in self._dialect.imports if qualified.startswith(f"{module}.")]
        if modules:
            return self._dialect.imports[max(modules, key=len)]
        return RequiredImport(qualified.rpartition(".")[0])

    def _is_free(self, local: str) -> bool:
        return local not in self._imports and local not in self._taken

    def _choices(self, conventional: RequiredImport) -> Iterator[RequiredImport]:
        """Ways to import what `conventional` does, from the idiomatic to those that clash with nothing."""
        yield conventional
        module, name = conventional.module, conventional.name
        qualified = module if name is None else f"{module}.{name}"
        root = module.partition(".")[0]
        # The full dotted name; a submodule is imported as such, so that it is there for sure.
        yield RequiredImport(qualified)
        alias = f"{root}_{qualified.rpartition('.')[2]}" if "." in qualified else f"{root}_module"
        number = 1
        while True:
            suffix = f"_{number}" if number > 1 else ""
            yield RequiredImport(module, name, alias=f"{alias}{suffix}")
            number += 1
