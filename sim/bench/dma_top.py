"""The engines that move words, around a scratchpad and AXI4 pins: what the DMA bench drives."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature, connect, flipped

from hw.axi.pins import axi_pins, connect_axi_pins, pins_of
from hw.axi.read_arbiter import AxiReadArbiter
from hw.axi.signature import AXI4, AXIRead
from hw.dma import FetchEngine, LoadEngine, StoreEngine
from hw.dma.burst_generator import REGIONS
from hw.units.ports import ScratchRead, ScratchWrite, engine_members
from hw.units.scratchpad import Scratchpad

__all__ = ["DmaTop"]


class DmaTop(Component):
    """FETCH, LOAD, STORE, scratchpad, arbiter and pins.

    Members ``fetch``, ``load``, ``store`` are the engines' controls, ``peek`` and ``poke`` scratchpad ports of higher
    priority than the engines', ``program`` a further read manager, ``stream`` FETCH's output, ``m_axi_*`` the bus.
    """

    def __init__(self, *, word_bits, banks, bank_words, stream_words, burst_beats):
        self.word_bits = word_bits
        words = {"word_bits": word_bits, "burst_beats": burst_beats}
        scratch = {**words, "scratch_words": banks * bank_words}
        self.engines = {
            "fetch": FetchEngine(**words, stream_words=stream_words),
            "load": LoadEngine(**scratch),
            "store": StoreEngine(**scratch),
        }
        self.scratchpad = Scratchpad(word_bits=word_bits, banks=banks, bank_words=bank_words, readers=2, writers=2)
        self.arbiter = AxiReadArbiter(word_bits=word_bits)
        super().__init__({
            **{name: Out(Signature(engine_members())) for name in self.engines},
            **axi_pins(word_bits),
            "regions": In(REGIONS),
            "peek": In(ScratchRead(word_bits)),
            "poke": In(ScratchWrite(word_bits)),
            "program": In(AXIRead(word_bits)),
            "stream": Out(stream.Signature(word_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.scratchpad = scratchpad = self.scratchpad
        m.submodules.arbiter = arbiter = self.arbiter
        for name, engine in self.engines.items():
            m.submodules[name] = engine
            m.d.comb += engine.regions.eq(self.regions)
            outer = getattr(self, name)
            for member, kind in engine_members().items():
                inner = getattr(engine, member)
                if member == "issue":
                    connect(m, inner, flipped(outer.issue))
                elif kind.flow == Out:
                    m.d.comb += getattr(outer, member).eq(inner)
                else:
                    m.d.comb += inner.eq(getattr(outer, member))
        fetch, load, store = self.engines.values()
        connect(m, scratchpad.read0, flipped(self.peek))
        connect(m, scratchpad.write0, flipped(self.poke))
        connect(m, scratchpad.read1, store.scratch)
        connect(m, scratchpad.write1, load.scratch)
        connect(m, arbiter.master0, flipped(self.program))
        connect(m, arbiter.master1, fetch.bus)
        connect(m, arbiter.master2, load.bus)
        connect(m, fetch.stream, flipped(self.stream))
        bus = AXI4(self.word_bits, arbiter.bus_id_bits).create()
        connect(m, arbiter.bus, flipped(bus.read))
        connect(m, store.bus, flipped(bus.write))
        connect_axi_pins(m, pins_of(self, "m_axi_"), bus)
        return m
