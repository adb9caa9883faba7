"""The accelerator as yosys maps it to a family of parts, cell by cell: what is built, behind the same Transport.

The cells' behaviour is yosys' own description of them (carries, registers, distributed RAM, shift registers, DSP48E1),
and ours, from the vendors' guides, of those that it has only ports of: block RAM and MULT18X18D.
"""

from sim.netlist.cells import cells
from sim.netlist.mapped import mapped, open_netlist
from sim.netlist.rig import NetlistRig

__all__ = ["NetlistRig", "cells", "mapped", "open_netlist"]
