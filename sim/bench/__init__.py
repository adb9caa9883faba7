"""cocotb benches on the emitted Verilog; ``sim.bench.runner.run_bench`` calls them, from pytest or from anywhere."""
