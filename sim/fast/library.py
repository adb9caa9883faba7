"""The compiled kernels: built by g++ for this processor when first needed, called on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.libraries import library, run
from sim.libraries import load as load_library

__all__ = ["Kernels", "load"]

_HERE = Path(__file__).parent
_SOURCES = ("kernels.cpp", "products.h", "requantize.h", "rows.h")
# No NaN, infinity or negative zero occurs; sums are not reordered.
_FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fwrapv", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math",
    "-fPIC", "-shared",
)  # fmt: skip
_COUNTED = ("packed_size", "requantize_i32_i8", "requantize_i32_i16", "requantize_i64_i8", "requantize_i64_i16")


class Kernels:
    """The functions of kernels.cpp. Arrays pass by address and must be contiguous; integers are 64 bits."""

    def __init__(self, path: Path) -> None:
        self._library = load_library(path)
        for name in _COUNTED:
            getattr(self._library, name).restype = ctypes.c_int64
        self._library.processor.restype = ctypes.c_char_p
        self.processor = str(self._library.processor(), "ascii")  # instructions of the products

    def __call__(self, name: str, *arguments: NDArray[Any] | int | None) -> int:
        """Calls kernel `name`; other threads run meanwhile."""
        return int(getattr(self._library, name)(*map(_argument, arguments)) or 0)


def _argument(value: NDArray[Any] | int | None) -> Any:
    return ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else ctypes.c_int64(value or 0)


def load(*options: str) -> Kernels:
    """The kernels compiled with further `options`. Raises BuildError without g++ or if it fails.

    -DPORTABLE leaves out what only x86 processors have.
    """
    sources, flags = [(_HERE / name).read_text(encoding="utf-8") for name in _SOURCES], (*_FLAGS, *options)

    def make(directory: Path) -> Path:
        run(["g++", *flags, "-o", "kernels.so", str(_HERE / _SOURCES[0])], directory, "g++ on kernels.cpp")
        return directory / "kernels.so"

    path, _ = library("golden", (*sources, _processor(), *flags), make, "the fast golden model")
    return Kernels(path)


@functools.cache
def _processor() -> str:
    """What the compiler knows about this processor: a library for another one may not run here."""
    try:
        return run(["g++", "-march=native", "-dM", "-E", "-x", "c++", "/dev/null"], Path(), "g++ -march=native")
    except FileNotFoundError:
        return ""
