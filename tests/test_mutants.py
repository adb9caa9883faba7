"""Mutants: what is changed and what is not, what becomes of them, that nothing is lost, and the reviewed list."""

from collections import Counter
from pathlib import Path

import pytest

from bench.mutants import command
from bench.mutants.equivalent import equivalents
from bench.mutants.operators import KINDS, mutants, sample
from bench.mutants.rings import rings, units
from bench.mutants.store import Store
from bench.mutants.trial import Copy, Verdict, digest

ROOT = Path(__file__).parent.parent

SOURCE = '''"""A == B of two 1s."""

WIDTH = 4

class Unit:
    """1 + 1."""

    def __init__(self, bits):
        if bits < 2:
            raise ValueError(f"{bits - 1}")

    @staticmethod
    def timing():
        return 1 + 1

    def elaborate(self, _platform):
        m = Module()
        level = Signal(range(WIDTH + 1), name="a1")
        free = Signal(3, reset_less=True)
        with m.If(self.take & ~self.full):
            m.d.sync += [level.eq(level - 1), free.eq(free)]
        m.d.comb += self.o.eq(Mux(level == 0, free, Cat(level, self.i)))
        return m
'''

CHANGES = {
    ("compare", " == ", " != "),
    ("arithmetic", " + ", " - "), ("arithmetic", " - ", " + "),
    ("logic", " & ", " | "), ("logic", "~self.full", "self.full"),
    ("term", "self.take & ~self.full", "self.take"), ("term", "self.take & ~self.full", "~self.full"),
    ("constant", "1", "2"), ("constant", "1", "0"), ("constant", "0", "1"),
    ("constant", "3", "4"), ("constant", "3", "2"),
    ("condition", "self.take & ~self.full", "1"), ("condition", "self.take & ~self.full", "0"),
    ("condition", "self.take & ~self.full", "(self.take & ~self.full) == 0"),
    ("assignment", "level.eq(level - 1)", "[]"), ("assignment", "free.eq(free)", "[]"),
    ("assignment", "self.o.eq(Mux(level == 0, free, Cat(level, self.i)))", "[]"),
    ("reset", 'Signal(range(WIDTH + 1), name="a1")', 'Signal(range(WIDTH + 1), name="a1", reset_less=True)'),
    ("value", 'Signal(range(WIDTH + 1), name="a1")', 'Signal(range(WIDTH + 1), name="a1", init=1)'),
    ("width", "range(WIDTH + 1)", "range((WIDTH + 1 + 1) // 2)"), ("width", "3", "(3) - 1"),
    ("swap", "level - 1", "1 - (level)"), ("swap", "level, self.i", "self.i, level"),
    ("swap", "Mux(level == 0, free, Cat(level, self.i))", "Mux(level == 0, Cat(level, self.i), free)"),
}  # fmt: skip


def test_changes_are_these_and_no_text():
    found = mutants("hw/unit.py", SOURCE.encode())
    assert {(m.kind, m.was, m.becomes) for m in found} == CHANGES
    assert {m.kind for m in found} == set(KINDS) - {"shift"}
    assert len({m.applied(SOURCE.encode()) for m in found}) == len(found)
    assert all(m.text in SOURCE and m.was in SOURCE for m in found)


def test_a_sample_takes_all_kinds_and_grows():
    source = (ROOT / "hw/units/divider.py").read_bytes()
    found = mutants("hw/units/divider.py", source)
    few, more = sample(found, 12, 3), sample(found, 30, 3)
    assert more[:12] == few != sample(found, 12, 4)[:12]
    assert len({m.kind for m in few}) == len({m.kind for m in found})
    assert sorted(sample(found, 10**6, 0), key=found.index) == found
    assert Counter(m.name for m in found).most_common(1)[0][1] == 1


def test_every_file_of_the_gateware_has_tests():
    for unit in units(ROOT):
        if mutants(unit, (ROOT / unit).read_bytes()):
            modules = [module for _, ring in rings(ROOT, unit) for module in ring]
            assert rings(ROOT, unit)[0][0] == "unit", unit
            assert len(set(modules)) == len(modules)
            assert all((ROOT / module).is_file() for module in modules), unit


TOY = """
class Toy:
    def elaborate(self):
        if 1 == 2:
            raise ValueError("made of nothing")
        total = 0
        while total < 5:
            total = total + 1
        m.d.comb = [x.eq(7)]
        return total
"""

TESTED = """
from types import SimpleNamespace
from hw.units import toy

def test_toy():
    toy.m, toy.x = SimpleNamespace(d=SimpleNamespace()), SimpleNamespace(eq=int)
    assert toy.Toy().elaborate() == 5
"""


@pytest.fixture
def tree(tmp_path):
    """A tree with one unit and its test."""
    root = tmp_path / "root"
    for name, text in (("hw/units/toy.py", TOY), ("tests/units/test_toy.py", TESTED), ("tests/test_core.py", "")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "tests/test_core.py").write_text("def test_nothing():\n    pass\n")
    (root / "hw/__init__.py").touch()
    for name in ("bench", "firmware", "sim", "examples", "pyproject.toml", "shiftwork.py"):
        (root / name).symlink_to(ROOT / name)
    return root


def test_every_end_that_a_mutant_can_take(tree, tmp_path):
    """Killed by an assertion; not to be made; without an end; noticed by nobody. The tree stays as it was."""
    found = {(m.was.strip(), m.becomes.strip()): m for m in mutants("hw/units/toy.py", TOY.encode())}
    copy = Copy(tree, tmp_path / "copy", more=2)
    verdicts = {change: copy.judge(mutant, "unit") for change, mutant in found.items()}
    assert verdicts["<", "<="].outcome == "killed"
    assert verdicts["<", "<="].test == "tests/units/test_toy.py::test_toy"
    assert verdicts["==", "!="].outcome == "invalid"
    assert "made of nothing" in verdicts["==", "!="].error
    assert verdicts["+", "-"].outcome == "timeout"
    assert verdicts["x.eq(7)", "[]"].outcome == "survived"
    assert copy.judge(found["x.eq(7)", "[]"], "core").ring == "core"
    copy.close()
    assert (copy.place / "hw/units/toy.py").read_text() == (tree / "hw/units/toy.py").read_text() == TOY


def test_what_killed_others_comes_first(tree, tmp_path):
    """One that is gone, or passes, changes nothing."""
    tests = tree / "tests/units/test_toy.py"
    tests.write_text(f"{TESTED}\ndef test_late():\n    test_toy()\n\ndef test_other():\n    pass\n")
    kills = next(m for m in mutants("hw/units/toy.py", TOY.encode()) if m.becomes.strip() == "<=")
    for number, (killers, first) in enumerate((
        (["test_late"], "test_late"), (["test_late", "test_other"], "test_late"), (["test_gone"], "test_toy"),
    )):  # fmt: skip
        names = [f"tests/units/test_toy.py::{name}" for name in killers]
        copy = Copy(tree, tmp_path / f"copy{number}", more=2, killers=names)
        verdict = copy.judge(kills, "unit")
        copy.close()
        assert (verdict.outcome, verdict.test) == ("killed", f"tests/units/test_toy.py::{first}")


def test_verdicts_are_kept_as_long_as_they_are_true(tree, tmp_path):
    path, unit = tmp_path / "store.jsonl", "hw/units/toy.py"
    first, second = mutants(unit, TOY.encode())[:2]
    store = Store(path, tree, "unit")
    survived = Verdict("survived", "unit", digest(tree, unit, "unit"))
    test = "tests/units/test_toy.py::test_toy"
    killed = Verdict("killed", "unit", digest(tree, unit, "unit", test), test, "AssertionError")
    store.add(first, survived)
    store.add(second, killed)
    with path.open("a") as file:
        file.write('{"mutant": "half a li')
    store = Store(path, tree, "unit")
    assert (store.verdict(first), store.verdict(second)) == (survived, killed)
    assert path.read_bytes().count(b"\n") == 2
    store = Store(path, tree, "core")
    assert (store.verdict(first), store.verdict(second)) == (None, killed), "survivors have another ring before them"
    (tree / "tests/units/test_toy.py").write_text(f"# changed\n{TESTED}")
    store = Store(path, tree, "unit")
    assert (store.verdict(first), store.verdict(second)) == (None, killed), "what killed it is as it was"
    (tree / "tests/units/test_toy.py").write_text(TESTED.replace("5", "6"))
    assert Store(path, tree, "unit").verdict(second) is None
    (tree / "tests/units/test_toy.py").write_text(TESTED)
    (tree / "hw/units/toy.py").write_text(f"{TOY}# changed")
    assert Store(path, tree, "unit").verdict(second) is None


def test_the_table_counts_each_once(monkeypatch):
    found = mutants("hw/units/toy.py", TOY.encode())[:5]
    monkeypatch.setattr(command, "equivalents", lambda: {found[4].change: "because"})
    ends = ["killed", "timeout", "survived", "invalid", "survived"]
    results = [(mutant, Verdict(end, "unit", "")) for mutant, end in zip(found, ends, strict=True)]
    text = command.summary(results, {"hw/units/toy.py": 9}, {"hw/units/toy.py": 5})
    assert "| hw/units/toy.py | 9 | 5 | 0 | 1 | 1 | 1 | 1 | 1 | 33.3% |" in text
    text = command.summary(results, {"hw/units/toy.py": 9}, {"hw/units/toy.py": 7})
    assert "| all | 9 | 5 | 2 | 1 | 1 | 1 | 1 | 1 |  |" in text, "no share of a part"


def test_equivalents_are_mutants_that_there_are():
    """Each with its argument, and of a line that is still there."""
    known = equivalents()
    for unit in {change[0] for change in known}:
        there = {m.change for m in mutants(unit, (ROOT / unit).read_bytes())}
        assert not {change for change in known if change[0] == unit} - there
    assert all(len(why) > 20 for why in known.values())
