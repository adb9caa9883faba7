"""Damaged bytes, unplugged lines and resets: the driver on the gateware gives exact results or one error, and ends."""

import pytest

from bench.trust.link import SPACE, Accesses
from sim.board.bench import open_link_bench
from sim.board.faulty import FaultyChannel

FAULTS = 10_000


@pytest.mark.parametrize(
    ("link", "rate", "shuffle", "largest", "share"),
    [
        pytest.param("uart", 1 / 80, 0, 100, 0.35, id="a bad line"),
        pytest.param("uart", 1 / 1000, 0, 3000, 0.05, id="large transfers"),
        pytest.param("udp", 1 / 400, 0.1, 200, 0.6, id="datagrams"),
    ],
)
def test_no_fault_is_a_wrong_result(link, rate, shuffle, largest, share):
    """Together `FAULTS` of them; the line then works again, and memory is what it should be, byte for byte."""
    channel = FaultyChannel(open_link_bench(link), rate=rate, shuffle=shuffle, seed=1)
    simulation = channel.channel.simulation
    campaign = Accesses(channel, seed=2, largest=largest)
    while channel.faults < FAULTS * share:
        campaign.step()
    channel.rate = channel.shuffle = 0
    campaign.greet()
    campaign.ring()
    assert bytes(simulation.memory[:SPACE]) == bytes(campaign.memory)
    assert not simulation.memory[SPACE:].any()
    print(link, rate, channel.faults, len(campaign.errors), campaign.link.statistics, simulation.cycle)
    for error in campaign.errors:
        assert len(error) < 200
        assert "\n" not in error
