"""A simulated board as the driver's Channel, in simulated time: as fast as it can be simulated, and repeatable."""

from __future__ import annotations

import math

from sim.verilated import Simulation

__all__ = ["CLOCK_HZ", "UDP_PACE", "SimulatedChannel"]

CLOCK_HZ = 100e6
UDP_PACE = 8  # cycles a byte of a datagram takes at 100 Mb/s


class SimulatedChannel:
    """The far end of `simulation`'s link. Time passes only in `receive` and `sleep`.

    `byte_cycles` is what a byte takes on the line at best.
    """

    def __init__(self, simulation: Simulation, *, byte_cycles: int) -> None:
        self.name = "the simulated line"
        self.pace = byte_cycles / CLOCK_HZ
        self.simulation, self._byte_cycles = simulation, byte_cycles

    def send(self, data: bytes) -> None:
        self.simulation.send(data)

    def receive(self, timeout: float) -> bytes:
        self.sleep(timeout)
        return self.simulation.receive()

    def sleep(self, seconds: float) -> None:
        """At least one cycle passes, so who waits in vain does not wait for ever."""
        self.simulation.serve(max(1, math.ceil(seconds * CLOCK_HZ)))

    def now(self) -> float:
        return self.simulation.cycle / CLOCK_HZ

    def close(self) -> None:
        self.simulation.close()
