"""What the emitter raises."""

from __future__ import annotations


class EmitError(ValueError):
    """A node, a name or an expression from which no right code can be made.

    Attributes:
        node: The id of the node, or the name of the statement, that was to be emitted; "" where there is none.
        text: The offending text.
    """

    def __init__(self, reason: str, *, node: str = "", text: str = "") -> None:
        self.node = node
        self.text = text
        place = f"node {node!r}: " if node else ""
        super().__init__(f"{place}{reason}: {text!r}")
