"""The system around the accelerator on a board with DDR3: pins, shell, accelerator, lights."""

from amaranth.hdl import Cat, ClockDomain, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import In

from hw.boards import shell
from hw.csr import AXIL_ADDRESS_BITS, AXILite
from hw.units.axi_pins import axi_pins

__all__ = ["System"]

_LIGHT_BITS = 26  # the first light goes on and off every 0.67 s at 100 MHz
_BUSY_BITS = 22  # the second one stays on for 42 ms after a memory access


class System(Elaboratable):
    """What is put on the board. Accelerator and shell are Verilog modules of their own, ``shiftwork`` and ``shell``.

    The shell makes the clock of ``sync`` from the board's. Memory requests wait until the host has told the memory
    controller that its training is done. Lights: 0 alive, 1 memory traffic, 2 an error answered by a bus or reported
    by the training (until reset), 3 memory trained.

    Parameters
    ----------
    word_bits : int
        Of the accelerator's memory port; has to be the shell's.
    """

    def __init__(self, *, word_bits):
        if word_bits != shell.DATA_BITS:
            raise ValueError(f"the memory port has {shell.DATA_BITS} bits, not {word_bits}")
        self._control = AXILite().flip().members
        self._memory = axi_pins(word_bits)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        ports = {name: Signal(bits, name=name) for name, (way, bits) in shell.PORTS.items() if way != "io"}
        ddr3 = platform.request("ddr3", dir="-")
        pads = _ddr3_pads(ddr3)
        m.submodules.shell = Instance(
            "shell",
            **{f"{way}_{name}": pads[name] if name in pads else ports[name] for name, (way, _) in shell.PORTS.items()},
        )
        m.d.comb += [sync.clk.eq(ports["user_clk"]), sync.rst.eq(ports["user_rst"])]
        self._buffers(m, platform, ports)
        core = self._core(m, sync)
        self._connect_control(m, core, ports)
        self._connect_memory(m, core, ports)
        self._lights(m, platform, core, ports)
        return m

    def _buffers(self, m, platform, ports):
        uart = platform.request("uart", dir="-")
        for name, direction, port in (
            ("clk", "i", platform.request(platform.default_clk, dir="-")),
            ("rst", "i", platform.request(platform.default_rst, dir="-")),
            ("serial_rx", "i", uart.rx),
            ("serial_tx", "o", uart.tx),
        ):
            m.submodules[f"{name}_buffer"] = buffer = io.Buffer(direction, port)
            m.d.comb += ports[name].eq(buffer.i) if direction == "i" else buffer.o.eq(ports[name])

    def _core(self, m, sync):
        """The accelerator's pins, by name; its interrupt is left open, as the host polls."""
        members = {**{f"s_axil_{name}": member for name, member in self._control.items()}, **self._memory}
        pins = {name: Signal(member.shape, name=name) for name, member in members.items()}
        directions = {name: "i" if member.flow is In else "o" for name, member in members.items()}
        m.submodules.accelerator = Instance(
            "shiftwork", i_clk=sync.clk, i_rst=sync.rst, **{f"{directions[name]}_{name}": pins[name] for name in pins}
        )
        return pins

    def _connect_control(self, m, core, ports):
        for name, member in self._control.items():
            pin, port = core[f"s_axil_{name}"], ports[f"control_{name}"]
            if member.flow is In:
                m.d.comb += pin.eq(port[:AXIL_ADDRESS_BITS] if name.endswith("addr") else port)
            else:
                m.d.comb += port.eq(pin)

    def _connect_memory(self, m, core, ports):
        """What the accelerator does not have (QoS, region, user) stays zero."""
        requests = {f"m_axi_{channel}{signal}" for channel in ("ar", "aw") for signal in ("valid", "ready")}
        for name, member in self._memory.items():
            pin, port = core[name], ports["memory_" + name.removeprefix("m_axi_")]
            to, source = (pin, port) if member.flow is In else (port, pin)
            m.d.comb += to.eq(source & ports["init_done"] if name in requests else source)

    def _lights(self, m, platform, core, ports):
        count, quiet, error = Signal(_LIGHT_BITS), Signal(_BUSY_BITS, init=-1), Signal()
        moves = [core[f"m_axi_{c}valid"] & core[f"m_axi_{c}ready"] for c in ("ar", "r", "aw", "w")]
        m.d.sync += count.eq(count + 1)
        with m.If(Cat(moves).any()):
            m.d.sync += quiet.eq(0)
        with m.Elif(~quiet.all()):
            m.d.sync += quiet.eq(quiet + 1)
        answers = [core[f"{p}{c}valid"] & core[f"{p}{c}resp"][1] for p in ("s_axil_", "m_axi_") for c in ("r", "b")]
        with m.If(Cat(answers, ports["init_error"]).any()):
            m.d.sync += error.eq(1)
        for number, light in enumerate((count[-1], ~quiet.all(), error, ports["init_done"])):
            m.submodules[f"led{number}"] = led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.d.comb += led.o.eq(light)


def _ddr3_pads(ddr3):
    """The memory's pins go to the shell as they are: it has the buffers and expects active-low pins to be so."""
    single = {"a": "a", "ba": "ba", "ras_n": "ras", "cas_n": "cas", "we_n": "we", "cs_n": "cs", "cke": "clk_en",
              "odt": "odt", "reset_n": "rst", "dm": "dm", "dq": "dq"}  # fmt: skip
    pads = {f"ddram_{ours}": getattr(ddr3, theirs).io for ours, theirs in single.items()}
    for ours, theirs in (("dqs", ddr3.dqs), ("clk", ddr3.clk)):
        pads |= {f"ddram_{ours}_p": theirs.p, f"ddram_{ours}_n": theirs.n}
    return pads
