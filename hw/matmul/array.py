"""The weight-stationary array, on the multipliers the target has."""

from amaranth.hdl import Module
from amaranth.lib import wiring

from hw.matmul.array_dsp48 import ArrayDSP48
from hw.matmul.array_ecp5 import ArrayECP5
from hw.matmul.array_portable import ArrayPortable
from hw.matmul.stationary_array import StationaryArray
from hw.units.ports import stationary_members

__all__ = ["Array"]

_VENDORS = {"dsp48": ArrayDSP48, "ecp5": ArrayECP5}


class Array(wiring.Component):
    """``sums[c]`` = sum over r of ``token[r] * weight[r][c]``, one token per cycle, ``latency`` cycles later.

    Nothing stalls. Weights are double-buffered: a tile is loaded a column per cycle while the former one works, and
    takes over with the token that carries ``swap``; no cycle is lost. Tokens are -255..255, weights -128..127.

    Parameters
    ----------
    rows, cols: products per sum, sums per token
    mapping: "dsp48" (two products per DSP48E1), "ecp5" (one per MULT18X18D) or "portable" (plain multipliers); all
        have the same latency
    primitives: instantiate vendor primitives where the mapping has them, instead of their behavioural model

    Members: see :func:`hw.units.ports.stationary_members`.
    """

    def __init__(self, *, rows, cols, mapping, primitives=False):
        self.sum_bits = 16 + rows.bit_length()
        shape = {"rows": rows, "cols": cols, "sum_bits": self.sum_bits}
        if mapping == "portable":
            self._mapped = ArrayPortable(**shape)
        elif mapping in _VENDORS:
            self._mapped = _VENDORS[mapping](**shape, primitives=primitives)
        else:
            raise ValueError(f"mapping must be {', '.join(map(repr, _VENDORS))} or 'portable', not {mapping!r}")
        self.mapping = mapping
        super().__init__(stationary_members(**shape))

    timing = staticmethod(StationaryArray.timing)  # whatever the mapping

    @property
    def latency(self):
        """Cycles from a token to its sums."""
        return self._mapped.latency

    def elaborate(self, _platform):
        m = Module()
        m.submodules[self.mapping] = mapped = self._mapped
        m.d.comb += [mapped.load.eq(self.load), mapped.token.eq(self.token), self.sums.eq(mapped.sums)]
        return m
