"""The MATMUL engine: streamer and feeder, systolic array, accumulators, drain."""

from hw.matmul.engine import MatmulEngine

__all__ = ["MatmulEngine"]
