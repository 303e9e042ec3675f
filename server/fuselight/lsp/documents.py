"""The open documents: their text as the client has it, and its analysis, worked out when asked for.

pygls' own text documents are not used: they break lines at form feeds, `\\x85` and U+2028, where neither Python
nor the protocol does, so that a change lands on the wrong line; and they rewrite the whole text for each change.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from lsprotocol import types

from fuselight.analysis import Analysis
from fuselight.source.lines import Encoding, LineIndex, Span

logger = logging.getLogger(__name__)

_SURROGATE = re.compile("[\ud800-\udfff]")


class Document:
    """One open document. `analysis` is that of the newest text, computed on demand and kept."""

    def __init__(self, item: types.TextDocumentItem, encoding: Encoding) -> None:
        self.uri = item.uri
        self.language = item.language_id
        self.version = item.version
        self.encoding = encoding
        self._analysis: Analysis | None = None
        self._analysed: str | None = None
        self._broken: str | None = None
        self._take(item.text)

    def change(self, version: int, changes: Iterable[types.TextDocumentContentChangeEvent]) -> None:
        """Apply the changes of one notification, each to the outcome of the one before."""
        for change in changes:
            if isinstance(change, types.TextDocumentContentChangePartial):
                self._replace(self.span(change.range), change.text)
            else:
                self._take(change.text)
        self.version = version

    def analysis(self, line_length: int) -> Analysis | None:
        """The analysis of the newest text; None where it failed, which is logged once for each text."""
        known = self._analysis if self._analysis and self._analysis.line_length == line_length else None
        if known is not None and self._analysed is self.text:
            return known
        if self._broken is self.text:
            return None
        try:
            self._analysis = known.updated(self.text) if known else Analysis(self.text, line_length=line_length)
            # Worked out here and not where they are used, so that a fault shows once, and as one of the analysis.
            _ = self._analysis.findings
        except Exception:
            # The next text is analysed from scratch: what went wrong may sit in what was taken over.
            logger.exception("The analysis of %s, version %s, failed", self.uri, self.version)
            self._analysis, self._broken = None, self.text
            return None
        self._analysed = self.text
        return self._analysis

    def offset(self, position: types.Position) -> int:
        return self.lines.offset(position.line, position.character, self.encoding)

    def span(self, where: types.Range) -> Span:
        """The characters of a range; a reversed one is taken the other way round."""
        start, end = self.offset(where.start), self.offset(where.end)
        return Span(min(start, end), max(start, end))

    def range(self, span: Span) -> types.Range:
        start = self.lines.position(span.start, self.encoding)
        end = self.lines.position(span.end, self.encoding)
        return types.Range(types.Position(*start), types.Position(*end))

    def _take(self, text: str) -> None:
        self.text = _joined(text)
        self.lines = LineIndex(self.text)

    def _replace(self, span: Span, content: str) -> None:
        text = f"{self.text[: span.start]}{content}{self.text[span.end :]}"
        if _SURROGATE.search(content):
            self._take(text)
        else:
            self.text, self.lines = text, _Spliced(self.lines, span, text)


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
            *(at + by for at in before.starts[last + 1 :]),
        ]


def _joined(text: str) -> str:
    """Make one character of the halves of a surrogate pair that a client sent in two changes."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
