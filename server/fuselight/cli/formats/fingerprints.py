"""What GitHub's code scanning knows a result by when the lines around it have moved.

The action that uploads a report works these out by itself, and complains of others; a report that is uploaded by the
API has to bring them along.

Source: `src/fingerprints.ts` of https://github.com/github/codeql-action, whose test vectors this file's tests have.
"""

from __future__ import annotations

import struct
from collections import Counter

_BLOCK = 100
_FACTOR = 37
_MASK = 2**64 - 1
_NEWLINE = ord("\n")
_END_OF_FILE = "\uffff"


def line_hashes(text: str) -> list[str]:
    """The `primaryLocationLineHash` of every line: of 100 UTF-16 units from its start, blanks and tabs left out.

    Behind a colon stands how often lines before, this one counted, have the same.
    """
    significant = text.replace("\r\n", "\n").replace("\r", "\n").replace(" ", "").replace("\t", "") + _END_OF_FILE
    encoded = significant.encode("utf-16-le", "surrogatepass")
    units = struct.unpack(f"<{len(encoded) // 2}H", encoded)
    starts = [0, *(place + 1 for place, unit in enumerate(units) if unit == _NEWLINE)]
    units += (0,) * _BLOCK
    seen: Counter[int] = Counter()
    hashes: list[str] = []
    for start in starts:
        value = 0
        for unit in units[start : start + _BLOCK]:
            value = (value * _FACTOR + unit) & _MASK
        seen[value] += 1
        hashes.append(f"{value:x}:{seen[value]}")
    return hashes
