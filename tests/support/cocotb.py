"""cocotb from pytest: the benches live in ``sim.bench``, the helper too."""

from sim.bench.runner import BenchError, run_bench

__all__ = ["BenchError", "run_bench"]
