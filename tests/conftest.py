"""Set before any test imports NumPy: small products on many BLAS threads are an order of magnitude slower."""

import os

__all__: list[str] = []

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
