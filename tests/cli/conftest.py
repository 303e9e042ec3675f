"""A stand-in engine, so that the command line is tested for what it does with findings, not for finding them.

In a text `fuse_exact(x)`, `fuse_checkpoint(x)`, ... are findings of that safety, whose fix writes `fused(x)`;
`refused(x)` is a near miss, `withheld(x)` an exact finding without an edit, `nofix(x)` one whose edit fails. Where the
text says `fault` one fusion fails, where it says `crash` everything.
"""

from __future__ import annotations

import ast
import io
import logging
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import pytest

import fuselight.analysis
import fuselight.cli.run
from fuselight.analysis import RewriteError, SyntaxProblem
from fuselight.cli import formats, main
from fuselight.fusions.model import Finding, Fix, Safety, TextEdit
from fuselight.project import codes, settings
from fuselight.source.lines import LineIndex, Span

CODES = {
    "fuse_exact": ("FUS401", Safety.EXACT),
    "fuse_checkpoint": ("FUS201", Safety.CHECKPOINT),
    "fuse_breaking": ("FUS202", Safety.BREAKING),
    "fuse_inference": ("FUS101", Safety.INFERENCE),
    "fuse_numerics": ("FUS301", Safety.NUMERICS),
    "withheld": ("FUS402", Safety.EXACT),
    "refused": ("FUS403", Safety.EXACT),
    "nofix": ("FUS404", Safety.EXACT),
}
_SITE = re.compile(rf"\b({'|'.join(CODES)})(\(\w*\))")


class StandIn:
    def __init__(self, text: str, *, line_length: int = 88, codes: frozenset[str] | None = None) -> None:
        if "crash" in text:
            raise RuntimeError("the engine fell over")
        self.text = text
        self.line_length = line_length
        self.codes = codes
        self.is_faulty = False
        self.problems: tuple[SyntaxProblem, ...] = ()
        try:
            ast.parse(text)
        except SyntaxError as error:
            newer = "3.99" if "newer" in text else None
            self.problems = (SyntaxProblem(error.msg, error.lineno or 1, error.offset or 1, newer),)
        found = [self._finding(number, match) for number, match in enumerate(_SITE.finditer(text))]
        self.refusals = tuple(finding for finding in found if finding.refused is not None)
        self._found = tuple(finding for finding in found if finding.refused is None)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        if "fault" in self.text:
            self.is_faulty = True
            try:
                raise KeyError("layer")
            except KeyError:
                logging.getLogger("fuselight").exception("%s failed in %s", "FUS201", "Block.forward")
        return self._found

    def _finding(self, number: int, match: re.Match[str]) -> Finding:
        code, safety = CODES[match[1]]
        return Finding(
            code,
            f"{match[1].replace('_', '-')}",
            f"`{match[1]}` can be fused",
            safety,
            f"Replace by `fused{match[2]}`" + (f" ({safety.value}: why)" if safety is not Safety.EXACT else ""),
            "Block.forward",
            Span(match.start(), match.end()),
            refused="it is also called elsewhere" if match[1] == "refused" else None,
            withheld="generated file" if match[1] == "withheld" else None,
            number=number,
        )

    @cached_property
    def lines(self) -> LineIndex:
        return LineIndex(self.text)

    def work(self) -> Iterator[None]:
        return iter(())

    def updated(self, text: str) -> StandIn:
        return StandIn(text, line_length=self.line_length, codes=self.codes)

    def fix(self, finding: Finding) -> Fix | None:
        if finding.withheld:
            return None
        if finding.name == "nofix":
            raise RewriteError("no edit came of it")
        span = finding.span
        name = "fused\u0394" if "latin-1" in self.text else "fused"
        return Fix(finding.title, (TextEdit(span.start, self.text.index("(", span.start), name),))


@dataclass(frozen=True)
class FakeFusion:
    code: str
    name: str
    page: str
    summary: str
    url: str | None = None


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in engine and its catalogue."""
    monkeypatch.setattr(fuselight.analysis, "Analysis", StandIn)
    monkeypatch.setattr(fuselight.cli.run, "Analysis", StandIn)
    known = tuple(sorted(code for code, _ in CODES.values()))
    for module in (codes, settings):
        monkeypatch.setattr(module, "known_codes", lambda: known)
    registry = ModuleType("fuselight.fusions.registry")
    registry.__dict__["FUSIONS"] = {
        code: FakeFusion(code, name.replace("_", "-"), f"`{name}` is fused.\n\nSafety: {safety.value}.", f"`{name}`.")
        for name, (code, safety) in CODES.items()
    }
    monkeypatch.setitem(sys.modules, "fuselight.fusions.registry", registry)
    formats.page_url.cache_clear()


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(
    engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Run the command line in an empty directory with the stand-in engine; `stdin` is what comes on standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def ran(*arguments: str, stdin: bytes | None = None) -> Ran:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        status = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Ran(status, out.decode(), err.decode())

    return ran


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., None]:
    """Write files of the test's directory: `files(model="...", other="...")` makes model.py and other.py."""

    def write(**texts: str | bytes) -> None:
        for name, text in texts.items():
            data = text.encode() if isinstance(text, str) else text
            (tmp_path / f"{name}.py").write_bytes(data)

    return write
