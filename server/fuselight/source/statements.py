"""Text to top-level statements, each parsed on its own, so that a key costs the statement it touches.

A file is cut where a line starts a statement at column 0. A piece that parses alone is a statement of the file: the
pieces of a valid file, each valid, concatenate to the file's own parse. Pieces are cached by their text, so that the
next version of a file parses what changed and nothing else. A piece that does not parse loses its smallest broken
region, and the rest of it is read.
"""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from fuselight.source.comments import is_outside_code
from fuselight.source.lines import LineIndex, Span
from fuselight.source.newer import newer_python_of
from fuselight.source.parts import Part, Parts, cut, differing, edited, shared, text_of
from fuselight.source.reads import is_noted, note, part_of, unnoted

T = TypeVar("T")

_STATEMENT_START = re.compile(r"\n(?=[^\s#)\]}])(?!(?:else|elif|except|finally)\b)")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_DECORATOR = "@"
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_BRACKET_OR_STRING = re.compile(
    r"""[()\[\]{}]|\#[^\n]*
    |\"""(?:[^"\\]++|\\.|"(?!""))*+\"""|\'{3}(?:[^'\\]++|\\.|'(?!''))*+\'{3}
    |"(?!"")(?:[^"\\\n]++|\\.)*+"|'(?!'')(?:[^'\\\n]++|\\.)*+'|["']""",
    re.VERBOSE | re.DOTALL,
)
"""A quote alone is that of a string that does not end."""
_MOST_ATTEMPTS = 40
"""How often an open string or bracket is tried against what follows before it counts as half-typed."""
_MOST_ATTEMPTS_WHILE_TYPING = 1
"""The same once the file is open: then an open bracket is most likely one that is being typed."""


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Why a piece is no Python. `line` counts from 0 in the piece, `column` from 0 in characters."""

    message: str
    line: int
    column: int
    newer_python: str | None = None
    """The Python version that has the syntax met here, where it is newer than the running one."""


class Statement:
    """One top-level statement (or several that share a line), as it stands in any place of the file.

    Line numbers of its nodes count from 1 in `text`. The same object serves every version of the file that holds
    the same text; `derive` keeps what later stages derive from it. Its `parts` may outlive it: those that stand
    unchanged in the statement that takes its place are the same objects there.
    """

    __slots__ = (
        "__weakref__", "_body", "_commented", "_derived", "_lines", "_text",
        "is_settled", "masked", "masked_words", "parts", "problem",
    )  # fmt: skip

    def __init__(
        self,
        text: str,
        body: list[ast.stmt],
        problem: SyntaxProblem | None = None,
        masked: frozenset[int] = frozenset(),
        masked_words: frozenset[str] = frozenset(),
        parts: Parts | None = None,
        commented: Mapping[Part, str] | None = None,
    ) -> None:
        """`masked` are the lines (from 1) that were blanked because they did not parse.

        `masked_words` is every identifier that stood on them: it may mean anything. `commented` are the texts of those
        of the `parts` that had other comments when they were parsed.
        """
        self._text = text
        self._body = body
        self._derived: dict[str, Any] = {}
        self._lines: LineIndex | None = None
        self.problem = problem
        self.masked = masked
        self.masked_words = masked_words
        self.parts = parts or cut(text, self.lines, body, masked)
        self._commented = commented or {}
        self.is_settled = parts is not None
        """Whether a version of the file has it, so that its nodes stay as they are."""

    @property
    def text(self) -> str:
        self._note_all()
        return self._text

    def may_hold(self, mark: str) -> bool:
        """Whether the text has `mark`: to skip a search that would find nothing, on which nothing else may rest."""
        return mark in self._text

    def stands_in(self, text: str, start: int) -> bool:
        """Whether `text`, a version of the file, has the statement's own text at `start`; nothing else rests on it."""
        return text.startswith(self._text, start)

    def text_of(self, part: Part) -> str:
        """The text of one of the parts."""
        return self._commented.get(part, part.text)

    @property
    def body(self) -> list[ast.stmt]:
        note(self.parts.rest)
        return self._body

    def derive(self, what: str, make: Callable[[Statement], T], still_good: Callable[[T], bool] | None = None) -> T:
        """What a later stage derives from the statement: made once, and again when `still_good` says no."""
        self._note_all()
        return self.keep(what, make, still_good)

    def keep(self, what: str, make: Callable[[Statement], T], still_good: Callable[[T], bool] | None = None) -> T:
        """As `derive`, for those who note themselves which parts they hand out."""
        known = self._derived.get(what)
        if known is None or (still_good is not None and not still_good(known)):
            known = unnoted(make, self)
            self._derived[what] = known
        return known

    def keep_of(self, method: ast.stmt, what: str, make: Callable[[Any], T]) -> T:
        """As `keep`, of a function of the statement; kept for as long as that stands, where it is a part of its own."""
        part = part_of(method)
        if part is not None and part.node is method:
            return part.derive(what, lambda: make(method))
        return self.keep(f"{what} {method.lineno} {method.col_offset}", lambda _: make(method))

    def _note_all(self) -> None:
        if is_noted():
            for part in self.parts:
                note(part)

    def note_lines_of(self, node: ast.stmt | ast.expr | ast.keyword) -> None:
        """Say that somebody reads the lines on which `node` stands."""
        if is_noted():
            for part in self.parts.on_lines(node.lineno, node.end_lineno or node.lineno):
                note(part)

    @property
    def lines(self) -> LineIndex:
        if self._lines is None:
            self._lines = LineIndex(self._text)
        return self._lines

    def offset(self, line: int, column: int) -> int:
        """Offset in `text` of `ast`'s line (from 1) and column (UTF-8 bytes)."""
        lines = self.lines
        start = lines.starts[line - 1]
        if self._text.isascii():
            return start + column
        return start + len(lines.line_text(line - 1).encode()[:column].decode(errors="replace"))

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.arg) -> Span:
        """Where `node` stands in `text`."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return Span(
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def settle(self, before: Statement | None) -> None:
        """Become a statement of the file; what stands in it as it did in `before` is taken over from there."""
        if before is not None and not self.is_settled:
            self.parts = shared(self._body, self.parts, before.parts)
        self.is_settled = True

    def edited(self, text: str, parse: Callable[[str], list[ast.stmt]]) -> Statement | None:
        """The statement with `text`, where that differs within one method; None where it takes a parse of the whole."""
        if self.masked or len(self._body) != 1:
            return None
        found = edited(text, self._text, self.lines, self._body[0], self.parts, parse)
        if found is None:
            return None
        body, parts = found
        stayed = {*parts}
        commented = {part: other for part, other in self._commented.items() if part in stayed}
        return Statement(text, [body], parts=parts, commented=commented)

    def commented(self, text: str) -> Statement | None:
        """The statement with `text`, where that differs in one comment, or in blanks behind code; else None.

        It has the nodes and the parts of this one: what was worked out from these holds.
        """
        if self.problem is not None or "\r" in text:
            return None
        start, end = differing(text, self._text)
        stop = len(self._text) - end
        line = self.lines.line_of(start)
        if "\n" in self._text[start:stop] or "\n" in text[start : len(text) - end]:
            return None
        begin = self.lines.starts[line]
        before = self.lines.line_body(line)
        after = text[begin : begin + len(before) + len(text) - len(self._text)]
        part = self.parts.on_line(line + 1)
        if part is None or not is_outside_code(part, self._body, line + 1, before, after):
            return None
        lines = LineIndex(text)
        commented = {**self._commented, part: text_of(part.lines, text, lines)}
        return Statement(text, self._body, parts=self.parts, commented=commented)

    def lines_of(self, node: ast.stmt | ast.expr) -> str:
        """The whole lines on which `node` stands."""
        self.note_lines_of(node)
        starts = self.lines.starts
        end = node.end_lineno or len(starts)
        return self._text[starts[node.lineno - 1] : starts[end] if end < len(starts) else None]

    def source(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """The text of `node` as the user wrote it."""
        self.note_lines_of(node)
        span = self.span(node)
        return self._text[span.start : span.end]

    def stands_alone(self, node: ast.stmt) -> bool:
        """Whether a statement has its lines for itself, but for a comment behind it."""
        self.note_lines_of(node)
        span = self.span(node)
        lines = self.lines
        before = self._text[lines.starts[lines.line_of(span.start)] : span.start]
        last = lines.line_of(max(span.end - 1, span.start))
        after = self._text[span.end : lines.starts[last] + len(lines.line_body(last))].strip()
        return not before.strip() and (not after or after.startswith("#"))

    def is_masked(self, node: ast.stmt | ast.expr) -> bool:
        """Whether a line of `node` was blanked."""
        self.note_lines_of(node)
        if not self.masked:
            return False
        assert node.end_lineno is not None
        return any(node.lineno <= line <= node.end_lineno for line in self.masked)


class Placed(NamedTuple):
    """A statement and where it starts in this version of the file."""

    statement: Statement
    start: int


class StatementCache:
    """Statements by their text, shared by the versions of a file.

    `parses` counts calls of `ast.parse`: what tests assert about the work done.
    """

    def __init__(self) -> None:
        self._statements: dict[str, Statement] = {}
        self._incomplete: dict[str, tuple[str, ...]] = {}
        self._whole: dict[str, str] = {}
        self._failed: dict[str, SyntaxError] = {}
        self._fresh = True
        self.parses = 0

    def read(self, text: str) -> Iterator[None]:
        """Parse `text` piece by piece, ahead of `split`: between two pieces the caller can do something else."""
        for start, end in _pieces(text):
            piece = text[start:end]
            if piece not in self._statements:
                parsed = self._parse(piece)
                if isinstance(parsed, Statement):
                    self._statements[piece] = parsed
                yield

    def problems(self, text: str) -> list[SyntaxProblem]:
        """What is no Python in `text`, a version of the file that need not become the next: nothing is forgotten."""
        known, fresh = dict(self._statements), self._fresh
        found = [part.statement.problem for part in self._cut(text, None)]
        self._statements = self._statements | known
        self._fresh = fresh
        return [problem for problem in found if problem is not None]

    def split(self, text: str, previous: list[Placed] | None = None) -> list[Placed]:
        """The top-level statements of `text`, in order. Together their texts are `text`, but for a byte-order mark.

        `previous` are those of the version before: what stands unchanged at the start and the end is not cut again.
        """
        placed = self._cut(text, previous)
        _settle(placed, previous or [])
        return placed

    def _cut(self, text: str, previous: list[Placed] | None) -> list[Placed]:
        placed = self._resplit(text, previous) if previous else None
        if placed is not None:
            self._statements = {part.statement.text: part.statement for part in placed}
            return placed
        placed = self._split(text)
        if self._fresh:
            self._fresh = False
            if any(part.statement.problem is not None for part in placed) and self._learn_boundaries(text):
                placed = self._split(text)
        return placed

    def _resplit(self, text: str, previous: list[Placed]) -> list[Placed] | None:
        """As `split`, by the statements that changed; None where that could cut otherwise than the whole text."""
        if any(part.statement.problem is not None for part in previous):
            return None
        same = 0
        for statement, start in previous:
            if not statement.stands_in(text, start):
                break
            same += 1
        # The statement before a change may be continued by it: `else:`, an indented line.
        same = max(same - 1, 0)
        moved = len(text) - (previous[-1].start + len(previous[-1].statement.text))
        behind = len(previous)
        while behind > same:
            statement, start = previous[behind - 1]
            if not statement.stands_in(text, max(start + moved, 0)):
                break
            behind -= 1
        start = previous[same].start if same < len(previous) else len(text)
        end = previous[behind].start + moved if behind < len(previous) else len(text)
        if same == 0 or end < start or text[end - 1] not in "\r\n":
            return None
        changed = [part for part in previous[same:behind] if not part.statement.stands_in(text, part.start)]
        if len(changed) == 1:
            old = changed[0]
            piece = text[old.start : old.start + len(old.statement.text) + moved]
            statement = old.statement if piece not in self._statements else None
            new = statement and (statement.commented(piece) or statement.edited(piece, self._tree))
            if new is not None:
                self._statements[piece] = new
        known = self._statements
        middle = self._split(text[start:end]) if start < end else []
        self._statements = known | self._statements
        if any(part.statement.problem is not None for part in middle):
            return None
        return [
            *previous[:same],
            *(Placed(part.statement, part.start + start) for part in middle),
            *(Placed(part.statement, part.start + moved) for part in previous[behind:]),
        ]

    def _learn_boundaries(self, text: str) -> bool:
        """Take the boundaries from a parse of the whole `text`; False where it is no Python.

        What is cut at column 0 and tried piece by piece can miss a long string that holds code. That costs one
        parse of the file, when it is opened.
        """
        first = 1 if text.startswith("\ufeff") else 0
        try:
            body = self._tree(text[first:])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        lines = LineIndex(text)
        starts = sorted({_first_line(statement) for statement in body})
        ends = [lines.starts[line - 1] for line in starts[1:]] + [len(text)]
        pieces = list(_pieces(text))
        for number, (line, end) in enumerate(zip(starts, ends, strict=True)):
            start = first if number == 0 else lines.starts[line - 1]
            whole = text[start:end]
            if (start, end) in pieces:
                continue
            parsed = self._parse(whole)
            if isinstance(parsed, Statement):
                self._statements[whole] = parsed
                self._whole.update((text[start:stop], whole) for begin, stop in pieces if begin == start)
        return True

    def _split(self, text: str) -> list[Placed]:
        pieces = list(_pieces(text))
        placed: list[Placed] = []
        kept: dict[str, Statement] = {}
        at = 0
        while at < len(pieces):
            start, end = pieces[at]
            piece = text[start:end]
            statement = self._statements.get(piece)
            following = at + 1
            if statement is None or statement.problem is not None:
                joined = self._extended(text, pieces, at)
                if joined is not None:
                    statement, following = joined
                elif statement is None:
                    statement = self._broken(piece)
            kept[statement.text] = statement
            placed.append(Placed(statement, start))
            at = following
        self._statements = kept
        if len(self._incomplete) > 4096:
            self._incomplete.clear()
        if len(self._whole) > 1024:
            self._whole = {piece: whole for piece, whole in self._whole.items() if whole in kept}
        return placed

    def _extended(self, text: str, pieces: list[tuple[int, int]], at: int) -> tuple[Statement, int] | None:
        """The statement that starts at piece `at`, taking in later pieces while a string or bracket stays open."""
        start, end = pieces[at]
        piece = text[start:end]
        whole = self._whole.get(piece)
        if whole is not None and whole in self._statements and text.startswith(whole, start):
            following = bisect_left(pieces, (start + len(whole), 0))
            ends = len(text) if following == len(pieces) else pieces[following][0]
            if start + len(whole) == ends:
                return self._statements[whole], following
        closing = self._incomplete.get(piece)
        if closing is None:
            parsed = self._parse(piece)
            if isinstance(parsed, Statement):
                return parsed, at + 1
            closing = _what_closes(parsed, piece)
            if not closing:
                return None
            self._incomplete[piece] = closing
        attempts = 0
        depth = _depth(piece)
        for following in range(at + 1, len(pieces)):
            part = text[pieces[following][0] : pieces[following][1]]
            if depth is not None and (more := _depth(part)) is not None:
                depth += more
                if depth > 0 and closing == _CLOSING:
                    continue
            else:
                depth = None
            if not any(mark in part for mark in closing):
                continue
            joined = text[start : pieces[following][1]]
            known = self._statements.get(joined)
            if known is not None:
                return known, following + 1
            if joined in self._incomplete:
                continue
            parsed = self._parse(joined)
            if isinstance(parsed, Statement):
                self._whole[piece] = joined
                return parsed, following + 1
            closing = _what_closes(parsed, joined) or closing
            self._incomplete[joined] = closing
            attempts += 1
            if attempts == (_MOST_ATTEMPTS if self._fresh else _MOST_ATTEMPTS_WHILE_TYPING):
                return None
        return None

    def _parse(self, piece: str) -> Statement | SyntaxError:
        failed = self._failed.get(piece)
        if failed is not None:
            return failed
        try:
            return Statement(piece, self._tree(piece))
        except SyntaxError as error:
            failed = error.with_traceback(None)
        except (ValueError, RecursionError, MemoryError) as error:
            failed = SyntaxError(str(error) or type(error).__name__, ("", 1, 1, ""))
        if len(self._failed) > 256:
            self._failed.clear()
        self._failed[piece] = failed
        return failed

    def _tree(self, piece: str) -> list[ast.stmt]:
        self.parses += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user's `"\d"` is not ours to warn about
            return ast.parse(piece).body

    def _broken(self, piece: str) -> Statement:
        """`piece` with its smallest broken region masked."""
        error = self._parse(piece)
        assert isinstance(error, SyntaxError)
        problem = _problem(error, piece)
        lines = piece.split("\n")
        masked: set[int] = set()
        for _ in range(4):
            at = min(max((error.lineno or 1) - 1, 0), len(lines) - 1)
            for region in _regions(lines, at):
                result = self._parse(_blanked(lines, masked | region, "pass"))
                if isinstance(result, SyntaxError):  # between a decorator and its function, nothing may stand
                    bare = self._parse(_blanked(lines, masked | region, ""))
                    result = bare if isinstance(bare, Statement) else result
                if isinstance(result, Statement):
                    masked |= region
                    words = frozenset(word for line in masked for word in _IDENTIFIER.findall(lines[line]))
                    return Statement(piece, result.body, problem, frozenset(line + 1 for line in masked), words)
                if (result.lineno or 0) - 1 > max(region):
                    # That region is mended and the next one met: go on from there.
                    masked |= region
                    error = result
                    break
            else:
                break
        everything = frozenset(range(1, len(lines) + 1))
        return Statement(piece, [], problem, everything, frozenset(_IDENTIFIER.findall(piece)))


def _settle(placed: list[Placed], previous: list[Placed]) -> None:
    """Have the new statements take over what they can from those that went."""
    fresh = [part.statement for part in placed if not part.statement.is_settled]
    if not fresh:
        return
    stay = {part.statement for part in placed}
    # Each gives to one alone: a part stands in one place of a file.
    given = {part for statement in stay if statement.is_settled for part in statement.parts}
    gone = {
        _name_of_class(part.statement): part.statement
        for part in previous
        if part.statement not in stay and given.isdisjoint(part.statement.parts)
    }
    for statement in fresh:
        name = _name_of_class(statement)
        statement.settle(gone.pop(name, None) if name is not None else None)


def _name_of_class(statement: Statement) -> str | None:
    top = statement.body[0] if len(statement.body) == 1 else None
    return top.name if isinstance(top, ast.ClassDef) else None


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Where statements start at column 0, as far as single lines tell; a decorator goes with what it decorates."""
    scanned = text.replace("\r\n", " \n").replace("\r", "\n") if "\r" in text else text
    first = 1 if text.startswith("\ufeff") else 0
    starts = [match.end() for match in _STATEMENT_START.finditer(scanned)]
    begin = head = first
    for start in starts:
        if begin == start or scanned[begin:start].isspace():
            continue
        if head == first and not _holds_code(scanned[begin:start]):
            head = start  # comments above the first statement go with it
            continue
        if scanned[head] == _DECORATOR and _ends_in_decorator(scanned, head, start):
            continue
        yield begin, start
        begin = head = start
    if begin < len(text) or begin == first:
        yield begin, len(text)


def _first_line(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", None)
    return min(statement.lineno, *(decorator.lineno for decorator in decorators)) if decorators else statement.lineno


def _holds_code(piece: str) -> bool:
    return any(line and not line.isspace() and not line.lstrip().startswith("#") for line in piece.split("\n"))


def _ends_in_decorator(text: str, begin: int, start: int) -> bool:
    """Whether `text[begin:start]` is nothing but decorators (and comments), so that the statement follows."""
    lines = text[begin:start].split("\n")
    depth = 0
    for line in lines:
        if depth == 0 and line and line[0] not in "@# \t)]}\f":
            return False
        code = line.split("#", 1)[0]
        depth += sum(code.count(bracket) for bracket in "([{") - sum(code.count(bracket) for bracket in ")]}")
    return True


def _depth(piece: str) -> int | None:
    """How many brackets a piece leaves open; less than zero where it closes more. None where a string stays open."""
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(piece):
        mark = match[0]
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
        elif mark in ("'", '"'):
            return None
    return depth


def _what_closes(error: SyntaxError, piece: str) -> tuple[str, ...]:
    """The marks of which one must come for `piece` to become whole; none where nothing that follows can help."""
    message = error.msg or ""
    if "triple-quoted" in message:
        return ('"""', "'''")
    if "was never closed" in message:
        return _CLOSING
    if "unexpected EOF" in message or piece.rstrip("\r\n").endswith("\\"):
        return ("",)
    return ()


def _problem(error: SyntaxError, piece: str) -> SyntaxProblem:
    line = max((error.lineno or 1) - 1, 0)
    column = max((error.offset or 1) - 1, 0)
    return SyntaxProblem(error.msg or "invalid syntax", line, column, newer_python_of(error, piece))


def _regions(lines: list[str], at: int) -> Iterator[set[int]]:
    """Regions to mask for an error met at line `at` (from 0), the smallest first."""
    yield {at}
    if at > 0:
        yield {at - 1}
        yield {at - 1, at}
    seen: set[tuple[int, int]] = set()
    for line in (at, at - 1):
        if line < 0:
            continue
        for start, end in _suites_around(lines, line):
            if (start, end) not in seen:
                seen.add((start, end))
                yield set(range(start, end))


def _suites_around(lines: list[str], at: int) -> Iterator[tuple[int, int]]:
    """The blocks by indentation that hold line `at`, innermost first, each with its header."""
    indent = _indent(lines[at])
    header = at
    while indent > 0 and header > 0:
        header -= 1
        line = lines[header]
        if line.strip() and _indent(line) < indent:
            indent = _indent(line)
            end = header + 1
            while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
                end += 1
            if indent > 0:
                yield header, end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _blanked(lines: list[str], masked: set[int], filler: str) -> str:
    """`lines` with the masked ones blanked, `filler` where the first of a run stood."""
    result = list(lines)
    for line in masked:
        text = lines[line]
        if line - 1 in masked:
            result[line] = ""
        else:
            result[line] = text[: _indent(text)] + filler
    return "\n".join(result)
