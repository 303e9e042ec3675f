"""The catalogue, loaded a module at a time: all at once it takes longer than anyone should wait."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

_PACKAGE = __name__.rpartition(".")[0]
_REGISTRY = f"{_PACKAGE}.registry"


def loading() -> Iterator[None]:
    """Import every fusion's file, and the registry behind them; between two the caller can do something else."""
    if _REGISTRY in sys.modules:
        return
    import pkgutil

    for found in pkgutil.iter_modules(sys.modules[_PACKAGE].__path__, f"{_PACKAGE}."):
        if found.name != _REGISTRY:
            import_module(found.name)
            yield
    import_module(_REGISTRY)
