"""The machine: registers, sequencer, scratchpad and the five engines, from a Config."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.axi.pins import ID_BITS
from hw.axi.read_arbiter import AxiReadArbiter
from hw.axi.signature import AXI4, AXILite
from hw.csr import COUNTERS, Csr
from hw.dma import FetchEngine, LoadEngine, StoreEngine
from hw.dma.burst_generator import REGIONS
from hw.matmul.engine import MatmulEngine
from hw.sequencer.sequencer import Sequencer
from hw.spec.isa import Engine, Region
from hw.spec.regs import Control, State
from hw.spec.vector import opcodes
from hw.units.broadcast import Broadcast
from hw.units.counter_bank import CounterBank
from hw.units.lockstep import Lockstep
from hw.units.ports import engine_members
from hw.units.scratch_select import ReadSelect, WriteSelect
from hw.units.scratchpad import Scratchpad
from hw.vector.engine import VectorEngine

__all__ = ["TRACE", "Core", "core_units"]

TRACE = data.StructLayout({
    name: len(Engine) for name in ("started", "retired", "busy", "wait_in", "wait_out")
})  # a bit per engine

_COUNTED = tuple(reg.name for reg in COUNTERS if not reg.name.endswith("_high"))
_LONG = len(COUNTERS) - len(_COUNTED)  # the first ones have an upper half


def core_units(config, *, primitives=False):
    """What almost all of the core is made of: unit -> class, parameters, and how many of it there are."""
    moved = {"word_bits": config.word_bits, "burst_beats": config.burst_beats}
    scratch = {"scratch_words": config.scratch_words, "slices": config.slices}
    shared = {
        "rows": config.rows,
        "tokens": config.tokens,
        "row_max_banks": config.row_max_banks,
        "scratch_words": config.scratch_words,
        "scratch_latency": Scratchpad.latency,
    }
    array = {"cols": config.cols, "drain_lanes": config.drain_lanes, "mapping": config.array}
    lanes = {
        "lanes": config.lanes,
        "max_row": config.max_row,
        "vector": config.vector,
        "products": config.small_products,
    }
    issued = {"queue_depth": config.queue_depth, "burst": config.program_burst, "ops": opcodes(config.vector)}
    banks = {"banks": config.banks, "bank_words": config.bank_words}
    increments = [len(Engine).bit_length() if name == "instructions" else 1 for name in _COUNTED]
    units = {
        "csr": (Csr, {"fingerprint": config.fingerprint}, 1),
        "counters": (CounterBank, {"increments": increments, "long": _LONG}, 1),
        "arbiter": (AxiReadArbiter, {"word_bits": config.word_bits, "masters": 3}, 1),
        "sequencer": (Sequencer, {"word_bits": config.word_bits, **issued}, 1),
        "fetch": (FetchEngine, {"stream_words": config.stream_words, **moved}, 1),
        "load": (LoadEngine, {**scratch, **moved}, 1),
        "store": (StoreEngine, {**scratch, **moved}, 1),
        "matmul": (MatmulEngine, {"primitives": primitives, **array, **shared}, config.slices),
        "vector": (VectorEngine, {"stat_banks": config.stat_banks, **lanes, **shared}, config.slices),
        "scratchpad": (Scratchpad, {"word_bits": config.word_bits, **banks}, config.slices),
    }
    if config.slices > 1:
        bits = {"word_bits": config.word_bits, "slices": config.slices}
        depth = config.ahead_words - 1  # and a word in the FIFO's register
        weights = {"shape": config.word_bits, "count": config.slices, "depth": depth}
        units |= {
            "weights": (Broadcast, weights, 1),
            "reads": (ReadSelect, bits, 1),
            "writes": (WriteSelect, bits, 1),
            "lockstep": (Lockstep, {"slices": config.slices}, 2),
        }
    return units


class Core(wiring.Component):
    """docs/architecture.md, wired. It alone opens the Config.

    Parameters
    ----------
    config : Config
        What is built.
    primitives : bool
        Instantiate the vendor's multipliers instead of describing them.
    trace : bool
        Add the output ``trace``; for simulation, no part of the fingerprint.

    Members
    -------
    ``control``: registers. ``memory``: the bus. ``interrupt``: see register interrupt_enable.
    ``trace``: what every engine does in this cycle.
    """

    def __init__(self, config, *, primitives=False, trace=False):
        self.config = config
        self.primitives = primitives
        self.traced = trace
        super().__init__({
            "control": In(AXILite()),
            "memory": Out(AXI4(config.word_bits, ID_BITS)),
            "interrupt": Out(1),
            **({"trace": Out(TRACE)} if trace else {}),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.csr = csr = self._make("csr")
        m.submodules.sequencer = sequencer = self._make("sequencer")
        engines, slices = self._engines(), [self._slice(number) for number in range(self.config.slices)]
        self._slices(m, sequencer, engines, slices)
        for engine, component in engines.items():
            m.submodules[engine.name.lower()] = ResetInserter(sequencer.clear)(component)
            self._join(m, sequencer.engines[engine], component)
        wiring.connect(m, wiring.flipped(self.control), csr.bus)
        self._registers(m, csr, sequencer)
        self._regions(m, csr, sequencer, engines)
        self._memory(m, sequencer, engines)
        self._count(m, csr, sequencer, engines, slices[0][Engine.MATMUL].beat)
        if self.traced:
            for name in TRACE.members:
                bits = [getattr(engines[engine], name) for engine in Engine]
                m.d.comb += self.trace[name].eq(Cat(bits))
        return m

    def _make(self, name, **others):
        """A unit."""
        kind, parameters, _ = core_units(self.config, primitives=self.primitives)[name]
        return kind(**parameters, **others)

    def _engines(self):
        """Those that are there once."""
        return {engine: self._make(engine.name.lower()) for engine in (Engine.FETCH, Engine.LOAD, Engine.STORE)}

    def _slice(self, number):
        """The engines of a slice."""
        return {Engine.MATMUL: self._make("matmul", number=number), Engine.VECTOR: self._make("vector")}

    def _slices(self, m, sequencer, engines, slices):
        """Scratchpads and the weight stream to all slices; adds to `engines` what the sequencer sees of them."""
        fetch, load, store = (engines[engine] for engine in (Engine.FETCH, Engine.LOAD, Engine.STORE))
        if len(slices) == 1:
            engines |= slices[0]
            self._scratchpad(m, slices[0], store.scratch, load.scratch)
            self._rows(m, slices[0], fetch.stream)
            return
        clear = ResetInserter(sequencer.clear)
        weights, reads, writes = (self._make(name) for name in ("weights", "reads", "writes"))
        m.submodules.weights, m.submodules.reads, m.submodules.writes = clear(weights), clear(reads), clear(writes)
        wiring.connect(m, fetch.stream, weights.i)
        wiring.connect(m, store.scratch, reads.i)
        wiring.connect(m, load.scratch, writes.i)
        m.d.comb += [reads.slice.eq(store.slice), writes.slice.eq(load.slice), writes.every.eq(load.every)]
        for engine in slices[0]:
            engines[engine] = self._make("lockstep")
        for number, parts in enumerate(slices):
            for engine, component in parts.items():
                m.submodules[f"{engine.name.lower()}_{number}"] = clear(component)
                self._join(m, engines[engine].slices[number], component)
            self._scratchpad(m, parts, reads.o[number], writes.o[number], f"_{number}")
            self._rows(m, parts, weights.o[number])

    def _join(self, m, whole, engine):
        for name in engine_members():
            if name == "issue":
                wiring.connect(m, whole.issue, engine.issue)
            elif name == "halt":
                m.d.comb += engine.halt.eq(whole.halt)
            else:
                m.d.comb += getattr(whole, name).eq(getattr(engine, name))

    def _registers(self, m, csr, sequencer):
        inputs = ("program_base", "program_length", "runs", "input_base", "input_step", "output_base", "output_step")
        outputs = ("status", "fault_code", "fault_engine", "fault_index")
        stopped = (sequencer.status == State.DONE) | (sequencer.status == State.FAULT)
        m.d.comb += [
            *(getattr(sequencer, name).eq(getattr(csr, name)) for name in inputs),
            *(getattr(csr, name).eq(getattr(sequencer, name)) for name in outputs),
            sequencer.start.eq((csr.control & Control.START).any()),
            sequencer.reset.eq((csr.control & Control.RESET).any()),
        ]
        m.d.sync += self.interrupt.eq(csr.interrupt_enable & stopped)

    def _regions(self, m, csr, sequencer, engines):
        regions = Signal(REGIONS)
        for region in Region:
            name = region.name.lower()
            moving = region in (Region.INPUT, Region.OUTPUT)
            m.d.comb += [
                regions[region].base.eq(getattr(sequencer, name) if moving else getattr(csr, f"{name}_base")),
                regions[region].size.eq(getattr(csr, f"{name}_size")),
            ]
        for engine in (Engine.FETCH, Engine.LOAD, Engine.STORE):
            m.d.comb += engines[engine].regions.eq(regions)

    def _memory(self, m, sequencer, engines):
        """Ids: 0 program, 1 FETCH, 2 LOAD."""
        m.submodules.arbiter = arbiter = self._make("arbiter")
        wiring.connect(m, sequencer.bus, arbiter.master0)
        wiring.connect(m, engines[Engine.FETCH].bus, arbiter.master1)
        wiring.connect(m, engines[Engine.LOAD].bus, arbiter.master2)
        wiring.connect(m, arbiter.bus, wiring.flipped(self.memory.read))
        wiring.connect(m, engines[Engine.STORE].bus, wiring.flipped(self.memory.write))

    def _scratchpad(self, m, engines, store, load, suffix=""):
        """The order of the ports is their priority."""
        m.submodules[f"scratchpad{suffix}"] = scratchpad = self._make("scratchpad")
        readers = (engines[Engine.VECTOR].scratch_read, store, engines[Engine.MATMUL].scratch_read)
        writers = (engines[Engine.VECTOR].scratch_write, engines[Engine.MATMUL].scratch_write, load)
        for port, reader in zip(scratchpad.reads, readers, strict=True):
            wiring.connect(m, reader, port)
        for port, writer in zip(scratchpad.writes, writers, strict=True):
            wiring.connect(m, writer, port)

    def _rows(self, m, engines, weights):
        """Weights to MATMUL, row maxima from MATMUL to VECTOR."""
        matmul, vector = engines[Engine.MATMUL], engines[Engine.VECTOR]
        wiring.connect(m, weights, matmul.stream)
        m.d.comb += [
            matmul.row_max_address.eq(vector.row_max_address),
            vector.row_max_data.eq(matmul.row_max_data),
        ]

    def _count(self, m, csr, sequencer, engines, beat):
        retired = Signal(range(len(Engine) + 1))
        m.d.sync += retired.eq(sum(component.retired for component in engines.values()))
        events = {"cycles": 1, "beats": beat, "instructions": retired}
        for engine, component in engines.items():
            name, moving = engine.name.lower(), component.busy | component.wait_out
            events[f"{name}_busy"] = component.busy
            events[f"{name}_wait_in"] = component.wait_in | (sequencer.blocked[engine] & ~moving)
            events[f"{name}_wait_out"] = component.wait_out
        m.submodules.counters = counters = self._make("counters")
        for number, name in enumerate(_COUNTED):
            m.d.sync += counters.events[f"e{number}"].eq(Mux(sequencer.running, events[name], 0))
        m.d.sync += counters.clear.eq(sequencer.restart)
        m.d.comb += [
            csr.slot.eq(counters.slot),
            csr.value.eq(counters.value),
        ]
