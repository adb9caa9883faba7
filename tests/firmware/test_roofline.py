"""Roofline: work counted from the program equals what the shapes say."""

from dataclasses import replace
from io import BytesIO, StringIO
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from rich.console import Console

from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.families.vit.pattern import recognise
from firmware.make_model import make_model
from firmware.plots import save_figure
from firmware.profile import LayerProfile
from firmware.roofline import Point, as_json, merged, print_roofline, roofline, total
from firmware.roofline_plot import roofline_figure, spread
from hw.boards.registry import BOARDS
from hw.spec.liveness import live_macs
from hw.spec.memory import align

CONFIG = BOARDS["arty_a7"].config


@pytest.fixture(scope="module")
def model():
    return make_model(architecture("deit_tiny", img_size=64, patch=16, dim=64, depth=2, heads=2, classes=24))


@pytest.fixture(scope="module")
def program(model):
    return compile_model(model, CONFIG)


@pytest.fixture(scope="module")
def roles(model):
    return recognise(model)


@pytest.fixture(scope="module")
def points(program):
    layers = [LayerProfile(layer.name, layer.op, layer.macs, 2000 + layer.macs // 64) for layer in program.layers]
    return roofline(program, layers, runs=2)


def by_name(points):
    return {point.name: point for point in points}


def test_layers_add_up_to_the_model(model, points):
    executed = sum(live_macs(model).values())
    assert total(points).macs == executed < model.macs
    assert total(points).array == pytest.approx(executed / CONFIG.macs_per_cycle)


def test_vector_work_follows_from_the_shapes(roles, points):
    n, dim, heads, hidden = roles.tokens, roles.dim, roles.heads, roles.hidden
    found = by_name(points)
    assert found["blocks.0.attn.int_softmax"].elements == 2 * n * n * heads  # sum, then probabilities
    assert found["blocks.0.attn.int_softmax"].vector == n * n * heads * 2 / CONFIG.lanes
    for block, rows in ((0, n), (1, 1)):  # of the last one the class token's
        assert found[f"blocks.{block}.mlp.act"].vector == rows * hidden / CONFIG.lanes
        assert found[f"blocks.{block}.norm2"].vector == 2 * rows * dim / CONFIG.lanes
        assert found[f"blocks.{block}.qact4"].vector == rows * dim / CONFIG.lanes


def test_weights_are_fetched_once_per_super_tile(roles, program, points):
    entry = (roles.dim + 16) * roles.hidden  # a weight row and 16 bytes of parameters per output
    assert by_name(points)["blocks.0.mlp.fc1"].bytes == entry * len(program.tiles)


def test_array_beats_include_padding_and_second_planes(roles, points):
    depth = align(roles.tokens, CONFIG.rows) // CONFIG.rows
    tiles = roles.dim // roles.heads // CONFIG.cols * roles.heads
    assert by_name(points)["blocks.0.attn.matmul_2"].beats == 2 * roles.tokens * depth * tiles
    assert by_name(points)["blocks.0.mlp.fc2"].beats == by_name(points)["blocks.0.mlp.fc2"].array


def test_bounds_name_the_lowest_roof():
    point = Point("x", macs=1280, bytes=160, elements=5, array=10.0, beats=10, memory=11.0, vector=5.0)
    assert (point.bound, point.intensity, point.attained) == ("memory", 8.0, 0.0)
    assert replace(point, vector=90.0).bound == "vector"
    assert replace(point, cycles=20).attained == pytest.approx(64)
    assert as_json(replace(point, bytes=0))["macs_per_byte"] is None


def test_measured_cycles_are_of_one_run(program, points):
    assert all(point.cycles == (2000 + point.macs // 64) // 2 for point in points)
    assert all(point.cycles == 0 for point in roofline(program))


def test_equal_layers_of_blocks_merge(points):
    found = by_name(merged(points))
    assert found["blocks.*.mlp.fc1"].macs == sum(p.macs for p in points if p.name.endswith("mlp.fc1"))
    assert total(list(found.values())).bytes == total(points).bytes


def labels(made):
    """Texts of a Figure, with the boxes that they fill."""
    renderer = FigureCanvasAgg(made).get_renderer()
    made.draw_without_rendering()
    beyond = [
        label
        for axes in made.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]  # which matplotlib does not draw
    found = [text for text in made.findobj(Text) if text.get_visible() and text.get_text() and text not in beyond]
    return [(text.get_text(), Text.get_window_extent(text, renderer)) for text in found]


def crowd(count):
    """Layers that are all but the same."""
    return [
        Point(f"layers.{n}.attn.matmul", macs=10**6 + n, bytes=10**5, elements=9, array=9e3, beats=9000, memory=8e3,
              vector=1.0, cycles=9000)
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["measured", "not run", "crowd", "one"])
def test_plot_has_every_layer_and_no_label_on_another(kind, points):
    chosen = {
        "measured": points, "not run": [replace(point, cycles=0) for point in points], "crowd": crowd(70),
        "one": crowd(1),
    }[kind]  # fmt: skip
    whole = total(chosen)
    made = roofline_figure(chosen, whole, peak=CONFIG.macs_per_cycle, bandwidth=14.2, figures="simulated")
    shown = [point for point in (*merged(chosen), whole) if point.macs and point.bytes]
    (axes,) = made.axes
    found = labels(made)
    for (one, first), (other, second) in combinations(found, 2):
        assert not first.overlaps(second), (one, other)
    assert all(made.bbox.contains(*corner) for _, box in found for corner in (box.min, box.max))
    names = [text.split("  ")[0] for text, _ in found]
    assert all(names.count(point.name) == (2 if point is whole else 1) for point in shown)  # the legend has the whole
    dots = [tuple(place) for line in axes.lines if line.get_marker() != "None" for place in line.get_xydata()]
    assert len(dots) == len(shown)
    assert all(axes.bbox.contains(*axes.transData.transform(dot)) for dot in dots)
    for point in shown:
        assert (point.intensity, pytest.approx(point.attained or as_roofs_allow(point))) in dots
    assert axes.get_title().startswith("roofline, what the roofs allow" if kind == "not run" else "roofline, simulated")


def as_roofs_allow(point):
    return point.macs / max(point.array, point.memory, point.vector)


def test_plot_has_the_roofs(points):
    made = roofline_figure(
        points, total(points, cycles=9000), peak=CONFIG.macs_per_cycle, bandwidth=14.2, figures="simulated"
    )
    roof, vector, *_ = made.axes[0].lines
    assert all(y == pytest.approx(min(CONFIG.macs_per_cycle, 14.2 * x)) for x, y in roof.get_xydata())
    assert CONFIG.macs_per_cycle / 14.2 in roof.get_xdata()
    assert vector.get_ydata()[0] == pytest.approx(total(points).macs / total(points).vector)
    words = [text for text, _ in labels(made)]
    assert f"array: {CONFIG.macs_per_cycle} MACs per cycle; memory: 14.2 bytes per cycle" in words


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_equal_points_give_equal_bytes(kind, points):
    files = [BytesIO(), BytesIO()]
    for file in files:
        made = roofline_figure(points, total(points), peak=128, bandwidth=14.2, figures="simulated")
        save_figure(made, kind, file)
    assert files[0].getvalue() == files[1].getvalue()


def test_labels_are_spread():
    assert spread([0.1, 0.5, 0.5, 0.5], 0.1) == pytest.approx([0.1, 0.5, 0.6, 0.7])
    assert spread([0.9, 0.95, 1.0], 0.2) == pytest.approx([0.6, 0.8, 1.0])
    assert spread([0.0] * 5, 0.25) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_table_fits_a_terminal(points):
    console = Console(width=80, file=StringIO())
    print_roofline(points, total(points, cycles=9000), console, bandwidth=14.2)
    text = console.file.getvalue()
    assert "…" not in text
    assert "*.attn.int_softmax" in text
