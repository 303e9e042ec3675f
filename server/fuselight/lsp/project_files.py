"""What is wrong with the settings of a project, shown in the file that they stand in, whether it is open or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from fuselight.project.locating import place_of
from fuselight.project.settings import SettingsError
from fuselight.source.lines import LineIndex

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer


class ProjectFiles:
    """The problems of `pyproject.toml` and its like. Pushed to every client: none pulls for a closed file."""

    def __init__(self) -> None:
        self._shown: dict[str, list[types.Diagnostic]] = {}
        self._loads = 0

    def show(self, server: FuselightServer) -> None:
        """Show the problems of the settings in use, and take back those that are mended."""
        projects = server.configuration.projects
        if projects.loads == self._loads:
            return
        self._loads = projects.loads
        problems: dict[str, dict[str, SettingsError]] = {}
        for problem in projects.problems():
            # One file serves many directories.
            problems.setdefault(problem.source, {}).setdefault(str(problem), problem)
        found = {Path(source).as_uri(): _diagnostics(source, told, server) for source, told in problems.items()}
        for uri in self._shown.keys() | found.keys():
            diagnostics = found.get(uri, [])
            if diagnostics != self._shown.get(uri, []):
                server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, diagnostics))
        self._shown = found


def _diagnostics(source: str, problems: dict[str, SettingsError], server: FuselightServer) -> list[types.Diagnostic]:
    try:
        text = Path(source).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        text = ""
    lines, encoding = LineIndex(text), server.client.encoding
    found: list[types.Diagnostic] = []
    for problem in problems.values():
        span = place_of(problem, text)
        start, end = (types.Position(*lines.position(at, encoding)) for at in (span.start, span.end))
        message = f"{problem.key}: {problem.problem}" if problem.key else problem.problem
        severity = types.DiagnosticSeverity.Warning
        found.append(types.Diagnostic(types.Range(start, end), message, severity, "bad-setting", source="fuselight"))
    return found
