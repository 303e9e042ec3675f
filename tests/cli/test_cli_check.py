"""`fuselight check`: what it reports, in which format, with which exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fuselight.cli.formats.fingerprints import line_hashes

MODEL = "def forward(x):\n    y = fuse_exact(x)\n    return y\n"


def concise(run, *arguments: str):
    return run("check", "--output-format", "concise", *arguments)


def test_nothing_found(run, files) -> None:
    files(model="x = 1\n")
    ran = concise(run)
    assert (ran.status, ran.out, ran.err) == (0, "No fusions found.\n", "")


def test_no_files_is_worth_a_word(run, files) -> None:
    ran = concise(run)
    assert (ran.status, ran.out) == (0, "No fusions found.\n")
    assert ran.err == "warning: no Python files found under the given paths\n"


def test_concise(run, files) -> None:
    files(model=MODEL, other="a = fuse_numerics(x)\nb = fuse_checkpoint(x)\nc = withheld(x)\n")
    ran = concise(run)
    assert ran.err == ""
    assert ran.status == 1
    assert ran.out == (
        "model.py:2:9: FUS401 [exact] `fuse_exact` can be fused\n"
        "other.py:1:5: FUS301 [numerics] `fuse_numerics` can be fused\n"
        "other.py:2:5: FUS201 [checkpoint] `fuse_checkpoint` can be fused\n"
        "other.py:3:5: FUS402 [exact] `withheld` can be fused (no edit: generated file)\n"
        "Found 4 fusions (1 fixable with `fuselight fix`, 1 more with `--allow checkpoint`, "
        "1 more with `--allow numerics`, 1 without an edit).\n"
    )


def test_full(run, files) -> None:
    files(model="import f\n\n\ndef forward(x):\n\ty = fuse_exact(x)  # \u4e2d\n\treturn y\n")
    assert run("check").out.splitlines() == [
        "FUS401 [exact] `fuse_exact` can be fused",
        " --> model.py:5:6",
        "  |",
        "4 | def forward(x):",
        "5 |     y = fuse_exact(x)  # \u4e2d",
        "  |         ^^^^^^^^^^^^^",
        "6 |     return y",
        "  |",
        "help: Replace by `fused(x)`",
        "@@ -4,3 +4,3 @@",
        " def forward(x):",
        "-    y = fuse_exact(x)  # \u4e2d",
        "+    y = fused(x)  # \u4e2d",
        "     return y",
        "",
        "Found 1 fusion (1 fixable with `fuselight fix`).",
    ]


def test_full_says_what_the_class_means_here(run, files) -> None:
    files(model="y = fuse_checkpoint(x)\n")
    ran = run("check").out.splitlines()
    assert ran[0] == "FUS201 [checkpoint] `fuse_checkpoint` can be fused"
    assert ran[6:8] == ["help: Replace by `fused(x)`", "checkpoint: why"]


def test_full_counts_wide_characters(run, files) -> None:
    files(model="s = '\u4e2de\u0301'; y = fuse_exact(x)\n")
    frame = run("check").out.splitlines()
    assert frame[3:5] == ["1 | s = '\u4e2de\u0301'; y = fuse_exact(x)", "  | " + " " * 15 + "^" * 13]


def test_full_sends_no_control_characters(run, files) -> None:
    files(model="s = '\x1b[31m'; y = fuse_exact(x)\n")
    ran = run("check")
    assert "\x1b" not in ran.out
    assert "\\x1b[31m" in ran.out


def test_refused(run, files) -> None:
    files(model="y = refused(x)\n")
    assert concise(run).out == "No fusions found.\n"
    ran = concise(run, "--refused")
    assert ran.status == 0
    assert ran.out == (
        "model.py:1:5: FUS403 [refused] `refused` can be fused (it is also called elsewhere)\n"
        "No fusions found.\n1 near miss refused.\n"
    )
    assert "refused: it is also called elsewhere" in run("check", "--refused").out


def test_json(run, files, tmp_path: Path) -> None:
    files(model=MODEL, other="y = refused(x)\n")
    ran = run("check", "--output-format", "json", "--refused")
    fused, refused = json.loads(ran.out)
    assert fused == {
        "code": "FUS401",
        "name": "fuse-exact",
        "message": "`fuse_exact` can be fused",
        "safety": "exact",
        "scope": "Block.forward",
        "filename": str(tmp_path / "model.py"),
        "location": {"row": 2, "column": 9},
        "end_location": {"row": 2, "column": 22},
        "fix": {
            "message": "Replace by `fused(x)`",
            "edits": [
                {"content": "fused", "location": {"row": 2, "column": 9}, "end_location": {"row": 2, "column": 19}}
            ],
        },
        "refused": None,
        "url": None,
    }
    assert (refused["fix"], refused["refused"]) == (None, "it is also called elsewhere")


def test_json_counts_characters(run, files) -> None:
    files(model=b"\xef\xbb\xbfs = '\xf0\x9f\x98\x80'; y = fuse_exact(x)\r\n")
    (found,) = json.loads(run("check", "--output-format", "json").out)
    assert found["location"] == {"row": 1, "column": 14}


@pytest.mark.parametrize("output_format", ["json", "sarif"])
def test_machine_formats_stay_whole_when_files_fail(run, files, output_format: str) -> None:
    files(a=MODEL, b=b"\0", c="crash", d="def (:\n", e="y = nofix(x)\n")
    ran = run("check", "--output-format", output_format, ".", "gone")
    assert ran.status == 2
    assert json.loads(ran.out)
    assert len(ran.err.splitlines()) == 5
    assert all(line.startswith("error: ") for line in ran.err.splitlines())


def test_json_of_nothing(run) -> None:
    assert run("check", "--output-format", "json").out == "[]\n"


def test_github(run, files) -> None:
    files(**{"a,b": "y = fuse_exact(x)\n", "b": "y = refused(x)\n", "c": "def (:\n"})
    ran = run("check", "--output-format", "github", "--refused")
    assert ran.out.splitlines()[:2] == [
        "::warning title=fuselight (FUS401),file=a%2Cb.py,line=1,col=5,endLine=1,endColumn=18::"
        "a,b.py:1:5: FUS401 [exact] `fuse_exact` can be fused%0A  help: Replace by `fused(x)`",
        "::notice title=fuselight (FUS403),file=b.py,line=1,col=5,endLine=1,endColumn=15::"
        "b.py:1:5: FUS403 [refused] `refused` can be fused%0A  refused: it is also called elsewhere",
    ]
    assert ran.out.splitlines()[2].startswith("::error title=fuselight,file=c.py,line=1,col=")


def test_sarif(run, files, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "m.py").write_text(MODEL, encoding="utf-8")
    log = json.loads(run("check", "--output-format", "sarif").out)
    assert log["version"] == "2.1.0"
    (invocation,) = log["runs"]
    assert invocation["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    assert invocation["originalUriBaseIds"]["SRCROOT"]["uri"] == f"{tmp_path.as_uri()}/"
    (result,) = invocation["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "a%20b/m.py", "uriBaseId": "SRCROOT"}
    assert place["region"] == {"startLine": 2, "startColumn": 9, "endLine": 2, "endColumn": 22}
    assert result["ruleId"] == invocation["tool"]["driver"]["rules"][0]["id"] == "FUS401"
    (replacement,) = result["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["insertedContent"] == {"text": "fused"}
    (rule,) = invocation["tool"]["driver"]["rules"]
    assert result["partialFingerprints"] == {"primaryLocationLineHash": line_hashes(MODEL)[1]}
    assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
    assert rule["help"]["markdown"]


@pytest.mark.parametrize("command", ["check", "fix --diff"])
def test_excluded_by_force(run, files, tmp_path: Path, command: str) -> None:
    files(model=MODEL)
    (tmp_path / "pyproject.toml").write_text('[tool.fuselight]\nexclude = ["model.py"]\n', encoding="utf-8")
    assert run(*command.split(), "model.py").status == 1
    forced = run(*command.split(), "--force-exclude", "model.py")
    assert (forced.status, forced.err.replace("Nothing to apply.\n", "")) == (0, "")


def test_statistics(run, files) -> None:
    files(model="fuse_exact(x)\nfuse_exact(x)\nfuse_checkpoint(x)\nrefused(x)\n")
    ran = run("check", "--statistics", "--refused")
    assert ran.out.splitlines()[:3] == [
        "2  FUS401  [exact]       fuse-exact",
        "1  FUS201  [checkpoint]  fuse-checkpoint",
        "1  FUS403  [refused]     refused",
    ]
    counts = json.loads(run("check", "--statistics", "--output-format", "json").out)
    assert counts[0] == {"code": "FUS401", "name": "fuse-exact", "safety": "exact", "count": 2}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "FUS401 FUS201 FUS301"),
        ("--allow exact", "FUS401"),
        ("--allow inference", "FUS401 FUS101"),
        ("--allow checkpoint,breaking", "FUS401 FUS201 FUS202"),
        ("--allow checkpoint --allow breaking", "FUS401 FUS201 FUS202"),
        ("--allow all", "FUS401 FUS201 FUS202 FUS101 FUS301"),
        ("--select FUS2", "FUS201"),
        ("--select FUS2 --allow all", "FUS201 FUS202"),
        ("--ignore FUS2,FUS3", "FUS401"),
        ("--select ALL --ignore FUS401", "FUS201 FUS301"),
        ("--select FUS401 --ignore ALL", "FUS401"),
        ("--select FUS101", ""),
    ],
)
def test_what_is_reported(run, files, arguments: str, expected: str) -> None:
    files(model="fuse_exact(x)\nfuse_checkpoint(x)\nfuse_breaking(x)\nfuse_inference(x)\nfuse_numerics(x)\n")
    ran = run("check", "--output-format", "json", *arguments.split())
    assert [found["code"] for found in json.loads(ran.out)] == expected.split()
    assert ran.status == (1 if expected else 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("check gone.py", "gone.py: no such file or directory"),
        ("check --select FUS9", "command line: select: ['FUS9'] is not allowed; allowed is FUS101, FUS201"),
        ("check --ignore E501", "command line: ignore: ['E501'] is not allowed"),
        ("check --allow safe", "command line: allow: ['safe'] is not allowed; allowed is exact, checkpoint"),
        ("check --line-length 0", "command line: line-length: 0 is not allowed"),
        ("check --line-length x", "argument --line-length: invalid int value: 'x'"),
        ("check --output-format xml", "argument --output-format: invalid choice: 'xml'"),
        ("check --statistics --output-format sarif", "--statistics has no sarif format"),
        ("check - model.py", "command line: - for standard input stands alone"),
        ("check --frobnicate", "unrecognized arguments: --frobnicate"),
        ("frobnicate", "argument COMMAND: invalid choice: 'frobnicate'"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_a_bad_command_line_is_one_line(run, files, arguments: str, said: str) -> None:
    files(model="x = 1\n")
    ran = run(*arguments.split())
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (:\n", "bad.py:1:5: syntax error: invalid syntax"),
        ("newer = = 1\n", "bad.py:1:9: syntax of Python 3.99; fuselight runs on Python 3."),
        ("crash", "bad.py: internal error: RuntimeError: the engine fell over"),
        (b"a\0", "bad.py: a binary file (NUL at byte 1)"),
        (b"# coding: klingon", "bad.py: its encoding cannot be told: unknown encoding: klingon"),
    ],
)
def test_a_bad_file_costs_only_itself(run, files, text: str | bytes, said: str) -> None:
    files(bad=text, model=MODEL)
    ran = concise(run)
    assert ran.status == 2
    assert ran.err.startswith(f"error: {said}")
    assert ran.err.count("\n") == 1
    assert "model.py:2:9: FUS401" in ran.out


def test_a_broken_file_is_reported_with_its_findings(run, files) -> None:
    files(model="y = fuse_exact(x)\ndef (:\n")
    ran = concise(run)
    assert ran.status == 2
    assert "model.py:1:5: FUS401" in ran.out
    assert "model.py:2:5: syntax error" in ran.err


def test_a_fault_in_an_edit_costs_the_edit(run, files) -> None:
    files(model="y = nofix(x)\nz = fuse_exact(x)\n")
    ran = run("check", "--output-format", "json")
    assert [bool(found["fix"]) for found in json.loads(ran.out)] == [False, True]
    assert ran.err.startswith("error: model.py:1:5: internal error: RewriteError: no edit came of it at conftest.py:")
    assert ran.err.endswith(" (the edit of FUS404)\n")
    assert ran.status == 2


def test_a_fault_in_a_fusion_costs_only_that(run, files) -> None:
    files(model="y = fuse_exact(x)  # fault\n")
    ran = concise(run)
    assert (ran.status, ran.out.count("FUS401")) == (2, 1)
    assert ran.err.startswith("error: model.py: internal error: FUS201 failed in Block.forward: KeyError: 'layer' at ")
    assert ran.err.count("\n") == 1


def test_comments_silence(run, files) -> None:
    files(
        a="y = fuse_exact(x)  # fuselight: ignore[FUS4]\nz = fuse_exact(x)\n",
        b="# fuselight: ignore-file\ny = fuse_exact(x)\n",
        c="y = refused(x)  # fuselight: ignore\n",
    )
    assert concise(run, "--refused").out.splitlines()[:-1] == ["a.py:2:5: FUS401 [exact] `fuse_exact` can be fused"]


def test_settings_of_each_file_count(run, files, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nignore = ['FUS4']\nallow = ['exact']\n", "utf-8")
    (tmp_path / "inner" / "pyproject.toml").write_text("[tool.fuselight]\nallow = ['all']\n", "utf-8")
    text = "fuse_exact(x)\nfuse_breaking(x)\n"
    files(model=text, **{"inner/model": text})
    assert concise(run).out.count("\n") == 3
    assert "inner/model.py:2:1: FUS202" in concise(run).out
    assert "model.py:1:1: FUS401" in concise(run, "--ignore", "FUS3").out


def test_a_bad_setting_is_said_once_and_costs_its_files(run, files, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "pyproject.toml").write_text("[tool.fuselight]\nselct = []\n", "utf-8")
    files(model=MODEL, **{"inner/a": MODEL, "inner/b": MODEL})
    ran = concise(run)
    assert ran.status == 2
    assert ran.out.startswith("model.py:2:9: FUS401")
    assert ran.err.startswith(f"error: {tmp_path / 'inner' / 'pyproject.toml'}: tool.fuselight.selct: unknown setting")
    assert ran.err.count("\n") == 1


def test_a_path_above_has_the_settings_above(run, files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pyproject.toml").write_text("[tool.fuselight]\nignore = ['ALL']\n", "utf-8")
    files(model=MODEL, **{"here/inner": MODEL})
    monkeypatch.chdir(tmp_path / "here")
    assert concise(run, ".", "..").out.splitlines()[:-1] == [
        "../model.py:2:9: FUS401 [exact] `fuse_exact` can be fused"
    ]


def test_standard_input(run, files, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.fuselight]\nignore = ['FUS2']\n", "utf-8")
    stdin = b"y = fuse_exact(x)\nfuse_checkpoint(x)\n"
    ran = run("check", "--output-format", "concise", "-", "--stdin-filename", "pkg/model.py", stdin=stdin)
    assert ran.out.splitlines()[:-1] == ["pkg/model.py:1:5: FUS401 [exact] `fuse_exact` can be fused"]
    assert run("check", "-", stdin=b"\0").err == "error: -: a binary file (NUL at byte 0)\n"


def test_paths_are_shown_from_here(run, files, tmp_path: Path) -> None:
    files(model=MODEL)
    assert concise(run, str(tmp_path / "model.py")).out.startswith("model.py:2:9")
    assert concise(run, "./model.py", "model.py").out.count("FUS401") == 1


def test_colours_only_where_wanted(run, files, monkeypatch: pytest.MonkeyPatch) -> None:
    files(model=MODEL)
    assert "\x1b[" not in run("check").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("check").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("check").out


def test_interrupted(run, files, monkeypatch: pytest.MonkeyPatch) -> None:
    import fuselight.cli.run as module

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    files(model=MODEL)
    monkeypatch.setattr(module, "check_file", interrupt)
    ran = run("check")
    assert (ran.status, ran.out, ran.err) == (130, "", "")
