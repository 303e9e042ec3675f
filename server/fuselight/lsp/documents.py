"""The open documents: their text as the client has it, and its analysis, worked out when asked for.

pygls' own text documents are not used: they break lines at form feeds, `\\x85` and U+2028, where neither Python
nor the protocol does, so that a change lands on the wrong line; and they rewrite the whole text for each change.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeAlias

from lsprotocol import types

from fuselight.fusions.model import Finding, Fix
from fuselight.lsp import garbage
from fuselight.source.lines import Encoding, LineIndex, Span

if TYPE_CHECKING:
    from fuselight.analysis import Analysis
    from fuselight.project.remembered import Recalled
    from fuselight.source.statements import StatementCache

logger = logging.getLogger(__name__)

Positions: TypeAlias = "tuple[tuple[int, int], tuple[int, int]]"
"""Where some characters start and end: line and column, as the client counts."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def range_of(positions: Positions) -> types.Range:
    start, end = positions
    return types.Range(types.Position(*start), types.Position(*end))


class Text:
    """A text as the client has it, changed as the client changes it."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        self.encoding = encoding
        self.take(text)

    def apply(self, changes: Iterable[types.TextDocumentContentChangeEvent]) -> None:
        """Apply the changes of one notification, each to the outcome of the one before."""
        for change in changes:
            if isinstance(change, types.TextDocumentContentChangePartial):
                start, end = (self.offset_in(place) for place in (change.range.start, change.range.end))
                self._replace(Span(min(start, end), max(start, end)), change.text)
            else:
                self.take(change.text)

    def take(self, text: str) -> None:
        """Have another text in the place of this one."""
        self.text = _joined(text)
        self.lines = LineIndex(self.text)

    def offset_in(self, position: types.Position) -> int:
        return self.lines.offset(position.line, position.character, self.encoding)

    def positions_in(self, span: Span) -> Positions:
        return self.lines.position(span.start, self.encoding), self.lines.position(span.end, self.encoding)

    def _replace(self, span: Span, content: str) -> None:
        text = f"{self.text[: span.start]}{content}{self.text[span.end :]}"
        if _SURROGATE.search(content):
            self.take(text)
        else:
            self.text, self.lines = text, _Spliced(self.lines, span, text)


class Document(Text):
    """One open document. `analysis` is that of the newest text, computed on demand and kept.

    `text` is what is analysed; `offset` and `span` lead to it from the client's places; `positions`, `range` and
    `place` lead back.
    """

    def __init__(self, item: types.TextDocumentItem, encoding: Encoding) -> None:
        super().__init__(item.text, encoding)
        self.uri = item.uri
        self.home = item.uri
        """The address by which the settings are found."""
        self.language = item.language_id
        self.version = item.version
        self.recalled: Recalled | None = None
        """What was found in the text at another time, until it is analysed or changed."""
        self._analysis: Analysis | None = None
        self._analysed: str | None = None
        self._broken: str | None = None
        self._aim = ("", 0)
        self._steps: Generator[None] | None = None
        self._is_read_anew = False
        self._parsed: StatementCache | None = None
        """What is parsed already of a text that is read for the first time."""

    @property
    def revision(self) -> int:
        """Changes whenever an edit that was made for the text before would be stale."""
        return self.version

    def change(self, version: int, changes: Iterable[types.TextDocumentContentChangeEvent]) -> None:
        """Take in one notification of changes."""
        self.recalled = None
        self.apply(changes)
        self.version = version

    def own(self, findings: Sequence[Finding]) -> Sequence[Finding]:
        """The findings that are shown in this document."""
        return findings

    def kept_within(self, fix: Fix) -> Fix | None:
        """The edits, where they are of this document alone; else None."""
        return fix

    def analysis(self, line_length: int) -> Analysis | None:
        """The analysis of the newest text; None where it failed, which is logged once for each text."""
        for _ in self.work(line_length):
            pass
        return self.known_analysis

    @property
    def known_analysis(self) -> Analysis | None:
        """The analysis of the newest text, where that is done."""
        return self._analysis if self._analysed is self.text else None

    def is_analysed(self, line_length: int) -> bool:
        """Whether the newest text was analysed, or failed to be, so that asking for it costs nothing."""
        if self._analysed is self.text:
            return self._analysis is not None and self._analysis.line_length == line_length
        return self._broken is self.text

    def work(self, line_length: int) -> Iterator[None]:
        """Analyse the newest text in slices, whatever becomes the newest between two of them."""
        while not self.is_analysed(line_length):
            if self._steps is None or self._aim != (self.text, line_length):
                if self._steps is not None:
                    self._steps.close()
                self._aim = (self.text, line_length)
                self._steps = self._slices(*self._aim)
                self._is_read_anew = self._known_for(line_length) is None
            try:
                with garbage.put_off() if self._is_read_anew else nullcontext():
                    next(self._steps)
            except StopIteration:
                self._steps = None
            except Exception:
                # The next text is analysed from scratch: what went wrong may sit in what was taken over.
                logger.exception("The analysis of %s, version %s, failed", self.uri, self.version)
                self._analysis, self._steps, self._parsed = None, None, None
                self._broken = self.text
            yield

    def _slices(self, text: str, line_length: int) -> Generator[None]:
        known = self._known_for(line_length)
        if known is None:
            # The start does not wait for these.
            from fuselight.source.statements import StatementCache

            if self._parsed is None:
                self._parsed = StatementCache()
            yield from self._parsed.read(text)
            from fuselight.analysis import Analysis

            self._analysis = Analysis(text, line_length=line_length, cache=self._parsed)
            self._parsed = None
        else:
            # Its last version may have been left half done; what was done of it is taken over.
            self._analysis = known.updated(text)
        self._analysed = None
        yield
        yield from self._analysis.work()
        self._analysed, self.recalled = text, None

    def _known_for(self, line_length: int) -> Analysis | None:
        """The analysis that the next one can go on from."""
        known = self._analysis
        return known if known is not None and known.line_length == line_length else None

    def offset(self, position: types.Position) -> int:
        return self.offset_in(position)

    def span(self, where: types.Range) -> Span:
        """The characters of a range; a reversed one is taken the other way round."""
        start, end = self.offset(where.start), self.offset(where.end)
        return Span(min(start, end), max(start, end))

    def positions(self, span: Span) -> Positions:
        return self.positions_in(span)

    def range(self, span: Span) -> types.Range:
        return range_of(self.positions(span))

    def place(self, span: Span) -> tuple[str, Positions]:
        """The document in which some characters are shown, and where they stand in it."""
        return self.uri, self.positions(span)


class _Spliced(LineIndex):
    """The lines of a text after one change: those around it are looked at anew, the others moved."""

    __slots__ = ()

    def __init__(self, before: LineIndex, span: Span, text: str) -> None:
        by = len(text) - len(before.text)
        # From the line before on, since a "\n" put behind a "\r" joins it; the last line touched keeps its end.
        first = max(before.line_of(span.start) - 1, 0)
        last = before.line_of(span.end) + 1
        start = before.starts[first]
        end = before.starts[last] + by if last < len(before) else len(text)
        self.text = text
        self.starts = [
            *before.starts[:first],
            *(start + at for at in LineIndex(text[start:end]).starts),
            *(before.starts[last + 1 :] if by == 0 else [at + by for at in before.starts[last + 1 :]]),
        ]


def _joined(text: str) -> str:
    """Make one character of the halves of a surrogate pair that a client sent in two changes."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
