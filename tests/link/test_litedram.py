"""The board's gateware around LiteDRAM's real controller: its registers, its refresh, its latencies, its levelling."""

import random
import zlib
from fractions import Fraction

import numpy as np
import pytest

from firmware.device import Accelerator
from firmware.dram import _SEEDS, Eye, _Training, load_controller, start
from firmware.link.client import Link
from firmware.link.transport import LinkTransport
from hw.boards.registry import BOARDS
from hw.spec.config import override
from hw.spec.link import Window
from hw.spec.regs import MAGIC
from sim import golden
from sim.board.channel import UDP_PACE, SimulatedChannel
from sim.board.litedram import open_with_shell
from tests.support.models import random_model

CONFIG = override(BOARDS["tiny"].config, {"rows": "16"})  # words as wide as the memory port
MEMORY = 1 << 20
EYES = [Eye(0, bitslip=3, first=9, last=20), Eye(1, bitslip=4, first=5, last=16)]  # of pins 41 and 61 taps late


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("shell")


@pytest.fixture(scope="module", params=["1", "5/4", "4/5"])
def channel(directory, request):
    """The accelerator at the shell's clock, and at clocks of its own."""
    simulation = open_with_shell(CONFIG, "udp", directory, memory_size=MEMORY, ratio=Fraction(request.param))
    yield SimulatedChannel(simulation, byte_cycles=UDP_PACE)
    simulation.close()


@pytest.fixture
def link(channel):
    channel.simulation.reset()
    opened = Link(channel, seed=0)
    assert opened.hello().memory_bytes == MEMORY
    return opened


def test_start_then_a_model(link, channel, directory):
    """Memory holds what is written over many refreshes, and a model's logits are the golden model's."""
    controller = load_controller(directory)
    done, control = (controller.registers[name][0] for name in ("ddrctrl_init_done", "sdram_dfii_control"))
    assert link.read_register(done) == 0
    assert start(link, controller, sleep=channel.sleep) == (EYES, [])
    assert link.transact((), (done, controller.registers["ddrctrl_init_error"][0], control)) == [1, 0, 1]
    data = random.Random(1).randbytes(5000)
    for address in (3, MEMORY - len(data)):  # unaligned, and up to the end
        link.write_memory(address, data)
    channel.simulation.serve(20_000)  # refreshes
    assert link.read_memory(3, len(data)) == data
    assert link.checksums(MEMORY - len(data), len(data)) == [zlib.crc32(data)]
    model = random_model(image=(3, 16, 16), patch=8, dim=32, depth=1, heads=2, hidden=64, classes=10)
    images = np.random.default_rng(0).integers(-128, 128, (2, *model.image)).astype(np.int8)
    device = Accelerator(LinkTransport(channel), CONFIG)
    assert device.transport.read32(0) == MAGIC
    device.load(model)
    assert np.array_equal(device.run(images), golden.run(model, images))


def test_commands_reach_the_memory(link, channel, directory):
    """Words written and read by single DRAM commands, as levelling does it, are those that the controller reads."""
    controller = load_controller(directory)
    training = _Training(link, controller, channel.sleep)
    training.initialise()
    assert all(training.errors())
    training.choose(EYES[0])
    right, wrong = training.errors()
    assert (right, wrong > 0) == (0, True)
    training.choose(EYES[1])
    assert training.errors() == [0, 0]
    draw = random.Random(_SEEDS[-1])
    words = [draw.getrandbits(controller.phase_bits) for _ in range(controller.phy["nphases"])]
    training.hand_over()
    assert link.read_memory(0, 16) == b"".join(word.to_bytes(4, "little") for word in words)


def test_registers_that_are_not_there(link, directory):
    """Read zero and ignore writes, without an error; the window repeats every 64 KiB."""
    absent, control = Window.SHELL + 0xFFFC, load_controller(directory).registers["sdram_dfii_control"][0]
    link.write_registers([(absent, 0xFFFFFFFF)])
    assert link.transact((), (absent, control, control + 0x10000)) == [0, 1, 1]
