"""Lay out statements as black does: text in, text out, at a line length.

The algorithm is black's (`black.linegen`, stable style): split at the last bracket pair whose head fits, then at the
delimiters of the highest priority inside it, adding a trailing comma where there is one element a line. Function
names follow black's, so that the two can be compared. black itself also respells what it finds; here every token,
and the space in front of it, stays as it was written.
"""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
import unicodedata
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise

TAB_WIDTH = 4
"""What a tab counts for, as black turns tabs into."""


def lay_out(source: str, *, line_length: int, indent: str = "", indent_unit: str = "    ") -> str:
    """Return the statements of `source`, each behind `indent`, broken over lines where they are too long.

    A statement that holds a comment, or a string over several lines, keeps the line breaks that it has.

    Args:
        source: Whole statements that start at column 0.
        line_length: The most columns of a line, `indent` included; a tab counts as four.
        indent: What stands in front of the first statement.
        indent_unit: One level of indentation.
    """
    style = _Style(line_length, indent, indent_unit)
    lines: list[str] = []
    for text, depth in _logical_lines(source):
        leaves = _leaves(text)
        if leaves is None:
            lines.append(style.indent(depth) + text)
            continue
        line = _Line(style, depth)
        for leaf in leaves:
            line.append(leaf, track=True)
        lines += [str(piece) for piece in _transform_line(line, force=False)]
    return "\n".join(lines)


_COMPREHENSION = 20
_COMMA = 18
_TERNARY = 16
_LOGIC = 14
_STRING = 12
_COMPARATOR = 10
_DOT = 1
_MATH = {
    "|": 9,
    "^": 8,
    "&": 7,
    "<<": 6,
    ">>": 6,
    "+": 5,
    "-": 5,
    "*": 4,
    "/": 4,
    "//": 4,
    "%": 4,
    "@": 4,
    "**": 2,
}
_COMPARATORS = {"<", ">", "==", "!=", "<=", ">="}
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class _CannotSplit(Exception):
    """This way of splitting a line does not work; the next one is tried."""


@dataclass(frozen=True, slots=True)
class _Style:
    line_length: int
    base: str
    unit: str

    def indent(self, depth: int) -> str:
        return self.base + self.unit * depth

    def indent_width(self, depth: int) -> int:
        return _width(self.indent(depth))


@dataclass(slots=True, eq=False)
class _Leaf:
    """A token; an optional parenthesis is a bracket whose `value` is empty until a split makes it visible."""

    value: str
    space: str = ""
    type: str = "op"
    """A bracket, `=`, `,`, `:` or `.` itself; else "name", "string" or "op"."""
    priority: int = 0
    """How readily a line breaks before this token; 0 never."""
    opening: _Leaf | None = None
    """The partner of a closing bracket."""
    parent: str = ""
    """What a bracket belongs to: "atom", "trailer" or "test"; of a comma, "arguments" in a call; "" when added."""
    depth: int = 0

    @property
    def opens(self) -> bool:
        return self.type in _BRACKETS

    @property
    def closes(self) -> bool:
        return self.type in _BRACKETS.values()


@dataclass(slots=True, eq=False)
class _Line:
    style: _Style
    depth: int
    inside_brackets: bool = False
    should_split: bool = False
    magic_trailing_comma: bool = False
    leaves: list[_Leaf] = field(default_factory=list[_Leaf])
    delimiters: dict[int, int] = field(default_factory=dict[int, int])
    """By the index of the leaf after which the line may break: the priority of that break."""
    invisible: list[_Leaf] = field(default_factory=list[_Leaf])
    _bracket_depth: int = 0
    _open: dict[tuple[int, str], _Leaf] = field(default_factory=dict[tuple[int, str], _Leaf])
    _for_depths: list[int] = field(default_factory=list[int])
    _lambda_depths: list[int] = field(default_factory=list[int])
    _previous: int | None = None

    def __str__(self) -> str:
        return self.style.indent(self.depth) + "".join(
            leaf.value if at == 0 else leaf.space + leaf.value for at, leaf in enumerate(self.leaves)
        )

    @property
    def fits(self) -> bool:
        return _width(str(self)) <= self.style.line_length

    @property
    def is_def(self) -> bool:
        return self.leaves[0].value == "def"

    def lengths(self) -> list[int]:
        return [len(leaf.value) + (len(leaf.space) if at else 0) for at, leaf in enumerate(self.leaves)]

    def append(self, leaf: _Leaf, *, track: bool = False) -> None:
        if self.inside_brackets or track:
            self._mark(leaf)
            if self._has_magic_trailing_comma(leaf):
                self.magic_trailing_comma = True
        self.leaves.append(leaf)

    def max_priority(self, exclude: int | None = None) -> int:
        return max((priority for at, priority in self.delimiters.items() if at != exclude), default=0)

    def count(self, priority: int) -> int:
        return sum(1 for found in self.delimiters.values() if found == priority)

    def _mark(self, leaf: _Leaf) -> None:
        if self._bracket_depth == 0 and leaf.closes and (0, leaf.type) not in self._open:
            return
        if self._for_depths and self._for_depths[-1] == self._bracket_depth and leaf.value == "in":
            self._bracket_depth -= 1
            self._for_depths.pop()
        if self._lambda_depths and self._lambda_depths[-1] == self._bracket_depth and leaf.type == ":":
            self._bracket_depth -= 1
            self._lambda_depths.pop()
        if leaf.closes:
            self._bracket_depth -= 1
            del self._open[self._bracket_depth, leaf.type]
            if not leaf.value:
                self.invisible.append(leaf)
        leaf.depth = self._bracket_depth
        if self._bracket_depth == 0:
            if leaf.priority and self._previous is not None:
                self.delimiters[self._previous] = leaf.priority
            elif leaf.type == ",":
                self.delimiters[len(self.leaves)] = _COMMA
        if leaf.opens:
            self._open[self._bracket_depth, _BRACKETS[leaf.type]] = leaf
            self._bracket_depth += 1
            if not leaf.value:
                self.invisible.append(leaf)
        self._previous = len(self.leaves)
        if leaf.type == "name" and leaf.value in {"for", "lambda"}:
            self._bracket_depth += 1
            (self._for_depths if leaf.value == "for" else self._lambda_depths).append(self._bracket_depth)

    def _has_magic_trailing_comma(self, closing: _Leaf) -> bool:
        """Whether the comma before `closing` asks for one element a line: not that of `(a,)` or `x[a,]`."""
        if not (closing.closes and self.leaves and self.leaves[-1].type == ","):
            return False
        if closing.type == "}":
            return True
        if closing.type == "]":
            return not (closing.parent == "trailer" and _is_one_sequence(closing, self.leaves))
        return not _is_one_sequence(closing, self.leaves)


def _logical_lines(source: str) -> Iterator[tuple[str, int]]:
    """The text of each logical line, and how deep it is indented."""
    starts = _line_starts(source)
    depth, first, last = 0, -1, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NEWLINE:
            if first >= 0:
                yield source[first:last], depth
            first = -1
        elif token.type not in {tokenize.NL, tokenize.ENDMARKER}:
            if first < 0:
                first = starts[token.start[0]] + token.start[1]
            last = starts[token.end[0]] + token.end[1]


def _line_starts(source: str) -> list[int]:
    """The offset of each line, by its number from 1."""
    starts = [0, 0]
    for line in io.StringIO(source):
        starts.append(starts[-1] + len(line))
    return starts


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    type: int
    start: int
    end: int


def _tokens(text: str) -> list[_Token] | None:
    """The tokens of one logical line, an f-string being one; None when a comment or a long string is among them."""
    starts = _line_starts(text)
    tokens: list[_Token] = []
    nested: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        start, end = starts[token.start[0]] + token.start[1], starts[token.end[0]] + token.end[1]
        name = tokenize.tok_name[token.type]
        if name == "COMMENT":
            return None
        if name in {"FSTRING_START", "TSTRING_START"}:
            nested.append(start)
        elif name in {"FSTRING_END", "TSTRING_END"}:
            start = nested.pop()
            if not nested:
                tokens.append(_Token(text[start:end], tokenize.STRING, start, end))
        elif not nested and token.type not in {tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER}:
            tokens.append(_Token(token.string, token.type, start, end))
    if any(token.type == tokenize.STRING and "\n" in token.value for token in tokens):
        return None
    return tokens


def _leaves(text: str) -> list[_Leaf] | None:
    """The leaves of one logical line, its optional parentheses among them; None when it is to stay as it is."""
    tokens = _tokens(text)
    if tokens is None:
        return None
    leaves: list[_Leaf] = []
    openings: list[_Leaf] = []
    # By bracket: the `for` of a comprehension that waits for its `in`, and whether one has been seen.
    waiting, seen = [0], [False]
    for at, token in enumerate(tokens):
        before = leaves[-1] if leaves else None
        leaf = _Leaf(token.value, _space(text, tokens, at))
        operand = before is not None and (
            before.closes
            or before.type == "string"
            or (before.type == "name" and not _is_keyword(before.value))
            or before.value == "..."
        )
        leaves.append(leaf)
        if token.type == tokenize.STRING:
            leaf.type = "string"
            leaf.priority = _STRING if before is not None and before.type == "string" else 0
        elif token.type in {tokenize.NAME, tokenize.NUMBER}:
            # A number is an operand as a name is, and nothing else tells the two apart here.
            leaf.type = "name"
            leaf.priority = _word_priority(leaf, before, waiting, seen, statement=at == 0)
        elif token.value in _BRACKETS:
            leaf.type = token.value
            leaf.parent = "trailer" if operand else "atom"
            openings.append(leaf)
            waiting.append(0)
            seen.append(False)
        elif token.value in _BRACKETS.values():
            leaf.type = token.value
            leaf.opening = openings.pop()
            leaf.parent = leaf.opening.parent
            waiting.pop()
            seen.pop()
        elif token.value in {"=", ",", ":", "."}:
            leaf.type = token.value
            if token.value == ",":
                call = bool(openings) and openings[-1].type == "(" and openings[-1].parent == "trailer"
                leaf.parent = "arguments" if call else "sequence"
            elif token.value == "." and before is not None and before.closes:
                leaf.priority = _DOT
        elif token.value in _COMPARATORS:
            leaf.priority = _COMPARATOR
        elif operand:
            leaf.priority = _MATH.get(token.value, 0)
    return _with_optional_parentheses(text, tokens, leaves)


def _space(text: str, tokens: list[_Token], at: int) -> str:
    """What stands before a token; a line break becomes what would stand there on one line."""
    if at == 0:
        return ""
    before, token = tokens[at - 1], tokens[at]
    between = text[before.end : token.start]
    if "\n" not in between and "\r" not in between:
        return between
    joined = before.value in {*_BRACKETS, "."} or token.value in {*_BRACKETS.values(), ".", ","}
    return "" if joined else " "


def _is_keyword(word: str) -> bool:
    return keyword.iskeyword(word) and word not in {"True", "False", "None"}


def _word_priority(leaf: _Leaf, before: _Leaf | None, waiting: list[int], seen: list[bool], *, statement: bool) -> int:
    """The priority of a keyword operator; `waiting` and `seen` follow the comprehensions of the open brackets."""
    word, previous = leaf.value, before.value if before is not None else ""
    if word == "for":
        waiting[-1] += 1
        seen[-1] = True
        return 0 if statement or previous == "async" else _COMPREHENSION
    if word == "async":
        return _COMPREHENSION
    if word == "in":
        if waiting[-1]:
            waiting[-1] -= 1
            return 0
        return 0 if previous == "not" else _COMPARATOR
    if word == "if":
        return 0 if statement else _COMPREHENSION if seen[-1] else _TERNARY
    if word == "else":
        return _TERNARY
    if word == "is":
        return _COMPARATOR
    if word == "not":
        operand = before is not None and (
            before.closes or before.type == "string" or (before.type == "name" and not _is_keyword(previous))
        )
        return _COMPARATOR if operand else 0
    return _LOGIC if word in {"and", "or"} else 0


def _with_optional_parentheses(text: str, tokens: list[_Token], leaves: list[_Leaf]) -> list[_Leaf]:
    """Add the parentheses that may become visible: around an assignment's sides, a condition, a ternary."""
    pairs: list[tuple[int, int, str]] = []
    statement = leaves[0].value
    last = len(leaves) - 1
    if statement in {"del", "return"} and last:
        pairs.append((1, last, "atom"))
    elif statement in {"if", "elif", "while"}:
        pairs.append((1, last - 1, "atom"))
    elif statement == "for":
        within = next(at for at, leaf in enumerate(leaves) if leaf.value == "in")
        pairs += [(1, within - 1, "atom"), (within + 1, last - 1, "atom")]
    else:
        equals = _assignments(leaves)
        if equals and any(leaf.type == "," for leaf in _outside_brackets(leaves[: equals[0]])):
            pairs.append((0, equals[0] - 1, "atom"))
        for at, end in pairwise([*equals, last + 1]):
            pairs.append((at + 1, end - 1, "atom"))
    pairs = [
        (first, end, parent)
        for first, end, parent in pairs
        # Parentheses that are there already stay as they are.
        if not (leaves[first].type == "(" and leaves[first].parent == "atom" and leaves[end].opening is leaves[first])
    ]
    wrapped = {(first, end) for first, end, _ in pairs}
    for first, end in _ternaries(text, tokens):
        parenthesised = (
            first > 0 and end < last and leaves[first - 1].type == "(" and leaves[end + 1].opening is leaves[first - 1]
        )
        if not parenthesised and (first, end) not in wrapped:
            pairs.append((first, end, "test"))
    result: list[_Leaf] = []
    # Outer pairs open first and close last.
    opening_at: dict[int, list[tuple[int, str]]] = {}
    for first, end, parent in sorted(pairs, key=lambda pair: (pair[0], -pair[1])):
        opening_at.setdefault(first, []).append((end, parent))
    open_pairs: list[tuple[int, _Leaf]] = []
    for at, leaf in enumerate(leaves):
        for end, parent in opening_at.get(at, []):
            opening = _Leaf("", leaf.space, "(", parent=parent)
            leaf.space = ""
            open_pairs.append((end, opening))
            result.append(opening)
        result.append(leaf)
        while open_pairs and open_pairs[-1][0] == at:
            _, opening = open_pairs.pop()
            result.append(_Leaf("", "", ")", opening=opening, parent=opening.parent))
    for at, leaf in enumerate(result[1:], 1):
        # An optional parenthesis that ends an expression is what the dot behind it follows.
        if leaf.type == "." and result[at - 1].closes:
            leaf.priority = _DOT
    return result


def _outside_brackets(leaves: list[_Leaf]) -> Iterator[_Leaf]:
    depth = 0
    for leaf in leaves:
        depth -= leaf.closes
        if depth == 0:
            yield leaf
        depth += leaf.opens


def _assignments(leaves: list[_Leaf]) -> list[int]:
    """The indexes of the `=` that assign."""
    depth = lambdas = 0
    found: list[int] = []
    for at, leaf in enumerate(leaves):
        depth += leaf.opens - leaf.closes
        if depth == 0:
            lambdas += leaf.value == "lambda"
            if leaf.type == ":" and lambdas:
                lambdas -= 1
            elif leaf.type == "=" and not lambdas:
                found.append(at)
    return found


def _ternaries(text: str, tokens: list[_Token]) -> list[tuple[int, int]]:
    """The first and the last token of each conditional expression."""
    if not any(token.value == "else" for token in tokens):
        return []
    header = tokens[-1].value == ":"
    tree = ast.parse(text + " pass" if header else text)
    starts = _line_starts(text)
    lines = list(io.StringIO(text))

    def offset(line: int, column: int) -> int:
        return starts[line] + len(lines[line - 1].encode()[:column].decode())

    by_start = {token.start: at for at, token in enumerate(tokens)}
    by_end = {token.end: at for at, token in enumerate(tokens)}
    found: list[tuple[int, int]] = []
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        # An f-string is one token here, and before Python 3.12 the positions inside it are not the file's.
        if not isinstance(node, ast.JoinedStr):
            nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.IfExp) and node.end_lineno is not None and node.end_col_offset is not None:
            first = by_start.get(offset(node.lineno, node.col_offset))
            last = by_end.get(offset(node.end_lineno, node.end_col_offset))
            if first is not None and last is not None:
                found.append((first, last))
    return found


def _transform_line(line: _Line, *, force: bool) -> list[_Line]:
    """Split `line` as far as it needs; `force` keeps optional parentheses even where they could go."""
    if not line.should_split and not line.magic_trailing_comma and line.fits:
        return [line]
    if line.is_def:
        splits = [_left_hand_split]
    elif line.inside_brackets:
        splits = [_delimiter_split, _right_hand_split_with_omits]
    else:
        splits = [_right_hand_split_with_omits]
    for split in splits:
        try:
            return _run(line, split, force=force)
        except _CannotSplit:
            continue
    return [line]


def _run(line: _Line, split: Callable[[_Line, bool], list[_Line]], *, force: bool) -> list[_Line]:
    text = str(line)
    optional = [leaf for leaf in line.invisible if leaf.depth == 0]
    result: list[_Line] = []
    for piece in split(line, force):
        if str(piece) == text:
            raise _CannotSplit
        result += _transform_line(piece, force=force)
    if (
        force
        or split is not _right_hand_split_with_omits
        or not line.invisible
        or any(leaf.value for leaf in optional)
        or result[0].fits
        or any(not leaf.parent and leaf.type == "," for leaf in line.leaves)
    ):
        return result
    second = _run(_copy(line), split, force=True)
    return second if all(piece.fits for piece in second) else result


def _copy(line: _Line) -> _Line:
    """`line` with leaves of its own, which a second attempt may make visible without touching the first."""
    fresh = {id(leaf): replace(leaf) for leaf in line.leaves}
    copy = _Line(line.style, line.depth, line.inside_brackets, line.should_split, line.magic_trailing_comma)
    for leaf in line.leaves:
        new = fresh[id(leaf)]
        if leaf.opening is not None:
            new.opening = fresh.get(id(leaf.opening), leaf.opening)
        copy.append(new, track=True)
    return copy


def _left_hand_split(line: _Line, force: bool) -> list[_Line]:
    """Split a function's header at its parameters."""
    at = next((at for at, leaf in enumerate(line.leaves) if leaf.type == "("), len(line.leaves))
    end = next((end for end in range(at + 2, len(line.leaves)) if line.leaves[end].opening is line.leaves[at]), None)
    if end is None:
        raise _CannotSplit
    return _three(line, at, end)


@dataclass(frozen=True, slots=True)
class _RightHandSplit:
    head: _Line
    body: _Line
    tail: _Line
    opening: _Leaf
    closing: _Leaf

    def visible(self) -> list[_Line]:
        self.opening.value, self.closing.value = self.opening.type, self.closing.type
        return [line for line in (self.head, self.body, self.tail) if line.leaves]


def _right_hand_split_with_omits(line: _Line, force: bool) -> list[_Line]:
    """Split at the last bracket pair; when the head is too long, at an earlier one."""
    first: list[_Line] | None = None
    lengths = line.lengths()
    indent = line.style.indent_width(line.depth)
    prefix = {id(leaf): indent + sum(lengths[:at]) for at, leaf in enumerate(line.leaves)}
    for omit in _trailers_to_omit(line):
        if omit:
            closing = next((leaf for leaf in reversed(line.leaves) if leaf.closes and id(leaf) not in omit), None)
            opening = closing.opening if closing is not None else None
            if opening is not None and opening.value and prefix.get(id(opening), 0) > line.style.line_length:
                continue
        lines = _right_hand_split(line, force, omit)
        if first is None and not omit:
            first = lines
        if lines[0].fits:
            return lines
    return first if first is not None else _right_hand_split(line, force, frozenset())


def _trailers_to_omit(line: _Line) -> Iterator[Set[int]]:
    omit: set[int] = set()
    if not line.magic_trailing_comma:
        yield frozenset()
    length = line.style.indent_width(line.depth)
    opening: _Leaf | None = None
    closing: _Leaf | None = None
    inner: set[int] = set()
    lengths = line.lengths()
    for at in reversed(range(len(line.leaves))):
        leaf = line.leaves[at]
        length += lengths[at]
        if length > line.style.line_length:
            return
        previous = line.leaves[at - 1] if at else None
        magic = (
            previous is not None and previous.type == "," and not _is_one_sequence(leaf, line.leaves, round_only=True)
        )
        if opening is not None:
            if leaf is opening:
                opening = None
            elif leaf.closes:
                if magic:
                    return
                inner.add(id(leaf))
        elif leaf.closes:
            if previous is not None and previous.opens:
                inner.add(id(leaf))
                continue
            if closing is not None:
                omit.add(id(closing))
                omit |= inner
                inner.clear()
                yield frozenset(omit)
            if magic:
                return
            if leaf.value:
                opening, closing = leaf.opening, leaf


def _right_hand_split(line: _Line, force: bool, omit: Set[int]) -> list[_Line]:
    return _maybe_omit_optional_parentheses(_first_right_hand_split(line, omit), line, force, omit)


def _first_right_hand_split(line: _Line, omit: Set[int]) -> _RightHandSplit:
    end = next((at for at in reversed(range(len(line.leaves))) if _is_split_point(line.leaves[at], omit)), None)
    if end is None:
        raise _CannotSplit
    closing = line.leaves[end]
    start = next((at for at in range(end) if line.leaves[at] is closing.opening), None)
    if start is None:
        raise _CannotSplit
    if start + 1 == end:
        # Empty brackets stay in the tail, and the search goes on before them.
        return _first_right_hand_split(line, {*omit, id(closing)})
    head, body, tail = _three(line, start, end)
    return _RightHandSplit(head, body, tail, line.leaves[start], closing)


def _is_split_point(leaf: _Leaf, omit: Set[int]) -> bool:
    return leaf.closes and id(leaf) not in omit


def _maybe_omit_optional_parentheses(split: _RightHandSplit, line: _Line, force: bool, omit: Set[int]) -> list[_Line]:
    if not force and not split.opening.value and not split.closing.value and _can_omit(split):
        omit = {id(split.closing), *omit}
        try:
            without = _first_right_hand_split(line, omit)
            if _prefer_without(without, split):
                return _maybe_omit_optional_parentheses(without, line, force, omit)
        except _CannotSplit:
            chained = sum(leaf.type == "=" for leaf in line.leaves) > 1
            if not chained and not _can_be_split(split.body) and not split.body.fits:
                raise
    return split.visible()


def _prefer_without(without: _RightHandSplit, split: _RightHandSplit) -> bool:
    """Whether to split at the brackets of `without` rather than at the optional parentheses of `split`."""
    head = split.head.leaves
    if not (len(head) >= 2 and head[-2].type == "="):
        return True
    if not any(leaf.opens or leaf.closes for leaf in head[:-1]):
        return True
    if _width(str(split.head)) > split.head.style.line_length - 1:
        return True
    if split.head.magic_trailing_comma:
        return True
    equals = sum(leaf.type == "=" for leaf in head)
    if equals > 1 and equals > sum(leaf.type == "=" for leaf in without.head.leaves):
        return False
    for leaf in reversed(without.head.leaves):
        if leaf.type == "=":
            break
        if leaf.closes:
            return True
    return any(leaf.type == "=" for leaf in without.head.leaves) and without.head.fits


def _can_be_split(line: _Line) -> bool:
    leaves = line.leaves
    if len(leaves) < 2:
        return False
    if leaves[0].type == "string" and leaves[1].type == ".":
        calls = dots = 0
        after = leaves[-1]
        for leaf in leaves[-2::-1]:
            if leaf.opens:
                if not after.closes:
                    return False
                calls += 1
            elif leaf.type == ".":
                dots += 1
            elif leaf.type == "name":
                if not (after.type == "." or after.opens):
                    return False
            elif not leaf.closes:
                return False
            if dots > 1 and calls > 1:
                return False
    return True


def _can_omit(split: _RightHandSplit) -> bool:
    """Whether the body of `split` can be laid out well without the optional parentheses around it."""
    line = split.body
    if not line.delimiters:
        return True
    priority = line.max_priority()
    if line.count(priority) > 1:
        return False
    if priority == _DOT:
        return True
    first, second, penultimate, last = line.leaves[0], line.leaves[1], line.leaves[-2], line.leaves[-1]
    if first.opens and not second.closes and _can_omit_opening(line, first):
        return True
    if last.type in {")", "}"} or (last.type == "]" and last.parent != "trailer"):
        return not penultimate.opens and _can_omit_closing(line, last)
    return False


def _can_omit_opening(line: _Line, first: _Leaf) -> bool:
    remainder = False
    length = line.style.indent_width(line.depth)
    for leaf, size in zip(line.leaves, line.lengths(), strict=True):
        if leaf.closes and leaf.opening is first:
            remainder = True
        if remainder:
            length += size
            if length > line.style.line_length:
                return False
            if leaf.opens:
                remainder = False
    return True


def _can_omit_closing(line: _Line, last: _Leaf) -> bool:
    length = line.style.indent_width(line.depth)
    others = False
    for leaf, size in zip(line.leaves, line.lengths(), strict=True):
        length += size
        if leaf is last.opening:
            if others or length <= line.style.line_length:
                return True
        elif leaf.opens:
            others = True
    return False


def _three(line: _Line, start: int, end: int) -> list[_Line]:
    """Head, body and tail of `line` around the bracket pair at `start` and `end`."""
    leaves = line.leaves
    head = _Line(line.style, line.depth)
    matched = _inside_matching_brackets(leaves[: start + 1])
    for leaf in leaves[: start + 1]:
        head.append(leaf, track=id(leaf) in matched)
    body = _Line(line.style, line.depth + 1, inside_brackets=True)
    inner = leaves[start + 1 : end]
    if line.is_def and leaves[start].type == "(" and not any(leaf.type == "," for leaf in inner):
        inner = [*inner, _Leaf(",", "", ",")]
    for leaf in inner:
        body.append(leaf)
    body.should_split = _should_split(body, leaves[start])
    tail = _Line(line.style, line.depth)
    for leaf in leaves[end:]:
        tail.append(leaf)
    return [head, body, tail]


def _should_split(body: _Line, opening: _Leaf) -> bool:
    """Whether `body` goes one element a line even when it would fit on one."""
    trailing = bool(body.leaves) and body.leaves[-1].type == ","
    priority = body.max_priority(len(body.leaves) - 1 if trailing else None)
    return priority == _COMMA and (trailing or opening.parent == "atom")


def _inside_matching_brackets(leaves: list[_Leaf]) -> set[int]:
    ids: set[int] = set()
    levels: list[list[int]] = []
    for leaf in leaves:
        if leaf.opens:
            levels.append([id(leaf)])
        elif leaf.closes:
            if levels:
                ids |= {*levels.pop(), id(leaf)}
            elif ids:
                break
        elif levels:
            levels[-1].append(id(leaf))
    return ids


def _delimiter_split(line: _Line, force: bool) -> list[_Line]:
    """Split at every delimiter of the highest priority, with a trailing comma when that is the comma."""
    last = len(line.leaves) - 1
    priority = line.max_priority(last)
    if not priority or (priority == _DOT and line.count(priority) == 1):
        raise _CannotSplit
    pieces = [_Line(line.style, line.depth, line.inside_brackets)]
    for at, leaf in enumerate(line.leaves):
        pieces[-1].append(leaf)
        if line.delimiters.get(at) == priority and at != last:
            pieces.append(_Line(line.style, line.depth, line.inside_brackets))
    if priority == _COMMA and pieces[-1].leaves[-1].type != ",":
        pieces[-1].append(_Leaf(",", "", ","))
    return pieces


def _is_one_sequence(closing: _Leaf, leaves: list[_Leaf], *, round_only: bool = False) -> bool:
    """Whether what `closing` closes is a tuple of one element, or (unless `round_only`) an index of one."""
    opening = closing.opening
    if opening is None or (round_only and closing.type != ")"):
        return False
    start = next((at for at, leaf in enumerate(leaves) if leaf is opening), None)
    if start is None:
        return False
    commas = 0
    for leaf in leaves[start + 1 :]:
        if leaf is closing:
            break
        if leaf.type == "," and leaf.depth == opening.depth + 1:
            if leaf.parent == "arguments":
                return False
            commas += 1
    return commas < 2


def _width(text: str) -> int:
    """Columns of `text` on a screen: wide characters count twice, combining ones not at all, a tab four."""
    text = text.replace("\t", " " * TAB_WIDTH)
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
