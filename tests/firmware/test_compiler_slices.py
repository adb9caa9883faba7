"""Programs for several slices: the same logits, tokens in even shares, whatever the machine's shape."""

from dataclasses import replace

import numpy as np
import pytest

from firmware.compiler import Layer, compile_model
from firmware.families.swin.constants import constants
from firmware.families.swin.pattern import recognise
from firmware.families.swin.plan import Plan
from firmware.planner.placed import Job
from firmware.planner.spread import spread
from hw.boards.memory import Memory
from hw.spec.config import Config
from hw.spec.isa import Op
from sim import golden
from tests.firmware.test_compiler import ARTY, TINY, WIDE, execute, images_for
from tests.firmware.test_variants import loud, norm_behind, pixels, quantized, stored, with_registers
from tests.support.models import random_model
from tests.support.swin import random_swin


@pytest.mark.parametrize("slices", [2, 3, 8])
@pytest.mark.parametrize("config", [ARTY, TINY, WIDE], ids=["arty_a7", "tiny", "16x24"])
def test_equals_golden(config, slices):
    model = random_model(seed=slices, bits=8 if slices == 2 else 16)
    program = compile_model(model, replace(config, slices=slices), batch=2)
    images = images_for(model, 2)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("slices", [2, 3, 5])
@pytest.mark.parametrize("side", [56, 72])
def test_uneven_super_tiles(side, slices):
    """50 and 82 tokens: tiles and shares that end within words and within tiles of keys."""
    model = random_model(seed=side, image=(3, side, side), depth=2)
    program = compile_model(model, Config(tokens=16, slices=slices))
    assert sum(program.tiles) == program.patches + 1
    images = images_for(model, 1)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_no_slice_waits_for_another():
    """Every MATMUL and VECTOR instruction is on the rows of the largest share, on one row, or on the head's tokens."""
    model = random_model(seed=1, image=(3, 72, 72), depth=2)
    program = compile_model(model, Config(tokens=32, slices=3))
    rows = {-(-tokens // 3) for tokens in program.tiles}
    found = {i.operands["rows"] for i in program.disassemble() if "rows" in i.operands}
    assert rows <= found <= rows | {1, 3}  # queries of the last block are of one token in each slice
    every = [i.operands["every"] for i in program.disassemble() if i.op is Op.LOAD]
    assert 0 < sum(every) < len(every)


@pytest.mark.parametrize("slices", range(1, 9))
@pytest.mark.parametrize("tokens", [1, 2, 7, 50, 64, 197])
def test_shares(tokens, slices):
    parts = spread(tokens, slices)
    assert [number for part in parts for number in range(part.first, part.first + part.tokens)] == list(range(tokens))
    assert max(part.tokens for part in parts) == -(-tokens // slices)
    for first, stop in ((0, 1), (1, tokens), (tokens // 2, tokens)):
        inside = [
            (part.slice, part.row + k, part.first + k)
            for part in spread(tokens, slices, first, stop) for k in range(part.tokens)
        ]  # fmt: skip
        rows = -(-tokens // slices)
        assert inside == [(number // rows, number % rows, number) for number in range(first, stop)]


@pytest.mark.parametrize("slices", [2, 3, 7])
@pytest.mark.parametrize(
    ("config", "batch", "shape"),
    [
        (TINY, 3, {"heads": (2, 4)}),
        (replace(TINY, tokens=16, banks=2, bank_words=256), 2, {}),
        (Config(), 2, {"dim": 48, "heads": (1, 3), "image": (3, 32, 64)}),
        (Config(rows=32, cols=6, tokens=32), 1, {"dim": 64, "depths": (2, 1, 1), "heads": (1, 2, 4)}),
    ],
)
def test_swins_equal_golden(config, batch, shape, slices):
    """Windows, runs of tokens and squares that are merged, in shares; few tokens in many slices among them."""
    model = random_swin(
        seed=batch, attention_bits=16 if batch == 3 else 8, **{"depths": (2, 2), "heads": (1, 2)} | shape
    )
    program, images = compile_model(model, replace(config, slices=slices), batch=batch), images_for(model, batch)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("slices", [2, 3, 5])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("side", [32, 64])
def test_means(side, behind, slices):
    """Of 19 and 67 tokens, whose transposed shares begin within words; registers, which only one slice may have."""
    weights, images, _ = stored()
    if behind:
        norm_behind(weights)
    with_registers(weights, embedded=False)
    tiled = np.tile(images[:2], (1, 1, 3, 3))[..., :side, :side]
    model, _ = quantized(weights, tiled, "mse", pool="avg")
    model = loud(model) if behind else model
    x = pixels(model, tiled)
    for config in (ARTY, replace(TINY, tokens=16)):
        program = compile_model(model, replace(config, slices=slices), batch=2)
        np.testing.assert_array_equal(execute(program, x), golden.run(model, x))


@pytest.mark.parametrize("slices", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [1, 8, 16, 64])
@pytest.mark.parametrize("config", [Config(), Config(rows=32, cols=6)], ids=["words of 16", "words of 32"])
def test_rectangles_are_projected_together(config, rows, slices):
    """Of every size and 16-bit norms among them, as many as have so many rows of a slice."""
    config = replace(config, slices=slices)
    model = random_swin(seed=rows, image=(3, 64, 64), dim=64, depths=(2, 1), heads=(2, 4), attention_bits=8)
    roles = recognise(model)
    image = constants(model, roles, config)
    plan = Plan(
        Job(model=model, config=config, memory=Memory(), images=1), roles, image, (3, 2), (2,), stacks=(rows, rows)
    )
    projections = [item for item in plan.items() if "project" in item.key]
    alone = rows == 1 or (rows, slices) == (8, 1)  # no two that follow each other have 8 tokens together
    assert (len(projections) == sum(map(len, plan.layout.stages[0][0].rectangles)) + 4) == alone
    scheduler = plan.scheduler({node.name: Layer(node.name, node.op, 0) for node in model.nodes})
    scheduler.run(plan.items())
    program = replace(
        compile_model(model, config), code=scheduler.code, work_bytes=plan.work_bytes, model_image=image.data, layers=[]
    )
    images = images_for(model, 1)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))
