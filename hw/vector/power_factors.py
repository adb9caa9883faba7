"""Power-of-two factors in front of a LayerNorm: int8 codes of each channel, shifted by its exponent."""

from amaranth.hdl import Array, Module, Mux, Signal, signed

from hw.spec.memory import BIAS_BITS
from hw.spec.rivals import FACTOR_EXPONENTS
from hw.spec.timing import Timing
from hw.units.pipe import Pipe
from hw.units.ports import lanes_of
from hw.vector.row_unit import RowUnit

__all__ = ["PowerFactors"]

X_BITS, CODE_BITS = 16, 8
SHIFT_BITS = 3
EXPONENT_BITS = FACTOR_EXPONENTS.bit_length() - 1
RESULT_BITS = CODE_BITS + FACTOR_EXPONENTS - 1


class PowerFactors(RowUnit):
    """Computes :func:`rivals.ptf_input`, q << a of q = clamp(RNE(x / 2^(s + a))) in 8 bits: shifters, no multiplier.

    A channel's exponent a is the low two bits of its bias in the norm table, s an operand. `lanes` elements per cycle;
    results leave ``latency`` cycles after their elements enter; a stalled output stalls the whole pipe.

    Members
    -------
    operands : {"norm_shift"}
    i : {"x", "mask", "last", "bias", "tag" if any}
    o : {"x", "mask", "last", "tag" if any}
    """

    def __init__(self, *, lanes, max_row=4096, tag=None):
        super().__init__(
            lanes=lanes, x=signed(X_BITS), timing=self.timing(max_row=max_row), operands={"norm_shift": SHIFT_BITS},
            beat={"bias": lanes_of(lanes, signed(BIAS_BITS))}, results=signed(RESULT_BITS), tag=tag,
        )  # fmt: skip

    @staticmethod
    def timing(**_sizes):
        """Distance, what rounds, the code, the result."""
        return Timing(latency=4)

    def elaborate(self, _platform):
        m = Module()
        pipe = Pipe(m, self.i, self.o, self.latency)
        for field in ("mask", "last", "tag"):
            pipe.carry(field)
        most = (1 << SHIFT_BITS) - 1 + FACTOR_EXPONENTS - 1
        halves = Array([0, *((1 << t - 1) - 1 for t in range(1, most + 1))])  # just below half of 2^t
        for lane in range(self.lanes):
            exponents = [Signal(EXPONENT_BITS, name=f"exponent{lane}_{k}", reset_less=True) for k in range(3)]
            distances = [Signal(range(most + 1), name=f"distance{lane}_{k}", reset_less=True) for k in range(2)]
            x = Signal(signed(X_BITS), name=f"x{lane}", reset_less=True)
            rounded = Signal(signed(X_BITS + 1), name=f"rounded{lane}", reset_less=True)
            code = Signal(signed(CODE_BITS), name=f"code{lane}", reset_less=True)
            result = Signal(signed(RESULT_BITS), name=f"result{lane}", reset_less=True)
            odd = (distances[0] != 0) & x.bit_select(distances[0], 1)
            shifted, least, greatest = rounded >> distances[1], -1 << CODE_BITS - 1, (1 << CODE_BITS - 1) - 1
            with m.If(pipe.step):
                m.d.sync += [
                    exponents[0].eq(self.i.p.bias[lane]),
                    distances[0].eq(self.operands.norm_shift + self.i.p.bias[lane][:EXPONENT_BITS]),
                    x.eq(self.i.p.x[lane]),
                    rounded.eq(x + halves[distances[0]] + odd),
                    distances[1].eq(distances[0]),
                    code.eq(Mux(shifted > greatest, greatest, Mux(shifted < least, least, shifted))),
                    exponents[1].eq(exponents[0]),
                    exponents[2].eq(exponents[1]),
                    result.eq(code << exponents[2]),
                ]
            m.d.comb += self.o.p.x[lane].eq(result)
        return m
