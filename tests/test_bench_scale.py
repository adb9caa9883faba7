"""Every board: tables from the cycle model and from simulated gateware; what was found is not found again."""

import json
from dataclasses import replace

import pytest

from bench import scale
from bench.__main__ import main


@pytest.fixture
def small(monkeypatch):
    """A small network, on the board tiny alone and in pairs."""
    sizes = {"img_size": 32, "patch": 8, "dim": 64, "depth": 1, "heads": 2, "classes": 10}
    network = scale.Network(title="small", arch="deit_tiny", sizes=tuple(sizes.items()))
    monkeypatch.setattr(scale, "NETWORKS", {"deit-t": network})
    monkeypatch.setattr(scale, "BOARDS_SHOWN", (("tiny", 1), ("tiny", 2)))
    scale._model.cache_clear()
    yield
    scale._model.cache_clear()


@pytest.mark.usefixtures("small")
def test_page_and_results(tmp_path, monkeypatch, capsys):
    page, report, kept = tmp_path / "page.md", tmp_path / "report.json", tmp_path / "kept" / "results.jsonl"
    page.write_text("<!-- bench scale: begin -->\n<!-- bench scale: end -->\n")
    line = ["scale", "--docs", str(page), "--report", str(report), "--results", str(kept)]
    assert main([*line, "--simulate", "deit-t:tiny"]) == 0
    one, two = json.loads(report.read_text())["figures"]
    assert (one["bit_exact"], two["bit_exact"], two["simulated"]) == (True, None, None)
    assert abs(one["predicted"] / one["simulated"] - 1) < 0.05
    assert two["predicted"] < 2 * one["predicted"]
    text = page.read_text()
    assert f"| small | `tiny` | {one['simulated']:,} |" in text
    assert "| simulated, bit-exact | " in text
    assert f"| small | `tiny`, batch of 2 | {two['predicted'] / 2:,.0f} |" in text
    assert "| cycle model |  |" in text
    assert capsys.readouterr().out.strip() in text

    def again(*_arguments, **_options):
        raise AssertionError("found already")

    monkeypatch.setattr(scale, "_simulated", again)
    monkeypatch.setattr(scale, "estimate", again)
    assert main([*line, "--simulate", "deit-t:tiny"]) == 0
    assert page.read_text() == text
    entries = [json.loads(entry) for entry in kept.read_text().splitlines()]
    kept.write_text("".join(json.dumps(entry | {"bit_exact": False}) + "\n" for entry in entries))
    assert main([*line, "--simulate", "deit-t:tiny"]) == 1
    assert "| simulated, WRONG |" in page.read_text()


@pytest.mark.usefixtures("small")
def test_what_does_not_run_there_is_left_out(tmp_path, monkeypatch, capsys):
    wide = replace(scale.NETWORKS["deit-t"], sizes=(*scale.NETWORKS["deit-t"].sizes, ("img_size", 512)))
    monkeypatch.setattr(scale, "NETWORKS", {"deit-t": wide})
    assert main(["scale", "--results", str(tmp_path / "r"), "--boards", "tiny"]) == 0
    said = capsys.readouterr()
    assert "| small" not in said.out
    assert "deit-t on tiny: " in said.err
