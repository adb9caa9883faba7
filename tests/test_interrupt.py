"""Ctrl-C: what takes long says that it runs, where there is no terminal too, and ends at once with status 130."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from firmware.architectures import architecture
from firmware.make_model import make_model
from firmware.model_file import save_model

ROOT = Path(__file__).parents[1]
SECONDS = 1.0  # within which a command ends
BUSY = 2.0  # more, on a machine that does other things too


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that takes long everywhere, and pixels."""
    folder = tmp_path_factory.mktemp("long")
    shape = architecture("deit_tiny_patch16_224")
    save_model(make_model(shape, calibration=1), folder / "model")
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (1024, 3, 224, 224), np.uint8))
    np.save(folder / "labels.npy", np.zeros(1024, np.int64))
    return folder


RUN = ("firmware", "run", "model", "--images", "images.npy")
CASES = {
    "golden": ((*RUN, "--device", "golden"), "", 4.0),
    "simulation, being made": ((*RUN, "--device", "sim:tiny?cache=new1"), "making the simulation", 1.0),
    "simulation, being compiled": (("sim", "board", "tiny", "--pty"), "making the simulation", 14.0),
    "evaluation": (("firmware", "eval", "model", "images.npy", "--labels", "labels.npy"), "", 6.0),
    "Verilog": (("hw.build", "--board", "arty_a7", "--out", "out1"), "writing Verilog", 1.0),
    "synthesis": (("hw.build", "--board", "tiny", "--out", "out2"), "synthesising the accelerator", 3.0),
    "benchmark": (("bench", "deit", "--only", "small"), "making the model", 1.0),
    "campaigns": (("bench", "trust", "--only", "netlists", "--hours", "1", "--folder", "kept"), "", 5.0),
    "mutants": (("bench", "mutants", "--units", "hw/dma/store", "--results", "mutants.jsonl"), "", 12.0),
}


@pytest.mark.parametrize("case", CASES)
def test_an_interrupt_ends_it(case, folder):
    """The signal reaches this process alone, not its children: nobody else ends them."""
    arguments, sign, wait = CASES[case]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "SHIFTWORK_CACHE": str(folder / case), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            said = ""
            while sign not in said:
                said += (process.stdout if arguments[0] == "hw.build" else process.stderr).readline()
                assert process.poll() is None, said
            time.sleep(wait)
            assert process.poll() is None, process.stderr.read()
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            taken = time.monotonic() - start
        finally:
            ended = time.monotonic() + BUSY
            while (left := children(process.pid)) and time.monotonic() < ended:
                time.sleep(0.05)  # what was killed takes a moment to go
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert taken < SECONDS + BUSY, taken
    assert not left


def children(session):
    """Processes of a session that are still there, but for dead ones."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == session and state != "Z" and int(path.parent.name) != session:
            found.append(int(path.parent.name))
    return found
