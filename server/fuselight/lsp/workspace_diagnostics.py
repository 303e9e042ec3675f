"""`workspace/diagnostic`: the findings of the workspace's files, a slice at a time and behind everything else."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lsprotocol import types

from fuselight.lsp import diagnostics, recall
from fuselight.lsp.documents import Document
from fuselight.lsp.uris import path_of
from fuselight.project.reading import ReadingProblem, decode_source
from fuselight.project.settings import Settings

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)

Report: TypeAlias = types.WorkspaceDocumentDiagnosticReport

_TOGETHER = 32
"""How many reports go to the client at once, where it takes them as they come."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a closed file was when its diagnostics were worked out; of those only the id is kept."""

    stamp: tuple[int, int]
    settings: Settings
    result: str


class WorkspaceDiagnostics:
    """The files that were looked at, so that what has not changed is not read again."""

    def __init__(self, server: FuselightServer) -> None:
        self._server = server
        self._seen: dict[str, _Seen] = {}
        self._gone = server.results.new_id()
        """The result of each file that is there no more: without diagnostics."""
        self._files: tuple[Path, ...] | None = None
        """The workspace's files, where the client tells when that changes."""
        self._quiet = False
        """Whether there was nothing new to say when the client asked last."""
        self._held: set[object] = set()

    def news(self, *, files: bool = False) -> None:
        """Something has changed, `files` of the workspace among it: who waits for that is answered."""
        if files:
            self._files = None
        for name in self._held:
            self._server.backlog.wake(name)
        self._held.clear()

    def answering(
        self, name: object, params: types.WorkspaceDiagnosticParams
    ) -> Generator[None, None, types.WorkspaceDiagnosticReport]:
        """Answer one request, whose name in the backlog is `name`.

        The reports go as they come to a client that gave a token for that.
        """
        known = {result.uri: result.value for result in params.previous_result_ids}
        token, reports = params.partial_result_token, list[Report]()
        while True:
            news = False
            for report in self._reports(known):
                if report is not None:
                    reports.append(report)
                    news |= isinstance(report, types.WorkspaceFullDocumentDiagnosticReport)
                    if token is not None and len(reports) == _TOGETHER:
                        self._send(token, reports)
                yield
            if news or not self._quiet or not self._is_told_of_changes or token is None:
                break
            # Clients ask again and again. One that was told twice that nothing has changed, and that says itself when
            # a file does, is answered when there is something to say.
            reports.clear()
            self._held.add(name)
            self._server.backlog.sleep(name)
            yield
        self._quiet = not news
        if token is not None and reports:
            self._send(token, reports)
        return types.WorkspaceDiagnosticReport(reports)

    @property
    def _is_told_of_changes(self) -> bool:
        return self._server.client.registers_watchers

    def _send(self, token: types.ProgressToken, reports: list[Report]) -> None:
        value = types.WorkspaceDiagnosticReportPartialResult(list(reports))
        # Unstructured here: of a progress' value the protocol's types say nothing.
        plain = self._server.protocol._converter.unstructure(value)  # pyright: ignore[reportPrivateUsage]
        self._server.progress(types.ProgressParams(token, plain))
        reports.clear()

    def _reports(self, known: dict[str, str]) -> Generator[Report | None]:
        """One report for each open document and each file, and for each that the client knows and that is gone."""
        by_path = {_key(path): uri for uri in known if (path := path_of(uri)) is not None}
        settings: dict[Path, Settings] = {}
        told: set[str] = set()
        for uri in list(self._server.documents):
            document = self._server.document(uri)
            if document is not None:
                yield from self._of_document(document, known.get(uri))
                told.add(uri)
        opened = {_key(path) for uri in told if (path := path_of(uri)) is not None}
        files = yield from self._paths()
        for path in files:
            key = _key(path)
            uri = by_path.get(key) or path.absolute().as_uri()
            if key not in opened and uri not in told:
                told.add(uri)
                if path.parent not in settings:
                    settings[path.parent] = self._server.configuration.settings_of(path)
                yield from self._of_file(path, uri, settings[path.parent], known.get(uri))
        for uri, result in known.items():
            if uri not in told and uri not in self._server.documents:
                yield _report(uri, None, [] if result != self._gone else None, self._gone)

    def _paths(self) -> Generator[None, None, tuple[Path, ...]]:
        if self._files is not None:
            return self._files
        # It imports what reads `.gitignore`, which no other request needs.
        from fuselight.project.discovery import discovering

        configuration = self._server.configuration
        found = yield from discovering(list(configuration.folders.values()), configuration.settings_of)
        if self._is_told_of_changes:
            self._files = found.files
        return found.files

    def _of_document(self, document: Document, known: str | None) -> Iterator[Report | None]:
        yield from self._server.analysing(document)
        if self._server.document(document.uri) is document:
            items = diagnostics.all_of(self._server, document)
            result = self._server.results.id_of(document.uri, items)
            yield _report(document.uri, document.version, items if result != known else None, result)

    def _of_file(self, path: Path, uri: str, settings: Settings, known: str | None) -> Iterator[Report | None]:
        try:
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_size
            seen = self._seen.get(uri)
            if seen is not None and seen.result == known and (seen.stamp, seen.settings) == (stamp, settings):
                yield _report(uri, None, None, seen.result)
                return
            source = decode_source(path, path.read_bytes())
        except OSError as error:
            logger.info("%s is left out: %s", path, error)
            return
        items: list[types.Diagnostic] = []
        if not isinstance(source, ReadingProblem):
            item = types.TextDocumentItem(uri, "python", 0, source.text)
            document = Document(item, self._server.client.encoding)
            recall.recall(self._server, document)
            if document.recalled is None:
                for _ in document.work(settings.line_length):
                    yield None
                analysis = document.analysis(settings.line_length)
                if analysis is not None:
                    recall.remember(self._server, analysis)
            items = diagnostics.all_of(self._server, document)
        result = self._server.results.new_id()
        self._seen[uri] = _Seen(stamp, settings, result)
        yield _report(uri, None, items, result)


def asked(
    ls: FuselightServer, params: types.WorkspaceDiagnosticParams
) -> Generator[None, None, types.WorkspaceDiagnosticReport]:
    """`workspace/diagnostic`."""
    return ls.workspace_diagnostics.answering(ls.protocol.msg_id, params)


def _report(uri: str, version: int | None, items: list[types.Diagnostic] | None, result: str) -> Report:
    """A report in full, or, without items, that what the client has still holds."""
    if items is None:
        return types.WorkspaceUnchangedDocumentDiagnosticReport(uri, result, version=version)
    return types.WorkspaceFullDocumentDiagnosticReport(uri, items, version=version, result_id=result)


@lru_cache(maxsize=65536)
def _key(path: Path) -> str:
    """What tells one file from another, whatever links lead to it."""
    return os.path.normcase(os.path.realpath(path))
