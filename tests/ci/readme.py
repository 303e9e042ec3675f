"""The blocks of README.md, and what they run."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The blocks of a language; there is one at least."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no block of {language}"
    return found


def block(language: str, containing: str) -> str:
    """The one block of a language that contains a text."""
    (found,) = (text for text in blocks(language) if containing in text)
    return found


def shell(command: str, cwd: Path, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command as GitHub's runner starts it on Linux, with this fuselight first on the path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=cwd,
        env={**environment, "PATH": os.pathsep.join([str(BIN), environment["PATH"]]), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
