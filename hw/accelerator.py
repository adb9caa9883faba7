"""The IP core's top: standard pin names around the core."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.axi.pins import axi_pins, connect_axi_pins
from hw.core import TRACE, Core
from hw.csr import AXILite

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
        control = AXILite().flip()
        super().__init__({
            **{f"s_axil_{name}": member for name, member in control.members.items()},
            **axi_pins(config.word_bits),
            "interrupt": Out(1),
            **({f"trace_{name}": Out(shape) for name, shape in TRACE.members.items()} if trace else {}),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.core = core = self._core
        for name, member in AXILite().members.items():
            pin, inner = getattr(self, f"s_axil_{name}"), getattr(core.control, name)
            m.d.comb += inner.eq(pin) if member.flow is Out else pin.eq(inner)
        connect_axi_pins(m, self, read=core.read, write=core.write)
        m.d.comb += self.interrupt.eq(core.interrupt)
        if core.traced:
            m.d.comb += [getattr(self, f"trace_{name}").eq(core.trace[name]) for name in TRACE.members]
        return m
