"""Pinned wheels of real model code: downloaded once, read as text, never installed or imported."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "wheels"

PINNED = (
    "diffusers==0.42.1",
    "segmentation-models-pytorch==0.6.0",
    "timm==1.0.31",
    "torchvision==0.29.2",
    "transformers==5.23.0",
    "vit-pytorch==1.26.11",
    "x-transformers==2.31.10",
)


def wheel(requirement: str) -> Path:
    """The wheel of `name==version`, downloaded if it is not there yet."""
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    found = sorted(CACHE.glob(pattern))
    if not found:
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), requirement]
        subprocess.run(command, check=True, timeout=600)
        found = sorted(CACHE.glob(pattern))
    return found[0]


def sources(requirement: str) -> Iterator[tuple[str, str]]:
    """Name and text of each Python file of a wheel."""
    with zipfile.ZipFile(wheel(requirement)) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".py"):
                yield name, archive.read(name).decode("utf-8")
