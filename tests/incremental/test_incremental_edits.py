"""Whatever is typed: what one version takes over from the one before is what an analysis from nothing finds."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from fuselight.analysis import Analysis, RewriteError
from fuselight.fusions.model import Fix
from incremental.test_incremental_work import TEXT

FILES = [TEXT, *(path.read_text(encoding="utf-8") for path in sorted(Path("examples").glob("**/*.py")))]
_NAME = re.compile(r"[A-Za-z_]\w*")
_LINES = (
    "x = 1", "self.extra = nn.Linear(4, 4)", "# a comment", "", "x = x * torch.sigmoid(x)", "self.eps = 1e-5",
    "weight = getattr(self, name)", "for p in self.parameters(): p.zero_()", "y = self.norm(x) + self.weight",
    'setattr(self, "x", 1)', "global SCALE", "def inner(self): return self.weight",
)  # fmt: skip


def edited(chosen: random.Random, text: str) -> str:
    """`text` after one edit such as people make, and some that they do not."""
    lines = text.split("\n")
    at = chosen.choice([number for number, line in enumerate(lines) if line.strip()] or [0])
    line = lines[at]
    names = list(_NAME.finditer(line))
    match chosen.randrange(11):
        case 0 | 1 if names:
            name = chosen.choice(names)
            end = chosen.randint(name.start() + 1, name.end())
            lines[at] = line[:end] + chosen.choice("xy_1") + line[end:]
        case 2 if names:
            name = chosen.choice(names)
            lines[at] = line[: name.start()] + chosen.choice(_NAME.findall(text)) + line[name.end() :]
        case 3:
            column = chosen.randint(0, len(line))
            lines[at] = line[:column] + chosen.choice("()[],.:\"=+-*# '") + line[column:]
        case 4:
            column = chosen.randrange(len(line) or 1)
            lines[at] = line[:column] + line[column + 1 :]
        case 5:
            lines.insert(at, " " * (len(line) - len(line.lstrip())) + chosen.choice(_LINES))
        case 6:
            del lines[at : at + chosen.randint(1, 6)]
        case 7:
            moved = lines[at : at + chosen.randint(1, 12)]
            del lines[at : at + len(moved)]
            to = chosen.randint(0, len(lines))
            lines[to:to] = moved
        case 8 | 9:
            lines[at] = line + chosen.choice(
                (" ", "  # ", "# a comment", "  # fuselight: ignore", " # " + chosen.choice(_LINES))
            )
        case _:
            lines.insert(at, line)
    return "\n".join(lines)


def fixed(analysis: Analysis, number: int) -> Fix | str | None:
    try:
        return analysis.fix(analysis.findings[number])
    except (RewriteError, ValueError) as error:
        return type(error).__name__


@pytest.mark.parametrize("number", range(len(FILES)))
@pytest.mark.parametrize("seed", range(4))
def test_edits_in_a_row(seed: int, number: int) -> None:
    chosen = random.Random(1000 * number + seed)
    base = text = FILES[number]
    analysis = Analysis(text)
    versions, analyses = [text], [analysis]
    for _ in range(15):
        what = chosen.random()
        text = base if what < 0.1 else chosen.choice(versions[-4:]) if what < 0.3 else edited(chosen, text)
        versions.append(text)
        # A fix of everything goes on from a version that the editor goes on from, too.
        analysis = (chosen.choice(analyses) if chosen.random() < 0.2 else analysis).updated(text)
        analyses.append(analysis)
        if chosen.random() < 0.3:
            continue  # nobody asks for the findings of every version
        fresh = Analysis(text)
        assert (analysis.findings, analysis.refusals) == (fresh.findings, fresh.refusals)
        assert analysis.problems == fresh.problems
        if analysis.findings and chosen.random() < 0.3:
            one = chosen.randrange(len(analysis.findings))
            assert fixed(analysis, one) == fixed(fresh, one)
