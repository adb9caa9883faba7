"""Coverage of the gateware's signals: which unit has a bit, what counts as changed, the page."""

import json
from collections import Counter

from bench import coverage
from bench.__main__ import main
from bench.coverage import Unit, units


def changes(signals):
    """By name: (rose, fell) of each bit."""
    found = Counter()
    for name, bits in signals.items():
        for bit, (rose, fell) in enumerate(bits):
            found.update({(name, bit, "0->1"): rose, (name, bit, "1->0"): fell})
    return found


def test_units():
    """A part's name is one that the source gives it; slices are one unit; configurations add up."""
    first = changes({
        "s_axil_wdata": [(3, 3), (0, 0)], "core.fetch.fifo.level": [(1, 0)], "core.vector.moments.sum": [(0, 0)] * 2,
        "core.vector.busy": [(2, 2)], "core.vector.i__payload$3.row": [(1, 1)],
    })  # fmt: skip
    second = changes({"core.fetch.fifo.level": [(0, 1), (1, 1)], "core.vector_1.busy": [(0, 0), (1, 1)]})
    assert units([first, second]) == [
        Unit("core", 2, 1, ()), Unit("fetch", 2, 2, ()), Unit("vector", 3, 3, ()),
        Unit("vector.moments", 2, 0, ("core.vector.moments.sum",)),
    ]  # fmt: skip


class Sim:
    def __init__(self, found):
        self.found = found

    def changes(self):
        return self.found


class Fake:
    """A campaign of the programs that it is asked for."""

    def __init__(self, *, coverage):
        assert coverage
        self.ran, self.rigs = [], {}

    def case(self, seed):
        self.ran.append(seed)
        rig = type("Rig", (), {"sim": Sim(changes({"core.csr.index": [(len(self.ran), 1), (0, 0)]}))})
        self.rigs["tiny"] = rig

    def close(self):
        assert len(set(self.ran)) == 3


def test_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(coverage, "Programs", Fake)
    page, report = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text("<!-- bench coverage: begin -->\n<!-- bench coverage: end -->\n")
    assert main(["coverage", "--programs", "3", "--docs", str(page), "--report", str(report)]) == 0
    assert "| `csr` | 2 | 1 | 50.0% | 0 |" in page.read_text()
    assert "| all | 2 | 1 | 50.0% | 0 |" in capsys.readouterr().out
    content = json.loads(report.read_text())
    assert content == {"programs": 3, "units": [{"name": "csr", "bits": 2, "changed": 1, "constant": []}]}


def test_no_program(capsys):
    assert main(["coverage", "--programs", "0"]) == 2
    assert capsys.readouterr().err == "error: --programs 0: at least 1 is wanted\n"
