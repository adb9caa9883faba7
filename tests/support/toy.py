"""A machine with the accelerator's pins and registers that only moves data, to test the simulation harness on."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.isa import Engine, Fault
from hw.spec.regs import MAGIC, REGS, Access, Control, State

__all__ = ["DEFECTS", "ToyAccelerator"]

DEFECTS = ("none", "boundary", "wlast", "unstable", "hang")

BURST = 4  # beats


class ToyAccelerator(wiring.Component):
    """Copies ``input_size`` bytes (whole bursts of four beats) from ``input_base`` to ``output_base``.

    Register ``output_step``, an index of `DEFECTS`, makes it break one AXI rule, or never end.
    """

    def __init__(self, *, word_bits=64, fingerprint=0):
        self.word_bits, self.fingerprint = word_bits, fingerprint
        pins = {"interrupt": Out(1)}
        for prefix, address in (("s_axil_aw", 9), ("s_axil_ar", 9)):
            pins |= {f"{prefix}addr": In(address), f"{prefix}valid": In(1), f"{prefix}ready": Out(1)}
        pins |= {f"s_axil_{name}": In(bits) for name, bits in (("wdata", 32), ("wstrb", 4), ("wvalid", 1))}
        pins |= {f"s_axil_{name}": In(1) for name in ("bready", "rready")}
        pins |= {f"s_axil_{name}": Out(1) for name in ("wready", "bvalid", "rvalid")}
        pins |= {"s_axil_bresp": Out(2), "s_axil_rresp": Out(2), "s_axil_rdata": Out(32)}
        for prefix in ("m_axi_aw", "m_axi_ar"):
            pins |= {f"{prefix}addr": Out(32), f"{prefix}len": Out(8), f"{prefix}size": Out(3), f"{prefix}id": Out(2)}
            pins |= {f"{prefix}burst": Out(2, init=1), f"{prefix}valid": Out(1), f"{prefix}ready": In(1)}
        pins |= {"m_axi_rdata": In(word_bits), "m_axi_rresp": In(2), "m_axi_rlast": In(1), "m_axi_rid": In(2)}
        pins |= {"m_axi_rvalid": In(1), "m_axi_rready": Out(1), "m_axi_bid": In(2), "m_axi_bresp": In(2)}
        pins |= {"m_axi_wdata": Out(word_bits), "m_axi_wstrb": Out(word_bits // 8), "m_axi_wlast": Out(1)}
        pins |= {"m_axi_wvalid": Out(1), "m_axi_wready": In(1), "m_axi_bvalid": In(1), "m_axi_bready": Out(1)}
        pins |= {f"trace_{event}": Out(5) for event in ("started", "retired", "busy", "wait_in", "wait_out")}
        super().__init__(pins)

    def elaborate(self, _):
        m = Module()
        status, fault, cycles = Signal(State), Signal(Fault), Signal(32)
        offset, beat = Signal(32), Signal(range(BURST))
        live = {"magic": C(MAGIC, 32), "fingerprint": C(self.fingerprint, 32), "status": status, "cycles": cycles}
        live |= {"fault_code": fault, "instructions": offset[:32], "fault_engine": C(Engine.LOAD, 3)}
        regs, control = self._registers(m, live)
        size = BURST * self.word_bits // 8

        m.submodules.words = words = memory.Memory(shape=self.word_bits, depth=BURST, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        defect = {name: regs["output_step"] == index for index, name in enumerate(DEFECTS)}
        shaken = Signal()
        m.d.sync += shaken.eq(self.m_axi_arvalid & ~shaken & defect["unstable"])
        m.d.comb += [
            self.interrupt.eq(regs["interrupt_enable"] & ((status == State.DONE) | (status == State.FAULT))),
            write.addr.eq(beat), write.data.eq(self.m_axi_rdata), write.en.eq(self.m_axi_rvalid & self.m_axi_rready),
            read.addr.eq(beat), self.m_axi_wdata.eq(read.data), self.m_axi_wstrb.eq(-1),
            self.m_axi_wlast.eq(beat == Mux(defect["wlast"], 0, BURST - 1)),
            self.m_axi_araddr.eq(regs["input_base"] + offset + Mux(defect["boundary"], size // 2, 0) + (shaken << 6)),
            self.m_axi_awaddr.eq(regs["output_base"] + offset), self.m_axi_arid.eq(1),
        ]  # fmt: skip
        for prefix in ("aw", "ar"):
            m.d.comb += getattr(self, f"m_axi_{prefix}len").eq(BURST - 1)
            m.d.comb += getattr(self, f"m_axi_{prefix}size").eq((self.word_bits // 8).bit_length() - 1)
        with m.If(status == State.RUNNING):
            m.d.sync += cycles.eq(cycles + 1)
        self._copy(m, regs, control, status, fault, cycles, offset, beat, size)
        with m.If(control & Control.RESET):
            m.d.sync += [status.eq(State.IDLE), fault.eq(Fault.NONE)]
        return m

    def _registers(self, m, live):
        """Registers of the map: `live` ones show a signal, RW ones are stored. Returns (stored values, strobe)."""
        stored = {reg.name: Signal(reg.bits, name=reg.name) for reg in REGS if reg.access is Access.RW}
        control = Signal(2)
        take = self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid
        m.d.comb += [self.s_axil_awready.eq(take), self.s_axil_wready.eq(take)]
        m.d.comb += self.s_axil_arready.eq(~self.s_axil_rvalid)
        m.d.sync += control.eq(0)
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        with m.If(take):
            m.d.sync += self.s_axil_bvalid.eq(1)
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rdata.eq(0)]
        for index, reg in enumerate(REGS):
            value = stored.get(reg.name, live.get(reg.name))
            with m.If(take & (self.s_axil_awaddr >> 2 == index)):
                if reg.name in stored:
                    m.d.sync += stored[reg.name].eq(self.s_axil_wdata)
                elif reg.name == "control":
                    m.d.sync += control.eq(self.s_axil_wdata)
            if value is not None:
                with m.If(self.s_axil_arvalid & self.s_axil_arready & (self.s_axil_araddr >> 2 == index)):
                    m.d.sync += self.s_axil_rdata.eq(value)
        return stored, control

    def _copy(self, m, regs, control, status, fault, cycles, offset, beat, size):
        with m.FSM():
            with m.State("Idle"):
                with m.If(control & Control.START):
                    m.d.sync += [status.eq(State.RUNNING), cycles.eq(0), offset.eq(0), beat.eq(0)]
                    m.next = "Request"
            with m.State("Request"):
                m.d.comb += self.m_axi_arvalid.eq(regs["output_step"] != DEFECTS.index("hang"))
                with m.If(self.m_axi_arvalid & self.m_axi_arready):
                    m.d.comb += self.trace_started[Engine.LOAD].eq(1)
                    m.next = "Read"
            with m.State("Read"):
                m.d.comb += [self.m_axi_rready.eq(1), self.trace_busy[Engine.LOAD].eq(self.m_axi_rvalid)]
                m.d.comb += self.trace_wait_in[Engine.LOAD].eq(~self.m_axi_rvalid)
                with m.If(self.m_axi_rvalid):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(self.m_axi_rresp != 0):
                        m.d.sync += fault.eq(Fault.BUS_READ)
                    with m.If(self.m_axi_rlast):
                        m.d.comb += self.trace_retired[Engine.LOAD].eq(1)
                        m.next = "Place"
            with m.State("Place"):
                m.d.comb += [self.m_axi_awvalid.eq(1), self.trace_started[Engine.STORE].eq(self.m_axi_awready)]
                with m.If(self.m_axi_awready):
                    m.next = "Write"
            with m.State("Write"):
                m.d.comb += [self.m_axi_wvalid.eq(1), self.trace_busy[Engine.STORE].eq(self.m_axi_wready)]
                with m.If(self.m_axi_wready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == BURST - 1):
                        m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self.m_axi_bready.eq(1)
                with m.If(self.m_axi_bvalid):
                    m.d.comb += self.trace_retired[Engine.STORE].eq(1)
                    m.d.sync += offset.eq(offset + size)
                    with m.If(self.m_axi_bresp != 0):
                        m.d.sync += fault.eq(Fault.BUS_WRITE)
                    m.next = "Request"
                    with m.If((offset + size >= regs["input_size"]) | (self.m_axi_bresp != 0) | (fault != 0)):
                        failed = (self.m_axi_bresp != 0) | (fault != 0)
                        m.d.sync += status.eq(Mux(failed, State.FAULT, State.DONE))
                        m.next = "Idle"
