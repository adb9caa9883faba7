"""The system around the accelerator on a board: pins, shell, host link, lights."""

from amaranth.hdl import Cat, ClockDomain, Const, Elaboratable, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import io, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.axi.crossing import AxiCrossing
from hw.axi.lite_crossing import LiteCrossing
from hw.axi.narrower import AxiNarrower
from hw.axi.pins import ID_BITS, axi_pins, bus_of_pins, connect_axi_pins, connect_lite_pins, lite_pins, pins_of
from hw.axi.signature import AXI4
from hw.link.bridge import Bridge
from hw.link.byte import BYTE
from hw.link.uart import UART, uart_divisor
from hw.spec.link import RECEIVE_BYTES
from hw.units.stream_fifo import StreamFIFO

__all__ = ["LINKS", "Datagrams", "System", "connect_shell", "core_members"]

LINKS = ("uart", "ethernet", "both")
_LIGHT_BITS = 26  # the first light goes on and off every 0.67 s at 100 MHz
_BUSY_BITS = 22  # the second one stays on for 42 ms after a memory access

_DDR3 = {"a": "a", "ba": "ba", "ras_n": "ras", "cas_n": "cas", "we_n": "we", "cs_n": "cs", "cke": "clk_en",
         "odt": "odt", "reset_n": "rst", "dm": "dm", "dq": "dq"}  # fmt: skip
_SDRAM = {"a": "a", "ba": "ba", "ras_n": "ras", "cas_n": "cas", "we_n": "we", "cs_n": "cs", "cke": "clk_en",
          "dm": "dqm", "dq": "dq", "clock": "clk"}  # fmt: skip
_MII = {"eth_clocks_tx": "tx_clk", "eth_clocks_rx": "rx_clk", "eth_rst_n": "rst"}


def core_members(config):
    """The accelerator's pins that the system connects."""
    return {**lite_pins(), **axi_pins(config.word_bits)}


def connect_shell(m, shell, ports, core, bridge, *, burst_beats, crossed=False):
    """Joins the accelerator and the bridge with a shell; returns the accelerator's reset.

    Everything is in the domain ``sync``, the shell's, but for an accelerator that is `crossed`: that is in ``core``,
    and only its memory port and its registers cross. The accelerator's memory requests wait until the host has told the
    memory controller that its training is done; the bridge's do not, as the training tries the memory.

    Parameters
    ----------
    m : Module
    shell : hw.shell.shell.Shell
    ports, core : Mapping[str, Signal]
        The shell's ports and the accelerator's pins, see :func:`core_members`.
    bridge : Bridge
        Its words are the accelerator's, and a power of two times as wide as the memory ports.
    burst_beats : int
        Of the accelerator's longest burst.
    crossed : bool
    """
    bits = bridge.word_bits
    memory = AXI4(bits, ID_BITS).create(path=("memory",))
    bus_of_pins(m, pins_of(core, "m_axi_"), memory)
    control, reset = bridge.control, ResetSignal()
    if crossed:
        m.submodules.crossing = crossing = AxiCrossing(
            word_bits=bits, id_bits=ID_BITS, address_bits=len(ports["memory_araddr"]), burst_beats=burst_beats
        )
        m.submodules.control_crossing = registers = LiteCrossing()
        wiring.connect(m, memory, crossing.core)
        wiring.connect(m, control, registers.manager)
        m.d.comb += [registers.open.eq(crossing.open), registers.hold.eq(crossing.hold)]
        memory, control, reset = crossing.memory, registers.subordinate, crossing.hold
    connect_lite_pins(m, control, pins_of(core, "s_axil_"))
    connect_lite_pins(m, bridge.csr, pins_of(ports, "csr_"))
    for name, bus, id_bits, enable in (("memory", memory, ID_BITS, ports["init_done"]), ("link", bridge.memory, 0, 1)):
        if bits != shell.data_bits:
            narrower = AxiNarrower(wide_bits=bits, narrow_bits=shell.data_bits, id_bits=id_bits)
            m.submodules[f"{name}_narrower"] = narrower
            wiring.connect(m, bus, narrower.wide)
            bus = narrower.narrow
        connect_axi_pins(m, pins_of(ports, f"{name}_"), bus, enable=enable)
    return reset


class Datagrams(wiring.Component):
    """Keeps received bytes until the bridge takes them, and answers whoever sent the last datagram.

    Up to `RECEIVE_BYTES` are kept, further ones are lost. LiteEth is never held up: before it sends an answer it may
    have to wait for the host's hardware address, which comes behind the datagrams.

    Members
    -------
    ``udp_rx_*``, ``udp_tx_*``: see :meth:`hw.shell.shell.Shell.ports`. ``o``, ``i``, ``length``: the bridge's ``rx``,
    ``tx`` and ``tx_length``.
    """

    def __init__(self, ports):
        self._ports = {name: port for name, port in ports.items() if name.startswith("udp_")}
        super().__init__({
            **{name: In(bits) if way == "o" else Out(bits) for name, (way, bits) in self._ports.items()},
            "o": Out(stream.Signature(BYTE)),
            "i": In(stream.Signature(BYTE)),
            "length": In(16),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.fifo = fifo = StreamFIFO(shape=BYTE, depth=RECEIVE_BYTES, block=True)
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        m.d.comb += [
            fifo.i.p.data.eq(self.udp_rx_data),
            fifo.i.p.last.eq(self.udp_rx_last),
            fifo.i.valid.eq(self.udp_rx_valid),
            self.udp_rx_ready.eq(1),
            self.udp_tx_data.eq(self.i.p.data),
            self.udp_tx_last.eq(self.i.p.last),
            self.udp_tx_valid.eq(self.i.valid),
            self.i.ready.eq(self.udp_tx_ready),
            self.udp_tx_length.eq(self.length),
        ]
        within = Signal()  # a datagram that leaves keeps the address with which it began
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += within.eq(~self.i.p.last)
        with m.If(self.udp_rx_valid & ~within & ~self.i.valid):
            m.d.sync += [self.udp_tx_ip_address.eq(self.udp_rx_ip_address), self.udp_tx_port.eq(self.udp_rx_port)]
        return m


class System(Elaboratable):
    """What is put on the board. Accelerator and shell are Verilog modules of their own, ``shiftwork`` and ``shell``.

    The shell makes the clock of ``sync`` from the board's, and that of ``core`` if the accelerator has one of its own;
    see :func:`connect_shell` for what is joined with it.
    Lights: 0 alive, 1 memory traffic, 2 an error answered by a bus or reported by the training (until reset), 3 memory
    trained.

    Parameters
    ----------
    board : Board
        One with a shell.
    config : Config
        The accelerator's; its words are a power of two times as wide as the memory ports.
    link : str
        One of `LINKS`. With both, answers go where the last byte came from, so one host at a time.

    Raises ValueError for an unknown link, other memory ports, or a baud rate that the clock cannot make.
    """

    def __init__(self, board, config, *, link="uart"):
        if link not in LINKS:
            raise ValueError(f"link must be one of {', '.join(LINKS)}, not {link!r}")
        if config.word_bits % board.shell.data_bits:
            raise ValueError(f"the memory ports have {board.shell.data_bits} bits and words {config.word_bits}")
        self._board = board
        self._config = config
        self._uart = link != "ethernet"
        self._divisor = uart_divisor(board.system_hz, board.baud) if self._uart else None
        self._ports = board.shell.ports(ethernet=link != "uart", crossed=board.crossed)
        self._ethernet = link != "uart"

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        pads = self._pads(platform)
        ports = {name: Signal(bits, name=name) for name, (_, bits) in self._ports.items() if name not in pads}
        m.submodules.shell = Instance(
            "shell",
            **{f"{way}_{name}": pads[name] if name in pads else ports[name] for name, (way, _) in self._ports.items()},
        )
        m.d.comb += [sync.clk.eq(ports["user_clk"]), sync.rst.eq(ports["user_rst"])]
        clock = sync.clk
        if self._board.crossed:
            m.domains.core = core = ClockDomain()
            m.d.comb += [core.clk.eq(ports["core_clk"]), core.rst.eq(ports["core_rst"])]
            clock = core.clk
        self._input(m, "clk", platform.request(platform.default_clk, dir="-"), ports["clk"])
        self._input(m, "rst", platform.request(self._board.reset, dir="-"), ports["rst"])
        for name, signal in self._board.high.items():
            self._output(m, name, getattr(platform.request(name, dir="-"), signal), Const(1, 1))

        reset = Signal(name="core_reset")
        pins = self._core(m, clock, reset)
        m.submodules.bridge = bridge = Bridge(
            fingerprint=self._config.fingerprint,
            word_bits=self._config.word_bits,
            memory_bytes=self._board.shell.memory_bytes,
        )
        m.d.comb += reset.eq(connect_shell(
            m, self._board.shell, ports, pins, bridge, burst_beats=self._config.burst_beats, crossed=self._board.crossed
        ))  # fmt: skip
        self._link(m, platform, bridge, ports)
        self._lights(m, platform, bridge.control, ports)
        return m

    def _pads(self, platform):
        """Pins that go to the shell as they are: it has the buffers and expects active-low pins to be so."""
        if self._board.shell.kind == "DDR3":
            ddr3 = platform.request("ddr3", dir="-")
            pads = {f"ddram_{ours}": getattr(ddr3, theirs).io for ours, theirs in _DDR3.items()}
            for ours, theirs in (("dqs", ddr3.dqs), ("clk", ddr3.clk)):
                pads |= {f"ddram_{ours}_p": theirs.p, f"ddram_{ours}_n": theirs.n}
        else:
            sdram = platform.request("sdram", dir="-")
            pads = {f"sdram_{ours}": getattr(sdram, theirs).io for ours, theirs in _SDRAM.items()}
        if self._ethernet:
            mii = platform.request("eth_mii", dir="-")
            pads["eth_ref_clk"] = platform.request("eth_clk25", dir="-").io
            for name in self._ports:
                if name.startswith("eth_") and name != "eth_ref_clk":
                    pads[name] = getattr(mii, _MII.get(name, name.removeprefix("eth_"))).io
        return pads

    def _input(self, m, name, port, signal):
        m.submodules[f"{name}_buffer"] = buffer = io.Buffer("i", port)
        m.d.comb += signal.eq(buffer.i)

    def _output(self, m, name, port, value):
        m.submodules[f"{name}_buffer"] = buffer = io.Buffer("o", port)
        m.d.comb += buffer.o.eq(value)

    def _core(self, m, clock, reset):
        """The accelerator's pins, by name; its interrupt is left open, as the host polls."""
        members = core_members(self._config)
        pins = {name: Signal(member.shape, name=name) for name, member in members.items()}
        directions = {name: "i" if member.flow is In else "o" for name, member in members.items()}
        m.submodules.accelerator = Instance(
            "shiftwork", i_clk=clock, i_rst=reset, **{f"{directions[name]}_{name}": pins[name] for name in pins}
        )
        return pins

    def _link(self, m, platform, bridge, ports):
        """Bytes between bridge and UART, or datagrams, or whichever of them spoke last."""
        sides = []
        if self._uart:
            pins = platform.request("uart", dir="-")
            m.submodules.uart = uart = UART(divisor=self._divisor)
            self._input(m, "uart_rx", pins.rx, uart.rx)
            self._output(m, "uart_tx", pins.tx, uart.tx)
            sides.append(uart)
        if self._ethernet:
            m.submodules.datagrams = datagrams = Datagrams(self._ports)
            for name, (way, _) in self._ports.items():
                if name.startswith("udp_"):
                    inner = getattr(datagrams, name)
                    m.d.comb += inner.eq(ports[name]) if way == "o" else ports[name].eq(inner)
            m.d.comb += datagrams.length.eq(bridge.tx_length)
            sides.append(datagrams)
        latest = Signal()  # which one spoke last; of two, the datagrams go first
        chosen = Mux(sides[-1].o.valid, len(sides) - 1, 0)
        m.d.comb += bridge.tx.ready.eq(Mux(latest, sides[-1].i.ready, sides[0].i.ready))
        for number, side in enumerate(sides):
            with m.If(chosen == number):
                m.d.comb += [
                    bridge.rx.p.eq(side.o.p),
                    bridge.rx.valid.eq(side.o.valid),
                    side.o.ready.eq(bridge.rx.ready),
                ]
                with m.If(bridge.rx.valid & bridge.rx.ready):
                    m.d.sync += latest.eq(number)
            m.d.comb += [side.i.p.eq(bridge.tx.p), side.i.valid.eq(bridge.tx.valid & (latest == number))]

    def _lights(self, m, platform, control, ports):
        count, quiet, error = Signal(_LIGHT_BITS), Signal(_BUSY_BITS, init=-1), Signal()
        moves = [ports[f"memory_{c}valid"] & ports[f"memory_{c}ready"] for c in ("ar", "r", "aw", "w")]
        m.d.sync += count.eq(count + 1)
        with m.If(Cat(moves).any()):
            m.d.sync += quiet.eq(0)
        with m.Elif(~quiet.all()):
            m.d.sync += quiet.eq(quiet + 1)
        answers = [bus[f"{c}valid"] & bus[f"{c}resp"][1]
                   for bus in (pins_of(ports, "memory_"), pins_of(control, "")) for c in ("r", "b")]  # fmt: skip
        with m.If(Cat(answers, ports["init_error"]).any()):
            m.d.sync += error.eq(1)
        for number, light in enumerate((count[-1], ~quiet.all(), error, ports["init_done"])):
            self._output(m, f"led{number}", platform.request("led", number, dir="-"), light)
