"""The catalogue: every fusion, its page and its code. Importing this module imports every fusion's file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from fuselight.fusions import bias_before_batch_norm, sibling_linears, spelled_out_silu
from fuselight.fusions.base import FUSIONS as _CLASSES
from fuselight.fusions.base import Fusion, FusionInfo

_FILES = (bias_before_batch_norm, sibling_linears, spelled_out_silu)


def _info(cls: type[Fusion]) -> FusionInfo:
    page = inspect.cleandoc(cls.__doc__ or "")
    for example in cls.examples[:1]:
        page += f"\n\n## Example\n```python\n{example.before}```\n\nbecomes\n\n```python\n{example.after}```"
    return FusionInfo(cls.code, cls.name, page)


FUSIONS: Mapping[str, FusionInfo] = {code: _info(_CLASSES[code]) for code in sorted(_CLASSES)}
"""Every fusion by its code."""


def all_fusions() -> list[Fusion]:
    """One of each fusion, in the order of their codes."""
    return [_CLASSES[code]() for code in sorted(_CLASSES)]
