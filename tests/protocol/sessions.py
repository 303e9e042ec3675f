"""A client for the real server process, in the words of the tests.

`FUSELIGHT_SERVER` names another command to test, that of an installed wheel for example.
"""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.protocol import default_converter
from pytest_lsp import LanguageClient
from pytest_lsp.client import DEFAULT_CLIENT_FEATURES, register_lsp_features

SERVER = shlex.split(os.environ.get("FUSELIGHT_SERVER", "")) or [sys.executable, "-m", "fuselight", "server"]
STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in_server.py"))]
URI = "file:///project/model.py"
UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


class RecordingClient(LanguageClient):
    """Keeps every push, with its version."""

    def __init__(self) -> None:
        super().__init__(converter_factory=default_converter)
        self.published: list[types.PublishDiagnosticsParams] = []
        self.registered: list[types.Registration] = []
        self.partial_results: dict[types.ProgressToken, list[Any]] = {}
        self.edits: list[types.ApplyWorkspaceEditParams] = []
        self.refuses_edits: str | None = None
        features = {
            types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS: _publish,
            types.CLIENT_REGISTER_CAPABILITY: _register,
            types.PROGRESS: _progress,
            types.WORKSPACE_APPLY_EDIT: _apply_edit,
        }
        register_lsp_features(self, {**DEFAULT_CLIENT_FEATURES, **features})


def _publish(client: RecordingClient, params: types.PublishDiagnosticsParams) -> None:
    client.published.append(params)


def _progress(client: RecordingClient, params: types.ProgressParams) -> None:
    """pytest-lsp takes every progress for that of work."""
    if isinstance(params.value, dict) and "kind" not in params.value:
        client.partial_results.setdefault(params.token, []).append(params.value)
    else:
        DEFAULT_CLIENT_FEATURES[types.PROGRESS](client, params)


def _register(client: RecordingClient, params: types.RegistrationParams) -> None:
    client.registered.extend(params.registrations)


def _apply_edit(client: RecordingClient, params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
    client.edits.append(params)
    return types.ApplyWorkspaceEditResult(client.refuses_edits is None, client.refuses_edits)


class Editor:
    """One editor with one server."""

    def __init__(self, client: RecordingClient) -> None:
        self.client = client
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.encoding = "utf-16"
        self.server = types.ServerCapabilities()

    async def start(
        self,
        *,
        options: object = None,
        encodings: list[str] | None = None,
        roots: list[Path] | None = None,
        trace: types.TraceValue | None = None,
        **can: bool,
    ) -> None:
        """Initialize; `can` names what the client can do, nothing else is stated."""
        result = await self.client.initialize_session(
            types.InitializeParams(
                capabilities=capabilities(encodings, **can),
                initialization_options=options,
                workspace_folders=[types.WorkspaceFolder(root.as_uri(), root.name) for root in roots or ()] or None,
                trace=trace,
            )
        )
        self.server = result.capabilities
        self.encoding = str(getattr(self.server.position_encoding, "value", self.server.position_encoding))

    def open(self, text: str, *, uri: str = URI, language: str = "python", version: int = 1) -> None:
        self.texts[uri], self.versions[uri] = text, version
        item = types.TextDocumentItem(uri, language, version, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def replace(self, old: str, new: str, *, uri: str = URI) -> None:
        """Type `new` over the first `old`, as one incremental change."""
        text = self.texts[uri]
        start = text.index(old)
        change = types.TextDocumentContentChangePartial(self.range(start, start + len(old), uri=uri), new)
        self._change(uri, change, text[:start] + new + text[start + len(old) :])

    def set(self, text: str, *, uri: str = URI) -> None:
        """Send the whole text anew."""
        self._change(uri, types.TextDocumentContentChangeWholeDocument(text), text)

    def _change(self, uri: str, change: types.TextDocumentContentChangeEvent, text: str) -> None:
        self.texts[uri] = text
        self.versions[uri] += 1
        identifier = types.VersionedTextDocumentIdentifier(version=self.versions[uri], uri=uri)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [change]))

    async def pushed(self, version: int | None, *, uri: str = URI) -> list[types.Diagnostic]:
        """The diagnostics pushed for a version."""
        for _ in range(2000):
            for params in self.client.published:
                if params.uri == uri and params.version == version:
                    return list(params.diagnostics)
            await asyncio.sleep(0.01)
        raise TimeoutError(f"no push of version {version}: {self.client.published}")

    async def pull(self, *, uri: str = URI) -> list[types.Diagnostic]:
        params = types.DocumentDiagnosticParams(types.TextDocumentIdentifier(uri))
        report = await self.client.text_document_diagnostic_async(params)
        assert isinstance(report, types.RelatedFullDocumentDiagnosticReport)
        return list(report.items)

    async def report(self, previous: str | None = None, *, uri: str = URI) -> types.DocumentDiagnosticReport:
        """The answer to a pull by a client that has the result `previous`."""
        params = types.DocumentDiagnosticParams(types.TextDocumentIdentifier(uri), previous_result_id=previous)
        return await self.client.text_document_diagnostic_async(params)

    async def actions(
        self,
        at: str,
        *,
        only: list[str] | None = None,
        diagnostics: list[types.Diagnostic] | None = None,
        trigger: types.CodeActionTriggerKind | None = None,
        uri: str = URI,
    ) -> list[types.CodeAction]:
        """The actions with the cursor in front of the first `at`."""
        start = self.texts[uri].index(at)
        found = await self.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(uri),
                self.range(start, start, uri=uri),
                types.CodeActionContext(diagnostics or [], only, trigger),
            )
        )
        return [action for action in found or () if isinstance(action, types.CodeAction)]

    async def fixes(self, at: str, **how: Any) -> list[types.CodeAction]:
        """Likewise, without what goes with a fix: all of its kind in the file, the comment that silences it."""
        besides = re.compile(r"Apply all \d|Ignore FUS\d+ on this line")
        return [action for action in await self.actions(at, **how) if not besides.match(action.title)]

    async def resolve(self, action: types.CodeAction) -> types.CodeAction:
        return await self.client.code_action_resolve_async(action)

    def applied(self, edit: types.WorkspaceEdit | None, *, uri: str = URI) -> str:
        """The text with `edit` applied, which must be for its version."""
        assert edit is not None
        if edit.document_changes is None:
            edits = (edit.changes or {})[uri]
        else:
            (change,) = edit.document_changes
            assert isinstance(change, types.TextDocumentEdit)
            assert (change.text_document.uri, change.text_document.version) == (uri, self.versions[uri])
            edits = change.edits
        text = self.texts[uri]
        for each in sorted(edits, key=lambda edit: self.offset(edit.range.start, uri=uri), reverse=True):
            start, end = self.offset(each.range.start, uri=uri), self.offset(each.range.end, uri=uri)
            text = text[:start] + each.new_text + text[end:]
        return text

    def range(self, start: int, end: int, *, uri: str = URI) -> types.Range:
        return types.Range(self.position(start, uri=uri), self.position(end, uri=uri))

    def position(self, offset: int, *, uri: str = URI) -> types.Position:
        codec, width = UNITS[self.encoding]
        before = lines(self.texts[uri][:offset])
        return types.Position(len(before) - 1, len(before[-1].encode(codec)) // width)

    def offset(self, position: types.Position, *, uri: str = URI) -> int:
        codec, width = UNITS[self.encoding]
        text = lines(self.texts[uri])
        body = text[position.line].encode(codec)[: position.character * width].decode(codec)
        return sum(map(len, text[: position.line])) + len(body)

    def shown(self, found: types.Range, *, uri: str = URI) -> str:
        """The text that a range covers."""
        return self.texts[uri][self.offset(found.start, uri=uri) : self.offset(found.end, uri=uri)]


def lines(text: str) -> list[str]:
    """The lines of a text as the protocol has them, line ends kept; the last may be empty."""
    found, start = [], 0
    for at, character in enumerate(text):
        if character == "\n" or (character == "\r" and text[at + 1 : at + 2] != "\n"):
            found.append(text[start : at + 1])
            start = at + 1
    return [*found, text[start:]]


def capabilities(
    encodings: list[str] | None,
    *,
    pull: bool = False,
    resolve: bool = False,
    versioned: bool = False,
    disabled: bool = False,
    related: bool = False,
    configuration: bool = False,
    refresh: bool = False,
    annotations: bool = False,
    apply: bool = False,
    progress: bool = False,
    notebooks: bool = False,
    folders: bool = False,
    watchers: bool = False,
) -> types.ClientCapabilities:
    resolving = types.ClientCodeActionResolveOptions(["edit"]) if resolve else None
    return types.ClientCapabilities(
        general=types.GeneralClientCapabilities(position_encodings=encodings) if encodings else None,
        text_document=types.TextDocumentClientCapabilities(
            diagnostic=types.DiagnosticClientCapabilities(related_information=related) if pull else None,
            publish_diagnostics=types.PublishDiagnosticsClientCapabilities(related_information=related),
            code_action=types.CodeActionClientCapabilities(resolve_support=resolving, disabled_support=disabled),
        ),
        workspace=types.WorkspaceClientCapabilities(
            apply_edit=apply,
            workspace_edit=types.WorkspaceEditClientCapabilities(
                document_changes=versioned,
                change_annotation_support=types.ChangeAnnotationsSupportOptions() if annotations else None,
            ),
            configuration=configuration,
            diagnostics=types.DiagnosticWorkspaceClientCapabilities(refresh_support=refresh),
            workspace_folders=folders,
            did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(watchers),
        ),
        notebook_document=types.NotebookDocumentClientCapabilities(types.NotebookDocumentSyncClientCapabilities())
        if notebooks
        else None,
        window=types.WindowClientCapabilities(work_done_progress=progress),
    )
