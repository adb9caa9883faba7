"""The golden model's operators on compiled kernels: equal to `hw.spec.arith`, many times faster."""

from sim.fast.laws import FastLaws, fast_laws

__all__ = ["FastLaws", "fast_laws"]
