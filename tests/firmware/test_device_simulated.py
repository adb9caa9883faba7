"""The host API on the gateware itself, compiled: copies, faults, hangs and traces of hand-written programs."""

from types import SimpleNamespace

import numpy as np
import pytest

from firmware.compiler import Layer, Program
from firmware.device import Accelerator, DeviceFaultError, StrangerError
from firmware.transport import DeviceTimeoutError
from hw.boards.registry import BOARDS
from hw.spec import isa
from hw.spec.isa import Engine, Fault, Op, Region
from hw.spec.regs import State

CONFIG = BOARDS["tiny"].config
WORD = CONFIG.word_bytes
IMAGE = (4, 8, 4)  # 128 bytes, four patches of 64
LOAD = {"region": Region.INPUT, "run": 128 // WORD, "scratch0": 1}
STORE = {"region": Region.OUTPUT, "run": 128 // WORD, "scratch0": 1}
COPY = [isa.encode(Op.LOAD, **LOAD), isa.encode(Op.STORE, waits={Engine.LOAD: 1}, **STORE), isa.encode(Op.HALT)]


def program(code, **counts):
    """A program whose 32 "logits" are an image's 128 bytes."""
    model = SimpleNamespace(image=IMAGE, patch=4, classes=32, tokens=3, macs=0, input_scale=1.0, mean=(0,), std=(1,))
    fields = {
        "config": CONFIG, "model": model, "code": b"".join(code), "images": 1, "work_bytes": 64, "estimated_cycles": 1,
        "model_image": np.zeros(64, np.uint8), "tiles": (4,), "slots": 1,
        "layers": [Layer("in", "input", 0, {Engine.LOAD: [0]}), Layer("out", "output", 0, {Engine.STORE: [0]})],
        "counts": {engine: counts.get(engine.name, 0) for engine in Engine},
    }  # fmt: skip
    return Program(**fields)


def patches(images):
    """Images as the words that `Program.pack_images` makes of them, read as int32."""
    rows = images.reshape(len(images), 4, 2, 4, 1, 4).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(rows).reshape(len(images), -1).view("<i4")


def images(count):
    return np.random.default_rng(count).integers(-128, 128, (count, *IMAGE)).astype(np.int8)


@pytest.fixture(scope="module")
def accelerator():
    with Accelerator.open("sim:tiny?memory=1,chunk=20000") as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet(accelerator):
    """Every test starts with the same memory timing and no injected errors."""
    accelerator.transport.configure(random=0, interleave=0, error_size=0)
    accelerator.transport.reset()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_runs_copy_every_image(accelerator, seed):
    accelerator.transport.configure(random=seed, interleave=seed % 2)
    accelerator.transport.reset()
    accelerator.load(program(COPY, LOAD=1, STORE=1))
    pictures = images(5)
    assert np.array_equal(accelerator.run(pictures), patches(pictures))
    assert accelerator.state is State.DONE
    result = accelerator.profile()
    assert (result.images, result.instructions, result.beats) == (5, 10, 0)
    assert [layer.name for layer in result.layers] == ["in", "out"]
    assert all(5 * 128 // WORD <= layer.cycles < result.cycles for layer in result.layers)
    assert result.engines[Engine.LOAD].busy == 5 * 128 // WORD
    assert np.array_equal(accelerator.run(pictures[:2]), patches(pictures[:2]))


def test_a_second_opening_needs_no_compiler(accelerator, monkeypatch, tmp_path):
    assert accelerator.transport.cycle > 0
    monkeypatch.setenv("PATH", str(tmp_path))
    with Accelerator.open("sim:tiny?memory=1") as again:
        assert again.state is State.IDLE


def test_another_config_is_a_stranger(accelerator):
    with pytest.raises(StrangerError, match=r"expected fingerprint 0x[0-9a-f]{8}, found 0x[0-9a-f]{8}; the device"):
        Accelerator(accelerator.transport, BOARDS["arty_a7"].config)


def test_faults_name_the_instruction(accelerator):
    beyond = isa.encode(Op.LOAD, **{**LOAD, "offset": 1})
    accelerator.load(program([COPY[0], beyond, COPY[2]], LOAD=2))
    with pytest.raises(
        DeviceFaultError, match=r"LOAD stopped with REGION_ADDRESS at instruction 1: LOAD region=2 offset=1 "
    ) as caught:
        accelerator.run(images(1))
    assert (caught.value.fault, caught.value.engine, caught.value.index) == (Fault.REGION_ADDRESS, "LOAD", 1)
    accelerator.load(program(COPY, LOAD=1, STORE=1))
    assert np.array_equal(accelerator.run(images(1)), patches(images(1)))


def test_illegal_opcodes_are_the_sequencers(accelerator):
    accelerator.load(program([COPY[0], bytes(32)], LOAD=1))
    with pytest.raises(DeviceFaultError, match="the sequencer stopped with ILLEGAL_OPCODE at instruction 1: illegal"):
        accelerator.run(images(1))


@pytest.mark.parametrize(
    ("region", "fault"), [(Region.INPUT, Fault.BUS_READ), (Region.OUTPUT, Fault.BUS_WRITE)], ids=["read", "write"]
)
def test_bus_errors_are_faults(accelerator, region, fault):
    accelerator.load(program(COPY, LOAD=1, STORE=1))
    where = accelerator._layout.bases[region] + 64
    accelerator.transport.configure(error_base=where, error_size=1)
    with pytest.raises(DeviceFaultError) as caught:
        accelerator.run(images(1))
    assert caught.value.fault is fault
    accelerator.transport.configure(error_size=0)
    assert np.array_equal(accelerator.run(images(3)), patches(images(3)))


def test_a_hang_is_noticed_and_reset_ends_it(accelerator):
    starved = isa.encode(Op.MATMUL, rows=1, passes=1, outputs=4, source_row=1, dest_row=4)
    accelerator.load(program([starved, COPY[2]], MATMUL=1))
    with pytest.raises(DeviceTimeoutError, match=r"no progress for [0-9]+ cycles"):
        accelerator.run(images(1), patience=40_000)
    assert accelerator.state is State.RUNNING
    accelerator.load(program(COPY, LOAD=1, STORE=1))
    assert np.array_equal(accelerator.run(images(1)), patches(images(1)))
