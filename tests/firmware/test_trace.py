"""Traces: laws of the pieces, and one recorded on the compiled gateware against the device's own counters."""

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.architectures import architecture
from firmware.compiler import Layer
from firmware.device import Accelerator
from firmware.files import writing
from firmware.make_model import images, make_model
from firmware.model_file import save_model
from firmware.trace import STATES, build_trace, busy_share, waits, write_trace
from hw.boards.registry import BOARDS
from hw.spec import isa
from hw.spec.isa import Engine, Op
from hw.spec.liveness import live_macs

BUSY, WAIT_IN, WAIT_OUT, IDLE = range(4)


def states(*rows):
    return np.array(rows, np.int64).reshape(-1, 2)


def program(*code, layers=()):
    instructions = [isa.decode(raw) for raw in code]
    return SimpleNamespace(
        model=SimpleNamespace(name="toy"), config=BOARDS["tiny"].config, images=1, layers=layers,
        disassemble=lambda: iter(instructions),
    )  # fmt: skip


def spans(**engines):
    return [engines.get(engine.name, []) for engine in Engine]


def slices(trace, category):
    return [event for event in trace["traceEvents"] if event["ph"] == "X" and event["cat"] == category]


def test_states_match_the_simulator():
    from sim.verilated.simulation import EVENTS

    assert EVENTS[2:] == STATES


def test_instructions_carry_layer_and_operands():
    layers = [Layer("fc1", "linear", 5, {Engine.MATMUL: [0]})]
    toy = program(isa.encode(Op.MATMUL, waits={Engine.LOAD: 3}, rows=7), isa.encode(Op.HALT), layers=layers)
    (event,) = slices(build_trace(toy, spans(MATMUL=[(100, 140)])), "MATMUL")
    assert (event["name"], event["ts"], event["dur"]) == ("fc1 MATMUL", 100, 41)
    expected = {"index": 0, "layer": "fc1", "op": "MATMUL", "rows": 7, "wait LOAD": 3}
    assert expected.items() <= event["args"].items()


def test_overlapping_instructions_lie_on_separate_tracks():
    toy = program(*[isa.encode(Op.MATMUL)] * 3)
    events = slices(build_trace(toy, spans(MATMUL=[(0, 10), (5, 20), (11, 30)])), "MATMUL")
    assert [event["tid"] - events[0]["tid"] for event in events] == [0, 1, 0]


def test_every_run_of_the_program_is_shown():
    toy = program(isa.encode(Op.LOAD), isa.encode(Op.STORE), isa.encode(Op.HALT))
    trace = build_trace(toy, spans(LOAD=[(0, 3), (9, 12)], STORE=[(5, 8), (14, 17)]), runs=2)
    assert [event["args"]["index"] for event in slices(trace, "STORE")] == [1, 1]
    with pytest.raises(ValueError, match="LOAD has 2 intervals for 1 instructions"):
        build_trace(toy, spans(LOAD=[(0, 3), (9, 12)], STORE=[(5, 8), (14, 17)]))


def test_waits_for_results_name_what_came_last():
    fetch, load, store = Layer("w", "linear", 0, {}), Layer("in", "add", 0, {Engine.LOAD: [0, 1]}), [0]
    layers = [fetch, load, Layer("out", "add", 0, {Engine.STORE: store})]
    code = [
        isa.encode(Op.LOAD), isa.encode(Op.SYNC), isa.encode(Op.STORE), isa.encode(Op.LOAD),
        isa.encode(Op.STORE, waits={Engine.LOAD: 1}), isa.encode(Op.STORE),
    ]  # fmt: skip
    recorded = spans(LOAD=[(0, 9), (20, 199)], STORE=[(12, 50), (201, 230), (300, 310)])
    trace = build_trace(program(*code, layers=layers), recorded)
    found = [(event["name"], event["ts"], event["dur"]) for event in slices(trace, "wait")]
    assert found == [("waits for in LOAD", 51, 150)]


def test_waits_end_where_the_next_state_begins():
    assert waits(states([5, BUSY], [9, WAIT_IN], [20, BUSY], [30, WAIT_OUT]), 50) == [
        (9, 20, "wait_in"), (30, 50, "wait_out"),
    ]  # fmt: skip
    assert waits(states(), 50) == []


def test_busy_share_equals_a_count_of_cycles():
    rng = np.random.default_rng(0)
    cycles = np.sort(rng.choice(1000, 60, replace=False))
    kinds = rng.integers(0, 4, 60)
    line = np.full(1000, IDLE)
    for cycle, kind in zip(cycles, kinds, strict=True):
        line[cycle:] = kind
    edges = np.array([0, 3, 100, 101, 640, 1000])
    expected = [(line[a:b] == BUSY).mean() for a, b in pairwise(edges)]
    assert busy_share(np.stack([cycles, kinds], axis=1), edges) == pytest.approx(expected)
    assert not busy_share(states(), edges).any()


@pytest.fixture(scope="module")
def small():
    shape = architecture("deit_tiny", img_size=32, patch=8, dim=64, depth=1, heads=2, classes=10)
    return make_model(shape), images(shape, 2)


def test_gateware_states_add_up_to_its_counters(small):
    model, pictures = small
    with Accelerator.open("sim:tiny?memory=1,states=1") as device:
        device.load(model)
        device.run(pictures)
        profile, recorded, intervals = device.profile(), device.transport.states(), device.transport.intervals()
        trace = build_trace(device.program, intervals, recorded, runs=2)
    stop = max(end + 1 for engine in intervals for _, end in engine)
    for engine, counted in zip(Engine, profile.engines, strict=True):
        changes = recorded[engine]
        lengths = np.diff(np.append(changes[:, 0], stop))
        busy, wait_in, wait_out = (int(lengths[changes[:, 1] == state].sum()) for state in (BUSY, WAIT_IN, WAIT_OUT))
        assert busy == counted.busy
        assert abs(wait_out - counted.wait_out) <= 4
        assert wait_in <= counted.wait_in  # which also counts waiting for an instruction's thresholds
        events = slices(trace, engine.name)
        assert len(events) == 2 * device.program.counts[engine]
        assert [event["ts"] for event in events] == [start for start, _ in intervals[engine]]
    counters = [event for event in trace["traceEvents"] if event["ph"] == "C"]
    shares = [event["args"]["busy"] for event in counters if event["name"] == "MATMUL busy %"]
    assert np.mean(shares) == pytest.approx(100 * profile.engines[Engine.MATMUL].busy / profile.cycles, abs=2)


def test_command_line_writes_trace_and_plots(small, tmp_path, capsys):
    model, pictures = small
    save_model(model, tmp_path / "model")
    np.save(tmp_path / "images.npy", pictures)
    names = {"trace": "trace", "roofline": "roofline.svg", "timeline": "timeline.svg", "report": "report"}
    files = {name: tmp_path / file for name, file in names.items()}
    command = ["profile", str(tmp_path / "model"), "--images", str(tmp_path / "images.npy"), "--count", "1", "--check"]
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    assert main([*command, "--device", "sim:tiny?memory=1", *options]) == 0
    trace, report = (json.loads(files[name].read_text()) for name in ("trace", "report"))
    assert report["bit_exact"]
    names = {event["name"] for event in trace["traceEvents"]}
    assert {"blocks.0.mlp.fc1 MATMUL", "MATMUL waits", "VECTOR busy %", "waits for input", "thread_name"} <= {
        *names, *(event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M")
    }  # fmt: skip
    assert report["roofline"]["total"]["macs"] == sum(live_macs(model).values())
    assert report["roofline"]["total"]["cycles"] == report["cycles"]
    roofline, timeline = files["roofline"].read_text(), files["timeline"].read_text()
    assert ">roofline, simulated; at the right MACs per cycle</text>" in roofline
    assert f">whole program  {report['roofline']['total']['macs_per_cycle']:.0f}</text>" in roofline
    assert f">{model.name} on sim:tiny?memory=1, simulated: blocks.0, " in timeline
    assert all(f">{name}</text>" in timeline for name in ("VECTOR", "attn.qkv", "mlp.fc2", "other layers"))
    assert "whole program" in capsys.readouterr().out
    assert main([*command, "--device", "sim:tiny?memory=1", "--roofline"]) == 0  # the table alone
    assert "whole program" in capsys.readouterr().out
    wrong = ["--timeline", str(files["timeline"]), "--block", "blocks.1"]
    assert main([*command, "--device", "sim:tiny?memory=1", *wrong]) == 2
    assert capsys.readouterr().err == (
        f"error: no layer of {model.name} is in a block blocks.1; there are blocks.0 to blocks.0\n"
    )
    assert files["timeline"].read_text() == timeline
    assert main([*command, "--device", "golden", *options]) == 2
    assert capsys.readouterr().err.startswith("error: the golden model has no cycles")


def test_files_are_json(tmp_path):
    toy = program(isa.encode(Op.LOAD))
    with writing(tmp_path / "trace.json") as file:
        write_trace(build_trace(toy, spans(LOAD=[(1, 2)])), file)
    content = json.loads((tmp_path / "trace.json").read_text())
    assert content["otherData"]["unit"] == "1 us shown is 1 clock cycle"
