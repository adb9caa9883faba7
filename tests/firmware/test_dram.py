"""The training against a PHY that exists only here: commands checked, data right only in each module's window."""

import json
import random

import pytest

from firmware.__main__ import main
from firmware.dram import Eye, load_controller, start
from firmware.errors import UserError
from firmware.transport import DeviceError
from hw.spec.link import Window

PHY = {
    "memtype": "DDR3", "databits": 16, "nphases": 4, "rdphase": 2, "wrphase": 3, "cl": 7, "cwl": 5, "delays": 32,
    "bitslips": 8, "write_leveling": False, "write_latency_calibration": False, "read_leveling": True,
}  # fmt: skip
WRITING_PHY = {**PHY, "write_leveling": True, "write_latency_calibration": True, "write_dq_dqs_training": True}
INIT = [
    {"comment": "Release reset", "address": 0, "bank": 0, "register": "control", "value": 12, "cycles": 50000},
    {"comment": "Bring CKE high", "address": 0, "bank": 0, "register": "control", "value": 14, "cycles": 10000},
    *({"comment": f"MR{n}", "address": 0x100 + n, "bank": n, "register": "command", "value": 15, "cycles": 0}
      for n in (2, 3, 1, 0)),
    {"comment": "ZQ", "address": 0x400, "bank": 0, "register": "command", "value": 3, "cycles": 200},
]  # fmt: skip


def names(phy):
    yield from ("ddrctrl_init_done", "ddrctrl_init_error", "sdram_dfii_control")
    if phy["read_leveling"]:
        yield from ("ddrphy_" + name for name in (
            "rst", "dly_sel", "rdly_dq_rst", "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip",
            "rdphase", "wrphase",
        ))  # fmt: skip
    if phy["write_leveling"]:
        yield from ("ddrphy_" + name for name in (
            "half_sys8x_taps", "wlevel_en", "wlevel_strobe", "cdly_rst", "cdly_inc", "wdly_dq_rst", "wdly_dq_inc",
            "wdly_dqs_rst", "wdly_dqs_inc", "wdly_dq_bitslip_rst", "wdly_dq_bitslip",
        ))  # fmt: skip
    for phase in range(phy["nphases"]):
        for part in ("command", "command_issue", "address", "baddress", "wrdata", "rddata"):
            yield f"sdram_dfii_pi{phase}_{part}"


class Board:
    """Registers, a DRAM and a memory port. `windows`: per module, (bitslip, first, last) that read right."""

    def __init__(self, directory, phy, windows, *, broken_port=False):
        self.phy, self.windows, self.broken_port = phy, windows, broken_port
        self.addresses = {name: 4 * n for n, name in enumerate(names(phy))}
        registers = {name: {"addr": at, "size": 1, "type": "rw"} for name, at in self.addresses.items()}
        csr = {"csr_registers": registers, "constants": {"config_clock_frequency": 100_000_000}}
        (directory / "csr.json").write_text(json.dumps(csr))
        (directory / "dram.json").write_text(json.dumps({"phy": phy, "init": INIT}))
        self.values = dict.fromkeys(self.addresses, 0xFFFF) | {"sdram_dfii_control": 1}  # unknown, but for the reset's
        self.delay, self.bitslip = [5] * 2, [3] * 2  # as left by an earlier training
        self.values["ddrphy_half_sys8x_taps"] = 8
        self.open, self.row, self.commands, self.memory, self.slept = False, None, [], bytearray(1 << 16), 0.0
        self.noise = random.Random(9)

    def sleep(self, seconds):
        self.slept += seconds

    def transact(self, writes, reads):
        by_address = {Window.SHELL + at: name for name, at in self.addresses.items()}
        for at, value in writes:
            self.write(by_address[at], value)
        return [self.values[by_address[at]] for at in reads]

    def write(self, name, value):
        self.values[name] = value
        if name == "ddrphy_rst" and value:
            assert self.values["sdram_dfii_control"] == 0, "the memory's clock stops while it is not in reset"
        selected = [m for m in range(2) if self.values.get("ddrphy_dly_sel", 0) >> m & 1]
        for module in selected:
            if name == "ddrphy_rdly_dq_rst":
                self.delay[module] = 0
            elif name == "ddrphy_rdly_dq_inc":
                self.delay[module] = (self.delay[module] + 1) % 32
            elif name == "ddrphy_rdly_dq_bitslip_rst":
                self.bitslip[module] = 0
            elif name == "ddrphy_rdly_dq_bitslip":
                self.bitslip[module] = (self.bitslip[module] + 1) % 8
        if name.endswith("command_issue"):
            self.issue(int(name.removeprefix("sdram_dfii_pi")[0]))

    def issue(self, phase):
        prefix = f"sdram_dfii_pi{phase}_"
        command, address, bank = (self.values[prefix + part] for part in ("command", "address", "baddress"))
        assert not self.values["sdram_dfii_control"] & 1, "a command while the controller has the memory"
        self.commands.append((command, address, bank))
        if len(self.commands) > len(INIT) - 2:
            assert (address, bank) == (0, 0)
        if command == 9:
            self.open = True
        elif command == 11:
            self.open = False
        elif command == 1 | 2 | 4 | 16:
            assert self.open
            assert phase == self.phy["wrphase"]
            self.row = [self.values[f"sdram_dfii_pi{n}_wrdata"] for n in range(self.phy["nphases"])]
        elif command == 1 | 4 | 32:
            assert self.open
            assert phase == self.phy["rdphase"]
            for n, word in enumerate(self.row):
                for module, (bitslip, first, last) in enumerate(self.windows):
                    if self.bitslip[module] != bitslip or not first <= self.delay[module] <= last:
                        word ^= (self.noise.getrandbits(8) | 1) << 8 * module + 16 * self.noise.randrange(2)
                self.values[f"sdram_dfii_pi{n}_rddata"] = word

    def write_memory(self, address, data):
        assert self.values["sdram_dfii_control"] == 1
        self.memory[address : address + len(data)] = data

    def read_memory(self, address, size):
        found = bytes(self.memory[address : address + size])
        return found[:-1] + bytes([found[-1] ^ 1]) if self.broken_port else found


def test_each_module_gets_the_middle_of_its_window(tmp_path):
    board, reports = Board(tmp_path, PHY, [(2, 7, 20), (3, 0, 11)]), []
    eyes = start(board, load_controller(tmp_path), sleep=board.sleep, report=lambda *at: reports.append(at))
    assert eyes == ([Eye(0, 2, 7, 20), Eye(1, 3, 0, 11)], [])
    assert (board.bitslip, board.delay) == ([2, 3], [13, 5])
    assert board.commands[:5] == [(15, 0x102, 2), (15, 0x103, 3), (15, 0x101, 1), (15, 0x100, 0), (3, 0x400, 0)]
    assert (board.values["ddrctrl_init_done"], board.values["ddrctrl_init_error"]) == (1, 0)
    assert board.values["sdram_dfii_control"] == 1
    assert board.values["ddrphy_dly_sel"] == 0
    assert reports[-1] == (256, 256)
    assert board.slept >= 600e-6


def test_a_module_that_reads_nothing(tmp_path):
    board = Board(tmp_path, PHY, [(2, 7, 20), (9, 0, 0)])
    with pytest.raises(DeviceError, match="data pins 8 to 15 of the memory read nothing right at any delay"):
        start(board, load_controller(tmp_path), sleep=board.sleep)
    assert (board.values["ddrctrl_init_done"], board.values["ddrctrl_init_error"]) == (0, 1)


def test_a_memory_that_forgets(tmp_path):
    board = Board(tmp_path, PHY, [(2, 7, 20), (3, 0, 11)], broken_port=True)
    with pytest.raises(DeviceError, match="does not hold what was written: 1 of 8192 bytes are wrong"):
        start(board, load_controller(tmp_path), sleep=board.sleep)
    assert (board.values["ddrctrl_init_done"], board.values["ddrctrl_init_error"]) == (0, 1)


def test_sdram_without_delays_needs_the_sequence_only(tmp_path):
    phy = {**PHY, "memtype": "SDR", "nphases": 1, "rdphase": 0, "wrphase": 0, "read_leveling": False}
    board = Board(tmp_path, phy, [])
    assert start(board, load_controller(tmp_path), sleep=board.sleep) == ([], [])
    assert len(board.commands) == 5
    assert board.values["ddrctrl_init_done"] == 1


class WritingBoard(Board):
    """A PHY with output delays before chips that are `flights` taps further from it by strobe than by clock.

    A module is written right where its strobe meets the clock's edge within 6 taps of 32, the latency is `slips` bits
    more, and the data are within 6 taps of the strobe, and `skews` more. Near an edge the clock's level is by chance.
    """

    def __init__(self, directory, flights, slips, skews, windows=((2, 7, 20), (3, 0, 11))):
        super().__init__(directory, WRITING_PHY, windows)
        self.flights, self.slips, self.skews = flights, slips, skews
        self.clock, self.strobe, self.data, self.slip, self.levelling = 9, [3, 4], [5, 6], [1, 7], False

    def write(self, name, value):
        super().write(name, value)
        count = {"cdly_rst": None, "cdly_inc": 1}.get(name.removeprefix("ddrphy_"), 0)
        if count != 0:
            self.clock = self.clock + 1 if count else 0
            assert self.clock < 32
        for module in range(2):
            if not self.values["ddrphy_dly_sel"] >> module & 1:
                continue
            for line, taps in (("dqs", self.strobe), ("dq", self.data)):
                if name == f"ddrphy_wdly_{line}_rst":
                    taps[module] = 0
                elif name == f"ddrphy_wdly_{line}_inc":
                    taps[module] = (taps[module] + 1) % 32
            if name == "ddrphy_wdly_dq_bitslip_rst":
                self.slip[module] = 0
            elif name == "ddrphy_wdly_dq_bitslip":
                self.slip[module] = (self.slip[module] + 1) % 8
        if name == "ddrphy_wlevel_strobe":
            assert self.values["ddrphy_wlevel_en"]
            assert self.levelling
            levels = [self.level(module) for module in range(2)]
            word = sum(0xFF << 8 * module for module, high in enumerate(levels) if high)
            self.values["sdram_dfii_pi0_rddata"] = word << 16 | word

    def late(self, module):
        """Taps by which the strobe's edge comes after the clock's, from -16 to 15."""
        return (self.strobe[module] + self.flights[module] - self.clock + 16) % 32 - 16

    def level(self, module):
        late = self.late(module) + self.noise.choice([0, 0, 0, 1, -1])
        return 0 <= late < 16

    def issue(self, phase):
        command, address, bank = (
            self.values[f"sdram_dfii_pi{phase}_{part}"] for part in ("command", "address", "baddress")
        )
        if command == 15 and bank == 1 and len(self.commands) >= len(INIT) - 2:
            assert address & ~128 == 0x101
            self.levelling = bool(address & 128)
            return
        assert not self.levelling
        super().issue(phase)
        if command == 1 | 2 | 4 | 16:
            for module in range(2):
                aligned = abs(self.late(module)) <= 6 and self.slip[module] == self.slips[module]
                if not aligned or abs(self.data[module] - self.strobe[module] - self.skews[module]) > 6:
                    lanes = (0xFF << 8 * module) * 0x10001
                    self.row = [word ^ self.noise.getrandbits(32) & lanes | 1 << 8 * module for word in self.row]


@pytest.mark.parametrize(
    ("flights", "slips", "skews"),
    [((24, 20), (0, 2), (0, 3)), ((8, 14), (4, 4), (-3, 1)), ((30, 3), (2, 6), (2, -2)), ((10, 19), (0, 2), (-2, 3))],
)
def test_writes_are_aligned(tmp_path, flights, slips, skews):
    """Strobes at the clock's edge, the right latency, data in the middle; then reads are as without."""
    board = WritingBoard(tmp_path, flights, slips, skews)
    levels = start(board, load_controller(tmp_path), sleep=board.sleep)
    assert levels.eyes == [Eye(0, 2, 7, 20), Eye(1, 3, 0, 11)]
    assert [(way.clock, way.strobe, way.bitslip, way.data) for way in levels.writes] == [
        (board.clock, board.strobe[module], board.slip[module], board.data[module]) for module in range(2)
    ]
    for module, way in enumerate(levels.writes):
        assert (way.module, way.bitslip) == (module, slips[module])
        assert abs(board.late(module)) <= 2
        window = [taps for taps in range(32) if abs(taps - way.strobe - skews[module]) <= 6]
        assert way.data == (window[0] + window[-1]) // 2
    assert (board.values["ddrphy_wlevel_en"], board.levelling) == (0, False)
    assert board.values["ddrctrl_init_done"] == 1


@pytest.mark.parametrize(
    ("slips", "skews", "message"),
    [
        ((0, 3), (0, 0), "data pins 8 to 15 of the memory are written right with no latency"),
        ((0, 0), (40, 0), "data pins 0 to 7 of the memory are written right with no latency"),
    ],
)
def test_a_module_that_cannot_be_written(tmp_path, slips, skews, message):
    board = WritingBoard(tmp_path, (24, 20), slips, skews)
    with pytest.raises(DeviceError, match=message):
        start(board, load_controller(tmp_path), sleep=board.sleep)
    assert (board.values["ddrctrl_init_done"], board.values["ddrctrl_init_error"]) == (0, 1)


def test_a_strobe_that_meets_no_edge(tmp_path):
    board = WritingBoard(tmp_path, (24, 20), (0, 0), (0, 0))
    board.level = lambda _module: False
    with pytest.raises(DeviceError, match="the strobe of data pins 0 to 7 meets the memory's clock at no delay"):
        start(board, load_controller(tmp_path), sleep=board.sleep)
    assert board.values["ddrphy_wlevel_en"] == 0
    assert not board.levelling


def test_a_phy_that_aligns_writes_in_part_is_refused(tmp_path):
    board = Board(tmp_path, {**PHY, "write_leveling": True}, [])
    with pytest.raises(DeviceError, match="aligns a part of its writes only"):
        start(board, load_controller(tmp_path), sleep=board.sleep)
    assert not board.commands


def test_a_directory_that_is_no_build(tmp_path):
    with pytest.raises(UserError, match=r"has no readable csr\.json: give the directory of a board's build"):
        load_controller(tmp_path)
    (tmp_path / "csr.json").write_text("{}")
    (tmp_path / "dram.json").write_text("{}")
    with pytest.raises(UserError, match="do not describe a memory controller"):
        load_controller(tmp_path)


def test_the_command_wants_a_board(tmp_path, capsys, monkeypatch):
    Board(tmp_path, PHY, [])
    monkeypatch.setattr("firmware.cli.dram.open_transport", lambda _: FakeSimulation())
    assert main(["dram", str(tmp_path), "--device", "sim:tiny"]) == 2
    assert capsys.readouterr().err == "error: sim:tiny is no board: its memory needs no start\n"
    assert main(["dram", str(tmp_path / "none"), "--device", "sim:tiny"]) == 2
    assert "has no readable csr.json" in capsys.readouterr().err


class FakeSimulation:
    def close(self):
        pass
