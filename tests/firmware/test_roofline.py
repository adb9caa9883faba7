"""Roofline: work counted from the program equals what the shapes say."""

from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console

from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.families.vit.pattern import recognise
from firmware.make_model import make_model
from firmware.profile import LayerProfile
from firmware.roofline import Point, as_json, merged, print_roofline, roofline, svg, total
from hw.boards.registry import BOARDS
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
    assert total(points).macs == model.macs
    assert total(points).array == pytest.approx(model.macs / CONFIG.macs_per_cycle)


def test_vector_work_follows_from_the_shapes(roles, points):
    n, dim, heads, hidden = roles.tokens, roles.dim, roles.heads, roles.hidden
    found = by_name(points)
    assert found["blocks.0.attn.int_softmax"].elements == 2 * n * n * heads  # sum, then probabilities
    assert found["blocks.0.attn.int_softmax"].vector == n * n * heads * 2 / CONFIG.lanes
    assert found["blocks.1.mlp.act"].vector == n * hidden
    assert found["blocks.1.norm2"].vector == 2 * n * dim / CONFIG.lanes
    assert found["blocks.1.qact4"].vector == n * dim


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


def test_plot_is_svg_with_every_layer_inside(points):
    root = ElementTree.fromstring(svg(points, total(points, cycles=9000), CONFIG.macs_per_cycle, 14.2))
    space = "{http://www.w3.org/2000/svg}"
    width, height = float(root.get("width")), float(root.get("height"))
    dots = list(root.iter(f"{space}circle"))
    shown = [point for point in merged(points) if point.macs and point.bytes]
    assert len(dots) == len(shown) + 1
    assert all(0 < float(dot.get("cx")) < width and 0 < float(dot.get("cy")) < height for dot in dots)
    texts = " ".join(text.text for text in root.iter(f"{space}text"))
    assert all(point.name in texts for point in shown)
    order = sorted(zip(shown, dots, strict=False), key=lambda pair: pair[0].attained)
    heights = [float(dot.get("cy")) for _, dot in order]
    assert heights == sorted(heights, reverse=True)  # more MACs per cycle is higher up


def test_table_fits_a_terminal(points):
    console = Console(width=80, file=StringIO())
    print_roofline(points, total(points, cycles=9000), console, bandwidth=14.2)
    text = console.file.getvalue()
    assert "…" not in text
    assert "*.attn.int_softmax" in text
