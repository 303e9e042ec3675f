"""Comments that silence, and texts that only look like them."""

from __future__ import annotations

import textwrap
import tokenize

import pytest

from fuselight.analysis import Analysis
from fuselight.fusions.model import Finding, Safety
from fuselight.project.suppression import suppressions, suppressions_in
from fuselight.source.lines import LineIndex, Span


def silenced(text: str, code: str = "FUS401") -> bool:
    """Whether a finding on `<...>` of the text is; a second `<...>` is another of its places."""
    text = textwrap.dedent(text)
    spans: list[Span] = []
    while "<" in text:
        start = text.index("<")
        text = text.replace("<", "", 1)
        end = text.index(">")
        text = text.replace(">", "", 1)
        spans.append(Span(start, end))
    finding = Finding(code, "name", "message", Safety.EXACT, "title", "scope", spans[0], tuple(spans[1:]))
    found = suppressions(text).silences(finding, LineIndex(text))
    analysis = Analysis(f"x = 0\n\n{text}").updated(text)
    assert suppressions_in(analysis).silences(finding, analysis.lines) is found
    return found


@pytest.mark.parametrize(
    "text",
    [
        "<x>  # fuselight: ignore",
        "<x>  #fuselight:ignore",
        "<x>  # Fuselight: IGNORE",
        "<x>  # fuselight: ignore[FUS401]",
        "<x>  # fuselight: ignore [FUS101, FUS401]",
        "<x>  # fuselight: ignore[FUS4]",
        "<x>  # fuselight: ignore[fus401]",
        "<x>  # fuselight: ignore[ALL]",
        "<x>  # fuselight: ignore  the reference implementation",
        "<x>  # noqa: E501  # fuselight: ignore[FUS401]",
        "y = f(\n    <x>,  # fuselight: ignore\n)",
        "y = f(\n    <x>,\n)  # fuselight: ignore",
        "y = f(  # fuselight: ignore\n    <x>,\n)",
        "y = <f(\n    x,\n)>  # fuselight: ignore",
        "y = a + \\\n    <x>  # fuselight: ignore",
        "<q>\nk = <k>  # fuselight: ignore",
        "# fuselight: ignore-file\n<x>",
        "<x>\n    # fuselight: ignore-file[FUS401]",
        '"""Doc."""\n\n# fuselight: ignore-file\nif x:\n    <x>',
        "a = '\u2028'; b = '\x0c'\n<x>  # fuselight: ignore",
        "a\r<x>  # fuselight: ignore\rb",
        "a\r\n<x>  # fuselight: ignore\r\n",
        "def half(:\n<x>  # fuselight: ignore",
        "y = f(\n<x>  # fuselight: ignore\nz = 1\n",
        "s = 'open\n<x>  # fuselight: ignore",
        "    if a:\n  b\n<x>  # fuselight: ignore",
        "\u20ac ? $\n<x>  # fuselight: ignore",
    ],
)
def test_silenced(text: str) -> None:
    assert silenced(text)


@pytest.mark.parametrize(
    "text",
    [
        "<x>",
        "<x>\n# fuselight: ignore",
        "# fuselight: ignore\n<x>",
        "a  # fuselight: ignore\n<x>",
        "<x>  # fuselight: ignored",
        "<x>  # fuselight: ignore-line",
        "<x>  # fuselight ignore",
        "<x>  # myfuselight: ignore",
        "<x>  # fuselight: ignore[FUS101]",
        "<x>  # fuselight: ignore[FUS40100]",
        "<x>  # fuselight: ignore[]",
        "<x>  # fuselight: ignore[FUS401",
        "<x>; s = '# fuselight: ignore'",
        's = """\n# fuselight: ignore-file\n"""\n<x>',
        's = """\n<x>  # fuselight: ignore\n"""',
        "<x>  # fuselight: ignore-file",
        "a\n<x>\n# fuselight: ignore-file[FUS1]",
        "if a:  # fuselight: ignore\n    <x>",
        "class A:  # fuselight: ignore\n    def f(self):\n        <x>",
        "y = f(\n    a,  # fuselight: ignore\n    <x>,\n)",
        "y = f(\n    a)\n<x>\nz = g(b,\n    c)  # fuselight: ignore",
        "fuselight: ignore\n<x>",
    ],
)
def test_not_silenced(text: str) -> None:
    assert not silenced(text)


def test_of_a_new_version_only_what_changed_is_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    head = "def f(x):\n    return x  # fuselight: ignore\n\n\n"
    text = head + "def g(x):\n    return x{}\n\n\ny = 0  # fuselight: ignore\n"
    analysis = Analysis(text.format(""))
    assert suppressions_in(analysis).rows.keys() == {2, 9}
    monkeypatch.setattr(tokenize, "generate_tokens", lambda readline: pytest.fail("tokenized"))  # pyright: ignore
    analysis = analysis.updated(text.format(" +\\\n        1"))
    assert suppressions_in(analysis).rows.keys() == {2, 10}


def test_a_text_without_the_word_is_not_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "generate_tokens", lambda readline: pytest.fail("tokenized"))  # pyright: ignore
    assert not suppressions("x = 1  # ignore\n" * 1000)


def test_a_whole_file() -> None:
    for code in ("FUS101", "FUS401"):
        assert silenced("# fuselight: ignore-file\n<x>\n", code)
        assert silenced("# fuselight: ignore-file[FUS1]\n<x>\n", code) is (code == "FUS101")


def test_a_hopelessly_broken_text_ends() -> None:
    assert not suppressions("# fuselight:\n" + "x = (\n'''\n" * 300)
