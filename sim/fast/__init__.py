"""The golden model's operators on compiled kernels: equal to `hw.spec.arith`, many times faster."""

from sim.fast.fused import FusedLaws
from sim.fast.laws import FastLaws, fast_laws

__all__ = ["FastLaws", "FusedLaws", "fast_laws"]
