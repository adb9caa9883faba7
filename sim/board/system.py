"""The gateware of a board without a vendor's parts: core, bridge, line, one memory port."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.pins import axi_pins, connect_axi_pins
from hw.core import Core
from hw.link.bridge import Bridge
from hw.link.uart import UART
from sim.board.arbiter import MemoryArbiter

__all__ = ["BoardSystem", "connect_line", "line_members", "link_ports"]

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


def link_ports(m, bridge, read, write):
    """Joins the bridge's memory pins and subordinate streams."""
    for channel, port in (("ar", read.ar), ("aw", write.aw)):
        m.d.comb += [
            port.p.address.eq(getattr(bridge, f"m_axi_{channel}addr")),
            port.p.last.eq(getattr(bridge, f"m_axi_{channel}len")),
            port.valid.eq(getattr(bridge, f"m_axi_{channel}valid")),
            getattr(bridge, f"m_axi_{channel}ready").eq(port.ready),
        ]
    m.d.comb += [
        write.w.p.data.eq(bridge.m_axi_wdata),
        write.w.p.strobe.eq(bridge.m_axi_wstrb),
        write.w.p.last.eq(bridge.m_axi_wlast),
        write.w.valid.eq(bridge.m_axi_wvalid),
        bridge.m_axi_wready.eq(write.w.ready),
        bridge.m_axi_bvalid.eq(write.b.valid),
        bridge.m_axi_bresp.eq(write.b.p.error << 1),
        write.b.ready.eq(bridge.m_axi_bready),
        bridge.m_axi_rdata.eq(read.r.p.data),
        bridge.m_axi_rlast.eq(read.r.p.last),
        bridge.m_axi_rresp.eq(read.r.p.error << 1),
        bridge.m_axi_rvalid.eq(read.r.valid),
        read.r.ready.eq(bridge.m_axi_rready),
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
            bus_cycles=bus_cycles, gap_cycles=gap_cycles,
        )  # fmt: skip
        super().__init__({"interrupt": Out(1), **line_members(link), **axi_pins(config.word_bits)})

    def elaborate(self, _platform):
        m = Module()
        bits = self.config.word_bits
        m.submodules.core = core = Core(self.config, primitives=False)
        m.submodules.bridge = bridge = self._bridge
        m.submodules.arbiter = arbiter = MemoryArbiter(word_bits=bits)
        m.d.comb += self.interrupt.eq(core.interrupt)
        for name, member in core.control.signature.members.items():
            inner, pin = getattr(core.control, name), getattr(bridge, f"control_{name}")
            m.d.comb += inner.eq(pin) if member.flow is In else pin.eq(inner)
        self._no_shell(m, bridge)
        connect_line(m, self, bridge, link=self.link, divisor=self.divisor)
        wiring.connect(m, core.read, arbiter.core_read)
        wiring.connect(m, core.write, arbiter.core_write)
        link_ports(m, bridge, arbiter.link_read, arbiter.link_write)
        connect_axi_pins(m, self, read=arbiter.read, write=arbiter.write)
        return m

    def _no_shell(self, m, bridge):
        """Every access of the shell's registers answers an error."""
        taken = bridge.csr_awvalid & bridge.csr_wvalid & ~bridge.csr_bvalid
        m.d.comb += [
            bridge.csr_awready.eq(taken),
            bridge.csr_wready.eq(taken),
            bridge.csr_arready.eq(~bridge.csr_rvalid),
            bridge.csr_bresp.eq(_SLVERR),
            bridge.csr_rresp.eq(_SLVERR),
        ]
        m.d.sync += [
            bridge.csr_bvalid.eq(taken | (bridge.csr_bvalid & ~bridge.csr_bready)),
            bridge.csr_rvalid.eq(Mux(bridge.csr_rvalid, ~bridge.csr_rready, bridge.csr_arvalid)),
        ]
