"""The timing estimate on netlists whose paths can be added up by hand, and on one that yosys maps."""

import json
from math import log2

import pytest

from bench import clock
from bench.__main__ import main
from hw.boards.fabric import SERIES7
from hw.build import yosys
from hw.build.timing import Path, Step, TimingError, longest_paths


def cell(kind, inputs, outputs, **parameters):
    ports = {**inputs, **outputs}
    return {
        "type": kind,
        "parameters": parameters,
        "connections": {port: bits if isinstance(bits, list) else [bits] for port, bits in ports.items()},
        "port_directions": {**dict.fromkeys(inputs, "input"), **dict.fromkeys(outputs, "output")},
    }


def register(d, q, **more):
    return cell("FDRE", {"C": 1, "D": d, **more}, {"Q": q})


def netlist(cells, **names):
    nets = {name: {"bits": bits if isinstance(bits, list) else [bits]} for name, bits in names.items()}
    return {"modules": {"top": {"cells": cells, "netnames": nets}}}


def test_adds_cells_and_wires_of_the_longest_path():
    """Clock to output 0.46, two wires of one load 0.59, two LUTs 0.13, a wire within the slice 0.1, setup 0.07."""
    cells = {
        "from": register(2, 3),
        "one": cell("LUT2", {"I0": 3, "I1": 9}, {"O": 4}),
        "two": cell("LUT1", {"I0": 4}, {"O": 5}),
        "to": register(5, 6),
        "short": register(6, 7),
    }
    first, second = longest_paths(netlist(cells, start=3, middle=4, end=6, far=7), "top")
    assert (first.nanoseconds, first.start, first.end) == (pytest.approx(2.07), "start", "end.D")
    assert [(step.cell, step.signal, step.loads) for step in first.steps] == [
        ("FDRE", "start", 1), ("LUT2", "middle", 1), ("LUT1", "?", 1),
    ]  # fmt: skip
    assert (second.nanoseconds, second.start, second.end) == (pytest.approx(1.12), "end", "far.D")


def test_wires_are_longer_the_more_they_drive():
    """Sixteen clock enables: 0.46 + 0.59 + 4 * 0.06 + 0.2; one path stands for all of them."""
    cells = {"from": register(2, 3)} | {f"to{k}": register("0", 20 + k, CE=3) for k in range(16)}
    paths = longest_paths(netlist(cells, enable=3, held=[20 + k for k in range(16)]), "top")
    assert [(path.nanoseconds, path.end) for path in paths] == [(pytest.approx(1.49), "held.CE")]


def test_wires_are_longer_the_more_units_they_reach():
    """From unit a to three others, by what the cells or, where the mapper named them, their outputs are called."""
    cells = {"a.from": register(2, 3)} | {f"$ff{k}": register("0", 20 + k, CE=3) for k in range(4)}
    held = {"b.held": 20, "c.held": 21, "d.e.held": [22, 23]}
    (path, *others) = longest_paths(netlist(cells, **{"a.enable": 3}, **held), "top")
    assert path.nanoseconds == pytest.approx(0.46 + 0.59 + 2 * 0.06 + 2 * 0.14 + 0.2)
    assert [(step.loads, step.units) for step in path.steps] == [(4, 4)]
    assert {path.end, *(other.end for other in others)} == {"b.held.CE", "c.held.CE", "d.e.held.CE"}


def test_logic_is_where_most_of_its_loads_are():
    """A LUT between a and b that drives one register of a and two of b is in b."""
    cells = {"$from": register(2, 3), "$lut": cell("LUT1", {"I0": 3}, {"O": 4})}
    cells |= {f"$ff{k}": register("0", 20 + k, CE=4) for k in range(3)}
    names = {"a.start": 3, "a.held": 20, "b.held": [21, 22]}
    path = longest_paths(netlist(cells, **names), "top")[0]
    assert [(step.loads, step.units) for step in path.steps] == [(1, 2), (3, 2)]
    assert path.nanoseconds == pytest.approx(0.46 + 2 * (0.59 + 0.14) + log2(3) * 0.06 + 0.13 + 0.2, abs=0.006)


def test_memories_and_multipliers_by_their_registers():
    def paths(**parameters):
        cells = {
            "ram": cell("RAMB36E1", {"CLKARDCLK": 1, "ADDRARDADDR": 2}, {"DOADO": 3}, **parameters),
            "dsp": cell("DSP48E1", {"CLK": 1, "A": 3}, {"P": 4}, AREG="1", MREG="1", PREG="1"),
            "to": register(4, 5),
        }
        return [path.nanoseconds for path in longest_paths(netlist(cells, ram=3, product=4, held=5), "top")]

    assert paths() == [pytest.approx(2.46 + 0.59 + 0.35), pytest.approx(0.44 + 0.59 + 0.07)]
    assert paths(DOA_REG="1")[0] == pytest.approx(0.89 + 0.59 + 0.35)


def test_what_comes_from_ports_only_is_left_out():
    cells = {"lut": cell("LUT2", {"I0": 2, "I1": 3}, {"O": 4}), "to": register(4, 5)}
    assert longest_paths(netlist(cells), "top") == []


def test_unknown_cells_are_refused():
    with pytest.raises(TimingError, match=r"odd of type SB_LUT4"):
        longest_paths(netlist({"odd": cell("SB_LUT4", {"I0": 2}, {"O": 3})}), "top")


def test_understands_what_yosys_maps(tmp_path):
    """A 32-bit adder's carry chain from its lowest bit, and a product that sits in a DSP with all its registers."""
    (tmp_path / "design.v").write_text("""\
module design(input clk, input [31:0] x, y, input [15:0] f, g, output reg [31:0] z, output reg [31:0] p,
    input [5:0] at, output reg [7:0] q);
  reg [31:0] a, b, m; reg [15:0] c, d; reg [7:0] ram [0:63];
  always @(posedge clk) begin a <= x; b <= y; z <= a + b; c <= f; d <= g; m <= c * d; p <= m; end
  always @(posedge clk) begin ram[at] <= x[7:0]; q <= ram[a[5:0]] ^ b[7:0]; end
endmodule
""")
    script = f"read_verilog design.v\n{SERIES7.commands.format(top='design')}select -module design\n"
    yosys.run("map", f"{script}write_json -selected design.json\n", tmp_path)
    paths = longest_paths(json.loads((tmp_path / "design.json").read_text()), "design")
    longest = paths[0]
    assert longest.start in ("a", "b")
    assert longest.end == "z.D"
    assert [step.cell for step in longest.steps].count("CARRY4") == 8
    assert 2 < longest.nanoseconds < 3.5
    assert not any(path.start in ("c", "d", "m") for path in paths)


def test_command_prints_paths_and_refuses_bad_settings(monkeypatch, capsys):
    path = Path(8.0, "core.a", "core.b.CE", (Step(0.46, "FDRE", "core.a", 3, 2),))
    monkeypatch.setattr(clock, "core_paths", lambda config, count: [path] * count if config.lanes == 4 else [])
    assert main(["clock", "--set", "lanes=4", "--paths", "2"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("estimated by hw.build.timing")
    assert output.count("8.00 ns (125 MHz)  core.a -> core.b.CE\n") == 2
    assert main(["clock", "--set", "lanes=3"]) == 2
    assert "lanes must be a power of two" in capsys.readouterr().err
