"""The table of VECTOR opcodes, and what an extension may add to it."""

import numpy as np
import pytest

from hw.spec import arith, isa
from hw.spec.config import Config, ConfigError, override
from hw.spec.isa import Field, Op
from hw.spec.vector import Given, Outcome, Second, VectorOp, opcodes, registered, row_of, rows, unit_names
from hw.spec.vector_ops import UNITS
from hw.vector.row_units import unit_timing

RIVALS = ("l1_layer_norm", "int_layer_norm", "int_softmax", "int_gelu", "log_int_softmax")
EVERY = (*RIVALS, *UNITS[:2], "ptf_layer_norm", *UNITS[2:])  # by their first opcodes
LISTED = f"vector must list units of {', '.join(EVERY)}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_the_compiler_counts_what_the_unit_takes(row):
    """Of the longest rows there are, whose units are the slowest."""
    assert row.row_cycles == unit_timing(row, lanes=2, max_row=4096).interval


@pytest.mark.parametrize("fraction", range(8))
@pytest.mark.parametrize("i0", [1, 3, 20, 367, 1023])
def test_laws_are_those_of_arith_where_a_row_reaches_its_maximum(i0, fraction):
    x = np.stack([np.arange(-128, 128), np.random.default_rng(i0).integers(-128, 100, 256)])
    top = x.max(axis=1, keepdims=True)
    given = Given(x=x, row_max=top, operands={"i0": i0, "start": 3 * i0, "planes": 1, "fraction": fraction})
    factor = row_of(Op.SHIFTMAX_SUM).law(given).factor
    assert np.array_equal(factor, arith.shiftmax_sum(x, top[:, 0], i0, start=3 * i0, fraction=fraction))
    given = Given(x=x, row_max=top, factor=factor[:, None], operands=given.operands)
    expected = arith.shiftmax_apply(x, top, factor[:, None], i0, fraction=fraction)
    assert np.array_equal(row_of(Op.SHIFTMAX).law(given).results, expected)
    given = Given(x=x, row_max=top, operands={"i0": i0, "mult": 1, "shift": 0})
    gelu = arith.requantize(x * arith.gelu_sigma(x, top, i0), 1, 0, 8)
    assert np.array_equal(row_of(Op.SHIFT_GELU).law(given).results, gelu)


def test_a_row_that_reaches_its_maximum_has_a_factor_of_16_bits():
    """E(0) = i0 * 2^15 is one of the terms of its sum, and every other one is positive."""
    assert arith.shift_exp(0, 1) == 1 << 15
    assert arith.reciprocal(1 << 15) == 65535


def example(**changes):
    operands = (
        Field("source", 16, "where"), Field("source_row", 12, "step"), Field("rows", 8, "rows", count=True),
        Field("length", 12, "elements", count=True), Field("dest", 16, "to"), Field("dest_row", 12, "step"),
    )  # fmt: skip
    row = {"number": 24, "name": "EXAMPLE", "unit": "example", "doc": "Nothing.", "operands": operands}
    return VectorOp(**row | {"law": lambda given: Outcome(results=given.x)} | changes)


def test_an_extension_registers_and_leaves_no_trace():
    before, manual = Config().fingerprint, isa.describe()
    with pytest.raises(ValueError, match="24 is no opcode"):
        Op(24)
    with registered(example()):
        assert Op.EXAMPLE == Op(24) == 24
        assert Op.EXAMPLE in set(Op)
        assert isa.engine_of(Op.EXAMPLE) is isa.Engine.VECTOR
        word = isa.encode(Op.EXAMPLE, source=5, rows=7)
        assert isa.decode(word).operands["rows"] == 7
        assert unit_names() == (*EVERY, "example")
        assert Config().fingerprint == before
        assert isa.describe() == manual
        config = override(Config(), {"vector": "example,add"})
        assert config.vector == ("add", "example")
        assert config.fingerprint != Config(vector=("add",)).fingerprint
        assert Op.EXAMPLE in opcodes(config.vector)
        assert Op.EXAMPLE not in opcodes(UNITS)
    assert not hasattr(Op, "EXAMPLE")
    with pytest.raises(ConfigError, match=f"{LISTED}, not example"):
        Config(vector=("example",))


@pytest.mark.parametrize(("changes", "message"), [
    ({"number": 21}, "EXAMPLE needs a free number, one of 3, 7"),
    ({"number": 32}, "EXAMPLE needs a free number"),
    ({"name": "ADD"}, "a name of its own in capitals, not 'ADD'"),
    ({"name": "Add"}, "a name of its own in capitals, not 'Add'"),
    ({"operands": example().operands * 2}, "distinct operands of 187 bits at most, not 152"),
])  # fmt: skip
def test_what_cannot_be_registered(changes, message):
    with pytest.raises(ValueError, match=message), registered(example(**changes)):
        pass


@pytest.mark.parametrize(("changes", "message"), [
    ({"operands": example().operands[:3]}, "EXAMPLE needs the operands length"),
    ({"second": Second.IDENTITY}, "EXAMPLE needs the operands identity, identity_row"),
    ({"reads": ("factor",)}, "EXAMPLE needs the operands stats"),
    ({"requantized": True}, "EXAMPLE needs the operands mult, shift"),
    ({"operands": example().operands[:4]}, "needs results"),
])  # fmt: skip
def test_rows_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        example(**changes)


@pytest.mark.parametrize(("text", "units"), [
    ("shiftmax,layer_norm,add", ("shiftmax", "layer_norm", "add")), ("add,shiftmax", ("shiftmax", "add")),
])  # fmt: skip
def test_units_by_setting(text, units):
    config = override(Config(), {"vector": text})
    assert config.vector == units
    assert config.fingerprint != Config().fingerprint


@pytest.mark.parametrize(("text", "found"), [("shiftmax,sigmoid", "sigmoid"), ("", "none")])
def test_units_that_are_not_there(text, found):
    with pytest.raises(ConfigError, match=f"{LISTED}, not {found}"):
        override(Config(), {"vector": text})
