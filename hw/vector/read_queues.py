"""Two prefetching word queues on one scratchpad read port."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.units.carry_chain import up_down
from hw.units.ports import ScratchRead
from hw.vector.row_reader import WALK_ADDRESS_BITS

__all__ = ["ReadQueues"]


class ReadQueues(wiring.Component):
    """Reads the words at two streams of addresses into two queues; the second address stream has priority.

    A word is asked for only when its queue has room, because answers cannot be stalled. Rate: one word per cycle in
    total. Latency: ``scratch_latency`` + 3 cycles from address to word when nothing is in the way. A stalled queue
    stops only its own addresses, once it is full.

    Parameters
    ----------
    word_bits : int
    depth : int
        Words of each queue; at least ``scratch_latency`` + 4 for a word per cycle.
    scratch_words : int
        Addresses from here on raise ``outside`` and are not read; a power of two.
    scratch_latency : int
        Cycles from a granted request to its answer.

    Members
    -------
    addresses, other_addresses : In(stream of 17 bits)
    words, other_words : Out(stream of word_bits)
    port : Out(ScratchRead)
    halt : In(1)
        No request from the next cycle on.
    outside : Out(1)
        High in each cycle in which an address to be asked for is beyond the scratchpad; the queue then waits.
    """

    def __init__(self, *, word_bits, depth, scratch_words, scratch_latency):
        self.word_bits = word_bits
        self.depth = depth
        self.scratch_words = scratch_words
        self.scratch_latency = scratch_latency
        super().__init__({
            "addresses": In(stream.Signature(WALK_ADDRESS_BITS)),
            "other_addresses": In(stream.Signature(WALK_ADDRESS_BITS)),
            "words": Out(stream.Signature(word_bits)),
            "other_words": Out(stream.Signature(word_bits)),
            "port": Out(ScratchRead(word_bits)),
            "halt": In(1),
            "outside": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        request = self.port.request
        pending = Signal()  # the request register holds an address ...
        address = Signal(len(request.payload), reset_less=True)
        other = Signal(reset_less=True)  # ... asked for by the second queue
        load = Signal()
        m.d.comb += [
            request.valid.eq(pending),
            request.payload.eq(address),
            load.eq(~self.outside & ~self.halt & (~pending | (request.valid & request.ready))),
        ]

        asks = []
        for number, (addresses, words) in enumerate((
            (self.addresses, self.words),
            (self.other_addresses, self.other_words),
        )):
            asks.append(self._queue(m, number, addresses, words))
        ask, other_ask = asks
        m.d.comb += [
            self.other_addresses.ready.eq(load & other_ask),
            self.addresses.ready.eq(load & ask & ~(other_ask & self.other_addresses.valid)),
        ]
        take_other = self.other_addresses.valid & other_ask
        following = Mux(take_other, self.other_addresses.payload, self.addresses.payload)
        taken = take_other | (self.addresses.valid & ask)
        beyond = following[exact_log2(self.scratch_words) :].any()
        with m.If(load):
            m.d.sync += [
                pending.eq(taken & ~beyond),
                self.outside.eq(taken & beyond),
                address.eq(following),
                other.eq(take_other),
            ]

        with m.If(self.halt):
            m.d.sync += pending.eq(0)
        owner = Signal(self.scratch_latency, reset_less=True)  # of the answers under way, the next one last
        m.d.sync += owner.eq(Cat(other, owner))
        m.d.comb += self._owner.eq(owner[-1])
        return m

    def _queue(self, m, number, addresses, words):
        """One queue; returns whether it has room for one more word than was asked for."""
        if number == 0:
            self._owner = Signal()
        index_bits = ceil_log2(self.depth)
        m.submodules[f"queue{number}"] = queue = Memory(shape=self.word_bits, depth=1 << index_bits, init=[])
        write, read = queue.write_port(), queue.read_port(domain="comb")
        room = Signal(range(self.depth + 1), init=self.depth, name=f"room{number}")
        stored = Signal(range(self.depth + 1), name=f"stored{number}")
        some = Signal(name=f"some{number}")  # stored != 0
        first, last = Signal(index_bits, name=f"first{number}"), Signal(index_bits, name=f"last{number}")
        ask, arrives, taken = (Signal(name=f"{name}{number}") for name in ("ask", "arrives", "taken"))
        m.d.comb += [
            ask.eq(room != 0),
            arrives.eq(self.port.valid & (self._owner == number)),
            taken.eq(some & words.ready),
            write.addr.eq(last),
            write.data.eq(self.port.data),
            write.en.eq(arrives),
            read.addr.eq(first),
            words.valid.eq(some),
            words.payload.eq(read.data),
        ]
        m.d.sync += [
            room.eq(up_down(room, up=taken, down=addresses.valid & addresses.ready)),
            stored.eq(up_down(stored, up=arrives, down=taken)),
            some.eq(arrives | stored[1:].any() | (stored[0] & ~taken)),
            first.eq(first + taken),
            last.eq(last + arrives),
        ]
        return ask
