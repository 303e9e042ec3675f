"""Where the comment goes that silences a finding: every text silenced by it, and no other finding on the way."""

from __future__ import annotations

import textwrap

import pytest

from fuselight.fusions.model import Finding, Fix, Safety
from fuselight.project.ignoring import ignore
from fuselight.project.suppression import suppressions
from fuselight.source.lines import LineIndex, Span


def finding(text: str) -> tuple[str, Finding]:
    """A finding on `<...>` of the text, which is given back without the marks."""
    text = textwrap.dedent(text)
    start = text.index("<")
    text = text.replace("<", "", 1)
    end = text.index(">")
    text = text.replace(">", "", 1)
    return text, Finding("FUS401", "name", "message", Safety.EXACT, "title", "scope", Span(start, end))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = <x>\n", "y = x  # fuselight: ignore[FUS401]\n"),
        ("y = <x>", "y = x  # fuselight: ignore[FUS401]"),
        ("y = <x>  \nz = 1\n", "y = x  # fuselight: ignore[FUS401]\nz = 1\n"),
        ("y = <x>\r\nz = 1\r\n", "y = x  # fuselight: ignore[FUS401]\r\nz = 1\r\n"),
        ("y = <x>\rz = 1\r", "y = x  # fuselight: ignore[FUS401]\rz = 1\r"),
        ("y = <x>  # swish\n", "y = x  # swish  # fuselight: ignore[FUS401]\n"),
        ("y = <x>  # noqa: E501\n", "y = x  # noqa: E501  # fuselight: ignore[FUS401]\n"),
        ("y = <x>  # fuselight: ignore[FUS101]\n", "y = x  # fuselight: ignore[FUS101, FUS401]\n"),
        ("y = <x>  # fuselight: ignore[FUS101,]\n", "y = x  # fuselight: ignore[FUS101, FUS401]\n"),
        ("y = <x>  # Fuselight: Ignore [ FUS101 ]  why\n", "y = x  # Fuselight: Ignore [ FUS101, FUS401]  why\n"),
        ("y = <x>  # fuselight: ignore[]\n", "y = x  # fuselight: ignore[FUS401]\n"),
        (
            "y = <x>  # a  # fuselight: ignore[FUS1]  # b\n",
            "y = x  # a  # fuselight: ignore[FUS1, FUS401]  # b\n",
        ),
        (
            "y = <x>  # fuselight: ignore[FUS101\n",
            "y = x  # fuselight: ignore[FUS401]  # fuselight: ignore[FUS101\n",
        ),
        (
            "y = <x>  # fuselight: ignore-file[FUS101]\n",
            "y = x  # fuselight: ignore-file[FUS101]  # fuselight: ignore[FUS401]\n",
        ),
        ("f(\n    a,\n    <x>,\n    b,\n)\n", "f(\n    a,\n    x,  # fuselight: ignore[FUS401]\n    b,\n)\n"),
        ("y = <f(\n    x,\n)>\n", "y = f(  # fuselight: ignore[FUS401]\n    x,\n)\n"),
        (
            "y = f(\n    <x>,\n)  # fuselight: ignore[FUS101]\n",
            "y = f(\n    x,\n)  # fuselight: ignore[FUS101, FUS401]\n",
        ),
        ("y = a + \\\n    <x>\n", "y = a + \\\n    x  # fuselight: ignore[FUS401]\n"),
        ("y = <x> + \\\n    a + \\\n    b\n", "y = x + \\\n    a + \\\n    b  # fuselight: ignore[FUS401]\n"),
        ('y = <x>, """\na\n"""\n', 'y = x, """\na\n"""  # fuselight: ignore[FUS401]\n'),
        ('y = <x>, f"""\n{a}\n"""\n', 'y = x, f"""\n{a}\n"""  # fuselight: ignore[FUS401]\n'),
        ('y = """\na\n""", <x>\n', 'y = """\na\n""", x  # fuselight: ignore[FUS401]\n'),
        (
            'y = f("""\na""", <x>, """b\n""")\n',
            'y = f("""\na""", x, """b\n""")  # fuselight: ignore[FUS401]\n',
        ),
        ("if <x>:\n    pass\n", "if x:  # fuselight: ignore[FUS401]\n    pass\n"),
        ("if a: y = <x>\n", "if a: y = x  # fuselight: ignore[FUS401]\n"),
        ("<class A:\n    b = 1>\n", "class A:  # fuselight: ignore[FUS401]\n    b = 1\n"),
        ("y = '# no'; z = <x>\n", "y = '# no'; z = x  # fuselight: ignore[FUS401]\n"),
        ("y = '\u2028\x0c😀'; z = <x>\n", "y = '\u2028\x0c😀'; z = x  # fuselight: ignore[FUS401]\n"),
        (
            "\n\n# above\n@d\ndef f():\n    return <x>\n",
            "\n\n# above\n@d\ndef f():\n    return x  # fuselight: ignore[FUS401]\n",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("above", ["", "import torch\n"])
def test_silenced(before: str, after: str, above: str) -> None:
    text, found = finding(above + before)
    edit = ignore(found, text, Span(len(above), len(text)))
    assert edit is not None
    fixed = Fix("", (edit,)).apply(text)
    assert fixed == above + textwrap.dedent(after)
    moved = [at + (len(edit.content) - edit.end + edit.start if at >= edit.end else 0) for at in
             (found.span.start, found.span.end)]  # fmt: skip
    there = Finding("FUS401", "name", "message", Safety.EXACT, "title", "scope", Span(*moved))
    assert suppressions(fixed).silences(there, LineIndex(fixed))


@pytest.mark.parametrize("text", ["y = f(<x>\n", "y = '''<x>\n", "if a:\n    b\n  y = <x>\n"])
def test_where_python_does_not_parse_there_is_none(text: str) -> None:
    text, found = finding(text)
    assert ignore(found, text, Span(0, len(text))) is None
