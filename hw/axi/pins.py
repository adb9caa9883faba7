"""Standard AXI4 and AXI4-Lite pin names around the streams: the Verilog's edge."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.signature import AXILite

__all__ = ["ID_BITS", "axi_pins", "bus_of_pins", "connect_axi_pins", "connect_lite_pins", "lite_pins", "pins_of"]

ID_BITS = 2  # of a core's memory port
_INCR = 0b01
_CACHE = 0b0011  # normal, non-cacheable, bufferable


def axi_pins(word_bits, id_bits=ID_BITS):
    """Members ``m_axi_*`` of an AXI4 manager, ready to be merged into a signature."""
    channels = {"awvalid": Out(1), "awready": In(1), "arvalid": Out(1), "arready": In(1)}
    for channel in ("aw", "ar"):
        for name, bits in (
            ("id", id_bits), ("addr", 32), ("len", 8), ("size", 3), ("burst", 2), ("lock", 1), ("cache", 4), ("prot", 3)
        ):  # fmt: skip
            channels[f"{channel}{name}"] = Out(bits)
    members = {
        **channels,
        **{"wdata": Out(word_bits), "wstrb": Out(word_bits // 8), "wlast": Out(1), "wvalid": Out(1), "wready": In(1)},
        **{"bid": In(id_bits), "bresp": In(2), "bvalid": In(1), "bready": Out(1)},
        **{"rid": In(id_bits), "rdata": In(word_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1)},
        "rready": Out(1),
    }
    return {f"m_axi_{name}": member for name, member in members.items()}


def lite_pins(prefix="s_axil_"):
    """Members of an AXI4-Lite subordinate, ready to be merged into a signature."""
    return {f"{prefix}{name}": member for name, member in AXILite().flip().members.items()}


def pins_of(owner, prefix):
    """The pins ``{prefix}*`` of a component, or of a mapping of names to signals, by their names without `prefix`."""
    if not isinstance(owner, Mapping):
        owner = {name: getattr(owner, name) for name in owner.signature.members}
    return {name.removeprefix(prefix): signal for name, signal in owner.items() if name.startswith(prefix)}


def connect_axi_pins(m, pins, bus, *, enable=1):
    """Drives a manager's `pins`, see :func:`pins_of`, from `bus`, an AXI4 manager; requests pass while `enable`.

    Writes carry id 0. SLVERR and DECERR become ``error``.
    """
    for channel, request in (("aw", bus.write.aw), ("ar", bus.read.ar)):
        m.d.comb += [
            pins[f"{channel}size"].eq(exact_log2(len(pins["wdata"]) // 8)),
            pins[f"{channel}burst"].eq(_INCR),
            pins[f"{channel}cache"].eq(_CACHE),
            pins[f"{channel}valid"].eq(request.valid & enable),
            request.ready.eq(pins[f"{channel}ready"] & enable),
        ]
    _connect(m, pins, bus, out=True)
    m.d.comb += [answer.p.error.eq(pins[f"{name}resp"][1]) for name, answer in _answers(bus)]


def bus_of_pins(m, pins, bus):
    """Drives `bus`, an AXI4 manager's streams, from the `pins` of a manager, which makes INCR bursts of full words."""
    for channel, request in (("aw", bus.write.aw), ("ar", bus.read.ar)):
        m.d.comb += [
            request.valid.eq(pins[f"{channel}valid"]),
            pins[f"{channel}ready"].eq(request.ready),
        ]
    _connect(m, pins, bus, out=False)
    m.d.comb += [pins[f"{name}resp"].eq(Cat(Const(0, 1), answer.p.error)) for name, answer in _answers(bus)]


def _answers(bus):
    return ("r", bus.read.r), ("b", bus.write.b)


def _connect(m, pins, bus, *, out):
    """All but requests' handshakes and responses' codes; `out`: what a manager drives goes to the pins."""
    read, write = bus.read, bus.write
    forward = {
        "awaddr": write.aw.p.address, "awlen": write.aw.p.last,
        "araddr": read.ar.p.address, "arlen": read.ar.p.last, "arid": read.ar.p.id,
        "wdata": write.w.p.data, "wstrb": write.w.p.strobe, "wlast": write.w.p.last, "wvalid": write.w.valid,
        "bready": write.b.ready, "rready": read.r.ready,
    }  # fmt: skip
    back = {
        "wready": write.w.ready, "bvalid": write.b.valid,
        "rvalid": read.r.valid, "rdata": read.r.p.data, "rid": read.r.p.id, "rlast": read.r.p.last,
    }  # fmt: skip
    for names, outward in ((forward, out), (back, not out)):
        for name, value in names.items():
            m.d.comb += pins[name].eq(value) if outward else value.eq(pins[name])


def connect_lite_pins(m, manager, subordinate):
    """Joins an AXI4-Lite manager and a subordinate, each an interface or a mapping of its pins by their names."""
    ends = [end if isinstance(end, Mapping) else {name: getattr(end, name) for name in end.signature.members}
            for end in (manager, subordinate)]  # fmt: skip
    for name, member in AXILite().members.items():
        to, source = reversed(ends) if member.flow is Out else ends
        m.d.comb += to[name].eq(source[name])
