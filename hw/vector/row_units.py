"""Which unit executes an opcode."""

from contextlib import contextmanager

from hw.spec.timing import Timing
from hw.spec.vector import Second
from hw.vector.deviation import IntDeviation, L1Deviation
from hw.vector.int_gelu import IntGelu
from hw.vector.int_softmax import IntSoftmax
from hw.vector.int_softmax_sum import IntSoftmaxSum
from hw.vector.layer_norm import LayerNorm
from hw.vector.log_softmax import LogSoftmax
from hw.vector.log_softmax_sum import LogSoftmaxSum
from hw.vector.moments import Moments
from hw.vector.power_factors import PowerFactors
from hw.vector.requantize_lanes import RequantizeLanes
from hw.vector.row_mean import RowMean
from hw.vector.shift_gelu import ShiftGelu
from hw.vector.shiftmax import Shiftmax
from hw.vector.shiftmax_sum import ShiftmaxSum
from hw.vector.table import Table

__all__ = ["ROW_UNITS", "longest", "make_unit", "places_products", "unit_timing", "with_units"]

ROW_UNITS = {
    "SHIFTMAX_SUM": ShiftmaxSum,
    "SHIFTMAX": Shiftmax,
    "MOMENTS": Moments,
    "LAYER_NORM": LayerNorm,
    "SHIFT_GELU": ShiftGelu,
    "TABLE": Table,
    "ROW_MEAN": RowMean,
    "L1_DEVIATION": L1Deviation,
    "INT_DEVIATION": IntDeviation,
    "INT_SOFTMAX_SUM": IntSoftmaxSum,
    "INT_SOFTMAX": IntSoftmax,
    "INT_GELU": IntGelu,
    "LOG_SOFTMAX_SUM": LogSoftmaxSum,
    "LOG_SOFTMAX": LogSoftmax,
    "POWER_FACTORS": PowerFactors,
}
"""Opcode's name -> subclass of RowUnit. An extension adds its own."""


@contextmanager
def with_units(**units):
    """Opcodes' units, for as long as the context lasts."""
    ROW_UNITS.update(units)
    try:
        yield
    finally:
        for name in units:
            del ROW_UNITS[name]


def _unit(row):
    if row.name not in ROW_UNITS:
        raise ValueError(f"no unit is registered in hw.vector.row_units for the opcode {row.name}")
    return ROW_UNITS[row.name]


def make_unit(row, *, lanes, max_row, tag, word_bits, products="dsp"):
    """The unit of a row of the table, which does not add.

    `tag` is for grouped ones, `word_bits` for tables, `products` for those that let it be chosen.
    """
    more = {"tag": tag} if row.grouped else {}
    more |= {"word_bits": word_bits} if row.second is Second.TABLE else {}
    more |= {"products": products} if places_products(row) else {}
    return _unit(row)(lanes=lanes, max_row=max_row, **more)


def places_products(row):
    """Whether it can be chosen where the products of a row's unit are; an addition has none."""
    return not row.adds and _unit(row).places_products


def unit_timing(row, *, lanes, max_row):
    """`Timing` of a row's unit; an addition has none and takes no time before it is requantized."""
    return Timing(latency=0) if row.adds else _unit(row).timing(lanes=lanes, max_row=max_row)


def longest(table, *, lanes, max_row):
    """Cycles that a result of those rows may be under way, from its elements to the queue of results."""
    return max(
        (
            unit_timing(row, lanes=lanes, max_row=max_row).latency + (RequantizeLanes.latency if row.requantized else 0)
            for row in table
            if row.results
        ),
        default=0,
    )
