"""Where comments stand, told by the nodes: what changes there changes no code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from fuselight.source.parts import Part
from fuselight.source.reads import part_of

_COMPOUND = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If | ast.For | ast.AsyncFor | ast.While | ast.With
    | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match | ast.ExceptHandler
)  # fmt: skip
"""What may have comments inside that are in none of its own expressions."""


def is_outside_code(part: Part, body: list[ast.stmt], line: int, before: str, after: str) -> bool:
    """Whether a line differs in its comment alone, or in blanks behind the code.

    `line` counts from 1 in the statement of `body`, and is of `part`; `before` and `after` are its text without the
    line end. A line on which an expression or a simple statement goes on counts as code to its end.
    """
    ends = part.derive("line ends", lambda: _line_ends(_nodes(part, body)))
    at = ends.get(line, 0)
    if at is None:
        return False
    old, new = before.encode(errors="surrogatepass"), after.encode(errors="surrogatepass")
    code = _without_comment(old[at:])
    return (
        old[:at] == new[:at]
        and code == _without_comment(new[at:])
        and not code.endswith(b"\\")
        and "\0" not in after
        and not any("\ud800" <= one <= "\udfff" for one in after)
    )


def _without_comment(tail: bytes) -> bytes:
    """What stands behind the last node of a line: brackets, colons and keywords, but no string."""
    return tail.partition(b"#")[0].rstrip(b" \t")


def _nodes(part: Part, body: list[ast.stmt]) -> Iterable[ast.AST]:
    top = part.node
    if top is None:
        return body if part.key is None else ()  # between the members of a class nothing stands
    if not isinstance(top, ast.ClassDef):
        return [top]
    members = [one for one in top.body if part_of(one) in (None, part)]
    return [*top.decorator_list, *top.bases, *top.keywords, *members]


def _line_ends(nodes: Iterable[ast.AST]) -> Mapping[int, int | None]:
    """Behind which column, in bytes, no node ends on a line; None for a line that a node goes on from."""
    ends: dict[int, int | None] = {}
    stack = [*nodes]
    while stack:
        node = stack.pop()
        first, last = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if isinstance(node, _COMPOUND) or first is None or last is None:
            stack += ast.iter_child_nodes(node)
        else:
            for line in range(first, last):
                ends[line] = None
            known = ends.get(last, 0)
            if known is not None:
                ends[last] = max(known, getattr(node, "end_col_offset", 0))
    return ends
