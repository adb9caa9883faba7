"""FETCH, LOAD and STORE: on AXI4 pins against a third-party memory model, and their throughput."""

import pytest

from sim.bench.dma_top import DmaTop
from tests.support.cocotb import run_bench

SIZES = {
    "narrow": {"word_bits": 64, "banks": 2, "bank_words": 128, "stream_words": 64, "burst_beats": 4},
    "arty": {"word_bits": 128, "banks": 4, "bank_words": 128, "stream_words": 128, "burst_beats": 16},
}


@pytest.mark.parametrize("pressure", [0.0, 0.3])
@pytest.mark.parametrize("size", SIZES)
def test_random_transfers(size, pressure):
    bench(size, "random_transfers", pressure)


@pytest.mark.parametrize("size", SIZES)
def test_faults_and_halts(size):
    bench(size, None, 0.3)


def bench(size, testcase, pressure):
    sizes = SIZES[size]
    env = {
        "WORD_BITS": sizes["word_bits"],
        "SCRATCH_WORDS": sizes["banks"] * sizes["bank_words"],
        "BURST_BEATS": sizes["burst_beats"],
        "PRESSURE": pressure,
        "TRANSFERS": 12,
    }
    run_bench(DmaTop(**sizes), "sim.bench.dma", name="dma_top", env=env, testcase=testcase)
