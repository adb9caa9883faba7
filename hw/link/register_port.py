"""Register accesses of the bridge, in two windows."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.signature import AXIL_ADDRESS_BITS, AXILite
from hw.spec.link import Status, Window

__all__ = ["SHELL_ADDRESS_BITS", "RegisterPort"]

SHELL_ADDRESS_BITS = 16
_ACCESS = data.StructLayout({"write": 1, "address": 32, "data": 32})
_WINDOW_BIT = exact_log2(Window.SHELL)


class RegisterPort(wiring.Component):
    """One access at a time. What is not answered in time is answered TIMEOUT, and so is everything after it until the
    bus has answered; that late answer is dropped.

    Parameters
    ----------
    bus_cycles : int
        A power of two.

    Members
    -------
    start : In(stream(_ACCESS))
    done : Out(1), status : Out(4), value : Out(32)
        ``done`` is high for one cycle, some cycles after ``start`` was taken; ``value`` is what was read.
    control : Out(AXILite), csr : Out(AXILite)
        The windows ACCELERATOR and SHELL.
    """

    def __init__(self, *, bus_cycles):
        self.timer_bits = exact_log2(bus_cycles)
        super().__init__({
            "start": In(stream.Signature(_ACCESS)),
            "done": Out(1),
            "status": Out(4),
            "value": Out(32),
            "control": Out(AXILite(AXIL_ADDRESS_BITS)),
            "csr": Out(AXILite(SHELL_ADDRESS_BITS)),
        })

    def elaborate(self, _platform):
        m = Module()
        access = Signal(_ACCESS, reset_less=True)
        occupied = Signal()  # the bus owes an answer
        timer = Signal(self.timer_bits + 1)
        asked = Signal(3)  # aw, w, ar still waiting for ready
        shell = access.address[_WINDOW_BIT]
        ready, answered, error = Signal(3), Signal(), Signal()
        for bus, chosen in ((self.control, ~shell), (self.csr, shell)):
            m.d.comb += [
                bus.awaddr.eq(access.address),
                bus.araddr.eq(access.address),
                bus.wdata.eq(access.data),
                bus.wstrb.eq(-1),
                Cat(bus.awvalid, bus.wvalid, bus.arvalid).eq(asked & chosen.replicate(3)),
                bus.bready.eq(1),
                bus.rready.eq(1),
            ]
        taken = [Mux(shell, getattr(self.csr, name), getattr(self.control, name))
                 for name in ("awready", "wready", "arready")]  # fmt: skip
        m.d.comb += [
            ready.eq(Cat(taken)),
            answered.eq(Mux(shell, self.csr.bvalid | self.csr.rvalid, self.control.bvalid | self.control.rvalid)),
            error.eq(Mux(
                access.write,
                Mux(shell, self.csr.bresp[1], self.control.bresp[1]),
                Mux(shell, self.csr.rresp[1], self.control.rresp[1]),
            )),
        ]  # fmt: skip
        m.d.sync += [asked.eq(asked & ~ready), timer.eq(timer + 1), self.done.eq(0)]
        with m.If(occupied & answered):
            m.d.sync += [occupied.eq(0), self.value.eq(Mux(shell, self.csr.rdata, self.control.rdata))]

        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += timer.eq(0)
                with m.If(self.start.valid & occupied):
                    m.d.sync += [self.done.eq(1), self.status.eq(Status.TIMEOUT)]
                with m.Elif(self.start.valid):
                    m.d.sync += [access.eq(self.start.p), occupied.eq(1)]
                    m.d.sync += asked.eq(Mux(self.start.p.write, 0b011, 0b100))
                    m.next = "Ask"
            with m.State("Ask"):
                with m.If(answered):
                    m.d.sync += [self.done.eq(1), self.status.eq(Mux(error, Status.BUS, Status.OK))]
                    m.next = "Idle"
                with m.Elif(timer[-1]):
                    m.d.sync += [self.done.eq(1), self.status.eq(Status.TIMEOUT)]
                    m.next = "Idle"
        return m
