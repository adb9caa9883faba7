"""What answers the host: requests in, register and memory accesses, responses out."""

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.csr import AXIL_ADDRESS_BITS, AXILite
from hw.link.byte import BYTE
from hw.units.axi_pins import axi_pins

__all__ = ["SHELL_ADDRESS_BITS", "Bridge"]

SHELL_ADDRESS_BITS = 16


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
        AXI4 manager as of `hw.units.axi_pins`, to a port of the memory of its own; ids are zero.
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
