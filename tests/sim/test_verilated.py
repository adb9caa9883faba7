"""The compiled simulation, on a small machine with the accelerator's pins."""

import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from firmware.transport import DeviceError, TransportError, open_transport, parse_target
from hw.boards.memory import Memory
from hw.spec.isa import Engine, Fault
from hw.spec.regs import MAGIC, Control, State, address
from sim.board.traffic import CYCLES, REGISTERS, START, Traffic
from sim.verilated import BuildError, PinError, Simulation, opener
from sim.verilated.pins import ports
from tests.support.toy import DEFECTS, ToyAccelerator

MEMORY = 1 << 20
SOURCE, DEST = 0x1000, 0x81000


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("verilated")


def simulate(cache, *, word_bits=64, **options):
    return Simulation(
        ToyAccelerator(word_bits=word_bits, fingerprint=0xCAFE),
        cache=cache, memory_size=MEMORY, **options,
    )  # fmt: skip


def copy(sim, size, *, defect="none", limit=200_000):
    """Copies `size` random bytes; returns whether the copy is equal, and the cycles it took."""
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    sim.write(SOURCE, data)
    registers = {"input_base": SOURCE, "input_size": size, "output_base": DEST, "interrupt_enable": 1}
    registers["output_step"] = DEFECTS.index(defect)
    for name, value in registers.items():
        sim.write32(address(name), value)
    sim.write32(address("control"), Control.START)
    before = sim.cycle
    finished = sim.run(limit)
    assert finished == (State(sim.read32(address("status"))) in (State.DONE, State.FAULT))
    return bool((sim.read(DEST, size) == data).all()), sim.cycle - before


def test_registers_and_cache(cache):
    first = simulate(cache)
    assert (first.read32(address("magic")), first.read32(address("fingerprint"))) == (MAGIC, 0xCAFE)
    first.write32(address("input_step"), 0x12345678)
    assert first.read32(address("input_step")) == 0x12345678
    first.reset()
    assert first.read32(address("input_step")) == 0
    assert not simulate(cache).compiled


@pytest.mark.parametrize("word_bits", [64, 128])
def test_copies_through_memory(cache, word_bits):
    with simulate(cache, word_bits=word_bits) as sim:
        size = 16 << 10
        assert copy(sim, size)[0]
        beats = size * 8 // word_bits
        assert (sim.statistics.read_beats, sim.statistics.write_beats) == (beats, beats)
        assert sim.statistics.read_bursts == beats // 4


def test_counts_changes(cache):
    """Of what has a name in the source, each bit and direction, from the beginning."""
    with simulate(cache, coverage=True) as sim:
        before = sim.changes()
        assert copy(sim, 16 << 10)[0]
        after = sim.changes()
    assert before.keys() == after.keys()
    assert after["m_axi_wlast", 0, "0->1"] - before["m_axi_wlast", 0, "0->1"] >= (16 << 10) // 8 // 4  # of each burst
    assert all(after["m_axi_wdata", bit, way] > 100 for bit in range(64) for way in ("0->1", "1->0"))
    assert after["interrupt", 0, "0->1"] == 1
    assert after["trace_started", Engine.MATMUL, "0->1"] == 0  # which this machine does not have


def test_random_memory_changes_timing_not_results(cache):
    cycles = set()
    for seed in range(1, 5):
        with simulate(cache, settings={"random": seed, "interleave": seed % 2}) as sim:
            equal, took = copy(sim, 8 << 10)
            assert equal
            cycles.add(took)
    assert len(cycles) == 4


def test_latency_is_what_was_asked(cache):
    """One read and one write at a time: each added cycle of latency is seen once per burst."""
    quiet = {"row_miss": 0, "turnaround": 0, "refresh": 0}
    took = []
    for latency in (21, 31):
        with simulate(cache, settings={"latency": latency, **quiet}) as sim:
            took.append(copy(sim, 4096)[1])
            load = sim.intervals()[Engine.LOAD]
            assert [stop - start for start, stop in load] == [latency + 3] * 128  # first beat after `latency`, 4 beats
    assert took[1] - took[0] == 128 * 10


@pytest.mark.parametrize(
    ("bursts", "beats", "outstanding", "scramble", "measured", "slower"),
    [
        pytest.param((1000, 0), 16, 4, 1, 0.89, 0.02, id="sequential reads"),
        pytest.param((0, 1000), 16, 4, 1, 0.875, 0.02, id="sequential writes"),
        pytest.param((1000, 1000), 16, 4, 1, 0.51, 0.035, id="reads and writes"),
        pytest.param((1000, 0), 16, 1, 1, 0.49, 0.085, id="one read at a time"),  # all pay the 21 cycles here
        pytest.param((1000, 0), 1, 4, 40503, 0.08, 0.02, id="random reads"),
    ],
)
def test_memory_is_as_fast_as_litedram(cache, bursts, beats, outstanding, scramble, measured, slower):
    """The fraction of the peak that LiteDRAM showed on the Arty's DDR3 (simulated): at most 0.02 more."""
    with Simulation(Traffic(word_bits=128), cache=cache, memory_size=16 << 20) as sim:
        values = {
            "reads": bursts[0], "writes": bursts[1], "beats": beats, "outstanding": outstanding, "scramble": scramble,
            "read_base": 0, "write_base": 1 << 20, "step": 256,
        }  # fmt: skip
        for name, value in values.items():
            sim.write32(REGISTERS[name], value)
        sim.write32(START, 1)
        assert sim.run(200_000)
        rate = sum(bursts) * beats / sim.read32(CYCLES)
        assert measured - slower <= rate <= measured + 0.02


def test_trace_is_in_order(cache):
    with simulate(cache, log_states=True) as sim:
        copy(sim, 256)
        load, store = sim.intervals()[Engine.LOAD], sim.intervals()[Engine.STORE]
        assert len(load) == len(store) == 8
        flat = [cycle for pair in zip(load, store, strict=True) for span in pair for cycle in span]
        assert flat == sorted(flat)
        kinds = [event.event for event in sim.events() if event.engine is Engine.LOAD]
        assert {"busy", "wait_in", "idle"} <= set(kinds)
        sim.clear_trace()
        assert not sim.events()


@pytest.mark.parametrize(
    ("where", "fault"), [(SOURCE + 512, Fault.BUS_READ), (DEST + 512, Fault.BUS_WRITE)], ids=["read", "write"]
)
def test_errors_where_injected(cache, where, fault):
    with simulate(cache, settings={"error_base": where, "error_size": 8}) as sim:
        assert not copy(sim, 1024)[0]
        assert Fault(sim.read32(address("fault_code"))) is fault
        assert sim.read32(address("instructions")) == 512 + 32  # stops with the burst that failed


def test_beyond_memory_is_a_bus_error(cache):
    with simulate(cache) as sim:
        sim.write32(address("input_base"), MEMORY)
        sim.write32(address("interrupt_enable"), 1)
        sim.write32(address("control"), Control.START)
        assert sim.run(1000)
        assert Fault(sim.read32(address("fault_code"))) is Fault.BUS_READ


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("boundary", "AR burst of 4 beats at 0x1ff0 crosses 4 KiB"),
        ("wlast", "WLAST is 1 on beat 1 of a burst of 4"),
        ("unstable", "the AR payload changed while waiting"),
    ],
)
def test_protocol_violations_are_told(cache, defect, message):
    with simulate(cache, settings={"random": 3}) as sim:
        with pytest.raises(TransportError, match=f"AXI protocol violation in cycle [0-9]+: {message}"):
            copy(sim, 8 << 10, defect=defect)
        with pytest.raises(TransportError, match=message):  # and it stays told
            sim.run(1)


def test_a_hang_ends_at_the_limit(cache):
    with simulate(cache) as sim:
        assert 5000 <= copy(sim, 64, defect="hang", limit=5000)[1] < 5010  # and a register read


def test_waves(cache, tmp_path):
    path = tmp_path / "toy.vcd"
    with simulate(cache, waves=path) as sim:
        assert copy(sim, 64)[0]
    text = path.read_text()
    assert "m_axi_araddr" in text
    assert text.count("\n#") > 100


def test_memory_is_shared_and_bounded(cache):
    sim = simulate(cache)
    sim.memory[5] = 77
    assert sim.read(5, 1)[0] == 77
    with pytest.raises(TransportError, match=r"16 bytes at 0xffff8 lie outside the device memory of 0x100000 bytes"):
        sim.read(MEMORY - 8, 16)
    sim.close()
    sim.close()
    with pytest.raises(TransportError, match="the simulation is closed"):
        sim.read32(0)


def test_settings_are_checked(cache):
    with pytest.raises(DeviceError, match="unknown simulation setting 'speed'; known settings: latency"):
        simulate(cache, settings={"speed": 1})
    with pytest.raises(DeviceError, match="rate of a memory must be a whole number from 1, not 0"):
        simulate(cache, settings={"rate": 0})


def test_no_compiler_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"simulation needs a C\+\+ compiler: install g\+\+"):
        simulate(tmp_path)


def test_a_known_key_needs_no_elaboration(cache):
    key = "this very toy"
    with Simulation(lambda: ToyAccelerator(fingerprint=7), key=key, cache=cache, memory_size=MEMORY) as first:
        assert first.compiled
        assert first.read32(address("fingerprint")) == 7
    with Simulation(lambda: pytest.fail("elaborated again"), key=key, cache=cache, memory_size=MEMORY) as second:
        assert not second.compiled
    with pytest.raises(ZeroDivisionError):  # another key is another machine
        Simulation(lambda: 1 // 0, key="another", cache=cache)


def test_missing_pins_are_named(tmp_path):
    class Pinless(wiring.Component):
        a: In(1)

        def elaborate(self, _):
            return Module()

    with pytest.raises(PinError, match="the top level lacks the pins clk, rst, interrupt"):
        Simulation(Pinless(), cache=tmp_path)


def test_pin_names_survive_verilator():
    declaration = "    VL_OUT8(&__SYM__interrupt,0,0);\n    VL_INW(&m_axi___05Frdata,127,0,4);\n"
    assert ports(declaration) == {"interrupt": ("__SYM__interrupt", 1), "m_axi_rdata": ("m_axi___05Frdata", 128)}


def test_concurrent_builds_share_the_cache(tmp_path):
    code = (
        "import sys; from tests.support.toy import ToyAccelerator; from sim.verilated.build import build\n"
        "print(build(ToyAccelerator(), cache=sys.argv[1])[1])"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    assert sorted(job.communicate()[0].strip() for job in jobs) == ["False", "True"]  # one built, one waited
    assert len(list((tmp_path / "verilated").glob("*.so"))) == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sim:arty_b7", "unknown board 'arty_b7'; known boards: arty_a7, "),
        ("sim:tiny?speed=1", "unknown simulation option 'speed'; known options: memory, waves"),
        ("sim:tiny?latency=fast", "option latency must be an integer, not 'fast'"),
        ("sim:tiny?latency", "options are key=value, separated by commas, not 'latency'"),
        ("tiny", "a device is written scheme:name, for example sim:arty_a7, not 'tiny'"),
        ("usb:0", "unknown device scheme 'usb'; known schemes: serial, sim, udp"),
    ],
)
def test_wrong_targets_are_refused(target, message):
    with pytest.raises(DeviceError, match=message):
        open_transport(target)


def test_a_clock_of_its_own(monkeypatch):
    """The simulated memory then serves at the ratio; its settings are cycles of its own clock."""
    opened = []
    monkeypatch.setattr(opener, "Simulation", lambda _component, **options: opened.append(options))
    for options, memory in (("", Memory()), (",latency=9,rate=50", Memory(latency=9, rate=50))):
        open_transport(f"sim:tiny?clock=125{options}")
        assert opened.pop()["settings"] == asdict(memory.at_clock(125_000_000, 100_000_000))
    assert parse_target("sim:tiny?clock=125").board.clock_hz == 125_000_000
    with pytest.raises(DeviceError, match="clock must be a number of MHz from 10 to 400, not 'fast'"):
        open_transport("sim:tiny?clock=fast")


def test_fields_of_config_and_memory_are_options():
    board = parse_target("sim:tiny?lanes=4,latency=9").board
    assert (board.config.lanes, board.config.rows) == (4, 8)
    assert board.memory == Memory(latency=9)
    assert parse_target("serial:tiny").board is None
