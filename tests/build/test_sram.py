"""Memories as macros: the same behaviour as Amaranth's, proved on a small one, and only where it can be."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib.memory import Memory

from hw.build import sram
from hw.build.yosys import YosysError, run


def convert(platform, *, transparent=False, domain="sync", reads=1):
    """RTLIL of a memory of four bytes with half-byte writes, or of another one."""
    m, ports = Module(), []

    def out(prefix, signals):
        for name, inner in signals.items():
            port = Signal(len(inner), name=f"{prefix}_{name}")
            ports.append(port)
            m.d.comb += port.eq(inner) if prefix != "write" and name == "data" else inner.eq(port)

    m.submodules.memory = memory = Memory(shape=8, depth=4, init=[])
    write = memory.write_port(granularity=4)
    for number in range(reads):
        read = memory.read_port(domain=domain, transparent_for=(write,) if transparent else ())
        out(f"read{number}", {"addr": read.addr, "data": read.data, **({"en": read.en} if domain == "sync" else {})})
    out("write", {"addr": write.addr, "data": write.data, "en": write.en})
    return rtlil.convert(m, name="top", platform=platform, ports=ports, emit_src=False)


def test_equals_the_memory(tmp_path):
    """No inputs make them differ within eight cycles, in which every word can be written in part, and read."""
    (tmp_path / "memory.il").write_text(convert(None))
    macros = sram.SRAMs(least_bits=32)
    (tmp_path / "macro.il").write_text(convert(macros))
    assert macros.used == [{"address_bits": 2, "data_bits": 8, "mask_bits": 2}]
    script = """\
read_rtlil memory.il
hierarchy -top top; proc; flatten; memory; opt -full
design -stash memory
read_rtlil macro.il
read_verilog {model}
hierarchy -top top; proc; flatten; memory; opt -full
design -stash macro
design -copy-from memory -as gold top
design -copy-from macro -as gate top
miter -equiv -make_assert -flatten gold gate both
hierarchy -top both
sat -verify -prove-asserts -set-init-zero -tempinduct-baseonly -maxsteps 8 both
"""
    (tmp_path / "model.v").write_text(sram.MODEL)
    run("equal", script.format(model="model.v"), tmp_path)
    wrong = sram.MODEL.replace("if (read_enable) read_data", "read_data")
    (tmp_path / "wrong.v").write_text(wrong)
    with pytest.raises(YosysError):
        run("differs", script.format(model="wrong.v"), tmp_path)


@pytest.mark.parametrize("options", [{"transparent": True}, {"domain": "comb"}, {"reads": 2}])
def test_other_memories_stay(options):
    macros = sram.SRAMs(least_bits=32)
    assert sram.NAME not in convert(macros, **options)
    assert not macros.used


def test_small_memories_stay():
    assert sram.NAME not in convert(sram.SRAMs(least_bits=33))
