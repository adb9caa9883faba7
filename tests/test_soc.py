# amaranth: UnusedElaboratable=no
"""The system: datagrams find their way back, and what cannot be built is refused."""

import numpy as np
import pytest

from hw.boards.registry import BOARDS
from hw.soc import Datagrams, System
from hw.spec.config import override
from tests.support.streams import simulate

PORTS = BOARDS["arty_a7"].shell.ports(ethernet=True)


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_datagrams(pause):
    """Bytes and ends of datagrams pass in order; an answer goes to who sent last."""
    rng = np.random.default_rng(1)
    dut = Datagrams(PORTS)
    sent = [(0x0A000001, 4000, b"hello"), (0x0A000002, 4001, b"x"), (0x0A000002, 4002, bytes(40))]
    got, answers = [], []

    async def host(ctx):
        for address, port, payload in sent:
            for number, byte in enumerate(payload):
                ctx.set(dut.udp_rx_ip_address, address)
                ctx.set(dut.udp_rx_port, port)
                ctx.set(dut.udp_rx_data, byte)
                ctx.set(dut.udp_rx_last, number == len(payload) - 1)
                ctx.set(dut.udp_rx_valid, 1)
                await ctx.tick().until(dut.udp_rx_ready)
                ctx.set(dut.udp_rx_valid, 0)
                while rng.random() < pause:
                    await ctx.tick()
            for _ in range(60):
                await ctx.tick()

    async def bridge(ctx):
        """Takes a datagram, answers it with its length and its bytes, twice."""
        for _ in sent:
            payload, last = b"", 0
            ctx.set(dut.o.ready, 1)
            while not last:
                data, last = await ctx.tick().sample(dut.o.p.data, dut.o.p.last).until(dut.o.valid)
                payload += bytes([data])
            ctx.set(dut.o.ready, 0)
            got.append(payload)
            ctx.set(dut.length, len(payload))
            for number, byte in enumerate(payload):
                while rng.random() < pause:
                    await ctx.tick()
                ctx.set(dut.i.p.data, byte)
                ctx.set(dut.i.p.last, number == len(payload) - 1)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)

    async def network(ctx):
        names = ("ip_address", "port", "length", "data", "last")
        while len(answers) < len(sent):
            where, payload, last = set(), b"", 0
            while not last:
                ctx.set(dut.udp_tx_ready, int(rng.random() >= pause))
                _, _, valid, ready, *values = await ctx.tick().sample(
                    dut.udp_tx_valid, dut.udp_tx_ready, *(getattr(dut, f"udp_tx_{name}") for name in names)
                )
                if valid and ready:
                    where.add(tuple(values[:3]))
                    payload += bytes([values[3]])
                    last = values[4]
            answers.append((where, payload))

    simulate(dut, host, bridge, network)
    assert got == [payload for _, _, payload in sent]
    assert answers == [({(address, port, len(payload))}, payload) for address, port, payload in sent]


def test_refusals():
    board = BOARDS["arty_a7"]
    with pytest.raises(ValueError, match="link must be one of uart, ethernet, both, not 'usb'"):
        System(board, board.config, link="usb")
    with pytest.raises(ValueError, match="the memory ports have 128 bits and words 64"):
        System(board, override(board.config, {"rows": "8"}))
