"""What the client at hand can do, read once from its capabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsprotocol import types
from pygls.capabilities import ServerCapabilitiesBuilder, get_capability

from fuselight.source.lines import Encoding


@dataclass(frozen=True, slots=True)
class Client:
    """The capabilities that change an answer; the defaults are those of a client that states none."""

    encoding: Encoding = Encoding.UTF16
    negotiates_encoding: bool = False
    pulls_diagnostics: bool = False
    refreshes_diagnostics: bool = False
    resolves_edits: bool = False
    shows_disabled: bool = False
    shows_related: bool = False
    shows_code_description: bool = False
    versioned_edits: bool = False
    annotates_edits: bool = False
    applies_edits: bool = False
    shows_progress: bool = False
    markdown: bool = False
    configuration: bool = False
    registers_configuration: bool = False
    registers_watchers: bool = False

    @classmethod
    def of(cls, capabilities: types.ClientCapabilities) -> Client:
        def has(path: str) -> bool:
            return bool(get_capability(capabilities, path, False))

        def listed(path: str) -> Sequence[object]:
            return get_capability(capabilities, path) or ()

        pulls = has("text_document.diagnostic")
        diagnostics = "text_document.diagnostic" if pulls else "text_document.publish_diagnostics"
        # Both channels state these two; a client that pulls may state them for the push channel alone.
        return cls(
            encoding=Encoding(ServerCapabilitiesBuilder.choose_position_encoding(capabilities)),
            negotiates_encoding=has("general.position_encodings"),
            pulls_diagnostics=pulls,
            refreshes_diagnostics=has("workspace.diagnostics.refresh_support"),
            resolves_edits="edit" in listed("text_document.code_action.resolve_support.properties"),
            shows_disabled=has("text_document.code_action.disabled_support"),
            shows_related=has(f"{diagnostics}.related_information")
            or has("text_document.publish_diagnostics.related_information"),
            shows_code_description=has(f"{diagnostics}.code_description_support")
            or has("text_document.publish_diagnostics.code_description_support"),
            versioned_edits=has("workspace.workspace_edit.document_changes"),
            # Annotations are told of only in `documentChanges`. An empty object means support.
            annotates_edits=has("workspace.workspace_edit.document_changes")
            and get_capability(capabilities, "workspace.workspace_edit.change_annotation_support") is not None,
            applies_edits=has("workspace.apply_edit"),
            shows_progress=has("window.work_done_progress"),
            markdown=types.MarkupKind.Markdown in listed("text_document.hover.content_format"),
            configuration=has("workspace.configuration"),
            registers_configuration=has("workspace.did_change_configuration.dynamic_registration"),
            registers_watchers=has("workspace.did_change_watched_files.dynamic_registration"),
        )
