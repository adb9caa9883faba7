"""Standard AXI4 pin names around the internal streams."""

from amaranth import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["ID_BITS", "axi_pins", "connect_axi_pins"]

ID_BITS = 2
_INCR = 0b01
_CACHE = 0b0011  # normal, non-cacheable, bufferable


def axi_pins(word_bits):
    """Members of an AXI4 manager of `word_bits` data bits, ready to be merged into a signature."""
    channels = {"m_axi_awvalid": Out(1), "m_axi_awready": In(1), "m_axi_arvalid": Out(1), "m_axi_arready": In(1)}
    for channel in ("aw", "ar"):
        for name, bits in (
            ("id", ID_BITS), ("addr", 32), ("len", 8), ("size", 3), ("burst", 2), ("lock", 1), ("cache", 4), ("prot", 3)
        ):  # fmt: skip
            channels[f"m_axi_{channel}{name}"] = Out(bits)
    return {
        **channels,
        "m_axi_wdata": Out(word_bits),
        "m_axi_wstrb": Out(word_bits // 8),
        "m_axi_wlast": Out(1),
        "m_axi_wvalid": Out(1),
        "m_axi_wready": In(1),
        "m_axi_bid": In(ID_BITS),
        "m_axi_bresp": In(2),
        "m_axi_bvalid": In(1),
        "m_axi_bready": Out(1),
        "m_axi_rid": In(ID_BITS),
        "m_axi_rdata": In(word_bits),
        "m_axi_rresp": In(2),
        "m_axi_rlast": In(1),
        "m_axi_rvalid": In(1),
        "m_axi_rready": Out(1),
    }


def connect_axi_pins(m, pins, *, read, write):
    """Drives `pins`, a component with the members of :func:`axi_pins`, from an AXIRead and an AXIWrite manager.

    Writes carry id 0. SLVERR and DECERR become ``error``.
    """
    size = exact_log2(len(pins.m_axi_wdata) // 8)
    for channel, request in (("aw", write.aw), ("ar", read.ar)):
        m.d.comb += [
            getattr(pins, f"m_axi_{channel}addr").eq(request.p.address),
            getattr(pins, f"m_axi_{channel}len").eq(request.p.last),
            getattr(pins, f"m_axi_{channel}size").eq(size),
            getattr(pins, f"m_axi_{channel}burst").eq(_INCR),
            getattr(pins, f"m_axi_{channel}cache").eq(_CACHE),
            getattr(pins, f"m_axi_{channel}valid").eq(request.valid),
            request.ready.eq(getattr(pins, f"m_axi_{channel}ready")),
        ]
    m.d.comb += [
        pins.m_axi_arid.eq(read.ar.p.id),
        pins.m_axi_wdata.eq(write.w.p.data),
        pins.m_axi_wstrb.eq(write.w.p.strobe),
        pins.m_axi_wlast.eq(write.w.p.last),
        pins.m_axi_wvalid.eq(write.w.valid),
        write.w.ready.eq(pins.m_axi_wready),
        write.b.p.error.eq(pins.m_axi_bresp[1]),
        write.b.valid.eq(pins.m_axi_bvalid),
        pins.m_axi_bready.eq(write.b.ready),
        read.r.p.data.eq(pins.m_axi_rdata),
        read.r.p.id.eq(pins.m_axi_rid),
        read.r.p.error.eq(pins.m_axi_rresp[1]),
        read.r.p.last.eq(pins.m_axi_rlast),
        read.r.valid.eq(pins.m_axi_rvalid),
        pins.m_axi_rready.eq(read.r.ready),
    ]
