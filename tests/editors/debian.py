"""Programs that come from Debian and not with the `test` extra."""

import os
import shutil
from pathlib import Path

import pytest


def program(name: str, packages: str, needs: Path | None = None) -> str:
    """The path of a program, where a file that it needs is there as well.

    Without them a test is skipped, and fails where CI has installed them.
    """
    found = shutil.which(name)
    if found is not None and (needs is None or needs.exists()):
        return found
    missing = f"{name if found is None else needs} is missing: apt-get install {packages}"
    if os.environ.get("FUSELIGHT_REQUIRE_EDITORS"):
        pytest.fail(missing)
    pytest.skip(missing)
