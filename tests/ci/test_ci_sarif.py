"""The SARIF report, by the format's JSON schema, and by its authors' validator with the rules of what GitHub takes."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from jsonschema.validators import validator_for

from ci.readme import ROOT, shell

pytestmark = pytest.mark.editor

VALIDATOR = "@microsoft/sarif-multitool-linux@5.7.0"
SCHEMA = "@microsoft/jest-sarif@1.0.0-beta.0"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where npm has put the validator and the schema."""
    home = tmp_path_factory.mktemp("validator")
    npm = shutil.which("npm")
    assert npm, "npm is missing: it comes with Node 20 or newer"
    (home / "package.json").write_text('{"private": true}')
    installing = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--force", VALIDATOR, SCHEMA]
    subprocess.run(installing, cwd=home, check=True, capture_output=True, timeout=300)
    return home / "node_modules" / "@microsoft"


@pytest.fixture(scope="module")
def validate(packages: Path):
    """What the validator finds in a report: the rules that it breaks, the notes left out."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip(f"{VALIDATOR} is for Linux on x86_64")
    home = packages.parent.parent
    program = packages / "sarif-multitool-linux" / "Sarif.Multitool"
    program.chmod(0o755)

    def run(report: str) -> list[str]:
        path = home / "report.sarif"
        path.write_text(report, "utf-8")
        written = home / "verdict.sarif"
        written.unlink(missing_ok=True)
        subprocess.run(
            [program, "validate", path, "--rule-kind", "Sarif;Ghas", "--output", written],
            env={**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"},
            cwd=home,
            check=False,
            capture_output=True,
            timeout=120,
        )
        (verdict,) = json.loads(written.read_text("utf-8-sig"))["runs"]
        return sorted({f"{one['ruleId']} {one.get('level', 'warning')}" for one in verdict.get("results", ())})

    return run


@pytest.fixture
def report(tmp_path: Path) -> str:
    """Of real findings and near misses, with edits, of a file that cannot be read, and in a directory with a blank."""
    (tmp_path / "a model").mkdir()
    shutil.copy(ROOT / "examples" / "hybrid_vit.py", tmp_path / "a model" / "vit.py")
    (tmp_path / "a model" / "broken.py").write_text("def (\n")
    found = shell("fuselight check --output-format sarif --allow all --refused", tmp_path)
    assert found.returncode == 2
    return found.stdout


def test_the_report_is_valid_and_what_github_takes(validate, report: str):
    log = json.loads(report)
    (run,) = log["runs"]
    assert any("fixes" in result for result in run["results"])
    assert run["invocations"][0]["toolExecutionNotifications"]
    # There is no address at which more could be read of the tool.
    assert validate(report) == ["SARIF2005 warning"]


@pytest.fixture(scope="module")
def schema(packages: Path):
    """The errors of a log by the format's JSON schema."""
    (path,) = (packages / "jest-sarif").rglob("sarif-2.1.0*.json")
    described = json.loads(path.read_text("utf-8"))
    validator = validator_for(described)(described)
    return lambda log: [error.json_path for error in validator.iter_errors(log)]


def test_the_report_has_the_shape_that_the_schema_asks_for(schema, report: str):
    assert schema(json.loads(report)) == []


@pytest.mark.parametrize(
    ("damage", "rule", "place"),
    [
        (lambda run: run["results"][0].pop("message"), "JSON1002 error", "$.runs[0].results[0]"),
        (lambda run: run.update(frobnicate=1), "JSON1005 error", "$.runs[0]"),
        (lambda run: run["tool"]["driver"]["rules"][0].pop("fullDescription"), "GH2012 error", None),
        (lambda run: run["results"][0].update(level="loud"), None, "$.runs[0].results[0].level"),
    ],
)
def test_what_is_wrong_is_found(validate, schema, report: str, damage, rule: str | None, place: str | None):
    log = json.loads(report)
    damage(log["runs"][0])
    assert schema(log) == ([place] if place else [])
    if rule:
        assert rule in validate(json.dumps(log))
