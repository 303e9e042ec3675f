"""Settings: the nearest `pyproject.toml`, on top of it what the editor says, and comments that silence findings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import to_fs_path

from fuselight.analysis import Analysis, fix_all
from fuselight.fusions.model import Finding, Safety
from fuselight.lsp.documents import Document
from fuselight.lsp.transport import table
from fuselight.project.settings import Settings, SettingsCache, SettingsError
from fuselight.project.suppression import Suppressions, suppressions

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)

SECTION = "fuselight"

_NAMES = frozenset(field.name.replace("_", "-") for field in fields(Settings)) - {"root"}


class Configuration:
    """Which findings of a document count, and how long its lines may be."""

    def __init__(self) -> None:
        self._projects = SettingsCache()
        self._editor: dict[str, object] = {}
        self._folder: Path | None = None
        self._suppressions: tuple[str, Suppressions] = ("", Suppressions())
        self._problems: list[str] = []
        self._told: set[str] = set()

    def initialize(self, params: types.InitializeParams) -> None:
        """Take the editor's settings and the workspace's folder from the first request."""
        self.take(params.initialization_options)
        folders = [folder.uri for folder in params.workspace_folders or ()] or [params.root_uri or ""]
        path = to_fs_path(folders[0])
        self._folder = Path(path) if path else None

    def take(self, given: object) -> None:
        """Take the editor's settings, bare or below the section's name. What is not fuselight's is the editor's own."""
        settings = table(given)
        for key in (SECTION, "settings"):
            settings = table(settings.get(key)) or settings
        self._editor = {name: value for name, value in settings.items() if name in _NAMES}
        self._told.clear()

    def settings(self, document: Document) -> Settings:
        """The settings for a document; of a broken one those that can be used, and the fault is kept for the user."""
        settings = Settings()
        path = to_fs_path(document.uri) or self._folder
        try:
            if path is not None:
                settings = self._projects.of(Path(path))
        except SettingsError as error:
            self._note(error)
        for name, value in self._editor.items():
            try:
                settings = settings.merge({name: value}, "the editor's settings")
            except SettingsError as error:
                self._note(error)
        return settings

    def new_problems(self) -> list[str]:
        """What is wrong with the settings, each fault once."""
        problems, self._problems = self._problems, []
        return problems

    def analysis(self, document: Document) -> Analysis | None:
        """The analysis of the newest text; None where it failed."""
        return document.analysis(self.settings(document).line_length)

    def findings(self, document: Document) -> Sequence[Finding]:
        """The findings of the newest text that the settings and the comments in it leave."""
        analysis = self.analysis(document)
        return self._wanted(analysis.findings, document) if analysis else ()

    def refusals(self, document: Document) -> Sequence[Finding]:
        """The near misses of the newest text, likewise."""
        analysis = self.analysis(document)
        return self._wanted(analysis.refusals, document) if analysis else ()

    def fixed(self, document: Document) -> str | None:
        """The newest text with every exact finding carried out; None where the file is no whole Python."""
        analysis = self.analysis(document)
        if analysis is None or analysis.problems:
            return None
        allow, codes = frozenset({Safety.EXACT}), self.settings(document).codes()
        if not self._silenced(document.text):
            return fix_all(analysis, allow, codes).text
        # What a comment silences is known for one version of the text at a time.
        return fix_all(analysis, allow, codes, _is_not_silenced).text

    def _wanted(self, findings: Sequence[Finding], document: Document) -> Sequence[Finding]:
        if not findings:
            return findings
        settings, silenced = self.settings(document), self._silenced(document.text)
        return [
            finding
            for finding in findings
            if settings.includes(finding.code) and not silenced.silences(finding, document.lines)
        ]

    def _silenced(self, text: str) -> Suppressions:
        if self._suppressions[0] is not text:
            self._suppressions = (text, suppressions(text))
        return self._suppressions[1]

    def _note(self, error: SettingsError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            self._problems.append(str(error))
            logger.warning("%s", error)


def _is_not_silenced(analysis: Analysis, finding: Finding) -> bool:
    return not suppressions(analysis.text).silences(finding, analysis.lines)


def register(server: FuselightServer) -> None:
    """Ask the client for its settings, and to tell of changes where it wants to be asked."""
    registrations: list[types.Registration] = []
    if server.client.registers_configuration:
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
        registrations.append(types.Registration("fuselight-settings", method, options))
    if server.client.registers_watchers:
        watchers = [types.FileSystemWatcher(f"**/{name}") for name in ("pyproject.toml", "ruff.toml", ".ruff.toml")]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
        registrations.append(types.Registration("fuselight-files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options))
    if registrations:
        server.client_register_capability(types.RegistrationParams(registrations))
    _ask(server)


def changed(ls: FuselightServer, params: types.DidChangeConfigurationParams) -> None:
    """`workspace/didChangeConfiguration`: the settings themselves, or the word to ask for them."""
    if ls.client.configuration:
        _ask(ls)
    else:
        ls.configuration.take(params.settings)
        ls.refresh_diagnostics()


def files_changed(ls: FuselightServer, params: types.DidChangeWatchedFilesParams) -> None:
    """`workspace/didChangeWatchedFiles`: a `pyproject.toml`, which is read again by its time stamp."""
    ls.refresh_diagnostics()


def _ask(server: FuselightServer) -> None:
    def answered(values: Sequence[object] | None) -> None:
        # A client without such a section answers with null: what it said at the start stands.
        if values and values[0] is not None:
            server.configuration.take(values[0])
            server.refresh_diagnostics()

    if server.client.configuration:
        item = types.ConfigurationItem(section=SECTION)
        server.workspace_configuration(types.ConfigurationParams([item]), answered)
