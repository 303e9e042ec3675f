"""How `check` says what it found; one file a format, each a function of the report alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from fuselight.cli.run import FileReport, Site
from fuselight.cli.terminal import Style
from fuselight.fusions.model import Finding, Safety

DEFAULT_FIXED = frozenset({Safety.EXACT})


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run of `check` found."""

    files: tuple[FileReport, ...]
    style: Style

    @property
    def found(self) -> int:
        return sum(site.finding.refused is None for site in self.sites())

    def sites(self) -> Iterator[Site]:
        for file in self.files:
            yield from file.sites


def render(report: Report, output_format: str, *, statistics: bool = False) -> str:
    """The report in one of the formats, each a module here with a function `render`."""
    module = import_module(f"fuselight.cli.formats.{'statistics' if statistics else output_format}")
    if statistics and output_format == "json":
        return module.render_json(report)
    return module.render(report)


def label(site: Site) -> str:
    """The class that stands in brackets behind the code."""
    return "refused" if site.finding.refused is not None else site.finding.safety.value


def notes(finding: Finding) -> Iterator[tuple[str, str]]:
    """What is to be said below a finding: a name, and a text on one line."""
    if finding.refused is not None:
        yield "refused", " ".join(finding.refused.splitlines())
        return
    title, why = on_offer(finding)
    yield "help", title
    if why:
        yield finding.safety.value, why
    if finding.withheld is not None:
        yield "no edit", " ".join(finding.withheld.splitlines())


def on_offer(finding: Finding) -> tuple[str, str]:
    """What the rewrite does, and why it is no safer than it is, each on one line; the second empty where it is exact.

    An editor shows the two as one, `Merge ... (checkpoint: why)`; here the class stands in brackets before.
    """
    title, _, why = " ".join(finding.title.splitlines()).partition(f" ({finding.safety.value}: ")
    return title, why.removesuffix(")")


def summary(report: Report) -> str:
    """The last lines of the text formats: how many there are, and what `fix` would do about them."""
    found = [site.finding for site in report.sites() if site.finding.refused is None]
    refused = sum(site.finding.refused is not None for site in report.sites())
    lines: list[str] = []
    if found:
        fixable = Counter(finding.safety for finding in found if finding.withheld is None)
        by_default = sum(fixable[safety] for safety in DEFAULT_FIXED)
        offers: list[str] = []
        if by_default:
            offers.append(f"{by_default} fixable with `fuselight fix`")
        offers += [
            f"{fixable[safety]} {'more ' if by_default else 'fixable '}with `--allow {safety.value}`"
            for safety in Safety
            if fixable[safety] and safety not in DEFAULT_FIXED
        ]
        if withheld := len(found) - fixable.total():
            offers.append(f"{withheld} without an edit")
        offered = f" ({', '.join(offers)})" if offers else ""
        lines.append(f"Found {counted(len(found), 'fusion')}{offered}.")
    else:
        lines.append("No fusions found.")
    if refused:
        lines.append(f"{counted(refused, 'near miss', 'near misses')} refused.")
    return "".join(f"{line}\n" for line in lines)


def counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


@cache
def page_url(code: str) -> str | None:
    """Where the fusion's page is published; None where it is not."""
    from fuselight.fusions.registry import FUSIONS

    url: object = getattr(FUSIONS.get(code), "url", None)
    return url if isinstance(url, str) else None
