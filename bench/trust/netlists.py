"""The accelerator in cells of a family, as yosys maps it: what is built computes what its source does, and as fast."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from bench.trust.campaign import expect
from bench.trust.programs import Programs
from firmware.device import Accelerator
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from hw.boards.fabric import ECP5, SERIES7, Fabric
from hw.boards.memory import Memory
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from hw.spec.regs import State
from sim import golden
from sim.netlist import NetlistRig
from sim.random_programs import Generated, random_program
from sim.rig import Rig

__all__ = ["FAMILIES", "Netlists"]

FAMILIES: dict[str, tuple[Fabric, Config]] = {
    fabric.title: (fabric, replace(BOARDS["tiny"].config, array=array))
    for fabric, array in ((SERIES7, "dsp48"), (ECP5, "ecp5"))
}
_DIGITS = Path(__file__).parents[2] / "examples" / "digits"
_IMAGES = 8  # of a case: half a minute
_NETWORK = 90  # cases: all 360 test images, on each netlist
_KINDS = {"legal": 80, "mutated": 8, "reset": 12}
_LIMIT = 4_000_000  # cycles
_PAUSE = 1000  # cycles, in which the slowest bus is done with a burst from before the reset


class Netlists(Programs):
    """By turns of the families: first the digits, every image, then random programs as `Programs` has them.

    With the same memory, the source has to take as many cycles, and each engine to be busy and to wait as long.
    """

    name, title, counted, goal, block = "netlists", "netlists of yosys", "runs equal", 2000, 10
    sources = (*Programs.sources, "sim/netlist", "sim/verilated", "bench/trust/netlists.py")

    def case(self, seed: int) -> None:
        draw, title = random.Random(seed), list(FAMILIES)[seed % len(FAMILIES)]
        fabric, config = FAMILIES[title]
        if title not in self.rigs:
            self.rigs[title] = NetlistRig(config, fabric)
        netlist = self.rigs[title]
        if seed < _NETWORK:
            self._digits(netlist, title, seed // len(FAMILIES) * _IMAGES)
        else:
            generated = random_program(config, seed, groups=draw.choice((4, 12, 20)))
            kind = draw.choices(list(_KINDS), list(_KINDS.values()))[0]
            if kind != "legal":
                self._hostile(netlist, draw)
                getattr(self, f"_{kind}")(netlist, generated, draw)
            self._as_the_source(netlist, title, generated, draw.getrandbits(32))
            self.counts[f"{title}, {kind}"] += 1
        self.counts[self.counted] += 1

    def _digits(self, netlist: Rig, title: str, first: int) -> None:
        """Every logit of some images."""
        model, pixels = load_model(_DIGITS / "digits.safetensors"), np.load(_DIGITS / "images.npy")
        chosen = pixels[first : first + _IMAGES]
        netlist.sim.configure(random=0, interleave=0, error_size=0, **asdict(Memory()))
        netlist.sim.reset()
        device = Accelerator(netlist.sim, netlist.config)
        device.load(model)
        differing = np.argwhere(device.run(chosen) != golden.run(model, to_int8(chosen, model)))
        expect(
            not len(differing), f"{title}: {len(differing)} logits differ from image {first}, {differing[:3].tolist()}"
        )
        self.counts[f"{title}, images of the digits"] += len(chosen)

    def _forgetful(self, rig: Rig, memory: int) -> None:
        """Any memory, by its seed, whose times do not depend on what was before."""
        self._hostile(rig, random.Random(memory))
        rig.sim.configure(row_miss=0, turnaround=0, refresh=0)
        rig.sim.run(_PAUSE)

    def _as_the_source(self, netlist: Rig, title: str, generated: Generated, memory: int) -> None:
        """Every word of every region, nothing beyond them, and all counters."""
        self._forgetful(netlist, memory)
        self._exact(netlist, title, generated)
        if f"{title} source" not in self.rigs:
            self.rigs[f"{title} source"] = Rig(netlist.config)
        source = self.rigs[f"{title} source"]
        self._forgetful(source, memory)
        source.load(generated.program, generated.before)
        expect(source.start(_LIMIT) is State.DONE, f"{title}: the source does not end")
        found, wanted = netlist.counters(), source.counters()
        different = [f"{name} {found[name]}, not {wanted[name]}" for name in found if found[name] != wanted[name]]
        expect(not different, f"{title}: {'; '.join(different)}")
