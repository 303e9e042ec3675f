"""The three ways to write a fusion, and what every fusion yields: matches and refusals."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Place
from fuselight.graph.module import Module, Scope


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Why a site is no fusion after all. `at` is the place the reason speaks of."""

    reason: str
    at: Place | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A site: fusable, with the actions that carry it out, or refused."""

    fusion: type[Fusion]
    scope: str
    place: Place
    message: str
    title: str = ""
    safety: Safety = Safety.EXACT
    others: tuple[Place, ...] = ()
    plan: Callable[[], tuple[Action, ...]] = tuple
    """What carries the match out; worked out when its edit is wanted."""
    refused: Refusal | None = None
    withheld: str | None = None
    """Why the site is reported without an edit: usually it is a mistake of which only its author knows the cure."""
    parts: frozenset[ast.AST] = frozenset()
    """Every call and operator that the match takes in, where `place` and `others` do not name them all."""
    instead_of: str | None = None
    """The code of a fusion that does as much by a smaller edit: this one is offered only where that one is not."""


@dataclass(frozen=True, slots=True)
class Example:
    """A pair of texts that the tests run: what a file holds, and what it holds when the fusion was applied.

    `inputs` gives the shapes of what `M()` (the class to execute) or `f` is called with; the tests compare both
    sides in torch, with the old state dict loaded into the new module.
    """

    before: str
    after: str
    inputs: tuple[tuple[int, ...], ...] = ((2, 5, 16),)
    safety: Safety | None = None


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A text in which the fusion must offer nothing, and a part of the reason that it gives (empty: no candidate)."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """A text in which the fusion reports a site without an edit, and a part of the reason why there is none."""

    text: str
    reason: str


def model_text(init: str, forward: str) -> str:
    """A file with the class `M`, from the lines of its `__init__` and of its `forward`: the text of an example."""
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *init.split("\n")))
    body = "".join(f"        {line}\n" for line in forward.split("\n"))
    return f"""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
{lines}
    def forward(self, x):
{body}"""


class Fusion:
    """One fusion. Its docstring is its page; `code`, `name` and `words` say what it is and when to look for it."""

    code: ClassVar[str]
    name: ClassVar[str]
    words: ClassVar[tuple[frozenset[str], ...]] = ()
    """A file is looked at only when it has a word of each of these sets."""
    examples: ClassVar[tuple[Example, ...]] = ()
    near_misses: ClassVar[tuple[NearMiss, ...]] = ()
    reports: ClassVar[tuple[Report, ...]] = ()

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        """The sites in one function."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FusionInfo:
    """What the catalogue says of a fusion."""

    code: str
    name: str
    page: str
    url: str | None = None

    @property
    def summary(self) -> str:
        return self.page.partition("\n")[0]


_Fusion = TypeVar("_Fusion", bound=Fusion)

FUSIONS: dict[str, type[Fusion]] = {}
"""Every registered fusion by its code."""


def fusion(cls: type[_Fusion]) -> type[_Fusion]:
    """Register a fusion. Its code must be new."""
    if cls.code in FUSIONS:
        raise ValueError(f"{cls.code} is {FUSIONS[cls.code].__name__} already")
    FUSIONS[cls.code] = cls
    return cls


__all__ = [
    "FUSIONS", "Example", "Fusion", "FusionInfo", "Match", "NearMiss", "Refusal", "Report", "fusion", "model_text",
]  # fmt: skip
