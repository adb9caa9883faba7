"""The ablation's benchmark: a mixture in a small network, units synthesised, tables, plot, and what is kept."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bench import ablation, ablation_figures, ablation_tables, kept
from bench.__main__ import main
from bench.ablation_networks import MIXTURES, Network, digits, integer_model, units
from bench.ablation_units import OPERATORS, Gates, Process, UnitFigures, gates, passes, unit_figures
from bench.kept import Kept
from bench.machine import machine, machines
from firmware.compiler import compile_model
from hw.boards.registry import BOARDS
from hw.build.liberty import read
from hw.spec.isa import Op
from hw.spec.vector import row_of, unit_names
from hw.vector.row_units import unit_timing
from sim.cycles import predict

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
TINY = Path(__file__).parent / "data" / "liberty" / "tiny.lib"


def small(_folder):
    """The digits network's first block and a few images."""
    weights = load_file(DIGITS / "float.safetensors")
    weights = {name: w for name, w in weights.items() if not name.startswith("blocks.") or name[7] == "0"}
    pixels, labels = np.load(DIGITS / "images.npy")[:20], np.load(DIGITS / "labels.npy")[:20]
    return Network(weights, pixels, pixels, (0.5,), (0.5,), {"patch": 2, "heads": 2}, labels)


def test_a_unit_alone(tmp_path):
    """Of both families; what is there is not made again."""
    row, config = row_of(Op.ROW_MEAN), BOARDS["arty_a7"].config
    found = unit_figures(row, config, tmp_path)
    assert (found.elements, found.interval) == (2, unit_timing(row, lanes=2, max_row=4096).interval)
    assert 50 < found.used["series7"]["lut"] < 400
    assert found.used["series7"]["dsp"] == found.used["ecp5"]["dsp"] == 0
    logs = {log: log.stat().st_mtime_ns for log in tmp_path.rglob("*.log")}
    assert len(logs) == 2
    assert unit_figures(row, config, tmp_path) == found
    assert {log: log.stat().st_mtime_ns for log in tmp_path.rglob("*.log")} == logs


def test_a_unit_in_a_process(tmp_path):
    """Without delays in the library there is none; memories of 4096 bits are macros; another library is another one."""
    config, there = BOARDS["arty_a7"].config, Kept(tmp_path)
    process = Process("tiny", read([TINY]))
    mean = gates(row_of(Op.ROW_MEAN), config, process, there, period=10)
    assert mean.kge > 0.5
    assert (mean.memory, mean.delay) == (0, None)
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert gates(row_of(Op.ROW_MEAN), config, process, there, period=10) == mean
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times
    (tmp_path / "other.lib").write_text(TINY.read_text() + "/* another corner */")
    other = gates(row_of(Op.ROW_MEAN), config, Process("tiny", read([tmp_path / "other.lib"])), there, period=10)
    assert other == mean
    assert len(list((tmp_path / "processes").iterdir())) == 2


def test_operators_are_units_that_are_there():
    assert {operator.kind for operator in OPERATORS} == {"softmax", "gelu", "norm"}
    for operator in OPERATORS:
        assert [row.name for row in passes(operator)] == list(operator.opcodes)
    for mixture in MIXTURES:
        assert len(ablation_tables.operators(mixture)) == 3
        assert set(units(mixture)) < set(unit_names())


@pytest.mark.parametrize("mixture", ["I-ViT", "Log-Int-Softmax (FQ-ViT), table", "all of I-BERT"])
def test_integers_do_not_change_cycles(mixture):
    """So that those of a network are of a quick quantization."""
    network = digits(Path())
    models = [integer_model("digits", mixture, network, quick=quick) for quick in (True, False)]
    assert any(not np.array_equal(models[0].tensors[name], models[1].tensors[name]) for name in models[0].tensors)
    config = replace(BOARDS["arty_a7"].config, vector=units(mixture))
    first, second = (predict(compile_model(model, config)) for model in models)
    assert (first.cycles, first.busy) == (second.cycles, second.busy)


def test_what_is_kept(tmp_path, monkeypatch):
    """Figures of other sources are found again, unless they are believed; comments are no sources."""
    monkeypatch.setattr(kept, "_ROOT", tmp_path)
    for function in (kept.sources, kept._tree):
        monkeypatch.setattr(kept, function.__name__, function.__wrapped__)
    (tmp_path / "laws").mkdir()
    (tmp_path / "laws" / "a.py").write_text("x = 1\n")
    first = kept.sources("laws")
    (tmp_path / "laws" / "a.py").write_text("# a bound\nx  =  1\n")
    assert kept.sources("laws") == kept.sources("laws/a.py") == first
    (tmp_path / "laws" / "a.py").write_text("x = 2\n")
    second = kept.sources("laws")
    assert second != first

    there, count = Kept(tmp_path / "kept"), iter(range(9))

    def make():
        return {"n": next(count)}

    assert [there.figure("cycles", "a b", made_from, make)["n"] for made_from in (first, first, second)] == [0, 0, 1]
    believed = Kept(tmp_path / "kept", ("cycles",))
    assert believed.figure("cycles", "a b", first, make) == {"n": 1}
    assert believed.figure("cycles", "c", first, make) == {"n": 2}
    assert believed.figure("outputs", "c", first, make) == {"n": 3}


def test_processes_give_results_in_order():
    tasks = [(math.sqrt, (4,)), (math.hypot, (3, 4)), (math.floor, (1.5,))]
    assert ablation._all(tasks, 2) == ablation._all(tasks, 1) == [2, 5, 1]


@pytest.fixture
def quick(monkeypatch):
    """Units without synthesis; mixtures and networks that take no time."""

    def figures(row, _config, _folder):
        return UnitFigures(row.name, 2, 9, 1, {"series7": dict.fromkeys(("lut", "ff", "dsp", "bram36"), row.number),
                                              "ecp5": dict.fromkeys(("lut", "ff", "dsp", "ebr"), 1)})  # fmt: skip

    def cells(row, _config, process, _kept, *, period):
        return Gates(row.name, process.name, period, row.number / 2, 512 * (row.name == "TABLE"), row.number / 4)

    ablation._reading.cache_clear()
    monkeypatch.setattr(ablation, "unit_figures", figures)
    monkeypatch.setattr(ablation, "gates", cells)
    monkeypatch.setattr(ablation, "NETWORKS", {"digits": small})
    names = ("I-ViT", "IntGELU (I-BERT)", "I-BERT's, L1 LayerNorm")
    monkeypatch.setattr(ablation, "MIXTURES", {name: ablation.MIXTURES[name] for name in names})
    yield
    ablation._reading.cache_clear()


@pytest.mark.usefixtures("quick")
def test_page_and_report(tmp_path, capsys, monkeypatch):
    page, asic, report, plot = (tmp_path / name for name in ("ablation.md", "asic.md", "report.json", "plot.svg"))
    page.write_text("before\n<!-- bench ablation: begin -->\n<!-- bench ablation: end -->\nbehind\n")
    asic.write_text("<!-- bench ablation-asic: begin -->\n<!-- bench ablation-asic: end -->\n")
    options = ["--folder", str(tmp_path / "kept"), "--docs", str(page), "--report", str(report), "--plot", str(plot)]
    options += ["--asic", str(asic), "--process", "TINY", str(TINY), "--process", "SAME", str(TINY)]
    monkeypatch.setattr(ablation_figures, "_pytorch", lambda _network: None)
    assert main(["ablation", *options]) == 0
    said, content = capsys.readouterr(), json.loads(report.read_text())
    assert "digits, IntGELU (I-BERT): outputs ..." in said.err
    for kind in ("outputs", "cycles"):
        assert [each["mixture"] for each in content[kind]] == list(ablation.MIXTURES)
    first, gelu, _ = (each["boards"] for each in content["cycles"])
    assert gelu["arty_a7"] != first["arty_a7"] > first["arty_a7_100"] > first["genesys2"]
    assert all(each["cosine"] > 0.99 for each in content["outputs"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("behind\n")
    assert f"| IntGELU (I-BERT) | {gelu['arty_a7']:,} |" in text
    assert f"| {BOARDS['genesys2'].clock_hz / gelu['genesys2']:.2f} |" in text
    sums = sum(
        row_of(getattr(Op, name)).number for name in ("SHIFTMAX_SUM", "SHIFTMAX", "MOMENTS", "LAYER_NORM", "INT_GELU")
    )
    assert f"| {sums} |" in text
    assert "| Shiftmax | I-ViT | 2 | 1 | 33 | 33 | 33 | 2 | 2 | 16.5 | 4.2 | 16.5 | 4.2 |" in text
    numpy, torch = content["references"]
    assert numpy["cosine"] == pytest.approx(1)
    assert f"| float32 on the host ({numpy['tool']}): " in text
    assert torch["seconds"] is None
    assert f"| float32 on the host ({torch['tool']}): not installed |" in text
    assert "| `TABLE` | 512 | 11.5 | 5.8 | 11.5 | 5.8 |" in asic.read_text()
    assert plot.read_text().startswith("<?xml")

    monkeypatch.setattr(ablation_figures, "integer_model", None)  # everything is there
    assert main(["ablation", *options]) == 0
    assert page.read_text() == text
    file = tmp_path / "kept" / "cycles" / "digits-IntGELU-(I-BERT).json"
    content = json.loads(file.read_text())
    content["figure"]["boards"]["arty_a7"], content["made_from"] = 1_000, "other sources"
    file.write_text(json.dumps(content))
    assert main(["ablation", *options, "--kept", "cycles"]) == 0
    assert "| IntGELU (I-BERT) | 1,000 |" in page.read_text()


@pytest.mark.usefixtures("quick")
def test_whole_on_the_gateware(tmp_path, capsys, monkeypatch):
    """The machine is the one with every unit that other tests run on."""
    tiny = BOARDS["tiny"].configured(replace(BOARDS["tiny"].config, vector=unit_names()))
    monkeypatch.setattr(ablation_figures, "SHOWN", ("tiny",))
    monkeypatch.setattr(ablation_tables, "SHOWN", ("tiny",))
    monkeypatch.setattr(ablation_figures, "_board", lambda _name, _mixture: tiny)
    report, name = tmp_path / "report.json", "I-BERT's, L1 LayerNorm"
    line = ["ablation", "--folder", str(tmp_path / "kept"), "--simulate", name, "--report", str(report)]
    assert main(line) == 0
    (found,) = json.loads(report.read_text())["simulated"]
    assert found["bit_exact"]
    assert abs(found["predicted"] / found["cycles"] - 1) < 0.05
    assert f"| digits | {name} | {found['cycles']:,} | " in capsys.readouterr().out
    file = tmp_path / "kept" / "simulated" / "digits-I-BERT's,-L1-LayerNorm.json"
    file.write_text(file.read_text().replace("true", "false"))
    assert main(line) == 1
    assert "| WRONG |" in capsys.readouterr().out


def test_what_the_command_refuses(tmp_path, capsys):
    assert main(["ablation", "--process", "alone", "--folder", str(tmp_path)]) == 2
    assert "--process wants a name and Liberty files, and got alone alone" in capsys.readouterr().err
    assert main(["ablation", "--process", "none", str(tmp_path / "none"), "--folder", str(tmp_path)]) == 2
    assert "there is no" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="lacks the lines <!-- bench ablation-asic: begin -->"):
        main(["ablation", "--asic", str(tmp_path / "page.md"), "--folder", str(tmp_path)])


def test_each_host_is_named_once():
    text = machine()
    name, load = text.split(", load average ")
    other = f"{name}, load average 0.5{load.lstrip('0123456789.')}"
    assert machines([text]).startswith(f"{name}, load average ")
    assert machines([other, text, other]).startswith(f"{name}, load average 0.")
    assert machines([other, text.replace(name, "Z80, 1 processors")]).count("; Z80, 1 processors, load average") == 1
