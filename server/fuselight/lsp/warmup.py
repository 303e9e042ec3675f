"""What the first code action will need, made ready while nobody waits."""

from __future__ import annotations

import logging
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.lsp import startup
from fuselight.lsp.transport import Json
from fuselight.lsp.work import Steps

if TYPE_CHECKING:
    from cattrs import Converter

    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)


def schedule(server: FuselightServer) -> None:
    """Warm up, once: the protocol's part between messages, the rewriting part on a thread of its own.

    Called when the first diagnostics are there: they come first, and a session without any needs no warm-up.
    """
    if server.is_warm:
        return
    server.is_warm = True
    converter = server.protocol._converter  # pyright: ignore[reportPrivateUsage]
    server.when_idle("warm-up", partial(_convert, converter))
    server.when_idle("rewriting", threading.Thread(target=_load_rewriting, daemon=True).start)
    # The thread may not hold the interpreter for as long as a user would notice at each key.
    sys.setswitchinterval(0.0005)


def load_catalogue() -> Steps:
    """Load what the first analysis needs, while the client makes up its mind which file to open."""
    from fuselight.analysis import preparing

    return preparing()


def _load_rewriting() -> None:
    try:
        import fuselight.rewrite  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except Exception:
        logger.exception("The warm-up failed")


def _convert(converter: Converter) -> Steps:
    """Have the converter write its code for these, which it does when it first meets each class."""
    for request, response in _messages():
        yield
        request_type = types.METHOD_TO_TYPES[str(request["method"])][0]
        converter.structure(request, request_type)
        converter.unstructure(response)
    yield from startup.keeping()


_PLACE: Json = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
_DOCUMENT: Json = {"uri": "file:///model.py", "version": 0}


def _messages() -> list[tuple[dict[str, Json], object]]:
    place = types.Range(types.Position(0, 0), types.Position(0, 0))
    diagnostic = types.Diagnostic(
        place,
        "",
        types.DiagnosticSeverity.Information,
        "FUS000",
        related_information=[types.DiagnosticRelatedInformation(types.Location("", place), "")],
    )
    edit = types.WorkspaceEdit(
        changes={"": [types.TextEdit(place, "")]},
        document_changes=[
            types.TextDocumentEdit(types.OptionalVersionedTextDocumentIdentifier("", 0), [types.TextEdit(place, "")])
        ],
    )
    action = types.CodeAction(
        "", kind=types.CodeActionKind.QuickFix, diagnostics=[diagnostic], edit=edit, data={}, is_preferred=True
    )
    return [
        (
            _request(
                types.TEXT_DOCUMENT_DID_CHANGE,
                textDocument=_DOCUMENT,
                contentChanges=[{"range": _PLACE, "text": ""}, {"text": ""}],
            ),
            None,
        ),
        (
            _request(types.TEXT_DOCUMENT_DIAGNOSTIC, textDocument=_DOCUMENT),
            types.DocumentDiagnosticResponse(0, types.RelatedFullDocumentDiagnosticReport([diagnostic])),
        ),
        (
            _request(
                types.TEXT_DOCUMENT_CODE_ACTION,
                textDocument=_DOCUMENT,
                range=_PLACE,
                context={
                    "diagnostics": [
                        {"range": _PLACE, "message": "", "severity": 3, "code": "", "source": "", "data": {}}
                    ],
                    "only": ["quickfix"],
                    "triggerKind": 1,
                },
            ),
            types.CodeActionResponse(0, [action]),
        ),
        (
            _request(
                types.CODE_ACTION_RESOLVE,
                title="",
                kind="quickfix",
                diagnostics=[{"range": _PLACE, "message": ""}],
                data={},
            ),
            types.CodeActionResolveResponse(0, action),
        ),
        (
            _request(types.TEXT_DOCUMENT_HOVER, textDocument=_DOCUMENT, position={"line": 0, "character": 0}),
            types.HoverResponse(0, types.Hover(types.MarkupContent(types.MarkupKind.Markdown, ""), place)),
        ),
    ]


def _request(method: str, **params: Json) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
