"""Idiomatic framework code from logical nodes: LibCST statements for PyTorch, Flax NNX, JAX and Keras.

    >>> emitter = PythonSnippetEmitter("torch")
    >>> node = LogicalNode("conv1", "Conv2d", {"arg_0": "3", "arg_1": "64", "kernel_size": "3"})
    >>> emitter.render(emitter.emit_init(node))
    'self.conv1 = nn.Conv2d(3, 64, kernel_size=3)'

The dialect tables and the graph cost nothing to import; LibCST is imported with the first `PythonSnippetEmitter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuselight_emitter.dialects import FRAMEWORKS, Dialect, Function, RequiredImport, get_dialect
from fuselight_emitter.errors import EmitError
from fuselight_emitter.ir import LogicalEdge, LogicalGraph, LogicalNode, topological_sort

if TYPE_CHECKING:
    from fuselight_emitter.snippet import PythonSnippetEmitter

__all__ = [
    "FRAMEWORKS",
    "Dialect",
    "EmitError",
    "Function",
    "LogicalEdge",
    "LogicalGraph",
    "LogicalNode",
    "PythonSnippetEmitter",
    "RequiredImport",
    "get_dialect",
    "topological_sort",
]


def __getattr__(name: str) -> object:
    if name == "PythonSnippetEmitter":
        from fuselight_emitter.snippet import PythonSnippetEmitter

        return PythonSnippetEmitter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
