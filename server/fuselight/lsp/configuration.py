"""Settings: the nearest `pyproject.toml`, on top of it what the editor says, and comments that silence findings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.fusions.model import Finding, Fix, Safety
from fuselight.lsp.documents import Document
from fuselight.lsp.notebooks import ELSEWHERE, Cell
from fuselight.lsp.transport import table
from fuselight.lsp.uris import path_of
from fuselight.project.settings import Loaded, Settings, SettingsCache, SettingsError
from fuselight.project.suppression import Suppressions, suppressions, suppressions_in

if TYPE_CHECKING:
    from fuselight.analysis import Analysis
    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)

SECTION = "fuselight"

_FILES = ("pyproject.toml", "ruff.toml", ".ruff.toml")
_NAMES = frozenset(field.name.replace("_", "-") for field in fields(Settings)) - {"root"}


class Configuration:
    """Which findings of a document count, and how long its lines may be."""

    def __init__(self) -> None:
        self.projects = SettingsCache()
        self.folders: dict[str, Path] = {}
        """The workspace's folders, by their addresses."""
        self._editor: dict[str, object] = {}
        self._scoped: dict[str, dict[str, object]] = {}
        self._of_document: dict[str, Settings] = {}
        self._resting: dict[str, tuple[Path, Loaded, Settings]] = {}
        """Of documents with a path: what their settings rest on, for as long as the editor says the same."""
        self._problems: list[str] = []
        self._told: set[str] = set()

    def initialize(self, params: types.InitializeParams) -> None:
        """Take the editor's settings and the workspace's folders from the first request."""
        self.take(params.initialization_options)
        self.add_folders([folder.uri for folder in params.workspace_folders or ()] or [params.root_uri or ""])

    def add_folders(self, uris: Iterable[str]) -> None:
        for uri in uris:
            if (path := path_of(uri)) is not None:
                self.folders[uri] = path
        self._begin_again()

    def remove_folders(self, uris: Iterable[str]) -> None:
        for uri in uris:
            self.folders.pop(uri, None)
            self._scoped.pop(uri, None)
        self._begin_again()

    def take(self, given: object, folder: str | None = None) -> None:
        """Take the editor's settings, bare or below the section's name. What is not fuselight's is the editor's own.

        Those of a folder take the place of the editor's for what lies in it.
        """
        settings = table(given)
        for key in (SECTION, "settings"):
            settings = table(settings.get(key)) or settings
        settings = {name: value for name, value in settings.items() if name in _NAMES}
        if folder is None:
            self._editor = settings
        else:
            self._scoped[folder] = settings
        self._told.clear()
        self._begin_again()

    def look_again(self) -> None:
        """Look at the files next time: what they say may have changed. Once for each message is enough."""
        self._of_document.clear()

    def _begin_again(self) -> None:
        """As `look_again`, where the editor may say other things as well."""
        self.look_again()
        self._resting.clear()

    def settings(self, document: Document) -> Settings:
        """The settings for a document; of broken ones those that can be used."""
        known = self._of_document.get(document.uri)
        if known is None:
            known = self._of_document[document.uri] = self._settings_at(document.home)
        return known

    def _settings_at(self, uri: str) -> Settings:
        resting = self._resting.get(uri)
        if resting is not None and self.projects.of(resting[0]) is resting[1]:
            return resting[2]
        path = path_of(uri)
        settings = self.settings_of(path)
        if path is not None:
            self._resting[uri] = path, self.projects.of(path), settings
        return settings

    def settings_of(self, path: Path | None) -> Settings:
        """The settings for a file or directory; None is a document that is nowhere, as one not saved yet."""
        folder = self._folder_of(path)
        if path is None and folder is not None:
            path = self.folders[folder]
        settings = self.projects.of(path).settings if path is not None else Settings()
        editor = self._editor if folder is None else self._scoped.get(folder, self._editor)
        for name, value in editor.items():
            try:
                settings = settings.merge({name: value}, "the editor's settings")
            except SettingsError as error:
                self._note(error)
        if settings.root is None and folder is not None:
            # What the editor's patterns are relative to, where no file of the project says so.
            settings = replace(settings, root=self.folders[folder])
        return settings

    def _folder_of(self, path: Path | None) -> str | None:
        """The innermost folder of the workspace that holds `path`; of what lies nowhere, the first."""
        if path is None:
            return next(iter(self.folders), None)
        around = [uri for uri, folder in self.folders.items() if path.is_relative_to(folder)]
        return max(around, key=lambda uri: len(self.folders[uri].parts), default=None)

    def new_problems(self) -> list[str]:
        """What is wrong with the editor's settings, each fault once. A project's are shown in its own file."""
        problems, self._problems = self._problems, []
        return problems

    def analysis(self, document: Document) -> Analysis | None:
        """The analysis of the newest text; None where it failed."""
        return document.analysis(self.settings(document).line_length)

    def findings(self, document: Document) -> Sequence[Finding]:
        """The findings of the newest text that the settings and the comments in it leave."""
        analysis = self.analysis(document)
        return self._wanted(document.own(analysis.findings), document) if analysis else ()

    def shown(self, document: Document) -> Sequence[Finding]:
        """As `findings`, to look at: what is remembered of the text serves until it is analysed."""
        if document.recalled is None:
            return self.findings(document)
        return self._wanted(document.own(document.recalled.findings), document)

    def refusals(self, document: Document) -> Sequence[Finding]:
        """The near misses of the newest text, likewise."""
        analysis = self.analysis(document)
        return self._wanted(document.own(analysis.refusals), document) if analysis else ()

    def fix(self, document: Document, finding: Finding) -> Fix | None:
        """The edits of a finding of the newest text; None where they are withheld, from this document at least."""
        analysis = self.analysis(document)
        fix = analysis.fix(finding) if analysis is not None else None
        return document.kept_within(fix) if fix is not None else None

    def withheld(self, document: Document, finding: Finding) -> str | None:
        """Why a finding gets no edit."""
        if finding.withheld is None and isinstance(document, Cell) and self.fix(document, finding) is None:
            return ELSEWHERE
        return finding.withheld

    def fixed(
        self,
        document: Document,
        allow: frozenset[Safety] = frozenset({Safety.EXACT}),
        code: str | None = None,
    ) -> str | None:
        """The newest text with every finding of these safety classes carried out, of one fusion or of all.

        None where the file is no whole Python.
        """
        analysis = self.analysis(document)
        if analysis is None or analysis.problems:
            return None
        from fuselight.analysis import fix_all

        codes = self.settings(document).codes() if code is None else frozenset({code})
        if not self._silenced(document):
            return fix_all(analysis, allow, codes).text
        # What a comment silences is known for one version of the text at a time.
        return fix_all(analysis, allow, codes, is_not_silenced).text

    def _wanted(self, findings: Sequence[Finding], document: Document) -> Sequence[Finding]:
        if not findings:
            return findings
        settings, silenced = self.settings(document), self._silenced(document)
        return [
            finding
            for finding in findings
            if settings.includes(finding.code) and not silenced.silences(finding, document.lines)
        ]

    def _silenced(self, document: Document) -> Suppressions:
        # To look through the whole text at every key would cost more than most keys do.
        known = document.known_analysis
        return suppressions(document.text) if known is None else suppressions_in(known)

    def _note(self, error: SettingsError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            self._problems.append(str(error))
            logger.warning("%s", error)


def is_not_silenced(analysis: Analysis, finding: Finding) -> bool:
    """Whether no comment silences a finding."""
    return not suppressions_in(analysis).silences(finding, analysis.lines)


def register(server: FuselightServer) -> None:
    """Ask the client for its settings, and to tell of changes where it wants to be asked."""
    registrations: list[types.Registration] = []
    if server.client.registers_configuration:
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
        registrations.append(types.Registration("fuselight-settings", method, options))
    if server.client.registers_watchers:
        # A client that pulls is told of the findings of closed files, too.
        names = (*_FILES, "*.py", ".gitignore") if server.client.pulls_diagnostics else _FILES
        watchers = [types.FileSystemWatcher(f"**/{name}") for name in names]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
        registrations.append(types.Registration("fuselight-files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options))
    if registrations:
        server.client_register_capability(types.RegistrationParams(registrations))
    _ask(server)
    server.when_idle("the folders' settings", lambda: _look_at_folders(server))


def changed(ls: FuselightServer, params: types.DidChangeConfigurationParams) -> None:
    """`workspace/didChangeConfiguration`: the settings themselves, or the word to ask for them."""
    if ls.client.configuration:
        _ask(ls)
    else:
        ls.configuration.take(params.settings)
        _changed(ls)


def folders_changed(ls: FuselightServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    """`workspace/didChangeWorkspaceFolders`."""
    ls.configuration.remove_folders(folder.uri for folder in params.event.removed)
    ls.configuration.add_folders(folder.uri for folder in params.event.added)
    _ask(ls)
    _changed(ls)


def files_changed(ls: FuselightServer, params: types.DidChangeWatchedFilesParams) -> None:
    """`workspace/didChangeWatchedFiles`: a `pyproject.toml`, which is read again by its time stamp; a closed file."""
    ls.workspace_diagnostics.news(files=True)
    if any(_name(change.uri) in _FILES for change in params.changes):
        _changed(ls)


def saved(ls: FuselightServer, params: types.DidSaveTextDocumentParams) -> None:
    """`textDocument/didSave`: what counts of a `pyproject.toml` that is edited is what is on disk."""
    if _name(params.text_document.uri) in _FILES:
        _changed(ls)


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _changed(server: FuselightServer) -> None:
    server.configuration.look_again()
    server.workspace_diagnostics.news(files=True)
    server.refresh_diagnostics()
    server.when_idle("the folders' settings", lambda: _look_at_folders(server))


def _look_at_folders(server: FuselightServer) -> None:
    """Read the settings that are in use again, and say what is wrong with them, whether a model is open or not."""
    for folder in server.configuration.folders.values():
        server.configuration.settings_of(folder)
    server.configuration.projects.reload()
    tell_problems(server)


def tell_problems(server: FuselightServer) -> None:
    """Show what is wrong with the settings: in the project's file, or by a message where they are the editor's."""
    for problem in server.configuration.new_problems():
        server.window_show_message(types.ShowMessageParams(types.MessageType.Warning, f"fuselight: {problem}"))
    server.project_files.show(server)


def _ask(server: FuselightServer) -> None:
    """Ask for the client's settings: as they are everywhere, and as they are in each folder."""
    folders = list(server.configuration.folders)

    def answered(values: Sequence[object] | None) -> None:
        # A client without such a section answers with null: what it said at the start stands.
        answers = [*zip([None, *folders], values or (), strict=False)]
        for folder, value in answers:
            if value is not None and (folder is None or folder in server.configuration.folders):
                server.configuration.take(value, folder)
        if any(value is not None for _, value in answers):
            _changed(server)

    if server.client.configuration:
        items = [types.ConfigurationItem(folder, SECTION) for folder in [None, *folders]]
        server.workspace_configuration(types.ConfigurationParams(items), answered)
