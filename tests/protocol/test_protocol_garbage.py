"""Garbage is not looked for while a file is read for the first time, and is again afterwards."""

from __future__ import annotations

import gc

import pytest
from lsprotocol import types

from fuselight.lsp import garbage
from fuselight.lsp.documents import Document
from fuselight.source.lines import Encoding


def document(text: str) -> Document:
    return Document(types.TextDocumentItem("file:///model.py", "python", 1, text), Encoding.UTF8)


def test_a_reader_that_fails_leaves_it_on() -> None:
    with pytest.raises(ZeroDivisionError), garbage.put_off():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_a_process_without_a_collector_keeps_none() -> None:
    gc.disable()
    try:
        with garbage.put_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_became_garbage_behind_a_reader_is_found() -> None:
    with garbage.put_off():
        ring: list[object] = []
        ring.append(ring)
        ring.append(marker := Marker())
    del ring, marker
    assert Marker.gone == 0
    garbage.look_everywhere()
    assert Marker.gone == 1


class Marker:
    gone = 0

    def __del__(self) -> None:
        Marker.gone += 1


def test_between_the_slices_of_a_first_reading_it_is_on() -> None:
    frozen = gc.get_freeze_count()
    steps = document("import torch\n" * 50).work(88)
    for _ in range(3):
        next(steps)
        assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


def test_of_a_change_nothing_is_kept_from_it() -> None:
    opened = document("import torch\n\n\ndef f(x):\n    return x\n")
    for _ in opened.work(88):
        pass
    frozen = gc.get_freeze_count()
    opened.change(2, [types.TextDocumentContentChangeWholeDocument(opened.text + "    # more\n")])
    for _ in opened.work(88):
        pass
    assert gc.get_freeze_count() <= frozen
