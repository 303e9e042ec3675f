"""What README.md says of GitHub: the workflow, and the annotations in the grammar of workflow commands."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ci.readme import block, shell
from fuselight.source.lines import LineIndex

GATE = "import torch\n\n\ndef gate(x):\n    y = '😀 100%'; return x * torch.sigmoid(x)\n"
LONG = "import torch\n\n\ndef gate(x):\n    return x * torch.sigmoid(\n        x\n    )\n"


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    data: str


def parsed(line: str) -> Command:
    """A line as GitHub's runner reads it.

    Source: `ActionCommand.TryParseV2` of https://github.com/actions/runner, and
    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    assert line.startswith("::")
    head, end, data = line[2:].partition("::")
    assert end
    name, _, listed = head.partition(" ")
    properties = {}
    for pair in listed.split(","):
        key, equals, value = pair.partition("=")
        assert equals, line
        assert value, line
        for escaped, plain in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            value = value.replace(escaped, plain)
        properties[key.strip()] = value.strip()
    for escaped, plain in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        data = data.replace(escaped, plain)
    return Command(name, properties, data)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a finding in it, and one in a directory with a blank."""
    (tmp_path / "a model").mkdir()
    (tmp_path / "a model" / "gate.py").write_text(GATE, "utf-8")
    return tmp_path


def workflow() -> dict[str, object]:
    return yaml.safe_load(block("yaml", ".github/workflows"))


def own_steps() -> list[tuple[str, str]]:
    """The commands of the workflow that run fuselight, by their jobs."""
    jobs = workflow()["jobs"]
    return [
        (job, step["run"])
        for job, described in jobs.items()
        for step in described["steps"]
        if "run" in step and not step["run"].startswith("pip install ")
    ]


def test_the_workflow_has_what_github_asks_of_one():
    # YAML 1.1 reads the key `on` as true.
    described = workflow()
    assert set(described) == {"name", True, "jobs"}
    for job in described["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert job["steps"][0]["uses"].startswith("actions/checkout@")
        assert {"run": "pip install fuselight"} in job["steps"]
    scanning = described["jobs"]["code-scanning"]
    assert scanning["permissions"]["security-events"] == "write"
    *_, (_, written) = own_steps()
    assert f"> {scanning['steps'][-1]['with']['sarif_file']} " in written


def test_the_steps_of_the_workflow_run(project: Path):
    (_, annotating), (_, scanning) = own_steps()
    found = shell(annotating, project)
    assert found.returncode == 1
    assert found.stdout.startswith("::warning ")
    assert shell(scanning, project).returncode == 0
    assert json.loads((project / "fuselight.sarif").read_text("utf-8"))["version"] == "2.1.0"
    (project / "broken.py").write_text("def (\n", "utf-8")
    assert shell(scanning, project).returncode == 1


@pytest.mark.parametrize("name", ["model.py", "a,b.py", "a::b=c.py", "50%2C.py", "a b.py", "d/é.py", "a\nb.py"])
@pytest.mark.parametrize("text", [GATE, LONG])
def test_an_annotation_is_at_its_place(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    found = shell("fuselight check --output-format github", tmp_path)
    (line,) = found.stdout.splitlines()
    command = parsed(line)
    assert command.name == "warning"
    assert (command.properties["file"], command.properties["title"]) == (name, "fuselight (FUS401)")
    lines = LineIndex(text)
    row, end_row = int(command.properties["line"]), int(command.properties["endLine"])
    if text is GATE:
        start, end = int(command.properties["col"]), int(command.properties["endColumn"])
        assert lines.line_text(row - 1)[start - 1 : end - 1] == "x * torch.sigmoid(x)"
    else:
        # Columns go with a place on one line only.
        assert (row, end_row, {"col", "endColumn"} & command.properties.keys()) == (5, 7, set())
    assert command.data.startswith(f"{name}:5:")
    assert "FUS401 [exact]" in command.data
    assert "\n  help: " in command.data


def test_a_file_that_cannot_be_read_is_an_error_with_its_place(tmp_path: Path):
    (tmp_path / "broken, 1.py").write_text("x = 1\ndef (\n", "utf-8")
    found = shell("fuselight check --output-format github", tmp_path)
    assert found.returncode == 2
    command = parsed(found.stdout.strip())
    assert (command.name, command.properties["file"], command.properties["line"]) == ("error", "broken, 1.py", "2")
    assert "syntax error" in command.data
