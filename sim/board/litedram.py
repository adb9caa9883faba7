"""A board's gateware around LiteDRAM's real controller, with LiteDRAM's model of the memory behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.boards.board import Board
from hw.boards.registry import BOARDS
from hw.link.bridge import Bridge
from hw.shell.generator import ShellError, generate
from hw.soc import connect_shell, core_members
from hw.spec.config import Config, ConfigError
from sim.board.board import DIVISOR, GAP_CYCLES
from sim.board.channel import UDP_PACE
from sim.board.system import connect_line, line_members
from sim.verilated import Simulation
from sim.verilated.opener import source_key

__all__ = ["SHELL_BOARD", "ShellSystem", "open_with_shell"]

SHELL_BOARD = BOARDS["arty_a7"]  # whose controller and memory are simulated


class ShellSystem(wiring.Component):
    """What `hw.soc.System` puts on a board, without its pads and lights: accelerator, bridge, line, shell.

    Parameters
    ----------
    accelerator : Component
        Pins as of `hw.accelerator.Accelerator`.
    config : Config
        Whose fingerprint the bridge answers, and whose words are those of the accelerator's memory pins.
    shell : Shell
        A simulated one; its Verilog module ``shell`` comes from :func:`hw.shell.generator.generate`.
    link, divisor
        See `sim.board.system.BoardSystem`.
    crossed : bool
        The accelerator has a clock of its own, the pin ``core_clk``.
    """

    def __init__(self, accelerator, config, shell, *, link, divisor, crossed=False):
        self._accelerator, self._config, self._shell = accelerator, config, shell
        self._link, self._divisor, self._crossed = link, divisor, crossed
        clock = {"core_clk": In(1)} if crossed else {}
        super().__init__({"interrupt": Out(1), **clock, **line_members(link)})

    def elaborate(self, _platform):
        m = Module()
        shell, config = self._shell, self._config
        ports = {name: Signal(bits, name=name) for name, (_, bits) in shell.ports().items()}
        m.submodules.shell = Instance(
            "shell", **{f"{way}_{name}": ports[name] for name, (way, _) in shell.ports().items()}
        )
        m.d.comb += [ports["clk"].eq(ClockSignal()), ports["rst"].eq(ResetSignal())]
        accelerator, domain = self._accelerator, "sync"
        if self._crossed:
            domain = "accelerator"
            m.domains.core, m.domains.accelerator = core, inside = ClockDomain("core"), ClockDomain(domain)
            m.d.comb += [core.clk.eq(self.core_clk), inside.clk.eq(self.core_clk)]
        m.submodules.accelerator = DomainRenamer(domain)(accelerator)
        m.submodules.bridge = bridge = Bridge(
            fingerprint=config.fingerprint, word_bits=config.word_bits, memory_bytes=shell.memory_bytes,
            gap_cycles=GAP_CYCLES, simulated=True,
        )  # fmt: skip
        pins = {name: getattr(accelerator, name) for name in core_members(config)}
        reset = connect_shell(
            m, shell, ports, pins, bridge, burst_beats=config.burst_beats, crossed=self._crossed
        )  # fmt: skip
        if self._crossed:
            m.d.comb += inside.rst.eq(reset)
        connect_line(m, self, bridge, link=self._link, divisor=self._divisor)
        m.d.comb += self.interrupt.eq(accelerator.interrupt)
        return m


def open_with_shell(
    config: Config,
    link: str,
    directory: Path,
    *,
    memory_size: int,
    divisor: int = DIVISOR,
    make: Callable[[], wiring.Component] | None = None,
    ratio: Fraction = Fraction(1),
    board: Board = SHELL_BOARD,
) -> Simulation:
    """The compiled gateware of `ShellSystem` with the accelerator of `config`, or another that `make` makes.

    Controller and memory are those of `board`, whose shell has DDR3. `ratio` is the accelerator's clock over the
    shell's, in whose cycles the simulation counts; if it is not 1, the accelerator is behind a crossing.

    Writes ``shell.v``, ``csr.json`` and ``dram.json`` into `directory`: like a board's memory, this one works only
    after ``python -m firmware dram DIRECTORY``. Raises BuildError, ConfigError for words that do not fit the memory
    port, and ShellError if LiteX is missing or `memory_size` is more than the board has.
    """
    assert board.shell is not None
    shell = board.shell.simulation(memory_size)
    if config.word_bits % shell.data_bits:
        raise ConfigError(
            f"rows must be a multiple of {shell.data_bits // 8}, the bytes of LiteDRAM's port, not {config.rows}"
        )
    if memory_size > board.shell.memory_bytes:
        raise ShellError(f"{board.title} has {board.shell.memory_bytes} bytes of memory, not {memory_size}")
    directory.mkdir(parents=True, exist_ok=True)
    generate(replace(board, shell=shell), directory)

    def accelerator() -> wiring.Component:
        from hw.accelerator import Accelerator  # elaborating takes seconds: only when there is something to compile

        return Accelerator(config, primitives=False)

    def system() -> wiring.Component:
        return ShellSystem((make or accelerator)(), config, shell, link=link, divisor=divisor, crossed=ratio != 1)

    sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
    key = source_key(config, link, divisor, memory_size, board.name, make and make.__qualname__, ratio != 1, sources)
    simulation = Simulation(system, key=key, verilog=(directory / "shell.v").read_text())
    simulation.pace(divisor if link == "uart" else UDP_PACE)
    if ratio != 1:
        simulation.core_clock(ratio)
    return simulation
