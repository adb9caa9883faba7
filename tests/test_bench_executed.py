"""Lines and branches that tests execute: sums by folder, the page, what is no report."""

import json

import pytest

from bench.__main__ import main
from bench.executed import Folder, folders

KEYS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def report(path, files):
    path.write_text(json.dumps({"files": {name: {"summary": dict(zip(KEYS, f, strict=True))} for name, f in files}}))
    return path


def test_sums():
    files = [Folder("hw/units/a.py", 1, 10, 9, 4, 2), Folder("hw/units/deep/b.py", 1, 5, 5, 0, 0),
             Folder("hw/core.py", 1, 0, 0, 0, 0)]  # fmt: skip
    assert folders(files) == [Folder("hw", 1, 0, 0, 0, 0), Folder("hw/units", 2, 15, 14, 4, 2)]
    assert [f.share for f in folders(files)] == [1.0, 16 / 19]


def test_page(tmp_path, capsys):
    """Every file counts once; the ones with less than nine tenths are named, the lowest first."""
    data = report(tmp_path / "coverage.json", [
        ("bench/x.py", (10, 5, 2, 1)), ("hw/y.py", (8, 8, 2, 2)), ("hw/z.py", (8, 7, 2, 1)),
    ])  # fmt: skip
    page, written = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text("<!-- bench executed: begin -->\n<!-- bench executed: end -->\n")
    assert main(["executed", str(data), "--docs", str(page), "--report", str(written)]) == 0
    text = page.read_text()
    assert "| `hw` | 2 | 16 | 15 | 4 | 3 | 90.0% |" in text
    assert "| all | 3 | 26 | 20 | 6 | 4 | 75.0% |" in text
    assert "Files below 90%: `bench/x.py` 50%; `hw/z.py` 80%." in capsys.readouterr().out
    assert [file["name"] for file in json.loads(written.read_text())["files"]] == ["bench/x.py", "hw/y.py", "hw/z.py"]


@pytest.mark.parametrize(("text", "what"), [
    ("", "JSONDecodeError"), ("[]", "TypeError"),
    ('{"files": {"a.py": {"summary": {"num_statements": 1}}}}', "KeyError"),
])  # fmt: skip
def test_what_is_no_report(tmp_path, capsys, text, what):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["executed", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: a report of coverage.py with branches is wanted, as JSON ({what}")
    assert error.count("\n") == 1


def test_nothing_was_measured(tmp_path, capsys):
    assert main(["executed", str(report(tmp_path / "x.json", []))]) == 2
    assert capsys.readouterr().err.endswith("x.json: not one file was measured\n")
    assert main(["executed", str(tmp_path / "none.json")]) == 2
    assert "FileNotFoundError" in capsys.readouterr().err
