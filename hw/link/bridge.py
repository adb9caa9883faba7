"""What answers the host: requests in, register and memory accesses, responses out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.signature import AXI4, AXILite
from hw.link.byte import BYTE
from hw.link.crc32 import CRC32
from hw.link.deframer import Deframer
from hw.link.framer import Framer
from hw.link.memory_port import MemoryPort
from hw.link.register_port import SHELL_ADDRESS_BITS, RegisterPort
from hw.link.session import Session
from hw.spec.link import CHECKSUM_LIMIT, HELLO_KEY, PAYLOAD_LIMIT, SIMULATED, VERSION, Op, Status

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
    simulated : bool
        For a simulator only: HELLO answers it, so that nobody takes its cycles for measured.

    Members
    -------
    rx : In(stream(BYTE))
        Bytes from the host, from `hw.link.uart.UART.o` or a datagram's payload.
    tx : Out(stream(BYTE)), tx_length : Out(16)
        Bytes to the host, ``last`` with a frame's last one, to `UART.i` or into a datagram. ``tx_length`` is the
        frame's number of bytes, stable from its first byte's ``valid`` to its last.
    control : Out(AXILite)
        To the accelerator's ``s_axil_*``: register addresses below 0x8000_0000.
    csr : Out(AXILite, 16 address bits)
        To the shell's own registers: register addresses from 0x8000_0000 on.
    memory : Out(AXI4)
        To a port of the memory of its own.
    """

    def __init__(
        self, *, fingerprint, word_bits, memory_bytes, bus_cycles=1 << 16, gap_cycles=1 << 20, simulated=False
    ):
        self.fingerprint = fingerprint
        self.word_bits = word_bits
        self.memory_bits = exact_log2(memory_bytes)
        self.bus_cycles = bus_cycles
        self.gap_cycles = gap_cycles
        self.simulated = simulated
        super().__init__({
            "rx": In(stream.Signature(BYTE)),
            "tx": Out(stream.Signature(BYTE)),
            "tx_length": Out(16),
            "control": Out(AXILite()),
            "csr": Out(AXILite(SHELL_ADDRESS_BITS)),
            "memory": Out(AXI4(word_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.deframer = self._deframer = Deframer(gap_cycles=self.gap_cycles)
        m.submodules.framer = self._framer = Framer()
        m.submodules.session = self._session = Session()
        m.submodules.registers = self._registers = RegisterPort(bus_cycles=self.bus_cycles)
        m.submodules.memory = self._memory = MemoryPort(word_bits=self.word_bits, bus_cycles=self.bus_cycles)
        m.submodules.checksum = self._checksum = CRC32()
        self._request, self._payload = self._deframer.header.p, self._deframer.follows
        self._status, self._value = Signal(Status, reset_less=True), Signal(32, reset_less=True)
        self._executed = Signal(reset_less=True)
        self._answers = Signal(reset_less=True)  # with a payload
        self._connect(m)
        self._join(m)
        with m.FSM():
            self._receive(m)
            self._execute(m)
            self._respond(m)
        return m

    def _answer(self, code, number=0):
        return [self._status.eq(code), self._value.eq(number)]

    def _receive(self, m):
        """States that take a request, and decide whether it is executed, with the payload of a write."""
        deframer, session, memory, request = self._deframer, self._session, self._memory, self._request
        legal = self._legal(m)
        with m.State("Idle"):
            m.d.comb += self._checksum.clear.eq(1)
            m.d.sync += [self._executed.eq(0), self._answers.eq(0)]
            with m.If(deframer.header.valid):
                m.next = "Record"
                with m.If(self._payload):
                    m.d.comb += deframer.header.ready.eq(1)
                    m.next = "Skip"
                with m.If((request.op == Op.HELLO) & (request.argument == HELLO_KEY)):
                    m.d.sync += self._answer(Status.OK, self.fingerprint)
                    m.d.comb += session.hello.eq(1)
                with m.Elif(request.op == Op.HELLO):
                    m.d.sync += self._answer(Status.VERSION, HELLO_KEY)
                with m.Elif(~session.opened):
                    m.d.sync += self._answer(Status.CLOSED)
                with m.Elif(session.repeated):
                    m.d.sync += self._answer(Status.REPEATED, session.past)
                with m.Elif(~session.current):
                    m.d.sync += self._answer(Status.ORDER)
                with m.Else():
                    m.d.sync += [self._answer(Status.REFUSED), self._executed.eq(1)]
                    with m.If(legal):
                        m.d.sync += self._status.eq(Status.OK)
                        m.next = "Execute"
                        with m.If(self._payload):
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
                    self._executed.eq(deframer.end.p),
                    self._status.eq(Mux(deframer.end.p, memory.status, Status.CORRUPT)),
                ]
                with m.If(~memory.busy):
                    m.next = "Record"

    def _execute(self, m):
        """States of a register access, and of a read up to its first word."""
        registers, memory, request = self._registers, self._memory, self._request
        with m.State("Execute"):
            with m.Switch(request.op):
                with m.Case(Op.READ_REGISTER, Op.WRITE_REGISTER):
                    m.d.comb += registers.start.valid.eq(1)
                    m.next = "Register"
                with m.Default():
                    m.d.comb += memory.start.valid.eq(1)
                    m.next = "Read"
        with m.State("Register"):
            m.d.sync += self._answer(registers.status, registers.value)
            with m.If(registers.done):
                m.next = "Record"
        with m.State("Read"):
            m.d.sync += self._answer(memory.status, self._checksum.value)
            with m.If(request.op == Op.CHECKSUM):
                m.d.comb += [memory.o.ready.eq(1), self._checksum.enable.eq(memory.o.valid)]
                with m.If(~memory.busy):
                    m.next = "Record"
            with m.Elif(memory.o.valid):  # the first word, or there is none
                m.d.comb += memory.abort.eq(memory.status != Status.OK)
                m.d.sync += [self._answers.eq(memory.status == Status.OK), self._value.eq(0)]
                m.next = "Record"

    def _respond(self, m):
        """States that remember the request and answer it; what was read is the answer's payload."""
        deframer, framer, memory = self._deframer, self._framer, self._memory
        with m.State("Record"):
            with m.If(self._answers | ~memory.busy):  # an aborted read may have to wait for a word
                m.d.comb += self._session.done.eq(self._executed)
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
                m.d.comb += [deframer.end.ready.eq(self._payload), deframer.header.ready.eq(~self._payload)]
                m.next = "Idle"

    def _legal(self, m):
        """Is the request one that can be executed? Known a cycle after it is there."""
        request = self._request
        size, sizes = request.argument, {Op.READ_MEMORY: PAYLOAD_LIMIT, Op.CHECKSUM: CHECKSUM_LIMIT}
        legal = Signal(reset_less=True)
        registers = [request.op == op for op in (Op.READ_REGISTER, Op.WRITE_REGISTER)]
        sized = [(request.op == op) & (size != 0) & (size <= limit) for op, limit in sizes.items()]
        m.d.sync += legal.eq(Cat(self._payload, registers, sized).any())
        return legal

    def _connect(self, m):
        """What goes out as it is."""
        wiring.connect(m, wiring.flipped(self.rx), self._deframer.i)
        wiring.connect(m, self._framer.o, wiring.flipped(self.tx))
        wiring.connect(m, self._registers.control, wiring.flipped(self.control))
        wiring.connect(m, self._registers.csr, wiring.flipped(self.csr))
        wiring.connect(m, self._memory.bus, wiring.flipped(self.memory))
        m.d.comb += self.tx_length.eq(self._framer.length)

    def _join(self, m):
        """The request's fields to who needs them, and the answer's."""
        request, session, registers, memory = self._request, self._session, self._registers, self._memory
        header = self._framer.header.p
        m.d.comb += [
            session.sequence.eq(request.sequence),
            session.status.eq(self._status),
            registers.start.p.write.eq(request.op == Op.WRITE_REGISTER),
            registers.start.p.address.eq(request.address),
            registers.start.p.data.eq(request.argument),
            memory.start.p.write.eq(self._payload),
            memory.start.p.address.eq(request.address),
            memory.start.p.count.eq(request.argument),
            self._checksum.data.eq(memory.o.p),
            header.op.eq(request.op),
            header.status.eq(self._status),
            header.sequence.eq(request.sequence),
            header.expected.eq(session.expected),
            header.value.eq(self._value),
            self._framer.follows.eq(self._answers),
        ]
        with m.If(request.op == Op.HELLO):
            m.d.comb += header.detail.eq(SIMULATED * self.simulated | VERSION << 8 | self.memory_bits)
        with m.Elif(self._answers):
            m.d.comb += header.detail.eq(request.argument)
