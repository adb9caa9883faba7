"""Weight-stationary array on DSP48E1 slices: two columns, so two products, per slice and cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.utils import ceil_log2

from hw.matmul.dsp48 import DSP48
from hw.matmul.skew import Skew
from hw.matmul.stationary_array import StationaryArray

__all__ = ["FIELD_BITS", "ArrayDSP48", "carry_bits", "high_field", "low_field", "multiply_accumulate"]

FIELD_BITS = 16  # distance of the two weights: (w1 << 16) + w0 fits the 25-bit pre-adder for every int8 pair


def carry_bits(rows):
    """Bits of the side chain. ``rows`` products of -255..255 and -128..127 lie in [-rows * 2^15, rows * 2^15), so the
    low field's carry into the high one is a signed number of ceil(log2(rows)) bits."""
    return ceil_log2(rows)


def low_field(packed, side, *, bits):
    """low of packed = high * 2^16 + low, a signed number of 16 + bits bits, given side = high mod 2^bits.

    packed >> 16 is high + carry, where carry = floor(low / 2^16) fits `bits` bits signed, so its residue tells it.
    """
    carry = (packed[FIELD_BITS : FIELD_BITS + bits] - side)[:bits]
    return Cat(packed[:FIELD_BITS], carry).as_signed()


def high_field(top, low):
    """high, given top = packed >> 16 and low."""
    return top - low[FIELD_BITS:].as_signed()


def multiply_accumulate(side, weight, token, triple, *, bits):
    """side + weight * token mod 2^bits, in radix 4; `triple` is 3 * token mod 2^bits, shared by a row."""
    for place in range(0, bits, 2):
        width = bits - place
        select = weight[place : place + 2]
        multiple = Mux(select[0], triple[:width], Cat(Const(0, 1), token)[:width])
        if len(select) == 2:
            multiple = Mux(select[1], multiple, Mux(select[0], token[:width], 0))
        else:
            multiple = Mux(select[0], token[:width], 0)
        side = (side + Cat(Const(0, place), multiple))[:bits]
    return side


class ArrayDSP48(StationaryArray):
    """See :class:`hw.matmul.stationary_array.StationaryArray`; two columns share a slice, so `cols` is even.

    A cascade of ``rows`` slices computes columns 2p and 2p + 1 as one number, high * 2^16 + low. Beside it runs a
    side chain of a few bits, high mod 2^k, from which both sums are recovered exactly at the bottom. The shadow
    weights are the A and D registers of the slices, the working ones AD. The side chain works one cycle later.

    Parameters
    ----------
    rows, cols, sum_bits: see StationaryArray
    primitives: instantiate DSP48E1, else its behavioural model
    """

    def __init__(self, *, rows, cols, sum_bits, primitives=False):
        if cols % 2:
            raise ValueError(f"cols must be even, two columns share a slice, not {cols}")
        self.primitives = primitives
        super().__init__(rows=rows, cols=cols, sum_bits=sum_bits)

    def elaborate(self, _platform):
        m = Module()
        tokens, weights, swaps, enables = self.waves(m)
        # The cascades fill columns of the die from end to end: half of them have the weights' registers for themselves.
        m.submodules.other_weights = other = Skew(lanes=self.rows, shape=signed(8), init=-1)
        m.d.comb += other.i.eq(self.load.data)
        packed = self._slices(m, tokens, (weights, other.o), swaps, enables)
        sides = self._side_chains(m, tokens, weights, swaps[1:], enables[1:])
        for pair in range(self.cols // 2):
            low, high = self._leave(m, pair, packed[pair], sides[pair])
            m.d.comb += [self.sums.data[2 * pair].eq(low), self.sums.data[2 * pair + 1].eq(high)]
        return m

    def _slices(self, m, tokens, weights, swaps, enables):
        """The cascades; returns the packed sum of each pair of columns."""
        packed = []
        for pair in range(self.cols // 2):
            mine = weights[4 * pair // self.cols]
            above = Const(0, 48)
            for row in range(self.rows):
                cell = DSP48(first=row == 0, primitive=self.primitives)
                m.submodules[f"slice{row}_{pair}"] = cell
                m.d.comb += [
                    cell.a.eq(mine[row] << FIELD_BITS),
                    cell.d.eq(mine[row]),
                    cell.b.eq(tokens[row]),
                    cell.load_a.eq(enables[row][2 * pair + 1]),
                    cell.load_d.eq(enables[row][2 * pair]),
                    cell.load_ad.eq(swaps[row]),
                    cell.cascade.eq(above),
                ]
                above = cell.below
            packed.append(cell.p)
        return packed

    def _side_chains(self, m, tokens, weights, swaps, enables):
        """The sums of the odd columns mod 2^bits, in step with the packed sums."""
        bits = carry_bits(self.rows)
        sides = [Const(0, bits)] * (self.cols // 2)
        for row in range(self.rows):
            early, token, triple, weight = (
                Signal(bits, name=f"{name}{row}", reset_less=True) for name in ("early", "token", "triple", "weight")
            )
            m.d.sync += [
                early.eq(tokens[row]),
                token.eq(early),
                triple.eq(early + (early << 1)),
                weight.eq(weights[row]),
            ]
            for pair in range(self.cols // 2):
                shadow, active, side = (
                    Signal(bits, name=f"{name}{row}_{pair}", reset_less=True) for name in ("shadow", "active", "side")
                )
                with m.If(enables[row][2 * pair + 1]):
                    m.d.sync += shadow.eq(weight)
                with m.If(swaps[row]):
                    m.d.sync += active.eq(shadow)
                m.d.sync += side.eq(multiply_accumulate(sides[pair], active, token, triple, bits=bits))
                sides[pair] = side
        return sides

    def _leave(self, m, pair, packed, side):
        """Two registers that split a packed sum: first low is known, then high."""
        low = low_field(packed, side, bits=carry_bits(self.rows))
        held_low = Signal(low.shape(), name=f"held_low{pair}", reset_less=True)
        # high fits sum_bits, so computing it modulo 2^sum_bits is exact even where packed >> 16 does not fit.
        held_top = Signal(signed(self.sum_bits), name=f"held_top{pair}", reset_less=True)
        sum_low = Signal(signed(self.sum_bits), name=f"low{pair}", reset_less=True)
        sum_high = Signal(signed(self.sum_bits), name=f"high{pair}", reset_less=True)
        m.d.sync += [
            held_low.eq(low),
            held_top.eq(packed[FIELD_BITS:]),
            sum_low.eq(held_low),
            sum_high.eq(high_field(held_top, held_low)),
        ]
        return sum_low, sum_high
