"""Documents' addresses as paths."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pygls.uris import to_fs_path

_OF_A_FILE = ("untitled", "vscode-notebook-cell")


def path_of(uri: str) -> Path | None:
    """The file that a document is, will be saved as, or is a cell of; None where its address names none."""
    parts = urlsplit(uri)
    if parts.scheme in _OF_A_FILE:
        if not parts.path.startswith("/"):
            return None
        uri = parts._replace(scheme="file", query="", fragment="").geturl()
    path = to_fs_path(uri)
    return Path(path) if path else None
