"""Generated files: up to date, true to the specification, accepted by a C compiler, refused when stale."""

import re
import shutil
import subprocess

import pytest

from hw.build import emit
from hw.spec import isa, regs
from hw.spec.config import Config


def _header():
    text = emit.header()
    return {name: int(value.rstrip("u"), 0) for name, value in re.findall(r"#define SHIFTWORK_(\w+) (\w+)", text)}


def test_the_repository_is_up_to_date(capsys):
    assert emit.main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_what_differs_and_writing_cures_it(tmp_path, capsys):
    assert emit.main([], tmp_path) == 0
    assert emit.main(["--check"], tmp_path) == 0
    path = tmp_path / "docs/reference/isa.md"
    path.write_text(path.read_text().replace("HALT", "STOP"))
    assert emit.main(["--check"], tmp_path) == 1
    expected = "error: docs/reference/isa.md differ from hw/spec; run python -m hw.build.emit\n"
    assert capsys.readouterr().err == expected
    assert emit.main([], tmp_path) == 0
    assert emit.main(["--check"], tmp_path) == 0


def test_check_refuses_a_missing_file(tmp_path):
    assert emit.main(["--check"], tmp_path) == 1


def test_header_registers_and_numbers():
    values = _header()
    for reg in regs.REGS:
        assert values[reg.name.upper()] == regs.address(reg.name)
    for kind in (regs.State, isa.Fault, isa.Engine, isa.Region, isa.Kind, isa.Op):
        for member in kind:
            assert values[f"{kind.__name__.upper()}_{member.name}"] == member
    assert values["MAGIC_VALUE"] == regs.MAGIC
    assert values["DEFAULT_FINGERPRINT"] == Config().fingerprint


@pytest.mark.parametrize("op", list(isa.Op))
def test_header_positions_assemble_what_encode_does(op):
    values = _header()
    operands = {field.name: (0x5A5A_5A5A_5A5A >> 3 & (1 << field.bits) - 1) + field.count for field in isa.OPERANDS[op]}
    waits = {engine: 3 * engine + 1 for engine in isa.WAITED}
    word = values[f"OP_{op.name}"] << values["OP_BIT"]
    for engine, count in waits.items():
        word |= count << values[f"WAIT_{engine.name}_BIT"]
    for field in isa.OPERANDS[op]:
        name = f"{op.name}_{field.name.upper()}"
        stored = operands[field.name] - field.count
        assert stored & values[f"{name}_MASK"] == stored
        assert values[f"{name}_MASK"] == (1 << values[f"{name}_WIDTH"]) - 1
        word |= stored << values[f"{name}_BIT"]
    assert word.to_bytes(32, "little") == isa.encode(op, waits, **operands)


def test_header_compiles(tmp_path):
    compiler = shutil.which("gcc")
    assert compiler, "a C compiler is needed"
    (tmp_path / "shiftwork.h").write_text(emit.header())
    names = re.findall(r"#define (SHIFTWORK_\w+) ", emit.header())
    body = "".join(f"unsigned long x{n} = {name};\n" for n, name in enumerate(names))
    (tmp_path / "use.c").write_text(f'#include "shiftwork.h"\n#include "shiftwork.h"\n{body}')
    assert len(names) == len(set(names))
    subprocess.run([compiler, "-Wall", "-Werror", "-pedantic", "-c", "use.c"], cwd=tmp_path, check=True)


def test_manuals_mention_everything():
    registers, instructions = emit.register_manual(), emit.isa_manual()
    assert all(f"| {reg.name} |" in registers and reg.doc in registers for reg in regs.REGS)
    assert all(f"## {op.name} ({op.value})" in instructions for op in isa.Op)
    assert all(f"| {field.name} |" in instructions for fields in isa.OPERANDS.values() for field in fields)
