"""A diagram as a Mermaid flowchart, which GitHub, VS Code and many editors draw."""

from __future__ import annotations

from collections.abc import Iterator

from fuselight.drawing.diagram import Diagram, Node, Shape

_BRACKETS = {
    Shape.INPUT: ("([", "])"),
    Shape.OUTPUT: ("([", "])"),
    Shape.LAYER: ("[", "]"),
    Shape.OPERATION: ("(", ")"),
}
_ENTITIES = str.maketrans({
    "#": "#35;", '"': "#quot;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;", ";": "#59;",
})  # fmt: skip


def mermaid(diagram: Diagram) -> str:
    """The text of the flowchart; each fusable group is a subgraph, and its nodes are of the class `fusable`."""
    return "\n".join(_lines(diagram)) + "\n"


def _lines(diagram: Diagram) -> Iterator[str]:
    yield from ("---", f'title: "{diagram.title}"', "---", "flowchart TD")
    nodes = {node.id: node for node in diagram.nodes}
    # A node can stand in one subgraph only; a further finding that takes it in is named in its box.
    further: dict[str, list[str]] = {}
    home: dict[str, int] = {}
    for number, group in enumerate(diagram.groups):
        for identity in group.nodes:
            if identity in home:
                further.setdefault(identity, []).append(group.code)
            else:
                home[identity] = number
    for node in diagram.nodes:
        if node.id not in home:
            yield f"    {_box(node, [])}"
    for number, group in enumerate(diagram.groups):
        members = [identity for identity in group.nodes if home[identity] == number]
        if members:
            yield f'    subgraph fusable{number}["{_escaped(f"{group.code} {group.name}: {group.safety.value}")}"]'
            for identity in members:
                yield f"        {_box(nodes[identity], further.get(identity, []))}"
            yield "    end"
    for edge in diagram.edges:
        yield f"    {edge.source} --> {edge.target}"
    if home:
        yield "    classDef fusable stroke:#d97706,stroke-width:3px"
        yield f"    class {','.join(home)} fusable"


def _box(node: Node, further: list[str]) -> str:
    begin, end = _BRACKETS[node.shape]
    text = "<br/>".join(_escaped(line) for line in (*node.label, *further))
    return f'{node.id}{begin}"{text}"{end}'


def _escaped(text: str) -> str:
    return text.translate(_ENTITIES)
