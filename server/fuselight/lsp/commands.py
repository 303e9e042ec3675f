"""`workspace/executeCommand`: fix a file or the workspace, show the graph of a class."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast

from lsprotocol import types
from pygls.exceptions import JsonRpcContentModified, JsonRpcException, JsonRpcInvalidParams

from fuselight.fusions.model import Safety
from fuselight.lsp.documents import Document
from fuselight.lsp.fix_workspace import COMMAND, apply, edit_of, fix_workspace, fixing_document, summary
from fuselight.lsp.notebooks import Cell
from fuselight.lsp.transport import table
from fuselight.lsp.uris import path_of
from fuselight.project.reading import ReadingProblem, read_source

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

Answer = Generator[None, None, object]
"""Work in slices; what it returns is the answer, or the promise of one."""


def execute(ls: FuselightServer, params: types.ExecuteCommandParams) -> Answer:
    """`workspace/executeCommand`.

    Raises:
        JsonRpcException: the command is unknown, its arguments cannot be used, or it cannot be carried out.
    """
    command = COMMANDS.get(params.command)
    if command is None:
        raise JsonRpcInvalidParams(f"unknown command {params.command}; known are {', '.join(COMMANDS)}")
    given = cast("list[object]", list(params.arguments or ()))
    argument: object = given[0] if given else {}
    if isinstance(argument, str):
        argument = {"uri": argument}
    if len(given) > 1 or not isinstance(argument, dict):
        raise JsonRpcInvalidParams(f"{params.command} takes one argument, an object")
    return (yield from command(ls, table(cast("object", argument)), params.work_done_token))


def _fix_workspace(ls: FuselightServer, argument: dict[str, object], token: types.ProgressToken | None) -> Answer:
    """`{allow?}`"""
    allow = _allowed(argument)
    _check_that_edits_are_applied(ls)
    yield from ()
    return fix_workspace(ls, allow, token)


def _fix_file(ls: FuselightServer, argument: dict[str, object], _: types.ProgressToken | None) -> Answer:
    """`{uri, version?, allow?}`: every fusion of the classes allowed, in an open document."""
    allow = _allowed(argument)
    _check_that_edits_are_applied(ls)
    document = ls.document(_uri(argument))
    if document is None:
        raise JsonRpcInvalidParams(f"{_uri(argument)} is no open Python document")
    if isinstance(document, Cell):
        raise _failed("the cells of a notebook are fixed one finding at a time")
    if argument.get("version") not in (None, document.version):
        raise JsonRpcContentModified("the document has changed since")
    fixed = yield from fixing_document(ls, document, allow)
    if fixed is None:
        return {"applied": False, "fusions": 0, "files": 0}
    if ls.document(document.uri) is not document or document.text is not fixed.text:
        raise JsonRpcContentModified("the document has changed meanwhile")
    answer: Future[object] = Future()
    fusions, files = summary([fixed])

    def applied(failure: str | None) -> None:
        if answer.done():
            return
        if failure is None:
            answer.set_result({"applied": True, "fusions": fusions, "files": files})
        else:
            answer.set_exception(_failed(f"the edit was not applied: {failure}"))

    said = f"fuselight: {fusions} {'fusion' if fusions == 1 else 'fusions'}"
    apply(ls, edit_of(ls, [fixed]), said, applied)
    return answer


def _show_graph(ls: FuselightServer, argument: dict[str, object], _: types.ProgressToken | None) -> Answer:
    """`{uri, position, format?}`: the picture's text, of the class at a place of a document or of a closed file."""
    from fuselight.drawing.diagram import NothingToDraw, diagram

    style = argument.get("format", "mermaid")
    if style not in ("mermaid", "svg"):
        raise JsonRpcInvalidParams(f"format is mermaid or svg, not {style!r}")
    position = table(argument.get("position"))
    line, character = position.get("line"), position.get("character")
    if not isinstance(line, int) or not isinstance(character, int):
        raise JsonRpcInvalidParams("position is missing, {line, character}")
    uri = _uri(argument)
    document = ls.document(uri) or _closed(ls, uri)
    line_length = ls.configuration.settings(document).line_length
    yield from document.work(line_length)
    analysis = ls.configuration.analysis(document)
    if analysis is None:
        raise _failed(f"{uri} could not be analysed")
    try:
        findings = ls.configuration.findings(document)
        picture = diagram(analysis, document.offset(types.Position(line, character)), findings)
    except NothingToDraw as nothing:
        raise _failed(str(nothing)) from None
    if style == "svg":
        from fuselight.drawing.svg import svg

        return svg(picture)
    from fuselight.drawing.mermaid import mermaid

    return mermaid(picture)


COMMANDS: dict[str, Callable[[FuselightServer, dict[str, object], types.ProgressToken | None], Answer]] = {
    COMMAND: _fix_workspace,
    "fuselight.fixFile": _fix_file,
    "fuselight.showGraph": _show_graph,
}


def _uri(argument: dict[str, object]) -> str:
    uri = argument.get("uri") or table(argument.get("textDocument")).get("uri")
    if not isinstance(uri, str):
        raise JsonRpcInvalidParams("uri is missing")
    return uri


def _allowed(argument: dict[str, object]) -> frozenset[Safety]:
    """The safety classes of `allow`, a list of names or "all", as on the command line; `exact` is always one."""
    given = argument.get("allow")
    if given is None:
        return frozenset({Safety.EXACT})
    names = {one.value: one for one in Safety}
    wanted = [given] if isinstance(given, str) else given
    if wanted == ["all"]:
        return frozenset(Safety)
    if not isinstance(wanted, list) or not all(name in names for name in cast("list[object]", wanted)):
        raise JsonRpcInvalidParams(f"allow is a list of {', '.join(names)}, or all; not {given!r}")
    return frozenset({Safety.EXACT, *(names[name] for name in cast("list[str]", wanted))})


def _check_that_edits_are_applied(ls: FuselightServer) -> None:
    if not ls.client.applies_edits:
        raise _failed("the client applies no edits of the server's (workspace.applyEdit)")


def _closed(ls: FuselightServer, uri: str) -> Document:
    path = path_of(uri)
    source = read_source(path) if path is not None else ReadingProblem("not open")
    if isinstance(source, ReadingProblem):
        raise JsonRpcInvalidParams(f"{uri}: {source.message}")
    return Document(types.TextDocumentItem(uri, "python", 0, source.text), ls.client.encoding)


def _failed(reason: str) -> JsonRpcException:
    return JsonRpcException(reason, types.LSPErrorCodes.RequestFailed.value)
