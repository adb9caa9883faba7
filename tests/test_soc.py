# amaranth: UnusedElaboratable=no
"""The system: datagrams find their way back, and what cannot be built is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream

from hw import soc
from hw.axi.signature import AXILite
from hw.boards.registry import BOARDS
from hw.build import command
from hw.link.byte import BYTE
from hw.link.uart import uart_divisor
from hw.soc import Datagrams, System
from hw.spec.config import override
from hw.spec.link import RECEIVE_BYTES
from tests.support.streams import reset_and_silent, simulate

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


def test_datagrams_that_nobody_takes_hold_nothing_up():
    """What is stored stays, the rest is lost, and what comes after room was made is there."""
    dut = Datagrams(PORTS)
    extra = 100

    async def bench(ctx):
        ctx.set(dut.udp_rx_valid, 1)
        for number in range(RECEIVE_BYTES + extra):
            ctx.set(dut.udp_rx_data, number % 251)
            assert ctx.get(dut.udp_rx_ready)
            await ctx.tick()
        ctx.set(dut.udp_rx_valid, 0)
        kept = []
        for _ in range(RECEIVE_BYTES + extra):
            ctx.set(dut.o.ready, 1)
            valid, value = ctx.get(dut.o.valid), ctx.get(dut.o.p.data)
            await ctx.tick()
            kept += [value] * valid
        assert RECEIVE_BYTES <= len(kept) < RECEIVE_BYTES + extra
        assert kept == [number % 251 for number in range(len(kept))]
        ctx.set(dut.udp_rx_data, 77)
        ctx.set(dut.udp_rx_valid, 1)
        await ctx.tick()
        ctx.set(dut.udp_rx_valid, 0)
        (value,) = await ctx.tick().sample(dut.o.p.data).until(dut.o.valid)
        assert value == 77

    simulate(dut, bench)


@pytest.mark.parametrize("board", [board for board in BOARDS.values() if board.shell], ids=lambda board: board.name)
def test_every_boards_rate_is_exact(board):
    """And its USB bridge has it: FT231X and FT232R 3 Mbaud at most, FT2232H 12 MHz over a whole number."""
    assert uart_divisor(board.system_hz, board.baud) * board.baud == board.system_hz
    assert board.baud == {"genesys2": 2_000_000, "ulx3s_85f": 2_000_000}.get(board.name, 4_000_000)


def test_a_rate_that_the_clock_cannot_make(monkeypatch, capsys, tmp_path):
    assert uart_divisor(100e6, 3_030_000) == 33  # 0.01 % off
    with pytest.raises(ValueError, match=r"from 100 MHz: the nearest whole divisor, 33, is 1\.01% off, and at most 1%"):
        uart_divisor(100e6, 3_000_000)
    with pytest.raises(ValueError, match="from 4 to 65535 cycles per bit, not 2"):
        uart_divisor(8e6, 4_000_000)
    board = replace(BOARDS["ulx3s_85f"], baud=4_000_000)
    message = "a UART of 4,000,000 baud cannot be had from 50 MHz: the nearest whole divisor, 12, is 4.17% off"
    with pytest.raises(ValueError, match=message):
        System(board, board.config)
    monkeypatch.setitem(BOARDS, board.name, board)
    out = tmp_path / "out"
    assert command.main(["--board", board.name, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: ulx3s_85f: {message}")
    assert error.count("\n") == 1
    assert not out.exists()


def test_refusals():
    board = BOARDS["arty_a7"]
    with pytest.raises(ValueError, match="link must be one of uart, ethernet, both, not 'usb'"):
        System(board, board.config, link="usb")
    with pytest.raises(ValueError, match="the memory ports have 128 bits and words 64"):
        System(board, override(board.config, {"rows": "8"}))


class Parts(System):
    """Lights and links of a system without its shell; `pads`: what goes to and comes from the board's pins."""

    def __init__(self, **options):
        super().__init__(BOARDS["arty_a7"], BOARDS["arty_a7"].config, **options)
        self.pads, self.ports = {}, {name: Signal(bits, name=name) for name, (_, bits) in PORTS.items()}
        self.bridge = SimpleNamespace(
            rx=stream.Signature(BYTE).create(), tx=stream.Signature(BYTE).create(), tx_length=Signal(16)
        )
        self._divisor = 4

    def request(self, *_name, **_options):
        return SimpleNamespace(rx=None, tx=None)

    def _input(self, m, name, _port, signal):
        self.pads[name] = Signal(init=1, name=name)
        m.d.comb += signal.eq(self.pads[name])

    def _output(self, m, name, _port, value):
        self.pads[name] = Signal(name=name)
        m.d.comb += self.pads[name].eq(value)


def test_lights(monkeypatch):
    """One goes on and off, one is on for a while after an access of the memory, one from an error on."""
    monkeypatch.setattr(soc, "_LIGHT_BITS", 6)
    monkeypatch.setattr(soc, "_BUSY_BITS", 4)
    system, control, m = Parts(), AXILite().create(), Module()
    system._lights(m, system, control, system.ports)
    seen = {name: [] for name in system.pads}
    ports = system.ports

    async def bench(ctx):
        for cycle in range(160):
            ctx.set(ports["memory_arvalid"], cycle in (40, 41, 80))
            ctx.set(ports["memory_arready"], cycle in (41, 60, 80))
            ctx.set(control.rvalid, cycle in (90, 100))
            ctx.set(control.rresp, 2 * (cycle in (95, 100)))
            ctx.set(ports["init_done"], cycle >= 120)
            for name, light in system.pads.items():
                seen[name].append(ctx.get(light))
            await ctx.tick()

    simulate(m, bench)
    assert seen["led0"] == [cycle // 32 % 2 for cycle in range(160)]
    assert seen["led1"] == [42 <= cycle < 57 or 81 <= cycle < 96 for cycle in range(160)]
    assert seen["led2"] == [cycle > 100 for cycle in range(160)]
    assert seen["led3"] == [cycle >= 120 for cycle in range(160)]


def test_a_reset_puts_lights_out():
    """Those of an access and of an error."""
    system, control, m, reset = Parts(), AXILite().create(), Module(), Signal()
    system._lights(m, system, control, system.ports)
    lights = [system.pads[f"led{number}"] for number in (1, 2)]

    async def bench(ctx):
        for name in ("memory_arvalid", "memory_arready", "init_error"):
            ctx.set(system.ports[name], 1)
        await ctx.tick()
        for name in ("memory_arvalid", "memory_arready", "init_error"):
            ctx.set(system.ports[name], 0)
        assert [ctx.get(light) for light in lights] == [1, 1]
        await reset_and_silent(ctx, reset, 20, *lights)

    simulate(m, bench, reset=reset)


def test_answers_go_where_the_last_byte_came_from():
    system, m = Parts(link="both"), Module()
    system._link(m, system, system.bridge, system.ports)
    rx, tx, ports, line = system.bridge.rx, system.bridge.tx, system.ports, system.pads["uart_tx"]

    async def serial(ctx, byte):
        for bit in (0, *(byte >> n & 1 for n in range(8)), 1):
            ctx.set(system.pads["uart_rx"], bit)
            await ctx.tick().repeat(4)

    async def datagram(ctx, byte):
        ctx.set(ports["udp_rx_data"], byte)
        ctx.set(ports["udp_rx_last"], 1)
        ctx.set(ports["udp_rx_valid"], 1)
        await ctx.tick()
        ctx.set(ports["udp_rx_valid"], 0)

    async def bench(ctx):
        ctx.set(rx.ready, 1)
        for byte, way in enumerate((datagram, serial, serial, datagram, datagram, serial), 65):
            await way(ctx, byte)
            _, got = await ctx.tick().sample(rx.valid, rx.p.data).until(rx.valid)
            assert got == byte
            await ctx.tick()
            ctx.set(tx.p.data, byte + 100)
            ctx.set(tx.valid, 1)
            if way is datagram:
                assert ctx.get(ports["udp_tx_valid"])
                assert ctx.get(ports["udp_tx_data"]) == byte + 100
                assert not ctx.get(tx.ready)
                ctx.set(ports["udp_tx_ready"], 1)
            assert ctx.get(tx.ready)
            assert ctx.get(ports["udp_tx_valid"]) == (way is datagram)
            await ctx.tick()
            ctx.set(tx.valid, 0)
            ctx.set(ports["udp_tx_ready"], 0)
            levels = set()
            for _ in range(60):
                await ctx.tick()
                levels.add(ctx.get(line))
            assert levels == ({1} if way is datagram else {0, 1})

    simulate(m, bench)
