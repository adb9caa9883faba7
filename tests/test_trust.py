"""Campaigns: a sample of each, what becomes of failures, that nothing is lost, and the page."""

import json
import random
from collections import Counter
from contextlib import nullcontext
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from bench.__main__ import main
from bench.trust import blocks, command, ledger, netlists
from bench.trust.blocks import Block, cases, run_block
from bench.trust.campaign import Campaign, Unexplained, expect
from bench.trust.campaigns import CAMPAIGNS
from bench.trust.cover import FAULTS, instruction_points
from bench.trust.ledger import Ledger
from bench.trust.netlists import Netlists
from bench.trust.programs import CONFIGS, Programs, mutated, predicted
from hw.spec.isa import INSTRUCTION_BYTES, OPERANDS, Fault, Op, Region, decode, encode
from hw.spec.regs import State
from sim.random_programs import random_program
from sim.rig import Rig

SAMPLES = {"programs": 12, "files": 150, "stores": 150, "link": 2}  # cases of each that every run of the tests makes


class Sums(Campaign):
    """Of two numbers; some are wrong, some raise, some end their process."""

    name, title, counted, goal, block = "sums", "sums", "sums", 100, 5
    sources = ("bench/trust/campaign.py",)
    wrong = frozenset({7})

    def case(self, seed):
        expect(seed not in self.wrong, f"{seed} is wrong")
        self.counts["sums"] += 1


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample(name, capsys):
    """No case of it is unexplained; seeds that no long run begins with."""
    campaign = CAMPAIGNS[name]()
    failed = cases(campaign, range(10**6, 10**6 + SAMPLES[name]))
    assert not failed, capsys.readouterr().out
    assert campaign.counts[campaign.counted] >= SAMPLES[name]


def test_cases_tell_what_happens(capsys):
    assert cases(Sums(), range(5, 9)) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["seed"] for line in told if "seed" in line] == [5, 6, 7, 7, 8]
    assert [line["what"] for line in told if "what" in line] == ["7 is wrong"]
    assert told[-1]["counts"] == {"sums": 3}
    assert told[-1]["peak"] > 1 << 20


@pytest.mark.parametrize(("code", "what"), [
    ("os.abort()", "the process ended with status -6"), ("time.sleep(600)", "did not end within 5 s"),
    ("sys.exit('never')", "the process ended with status 1: never"),
])  # fmt: skip
def test_a_process_that_ends_otherwise_is_a_failure_of_its_case(code, what, tmp_path, monkeypatch):
    """Of the last seed that it told."""
    program = f"import os, sys, time\nprint('{{\"seed\": 3}}', flush=True)\n{code}\n"
    folder = tmp_path / "bench" / "trust"
    folder.mkdir(parents=True)
    (folder / "blocks.py").write_text(program)
    monkeypatch.setattr(blocks, "_ROOT", tmp_path)
    block = run_block(Sums, 0, 5, "", patience=5 if "sleep" in code else 300)  # it tells its seed long before
    assert [failure["seed"] for failure in block.failures] == [3]
    assert what in block.failures[0]["what"]


def test_nothing_is_lost_and_nothing_runs_twice(tmp_path, monkeypatch):
    """A run cut off leaves half a line; a block that failed runs again when the sources are others."""
    kept = Ledger(tmp_path, Sums)
    assert [kept.seeds() for _ in range(3)] == [(0, 5), (5, 5), (10, 5)]
    kept.add(Block("sums", 0, 5, {"sums": 5}, sources=kept.sources))
    kept.add(Block("sums", 5, 5, {"sums": 4}, [{"seed": 7, "what": "7 is wrong"}], sources=kept.sources))
    with (tmp_path / "sums.jsonl").open("ab") as file:
        file.write(b'{"campaign": "sums", "fir')
    again = Ledger(tmp_path, Sums)
    assert again.seeds() == (10, 5)
    assert (again.counts["sums"], again.found, again.cases) == (9, 1, (10, 10))
    assert again.failures == [{"seed": 7, "what": "7 is wrong"}]
    monkeypatch.setattr(ledger, "sources", lambda *_: "others")
    mended = Ledger(tmp_path, Sums)
    assert mended.seeds() == (5, 5)
    mended.add(Block("sums", 5, 5, {"sums": 5}, sources="others"))
    assert (mended.counts["sums"], mended.failures, mended.found, mended.cases) == (10, [], 1, (10, 5))


@pytest.fixture
def sums(monkeypatch):
    """`Sums` as the only campaign, its blocks run here."""
    monkeypatch.setitem(CAMPAIGNS, "sums", Sums)

    def here(campaign, first, seeds, sources):
        made = campaign()
        failures = [{"seed": seed, "what": "wrong"} for seed in range(first, first + seeds) if seed in made.wrong]
        return Block(campaign.name, first, seeds, {"sums": seeds - len(failures)}, failures, 0.1, 1 << 20, sources)

    monkeypatch.setattr(command, "run_block", here)
    ticks = count(step=0.01)  # of a clock that a busy machine does not hurry
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.usefixtures("sums")
def test_page_report_and_status(tmp_path, monkeypatch, capsys):
    page, report = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text("<!-- bench trust: begin -->\n<!-- bench trust: end -->\n")
    line = ["trust", "--only", "sums", "--folder", str(tmp_path / "kept")]
    assert main([*line, "--hours", "0.00005", "--workers", "1", "--docs", str(page), "--report", str(report)]) == 1
    said = capsys.readouterr().out
    assert "UNEXPLAINED sums 7: wrong" in said
    assert "python -m bench trust --only sums --seed 7" in said
    assert "| `sums`: sums |" in page.read_text()
    assert json.loads(report.read_text())["campaigns"][0]["counts"]["sums"] > 8
    monkeypatch.setattr(Sums, "wrong", frozenset())
    assert main([*line, "--seed", "7"]) == 0
    monkeypatch.setattr(ledger, "sources", lambda *_: "others")
    assert main([*line, "--hours", "0.00002", "--workers", "1"]) == 0
    assert main(line) == 0


def test_a_wrong_word_is_found(monkeypatch, capsys):
    """What the gateware computes is compared: with another expectation the case fails."""

    def other(config, seed, groups):
        generated = random_program(config, seed, groups)
        last = max(generated.after, key=lambda region: len(generated.after[region]))
        generated.after[last][-1, -1] ^= 1
        return generated

    monkeypatch.setattr("bench.trust.programs.random_program", other)
    campaign = Programs()
    legal = (seed for seed in range(100) if random.Random(seed).choices(list(CONFIGS), (20, 48, 12, 20))[0] == "tiny")
    assert cases(campaign, [next(legal)]) == 1
    assert "differs in 1 bytes" in capsys.readouterr().out


class Later(Rig):
    """As its source, but for a cycle."""

    def counters(self):
        found = super().counters()
        return found | {"cycles": found["cycles"] + 1}


@pytest.fixture
def stand_in(monkeypatch):
    """`tiny`'s source in the place of the netlists, which take minutes; `tests/sim/test_netlist.py` has some."""
    monkeypatch.setattr(netlists, "FAMILIES", {"tiny": (None, CONFIGS["tiny"])})
    monkeypatch.setattr(netlists, "NetlistRig", lambda config, _fabric: Rig(config))


@pytest.mark.usefixtures("stand_in")
def test_netlists(monkeypatch, capsys):
    """The digits and every kind of program are compared; a wrong logit and one cycle more are found."""
    campaign = Netlists()
    assert cases(campaign, (3, *range(10**6 + 31, 10**6 + 37))) == 0, capsys.readouterr().out
    assert campaign.counts["runs equal"] == 7
    assert campaign.counts["tiny, images of the digits"] > 1
    assert min(campaign.counts[f"tiny, {kind}"] for kind in ("legal", "mutated", "reset")) > 0, campaign.counts
    monkeypatch.setattr(netlists.golden, "run", lambda *_: np.zeros(10, np.int32))
    assert cases(Netlists(), [0]) == 1
    assert "logits differ from image 0" in capsys.readouterr().out
    monkeypatch.setattr(netlists, "NetlistRig", lambda config, _fabric: Later(config))
    assert cases(Netlists(), [10**6]) == 1
    assert "tiny: cycles " in capsys.readouterr().out


def test_mutants_of_programs_differ_in_one_place_and_end_in_every_way():
    ends = Counter()
    for seed in range(60):
        generated = random_program(CONFIGS["tiny"], seed, groups=3)
        other = mutated(generated.program, random.Random(seed))
        assert other != generated.program or seed
        ending, _ = predicted(CONFIGS["tiny"], other, generated.before)
        ends[ending[0]] += 1
    assert min(ends[State.DONE], ends[State.FAULT]) > 10


def test_a_mutant_that_moves_for_hours_is_another_one():
    campaign = Programs()
    campaign.case(676)
    assert campaign.counts["cover fault: DEADLOCK sequencer"] == 1


@pytest.mark.parametrize("outside", [("scratch", "offset"), ("scratch",), ("offset",)])
def test_of_two_faults_of_an_address_either_may_come_first(outside, monkeypatch):
    """What the model did not expect is explained only if the transfer leaves its region and the scratchpad."""
    faults = [Fault.REGION_ADDRESS, Fault.SCRATCH_ADDRESS]

    def mutant(program, _):
        """Its first instruction is a LOAD."""
        first = decode(program[:INSTRUCTION_BYTES])
        most = {field.name: (1 << field.bits) - 1 for field in OPERANDS[first.op] if field.name in outside}
        return encode(first.op, first.waits, **first.operands | most) + program[INSTRUCTION_BYTES:]

    def other(*arguments, **options):
        (state, fault, *where), machine = predicted(*arguments, **options)
        return (state, faults[1 - faults.index(fault)], *where), machine

    monkeypatch.setattr("bench.trust.programs.mutated", mutant)
    monkeypatch.setattr("bench.trust.programs.predicted", other)
    campaign, both = Programs(), len(outside) == 2
    with nullcontext() if both else pytest.raises(Unexplained, match=r"_ADDRESS of LOAD.*, not .*_ADDRESS of LOAD"):
        campaign.case(366)
    assert campaign.counts["mutated, same end"] == both


def test_points_are_those_that_can_be():
    points = list(instruction_points())
    assert len(set(points)) == len(points) > 400
    assert len(set(FAULTS)) == len(FAULTS)
    assert not [point for point in points if point[1] == "i0=0"]


def test_what_nothing_wrote_may_be_anything():
    """Statistics of all bits that the gateware keeps: a LAYER_NORM before its MOMENTS may read any."""
    regions = {region: np.zeros(64, np.uint8) for region in Region}
    _, machine = predicted(CONFIGS["2 slices"], encode(Op.HALT), regions, leftovers=1)
    for present in machine.slices:
        assert present.factor.max() >= 1 << 24
        assert present.row_max.min() < 0 < present.row_max.max()
        assert present.mean.min() < 0 < present.mean.max()
