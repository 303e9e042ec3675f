"""Which codes a selection takes in: `FUS101`, a prefix such as `FUS1`, or `ALL`; the more specific selector wins."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

EVERYTHING = "ALL"


def known_codes() -> tuple[str, ...]:
    """The codes of the catalogue, sorted."""
    # The catalogue is every fusion's module; most commands and every unselective run do without it here.
    from fuselight.fusions.registry import FUSIONS

    return tuple(sorted(FUSIONS))


def is_known(selector: str, codes: Iterable[str]) -> bool:
    return selector == EVERYTHING or (selector != "" and any(code.startswith(selector) for code in codes))


@lru_cache(maxsize=1024)
def includes(code: str, select: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    """Whether `code` is selected; where `select` and `ignore` both name it, the longer wins, `ignore` a tie."""
    return _specificity(code, select) > _specificity(code, ignore)


def _specificity(code: str, selectors: Iterable[str]) -> int:
    lengths = (0 if selector == EVERYTHING else len(selector) for selector in selectors if matches(selector, code))
    return max(lengths, default=-1)


def matches(selector: str, code: str) -> bool:
    return selector == EVERYTHING or (selector != "" and code.startswith(selector))
