"""The house rules: who may import whom, where floats may be, how long a file may be."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for top in ("hw", "sim", "firmware") for path in (ROOT / top).rglob("*.py"))

GATEWARE = ("hw/units/", "hw/axi/", "hw/dma/", "hw/matmul/", "hw/sequencer/", "hw/vector/")

# importer -> what it may import of ours; the first matching prefix counts
ARROWS = (
    ("hw/spec/", ("hw.spec",)),
    ("hw/units/", ("hw.spec", "hw.units")),
    ("hw/axi/", ("hw.spec", "hw.units", "hw.axi")),
    ("hw/dma/", ("hw.spec", "hw.units", "hw.dma")),
    ("hw/matmul/", ("hw.spec", "hw.units", "hw.matmul")),
    ("hw/sequencer/", ("hw.spec", "hw.units", "hw.sequencer")),
    ("hw/vector/", ("hw.spec", "hw.units", "hw.vector")),
    ("hw/", ("hw",)),
    ("firmware/evaluate/batch.py", ("hw.spec", "firmware", "sim.golden")),
    ("firmware/cli/", ("hw.spec", "firmware", "sim.golden")),
    ("firmware/", ("hw.spec", "firmware")),
    ("sim/golden.py", ("hw.spec", "sim.fast")),
    ("sim/fast/", ("hw.spec", "sim.fast", "sim.libraries")),
    ("sim/libraries.py", ()),
    ("sim/machine.py", ("hw.spec", "sim.instructions", "sim.hazards")),
    ("sim/instructions.py", ("hw.spec", "sim.hazards")),
    ("sim/hazards.py", ("hw.spec",)),
    ("sim/", ("hw", "firmware", "sim")),
)


def imports(path):
    """Names of our modules that `path` imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)][:1]
            if node.module in {"hw", "sim", "firmware", "hw.spec"}:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in {"hw", "sim", "firmware", "tests"})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    name = path.relative_to(ROOT).as_posix()
    allowed = next(targets for prefix, targets in ARROWS if name.startswith(prefix))
    for module in imports(path):
        assert any(module == target or module.startswith(f"{target}.") for target in allowed), module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if p.relative_to(ROOT).as_posix().startswith((*GATEWARE, "hw/spec/arith", "sim/golden"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_laws_and_units_have_no_floats(path):
    constants = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
    assert not [n.value for n in constants if isinstance(n.value, float)]


def test_units_do_not_know_the_config():
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("hw/") and not name.startswith(("hw/spec/", "hw/boards/")):
            opens = re.search(r"hw\.spec\.config|import Config", path.read_text())
            may = name in {"hw/core.py", "hw/accelerator.py", "hw/build/command.py", "hw/build/emit.py", "hw/soc.py"}
            assert may or not opens, name


def test_every_module_lists_its_names():
    for path in SOURCES:
        text = path.read_text()
        if (
            path.name != "__init__.py"
            and "bench" not in path.parts
            and re.search(r"^(class|def) [A-Za-z]", text, re.MULTILINE)
        ):
            assert "__all__" in text, path
