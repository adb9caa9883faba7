"""The ablation's benchmark: a mixture in a small network, one unit synthesised, tables, plot, and going on."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bench import ablation
from bench.__main__ import main
from bench.ablation_units import OPERATORS, UnitFigures, passes, unit_figures
from hw.boards.registry import BOARDS
from hw.spec.isa import Op
from hw.spec.vector import row_of
from hw.vector.row_units import unit_timing

DIGITS = Path(__file__).parent.parent / "examples" / "digits"


def small(_folder):
    """The digits network's first block and a few images."""
    weights = load_file(DIGITS / "float.safetensors")
    weights = {name: w for name, w in weights.items() if not name.startswith("blocks.") or name[7] == "0"}
    pixels, labels = np.load(DIGITS / "images.npy")[:20], np.load(DIGITS / "labels.npy")[:20]
    return ablation.Network("small", weights, pixels, pixels, (0.5,), (0.5,), {"patch": 2, "heads": 2}, labels)


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


def test_operators_are_units_that_are_there():
    assert {operator.kind for operator in OPERATORS} == {"softmax", "gelu", "norm"}
    for operator in OPERATORS:
        assert [row.name for row in passes(operator)] == list(operator.opcodes)


@pytest.fixture
def quick(monkeypatch):
    """Units without synthesis; mixtures and networks that take no time."""

    def figures(row, _config, _folder):
        return UnitFigures(row.name, 2, 9, 1, {"series7": dict.fromkeys(("lut", "ff", "dsp", "bram36"), row.number),
                                              "ecp5": dict.fromkeys(("lut", "ff", "dsp", "ebr"), 1)})  # fmt: skip

    monkeypatch.setattr(ablation, "unit_figures", figures)
    monkeypatch.setattr(ablation, "NETWORKS", {"digits": small})
    names = ("I-ViT", "IntGELU (I-BERT)", "I-BERT's, L1 LayerNorm")
    monkeypatch.setattr(ablation, "MIXTURES", {name: ablation.MIXTURES[name] for name in names})


@pytest.mark.usefixtures("quick")
def test_page_and_report(tmp_path, capsys, monkeypatch):
    page, report, plot = tmp_path / "ablation.md", tmp_path / "report.json", tmp_path / "ablation.svg"
    page.write_text("before\n<!-- bench ablation: begin -->\n<!-- bench ablation: end -->\nbehind\n")
    options = ["--folder", str(tmp_path / "kept"), "--docs", str(page), "--report", str(report), "--plot", str(plot)]
    assert main(["ablation", *options]) == 0
    said, content = capsys.readouterr(), json.loads(report.read_text())
    assert "digits, IntGELU (I-BERT) ..." in said.err
    assert [each["mixture"] for each in content["outcomes"]] == list(ablation.MIXTURES)
    first, gelu, _ = content["outcomes"]
    assert gelu["cycles"] != first["cycles"]
    assert all(each["cosine"] > 0.99 for each in content["outcomes"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("behind\n")
    assert f"| IntGELU (I-BERT) | {gelu['cycles']:,} |" in text
    sums = sum(
        row_of(getattr(Op, name)).number for name in ("SHIFTMAX_SUM", "SHIFTMAX", "MOMENTS", "LAYER_NORM", "INT_GELU")
    )
    assert f"| {sums} |" in text
    assert plot.read_text().startswith("<?xml")

    monkeypatch.setattr(ablation, "measure", None)  # everything is there
    assert main(["ablation", *options]) == 0
    assert page.read_text() == text
    (tmp_path / "kept" / "digits-IntGELU-(I-BERT).json").unlink()
    assert main(["ablation", *options, "--kept"]) == 0
    assert "IntGELU (I-BERT)" not in page.read_text()
