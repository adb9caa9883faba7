"""Verilog whose registers and memories begin with nothing in particular, as an ASIC's do."""

import tempfile
from pathlib import Path

from amaranth.back import rtlil

from hw.build import yosys

__all__ = ["uninitialised"]

# Otherwise as Amaranth writes Verilog
_SCRIPT = """\
read_rtlil top.il
proc -nomux -norom
setattr -unset init */w:*
delete */t:$meminit*
memory_collect
write_verilog -noattr -norename top.v
"""


def uninitialised(component, name):
    """Verilog of `component` as module `name`, without any initial value. Raises YosysError."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "top.il").write_text(rtlil.convert(component, name=name, emit_src=False))
        yosys.run("strip", _SCRIPT, Path(folder))
        return (Path(folder) / "top.v").read_text()
