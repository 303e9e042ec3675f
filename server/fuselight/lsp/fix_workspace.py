"""`fuselight.fixWorkspace`: every Python file of the workspace fixed, a slice at a time, and applied as one edit."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import from_fs_path

from fuselight.fusions.model import Finding, Safety
from fuselight.lsp.configuration import is_not_silenced
from fuselight.lsp.documents import Document
from fuselight.lsp.edits import differences, workspace_edit
from fuselight.lsp.notebooks import Cell
from fuselight.lsp.progress import WorkDone
from fuselight.lsp.uris import path_of
from fuselight.lsp.work import Priority, Steps
from fuselight.project.reading import ReadingProblem, read_source

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)

_ROUNDS = 3
"""How often files that change meanwhile are looked at again before they are left out."""

COMMAND = "fuselight.fixWorkspace"


@dataclass(frozen=True, slots=True)
class Fixed:
    """What one text becomes, and which text that is."""

    document: Document
    text: str
    version: int | None
    """Of an open document; a closed file has none."""
    after: str
    applied: tuple[Finding, ...]

    @property
    def safety(self) -> Safety:
        """The least safe of what was applied."""
        return max((finding.safety for finding in self.applied), key=_CAUTION.index)


_CAUTION = [Safety.EXACT, Safety.CHECKPOINT, Safety.NUMERICS, Safety.INFERENCE, Safety.BREAKING]


def fix_workspace(
    server: FuselightServer, allow: frozenset[Safety], token: types.ProgressToken | None
) -> Future[object]:
    """Begin; what the client is answered in the end is a summary: whether an edit was applied, and of how much."""
    run = _Run(server, allow, WorkDone(server, "Fixing the workspace", token))
    run.progress.begin(lambda: server.backlog.add(COMMAND, run.steps, Priority.BACKGROUND))
    return run.answer


def fixing_document(
    server: FuselightServer, document: Document, allow: frozenset[Safety]
) -> Generator[None, None, Fixed | None]:
    """What the newest text of a document becomes, in slices; None where nothing of it is to be fixed."""
    configuration = server.configuration
    settings = configuration.settings(document)
    text, version = document.text, document.version
    yield from document.work(settings.line_length)
    analysis = configuration.analysis(document) if document.text is text else None
    if analysis is None or analysis.problems or not configuration.findings(document):
        return None
    from fuselight.analysis import fixing

    outcome = yield from fixing(analysis, allow, settings.codes(), is_not_silenced)
    return Fixed(document, text, version, outcome.text, outcome.applied) if outcome.applied else None


def edit_of(server: FuselightServer, files: Iterable[Fixed]) -> types.WorkspaceEdit:
    """One edit of several files: open ones at their version, closed ones without any."""
    whole = types.WorkspaceEdit()
    for one in files:
        edit = workspace_edit(differences(one.text, one.after), one.document, server.client, one.safety)
        if edit.changes is not None:
            whole.changes = {**(whole.changes or {}), **edit.changes}
        for change in edit.document_changes or ():
            if isinstance(change, types.TextDocumentEdit):
                change.text_document.version = one.version
                whole.document_changes = [*(whole.document_changes or ()), change]
        if edit.change_annotations is not None:
            whole.change_annotations = {**(whole.change_annotations or {}), **edit.change_annotations}
    return whole


def summary(files: Iterable[Fixed]) -> tuple[int, int]:
    """How many fusions in how many files."""
    counts = [len(one.applied) for one in files]
    return sum(counts), len(counts)


class _Run:
    def __init__(self, server: FuselightServer, allow: frozenset[Safety], progress: WorkDone) -> None:
        self.answer: Future[object] = Future()
        self.progress = progress
        self._server = server
        self._allow = allow
        self._fixed: dict[str, Fixed] = {}
        self._overtaken: set[str] = set()
        """Open files whose text changed while it was fixed."""
        self._left_out = 0

    def steps(self) -> Steps:
        """The work, a slice after the other, up to the edit that is sent."""
        try:
            yield from self._stoppable()
        except GeneratorExit:
            # Another run takes the place of this one, or the session ends.
            self._finish("stopped", applied=False)
            raise
        except Exception as error:
            self.progress.end("failed")
            if not self.answer.done():
                self.answer.set_exception(error)

    def _stoppable(self) -> Steps:
        for _ in self._work():
            if self.answer.cancelled() or self.progress.is_cancelled:
                self._finish("cancelled", applied=False)
                return
            yield
        self._apply()

    def _work(self) -> Iterator[None]:
        paths = yield from self._paths()
        for number, path in enumerate(paths):
            yield from self._look_at(path)
            self.progress.report(number + 1, len(paths))
            yield
        for _ in range(_ROUNDS):
            changed = self._changed()
            for path in changed:
                yield from self._look_at(path)
            if not changed:
                return
        for path in self._changed():
            logger.warning("%s keeps changing: it is left out", path)
            self._fixed.pop(path, None)
            self._left_out += 1

    def _changed(self) -> set[str]:
        """The files whose text is another now."""
        return self._overtaken | {path for path, one in self._fixed.items() if not self._is_current(path, one)}

    def _paths(self) -> Generator[None, None, list[str]]:
        """The workspace's Python files, and those open documents of it that were never saved."""
        # It imports what reads `.gitignore`, which no other request needs.
        from fuselight.project.discovery import discovering

        folders = list(self._server.configuration.folders.values())
        if not folders:
            # A file that was opened alone is all there is.
            return list(self._open())
        found = yield from discovering(folders, self._server.configuration.settings_of)
        for problem in found.problems:
            logger.warning("%s: %s", problem.path, problem.message)
        known = [os.path.realpath(path) for path in found.files]
        roots = [os.path.realpath(folder) for folder in folders]
        unsaved = [
            path
            for path in self._open()
            if not os.path.exists(path) and any(path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
        ]
        return [*known, *unsaved]

    def _open(self) -> dict[str, Document]:
        """The open Python documents that are files, by their path."""
        return {
            os.path.realpath(path): document
            for uri, document in self._server.documents.items()
            if uri.startswith("file:")
            and document.language == "python"
            and not isinstance(document, Cell)
            and (path := path_of(uri)) is not None
        }

    def _look_at(self, path: str) -> Iterator[None]:
        self._fixed.pop(path, None)
        self._overtaken.discard(path)
        opened = self._open().get(path)
        document = opened or self._closed(path)
        if document is None:
            self._left_out += 1
            return
        text = document.text
        try:
            fixed = yield from fixing_document(self._server, document, self._allow)
        except Exception:
            logger.exception("%s is left out", path)
            self._left_out += 1
            return
        if document.text is not text:
            self._overtaken.add(path)
        elif fixed is not None and opened is None:
            # Without the analysis, which for all files of a workspace would be much to hold.
            bare = self._as_document(path, fixed.text)
            self._fixed[path] = replace(fixed, document=bare, version=None)
        elif fixed is not None:
            self._fixed[path] = fixed

    def _closed(self, path: str) -> Document | None:
        source = read_source(Path(path))
        if isinstance(source, ReadingProblem):
            logger.warning("%s is left out: %s", path, source.message)
            return None
        if source.encoding != "utf-8":
            # Whether the client would read it by its coding cookie is not known.
            logger.warning("%s is left out: its encoding is %s", path, source.encoding)
            return None
        return self._as_document(path, source.text)

    def _as_document(self, path: str, text: str) -> Document:
        uri = from_fs_path(path) or ""
        return Document(types.TextDocumentItem(uri, "python", 0, text), self._server.client.encoding)

    def _is_current(self, path: str, fixed: Fixed) -> bool:
        """Whether a text is still the one that was fixed."""
        document = self._open().get(path)
        if document is not None:
            return document is fixed.document and document.text is fixed.text
        if fixed.version is not None:
            return False
        source = read_source(Path(path))
        return not isinstance(source, ReadingProblem) and source.text == fixed.text

    def _apply(self) -> None:
        fusions, files = summary(self._fixed.values())
        if not files:
            self._finish("nothing to fix", applied=False)
            return
        edit = edit_of(self._server, self._fixed.values())
        said = f"{fusions} {'fusion' if fusions == 1 else 'fusions'} in {files} {'file' if files == 1 else 'files'}"
        apply(self._server, edit, f"fuselight: {said}", lambda failure: self._applied(said, failure))

    def _applied(self, said: str, failure: str | None) -> None:
        if failure is None:
            self._finish(said, applied=True)
        else:
            text = f"fuselight: the edit was not applied: {failure}"
            self._server.window_show_message(types.ShowMessageParams(types.MessageType.Warning, text))
            self._finish(f"not applied: {failure}", applied=False)

    def _finish(self, message: str, *, applied: bool) -> None:
        fusions, files = summary(self._fixed.values()) if applied else (0, 0)
        left_out = f", {self._left_out} left out" if self._left_out else ""
        was_shown = self.progress.is_shown
        self.progress.end(f"{message}{left_out}")
        if applied and not was_shown:
            text = f"fuselight: {message}{left_out}"
            self._server.window_show_message(types.ShowMessageParams(types.MessageType.Info, text))
        if not self.answer.done():
            self.answer.set_result(
                {"applied": applied, "fusions": fusions, "files": files, "leftOut": self._left_out, "message": message}
            )


def apply(server: FuselightServer, edit: types.WorkspaceEdit, label: str, then: Callable[[str | None], None]) -> None:
    """`workspace/applyEdit`; `then` is told why it was not applied, or None."""

    def answered(answer: Future[types.ApplyWorkspaceEditResult]) -> None:
        error = answer.exception()
        if error is not None:
            then(str(error))
        else:
            result = answer.result()
            then(None if result.applied else result.failure_reason or "the client gives no reason")

    server.workspace_apply_edit(types.ApplyWorkspaceEditParams(edit, label)).add_done_callback(answered)
