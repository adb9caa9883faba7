"""Predicted cycles against the compiled gateware's."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import sim.verilated
from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.model_file import load_model
from firmware.quantizer import RECIPES
from hw.boards.memory import BANKS, PAGE_BYTES, Memory
from hw.boards.registry import BOARDS
from hw.spec.isa import Engine, Kind, Op, Region, encode
from hw.spec.regs import Control, State, address
from sim.cycles import predict
from sim.cycles.machine import Machine
from tests.support.models import quantized_digits, random_model

CONFIG = BOARDS["tiny"].config
DIGITS = Path(__file__).parents[2] / "examples/digits/digits.safetensors"
BASES = {region: (1 + region) << 20 for region in Region}
SIZE = 1 << 20
QUIET = Memory(row_miss=0, turnaround=0, refresh=0)  # no state that one program leaves to the next


@pytest.fixture
def device():
    """One of its own for each test: another would find the memory between two refreshes, where the former left it."""
    with Accelerator.open("sim:tiny?memory=8") as device:
        yield device


def settings(device, memory):
    device.transport.configure(**dataclasses.asdict(memory))
    device.transport.reset()


def both(device, code, config=CONFIG):
    """(measured, predicted) as (cycles, intervals) of the instructions `code`, on a quiet memory."""
    settings(device, QUIET)
    code = b"".join([*code, encode(Op.HALT)])
    simulation = device.transport
    simulation.write(0, code)
    registers = {"program_base": 0, "program_length": len(code) // 32, "runs": 1, "interrupt_enable": 1}
    for region, base in BASES.items():
        registers |= {f"{region.name.lower()}_base": base, f"{region.name.lower()}_size": SIZE}
    for name, value in registers.items():
        simulation.write32(address(name), value)
    simulation.clear_trace()
    simulation.write32(address("control"), Control.START)
    assert simulation.run(200_000)
    assert simulation.read32(address("status")) == State.DONE
    measured = simulation.intervals()
    machine = Machine(config, code, program=0, bases=BASES, memory=QUIET)
    predicted = [list(zip(*pair, strict=True)) for pair in zip(machine.started, machine.retired, strict=True)]
    return (simulation.read32(address("cycles")), aligned(measured)), (machine.cycles, aligned(predicted))


def aligned(intervals):
    """Intervals counted from the first start."""
    first = min(start for engine in intervals for start, _ in engine)
    return [[(start - first, stop - first) for start, stop in engine] for engine in intervals]


def transfer(op, run, **operands):
    return encode(op, region=Region.WORK, run=run, **{"scratch0": 1, "scratch": 0, **operands})


def matmul(rows, passes, outputs, **operands):
    """FETCH and MATMUL."""
    o = {"per_channel": 1, "kind": Kind.INT8, "mult": 1 << 30, "shift": 40} | operands
    words = -(-outputs // CONFIG.cols) * CONFIG.cols * (passes + 2 * o["per_channel"])
    row = -(-outputs * Kind(o["kind"]).step // CONFIG.word_bytes) * CONFIG.word_bytes
    place = {"dest": 8 * 1024, "dest_row": row, "dest_col": rows * row} if not o.get("transpose") else {
        "dest": 8 * 1024, "dest_row": 1, "dest_col": CONFIG.tokens,
    }  # fmt: skip
    shape = {"source_row": passes, "source_plane": rows * passes, "rows": rows, "passes": passes, "outputs": outputs}
    return [encode(Op.FETCH, region=Region.MODEL, words=words), encode(Op.MATMUL, **shape, **(place | o))]


PLANES = ("planes", "dest_plane")


def vector(op, rows, length, **operands):
    o = {"source_row": 40, "dest": 1024, "dest_row": 40, "i0": 20, "mult": 1 << 30, "shift": 40}
    o |= {"dest_plane": 512, "identity": 512, "identity_row": 40, "mult_identity": 1 << 30, "shift_identity": 40}
    o |= {"params": 512, "planes": int(op is Op.SHIFTMAX), "rows": rows, "length": length, **operands}
    if op in (Op.MOMENTS, Op.SHIFTMAX_SUM):
        o = {name: value for name, value in o.items() if name in ("source_row", "i0", "rows", "length", "wide_source")}
    kept = {
        Op.SHIFTMAX_SUM: ("i0",), Op.SHIFTMAX: ("dest", "dest_row", "i0", *PLANES),
        Op.MOMENTS: ("wide_source",),
        Op.LAYER_NORM: ("dest", "dest_row", "wide_source", "wide_dest", "params", *PLANES),
        Op.SHIFT_GELU: ("dest", "dest_row", "i0", "mult", "shift", *PLANES),
        Op.TABLE: ("dest", "dest_row", "wide_dest", "params", *PLANES),
    }.get(op, tuple(name for name in o if name not in ("i0", "params", *PLANES)))  # fmt: skip
    names = {"source_row", "rows", "length", *kept}
    return [encode(op, **{name: value for name, value in o.items() if name in names})]


WIDE = {"wide_source": 1, "wide_dest": 1}


@pytest.mark.parametrize(
    "code",
    [
        *([transfer(Op.LOAD, run)] for run in (1, 16, 17, 300)),
        [transfer(Op.LOAD, 64, offset=64 * k) for k in range(4)],
        [transfer(Op.LOAD, 12, count1=9, offset1=24, scratch1=12)],
        *([transfer(Op.STORE, run)] for run in (1, 16, 17, 300)),
        [transfer(Op.STORE, 40, offset=64 * k) for k in range(4)],
        [transfer(Op.STORE, 4, scratch0=8, count1=4, offset1=4, scratch1=1, count2=4, offset2=16, scratch2=32)],
        *(vector(op, *shape) for op in (Op.SHIFTMAX_SUM, Op.SHIFTMAX) for shape in ((1, 8), (9, 40), (9, 17))),
        *(vector(Op.SHIFTMAX, *shape, planes=0) for shape in ((1, 8), (9, 40), (9, 17))),
        *(vector(Op.MOMENTS, *shape, wide_source=1) for shape in ((1, 8), (5, 16), (3, 280))),
        *(vector(Op.LAYER_NORM, *shape, **wide) for shape in ((9, 64), (12, 36)) for wide in ({}, WIDE)),
        *(vector(Op.LAYER_NORM, *shape, planes=1, **wide) for shape in ((9, 64), (12, 36), (7, 37), (3, 5))
          for wide in ({}, WIDE)),
        *(vector(Op.SHIFT_GELU, *shape, planes=planes) for shape in ((1, 8), (9, 40), (9, 17)) for planes in (0, 1)),
        *(vector(Op.TABLE, *shape, planes=1) for shape in ((1, 8), (9, 40), (9, 17), (9, 3), (1, 3))),
        *(vector(Op.ADD, *shape, **wide) for shape in ((1, 8), (9, 40), (9, 17)) for wide in ({}, WIDE)),
        *(vector(Op.ADD_MAX, *shape) for shape in ((1, 8), (9, 40), (9, 17))),
        *(vector(Op.TABLE, *shape, wide_dest=wide) for shape in ((1, 8), (9, 40), (9, 17)) for wide in (0, 1)),
        *(matmul(*shape, **more) for shape in ((32, 4, 32), (9, 6, 16), (32, 1, 64)) for more in (
            {}, {"kind": Kind.INT16}, {"kind": Kind.INT32}, {"transpose": 1}, {"per_channel": 0},
            {"kind": Kind.PLANES},
        )),
        matmul(8, 6, 16, two_planes=1),
        matmul(12, 5, 31),
        matmul(12, 5, 31, kind=Kind.PLANES),
        matmul(12, 12, 16, kind=Kind.PLANES, dest=8 * 1024 + 1),
        matmul(9, 12, 16, kind=Kind.PLANES, dest_col=9 * 16 + 1),
        [part for _ in range(3) for part in matmul(32, 4, 16)],
    ],
)  # fmt: skip
def test_instructions_alone_are_exact(device, code):
    """Every start and retirement but FETCH's, whose last words MATMUL has not waited for."""
    (measured, intervals), (predicted, guesses) = both(device, code)
    assert predicted == measured
    for engine in Engine:
        if engine is Engine.MATMUL:  # FETCH and MATMUL are offered in a different order within two cycles
            assert [stop for _, stop in guesses[engine]] == [stop for _, stop in intervals[engine]]
        elif engine is not Engine.FETCH:
            assert guesses[engine] == intervals[engine]


def test_sync_is_waited_for(device):
    code = [transfer(Op.LOAD, 64), encode(Op.SYNC), *vector(Op.ADD, 4, 40), encode(Op.SYNC), transfer(Op.STORE, 5)]
    (measured, intervals), (predicted, guesses) = both(device, code)
    assert abs(predicted - measured) <= 4
    assert [len(engine) for engine in guesses] == [len(engine) for engine in intervals]


@pytest.mark.parametrize(
    ("batch", "memory"),
    [(1, Memory()), (4, Memory()), (1, Memory(latency=60)), (4, Memory(rate=50))],
)
def test_digits(device, batch, memory):
    model = load_model(DIGITS)
    images = np.zeros((batch, *model.image), np.uint8)
    compare(device, model, images, batch, memory)


def test_tables(device):
    model = quantized_digits(RECIPES["minmax"])
    compare(device, model, np.zeros((1, *model.image), np.uint8), 1, Memory())


def test_several_super_tiles_and_slots(device):
    model = random_model(image=(3, 48, 48), patch=6, dim=48, depth=2, heads=3, hidden=96, classes=30)
    images = np.random.default_rng(1).integers(0, 256, (1, 3, 48, 48)).astype(np.uint8)
    program = compare(device, model, images, 1, Memory())
    assert len(program.tiles) > 1
    assert program.slots > 1


def test_what_is_opened_has_the_memory_it_is_planned_for():
    """No option has to say so of a board; one that does changes both."""
    model = load_model(DIGITS)
    with Accelerator.open("sim:tiny?memory=8,rate=25,refresh_period=390") as device:
        program = device.load(model)
        device.run(np.zeros((1, *model.image), np.uint8))
        measured = device.profile().cycles
    assert program.memory == Memory(rate=25, refresh_period=390)
    assert predict(program).cycles == pytest.approx(measured, rel=0.02)
    assert predict(program, memory=Memory()).cycles < 0.95 * measured


def compare(device, model, images, batch, memory, config=CONFIG):
    settings(device, memory)
    program = device.load(compile_model(model, config, batch=batch))
    device.run(images)
    profile, prediction = device.profile(), predict(program, memory=memory, memory_size=device.transport.memory_size)
    assert prediction.cycles == pytest.approx(profile.cycles, rel=0.01)
    assert prediction.beats == profile.beats
    assert prediction.occupancy == pytest.approx(profile.occupancy, rel=0.01)
    assert prediction.utilisation == pytest.approx(profile.utilisation, rel=0.01)
    for engine, measured in zip(Engine, profile.engines, strict=True):
        exact = engine is not Engine.VECTOR
        assert prediction.busy[engine] == pytest.approx(measured.busy, rel=0 if exact else 0.005)
    for guess, layer in zip(prediction.layers, profile.layers, strict=True):
        assert guess.name == layer.name
        if layer.cycles > 0.05 * profile.cycles:
            assert guess.cycles == pytest.approx(layer.cycles, rel=0.04)
    return program


def test_what_never_ends_is_refused():
    waiting = encode(Op.LOAD, {Engine.STORE: 1}, region=Region.WORK, run=1)
    for code in (waiting + encode(Op.HALT), matmul(8, 2, 8)[1] + encode(Op.HALT), transfer(Op.LOAD, 1)):
        with pytest.raises(ValueError, match=r"never ends|no HALT"):
            Machine(CONFIG, code, program=0, bases=BASES, memory=Memory())


def test_pages_are_the_simulated_memorys():
    text = (Path(sim.verilated.__file__).parent / "memory.h").read_text()
    found = {name: int(value) for name, value in re.findall(r"constexpr unsigned (kPageShift|kBanks) = (\d+);", text)}
    assert found == {"kPageShift": PAGE_BYTES.bit_length() - 1, "kBanks": BANKS}
