"""Where a loaded program lies in device memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from firmware.compiler import Program
from firmware.transport import DeviceError
from hw.spec.isa import Region
from hw.spec.memory import align

__all__ = ["MAX_RUNS", "PAGE", "Layout", "place"]

PAGE = 4096  # regions start at pages: no burst crosses one, so none touches two regions
MAX_RUNS = 0xFFFF  # of one START: the width of register `runs`


@dataclass(frozen=True)
class Layout:
    """Byte addresses of the program and of its regions; `runs` is how many runs one START can have."""

    program: int
    bases: Mapping[Region, int]
    runs: int

    def registers(self, program: Program, runs: int) -> dict[str, int]:
        """What the registers must hold before a START of `runs` runs."""
        sizes = {
            Region.MODEL: program.model_image.nbytes,
            Region.WORK: program.work_bytes,
            Region.INPUT: program.input_bytes,
            Region.OUTPUT: program.output_bytes,
        }
        values = {
            "program_base": self.program,
            "program_length": program.instructions,
            "runs": runs,
            "input_step": program.input_bytes,
            "output_step": program.output_bytes,
            "interrupt_enable": 1,
        }
        for region, size in sizes.items():
            values[f"{region.name.lower()}_base"] = self.bases[region]
            values[f"{region.name.lower()}_size"] = size
        return values


def place(program: Program, memory_size: int) -> Layout:
    """Program, MODEL, WORK, then as many INPUTs and OUTPUTs as fit. Raises DeviceError if not even one does."""
    model = align(max(len(program.code), program.code_room), PAGE)
    work = model + align(program.model_image.nbytes, PAGE)
    inputs = work + align(program.work_bytes, PAGE)
    per_run = program.input_bytes + program.output_bytes
    room = memory_size - inputs - PAGE  # OUTPUT starts at a page too
    if room < per_run:
        raise DeviceError(
            f"the program needs {inputs + PAGE + per_run} bytes of memory, but the device has {memory_size}"
        )
    runs = min(MAX_RUNS, room // per_run)
    outputs = inputs + align(runs * program.input_bytes, PAGE)
    bases = {Region.MODEL: model, Region.WORK: work, Region.INPUT: inputs, Region.OUTPUT: outputs}
    return Layout(0, bases, runs)
