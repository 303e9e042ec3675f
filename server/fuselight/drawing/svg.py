"""A diagram as an SVG picture, without a library: text boxes in layers, the fusable groups in colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

from fuselight.drawing.diagram import Diagram, Node, Shape
from fuselight.drawing.layout import Point, arrange

_CHARACTER = 7.3
"""The width of a character of the monospaced font, at 12 pixels."""
_LINE = 16.0
_MARGIN = 20.0
_HEADING = 30.0
_COLOURS = ("#d97706", "#2563eb", "#059669", "#db2777", "#7c3aed", "#0891b2")
_STYLE = """\
text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1f2937; text-anchor: middle; }
text.heading, text.legend { text-anchor: start; }
text.heading, tspan.name { font-weight: bold; }
.box { fill: #ffffff; stroke: #6b7280; }
.layer { fill: #f3f4f6; }
.input, .output { fill: #eef2ff; }
.fusable { stroke-width: 3; }
.edge { fill: none; stroke: #6b7280; }
.paper { fill: #ffffff; }
"""


def svg(diagram: Diagram) -> str:
    """The text of the picture. Boxes of a fusable group have its colour; below, a line for each group says which."""
    at = {node.id: number for number, node in enumerate(diagram.nodes)}
    sizes = [_size(node) for node in diagram.nodes]
    edges = [(at[edge.source], at[edge.target]) for edge in diagram.edges]
    layout = arrange(sizes, edges)
    loops = any(source == target for source, target in edges)
    legend = [f"{group.code} {group.name} ({group.safety.value}): {group.message}" for group in diagram.groups]
    longest = max((len(line) for line in (diagram.title, *legend)), default=0)
    width = max(layout.width + (28 if loops else 0), longest * _CHARACTER + 16) + 2 * _MARGIN
    height = layout.height + _HEADING + len(legend) * _LINE * 1.5 + 2 * _MARGIN
    left = (width - layout.width) / 2
    top = _MARGIN + _HEADING

    def moved(point: Point) -> Point:
        return Point(point.x + left, point.y + top)

    def lines() -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}">'
        )
        yield f"<title>{_text(diagram.title)}</title>"
        yield f"<style>\n{_STYLE}</style>"
        yield (
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="#6b7280"/></marker></defs>'
        )
        yield f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>'
        yield f'<text class="heading" x="{_MARGIN:.0f}" y="{_MARGIN + 12:.0f}">{_text(diagram.title)}</text>'
        for (source, _), route in zip(edges, layout.routes, strict=True):
            points = [moved(point) for point in route]
            path = _curve(points) if points else _loop(moved(layout.centres[source]), sizes[source])
            yield f'<path class="edge" d="{path}" marker-end="url(#arrow)"/>'
        colours = _colours(diagram)
        for node, centre, size in zip(diagram.nodes, layout.centres, sizes, strict=True):
            yield from _box(node, moved(centre), size, colours.get(node.id))
        for number, line in enumerate(legend):
            y = top + layout.height + (number + 1) * _LINE * 1.5
            colour = _COLOURS[number % len(_COLOURS)]
            yield f'<rect x="{_MARGIN:.0f}" y="{y - 10:.0f}" width="10" height="10" fill="{colour}"/>'
            yield f'<text class="legend" x="{_MARGIN + 16:.0f}" y="{y:.0f}">{_text(line)}</text>'
        yield "</svg>"

    return "\n".join(lines()) + "\n"


def _colours(diagram: Diagram) -> dict[str, tuple[str, str]]:
    """For each fusable node the colour of its first group, and the codes of all."""
    found: dict[str, tuple[str, str]] = {}
    for number, group in enumerate(diagram.groups):
        for node in group.nodes:
            if node in found:
                colour, codes = found[node]
                found[node] = colour, f"{codes} {group.code}"
            else:
                found[node] = _COLOURS[number % len(_COLOURS)], group.code
    return found


def _size(node: Node) -> tuple[float, float]:
    return max(map(len, node.label)) * _CHARACTER + 20, len(node.label) * _LINE + 14


def _box(node: Node, centre: Point, size: tuple[float, float], mark: tuple[str, str] | None) -> Iterator[str]:
    width, height = size
    x, y = centre.x - width / 2, centre.y - height / 2
    radius = height / 2 if node.shape in (Shape.INPUT, Shape.OUTPUT) else 4 if node.shape is Shape.LAYER else 12
    shape = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.0f}"'
    if mark is None:
        yield f'<g id={quoteattr(node.id)}><rect class="box {node.shape.value}" {shape}/>'
    else:
        colour, codes = mark
        yield f"<g id={quoteattr(node.id)} data-fusion={quoteattr(codes)}>"
        yield f'<rect class="box {node.shape.value} fusable" {shape} style="stroke: {colour}"/>'
    first = centre.y - (len(node.label) - 1) * _LINE / 2 + 4
    spans = "".join(
        f'<tspan x="{centre.x:.1f}" y="{first + at * _LINE:.1f}"{_class(node, at)}>{_text(line)}</tspan>'
        for at, line in enumerate(node.label)
    )
    yield f"<text>{spans}</text></g>"


def _class(node: Node, line: int) -> str:
    return ' class="name"' if node.shape is Shape.LAYER and line == 0 else ""


def _curve(points: Sequence[Point]) -> str:
    parts = [f"M{points[0].x:.1f},{points[0].y:.1f}"]
    for one, other in pairwise(points):
        middle = (one.y + other.y) / 2
        parts.append(f"C{one.x:.1f},{middle:.1f} {other.x:.1f},{middle:.1f} {other.x:.1f},{other.y:.1f}")
    return " ".join(parts)


def _loop(centre: Point, size: tuple[float, float]) -> str:
    right, reach = centre.x + size[0] / 2, size[1] / 4
    return f"M{right:.1f},{centre.y + reach:.1f} c28,10 28,{-2 * reach - 10:.1f} 0,{-2 * reach:.1f}"


def _text(text: str) -> str:
    """As XML has it, which knows no control characters."""
    return escape("".join(character if character.isprintable() else " " for character in text))
