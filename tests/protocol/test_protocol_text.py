"""The server's copy of a text stays the client's, whatever the edits."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lsprotocol import types

from fuselight.lsp.documents import Document
from fuselight.source.lines import Encoding, LineIndex

# Every line end that some library knows and the protocol does not, characters of one to four bytes, and the real ones.
TEXT = st.text(alphabet="ab \n\r\f\v\x85\u2028é漢😀", max_size=40)
POSITION = st.tuples(st.integers(0, 8), st.integers(0, 12))
EDIT = st.tuples(POSITION, POSITION, TEXT) | TEXT


@given(TEXT, st.lists(EDIT, max_size=6), st.sampled_from(Encoding))
@example("a\r", [((0, 5), (0, 5), "\n")], Encoding.UTF16)
@example("a\r\nb", [((0, 1), (1, 0), "")], Encoding.UTF16)
def test_edits_equal_those_of_a_plain_model(text, edits, encoding):
    document = Document(types.TextDocumentItem("file:///a.py", "python", 0, text), encoding)
    for version, edit in enumerate(edits, 1):
        document.change(version, [_event(edit)])
        text = edit if isinstance(edit, str) else _edited(text, edit, encoding)
        assert document.text == text
        assert document.lines.starts == LineIndex(text).starts
    assert document.version == len(edits)


@given(TEXT, st.sampled_from(Encoding))
def test_ranges_lead_back_to_their_offsets(text, encoding):
    document = Document(types.TextDocumentItem("file:///a.py", "python", 0, text), encoding)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] != "\r\n":
            start = document.lines.position(offset, encoding)
            assert document.offset(types.Position(*start)) == offset


@pytest.mark.parametrize("halves", [("\ud83d", "\ude00")])
def test_halves_of_a_surrogate_pair_sent_apart_become_one_character(halves):
    document = Document(types.TextDocumentItem("file:///a.py", "python", 0, "x"), Encoding.UTF16)
    for at, half in enumerate(halves, 1):
        place = types.Range(types.Position(0, at), types.Position(0, at))
        document.change(at, [types.TextDocumentContentChangePartial(place, half)])
    assert document.text == "x😀"


def _event(edit):
    if isinstance(edit, str):
        return types.TextDocumentContentChangeWholeDocument(edit)
    start, end, content = edit
    return types.TextDocumentContentChangePartial(types.Range(types.Position(*start), types.Position(*end)), content)


def _edited(text, edit, encoding):
    """The slow and plain way: one unit of the encoding after the other."""
    start, end, content = edit
    first, last = sorted((_offset(text, *start, encoding), _offset(text, *end, encoding)))
    return text[:first] + content + text[last:]


def _offset(text, line, column, encoding):
    rows = text.replace("\r\n", "\n\0").replace("\r", "\n").split("\n")
    if line >= len(rows):
        return len(text)
    # The second half of each "\r\n" is a placeholder at the start of the next row.
    start = sum(len(row) + 1 for row in rows[:line])
    row = rows[line]
    if row.startswith("\0"):
        start, row = start + 1, row[1:]
    codec, width = {
        Encoding.UTF8: ("utf-8", 1),
        Encoding.UTF16: ("utf-16-le", 2),
        Encoding.UTF32: ("utf-32-le", 4),
    }[encoding]
    ends = list(itertools.accumulate(len(character.encode(codec)) // width for character in row))
    return start + sum(end <= column for end in ends)
