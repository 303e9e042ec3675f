"""Source text to LibCST, one expression or function at a time; nothing else gets through."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from typing import Literal

import libcst as cst

from fuselight_emitter.errors import EmitError

Star = Literal["", "*", "**"]
"""What stands before an argument that is unpacked."""

_NO_SPACE = cst.SimpleWhitespace("")


def is_identifier(text: str) -> bool:
    """Whether `text` can be bound: an identifier, no keyword."""
    return text.isidentifier() and not keyword.iskeyword(text) and text != "__debug__"


def is_dotted_name(text: str) -> bool:
    return all(is_identifier(part) for part in text.split("."))


def dotted(name: str) -> cst.Name | cst.Attribute:
    """The expression `a.b.c` of a name that `is_dotted_name` accepts."""
    first, *rest = name.split(".")
    node: cst.Name | cst.Attribute = cst.Name(first)
    for part in rest:
        node = cst.Attribute(node, cst.Name(part))
    return node


def parse_expression(text: str, *, node: str, bracketed: bool = False, shown: str | None = None) -> cst.BaseExpression:
    """Parse `text` as exactly one expression, and keep its spelling.

    Args:
        text: The source. An expression that spans lines, or a generator without its parentheses, is taken too.
        node: What the error names.
        bracketed: The expression will stand inside brackets, so that line breaks need none of their own.
        shown: The text that the error shows, where `text` is only a part of it.

    Raises:
        EmitError: `text` is not one expression that can stand anywhere: it does not parse, it closes brackets that it
            did not open, ends in a comment, or is a bare tuple, `:=`, `yield` or starred.
    """
    stripped = text.strip()
    text = text if shown is None else shown
    if not stripped:
        raise EmitError("an expression is empty", node=node, text=text)
    _check_tokens(stripped, text, node)
    try:
        tree = ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError):
        return _in_parentheses(stripped, text, node, bracketed)
    if isinstance(tree, ast.Tuple) and not stripped.startswith("("):
        raise EmitError("a bare tuple is not one expression", node=node, text=text)
    if isinstance(tree, ast.Tuple | ast.NamedExpr | ast.Yield | ast.YieldFrom) and not _is_enclosed(stripped):
        raise EmitError("this expression needs parentheses of its own", node=node, text=text)
    return _parse(stripped, text, node)


def parse_value(text: str, *, node: str) -> tuple[Star, cst.BaseExpression]:
    """Parse an argument: `""`, `"*"` or `"**"`, and the expression behind it."""
    stripped = text.strip()
    star: Star = "**" if stripped.startswith("**") else "*" if stripped.startswith("*") else ""
    return star, parse_expression(stripped[len(star) :], node=node, bracketed=True, shown=text)


def parse_function(source: str, name: str) -> cst.FunctionDef:
    """Parse the source of one function, which the errors call `name`."""
    function = cst.parse_statement(source)
    if not isinstance(function, cst.FunctionDef):
        raise EmitError("this is no function", node=name, text=source)
    return function


def argument(value: cst.BaseExpression, *, name: str | None = None, star: Star = "") -> cst.Arg:
    """An argument, spaced as PEP 8 has it: LibCST's own default writes `name = value`."""
    if name is None:
        return cst.Arg(value, star=star)
    equal = cst.AssignEqual(whitespace_before=_NO_SPACE, whitespace_after=_NO_SPACE)
    return cst.Arg(value, keyword=cst.Name(name), equal=equal)


def call(function: cst.BaseExpression, arguments: list[cst.Arg]) -> cst.Call:
    return cst.Call(function, arguments)


def string(text: str) -> str:
    """The source of a string literal, quoted as black quotes."""
    quoted = repr(text)
    return quoted if '"' in text or "'" in text else f'"{quoted[1:-1]}"'


def _check_tokens(stripped: str, text: str, node: str) -> None:
    """Refuse text that could reach out of the place it is put in."""
    depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(f"({stripped}\n)").readline):
            if token.type == tokenize.OP and token.string in {"(", "[", "{"}:
                depth += 1
            elif token.type == tokenize.OP and token.string in {")", "]", "}"}:
                depth -= 1
                if depth == 0 and token.start[0] <= stripped.count("\n") + 1:
                    raise EmitError("a bracket is closed that was not opened", node=node, text=text)
            elif token.type == tokenize.COMMENT and depth == 1:
                raise EmitError("a comment is no part of an expression", node=node, text=text)
            elif token.type == tokenize.ERRORTOKEN and token.string.strip():
                raise EmitError("this does not parse", node=node, text=text)
    except (tokenize.TokenError, IndentationError, SyntaxError):
        raise EmitError("this does not parse", node=node, text=text) from None


def _is_enclosed(stripped: str) -> bool:
    """Whether one pair of parentheses goes around all of the text, which parses."""
    if not (stripped.startswith("(") and stripped.endswith(")")):
        return False
    depth = 0
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(stripped).readline)
        if token.type not in {tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER, tokenize.COMMENT}
    ]
    for at, token in enumerate(tokens):
        if token.type == tokenize.OP:
            depth += (token.string in {"(", "[", "{"}) - (token.string in {")", "]", "}"})
        if depth == 0:
            return at == len(tokens) - 1
    return False


def _in_parentheses(stripped: str, text: str, node: str, bracketed: bool) -> cst.BaseExpression:
    """Text that is an expression only within parentheses: a generator, or one that spans lines."""
    enclosed = f"({stripped})"
    try:
        tree = ast.parse(enclosed, mode="eval").body
    except (SyntaxError, ValueError):
        raise EmitError("this does not parse", node=node, text=text) from None
    if isinstance(tree, ast.Tuple | ast.NamedExpr | ast.Yield | ast.YieldFrom | ast.Starred):
        raise EmitError("this is not one expression", node=node, text=text)
    expression = _parse(enclosed, text, node)
    if bracketed and not isinstance(tree, ast.GeneratorExp):
        return expression.with_changes(lpar=expression.lpar[1:], rpar=expression.rpar[:-1])
    return expression


def _parse(source: str, text: str, node: str) -> cst.BaseExpression:
    try:
        return cst.parse_expression(source)
    except cst.ParserSyntaxError:
        raise EmitError("this does not parse", node=node, text=text) from None
