"""Cell libraries: functions, macros and sizes as they are in the files; what cannot be mapped to has its sentence."""

import gzip
import json
from pathlib import Path

import pytest

from firmware.errors import UserError
from hw.build import asic, opensta
from hw.build.liberty import Macro, _table, read, tiled
from hw.build.pdk import PDKS, liberty_files

TINY = Path(__file__).parents[1] / "data" / "liberty" / "tiny.lib"


def macro(name, words, bits, area, groups, *, buses=""):
    """A memory of 2^words: reads and writes as (kind, address)."""
    ports = "".join(
        f"bus(X{n}) {{ bus_type : D; memory_{kind}() {{ address : {address} ; }} }}\n"
        for n, (kind, address) in enumerate(groups)
    )
    return (
        f"cell({name}) {{ area : {area} ;\n memory() {{ type : ram; address_width : {words}; word_width : {bits}; }}\n"
        f"bus(A) {{ bus_type : A; }}\n{ports}{buses} }}\n"
    )


TWO = [("read", "A"), ("write", "A"), ("read", "B"), ("write", "B")]


@pytest.mark.parametrize(
    ("function", "table"),
    [
        ("!(A*B)", "1110"), ("(A*B)'", "1110"), ("(!A) | (!B)", "1110"), ("((!A1)|(!A2))", "1110"), ("!A + !B", "1110"),
        ("(A B)'", "1110"), ("A_N | !B", "1011"), ("A", "01"), ("A'", "10"), ("A''", "01"), ("A ^ B", "0110"),
        ("A & B ^ 1", "1110"), ("A | B & 0", "0011"), ("A*B*C", ""), ("1", ""), ("(A", ""), ("!(A^B)'", "0110"),
    ],
)  # fmt: skip
def test_functions(function, table):
    """AND binds before exclusive or, that before OR; ! and ' before all."""
    assert _table(function) == table


def test_a_library(tmp_path):
    """Sizes are the smallest cells' that do it; several files, packed or not, are one library."""
    packed = tmp_path / "tiny.lib.gz"
    packed.write_bytes(gzip.compress(TINY.read_bytes()))
    more = tmp_path / "more.lib"
    more.write_text('library(more) { time_unit : "1ps"; cell(SMALL) { area : 2.5; pin(Y) { function : "!A|!B"; } } }')
    library = read([packed, more])
    assert (library.names, library.nand2, library.buffer) == (("tiny.lib.gz", "more.lib"), 2.5, "BUF")
    library.put(tmp_path)
    assert (tmp_path / "cells0.lib").read_text() == TINY.read_text()
    assert (tmp_path / "cells1.lib").read_text() == more.read_text()
    assert "set_driving_cell BUF\n" in (tmp_path / "cells.constr").read_text()


def test_macros(tmp_path):
    """Those that read and write at once; a mask is a bus as wide as the data that is none. They are not mapped to."""
    (tmp_path / "m.lib").write_text(
        "library(m) {\n"
        + macro("one", 8, 64, 1, [("read", "A"), ("write", "A"), ("write", "TEST")])
        + macro("two", 6, 32, 10, TWO)
        + macro("masked", 9, 32, 50, TWO, buses="bus(M) { bus_type : D; }")
        + macro("apart", 6, 64, 12, [("read", "R"), ("write", "W")])
        + "}"
    )
    library = read([TINY, tmp_path / "m.lib"])
    two, masked, apart = library.macros
    assert two == Macro("two", 64, 32, False, 10)
    assert masked == Macro("masked", 512, 32, True, 50)
    assert apart == Macro("apart", 64, 64, False, 12)
    assert list(library.texts) == ["cells0.lib"]
    assert tiled(library.macros, 64, 64, masked=False) == (1, apart)
    assert tiled(library.macros, 65, 32, masked=False) == (2, two)
    assert tiled(library.macros, 2048, 128, masked=True) == (16, masked)
    assert tiled([two], 8, 8, masked=True) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.lib is not a Liberty file: it has no library"),
        ("library(x) {}", "--liberty wants cells, and .*x.lib has none"),
        ('library(x) { cell(A) { area: 1; pin(Y) { function: "A"; } } }', "with flip-flops, and x.lib has none"),
        ("library(x) { cell(F) { ff(I, J) {} } }", "with a two-input NAND, and x.lib has none"),
        (
            'library(x) { cell(F) { ff(I, J) {} } cell(N) { area: 1; pin(Y) { function: "(A B)\'"; } } }',
            "with a buffer, and x.lib has none",
        ),
    ],
)
def test_what_cannot_be_mapped_to(text, message, tmp_path):
    (tmp_path / "x.lib").write_text(text)
    with pytest.raises(UserError, match=message):
        read([tmp_path / "x.lib"])


def test_what_is_no_file(tmp_path):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(TINY.read_bytes())[:-20])
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    for name, message in (("none", "there is no"), (".", "is a directory"), ("cut.gz", "not a whole Liberty"),
                          ("binary", "not a whole Liberty")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read([tmp_path / name])


@pytest.mark.parametrize("name", PDKS)
def test_installed_processes(name, tmp_path, monkeypatch):
    monkeypatch.delenv("PDK_ROOT", raising=False)
    with pytest.raises(UserError, match=f"--pdk {name} wants PDK_ROOT to name the folder"):
        liberty_files(name)
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=r"wants .*\.lib, which is not there"):
        liberty_files(name)
    for pattern in PDKS[name]:
        path = tmp_path / name / pattern.replace("*", "512x32")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert [path.name for path in liberty_files(name)] == [
        pattern.rpartition("/")[2].replace("*", "512x32") for pattern in PDKS[name]
    ]


STA = """#!/bin/sh
cat "$3" > seen.tcl
printf 'Startpoint: core/a (rising edge)\\nEndpoint: core/b (rising edge)\\n   -1.5000   slack (VIOLATED)\\n'
"""


@pytest.fixture
def sta(tmp_path, monkeypatch):
    """A stand-in for OpenSTA; the function gives it another text."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")

    def install(text=STA):
        (tools / "sta").write_text(text)
        (tools / "sta").chmod(0o755)

    return install


@pytest.mark.parametrize(("unit", "period", "found"), [("ns", "10", 11.5), ("ps", "10000", 10.002)])
def test_the_longest_path(unit, period, found, sta, tmp_path):
    sta()
    timed = TINY.read_text().replace("{", f'{{ time_unit : "1{unit}"; cell_rise', 1)
    (tmp_path / "l.lib").write_text(timed)
    library = read([tmp_path / "l.lib"])
    (tmp_path / "mapped.v").write_text("ram #(\n .A(32'd1),\n .B(32'd2)\n ) x (.a(b));")
    path = opensta.longest_path(library, "top", tmp_path, period=10)
    assert path == {"ns": pytest.approx(found, abs=1e-3), "from": "core/a", "to": "core/b", "tool": "OpenSTA"}
    assert (tmp_path / "mapped.v").read_text() == "ram  x (.a(b));"
    script = (tmp_path / "seen.tcl").read_text()
    assert "read_liberty cells0.lib\nread_verilog mapped.v\nlink_design top\n" in script
    assert f"create_clock -name clk -period {period} " in script


def test_without_and_with_a_failing_opensta(sta, tmp_path, monkeypatch):
    assert opensta.longest_path(read([TINY]), "top", tmp_path, period=10) is None
    (tmp_path / "l.lib").write_text(TINY.read_text() + "/* cell_rise */")
    library = read([tmp_path / "l.lib"])
    monkeypatch.setattr(opensta.shutil, "which", lambda _: None)
    assert opensta.longest_path(library, "top", tmp_path, period=10) is None
    monkeypatch.undo()
    (tmp_path / "mapped.v").write_text("")
    sta("#!/bin/sh\necho Error: no such module\n")
    monkeypatch.setattr(opensta, "tool", lambda: str(tmp_path / "tools" / "sta"))
    with pytest.raises(opensta.TimingError, match=r"OpenSTA found no path; see timing\.log: Error: no such module"):
        opensta.longest_path(library, "top", tmp_path, period=10)


def test_the_report_of_a_process(tmp_path, monkeypatch):
    """Memories are those of the Verilog, with the macros that they take; where none is given, their bytes."""
    instance = "shiftwork_sram #(\n .ADDRESS_BITS(32'd{}),\n .DATA_BITS(32'd{}),\n .MASK_BITS(32'd{})\n ) sram (\n);\n"
    text = instance.format(9, 32, 4) * 2 + instance.format(6, 32, 1)
    (tmp_path / "shiftwork.v").write_text(text)
    (tmp_path / "m.lib").write_text(
        "library(m) {\n"
        + macro("mask", 8, 32, 50, TWO, buses="bus(M) { bus_type : D; }")
        + macro("a", 6, 32, 7, TWO)
        + "}"
    )
    monkeypatch.setattr(opensta, "tool", lambda: None)
    report = asic.asic_report(read([TINY, tmp_path / "m.lib"]), 6000.0, 4, tmp_path, period=10)
    assert (report["kge"], report["kge_per_mac"], report["longest_path"]) == (2.0, 0.5, None)
    assert report["memory_bytes"] == 2 * 512 * 4 + 64 * 4
    assert report["memory_area"] == 2 * 2 * 50 + 7
    assert [memory["macro"] for memory in report["memories"]] == ["4 x mask", "1 x a"]
    json.dumps(report, allow_nan=False)
    assert asic.asic_lines(report)[2] == "no delays: the library has none"
    report = asic.asic_report(read([TINY]), 6000.0, 4, tmp_path, period=10)
    assert report["memory_area"] is None
    assert "whose area no file given says" in asic.asic_lines(report)[1]
