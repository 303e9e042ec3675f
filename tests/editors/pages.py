"""The blocks of the editors' pages."""

import re
from pathlib import Path

EDITORS = Path(__file__).parents[2] / "editors"


def page(editor: str) -> str:
    return (EDITORS / editor / "README.md").read_text()


def blocks(editor: str, language: str) -> list[str]:
    """A page's blocks of a language, in its order; there is one at least."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page(editor), re.MULTILINE | re.DOTALL)
    assert found, f"editors/{editor}/README.md has no block of {language}"
    return found


def block(editor: str, language: str, containing: str) -> str:
    """The one block of a language that contains a text."""
    (found,) = (text for text in blocks(editor, language) if containing in text)
    return found
