"""Edits of a text as the protocol has them: few, minimal, and bound to the version they were made for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from lsprotocol import types

from fuselight.fusions.model import Fix, Safety, TextEdit
from fuselight.lsp.annotations import annotation
from fuselight.lsp.client import Client
from fuselight.lsp.documents import Document
from fuselight.source.lines import LineIndex, Span


def workspace_edit(
    edits: Iterable[TextEdit], document: Document, client: Client, safety: Safety | None = None
) -> types.WorkspaceEdit:
    """The edits of one document, with its version where the client can check it.

    `safety` is what an annotation tells of, where the client shows such.
    """
    edits = list(edits)
    if not client.negotiates_encoding and document.home == document.uri and _depends_on_encoding(edits, document):
        edits = list(differences(document.text, Fix("", tuple(edits)).apply(document.text)))
    changes = [types.TextEdit(document.range(Span(edit.start, edit.end)), edit.content) for edit in edits]
    if not client.versioned_edits:
        return types.WorkspaceEdit(changes={document.uri: changes})
    identifier = types.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
    if safety is None or not client.annotates_edits:
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(identifier, changes)])
    annotated = [types.AnnotatedTextEdit(safety.value, change.range, change.new_text) for change in changes]
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(identifier, annotated)],
        change_annotations={safety.value: annotation(safety, edits)},
    )


def _depends_on_encoding(edits: Iterable[TextEdit], document: Document) -> bool:
    """Whether a column of an edit is another number in another encoding.

    Clients of the time before it was negotiated may count otherwise than the protocol then said, as ALE 3.3 counts
    bytes, and put such an edit in the wrong place; whole lines are the same to all.
    """
    return any(
        not document.text[document.lines.starts[document.lines.line_of(place)] : place].isascii()
        for edit in edits
        for place in (edit.start, edit.end)
    )


def differences(before: str, after: str) -> Iterator[TextEdit]:
    """The edits that turn one text into the other, whole lines at a time.

    By lines and not by characters: a character diff of two statements that share letters is slow, long and, where
    a client applies it in another order, wrong.
    """
    index = LineIndex(before)
    old = [index.line_text(line) for line in range(len(index))]
    new = _lines(after)
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    same = 0
    while same < min(len(old), len(new)) - first and old[-1 - same] == new[-1 - same]:
        same += 1
    middle = old[first : len(old) - same], new[first : len(new) - same]
    starts = [*index.starts, len(before)]
    for tag, old_from, old_to, new_from, new_to in SequenceMatcher(None, *middle).get_opcodes():
        if tag != "equal":
            yield TextEdit(starts[first + old_from], starts[first + old_to], "".join(middle[1][new_from:new_to]))


def _lines(text: str) -> list[str]:
    index = LineIndex(text)
    return [index.line_text(line) for line in range(len(index))]
