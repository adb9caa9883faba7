"""AXI as streams: what everything inside speaks. Pins with standard names are made of it at the Verilog's edge."""

from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

__all__ = ["AXI4", "AXIL_ADDRESS_BITS", "AXILite", "AXIRead", "AXIWrite"]

AXIL_ADDRESS_BITS = 12  # one page


class AXIRead(Signature):
    """Manager side of the AXI4 read channels: INCR bursts of full words, never across 4 KiB.

    Parameters
    ----------
    word_bits : int
    id_bits : int
        0 for a manager whose bursts are answered in order.

    Members
    -------
    ar : Out(stream of {"address", "last", "id"})
        ``last`` is AXI's len: beats minus one.
    r : In(stream of {"data", "id", "error", "last"})
    """

    def __init__(self, word_bits, id_bits=0):
        request = data.StructLayout({"address": 32, "last": 8, "id": id_bits})
        answer = data.StructLayout({"data": word_bits, "id": id_bits, "error": 1, "last": 1})
        super().__init__({"ar": Out(stream.Signature(request)), "r": In(stream.Signature(answer))})


class AXIWrite(Signature):
    """Manager side of the AXI4 write channels: INCR bursts of full words, never across 4 KiB, answered in order.

    Members
    -------
    aw : Out(stream of {"address", "last"}), w : Out(stream of {"data", "strobe", "last"}), b : In(stream of {"error"})
    """

    def __init__(self, word_bits):
        request = data.StructLayout({"address": 32, "last": 8})
        beat = data.StructLayout({"data": word_bits, "strobe": word_bits // 8, "last": 1})
        answer = data.StructLayout({"error": 1})
        super().__init__({
            "aw": Out(stream.Signature(request)),
            "w": Out(stream.Signature(beat)),
            "b": In(stream.Signature(answer)),
        })


class AXI4(Signature):
    """Manager side of a memory port: ``read`` with `id_bits`, and ``write``."""

    def __init__(self, word_bits, id_bits=0):
        self.word_bits, self.id_bits = word_bits, id_bits
        super().__init__({"read": Out(AXIRead(word_bits, id_bits)), "write": Out(AXIWrite(word_bits))})


class AXILite(Signature):
    """Manager side of AXI4-Lite with 32-bit data, standard pin names; addresses of one page unless said otherwise."""

    def __init__(self, address_bits=AXIL_ADDRESS_BITS):
        super().__init__({
            **{"awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1)},
            **{"wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1)},
            **{"bresp": In(2), "bvalid": In(1), "bready": Out(1)},
            **{"araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1)},
            **{"rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1)},
        })  # fmt: skip
