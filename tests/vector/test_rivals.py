# amaranth: UnusedElaboratable=no
"""The units of rivals against their laws in `hw.spec.rivals`."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Signal

from hw.spec import arith, rivals
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
from hw.units.floor_root import FloorRoot
from hw.vector.deviation import IntDeviation, L1Deviation
from hw.vector.int_gelu import IntGelu
from hw.vector.int_softmax import IntSoftmax
from hw.vector.int_softmax_sum import IntSoftmaxSum
from hw.vector.log_softmax import LogSoftmax
from hw.vector.log_softmax_sum import LogSoftmaxSum
from hw.vector.power_factors import PowerFactors
from hw.vector.row_mean import RowMean
from tests.spec.test_rivals import load, vectors
from tests.support.rows import beats
from tests.support.streams import PRESSURES, reset_and_silent, run_stream, run_streams, simulate

SIZES = (1, 2, 3, 4, 5, 8, 1, 17, 49, 30)
CONSTANTS = {  # of scales 0.0033, 0.0324 (official), 0.1 and 0.69
    "fine": {"ln2": 210, "b": 820, "c": 256384, "exp_mult": 1098000000, "exp_shift": 31},
    "official": {"ln2": 22, "b": 83, "c": 2662, "exp_mult": 1652108263, "exp_shift": 27},
    "coarse": {"ln2": 6, "b": 27, "c": 279, "exp_mult": 1970200000, "exp_shift": 24},
    "coarsest": {"ln2": 1, "b": 3, "c": 5, "exp_mult": 1717986918, "exp_shift": 18},
}


def laid_out(items, found):
    """Results per row of beats; checks mask and last."""
    rows, row = [], []
    for item, beat in zip(items, found, strict=True):
        assert (beat["mask"], beat["last"]) == (item["mask"], item["last"])
        row += beat["x"][: item["mask"].bit_count()]
        if item["last"]:
            rows.append(row)
            row = []
    return rows


# LayerNorms


def wide_rows(rng):
    rows = [rng.integers(-32768, 32768, size) for size in (*SIZES, 192, 33)]
    return [*rows, np.array([32767, -32768] * 20), np.zeros(5, np.int64), np.array([-32768] * 9), np.arange(5)]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_row_mean(lanes, pressure):
    rows = wide_rows(np.random.default_rng(lanes))
    heads = [{"length": len(row)} for row in rows]
    streams = {"rows": heads, "i": beats(rows, lanes)}
    got, _ = run_streams(RowMean(lanes=lanes), streams, {"o": len(rows)}, pressure=pressure)
    assert [item["mean"] for item in got["o"]] == [arith.moments(row)[0] for row in rows]


def test_row_mean_rounds_ties_to_even():
    """Every remainder of lengths 1 to 8, for an even and an odd quotient, of both signs."""
    rows = [[k] + [0] * (length - 1) for length in range(1, 9) for k in range(-2 * length, 2 * length + 1)]
    streams = {"rows": [{"length": len(row)} for row in rows], "i": beats(rows, 2)}
    got, _ = run_streams(RowMean(lanes=2), streams, {"o": len(rows)})
    assert [item["mean"] for item in got["o"]] == [int(arith.divide_round(row[0], len(row))) for row in rows]


def deviations(rows, lanes, means):
    return [
        {**beat, "mean": int(mean)}
        for row, mean in zip(rows, means, strict=True) for beat in beats([row], lanes)
    ]  # fmt: skip


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_l1_deviation(lanes, pressure):
    """Of the row's own mean, and of others."""
    rng = np.random.default_rng(lanes)
    rows = wide_rows(rng)
    means = [arith.moments(row)[0] if k % 4 else rng.integers(-32768, 32768) for k, row in enumerate(rows)]
    items = deviations(rows, lanes, means)
    got, _ = run_stream(L1Deviation(lanes=lanes), items, count=len(rows), pressure=pressure)
    assert [item["factor"] for item in got] == [rivals.l1_factor(r - m) for r, m in zip(rows, means, strict=True)]


@pytest.mark.parametrize("shift", [0, 1, 4, 7])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_int_deviation(lanes, shift):
    rng = np.random.default_rng(lanes)
    rows = [*wide_rows(rng), *(rng.integers(-reach, reach, 40) for reach in (3, 7, 12, 30))]
    means = [arith.moments(row)[0] if k % 4 else rng.integers(-32768, 32768) for k, row in enumerate(rows)]
    items = deviations(rows, lanes, means)
    expected = [rivals.int_deviation_factor(r - m, shift) for r, m in zip(rows, means, strict=True)]
    for pressure in PRESSURES:
        got, _ = run_stream(
            IntDeviation(lanes=lanes), items, count=len(rows), pressure=pressure,
            constants={"operands.norm_shift": shift},
        )  # fmt: skip
        assert [item["factor"] for item in got] == expected


def test_a_reset_ends_a_deviation():
    """However far its row has come, no factor of it is found."""
    dut, reset = IntDeviation(lanes=1), Signal()

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.payload, {"x": [77], "mask": 1, "last": 1, "mean": 3})
        for cycles in range(1, dut.timing().latency + 1):
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(cycles)
            await reset_and_silent(ctx, reset, dut.timing().latency + 2, dut.o.valid)

    simulate(dut, bench, reset=reset)


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_power_factors(lanes, shift):
    """Of every exponent; all of a bias that is no part of it is random. Ties of every distance are there."""
    rng = np.random.default_rng(lanes)
    rows = [*wide_rows(rng), np.arange(-3000, 3000), np.arange(-(1 << 15), 1 << 15, 1 << 5)]
    biases = [rng.integers(-(1 << 33), 1 << 33, len(row)) for row in rows]
    items = []
    for row, bias in zip(rows, biases, strict=True):
        padded = [*bias.tolist(), *[0] * (-len(bias) % lanes)]
        items += [{**b, "bias": padded[k * lanes : (k + 1) * lanes]} for k, b in enumerate(beats([row], lanes))]
    expected = [rivals.ptf_input(r, b & 3, shift).tolist() for r, b in zip(rows, biases, strict=True)]
    for pressure in PRESSURES:
        got, cycles = run_stream(
            PowerFactors(lanes=lanes), items, count=len(items), pressure=pressure,
            constants={"operands.norm_shift": shift},
        )  # fmt: skip
        assert laid_out(items, got) == expected
    assert len(cycles) == len(items)


@pytest.mark.parametrize(("unit", "count"), [(L1Deviation, 64), (IntDeviation, 64)])
def test_rows_in_their_rhythm(unit, count):
    """Latency of the first row, and a row per `row_cycles`."""
    rows = [np.arange(k, k + 6) * 900 for k in range(5)]
    dut = unit(lanes=2, max_row=count)
    _, cycles = run_stream(dut, deviations(rows, 2, [0] * 5), count=5, constants=operands(dut, {"norm_shift": 0}))
    assert cycles[0] == 2 + dut.latency
    assert np.diff(cycles).tolist() == [dut.row_cycles] * 4


def operands(dut, values):
    return {f"operands.{n}": v for n, v in values.items()} if "operands" in dut.signature.members else {}


def test_row_means_in_their_rhythm():
    rows = [np.arange(k, k + 6) * 900 for k in range(5)]
    dut = RowMean(lanes=2)
    _, cycles = run_streams(dut, {"rows": [{"length": 6}] * 5, "i": beats(rows, 2)}, {"o": 5})
    assert cycles["o"][0] == 2 + dut.latency
    assert np.diff(cycles["o"]).tolist() == [dut.row_cycles] * 4


@pytest.mark.parametrize("bits", [2, 8, 10])
def test_floor_root_of_every_value(bits):
    dut = FloorRoot(value_bits=bits)
    got, cycles = run_stream(dut, range(1 << bits))
    assert got == rivals.floor_root(np.arange(1 << bits)).tolist()
    assert cycles[0] == dut.latency
    assert np.diff(cycles).tolist() == [dut.timing(value_bits=bits).interval] * (len(got) - 1)


def test_floor_root_of_edges():
    rng = np.random.default_rng(5)
    roots = np.concatenate([rng.integers(1, 1 << 22, 60), [(1 << 22) - 1]])
    values = np.concatenate([roots * roots, roots * roots - 1, roots * roots + 2 * roots]).tolist()
    got, _ = run_stream(FloorRoot(value_bits=44), values, pressure=0.3)
    assert got == rivals.floor_root(values).tolist()


def test_floor_root_refuses_odd_widths():
    with pytest.raises(ValueError, match="value_bits must be positive and even, not 9"):
        FloorRoot(value_bits=9)


# Softmax


def int_softmax_law(rows, tops, constants, fraction, **more):
    o = {**constants, "fraction": fraction, "planes": 1, "halve": 0, **more}
    expected = []
    for row, top in zip(rows, tops, strict=True):
        given = Given(x=np.asarray(row)[None], row_max=np.array([[top]]), operands=o)
        factor = row_of(Op.INT_SOFTMAX_SUM).law(given).factor
        given = Given(x=given.x, row_max=given.row_max, factor=factor[:, None], operands=o)
        expected.append((int(factor[0]), row_of(Op.INT_SOFTMAX).law(given).results[0].tolist()))
    return [factor for factor, _ in expected], [p for _, p in expected]


def softmax(lanes, rows, tops, constants, fraction, *, pressure=0.0, **more):
    """Checks both passes."""
    factors, expected = int_softmax_law(rows, tops, constants, fraction, **more)
    heads, items = [{"row_max": int(top), "fraction": fraction} for top in tops], beats(rows, lanes)
    held = {f"operands.{name}": value for name, value in constants.items()}
    got, _ = run_streams(
        IntSoftmaxSum(lanes=lanes), {"rows": heads, "i": items}, {"o": len(rows)}, pressure=pressure, constants=held
    )
    assert [item["factor"] for item in got["o"]] == factors
    heads = [{**head, "factor": factor} for head, factor in zip(heads, factors, strict=True)]
    held |= {"operands.planes": more.get("planes", 1), "operands.halve": more.get("halve", 0)}
    dut = IntSoftmax(lanes=lanes)
    got, cycles = run_streams(
        dut, {"rows": heads, "i": items}, {"o": len(items)}, pressure=pressure, constants=held
    )  # fmt: skip
    assert laid_out(items, got["o"]) == expected
    if not pressure:
        assert cycles["o"] == list(range(dut.latency, dut.latency + len(items)))


@pytest.mark.parametrize("fraction", [0, 7])
@pytest.mark.parametrize("name", CONSTANTS)
def test_softmax_of_every_difference(name, fraction):
    """Rows that hold every one; those of another maximum take them modulo 2^9."""
    rows = [np.arange(-128, 128), np.arange(127, -129, -1), np.arange(-128, 128), np.arange(-128, 128)]
    softmax(2, rows, [127, 127, 0, -128], CONSTANTS[name], fraction)


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "more"), [(1, {}), (2, {"planes": 0}), (4, {"planes": 0, "halve": 1})])
def test_softmax_at_random(lanes, more, pressure):
    rng = np.random.default_rng(lanes)
    rows = [rng.integers(-128, rng.integers(-127, 129), size) for size in SIZES]
    softmax(lanes, rows, [row.max() for row in rows], CONSTANTS["official"], 1, pressure=pressure, **more)


def test_softmax_with_strange_constants():
    rng = np.random.default_rng(7)
    for _ in range(3):
        constants = {"ln2": rng.integers(1, 256), "b": rng.integers(0, 1024), "c": rng.integers(0, 1 << 18)}
        constants |= {"exp_mult": rng.integers(0, 1 << 31), "exp_shift": rng.integers(0, 32)}
        constants = {name: int(value) for name, value in constants.items()}
        rows = [rng.integers(-128, 128, size) for size in SIZES]
        softmax(2, rows, rng.integers(-128, 128, len(rows)).tolist(), constants, int(rng.integers(8)))


@pytest.mark.parametrize("path", [p for p in vectors("ibert_softmax") if "_05_" not in p.id and "_06_" not in p.id])
def test_softmax_equals_the_official_code(path):
    """Of int8 scores, which the machine has; the others the law equals."""
    v = load(path)
    rows = v["x"][:3].astype(np.int64)
    constants = {"ln2": v["I_ln2"], "b": v["b_int"], "c": v["c_int"], "exp_mult": v["m"], "exp_shift": v["e"] - 30}
    constants = {name: int(value) for name, value in constants.items()}
    _, expected = int_softmax_law(rows, rows.max(axis=1), constants, 0)
    assert np.array_equal(expected, v["out"][:3])
    softmax(2, rows, rows.max(axis=1), constants, 0)


# Log-Int-Softmax


def log_softmax(lanes, rows, tops, constants, fraction, *, pressure=0.0, planes=1, offset=0, factors=None):
    """Checks both passes, or the second with other rows' factors."""
    polynomial = {name: int(constants[name]) for name in ("ln2", "b", "c")}
    o = {**polynomial, "fraction": fraction, "planes": planes, "offset": offset}
    given = [Given(x=np.asarray(r)[None], row_max=np.array([[t]]), operands=o) for r, t in zip(rows, tops, strict=True)]
    sums = [int(row_of(Op.LOG_SOFTMAX_SUM).law(each).factor[0]) for each in given]
    heads, items = [{"row_max": int(top), "fraction": fraction} for top in tops], beats(rows, lanes)
    held = {f"operands.{name}": value for name, value in polynomial.items()}
    dut = LogSoftmaxSum(lanes=lanes)
    got, cycles = run_streams(dut, {"rows": heads, "i": items}, {"o": len(rows)}, pressure=pressure, constants=held)
    assert [item["factor"] for item in got["o"]] == sums
    if not pressure:
        assert cycles["o"][0] == -(-len(rows[0]) // lanes) - 1 + dut.latency
    factors = factors or sums
    expected = [
        row_of(Op.LOG_SOFTMAX).law(replace(each, factor=np.array([[factor]]))).results[0].tolist()
        for each, factor in zip(given, factors, strict=True)
    ]
    heads = [{**head, "factor": factor} for head, factor in zip(heads, factors, strict=True)]
    held |= {"operands.planes": planes, "operands.offset": offset}
    dut = LogSoftmax(lanes=lanes)
    got, cycles = run_streams(dut, {"rows": heads, "i": items}, {"o": len(items)}, pressure=pressure, constants=held)
    assert laid_out(items, got["o"]) == expected
    if not pressure:
        assert cycles["o"] == list(range(dut.latency, dut.latency + len(items)))


@pytest.mark.parametrize("fraction", [0, 7])
@pytest.mark.parametrize("name", CONSTANTS)
def test_logarithms_of_every_difference(name, fraction):
    rows = [np.arange(-128, 128), np.arange(127, -129, -1), np.arange(-128, 128), np.arange(-128, 128)]
    log_softmax(2, rows, [127, 127, 0, -128], CONSTANTS[name], fraction)


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "planes", "offset"), [(1, 1, 0), (2, 0, 0), (4, 0, 5), (2, 1, 3), (2, 0, 15)])
def test_logarithms_at_random(lanes, planes, offset, pressure):
    rng = np.random.default_rng(lanes)
    rows = [rng.integers(-128, rng.integers(-127, 129), size) for size in SIZES]
    tops = [row.max() for row in rows]
    log_softmax(lanes, rows, tops, CONSTANTS["official"], 1, pressure=pressure, planes=planes, offset=offset)


def test_logarithms_of_ties():
    """Sums that are 3/2, 5/2 and 3 times an exponential, and those a little beside them."""
    official = CONSTANTS["official"]
    e = [int(rivals.log_exp(m, official["ln2"], official["b"], official["c"])) for m in (0, 22, 44)]
    assert e[0] == 2 * e[1] == 4 * e[2]
    rows = [[0], [0, 0], [0, -22], [0, -22, -22], [0, -44, -44], [0, 0, -22], [0, 0, -44], [0, 0, -22, -44], [0] * 3]
    for extra in (-60, -90):
        rows += [[*row, extra] for row in rows[:9]]
    log_softmax(1, rows, [0] * len(rows), official, 0)


def test_logarithms_of_the_least_exponentials():
    """Rows of nothing else, around the difference from which on all exponentials are alike."""
    fine, fraction = CONSTANTS["fine"], 5
    middle = 30 * fine["ln2"] >> fraction
    rows = [[127 - d] * 9 for d in range(middle - 5, middle + 8)]
    log_softmax(1, rows, [127] * len(rows), fine, fraction)


def test_logarithms_of_the_largest_sum():
    """4096 elements, each the largest exponential that there is: of a rest of 254 where b is 0."""
    log_softmax(4, [np.full(4096, -127)], [127], {"ln2": 255, "b": 0, "c": (1 << 18) - 1}, 0)


def test_logarithms_with_strange_constants():
    """And with any factors, which other rows may have left."""
    rng = np.random.default_rng(8)
    for _ in range(5):
        constants = {"ln2": rng.integers(1, 256), "b": rng.integers(0, 1024), "c": rng.integers(0, 1 << 18)}
        rows = [rng.integers(-128, 128, size) for size in SIZES]
        tops = rng.integers(-128, 128, len(rows)).tolist()
        factors = [int(factor) >> int(rng.integers(0, 24)) for factor in rng.integers(0, 1 << 25, len(rows))]
        log_softmax(2, rows, tops, constants, int(rng.integers(8)), factors=factors)


@pytest.mark.parametrize("path", vectors("fqvit_lis"))
def test_logarithms_equal_the_official_code(path):
    v = load(path)
    rows = v["x"][:6].astype(np.int64)
    codes = np.where(v["out"][:6] < 0, rivals.CODES, v["out"][:6])
    constants = {"ln2": v["I_ln2"], "b": v["b_int"], "c": v["c_int"]}
    found = rivals.log_softmax(rows, **constants)
    assert np.array_equal(found, rivals.log_probability(codes, 0, 16))
    log_softmax(2, rows, rows.max(axis=1), constants, 0)


# GELU


def gelu(rows, b, c, lanes=2, **more):
    items = beats(rows, lanes)
    dut = IntGelu(lanes=lanes)
    got, cycles = run_stream(dut, items, constants={"operands.b": int(b), "operands.c": int(c)}, **more)
    assert laid_out(items, got) == [rivals.int_gelu(row, b, c).tolist() for row in rows]
    return dut, cycles


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_gelu_at_random(lanes, pressure):
    rng = np.random.default_rng(lanes)
    rows = [rng.integers(-32768, 32768, size) >> rng.integers(0, 10) for size in SIZES]
    gelu(rows, 6423, 45642524, lanes, pressure=pressure)


@pytest.mark.parametrize(("b", "c"), [(83, 7448), (0, 0), (32767, (1 << 31) - 1), (32767, 0), (0, (1 << 31) - 1)])
def test_gelu_of_extremes(b, c):
    rows = [[-32768, 32767, 0, 1, -1, -32767, b, -b, b - 1, 1 - b, min(b + 1, 32767)], np.arange(-128, 128)]
    gelu(rows, b, c)


@pytest.mark.parametrize("path", [p for p in vectors("ibert_gelu") if "_02_" not in p.id])
def test_gelu_equals_the_official_code(path):
    """Of int16, and the degenerate int8 case; one file's inputs have more bits."""
    v = load(path)
    assert np.array_equal(rivals.int_gelu(v["x"], -v["b_int"], -v["c_int"]), -v["out"].astype(np.int64))
    gelu(v["x"].astype(np.int64), -v["b_int"], -v["c_int"])


def test_gelu_in_its_rhythm():
    dut, cycles = gelu([np.arange(20)], 843, 786287)
    assert cycles == list(range(dut.latency, dut.latency + 10))
