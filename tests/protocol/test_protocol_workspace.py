"""`workspace/diagnostic`: closed files and open ones, by result ids, behind everything else."""

import asyncio

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException


@pytest.fixture
def project(tmp_path):
    for name, text in {
        "a.py": "exact_1\n",
        "pkg/b.py": "exact_2\nexact_3\n",
        "pkg/none.py": "",
        "build/c.py": "exact_4\n",
        "ignored.py": "exact_5\n",
        "bad.py": "\0",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    return tmp_path


class Workspace:
    """The pulls of one client, each with the results of the one before."""

    def __init__(self, editor, root):
        self.client, self.root = editor.client, root
        self.results = {}
        self.came = []
        """(kind, name) of each report that came ahead of its answer."""

    async def pull(self, *, token=None, identity=None):
        previous = [types.PreviousResultId(uri, value) for uri, value in self.results.items()]
        params = types.WorkspaceDiagnosticParams(previous, partial_result_token=token)
        report = await self.client.protocol.send_request_async("workspace/diagnostic", params, msg_id=identity)
        for value in self.client.partial_results.get(token, []):
            for item in value["items"]:
                self.came.append((item["kind"], item["uri"].rpartition("/")[2]))
                self.results[item["uri"]] = item["resultId"]
        return self.shown(report.items)

    def shown(self, items):
        self.results.update((item.uri, item.result_id) for item in items)
        return {
            item.uri.removeprefix(f"{self.root.as_uri()}/"): len(item.items) if item.kind == "full" else item.kind
            for item in items
        }


async def test_full_reports_first_and_unchanged_ones_then(stand_in, project):
    await stand_in.start(pull=True, roots=[project])
    assert stand_in.server.diagnostic_provider.workspace_diagnostics
    workspace = Workspace(stand_in, project)
    assert await workspace.pull() == {"a.py": 1, "pkg/b.py": 2, "pkg/none.py": 0, "bad.py": 0}
    unchanged = dict.fromkeys(["a.py", "pkg/b.py", "pkg/none.py", "bad.py"], "unchanged")
    assert await workspace.pull() == unchanged
    (project / "pkg" / "b.py").write_text("exact_2\n")
    assert await workspace.pull() == {**unchanged, "pkg/b.py": 1}
    (project / "a.py").unlink()
    assert await workspace.pull() == {**unchanged, "a.py": 0}
    assert await workspace.pull() == unchanged
    (project / "pyproject.toml").write_text("[tool.fuselight]\nignore = ['FUS1']\nexclude = ['bad.py']\n")
    assert await workspace.pull() == {"a.py": "unchanged", "pkg/b.py": 0, "pkg/none.py": 0, "bad.py": 0}


async def test_what_is_open_counts_as_the_editor_has_it(stand_in, project):
    await stand_in.start(pull=True, roots=[project])
    workspace = Workspace(stand_in, project)
    stand_in.open("exact_1 exact_2 exact_3\n", uri=(project / "a.py").as_uri())
    stand_in.open("exact_1\n", uri="untitled:Untitled-1")
    assert await workspace.pull() == {
        "a.py": 3, "pkg/b.py": 2, "pkg/none.py": 0, "bad.py": 0, "untitled:Untitled-1": 1,
    }  # fmt: skip
    stand_in.replace("exact_1", "x", uri=(project / "a.py").as_uri())
    assert (await workspace.pull())["a.py"] == 2


async def test_the_result_of_a_document_is_kept_until_its_diagnostics_change(stand_in):
    await stand_in.start(pull=True)
    stand_in.open("exact_1\n")
    first = await stand_in.report()
    assert (first.kind, len(first.items)) == ("full", 1)
    again = await stand_in.report(first.result_id)
    assert (again.kind, again.result_id) == ("unchanged", first.result_id)
    stand_in.replace("\n", "\n# more\n")
    assert (await stand_in.report(first.result_id)).kind == "unchanged"
    stand_in.replace("exact_1", " exact_1")
    changed = await stand_in.report(first.result_id)
    assert (changed.kind, changed.result_id != first.result_id) == ("full", True)
    assert (await stand_in.report("of-another-session")).kind == "full"


async def test_the_reports_come_as_they_are_made_to_a_client_that_takes_them(stand_in, project):
    for number in range(100):
        (project / f"more{number}.py").write_text("exact_1\n")
    await stand_in.start(pull=True, roots=[project])
    workspace = Workspace(stand_in, project)
    assert await workspace.pull(token="reports") == {}
    assert (len(stand_in.client.partial_results["reports"]) > 3, len(workspace.came)) == (True, 104)


async def test_closed_files_hold_up_no_message_and_a_cancelled_request_ends(stand_in, project):
    (project / "slow.py").write_text("SLOW exact_1\n")
    await stand_in.start(pull=True, roots=[project])
    workspace = asyncio.create_task(Workspace(stand_in, project).pull(identity="all"))
    stand_in.open("exact_1\n")
    for number in range(2, 6):
        assert len(await stand_in.pull()) == 1
        stand_in.replace("exact_1", f"exact_1 # {number}")
    assert not workspace.done()
    stand_in.client.cancel_request(types.CancelParams("all"))
    with pytest.raises(JsonRpcException) as refused:
        await workspace
    assert refused.value.code == types.LSPErrorCodes.RequestCancelled
    assert len(await stand_in.pull()) == 1


async def test_who_has_heard_twice_that_nothing_changed_hears_of_the_next_change(stand_in, project):
    await stand_in.start(pull=True, roots=[project], watchers=True)
    workspace = Workspace(stand_in, project)
    for token in (1, 2):
        await workspace.pull(token=token)
    held = asyncio.create_task(workspace.pull(token=3))
    stand_in.open("exact_1\n")
    assert len(await stand_in.pull()) == 1
    await held
    assert workspace.came[-5:].count(("full", "model.py")) == 1
    await workspace.pull(token=4)
    held = asyncio.create_task(workspace.pull(token=5))
    await stand_in.pull()
    assert not held.done()
    (project / "a.py").write_text("exact_1 exact_2\n")
    change = types.FileEvent((project / "a.py").as_uri(), types.FileChangeType.Changed)
    stand_in.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([change]))
    await held
    assert workspace.came[-5:].count(("full", "a.py")) == 1
