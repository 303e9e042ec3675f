"""pre-commit, with the configuration of README.md, on a project of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ci.readme import ROOT, block, shell

pytestmark = pytest.mark.editor

GATE = "import torch\n\n\ndef gate(x):\n    return x * torch.sigmoid(x)\n"
FUSED = GATE.replace("x * torch.sigmoid(x)", "torch.nn.functional.silu(x)")


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=fuselight", "-c", "user.email=fuselight@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


def commit_all(directory: Path) -> str:
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=all")
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A clone of this repository as it is now, and its commit."""
    clone = tmp_path_factory.mktemp("hooks") / "fuselight"
    clone.mkdir()
    for name in (".pre-commit-hooks.yaml", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    for name in ("emitter", "server"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    return clone, commit_all(clone)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit keeps what it installed: once for all tests here."""
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture
def project(tmp_path: Path, hooks: tuple[Path, str]) -> Path:
    """A project with a finding, one in an excluded file, and README.md's configuration."""
    clone, commit = hooks
    config = yaml.safe_load(block("yaml", ".pre-commit-config"))
    (repository,) = config["repos"]
    repository.update(repo=str(clone), rev=commit)
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "pyproject.toml").write_text('[tool.fuselight]\nexclude = ["generated"]\n')
    (tmp_path / "generated").mkdir()
    for name in ("a model.py", "generated/gate.py"):
        (tmp_path / name).write_text(GATE)
    (tmp_path / "stub.pyi").write_text("def gate(x): ...\n")
    commit_all(tmp_path)
    return tmp_path


def run(project: Path, home: Path, *hooks: str) -> subprocess.CompletedProcess[str]:
    return shell(f"pre-commit run --all-files {' '.join(hooks)}", project, timeout=600, PRE_COMMIT_HOME=str(home))


def test_the_fix_changes_the_file_and_fails_then_both_pass(project: Path, home: Path):
    first = run(project, home)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "files were modified by this hook" in first.stdout
    assert "Applied 1 fusion in 1 file." in first.stdout
    assert (project / "a model.py").read_text() == FUSED
    assert (project / "generated" / "gate.py").read_text() == GATE
    second = run(project, home)
    assert second.returncode == 0, second.stdout + second.stderr
    assert [line.split(".")[0] for line in second.stdout.splitlines()] == ["fuselight fix", "fuselight check"]
    assert second.stdout.count("Passed") == 2


def test_the_check_reports_and_changes_nothing(project: Path, home: Path):
    found = run(project, home, "fuselight-check")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "FUS401" in found.stdout
    assert "generated" not in found.stdout
    assert (project / "a model.py").read_text() == GATE
