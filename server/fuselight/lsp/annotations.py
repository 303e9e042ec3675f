"""What an edit does to checkpoints and results, in the words of a change annotation."""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types

from fuselight.fusions.model import Safety, TextEdit

HOOK_REGISTRATION = "register_load_state_dict_pre_hook"

_HOOKED = "adds a load hook: old checkpoints load"
_LABELS = {
    Safety.EXACT: "Checkpoints and results stay as they are",
    Safety.CHECKPOINT: "Parameters change; old checkpoints load",
    Safety.BREAKING: "Breaking: saved checkpoints do not load any more",
    Safety.NUMERICS: "Results differ slightly",
    Safety.INFERENCE: "The same in eval mode only",
}
_DESCRIPTIONS = {
    Safety.EXACT: "The same parameters, and the same function in train and eval mode",
    Safety.CHECKPOINT: "The same function; names or shapes of parameters change",
    Safety.BREAKING: "The same function, but this file loads checkpoints in a way that no load hook can serve",
    Safety.NUMERICS: "The same mathematics; the title says where the results are others",
    Safety.INFERENCE: "Not the same function while training",
}


def annotation(safety: Safety, edits: Iterable[TextEdit]) -> types.ChangeAnnotation:
    """Of the edits of one safety class. Only what breaks checkpoints asks the user to confirm."""
    hooked = any(HOOK_REGISTRATION in edit.content for edit in edits)
    label, description = _LABELS[safety], _DESCRIPTIONS[safety]
    if hooked and safety is Safety.CHECKPOINT:
        label = _HOOKED.capitalize()
    elif hooked:
        description = f"{description}; {_HOOKED}"
    return types.ChangeAnnotation(label, needs_confirmation=safety is Safety.BREAKING, description=description)
