"""The gateware of a board without a vendor's parts: core, bridge, line, one memory port."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.pins import ID_BITS, axi_pins, connect_axi_pins, pins_of
from hw.axi.read_arbiter import AxiReadArbiter
from hw.axi.signature import AXI4
from hw.axi.write_arbiter import AxiWriteArbiter
from hw.core import Core
from hw.link.bridge import Bridge
from hw.link.uart import UART

__all__ = ["BoardSystem", "connect_line", "line_members"]

_SLVERR = 2


def line_members(link):
    """Pins of a simulated link, ``uart`` or ``udp``, as `sim.verilated.pins` names them."""
    if link == "uart":
        return {"uart_rx": In(1), "uart_tx": Out(1, init=1)}
    ways = {"rx": In, "tx": Out}
    bytes_ = {f"link_{way}_{name}": flow(bits) for way, flow in ways.items()
              for name, bits in (("valid", 1), ("data", 8), ("last", 1))}  # fmt: skip
    return {**bytes_, "link_rx_ready": Out(1), "link_tx_ready": In(1), "link_tx_length": Out(16)}


def connect_line(m, pins, bridge, *, link, divisor):
    """Joins `pins`, a component with `line_members`, and the bridge; a UART comes between."""
    if link == "uart":
        m.submodules.uart = uart = UART(divisor=divisor)
        wiring.connect(m, uart.o, bridge.rx)
        wiring.connect(m, bridge.tx, uart.i)
        m.d.comb += [uart.rx.eq(pins.uart_rx), pins.uart_tx.eq(uart.tx)]
        return
    m.d.comb += [
        bridge.rx.valid.eq(pins.link_rx_valid),
        bridge.rx.p.data.eq(pins.link_rx_data),
        bridge.rx.p.last.eq(pins.link_rx_last),
        pins.link_rx_ready.eq(bridge.rx.ready),
        pins.link_tx_valid.eq(bridge.tx.valid),
        pins.link_tx_data.eq(bridge.tx.p.data),
        pins.link_tx_last.eq(bridge.tx.p.last),
        pins.link_tx_length.eq(bridge.tx_length),
        bridge.tx.ready.eq(pins.link_tx_ready),
    ]


class BoardSystem(wiring.Component):
    """The accelerator of `config` behind a host link, for the compiled simulation. The shell's registers are not there.

    Parameters
    ----------
    config : Config
    link : str
        ``uart``: pins ``uart_rx``, ``uart_tx`` and a line of `divisor` cycles per bit; ``udp``: datagrams
        ``link_rx_*``, ``link_tx_*``.
    memory_bytes, bus_cycles, gap_cycles : int
        See `Bridge`.
    """

    def __init__(self, config, *, link, divisor, memory_bytes, gap_cycles, bus_cycles=1 << 16):
        self.config, self.link, self.divisor = config, link, divisor
        self._bridge = Bridge(
            fingerprint=config.fingerprint, word_bits=config.word_bits, memory_bytes=memory_bytes,
            bus_cycles=bus_cycles, gap_cycles=gap_cycles, simulated=True,
        )  # fmt: skip
        self._reads = AxiReadArbiter(word_bits=config.word_bits, masters=2, id_bits=(0, ID_BITS))
        self._writes = AxiWriteArbiter(word_bits=config.word_bits, masters=2)
        pins = axi_pins(config.word_bits, self._reads.bus_id_bits)
        super().__init__({"interrupt": Out(1), **line_members(link), **pins})

    def elaborate(self, _platform):
        m = Module()
        m.submodules.core = core = Core(self.config, primitives=False)
        m.submodules.bridge = bridge = self._bridge
        m.d.comb += self.interrupt.eq(core.interrupt)
        wiring.connect(m, bridge.control, core.control)
        self._no_shell(m, bridge.csr)
        connect_line(m, self, bridge, link=self.link, divisor=self.divisor)
        self._memory(m, bridge.memory, core.memory)
        return m

    def _memory(self, m, link, core):
        """One memory port for two, as LiteDRAM's crossbar makes it on a board; of writes the link's come first."""
        m.submodules.reads, m.submodules.writes = reads, writes = self._reads, self._writes
        wiring.connect(m, link.read, reads.master0)
        wiring.connect(m, core.read, reads.master1)
        wiring.connect(m, link.write, writes.master0)
        wiring.connect(m, core.write, writes.master1)
        bus = AXI4(self.config.word_bits, reads.bus_id_bits).create()
        wiring.connect(m, reads.bus, wiring.flipped(bus.read))
        wiring.connect(m, writes.bus, wiring.flipped(bus.write))
        connect_axi_pins(m, pins_of(self, "m_axi_"), bus)

    def _no_shell(self, m, csr):
        """Every access of the shell's registers answers an error."""
        taken = csr.awvalid & csr.wvalid & ~csr.bvalid
        m.d.comb += [
            csr.awready.eq(taken),
            csr.wready.eq(taken),
            csr.arready.eq(~csr.rvalid),
            csr.bresp.eq(_SLVERR),
            csr.rresp.eq(_SLVERR),
        ]
        m.d.sync += [
            csr.bvalid.eq(taken | (csr.bvalid & ~csr.bready)),
            csr.rvalid.eq(Mux(csr.rvalid, ~csr.rready, csr.arvalid)),
        ]
