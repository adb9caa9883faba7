"""A Genesys 2's memory is started: writes aligned and reads levelled through LiteDRAM's real controller."""

import random

import pytest

from firmware.dram import Eye, _Training, load_controller, start
from firmware.link.client import Link
from hw.boards.registry import BOARDS
from sim.board.channel import UDP_PACE, SimulatedChannel
from sim.board.litedram import open_with_shell
from sim.board.traffic import Traffic

BOARD = BOARDS["genesys2"]
MEMORY = 1 << 20
EYES = [Eye(0, 3, 9, 20), Eye(1, 4, 5, 16), Eye(2, 5, 1, 12), Eye(3, 7, 13, 24)]  # of pins 41, 61, 81, 101 taps late


def traffic():
    """In place of the accelerator, which needs no start of its own."""
    return Traffic(word_bits=BOARD.config.word_bits)


@pytest.fixture
def channel(tmp_path):
    simulation = open_with_shell(BOARD.config, "udp", tmp_path, memory_size=MEMORY, make=traffic, board=BOARD)
    yield SimulatedChannel(simulation, byte_cycles=UDP_PACE)
    simulation.close()


def test_start(channel, tmp_path):
    from hw.shell.litex_write_phy import FLIGHTS, LINES, SKEWS  # needs LiteX, as the simulation does

    link, controller = Link(channel, seed=0), load_controller(tmp_path)
    link.hello()
    training = _Training(link, controller, channel.sleep)
    training.initialise()
    for eye in EYES:
        training.choose(eye)
    assert all(training.errors()), "nothing is written right before it is aligned"
    levels = start(link, controller, sleep=channel.sleep)
    assert levels.eyes == EYES
    assert len({way.clock for way in levels.writes}) == 1
    for way, flight, line, skew in zip(levels.writes, FLIGHTS, LINES, SKEWS, strict=True):
        assert (way.strobe + flight - way.clock + 1) % 32 <= 2
        assert way.bitslip == {8: 0, 2: 2}[line]
        assert way.data == way.strobe + skew
    data = random.Random(1).randbytes(5000)
    for address in (3, MEMORY - len(data)):  # unaligned, and up to the end
        link.write_memory(address, data)
    channel.simulation.serve(20_000)  # refreshes
    assert link.read_memory(3, len(data)) == data
