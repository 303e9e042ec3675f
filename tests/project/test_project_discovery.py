"""Which files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuselight.project.discovery import discover
from fuselight.project.settings import Settings


def tree(root: Path, files: str) -> None:
    """Make files, one a line: a path, or a path and after a blank its content with `|` between lines."""
    for line in files.split("\n"):
        name, _, content = line.strip().partition(" ")
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        elif name:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content.replace("|", "\n") + "\n", encoding="utf-8")


def found(root: Path, *paths: str, settings: Settings | None = None, force_exclude: bool = False) -> str:
    chosen = settings or Settings(root=root)
    discovery = discover([root / path for path in paths or (".",)], lambda _: chosen, force_exclude=force_exclude)
    return " ".join(path.relative_to(root).as_posix() for path in discovery.files)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param("b.py\na.py\nsub/c.py", "a.py b.py sub/c.py", id="sorted"),
        pytest.param("a.pyi\na.txt\npy\n.py.swp\nb.py", "b.py", id="only Python"),
        pytest.param("dir.py/a.py", "dir.py/a.py", id="a directory named like a file"),
        pytest.param(
            ".venv/a.py\nnode_modules/a.py\n__pycache__/a.py\nbuild/a.py\ndist/a.py\n.eggs/a.py\nvenv/a.py\nok/a.py",
            "ok/a.py",
            id="never read",
        ),
        pytest.param("build.py\ndist.py", "build.py dist.py", id="files named so are"),
        pytest.param(".git/\n.gitignore gen/|x_*.py\ngen/a.py\nx_1.py\ny.py", "y.py", id="gitignore"),
        pytest.param(".gitignore x.py\nx.py\ny.py", "y.py", id="gitignore outside a repository"),
        pytest.param(
            ".git/\n.gitignore *.py|!keep.py\na.py\nkeep.py\nsub/keep.py", "keep.py sub/keep.py", id="negated"
        ),
        pytest.param(".git/\nsub/.gitignore /a.py\na.py\nsub/a.py\nsub/in/a.py", "a.py sub/in/a.py", id="nested"),
        pytest.param(
            ".git/\n.gitignore a.py\nsub/.gitignore !a.py\na.py\nsub/a.py\nother/a.py", "sub/a.py", id="nearest wins"
        ),
        pytest.param(".git/\n.gitignore out/\nout/.gitignore !a.py\nout/a.py\nb.py", "b.py", id="no way back in"),
        pytest.param(".git/\n.gitignore a/*|!a/b.py\na/b.py\na/c.py", "a/b.py", id="let in again"),
        pytest.param(".git/\n.gitignore # a.py||a.py\\ \na.py", "a.py", id="comments and blanks"),
        pytest.param(".git/\n.gitignore /|a.py\na.py\nb.py", "b.py", id="a line that is no pattern"),
        pytest.param(".git/info/exclude a.py\na.py\nb.py", "b.py", id="the clone's own excludes"),
        pytest.param(".git/\n.gitignore a.py\nnested/.git/\nnested/a.py\na.py", "nested/a.py", id="another repository"),
    ],
)
def test_walk(tmp_path: Path, files: str, expected: str) -> None:
    tree(tmp_path, files)
    assert found(tmp_path) == expected


@pytest.mark.parametrize(
    ("exclude", "named", "expected"),
    [
        ("gen", "gen/a.py b.py", "b.py"),
        ("gen/", "gen/a.py", ""),
        ("gen/", "gen b.py", "b.py"),
        ("gen", ".", "b.py x_pb.py"),
        ("*_pb.py", "gen/a.py b.py x_pb.py", "b.py gen/a.py"),
        ("!gen", "gen/a.py", "gen/a.py"),
        ("", "gen/a.py b.py", "b.py gen/a.py"),
    ],
)
def test_what_is_named_and_excluded_is_left_out_by_force(
    tmp_path: Path, exclude: str, named: str, expected: str
) -> None:
    tree(tmp_path, "b.py\nx_pb.py\ngen/a.py")
    settings = Settings(root=tmp_path, exclude=tuple(exclude.split()))
    assert found(tmp_path, *named.split(), settings=settings, force_exclude=True) == expected


def test_ignore_files_above_count_up_to_the_repository(tmp_path: Path) -> None:
    tree(tmp_path, ".gitignore b.py\nrepo/.git/\nrepo/.gitignore /sub/a.py\nrepo/sub/a.py\nrepo/sub/b.py")
    assert found(tmp_path, "repo/sub") == "repo/sub/b.py"


def test_what_is_named_is_read(tmp_path: Path) -> None:
    tree(tmp_path, ".git/\n.gitignore gen/|*.tmp.py\ngen/a.py\ngen/b.tmp.py\nx.tmp.py\nbuild/a.py\nscript")
    assert found(tmp_path, "x.tmp.py") == "x.tmp.py"
    assert found(tmp_path, "build") == "build/a.py"
    assert found(tmp_path, "gen") == "gen/a.py gen/b.tmp.py"
    assert found(tmp_path, "script") == "script"


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ((), "a.py sub/a.py sub/b.py"),
        (("sub",), "a.py"),
        (("/a.py",), "sub/a.py sub/b.py"),
        (("sub/*", "!sub/b.py"), "a.py sub/b.py"),
        (("!build",), "a.py build/a.py sub/a.py sub/b.py"),
    ],
)
def test_exclude(tmp_path: Path, exclude: tuple[str, ...], expected: str) -> None:
    tree(tmp_path, "a.py\nsub/a.py\nsub/b.py\nbuild/a.py")
    assert found(tmp_path, settings=Settings(exclude=exclude, root=tmp_path)) == expected


def test_exclude_is_anchored_at_the_project(tmp_path: Path) -> None:
    tree(tmp_path, "sub/a.py\nsub/sub/a.py")
    settings = Settings(exclude=("/sub/sub",), root=tmp_path)
    assert found(tmp_path, "sub", settings=settings) == "sub/a.py"
    assert found(tmp_path, "sub/sub", settings=settings) == "sub/sub/a.py"


def test_gitignore_can_be_left_aside(tmp_path: Path) -> None:
    tree(tmp_path, ".git/\n.gitignore a.py\na.py")
    assert found(tmp_path, settings=Settings(respect_gitignore=False)) == "a.py"


def test_links_neither_loop_nor_repeat(tmp_path: Path) -> None:
    tree(tmp_path, "real/a.py")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "again.py").symlink_to(tmp_path / "real" / "a.py")
    (tmp_path / "dangling.py").symlink_to(tmp_path / "gone.py")
    (tmp_path / "round.py").symlink_to(tmp_path / "round.py")
    assert found(tmp_path) == "real/a.py"
    assert found(tmp_path, "again.py") == "again.py"
    assert found(tmp_path, "real/loop") == "real/loop/real/a.py"


def test_a_file_reached_twice_is_read_once(tmp_path: Path) -> None:
    tree(tmp_path, "sub/a.py")
    assert found(tmp_path, "sub", "sub/a.py", ".", "sub/../sub/a.py") in ("sub/a.py", "sub/../sub/a.py")


def test_bad_paths_are_named(tmp_path: Path) -> None:
    tree(tmp_path, "a.py\nnotes.ipynb {}")
    os.mkfifo(tmp_path / "pipe")
    discovery = discover(
        [tmp_path / name for name in ("gone", "a.py", "notes.ipynb", "pipe", "a.py/b.py")], lambda _: Settings()
    )
    assert [path.name for path in discovery.files] == ["a.py"]
    assert [(problem.path.name, problem.message) for problem in discovery.problems] == [
        ("gone", "no such file or directory"),
        ("notes.ipynb", "a notebook; only Python files are read"),
        ("pipe", "neither a file nor a directory"),
        ("b.py", "no such file or directory"),
    ]


def test_an_unreadable_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a.py\nlocked/b.py")
    scandir = os.scandir

    def refusing(path: str):
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    discovery = discover([tmp_path], lambda _: Settings())
    assert [path.name for path in discovery.files] == ["a.py"]
    assert [problem.message for problem in discovery.problems] == ["cannot be read: Permission denied"]
