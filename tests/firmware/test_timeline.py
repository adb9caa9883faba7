"""Timelines: which instructions are shown, where, and what the picture says of them."""

from io import BytesIO

import matplotlib as mpl
import pytest
from matplotlib.text import Text

from firmware.architectures import architecture
from firmware.compiler import Layer, compile_model
from firmware.errors import UserError
from firmware.make_model import make_model
from firmware.plots import plot_kind, save_figure
from firmware.timeline import Bar, block_of, timeline, timeline_figure
from firmware.trace import tracks
from hw.boards.registry import BOARDS
from hw.spec.isa import Engine
from tests.firmware.test_device import program

NAMES = ("patch", "blocks.0.norm1", "blocks.0.attn.qkv", "blocks.1.norm1", "blocks.10.norm1", "head")


def toy():
    """An instruction of VECTOR for each name, and two of FETCH and MATMUL for qkv."""
    layers = [Layer(name, "x", 0, {Engine.VECTOR: [n]}) for n, name in enumerate(NAMES)]
    layers[2].instructions |= {Engine.FETCH: [0, 1], Engine.MATMUL: [0, 1]}
    counts = {**dict.fromkeys(Engine, 0), Engine.VECTOR: len(NAMES), Engine.FETCH: 2, Engine.MATMUL: 2}
    return program(layers=layers, counts=counts)


def recorded():
    spans = {engine: [] for engine in Engine}
    spans[Engine.VECTOR] = [(10 * n, 10 * n + 9) for n in range(len(NAMES))]
    spans[Engine.FETCH] = [(0, 4), (5, 14)]
    spans[Engine.MATMUL] = [(22, 33), (28, 36)]
    return [spans[engine] for engine in Engine]


def test_blocks_are_found_by_their_layers_names():
    assert block_of(toy(), None) == "blocks.0"
    assert block_of(toy(), "blocks.1") == "blocks.1"
    assert block_of(toy(), "blocks.0.attn") == "blocks.0.attn"
    with pytest.raises(UserError, match=r"^no layer of toy is in a block blocks\.9; there are blocks.0 to blocks.10$"):
        block_of(toy(), "blocks.9")
    assert block_of(program(), None) == ""
    with pytest.raises(UserError, match=r"there are embed$"):
        block_of(program(), "blocks.0")


def test_swin_blocks_have_their_stage():
    shape = architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(1, 1), heads=(1, 2), classes=7)
    compiled = compile_model(make_model(shape), BOARDS["tiny"].config)
    assert block_of(compiled, None) == "layers.0.blocks.0"
    assert block_of(compiled, "layers.1.blocks.0") == "layers.1.blocks.0"


def test_a_block_has_what_was_in_flight_while_it_was_computed():
    """From the first instruction of MATMUL or VECTOR to the last; of other blocks without a name; of the first run."""
    line = timeline(toy(), recorded(), "blocks.0")
    assert (line.start, line.end) == (10, 37)
    assert line.bars == [
        Bar(engine=Engine.FETCH, track=0, start=5, end=15, layer="blocks.0.attn.qkv"),
        Bar(engine=Engine.MATMUL, track=0, start=22, end=34, layer="blocks.0.attn.qkv"),
        Bar(engine=Engine.MATMUL, track=1, start=28, end=37, layer="blocks.0.attn.qkv"),
        Bar(engine=Engine.VECTOR, track=0, start=10, end=20, layer="blocks.0.norm1"),
        Bar(engine=Engine.VECTOR, track=0, start=20, end=30, layer="blocks.0.attn.qkv"),
        Bar(engine=Engine.VECTOR, track=0, start=30, end=40, layer=""),
    ]
    assert [line.share(engine) for engine in Engine] == pytest.approx([5 / 27, 0, 15 / 27, 1, 0])
    twice = [[*spans, *((a + 1000, b + 1000) for a, b in spans)] for spans in recorded()]
    assert timeline(toy(), twice, "blocks.0", runs=2) == line
    with pytest.raises(ValueError, match="FETCH has 4 intervals for 2 instructions"):
        timeline(toy(), twice, "blocks.0")


def test_a_program_without_blocks_is_shown_whole():
    line = timeline(toy(), recorded(), "")
    assert (line.start, line.end, len(line.bars)) == (0, 60, 10)
    assert {bar.layer for bar in line.bars} == set(NAMES)


def test_tracks_are_first_fit():
    assert tracks([(0, 10), (5, 20), (11, 12), (12, 13), (21, 30)]) == [0, 1, 0, 2, 0]


def test_picture():
    line = timeline(toy(), recorded(), "blocks.0")
    made = timeline_figure(line, title="toy, simulated")
    (axes,) = made.axes
    words = {text.get_text() for text in made.findobj(Text)}
    assert {"toy, simulated: blocks.0, 27 cycles", "norm1", "attn.qkv", "other layers", "MATMUL\n56%"} <= words
    drawn = [path.get_extents() for bars in axes.collections for path in bars.get_paths()]
    expected = sorted((bar.start - line.start, bar.end - line.start) for bar in line.bars)
    assert sorted((box.x0, box.x1) for box in drawn) == expected
    rows = {engine: (engine - 0.4, engine + 0.4) for engine in Engine}
    assert all(any(low - 1e-9 <= box.y0 < box.y1 <= high + 1e-9 for low, high in rows.values()) for box in drawn)
    assert axes.get_xlim() == (0, 27)
    colours = [tuple(bars.get_facecolor()[0]) for bars in axes.collections]
    assert len(set(colours)) == 3


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_equal_runs_give_equal_bytes(kind, monkeypatch):
    """Whatever the user has set for plots of his own."""

    def bytes_of():
        file = BytesIO()
        save_figure(timeline_figure(timeline(toy(), recorded(), "blocks.0"), title="toy"), kind, file)
        return file.getvalue()

    first = bytes_of()
    monkeypatch.setitem(mpl.rcParams, "font.size", 20.0)
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "path")
    assert bytes_of() == first
    assert first.startswith(b"<?xml" if kind == "svg" else b"\x89PNG")


def test_what_cannot_be_drawn_is_told_at_once(monkeypatch):
    assert plot_kind("a.b/X.SVG", "--timeline") == "svg"
    with pytest.raises(UserError, match=r"^--area wants a file whose name ends in \.svg or \.png, not area\.pdf$"):
        plot_kind("area.pdf", "--area")
    monkeypatch.setattr("firmware.plots.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"^--roofline needs matplotlib, which is not installed: pip install"):
        plot_kind("x.png", "--roofline")
