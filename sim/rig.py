"""Programs on the compiled gateware, through its registers and its memory."""

from functools import partial

import numpy as np

from hw.accelerator import Accelerator
from hw.spec.isa import Engine, Fault, Region
from hw.spec.regs import Control, State, address
from sim.verilated import Simulation
from sim.verilated.opener import source_key

__all__ = ["BASES", "PROGRAM", "Rig"]

PROGRAM = 0x10_0060  # not aligned to a burst
BASES = {region: 0x20_0000 + 0x10_0000 * region for region in Region}


class Rig:
    """A simulated accelerator of `config` with a few MiB of memory; `coverage` is the simulation's."""

    def __init__(self, config, *, coverage=False, **settings):
        self.config = config
        self.sim = Simulation(
            partial(Accelerator, config, trace=True), key=source_key(config, "rig"), memory_size=8 << 20,
            settings=settings, coverage=coverage,
        )  # fmt: skip

    def read(self, name):
        return self.sim.read32(address(name))

    def write(self, **values):
        for name, value in values.items():
            self.sim.write32(address(name), int(value))

    def load(self, program, regions, *, runs=1, length=None, **registers):
        """Writes program, regions and registers; regions not given have size zero."""
        self.sim.write(PROGRAM, program or bytes(32))
        self.sizes = {region: len(regions.get(region, b"")) * self.config.word_bytes for region in Region}
        for region, content in regions.items():
            self.sim.write(BASES[region], np.ascontiguousarray(content))
        self.write(program_base=PROGRAM, program_length=len(program) // 32 if length is None else length)
        self.write(runs=runs, input_step=0, output_step=0, interrupt_enable=1)
        for region in Region:
            name = region.name.lower()
            self.write(**{f"{name}_base": BASES[region], f"{name}_size": self.sizes[region]})
        self.write(**registers)

    def start(self, limit=400_000):
        """Runs to DONE or FAULT, returns the state."""
        self.sim.clear_trace()
        self.write(control=Control.START)
        assert self.sim.run(limit), f"no end after {limit} cycles: {self.counters()}"
        return State(self.read("status"))

    def fault(self):
        """(fault, engine, index)"""
        engine = self.read("fault_engine")
        return (
            Fault(self.read("fault_code")),
            Engine(engine).name if engine < len(Engine) else "sequencer",
            self.read("fault_index"),
        )

    def region(self, region, size=None):
        content = self.sim.read(BASES[region], self.sizes[region] if size is None else size)
        return content.reshape(-1, self.config.word_bytes)

    def counters(self):
        names = ["cycles", "beats", "instructions"]
        names += [f"{e.name.lower()}_{part}" for e in Engine for part in ("busy", "wait_in", "wait_out")]
        return {name: self.read(name) for name in names}
