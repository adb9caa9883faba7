"""The shell: LiteX's ports are checked, and made the same every time where LiteX is installed."""

import json
from dataclasses import replace

import pytest

from hw.axi.signature import AXILite
from hw.boards.registry import BOARDS
from hw.link.bridge import SHELL_ADDRESS_BITS
from hw.shell import generator, shell

HEADER = "module shell (\n{});\n"
WORDS = {"i": "input  wire", "o": "output wire", "io": "inout  wire"}
SHELLS = [(name, False) for name, board in BOARDS.items() if board.shell]
SHELLS += [(name, True) for name, board in BOARDS.items() if board.shell and board.shell.mii]


def header(ports):
    lines = [f"    {WORDS[way]} {f'[{bits - 1}:0]' if bits > 1 else ''} {name}" for name, (way, bits) in ports.items()]
    return HEADER.format(",\n".join(lines))


@pytest.mark.parametrize(("name", "ethernet"), SHELLS)
def test_other_ports_are_refused(name, ethernet):
    ports = BOARDS[name].shell.ports(ethernet=ethernet)
    generator._check(header(ports), "shell", ports)
    wider = {**ports, "memory_awsize": ("i", 4), "extra": ("o", 1)}
    with pytest.raises(generator.ShellError, match=r"with other ports than expected: extra, memory_awsize$"):
        generator._check(header(wider), "shell", ports)


def test_register_port_is_the_bridges():
    ports = BOARDS["arty_a7"].shell.ports()
    for name, member in AXILite(SHELL_ADDRESS_BITS).members.items():
        way = "i" if member.flow.name == "Out" else "o"
        assert ports[f"csr_{name}"] == (way, member.shape)


@pytest.mark.parametrize(("name", "ethernet"), SHELLS)
def test_generated_by_litex(name, ethernet, tmp_path):
    """Every shell has the ports we say; where LiteX is not installed, an error says so."""
    if not generator.available(ethernet=ethernet):
        with pytest.raises(generator.ShellError, match="No module named"):
            generator.generate(BOARDS[name], tmp_path, ethernet=ethernet)
        return
    generator.generate(BOARDS[name], tmp_path, ethernet=ethernet)
    assert "LiteX" not in (tmp_path / "shell.v").read_text()
    registers = json.loads((tmp_path / "csr.json").read_text())["csr_registers"]
    assert {"ddrctrl_init_done", "sdram_dfii_control"} <= registers.keys()
    dram = json.loads((tmp_path / "dram.json").read_text())
    edges = {"SDR": 1, "DDR3": 2}[dram["phy"]["memtype"]]
    assert dram["phy"]["databits"] * edges * dram["phy"]["nphases"] == BOARDS[name].shell.data_bits
    assert dram["init"][-1]["register"] == "command"
    assert dram["init"][-1]["value"] & 1  # for the chip
    assert all(register["addr"] < 1 << shell.CSR_ADDRESS_BITS for register in registers.values())


def test_generated_twice(tmp_path):
    """The same bytes, without dates."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        generator.generate(BOARDS["ulx3s_85f"], directory)
    for name in ("shell.v", "csr.json", "dram.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_boards_have_what_the_build_reads(board):
    assert (board.config.array != "portable") == board.fabric.primitives == bool(board.capacity) == bool(board.shell)
    if board.capacity:
        assert set(board.capacity) == set(board.fabric.columns)
        assert board.memory.rate == 100 * board.shell.data_bits // board.config.word_bits
        assert board.config.word_bits >= board.shell.data_bits
        assert board.part.lower().startswith(board.platform().device.lower())
        assert board.toolchains
        assert board.programmer


@pytest.mark.parametrize("name", ["arty_a7", "genesys2"])
def test_the_simulated_phy_has_the_registers_and_the_numbers_of_the_boards(name, tmp_path):
    """So what levels the simulated board is what levels a board. CL: the A7DDRPHY sets one more than it counts with."""
    board, found = BOARDS[name], []
    for made in (board, replace(board, shell=board.shell.simulation(1 << 20))):
        generator.generate(made, tmp_path)
        csr, dram = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("csr", "dram"))
        sizes = {name: register["size"] for name, register in csr["csr_registers"].items()}
        found.append((sizes, {**dram["phy"], "cl": 0}))
    (registers, numbers), (simulated, same) = found
    unused = () if dram["phy"]["write_leveling"] else (
        "half_sys8x_taps", "wlevel_en", "wlevel_strobe", "wdly_dq_bitslip_rst", "wdly_dq_bitslip",
    )  # fmt: skip
    left = {f"ddrphy_{name}" for name in unused}
    assert same == numbers
    assert simulated == {name: size for name, size in registers.items() if name not in left}


@pytest.mark.skipif(not generator.available(), reason="LiteX is not installed")
@pytest.mark.parametrize(("name", "clock", "cell"), [("arty_a7", 125, "MMCME2_ADV"), ("ulx3s_85f", 60, "EHXPLLL")])
def test_a_clock_for_the_accelerator(name, clock, cell, tmp_path):
    """By a PLL of its own, so the memory's clocks stay; one that cannot be made is refused."""
    board = BOARDS[name].override({"clock": str(clock)})
    cells = []
    for made in (replace(board, clock_hz=board.system_hz), board):
        generator.generate(made, tmp_path)
        cells.append((tmp_path / "shell.v").read_text().count(f"\n{cell} #("))
    assert cells[1] == cells[0] + 1
    with pytest.raises(generator.ShellError, match=r"no PLL makes 333\.333 MHz of 25 MHz"):
        generator.generate(replace(BOARDS["ulx3s_85f"], clock_hz=333_333_333), tmp_path)


def test_no_model_of_an_sdram(tmp_path):
    board = BOARDS["ulx3s_85f"]
    simulated = replace(board, shell=board.shell.simulation(1 << 20))
    with pytest.raises(generator.ShellError, match="model of a memory does not stand in for HalfRateGENSDRPHY"):
        generator.generate(simulated, tmp_path)
