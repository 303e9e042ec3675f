"""Layouts: nothing overlaps, edges lead down, cycles and long edges included."""

from hypothesis import given
from hypothesis import strategies as st

from fuselight.drawing.layout import GAP, arrange

SIZES = st.lists(st.tuples(st.floats(10, 300), st.floats(10, 60)), min_size=1, max_size=14)


@st.composite
def graphs(draw):
    sizes = draw(SIZES)
    ends = st.integers(0, len(sizes) - 1)
    return sizes, draw(st.lists(st.tuples(ends, ends), unique=True, max_size=30))


@given(graphs())
def test_boxes_keep_apart_and_inside(graph):
    sizes, edges = graph
    layout = arrange(sizes, edges)
    boxes = list(zip(layout.centres, sizes, strict=True))
    for at, (one, (width, height)) in enumerate(boxes):
        assert one.x - width / 2 >= -0.01
        assert one.x + width / 2 <= layout.width + 0.01
        assert one.y - height / 2 >= -0.01
        assert one.y + height / 2 <= layout.height + 0.01
        for other, (other_width, other_height) in boxes[:at]:
            beside = abs(one.x - other.x) >= (width + other_width) / 2 + GAP - 0.01
            assert beside or abs(one.y - other.y) > (height + other_height) / 2


@given(graphs())
def test_routes_lead_from_box_to_box(graph):
    sizes, edges = graph
    layout = arrange(sizes, edges)
    for (source, target), route in zip(edges, layout.routes, strict=True):
        assert bool(route) == (source != target)
        if route:
            assert abs(route[0].x - layout.centres[source].x) < 0.01
            assert abs(route[-1].x - layout.centres[target].x) < 0.01
            ys = [point.y for point in route]
            assert ys == sorted(ys, reverse=ys[0] > ys[-1])


def test_without_a_cycle_every_edge_leads_down():
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (3, 4)]
    layout = arrange([(50.0, 20.0)] * 5, edges)
    assert all(layout.centres[source].y < layout.centres[target].y for source, target in edges)


def test_a_diamond_is_drawn_without_crossings():
    sizes = [(50.0, 20.0)] * 6
    edges = [(0, 1), (0, 2), (1, 4), (2, 3), (3, 5), (4, 5)]
    centres = arrange(sizes, edges).centres
    assert (centres[1].x < centres[2].x) == (centres[4].x < centres[3].x)


def test_a_chain_is_straight():
    layout = arrange([(50.0, 20.0), (200.0, 20.0), (20.0, 20.0)], [(0, 1), (1, 2)])
    assert len({round(point.x, 3) for point in layout.centres}) == 1


def test_nothing():
    assert arrange([], []).centres == ()
