"""Rivals of I-ViT's operators on the compiled gateware: digits, a DeiT and a Swin, whole; and their cycles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware.architectures import architecture
from firmware.device import Accelerator
from firmware.make_model import images, make_model
from firmware.preprocess import to_int8
from hw.boards.memory import Memory
from hw.boards.registry import BOARDS
from hw.spec.isa import Op, encode
from hw.spec.vector import unit_names
from hw.spec.vector_ops import UNITS
from sim import golden
from tests.sim.test_cycles import both, compare
from tests.support.models import quantized_digits
from tests.support.rivals import MIXTURES, recipe_of

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
CONFIG = replace(BOARDS["tiny"].config, vector=unit_names())


@pytest.fixture(scope="module")
def device():
    """A machine with every unit there is."""
    assert set(UNITS) < set(CONFIG.vector)
    with Accelerator.open("sim:tiny?memory=8", CONFIG) as device:
        yield device


@pytest.mark.parametrize("name", MIXTURES)
def test_digits(device, name):
    model = quantized_digits(recipe_of("minmax", MIXTURES[name]))
    pixels = np.load(DIGITS / "images.npy")[:3]
    compare(device, model, pixels[:1], 1, Memory(), CONFIG)
    np.testing.assert_array_equal(device.run(pixels), golden.run(model, to_int8(pixels, model)))


SHAPES = {
    "deit": architecture("deit_tiny", img_size=32, patch=8, dim=48, depth=2, heads=3, classes=7),
    "swin": architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(2, 2), heads=(1, 2), classes=7),
}


@pytest.mark.parametrize("name", ["log_int_softmax", "l1_layer_norm", "I-BERT"])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_networks(device, shape, name):
    """With windows and masks; bit-exact, and predicted."""
    model = make_model(SHAPES[shape], seed=3, recipe=recipe_of("minmax", MIXTURES[name]))
    pixels = images(SHAPES[shape], 2, 1000)
    compare(device, model, pixels[:1], 1, Memory(), CONFIG)
    np.testing.assert_array_equal(device.run(pixels), golden.run(model, to_int8(pixels, model)))


ROWS = {"source_row": 40}
DEST = {**ROWS, "dest": 1024, "dest_row": 40}
EXPONENT = {"ln2": 22, "b": 83, "c": 2662, "exp_mult": 1652108263, "exp_shift": 27}
POLYNOMIAL = {"ln2": 22, "b": 83, "c": 2662}
FACTOR = {"mult": 1 << 30, "shift": 40}


@pytest.mark.parametrize(("op", "operands"), [
    (Op.ROW_MEAN, ROWS), (Op.ROW_MEAN, {**ROWS, "wide_source": 1}),
    (Op.L1_DEVIATION, ROWS), (Op.L1_DEVIATION, {**ROWS, "wide_source": 1}),
    (Op.INT_DEVIATION, ROWS), (Op.INT_DEVIATION, {**ROWS, "wide_source": 1}),
    (Op.INT_SOFTMAX_SUM, {**ROWS, **EXPONENT}),
    (Op.INT_SOFTMAX, {**DEST, **EXPONENT}), (Op.INT_SOFTMAX, {**DEST, **EXPONENT, "planes": 1, "dest_plane": 512}),
    (Op.LOG_SOFTMAX_SUM, {**ROWS, **POLYNOMIAL}), (Op.LOG_SOFTMAX, {**DEST, **POLYNOMIAL}),
    (Op.LOG_SOFTMAX, {**DEST, **POLYNOMIAL, "planes": 1, "dest_plane": 512}),
    (Op.INT_GELU, {**DEST, **FACTOR}), (Op.INT_GELU, {**DEST, **FACTOR, "wide_source": 1}),
    (Op.INT_GELU, {**DEST, **FACTOR, "wide_source": 1, "planes": 1, "dest_plane": 512}),
])  # fmt: skip
@pytest.mark.parametrize(("rows", "length"), [(1, 8), (9, 40), (9, 17), (3, 150)])
def test_instructions_alone_are_exact(device, op, operands, rows, length):
    """Start and retirement are predicted to the cycle."""
    code = [encode(op, **operands, rows=rows, length=length)]
    (measured, intervals), (predicted, guesses) = both(device, code, CONFIG)
    assert (predicted, guesses) == (measured, intervals)


@pytest.mark.parametrize("wide", [{}, {"wide_source": 1, "wide_dest": 1}], ids=["bytes", "int16"])
@pytest.mark.parametrize(("rows", "length"), [(1, 8), (9, 17), (9, 40), (12, 36), (9, 64)])
def test_power_factors_alone_are_exact(device, wide, rows, length):
    """As LAYER_NORM, whose table of parameters is not predicted to the cycle where rows are few for their length."""
    code = [encode(Op.POWER_FACTORS, **DEST, **wide, params=512, norm_shift=3, rows=rows, length=length)]
    (measured, intervals), (predicted, guesses) = both(device, code, CONFIG)
    assert (predicted, guesses) == (measured, intervals)
