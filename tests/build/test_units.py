"""Units synthesised alone: what a core is made of, kept by contents, known only while the gateware is the same."""

import json
from dataclasses import replace

import pytest
from amaranth.hdl import Fragment

from firmware.errors import UserError
from hw.boards.fabric import SERIES7
from hw.boards.registry import find
from hw.build import units
from hw.build.area_model import STORED, AreaModel, Fit, stored_cores
from hw.build.synthesis import Unit
from hw.build.units import known, measured, units_of
from hw.core import Core, core_units
from hw.spec.config import Config

SMALL = Config(rows=8, cols=4, tokens=32, bank_words=512, stream_words=128)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIFTWORK_CACHE", str(tmp_path))
    return tmp_path / "units"


def unit(name, config=SMALL):
    return next(each for each in units_of(config, SERIES7) if each.name == name)


@pytest.mark.parametrize("slices", [1, 3])
def test_a_core_is_made_of_these(slices):
    """Every component in it is one of them, as often as is said, and has the same parameters."""
    config = replace(SMALL, slices=slices)
    top = Fragment.get(Core(config), None)
    names = [str(name).rstrip("0123456789").rstrip("_") for _, name, _ in top.subfragments]
    expected = {name: copies for name, (_, _, copies) in core_units(config).items()}
    if slices > 1:
        expected["matmul"] += 1  # where slices are kept in step
        expected["vector"] += 1
        assert expected.pop("lockstep") == 2
    assert {name: names.count(name) for name in names} == expected


def test_only_parameters_count():
    """Equal ones are equal units, whatever the core's fingerprint is; each is emitted as RTLIL of its own name."""
    one, other = unit("csr"), unit("csr", replace(SMALL, bank_words=1024))
    assert one == other
    assert unit("scratchpad") != unit("scratchpad", replace(SMALL, bank_words=1024))
    text = unit("writes", replace(SMALL, slices=2)).rtlil()
    assert "\nmodule \\writes\n" in text
    assert "\\clear" in text


def test_kept_by_contents(cache, monkeypatch):
    """Synthesised once; what changed sources emit is compared; other gateware, tools or damage are not known."""
    calls = []
    counted = [("counters", {"lut": 5, "ff": 6, "dsp": 0, "bram36": 0})]

    def synthesise(*arguments, **_):
        calls.append(arguments)
        return [Unit(name, used) for name, used in counted]

    monkeypatch.setattr(units, "synthesise", synthesise)
    monkeypatch.setattr(units, "as_verilog", lambda text, *_: text.encode())
    each = unit("counters")
    assert known(each, SERIES7) is None
    assert measured(each, SERIES7) == {"": counted[0][1]}
    assert known(each, SERIES7) == {"": counted[0][1]} == measured(each, SERIES7)
    assert len(calls) == 1
    monkeypatch.setattr(units, "_sources", lambda: "changed, but not this unit")
    assert known(each, SERIES7) is not None
    monkeypatch.setattr(units.UnitSource, "rtlil", lambda _: pytest.fail("emitted though nothing changed"))
    assert known(each, SERIES7) is not None
    monkeypatch.setattr(units, "_sources", lambda: "changed, this unit too")
    monkeypatch.setattr(units.UnitSource, "rtlil", lambda _: "another")
    assert known(each, SERIES7) is None
    assert known(each, SERIES7) is None
    measured(each, SERIES7)
    assert len(calls) == 2
    assert known(each, SERIES7) is not None
    assert known(each, replace(SERIES7, commands="others")) is None
    (path,) = cache.glob("counters-*.json")
    path.write_text(path.read_text()[:-9])
    assert known(each, SERIES7) is None


def test_a_real_unit(cache):
    """By yosys, with its parts if it is an engine: the same as in a build's report."""
    used = measured(unit("writes", replace(SMALL, slices=2)), SERIES7)
    assert [*used] == [""]
    assert used[""]["lut"] > 0
    assert len([*cache.iterdir()]) == 1


# ---- the model ----


def test_stored_cores_are_whole():
    """Every unit of every core is there, its parts are no more than it has; a preset is among them."""
    text = json.loads(STORED.read_text())
    cores = stored_cores(SERIES7)
    assert len(cores) >= 10
    for core in cores:
        for each, parts in core:
            assert {*parts[""]} == {*SERIES7.columns}, each.name
            for name, number in parts[""].items():
                assert sum(used[name] for part, used in parts.items() if part) <= number
    assert find("arty_a7").config in {find(core["board"]).override(core["settings"]).config for core in text["cores"]}


@pytest.mark.usefixtures("cache")
def test_areas_of_stored_cores():
    """Within the error that is stated, multipliers and block RAM nearly exactly; less where less is built."""
    board = find("arty_a7_100")
    model = AreaModel(board)
    for core in stored_cores(SERIES7):
        true = {name: sum(each.copies * parts[""][name] for each, parts in core) for name in SERIES7.columns}
        guess = {name: sum(each.copies * model._fit.of(each)[name] for each, _ in core) for name in SERIES7.columns}
        assert guess["lut"] == pytest.approx(true["lut"], rel=0.06)
        assert guess["ff"] == pytest.approx(true["ff"], rel=0.06)
        assert guess["dsp"] == pytest.approx(true["dsp"], abs=8)
        assert guess["bram36"] == pytest.approx(true["bram36"], abs=4)
    used, system, fitted = model.of(board.config)
    assert {*fitted} == {*core_units(board.config)}
    assert system["lut"] - used["lut"] == sum(part["lut"] for part in model.around.values())
    assert used["dsp"] == 240  # its small products are in LUTs
    for each in (board, find("arty_a7"), find("genesys2"), find("ulx3s_85f")):
        apart = ["crossing"] if each.clock_hz != each.system_hz else []
        assert [*AreaModel(each).around] == ["shell", "link", *apart]
    assert "crossing" in AreaModel(find("arty_a7")).around
    other = AreaModel(find("ulx3s_85f"))
    small = find("ulx3s_85f").config
    assert other.of(small)[0]["dsp"] == 144  # as the gateware counts them
    assert other.of(replace(small, small_products="dsp"))[0]["dsp"] == 155
    assert all(0 <= each["mean"] <= each["worst"] < 0.5 for each in other.errors.values())
    more = replace(board.config, small_products="dsp")
    less, _, _ = model.of(replace(more, vector=("layer_norm", "shiftmax", "add")))
    assert all(less[name] < model.of(more)[0][name] for name in ("lut", "ff", "dsp"))
    assert all(0 <= each["mean"] <= each["worst"] < 0.5 for each in model.errors.values())


@pytest.mark.usefixtures("cache")
def test_what_is_synthesised_is_taken(monkeypatch):
    board = find("arty_a7")
    model = AreaModel(board)
    before, _, fitted = model.of(board.config)
    assert "store" in fitted
    monkeypatch.setattr(
        "hw.build.area_model.known",
        lambda each, _: {"": dict.fromkeys(SERIES7.columns, 1000)} if each.name == "store" else None,
    )
    after, _, others = AreaModel(board).of(board.config)
    assert {*fitted} - {*others} == {"store"}
    guess = model._fit.of(unit("store", board.config))
    assert after["lut"] == before["lut"] - guess["lut"] + 1000


def test_the_fit_is_least_squares():
    """Units on a line are found exactly."""
    found = []
    for rows, slices in ((8, 2), (16, 3), (32, 4)):
        each = unit("reads", replace(SMALL, rows=rows, slices=slices))
        found.append((each, {"": {"lut": 7 + 3 * each.parameters["word_bits"] * slices}}))
    wanted = unit("reads", replace(SMALL, rows=16, slices=8))
    assert Fit(found, ("lut",)).of(wanted) == {"lut": 7 + 3 * 128 * 8}


def test_what_was_never_synthesised():
    with pytest.raises(UserError, match=r"no cores of generic are stored"):
        AreaModel(find("verilog"))
    config = replace(find("arty_a7").config, vector=("int_softmax", "layer_norm"))
    with pytest.raises(UserError, match=r"what the opcode INT_SOFTMAX\w* takes was never synthesised"):
        AreaModel(find("arty_a7")).of(config)
