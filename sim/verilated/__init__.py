"""The gateware compiled to native code, behind the Transport that boards use.

``sim:BOARD?key=value,...`` opens one. Keys are Config fields (another accelerator), settings of the memory model, and:
``clock`` (the accelerator's, in MHz; the memory keeps its own),
``memory`` (MiB, 256), ``waves`` (a VCD file), ``trace`` (0: no trace pins, a little faster), ``states`` (1: record
what engines do in every cycle), ``chunk`` (cycles between progress reports), ``cache`` (folder of compiled libraries).
"""

from sim.verilated.build import BuildError
from sim.verilated.opener import open_transport
from sim.verilated.pins import PinError
from sim.verilated.simulation import Event, Simulation, Statistics

__all__ = ["BuildError", "Event", "PinError", "Simulation", "Statistics", "open_transport"]
