"""Whatever `hw.build` accepts can be built and compiled for, and whatever it does not is refused in one sentence."""

import gc
import random
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from firmware.compiler import CompileError, compile_model
from firmware.model_file import load_model
from hw.boards.registry import BOARDS
from hw.build import command
from hw.core import Core
from hw.spec.config import ARRAY_MAPPINGS, Config, parse_settings
from hw.spec.vector import PRODUCT_PLACES, unit_names
from hw.spec.vector_ops import UNITS
from tests.support.models import random_model

DIGITS = Path(__file__).parents[2] / "examples/digits/digits.safetensors"
NUMBERS = {
    "rows": (8, 32), "cols": (2, 64), "tokens": (16, 256), "drain_lanes": (1, 8), "lanes": (1, 8),
    "banks": (2, 8), "bank_words": (64, 16384), "stream_words": (64, 8192), "queue_depth": (4, 64),
    "row_max_banks": (2, 16), "stat_banks": (2, 16), "max_row": (64, 4096), "burst_beats": (4, 256), "slices": (1, 8),
}  # fmt: skip


def settings(rng):
    """A few changes, some beyond the limits, or most at a limit: what contradicts each other is found there."""
    if rng.random() < 0.5:
        for key, limits in NUMBERS.items():
            if rng.random() < 0.6:
                yield key, rng.choice(limits)
        return
    for key in rng.sample(sorted(NUMBERS), rng.randint(1, 4)):
        low, high = NUMBERS[key]
        inside = rng.randrange(low, high + 1, 2) if key == "cols" else 1 << rng.randint(3, 5)
        yield key, rng.choice([low, high, inside, *([high + 2] if rng.random() < 0.2 else [])])
    if rng.random() < 0.3:
        yield "array", rng.choice(ARRAY_MAPPINGS)
    if rng.random() < 0.3:
        yield "small_products", rng.choice(PRODUCT_PLACES)


@cache
def smallest(rows):
    """A ViT whose rows are two words at most."""
    return random_model(image=(1, 8, 8), patch=4, dim=rows, depth=1, heads=1, hidden=2 * rows, classes=4)


def compiled(model, board):
    """Whether it compiles; if not, one sentence says why."""
    try:
        compile_model(model, board)
    except CompileError as error:
        return "\n" in str(error) and pytest.fail(f"more than a sentence: {error}")
    return True


def make_engines(board):
    """Those that are there once, and those of a slice."""
    core = Core(board.config, primitives=board.fabric.primitives)
    core._engines()
    core._slice(board.config.slices - 1)


def test_every_setting_is_known():
    assert {field.name for field in fields(Config)} == {*NUMBERS, "array", "small_products", "vector"}
    assert Config().vector == UNITS
    assert {*UNITS} < {*unit_names()}


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_what_is_accepted_can_be_used(tmp_path, capsys):
    rng, counts = random.Random(7), {"refused": 0, "digits": 0, "smallest": 0}
    for _ in range(200):
        name = rng.choice(["verilog", "verilog", "arty_a7", "genesys2", "ulx3s_85f"])
        chosen = [f"{key}={value}" for key, value in settings(rng)]
        arguments = ["--board", name, *(f"--set={text}" for text in chosen)]
        status = command.main([*arguments, "--dry-run", "--out", str(tmp_path / "out")])
        said = capsys.readouterr()
        if status:
            counts["refused"] += 1
            assert status == 2, arguments
            assert said.err.startswith("error: "), arguments
            assert said.err.count("\n") == 1, arguments
            continue
        board = BOARDS[name].override(parse_settings(chosen))
        make_engines(board)
        counts["digits"] += compiled(load_model(DIGITS), board)
        counts["smallest"] += compiled(smallest(board.config.rows), board)
    gc.collect()  # the units made, while Amaranth may say that they were never used
    assert counts["refused"] > 30
    assert counts["digits"] > 20
    assert counts["smallest"] == 200 - counts["refused"]
