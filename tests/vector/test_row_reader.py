import pytest

from hw.vector.row_reader import RowReader
from tests.support.started import Started
from tests.support.streams import PRESSURES, run_streams

WALKS = [  # base, stride, words, rows, groups
    (0, 0, 1, 1, 1),
    (100, 7, 5, 4, 1),
    (40000, 4095, 1, 7, 3),  # ends beyond 16 bits
    (3, 2, 2, 3, 2),
    (65535, 1, 4096, 1, 1),
]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("walk", WALKS)
def test_visits_every_word_in_order(walk, pressure):
    base, stride, words, rows, groups = walk
    expected = [base + g + r * stride + w for g in range(groups) for r in range(rows) for w in range(words)]
    expected = expected[:200]
    fields = {"base": base, "stride": stride, "words_m1": words - 1, "rows_m1": rows - 1, "groups_m1": groups - 1}
    dut = Started(RowReader())
    whole = words * rows * groups == len(expected)
    results, cycles = {}, {}
    if whole:
        results, cycles = run_streams(dut, {}, {"o": len(expected)}, pressure=pressure, constants={"walk": fields})
        assert results["o"] == expected
        if not pressure:
            assert cycles["o"] == list(range(1, len(expected) + 1))
    else:
        with pytest.raises(AssertionError, match="delivered more than 200 items"):
            run_streams(dut, {}, {"o": len(expected)}, pressure=pressure, constants={"walk": fields})


@pytest.mark.parametrize("walk", [(65534, 1, 5, 1, 1), (65000, 4095, 2, 3, 1), (65530, 9, 1, 1, 9)])
def test_addresses_beyond_16_bits(walk):
    """By words, by rows, by groups: exact up to and including the first one."""
    base, stride, words, rows, groups = walk
    expected = [base + g + r * stride + w for g in range(groups) for r in range(rows) for w in range(words)]
    exact = next(number for number, address in enumerate(expected) if address >= 1 << 16) + 1
    fields = {"base": base, "stride": stride, "words_m1": words - 1, "rows_m1": rows - 1, "groups_m1": groups - 1}
    results, _ = run_streams(Started(RowReader()), {}, {"o": len(expected)}, constants={"walk": fields})
    assert results["o"][:exact] == expected[:exact]
