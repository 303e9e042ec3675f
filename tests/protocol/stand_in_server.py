"""The real server over an engine of the tests' own, for what no model code brings about at will.

A word such as `exact_1` is a finding of that safety class, its edit puts it in capitals; `refused_1` is a near miss,
`withheld_1` a finding without an edit. `FAULT` breaks the analysis, `FIXFAULT` the edits, `BROKEN` is a syntax error,
`PRINT` has the analysis print, and `SLOW` makes it last for many slices.
"""

import re
import subprocess
import sys
import time

import fuselight.analysis as engine
from fuselight.fusions.model import Finding, Fix, Safety, TextEdit
from fuselight.source.lines import LineIndex, Span
from fuselight.source.statements import StatementCache

STEPS = 200
WORD = re.compile(r"\b(exact|checkpoint|breaking|inference|numerics|refused|withheld)_(\w+)")


class StandIn:
    def __init__(self, text, *, line_length=88, cache=None):
        if "FAULT" in text.split():
            raise RuntimeError("a fault in the engine")
        if "PRINT" in text:
            print("printed by the engine")
            subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
        self.text = text
        self.problems = ("broken",) if "BROKEN" in text else ()
        self.is_faulty = False
        self.lines = LineIndex(text)
        self.line_length = line_length
        found = [self._finding(number, match) for number, match in enumerate(WORD.finditer(text))]
        self.findings = tuple(finding for finding in found if finding.refused is None)
        self.refusals = tuple(finding for finding in found if finding.refused is not None)

    def with_word(self, word):
        for statement, start in StatementCache().split(self.text):
            if word in statement.text.lower():
                yield statement, self.text.count("\n", 0, start)

    def _finding(self, number, match):
        kind, span = match[1], Span(*match.span())
        safety = Safety(kind) if kind in {safety.value for safety in Safety} else Safety.EXACT
        return Finding(
            code="FUS101" if safety is Safety.EXACT else "FUS201",
            name="stand_in",
            message=f"{match[0]} could be capitals (line length {self.line_length})",
            safety=safety,
            title=f"Put {match[0]} in capitals",
            scope="Model.forward",
            span=span,
            others=(Span(0, 0),) if match[2] == "related" else (),
            refused="too small" if kind == "refused" else None,
            withheld="generated" if kind == "withheld" else None,
            number=number,
        )

    def updated(self, text):
        return StandIn(text, line_length=self.line_length)

    def work(self):
        for _ in range(3):
            yield
        for _ in range(STEPS if "SLOW" in self.text else 0):
            time.sleep(0.005)
            yield

    def gains(self, finding):
        return ()

    def around(self, offset):
        return Span(0, len(self.text))

    def fix(self, finding):
        if "FIXFAULT" in self.text:
            raise RuntimeError("a fault in an edit")
        span = finding.span
        return Fix(finding.title, (TextEdit(span.start, span.end, self.text[span.start : span.end].upper()),))


engine.Analysis = StandIn

if __name__ == "__main__":
    from fuselight.lsp import start

    start()
