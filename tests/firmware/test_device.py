"""The host API against a scripted device: what it writes, and what it says when something is wrong."""

from types import SimpleNamespace

import numpy as np
import pytest

from firmware import device, profile
from firmware.compiler import Layer, Program
from firmware.device import Accelerator, DeviceFaultError, StrangerError, describe
from firmware.errors import UserError
from firmware.layout import MAX_RUNS, PAGE, place
from firmware.transport import DeviceError, DeviceTimeoutError
from hw.boards.registry import BOARDS
from hw.csr import COUNTERS
from hw.spec import isa
from hw.spec.isa import Engine, Fault, Op, Region
from hw.spec.memory import align
from hw.spec.regs import MAGIC, REGS, Access, Control, State, address

CONFIG = BOARDS["tiny"].config
IMAGE, PATCH, CLASSES, BATCH = (2, 4, 4), 2, 3, 2
CODE = b"".join([
    isa.encode(Op.LOAD, region=Region.INPUT, offset=7, run=3),
    isa.encode(Op.MATMUL, waits={Engine.LOAD: 1}, rows=4),
    isa.encode(Op.HALT),
])


def program(**changes):
    model = SimpleNamespace(
        name="toy", image=IMAGE, patch=PATCH, classes=CLASSES, tokens=5, input_scale=0.25, mean=(0.5, 0.5),
        std=(0.5, 0.5),
    )  # fmt: skip
    layers = [Layer("embed", "patch_embed", BATCH * 1000, {Engine.MATMUL: [0], Engine.LOAD: [0]})]
    fields = {
        "config": CONFIG, "model": model, "code": CODE, "images": BATCH, "work_bytes": 64, "layers": layers,
        "model_image": np.arange(100, dtype=np.uint8), "estimated_cycles": 1000, "tiles": (5,), "slots": 1,
        "counts": {**dict.fromkeys(Engine, 0), Engine.LOAD: 1, Engine.MATMUL: 1},
    }  # fmt: skip
    return Program(**{**fields, **changes})


class Machine:
    """A device in Python: logits of an image are sums over its bytes. `script` says what each wait does."""

    memory_size, simulated = 1 << 16, False

    def __init__(self, *, magic=MAGIC, fingerprint=CONFIG.fingerprint, script=("done",) * 9, deaf=False):
        self.registers = dict.fromkeys((reg.name for reg in REGS), 0) | {"magic": magic, "fingerprint": fingerprint}
        self.memory = np.zeros(self.memory_size, np.uint8)
        self.script, self.closed, self.starts, self.deaf = list(script), False, [], deaf

    def read32(self, where):
        return self.registers[REGS[where // 4].name]

    def write32(self, where, value):
        reg = REGS[where // 4]
        assert reg.access is not Access.RO
        assert 0 <= value < 1 << reg.bits
        if reg.name != "control":
            self.registers[reg.name] = value
        elif value == Control.START:
            assert self.registers["status"] in (State.IDLE, State.DONE)
            self.starts.append(dict(self.registers))
            self.registers |= dict.fromkeys((reg.name for reg in COUNTERS), 0) | {"status": State.RUNNING}
        elif not self.deaf:
            self.registers["status"] = State.IDLE

    def read(self, where, size):
        return self.memory[where : where + size].copy()

    def write(self, where, data):
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.view(np.uint8)
        self.memory[where : where + len(array)] = array

    def wait(self):
        step = self.script.pop(0)
        self.registers["cycles"] += 600
        if step == "done":
            self._compute()
            self.registers |= {"status": State.DONE, "beats": 50, "matmul_busy": 60}
        elif step == "moved":
            self.registers["instructions"] += 1
        elif step == "works":
            self.registers["load_busy"] += 1
        elif step == "dead":
            self.registers["cycles"] = 0
        elif isinstance(step, dict):
            self.registers |= {"status": State.FAULT, **step}
        elif callable(step):
            step(self)
        return self.registers["status"] in (State.DONE, State.FAULT)

    def _compute(self):
        r = self.registers
        for run in range(r["runs"]):
            source = r["input_base"] + run * r["input_step"]
            rows = self.memory[source : source + r["input_size"]].view(np.int8).reshape(BATCH, -1)
            logits = np.zeros((BATCH, r["output_size"] // BATCH // 4), np.int32)
            logits[:, :CLASSES] = rows.sum(axis=1, dtype=np.int32)[:, None] + np.arange(CLASSES)
            self.write(r["output_base"] + run * r["output_step"], logits.reshape(-1))

    def close(self):
        self.closed = True


def images(count, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, (count, *IMAGE)).astype(np.int8)


def expected(pictures):
    return pictures.reshape(len(pictures), -1).sum(axis=1, dtype=np.int32)[:, None] + np.arange(CLASSES)


def loaded(**options):
    accelerator = Accelerator(Machine(**options), CONFIG)
    accelerator.load(program())
    return accelerator


@pytest.mark.parametrize("count", [1, 2, 5])
def test_runs_and_drops_padding(count):
    accelerator = loaded()
    pictures = images(count)
    assert np.array_equal(accelerator.run(pictures), expected(pictures))
    start = accelerator.transport.starts[0]
    assert start["runs"] == -(-count // BATCH)
    assert (start["input_step"], start["input_size"]) == (BATCH * 4 * 8,) * 2
    assert start["program_length"] == 3
    assert start["interrupt_enable"] == 1
    result = accelerator.profile()
    assert (result.images, result.macs, result.beats) == (count, count * 1000, 50)
    assert result.cycles == 600
    assert result.utilisation == count * 1000 / 600 / CONFIG.macs_per_cycle
    assert result.engines[Engine.MATMUL].busy == 60


def test_pixels_are_accepted():
    pixels = np.random.default_rng(1).integers(0, 256, (1, *IMAGE)).astype(np.uint8)
    values = np.clip(np.rint(4 * ((pixels / np.float32(255)) - 0.5) / 0.5), -128, 127).astype(np.int8)
    assert np.array_equal(loaded().run(pixels), expected(values))


def test_many_images_take_several_starts(monkeypatch):
    accelerator = loaded()
    monkeypatch.setattr(accelerator, "_layout", device.Layout(0, accelerator._layout.bases, 2))
    pictures, seen = images(9), []
    assert np.array_equal(accelerator.run(pictures, progress=seen.append), expected(pictures))
    assert [start["runs"] for start in accelerator.transport.starts] == [2, 2, 1]
    assert (accelerator.profile().cycles, accelerator.profile().images) == (1800, 9)


def test_layout_keeps_regions_apart():
    layout = place(program(), 1 << 20)
    assert all(base % PAGE == 0 for base in layout.bases.values())
    ends = [layout.program + len(CODE), layout.bases[Region.MODEL] + 100, layout.bases[Region.WORK] + 64]
    ends.append(layout.bases[Region.INPUT] + layout.runs * program().input_bytes)
    assert all(end <= base for end, base in zip(ends, layout.bases.values(), strict=True))
    assert layout.bases[Region.OUTPUT] + layout.runs * program().output_bytes <= 1 << 20
    assert place(program(), 1 << 30).runs == MAX_RUNS


def test_too_little_memory_is_told():
    per_run = program().input_bytes + program().output_bytes
    assert place(program(), 4 * PAGE + per_run).runs == 1
    with pytest.raises(
        DeviceError, match=f"the program needs {4 * PAGE + per_run} bytes of memory, but the device has"
    ):
        place(program(), 4 * PAGE + per_run - 1)


def test_strangers_are_refused():
    with pytest.raises(StrangerError, match="expected magic 0x53484654, found 0xffffffff"):
        Accelerator(Machine(magic=0xFFFFFFFF), CONFIG)
    with pytest.raises(StrangerError, match=f"expected fingerprint {CONFIG.fingerprint:#010x}, found 0x00000001"):
        Accelerator(Machine(fingerprint=1), CONFIG)
    with pytest.raises(
        StrangerError, match=f"the program is for fingerprint {BOARDS['arty_a7'].config.fingerprint:#010x}"
    ):
        loaded().load(program(config=BOARDS["arty_a7"].config))


def test_open_finds_the_preset_and_closes_strangers(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(device, "open_transport", lambda *_: machine)
    with Accelerator.open("serial:somewhere") as accelerator:
        assert accelerator.config == CONFIG
    assert machine.closed
    machine = Machine(fingerprint=1)
    with pytest.raises(
        StrangerError, match=rf"0x00000001 of serial:port is that of no board \({', '.join(BOARDS)}\); give"
    ):
        Accelerator.open("serial:port")
    assert machine.closed
    with pytest.raises(DeviceError, match="lanes must be a power of two from 1 to 8, not 3"):
        Accelerator.open("sim:tiny?lanes=3")


@pytest.mark.parametrize(
    ("engine", "index", "text"),
    [
        (Engine.LOAD, 0, "LOAD stopped with REGION_ADDRESS at instruction 0: LOAD region=2 offset=7 scratch=0 run=3"),
        (Engine.MATMUL, 1, "MATMUL stopped with REGION_ADDRESS at instruction 1: MATMUL .*wait_load=1"),
        (7, 9, "the sequencer stopped with REGION_ADDRESS at instruction 9: beyond the program"),
    ],
)
def test_faults_are_decoded(engine, index, text):
    fault = {"fault_code": Fault.REGION_ADDRESS, "fault_engine": engine, "fault_index": index}
    accelerator = loaded(script=["moved", fault, "done"])
    with pytest.raises(DeviceFaultError, match=text) as caught:
        accelerator.run(images(2))
    assert (caught.value.fault, caught.value.index) == (Fault.REGION_ADDRESS, index)
    assert np.array_equal(accelerator.run(images(2)), expected(images(2)))  # the next run resets first


def test_illegal_opcodes_are_described():
    assert describe(bytes(32), 0) == "illegal opcode 0"
    assert describe(CODE, 2) == "HALT"


def test_hangs_are_noticed_and_slowness_is_not():
    accelerator = loaded(script=["moved", *["still"] * 9])
    with pytest.raises(DeviceTimeoutError, match=r"no progress for 1800 cycles \(status RUNNING, cycle 2400, 1 instr"):
        accelerator.run(images(1), patience=1500)
    accelerator = loaded(script=["dead"] * 9)
    with pytest.raises(DeviceTimeoutError, match="no progress for 0 cycles"):
        accelerator.run(images(1))
    accelerator, seen = loaded(script=["works", "still"] * 9 + ["done"]), []
    accelerator.run(images(1), patience=1500, progress=seen.append)
    assert seen == [600 * (i + 1) for i in range(18)]


class Liar(Machine):
    """Says `value` when register `name` is read; a function gets the reads so far. `script` has no end."""

    def __init__(self, name, value, **options):
        super().__init__(**options)
        self.name, self.value, self.reads, self.waits, self.lies = name, value, 0, 0, False
        self.script = [self.script[0]] * 100_000

    def read32(self, where):
        name = REGS[where // 4].name
        if not self.lies or name != self.name:
            return super().read32(where)
        self.reads += 1
        return self.value(self.reads) if callable(self.value) else self.value


LIES = [
    ("status", 7, "done", "the device says status 7, which has 2 bits: it does not work right"),
    ("status", State.IDLE, "works", "the device is IDLE in the middle of a run: was it reset, or does another host"),
    ("fault_code", 13, {"fault_engine": 1}, "the device stopped with fault code 13, which none has"),
    ("fault_engine", 99, {"fault_code": 1}, "the device says fault_engine 99, which has 3 bits"),
    ("cycles_high", lambda reads: reads, "works", "cycles_high of the device changes whenever it is read"),
    ("cycles_high", -1, "works", "the device says cycles_high -1, which has 32 bits"),
    ("cycles", lambda reads: 5000 - reads, "works", "cycles of the device went back from 4999 to 4998 in the middle"),
    ("cycles", lambda reads: reads // 2, "works", "only 302 cycles in 604 waits (status RUNNING, cycle 302, 0 instr"),
    ("cycles", 7, "works", "no progress for 0 cycles (status RUNNING, cycle 7"),
    ("instructions", 4, "works", "the device has retired 4 instructions of a program of 3"),
    ("instructions", lambda reads: 3 - reads, "works", "instructions of the device went back from 2 to 1"),
    ("beats", lambda reads: reads, "still", "the run should have ended long before cycle 3100000 (status RUNNING"),
    ("beats", 601, "done", "the device says DONE after 600 cycles and 601 array beats"),
    ("cycles", 0, "done", "the device says DONE after 0 cycles and 50 array beats"),
    ("vector_wait_in", 601, "done", "the device counts 601 cycles of VECTOR in a run of 600"),
]


@pytest.mark.parametrize(("name", "value", "step", "sentence"), LIES)
def test_a_device_that_lies_is_told_and_every_run_ends(name, value, step, sentence):
    """Whatever a register says for ever; and when it tells the truth again, so do the logits."""
    machine = Liar(name, value, script=[step])
    accelerator = Accelerator(machine, CONFIG)
    accelerator.load(program())
    machine.lies = True
    with pytest.raises(DeviceError) as caught:
        accelerator.run(images(2))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    machine.lies, machine.script = False, ["done"]
    assert np.array_equal(accelerator.run(images(2)), expected(images(2)))


def test_no_register_word_is_a_traceback():
    """Each register of a device in turn answers noise, 400 times over: logits, or a sentence."""
    rng = np.random.default_rng(5)
    told = []
    for trial in range(400):
        name = REGS[trial % len(REGS)].name
        machine = Liar(name, lambda _reads: int(rng.integers(1 << 32)), script=[("works", "done")[trial // 200]])
        try:
            accelerator = Accelerator(machine, CONFIG)
            accelerator.load(program())
            machine.lies = True
            assert np.array_equal(accelerator.run(images(2), patience=20_000), expected(images(2)))
        except DeviceError as error:
            told.append(str(error))
    assert len(told) > 200
    assert not [text for text in told if "\n" in text or len(text) > 250]


def test_a_reset_that_does_nothing_is_told():
    accelerator = loaded(script=["still"] * 9, deaf=True)
    with pytest.raises(DeviceTimeoutError, match="no progress"):
        accelerator.run(images(1), patience=600)
    with pytest.raises(DeviceTimeoutError, match="the machine is still RUNNING after RESET"):
        accelerator.reset()


def test_misuse_is_told():
    accelerator = Accelerator(Machine(), CONFIG)
    with pytest.raises(DeviceError, match="no model is loaded: call load first"):
        accelerator.run(images(1))
    accelerator.load(program())
    with pytest.raises(DeviceError, match="there is nothing to profile: run images first"):
        accelerator.profile()
    with pytest.raises(DeviceError, match="there are no images to run"):
        accelerator.run(images(0))
    with pytest.raises(UserError, match=r"images must be uint8 pixels or int8, not float64"):
        accelerator.run(np.zeros((1, *IMAGE)))
    with pytest.raises(UserError, match=r"wants images \[n, 2, 4, 4\], not \[1, 1, 4, 4\]"):
        accelerator.run(images(1)[:, :1])


def test_layer_cycles_are_the_union_of_their_intervals():
    assert profile.covered([(5, 10), (0, 3), (8, 12), (9, 10)]) == 10
    spans = [[] for _ in Engine]
    spans[Engine.LOAD] = [(0, 9), (50, 60)]
    spans[Engine.MATMUL] = [(10, 19), (60, 64)]
    (layer,) = profile.layer_profiles(program(), 2, spans)
    assert (layer.name, layer.macs, layer.cycles) == ("embed", 2 * BATCH * 1000, 15)
    assert profile.layer_profiles(program(), 3, spans) == ()


def test_magic_is_read_first():
    reads = []
    machine = Machine()
    machine.read32 = lambda where: reads.append(where) or Machine.read32(machine, where)
    Accelerator(machine, CONFIG)
    assert reads == [address("magic"), address("fingerprint")]
    assert align(program().output_bytes, CONFIG.word_bytes) == program().output_bytes


def test_only_a_device_that_is_none_is_simulated():
    """What says nothing of a simulator is a board: its counters measure."""
    machine = Machine()
    device = Accelerator(machine, CONFIG)
    assert (device.figures, device.board) == ("measured by the device's counters", None)
    machine.simulated = True
    assert device.figures == "simulated"
