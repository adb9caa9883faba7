"""Netlists of a family's cells, kept once they are made: up to minutes of synthesis."""

from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from firmware.caches import cache_directory, digest, kept
from hw.accelerator import Accelerator
from hw.boards.fabric import Fabric
from hw.build import yosys
from hw.spec.config import Config
from sim.libraries import BuildError
from sim.netlist.cells import cells
from sim.verilated import Simulation
from sim.verilated.opener import source_key

__all__ = ["mapped", "open_netlist"]

# Instances of vendors' cells bring their description, which yosys would read again and put in their place
_SCRIPT = """\
read_rtlil source.il
hierarchy -top {name}
setattr -unset reprocess_after */t:*
{commands}
flatten
delete t:$scopeinfo
opt_clean -purge
setattr -unset src {name}/*
select {name}
"""
_WRITE = {"il": "write_rtlil -selected", "v": "write_verilog -noattr -selected"}


def mapped(component: wiring.Component, fabric: Fabric, *, name: str = "top", form: str = "il") -> str:
    """RTLIL, or with `form` "v" Verilog, of `component` in cells of `fabric`: one module, called `name`.

    Mapped by the commands of a board's synthesis report. Raises BuildError.
    """
    source = rtlil.convert(component, name=name, emit_src=False)
    script = _SCRIPT.format(name=name, commands=fabric.commands.format(top=name)) + f"{_WRITE[form]} netlist.{form}\n"
    path = cache_directory("netlist") / f"{digest(source, script, yosys.tool())}.{form}"

    def make(directory: Path) -> Path:
        (directory / "source.il").write_text(source)
        try:
            yosys.run("synthesis", script, directory)
        except yosys.YosysError as error:
            raise BuildError(str(error)) from None
        return directory / f"netlist.{form}"

    kept(path, make)
    return path.read_text()


def open_netlist(config: Config, fabric: Fabric, memory_size: int = 8 << 20) -> Simulation:
    """The accelerator's netlist, with its trace pins, as a Transport. Raises BuildError."""
    return Simulation(
        lambda: mapped(Accelerator(config, primitives=True, trace=True), fabric),
        key=source_key(config, fabric.name, fabric.commands, _SCRIPT, yosys.tool()),
        verilog=cells(fabric),
        memory_size=memory_size,
    )
