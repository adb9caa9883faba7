"""The IP core's top: standard pin names around the core."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.axi.pins import axi_pins, connect_axi_pins, connect_lite_pins, lite_pins, pins_of
from hw.core import TRACE, Core

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """AXI4-Lite subordinate ``s_axil_*`` for registers, AXI4 manager ``m_axi_*`` for memory, ``interrupt``.

    Parameters
    ----------
    config : Config
        What is built.
    primitives, trace : bool
        See `Core`; with `trace` there are outputs ``trace_started``, ``trace_retired``, ``trace_busy``,
        ``trace_wait_in`` and ``trace_wait_out``, one bit per engine.
    """

    def __init__(self, config, *, primitives=False, trace=False):
        self.config = config
        self._core = Core(config, primitives=primitives, trace=trace)
        super().__init__({
            **lite_pins(),
            **axi_pins(config.word_bits),
            "interrupt": Out(1),
            **({f"trace_{name}": Out(shape) for name, shape in TRACE.members.items()} if trace else {}),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.core = core = self._core
        connect_lite_pins(m, pins_of(self, "s_axil_"), core.control)
        connect_axi_pins(m, pins_of(self, "m_axi_"), core.memory)
        m.d.comb += self.interrupt.eq(core.interrupt)
        if core.traced:
            m.d.comb += [getattr(self, f"trace_{name}").eq(core.trace[name]) for name in TRACE.members]
        return m
