"""The bridge and its line on a small machine: registers that count what is written to them, and a memory.

Compiled in seconds and simulated at millions of cycles a second: for tests and figures of the link alone.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.axi.pins import axi_pins, connect_axi_pins, pins_of
from hw.link.bridge import Bridge
from sim.board.channel import UDP_PACE, SimulatedChannel
from sim.board.system import connect_line, line_members
from sim.verilated import Simulation

__all__ = [
    "COUNT", "DIVISOR", "FINGERPRINT", "GAP_CYCLES", "HANG", "MEMORY", "PLAIN", "SHELL_REGISTER", "SUM",
    "LinkMachine", "LinkTop", "open_link_bench",
]  # fmt: skip

FINGERPRINT = 0x600DCAFE
MEMORY = 1 << 20
DIVISOR = 4
GAP_CYCLES = 1 << 10
BUS_CYCLES = 1 << 10
COUNT, SUM, PLAIN, HANG = 0, 4, 8, 12  # registers of the accelerator's window; others answer an error
SHELL_REGISTER = 0x40


class LinkTop(wiring.Component):
    """`LinkMachine` and a line, with pins."""

    def __init__(self, *, link="uart", divisor=DIVISOR, word_bits=128):
        self.link, self.divisor, self.word_bits = link, divisor, word_bits
        super().__init__({"interrupt": Out(1), **line_members(link), **axi_pins(word_bits)})

    def elaborate(self, _platform):
        m = Module()
        m.submodules.machine = machine = LinkMachine(word_bits=self.word_bits)
        connect_line(m, self, machine, link=self.link, divisor=self.divisor)
        connect_axi_pins(m, pins_of(self, "m_axi_"), machine.memory)
        return m


class LinkMachine(wiring.Component):
    """A bridge and registers: a write to COUNT adds one to it, and the value to SUM. Members as the bridge's."""

    def __init__(self, *, word_bits):
        self._bridge = Bridge(
            fingerprint=FINGERPRINT, word_bits=word_bits, memory_bytes=MEMORY, bus_cycles=BUS_CYCLES,
            gap_cycles=GAP_CYCLES, simulated=True,
        )  # fmt: skip
        members = self._bridge.signature.members
        super().__init__({name: members[name] for name in ("rx", "tx", "tx_length", "memory")})

    def elaborate(self, _platform):
        m = Module()
        m.submodules.bridge = bridge = self._bridge
        for name in ("rx", "tx", "memory"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(bridge, name))
        m.d.comb += self.tx_length.eq(bridge.tx_length)
        count, total, plain, shell = (Signal(32, name=name) for name in ("count", "total", "plain", "shell"))
        written = self._window(m, bridge.control, "control", {COUNT: count, SUM: total, PLAIN: plain}, {COUNT, PLAIN})
        with m.If(written == 1 + COUNT):
            m.d.sync += [count.eq(count + 1), total.eq(total + bridge.control.wdata)]
        with m.If(written == 1 + PLAIN):
            m.d.sync += plain.eq(bridge.control.wdata)
        written = self._window(m, bridge.csr, "csr", {SHELL_REGISTER: shell}, {SHELL_REGISTER})
        with m.If(written == 1 + SHELL_REGISTER):
            m.d.sync += shell.eq(bridge.csr.wdata)
        return m

    def _window(self, m, bus, prefix, readable, writable):
        """Address + 1 of a write in the cycle it is taken, else 0."""
        pin = {name: getattr(bus, name) for name in (
            "awaddr", "awvalid", "awready", "wvalid", "wready", "bvalid", "bready", "bresp",
            "araddr", "arvalid", "arready", "rvalid", "rready", "rdata", "rresp",
        )}  # fmt: skip
        take, written = Signal(name=f"{prefix}_take"), Signal(32, name=f"{prefix}_written")
        m.d.comb += [
            take.eq(pin["awvalid"] & pin["wvalid"] & ~pin["bvalid"] & (pin["awaddr"] != HANG)),
            pin["awready"].eq(take),
            pin["wready"].eq(take),
            pin["arready"].eq(~pin["rvalid"] & pin["arvalid"] & (pin["araddr"] != HANG)),
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
    pace = divisor if link == "uart" else UDP_PACE
    simulation.pace(pace)
    return SimulatedChannel(simulation, byte_cycles=10 * pace if link == "uart" else pace)
