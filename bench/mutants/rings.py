"""Which tests a mutant of a file goes through: those of its unit, of the engine around it, of the whole core."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CORE", "rings", "units"]

_NONE = ("hw/spec/", "hw/build/", "hw/boards/", "hw/shell/")  # they describe no hardware of ours
CORE = ("tests/test_core.py",)

_ENGINE = {
    "hw/units/": (),
    "hw/axi/": ("tests/dma/test_dma.py",),
    "hw/dma/": ("tests/dma/test_dma.py",),
    "hw/matmul/": ("tests/matmul/test_engine.py",),
    "hw/sequencer/": ("tests/sequencer/test_sequencer.py",),
    "hw/vector/": ("tests/vector/test_engine.py",),
    "hw/link/": ("tests/link/test_link.py",),
}

_ARRAYS = ("tests/matmul/test_array.py", "tests/formal/test_packing.py")

# What tests a file, where that is not the modules with its name: in its folder of tests, and of the formal proofs.
_TESTS: dict[str, tuple[str, ...]] = {
    "hw/accelerator.py": ("tests/test_accelerator.py",),
    "hw/axi/pins.py": ("tests/axi/test_pins.py", "tests/dma/test_dma.py"),
    "hw/core.py": CORE,
    "hw/dma/fetch.py": ("tests/dma/test_dma.py", "tests/formal/test_fetch.py"),
    "hw/dma/load.py": ("tests/dma/test_dma.py", "tests/formal/test_load.py"),
    "hw/dma/store.py": ("tests/dma/test_dma.py", "tests/formal/test_store.py"),
    "hw/link/bridge.py": ("tests/link/test_link.py",),
    "hw/link/framer.py": ("tests/link/test_link.py",),
    "hw/link/register_port.py": ("tests/link/test_link.py",),
    "hw/matmul/array_dsp48.py": _ARRAYS,
    "hw/matmul/array_ecp5.py": _ARRAYS,
    "hw/matmul/array_portable.py": _ARRAYS,
    "hw/matmul/dsp48.py": _ARRAYS,
    "hw/matmul/mult18.py": _ARRAYS,
    "hw/matmul/skew.py": _ARRAYS,
    "hw/matmul/stationary_array.py": _ARRAYS,
    "hw/axi/crossing_reset.py": ("tests/axi/test_crossing.py",),
    "hw/units/broadcast.py": ("tests/units/test_slices.py",),
    "hw/units/floor_root.py": ("tests/vector/test_rivals.py",),
    "hw/units/lockstep.py": ("tests/units/test_slices.py",),
    "hw/units/scratch_select.py": ("tests/units/test_slices.py",),
    "hw/units/small_product.py": ("tests/units/test_small_product.py", "tests/vector/test_layer_norm.py"),
    "hw/units/limb_multiplier.py": ("tests/units/test_requantizer.py",),
    "hw/units/round_saturate.py": ("tests/units/test_requantizer.py", "tests/formal/test_round_saturate.py"),
    **dict.fromkeys(
        (
            "hw/vector/deviation.py",
            "hw/vector/int_exp.py",
            "hw/vector/int_gelu.py",
            "hw/vector/int_softmax.py",
            "hw/vector/int_softmax_sum.py",
            "hw/vector/log_softmax.py",
            "hw/vector/log_softmax_sum.py",
            "hw/vector/power_factors.py",
            "hw/vector/row_mean.py",
        ),
        ("tests/vector/test_rivals.py",),
    ),
    "hw/vector/exponentials.py": ("tests/vector/test_shiftmax.py", "tests/vector/test_rivals.py"),
    "hw/vector/gelu_products.py": ("tests/vector/test_shift_gelu.py",),
    "hw/vector/row_units.py": ("tests/vector/test_row_units_verilog.py",),
    "hw/vector/command.py": ("tests/vector/test_command.py",),
    "hw/vector/source.py": ("tests/vector/test_engine.py",),
}

_ENGINES_OF_UNITS = {
    "credit_queue": "vector", "divider": "vector", "limb_multiplier": "matmul", "pipe": "vector",
    "reciprocal": "vector", "requantizer": "matmul", "round_saturate": "matmul", "scratchpad": "dma",
    "square_root": "vector", "stream_fifo": "dma",
}  # fmt: skip


def units(root: Path) -> list[str]:
    """The files of the gateware under `root`, those that describe hardware or not."""
    names = sorted(path.relative_to(root).as_posix() for path in (root / "hw").rglob("*.py"))
    return [name for name in names if not name.startswith(_NONE)]


def rings(root: Path, unit: str) -> list[tuple[str, tuple[str, ...]]]:
    """(name of the ring, test modules) of a file, from the inmost; a module is in one ring only."""
    own = _TESTS.get(unit, ())
    if not own:
        folder, name = Path(unit).parent.name, Path(unit).stem
        places = (f"tests/{folder}/test_{name}.py", f"tests/test_{name}.py", f"tests/formal/test_{name}.py")
        own = tuple(place for place in places if (root / place).is_file())
    folder = unit.rpartition("/")[0] + "/"
    around = _ENGINE.get(folder, ())
    if folder == "hw/units/" and (engine := _ENGINES_OF_UNITS.get(Path(unit).stem)):
        around = ("tests/dma/test_dma.py",) if engine == "dma" else (f"tests/{engine}/test_engine.py",)
    found: list[tuple[str, tuple[str, ...]]] = []
    seen: set[str] = set()
    for name, modules in (("unit", own), ("engine", around), ("core", CORE)):
        left = tuple(module for module in modules if module not in seen)
        seen |= set(left)
        if left:
            found.append((name, left))
    return found
