"""Settings: where they come from, which wins, what is said of the bad ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuselight.fusions.model import Safety
from fuselight.project import settings as module
from fuselight.project.settings import Settings, SettingsCache, SettingsError, Severity, load_settings, look_up

CODES = ("FUS101", "FUS102", "FUS201", "FUS401")


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "known_codes", lambda: CODES)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_project_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings()


def test_every_key_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        "pyproject.toml",
        """
        [tool.fuselight]
        line-length = 100
        select = ["FUS1", "FUS401"]
        ignore = ["FUS102"]
        allow = ["inference"]
        exclude = ["vendored/"]
        respect-gitignore = false
        """,
    )
    settings = load_settings(tmp_path / "pkg" / "model.py")
    assert settings == Settings(
        line_length=100,
        select=("FUS1", "FUS401"),
        ignore=("FUS102",),
        allow=frozenset({Safety.EXACT, Safety.INFERENCE}),
        exclude=("vendored/",),
        respect_gitignore=False,
        root=tmp_path,
    )
    assert settings.codes() == {"FUS101", "FUS401"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"pyproject.toml": "[tool.fuselight]\nline-length = 79"}, 79, id="own"),
        pytest.param(
            {"pyproject.toml": "[tool.fuselight]\nline-length = 79\n[tool.ruff]\nline-length = 120"}, 79, id="own first"
        ),
        pytest.param({"pyproject.toml": "[tool.ruff]\nline-length = 120"}, 120, id="ruff"),
        pytest.param({"pyproject.toml": "[tool.black]\nline-length = 99"}, 99, id="black"),
        pytest.param(
            {"pyproject.toml": "[tool.ruff]\nline-length = 120\n[tool.black]\nline-length = 99"}, 120, id="ruff first"
        ),
        pytest.param(
            {"pyproject.toml": "[tool.ruff]\nline-length = 120", "ruff.toml": "line-length = 60"}, 60, id="ruff.toml"
        ),
        pytest.param({"ruff.toml": "line-length = 60", ".ruff.toml": "line-length = 61"}, 61, id=".ruff.toml"),
        pytest.param({"pyproject.toml": "[tool.ruff]\n[tool.black]\nline-length = 99"}, 99, id="ruff silent, black"),
        pytest.param({"pyproject.toml": "[tool.ruff]"}, 88, id="ruff silent"),
        pytest.param({"pyproject.toml": "[tool.black]"}, 88, id="black silent"),
        pytest.param({"pyproject.toml": "[project]\nname = 'x'"}, 88, id="no one says"),
        pytest.param({"ruff.toml": 'extend = "base/ruff.toml"', "base/ruff.toml": "line-length = 70"}, 70, id="extend"),
        pytest.param({"ruff.toml": 'extend = "ruff.toml"'}, 88, id="extends itself"),
        pytest.param({"ruff.toml": 'extend = "gone.toml"'}, 88, id="extends nothing"),
    ],
)
def test_line_length(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    assert load_settings(tmp_path).line_length == expected


def test_the_nearest_table_wins_whole(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "[tool.fuselight]\nline-length = 100\nignore = ['FUS101']")
    write(tmp_path, "inner/pyproject.toml", "[tool.fuselight]\nline-length = 60")
    assert load_settings(tmp_path / "inner" / "deep").line_length == 60
    assert load_settings(tmp_path / "inner").ignore == ()


def test_a_project_file_without_the_table_is_passed_by(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "[tool.fuselight]\nignore = ['FUS101']\n[tool.ruff]\nline-length = 100")
    write(tmp_path, "inner/pyproject.toml", "[project]\nname = 'inner'\n[tool.black]\nline-length = 70")
    settings = load_settings(tmp_path / "inner")
    assert (settings.ignore, settings.line_length, settings.root) == (("FUS101",), 70, tmp_path)


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[tool.fuselight]\nline_length = 80", "tool.fuselight.line_length", "known are line-length, select"),
        ("[tool.fuselight]\nline-length = '80'", "tool.fuselight.line-length", "'80' is not allowed"),
        ("[tool.fuselight]\nline-length = true", "tool.fuselight.line-length", "from 1 to 320"),
        ("[tool.fuselight]\nline-length = 0", "tool.fuselight.line-length", "0 is not allowed"),
        ("[tool.fuselight]\nline-length = 321", "tool.fuselight.line-length", "321 is not allowed"),
        ("[tool.fuselight]\nselect = 'FUS101'", "tool.fuselight.select", "a list of strings"),
        ("[tool.fuselight]\nselect = ['FUS9']", "tool.fuselight.select", "FUS101, FUS102, FUS201, FUS401"),
        ("[tool.fuselight]\nselect = ['']", "tool.fuselight.select", "[''] is not allowed"),
        ("[tool.fuselight]\nselect = ['FUS1011']", "tool.fuselight.select", "not allowed"),
        ("[tool.fuselight]\nignore = ['E501']", "tool.fuselight.ignore", "not allowed"),
        ("[tool.fuselight]\nignore = [1]", "tool.fuselight.ignore", "a list of strings"),
        ("[tool.fuselight]\nallow = ['safe']", "tool.fuselight.allow", "exact, checkpoint, breaking"),
        ("[tool.fuselight]\nallow = 'all'", "tool.fuselight.allow", "a list of strings"),
        ("[tool.fuselight]\nallow = ['all', 'exact']", "tool.fuselight.allow", "not allowed"),
        ("[tool.fuselight]\nexclude = 'build'", "tool.fuselight.exclude", "a list of strings"),
        ("[tool.fuselight]\nrespect-gitignore = 1", "tool.fuselight.respect-gitignore", "true or false"),
        ("[tool]\nfuselight = 3", "tool.fuselight", "3 is no table"),
        ("tool = 3", "tool", "3 is no table"),
        ("[tool.ruff]\nline-length = 'x'", "tool.ruff.line-length", "'x' is not allowed"),
        ("[tool.black]\nline-length = 1.5", "tool.black.line-length", "1.5 is not allowed"),
        ("[tool.fuselight", None, "is no TOML"),
    ],
)
def test_bad_settings_say_where_and_what(tmp_path: Path, text: str, key: str | None, said: str) -> None:
    file = write(tmp_path, "pyproject.toml", text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert (caught.value.source, caught.value.key) == (str(file), key)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_project_file_that_is_no_utf8_is_a_bad_setting(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(SettingsError, match="not UTF-8 at byte 5"):
        load_settings(tmp_path)


def test_overrides_win_and_none_is_unset() -> None:
    settings = Settings(line_length=100, select=("FUS1",), root=Path("/project"))
    merged = settings.merge({"line-length": None, "select": ["FUS201"], "allow": ["all"]})
    assert merged == Settings(line_length=100, select=("FUS201",), allow=frozenset(Safety), root=Path("/project"))


@pytest.mark.parametrize("overrides", [{"lineLength": 3}, {"line-length": "x"}, {"select": ["X"]}, {"root": "/"}])
def test_bad_overrides_name_their_source(overrides: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"^editor: "):
        Settings().merge(overrides, "editor")


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        (["ALL"], [], "FUS101 FUS102 FUS201 FUS401"),
        (["ALL"], ["FUS1"], "FUS201 FUS401"),
        (["FUS1"], [], "FUS101 FUS102"),
        (["FUS101"], ["FUS1"], "FUS101"),
        (["FUS1"], ["FUS101"], "FUS102"),
        (["FUS101"], ["FUS101"], ""),
        (["ALL"], ["ALL"], ""),
        ([], [], ""),
    ],
)
def test_the_more_specific_selector_wins(select: list[str], ignore: list[str], expected: str) -> None:
    settings = Settings().merge({"select": select, "ignore": ignore})
    assert [code for code in CODES if settings.includes(code)] == expected.split()
    codes = settings.codes()
    assert sorted(CODES if codes is None else codes) == expected.split()


def test_the_cache_follows_the_file(tmp_path: Path) -> None:
    cache = SettingsCache()
    model = tmp_path / "model.py"
    assert cache.of(model).settings.line_length == 88
    file = write(tmp_path, "pyproject.toml", "[tool.fuselight]\nline-length = 100")
    assert cache.of(model).settings.line_length == 100
    assert cache.of(model) is cache.of(model)
    file.write_text("[tool.fuselight]\nline-length = 101", encoding="utf-8")
    os.utime(file, ns=(1, 1))
    assert cache.of(model).settings.line_length == 101
    file.unlink()
    assert cache.of(model).settings == Settings()


def test_what_is_wrong_costs_only_itself_until_it_is_mended(tmp_path: Path) -> None:
    cache = SettingsCache()
    file = write(tmp_path, "pyproject.toml", "[tool.fuselight]\nline-length = 0\nwidth = 1\nignore = ['FUS1']")
    loaded = cache.of(tmp_path)
    assert [problem.key for problem in loaded.problems] == ["tool.fuselight.line-length", "tool.fuselight.width"]
    assert (loaded.settings.line_length, loaded.settings.ignore) == (88, ("FUS1",))
    assert cache.of(tmp_path) is loaded
    file.write_text("[tool.fuselight", encoding="utf-8")
    cache.reload()
    assert ([problem.key for problem in cache.problems()], cache.of(tmp_path).settings.ignore) == ([None], ())
    file.write_text("[tool.fuselight]\nline-length = 90", encoding="utf-8")
    assert (cache.of(tmp_path).settings.line_length, cache.of(tmp_path).problems) == (90, ())


def test_origins_name_the_file_and_the_key(tmp_path: Path) -> None:
    file = write(tmp_path, "pyproject.toml", "[tool.fuselight]\nignore = ['FUS1']\n[tool.ruff]\nline-length = 100")
    inner = write(tmp_path, "inner/ruff.toml", "")
    assert look_up(tmp_path).origins == {
        "ignore": f"{file} (tool.fuselight.ignore)",
        "line-length": f"{file} (tool.ruff.line-length)",
    }
    assert look_up(inner.parent).origins["line-length"] == f"default of ruff, which {inner} configures"


def test_severity_by_class(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "[tool.fuselight.severity]\nexact = 'warning'\nnumerics = 'information'")
    settings = load_settings(tmp_path).merge({"severity": {"numerics": "error", "breaking": None}})
    shown = {safety.value: settings.severity_of(safety).value for safety in Safety}
    assert shown == {
        "exact": "warning",
        "checkpoint": "hint",
        "breaking": "hint",
        "inference": "hint",
        "numerics": "error",
    }
    assert Settings().severity_of(Safety.EXACT) is Severity.INFORMATION


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("severity = 'warning'", "severity", "a table from a safety class"),
        ("severity.exact = 'loud'", "severity.exact", "'loud' is not allowed; allowed is error, warning"),
        ("severity.safe = 'hint'", "severity.safe", "'safe' is not allowed; allowed is a table"),
        ("severity.exact = ['hint']", "severity.exact", "['hint'] is not allowed"),
    ],
)
def test_bad_severities(tmp_path: Path, text: str, key: str, said: str) -> None:
    write(tmp_path, "pyproject.toml", f"[tool.fuselight]\n{text}")
    (problem,) = look_up(tmp_path).problems
    assert (problem.key, said in problem.problem) == (f"tool.fuselight.{key}", True)
