"""Signatures shared by engines: scratchpad ports, an engine's controls, a stationary array."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from hw.spec.isa import OPCODE_BITS, OPERAND_BITS, OPERANDS, Op

__all__ = [
    "INDEX_BITS",
    "ISSUE",
    "SCRATCH_ADDRESS_BITS",
    "SLICE_BITS",
    "ScratchRead",
    "ScratchWrite",
    "engine_members",
    "lanes_of",
    "stationary_members",
]  # fmt: skip

SCRATCH_ADDRESS_BITS = 16
SLICE_BITS = next(field.bits for field in OPERANDS[Op.LOAD] if field.name == "slice")
INDEX_BITS = 24  # program index of an instruction

ISSUE = data.StructLayout({"op": OPCODE_BITS, "operands": OPERAND_BITS, "index": INDEX_BITS})


def lanes_of(lanes: int, shape) -> data.ArrayLayout:
    """`lanes` elements of `shape`, lane 0 lowest."""
    return data.ArrayLayout(shape, lanes)


class ScratchRead(Signature):
    """A reader's side of a scratchpad port.

    A granted ``request`` (valid and ready) is answered exactly ``Scratchpad.latency`` cycles later, in order,
    by ``valid`` with ``data``. Answers cannot be stalled: ask only for what there is room for.
    """

    def __init__(self, word_bits):
        super().__init__({
            "request": Out(stream.Signature(unsigned(SCRATCH_ADDRESS_BITS))),
            "valid": In(1),
            "data": In(word_bits),
        })


class ScratchWrite(Signature):
    """A writer's side of a scratchpad port: the granted word is written where ``mask`` has a one per byte."""

    def __init__(self, word_bits):
        layout = data.StructLayout({"address": SCRATCH_ADDRESS_BITS, "data": word_bits, "mask": word_bits // 8})
        super().__init__({"request": Out(stream.Signature(layout))})


def engine_members():
    """Members every engine has, to be merged into its signature.

    ``issue``: the next instruction of this engine; its dependencies are satisfied.
    ``started``/``retired``: one-cycle pulses, each once per instruction, in program order.
    ``busy``/``wait_in``/``wait_out``: at most one is high in a cycle; the performance counters count them.
    ``fault``: nonzero (an ``isa.Fault``) for one cycle, with ``fault_index``, the instruction's index, until it is
    cleared; without a fault, while nothing moves, that of the oldest instruction that has started and not retired.
    ``halt``: from the cycle after any fault; start no new burst, finish begun ones, and from the next cycle on ask for
    no scratchpad access.
    ``quiet``: no bus transfer of this engine is outstanding.
    """
    return {
        "issue": In(stream.Signature(ISSUE)),
        "started": Out(1),
        "retired": Out(1),
        "busy": Out(1),
        "wait_in": Out(1),
        "wait_out": Out(1),
        "fault": Out(4),
        "fault_index": Out(INDEX_BITS),
        "halt": In(1),
        "quiet": Out(1, init=1),
    }


def stationary_members(*, rows, cols, sum_bits):
    """Ports of a weight-stationary array, whatever its multipliers are mapped to. Nothing stalls.

    ``load``: word of one column of the *next* tile (`rows` int8 weights, row 0 lowest).
    ``token``: `rows` 9-bit activations; with ``swap`` the next tile becomes the current one, from this token on.
    All `cols` loads of a tile precede its swap; loads of the following tile may start in the swap's own cycle.
    ``sums``: `cols` column sums of a token, ``latency`` cycles after it.
    """
    return {
        "load": In(data.StructLayout({"valid": 1, "col": range(cols), "data": lanes_of(rows, signed(8))})),
        "token": In(data.StructLayout({"valid": 1, "swap": 1, "data": lanes_of(rows, signed(9))})),
        "sums": Out(data.StructLayout({"valid": 1, "data": lanes_of(cols, signed(sum_bits))})),
    }
