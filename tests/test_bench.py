"""The benchmark: verdicts, tables and published figures; one small network through it on the compiled gateware."""

import json
from dataclasses import replace

import pytest

from bench import golden, link, networks, runs, swin
from bench.__main__ import main
from bench.anchors import ANCHORS
from bench.deit import CASES, markdown, rows
from bench.runs import DSPS, Case, Result, Row, run_case
from firmware.architectures import architecture
from hw.boards.registry import BOARDS


def result(name, utilisation=0.93, **changes):
    fields = {
        "case": CASES[name], "bit_exact": True, "cycles": 10_000_000, "utilisation": utilisation, "occupancy": 0.99,
        "macs_per_cycle": 128, "wall": 40.0, "cpu": 35.0, "engines": {}, "predicted": 10_010_000,
        "layer_errors": {"fc1": 0.001, "fc2": -0.03},
    }  # fmt: skip
    return Result(**{**fields, **changes})


def verdicts(results):
    return {row.figure: row.verdict for row in rows(results)}


@pytest.mark.parametrize(
    ("value", "more", "verdict"),
    [
        (None, True, "not run"), (0.89, True, "FAIL"), (0.9, True, "pass"), (0.92, True, "stretch"),
        (0.93, False, "FAIL"), (0.9, False, "stretch"), (0.91, False, "pass"),
    ],
)  # fmt: skip
def test_verdict_compares_with_bar_and_stretch(value, more, verdict):
    bar, stretch = (0.9, 0.92) if more else (0.92, 0.9)
    assert Row("x", value, bar, stretch, str, more_is_better=more).verdict == verdict


def test_every_figure_has_a_row_measured_or_not():
    found = verdicts([result("tiny"), result("tiny-8", 0.95)])
    assert found["utilisation, DeiT-T, 16-bit attention"] == "stretch"
    assert found["utilisation, DeiT-T, 8-bit attention"] == "FAIL"
    assert found["utilisation, DeiT-S, 16-bit attention"] == "not run"
    assert found["cycle model against RTL, total, worst case"] == "stretch"
    assert found["cycle model against RTL, layers, worst case"] == "FAIL"  # 3 % on fc2, negative
    assert found["seconds to simulate one DeiT-T image"] == "pass"
    assert len(found) == len(rows([result("small")]))


def test_two_blocks_pass_no_bar_of_the_whole_network():
    quick = result("tiny", case=CASES["tiny"].quick())
    assert verdicts([quick])["utilisation, DeiT-T, 16-bit attention"] == "quick run"
    assert "2 blocks only" in quick.case.text


def test_tables_show_what_was_measured():
    text = markdown([result("tiny", 0.9313), result("tiny-random", bit_exact=False)])
    assert "| utilisation, DeiT-T, 16-bit attention | 0.9000 | 0.9200 | 0.9313 | stretch |" in text
    (random,) = [line for line in text.splitlines() if line.startswith("| tiny-random |")]
    assert "| NO |" in random
    density = f"{2 * 0.9313 * 128 / DSPS:.2f}"
    assert f"| 93.1% | {density} |" in text
    assert text.count("this project") == 1  # runs under random latencies are no performance figures


def test_frames_count_the_batch():
    assert result("tiny-batch", cycles=40_000_000).frames == pytest.approx(10)


def test_published_figures_are_possible():
    for anchor in ANCHORS:
        assert anchor.utilisation is None or 0 < anchor.utilisation <= 1
        if anchor.ops_per_dsp is not None:  # two packed int8 MACs per DSP are 4; more means MACs outside the DSPs
            assert 0 < anchor.ops_per_dsp <= 4 or "LUT" in anchor.note
    huang = [anchor for anchor in ANCHORS if anchor.work.startswith("Huang")]
    assert [round(anchor.utilisation, 3) for anchor in huang] == [0.501, 0.621]


def test_a_network_is_simulated_and_checked(monkeypatch):
    """A ViT of one block on the small preset."""
    monkeypatch.setattr(runs, "DEVICE", "sim:tiny")
    monkeypatch.setattr(
        runs, "architecture",
        lambda name, depth: architecture(name, img_size=32, patch=8, dim=64, depth=depth, heads=2, classes=10),
    )  # fmt: skip
    found = run_case(Case(name="x", model="deit_tiny_patch16_224", depth=1, batch=2))
    assert found.bit_exact
    assert 0.1 < found.utilisation < found.occupancy <= 1
    assert found.utilisation == pytest.approx(found.occupancy, rel=0.5)
    assert abs(found.predicted / found.cycles - 1) < 0.1
    assert {"blocks.0.mlp.fc1", "head"} <= found.layer_errors.keys()


def test_a_wrong_logit_is_noticed(monkeypatch):
    monkeypatch.setattr(runs, "DEVICE", "sim:tiny")
    monkeypatch.setattr(
        runs, "architecture",
        lambda name, depth: architecture(name, img_size=32, patch=8, dim=64, depth=depth, heads=2, classes=10),
    )  # fmt: skip
    right = runs.golden.run

    def wrong(model, images):
        logits = right(model, images)
        logits[0, 3] += 1
        return logits

    monkeypatch.setattr(runs.golden, "run", wrong)
    assert not run_case(Case(name="x", model="deit_tiny_patch16_224", depth=1)).bit_exact


def test_command_line_reports_and_documents(monkeypatch, tmp_path, capsys):
    answers = {"tiny": result("tiny"), "tiny-8": replace(result("tiny-8"), bit_exact=False)}
    monkeypatch.setattr(networks, "run_case", lambda case, _seed: answers[case.name])
    page, report = tmp_path / "performance.md", tmp_path / "report.json"
    page.write_text("before\n<!-- bench deit: begin -->\nold\n<!-- bench deit: end -->\nafter\n")
    assert main(["deit", "--only", "tiny", "--docs", str(page), "--report", str(report)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert capsys.readouterr().out.strip() in text
    assert json.loads(report.read_text())["runs"][0]["cycles"] == 10_000_000
    assert main(["deit", "--only", "tiny", "tiny-8"]) == 1


def test_a_page_without_markers_is_refused_before_the_simulation(monkeypatch, tmp_path):
    monkeypatch.setattr(networks, "run_case", lambda *_: pytest.fail("simulated"))
    with pytest.raises(SystemExit, match="lacks the lines"):
        main(["deit", "--docs", str(tmp_path / "missing.md")])


def test_swin_has_a_row_for_every_figure():
    tiny = result("tiny", 0.88, case=swin.CASES["tiny"], predicted=10_300_000)
    block = swin.BlockResult(swin.BLOCKS["stage-1"], True, 1_000_000, 1_001_000)
    found = {row.figure: row.verdict for row in swin.rows([tiny], [block])}
    assert list(found.values()) == ["pass", "FAIL", "stretch"]
    assert {row.verdict for row in swin.rows([])} == {"not run"}
    assert swin.CASES["tiny"].quick().text == "Swin-T, 8-bit attention, 8 blocks only"


def test_blocks_are_cut_out_and_compared(monkeypatch):
    """Two small blocks on the small preset, and what a wrong golden model would show."""
    monkeypatch.setattr(swin, "DEVICE", "sim:tiny")
    monkeypatch.setattr(swin, "TARGET", BOARDS["tiny"])
    real = architecture
    monkeypatch.setattr(swin, "architecture", lambda name, **sizes: real(name, window=4, **sizes))
    blocks = swin.Blocks(name="x", text="8 x 8", dim=32, heads=(1, 2), depth=(2, 1), img_size=32)
    found = swin.run_blocks(blocks)
    assert found.bit_exact
    assert abs(found.predicted / found.cycles - 1) < 0.02
    right = swin.golden.run

    def wrong(model, images, trace):
        right(model, images, trace)
        trace[blocks.checkpoint][0, 5, 7] ^= 1

    monkeypatch.setattr(swin.golden, "run", wrong)
    assert not swin.run_blocks(blocks).bit_exact


def test_swin_command_line(monkeypatch, tmp_path, capsys):
    answer = result("tiny", case=swin.CASES["tiny"])
    monkeypatch.setattr(networks, "run_case", lambda _case, _seed: answer)
    monkeypatch.setattr(
        swin, "run_blocks", lambda blocks, _seed: swin.BlockResult(blocks, blocks.name == "stage-1", 1000, 1001)
    )
    monkeypatch.setattr(swin, "estimate", lambda case, _seed: swin.Estimate(case, 10**8, 0.9, 0.91, 50_000, 9.5))
    page, report = tmp_path / "performance.md", tmp_path / "report.json"
    page.write_text("<!-- bench deit: begin -->\nkept\n<!-- bench swin: begin --><!-- bench swin: end -->\nafter\n")
    only = ["--only", "tiny", "stage-1", "base"]
    assert main(["swin", *only, "--docs", str(page), "--report", str(report)]) == 0
    text = page.read_text()
    assert "kept" in text
    assert "| stage-1 | 56 x 56 tokens of 96 channels | yes | 1,000 | +0.10% |" in text
    assert "| base | Swin-B, 8-bit attention | 100,000,000 | 0.9000 | 0.9100 | 1.00 | 50,000 | 10 s |" in text
    assert capsys.readouterr().out.strip() in text
    assert json.loads(report.read_text())["estimates"][0]["cycles"] == 10**8
    assert main(["swin", "--only", "stage-3"]) == 1


def timing(runner, seconds, threads=2, images=8):
    return golden.Timing("deit_tiny_patch16_224", runner, threads, seconds, 2 * seconds, images)


def test_golden_compares_with_the_float_network(monkeypatch, tmp_path, capsys):
    """The ratios are to ours on as many threads, and the plain float32 network decides the status."""
    answers = [
        timing("ours", 0.2, 1), timing("float", 0.3, 1), timing("ours", 0.1), timing("float", 0.15),
        timing("laws", 1.0, 1, images=1),
    ]  # fmt: skip
    monkeypatch.setattr(golden, "run", lambda *_, **__: answers)
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- bench golden: begin -->\n<!-- bench golden: end -->\nafter\n")
    line = ["golden", "--only", "deit_tiny_patch16_224", "--threads", "1", "2", "--docs", str(page)]
    assert main(line) == 0
    assert "| deit_tiny_patch16_224 | float | 2 | 53.3 | 1.50 | 37.5 | 1.50 |" in page.read_text()
    assert "| deit_tiny_patch16_224 | laws | 1 | 1.0 | 40.00 | 2000.0 | 40.00 |" in capsys.readouterr().out
    answers[2] = timing("ours", 0.16)
    assert main(line) == 1


def test_golden_times_every_runner(monkeypatch):
    pytest.importorskip("torch")
    small = architecture("deit_tiny", img_size=32, patch=8, dim=64, depth=1, heads=2, classes=10)
    monkeypatch.setattr(golden, "architecture", lambda _: small)
    found = golden.run("deit_tiny_patch16_224", batch=2, rounds=2, threads=(1, 2))
    each = [found[0].runner, "PyTorch float32, eager", "PyTorch float32, eager, fused attention"]
    assert [t.runner for t in found if "timm" not in t.runner] == [*each, *each, "the laws on NumPy"]
    assert [t.threads for t in found if t.runner == each[1]] == [1, 2]
    assert all(t.seconds > 0 and t.cpu > 0 for t in found)


def test_golden_refuses_wrong_logits(monkeypatch):
    pytest.importorskip("torch")
    small = architecture("deit_tiny", img_size=32, patch=8, dim=64, depth=1, heads=2, classes=10)
    monkeypatch.setattr(golden, "architecture", lambda _: small)
    right = golden.golden.run
    monkeypatch.setattr(golden.golden, "run", lambda *a, **k: right(*a, **k) + ("laws" in k))
    with pytest.raises(SystemExit, match="not those of the laws"):
        golden.run("deit_tiny_patch16_224", batch=2, rounds=1)


def test_link_figures(capsys, monkeypatch, tmp_path):
    """On the line that other tests have compiled already; the table and the JSON have every transfer."""
    monkeypatch.setattr("bench.link.CASES", (link.Case("fast UART", "uart", 4),))
    assert main(["link", "--kib", "4", "--report", str(tmp_path / "link.json")]) == 0
    assert capsys.readouterr().out.count("| fast UART |") == 4
    transfers = json.loads((tmp_path / "link.json").read_text())["transfers"]
    assert all(0.9 < entry["share"] < 1 for entry in transfers if "memory" in entry["what"])
