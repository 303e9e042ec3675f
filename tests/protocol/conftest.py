"""A client for the real server process, in the words of the tests.

`FUSELIGHT_SERVER` names another command to test, that of an installed wheel for example.
"""

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest
import pytest_lsp
from lsprotocol import types
from pygls.protocol import default_converter
from pytest_lsp import ClientServerConfig, LanguageClient
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
        features = {
            types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS: _publish,
            types.CLIENT_REGISTER_CAPABILITY: _register,
        }
        register_lsp_features(self, {**DEFAULT_CLIENT_FEATURES, **features})


def _publish(client: RecordingClient, params: types.PublishDiagnosticsParams) -> None:
    client.published.append(params)


def _register(client: RecordingClient, params: types.RegistrationParams) -> None:
    client.registered.extend(params.registrations)


class Editor:
    """One editor with one server."""

    def __init__(self, client: RecordingClient) -> None:
        self.client = client
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.encoding = "utf-16"
        self.server = types.ServerCapabilities()

    async def start(self, *, options: object = None, encodings: list[str] | None = None, **can: bool) -> None:
        """Initialize; `can` names what the client can do, nothing else is stated."""
        result = await self.client.initialize_session(
            types.InitializeParams(capabilities=capabilities(encodings, **can), initialization_options=options)
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

    async def actions(
        self,
        at: str,
        *,
        only: list[str] | None = None,
        diagnostics: list[types.Diagnostic] | None = None,
        uri: str = URI,
    ) -> list[types.CodeAction]:
        """The actions with the cursor in front of the first `at`."""
        start = self.texts[uri].index(at)
        found = await self.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(uri),
                self.range(start, start, uri=uri),
                types.CodeActionContext(diagnostics or [], only),
            )
        )
        return [action for action in found or () if isinstance(action, types.CodeAction)]

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
            workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=versioned),
            configuration=configuration,
            diagnostics=types.DiagnosticWorkspaceClientCapabilities(refresh_support=refresh),
        ),
    )


@pytest_lsp.fixture(config=ClientServerConfig(server_command=SERVER, client_factory=RecordingClient))
async def client(lsp_client: RecordingClient):
    yield
    await lsp_client.shutdown_session()


@pytest.fixture
def editor(client: RecordingClient) -> Editor:
    """An editor with the real server."""
    return Editor(client)


@pytest_lsp.fixture(config=ClientServerConfig(server_command=STAND_IN, client_factory=RecordingClient))
async def stand_in_client(lsp_client: RecordingClient):
    yield
    await lsp_client.shutdown_session()


@pytest.fixture
def stand_in(stand_in_client: RecordingClient) -> Editor:
    """An editor whose server has an engine of the tests' own: see `stand_in_server.py`."""
    return Editor(stand_in_client)
