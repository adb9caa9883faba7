"""The compiler's Swin family: programs whose logits equal the golden model's on the machine model, hazards checked."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from firmware.architectures import architecture
from firmware.compiler import CompileError, Layer, compile_model
from firmware.families.swin.constants import constants
from firmware.families.swin.grid import Area, Grid, cut
from firmware.families.swin.pattern import recognise
from firmware.families.swin.plan import Plan
from firmware.families.swin.pooling import quotients
from firmware.families.swin.windows import mask, rectangles, shares, stacks
from firmware.make_model import make_model
from firmware.planner.placed import Job
from firmware.planner.scheduler import Item, Scheduler
from firmware.planner.steps import parts
from firmware.quantizer import RECIPES
from hw.boards.memory import Memory
from hw.boards.registry import BOARDS
from hw.spec import arith, isa
from hw.spec.config import Config
from sim import golden
from sim.machine import Machine
from tests.firmware.test_compiler import execute, images_for, run_machine, without
from tests.sim.test_golden import imported, load
from tests.support.swin import random_swin, shift_mask

WIDE = Config(rows=16, cols=24, tokens=64, lanes=2, array="portable")
GRIDS = [(56, 56, 7, 3), (56, 56, 7, 0), (14, 28, 7, 3), (8, 8, 4, 2), (12, 8, 4, 1), (9, 6, 3, 2), (7, 7, 7, 0)]


@pytest.mark.parametrize(("height", "width", "side", "shift"), GRIDS)
def test_rectangles_are_the_windows(height, width, side, shift):
    """Each token once, at the place where the golden model's partition has it."""
    token = np.arange(height * width).reshape(height, width)
    rolled = np.roll(token, (-shift, -shift), (0, 1))
    windows = rolled.reshape(height // side, side, width // side, side).swapaxes(1, 2).reshape(-1, side * side)
    seen = []
    for r in rectangles(height, width, side, shift):
        found = token[r.y : r.y + r.height, r.x : r.x + r.width].ravel()
        np.testing.assert_array_equal(windows[r.window, r.places(side)], found)
        seen += found.tolist()
    assert sorted(seen) == list(range(height * width))
    if shift in (0, side // 2):
        expected = shift_mask(height, width, side, shift) if shift else np.zeros_like(mask(height, width, side, 0))
        np.testing.assert_array_equal(mask(height, width, side, shift), expected)


@pytest.mark.parametrize("most", [0, 1, 3, 7, 8, 20, 100])
def test_cuts_cover_the_area(most):
    area = Area(3, 5, 4, 7)
    seen = [(y, x) for a in cut(area, most) for y in range(a.y, a.y + a.height) for x in range(a.x, a.x + a.width)]
    assert seen == [(y, x) for y in range(3, 7) for x in range(5, 12)]
    assert max(a.tokens for a in cut(area, most)) <= max(1, most)
    assert [first for first, _ in parts(50, most, 8)] == list(np.cumsum([0] + [n for _, n in parts(50, most, 8)])[:-1])
    assert sum(count for _, count in parts(50, most, 8)) == 50


def touched(pattern):
    """(memory word, scratchpad word) of a transfer, in order."""
    o = pattern.operands()
    return [
        (
            o["offset"] + c * o["offset2"] + b * o["offset1"] + a,
            o["scratch"] + c * o["scratch2"] + b * o["scratch1"] + a,
        )
        for c in range(o["count2"])
        for b in range(o["count1"])
        for a in range(o["run"])
    ]


@pytest.mark.parametrize("words", [None, 2, 4])
@pytest.mark.parametrize("row", [4, 1500])
def test_grid_patterns(words, row):
    grid, area = Grid(100, row, 6, 1), Area(1, 2, 3, 4)
    pattern = grid.pattern(area, 7, 0 if words is None else 1, words)
    words = words or row
    first = 0 if words == row else 1
    expected = [(100 + (y * 6 + x) * row + first + w) for y in (1, 2, 3) for x in (2, 3, 4, 5) for w in range(words)]
    if words == 4 and row == 4:
        return  # would go beyond the row
    assert touched(pattern) == [(at, 7 + number) for number, at in enumerate(expected)]
    covered = {word for access in pattern.work() for word in range(access.start, access.stop)}
    assert set(expected) <= covered


def test_merging_is_a_gather():
    values, found = np.arange(4 * 6).reshape(4, 6, 1), {}
    for pattern in Grid(0, 1, 6, 1).merged(Area(0, 0, 2, 3), 0):
        found |= {scratch: memory for memory, scratch in touched(pattern)}
    order = [(0, 0), (1, 0), (0, 1), (1, 1)]
    expected = [values[2 * y + a, 2 * x + b, 0] for y in range(2) for x in range(3) for a, b in order]
    assert [found[k] for k in range(24)] == expected


@pytest.mark.parametrize("config", [BOARDS["arty_a7"].config, WIDE], ids=["arty_a7", "16x24"])
def test_official_swin_equals_golden(config):
    model = imported("small_swin_a")
    images = load("small_swin_a", "images")["images"][:1]
    program = compile_model(model, config)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize(
    ("config", "batch", "bits", "shape"),
    [
        (BOARDS["tiny"].config, 1, 8, {}),
        (BOARDS["tiny"].config, 3, 16, {"heads": (2, 4)}),
        (replace(BOARDS["tiny"].config, banks=2, bank_words=256), 2, 8, {}),
        (Config(), 2, 8, {"dim": 48, "heads": (1, 3), "image": (3, 32, 64)}),
        (replace(Config(), rows=32, cols=6), 1, 16, {"dim": 64, "depths": (2, 1, 1), "heads": (1, 2, 4)}),
    ],
)
def test_random_swins_equal_golden(config, batch, bits, shape):
    shape = {"depths": (2, 2), "heads": (1, 2)} | shape
    model = random_swin(seed=batch, attention_bits=bits, **shape)
    program, images = compile_model(model, config, batch=batch), images_for(model, batch)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_stages_with_different_slots():
    """Slots that overlap one another's memory or banks, at the borders of stages."""
    model, config = random_swin(seed=4, image=(3, 64, 64)), Config()
    roles = recognise(model)
    image = constants(model, roles, config)
    job = Job(model=model, config=config, memory=Memory(), images=2)
    plan = Plan(job, roles, image, slots=(4, 3), merging=(2,), stacks=(1, 40))
    scheduler = plan.scheduler({node.name: Layer(node.name, node.op, 0) for node in model.nodes})
    scheduler.run(plan.items())
    program = replace(
        compile_model(model, config, batch=2), code=scheduler.code, work_bytes=plan.work_bytes,
        model_image=image.data, layers=[],
    )  # fmt: skip
    images = images_for(model, 2)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_rivals_take_turns():
    """Of two slots that are rivals, one stays empty while the other has an item."""
    working, most = set(), []

    def steps(slot):
        working.add(slot)
        most.append(len(working))
        yield from ()

    scheduler = Scheduler(2, {}, {0: frozenset({1}), 1: frozenset({0})})
    taken = {}
    for slot in range(2):
        waiting = [Item(slot, (), frozenset({slot}), steps)]
        if slot not in taken and scheduler.rivals[slot].isdisjoint(taken):
            scheduler._take(slot, waiting, taken, set())
    assert list(taken) == [0]
    assert most == [1]


def test_checkpoints_hold_the_residual_stream():
    model = random_swin(seed=8, image=(3, 64, 64))
    program, images, trace = compile_model(model, Config()), images_for(model, 1), {}
    golden.run(model, images, trace)
    names = [f"layers.{stage}.blocks.{block}.qact4" for stage in range(2) for block in range(2)]
    assert [c.tensor for c in program.checkpoints] == names
    for checkpoint in program.checkpoints:
        work = run_machine(program.until(checkpoint), images).regions[isa.Region.WORK].reshape(-1)
        expected = trace[checkpoint.tensor][0]
        found = work[checkpoint.offset : checkpoint.offset + 2 * expected.size].view("<i2").reshape(expected.shape)
        np.testing.assert_array_equal(found, expected)


def test_same_inputs_same_program():
    model = random_swin(seed=5)
    assert compile_model(model, BOARDS["tiny"].config).code == compile_model(model, BOARDS["tiny"].config).code


def test_every_layer_with_macs_is_executed():
    model = random_swin(seed=1)
    assert sum(layer.macs for layer in compile_model(model, Config()).layers) == model.macs


@pytest.mark.parametrize("count", [*range(1, 260), 324, 400, 784, 961, 3136, 8192])
def test_means_are_exact(count):
    """Every sum of `count` int8 numbers, divided as a program divides it: ties, too."""
    factors, sums = quotients(count), np.arange(-128 * count, 127 * count + 1)
    assert len(factors) == (1 if count % 2 or count & (count - 1) == 0 else 2)
    found = [arith.requantize(sums, bits=8, **factor) for factor in factors]
    if len(found) == 2:
        found = [arith.requantize(found[0] + found[1], 1, 1, 8)]
    exact = np.array([round(Fraction(int(total), count)) for total in sums[:: max(1, count // 64)]])
    np.testing.assert_array_equal(found[0][:: max(1, count // 64)], exact)
    np.testing.assert_array_equal(found[0], arith.divide_round(sums, count))


LARGE = {
    "6x6, a window of 36": {"image": (3, 48, 48), "window": 6},
    "8x8": {"image": (3, 64, 64), "window": 4},
    "12x12, a window of 144": {"image": (3, 96, 96), "window": 12},
    "18x18": {"image": (3, 72, 72), "window": 6, "depths": (2,), "heads": (2,)},
    "25x25": {"image": (3, 100, 100), "window": 5, "depths": (1,), "heads": (2,)},
}


@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("tokens", [16, 64])
def test_windows_and_last_grids_of_any_size(shape, tokens):
    """More tokens than an instruction takes, than additions can sum up, and numbers of them that make ties."""
    model = random_swin(seed=tokens, **{"depths": (1, 2), "heads": (1, 2), **shape})
    program, images = compile_model(model, replace(Config(), tokens=tokens, cols=6)), images_for(model, 1)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_shares_cover_a_rectangle():
    rectangle = rectangles(24, 24, 12, 6)[5]
    assert rectangle.tokens == 72
    assert [(s.first, s.tokens) for s in shares(rectangle, Config())] == [(0, 48), (48, 24)]
    seen = [
        (y, x)
        for share in shares(rectangle, Config(tokens=16))
        for area in share.areas
        for y in range(area.y, area.y + area.height)
        for x in range(area.x, area.x + area.width)
    ]
    assert seen == [(rectangle.y + y, rectangle.x + x) for y in range(rectangle.height) for x in range(rectangle.width)]


@pytest.mark.parametrize("slices", [1, 3, 4])
@pytest.mark.parametrize("most", [1, 17, 40, 64])
def test_stacks_are_as_high_as_they_may_be(most, slices):
    found = rectangles(14, 14, 7, 3)
    stacked = stacks(found, Config(slices=slices), most)
    assert [rectangle for stack in stacked for rectangle in stack] == found
    heights = [[-(-rectangle.tokens // slices) for rectangle in stack] for stack in stacked]
    assert all(sum(rows) <= most or len(rows) == 1 for rows in heights)
    assert all(sum(rows) + next_[0] > most for rows, next_ in pairwise(heights))


def test_published_window_of_12_compiles():
    """Swin-B at 384 pixels with a block of each stage: 96 x 96 tokens at first, 12 x 12 at last."""
    shape = architecture("swin_base_patch4_window12_384")
    model = random_swin(image=shape.image, window=shape.window, dim=shape.dim, depths=(1,) * 4, heads=shape.heads)
    program = compile_model(model, Config(row_max_banks=2))  # for one slot: no choice, so no search
    assert program.macs == model.macs
    assert max(program.tiles) <= 64


@pytest.mark.parametrize(
    ("shape", "config", "message"),
    [
        ({"dim": 40, "heads": (1, 2)}, Config(), r"dim of stage 0 must be a multiple of rows \(16\), not 40"),
        ({}, replace(BOARDS["tiny"].config, max_row=64), "a row of 128 elements exceeds max_row"),
        ({}, replace(Config(), bank_words=64), "wants .* scratchpad words, but only"),
        ({"image": (3, 64, 64), "window": 8}, replace(Config(), tokens=16, rows=32), r"8 x 8 window .* \(16\) is less"),
        ({"window": 8, "depths": (1,), "heads": (1,)}, Config(max_row=64), "a row of 128 elements exceeds max_row"),
    ],
)
def test_refusals(shape, config, message):
    with pytest.raises(CompileError, match=message):
        compile_model(random_swin(**shape), config)


def test_mask_of_another_shift():
    model = random_swin(image=(3, 64, 64))
    name = next(name for name in model.tensors if name.endswith("attn_mask.value"))
    changed = model.tensors[name].copy()
    changed[-1, 0, 1] ^= 1
    with pytest.raises(CompileError, match=r"the mask of .* must be that of windows shifted by 2"):
        compile_model(replace(model, tensors={**model.tensors, name: changed}), Config())


@pytest.mark.parametrize(
    ("drop", "message"),
    [(5, "is layer_norm where a Swin has requantize"), (-2, "is linear where a Swin has requantize")],
)
def test_wrong_graph(drop, message):
    with pytest.raises(CompileError, match=message):
        compile_model(without(random_swin(), drop), Config())


def test_machine_model_would_see_a_missing_threshold():
    """The hazard check is not blind to what Swin programs do: without thresholds it finds something."""
    model, config = random_swin(seed=2), BOARDS["tiny"].config
    program, images = compile_model(model, config), images_for(random_swin(seed=2), 1)
    code = b"".join(
        isa.encode(i.op, {} if i.op is isa.Op.ADD_MAX else i.waits, **i.operands) for i in program.disassemble()
    )
    regions = {
        isa.Region.MODEL: program.model_image,
        isa.Region.WORK: np.zeros(program.work_bytes, np.uint8),
        isa.Region.INPUT: program.pack_images(images),
        isa.Region.OUTPUT: np.zeros(program.output_bytes, np.uint8),
    }
    machine = Machine(config, regions, check=True)
    machine.run(code)
    assert any(hazard.kind == "read after write" for hazard in machine.hazards)


def test_free_recipes():
    """Tables, fraction bits, masks, a scale per head, zero points; no ShiftGELU is built."""
    shape = architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(2, 2), heads=(1, 2), classes=7)
    model = make_model(shape, seed=5, recipe=RECIPES["minmax"])
    softmaxes = [node.name for node in model.nodes if node.op == "shiftmax"]
    fractions = {f"{name}.fraction": np.array([1 + k]) for k, name in enumerate(softmaxes)}
    model = replace(model, tensors={**model.tensors, **fractions})
    program = compile_model(model, Config(vector=("shiftmax", "layer_norm", "add", "table")))
    images = images_for(model, 1)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))
