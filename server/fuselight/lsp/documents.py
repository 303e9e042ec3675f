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
        self.text = _joined(item.text)
        self._analysis: Analysis | None = None
        self._analysed: str | None = None
        self._lines: LineIndex | None = None
        self._broken: str | None = None

    @property
    def lines(self) -> LineIndex:
        """The lines of the newest text."""
        if self._analysis is not None and self._analysed is self.text:
            return self._analysis.lines
        if self._lines is None or self._lines.text is not self.text:
            self._lines = LineIndex(self.text)
        return self._lines

    def change(self, version: int, changes: Iterable[types.TextDocumentContentChangeEvent]) -> None:
        """Apply the changes of one notification, each to the outcome of the one before."""
        for change in changes:
            if isinstance(change, types.TextDocumentContentChangePartial):
                span = self.span(change.range)
                self.text = _joined(f"{self.text[: span.start]}{change.text}{self.text[span.end :]}", change.text)
            else:
                self.text = _joined(change.text)
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
        except Exception:
            # The next text is analysed from scratch: what went wrong may sit in what was taken over.
            logger.exception("The analysis of %s, version %s, failed", self.uri, self.version)
            self._analysis, self._broken = None, self.text
            return None
        self._analysed, self._lines = self.text, None
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


def _joined(text: str, inserted: str | None = None) -> str:
    """Make one character of the halves of a surrogate pair that a client sent in two changes."""
    if _SURROGATE.search(text if inserted is None else inserted) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
