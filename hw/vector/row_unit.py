"""What every unit that computes on rows looks like to the VECTOR engine."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.ports import lanes_of

__all__ = ["RowUnit"]


class RowUnit(wiring.Component):
    """Elements in, results or statistics of rows out. A subclass says which; the engine joins ports by their names.

    A subclass has a static method ``timing(*, lanes, max_row)`` that gives its `Timing`, and a constructor that takes
    ``lanes`` (elements of a beat), ``max_row``, for ``grouped`` opcodes ``tag``, for those that read a table
    ``word_bits``, and with ``places_products`` also ``products``, where those are (see `product_terms`). It may stall
    ``i`` and ``rows`` as it likes; at ``o`` the engine never stalls it.

    Parameters
    ----------
    lanes : int
    x : shape
        Of an element, as far as the unit looks at it.
    timing : Timing
    rows : dict from name to shape, or None
        What is known of a row: "row_max" (signed 8), "factor" (25) or, by name, an operand of the opcode (a count is
        the count itself). None: the unit asks for nothing.
    operands : dict from name to shape, or None
        Operands that are the same for all rows under way.
    words : int or None
        Bits of a scratchpad word, of a unit that takes a table's words.
    beat : dict from name to shape, or None
        More of a beat: "identity" (the other operand's elements, signed 16), "mean" (signed 17) and "factor" of the
        beat's row, unless there are `rows`, "bias" of its channels, from the norm table.
    results : shape, or None
        Of a result; None for a unit that finds statistics.
    statistics : dict from name to shape, or None
        "mean", "factor" or both, of a row.
    tag : shape or None
        Side data that leaves with the results.

    Members
    -------
    rows
        Stream, in row order; taken with a row's first elements or ahead of them.
    operands
    start, words
        After the cycle of ``start``, in which nothing is under way, all words of an instruction's table come in this
        stream. Its elements come, too, and the unit lets them wait for what they need.
    i : {"x", "mask", "last", of `beat`, "tag" if any}
        ``last`` ends a row. Elements without a one in the mask do not count.
    o : {"x", "mask", "last", "tag" if any}, or `statistics`
        A beat of results for each of elements, or one item for each row.
    """

    places_products = False

    def __init__(
        self, *, lanes, x, timing, rows=None, operands=None, words=None, beat=None, results=None, statistics=None,
        tag=None,
    ):  # fmt: skip
        if lanes < 1:
            raise ValueError(f"lanes must be positive, not {lanes}")
        if (results is None) == (statistics is None):
            raise ValueError("a row unit has either results or statistics")
        self.lanes = lanes
        self.latency, self.row_cycles = timing.latency, timing.interval
        tags = {} if tag is None else {"tag": tag}
        ends = {"mask": lanes, "last": 1, **tags}
        element = {"x": lanes_of(lanes, x), **ends, **(beat or {})}
        out = statistics or {"x": lanes_of(lanes, results), **ends}
        members = {
            "i": In(stream.Signature(data.StructLayout(element))),
            "o": Out(stream.Signature(data.StructLayout(out))),
        }
        if rows:
            members["rows"] = In(stream.Signature(data.StructLayout(rows)))
        if operands:
            members["operands"] = In(data.StructLayout(operands))
        if words:
            members |= {"start": In(1), "words": In(stream.Signature(words))}
        super().__init__(members)
