"""The findings of texts that were analysed before, kept on disk: a file that has not changed shows them at once.

They lie under the user's cache folder, or where `FUSELIGHT_CACHE_DIR` says; where that is empty nothing is kept. An
entry is found by its text and by the fuselight and the Python that wrote it, so none is ever stale, and nothing but
what is shown is taken from it: an edit is always worked out from the text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import cast

import fuselight
import fuselight_emitter
from fuselight.fusions.model import Finding, Safety
from fuselight.source.lines import Span

logger = logging.getLogger(__name__)

VARIABLE = "FUSELIGHT_CACHE_DIR"
_MOST_ENTRIES = 20_000
"""Of so many files the findings are kept, some 50 MB at most."""
_DAY = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is recalled of a text: its findings, and the pages that their codes lead to."""

    findings: tuple[Finding, ...]
    pages: Mapping[str, str]


class Remembered:
    """The findings by text, in a folder of the user's."""

    def __init__(self, folder: Path | None) -> None:
        """Keep them under `folder`; None keeps nothing."""
        self._folder = folder

    @classmethod
    def of_user(cls) -> Remembered:
        """Those of the user, where the environment says, or the operating system keeps such things."""
        named = os.environ.get(VARIABLE)
        if named is None:
            from platformdirs import user_cache_path

            return cls(user_cache_path("fuselight", appauthor=False))
        return cls(Path(named)) if named else cls(None)

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._folder is not None

    def prepare(self) -> None:
        """Work out what all entries have in common, before other processes get this; make room, once a day."""
        if self._folder is not None:
            _ = self._version
            self.tidy()

    def of(self, text: str, codes: frozenset[str] | None = None) -> Recalled | None:
        """What was found in a text, looking for `codes` (None: for all); None where it is not known."""
        if self._folder is None:
            return None
        try:
            file = self._file(text, codes)
            recalled = _read(json.loads(file.read_bytes()), len(text))
            os.utime(file)  # the entries that nobody reads go first
            return recalled
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            logger.info("What is remembered of a text cannot be read: %s", error)
            return None

    def keep(
        self,
        text: str,
        findings: Sequence[Finding],
        pages: Mapping[str, str],
        codes: frozenset[str] | None = None,
    ) -> None:
        """Remember what was found in a text. A folder that cannot be written to costs what would be remembered.

        The text is one that parses, whole, and in which no fusion failed.
        """
        if self._folder is None:
            return
        with suppress(OSError):
            file = self._file(text, codes)
            if file.exists():
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_name(f"{file.name}.{os.getpid()}")
            beside.write_text(json.dumps(_written(findings, pages)), encoding="utf-8")
            beside.replace(file)

    def tidy(self) -> None:
        """`forget_the_oldest`, once a day."""
        if self._folder is None:
            return
        with suppress(OSError):
            done = self._folder / "tidied"
            if not done.exists() or time.time() - done.stat().st_mtime > _DAY:
                self._folder.mkdir(parents=True, exist_ok=True)
                done.touch()
                self.forget_the_oldest()

    def forget_the_oldest(self) -> None:
        """Remove what other versions of fuselight left, and the entries beyond the most that are kept."""
        if self._folder is None:
            return
        with suppress(OSError):
            entries = [entry for entry in self._folder.glob("*/*/*.json") if entry.parent.parent.name == self._version]
            for other in self._folder.glob("*/*/*"):
                if other.parent.parent.name != self._version:
                    other.unlink(missing_ok=True)
            if len(entries) > _MOST_ENTRIES:
                entries.sort(key=lambda entry: entry.stat().st_mtime)
                for entry in entries[: len(entries) - _MOST_ENTRIES]:
                    entry.unlink(missing_ok=True)

    def _file(self, text: str, codes: frozenset[str] | None) -> Path:
        assert self._folder is not None
        told = text if codes is None else f"{text}\0{','.join(sorted(codes))}"
        name = blake2b(told.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        return self._folder / self._version / name[:2] / f"{name[2:]}.json"

    @cached_property
    def _version(self) -> str:
        """Of this fuselight, to the last change of its files, and this Python."""
        told = [sys.version]
        for package in (fuselight, fuselight_emitter):
            for folder in package.__path__:
                for file in sorted(Path(folder).rglob("*.py")):
                    status = file.stat()
                    told.append(f"{file} {status.st_size} {status.st_mtime_ns}")
        return blake2b("\n".join(told).encode(), digest_size=16).hexdigest()


def _written(findings: Sequence[Finding], pages: Mapping[str, str]) -> dict[str, object]:
    return {
        "findings": [
            {
                "code": one.code,
                "name": one.name,
                "message": one.message,
                "safety": one.safety.value,
                "title": one.title,
                "scope": one.scope,
                "spans": [[span.start, span.end] for span in (one.span, *one.others)],
                "withheld": one.withheld,
            }
            for one in findings
        ],
        "pages": dict(pages),
    }


def _read(entry: dict[str, object], length: int) -> Recalled:
    """An entry as it was written.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: It is none.
    """
    findings: list[Finding] = []
    for number, one in enumerate(cast("list[dict[str, object]]", entry["findings"])):
        spans = [Span(int(start), int(end)) for start, end in cast("list[list[int]]", one["spans"])]
        if not all(0 <= span.start <= span.end <= length for span in spans):
            raise ValueError("a place outside the text")
        told = {name: str(one[name]) for name in ("code", "name", "message", "title", "scope")}
        withheld = str(one["withheld"]) if one["withheld"] is not None else None
        safety, (first, *others) = Safety(one["safety"]), spans
        findings.append(
            Finding(**told, safety=safety, span=first, others=tuple(others), withheld=withheld, number=number)
        )
    pages = cast("dict[str, object]", entry["pages"])
    return Recalled(tuple(findings), {code: str(page) for code, page in pages.items()})
