"""The machine model: instructions against scalar loops, faults, execution order, and hazards found and not found."""

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from firmware.compiler import compile_model
from firmware.ivit import model_from_state
from hw.spec import arith, memory
from hw.spec.config import Config
from hw.spec.isa import Engine, Fault, Kind, Op, Region, decode, encode
from hw.spec.vector import rows as vector_rows
from hw.spec.vector_ops import UNITS
from sim.machine import SEQUENCER, Machine, MachineFault

DATA = Path(__file__).parents[1] / "data"
CONFIG = Config(rows=8, cols=4, tokens=16, banks=2, bank_words=512, stream_words=64, row_max_banks=2, stat_banks=2,
                max_row=64, queue_depth=4, array="portable")  # fmt: skip
WORD = CONFIG.word_bytes
SCRATCH = CONFIG.scratch_words
LOAD, MATMUL, VECTOR, STORE = Engine.LOAD, Engine.MATMUL, Engine.VECTOR, Engine.STORE
HALT = encode(Op.HALT)


def machine(seed=0, words=256, **options):
    """A machine whose scratchpad and regions hold random bytes."""
    rng = np.random.default_rng(seed)
    regions = {region: rng.integers(0, 256, words * WORD).astype(np.uint8) for region in Region}
    m = Machine(CONFIG, regions, **options)
    m.scratch[:] = rng.integers(0, 256, m.scratch.shape)
    return m


def run(m, *instructions):
    m.run(b"".join(instructions) + HALT)
    return m


def signed(value, bits=8):
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def clamp(value, bits):
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


# --- transfers ---


def random_transfer(rng):
    o = {"scratch": rng.randint(0, 200), "offset": rng.randint(0, 60), "run": rng.randint(1, 5)}
    o |= {"count1": rng.randint(1, 4), "count2": rng.randint(1, 3), "scratch0": rng.randint(0, 9)}
    o |= {"offset1": rng.randint(0, 20), "scratch1": rng.randint(0, 60)}
    return o | {"offset2": rng.randint(0, 20), "scratch2": rng.randint(0, 150)}


def walk(o):
    for k2 in range(o["count2"]):
        for k1 in range(o["count1"]):
            for k0 in range(o["run"]):
                yield (
                    o["offset"] + k2 * o["offset2"] + k1 * o["offset1"] + k0,
                    o["scratch"] + k2 * o["scratch2"] + k1 * o["scratch1"] + k0 * o["scratch0"],
                )


@pytest.mark.parametrize("seed", range(10))
def test_load(seed):
    o, m = random_transfer(random.Random(seed)), machine(seed)
    expected = m.scratch.copy()
    for word, scratch in walk(o):
        expected[scratch] = m.regions[Region.INPUT][word]
    run(m, encode(Op.LOAD, region=Region.INPUT, **o))
    np.testing.assert_array_equal(m.scratch, expected)


@pytest.mark.parametrize("seed", range(10))
def test_store(seed):
    o, m = random_transfer(random.Random(seed)), machine(seed)
    expected = {region: content.copy() for region, content in m.regions.items()}
    for word, scratch in walk(o):
        expected[Region.WORK][word] = m.scratch[scratch]
    run(m, encode(Op.STORE, region=Region.WORK, **o))
    for region, content in expected.items():
        np.testing.assert_array_equal(m.regions[region], content)


def test_bytearray_regions_are_changed_in_place():
    output = bytearray(4 * WORD)
    m = Machine(CONFIG, {Region.OUTPUT: output})
    m.scratch[3] = np.arange(WORD)
    run(m, encode(Op.STORE, region=Region.OUTPUT, scratch=3, offset=2))
    assert bytes(output) == bytes(2 * WORD) + bytes(range(WORD)) + bytes(WORD)
    with pytest.raises(ValueError, match="whole words"):
        Machine(CONFIG, {Region.INPUT: bytearray(WORD + 1)})


# --- MATMUL ---


def scalar_matmul(m, o, weight, params):
    """The instruction by its definition: (scratchpad, row maxima) after it."""
    flat, before = m.scratch.reshape(-1).copy(), m.scratch
    maxima = m.row_max.copy()
    for t in range(o["rows"]):
        results = []
        for j in range(o["outputs"]):
            acc = 0
            for p in range(o["passes"]):
                word = o["source"] + t * o["source_row"] + p
                for b in range(WORD):
                    x = signed(int(before[word, b]))
                    if o["two_planes"]:
                        x = 256 * x + int(before[word + o["source_plane"], b])
                    acc += x * int(weight[j, p * WORD + b])
            bias, mult, shift = params[j] if params else (0, o["mult"], o["shift"])
            size = {Kind.INT8: 1, Kind.INT16: 2, Kind.INT32: 4, Kind.PLANES: 2}[o["kind"]]
            if o["kind"] == Kind.INT32:
                result = signed(acc + bias, 32)
            else:
                result = clamp(round(Fraction((signed(acc, 32) + bias) * mult, 1 << shift)), 8 * size)
            results.append(result)
            at = o["dest"] + t * o["dest_row"]
            if o["kind"] == Kind.PLANES:
                flat[at + j], flat[at + o["dest_col"] + j] = result >> 8 & 255, result & 255
                continue
            at += j * (o["dest_col"] if o["transpose"] else size)
            flat[at : at + size] = list((result & (1 << 8 * size) - 1).to_bytes(size, "little"))
        if o["track_max"]:
            maxima[o["row_max"], t] = max(results)
    return flat.reshape(before.shape), maxima


@pytest.mark.parametrize("seed", range(60))
def test_matmul(seed):
    rng, m = random.Random(seed), machine(seed)
    kind = rng.choice([Kind.INT8, Kind.INT8, Kind.INT16, Kind.INT32, Kind.PLANES, Kind.PLANES])
    rows, passes, outputs = rng.randint(1, 16), rng.randint(1, 4), rng.randint(1, 11)
    transpose = int(kind == Kind.INT8 and rng.random() < 0.5)
    step = 4 if kind == Kind.INT32 else 2 if kind == Kind.INT16 else 1
    o = {
        "source": rng.randint(0, 99), "source_row": rng.randint(0, 6), "source_plane": rng.randint(90, 120),
        "rows": rows, "passes": passes, "outputs": outputs, "two_planes": rng.randint(0, 1), "kind": kind,
        "dest": WORD * 512 + rng.randint(0, 900) * step, "transpose": transpose,
        "dest_row": 1 if transpose else rng.randint(outputs, 2 * outputs) * step,
        "dest_col": rng.randint(400, 500) if kind == Kind.PLANES else 16,
        "per_channel": rng.randint(0, 1), "mult": rng.randint(0, 1 << 31), "shift": rng.randint(28, 45),
        "track_max": int(kind == Kind.INT8 and rng.random() < 0.5), "row_max": rng.randint(0, 1),
    }  # fmt: skip
    weight = np.array([[rng.randint(-128, 127) for _ in range(passes * WORD)] for _ in range(outputs)], np.int8)
    params = [
        (rng.randint(-(1 << 31), (1 << 31) - 1) >> rng.randint(0, 20), rng.randint(0, 1 << 31), rng.randint(30, 45))
        for _ in range(o["per_channel"] * outputs)
    ]
    entries = memory.channel_params(*np.array(params, np.int64).T, CONFIG) if params else None
    stream = memory.pack_stream(weight, CONFIG, entries).reshape(-1, WORD)
    m.regions[Region.MODEL][: len(stream)] = stream
    scratch, maxima = scalar_matmul(m, o, weight, params)
    run(m, encode(Op.FETCH, region=Region.MODEL, words=len(stream)), encode(Op.MATMUL, **o))
    np.testing.assert_array_equal(m.scratch, scratch)
    np.testing.assert_array_equal(m.row_max, maxima)
    assert m.stream_words == 0


def test_matmul_takes_its_words_from_several_fetches():
    """Two products, words cut anywhere: the stream is one sequence, whatever fetched it."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (2, 6, 16)).astype(np.int8)
    product = {"source_row": 2, "rows": 3, "passes": 2, "outputs": 6, "kind": Kind.INT32, "dest_row": 24}
    for cuts in ([32], [1, 31], [5, 20, 7], [16, 16]):
        m = machine()
        m.regions[Region.MODEL][:32] = np.concatenate([memory.pack_stream(w, CONFIG) for w in (a, b)]).reshape(32, WORD)
        offsets = np.cumsum([0, *cuts[:-1]]).tolist()
        fetches = [encode(Op.FETCH, offset=at, words=count) for at, count in zip(offsets, cuts, strict=True)]
        run(m, *fetches, *(encode(Op.MATMUL, **product, dest=WORD * at) for at in (600, 700)))
        x = m.scratch[:6].reshape(3, 16).view(np.int8).astype(int)
        for weight, at in ((a, 600), (b, 700)):
            np.testing.assert_array_equal(m.scratch[at : at + 9].reshape(3, 24).view("<i4"), x @ weight.T.astype(int))


# --- VECTOR ---


def put(m, word, stride, values, dtype):
    """Rows as bytes, row t at word + t*stride."""
    for t, row in enumerate(values):
        raw = row.astype(dtype).view(np.uint8)
        m.scratch.reshape(-1)[(word + t * stride) * WORD :][: raw.size] = raw


def get(m, word, stride, rows, length, dtype):
    size = np.dtype(dtype).itemsize
    return np.stack([
        m.scratch.reshape(-1)[(word + t * stride) * WORD :][: length * size].view(dtype) for t in range(rows)
    ])


def from_planes(m, words, stride, rows, length):
    """Numbers of 16 bits: signed high bytes at words[0], unsigned low ones at words[1]."""
    high, low = (get(m, word, stride, rows, length, dtype) for word, dtype in zip(words, ("i1", "u1"), strict=True))
    return 256 * high.astype(int) + low


def untouched(m, before, *tensors):
    """Every byte outside the (word, stride, rows, bytes) tensors is as before."""
    mask = np.ones(m.scratch.size, bool)
    for word, stride, rows, size in tensors:
        for t in range(rows):
            mask[(word + t * stride) * WORD :][:size] = False
    np.testing.assert_array_equal(m.scratch.reshape(-1)[mask], before.reshape(-1)[mask])


@pytest.mark.parametrize("length", [1, 8, 13, 64])
@pytest.mark.parametrize("planes", [0, 1])
def test_shiftmax(length, planes):
    m, rng = machine(length), np.random.default_rng(length)
    x = rng.integers(-128, 128, (5, length))
    put(m, 10, 9, x, "i1")
    m.row_max[1, :5] = x.max(axis=1)
    before = m.scratch.copy()
    shape = {"source": 10, "source_row": 9, "rows": 5, "length": length, "i0": 21, "row_max": 1, "stats": 1}
    run(
        m,
        encode(Op.SHIFTMAX_SUM, **shape),
        encode(Op.SHIFTMAX, **shape, dest=300, dest_row=8, dest_plane=100, planes=planes),
    )
    p, whole = arith.shiftmax(x, 21, 16 if planes else 8), -(-length // WORD) * WORD
    high = get(m, 300, 8, 5, whole, "i1").astype(int)
    if planes:
        low = get(m, 400, 8, 5, whole, "u1").astype(int)
        high = 256 * high + low
    np.testing.assert_array_equal(high[:, :length], p)
    assert not high[:, length:].any()
    untouched(m, before, (300, 8, 5, whole), *([(400, 8, 5, whole)] if planes else []))


@pytest.mark.parametrize("wide_source", [0, 1])
@pytest.mark.parametrize("wide_dest", [0, 1])
@pytest.mark.parametrize("planes", [0, 1])
def test_layer_norm(wide_source, wide_dest, planes):
    m, rng, length = machine(3), np.random.default_rng(3), 21
    dtype = ("i1", "<i2")[wide_source]
    x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, (6, length))
    bias, shift = rng.integers(-(1 << 33), 1 << 33, length), rng.integers(45, 60, length)
    mult = rng.integers(1 << 30, (1 << 31) + 1, length) * rng.choice([-1, 1], length)
    put(m, 0, 6, x, dtype)
    table = memory.norm_params(bias, mult, shift, CONFIG).reshape(-1, WORD)
    m.scratch[100 : 100 + len(table)] = table
    before = m.scratch.copy()
    shape = {"source": 0, "source_row": 6, "rows": 6, "length": length, "stats": 0, "wide_source": wide_source}
    run(
        m,
        encode(Op.MOMENTS, **shape),
        encode(
            Op.LAYER_NORM, **shape, dest=500, dest_row=7, wide_dest=wide_dest, params=100, planes=planes, dest_plane=90
        ),
    )
    expected = arith.requantize(arith.layer_norm(x, bias), mult, shift, 16 if wide_dest or planes else 8)
    if planes:
        np.testing.assert_array_equal(from_planes(m, (500, 590), 7, 6, length), expected)
        untouched(m, before, (500, 7, 6, length), (590, 7, 6, length))
        return
    np.testing.assert_array_equal(get(m, 500, 7, 6, length, ("i1", "<i2")[wide_dest]), expected)
    untouched(m, before, (500, 7, 6, length << wide_dest))


@pytest.mark.parametrize("planes", [0, 1])
def test_shift_gelu_in_place(planes):
    m, x = machine(4), np.random.default_rng(4).integers(-128, 100, (7, 30))
    put(m, 40, 4, x, "i1")
    m.row_max[0, :7] = x.max(axis=1)
    before = m.scratch.copy()
    place = {"source": 40, "source_row": 4, "dest": 40, "dest_row": 4}
    place |= {"planes": planes, "dest_plane": 200}
    shift = 29 if planes else 37
    run(m, encode(Op.SHIFT_GELU, **place, rows=7, length=30, i0=16, mult=1145530777, shift=shift))
    expected = arith.requantize(arith.shift_gelu(x, 16), 1145530777, shift, 16 if planes else 8)
    got = from_planes(m, (40, 240), 4, 7, 30) if planes else get(m, 40, 4, 7, 30, "i1")
    np.testing.assert_array_equal(got, expected)
    assert not planes or len(np.unique(expected >> 8)) > 20
    untouched(m, before, (40, 4, 7, 30), *([(240, 4, 7, 30)] if planes else []))


@pytest.mark.parametrize("wide_dest", [0, 1])
def test_table_to_planes_in_place(wide_dest):
    """Every entry, as 16 bits whatever wide_dest says."""
    m, entries = machine(6), np.random.default_rng(6).integers(-(1 << 15), 1 << 15, 256)
    x = np.arange(-128, 128).reshape(8, 32)
    put(m, 40, 5, x, "i1")
    m.scratch[600:664] = memory.table_entries(entries).reshape(-1, WORD)
    before = m.scratch.copy()
    place = {"source": 40, "source_row": 5, "dest": 40, "dest_row": 5, "params": 600, "rows": 8, "length": 32}
    run(m, encode(Op.TABLE, **place, planes=1, dest_plane=123, wide_dest=wide_dest))
    np.testing.assert_array_equal(from_planes(m, (40, 163), 5, 8, 32), entries.reshape(8, 32))
    untouched(m, before, (40, 5, 8, 32), (163, 5, 8, 32))


@pytest.mark.parametrize("wides", [(0, 0, 0), (1, 1, 1), (1, 0, 1), (0, 1, 0), (1, 1, 0)])
def test_add(wides):
    m, rng, length = machine(5), np.random.default_rng(5), 19
    dtypes = [("i1", "<i2")[wide] for wide in wides]
    x, y = (rng.integers(np.iinfo(d).min, np.iinfo(d).max + 1, (4, length)) for d in dtypes[:2])
    put(m, 0, 5, x, dtypes[0])
    put(m, 50, 6, y, dtypes[1])
    before = m.scratch.copy()
    factors = {"mult": 1314935233, "shift": 32, "mult_identity": 1147222557, "shift_identity": 30}
    run(m, encode(
        Op.ADD, source=0, source_row=5, identity=50, identity_row=6, dest=200, dest_row=5, rows=4, length=length,
        wide_source=wides[0], wide_identity=wides[1], wide_dest=wides[2], **factors,
    ))  # fmt: skip
    expected = [
        [
            clamp(round(Fraction(a * 1314935233, 1 << 32)) + round(Fraction(b * 1147222557, 1 << 30)), 8 << wides[2])
            for a, b in zip(row, other, strict=True)
        ]
        for row, other in zip(x.tolist(), y.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(get(m, 200, 5, 4, length, dtypes[2]), expected)
    untouched(m, before, (200, 5, 4, length << wides[2]))


@pytest.mark.parametrize(("maximum", "unreached"), [(-128, [0]), (4, [0]), (5, []), (6, [0])])
def test_rows_that_do_not_reach_their_maximum_are_noted(maximum, unreached):
    m = machine()
    m.row_max[:] = maximum
    m.scratch[:] = 5
    run(m, encode(Op.SHIFTMAX_SUM, rows=2, length=8, i0=20))
    assert m.unreached == unreached
    assert (m.factor[0, :2] <= 65535).all()


# --- units that are not built ---


@pytest.mark.parametrize("row", vector_rows(), ids=lambda row: row.name)
def test_opcodes_of_units_that_are_not_built_are_illegal(row):
    """All others execute up to the first one, as in hardware."""
    config = Config(vector=tuple(unit for unit in UNITS if unit not in row.units))
    other = next(row for row in vector_rows() if row.is_in(config.vector))
    fine = encode(other.op, **{"i0": 1} if other.operand("i0") else {})
    m = Machine(config, {})
    with pytest.raises(MachineFault, match="ILLEGAL_OPCODE at instruction 1"):
        m.run(fine + encode(row.op) + HALT)
    assert m.executed == 1


# --- faults ---

GELU = {"op": Op.SHIFT_GELU, "rows": 2, "length": 8, "i0": 16}


@pytest.mark.parametrize(
    ("fault", "operands"),
    [
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "rows": 17}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "kind": 3, "track_max": 1}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "kind": 3, "transpose": 1}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "kind": 1, "transpose": 1}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "transpose": 1, "dest_row": 2}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "transpose": 1, "dest_row": 1, "dest_col": 2}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "kind": 2, "track_max": 1}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "kind": 1, "dest": 3}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "kind": 2, "dest_row": 6}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MATMUL, "row_max": 2}),
        (Fault.ILLEGAL_OPERAND, GELU | {"rows": 17}),
        (Fault.ILLEGAL_OPERAND, GELU | {"length": 65}),
        (Fault.ILLEGAL_OPERAND, GELU | {"row_max": 2}),
        (Fault.ILLEGAL_OPERAND, GELU | {"i0": 0}),
        (Fault.ILLEGAL_OPERAND, {"op": Op.MOMENTS, "stats": 2}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.LOAD, "scratch": SCRATCH}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.LOAD, "scratch": SCRATCH - 1, "run": 2, "scratch0": 1}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.STORE, "scratch": 65535, "count2": 4096, "scratch2": 65535}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.MATMUL, "source": SCRATCH - 3, "passes": 4}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.MATMUL, "source_plane": SCRATCH, "two_planes": 1}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.MATMUL, "dest": SCRATCH * WORD - 1, "outputs": 2}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.MATMUL, "dest": SCRATCH * WORD - 2, "kind": 3, "outputs": 2, "dest_col": 1}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.TABLE, "length": 8, "dest": SCRATCH - 9, "planes": 1, "dest_plane": 9}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.MOMENTS, "source": SCRATCH - 1, "length": 9}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.MOMENTS, "source": SCRATCH - 1, "length": 5, "wide_source": 1}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.LAYER_NORM, "length": 4, "params": SCRATCH - 7}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.ADD, "length": 8, "identity": SCRATCH}),
        (Fault.SCRATCH_ADDRESS, {"op": Op.ADD, "rows": 3, "dest": SCRATCH - 2, "dest_row": 1}),
        (Fault.REGION_ADDRESS, {"op": Op.FETCH, "offset": 255, "words": 2}),
        (Fault.REGION_ADDRESS, {"op": Op.LOAD, "offset": 256}),
        (Fault.REGION_ADDRESS, {"op": Op.STORE, "offset": 200, "count1": 8, "offset1": 8}),
        (Fault.REGION_ADDRESS, {"op": Op.LOAD, "offset": (1 << 28) - 1, "count2": 4096, "offset2": (1 << 20) - 1}),
    ],
)  # fmt: skip
def test_faults(fault, operands):
    op = operands["op"]
    m = machine()
    m.row_max[:] = 127
    scratch = m.scratch.copy()
    code = [encode(Op.FETCH, words=64), encode(op, **{key: value for key, value in operands.items() if key != "op"})]
    with pytest.raises(MachineFault) as caught:
        run(m, *code)
    engines = {Op.FETCH: Engine.FETCH, Op.LOAD: LOAD, Op.STORE: STORE, Op.MATMUL: MATMUL}
    assert (caught.value.fault, caught.value.index) == (fault, 1)
    assert caught.value.engine == engines.get(op, VECTOR)
    np.testing.assert_array_equal(m.scratch, scratch)


@pytest.mark.parametrize(
    "operands",
    [
        {"op": Op.LOAD, "scratch": SCRATCH - 2, "run": 2, "scratch0": 1},
        {"op": Op.MATMUL, "source": SCRATCH - 4, "passes": 4, "outputs": 2, "dest": SCRATCH * WORD - 2, "rows": 1},
        {"op": Op.MOMENTS, "source": SCRATCH - 1, "length": 8},
        {"op": Op.FETCH, "offset": 255},
        {"op": Op.STORE, "region": 1, "offset": 192, "count1": 8, "offset1": 9},
    ],
)
def test_the_last_word_is_no_fault(operands):
    code = encode(operands["op"], **{key: value for key, value in operands.items() if key != "op"})
    assert run(machine(), encode(Op.FETCH, words=32), code).executed == 2


def test_program_faults_come_after_everything_before_them():
    load = encode(Op.LOAD, scratch=5)
    for tail, fault in ((b"", Fault.PROGRAM_END), (bytes(32), Fault.ILLEGAL_OPCODE)):
        m = machine()
        with pytest.raises(MachineFault) as caught:
            m.run(load + tail)
        assert (caught.value.fault, caught.value.engine, caught.value.index) == (fault, SEQUENCER, 1)
        np.testing.assert_array_equal(m.scratch[5], m.regions[Region.MODEL][0])
        with pytest.raises(MachineFault) as caught:
            m.run(encode(Op.LOAD, scratch=SCRATCH) + tail)
        assert caught.value.fault == Fault.SCRATCH_ADDRESS
    machine().run(HALT + bytes(32))  # never read


# --- order ---


def test_matmul_waits_for_words_that_a_later_fetch_brings():
    early, late = machine(), machine()
    product = encode(Op.MATMUL, passes=2, outputs=4, dest=WORD * 600, mult=1 << 30, shift=40)
    fetch = encode(Op.FETCH, words=8)
    run(early, fetch, product)
    run(late, product, fetch)
    np.testing.assert_array_equal(early.scratch, late.scratch)


def test_thresholds_may_name_later_instructions_of_other_engines():
    m = machine()
    m.regions[Region.MODEL][7] = 99
    run(m, encode(Op.STORE, {LOAD: 1}, region=Region.WORK, scratch=3), encode(Op.LOAD, offset=7, scratch=3))
    assert (m.regions[Region.WORK][0] == 99).all()


@pytest.mark.parametrize(
    "code",
    [
        [encode(Op.LOAD, {VECTOR: 1}), encode(Op.STORE, region=1)],
        [encode(Op.LOAD, {STORE: 1}), encode(Op.STORE, {LOAD: 1}, region=1)],
        [encode(Op.LOAD, {LOAD: 1}), encode(Op.STORE, region=1)],
        [encode(Op.MATMUL, mult=1), encode(Op.FETCH, words=3)],
        [encode(Op.MATMUL, mult=1, per_channel=1), encode(Op.FETCH, words=11)],
        [encode(Op.LOAD, {STORE: 1})] * 5 + [encode(Op.STORE, region=1)],  # the queue is four deep
    ],
)
def test_deadlock(code):
    with pytest.raises(MachineFault) as caught:
        run(machine(), *code)
    assert (caught.value.fault, caught.value.index) == (Fault.DEADLOCK, 0)


def test_sync_waits_and_restarts_the_counters():
    first = [encode(Op.LOAD, scratch=1), encode(Op.SYNC)]
    run(machine(), *first, encode(Op.LOAD, scratch=1), encode(Op.STORE, {LOAD: 1}, region=1))
    with pytest.raises(MachineFault) as caught:
        run(machine(), *first, encode(Op.STORE, {LOAD: 1}, region=1))
    assert (caught.value.fault, caught.value.index) == (Fault.DEADLOCK, 2)


def test_memories_persist_between_runs_and_the_stream_does_not():
    m = machine()
    before = m.scratch.copy()
    run(m, encode(Op.FETCH, words=5), encode(Op.LOAD, scratch=1))
    assert m.stream_words == 5
    run(m)
    assert m.stream_words == 0
    assert (m.scratch[2:] == before[2:]).all()
    assert (m.scratch[1] == m.regions[Region(0)][0]).all()


def test_a_fetch_retires_when_the_stream_has_room():
    """The stream holds 64 words; a MATMUL that waits takes its four of them."""
    fetch, more, after = encode(Op.FETCH, words=60), encode(Op.FETCH, words=8), encode(Op.LOAD, scratch=1)
    assert run(machine(), fetch, more, encode(Op.MATMUL, mult=1), after).executed == 4
    with pytest.raises(MachineFault) as caught:  # the second FETCH waits for the MATMUL, which waits for the STORE
        run(machine(), fetch, more, encode(Op.MATMUL, {STORE: 1}, mult=1), after)
    assert (caught.value.fault, caught.value.index) == (Fault.DEADLOCK, 1)
    with pytest.raises(MachineFault) as caught:  # nothing of it is read
        run(machine(), fetch, encode(Op.FETCH, offset=200, words=57))
    assert (caught.value.fault, caught.value.engine, caught.value.index) == (Fault.REGION_ADDRESS, Engine.FETCH, 1)


# --- hazards ---


def load(scratch=0, waits=None, **o):
    return encode(Op.LOAD, waits, scratch=scratch, **o)


def store(scratch=0, waits=None, **o):
    return encode(Op.STORE, waits, region=Region.WORK, scratch=scratch, **o)


def add(source=0, dest=0, waits=None, **o):
    return encode(Op.ADD, waits, **{"source": source, "identity": source, "dest": dest, "length": 8, "mult": 1, **o})


def matmul(source=0, dest=0, waits=None, **o):
    return encode(Op.MATMUL, waits, source=source, dest=dest * WORD, mult=1, **o)


FETCH4 = encode(Op.FETCH, words=4)
FETCH_WORK = encode(Op.FETCH, region=Region.WORK, words=4)
SUM = encode(Op.SHIFTMAX_SUM, length=8, i0=20, source=700)
SUM_AFTER = encode(Op.SHIFTMAX_SUM, {MATMUL: 1}, length=8, i0=20, source=700)


def table(**operands):
    """Two rows of two words, to planes in their place."""
    place = {"source": 10, "source_row": 2, "dest": 10, "dest_row": 2, "planes": 1, "params": 600, "rows": 2}
    return encode(Op.TABLE, length=16, **(place | operands))


def gelu_planes(plane):
    return encode(Op.SHIFT_GELU, length=8, i0=20, source=10, dest=10, planes=1, dest_plane=plane)


def product_planes(low):
    return encode(Op.MATMUL, source=3, dest=8 * WORD, outputs=2, kind=Kind.PLANES, dest_col=low, mult=1)


CASES = {
    "load, store": ([load(1), store(1)], "read after write", (0, 1)),
    "load, store, waits": ([load(1), store(1, {LOAD: 1})], None, None),
    "other words": ([load(1), store(2)], None, None),
    "store, load": ([store(1), load(1)], "write after read", (0, 1)),
    "store, load, waits": ([store(1), load(1, {STORE: 1})], None, None),
    "load, add to": ([load(1), add(2, 1)], "write after write", (0, 1)),
    "wait too small": ([load(1), load(2), store(2, {LOAD: 1})], "read after write", (1, 2)),
    "one engine, serial": ([load(1), load(1)], None, None),
    "wait implies earlier ones": ([load(1), load(2), store(1, {LOAD: 2})], None, None),
    "through another engine": ([load(1), add(1, 2, {LOAD: 1}), store(1, {VECTOR: 1})], None, None),
    "predecessor's wait": ([load(1), store(2, {LOAD: 1}), store(1)], None, None),
    "successor's wait": ([load(1), store(1), store(2, {LOAD: 1})], "read after write", (0, 1)),
    "memory": ([store(1), load(2, region=Region.WORK)], "read after write", (0, 1)),
    "memory, waits": ([store(1), load(2, {STORE: 1}, region=Region.WORK)], None, None),
    "other region": ([store(1), load(2, region=Region.INPUT)], None, None),
    "fetch of what is stored": ([store(1), FETCH_WORK, matmul(3, 4)], "read after write", (0, 1)),
    "fetch waits": ([store(1), encode(Op.FETCH, {STORE: 1}, region=Region.WORK, words=4), matmul(3, 4)], None, None),
    "store over what is fetched": ([FETCH_WORK, matmul(3, 4), store(1)], "write after read", (0, 2)),
    "store after its product": ([FETCH_WORK, matmul(3, 4), store(1, {MATMUL: 1})], None, None),
    "half of it used": ([FETCH_WORK, FETCH_WORK, matmul(3, 4), store(1, {MATMUL: 1}), matmul(3, 4)],
                        "write after read", (1, 3)),
    "fetch's wait reaches on": ([store(9), encode(Op.FETCH, {STORE: 1}, words=4), matmul(3, 4),
                                 load(9, {MATMUL: 1})], None, None),
    "product of a product": ([FETCH4, matmul(3, 4), FETCH4, matmul(4, 5)], "read after write", (1, 3)),
    "product of a product, waits": ([FETCH4, matmul(3, 4), FETCH4, matmul(4, 5, {MATMUL: 1})], None, None),
    "products in order": ([FETCH4, matmul(3, 4), FETCH4, matmul(4 + 1, 3), FETCH4, matmul(6, 4)], None, None),
    "product onto itself": ([FETCH4, matmul(4, 4)], "overlap", (1, 1)),
    "add in place": ([add(4, 4)], None, None),
    "add onto its next row": ([add(4, 5, rows=2, source_row=1, identity_row=1, dest_row=1)], "overlap", (0, 0)),
    "add in place of its identity": ([add(4, 4, identity=9)], None, None),
    "in place of one operand, into the other": (
        [add(4, 4, rows=3, identity=5, source_row=1, identity_row=1, dest_row=1)], "overlap", (0, 0)),
    "in place of one operand, which the other is": (
        [add(4, 4, rows=2, source_row=1, identity_row=1, dest_row=1)], None, None),
    "add to one word twice": ([add(4, 9, rows=2, source_row=1, identity_row=1)], "twice", (0, 0)),
    "probabilities over their own low plane": (
        [encode(Op.SHIFTMAX, length=8, i0=20, source=700, dest=9, planes=1)], "twice", (0, 0)),
    "table to planes, in place of its source": ([table(dest_plane=100, wide_dest=1)], None, None),
    "table to planes, the low one over the next row": ([table(dest_plane=1)], "twice", (0, 0)),
    "table to planes, the low one in place": ([table(rows=1, dest=8, dest_plane=2)], "overlap", (0, 0)),
    "table to words in place of bytes": ([table(rows=1, planes=0, wide_dest=1)], "overlap", (0, 0)),
    "gelu to planes, in place of its source": (
        [gelu_planes(100), store(10), store(110, {VECTOR: 1})], "read after write", (0, 1)),
    "gelu to planes, low plane": (
        [gelu_planes(100), store(110), store(10, {VECTOR: 1})], "read after write", (0, 1)),
    "product to planes": ([FETCH4, product_planes(8 * WORD), store(8), store(16, {MATMUL: 1})],
                          "read after write", (1, 2)),
    "product to planes, the low one": ([FETCH4, product_planes(8 * WORD), store(16), store(8, {MATMUL: 1})],
                                       "read after write", (1, 2)),
    "product to planes that meet": ([FETCH4, product_planes(1)], "twice", (1, 1)),
    "product to one word twice": (
        [FETCH4, encode(Op.MATMUL, rows=2, source=3, source_row=1, dest=80, mult=1)], "twice", (1, 1)),
    "load to one word twice": ([load(1, run=2, scratch0=0)], None, None),
    "bytes beside each other": ([FETCH4, encode(Op.MATMUL, dest=80, mult=1, source=3), load(11)], None, None),
    "a byte of a word of which others are read": (
        [FETCH4, encode(Op.MATMUL, dest=86, mult=1, source=3), add(10, 20, length=4)], "read after write", (1, 2)),
    "row maximum": ([FETCH4, matmul(3, 4, track_max=1), SUM], "read after write", (1, 2)),
    "row maximum, waits": ([FETCH4, matmul(3, 4, track_max=1), SUM_AFTER], None, None),
    "row maximum too early": ([SUM, FETCH4, matmul(3, 4, track_max=1)], "write after read", (0, 2)),
    "barrier": ([load(1), encode(Op.SYNC), store(1)], None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hazards(name):
    code, kind, pair = CASES[name]
    m = machine(check=True)
    m.scratch[700] = 0x80  # -128: no row maximum is below it
    run(m, *code)
    if kind is None:
        assert not m.hazards
    else:
        assert [(hazard.kind, (hazard.first, hazard.second)) for hazard in m.hazards] == [(kind, pair)]
        assert str(m.hazards[0])


def test_without_check_nothing_is_recorded():
    assert run(machine(), load(1), store(1)).hazards == []


# --- whole models ---


@pytest.fixture(scope="module")
def compiled():
    """A trained model, its program for two images, and what is needed to run and judge it."""
    data = {}
    for part in ("state", "images"):
        with np.load(DATA / "small_vit_t" / f"{part}.npz") as arrays:
            data[part] = dict(arrays)
    model = model_from_state(
        data["state"], name="small_vit_t", patch=8, heads=2, image=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return compile_model(model, Config(tokens=32), batch=2), data["images"]


def regions_for(program, images):
    return {
        Region.MODEL: program.model_image.copy(),
        Region.WORK: np.zeros(program.work_bytes, np.uint8),
        Region.INPUT: program.pack_images(images),
        Region.OUTPUT: np.zeros(program.output_bytes, np.uint8),
    }


def test_trained_model_gives_the_official_logits(compiled):
    program, images = compiled
    m = Machine(program.config, regions_for(program, images["images"][:2]), check=True)
    m.run(program.code)
    assert not m.hazards
    assert not m.unreached
    assert m.stream_words == 0
    np.testing.assert_array_equal(program.unpack_logits(m.regions[Region.OUTPUT]), images["acc_exact"][:2])


def hazards_without(program, images, drop):
    """Hazards of the program with the thresholds taken away that drop(index, engine) names."""
    code = []
    for index in range(0, len(program.code) // 32):
        instruction = decode(program.code[32 * index : 32 * index + 32])
        waits = {engine: count for engine, count in instruction.waits.items() if not drop(index, engine)}
        code.append(encode(instruction.op, waits, **instruction.operands))
    m = Machine(program.config, regions_for(program, images["images"][:2]), check=True)
    m.run(b"".join(code))
    return m.hazards


def test_missing_thresholds_are_found(compiled):
    """No thresholds at all: all kinds of hazards. One less: a hazard from there on, unless others imply it."""
    program, images = compiled
    kinds = {hazard.kind for hazard in hazards_without(program, images, lambda *_: True)}
    assert kinds == {"read after write", "write after read", "write after write"}
    waits = [(index, engine) for index, word in enumerate(program.disassemble()) for engine in word.waits]
    found = 0
    for chosen in random.Random(0).sample(waits, 12):
        hazards = hazards_without(program, images, lambda *pair, chosen=chosen: pair == chosen)
        assert all(hazard.second >= chosen[0] for hazard in hazards)
        found += bool(hazards)
    assert 4 <= found < 12  # this compiler's thresholds are direct, so that some are implied
