"""The house rules: who may import whom, where floats may be, how long a file may be."""

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for top in ("hw", "sim", "firmware") for path in (ROOT / top).rglob("*.py"))

GATEWARE = ("hw/units/", "hw/axi/", "hw/dma/", "hw/matmul/", "hw/sequencer/", "hw/vector/")

TOLD = tuple(f"firmware.{name}" for name in ("files", "caches", "errors", "progress", "screen", "plots"))

# importer -> what it may import of ours; the first matching prefix counts
ARROWS = (
    ("hw/spec/", ("hw.spec",)),
    ("hw/units/", ("hw.spec", "hw.units")),
    ("hw/axi/", ("hw.spec", "hw.units", "hw.axi")),
    ("hw/dma/", ("hw.spec", "hw.units", "hw.axi", "hw.dma")),
    ("hw/matmul/", ("hw.spec", "hw.units", "hw.matmul")),
    ("hw/sequencer/", ("hw.spec", "hw.units", "hw.axi", "hw.sequencer")),
    ("hw/vector/", ("hw.spec", "hw.units", "hw.vector")),
    ("hw/shell/generator.py", ("hw.boards", "hw.shell", "firmware.files")),
    ("hw/shell/", ("hw.spec", "hw.shell")),
    ("hw/boards/", ("hw.spec", "hw.shell", "hw.boards")),
    ("hw/build/", ("hw", *TOLD)),
    ("hw/", ("hw",)),
    ("firmware/caches.py", ()),
    ("firmware/screen.py", ()),
    ("firmware/files.py", ("firmware.errors",)),
    ("firmware/plots.py", ("firmware.errors",)),
    ("firmware/", ("hw.spec", "hw.boards", "firmware")),
    ("sim/golden.py", ("hw.spec", "sim.fast")),
    ("sim/fast/", ("hw.spec", "sim.fast", "sim.libraries")),
    ("sim/libraries.py", ("firmware.caches",)),
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
            if node.module in {"hw", "sim", "firmware", "hw.spec", "hw.shell"}:
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


def needs(name, path, modules):
    """Those of `modules` that must be imported before `path` is, the module `name`: wherever in it an import stands.

    A package comes before its modules; what its own modules need of it is only its name.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        parents = (parts[:end] for parts in (n.split(".") for n in names) for end in range(1, len(parts) + 1))
        found |= {".".join(parent) for parent in parents} & modules.keys()
    return {other for other in found if not f"{name}.".startswith(f"{other}.")}


def test_no_import_cycles():
    """Neither at run time nor for type checkers only (TYPE_CHECKING), nor put off into a function."""
    modules = {}
    for top in ("hw", "firmware", "sim", "bench"):
        for path in (ROOT / top).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    left = {name: needs(name, path, modules) for name, path in modules.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    while leading := left.keys() - set().union(*left.values()):  # these need a cycle, but are in none
        for name in leading:
            del left[name]
    assert not left, f"these need one another: {', '.join(sorted(left))}"


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
        if name.startswith((*GATEWARE, "hw/link/", "hw/csr.py")):
            assert not re.search(r"hw\.spec\.config|hw\.boards", path.read_text()), name


def test_boards_are_data():
    """Whoever asks for boards, the host's software too, imports neither gateware nor platforms nor LiteX for that."""
    code = "import sys, firmware.device, hw.boards.registry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = ("amaranth_boards", "litex", "migen", "sim", "hw.core", "hw.soc", *(g.strip("/") for g in GATEWARE))
    assert not {name.replace("/", ".") for name in heavy} & set(done.stdout.split())


def test_every_module_lists_its_names():
    for path in SOURCES:
        text = path.read_text()
        if (
            path.name != "__init__.py"
            and "bench" not in path.parts
            and re.search(r"^(class|def) [A-Za-z]", text, re.MULTILINE)
        ):
            assert "__all__" in text, path


def test_no_bench_is_without_an_end():
    """Those of cocotb have a limit of simulated time, those of Amaranth's simulator one of cycles or steps."""
    for path in (ROOT / "sim/bench").glob("*.py"):
        assert "@cocotb.test()" not in path.read_text(), path
    own = {"tests/support/crossing.py", "tests/support/streams.py"}
    for path in (ROOT / "tests").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        assert name in own or not re.search(r"\bSimulator\(", path.read_text()), name


def test_every_test_is_collected(pytestconfig):
    """No folder of tests has a name that pytest does not go into."""
    left_out = pytestconfig.getini("norecursedirs")
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    parts = {part for folder in folders for part in folder.parts}
    assert "build" in parts
    assert not [(part, pattern) for part in parts for pattern in left_out if fnmatch(part, pattern)]
