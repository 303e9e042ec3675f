"""Notebooks: their Python cells read as one text, in which each cell keeps its places.

What one cell imports serves the next; what is found in a cell is shown and edited there and nowhere else.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.fusions.model import Finding, Fix, TextEdit
from fuselight.lsp.documents import Document, Positions, Text
from fuselight.lsp.magics import masked
from fuselight.source.lines import Encoding, Span

if TYPE_CHECKING:
    from fuselight.analysis import Analysis

logger = logging.getLogger(__name__)

# Of any notebook; with the star left out, clients that use `lsprotocol` cannot read the answer to `initialize`.
SYNC = types.NotebookDocumentSyncOptions(
    [types.NotebookDocumentFilterWithNotebook("*", [types.NotebookCellLanguage("python")])]
)

ELSEWHERE = "its edit would reach into another cell"
CELL_SCHEME = "vscode-notebook-cell"

_SEPARATOR = "pass\n"
"""Between two cells: what is indented in one does not go on with what stands in the one before."""
_IMPORTS = re.compile(r"(?:\s*(?:import|from)[ \t][^\r\n]*(?:\r\n|\r|\n|$))+\s*")
_FIRST_CODE = re.compile(r"^(?![ \t]*(?:#|_#|_?[ \t]*$)|from[ \t]+__future__\b)", re.MULTILINE)
"""The first statement of a cell in which magics are masked."""
_ROW = re.compile(r" \(line (\d+)\)$")


class Cell(Document):
    """One Python cell. Its `text` and `analysis` are those of the notebook; `source` is its own text."""

    def __init__(self, item: types.TextDocumentItem, encoding: Encoding, notebook: Notebook) -> None:
        super().__init__(item, encoding)
        self.home = notebook.uri
        self.source = Text(item.text, encoding)
        self.start = 0
        """Where it starts in the notebook's text."""
        self.is_shown = False
        """Whether it has a place in the notebook."""
        self._notebook = notebook

    @property
    def revision(self) -> int:
        return self._notebook.revision

    @property
    def end(self) -> int:
        return self.start + len(self.source.text)

    def change(self, version: int, changes: Iterable[types.TextDocumentContentChangeEvent]) -> None:
        self.source.apply(changes)
        self.version = version
        self._notebook.renew()

    def analysis(self, line_length: int) -> Analysis | None:
        return self._notebook.whole.analysis(line_length)

    @property
    def known_analysis(self) -> Analysis | None:
        return self._notebook.whole.known_analysis

    def is_analysed(self, line_length: int) -> bool:
        return self._notebook.whole.is_analysed(line_length)

    def work(self, line_length: int) -> Iterator[None]:
        return self._notebook.whole.work(line_length)

    def own(self, findings: Sequence[Finding]) -> Sequence[Finding]:
        if not self.is_shown:
            return ()
        return [
            replace(finding, refused=self._notebook.with_place(finding.refused))
            for finding in findings
            if self.start <= finding.span.start <= self.end
        ]

    def kept_within(self, fix: Fix) -> Fix | None:
        edits: list[TextEdit] = []
        for edit in fix.edits:
            own = edit if self.start <= edit.start <= edit.end <= self.end else self._moved(edit)
            if own is None or self._hides(own):
                return None
            edits.append(own)
        kept = Fix(fix.title, tuple(sorted(edits, key=lambda edit: (edit.start, edit.end))))
        return kept if kept.edits == fix.edits or self._stays_python(kept) else None

    def offset(self, position: types.Position) -> int:
        return self.start + self.source.offset_in(position)

    def positions(self, span: Span) -> Positions:
        length = len(self.source.text)
        start, end = (min(max(at - self.start, 0), length) for at in (span.start, span.end))
        return self.source.positions_in(Span(start, end))

    def place(self, span: Span) -> tuple[str, Positions]:
        cell = self._notebook.cell_at(span.start) or self
        return cell.uri, cell.positions(span)

    def _moved(self, edit: TextEdit) -> TextEdit | None:
        """An edit of the notebook's text that can be one of this cell: behind its last line, or of imports."""
        if edit.end == self.end + 1 and edit.start >= self.start and edit.content.endswith("\n"):
            # In the cell, the last line has no end.
            if edit.start > self.end:
                return TextEdit(self.end, self.end, f"\n{edit.content[:-1]}")
            return TextEdit(edit.start, self.end, edit.content[:-1])
        # New imports go to the first statement here, wherever the notebook as one text would have them.
        first = _FIRST_CODE.search(self.text[self.start : self.end])
        if edit.start != edit.end or first is None or _IMPORTS.fullmatch(edit.content) is None:
            return None
        at = self.start + first.start()
        return TextEdit(at, at, f"{edit.content.strip()}\n")

    def _stays_python(self, fix: Fix) -> bool:
        """Whether the cell, with its magics masked, still parses once `fix` is applied."""
        behind = len(self.text) - self.end
        after = fix.apply(self.text)
        try:
            ast.parse(after[self.start : len(after) - behind])
        except (SyntaxError, ValueError):
            return False
        return True

    def _hides(self, edit: TextEdit) -> bool:
        """Whether an edit takes away a magic: what it does is not known."""
        source = self.source.text[edit.start - self.start : edit.end - self.start]
        return source != self.text[edit.start : edit.end]


class Notebook:
    """An open notebook. `whole` is its Python as one document, `revision` counts its changes."""

    def __init__(self, uri: str, encoding: Encoding) -> None:
        self.uri = uri
        self.revision = 0
        self.cells: dict[str, Cell] = {}
        """The Python cells by their addresses, in whatever order."""
        self.order: list[str] = []
        """The addresses of all cells, in the order of the notebook."""
        self.whole = Document(types.TextDocumentItem(uri, "python", 0, ""), encoding)

    def add(self, items: Iterable[types.TextDocumentItem]) -> list[Cell]:
        """Take in the texts of cells; those that are Python come back."""
        added = [Cell(item, self.whole.encoding, self) for item in items if item.language_id == "python"]
        self.cells.update((cell.uri, cell) for cell in added)
        return added

    def renew(self) -> None:
        """Put the notebook's text together anew, after cells or their texts have changed."""
        self.revision += 1
        parts: list[str] = []
        start = 0
        shown = [self.cells[uri] for uri in self.order if uri in self.cells]
        for cell in self.cells.values():
            cell.is_shown = False
        for cell in shown:
            cell.is_shown = True
            text = masked(cell.source.text)
            cell.start = start
            end = "" if text.endswith(("\n", "\r")) else "\n"
            parts += [text, end, _SEPARATOR]
            start += len(text) + len(end) + len(_SEPARATOR)
        self.whole.take("".join(parts))
        for cell in shown:
            cell.text, cell.lines = self.whole.text, self.whole.lines

    def cell_at(self, offset: int) -> Cell | None:
        return next((cell for cell in self.cells.values() if cell.is_shown and cell.start <= offset <= cell.end), None)

    def with_place(self, reason: str | None) -> str | None:
        """A reason with its line in the cell in the place of that in the notebook's text."""
        row = _ROW.search(reason) if reason is not None else None
        if reason is None or row is None:
            return reason
        at = self.whole.lines.starts[int(row[1]) - 1]
        cell = self.cell_at(at)
        if cell is None:
            return reason[: row.start()]
        python = [uri for uri in self.order if uri in self.cells]
        line = cell.source.lines.line_of(at - cell.start) + 1
        return f"{reason[: row.start()]} (cell {python.index(cell.uri) + 1}, line {line})"


class Notebooks:
    """The open notebooks. Their cells are documents of the server as any other."""

    def __init__(self, documents: dict[str, Document]) -> None:
        self._documents = documents
        self._open: dict[str, Notebook] = {}

    def open(self, params: types.DidOpenNotebookDocumentParams, encoding: Encoding) -> Notebook:
        notebook = self._open[params.notebook_document.uri] = Notebook(params.notebook_document.uri, encoding)
        notebook.order = [cell.document for cell in params.notebook_document.cells]
        self._add(notebook, params.cell_text_documents)
        notebook.renew()
        return notebook

    def open_alone(self, item: types.TextDocumentItem, encoding: Encoding) -> None:
        """A cell of a client that does not tell of notebooks: by itself, as far as anyone knows."""
        notebook = Notebook(item.uri, encoding)
        notebook.order = [item.uri]
        self._add(notebook, [item])
        notebook.renew()

    def change(self, params: types.DidChangeNotebookDocumentParams) -> tuple[Notebook, list[str]] | None:
        """The notebook, changed, and the addresses of the cells that it has lost; None where it is not open."""
        notebook = self._open.get(params.notebook_document.uri)
        if notebook is None:
            logger.warning("Passed over a change of %s, which is not open", params.notebook_document.uri)
            return None
        closed: list[str] = []
        cells = params.change.cells
        if cells is not None and cells.structure is not None:
            array = cells.structure.array
            put = [cell.document for cell in array.cells or ()]
            notebook.order[array.start : array.start + array.delete_count] = put
            self._add(notebook, cells.structure.did_open or ())
            closed = [document.uri for document in cells.structure.did_close or ()]
        for content in (cells.text_content if cells is not None else None) or ():
            if (cell := notebook.cells.get(content.document.uri)) is not None:
                cell.change(content.document.version, content.changes)
        for uri in closed:
            notebook.cells.pop(uri, None)
        if cells is not None:
            notebook.renew()
        return notebook, closed

    def close(self, uri: str) -> list[str]:
        """The addresses of the cells that go with a notebook."""
        cells = self.cells_of(uri)
        self._open.pop(uri, None)
        return cells

    def cells_of(self, uri: str) -> list[str]:
        """The addresses of the Python cells of an open notebook."""
        notebook = self._open.get(uri)
        return list(notebook.cells) if notebook is not None else []

    def _add(self, notebook: Notebook, items: Iterable[types.TextDocumentItem]) -> None:
        for cell in notebook.add(items):
            self._documents[cell.uri] = cell
