"""cocotb from pytest: the benches live in ``sim.bench``, the helper too."""

import numpy as np

from sim.bench.runner import BenchError, run_bench
from sim.random_programs import random_program

__all__ = ["BenchError", "core_program", "run_bench"]


def core_program(path, config, groups):
    """What `sim.bench.accelerator` reads, in file `path`: a random program and its regions; the bench's environment."""
    generated = random_program(config, 11, groups=groups)
    arrays = {f"before_{region.name}": content for region, content in generated.before.items()}
    arrays |= {f"after_{region.name}": content for region, content in generated.after.items()}
    np.savez(path, program=np.frombuffer(generated.program, np.uint8), **arrays)
    return {"BENCH_DATA": path, "BENCH_SEED": 1, "BENCH_FINGERPRINT": config.fingerprint}
