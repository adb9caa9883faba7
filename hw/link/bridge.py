"""What answers the host: requests in, register and memory accesses, responses out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.pins import axi_pins, connect_axi_pins
from hw.csr import AXIL_ADDRESS_BITS, AXILite
from hw.link.byte import BYTE
from hw.link.crc32 import CRC32
from hw.link.deframer import Deframer
from hw.link.framer import Framer
from hw.link.memory_port import MemoryPort
from hw.link.register_port import SHELL_ADDRESS_BITS, RegisterPort
from hw.link.session import Session
from hw.spec.link import CHECKSUM_LIMIT, HELLO_KEY, PAYLOAD_LIMIT, VERSION, Op, Status

__all__ = ["Bridge"]


class Bridge(wiring.Component):
    """Executes the requests of `hw.spec.link`, each exactly once and in order, one at a time.

    A request is executed only if its header's check is right and its number is the expected one. WRITE_MEMORY writes
    its payload as it comes; damage is noticed at the end, answered CORRUPT, and the same bytes come again, so until
    then that range, and nothing else, holds anything. A request that was executed before is not executed again.

    Every bus access is a single beat of one word, one at a time: less than a byte takes on a 12 Mbaud line, and no
    bus is ever held up by a slow host. An access not answered in `bus_cycles` answers TIMEOUT; it stays on the bus, as
    AXI wants, and its late answer is dropped. A frame whose bytes stop for `gap_cycles`, or whose datagram ends early,
    is dropped, so the next one is understood whatever happened before.

    Parameters
    ----------
    fingerprint : int
        The Config's; HELLO answers it.
    word_bits : int
        Of the memory port.
    memory_bytes : int
        A power of two; HELLO answers its logarithm.
    bus_cycles, gap_cycles : int
        Powers of two. A real line: at least 10 ms between bytes, as the host's USB stack makes pauses.

    Members
    -------
    rx : In(stream(BYTE))
        Bytes from the host, from `hw.link.uart.UART.o` or a datagram's payload.
    tx : Out(stream(BYTE)), tx_length : Out(16)
        Bytes to the host, ``last`` with a frame's last one, to `UART.i` or into a datagram. ``tx_length`` is the
        frame's number of bytes, stable from its first byte's ``valid`` to its last.
    control_* : Out(AXILite)
        To the accelerator's ``s_axil_*``: register addresses below 0x8000_0000.
    csr_* : Out(AXILite, 16 address bits)
        To the shell's own registers: register addresses from 0x8000_0000 on.
    m_axi_* :
        AXI4 manager as of `hw.axi.pins`, to a port of the memory of its own; ids are zero.
    """

    def __init__(self, *, fingerprint, word_bits, memory_bytes, bus_cycles=1 << 16, gap_cycles=1 << 20):
        self.fingerprint = fingerprint
        self.word_bits = word_bits
        self.memory_bits = exact_log2(memory_bytes)
        self.bus_cycles = bus_cycles
        self.gap_cycles = gap_cycles
        super().__init__({
            "rx": In(stream.Signature(BYTE)),
            "tx": Out(stream.Signature(BYTE)),
            "tx_length": Out(16),
            **{f"control_{name}": member for name, member in AXILite(AXIL_ADDRESS_BITS).members.items()},
            **{f"csr_{name}": member for name, member in AXILite(SHELL_ADDRESS_BITS).members.items()},
            **axi_pins(word_bits),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.deframer = deframer = Deframer(gap_cycles=self.gap_cycles)
        m.submodules.framer = framer = Framer()
        m.submodules.session = session = Session()
        m.submodules.registers = registers = RegisterPort(bus_cycles=self.bus_cycles)
        m.submodules.memory = memory = MemoryPort(word_bits=self.word_bits, bus_cycles=self.bus_cycles)
        m.submodules.checksum = checksum = CRC32()
        self._connect(m, deframer, framer, registers, memory)
        request, payload = deframer.header.p, deframer.follows
        status, value = Signal(Status, reset_less=True), Signal(32, reset_less=True)
        executed, answers = Signal(reset_less=True), Signal(reset_less=True)  # `answers`: with a payload
        m.d.comb += [
            session.sequence.eq(request.sequence),
            session.status.eq(status),
            registers.start.p.write.eq(request.op == Op.WRITE_REGISTER),
            registers.start.p.address.eq(request.address),
            registers.start.p.data.eq(request.argument),
            memory.start.p.write.eq(payload),
            memory.start.p.address.eq(request.address),
            memory.start.p.count.eq(request.argument),
            checksum.data.eq(memory.o.p),
            framer.header.p.op.eq(request.op),
            framer.header.p.status.eq(status),
            framer.header.p.sequence.eq(request.sequence),
            framer.header.p.expected.eq(session.expected),
            framer.header.p.value.eq(value),
            framer.follows.eq(answers),
        ]
        with m.If(request.op == Op.HELLO):
            m.d.comb += framer.header.p.detail.eq(VERSION << 8 | self.memory_bits)
        with m.Elif(answers):
            m.d.comb += framer.header.p.detail.eq(request.argument)
        legal = self._legal(m, request, payload)

        def answer(code, number=0):
            return [status.eq(code), value.eq(number)]

        with m.FSM():
            with m.State("Idle"):
                m.d.comb += checksum.clear.eq(1)
                m.d.sync += [executed.eq(0), answers.eq(0)]
                with m.If(deframer.header.valid):
                    m.next = "Record"
                    with m.If(payload):
                        m.d.comb += deframer.header.ready.eq(1)
                        m.next = "Skip"
                    with m.If((request.op == Op.HELLO) & (request.argument == HELLO_KEY)):
                        m.d.sync += answer(Status.OK, self.fingerprint)
                        m.d.comb += session.hello.eq(1)
                    with m.Elif(request.op == Op.HELLO):
                        m.d.sync += answer(Status.VERSION, HELLO_KEY)
                    with m.Elif(~session.opened):
                        m.d.sync += answer(Status.CLOSED)
                    with m.Elif(session.repeated):
                        m.d.sync += answer(Status.REPEATED, session.past)
                    with m.Elif(~session.current):
                        m.d.sync += answer(Status.ORDER)
                    with m.Else():
                        m.d.sync += [answer(Status.REFUSED), executed.eq(1)]
                        with m.If(legal):
                            m.d.sync += status.eq(Status.OK)
                            m.next = "Execute"
                            with m.If(payload):
                                m.d.comb += memory.start.valid.eq(1)
                                m.next = "Payload"
            with m.State("Skip"):
                m.d.comb += deframer.payload.ready.eq(1)
                with m.If(deframer.end.valid):
                    m.next = "Record"
            with m.State("Payload"):
                m.d.comb += [
                    memory.i.valid.eq(deframer.payload.valid),
                    memory.i.p.eq(deframer.payload.p),
                    deframer.payload.ready.eq(memory.i.ready),
                ]
                with m.If(deframer.end.valid):
                    m.d.comb += memory.abort.eq(~deframer.end.p)
                    m.d.sync += [
                        executed.eq(deframer.end.p),
                        status.eq(Mux(deframer.end.p, memory.status, Status.CORRUPT)),
                    ]
                    with m.If(~memory.busy):
                        m.next = "Record"
            with m.State("Execute"):
                with m.Switch(request.op):
                    with m.Case(Op.READ_REGISTER, Op.WRITE_REGISTER):
                        m.d.comb += registers.start.valid.eq(1)
                        m.next = "Register"
                    with m.Default():
                        m.d.comb += memory.start.valid.eq(1)
                        m.next = "Read"
            with m.State("Register"):
                m.d.sync += answer(registers.status, registers.value)
                with m.If(registers.done):
                    m.next = "Record"
            with m.State("Read"):
                m.d.sync += answer(memory.status, checksum.value)
                with m.If(request.op == Op.CHECKSUM):
                    m.d.comb += [memory.o.ready.eq(1), checksum.enable.eq(memory.o.valid)]
                    with m.If(~memory.busy):
                        m.next = "Record"
                with m.Elif(memory.o.valid):  # the first word, or there is none
                    m.d.comb += memory.abort.eq(memory.status != Status.OK)
                    m.d.sync += [answers.eq(memory.status == Status.OK), value.eq(0)]
                    m.next = "Record"
            with m.State("Record"):
                with m.If(answers | ~memory.busy):  # an aborted read may have to wait for a word
                    m.d.comb += session.done.eq(executed)
                    m.next = "Respond"
            with m.State("Respond"):
                m.d.comb += [framer.header.valid.eq(1), framer.payload.valid.eq(1), framer.payload.p.last.eq(1)]
                m.d.comb += framer.payload.p.data.eq(memory.status)
                with m.If(memory.busy):
                    m.d.comb += [
                        framer.payload.valid.eq(memory.o.valid),
                        framer.payload.p.data.eq(memory.o.p),
                        framer.payload.p.last.eq(0),
                        memory.o.ready.eq(framer.payload.ready),
                    ]
                with m.If(framer.header.ready):
                    m.d.comb += [deframer.end.ready.eq(payload), deframer.header.ready.eq(~payload)]
                    m.next = "Idle"
        return m

    def _legal(self, m, request, payload):
        """Is the request one that can be executed? Known a cycle after it is there."""
        size, sizes = request.argument, {Op.READ_MEMORY: PAYLOAD_LIMIT, Op.CHECKSUM: CHECKSUM_LIMIT}
        legal = Signal(reset_less=True)
        registers = [request.op == op for op in (Op.READ_REGISTER, Op.WRITE_REGISTER)]
        sized = [(request.op == op) & (size != 0) & (size <= limit) for op, limit in sizes.items()]
        m.d.sync += legal.eq(Cat(payload, registers, sized).any())
        return legal

    def _connect(self, m, deframer, framer, registers, memory):
        """The pins."""
        wiring.connect(m, wiring.flipped(self.rx), deframer.i)
        wiring.connect(m, framer.o, wiring.flipped(self.tx))
        m.d.comb += self.tx_length.eq(framer.length)
        for prefix in ("control", "csr"):
            bus = getattr(registers, prefix)
            for name, member in bus.signature.members.items():
                pin, inner = getattr(self, f"{prefix}_{name}"), getattr(bus, name)
                m.d.comb += pin.eq(inner) if member.flow is Out else inner.eq(pin)
        connect_axi_pins(m, self, read=memory.read, write=memory.write)
