"""What the emitter makes, as text."""

from __future__ import annotations

import ast

import libcst

from fuselight_emitter import PythonSnippetEmitter


def text(emitter: PythonSnippetEmitter, made: libcst.BaseStatement | libcst.BaseExpression) -> str:
    """The rendered node, which both parsers read."""
    source = emitter.render(made)
    ast.parse(source)
    assert libcst.parse_module(source).code == source
    return source
