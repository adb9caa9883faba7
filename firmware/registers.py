"""A device's registers by name, and what it says of a run: believed only as far as a device can mean it."""

from __future__ import annotations

from firmware.transport import DeviceError, DeviceTimeoutError, Transport
from hw.spec.isa import Engine, Fault
from hw.spec.regs import REGS, State, address

__all__ = ["ENGINE_COUNTERS", "Registers", "RunWatch"]

ENGINE_COUNTERS = ("busy", "wait_in", "wait_out")
_BITS = {reg.name: reg.bits for reg in REGS}
_PROGRESS = ("instructions", "beats", *(f"{engine.name.lower()}_busy" for engine in Engine))
_TRIES = 4  # of a 64-bit register: its upper half changes once in 2^32 cycles
_STANDSTILLS = 3  # waits in which not even cycles pass
_SLOWEST = 100  # cycles a wait lets pass at least, on average after `_WAITS`: a simulated board makes 20,000
_WAITS = 600


class Registers:
    """The registers of the device behind `transport`. Raises DeviceError, in one sentence, for what none can hold."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read(self, name: str) -> int:
        value = self._transport.read32(address(name))
        if not 0 <= value < 1 << _BITS[name]:
            raise DeviceError(f"the device says {name} {value}, which has {_BITS[name]} bits: it does not work right")
        return value

    def read64(self, name: str) -> int:
        """The register NAME with its upper half NAME_high."""
        high = self.read(f"{name}_high")
        for _ in range(_TRIES):
            low, before, high = self.read(name), high, self.read(f"{name}_high")
            if high == before:
                return high << 32 | low
        raise DeviceError(f"{name}_high of the device changes whenever it is read: it does not work right")

    def write(self, name: str, value: int) -> None:
        self._transport.write32(address(name), int(value))

    @property
    def state(self) -> State:
        return State(self.read("status"))

    @property
    def fault(self) -> tuple[Fault, str, int]:
        """Why the machine stopped, who raised it, and the index of the instruction."""
        code, number, index = (self.read(name) for name in ("fault_code", "fault_engine", "fault_index"))
        if code not in set(Fault):
            raise DeviceError(f"the device stopped with fault code {code}, which none has: it does not work right")
        return Fault(code), Engine(number).name if number < len(Engine) else "the sequencer", index

    def engine(self, engine: Engine, cycles: int) -> tuple[int, ...]:
        """The cycles `engine` was busy, waiting for input, and for room, of the `cycles` of a run that is over."""
        found = tuple(self.read(f"{engine.name.lower()}_{part}") for part in ENGINE_COUNTERS)
        if max(found) > cycles:
            raise DeviceError(f"the device counts {max(found)} cycles of {engine.name} in a run of {cycles}")
        return found


class RunWatch:
    """One START that retires at most `instructions` in about `cycles`: `look` is called after each wait.

    A retired instruction, an array beat or a busy engine is progress, time passing is not. Every run ends: after
    `patience` cycles without progress, after waits in which hardly a cycle passes, or after `limit` cycles, whatever
    the device says. Raises DeviceTimeoutError for these, DeviceError for counters that no device has.
    """

    def __init__(self, registers: Registers, instructions: int, limit: int, patience: int) -> None:
        self._registers, self._limit, self._patience = registers, limit, patience
        self._most = instructions if instructions < 1 << 32 else None  # else the counter wraps
        self._seen: tuple[int, ...] = ()
        self._since = self._cycles = self._retired = self._still = self._waits = 0

    def look(self, state: State) -> int:
        """The cycles so far."""
        if state is State.IDLE:
            raise DeviceError("the device is IDLE in the middle of a run: was it reset, or does another host use it?")
        cycles, moved = self._registers.read64("cycles"), tuple(map(self._registers.read, _PROGRESS))
        self._believe("cycles", self._cycles, cycles)
        if self._most is not None:
            self._believe("instructions", self._retired, moved[0])
            if moved[0] > self._most:
                raise DeviceError(f"the device has retired {moved[0]} instructions of a program of {self._most}")
        self._waits += 1
        self._still = self._still + 1 if cycles == self._cycles else 0
        self._cycles, self._retired = cycles, moved[0]
        if moved != self._seen:
            self._seen, self._since = moved, cycles
        if self._still >= _STANDSTILLS or cycles - self._since >= self._patience:
            raise self._over(f"no progress for {cycles - self._since} cycles", state)
        if cycles > self._limit:
            raise self._over(f"the run should have ended long before cycle {self._limit}", state)
        if self._waits > _WAITS + cycles // _SLOWEST:
            raise self._over(f"only {cycles} cycles in {self._waits} waits", state)
        return cycles

    def _believe(self, name: str, before: int, now: int) -> None:
        if now < before:
            raise DeviceError(
                f"{name} of the device went back from {before} to {now} in the middle of a run: was it reset, or does "
                "another host use it?"
            )

    def _over(self, text: str, state: State) -> DeviceTimeoutError:
        return DeviceTimeoutError(
            f"{text} (status {state.name}, cycle {self._cycles}, {self._retired} instructions retired)"
        )
