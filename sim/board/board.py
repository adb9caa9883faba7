"""A simulated board that other programs reach as they would reach a real one: through a terminal, or by UDP."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tty
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path

from hw.boards.board import Board, config_and_memory
from hw.spec.config import Config
from sim.board.channel import UDP_PACE
from sim.verilated import Simulation
from sim.verilated.opener import source_key

__all__ = ["DIVISOR", "GAP_CYCLES", "Pty", "Udp", "open_board"]

DIVISOR = 4  # cycles per bit: the fastest line the UART can do, as simulated cycles are what a run takes
GAP_CYCLES = 1 << 15  # of the bridge: longer than any pause of this line
_SLICE = 20_000  # cycles between looks at the host's side
_LINGER = 10 * GAP_CYCLES  # cycles simulated after the last byte; then the clock stands still until the next


def open_board(
    target: Board | Config, link: str, *, memory_size: int = 256 << 20, divisor: int = DIVISOR
) -> Simulation:
    """The compiled gateware of `sim.board.system.BoardSystem`, whose memory is the board's. Raises BuildError.

    Everything in it has the accelerator's clock; the memory serves at the ratio.
    """
    config, memory = config_and_memory(target)

    def make():
        from sim.board.system import BoardSystem  # elaborating takes seconds: only when there is something to compile

        return BoardSystem(config, link=link, divisor=divisor, memory_bytes=memory_size, gap_cycles=GAP_CYCLES)

    sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
    key = source_key(config, link, divisor, memory_size, GAP_CYCLES, sources)
    simulation = Simulation(make, key=key, memory_size=memory_size, settings=asdict(memory))
    simulation.pace(divisor if link == "uart" else UDP_PACE)
    return simulation


class _Server(ABC):
    """Simulates while the line is alive, and for a while after; then waits for the host without using the processor.

    `device` is what `python -m firmware --device` takes.
    """

    device: str

    def __init__(self, simulation: Simulation, descriptor: int) -> None:
        self.simulation, self._descriptor = simulation, descriptor
        self._awake_until = 0

    def step(self, patience: float) -> None:
        """Looks at the host, then simulates a slice; waits up to `patience` seconds if there is nothing to do."""
        asleep = self.simulation.cycle >= self._awake_until
        readable, _, _ = select.select([self._descriptor], [], [], patience if asleep else 0)
        if readable:
            self.take()
            self._awake_until = self.simulation.cycle + _LINGER
        elif asleep:
            return
        self.simulation.serve(_SLICE)
        while data := self.simulation.receive():
            self._awake_until = self.simulation.cycle + _LINGER
            self.give(data)
        if not self.simulation.link_idle:
            self._awake_until = max(self._awake_until, self.simulation.cycle + _SLICE)

    def serve(self) -> None:
        """Until interrupted."""
        while True:
            self.step(1.0)

    @abstractmethod
    def take(self) -> None: ...

    @abstractmethod
    def give(self, data: bytes) -> None: ...


class Pty(_Server):
    """A pseudo-terminal, raw, whose bytes go over the simulated UART."""

    def __init__(self, simulation: Simulation) -> None:
        self._master, self._slave = os.openpty()  # the slave stays open, so that programs may come and go
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = f"serial:{os.ttyname(self._slave)}"
        self._pending = b""
        super().__init__(simulation, self._master)

    def take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.simulation.send(os.read(self._master, 4096))

    def give(self, data: bytes) -> None:
        """What the terminal does not take at once comes with the next bytes, as from a USB chip's buffer."""
        self._pending += data
        with contextlib.suppress(BlockingIOError):
            self._pending = self._pending[os.write(self._master, self._pending) :]

    def close(self) -> None:
        for descriptor in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.simulation.close()


class Udp(_Server):
    """A UDP port of this machine whose datagrams go to the bridge as a board's network interface would give them."""

    def __init__(self, simulation: Simulation, host: str = "127.0.0.1", port: int = 0) -> None:
        self.simulation, self._socket = simulation, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except BaseException:
            self.close()
            raise
        self.device = "udp:{}:{}".format(*self._socket.getsockname())
        self._peer: tuple[str, int] | None = None
        super().__init__(simulation, self._socket.fileno())

    def take(self) -> None:
        data, self._peer = self._socket.recvfrom(2048)
        self.simulation.send(data)

    def give(self, data: bytes) -> None:
        if self._peer is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(data, self._peer)

    def close(self) -> None:
        self._socket.close()
        self.simulation.close()
