"""The bridge and its line on a small machine: registers that count what is written to them, and a memory."""

import random

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from firmware.link.channel import LinkError
from hw.link.bridge import Bridge
from hw.units.axi_pins import axi_pins
from sim.board.channel import SimulatedChannel
from sim.board.system import connect_line, line_members
from sim.verilated import Simulation

__all__ = [
    "COUNT", "DIVISOR", "FINGERPRINT", "GAP_CYCLES", "HANG", "MEMORY", "PLAIN", "SHELL_REGISTER", "SUM",
    "FaultyChannel", "LinkTop", "open_link_bench",
]  # fmt: skip

FINGERPRINT = 0x600DCAFE
MEMORY = 1 << 20
DIVISOR = 4
GAP_CYCLES = 1 << 10
BUS_CYCLES = 1 << 10
COUNT, SUM, PLAIN, HANG = 0, 4, 8, 12  # registers of the accelerator's window; others answer an error
SHELL_REGISTER = 0x40


class LinkTop(wiring.Component):
    """Bridge and line. A write to COUNT adds one to it, and the value to SUM."""

    def __init__(self, *, link="uart", divisor=DIVISOR, word_bits=128):
        self.link, self.divisor, self.word_bits = link, divisor, word_bits
        super().__init__({"interrupt": Out(1), **line_members(link), **axi_pins(word_bits)})

    def elaborate(self, _platform):
        m = Module()
        m.submodules.bridge = bridge = Bridge(
            fingerprint=FINGERPRINT, word_bits=self.word_bits, memory_bytes=MEMORY, bus_cycles=BUS_CYCLES,
            gap_cycles=GAP_CYCLES,
        )  # fmt: skip
        connect_line(m, self, bridge, link=self.link, divisor=self.divisor)
        for name, member in axi_pins(self.word_bits).items():
            inner, pin = getattr(bridge, name), getattr(self, name)
            m.d.comb += pin.eq(inner) if member.flow is Out else inner.eq(pin)
        count, total, plain, shell = (Signal(32, name=name) for name in ("count", "total", "plain", "shell"))
        written = self._window(m, bridge, "control", {COUNT: count, SUM: total, PLAIN: plain}, {COUNT, PLAIN})
        with m.If(written == 1 + COUNT):
            m.d.sync += [count.eq(count + 1), total.eq(total + bridge.control_wdata)]
        with m.If(written == 1 + PLAIN):
            m.d.sync += plain.eq(bridge.control_wdata)
        written = self._window(m, bridge, "csr", {SHELL_REGISTER: shell}, {SHELL_REGISTER})
        with m.If(written == 1 + SHELL_REGISTER):
            m.d.sync += shell.eq(bridge.csr_wdata)
        return m

    def _window(self, m, bridge, prefix, readable, writable):
        """Address + 1 of a write in the cycle it is taken, else 0."""
        pin = {name: getattr(bridge, f"{prefix}_{name}") for name in (
            "awaddr", "awvalid", "awready", "wvalid", "wready", "bvalid", "bready", "bresp",
            "araddr", "arvalid", "arready", "rvalid", "rready", "rdata", "rresp",
        )}  # fmt: skip
        take, written = Signal(name=f"{prefix}_take"), Signal(32, name=f"{prefix}_written")
        m.d.comb += [
            take.eq(pin["awvalid"] & pin["wvalid"] & ~pin["bvalid"] & (pin["awaddr"] != HANG)),
            pin["awready"].eq(take),
            pin["wready"].eq(take),
            pin["arready"].eq(~pin["rvalid"] & (pin["araddr"] != HANG)),
        ]
        m.d.sync += pin["bvalid"].eq(take | (pin["bvalid"] & ~pin["bready"]))
        with m.If(take):
            m.d.sync += pin["bresp"].eq(2)
        for address in writable:
            with m.If(take & (pin["awaddr"] == address)):
                m.d.comb += written.eq(address + 1)
                m.d.sync += pin["bresp"].eq(0)
        m.d.sync += pin["rvalid"].eq(Mux(pin["rvalid"], ~pin["rready"], pin["arvalid"] & pin["arready"]))
        with m.If(pin["arvalid"] & pin["arready"]):
            m.d.sync += [pin["rresp"].eq(2), pin["rdata"].eq(0)]
            for address, value in readable.items():
                with m.If(pin["araddr"] == address):
                    m.d.sync += [pin["rresp"].eq(0), pin["rdata"].eq(value)]
        return written


def open_link_bench(link="uart", *, divisor=DIVISOR, **settings):
    """A channel to the compiled `LinkTop`; `settings` are the memory model's."""
    top = LinkTop(link=link, divisor=divisor)
    simulation = Simulation(top, memory_size=MEMORY, settings=settings)
    pace = divisor if link == "uart" else 8
    simulation.pace(pace)
    return SimulatedChannel(simulation, byte_cycles=10 * pace if link == "uart" else pace)


class FaultyChannel:
    """`channel` with faults in both directions: each byte is, with `rate`, flipped, dropped, doubled, or gets a
    stranger before it; with `shuffle`, so are whole datagrams dropped, doubled or delayed. ``faults`` counts them.
    `unplug_after` bytes sent, the line is gone.
    """

    def __init__(self, channel, *, rate, seed, shuffle=0.0, unplug_after=None):
        self.channel, self.rate, self.shuffle, self.unplug_after = channel, rate, shuffle, unplug_after
        self._late = {"send": None, "receive": None}
        self.name, self.pace, self.now = "the faulty line", channel.pace, channel.now
        self.faults = 0
        self._random = random.Random(seed)

    def send(self, data):
        if self.unplug_after is not None:
            self.unplug_after -= len(data)
            if self.unplug_after < 0:
                self.channel.send(data[: len(data) // 2])
                raise LinkError(f"{self.name} is gone")
        for datagram in self._shuffled("send", self._damage(data)):
            self.channel.send(datagram)

    def receive(self, timeout):
        return b"".join(self._shuffled("receive", self._damage(self.channel.receive(timeout))))

    def close(self):
        self.channel.close()

    def _shuffled(self, way, data):
        late, self._late[way] = self._late[way], None
        if data and self._random.random() < self.shuffle:
            self.faults += 1
            kind = self._random.randrange(3)
            if kind == 0:
                data = b""
            elif kind == 1:
                return [d for d in (data, late, data) if d]
            else:
                self._late[way], data = data, b""
        return [d for d in (data, late) if d]

    def _damage(self, data):
        out, at = bytearray(), 0
        draw = self._random
        while True:
            gap = int(draw.expovariate(self.rate)) if self.rate else len(data)
            if at + gap >= len(data):
                return bytes(out + data[at:])
            out += data[at : at + gap]
            at += gap
            self.faults += 1
            byte, kind = data[at], draw.randrange(4)
            at += 1
            if kind == 0:
                out.append(byte ^ 1 << draw.randrange(8))
            elif kind == 1:
                pass
            elif kind == 2:
                out += bytes((byte, byte))
            else:
                out += bytes((draw.randrange(256), byte))
