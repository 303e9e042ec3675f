"""Notebooks: one text of their Python cells to read, each cell by itself to show and to edit."""

import asyncio

import pytest
from lsprotocol import types

from fuselight.lsp.magics import masked

NOTEBOOK = "file:///project/train.ipynb"
IMPORTS = "%matplotlib inline\nimport torch\nimport torch.nn.functional as F"
GATE = "def gate(x):\n    return x * torch.sigmoid(x)"


class Notebook:
    """What an editor tells of a notebook; `editor` keeps the texts of its cells."""

    def __init__(self, editor, *cells, uri=NOTEBOOK, scheme="vscode-notebook-cell"):
        self.editor, self.uri, self.version = editor, uri, 1
        self.names = [f"{scheme}:/project/train.ipynb#W{number}" for number in range(len(cells))]
        items = [self._item(name, cell) for name, cell in zip(self.names, cells, strict=True)]
        document = types.NotebookDocument(uri, "jupyter-notebook", 1, [self._cell(item) for item in items])
        editor.client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(document, items))

    def _item(self, name, text, language="python"):
        self.editor.texts[name], self.editor.versions[name] = text, 1
        return types.TextDocumentItem(name, language, 1, text)

    def _cell(self, item):
        return types.NotebookCell(types.NotebookCellKind.Code, item.uri)

    def tell(self, **cells):
        self.version += 1
        self.editor.client.notebook_document_did_change(
            types.DidChangeNotebookDocumentParams(
                types.VersionedNotebookDocumentIdentifier(self.version, self.uri),
                types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(**cells)),
            )
        )

    def replace(self, cell, old, new):
        name, text = self.names[cell], self.editor.texts[self.names[cell]]
        start = text.index(old)
        change = types.TextDocumentContentChangePartial(self.editor.range(start, start + len(old), uri=name), new)
        self.editor.texts[name] = text[:start] + new + text[start + len(old) :]
        self.editor.versions[name] += 1
        identifier = types.VersionedTextDocumentIdentifier(self.editor.versions[name], name)
        self.tell(text_content=[types.NotebookDocumentCellContentChanges(identifier, [change])])

    def insert(self, at, text):
        item = self._item(f"{self.names[0]}-new{at}", text)
        self.names.insert(at, item.uri)
        array = types.NotebookCellArrayChange(at, 0, [self._cell(item)])
        self.tell(structure=types.NotebookDocumentCellChangeStructure(array, [item]))

    def remove(self, at):
        closed = [types.TextDocumentIdentifier(self.names.pop(at))]
        array = types.NotebookCellArrayChange(at, 1)
        self.tell(structure=types.NotebookDocumentCellChangeStructure(array, [], closed))

    def close(self):
        cells = [types.TextDocumentIdentifier(name) for name in self.names]
        self.editor.client.notebook_document_did_close(
            types.DidCloseNotebookDocumentParams(types.NotebookDocumentIdentifier(self.uri), cells)
        )

    async def pull(self, cell):
        return await self.editor.pull(uri=self.names[cell])

    async def actions(self, cell, at, **how):
        return await self.editor.actions(at, uri=self.names[cell], **how)


async def test_is_announced_to_clients_that_have_notebooks(editor):
    await editor.start(notebooks=True)
    (selector,) = editor.server.notebook_document_sync.notebook_selector
    assert [cell.language for cell in selector.cells] == ["python"]


async def test_the_imports_of_one_cell_serve_the_next(editor):
    await editor.start(notebooks=True, pull=True, versioned=True)
    notebook = Notebook(editor, IMPORTS, "!nvidia-smi", GATE)
    assert await notebook.pull(0) == []
    (found,) = await notebook.pull(2)
    assert editor.shown(found.range, uri=notebook.names[2]) == "x * torch.sigmoid(x)"
    fix = next(action for action in await notebook.actions(2, "x * torch") if action.edit)
    assert editor.applied(fix.edit, uri=notebook.names[2]) == GATE.replace("x * torch.sigmoid(x)", "F.silu(x)")
    assert await notebook.actions(0, "import torch") == []
    notebook.replace(0, "import torch\n", "import numpy\n")
    assert await notebook.pull(2) == []


@pytest.mark.parametrize(
    ("above", "applied"),
    [
        ("%%time\n# the gate\n", True),
        ("!pip install \\\n  torch\n\n", True),
        ("from __future__ import annotations\n", True),
        ("", True),
        ("from __future__ import (\n    annotations,\n)\n", False),
    ],
)
async def test_new_imports_come_to_stand_in_the_cell_of_the_edit(editor, above, applied):
    await editor.start(notebooks=True, pull=True, versioned=True)
    gate = "def gate(x):\n    return x * sigmoid(x)"
    notebook = Notebook(editor, "from torch import sigmoid", above + gate)
    fixes = [action for action in await notebook.actions(1, "x * sigmoid") if "silu" in action.title]
    expected = f"{above}import torch.nn.functional as F\n{gate.replace('x * sigmoid(x)', 'F.silu(x)')}"
    found = [editor.applied(fix.edit, uri=notebook.names[1]) for fix in fixes]
    assert found == ([expected] if applied else [])


async def test_an_edit_behind_the_last_line_of_a_cell_starts_a_line_of_its_own(editor):
    await editor.start(notebooks=True, pull=True, versioned=True)
    layers = (
        "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 8, 3)\n        self.bn = nn.BatchNorm2d(8)\n"
        "    def forward(self, x):\n        return self.bn(self.conv(x))"
    )
    notebook = Notebook(editor, "import torch\nfrom torch import nn", layers)
    fixes = [action for action in await notebook.actions(1, "self.bn(") if action.edit]
    texts = [editor.applied(fix.edit, uri=notebook.names[1]) for fix in fixes]
    assert any("bias=False" in text for text in texts)
    for text in texts:
        compile(text, "cell", "exec")


NET = """\
import torch
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return F.log_softmax(self.fc(x), dim=1)
"""
LOOP = "net = Net()\ncriterion = nn.NLLLoss()\ndef step(x, y):\n    return criterion(net(x), y)\n"


async def test_an_edit_that_reaches_into_another_cell_is_withheld(editor):
    await editor.start(notebooks=True, pull=True, disabled=True, related=True)
    notebook = Notebook(editor, NET, LOOP)
    (found,) = await notebook.pull(1)
    assert found.code == "FUS505"
    assert {place.location.uri for place in found.related_information} == set(notebook.names)
    actions = await notebook.actions(1, "criterion(net", only=["quickfix"])
    assert [action.disabled.reason for action in actions if action.disabled] == [
        "its edit would reach into another cell"
    ]
    assert [action for action in actions if action.edit and "Ignore" not in action.title] == []
    together = Notebook(editor, NET + LOOP, uri="file:///project/one.ipynb", scheme="untitled")
    assert (await together.actions(0, "criterion(net"))[0].edit is not None


async def test_the_reason_of_a_near_miss_names_the_line_in_its_cell(editor):
    await editor.start(notebooks=True, pull=True, disabled=True)
    text = (
        "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 8, 3)\n        self.bn = nn.BatchNorm2d(8)\n"
        "    def forward(self, x):\n        return self.bn(self.conv(x)) + self.conv.bias.sum()\n"
    )
    notebook = Notebook(editor, "import torch\nfrom torch import nn\n", text)
    actions = await notebook.actions(1, "self.bn(", only=["refactor", "quickfix"])
    reason = next(action.disabled.reason for action in actions if action.disabled)
    assert reason.endswith("(cell 2, line 7)")


async def test_what_changes_a_whole_file_is_withheld_in_a_cell(stand_in):
    await stand_in.start(notebooks=True)
    notebook = Notebook(stand_in, "exact_1\nexact_2", "exact_3")
    for only in (["source.fixAll"], ["source.fixAll.fuselight"]):
        assert await notebook.actions(0, "exact_1", only=only) == []
    titles = [action.title for action in await notebook.actions(0, "exact_1")]
    assert [title for title in titles if title.startswith("Apply all")] == []
    assert any(title.startswith("Put exact_1") for title in titles)


async def test_an_action_is_stale_once_another_cell_has_changed(stand_in):
    await stand_in.start(notebooks=True, resolve=True)
    notebook = Notebook(stand_in, "exact_1", "exact_2")
    fix = (await notebook.actions(0, "exact_1"))[0]
    assert stand_in.applied((await stand_in.resolve(fix)).edit, uri=notebook.names[0]) == "EXACT_1"
    notebook.replace(1, "exact_2", "exact_3")
    with pytest.raises(Exception, match="has changed"):
        await stand_in.resolve(fix)


async def test_pushes_to_each_cell_and_takes_back(stand_in):
    await stand_in.start(notebooks=True)
    notebook = Notebook(stand_in, "exact_1", "x = 1", "exact_2\nexact_3")

    async def shown(cell, count):
        while True:
            pushed = [params for params in stand_in.client.published if params.uri == notebook.names[cell]]
            if pushed and len(pushed[-1].diagnostics) == count:
                return pushed[-1].diagnostics
            await asyncio.sleep(0.01)

    await shown(0, 1)
    assert stand_in.shown((await shown(2, 2))[1].range, uri=notebook.names[2]) == "exact_3"
    notebook.insert(1, "exact_4 exact_5")
    await shown(1, 2)
    assert stand_in.shown((await shown(3, 2))[1].range, uri=notebook.names[3]) == "exact_3"
    gone = notebook.names[1]
    notebook.remove(1)
    while stand_in.client.published[-1].uri != gone and not any(
        params.uri == gone and not params.diagnostics for params in stand_in.client.published
    ):
        await asyncio.sleep(0.01)
    notebook.close()
    await shown(0, 0)


async def test_a_client_that_pulls_is_asked_to_when_an_edit_changes_what_is_found_in_another_cell(editor):
    await editor.start(notebooks=True, pull=True, refresh=True)
    notebook = Notebook(editor, IMPORTS, GATE)
    assert (len(await notebook.pull(0)), len(await notebook.pull(1))) == (0, 1)
    notebook.replace(1, "def gate", "# more\ndef gate")
    assert len(await notebook.pull(1)) == 1
    assert editor.client.diagnostic_refresh_count == 0
    notebook.replace(0, "import torch\n", "import numpy\n")
    while not editor.client.diagnostic_refresh_count:
        await asyncio.sleep(0.01)
    assert await notebook.pull(1) == []


async def test_a_broken_cell_does_not_blind_the_others(editor):
    await editor.start(notebooks=True, pull=True)
    notebook = Notebook(editor, IMPORTS, "    y = (1,", f"{GATE}\n")
    assert [found.code for found in await notebook.pull(2)] == ["FUS401"]


async def test_a_malformed_change_makes_it_drop_the_notebook(stand_in):
    await stand_in.start(notebooks=True, pull=True)
    notebook = Notebook(stand_in, "exact_1")
    assert len(await notebook.pull(0)) == 1
    params = {"notebookDocument": {"uri": NOTEBOOK}, "change": 3}
    message = {"jsonrpc": "2.0", "method": "notebookDocument/didChange", "params": params}
    stand_in.client.protocol._send_data(message)
    assert await notebook.pull(0) == []


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "untitled:/project/new.py", "vscode-notebook-cell:/a.ipynb#W1"])
async def test_documents_that_are_no_files(editor, uri):
    """As clients without notebooks open a cell, too."""
    await editor.start(pull=True)
    editor.open(f"%pip install torch\n{IMPORTS}\n{GATE}\n" if "cell" in uri else f"import torch\n{GATE}\n", uri=uri)
    (found,) = await editor.pull(uri=uri)
    assert editor.shown(found.range, uri=uri) == "x * torch.sigmoid(x)"
    only = ["source.fixAll.fuselight"]
    assert bool(await editor.actions("def", uri=uri, only=only)) is ("cell" not in uri)
    editor.replace("x * torch", "y * torch", uri=uri)
    assert await editor.pull(uri=uri) == []


async def test_the_settings_of_a_cell_are_those_where_the_notebook_lies(stand_in, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nline-length = 70\n")
    await stand_in.start(notebooks=True, pull=True)
    notebook = Notebook(stand_in, "exact_1", uri=(tmp_path / "train.ipynb").as_uri(), scheme="untitled")
    (found,) = await notebook.pull(0)
    assert "line length 70" in found.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", "x = 1\n"),
        ("%time f(x)\n", "_#ime f(x)\n"),
        ("if a:\n    !ls\nx", "if a:\n    _#s\nx"),
        ("!", "_"),
        ("%%time\nx = 1", "_#time\nx = 1"),
        ("%%bash\nls\n\nrm x\r\n", "#%bash\n#s\n\n#m x\r\n"),
        ("!pip install \\\n  torch\nx = 1", "_#ip install \\\n# torch\nx = 1"),
        ("files = !ls\ny = %env X", "files = _#s\ny = _#nv X"),
        ("torch.nn?\n?x\nx??", "_#rch.nn?\n_#\n_#?"),
        ("x = (a\n% b\n)", "x = (a\n% b\n)"),
        ('s = """\n%time\n!ls\n"""\n%time', 's = """\n%time\n!ls\n"""\n_#ime'),
        ("a = b \\\n  % c", "a = b \\\n  % c"),
        ("x = a % b  # %time\ny = x != 1", "x = a % b  # %time\ny = x != 1"),
        ("x = f'{a!r}'", "x = f'{a!r}'"),
        ("/f x", "_# x"),
        ("# why not?\nx = 1", "# why not?\nx = 1"),
    ],
)
def test_magics_are_masked_place_for_place(text, expected):
    assert masked(text) == expected
    assert len(masked(text)) == len(text)
