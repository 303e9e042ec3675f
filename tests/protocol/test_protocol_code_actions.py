"""Code actions: what is offered where, and that an edit is right for the text it lands in, or refused."""

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

GATE = """\
import torch
import torch.nn.functional as F


def gate(x):
    return x * torch.sigmoid(x)


def twice(x, y):
    x = x * torch.sigmoid(x)
    return y * torch.sigmoid(y) + x
"""
FUSED = GATE.replace("x * torch.sigmoid(x)", "F.silu(x)")
ATTENTION = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)

    def forward(self, x):
        q = self.q_proj(x)
        k = self.k_proj(x)
        v = self.v_proj(x)
        return q @ k.transpose(-1, -2) @ v
"""
STEM = """\
import torch
from torch import nn


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.bn = nn.BatchNorm2d(16)

    def forward(self, x):
        return self.bn(self.conv(x))
"""
WORDS = "exact_1 checkpoint_1 numerics_1 breaking_1 inference_1 refused_1 withheld_1\n"


def kinds(actions):
    return [str(getattr(action.kind, "value", action.kind)) for action in actions]


def titles(actions):
    return [action.title for action in actions]


async def test_an_exact_quick_fix_is_preferred_and_resolves_to_the_right_text(editor):
    await editor.start(resolve=True, versioned=True)
    editor.open(GATE)
    shown = await editor.pushed(1)
    (action,) = await editor.fixes("x * torch", diagnostics=shown)
    assert (kinds([action]), action.is_preferred, action.edit) == (["quickfix"], True, None)
    assert [diagnostic.code for diagnostic in action.diagnostics] == ["FUS401"]
    resolved = await editor.resolve(action)
    assert editor.applied(resolved.edit) == GATE.replace("x * torch.sigmoid(x)", "F.silu(x)", 1)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_fix_all_in_minimal_edits(editor, newline):
    await editor.start(resolve=True, versioned=True)
    editor.open(GATE.replace("\n", newline))
    (action,) = await editor.fixes("import", only=["source.fixAll"])
    resolved = await editor.resolve(action)
    expected = FUSED.replace("y * torch.sigmoid(y)", "F.silu(y)").replace("\n", newline)
    assert editor.applied(resolved.edit) == expected
    assert len(resolved.edit.document_changes[0].edits) == 2


@pytest.mark.parametrize(("text", "code"), [(ATTENTION, "FUS201"), (STEM, "FUS101")])
async def test_a_checkpoint_quick_fix_is_not_preferred_and_not_in_fix_all(editor, text, code):
    await editor.start(resolve=True, versioned=True)
    editor.open(text)
    place = "self.k_proj(x)" if text is ATTENTION else "self.bn(self"
    # What is for inference only is offered as a refactoring beside it.
    (action,) = [one for one in await editor.fixes(place) if one.kind == "quickfix"]
    assert (kinds([action]), action.is_preferred) == (["quickfix"], False)
    assert [diagnostic.code for diagnostic in action.diagnostics] == [code]
    fixed = editor.applied((await editor.resolve(action)).edit)
    assert fixed != text
    compile(fixed, "model.py", "exec")
    assert await editor.fixes("import", only=["source"]) == []


async def test_every_sibling_offers_the_action(editor):
    await editor.start()
    editor.open(ATTENTION)
    for place in ("self.q_proj(x)", "self.k_proj(x)", "self.v_proj(x)"):
        (action,) = await editor.fixes(place)
        assert [diagnostic.code for diagnostic in action.diagnostics] == ["FUS201"]
    assert await editor.fixes("return q") == []


async def test_a_client_without_resolve_gets_the_edit_at_once_and_unversioned(editor):
    await editor.start()
    editor.open(GATE)
    (action,) = await editor.fixes("x * torch")
    assert action.data is None
    assert action.edit.document_changes is None
    assert editor.applied(action.edit) == GATE.replace("x * torch.sigmoid(x)", "F.silu(x)", 1)
    (action,) = await editor.fixes("x * torch", only=["source.fixAll.fuselight"])
    assert "sigmoid" not in editor.applied(action.edit)
    assert not editor.server.code_action_provider.resolve_provider


WIDE = GATE.replace("    return", "    é, return_ = '漢😀', 1; return", 1)


@pytest.mark.parametrize("encodings", [None, ["utf-16"]])
async def test_behind_wide_characters_who_does_not_negotiate_how_to_count_them_gets_whole_lines(editor, encodings):
    await editor.start(encodings=encodings)
    editor.open(WIDE)
    (fix,) = await editor.fixes("x * torch")
    fixed = WIDE.replace("x * torch.sigmoid(x)", "F.silu(x)", 1)
    assert editor.applied(fix.edit) == fixed
    *_, ignoring = await editor.actions("x * torch")
    assert "# fuselight: ignore[FUS401]\n" in editor.applied(ignoring.edit)
    for action in (fix, ignoring):
        ((edit,),) = action.edit.changes.values()
        columns = {edit.range.start.character, edit.range.end.character}
        assert (columns == {0}) is (encodings is None)


async def test_without_wide_characters_before_it_an_edit_stays_minimal(editor):
    await editor.start()
    editor.open(GATE.replace("sigmoid(x)", "sigmoid(x)  # 漢😀", 1))
    (action,) = await editor.fixes("x * torch")
    ((edit,),) = action.edit.changes.values()
    assert editor.shown(edit.range) == "x * torch.sigmoid(x)"


async def test_an_action_right_behind_a_change_sees_the_newest_text(editor):
    await editor.start(resolve=True, versioned=True)
    editor.open(GATE)
    editor.replace("def gate(x):", "# 😀\n\n\ndef gate(x):")
    (action,) = await editor.fixes("x * torch")
    assert "F.silu(x)" in editor.applied((await editor.resolve(action)).edit)


@pytest.mark.parametrize("only", [["quickfix"], ["source.fixAll"]])
async def test_a_stale_action_is_refused(editor, only):
    await editor.start(resolve=True, versioned=True)
    editor.open(GATE)
    (action,) = await editor.fixes("x * torch", only=only)
    editor.replace("gate", "door")
    with pytest.raises(JsonRpcException) as refused:
        await editor.resolve(action)
    assert refused.value.code == types.LSPErrorCodes.ContentModified
    (action,) = await editor.fixes("x * torch", only=only)
    assert (await editor.resolve(action)).edit is not None


@pytest.mark.parametrize(
    "data", [None, {}, {"uri": 3, "version": 1}, {"uri": "file:///project/model.py", "version": 1}]
)
async def test_a_made_up_action_is_refused(editor, data):
    await editor.start(resolve=True)
    editor.open(GATE)
    with pytest.raises(JsonRpcException):
        await editor.resolve(types.CodeAction("", data=data))


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (None, ["quickfix", "quickfix", "quickfix", "refactor.rewrite", "refactor.rewrite"]),
        ([], ["quickfix", "quickfix", "quickfix", "refactor.rewrite", "refactor.rewrite"]),
        (["quickfix"], ["quickfix", "quickfix", "quickfix"]),
        (["refactor"], ["refactor.rewrite", "refactor.rewrite"]),
        (["refactor.rewrite"], ["refactor.rewrite", "refactor.rewrite"]),
        (["refactor.extract"], []),
        (["quick"], []),
        (["source"], ["source.fixAll.fuselight"]),
        (["source.fixAll"], ["source.fixAll.fuselight"]),
        (["source.fixAll.fuselight"], ["source.fixAll.fuselight"]),
        (["source.fixAll.other"], []),
        (["source.organizeImports"], []),
        (["quickfix", "source"], ["quickfix", "quickfix", "quickfix", "source.fixAll.fuselight"]),
    ],
)
async def test_only_the_kinds_asked_for(stand_in, only, expected):
    await stand_in.start(resolve=True)
    stand_in.open(WORDS.replace(" ", "_and_").replace("1_and_", "1+"))
    found = []
    for word in WORDS.split():
        found += await stand_in.fixes(word, only=only)
    unique = {action.title: action for action in found}.values()
    assert sorted(kinds(unique)) == sorted(expected)


async def test_refusals_are_greyed_out_where_the_client_shows_such(stand_in):
    await stand_in.start(resolve=True, disabled=True)
    stand_in.open(WORDS)
    for word, reason in (("refused_1", "too small"), ("withheld_1", "generated")):
        assert await stand_in.fixes(word) == []
        (action,) = await stand_in.fixes(word, only=["quickfix"])
        assert action.disabled.reason == reason


async def test_the_safest_action_comes_first(stand_in):
    await stand_in.start()
    stand_in.open("inference_1+breaking_1+numerics_1+checkpoint_1+exact_1")
    stand_in.texts.clear()
    found = await stand_in.client.text_document_code_action_async(
        types.CodeActionParams(
            types.TextDocumentIdentifier("file:///project/model.py"),
            types.Range(types.Position(0, 0), types.Position(9, 0)),
            types.CodeActionContext([]),
        )
    )
    assert [title.split()[1].split("_")[0] for title in titles(found)[:5]] == [
        "exact",
        "checkpoint",
        "numerics",
        "breaking",
        "inference",
    ]


async def test_fix_all_leaves_what_a_comment_silences_and_files_with_errors(stand_in):
    await stand_in.start(resolve=True, versioned=True)
    stand_in.open("exact_1\nexact_2  # fuselight: ignore\nexact_3\n")
    (action,) = await stand_in.fixes("exact_1", only=["source.fixAll"])
    fixed = stand_in.applied((await stand_in.resolve(action)).edit)
    assert fixed == "EXACT_1\nexact_2  # fuselight: ignore\nEXACT_3\n"
    stand_in.set("exact_1 BROKEN\n")
    (action,) = await stand_in.fixes("exact_1", only=["source.fixAll"])
    with pytest.raises(JsonRpcException):
        await stand_in.resolve(action)


async def test_a_fault_in_one_edit_costs_that_answer(stand_in):
    await stand_in.start(resolve=True)
    stand_in.open("exact_1 FIXFAULT")
    (action,) = await stand_in.fixes("exact_1")
    with pytest.raises(JsonRpcException):
        await stand_in.resolve(action)
    stand_in.replace(" FIXFAULT", "")
    (action,) = await stand_in.fixes("exact_1")
    assert stand_in.applied((await stand_in.resolve(action)).edit) == "EXACT_1"


async def test_the_diagnostics_of_the_client_are_handed_back_as_they_came(stand_in):
    await stand_in.start(resolve=True)
    stand_in.open("exact_1")
    (shown,) = await stand_in.pushed(1)
    stripped = types.Diagnostic(shown.range, shown.message, code=shown.code)
    (action,) = await stand_in.fixes("exact_1", diagnostics=[stripped])
    assert list(action.diagnostics) == [stripped]


async def test_hover_tells_of_the_finding(editor):
    await editor.start()
    editor.open(GATE)
    params = types.HoverParams(types.TextDocumentIdentifier("file:///project/model.py"), types.Position(5, 13))
    hover = await editor.client.text_document_hover_async(params)
    assert "FUS401" in hover.contents.value
    assert editor.shown(hover.range) == "x * torch.sigmoid(x)"
    params.position = types.Position(0, 0)
    assert await editor.client.text_document_hover_async(params) is None


async def test_all_of_one_kind_in_the_file(editor):
    await editor.start(resolve=True, versioned=True)
    text = GATE + "\n\ndef other(x):\n    return F.dropout(x, 0.5) * torch.erf(x).log().exp()\n"
    editor.open(text)
    fix, every, _ = await editor.actions("x * torch")
    assert every.title == "Apply all 3 spelled-out-silu (FUS401) in this file"
    assert (every.kind, every.is_preferred, fix.is_preferred) == ("quickfix", None, True)
    assert [diagnostic.code for diagnostic in every.diagnostics] == ["FUS401"]
    expected = text.replace("x * torch.sigmoid(x)", "F.silu(x)").replace("y * torch.sigmoid(y)", "F.silu(y)")
    assert editor.applied((await editor.resolve(every)).edit) == expected
    editor.open(STEM, uri="file:///project/stem.py")
    titles_ = titles(await editor.actions("self.bn(self", uri="file:///project/stem.py"))
    assert not any(title.startswith("Apply all") for title in titles_)


async def test_all_of_one_kind_takes_the_safer_ones_along_and_leaves_the_others(stand_in):
    await stand_in.start(resolve=True, versioned=True)
    stand_in.open("checkpoint_1 checkpoint_2 breaking_1 exact_1 numerics_1  # a\ncheckpoint_3  # fuselight: ignore\n")
    action = next(one for one in await stand_in.actions("checkpoint_1") if one.title.startswith("Apply all"))
    assert action.title == "Apply all 2 stand_in (FUS201) in this file (checkpoint)"
    fixed = stand_in.applied((await stand_in.resolve(action)).edit)
    assert fixed.split()[:5] == ["CHECKPOINT_1", "CHECKPOINT_2", "breaking_1", "exact_1", "numerics_1"]
    assert "checkpoint_3" in fixed


@pytest.mark.parametrize("resolve", [True, False])
async def test_ignored_on_this_line(editor, resolve):
    await editor.start(resolve=resolve, versioned=True)
    editor.open(GATE.replace("(y) + x", "(y) + x  # gated"))
    *_, action = await editor.actions("y * torch")
    assert (action.title, action.kind) == ("Ignore FUS401 on this line", "quickfix")
    assert [diagnostic.code for diagnostic in action.diagnostics] == ["FUS401"]
    text = editor.applied((await editor.resolve(action)).edit if resolve else action.edit)
    assert text == GATE.replace("(y) + x", "(y) + x  # gated  # fuselight: ignore[FUS401]")
    editor.set(text)
    assert await editor.actions("y * torch") == []
    assert len(await editor.actions("x * torch")) == 3


async def test_what_is_reported_without_an_edit_can_be_ignored_and_what_is_not_reported_cannot(stand_in):
    await stand_in.start(resolve=True)
    stand_in.open(WORDS)
    assert titles(await stand_in.actions("withheld_1")) == ["Ignore FUS101 on this line"]
    assert titles(await stand_in.actions("breaking_1")) == ["Put breaking_1 in capitals"]
    assert await stand_in.actions("refused_1") == []


async def test_what_the_settings_do_not_report_is_a_refactoring_without_a_diagnostic(stand_in):
    await stand_in.start(resolve=True, options={"allow": ["exact", "breaking"]})
    stand_in.open(WORDS)
    assert [one.message.split("_")[0] for one in await stand_in.pushed(1)] == ["exact", "breaking", "withheld"]
    (fix,) = await stand_in.actions("checkpoint_1")
    assert (fix.kind, fix.diagnostics, fix.is_preferred) == ("refactor.rewrite", None, None)
    fix, _ = await stand_in.actions("breaking_1")
    assert (fix.kind, len(fix.diagnostics)) == ("refactor.rewrite", 1)


async def test_an_automatic_request_gets_what_is_cheap_and_can_be_applied(stand_in):
    automatic = types.CodeActionTriggerKind.Automatic
    await stand_in.start(disabled=True)
    stand_in.open("exact_1 exact_2 refused_1 withheld_1\n")
    found = await stand_in.actions("exact_1", trigger=automatic)
    assert titles(found) == ["Put exact_1 in capitals", "Ignore FUS101 on this line"]
    assert len(await stand_in.actions("exact_1")) == 3
    for only in (None, ["refactor"], ["quickfix"]):
        assert not any(one.disabled for one in await stand_in.actions("refused_1", only=only, trigger=automatic))
    # An editor that fixes on save asks so.
    (action,) = await stand_in.actions("exact_1", only=["source.fixAll"], trigger=automatic)
    assert action.edit is not None


async def test_near_misses_for_who_asks_for_refactorings(editor):
    await editor.start(resolve=True, disabled=True)
    editor.open(ATTENTION.replace("@ v", "@ v + self.k_proj.weight.sum() + self.q_proj.weight.sum()"))
    assert not any(action.disabled for action in await editor.actions("self.q_proj(x)"))
    for only in (["refactor"], ["refactor.rewrite"]):
        found = await editor.actions("self.q_proj(x)", only=only)
        assert [action.kind for action in found if action.disabled] == ["refactor.rewrite"]
        assert all(action.title and action.disabled.reason for action in found)


@pytest.mark.parametrize(
    ("word", "label", "confirm"),
    [
        ("exact", "stay as they are", False),
        ("checkpoint", "old checkpoints load", False),
        ("numerics", "Results differ", False),
        ("breaking", "do not load any more", True),
        ("inference", "eval mode", False),
    ],
)
async def test_annotations_say_what_an_edit_does(stand_in, word, label, confirm):
    await stand_in.start(resolve=True, versioned=True, annotations=True)
    stand_in.open(f"{word}_1\n")
    (action,) = await stand_in.fixes(word)
    edit = (await stand_in.resolve(action)).edit
    (change,) = edit.document_changes
    ((identity, annotation),) = edit.change_annotations.items()
    assert {one.annotation_id for one in change.edits} == {identity}
    assert label in annotation.label
    assert annotation.needs_confirmation is confirm
    assert annotation.description


async def test_the_load_hook_is_named_where_the_edit_adds_one(editor):
    await editor.start(resolve=True, versioned=True, annotations=True)
    editor.open(ATTENTION)
    (action,) = await editor.fixes("self.q_proj(x)")
    (annotation,) = (await editor.resolve(action)).edit.change_annotations.values()
    assert annotation.label == "Adds a load hook: old checkpoints load"


@pytest.mark.parametrize("can", [{"versioned": True}, {"annotations": True}, {}])
async def test_no_annotations_where_the_client_shows_none(stand_in, can):
    await stand_in.start(**can)
    stand_in.open("breaking_1\n")
    (action,) = await stand_in.fixes("breaking_1")
    assert action.edit.change_annotations is None


async def test_an_action_of_a_document_that_was_closed_and_opened_anew_is_for_the_text_there_now(editor):
    await editor.start(resolve=True, versioned=True)
    editor.open(GATE)
    (action,) = await editor.fixes("x * torch")
    editor.client.text_document_did_close(
        types.DidCloseTextDocumentParams(types.TextDocumentIdentifier("file:///project/model.py"))
    )
    with pytest.raises(JsonRpcException):
        await editor.resolve(action)
    editor.open("# another\n" + GATE)
    assert editor.applied((await editor.resolve(action)).edit) == "# another\n" + GATE.replace(
        "x * torch.sigmoid(x)", "F.silu(x)", 1
    )


async def test_hover_tells_what_the_site_gains_by_its_literal_sizes(editor):
    await editor.start()
    editor.open(ATTENTION.replace("(dim, dim)", "(256, 256)"))
    at = editor.position(editor.texts["file:///project/model.py"].index("self.q_proj(x)"))
    params = types.HoverParams(types.TextDocumentIdentifier("file:///project/model.py"), at)
    hover = await editor.client.text_document_hover_async(params)
    assert "- 3 layers of 65,792 + 65,792 + 65,792 parameters become one of 197,376." in hover.contents.value
    editor.set(ATTENTION)
    hover = await editor.client.text_document_hover_async(params)
    assert "Here, by the sizes" not in hover.contents.value
    assert "## What it saves" in hover.contents.value
